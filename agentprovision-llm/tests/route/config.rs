//! Configurations that cannot be used, and reloading.

use std::sync::Arc;

use agentprovision_core::ErrorKind;
use agentprovision_core::model::{ChatRequest, EmbeddingResolver, ModelResolver, RerankResolver};
use agentprovision_core::testing::{Reply, ScriptedModel};
use agentprovision_llm::ModelRegistry;
use agentprovision_llm::route::{Router, RoutingConfig};
use serde_json::{Value, json};

use crate::kit::{Act, Bench, Upstream, ask, begun, categories, ended, event, fine, patient};
use crate::support::{context, finish_event};

fn router(config: Value) -> agentprovision_core::Result<Router> {
    let model = |name: &str| Arc::new(ScriptedModel::new(name, [Reply::text("hi")]));
    let registry = ModelRegistry::builder().model("small", model("small")).model("large", model("large"));
    Router::builder(registry.build().unwrap()).config(serde_json::from_value(config).unwrap()).build()
}

fn problems(config: Value) -> String {
    let error = router(config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    error.message().to_owned()
}

#[test]
fn every_problem_is_named_at_once_with_the_nearest_known_name() {
    let all = problems(json!({
        "strategy": "ordred",
        "routes": {
            "chat": {"targets": ["smal", "large"], "strategy": "cots", "fallbacks": ["lrge"]},
            "none": {"targets": []},
            "zero": {"targets": [{"model": "small", "weight": 0}, {"model": "large", "weight": 0}]},
            "small": {"targets": ["large"]},
        },
        "fallbacks": {"large": ["smalll"]},
        "custom": ["lareg"],
        "quality": {"small": 1001, "tag=x:latge": 5},
        "regions": {"scriptde": "eu"},
        "tenants": {"nobody": {"allow": ["smlal", "lar*"]}},
        "price_cap": {"input": -1},
        "max_attempts": 0,
        "idle_ms": 0,
    }));
    for expected in [
        "`strategy`: there is no strategy `ordred` (did you mean `ordered`?)",
        "`routes.chat.targets[0]`: there is no model `smal`; there are `large`, `small` (did you mean `small`?)",
        "`routes.chat.strategy`: there is no strategy `cots` (did you mean `cost`?)",
        "`routes.chat.fallbacks[0]`: there is no model `lrge`; there are `large`, `small` (did you mean `large`?)",
        "`routes.none.targets`: a route needs at least one target",
        "`routes.zero.targets`: every weight is 0",
        "`routes.small`: there is a model of this name",
        "`fallbacks.large[0]`: there is no model `smalll`",
        "`custom`: there is no model `lareg`",
        "`quality.small`: quality is at most 1000",
        "`quality.tag=x:latge`: there is no model `latge`",
        "`regions.scriptde`: there is no provider or model `scriptde` (did you mean `scripted`?)",
        "`tenants.nobody.allow[0]`: there is no model `smlal`",
        "`tenants.nobody`: this is no id of a tenant",
        "`price_cap`: a price must not be negative",
        "`max_attempts`: must not be 0",
        "`idle_ms`: must not be 0",
    ] {
        assert!(all.contains(expected), "{expected}\nis not in\n{all}");
    }
    assert!(!all.contains("lar*"), "{all}");
    router(json!({"regions": {"scripted": "eu", "small": "us"}, "custom": ["large"]})).unwrap();
}

#[test]
fn circles_are_found_however_long() {
    for (config, circle) in [
        (json!({"routes": {"x": {"targets": ["x"]}}}), "x → x"),
        (
            json!({"routes": {"x": {"targets": ["y"]}, "y": {"targets": ["small"], "fallbacks": ["x"]}}}),
            "x → y → x",
        ),
        (json!({"fallbacks": {"small": ["large"], "large": ["small"]}}), "large → small → large"),
    ] {
        let all = problems(config);
        assert!(all.contains("the fallbacks go in a circle: ") && all.contains(circle), "{all}");
    }
    // Two ways to one target are no circle.
    router(json!({"routes": {
        "x": {"targets": ["y", "z"]}, "y": {"targets": ["small"]}, "z": {"targets": ["small"]},
    }}))
    .unwrap();
}

#[test]
fn unknown_fields_are_named() {
    for (config, field) in [
        (json!({"retry": 1}), "retry"),
        (json!({"routes": {"x": {"targts": []}}}), "targts"),
        (json!({"routes": {"x": {"targets": [{"model": "m", "wieght": 1}]}}}), "wieght"),
        (json!({"breaker": {"open": 1}}), "open"),
        (json!({"hedge": {"percent": 1}}), "percent"),
    ] {
        let error = serde_json::from_value::<RoutingConfig>(config).unwrap_err().to_string();
        assert!(error.contains(&format!("unknown field `{field}`")), "{error}");
    }
}

/// A name that resolves but is not the one that is looked up would be ignored without a word.
#[tokio::test]
async fn a_short_name_where_the_full_one_counts_is_a_problem() {
    let bench = Bench::new(vec![Upstream::refusing().await, Upstream::refusing().await], patient(2));
    let mut config = patient(2);
    config.quality.insert("m".into(), 900);
    config.custom.insert("m".into());
    let error = bench.router.reload(config).unwrap_err();
    for expected in ["`custom`: write `a/m` for `m`", "`quality.m`: write `a/m` for `m`"] {
        assert!(error.message().contains(expected), "{error}");
    }
    // Fallbacks are found under either name, whichever is asked for.
    let mut config = patient(2);
    config.fallbacks.insert("a/m".into(), vec!["b/m".into()]);
    bench.router.reload(config).unwrap();
    for name in ["m", "a/m"] {
        let decision = bench.router.explain(&bench.ctx, &ask(name)).unwrap();
        let targets: Vec<_> = decision.candidates.iter().map(|one| one.target.as_str()).collect();
        assert_eq!(targets, ["a/m", "b/m"], "{name}");
    }
}

#[test]
fn names_of_strategies_are_no_names_of_selectors() {
    #[derive(Debug)]
    struct Any;
    impl agentprovision_llm::route::Selector for Any {
        fn rank(
            &self,
            _: &agentprovision_llm::route::RouteRequest,
            _: &[agentprovision_llm::route::Candidate],
        ) -> Vec<usize> {
            Vec::new()
        }
    }
    let registry = ModelRegistry::builder().build().unwrap();
    let error = Router::builder(registry).selector("cost", Arc::new(Any)).build().unwrap_err();
    assert_eq!(error.message(), "`cost` is a strategy of the router's own");
}

#[tokio::test]
async fn a_table_that_cannot_be_used_leaves_the_old_one() {
    let up = || Upstream::start(|_, seen| fine(seen, "x"));
    let bench = Bench::new(vec![up().await, up().await], patient(2));
    let old = bench.router.config();
    let mut bad = patient(2);
    bad.strategy = "qualty".into();
    let error = bench.router.reload(bad).unwrap_err();
    assert!(error.message().contains("did you mean `quality`?"), "{error}");
    assert_eq!(bench.router.config(), old);
    bench.complete(ask("all")).await.unwrap();
}

/// Pitfall 35: requests under way finish, whatever is reloaded, thrown out or dropped meanwhile.
#[tokio::test]
async fn pitfall_35_what_is_under_way_outlives_reloads_and_evictions() {
    let mut acts = begun(&["one "]);
    acts.extend([Act::Gate, event(&crate::support::text_event("two")), event(&finish_event()), ended()]);
    let up = || Upstream::start(|_, seen| fine(seen, "other"));
    let bench = Bench::new(vec![Upstream::always(acts).await, up().await], patient(2));
    let request = ask("all");
    let mut stream = bench.open(request.clone()).await.unwrap();
    let mut config = patient(2);
    config.routes.get_mut("all").unwrap().targets.reverse();
    bench.router.reload(config).unwrap();
    // More names than are kept.
    for n in 0..10_000 {
        bench.router.resolve(&format!("a/m{n}")).unwrap();
    }
    assert_eq!(bench.complete(ask("all")).await.unwrap(), "other", "new requests go by the new table");
    bench.upstreams[0].go();
    assert_eq!(bench.rest(&mut stream).await.0, "one two");
    assert_eq!(categories(&request), ["answered"]);
    // A name that is gone is an error for whoever still holds it, and nothing else.
    let held = bench.model("all");
    bench.router.reload(RoutingConfig::default()).unwrap();
    let error = bench.drive(held.complete(&bench.ctx, ask("all"))).await.unwrap_err();
    assert!(error.is(ErrorKind::NotFound), "{error}");
}

/// What a tenant may not do holds however its id was written.
#[test]
fn a_tenant_is_restricted_under_every_spelling_of_its_id() {
    let ctx = context();
    let uuid = ctx.tenant().uuid();
    let spellings = [
        ctx.tenant().to_string(),
        uuid.to_string(),
        format!("ten_{}", uuid.to_string().to_uppercase()),
        uuid.as_simple().to_string(),
        format!("ten_{{{uuid}}}"),
        format!("urn:uuid:{uuid}"),
    ];
    for spelling in &spellings {
        let router = router(json!({"tenants": {spelling: {"allow": ["large"]}}})).unwrap();
        for reloaded in [false, true] {
            let error = router.explain(&ctx, &ask("small")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{spelling}, {reloaded}");
            assert!(router.explain(&ctx, &ask("large")).is_ok());
            router.reload(router.config()).unwrap();
        }
    }
    let [one, two, ..] = &spellings;
    let all = problems(json!({"tenants": {one: {"allow": ["large"]}, two: {}}}));
    assert!(all.contains("is the same tenant as"), "{all}");
}

/// Who asks for a name is not known when it is looked up: where tenants are kept apart no name is told.
#[test]
fn a_name_nobody_knows_tells_no_names_where_tenants_are_restricted() {
    let open = router(json!({})).unwrap();
    assert!(open.resolve("smal").unwrap_err().message().contains("`small`"));
    let tenant = context().tenant().to_string();
    let config =
        json!({"tenants": {tenant: {"allow": ["large"]}}, "routes": {"chat": {"targets": ["small"]}}});
    let closed = router(config).unwrap();
    for name in ["smal", "cha"] {
        let error = closed.resolve(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.message(), format!("there is no model or route `{name}`"));
        assert!(closed.embedder(name).unwrap_err().message().ends_with(&format!("`{name}`")));
        assert!(closed.reranker(name).unwrap_err().message().ends_with(&format!("`{name}`")));
    }
}

/// Names come from agents, and what they resolve to is kept.
#[tokio::test]
async fn names_of_no_model_are_refused_before_anything_is_kept() {
    let bench = Bench::new(vec![Upstream::refusing().await], patient(1));
    let long = format!("a/{}", "x".repeat(254));
    for name in [long.as_str(), "a/m\n", "a/\u{0}", "a/\u{7f}m"] {
        for error in [
            bench.router.resolve(name).map(drop).unwrap_err(),
            bench.router.embedder(name).map(drop).unwrap_err(),
            bench.router.reranker(name).map(drop).unwrap_err(),
            bench.router.registry().get(name).map(drop).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert!(error.message().len() < 400);
        }
        let mut request = ask("a/m");
        request.route.fallbacks = vec![name.to_owned()];
        let decision = bench.router.explain(&bench.ctx, &request).unwrap();
        assert_eq!((decision.candidates.len(), decision.dropped.len()), (1, 1));
    }
    assert_eq!(bench.router.status().len(), 1, "what was asked for by its name");
    let longest = format!("a/{}", "x".repeat(253));
    assert!(bench.router.resolve(&longest).is_ok());
}

#[test]
fn limits_of_breakers_and_hedges_are_checked() {
    let all = problems(json!({
        "breaker": {"failure_per_cent": 1000, "open_ms": u64::MAX, "window_ms": 0, "consecutive": 0, "min_samples": 0},
        "hedge": {"per_cent": 101},
        "routes": {"long": {"targets": ["small"]}, "x".repeat(256): {"targets": ["small"]}},
    }));
    for expected in [
        "`breaker.failure_per_cent`: is not between 1 and 100",
        "`breaker.open_ms`: is not between 1 and 86400000",
        "`breaker.window_ms`: is not between 1 and 86400000",
        "`breaker.open_max_ms`: is less than `open_ms`",
        "`breaker.consecutive`: must not be 0",
        "`breaker.min_samples`: must not be 0",
        "`hedge.per_cent`: is more than 100",
        "is longer than 255 bytes",
    ] {
        assert!(all.contains(expected), "{expected}\nis not in\n{all}");
    }
}

/// A breaker belongs to the models, which are made before the router.
#[test]
fn a_breaker_that_the_models_were_not_made_with_is_refused() {
    let all = problems(json!({"breaker": {"consecutive": 3}}));
    assert!(all.contains("`breaker`: the models were made with another one"), "{all}");
    let config: RoutingConfig = serde_json::from_value(json!({"breaker": {"consecutive": 3}})).unwrap();
    let registry = ModelRegistry::builder().health(config.breaker.options());
    let registry = registry.model("small", Arc::new(ScriptedModel::new("small", []))).build().unwrap();
    assert!(Router::builder(registry).config(config).build().is_ok());
}

#[tokio::test]
async fn models_with_colons_have_qualities_and_custom_ones_no_fallbacks_under_any_name() {
    let bench = Bench::new(vec![Upstream::refusing().await, Upstream::refusing().await], patient(2));
    let mut config = patient(2);
    config.routes.get_mut("all").unwrap().targets[1].model = "b/m:free".into();
    config.routes.get_mut("all").unwrap().strategy = Some("quality".into());
    config.quality.insert("tier=gold:b/m:free".into(), 900);
    bench.router.reload(config.clone()).unwrap();
    let mut request = ask("all");
    let first = |request: &ChatRequest| {
        bench.router.explain(&bench.ctx, request).unwrap().candidates.remove(0).target
    };
    assert_eq!(first(&request), "a/m");
    request.route.tags.insert("tier".into(), "gold".into());
    assert_eq!(first(&request), "b/m:free");
    config.custom.insert("a/m".into());
    config.fallbacks.insert("m".into(), vec!["b/m".into()]);
    let error = bench.router.reload(config).unwrap_err();
    assert!(error.message().contains("`fallbacks.m`: a custom model falls back only"), "{error}");
}
