//! Whose metadata changed: [`ChangeFeed`].

use agentprovision_core::Result;
use agentprovision_core::changes::{ChangeFeed, Changes, Epoch, Mark};
use async_trait::async_trait;

use super::SqlStore;
use super::value::{SystemSql, system_sql, values};

/// Epochs from `$1` on, and the next mark, in every row; at least one row.
///
/// A file has one writer, who counts. On PostgreSQL an epoch is the number of its transaction, and the mark the oldest
/// transaction under way: whatever is not seen yet is committed by that one or a later one.
const CHANGED: SystemSql = system_sql!(
    "WITH step (mark) AS (SELECT coalesce(max(epoch), 0) + 1 FROM epochs) \
     SELECT step.mark, e.tenant_id, e.epoch FROM step LEFT JOIN epochs e ON e.epoch >= $1",
    "WITH step (mark) AS (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint) \
     SELECT step.mark, e.tenant_id, e.epoch FROM step LEFT JOIN epochs e ON e.epoch >= $1"
);

#[async_trait]
impl ChangeFeed for SqlStore {
    async fn changed(&self, since: Option<&Mark>) -> Result<Changes> {
        let since = since.and_then(|mark| mark.place(0)).unwrap_or(i64::MAX);
        let rows = self
            .read_system(move |mut tx| Box::pin(async move { tx.rows(CHANGED, values![since]).await }))
            .await?;
        let mut changes = Changes { tenants: Vec::new(), mark: Mark(vec![since]) };
        for mut row in rows {
            changes.mark = Mark(vec![row.next()?]);
            if let (Some(tenant), Some(epoch)) = (row.next()?, row.next()?) {
                changes.tenants.push((tenant, Epoch(epoch)));
            }
        }
        Ok(changes)
    }

    async fn told(&self, heard: u64) -> u64 {
        let mut told = self.told.subscribe();
        match told.wait_for(|told| *told > heard).await {
            Ok(now) => *now,
            // The sender is here.
            Err(_) => heard,
        }
    }
}
