//! The PostgreSQL dialect: sessions, values, rows, and errors told apart.

mod bind;
pub(super) mod check;
pub(super) mod columns;
pub(super) mod enlist;
pub(super) mod gather;
pub(super) mod listen;
pub(super) mod pool;
pub(in crate::store) mod prepare;
pub(in crate::store) mod settings;
#[cfg(feature = "testing")]
pub(in crate::store) mod testing;
pub(super) mod wire;
pub(super) mod work;

use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::error::Retry;
use agentprovision_core::{Error, ErrorKind, Result};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, Row as _, SqlSafeStr as _};
use uuid::Uuid;

use super::conn::{Fate, Lost, Mode, Turn};
use super::value::{Row, Value};
use bind::{arguments, row, tool_arguments, with_columns};
use columns::Column;
use settings::Settings;
use tokio::sync::mpsc;
use wire::Wire;

/// The schema of every table of the platform.
pub(super) const SCHEMA: &str = "agentprovision";

/// When the server's statistics began, which they do anew with every crash. Those after it give numbers of transactions again
/// of which the crash has left nothing.
const ERA: &str = "coalesce(pg_stat_get_bgwriter_stat_reset_time()::text,'')";

/// A connection, and where its transaction stands.
pub(super) struct Session {
    wire: Wire,
    settings: Arc<Settings>,
    state: State,
    /// The tenant the open transaction is in.
    tenant: Option<Uuid>,
    /// Whether the open transaction looks above tenants.
    above: bool,
    /// The number of the open transaction, where it writes: how it ended can be asked for later.
    xid: Option<i64>,
    /// What [`ERA`] was when the connection first wrote; behind a pooler, when the open transaction began.
    era: Option<String>,
    /// Whether a tool's statement ran on the connection, which may have set what outlives the transaction.
    tool: bool,
    /// Whether the transaction waits for its tenant alone, and not among other writers.
    pub(super) alone: bool,
    /// Whether a transaction that enters its tenant to write asks how it is.
    pub(super) asks: bool,
    /// What the database said of the tenant then.
    pub(super) said: Said,
}

/// What is known of a tenant that nobody else changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// Its residence, if it was ever moved.
    pub(super) residence: Option<String>,
    /// Its state, if there is such a tenant.
    pub(super) state: Option<String>,
}

/// Where a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There is none.
    Idle,
    /// It begins with the first statement.
    Due(Mode),
    /// It is open.
    Open(Mode),
    /// The connection broke, or was left in the middle of something.
    Gone,
}

/// How a transaction ended, as the database tells afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Committed,
    /// It was rolled back, or nothing of it outlived a crash.
    Undone,
    UnderWay,
    Unknown,
}

impl Session {
    /// Connects, once.
    pub(super) async fn open(settings: Arc<Settings>) -> Result<Self, Lost> {
        let raw = settings.options.connect().await.map_err(error)?;
        let mut session = Self::over(Wire::Own(raw), settings);
        session.set_up().await?;
        Ok(session)
    }

    /// Tells a connection what holds for all that comes on it.
    async fn set_up(&mut self) -> Result<(), Lost> {
        if self.settings.setup.is_empty() {
            return Ok(());
        }
        self.wire.script(self.settings.setup.clone()).await.map(drop).map_err(error)
    }

    /// On a connection that the host lends: transactions are parts of its own, which it ends itself.
    pub(super) fn lent(host: mpsc::Sender<wire::Ask>, settings: Arc<Settings>) -> Self {
        Self::over(Wire::Lent(host), settings)
    }

    fn over(wire: Wire, settings: Arc<Settings>) -> Self {
        let (state, tenant, xid, era, said) = (State::Idle, None, None, None, Said::default());
        Self {
            wire,
            settings,
            state,
            tenant,
            above: false,
            xid,
            era,
            tool: false,
            alone: false,
            asks: true,
            said,
        }
    }

    /// Whether transactions are parts of one of the host's.
    fn is_lent(&self) -> bool {
        matches!(self.wire, Wire::Lent(_))
    }

    /// Statements that are not part of a transaction of a tenant.
    pub(super) async fn script(&mut self, sql: &'static str) -> Result<(), Lost> {
        self.wire.script(sql.to_owned()).await.map(drop).map_err(error)
    }

    /// Whether statements that read are transactions of their own: each sees what is committed when it begins anyway. Not
    /// where a statement is prepared and run in two messages, which a pooler may send to two connections.
    pub(super) fn reads_alone(&self) -> bool {
        self.state == State::Due(Mode::Read) && self.settings.prepared && !self.is_lent()
    }

    pub(super) fn begin(&mut self, mode: Mode) {
        (self.state, self.tenant, self.xid) = (State::Due(mode), None, None);
        (self.above, self.alone, self.asks) = (false, false, true);
    }

    /// Begins what is due, and makes what follows the work of a tenant, or, without one, lets it look above tenants; all
    /// in one message.
    ///
    /// The text holds nothing but numbers and a UUID, all made here.
    pub(super) async fn enter(&mut self, tenant: Option<Uuid>) -> Result<(), Lost> {
        let mode = match self.state {
            State::Due(mode) | State::Open(mode) => mode,
            State::Idle | State::Gone => {
                let error = Error::internal("a statement needs a transaction");
                return Err(Lost { error, fate: Fate::Over });
            }
        };
        let due = self.state != State::Open(mode);
        let other = tenant.is_some() && tenant != self.tenant;
        let rise = tenant.is_none() && !self.above;
        if !due && !other && !rise {
            return Ok(());
        }
        let mut text = String::new();
        // A lent connection's transaction began before us, and nobody asks us how it ended.
        let begins = due && !self.is_lent();
        if begins {
            text.push_str(match mode {
                Mode::Read => "BEGIN READ ONLY",
                Mode::Snapshot => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                Mode::Write => "BEGIN",
            });
            text.push_str(&self.settings.preamble);
            text.push(';');
        } else if due {
            text.push_str("SAVEPOINT agentprovision;");
        }
        if rise {
            text.push_str("SELECT set_config('app.above_tenants','on',true);");
        }
        if let Some(tenant) = tenant.filter(|_| other) {
            text.push_str(&format!("SELECT set_config('app.current_tenant_id','{tenant}',true)"));
            if mode == Mode::Write && !self.alone {
                // Whoever changes the tenant itself waits until nobody writes in it.
                text.push_str(&format!(",pg_advisory_xact_lock_shared({})", lock_key(tenant, None)));
            }
            text.push(';');
        }
        // A statement of its own, so that it sees what was done before there was the lock.
        let mut asked = Vec::new();
        let writes = begins && mode == Mode::Write;
        let asks_era = writes && (self.era.is_none() || !self.settings.prepared);
        if writes {
            asked.push("pg_current_xact_id()::text::bigint".to_owned());
        }
        if asks_era {
            asked.push(ERA.to_owned());
        }
        let entered = tenant.filter(|_| other && mode == Mode::Write && self.asks);
        for table in entered.iter().flat_map(|_| ["residences", "tenants"]) {
            asked.push(format!(
                "(SELECT state FROM {table} WHERE tenant_id='{}')",
                tenant.unwrap_or_default()
            ));
        }
        if !asked.is_empty() {
            text.push_str(&format!("SELECT {}", asked.join(",")));
        }
        // Until there is an answer nobody knows whether there is a transaction.
        self.state = State::Gone;
        let rows = match self.wire.script(text).await {
            Ok(rows) => rows,
            Err(refused) => {
                if refused.as_database_error().is_some() {
                    self.state = State::Open(mode);
                }
                return Err(error(refused));
            }
        };
        let answer = rows.last().filter(|_| !asked.is_empty());
        let mut columns = 0..asked.len();
        let mut next = || columns.next().and_then(|column| text_of(answer?, column).ok());
        if writes {
            self.xid = next().and_then(|xid| xid.parse().ok());
        }
        if asks_era {
            self.era = next();
        }
        if entered.is_some() {
            self.said = Said { residence: next(), state: next() };
        }
        self.state = State::Open(mode);
        self.tenant = tenant.or(self.tenant);
        self.above |= rise;
        Ok(())
    }

    /// Commits. When the connection breaks meanwhile, nobody has said whether it went well; the database is asked.
    pub(super) async fn commit(&mut self) -> Result<(), Lost> {
        match std::mem::replace(&mut self.state, State::Gone) {
            State::Open(_) => {}
            State::Gone => return Err(gone()),
            State::Idle | State::Due(_) => {
                self.state = State::Idle;
                return Ok(());
            }
        }
        let end = if self.is_lent() { "RELEASE agentprovision" } else { "COMMIT" };
        match self.wire.script(end.to_owned()).await {
            Ok(_) => {
                self.state = State::Idle;
                self.clean_up().await;
                Ok(())
            }
            Err(broken)
                if broken
                    .as_database_error()
                    .is_none_or(|error| lost_by(&error.code().unwrap_or_default())) =>
            {
                self.outcome(broken).await
            }
            Err(refused) => {
                // The database has rolled back.
                self.state = State::Idle;
                Err(error(refused))
            }
        }
    }

    /// What became of a transaction whose commit nobody answered.
    async fn outcome(&mut self, broken: sqlx::Error) -> Result<(), Lost> {
        let Some(xid) = self.xid else { return Err(error(broken)) };
        let unknown = |source: sqlx::Error| {
            let message =
                "the connection broke while a change was committed, and nobody can tell whether it was";
            Lost { error: Error::new(ErrorKind::Uncertain, message).with_source(source), fate: Fate::Over }
        };
        // Recovery of the database may take a while; a transaction that is still under way ends with its connection.
        let env = self.settings.env.clone();
        let limit = self.settings.connect_timeout;
        let deadline = env.monotonic().saturating_add(limit);
        for wait in settings::waits(limit) {
            let asked = self.ask_outcome(xid);
            match env.timeout(deadline.saturating_sub(env.monotonic()), asked).await {
                None => break,
                Some(Ok((raw, outcome))) => match outcome {
                    Outcome::Committed | Outcome::Undone => {
                        self.wire = Wire::Own(raw);
                        self.state = State::Idle;
                        if self.set_up().await.is_err() {
                            self.state = State::Gone;
                        }
                        if outcome == Outcome::Committed {
                            return Ok(());
                        }
                        return Err(Lost { error: error(broken).error, fate: Fate::Again });
                    }
                    Outcome::UnderWay => {}
                    Outcome::Unknown => return Err(unknown(broken)),
                },
                Some(Err(refused)) if error_is_final(&refused) => return Err(unknown(refused)),
                Some(Err(_)) => {}
            }
            env.sleep(wait).await;
        }
        Err(unknown(broken))
    }

    /// Asks the database how a transaction ended.
    async fn ask_outcome(&self, xid: i64) -> Result<(PgConnection, Outcome), sqlx::Error> {
        let mut raw = self.settings.options.connect().await?;
        // One message: a pooler may give the next one another connection.
        let sql = AssertSqlSafe(format!("SELECT pg_xact_status('{xid}'),{ERA}"));
        let row = match raw.fetch_one(sqlx::raw_sql(sql)).await {
            // The number is not given yet: a crash has left nothing of who had it.
            Err(refused) if code(&refused).as_deref() == Some("22023") => return Ok((raw, Outcome::Undone)),
            row => row?,
        };
        let outcome = match &*text_of(&row, 0).unwrap_or_default() {
            "aborted" => Outcome::Undone,
            "in progress" => Outcome::UnderWay,
            // After a crash somebody else may have had the number.
            "committed" if self.era.is_some() && self.era == text_of(&row, 1).ok() => Outcome::Committed,
            _ => Outcome::Unknown,
        };
        Ok((raw, outcome))
    }

    pub(super) async fn rollback(&mut self) -> Result<(), Lost> {
        match std::mem::replace(&mut self.state, State::Gone) {
            State::Open(_) if self.is_lent() => {
                self.script("ROLLBACK TO agentprovision; RELEASE agentprovision").await?;
            }
            State::Open(_) => self.script("ROLLBACK").await?,
            State::Gone => return Err(gone()),
            State::Idle | State::Due(_) => {}
        }
        self.state = State::Idle;
        self.clean_up().await;
        Ok(())
    }

    /// Undoes what a tool may have set for the connection; one that cannot be had back is not used again.
    async fn clean_up(&mut self) {
        if !std::mem::take(&mut self.tool) || self.settings.setup.is_empty() || self.is_lent() {
            return;
        }
        if self.script("RESET ALL").await.is_err() || self.set_up().await.is_err() {
            self.state = State::Gone;
        }
    }

    /// Whether the open transaction writes.
    pub(super) fn writes(&self) -> bool {
        self.state == State::Open(Mode::Write)
    }

    /// Whether nothing is open, so that somebody else may have the connection.
    pub(super) fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Whether a transaction was opened that has not ended.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    pub(super) async fn rows(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, Lost> {
        let persistent = self.settings.prepared && !self.is_lent();
        let result = async {
            let rows = self.wire.rows(sql.into_sql_str(), arguments(values)?, persistent).await?;
            rows.iter().map(row).collect::<Result<Vec<_>, _>>()
        };
        let result = result.await;
        // Without a transaction there is no rollback that would notice.
        if let Err(broken) = &result
            && matches!(self.state, State::Due(_))
            && code(broken).is_none_or(|code| lost_by(&code))
        {
            self.state = State::Gone;
        }
        result.map_err(error)
    }

    pub(super) async fn execute(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64, Lost> {
        let persistent = self.settings.prepared && !self.is_lent();
        let result = async { self.wire.execute(sql.into_sql_str(), arguments(values)?, persistent).await };
        result.await.map_err(error)
    }

    /// A change with columns of many rows behind its values.
    pub(super) async fn execute_columns(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
        columns: Vec<Column>,
    ) -> Result<u64, Lost> {
        let persistent = self.settings.prepared && !self.is_lent();
        let result =
            async { self.wire.execute(sql.into_sql_str(), with_columns(values, columns)?, persistent).await };
        result.await.map_err(error)
    }

    /// As [`Session::execute_columns`], of a change that answers with rows.
    pub(super) async fn rows_of_columns(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
        columns: Vec<Column>,
    ) -> Result<Vec<Row>, Lost> {
        let persistent = self.settings.prepared && !self.is_lent();
        let result = async {
            let rows = self.wire.rows(sql.into_sql_str(), with_columns(values, columns)?, persistent).await?;
            rows.iter().map(row).collect::<Result<Vec<_>, _>>()
        };
        result.await.map_err(error)
    }

    /// A statement of a tool, checked before; one that fails is undone alone.
    pub(super) async fn tool_rows(
        &mut self,
        sql: String,
        values: Vec<Value>,
    ) -> Result<Vec<Vec<Value>>, Lost> {
        self.begin_tool().await?;
        let result = async {
            let sql = AssertSqlSafe(sql).into_sql_str();
            let rows = self.wire.rows(sql, tool_arguments(values)?, false).await?;
            rows.iter().map(|found| row(found).map(Row::into_values)).collect::<Result<_, _>>()
        };
        let result = result.await;
        self.settle_tool(result).await
    }

    /// As [`Session::tool_rows`], for a change.
    pub(super) async fn tool_execute(&mut self, sql: String, values: Vec<Value>) -> Result<u64, Lost> {
        self.begin_tool().await?;
        let result = async {
            self.wire.execute(AssertSqlSafe(sql).into_sql_str(), tool_arguments(values)?, false).await
        };
        let result = result.await;
        self.settle_tool(result).await
    }

    async fn begin_tool(&mut self) -> Result<(), Lost> {
        self.tool = true;
        self.script("SAVEPOINT tool").await
    }

    async fn settle_tool<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, Lost> {
        match result {
            Ok(value) => self.script("RELEASE tool").await.map(|()| value),
            Err(failed) => {
                let lost = tool_error(failed);
                if lost.fate == Fate::Open {
                    self.script("ROLLBACK TO tool").await?;
                }
                Err(lost)
            }
        }
    }

    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        self.wire.close().await
    }
}

/// The key of a lock of a tenant, for one turn or for the tenant as a whole. Two that fall together only wait for each
/// other.
pub(super) fn lock_key(tenant: Uuid, turn: Option<Turn>) -> i64 {
    let (_, low) = tenant.as_u64_pair();
    let class = match turn {
        None => 1,
        Some(Turn::Audit) => 2,
        Some(Turn::Events) => 3,
        Some(Turn::Admins) => 4,
        Some(Turn::Budgets) => 5,
        Some(Turn::Backups) => 6,
    };
    // The low half of an id is random; the constant spreads the classes over all bits.
    (low ^ 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(class)).cast_signed()
}

/// The error of a connection that cannot be used any more.
fn gone() -> Lost {
    let error = Error::new(ErrorKind::Unavailable, "the connection to the database was lost")
        .with_retry(Retry::After(Duration::from_secs(1)));
    Lost { error, fate: Fate::Again }
}

/// The code of an error of the database.
fn code(source: &sqlx::Error) -> Option<std::borrow::Cow<'_, str>> {
    source.as_database_error().and_then(|error| error.code())
}

/// A column of a row that came as text.
fn text_of(row: &PgRow, column: usize) -> Result<String, sqlx::Error> {
    let raw = row.try_get_raw(column)?;
    raw.as_str().map(str::to_owned).map_err(sqlx::Error::Decode)
}

/// Whether asking again gives no other answer.
fn error_is_final(source: &sqlx::Error) -> bool {
    code(source).is_some_and(|code| !lost_by(&code) && code != "53300")
}

/// Whether a code of the database says that it goes away, and the connection with it.
fn lost_by(code: &str) -> bool {
    matches!(code, "57P01" | "57P02" | "57P03" | "57P05" | "25P03") || code.starts_with("08")
}

/// An error of the database as one of ours, and what it means for its transaction
/// (https://www.postgresql.org/docs/current/errcodes-appendix.html).
pub(super) fn error(source: sqlx::Error) -> Lost {
    let unavailable = |message| {
        Error::new(ErrorKind::Unavailable, message).with_retry(Retry::After(Duration::from_secs(1)))
    };
    let code = source.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
    let (mapped, fate) = match code.as_deref() {
        Some("40001" | "40P01") => (unavailable("the database is busy"), Fate::Again),
        // Somebody else was faster; the next look says with what.
        Some("23505") => (Error::conflict("another change came first"), Fate::Again),
        Some("55P03") => (unavailable("the database is busy: a lock was not free in time"), Fate::Over),
        Some("57014") => (unavailable("a statement took longer than the database allows"), Fate::Over),
        Some("25006") => {
            (Error::new(ErrorKind::ReadOnly, "the database can be read but not written"), Fate::Over)
        }
        Some("53100") => (unavailable("there is no space left for the database"), Fate::Over),
        Some("53300") => (unavailable("the database has no connection left"), Fate::Again),
        Some("54000") => (Error::too_large("the value is larger than the database takes"), Fate::Over),
        Some("26000" | "42P05") => (
            unavailable(
                "the database has lost a prepared statement; behind a pooler that gives each transaction another \
                 connection the URL of the store says `pooler=transaction`",
            ),
            Fate::Over,
        ),
        Some("28000" | "28P01") => (
            Error::new(
                ErrorKind::PermissionDenied,
                "the database refuses the user or the password of its URL",
            ),
            Fate::Over,
        ),
        Some("3D000") => (Error::invalid("there is no such database"), Fate::Over),
        Some("42P01" | "3F000" | "42501") => (
            Error::new(
                ErrorKind::Unavailable,
                "the database lacks a table or a right; `cargo run --example migrate` prepares it",
            ),
            Fate::Over,
        ),
        Some(code) if lost_by(code) => (unavailable("the database goes away"), Fate::Again),
        Some(_) => (Error::internal("the database refused a statement"), Fate::Over),
        None => match &source {
            sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => {
                (Error::corrupt("a stored row cannot be read"), Fate::Over)
            }
            sqlx::Error::Encode(_) => (Error::internal("a value cannot be bound"), Fate::Over),
            sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) => {
                (Error::invalid("the URL of the database cannot be used"), Fate::Over)
            }
            _ => (unavailable("the connection to the database was lost"), Fate::Again),
        },
    };
    Lost { error: mapped.with_source(source), fate }
}

/// An error of a statement that the platform did not write.
fn tool_error(source: sqlx::Error) -> Lost {
    let refused = match source.as_database_error().and_then(|error| error.code()) {
        // What the statement says, what it does to the data, and what its author may do.
        Some(code) => ["21", "22", "23", "42", "44", "0A", "3F"].iter().any(|class| code.starts_with(class)),
        None => matches!(
            source,
            sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }
        ),
    };
    if refused {
        let message = match &source {
            sqlx::Error::Decode(reason) => format!("the rows of the statement cannot be read: {reason}"),
            _ => "the database refused the statement".to_owned(),
        };
        return Lost { error: Error::invalid(message).with_source(source), fate: Fate::Open };
    }
    error(source)
}
