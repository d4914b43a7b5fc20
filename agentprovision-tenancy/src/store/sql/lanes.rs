//! How a SQLite file is used: one task writes, a few connections read beside it.

use std::path::Path;

use agentprovision_core::{Env, Error, ErrorKind, Result};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::conn::{Conn, SystemTx};
use super::readers::{Lent, Readers};
use super::sqlite::{self, Access};
use super::writer::{self, Asked, Call, Merge, Queue, Request, Work};
use super::{closed, migrate};

/// The ways into a file.
#[derive(Debug)]
pub(super) struct Lanes {
    /// Absent where the file cannot be written.
    writer: Option<Queue>,
    readers: Readers,
}

impl Lanes {
    /// Opens a file; see [`super::SqlBackend::open`].
    pub(super) async fn open(path: &Path, env: &Env) -> Result<Self> {
        // SQLite takes a few bytes of anything for an empty database, and writes over them.
        if std::fs::metadata(path).is_ok_and(|file| file.is_file() && (1..512).contains(&file.len())) {
            return Err(Error::corrupt("the file is not a database"));
        }
        let (writer, access) = if writable(path) {
            let options = sqlite::options(path, Access::Write);
            let mut conn = Conn::open(&options).await?;
            migrate::run(&mut conn, env, migrate::MIGRATIONS).await?;
            conn.script("PRAGMA journal_mode = WAL").await?;
            (Some(writer::start(conn, options, env.clone())), Access::Read)
        } else {
            (None, readable(path).await?)
        };
        Ok(Self { writer, readers: Readers::new(sqlite::options(path, access)) })
    }

    /// Gives the writer a request and waits for its answer. Once the request is in the queue it is carried out, whether
    /// somebody waits or not.
    pub(super) async fn ask<T>(&self, request: Request, answer: oneshot::Receiver<Result<T>>) -> Result<T> {
        let writer = self.writer.as_ref().ok_or_else(read_only)?;
        // While there is room in the queue the request is in it after the first poll, in the order of the calls.
        match writer.try_send(request) {
            Ok(()) => {}
            Err(TrySendError::Full(request)) => writer.send(request).await.map_err(|_| closed())?,
            Err(TrySendError::Closed(_)) => return Err(closed()),
        }
        answer.await.map_err(|_| closed())?
    }

    pub(super) async fn write<T, F>(&self, work: F) -> Result<T>
    where
        F: for<'t> FnOnce(SystemTx<'t>) -> BoxFuture<'t, Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call: Box<dyn Call> = Box::new(Work::new(work, reply));
        self.ask(Request::Call(call), answer).await
    }

    /// Carries a request out together with others of its kind.
    pub(super) async fn merge<R: Merge>(&self, request: R) -> Result<R::Answer>
    where
        Request: From<Asked<R>>,
    {
        let (reply, answer) = oneshot::channel();
        self.ask(Asked { request, reply }.into(), answer).await
    }

    pub(super) async fn read<T, F>(&self, env: &Env, work: F) -> Result<T>
    where
        F: for<'t> FnOnce(SystemTx<'t>) -> BoxFuture<'t, Result<T>> + Send,
    {
        let mut lent = self.readers.lend().await?;
        let result = work(SystemTx { conn: &mut lent.conn, env }).await;
        if lent.conn.take_lost().is_none() {
            lent.give_back();
        }
        result
    }

    /// A connection to read with.
    pub(super) async fn lend(&self) -> Result<Lent<'_>> {
        self.readers.lend().await
    }

    /// Finishes what was accepted, then closes.
    pub(super) async fn close(&self) -> Result<()> {
        self.readers.close().await;
        let Some(writer) = &self.writer else { return Ok(()) };
        let (reply, answer) = oneshot::channel();
        writer.send(Request::Close(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

fn read_only() -> Error {
    Error::new(ErrorKind::ReadOnly, "the database can be read but not written")
}

/// Whether the file, if there is one, can be written. SQLite itself would quietly open it for reading.
fn writable(path: &Path) -> bool {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    match std::fs::OpenOptions::new().append(true).open(path) {
        Err(error) => !matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem),
        Ok(_) => true,
    }
}

/// How a file that cannot be written can be read.
async fn readable(path: &Path) -> Result<Access> {
    let attempt = async |access| {
        let mut conn = Conn::open(&sqlite::options(path, access)).await?;
        migrate::check(&mut conn).await?;
        conn.close().await.map(|()| access)
    };
    let result = attempt(Access::Read).await;
    // Reading beside a log takes an index that is written next to the file. Where that cannot be, the file can be read
    // as one that never changes, unless there is a log that belongs to it.
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    match &result {
        Err(error)
            if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::ReadOnly)
                && !std::fs::metadata(log).is_ok_and(|log| log.len() > 0) =>
        {
            attempt(Access::Immutable).await
        }
        _ => result,
    }
}
