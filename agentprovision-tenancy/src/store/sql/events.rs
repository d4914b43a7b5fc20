//! Events: the outbox is emptied into numbered events, which are read and confirmed.

use std::collections::BTreeMap;

use agentprovision_core::context::Context;
use agentprovision_core::event::{EventLog, NumberedEvent, PlatformEvent};
use agentprovision_core::id::TenantId;
use agentprovision_core::{Error, Result};
use async_trait::async_trait;

use super::SqlStore;
use super::conn::{SystemTx, TenantTx};
use super::multi::EVENTS;
use super::value::{Row, system_sql, tenant_sql, values};

fn read(row: &mut Row) -> Result<NumberedEvent> {
    let seq = row.next()?;
    let event: PlatformEvent = serde_json::from_slice(&row.next::<Vec<u8>>()?)
        .map_err(|error| Error::corrupt(format!("event {seq} cannot be read")).with_source(error))?;
    Ok(NumberedEvent { seq, event })
}

/// Numbers what is in the transaction's outbox; at most some thousand events. Says whether there may be more.
pub(super) async fn number(tx: &mut TenantTx<'_>) -> Result<bool> {
    let sql = tenant_sql!(
        "DELETE FROM outbox WHERE tenant_id = $1 AND pos IN \
         (SELECT pos FROM outbox WHERE tenant_id = $1 ORDER BY pos LIMIT 4096) RETURNING pos, bytes"
    );
    let mut taken = Vec::new();
    for mut row in tx.rows(sql, vec![]).await? {
        taken.push((row.next::<i64>()?, row.next::<Vec<u8>>()?));
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
    for mut row in tx.rows(system_sql!("SELECT DISTINCT tenant_id FROM outbox"), vec![]).await? {
        let tenant: TenantId = row.next()?;
        while number(&mut tx.tenant(tenant)).await? {}
    }
    Ok(())
}

/// Events that no relay has confirmed, by (tenant, number). Above tenants only their places are read.
async fn unpublished(tx: &mut SystemTx<'_>, limit: u32) -> Result<Vec<NumberedEvent>> {
    let sql =
        system_sql!("SELECT tenant_id, seq FROM events WHERE published = 0 ORDER BY tenant_id, seq LIMIT $1");
    let mut places: BTreeMap<TenantId, (u64, u64)> = BTreeMap::new();
    for mut row in tx.rows(sql, values![limit]).await? {
        let (tenant, seq) = (row.next()?, row.next()?);
        places.entry(tenant).or_insert((seq, seq)).1 = seq;
    }
    let mut found = Vec::new();
    for (tenant, (first, last)) in places {
        let sql = tenant_sql!(
            "SELECT seq, bytes FROM events WHERE tenant_id = $1 AND seq >= $2 AND seq <= $3 AND published = 0 ORDER BY seq"
        );
        for mut row in tx.tenant(tenant).rows(sql, values![first, last]).await? {
            found.push(read(&mut row)?);
        }
    }
    Ok(found)
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
                Box::pin(async move { tx.rows(system_sql!("SELECT 1 FROM outbox LIMIT 1"), vec![]).await })
            })
            .await?;
        if !waiting.is_empty() {
            self.write_system(|mut tx| Box::pin(async move { number_all(&mut tx).await })).await?;
        }
        self.read_system(move |mut tx| Box::pin(async move { unpublished(&mut tx, limit).await })).await
    }

    async fn published(&self, events: &[NumberedEvent]) -> Result<()> {
        let events: Vec<(TenantId, u64)> =
            events.iter().map(|event| (event.event.tenantid, event.seq)).collect();
        if events.is_empty() {
            return self.check_open();
        }
        self.write_system(|mut tx| {
            Box::pin(async move {
                // Whoever counts by itself may confirm an event before anybody has read it.
                number_all(&mut tx).await?;
                for (tenant, seq) in events {
                    let sql =
                        tenant_sql!("UPDATE events SET published = 1 WHERE tenant_id = $1 AND seq = $2");
                    tx.tenant(tenant).execute(sql, values![seq]).await?;
                }
                Ok(())
            })
        })
        .await
    }
}
