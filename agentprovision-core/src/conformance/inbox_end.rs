//! The trials of [`Inbox`](crate::webhook::Inbox) on how work on a delivery ends, and on what is over.

use std::time::Duration;

use futures_util::future::join_all;

use super::check::{Outcome, equal, holds, refused, some};
use super::idempotency::TERM;
use super::inbox::{deliver, endpoint};
use super::inbox_claim::{BRIEF, claim, claim_one};
use super::world::World;
use crate::effect::{Effects, Guard};
use crate::error::ErrorKind::{
    self, BudgetExceeded, Conflict, Fenced, NotFound, TenantSuspended, Unavailable,
};
use crate::id::RunId;
use crate::page::PageRequest;
use crate::tenant::TenantState;
use crate::webhook::{Accepted, DeliveryEnd, DeliveryState};

super::suite! { "Inbox":
    what_is_over_is_not_taken,
    an_attempt_is_ended_once,
    of_many_ends_of_an_attempt_one_counts,
    a_retry_waits_for_its_time,
    an_end_says_how_it_went,
    a_replay_makes_it_pending_again,
    of_many_replays_one_goes_through,
    guards_come_before_everything_else,
    effects_commit_with_the_end,
    a_refused_effect_leaves_nothing,
    old_deliveries_are_removed,
    no_more_is_removed_than_was_asked_for,
}

const DAY: Duration = Duration::from_secs(86_400);

async fn what_is_over_is_not_taken(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    let runs: Vec<RunId> = vec![w.env.id(), w.env.id()];
    for (key, end, state, error) in [
        ("done", DeliveryEnd::Done(runs.clone()), DeliveryState::Done, None),
        ("failed", DeliveryEnd::Failed(NotFound), DeliveryState::Failed, Some(NotFound)),
    ] {
        let id = deliver(&w, &ctx, endpoint, key).await?;
        let claimed = claim_one(&w, BRIEF).await?;
        w.stores.inbox.finish(ctx.tenant(), id, claimed.epoch, end, Effects::none()).await?;
        w.pass(1);
        equal(key, &claim(&w, TERM, 10).await?.len(), &0)?;
        let seen = w.stores.inbox.get(&ctx, id).await?;
        equal("its state", &(seen.state, seen.error, seen.attempts), &(state, error, 1))?;
        holds("when it was over", seen.finished_at.is_some())?;
        let expected = if error.is_none() { runs.clone() } else { Vec::new() };
        equal("its runs", &seen.runs, &expected)?;
        // That it came again does not make it pending.
        let again = w.stores.inbox.accept(ctx.tenant(), w.new_delivery(endpoint, key)).await?;
        equal("it comes again", &again, &Accepted::Again)?;
        equal("it stays over", &w.stores.inbox.get(&ctx, id).await?.state, &state)?;
        equal("nothing to do", &claim(&w, TERM, 10).await?.len(), &0)?;
    }
    Ok(())
}

async fn an_attempt_is_ended_once(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    let (inbox, tenant) = (&w.stores.inbox, ctx.tenant());
    let foreign = w.tenant().await?.tenant();
    let done = || DeliveryEnd::Done(vec![]);
    let finish = |tenant, id, epoch| inbox.finish(tenant, id, epoch, done(), Effects::none());
    refused("an unknown one", finish(tenant, w.env.id(), 1).await, NotFound)?;
    let id = deliver(&w, &ctx, endpoint, "once").await?;
    for epoch in [0, 1] {
        refused("nobody has it", finish(tenant, id, epoch).await, Fenced)?;
    }
    claim_one(&w, TERM).await?;
    refused("one of another tenant", finish(foreign, id, 1).await, NotFound)?;
    finish(tenant, id, 1).await?;
    let over = inbox.get(&ctx, id).await?;
    for end in [done(), DeliveryEnd::Failed(Unavailable), DeliveryEnd::Retry(Duration::ZERO, Unavailable)] {
        let again = inbox.finish(tenant, id, 1, end, w.effects(&ctx));
        w.refuses(&ctx, "a second time", Fenced, again).await?;
    }
    equal("the delivery", &inbox.get(&ctx, id).await?, &over)
}

async fn of_many_ends_of_an_attempt_one_counts(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    for key in ["a", "b", "c"] {
        let id = deliver(&w, &ctx, endpoint, key).await?;
        claim_one(&w, TERM).await?;
        let runs: Vec<RunId> = (0..8).map(|_| w.env.id()).collect();
        let ends = runs.iter().map(|run| {
            let end = DeliveryEnd::Done(vec![*run]);
            w.stores.inbox.finish(ctx.tenant(), id, 1, end, Effects::none())
        });
        let mut won = Vec::new();
        for (run, result) in runs.iter().zip(join_all(ends).await) {
            match result {
                Ok(()) => won.push(*run),
                Err(error) => drop(refused::<()>("a later one", Err(error), Fenced)?),
            }
        }
        equal("how many count", &won.len(), &1)?;
        equal("the runs", &w.stores.inbox.get(&ctx, id).await?.runs, &won)?;
    }
    Ok(())
}

async fn a_retry_waits_for_its_time(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    let (inbox, id) = (&w.stores.inbox, deliver(&w, &ctx, endpoint, "once").await?);
    let retry = |epoch, after| {
        inbox.finish(ctx.tenant(), id, epoch, DeliveryEnd::Retry(after, Unavailable), Effects::none())
    };
    for epoch in 1..=3 {
        equal("its epoch", &claim_one(&w, TERM).await?.epoch, &epoch)?;
        retry(epoch, Duration::ZERO).await?;
        let seen = inbox.get(&ctx, id).await?;
        equal("its state", &(seen.state, seen.error), &(DeliveryState::Pending, Some(Unavailable)))?;
        equal("when it was over", &seen.finished_at, &None)?;
        refused("a second time", retry(epoch, Duration::ZERO).await, Fenced)?;
        w.pass(1);
    }
    let claimed = claim_one(&w, TERM).await?;
    equal("the error is told", &claimed.delivery.error, &Some(Unavailable))?;
    retry(4, DAY).await?;
    for _ in 0..3 {
        equal("before its time", &claim(&w, TERM, 10).await?.len(), &0)?;
        w.pass(1);
    }
    // Of the longest pauses too.
    let other = deliver(&w, &ctx, endpoint, "never").await?;
    claim_one(&w, TERM).await?;
    let never = DeliveryEnd::Retry(Duration::MAX, Unavailable);
    inbox.finish(ctx.tenant(), other, 1, never, Effects::none()).await?;
    equal("before its time", &claim(&w, TERM, 10).await?.len(), &0)
}

async fn an_end_says_how_it_went(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    for (n, kind) in ErrorKind::ALL.iter().copied().enumerate() {
        let id = deliver(&w, &ctx, endpoint, &format!("key {n}")).await?;
        claim_one(&w, TERM).await?;
        let end = DeliveryEnd::Failed(kind);
        w.stores.inbox.finish(ctx.tenant(), id, 1, end, Effects::none()).await?;
        equal("the error", &w.stores.inbox.get(&ctx, id).await?.error, &Some(kind))?;
    }
    let id = deliver(&w, &ctx, endpoint, "in the end").await?;
    claim_one(&w, TERM).await?;
    let retry = DeliveryEnd::Retry(Duration::ZERO, Unavailable);
    w.stores.inbox.finish(ctx.tenant(), id, 1, retry, Effects::none()).await?;
    w.pass(1);
    claim_one(&w, TERM).await?;
    w.stores.inbox.finish(ctx.tenant(), id, 2, DeliveryEnd::Done(vec![]), Effects::none()).await?;
    let seen = w.stores.inbox.get(&ctx, id).await?;
    equal("what went well has none", &(seen.error, seen.attempts), &(None, 2))
}

async fn a_replay_makes_it_pending_again(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    let (inbox, tenant) = (&w.stores.inbox, ctx.tenant());
    let replay = |id| inbox.replay(&ctx, id, w.effects(&ctx));
    w.refuses(&ctx, "an unknown one", NotFound, replay(w.env.id())).await?;
    let id = deliver(&w, &ctx, endpoint, "once").await?;
    w.refuses(&ctx, "a new one", Conflict, replay(id)).await?;
    let run: RunId = w.env.id();
    for (epoch, end) in [
        (1, DeliveryEnd::Failed(Unavailable)),
        (2, DeliveryEnd::Done(vec![run])),
        (3, DeliveryEnd::Done(vec![run])),
    ] {
        let claimed = claim_one(&w, TERM).await?;
        equal("its epoch", &(claimed.epoch, u64::from(claimed.delivery.attempts)), &(epoch, epoch))?;
        w.refuses(&ctx, "one that is held", Conflict, replay(id)).await?;
        inbox.finish(tenant, id, epoch, end, Effects::none()).await?;
        let effects = w.effects(&ctx);
        w.applies(&ctx, "replay", &effects, inbox.replay(&ctx, id, effects.clone())).await?;
        let seen = inbox.get(&ctx, id).await?;
        equal("its state", &(seen.state, seen.finished_at), &(DeliveryState::Pending, None))?;
        w.refuses(&ctx, "a pending one", Conflict, replay(id)).await?;
        let late = inbox.finish(tenant, id, epoch, DeliveryEnd::Done(vec![]), Effects::none()).await;
        refused("whoever had it", late, Fenced)?;
        w.pass(1);
    }
    equal("its runs", &inbox.get(&ctx, id).await?.runs, &vec![run])
}

async fn of_many_replays_one_goes_through(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    for key in ["a", "b", "c"] {
        let id = deliver(&w, &ctx, endpoint, key).await?;
        claim_one(&w, TERM).await?;
        let inbox = &w.stores.inbox;
        inbox.finish(ctx.tenant(), id, 1, DeliveryEnd::Done(vec![]), Effects::none()).await?;
        let replays = join_all((0..8).map(|_| inbox.replay(&ctx, id, Effects::none()))).await;
        let mut through = 0;
        for result in replays {
            match result {
                Ok(()) => through += 1,
                Err(error) => drop(refused::<()>("another one", Err(error), Conflict)?),
            }
        }
        equal("how many go through", &through, &1)?;
        claim_one(&w, TERM).await?;
    }
    Ok(())
}

async fn guards_come_before_everything_else(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    let (inbox, tenant) = (&w.stores.inbox, ctx.tenant());
    let id = deliver(&w, &ctx, endpoint, "once").await?;
    claim_one(&w, TERM).await?;
    w.set_state(tenant, TenantState::Suspended).await?;
    for epoch in [1, 9] {
        let call = inbox.finish(tenant, id, epoch, DeliveryEnd::Done(vec![]), w.overdrawn(&ctx));
        w.refuses(&ctx, "finish", TenantSuspended, call).await?;
    }
    let call = inbox.replay(&ctx, w.env.id(), w.effects(&ctx));
    w.refuses(&ctx, "replay", TenantSuspended, call).await?;
    let there = Effects { guards: vec![Guard::TenantExists], ..Effects::none() };
    Ok(inbox.finish(tenant, id, 1, DeliveryEnd::Done(vec![]), there).await?)
}

async fn effects_commit_with_the_end(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    for (key, end) in [
        ("done", DeliveryEnd::Done(vec![w.env.id()])),
        ("failed", DeliveryEnd::Failed(Unavailable)),
        ("retry", DeliveryEnd::Retry(DAY, Unavailable)),
    ] {
        let id = deliver(&w, &ctx, endpoint, key).await?;
        claim_one(&w, TERM).await?;
        let effects = w.effects(&ctx);
        let call = w.stores.inbox.finish(ctx.tenant(), id, 1, end, effects.clone());
        w.applies(&ctx, key, &effects, call).await?;
    }
    Ok(())
}

async fn a_refused_effect_leaves_nothing(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    let (inbox, tenant) = (&w.stores.inbox, ctx.tenant());
    let id = deliver(&w, &ctx, endpoint, "once").await?;
    let held = claim_one(&w, TERM).await?.delivery;
    let finish = |end| inbox.finish(tenant, id, 1, end, w.overdrawn(&ctx));
    for end in [
        DeliveryEnd::Done(vec![w.env.id()]),
        DeliveryEnd::Failed(Unavailable),
        DeliveryEnd::Retry(Duration::ZERO, Unavailable),
    ] {
        w.refuses(&ctx, "finish", BudgetExceeded, finish(end)).await?;
    }
    w.pass(1);
    equal("the delivery", &inbox.get(&ctx, id).await?, &held)?;
    equal("it is held", &claim(&w, TERM, 10).await?.len(), &0)?;
    inbox.finish(tenant, id, 1, DeliveryEnd::Done(vec![]), Effects::none()).await?;
    w.refuses(&ctx, "replay", BudgetExceeded, inbox.replay(&ctx, id, w.overdrawn(&ctx))).await?;
    equal("nothing to do", &claim(&w, TERM, 10).await?.len(), &0)
}

async fn old_deliveries_are_removed(w: World) -> Outcome {
    let inbox = &w.stores.inbox;
    let mut over = Vec::new();
    let (ctx, one) = endpoint(&w).await?;
    let (other, two) = endpoint(&w).await?;
    for (ctx, endpoint) in [(&ctx, one), (&ctx, one), (&other, two)] {
        let id = deliver(&w, ctx, endpoint, &format!("key {}", w.mark())).await?;
        claim_one(&w, TERM).await?;
        let end = if over.is_empty() { DeliveryEnd::Failed(Unavailable) } else { DeliveryEnd::Done(vec![]) };
        inbox.finish(ctx.tenant(), id, 1, end, Effects::none()).await?;
        over.push((ctx, id));
    }
    let held = deliver(&w, &ctx, one, "held").await?;
    claim_one(&w, TERM).await?;
    let waits = deliver(&w, &ctx, one, "waits").await?;
    w.pass(1);
    for keep in [DAY, Duration::MAX] {
        equal("nothing is old", &inbox.expire(keep, 100).await?, &0)?;
    }
    // Of a suspended tenant too: to whom nothing comes any more, what came before is not kept for ever.
    w.set_state(other.tenant(), TenantState::Suspended).await?;
    equal("all that are over", &inbox.expire(Duration::ZERO, 100).await?, &3)?;
    for (ctx, id) in over {
        refused("one that was over", inbox.get(ctx, id).await, NotFound)?;
    }
    let left = inbox.list(&ctx, one, PageRequest::default()).await?;
    equal("left", &left.items.iter().map(|delivery| delivery.new.id).collect(), &vec![held, waits])?;
    equal("a second time", &inbox.expire(Duration::ZERO, 100).await?, &0)?;
    inbox.finish(ctx.tenant(), held, 1, DeliveryEnd::Done(vec![]), Effects::none()).await?;
    equal("the other one", &claim_one(&w, TERM).await?.delivery.new.id, &waits)
}

async fn no_more_is_removed_than_was_asked_for(w: World) -> Outcome {
    let inbox = &w.stores.inbox;
    let mut made = Vec::new();
    for _ in 0..2 {
        let (ctx, endpoint) = endpoint(&w).await?;
        for n in 0..4 {
            let id = deliver(&w, &ctx, endpoint, &format!("key {n}")).await?;
            claim_one(&w, TERM).await?;
            inbox.finish(ctx.tenant(), id, 1, DeliveryEnd::Done(vec![]), Effects::none()).await?;
            w.pass(1);
        }
        made.push((ctx, endpoint));
    }
    equal("none", &inbox.expire(Duration::ZERO, 0).await?, &0)?;
    equal("some", &inbox.expire(Duration::ZERO, 3).await?, &3)?;
    // Of a tenant the oldest go first (which tenant is first is the store's choice), and their keys are free again.
    let mut begun = None;
    for (ctx, endpoint) in &made {
        let left = inbox.list(ctx, *endpoint, PageRequest::default()).await?;
        let keys: Vec<String> = left.items.into_iter().map(|delivery| delivery.new.key).collect();
        if keys.len() < 4 {
            equal("left", &keys, &vec!["key 3".to_owned()])?;
            begun = Some((ctx, endpoint));
        }
    }
    let (ctx, endpoint) = some("a tenant", begun)?;
    deliver(&w, ctx, *endpoint, "key 0").await?;
    equal("of both tenants", &inbox.expire(Duration::ZERO, 3).await?, &3)?;
    equal("the rest", &inbox.expire(Duration::ZERO, 3).await?, &2)
}
