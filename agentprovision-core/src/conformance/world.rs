//! What every trial stands on: the stores, who acts, and the usual first steps.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::Subject;
use super::check::{Checked, Failure, Outcome, equal};
use crate::agent::AgentRecord;
use crate::audit::AuditRecord;
use crate::authz::PermissionSet;
use crate::backend::{Backend, Stores};
use crate::clock::{Env, ManualClock, Timestamp};
use crate::context::{Context, ContextIssuer, Identity, OperatorContext, Principal, RequestInfo};
use crate::effect::{Effects, Guard, OperatorEffects, QuotaOp};
use crate::event::PlatformEvent;
use crate::id::TenantId;
use crate::identity::User;
use crate::integration::Integration;
use crate::page::{Cursor, Page, PageRequest};
use crate::run::{
    ClaimRequest, Created, JournalBatch, Lease, NewRun, Release, RunPatch, RunStatus, SessionRecord,
};
use crate::tenant::{Tenant, TenantState};
use crate::usage::{BudgetKey, Dimension, Meter, UsageEvent};
use crate::webhook::WebhookEndpoint;

pub(super) struct World {
    pub(super) stores: Stores,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) env: Env,
    pub(super) clock: ManualClock,
    pub(super) op: OperatorContext,
    issuer: ContextIssuer,
    marks: AtomicI64,
    // Last, so that it goes after the backend.
    _keep: Option<Box<dyn Any + Send + Sync>>,
}

/// Text that stores, indexes and encodings get wrong. Without U+0000, which is refused before a store sees it.
pub(super) fn naughty() -> Vec<String> {
    let mut texts: Vec<String> = [
        "e\u{301}\u{323} is not \u{e9}\u{323}",
        "\u{e9}",
        "e\u{301}",
        "مرحبا \u{202e}desrever\u{202c} שלום",
        "👩‍👩‍👧‍👦 🏳️‍🌈 \u{1f9d1}\u{1f3fd}\u{200d}\u{1f680}",
        "Robert'); DROP TABLE users;--",
        "\"quoted\" `ticked` \\' \\\" $1 ?1 :a @b",
        "100%_of_%",
        "_______",
        " white space around \t",
        "two\r\nlines",
        "NULL",
        "0012",
        "1e400",
        "\u{feff}marked",
        "I İ ı ſ ß SS ﬁ",
        "i i̇ ı s ss fi",
        "\u{1}\u{7f}\u{85}\u{2028}\u{fffd}\u{10ffff}",
    ]
    .map(str::to_owned)
    .into();
    texts.push("é".repeat(255));
    texts.push("𝒳".repeat(255));
    texts
}

impl World {
    pub(super) fn new(subject: Subject) -> Checked<Self> {
        let Subject { backend, env, clock, keep } = subject;
        let issuer = ContextIssuer::new(env.clone());
        let op = issuer.operator("conformance", "trial")?;
        let stores = backend.stores();
        Ok(Self { stores, backend, env, clock, op, issuer, marks: AtomicI64::new(1), _keep: keep })
    }

    /// Moves time on by a millisecond.
    pub(super) fn tick(&self) {
        self.clock.advance(Duration::from_millis(1));
    }

    /// A time from now.
    pub(super) fn after(&self, seconds: u64) -> Timestamp {
        self.env.now().after(Duration::from_secs(seconds))
    }

    /// Moves time on.
    pub(super) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// A context of some user of a tenant, whether the tenant is there or not.
    pub(super) fn ctx(&self, tenant: TenantId) -> Context {
        let principal = Principal::User(self.env.id());
        let identity = Identity { tenant, principal, scopes: PermissionSet::ALL, expires: None, key: None };
        self.issuer.context(&identity, &PermissionSet::ALL, RequestInfo::default())
    }

    /// Adds an active tenant.
    pub(super) async fn tenant(&self) -> Checked<Context> {
        let tenant = self.new_tenant("tenant");
        let id = tenant.id;
        self.stores.tenants.create(&self.op, tenant, OperatorEffects::default()).await?;
        Ok(self.ctx(id))
    }

    /// Moves a tenant to another state.
    pub(super) async fn set_state(&self, tenant: TenantId, state: TenantState) -> Outcome {
        let current = self.stores.tenants.get(&self.op, tenant).await?;
        let revision = current.revision;
        let next = Tenant { state, updated_at: self.env.now(), ..current };
        Ok(self.stores.tenants.replace(&self.op, next, revision, OperatorEffects::default()).await?)
    }

    /// Adds a user.
    pub(super) async fn user(&self, ctx: &Context) -> Checked<User> {
        let user = self.new_user(&format!("{}@trial.example", self.mark()));
        self.stores.users.insert(ctx, user.clone(), Effects::none()).await?;
        Ok(user)
    }

    /// Adds an agent.
    pub(super) async fn agent(&self, ctx: &Context) -> Checked<AgentRecord> {
        let (agent, version) = self.new_agent(&format!("agent {}", self.mark()));
        self.stores.agents.insert(ctx, agent.clone(), version, Effects::none()).await?;
        Ok(agent)
    }

    /// Adds an integration.
    pub(super) async fn integration(&self, ctx: &Context) -> Checked<Integration> {
        let integration = self.new_integration(&format!("integration {}", self.mark()));
        self.stores.integrations.insert(ctx, integration.clone(), Effects::none()).await?;
        Ok(integration)
    }

    /// Adds an endpoint.
    pub(super) async fn endpoint(&self, ctx: &Context) -> Checked<WebhookEndpoint> {
        let endpoint = self.new_endpoint(&format!("endpoint {}", self.mark()));
        self.stores.endpoints.insert(ctx, endpoint.clone(), Effects::none()).await?;
        Ok(endpoint)
    }

    /// Adds a session.
    pub(super) async fn session(&self, ctx: &Context, agent: &AgentRecord) -> Checked<SessionRecord> {
        let session = self.new_session(ctx, agent);
        self.stores.sessions.open(ctx, session.clone(), Effects::none()).await?;
        Ok(session)
    }

    /// Adds a run.
    pub(super) async fn start(&self, ctx: &Context, run: NewRun) -> Checked<Lease> {
        match self.stores.runs.create(ctx, run, Effects::none()).await? {
            Created::New(lease) => Ok(lease),
            Created::Existing(id) => Err(Failure::new(format_args!("{id} was there before"))),
        }
    }

    /// Adds a run of an agent, held for a minute.
    pub(super) async fn run(&self, ctx: &Context, agent: &AgentRecord) -> Checked<Lease> {
        self.start(ctx, self.new_run(ctx, agent)).await
    }

    /// Gives a run up.
    pub(super) async fn release(&self, lease: &Lease, release: Release) -> Outcome {
        let patch = RunPatch { release: Some(release), ..RunPatch::default() };
        let batch = JournalBatch { patch, ..JournalBatch::default() };
        self.stores.runs.commit(&lease.fence, batch, Effects::none()).await?;
        Ok(())
    }

    /// Ends a run.
    pub(super) async fn finish(&self, lease: &Lease, status: RunStatus) -> Outcome {
        let patch = RunPatch { status: Some(status), ..RunPatch::default() };
        let batch = JournalBatch { patch, ..JournalBatch::default() };
        self.stores.runs.commit(&lease.fence, batch, Effects::none()).await?;
        Ok(())
    }

    /// Claims at most `limit` runs for a minute.
    pub(super) async fn claim(&self, limit: usize) -> Checked<Vec<Lease>> {
        Ok(self.stores.runs.claim(self.claims(limit)).await?)
    }

    /// A request for at most `limit` runs for a minute.
    pub(super) fn claims(&self, limit: usize) -> ClaimRequest {
        ClaimRequest::new(self.env.id(), self.after(60), limit, u32::MAX)
    }

    /// The budget that [`World::effects`] sets.
    pub(super) fn marked() -> BudgetKey {
        BudgetKey::new("marked", Dimension::Steps)
    }

    /// The budget that [`World::overdrawn`] finds no room in.
    pub(super) fn overdrawn_budget() -> BudgetKey {
        BudgetKey::new("overdrawn", Dimension::Cost)
    }

    /// A number that was not used before in this trial.
    pub(super) fn mark(&self) -> i64 {
        self.marks.fetch_add(1, Ordering::Relaxed)
    }

    /// One effect of each kind. The budget's limit is another one each time.
    pub(super) fn effects(&self, ctx: &Context) -> Effects {
        Effects {
            guards: vec![Guard::TenantActive],
            quota: vec![QuotaOp::Define(Self::marked(), Some(self.mark()))],
            audit: vec![self.record(ctx)],
            usage: vec![self.usage(Meter::ComputeMs, 1)],
            events: vec![PlatformEvent::of(ctx, &self.env, "trial.made", self.mark(), json!({"n": 1}))],
        }
    }

    /// Effects that are refused with `budget_exceeded`, by the last of their quota operations.
    pub(super) fn overdrawn(&self, ctx: &Context) -> Effects {
        let mut effects = self.effects(ctx);
        let demand = |amount| vec![(Self::overdrawn_budget(), amount)];
        effects.quota.extend([
            QuotaOp::Define(Self::overdrawn_budget(), Some(10)),
            QuotaOp::Reserve(self.env.id(), demand(10)),
            QuotaOp::Reserve(self.env.id(), demand(1)),
        ]);
        effects
    }

    /// The same effects as an operator's, with a record for the platform log.
    pub(super) fn above(&self, tenant: TenantId, effects: Effects) -> OperatorEffects {
        let id = self.mark();
        let record = AuditRecord::of_operator(&self.op, &self.env, Some(tenant), "trial.made", "trials", id);
        OperatorEffects { tenant: effects, platform: vec![record] }
    }

    /// An audit record.
    pub(super) fn record(&self, ctx: &Context) -> AuditRecord {
        AuditRecord::of(ctx, &self.env, "trial.made", "trials", self.mark())
    }

    /// A usage event.
    pub(super) fn usage(&self, meter: Meter, quantity: u64) -> UsageEvent {
        UsageEvent {
            id: self.env.id(),
            meter,
            quantity,
            at: self.env.now(),
            user: None,
            agent: None,
            run: None,
            model: None,
            cost: None,
        }
    }
}

/// All items of a list, read in pages of `limit`.
pub(super) async fn pages<T, F>(limit: u32, mut read: impl FnMut(PageRequest) -> F) -> Checked<Vec<T>>
where
    F: Future<Output = crate::Result<Page<T>>>,
{
    let mut all = Vec::new();
    let mut request = PageRequest::limit(limit);
    loop {
        let Page { items, next } = read(request.clone()).await?;
        let full = u32::try_from(items.len()).is_ok_and(|count| count == limit);
        if items.len() > limit as usize || (next.is_some() && !full) {
            return Err(Failure::new(format_args!(
                "a page of {limit} has {} items, next {next:?}",
                items.len()
            )));
        }
        if items.is_empty() && !all.is_empty() {
            return Err(Failure::new("the page before an empty one says that there is more"));
        }
        all.extend(items);
        match next {
            Some(cursor) if request.after.is_none_or(|before| before < cursor) => {
                request = PageRequest::limit(limit).after(cursor);
            }
            Some(cursor) => return Err(Failure::new(format_args!("the cursor {cursor} does not move on"))),
            None => return Ok(all),
        }
    }
}

/// Checks that a list has these items in this order, in pages of every small size, and the rules of page requests.
pub(super) async fn check_pages<T, F, I>(
    what: &str,
    expected: &[I],
    id: impl Fn(&T) -> I,
    position: impl Fn(&T) -> Cursor,
    mut read: impl FnMut(PageRequest) -> F,
) -> Outcome
where
    F: Future<Output = crate::Result<Page<T>>>,
    I: PartialEq + std::fmt::Debug + Clone,
{
    let expected = expected.to_vec();
    for limit in [1, 2, 3, 100] {
        let items = pages(limit, &mut read).await?;
        equal(&format!("{what} in pages of {limit}"), &items.iter().map(&id).collect(), &expected)?;
        equal(&format!("{what}: sorted"), &items.is_sorted_by_key(&position), &true)?;
    }
    for limit in [0, 101, u32::MAX] {
        let result = read(PageRequest::limit(limit)).await;
        super::check::refused(&format!("{what}: a page of {limit}"), result, crate::ErrorKind::InvalidInput)?;
    }
    // A cursor is a position, not an item: nothing has to be there.
    let before = Cursor { created: Timestamp::from_micros(0), id: uuid::Uuid::nil() };
    let all = read(PageRequest::limit(100).after(before)).await?;
    equal(&format!("{what} after the beginning of time"), &all.items.iter().map(&id).collect(), &expected)?;
    let end = Cursor { created: Timestamp::from_micros(i64::MAX), id: uuid::Uuid::max() };
    let none = read(PageRequest::limit(100).after(end)).await?;
    equal(&format!("{what} after the end of time"), &none.items.len(), &0)
}
