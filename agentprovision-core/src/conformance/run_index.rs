//! The trials of [`RunIndex`](crate::run::RunIndex).

use super::check::{Checked, Failure, Outcome, equal, holds, refused};
use super::records::{INSERTED, TIMES, at, payload};
use super::world::{World, check_pages};
use crate::context::Context;
use crate::effect::Effects;
use crate::error::ErrorKind::{BudgetExceeded, Conflict, Corrupt, NotFound, TenantSuspended};
use crate::id::{RunId, SessionId};
use crate::page::Cursor;
use crate::run::{JournalBatch, Payload, PayloadHash, RunQuery, RunRecord, RunStatus, Signal};
use crate::tenant::TenantState;

super::suite! { "RunIndex":
    a_list_is_ordered_and_paged,
    a_list_is_filtered_before_it_is_paged,
    a_journal_is_read_from_any_row,
    payloads_come_in_the_order_of_their_names,
    a_damaged_payload_is_corrupt,
    a_payload_belongs_to_its_run,
    a_signal_of_a_known_id_does_nothing,
    a_signal_is_kept_as_it_is,
    a_signal_to_a_finished_run_is_refused,
    a_foreign_run_is_not_found,
    guards_come_before_everything_else,
    effects_commit_with_the_change,
    a_refused_effect_leaves_nothing,
}

fn position(run: &RunRecord) -> Cursor {
    Cursor { created: run.created_at, id: run.id.uuid() }
}

struct Listed {
    ctx: Context,
    runs: Vec<RunRecord>,
    session: SessionId,
}

/// Seven runs of two agents, one of them a turn, one over; and one run of another tenant.
async fn listed(w: &World) -> Checked<Listed> {
    let (ctx, other) = (w.tenant().await?, w.tenant().await?);
    let foreign = w.agent(&other).await?;
    w.run(&other, &foreign).await?;
    let agents = [w.agent(&ctx).await?, w.agent(&ctx).await?];
    let session = w.session(&ctx, &agents[0]).await?;
    let start = w.env.now();
    let made = TIMES.map(|millis| {
        let agent = if millis == 5 { &agents[0] } else { &agents[1] };
        let mut run = w.new_run(&ctx, agent);
        run.record.created_at = at(start, millis);
        run
    });
    for index in INSERTED {
        let Some(mut run) = made.get(index).cloned() else { continue };
        if index == 2 {
            run.record.session_id = Some(session.id);
        }
        let lease = w.start(&ctx, run).await?;
        if index % 3 == 0 {
            w.finish(&lease, RunStatus::Cancelled).await?;
        }
    }
    let mut runs = Vec::new();
    for run in made {
        runs.push(w.stores.index.get(&ctx, run.record.id).await?);
    }
    runs.sort_by_key(|run| (run.created_at, run.id));
    Ok(Listed { ctx, runs, session: session.id })
}

async fn check_list(w: &World, listed: &Listed, what: &str, query: RunQuery) -> Outcome {
    let wanted = |run: &&RunRecord| {
        query.agent.is_none_or(|agent| agent == run.agent)
            && query.session.is_none_or(|session| Some(session) == run.session_id)
            && query.status.is_none_or(|status| status == run.status)
            && (query.idem_key.is_none() || query.idem_key == run.idem_key)
    };
    let ids: Vec<RunId> = listed.runs.iter().filter(wanted).map(|run| run.id).collect();
    let list = |page| w.stores.index.list(&listed.ctx, RunQuery { page, ..query.clone() });
    check_pages(what, &ids, |run| run.id, position, list).await
}

async fn a_list_is_ordered_and_paged(w: World) -> Outcome {
    let listed = listed(&w).await?;
    check_list(&w, &listed, "runs", RunQuery::default()).await?;
    let all = w.stores.index.list(&listed.ctx, RunQuery::default()).await?;
    equal("the records", &all.items, &listed.runs)
}

async fn a_list_is_filtered_before_it_is_paged(w: World) -> Outcome {
    let listed = listed(&w).await?;
    let agent = listed.runs.first().map(|run| run.agent);
    let session = Some(listed.session);
    for status in [None, Some(RunStatus::Running), Some(RunStatus::Cancelled), Some(RunStatus::Failed)] {
        let query = RunQuery { status, ..RunQuery::default() };
        check_list(&w, &listed, "by status", query.clone()).await?;
        check_list(&w, &listed, "by agent", RunQuery { agent, ..query.clone() }).await?;
        check_list(&w, &listed, "by session", RunQuery { session, ..query.clone() }).await?;
        check_list(&w, &listed, "by all", RunQuery { agent, session, ..query }).await?;
    }
    for run in &listed.runs {
        let by_key = RunQuery { idem_key: run.idem_key.clone(), ..RunQuery::default() };
        check_list(&w, &listed, "by key", by_key.clone()).await?;
        check_list(&w, &listed, "by key and session", RunQuery { session, ..by_key }).await?;
    }
    let unused = RunQuery { idem_key: Some("unused".into()), ..RunQuery::default() };
    check_list(&w, &listed, "by an unused key", unused).await?;
    let nobody = RunQuery { agent: Some(w.env.id()), ..RunQuery::default() };
    check_list(&w, &listed, "by an unknown agent", nobody).await
}

async fn a_journal_is_read_from_any_row(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let mut run = w.new_run(&ctx, &agent);
    run.entries = (0..9).map(|n| format!("{n}").into_bytes()).collect();
    let (record, rows) = super::runs::expected(&run);
    w.start(&ctx, run).await?;
    for (after, limit) in [(0, 9), (0, 1), (0, 0), (3, 2), (8, 10), (9, 10), (1000, 1)] {
        let read = w.stores.index.journal(&ctx, record.id, after, limit).await?;
        let from = usize::try_from(after).unwrap_or(usize::MAX);
        let expected: Vec<_> = rows.iter().skip(from).take(limit as usize).cloned().collect();
        equal(&format!("{limit} rows after {after}"), &read, &expected)?;
    }
    Ok(())
}

async fn payloads_come_in_the_order_of_their_names(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let mut run = w.new_run(&ctx, &agent);
    run.payloads = (0..20_u8).map(|n| payload(&run.record.salt, &[n])).collect();
    let mut wanted = run.payloads.clone();
    let id = run.record.id;
    w.start(&ctx, run).await?;
    for _ in 0..3 {
        wanted.rotate_left(7);
        wanted.reverse();
        let hashes: Vec<_> = wanted.iter().map(|payload| payload.hash).collect();
        let expected: Vec<_> = wanted.iter().map(|payload| payload.bytes.clone()).collect();
        equal("the payloads", &w.stores.index.payloads(&ctx, id, &hashes).await?, &expected)?;
    }
    equal("no payloads", &w.stores.index.payloads(&ctx, id, &[]).await?, &Vec::new())?;
    let mut hashes: Vec<_> = wanted.iter().map(|payload| payload.hash).collect();
    hashes.push(PayloadHash::from_bytes([0; 32]));
    refused("one unknown name", w.stores.index.payloads(&ctx, id, &hashes).await, NotFound)?;
    refused("an unknown run", w.stores.index.payloads(&ctx, w.env.id(), &[]).await, NotFound)?;
    Ok(())
}

async fn a_damaged_payload_is_corrupt(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let lease = w.run(&ctx, &agent).await?;
    let whole = payload(&lease.run.salt, b"whole");
    let damaged = Payload { bytes: b"damaged".to_vec(), ..payload(&lease.run.salt, b"as it was") };
    let names = [whole.hash, damaged.hash];
    let batch = JournalBatch { payloads: vec![whole.clone(), damaged], ..JournalBatch::default() };
    w.stores.runs.commit(&lease.fence, batch, Effects::none()).await?;
    let read = w.stores.index.payloads(&ctx, lease.run.id, &names).await;
    refused("one damaged payload", read, Corrupt)?;
    let read = w.stores.index.payloads(&ctx, lease.run.id, &[whole.hash]).await?;
    equal("the other one", &read, &vec![whole.bytes])
}

async fn a_payload_belongs_to_its_run(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let (mut one, two) = (w.new_run(&ctx, &agent), w.new_run(&ctx, &agent));
    one.payloads = vec![payload(&one.record.salt, b"mine")];
    let names: Vec<_> = one.payloads.iter().map(|payload| payload.hash).collect();
    w.start(&ctx, one).await?;
    let other = w.start(&ctx, two).await?;
    refused("another run", w.stores.index.payloads(&ctx, other.run.id, &names).await, NotFound)?;
    Ok(())
}

async fn a_signal_of_a_known_id_does_nothing(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let (one, two) = (w.run(&ctx, &agent).await?, w.run(&ctx, &agent).await?);
    let id = w.env.id();
    let first = Signal::Cancel { by: w.env.id() };
    let second = Signal::Cancel { by: w.env.id() };
    w.stores.index.signal(&ctx, one.run.id, id, first.clone(), Effects::none()).await?;
    let before = w.snapshot(&ctx).await?;
    w.stores.index.signal(&ctx, one.run.id, id, second.clone(), w.effects(&ctx)).await?;
    w.stores.index.signal(&ctx, one.run.id, id, second.clone(), w.overdrawn(&ctx)).await?;
    w.unchanged(&ctx, "a repeated signal", &before).await?;
    // Ids are known per run.
    w.stores.index.signal(&ctx, two.run.id, id, second.clone(), Effects::none()).await?;
    for (lease, signal) in [(one, first), (two, second)] {
        let signals = w.stores.runs.renew(&lease.fence, w.after(60)).await?;
        equal("the signals", &signals, &vec![(id, signal)])?;
    }
    Ok(())
}

async fn a_signal_is_kept_as_it_is(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let lease = w.run(&ctx, &agent).await?;
    let mut expected = Vec::new();
    for approved in [true, false] {
        let args_hash = PayloadHash::from_bytes(w.env.random());
        expected.push((
            w.env.id(),
            Signal::Approval { approval: w.env.id(), args_hash, approved, by: w.env.id() },
        ));
    }
    expected.push((w.env.id(), Signal::Cancel { by: w.env.id() }));
    for (id, signal) in &expected {
        w.stores.index.signal(&ctx, lease.run.id, *id, signal.clone(), w.effects(&ctx)).await?;
    }
    equal("the signals", &w.stores.runs.renew(&lease.fence, w.after(60)).await?, &expected)
}

async fn a_signal_to_a_finished_run_is_refused(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let lease = w.run(&ctx, &agent).await?;
    let signal = || Signal::Cancel { by: ctx.principal().user() };
    let known = w.env.id();
    w.stores.index.signal(&ctx, lease.run.id, known, signal(), Effects::none()).await?;
    w.finish(&lease, RunStatus::Failed).await?;
    // Signals go with the run's end, so that this one is not known any more.
    let call = w.stores.index.signal(&ctx, lease.run.id, known, signal(), w.effects(&ctx));
    w.refuses(&ctx, "a repeated signal to a finished run", Conflict, call).await?;
    let call = w.stores.index.signal(&ctx, lease.run.id, w.env.id(), signal(), w.effects(&ctx));
    w.refuses(&ctx, "a finished run", Conflict, call).await?;
    let call = w.stores.index.signal(&ctx, w.env.id(), w.env.id(), signal(), w.effects(&ctx));
    w.refuses(&ctx, "an unknown run", NotFound, call).await?;
    Ok(())
}

async fn a_foreign_run_is_not_found(w: World) -> Outcome {
    let index = &w.stores.index;
    let (ctx, foreign) = (w.tenant().await?, w.tenant().await?);
    let agent = w.agent(&ctx).await?;
    let mut run = w.new_run(&ctx, &agent);
    run.payloads = vec![payload(&run.record.salt, b"mine")];
    let names: Vec<_> = run.payloads.iter().map(|payload| payload.hash).collect();
    let lease = w.start(&ctx, run).await?;
    let id = lease.run.id;
    refused("get", index.get(&foreign, id).await, NotFound)?;
    refused("journal", index.journal(&foreign, id, 0, 10).await, NotFound)?;
    refused("payloads", index.payloads(&foreign, id, &names).await, NotFound)?;
    equal("list", &index.list(&foreign, RunQuery::default()).await?.items, &Vec::new())?;
    let signal = Signal::Cancel { by: foreign.principal().user() };
    let call = index.signal(&foreign, id, w.env.id(), signal, w.effects(&foreign));
    w.refuses(&foreign, "signal", NotFound, call).await?;
    for agent in [None, Some(agent.id)] {
        let query = RunQuery { agent, ..RunQuery::default() };
        equal("list by the agent", &index.list(&foreign, query).await?.items, &Vec::new())?;
    }
    let signals = w.stores.runs.renew(&lease.fence, w.after(60)).await?;
    holds("no signal arrived", signals.is_empty())
}

async fn guards_come_before_everything_else(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let lease = w.run(&ctx, &agent).await?;
    w.finish(&lease, RunStatus::Failed).await?;
    w.set_state(ctx.tenant(), TenantState::Suspended).await?;
    for run in [lease.run.id, w.env.id()] {
        let signal = Signal::Cancel { by: ctx.principal().user() };
        let call = w.stores.index.signal(&ctx, run, w.env.id(), signal, w.overdrawn(&ctx));
        w.refuses(&ctx, "signal", TenantSuspended, call).await?;
    }
    w.stores.index.get(&ctx, lease.run.id).await?;
    Ok(())
}

async fn effects_commit_with_the_change(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let lease = w.run(&ctx, &agent).await?;
    let signal = Signal::Cancel { by: ctx.principal().user() };
    let effects = w.effects(&ctx);
    let call = w.stores.index.signal(&ctx, lease.run.id, w.env.id(), signal, effects.clone());
    w.applies(&ctx, "signal", &effects, call).await
}

async fn a_refused_effect_leaves_nothing(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let lease = w.run(&ctx, &agent).await?;
    w.release(&lease, crate::run::Release::UntilSignal).await?;
    let signal = (w.env.id(), Signal::Cancel { by: ctx.principal().user() });
    let call = w.stores.index.signal(&ctx, lease.run.id, signal.0, signal.1.clone(), w.overdrawn(&ctx));
    w.refuses(&ctx, "signal", BudgetExceeded, call).await?;
    equal("claimed", &w.claim(10).await?.len(), &0)?;
    w.stores.index.signal(&ctx, lease.run.id, signal.0, signal.1.clone(), w.effects(&ctx)).await?;
    let claimed = w.claim(10).await?;
    let Some(lease) = claimed.first() else {
        return Err(Failure::new("the run is not ready after a signal"));
    };
    equal("the signals", &w.stores.runs.renew(&lease.fence, w.after(60)).await?, &vec![signal])
}
