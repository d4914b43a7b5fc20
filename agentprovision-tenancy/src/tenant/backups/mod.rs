//! Backups of tenants: [`Backups`].

mod schedule;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::access::Access;
use agentprovision_core::archive::ArchiveSummary;
use agentprovision_core::audit::AuditRecord;
use agentprovision_core::backend::Stores;
use agentprovision_core::backup::{Backup, BackupEnd, BackupState, Begun, NewBackup};
use agentprovision_core::effect::{Effects, OperatorEffects};
use agentprovision_core::event::PlatformEvent;
use agentprovision_core::id::{BackupId, TenantId};
use agentprovision_core::page::{Page, PageRequest};
use agentprovision_core::task::detached;
use agentprovision_core::{Error, ErrorKind, OperatorContext, Result, Timestamp};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Tenants;
use super::archives::{Archives, Partial, beside, blocking, tell};
pub use schedule::BackupSchedule;

/// Where backups go, when they are made and how many are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupOptions {
    /// The folder of their files, which is there and nobody else writes to; several processes may share it.
    pub folder: PathBuf,
    /// How often every tenant that is not deleted is backed up; by default only when somebody asks for it. The times are
    /// multiples of it since 1970, the same in every process, and one of them does it.
    pub every: Option<Duration>,
    /// How many completed backups of a tenant are kept, at least 1; default 7.
    pub keep: u32,
    /// How long making one may take; default 1 hour. What a process that died has left is given up after that.
    pub patience: Duration,
}

impl BackupOptions {
    /// Into this folder, when somebody asks for it.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), every: None, keep: 7, patience: Duration::from_secs(3600) }
    }

    /// On a schedule.
    #[must_use]
    pub fn every(mut self, every: Duration) -> Self {
        self.every = Some(every);
        self
    }

    /// With so many completed backups of a tenant kept.
    #[must_use]
    pub fn keep(mut self, keep: u32) -> Self {
        self.keep = keep;
        self
    }

    /// With so much time to make one.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(crate) fn checked(self) -> Result<Self> {
        let second = Duration::from_secs(1);
        if self.folder.as_os_str().is_empty() {
            return Err(Error::invalid("backups need a `folder`"));
        }
        if self.every.is_some_and(|every| every < second) || self.patience < second {
            return Err(Error::invalid("`every` and `patience` of backups are at least one second"));
        }
        if self.keep == 0 {
            return Err(Error::invalid("`keep` of backups is at least 1"));
        }
        Ok(self)
    }
}

/// Makes backups of tenants, and tells what became of them. Cheap to clone.
///
/// A backup is an archive in the folder of [`BackupOptions`]: everything said of [`Archives`] holds for it, and
/// [`Archives::restore`] takes it. A completed one was read back from the disk and compared with what was written, table by
/// table, before it got its name. Both logs tell of its beginning and its end.
#[derive(Clone, Debug)]
pub struct Backups {
    access: Access,
    stores: Stores,
    archives: Archives,
    options: Option<Arc<BackupOptions>>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl Backups {
    pub(crate) fn of(tenants: &Tenants, options: Option<BackupOptions>) -> Self {
        Self {
            access: tenants.access.clone(),
            stores: tenants.stores.clone(),
            archives: Archives::of(tenants),
            options: options.map(Arc::new),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Makes a backup of a tenant now. It goes on when nobody waits for it. Completed ones beyond those that are kept are
    /// removed afterwards.
    ///
    /// # Errors
    /// `not_found` for a tenant that is not there or deleted; `unsupported` without a folder for backups, and where the
    /// store has no archives; `unavailable` when the file cannot be written; `corrupt` when it is not what was written;
    /// `deadline_exceeded` when it took too long; `closed`; `foreign_context`. A backup that was begun is told of as a
    /// failed one then.
    pub async fn run(&self, op: &OperatorContext, tenant: TenantId) -> Result<Backup> {
        self.access.operator(op)?;
        if self.closing.is_cancelled() {
            return Err(Error::closed("the platform is closed"));
        }
        let options = self.options()?.clone();
        let (service, op) = (self.clone(), op.clone());
        detached(self.tasks.track_future(async move {
            let begun = service.begin(&op, &options, tenant, None).await?;
            service.make(&op, &options, begun.backup).await
        }))
        .await
    }

    /// The backups of a tenant, oldest first.
    ///
    /// # Errors
    /// `not_found` for a tenant that was never there; `invalid_input` for a bad page; `foreign_context`.
    pub async fn list(
        &self,
        op: &OperatorContext,
        tenant: TenantId,
        page: PageRequest,
    ) -> Result<Page<Backup>> {
        self.access.operator(op)?;
        let page = page.checked()?;
        self.stores.tenants.get(op, tenant).await?;
        self.stores.backups.list(op, tenant, page).await
    }

    /// A backup.
    ///
    /// # Errors
    /// `not_found`, `foreign_context`.
    pub async fn get(&self, op: &OperatorContext, tenant: TenantId, id: BackupId) -> Result<Backup> {
        self.access.operator(op)?;
        self.stores.backups.get(op, tenant, id).await
    }

    fn options(&self) -> Result<&Arc<BackupOptions>> {
        self.options.as_ref().ok_or_else(|| Error::unsupported("the platform has no folder for backups"))
    }

    /// Begins a backup, and removes what those left that were given up.
    async fn begin(
        &self,
        op: &OperatorContext,
        options: &BackupOptions,
        tenant: TenantId,
        slot: Option<Timestamp>,
    ) -> Result<Begun> {
        self.stores.archives.layout()?;
        let env = self.access.env();
        let new = NewBackup { id: env.id(), tenant, slot, at: env.now(), patience: options.patience };
        let effects = self.told(op, tenant, new.id, "backups.run", |record| match slot {
            Some(slot) => record.with("slot", slot.to_string()),
            None => record,
        });
        let begun = self.stores.backups.begin(op, new, effects).await?;
        for backup in &begun.abandoned {
            tracing::warn!(tenant = %tenant, backup = %backup.id, "a backup was given up by its process");
            self.remove(options, backup).await;
        }
        Ok(begun)
    }

    /// Makes a backup that was begun.
    async fn make(&self, op: &OperatorContext, options: &BackupOptions, backup: Backup) -> Result<Backup> {
        let path = options.folder.join(&backup.name);
        let written = tokio::select! {
            biased;
            () = self.closing.cancelled() => Err(Error::new(ErrorKind::Cancelled, "the platform was closed")),
            written = self.access.env().timeout(options.patience, self.write(op, &backup, &path)) => {
                let late = || Error::new(ErrorKind::DeadlineExceeded, "the backup took too long");
                written.ok_or_else(late).flatten()
            }
        };
        // From here on the file is there, or it is not: nobody waits for it any more.
        let named = match written {
            Ok((summary, partial)) => {
                let to = path.clone();
                blocking(move || partial.name(&to)).await.map(|()| summary)
            }
            Err(error) => Err(error),
        };
        let error = match named {
            Ok(summary) => match self.complete(op, &backup, summary).await {
                Ok(done) => {
                    if let Err(error) = self.retain(op, options, backup.tenant).await {
                        tracing::warn!(tenant = %backup.tenant, error = ?error, "old backups could not be removed");
                    }
                    return Ok(done);
                }
                // Whether it is completed cannot be told now: a file that nobody tells of is harmless.
                Err((error, false)) => return Err(error),
                Err((error, true)) => error,
            },
            Err(error) => error,
        };
        self.remove(options, &backup).await;
        let effects =
            self.told(op, backup.tenant, backup.id, "backups.finish", |record| record.failed(&error));
        let (at, end) = (self.access.env().now(), BackupEnd::Failed(error.kind()));
        if let Err(error) = self.stores.backups.finish(op, backup.tenant, backup.id, at, end, effects).await
            && !error.is(ErrorKind::NotFound)
            && !error.is(ErrorKind::Conflict)
        {
            tracing::warn!(backup = %backup.id, error = ?error, "that a backup failed could not be written down");
        }
        Err(error)
    }

    /// Writes the file and reads it back.
    async fn write(
        &self,
        op: &OperatorContext,
        backup: &Backup,
        path: &Path,
    ) -> Result<(ArchiveSummary, Partial)> {
        // Both logs have told of it already.
        let effects = OperatorEffects::default();
        let (summary, partial) = self.archives.write(op, backup.tenant, partial(path), effects).await?;
        let partial = self.archives.check(partial, &summary).await?;
        Ok((summary, partial))
    }

    /// Says that a backup is there; with an error, whether it is certain that nobody says so.
    async fn complete(
        &self,
        op: &OperatorContext,
        backup: &Backup,
        summary: ArchiveSummary,
    ) -> Result<Backup, (Error, bool)> {
        let env = self.access.env();
        let (tenant, id) = (backup.tenant, backup.id);
        let mut effects = self.told(op, tenant, id, "backups.finish", |mut record| {
            tell(&mut record, &summary);
            record
        });
        let request = op.request_id().to_string();
        let event = PlatformEvent::new(env, tenant, "tenant.backed_up", id, json!({}))
            .with_correlation(request.clone(), Some(request));
        effects.tenant.events.push(event);
        let end = BackupEnd::Completed(Box::new(summary));
        let error = match self.stores.backups.finish(op, tenant, id, env.now(), end, effects).await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        match self.stores.backups.get(op, tenant, id).await {
            Ok(done) if done.state == BackupState::Completed => Ok(done),
            Ok(_) => Err((error, true)),
            Err(other) => Err((error, other.is(ErrorKind::NotFound))),
        }
    }

    /// Removes backups beyond those that are kept: from what is told of first, then the files, then the records.
    async fn retain(&self, op: &OperatorContext, options: &BackupOptions, tenant: TenantId) -> Result<()> {
        let mut gone = Vec::new();
        for backup in self.stores.backups.expire(op, tenant, options.keep).await? {
            if self.remove(options, &backup).await {
                gone.push(backup.id);
            }
        }
        let Some(first) = gone.first() else { return Ok(()) };
        let names: Vec<String> = gone.iter().map(ToString::to_string).collect();
        let effects =
            self.told(op, tenant, *first, "backups.expire", |record| record.with("backups", names.clone()));
        self.stores.backups.forget(op, tenant, &gone, effects).await
    }

    /// Removes the files of a backup; says whether they are gone.
    async fn remove(&self, options: &BackupOptions, backup: &Backup) -> bool {
        let path = options.folder.join(&backup.name);
        let removed = blocking(move || {
            for path in [partial(&path), path] {
                match std::fs::remove_file(path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        let message = "the file of a backup cannot be removed";
                        return Err(Error::new(ErrorKind::Unavailable, message).with_source(error));
                    }
                    _ => {}
                }
            }
            Ok(())
        });
        match removed.await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(backup = %backup.id, error = ?error, "the file of a backup was not removed");
                false
            }
        }
    }

    /// A record in both logs.
    fn told(
        &self,
        op: &OperatorContext,
        tenant: TenantId,
        id: BackupId,
        action: &str,
        facts: impl Fn(AuditRecord) -> AuditRecord,
    ) -> OperatorEffects {
        let record = |log| facts(AuditRecord::of_operator(op, self.access.env(), log, action, "backups", id));
        OperatorEffects {
            tenant: Effects { audit: vec![record(Some(tenant))], ..Effects::none() },
            platform: vec![record(None).with("tenant_id", tenant.to_string())],
        }
    }
}

/// Where a file is before it has its name.
fn partial(path: &Path) -> PathBuf {
    beside(path, ".partial")
}
