//! [`BackupStore`] in memory.

use async_trait::async_trait;

use super::{MemoryDb, State, TenantData, page};
use crate::backup::{Backup, BackupEnd, BackupState, BackupStore, Begun, NewBackup};
use crate::clock::Timestamp;
use crate::context::OperatorContext;
use crate::effect::{Guard, OperatorEffects};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{BackupId, TenantId};
use crate::page::{Cursor, Page, PageRequest};

/// A backup, and whether it is expired.
pub(super) struct Kept {
    backup: Backup,
    expired: bool,
}

fn missing() -> Error {
    Error::not_found("no such backup")
}

impl TenantData {
    fn backup(&self, id: BackupId) -> Result<&Backup> {
        self.backups.get(&id).filter(|kept| !kept.expired).map(|kept| &kept.backup).ok_or_else(missing)
    }
}

#[async_trait]
impl BackupStore for MemoryDb {
    async fn begin(&self, _: &OperatorContext, new: NewBackup, effects: OperatorEffects) -> Result<Begun> {
        let NewBackup { id, tenant, slot, at, patience } = new;
        let mut state = self.open()?;
        state.guard(tenant, Guard::TenantExists)?;
        if state.of(tenant).backups.contains_key(&id) {
            return Err(Error::already_exists("the id of the backup is taken"));
        }
        let open = |backup: &Backup| backup.state == BackupState::InProgress;
        let late = |backup: &Backup| open(backup) && backup.lease_until <= at;
        let there = state.of(tenant).backups.values().map(|kept| &kept.backup).find(|backup| {
            slot.is_some() && backup.slot == slot && backup.state != BackupState::Failed && !late(backup)
        });
        let there = there.cloned();
        let number = state.of(tenant).backups.values().map(|kept| kept.backup.number).max().unwrap_or(0) + 1;
        let backup = Backup {
            id,
            tenant,
            number,
            slot,
            state: BackupState::InProgress,
            started_at: at,
            lease_until: at.after(patience),
            finished_at: None,
            name: Backup::name_of(tenant, id),
            bytes: None,
            rows: None,
            digest: None,
            error: None,
        };
        let new = there.is_none();
        if new {
            state.change(tenant, effects.tenant, &effects.platform, |_| {
                let kept = Kept { backup: backup.clone(), expired: false };
                Ok(move |state: &mut State| {
                    state.of_mut(tenant).backups.insert(id, kept);
                })
            })?;
        }
        let mut abandoned = Vec::new();
        for Kept { backup, .. } in state.of_mut(tenant).backups.values_mut() {
            if backup.id != id && late(backup) {
                backup.state = BackupState::Failed;
                backup.error = Some(ErrorKind::DeadlineExceeded);
                backup.finished_at = Some(at);
                abandoned.push(backup.clone());
            }
        }
        abandoned.sort_unstable_by_key(|backup| backup.number);
        Ok(Begun { backup: there.unwrap_or(backup), new, abandoned })
    }

    async fn finish(
        &self,
        _: &OperatorContext,
        tenant: TenantId,
        id: BackupId,
        at: Timestamp,
        end: BackupEnd,
        effects: OperatorEffects,
    ) -> Result<Backup> {
        self.open()?.change(tenant, effects.tenant, &effects.platform, |state| {
            let mut backup = state.of(tenant).backup(id)?.clone();
            if backup.state != BackupState::InProgress {
                return Err(Error::conflict("the backup is over"));
            }
            backup.finished_at = Some(at);
            match end {
                BackupEnd::Completed(archive) => {
                    backup.state = BackupState::Completed;
                    (backup.bytes, backup.rows) = (Some(archive.bytes), Some(archive.rows));
                    backup.digest = Some(archive.digest);
                }
                BackupEnd::Failed(error) => {
                    backup.state = BackupState::Failed;
                    backup.error = Some(error);
                }
            }
            Ok(move |state: &mut State| {
                let kept = Kept { backup: backup.clone(), expired: false };
                state.of_mut(tenant).backups.insert(id, kept);
                backup
            })
        })
    }

    async fn get(&self, _: &OperatorContext, tenant: TenantId, id: BackupId) -> Result<Backup> {
        self.open()?.of(tenant).backup(id).cloned()
    }

    async fn list(
        &self,
        _: &OperatorContext,
        tenant: TenantId,
        request: PageRequest,
    ) -> Result<Page<Backup>> {
        let state = self.open()?;
        let kept = state.of(tenant).backups.values().filter(|kept| !kept.expired).map(|kept| &kept.backup);
        page(kept, request, |backup| Cursor { created: backup.started_at, id: backup.id.uuid() })
    }

    async fn expire(&self, _: &OperatorContext, tenant: TenantId, keep: u32) -> Result<Vec<Backup>> {
        let mut state = self.open()?;
        let Some(data) = state.data.get_mut(&tenant) else { return Ok(Vec::new()) };
        let completed = data.backups.values().filter(|kept| kept.backup.state == BackupState::Completed);
        let mut numbers: Vec<u64> = completed.map(|kept| kept.backup.number).collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        let highest = numbers.first().copied().unwrap_or(0);
        let kept = numbers.get(keep.max(1) as usize - 1).copied().unwrap_or(0);
        let mut expired = Vec::new();
        for Kept { backup, expired: gone } in data.backups.values_mut() {
            *gone |= match backup.state {
                BackupState::InProgress => false,
                BackupState::Completed => backup.number < kept,
                BackupState::Failed => backup.number < highest,
            };
            if *gone {
                expired.push(backup.clone());
            }
        }
        expired.sort_unstable_by_key(|backup| backup.number);
        Ok(expired)
    }

    async fn forget(
        &self,
        _: &OperatorContext,
        tenant: TenantId,
        ids: &[BackupId],
        effects: OperatorEffects,
    ) -> Result<()> {
        self.open()?.change(tenant, effects.tenant, &effects.platform, |_| {
            let ids = ids.to_vec();
            Ok(move |state: &mut State| {
                state.of_mut(tenant).backups.retain(|id, kept| !(kept.expired && ids.contains(id)));
            })
        })
    }
}
