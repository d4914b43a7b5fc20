//! For tests of agents and of the platform itself: a scripted model, fault points, and the manual clock.
//!
//! Nothing here talks to anybody; the clock, the store, the journal and the engine under test are the real ones.

mod secrets;

pub use secrets::ClearSecrets;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use serde_json::Value;

pub use crate::clock::{ManualClock, SeededEntropy};
pub use crate::http::egress::forbidden::forbidden_urls;

use crate::backend::{Backend, Stores};
use crate::clock::Timestamp;
use crate::context::Context;
use crate::effect::Effects;
use crate::error::{Error, Result};
use crate::id::SignalId;
use crate::model::{
    Capabilities, ChatAssembler, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, EmbedRequest,
    EmbedResponse, EmbeddingModel, FinishReason, Message, ModelInfo, ModelPrice, ModelResolver, PriceSheet,
    Ranked, RerankModel, RerankRequest, RerankResponse, Usage,
};
use crate::money::PicoUsd;
use crate::run::{ClaimRequest, Created, Fence, JournalBatch, Lease, NewRun, RunStore, RunTx, Signal};
use crate::tool::TxHandle;

/// One answer of a [`ScriptedModel`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Reply {
    /// Text, streamed word by word.
    Text(String),
    /// Tool calls: name and arguments each. The ids are `call_<conversation length>_<place>`.
    Tools(Vec<(String, Value)>),
    /// Text, then tool calls as in [`Reply::Tools`].
    Both(String, Vec<(String, Value)>),
    /// A tool call whose arguments are cut off by the token limit.
    CutOff(String, String),
    /// A failure before the first piece.
    Fail(Error),
    /// Some text, then a failure.
    Break(String, Error),
    /// Some text, and then nothing for ever.
    Stall(String),
}

impl Reply {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// One tool call.
    pub fn tool(name: impl Into<String>, arguments: Value) -> Self {
        Self::Tools(vec![(name.into(), arguments)])
    }
}

type Script = dyn Fn(&ChatRequest) -> Reply + Send + Sync;

/// A model whose answers are written down, or computed from the request. Token counts are a quarter of the bytes.
pub struct ScriptedModel {
    info: ModelInfo,
    script: Box<Script>,
    requests: Mutex<Vec<ChatRequest>>,
}

impl fmt::Debug for ScriptedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ScriptedModel").field(&self.info.name).finish()
    }
}

impl ScriptedModel {
    /// A model that gives these answers in order, and fails with `unavailable` when there are no more.
    pub fn new(name: &str, replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies: Mutex<VecDeque<Reply>> = Mutex::new(replies.into_iter().collect());
        Self::from_fn(name, move |_| {
            let next = replies.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            next.unwrap_or_else(|| {
                Reply::Fail(Error::new(crate::ErrorKind::Unavailable, "the script is at its end"))
            })
        })
    }

    /// A model whose answer depends on the request alone, so that it is the same after a crash.
    pub fn from_fn(name: &str, script: impl Fn(&ChatRequest) -> Reply + Send + Sync + 'static) -> Self {
        let price = ModelPrice::new(PicoUsd(1_000_000), PicoUsd(2_000_000));
        let info = ModelInfo {
            name: name.to_owned(),
            provider: "scripted".into(),
            context_window: Some(128_000),
            max_output_tokens: Some(4096),
            price: Some(price.into()),
            capabilities: Capabilities::default(),
        };
        Self { info, script: Box::new(script), requests: Mutex::default() }
    }

    /// What the model is; alike for every kind of request it answers.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The same model with another price, or none.
    #[must_use]
    pub fn price(mut self, price: Option<ModelPrice>) -> Self {
        self.info.price = price.map(PriceSheet::from);
        self
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<ChatRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many tool results the conversation of a request ends with or has; for scripts.
    pub fn tool_results(request: &ChatRequest) -> usize {
        request.messages.iter().filter(|message| matches!(message, Message::Tool { .. })).count()
    }

    fn calls(
        &self,
        request: &ChatRequest,
        text: String,
        calls: Vec<(String, Value)>,
        usage: impl Fn(usize) -> ChatEvent,
    ) -> Vec<Result<ChatEvent>> {
        let mut size = text.len();
        let mut events: Vec<Result<ChatEvent>> = Vec::new();
        if !text.is_empty() {
            events.push(Ok(ChatEvent::Text(text)));
        }
        for (index, (name, arguments)) in calls.into_iter().enumerate() {
            let arguments = arguments.to_string();
            size += arguments.len();
            let id = Some(format!("call_{}_{index}", request.messages.len()));
            events.push(Ok(ChatEvent::ToolCall { index, id, name: Some(name), arguments }));
        }
        events.push(Ok(ChatEvent::Finished {
            reason: FinishReason::ToolCalls,
            raw: Some("tool_calls".into()),
        }));
        events.push(Ok(usage(size)));
        events
    }

    fn events(&self, request: &ChatRequest) -> (Vec<Result<ChatEvent>>, bool) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        // Of the JSON form, which a new field that is absent does not change.
        let prompt = serde_json::to_string(&request.messages).map_or(0, |json| json.len());
        let usage = |output: usize| {
            ChatEvent::Usage(Usage {
                input_tokens: Some(prompt as u64 / 4),
                output_tokens: Some(output as u64 / 4 + 1),
                ..Usage::default()
            })
        };
        let finished = |reason, raw: &str| ChatEvent::Finished { reason, raw: Some(raw.into()) };
        let words = |text: &str| -> Vec<Result<ChatEvent>> {
            text.split_inclusive(' ').map(|word| Ok(ChatEvent::Text(word.to_owned()))).collect()
        };
        match (self.script)(request) {
            Reply::Text(text) => {
                let mut events = words(&text);
                events.push(Ok(finished(FinishReason::Stop, "stop")));
                events.push(Ok(usage(text.len())));
                (events, false)
            }
            Reply::Tools(calls) => (self.calls(request, String::new(), calls, usage), false),
            Reply::Both(text, calls) => (self.calls(request, text, calls, usage), false),
            Reply::CutOff(name, arguments) => {
                let id = Some(format!("call_{}_0", request.messages.len()));
                let size = arguments.len();
                let call = ChatEvent::ToolCall { index: 0, id, name: Some(name), arguments };
                (vec![Ok(call), Ok(finished(FinishReason::Length, "length")), Ok(usage(size))], false)
            }
            Reply::Fail(error) => (vec![Err(error)], false),
            Reply::Break(text, error) => {
                let mut events = words(&text);
                events.push(Err(error));
                (events, false)
            }
            Reply::Stall(text) => (words(&text), true),
        }
    }
}

#[async_trait]
impl ChatModel for ScriptedModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn complete(&self, ctx: &Context, request: ChatRequest) -> Result<ChatResponse> {
        let mut assembler = ChatAssembler::new();
        let mut events = self.stream(ctx, request).await?;
        while let Some(event) = events.next().await {
            assembler.push(&event?);
        }
        assembler.finish()
    }

    async fn stream(&self, _: &Context, request: ChatRequest) -> Result<ChatStream> {
        let (mut events, stalls) = self.events(&request);
        if let [Err(error)] = events.as_slice() {
            return Err(error.clone());
        }
        let rest = stream::iter(std::mem::take(&mut events));
        Ok(if stalls { rest.chain(stream::pending()).boxed() } else { rest.boxed() })
    }
}

/// Vectors that depend on the text alone: 8 numbers where the request says nothing else, at most 4096.
#[async_trait]
impl EmbeddingModel for ScriptedModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn embed(&self, _: &Context, request: EmbedRequest) -> Result<EmbedResponse> {
        let length = request.dimensions.unwrap_or(8).min(4096) as usize;
        let vector = |text: &String| {
            let mut vector = vec![0.0; length];
            for (place, byte) in text.bytes().enumerate() {
                if let Some(at) = vector.get_mut(place % length.max(1)) {
                    *at += f32::from(byte) / 256.0;
                }
            }
            vector
        };
        let tokens = request.inputs.iter().map(String::len).sum::<usize>() as u64 / 4 + 1;
        Ok(EmbedResponse {
            vectors: request.inputs.iter().map(vector).collect(),
            model: Some(self.info.name.clone()),
            usage: Some(Usage { input_tokens: Some(tokens), ..Usage::default() }),
        })
    }
}

/// The score of a document is how many words of the query are in it.
#[async_trait]
impl RerankModel for ScriptedModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn rerank(&self, _: &Context, request: RerankRequest) -> Result<RerankResponse> {
        let score = |text: &str| {
            let found = request.query.split_whitespace().filter(|word| text.contains(word)).count();
            f64::from(u32::try_from(found).unwrap_or(u32::MAX))
        };
        let mut results: Vec<Ranked> = request
            .documents
            .iter()
            .enumerate()
            .map(|(index, text)| Ranked { index, score: score(text) })
            .collect();
        results.sort_by(|a, b| b.score.total_cmp(&a.score));
        results.truncate(request.top_n.map_or(usize::MAX, |most| most as usize));
        let bytes = request.query.len() + request.documents.iter().map(String::len).sum::<usize>();
        Ok(RerankResponse {
            results,
            model: Some(self.info.name.clone()),
            usage: Some(Usage { input_tokens: Some(bytes as u64 / 4 + 1), ..Usage::default() }),
        })
    }
}

/// Models by name, for an engine without providers.
#[derive(Clone, Debug, Default)]
pub struct ModelMap(Vec<Arc<dyn ChatModel>>);

impl ModelMap {
    /// These models, by the names in their info.
    pub fn new(models: impl IntoIterator<Item = Arc<dyn ChatModel>>) -> Self {
        Self(models.into_iter().collect())
    }
}

impl ModelResolver for ModelMap {
    fn resolve(&self, name: &str) -> Result<Arc<dyn ChatModel>> {
        let found = self.0.iter().find(|model| model.info().name == name).cloned();
        found.ok_or_else(|| {
            let names: Vec<&str> = self.0.iter().map(|model| model.info().name.as_str()).collect();
            Error::not_found(format!(
                "unknown model `{}`; there are {}",
                crate::money::clip(name),
                names.join(", ")
            ))
        })
    }
}

/// Where in the sequence of a store's commits something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultPoint {
    /// Before the n-th commit of a run, counted from 1: nothing of it is written.
    Before(u64),
    /// After it: it is written, and nobody was told.
    After(u64),
}

/// What happens at a fault point.
pub type Fault = dyn Fn(FaultPoint) + Send + Sync;

/// A backend that calls back at a point in the sequence of its run commits (starts, batches and transactional steps
/// together). A test's callback usually aborts the process.
pub struct FaultBackend {
    inner: Arc<dyn Backend>,
    runs: Arc<FaultRuns>,
}

impl fmt::Debug for FaultBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultBackend").field(&self.inner).finish()
    }
}

impl FaultBackend {
    /// Wraps a backend; `fault` is called before and after every commit, with its number.
    pub fn new(inner: Arc<dyn Backend>, fault: impl Fn(FaultPoint) + Send + Sync + 'static) -> Self {
        let plan = Plan { fault: Arc::new(fault), count: Arc::default() };
        let runs = Arc::new(FaultRuns { inner: inner.stores().runs, plan });
        Self { inner, runs }
    }

    /// Commits so far.
    pub fn commits(&self) -> u64 {
        self.runs.plan.count.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Backend for FaultBackend {
    fn stores(&self) -> Stores {
        Stores { runs: self.runs.clone(), ..self.inner.stores() }
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

#[derive(Clone)]
struct Plan {
    fault: Arc<Fault>,
    count: Arc<AtomicU64>,
}

impl Plan {
    async fn around<T>(&self, commit: impl Future<Output = Result<T>>) -> Result<T> {
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        (self.fault)(FaultPoint::Before(number));
        let result = commit.await;
        (self.fault)(FaultPoint::After(number));
        result
    }
}

struct FaultRuns {
    inner: Arc<dyn RunStore>,
    plan: Plan,
}

impl fmt::Debug for FaultRuns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultRuns").field(&self.inner).finish()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl RunStore for FaultRuns {
    async fn create(&self, ctx: &Context, run: NewRun, effects: Effects) -> Result<Created> {
        self.plan.around(self.inner.create(ctx, run, effects)).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Lease>> {
        self.inner.claim(request).await
    }

    async fn woken(&self) {
        self.inner.woken().await;
    }

    async fn renew(&self, fence: &Fence, until: Timestamp) -> Result<Vec<(SignalId, Signal)>> {
        self.inner.renew(fence, until).await
    }

    async fn commit(&self, fence: &Fence, batch: JournalBatch, effects: Effects) -> Result<u64> {
        self.plan.around(self.inner.commit(fence, batch, effects)).await
    }

    async fn begin(&self, fence: &Fence) -> Result<Box<dyn RunTx>> {
        Ok(Box::new(FaultTx { inner: self.inner.begin(fence).await?, plan: self.plan.clone() }))
    }
}

struct FaultTx {
    inner: Box<dyn RunTx>,
    plan: Plan,
}

impl fmt::Debug for FaultTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultTx").field(&self.inner).finish()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl RunTx for FaultTx {
    fn handle(&self) -> TxHandle {
        self.inner.handle()
    }

    async fn commit(self: Box<Self>, batch: JournalBatch, effects: Effects) -> Result<u64> {
        let Self { inner, plan } = *self;
        plan.around(inner.commit(batch, effects)).await
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        self.inner.rollback().await
    }
}
