//! What one request tells, however it ends.

use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::id::AgentId;
use agentprovision_core::model::{
    AttemptEnd, CallLog, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, EmbedRequest,
    EmbedResponse, EmbeddingModel, FinishReason, Message, ModelInfo, Usage,
};
use agentprovision_core::testing::{Reply, ScriptedModel};
use agentprovision_core::{Error, ErrorKind, Result};
use agentprovision_llm::telemetry::SCOPE;
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry_sdk::trace::SpanData;
use tower::Layer;

use super::support::within;
use super::world::*;

#[tokio::test]
async fn a_request_is_one_span_and_every_attempt_is_one_below_it() {
    let world = World::new();
    let attempts = vec![
        attempt(failed(), 10, 200_000, None),
        attempt(AttemptEnd::Answered, 250_000, 240_000, Some(tokens(10, 6))),
    ];
    let agent: AgentId = world.env.id();
    let ctx = world.ctx.for_agent(agent, world.ctx.grants());
    let model = world.wrap(world.timed(Reply::text("hi there"), attempts));
    within(model.complete(&ctx, request())).await.unwrap();

    let span = world.span("chat m");
    assert_eq!((span.span_kind.clone(), span.status.clone()), (SpanKind::Client, Status::Unset));
    assert_eq!((span.start_time, span.end_time), (at(0), at(500_000)));
    assert_eq!((span.parent_span_id, span.instrumentation_scope.name()), (SpanId::INVALID, SCOPE));
    let expected = map([
        ("agentprovision.agent.id", &agent.to_string()),
        ("agentprovision.attempts", "2"),
        ("agentprovision.cost.nano_usd", "21"),
        ("agentprovision.project", "atlas"),
        ("agentprovision.request.id", &ctx.request_id().to_string()),
        ("agentprovision.response.provider", "gcp.gemini"),
        ("agentprovision.tag.team", "blue"),
        ("agentprovision.tenant.id", &ctx.tenant().to_string()),
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.output.type", "json"),
        ("gen_ai.provider.name", "scripted"),
        ("gen_ai.request.choice.count", "2"),
        ("gen_ai.request.frequency_penalty", "1"),
        ("gen_ai.request.max_tokens", "64"),
        ("gen_ai.request.model", "m"),
        ("gen_ai.request.presence_penalty", "-1"),
        ("gen_ai.request.seed", "-3"),
        ("gen_ai.request.stop_sequences", "[\"END\",\"STOP\"]"),
        ("gen_ai.request.temperature", "0.5"),
        ("gen_ai.request.top_k", "40"),
        ("gen_ai.request.top_p", "0.25"),
        ("gen_ai.response.finish_reasons", "[\"stop\"]"),
        ("gen_ai.response.id", "id-1"),
        ("gen_ai.response.model", "gemini-x-001"),
        ("gen_ai.usage.cache_creation.input_tokens", "1"),
        ("gen_ai.usage.cache_read.input_tokens", "5"),
        ("gen_ai.usage.input_tokens", "10"),
        ("gen_ai.usage.output_tokens", "6"),
        ("gen_ai.usage.reasoning.output_tokens", "2"),
    ]);
    assert_eq!(text(&span.attributes), expected);

    let below: Vec<SpanData> =
        world.finished().into_iter().filter(|span| span.name == "attempt gemini-x").collect();
    assert_eq!(world.finished().len(), 3);
    for attempt in &below {
        assert_eq!(attempt.parent_span_id, span.span_context.span_id());
        assert_eq!(attempt.span_context.trace_id(), span.span_context.trace_id());
        assert_eq!(attempt.span_kind, SpanKind::Client);
    }
    let [first, second] = below.as_slice() else { panic!("{below:?}") };
    assert_eq!((first.start_time, first.end_time), (at(10), at(200_010)));
    assert_eq!((second.start_time, second.end_time), (at(250_000), at(490_000)));
    assert_eq!(first.status, Status::error("rate_limit"));
    assert_eq!(second.status, Status::Unset);
    let common = map([
        ("agentprovision.attempt.credential", "1"),
        ("agentprovision.attempt.hedge", "false"),
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "gcp.gemini"),
        ("gen_ai.request.model", "gemini-x"),
    ]);
    let mut expected = common.clone();
    expected.extend(map([
        ("agentprovision.attempt.category", "rate_limit"),
        ("agentprovision.attempt.number", "1"),
        ("agentprovision.cost.nano_usd", "0"),
        ("error.type", "rate_limited"),
    ]));
    assert_eq!(text(&first.attributes), expected);
    let mut expected = common;
    expected.extend(map([
        ("agentprovision.attempt.estimated", "false"),
        ("agentprovision.attempt.input_tokens", "10"),
        ("agentprovision.attempt.number", "2"),
        ("agentprovision.attempt.output_tokens", "6"),
        ("agentprovision.cost.nano_usd", "21"),
    ]));
    assert_eq!(text(&second.attributes), expected);

    let labels = map([
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "scripted"),
        ("gen_ai.request.model", "m"),
        ("gen_ai.response.model", "gemini-x-001"),
    ]);
    let of = |kind: &str| {
        let mut labels = labels.clone();
        labels.insert("gen_ai.token.type".into(), kind.into());
        labels
    };
    let expected = [
        ("gen_ai.client.operation.duration".to_owned(), labels.clone(), 1, 0.5),
        ("gen_ai.client.token.usage".to_owned(), of("input"), 1, 10.0),
        ("gen_ai.client.token.usage".to_owned(), of("output"), 1, 6.0),
    ];
    assert_eq!(world.points(), expected);
}

#[tokio::test]
async fn a_stream_tells_of_its_first_piece_and_the_time_between_pieces() {
    let world = World::new();
    let mut streamed = attempt(AttemptEnd::Answered, 0, 500_000, Some(tokens(4, 2)));
    streamed.first_content_us = Some(200_000);
    streamed.hedge = true;
    let mut guessed = attempt(AttemptEnd::Dropped, 0, 100_000, Some(tokens(900, 900)));
    guessed.estimated = true;
    guessed.cost = None;
    let model = world.wrap(world.timed(Reply::text("one two three"), vec![guessed, streamed]));
    let mut events =
        within(model.stream(&world.ctx, ChatRequest::new("m", vec![Message::user("x")]))).await.unwrap();
    while let Some(event) = within(events.next()).await {
        event.unwrap();
    }
    // The end was seen; whoever keeps the stream does not make the request longer.
    world.clock.advance(Duration::from_secs(60));
    drop(events);

    let span = world.span("chat m");
    // Started, three words, the end and the usage, 100 ms each.
    assert_eq!((span.start_time, span.end_time), (at(0), at(600_000)));
    let attributes = text(&span.attributes);
    assert_eq!(attributes["gen_ai.request.stream"], "true");
    assert_eq!(attributes["gen_ai.response.time_to_first_chunk"], "0.2");
    // An estimate is for budgets; an unknown price makes the sum unknown.
    assert_eq!(attributes["gen_ai.usage.input_tokens"], "4");
    assert_eq!(attributes.get("agentprovision.cost.nano_usd"), None);
    let below: Vec<Attributes> = world
        .finished()
        .iter()
        .filter(|span| span.name != "chat m")
        .map(|span| text(&span.attributes))
        .collect();
    assert_eq!(below[0]["error.type"], "cancelled");
    assert_eq!(below[0]["agentprovision.attempt.estimated"], "true");
    assert_eq!(below[1]["agentprovision.attempt.time_to_first_chunk"], "0.2");
    assert_eq!(below[1]["agentprovision.attempt.hedge"], "true");

    let points: Vec<_> = world
        .points()
        .into_iter()
        .map(|(name, labels, count, sum)| {
            assert_eq!(labels["gen_ai.response.model"], "gemini-x-001", "{name}");
            (name, count, (sum * 1000.0).round())
        })
        .collect();
    let expected = [
        ("gen_ai.client.operation.duration", 1, 600.0),
        ("gen_ai.client.operation.time_per_output_chunk", 2, 200.0),
        ("gen_ai.client.operation.time_to_first_chunk", 1, 200.0),
        ("gen_ai.client.token.usage", 1, 4000.0),
        ("gen_ai.client.token.usage", 1, 2000.0),
    ];
    assert_eq!(points, expected.map(|(name, count, sum)| (name.to_owned(), count, sum)));
}

#[tokio::test]
async fn a_dropped_stream_ends_as_cancelled_with_what_its_attempt_used() {
    let world = World::new();
    let mut timed = world.timed(
        Reply::Stall("one two".into()),
        vec![attempt(AttemptEnd::Dropped, 0, 300_000, Some(tokens(8, 3)))],
    );
    timed.at_drop = true;
    let model = world.wrap(timed);
    let mut events = within(model.stream(&world.ctx, ChatRequest::default())).await.unwrap();
    for _ in 0..3 {
        within(events.next()).await.unwrap().unwrap();
    }
    assert_eq!(world.finished().len(), 0);
    drop(events);

    let span = world.span("chat m");
    // The attempt is written when the inner stream is dropped, so that came first.
    assert_eq!(world.span("attempt gemini-x").parent_span_id, span.span_context.span_id());
    let attributes = text(&span.attributes);
    assert_eq!((attributes["error.type"].as_str(), span.status), ("cancelled", Status::Unset));
    assert_eq!(attributes["gen_ai.usage.input_tokens"], "8");
    assert_eq!(attributes.get("gen_ai.response.finish_reasons"), None);
    let points = world.points();
    let duration = points.iter().find(|point| point.0 == "gen_ai.client.operation.duration").unwrap();
    assert_eq!(duration.1["error.type"], "cancelled");
    let counted: f64 = points.iter().filter(|point| point.0.ends_with("usage")).map(|point| point.3).sum();
    assert_eq!(counted, 11.0);
}

#[tokio::test]
async fn whoever_stops_reading_after_the_end_did_not_cancel() {
    let world = World::new();
    let model = world.wrap(world.timed(Reply::text("one"), vec![]));
    let mut events = within(model.stream(&world.ctx, ChatRequest::default())).await.unwrap();
    while !matches!(within(events.next()).await.unwrap().unwrap(), ChatEvent::Finished { .. }) {}
    drop(events);
    let attributes = text(&world.span("chat m").attributes);
    assert_eq!(attributes.get("error.type"), None);
    assert_eq!(attributes["gen_ai.response.finish_reasons"], "[\"stop\"]");
}

#[tokio::test]
async fn a_call_that_is_dropped_while_it_waits_is_cancelled_too() {
    let world = World::new();
    let model = world.wrap(Never(ScriptedModel::new("m", [])));
    let mut call = model.complete(&world.ctx, ChatRequest::default());
    assert!(futures_util::poll!(&mut call).is_pending());
    drop(call);
    assert_eq!(text(&world.span("chat m").attributes)["error.type"], "cancelled");
}

#[derive(Debug)]
struct Never(ScriptedModel);

#[async_trait]
impl ChatModel for Never {
    fn info(&self) -> &ModelInfo {
        self.0.info()
    }

    async fn complete(&self, _: &Context, _: ChatRequest) -> Result<ChatResponse> {
        std::future::pending().await
    }

    async fn stream(&self, _: &Context, _: ChatRequest) -> Result<ChatStream> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn failures_carry_the_code_of_their_kind() {
    let error = || Error::new(ErrorKind::RateLimited, "slow down");
    // Before the answer, whole and streamed.
    for streamed in [false, true] {
        let world = World::new();
        let model = world.wrap(world.timed(Reply::Fail(error()), vec![attempt(failed(), 0, 1, None)]));
        let refused = if streamed {
            within(model.stream(&world.ctx, ChatRequest::default())).await.err()
        } else {
            within(model.complete(&world.ctx, ChatRequest::default())).await.err()
        };
        assert_eq!(refused.unwrap().kind(), ErrorKind::RateLimited);
        let span = world.span("chat m");
        assert_eq!(span.status, Status::error("slow down"));
        assert_eq!(text(&span.attributes)["error.type"], "rate_limited");
        assert_eq!(world.finished().len(), 2, "the attempt too");
        let points = world.points();
        assert_eq!(points.len(), 1, "no tokens, and no time to a first piece: {points:?}");
        assert_eq!(points[0].1["error.type"], "rate_limited");
    }
    // In the middle of it.
    let world = World::new();
    let model = world.wrap(world.timed(Reply::Break("one ".into(), error()), vec![]));
    let events = within(model.stream(&world.ctx, ChatRequest::default())).await.unwrap();
    let events: Vec<_> = within(events.collect()).await;
    assert!(events.last().unwrap().is_err());
    assert_eq!(text(&world.span("chat m").attributes)["error.type"], "rate_limited");
    // A stream that just ends.
    let world = World::new();
    let model = world.wrap(Cut(ScriptedModel::new("m", [])));
    let events = within(model.stream(&world.ctx, ChatRequest::default())).await.unwrap();
    assert_eq!(within(events.count()).await, 1);
    assert_eq!(text(&world.span("chat m").attributes)["error.type"], "incomplete");
}

#[derive(Debug)]
struct Cut(ScriptedModel);

#[async_trait]
impl ChatModel for Cut {
    fn info(&self) -> &ModelInfo {
        self.0.info()
    }

    async fn complete(&self, _: &Context, _: ChatRequest) -> Result<ChatResponse> {
        Err(Error::internal("not asked"))
    }

    async fn stream(&self, _: &Context, _: ChatRequest) -> Result<ChatStream> {
        Ok(stream::iter([Ok(ChatEvent::Text("one".into()))]).boxed())
    }
}

#[derive(Debug)]
struct Vectors(ModelInfo);

#[async_trait]
impl EmbeddingModel for Vectors {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    async fn embed(&self, _: &Context, request: EmbedRequest) -> Result<EmbedResponse> {
        if request.inputs.is_empty() {
            return Err(Error::invalid("no text"));
        }
        let usage = Usage { input_tokens: Some(5), ..Usage::default() };
        Ok(EmbedResponse { vectors: vec![vec![1.0]], model: Some("e-001".into()), usage: Some(usage) })
    }
}

#[tokio::test]
async fn embeddings_have_spans_and_metrics_of_their_own() {
    let world = World::new();
    let mut info = ScriptedModel::new("e", []).info().clone();
    info.provider = "azure".into();
    let model: Arc<dyn EmbeddingModel> = Arc::new(Vectors(info));
    let model = world.layer(true).layer(model);
    let mut request = EmbedRequest::new("e", ["secret"]);
    request.dimensions = Some(1);
    within(model.embed(&world.ctx, request)).await.unwrap();
    let span = world.span("embeddings e");
    let expected = map([
        ("agentprovision.request.id", &world.ctx.request_id().to_string()),
        ("agentprovision.tenant.id", &world.ctx.tenant().to_string()),
        ("gen_ai.embeddings.dimension.count", "1"),
        ("gen_ai.operation.name", "embeddings"),
        ("gen_ai.provider.name", "azure.ai.openai"),
        ("gen_ai.request.model", "e"),
        ("gen_ai.response.model", "e-001"),
        ("gen_ai.usage.input_tokens", "5"),
    ]);
    assert_eq!((text(&span.attributes), span.span_kind), (expected, SpanKind::Client));
    let names: Vec<String> = world.points().into_iter().map(|point| point.0).collect();
    assert_eq!(names, ["gen_ai.client.operation.duration", "gen_ai.client.token.usage"]);

    world.spans.reset();
    within(model.embed(&world.ctx, EmbedRequest::default())).await.unwrap_err();
    assert_eq!(text(&world.span("embeddings e").attributes)["error.type"], "invalid_input");
}

#[tokio::test]
async fn a_log_that_is_used_again_tells_only_of_the_last_request() {
    let world = World::new();
    let used = || vec![attempt(AttemptEnd::Answered, 0, 1, Some(tokens(10, 6)))];
    let log = CallLog::default();
    for _ in 0..2 {
        world.spans.reset();
        let mut request = ChatRequest::default();
        request.log = log.clone();
        let model = world.wrap(world.timed(Reply::text("x"), used()));
        within(model.complete(&world.ctx, request)).await.unwrap();
    }
    assert_eq!(log.len(), 2);
    let attributes = text(&world.span("chat m").attributes);
    assert_eq!(attributes["agentprovision.attempts"], "1");
    assert_eq!(attributes["gen_ai.usage.input_tokens"], "10");
}

#[test]
fn a_finish_has_the_conventions_word() {
    let world = World::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reply = Reply::CutOff("find".into(), "{\"q".into());
    let model = world.wrap(world.timed(reply, vec![]));
    let answer = runtime.block_on(within(model.complete(&world.ctx, ChatRequest::default()))).unwrap();
    assert_eq!(answer.finish, FinishReason::Length);
    let attributes = text(&world.span("chat m").attributes);
    assert_eq!(attributes["gen_ai.response.finish_reasons"], "[\"length\"]");
}
