//! Spans and metrics of OpenTelemetry, as an exporter gets them.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these functions are called by tests only"
)]

#[cfg(test)]
#[expect(dead_code, reason = "other tests use more of it")]
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use agentprovision_core::context::{Context, RequestInfo};
use agentprovision_core::id::AgentId;
use agentprovision_core::model::{
    Attempt, AttemptEnd, CallLog, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, Content,
    EmbedRequest, EmbedResponse, EmbeddingModel, FinishReason, Message, ModelInfo, Source, ToolChoice,
    ToolDefinition, Usage,
};
use agentprovision_core::money::NanoUsd;
use agentprovision_core::testing::{ManualClock, Reply, ScriptedModel, SeededEntropy};
use agentprovision_core::{Env, Error, ErrorKind, Result, Timestamp};
use agentprovision_llm::layers::{TraceConfig, TraceLayer};
use agentprovision_llm::telemetry::{SCOPE, Telemetry};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{SpanId, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use serde_json::{Value, json};
use support::{context, within};
use tower::Layer;

/// When every test begins.
const START: i64 = 1_700_000_000_000_000;

type Attributes = BTreeMap<String, String>;

struct World {
    clock: ManualClock,
    env: Env,
    spans: InMemorySpanExporter,
    tracers: SdkTracerProvider,
    metrics: InMemoryMetricExporter,
    meters: SdkMeterProvider,
    ctx: Context,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::new(Timestamp::from_micros(START));
        let env = Env::new(Arc::new(clock.clone()), Arc::new(SeededEntropy::new(4)));
        let spans = InMemorySpanExporter::default();
        let tracers = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
        let metrics = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(metrics.clone()).build();
        let meters = SdkMeterProvider::builder().with_reader(reader).build();
        Self { clock, env, spans, tracers, metrics, meters, ctx: context() }
    }

    fn layer(&self, capture_content: bool) -> TraceLayer {
        let mut config = TraceConfig::default();
        config.capture_content = capture_content;
        let telemetry = Telemetry::new().tracer(self.tracers.tracer(SCOPE)).meter(&self.meters.meter(SCOPE));
        TraceLayer::new(self.env.clone(), config).telemetry(telemetry)
    }

    fn wrap(&self, model: impl ChatModel) -> Arc<dyn ChatModel> {
        self.layer(false).layer(Arc::new(model) as Arc<dyn ChatModel>)
    }

    /// A model that takes 100 ms for each event, and after its end tells of these attempts.
    fn timed(&self, reply: Reply, attempts: Vec<Attempt>) -> Timed {
        let scripted = ScriptedModel::new("m", [reply]);
        Timed { scripted, clock: self.clock.clone(), attempts, at_drop: false }
    }

    fn finished(&self) -> Vec<SpanData> {
        self.spans.get_finished_spans().unwrap()
    }

    /// The one span with this name.
    fn span(&self, name: &str) -> SpanData {
        let mut found: Vec<SpanData> = self.finished().into_iter().filter(|span| span.name == name).collect();
        assert_eq!(found.len(), 1, "{name}");
        found.remove(0)
    }

    /// Every data point: the metric with its labels, then count and sum.
    fn points(&self) -> Vec<(String, Attributes, u64, f64)> {
        self.meters.force_flush().unwrap();
        let mut out = Vec::new();
        for resource in self.metrics.get_finished_metrics().unwrap() {
            for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
                let mut add = |labels: Attributes, bounds: Vec<f64>, count, sum| {
                    let expected = if metric.name() == "gen_ai.client.token.usage" {
                        assert_eq!(metric.unit(), "{token}");
                        (0..14).map(|power| 4_f64.powi(power)).collect::<Vec<_>>()
                    } else {
                        assert_eq!(metric.unit(), "s");
                        (0..14).map(|power| f64::from(1 << power) / 100.0).collect()
                    };
                    assert_eq!(bounds, expected, "{}", metric.name());
                    out.push((metric.name().to_owned(), labels, count, sum));
                };
                match metric.data() {
                    AggregatedMetrics::F64(MetricData::Histogram(data)) => {
                        for point in data.data_points() {
                            let labels = text(point.attributes());
                            add(labels, point.bounds().collect(), point.count(), point.sum());
                        }
                    }
                    AggregatedMetrics::U64(MetricData::Histogram(data)) => {
                        for point in data.data_points() {
                            let labels = text(point.attributes());
                            add(labels, point.bounds().collect(), point.count(), point.sum() as f64);
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        out.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        out
    }
}

fn text<'a>(attributes: impl IntoIterator<Item = &'a KeyValue>) -> Attributes {
    let mut out = Attributes::new();
    for attribute in attributes {
        let old = out.insert(attribute.key.to_string(), attribute.value.to_string());
        assert_eq!(old, None, "{} is set twice", attribute.key);
    }
    out
}

fn map<const N: usize>(pairs: [(&str, &str); N]) -> Attributes {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn at(micros: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros((START + micros) as u64)
}

fn attempt(end: AttemptEnd, started: i64, duration_us: u64, usage: Option<Usage>) -> Attempt {
    Attempt {
        provider: "gemini".into(),
        model: "gemini-x".into(),
        credential: 1,
        started: Timestamp::from_micros(START + started),
        duration_us,
        first_content_us: None,
        hedge: false,
        end,
        cost: Some(NanoUsd::from_nanos(usage.map_or(0, |_| 21))),
        usage,
        estimated: false,
    }
}

fn failed() -> AttemptEnd {
    AttemptEnd::Failed { kind: ErrorKind::RateLimited, category: "rate_limit".into() }
}

fn tokens(input: u64, output: u64) -> Usage {
    Usage {
        input_tokens: Some(input),
        cache_read_tokens: Some(input / 2),
        cache_write_tokens: Some(1),
        output_tokens: Some(output),
        reasoning_tokens: Some(2),
        ..Usage::default()
    }
}

#[derive(Debug)]
struct Timed {
    scripted: ScriptedModel,
    clock: ManualClock,
    attempts: Vec<Attempt>,
    /// The attempts are told when the stream is dropped.
    at_drop: bool,
}

struct Tell(CallLog, Vec<Attempt>);

impl Drop for Tell {
    fn drop(&mut self) {
        self.1.drain(..).for_each(|attempt| self.0.push(attempt));
    }
}

#[async_trait]
impl ChatModel for Timed {
    fn info(&self) -> &ModelInfo {
        self.scripted.info()
    }

    async fn complete(&self, ctx: &Context, request: ChatRequest) -> Result<ChatResponse> {
        let _tell = Tell(request.log.clone(), self.attempts.clone());
        let answer = self.scripted.complete(ctx, request).await;
        self.clock.advance(Duration::from_millis(500));
        let mut answer = answer?;
        answer.id = Some("id-1".into());
        answer.model = Some("gemini-x-001".into());
        Ok(answer)
    }

    async fn stream(&self, ctx: &Context, request: ChatRequest) -> Result<ChatStream> {
        let tell = Tell(request.log.clone(), self.attempts.clone());
        let (clock, at_drop) = (self.clock.clone(), self.at_drop);
        let started = ChatEvent::Started { id: Some("id-1".into()), model: Some("gemini-x-001".into()) };
        let events = stream::iter([Ok(started)]).chain(self.scripted.stream(ctx, request).await?);
        let following = (events.boxed(), Some(tell));
        Ok(stream::unfold(following, move |(mut events, mut tell)| {
            let clock = clock.clone();
            async move {
                let event = events.next().await;
                clock.advance(Duration::from_millis(100));
                if event.is_none() && !at_drop {
                    tell = None;
                }
                event.map(|event| (event, (events, tell)))
            }
        })
        .boxed())
    }
}

/// A request that says as much as one can.
fn request() -> ChatRequest {
    let mut request = ChatRequest::new("m", vec![Message::user("hello")]);
    request.temperature = Some(0.5);
    request.max_tokens = Some(64);
    request.seed = Some(-3);
    request.stop = vec!["END".into(), "STOP".into()];
    request.output_schema = Some(json!({"type": "object"}));
    request.extra.insert("top_p".into(), json!(0.25));
    request.extra.insert("top_k".into(), json!(40));
    request.extra.insert("n".into(), json!(2));
    request.extra.insert("frequency_penalty".into(), json!(1));
    request.extra.insert("presence_penalty".into(), json!(-1));
    request.extra.insert("logprobs".into(), json!(true));
    request.route.project = Some("atlas".into());
    request.route.tags.insert("team".into(), "blue".into());
    request
}

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

/// A conversation in which everything that is content has a word in it.
fn secrets() -> ChatRequest {
    let call = agentprovision_core::model::ToolRequest {
        id: "call_1".into(),
        name: "find".into(),
        arguments: "{\"q\":\"secret\"}".into(),
        complete: true,
    };
    let mut request = ChatRequest::new(
        "m",
        vec![
            Message::system("secret rules"),
            Message::User {
                content: vec![
                    Content::Text { text: "secret question".into() },
                    Content::Image {
                        media_type: "image/png".into(),
                        source: Source::Base64("c2VjcmV0".into()),
                    },
                    Content::Document {
                        media_type: "application/pdf".into(),
                        name: None,
                        source: Source::Url("https://h.example/secret".into()),
                    },
                ],
            },
            Message::Assistant { text: "secret plan".into(), tool_calls: vec![call], continuation: None },
            Message::Tool {
                call_id: "call_1".into(),
                name: "find".into(),
                content: "secret result".into(),
                is_error: false,
            },
        ],
    );
    request.tools = vec![ToolDefinition {
        name: "find".into(),
        description: "finds a secret".into(),
        input_schema: json!({"type": "object", "title": "secret"}),
    }];
    request.tool_choice = ToolChoice::Auto;
    request
}

fn reply() -> Reply {
    Reply::Both("secret answer".into(), vec![("find".into(), json!({"q": "secret too"}))])
}

#[tokio::test]
async fn nothing_that_was_said_is_recorded_unless_asked_for() {
    for streamed in [false, true] {
        for capture in [false, true] {
            let world = World::new();
            let model: Arc<dyn ChatModel> = Arc::new(world.timed(reply(), vec![]));
            let model = world.layer(capture).layer(model);
            if streamed {
                let events = within(model.stream(&world.ctx, secrets())).await.unwrap();
                within(events.collect::<Vec<_>>()).await;
            } else {
                within(model.complete(&world.ctx, secrets())).await.unwrap();
            }
            let span = world.span("chat m");
            let attributes = text(&span.attributes);
            assert!(!format!("{:?}", world.points()).contains("secret"));
            if !capture {
                assert!(!format!("{:?}", world.finished()).contains("secret"));
                assert!(!attributes.contains_key("gen_ai.input.messages"));
                continue;
            }
            let read = |name: &str| serde_json::from_str::<Value>(&attributes[name]).unwrap();
            let expected = json!([
                {"role": "system", "parts": [{"type": "text", "content": "secret rules"}]},
                {"role": "user", "parts": [
                    {"type": "text", "content": "secret question"},
                    {"type": "blob", "modality": "image", "mime_type": "image/png", "content": ""},
                    {"type": "uri", "modality": "document", "mime_type": "application/pdf",
                        "uri": "https://h.example/secret"},
                ]},
                {"role": "assistant", "parts": [
                    {"type": "text", "content": "secret plan"},
                    {"type": "tool_call", "id": "call_1", "name": "find", "arguments": {"q": "secret"}},
                ]},
                {"role": "tool", "parts": [
                    {"type": "tool_call_response", "id": "call_1", "response": "secret result"},
                ]},
            ]);
            assert_eq!(read("gen_ai.input.messages"), expected);
            let expected = json!([{"role": "assistant", "finish_reason": "tool_calls", "parts": [
                {"type": "text", "content": "secret answer"},
                {"type": "tool_call", "id": "call_4_0", "name": "find", "arguments": {"q": "secret too"}},
            ]}]);
            assert_eq!(read("gen_ai.output.messages"), expected);
            let expected = json!([{"type": "function", "name": "find", "description": "finds a secret",
                "parameters": {"type": "object", "title": "secret"}}]);
            assert_eq!(read("gen_ai.tool.definitions"), expected);
        }
    }
}

#[tokio::test]
async fn what_came_of_a_broken_answer_is_recorded_where_content_is() {
    let world = World::new();
    let reply = Reply::Break("half ".into(), Error::new(ErrorKind::Unavailable, "gone"));
    let model: Arc<dyn ChatModel> = Arc::new(world.timed(reply, vec![]));
    let events = within(world.layer(true).layer(model).stream(&world.ctx, secrets())).await.unwrap();
    within(events.collect::<Vec<_>>()).await;
    let attributes = text(&world.span("chat m").attributes);
    let said: Value = serde_json::from_str(&attributes["gen_ai.output.messages"]).unwrap();
    assert_eq!(said[0]["finish_reason"], "error");
    assert_eq!(said[0]["parts"], json!([{"type": "text", "content": "half "}]));
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

/// What a subscriber of `tracing` writes.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn tracing_is_told_facts_and_never_content() {
    let world = World::new();
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let attempts =
        vec![attempt(failed(), 0, 7, None), attempt(AttemptEnd::Answered, 0, 9, Some(tokens(10, 6)))];
    let model: Arc<dyn ChatModel> = Arc::new(world.timed(reply(), attempts));
    let model = TraceLayer::new(world.env.clone(), TraceConfig::default()).layer(model);
    let guard = tracing::subscriber::set_default(subscriber);
    within(model.complete(&world.ctx, secrets())).await.unwrap();
    drop(guard);
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let tenant = world.ctx.tenant().to_string();
    for fact in [
        "chat m",
        &tenant,
        "gen_ai.request.model=\"m\"",
        "gen_ai.response.model=\"gemini-x-001\"",
        "gen_ai.usage.input_tokens=10",
        "gen_ai.usage.output_tokens=6",
        "attempts=2",
        "category=\"rate_limit\"",
        "end=\"answered\"",
        "duration_us=500000",
    ] {
        assert!(text.contains(fact), "{fact} is missing in {text}");
    }
    assert!(!text.contains("secret"), "{text}");
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
