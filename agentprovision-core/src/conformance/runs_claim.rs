//! The trials of [`RunStore`](crate::run::RunStore) on who may write: leases, fences, releases and signals.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::check::{Checked, Outcome, equal, refused, some};
use super::world::World;
use crate::agent::AgentRecord;
use crate::context::Context;
use crate::effect::Effects;
use crate::error::ErrorKind::Fenced;
use crate::id::{RunId, SignalId};
use crate::run::{ClaimRequest, Fence, JournalBatch, Lease, Release, RunPatch, RunStatus, Signal};
use crate::tenant::TenantState;

super::suite! { "RunStore":
    ready_runs_are_claimed_oldest_first,
    runs_ready_at_once_are_claimed_by_id,
    a_claim_gives_a_new_epoch,
    a_held_run_is_left_alone,
    an_expired_lease_is_taken_over,
    expiry_alone_fences_nobody,
    a_renewed_lease_lasts,
    newer_state_is_left_to_others,
    runs_of_inactive_tenants_wait,
    claims_at_once_share_no_run,
    a_stale_fence_is_refused,
    an_unknown_run_is_fenced,
    a_released_run_is_nobodys,
    a_run_waits_for_a_signal,
    a_signal_that_waits_makes_a_released_run_ready,
    signals_stay_until_consumed,
}

fn ids(leases: &[Lease]) -> Vec<RunId> {
    leases.iter().map(|lease| lease.run.id).collect()
}

async fn started(w: &World) -> Checked<(Context, AgentRecord, Lease)> {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let lease = w.run(&ctx, &agent).await?;
    Ok((ctx, agent, lease))
}

/// Says something to the run.
async fn say(w: &World, ctx: &Context, run: RunId) -> Checked<(SignalId, Signal)> {
    let signal = (w.env.id(), Signal::Cancel { by: w.env.id() });
    w.stores.index.signal(ctx, run, signal.0, signal.1.clone(), Effects::none()).await?;
    Ok(signal)
}

/// Checks that whoever holds this fence may write nothing.
async fn fenced(w: &World, ctx: &Context, what: &str, fence: &Fence) -> Outcome {
    let patch = RunPatch { status: Some(RunStatus::Failed), ..RunPatch::default() };
    let batch = JournalBatch { entries: vec![b"late".to_vec()], patch, ..JournalBatch::default() };
    let call = w.stores.runs.commit(fence, batch, w.effects(ctx));
    w.refuses(ctx, &format!("{what}: commit"), Fenced, call).await?;
    refused(&format!("{what}: renew"), w.stores.runs.renew(fence, w.after(60)).await, Fenced)?;
    refused(&format!("{what}: begin"), w.stores.runs.begin(fence).await, Fenced)?;
    Ok(())
}

async fn ready_runs_are_claimed_oldest_first(w: World) -> Outcome {
    let (ctx, agent, one) = started(&w).await?;
    let (two, three) = (w.run(&ctx, &agent).await?, w.run(&ctx, &agent).await?);
    let four = w.run(&ctx, &agent).await?;
    for lease in [&three, &one, &four, &two] {
        w.tick();
        w.release(lease, Release::Ready).await?;
    }
    equal("none", &w.claim(0).await?.len(), &0)?;
    equal("the oldest two", &ids(&w.claim(2).await?), &vec![three.run.id, one.run.id])?;
    equal("the rest", &ids(&w.claim(100).await?), &vec![four.run.id, two.run.id])?;
    equal("no more", &w.claim(100).await?.len(), &0)
}

async fn runs_ready_at_once_are_claimed_by_id(w: World) -> Outcome {
    let (ctx, agent, first) = started(&w).await?;
    let mut leases = vec![first];
    for _ in 0..5 {
        leases.push(w.run(&ctx, &agent).await?);
    }
    w.tick();
    for lease in leases.iter().rev() {
        w.release(lease, Release::Ready).await?;
    }
    let mut expected = ids(&leases);
    expected.sort_unstable();
    let mut claimed = ids(&w.claim(4).await?);
    claimed.extend(ids(&w.claim(4).await?));
    equal("claimed", &claimed, &expected)
}

async fn a_claim_gives_a_new_epoch(w: World) -> Outcome {
    let (ctx, _, mut lease) = started(&w).await?;
    for epoch in 2..6 {
        w.release(&lease, Release::Ready).await?;
        let until = w.after(epoch);
        let claimed = w.stores.runs.claim(ClaimRequest::new(w.env.id(), until, 1, u32::MAX)).await?;
        lease = some("a run", claimed.first().cloned())?;
        equal("the epoch", &lease.fence.epoch, &epoch)?;
        equal("the fence", &(lease.fence.tenant, lease.fence.run), &(ctx.tenant(), lease.run.id))?;
        equal("until", &lease.until, &until)?;
        let record = w.stores.index.get(&ctx, lease.run.id).await?;
        equal("the run", &lease.run, &record)?;
        let batch = JournalBatch { entries: vec![b"row".to_vec()], ..JournalBatch::default() };
        w.stores.runs.commit(&lease.fence, batch, w.effects(&ctx)).await?;
    }
    Ok(())
}

async fn a_held_run_is_left_alone(w: World) -> Outcome {
    let (ctx, _, lease) = started(&w).await?;
    say(&w, &ctx, lease.run.id).await?;
    w.pass(59);
    equal("claimed", &w.claim(10).await?.len(), &0)
}

async fn an_expired_lease_is_taken_over(w: World) -> Outcome {
    let (ctx, agent, one) = started(&w).await?;
    w.tick();
    let two = w.run(&ctx, &agent).await?;
    // The lease of the first run ends exactly now.
    w.clock.advance(one.until.since(w.env.now()));
    let claimed = w.claim(10).await?;
    equal("claimed", &ids(&claimed), &vec![one.run.id])?;
    fenced(&w, &ctx, "the old holder", &one.fence).await?;
    w.pass(3600);
    equal("both are expired", &ids(&w.claim(10).await?), &vec![one.run.id, two.run.id])?;
    for lease in &claimed {
        fenced(&w, &ctx, "the holder in between", &lease.fence).await?;
    }
    Ok(())
}

async fn expiry_alone_fences_nobody(w: World) -> Outcome {
    let (ctx, _, lease) = started(&w).await?;
    w.pass(3600);
    let batch = JournalBatch { entries: vec![b"late, but alone".to_vec()], ..JournalBatch::default() };
    equal("the row", &w.stores.runs.commit(&lease.fence, batch, w.effects(&ctx)).await?, &2)?;
    w.stores.runs.begin(&lease.fence).await?.rollback().await?;
    w.stores.runs.renew(&lease.fence, w.after(60)).await?;
    equal("claimed after the renewal", &w.claim(10).await?.len(), &0)
}

async fn a_renewed_lease_lasts(w: World) -> Outcome {
    let (_, _, lease) = started(&w).await?;
    for _ in 0..3 {
        w.pass(59);
        w.stores.runs.renew(&lease.fence, w.after(60)).await?;
    }
    w.pass(59);
    equal("claimed within the lease", &w.claim(10).await?.len(), &0)?;
    // A lease can be cut short too.
    w.stores.runs.renew(&lease.fence, w.env.now()).await?;
    let claimed = w.claim(10).await?;
    equal("claimed after it", &ids(&claimed), &vec![lease.run.id])?;
    equal("the epoch", &claimed.first().map(|lease| lease.fence.epoch), &Some(2))
}

async fn newer_state_is_left_to_others(w: World) -> Outcome {
    let (ctx, agent, old) = started(&w).await?;
    w.tick();
    let mut run = w.new_run(&ctx, &agent);
    run.record.state_version = 7;
    let new = w.start(&ctx, run).await?;
    for lease in [&new, &old] {
        w.release(lease, Release::Ready).await?;
        w.tick();
    }
    let claim = |version| w.stores.runs.claim(ClaimRequest::new(w.env.id(), w.after(60), 10, version));
    equal("version 0", &ids(&claim(0).await?), &vec![])?;
    equal("version 6", &ids(&claim(6).await?), &vec![old.run.id])?;
    equal("version 7", &ids(&claim(7).await?), &vec![new.run.id])
}

async fn runs_of_inactive_tenants_wait(w: World) -> Outcome {
    let (ctx, _, lease) = started(&w).await?;
    let (_, _, other) = started(&w).await?;
    for lease in [&lease, &other] {
        w.release(lease, Release::Ready).await?;
    }
    w.set_state(ctx.tenant(), TenantState::Suspended).await?;
    equal("while suspended", &ids(&w.claim(10).await?), &vec![other.run.id])?;
    w.set_state(ctx.tenant(), TenantState::Active).await?;
    equal("after", &ids(&w.claim(10).await?), &vec![lease.run.id])
}

async fn claims_at_once_share_no_run(w: World) -> Outcome {
    const RUNS: usize = 24;
    let (ctx, agent, first) = started(&w).await?;
    let mut all = vec![first];
    while all.len() < RUNS {
        all.push(w.run(&ctx, &agent).await?);
    }
    for lease in &all {
        w.release(lease, Release::Ready).await?;
    }
    let until = w.after(60);
    let claims = (0..16).map(|_| w.stores.runs.claim(ClaimRequest::new(w.env.id(), until, 3, u32::MAX)));
    let mut claimed = Vec::new();
    for result in join_all(claims).await {
        let leases = result?;
        equal("at most three", &leases.len().min(3), &leases.len())?;
        claimed.extend(leases);
    }
    let distinct: BTreeSet<_> = ids(&claimed).into_iter().collect();
    equal("runs claimed", &(claimed.len(), distinct.len()), &(RUNS, RUNS))?;
    for lease in &claimed {
        w.stores.runs.renew(&lease.fence, until).await?;
    }
    Ok(())
}

async fn a_stale_fence_is_refused(w: World) -> Outcome {
    let (ctx, _, lease) = started(&w).await?;
    w.pass(61);
    let claimed = some("the run", w.claim(1).await?.first().cloned())?;
    for epoch in [0, 1, 3, u64::from(u32::MAX)] {
        let stale = Fence { epoch, ..lease.fence };
        fenced(&w, &ctx, &format!("epoch {epoch}"), &stale).await?;
    }
    // The holder was not disturbed.
    w.stores.runs.commit(&claimed.fence, JournalBatch::default(), w.effects(&ctx)).await?;
    Ok(())
}

async fn an_unknown_run_is_fenced(w: World) -> Outcome {
    let (ctx, _, lease) = started(&w).await?;
    let other = w.tenant().await?;
    fenced(&w, &ctx, "an unknown run", &Fence { run: w.env.id(), ..lease.fence }).await?;
    fenced(&w, &other, "another tenant", &Fence { tenant: other.tenant(), ..lease.fence }).await?;
    let nowhere = w.ctx(w.env.id());
    fenced(&w, &nowhere, "an unknown tenant", &Fence { tenant: nowhere.tenant(), ..lease.fence }).await?;
    w.stores.runs.renew(&lease.fence, w.after(60)).await?;
    Ok(())
}

async fn a_released_run_is_nobodys(w: World) -> Outcome {
    for release in [Release::Ready, Release::UntilSignal] {
        let (ctx, _, lease) = started(&w).await?;
        w.release(&lease, release).await?;
        fenced(&w, &ctx, "the releasing worker", &lease.fence).await?;
    }
    Ok(())
}

async fn a_run_waits_for_a_signal(w: World) -> Outcome {
    let (ctx, agent, lease) = started(&w).await?;
    let ready = w.run(&ctx, &agent).await?;
    w.release(&lease, Release::UntilSignal).await?;
    w.pass(3600);
    w.release(&ready, Release::Ready).await?;
    w.tick();
    equal("before the signal", &ids(&w.claim(10).await?), &vec![ready.run.id])?;
    let first = say(&w, &ctx, lease.run.id).await?;
    w.tick();
    let late = w.run(&ctx, &agent).await?;
    w.release(&late, Release::Ready).await?;
    w.tick();
    // A second signal does not move the run back in the line.
    let second = say(&w, &ctx, lease.run.id).await?;
    let claimed = w.claim(10).await?;
    equal("after it", &ids(&claimed), &vec![lease.run.id, late.run.id])?;
    let taken = some("the run", claimed.first())?;
    equal("the signals", &w.stores.runs.renew(&taken.fence, w.after(60)).await?, &vec![first, second])
}

async fn a_signal_that_waits_makes_a_released_run_ready(w: World) -> Outcome {
    let (ctx, _, lease) = started(&w).await?;
    let id = lease.run.id;
    let (one, two) = (say(&w, &ctx, id).await?, say(&w, &ctx, id).await?);
    let until_signal = |consumed: Vec<SignalId>| JournalBatch {
        consumed,
        patch: RunPatch { release: Some(Release::UntilSignal), ..RunPatch::default() },
        ..JournalBatch::default()
    };
    w.stores.runs.commit(&lease.fence, until_signal(vec![one.0]), Effects::none()).await?;
    let again = some("one signal still waits", w.claim(1).await?.first().cloned())?;
    equal("the signals", &w.stores.runs.renew(&again.fence, w.after(60)).await?, &vec![two.clone()])?;
    w.stores.runs.commit(&again.fence, until_signal(vec![two.0, w.env.id()]), Effects::none()).await?;
    w.pass(3600);
    equal("none waits", &w.claim(1).await?.len(), &0)?;
    say(&w, &ctx, id).await?;
    let last = some("a new one", w.claim(1).await?.first().cloned())?;
    equal("it", &last.run.id, &id)?;
    let waiting = w.stores.runs.renew(&last.fence, w.after(60)).await?;
    let all = waiting.into_iter().map(|(signal, _)| signal).collect();
    w.stores.runs.commit(&last.fence, until_signal(all), Effects::none()).await?;
    equal("before its deadline", &w.claim(1).await?.len(), &0)?;
    w.pass(36_000);
    equal("at its deadline", &ids(&w.claim(1).await?), &vec![id])
}

async fn signals_stay_until_consumed(w: World) -> Outcome {
    let (ctx, agent, lease) = started(&w).await?;
    let other = w.run(&ctx, &agent).await?;
    let mut expected = Vec::new();
    for _ in 0..4 {
        expected.push(say(&w, &ctx, lease.run.id).await?);
    }
    // Not the order of the ids.
    let early = (SignalId::from_uuid(uuid::Uuid::from_u128(1)), Signal::Cancel { by: w.env.id() });
    let early = (some("an id", early.0)?, early.1);
    w.stores.index.signal(&ctx, lease.run.id, early.0, early.1.clone(), Effects::none()).await?;
    expected.push(early);
    let elsewhere = say(&w, &ctx, other.run.id).await?;
    for _ in 0..2 {
        let signals = w.stores.runs.renew(&lease.fence, w.after(60)).await?;
        equal("in the order they were said", &signals, &expected)?;
    }
    let consumed = expected.remove(1);
    let batch = JournalBatch { consumed: vec![consumed.0, elsewhere.0], ..JournalBatch::default() };
    w.stores.runs.commit(&lease.fence, batch, w.effects(&ctx)).await?;
    equal("what is left", &w.stores.runs.renew(&lease.fence, w.after(60)).await?, &expected)?;
    let others = w.stores.runs.renew(&other.fence, w.after(60)).await?;
    equal("another run's signals", &others, &vec![elsewhere])
}
