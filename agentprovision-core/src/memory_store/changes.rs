//! [`ChangeFeed`] in memory.

use std::sync::MutexGuard;

use async_trait::async_trait;

use super::{MemoryDb, State};
use crate::changes::{ChangeFeed, Changes, Epoch, Mark};
use crate::error::Result;
use crate::id::TenantId;

impl State {
    fn next_epoch(&self) -> i64 {
        self.epochs.values().max().map_or(1, |last| last + 1)
    }
}

impl MemoryDb {
    /// The state, locked, for a change of a tenant's metadata. One that is refused counts too.
    pub(super) fn open_metadata(&self, tenant: TenantId) -> Result<MutexGuard<'_, State>> {
        let mut state = self.open()?;
        let epoch = state.next_epoch();
        state.epochs.insert(tenant, epoch);
        // Whoever looks waits for the lock.
        self.changed.send_modify(|changes| *changes += 1);
        Ok(state)
    }
}

#[async_trait]
impl ChangeFeed for MemoryDb {
    async fn changed(&self, since: Option<&Mark>) -> Result<Changes> {
        let state = self.open()?;
        let next = state.next_epoch();
        let (mark, since) = (Mark(vec![next]), since.and_then(|mark| mark.place(0)).unwrap_or(next));
        let changed = state.epochs.iter().filter(|(_, epoch)| **epoch >= since);
        Ok(Changes { tenants: changed.map(|(tenant, epoch)| (*tenant, Epoch(*epoch))).collect(), mark })
    }

    async fn told(&self, heard: u64) -> u64 {
        let mut changes = self.changed.subscribe();
        match changes.wait_for(|changes| *changes > heard).await {
            Ok(now) => *now,
            // The sender is here.
            Err(_) => heard,
        }
    }
}
