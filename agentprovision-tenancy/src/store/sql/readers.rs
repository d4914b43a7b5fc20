//! A few connections that read beside the writer.

use std::sync::{Mutex, PoisonError};

use agentprovision_core::{Error, Result};
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::conn::Conn;

/// Reads that run at the same time.
const READERS: usize = 4;

/// Connections for reading, opened when they are first needed.
pub(super) struct Readers {
    options: SqliteConnectOptions,
    idle: Mutex<Vec<Conn>>,
    permits: Semaphore,
}

/// A connection that is lent out. One that is not given back, because its reader was dropped in the middle of a
/// statement or the statement failed, is closed: nobody gets it in an unknown state.
pub(super) struct Lent<'p> {
    pub(super) conn: Conn,
    pool: &'p Readers,
    _permit: SemaphorePermit<'p>,
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").field("free", &self.permits.available_permits()).finish_non_exhaustive()
    }
}

impl Readers {
    pub(super) fn new(options: SqliteConnectOptions) -> Self {
        Self { options, idle: Mutex::default(), permits: Semaphore::new(READERS) }
    }

    pub(super) async fn lend(&self) -> Result<Lent<'_>> {
        let permit = self.permits.acquire().await.map_err(|_| super::closed())?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => Conn::open(&self.options).await?,
        };
        Ok(Lent { conn, pool: self, _permit: permit })
    }

    /// Waits for the readers and closes their connections; later ones are refused.
    pub(super) async fn close(&self) {
        if let Ok(all) = self.permits.acquire_many(READERS as u32).await {
            self.permits.close();
            drop(all);
        }
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for conn in idle {
            // A connection that only reads has nothing to lose.
            let _: Result<(), Error> = conn.close().await;
        }
    }
}

impl Lent<'_> {
    pub(super) fn give_back(self) {
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.conn);
    }
}
