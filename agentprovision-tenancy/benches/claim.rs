//! Runs claimed per second on PostgreSQL by 1, 4 and 16 workers at the same time, each one run at a time and a connection
//! of its own, while 1,000, 10,000 and 100,000 runs wait, all of one tenant or spread over 100. As many are claimed
//! whatever waits, so a claim whose cost does not depend on what waits gives the same rate. The databases take turns;
//! figures are medians over rounds.
//!
//! The server is that of `AGENTPROVISION_TEST_POSTGRES_URL`. What can be set:
//!
//! - `BENCH_WAITING`: runs that wait; `1000,10000,100000`, of which the first and the last are compared
//! - `BENCH_TENANTS`: tenants they belong to; `1,100`
//! - `BENCH_WORKERS`: workers at the same time; `1,4,16`
//! - `BENCH_CLAIMS`: claims of a round; 480
//! - `BENCH_LIMIT`: runs a claim may take; 1
//! - `BENCH_ROUNDS`: 5

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints, and ends where something fails"
)]

#[path = "world/server.rs"]
mod server;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use agentprovision_core::Effects;
use agentprovision_core::id::WorkerId;
use agentprovision_core::run::{ClaimRequest, JournalBatch, Release, RunPatch, STATE_VERSION};
use agentprovision_tenancy::store::postgres::TestDatabase;
use sqlx::Executor as _;
use tokio::runtime::Runtime;

use server::{Id, connect, database, describe, with};
use world::{World, median, number, numbers};

/// Claims of each worker that are not measured.
const WARM_UP: usize = 8;

/// A database in which runs wait.
struct Waiting {
    database: TestDatabase,
    tenants: usize,
    runs: usize,
    /// Claims per second, by the number of workers.
    rates: Vec<Vec<f64>>,
    /// Claims that came back with nothing because others were at the same runs.
    empty: Vec<usize>,
}

impl Waiting {
    /// One run of each tenant is made and given up by the store; the others are copies of it.
    async fn fill(tenants: usize, runs: usize, measures: usize) -> Self {
        let database = database().await;
        let world = World::open(database.url()).await;
        let mut owner = connect(&database.admin_url().unwrap()).await;
        for place in 0..tenants {
            let host = world.host().await;
            let lease = world.start(&host).await;
            let patch = RunPatch { release: Some(Release::Ready), ..RunPatch::default() };
            let batch = JournalBatch { patch, ..JournalBatch::default() };
            world.stores.runs.commit(&lease.fence, batch, Effects::none()).await.unwrap();
            let copies = runs / tenants + usize::from(place < runs % tenants) - 1;
            let (tenant, run) = (Id(lease.fence.tenant.uuid()), Id(lease.fence.run.uuid()));
            sqlx::query(
                "WITH copies AS MATERIALIZED (SELECT gen_random_uuid() AS run_id, n FROM generate_series(1, $3) n), \
                 added AS (INSERT INTO runs (tenant_id, id, agent_id, version, user_id, status, state_version, salt, \
                 seq, head, deadline, totals, created_at, updated_at) SELECT r.tenant_id, c.run_id, r.agent_id, \
                 r.version, r.user_id, r.status, r.state_version, r.salt, r.seq, r.head, r.deadline, r.totals, \
                 r.created_at + c.n, r.updated_at FROM runs r, copies c WHERE r.tenant_id = $1 AND r.id = $2) \
                 INSERT INTO run_leases (tenant_id, run_id, ready_at, lease_until, epoch, state_version, worker_id) \
                 SELECT l.tenant_id, c.run_id, l.ready_at - c.n, NULL, l.epoch, l.state_version, l.worker_id \
                 FROM run_leases l, copies c WHERE l.tenant_id = $1 AND l.run_id = $2",
            )
            .bind(tenant)
            .bind(run)
            .bind(copies as i64)
            .execute(&mut owner)
            .await
            .unwrap();
        }
        owner.execute("VACUUM ANALYZE").await.unwrap();
        world.backend.close().await.unwrap();
        Self { database, tenants, runs, rates: vec![Vec::new(); measures], empty: vec![0; measures] }
    }

    /// Claims per second of so many workers, and how often one got nothing. What they took waits again afterwards.
    async fn measure(&self, workers: usize, claims: usize, limit: usize) -> (f64, usize) {
        let url = with(self.database.url(), &format!("max_connections={workers}"));
        let world = Arc::new(World::open(&url).await);
        // Connections are opened, and statements prepared and planned as often as the server wants to before it keeps a
        // plan.
        claim(&world, workers, workers * WARM_UP, 1).await;
        let (seconds, empty) = claim(&world, workers, claims, limit).await;
        world.backend.close().await.unwrap();
        let mut owner = connect(&self.database.admin_url().unwrap()).await;
        let back = "UPDATE run_leases SET lease_until = NULL, epoch = 1 WHERE lease_until IS NOT NULL";
        let taken = owner.execute(back).await.unwrap().rows_affected();
        assert!(taken >= claims as u64, "{taken} runs were taken");
        owner.execute("VACUUM run_leases").await.unwrap();
        (claims as f64 / seconds, empty)
    }
}

/// Seconds until the workers together have claimed so often, and how often one came back with nothing.
async fn claim(world: &Arc<World>, workers: usize, claims: usize, limit: usize) -> (f64, usize) {
    let (left, empty) = (Arc::new(AtomicUsize::new(claims)), Arc::new(AtomicUsize::new(0)));
    let start = Instant::now();
    let tasks: Vec<_> = (0..workers)
        .map(|_| {
            let (world, left, empty) = (world.clone(), left.clone(), empty.clone());
            tokio::spawn(async move {
                let worker: WorkerId = world.env.id();
                let mut after = None;
                let take = |left: usize| left.checked_sub(1);
                while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
                    loop {
                        let until = world.env.now().after(Duration::from_secs(600));
                        let ask = ClaimRequest::new(worker, until, limit, STATE_VERSION).after(after);
                        let leases = world.stores.runs.claim(ask).await.unwrap();
                        match leases.last() {
                            Some(last) => {
                                after = Some(last.fence.tenant);
                                break;
                            }
                            None => drop(empty.fetch_add(1, Ordering::SeqCst)),
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    (start.elapsed().as_secs_f64(), empty.load(Ordering::SeqCst))
}

fn main() {
    let workers = numbers("BENCH_WORKERS", &[1, 4, 16]);
    let (claims, limit) = (number("BENCH_CLAIMS", 480), number("BENCH_LIMIT", 1));
    let (sizes, rounds) = (numbers("BENCH_WAITING", &[1000, 10_000, 100_000]), number("BENCH_ROUNDS", 5));
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        describe().await;
        let mut all = Vec::new();
        for tenants in numbers("BENCH_TENANTS", &[1, 100]) {
            for &runs in &sizes {
                let most = claims * limit + workers.iter().max().unwrap() * WARM_UP;
                assert!(runs >= most && runs >= tenants, "{runs} runs are too few for {most} claims");
                all.push(Waiting::fill(tenants, runs, workers.len()).await);
            }
        }
        for round in 0..rounds {
            print!("round {round}:");
            for waiting in &mut all {
                for (place, &workers) in workers.iter().enumerate() {
                    let (rate, empty) = waiting.measure(workers, claims, limit).await;
                    waiting.rates[place].push(rate);
                    waiting.empty[place] += empty;
                    print!(" {rate:.0}");
                }
            }
            println!();
        }
        report(&all, &workers, &sizes, rounds * claims);
    });
}

fn report(all: &[Waiting], workers: &[usize], sizes: &[usize], claims: usize) {
    println!("\nclaims/s (how many of 100 claims found nothing, because others were at the same runs)");
    let head: Vec<String> = workers.iter().map(|workers| format!("{workers:>8} workers")).collect();
    println!("{:>8} {:>8} {}", "tenants", "waiting", head.concat());
    for waiting in all {
        let cells = waiting.rates.iter().zip(&waiting.empty).map(|(rates, empty)| {
            let empty = *empty as f64 * 100.0 / (claims + empty) as f64;
            format!("{:>9.0} ({empty:>3.0})", median(rates.clone()))
        });
        println!("{:>8} {:>8} {}", waiting.tenants, waiting.runs, cells.collect::<String>());
    }
    println!();
    let (few, many) = (sizes[0], sizes[sizes.len() - 1]);
    let mut least = f64::INFINITY;
    let mut lines = Vec::new();
    for longest in all.iter().filter(|waiting| waiting.runs == many) {
        let shortest =
            all.iter().find(|other| other.runs == few && other.tenants == longest.tenants).unwrap();
        for (place, workers) in workers.iter().enumerate() {
            let rounds = longest.rates[place].iter().zip(&shortest.rates[place]);
            let ratio = median(rounds.map(|(many, few)| many / few).collect());
            least = least.min(ratio);
            let tenants = longest.tenants;
            lines.push(format!(
                "ratio claim_flat_{many}_vs_{few}_{tenants}_tenants_{workers}_workers {ratio:.2}"
            ));
        }
    }
    for waiting in all.iter().filter(|waiting| waiting.runs == many) {
        let (first, last) = (0, workers.len() - 1);
        let rounds = waiting.rates[last].iter().zip(&waiting.rates[first]);
        let ratio = median(rounds.map(|(many, one)| many / one).collect());
        let (one, many, tenants) = (workers[first], workers[last], waiting.tenants);
        lines.push(format!("ratio claim_{many}_vs_{one}_workers_{tenants}_tenants {ratio:.2}"));
    }
    lines.iter().for_each(|line| println!("{line}"));
    println!("ratio claim_flat_{many}_vs_{few} {least:.2}");
}
