//! Deadlines of an answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::model::{
    ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, EmbedRequest, EmbedResponse, EmbeddingModel,
    ModelInfo, RouteHints,
};
use agentprovision_core::{Alarm, Env, Error, ErrorKind, Result, Timestamp};
use async_trait::async_trait;
use futures_util::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use tower::Layer;

use super::refuse;

/// How long an answer may take. A request's own deadline and that of its context count as well: the earliest holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TimeoutConfig {
    /// The whole answer, in milliseconds; 10 minutes by default, and without a limit when `null`.
    pub total_ms: Option<u64>,
    /// The first piece of a streamed answer, in milliseconds; 2 minutes by default.
    pub first_event_ms: Option<u64>,
    /// From one piece of a streamed answer to the next, in milliseconds; a minute by default. Token counts and signs of
    /// life of a connection are no pieces of an answer.
    pub idle_ms: Option<u64>,
}

impl Default for TimeoutConfig {
    fn default() -> Self {
        Self { total_ms: Some(600_000), first_event_ms: Some(120_000), idle_ms: Some(60_000) }
    }
}

impl TimeoutConfig {
    /// Everything that is wrong with it, by the name of the field.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let parts = [("first_event_ms", self.first_event_ms), ("idle_ms", self.idle_ms)];
        for (field, limit) in [("total_ms", self.total_ms)].into_iter().chain(parts) {
            if limit == Some(0) {
                problems.push(format!("`{field}` must be more than 0; leave the limit out with `null`"));
            }
        }
        for (field, limit) in parts {
            if let (Some(limit), Some(total)) = (limit, self.total_ms)
                && limit > total
            {
                problems.push(format!("`{field}` is {limit}, more than `total_ms`, which is {total}"));
            }
        }
        problems
    }
}

/// Ends a request with `deadline_exceeded` when its answer takes too long. The exchange with the provider is closed, so
/// that nothing more is generated.
#[derive(Clone, Debug)]
pub struct TimeoutLayer {
    config: TimeoutConfig,
    env: Env,
}

impl TimeoutLayer {
    /// Deadlines by this clock.
    ///
    /// # Errors
    /// `invalid_input`, naming every problem of the configuration.
    pub fn new(config: TimeoutConfig, env: Env) -> Result<Self> {
        refuse("the timeouts", &config.problems())?;
        Ok(Self { config, env })
    }
}

impl Layer<Arc<dyn ChatModel>> for TimeoutLayer {
    type Service = Arc<dyn ChatModel>;

    fn layer(&self, inner: Arc<dyn ChatModel>) -> Self::Service {
        Arc::new(Timed { inner, layer: self.clone() })
    }
}

impl Layer<Arc<dyn EmbeddingModel>> for TimeoutLayer {
    type Service = Arc<dyn EmbeddingModel>;

    fn layer(&self, inner: Arc<dyn EmbeddingModel>) -> Self::Service {
        Arc::new(Timed { inner, layer: self.clone() })
    }
}

#[derive(Debug)]
struct Timed<M: ?Sized> {
    inner: Arc<M>,
    layer: TimeoutLayer,
}

/// A point on the clock's monotonic time, and what it ends.
#[derive(Clone, Copy, Debug)]
struct Limit {
    at: Duration,
    words: &'static str,
}

impl Limit {
    fn error(self) -> Error {
        Error::new(ErrorKind::DeadlineExceeded, self.words)
    }
}

/// The one that comes first.
fn earliest(limits: [Option<Limit>; 2]) -> Option<Limit> {
    limits.into_iter().flatten().min_by_key(|limit| limit.at)
}

/// So long from now.
fn after(now: Duration, millis: Option<u64>, words: &'static str) -> Option<Limit> {
    millis.map(|millis| Limit { at: now.saturating_add(Duration::from_millis(millis)), words })
}

impl TimeoutLayer {
    /// When the whole answer must be there.
    fn whole(&self, now: Duration, ctx: &Context, deadline: Option<Timestamp>) -> Option<Limit> {
        let asked = [ctx.deadline(), deadline].into_iter().flatten().min();
        let asked = asked.map(|deadline| Limit {
            at: now.saturating_add(deadline.since(self.env.now())),
            words: "the deadline of the request passed before the answer was complete",
        });
        earliest([asked, after(now, self.config.total_ms, "the answer was not complete in time")])
    }

    /// Waits for a future, which is dropped when the limit comes first.
    async fn within<T>(&self, limit: Option<Limit>, future: impl Future<Output = T>) -> Result<T> {
        let Some(limit) = limit else { return Ok(future.await) };
        let left = limit.at.saturating_sub(self.env.monotonic());
        self.env.timeout(left, future).await.ok_or_else(|| limit.error())
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChatModel for Timed<dyn ChatModel> {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    fn answerers(&self, ctx: &Context, route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        self.inner.answerers(ctx, route)
    }

    async fn complete(&self, ctx: &Context, request: ChatRequest) -> Result<ChatResponse> {
        let limit = self.layer.whole(self.layer.env.monotonic(), ctx, request.route.deadline);
        self.layer.within(limit, self.inner.complete(ctx, request)).await?
    }

    async fn stream(&self, ctx: &Context, request: ChatRequest) -> Result<ChatStream> {
        let now = self.layer.env.monotonic();
        let whole = self.layer.whole(now, ctx, request.route.deadline);
        let first = after(now, self.layer.config.first_event_ms, "the answer did not begin in time");
        let opened = self.layer.within(earliest([whole, first]), self.inner.stream(ctx, request)).await?;
        let (inner, alarm) = (Some(opened?), Alarm::new(self.layer.env.clone()));
        let layer = self.layer.clone();
        Ok(TimedStream { inner, layer, alarm, whole, next: first, finished: false }.boxed())
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl EmbeddingModel for Timed<dyn EmbeddingModel> {
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
        let limit = self.layer.whole(self.layer.env.monotonic(), ctx, request.route.deadline);
        self.layer.within(limit, self.inner.embed(ctx, request)).await?
    }
}

struct TimedStream {
    /// `None` once it is over.
    inner: Option<ChatStream>,
    layer: TimeoutLayer,
    alarm: Alarm,
    whole: Option<Limit>,
    /// For the next piece of the answer; runs only while somebody waits for it.
    next: Option<Limit>,
    /// Whether the answer is whole: what may follow are token counts, and their absence is no failure.
    finished: bool,
}

impl TimedStream {
    fn poll_inner(&mut self, task: &mut Task<'_>) -> Poll<Result<Option<Result<ChatEvent>>, Limit>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(Ok(None)) };
        let now = self.layer.env.monotonic();
        if self.next.is_none() {
            let idle = "the answer stopped in the middle for too long";
            self.next = after(now, self.layer.config.idle_ms, idle);
        }
        // Also when the rest of it is there: nobody was to wait for so long.
        if let Some(whole) = self.whole.filter(|whole| whole.at <= now) {
            return Poll::Ready(Err(whole));
        }
        if let Poll::Ready(item) = inner.poll_next_unpin(task) {
            return Poll::Ready(Ok(item));
        }
        let Some(limit) = earliest([self.whole, self.next]) else { return Poll::Pending };
        self.alarm.poll(task, limit.at).map(|()| Err(limit))
    }
}

impl Stream for TimedStream {
    type Item = Result<ChatEvent>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(match ready!(self.poll_inner(task)) {
            Ok(Some(Ok(event))) => {
                self.finished |= matches!(event, ChatEvent::Finished { .. });
                if event.is_content() || self.finished {
                    self.next = None;
                }
                Some(Ok(event))
            }
            Ok(last) => {
                self.inner = None;
                last
            }
            Err(limit) => {
                // Closes the exchange before anybody hears of it.
                self.inner = None;
                (!self.finished).then(|| Err(limit.error()))
            }
        })
    }
}
