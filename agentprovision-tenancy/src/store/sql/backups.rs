//! Records of backups.

use agentprovision_core::backup::{Backup, BackupEnd, BackupState, BackupStore, Begun, NewBackup};
use agentprovision_core::context::OperatorContext;
use agentprovision_core::effect::OperatorEffects;
use agentprovision_core::id::{BackupId, TenantId};
use agentprovision_core::page::{Cursor, Page, PageRequest};
use agentprovision_core::{Error, ErrorKind, Result, Timestamp};
use async_trait::async_trait;

use super::conn::{TenantTx, Turn};
use super::value::{Row, tenant_sql, values};
use super::{SqlStore, effects, start, tenants};

macro_rules! columns {
    () => {
        "tenant_id, id, number, slot, state, started_at, lease_until, finished_at, bytes, row_count, digest, error"
    };
}

fn missing() -> Error {
    Error::not_found("no such backup")
}

fn read(mut row: Row) -> Result<Backup> {
    let (tenant, id) = (row.next()?, row.next()?);
    let (number, slot, state) = (row.next()?, row.next()?, row.next::<String>()?);
    Ok(Backup {
        id,
        tenant,
        number,
        slot,
        state: BackupState::from_name(&state)
            .ok_or_else(|| Error::corrupt("a backup has an unknown state"))?,
        started_at: row.next()?,
        lease_until: row.next()?,
        finished_at: row.next()?,
        name: Backup::name_of(tenant, id),
        bytes: row.next()?,
        rows: row.next()?,
        digest: row.next()?,
        // A newer version may know more.
        error: row
            .next::<Option<String>>()?
            .map(|code| ErrorKind::from_code(&code).unwrap_or(ErrorKind::Internal)),
    })
}

async fn get(tx: &mut TenantTx<'_>, id: BackupId) -> Result<Backup> {
    let sql = tenant_sql!(concat!(
        "SELECT ",
        columns!(),
        " FROM backups WHERE tenant_id = $1 AND id = $2 AND expired = 0"
    ));
    read(tx.row(sql, values![id]).await?.ok_or_else(missing)?)
}

/// Those that were in progress beyond their time have failed.
async fn abandon(tx: &mut TenantTx<'_>, at: Timestamp) -> Result<Vec<Backup>> {
    let sql = tenant_sql!(concat!(
        "UPDATE backups SET state = 'failed', error = $3, finished_at = $2 \
         WHERE tenant_id = $1 AND state = 'in_progress' AND lease_until <= $2 RETURNING ",
        columns!()
    ));
    let rows = tx.rows(sql, values![at, ErrorKind::DeadlineExceeded.code()]).await?;
    let mut abandoned = rows.into_iter().map(read).collect::<Result<Vec<_>>>()?;
    abandoned.sort_unstable_by_key(|backup| backup.number);
    Ok(abandoned)
}

/// Begins a backup; says whether it is a new one.
async fn begin(tx: &mut TenantTx<'_>, new: NewBackup) -> Result<(Backup, bool)> {
    let slot = tenant_sql!(concat!(
        "SELECT ",
        columns!(),
        " FROM backups WHERE tenant_id = $1 AND slot = $2 AND state <> 'failed'"
    ));
    if let Some(at) = new.slot
        && let Some(row) = tx.row(slot, values![at]).await?
    {
        return Ok((read(row)?, false));
    }
    let sql = tenant_sql!(
        "INSERT INTO backups (tenant_id, id, number, slot, state, started_at, lease_until, expired) \
         SELECT $1, $2, coalesce(max(number), 0) + 1, $3, 'in_progress', $4, $5, 0 FROM backups WHERE tenant_id = $1"
    );
    tx.execute(sql, values![new.id, new.slot, new.at, new.at.after(new.patience)]).await?;
    Ok((get(tx, new.id).await?, true))
}

async fn finish(tx: &mut TenantTx<'_>, id: BackupId, at: Timestamp, end: BackupEnd) -> Result<Backup> {
    if get(tx, id).await?.state != BackupState::InProgress {
        return Err(Error::conflict("the backup is over"));
    }
    match end {
        BackupEnd::Completed(archive) => {
            let sql = tenant_sql!(
                "UPDATE backups SET state = 'completed', finished_at = $3, bytes = $4, row_count = $5, digest = $6 \
                 WHERE tenant_id = $1 AND id = $2"
            );
            let row = values![id, at, archive.bytes, archive.rows, archive.digest.as_bytes()];
            tx.execute(sql, row).await?;
        }
        BackupEnd::Failed(error) => {
            let sql = tenant_sql!(
                "UPDATE backups SET state = 'failed', finished_at = $3, error = $4 WHERE tenant_id = $1 AND id = $2"
            );
            tx.execute(sql, values![id, at, error.code()]).await?;
        }
    }
    get(tx, id).await
}

async fn expire(tx: &mut TenantTx<'_>, keep: u32) -> Result<Vec<Backup>> {
    tx.turn(Turn::Backups).await?;
    let completed = tenant_sql!(
        "SELECT number FROM backups WHERE tenant_id = $1 AND state = 'completed' ORDER BY number DESC LIMIT 1 OFFSET $2"
    );
    let mut from = [0_i64; 2];
    for (from, offset) in from.iter_mut().zip([0, keep.max(1) - 1]) {
        if let Some(mut row) = tx.row(completed, values![offset]).await? {
            *from = row.next()?;
        }
    }
    let [highest, kept] = from;
    let sql = tenant_sql!(
        "UPDATE backups SET expired = 1 WHERE tenant_id = $1 AND expired = 0 \
         AND ((state = 'failed' AND number < $2) OR (state = 'completed' AND number < $3))"
    );
    tx.execute(sql, values![highest, kept]).await?;
    let sql = tenant_sql!(concat!(
        "SELECT ",
        columns!(),
        " FROM backups WHERE tenant_id = $1 AND expired = 1 ORDER BY number"
    ));
    tx.rows(sql, vec![]).await?.into_iter().map(read).collect()
}

#[async_trait]
impl BackupStore for SqlStore {
    async fn begin(&self, _: &OperatorContext, new: NewBackup, all: OperatorEffects) -> Result<Begun> {
        self.write_system(move |mut system| {
            Box::pin(async move {
                let mut tx = system.tenant(new.tenant);
                tx.turn(Turn::Backups).await?;
                effects::exists(tenants::state(&mut tx).await?)?;
                let taken = tenant_sql!("SELECT 1 FROM backups WHERE tenant_id = $1 AND id = $2");
                if tx.exists(taken, values![new.id]).await? {
                    return Err(Error::already_exists("the id of the backup is taken"));
                }
                let abandoned = abandon(&mut tx, new.at).await?;
                let (backup, new) = begin(&mut tx, new).await?;
                if new {
                    effects::guard(&mut tx, &all.tenant).await?;
                    effects::apply(&mut tx, all.tenant).await?;
                    effects::platform(&mut system, &all.platform).await?;
                }
                Ok(Begun { backup, new, abandoned })
            })
        })
        .await
    }

    async fn finish(
        &self,
        _: &OperatorContext,
        tenant: TenantId,
        id: BackupId,
        at: Timestamp,
        end: BackupEnd,
        all: OperatorEffects,
    ) -> Result<Backup> {
        self.write_system(move |mut system| {
            Box::pin(async move {
                let mut tx = system.tenant(tenant);
                tx.turn(Turn::Backups).await?;
                effects::guard(&mut tx, &all.tenant).await?;
                let backup = finish(&mut tx, id, at, end).await?;
                effects::apply(&mut tx, all.tenant).await?;
                effects::platform(&mut system, &all.platform).await?;
                Ok(backup)
            })
        })
        .await
    }

    async fn get(&self, _: &OperatorContext, tenant: TenantId, id: BackupId) -> Result<Backup> {
        self.read(tenant, move |mut tx| Box::pin(async move { get(&mut tx, id).await })).await
    }

    async fn list(&self, _: &OperatorContext, tenant: TenantId, page: PageRequest) -> Result<Page<Backup>> {
        let page = page.checked()?;
        let (started, after) = start(&page);
        let sql = tenant_sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM backups WHERE tenant_id = $1 AND expired = 0 AND (started_at, id) > ($2, $3) \
             ORDER BY started_at, id LIMIT $4"
        ));
        let backups = self.read_rows(tenant, sql, values![started, after, page.limit + 1], read).await?;
        let position = |backup: &Backup| Cursor { created: backup.started_at, id: backup.id.uuid() };
        Ok(Page::from_overfull(backups, page.limit, position))
    }

    async fn expire(&self, _: &OperatorContext, tenant: TenantId, keep: u32) -> Result<Vec<Backup>> {
        self.write(tenant, move |mut tx| Box::pin(async move { expire(&mut tx, keep).await })).await
    }

    async fn forget(
        &self,
        _: &OperatorContext,
        tenant: TenantId,
        ids: &[BackupId],
        all: OperatorEffects,
    ) -> Result<()> {
        let ids = ids.to_vec();
        self.write_system(move |mut system| {
            Box::pin(async move {
                let mut tx = system.tenant(tenant);
                effects::guard(&mut tx, &all.tenant).await?;
                let sql = tenant_sql!("DELETE FROM backups WHERE tenant_id = $1 AND id = $2 AND expired = 1");
                for id in ids {
                    tx.execute(sql, values![id]).await?;
                }
                effects::apply(&mut tx, all.tenant).await?;
                effects::platform(&mut system, &all.platform).await
            })
        })
        .await
    }
}
