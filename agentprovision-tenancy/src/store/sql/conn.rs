//! A connection, and the two ways to run statements on it: within a tenant, or on system tables.

use agentprovision_core::id::TenantId;
use agentprovision_core::{Env, Error, Result};
#[cfg(feature = "store-sqlite")]
use sqlx::Connection as _;
use uuid::Uuid;

use super::multi::Multi;
#[cfg(feature = "store-postgres")]
use super::postgres::{self, Session};
use super::value::{Dialect, Row, SystemSql, TenantSql, Value};

/// A connection to the database.
pub(super) struct Conn {
    raw: Raw,
    /// The error that ended the transaction that was open, or must end it.
    lost: Option<Lost>,
}

/// A connection of one driver.
enum Raw {
    #[cfg(feature = "store-sqlite")]
    Sqlite(sqlx::sqlite::SqliteConnection),
    #[cfg(feature = "store-postgres")]
    Postgres(Box<Session>),
}

/// An error of the database, and what it means for the transaction it happened in.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    /// The error, as one of ours.
    pub(super) error: Error,
    /// What becomes of the transaction.
    pub(super) fate: Fate,
}

/// What becomes of a transaction in which a statement failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on without the statement.
    Open,
    /// It has to be given up.
    Over,
    /// It has to be given up, and may go well when it is tried again: others were in its way, or the connection broke.
    #[cfg_attr(
        not(feature = "store-postgres"),
        expect(dead_code, reason = "nobody is in the way of one writer")
    )]
    Again,
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// It only reads; each statement sees what is committed when it begins.
    #[cfg_attr(not(feature = "store-postgres"), expect(dead_code, reason = "readers of a file need none"))]
    Read,
    /// It only reads, all of it as of one moment.
    Snapshot,
    /// It writes.
    Write,
}

/// What concurrent transactions of a tenant take turns at. Where there is one writer nobody has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Moving records into the audit log.
    Audit,
    /// Giving events their numbers.
    Events,
    /// Deciding who is an admin.
    Admins,
    /// Bringing budgets in and out of being.
    Budgets,
    /// Beginning and ending backups.
    Backups,
}

macro_rules! each {
    ($raw:expr, $conn:ident => $sqlite:expr, $session:ident => $postgres:expr) => {
        match $raw {
            #[cfg(feature = "store-sqlite")]
            Raw::Sqlite($conn) => $sqlite,
            #[cfg(feature = "store-postgres")]
            Raw::Postgres($session) => $postgres,
        }
    };
}

impl Conn {
    #[cfg(feature = "store-sqlite")]
    pub(super) async fn open(options: &sqlx::sqlite::SqliteConnectOptions) -> Result<Self> {
        use sqlx::ConnectOptions as _;
        let raw = options.connect().await.map_err(|error| super::sqlite::error(error).error)?;
        Ok(Self { raw: Raw::Sqlite(raw), lost: None })
    }

    #[cfg(feature = "store-postgres")]
    pub(super) fn of_session(session: Session) -> Self {
        Self { raw: Raw::Postgres(Box::new(session)), lost: None }
    }

    pub(super) fn dialect(&self) -> Dialect {
        each!(&self.raw, _raw => Dialect::Sqlite, _raw => Dialect::Postgres)
    }

    /// Why the open transaction has to be given up, if it has to; asking clears it.
    pub(super) fn take_lost(&mut self) -> Option<Error> {
        self.take_fate().map(|lost| lost.error)
    }

    /// As [`Conn::take_lost`], with what may be done about it.
    pub(super) fn take_fate(&mut self) -> Option<Lost> {
        self.lost.take()
    }

    fn note(&mut self, lost: Lost) -> Error {
        let error = lost.error.clone();
        if lost.fate != Fate::Open && self.lost.is_none() {
            self.lost = Some(lost);
        }
        error
    }

    /// Statements without values: transactions, pragmas, migrations.
    #[cfg(feature = "store-sqlite")]
    pub(super) async fn script(&mut self, sql: &'static str) -> Result<()> {
        let result =
            each!(&mut self.raw, raw => super::sqlite::script(raw, sql).await, raw => raw.script(sql).await);
        result.map_err(|lost| self.note(lost))
    }

    /// Begins a transaction; nothing of the last one is left.
    pub(super) async fn begin(&mut self, mode: Mode) -> Result<()> {
        self.lost = None;
        let result = each!(
            &mut self.raw,
            raw => super::sqlite::execute(raw, if mode == Mode::Write { "BEGIN IMMEDIATE" } else { "BEGIN" }, vec![])
                .await
                .map(drop),
            // It begins with its first statement, in one message.
            raw => { raw.begin(mode); Ok(()) }
        );
        result.map_err(|lost| self.note(lost))
    }

    /// Commits the open transaction.
    pub(super) async fn commit(&mut self) -> Result<()> {
        let result = each!(
            &mut self.raw,
            raw => super::sqlite::execute(raw, "COMMIT", vec![]).await.map(drop),
            raw => raw.commit().await
        );
        result.map_err(|lost| self.note(lost))
    }

    /// Gives the open transaction up. Often the database has done so already.
    pub(super) async fn rollback(&mut self) -> Result<()> {
        let result = each!(
            &mut self.raw,
            raw => super::sqlite::execute(raw, "ROLLBACK", vec![]).await.map(drop),
            raw => raw.rollback().await
        );
        result.map_err(|lost| self.note(lost))
    }

    pub(super) async fn rows(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>> {
        let result = each!(
            &mut self.raw,
            raw => super::sqlite::rows(raw, sql, values).await,
            raw => raw.rows(sql, values).await
        );
        result.map_err(|lost| self.note(lost))
    }

    pub(super) async fn execute(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64> {
        let result = each!(
            &mut self.raw,
            raw => super::sqlite::execute(raw, sql, values).await,
            raw => raw.execute(sql, values).await
        );
        result.map_err(|lost| self.note(lost))
    }

    /// Makes what follows the work of a tenant, where the database asks whose it is.
    async fn enter(&mut self, tenant: Option<Uuid>) -> Result<()> {
        let result: Result<(), Lost> = each!(
            &mut self.raw,
            _raw => { let _ = tenant; Ok(()) },
            raw => raw.enter(tenant).await
        );
        result.map_err(|lost| self.note(lost))
    }

    /// A statement of a tool. Its text is the host's, with everything that ends a transaction refused before.
    pub(super) async fn tool_rows(
        &mut self,
        tenant: Uuid,
        sql: String,
        values: Vec<Value>,
    ) -> Result<Vec<Vec<Value>>> {
        self.enter(Some(tenant)).await?;
        let result = each!(
            &mut self.raw,
            raw => super::sqlite::tool_rows(raw, sql, values).await,
            raw => raw.tool_rows(sql, values).await
        );
        result.map_err(|lost| self.note(lost))
    }

    /// As [`Conn::tool_rows`], for a change; returns the number of rows changed.
    pub(super) async fn tool_execute(
        &mut self,
        tenant: Uuid,
        sql: String,
        values: Vec<Value>,
    ) -> Result<u64> {
        self.enter(Some(tenant)).await?;
        let result = each!(
            &mut self.raw,
            raw => super::sqlite::tool_execute(raw, sql, values).await,
            raw => raw.tool_execute(sql, values).await
        );
        result.map_err(|lost| self.note(lost))
    }

    /// Whether the transaction outlived a statement of a tool that failed.
    pub(super) async fn outlived(&mut self) -> bool {
        if self.take_fate().is_some() {
            return false;
        }
        each!(
            &mut self.raw,
            // Some conflict clauses end the whole transaction. Inside one another cannot begin.
            raw => super::sqlite::execute(raw, "BEGIN", vec![]).await.is_err(),
            _raw => true
        )
    }

    /// Interrupts the statements of this connection as soon as `stop` says so, where that can be done from here; `None`
    /// ends that.
    pub(super) async fn interrupt_on(&mut self, stop: Option<std::sync::Arc<std::sync::atomic::AtomicBool>>) {
        each!(&mut self.raw, raw => super::sqlite::interrupt_on(raw, stop).await, _raw => drop(stop));
    }

    /// Whether statements that read are transactions of their own, which enter by themselves.
    fn reads_alone(&self) -> bool {
        each!(&self.raw, _raw => false, raw => raw.reads_alone())
    }

    /// Whether a transaction was opened that has not ended.
    #[cfg(feature = "store-postgres")]
    pub(super) fn is_open(&self) -> bool {
        each!(&self.raw, _raw => false, raw => raw.is_open())
    }

    /// Whether nothing is open, so that somebody else may have the connection.
    #[cfg(feature = "store-postgres")]
    pub(super) fn is_idle(&self) -> bool {
        each!(&self.raw, _raw => true, raw => raw.is_idle())
    }

    pub(super) async fn close(self) -> Result<()> {
        each!(
            self.raw,
            raw => raw.close().await.map_err(|error| super::sqlite::error(error).error),
            raw => raw.close().await.map_err(|error| postgres::error(error).error)
        )
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn")
            .field("dialect", &self.dialect())
            .field("lost", &self.lost)
            .finish_non_exhaustive()
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
        if let Some(text) = sql.alone().filter(|_| self.conn.reads_alone()) {
            return self.conn.rows(text, values).await;
        }
        self.conn.enter(None).await?;
        let text = sql.text(self.conn.dialect());
        self.conn.rows(text, values).await
    }
}

/// A transaction within one tenant. `$1` of every statement is the tenant's id, bound here; the values begin at `$2`.
pub(super) struct TenantTx<'c> {
    conn: &'c mut Conn,
    pub(super) env: &'c Env,
    tenant: Uuid,
}

impl TenantTx<'_> {
    /// Enters the tenant; gives the text and the values to run there.
    async fn bound(&mut self, sql: TenantSql, mut values: Vec<Value>) -> Result<(&'static str, Vec<Value>)> {
        self.conn.enter(Some(self.tenant)).await?;
        values.insert(0, self.tenant.into());
        Ok((sql.text(self.conn.dialect()), values))
    }

    pub(super) async fn rows(&mut self, sql: TenantSql, mut values: Vec<Value>) -> Result<Vec<Row>> {
        if let Some(text) = sql.alone().filter(|_| self.conn.reads_alone()) {
            values.insert(0, self.tenant.into());
            return self.conn.rows(text, values).await;
        }
        let (text, values) = self.bound(sql, values).await?;
        self.conn.rows(text, values).await
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.conn.dialect()
    }

    /// What kind of store it is, for those who read an archive of it.
    pub(super) fn store_name(&self) -> &'static str {
        match self.conn.dialect() {
            Dialect::Sqlite => "sqlite",
            Dialect::Postgres => "postgres",
        }
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
        let (text, values) = self.bound(sql, values).await?;
        self.conn.execute(text, values).await
    }

    /// As [`TenantTx::execute`], with columns of many rows behind the values.
    #[cfg(feature = "store-postgres")]
    pub(super) async fn execute_columns(
        &mut self,
        sql: TenantSql,
        values: Vec<Value>,
        columns: Vec<postgres::columns::Column>,
    ) -> Result<u64> {
        let (text, values) = self.bound(sql, values).await?;
        let result = each!(
            &mut self.conn.raw,
            _raw => { let _ = (text, values, columns); return Err(Error::internal("a file takes no columns")) },
            session => session.execute_columns(text, values, columns).await
        );
        result.map_err(|lost| self.conn.note(lost))
    }

    /// As [`TenantTx::execute_columns`], of a change that answers with rows.
    #[cfg(feature = "store-postgres")]
    pub(super) async fn rows_of_columns(
        &mut self,
        sql: TenantSql,
        values: Vec<Value>,
        columns: Vec<postgres::columns::Column>,
    ) -> Result<Vec<Row>> {
        let (text, values) = self.bound(sql, values).await?;
        let result = each!(
            &mut self.conn.raw,
            _raw => { let _ = (text, values, columns); return Err(Error::internal("a file takes no columns")) },
            session => session.rows_of_columns(text, values, columns).await
        );
        result.map_err(|lost| self.conn.note(lost))
    }

    /// As [`TenantTx::rows`], of a system table and beyond this tenant.
    pub(super) async fn rows_above(&mut self, sql: TenantSql, values: Vec<Value>) -> Result<Vec<Row>> {
        if !self.conn.reads_alone() {
            self.conn.enter(None).await?;
        }
        self.rows(sql, values).await
    }

    /// Clears the pointers of a kind to this tenant: what they point at is taken up by this transaction. A store whose
    /// waiting rows can be seen from above tenants has none.
    pub(super) async fn take_up(&mut self, kind: &'static str) -> Result<()> {
        if self.conn.dialect() == Dialect::Postgres {
            let sql = super::value::tenant_sql!("DELETE FROM due WHERE tenant_id = $1 AND kind = $2");
            self.execute(sql, super::value::values![kind]).await?;
        }
        Ok(())
    }

    /// Waits for this transaction's turn, which it has until it ends. Statements that follow see what those before it
    /// have done.
    pub(super) async fn turn(&mut self, turn: Turn) -> Result<()> {
        match self.conn.dialect() {
            Dialect::Sqlite => Ok(()),
            Dialect::Postgres => self.advisory("SELECT pg_advisory_xact_lock($1)", Some(turn)).await,
        }
    }

    /// As [`TenantTx::turn`], for a turn that many may have at once, but not beside one who waited for it alone.
    pub(super) async fn shared_turn(&mut self, turn: Turn) -> Result<()> {
        match self.conn.dialect() {
            Dialect::Sqlite => Ok(()),
            Dialect::Postgres => self.advisory("SELECT pg_advisory_xact_lock_shared($1)", Some(turn)).await,
        }
    }

    /// Keeps every other writer out of this tenant until the transaction ends; comes before anything else in it.
    pub(super) async fn alone(&mut self) -> Result<()> {
        match self.conn.dialect() {
            Dialect::Sqlite => Ok(()),
            Dialect::Postgres => self.advisory("SELECT pg_advisory_xact_lock($1)", None).await,
        }
    }

    /// What is said of the tenant's residence in this database; nothing of one that was never moved. In a transaction
    /// that writes it stays as it is until the end.
    pub(super) async fn residence(&mut self) -> Result<Option<String>> {
        #[cfg(feature = "store-postgres")]
        if let Some(said) = self.said().await? {
            return Ok(said.residence);
        }
        let sql = super::value::tenant_sql!("SELECT state FROM residences WHERE tenant_id = $1");
        self.row(sql, vec![]).await?.map(|mut row| row.next()).transpose()
    }

    /// What the database said of the tenant when this transaction entered it, if that is how it is: this transaction
    /// writes, and does not change the tenant itself.
    #[cfg(feature = "store-postgres")]
    pub(super) async fn said(&mut self) -> Result<Option<postgres::Said>> {
        self.conn.enter(Some(self.tenant)).await?;
        // Whoever waited for the tenant alone entered it before that.
        Ok(each!(
            &self.conn.raw,
            _raw => None,
            session => (session.writes() && !session.alone && session.asks).then(|| session.said.clone())
        ))
    }

    /// Lets this transaction enter its tenant without asking how it is, because its first statement asks that itself.
    #[cfg(feature = "store-postgres")]
    pub(super) fn unasked(&mut self) {
        each!(&mut self.conn.raw, _raw => {}, session => session.asks = false);
    }

    async fn advisory(&mut self, sql: &'static str, turn: Option<Turn>) -> Result<()> {
        let tenant = self.tenant;
        let key: Option<i64> = each!(
            &mut self.conn.raw,
            _raw => { let _ = (tenant, turn); None },
            session => {
                session.alone |= turn.is_none();
                Some(postgres::lock_key(tenant, turn))
            }
        );
        let Some(key) = key else { return Ok(()) };
        self.conn.enter(Some(tenant)).await?;
        self.conn.rows(sql, super::value::values![key]).await.map(drop)
    }

    /// Runs a statement over many rows. The values are those of its rows without the first column, which is bound here.
    pub(super) async fn multi(&mut self, statement: &'static Multi, values: Vec<Value>) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        self.conn.enter(Some(self.tenant)).await?;
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
