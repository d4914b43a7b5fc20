//! [`RunStore`] and [`RunIndex`] in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::{MemoryDb, TenantData, in_turn, page, slice};
use crate::clock::Timestamp;
use crate::context::Context;
use crate::effect::Effects;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{RunId, SignalId, TenantId};
use crate::page::{Cursor, Page};
use crate::run::{
    ChainHash, ClaimRequest, Created, Fence, JournalBatch, JournalRow, Lease, NewRun, Payload, PayloadHash,
    Release, RunIndex, RunQuery, RunRecord, RunStore, RunTx, Signal, link, payload_hash,
};
use crate::tool::{SqlTx, SqlValue, TxHandle};

pub(super) struct Run {
    pub(super) record: RunRecord,
    rows: Vec<JournalRow>,
    payloads: BTreeMap<PayloadHash, Vec<u8>>,
    signals: Vec<(SignalId, Signal)>,
}

/// The lease of a run that is not over.
///
/// A worker holds the run from the claim that gave it its epoch until it releases the run or somebody else claims it;
/// that the time is over only allows the latter.
pub(super) struct LeaseRow {
    epoch: u64,
    /// Until when it is held; nobody holds it where absent.
    until: Option<Timestamp>,
    /// From when on it may be taken up; its deadline while it waits for a signal.
    ready_at: Timestamp,
}

impl Run {
    /// Keeps payloads; one that is there already is left as it is.
    fn keep(&mut self, payloads: Vec<Payload>) {
        for Payload { hash, bytes } in payloads {
            self.payloads.entry(hash).or_insert(bytes);
        }
    }
}

/// Numbers and links the next rows of a journal, and moves the record on to them.
fn journal(record: &mut RunRecord, entries: Vec<Vec<u8>>) -> Vec<JournalRow> {
    let row = |body: Vec<u8>| {
        record.seq += 1;
        record.head = link(&record.salt, &record.head, record.seq, &body);
        JournalRow { seq: record.seq, body, hash: record.head }
    };
    entries.into_iter().map(row).collect()
}

impl TenantData {
    fn run(&self, id: RunId) -> Result<&Run> {
        self.runs.get(&id).ok_or_else(|| Error::not_found("no such run"))
    }

    /// The run with this idempotency key, if the key was used with the same input.
    fn started_before(&self, run: &RunRecord) -> Result<Option<RunId>> {
        let Some(key) = &run.idem_key else { return Ok(None) };
        let Some(id) = self.started.get(&(run.agent, key.clone())) else { return Ok(None) };
        if self.run(*id)?.record.idem_hash != run.idem_hash {
            let message = "the idempotency key was used with another input";
            return Err(Error::new(ErrorKind::IdempotencyMismatch, message));
        }
        Ok(Some(*id))
    }

    fn check_new_run(&self, run: &RunRecord) -> Result<()> {
        self.agent(run.agent)?;
        if let Some(id) = run.session_id {
            let session = self.session(id)?;
            if session.agent != run.agent {
                return Err(Error::not_found("no such session of the agent"));
            }
            if session.active_run.is_some() {
                return Err(Error::conflict("the session has a turn under way"));
            }
        }
        if self.runs.contains_key(&run.id) {
            return Err(Error::already_exists("the run exists"));
        }
        Ok(())
    }

    /// The run, if the fence's worker holds it.
    fn held(&self, fence: &Fence) -> Result<&Run> {
        let holds = |lease: &LeaseRow| lease.epoch == fence.epoch && lease.until.is_some();
        if !self.leases.get(&fence.run).is_some_and(holds) {
            return Err(Error::fenced("the run is not held by this worker any more"));
        }
        self.run(fence.run)
    }

    /// As [`TenantData::held`], but `conflict` when the run is over.
    fn writable(&self, fence: &Fence) -> Result<&Run> {
        if self.runs.get(&fence.run).is_some_and(|run| run.record.status.is_terminal()) {
            return Err(Error::conflict("the run is over"));
        }
        self.held(fence)
    }

    /// Gives a run to a worker, with a new epoch.
    fn take_up(&mut self, tenant: TenantId, id: RunId, until: Timestamp) -> Option<Lease> {
        let run = self.runs.get(&id)?.record.clone();
        let lease = self.leases.get_mut(&id)?;
        lease.epoch += 1;
        lease.until = Some(until);
        Some(Lease { fence: Fence { tenant, run: id, epoch: lease.epoch }, until, run })
    }

    /// Ends the lease of a run that is over, its signals and the turn of its session.
    fn finish(&mut self, run: &RunRecord) {
        self.leases.remove(&run.id);
        if let Some(stored) = self.runs.get_mut(&run.id) {
            stored.signals.clear();
        }
        if let Some(session) = run.session_id.and_then(|id| self.sessions.get_mut(&id))
            && session.active_run == Some(run.id)
        {
            session.active_run = None;
        }
    }
}

impl MemoryDb {
    fn commit_batch(&self, fence: &Fence, batch: JournalBatch, effects: Effects) -> Result<u64> {
        let released = batch.patch.release.is_some();
        let mut state = self.open()?;
        let now = self.env.now();
        let mut record = state.of(fence.tenant).writable(fence)?.record.clone();
        let seq = state.change_in(fence.tenant, effects, |_| {
            let JournalBatch { entries, payloads, consumed, patch } = batch;
            let rows = journal(&mut record, entries);
            record.updated_at = now;
            record.status = patch.status.unwrap_or(record.status);
            record.totals = patch.totals.unwrap_or(record.totals);
            record.output = patch.output.or(record.output);
            record.error = patch.error.or(record.error);
            if record.status.is_terminal() {
                record.finished_at = Some(now);
            }
            Ok(move |data: &mut TenantData| {
                let seq = record.seq;
                let mut waits = false;
                if let Some(run) = data.runs.get_mut(&record.id) {
                    run.record = record.clone();
                    run.rows.extend(rows);
                    run.keep(payloads);
                    run.signals.retain(|(id, _)| !consumed.contains(id));
                    waits = !run.signals.is_empty();
                }
                if record.status.is_terminal() {
                    data.finish(&record);
                } else if let (Some(release), Some(lease)) = (patch.release, data.leases.get_mut(&record.id))
                {
                    lease.until = None;
                    let ready = release == Release::Ready || waits;
                    lease.ready_at = if ready { now } else { record.deadline };
                }
                seq
            })
        })?;
        if released {
            self.ready.notify_waiters();
        }
        Ok(seq)
    }
}

#[async_trait]
impl RunStore for MemoryDb {
    async fn create(&self, ctx: &Context, run: NewRun, effects: Effects) -> Result<Created> {
        let tenant = ctx.tenant();
        let mut state = self.open()?;
        let now = self.env.now();
        let NewRun { mut record, entries, payloads, worker: _, lease_until } = run;
        if let Some(existing) = state.of(tenant).started_before(&record)? {
            return Ok(Created::Existing(existing));
        }
        let held = lease_until > now;
        let created = state.change_in(tenant, effects, |data| {
            data.check_new_run(&record)?;
            record.tenant = tenant;
            record.seq = 0;
            record.head = ChainHash::START;
            let rows = journal(&mut record, entries);
            Ok(move |data: &mut TenantData| {
                let id = record.id;
                if let Some(key) = &record.idem_key {
                    data.started.insert((record.agent, key.clone()), id);
                }
                if let Some(session) = record.session_id.and_then(|id| data.sessions.get_mut(&id)) {
                    session.active_run = Some(id);
                }
                let mut run =
                    Run { record: record.clone(), rows, payloads: BTreeMap::new(), signals: Vec::new() };
                run.keep(payloads);
                data.runs.insert(id, run);
                data.leases.insert(id, LeaseRow { epoch: 1, until: Some(lease_until), ready_at: now });
                Created::New(Lease {
                    fence: Fence { tenant, run: id, epoch: 1 },
                    until: lease_until,
                    run: record,
                })
            })
        })?;
        if !held {
            self.ready.notify_waiters();
        }
        Ok(created)
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Lease>> {
        let ClaimRequest { worker: _, until, limit, state_version, after, per_tenant, full } = request;
        let mut state = self.open()?;
        let now = self.env.now();
        let mut queues = Vec::new();
        for (tenant, data) in &state.data {
            if !state.is_active(*tenant) || full.contains(tenant) {
                continue;
            }
            let mut ready = Vec::new();
            for (run, lease) in &data.leases {
                let free = lease.until.is_none_or(|until| until <= now);
                let known = data.run(*run)?.record.state_version <= state_version;
                if lease.ready_at <= now && free && known {
                    ready.push((lease.ready_at, *run));
                }
            }
            queues.push((*tenant, ready));
        }
        let turns = in_turn(queues.into_iter(), after, per_tenant, limit);
        Ok(turns.filter_map(|(tenant, (_, run))| state.of_mut(tenant).take_up(tenant, run, until)).collect())
    }

    async fn woken(&self) {
        self.ready.notified().await;
    }

    async fn renew(&self, fence: &Fence, until: Timestamp) -> Result<Vec<(SignalId, Signal)>> {
        let mut state = self.open()?;
        let signals = state.of(fence.tenant).held(fence)?.signals.clone();
        if let Some(lease) = state.of_mut(fence.tenant).leases.get_mut(&fence.run) {
            lease.until = Some(until);
        }
        Ok(signals)
    }

    async fn commit(&self, fence: &Fence, batch: JournalBatch, effects: Effects) -> Result<u64> {
        self.commit_batch(fence, batch, effects)
    }

    async fn begin(&self, fence: &Fence) -> Result<Box<dyn RunTx>> {
        self.open()?.of(fence.tenant).held(fence)?;
        Ok(Box::new(MemoryTx { db: self.clone(), fence: *fence, sql: Arc::default() }))
    }
}

/// A transaction without statements: all it can write is the batch it is committed with.
#[derive(Debug)]
struct MemoryTx {
    db: MemoryDb,
    fence: Fence,
    sql: Arc<NoSql>,
}

#[async_trait]
impl RunTx for MemoryTx {
    fn handle(&self) -> TxHandle {
        TxHandle::new(self.sql.clone())
    }

    async fn commit(self: Box<Self>, batch: JournalBatch, effects: Effects) -> Result<u64> {
        self.db.commit_batch(&self.fence, batch, effects)
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Drop for MemoryTx {
    fn drop(&mut self) {
        self.sql.ended.store(true, Ordering::Release);
    }
}

#[derive(Debug, Default)]
struct NoSql {
    ended: AtomicBool,
}

impl NoSql {
    fn refusal(&self) -> Error {
        if self.ended.load(Ordering::Acquire) {
            Error::closed("the step has ended")
        } else {
            Error::unsupported("the store in memory has no SQL")
        }
    }
}

#[async_trait]
impl SqlTx for NoSql {
    async fn execute(&self, _: &str, _: &[SqlValue]) -> Result<u64> {
        Err(self.refusal())
    }

    async fn query(&self, _: &str, _: &[SqlValue]) -> Result<Vec<Vec<SqlValue>>> {
        Err(self.refusal())
    }
}

#[async_trait]
impl RunIndex for MemoryDb {
    async fn get(&self, ctx: &Context, run: RunId) -> Result<RunRecord> {
        Ok(self.open()?.of(ctx.tenant()).run(run)?.record.clone())
    }

    async fn list(&self, ctx: &Context, query: RunQuery) -> Result<Page<RunRecord>> {
        let state = self.open()?;
        let wanted = |run: &&RunRecord| {
            query.agent.is_none_or(|agent| run.agent == agent)
                && query.session.is_none_or(|session| run.session_id == Some(session))
                && query.status.is_none_or(|status| run.status == status)
                && (query.idem_key.is_none() || run.idem_key == query.idem_key)
        };
        let records = state.of(ctx.tenant()).runs.values().map(|run| &run.record).filter(wanted);
        page(records, query.page, |run| Cursor { created: run.created_at, id: run.id.uuid() })
    }

    async fn journal(&self, ctx: &Context, run: RunId, after: u64, limit: u32) -> Result<Vec<JournalRow>> {
        let state = self.open()?;
        let rows = &state.of(ctx.tenant()).run(run)?.rows;
        Ok(slice(rows, after, limit).map(|(_, row)| row.clone()).collect())
    }

    async fn payloads(&self, ctx: &Context, run: RunId, hashes: &[PayloadHash]) -> Result<Vec<Vec<u8>>> {
        let state = self.open()?;
        let run = state.of(ctx.tenant()).run(run)?;
        let payload = |hash: &PayloadHash| {
            let bytes =
                run.payloads.get(hash).ok_or_else(|| Error::not_found("no such payload of the run"))?;
            if payload_hash(&run.record.salt, bytes) != *hash {
                return Err(Error::corrupt("a payload does not have its name"));
            }
            Ok(bytes.clone())
        };
        hashes.iter().map(payload).collect()
    }

    async fn signal(
        &self,
        ctx: &Context,
        run: RunId,
        id: SignalId,
        signal: Signal,
        effects: Effects,
    ) -> Result<()> {
        let mut state = self.open()?;
        let now = self.env.now();
        let known = |run: &Run| run.signals.iter().any(|(known, _)| *known == id);
        if state.of(ctx.tenant()).runs.get(&run).is_some_and(known) {
            return Ok(());
        }
        state.change_in(ctx.tenant(), effects, |data| {
            if data.run(run)?.record.status.is_terminal() {
                return Err(Error::conflict("the run is over"));
            }
            Ok(move |data: &mut TenantData| {
                if let Some(run) = data.runs.get_mut(&run) {
                    run.signals.push((id, signal));
                }
                if let Some(lease) = data.leases.get_mut(&run) {
                    lease.ready_at = lease.ready_at.min(now);
                }
            })
        })?;
        self.ready.notify_waiters();
        Ok(())
    }
}
