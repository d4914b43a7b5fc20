//! Backups at their times.

use std::collections::HashMap;
use std::time::Duration;

use agentprovision_core::backup::BackupState;
use agentprovision_core::id::TenantId;
use agentprovision_core::page::PageRequest;
use agentprovision_core::tenant::TenantState;
use agentprovision_core::{OperatorContext, Result, Timestamp};

use super::{BackupOptions, Backups};

/// The longest between two looks: clocks may be set, and tenants come.
const LOOK: Duration = Duration::from_secs(60);

/// What a process knows of a tenant, so that it does not ask for every look.
struct Wait {
    /// The time of the schedule it is about.
    slot: Timestamp,
    /// On the clock that never goes back; `None` until the next time of the schedule.
    until: Option<Duration>,
    failures: u32,
}

impl Backups {
    /// Makes the backups of the schedule until the platform closes.
    pub(super) async fn follow(&self, every: Duration) {
        let op = self.access.issuer().operator("agentprovision", "backups on schedule");
        let (Ok(op), Ok(options)) = (op, self.options().cloned()) else { return };
        let mut waits = HashMap::new();
        loop {
            if let Err(error) = self.look(&op, &options, every, &mut waits).await {
                tracing::warn!(error = ?error, "backups that are due could not be looked for");
            }
            let (now, clock) = (self.access.env().now(), self.access.env().monotonic());
            let next = slot(now, every).after(every).since(now);
            let waiting = waits.values().filter_map(|wait| wait.until).min();
            let waiting = waiting.map_or(LOOK, |until| until.saturating_sub(clock));
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return,
                () = self.access.env().sleep(next.min(waiting).min(LOOK)) => {}
            }
        }
    }

    /// Makes every backup that is due, one after the other.
    async fn look(
        &self,
        op: &OperatorContext,
        options: &BackupOptions,
        every: Duration,
        waits: &mut HashMap<TenantId, Wait>,
    ) -> Result<()> {
        let mut page = PageRequest::limit(100);
        loop {
            let tenants = self.stores.tenants.list(op, page.clone()).await?;
            for tenant in tenants.items {
                if self.closing.is_cancelled() {
                    return Ok(());
                }
                if tenant.state == TenantState::Deleted {
                    waits.remove(&tenant.id);
                    continue;
                }
                let slot = slot(self.access.env().now(), every);
                let known = waits.get(&tenant.id).filter(|wait| wait.slot == slot);
                let waits_on = known
                    .is_some_and(|wait| wait.until.is_none_or(|until| self.access.env().monotonic() < until));
                if !waits_on {
                    let failures = known.map_or(0, |wait| wait.failures);
                    let wait = self.due(op, options, every, tenant.id, slot, failures).await;
                    waits.insert(tenant.id, wait);
                }
            }
            let Some(next) = tenants.next else { return Ok(()) };
            page = page.after(next);
        }
    }

    /// Makes the backup of one time of the schedule, unless somebody does or did.
    async fn due(
        &self,
        op: &OperatorContext,
        options: &BackupOptions,
        every: Duration,
        tenant: TenantId,
        slot: Timestamp,
        failures: u32,
    ) -> Wait {
        let env = self.access.env();
        let done = async {
            let begun = self.begin(op, options, tenant, Some(slot)).await?;
            if begun.new { self.make(op, options, begun.backup).await } else { Ok(begun.backup) }
        };
        match done.await {
            Ok(backup) if backup.state == BackupState::Completed => Wait { slot, until: None, failures: 0 },
            Ok(other) => {
                // Another process makes it. Should it have died, the backup is begun again when its time is over.
                let left = other.lease_until.since(env.now()).min(options.patience);
                Wait { slot, until: Some(env.monotonic() + left), failures }
            }
            Err(error) => {
                tracing::warn!(%tenant, error = ?error, "a backup failed");
                let pause = LOOK.saturating_mul(1 << failures.min(16)).min(every);
                Wait { slot, until: Some(env.monotonic() + pause), failures: failures + 1 }
            }
        }
    }
}

/// The time of the schedule that is the last one now.
fn slot(now: Timestamp, every: Duration) -> Timestamp {
    let every = i64::try_from(every.as_micros()).unwrap_or(i64::MAX).max(1);
    Timestamp::from_micros(now.micros().div_euclid(every).saturating_mul(every))
}
