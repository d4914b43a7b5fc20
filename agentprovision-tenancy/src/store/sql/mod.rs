//! The SQL backend: one writer, a few readers, and one file per family of tables.
//!
//! All SQL of the workspace is below this module. Statements on tenants' tables go through [`conn::TenantTx`], which
//! binds the tenant; their texts are constants.

mod agents;
mod archive;
mod audit;
mod conn;
mod effects;
mod events;
mod identity;
mod index;
mod merge;
mod migrate;
mod multi;
mod quota;
mod readers;
mod restore;
mod run_tx;
mod runs;
mod sessions;
mod sqlite;
mod statement;
mod tables;
mod tenants;
#[cfg(test)]
mod tests;
mod usage;
mod value;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agentprovision_core::backend::{Backend, Stores};
use agentprovision_core::effect::Effects;
use agentprovision_core::id::TenantId;
use agentprovision_core::page::PageRequest;
use agentprovision_core::run::{Fence, JournalBatch};
use agentprovision_core::{Env, Error, ErrorKind, Result};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;
use uuid::Uuid;

use conn::{Conn, SystemTx, TenantTx};
use merge::Commit;
use readers::Readers;
use sqlite::Access;
use value::{Row, TenantSql, Value};
use writer::{Call, Queue, Request, Work};

/// A backend over one SQLite file.
///
/// One task writes; it lives on the runtime [`SqlBackend::open`] was called on. Several processes may use the same file.
#[derive(Clone)]
pub struct SqlBackend(Arc<SqlStore>);

/// The stores of a [`SqlBackend`].
struct SqlStore {
    /// Absent where the file cannot be written.
    writer: Option<Queue>,
    readers: Readers,
    env: Env,
    closed: AtomicBool,
}

/// The name of the dialect, for archives.
const DIALECT: &str = "sqlite";
/// Begins a transaction that only reads, all of it as of one moment.
const SNAPSHOT: &str = "BEGIN";

/// The error after the backend was closed.
fn closed() -> Error {
    Error::closed("the store is closed")
}

/// Where a page starts: behind this (created, id).
fn start(page: &PageRequest) -> (i64, Uuid) {
    page.after.map_or((i64::MIN, Uuid::nil()), |cursor| (cursor.created.micros(), cursor.id))
}

impl SqlBackend {
    /// Opens the file, or makes it, and brings its schema to the newest version. A file that cannot be written is
    /// opened for reading, if its schema is the newest.
    ///
    /// # Errors
    /// As [`connect`](crate::store::connect).
    pub async fn open(path: &Path, env: Env) -> Result<Self> {
        // SQLite takes a few bytes of anything for an empty database, and writes over them.
        if std::fs::metadata(path).is_ok_and(|file| file.is_file() && (1..512).contains(&file.len())) {
            return Err(Error::corrupt("the file is not a database"));
        }
        let (writer, access) = if writable(path) {
            let options = sqlite::options(path, Access::Write);
            let mut conn = Conn::open(&options).await?;
            migrate::run(&mut conn, &env, migrate::MIGRATIONS).await?;
            conn.script("PRAGMA journal_mode = WAL").await?;
            (Some(writer::start(conn, options, env.clone())), Access::Read)
        } else {
            (None, readable(path).await?)
        };
        let readers = Readers::new(sqlite::options(path, access));
        Ok(Self(Arc::new(SqlStore { writer, readers, env, closed: AtomicBool::new(false) })))
    }
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

impl fmt::Debug for SqlBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlBackend").field("readers", &self.readers).finish_non_exhaustive()
    }
}

#[async_trait]
impl Backend for SqlBackend {
    fn stores(&self) -> Stores {
        let store = &self.0;
        Stores {
            tenants: store.clone(),
            users: store.clone(),
            keys: store.clone(),
            agents: store.clone(),
            runs: store.clone(),
            index: store.clone(),
            sessions: store.clone(),
            audit: store.clone(),
            usage: store.clone(),
            quota: store.clone(),
            events: store.clone(),
            effects: store.clone(),
            archives: store.clone(),
        }
    }

    async fn close(&self) -> Result<()> {
        if self.0.closed.swap(true, Ordering::SeqCst) {
            return Err(closed());
        }
        self.0.readers.close().await;
        let Some(writer) = &self.0.writer else { return Ok(()) };
        let (reply, answer) = oneshot::channel();
        writer.send(Request::Close(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

impl SqlStore {
    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) { Err(closed()) } else { Ok(()) }
    }

    /// Gives the writer a request and waits for its answer. Once the request is in the queue it is carried out, whether
    /// somebody waits or not.
    async fn ask<T>(&self, request: Request, answer: oneshot::Receiver<Result<T>>) -> Result<T> {
        self.check_open()?;
        let writer = self.writer.as_ref().ok_or_else(read_only)?;
        // While there is room in the queue the request is in it after the first poll, in the order of the calls.
        match writer.try_send(request) {
            Ok(()) => {}
            Err(TrySendError::Full(request)) => writer.send(request).await.map_err(|_| closed())?,
            Err(TrySendError::Closed(_)) => return Err(closed()),
        }
        answer.await.map_err(|_| closed())?
    }

    /// Writes above tenants.
    async fn write_system<T, F>(&self, work: F) -> Result<T>
    where
        F: for<'t> FnOnce(SystemTx<'t>) -> BoxFuture<'t, Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call: Box<dyn Call> = Box::new(Work::new(work, reply));
        self.ask(Request::Call(call), answer).await
    }

    /// Writes within a tenant.
    async fn write<T, F>(&self, tenant: TenantId, work: F) -> Result<T>
    where
        F: for<'t> FnOnce(TenantTx<'t>) -> BoxFuture<'t, Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        self.write_system(move |tx| work(tx.into_tenant(tenant))).await
    }

    /// Makes a change within a tenant: the guards, the change, the other effects.
    async fn change<T, F>(&self, tenant: TenantId, all: Effects, work: F) -> Result<T>
    where
        F: for<'t, 'c> FnOnce(&'t mut TenantTx<'c>) -> BoxFuture<'t, Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        self.write(tenant, move |mut tx| {
            Box::pin(async move {
                effects::guard(&mut tx, &all).await?;
                let result = work(&mut tx).await?;
                effects::apply(&mut tx, all).await?;
                Ok(result)
            })
        })
        .await
    }

    /// Commits rows together with those of other runs.
    async fn merge(&self, fence: Fence, batch: JournalBatch, effects: Effects) -> Result<u64> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Commit(Commit { fence, batch, effects }, reply), answer).await
    }

    /// Reads above tenants.
    async fn read_system<T, F>(&self, work: F) -> Result<T>
    where
        F: for<'t> FnOnce(SystemTx<'t>) -> BoxFuture<'t, Result<T>> + Send,
    {
        self.check_open()?;
        let mut lent = self.readers.lend().await?;
        let result = work(SystemTx { conn: &mut lent.conn, env: &self.env }).await;
        if lent.conn.take_lost().is_none() {
            lent.give_back();
        }
        result
    }

    /// Reads within a tenant.
    async fn read<T, F>(&self, tenant: TenantId, work: F) -> Result<T>
    where
        F: for<'t> FnOnce(TenantTx<'t>) -> BoxFuture<'t, Result<T>> + Send,
    {
        self.read_system(move |tx| work(tx.into_tenant(tenant))).await
    }

    /// Reads the rows of one statement.
    async fn read_rows<T>(
        &self,
        tenant: TenantId,
        sql: TenantSql,
        values: Vec<Value>,
        read: impl Fn(Row) -> Result<T>,
    ) -> Result<Vec<T>> {
        let rows =
            self.read(tenant, move |mut tx| Box::pin(async move { tx.rows(sql, values).await })).await?;
        rows.into_iter().map(read).collect()
    }
}

fn read_only() -> Error {
    Error::new(ErrorKind::ReadOnly, "the database can be read but not written")
}
