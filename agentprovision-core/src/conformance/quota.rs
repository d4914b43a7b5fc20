//! The trials of [`QuotaGate`](crate::usage::QuotaGate), and of the same operations as effects.

use futures_util::future::join_all;

use super::check::{Failure, Outcome, equal, holds, refused};
use super::world::{World, naughty};
use crate::context::Context;
use crate::effect::{Effects, QuotaOp};
use crate::error::ErrorKind::{BudgetExceeded, InvalidInput};
use crate::id::ReservationId;
use crate::usage::{BudgetKey, BudgetState, Demand, Dimension, Reservation};

super::suite! { "QuotaGate":
    a_limit_is_set_and_removed,
    budgets_are_told_apart,
    room_is_reserved_and_settled,
    a_demand_is_reserved_whole_or_not_at_all,
    a_budget_twice_in_a_demand_counts_twice,
    a_reservation_is_made_once,
    a_settlement_is_made_once,
    a_negative_amount_is_refused,
    an_overrun_is_no_room,
    a_limit_is_never_below_what_is_taken,
    a_budget_without_limit_always_has_room,
    amounts_do_not_overflow,
    a_limit_set_later_counts_what_is_held,
    reservations_at_once_stay_within_the_limit,
    effects_apply_in_order,
    tenants_have_budgets_of_their_own,
}

fn key(scope: &str) -> BudgetKey {
    BudgetKey::new(scope, Dimension::Tokens)
}

fn demand(scope: &str, amount: i64) -> Demand {
    vec![(key(scope), amount)]
}

async fn define(w: &World, ctx: &Context, scope: &str, cap: i64) -> Outcome {
    Ok(w.stores.quota.define(ctx, &key(scope), Some(cap)).await?)
}

async fn settle(w: &World, ctx: &Context, id: ReservationId, actual: Demand) -> Outcome {
    // Only the id counts: what is held is what the store knows.
    let held = Reservation { id, demand: Vec::new() };
    Ok(w.stores.quota.settle(ctx, held, actual).await?)
}

/// Checks cap, spent, reserved and overrun of a budget, and its invariant.
async fn check(w: &World, ctx: &Context, scope: &str, expected: [i64; 4]) -> Outcome {
    let Some(state) = w.stores.quota.state(ctx, &key(scope)).await? else {
        return Err(Failure::new(format_args!("the budget `{scope}` has no limit")));
    };
    let BudgetState { cap, spent, reserved, overrun } = state;
    equal(
        &format!("cap, spent, reserved, overrun of `{scope}`"),
        &[cap, spent, reserved, overrun],
        &expected,
    )?;
    holds("spent + reserved <= cap + overrun", spent.saturating_add(reserved) <= cap.saturating_add(overrun))
}

async fn a_limit_is_set_and_removed(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    equal("before", &w.stores.quota.state(&ctx, &key("a")).await?, &None)?;
    w.stores.quota.define(&ctx, &key("a"), None).await?;
    for cap in [10, 0, i64::MAX, 7] {
        define(&w, &ctx, "a", cap).await?;
        check(&w, &ctx, "a", [cap, 0, 0, 0]).await?;
    }
    for _ in 0..2 {
        w.stores.quota.define(&ctx, &key("a"), None).await?;
        equal("after", &w.stores.quota.state(&ctx, &key("a")).await?, &None)?;
    }
    Ok(())
}

async fn budgets_are_told_apart(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let mut all = Vec::new();
    for scope in naughty() {
        for dimension in Dimension::ALL {
            let (key, cap) = (BudgetKey::new(&scope, *dimension), w.mark());
            w.stores.quota.define(&ctx, &key, Some(cap)).await?;
            all.push((key, cap));
        }
    }
    for (key, cap) in all {
        let state = w.stores.quota.state(&ctx, &key).await?;
        equal(&format!("{key:?}"), &state.map(|state| state.cap), &Some(cap))?;
    }
    Ok(())
}

async fn room_is_reserved_and_settled(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    define(&w, &ctx, "a", 10).await?;
    let (one, two) = (w.env.id(), w.env.id());
    let held = w.stores.quota.reserve(&ctx, one, demand("a", 6)).await?;
    equal("the reservation", &held, &Reservation { id: one, demand: demand("a", 6) })?;
    check(&w, &ctx, "a", [10, 0, 6, 0]).await?;
    w.stores.quota.reserve(&ctx, two, demand("a", 4)).await?;
    check(&w, &ctx, "a", [10, 0, 10, 0]).await?;
    settle(&w, &ctx, one, demand("a", 2)).await?;
    check(&w, &ctx, "a", [10, 2, 4, 0]).await?;
    // Nothing used: the room comes back.
    settle(&w, &ctx, two, Vec::new()).await?;
    check(&w, &ctx, "a", [10, 2, 0, 0]).await?;
    let error =
        refused("nine of eight", w.stores.quota.reserve(&ctx, two, demand("a", 9)).await, BudgetExceeded)?;
    let facts: Vec<_> = error.context().iter().map(|(key, value)| (*key, value.as_str())).collect();
    equal("what the error names", &facts, &vec![("scope", "a"), ("dimension", "tokens")])?;
    holds("the message names the dimension", error.message().contains("`tokens`"))?;
    w.stores.quota.reserve(&ctx, two, demand("a", 8)).await?;
    check(&w, &ctx, "a", [10, 2, 8, 0]).await
}

async fn a_demand_is_reserved_whole_or_not_at_all(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    for (scope, cap) in [("a", 10), ("b", 5), ("c", 10)] {
        define(&w, &ctx, scope, cap).await?;
    }
    let id = w.env.id();
    let all = |amount: i64| ["a", "b", "c"].map(|scope| (key(scope), amount)).to_vec();
    let error = refused("too much of `b`", w.stores.quota.reserve(&ctx, id, all(6)).await, BudgetExceeded)?;
    holds("the error names the budget", error.context().contains(&("scope", "b".to_owned())))?;
    for (scope, cap) in [("a", 10), ("b", 5), ("c", 10)] {
        check(&w, &ctx, scope, [cap, 0, 0, 0]).await?;
    }
    // The refused id is not used up.
    w.stores.quota.reserve(&ctx, id, all(5)).await?;
    check(&w, &ctx, "b", [5, 0, 5, 0]).await?;
    // What is settled may be another set of budgets than what was held.
    settle(&w, &ctx, id, demand("c", 1)).await?;
    for (scope, cap, spent) in [("a", 10, 0), ("b", 5, 0), ("c", 10, 1)] {
        check(&w, &ctx, scope, [cap, spent, 0, 0]).await?;
    }
    Ok(())
}

async fn a_budget_twice_in_a_demand_counts_twice(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    define(&w, &ctx, "a", 5).await?;
    let twice = |amount| vec![(key("a"), amount), (key("a"), amount)];
    refused("three and three", w.stores.quota.reserve(&ctx, w.env.id(), twice(3)).await, BudgetExceeded)?;
    check(&w, &ctx, "a", [5, 0, 0, 0]).await?;
    let id = w.env.id();
    w.stores.quota.reserve(&ctx, id, twice(2)).await?;
    check(&w, &ctx, "a", [5, 0, 4, 0]).await?;
    settle(&w, &ctx, id, twice(1)).await?;
    check(&w, &ctx, "a", [5, 2, 0, 0]).await
}

async fn a_reservation_is_made_once(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    define(&w, &ctx, "a", 10).await?;
    define(&w, &ctx, "b", 10).await?;
    let id = w.env.id();
    for again in [demand("a", 6), demand("a", 6), demand("a", 100), demand("b", 3)] {
        w.stores.quota.reserve(&ctx, id, again).await?;
        check(&w, &ctx, "a", [10, 0, 6, 0]).await?;
    }
    check(&w, &ctx, "b", [10, 0, 0, 0]).await
}

async fn a_settlement_is_made_once(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    define(&w, &ctx, "a", 10).await?;
    settle(&w, &ctx, w.env.id(), demand("a", 5)).await?;
    check(&w, &ctx, "a", [10, 0, 0, 0]).await?;
    let id = w.env.id();
    w.stores.quota.reserve(&ctx, id, demand("a", 6)).await?;
    for _ in 0..3 {
        settle(&w, &ctx, id, demand("a", 5)).await?;
        check(&w, &ctx, "a", [10, 5, 0, 0]).await?;
    }
    Ok(())
}

async fn a_negative_amount_is_refused(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    define(&w, &ctx, "a", 10).await?;
    let id = w.env.id();
    let mixed = vec![(key("a"), 3), (key("b"), -1)];
    refused("reserve", w.stores.quota.reserve(&ctx, id, mixed.clone()).await, InvalidInput)?;
    check(&w, &ctx, "a", [10, 0, 0, 0]).await?;
    w.stores.quota.reserve(&ctx, id, demand("a", 4)).await?;
    let held = Reservation { id, demand: demand("a", 4) };
    refused("settle", w.stores.quota.settle(&ctx, held, mixed).await, InvalidInput)?;
    check(&w, &ctx, "a", [10, 0, 4, 0]).await?;
    refused("a known id", w.stores.quota.reserve(&ctx, id, demand("a", -1)).await, InvalidInput)?;
    w.stores.quota.reserve(&ctx, w.env.id(), demand("a", 0)).await?;
    check(&w, &ctx, "a", [10, 0, 4, 0]).await
}

async fn an_overrun_is_no_room(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    define(&w, &ctx, "a", 10).await?;
    let (one, two, three): (ReservationId, ReservationId, _) = (w.env.id(), w.env.id(), w.env.id());
    w.stores.quota.reserve(&ctx, one, demand("a", 4)).await?;
    w.stores.quota.reserve(&ctx, two, demand("a", 6)).await?;
    // More was used than was held, while the rest of the room is held for others.
    settle(&w, &ctx, one, demand("a", 9)).await?;
    check(&w, &ctx, "a", [10, 9, 6, 5]).await?;
    refused("one more", w.stores.quota.reserve(&ctx, three, demand("a", 1)).await, BudgetExceeded)?;
    // Freed room is used up first; the overrun stays as high as it was.
    settle(&w, &ctx, two, Vec::new()).await?;
    check(&w, &ctx, "a", [10, 9, 0, 5]).await?;
    refused("two of one", w.stores.quota.reserve(&ctx, three, demand("a", 2)).await, BudgetExceeded)?;
    w.stores.quota.reserve(&ctx, three, demand("a", 1)).await?;
    settle(&w, &ctx, three, demand("a", 30)).await?;
    check(&w, &ctx, "a", [10, 39, 0, 29]).await?;
    refused("beyond", w.stores.quota.reserve(&ctx, one, demand("a", 1)).await, BudgetExceeded)?;
    refused("nothing at all", w.stores.quota.reserve(&ctx, one, demand("a", 0)).await, BudgetExceeded)?;
    // A higher limit opens the budget again.
    define(&w, &ctx, "a", 40).await?;
    w.stores.quota.reserve(&ctx, one, demand("a", 1)).await?;
    check(&w, &ctx, "a", [40, 39, 1, 29]).await
}

async fn a_limit_is_never_below_what_is_taken(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    define(&w, &ctx, "a", 10).await?;
    let (one, two) = (w.env.id(), w.env.id());
    w.stores.quota.reserve(&ctx, one, demand("a", 5)).await?;
    settle(&w, &ctx, one, demand("a", 3)).await?;
    w.stores.quota.reserve(&ctx, two, demand("a", 4)).await?;
    for cap in [0, -5, i64::MIN, 6] {
        define(&w, &ctx, "a", cap).await?;
        check(&w, &ctx, "a", [7, 3, 4, 0]).await?;
    }
    refused("closed", w.stores.quota.reserve(&ctx, w.env.id(), demand("a", 1)).await, BudgetExceeded)?;
    settle(&w, &ctx, two, demand("a", 14)).await?;
    check(&w, &ctx, "a", [7, 17, 0, 10]).await?;
    // What ran over is not counted again.
    define(&w, &ctx, "a", 0).await?;
    check(&w, &ctx, "a", [7, 17, 0, 10]).await?;
    define(&w, &ctx, "b", -3).await?;
    check(&w, &ctx, "b", [0, 0, 0, 0]).await
}

async fn a_budget_without_limit_always_has_room(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    for amount in [0, 5, i64::MAX, i64::MAX] {
        let id = w.env.id();
        w.stores.quota.reserve(&ctx, id, demand("a", amount)).await?;
        settle(&w, &ctx, id, demand("a", amount)).await?;
    }
    equal("the budget", &w.stores.quota.state(&ctx, &key("a")).await?, &None)?;
    define(&w, &ctx, "a", 5).await?;
    check(&w, &ctx, "a", [5, 0, 0, 0]).await
}

async fn amounts_do_not_overflow(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    define(&w, &ctx, "a", i64::MAX).await?;
    let (one, two) = (w.env.id(), w.env.id());
    w.stores.quota.reserve(&ctx, one, demand("a", i64::MAX - 1)).await?;
    for amount in [2, i64::MAX - 1, i64::MAX] {
        let result = w.stores.quota.reserve(&ctx, two, demand("a", amount)).await;
        refused(&format!("{amount} more"), result, BudgetExceeded)?;
    }
    w.stores.quota.reserve(&ctx, two, demand("a", 1)).await?;
    check(&w, &ctx, "a", [i64::MAX, 0, i64::MAX, 0]).await?;
    settle(&w, &ctx, one, demand("a", i64::MAX - 1)).await?;
    check(&w, &ctx, "a", [i64::MAX, i64::MAX - 1, 1, 0]).await
}

async fn a_limit_set_later_counts_what_is_held(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (one, two) = (w.env.id(), w.env.id());
    w.stores.quota.reserve(&ctx, one, demand("a", 6)).await?;
    define(&w, &ctx, "a", 10).await?;
    check(&w, &ctx, "a", [10, 0, 6, 0]).await?;
    refused("five of four", w.stores.quota.reserve(&ctx, two, demand("a", 5)).await, BudgetExceeded)?;
    settle(&w, &ctx, one, demand("a", 6)).await?;
    check(&w, &ctx, "a", [10, 6, 0, 0]).await?;
    // A limit that was removed and set again counts what is still held, not what was spent.
    w.stores.quota.reserve(&ctx, two, demand("a", 2)).await?;
    w.stores.quota.define(&ctx, &key("a"), None).await?;
    define(&w, &ctx, "a", 1).await?;
    check(&w, &ctx, "a", [2, 0, 2, 0]).await?;
    settle(&w, &ctx, two, demand("a", 1)).await?;
    check(&w, &ctx, "a", [2, 1, 0, 0]).await
}

async fn reservations_at_once_stay_within_the_limit(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    define(&w, &ctx, "a", 30).await?;
    define(&w, &ctx, "b", 31).await?;
    let both = || vec![(key("b"), 3), (key("a"), 3)];
    let reservations = (0..40).map(|_| w.stores.quota.reserve(&ctx, w.env.id(), both()));
    let mut held = 0;
    for result in join_all(reservations).await {
        match result {
            Ok(_) => held += 1,
            Err(error) => holds("the refusal", error.is(BudgetExceeded))?,
        }
    }
    equal("reservations", &held, &10)?;
    check(&w, &ctx, "a", [30, 0, 30, 0]).await?;
    check(&w, &ctx, "b", [31, 0, 30, 0]).await
}

async fn effects_apply_in_order(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (one, two) = (w.env.id(), w.env.id());
    let with = |quota: Vec<QuotaOp>| Effects { quota, ..Effects::none() };
    let ops = with(vec![
        QuotaOp::Define(key("a"), Some(5)),
        QuotaOp::Reserve(one, demand("a", 5)),
        QuotaOp::Settle(one, demand("a", 3)),
        QuotaOp::Reserve(two, demand("a", 2)),
    ]);
    w.stores.users.insert(&ctx, w.new_user("one@trial.example"), ops).await?;
    check(&w, &ctx, "a", [5, 3, 2, 0]).await?;
    let user = w.new_user("two@trial.example");
    for (what, kind, ops) in [
        (
            "the limit comes too late",
            BudgetExceeded,
            vec![QuotaOp::Reserve(w.env.id(), demand("a", 1)), QuotaOp::Define(key("a"), Some(50))],
        ),
        (
            "a negative settlement",
            InvalidInput,
            vec![QuotaOp::Settle(two, demand("a", 1)), QuotaOp::Settle(one, demand("a", -1))],
        ),
        (
            "a negative demand",
            InvalidInput,
            vec![QuotaOp::Define(key("a"), None), QuotaOp::Reserve(w.env.id(), demand("a", -1))],
        ),
    ] {
        let call = w.stores.users.insert(&ctx, user.clone(), with(ops));
        w.refuses(&ctx, what, kind, call).await?;
        check(&w, &ctx, "a", [5, 3, 2, 0]).await?;
    }
    Ok(())
}

async fn tenants_have_budgets_of_their_own(w: World) -> Outcome {
    let (one, two) = (w.tenant().await?, w.tenant().await?);
    define(&w, &one, "a", 5).await?;
    define(&w, &two, "a", 7).await?;
    let id = w.env.id();
    w.stores.quota.reserve(&one, id, demand("a", 5)).await?;
    // Ids are used within a tenant.
    w.stores.quota.reserve(&two, id, demand("a", 6)).await?;
    check(&w, &one, "a", [5, 0, 5, 0]).await?;
    settle(&w, &two, id, demand("a", 1)).await?;
    check(&w, &two, "a", [7, 1, 0, 0]).await?;
    check(&w, &one, "a", [5, 0, 5, 0]).await?;
    let nobody = w.tenant().await?;
    equal("another tenant", &w.stores.quota.state(&nobody, &key("a")).await?, &None)
}
