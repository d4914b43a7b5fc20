//! What budgets and rate limits share: room is taken for an estimate before a model is asked, and what was used is told
//! when the request ends, however it ends.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use agentprovision_core::clock::Timestamp;
use agentprovision_core::context::Context;
use agentprovision_core::model::{
    CallLog, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, EmbedRequest, EmbedResponse,
    EmbeddingModel, EmbeddingResolver, ModelInfo, ModelResolver, RouteHints, Usage,
};
use agentprovision_core::money::{Cost, NanoUsd};
use agentprovision_core::{Env, ErrorKind, Result};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream, StreamExt};

use crate::limit::Amounts;
use crate::route::{DEFAULT_OUTPUT, input_tokens};

/// The tokens of so many bytes of text, from above.
const fn tokens(bytes: u64) -> u64 {
    bytes.div_ceil(3)
}

/// The bytes of a piece of an answer.
fn event_bytes(event: &ChatEvent) -> usize {
    match event {
        ChatEvent::Text(text) | ChatEvent::Reasoning(text) | ChatEvent::Refusal(text) => text.len(),
        ChatEvent::ToolCall { name, arguments, .. } => name.as_ref().map_or(0, String::len) + arguments.len(),
        _ => 0,
    }
}

/// The bytes of a whole answer.
fn answer_bytes(answer: &ChatResponse) -> usize {
    let calls = answer.tool_calls.iter().map(|call| call.name.len() + call.arguments.len());
    let refusal = answer.refusal.as_ref().map_or(0, String::len);
    answer.text.len() + answer.reasoning.len() + refusal + calls.sum::<usize>()
}

/// Lets requests through, or refuses them.
#[async_trait]
pub(super) trait Gate: fmt::Debug + Send + Sync + 'static {
    /// The longest answer that may be asked for, in tokens.
    fn max_output(&self) -> Option<u64>;
    /// Takes room for a request; `None` when nothing limits it.
    async fn enter(&self, ask: Ask<'_>) -> Result<Option<Box<dyn Ticket>>>;
}

/// The room a request takes.
pub(super) trait Ticket: Send + Sync + 'static {
    /// How often [`Ticket::extend`] wants to be called.
    fn beat(&self) -> Option<Duration>;
    /// The request still goes on.
    fn extend(&self);
    /// What it came to; called once. Where the cost is `unknown`, only what is known of it is in the amounts.
    fn settle(&mut self, actual: Amounts, unknown: bool);
}

/// A request that asks to be let through.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) ctx: &'a Context,
    pub(super) route: &'a RouteHints,
    /// The model that was named, and those that may answer instead.
    pub(super) models: &'a [ModelInfo],
    pub(super) input: u64,
    max_output: Option<u64>,
}

impl Ask<'_> {
    /// The name of the model.
    pub(super) fn model(&self) -> &str {
        self.models.first().map_or("", |info| info.name.as_str())
    }

    fn output_of(&self, info: &ModelInfo) -> u64 {
        match (self.max_output, info.max_output_tokens) {
            (Some(wanted), longest) => wanted.min(longest.unwrap_or(u64::MAX)),
            (None, longest) => longest.unwrap_or(DEFAULT_OUTPUT),
        }
    }

    /// How long the answer will be at most in all likelihood, in tokens: where nobody limits it, few answers are as long
    /// as the model could make them.
    pub(super) fn likely_output(&self) -> u64 {
        self.output().min(self.max_output.unwrap_or(DEFAULT_OUTPUT))
    }

    /// The longest answer, in tokens.
    pub(super) fn output(&self) -> u64 {
        self.models.iter().map(|info| self.output_of(info)).max().unwrap_or(0)
    }

    /// The most it can cost with the dearest of the models; those without a price are left to `unknown`.
    pub(super) fn cost(&self, mut unknown: impl FnMut(&ModelInfo) -> Result<NanoUsd>) -> Result<NanoUsd> {
        let mut most = NanoUsd::ZERO;
        for info in self.models {
            let cost = match &info.price {
                Some(price) => price.at_most(&Usage {
                    input_tokens: Some(self.input),
                    output_tokens: Some(self.output_of(info)),
                    ..Usage::default()
                }),
                None => unknown(info)?,
            };
            most = most.max(cost);
        }
        Ok(most)
    }
}

/// Where the models a request may fall back to are found.
#[derive(Clone, Debug, Default)]
pub(super) struct Targets {
    pub(super) chat: Option<Arc<dyn ModelResolver>>,
    pub(super) embedding: Option<Arc<dyn EmbeddingResolver>>,
}

/// Who answers.
#[derive(Clone, Debug)]
enum Inner {
    Chat(Arc<dyn ChatModel>),
    Embedding(Arc<dyn EmbeddingModel>),
}

impl Inner {
    fn info(&self) -> &ModelInfo {
        match self {
            Self::Chat(model) => model.info(),
            Self::Embedding(model) => model.info(),
        }
    }
}

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is under way; a drop leaves it here.
    Asked,
    /// The whole answer is there.
    Answered,
    /// It failed in a way that no provider bills.
    Refused,
}

/// A request that was let through. Dropping it settles what it came to.
struct Open {
    ticket: Option<Box<dyn Ticket>>,
    inner: Inner,
    started: Timestamp,
    /// What was reckoned with.
    input: u64,
    log: CallLog,
    /// Attempts in the log that are not this request's.
    earlier: usize,
    stage: Stage,
    usage: Option<Usage>,
    /// Bytes of the answer so far.
    written: u64,
}

impl Open {
    fn saw(&mut self, event: &ChatEvent) {
        match event {
            ChatEvent::Usage(usage) => self.usage = Some(*usage),
            ChatEvent::Finished { .. } => self.stage = Stage::Answered,
            event => self.written += event_bytes(event) as u64,
        }
    }

    /// Of an answer that broke off something may be billed; of a request that was turned away nothing is.
    fn failed(&mut self, kind: ErrorKind) {
        let cut = matches!(kind, ErrorKind::Incomplete | ErrorKind::DeadlineExceeded | ErrorKind::Cancelled);
        if self.written == 0 && self.usage.is_none() && !cut {
            self.stage = Stage::Refused;
        }
    }

    fn actual(&self) -> (Amounts, Cost) {
        let attempted = self.log.read(|attempts| {
            let ours = attempts.get(self.earlier..).filter(|ours| !ours.is_empty())?;
            let usage = ours.iter().filter_map(|attempt| attempt.usage).reduce(Usage::plus);
            let costs = ours.iter().map(|attempt| Cost::from(attempt.cost));
            Some((usage.unwrap_or_default(), costs.fold(Cost::Known(NanoUsd::ZERO), Cost::plus)))
        });
        let (usage, cost) = attempted.unwrap_or_else(|| self.counted());
        let amounts = Amounts {
            requests: 1,
            input_tokens: usage.input_tokens.unwrap_or(0),
            output_tokens: usage.output_tokens.unwrap_or(0),
            cost: cost.known().unwrap_or(NanoUsd::ZERO),
        };
        (amounts, cost)
    }

    /// What a model came to that keeps no log of attempts.
    fn counted(&self) -> (Usage, Cost) {
        let usage = match (self.stage, self.usage) {
            (Stage::Refused, _) => return (Usage::default(), Cost::Known(NanoUsd::ZERO)),
            (Stage::Answered, Some(usage)) => usage,
            // Without counts, or with those of an answer that went on: what is known from outside, from above.
            (stage, usage) => {
                tracing::debug!(
                    model = self.inner.info().name,
                    ?stage,
                    "the tokens of an answer are estimated"
                );
                let usage = usage.unwrap_or_default();
                let written = tokens(self.written);
                Usage {
                    input_tokens: Some(usage.input_tokens.unwrap_or(self.input)),
                    output_tokens: Some(usage.output_tokens.unwrap_or(0).max(written)),
                    ..usage
                }
            }
        };
        (usage, Cost::from(self.inner.info().cost(&usage, self.started)))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(mut ticket) = self.ticket.take() {
            let (actual, cost) = self.actual();
            ticket.settle(actual, cost == Cost::Unknown);
        }
    }
}

/// A model behind a gate.
#[derive(Clone, Debug)]
pub(super) struct Metered {
    inner: Inner,
    gate: Arc<dyn Gate>,
    targets: Targets,
    env: Env,
}

impl Metered {
    pub(super) fn chat(
        inner: Arc<dyn ChatModel>,
        gate: Arc<dyn Gate>,
        targets: Targets,
        env: Env,
    ) -> Arc<dyn ChatModel> {
        Arc::new(MeteredChat {
            model: Arc::clone(&inner),
            shared: Self { inner: Inner::Chat(inner), gate, targets, env },
        })
    }

    pub(super) fn embedding(
        inner: Arc<dyn EmbeddingModel>,
        gate: Arc<dyn Gate>,
        targets: Targets,
        env: Env,
    ) -> Arc<dyn EmbeddingModel> {
        let shared = Self { inner: Inner::Embedding(Arc::clone(&inner)), gate, targets, env };
        Arc::new(MeteredEmbedding { model: inner, shared })
    }

    /// The models that may answer. A fallback that does not resolve answers nothing.
    fn models(&self, route: &RouteHints) -> Vec<ModelInfo> {
        let mut models = vec![self.inner.info().clone()];
        for name in &route.fallbacks {
            let info = match &self.inner {
                Inner::Chat(_) => self
                    .targets
                    .chat
                    .as_ref()
                    .and_then(|models| models.resolve(name).ok())
                    .map(|model| model.info().clone()),
                Inner::Embedding(_) => {
                    let found = self.targets.embedding.as_ref().and_then(|models| models.embedder(name).ok());
                    found.map(|model| model.info().clone())
                }
            };
            models.extend(info);
        }
        models
    }

    async fn enter(
        &self,
        ctx: &Context,
        route: &RouteHints,
        log: &CallLog,
        input: u64,
        max_output: Option<u64>,
    ) -> Result<Open> {
        let several;
        let models = if route.fallbacks.is_empty() {
            std::slice::from_ref(self.inner.info())
        } else {
            several = self.models(route);
            &several
        };
        let ticket = self.gate.enter(Ask { ctx, route, models, input, max_output }).await?;
        Ok(Open {
            ticket,
            inner: self.inner.clone(),
            started: self.env.now(),
            input,
            log: log.clone(),
            earlier: log.len(),
            stage: Stage::Asked,
            usage: None,
            written: 0,
        })
    }

    async fn enter_chat(&self, ctx: &Context, request: &mut ChatRequest) -> Result<Open> {
        if let Some(most) = self.gate.max_output() {
            request.max_tokens = Some(request.max_tokens.map_or(most, |wanted| wanted.min(most)));
        }
        self.enter(ctx, &request.route, &request.log, input_tokens(request), request.max_tokens).await
    }

    /// Waits for an answer, and says meanwhile that the request goes on.
    async fn until<T>(&self, open: &Open, call: impl Future<Output = T>) -> T {
        let Some((ticket, beat)) = open.ticket.as_ref().and_then(|ticket| Some((ticket, ticket.beat()?)))
        else {
            return call.await;
        };
        let mut call = pin!(call);
        loop {
            if let Some(answer) = self.env.timeout(beat, call.as_mut()).await {
                return answer;
            }
            ticket.extend();
        }
    }
}

#[derive(Debug)]
struct MeteredChat {
    model: Arc<dyn ChatModel>,
    shared: Metered,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChatModel for MeteredChat {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    async fn complete(&self, ctx: &Context, mut request: ChatRequest) -> Result<ChatResponse> {
        let mut open = self.shared.enter_chat(ctx, &mut request).await?;
        let answer = self.shared.until(&open, self.model.complete(ctx, request)).await;
        match &answer {
            Ok(answer) => {
                open.stage = Stage::Answered;
                open.usage = answer.usage;
                open.written = answer_bytes(answer) as u64;
            }
            Err(error) => open.failed(error.kind()),
        }
        answer
    }

    async fn stream(&self, ctx: &Context, mut request: ChatRequest) -> Result<ChatStream> {
        let mut open = self.shared.enter_chat(ctx, &mut request).await?;
        match self.shared.until(&open, self.model.stream(ctx, request)).await {
            Ok(events) if open.ticket.is_some() => {
                let env = self.shared.env.clone();
                Ok(Following { events: Some(events), open: Some(open), env, beat: None }.boxed())
            }
            Ok(events) => Ok(events),
            Err(error) => {
                open.failed(error.kind());
                Err(error)
            }
        }
    }
}

#[derive(Debug)]
struct MeteredEmbedding {
    model: Arc<dyn EmbeddingModel>,
    shared: Metered,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl EmbeddingModel for MeteredEmbedding {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    async fn embed(&self, ctx: &Context, request: EmbedRequest) -> Result<EmbedResponse> {
        let input = request.inputs.iter().map(|text| tokens(text.len() as u64)).sum();
        let mut open = self.shared.enter(ctx, &request.route, &request.log, input, Some(0)).await?;
        let answer = self.shared.until(&open, self.model.embed(ctx, request)).await;
        match &answer {
            Ok(answer) => {
                open.stage = Stage::Answered;
                open.usage = answer.usage;
            }
            Err(error) => open.failed(error.kind()),
        }
        answer
    }
}

/// A streamed answer that is counted while it passes.
struct Following {
    // In this order: when the events are dropped, the attempts under way are written to the log, which is then settled.
    events: Option<ChatStream>,
    open: Option<Open>,
    env: Env,
    beat: Option<BoxFuture<'static, ()>>,
}

impl Following {
    fn end(&mut self) {
        self.events = None;
        self.open = None;
        self.beat = None;
    }

    /// Says that the request goes on, each time its beat is over.
    fn extend(&mut self, task: &mut Task<'_>) {
        let Some(ticket) = self.open.as_ref().and_then(|open| open.ticket.as_ref()) else { return };
        let Some(every) = ticket.beat() else { return };
        loop {
            let env = &self.env;
            let beat = self.beat.get_or_insert_with(|| {
                let env = env.clone();
                async move { env.sleep(every).await }.boxed()
            });
            if beat.poll_unpin(task).is_pending() {
                return;
            }
            self.beat = None;
            ticket.extend();
        }
    }
}

impl Stream for Following {
    type Item = Result<ChatEvent>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(events) = this.events.as_mut() else { return Poll::Ready(None) };
        let Poll::Ready(event) = events.poll_next_unpin(task) else {
            this.extend(task);
            return Poll::Pending;
        };
        match (&event, this.open.as_mut()) {
            (Some(Ok(event)), Some(open)) => open.saw(event),
            (Some(Err(error)), Some(open)) => {
                open.failed(error.kind());
                this.end();
            }
            _ => this.end(),
        }
        Poll::Ready(event)
    }
}
