//! OpenTelemetry's view of requests to models: spans and metrics by its conventions for generative AI (feature `otel`).
//!
//! The names are those of the conventions as last released; their status is still "development". The host installs SDK and exporter; nothing global is set here, and nothing global is
//! read unless [`Telemetry::global`] asks for it.
//!
//! One span `chat {model}`, `embeddings {model}` or `rerank {model}` (an operation the conventions have no name for) is a
//! request as its caller sees it, and a span `attempt {model}` below
//! it is one request to a provider. Tokens and metrics belong to the request alone, so that a sum over spans counts
//! nothing twice; what an attempt used is in attributes of this crate's own:
//!
//! | attribute | on | what |
//! |---|---|---|
//! | `agentprovision.tenant.id` `.agent.id` `.request.id` `.project` | request | for whom |
//! | `agentprovision.tag.<name>` | request | the caller's labels |
//! | `agentprovision.attempts` | request | how many attempts there were |
//! | `agentprovision.response.provider` | request | the provider that answered, where a router chose it |
//! | `agentprovision.cost.nano_usd` | both | what it cost; absent when a price is unknown |
//! | `agentprovision.attempt.number` `.credential` `.hedge` `.category` | attempt | which, and how it failed |
//! | `agentprovision.attempt.input_tokens` `.output_tokens` `.estimated` | attempt | what it used |
//! | `agentprovision.attempt.time_to_first_chunk` | attempt | in seconds |
//!
//! Metrics are labelled with names of models that somebody decided on: of routes, of models the host registered, and of the
//! catalogue. Any other name a caller of a [`Router`](crate::route::Router) asks for is `_OTHER` there, so that callers
//! cannot make the metrics grow; spans have the name as it was asked for.
//!
//! `error.type` is the code of the [`ErrorKind`](agentprovision_core::ErrorKind), `cancelled` where the caller went away.
//! A cancelled request has no error status: nothing failed.

mod content;
mod instruments;
mod names;
mod observed;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agentprovision_core::Timestamp;
use agentprovision_core::context::Context;
use agentprovision_core::model::{ChatRequest, EmbedRequest, ModelInfo, RerankRequest};
use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::metrics::Meter;
use opentelemetry::trace::{
    Span, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
};
use opentelemetry::{Array, KeyValue, StringValue, Value};
use serde_json::Map;

use self::instruments::Instruments;
pub(crate) use self::observed::{Ended, Observed};

/// The name of the instrumentation scope, for tracers and meters that are made for this crate.
pub const SCOPE: &str = "agentprovision";

/// Where OpenTelemetry's spans and metrics go. Cheap to clone.
///
/// ```
/// use agentprovision_core::Env;
/// use agentprovision_llm::layers::{TraceConfig, TraceLayer};
/// use agentprovision_llm::telemetry::{SCOPE, Telemetry};
/// use opentelemetry::metrics::MeterProvider;
/// use opentelemetry::trace::TracerProvider;
///
/// let (spans, metrics) = (
///     opentelemetry_sdk::trace::SdkTracerProvider::builder().build(),
///     opentelemetry_sdk::metrics::SdkMeterProvider::builder().build(),
/// );
/// let telemetry = Telemetry::new().tracer(spans.tracer(SCOPE)).meter(&metrics.meter(SCOPE));
/// let layer = TraceLayer::new(Env::default(), TraceConfig::default()).telemetry(telemetry);
/// ```
#[derive(Clone, Default)]
pub struct Telemetry {
    tracer: Option<Arc<BoxedTracer>>,
    instruments: Option<Arc<Instruments>>,
    names: Option<Arc<Names>>,
}

/// The name a model has in metrics, where it has one.
type Names = dyn Fn(&ModelInfo) -> Option<String> + Send + Sync;

/// The convention's word for a value that is none of those one knows.
const OTHER: &str = "_OTHER";

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("spans", &self.tracer.is_some())
            .field("metrics", &self.instruments.is_some())
            .finish()
    }
}

impl Telemetry {
    /// Neither spans nor metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spans and metrics by the providers the host has set for its whole process at the time of this call.
    pub fn global() -> Self {
        Self::new().tracer(global::tracer(SCOPE)).meter(&global::meter(SCOPE))
    }

    /// The same with spans from this tracer.
    #[must_use]
    pub fn tracer<T>(mut self, tracer: T) -> Self
    where
        T: Tracer + Send + Sync + 'static,
        T::Span: Span + Send + Sync + 'static,
    {
        self.tracer = Some(Arc::new(BoxedTracer::new(Box::new(tracer))));
        self
    }

    /// The same with metrics of this meter.
    #[must_use]
    pub fn meter(mut self, meter: &Meter) -> Self {
        self.instruments = Some(Arc::new(Instruments::new(meter)));
        self
    }

    /// The same with these names in metrics; every name where this is not called.
    pub(crate) fn names(
        mut self,
        names: impl Fn(&ModelInfo) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.names = Some(Arc::new(names));
        self
    }

    pub(crate) fn chat(
        &self,
        ctx: &Context,
        info: &ModelInfo,
        request: &ChatRequest,
        streamed: bool,
        capture: bool,
        start: Timestamp,
    ) -> Observed {
        let observed = self.begin("chat", ctx, info, start);
        observed.describe(|| {
            let mut out = hints(ctx, &request.route);
            if streamed {
                out.push(KeyValue::new(names::REQUEST_STREAM, true));
            }
            if let Some(temperature) = request.temperature {
                out.push(KeyValue::new(names::REQUEST_TEMPERATURE, temperature));
            }
            if let Some(tokens) = request.max_tokens {
                out.push(KeyValue::new(names::REQUEST_MAX_TOKENS, count(tokens)));
            }
            if let Some(seed) = request.seed {
                out.push(KeyValue::new(names::REQUEST_SEED, seed));
            }
            if !request.stop.is_empty() {
                out.push(KeyValue::new(names::REQUEST_STOP_SEQUENCES, texts(&request.stop)));
            }
            if request.output_schema.is_some() {
                out.push(KeyValue::new(names::OUTPUT_TYPE, "json"));
            }
            further(&request.extra, &mut out);
            if capture {
                out.extend(content::asked(request));
            }
            out
        });
        observed
    }

    pub(crate) fn embeddings(
        &self,
        ctx: &Context,
        info: &ModelInfo,
        request: &EmbedRequest,
        start: Timestamp,
    ) -> Observed {
        let observed = self.begin("embeddings", ctx, info, start);
        observed.describe(|| {
            let mut out = hints(ctx, &request.route);
            if let Some(dimensions) = request.dimensions {
                let count = i64::from(dimensions);
                out.push(KeyValue::new(names::EMBEDDINGS_DIMENSION_COUNT, count));
            }
            out
        });
        observed
    }

    pub(crate) fn rerank(
        &self,
        ctx: &Context,
        info: &ModelInfo,
        request: &RerankRequest,
        start: Timestamp,
    ) -> Observed {
        let observed = self.begin("rerank", ctx, info, start);
        observed.describe(|| hints(ctx, &request.route));
        observed
    }

    fn begin(&self, operation: &'static str, ctx: &Context, info: &ModelInfo, start: Timestamp) -> Observed {
        let facts = |name: String| {
            [
                KeyValue::new(names::OPERATION_NAME, operation),
                KeyValue::new(names::PROVIDER_NAME, names::provider(&info.provider)),
                KeyValue::new(names::REQUEST_MODEL, name),
            ]
        };
        let context = self.tracer.as_ref().map(|tracer| {
            let parent = parent(ctx);
            let builder = tracer
                .span_builder(format!("{operation} {}", info.name))
                .with_kind(SpanKind::Client)
                .with_start_time(system_time(start))
                .with_attributes(facts(info.name.clone()));
            parent.with_span(tracer.build_with_context(builder, &parent))
        });
        let known = match &self.names {
            Some(names) if self.instruments.is_some() => names(info),
            _ => Some(info.name.clone()),
        };
        // A name that only leads to a known one is the caller's too.
        let is_known = known.as_ref() == Some(&info.name);
        let labels = facts(known.unwrap_or_else(|| OTHER.to_owned()));
        Observed::new(self.clone(), context, labels, is_known, start)
    }
}

/// The span this work belongs to: the one that is current, or else the one the caller's request names.
fn parent(ctx: &Context) -> opentelemetry::Context {
    let current = opentelemetry::Context::current();
    if current.span().span_context().is_valid() {
        return current;
    }
    match ctx.info().traceparent.as_deref().and_then(traceparent) {
        Some(remote) => current.with_remote_span_context(remote),
        None => current,
    }
}

/// Reads a `traceparent` (W3C Trace Context, section 3.2.2).
fn traceparent(text: &str) -> Option<SpanContext> {
    let mut fields = text.trim().split('-');
    let (version, trace, span, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    // A later version may have further fields.
    let whole = version != "00" || fields.next().is_none();
    if !(whole && version != "ff" && hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2)) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()? & TraceFlags::SAMPLED.to_u8());
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

/// For whom a request is.
fn hints(ctx: &Context, route: &agentprovision_core::model::RouteHints) -> Vec<KeyValue> {
    let mut out = vec![
        KeyValue::new("agentprovision.tenant.id", ctx.tenant().to_string()),
        KeyValue::new("agentprovision.request.id", ctx.request_id().to_string()),
    ];
    out.extend(ctx.agent().map(|agent| KeyValue::new("agentprovision.agent.id", agent.to_string())));
    out.extend(route.project.clone().map(|project| KeyValue::new("agentprovision.project", project)));
    let tags = route.tags.iter();
    out.extend(tags.map(|(name, value)| KeyValue::new(format!("agentprovision.tag.{name}"), value.clone())));
    out
}

/// Parameters that are not part of the contract but of the convention, where a caller sets them by the usual names.
fn further(extra: &Map<String, serde_json::Value>, out: &mut Vec<KeyValue>) {
    for (name, key) in [
        ("top_p", names::REQUEST_TOP_P),
        ("frequency_penalty", names::REQUEST_FREQUENCY_PENALTY),
        ("presence_penalty", names::REQUEST_PRESENCE_PENALTY),
    ] {
        out.extend(extra.get(name).and_then(|value| value.as_f64()).map(|value| KeyValue::new(key, value)));
    }
    let integer = |name| extra.get(name).and_then(serde_json::Value::as_i64);
    out.extend(integer("top_k").map(|value| KeyValue::new(names::REQUEST_TOP_K, value)));
    let choices = integer("n").filter(|count| *count != 1);
    out.extend(choices.map(|count| KeyValue::new(names::REQUEST_CHOICE_COUNT, count)));
}

fn count(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}

fn texts(texts: &[impl AsRef<str>]) -> Value {
    let texts = texts.iter().map(|text| StringValue::from(text.as_ref().to_owned()));
    Value::Array(Array::String(texts.collect()))
}

fn system_time(time: Timestamp) -> SystemTime {
    let micros = Duration::from_micros(time.micros().unsigned_abs());
    let shifted = if time.micros() < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(micros)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(micros)
    };
    shifted.unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_only_as_the_standard_says() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let read = traceparent(good).unwrap();
        assert_eq!(read.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(read.span_id().to_string(), "b7ad6b7169203331");
        assert!(read.is_sampled() && read.is_remote());
        let unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        assert!(!traceparent(unsampled).unwrap().is_sampled());
        assert!(traceparent(&good.replace("00-", "cc-")).is_some());
        assert!(traceparent(&format!("{}-more", good.replace("00-", "cc-"))).is_some());
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(traceparent(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn times_before_the_epoch_are_times_too() {
        let second = Duration::from_secs(1);
        let before = Timestamp::from_micros(-1_000_000);
        assert_eq!(system_time(before), SystemTime::UNIX_EPOCH - second);
        assert_eq!(system_time(Timestamp::from_micros(1_000_000)), SystemTime::UNIX_EPOCH + second);
    }
}
