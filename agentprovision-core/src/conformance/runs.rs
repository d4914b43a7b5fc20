//! The trials of [`RunStore`](crate::run::RunStore) on what is written; who may write is in `runs_claim`.

use futures_util::future::join_all;

use super::check::{Outcome, equal, holds, refused, some};
use super::records::payload;
use super::world::{World, naughty};
use crate::context::Context;
use crate::effect::{Effects, QuotaOp};
use crate::error::ErrorKind::{
    self, AlreadyExists, BudgetExceeded, Conflict, Fenced, IdempotencyMismatch, NotFound, TenantSuspended,
};
use crate::money::NanoUsd;
use crate::run::{
    ChainHash, Created, JournalBatch, JournalRow, NewRun, PayloadHash, RunPatch, RunQuery, RunRecord,
    RunStatus, RunTotals, SessionRecord, StepError, link,
};
use crate::tenant::TenantState;

super::suite! { "RunStore":
    a_run_is_kept_as_it_is,
    the_store_numbers_and_links_the_rows,
    a_run_needs_its_agent,
    a_run_needs_a_free_session_of_its_agent,
    a_taken_id_is_refused,
    a_key_gives_the_same_run_again,
    a_key_with_another_input_is_a_mismatch,
    a_key_is_unique_per_agent,
    a_batch_is_journaled,
    an_empty_batch_adds_no_row,
    absent_fields_of_a_patch_stay,
    a_payload_is_kept_once,
    bytes_are_kept_as_they_are,
    a_terminal_status_ends_the_run,
    commits_at_once_leave_no_gap,
    a_guard_comes_after_the_fence,
    effects_commit_with_the_change,
    a_refused_effect_leaves_nothing,
}

/// The record and the rows the store should have made of a new run.
pub(super) fn expected(run: &NewRun) -> (RunRecord, Vec<JournalRow>) {
    let mut record = run.record.clone();
    (record.seq, record.head) = (0, ChainHash::START);
    let rows = extend(&mut record, &run.entries);
    (record, rows)
}

/// The rows that follow in a journal.
pub(super) fn extend(record: &mut RunRecord, entries: &[Vec<u8>]) -> Vec<JournalRow> {
    let next = |body: &Vec<u8>| {
        record.seq += 1;
        record.head = link(&record.salt, &record.head, record.seq, body);
        JournalRow { seq: record.seq, body: body.clone(), hash: record.head }
    };
    entries.iter().map(next).collect()
}

/// Checks a run's record and journal, and that the journal verifies.
pub(super) async fn check_run(w: &World, ctx: &Context, record: &RunRecord, rows: &[JournalRow]) -> Outcome {
    let stored = w.stores.index.get(ctx, record.id).await?;
    equal("the run's record", &stored, record)?;
    let journal = w.stores.index.journal(ctx, record.id, 0, 1000).await?;
    equal("the journal", &journal.as_slice(), &rows)?;
    Ok(JournalRow::verify(&stored.salt, &journal, &stored.head)?)
}

async fn a_run_is_kept_as_it_is(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let first = w.run(&ctx, &agent).await?;
    for (n, text) in naughty().into_iter().enumerate() {
        let session = w.session(&ctx, &agent).await?;
        let mut run = w.new_run(&ctx, &agent);
        let record = &mut run.record;
        record.project_id = Some(w.env.id());
        record.session_id = Some(session.id);
        record.parent_run = Some(first.run.id);
        record.idem_key = Some(text.clone());
        record.idem_hash = Some(w.env.random());
        record.on_behalf_of = Some(text.clone());
        record.region = Some(text.clone());
        record.status = RunStatus::Waiting;
        record.totals = RunTotals {
            steps: u32::MAX,
            tool_calls: 2,
            input_tokens: u64::from(u32::MAX) + 1,
            output_tokens: 4,
            cost: NanoUsd::from_nanos(i64::MAX),
            unpriced: 6,
        };
        record.output = Some(PayloadHash::from_bytes(w.env.random()));
        record.error = Some(StepError { kind: ErrorKind::Uncertain, message: text });
        record.updated_at = w.after(n as u64);
        let (expected, rows) = expected(&run);
        let lease = w.start(&ctx, run.clone()).await?;
        equal("the lease's run", &lease.run, &expected)?;
        equal("the fence's run", &(lease.fence.tenant, lease.fence.run), &(ctx.tenant(), expected.id))?;
        equal("the first epoch", &lease.fence.epoch, &1)?;
        equal("the lease's end", &lease.until, &run.lease_until)?;
        check_run(&w, &ctx, &expected, &rows).await?;
    }
    Ok(())
}

async fn the_store_numbers_and_links_the_rows(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    for entries in [0, 1, 5] {
        let mut run = w.new_run(&ctx, &agent);
        run.entries = (0..entries).map(|n| format!("{{\"row\":{n}}}").into_bytes()).collect();
        // What the caller writes here does not count.
        (run.record.seq, run.record.head) = (99, ChainHash::from_bytes(w.env.random()));
        let (record, rows) = expected(&run);
        w.start(&ctx, run).await?;
        check_run(&w, &ctx, &record, &rows).await?;
    }
    Ok(())
}

async fn a_run_needs_its_agent(w: World) -> Outcome {
    let (ctx, other) = (w.tenant().await?, w.tenant().await?);
    let (agent, foreign) = (w.agent(&ctx).await?, w.agent(&other).await?);
    let taken = w.run(&ctx, &agent).await?.run.id;
    for (unknown, id) in [(w.env.id(), w.env.id()), (foreign.id, w.env.id()), (foreign.id, taken)] {
        let mut run = w.new_run(&ctx, &agent);
        (run.record.agent, run.record.id) = (unknown, id);
        let call = w.stores.runs.create(&ctx, run, w.effects(&ctx));
        w.refuses(&ctx, "an unknown agent", NotFound, call).await?;
    }
    Ok(())
}

async fn a_run_needs_a_free_session_of_its_agent(w: World) -> Outcome {
    let (ctx, other) = (w.tenant().await?, w.tenant().await?);
    let (agent, second, foreign) = (w.agent(&ctx).await?, w.agent(&ctx).await?, w.agent(&other).await?);
    let with = |session: SessionRecord| {
        let mut run = w.new_run(&ctx, &agent);
        run.record.session_id = Some(session.id);
        run
    };
    let unknown = w.new_session(&ctx, &agent);
    let (others, foreigns) = (w.session(&ctx, &second).await?, w.session(&other, &foreign).await?);
    for (what, session) in [("an unknown", unknown), ("another agent's", others), ("a foreign", foreigns)] {
        let call = w.stores.runs.create(&ctx, with(session), w.effects(&ctx));
        w.refuses(&ctx, &format!("{what} session"), NotFound, call).await?;
    }
    let busy = w.session(&ctx, &agent).await?;
    let turn = with(busy.clone());
    w.start(&ctx, turn.clone()).await?;
    let call = w.stores.runs.create(&ctx, with(busy), w.effects(&ctx));
    w.refuses(&ctx, "a session with a turn", Conflict, call).await?;
    let call = w.stores.runs.create(&ctx, turn, w.effects(&ctx));
    w.refuses(&ctx, "a session with a turn and a taken id", Conflict, call).await?;
    Ok(())
}

async fn a_taken_id_is_refused(w: World) -> Outcome {
    let (ctx, other) = (w.tenant().await?, w.tenant().await?);
    let (agent, foreign) = (w.agent(&ctx).await?, w.agent(&other).await?);
    let run = w.new_run(&ctx, &agent);
    w.start(&ctx, run.clone()).await?;
    let session = w.session(&ctx, &agent).await?;
    let mut again = run.clone();
    (again.record.session_id, again.record.idem_key) = (Some(session.id), Some("again".into()));
    again.payloads = vec![payload(&again.record.salt, b"again")];
    let call = w.stores.runs.create(&ctx, again, w.effects(&ctx));
    w.refuses(&ctx, "a taken id", AlreadyExists, call).await?;
    // Ids are taken within a tenant.
    let mut twin = w.new_run(&other, &foreign);
    twin.record.id = run.record.id;
    let (record, rows) = expected(&twin);
    w.start(&other, twin).await?;
    check_run(&w, &other, &record, &rows).await?;
    let (record, rows) = expected(&run);
    check_run(&w, &ctx, &record, &rows).await
}

/// A run with an idempotency key, and another one with the same key and input.
async fn keyed(w: &World, ctx: &Context) -> Result<(NewRun, NewRun), super::Failure> {
    let agent = w.agent(ctx).await?;
    let (mut one, mut two) = (w.new_run(ctx, &agent), w.new_run(ctx, &agent));
    for run in [&mut one, &mut two] {
        (run.record.idem_key, run.record.idem_hash) = (Some("once".into()), Some([7; 32]));
    }
    Ok((one, two))
}

async fn a_key_gives_the_same_run_again(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (one, two) = keyed(&w, &ctx).await?;
    let lease = w.start(&ctx, one.clone()).await?;
    // Neither a guard nor a budget nor a busy session has a say, since nothing is done.
    for (state, finished) in
        [(TenantState::Active, false), (TenantState::Suspended, false), (TenantState::Active, true)]
    {
        w.set_state(ctx.tenant(), state).await?;
        if finished {
            w.finish(&lease, RunStatus::Completed).await?;
        }
        let before = w.snapshot(&ctx).await?;
        for again in [&one, &two] {
            match w.stores.runs.create(&ctx, again.clone(), w.overdrawn(&ctx)).await? {
                Created::Existing(id) => equal("the run of the key", &id, &one.record.id)?,
                Created::New(lease) => return holds(&format!("{:?} was added", lease.fence), false),
            }
        }
        w.unchanged(&ctx, "a key that was used", &before).await?;
    }
    Ok(())
}

async fn a_key_with_another_input_is_a_mismatch(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (one, mut two) = keyed(&w, &ctx).await?;
    w.start(&ctx, one).await?;
    two.record.idem_hash = Some([8; 32]);
    let call = w.stores.runs.create(&ctx, two.clone(), w.effects(&ctx));
    w.refuses(&ctx, "another input", IdempotencyMismatch, call).await?;
    w.set_state(ctx.tenant(), TenantState::Suspended).await?;
    let call = w.stores.runs.create(&ctx, two, w.effects(&ctx));
    w.refuses(&ctx, "another input while suspended", IdempotencyMismatch, call).await?;
    Ok(())
}

async fn a_key_is_unique_per_agent(w: World) -> Outcome {
    let (ctx, other) = (w.tenant().await?, w.tenant().await?);
    let (one, mut two) = keyed(&w, &ctx).await?;
    w.start(&ctx, one.clone()).await?;
    let second = w.agent(&ctx).await?;
    two.record.agent = second.id;
    w.start(&ctx, two).await?;
    let (foreign, _) = keyed(&w, &other).await?;
    w.start(&other, foreign).await?;
    // Keys are told apart by their bytes.
    for key in ["Once", "once ", "on_e"] {
        let mut run = one.clone();
        (run.record.id, run.record.idem_key) = (w.env.id(), Some(key.into()));
        w.start(&ctx, run).await?;
    }
    // A refused run does not use up its key.
    let mut run = one.clone();
    (run.record.id, run.record.idem_key) = (w.env.id(), Some("refused".into()));
    let call = w.stores.runs.create(&ctx, run.clone(), w.overdrawn(&ctx));
    w.refuses(&ctx, "no room", BudgetExceeded, call).await?;
    run.record.idem_hash = Some([9; 32]);
    w.start(&ctx, run).await?;
    Ok(())
}

async fn a_batch_is_journaled(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let run = w.new_run(&ctx, &agent);
    let (mut record, mut rows) = expected(&run);
    let lease = w.start(&ctx, run).await?;
    for (round, text) in naughty().into_iter().enumerate() {
        w.tick();
        let entries: Vec<Vec<u8>> = (0..=round % 3)
            .map(|n| serde_json::json!({ "n": n, "text": text }).to_string().into_bytes())
            .collect();
        let batch = JournalBatch {
            entries: entries.clone(),
            patch: RunPatch {
                status: Some(if round % 2 == 0 { RunStatus::Waiting } else { RunStatus::Running }),
                totals: Some(RunTotals { steps: u32::try_from(round).unwrap_or(0), ..RunTotals::default() }),
                output: Some(PayloadHash::from_bytes(w.env.random())),
                error: Some(StepError { kind: ErrorKind::Cancelled, message: text }),
                release: None,
            },
            ..JournalBatch::default()
        };
        rows.extend(extend(&mut record, &entries));
        record.status = batch.patch.status.unwrap_or(record.status);
        record.totals = batch.patch.totals.unwrap_or(record.totals);
        (record.output, record.error) = (batch.patch.output, batch.patch.error.clone());
        record.updated_at = w.env.now();
        let last = w.stores.runs.commit(&lease.fence, batch, w.effects(&ctx)).await?;
        equal("the last row's number", &last, &record.seq)?;
        check_run(&w, &ctx, &record, &rows).await?;
    }
    Ok(())
}

async fn an_empty_batch_adds_no_row(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let run = w.new_run(&ctx, &agent);
    let (mut record, rows) = expected(&run);
    let lease = w.start(&ctx, run).await?;
    w.tick();
    let last = w.stores.runs.commit(&lease.fence, JournalBatch::default(), Effects::none()).await?;
    equal("the last row's number", &last, &1)?;
    record.updated_at = w.env.now();
    check_run(&w, &ctx, &record, &rows).await
}

async fn absent_fields_of_a_patch_stay(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let mut run = w.new_run(&ctx, &agent);
    run.record.status = RunStatus::Parked;
    run.record.totals = RunTotals { steps: 3, cost: NanoUsd::from_nanos(-5), ..RunTotals::default() };
    run.record.output = Some(PayloadHash::from_bytes([1; 32]));
    run.record.error = Some(StepError { kind: ErrorKind::Fenced, message: "kept".into() });
    let (mut record, rows) = expected(&run);
    let lease = w.start(&ctx, run).await?;
    w.tick();
    w.stores.runs.commit(&lease.fence, JournalBatch::default(), Effects::none()).await?;
    record.updated_at = w.env.now();
    check_run(&w, &ctx, &record, &rows).await
}

async fn a_payload_is_kept_once(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let mut run = w.new_run(&ctx, &agent);
    let salt = run.record.salt;
    let (first, second) = (payload(&salt, b"first"), payload(&salt, b"second"));
    run.payloads = vec![first.clone(), first.clone()];
    let lease = w.start(&ctx, run).await?;
    let payloads = vec![second.clone(), first.clone(), second.clone()];
    let batch = JournalBatch { payloads, ..JournalBatch::default() };
    w.stores.runs.commit(&lease.fence, batch, Effects::none()).await?;
    // A second content under the same name is not taken.
    let forged = crate::run::Payload { hash: first.hash, bytes: b"forged".to_vec() };
    let batch = JournalBatch { payloads: vec![forged], ..JournalBatch::default() };
    w.stores.runs.commit(&lease.fence, batch, Effects::none()).await?;
    let read = w.stores.index.payloads(&ctx, lease.run.id, &[second.hash, first.hash, second.hash]).await?;
    equal("the payloads", &read, &vec![second.bytes.clone(), first.bytes, second.bytes])
}

async fn bytes_are_kept_as_they_are(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let mut run = w.new_run(&ctx, &agent);
    let large: Vec<u8> = (0..1_000_000_u32).flat_map(|n| [n.to_le_bytes()[0], n.to_le_bytes()[1]]).collect();
    let all: Vec<u8> = (0..=255).collect();
    let contents = [all.clone(), Vec::new(), b"\0".to_vec(), b"\xff\xfe not UTF-8 \xc3".to_vec(), large];
    run.payloads = contents.iter().map(|bytes| payload(&run.record.salt, bytes)).collect();
    run.entries = vec![all, b"\0\0".to_vec(), vec![0xff; 100_000]];
    let (record, rows) = expected(&run);
    let hashes: Vec<_> = run.payloads.iter().map(|payload| payload.hash).collect();
    w.start(&ctx, run).await?;
    let read = w.stores.index.payloads(&ctx, record.id, &hashes).await?;
    holds("the payloads are what was written", read == contents)?;
    check_run(&w, &ctx, &record, &rows).await
}

async fn a_terminal_status_ends_the_run(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    for status in [RunStatus::Completed, RunStatus::Failed, RunStatus::Cancelled] {
        let run = w.new_run(&ctx, &agent);
        let (mut record, mut rows) = expected(&run);
        let lease = w.start(&ctx, run).await?;
        let signal = crate::run::Signal::Cancel { by: ctx.principal().user() };
        w.stores.index.signal(&ctx, record.id, w.env.id(), signal.clone(), Effects::none()).await?;
        w.tick();
        let entries = vec![b"{\"entry\":\"finished\"}".to_vec()];
        rows.extend(extend(&mut record, &entries));
        // A release beside the end says nothing.
        let patch = RunPatch {
            status: Some(status),
            release: Some(crate::run::Release::Ready),
            ..RunPatch::default()
        };
        let batch = JournalBatch { entries, patch, ..JournalBatch::default() };
        w.stores.runs.commit(&lease.fence, batch.clone(), w.effects(&ctx)).await?;
        (record.status, record.updated_at, record.finished_at) = (status, w.env.now(), Some(w.env.now()));
        check_run(&w, &ctx, &record, &rows).await?;
        w.tick();
        let call = w.stores.runs.commit(&lease.fence, batch, w.effects(&ctx));
        w.refuses(&ctx, "a commit after the end", Conflict, call).await?;
        let mut stale = lease.fence;
        stale.epoch = 9;
        let call = w.stores.runs.commit(&stale, JournalBatch::default(), w.effects(&ctx));
        w.refuses(&ctx, "another worker's commit after the end", Conflict, call).await?;
        refused("renew", w.stores.runs.renew(&lease.fence, w.after(60)).await, Fenced)?;
        refused("begin", w.stores.runs.begin(&lease.fence).await, Fenced)?;
        let call = w.stores.index.signal(&ctx, record.id, w.env.id(), signal, w.effects(&ctx));
        w.refuses(&ctx, "a signal after the end", Conflict, call).await?;
        w.pass(120);
        equal("claimed", &w.claim(10).await?.len(), &0)?;
    }
    Ok(())
}

async fn commits_at_once_leave_no_gap(w: World) -> Outcome {
    const COMMITS: u64 = 40;
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let leases = [w.run(&ctx, &agent).await?, w.run(&ctx, &agent).await?];
    let commits = (0..COMMITS).flat_map(|n| {
        let (stores, ctx, w) = (&w.stores, &ctx, &w);
        leases.iter().map(move |lease| {
            let batch =
                JournalBatch { entries: vec![n.to_string().into_bytes(); 2], ..JournalBatch::default() };
            let effects = Effects { audit: vec![w.record(ctx)], ..Effects::none() };
            stores.runs.commit(&lease.fence, batch, effects)
        })
    });
    let mut numbers = Vec::new();
    for result in join_all(commits).await {
        numbers.push(result?);
    }
    numbers.sort_unstable();
    let expected: Vec<u64> = (1..=COMMITS).flat_map(|n| [1 + 2 * n; 2]).collect();
    equal("the numbers", &numbers, &expected)?;
    for lease in &leases {
        let record = w.stores.index.get(&ctx, lease.run.id).await?;
        let rows = w.stores.index.journal(&ctx, lease.run.id, 0, 1000).await?;
        equal("rows", &(rows.len() as u64), &(1 + 2 * COMMITS))?;
        JournalRow::verify(&record.salt, &rows, &record.head)?;
    }
    equal("audit records", &w.stores.audit.checkpoint(&ctx).await?.size, &(2 * COMMITS))
}

async fn a_guard_comes_after_the_fence(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let lease = w.run(&ctx, &agent).await?;
    let new = w.new_run(&ctx, &agent);
    w.set_state(ctx.tenant(), TenantState::Suspended).await?;
    let call = w.stores.runs.commit(&lease.fence, JournalBatch::default(), w.overdrawn(&ctx));
    w.refuses(&ctx, "a guarded commit", TenantSuspended, call).await?;
    let mut stale = lease.fence;
    stale.epoch += 1;
    let call = w.stores.runs.commit(&stale, JournalBatch::default(), w.effects(&ctx));
    w.refuses(&ctx, "a guarded commit with a stale fence", Fenced, call).await?;
    let call = w.stores.runs.create(&ctx, new, w.overdrawn(&ctx));
    w.refuses(&ctx, "a guarded create", TenantSuspended, call).await?;
    // A worker may park a run of a suspended tenant.
    let patch = RunPatch { status: Some(RunStatus::Parked), ..RunPatch::default() };
    w.stores
        .runs
        .commit(&lease.fence, JournalBatch { patch, ..JournalBatch::default() }, Effects::none())
        .await?;
    Ok(())
}

async fn effects_commit_with_the_change(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let run = w.new_run(&ctx, &agent);
    let effects = w.effects(&ctx);
    let call = w.stores.runs.create(&ctx, run, effects.clone());
    let Created::New(lease) = w.applies(&ctx, "create", &effects, call).await? else {
        return holds("the run is new", false);
    };
    let effects = w.effects(&ctx);
    let call = w.stores.runs.commit(&lease.fence, JournalBatch::default(), effects.clone());
    w.applies(&ctx, "commit", &effects, call).await?;
    // What a run reserved is settled by the commit that ends it.
    let (key, id) = (World::overdrawn_budget(), w.env.id());
    w.stores.quota.define(&ctx, &key, Some(10)).await?;
    let reserve = Effects::none().quota(QuotaOp::Reserve(id, vec![(key.clone(), 10)]));
    w.stores.runs.commit(&lease.fence, JournalBatch::default(), reserve).await?;
    let settle = Effects::none().quota(QuotaOp::Settle(id, vec![(key.clone(), 4)]));
    let patch = RunPatch { status: Some(RunStatus::Completed), ..RunPatch::default() };
    w.stores.runs.commit(&lease.fence, JournalBatch { patch, ..JournalBatch::default() }, settle).await?;
    let state = some("the budget", w.stores.quota.state(&ctx, &key).await?)?;
    equal("spent and reserved", &(state.spent, state.reserved), &(4, 0))
}

async fn a_refused_effect_leaves_nothing(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let session = w.session(&ctx, &agent).await?;
    let mut run = w.new_run(&ctx, &agent);
    run.record.session_id = Some(session.id);
    let call = w.stores.runs.create(&ctx, run.clone(), w.overdrawn(&ctx));
    w.refuses(&ctx, "create", BudgetExceeded, call).await?;
    equal("runs", &w.stores.index.list(&ctx, RunQuery::default()).await?.items.len(), &0)?;
    w.pass(120);
    equal("claimed", &w.claim(10).await?.len(), &0)?;
    let lease = w.start(&ctx, run).await?;
    let signal = (w.env.id(), crate::run::Signal::Cancel { by: ctx.principal().user() });
    w.stores.index.signal(&ctx, lease.run.id, signal.0, signal.1.clone(), Effects::none()).await?;
    let new = payload(&lease.run.salt, b"never written");
    let batch = JournalBatch {
        entries: vec![b"never written".to_vec()],
        payloads: vec![new.clone()],
        consumed: vec![signal.0],
        patch: RunPatch { status: Some(RunStatus::Completed), ..RunPatch::default() },
    };
    let call = w.stores.runs.commit(&lease.fence, batch, w.overdrawn(&ctx));
    w.refuses(&ctx, "commit", BudgetExceeded, call).await?;
    refused("the payload", w.stores.index.payloads(&ctx, lease.run.id, &[new.hash]).await, NotFound)?;
    // Lease and signal are as they were.
    let signals = w.stores.runs.renew(&lease.fence, w.after(60)).await?;
    equal("the signals", &signals, &vec![signal])
}
