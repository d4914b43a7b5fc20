//! Commits of many runs in few statements.
//!
//! A commit that only adds rows (journal, payloads, usage, audit, events) and moves its run's record on is *mergeable*.
//! The writer takes those that wait together: one statement reads where all their runs stand, links are made here, and
//! each table gets its rows in one statement. A commit that is refused is left out; the others are not touched by it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use agentprovision_core::effect::{Effects, Guard};
use agentprovision_core::id::{RunId, TenantId};
use agentprovision_core::run::{ChainHash, Fence, JournalBatch, RunPatch, RunStatus, Salt};
use agentprovision_core::tenant::TenantState;
use agentprovision_core::{Error, Result, Timestamp};

use super::conn::SystemTx;
use super::multi::{AUDIT_PENDING, JOURNAL, Multi, OUTBOX, PAYLOADS, USAGE};
use super::value::{Value, to_json, values};
use super::writer::Merge;
use super::{effects, runs, tenants};

/// Where runs stand, by tenant and id.
pub(super) static STANDING: Multi = Multi::new(
    "WITH wanted (tenant_id, run_id) AS (VALUES ",
    2,
    ") SELECT r.tenant_id, r.id, r.status, l.epoch, l.lease_until, r.salt, r.seq, r.head \
     FROM wanted w CROSS JOIN runs r ON r.tenant_id = w.tenant_id AND r.id = w.run_id \
     LEFT JOIN run_leases l ON l.tenant_id = r.tenant_id AND l.run_id = r.id",
);

/// Moves the records of runs on; an absent value leaves a column as it is. The plus signs keep the planner from going
/// through all runs with an index over the given rows.
pub(super) static MOVE: Multi = Multi::new(
    "WITH moved (tenant_id, run_id, seq, head, updated_at, status, totals, output, error) AS (VALUES ",
    9,
    ") UPDATE runs SET seq = m.seq, head = m.head, updated_at = m.updated_at, status = coalesce(m.status, runs.status), \
     totals = coalesce(m.totals, runs.totals), output = coalesce(m.output, runs.output), \
     error = coalesce(m.error, runs.error) FROM moved m WHERE runs.tenant_id = +m.tenant_id AND runs.id = +m.run_id",
);

/// A commit that waits for the writer.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) fence: Fence,
    pub(super) batch: JournalBatch,
    pub(super) effects: Effects,
}

/// Whether a commit may be merged with others.
pub(super) fn mergeable(batch: &JournalBatch, all: &Effects) -> bool {
    let JournalBatch { patch: RunPatch { status, release, .. }, consumed, .. } = batch;
    let plain = release.is_none() && consumed.is_empty() && !status.is_some_and(RunStatus::is_terminal);
    plain && all.quota.is_empty() && all.guards.iter().all(|guard| *guard == Guard::TenantActive)
}

impl Merge for Commit {
    type Answer = u64;

    fn rows(&self) -> usize {
        let Effects { audit, usage, events, .. } = &self.effects;
        1 + self.batch.entries.len() + self.batch.payloads.len() + audit.len() + usage.len() + events.len()
    }

    async fn write(tx: &mut SystemTx<'_>, commits: &[Self]) -> Result<Vec<Result<u64>>> {
        let mut runs = standing(tx, commits).await?;
        let states = states(tx, commits).await?;
        let mut rows = Rows::default();
        let mut results = Vec::with_capacity(commits.len());
        for commit in commits {
            results.push(add(commit, &mut runs, &states, &mut rows));
        }
        let now = tx.env.now();
        JOURNAL.execute(tx.conn, rows.journal).await?;
        PAYLOADS.execute(tx.conn, rows.payloads).await?;
        let mut moved = Vec::new();
        for ((tenant, id), run) in runs.into_iter().filter(|(_, run)| run.moved) {
            let RunPatch { status, totals, output, error, release: _ } = run.patch;
            let totals = totals.as_ref().map(to_json).transpose()?;
            let error = error.as_ref().map(to_json).transpose()?;
            let status = status.map(RunStatus::name);
            moved.extend(values![tenant, id, run.seq, run.head, now, status, totals, output, error]);
        }
        MOVE.execute(tx.conn, moved).await?;
        AUDIT_PENDING.execute(tx.conn, rows.audit).await?;
        USAGE.execute(tx.conn, rows.usage).await?;
        OUTBOX.execute(tx.conn, rows.outbox).await?;
        Ok(results)
    }
}

struct Run {
    status: RunStatus,
    epoch: Option<u64>,
    until: Option<Timestamp>,
    salt: Salt,
    seq: u64,
    head: ChainHash,
    patch: RunPatch,
    moved: bool,
}

/// What is written, as the values of each table's rows.
#[derive(Default)]
struct Rows {
    journal: Vec<Value>,
    payloads: Vec<Value>,
    usage: Vec<Value>,
    audit: Vec<Value>,
    outbox: Vec<Value>,
}

type Runs = HashMap<(TenantId, RunId), Run>;
type States = HashMap<TenantId, Option<TenantState>>;

async fn standing(tx: &mut SystemTx<'_>, commits: &[Commit]) -> Result<Runs> {
    let mut wanted: Vec<(TenantId, RunId)> =
        commits.iter().map(|commit| (commit.fence.tenant, commit.fence.run)).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let wanted = wanted.into_iter().flat_map(|(tenant, run)| values![tenant, run]).collect();
    let mut runs = HashMap::new();
    for mut row in STANDING.rows(tx.conn, wanted).await? {
        let key = (row.next()?, row.next()?);
        let run = Run {
            status: super::index::status(&mut row)?,
            epoch: row.next()?,
            until: row.next()?,
            salt: row.next()?,
            seq: row.next()?,
            head: row.next()?,
            patch: RunPatch::default(),
            moved: false,
        };
        runs.insert(key, run);
    }
    Ok(runs)
}

async fn states(tx: &mut SystemTx<'_>, commits: &[Commit]) -> Result<States> {
    let mut states = HashMap::new();
    for commit in commits.iter().filter(|commit| !commit.effects.guards.is_empty()) {
        let tenant = commit.fence.tenant;
        if let Entry::Vacant(unknown) = states.entry(tenant) {
            unknown.insert(tenants::state(&mut tx.tenant(tenant)).await?);
        }
    }
    Ok(states)
}

/// Adds the rows of a commit, or refuses it and adds nothing.
fn add(commit: &Commit, runs: &mut Runs, states: &States, rows: &mut Rows) -> Result<u64> {
    let Commit { fence, batch, effects: all } = commit;
    let tenant = fence.tenant;
    let run = runs.get_mut(&(tenant, fence.run)).ok_or_else(runs::fenced)?;
    if run.status.is_terminal() {
        return Err(runs::over());
    }
    if run.epoch != Some(fence.epoch) || run.until.is_none() {
        return Err(runs::fenced());
    }
    for guard in &all.guards {
        match guard {
            Guard::TenantActive => effects::active(states.get(&tenant).copied().flatten())?,
            other => return Err(effects::unknown(other)),
        }
    }
    // What can fail comes first.
    let audit = all.audit.iter().map(|record| record.to_bytes()).collect::<Result<Vec<_>, Error>>()?;
    let events = all.events.iter().map(effects::event_row).collect::<Result<Vec<_>>>()?;
    let in_tenant = |rest: Vec<Value>| std::iter::once(Value::from(tenant)).chain(rest);
    let head = (&mut run.seq, &mut run.head);
    rows.journal.extend(runs::chain(fence.run, &run.salt, head, batch.entries.clone()).flat_map(in_tenant));
    let payloads = batch.payloads.iter().cloned();
    rows.payloads.extend(payloads.flat_map(|payload| in_tenant(runs::payload_row(fence.run, payload))));
    rows.usage.extend(all.usage.iter().cloned().flat_map(|event| in_tenant(effects::usage_row(event))));
    rows.audit.extend(audit.into_iter().flat_map(|bytes| values![tenant, bytes]));
    rows.outbox.extend(events.into_iter().flat_map(|event| in_tenant(vec![event])));
    let RunPatch { status, totals, output, error, release: _ } = batch.patch.clone();
    run.status = status.unwrap_or(run.status);
    run.patch = RunPatch {
        status: status.or(run.patch.status),
        totals: totals.or(run.patch.totals),
        output: output.or(run.patch.output),
        error: error.or(run.patch.error.take()),
        release: None,
    };
    run.moved = true;
    Ok(run.seq)
}
