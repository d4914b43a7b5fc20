//! The arguments of operations, drawn from small pools.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::agent::{AgentRecord, AgentState, AgentVersion, VersionHash};
use agentprovision_core::archive::{ArchiveSummary, Header};
use agentprovision_core::audit::AuditRecord;
use agentprovision_core::audit::Checkpoint;
use agentprovision_core::audit::merkle::{TreeHash, empty_root};
use agentprovision_core::authz::PermissionSet;
use agentprovision_core::backend::Stores;
use agentprovision_core::backup::{BackupEnd, NewBackup};
use agentprovision_core::clock::{ManualClock, SeededEntropy};
use agentprovision_core::context::{
    Context, ContextIssuer, Identity, OperatorContext, Principal, RequestInfo,
};
use agentprovision_core::effect::{Effects, Guard, OperatorEffects, QuotaOp};
use agentprovision_core::event::{NumberedEvent, PlatformEvent};
use agentprovision_core::id::{AgentId, Id, RunId, TenantId, UserId};
use agentprovision_core::identity::{ApiKey, Role, User};
use agentprovision_core::money::NanoUsd;
use agentprovision_core::page::{Cursor, PageRequest};
use agentprovision_core::run::{
    ChainHash, Fence, JournalBatch, NewRun, Payload, PayloadHash, Release, RunPatch, RunRecord, RunStatus,
    RunTotals, STATE_VERSION, SessionRecord, Signal, StepError, payload_hash,
};
use agentprovision_core::secret::SecretLease;
use agentprovision_core::tenant::{Tenant, TenantState};
use agentprovision_core::usage::{BudgetKey, Demand, Dimension, Meter, Period, UsageEvent};
use agentprovision_core::{Env, ErrorKind, Timestamp};
use serde_json::json;
use uuid::Uuid;

use crate::answer::Taken;
use crate::ops::Rng;

const TENANTS: u64 = 4;
const USERS: u64 = 5;
const KEYS: u64 = 5;
const AGENTS: u64 = 6;
const SESSIONS: u64 = 4;
const RUNS: u64 = 8;
const SIGNALS: u64 = 4;
const RESERVATIONS: u64 = 6;
const BACKUPS: u64 = 6;
const INTEGRATIONS: u64 = 5;
const USAGES: u64 = 40;

/// Text that is told apart by its bytes alone.
pub(crate) const TEXTS: [&str; 10] =
    ["plain", "Plain", "\u{e9}", "e\u{301}", "100%_", "a_a", "'; --", "שלום \u{202e}x", "👩‍👩‍👧", " "];

pub(crate) const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// What operations draw their arguments from: the pools, and what earlier answers gave.
pub(crate) struct Script {
    pub(crate) clock: ManualClock,
    pub(crate) env: Env,
    pub(crate) op: OperatorContext,
    /// The store in memory, read to learn the revisions that are current.
    pub(crate) model: Stores,
    contexts: Vec<Context>,
    pub(crate) fences: Vec<Fence>,
    pub(crate) events: Vec<NumberedEvent>,
    /// Leases on secrets.
    pub(crate) leases: Vec<SecretLease>,
    /// Deliveries that were taken.
    pub(crate) taken: Vec<Taken>,
    /// Whether the store that is compared goes by a clock of its own in what it measures.
    pub(crate) own_time: bool,
}

/// The id with this place in the pool of its kind.
fn pooled<I: Id>(place: u64) -> I {
    I::from_uuid_unchecked(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(place)))
}

impl Script {
    pub(crate) fn new(model: Stores, own_time: bool) -> Self {
        let clock = ManualClock::new(START);
        let env = Env::new(Arc::new(clock.clone()), Arc::new(SeededEntropy::new(9)));
        let issuer = ContextIssuer::new(env.clone());
        let context = |place| {
            let principal = Principal::User(pooled(place));
            let identity = Identity {
                tenant: pooled(place),
                principal,
                scopes: PermissionSet::ALL,
                expires: None,
                key: None,
            };
            issuer.context(&identity, &PermissionSet::ALL, RequestInfo::default())
        };
        let contexts = (0..TENANTS).map(context).collect();
        let op = issuer.operator("differential", "comparison").expect("an operator");
        let (fences, events, leases, taken) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { clock, env, op, model, contexts, fences, events, leases, taken, own_time }
    }

    pub(crate) fn contexts(&self) -> &[Context] {
        &self.contexts
    }

    /// A context; that of the first tenants more often.
    pub(crate) fn ctx(&self, rng: &mut Rng) -> Context {
        let places = if rng.one_in(4) { TENANTS } else { 2 };
        self.contexts[rng.below(places) as usize].clone()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.env.now()
    }

    /// When records are made: coarse, so that lists have many ties to break by id.
    pub(crate) fn created(&self) -> Timestamp {
        const COARSE: i64 = 100_000_000;
        Timestamp::from_micros(self.now().micros() / COARSE * COARSE)
    }

    fn after(&self, rng: &mut Rng, most: u64) -> Timestamp {
        self.now().after(Duration::from_secs(rng.below(most)))
    }

    pub(crate) fn page(&self, rng: &mut Rng) -> PageRequest {
        let limit = rng.pick(&[1, 1, 2, 3, 20, 100, 0, 101]);
        match rng.one_in(6) {
            false => PageRequest::limit(limit),
            true => {
                let created = self.created();
                PageRequest::limit(limit).after(Cursor { created, id: pooled::<UserId>(rng.below(6)).uuid() })
            }
        }
    }

    pub(crate) fn new_backup(&self, rng: &mut Rng, tenant: TenantId) -> NewBackup {
        let slot = if rng.one_in(3) { None } else { Some(self.created()) };
        let patience = Duration::from_secs(rng.pick(&[1, 10, 100]));
        NewBackup { id: self.id(rng), tenant, slot, at: self.now(), patience }
    }

    pub(crate) fn backup_end(&self, rng: &mut Rng, tenant: TenantId) -> BackupEnd {
        if rng.one_in(3) {
            return BackupEnd::Failed(rng.pick(&[ErrorKind::Unavailable, ErrorKind::Corrupt]));
        }
        let header = Header {
            schema: 1,
            tenant,
            state: TenantState::Active,
            exported_at: self.now(),
            store: "trial".into(),
            audit: Checkpoint { size: 0, root: empty_root() },
        };
        let (rows, digest) = (1 + rng.below(9), TreeHash::from([rng.below(256) as u8; 32]));
        BackupEnd::Completed(Box::new(ArchiveSummary {
            header,
            tables: vec![],
            rows,
            bytes: rows * 9,
            digest,
        }))
    }

    /// The number of a row to start from, and how many to read.
    pub(crate) fn slice(&self, rng: &mut Rng) -> (u64, u32) {
        (rng.pick(&[0, 0, 0, 1, 2, 5, 50]), rng.pick(&[0, 1, 2, 100, 1000]))
    }

    pub(crate) fn id<I: Id>(&self, rng: &mut Rng) -> I {
        let size = match I::PREFIX {
            "ten" => TENANTS,
            "usr" => USERS,
            "key" => KEYS,
            "agt" => AGENTS,
            "ses" => SESSIONS,
            "run" => RUNS,
            "sig" => SIGNALS,
            "rsv" => RESERVATIONS,
            "bkp" => BACKUPS,
            "int" => INTEGRATIONS,
            "use" => USAGES,
            _ => 3,
        };
        // The first ones more often, so that most calls find what they name.
        let size = if rng.one_in(3) { size } else { size.div_ceil(3) };
        pooled(rng.below(size))
    }

    /// An agent of the whole pool: those that are used seldom can be deleted.
    pub(crate) fn any_agent(&self, rng: &mut Rng) -> AgentId {
        pooled(rng.below(AGENTS))
    }

    /// The current revision most of the time, otherwise another.
    pub(crate) fn revision(&self, rng: &mut Rng, current: u64) -> u64 {
        if rng.one_in(5) { rng.below(4) } else { current }
    }

    pub(crate) fn effects(&self, rng: &mut Rng, ctx: &Context, bare: bool) -> Effects {
        if bare {
            return Effects::none();
        }
        let mut effects = Effects {
            guards: match rng.below(8) {
                0 => Vec::new(),
                1 => vec![Guard::TenantExists],
                _ => vec![Guard::TenantActive],
            },
            quota: if rng.one_in(3) { rng.some(3, |rng| self.quota_op(rng)) } else { Vec::new() },
            audit: rng.some(3, |rng| {
                let record = AuditRecord::of(ctx, &self.env, "trial.made", "trials", rng.below(9));
                record.with("text", rng.pick(&TEXTS))
            }),
            usage: rng.some(3, |rng| self.usage_event(rng)),
            events: rng.some(3, |rng| {
                let data = json!({ "n": rng.below(99), "text": rng.pick(&TEXTS) });
                PlatformEvent::of(ctx, &self.env, "trial.made", rng.below(9), data)
            }),
        };
        if rng.one_in(15) {
            effects.guards.push(Guard::AdminRemains(self.id(rng)));
        }
        effects
    }

    pub(crate) fn operator_effects(
        &self,
        rng: &mut Rng,
        tenant: TenantId,
        bare: bool,
        guarded: bool,
    ) -> OperatorEffects {
        let ctx = self.contexts.iter().find(|ctx| ctx.tenant() == tenant).expect("a tenant of the pool");
        let mut effects = self.effects(rng, ctx, bare);
        if !guarded {
            effects.guards.clear();
        }
        let platform = if bare { Vec::new() } else { rng.some(2, |rng| self.platform_record(rng, tenant)) };
        OperatorEffects { tenant: effects, platform }
    }

    fn platform_record(&self, rng: &mut Rng, tenant: TenantId) -> AuditRecord {
        AuditRecord::of_operator(&self.op, &self.env, Some(tenant), "trial.made", "trials", rng.below(9))
    }

    pub(crate) fn budget(&self, rng: &mut Rng) -> BudgetKey {
        rng.pick(&budgets())
    }

    pub(crate) fn cap(&self, rng: &mut Rng) -> Option<i64> {
        if rng.one_in(5) { None } else { Some(rng.pick(&[0, 10, 20, 50, 50, 100, 1000, 1000, -3, i64::MAX])) }
    }

    pub(crate) fn demand(&self, rng: &mut Rng) -> Demand {
        let amount = |rng: &mut Rng| if rng.one_in(25) { -1 } else { rng.below(9) as i64 };
        (0..=rng.below(3)).map(|_| (self.budget(rng), amount(rng))).collect()
    }

    fn quota_op(&self, rng: &mut Rng) -> QuotaOp {
        match rng.below(5) {
            0 => QuotaOp::Define(self.budget(rng), self.cap(rng)),
            1 | 2 => QuotaOp::Reserve(self.id(rng), self.demand(rng)),
            _ => QuotaOp::Settle(self.id(rng), self.demand(rng)),
        }
    }

    fn usage_event(&self, rng: &mut Rng) -> UsageEvent {
        UsageEvent {
            id: self.id(rng),
            meter: rng.pick(&[Meter::LlmRequests, Meter::LlmTokensInput, Meter::ComputeMs]),
            quantity: rng.pick(&[0, 1, 7, 1 << 40]),
            at: self.now(),
            user: rng.maybe(&[pooled(1)]),
            agent: rng.maybe(&[pooled(1)]),
            run: rng.maybe(&[pooled(1)]),
            model: rng.maybe(&TEXTS).map(str::to_owned),
            cost: rng.maybe(&[0, 5, -2, 1 << 50]).map(NanoUsd::from_nanos),
        }
    }

    pub(crate) fn period(&self, rng: &mut Rng) -> Period {
        if rng.one_in(2) {
            return Period::ALL;
        }
        let back = |rng: &mut Rng| Timestamp::from_micros(self.now().micros() - rng.below(90_000_000) as i64);
        Period { start: back(rng), end: back(rng) }
    }

    pub(crate) fn new_tenant(&self, rng: &mut Rng) -> Tenant {
        let now = self.now();
        Tenant {
            id: self.id(rng),
            name: rng.pick(&TEXTS).to_owned(),
            domain: rng.maybe(&["a.example", "b.example", "A.example"]).map(str::to_owned),
            state: TenantState::Active,
            plan: rng.maybe(&TEXTS).map(str::to_owned),
            region: rng.maybe(&TEXTS).map(str::to_owned),
            settings: serde_json::Map::from_iter([("text".to_owned(), json!([rng.pick(&TEXTS), 0.5]))]),
            created_at: self.created(),
            updated_at: now,
            revision: 1,
        }
    }

    /// A tenant with other content, and the revision to expect; mostly as it is stored.
    pub(crate) async fn changed_tenant(&self, rng: &mut Rng) -> (Tenant, u64) {
        let new = self.new_tenant(rng);
        let state = match rng.below(24) {
            0 => TenantState::Deleted,
            1 | 2 => TenantState::Suspended,
            _ => TenantState::Active,
        };
        let Ok(old) = self.model.tenants.get(&self.op, new.id).await else { return (new, 1) };
        let expected = self.revision(rng, old.revision);
        (Tenant { state, created_at: old.created_at, ..new }, expected)
    }

    pub(crate) fn new_user(&self, rng: &mut Rng) -> User {
        let now = self.now();
        let roles = [Role::TENANT_ADMIN, Role::AUDITOR, Role::new("no_tenant_admin")];
        User {
            id: self.id(rng),
            email: rng.pick(&TEXTS).to_owned(),
            name: rng.maybe(&TEXTS).map(str::to_owned),
            roles: rng.some(3, |rng| rng.pick(&roles)),
            active: !rng.one_in(3),
            created_at: self.created(),
            updated_at: now,
            revision: 1,
        }
    }

    pub(crate) async fn changed_user(&self, rng: &mut Rng, ctx: &Context) -> (User, u64) {
        let new = self.new_user(rng);
        let Ok(old) = self.model.users.get(ctx, new.id).await else { return (new, 1) };
        let expected = self.revision(rng, old.revision);
        (User { created_at: old.created_at, ..new }, expected)
    }

    pub(crate) fn new_key(&self, rng: &mut Rng) -> ApiKey {
        ApiKey {
            id: self.id(rng),
            user: self.id(rng),
            name: rng.pick(&TEXTS).to_owned(),
            digest: [rng.below(9) as u8; 32],
            scopes: rng.maybe(&[Vec::new(), vec![TEXTS[2].to_owned(), "agents:run".into()]]),
            expires_at: rng.maybe(&[self.now()]),
            revoked_at: if rng.one_in(6) { Some(self.now()) } else { None },
            created_at: self.created(),
        }
    }

    pub(crate) fn version(&self, rng: &mut Rng) -> AgentVersion {
        let canonical = json!({ "instructions": rng.pick(&TEXTS[..4]) }).to_string();
        AgentVersion { hash: VersionHash::of(&canonical), canonical, created_at: self.now() }
    }

    pub(crate) fn new_agent(&self, rng: &mut Rng) -> (AgentRecord, AgentVersion) {
        let (now, version) = (self.now(), self.version(rng));
        let alias = |rng: &mut Rng| (rng.pick(&TEXTS).to_owned(), version.hash);
        let agent = AgentRecord {
            id: self.id(rng),
            name: rng.pick(&TEXTS).to_owned(),
            state: rng.pick(AgentState::ALL),
            latest: version.hash,
            aliases: BTreeMap::from_iter(rng.some(3, alias)),
            project_id: rng.maybe(&[pooled(0), pooled(1)]),
            created_by: self.id(rng),
            created_at: self.created(),
            updated_at: now,
            revision: 1,
        };
        (agent, version)
    }

    pub(crate) async fn changed_agent(
        &self,
        rng: &mut Rng,
        ctx: &Context,
    ) -> (AgentRecord, Option<AgentVersion>, u64) {
        let (new, version) = self.new_agent(rng);
        let add = if rng.one_in(3) { None } else { Some(version) };
        let Ok(old) = self.model.agents.get(ctx, new.id).await else { return (new, add, 1) };
        let expected = self.revision(rng, old.revision);
        (AgentRecord { created_at: old.created_at, ..new }, add, expected)
    }

    pub(crate) async fn agent_revision(&self, rng: &mut Rng, ctx: &Context, id: AgentId) -> u64 {
        let current = self.model.agents.get(ctx, id).await.map_or(1, |agent| agent.revision);
        self.revision(rng, current)
    }

    pub(crate) fn session(&self, rng: &mut Rng) -> SessionRecord {
        let (id, agent, user) = (self.id(rng), self.id(rng), self.id(rng));
        SessionRecord { id, agent, user, active_run: None, created_at: self.created() }
    }

    /// Payloads under names that fit the salt of the run with this id, or, seldom, do not.
    fn payloads(&self, rng: &mut Rng, run: RunId) -> Vec<Payload> {
        rng.some(3, |rng| {
            let bytes = vec![rng.below(4) as u8; rng.pick(&[0, 1, 1000])];
            let named = if rng.one_in(12) { vec![9] } else { bytes.clone() };
            Payload { hash: payload_hash(&salt(run), &named), bytes }
        })
    }

    pub(crate) fn payload_names(&self, rng: &mut Rng, run: RunId) -> Vec<PayloadHash> {
        self.payloads(rng, run).into_iter().map(|payload| payload.hash).collect()
    }

    fn entries(&self, rng: &mut Rng) -> Vec<Vec<u8>> {
        rng.some(4, |rng| json!({ "text": rng.pick(&TEXTS), "n": rng.below(99) }).to_string().into_bytes())
    }

    fn error(&self, rng: &mut Rng) -> Option<StepError> {
        let kind = rng.pick(ErrorKind::ALL);
        rng.maybe(&TEXTS).map(|text| StepError { kind, message: text.to_owned() })
    }

    pub(crate) fn new_run(&self, rng: &mut Rng, ctx: &Context) -> NewRun {
        let (now, id) = (self.now(), self.id(rng));
        let record = RunRecord {
            id,
            tenant: ctx.tenant(),
            agent: self.id(rng),
            version: self.version(rng).hash,
            user: self.id(rng),
            project_id: rng.maybe(&[pooled(0)]),
            session_id: if rng.one_in(3) { Some(self.id(rng)) } else { None },
            parent_run: rng.maybe(&[pooled(0)]),
            idem_key: if rng.one_in(3) { Some(rng.pick(&TEXTS[..4]).to_owned()) } else { None },
            idem_hash: Some([u8::from(rng.one_in(4)); 32]),
            on_behalf_of: rng.maybe(&TEXTS).map(str::to_owned),
            region: rng.maybe(&TEXTS).map(str::to_owned),
            status: rng.pick(&[RunStatus::Running, RunStatus::Running, RunStatus::Waiting]),
            state_version: if rng.one_in(6) { STATE_VERSION + 1 } else { STATE_VERSION },
            salt: salt(id),
            seq: rng.below(3),
            head: ChainHash::START,
            deadline: self.after(rng, 600),
            totals: self.totals(rng),
            output: None,
            error: self.error(rng),
            created_at: self.created(),
            updated_at: now,
            finished_at: None,
        };
        NewRun {
            record,
            entries: self.entries(rng),
            payloads: self.payloads(rng, id),
            worker: self.id(rng),
            lease_until: self.after(rng, 60),
        }
    }

    fn totals(&self, rng: &mut Rng) -> RunTotals {
        RunTotals { steps: rng.below(9) as u32, input_tokens: rng.below(1 << 40), ..RunTotals::default() }
    }

    /// The fence of a lease that was given lately, or one that never was.
    pub(crate) fn fence(&self, rng: &mut Rng) -> Fence {
        let invented = Fence { tenant: self.ctx(rng).tenant(), run: self.id(rng), epoch: rng.below(4) };
        let lately = &self.fences[self.fences.len().saturating_sub(6)..];
        let known = if rng.one_in(5) { &self.fences } else { lately };
        if known.is_empty() || rng.one_in(12) { invented } else { rng.pick(known) }
    }

    pub(crate) fn lease_until(&self, rng: &mut Rng) -> Timestamp {
        self.after(rng, 60)
    }

    pub(crate) fn batch(&self, rng: &mut Rng, run: RunId) -> JournalBatch {
        let status = match rng.below(12) {
            0 => Some(RunStatus::Completed),
            1 => Some(RunStatus::Failed),
            2 => Some(RunStatus::Waiting),
            3 => Some(RunStatus::Parked),
            4 => Some(RunStatus::Running),
            _ => None,
        };
        let payloads = self.payloads(rng, run);
        JournalBatch {
            entries: self.entries(rng),
            consumed: rng.some(3, |rng| self.id(rng)),
            patch: RunPatch {
                status,
                totals: if rng.one_in(3) { Some(self.totals(rng)) } else { None },
                output: payloads.first().map(|payload| payload.hash),
                error: self.error(rng),
                release: if rng.one_in(3) {
                    Some(rng.pick(&[Release::Ready, Release::UntilSignal]))
                } else {
                    None
                },
            },
            payloads,
        }
    }

    pub(crate) fn signal(&self, rng: &mut Rng) -> Signal {
        let by = self.id(rng);
        match rng.one_in(2) {
            true => Signal::Cancel { by },
            false => Signal::Approval {
                approval: self.id(rng),
                args_hash: PayloadHash::from_bytes([1; 32]),
                approved: rng.one_in(2),
                by,
            },
        }
    }
}

/// The budgets of a tenant.
pub(crate) fn budgets() -> [BudgetKey; 4] {
    let [one, two] = ["a", "\u{e9}"];
    [(one, Dimension::Steps), (one, Dimension::Cost), (two, Dimension::Steps), (two, Dimension::Cost)]
        .map(|(scope, dimension)| BudgetKey::new(scope, dimension))
}

/// The salt of every run with this id.
fn salt(run: RunId) -> [u8; 16] {
    *run.uuid().as_bytes()
}
