//! Running a piece of work in a transaction of its own.

use agentprovision_core::{Env, Error, Result};
use futures_util::future::BoxFuture;

use super::pool::{Lent, Pool};
use crate::store::sql::conn::{Fate, Mode, SystemTx};

/// Writes. The work goes on when nobody waits for it any more, so a caller that goes away leaves no transaction half
/// begun. Where others are in its way, or the connection breaks before the commit, it is done again.
pub(in crate::store::sql) async fn write<T, F>(pool: &Pool, env: &Env, work: F) -> Result<T>
where
    F: for<'t> FnOnce(SystemTx<'t>) -> BoxFuture<'t, Result<T>> + Clone + Send + 'static,
    T: Send + 'static,
{
    let (pool, env) = (pool.clone(), env.clone());
    let runtime = pool.runtime().clone();
    let done = runtime.spawn(async move { write_here(&pool, &env, work).await });
    done.await.map_err(|error| Error::internal("the work was broken off").with_source(error))?
}

/// As [`write`], within a task of the pool's runtime that nobody gives up.
pub(in crate::store::sql) async fn write_here<T, F>(pool: &Pool, env: &Env, work: F) -> Result<T>
where
    F: for<'t> FnOnce(SystemTx<'t>) -> BoxFuture<'t, Result<T>> + Clone + Send,
{
    let mut attempt = 1;
    loop {
        let mut lent = pool.lend().await?;
        lent.conn.begin(Mode::Write).await?;
        let result = work.clone()(SystemTx { conn: &mut lent.conn, env }).await;
        let result = match result {
            Ok(value) => lent.conn.commit().await.map(|()| value),
            refused => refused,
        };
        match end(pool, lent, result).await {
            Err((error, true)) if attempt < pool.settings().attempts => {
                tracing::debug!(?error, attempt, "a transaction is tried again");
                attempt += 1;
            }
            result => return result.map_err(|(error, _)| error),
        }
    }
}

/// Reads. Dropped in the middle, it takes its connection with it.
pub(in crate::store::sql) async fn read<T, F>(pool: &Pool, env: &Env, work: F) -> Result<T>
where
    F: for<'t> FnOnce(SystemTx<'t>) -> BoxFuture<'t, Result<T>> + Clone + Send,
{
    let mut attempt = 1;
    loop {
        let mut lent = pool.lend().await?;
        lent.conn.begin(Mode::Read).await?;
        let result = work.clone()(SystemTx { conn: &mut lent.conn, env }).await;
        match lent.conn.take_fate() {
            None if !lent.conn.is_open() => {
                lent.conn.commit().await?;
                lent.give_back();
                return result;
            }
            // Nobody has to wait for the end of a transaction that only read.
            None => {
                pool.runtime().spawn(async move {
                    if lent.conn.commit().await.is_ok() {
                        lent.give_back();
                    }
                });
                return result;
            }
            Some(lost) => {
                let again = settle(pool, lent, lost.fate).await;
                if !again || attempt >= pool.settings().attempts {
                    return result.and(Err(lost.error));
                }
                attempt += 1;
            }
        }
    }
}

/// Ends a transaction that was committed or is not to be; says with an error whether it may go well the next time.
async fn end<T>(pool: &Pool, mut lent: Lent, result: Result<T>) -> Result<T, (Error, bool)> {
    match (result, lent.conn.take_fate()) {
        (Ok(value), None) => {
            lent.give_back();
            Ok(value)
        }
        (Err(refusal), None) => {
            if lent.conn.rollback().await.is_ok() {
                lent.give_back();
            }
            Err((refusal, false))
        }
        (result, Some(lost)) => {
            let again = settle(pool, lent, lost.fate).await;
            Err((result.err().unwrap_or(lost.error), again))
        }
    }
}

/// Rolls back after an error of the database; says whether another attempt makes sense.
async fn settle(pool: &Pool, mut lent: Lent, fate: Fate) -> bool {
    if lent.conn.rollback().await.is_ok() {
        lent.give_back();
    } else {
        // The server may have gone away with all of them.
        pool.forget();
    }
    fate == Fate::Again
}
