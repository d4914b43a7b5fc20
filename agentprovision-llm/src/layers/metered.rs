//! What budgets and rate limits share: room is taken for an estimate before a model is asked, and what was used is told
//! when the request ends, however it ends.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use agentprovision_core::clock::Timestamp;
use agentprovision_core::context::Context;
use agentprovision_core::model::{
    CallLog, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, EmbedRequest, EmbedResponse,
    EmbeddingModel, ModelInfo, RerankModel, RerankRequest, RerankResponse, RouteHints, ServiceTier, Usage,
};
use agentprovision_core::money::NanoUsd;
use agentprovision_core::{Env, ErrorKind, Result};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, StreamExt};
use serde_json::{Map, Value};

use crate::limit::{Amounts, Named};
use crate::route::{DEFAULT_OUTPUT, input_tokens};

/// The tokens of so many bytes of text, from above.
const fn tokens(bytes: u64) -> u64 {
    bytes.div_ceil(3)
}

/// The length in tokens from which a provider that bills by searches counts a document, with the query, as several.
const CHUNK: u64 = 500;

/// Documents that are one search.
const SEARCH: u64 = 100;

/// The searches a request can be billed as, from above.
fn searches(request: &RerankRequest) -> u64 {
    let of = |text: &String| tokens(text.len() as u64);
    // A query is cut where it would leave the documents no place.
    let room = CHUNK.saturating_sub(of(&request.query)).max(CHUNK / 2);
    let chunks: u64 = request.documents.iter().map(|text| of(text).div_ceil(room).max(1)).sum();
    chunks.div_ceil(SEARCH).max(1)
}

/// The prompt tokens of a rerank request, from above: the query is read with every document.
fn rerank_tokens(request: &RerankRequest) -> u64 {
    let query = tokens(request.query.len() as u64);
    request.documents.iter().map(|text| query.saturating_add(tokens(text.len() as u64))).sum()
}

/// The bytes of a piece of an answer.
fn event_bytes(event: &ChatEvent) -> usize {
    match event {
        ChatEvent::Text(text) | ChatEvent::Reasoning(text) | ChatEvent::Refusal(text) => text.len(),
        ChatEvent::ToolCall { name, arguments, .. } => name.as_ref().map_or(0, String::len) + arguments.len(),
        _ => 0,
    }
}

/// The bytes of a whole answer.
fn answer_bytes(answer: &ChatResponse) -> usize {
    let calls = answer.tool_calls.iter().map(|call| call.name.len() + call.arguments.len());
    let refusal = answer.refusal.as_ref().map_or(0, String::len);
    answer.text.len() + answer.reasoning.len() + refusal + calls.sum::<usize>()
}

/// Lets requests through, or refuses them.
#[async_trait]
pub(super) trait Gate: fmt::Debug + Send + Sync + 'static {
    /// The longest answer that may be asked for, in tokens.
    fn max_output(&self) -> Option<u64>;
    /// Takes room for a request; `None` when nothing limits it.
    async fn enter(&self, ask: Ask<'_>) -> Result<Option<Box<dyn Ticket>>>;
}

/// The room a request takes.
pub(super) trait Ticket: Send + Sync + 'static {
    /// How often [`Ticket::extend`] wants to be called.
    fn beat(&self) -> Option<Duration>;
    /// The request still goes on.
    fn extend(&self);
    /// What it came to; called once. What is known of the cost is in the amounts; so many attempts without a price come
    /// on top.
    fn settle(&mut self, actual: Amounts, unpriced: u32);
}

/// A request that asks to be let through.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) ctx: &'a Context,
    pub(super) route: &'a RouteHints,
    /// The model that is asked for.
    pub(super) model: Named<'a>,
    /// Those that may answer.
    pub(super) models: &'a [Arc<ModelInfo>],
    pub(super) size: Size,
}

/// How much a request may come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// The prompt in tokens, from above.
    pub(super) input: u64,
    /// The longest answer that is asked for, in tokens.
    max_output: Option<u64>,
    /// Searches it may be billed as.
    searches: Option<u64>,
    tier: Tier,
}

/// The service tier a request asks for.
#[derive(Clone, Copy, Debug)]
enum Tier {
    One(ServiceTier),
    /// The provider chooses.
    Any,
}

impl Default for Tier {
    fn default() -> Self {
        Self::One(ServiceTier::Standard)
    }
}

impl Tier {
    /// What providers serve other than they were asked, the dearest of which counts.
    const LIVE: [ServiceTier; 4] =
        [ServiceTier::Standard, ServiceTier::Flex, ServiceTier::Priority, ServiceTier::Ultrafast];

    /// By the fields of a provider's own in a request: a word, or with Bedrock a word within.
    fn of(extra: &Map<String, Value>) -> Self {
        let field = ["service_tier", "serviceTier"].into_iter().find_map(|name| extra.get(name));
        let Some(field) = field.filter(|field| !field.is_null()) else { return Self::default() };
        let word = field.as_str().or_else(|| field.get("type")?.as_str());
        word.and_then(ServiceTier::from_wire).map_or(Self::Any, Self::One)
    }

    const fn asked(self) -> Option<ServiceTier> {
        match self {
            Self::One(tier) => Some(tier),
            Self::Any => None,
        }
    }

    fn tiers(&self) -> &[ServiceTier] {
        match self {
            Self::One(tier) => std::slice::from_ref(tier),
            Self::Any => &Self::LIVE,
        }
    }
}

impl Ask<'_> {
    fn output_of(&self, info: &ModelInfo) -> u64 {
        match (self.size.max_output, info.max_output_tokens) {
            (Some(wanted), longest) => wanted.min(longest.unwrap_or(u64::MAX)),
            (None, longest) => longest.unwrap_or(DEFAULT_OUTPUT),
        }
    }

    /// How long the answer will be at most in all likelihood, in tokens: where nobody limits it, few answers are as long
    /// as the model could make them.
    pub(super) fn likely_output(&self) -> u64 {
        self.output().min(self.size.max_output.unwrap_or(DEFAULT_OUTPUT))
    }

    /// The longest answer, in tokens.
    pub(super) fn output(&self) -> u64 {
        self.models.iter().map(|info| self.output_of(info)).max().unwrap_or(0)
    }

    /// The most it can cost with the dearest of the models; those without a price are left to `unknown`.
    pub(super) fn cost(&self, mut unknown: impl FnMut(&ModelInfo) -> Result<NanoUsd>) -> Result<NanoUsd> {
        let mut most = NanoUsd::ZERO;
        for info in self.models {
            let cost = match &info.price {
                Some(price) => {
                    let with = |tier: &ServiceTier| {
                        price.at_most(&Usage {
                            input_tokens: Some(self.size.input),
                            output_tokens: Some(self.output_of(info)),
                            search_units: self.size.searches,
                            service_tier: Some(*tier),
                            ..Usage::default()
                        })
                    };
                    self.size.tier.tiers().iter().map(with).max().unwrap_or(NanoUsd::ZERO)
                }
                None => unknown(info)?,
            };
            most = most.max(cost);
        }
        Ok(most)
    }
}

/// Who answers.
#[derive(Clone, Debug)]
enum Inner {
    Chat(Arc<dyn ChatModel>),
    Embedding(Arc<dyn EmbeddingModel>),
    Rerank(Arc<dyn RerankModel>),
}

impl Inner {
    fn info(&self) -> &ModelInfo {
        match self {
            Self::Chat(model) => model.info(),
            Self::Embedding(model) => model.info(),
            Self::Rerank(model) => model.info(),
        }
    }

    fn answerers(&self, ctx: &Context, route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        match self {
            Self::Chat(model) => model.answerers(ctx, route),
            Self::Embedding(model) => model.answerers(ctx, route),
            Self::Rerank(model) => model.answerers(ctx, route),
        }
    }
}

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is under way; a drop leaves it here.
    Asked,
    /// The whole answer is there.
    Answered,
    /// It failed in a way that no provider bills.
    Refused,
}

/// A request that was let through. Dropping it settles what it came to.
struct Open {
    ticket: Option<Box<dyn Ticket>>,
    inner: Inner,
    started: Timestamp,
    /// What was reckoned with.
    size: Size,
    log: CallLog,
    /// Attempts in the log that are not this request's, and requests that kept it before.
    earlier: (usize, usize),
    stage: Stage,
    usage: Option<Usage>,
    /// Bytes of the answer so far.
    written: u64,
}

impl Open {
    fn saw(&mut self, event: &ChatEvent) {
        match event {
            ChatEvent::Usage(usage) => self.usage = Some(*usage),
            ChatEvent::Finished { .. } => self.stage = Stage::Answered,
            event => self.written += event_bytes(event) as u64,
        }
    }

    /// Of an answer that broke off something may be billed; of a request that was turned away nothing is.
    fn failed(&mut self, kind: ErrorKind) {
        let cut = matches!(kind, ErrorKind::Incomplete | ErrorKind::DeadlineExceeded | ErrorKind::Cancelled);
        if self.written == 0 && self.usage.is_none() && !cut {
            self.stage = Stage::Refused;
        }
    }

    /// What it came to, and how many attempts of it have no price.
    fn actual(&self) -> (Amounts, u32) {
        let (earlier, kept) = self.earlier;
        let is_kept = self.log.kept() > kept;
        let attempted = self.log.read(|attempts| {
            let ours = attempts.get(earlier..).unwrap_or_default();
            if ours.is_empty() && !is_kept {
                return None;
            }
            // Of a request that nobody was asked for there is none.
            let usage = ours.iter().filter_map(|attempt| attempt.usage).reduce(Usage::plus);
            Some((usage.unwrap_or_default(), ours.iter().map(|attempt| attempt.cost).collect()))
        });
        let (usage, costs): (Usage, Vec<Option<NanoUsd>>) = attempted.unwrap_or_else(|| {
            let (usage, cost) = self.counted();
            (usage, vec![cost])
        });
        let amounts = Amounts {
            requests: 1,
            input_tokens: usage.input_tokens.unwrap_or(0),
            output_tokens: usage.output_tokens.unwrap_or(0),
            cost: costs.iter().flatten().copied().sum(),
        };
        let unpriced = costs.iter().filter(|cost| cost.is_none()).count();
        (amounts, u32::try_from(unpriced).unwrap_or(u32::MAX))
    }

    /// What a model came to that keeps no log of attempts.
    fn counted(&self) -> (Usage, Option<NanoUsd>) {
        let usage = match (self.stage, self.usage) {
            (Stage::Refused, _) => return (Usage::default(), Some(NanoUsd::ZERO)),
            (Stage::Answered, Some(usage)) => usage,
            // Without counts, or with those of an answer that went on: what is known from outside, from above.
            (stage, usage) => {
                tracing::debug!(
                    model = self.inner.info().name,
                    ?stage,
                    "the tokens of an answer are estimated"
                );
                let usage = usage.unwrap_or_default();
                let written = tokens(self.written);
                Usage {
                    input_tokens: Some(usage.input_tokens.unwrap_or(self.size.input)),
                    output_tokens: Some(usage.output_tokens.unwrap_or(0).max(written)),
                    search_units: usage.search_units.or(self.size.searches),
                    service_tier: usage.service_tier.or(self.size.tier.asked()),
                    ..usage
                }
            }
        };
        (usage, self.inner.info().cost(&usage, self.started))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(mut ticket) = self.ticket.take() {
            let (actual, unpriced) = self.actual();
            ticket.settle(actual, unpriced);
        }
    }
}

/// A model behind a gate.
#[derive(Clone, Debug)]
pub(super) struct Metered {
    inner: Inner,
    gate: Arc<dyn Gate>,
    env: Env,
}

impl Metered {
    pub(super) fn chat(inner: Arc<dyn ChatModel>, gate: Arc<dyn Gate>, env: Env) -> Arc<dyn ChatModel> {
        Arc::new(MeteredChat {
            model: Arc::clone(&inner),
            shared: Self { inner: Inner::Chat(inner), gate, env },
        })
    }

    pub(super) fn embedding(
        inner: Arc<dyn EmbeddingModel>,
        gate: Arc<dyn Gate>,
        env: Env,
    ) -> Arc<dyn EmbeddingModel> {
        let shared = Self { inner: Inner::Embedding(Arc::clone(&inner)), gate, env };
        Arc::new(MeteredEmbedding { model: inner, shared })
    }

    pub(super) fn rerank(inner: Arc<dyn RerankModel>, gate: Arc<dyn Gate>, env: Env) -> Arc<dyn RerankModel> {
        let shared = Self { inner: Inner::Rerank(Arc::clone(&inner)), gate, env };
        Arc::new(MeteredReranker { model: inner, shared })
    }

    async fn enter(
        &self,
        ctx: &Context,
        asked: &str,
        route: &RouteHints,
        log: &CallLog,
        size: Size,
    ) -> Result<Open> {
        let models = self.inner.answerers(ctx, route);
        let model = Named::of(self.inner.info(), &models, asked);
        let ask = Ask { ctx, route, model, models: &models, size };
        let ticket = self.gate.enter(ask).await?;
        Ok(Open {
            ticket,
            inner: self.inner.clone(),
            started: self.env.now(),
            size,
            log: log.clone(),
            earlier: (log.len(), log.kept()),
            stage: Stage::Asked,
            usage: None,
            written: 0,
        })
    }

    async fn enter_chat(&self, ctx: &Context, request: &mut ChatRequest) -> Result<Open> {
        if let Some(most) = self.gate.max_output() {
            request.max_tokens = Some(request.max_tokens.map_or(most, |wanted| wanted.min(most)));
        }
        let size = Size {
            input: input_tokens(request),
            max_output: request.max_tokens,
            searches: None,
            tier: Tier::of(&request.extra),
        };
        self.enter(ctx, &request.model, &request.route, &request.log, size).await
    }

    /// Waits for an answer, and says meanwhile that the request goes on.
    async fn until<T>(&self, open: &Open, call: impl Future<Output = T>) -> T {
        let Some((ticket, beat)) = open.ticket.as_ref().and_then(|ticket| Some((ticket, ticket.beat()?)))
        else {
            return call.await;
        };
        let mut call = pin!(call);
        loop {
            if let Some(answer) = self.env.timeout(beat, call.as_mut()).await {
                return answer;
            }
            ticket.extend();
        }
    }
}

#[derive(Debug)]
struct MeteredChat {
    model: Arc<dyn ChatModel>,
    shared: Metered,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChatModel for MeteredChat {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    fn answerers(&self, ctx: &Context, route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        self.model.answerers(ctx, route)
    }

    async fn complete(&self, ctx: &Context, mut request: ChatRequest) -> Result<ChatResponse> {
        let mut open = self.shared.enter_chat(ctx, &mut request).await?;
        let answer = self.shared.until(&open, self.model.complete(ctx, request)).await;
        match &answer {
            Ok(answer) => {
                open.stage = Stage::Answered;
                open.usage = answer.usage;
                open.written = answer_bytes(answer) as u64;
            }
            Err(error) => open.failed(error.kind()),
        }
        answer
    }

    async fn stream(&self, ctx: &Context, mut request: ChatRequest) -> Result<ChatStream> {
        let mut open = self.shared.enter_chat(ctx, &mut request).await?;
        match self.shared.until(&open, self.model.stream(ctx, request)).await {
            Ok(events) if open.ticket.is_some() => {
                let env = self.shared.env.clone();
                Ok(Following { events: Some(events), open: Some(open), env, beat: None }.boxed())
            }
            Ok(events) => Ok(events),
            Err(error) => {
                open.failed(error.kind());
                Err(error)
            }
        }
    }
}

#[derive(Debug)]
struct MeteredEmbedding {
    model: Arc<dyn EmbeddingModel>,
    shared: Metered,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl EmbeddingModel for MeteredEmbedding {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    fn answerers(&self, ctx: &Context, route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        self.model.answerers(ctx, route)
    }

    fn largest_batch(&self) -> usize {
        self.model.largest_batch()
    }

    async fn embed(&self, ctx: &Context, request: EmbedRequest) -> Result<EmbedResponse> {
        let input = request.inputs.iter().map(|text| tokens(text.len() as u64)).sum();
        let size = Size { input, max_output: Some(0), searches: None, tier: Tier::of(&request.extra) };
        let mut open = self.shared.enter(ctx, &request.model, &request.route, &request.log, size).await?;
        let answer = self.shared.until(&open, self.model.embed(ctx, request)).await;
        match &answer {
            Ok(answer) => {
                open.stage = Stage::Answered;
                open.usage = answer.usage;
            }
            Err(error) => open.failed(error.kind()),
        }
        answer
    }
}

#[derive(Debug)]
struct MeteredReranker {
    model: Arc<dyn RerankModel>,
    shared: Metered,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl RerankModel for MeteredReranker {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    fn answerers(&self, ctx: &Context, route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        self.model.answerers(ctx, route)
    }

    async fn rerank(&self, ctx: &Context, request: RerankRequest) -> Result<RerankResponse> {
        let size = Size {
            input: rerank_tokens(&request),
            max_output: Some(0),
            searches: Some(searches(&request)),
            tier: Tier::of(&request.extra),
        };
        let mut open = self.shared.enter(ctx, &request.model, &request.route, &request.log, size).await?;
        let answer = self.shared.until(&open, self.model.rerank(ctx, request)).await;
        match &answer {
            Ok(answer) => {
                open.stage = Stage::Answered;
                open.usage = answer.usage;
            }
            Err(error) => open.failed(error.kind()),
        }
        answer
    }
}

/// A streamed answer that is counted while it passes.
struct Following {
    // In this order: when the events are dropped, the attempts under way are written to the log, which is then settled.
    events: Option<ChatStream>,
    open: Option<Open>,
    env: Env,
    beat: Option<BoxFuture<'static, ()>>,
}

impl Following {
    fn end(&mut self) {
        self.events = None;
        self.open = None;
        self.beat = None;
    }

    /// Says that the request goes on, each time its beat is over.
    fn extend(&mut self, task: &mut Task<'_>) {
        let Some(ticket) = self.open.as_ref().and_then(|open| open.ticket.as_ref()) else { return };
        let Some(every) = ticket.beat() else { return };
        loop {
            let env = &self.env;
            let beat = self.beat.get_or_insert_with(|| {
                let env = env.clone();
                async move { env.sleep(every).await }.boxed()
            });
            if beat.poll_unpin(task).is_pending() {
                return;
            }
            self.beat = None;
            ticket.extend();
        }
    }
}

impl Stream for Following {
    type Item = Result<ChatEvent>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(events) = this.events.as_mut() else { return Poll::Ready(None) };
        let Poll::Ready(event) = events.poll_next_unpin(task) else {
            this.extend(task);
            return Poll::Pending;
        };
        match (&event, this.open.as_mut()) {
            (Some(Ok(event)), Some(open)) => open.saw(event),
            (Some(Err(error)), Some(open)) => {
                open.failed(error.kind());
                this.end();
            }
            _ => this.end(),
        }
        Poll::Ready(event)
    }
}
