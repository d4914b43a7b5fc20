//! What surrounds the models of a platform: configured, added by the host, and reached again while it is in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentprovision::llm::layers::{BudgetConfig, LayersConfig};
use agentprovision::llm::route::{Candidate, RouteRequest, Selector};
use agentprovision::model::{ChatModel, ChatRequest, Message, RouteHints};
use agentprovision::prelude::*;
use agentprovision::testing::{Reply, ScriptedModel};
use serde_json::{Value, json};

use crate::support::{home, in_time};

fn ask(model: &str) -> ChatRequest {
    let mut request = ChatRequest::new(model, vec![Message::user("Where is order 1234?")]);
    request.temperature = Some(0.0);
    request
}

fn layers(config: Value) -> LayersConfig {
    serde_json::from_value(config).unwrap()
}

fn talks(name: &'static str) -> Arc<ScriptedModel> {
    Arc::new(ScriptedModel::from_fn(name, move |_| Reply::text(format!("by {name}"))))
}

#[tokio::test]
async fn limits_are_reloaded_and_stored_answers_dropped_while_a_platform_runs() {
    let limit = |requests: u64| json!({ "limits": [{ "of": { "scope": "tenant" }, "per": "day", "requests": requests }] });
    let model = talks("m");
    let config = layers(json!({ "cache": {}, "budgets": limit(1) }));
    let builder = Platform::builder().model("m", model.clone()).layers(config);
    let platform = builder.build().await.unwrap();
    let home = home(&platform, "acme").await;
    let say = async || in_time(platform.models().complete(&home.admin, ask("m"))).await;
    say().await.unwrap();
    say().await.unwrap();
    assert_eq!((model.requests().len(), platform.layers().cache().unwrap().stats().hits), (1, 1));
    platform.layers().cache().unwrap().invalidate_tenant(home.tenant.id);
    assert_eq!(say().await.unwrap_err().kind(), ErrorKind::BudgetExceeded);
    let budgets = platform.layers().budgets().unwrap();
    let other: BudgetConfig = serde_json::from_value(limit(2)).unwrap();
    budgets.reload(&other).unwrap();
    say().await.unwrap();
    let balances = budgets.balances(&home.admin, "m", &RouteHints::default()).await.unwrap();
    assert_eq!((balances[0].0.most, balances[0].1.spent), (2, 2), "what was spent stays spent");
    assert!(platform.layers().rate_limits().is_none() && platform.layers().embedding_cache().is_none());
    platform.close().await.unwrap();
}

/// The last candidate first.
#[derive(Debug)]
struct Backwards;

impl Selector for Backwards {
    fn rank(&self, _: &RouteRequest, candidates: &[Candidate]) -> Vec<usize> {
        (0..candidates.len()).rev().collect()
    }
}

#[tokio::test]
async fn a_host_adds_layers_and_strategies_of_its_own() {
    let made = Arc::new(AtomicUsize::new(0));
    let counted = made.clone();
    let layer = tower::layer::layer_fn(move |model: Arc<dyn ChatModel>| {
        counted.fetch_add(1, Ordering::SeqCst);
        model
    });
    let config = r#"{"routing": {"routes": {"chat": {"targets": ["a", "b"], "strategy": "backwards"}}}}"#;
    let builder = PlatformConfig::from_json(config).unwrap().into_builder().unwrap();
    let builder = builder.model("a", talks("a")).model("b", talks("b"));
    let builder = builder.selector("backwards", Arc::new(Backwards)).layer(layer);
    let platform = builder.build().await.unwrap();
    let home = home(&platform, "acme").await;
    let answered = in_time(platform.models().complete(&home.admin, ask("chat"))).await.unwrap();
    assert_eq!((answered.answer.text.as_str(), made.load(Ordering::SeqCst)), ("by b", 1));
    platform.close().await.unwrap();
}

#[tokio::test]
async fn content_is_not_to_be_recorded_without_telemetry() {
    let builder = Platform::builder().layers(layers(json!({ "trace": { "capture_content": true } })));
    let error = builder.build().await.unwrap_err();
    assert!(error.is(ErrorKind::InvalidInput) && error.message().contains("capture_content"), "{error}");
}

#[cfg(all(feature = "llm-openai", feature = "http-reqwest"))]
#[tokio::test]
async fn a_key_that_is_refused_is_changed_for_the_next() {
    use agentprovision::testing::{ManualClock, SeededEntropy};
    use agentprovision::{Env, Timestamp};
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::post;
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let keys = seen.clone();
    let answer = move |headers: HeaderMap| async move {
        let key = headers["authorization"].to_str().unwrap().to_owned();
        keys.lock().unwrap().push(key.clone());
        if key == "Bearer key-of-FIRST" {
            return (StatusCode::UNAUTHORIZED, json!({ "error": { "message": "no" } }).to_string());
        }
        let message = json!({ "role": "assistant", "content": "hello" });
        let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
        (StatusCode::OK, json!({ "id": "1", "model": "m", "choices": [choice] }).to_string())
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = axum::Router::new().route("/v1/chat/completions", post(answer));
    let server = tokio::spawn(async move { axum::serve(listener, service).await });

    let provider = json!({ "type": "openai_compatible", "name": "local", "base_url": format!("http://{address}/v1"),
        "key_env": "FIRST", "more_key_envs": ["SECOND", "THIRD"] });
    let config = PlatformConfig::from_json(&json!({ "providers": [provider] }).to_string()).unwrap();
    let secret = |name: &str| Some(format!("key-of-{name}").into());
    // The clock stands, so that the pause of a refused key does not end.
    let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
    let env = Env::new(Arc::new(clock), Arc::new(SeededEntropy::new(5)));
    let platform = config.into_builder_with(&secret).unwrap().env(env).build().await.unwrap();
    let home = home(&platform, "acme").await;
    // Which key is first is drawn.
    for _ in 0..40 {
        let answered = in_time(platform.models().complete(&home.admin, ask("local/m"))).await.unwrap();
        assert_eq!(answered.answer.text, "hello");
    }
    let seen = seen.lock().unwrap().clone();
    for name in ["FIRST", "SECOND", "THIRD"] {
        assert!(seen.contains(&format!("Bearer key-of-{name}")), "{seen:?}");
    }
    let refused = seen.iter().filter(|key| key.ends_with("FIRST")).count();
    assert_eq!((refused, seen.len()), (1, 41), "a refused key is left alone for a while: {seen:?}");
    platform.close().await.unwrap();
    server.abort();
    // A key in the wrong place is not repeated.
    let wrong = r#"{"providers": [{"type": "openai", "more_key_envs": ["sk-hunter2"]}]}"#;
    let error = PlatformConfig::from_json(wrong).unwrap().into_builder_with(&|_| Some("x".to_owned().into()));
    assert!(!error.unwrap_err().message().contains("hunter2"));
}

#[cfg(feature = "otel")]
#[tokio::test]
async fn a_platform_tells_opentelemetry_of_its_requests() {
    use agentprovision::llm::telemetry::{SCOPE, Telemetry};
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
    let spans = InMemorySpanExporter::default();
    let tracers = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
    let builder = Platform::builder()
        .model("m", talks("m"))
        .layers(layers(json!({ "trace": { "capture_content": true } })))
        .telemetry(Telemetry::new().tracer(tracers.tracer(SCOPE)));
    let platform = builder.build().await.unwrap();
    let home = home(&platform, "acme").await;
    in_time(platform.models().complete(&home.admin, ask("m"))).await.unwrap();
    let spans = spans.get_finished_spans().unwrap();
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_ref()).collect();
    assert_eq!(names, ["attempt m", "chat m"]);
    assert!(format!("{spans:?}").contains("Where is order 1234?"));
    platform.close().await.unwrap();
}
