//! The transaction of a transactional step.
//!
//! On SQLite it is the writer's own transaction: while it is open nothing else is written, so it ends after [`LIMIT`] at
//! the latest. A statement that fails is undone alone and the transaction goes on; where the database gave the whole
//! transaction up, everything behind it is `closed`.

use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentprovision_core::effect::Effects;
use agentprovision_core::run::{Fence, JournalBatch, RunTx};
use agentprovision_core::tool::{SqlTx, SqlValue, TxHandle};
use agentprovision_core::{Env, Error, Result};
use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

#[cfg(feature = "store-postgres")]
use super::conn::Fate;
use super::conn::{Conn, Mode, SystemTx};
use super::value::Value;
#[cfg(feature = "store-sqlite")]
use super::writer::Request;
use super::{Engine, SqlStore, runs, statement};

/// The longest a step may hold the writer.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// Asks the writer for a transaction.
pub(super) struct Begin {
    fence: Fence,
    reply: oneshot::Sender<Result<mpsc::Sender<Command>>>,
}

/// What is done inside it.
pub(super) enum Command {
    Execute(String, Vec<Value>, oneshot::Sender<Result<u64>>),
    Query(String, Vec<Value>, oneshot::Sender<Result<Vec<Vec<Value>>>>),
    Commit(Box<(JournalBatch, Effects)>, oneshot::Sender<Result<u64>>),
    Rollback(oneshot::Sender<Result<()>>),
}

fn ended() -> Error {
    Error::closed("the transaction of the step has ended")
}

/// Begins a transaction for the holder of a run.
pub(super) async fn begin(store: &SqlStore, fence: Fence) -> Result<SqlRunTx> {
    let (reply, answer) = oneshot::channel();
    store.check_open()?;
    let begin = Begin { fence, reply };
    let commands = match &store.engine {
        #[cfg(feature = "store-sqlite")]
        Engine::Sqlite(lanes) => lanes.ask(Request::Begin(begin), answer).await?,
        #[cfg(feature = "store-postgres")]
        Engine::Lent(_) => return Err(super::not_within_another()),
        #[cfg(feature = "store-postgres")]
        Engine::Postgres(pool) => {
            let (env, owned) = (store.env.clone(), pool.clone());
            pool.runtime().spawn(async move { drive_lent(&owned, &env, begin).await });
            answer.await.map_err(|_| ended())??
        }
    };
    Ok(SqlRunTx(Arc::new(Link { fence, commands: Mutex::new(Some(commands)) })))
}

/// The way to the writer, until the transaction is ended from this side.
struct Link {
    fence: Fence,
    commands: Mutex<Option<mpsc::Sender<Command>>>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlRunTx").field("fence", &self.fence).finish_non_exhaustive()
    }
}

impl Link {
    fn cut(&self) -> Option<mpsc::Sender<Command>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn statement<T>(
        &self,
        sql: &str,
        values: &[SqlValue],
        command: impl FnOnce(String, Vec<Value>, oneshot::Sender<Result<T>>) -> Command,
    ) -> Result<T> {
        statement::check(sql)?;
        let tenant = Value::from(self.fence.tenant);
        let values = std::iter::once(Ok(tenant)).chain(values.iter().map(to_value)).collect::<Result<_>>()?;
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (reply, answer) = oneshot::channel();
        let command = command(sql.to_owned(), values, reply);
        send(commands, command, answer).await
    }
}

async fn send<T>(
    commands: Option<mpsc::Sender<Command>>,
    command: Command,
    answer: oneshot::Receiver<Result<T>>,
) -> Result<T> {
    commands.ok_or_else(ended)?.send(command).await.map_err(|_| ended())?;
    answer.await.map_err(|_| ended())?
}

fn to_value(value: &SqlValue) -> Result<Value> {
    match value {
        SqlValue::Null => Ok(Value::Null),
        SqlValue::Int(value) => Ok(Value::Int(*value)),
        SqlValue::Real(value) => Ok(Value::Real(*value)),
        SqlValue::Text(value) => Ok(Value::Text(value.clone())),
        SqlValue::Bytes(value) => Ok(Value::Bytes(value.clone())),
        _ => Err(Error::unsupported("this store does not know the kind of a value")),
    }
}

fn from_value(value: Value) -> SqlValue {
    match value {
        Value::Null => SqlValue::Null,
        Value::Int(value) => SqlValue::Int(value),
        Value::Real(value) => SqlValue::Real(value),
        Value::Text(value) => SqlValue::Text(value),
        Value::Bytes(value) => SqlValue::Bytes(value),
    }
}

#[async_trait]
impl SqlTx for Link {
    async fn execute(&self, sql: &str, values: &[SqlValue]) -> Result<u64> {
        self.statement(sql, values, Command::Execute).await
    }

    async fn query(&self, sql: &str, values: &[SqlValue]) -> Result<Vec<Vec<SqlValue>>> {
        let rows = self.statement(sql, values, Command::Query).await?;
        Ok(rows.into_iter().map(|row| row.into_iter().map(from_value).collect()).collect())
    }
}

/// The transaction as the engine holds it.
#[derive(Debug)]
pub(super) struct SqlRunTx(Arc<Link>);

#[async_trait]
impl RunTx for SqlRunTx {
    fn handle(&self) -> TxHandle {
        TxHandle::new(self.0.clone())
    }

    async fn commit(self: Box<Self>, batch: JournalBatch, effects: Effects) -> Result<u64> {
        let (reply, answer) = oneshot::channel();
        send(self.0.cut(), Command::Commit(Box::new((batch, effects)), reply), answer).await
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        send(self.0.cut(), Command::Rollback(reply), answer).await
    }
}

impl Drop for SqlRunTx {
    fn drop(&mut self) {
        // The writer sees that nobody is left to say anything, and rolls back.
        self.0.cut();
    }
}

/// Opens the transaction, if the worker may have it.
async fn open(conn: &mut Conn, env: &Env, fence: &Fence) -> Result<()> {
    conn.begin(Mode::Write).await?;
    runs::held(&mut SystemTx { conn, env }.tenant(fence.tenant), fence).await
}

/// Drives a transaction on a connection of a pool. Until the transaction is open another connection may be tried: one that was
/// idle may have been dead for long.
#[cfg(feature = "store-postgres")]
async fn drive_lent(pool: &super::postgres::pool::Pool, env: &Env, begin: Begin) {
    let mut attempt = 1;
    let opened = loop {
        let mut lent = match pool.lend().await {
            Ok(lent) => lent,
            Err(error) => break Err(error),
        };
        let Err(error) = open(&mut lent.conn, env, &begin.fence).await else { break Ok(lent) };
        let again = lent.conn.take_fate().is_some_and(|lost| lost.fate == Fate::Again);
        if lent.conn.rollback().await.is_ok() {
            lent.give_back();
        } else {
            pool.forget();
        }
        if !again || attempt >= pool.settings().attempts {
            break Err(error);
        }
        attempt += 1;
    };
    match opened {
        Ok(mut lent) => {
            drive_open(&mut lent.conn, env, begin).await;
            lent.give_back();
        }
        Err(error) => drop(begin.reply.send(Err(error))),
    }
}

/// The writer's side: opens the transaction and does what is asked until it ends.
#[cfg(feature = "store-sqlite")]
pub(super) async fn drive(conn: &mut Conn, env: &Env, begin: Begin) {
    if let Err(error) = open(conn, env, &begin.fence).await {
        let _ = conn.rollback().await;
        let _ = begin.reply.send(Err(error));
        return;
    }
    drive_open(conn, env, begin).await;
}

/// Does what is asked in the open transaction until it ends.
async fn drive_open(conn: &mut Conn, env: &Env, begin: Begin) {
    let Begin { fence, reply } = begin;
    let (commands, mut received) = mpsc::channel(1);
    let stop = Arc::new(AtomicBool::new(false));
    if reply.send(Ok(commands)).is_ok() {
        conn.interrupt_on(Some(stop.clone())).await;
        let reply = serve(conn, env, fence, &mut received, &stop).await;
        conn.interrupt_on(None).await;
        match reply {
            Some(End::Commit(done, reply)) => {
                let done = match done {
                    Ok(seq) => conn.commit().await.map(|()| seq),
                    refused => refused,
                };
                if done.is_err() {
                    let _ = conn.rollback().await;
                }
                let _ = reply.send(done);
                return;
            }
            Some(End::Rollback(reply)) => {
                let done = conn.rollback().await;
                let _ = reply.send(done);
                return;
            }
            None => {}
        }
    }
    // It may be gone already.
    let _ = conn.rollback().await;
}

/// How the transaction was ended, and who waits for it.
enum End {
    Commit(Result<u64>, oneshot::Sender<Result<u64>>),
    Rollback(oneshot::Sender<Result<()>>),
}

/// Serves commands until an end is asked for; `None` when nobody asks any more, the time is over or the transaction is
/// gone.
async fn serve(
    conn: &mut Conn,
    env: &Env,
    fence: Fence,
    received: &mut mpsc::Receiver<Command>,
    stop: &AtomicBool,
) -> Option<End> {
    let mut deadline = pin!(env.sleep(LIMIT));
    loop {
        let command = tokio::select! {
            biased;
            () = &mut deadline => return None,
            command = received.recv() => command?,
        };
        tokio::select! {
            biased;
            obeyed = obey(conn, env, fence, command) => match obeyed {
                Obeyed::GoOn if !stop.load(Ordering::Relaxed) => {}
                Obeyed::GoOn | Obeyed::Gone => return None,
                Obeyed::End(end) => return Some(end),
            },
            never = async {
                deadline.as_mut().await;
                // The statement is told to stop; the branch above waits for it.
                stop.store(true, Ordering::Relaxed);
                std::future::pending::<Infallible>().await
            } => match never {},
        }
    }
}

enum Obeyed {
    GoOn,
    Gone,
    End(End),
}

async fn obey(conn: &mut Conn, env: &Env, fence: Fence, command: Command) -> Obeyed {
    let still_open = match command {
        Command::Execute(sql, values, reply) => {
            let result = conn.tool_execute(fence.tenant.uuid(), sql, values).await;
            answered(conn, result, reply).await
        }
        Command::Query(sql, values, reply) => {
            let result = conn.tool_rows(fence.tenant.uuid(), sql, values).await;
            answered(conn, result, reply).await
        }
        Command::Commit(work, reply) => {
            let (batch, effects) = *work;
            let mut system = SystemTx { conn, env };
            let done = runs::commit(&mut system.tenant(fence.tenant), fence, batch, effects).await;
            return Obeyed::End(End::Commit(done, reply));
        }
        Command::Rollback(reply) => return Obeyed::End(End::Rollback(reply)),
    };
    if still_open { Obeyed::GoOn } else { Obeyed::Gone }
}

/// Passes a result on; says whether the transaction is still open.
async fn answered<T>(conn: &mut Conn, result: Result<T>, reply: oneshot::Sender<Result<T>>) -> bool {
    let open = match &result {
        Ok(_) => true,
        Err(_) => conn.outlived().await,
    };
    let _ = reply.send(result);
    open
}
