//! Events: the outbox is emptied into numbered events, which are read and confirmed.

use std::collections::BTreeMap;

use agentprovision_core::context::Context;
use agentprovision_core::event::{EventLog, NumberedEvent, PlatformEvent};
use agentprovision_core::id::TenantId;
use agentprovision_core::{Error, Result};
use async_trait::async_trait;

use super::conn::{SystemTx, TenantTx, Turn};
use super::multi::EVENTS;
use super::value::{Row, TenantSql, system_sql, tenant_sql, values};
use super::{SqlStore, residence};

fn read(row: &mut Row) -> Result<NumberedEvent> {
    let seq = row.next()?;
    let event: PlatformEvent = serde_json::from_slice(&row.next::<Vec<u8>>()?)
        .map_err(|error| Error::corrupt(format!("event {seq} cannot be read")).with_source(error))?;
    Ok(NumberedEvent { seq, event })
}

/// Numbers what is in the transaction's outbox; at most some thousand events. Says whether there may be more.
pub(super) async fn number(tx: &mut TenantTx<'_>) -> Result<bool> {
    tx.turn(Turn::Events).await?;
    tx.take_up("outbox").await?;
    const TAKE: TenantSql = TenantSql::new(
        "DELETE FROM outbox WHERE tenant_id = $1 AND pos IN \
         (SELECT pos FROM outbox WHERE tenant_id = $1 ORDER BY pos LIMIT 4096) RETURNING 0, pos, bytes",
        "DELETE FROM outbox WHERE tenant_id = $1 AND (tx, pos) IN \
         (SELECT tx, pos FROM outbox WHERE tenant_id = $1 ORDER BY tx, pos LIMIT 4096) RETURNING tx, pos, bytes",
    );
    let mut taken = Vec::new();
    for mut row in tx.rows(TAKE, vec![]).await? {
        taken.push(((row.next::<i64>()?, row.next::<i64>()?), row.next::<Vec<u8>>()?));
    }
    if taken.is_empty() {
        return Ok(false);
    }
    taken.sort_unstable_by_key(|(pos, _)| *pos);
    let more = taken.len() == 4096;
    let head = tx.row(tenant_sql!("SELECT seq FROM event_heads WHERE tenant_id = $1"), vec![]).await?;
    let mut seq: u64 = head.map(|mut row| row.next()).transpose()?.unwrap_or(0);
    let mut rows = Vec::new();
    for (_, bytes) in taken {
        seq += 1;
        rows.extend(values![seq, bytes, false]);
    }
    tx.multi(&EVENTS, rows).await?;
    let sql = tenant_sql!(
        "INSERT INTO event_heads (tenant_id, seq) VALUES ($1, $2) \
         ON CONFLICT (tenant_id) DO UPDATE SET seq = excluded.seq"
    );
    tx.execute(sql, values![seq]).await?;
    Ok(more)
}

async fn number_all(tx: &mut SystemTx<'_>) -> Result<()> {
    for mut row in tx
        .rows(
            system_sql!(
                "SELECT DISTINCT tenant_id FROM outbox",
                "SELECT DISTINCT tenant_id FROM due WHERE kind = 'outbox'"
            ),
            vec![],
        )
        .await?
    {
        let tenant: TenantId = row.next()?;
        while number(&mut tx.tenant(tenant)).await? {}
    }
    Ok(())
}

/// Events that no relay has confirmed, by (tenant, number). Above tenants only whose they are is read.
async fn unpublished(tx: &mut SystemTx<'_>, limit: u32) -> Result<Vec<NumberedEvent>> {
    // Tenants on their way to another database are told of by that one.
    let sql = system_sql!(
        "SELECT DISTINCT tenant_id FROM events e WHERE published = 0 AND NOT EXISTS (SELECT 1 FROM residences h \
         WHERE h.tenant_id = e.tenant_id AND h.state <> 'home') ORDER BY tenant_id",
        "SELECT DISTINCT tenant_id FROM due d WHERE kind = 'event' AND NOT EXISTS (SELECT 1 FROM residences h \
         WHERE h.tenant_id = d.tenant_id AND h.state <> 'home') ORDER BY tenant_id"
    );
    let mut found = Vec::new();
    for mut row in tx.rows(sql, vec![]).await? {
        let tenant: TenantId = row.next()?;
        let left = u64::from(limit).saturating_sub(found.len() as u64);
        if left == 0 {
            break;
        }
        let sql = tenant_sql!(
            "SELECT seq, bytes FROM events WHERE tenant_id = $1 AND published = 0 ORDER BY seq LIMIT $2"
        );
        for mut row in tx.tenant(tenant).rows(sql, values![left]).await? {
            found.push(read(&mut row)?);
        }
    }
    Ok(found)
}

/// Confirms events of one tenant.
async fn confirm(tx: &mut TenantTx<'_>, numbers: &[u64]) -> Result<()> {
    if !residence::is_home(tx).await? {
        // Delivered at least once: they come again, from where the tenant is then.
        return Ok(());
    }
    // Whoever counts by itself may confirm an event before anybody has read it.
    while number(tx).await? {}
    for seq in numbers {
        let sql = tenant_sql!("UPDATE events SET published = 1 WHERE tenant_id = $1 AND seq = $2");
        tx.execute(sql, values![*seq]).await?;
    }
    let open = tenant_sql!("SELECT 1 FROM events WHERE tenant_id = $1 AND published = 0 LIMIT 1");
    if !tx.exists(open, vec![]).await? {
        tx.take_up("event").await?;
    }
    Ok(())
}

#[async_trait]
impl EventLog for SqlStore {
    async fn read(&self, ctx: &Context, after: u64, limit: u32) -> Result<Vec<NumberedEvent>> {
        let tenant = ctx.tenant();
        let waiting = tenant_sql!("SELECT 1 FROM outbox WHERE tenant_id = $1 LIMIT 1");
        if !self.read_rows(tenant, waiting, vec![], |_| Ok(())).await?.is_empty() {
            self.write_system(move |mut tx| {
                Box::pin(async move {
                    while number(&mut tx.tenant(tenant)).await? {}
                    Ok(())
                })
            })
            .await?;
        }
        let Ok(after) = i64::try_from(after) else { return Ok(Vec::new()) };
        let sql = tenant_sql!(
            "SELECT seq, bytes FROM events WHERE tenant_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"
        );
        self.read_rows(tenant, sql, values![after, limit], |mut row| read(&mut row)).await
    }

    async fn unpublished(&self, limit: u32) -> Result<Vec<NumberedEvent>> {
        let waiting = self
            .read_system(|mut tx| {
                Box::pin(async move {
                    tx.rows(
                        system_sql!(
                            "SELECT 1 FROM outbox LIMIT 1",
                            "SELECT 1 FROM due WHERE kind = 'outbox' LIMIT 1"
                        ),
                        vec![],
                    )
                    .await
                })
            })
            .await?;
        if !waiting.is_empty() {
            self.write_system(|mut tx| Box::pin(async move { number_all(&mut tx).await })).await?;
        }
        self.read_system(move |mut tx| Box::pin(async move { unpublished(&mut tx, limit).await })).await
    }

    async fn published(&self, events: &[NumberedEvent]) -> Result<()> {
        let mut confirmed: BTreeMap<TenantId, Vec<u64>> = BTreeMap::new();
        for event in events {
            confirmed.entry(event.event.tenantid).or_default().push(event.seq);
        }
        if confirmed.is_empty() {
            return self.check_open();
        }
        self.write_system(|mut tx| {
            Box::pin(async move {
                for (tenant, numbers) in confirmed {
                    confirm(&mut tx.tenant(tenant), &numbers).await?;
                }
                Ok(())
            })
        })
        .await
    }
}
