//! A connection, and the two ways to run statements on it: within a tenant, or on system tables.

use agentprovision_core::id::TenantId;
use agentprovision_core::{Env, Error, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use uuid::Uuid;

use super::multi::Multi;
use super::sqlite;
use super::value::{Row, SystemSql, TenantSql, Value};

/// A connection to the database.
pub(super) struct Conn {
    raw: SqliteConnection,
    /// The error that ended the transaction that was open, or must end it.
    lost: Option<Error>,
}

impl Conn {
    pub(super) async fn open(options: &SqliteConnectOptions) -> Result<Self> {
        let raw = options.connect().await.map_err(|error| sqlite::error(error).0)?;
        Ok(Self { raw, lost: None })
    }

    /// Why the open transaction has to be given up, if it has to; asking clears it.
    pub(super) fn take_lost(&mut self) -> Option<Error> {
        self.lost.take()
    }

    fn note(&mut self, (error, lost): (Error, bool)) -> Error {
        if lost && self.lost.is_none() {
            self.lost = Some(error.clone());
        }
        error
    }

    /// Statements without values: transactions, pragmas, migrations.
    pub(super) async fn script(&mut self, sql: &'static str) -> Result<()> {
        let result = self.raw.execute(sqlx::raw_sql(sql)).await;
        result.map(drop).map_err(|error| self.note(sqlite::error(error)))
    }

    pub(super) async fn rows(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>> {
        let result = async {
            let rows = sqlx::query_with(sql, sqlite::arguments(values)?).fetch_all(&mut self.raw).await?;
            rows.iter().map(sqlite::row).collect::<Result<Vec<_>, _>>()
        };
        let result = result.await;
        result.map_err(|error| self.note(sqlite::error(error)))
    }

    pub(super) async fn execute(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64> {
        let result =
            async { sqlx::query_with(sql, sqlite::arguments(values)?).execute(&mut self.raw).await }.await;
        result.map(|done| done.rows_affected()).map_err(|error| self.note(sqlite::error(error)))
    }

    /// A statement of a tool. Its text is the host's, with everything that ends a transaction refused before.
    pub(super) async fn tool_rows(&mut self, sql: String, values: Vec<Value>) -> Result<Vec<Vec<Value>>> {
        let result = async {
            let query = sqlx::query_with(AssertSqlSafe(sql), sqlite::arguments(values)?).persistent(false);
            let rows = query.fetch_all(&mut self.raw).await?;
            rows.iter().map(|row| sqlite::row(row).map(Row::into_values)).collect::<Result<_, _>>()
        };
        let result = result.await;
        result.map_err(|error| self.note(sqlite::tool_error(error)))
    }

    /// As [`Conn::tool_rows`], for a change; returns the number of rows changed.
    pub(super) async fn tool_execute(&mut self, sql: String, values: Vec<Value>) -> Result<u64> {
        let result = async {
            let query = sqlx::query_with(AssertSqlSafe(sql), sqlite::arguments(values)?).persistent(false);
            query.execute(&mut self.raw).await
        };
        let result = result.await;
        result.map(|done| done.rows_affected()).map_err(|error| self.note(sqlite::tool_error(error)))
    }

    /// Interrupts the statements of this connection as soon as `stop` says so; `None` ends that.
    pub(super) async fn interrupt_on(&mut self, stop: Option<std::sync::Arc<std::sync::atomic::AtomicBool>>) {
        let Ok(mut handle) = self.raw.lock_handle().await else { return };
        match stop {
            Some(stop) => {
                handle.set_progress_handler(1000, move || !stop.load(std::sync::atomic::Ordering::Relaxed));
            }
            None => handle.remove_progress_handler(),
        }
    }

    pub(super) async fn close(self) -> Result<()> {
        self.raw.close().await.map_err(|error| sqlite::error(error).0)
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn").field("lost", &self.lost).finish_non_exhaustive()
    }
}

/// A transaction above tenants: system tables, and [`SystemTx::tenant`] to enter one.
pub(super) struct SystemTx<'c> {
    pub(super) conn: &'c mut Conn,
    pub(super) env: &'c Env,
}

impl<'c> SystemTx<'c> {
    pub(super) fn tenant(&mut self, tenant: TenantId) -> TenantTx<'_> {
        TenantTx { conn: self.conn, env: self.env, tenant: tenant.uuid() }
    }

    pub(super) fn into_tenant(self, tenant: TenantId) -> TenantTx<'c> {
        TenantTx { conn: self.conn, env: self.env, tenant: tenant.uuid() }
    }

    /// The same transaction within a log that may be the platform's.
    pub(super) fn log(&mut self, log: Uuid) -> TenantTx<'_> {
        TenantTx { conn: self.conn, env: self.env, tenant: log }
    }

    pub(super) async fn rows(&mut self, sql: SystemSql, values: Vec<Value>) -> Result<Vec<Row>> {
        self.conn.rows(sql.text(), values).await
    }
}

/// A transaction within one tenant. `$1` of every statement is the tenant's id, bound here; the values begin at `$2`.
pub(super) struct TenantTx<'c> {
    conn: &'c mut Conn,
    pub(super) env: &'c Env,
    tenant: Uuid,
}

impl TenantTx<'_> {
    fn bound(&self, mut values: Vec<Value>) -> Vec<Value> {
        values.insert(0, self.tenant.into());
        values
    }

    pub(super) async fn rows(&mut self, sql: TenantSql, values: Vec<Value>) -> Result<Vec<Row>> {
        let values = self.bound(values);
        self.conn.rows(sql.text(), values).await
    }

    /// The first row.
    pub(super) async fn row(&mut self, sql: TenantSql, values: Vec<Value>) -> Result<Option<Row>> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// Whether there is a row.
    pub(super) async fn exists(&mut self, sql: TenantSql, values: Vec<Value>) -> Result<bool> {
        Ok(!self.rows(sql, values).await?.is_empty())
    }

    pub(super) async fn execute(&mut self, sql: TenantSql, values: Vec<Value>) -> Result<u64> {
        let values = self.bound(values);
        self.conn.execute(sql.text(), values).await
    }

    /// Runs a statement over many rows. The values are those of its rows without the first column, which is bound here.
    pub(super) async fn multi(&mut self, statement: &'static Multi, values: Vec<Value>) -> Result<()> {
        let mut rows = Vec::with_capacity(values.len() + values.len() / (statement.width() - 1).max(1));
        for (place, value) in values.into_iter().enumerate() {
            if place % (statement.width() - 1) == 0 {
                rows.push(self.tenant.into());
            }
            rows.push(value);
        }
        statement.execute(self.conn, rows).await.map(drop)
    }
}
