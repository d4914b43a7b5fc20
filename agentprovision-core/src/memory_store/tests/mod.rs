//! What is easy to get wrong: refusals that leave something behind, leases, budgets, deletion.

mod budgets;
mod runs;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::{Map, json};

use super::MemoryDb;
use crate::agent::{AgentRecord, AgentState, AgentVersion, VersionHash};
use crate::audit::merkle::{verify_consistency, verify_inclusion};
use crate::audit::{AuditRecord, AuditResult};
use crate::authz::PermissionSet;
use crate::backend::{Backend, Stores};
use crate::clock::{Env, ManualClock, SeededEntropy, Timestamp};
use crate::context::{Context, ContextIssuer, Identity, OperatorContext, Principal};
use crate::effect::{Effects, Guard, OperatorEffects, QuotaOp};
use crate::error::{ErrorKind, Result};
use crate::event::PlatformEvent;
use crate::id::{RunId, SessionId, TenantId};
use crate::identity::{Role, User};
use crate::page::PageRequest;
use crate::run::{
    ChainHash, ClaimRequest, Created, Fence, JournalBatch, JournalRow, Lease, NewRun, Payload, Release,
    RunPatch, RunRecord, RunStatus, RunTotals, SessionRecord, Signal, payload_hash,
};
use crate::tenant::{Tenant, TenantState};
use crate::usage::{BudgetKey, BudgetState, Dimension, Meter, Reservation, UsageEvent};

const LEASE: Duration = Duration::from_secs(30);

/// An empty tenant with one agent.
struct World {
    db: MemoryDb,
    stores: Stores,
    clock: ManualClock,
    env: Env,
    ctx: Context,
    op: OperatorContext,
    agent: AgentRecord,
}

impl World {
    async fn new() -> Self {
        let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
        let env = Env::new(Arc::new(clock.clone()), Arc::new(SeededEntropy::new(7)));
        let issuer = ContextIssuer::new(env.clone());
        let op = issuer.operator("root", "test").unwrap();
        let db = MemoryDb::new(env.clone());
        let stores = db.stores();
        let tenant = Tenant {
            id: env.id(),
            name: "Acme".into(),
            domain: Some("acme.test".into()),
            state: TenantState::Active,
            plan: None,
            region: None,
            settings: Map::from_iter([("theme".into(), json!("dark"))]),
            created_at: env.now(),
            updated_at: env.now(),
            revision: 1,
        };
        let identity = Identity {
            tenant: tenant.id,
            principal: Principal::User(env.id()),
            scopes: PermissionSet::ALL,
            expires: None,
            key: None,
        };
        let ctx = issuer.context(&identity, &PermissionSet::ALL, Default::default());
        stores.tenants.create(&op, tenant, OperatorEffects::default()).await.unwrap();
        let hash = VersionHash::of("{}");
        let agent = AgentRecord {
            id: env.id(),
            name: "helper".into(),
            state: AgentState::Running,
            latest: hash,
            aliases: BTreeMap::new(),
            project_id: None,
            created_by: ctx.principal().user(),
            created_at: env.now(),
            updated_at: env.now(),
            revision: 1,
        };
        let version = AgentVersion { hash, canonical: "{}".into(), created_at: env.now() };
        stores.agents.insert(&ctx, agent.clone(), version, Effects::none()).await.unwrap();
        Self { db, stores, clock, env, ctx, op, agent }
    }

    fn tenant(&self) -> TenantId {
        self.ctx.tenant()
    }

    fn user(&self, email: &str) -> User {
        User {
            id: self.env.id(),
            email: email.into(),
            name: None,
            roles: vec![Role::TENANT_ADMIN],
            active: true,
            created_at: self.env.now(),
            updated_at: self.env.now(),
            revision: 1,
        }
    }

    fn new_run(&self) -> NewRun {
        let record = RunRecord {
            id: self.env.id(),
            tenant: self.tenant(),
            agent: self.agent.id,
            version: self.agent.latest,
            user: self.ctx.principal().user(),
            project_id: None,
            session_id: None,
            parent_run: None,
            idem_key: None,
            idem_hash: None,
            on_behalf_of: None,
            region: None,
            status: RunStatus::Running,
            state_version: 1,
            salt: [3; 16],
            seq: 99,
            head: ChainHash::from_bytes([9; 32]),
            deadline: self.env.now().after(LEASE * 100),
            totals: RunTotals::default(),
            output: None,
            error: None,
            created_at: self.env.now(),
            updated_at: self.env.now(),
            finished_at: None,
        };
        let entries = vec![b"created".to_vec()];
        let lease_until = self.env.now().after(LEASE);
        NewRun { record, entries, payloads: Vec::new(), worker: self.env.id(), lease_until }
    }

    async fn create(&self, run: NewRun) -> Result<Created> {
        self.stores.runs.create(&self.ctx, run, Effects::none()).await
    }

    async fn start(&self) -> Lease {
        match self.create(self.new_run()).await.unwrap() {
            Created::New(lease) => lease,
            Created::Existing(run) => panic!("{run} is there already"),
        }
    }

    async fn claim(&self) -> Vec<Fence> {
        let until = self.env.now().after(LEASE);
        let leases = self.stores.runs.claim(ClaimRequest::new(self.env.id(), until, 10, 1)).await.unwrap();
        leases.iter().map(|lease| lease.fence).collect()
    }

    async fn commit(&self, fence: &Fence, batch: JournalBatch) -> Result<u64> {
        self.stores.runs.commit(fence, batch, Effects::none()).await
    }

    async fn cancel(&self, run: RunId) -> Result<()> {
        let signal = Signal::Cancel { by: self.ctx.principal().user() };
        self.stores.index.signal(&self.ctx, run, self.env.id(), signal, Effects::none()).await
    }

    /// Effects of every sort, with these quota operations.
    fn effects(&self, quota: Vec<QuotaOp>) -> Effects {
        let usage = UsageEvent {
            id: self.env.id(),
            meter: Meter::LlmRequests,
            quantity: 1,
            at: self.env.now(),
            user: None,
            agent: None,
            run: None,
            model: None,
            cost: None,
        };
        Effects {
            guards: vec![Guard::TenantActive],
            quota,
            audit: vec![AuditRecord::of(&self.ctx, &self.env, "thing.done", "things", "x")],
            usage: vec![usage],
            events: vec![PlatformEvent::of(&self.ctx, &self.env, "thing.done", "x", json!({}))],
        }
    }

    async fn budget(&self, key: &BudgetKey) -> Option<BudgetState> {
        self.stores.quota.state(&self.ctx, key).await.unwrap()
    }

    async fn set_state(&self, state: TenantState, effects: OperatorEffects) -> Result<()> {
        let tenant = self.stores.tenants.own(&self.ctx).await?;
        let revision = tenant.revision;
        self.stores.tenants.replace(&self.op, Tenant { state, ..tenant }, revision, effects).await
    }

    /// Everything that can be read of the tenant, as text.
    async fn snapshot(&self) -> String {
        let Self { stores, ctx, op, .. } = self;
        let page = PageRequest::limit(100);
        let runs = stores.index.list(ctx, Default::default()).await.unwrap().items;
        let mut text = format!("{runs:?}");
        for run in &runs {
            text += &format!("{:?}", stores.index.journal(ctx, run.id, 0, 100).await.unwrap());
        }
        text += &format!("{:?}", stores.tenants.own(ctx).await.unwrap());
        text += &format!("{:?}", stores.users.list(ctx, page.clone()).await.unwrap());
        text += &format!("{:?}", stores.sessions.list(ctx, page).await.unwrap());
        text += &format!("{:?}", stores.audit.checkpoint(ctx).await.unwrap());
        text += &format!("{:?}", stores.audit.platform_checkpoint(op).await.unwrap());
        text += &format!("{:?}", stores.usage.events(ctx, None, 100).await.unwrap());
        text += &format!("{:?}", stores.events.read(ctx, 0, 100).await.unwrap());
        text += &format!("{:?}", self.budget(&BudgetKey::new("a", Dimension::Cost)).await);
        text
    }
}

fn release(release: Release) -> JournalBatch {
    JournalBatch {
        patch: RunPatch { release: Some(release), ..RunPatch::default() },
        ..JournalBatch::default()
    }
}

fn status(status: RunStatus) -> JournalBatch {
    JournalBatch {
        patch: RunPatch { status: Some(status), ..RunPatch::default() },
        ..JournalBatch::default()
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind) {
    assert_eq!(result.unwrap_err().kind(), kind);
}

#[tokio::test]
async fn a_refused_effect_leaves_nothing_behind() {
    let world = World::new().await;
    let World { stores, ctx, env, op, .. } = &world;
    let key = BudgetKey::new("a", Dimension::Cost);
    stores.quota.define(ctx, &key, Some(10)).await.unwrap();
    let lease = world.start().await;
    world.cancel(lease.run.id).await.unwrap();
    let before = world.snapshot().await;

    let too_much = || {
        let fits = QuotaOp::Reserve(env.id(), vec![(key.clone(), 4)]);
        world.effects(vec![fits, QuotaOp::Reserve(env.id(), vec![(key.clone(), 7)])])
    };
    let error = stores.users.insert(ctx, world.user("a@acme.test"), too_much()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BudgetExceeded);
    assert_eq!(error.message(), "the budget has no room for `cost`");
    assert_eq!(error.context(), [("scope", "a".to_owned()), ("dimension", "cost".to_owned())]);

    let payload = Payload { hash: payload_hash(&[3; 16], b"x"), bytes: b"x".to_vec() };
    let signals = stores.runs.renew(&lease.fence, lease.until).await.unwrap();
    let batch = JournalBatch {
        entries: vec![b"done".to_vec()],
        payloads: vec![payload.clone()],
        consumed: vec![signals[0].0],
        ..status(RunStatus::Completed)
    };
    refused(stores.runs.commit(&lease.fence, batch, too_much()).await, ErrorKind::BudgetExceeded);
    refused(stores.index.payloads(ctx, lease.run.id, &[payload.hash]).await, ErrorKind::NotFound);
    assert_eq!(stores.runs.renew(&lease.fence, lease.until).await.unwrap(), signals);

    let mut late = world.new_run();
    late.record.idem_key = Some("k".into());
    refused(stores.runs.create(ctx, late.clone(), too_much()).await, ErrorKind::BudgetExceeded);
    let effects = OperatorEffects {
        tenant: too_much(),
        platform: vec![AuditRecord::of_operator(op, env, None, "user.bootstrapped", "users", "x")],
    };
    let admin = world.user("b@acme.test");
    refused(stores.users.bootstrap(op, world.tenant(), admin, effects).await, ErrorKind::BudgetExceeded);
    assert_eq!(world.snapshot().await, before);

    // The same calls with effects that hold go through.
    assert!(matches!(world.create(late).await.unwrap(), Created::New(_)));
    let fits = world.effects(vec![QuotaOp::Reserve(env.id(), vec![(key.clone(), 10)])]);
    stores.users.insert(ctx, world.user("a@acme.test"), fits).await.unwrap();
    assert_eq!(world.budget(&key).await.unwrap().reserved, 10);
    assert_eq!(stores.audit.checkpoint(ctx).await.unwrap().size, 1);
}

#[tokio::test]
async fn guards_come_before_the_changes_own_checks() {
    let world = World::new().await;
    let World { stores, ctx, env, .. } = &world;
    let (first, second) = (world.user("a@acme.test"), world.user("b@acme.test"));
    stores.users.insert(ctx, first.clone(), Effects::none()).await.unwrap();
    let guard = Effects { guards: vec![Guard::AdminRemains(first.id)], ..Effects::none() };
    refused(stores.users.delete(ctx, first.id, guard.clone()).await, ErrorKind::Conflict);
    stores.users.insert(ctx, User { active: false, ..second.clone() }, Effects::none()).await.unwrap();
    refused(stores.users.delete(ctx, first.id, guard.clone()).await, ErrorKind::Conflict);
    stores.users.replace(ctx, second.clone(), 1, Effects::none()).await.unwrap();
    stores.users.delete(ctx, first.id, guard.clone()).await.unwrap();
    // Somebody who is no admin may go.
    refused(stores.users.delete(ctx, first.id, guard).await, ErrorKind::NotFound);

    world.set_state(TenantState::Suspended, OperatorEffects::default()).await.unwrap();
    let active = Effects { guards: vec![Guard::TenantActive], ..Effects::none() };
    refused(stores.users.delete(ctx, env.id(), active.clone()).await, ErrorKind::TenantSuspended);
    world.set_state(TenantState::Deleted, OperatorEffects::default()).await.unwrap();
    refused(stores.users.insert(ctx, second, active).await, ErrorKind::NotFound);
}

#[tokio::test]
async fn deletion_leaves_the_tombstone_and_the_audit_log() {
    let world = World::new().await;
    let World { stores, ctx, env, op, .. } = &world;
    stores.users.insert(ctx, world.user("a@acme.test"), world.effects(Vec::new())).await.unwrap();
    stores.quota.define(ctx, &BudgetKey::new("a", Dimension::Cost), Some(5)).await.unwrap();
    let lease = world.start().await;
    let stale = stores.events.unpublished(10).await.unwrap();
    assert_eq!(stale.len(), 1);

    let record = |tenant| AuditRecord::of_operator(op, env, tenant, "tenant.deleted", "tenants", "x");
    let event = PlatformEvent::new(env, world.tenant(), "tenant.deleted", world.tenant(), json!({}));
    let effects = OperatorEffects {
        tenant: Effects { audit: vec![record(Some(world.tenant()))], events: vec![event], ..Effects::none() },
        platform: vec![record(None)],
    };
    world.set_state(TenantState::Deleted, effects).await.unwrap();

    let tenant = stores.tenants.own(ctx).await.unwrap();
    assert_eq!((tenant.domain, tenant.settings.len(), tenant.revision), (None, 0, 2));
    assert_eq!(tenant.name, "Acme");
    assert_eq!(stores.users.list(ctx, PageRequest::default()).await.unwrap().items, []);
    assert_eq!(stores.usage.events(ctx, None, 10).await.unwrap(), []);
    assert_eq!(world.budget(&BudgetKey::new("a", Dimension::Cost)).await, None);
    refused(stores.index.get(ctx, lease.run.id).await, ErrorKind::NotFound);
    refused(world.commit(&lease.fence, JournalBatch::default()).await, ErrorKind::Fenced);
    assert_eq!(stores.audit.checkpoint(ctx).await.unwrap().size, 2);
    assert_eq!(stores.audit.platform_entries(op, 0, 10).await.unwrap().len(), 1);

    // The deletion's own event still goes out; its number is new, so a late confirmation does not confirm it.
    stores.events.published(&stale).await.unwrap();
    let left = stores.events.unpublished(10).await.unwrap();
    assert_eq!(left.iter().map(|event| event.seq).collect::<Vec<_>>(), [2]);
    assert_eq!(left[0].event.kind, "agentprovision.tenant.deleted");
    stores.events.published(&left).await.unwrap();
    assert_eq!(stores.events.unpublished(10).await.unwrap(), []);
    assert_eq!(stores.events.read(ctx, 0, 10).await.unwrap(), left);

    refused(world.set_state(TenantState::Active, OperatorEffects::default()).await, ErrorKind::Conflict);
    let heir =
        Tenant { id: env.id(), domain: Some("acme.test".into()), ..stores.tenants.own(ctx).await.unwrap() };
    stores.tenants.create(op, heir, OperatorEffects::default()).await.unwrap();
}

#[tokio::test]
async fn audit_proofs_verify_against_the_tree_heads() {
    let world = World::new().await;
    let World { stores, ctx, env, .. } = &world;
    refused(stores.audit.prove(ctx, 0, 0).await, ErrorKind::InvalidInput);
    let mut heads = Vec::new();
    for number in 0..13 {
        let mut record = AuditRecord::of(ctx, env, "thing.done", "things", number);
        record.result = AuditResult::Failure;
        let effects = Effects { audit: vec![record], ..Effects::none() };
        stores.users.insert(ctx, world.user(&format!("{number}@acme.test")), effects).await.unwrap();
        heads.push(stores.audit.checkpoint(ctx).await.unwrap());
    }
    let entries = stores.audit.entries(ctx, 0, 100).await.unwrap();
    assert!(entries.iter().zip(0..).all(|(entry, seq)| entry.seq == seq));
    assert_eq!(stores.audit.entries(ctx, 12, 100).await.unwrap(), entries[12..]);
    for head in &heads {
        for entry in &entries[..usize::try_from(head.size).unwrap()] {
            let proof = stores.audit.prove(ctx, entry.seq, head.size).await.unwrap();
            assert_eq!(proof.checkpoint, *head);
            verify_inclusion(entry.leaf(), entry.seq, head.size, &proof.path, head.root).unwrap();
        }
        for older in heads.iter().filter(|older| older.size <= head.size) {
            let proof = stores.audit.consistency(ctx, older.size, head.size).await.unwrap();
            verify_consistency(older.size, older.root, head.size, head.root, &proof).unwrap();
        }
    }
    refused(stores.audit.prove(ctx, 13, 13).await, ErrorKind::InvalidInput);
    refused(stores.audit.prove(ctx, 0, 14).await, ErrorKind::InvalidInput);
    refused(stores.audit.consistency(ctx, 3, 14).await, ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_closed_store_refuses_everything() {
    let world = World::new().await;
    let World { stores, ctx, op, .. } = &world;
    let lease = world.start().await;
    let tx = stores.runs.begin(&lease.fence).await.unwrap();
    world.db.close().await.unwrap();
    refused(tx.commit(JournalBatch::default(), Effects::none()).await, ErrorKind::Closed);
    refused(stores.tenants.list(op, PageRequest::default()).await, ErrorKind::Closed);
    refused(stores.users.get(ctx, world.env.id()).await, ErrorKind::Closed);
    refused(stores.events.unpublished(1).await, ErrorKind::Closed);
    refused(world.db.close().await, ErrorKind::Closed);
}
