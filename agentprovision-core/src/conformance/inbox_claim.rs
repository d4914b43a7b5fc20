//! The trials of [`Inbox`](crate::webhook::Inbox) on who works on a delivery, and in which order.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::check::{Checked, Outcome, equal, holds, some};
use super::idempotency::TERM;
use super::inbox::{deliver, endpoint};
use super::world::World;
use crate::context::Context;
use crate::effect::Effects;
use crate::error::ErrorKind::{Fenced, InvalidInput, Unavailable};
use crate::id::{DeliveryId, EndpointId, TenantId};
use crate::tenant::TenantState;
use crate::webhook::{ClaimedDelivery, DeliveryEnd, DeliveryState};

super::suite! { "Inbox":
    a_delivery_is_taken_as_it_came,
    of_many_claimants_one_gets_a_delivery,
    what_somebody_has_is_not_taken,
    what_nobody_ended_in_time_is_taken_again,
    deliveries_of_an_endpoint_come_in_order,
    what_was_begun_before_comes_first,
    tenants_have_their_turns,
    a_tenant_with_much_does_not_hold_others_up,
    only_active_tenants_have_turns,
    whoever_waits_is_woken,
}

/// Over when the next one asks, by any clock.
pub(super) const BRIEF: Duration = Duration::from_micros(1);

pub(super) async fn claim(w: &World, term: Duration, limit: u32) -> Checked<Vec<ClaimedDelivery>> {
    Ok(w.stores.inbox.claim(w.env.id(), term, limit, None).await?)
}

/// The one delivery there is to claim.
pub(super) async fn claim_one(w: &World, term: Duration) -> Checked<ClaimedDelivery> {
    let mut claimed = claim(w, term, 10).await?;
    equal("how many are taken", &claimed.len(), &1)?;
    some("the delivery", claimed.pop())
}

fn ids(claimed: &[ClaimedDelivery]) -> Vec<DeliveryId> {
    claimed.iter().map(|one| one.delivery.new.id).collect()
}

/// The first of them.
fn first(all: &[DeliveryId], count: usize) -> Vec<DeliveryId> {
    all.iter().copied().take(count).collect()
}

async fn deliver_many(
    w: &World,
    ctx: &Context,
    endpoint: EndpointId,
    count: usize,
) -> Checked<Vec<DeliveryId>> {
    let mut ids = Vec::new();
    for _ in 0..count {
        w.tick();
        ids.push(deliver(w, ctx, endpoint, &format!("key {}", w.mark())).await?);
    }
    Ok(ids)
}

async fn a_delivery_is_taken_as_it_came(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    equal("nothing", &claim(&w, TERM, 10).await?, &Vec::new())?;
    let new = w.new_delivery(endpoint, "once");
    w.stores.inbox.accept(ctx.tenant(), new.clone()).await?;
    equal("no room", &claim(&w, TERM, 0).await?, &Vec::new())?;
    let claimed = claim_one(&w, TERM).await?;
    equal("whose", &(claimed.tenant, claimed.epoch), &(ctx.tenant(), 1))?;
    holds("what came", claimed.delivery.new == new)?;
    equal("where it stands", &claimed.delivery, &w.stores.inbox.get(&ctx, new.id).await?)?;
    equal("attempts", &claimed.delivery.attempts, &1)?;
    equal("its state", &claimed.delivery.state, &DeliveryState::Pending)
}

async fn of_many_claimants_one_gets_a_delivery(w: World) -> Outcome {
    let mut all = Vec::new();
    for _ in 0..3 {
        let (ctx, endpoint) = endpoint(&w).await?;
        all.extend(deliver_many(&w, &ctx, endpoint, 10).await?);
    }
    let mut taken = Vec::new();
    while taken.len() < all.len() {
        let before = taken.len();
        for claimed in join_all((0..8).map(|_| claim(&w, TERM, 2))).await {
            for one in claimed? {
                equal("its epoch", &(one.epoch, one.delivery.attempts), &(1, 1))?;
                taken.push(one.delivery.new.id);
            }
        }
        // What others are about to take is passed over, but not by all.
        holds("somebody gets something", taken.len() > before)?;
    }
    taken.sort_unstable();
    all.sort_unstable();
    equal("each once", &taken, &all)?;
    equal("nothing is left", &claim(&w, TERM, 10).await?.len(), &0)
}

async fn what_somebody_has_is_not_taken(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    deliver(&w, &ctx, endpoint, "once").await?;
    let worker = w.env.id();
    let nothing = w.stores.inbox.claim(worker, Duration::ZERO, 10, None).await;
    equal("for no time", &nothing.err().map(|error| error.kind()), &Some(InvalidInput))?;
    let claim = || w.stores.inbox.claim(worker, TERM, 10, None);
    equal("the first time", &claim().await?.len(), &1)?;
    w.pass(1);
    equal("by the same worker", &claim().await?.len(), &0)?;
    equal("by another", &super::inbox_claim::claim(&w, TERM, 10).await?.len(), &0)
}

async fn what_nobody_ended_in_time_is_taken_again(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    let id = deliver(&w, &ctx, endpoint, "once").await?;
    for n in 1..=3 {
        let claimed = claim_one(&w, BRIEF).await?;
        equal("its epoch", &(claimed.epoch, claimed.delivery.attempts), &(u64::from(n), n))?;
        w.pass(1);
    }
    let last = claim_one(&w, TERM).await?;
    equal("its epoch", &(last.epoch, last.delivery.attempts), &(4, 4))?;
    let inbox = &w.stores.inbox;
    let finish = |epoch, end| inbox.finish(ctx.tenant(), id, epoch, end, w.effects(&ctx));
    for epoch in [0, 1, 2, 3, 5, u64::MAX] {
        for end in [
            DeliveryEnd::Done(vec![w.env.id()]),
            DeliveryEnd::Failed(Unavailable),
            DeliveryEnd::Retry(Duration::ZERO, Unavailable),
        ] {
            w.refuses(&ctx, "another epoch", Fenced, finish(epoch, end)).await?;
        }
    }
    equal("it is held", &claim(&w, TERM, 10).await?.len(), &0)?;
    finish(4, DeliveryEnd::Done(vec![])).await?;
    // Whoever is late, but was not followed by anybody, has done it.
    let late = deliver(&w, &ctx, endpoint, "late").await?;
    claim_one(&w, BRIEF).await?;
    w.pass(1);
    inbox.finish(ctx.tenant(), late, 1, DeliveryEnd::Done(vec![]), Effects::none()).await?;
    equal("the late one", &inbox.get(&ctx, late).await?.state, &DeliveryState::Done)
}

async fn deliveries_of_an_endpoint_come_in_order(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    let all = deliver_many(&w, &ctx, endpoint, 9).await?;
    let mut taken = Vec::new();
    for limit in [1, 2, 5, 9] {
        taken.extend(ids(&claim(&w, TERM, limit).await?));
    }
    equal("the order", &taken, &all)
}

async fn what_was_begun_before_comes_first(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    let mut all = deliver_many(&w, &ctx, endpoint, 4).await?;
    equal("begun", &ids(&claim(&w, BRIEF, 2).await?), &first(&all, 2))?;
    w.pass(1);
    equal("begun again", &ids(&claim(&w, BRIEF, 3).await?), &first(&all, 3))?;
    w.pass(1);
    // One that is tried again has its place by the time of that.
    let claimed = claim(&w, TERM, 1).await?;
    let one = some("the first", claimed.first())?;
    let retry = DeliveryEnd::Retry(Duration::ZERO, Unavailable);
    w.stores.inbox.finish(ctx.tenant(), one.delivery.new.id, one.epoch, retry, Effects::none()).await?;
    w.pass(1);
    all.rotate_left(1);
    equal("all", &ids(&claim(&w, TERM, 10).await?), &all)
}

/// Tenants in the order of their ids, each with as many deliveries.
async fn tenants(w: &World, counts: &[usize]) -> Checked<Vec<(TenantId, Vec<DeliveryId>)>> {
    let mut made = Vec::new();
    for _ in counts {
        made.push(endpoint(w).await?);
    }
    made.sort_unstable_by_key(|(ctx, _)| ctx.tenant());
    let mut all = Vec::new();
    for ((ctx, endpoint), count) in made.iter().zip(counts) {
        all.push((ctx.tenant(), deliver_many(w, ctx, *endpoint, *count).await?));
    }
    Ok(all)
}

async fn tenants_have_their_turns(w: World) -> Outcome {
    let all = tenants(&w, &[6, 1, 3, 0]).await?;
    let [(a, of_a), (b, of_b), (c, of_c), (d, _)] = &all[..] else {
        return Err(super::Failure::new("four tenants"));
    };
    for (after, order) in [
        (None, [of_a, of_b, of_c]),
        (Some(*a), [of_b, of_c, of_a]),
        (Some(*b), [of_c, of_a, of_b]),
        (Some(*c), [of_a, of_b, of_c]),
        (Some(*d), [of_a, of_b, of_c]),
    ] {
        let rounds = (0..6).flat_map(|round| order.iter().filter_map(move |of| of.get(round).copied()));
        let rounds: Vec<DeliveryId> = rounds.collect();
        for limit in [1, 2, 3, 4, 6, 9, 10, 100] {
            let mut taken = w.stores.inbox.claim(w.env.id(), TERM, limit, after).await?;
            let expected = first(&rounds, limit as usize);
            equal(&format!("{limit} after {after:?}"), &ids(&taken), &expected)?;
            taken.extend(claim(&w, TERM, 100).await?);
            equal("all", &taken.len(), &10)?;
            // They are given back in the order they came.
            taken.sort_unstable_by_key(|one| one.delivery.new.id);
            for one in taken {
                w.tick();
                let again = DeliveryEnd::Retry(Duration::ZERO, Unavailable);
                let id = one.delivery.new.id;
                w.stores.inbox.finish(one.tenant, id, one.epoch, again, Effects::none()).await?;
            }
            w.tick();
        }
    }
    Ok(())
}

async fn a_tenant_with_much_does_not_hold_others_up(w: World) -> Outcome {
    let all = tenants(&w, &[30, 2, 2]).await?;
    let (mut after, mut seen) = (None, Vec::new());
    for _ in 0..9 {
        let claimed = w.stores.inbox.claim(w.env.id(), TERM, 1, after).await?;
        after = claimed.first().map(|one| one.tenant);
        seen.extend(after);
    }
    let [(a, _), (b, _), (c, _)] = &all[..] else { return Err(super::Failure::new("three tenants")) };
    equal("whose turn it was", &seen, &[a, b, c, a, b, c, a, a, a].map(|tenant| *tenant).to_vec())
}

async fn only_active_tenants_have_turns(w: World) -> Outcome {
    let (ctx, one) = endpoint(&w).await?;
    let (other, two) = endpoint(&w).await?;
    let held = deliver(&w, &ctx, one, "held").await?;
    claim_one(&w, TERM).await?;
    let waits = deliver(&w, &ctx, one, "waits").await?;
    let theirs = deliver(&w, &other, two, "theirs").await?;
    w.set_state(ctx.tenant(), TenantState::Suspended).await?;
    equal("of a suspended one", &ids(&claim(&w, BRIEF, 10).await?), &vec![theirs])?;
    // What was begun is ended, where no guard is against it.
    w.stores.inbox.finish(ctx.tenant(), held, 1, DeliveryEnd::Done(vec![]), Effects::none()).await?;
    w.set_state(ctx.tenant(), TenantState::Active).await?;
    w.pass(1);
    let mut expected = vec![(ctx.tenant(), waits), (other.tenant(), theirs)];
    expected.sort_unstable();
    let expected = expected.into_iter().map(|(_, id)| id).collect();
    equal("of both", &ids(&claim(&w, BRIEF, 10).await?), &expected)?;
    w.set_state(ctx.tenant(), TenantState::Deleted).await?;
    w.pass(1);
    equal("of a deleted one", &ids(&claim(&w, BRIEF, 10).await?), &vec![theirs])
}

async fn whoever_waits_is_woken(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    let inbox = &w.stores.inbox;
    let waiting = || {
        let mut woken = inbox.woken();
        // It listens from the first look on.
        let at_once = (&mut woken).now_or_never().is_some();
        (woken, at_once)
    };
    let (woken, at_once) = waiting();
    let id = deliver(&w, &ctx, endpoint, "once").await?;
    if !at_once {
        woken.await;
    }
    let claimed = claim_one(&w, TERM).await?;
    let (woken, at_once) = waiting();
    let retry = DeliveryEnd::Retry(Duration::ZERO, Unavailable);
    inbox.finish(ctx.tenant(), id, claimed.epoch, retry, Effects::none()).await?;
    if !at_once {
        woken.await;
    }
    w.pass(1);
    let claimed = claim_one(&w, TERM).await?;
    inbox.finish(ctx.tenant(), id, claimed.epoch, DeliveryEnd::Done(vec![]), Effects::none()).await?;
    let (woken, at_once) = waiting();
    inbox.replay(&ctx, id, Effects::none()).await?;
    if !at_once {
        woken.await;
    }
    Ok(())
}
