//! What a cache of chat answers holds.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::id::TenantId;
use agentprovision_core::model::ChatRequest;
use agentprovision_core::{Env, Result};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::answer::Answer;
use super::flight::{Flights, Lead};
use super::key::{self, Key};
use super::{CacheConfig, CacheStats, millis};

/// What an entry takes beside its answer.
const ENTRY_BYTES: usize = 256;

/// A stored answer.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Whose user asked.
    pub(super) tenant: TenantId,
    /// The model that was asked for.
    pub(super) model: String,
    pub(super) answer: Arc<Answer>,
    /// On the clock's monotonic time.
    expires: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) shared: AtomicU64,
    stored: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The cache that all models of one layer share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) config: CacheConfig,
    pub(super) env: Env,
    entries: Cache<Key, Arc<Entry>>,
    pub(super) flights: Arc<Flights<Arc<Answer>>>,
    /// Counts invalidations: an answer that was asked for before one is not stored after it.
    epoch: AtomicU64,
    pub(super) counts: Counts,
}

impl State {
    pub(super) fn new(config: CacheConfig, env: Env) -> Self {
        let weigh = |_: &Key, entry: &Arc<Entry>| {
            u32::try_from(ENTRY_BYTES + entry.model.len() + entry.answer.bytes).unwrap_or(u32::MAX)
        };
        // Times are kept in the entries, by the injected clock; here only the size counts.
        let entries = Cache::builder()
            .max_capacity(config.max_bytes)
            .weigher(weigh)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        let flights = Arc::new(Flights::default());
        Self { config, env, entries, flights, epoch: AtomicU64::new(0), counts: Counts::default() }
    }

    /// The question that a request is. What it says of routing is no part of it.
    pub(super) fn key(&self, ctx: &Context, request: &mut ChatRequest) -> Result<Key> {
        let route = mem::take(&mut request.route);
        let bytes = key::bytes(request);
        request.route = route;
        Ok(key::key(self.config.scope, ctx, "chat", &[&bytes?]))
    }

    /// The stored answer to a question, unless its time is over.
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Answer>> {
        let entry = self.entries.get(key)?;
        if entry.expires <= self.env.monotonic() {
            self.entries.invalidate(key);
            return None;
        }
        Some(Arc::clone(&entry.answer))
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    pub(super) fn put(&self, ticket: &Ticket, answer: Arc<Answer>) {
        if answer.bytes as u64 > self.config.max_answer_bytes || self.epoch() != ticket.epoch {
            return;
        }
        let expires = self.env.monotonic().saturating_add(millis(self.config.ttl_ms));
        let entry = Entry { tenant: ticket.tenant, model: ticket.model.clone(), answer, expires };
        self.entries.insert(ticket.key, Arc::new(entry));
        count(&self.counts.stored);
        // An invalidation that began in between may have looked before the entry was there.
        if self.epoch() != ticket.epoch {
            self.entries.invalidate(&ticket.key);
        }
    }

    pub(super) fn invalidate(&self, which: impl Fn(&Entry) -> bool) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        self.flights.forget();
        for (key, entry) in &self.entries {
            if which(&entry) {
                self.entries.invalidate(key.as_ref());
            }
        }
    }

    pub(super) fn forget(&self, key: &Key) {
        self.entries.invalidate(key);
    }

    pub(super) fn stats(&self) -> CacheStats {
        self.entries.run_pending_tasks();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStats {
            hits: read(&self.counts.hits),
            misses: read(&self.counts.misses),
            shared: read(&self.counts.shared),
            stored: read(&self.counts.stored),
            bytes: self.entries.weighted_size(),
        }
    }
}

/// What one who asks must know when the answer is there.
pub(super) struct Ticket {
    pub(super) key: Key,
    pub(super) tenant: TenantId,
    pub(super) model: String,
    /// The number of invalidations when it was asked.
    pub(super) epoch: u64,
    /// Those who wait; none when nobody can join.
    pub(super) lead: Option<Lead<Arc<Answer>>>,
}
