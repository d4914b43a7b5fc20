//! A world whose spans and metrics are looked at, and a model that takes its time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agentprovision_core::context::Context;
use agentprovision_core::model::{
    Attempt, AttemptEnd, CallLog, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, Message,
    ModelInfo, Usage,
};
use agentprovision_core::money::NanoUsd;
use agentprovision_core::testing::{ManualClock, Reply, ScriptedModel, SeededEntropy};
use agentprovision_core::{Env, ErrorKind, Result, Timestamp};
use agentprovision_llm::layers::{TraceConfig, TraceLayer};
use agentprovision_llm::telemetry::{SCOPE, Telemetry};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use serde_json::json;
use tower::Layer;

use super::support::context;

/// When every test begins.
pub(crate) const START: i64 = 1_700_000_000_000_000;

pub(crate) type Attributes = BTreeMap<String, String>;

pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) env: Env,
    pub(crate) spans: InMemorySpanExporter,
    pub(crate) tracers: SdkTracerProvider,
    pub(crate) metrics: InMemoryMetricExporter,
    pub(crate) meters: SdkMeterProvider,
    pub(crate) ctx: Context,
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = ManualClock::new(Timestamp::from_micros(START));
        let env = Env::new(Arc::new(clock.clone()), Arc::new(SeededEntropy::new(4)));
        let spans = InMemorySpanExporter::default();
        let tracers = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
        let metrics = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(metrics.clone()).build();
        let meters = SdkMeterProvider::builder().with_reader(reader).build();
        Self { clock, env, spans, tracers, metrics, meters, ctx: context() }
    }

    pub(crate) fn layer(&self, capture_content: bool) -> TraceLayer {
        let mut config = TraceConfig::default();
        config.capture_content = capture_content;
        let telemetry = Telemetry::new().tracer(self.tracers.tracer(SCOPE)).meter(&self.meters.meter(SCOPE));
        TraceLayer::new(self.env.clone(), config).telemetry(telemetry)
    }

    pub(crate) fn wrap(&self, model: impl ChatModel) -> Arc<dyn ChatModel> {
        self.layer(false).layer(Arc::new(model) as Arc<dyn ChatModel>)
    }

    /// A model that takes 100 ms for each event, and after its end tells of these attempts.
    pub(crate) fn timed(&self, reply: Reply, attempts: Vec<Attempt>) -> Timed {
        let scripted = ScriptedModel::new("m", [reply]);
        Timed { scripted, clock: self.clock.clone(), attempts, at_drop: false }
    }

    pub(crate) fn finished(&self) -> Vec<SpanData> {
        self.spans.get_finished_spans().unwrap()
    }

    /// The one span with this name.
    pub(crate) fn span(&self, name: &str) -> SpanData {
        let mut found: Vec<SpanData> = self.finished().into_iter().filter(|span| span.name == name).collect();
        assert_eq!(found.len(), 1, "{name}");
        found.remove(0)
    }

    /// Every data point: the metric with its labels, then count and sum.
    pub(crate) fn points(&self) -> Vec<(String, Attributes, u64, f64)> {
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

pub(crate) fn text<'a>(attributes: impl IntoIterator<Item = &'a KeyValue>) -> Attributes {
    let mut out = Attributes::new();
    for attribute in attributes {
        let old = out.insert(attribute.key.to_string(), attribute.value.to_string());
        assert_eq!(old, None, "{} is set twice", attribute.key);
    }
    out
}

pub(crate) fn map<const N: usize>(pairs: [(&str, &str); N]) -> Attributes {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

pub(crate) fn at(micros: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros((START + micros) as u64)
}

pub(crate) fn attempt(end: AttemptEnd, started: i64, duration_us: u64, usage: Option<Usage>) -> Attempt {
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

pub(crate) fn failed() -> AttemptEnd {
    AttemptEnd::Failed { kind: ErrorKind::RateLimited, category: "rate_limit".into() }
}

pub(crate) fn tokens(input: u64, output: u64) -> Usage {
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
pub(crate) struct Timed {
    pub(crate) scripted: ScriptedModel,
    pub(crate) clock: ManualClock,
    pub(crate) attempts: Vec<Attempt>,
    /// The attempts are told when the stream is dropped.
    pub(crate) at_drop: bool,
}

pub(crate) struct Tell(CallLog, Vec<Attempt>);

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
pub(crate) fn request() -> ChatRequest {
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
