//! Claims: which runs a worker takes up.
//!
//! A look from above tenants says who has a run ready. Then each of them is entered and gives its share, oldest first;
//! workers do not wait for each other: what another is about to take is passed over.

use agentprovision_core::Result;
use agentprovision_core::id::{RunId, TenantId};
use agentprovision_core::run::{ClaimRequest, Fence, Lease, RunRecord};
use agentprovision_core::tenant::TenantState;
use uuid::Uuid;

use super::conn::{SystemTx, TenantTx};
#[cfg(feature = "store-postgres")]
use super::value::Dialect;
use super::value::{SystemSql, TenantSql, system_sql, tenant_sql, values};
use super::{SqlStore, index, residence, tenants};

/// Tenants behind `$1` and up to `$2` that have a run ready, in the order of their ids, at most `$5`. It steps through an
/// index from tenant to tenant and stops at the last that is wanted, so runs that wait cost nothing.
pub(super) const TURNS: SystemSql = system_sql!(
    "WITH RECURSIVE step (tenant_id, found) AS ( \
     SELECT (SELECT l.tenant_id FROM run_leases l WHERE l.tenant_id > $1 ORDER BY l.tenant_id LIMIT 1), 0 \
     UNION ALL SELECT \
     (SELECT l.tenant_id FROM run_leases l WHERE l.tenant_id > step.tenant_id ORDER BY l.tenant_id LIMIT 1), \
     step.found + CASE WHEN (SELECT t.state FROM tenants t WHERE t.tenant_id = step.tenant_id) = 'active' AND \
     coalesce((SELECT h.state FROM residences h WHERE h.tenant_id = step.tenant_id), 'home') = 'home' AND \
     (SELECT 1 FROM run_leases l WHERE l.tenant_id = step.tenant_id AND l.ready_at <= $3 \
     AND (l.lease_until IS NULL OR l.lease_until <= $3) AND l.state_version <= $4 \
     ORDER BY l.ready_at, l.run_id LIMIT 1) = 1 THEN 1 ELSE 0 END \
     FROM step WHERE step.tenant_id <= $2 AND step.found < $5) \
     SELECT step.tenant_id FROM step WHERE step.tenant_id <= $2 \
     AND (SELECT t.state FROM tenants t WHERE t.tenant_id = step.tenant_id) = 'active' AND \
     coalesce((SELECT h.state FROM residences h WHERE h.tenant_id = step.tenant_id), 'home') = 'home' AND \
     (SELECT 1 FROM run_leases l WHERE l.tenant_id = step.tenant_id AND l.ready_at <= $3 \
     AND (l.lease_until IS NULL OR l.lease_until <= $3) AND l.state_version <= $4 \
     ORDER BY l.ready_at, l.run_id LIMIT 1) = 1 ORDER BY step.tenant_id LIMIT $5"
);

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

/// Tenants with a run ready, in turn.
pub(super) async fn turns(tx: &mut SystemTx<'_>, ask: &ClaimRequest, limit: usize) -> Result<Vec<TenantId>> {
    let now = tx.env.now();
    // Whoever is left out may stand before the others.
    let most = i64::try_from(limit.saturating_add(ask.full.len())).unwrap_or(i64::MAX);
    let after = ask.after.map(|tenant| tenant.uuid());
    let behind = Some((after.unwrap_or_default(), Uuid::max()));
    let mut tenants = Vec::new();
    for (from, to) in behind.into_iter().chain(after.map(|after| (Uuid::nil(), after))) {
        for mut row in tx.rows(TURNS, values![from, to, now, ask.state_version, most]).await? {
            let tenant = row.next()?;
            if tenants.len() < limit && !ask.full.contains(&tenant) {
                tenants.push(tenant);
            }
        }
        if tenants.len() >= limit {
            break;
        }
    }
    Ok(tenants)
}

/// Up to `share` runs of the tenant, with their epochs, taken.
async fn take(
    tx: &mut TenantTx<'_>,
    tenant: TenantId,
    ask: &ClaimRequest,
    share: usize,
) -> Result<Vec<(u64, RunRecord)>> {
    let now = tx.env.now();
    let most = i64::try_from(share).unwrap_or(i64::MAX);
    let mut taken = Vec::new();
    #[cfg(feature = "store-postgres")]
    if tx.dialect() == Dialect::Postgres {
        let asked = values![now, ask.state_version, most, ask.until, ask.worker];
        for mut row in tx.rows(TAKE, asked).await? {
            taken.push((row.next()?, index::read(tenant, row)?));
        }
        return Ok(taken);
    }
    for mut row in tx.rows(READY, values![now, ask.state_version, most]).await? {
        let (run, epoch): (RunId, u64) = (row.next()?, row.next::<u64>()? + 1);
        let sql = tenant_sql!(
            "UPDATE run_leases SET epoch = $3, lease_until = $4, worker_id = $5 WHERE tenant_id = $1 AND run_id = $2"
        );
        tx.execute(sql, values![run, epoch, ask.until, ask.worker]).await?;
        taken.push((epoch, index::get(tx, tenant, run).await?));
    }
    Ok(taken)
}

/// What became of a tenant since it was found is looked at again: nobody changes it any more.
async fn may_run(tx: &mut TenantTx<'_>) -> Result<bool> {
    Ok(residence::is_home(tx).await? && tenants::state_beside(tx).await? == Some(TenantState::Active))
}

/// Takes runs of tenants in turn, one of each before a second of any.
async fn take_in_turn(tx: &mut SystemTx<'_>, ask: &ClaimRequest, turns: Vec<TenantId>) -> Result<Vec<Lease>> {
    let mut taken = Vec::new();
    let mut waiting: Vec<(usize, TenantId, usize)> =
        turns.into_iter().enumerate().map(|(place, tenant)| (place, tenant, 0)).collect();
    while taken.len() < ask.limit && !waiting.is_empty() {
        let (mut again, mut behind) = (Vec::new(), waiting.len());
        for (place, tenant, mut round) in waiting {
            let share = (ask.limit - taken.len()).div_ceil(behind).min(ask.per_tenant - round);
            behind -= 1;
            let mut tx = tx.tenant(tenant);
            if share == 0 || (round == 0 && !may_run(&mut tx).await?) {
                continue;
            }
            let found = take(&mut tx, tenant, ask, share).await?;
            // Who gave less has no more.
            let more = found.len() == share;
            for (epoch, run) in found {
                let fence = Fence { tenant, run: run.id, epoch };
                taken.push(((round, place), Lease { fence, until: ask.until, run }));
                round += 1;
            }
            if more && round < ask.per_tenant {
                again.push((place, tenant, round));
            }
        }
        waiting = again;
    }
    taken.sort_unstable_by_key(|(turn, _)| *turn);
    Ok(taken.into_iter().map(|(_, lease)| lease).collect())
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
    store.write_system(move |mut tx| Box::pin(async move { take_in_turn(&mut tx, &ask, turns).await })).await
}
