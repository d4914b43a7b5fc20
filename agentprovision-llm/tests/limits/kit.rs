//! Models under budgets, and a model that writes attempts as a router does.

use super::*;

/// A model as a router is one: it writes its attempts into the log as they end, also when it is dropped.
#[derive(Debug)]
pub(super) struct Attempting {
    pub(super) info: ModelInfo,
    pub(super) attempts: Vec<Attempt>,
    pub(super) stalls: bool,
}

struct Pending {
    log: agentprovision_core::model::CallLog,
    attempt: Attempt,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.log.push(self.attempt.clone());
    }
}

pub(super) fn attempt(tokens: Option<(u64, u64)>, cost: Option<i64>) -> Attempt {
    Attempt {
        provider: "p".into(),
        model: "m".into(),
        credential: 0,
        started: Timestamp::default(),
        duration_us: 1,
        first_content_us: None,
        hedge: false,
        end: AttemptEnd::Answered,
        usage: tokens.map(|(input, output)| Usage {
            input_tokens: Some(input),
            output_tokens: Some(output),
            ..Usage::default()
        }),
        estimated: false,
        cost: cost.map(NanoUsd::from_nanos),
    }
}

#[async_trait]
impl ChatModel for Attempting {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn complete(&self, _: &Context, request: ChatRequest) -> Result<ChatResponse> {
        let pending: Vec<Pending> = self
            .attempts
            .iter()
            .map(|attempt| Pending { log: request.log.clone(), attempt: attempt.clone() })
            .collect();
        if self.stalls {
            std::future::pending::<()>().await;
        }
        drop(pending);
        Err(Error::new(ErrorKind::Unavailable, "nobody answered"))
    }

    async fn stream(&self, _: &Context, request: ChatRequest) -> Result<ChatStream> {
        let pending: Vec<Pending> = self
            .attempts
            .iter()
            .map(|attempt| Pending { log: request.log.clone(), attempt: attempt.clone() })
            .collect();
        let events = stream::iter([Ok(ChatEvent::Text("well".into()))]).chain(stream::pending());
        Ok(events.inspect(move |_| _ = pending.len()).boxed())
    }
}

pub(super) struct Budgeted {
    pub(super) world: World,
    pub(super) ledger: Arc<MemoryLedger>,
    pub(super) layer: BudgetLayer,
}

pub(super) fn budgeted(config: serde_json::Value) -> Budgeted {
    let world = world();
    let ledger = world.ledger();
    let config: BudgetConfig = serde_json::from_value(config).unwrap();
    let layer = BudgetLayer::new(&config, ledger.clone(), world.env.clone()).unwrap();
    Budgeted { world, ledger, layer }
}

impl Budgeted {
    pub(super) fn around(&self, model: impl ChatModel) -> Arc<dyn ChatModel> {
        let model: Arc<dyn ChatModel> = Arc::new(model);
        self.layer.layer(model)
    }

    /// The models of a router under the budgets, by name, with a route `chat` over `targets`.
    pub(super) fn routed<const N: usize>(
        &self,
        models: [Arc<ScriptedModel>; N],
        targets: &[&str],
    ) -> impl Fn(&str) -> Arc<dyn ChatModel> {
        let named = |model: Arc<ScriptedModel>| (model.info().name.clone(), model as Arc<dyn ChatModel>);
        let router = routed(&self.world, models.map(named), targets);
        let layer = self.layer.clone();
        move |name| layer.layer(router.resolve(name).unwrap())
    }

    /// The budgets of a user in the order of the configuration's scopes, as `(spent, reserved)`.
    pub(super) async fn balances(&self, ctx: &Context) -> Vec<(Dimension, u64, u64)> {
        let balances = self.layer.balances(ctx, "m", &ChatRequest::default().route).await.unwrap();
        balances.iter().map(|(limit, balance)| (limit.dimension, balance.spent, balance.reserved)).collect()
    }
}

pub(super) fn price(input: i64, output: i64) -> ModelPrice {
    ModelPrice::new(PicoUsd(input), PicoUsd(output))
}

/// The router over models by name, with a route `chat` over `targets`.
pub(super) fn routed<N: Into<String>>(
    world: &World,
    models: impl IntoIterator<Item = (N, Arc<dyn ChatModel>)>,
    targets: &[&str],
) -> Router {
    let registry = ModelRegistry::builder().env(world.env.clone());
    let registry = models.into_iter().fold(registry, |registry, (name, model)| registry.model(name, model));
    let config: RoutingConfig =
        serde_json::from_value(json!({"routes": {"chat": {"targets": targets}}})).unwrap();
    Router::builder(registry.build().unwrap()).config(config).build().unwrap()
}

/// Answers without token counts.
#[derive(Debug)]
pub(super) struct Uncounted(pub(super) ModelInfo);

#[async_trait]
impl ChatModel for Uncounted {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    async fn complete(&self, _: &Context, _: ChatRequest) -> Result<ChatResponse> {
        Ok(ChatResponse {
            id: None,
            model: None,
            text: "123456".into(),
            reasoning: "123".into(),
            refusal: None,
            tool_calls: Vec::new(),
            finish: FinishReason::Stop,
            finish_raw: None,
            usage: None,
            continuation: None,
        })
    }

    async fn stream(&self, _: &Context, _: ChatRequest) -> Result<ChatStream> {
        let finished = ChatEvent::Finished { reason: FinishReason::Stop, raw: None };
        Ok(stream::iter([Ok(ChatEvent::Text("123456789".into())), Ok(finished)]).boxed())
    }
}
