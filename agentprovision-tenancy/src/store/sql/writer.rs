//! The one task that writes.
//!
//! Requests wait in a bounded queue. The task takes what waits, up to [`ROWS`] rows, into one transaction: commits of
//! runs are merged, and so are deliveries that come in; everything else runs in a savepoint of its own. Answers leave after
//! the commit, and an answer nobody waits for any more changes nothing.

use agentprovision_core::webhook::Accepted;
use agentprovision_core::{Env, Error, Result};
use futures_util::future::BoxFuture;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::{mpsc, oneshot};

use super::accept::Accept;
use super::conn::{Conn, SystemTx};
use super::merge::Commit;
use super::{audit, run_tx};

/// Rows of one transaction, about.
const ROWS: usize = 1024;
/// Requests that wait before callers have to.
const QUEUE: usize = 1024;
/// Audit records that are left pending before the writer moves them into their logs on its own.
const PENDING: usize = 4096;

/// What the task is asked for.
pub(super) enum Request {
    /// A commit that may be merged with others.
    Commit(Asked<Commit>),
    /// A delivery, which is merged with others.
    Accept(Asked<Accept>),
    /// Anything else, in a savepoint of its own.
    Call(Box<dyn Call>),
    /// The transaction of a step, which holds the writer until it ends.
    Begin(run_tx::Begin),
    /// Finish what was accepted, and close.
    Close(oneshot::Sender<Result<()>>),
}

/// Requests of a kind that are written together, in few statements.
pub(super) trait Merge: Send + Sync + Sized {
    /// The answer to one of them.
    type Answer: Send;

    /// Rows it writes, about.
    fn rows(&self) -> usize;

    /// Writes requests, in order. The outer error is the database's: then nothing counts.
    fn write(
        tx: &mut SystemTx<'_>,
        requests: &[Self],
    ) -> impl Future<Output = Result<Vec<Result<Self::Answer>>>> + Send;
}

/// One of them, and who waits for its answer.
pub(super) struct Asked<R: Merge> {
    pub(super) request: R,
    pub(super) reply: oneshot::Sender<Result<R::Answer>>,
}

impl From<Asked<Commit>> for Request {
    fn from(asked: Asked<Commit>) -> Self {
        Self::Commit(asked)
    }
}

impl From<Asked<Accept>> for Request {
    fn from(asked: Asked<Accept>) -> Self {
        Self::Accept(asked)
    }
}

/// Work inside a transaction, whose result is kept until the transaction is committed.
pub(super) trait Call: Send {
    /// Does the work; says whether it may be kept.
    fn run<'t>(&'t mut self, tx: SystemTx<'t>) -> BoxFuture<'t, bool>;
    /// Answers: with the result of the work or, where the transaction failed, with its error.
    fn answer(self: Box<Self>, failed: Option<Error>);
}

/// A [`Call`] of a closure.
pub(super) struct Work<F, T> {
    work: Option<F>,
    result: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<F, T> Work<F, T> {
    pub(super) fn new(work: F, reply: oneshot::Sender<Result<T>>) -> Self {
        Self { work: Some(work), result: None, reply }
    }
}

impl<F, T> Call for Work<F, T>
where
    F: for<'t> FnOnce(SystemTx<'t>) -> BoxFuture<'t, Result<T>> + Send,
    T: Send,
{
    fn run<'t>(&'t mut self, tx: SystemTx<'t>) -> BoxFuture<'t, bool> {
        Box::pin(async move {
            let Some(work) = self.work.take() else { return false };
            let result = work(tx).await;
            self.result.insert(result).is_ok()
        })
    }

    fn answer(self: Box<Self>, failed: Option<Error>) {
        let result = match (self.result, failed) {
            // A refusal stands, whatever became of the transaction around it.
            (Some(Err(refusal)), _) => Err(refusal),
            (_, Some(error)) => Err(error),
            (Some(result), None) => result,
            (None, None) => Err(Error::internal("the work was not done")),
        };
        // Whoever asked may be gone; the work is done all the same.
        let _ = self.reply.send(result);
    }
}

/// The queue to the task.
pub(super) type Queue = mpsc::Sender<Request>;

/// Starts the task on its connection.
pub(super) fn start(conn: Conn, options: SqliteConnectOptions, env: Env) -> Queue {
    let (queue, requests) = mpsc::channel(QUEUE);
    let writer = Writer { conn, options, env, pending: 0 };
    tokio::spawn(writer.drive(requests));
    queue
}

struct Writer {
    conn: Conn,
    options: SqliteConnectOptions,
    env: Env,
    /// Audit records since the last sequencing, about.
    pending: usize,
}

/// The requests of one transaction.
type Batch = Vec<Request>;

impl Writer {
    async fn drive(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut put_back = None;
        let mut closing = Vec::new();
        loop {
            let next = match put_back.take() {
                Some(request) => Some(request),
                None => requests.recv().await,
            };
            match next {
                None => break,
                Some(Request::Close(reply)) => {
                    // What was accepted before comes out of the queue before its end does.
                    requests.close();
                    closing.push(reply);
                }
                Some(Request::Begin(begin)) => run_tx::drive(&mut self.conn, &self.env, begin).await,
                Some(first) => {
                    // Deliveries come in crowds, and whoever brings the first of them wakes this task before the others ask.
                    if matches!(first, Request::Accept(_)) {
                        tokio::task::yield_now().await;
                    }
                    let mut rows = rows(&first);
                    let mut batch = vec![first];
                    while rows < ROWS && put_back.is_none() {
                        match requests.try_recv() {
                            Ok(request @ (Request::Begin(_) | Request::Close(_))) => put_back = Some(request),
                            Ok(request) => {
                                rows += self::rows(&request);
                                batch.push(request);
                            }
                            Err(_) => break,
                        }
                    }
                    self.write(batch).await;
                }
            }
            self.heal().await;
        }
        let result = self.close().await;
        for reply in closing {
            let _ = reply.send(result.clone());
        }
    }

    /// Writes a batch in one transaction and answers.
    async fn write(&mut self, batch: Batch) {
        let mut answers = Vec::new();
        let failed = match self.conn.execute("BEGIN IMMEDIATE", vec![]).await {
            Ok(_) => self.run(batch, &mut answers).await.err(),
            Err(error) => {
                answers.extend(batch.into_iter().map(Answer::unwritten));
                Some(error)
            }
        };
        let failed = match failed {
            None => self.conn.execute("COMMIT", vec![]).await.err(),
            failed => failed,
        };
        if failed.is_some() {
            // Often the database has rolled back already.
            let _ = self.conn.execute("ROLLBACK", vec![]).await;
        }
        answers.into_iter().for_each(|answer| answer.leave(failed.as_ref()));
        if failed.is_none() && self.pending >= PENDING {
            self.sequence().await;
        }
    }

    /// Runs the requests: those that are merged together, but not past others, and the others in order. An error is the
    /// whole batch's.
    async fn run(&mut self, batch: Batch, answers: &mut Vec<Answer>) -> Result<()> {
        let alone = batch.len() == 1;
        let sole = batch.iter().all(|request| matches!(request, Request::Commit(_)))
            || batch.iter().all(|request| matches!(request, Request::Accept(_)));
        let mut failed = Ok(());
        let (mut commits, mut accepts) = (Vec::new(), Vec::new());
        for request in batch {
            match request {
                request if failed.is_err() => answers.push(Answer::unwritten(request)),
                Request::Commit(asked) => {
                    self.pending += asked.request.effects.audit.len();
                    commits.push(asked);
                }
                Request::Accept(asked) => accepts.push(asked),
                Request::Call(call) => {
                    failed = self.merged(&mut commits, answers, sole).await;
                    if failed.is_ok() {
                        failed = self.merged(&mut accepts, answers, sole).await;
                    }
                    if failed.is_ok() {
                        failed = self.call(call, alone, answers).await;
                    } else {
                        answers.push(Answer::unwritten(Request::Call(call)));
                    }
                }
                request => answers.push(Answer::unwritten(request)),
            }
        }
        if failed.is_ok() {
            failed = self.merged(&mut commits, answers, sole).await;
        }
        if failed.is_ok() {
            failed = self.merged(&mut accepts, answers, sole).await;
        }
        answers.extend(commits.into_iter().map(|asked| Answer::unwritten(asked.into())));
        answers.extend(accepts.into_iter().map(|asked| Answer::unwritten(asked.into())));
        failed
    }

    async fn call(&mut self, mut call: Box<dyn Call>, alone: bool, answers: &mut Vec<Answer>) -> Result<()> {
        // Of a request that is alone, a refusal is undone with the transaction.
        if !alone {
            self.conn.execute("SAVEPOINT request", vec![]).await?;
        }
        self.pending += 1;
        let kept = call.run(SystemTx { conn: &mut self.conn, env: &self.env }).await;
        answers.push(Answer::Call(call));
        if let Some(error) = self.conn.take_lost() {
            return Err(error);
        }
        match (kept, alone) {
            (true, true) => Ok(()),
            (false, true) => Err(Error::internal("the request was refused")),
            (true, false) => self.conn.execute("RELEASE request", vec![]).await.map(drop),
            (false, false) => {
                self.conn.execute("ROLLBACK TO request", vec![]).await?;
                self.conn.execute("RELEASE request", vec![]).await.map(drop)
            }
        }
    }

    /// Writes the requests that have gathered.
    async fn merged<R: Merge>(
        &mut self,
        gathered: &mut Vec<Asked<R>>,
        answers: &mut Vec<Answer>,
        sole: bool,
    ) -> Result<()>
    where
        Answer: From<Reply<R::Answer>>,
    {
        let gathered = std::mem::take(gathered).into_iter().map(|asked| (asked.request, asked.reply));
        let (requests, replies): (Vec<_>, Vec<_>) = gathered.unzip();
        let (mut results, failed) = match self.each(&requests, sole).await {
            Ok(results) => (results, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        let mut results = results.drain(..);
        answers.extend(replies.into_iter().map(|reply| Reply { reply, result: results.next() }.into()));
        failed
    }

    /// Writes requests as one; where that does not go, one by one, so that none fails by its neighbour.
    async fn each<R: Merge>(&mut self, requests: &[R], sole: bool) -> Result<Vec<Result<R::Answer>>> {
        let refusal = match self.merge(requests, sole).await? {
            Ok(results) => return Ok(results),
            Err(refusal) => refusal,
        };
        if requests.len() == 1 {
            return Ok(vec![Err(refusal)]);
        }
        tracing::warn!(error = ?refusal, requests = requests.len(), "requests could not be merged");
        let mut results = Vec::with_capacity(requests.len());
        for request in requests {
            match self.merge(std::slice::from_ref(request), false).await? {
                Ok(mut result) => results.append(&mut result),
                Err(refusal) => results.push(Err(refusal)),
            }
        }
        Ok(results)
    }

    /// Writes requests as one; a refusal, and nothing written, when the database refused a statement of theirs. Those that
    /// are `sole` in their transaction need no savepoint in it.
    async fn merge<R: Merge>(
        &mut self,
        requests: &[R],
        sole: bool,
    ) -> Result<Result<Vec<Result<R::Answer>>>> {
        if requests.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        if !sole {
            self.conn.execute("SAVEPOINT merged", vec![]).await?;
        }
        let result = R::write(&mut SystemTx { conn: &mut self.conn, env: &self.env }, requests).await;
        if let Some(error) = self.conn.take_lost() {
            return Err(error);
        }
        if result.is_err() {
            let (undo, go_on) = match sole {
                true => ("ROLLBACK", "BEGIN IMMEDIATE"),
                false => ("ROLLBACK TO merged", "RELEASE merged"),
            };
            self.conn.execute(undo, vec![]).await?;
            self.conn.execute(go_on, vec![]).await?;
        } else if !sole {
            self.conn.execute("RELEASE merged", vec![]).await?;
        }
        Ok(result)
    }

    /// Moves pending audit records into their logs. A failure leaves them pending, and the next reader tries again.
    async fn sequence(&mut self) {
        self.pending = 0;
        if self.conn.execute("BEGIN IMMEDIATE", vec![]).await.is_err() {
            return;
        }
        let done = audit::sequence_all(&mut SystemTx { conn: &mut self.conn, env: &self.env }).await;
        let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
        if let Err(error) = done.and(self.conn.execute(end, vec![]).await.map(drop)) {
            tracing::warn!(?error, "audit records stay pending");
            let _ = self.conn.execute("ROLLBACK", vec![]).await;
        }
    }

    /// Opens a new connection where the old one does not answer any more.
    async fn heal(&mut self) {
        if self.conn.take_lost().is_some()
            && self.conn.rows("SELECT 1", vec![]).await.is_err()
            && let Ok(conn) = Conn::open(&self.options).await
        {
            self.conn = conn;
        }
    }

    async fn close(mut self) -> Result<()> {
        // Without it the file is complete too: the next to open it reads the log.
        if let Err(error) = self.conn.rows("PRAGMA wal_checkpoint(TRUNCATE)", vec![]).await {
            tracing::debug!(?error, "the log of the database was not folded into it");
        }
        self.conn.close().await
    }
}

fn rows(request: &Request) -> usize {
    match request {
        Request::Commit(asked) => asked.request.rows(),
        Request::Accept(asked) => asked.request.rows(),
        _ => 8,
    }
}

/// The answer to a request that was merged, if it was.
struct Reply<T> {
    reply: oneshot::Sender<Result<T>>,
    result: Option<Result<T>>,
}

impl<T> Reply<T> {
    fn leave(self, failed: Option<&Error>) {
        let result = match (self.result, failed) {
            (Some(Err(refusal)), _) => Err(refusal),
            (_, Some(error)) => Err(error.clone()),
            (Some(result), None) => result,
            (None, None) => Err(Error::internal("the request was not written")),
        };
        // Whoever asked may be gone; the rows are written all the same.
        let _ = self.reply.send(result);
    }
}

/// A request that was carried out, or not, and waits for the end of its transaction.
enum Answer {
    Commit(Reply<u64>),
    Accept(Reply<Accepted>),
    Call(Box<dyn Call>),
    Other,
}

impl From<Reply<u64>> for Answer {
    fn from(reply: Reply<u64>) -> Self {
        Self::Commit(reply)
    }
}

impl From<Reply<Accepted>> for Answer {
    fn from(reply: Reply<Accepted>) -> Self {
        Self::Accept(reply)
    }
}

impl Answer {
    fn unwritten(request: Request) -> Self {
        match request {
            Request::Commit(Asked { reply, .. }) => Self::Commit(Reply { reply, result: None }),
            Request::Accept(Asked { reply, .. }) => Self::Accept(Reply { reply, result: None }),
            Request::Call(call) => Self::Call(call),
            Request::Begin(_) | Request::Close(_) => Self::Other,
        }
    }

    fn leave(self, failed: Option<&Error>) {
        match self {
            Self::Call(call) => call.answer(failed.cloned()),
            Self::Commit(reply) => reply.leave(failed),
            Self::Accept(reply) => reply.leave(failed),
            Self::Other => {}
        }
    }
}
