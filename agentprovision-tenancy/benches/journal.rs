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

mod world;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentprovision_core::Env;
use agentprovision_core::run::{ChainHash, Lease, link};
use criterion::{Criterion, Throughput};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Row};
use tokio::runtime::Runtime;

use world::{Folder, Step, World, median, probe, step, through_store};

const RUNS: [usize; 3] = [1, 16, 256];
const ROUNDS: usize = 7;
/// Steps of a round, about; so that a round takes some tenths of a second.
const STEPS: [usize; 3] = [300, 1600, 5120];

async fn on_file(file: &Path) -> World {
    World::with_runs(&format!("sqlite://{}", file.display()), RUNS[2]).await
}

/// Steps per second of `runs` tasks that do `turns` steps each, one after the other, through the store.
async fn ours(world: &Arc<World>, runs: usize, turns: usize, from: u32) -> f64 {
    (runs * turns) as f64 / through_store(world, runs, turns, from).await
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

fn main() {
    let runtime = Runtime::new().unwrap();
    let folder = Folder::new();
    let file = folder.0.join("ours.db");
    let ours_world = Arc::new(runtime.block_on(on_file(&file)));
    let by_hand_file = folder.0.join("by_hand.db");
    let by_hand_world = runtime.block_on(async {
        let world = on_file(&by_hand_file).await;
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
    let steps = runtime.block_on(ours_world.steps());
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
