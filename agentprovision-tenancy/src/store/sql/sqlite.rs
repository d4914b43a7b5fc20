//! The SQLite dialect: how connections are opened, values are bound and read, and errors are told apart.

use std::path::Path;
use std::time::Duration;

use agentprovision_core::error::Retry;
use agentprovision_core::{Error, ErrorKind};
use sqlx::sqlite::{
    Sqlite, SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteRow, SqliteSynchronous,
};
use sqlx::{
    Arguments as _, AssertSqlSafe, ConnectOptions as _, Decode, Executor as _, Row as _, TypeInfo as _,
    ValueRef as _,
};

use super::conn::{Fate, Lost};
use super::run_tx;
use super::value::{Row, Value};

/// How long a statement waits for another process that writes: well beyond the time a step's transaction may hold the
/// writer, or whoever waits for one gives up at the moment it ends.
const BUSY_TIMEOUT: Duration = run_tx::LIMIT.saturating_mul(3);

/// How a connection is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Reads and writes; the file is made if it is not there.
    Write,
    /// Reads.
    Read,
    /// Reads a file that nobody can write, in a folder where nothing can be made.
    Immutable,
}

/// The options of a connection. The journal mode is set later, when the file is known to be ours.
pub(super) fn options(path: &Path, access: Access) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .statement_cache_capacity(512)
        .disable_statement_logging();
    match access {
        // Folding the log into the file costs two more syncs: every 16 MiB instead of every 4.
        Access::Write => options
            .create_if_missing(true)
            .synchronous(SqliteSynchronous::Full)
            .pragma("wal_autocheckpoint", "4000")
            // Rows of a merged statement are handed over without a wait for whoever takes them.
            .row_buffer_size(256)
            // In KiB. The pages that every commit touches, of some hundred runs, and not much of the process.
            .pragma("cache_size", "-16384"),
        Access::Read => options.read_only(true),
        Access::Immutable => options.read_only(true).immutable(true),
    }
}

pub(super) async fn script(conn: &mut SqliteConnection, sql: &'static str) -> Result<(), Lost> {
    conn.execute(sqlx::raw_sql(sql)).await.map(drop).map_err(error)
}

pub(super) async fn rows(
    conn: &mut SqliteConnection,
    sql: &'static str,
    values: Vec<Value>,
) -> Result<Vec<Row>, Lost> {
    let result = async {
        let rows = sqlx::query_with(sql, arguments(values)?).fetch_all(conn).await?;
        rows.iter().map(row).collect::<Result<Vec<_>, _>>()
    };
    result.await.map_err(error)
}

pub(super) async fn execute(
    conn: &mut SqliteConnection,
    sql: &'static str,
    values: Vec<Value>,
) -> Result<u64, Lost> {
    let result = async { sqlx::query_with(sql, arguments(values)?).execute(conn).await };
    result.await.map(|done| done.rows_affected()).map_err(error)
}

/// A statement of a tool, checked before.
pub(super) async fn tool_rows(
    conn: &mut SqliteConnection,
    sql: String,
    values: Vec<Value>,
) -> Result<Vec<Vec<Value>>, Lost> {
    let result = async {
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments(values)?).persistent(false);
        let rows = query.fetch_all(conn).await?;
        rows.iter().map(|found| row(found).map(Row::into_values)).collect::<Result<_, _>>()
    };
    result.await.map_err(tool_error)
}

/// As [`tool_rows`], for a change.
pub(super) async fn tool_execute(
    conn: &mut SqliteConnection,
    sql: String,
    values: Vec<Value>,
) -> Result<u64, Lost> {
    let result = async {
        sqlx::query_with(AssertSqlSafe(sql), arguments(values)?).persistent(false).execute(conn).await
    };
    result.await.map(|done| done.rows_affected()).map_err(tool_error)
}

/// Interrupts statements as soon as `stop` says so; `None` ends that.
pub(super) async fn interrupt_on(
    conn: &mut SqliteConnection,
    stop: Option<std::sync::Arc<std::sync::atomic::AtomicBool>>,
) {
    let Ok(mut handle) = conn.lock_handle().await else { return };
    match stop {
        Some(stop) => {
            handle.set_progress_handler(1000, move || !stop.load(std::sync::atomic::Ordering::Relaxed));
        }
        None => handle.remove_progress_handler(),
    }
}

/// The values in the order of their numbers.
fn arguments(values: Vec<Value>) -> Result<SqliteArguments, sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(values.len(), 0);
    for value in values {
        match value {
            Value::Null => arguments.add(None::<i64>),
            Value::Int(value) => arguments.add(value),
            Value::Real(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value),
            Value::Bytes(value) => arguments.add(value),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// The values of a row.
fn row(row: &SqliteRow) -> Result<Row, sqlx::Error> {
    let value = |column| -> Result<Value, sqlx::Error> {
        let raw = row.try_get_raw(column)?;
        if raw.is_null() {
            return Ok(Value::Null);
        }
        let kind = raw.type_info();
        match kind.name() {
            "INTEGER" => <i64 as Decode<Sqlite>>::decode(raw).map(Value::Int),
            "REAL" => <f64 as Decode<Sqlite>>::decode(raw).map(Value::Real),
            "TEXT" => <String as Decode<Sqlite>>::decode(raw).map(Value::Text),
            _ => <Vec<u8> as Decode<Sqlite>>::decode(raw).map(Value::Bytes),
        }
        .map_err(sqlx::Error::Decode)
    };
    (0..row.len()).map(value).collect::<Result<_, _>>().map(Row::new)
}

/// An error of the database as one of ours, and what it means for its transaction.
pub(super) fn error(error: sqlx::Error) -> Lost {
    let unavailable = |message| {
        Error::new(ErrorKind::Unavailable, message).with_retry(Retry::After(Duration::from_secs(1)))
    };
    // The low byte of the result code is its class (https://www.sqlite.org/rescode.html).
    let (mapped, lost) = match code(&error).map(|code| code & 0xff) {
        Some(5 | 6) => (unavailable("the database is busy"), true),
        Some(8) => (Error::new(ErrorKind::ReadOnly, "the database can be read but not written"), true),
        Some(9) => (unavailable("the statement was interrupted"), true),
        Some(11) => (Error::corrupt("the database file is damaged"), true),
        Some(13) => (unavailable("there is no space left for the database"), true),
        Some(7 | 10 | 14 | 15) => (unavailable("the database file cannot be read or written"), true),
        Some(18) => (Error::too_large("the value is larger than the database takes"), false),
        Some(26) => (Error::corrupt("the file is not a database"), true),
        Some(_) => (Error::internal("the database refused a statement"), false),
        None => (unavailable("the connection to the database was lost"), true),
    };
    Lost { error: mapped.with_source(error), fate: if lost { Fate::Over } else { Fate::Open } }
}

/// An error of a statement that the platform did not write.
fn tool_error(source: sqlx::Error) -> Lost {
    match (&source, code(&source).map(|code| code & 0xff)) {
        (sqlx::Error::Database(_), Some(1 | 19 | 20 | 21 | 23 | 25)) | (sqlx::Error::Protocol(_), _) => {
            let error = Error::invalid("the database refused the statement").with_source(source);
            Lost { error, fate: Fate::Open }
        }
        _ => error(source),
    }
}

fn code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}
