//! Whose file it is, and which version of the schema it has.

use agentprovision_core::{Env, Error, ErrorKind, Result};

use super::conn::Conn;
use super::value::values;

/// The migrations, the first one making version 1. A released one never changes.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/sqlite/0001_init.sql"),
    include_str!("../../../migrations/sqlite/0002_turns.sql"),
    include_str!("../../../migrations/sqlite/0003_shared.sql"),
    include_str!("../../../migrations/sqlite/0004_backups.sql"),
    include_str!("../../../migrations/sqlite/0005_placement.sql"),
    include_str!("../../../migrations/sqlite/0006_integrations.sql"),
    include_str!("../../../migrations/sqlite/0007_webhooks.sql"),
];

/// What `PRAGMA application_id` of our files says.
const APPLICATION_ID: i64 = 0x4150_5652;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Empty,
    Version(usize),
}

async fn number(conn: &mut Conn, sql: &'static str) -> Result<i64> {
    match conn.rows(sql, vec![]).await?.into_iter().next() {
        Some(mut row) => row.next(),
        None => Err(Error::corrupt("the database does not answer")),
    }
}

async fn find(conn: &mut Conn) -> Result<Found> {
    let ours = number(conn, "PRAGMA application_id").await? == APPLICATION_ID;
    let tables = number(conn, "SELECT count(*) FROM sqlite_schema").await?;
    match (ours, tables) {
        (false, 0) => Ok(Found::Empty),
        (false, _) => Err(Error::invalid("the file is a database of another application")),
        (true, _) => {
            let version = number(conn, "SELECT coalesce(max(version), 0) FROM schema_version").await;
            match version.map(usize::try_from) {
                Ok(Ok(version)) if version > 0 => Ok(Found::Version(version)),
                _ => Err(Error::corrupt("the database does not say which version of the schema it has")),
            }
        }
    }
}

fn too_new(found: usize, known: usize) -> Error {
    Error::new(
        ErrorKind::SchemaTooNew,
        format!("the database has schema version {found}, and this version of the platform knows {known}"),
    )
}

/// Refuses a file that is not ours or is not at the newest version.
pub(super) async fn check(conn: &mut Conn) -> Result<()> {
    let known = MIGRATIONS.len();
    match find(conn).await? {
        Found::Version(version) if version == known => Ok(()),
        Found::Version(version) if version > known => Err(too_new(version, known)),
        Found::Version(version) => Err(Error::new(
            ErrorKind::ReadOnly,
            format!("the database has schema version {version} and has to be brought to {known}"),
        )),
        Found::Empty => Err(Error::new(ErrorKind::ReadOnly, "the database is empty")),
    }
}

/// Brings the schema to the newest version, each step in a transaction of its own.
pub(super) async fn run(conn: &mut Conn, env: &Env, migrations: &[&'static str]) -> Result<()> {
    loop {
        // Another process may be at the same work: look again inside every transaction.
        conn.script("BEGIN IMMEDIATE").await?;
        let step = step(conn, env, migrations).await;
        match step {
            Ok(true) => conn.script("COMMIT").await?,
            Ok(false) => return conn.script("ROLLBACK").await,
            Err(error) => {
                // The first error is the one to tell; without a transaction there is nothing to roll back.
                let _ = conn.script("ROLLBACK").await;
                return Err(error);
            }
        }
    }
}

async fn step(conn: &mut Conn, env: &Env, migrations: &[&'static str]) -> Result<bool> {
    let version = match find(conn).await? {
        Found::Empty => {
            conn.script("CREATE TABLE schema_version (version INTEGER NOT NULL PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT")
                .await?;
            0
        }
        Found::Version(version) => version,
    };
    if version > migrations.len() {
        return Err(too_new(version, migrations.len()));
    }
    let Some(migration) = migrations.get(version) else { return Ok(false) };
    conn.script(migration).await?;
    let applied = values![version as u64 + 1, env.now()];
    conn.execute("INSERT INTO schema_version (version, applied_at) VALUES ($1, $2)", applied).await?;
    Ok(true)
}
