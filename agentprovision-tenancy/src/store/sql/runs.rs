//! Runs as workers see them: [`RunStore`].

use agentprovision_core::context::Context;
use agentprovision_core::effect::Effects;
use agentprovision_core::id::{RunId, SessionId, SignalId, TenantId};
use agentprovision_core::run::{
    ChainHash, ClaimRequest, Created, Fence, JournalBatch, Lease, NewRun, Payload, Release, RunRecord,
    RunStatus, RunStore, RunTx, Salt, Signal, link,
};
use agentprovision_core::{Error, ErrorKind, Result, Timestamp};
use async_trait::async_trait;
use uuid::Uuid;

use super::conn::{SystemTx, TenantTx};
use super::multi::{JOURNAL, PAYLOADS};
use super::value::{SystemSql, TenantSql, Value, system_sql, tenant_sql, to_json, values};
#[cfg(feature = "store-sqlite")]
use super::{Engine, merge};
use super::{SqlStore, agents, effects, index, run_tx, sessions};

pub(super) fn fenced() -> Error {
    Error::fenced("the run is not held by this worker any more")
}

pub(super) fn over() -> Error {
    Error::conflict("the run is over")
}

/// Numbers and links rows behind (`seq`, `head`), which move on to the last of them. Gives the values of the rows behind
/// their tenant.
pub(super) fn chain(
    run: RunId,
    salt: &Salt,
    (seq, head): (&mut u64, &mut ChainHash),
    entries: Vec<Vec<u8>>,
) -> impl Iterator<Item = Vec<Value>> {
    entries.into_iter().map(move |body| {
        *seq += 1;
        *head = link(salt, head, *seq, &body);
        values![run, *seq, body, *head]
    })
}

pub(super) fn payload_row(run: RunId, payload: Payload) -> Vec<Value> {
    values![run, payload.hash, payload.bytes]
}

/// Where a run stands, as far as a commit has to know.
struct Standing {
    salt: Salt,
    seq: u64,
    head: ChainHash,
    session: Option<SessionId>,
}

/// The run, if the fence's worker may write to it.
async fn writable(tx: &mut TenantTx<'_>, fence: &Fence) -> Result<Standing> {
    // Both rows stay as they are, so that nobody takes the run over meanwhile, and each sees where the last one ended.
    let sql = tenant_sql!(
        lock "SELECT r.status, l.epoch, l.lease_until, r.salt, r.seq, r.head, r.session_id FROM runs r \
         JOIN run_leases l ON l.tenant_id = r.tenant_id AND l.run_id = r.id WHERE r.tenant_id = $1 AND r.id = $2"
    );
    let Some(mut row) = tx.row(sql, values![fence.run]).await? else {
        // The lease of a run goes with its end.
        let sql = tenant_sql!("SELECT status FROM runs WHERE tenant_id = $1 AND id = $2");
        let Some(mut row) = tx.row(sql, values![fence.run]).await? else { return Err(fenced()) };
        return Err(if index::status(&mut row)?.is_terminal() { over() } else { fenced() });
    };
    if index::status(&mut row)?.is_terminal() {
        return Err(over());
    }
    let (epoch, until): (u64, Option<Timestamp>) = (row.next()?, row.next()?);
    if epoch != fence.epoch || until.is_none() {
        return Err(fenced());
    }
    Ok(Standing { salt: row.next()?, seq: row.next()?, head: row.next()?, session: row.next()? })
}

/// Whether the fence's worker holds the run.
pub(super) async fn held(tx: &mut TenantTx<'_>, fence: &Fence) -> Result<()> {
    let sql = tenant_sql!(
        "SELECT 1 FROM run_leases WHERE tenant_id = $1 AND run_id = $2 AND epoch = $3 AND lease_until IS NOT NULL"
    );
    match tx.exists(sql, values![fence.run, fence.epoch]).await? {
        true => Ok(()),
        false => Err(fenced()),
    }
}

/// Journals a batch, whatever it holds.
pub(super) async fn commit(
    tx: &mut TenantTx<'_>,
    fence: Fence,
    batch: JournalBatch,
    all: Effects,
) -> Result<u64> {
    let mut run = writable(tx, &fence).await?;
    effects::guard(tx, &all).await?;
    let now = tx.env.now();
    let JournalBatch { entries, payloads, consumed, patch } = batch;
    let rows = chain(fence.run, &run.salt, (&mut run.seq, &mut run.head), entries).flatten().collect();
    tx.multi(&JOURNAL, rows).await?;
    tx.multi(&PAYLOADS, payloads.into_iter().flat_map(|payload| payload_row(fence.run, payload)).collect())
        .await?;
    let over = patch.status.is_some_and(RunStatus::is_terminal);
    let sql = tenant_sql!(
        "UPDATE runs SET seq = $3, head = $4, updated_at = $5, status = coalesce($6, status), \
         totals = coalesce($7, totals), output = coalesce($8, output), error = coalesce($9, error), \
         finished_at = coalesce($10, finished_at) WHERE tenant_id = $1 AND id = $2"
    );
    let changed = values![
        fence.run,
        run.seq,
        run.head,
        now,
        patch.status.map(RunStatus::name),
        patch.totals.as_ref().map(to_json).transpose()?,
        patch.output,
        patch.error.as_ref().map(to_json).transpose()?,
        over.then_some(now),
    ];
    tx.execute(sql, changed).await?;
    for signal in consumed {
        let sql = tenant_sql!("DELETE FROM signals WHERE tenant_id = $1 AND run_id = $2 AND id = $3");
        tx.execute(sql, values![fence.run, signal]).await?;
    }
    if over {
        finish(tx, fence.run, run.session).await?;
    } else if let Some(release) = patch.release {
        let sql = tenant_sql!(
            "UPDATE run_leases SET lease_until = NULL, ready_at = CASE WHEN $4 = 1 OR EXISTS \
             (SELECT 1 FROM signals WHERE tenant_id = $1 AND run_id = $2) THEN $3 ELSE \
             (SELECT deadline FROM runs WHERE tenant_id = $1 AND id = $2) END WHERE tenant_id = $1 AND run_id = $2"
        );
        tx.execute(sql, values![fence.run, now, release == Release::Ready]).await?;
    }
    effects::apply(tx, all).await?;
    Ok(run.seq)
}

/// Ends the lease of a run that is over, its signals and the turn of its session.
async fn finish(tx: &mut TenantTx<'_>, run: RunId, session: Option<SessionId>) -> Result<()> {
    tx.execute(tenant_sql!("DELETE FROM run_leases WHERE tenant_id = $1 AND run_id = $2"), values![run])
        .await?;
    tx.execute(tenant_sql!("DELETE FROM signals WHERE tenant_id = $1 AND run_id = $2"), values![run]).await?;
    if let Some(session) = session {
        let sql = tenant_sql!(
            "UPDATE sessions SET active_run = NULL WHERE tenant_id = $1 AND id = $2 AND active_run = $3"
        );
        tx.execute(sql, values![session, run]).await?;
    }
    Ok(())
}

/// The run with this idempotency key, if the key was used with the same input.
async fn started_before(tx: &mut TenantTx<'_>, run: &RunRecord) -> Result<Option<RunId>> {
    let Some(key) = &run.idem_key else { return Ok(None) };
    let sql = tenant_sql!(
        "SELECT id, idem_hash FROM runs WHERE tenant_id = $1 AND agent_id = $2 AND idem_key = $3"
    );
    let Some(mut row) = tx.row(sql, values![run.agent, &**key]).await? else { return Ok(None) };
    let id = row.next()?;
    if row.next::<Option<[u8; 32]>>()? == run.idem_hash {
        Ok(Some(id))
    } else {
        let message = "the idempotency key was used with another input";
        Err(Error::new(ErrorKind::IdempotencyMismatch, message))
    }
}

async fn check_new_run(tx: &mut TenantTx<'_>, run: &RunRecord) -> Result<()> {
    if !agents::exists(tx, run.agent).await? {
        return Err(agents::missing());
    }
    if let Some(id) = run.session_id {
        let session = sessions::locked(tx, id).await?;
        if session.agent != run.agent {
            return Err(sessions::missing());
        }
        if session.active_run.is_some() {
            return Err(Error::conflict("the session has a turn under way"));
        }
    }
    let taken = tenant_sql!("SELECT 1 FROM runs WHERE tenant_id = $1 AND id = $2");
    if tx.exists(taken, values![run.id]).await? {
        return Err(Error::already_exists("the id of the run is taken"));
    }
    Ok(())
}

async fn create(tx: &mut TenantTx<'_>, tenant: TenantId, run: NewRun, all: Effects) -> Result<Created> {
    let NewRun { mut record, entries, payloads, worker, lease_until } = run;
    if let Some(existing) = started_before(tx, &record).await? {
        return Ok(Created::Existing(existing));
    }
    effects::guard(tx, &all).await?;
    check_new_run(tx, &record).await?;
    (record.tenant, record.seq, record.head) = (tenant, 0, ChainHash::START);
    let rows =
        chain(record.id, &record.salt, (&mut record.seq, &mut record.head), entries).flatten().collect();
    index::insert(tx, &record).await?;
    tx.multi(&JOURNAL, rows).await?;
    let rows = payloads.into_iter().flat_map(|payload| payload_row(record.id, payload)).collect();
    tx.multi(&PAYLOADS, rows).await?;
    let sql = tenant_sql!(
        "INSERT INTO run_leases (tenant_id, run_id, ready_at, lease_until, epoch, state_version, worker_id) \
         VALUES ($1, $2, $3, $4, 1, $5, $6)"
    );
    tx.execute(sql, values![record.id, tx.env.now(), lease_until, record.state_version, worker]).await?;
    if let Some(session) = record.session_id {
        let sql = tenant_sql!("UPDATE sessions SET active_run = $3 WHERE tenant_id = $1 AND id = $2");
        tx.execute(sql, values![session, record.id]).await?;
    }
    effects::apply(tx, all).await?;
    let fence = Fence { tenant, run: record.id, epoch: 1 };
    Ok(Created::New(Lease { fence, until: lease_until, run: record }))
}

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

/// Whether a run that was found is still free; if so nobody else takes it until the transaction ends. Workers do not
/// wait for each other: who comes second goes on to the next run.
async fn free(tx: &mut TenantTx<'_>, run: RunId, epoch: u64) -> Result<bool> {
    const SQL: &str = "SELECT 1 FROM run_leases WHERE tenant_id = $1 AND run_id = $2 AND epoch = $3";
    const LOCKED: &str =
        "SELECT 1 FROM run_leases WHERE tenant_id = $1 AND run_id = $2 AND epoch = $3 FOR UPDATE SKIP LOCKED";
    tx.exists(const { TenantSql::new(SQL, LOCKED) }, values![run, epoch]).await
}

/// Runs that may be taken up, in the order of their tenants' turns, with their epochs.
async fn ready(
    tx: &mut SystemTx<'_>,
    ask: &ClaimRequest,
    limit: usize,
) -> Result<Vec<(TenantId, RunId, u64)>> {
    if limit == 0 || ask.per_tenant == 0 {
        return Ok(Vec::new());
    }
    let now = tx.env.now();
    let tenants = turns(tx, ask, limit).await?;
    // Each of the others gets one.
    let most = limit.saturating_add(1).saturating_sub(tenants.len()).min(ask.per_tenant);
    let mut found = Vec::new();
    for (place, tenant) in tenants.into_iter().enumerate() {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = tx.tenant(tenant).rows(READY, values![now, ask.state_version, most]).await?;
        for (round, mut row) in rows.into_iter().enumerate() {
            found.push(((round, place), (tenant, row.next()?, row.next()?)));
        }
    }
    found.sort_unstable_by_key(|(turn, _)| *turn);
    Ok(found.into_iter().map(|(_, run)| run).take(limit).collect())
}

async fn claim(tx: &mut SystemTx<'_>, ask: ClaimRequest) -> Result<Vec<Lease>> {
    let now = tx.env.now();
    let mut leases: Vec<Lease> = Vec::new();
    // Where others claim at the same time they take some of what is found: look at more than are wanted.
    let spare = tx.conn.others_at_once();
    let mut wide = ask.clone();
    wide.per_tenant = ask.per_tenant.saturating_mul(spare);
    for (tenant, run, epoch) in ready(tx, &wide, ask.limit.saturating_mul(spare)).await? {
        if leases.len() == ask.limit {
            break;
        }
        if leases.iter().filter(|lease| lease.fence.tenant == tenant).count() == ask.per_tenant {
            continue;
        }
        let mut tx = tx.tenant(tenant);
        // Where several claims read at once, the run goes to the one that writes first.
        if !free(&mut tx, run, epoch).await? {
            continue;
        }
        let sql = tenant_sql!(
            "UPDATE run_leases SET epoch = epoch + 1, lease_until = $3, worker_id = $4 WHERE tenant_id = $1 \
             AND run_id = $2 AND epoch = $5 AND ready_at <= $6 AND (lease_until IS NULL OR lease_until <= $6)"
        );
        if tx.execute(sql, values![run, ask.until, ask.worker, epoch, now]).await? == 0 {
            continue;
        }
        let record = index::get(&mut tx, tenant, run).await?;
        let fence = Fence { tenant, run, epoch: epoch + 1 };
        leases.push(Lease { fence, until: ask.until, run: record });
    }
    Ok(leases)
}

async fn renew(tx: &mut TenantTx<'_>, fence: Fence, until: Timestamp) -> Result<Vec<(SignalId, Signal)>> {
    let sql = tenant_sql!(
        "UPDATE run_leases SET lease_until = $3 WHERE tenant_id = $1 AND run_id = $2 AND epoch = $4 \
         AND lease_until IS NOT NULL"
    );
    if tx.execute(sql, values![fence.run, until, fence.epoch]).await? == 0 {
        return Err(fenced());
    }
    let sql = tenant_sql!("SELECT id, body FROM signals WHERE tenant_id = $1 AND run_id = $2 ORDER BY pos");
    let rows = tx.rows(sql, values![fence.run]).await?;
    rows.into_iter().map(|mut row| Ok((row.next()?, row.json()?))).collect()
}

#[async_trait]
impl RunStore for SqlStore {
    async fn create(&self, ctx: &Context, run: NewRun, all: Effects) -> Result<Created> {
        let tenant = ctx.tenant();
        self.write(tenant, move |mut tx| Box::pin(async move { create(&mut tx, tenant, run, all).await }))
            .await
    }

    async fn claim(&self, ask: ClaimRequest) -> Result<Vec<Lease>> {
        // Workers ask often, and mostly there is nothing: asking takes no turn of the writer.
        let look = ask.clone();
        let some = self
            .read_system(move |mut tx| {
                Box::pin(async move { ready(&mut tx, &look, look.limit.min(1)).await })
            })
            .await?;
        if some.is_empty() {
            return Ok(Vec::new());
        }
        self.write_system(move |mut tx| Box::pin(async move { claim(&mut tx, ask).await })).await
    }

    async fn woken(&self) {
        self.ready.notified().await;
    }

    async fn renew(&self, fence: &Fence, until: Timestamp) -> Result<Vec<(SignalId, Signal)>> {
        let fence = *fence;
        self.write_held(fence.tenant, move |mut tx| {
            Box::pin(async move { renew(&mut tx, fence, until).await })
        })
        .await
    }

    async fn commit(&self, fence: &Fence, batch: JournalBatch, all: Effects) -> Result<u64> {
        let fence = *fence;
        #[cfg(feature = "store-sqlite")]
        if let Engine::Sqlite(lanes) = &self.engine
            && merge::mergeable(&batch, &all)
        {
            self.check_open()?;
            return lanes.merge(fence, batch, all).await;
        }
        let released = batch.patch.release.is_some();
        let committed = self
            .write_held(fence.tenant, move |mut tx| {
                Box::pin(async move { commit(&mut tx, fence, batch, all).await })
            })
            .await?;
        if released {
            self.ready.notify_waiters();
        }
        Ok(committed)
    }

    async fn begin(&self, fence: &Fence) -> Result<Box<dyn RunTx>> {
        let tx = run_tx::begin(self, *fence).await?;
        Ok(Box::new(tx))
    }
}
