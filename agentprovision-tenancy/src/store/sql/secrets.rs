//! Secrets, sealed.

use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::effect::{Effects, Guard};
use agentprovision_core::id::WorkerId;
use agentprovision_core::secret::{LeaseState, Leased, Sealed, SealedStore, SecretLease, SecretPath};
use agentprovision_core::{Error, Result, Timestamp};
use async_trait::async_trait;

use super::SqlStore;
use super::conn::TenantTx;
use super::value::{Row, tenant_sql, timed_sql, values};

fn missing() -> Error {
    Error::not_found("no such secret")
}

fn changed() -> Error {
    Error::conflict("the secret was changed in the meantime")
}

fn lease_state(row: &mut Row) -> Result<LeaseState> {
    let (holder, epoch, until): (Option<WorkerId>, _, Option<Timestamp>) =
        (row.next()?, row.next()?, row.next()?);
    Ok(LeaseState { held: holder.zip(until), epoch })
}

async fn put(
    tx: &mut TenantTx<'_>,
    path: SecretPath,
    value: Sealed,
    lease: Option<SecretLease>,
) -> Result<()> {
    let sql = tenant_sql!(lock
        "SELECT version, lease_holder, lease_epoch, lease_until FROM secrets WHERE tenant_id = $1 AND path = $2"
    );
    let found = tx.row(sql, values![path.as_str()]).await?;
    let new = found.is_none();
    let (version, state) = match found {
        Some(mut row) => (row.next()?, lease_state(&mut row)?),
        None => (0_u64, LeaseState::default()),
    };
    let state = state.used(lease)?;
    let Sealed { bytes, version: next } = value;
    if next.checked_sub(1) != Some(version) {
        return Err(changed());
    }
    if new {
        let sql = tenant_sql!(
            "INSERT INTO secrets (tenant_id, path, sealed, version, lease_epoch) VALUES ($1, $2, $3, $4, 0) \
             ON CONFLICT (tenant_id, path) DO NOTHING"
        );
        return match tx.execute(sql, values![path.as_str(), bytes, next]).await? {
            0 => Err(changed()),
            _ => Ok(()),
        };
    }
    let sql = tenant_sql!(
        "UPDATE secrets SET sealed = $3, version = $4, lease_holder = $5, lease_until = $6 WHERE tenant_id = $1 AND path = $2"
    );
    let (holder, until) = state.held.unzip();
    tx.execute(sql, values![path.as_str(), bytes, next, holder, until]).await.map(drop)
}

async fn lease(tx: &mut TenantTx<'_>, path: SecretPath, holder: WorkerId, term: Duration) -> Result<Leased> {
    let sql = timed_sql!("$3":
        "SELECT lease_holder, lease_epoch, lease_until, " now " FROM secrets WHERE tenant_id = $1 AND path = $2" locked
    );
    let mut row = tx.row(sql, values![path.as_str(), tx.env.now()]).await?.ok_or_else(missing)?;
    let before = lease_state(&mut row)?;
    let (after, leased) = before.ask(holder, term, row.next()?);
    if after != before {
        let sql = tenant_sql!(
            "UPDATE secrets SET lease_holder = $3, lease_epoch = $4, lease_until = $5 WHERE tenant_id = $1 AND path = $2"
        );
        let (holder, until) = after.held.unzip();
        tx.execute(sql, values![path.as_str(), holder, after.epoch, until]).await?;
    }
    Ok(leased)
}

fn guarded(guard: Guard) -> Effects {
    Effects { guards: vec![guard], ..Effects::none() }
}

#[async_trait]
impl SealedStore for SqlStore {
    async fn get(&self, ctx: &Context, path: &SecretPath) -> Result<Sealed> {
        let sql = tenant_sql!("SELECT sealed, version FROM secrets WHERE tenant_id = $1 AND path = $2");
        let read = |mut row: Row| Ok(Sealed { bytes: row.next()?, version: row.next()? });
        self.read_rows(ctx.tenant(), sql, values![path.as_str()], read).await?.pop().ok_or_else(missing)
    }

    async fn put(
        &self,
        ctx: &Context,
        path: &SecretPath,
        value: Sealed,
        lease: Option<SecretLease>,
    ) -> Result<()> {
        let guard = if lease.is_some() { Guard::TenantExists } else { Guard::TenantActive };
        let path = path.clone();
        self.change(ctx.tenant(), guarded(guard), move |tx| Box::pin(put(tx, path, value, lease))).await
    }

    async fn delete(&self, ctx: &Context, path: &SecretPath) -> Result<()> {
        let path = path.clone();
        self.change(ctx.tenant(), guarded(Guard::TenantActive), move |tx| {
            Box::pin(async move {
                let sql = tenant_sql!("DELETE FROM secrets WHERE tenant_id = $1 AND path = $2");
                tx.execute(sql, values![path.as_str()]).await.map(drop)
            })
        })
        .await
    }

    async fn lease(
        &self,
        ctx: &Context,
        path: &SecretPath,
        holder: WorkerId,
        term: Duration,
    ) -> Result<Leased> {
        let path = path.clone();
        self.change(ctx.tenant(), guarded(Guard::TenantActive), move |tx| {
            Box::pin(lease(tx, path, holder, term))
        })
        .await
    }
}
