//! What benchmarks of stores share: a store with tenants, agents and runs that are held, the steps that are committed
//! to it, and how figures are taken.

#![allow(dead_code, reason = "each benchmark uses a part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark ends where something fails")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentprovision_core::agent::{AgentRecord, AgentState, AgentVersion, VersionHash};
use agentprovision_core::authz::PermissionSet;
use agentprovision_core::backend::{Backend, Stores};
use agentprovision_core::context::{ContextIssuer, Identity, Principal, RequestInfo};
use agentprovision_core::effect::{Effects, OperatorEffects};
use agentprovision_core::id::RequestId;
use agentprovision_core::money::NanoUsd;
use agentprovision_core::run::{
    ChainHash, Created, DoneOutcome, JournalBatch, JournalEntry, Lease, NewRun, Payload, RunPatch, RunRecord,
    RunStatus, RunTotals, STATE_VERSION, StepKind, encode_entry, payload_hash,
};
use agentprovision_core::tenant::{Tenant, TenantState};
use agentprovision_core::tool::Effect;
use agentprovision_core::usage::{Meter, UsageEvent};
use agentprovision_core::{Context, Env};
use agentprovision_tenancy::store::connect;

/// A folder that goes at the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let id: RequestId = Env::default().id();
        let folder = std::env::temp_dir().join(format!("agentprovision-bench-{id}"));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A tenant with an agent.
pub(crate) struct Host {
    pub(crate) ctx: Context,
    pub(crate) agent: AgentRecord,
}

/// A store.
pub(crate) struct World {
    pub(crate) env: Env,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) stores: Stores,
    issuer: ContextIssuer,
    /// Runs that are held.
    pub(crate) leases: Vec<Lease>,
}

impl World {
    /// The store at `url`.
    pub(crate) async fn open(url: &str) -> Self {
        let env = Env::default();
        let backend = connect(url, env.clone()).await.unwrap();
        let stores = backend.stores();
        Self { issuer: ContextIssuer::new(env.clone()), env, backend, stores, leases: Vec::new() }
    }

    /// The store at `url`, with so many runs of one tenant.
    pub(crate) async fn with_runs(url: &str, runs: usize) -> Self {
        let mut world = Self::open(url).await;
        let host = world.host().await;
        for _ in 0..runs {
            let lease = world.start(&host).await;
            world.leases.push(lease);
        }
        world
    }

    /// Adds a tenant with an agent.
    pub(crate) async fn host(&self) -> Host {
        let env = &self.env;
        let now = env.now();
        let tenant = Tenant {
            id: env.id(),
            name: "Acme".into(),
            domain: None,
            state: TenantState::Active,
            plan: None,
            region: None,
            settings: serde_json::Map::new(),
            created_at: now,
            updated_at: now,
            revision: 1,
        };
        let principal = Principal::User(env.id());
        let identity =
            Identity { tenant: tenant.id, principal, scopes: PermissionSet::ALL, expires: None, key: None };
        let ctx = self.issuer.context(&identity, &PermissionSet::ALL, RequestInfo::default());
        let op = self.issuer.operator("bench", "bench").unwrap();
        self.stores.tenants.create(&op, tenant, OperatorEffects::default()).await.unwrap();
        let version = AgentVersion { hash: VersionHash::of("{}"), canonical: "{}".into(), created_at: now };
        let agent = AgentRecord {
            id: env.id(),
            name: "helper".into(),
            state: AgentState::Running,
            latest: version.hash,
            aliases: BTreeMap::new(),
            project_id: None,
            created_by: principal.user(),
            created_at: now,
            updated_at: now,
            revision: 1,
        };
        self.stores.agents.insert(&ctx, agent.clone(), version, Effects::none()).await.unwrap();
        Host { ctx, agent }
    }

    /// Starts a run and holds it.
    pub(crate) async fn start(&self, host: &Host) -> Lease {
        let now = self.env.now();
        let record = RunRecord {
            id: self.env.id(),
            tenant: host.ctx.tenant(),
            agent: host.agent.id,
            version: host.agent.latest,
            user: host.agent.created_by,
            project_id: None,
            session_id: None,
            parent_run: None,
            idem_key: None,
            idem_hash: None,
            on_behalf_of: None,
            region: None,
            status: RunStatus::Running,
            state_version: STATE_VERSION,
            salt: self.env.random(),
            seq: 0,
            head: ChainHash::START,
            deadline: now.after(Duration::from_secs(3600)),
            totals: RunTotals::default(),
            output: None,
            error: None,
            created_at: now,
            updated_at: now,
            finished_at: None,
        };
        let run = NewRun {
            record,
            entries: vec![],
            payloads: vec![],
            worker: self.env.id(),
            lease_until: now.after(Duration::from_secs(3600)),
        };
        match self.stores.runs.create(&host.ctx, run, Effects::none()).await.unwrap() {
            Created::New(lease) => lease,
            Created::Existing(_) => unreachable!("no key was given"),
        }
    }

    /// Steps that were written, of all runs together.
    pub(crate) async fn steps(&self) -> u64 {
        let mut rows = 0;
        for lease in &self.leases {
            let identity = Identity {
                tenant: lease.run.tenant,
                principal: Principal::User(lease.run.user),
                scopes: PermissionSet::ALL,
                expires: None,
                key: None,
            };
            let ctx = self.issuer.context(&identity, &PermissionSet::ALL, RequestInfo::default());
            rows += self.stores.index.get(&ctx, lease.run.id).await.unwrap().seq;
        }
        rows / 2
    }
}

/// One step as the engine journals it.
pub(crate) struct Step {
    pub(crate) entries: Vec<Vec<u8>>,
    pub(crate) payload: Payload,
    pub(crate) totals: RunTotals,
    pub(crate) usage: Vec<UsageEvent>,
}

/// The DONE row of a step with a payload of 500 bytes, the INTENT row of the next, three usage events.
pub(crate) fn step(env: &Env, lease: &Lease, number: u32) -> Step {
    let mut bytes = vec![b'x'; 500];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    let payload = Payload { hash: payload_hash(&lease.run.salt, &bytes), bytes };
    let at = env.now();
    let done = JournalEntry::Done {
        step: number,
        outcome: DoneOutcome::Ok { output: payload.hash },
        usage: None,
        cost: Some(NanoUsd::from_nanos(105_000)),
        model: Some("openai/gpt-4o-mini".into()),
        attempts: 1,
        started: at,
        at,
    };
    let intent = JournalEntry::Intent {
        step: number + 1,
        kind: StepKind::Model,
        name: "openai/gpt-4o-mini".into(),
        args_hash: payload.hash,
        effect: Effect::Idempotent,
        call_id: None,
        max_tokens: None,
        at,
    };
    let entries = [done, intent].iter().map(|entry| encode_entry(entry).unwrap()).collect();
    let usage = [Meter::LlmTokensInput, Meter::LlmTokensOutput, Meter::LlmRequests].map(|meter| UsageEvent {
        id: env.id(),
        meter,
        quantity: 100,
        at,
        user: Some(lease.run.user),
        agent: Some(lease.run.agent),
        run: Some(lease.run.id),
        model: Some("openai/gpt-4o-mini".into()),
        cost: None,
    });
    let totals = RunTotals { steps: number, ..RunTotals::default() };
    Step { entries, payload, totals, usage: usage.into() }
}

/// Seconds that `runs` tasks take for `turns` steps each, one after the other, through the store. The steps are
/// numbered from `from` on; no run gets a number twice.
pub(crate) async fn through_store(world: &Arc<World>, runs: usize, turns: usize, from: u32) -> f64 {
    let start = Instant::now();
    let tasks: Vec<_> = (0..runs)
        .map(|run| {
            let world = world.clone();
            tokio::spawn(async move {
                let lease = &world.leases[run];
                for turn in 0..turns {
                    let Step { entries, payload, totals, usage } =
                        step(&world.env, lease, from + turn as u32);
                    let patch = RunPatch { totals: Some(totals), ..RunPatch::default() };
                    let batch = JournalBatch { entries, payloads: vec![payload], consumed: vec![], patch };
                    let effects = Effects { usage, ..Effects::none() };
                    world.stores.runs.commit(&lease.fence, batch, effects).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    start.elapsed().as_secs_f64()
}

/// Writes of 4 KiB with fdatasync, per second.
pub(crate) fn probe(folder: &Path) -> f64 {
    let mut file = std::fs::File::create(folder.join("probe")).unwrap();
    let (mut writes, start) = (0, Instant::now());
    while start.elapsed() < Duration::from_millis(200) {
        file.seek(std::io::SeekFrom::Start(0)).unwrap();
        file.write_all(black_box(&[7; 4096])).unwrap();
        file.sync_data().unwrap();
        writes += 1;
    }
    f64::from(writes) / start.elapsed().as_secs_f64()
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The numbers an environment variable lists, separated by commas.
pub(crate) fn numbers(variable: &str, default: &[usize]) -> Vec<usize> {
    match std::env::var(variable) {
        Ok(text) => text.split(',').map(|number| number.trim().parse().unwrap()).collect(),
        Err(_) => default.to_vec(),
    }
}

/// The number an environment variable says.
pub(crate) fn number(variable: &str, default: usize) -> usize {
    numbers(variable, &[default])[0]
}
