//! [`MaintenanceStore`] in memory.

use std::time::Duration;

use async_trait::async_trait;

use super::MemoryDb;
use crate::error::Result;
use crate::id::WorkerId;
use crate::maintenance::{Duty, MaintenanceStore};

#[async_trait]
impl MaintenanceStore for MemoryDb {
    async fn hold(&self, duty: Duty, worker: WorkerId, term: Duration) -> Result<bool> {
        let now = self.env.now();
        let mut state = self.open()?;
        let taken = state.duties.get(&duty);
        if taken.is_some_and(|(by, until)| *by != worker && *until > now) {
            return Ok(false);
        }
        state.duties.insert(duty, (worker, now.after(term)));
        Ok(true)
    }

    async fn give_back(&self, duty: Duty, worker: WorkerId) -> Result<()> {
        let mut state = self.open()?;
        if state.duties.get(&duty).is_some_and(|(by, _)| *by == worker) {
            state.duties.remove(&duty);
        }
        Ok(())
    }

    async fn unsequenced(&self) -> Result<bool> {
        self.open().map(|_| false)
    }

    async fn sequence(&self) -> Result<()> {
        self.open().map(drop)
    }
}
