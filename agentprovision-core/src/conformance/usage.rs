//! The trials of [`UsageReader`](crate::usage::UsageReader).

use std::collections::BTreeMap;

use super::check::{Outcome, equal};
use super::world::{World, naughty};
use crate::clock::Timestamp;
use crate::context::Context;
use crate::effect::Effects;
use crate::money::NanoUsd;
use crate::usage::{Meter, Period, UsageEvent, UsageSummary};

super::suite! { "UsageReader":
    an_event_is_kept_as_it_is,
    events_come_in_the_order_of_their_ids,
    a_second_delivery_does_nothing,
    sums_are_per_meter,
    a_period_has_its_start_and_not_its_end,
    an_unknown_cost_is_not_zero,
    a_sum_of_costs_is_exact,
    tenants_have_usage_of_their_own,
}

async fn write(w: &World, ctx: &Context, usage: Vec<UsageEvent>) -> Outcome {
    let user = w.new_user(&format!("{}@trial.example", w.mark()));
    Ok(w.stores.users.insert(ctx, user, Effects { usage, ..Effects::none() }).await?)
}

async fn an_event_is_kept_as_it_is(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let mut events = vec![w.usage(Meter::LlmRequests, 0)];
    for (n, text) in naughty().into_iter().enumerate() {
        let meter = Meter::ALL.iter().copied().cycle().nth(n).unwrap_or(Meter::ComputeMs);
        events.push(UsageEvent {
            at: w.after(n as u64),
            user: Some(w.env.id()),
            agent: Some(w.env.id()),
            run: Some(w.env.id()),
            model: Some(text),
            cost: Some(NanoUsd::from_nanos(i64::MAX - 1)),
            ..w.usage(meter, u64::from(u32::MAX) + 7)
        });
    }
    write(&w, &ctx, events.clone()).await?;
    equal("the events", &w.stores.usage.events(&ctx, None, 100).await?, &events)
}

async fn events_come_in_the_order_of_their_ids(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let events: Vec<_> = (1..10).map(|n| w.usage(Meter::ComputeMs, n)).collect();
    for part in [[7, 1, 4], [8, 3, 0], [5, 6, 2]] {
        let part = part.iter().filter_map(|index: &usize| events.get(*index).cloned()).collect();
        write(&w, &ctx, part).await?;
    }
    equal("all", &w.stores.usage.events(&ctx, None, 100).await?, &events)?;
    let mut read = Vec::new();
    loop {
        let after = read.last().map(|event: &UsageEvent| event.id);
        let more = w.stores.usage.events(&ctx, after, 2).await?;
        if more.is_empty() {
            break;
        }
        equal("at most two", &more.len().min(2), &more.len())?;
        read.extend(more);
    }
    equal("two at a time", &read, &events)?;
    equal("none asked for", &w.stores.usage.events(&ctx, None, 0).await?, &Vec::new())
}

async fn a_second_delivery_does_nothing(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let first = w.usage(Meter::ComputeMs, 5);
    let again = UsageEvent { quantity: 7, meter: Meter::EgressBytes, ..first.clone() };
    let other = w.usage(Meter::ComputeMs, 1);
    write(&w, &ctx, vec![first.clone(), again.clone()]).await?;
    // The repeated event is left out, and the one beside it is taken.
    write(&w, &ctx, vec![again, other.clone()]).await?;
    equal("the events", &w.stores.usage.events(&ctx, None, 10).await?, &vec![first, other])?;
    let sums = w.stores.usage.summary(&ctx, Period::ALL).await?;
    equal("the sums", &sums.meters, &BTreeMap::from([(Meter::ComputeMs, 6)]))
}

async fn sums_are_per_meter(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    equal("without usage", &w.stores.usage.summary(&ctx, Period::ALL).await?, &UsageSummary::default())?;
    let mut expected = BTreeMap::new();
    for (n, meter) in (1..).zip(Meter::ALL) {
        write(&w, &ctx, vec![w.usage(*meter, n), w.usage(*meter, 1 << 40)]).await?;
        expected.insert(*meter, n + (1 << 40));
    }
    equal("all meters", &w.stores.usage.summary(&ctx, Period::ALL).await?.meters, &expected)
}

async fn a_period_has_its_start_and_not_its_end(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let start = w.env.now();
    let at = |micros: i64| Timestamp::from_micros(start.micros() + micros);
    let events =
        [-1, 0, 1, 9, 10, 11].map(|micros| UsageEvent { at: at(micros), ..w.usage(Meter::ComputeMs, 1) });
    write(&w, &ctx, events.to_vec()).await?;
    for (start, end, expected) in
        [(0, 10, Some(3)), (1, 2, Some(1)), (-9, 99, Some(6)), (5, 5, None), (10, 0, None)]
    {
        let period = Period { start: at(start), end: at(end) };
        let sum = w.stores.usage.summary(&ctx, period).await?.meters.get(&Meter::ComputeMs).copied();
        equal(&format!("from {start} to {end}"), &sum, &expected)?;
    }
    Ok(())
}

async fn an_unknown_cost_is_not_zero(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let with =
        |meter, cost: Option<i64>| UsageEvent { cost: cost.map(NanoUsd::from_nanos), ..w.usage(meter, 1) };
    let events = vec![
        with(Meter::LlmRequests, Some(0)),
        with(Meter::LlmRequests, Some(5)),
        with(Meter::LlmRequests, None),
        with(Meter::LlmRequests, None),
        with(Meter::LlmTokensInput, None),
        with(Meter::ComputeMs, Some(-2)),
    ];
    write(&w, &ctx, events).await?;
    let sums = w.stores.usage.summary(&ctx, Period::ALL).await?;
    equal("the known costs", &sums.cost_usd, &NanoUsd::from_nanos(3))?;
    equal("requests without price", &sums.unpriced_requests, &2)
}

async fn a_sum_of_costs_is_exact(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    // 0.1 and 0.2 as floats, and integers beyond the exact range of one.
    let costs = [100_000_000, 200_000_000, (1 << 60) + 1, 1, -(1 << 59)];
    let events = costs
        .map(|nanos| UsageEvent { cost: Some(NanoUsd::from_nanos(nanos)), ..w.usage(Meter::LlmRequests, 1) });
    write(&w, &ctx, events.to_vec()).await?;
    let sums = w.stores.usage.summary(&ctx, Period::ALL).await?;
    equal("the sum", &sums.cost_usd.nanos(), &costs.iter().sum())
}

async fn tenants_have_usage_of_their_own(w: World) -> Outcome {
    let (one, two, none) = (w.tenant().await?, w.tenant().await?, w.ctx(w.env.id()));
    let event = w.usage(Meter::ComputeMs, 3);
    // Ids are known within a tenant.
    let twin = UsageEvent { quantity: 4, ..event.clone() };
    write(&w, &one, vec![event.clone()]).await?;
    write(&w, &two, vec![twin.clone()]).await?;
    for (ctx, expected) in [(&one, vec![event]), (&two, vec![twin]), (&none, vec![])] {
        equal("the events", &w.stores.usage.events(ctx, None, 10).await?, &expected)?;
        let sum = w.stores.usage.summary(ctx, Period::ALL).await?.meters.get(&Meter::ComputeMs).copied();
        equal("the sum", &sum, &expected.first().map(|event| event.quantity))?;
    }
    Ok(())
}
