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

/// The making of backups in this process: those of the schedule, if there is one, and those that somebody asked for.
#[derive(Clone, Debug)]
pub struct BackupSchedule(Backups);

impl BackupSchedule {
    /// Follows the schedule of a service in the background. To be called once, within a runtime.
    pub fn start(backups: &Backups) -> Self {
        let schedule = Self(backups.clone());
        if let Some(every) = backups.options.as_ref().and_then(|options| options.every) {
            let following = schedule.clone();
            backups.tasks.spawn(async move { following.follow(every).await });
        }
        schedule
    }

    /// Ends what is being made, as failed ones, and waits for it. Nothing is begun any more.
    pub async fn close(&self) {
        self.0.closing.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Makes the backups of the schedule until the platform closes.
    async fn follow(&self, every: Duration) {
        let op = self.0.access.issuer().operator("agentprovision", "backups on schedule");
        let (Ok(op), Ok(options)) = (op, self.0.options().cloned()) else { return };
        let mut waits = HashMap::new();
        loop {
            let looked = self.look(&op, &options, every, &mut waits).await;
            let (now, clock) = (self.0.access.env().now(), self.0.access.env().monotonic());
            let next = slot(now, every).after(every).since(now);
            let waiting = waits.values().filter_map(|wait| wait.until).min();
            let wait = match looked {
                Ok(()) => waiting.map_or(LOOK, |until| until.saturating_sub(clock)).min(next).min(LOOK),
                Err(error) => {
                    tracing::warn!(error = ?error, "backups that are due could not be looked for");
                    LOOK
                }
            };
            tokio::select! {
                biased;
                () = self.0.closing.cancelled() => return,
                () = self.0.access.env().sleep(wait) => {}
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
            let tenants = self.0.stores.tenants.list(op, page.clone()).await?;
            for tenant in tenants.items {
                if self.0.closing.is_cancelled() {
                    return Ok(());
                }
                if tenant.state == TenantState::Deleted {
                    waits.remove(&tenant.id);
                    continue;
                }
                let slot = slot(self.0.access.env().now(), every);
                let known = waits.get(&tenant.id).filter(|wait| wait.slot == slot);
                let waits_on = known.is_some_and(|wait| {
                    wait.until.is_none_or(|until| self.0.access.env().monotonic() < until)
                });
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
        let env = self.0.access.env();
        let done = async {
            let begun = self.0.begin(op, options, tenant, Some(slot)).await?;
            if begun.new { self.0.make(op, options, begun.backup).await } else { Ok(begun.backup) }
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
