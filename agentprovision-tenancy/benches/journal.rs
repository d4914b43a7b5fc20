//! Durable steps per second of 1, 16 and 256 runs, each step the commit of a DONE and an INTENT row with a payload of 500
//! bytes and three usage events. Beside it the same rows by hand-written transactions on one connection to a file of the
//! same schema and settings: one step to a transaction for one run, the steps of all runs in one transaction for many. The two take
//! turns, and the ratios are medians over rounds. What the disk does is printed with every round.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints, and ends where something fails"
)]

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
use agentprovision_core::money::NanoUsd;
use agentprovision_core::run::{
    ChainHash, Created, DoneOutcome, JournalBatch, JournalEntry, Lease, NewRun, Payload, RunPatch, RunRecord,
    RunStatus, RunTotals, STATE_VERSION, StepKind, encode_entry, link, payload_hash,
};
use agentprovision_core::tenant::{Tenant, TenantState};
use agentprovision_core::tool::Effect;
use agentprovision_core::usage::{Meter, UsageEvent};
use agentprovision_core::{Env, Timestamp};
use agentprovision_tenancy::store::connect;
use criterion::{Criterion, Throughput};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Row};
use tokio::runtime::Runtime;

const RUNS: [usize; 3] = [1, 16, 256];
const ROUNDS: usize = 7;
/// Steps of a round, about; so that a round takes some tenths of a second.
const STEPS: [usize; 3] = [300, 1600, 5120];

/// A folder that goes at the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct World {
    env: Env,
    backend: Arc<dyn Backend>,
    stores: Stores,
    leases: Vec<Lease>,
}

async fn world(file: &Path) -> World {
    let env = Env::default();
    let backend = connect(&format!("sqlite://{}", file.display()), env.clone()).await.unwrap();
    let stores = backend.stores();
    let issuer = ContextIssuer::new(env.clone());
    let op = issuer.operator("bench", "bench").unwrap();
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
    let ctx = issuer.context(&identity, &PermissionSet::ALL, RequestInfo::default());
    stores.tenants.create(&op, tenant, OperatorEffects::default()).await.unwrap();
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
    stores.agents.insert(&ctx, agent.clone(), version, Effects::none()).await.unwrap();
    let mut leases = Vec::new();
    for _ in 0..RUNS[2] {
        let record = RunRecord {
            id: env.id(),
            tenant: ctx.tenant(),
            agent: agent.id,
            version: agent.latest,
            user: principal.user(),
            project_id: None,
            session_id: None,
            parent_run: None,
            idem_key: None,
            idem_hash: None,
            on_behalf_of: None,
            region: None,
            status: RunStatus::Running,
            state_version: STATE_VERSION,
            salt: env.random(),
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
            worker: env.id(),
            lease_until: now.after(Duration::from_secs(3600)),
        };
        match stores.runs.create(&ctx, run, Effects::none()).await.unwrap() {
            Created::New(lease) => leases.push(lease),
            Created::Existing(_) => unreachable!("no key was given"),
        }
    }
    World { env, backend, stores, leases }
}

/// One step as the engine journals it.
struct Step {
    entries: Vec<Vec<u8>>,
    payload: Payload,
    totals: RunTotals,
    usage: Vec<UsageEvent>,
}

fn step(env: &Env, lease: &Lease, number: u32) -> Step {
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

/// Steps per second of `runs` tasks that do `turns` steps each, one after the other, through the store.
async fn ours(world: &Arc<World>, runs: usize, turns: usize, from: u32) -> f64 {
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
    (runs * turns) as f64 / start.elapsed().as_secs_f64()
}

/// The same rows by hand: `turns` transactions of `runs` steps.
async fn reference(conn: &mut SqliteConnection, world: &World, runs: usize, turns: usize, from: u32) -> f64 {
    let start = Instant::now();
    for turn in 0..turns {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await.unwrap();
        for lease in &world.leases[..runs] {
            by_hand(conn, &world.env, lease, from + turn as u32).await;
        }
        sqlx::query("COMMIT").execute(&mut *conn).await.unwrap();
    }
    (runs * turns) as f64 / start.elapsed().as_secs_f64()
}

async fn by_hand(conn: &mut SqliteConnection, env: &Env, lease: &Lease, number: u32) {
    let Step { entries, payload, totals, usage } = step(env, lease, number);
    let (tenant, run) = (lease.fence.tenant.uuid().into_bytes(), lease.fence.run.uuid().into_bytes());
    let standing = sqlx::query(
        "SELECT r.seq, r.head, r.status, l.epoch FROM runs r JOIN run_leases l ON l.tenant_id = r.tenant_id \
         AND l.run_id = r.id WHERE r.tenant_id = $1 AND r.id = $2 AND l.lease_until IS NOT NULL",
    );
    let row = standing.bind(&tenant[..]).bind(&run[..]).fetch_one(&mut *conn).await.unwrap();
    assert_eq!(row.get::<i64, _>(3), 1);
    let mut seq = row.get::<i64, _>(0);
    let mut head = ChainHash::from_bytes(row.get::<Vec<u8>, _>(1).try_into().unwrap());
    for body in entries {
        seq += 1;
        head = link(&lease.run.salt, &head, seq as u64, &body);
        sqlx::query("INSERT INTO journal (tenant_id, run_id, seq, body, hash) VALUES ($1, $2, $3, $4, $5)")
            .bind(&tenant[..])
            .bind(&run[..])
            .bind(seq)
            .bind(body)
            .bind(&head.as_bytes()[..])
            .execute(&mut *conn)
            .await
            .unwrap();
    }
    sqlx::query("INSERT INTO payloads (tenant_id, run_id, hash, bytes) VALUES ($1, $2, $3, $4)")
        .bind(&tenant[..])
        .bind(&run[..])
        .bind(&payload.hash.as_bytes()[..])
        .bind(payload.bytes)
        .execute(&mut *conn)
        .await
        .unwrap();
    sqlx::query(
        "UPDATE runs SET seq = $3, head = $4, updated_at = $5, totals = $6 WHERE tenant_id = $1 AND id = $2",
    )
    .bind(&tenant[..])
    .bind(&run[..])
    .bind(seq)
    .bind(&head.as_bytes()[..])
    .bind(env.now().micros())
    .bind(serde_json::to_string(&totals).unwrap())
    .execute(&mut *conn)
    .await
    .unwrap();
    for event in usage {
        sqlx::query(
            "INSERT INTO usage_events (tenant_id, id, meter, quantity, at, user_id, agent_id, run_id, model, cost) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(&tenant[..])
        .bind(event.id.uuid().into_bytes().to_vec())
        .bind(event.meter.name())
        .bind(event.quantity as i64)
        .bind(event.at.micros())
        .bind(event.user.map(|user| user.uuid().into_bytes().to_vec()))
        .bind(event.agent.map(|agent| agent.uuid().into_bytes().to_vec()))
        .bind(&run[..])
        .bind(event.model)
        .bind(None::<i64>)
        .execute(&mut *conn)
        .await
        .unwrap();
    }
}

/// Writes of 4 KiB with fdatasync, per second.
fn probe(folder: &Path) -> f64 {
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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let runtime = Runtime::new().unwrap();
    let id: agentprovision_core::id::RequestId = Env::default().id();
    let folder = Folder(std::env::temp_dir().join(format!("agentprovision-bench-{id}")));
    std::fs::create_dir(&folder.0).unwrap();
    let file = folder.0.join("ours.db");
    let ours_world = Arc::new(runtime.block_on(world(&file)));
    let by_hand_file = folder.0.join("by_hand.db");
    let by_hand_world = runtime.block_on(async {
        let world = world(&by_hand_file).await;
        world.backend.close().await.unwrap();
        world
    });
    let mut conn = runtime.block_on(async {
        let options = SqliteConnectOptions::new()
            .filename(&by_hand_file)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .pragma("wal_autocheckpoint", "4000")
            .pragma("cache_size", "-32768")
            .disable_statement_logging();
        options.connect().await.unwrap()
    });
    let mut next = 0;
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .sample_size(10)
        .configure_from_args();
    let mut group = criterion.benchmark_group("journal");
    for runs in RUNS {
        group.throughput(Throughput::Elements(runs as u64));
        group.bench_function(format!("{runs}_runs"), |b| {
            b.iter_custom(|turns| {
                let turns = turns as usize;
                let rate = runtime.block_on(ours(&ours_world, runs, turns, next));
                next += turns as u32;
                Duration::from_secs_f64((runs * turns) as f64 / rate)
            });
        });
    }
    group.finish();

    let mut rates = [const { Vec::new() }; RUNS.len()];
    let mut ratios = [const { Vec::new() }; RUNS.len()];
    let mut many = Vec::new();
    for round in 0..ROUNDS {
        print!("round {round}: {:>5.0} fdatasync/s of 4 KiB", probe(&folder.0));
        for (place, (runs, steps)) in RUNS.into_iter().zip(STEPS).enumerate() {
            let turns = steps / runs;
            let ours = runtime.block_on(ours(&ours_world, runs, turns, next));
            let by_hand = runtime.block_on(reference(&mut conn, &by_hand_world, runs, turns, next));
            next += turns as u32;
            print!("; {runs} runs {ours:>6.0} steps/s, by hand {by_hand:>6.0}");
            rates[place].push(ours);
            ratios[place].push(ours / by_hand);
        }
        println!();
        many.push(rates[2][round] / rates[0][round]);
    }
    let steps = journal_rows(&runtime, &ours_world);
    runtime.block_on(ours_world.backend.close()).unwrap();
    let size = std::fs::metadata(&file).unwrap().len();
    println!("{:.0} bytes per step of 500 bytes of payload ({steps} steps)", size as f64 / steps as f64);
    for (runs, rates) in RUNS.iter().zip(rates) {
        println!("{runs:>3} runs: {:.0} steps/s", median(rates));
    }
    let [one, _, all] = ratios;
    println!("ratio journal_1 {:.2}", median(one));
    println!("ratio journal_256 {:.2}", median(all));
    println!("ratio journal_256_vs_1 {:.2}", median(many));
}

/// Steps that were written.
fn journal_rows(runtime: &Runtime, world: &World) -> u64 {
    let issuer = ContextIssuer::new(world.env.clone());
    let first = &world.leases[0].run;
    let identity = Identity {
        tenant: first.tenant,
        principal: Principal::User(first.user),
        scopes: PermissionSet::ALL,
        expires: None::<Timestamp>,
        key: None,
    };
    let ctx = issuer.context(&identity, &PermissionSet::ALL, RequestInfo::default());
    let run = |lease: &Lease| runtime.block_on(world.stores.index.get(&ctx, lease.run.id)).unwrap().seq / 2;
    world.leases.iter().map(run).sum()
}
