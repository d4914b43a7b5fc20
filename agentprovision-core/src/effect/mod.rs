//! What commits together with a change: [`Effects`].
//!
//! A service describes audit records, usage, events and quota operations as data; the backend applies them inside the
//! transaction of the change, in the order guards, quota, audit, usage, events. The first refusal rolls back all.

mod writer;

pub use writer::{EffectWriter, Room};

use std::fmt;

use async_trait::async_trait;

use crate::audit::AuditRecord;
use crate::context::Context;
use crate::error::Result;
use crate::event::PlatformEvent;
use crate::id::{ReservationId, UserId};
use crate::usage::{BudgetKey, Demand, UsageEvent};

/// A condition that is checked inside the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guard {
    /// The tenant is active; otherwise `tenant_suspended`, or `not_found` when it is deleted.
    TenantActive,
    /// The tenant is there, active or suspended; otherwise `not_found`. For counts of work that was done: a suspension
    /// does not undo them, and a deletion leaves nothing they could be kept with.
    TenantExists,
    /// The user may stop being an admin: either the user is no active `tenant_admin` at the moment, or another user of
    /// the tenant is one; otherwise `conflict`. So a tenant never loses its last admin, however many changes race.
    AdminRemains(UserId),
}

/// A change of budgets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuotaOp {
    /// Sets or removes a limit, as [`QuotaGate::define`](crate::usage::QuotaGate::define).
    Define(BudgetKey, Option<i64>),
    /// Holds room, all or nothing.
    Reserve(ReservationId, Demand),
    /// Replaces what is held by what was used; harmless when repeated.
    Settle(ReservationId, Demand),
}

/// What the backend applies in the transaction of a change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Conditions, checked first.
    pub guards: Vec<Guard>,
    /// Budget changes.
    pub quota: Vec<QuotaOp>,
    /// Records for the tenant's audit log.
    pub audit: Vec<AuditRecord>,
    /// Usage.
    pub usage: Vec<UsageEvent>,
    /// Events, delivered from the outbox at least once.
    pub events: Vec<PlatformEvent>,
}

impl Effects {
    /// Nothing but the change.
    pub fn none() -> Self {
        Self::default()
    }

    /// The usual effects of a change: the tenant must be active, one audit record.
    pub fn audited(record: AuditRecord) -> Self {
        Self { guards: vec![Guard::TenantActive], audit: vec![record], ..Self::default() }
    }

    /// The same effects with an event.
    #[must_use]
    pub fn event(mut self, event: PlatformEvent) -> Self {
        self.events.push(event);
        self
    }

    /// The same effects with a budget change.
    #[must_use]
    pub fn quota(mut self, op: QuotaOp) -> Self {
        self.quota.push(op);
        self
    }

    /// Whether there is nothing to apply.
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

/// The effects of an operator's change: those within the tenant, and records for the platform log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OperatorEffects {
    /// Effects within the tenant the change is about.
    pub tenant: Effects,
    /// Records for the platform log.
    pub platform: Vec<AuditRecord>,
}

/// Commits effects that belong to no change of a record: what was used, where using it stored nothing else.
#[async_trait]
pub trait EffectStore: fmt::Debug + Send + Sync + 'static {
    /// Applies effects to the tenant of the context, all of them or none, in their order.
    ///
    /// # Errors
    /// What a guard or a budget refuses.
    async fn apply(&self, ctx: &Context, effects: Effects) -> Result<()>;
}
