//! Statements that somebody else writes.

use agentprovision_core::{Error, Result};
use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, Statement};

use super::Place;
use super::rows::{Parameter, first_word, parameter, row, text_of};
use super::session::{Session, told};
use super::sql::{self, Within};
use crate::call::Call;
use crate::handler::{Run, runs};
use crate::operations;

/// Rows that are answered where nobody says how many.
const ROWS: usize = 100;
/// The most bytes of rows in one answer, and of one row.
const BYTES: usize = 2 * 1024 * 1024;

records! {
    /// A column of an answer.
    AnswerColumn {
        /// Its name; two can have the same.
        name: String,
        /// Its type, in the server's words.
        #[serde(rename = "type")]
        kind: String,
    }

    /// Rows.
    Answer {
        /// The columns.
        columns: Vec<AnswerColumn>,
        /// The rows: a value for each column. What JSON has no type for is a text as PostgreSQL writes it, `numeric` too.
        rows: Vec<Vec<Value>>,
        /// Whether there are more rows than these.
        truncated: bool,
    }

    /// What a statement did.
    Changed {
        /// How many rows it changed, or returned.
        affected: u64,
        /// The columns that it returned, with `RETURNING`.
        columns: Vec<AnswerColumn>,
        /// The rows that it returned: a value for each column.
        rows: Vec<Vec<Value>>,
        /// Whether it returned more rows than these.
        truncated: bool,
    }

    /// A server, and who is connected to it.
    ServerInfo {
        /// The account: user, database and server.
        account: String,
        /// The user.
        user: String,
        /// The database.
        database: String,
        /// The version of the server.
        version: String,
        /// Whether the connection was encrypted.
        encrypted: bool,
        /// Whether the integration may change something.
        writable: bool,
    }
}

operations! {
    /// Asks the database: one `SELECT`, `WITH`, `VALUES`, `TABLE`, `SHOW` or `EXPLAIN` in a transaction that can change nothing.
    Query "query" get("") => Answer [.handler(runs::<Query>())] {
        /// The statement, one. Values stand in it as `$1`, `$2` and so on, with a cast where their type is not clear: `$1::date`.
        #[schemars(length(min = 1, max = 100_000))]
        sql: String,
        /// The values of `$1`, `$2` and so on. What JSON has no type for is given as a text, as PostgreSQL reads it.
        #[schemars(length(max = 1000))]
        params: Option<Vec<Value>>,
        /// The most rows that are answered, 1 to 10000; default 100. An answer has at most 2 MiB.
        #[schemars(range(min = 1, max = 10_000))]
        max_rows: Option<u32>,
    }
    /// Changes the database by one statement, in a transaction of its own: all of it or nothing. Only for integrations whose setting
    /// `writable` says so.
    Execute "execute" post("") => Changed [.handler(runs::<Execute>())] {
        /// The statement, one: `INSERT`, `UPDATE`, `DELETE`, `MERGE`, also with `RETURNING`, or one that defines something. Values
        /// stand in it as `$1`, `$2` and so on.
        #[schemars(length(min = 1, max = 100_000))]
        sql: String,
        /// The values of `$1`, `$2` and so on. What JSON has no type for is given as a text, as PostgreSQL reads it.
        #[schemars(length(max = 1000))]
        params: Option<Vec<Value>>,
    }
    /// Connects to the server, and tells who is connected to what.
    CheckServer "server.check" get("") => ServerInfo [.handler(runs::<CheckServer>())] {}
}

/// A statement that the server has read, with the values of its parameters.
struct Prepared {
    statement: Statement,
    values: Vec<Parameter>,
}

impl Prepared {
    /// Has the server read a statement. Two in one are none (SQLSTATE 42601).
    async fn new(session: &Session, sql: &str, params: Option<&[Value]>) -> Result<Self> {
        let statement = session.client.prepare(sql).await.map_err(told)?;
        let (types, params) = (statement.params(), params.unwrap_or_default());
        if types.len() != params.len() {
            return Err(Error::invalid(format!(
                "the statement has {} parameters, and `params` has {}",
                types.len(),
                params.len()
            )));
        }
        let values =
            params.iter().zip(types).map(|(value, kind)| parameter(value, kind)).collect::<Result<_>>()?;
        Ok(Self { statement, values })
    }

    fn columns(&self) -> Vec<AnswerColumn> {
        let column = |column: &tokio_postgres::Column| AnswerColumn {
            name: column.name().to_owned(),
            kind: column.type_().name().to_owned(),
        };
        self.statement.columns().iter().map(column).collect()
    }

    fn values(&self) -> impl ExactSizeIterator<Item = &(dyn ToSql + Sync)> + Clone {
        self.values.iter().map(|value| value as &(dyn ToSql + Sync))
    }

    /// The rows of this statement as a part of another one that says them in JSON.
    async fn rows(
        &self,
        session: &Session,
        within: Within,
        sql: &str,
        most: usize,
    ) -> Result<(Vec<Vec<Value>>, u64, bool)> {
        let columns = self.statement.columns();
        if columns.is_empty() {
            return Err(Error::invalid("the statement has no columns"));
        }
        let texts: Vec<_> = columns.iter().map(|column| text_of(column.type_())).collect();
        let around = sql::as_json(within, sql, &texts, most.saturating_add(1), BYTES);
        // Of the types that were found: around it they may be less clear.
        let statement = session.client.prepare_typed(&around, self.statement.params()).await.map_err(told)?;
        let read = |found: &Row| {
            let json: Option<&str> = found.try_get(0).map_err(told)?;
            let json = json.ok_or_else(|| Error::too_large(format!("a row is longer than {BYTES} bytes")))?;
            Ok((row(json, columns.len())?, json.len()))
        };
        self.collect(session, &statement, most, read).await
    }

    /// The rows of a statement that cannot be a part of another one, all of whose columns are texts.
    async fn texts(&self, session: &Session, most: usize) -> Result<(Vec<Vec<Value>>, u64, bool)> {
        let columns = self.statement.columns();
        let text = [Type::TEXT, Type::VARCHAR, Type::NAME];
        if !columns.iter().all(|column| text.contains(column.type_())) {
            return Err(Error::invalid(
                "a statement of this kind answers texts alone; use `EXPLAIN (FORMAT TEXT)`",
            ));
        }
        let read = |found: &Row| {
            let row = (0..columns.len())
                .map(|number| found.try_get::<_, Option<String>>(number).map(Value::from).map_err(told))
                .collect::<Result<Vec<_>>>()?;
            let bytes = row.iter().filter_map(Value::as_str).map(str::len).sum();
            Ok((row, bytes))
        };
        self.collect(session, &self.statement, most, read).await
    }

    /// Rows up to a limit, how many there were, and whether some were left out.
    async fn collect(
        &self,
        session: &Session,
        statement: &Statement,
        most: usize,
        read: impl Fn(&Row) -> Result<(Vec<Value>, usize)>,
    ) -> Result<(Vec<Vec<Value>>, u64, bool)> {
        let found = session.client.query_raw(statement, self.values()).await.map_err(told)?;
        let mut found = std::pin::pin!(found);
        let (mut rows, mut all, mut left, mut truncated) = (Vec::new(), 0, BYTES, false);
        while let Some(next) = found.try_next().await.map_err(told)? {
            all += 1;
            if truncated || rows.len() == most {
                truncated = true;
                continue;
            }
            let (row, bytes) = read(&next)?;
            match left.checked_sub(bytes) {
                Some(rest) => (left, _) = (rest, rows.push(row)),
                None => truncated = true,
            }
        }
        Ok((rows, all, truncated))
    }
}

/// A statement without the semicolon at its end.
fn trimmed(sql: &str) -> &str {
    sql.trim_end().trim_end_matches(';')
}

fn refused(word: &str, taken: impl Iterator<Item = &'static str>) -> Error {
    let taken: Vec<&str> = taken.collect();
    Error::invalid(format!("the statement begins with `{word}`; it may begin with {}", taken.join(", ")))
}

#[async_trait]
impl Run for Query {
    async fn run(self, call: &Call) -> Result<Answer> {
        let word = first_word(&self.sql);
        let (looks, tells) = (sql::LOOK.contains(&&*word), sql::TELL.contains(&&*word));
        if !looks && !tells {
            return Err(refused(&word, sql::LOOK.into_iter().chain(sql::TELL)));
        }
        call.count_request(self.sql.len() as u64);
        let session = Session::open(call, false).await?;
        let most = self.max_rows.and_then(|most| usize::try_from(most).ok()).unwrap_or(ROWS);
        let sql = trimmed(&self.sql);
        let prepared = Prepared::new(&session, sql, self.params.as_deref()).await?;
        let (rows, _, truncated) = if looks {
            prepared.rows(&session, Within::From, sql, most).await?
        } else {
            prepared.texts(&session, most).await?
        };
        session.close().await;
        Ok(Answer { columns: prepared.columns(), rows, truncated })
    }
}

#[async_trait]
impl Run for Execute {
    async fn run(self, call: &Call) -> Result<Changed> {
        if !Place::of(&call.integration.settings)?.writable {
            return Err(Error::denied(
                "the integration's setting `writable` does not allow to change anything",
            ));
        }
        let word = first_word(&self.sql);
        let changes = sql::CHANGE.contains(&&*word);
        if !changes && !sql::DEFINE.contains(&&*word) {
            return Err(refused(&word, sql::CHANGE.into_iter().chain(sql::DEFINE)));
        }
        let session = Session::open(call, true).await?;
        let sql = trimmed(&self.sql);
        let prepared = Prepared::new(&session, sql, self.params.as_deref()).await?;
        let columns = prepared.columns();
        let (rows, affected, truncated) = if changes && !columns.is_empty() {
            prepared.rows(&session, Within::With, sql, ROWS).await?
        } else {
            let affected =
                session.client.execute_raw(&prepared.statement, prepared.values()).await.map_err(told)?;
            (Vec::new(), affected, false)
        };
        session.commit(call, self.sql.len() as u64).await?;
        Ok(Changed { affected, columns, rows, truncated })
    }
}

#[async_trait]
impl Run for CheckServer {
    async fn run(self, call: &Call) -> Result<ServerInfo> {
        call.count_request(0);
        let place = Place::of(&call.integration.settings)?;
        let session = Session::open(call, false).await?;
        let who = session.client.query_one(sql::WHO, &[]).await.map_err(told)?;
        let text = |number: usize| who.try_get::<_, String>(number).map_err(told);
        let (user, database, version) = (text(0)?, text(1)?, text(2)?);
        session.close().await;
        Ok(ServerInfo {
            account: format!("{user} at {database} on {}:{}", place.to.host(), place.to.port()),
            user,
            database,
            version,
            encrypted: place.to.is_encrypted(),
            writable: place.writable,
        })
    }
}
