//! What commits together with a change.

use agentprovision_core::audit::AuditRecord;
use agentprovision_core::context::Context;
use agentprovision_core::effect::{EffectStore, Effects, Guard};
use agentprovision_core::event::PlatformEvent;
use agentprovision_core::tenant::TenantState;
use agentprovision_core::usage::UsageEvent;
use agentprovision_core::{Error, ErrorKind, Result, canonical};
use async_trait::async_trait;

use super::SqlStore;
use super::conn::{SystemTx, TenantTx};
use super::multi::{AUDIT_PENDING, OUTBOX, USAGE};
use super::value::{Value, values};
use super::{identity, quota, tenants};

/// What [`Guard::TenantActive`] says about a state; `None` for a tenant that is not there.
pub(super) fn active(state: Option<TenantState>) -> Result<()> {
    match state {
        Some(TenantState::Active) => Ok(()),
        Some(TenantState::Suspended) => {
            Err(Error::new(ErrorKind::TenantSuspended, "the tenant is suspended"))
        }
        Some(TenantState::Deleted) | None => Err(tenants::missing()),
    }
}

/// What [`Guard::TenantExists`] says about a state.
pub(super) fn exists(state: Option<TenantState>) -> Result<()> {
    match state {
        Some(TenantState::Active | TenantState::Suspended) => Ok(()),
        Some(TenantState::Deleted) | None => Err(tenants::missing()),
    }
}

#[async_trait]
impl EffectStore for SqlStore {
    async fn apply(&self, ctx: &Context, effects: Effects) -> Result<()> {
        self.change(ctx.tenant(), effects, |_| Box::pin(async { Ok(()) })).await
    }
}

/// Checks the conditions; comes before the change.
pub(super) async fn guard(tx: &mut TenantTx<'_>, effects: &Effects) -> Result<()> {
    for guard in &effects.guards {
        match guard {
            Guard::TenantActive => active(tenants::state_beside(tx).await?)?,
            Guard::TenantExists => exists(tenants::state_beside(tx).await?)?,
            Guard::AdminRemains(user) => identity::check_admin_remains(tx, *user).await?,
            other => return Err(unknown(other)),
        }
    }
    Ok(())
}

/// A condition this store was not written for must never count as met.
pub(super) fn unknown(guard: &Guard) -> Error {
    Error::unsupported(format!("this store does not know the condition `{guard:?}`"))
}

/// Applies what follows the change.
pub(super) async fn apply(tx: &mut TenantTx<'_>, effects: Effects) -> Result<()> {
    for op in effects.quota {
        quota::apply(tx, op).await?;
    }
    records(tx, &effects.audit).await?;
    let mut usage = Vec::new();
    for event in effects.usage {
        usage.extend(usage_row(event));
    }
    tx.multi(&USAGE, usage).await?;
    let mut outbox = Vec::new();
    for event in &effects.events {
        outbox.push(event_row(event)?);
    }
    tx.multi(&OUTBOX, outbox).await?;
    Ok(())
}

/// Appends records to what is pending for a log.
pub(super) async fn records(log: &mut TenantTx<'_>, records: &[AuditRecord]) -> Result<()> {
    let mut rows = Vec::new();
    for record in records {
        rows.push(Value::Bytes(record.to_bytes()?));
    }
    log.multi(&AUDIT_PENDING, rows).await.map(drop)
}

/// Appends records to the platform log.
pub(super) async fn platform(tx: &mut SystemTx<'_>, platform: &[AuditRecord]) -> Result<()> {
    records(&mut tx.log(super::audit::PLATFORM_LOG), platform).await
}

/// The values of a usage event behind its tenant.
pub(super) fn usage_row(event: UsageEvent) -> Vec<Value> {
    values![
        event.id,
        event.meter.name(),
        event.quantity,
        event.at,
        event.user,
        event.agent,
        event.run,
        event.model,
        event.cost.map(|cost| cost.nanos()),
    ]
}

/// The bytes of an event.
pub(super) fn event_row(event: &PlatformEvent) -> Result<Value> {
    canonical::to_bytes(event).map(Value::Bytes)
}
