//! Caches around the router.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agentprovision_core::model::{ChatModel, ModelResolver};
use agentprovision_core::testing::{Reply, ScriptedModel};
use agentprovision_core::{Env, Error, ErrorKind};
use agentprovision_llm::ModelRegistry;
use agentprovision_llm::layers::{CacheConfig, CacheLayer, LayersConfig};
use agentprovision_llm::limit::MemoryLedger;
use agentprovision_llm::route::{Router, RoutingConfig};

use crate::kit::{ask, events, text_of};
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
