//! The SQL backends, one file per family of tables.
//!
//! All SQL of the workspace is below this module. Statements on tenants' tables go through [`conn::TenantTx`], which
//! binds the tenant; their texts are constants, mostly the same for every database. On SQLite one task writes and a few
//! connections read beside it; on PostgreSQL every request is a transaction of its own.

mod accept;
mod agents;
mod archive;
mod audit;
mod backups;
mod changes;
mod claims;
mod conn;
pub(crate) mod directory;
mod effects;
mod endpoints;
mod events;
mod idempotency;
mod identity;
mod inbox;
mod index;
mod integrations;
mod landing;
#[cfg(feature = "store-sqlite")]
mod lanes;
mod maintenance;
#[cfg(feature = "store-sqlite")]
mod merge;
#[cfg(feature = "store-sqlite")]
mod migrate;
mod multi;
#[cfg(feature = "store-postgres")]
pub(in crate::store) mod postgres;
mod quota;
#[cfg(feature = "store-sqlite")]
mod readers;
pub(crate) mod residence;
mod restore;
mod run_tx;
mod runs;
mod secrets;
mod sessions;
#[cfg(feature = "store-sqlite")]
mod sqlite;
mod statement;
mod tables;
mod tenants;
#[cfg(test)]
#[cfg(feature = "store-sqlite")]
mod tests;
mod usage;
mod value;
#[cfg(feature = "store-sqlite")]
mod writer;

use std::fmt;
#[cfg(feature = "store-sqlite")]
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agentprovision_core::backend::{Backend, Stores};
use agentprovision_core::effect::Effects;
use agentprovision_core::id::TenantId;
use agentprovision_core::page::PageRequest;
use agentprovision_core::{Env, Error, Result};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use uuid::Uuid;

#[cfg(feature = "store-postgres")]
use conn::Mode;
use conn::{SystemTx, TenantTx};
use value::{Row, TenantSql, Value};

/// A backend over one SQLite file or one PostgreSQL database.
///
/// It lives on the runtime it was opened on. Several processes may use the same file or database.
#[derive(Clone)]
pub struct SqlBackend(Arc<SqlStore>);

/// The stores of a [`SqlBackend`].
struct SqlStore {
    engine: Engine,
    env: Env,
    closed: AtomicBool,
    /// Whether it is one of several databases: then reads ask whether the tenant is still here.
    shard: AtomicBool,
    /// Rung when a run became ready through this process.
    ready: Notify,
    /// Rung when a delivery became ready through this process.
    delivered: Notify,
    /// Deliveries that wait to be kept.
    #[cfg(feature = "store-postgres")]
    gathered: postgres::gather::Gathered,
    /// Counts what other processes told of changed metadata.
    told: tokio::sync::watch::Sender<u64>,
}

/// How transactions are run.
#[derive(Debug)]
enum Engine {
    #[cfg(feature = "store-sqlite")]
    Sqlite(Box<lanes::Lanes>),
    #[cfg(feature = "store-postgres")]
    Postgres(postgres::pool::Pool),
    /// A part of a transaction of the host's.
    #[cfg(feature = "store-postgres")]
    Lent(postgres::enlist::Lent),
}

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
    #[cfg(feature = "store-sqlite")]
    pub async fn open(path: &Path, env: Env) -> Result<Self> {
        let lanes = lanes::Lanes::open(path, &env).await?;
        Ok(Self::over(Engine::Sqlite(Box::new(lanes)), env))
    }

    /// Connects to a prepared database, after checking that it keeps tenants apart.
    ///
    /// # Errors
    /// As [`connect`](crate::store::connect).
    #[cfg(feature = "store-postgres")]
    pub(in crate::store) async fn connect(settings: postgres::settings::Settings, env: Env) -> Result<Self> {
        let pool = postgres::pool::Pool::new(settings);
        let mut attempt = 1;
        loop {
            let mut lent = pool.lend().await?;
            let Err(error) = postgres::check::check(&mut lent.conn, &env).await else {
                lent.give_back();
                break;
            };
            // The server may have gone away in the middle.
            let again = lent.conn.take_fate().is_some_and(|lost| lost.fate == conn::Fate::Again);
            if !again || attempt >= pool.settings().attempts {
                return Err(error);
            }
            attempt += 1;
        }
        let store = Self::over(Engine::Postgres(pool.clone()), env);
        postgres::listen::start(&pool, Arc::downgrade(&store.0));
        Ok(store)
    }

    fn over(engine: Engine, env: Env) -> Self {
        let (closed, shard) = (AtomicBool::new(false), AtomicBool::new(false));
        let told = tokio::sync::watch::Sender::new(0);
        let (ready, delivered) = (Notify::new(), Notify::new());
        Self(Arc::new(SqlStore {
            engine,
            env,
            closed,
            shard,
            ready,
            delivered,
            #[cfg(feature = "store-postgres")]
            gathered: postgres::gather::Gathered::default(),
            told,
        }))
    }
}

impl fmt::Debug for SqlBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for SqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlBackend").field("engine", &self.engine).finish_non_exhaustive()
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
            secrets: store.clone(),
            integrations: store.clone(),
            idempotency: store.clone(),
            endpoints: store.clone(),
            inbox: store.clone(),
            audit: store.clone(),
            usage: store.clone(),
            quota: store.clone(),
            events: store.clone(),
            effects: store.clone(),
            archives: store.clone(),
            backups: store.clone(),
            changes: store.clone(),
            maintenance: store.clone(),
        }
    }

    async fn close(&self) -> Result<()> {
        if self.0.closed.swap(true, Ordering::SeqCst) {
            return Err(closed());
        }
        match &self.0.engine {
            #[cfg(feature = "store-sqlite")]
            Engine::Sqlite(lanes) => lanes.close().await,
            #[cfg(feature = "store-postgres")]
            Engine::Postgres(pool) => {
                pool.close().await;
                Ok(())
            }
            #[cfg(feature = "store-postgres")]
            Engine::Lent(_) => Ok(()),
        }
    }
}

/// The refusal of what takes a transaction of its own.
#[cfg(feature = "store-postgres")]
fn not_within_another() -> Error {
    Error::unsupported("this cannot be part of a transaction of the host's")
}

impl SqlStore {
    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) { Err(closed()) } else { Ok(()) }
    }

    /// Writes above tenants. Work that others were in the way of is done again, from the beginning.
    async fn write_system<T, F>(&self, work: F) -> Result<T>
    where
        F: for<'t> FnOnce(SystemTx<'t>) -> BoxFuture<'t, Result<T>> + Clone + Send + 'static,
        T: Send + 'static,
    {
        self.check_open()?;
        match &self.engine {
            #[cfg(feature = "store-sqlite")]
            Engine::Sqlite(lanes) => lanes.write(work).await,
            #[cfg(feature = "store-postgres")]
            Engine::Postgres(pool) => postgres::work::write(pool, &self.env, work).await,
            #[cfg(feature = "store-postgres")]
            Engine::Lent(lent) => lent.run(&self.env, Mode::Write, work).await,
        }
    }

    /// Writes within a tenant that is at home here.
    async fn write<T, F>(&self, tenant: TenantId, work: F) -> Result<T>
    where
        F: for<'t> FnOnce(TenantTx<'t>) -> BoxFuture<'t, Result<T>> + Clone + Send + 'static,
        T: Send + 'static,
    {
        self.write_system(move |tx| {
            Box::pin(async move {
                let mut tx = tx.into_tenant(tenant);
                residence::at_home(&mut tx).await?;
                work(tx).await
            })
        })
        .await
    }

    /// Writes to a run that is held. Nobody holds a run of a tenant that is not at home here.
    async fn write_held<T, F>(&self, tenant: TenantId, work: F) -> Result<T>
    where
        F: for<'t> FnOnce(TenantTx<'t>) -> BoxFuture<'t, Result<T>> + Clone + Send + 'static,
        T: Send + 'static,
    {
        self.write_system(move |tx| work(tx.into_tenant(tenant))).await
    }

    /// Makes a change within a tenant: the guards, the change, the other effects.
    async fn change<T, F>(&self, tenant: TenantId, all: Effects, work: F) -> Result<T>
    where
        F: for<'t, 'c> FnOnce(&'t mut TenantTx<'c>) -> BoxFuture<'t, Result<T>> + Clone + Send + 'static,
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

    /// Reads above tenants.
    async fn read_system<T, F>(&self, work: F) -> Result<T>
    where
        F: for<'t> FnOnce(SystemTx<'t>) -> BoxFuture<'t, Result<T>> + Clone + Send,
    {
        self.check_open()?;
        match &self.engine {
            #[cfg(feature = "store-sqlite")]
            Engine::Sqlite(lanes) => lanes.read(&self.env, work).await,
            #[cfg(feature = "store-postgres")]
            Engine::Postgres(pool) => postgres::work::read(pool, &self.env, work).await,
            #[cfg(feature = "store-postgres")]
            Engine::Lent(lent) => lent.run(&self.env, Mode::Read, work).await,
        }
    }

    /// Reads within a tenant.
    async fn read<T, F>(&self, tenant: TenantId, work: F) -> Result<T>
    where
        F: for<'t> FnOnce(TenantTx<'t>) -> BoxFuture<'t, Result<T>> + Clone + Send + 'static,
        T: Send + 'static,
    {
        let shard = self.shard.load(Ordering::Relaxed);
        self.read_system(move |mut tx| {
            Box::pin(async move {
                let result = work(tx.tenant(tenant)).await;
                if shard {
                    // Asked behind the reading: rows go only once this is said.
                    residence::not_moved(&mut tx.tenant(tenant)).await?;
                }
                result
            })
        })
        .await
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
