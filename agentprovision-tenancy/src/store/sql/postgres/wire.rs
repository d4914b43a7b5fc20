//! What statements go over: a connection of our own, or one that the host lends for the length of its transaction.

use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqlStr};
use tokio::sync::{mpsc, oneshot};

/// A connection as a session uses it.
pub(super) enum Wire {
    Own(PgConnection),
    /// The host's, reached through whoever holds it.
    Lent(mpsc::Sender<Ask>),
}

/// What is asked of a connection that was lent.
pub(in crate::store::sql) struct Ask {
    what: What,
    reply: oneshot::Sender<Result<(Vec<PgRow>, u64), sqlx::Error>>,
}

enum What {
    Script(String),
    Rows(SqlStr, PgArguments, bool),
    Execute(SqlStr, PgArguments, bool),
}

impl Wire {
    /// Statements without values, in one message; the rows of all of them.
    pub(super) async fn script(&mut self, sql: String) -> Result<Vec<PgRow>, sqlx::Error> {
        self.ask(What::Script(sql)).await.map(|(rows, _)| rows)
    }

    pub(super) async fn rows(
        &mut self,
        sql: SqlStr,
        values: PgArguments,
        persistent: bool,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        self.ask(What::Rows(sql, values, persistent)).await.map(|(rows, _)| rows)
    }

    pub(super) async fn execute(
        &mut self,
        sql: SqlStr,
        values: PgArguments,
        persistent: bool,
    ) -> Result<u64, sqlx::Error> {
        self.ask(What::Execute(sql, values, persistent)).await.map(|(_, changed)| changed)
    }

    async fn ask(&mut self, what: What) -> Result<(Vec<PgRow>, u64), sqlx::Error> {
        match self {
            Self::Own(conn) => carry_out(conn, what).await,
            Self::Lent(host) => {
                let (reply, answer) = oneshot::channel();
                // Whoever lent it is gone, and the connection with them.
                let gone = || sqlx::Error::PoolClosed;
                host.send(Ask { what, reply }).await.map_err(|_| gone())?;
                answer.await.map_err(|_| gone())?
            }
        }
    }

    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Own(conn) => conn.close().await,
            Self::Lent(_) => Ok(()),
        }
    }
}

async fn carry_out(conn: &mut PgConnection, what: What) -> Result<(Vec<PgRow>, u64), sqlx::Error> {
    match what {
        What::Script(sql) => conn.fetch_all(sqlx::raw_sql(AssertSqlSafe(sql))).await.map(|rows| (rows, 0)),
        What::Rows(sql, values, persistent) => {
            let query = sqlx::query_with(sql, values).persistent(persistent);
            query.fetch_all(conn).await.map(|rows| (rows, 0))
        }
        What::Execute(sql, values, persistent) => {
            let query = sqlx::query_with(sql, values).persistent(persistent);
            query.execute(conn).await.map(|done| (Vec::new(), done.rows_affected()))
        }
    }
}

/// Carries out on a connection what is asked of it.
pub(in crate::store::sql) async fn serve(conn: &mut PgConnection, ask: Ask) {
    let answer = carry_out(conn, ask.what).await;
    // Whoever asked may be gone.
    let _ = ask.reply.send(answer);
}
