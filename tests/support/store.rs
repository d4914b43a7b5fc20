//! Where tests keep their data: in a file, or on a PostgreSQL server where `AGENTPROVISION_TEST_STORE` says `postgres`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use agentprovision::tenancy::store::postgres::TestDatabase;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

/// The databases that stand for files, by URL. They stay until the server goes, as their names may be in use elsewhere.
static DATABASES: Mutex<Option<HashMap<String, TestDatabase>>> = Mutex::new(None);

/// Tables of the host's that tools write; the platform's login makes none.
pub(crate) const TABLES: &str = "CREATE TABLE public.bookings (tenant_id uuid NOT NULL, label text, key text); \
    CREATE TABLE public.notes (tenant uuid NOT NULL, b bytea, t text, n real); \
    GRANT SELECT, INSERT, UPDATE, DELETE ON public.bookings, public.notes TO agentprovision_app";

/// Whether stores are databases on a server.
pub(crate) fn on_server() -> bool {
    std::env::var("AGENTPROVISION_TEST_STORE").is_ok_and(|store| store == "postgres")
}

/// Runs on a runtime of its own: whoever asks may be on one.
fn wait<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work)
    };
    std::thread::spawn(work).join().unwrap()
}

fn kept(database: TestDatabase) -> String {
    let url = database.url().to_owned();
    let mut databases = DATABASES.lock().unwrap_or_else(PoisonError::into_inner);
    databases.get_or_insert_default().insert(url.clone(), database);
    url
}

/// The URL of a new store in a file of a folder.
pub(crate) fn new(file: &Path) -> String {
    if !on_server() {
        return format!("sqlite://{}", file.display());
    }
    kept(wait(async {
        let server = std::env::var("AGENTPROVISION_TEST_POSTGRES_URL").expect("a PostgreSQL server");
        let database = TestDatabase::create(&server).await.unwrap();
        database.admin(TABLES).await.unwrap();
        database
    }))
}

/// Has the file of a store carry this out, behind the platform's back; nothing on a server.
pub(crate) async fn behind(file: &Path, sql: &'static str) -> bool {
    if on_server() {
        return false;
    }
    let mut conn = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    true
}

/// The URL of a copy of a store that is closed.
pub(crate) fn copy(url: &str, file: &Path) -> String {
    if let Some(path) = url.strip_prefix("sqlite://") {
        std::fs::copy(path, file).unwrap();
        return format!("sqlite://{}", file.display());
    }
    let mut databases = DATABASES.lock().unwrap_or_else(PoisonError::into_inner);
    let original =
        databases.as_mut().and_then(|databases| databases.remove(url)).expect("a database of ours");
    drop(databases);
    let (original, copy) = wait(async move {
        let copy = original.copy().await.unwrap();
        (original, copy)
    });
    kept(original);
    kept(copy)
}
