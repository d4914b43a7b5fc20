//! A span for each request to a model, and one for each attempt below it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::model::{
    Attempt, AttemptEnd, CallLog, ChatAssembler, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream,
    EmbedRequest, EmbedResponse, EmbeddingModel, FinishReason, ModelInfo, RerankModel, RerankRequest,
    RerankResponse, RouteHints, Usage,
};
use agentprovision_core::{Env, Error, ErrorKind, Result, Timestamp};
use async_trait::async_trait;
use futures_util::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use tower::Layer;
use tracing::field::Empty;
use tracing::{Instrument, Span};

#[cfg(feature = "otel")]
use crate::telemetry::{Observed, Telemetry};

/// What a [`TraceLayer`] records beside the facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TraceConfig {
    /// Whether OpenTelemetry spans carry what was asked and answered: messages, tool definitions and arguments, never
    /// the bytes of files. Whoever sees the spans then sees what tenants say to models. Off by default, and refused in
    /// the configuration of a platform that was given no telemetry; spans of `tracing` never carry content.
    pub capture_content: bool,
}

/// Observes requests to models. Outermost of the layers, so that it sees what callers see.
///
/// Each request is a span of [`tracing`] (target `agentprovision_llm::layers::trace`, level `INFO`) named after its
/// operation, with the field names of OpenTelemetry's conventions for generative AI; each attempt is an event in it
/// (level `DEBUG`), as is the end. With the feature `otel`, `TraceLayer::telemetry` adds spans and metrics of
/// OpenTelemetry. Without a router below there are no attempts to tell of.
///
/// A request whose caller went away ends as `cancelled`, unless its answer was complete.
#[derive(Clone, Debug)]
pub struct TraceLayer {
    env: Env,
    #[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "content goes to OpenTelemetry only"))]
    config: TraceConfig,
    #[cfg(feature = "otel")]
    telemetry: Option<Telemetry>,
}

impl TraceLayer {
    /// A layer that tells `tracing`.
    pub fn new(env: Env, config: TraceConfig) -> Self {
        Self {
            env,
            config,
            #[cfg(feature = "otel")]
            telemetry: None,
        }
    }

    /// The same layer, which tells OpenTelemetry too. A host that already turns spans of `tracing` into those of
    /// OpenTelemetry gets each request twice, unless it filters one of them out.
    #[cfg(feature = "otel")]
    #[must_use]
    pub fn telemetry(mut self, telemetry: Telemetry) -> Self {
        self.telemetry = Some(telemetry);
        self
    }

    /// Whether content is to be recorded, and there is nothing to record it.
    pub(super) fn lacks_telemetry(&self) -> bool {
        #[cfg(feature = "otel")]
        let told = self.telemetry.is_some();
        #[cfg(not(feature = "otel"))]
        let told = false;
        self.config.capture_content && !told
    }

    /// The same layer, which has these names of models in metrics.
    #[cfg(feature = "otel")]
    pub(crate) fn names(
        mut self,
        names: impl Fn(&ModelInfo) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.telemetry = self.telemetry.map(|telemetry| telemetry.names(names));
        self
    }

    fn call(&self, operation: &'static str, ctx: &Context, info: &ModelInfo, log: &CallLog) -> Call {
        let span = tracing::info_span!(
            "request",
            "otel.name" = format_args!("{operation} {}", info.name),
            "gen_ai.operation.name" = operation,
            "gen_ai.provider.name" = info.provider,
            "gen_ai.request.model" = info.name,
            "agentprovision.tenant.id" = %ctx.tenant(),
            "agentprovision.request.id" = %ctx.request_id(),
            "gen_ai.response.model" = Empty,
            "gen_ai.response.id" = Empty,
            "gen_ai.response.finish_reasons" = Empty,
            "gen_ai.usage.input_tokens" = Empty,
            "gen_ai.usage.output_tokens" = Empty,
            "error.type" = Empty,
            attempts = Empty,
        );
        Call {
            env: self.env.clone(),
            span,
            log: log.clone(),
            before: log.len(),
            wall: self.env.now(),
            started: self.env.monotonic(),
            ended: false,
            answer: Answer::default(),
            #[cfg(feature = "otel")]
            observed: None,
        }
    }

    fn chat(&self, ctx: &Context, info: &ModelInfo, request: &ChatRequest, streamed: bool) -> Call {
        #[cfg_attr(not(feature = "otel"), allow(unused_mut, reason = "only OpenTelemetry adds to it"))]
        let mut call = self.call("chat", ctx, info, &request.log);
        #[cfg(feature = "otel")]
        if let Some(telemetry) = &self.telemetry {
            let capture = self.config.capture_content;
            call.observed = Some(telemetry.chat(ctx, info, request, streamed, capture, call.wall));
            call.answer.content = capture.then(ChatAssembler::new);
        }
        #[cfg(not(feature = "otel"))]
        let _ = streamed;
        call
    }
}

impl Layer<Arc<dyn ChatModel>> for TraceLayer {
    type Service = Arc<dyn ChatModel>;

    fn layer(&self, inner: Arc<dyn ChatModel>) -> Self::Service {
        Arc::new(Traced { inner, layer: self.clone() })
    }
}

impl Layer<Arc<dyn EmbeddingModel>> for TraceLayer {
    type Service = Arc<dyn EmbeddingModel>;

    fn layer(&self, inner: Arc<dyn EmbeddingModel>) -> Self::Service {
        Arc::new(Traced { inner, layer: self.clone() })
    }
}

impl Layer<Arc<dyn RerankModel>> for TraceLayer {
    type Service = Arc<dyn RerankModel>;

    fn layer(&self, inner: Arc<dyn RerankModel>) -> Self::Service {
        Arc::new(Traced { inner, layer: self.clone() })
    }
}

#[derive(Debug)]
struct Traced<M> {
    inner: M,
    layer: TraceLayer,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChatModel for Traced<Arc<dyn ChatModel>> {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    fn answerers(&self, ctx: &Context, route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        self.inner.answerers(ctx, route)
    }

    async fn complete(&self, ctx: &Context, request: ChatRequest) -> Result<ChatResponse> {
        let mut call = self.layer.chat(ctx, self.info(), &request, false);
        let answer = call.within(self.inner.complete(ctx, request)).await;
        match &answer {
            Ok(answer) => {
                call.answer.whole(answer);
                call.end(Outcome::Answered);
            }
            Err(error) => call.end(Outcome::Failed(error)),
        }
        answer
    }

    async fn stream(&self, ctx: &Context, request: ChatRequest) -> Result<ChatStream> {
        let mut call = self.layer.chat(ctx, self.info(), &request, true);
        match call.within(self.inner.stream(ctx, request)).await {
            Ok(events) => Ok(Following { events, call }.boxed()),
            Err(error) => {
                call.end(Outcome::Failed(&error));
                Err(error)
            }
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl EmbeddingModel for Traced<Arc<dyn EmbeddingModel>> {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    fn answerers(&self, ctx: &Context, route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        self.inner.answerers(ctx, route)
    }

    fn largest_batch(&self) -> usize {
        self.inner.largest_batch()
    }

    async fn embed(&self, ctx: &Context, request: EmbedRequest) -> Result<EmbedResponse> {
        let mut call = self.layer.call("embeddings", ctx, self.info(), &request.log);
        #[cfg(feature = "otel")]
        if let Some(telemetry) = &self.layer.telemetry {
            call.observed = Some(telemetry.embeddings(ctx, self.info(), &request, call.wall));
        }
        let answer = call.within(self.inner.embed(ctx, request)).await;
        call.vectors(answer.as_ref().map(|answer| (answer.model.as_ref(), answer.usage)));
        answer
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl RerankModel for Traced<Arc<dyn RerankModel>> {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    fn answerers(&self, ctx: &Context, route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        self.inner.answerers(ctx, route)
    }

    async fn rerank(&self, ctx: &Context, request: RerankRequest) -> Result<RerankResponse> {
        #[cfg_attr(not(feature = "otel"), allow(unused_mut, reason = "only OpenTelemetry adds to it"))]
        let mut call = self.layer.call("rerank", ctx, self.info(), &request.log);
        #[cfg(feature = "otel")]
        if let Some(telemetry) = &self.layer.telemetry {
            call.observed = Some(telemetry.rerank(ctx, self.info(), &request, call.wall));
        }
        let answer = call.within(self.inner.rerank(ctx, request)).await;
        call.vectors(answer.as_ref().map(|answer| (answer.model.as_ref(), answer.usage)));
        answer
    }
}

/// A streamed answer on its way. The stream is dropped before the call, because its end writes the last attempts.
struct Following {
    events: ChatStream,
    call: Call,
}

impl Stream for Following {
    type Item = Result<ChatEvent>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        let Self { events, call } = self.get_mut();
        let event = {
            let _span = call.span.enter();
            #[cfg(feature = "otel")]
            let _context = call.observed.as_ref().and_then(Observed::attach);
            ready!(events.poll_next_unpin(task))
        };
        match &event {
            Some(Ok(event)) => call.event(event),
            Some(Err(error)) => call.end(Outcome::Failed(error)),
            None if call.answer.complete => call.end(Outcome::Answered),
            None => {
                let cut = Error::new(ErrorKind::Incomplete, "the answer ended before it was complete");
                call.end(Outcome::Failed(&cut));
            }
        }
        Poll::Ready(event)
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome<'a> {
    Answered,
    Failed(&'a Error),
    /// Nobody waited any more.
    Dropped,
}

impl Outcome<'_> {
    /// The code of what went wrong.
    pub(crate) fn error(&self) -> Option<&'static str> {
        match self {
            Self::Answered => None,
            Self::Failed(error) => Some(error.kind().code()),
            Self::Dropped => Some(ErrorKind::Cancelled.code()),
        }
    }
}

/// What is known of an answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) id: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) finish: Option<FinishReason>,
    pub(crate) usage: Option<Usage>,
    /// Whether the answer is whole.
    pub(crate) complete: bool,
    /// The time to its first piece, where it was streamed.
    #[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "only OpenTelemetry is told of it"))]
    pub(crate) first: Option<Duration>,
    /// The time to its last event.
    last: Option<Duration>,
    /// The answer itself, where it is to be recorded.
    pub(crate) content: Option<ChatAssembler>,
}

impl Answer {
    fn whole(&mut self, answer: &ChatResponse) {
        self.id.clone_from(&answer.id);
        self.model.clone_from(&answer.model);
        self.finish = Some(answer.finish);
        self.usage = answer.usage;
        self.complete = true;
        if let Some(content) = &mut self.content {
            content.push(&ChatEvent::Reasoning(answer.reasoning.clone()));
            content.push(&ChatEvent::Text(answer.text.clone()));
            content.push(&ChatEvent::Refusal(answer.refusal.clone().unwrap_or_default()));
            for (index, call) in answer.tool_calls.iter().enumerate() {
                let (id, name) = (Some(call.id.clone()), Some(call.name.clone()));
                content.push(&ChatEvent::ToolCall { index, id, name, arguments: call.arguments.clone() });
            }
        }
    }
}

/// One request under observation. Its end is recorded once, by whatever comes first; dropping it is an end too.
struct Call {
    env: Env,
    span: Span,
    log: CallLog,
    /// Attempts the log had before: it may be that of several requests in a row.
    before: usize,
    #[cfg_attr(
        not(feature = "otel"),
        allow(dead_code, reason = "spans of OpenTelemetry have times of their own")
    )]
    wall: Timestamp,
    started: Duration,
    ended: bool,
    answer: Answer,
    #[cfg(feature = "otel")]
    observed: Option<Observed>,
}

impl Call {
    /// Does the work within the spans of the call.
    async fn within<F: Future>(&self, work: F) -> F::Output {
        #[cfg(feature = "otel")]
        if let Some(context) = self.observed.as_ref().and_then(Observed::context) {
            use opentelemetry::context::FutureExt;
            return work.with_context(context).instrument(self.span.clone()).await;
        }
        work.instrument(self.span.clone()).await
    }

    /// Vectors or a ranking are there, by this model and with these counts, or an error is.
    fn vectors(&mut self, answer: Result<(Option<&String>, Option<Usage>), &Error>) {
        match answer {
            Ok((model, usage)) => {
                self.answer.model = model.cloned();
                self.answer.usage = usage;
                self.answer.complete = true;
                self.end(Outcome::Answered);
            }
            Err(error) => self.end(Outcome::Failed(error)),
        }
    }

    fn event(&mut self, event: &ChatEvent) {
        if self.ended {
            return;
        }
        let now = self.env.monotonic().saturating_sub(self.started);
        match event {
            ChatEvent::Started { id, model } => {
                self.answer.id = self.answer.id.take().or_else(|| id.clone());
                self.answer.model = self.answer.model.take().or_else(|| model.clone());
            }
            ChatEvent::Usage(usage) => self.answer.usage = Some(*usage),
            ChatEvent::Finished { reason, .. } => {
                self.answer.finish = Some(*reason);
                self.answer.complete = true;
            }
            event if event.is_content() => {
                #[cfg(feature = "otel")]
                if let Some(observed) = &mut self.observed {
                    observed.piece(now, self.answer.model.as_deref());
                }
                self.answer.first.get_or_insert(now);
            }
            _ => {}
        }
        if let Some(content) = &mut self.answer.content {
            content.push(event);
        }
        self.answer.last = Some(now);
    }

    fn end(&mut self, outcome: Outcome<'_>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if !self.is_heard() {
            return;
        }
        let duration = match (outcome, self.answer.last) {
            // Whoever keeps a stream that is at its end does not make it longer.
            (Outcome::Answered, Some(last)) => last,
            _ => self.env.monotonic().saturating_sub(self.started),
        };
        let attempts = self.log.attempts();
        let attempts = attempts.get(self.before..).unwrap_or_default();
        let usage = reported(attempts, self.answer.usage);
        self.tell(outcome, attempts, usage, duration);
        #[cfg(feature = "otel")]
        if let Some(observed) = self.observed.take() {
            observed.end(&crate::telemetry::Ended {
                outcome,
                attempts,
                usage,
                duration,
                answer: &self.answer,
            });
        }
    }

    /// Whether anybody is told of it.
    fn is_heard(&self) -> bool {
        #[cfg(feature = "otel")]
        if self.observed.is_some() {
            return true;
        }
        !self.span.is_disabled()
    }

    /// Tells `tracing`.
    fn tell(&self, outcome: Outcome<'_>, attempts: &[Attempt], usage: Option<Usage>, duration: Duration) {
        if self.span.is_disabled() {
            return;
        }
        let record = |name: &str, value: Option<&str>| value.map(|value| self.span.record(name, value));
        record("gen_ai.response.model", self.answer.model.as_deref());
        record("gen_ai.response.id", self.answer.id.as_deref());
        record("gen_ai.response.finish_reasons", self.answer.finish.map(finish_name));
        record("error.type", outcome.error());
        if let Some(tokens) = usage.and_then(|usage| usage.input_tokens) {
            self.span.record("gen_ai.usage.input_tokens", tokens);
        }
        if let Some(tokens) = usage.and_then(|usage| usage.output_tokens) {
            self.span.record("gen_ai.usage.output_tokens", tokens);
        }
        self.span.record("attempts", attempts.len());
        for attempt in attempts {
            let (end, category) = match &attempt.end {
                AttemptEnd::Answered => ("answered", None),
                AttemptEnd::Failed { category, .. } => ("failed", Some(category.as_str())),
                _ => ("dropped", None),
            };
            tracing::debug!(
                parent: &self.span,
                provider = attempt.provider,
                model = attempt.model,
                credential = attempt.credential,
                duration_us = attempt.duration_us,
                hedge = attempt.hedge,
                end,
                category,
                "attempt"
            );
        }
        let duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(parent: &self.span, duration_us, "the request ended");
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(if self.answer.complete { Outcome::Answered } else { Outcome::Dropped });
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following").finish_non_exhaustive()
    }
}

/// The tokens that providers reported: those of every attempt, or those of the answer where there are no attempts to
/// count. Estimates are for budgets, not for graphs.
fn reported(attempts: &[Attempt], answer: Option<Usage>) -> Option<Usage> {
    if attempts.is_empty() {
        return answer;
    }
    let counted = attempts.iter().filter(|attempt| !attempt.estimated);
    counted.filter_map(|attempt| attempt.usage).reduce(Usage::plus)
}

/// The convention's word for why an answer ended.
pub(crate) fn finish_name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
        _ => "other",
    }
}
