//! Claims: which runs a worker takes up, and in whose turn.
//!
//! A look from above tenants says who has a run ready. Then each of them is entered and gives its share, oldest first;
//! workers do not wait for each other: what another is about to take is passed over.

use std::sync::Arc;

use agentprovision_core::Result;
use agentprovision_core::id::{RunId, TenantId};
use agentprovision_core::run::{ClaimRequest, Fence, Lease, RunRecord};
use agentprovision_core::tenant::TenantState;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::conn::{SystemTx, TenantTx};
#[cfg(feature = "store-postgres")]
use super::value::Dialect;
use super::value::{SystemSql, TenantSql, Value, system_sql, tenant_sql, values};
use super::{SqlStore, index, residence, tenants};

/// Tenants behind `$1` and up to `$2` that have a row ready in a table of leases, in the order of their ids, at most `most`.
/// It steps through an index from tenant to tenant and stops at the last that is wanted, so what waits costs nothing.
macro_rules! turns_sql {
    ($table:literal, $key:literal, $there:literal, $now:expr, $known:literal, $most:literal) => {
        concat!(
            "WITH RECURSIVE step (tenant_id, found) AS ( \
             SELECT (SELECT l.tenant_id FROM ",
            $table,
            " l WHERE l.tenant_id > $1",
            $there,
            " ORDER BY l.tenant_id LIMIT 1), 0 UNION ALL SELECT (SELECT l.tenant_id FROM ",
            $table,
            " l WHERE l.tenant_id > step.tenant_id",
            $there,
            " ORDER BY l.tenant_id LIMIT 1), step.found + CASE WHEN ",
            $crate::store::sql::claims::may_be_served!($table, $key, $now, $known),
            " THEN 1 ELSE 0 END FROM step WHERE step.tenant_id <= $2 AND step.found < ",
            $most,
            ") SELECT step.tenant_id FROM step WHERE step.tenant_id <= $2 AND ",
            $crate::store::sql::claims::may_be_served!($table, $key, $now, $known),
            " ORDER BY step.tenant_id LIMIT ",
            $most
        )
    };
}

/// Whether the tenant of a step is active and here, and has a row ready.
macro_rules! may_be_served {
    ($table:literal, $key:literal, $now:expr, $known:literal) => {
        concat!(
            "(SELECT t.state FROM tenants t WHERE t.tenant_id = step.tenant_id) = 'active' AND \
             coalesce((SELECT h.state FROM residences h WHERE h.tenant_id = step.tenant_id), 'home') = 'home' AND \
             (SELECT 1 FROM ",
            $table,
            " l WHERE l.tenant_id = step.tenant_id AND l.ready_at <= ",
            $now,
            " AND (l.lease_until IS NULL OR l.lease_until <= ",
            $now,
            ")",
            $known,
            " ORDER BY l.ready_at, l.",
            $key,
            " LIMIT 1) = 1"
        )
    };
}

pub(super) use {may_be_served, turns_sql};

/// Tenants that have a run ready.
pub(super) const TURNS: SystemSql =
    system_sql!(turns_sql!("run_leases", "run_id", "", "$3", " AND l.state_version <= $4", "$5"));

/// Runs of a tenant that may be taken up, at most `$4`.
pub(super) const READY: TenantSql = tenant_sql!(
    "SELECT run_id, epoch FROM run_leases WHERE tenant_id = $1 AND ready_at <= $2 \
     AND (lease_until IS NULL OR lease_until <= $2) AND state_version <= $3 ORDER BY ready_at, run_id LIMIT $4"
);

/// The same where many write: takes those that nobody else has locked, and gives them with their new epochs.
#[cfg(feature = "store-postgres")]
const TAKE: TenantSql = tenant_sql!(concat!(
    "WITH free AS MATERIALIZED (SELECT tenant_id, run_id FROM run_leases WHERE tenant_id = $1 AND ready_at <= $2 \
     AND (lease_until IS NULL OR lease_until <= $2) AND state_version <= $3 ORDER BY ready_at, run_id LIMIT $4 \
     FOR UPDATE SKIP LOCKED), \
     taken AS (UPDATE run_leases l SET epoch = l.epoch + 1, lease_until = $5, worker_id = $6 FROM free \
     WHERE l.tenant_id = free.tenant_id AND l.run_id = free.run_id RETURNING l.run_id, l.epoch, l.ready_at) \
     SELECT t.epoch, ",
    index::columns!(),
    " FROM taken t JOIN runs r ON r.tenant_id = $1 AND r.id = t.run_id ORDER BY t.ready_at, t.run_id"
));

/// Tenants that a statement of turns finds, in turn: those behind `after` first. `values` are what it takes beside the ends.
pub(super) async fn in_order(
    tx: &mut SystemTx<'_>,
    sql: SystemSql,
    after: Option<TenantId>,
    values: Vec<Value>,
    limit: usize,
    wanted: impl Fn(&TenantId) -> bool + Send,
) -> Result<Vec<TenantId>> {
    let after = after.map(|tenant| tenant.uuid());
    let behind = Some((after.unwrap_or_default(), Uuid::max()));
    let mut tenants = Vec::new();
    for (from, to) in behind.into_iter().chain(after.map(|after| (Uuid::nil(), after))) {
        let mut bound = values![from, to];
        bound.extend(values.iter().cloned());
        for mut row in tx.rows(sql, bound).await? {
            let tenant = row.next()?;
            if tenants.len() < limit && wanted(&tenant) {
                tenants.push(tenant);
            }
        }
        if tenants.len() >= limit {
            break;
        }
    }
    Ok(tenants)
}

/// Tenants with a run ready, in turn.
pub(super) async fn turns(tx: &mut SystemTx<'_>, ask: &ClaimRequest, limit: usize) -> Result<Vec<TenantId>> {
    // Whoever is left out may stand before the others.
    let most = i64::try_from(limit.saturating_add(ask.full.len())).unwrap_or(i64::MAX);
    let values = values![tx.env.now(), ask.state_version, most];
    in_order(tx, TURNS, ask.after, values, limit, |tenant| !ask.full.contains(tenant)).await
}

/// Up to `share` runs of the tenant, taken.
async fn take(
    tx: &mut TenantTx<'_>,
    tenant: TenantId,
    ask: &ClaimRequest,
    share: usize,
) -> Result<Vec<Lease>> {
    let now = tx.env.now();
    let most = i64::try_from(share).unwrap_or(i64::MAX);
    let lease =
        |epoch, run: RunRecord| Lease { fence: Fence { tenant, run: run.id, epoch }, until: ask.until, run };
    let mut taken = Vec::new();
    #[cfg(feature = "store-postgres")]
    if tx.dialect() == Dialect::Postgres {
        let asked = values![now, ask.state_version, most, ask.until, ask.worker];
        for mut row in tx.rows(TAKE, asked).await? {
            let epoch = row.next()?;
            taken.push(lease(epoch, index::read(tenant, row)?));
        }
        return Ok(taken);
    }
    for mut row in tx.rows(READY, values![now, ask.state_version, most]).await? {
        let (run, epoch): (RunId, u64) = (row.next()?, row.next::<u64>()? + 1);
        let sql = tenant_sql!(
            "UPDATE run_leases SET epoch = $3, lease_until = $4, worker_id = $5 WHERE tenant_id = $1 AND run_id = $2"
        );
        tx.execute(sql, values![run, epoch, ask.until, ask.worker]).await?;
        taken.push(lease(epoch, index::get(tx, tenant, run).await?));
    }
    Ok(taken)
}

/// What became of a tenant since it was found is looked at again: nobody changes it any more.
async fn may_run(tx: &mut TenantTx<'_>) -> Result<bool> {
    Ok(residence::is_home(tx).await? && tenants::state_beside(tx).await? == Some(TenantState::Active))
}

/// Takes what tenants have, in turn, one of each before a second of any: `take` gives as many as it is told, or all there are.
pub(super) async fn in_turn<T: Send>(
    tx: &mut SystemTx<'_>,
    turns: Vec<TenantId>,
    limit: usize,
    per_tenant: usize,
    take: impl for<'t, 'c> Fn(&'t mut TenantTx<'c>, TenantId, usize) -> BoxFuture<'t, Result<Vec<T>>> + Send,
) -> Result<Vec<T>> {
    let mut taken = Vec::new();
    let mut waiting: Vec<(usize, TenantId, usize)> =
        turns.into_iter().enumerate().map(|(place, tenant)| (place, tenant, 0)).collect();
    while taken.len() < limit && !waiting.is_empty() {
        // Who is a round behind the others, because they had none or gave less, comes first.
        let low = waiting.iter().map(|(.., round)| *round).min().unwrap_or(0);
        let even = waiting.iter().all(|(.., round)| *round == low);
        let left = limit - taken.len();
        let (each, mut more) = if even { (left / waiting.len(), left % waiting.len()) } else { (1, 0) };
        let mut again = Vec::new();
        for (place, tenant, mut round) in waiting {
            let share = if round == low { each + usize::from(more > 0) } else { 0 };
            more = more.saturating_sub(1);
            let share = share.min(limit - taken.len()).min(per_tenant - round);
            if share == 0 {
                again.extend((round < per_tenant).then_some((place, tenant, round)));
                continue;
            }
            let mut tx = tx.tenant(tenant);
            if round == 0 && !may_run(&mut tx).await? {
                continue;
            }
            let found = take(&mut tx, tenant, share).await?;
            // Who gave less has no more.
            let all = found.len() < share;
            for one in found {
                taken.push(((round, place), one));
                round += 1;
            }
            if !all && round < per_tenant {
                again.push((place, tenant, round));
            }
        }
        waiting = again;
    }
    taken.sort_by_key(|(turn, _)| *turn);
    Ok(taken.into_iter().map(|(_, one)| one).collect())
}

/// Takes up runs, as many as are asked for.
pub(super) async fn claim(store: &SqlStore, ask: ClaimRequest) -> Result<Vec<Lease>> {
    if ask.limit == 0 || ask.per_tenant == 0 {
        return Ok(Vec::new());
    }
    // Workers ask often, and mostly there is nothing: asking takes no turn of a writer.
    let look = ask.clone();
    let turns = store
        .read_system(move |mut tx| Box::pin(async move { turns(&mut tx, &look, look.limit).await }))
        .await?;
    if turns.is_empty() {
        return Ok(Vec::new());
    }
    store
        .write_system(move |mut tx| {
            Box::pin(async move {
                let (limit, per_tenant, ask) = (ask.limit, ask.per_tenant, Arc::new(ask));
                in_turn(&mut tx, turns, limit, per_tenant, move |tx, tenant, share| {
                    let ask = ask.clone();
                    Box::pin(async move { take(tx, tenant, &ask, share).await })
                })
                .await
            })
        })
        .await
}
