//! What row security and the transaction of a tenant cost a read on PostgreSQL: one user by id, and a page of 100.
//!
//! Four ways to the same rows of the same server, by the same driver with prepared statements:
//!
//! - `store`: the platform's store, with its transaction, its tenant and row security
//! - `plain`: the same statement on a connection that row security does not bind, without a transaction
//! - `tenant_tx`: a hand-written transaction of the tenant (`BEGIN` and the setting in one message, the statement,
//!   `COMMIT`) by the platform's role, under row security
//! - `policy`: the statement alone within such a transaction that is open already; beside it `open`, the same within a
//!   transaction that row security does not bind: what the policies cost by themselves
//!
//! They take turns in blocks, whose whole time counts, so that a `COMMIT` nobody waits for counts too; the ratios are
//! medians over rounds. At the end a scan of 400,000 rows, with the policies and without, and the round trips of each way.
//!
//! The server is that of `AGENTPROVISION_TEST_POSTGRES_URL`. What can be set:
//!
//! - `BENCH_USERS`: users of a tenant, of which there are 20; 1000
//! - `BENCH_READS`: reads of a block; 400, and a quarter as many pages
//! - `BENCH_SCAN_ROWS`: 400000; 0 leaves the scan out
//! - `BENCH_ROUNDS`: 9

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints, and ends where something fails"
)]

#[path = "world/server.rs"]
mod server;
mod world;

use std::hint::black_box;
use std::time::Instant;

use agentprovision_core::id::UserId;
use agentprovision_core::identity::User;
use agentprovision_core::page::PageRequest;
use agentprovision_core::{Context, Timestamp};
use agentprovision_tenancy::store::postgres::TestDatabase;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection as _, Executor as _, Row as _};
use tokio::runtime::Runtime;
use uuid::Uuid;

use server::{Counter, Id, begin, commit, connect, database, describe, uuid};
use world::{Host, World, median, number};

const TENANTS: usize = 20;
const PAGE: u32 = 100;
/// Reads that are counted by their round trips.
const COUNTED: usize = 40;

/// The statements of the store (`store/sql/identity.rs`).
const ONE: &str = "SELECT id, email, name, roles, active, created_at, updated_at, revision FROM users \
    WHERE tenant_id = $1 AND id = $2";
const MANY: &str = "SELECT id, email, name, roles, active, created_at, updated_at, revision FROM users \
    WHERE tenant_id = $1 AND (created_at, id) > ($2, $3) ORDER BY created_at, id LIMIT $4";
const SCAN: &str = "SELECT count(*), CAST(sum(quantity) AS bigint) FROM usage_events";

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    One,
    Page,
}

/// How it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Store,
    Plain,
    TenantTx,
    Policy,
    Open,
}

const WAYS: [Way; 5] = [Way::Store, Way::Plain, Way::TenantTx, Way::Policy, Way::Open];

struct Bench {
    world: World,
    ctx: Context,
    ids: Vec<UserId>,
    /// The platform's role.
    app: PgConnection,
    /// A superuser, whom row security does not bind.
    owner: PgConnection,
}

impl Bench {
    /// Reads by way of the URLs.
    async fn new(url: &str, owner: &str, ctx: Context, ids: Vec<UserId>) -> Self {
        Self { world: World::open(url).await, ctx, ids, app: connect(url).await, owner: connect(owner).await }
    }

    fn tenant(&self) -> Uuid {
        self.ctx.tenant().uuid()
    }

    /// Seconds of a block of reads.
    async fn block(&mut self, read: Read, way: Way, reads: usize) -> f64 {
        let tenant = self.tenant();
        match way {
            Way::Policy => begin(&mut self.app, "READ ONLY", tenant).await,
            Way::Open => begin(&mut self.owner, "READ ONLY", tenant).await,
            Way::Store | Way::Plain | Way::TenantTx => {}
        }
        let start = Instant::now();
        for place in 0..reads {
            let id = self.ids[place % self.ids.len()];
            let found = match way {
                Way::Store => self.by_store(read, id).await,
                Way::Plain | Way::Open => by_hand(&mut self.owner, read, tenant, id).await,
                Way::Policy => by_hand(&mut self.app, read, tenant, id).await,
                Way::TenantTx => {
                    begin(&mut self.app, "READ ONLY", tenant).await;
                    let found = by_hand(&mut self.app, read, tenant, id).await;
                    commit(&mut self.app).await;
                    found
                }
            };
            assert_eq!(found.len(), if read == Read::One { 1 } else { PAGE as usize });
            black_box(found);
        }
        let seconds = start.elapsed().as_secs_f64();
        match way {
            Way::Policy => commit(&mut self.app).await,
            Way::Open => commit(&mut self.owner).await,
            Way::Store | Way::Plain | Way::TenantTx => {}
        }
        seconds
    }

    async fn by_store(&self, read: Read, id: UserId) -> Vec<User> {
        let users = &self.world.stores.users;
        match read {
            Read::One => vec![users.get(&self.ctx, id).await.unwrap()],
            Read::Page => users.list(&self.ctx, PageRequest::limit(PAGE)).await.unwrap().items,
        }
    }

    async fn close(self) {
        self.world.backend.close().await.unwrap();
        self.app.close().await.unwrap();
        self.owner.close().await.unwrap();
    }
}

async fn by_hand(conn: &mut PgConnection, read: Read, tenant: Uuid, id: UserId) -> Vec<User> {
    match read {
        Read::One => {
            let row = sqlx::query(ONE).bind(Id(tenant)).bind(Id(id.uuid())).fetch_one(conn).await.unwrap();
            vec![user(&row)]
        }
        Read::Page => {
            let query = sqlx::query(MANY).bind(Id(tenant)).bind(i64::MIN).bind(Id(Uuid::nil()));
            let rows = query.bind(i64::from(PAGE) + 1).fetch_all(conn).await.unwrap();
            rows.iter().take(PAGE as usize).map(user).collect()
        }
    }
}

fn user(row: &PgRow) -> User {
    User {
        id: UserId::from_uuid(uuid(row, 0)).unwrap(),
        email: row.get(1),
        name: row.get(2),
        roles: serde_json::from_str(row.get(3)).unwrap(),
        active: row.get::<i64, _>(4) == 1,
        created_at: Timestamp::from_micros(row.get(5)),
        updated_at: Timestamp::from_micros(row.get(6)),
        revision: row.get::<i64, _>(7).try_into().unwrap(),
    }
}

/// Tenants with users, and one with usage to scan. Gives a tenant in the middle, some of its users, and the one with the
/// usage.
async fn fill(database: &TestDatabase, users: usize, scan: usize) -> (Context, Vec<UserId>, Uuid) {
    let world = World::open(database.url()).await;
    let mut owner = connect(&database.admin_url().unwrap()).await;
    let mut hosts: Vec<Host> = Vec::new();
    for _ in 0..TENANTS {
        let host = world.host().await;
        sqlx::query(
            "INSERT INTO users (tenant_id, id, email, name, roles, active, created_at, updated_at, revision) SELECT $1, \
             gen_random_uuid(), 'user' || n || '@acme.example', 'User ' || n, '[\"agent_viewer\"]', 1, \
             1700000000000000 + n, 1700000000000000 + n, 1 FROM generate_series(1, $2) n",
        )
        .bind(Id(host.ctx.tenant().uuid()))
        .bind(users as i64)
        .execute(&mut owner)
        .await
        .unwrap();
        hosts.push(host);
    }
    let scanned = hosts[0].ctx.tenant().uuid();
    sqlx::query(
        "INSERT INTO usage_events (tenant_id, id, meter, quantity, at) SELECT $1, gen_random_uuid(), \
         'llm.tokens.input', n, 1700000000000000 + n FROM generate_series(1, $2) n",
    )
    .bind(Id(scanned))
    .bind(scan as i64)
    .execute(&mut owner)
    .await
    .unwrap();
    owner.execute("VACUUM ANALYZE").await.unwrap();
    let ctx = hosts.swap_remove(TENANTS / 2).ctx;
    let page = world.stores.users.list(&ctx, PageRequest::limit(PAGE)).await.unwrap();
    world.backend.close().await.unwrap();
    (ctx, page.items.into_iter().map(|user| user.id).collect(), scanned)
}

/// Milliseconds of a scan of all the rows, with the policies and without, in turns.
async fn scan(bench: &mut Bench, tenant: Uuid, rounds: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut bound, mut free) = (Vec::new(), Vec::new());
    for _ in 0..=rounds {
        begin(&mut bench.app, "READ ONLY", tenant).await;
        let start = Instant::now();
        let ours: i64 = sqlx::query(SCAN).fetch_one(&mut bench.app).await.unwrap().get(0);
        bound.push(start.elapsed().as_secs_f64() * 1e3);
        commit(&mut bench.app).await;
        begin(&mut bench.owner, "READ ONLY", tenant).await;
        let start = Instant::now();
        let theirs: i64 = sqlx::query(SCAN).fetch_one(&mut bench.owner).await.unwrap().get(0);
        free.push(start.elapsed().as_secs_f64() * 1e3);
        commit(&mut bench.owner).await;
        assert_eq!(ours, theirs, "both see the same rows");
    }
    // The first one prepares the statement.
    (bound.split_off(1), free.split_off(1))
}

/// Round trips of a read each way.
async fn round_trips(database: &TestDatabase, ctx: &Context, ids: &[UserId]) -> Vec<f64> {
    let counter = Counter::before(database.url()).await;
    let (url, owner) = (counter.on(database.url()), counter.on(&database.admin_url().unwrap()));
    let mut bench = Bench::new(&url, &owner, ctx.clone(), ids.to_vec()).await;
    let mut trips = Vec::new();
    for way in WAYS {
        bench.block(Read::One, way, 5).await;
        counter.take();
        bench.block(Read::One, way, COUNTED).await;
        trips.push(counter.take() as f64 / COUNTED as f64);
    }
    bench.close().await;
    trips
}

fn main() {
    let (users, reads) = (number("BENCH_USERS", 1000), number("BENCH_READS", 400));
    let (rows, rounds) = (number("BENCH_SCAN_ROWS", 400_000), number("BENCH_ROUNDS", 9));
    assert!(users > PAGE as usize, "a page has another behind it");
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        describe().await;
        let database = database().await;
        let (ctx, ids, scanned) = fill(&database, users, rows).await;
        let trips = round_trips(&database, &ctx, &ids).await;
        let mut bench = Bench::new(database.url(), &database.admin_url().unwrap(), ctx, ids).await;
        let mut ratios = Vec::new();
        println!("\n{TENANTS} tenants with {users} users each; µs per read, medians over {rounds} rounds");
        println!("{:>12} {}", "", WAYS.map(|way| format!("{:>10}", format!("{way:?}"))).concat());
        for (read, name) in [(Read::One, "get"), (Read::Page, "list_100")] {
            let reads = if read == Read::One { reads } else { (reads / 4).max(1) };
            let mut taken = [const { Vec::new() }; WAYS.len()];
            for way in WAYS {
                bench.block(read, way, reads / 4 + 5).await;
            }
            for round in 0..rounds {
                for turn in 0..WAYS.len() {
                    let place = (round + turn) % WAYS.len();
                    taken[place].push(bench.block(read, WAYS[place], reads).await * 1e6 / reads as f64);
                }
            }
            let shown = taken.each_ref().map(|taken| format!("{:>10.1}", median(taken.clone())));
            println!("{name:>12} {}", shown.concat());
            let ratio = |ours: Way, theirs: Way| {
                let [ours, theirs] =
                    [ours, theirs].map(|way| &taken[WAYS.iter().position(|one| *one == way).unwrap()]);
                median(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect())
            };
            ratios.push((format!("rls_{name}"), ratio(Way::Store, Way::Plain)));
            ratios.push((format!("rls_{name}_store_vs_tenant_tx"), ratio(Way::Store, Way::TenantTx)));
            ratios.push((format!("rls_{name}_tenant_tx"), ratio(Way::TenantTx, Way::Plain)));
            ratios.push((format!("rls_{name}_policy"), ratio(Way::Policy, Way::Open)));
        }
        let shown: Vec<String> = trips.iter().map(|trips| format!("{trips:>10.1}")).collect();
        println!("{:>12} {}", "round trips", shown.concat());
        if rows > 0 {
            let (bound, free) = scan(&mut bench, scanned, rounds).await;
            let ratio = bound.iter().zip(&free).map(|(bound, free)| bound / free).collect();
            println!(
                "scan of {rows} rows: {:.1} ms under the policies, {:.1} ms without",
                median(bound),
                median(free)
            );
            ratios.push(("rls_scan".into(), median(ratio)));
        }
        println!();
        for (name, ratio) in ratios {
            println!("ratio {name} {ratio:.2}");
        }
        bench.close().await;
    });
}
