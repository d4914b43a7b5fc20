//! What benchmarks on PostgreSQL share: a database of their own, connections that are not the platform's, and a count of
//! how often a client waits for the server.

#![allow(dead_code, reason = "each benchmark uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints, and ends where something fails"
)]

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use agentprovision_tenancy::store::postgres::TestDatabase;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgConnectOptions, PgConnection, PgRow, PgTypeInfo, Postgres};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Encode, Executor as _, Row as _, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

/// Names the server, by the URL of a superuser.
pub(crate) const VARIABLE: &str = "AGENTPROVISION_TEST_POSTGRES_URL";

/// The URL of the server; without one the benchmark ends.
pub(crate) fn server() -> String {
    std::env::var(VARIABLE).ok().filter(|url| !url.is_empty()).unwrap_or_else(|| {
        eprintln!("{VARIABLE} is missing: the URL of a superuser on a PostgreSQL server for tests");
        std::process::exit(2);
    })
}

/// A database of the platform.
pub(crate) async fn database() -> TestDatabase {
    TestDatabase::create(&server()).await.unwrap()
}

/// Says what the server is, and how durable what it commits.
pub(crate) async fn describe() {
    let mut conn = connect(&server()).await;
    let mut setting = async |name: &str| -> String {
        sqlx::query("SELECT current_setting($1)").bind(name).fetch_one(&mut conn).await.unwrap().get(0)
    };
    println!(
        "PostgreSQL {}, fsync {}, synchronous_commit {}",
        setting("server_version").await,
        setting("fsync").await,
        setting("synchronous_commit").await
    );
    if setting("fsync").await == "off" {
        println!("with fsync off nothing is durable: figures of writes are too high, for everybody");
    }
}

/// A store URL with one more option.
pub(crate) fn with(url: &str, option: &str) -> String {
    format!("{url}{}{option}", if url.contains('?') { '&' } else { '?' })
}

/// A connection that finds the platform's tables.
pub(crate) async fn connect(url: &str) -> PgConnection {
    let options =
        PgConnectOptions::from_str(url).unwrap().options([("search_path", "agentprovision,public")]);
    options.disable_statement_logging().connect().await.unwrap()
}

/// Begins the transaction of a tenant as a hand would: one message.
pub(crate) async fn begin(conn: &mut PgConnection, mode: &str, tenant: Uuid) {
    let text = format!("BEGIN {mode};SELECT set_config('app.current_tenant_id','{tenant}',true)");
    conn.execute(sqlx::raw_sql(AssertSqlSafe(text))).await.unwrap();
}

pub(crate) async fn commit(conn: &mut PgConnection) {
    conn.execute(sqlx::raw_sql("COMMIT")).await.unwrap();
}

/// A UUID as it is bound.
#[derive(Clone, Copy)]
pub(crate) struct Id(pub(crate) Uuid);

impl Type<Postgres> for Id {
    fn type_info() -> PgTypeInfo {
        // `pg_type.dat`.
        PgTypeInfo::with_oid(Oid(2950))
    }
}

impl Encode<'_, Postgres> for Id {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

/// The UUID in a column of an answer in binary form.
pub(crate) fn uuid(row: &PgRow, column: usize) -> Uuid {
    Uuid::from_slice(row.try_get_raw(column).unwrap().as_bytes().unwrap()).unwrap()
}

/// Stands before the server and counts round trips: how often a client says something after it was answered.
pub(crate) struct Counter {
    port: u16,
    trips: Arc<AtomicU64>,
}

impl Counter {
    /// Before the server of a URL.
    pub(crate) async fn before(url: &str) -> Self {
        let server = place(url).to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let trips = Arc::new(AtomicU64::new(0));
        let counted = trips.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                pass(client, server, counted.clone());
            }
        });
        Self { port, trips }
    }

    /// A URL by way of the counter.
    pub(crate) fn on(&self, url: &str) -> String {
        url.replacen(place(url), &format!("127.0.0.1:{}", self.port), 1)
    }

    /// The count since the last time.
    pub(crate) fn take(&self) -> u64 {
        self.trips.swap(0, Ordering::SeqCst)
    }
}

/// The host and the port of a URL.
fn place(url: &str) -> &str {
    url.split_once('@').unwrap().1.split_once('/').unwrap().0
}

fn pass(client: TcpStream, server: TcpStream, trips: Arc<AtomicU64>) {
    for socket in [&client, &server] {
        socket.set_nodelay(true).unwrap();
    }
    let answered = Arc::new(AtomicBool::new(true));
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let seen = answered.clone();
    tokio::spawn(async move {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
            if seen.swap(false, Ordering::SeqCst) {
                trips.fetch_add(1, Ordering::SeqCst);
            }
            if to_server.write_all(&bytes[..count]).await.is_err() {
                break;
            }
        }
    });
    tokio::spawn(async move {
        let mut bytes = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
            answered.store(true, Ordering::SeqCst);
            if to_client.write_all(&bytes[..count]).await.is_err() {
                break;
            }
        }
    });
}
