//! What one process at a time does: [`MaintenanceStore`].

use std::time::Duration;

use agentprovision_core::Result;
use agentprovision_core::id::WorkerId;
use agentprovision_core::maintenance::{Duty, MaintenanceStore};
use async_trait::async_trait;
use uuid::Uuid;

use super::audit::{PLATFORM_LOG, sequence};
#[cfg(feature = "store-postgres")]
use super::value::system_sql;
use super::value::{timed_sql, values};
use super::{Engine, SqlStore};

#[async_trait]
impl MaintenanceStore for SqlStore {
    async fn hold(&self, duty: Duty, worker: WorkerId, term: Duration) -> Result<bool> {
        let hold = timed_sql!("$5":
            "INSERT INTO duties (log_id, duty, worker_id, until) VALUES ($1, $2, $3, " now " + $4) \
             ON CONFLICT (log_id, duty) DO UPDATE SET worker_id = excluded.worker_id, until = excluded.until \
             WHERE duties.worker_id = excluded.worker_id OR duties.until <= " now " RETURNING 1"
        );
        let now = self.env.now();
        self.write_system(move |mut tx| {
            Box::pin(async move {
                tx.log(PLATFORM_LOG).exists(hold, values![duty.name(), worker, term, now]).await
            })
        })
        .await
    }

    async fn give_back(&self, duty: Duty, worker: WorkerId) -> Result<()> {
        let sql = super::value::tenant_sql!(
            "DELETE FROM duties WHERE log_id = $1 AND duty = $2 AND worker_id = $3"
        );
        self.write_system(move |mut tx| {
            Box::pin(async move {
                tx.log(PLATFORM_LOG).execute(sql, values![duty.name(), worker]).await.map(drop)
            })
        })
        .await
    }

    async fn unsequenced(&self) -> Result<bool> {
        Ok(!self.unsequenced_logs(1).await?.is_empty())
    }

    async fn sequence(&self) -> Result<()> {
        for log in self.unsequenced_logs(u32::MAX).await? {
            while self
                .write_system(move |mut tx| Box::pin(async move { sequence(&mut tx.log(log)).await }))
                .await?
            {}
        }
        Ok(())
    }
}

impl SqlStore {
    /// Logs for which records wait. The one writer of a file puts them there by itself.
    #[cfg_attr(not(feature = "store-postgres"), expect(unused_variables, reason = "there are none"))]
    async fn unsequenced_logs(&self, limit: u32) -> Result<Vec<Uuid>> {
        match &self.engine {
            #[cfg(feature = "store-sqlite")]
            Engine::Sqlite(_) => self.check_open().map(|()| Vec::new()),
            #[cfg(feature = "store-postgres")]
            Engine::Lent(_) => Err(super::not_within_another()),
            #[cfg(feature = "store-postgres")]
            Engine::Postgres(_) => {
                let sql = system_sql!(
                    "SELECT DISTINCT tenant_id FROM due WHERE kind = 'audit' ORDER BY tenant_id LIMIT $1"
                );
                let rows = self
                    .read_system(move |mut tx| Box::pin(async move { tx.rows(sql, values![limit]).await }))
                    .await?;
                rows.into_iter().map(|mut row| row.next()).collect()
            }
        }
    }
}
