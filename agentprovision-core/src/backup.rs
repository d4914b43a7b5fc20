//! Backups of tenants: the record of each, and the store contract.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::archive::ArchiveSummary;
use crate::audit::merkle::TreeHash;
use crate::clock::Timestamp;
use crate::context::OperatorContext;
use crate::effect::OperatorEffects;
use crate::error::{ErrorKind, Result};
use crate::id::{BackupId, TenantId};
use crate::page::{Page, PageRequest};

/// What became of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackupState {
    /// Somebody makes it.
    InProgress,
    /// Its file is there and was verified.
    Completed,
    /// There is no file.
    Failed,
}

impl BackupState {
    /// The name in stores and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::InProgress, Self::Completed, Self::Failed].into_iter().find(|state| state.name() == name)
    }
}

/// A backup of a tenant: an archive in the folder for backups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Backup {
    /// The id.
    pub id: BackupId,
    /// The tenant.
    pub tenant: TenantId,
    /// Counts the backups of the tenant that were begun, from 1: a higher one was begun later, whatever clocks said.
    pub number: u64,
    /// The time of the schedule it was made for; absent for one that somebody asked for.
    pub slot: Option<Timestamp>,
    /// What became of it.
    pub state: BackupState,
    /// When it was begun.
    pub started_at: Timestamp,
    /// Until when whoever makes it has it to itself; one that is in progress after that was given up by its process.
    pub lease_until: Timestamp,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
    /// The name of its file within the folder.
    pub name: String,
    /// The size of the file, of a completed one.
    pub bytes: Option<u64>,
    /// The number of rows in it, of a completed one.
    pub rows: Option<u64>,
    /// The digest of the archive, of a completed one: its last 32 bytes.
    pub digest: Option<TreeHash>,
    /// Why it failed.
    pub error: Option<ErrorKind>,
}

impl Backup {
    /// The name of a backup's file. Made of ids alone, so no name leads out of its folder.
    pub fn name_of(tenant: TenantId, id: BackupId) -> String {
        format!("{tenant}.{id}.archive")
    }
}

/// A backup to be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewBackup {
    /// The id.
    pub id: BackupId,
    /// The tenant.
    pub tenant: TenantId,
    /// The time of the schedule it is made for, if any. Of one time there is one backup that has not failed.
    pub slot: Option<Timestamp>,
    /// Now.
    pub at: Timestamp,
    /// How long whoever makes it has it to itself.
    pub patience: Duration,
}

/// What came of beginning a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The new one; or, of a slot, the one that was there, and then nothing was written.
    pub backup: Backup,
    /// Whether it is the new one.
    pub new: bool,
    /// Those that were in progress beyond their time: they have failed now, with `deadline_exceeded`.
    pub abandoned: Vec<Backup>,
}

/// How a backup ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupEnd {
    /// The file is there and holds this.
    Completed(Box<ArchiveSummary>),
    /// There is no file.
    Failed(ErrorKind),
}

/// Keeps the records of backups. They are no part of archives, and go when their tenant is deleted.
#[async_trait]
pub trait BackupStore: fmt::Debug + Send + Sync + 'static {
    /// Begins a backup of a tenant that is not deleted. Where there is one of the same slot that has not failed, that is
    /// answered and the effects are left out. Those in progress whose time is over have failed afterwards either way.
    ///
    /// # Errors
    /// `not_found` for a tenant that is not there or deleted; `already_exists` for an id that is taken.
    async fn begin(&self, op: &OperatorContext, new: NewBackup, effects: OperatorEffects) -> Result<Begun>;
    /// Ends a backup that is in progress.
    ///
    /// # Errors
    /// `not_found`; `conflict` when it is over, as one is that was given up.
    async fn finish(
        &self,
        op: &OperatorContext,
        tenant: TenantId,
        id: BackupId,
        at: Timestamp,
        end: BackupEnd,
        effects: OperatorEffects,
    ) -> Result<Backup>;
    /// A backup that is not expired.
    ///
    /// # Errors
    /// `not_found`.
    async fn get(&self, op: &OperatorContext, tenant: TenantId, id: BackupId) -> Result<Backup>;
    /// The backups of a tenant that are not expired, by (started, id).
    async fn list(&self, op: &OperatorContext, tenant: TenantId, page: PageRequest) -> Result<Page<Backup>>;
    /// Lets all completed backups expire but the `keep` (at least 1) of the highest numbers, and failed ones of lower
    /// numbers than the highest completed one. Answers all that are expired, by number: their files are to be removed.
    async fn expire(&self, op: &OperatorContext, tenant: TenantId, keep: u32) -> Result<Vec<Backup>>;
    /// Removes expired backups, whose files are gone; others of these ids stay.
    async fn forget(
        &self,
        op: &OperatorContext,
        tenant: TenantId,
        ids: &[BackupId],
        effects: OperatorEffects,
    ) -> Result<()>;
}
