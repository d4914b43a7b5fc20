//! Who is asked, in which order, who is not, and why.

use std::sync::Arc;

use agentprovision_core::context::Context;
use agentprovision_core::model::{
    ChatModel, ChatRequest, ChatResponse, ChatStream, Content, Message, ModelInfo, ModelResolver, Source,
    ToolDefinition,
};
use agentprovision_core::money::{Cost, PicoUsd};
use agentprovision_core::testing::{Reply, ScriptedModel};
use agentprovision_core::{ErrorKind, Result};
use agentprovision_llm::ModelRegistry;
use agentprovision_llm::route::{
    Candidate, DropReason, RouteDecision, RouteRequest, Router, RoutingConfig, Selector,
};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::kit::{Bench, Paced, Upstream, ask, fine, patient, price, status};
use crate::support::context;

/// A scripted model about which something else is known.
#[derive(Debug)]
struct Known(ModelInfo, ScriptedModel);

#[async_trait]
impl ChatModel for Known {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    async fn complete(&self, ctx: &Context, request: ChatRequest) -> Result<ChatResponse> {
        self.1.complete(ctx, request).await
    }

    async fn stream(&self, ctx: &Context, request: ChatRequest) -> Result<ChatStream> {
        self.1.stream(ctx, request).await
    }
}

fn known(name: &str, change: impl Fn(&mut ModelInfo)) -> Arc<dyn ChatModel> {
    let text = format!("from {name}");
    let scripted = ScriptedModel::from_fn(name, move |_| Reply::text(text.clone()));
    let mut info = scripted.info().clone();
    info.price = Some(price().into());
    change(&mut info);
    Arc::new(Known(info, scripted))
}

/// The last one, whatever is asked.
#[derive(Debug)]
struct Last;

impl Selector for Last {
    fn rank(&self, request: &RouteRequest, candidates: &[Candidate]) -> Vec<usize> {
        assert_eq!(request.tags["tier"], "gold");
        vec![candidates.len() - 1, 99, candidates.len() - 1]
    }
}

/// `plain`, `small` with a window of 1000 tokens, `blind` without tools and images, `dear`, `free` without a price.
fn router(config: Value) -> Router {
    let mut builder = ModelRegistry::builder().env(Paced::new().env(1));
    for model in [
        known("plain", |info| info.capabilities.tools = Some(true)),
        known("small", |info| info.context_window = Some(1000)),
        known("blind", |info| {
            (info.capabilities.tools, info.capabilities.images) = (Some(false), Some(false));
        }),
        known("dear", |info| info.price.as_mut().unwrap().base.output = PicoUsd(90_000_000)),
        known("free", |info| info.price = None),
    ] {
        builder = builder.model(model.info().name.clone(), model);
    }
    let mut config = config;
    config["routes"] = json!({"any": {"targets": ["plain", "small", "blind", "dear", "free"]}});
    let config: RoutingConfig = serde_json::from_value(config).unwrap();
    Router::builder(builder.build().unwrap()).config(config).selector("last", Arc::new(Last)).build().unwrap()
}

fn dropped(decision: &RouteDecision) -> Vec<(&str, DropReason)> {
    decision.dropped.iter().map(|one| (one.target.as_str(), one.reason.clone())).collect()
}

fn order(decision: &RouteDecision) -> Vec<&str> {
    decision.candidates.iter().map(|one| one.target.as_str()).collect()
}

#[test]
fn decisions_say_why_a_target_is_left_out() {
    let ctx = context();
    let plain = router(json!({}));
    let decision = plain.explain(&ctx, &ask("any")).unwrap();
    assert_eq!((order(&decision).len(), decision.dropped.len()), (5, 0));
    assert!(decision.candidates.iter().all(|one| one.score.is_some() && one.blocked.is_none()));

    let mut tools = ask("any");
    tools.tools =
        vec![ToolDefinition { name: "t".into(), description: String::new(), input_schema: json!({}) }];
    assert_eq!(dropped(&plain.explain(&ctx, &tools).unwrap()), [("blind", DropReason::Capability("tools"))]);

    let source = Source::Url("https://example.com/a.png".into());
    let image = Content::Image { media_type: "image/png".into(), source };
    let mut images = ask("any");
    images.messages = vec![Message::User { content: vec![image] }];
    let decision = plain.explain(&ctx, &images).unwrap();
    assert!(dropped(&decision).contains(&("blind", DropReason::Capability("images"))));

    let long = ChatRequest::new("any", vec![Message::user("word ".repeat(2000))]);
    assert_eq!(dropped(&plain.explain(&ctx, &long).unwrap()), [("small", DropReason::ContextWindow)]);

    let capped = router(json!({"price_cap": {"output": 2_000_000}}));
    let decision = capped.explain(&ctx, &ask("any")).unwrap();
    assert_eq!(dropped(&decision), [("dear", DropReason::Price), ("free", DropReason::Price)]);

    let tenant = ctx.tenant().to_string();
    let allowed = router(json!({"tenants": {&tenant: {"allow": ["pl*", "dear"]}}}));
    let decision = allowed.explain(&ctx, &ask("any")).unwrap();
    assert_eq!(order(&decision), ["plain", "dear"]);
    assert!(decision.dropped.iter().all(|one| one.reason == DropReason::NotAllowed));
    let error = allowed.explain(&ctx, &ask("small")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(order(&allowed.explain(&context(), &ask("any")).unwrap()).len(), 5, "another tenant");

    let regions =
        json!({"regions": {"small": "eu", "dear": "us"}, "tenants": {&tenant: {"regions": ["eu"]}}});
    let decision = router(regions).explain(&ctx, &ask("any")).unwrap();
    assert_eq!(order(&decision), ["small"]);
    assert!(decision.dropped.iter().all(|one| one.reason == DropReason::Region));
    // As text, for whoever looks.
    let text = serde_json::to_value(&decision).unwrap();
    assert_eq!(text["dropped"][0]["reason"], "region");
}

#[test]
fn a_fallback_that_nobody_knows_is_said_to_be_unknown() {
    let mut request = ask("plain");
    request.route.fallbacks = vec!["nowhere".into(), "dear".into()];
    let decision = router(json!({})).explain(&context(), &request).unwrap();
    assert_eq!(order(&decision), ["plain", "dear"]);
    assert_eq!(dropped(&decision), [("nowhere", DropReason::Unknown)]);
    assert_eq!(decision.candidates[1].group, 2);
}

#[test]
fn strategies_and_selectors_are_named_by_a_request() {
    let (router, ctx) = (router(json!({})), context());
    let mut request = ask("any");
    request.route.tags.insert("tier".into(), "gold".into());
    request.route.strategy = Some("last".into());
    let decision = router.explain(&ctx, &request).unwrap();
    assert_eq!((order(&decision), decision.strategy.as_str()), (vec!["free"], "last"));
    assert_eq!(dropped(&decision)[0], ("plain", DropReason::Selector));
    request.route.strategy = Some("cost".into());
    let decision = router.explain(&ctx, &request).unwrap();
    assert_eq!(order(&decision)[3..], ["dear", "free"], "what has no price comes last");
    request.route.strategy = Some("costs".into());
    let error = router.explain(&ctx, &request).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::InvalidInput, "there is no strategy `costs`"));
}

/// Pitfall 4: an unknown price is no price of zero, and the log says so.
#[tokio::test]
async fn pitfall_04_an_unknown_price_stays_unknown() {
    let router = router(json!({}));
    let request = ask("free");
    router.resolve("free").unwrap().complete(&context(), request.clone()).await.unwrap();
    let attempt = request.log.attempts().pop().unwrap();
    assert!(attempt.is_billed());
    assert_eq!((attempt.cost, request.log.cost()), (None, Cost::Unknown));
}

/// Pitfall 33: sessions stay where their cache is while that target is well.
#[tokio::test]
async fn pitfall_33_a_session_stays_where_its_prompt_cache_is_until_that_is_unwell() {
    let well = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let held = Arc::clone(&well);
    let first = Upstream::start(move |_, seen| match held.load(std::sync::atomic::Ordering::SeqCst) {
        true => fine(seen, "a"),
        false => status(500, "", "{}"),
    });
    let second = Upstream::start(|_, seen| fine(seen, "b"));
    let mut config = patient(2);
    config.routes.get_mut("all").unwrap().strategy = Some("weighted".into());
    let bench = Bench::new(vec![first.await, second.await], config);
    let mut request = ask("all");
    // A session that began with the first one.
    while bench.upstreams[0].calls() == 0 {
        request = ask("all");
        request.route.affinity = Some(format!("session {}", bench.calls()));
        bench.complete(request.clone()).await.unwrap();
    }
    for _ in 0..20 {
        assert_eq!(bench.complete(request.clone()).await.unwrap(), "a");
        let decision = bench.router.explain(&bench.ctx, &request).unwrap();
        assert!(decision.candidates[0].warm && !decision.candidates[1].warm);
    }
    // A key may be of any length, and another one that begins alike is another one.
    let mut long = request.clone();
    long.route.affinity = Some("x".repeat(10_000_000));
    bench.complete(long.clone()).await.unwrap();
    assert!(bench.router.explain(&bench.ctx, &long).unwrap().candidates.iter().any(|one| one.warm));
    long.route.affinity.as_mut().unwrap().push('x');
    assert!(bench.router.explain(&bench.ctx, &long).unwrap().candidates.iter().all(|one| !one.warm));
    // Another tenant's session of the same name is another session.
    assert!(bench.router.explain(&context(), &request).unwrap().candidates.iter().all(|one| !one.warm));
    well.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(bench.complete(request.clone()).await.unwrap(), "b");
    let calls = bench.upstreams[0].calls();
    well.store(true, std::sync::atomic::Ordering::SeqCst);
    for _ in 0..5 {
        assert_eq!(bench.complete(request.clone()).await.unwrap(), "b", "and then where it went");
    }
    assert_eq!(bench.upstreams[0].calls(), calls);
    let warm = || bench.router.explain(&bench.ctx, &request).unwrap().candidates.iter().any(|one| one.warm);
    bench.clock.advance(std::time::Duration::from_secs(299));
    assert!(warm());
    bench.clock.advance(std::time::Duration::from_secs(1));
    assert!(!warm(), "the prompt cache is cold");
}

/// A custom model falls back only to what the request lists.
#[tokio::test]
async fn a_pinned_custom_model_falls_back_only_to_what_is_listed() {
    let down = Upstream::always(status(500, "", "{}"));
    let up = || Upstream::start(|_, seen| fine(seen, "other"));
    let mut config = patient(3);
    config.custom.insert("a/m".into());
    let bench = Bench::new(vec![down.await, up().await, up().await], config);
    bench.complete(ask("a/m")).await.unwrap_err();
    assert_eq!(bench.calls(), bench.upstreams[0].calls());
    let mut request = ask("a/m");
    request.route.fallbacks = vec!["c/m".into()];
    assert_eq!(bench.complete(request).await.unwrap(), "other");
    assert_eq!((bench.upstreams[1].calls(), bench.upstreams[2].calls()), (0, 1));
}

#[tokio::test]
async fn no_attempts_at_all_is_no_request() {
    let mut request = ask("plain");
    request.route.max_attempts = Some(0);
    let error = router(json!({})).resolve("plain").unwrap().complete(&context(), request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// A request that pays once ends with the first attempt that may be billed.
#[tokio::test]
async fn who_pays_once_is_not_billed_twice() {
    let cut = vec![crate::kit::Act::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec())];
    for (acts, asked) in [(cut, 1), (status(200, "", "no json"), 1), (status(500, "", "{}"), 2)] {
        let upstreams = vec![Upstream::always(acts).await, Upstream::start(|_, seen| fine(seen, "x")).await];
        let bench = Bench::new(upstreams, patient(2));
        let mut request = ask("all");
        request.route.pay_once = true;
        assert_eq!(bench.complete(request).await.is_ok(), asked == 2);
        assert_eq!(bench.calls(), asked);
    }
}
