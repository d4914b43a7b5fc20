//! Usage events.

use agentprovision_core::context::Context;
use agentprovision_core::id::UsageId;
use agentprovision_core::money::NanoUsd;
use agentprovision_core::usage::{Meter, Period, UsageEvent, UsageReader, UsageSummary};
use agentprovision_core::{Error, Result};
use async_trait::async_trait;
use uuid::Uuid;

use super::SqlStore;
use super::value::{Row, tenant_sql, values};

fn meter(name: &str) -> Result<Meter> {
    Meter::from_name(name).ok_or_else(|| Error::corrupt("a usage event has an unknown meter"))
}

fn read(mut row: Row) -> Result<UsageEvent> {
    Ok(UsageEvent {
        id: row.next()?,
        meter: meter(&row.next::<String>()?)?,
        quantity: row.next()?,
        at: row.next()?,
        user: row.next()?,
        agent: row.next()?,
        run: row.next()?,
        model: row.next()?,
        cost: row.next::<Option<i64>>()?.map(NanoUsd::from_nanos),
    })
}

/// A sum that was taken in two halves of 32 bits, because the database refuses one that leaves 64 bits.
fn whole(high: i64, low: i64) -> i128 {
    (i128::from(high) << 32) + i128::from(low)
}

fn unsigned(sum: i128) -> u64 {
    u64::try_from(sum).unwrap_or(u64::MAX)
}

#[async_trait]
impl UsageReader for SqlStore {
    async fn summary(&self, ctx: &Context, period: Period) -> Result<UsageSummary> {
        let sql = tenant_sql!(
            "SELECT meter, CAST(sum((quantity >> 32) & 4294967295) AS bigint), CAST(sum(quantity & 4294967295) AS bigint), \
             CAST(sum(coalesce(cost, 0) >> 32) AS bigint), CAST(sum(coalesce(cost, 0) & 4294967295) AS bigint), \
             CAST(sum(CASE WHEN cost IS NULL THEN (quantity >> 32) & 4294967295 ELSE 0 END) AS bigint), \
             CAST(sum(CASE WHEN cost IS NULL THEN quantity & 4294967295 ELSE 0 END) AS bigint) \
             FROM usage_events WHERE tenant_id = $1 AND at >= $2 AND at < $3 GROUP BY meter"
        );
        let read = |mut row: Row| {
            let name: String = row.next()?;
            let quantity = whole(row.next()?, row.next()?);
            Ok((meter(&name)?, quantity, whole(row.next()?, row.next()?), whole(row.next()?, row.next()?)))
        };
        let rows = self.read_rows(ctx.tenant(), sql, values![period.start, period.end], read).await?;
        let mut summary = UsageSummary::default();
        let mut cost = 0_i128;
        for (meter, quantity, meter_cost, without_cost) in rows {
            summary.meters.insert(meter, unsigned(quantity));
            cost += meter_cost;
            if meter == Meter::LlmRequests {
                summary.unpriced_requests = unsigned(without_cost);
            }
        }
        summary.cost_usd = NanoUsd::from_nanos(i64::try_from(cost).unwrap_or(i64::MAX));
        Ok(summary)
    }

    async fn events(&self, ctx: &Context, after: Option<UsageId>, limit: u32) -> Result<Vec<UsageEvent>> {
        let sql = tenant_sql!(
            "SELECT id, meter, quantity, at, user_id, agent_id, run_id, model, cost FROM usage_events \
             WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3"
        );
        let after = after.map_or(Uuid::nil(), UsageId::uuid);
        self.read_rows(ctx.tenant(), sql, values![after, limit], read).await
    }
}
