//! What can be seen of a tenant: two of these tell whether a call left something behind.

use super::check::{Checked, Outcome, equal, refused};
use super::world::{World, pages};
use crate::agent::{AgentQuery, AgentRecord};
use crate::context::Context;
use crate::effect::{Effects, OperatorEffects};
use crate::error::{Error, ErrorKind, Result};
use crate::event::NumberedEvent;
use crate::identity::{ApiKey, User};
use crate::integration::{Integration, IntegrationQuery};
use crate::page::PageRequest;
use crate::run::{JournalRow, RunQuery, RunRecord, SessionRecord};
use crate::tenant::Tenant;
use crate::usage::{BudgetState, UsageEvent};
use crate::webhook::{Delivery, WebhookEndpoint};

pub(super) struct Snapshot {
    /// All tenants; absent where others than this one change.
    tenants: Option<Vec<Tenant>>,
    users: Vec<User>,
    keys: Vec<ApiKey>,
    agents: Vec<AgentRecord>,
    sessions: Vec<SessionRecord>,
    integrations: Vec<Integration>,
    endpoints: Vec<(WebhookEndpoint, Vec<Delivery>)>,
    runs: Vec<(RunRecord, Vec<JournalRow>)>,
    audit: Vec<Vec<u8>>,
    platform: Vec<Vec<u8>>,
    usage: Vec<UsageEvent>,
    events: Vec<NumberedEvent>,
    marked: Option<BudgetState>,
    overdrawn: Option<BudgetState>,
}

impl Snapshot {
    /// The same, of this tenant's data only.
    pub(super) fn without_tenants(self) -> Self {
        Self { tenants: None, ..self }
    }
}

impl World {
    pub(super) async fn snapshot(&self, ctx: &Context) -> Checked<Snapshot> {
        let stores = &self.stores;
        let mut runs = Vec::new();
        let query = |page: PageRequest| stores.index.list(ctx, RunQuery { page, ..RunQuery::default() });
        for run in pages(100, query).await? {
            let rows = stores.index.journal(ctx, run.id, 0, 1000).await?;
            runs.push((run, rows));
        }
        let mut endpoints = Vec::new();
        for endpoint in pages(100, |page| stores.endpoints.list(ctx, page)).await? {
            let deliveries = pages(100, |page| stores.inbox.list(ctx, endpoint.id, page)).await?;
            endpoints.push((endpoint, deliveries));
        }
        let bytes =
            |entries: Vec<crate::audit::AuditEntry>| entries.into_iter().map(|entry| entry.bytes).collect();
        Ok(Snapshot {
            tenants: Some(pages(100, |page| stores.tenants.list(&self.op, page)).await?),
            users: pages(100, |page| stores.users.list(ctx, page)).await?,
            keys: pages(100, |page| stores.keys.list(ctx, page)).await?,
            agents: pages(100, |page| stores.agents.list(ctx, AgentQuery::page(page))).await?,
            sessions: pages(100, |page| stores.sessions.list(ctx, page)).await?,
            integrations: pages(100, |page| stores.integrations.list(ctx, IntegrationQuery::page(page)))
                .await?,
            endpoints,
            runs,
            audit: bytes(stores.audit.entries(ctx, 0, 1000).await?),
            platform: bytes(stores.audit.platform_entries(&self.op, 0, 1000).await?),
            usage: stores.usage.events(ctx, None, 1000).await?,
            events: stores.events.read(ctx, 0, 1000).await?,
            marked: stores.quota.state(ctx, &Self::marked()).await?,
            overdrawn: stores.quota.state(ctx, &Self::overdrawn_budget()).await?,
        })
    }

    /// Checks that a refused call has the right kind and left nothing behind.
    pub(super) async fn refuses<T>(
        &self,
        ctx: &Context,
        what: &str,
        kind: ErrorKind,
        call: impl Future<Output = Result<T>>,
    ) -> Checked<Error> {
        let before = self.snapshot(ctx).await?;
        let error = refused(what, call.await, kind)?;
        self.unchanged(ctx, what, &before).await?;
        Ok(error)
    }

    /// Checks that everything is as it was.
    pub(super) async fn unchanged(&self, ctx: &Context, what: &str, before: &Snapshot) -> Outcome {
        let after = self.snapshot(ctx).await?;
        let of = |part: &str| format!("{what}: the tenant's {part} must not change");
        equal(&of("users"), &after.users, &before.users)?;
        equal(&of("API keys"), &after.keys, &before.keys)?;
        equal(&of("agents"), &after.agents, &before.agents)?;
        equal(&of("sessions"), &after.sessions, &before.sessions)?;
        equal(&of("integrations"), &after.integrations, &before.integrations)?;
        equal(&of("endpoints and deliveries"), &after.endpoints, &before.endpoints)?;
        equal(&of("runs"), &after.runs, &before.runs)?;
        if before.tenants.is_some() {
            equal(&of("row"), &after.tenants, &before.tenants)?;
        }
        self.no_effects(what, before, &after)
    }

    fn no_effects(&self, what: &str, before: &Snapshot, after: &Snapshot) -> Outcome {
        let of = |part: &str| format!("{what}: {part} must not change");
        equal(&of("the audit log"), &after.audit, &before.audit)?;
        equal(&of("the platform log"), &after.platform, &before.platform)?;
        equal(&of("usage"), &after.usage, &before.usage)?;
        equal(&of("the events"), &after.events, &before.events)?;
        equal(&of("a budget"), &after.marked, &before.marked)?;
        equal(&of("a budget"), &after.overdrawn, &before.overdrawn)
    }

    /// Checks that a call applied [`World::effects`] once, with what else it did.
    pub(super) async fn applies<T>(
        &self,
        ctx: &Context,
        what: &str,
        effects: &Effects,
        call: impl Future<Output = Result<T>>,
    ) -> Checked<T> {
        let effects = OperatorEffects { tenant: effects.clone(), platform: Vec::new() };
        self.applies_above(ctx, what, &effects, call).await
    }

    /// As [`World::applies`], for the effects of an operator's call.
    pub(super) async fn applies_above<T>(
        &self,
        ctx: &Context,
        what: &str,
        effects: &OperatorEffects,
        call: impl Future<Output = Result<T>>,
    ) -> Checked<T> {
        let mut expected = self.snapshot(ctx).await?;
        let value = call.await.map_err(|error| super::Failure::of(what, &error))?;
        let after = self.snapshot(ctx).await?;
        for record in &effects.tenant.audit {
            expected.audit.push(record.to_bytes()?);
        }
        for record in &effects.platform {
            expected.platform.push(record.to_bytes()?);
        }
        expected.usage.extend(effects.tenant.usage.iter().cloned());
        for event in &effects.tenant.events {
            let seq = expected.events.len() as u64 + 1;
            expected.events.push(NumberedEvent { seq, event: event.clone() });
        }
        for op in &effects.tenant.quota {
            if let crate::effect::QuotaOp::Define(_, Some(cap)) = op {
                expected.marked = Some(BudgetState { cap: *cap, ..BudgetState::default() });
            }
        }
        self.no_effects(&format!("{what}, beside its effects"), &expected, &after)?;
        Ok(value)
    }
}
