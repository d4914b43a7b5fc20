//! Deliveries of webhooks per second, each verified, read, stored and acknowledged: requests with a signed body of GitHub's
//! size, from the service that an HTTP server mounts to its answer; one after the other, and 64 at the same time. Beside it
//! the same rows in the same tables by hand-written transactions: one to a delivery; on SQLite one to 64 where there are so
//! many, on PostgreSQL on as many connections as the store has. The two take turns, and the ratios are medians over rounds.
//! Aim: at least 0.7.
//!
//! PostgreSQL is measured where `AGENTPROVISION_TEST_POSTGRES_URL` names a server. What can be set:
//!
//! - `BENCH_ROUNDS`: 7
//! - `BENCH_DELIVERIES`: of a round, about; 1920, and a quarter of it one after the other

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints, and ends where something fails"
)]

#[path = "../agentprovision-tenancy/benches/world/server.rs"]
mod server;
#[path = "../agentprovision-tenancy/benches/world/mod.rs"]
mod world;

use std::time::Instant;

use agentprovision::connectors::webhook::{
    MadeEndpoint, NewEndpoint, Receiver, ReceiverOptions, Scheme, Secrets, Vendor, Verifier, WorkOptions,
};
use agentprovision::id::TenantId;
use agentprovision::prelude::*;
use agentprovision::tenancy::secret::SealingKeys;
use agentprovision::tenancy::store;
use agentprovision::{Env, Timestamp};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Row as _};
use tokio::runtime::Runtime;
use tower::Service as _;
use uuid::Uuid;

use server::{Id, begin, commit, connect, database, describe};
use world::{Folder, median, number, probe};

const AT_ONCE: [usize; 2] = [1, 64];
/// Connections to PostgreSQL, here and there; the default of a store URL.
const CONNECTIONS: usize = 10;

/// An event of an issue as GitHub sends it, about as large.
fn body(number: usize) -> Bytes {
    let link = |name: &str| format!("https://api.github.example/repos/octo-org/octo-repo/{name}{{/number}}");
    let links = |object: &mut Value, names: &[&str]| {
        for name in names {
            object[format!("{name}_url")] = link(name).into();
        }
    };
    let mut user = json!({ "login": "octocat", "id": 583_231, "type": "User", "site_admin": false });
    let of_user = ["followers", "following", "gists", "starred", "subscriptions", "organizations", "repos"];
    links(&mut user, &of_user);
    let mut repository = json!({
        "id": 1_296_269, "name": "octo-repo", "full_name": "octo-org/octo-repo", "private": true, "owner": user,
        "default_branch": "main", "created_at": "2011-01-26T19:01:12Z", "pushed_at": "2026-01-26T19:06:43Z",
    });
    let of_repository = [
        "archive",
        "assignees",
        "blobs",
        "branches",
        "collaborators",
        "comments",
        "commits",
        "compare",
        "contents",
        "contributors",
        "deployments",
        "downloads",
        "events",
        "forks",
        "git_commits",
        "git_refs",
        "git_tags",
        "hooks",
        "issue_comment",
        "issue_events",
        "issues",
        "keys",
        "labels",
        "languages",
        "merges",
        "milestones",
        "notifications",
        "pulls",
        "releases",
        "stargazers",
        "statuses",
        "subscribers",
        "subscription",
        "tags",
        "teams",
        "trees",
    ];
    links(&mut repository, &of_repository);
    let text =
        "The printer on the second floor burns when somebody prints more than forty pages. ".repeat(16);
    let mut issue = json!({
        "id": number, "number": number, "title": "It burns", "body": text, "state": "open", "user": user,
        "labels": [{ "id": 7, "name": "bug", "color": "d73a4a", "default": true }], "assignees": [user],
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "comments": 0,
    });
    links(&mut issue, &["labels", "comments", "events", "html", "timeline"]);
    let event = json!({ "action": "opened", "issue": issue, "repository": repository, "sender": user });
    Bytes::from(event.to_string())
}

/// Deliveries as a vendor signs them, one for each number; no number comes twice.
struct Vendors {
    verifier: Verifier,
    url: String,
    sent: usize,
}

impl Vendors {
    fn requests(&mut self, count: usize) -> Vec<Request<Full<Bytes>>> {
        let first = self.sent;
        self.sent += count;
        (first..self.sent)
            .map(|number| {
                let body = body(number);
                let mut request = Request::post(&*self.url)
                    .header("content-type", "application/json")
                    .header("x-github-event", "issues")
                    .header("x-github-delivery", format!("72d3162e-cc78-11e3-81ab-{number:012}"))
                    .header("x-github-hook-id", "292430182")
                    .body(Full::new(body.clone()))
                    .unwrap();
                let now = Timestamp::from_micros(0);
                request.headers_mut().extend(self.verifier.sign(now, "", &body).unwrap());
                request
            })
            .collect()
    }
}

/// The platform's side: a receiver over a store.
struct Ours {
    receiver: Receiver,
    vendors: Vendors,
    platform: Platform,
}

impl Ours {
    async fn open(url: &str) -> Self {
        let env = Env::default();
        let backend = store::connect(url, env.clone()).await.unwrap();
        let mut nobody = WorkOptions::default();
        nobody.at_once = 0;
        let platform = Platform::builder()
            .backend(backend)
            .env(env)
            .sealing_keys(SealingKeys::new(&[[7; 32]]).unwrap())
            .webhook_work(nobody)
            .build()
            .await
            .unwrap();
        let op = platform.operator("bench", "a benchmark").unwrap();
        let tenant = platform.tenants().create(&op, NewTenant::without_domain("acme")).await.unwrap();
        let root = NewUser::new("root@acme.example");
        let root = platform.tenants().bootstrap_admin(&op, tenant.id, root).await.unwrap();
        let ctx = platform.context(tenant.id, root.id).await.unwrap();
        let new = NewEndpoint {
            name: "code".into(),
            vendor: Vendor::Github,
            scheme: None,
            source: None,
            integration: None,
            triggers: Vec::new(),
            secret: None,
        };
        let MadeEndpoint { endpoint, secret, .. } = platform.webhooks().create(&ctx, new).await.unwrap();
        let vendors = Vendors {
            verifier: Verifier::new(Scheme::Github, Secrets::new(secret)).unwrap(),
            url: format!("/hooks/{}", endpoint.address),
            sent: 0,
        };
        Self { receiver: platform.webhooks().receiver(ReceiverOptions::default()), vendors, platform }
    }

    /// Deliveries per second of `at_once` tasks that send `turns` each, one after the other.
    async fn rate(&mut self, at_once: usize, turns: usize) -> f64 {
        let lots: Vec<_> = (0..at_once).map(|_| self.vendors.requests(turns)).collect();
        let begun = Instant::now();
        let tasks: Vec<_> = lots
            .into_iter()
            .map(|requests| {
                let mut receiver = self.receiver.clone();
                tokio::spawn(async move {
                    for request in requests {
                        assert_eq!(receiver.call(request).await.unwrap().status(), 200);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        (at_once * turns) as f64 / begun.elapsed().as_secs_f64()
    }
}

/// What is written by hand.
struct Written {
    id: Uuid,
    key: String,
    digest: [u8; 32],
    headers: String,
    at: i64,
    body: Bytes,
}

/// The same rows for writing by hand.
struct Hand {
    env: Env,
    tenant: Uuid,
    endpoint: Uuid,
    made: usize,
}

impl Hand {
    fn new(tenant: Uuid) -> Self {
        let env = Env::default();
        let endpoint = env.id::<agentprovision::id::EndpointId>().uuid();
        Self { env, tenant, endpoint, made: 0 }
    }

    fn rows(&mut self, count: usize) -> Vec<Written> {
        let first = self.made;
        self.made += count;
        (first..self.made)
            .map(|number| {
                let key = format!("72d3162e-cc78-11e3-81ab-{number:012}");
                let headers = json!({
                    "content-type": "application/json",
                    "x-github-delivery": key,
                    "x-github-event": "issues",
                    "x-github-hook-id": "292430182",
                });
                Written {
                    id: self.env.id::<agentprovision::id::DeliveryId>().uuid(),
                    key,
                    digest: self.env.random(),
                    headers: headers.to_string(),
                    at: self.env.now().micros(),
                    body: body(number),
                }
            })
            .collect()
    }
}

/// A file of the same schema and settings.
async fn file_by_hand(folder: &Folder) -> SqliteConnection {
    let file = folder.0.join("by_hand.db");
    let backend = store::connect(&format!("sqlite://{}", file.display()), Env::default()).await.unwrap();
    backend.close().await.unwrap();
    let options = SqliteConnectOptions::new()
        .filename(&file)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .pragma("wal_autocheckpoint", "4000")
        .pragma("cache_size", "-32768")
        .disable_statement_logging();
    options.connect().await.unwrap()
}

/// Deliveries per second in `turns` transactions of `at_once` on one connection.
async fn on_file(conn: &mut SqliteConnection, hand: &mut Hand, at_once: usize, turns: usize) -> f64 {
    let lots: Vec<_> = (0..turns).map(|_| hand.rows(at_once)).collect();
    let (tenant, endpoint) = (hand.tenant.into_bytes(), hand.endpoint.into_bytes());
    let begun = Instant::now();
    for rows in lots {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await.unwrap();
        for row in rows {
            let id = row.id.into_bytes();
            let kept = sqlx::query(
                "INSERT INTO deliveries (tenant_id, id, endpoint_id, key, digest, kind, headers, received_at, \
                 repeats, conflicts, body) VALUES ($1, $2, $3, $4, $5, 'issues.opened', $6, $7, 0, 0, $8) \
                 ON CONFLICT (tenant_id, endpoint_id, key) DO NOTHING",
            );
            let kept = kept.bind(&tenant[..]).bind(&id[..]).bind(&endpoint[..]).bind(row.key);
            let kept = kept.bind(&row.digest[..]).bind(row.headers).bind(row.at).bind(&row.body[..]);
            kept.execute(&mut *conn).await.unwrap();
            let work = sqlx::query(
                "INSERT INTO delivery_work (tenant_id, delivery_id, state, ready_at, epoch, attempts, runs) \
                 VALUES ($1, $2, 'pending', $3, 0, 0, '[]')",
            );
            work.bind(&tenant[..]).bind(&id[..]).bind(row.at).execute(&mut *conn).await.unwrap();
        }
        sqlx::query("COMMIT").execute(&mut *conn).await.unwrap();
    }
    (at_once * turns) as f64 / begun.elapsed().as_secs_f64()
}

/// Deliveries per second by transactions of one each, dealt out to connections. Gives the connections back.
async fn on_server(
    mut conns: Vec<PgConnection>,
    hand: &mut Hand,
    at_once: usize,
    turns: usize,
) -> (Vec<PgConnection>, f64) {
    let lanes = at_once.min(conns.len());
    let each = at_once * turns / lanes;
    let lots: Vec<_> = (0..lanes).map(|_| hand.rows(each)).collect();
    let (tenant, endpoint) = (hand.tenant, hand.endpoint);
    let begun = Instant::now();
    let write = |(mut conn, rows): (PgConnection, Vec<Written>)| {
        tokio::spawn(async move {
            for row in rows {
                begin(&mut conn, "READ WRITE", tenant).await;
                let kept = sqlx::query(
                    "WITH kept AS (INSERT INTO deliveries (tenant_id, id, endpoint_id, key, digest, kind, headers, \
                     received_at, repeats, conflicts, body) VALUES ($1, $2, $3, $4, $5, 'issues.opened', $6, $7, 0, 0, \
                     $8) ON CONFLICT (tenant_id, endpoint_id, key) DO NOTHING RETURNING id) \
                     INSERT INTO delivery_work (tenant_id, delivery_id, state, ready_at, epoch, attempts, runs) \
                     SELECT $1, id, 'pending', $7, 0, 0, '[]' FROM kept",
                );
                let kept = kept.bind(Id(tenant)).bind(Id(row.id)).bind(Id(endpoint)).bind(row.key);
                let kept = kept.bind(&row.digest[..]).bind(row.headers).bind(row.at).bind(&row.body[..]);
                kept.execute(&mut conn).await.unwrap();
                commit(&mut conn).await;
            }
            conn
        })
    };
    let tasks: Vec<_> = conns.drain(..lanes).zip(lots).map(write).collect();
    for task in tasks {
        conns.push(task.await.unwrap());
    }
    let seconds = begun.elapsed().as_secs_f64();
    (conns, (each * lanes) as f64 / seconds)
}

/// What was measured of so many at the same time.
struct Cell {
    name: &'static str,
    at_once: usize,
    ours: Vec<f64>,
    by_hand: Vec<f64>,
    ratios: Vec<f64>,
}

impl Cell {
    fn all(name: &'static str) -> [Self; 2] {
        AT_ONCE.map(|at_once| Self { name, at_once, ours: vec![], by_hand: vec![], ratios: vec![] })
    }

    fn turns(&self) -> usize {
        let deliveries = number("BENCH_DELIVERIES", 1920);
        (if self.at_once == 1 { deliveries / 4 } else { deliveries / self.at_once }).max(1)
    }

    /// The first round warms up.
    fn add(&mut self, round: usize, ours: f64, by_hand: f64) {
        print!("; {} {}: {ours:.0}, by hand {by_hand:.0}", self.name, self.at_once);
        if round > 0 {
            self.ours.push(ours);
            self.by_hand.push(by_hand);
            self.ratios.push(ours / by_hand);
        }
    }
}

fn main() {
    let runtime = Runtime::new().unwrap();
    let folder = Folder::new();
    let rounds = number("BENCH_ROUNDS", 7);
    println!("bodies of {} bytes", body(1).len());

    let url = format!("sqlite://{}", folder.0.join("ours.db").display());
    let mut ours = runtime.block_on(Ours::open(&url));
    let mut hand = Hand::new(Env::default().id::<TenantId>().uuid());
    let mut conn = runtime.block_on(file_by_hand(&folder));
    let mut sqlite = Cell::all("SQLite");
    for round in 0..=rounds {
        print!("round {round}: {:>5.0} fdatasync/s of 4 KiB", probe(&folder.0));
        for cell in &mut sqlite {
            let (at_once, turns) = (cell.at_once, cell.turns());
            // Neither is always the first.
            let before = (round % 2 == 0).then(|| runtime.block_on(ours.rate(at_once, turns)));
            let by_hand = runtime.block_on(on_file(&mut conn, &mut hand, at_once, turns));
            let ours = before.unwrap_or_else(|| runtime.block_on(ours.rate(at_once, turns)));
            cell.add(round, ours, by_hand);
        }
        println!();
    }
    let kept =
        runtime.block_on(sqlx::query("SELECT count(*) FROM delivery_work").fetch_one(&mut conn)).unwrap();
    assert_eq!(kept.get::<i64, _>(0), i64::try_from(ours.vendors.sent).unwrap());
    runtime.block_on(ours.platform.close()).unwrap();

    let mut postgres = Cell::all("PostgreSQL");
    let there = std::env::var(server::VARIABLE).is_ok_and(|url| !url.is_empty());
    if there {
        runtime.block_on(describe());
        let database = runtime.block_on(database());
        let mut ours = runtime.block_on(Ours::open(database.url()));
        let conns = (0..CONNECTIONS).map(|_| connect(database.url()));
        let mut conns = runtime.block_on(futures_util::future::join_all(conns));
        for round in 0..=rounds {
            print!("round {round}: {:>5.0} fdatasync/s of 4 KiB", probe(&folder.0));
            for cell in &mut postgres {
                let (at_once, turns) = (cell.at_once, cell.turns());
                let before = (round % 2 == 0).then(|| runtime.block_on(ours.rate(at_once, turns)));
                let (back, by_hand) = runtime.block_on(on_server(conns, &mut hand, at_once, turns));
                conns = back;
                let ours = before.unwrap_or_else(|| runtime.block_on(ours.rate(at_once, turns)));
                cell.add(round, ours, by_hand);
            }
            println!();
        }
        runtime.block_on(ours.platform.close()).unwrap();
    }

    println!("\n{:>10} {:>12} {:>14} {:>14}", "", "at once", "deliveries/s", "by hand");
    let cells: Vec<&Cell> = sqlite.iter().chain(postgres.iter().filter(|_| there)).collect();
    for cell in &cells {
        let (ours, by_hand) = (median(cell.ours.clone()), median(cell.by_hand.clone()));
        println!("{:>10} {:>12} {ours:>14.0} {by_hand:>14.0}", cell.name, cell.at_once);
    }
    println!();
    for cell in cells.iter().filter(|cell| cell.name == "PostgreSQL") {
        println!("ratio webhook_in_pg_{} {:.2}", cell.at_once, median(cell.ratios.clone()));
    }
    println!("ratio webhook_in_1 {:.2}", median(sqlite[0].ratios.clone()));
    println!("ratio webhook_in {:.2}", median(sqlite[1].ratios.clone()));
}
