//! What is stored, what is given again, and to whom.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentprovision_core::context::{Context, RequestInfo};
use agentprovision_core::model::{
    CacheUse, ChatEvent, ChatModel, ChatRequest, ChatResponse, FinishReason, Usage,
};
use agentprovision_core::money::NanoUsd;
use agentprovision_core::testing::{Reply, ScriptedModel};
use agentprovision_core::{Env, Error, ErrorKind, Result};
use agentprovision_llm::layers::{CacheConfig, CacheLayer, CacheScope};
use futures_util::StreamExt;
use serde_json::json;
use tower::Layer;

use crate::kit::{Routed, ask, counting, events, standing, text_of, user_of};
use crate::support::{context, within};

fn layer(config: CacheConfig) -> CacheLayer {
    CacheLayer::new(config, Env::default()).unwrap()
}

fn cached(model: &Arc<ScriptedModel>, layer: &CacheLayer) -> Arc<dyn ChatModel> {
    layer.layer(Arc::clone(model) as Arc<dyn ChatModel>)
}

async fn whole(model: &Arc<dyn ChatModel>, ctx: &Context, request: ChatRequest) -> Result<ChatResponse> {
    within(model.complete(ctx, request)).await
}

async fn text(model: &Arc<dyn ChatModel>, ctx: &Context, request: ChatRequest) -> String {
    whole(model, ctx, request).await.unwrap().text
}

#[tokio::test]
async fn an_answer_is_given_again_whole_or_streamed_and_costs_nothing() {
    let (scripted, ctx, layer) = (counting(), context(), layer(CacheConfig::default()));
    let model = cached(&scripted, &layer);
    let first = whole(&model, &ctx, ask("hello")).await.unwrap();
    let again = whole(&model, &ctx, ask("hello")).await.unwrap();
    assert_eq!(again.text, "answer 1 in several words");
    let usage = again.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(0), Some(0)));
    let now = Env::default().now();
    assert_eq!(model.info().cost(&usage, now), Some(NanoUsd::ZERO));
    assert_eq!(ChatResponse { usage: first.usage, ..again }, first, "but for what it used it is the same");

    let streamed = events(model.stream(&ctx, ask("hello")).await).await.unwrap();
    assert_eq!(text_of(&streamed), first.text);
    assert!(matches!(streamed[streamed.len() - 2], ChatEvent::Finished { reason: FinishReason::Stop, .. }));
    assert!(matches!(streamed[streamed.len() - 1], ChatEvent::Usage(Usage { output_tokens: Some(0), .. })));
    assert_eq!(scripted.requests().len(), 1);
    let stats = layer.stats();
    assert_eq!((stats.hits, stats.misses, stats.stored, stats.shared), (2, 1, 1, 0));
}

#[tokio::test]
async fn a_streamed_answer_is_given_again_whole_or_streamed() {
    let call = |name: &str| (name.to_owned(), json!({ "id": 7 }));
    let replies = [Reply::Both("let me see".into(), vec![call("find"), call("find")])];
    let scripted = Arc::new(ScriptedModel::new("m", replies));
    let (ctx, layer) = (context(), layer(CacheConfig::default()));
    let model = cached(&scripted, &layer);
    let first = events(model.stream(&ctx, ask("x")).await).await.unwrap();
    assert_eq!(layer.stats().stored, 1);
    let again = events(model.stream(&ctx, ask("x")).await).await.unwrap();
    assert_eq!(text_of(&first), text_of(&again));
    let calls = |events: &[ChatEvent]| {
        let calls = events.iter().filter(|event| matches!(event, ChatEvent::ToolCall { .. }));
        calls.cloned().collect::<Vec<_>>()
    };
    assert_eq!((calls(&first).len(), calls(&first)), (2, calls(&again)));
    let whole = whole(&model, &ctx, ask("x")).await.unwrap();
    assert_eq!((whole.tool_calls.len(), whole.finish), (2, FinishReason::ToolCalls));
    assert!(whole.tool_calls.iter().all(|call| call.complete && call.json() == Some(json!({ "id": 7 }))));
}

#[tokio::test]
async fn a_reader_that_stops_at_the_finish_has_read_the_whole_answer() {
    let (scripted, ctx, layer) = (counting(), context(), layer(CacheConfig::default()));
    let model = cached(&scripted, &layer);
    let mut stream = model.stream(&ctx, ask("x")).await.unwrap();
    while let Some(event) = within(stream.next()).await {
        if matches!(event, Ok(ChatEvent::Finished { .. })) {
            break;
        }
    }
    drop(stream);
    assert_eq!(layer.stats().stored, 1);
    // One that stops before has not.
    let mut stream = model.stream(&ctx, ask("y")).await.unwrap();
    within(stream.next()).await.unwrap().unwrap();
    drop(stream);
    assert_eq!(layer.stats().stored, 1);
}

#[tokio::test]
async fn only_requests_for_temperature_0_are_answered_from_the_cache_unless_they_say_otherwise() {
    let (scripted, ctx) = (counting(), context());
    let model = cached(&scripted, &layer(CacheConfig::default()));
    let with = |temperature, cache| {
        let mut request = ask("x");
        request.temperature = temperature;
        request.route.cache = cache;
        request
    };
    for (temperature, cache, number) in [
        (None, CacheUse::Default, 1),
        (None, CacheUse::Default, 2),
        (Some(0.7), CacheUse::Default, 3),
        (Some(0.7), CacheUse::Always, 4),
        (Some(0.7), CacheUse::Always, 4),
        (Some(0.7), CacheUse::Default, 5),
        (Some(0.0), CacheUse::Default, 6),
        (Some(0.0), CacheUse::Never, 7),
        (Some(0.0), CacheUse::Default, 6),
        (Some(0.0), CacheUse::Refresh, 8),
        (Some(0.0), CacheUse::Default, 8),
        (Some(0.0), CacheUse::Always, 8),
    ] {
        let text = text(&model, &ctx, with(temperature, cache)).await;
        assert_eq!(text, format!("answer {number} in several words"), "{temperature:?} {cache:?}");
    }
    let any = CacheConfig { any_temperature: true, ..CacheConfig::default() };
    let model = cached(&scripted, &layer(any));
    let first = text(&model, &ctx, with(None, CacheUse::Default)).await;
    assert_eq!(text(&model, &ctx, with(None, CacheUse::Default)).await, first);
}

#[tokio::test]
async fn pitfall_27_truncated_failed_refused_and_empty_answers_are_never_stored() {
    let replies: [fn() -> Reply; 5] = [
        || Reply::CutOff("find".into(), "{\"id\":".into()),
        || Reply::CutOff("find".into(), "{}".into()),
        || Reply::Break("half an ".into(), Error::new(ErrorKind::Incomplete, "it broke off")),
        || Reply::Fail(Error::new(ErrorKind::Unavailable, "not now")),
        || Reply::text(""),
    ];
    for reply in replies {
        for streamed in [false, true] {
            let scripted = Arc::new(ScriptedModel::new("m", [reply(), Reply::text("well")]));
            let (layer, ctx) = (layer(CacheConfig::default()), context());
            let model = cached(&scripted, &layer);
            if streamed {
                _ = events(model.stream(&ctx, ask("x")).await).await;
            } else {
                _ = whole(&model, &ctx, ask("x")).await;
            }
            assert_eq!(layer.stats().stored, 0, "{:?}", reply());
            assert_eq!(text(&model, &ctx, ask("x")).await, "well");
        }
    }
}

#[tokio::test]
async fn pitfall_27_what_a_fallback_said_is_not_stored_as_the_answer_of_the_model_it_stood_in_for() {
    let (scripted, ctx, layer) = (counting(), context(), layer(CacheConfig::default()));
    let target = Arc::new(Mutex::new("fallback"));
    let routed = Arc::new(Routed { inner: scripted.clone(), target: Arc::clone(&target) });
    let layer = layer.own_targets(|request, by| request.model == "m" && by.model == "primary");
    let model = layer.layer(routed as Arc<dyn ChatModel>);
    for _ in 0..2 {
        text(&model, &ctx, ask("x")).await;
        events(model.stream(&ctx, ask("x")).await).await.unwrap();
    }
    assert_eq!(
        (scripted.requests().len(), layer.stats().stored),
        (4, 0),
        "nothing a fallback said is stored"
    );
    *target.lock().unwrap() = "primary";
    let mut request = ask("x");
    let log = request.log.clone();
    // Attempts that others made before are not this answer's.
    assert_eq!(text(&model, &ctx, request.clone()).await, "answer 5 in several words");
    assert_eq!(log.len(), 1);
    request.log = log;
    assert_eq!(text(&model, &ctx, request).await, "answer 5 in several words");
    assert_eq!(events(model.stream(&ctx, ask("y")).await).await.unwrap().len(), 7);
    assert_eq!(layer.stats().stored, 2);
    assert_eq!(text(&model, &ctx, ask("y")).await, "answer 6 in several words");
}

#[tokio::test]
async fn around_a_router_nothing_is_stored_until_it_is_known_whose_answers_may_be() {
    let (scripted, ctx, layer) = (counting(), context(), layer(CacheConfig::default()));
    let target = Arc::new(Mutex::new("primary"));
    let model = layer.layer(Arc::new(Routed { inner: scripted.clone(), target }) as Arc<dyn ChatModel>);
    text(&model, &ctx, ask("x")).await;
    text(&model, &ctx, ask("x")).await;
    assert_eq!(scripted.requests().len(), 2);
}

#[tokio::test]
async fn two_tenants_share_no_answer_unless_the_operator_allows_it() {
    let (ada, eve) = (context(), context());
    let bob = user_of(ada.tenant(), RequestInfo::default());
    for (scope, asked) in [(CacheScope::Tenant, 2), (CacheScope::User, 3), (CacheScope::Shared, 1)] {
        let scripted = counting();
        let layer = layer(CacheConfig { scope, ..CacheConfig::default() });
        let model = cached(&scripted, &layer);
        for _ in 0..2 {
            for ctx in [&ada, &bob, &eve] {
                text(&model, ctx, ask("the same words")).await;
            }
        }
        assert_eq!(scripted.requests().len(), asked, "{scope:?}");
        assert_eq!(layer.stats().hits, 6 - asked as u64);
    }
}

#[tokio::test]
async fn answers_grow_old_by_the_injected_clock() {
    let (clock, env) = standing();
    let (scripted, ctx) = (counting(), context());
    let layer = CacheLayer::new(CacheConfig { ttl_ms: 1000, ..CacheConfig::default() }, env).unwrap();
    let model = cached(&scripted, &layer);
    let first = text(&model, &ctx, ask("x")).await;
    clock.advance(Duration::from_millis(999));
    assert_eq!(text(&model, &ctx, ask("x")).await, first);
    clock.advance(Duration::from_millis(1));
    assert_ne!(text(&model, &ctx, ask("x")).await, first);
}

#[tokio::test]
async fn answers_are_dropped_by_tenant_by_model_and_all_together() {
    let (scripted, ada, eve) = (counting(), context(), context());
    let layer = layer(CacheConfig::default());
    let model = cached(&scripted, &layer);
    let named = |name: &str| {
        let mut request = ask("x");
        request.model = name.into();
        request
    };
    let fill = async || {
        for ctx in [&ada, &eve] {
            for name in ["m", "n"] {
                text(&model, ctx, named(name)).await;
            }
        }
        scripted.requests().len()
    };
    assert_eq!(fill().await, 4);
    assert_eq!(fill().await, 4);
    layer.invalidate_tenant(ada.tenant());
    assert_eq!(fill().await, 6);
    layer.invalidate_model("n");
    assert_eq!(fill().await, 8);
    // The wrapped model's own name, which gave them all.
    layer.invalidate_model("m");
    assert_eq!(fill().await, 12);
    layer.forget(&ada, &named("n")).unwrap();
    assert_eq!(fill().await, 13);
    layer.invalidate_all();
    assert_eq!(fill().await, 17);
    assert_eq!(fill().await, 17);
}

#[tokio::test]
async fn an_answer_that_was_asked_for_before_an_invalidation_is_not_stored_after_it() {
    let (scripted, ctx, layer) = (counting(), context(), layer(CacheConfig::default()));
    let model = cached(&scripted, &layer);
    let stream = model.stream(&ctx, ask("x")).await;
    layer.invalidate_tenant(ctx.tenant());
    events(stream).await.unwrap();
    assert_eq!(layer.stats().stored, 0);
    text(&model, &ctx, ask("x")).await;
    assert_eq!(scripted.requests().len(), 2);
}

#[tokio::test]
async fn the_bytes_that_are_kept_have_a_limit() {
    let long = "w".repeat(10_000);
    let answer = long.clone();
    let scripted = Arc::new(ScriptedModel::from_fn("m", move |_| Reply::text(&*answer)));
    let config = CacheConfig { max_bytes: 100_000, max_answer_bytes: 20_000, ..CacheConfig::default() };
    let (layer, ctx) = (layer(config.clone()), context());
    let model = cached(&scripted, &layer);
    for number in 0..100 {
        assert_eq!(text(&model, &ctx, ask(&format!("question {number}"))).await, long);
    }
    let stats = layer.stats();
    assert!(stats.bytes > 50_000 && stats.bytes <= 100_000, "{stats:?}");
    assert_eq!(stats.stored, 100);
    // The last one is still there; an answer that is too long never was.
    text(&model, &ctx, ask("question 99")).await;
    assert_eq!(layer.stats().hits, 1);
    let layer = CacheLayer::new(CacheConfig { max_answer_bytes: 5000, ..config }, Env::default()).unwrap();
    let model = cached(&scripted, &layer);
    text(&model, &ctx, ask("x")).await;
    assert_eq!(layer.stats().stored, 0);
}

#[test]
fn a_configuration_that_cannot_be_used_is_refused_with_all_its_problems() {
    let config: CacheConfig =
        serde_json::from_value(json!({ "ttl_ms": 0, "max_bytes": 10, "scope": "shared" })).unwrap();
    let error = CacheLayer::new(config, Env::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error.message().contains("`ttl_ms`") && error.message().contains("`max_answer_bytes`"),
        "{error}"
    );
    let unknown = serde_json::from_value::<CacheConfig>(json!({ "ttl": 1 })).unwrap_err();
    assert!(unknown.to_string().contains("unknown field `ttl`"));
    let defaults: CacheConfig = serde_json::from_value(json!({})).unwrap();
    assert_eq!(defaults, CacheConfig::default());
}
