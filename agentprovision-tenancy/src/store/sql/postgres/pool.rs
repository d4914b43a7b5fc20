//! Connections that are lent out.
//!
//! The pool of the driver is not used: it gives the next borrower a connection whose `BEGIN` was sent and not awaited
//! (a borrower that was cancelled), inside a transaction of the last one and of its tenant. Here a connection comes back
//! only after its transaction was ended in order; every other one is closed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentprovision_core::{Error, ErrorKind, Result, error::Retry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::settings::{self, Settings};
use super::{Fate, Session};
use crate::store::sql::conn::Conn;

/// Lends out connections.
#[derive(Clone)]
pub(in crate::store::sql) struct Pool(Arc<Shared>);

struct Shared {
    settings: Arc<Settings>,
    idle: Mutex<Vec<Idle>>,
    permits: Arc<Semaphore>,
    /// Where connections live: their sockets belong to the runtime they were opened on.
    runtime: tokio::runtime::Handle,
    closed: tokio::sync::watch::Sender<bool>,
}

struct Idle {
    conn: Conn,
    opened: Duration,
    since: Duration,
}

/// A connection that is lent out. Dropped, it is closed.
pub(in crate::store::sql) struct Lent {
    pub(in crate::store::sql) conn: Conn,
    opened: Duration,
    pool: Pool,
    _permit: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("free", &self.0.permits.available_permits()).finish_non_exhaustive()
    }
}

impl Pool {
    pub(in crate::store::sql) fn new(settings: Settings) -> Self {
        let permits = Arc::new(Semaphore::new(settings.max_connections));
        Self(Arc::new(Shared {
            settings: Arc::new(settings),
            idle: Mutex::default(),
            permits,
            runtime: tokio::runtime::Handle::current(),
            closed: tokio::sync::watch::Sender::new(false),
        }))
    }

    pub(in crate::store::sql) fn settings(&self) -> &Arc<Settings> {
        &self.0.settings
    }

    pub(in crate::store::sql) fn runtime(&self) -> &tokio::runtime::Handle {
        &self.0.runtime
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection on which nothing is open. One that was used last comes first, so that the others may go.
    pub(in crate::store::sql) async fn lend(&self) -> Result<Lent> {
        let settings = &self.0.settings;
        let permit =
            settings.env.timeout(settings.acquire_timeout, self.0.permits.clone().acquire_owned()).await;
        let permit = match permit {
            Some(Ok(permit)) => permit,
            Some(Err(_)) => return Err(crate::store::sql::closed()),
            None => {
                let message = "no connection to the database became free in time";
                return Err(
                    Error::new(ErrorKind::Unavailable, message).with_retry(Retry::After(Duration::ZERO))
                );
            }
        };
        let now = settings.env.monotonic();
        loop {
            let Some(idle) = self.idle().pop() else { break };
            let old = now.saturating_sub(idle.since) >= settings.idle_timeout
                || now.saturating_sub(idle.opened) >= settings.max_lifetime;
            if old {
                drop(idle.conn);
                continue;
            }
            return Ok(Lent { conn: idle.conn, opened: idle.opened, pool: self.clone(), _permit: permit });
        }
        let conn = self.connect().await?;
        Ok(Lent { conn, opened: now, pool: self.clone(), _permit: permit })
    }

    /// Connects, with growing pauses while the server cannot be reached.
    async fn connect(&self) -> Result<Conn> {
        let settings = &self.0.settings;
        let mut waits = settings::waits(settings.connect_timeout);
        let deadline = settings.env.monotonic().saturating_add(settings.connect_timeout);
        loop {
            let env = settings.env.clone();
            let limit = deadline.saturating_sub(env.monotonic());
            let open = Session::open(settings.clone());
            // The socket belongs to the runtime it is opened on.
            let opened = match self.0.runtime.spawn(async move { env.timeout(limit, open).await }).await {
                Ok(opened) => opened,
                Err(error) => return Err(Error::internal("connecting was broken off").with_source(error)),
            };
            let lost = match opened {
                Some(Ok(session)) => return Ok(Conn::of_session(session)),
                Some(Err(lost)) => lost,
                None => {
                    let message = "the database did not answer in time";
                    return Err(Error::new(ErrorKind::Unavailable, message)
                        .with_retry(Retry::After(Duration::from_secs(1))));
                }
            };
            match waits.next() {
                Some(wait) if lost.fate == Fate::Again => settings.env.sleep(wait).await,
                _ => return Err(lost.error),
            }
        }
    }

    /// Ends when the pool is closed.
    pub(in crate::store::sql) fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut closed = self.0.closed.subscribe();
        async move {
            // A pool that is gone is as good as closed.
            let _ = closed.wait_for(|closed| *closed).await;
        }
    }

    /// Gives up the connections nobody uses; they are of no use after the server went away.
    pub(in crate::store::sql) fn forget(&self) {
        self.idle().clear();
    }

    /// Waits for those that are lent out and closes all; later borrowers are refused.
    pub(in crate::store::sql) async fn close(&self) {
        self.0.closed.send_replace(true);
        let all = u32::try_from(self.0.settings.max_connections).unwrap_or(u32::MAX);
        if let Ok(permits) = self.0.permits.acquire_many(all).await {
            self.0.permits.close();
            drop(permits);
        }
        let idle = std::mem::take(&mut *self.idle());
        for idle in idle {
            // Nothing is open on it, so there is nothing to lose.
            let _: Result<(), Error> = idle.conn.close().await;
        }
    }
}

impl Lent {
    /// Takes the connection back; nothing may be open on it.
    pub(in crate::store::sql) fn give_back(self) {
        let Self { conn, opened, pool, _permit } = self;
        if conn.is_idle() && !pool.0.permits.is_closed() {
            let since = pool.0.settings.env.monotonic();
            pool.idle().push(Idle { conn, opened, since });
        }
    }
}
