//! The SQLite dialect: how connections are opened, values are bound and read, and errors are told apart.

use std::path::Path;
use std::time::Duration;

use agentprovision_core::error::Retry;
use agentprovision_core::{Error, ErrorKind};
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteRow, SqliteSynchronous};
use sqlx::{Arguments as _, ConnectOptions as _, Decode as _, Row as _, TypeInfo as _, ValueRef as _};

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
            // In KiB. The pages that every commit touches, of some hundred runs, and not much of the process.
            .pragma("cache_size", "-16384"),
        Access::Read => options.read_only(true),
        Access::Immutable => options.read_only(true).immutable(true),
    }
}

/// The values in the order of their numbers.
pub(super) fn arguments(values: Vec<Value>) -> Result<SqliteArguments, sqlx::Error> {
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
pub(super) fn row(row: &SqliteRow) -> Result<Row, sqlx::Error> {
    let value = |column| -> Result<Value, sqlx::Error> {
        let raw = row.try_get_raw(column)?;
        if raw.is_null() {
            return Ok(Value::Null);
        }
        let kind = raw.type_info();
        match kind.name() {
            "INTEGER" => i64::decode(raw).map(Value::Int),
            "REAL" => f64::decode(raw).map(Value::Real),
            "TEXT" => String::decode(raw).map(Value::Text),
            _ => Vec::decode(raw).map(Value::Bytes),
        }
        .map_err(sqlx::Error::Decode)
    };
    (0..row.len()).map(value).collect::<Result<_, _>>().map(Row::new)
}

/// An error of the database as one of ours, and whether its transaction has to be given up.
pub(super) fn error(error: sqlx::Error) -> (Error, bool) {
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
    (mapped.with_source(error), lost)
}

/// An error of a statement that the platform did not write.
pub(super) fn tool_error(source: sqlx::Error) -> (Error, bool) {
    match (&source, code(&source).map(|code| code & 0xff)) {
        (sqlx::Error::Database(_), Some(1 | 19 | 20 | 21 | 23 | 25)) | (sqlx::Error::Protocol(_), _) => {
            (Error::invalid("the database refused the statement").with_source(source), false)
        }
        _ => error(source),
    }
}

fn code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}
