//! The trials of [`RunTx`](crate::run::RunTx). What is written through its handle is the matter of SQL stores alone.

use super::check::{Checked, Failure, Outcome, equal, holds, refused};
use super::records::payload;
use super::runs::{check_run, expected, extend};
use super::world::World;
use crate::context::Context;
use crate::error::ErrorKind::{
    BudgetExceeded, Closed, Conflict, Fenced, NotFound, TenantSuspended, Unsupported,
};
use crate::run::{Fence, JournalBatch, JournalRow, RunPatch, RunRecord, RunStatus};
use crate::tenant::TenantState;
use crate::tool::{SqlValue, TxHandle};

super::suite! { "RunTx":
    a_commit_writes_the_batch,
    a_rollback_writes_nothing,
    dropping_it_writes_nothing,
    a_handle_is_closed_after_the_end,
    the_run_stays_held,
    a_terminal_status_ends_the_run,
    a_guard_is_checked_at_the_commit,
    effects_commit_with_the_batch,
    a_refused_effect_leaves_nothing,
}

/// A run that is held, and its record and rows.
async fn held(w: &World) -> Checked<(Context, Fence, RunRecord, Vec<JournalRow>)> {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let run = w.new_run(&ctx, &agent);
    let (record, rows) = expected(&run);
    let lease = w.start(&ctx, run).await?;
    Ok((ctx, lease.fence, record, rows))
}

fn row() -> JournalBatch {
    JournalBatch { entries: vec![b"{\"n\":1}".to_vec(), b"{\"n\":2}".to_vec()], ..JournalBatch::default() }
}

async fn a_commit_writes_the_batch(w: World) -> Outcome {
    let (ctx, fence, mut record, mut rows) = held(&w).await?;
    let kept = payload(&record.salt, b"kept");
    for _ in 0..2 {
        w.tick();
        let tx = w.stores.runs.begin(&fence).await?;
        let batch = JournalBatch { payloads: vec![kept.clone()], ..row() };
        rows.extend(extend(&mut record, &batch.entries));
        equal("the last row's number", &tx.commit(batch, w.effects(&ctx)).await?, &record.seq)?;
        record.updated_at = w.env.now();
        check_run(&w, &ctx, &record, &rows).await?;
    }
    equal("the payload", &w.stores.index.payloads(&ctx, record.id, &[kept.hash]).await?, &vec![kept.bytes])
}

async fn a_rollback_writes_nothing(w: World) -> Outcome {
    let (ctx, fence, record, rows) = held(&w).await?;
    w.tick();
    w.stores.runs.begin(&fence).await?.rollback().await?;
    check_run(&w, &ctx, &record, &rows).await?;
    equal("the next row", &w.stores.runs.commit(&fence, row(), w.effects(&ctx)).await?, &3)
}

async fn dropping_it_writes_nothing(w: World) -> Outcome {
    let (ctx, fence, record, rows) = held(&w).await?;
    w.tick();
    drop(w.stores.runs.begin(&fence).await?);
    check_run(&w, &ctx, &record, &rows).await?;
    // The store is not held up by what was dropped.
    w.user(&ctx).await?;
    equal("the next row", &w.stores.runs.begin(&fence).await?.commit(row(), w.effects(&ctx)).await?, &3)
}

/// Whether the handle is closed, or the store has no SQL at all.
async fn closed(what: &str, handle: &TxHandle) -> Outcome {
    for result in [
        handle.query("SELECT $1", &[]).await.map(|_| ()),
        handle.execute("SELECT $1, $2", &[SqlValue::Int(1)]).await.map(|_| ()),
    ] {
        match result {
            Err(error) if matches!(error.kind(), Closed) => {}
            other => return Err(Failure::new(format_args!("{what}: expected {Closed}, saw {other:?}"))),
        }
    }
    Ok(())
}

async fn a_handle_is_closed_after_the_end(w: World) -> Outcome {
    let (ctx, fence, ..) = held(&w).await?;
    let tx = w.stores.runs.begin(&fence).await?;
    let (one, two) = (tx.handle(), tx.handle());
    match one.query("SELECT $1", &[]).await {
        Ok(rows) => equal("rows", &rows.len(), &1)?,
        Err(error) => holds("only a store without SQL refuses", error.is(Unsupported))?,
    }
    tx.commit(row(), w.effects(&ctx)).await?;
    closed("after the commit", &one).await?;
    closed("after the commit", &two).await?;
    let tx = w.stores.runs.begin(&fence).await?;
    let handle = tx.handle();
    tx.rollback().await?;
    closed("after the rollback", &handle).await?;
    let tx = w.stores.runs.begin(&fence).await?;
    let handle = tx.handle();
    refused("a refused commit", tx.commit(row(), w.overdrawn(&ctx)).await, BudgetExceeded)?;
    closed("after a refused commit", &handle).await?;
    let tx = w.stores.runs.begin(&fence).await?;
    let handle = tx.handle();
    drop(tx);
    closed("after the drop", &handle).await
}

async fn the_run_stays_held(w: World) -> Outcome {
    let (ctx, fence, ..) = held(&w).await?;
    w.pass(59);
    w.stores.runs.begin(&fence).await?.commit(row(), w.effects(&ctx)).await?;
    equal("claimed", &w.claim(10).await?.len(), &0)?;
    w.pass(10);
    // The time is over, but nobody else has claimed it.
    w.stores.runs.begin(&fence).await?.commit(row(), w.effects(&ctx)).await?;
    equal("claimed", &w.claim(10).await?.len(), &1)?;
    refused("begin", w.stores.runs.begin(&fence).await, Fenced)?;
    Ok(())
}

async fn a_terminal_status_ends_the_run(w: World) -> Outcome {
    let (ctx, fence, mut record, mut rows) = held(&w).await?;
    w.tick();
    let patch = RunPatch { status: Some(RunStatus::Completed), ..RunPatch::default() };
    let batch = JournalBatch { patch, ..row() };
    rows.extend(extend(&mut record, &batch.entries));
    w.stores.runs.begin(&fence).await?.commit(batch, w.effects(&ctx)).await?;
    (record.status, record.updated_at) = (RunStatus::Completed, w.env.now());
    record.finished_at = Some(w.env.now());
    check_run(&w, &ctx, &record, &rows).await?;
    refused("begin", w.stores.runs.begin(&fence).await, Fenced)?;
    let call = w.stores.runs.commit(&fence, row(), w.effects(&ctx));
    w.refuses(&ctx, "a commit after the end", Conflict, call).await?;
    Ok(())
}

async fn a_guard_is_checked_at_the_commit(w: World) -> Outcome {
    let (ctx, fence, ..) = held(&w).await?;
    w.set_state(ctx.tenant(), TenantState::Suspended).await?;
    let before = w.snapshot(&ctx).await?;
    let tx = w.stores.runs.begin(&fence).await?;
    refused("a guarded commit", tx.commit(row(), w.overdrawn(&ctx)).await, TenantSuspended)?;
    w.unchanged(&ctx, "a guarded commit", &before).await
}

async fn effects_commit_with_the_batch(w: World) -> Outcome {
    let (ctx, fence, ..) = held(&w).await?;
    let effects = w.effects(&ctx);
    let call = async { w.stores.runs.begin(&fence).await?.commit(row(), effects.clone()).await };
    w.applies(&ctx, "commit", &effects, call).await?;
    Ok(())
}

async fn a_refused_effect_leaves_nothing(w: World) -> Outcome {
    let (ctx, fence, record, _) = held(&w).await?;
    let never = payload(&record.salt, b"never written");
    let patch = RunPatch { status: Some(RunStatus::Failed), ..RunPatch::default() };
    let batch = JournalBatch { payloads: vec![never.clone()], patch, ..row() };
    let call = async { w.stores.runs.begin(&fence).await?.commit(batch, w.overdrawn(&ctx)).await };
    w.refuses(&ctx, "commit", BudgetExceeded, call).await?;
    refused("the payload", w.stores.index.payloads(&ctx, record.id, &[never.hash]).await, NotFound)?;
    // The run can still be written to.
    equal("the next row", &w.stores.runs.begin(&fence).await?.commit(row(), w.effects(&ctx)).await?, &3)
}
