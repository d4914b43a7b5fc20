//! Every store contract in memory: `memory://`, and the executable model that SQL stores are compared with.
//!
//! All tables are ordered maps behind one mutex. A change is first planned against the state as it is, then carried out
//! by code that cannot fail, so a refused call leaves nothing behind. Under one mutex the order of commits is the order
//! of the logs: audit records and events get their places when they are written, and readers have nothing to wait for.

mod agents;
mod archives;
mod audit;
mod backups;
mod changes;
mod endpoints;
mod events;
mod idempotency;
mod identity;
mod inbox;
mod integrations;
mod maintenance;
mod runs;
mod secrets;
mod sessions;
mod tenants;
#[cfg(test)]
mod tests;
mod usage;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::audit::AuditRecord;
use crate::backend::{Backend, Stores};
use crate::clock::{Env, Timestamp};
use crate::context::Context;
use crate::effect::{EffectStore, Effects, Guard};
use crate::error::{Error, ErrorKind, Result};
use crate::event::PlatformEvent;
use crate::id::{
    AgentId, ApiKeyId, BackupId, EndpointId, IntegrationId, RunId, SessionId, TenantId, UsageId, UserId,
    WorkerId,
};
use crate::idempotency::{Work, WorkKey};
use crate::identity::{ApiKey, User};
use crate::integration::Integration;
use crate::maintenance::Duty;
use crate::page::{Cursor, Page, PageRequest};
use crate::run::SessionRecord;
use crate::secret::SecretPath;
use crate::tenant::{Tenant, TenantState};
use crate::usage::UsageEvent;
use crate::webhook::WebhookEndpoint;

/// A backend in memory. Cheap to clone: every clone is the same database, which ends with the last of them.
#[derive(Clone)]
pub struct MemoryDb {
    env: Env,
    state: Arc<Mutex<State>>,
    /// Rung whenever a run became ready.
    ready: Arc<Notify>,
    /// Rung whenever a delivery became ready.
    delivered: Arc<Notify>,
    /// Counts changes of metadata.
    changed: Arc<tokio::sync::watch::Sender<u64>>,
}

impl MemoryDb {
    /// An empty database. Its time is the clock of `env`.
    pub fn new(env: Env) -> Self {
        let (ready, delivered) = (Arc::default(), Arc::default());
        Self { env, state: Arc::default(), ready, delivered, changed: Arc::default() }
    }

    /// The state, locked; `closed` after [`Backend::close`].
    fn open(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed { Err(Error::closed("the store is closed")) } else { Ok(state) }
    }
}

impl fmt::Debug for MemoryDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Content stays out of logs.
        f.debug_struct("MemoryDb").field("env", &self.env).finish_non_exhaustive()
    }
}

#[async_trait]
impl Backend for MemoryDb {
    fn stores(&self) -> Stores {
        let db = Arc::new(self.clone());
        Stores {
            tenants: db.clone(),
            users: db.clone(),
            keys: db.clone(),
            agents: db.clone(),
            runs: db.clone(),
            index: db.clone(),
            sessions: db.clone(),
            secrets: db.clone(),
            integrations: db.clone(),
            idempotency: db.clone(),
            endpoints: db.clone(),
            inbox: db.clone(),
            audit: db.clone(),
            usage: db.clone(),
            quota: db.clone(),
            events: db.clone(),
            effects: db.clone(),
            archives: db.clone(),
            backups: db.clone(),
            changes: db.clone(),
            maintenance: db,
        }
    }

    async fn close(&self) -> Result<()> {
        self.open()?.closed = true;
        Ok(())
    }
}

#[async_trait]
impl EffectStore for MemoryDb {
    async fn apply(&self, ctx: &Context, effects: Effects) -> Result<()> {
        self.open()?.change_in(ctx.tenant(), effects, |_| Ok(|_: &mut TenantData| ()))
    }
}

#[derive(Default)]
struct State {
    closed: bool,
    tenants: BTreeMap<TenantId, Tenant>,
    /// What goes when a tenant is deleted.
    data: BTreeMap<TenantId, TenantData>,
    /// What stays.
    logs: BTreeMap<TenantId, audit::Log>,
    platform: audit::Log,
    /// The number of the last event.
    event_numbers: BTreeMap<TenantId, u64>,
    /// When the metadata of a tenant last changed, counted over all tenants.
    epochs: BTreeMap<TenantId, i64>,
    /// Who has which duty, and until when.
    duties: BTreeMap<Duty, (WorkerId, Timestamp)>,
    /// Stands for the data of a tenant that has none.
    nothing: TenantData,
}

#[derive(Default)]
struct TenantData {
    users: BTreeMap<UserId, User>,
    keys: BTreeMap<ApiKeyId, ApiKey>,
    agents: BTreeMap<AgentId, agents::Agent>,
    sessions: BTreeMap<SessionId, SessionRecord>,
    runs: BTreeMap<RunId, runs::Run>,
    /// Runs by agent and idempotency key.
    started: BTreeMap<(AgentId, String), RunId>,
    /// Leases of the runs that are not over.
    leases: BTreeMap<RunId, runs::LeaseRow>,
    budgets: usage::Budgets,
    usage: BTreeMap<UsageId, UsageEvent>,
    /// By number.
    events: BTreeMap<u64, events::Outgoing>,
    backups: BTreeMap<BackupId, backups::Kept>,
    secrets: BTreeMap<SecretPath, secrets::Kept>,
    integrations: BTreeMap<IntegrationId, Integration>,
    /// What was begun under keys of callers.
    work: BTreeMap<WorkKey, Work>,
    endpoints: BTreeMap<EndpointId, WebhookEndpoint>,
    inbox: inbox::Kept,
}

/// Effects that nothing refuses any more.
struct Accepted {
    budgets: Option<usage::Budgets>,
    audit: Vec<Vec<u8>>,
    platform: Vec<Vec<u8>>,
    usage: Vec<UsageEvent>,
    events: Vec<PlatformEvent>,
}

impl State {
    /// The data of a tenant, to read.
    fn of(&self, tenant: TenantId) -> &TenantData {
        self.data.get(&tenant).unwrap_or(&self.nothing)
    }

    /// The data of a tenant, to write.
    fn of_mut(&mut self, tenant: TenantId) -> &mut TenantData {
        self.data.entry(tenant).or_default()
    }

    /// Makes one change of a tenant, all or nothing: the guards, the change's own checks, the effects, in this order.
    ///
    /// `plan` checks against the state as it is, and returns what carries the change out.
    fn change<T, C>(
        &mut self,
        tenant: TenantId,
        effects: Effects,
        platform: &[AuditRecord],
        plan: impl FnOnce(&Self) -> Result<C>,
    ) -> Result<T>
    where
        C: FnOnce(&mut Self) -> T,
    {
        effects.guards.iter().try_for_each(|guard| self.guard(tenant, *guard))?;
        let change = plan(self)?;
        let accepted = self.accept(tenant, effects, platform)?;
        // Nothing fails from here on.
        if let Some(budgets) = accepted.budgets {
            self.of_mut(tenant).budgets = budgets;
        }
        let result = change(self);
        self.logs.entry(tenant).or_default().append(accepted.audit);
        self.platform.append(accepted.platform);
        let data = self.of_mut(tenant);
        for event in accepted.usage {
            data.usage.entry(event.id).or_insert(event);
        }
        self.append_events(tenant, accepted.events);
        Ok(result)
    }

    /// As [`State::change`], for a change of nothing but the tenant's data.
    fn change_in<T, C>(
        &mut self,
        tenant: TenantId,
        effects: Effects,
        plan: impl FnOnce(&TenantData) -> Result<C>,
    ) -> Result<T>
    where
        C: FnOnce(&mut TenantData) -> T,
    {
        self.change(tenant, effects, &[], |state| {
            let change = plan(state.of(tenant))?;
            Ok(move |state: &mut Self| change(state.of_mut(tenant)))
        })
    }

    fn is_active(&self, tenant: TenantId) -> bool {
        self.tenants.get(&tenant).is_some_and(|tenant| tenant.state == TenantState::Active)
    }

    fn guard(&self, tenant: TenantId, guard: Guard) -> Result<()> {
        match guard {
            Guard::TenantActive => match self.tenants.get(&tenant).map(|tenant| tenant.state) {
                Some(TenantState::Active) => Ok(()),
                Some(TenantState::Suspended) => {
                    Err(Error::new(ErrorKind::TenantSuspended, "the tenant is suspended"))
                }
                Some(TenantState::Deleted) | None => Err(Error::not_found("no such tenant")),
            },
            Guard::TenantExists => match self.tenants.get(&tenant).map(|tenant| tenant.state) {
                Some(TenantState::Active | TenantState::Suspended) => Ok(()),
                Some(TenantState::Deleted) | None => Err(Error::not_found("no such tenant")),
            },
            Guard::AdminRemains(user) => self.of(tenant).check_admin_remains(user),
        }
    }

    fn accept(&self, tenant: TenantId, effects: Effects, platform: &[AuditRecord]) -> Result<Accepted> {
        let Effects { guards: _, quota, audit, usage, events } = effects;
        let budgets = if quota.is_empty() {
            None
        } else {
            let mut budgets = self.of(tenant).budgets.clone();
            quota.iter().try_for_each(|op| budgets.apply(op))?;
            Some(budgets)
        };
        let bytes =
            |records: &[AuditRecord]| records.iter().map(AuditRecord::to_bytes).collect::<Result<Vec<_>>>();
        Ok(Accepted { budgets, audit: bytes(&audit)?, platform: bytes(platform)?, usage, events })
    }
}

/// A page of `items`, ordered by `position`.
fn page<'a, T: Clone + 'a>(
    items: impl Iterator<Item = &'a T>,
    request: PageRequest,
    position: impl Fn(&T) -> Cursor,
) -> Result<Page<T>> {
    let request = request.checked()?;
    let mut found: Vec<&T> =
        items.filter(|item| request.after.is_none_or(|after| position(item) > after)).collect();
    found.sort_unstable_by_key(|item| position(item));
    let overfull = found.into_iter().take(request.limit as usize + 1).cloned().collect();
    Ok(Page::from_overfull(overfull, request.limit, position))
}

/// What is taken of many tenants' queues, each in its order: one of each before a second of any, beginning behind the tenant
/// that was served last; of each at most `share`.
fn in_turn<T: Ord>(
    queues: impl Iterator<Item = (TenantId, Vec<T>)>,
    after: Option<TenantId>,
    share: usize,
    limit: usize,
) -> impl Iterator<Item = (TenantId, T)> {
    let mut turns = Vec::new();
    for (tenant, mut queue) in queues {
        queue.sort_unstable();
        // Up to the one that was served last, tenants come at the end of each round.
        let served = after.is_some_and(|after| tenant <= after);
        let items = queue.into_iter().take(share).enumerate();
        turns.extend(items.map(|(round, item)| (round, served, tenant, item)));
    }
    turns.sort_unstable();
    turns.into_iter().take(limit).map(|(.., tenant, item)| (tenant, item))
}

/// What of `items` comes after the first `skip`, at most `limit` of it, each with its place from 0.
fn slice<T>(items: &[T], skip: u64, limit: u32) -> impl Iterator<Item = (u64, &T)> {
    let start = usize::try_from(skip).unwrap_or(usize::MAX);
    (skip..).zip(items.iter().skip(start).take(limit as usize))
}
