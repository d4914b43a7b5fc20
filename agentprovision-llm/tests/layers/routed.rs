//! Caches around the router.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agentprovision_core::context::Context;
use agentprovision_core::model::{
    ChatModel, ModelInfo, ModelResolver, Ranked, RerankModel, RerankRequest, RerankResolver, RerankResponse,
    RouteHints, Usage,
};
use agentprovision_core::testing::{Reply, ScriptedModel};
use agentprovision_core::{Env, Error, ErrorKind, Result};
use agentprovision_llm::ModelRegistry;
use agentprovision_llm::layers::{BudgetConfig, CacheConfig, CacheLayer, Layers, LayersConfig};
use agentprovision_llm::limit::MemoryLedger;
use agentprovision_llm::route::{Router, RoutingConfig};

use async_trait::async_trait;
use futures_util::StreamExt;

use crate::kit::{ask, events, info, standing, text_of};
use crate::support::{context, within};

struct World {
    router: Router,
    cache: CacheLayer,
    well: Arc<AtomicBool>,
    models: Vec<Arc<ScriptedModel>>,
}

/// A route over `a` and `b` with the fallback `c`; `a` and `b` fail while they are not well.
fn world() -> World {
    let well = Arc::new(AtomicBool::new(true));
    let model = |name: &'static str| {
        let well = Arc::clone(&well);
        Arc::new(ScriptedModel::from_fn(name, move |_| {
            if name != "c" && !well.load(Ordering::SeqCst) {
                return Reply::Fail(Error::new(ErrorKind::Unavailable, "not now"));
            }
            Reply::text(format!("by {name}"))
        }))
    };
    let models = vec![model("a"), model("b"), model("c")];
    let mut registry = ModelRegistry::builder();
    for (name, model) in ["a", "b", "c"].into_iter().zip(&models) {
        registry = registry.model(name, Arc::clone(model) as Arc<dyn ChatModel>);
    }
    let config: RoutingConfig = serde_json::from_value(serde_json::json!({
        "routes": { "chat": { "targets": ["a", "b"], "fallbacks": ["c"] } },
        "fallbacks": { "a": ["c"] },
        "retries": 0,
    }))
    .unwrap();
    let cache = CacheLayer::new(CacheConfig::default(), Env::default()).unwrap();
    let router =
        Router::builder(registry.build().unwrap()).config(config).cache(cache.clone()).build().unwrap();
    World { router, cache, well, models }
}

#[tokio::test]
async fn pitfall_27_over_the_router_a_fallback_answers_for_nobody_but_once() {
    let world = world();
    let ctx = context();
    for name in ["chat", "a"] {
        let say = async |is_streamed: bool| {
            let model = world.router.resolve(name).unwrap();
            let mut request = ask(&format!("to {name}"));
            request.model = name.into();
            if is_streamed {
                text_of(&events(model.stream(&ctx, request).await).await.unwrap())
            } else {
                within(model.complete(&ctx, request)).await.unwrap().text
            }
        };
        let stored = world.cache.stats().stored;
        world.well.store(false, Ordering::SeqCst);
        assert_eq!(say(false).await, "by c");
        assert_eq!(say(true).await, "by c");
        assert_eq!(world.cache.stats().stored, stored, "what a fallback said is not stored");
        world.well.store(true, Ordering::SeqCst);
        assert_eq!(say(true).await, "by a");
        let asked = world.models[0].requests().len();
        assert_eq!((say(false).await, say(true).await), ("by a".into(), "by a".into()));
        assert_eq!(world.models[0].requests().len(), asked);
        // It is given while `a` cannot answer, too.
        world.well.store(false, Ordering::SeqCst);
        assert_eq!(say(false).await, "by a");
    }
}

#[tokio::test]
async fn every_target_of_a_route_answers_for_it_until_the_route_has_others() {
    let world = world();
    let ctx = context();
    let mut request = ask("x");
    request.model = "chat".into();
    let say = async || {
        let model = world.router.resolve("chat").unwrap();
        within(model.complete(&ctx, request.clone())).await.unwrap().text
    };
    assert_eq!(say().await, "by a");
    assert_eq!(say().await, "by a");
    assert_eq!(world.cache.stats().hits, 1);
    let mut config = world.router.config();
    config.routes.get_mut("chat").unwrap().targets.remove(0);
    world.router.reload(config).unwrap();
    assert_eq!(say().await, "by b", "what `a` said is no answer of the route any more");
    assert_eq!(say().await, "by b");
    assert_eq!(world.cache.stats().hits, 2);
}

#[tokio::test]
async fn configured_guards_are_there_with_a_cache_and_without_one() {
    let guards = serde_json::json!({ "guards": [
        { "name": "g", "check": { "patterns": { "words": ["secret"] } } },
    ] });
    for config in
        [serde_json::json!({ "guards": guards }), serde_json::json!({ "guards": guards, "cache": {} })]
    {
        let config: LayersConfig = serde_json::from_value(config).unwrap();
        let scripted = Arc::new(ScriptedModel::from_fn("m", |_| Reply::text("a secret answer")));
        let registry = ModelRegistry::builder().model("m", scripted.clone() as Arc<dyn ChatModel>);
        let router = Router::builder(registry.build().unwrap());
        let ledger = Arc::new(MemoryLedger::new(Env::default()));
        let model = config.around(router, ledger).unwrap().build().unwrap().resolve("m").unwrap();
        for (text, asked) in [("a secret question", 0), ("a question", 1), ("a question", 2)] {
            let error = within(model.complete(&context(), ask(text))).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ContentPolicy);
            assert_eq!(scripted.requests().len(), asked);
        }
    }
}

struct Judged {
    layers: Layers,
    router: Router,
    judge: Arc<ScriptedModel>,
}

/// A model `m` under a judge behind the route `fair`, and under a budget.
fn judged(on: serde_json::Value) -> Judged {
    let judge = Arc::new(ScriptedModel::from_fn("judge", |_| Reply::text(r#"{"allowed": true}"#)));
    let registry = ModelRegistry::builder()
        .model("m", Arc::new(ScriptedModel::from_fn("m", |_| Reply::text("an answer of some length"))))
        .model("judge", judge.clone())
        .reranker("ranks", Arc::new(Ranks(info("ranks"))));
    let config = serde_json::json!({
        "guards": { "guards": [
            { "name": "g", "check": { "judge": { "model": "fair", "policy": "be kind" } }, "on": on },
        ], "window_bytes": 8, "overlap_bytes": 2 },
        "budgets": { "limits": [
            { "of": { "scope": "project" }, "per": "day", "requests": 1000, "tokens": 1_000_000 },
        ] },
    });
    let config: LayersConfig = serde_json::from_value(config).unwrap();
    let routing = serde_json::json!({ "routes": { "fair": { "targets": ["judge"] } } });
    let ledger = Arc::new(MemoryLedger::new(Env::default()));
    let layers = config.layers(&Env::default(), ledger).unwrap();
    let router = Router::builder(registry.build().unwrap()).config(serde_json::from_value(routing).unwrap());
    let router = layers.around(router).unwrap().build().unwrap();
    Judged { layers, router, judge }
}

impl Judged {
    /// What the project spent: requests and tokens. Nothing is held any more.
    async fn spent(&self, ctx: &Context) -> [u64; 2] {
        let mut route = RouteHints::default();
        route.project = Some("apollo".into());
        let balances = self.layers.budgets().unwrap().balances(ctx, "m", &route).await.unwrap();
        let spent: Vec<u64> = balances.iter().map(|(_, balance)| balance.spent).collect();
        assert!(balances.iter().all(|(_, balance)| balance.reserved == 0), "{balances:?}");
        spent.try_into().unwrap()
    }
}

#[tokio::test]
async fn what_a_judge_uses_is_in_the_budget_once_and_among_the_attempts() {
    for (on, is_streamed) in [
        (serde_json::json!(["input"]), false),
        (serde_json::json!(["input", "output"]), false),
        (serde_json::json!(["output"]), true),
    ] {
        let world = judged(on);
        let (ctx, mut request) = (context(), ask("a question"));
        request.route.project = Some("apollo".into());
        let log = request.log.clone();
        let model = world.router.resolve("m").unwrap();
        if is_streamed {
            events(model.stream(&ctx, request).await).await.unwrap();
            assert!(world.judge.requests().len() > 1, "in windows");
        } else {
            within(model.complete(&ctx, request)).await.unwrap();
        }
        let judgements = world.judge.requests().len();
        let attempts = log.attempts();
        let by_judge = attempts.iter().filter(|attempt| attempt.model == "judge").count();
        assert_eq!((attempts.len(), by_judge), (judgements + 1, judgements));
        let usage = log.usage().unwrap();
        let tokens = usage.input_tokens.unwrap() + usage.output_tokens.unwrap();
        assert_eq!(world.spent(&ctx).await, [attempts.len() as u64, tokens]);
    }
}

#[tokio::test]
async fn a_judgement_that_nobody_waits_for_is_settled_too() {
    let world = judged(serde_json::json!(["output"]));
    let (ctx, mut request) = (context(), ask("a question"));
    request.route.project = Some("apollo".into());
    let log = request.log.clone();
    let mut stream = within(world.router.resolve("m").unwrap().stream(&ctx, request)).await.unwrap();
    within(stream.next()).await.unwrap().unwrap();
    drop(stream);
    let attempts = log.attempts();
    assert!(attempts.iter().any(|attempt| attempt.model == "judge"), "{attempts:?}");
    assert_eq!(world.spent(&ctx).await[0], attempts.len() as u64);
}

#[test]
fn a_judge_that_is_not_there_is_refused_with_its_path() {
    let config = serde_json::json!({ "guards": { "guards": [
        { "name": "g", "check": { "judge": { "model": "nobody", "policy": "be kind" } } },
    ] } });
    let config: LayersConfig = serde_json::from_value(config).unwrap();
    let model = Arc::new(ScriptedModel::new("m", [])) as Arc<dyn ChatModel>;
    let router = Router::builder(ModelRegistry::builder().model("m", model).build().unwrap());
    let ledger = Arc::new(MemoryLedger::new(Env::default()));
    let error = config.around(router, ledger).unwrap().build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("`guards[0].check.judge.model`: there is no model `nobody`"), "{error}");
}

/// Ranks documents as they come, one search unit each time.
#[derive(Debug)]
struct Ranks(ModelInfo);

#[async_trait]
impl RerankModel for Ranks {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    async fn rerank(&self, _: &Context, request: RerankRequest) -> Result<RerankResponse> {
        let said = request.documents.iter().chain([&request.query]).any(|text| text.contains("secret"));
        assert!(!said, "it was sent: {request:?}");
        let results = (0..request.documents.len()).map(|index| Ranked { index, score: 1.0 }).collect();
        let usage = Usage { input_tokens: Some(7), search_units: Some(1), ..Usage::default() };
        Ok(RerankResponse { results, model: None, usage: Some(usage) })
    }
}

#[tokio::test]
async fn pitfall_19_rerank_is_under_the_same_layers() {
    let config = serde_json::json!({
        "guards": { "guards": [
            { "name": "g", "check": { "patterns": { "words": ["secret"] } } },
            { "name": "h", "check": { "patterns": { "words": ["hide"], "action": { "redact": "-" } } } },
        ] },
        "budgets": { "limits": [{ "of": { "scope": "tenant" }, "per": "day", "requests": 2, "tokens": 1000 }] },
        "rate_limits": { "limits": [{ "of": { "scope": "user" }, "requests_per_minute": 3 }] },
    });
    let config: LayersConfig = serde_json::from_value(config).unwrap();
    let (_, env) = standing();
    let registry = ModelRegistry::builder().env(env.clone());
    let registry = registry.reranker("ranks", Arc::new(Ranks(info("ranks"))));
    let layers = config.layers(&env, Arc::new(MemoryLedger::new(env.clone()))).unwrap();
    let router = layers.around(Router::builder(registry.build().unwrap())).unwrap().build().unwrap();
    let ctx = context();
    let rank = async |query: &str, document: &str| {
        let request = RerankRequest::new("ranks", query, [document, "another"]);
        let model = router.reranker("ranks").unwrap();
        within(model.rerank(&ctx, request)).await
    };
    for (query, document, place) in [("secret", "x", ("query", "0")), ("x", "a secret", ("document", "0"))] {
        let error = rank(query, document).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ContentPolicy);
        assert!(error.context().contains(&(place.0, place.1.to_owned())), "{error:?}");
    }
    assert_eq!(rank("x", "hide this").await.unwrap().results.len(), 2);
    rank("x", "y").await.unwrap();
    let balances = layers.budgets().unwrap().balances(&ctx, "ranks", &RouteHints::default()).await.unwrap();
    let spent: Vec<u64> = balances.iter().map(|(_, balance)| balance.spent).collect();
    assert_eq!(spent, [2, 14]);
    assert_eq!(rank("x", "y").await.unwrap_err().kind(), ErrorKind::BudgetExceeded);
    layers.budgets().unwrap().reload(&BudgetConfig::default()).unwrap();
    let mut limited = false;
    for _ in 0..3 {
        limited |= rank("x", "y").await.is_err_and(|error| error.is(ErrorKind::RateLimited));
    }
    assert!(limited, "more than three in a minute");
}

#[tokio::test]
async fn content_is_not_to_be_recorded_where_nothing_records_it() {
    let config: LayersConfig =
        serde_json::from_value(serde_json::json!({ "trace": { "capture_content": true } })).unwrap();
    let router = || Router::builder(ModelRegistry::builder().build().unwrap());
    let ledger = Arc::new(MemoryLedger::new(Env::default()));
    let error = config.around(router(), ledger.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("`trace.capture_content`"), "{error}");
    #[cfg(feature = "otel")]
    {
        let layers = config.layers(&Env::default(), ledger).unwrap();
        let layers = layers.telemetry(agentprovision_llm::telemetry::Telemetry::new());
        assert!(layers.around(router()).is_ok());
    }
}
