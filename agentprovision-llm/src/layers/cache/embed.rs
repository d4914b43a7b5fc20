//! A cache of vectors.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agentprovision_core::canonical;
use agentprovision_core::context::Context;
use agentprovision_core::id::TenantId;
use agentprovision_core::model::{
    CacheUse, EmbedRequest, EmbedResponse, EmbeddingModel, ModelInfo, RouteHints,
};
use agentprovision_core::{Env, Error, ErrorKind, Result};
use async_trait::async_trait;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use tower::Layer;

use super::answer::{Answerer, FREE};
use super::key::{self, CacheScope, Key};
use super::{CacheStats, millis};
use crate::layers::refuse;

/// What an entry takes beside its vector.
const ENTRY_BYTES: usize = 256;

/// How vectors are stored and shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddingCacheConfig {
    /// Who shares stored vectors; the users of one tenant by default.
    pub scope: CacheScope,
    /// How long a vector is given again, in milliseconds; a day by default.
    pub ttl_ms: u64,
    /// The most bytes of vectors that are kept; 64 MiB by default. Those that were not asked for longest go first.
    pub max_bytes: u64,
}

impl Default for EmbeddingCacheConfig {
    fn default() -> Self {
        Self { scope: CacheScope::Tenant, ttl_ms: 86_400_000, max_bytes: 64 << 20 }
    }
}

impl EmbeddingCacheConfig {
    /// Everything that is wrong with it, by the name of the field.
    pub fn problems(&self) -> Vec<String> {
        let wrong = (self.ttl_ms == 0).then(|| "`ttl_ms` must be more than 0".to_owned());
        wrong.into_iter().collect()
    }
}

#[derive(Debug)]
struct Entry {
    tenant: TenantId,
    model: String,
    by: Answerer,
    /// The model as the provider names it.
    named: Option<String>,
    vector: Vec<f32>,
    /// On the clock's monotonic time.
    expires: Duration,
}

#[derive(Debug)]
struct State {
    config: EmbeddingCacheConfig,
    env: Env,
    entries: Cache<Key, Arc<Entry>>,
    /// Counts invalidations: a vector that was asked for before one is not stored after it.
    epoch: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    stored: AtomicU64,
}

type OwnTarget = dyn Fn(&EmbedRequest, &Answerer) -> bool + Send + Sync;

/// Gives stored vectors of the same texts; put it outside of limits and budgets. Each text is stored by itself: a
/// request is passed on with those of its texts that are not known yet, each once, and not at all when all are.
///
/// The vectors of one answer are always of one model: when a fallback answers for the rest of a request, the whole of it
/// is asked for again. Vectors of a fallback are not stored.
#[derive(Clone)]
pub struct EmbeddingCacheLayer {
    state: Arc<State>,
    own: Option<Arc<OwnTarget>>,
}

impl fmt::Debug for EmbeddingCacheLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddingCacheLayer").field("config", &self.state.config).finish_non_exhaustive()
    }
}

impl EmbeddingCacheLayer {
    /// An empty cache.
    ///
    /// # Errors
    /// `invalid_input`, naming every problem of the configuration.
    pub fn new(config: EmbeddingCacheConfig, env: Env) -> Result<Self> {
        refuse("the cache of vectors", &config.problems())?;
        let weigh = |_: &Key, entry: &Arc<Entry>| {
            u32::try_from(ENTRY_BYTES + entry.model.len() + 4 * entry.vector.len()).unwrap_or(u32::MAX)
        };
        let entries = Cache::builder().max_capacity(config.max_bytes).weigher(weigh);
        let entries = entries.eviction_policy(EvictionPolicy::lru()).build();
        let (epoch, hits, misses, stored) = Default::default();
        let state = State { config, env, entries, epoch, hits, misses, stored };
        Ok(Self { state: Arc::new(state), own: None })
    }

    /// Says whether a target that answered is one the requested model stands for, as against one of its fallbacks.
    /// Around a router this is needed, and
    /// [`RouterBuilder::embedding_cache`](crate::route::RouterBuilder::embedding_cache) does it; otherwise only the
    /// provider and name of the wrapped model's info are. The request it sees has no texts.
    #[must_use]
    pub fn own_targets(
        mut self,
        own: impl Fn(&EmbedRequest, &Answerer) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.own = Some(Arc::new(own));
        self
    }

    /// Drops the vectors of texts that users of this tenant sent, whoever shares them.
    pub fn invalidate_tenant(&self, tenant: TenantId) {
        self.state.invalidate(|entry| entry.tenant == tenant);
    }

    /// Drops the vectors that were asked of this model, and those this model gave under another name.
    pub fn invalidate_model(&self, model: &str) {
        self.state.invalidate(|entry| entry.model == model || entry.by.model == model);
    }

    /// Drops everything.
    pub fn invalidate_all(&self) {
        self.state.invalidate(|_| true);
    }

    /// What it did so far, and what it holds, counted in texts.
    pub fn stats(&self) -> CacheStats {
        self.state.entries.run_pending_tasks();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStats {
            hits: read(&self.state.hits),
            misses: read(&self.state.misses),
            shared: 0,
            stored: read(&self.state.stored),
            bytes: self.state.entries.weighted_size(),
        }
    }
}

impl Layer<Arc<dyn EmbeddingModel>> for EmbeddingCacheLayer {
    type Service = Arc<dyn EmbeddingModel>;

    fn layer(&self, inner: Arc<dyn EmbeddingModel>) -> Self::Service {
        Arc::new(CachedEmbedder { inner, state: Arc::clone(&self.state), own: self.own.clone() })
    }
}

impl State {
    fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.entries.get(key).filter(|entry| entry.expires > self.env.monotonic())
    }

    fn put(&self, key: Key, entry: Entry, epoch: u64) {
        let current = || self.epoch.load(Ordering::SeqCst) == epoch;
        if current() {
            self.entries.insert(key, Arc::new(entry));
            self.stored.fetch_add(1, Ordering::Relaxed);
            // An invalidation that began in between may have looked before the entry was there.
            if !current() {
                self.entries.invalidate(&key);
            }
        }
    }

    fn invalidate(&self, which: impl Fn(&Entry) -> bool) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        for (key, entry) in &self.entries {
            if which(&entry) {
                self.entries.invalidate(key.as_ref());
            }
        }
    }
}

struct CachedEmbedder {
    inner: Arc<dyn EmbeddingModel>,
    state: Arc<State>,
    own: Option<Arc<OwnTarget>>,
}

impl fmt::Debug for CachedEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CachedEmbedder").field(&self.inner).finish()
    }
}

impl CachedEmbedder {
    fn is_own(&self, request: &EmbedRequest, by: &Answerer) -> bool {
        self.own.as_ref().map_or_else(|| by.is(self.inner.info()), |own| own(request, by))
    }

    /// The stored vectors of texts; all of one target, or there would be vectors of two models in one answer.
    fn find(&self, request: &EmbedRequest, keys: &[Key]) -> Vec<Option<Arc<Entry>>> {
        let mut by: Option<Answerer> = None;
        let find = |key| {
            let entry = self.state.get(key)?;
            let fits = by.as_ref().map_or_else(|| self.is_own(request, &entry.by), |by| *by == entry.by);
            by = by.take().or_else(|| fits.then(|| entry.by.clone()));
            fits.then_some(entry)
        };
        keys.iter().map(find).collect()
    }

    /// Asks for the vectors of texts; and who gave them.
    async fn ask(&self, ctx: &Context, request: &EmbedRequest, texts: Vec<String>) -> Result<Asked> {
        let (log, start, count) = (request.log.clone(), request.log.len(), texts.len());
        let mut request = request.clone();
        request.inputs = texts;
        let response = self.inner.embed(ctx, request).await?;
        if response.vectors.len() != count {
            let words = "the model gave another number of vectors than there are texts";
            return Err(Error::new(ErrorKind::ProviderError, words));
        }
        Ok(Asked { response, by: Answerer::of(&log, start, self.inner.info()) })
    }
}

struct Asked {
    response: EmbedResponse,
    by: Option<Answerer>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl EmbeddingModel for CachedEmbedder {
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
        let read = match request.route.cache {
            CacheUse::Default | CacheUse::Always => true,
            CacheUse::Refresh => false,
            _ => return self.inner.embed(ctx, request).await,
        };
        if request.inputs.is_empty() {
            return self.inner.embed(ctx, request).await;
        }
        let state = &self.state;
        let epoch = state.epoch.load(Ordering::SeqCst);
        let texts = mem::take(&mut request.inputs);
        let route = mem::take(&mut request.route);
        let rest = key::bytes(&request);
        request.route = route;
        let rest = key::key(state.config.scope, ctx, "embed", &[&rest?]);
        let keys: Vec<Key> = texts.iter().map(|text| canonical::sha256(&[&rest, text.as_bytes()])).collect();
        let mut found = if read { self.find(&request, &keys) } else { vec![None; keys.len()] };

        // Each unknown text once, and where its vector will be.
        let mut places: HashMap<Key, usize> = HashMap::new();
        let mut unknown = Vec::new();
        for ((key, text), _) in keys.iter().zip(&texts).zip(&found).filter(|(_, found)| found.is_none()) {
            places.entry(*key).or_insert_with(|| {
                unknown.push(text.clone());
                unknown.len() - 1
            });
        }
        let hits = found.iter().flatten().count() as u64;
        state.hits.fetch_add(hits, Ordering::Relaxed);
        state.misses.fetch_add(unknown.len() as u64, Ordering::Relaxed);
        let known = found.iter().flatten().next().cloned();
        if unknown.is_empty() {
            let vectors = found.into_iter().flatten().map(|entry| entry.vector.clone()).collect();
            let named = known.and_then(|entry| entry.named.clone());
            return Ok(EmbedResponse { vectors, model: named, usage: Some(FREE) });
        }

        let mut asked = self.ask(ctx, &request, unknown).await?;
        if known.is_some_and(|known| asked.by.as_ref() != Some(&known.by)) {
            // Another model than the one whose vectors are stored: its vectors do not go with these.
            let used = asked.response.usage;
            places = HashMap::new();
            let mut all = Vec::new();
            for (key, text) in keys.iter().zip(texts) {
                places.entry(*key).or_insert_with(|| {
                    all.push(text);
                    all.len() - 1
                });
            }
            found = vec![None; keys.len()];
            asked = self.ask(ctx, &request, all).await?;
            let usages = [used, asked.response.usage].into_iter().flatten();
            asked.response.usage = usages.reduce(agentprovision_core::model::Usage::plus);
        }
        let Asked { response, by } = asked;
        if let Some(by) = by.filter(|by| self.is_own(&request, by)) {
            let expires = state.env.monotonic().saturating_add(millis(state.config.ttl_ms));
            for (key, place) in &places {
                let Some(vector) = response.vectors.get(*place).cloned() else { continue };
                let (model, named) = (request.model.clone(), response.model.clone());
                let entry = Entry { tenant: ctx.tenant(), model, by: by.clone(), named, vector, expires };
                state.put(*key, entry, epoch);
            }
        }
        let vector = |(key, found): (&Key, Option<Arc<Entry>>)| match found {
            Some(entry) => Some(entry.vector.clone()),
            None => response.vectors.get(*places.get(key)?).cloned(),
        };
        let vectors = keys.iter().zip(found).filter_map(vector).collect();
        Ok(EmbedResponse { vectors, ..response })
    }
}
