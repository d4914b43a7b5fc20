//! A copy of some requests goes to another model, and nobody who waits for the main answer notices.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use agentprovision_core::clock::Timestamp;
use agentprovision_core::context::{Context, RequestInfo};
use agentprovision_core::model::{
    CacheUse, CallLog, ChatAssembler, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, ModelInfo,
    RouteHints,
};
use agentprovision_core::{Env, Error, Result};
use async_trait::async_trait;
use futures_util::{FutureExt, Stream, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tower::Layer;

use crate::experiment::{Answer, WHOLE, draw, measure, spent};

/// How much is sent to the other model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShadowConfig {
    /// The name the other model is asked by.
    pub model: String,
    /// The part of the requests that is copied, in 1/10 000; default 0.
    pub share: u32,
    /// Makes another sample of the same size; empty by default.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub salt: String,
    /// How many copies are answered at one time; default 4.
    pub concurrency: u32,
    /// How many copies wait beside those, before more are left out; default 16.
    pub queue: u32,
    /// The longest a copy's answer may take, in milliseconds; default 60000.
    pub timeout_ms: u64,
}

impl Default for ShadowConfig {
    fn default() -> Self {
        Self {
            model: String::new(),
            share: 0,
            salt: String::new(),
            concurrency: 4,
            queue: 16,
            timeout_ms: 60_000,
        }
    }
}

impl ShadowConfig {
    /// Copies of a part of the requests, in 1/10 000, for the model of this name.
    pub fn new(model: impl Into<String>, share: u32) -> Self {
        Self { model: model.into(), share, ..Self::default() }
    }

    /// Checks everything.
    ///
    /// # Errors
    /// `invalid_input` with every problem.
    pub fn check(&self) -> Result<()> {
        let mut problems = Vec::new();
        if self.model.is_empty() {
            problems.push("`model`: must not be empty".to_owned());
        }
        if self.salt.contains('\0') {
            problems.push("`salt`: must not have a zero byte".to_owned());
        }
        if self.share > WHOLE {
            problems.push(format!("`share`: is {}, and at most {WHOLE}", self.share));
        }
        // Each one that waits holds a whole request.
        for (path, value, least, most) in
            [("concurrency", self.concurrency, 1, 1024), ("queue", self.queue, 0, 16_384)]
        {
            if !(least..=most).contains(&value) {
                problems.push(format!("`{path}`: is {value}, and from {least} to {most}"));
            }
        }
        if self.timeout_ms == 0 {
            problems.push("`timeout_ms`: must not be 0".to_owned());
        }
        super::refuse("the shadow traffic", &problems)
    }
}

/// Pays for copies: a budget of their own, apart from the one the main answers are paid from.
#[async_trait]
pub trait ShadowBudget: fmt::Debug + Send + Sync + 'static {
    /// Whether this copy may be sent. Asked in the background, just before it is.
    async fn allow(&self, ctx: &Context, copy: &ChatRequest) -> bool;
}

/// A main answer and the one of the other model to the same request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Shadowed {
    /// The request the other model got.
    pub request: ChatRequest,
    /// The name the main answer was asked by.
    pub main_model: String,
    /// What the caller got.
    pub main: Answer,
    /// What the other model gave, or why it gave nothing.
    pub shadow: Result<Answer>,
}

/// Takes the pairs. It runs in the background; what it waits for delays other copies and nobody else.
#[async_trait]
pub trait ShadowSink: fmt::Debug + Send + Sync + 'static {
    /// Takes a pair.
    async fn record(&self, ctx: &Context, pair: Shadowed);
}

/// What became of the copies so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShadowCounts {
    /// Requests that were to be copied.
    pub sampled: u64,
    /// Copies left out because as many as may were waiting.
    pub left_out: u64,
    /// Copies the budget did not allow.
    pub refused: u64,
    /// Copies given up because the main answer did not come to its end.
    pub given_up: u64,
    /// Pairs the sink was given.
    pub recorded: u64,
}

#[derive(Debug, Default)]
struct Counters {
    sampled: AtomicU64,
    left_out: AtomicU64,
    refused: AtomicU64,
    given_up: AtomicU64,
    recorded: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

struct Inner {
    config: ShadowConfig,
    model: Arc<dyn ChatModel>,
    budget: Arc<dyn ShadowBudget>,
    sink: Arc<dyn ShadowSink>,
    env: Env,
    /// Places of copies that run or wait.
    places: Arc<Semaphore>,
    /// Places of those that run.
    running: Semaphore,
    tasks: TaskTracker,
    closing: CancellationToken,
    counters: Counters,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shadow")
            .field("config", &self.config)
            .field("model", &self.model)
            .field("budget", &self.budget)
            .field("sink", &self.sink)
            .finish_non_exhaustive()
    }
}

/// Sends a copy of a part of the requests to another model, after the main answer has begun, and hands both answers to a
/// [`ShadowSink`].
///
/// Which requests are copied is drawn by hash, as [`Experiment`](crate::experiment::Experiment) does, from the request's
/// id and the length of its conversation: `SHA-256(salt 00 "shadow" 00 id 00 messages)`. The main answer passes through
/// unchanged and is never waited with: a copy that finds no place is left out, and one that fails, hangs or panics is
/// only recorded. A copy begins when the main answer has: with its first piece of content where it is streamed, with the
/// whole answer otherwise. When the main answer fails or its reader goes away, the copy is given up.
///
/// The copy is streamed when the main answer is, has no fallbacks, uses no stored answers and carries the tag `shadow`;
/// its attempts are in a log of its own, so they are not paid by the caller. [`ShadowLayer::close`] ends what is under
/// way; dropping the layer and every model it made does so too.
#[derive(Clone, Debug)]
pub struct ShadowLayer {
    shared: Arc<Inner>,
    /// Copies share `shared` and not this, so that they end when the last layer is dropped.
    _ends: Arc<DropGuard>,
}

impl ShadowLayer {
    /// Copies for `model`, allowed by `budget`, recorded by `sink`.
    ///
    /// # Errors
    /// `invalid_input` with every problem of the configuration.
    pub fn new(
        config: ShadowConfig,
        model: Arc<dyn ChatModel>,
        budget: Arc<dyn ShadowBudget>,
        sink: Arc<dyn ShadowSink>,
        env: Env,
    ) -> Result<Self> {
        config.check()?;
        let places = Arc::new(Semaphore::new((config.concurrency + config.queue) as usize));
        let running = Semaphore::new(config.concurrency as usize);
        let closing = CancellationToken::new();
        let ends = Arc::new(closing.clone().drop_guard());
        let shared = Arc::new(Inner {
            config,
            model,
            budget,
            sink,
            env,
            places,
            running,
            tasks: TaskTracker::new(),
            closing,
            counters: Counters::default(),
        });
        Ok(Self { shared, _ends: ends })
    }

    /// What became of the copies so far.
    pub fn counts(&self) -> ShadowCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.shared.counters;
        ShadowCounts {
            sampled: read(&counters.sampled),
            left_out: read(&counters.left_out),
            refused: read(&counters.refused),
            given_up: read(&counters.given_up),
            recorded: read(&counters.recorded),
        }
    }

    /// Ends every copy that is under way, and waits until nothing of it runs. Main answers go on.
    pub async fn close(&self) {
        self.shared.closing.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Waits until no copy is under way.
    pub async fn idle(&self) {
        // A tracker that is closed lets one wait, and still takes tasks.
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    fn samples(&self, ctx: &Context, request: &ChatRequest) -> bool {
        let config = &self.shared.config;
        if config.share == 0 || self.shared.closing.is_cancelled() {
            return false;
        }
        let (id, messages) = (ctx.request_id().to_string(), request.messages.len().to_string());
        draw(&[&config.salt, "shadow", &id, &messages]) < config.share
    }

    /// Starts the copy in the background, where there is a place for it.
    fn start(&self, ctx: &Context, copy: Copy, main: oneshot::Receiver<Answer>) {
        // Where nothing drives tasks there are no copies; a main answer never fails for it.
        let place = Arc::clone(&self.shared.places).try_acquire_owned().ok();
        let Some((place, runtime)) = place.zip(tokio::runtime::Handle::try_current().ok()) else {
            count(&self.shared.counters.left_out);
            return;
        };
        let work = run(Arc::clone(&self.shared), ctx.clone(), copy, main, place);
        let closing = self.shared.closing.clone();
        let until_closed = async move { closing.run_until_cancelled_owned(work).await };
        self.shared.tasks.spawn_on(until_closed, &runtime);
    }
}

impl Layer<Arc<dyn ChatModel>> for ShadowLayer {
    type Service = Arc<dyn ChatModel>;

    fn layer(&self, inner: Arc<dyn ChatModel>) -> Arc<dyn ChatModel> {
        Arc::new(Shadowing { inner, layer: self.clone() })
    }
}

/// What the other model is asked.
struct Copy {
    request: ChatRequest,
    main_model: String,
    streamed: bool,
}

/// Asks the other model and records the pair.
async fn run(
    shadow: Arc<Inner>,
    ctx: Context,
    copy: Copy,
    main: oneshot::Receiver<Answer>,
    place: OwnedSemaphorePermit,
) {
    let Copy { request, main_model, streamed } = copy;
    // The caller's deadline is for the caller's answer.
    let mut info: RequestInfo = ctx.info().clone();
    info.deadline = None;
    let ctx = ctx.with_info(info);
    let Some((main, answer)) = both(&shadow, &ctx, &request, streamed, main).await else { return };
    let pair = Shadowed { request, main_model, main, shadow: answer };
    if AssertUnwindSafe(shadow.sink.record(&ctx, pair)).catch_unwind().await.is_ok() {
        count(&shadow.counters.recorded);
    }
    drop(place);
}

/// The main answer and the other model's; `None` when there is no pair.
async fn both(
    shadow: &Inner,
    ctx: &Context,
    request: &ChatRequest,
    streamed: bool,
    main: oneshot::Receiver<Answer>,
) -> Option<(Answer, Result<Answer>)> {
    let ask = async {
        let running = shadow.running.acquire().await.ok()?;
        if !shadow.budget.allow(ctx, request).await {
            count(&shadow.counters.refused);
            return None;
        }
        let limit = Duration::from_millis(shadow.config.timeout_ms);
        let asked = measure(&shadow.env, ctx, &*shadow.model, request.clone(), streamed, limit).await;
        drop(running);
        Some(asked.into_answer())
    };
    let panicked = |_| Some(Err(Error::internal("the shadow traffic panicked")));
    let ask = AssertUnwindSafe(ask).catch_unwind().map(|asked| asked.unwrap_or_else(panicked));
    let main = async {
        // Its sender is dropped without an answer when the main answer fails or its reader goes away.
        main.await.map_err(|_| count(&shadow.counters.given_up))
    };
    // Whichever says first that there is no pair ends the other.
    let asked = async { ask.await.ok_or(()) };
    let (main, answer) = futures_util::try_join!(main, asked).ok()?;
    Some((main, answer))
}

#[derive(Debug)]
struct Shadowing {
    inner: Arc<dyn ChatModel>,
    layer: ShadowLayer,
}

impl Shadowing {
    fn copy(&self, request: &ChatRequest, streamed: bool) -> Copy {
        count(&self.layer.shared.counters.sampled);
        let mut copy = request.clone();
        let main_model = std::mem::replace(&mut copy.model, self.layer.shared.config.model.clone());
        copy.log = CallLog::default();
        copy.route.fallbacks.clear();
        copy.route.cache = CacheUse::Never;
        copy.route.deadline = None;
        copy.route.tags.insert("shadow".into(), "true".into());
        Copy { request: copy, main_model, streamed }
    }

    fn meter(&self, log: &CallLog) -> MainMeter {
        let env = self.layer.shared.env.clone();
        MainMeter {
            info: self.inner.info().clone(),
            log: log.clone(),
            before: log.len(),
            began: env.monotonic(),
            at: env.now(),
            env,
        }
    }
}

/// What is known of the main answer before it is there.
struct MainMeter {
    info: ModelInfo,
    log: CallLog,
    /// Attempts in the log that are not of this request.
    before: usize,
    began: Duration,
    at: Timestamp,
    env: Env,
}

impl MainMeter {
    fn elapsed(&self) -> Duration {
        self.env.monotonic().saturating_sub(self.began)
    }

    fn answer(&self, response: ChatResponse, first_content: Option<Duration>) -> Answer {
        let attempts = self.log.attempts();
        let own = attempts.get(self.before..).unwrap_or_default();
        let (usage, cost) = spent(own, &self.info, response.usage, false, self.at);
        Answer { response, latency: self.elapsed(), first_content, usage, cost }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChatModel for Shadowing {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    fn answerers(&self, ctx: &Context, route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        self.inner.answerers(ctx, route)
    }

    async fn complete(&self, ctx: &Context, request: ChatRequest) -> Result<ChatResponse> {
        if !self.layer.samples(ctx, &request) {
            return self.inner.complete(ctx, request).await;
        }
        let copy = self.copy(&request, false);
        let meter = self.meter(&request.log);
        let answer = self.inner.complete(ctx, request).await?;
        let (whole, main) = oneshot::channel();
        // Its receiver is still here.
        let _ = whole.send(meter.answer(answer.clone(), None));
        self.layer.start(ctx, copy, main);
        Ok(answer)
    }

    async fn stream(&self, ctx: &Context, request: ChatRequest) -> Result<ChatStream> {
        if !self.layer.samples(ctx, &request) {
            return self.inner.stream(ctx, request).await;
        }
        let copy = self.copy(&request, true);
        let meter = self.meter(&request.log);
        let events = self.inner.stream(ctx, request).await?;
        Ok(Watching {
            events: Some(events),
            heard: ChatAssembler::new(),
            first_content: None,
            meter,
            copy: Some((self.layer.clone(), ctx.clone(), copy)),
            whole: None,
        }
        .boxed())
    }
}

/// A main answer on its way, unchanged.
struct Watching {
    /// `None` after its end.
    events: Option<ChatStream>,
    heard: ChatAssembler,
    first_content: Option<Duration>,
    meter: MainMeter,
    /// What is to be started with the first piece of content.
    copy: Option<(ShadowLayer, Context, Copy)>,
    /// Where the whole answer goes; dropped without one, it says that there is none.
    whole: Option<oneshot::Sender<Answer>>,
}

impl Watching {
    fn hear(&mut self, event: &ChatEvent) {
        if self.first_content.is_none() && event.is_content() {
            self.first_content = Some(self.meter.elapsed());
            if let Some((layer, ctx, copy)) = self.copy.take() {
                let (whole, main) = oneshot::channel();
                self.whole = Some(whole);
                layer.start(&ctx, copy, main);
            }
        }
        self.heard.push(event);
    }

    /// The stream is over: what it wrote is in its log when it is gone.
    fn end(&mut self) {
        self.events = None;
        let Some(whole) = self.whole.take() else { return };
        if let Ok(response) = std::mem::take(&mut self.heard).finish() {
            // Nobody may wait for it any more.
            let _ = whole.send(self.meter.answer(response, self.first_content));
        }
    }
}

impl Stream for Watching {
    type Item = Result<ChatEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let Some(events) = &mut self.events else { return Poll::Ready(None) };
        let next = std::task::ready!(events.poll_next_unpin(cx));
        match &next {
            Some(Ok(event)) => self.hear(event),
            Some(Err(_)) => {
                self.whole = None;
                self.copy = None;
            }
            None => self.end(),
        }
        Poll::Ready(next)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // A reader that has seen the end of the answer may leave before the end of the stream.
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;

    use super::*;

    #[test]
    fn a_configuration_says_everything_that_is_wrong_with_it() {
        let config: ShadowConfig = serde_json::from_str(
            r#"{"share": 10001, "concurrency": 0, "queue": 20000, "timeout_ms": 0, "salt": "\u0000"}"#,
        )
        .unwrap();
        let error = config.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        for path in ["`model`", "`share`", "`concurrency`", "`queue`", "`timeout_ms`", "`salt`"] {
            assert!(error.message().contains(path), "{path} in {error}");
        }
        ShadowConfig::new("m", 10_000).check().unwrap();
        let error = serde_json::from_str::<ShadowConfig>(r#"{"rate": 1}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `rate`"), "{error}");
    }
}
