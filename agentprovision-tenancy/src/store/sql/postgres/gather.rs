//! Deliveries that come while others of their tenant are being kept: they wait, and go into one transaction.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentprovision_core::id::{EndpointId, TenantId};
use agentprovision_core::webhook::{Accepted, NewDelivery};
use agentprovision_core::{Env, Error, ErrorKind, Result};
use tokio::sync::oneshot;

use super::pool::Pool;
use super::work;
use crate::store::sql::accept;

/// Transactions of a tenant at a time: one may wait for somebody else's while the others go on.
const AT_ONCE: usize = 4;
/// Deliveries of one transaction, at most.
const MOST: usize = 256;
/// Bytes of their bodies, at most, where there is more than one.
const BYTES: usize = 16 * 1024 * 1024;
/// How many that wait are looked at for one transaction: it takes no key twice.
const LOOK: usize = 4 * MOST;

/// What waits, by tenant.
#[derive(Clone, Debug, Default)]
pub(in crate::store::sql) struct Gathered(Arc<Mutex<HashMap<TenantId, Waiting>>>);

#[derive(Debug, Default)]
struct Waiting {
    under_way: usize,
    queue: VecDeque<One>,
}

#[derive(Debug)]
struct One {
    delivery: NewDelivery,
    reply: oneshot::Sender<Result<Accepted>>,
}

impl Waiting {
    /// What goes into one transaction, from the first that waits on.
    fn take(&mut self) -> Vec<One> {
        let (mut batch, mut left, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut keys: HashSet<(EndpointId, String)> = HashSet::new();
        for _ in 0..LOOK {
            let Some(one) = self.queue.pop_front() else { break };
            let (size, key) = (one.delivery.body.len(), (one.delivery.endpoint, one.delivery.key.clone()));
            if !batch.is_empty() && (batch.len() == MOST || bytes + size > BYTES) {
                left.push(one);
                break;
            }
            if keys.insert(key) {
                bytes += size;
                batch.push(one);
            } else {
                left.push(one);
            }
        }
        left.into_iter().rev().for_each(|one| self.queue.push_front(one));
        // Those who lock the same rows do it in one order.
        batch.sort_by(|a, b| {
            let key = |one: &One| (one.delivery.endpoint, one.delivery.key.clone());
            key(a).cmp(&key(b))
        });
        batch
    }
}

impl Gathered {
    fn all(&self) -> MutexGuard<'_, HashMap<TenantId, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a delivery, together with those that wait when its turn comes. It is kept when nobody waits for the answer any
    /// more, too.
    pub(in crate::store::sql) async fn accept(
        &self,
        pool: &Pool,
        env: &Env,
        tenant: TenantId,
        delivery: NewDelivery,
    ) -> Result<Accepted> {
        let (reply, answer) = oneshot::channel();
        let begins = {
            let mut all = self.all();
            let waiting = all.entry(tenant).or_default();
            waiting.queue.push_back(One { delivery, reply });
            let begins = waiting.under_way < AT_ONCE;
            waiting.under_way += usize::from(begins);
            begins
        };
        if begins {
            let lane = Lane { gathered: self.clone(), tenant, ended: false };
            pool.runtime().spawn(lane.drive(pool.clone(), env.clone()));
        }
        answer.await.map_err(|_| Error::internal("keeping the delivery was broken off"))?
    }
}

/// One of the transactions of a tenant, and those after it.
struct Lane {
    gathered: Gathered,
    tenant: TenantId,
    /// Whether it is no longer among those under way.
    ended: bool,
}

impl Lane {
    async fn drive(mut self, pool: Pool, env: Env) {
        while let Some(batch) = self.next() {
            let (deliveries, replies): (Vec<_>, Vec<_>) =
                batch.into_iter().map(|one| (one.delivery, one.reply)).unzip();
            let results = self.keep(&pool, &env, deliveries).await;
            for (reply, result) in replies.into_iter().zip(results) {
                // Whoever asked may be gone; the delivery is kept all the same.
                let _ = reply.send(result);
            }
        }
    }

    /// What to keep next; with nothing left it ends.
    fn next(&mut self) -> Option<Vec<One>> {
        let gathered = self.gathered.clone();
        let mut all = gathered.all();
        let batch = all.get_mut(&self.tenant).map(Waiting::take).filter(|batch| !batch.is_empty());
        if batch.is_none() {
            self.end(&mut all);
        }
        batch
    }

    fn end(&mut self, all: &mut HashMap<TenantId, Waiting>) {
        self.ended = true;
        if let Some(waiting) = all.get_mut(&self.tenant) {
            waiting.under_way -= 1;
            if waiting.under_way == 0 {
                all.remove(&self.tenant);
            }
        }
    }

    /// Keeps deliveries in one transaction; where the database refuses that, each in its own, so that none fails by its
    /// neighbour.
    async fn keep(&self, pool: &Pool, env: &Env, deliveries: Vec<NewDelivery>) -> Vec<Result<Accepted>> {
        let deliveries = Arc::new(deliveries);
        let error = match self.together(pool, env, deliveries.clone()).await {
            Ok(results) => return results,
            Err(error) => error,
        };
        let refused = matches!(
            error.kind(),
            ErrorKind::Conflict | ErrorKind::TooLarge | ErrorKind::Internal | ErrorKind::Corrupt
        );
        if deliveries.len() == 1 || !refused {
            return deliveries.iter().map(|_| Err(error.clone())).collect();
        }
        tracing::warn!(?error, deliveries = deliveries.len(), "deliveries could not be kept together");
        let mut results = Vec::with_capacity(deliveries.len());
        for delivery in deliveries.iter() {
            let alone = self.together(pool, env, Arc::new(vec![delivery.clone()])).await;
            results.push(alone.and_then(accept::only));
        }
        results
    }

    async fn together(
        &self,
        pool: &Pool,
        env: &Env,
        deliveries: Arc<Vec<NewDelivery>>,
    ) -> Result<Vec<Result<Accepted>>> {
        let tenant = self.tenant;
        work::write_here(pool, env, move |tx| {
            Box::pin(async move { accept::keep(&mut tx.into_tenant(tenant), &deliveries).await })
        })
        .await
    }
}

impl Drop for Lane {
    /// Of a lane that was broken off, nobody else would come for what waits: whoever did is told.
    fn drop(&mut self) {
        if !self.ended {
            let gathered = self.gathered.clone();
            self.end(&mut gathered.all());
        }
    }
}
