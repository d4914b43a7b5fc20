//! A cache that finds answers to questions in other words.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::id::TenantId;
use agentprovision_core::model::{
    CacheUse, CallLog, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, Content, EmbedPurpose,
    EmbedRequest, EmbeddingModel, Message, ModelInfo, RouteHints,
};
use agentprovision_core::{Env, Result};
use async_trait::async_trait;
use futures_util::{Stream, StreamExt};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use tower::Layer;

use super::answer::{Answer, Answerer, Recorder, of_whole, storable};
use super::key::{self, CacheScope, Key};
use super::{Forgets, OwnTarget, millis};
use crate::layers::refuse;

/// Which answers are given to a question in other words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SemanticCacheConfig {
    /// The embedding model, by name.
    pub embedder: String,
    /// How alike the questions must be: the cosine of their vectors, from 0 to 1; 0.95 by default.
    pub threshold: f32,
    /// Whether each user has a cache of their own; the users of a tenant share one by default. Tenants never do.
    pub per_user: bool,
    /// How long an answer is given again, in milliseconds; an hour by default.
    pub ttl_ms: u64,
    /// The most answers for one tenant, or user, to conversations that differ in their last question alone; 256 by
    /// default. The oldest goes first.
    pub max_entries: usize,
    /// The most such conversations, over all tenants; 4096 by default. Those that were not asked for longest go first.
    pub max_conversations: u64,
    /// An answer with more bytes is not stored; 64 KiB by default.
    pub max_answer_bytes: u64,
    /// Whether requests that do not ask for temperature 0 are answered from the cache too; not by default.
    pub any_temperature: bool,
}

impl Default for SemanticCacheConfig {
    fn default() -> Self {
        Self {
            embedder: String::new(),
            threshold: 0.95,
            per_user: false,
            ttl_ms: 3_600_000,
            max_entries: 256,
            max_conversations: 4096,
            max_answer_bytes: 64 << 10,
            any_temperature: false,
        }
    }
}

impl SemanticCacheConfig {
    /// Everything that is wrong with it, by the name of the field.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(self.threshold > 0.0 && self.threshold <= 1.0) {
            problems
                .push(format!("`threshold` is {}, and must be more than 0 and at most 1", self.threshold));
        }
        if self.ttl_ms == 0 {
            problems.push("`ttl_ms` must be more than 0".to_owned());
        }
        if self.max_entries == 0 || self.max_conversations == 0 {
            problems.push("`max_entries` and `max_conversations` must be more than 0".to_owned());
        }
        problems
    }
}

#[derive(Debug)]
struct Entry {
    /// Of length 1.
    vector: Vec<f32>,
    answer: Arc<Answer>,
    /// On the clock's monotonic time.
    expires: Duration,
}

/// Answers to conversations that differ in their last question alone.
#[derive(Debug)]
struct Conversation {
    tenant: TenantId,
    entries: Mutex<VecDeque<Entry>>,
}

#[derive(Debug)]
struct State {
    config: SemanticCacheConfig,
    env: Env,
    embedder: Arc<dyn EmbeddingModel>,
    conversations: Cache<Key, Arc<Conversation>>,
}

impl State {
    /// The conversation without the words of its last question.
    fn key(&self, ctx: &Context, request: &mut ChatRequest) -> Result<Key> {
        let scope = if self.config.per_user { CacheScope::User } else { CacheScope::Tenant };
        let route = mem::take(&mut request.route);
        let last = request.messages.pop();
        let bytes = key::bytes(request);
        request.messages.extend(last);
        request.route = route;
        Ok(key::key(scope, ctx, "semantic", &[&bytes?]))
    }
}

/// Gives the answer to a question that was asked in other words. Put it within the cache of exact questions and outside
/// of limits and budgets.
///
/// Only the words of the last message may differ, and only where it is a user's and nothing but text: the instructions,
/// what was said before, the tools, the model and every parameter are the same, and so is the tenant. Answers that call
/// tools are not stored: their arguments come from the very words. A question whose vector cannot be had is passed on.
///
/// The embedding model is asked in the context of the request, so its own layers charge the same tenant.
#[derive(Clone)]
pub struct SemanticCacheLayer {
    state: Arc<State>,
    own: Option<Arc<OwnTarget>>,
}

impl fmt::Debug for SemanticCacheLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SemanticCacheLayer").field("config", &self.state.config).finish_non_exhaustive()
    }
}

impl SemanticCacheLayer {
    /// An empty cache over this embedding model.
    ///
    /// # Errors
    /// `invalid_input`, naming every problem of the configuration.
    pub fn new(config: SemanticCacheConfig, embedder: Arc<dyn EmbeddingModel>, env: Env) -> Result<Self> {
        refuse("the semantic cache", &config.problems())?;
        let conversations = Cache::builder().max_capacity(config.max_conversations);
        let conversations = conversations.eviction_policy(EvictionPolicy::lru()).build();
        Ok(Self { state: Arc::new(State { config, env, embedder, conversations }), own: None })
    }

    /// As [`CacheLayer::own_targets`](super::CacheLayer::own_targets).
    #[must_use]
    pub fn own_targets(
        mut self,
        own: impl Fn(&ChatRequest, &Answerer) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.own = Some(Arc::new(own));
        self
    }

    /// Drops the answers to this tenant.
    pub fn invalidate_tenant(&self, tenant: TenantId) {
        for (key, conversation) in &self.state.conversations {
            if conversation.tenant == tenant {
                self.state.conversations.invalidate(key.as_ref());
            }
        }
    }

    /// Drops everything.
    pub fn invalidate_all(&self) {
        for (key, _) in &self.state.conversations {
            self.state.conversations.invalidate(key.as_ref());
        }
    }
}

impl Forgets for SemanticCacheLayer {
    fn key_of(&self, ctx: &Context, request: &mut ChatRequest) -> Result<Key> {
        self.state.key(ctx, request)
    }

    fn forget_key(&self, key: &Key) {
        self.state.conversations.invalidate(key);
    }
}

impl Layer<Arc<dyn ChatModel>> for SemanticCacheLayer {
    type Service = Arc<dyn ChatModel>;

    fn layer(&self, inner: Arc<dyn ChatModel>) -> Self::Service {
        Arc::new(Semantic { inner, state: Arc::clone(&self.state), own: self.own.clone() })
    }
}

#[derive(Clone)]
struct Semantic {
    inner: Arc<dyn ChatModel>,
    state: Arc<State>,
    own: Option<Arc<OwnTarget>>,
}

impl fmt::Debug for Semantic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Semantic").field(&self.inner).finish()
    }
}

/// A question whose answer is to be stored.
struct Asked {
    model: Semantic,
    conversation: Arc<Conversation>,
    vector: Vec<f32>,
    request: ChatRequest,
    log: CallLog,
    start: usize,
}

enum Plan {
    Give(Arc<Answer>),
    Ask(Box<Asked>),
    Pass,
}

impl Semantic {
    async fn plan(&self, ctx: &Context, request: &mut ChatRequest) -> Result<Plan> {
        let config = &self.state.config;
        let read = match request.route.cache {
            CacheUse::Default if request.temperature != Some(0.0) && !config.any_temperature => {
                return Ok(Plan::Pass);
            }
            CacheUse::Default | CacheUse::Always => true,
            CacheUse::Refresh => false,
            _ => return Ok(Plan::Pass),
        };
        let Some(question) = question(request) else { return Ok(Plan::Pass) };
        let mut embed = EmbedRequest::new(self.state.embedder.info().name.clone(), [question]);
        embed.purpose = Some(EmbedPurpose::Similarity);
        // Only a convenience: without a vector the question is asked as any other.
        let Ok(embedded) = self.state.embedder.embed(ctx, embed).await else { return Ok(Plan::Pass) };
        let Some(vector) = embedded.vectors.into_iter().next().and_then(unit) else { return Ok(Plan::Pass) };

        let key = self.state.key(ctx, request)?;
        let new = || Arc::new(Conversation { tenant: ctx.tenant(), entries: Mutex::default() });
        let conversation = self.state.conversations.get_with(key, new);
        if read && let Some(answer) = self.find(request, &conversation, &vector) {
            return Ok(Plan::Give(answer));
        }
        let mut hints = ChatRequest::new(request.model.clone(), Vec::new());
        hints.route = request.route.clone();
        let (log, start) = (request.log.clone(), request.log.len());
        Ok(Plan::Ask(Box::new(Asked {
            model: self.clone(),
            conversation,
            vector,
            request: hints,
            log,
            start,
        })))
    }

    /// The answer to the question that is most alike, if it is alike enough.
    fn find(
        &self,
        request: &ChatRequest,
        conversation: &Conversation,
        vector: &[f32],
    ) -> Option<Arc<Answer>> {
        let now = self.state.env.monotonic();
        let mut entries = conversation.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.expires > now);
        let alike = entries.iter().filter(|entry| self.is_own(request, &entry.answer));
        let alike = alike.map(|entry| (cosine(&entry.vector, vector), entry));
        let (cosine, best) = alike.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
        (cosine >= self.state.config.threshold).then(|| Arc::clone(&best.answer))
    }

    fn is_own(&self, request: &ChatRequest, answer: &Answer) -> bool {
        answer.by.as_ref().is_some_and(|by| match &self.own {
            Some(own) => own(request, by),
            None => by.is(self.inner.info()),
        })
    }
}

impl Asked {
    fn store(self, answer: impl FnOnce(Option<Answerer>) -> Answer) {
        let answer = answer(Answerer::of(&self.log, self.start, self.model.inner.info()));
        let state = &self.model.state;
        if answer.bytes as u64 > state.config.max_answer_bytes || !self.model.is_own(&self.request, &answer) {
            return;
        }
        let expires = state.env.monotonic().saturating_add(millis(state.config.ttl_ms));
        let entry = Entry { vector: self.vector, answer: Arc::new(answer), expires };
        let mut entries = self.conversation.entries.lock().unwrap_or_else(PoisonError::into_inner);
        while entries.len() >= state.config.max_entries {
            entries.pop_front();
        }
        entries.push_back(entry);
    }
}

/// The words of the last message, where it is a user's and nothing but one text.
fn question(request: &ChatRequest) -> Option<String> {
    match request.messages.last()? {
        Message::User { content } => match content.as_slice() {
            [Content::Text { text }] if !text.trim().is_empty() => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// The same direction with length 1; `None` for what has none.
fn unit(mut vector: Vec<f32>) -> Option<Vec<f32>> {
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if !length.is_finite() || length == 0.0 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most 1")]
    vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    Some(vector)
}

/// The cosine between two vectors of length 1; what has another number of dimensions is not alike at all.
fn cosine(one: &[f32], other: &[f32]) -> f32 {
    if one.len() != other.len() {
        return -1.0;
    }
    one.iter().zip(other).map(|(x, y)| x * y).sum()
}

/// Whether an answer may be given to other words.
fn general(response: &ChatResponse) -> bool {
    storable(response) && response.tool_calls.is_empty()
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChatModel for Semantic {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    fn answerers(&self, ctx: &Context, route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        self.inner.answerers(ctx, route)
    }

    async fn complete(&self, ctx: &Context, mut request: ChatRequest) -> Result<ChatResponse> {
        match self.plan(ctx, &mut request).await? {
            Plan::Give(answer) => answer.whole(),
            Plan::Pass => self.inner.complete(ctx, request).await,
            Plan::Ask(asked) => {
                let response = self.inner.complete(ctx, request).await?;
                if general(&response) {
                    asked.store(|by| of_whole(&response, by));
                }
                Ok(response)
            }
        }
    }

    async fn stream(&self, ctx: &Context, mut request: ChatRequest) -> Result<ChatStream> {
        match self.plan(ctx, &mut request).await? {
            Plan::Give(answer) => Ok(answer.stream()),
            Plan::Pass => self.inner.stream(ctx, request).await,
            Plan::Ask(asked) => {
                let inner = Some(self.inner.stream(ctx, request).await?);
                Ok(Recording { inner, asked: Some(asked), recorder: Recorder::default() }.boxed())
            }
        }
    }
}

/// A streamed answer that is taken down as it passes.
struct Recording {
    /// `None` once it is over.
    inner: Option<ChatStream>,
    asked: Option<Box<Asked>>,
    recorder: Recorder,
}

impl Recording {
    fn end(&mut self) {
        // First, because its end is what writes down who answered.
        self.inner = None;
        if let Some(asked) = self.asked.take()
            && let Ok((answer, true)) = mem::take(&mut self.recorder).end()
            && !answer.has_calls()
        {
            asked.store(|by| answer.by(by));
        }
    }
}

impl Stream for Recording {
    type Item = Result<ChatEvent>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let event = ready!(inner.poll_next_unpin(task));
        match &event {
            Some(Ok(event)) => self.recorder.push(event),
            Some(Err(_)) => {
                self.asked = None;
                self.inner = None;
            }
            None => self.end(),
        }
        Poll::Ready(event)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.end();
    }
}
