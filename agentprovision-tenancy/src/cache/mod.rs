//! Metadata that is asked for with every request, kept in memory for as long as it holds: the state of tenants, users
//! and API keys. (Versions of agents never change; the run engine keeps them by their hash.)
//!
//! Every change of a tenant's metadata gives the tenant a new [`Epoch`] in the same transaction. What is kept holds for
//! one epoch as this process counts it: a change made here counts at once, one made by another process as soon as it is
//! told of (`LISTEN` on PostgreSQL), and at the latest [`BOUND`] after its commit, because nobody is answered from what is
//! kept without a look at the epochs that is no older. A store that does not answer is an error, not an old answer.

mod stores;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use agentprovision_core::backend::Stores;
use agentprovision_core::changes::{ChangeFeed, Epoch, Mark};
use agentprovision_core::id::TenantId;
use agentprovision_core::{Env, Result};
use tokio_util::sync::CancellationToken;

/// The longest that a change made by another process may go unseen.
const BOUND: Duration = Duration::from_millis(250);

/// Follows the epochs of tenants. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Watch(Arc<Shared>);

struct Shared {
    feed: Arc<dyn ChangeFeed>,
    env: Env,
    /// Microseconds on the monotonic clock, and one, of the last look; 0 before the first.
    looked: AtomicU64,
    /// Held by whoever looks.
    looking: tokio::sync::Mutex<Seen>,
    /// How often each tenant was seen to change; absent for never.
    counts: RwLock<HashMap<TenantId, u64>>,
}

#[derive(Default)]
struct Seen {
    mark: Option<Mark>,
    epochs: HashMap<TenantId, Epoch>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Watch {
    fn new(feed: Arc<dyn ChangeFeed>, env: Env) -> Self {
        Self(Arc::new(Shared {
            feed,
            env,
            looked: AtomicU64::new(0),
            looking: tokio::sync::Mutex::default(),
            counts: RwLock::default(),
        }))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.env.monotonic().as_micros()).unwrap_or(u64::MAX - 1) + 1
    }

    fn is_recent(&self) -> bool {
        let looked = self.0.looked.load(Ordering::Acquire);
        looked != 0 && self.now().saturating_sub(looked) < BOUND.as_micros() as u64
    }

    /// Looks at the epochs where the last look is not recent. At most one look at a time.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn ensure(&self) -> Result<()> {
        if self.is_recent() {
            return Ok(());
        }
        let mut seen = self.0.looking.lock().await;
        if self.is_recent() {
            return Ok(());
        }
        self.look(&mut seen).await
    }

    async fn look(&self, seen: &mut Seen) -> Result<()> {
        // What is committed while the store answers is for the next look.
        let began = self.now();
        let first = seen.mark.is_none();
        let changes = self.0.feed.changed(seen.mark.as_ref()).await?;
        seen.mark = Some(changes.mark);
        for (tenant, epoch) in changes.tenants {
            if seen.epochs.insert(tenant, epoch) != Some(epoch) {
                self.changed(tenant);
            }
        }
        // Before the first mark nothing is kept.
        debug_assert!(!first || seen.epochs.is_empty());
        self.0.looked.store(began, Ordering::Release);
        Ok(())
    }

    /// How often the tenant was seen to change; 0 for never.
    pub(crate) fn count(&self, tenant: TenantId) -> u64 {
        self.0.counts.read().unwrap_or_else(PoisonError::into_inner).get(&tenant).copied().unwrap_or(0)
    }

    /// What is kept of the tenant does not hold any more.
    fn changed(&self, tenant: TenantId) {
        *self.0.counts.write().unwrap_or_else(PoisonError::into_inner).entry(tenant).or_default() += 1;
    }

    /// Looks whenever the store is told of changes, until `closing` fires.
    async fn hear(&self, closing: CancellationToken) {
        let mut heard = 0;
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled() => return,
                now = self.0.feed.told(heard) => heard = now,
            }
            let mut seen = self.0.looking.lock().await;
            if let Err(error) = self.look(&mut seen).await {
                // Whoever asks looks again.
                tracing::debug!(?error, "what changed could not be read");
            }
        }
    }
}

/// Stores with metadata kept in memory in front of them.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    pub(crate) stores: Stores,
    pub(crate) watch: Watch,
}

impl Cache {
    /// In front of `stores`. Every change of metadata has to go through the cache's stores for it to count at once.
    pub(crate) fn new(stores: &Stores, env: &Env) -> Self {
        let watch = Watch::new(stores.changes.clone(), env.clone());
        Self { stores: stores::kept(stores, &watch), watch }
    }

    /// Listens for changes of other processes until `closing` fires.
    pub(crate) async fn hear(&self, closing: CancellationToken) {
        self.watch.hear(closing).await;
    }
}
