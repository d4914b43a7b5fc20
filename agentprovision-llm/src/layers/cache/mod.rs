//! Answers that are given again.
//!
//! A question is known by SHA-256 over who shares answers (the tenant, unless configured otherwise) and the whole
//! request but for what it says of routing. Who will answer is not known when a stored answer is looked for, so a stored
//! answer carries who gave it, and it is stored and given only where that target is one the requested model stands for:
//! what a fallback said is never taken for an answer of the model it stood in for.

mod answer;
mod chat;
mod embed;
mod flight;
mod key;
mod plain;
#[cfg(feature = "cache-semantic")]
mod semantic;
mod store;

pub use answer::Answerer;
pub use embed::{EmbeddingCacheConfig, EmbeddingCacheLayer};
pub use key::CacheScope;
#[cfg(feature = "cache-semantic")]
pub use semantic::{SemanticCacheConfig, SemanticCacheLayer};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::id::TenantId;
use agentprovision_core::model::{ChatModel, ChatRequest};
use agentprovision_core::{Env, Result};
use serde::{Deserialize, Serialize};
use tower::Layer;

use super::refuse;
use store::State;

/// How answers are stored and shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Who shares stored answers; the users of one tenant by default.
    pub scope: CacheScope,
    /// How long an answer is given again, in milliseconds; an hour by default.
    pub ttl_ms: u64,
    /// The most bytes of answers that are kept; 64 MiB by default. Those that were not asked for longest go first.
    pub max_bytes: u64,
    /// An answer with more bytes is not stored; 1 MiB by default.
    pub max_answer_bytes: u64,
    /// Whether requests that do not ask for temperature 0 are answered from the cache too; not by default. A request's
    /// own `route.cache` goes before it.
    pub any_temperature: bool,
    /// How long a request waits for the answer to an identical one that is under way, in milliseconds, before it asks
    /// by itself; 30 s by default, and 0 means that it never waits.
    pub max_wait_ms: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            scope: CacheScope::Tenant,
            ttl_ms: 3_600_000,
            max_bytes: 64 << 20,
            max_answer_bytes: 1 << 20,
            any_temperature: false,
            max_wait_ms: 30_000,
        }
    }
}

impl CacheConfig {
    /// Everything that is wrong with it, by the name of the field.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.ttl_ms == 0 {
            problems.push("`ttl_ms` must be more than 0".to_owned());
        }
        if self.max_answer_bytes > self.max_bytes {
            problems.push(format!(
                "`max_answer_bytes` is {}, more than `max_bytes`, which is {}",
                self.max_answer_bytes, self.max_bytes
            ));
        }
        problems
    }
}

/// What a cache did so far, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CacheStats {
    /// Requests that got a stored answer.
    pub hits: u64,
    /// Requests that were passed on, though a stored answer would have done.
    pub misses: u64,
    /// Requests that got the answer to an identical one that was under way.
    pub shared: u64,
    /// Answers that were stored.
    pub stored: u64,
    /// Bytes of the answers it holds, roughly.
    pub bytes: u64,
}

type OwnTarget = dyn Fn(&ChatRequest, &Answerer) -> bool + Send + Sync;

/// Gives stored answers to the same question; put it outside of limits and budgets, since such an answer costs nothing.
///
/// An answer is stored when the model was done (`stop`, or `tool_calls` with whole arguments), and the request asks for
/// temperature 0 or says in `route.cache` that any will do. A stored answer is kept as events, so it is given whole or
/// streamed, whichever is asked for; its token counts are zero.
///
/// Identical questions asked at the same time are asked once. Those who wait get the answer when it is complete, a
/// streamed one too, or what a provider says of the question itself: that it is invalid, too long, or against its policy.
/// After any other error, or when whoever asks goes away, one of those who wait asks next.
///
/// Every model wrapped by one layer, and by its clones, shares its answers.
#[derive(Clone)]
pub struct CacheLayer {
    state: Arc<State>,
    own: Option<Arc<OwnTarget>>,
}

impl fmt::Debug for CacheLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheLayer").field("config", &self.state.config).finish_non_exhaustive()
    }
}

impl CacheLayer {
    /// An empty cache.
    ///
    /// # Errors
    /// `invalid_input`, naming every problem of the configuration.
    pub fn new(config: CacheConfig, env: Env) -> Result<Self> {
        refuse("the cache", &config.problems())?;
        Ok(Self { state: Arc::new(State::new(config, env)), own: None })
    }

    /// Says whether a target that answered is one the requested model stands for, as against one of its fallbacks.
    /// Around a router this is needed, and [`RouterBuilder::cache`](crate::route::RouterBuilder::cache) does it;
    /// otherwise only the provider and name of the wrapped model's info are, so that nothing a router answers under
    /// another name is stored. The request it sees may be without its messages.
    #[must_use]
    pub fn own_targets(
        mut self,
        own: impl Fn(&ChatRequest, &Answerer) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.own = Some(Arc::new(own));
        self
    }

    /// Drops what users of this tenant asked, whoever shares it.
    pub fn invalidate_tenant(&self, tenant: TenantId) {
        self.state.invalidate(|entry| entry.tenant == tenant);
    }

    /// Drops the answers to requests for this model, and those this model gave under another name.
    pub fn invalidate_model(&self, model: &str) {
        let by = |entry: &store::Entry| entry.answer.by.as_ref().is_some_and(|by| by.model == model);
        self.state.invalidate(|entry| entry.model == model || by(entry));
    }

    /// Drops everything.
    pub fn invalidate_all(&self) {
        self.state.invalidate(|_| true);
    }

    /// Drops the answer to this request, for whoever finds that it must not be given again.
    ///
    /// # Errors
    /// `invalid_input` when the request cannot be written.
    pub fn forget(&self, ctx: &Context, request: &ChatRequest) -> Result<()> {
        self.forget_key(&self.key_of(ctx, &mut request.clone())?);
        Ok(())
    }

    /// What it did so far, and what it holds.
    pub fn stats(&self) -> CacheStats {
        self.state.stats()
    }
}

/// A cache that can be told that an answer must not be given again.
pub(super) trait Forgets: fmt::Debug + Send + Sync {
    /// The key of a request, which is as it was afterwards.
    fn key_of(&self, ctx: &Context, request: &mut ChatRequest) -> Result<[u8; 32]>;
    /// Drops what is stored under this key.
    fn forget_key(&self, key: &[u8; 32]);
}

impl Forgets for CacheLayer {
    fn key_of(&self, ctx: &Context, request: &mut ChatRequest) -> Result<[u8; 32]> {
        self.state.key(ctx, request)
    }

    fn forget_key(&self, key: &[u8; 32]) {
        self.state.forget(key);
    }
}

impl Layer<Arc<dyn ChatModel>> for CacheLayer {
    type Service = Arc<dyn ChatModel>;

    fn layer(&self, inner: Arc<dyn ChatModel>) -> Self::Service {
        Arc::new(chat::CachedChat { inner, state: Arc::clone(&self.state), own: self.own.clone() })
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
