//! Durable steps per second on PostgreSQL, by 1, 16 and 256 runs at the same time in 1 and 2 processes, each step the
//! commit of a DONE and an INTENT row with a payload of 500 bytes and three usage events. Beside it the same rows in the
//! same tables by hand-written transactions, under row security too, on as many connections. The two take turns, and the
//! ratios are medians over rounds. What the disk does is printed with every round, and at the end how often each waits
//! for the server in a step.
//!
//! The server is that of `AGENTPROVISION_TEST_POSTGRES_URL`. What can be set:
//!
//! - `BENCH_RUNS`: runs at the same time, of all processes together; `1,16,256`
//! - `BENCH_PROCESSES`: `1,2`
//! - `BENCH_CONNECTIONS`: connections of a process, here and there; 10, which is the default of a store URL
//! - `BENCH_STEPS`: steps of a round, about; 1000, and 300 for a single run
//! - `BENCH_ROUNDS`: 7

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints, and ends where something fails"
)]

#[path = "world/server.rs"]
mod server;
mod world;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use agentprovision_core::Env;
use agentprovision_core::run::{ChainHash, Lease, link};
use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use tokio::runtime::Runtime;

use server::{Counter, Id, begin, commit, connect, database, describe, with};
use world::{Folder, Step, World, median, number, numbers, probe, step, through_store};

/// Makes a process one that commits: the URL of the store.
const WORKER: &str = "PG_JOURNAL_WORKER";
/// Its runs.
const WORKER_RUNS: &str = "PG_JOURNAL_RUNS";
/// Steps that are counted by their round trips.
const COUNTED: u32 = 50;

/// The same rows by hand, as the role of the platform: `turns` steps of each of `runs` runs, dealt out to the
/// connections. Gives the connections back with the seconds it took.
async fn by_hand(
    mut conns: Vec<PgConnection>,
    world: &Arc<World>,
    runs: usize,
    turns: usize,
    from: u32,
) -> (Vec<PgConnection>, f64) {
    let lanes = runs.min(conns.len());
    let start = Instant::now();
    let tasks: Vec<_> = conns
        .drain(..lanes)
        .enumerate()
        .map(|(lane, mut conn)| {
            let world = world.clone();
            tokio::spawn(async move {
                for turn in 0..turns {
                    for lease in world.leases[..runs].iter().skip(lane).step_by(lanes) {
                        step_by_hand(&mut conn, &world.env, lease, from + turn as u32).await;
                    }
                }
                conn
            })
        })
        .collect();
    for task in tasks {
        conns.push(task.await.unwrap());
    }
    (conns, start.elapsed().as_secs_f64())
}

async fn step_by_hand(conn: &mut PgConnection, env: &Env, lease: &Lease, number: u32) {
    let Step { entries, payload, totals, usage } = step(env, lease, number);
    let (tenant, run) = (Id(lease.fence.tenant.uuid()), Id(lease.fence.run.uuid()));
    begin(conn, "", tenant.0).await;
    let standing = sqlx::query(
        "SELECT r.seq, r.head, r.status, l.epoch FROM runs r JOIN run_leases l ON l.tenant_id = r.tenant_id \
         AND l.run_id = r.id WHERE r.tenant_id = $1 AND r.id = $2 AND l.lease_until IS NOT NULL FOR UPDATE",
    );
    let row = standing.bind(tenant).bind(run).fetch_one(&mut *conn).await.unwrap();
    assert_eq!(row.get::<i64, _>(3), 1);
    let mut seq = row.get::<i64, _>(0);
    let mut head = ChainHash::from_bytes(row.get::<Vec<u8>, _>(1).try_into().unwrap());
    let mut rows = Vec::new();
    for body in entries {
        seq += 1;
        head = link(&lease.run.salt, &head, seq as u64, &body);
        rows.push((seq, body, head.as_bytes().to_vec()));
    }
    let [done, intent] = <[_; 2]>::try_from(rows).unwrap();
    let journal = sqlx::query(
        "INSERT INTO journal (tenant_id, run_id, seq, body, hash) VALUES ($1, $2, $3, $4, $5), ($1, $2, $6, $7, $8)",
    );
    let journal = journal.bind(tenant).bind(run).bind(done.0).bind(done.1).bind(done.2);
    journal.bind(intent.0).bind(intent.1).bind(intent.2).execute(&mut *conn).await.unwrap();
    sqlx::query("INSERT INTO payloads (tenant_id, run_id, hash, bytes) VALUES ($1, $2, $3, $4)")
        .bind(tenant)
        .bind(run)
        .bind(&payload.hash.as_bytes()[..])
        .bind(payload.bytes)
        .execute(&mut *conn)
        .await
        .unwrap();
    sqlx::query(
        "UPDATE runs SET seq = $3, head = $4, updated_at = $5, totals = $6 WHERE tenant_id = $1 AND id = $2",
    )
    .bind(tenant)
    .bind(run)
    .bind(seq)
    .bind(&head.as_bytes()[..])
    .bind(env.now().micros())
    .bind(serde_json::to_string(&totals).unwrap())
    .execute(&mut *conn)
    .await
    .unwrap();
    let mut events = sqlx::query(
        "INSERT INTO usage_events (tenant_id, id, meter, quantity, at, user_id, agent_id, run_id, model, cost) VALUES \
         ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10), ($1, $11, $12, $13, $14, $15, $16, $17, $18, $19), \
         ($1, $20, $21, $22, $23, $24, $25, $26, $27, $28)",
    )
    .bind(tenant);
    for event in usage {
        events = events
            .bind(Id(event.id.uuid()))
            .bind(event.meter.name())
            .bind(event.quantity as i64)
            .bind(event.at.micros())
            .bind(event.user.map(|user| Id(user.uuid())))
            .bind(event.agent.map(|agent| Id(agent.uuid())))
            .bind(event.run.map(|run| Id(run.uuid())))
            .bind(event.model)
            .bind(None::<i64>);
    }
    events.execute(&mut *conn).await.unwrap();
    commit(conn).await;
}

/// Round trips of a step through the store and by hand.
async fn round_trips(url: &str) -> (f64, f64) {
    let counter = Counter::before(url).await;
    let world = Arc::new(World::with_runs(&counter.on(url), 1).await);
    let conns = vec![connect(&counter.on(url)).await];
    through_store(&world, 1, 5, 0).await;
    let (conns, _) = by_hand(conns, &world, 1, 5, 5).await;
    counter.take();
    through_store(&world, 1, COUNTED as usize, 10).await;
    let ours = counter.take();
    by_hand(conns, &world, 1, COUNTED as usize, 10 + COUNTED).await;
    let theirs = counter.take();
    world.backend.close().await.unwrap();
    (ours as f64 / f64::from(COUNTED), theirs as f64 / f64::from(COUNTED))
}

/// The process that commits: for each line, `ours` or `by_hand`, runs and turns, it commits, and says how long it took.
fn worker(url: &str) {
    let runtime = Runtime::new().unwrap();
    let (most, connections) = (number(WORKER_RUNS, 256), number("BENCH_CONNECTIONS", 10));
    let url = with(url, &format!("max_connections={connections}"));
    let world = Arc::new(runtime.block_on(World::with_runs(&url, most)));
    let plain = url.split('?').next().unwrap();
    let mut conns =
        runtime.block_on(futures_util::future::join_all((0..connections).map(|_| connect(plain))));
    let say = |what: &str| {
        println!("{what}");
        std::io::stdout().flush().unwrap();
    };
    say("ready");
    let mut next = 0;
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let (runs, turns) = (words[1].parse().unwrap(), words[2].parse().unwrap());
        let seconds = match words[0] {
            "ours" => runtime.block_on(through_store(&world, runs, turns, next)),
            _ => {
                let (back, seconds) = runtime.block_on(by_hand(conns, &world, runs, turns, next));
                conns = back;
                seconds
            }
        };
        next += turns as u32;
        say(&seconds.to_string());
    }
    assert!(runtime.block_on(world.steps()) > 0);
    runtime.block_on(world.backend.close()).unwrap();
}

/// A worker as its parent sees it. It ends with its standard input.
struct Worker {
    child: Child,
    tell: Option<ChildStdin>,
    hear: BufReader<ChildStdout>,
}

impl Worker {
    fn start(url: &str, most: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(WORKER, url).env(WORKER_RUNS, most.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (tell, hear) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, tell, hear }
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.tell.as_mut().unwrap(), "{line}").unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        assert!(self.hear.read_line(&mut line).unwrap() > 0, "a worker has ended; the reason is above");
        line
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.tell.take());
        let _ = self.child.wait();
    }
}

/// Steps per second of all workers together.
fn turn(workers: &mut [Worker], who: &str, runs: usize, turns: usize) -> f64 {
    let each = runs / workers.len();
    let start = Instant::now();
    workers.iter_mut().for_each(|worker| worker.tell(&format!("{who} {each} {turns}")));
    workers.iter_mut().for_each(|worker| drop(worker.hear()));
    (each * workers.len() * turns) as f64 / start.elapsed().as_secs_f64()
}

/// What was measured of some runs in some processes.
struct Cell {
    runs: usize,
    processes: usize,
    turns: usize,
    ours: Vec<f64>,
    by_hand: Vec<f64>,
    ratios: Vec<f64>,
}

fn main() {
    if let Ok(url) = std::env::var(WORKER) {
        return worker(&url);
    }
    let runtime = Runtime::new().unwrap();
    runtime.block_on(describe());
    let database = runtime.block_on(database());
    let (trips, trips_by_hand) = runtime.block_on(round_trips(database.url()));
    let mut cells = Vec::new();
    for processes in numbers("BENCH_PROCESSES", &[1, 2]) {
        // A run is driven by one process.
        for runs in numbers("BENCH_RUNS", &[1, 16, 256]).into_iter().filter(|runs| *runs >= processes) {
            let steps = number("BENCH_STEPS", if runs == 1 { 300 } else { 1000 });
            let (ours, by_hand, ratios) = (Vec::new(), Vec::new(), Vec::new());
            cells.push(Cell { runs, processes, turns: (steps / runs).max(1), ours, by_hand, ratios });
        }
    }
    let most = cells.iter().map(|cell| cell.runs / cell.processes).max().unwrap();
    let processes = cells.iter().map(|cell| cell.processes).max().unwrap();
    let mut workers: Vec<Worker> = (0..processes).map(|_| Worker::start(database.url(), most)).collect();
    for worker in &mut workers {
        assert_eq!(worker.hear().trim(), "ready");
    }
    // Connections are opened and statements prepared.
    for who in ["ours", "by_hand"] {
        turn(&mut workers, who, most * processes, 1);
    }
    let folder = Folder::new();
    for round in 0..number("BENCH_ROUNDS", 7) {
        print!("round {round}: {:>5.0} fdatasync/s of 4 KiB", probe(&folder.0));
        for cell in &mut cells {
            let workers = &mut workers[..cell.processes];
            let mut rate = |who| turn(workers, who, cell.runs, cell.turns);
            // Neither is always the first.
            let (ours, by_hand) = if round % 2 == 0 {
                let ours = rate("ours");
                (ours, rate("by_hand"))
            } else {
                let by_hand = rate("by_hand");
                (rate("ours"), by_hand)
            };
            print!("; {} runs, {} p: {ours:.0}, by hand {by_hand:.0}", cell.runs, cell.processes);
            cell.ours.push(ours);
            cell.by_hand.push(by_hand);
            cell.ratios.push(ours / by_hand);
        }
        println!();
    }
    drop(workers);
    println!("\n{:>5} {:>10} {:>14} {:>14}", "runs", "processes", "steps/s", "by hand");
    for cell in &cells {
        let (ours, by_hand) = (median(cell.ours.clone()), median(cell.by_hand.clone()));
        println!("{:>5} {:>10} {ours:>14.0} {by_hand:>14.0}", cell.runs, cell.processes);
    }
    println!("round trips of a step: {trips:.1}, by hand {trips_by_hand:.1}\n");
    for cell in cells {
        let name = match cell.processes {
            1 => format!("pg_journal_{}", cell.runs),
            processes => format!("pg_journal_{}_in_{processes}_processes", cell.runs),
        };
        println!("ratio {name} {:.2}", median(cell.ratios));
    }
}
