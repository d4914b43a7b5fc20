//! Guards: what may be asked, and what may be answered.
//!
//! A [`Guard`] looks at text and allows it, replaces parts of it, or blocks it. On the way in, everything a request
//! says is looked at before anything is sent: every message, the arguments of its tool calls, the results of tools.
//! What a provider wants to see again of its answer is looked at too, and left out where something is found in it.
//! On the way out the answer is: text, reasoning, refusals and the arguments of tool calls; streamed, in windows.
//! Images, documents, the descriptions of tools and fields passed through to the provider are not looked at.

mod builtin;
mod config;
mod json;
mod judge;
mod pii;
mod set;
mod spans;
mod stream;

pub use builtin::{LengthGuard, PatternConfig, PatternGuard};
pub use config::{GuardAction, GuardCheck, GuardConfig, GuardsConfig};
pub use judge::{JudgeConfig, JudgeGuard};
pub use pii::{PiiConfig, PiiGuard, PiiKind};

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::model::{
    CacheUse, CallLog, ChatModel, ChatRequest, ChatResponse, ChatStream, EmbedRequest, EmbedResponse,
    EmbeddingModel, ModelInfo, RerankModel, RerankRequest, RerankResponse, RouteHints,
};
use agentprovision_core::{Env, Result};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tower::Layer;

use super::CacheLayer;
#[cfg(feature = "cache-semantic")]
use super::SemanticCacheLayer;
use super::cache::Forgets;
use judge::Late;
use set::{Asker, Entry, Set};

/// The way a text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// To the model.
    Input,
    /// From the model.
    Output,
}

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// Instructions.
    System,
    /// What the user said, a text that is embedded, or a query or document of a ranking.
    User,
    /// What the model said before.
    Assistant,
    /// The result of a tool.
    ToolResult,
    /// The arguments of a tool call: those of its values that are strings or numbers, a line each.
    ToolArguments,
    /// The text of the answer.
    Text,
    /// Reasoning the provider showed.
    Reasoning,
    /// A refusal, in the model's words.
    Refusal,
}

/// What a guard looks at.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Inspected<'a> {
    /// The way it goes.
    pub side: Side,
    /// What it is.
    pub part: Part,
    /// Bytes of the request or the answer that came before it.
    pub before: usize,
    /// The text; of a streamed answer a window, which begins with the end of the one before.
    pub text: &'a str,
    /// What the request says about who answers and who pays.
    pub route: &'a RouteHints,
    /// Where the attempts of models are recorded that a guard asks: they become attempts of the request.
    pub log: &'a CallLog,
}

/// A part of a text that is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    /// Bytes of the text.
    pub range: Range<usize>,
    /// What stands there instead.
    pub replacement: String,
}

/// What a guard says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuardVerdict {
    /// Nothing against it.
    Allow,
    /// It may pass when these parts are replaced.
    Redact(Vec<Redaction>),
    /// It may not pass. The reason is a short code in snake case, which the caller reads.
    Block(Cow<'static, str>),
}

/// Looks at what goes to a model and what comes from it.
#[async_trait]
pub trait Guard: fmt::Debug + Send + Sync + 'static {
    /// Its name, which callers read in errors.
    fn name(&self) -> &str;
    /// What it says of a text. It sees a text after the replacements of the guards before it.
    ///
    /// # Errors
    /// Any, when it cannot decide; whether the text then passes is configured.
    async fn inspect(&self, ctx: &Context, what: &Inspected<'_>) -> Result<GuardVerdict>;
}

/// What becomes of a text when a guard fails or takes too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It does not pass: the request fails with `unavailable`.
    #[default]
    Block,
    /// It passes.
    Allow,
}

/// How long a guard may take where nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Guards around a model.
///
/// A text that is blocked fails the request with `content_policy`, which names the guard and its reason; before anything
/// is sent on the way in, and with the exchange closed and what was held dropped in the middle of a stream.
///
/// A streamed answer is held, looked at every so many bytes, and let go except for the last bytes, which are looked at
/// once more with what follows. So a replaced or blocked text of up to that length never comes out in parts. Tool calls
/// come out whole, just before the end. Where something in an answer was replaced, what the provider wants to see again
/// of it is left out.
///
/// Put it outside of the cache, and name the cache in [`forget_in`](Self::forget_in): an answer in which something was
/// replaced is then not kept there.
#[derive(Clone, Debug)]
pub struct GuardLayer {
    set: Set,
    caches: Vec<Arc<dyn Forgets>>,
    /// Models of the router around which this will be.
    judges: Option<Arc<Late>>,
}

impl GuardLayer {
    /// No guards yet; windows of 1024 bytes with 256 of overlap.
    pub fn new(env: Env) -> Self {
        let set = Set { env, entries: Vec::new(), window: 1024, overlap: 256 };
        Self { set, caches: Vec::new(), judges: None }
    }

    /// How a streamed answer is looked at: every `window` bytes, with `overlap` bytes of what came before.
    #[must_use]
    pub fn windows(mut self, window: usize, overlap: usize) -> Self {
        self.set.window = window.max(1);
        self.set.overlap = overlap;
        self
    }

    /// One more guard, on both sides; within 5 s, and nothing passes when it fails.
    #[must_use]
    pub fn guard(self, guard: Arc<dyn Guard>) -> Self {
        self.guard_with(guard, &[Side::Input, Side::Output], TIMEOUT, OnFailure::Block)
    }

    /// One more guard, on these sides.
    #[must_use]
    pub fn guard_with(
        mut self,
        guard: Arc<dyn Guard>,
        sides: &[Side],
        timeout: Duration,
        on_failure: OnFailure,
    ) -> Self {
        self.set.entries.push(Entry { guard, sides: sides.to_vec(), timeout, on_failure });
        self
    }

    /// The cache within, which forgets an answer in which something was replaced.
    #[must_use]
    pub fn forget_in(mut self, cache: &CacheLayer) -> Self {
        self.caches.push(Arc::new(cache.clone()));
        self
    }

    /// The semantic cache within, which forgets the conversation in an answer of which something was replaced.
    #[cfg(feature = "cache-semantic")]
    #[must_use]
    pub fn forget_in_semantic(mut self, cache: &SemanticCacheLayer) -> Self {
        self.caches.push(Arc::new(cache.clone()));
        self
    }
}

impl Layer<Arc<dyn ChatModel>> for GuardLayer {
    type Service = Arc<dyn ChatModel>;

    fn layer(&self, inner: Arc<dyn ChatModel>) -> Self::Service {
        if self.set.entries.is_empty() {
            return inner;
        }
        Arc::new(GuardedModel { inner, set: Arc::new(self.set.clone()), caches: self.caches.clone() })
    }
}

impl Layer<Arc<dyn EmbeddingModel>> for GuardLayer {
    type Service = Arc<dyn EmbeddingModel>;

    fn layer(&self, inner: Arc<dyn EmbeddingModel>) -> Self::Service {
        if !self.set.has(Side::Input) {
            return inner;
        }
        Arc::new(GuardedModel { inner, set: Arc::new(self.set.clone()), caches: Vec::new() })
    }
}

impl Layer<Arc<dyn RerankModel>> for GuardLayer {
    type Service = Arc<dyn RerankModel>;

    fn layer(&self, inner: Arc<dyn RerankModel>) -> Self::Service {
        if !self.set.has(Side::Input) {
            return inner;
        }
        Arc::new(GuardedModel { inner, set: Arc::new(self.set.clone()), caches: Vec::new() })
    }
}

struct GuardedModel<M: ?Sized> {
    inner: Arc<M>,
    set: Arc<Set>,
    caches: Vec<Arc<dyn Forgets>>,
}

impl<M: fmt::Debug + ?Sized> fmt::Debug for GuardedModel<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guarded").field(&self.inner).finish()
    }
}

/// The places of an answer in caches.
struct Forget(Vec<(Arc<dyn Forgets>, [u8; 32])>);

impl Forget {
    fn now(&self) {
        self.0.iter().for_each(|(cache, key)| cache.forget_key(key));
    }
}

impl GuardedModel<dyn ChatModel> {
    fn forget(&self, ctx: &Context, request: &mut ChatRequest) -> Result<Forget> {
        let mut places = Vec::new();
        if request.route.cache != CacheUse::Never && self.set.has(Side::Output) {
            for cache in &self.caches {
                places.push((Arc::clone(cache), cache.key_of(ctx, request)?));
            }
        }
        Ok(Forget(places))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChatModel for GuardedModel<dyn ChatModel> {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    fn answerers(&self, ctx: &Context, route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        self.inner.answerers(ctx, route)
    }

    async fn complete(&self, ctx: &Context, mut request: ChatRequest) -> Result<ChatResponse> {
        let asker = Asker::new(ctx, &request.route, &request.log);
        self.set.request(&asker, &mut request).await?;
        // A copy is cheaper than the keys, which are needed when something is found.
        let asked = (!self.caches.is_empty()).then(|| request.clone());
        let mut response = self.inner.complete(ctx, request).await?;
        let looked = self.set.response(&asker, &mut response).await;
        if let Some(mut asked) = asked
            && !matches!(looked, Ok(false))
        {
            self.forget(ctx, &mut asked)?.now();
        }
        looked.map(|_| response)
    }

    async fn stream(&self, ctx: &Context, mut request: ChatRequest) -> Result<ChatStream> {
        let asker = Asker::new(ctx, &request.route, &request.log);
        self.set.request(&asker, &mut request).await?;
        if !self.set.has(Side::Output) {
            return self.inner.stream(ctx, request).await;
        }
        let forget = self.forget(ctx, &mut request)?;
        let inner = self.inner.stream(ctx, request).await?;
        Ok(stream::guarded(inner, Arc::clone(&self.set), asker, forget))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl EmbeddingModel for GuardedModel<dyn EmbeddingModel> {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    fn answerers(&self, ctx: &Context, route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        self.inner.answerers(ctx, route)
    }

    fn largest_batch(&self) -> usize {
        self.inner.largest_batch()
    }

    async fn embed(&self, ctx: &Context, mut request: EmbedRequest) -> Result<EmbedResponse> {
        let asker = Asker::new(ctx, &request.route, &request.log);
        self.set.texts(&asker, "input", &mut request.inputs, 0).await?;
        self.inner.embed(ctx, request).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl RerankModel for GuardedModel<dyn RerankModel> {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    fn answerers(&self, ctx: &Context, route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        self.inner.answerers(ctx, route)
    }

    async fn rerank(&self, ctx: &Context, mut request: RerankRequest) -> Result<RerankResponse> {
        let asker = Asker::new(ctx, &request.route, &request.log);
        let before = request.query.len();
        self.set.texts(&asker, "query", std::slice::from_mut(&mut request.query), 0).await?;
        self.set.texts(&asker, "document", &mut request.documents, before).await?;
        self.inner.rerank(ctx, request).await
    }
}
