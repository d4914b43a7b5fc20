//! What is held for a request before it is sent, and who is refused.

use super::kit::{Attempting, Budgeted, Uncounted, budgeted, price, routed};
use super::*;

#[tokio::test]
async fn a_request_without_room_is_refused_and_nothing_of_it_stays() {
    let test = budgeted(json!({
        "limits": [
            {"of": {"scope": "tenant"}, "per": "month", "requests": 100},
            {"of": {"scope": "user"}, "per": "day", "requests": 2},
        ],
    }));
    let inner = Arc::new(talks());
    let model = test.layer.layer(inner.clone() as Arc<dyn ChatModel>);
    let ctx = test.world.ctx();
    model.complete(&ctx, hello()).await.unwrap();
    let events: Vec<_> = model.stream(&ctx, hello()).await.unwrap().collect().await;
    assert!(events.iter().all(Result::is_ok));
    test.world.clock.advance(DAY / 4);
    let error = refused(model.complete(&ctx, hello()).await, Dimension::Requests, Window::Day);
    assert_eq!(error.retry(), Retry::After(DAY / 4 * 3));
    let user = ctx.principal().user();
    assert!(error.context().contains(&("scope", format!("user `{user}`"))), "{error:?}");
    assert_eq!(error.message(), format!("the budget of user `{user}` per day has no room for `requests`"));
    assert_eq!(inner.requests().len(), 2, "nothing was sent");
    let requests = Dimension::Requests;
    assert_eq!(test.balances(&ctx).await, [(requests, 2, 0), (requests, 2, 0)]);
    // Another user of the tenant has a budget of their own.
    model.complete(&test.world.ctx(), hello()).await.unwrap();
    test.world.clock.advance(DAY / 4 * 3);
    model.complete(&ctx, hello()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_11_concurrent_first_requests_of_an_unknown_user_are_limited() {
    let test = budgeted(json!({
        "limits": [{"of": {"scope": "user"}, "per": "day", "cost_usd": "0.01"}],
        "max_output_tokens": 1000,
    }));
    let inner = Arc::new(talks());
    let model = test.layer.layer(inner.clone() as Arc<dyn ChatModel>);
    let ctx = test.world.ctx();
    // 1000 tokens of output are 0.002 USD, and the prompt is a little more: four fit until they are settled.
    let all = (0..64).map(|_| {
        let (model, ctx) = (model.clone(), ctx.clone());
        tokio::spawn(async move { model.stream(&ctx, hello()).await })
    });
    let mut streams = Vec::new();
    for task in all.collect::<Vec<_>>() {
        match within(task).await.unwrap() {
            Ok(events) => streams.push(events),
            Err(error) => drop(refused(Err::<(), _>(error), Dimension::Cost, Window::Day)),
        }
    }
    assert_eq!(streams.len(), 4);
    assert_eq!(inner.requests().len(), 4);
    let (_, spent, reserved) = test.balances(&ctx).await[0];
    assert!(spent == 0 && reserved > 8_000_000 && reserved <= 10_000_000, "{reserved}");
    for events in streams {
        assert!(events.all(async |event| event.is_ok()).await);
    }
    // What they did use is far less, and exact.
    let usage = inner.requests()[0].messages.clone();
    let input = serde_json::to_string(&usage).unwrap().len() as i64 / 4;
    let (_, spent, reserved) = test.balances(&ctx).await[0];
    assert_eq!((spent as i64, reserved), (4 * (input * 1000 + 4 * 2000), 0));
}

#[tokio::test]
async fn the_most_specific_limit_counts() {
    let world = world();
    let (vip, other): (UserId, TenantId) = (world.env.id(), world.env.id());
    let config = json!({
        "limits": [
            {"of": {"scope": "user"}, "per": "day", "requests": 3, "tokens": 1_000_000},
            {"of": {"scope": "user", "id": vip}, "per": "day", "requests": 5},
            {"of": {"scope": "user", "tenant": other}, "per": "day", "requests": 1},
            {"of": {"scope": "project", "id": "dear"}, "per": "day", "requests": 2},
            {"of": {"scope": "key"}, "per": "day", "requests": 2},
            {"of": {"scope": "model", "id": "n"}, "per": "day", "requests": 0},
        ],
    });
    let config: BudgetConfig = serde_json::from_value(config).unwrap();
    let layer = BudgetLayer::new(&config, world.ledger(), world.env.clone()).unwrap();
    let model = layer.layer(Arc::new(talks()) as Arc<dyn ChatModel>);
    let passes = async |ctx: &Context, request: ChatRequest| {
        let mut passed = 0;
        while model.complete(ctx, request.clone()).await.is_ok() {
            passed += 1;
        }
        passed
    };
    assert_eq!(passes(&world.ctx(), hello()).await, 3);
    assert_eq!(passes(&world.user(vip), hello()).await, 5);
    assert_eq!(passes(&world.context(other, world.env.id(), None), hello()).await, 1);
    assert_eq!(passes(&world.context(world.tenant, world.env.id(), Some(world.env.id())), hello()).await, 2);
    let mut request = hello();
    request.route.project = Some("dear".into());
    assert_eq!(passes(&world.ctx(), request.clone()).await, 2);
    assert_eq!(passes(&world.ctx(), request.clone()).await, 0, "the project's budget is not the user's");
    request.route.project = Some("cheap".into());
    assert_eq!(passes(&world.ctx(), request.clone()).await, 3);
    request.route.project = Some("x".repeat(257));
    assert_eq!(model.complete(&world.ctx(), request).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    let banned =
        layer.layer(Arc::new(ScriptedModel::from_fn("n", |_| Reply::text("x"))) as Arc<dyn ChatModel>);
    let error = banned.complete(&world.ctx(), hello()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::BudgetExceeded, Retry::Never));
}

#[tokio::test]
async fn pitfall_04_a_model_without_a_price_is_never_free_by_accident() {
    let with = |policy: serde_json::Value| {
        budgeted(json!({
            "limits": [{"of": {"scope": "tenant"}, "per": "month", "cost_usd": "3"}],
            "unknown_price": policy,
        }))
    };
    let unpriced = || talks().price(None);
    let denying = with(json!("deny"));
    let ctx = denying.world.ctx();
    let error = denying.around(unpriced()).complete(&ctx, hello()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PriceUnknown);
    // A fallback without a price is as bad, and so is another target of a route, whichever would answer.
    let fallback = ScriptedModel::from_fn("other", |_| Reply::text("x")).price(None);
    let model = denying.routed([Arc::new(talks()), Arc::new(fallback)], &["m", "other"]);
    let routed = model("chat").complete(&ctx, hello()).await.unwrap_err();
    assert_eq!(routed.kind(), ErrorKind::PriceUnknown);
    let model = model("m");
    let mut request = hello();
    model.complete(&ctx, request.clone()).await.unwrap();
    request.route.fallbacks = vec!["other".into()];
    assert_eq!(model.complete(&ctx, request).await.unwrap_err().kind(), ErrorKind::PriceUnknown);

    let allowing = with(json!("allow"));
    let ctx = allowing.world.ctx();
    allowing.around(unpriced()).complete(&ctx, hello()).await.unwrap();
    assert_eq!(allowing.balances(&ctx).await, [(Dimension::Cost, 0, 0)]);

    let reserving = with(json!({"reserve": "1"}));
    let ctx = reserving.world.ctx();
    let model = reserving.around(unpriced());
    for _ in 0..3 {
        model.complete(&ctx, hello()).await.unwrap();
    }
    assert_eq!(reserving.balances(&ctx).await, [(Dimension::Cost, 3_000_000_000, 0)]);
    refused(model.complete(&ctx, hello()).await, Dimension::Cost, Window::Month);

    // Where cost is not limited nobody asks for a price.
    let free = budgeted(json!({"limits": [{"of": {"scope": "tenant"}, "per": "day", "tokens": 100_000}]}));
    free.around(unpriced()).complete(&free.world.ctx(), hello()).await.unwrap();
}

#[tokio::test]
async fn pitfall_13_a_free_model_is_served_when_the_budget_is_used_up() {
    let test = budgeted(json!({"limits": [{"of": {"scope": "tenant"}, "per": "month", "cost_usd": "0"}]}));
    let ctx = test.world.ctx();
    refused(test.around(talks()).complete(&ctx, hello()).await, Dimension::Cost, Window::Month);
    test.around(talks().price(Some(price(0, 0)))).complete(&ctx, hello()).await.unwrap();
    // Not one that may fall back to a model that is not free, nor a route that may be answered by one.
    let dear = ScriptedModel::from_fn("dear", |_| Reply::text("x"));
    let model = test.routed([Arc::new(talks().price(Some(price(0, 0)))), Arc::new(dear)], &["m", "dear"]);
    refused(model("chat").complete(&ctx, hello()).await, Dimension::Cost, Window::Month);
    let (free, mut request) = (model("m"), hello());
    free.complete(&ctx, request.clone()).await.unwrap();
    request.route.fallbacks = vec!["dear".into()];
    refused(free.complete(&ctx, request).await, Dimension::Cost, Window::Month);
}

#[tokio::test]
async fn an_estimate_is_the_dearest_answer_that_may_come() {
    let test = budgeted(json!({
        "limits": [{"of": {"scope": "tenant"}, "per": "day", "cost_usd": "100", "output_tokens": 1_000_000}],
        "max_output_tokens": 3000,
    }));
    let ctx = test.world.ctx();
    let dear = ScriptedModel::from_fn("dear", |_| Reply::text("x")).price(Some(price(5_000_000, 30_000_000)));
    let inner = Arc::new(ScriptedModel::from_fn("m", |_| Reply::Stall("a".into())));
    let model = test.routed([inner.clone(), Arc::new(dear)], &["m"])("m");
    let mut request = hello();
    let prompt = input_tokens(&request);
    let held = async |request: &ChatRequest| {
        let events = model.stream(&ctx, request.clone()).await.unwrap();
        let balances = test.balances(&ctx).await;
        let held = (balances[0].2, balances[1].2);
        drop(events);
        held
    };
    let cost = |input: u64, output: u64, price: ModelPrice| price.at_most(input, output).nanos() as u64;
    let cheap = price(1_000_000, 2_000_000);
    assert_eq!(held(&request).await, (3000, cost(prompt, 3000, cheap)));
    assert_eq!(
        inner.requests().last().unwrap().max_tokens,
        Some(3000),
        "what was held for is what was asked for"
    );
    request.max_tokens = Some(500);
    assert_eq!(held(&request).await, (500, cost(prompt, 500, cheap)));
    request.route.fallbacks = vec!["dear".into()];
    assert_eq!(held(&request).await, (500, cost(prompt, 500, price(5_000_000, 30_000_000))));
    request.max_tokens = Some(100_000);
    assert_eq!(held(&request).await.0, 3000);
    assert_eq!(inner.requests().last().unwrap().max_tokens, Some(3000));
}

#[tokio::test]
async fn work_that_goes_on_keeps_its_room_however_long_it_takes() {
    let test = budgeted(json!({
        "limits": [{"of": {"scope": "tenant"}, "per": "day", "requests": 1}],
        "hold_ms": 30_000,
    }));
    let ctx = test.world.ctx();
    let model = test.around(ScriptedModel::from_fn("m", |_| Reply::Stall(String::new())));
    let reader = {
        let (model, ctx) = (model.clone(), ctx.clone());
        tokio::spawn(async move { model.stream(&ctx, hello()).await.unwrap().next().await.is_none() })
    };
    let waiting = async || {
        within(async {
            while test.world.clock.waiters() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    for _ in 0..10 {
        waiting().await;
        test.world.clock.advance(Duration::from_secs(10));
        // The reader is woken and waits again.
        within(async {
            while test.world.clock.waiters() == 0 || !beaten(&test, &ctx).await {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    refused(model.complete(&ctx, hello()).await, Dimension::Requests, Window::Day);
    reader.abort();
    assert!(within(reader).await.unwrap_err().is_cancelled());
    assert_eq!(test.balances(&ctx).await, [(Dimension::Requests, 1, 0)]);

    // Held, and still held one moment before it would expire without a beat.
    async fn beaten(test: &Budgeted, ctx: &Context) -> bool {
        test.balances(ctx).await == [(Dimension::Requests, 0, 1)]
    }
}

#[tokio::test]
async fn pitfall_19_embeddings_are_under_the_same_budgets() {
    let test = budgeted(json!({"limits": [{
        "of": {"scope": "tenant"}, "per": "day", "requests": 3, "output_tokens": 10_000, "cost_usd": "1",
    }]}));
    let ctx = test.world.ctx();
    let info = talks().info().clone();
    let embedder =
        |usage| test.layer.layer(Arc::new(Vectors(info.clone(), usage)) as Arc<dyn EmbeddingModel>);
    let texts = || EmbedRequest::new("m", ["123", "123456"]);
    embedder(Some(7)).embed(&ctx, texts()).await.unwrap();
    use Dimension::{Cost, OutputTokens, Requests};
    assert_eq!(test.balances(&ctx).await, [(Requests, 1, 0), (OutputTokens, 0, 0), (Cost, 7000, 0)]);
    embedder(None).embed(&ctx, texts()).await.unwrap();
    assert_eq!(test.balances(&ctx).await, [(Requests, 2, 0), (OutputTokens, 0, 0), (Cost, 10_000, 0)]);
    test.around(talks()).complete(&ctx, hello()).await.unwrap();
    refused(embedder(None).embed(&ctx, texts()).await, Requests, Window::Day);
    assert_eq!(embedder(None).info(), &info);
}

#[tokio::test]
async fn budgets_change_while_they_are_used() {
    let test = budgeted(json!({"limits": [{"of": {"scope": "tenant"}, "per": "day", "requests": 1}]}));
    let ctx = test.world.ctx();
    let model = test.around(talks());
    model.complete(&ctx, hello()).await.unwrap();
    model.complete(&ctx, hello()).await.unwrap_err();
    let config = |text: &str| serde_json::from_str::<BudgetConfig>(text).unwrap();
    let more = r#"{"limits": [{"of": {"scope": "tenant"}, "per": "day", "requests": 2}]}"#;
    test.layer.reload(&config(more)).unwrap();
    model.complete(&ctx, hello()).await.unwrap();
    model.complete(&ctx, hello()).await.unwrap_err();
    let bad = r#"{"limits": [{"of": {"scope": "tenent"}, "per": "day", "requests": 9}]}"#;
    let error = test.layer.reload(&config(bad)).unwrap_err();
    assert!(error.message().contains("did you mean `tenant`?"), "{error}");
    model.complete(&ctx, hello()).await.unwrap_err();
    test.layer.reload(&config("{}")).unwrap();
    model.complete(&ctx, hello()).await.unwrap();
    assert_eq!(test.ledger.balance_now(test.world.tenant, &requests(Window::Day, 2)).spent, 2);
}

fn named(provider: &str, name: &str) -> ModelInfo {
    ModelInfo { provider: provider.into(), name: name.into(), ..talks().info().clone() }
}

#[tokio::test]
async fn a_model_is_limited_by_the_name_it_is_asked_for() {
    let test = budgeted(json!({"limits": [
        {"of": {"scope": "model"}, "per": "day", "requests": 3},
        {"of": {"scope": "model", "id": "gpt-4o"}, "per": "day", "requests": 2},
        {"of": {"scope": "model", "id": "openai/gpt-4o"}, "per": "day", "requests": 1},
        {"of": {"scope": "model", "id": "openai/o1"}, "per": "day", "requests": 0},
        {"of": {"scope": "model", "id": "mine"}, "per": "day", "requests": 4},
    ]}));
    let model = |provider, name| Arc::new(Uncounted(named(provider, name))) as Arc<dyn ChatModel>;
    let router = routed(
        &test.world,
        [
            ("openai/gpt-4o", model("openai", "gpt-4o")),
            ("azure/gpt-4o", model("azure", "gpt-4o")),
            ("openai/o1", model("openai", "o1")),
            ("azure/other", model("azure", "other")),
            ("mine", model("host", "ft:gpt-4o:acme")),
        ],
        &["openai/gpt-4o"],
    );
    let ctx = test.world.ctx();
    for (name, most) in [
        ("openai/gpt-4o", 1),
        ("azure/gpt-4o", 2),
        ("openai/o1", 0),
        ("azure/other", 3),
        ("mine", 4),
        // A route has a name and an account of its own, whoever answers.
        ("chat", 3),
    ] {
        let model = test.layer.layer(router.resolve(name).unwrap());
        let request = ChatRequest::new(name, vec![Message::user("hello")]);
        for _ in 0..most {
            model.complete(&ctx, request.clone()).await.unwrap();
        }
        refused(model.complete(&ctx, request.clone()).await, Dimension::Requests, Window::Day);
    }
    let used = async |name: &str| {
        let balances = test.layer.balances(&ctx, name, &ChatRequest::default().route).await.unwrap();
        balances.iter().map(|(limit, balance)| (limit.most, balance.spent)).collect::<Vec<_>>()
    };
    assert_eq!(used("openai/gpt-4o").await, [(1, 1)]);
    assert_eq!(used("azure/gpt-4o").await, [(2, 2)]);
    assert_eq!(used("chat").await, [(3, 3)]);
}

#[tokio::test]
async fn the_estimate_is_that_of_the_service_tier() {
    let test = budgeted(json!({"limits": [{"of": {"scope": "tenant"}, "per": "day", "cost_usd": "100"}]}));
    let ctx = test.world.ctx();
    let variant =
        |tier, price| PriceVariant { above: None, service_tier: Some(tier), windows: vec![], price };
    let sheet = PriceSheet {
        variants: vec![
            variant(ServiceTier::Priority, price(4_000_000, 8_000_000)),
            variant(ServiceTier::Batch, price(9_000_000, 9_000_000)),
        ],
        ..price(1_000_000, 2_000_000).into()
    };
    let info = ModelInfo { price: Some(sheet), ..talks().info().clone() };
    let model = test.around(Attempting { info, attempts: Vec::new(), stalls: true });
    let held = async |extra: serde_json::Value| {
        let mut request = hello();
        request.extra = extra.as_object().unwrap().clone();
        let events = model.stream(&ctx, request).await.unwrap();
        let held = test.balances(&ctx).await[0].2;
        drop(events);
        held
    };
    let prompt = input_tokens(&hello());
    let cost = |price: ModelPrice| price.at_most(prompt, 4096).nanos() as u64;
    let (standard, priority) = (cost(price(1_000_000, 2_000_000)), cost(price(4_000_000, 8_000_000)));
    for (extra, expected) in [
        (json!({}), standard),
        (json!({"service_tier": null}), standard),
        (json!({"service_tier": "default"}), standard),
        (json!({"service_tier": "flex"}), standard),
        (json!({"service_tier": "priority"}), priority),
        (json!({"serviceTier": {"type": "priority"}}), priority),
        // The provider chooses.
        (json!({"service_tier": "auto"}), priority),
    ] {
        assert_eq!(held(extra.clone()).await, expected, "{extra}");
    }
}

/// Sorts nothing, and is billed by searches.
#[derive(Debug)]
struct Sorts(ModelInfo, Option<u64>);

#[async_trait]
impl RerankModel for Sorts {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    async fn rerank(&self, _: &Context, _: RerankRequest) -> Result<RerankResponse> {
        let usage = self.1.map(|searches| Usage { search_units: Some(searches), ..Usage::default() });
        Ok(RerankResponse { results: Vec::new(), model: None, usage })
    }
}

#[tokio::test]
async fn pitfall_19_rerank_is_under_the_same_budgets_and_rates() {
    let test = budgeted(json!({"limits": [{
        "of": {"scope": "tenant"}, "per": "day", "requests": 4, "input_tokens": 1_000_000, "cost_usd": "0.01",
    }]}));
    let ctx = test.world.ctx();
    let sheet = PriceSheet { per_search: Some(PicoUsd(2_000_000_000)), ..price(0, 0).into() };
    let info = ModelInfo { price: Some(sheet), ..talks().info().clone() };
    let sorts = |usage| test.layer.layer(Arc::new(Sorts(info.clone(), usage)) as Arc<dyn RerankModel>);
    use Dimension::{Cost, InputTokens, Requests};
    sorts(Some(1)).rerank(&ctx, RerankRequest::new("m", "123", ["123456", "12"])).await.unwrap();
    assert_eq!(test.balances(&ctx).await, [(Requests, 1, 0), (InputTokens, 0, 0), (Cost, 2_000_000, 0)]);
    // Without counts what was reckoned with holds: the query with each document, and a search for each hundred of them.
    sorts(None).rerank(&ctx, RerankRequest::new("m", "123", vec!["123456"; 101])).await.unwrap();
    assert_eq!(test.balances(&ctx).await, [(Requests, 2, 0), (InputTokens, 303, 0), (Cost, 6_000_000, 0)]);
    // A long document is several, so three hundred of them do not fit what is left.
    let long = "x".repeat(3 * 1200);
    let error = sorts(Some(1)).rerank(&ctx, RerankRequest::new("m", "q", vec![long; 100])).await;
    refused(error, Cost, Window::Day);
    let tokens: Arc<dyn RerankModel> = Arc::new(talks());
    test.layer.layer(tokens).rerank(&ctx, RerankRequest::new("m", "123", ["12345"])).await.unwrap();
    assert_eq!(test.balances(&ctx).await, [(Requests, 3, 0), (InputTokens, 306, 0), (Cost, 6_003_000, 0)]);
    test.around(talks().price(Some(price(0, 0)))).complete(&ctx, hello()).await.unwrap();
    let error = sorts(Some(1)).rerank(&ctx, RerankRequest::new("m", "q", ["d"])).await;
    refused(error, Requests, Window::Day);

    let rates: RateLimitConfig =
        serde_json::from_value(json!({"limits": [{"of": {"scope": "tenant"}, "requests_per_minute": 1}]}))
            .unwrap();
    let rates = RateLimitLayer::new(&rates, test.world.env.clone()).unwrap();
    let model = rates.layer(Arc::new(talks()) as Arc<dyn RerankModel>);
    model.rerank(&ctx, RerankRequest::new("m", "q", ["d"])).await.unwrap();
    let error = model.rerank(&ctx, RerankRequest::new("m", "q", ["d"])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
}
