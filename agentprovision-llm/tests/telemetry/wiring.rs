//! How spans fit into those of others, and where they go.

use std::sync::Arc;

use agentprovision_core::Result;
use agentprovision_core::context::{Context, RequestInfo};
use agentprovision_core::model::{ChatModel, ChatRequest, ChatResponse, ChatStream, ModelInfo};
use agentprovision_core::testing::{Reply, ScriptedModel};
use agentprovision_llm::layers::{TraceConfig, TraceLayer};
use agentprovision_llm::telemetry::Telemetry;
use async_trait::async_trait;
use futures_util::StreamExt;
use opentelemetry::trace::{TraceContextExt, Tracer, TracerProvider};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};
use tower::Layer;

use super::support::within;
use super::world::*;

#[derive(Debug)]
struct Nested(ScriptedModel, SdkTracerProvider);

#[async_trait]
impl ChatModel for Nested {
    fn info(&self) -> &ModelInfo {
        self.0.info()
    }

    async fn complete(&self, ctx: &Context, request: ChatRequest) -> Result<ChatResponse> {
        drop(self.1.tracer("below").start("whole"));
        self.0.complete(ctx, request).await
    }

    async fn stream(&self, ctx: &Context, request: ChatRequest) -> Result<ChatStream> {
        drop(self.1.tracer("below").start("opened"));
        let (tracers, events) = (self.1.clone(), self.0.stream(ctx, request).await?);
        Ok(events.inspect(move |_| drop(tracers.tracer("below").start("piece"))).boxed())
    }
}

#[tokio::test]
async fn spans_fit_into_the_callers_trace_and_hold_what_happens_below() {
    let world = World::new();
    let scripted = ScriptedModel::new("m", [Reply::text("a"), Reply::text("b"), Reply::text("c")]);
    let model = world.wrap(Nested(scripted, world.tracers.clone()));
    let mut info = RequestInfo::default();
    info.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    let ctx = world.ctx.with_info(info);
    within(model.complete(&ctx, ChatRequest::default())).await.unwrap();
    let span = world.span("chat m");
    assert_eq!(span.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(span.parent_span_id.to_string(), "b7ad6b7169203331");
    assert_eq!(world.span("whole").parent_span_id, span.span_context.span_id());

    // The current span is nearer than what the caller's request says.
    world.spans.reset();
    let outer = opentelemetry::Context::new().with_span(world.tracers.tracer("host").start("outer"));
    let guard = outer.clone().attach();
    let opening = model.stream(&ctx, ChatRequest::default());
    let events = futures_util::FutureExt::now_or_never(opening).unwrap().unwrap();
    drop(guard);
    within(events.collect::<Vec<_>>()).await;
    let span = world.span("chat m");
    assert_eq!(span.parent_span_id, outer.span().span_context().span_id());
    let pieces: Vec<SpanData> = world.finished().into_iter().filter(|span| span.name == "piece").collect();
    assert_eq!(pieces.len(), 3);
    for below in pieces.iter().chain([&world.span("opened")]) {
        assert_eq!(below.parent_span_id, span.span_context.span_id());
    }
}

#[tokio::test]
async fn the_global_providers_are_used_only_when_asked_for() {
    let world = World::new();
    opentelemetry::global::set_tracer_provider(world.tracers.clone());
    opentelemetry::global::set_meter_provider(world.meters.clone());
    let scripted: Arc<dyn ChatModel> = Arc::new(ScriptedModel::from_fn("m", |_| Reply::text("x")));
    let plain = TraceLayer::new(world.env.clone(), TraceConfig::default());
    for layer in [plain.clone(), plain.clone().telemetry(Telemetry::new())] {
        let model = layer.layer(scripted.clone());
        within(model.complete(&world.ctx, ChatRequest::default())).await.unwrap();
    }
    assert_eq!((world.finished().len(), world.points().len()), (0, 0));
    let model = plain.telemetry(Telemetry::global()).layer(scripted);
    within(model.complete(&world.ctx, ChatRequest::default())).await.unwrap();
    assert_eq!((world.finished().len(), world.points().len()), (1, 3));
}

#[test]
fn an_unknown_setting_is_refused() {
    let read = |text| serde_json::from_str::<TraceConfig>(text);
    assert_eq!(read("{}").unwrap(), TraceConfig::default());
    assert!(read("{\"capture_content\": true}").unwrap().capture_content);
    let error = read("{\"capture\": true}").unwrap_err().to_string();
    assert!(error.contains("capture_content"), "{error}");
}
