//! Working inside a transaction of the host's.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use agentprovision_core::backend::{Backend as _, Stores};
use agentprovision_core::{Env, Error, Result};
use futures_util::future::BoxFuture;
use sqlx::Row as _;
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc;

use super::{SCHEMA, Session, error, wire};
use crate::store::sql::conn::{Conn, Fate, Mode, SystemTx};
use crate::store::sql::{Engine, SqlBackend, SqlStore};

/// A connection that is lent, one piece of work at a time.
#[derive(Debug)]
pub(in crate::store::sql) struct Lent(tokio::sync::Mutex<Conn>);

/// How often a piece of work is tried that others are in the way of. The host's transaction stays what it is.
const ATTEMPTS: u32 = 3;

impl Lent {
    /// Runs work as a part of the host's transaction: what fails is undone alone.
    pub(in crate::store::sql) async fn run<T, F>(&self, env: &Env, mode: Mode, work: F) -> Result<T>
    where
        F: for<'t> FnOnce(SystemTx<'t>) -> BoxFuture<'t, Result<T>> + Clone + Send,
    {
        let mut conn = self.0.lock().await;
        let mut attempt = 1;
        loop {
            conn.begin(mode).await?;
            let result = work.clone()(SystemTx { conn: &mut conn, env }).await;
            let lost = conn.take_fate();
            let done = match (result, &lost) {
                (Ok(value), None) => conn.commit().await.map(|()| value),
                (Ok(_), Some(lost)) => Err(lost.error.clone()),
                (Err(refused), _) => Err(refused),
            };
            let Err(refused) = done else { return done };
            conn.rollback().await?;
            if attempt == ATTEMPTS || lost.is_none_or(|lost| lost.fate != Fate::Again) {
                return Err(refused);
            }
            attempt += 1;
        }
    }
}

/// What the host's connection is set to, to be set again afterwards.
const BEFORE: &str = "SELECT current_setting('search_path'), coalesce(current_setting('app.current_tenant_id', true), ''), \
     coalesce(current_setting('app.above_tenants', true), ''), \
     EXISTS (SELECT 1 FROM pg_roles WHERE rolname IN (current_user, session_user) AND (rolsuper OR rolbypassrls)), \
     has_schema_privilege(to_regnamespace('agentprovision'), 'USAGE')";

const SET: &str = "SELECT set_config('search_path', $1, true), set_config('app.current_tenant_id', $2, true), \
     set_config('app.above_tenants', $3, true)";

impl SqlBackend {
    /// Does `work` with stores that are part of a transaction the host has begun on `host`. What it changes is committed
    /// or rolled back with that transaction, by the host. A change that is refused is undone alone; after a refusal the
    /// transaction can still be committed.
    ///
    /// The connection is one to the same database, with the rights of the platform's login, and inside a transaction.
    /// Its search path is as before afterwards. What the platform has written is locked until the transaction ends, the
    /// tenant's audit log and event numbers where it read them, so it should end soon.
    ///
    /// # Errors
    /// `unsupported` by a store that is not PostgreSQL; `invalid_input` outside of a transaction, and for a user whom row
    /// security says nothing to; `unavailable` where the transaction cannot go on; those of `work`.
    pub async fn enlist<T>(
        &self,
        host: &mut PgConnection,
        work: impl AsyncFnOnce(Stores) -> Result<T>,
    ) -> Result<T> {
        let SqlStore { engine, env, .. } = &*self.0;
        self.0.check_open()?;
        let Engine::Postgres(pool) = engine else {
            return Err(Error::unsupported(
                "only a store on PostgreSQL can be part of the host's transaction",
            ));
        };
        let settings = pool.settings().clone();
        let before = enter(host).await?;
        let (ask, mut asks) = mpsc::channel(1);
        let conn = Conn::of_session(Session::lent(ask, settings));
        let lent = Arc::new(SqlStore {
            engine: Engine::Lent(Lent(tokio::sync::Mutex::new(conn))),
            env: env.clone(),
            closed: AtomicBool::new(false),
            shard: AtomicBool::new(false),
            ready: tokio::sync::Notify::new(),
            delivered: tokio::sync::Notify::new(),
            gathered: super::gather::Gathered::default(),
            told: tokio::sync::watch::Sender::new(0),
        });
        let stores = SqlBackend(lent.clone()).stores();
        let mut work = std::pin::pin!(work(stores));
        let done = loop {
            tokio::select! {
                biased;
                // Once it is taken it is carried out to its end.
                Some(ask) = asks.recv() => wire::serve(host, ask).await,
                done = &mut work => break done,
            }
        };
        // Whoever kept a store has nothing to work on any more.
        lent.closed.store(true, std::sync::atomic::Ordering::SeqCst);
        drop(asks);
        leave(host, &before).await.and(done)
    }
}

/// Sets the search path; says what was set before.
async fn enter(host: &mut PgConnection) -> Result<[String; 3]> {
    let failed = |source| error(source).error;
    // Outside of a transaction this is an error.
    if let Err(refused) =
        sqlx::raw_sql("SAVEPOINT agentprovision; RELEASE agentprovision").execute(&mut *host).await
    {
        let code = refused.as_database_error().and_then(|error| error.code());
        return Err(match code.as_deref() {
            Some("25P01") => Error::invalid("the connection is not in a transaction"),
            Some("25P02") => Error::conflict("the transaction has failed and can only be rolled back"),
            _ => failed(refused),
        });
    }
    let row = sqlx::query(BEFORE).persistent(false).fetch_one(&mut *host).await.map_err(failed)?;
    let [path, tenant, above] = [0, 1, 2].map(|column| row.try_get::<String, _>(column));
    let before = [path.map_err(failed)?, tenant.map_err(failed)?, above.map_err(failed)?];
    if row.try_get::<bool, _>(3).map_err(failed)? {
        let message = "row security says nothing to the user of the connection; use the platform's login";
        return Err(Error::invalid(message));
    }
    if row.try_get::<Option<bool>, _>(4).map_err(failed)? != Some(true) {
        return Err(Error::invalid(
            "the user of the connection may not use the tables of the platform; use its login, in its database",
        ));
    }
    let path = format!("{SCHEMA},public,pg_temp");
    set(host, [&path, "", ""]).await?;
    Ok(before)
}

async fn leave(host: &mut PgConnection, before: &[String; 3]) -> Result<()> {
    set(host, [&before[0], &before[1], &before[2]]).await
}

async fn set(host: &mut PgConnection, [path, tenant, above]: [&str; 3]) -> Result<()> {
    let query = sqlx::query(SET).bind(path).bind(tenant).bind(above).persistent(false);
    query.execute(host).await.map(drop).map_err(|source| error(source).error)
}
