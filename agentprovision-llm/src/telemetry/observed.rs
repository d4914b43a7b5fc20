//! One request, from its start to its end.

use std::time::Duration;

use agentprovision_core::Timestamp;
use agentprovision_core::model::{Attempt, AttemptEnd, Usage};
use agentprovision_core::money::{Cost, NanoUsd};
use opentelemetry::context::ContextGuard;
use opentelemetry::trace::{Span, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};

use super::{Telemetry, content, count, names, system_time, texts};
use crate::layers::trace::{Answer, Outcome, finish_name};

/// A request that is under way.
pub(crate) struct Observed {
    telemetry: Telemetry,
    /// The context with the request's span, where spans are recorded.
    context: Option<Context>,
    /// What every metric of the request is labelled with.
    labels: Vec<KeyValue>,
    /// Whether the name of the model is among them; a provider may answer with the name it was asked for.
    is_known: bool,
    start: Timestamp,
    /// The time to the last piece of the answer.
    last: Option<Duration>,
}

/// How a request ended.
pub(crate) struct Ended<'a> {
    pub(crate) outcome: Outcome<'a>,
    pub(crate) attempts: &'a [Attempt],
    pub(crate) usage: Option<Usage>,
    pub(crate) duration: Duration,
    pub(crate) answer: &'a Answer,
}

impl Observed {
    pub(super) fn new(
        telemetry: Telemetry,
        context: Option<Context>,
        labels: [KeyValue; 3],
        is_known: bool,
        start: Timestamp,
    ) -> Self {
        Self { telemetry, context, labels: labels.into(), is_known, start, last: None }
    }

    /// Adds what the request says, where somebody records it.
    pub(super) fn describe(&self, attributes: impl FnOnce() -> Vec<KeyValue>) {
        if let Some(context) = &self.context
            && context.span().is_recording()
        {
            context.span().set_attributes(attributes());
        }
    }

    /// The context whose span is that of the request.
    pub(crate) fn context(&self) -> Option<Context> {
        self.context.clone()
    }

    /// Makes the request's span the current one for as long as the guard lives.
    pub(crate) fn attach(&self) -> Option<ContextGuard> {
        self.context().map(Context::attach)
    }

    /// A piece of a streamed answer came after this time.
    pub(crate) fn piece(&mut self, now: Duration, model: Option<&str>) {
        let Some(instruments) = &self.telemetry.instruments else { return };
        match self.last.replace(now) {
            None => {
                self.labels.extend(model.filter(|_| self.is_known).map(answered_by));
                instruments.first_chunk.record(now.as_secs_f64(), &self.labels);
            }
            Some(last) => {
                instruments.between_chunks.record(now.saturating_sub(last).as_secs_f64(), &self.labels);
            }
        }
    }

    /// Records the end.
    pub(crate) fn end(mut self, ended: &Ended<'_>) {
        self.measure(ended);
        let Some(context) = &self.context else { return };
        let span = context.span();
        if span.is_recording() {
            for (number, attempt) in ended.attempts.iter().enumerate() {
                self.attempt(context, number, attempt);
            }
            span.set_attributes(attributes(ended));
            if let Outcome::Failed(error) = ended.outcome {
                span.set_status(Status::error(error.message().to_owned()));
            }
        }
        span.end_with_timestamp(system_time(self.start.after(ended.duration)));
    }

    fn measure(&mut self, ended: &Ended<'_>) {
        let Some(instruments) = &self.telemetry.instruments else { return };
        if self.last.is_none() {
            let model = ended.answer.model.as_deref().filter(|_| self.is_known);
            self.labels.extend(model.map(answered_by));
        }
        for (kind, tokens) in [
            ("input", ended.usage.and_then(|usage| usage.input_tokens)),
            ("output", ended.usage.and_then(|usage| usage.output_tokens)),
        ] {
            if let Some(tokens) = tokens {
                let mut labels = self.labels.clone();
                labels.push(KeyValue::new(names::TOKEN_TYPE, kind));
                instruments.tokens.record(tokens, &labels);
            }
        }
        if let Some(error) = ended.outcome.error() {
            self.labels.push(KeyValue::new(names::ERROR_TYPE, error));
        }
        instruments.duration.record(ended.duration.as_secs_f64(), &self.labels);
    }

    /// Writes the span of an attempt that has ended.
    fn attempt(&self, context: &Context, number: usize, attempt: &Attempt) {
        let Some(tracer) = &self.telemetry.tracer else { return };
        let operation = self.labels.iter().find(|label| label.key.as_str() == names::OPERATION_NAME);
        let mut attributes: Vec<KeyValue> = operation.cloned().into_iter().collect();
        attributes.extend([
            KeyValue::new(names::PROVIDER_NAME, names::provider(&attempt.provider)),
            KeyValue::new(names::REQUEST_MODEL, attempt.model.clone()),
            KeyValue::new("agentprovision.attempt.number", count(number as u64 + 1)),
            KeyValue::new("agentprovision.attempt.credential", i64::from(attempt.credential)),
            KeyValue::new("agentprovision.attempt.hedge", attempt.hedge),
        ]);
        let mut status = Status::Unset;
        match &attempt.end {
            AttemptEnd::Answered => {}
            AttemptEnd::Failed { kind, category } => {
                status = Status::error(category.clone());
                attributes.push(KeyValue::new(names::ERROR_TYPE, kind.code()));
                attributes.push(KeyValue::new("agentprovision.attempt.category", category.clone()));
            }
            _ => attributes
                .push(KeyValue::new(names::ERROR_TYPE, Outcome::Dropped.error().unwrap_or_default())),
        }
        if let Some(usage) = attempt.usage {
            let tokens = [
                ("agentprovision.attempt.input_tokens", usage.input_tokens),
                ("agentprovision.attempt.output_tokens", usage.output_tokens),
            ];
            let tokens = tokens.into_iter().filter_map(|(key, tokens)| Some((key, tokens?)));
            attributes.extend(tokens.map(|(key, tokens)| KeyValue::new(key, count(tokens))));
            attributes.push(KeyValue::new("agentprovision.attempt.estimated", attempt.estimated));
        }
        if let Some(first) = attempt.first_content_us {
            let seconds = Duration::from_micros(first).as_secs_f64();
            attributes.push(KeyValue::new("agentprovision.attempt.time_to_first_chunk", seconds));
        }
        attributes.extend(attempt.cost.map(cost));
        let builder = tracer
            .span_builder(format!("attempt {}", attempt.model))
            .with_kind(SpanKind::Client)
            .with_start_time(system_time(attempt.started))
            .with_attributes(attributes);
        let mut span = tracer.build_with_context(builder, context);
        span.set_status(status);
        let end = attempt.started.after(Duration::from_micros(attempt.duration_us));
        span.end_with_timestamp(system_time(end));
    }
}

fn answered_by(model: &str) -> KeyValue {
    KeyValue::new(names::RESPONSE_MODEL, model.to_owned())
}

fn cost(cost: NanoUsd) -> KeyValue {
    KeyValue::new("agentprovision.cost.nano_usd", cost.nanos())
}

/// What is known of a request at its end.
fn attributes(ended: &Ended<'_>) -> Vec<KeyValue> {
    let (answer, mut out) = (ended.answer, Vec::new());
    out.extend(answer.model.as_deref().map(answered_by));
    out.extend(answer.id.clone().map(|id| KeyValue::new(names::RESPONSE_ID, id)));
    if let Some(first) = answer.first {
        out.push(KeyValue::new(names::RESPONSE_TIME_TO_FIRST_CHUNK, first.as_secs_f64()));
    }
    if let Some(usage) = ended.usage {
        for (key, tokens) in [
            (names::USAGE_INPUT_TOKENS, usage.input_tokens),
            (names::USAGE_OUTPUT_TOKENS, usage.output_tokens),
            (names::USAGE_CACHE_READ_INPUT_TOKENS, usage.cache_read_tokens),
            (names::USAGE_CACHE_CREATION_INPUT_TOKENS, usage.cache_write_tokens),
            (names::USAGE_REASONING_OUTPUT_TOKENS, usage.reasoning_tokens),
        ] {
            out.extend(tokens.map(|tokens| KeyValue::new(key, count(tokens))));
        }
    }
    if let Some(finish) = answer.finish {
        out.push(KeyValue::new(names::RESPONSE_FINISH_REASONS, texts(&[finish_name(finish)])));
    }
    if let Some(error) = ended.outcome.error() {
        out.push(KeyValue::new(names::ERROR_TYPE, error));
    }
    if !ended.attempts.is_empty() {
        out.push(KeyValue::new("agentprovision.attempts", count(ended.attempts.len() as u64)));
        let answered = ended.attempts.iter().rfind(|attempt| attempt.end == AttemptEnd::Answered);
        let provider = answered.map(|attempt| names::provider(&attempt.provider));
        out.extend(provider.map(|name| KeyValue::new("agentprovision.response.provider", name)));
        let costs = ended.attempts.iter().map(|attempt| Cost::from(attempt.cost));
        let sum = costs.fold(Cost::Known(NanoUsd::ZERO), Cost::plus);
        out.extend(sum.known().map(cost));
    }
    out.extend(content::answered(answer));
    out
}
