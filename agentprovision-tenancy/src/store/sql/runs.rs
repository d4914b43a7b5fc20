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

use super::conn::TenantTx;
use super::landing::Landing;
use super::multi::{JOURNAL, PAYLOADS};
use super::value::{Value, tenant_sql, to_json, values};
#[cfg(feature = "store-sqlite")]
use super::{Engine, merge};
use super::{SqlStore, agents, claims, effects, index, run_tx, sessions};

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
    mut all: Effects,
) -> Result<u64> {
    let mut run = writable(tx, &fence).await?;
    effects::guard(tx, &all).await?;
    let now = tx.env.now();
    let JournalBatch { entries, payloads, consumed, patch } = batch;
    let journal = chain(fence.run, &run.salt, (&mut run.seq, &mut run.head), entries).flatten().collect();
    let over = patch.status.is_some_and(RunStatus::is_terminal);
    let moved = values![
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
    let payloads = payloads.into_iter().flat_map(|payload| payload_row(fence.run, payload)).collect();
    let usage = std::mem::take(&mut all.usage).into_iter().flat_map(effects::usage_row).collect();
    Landing { moved, journal, payloads, usage }.write(tx).await?;
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
        claims::claim(self, ask).await
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
            return lanes.merge(merge::Commit { fence, batch, effects: all }).await;
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
