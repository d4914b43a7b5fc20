//! The trials of [`EventLog`](crate::event::EventLog).

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::json;

use super::check::{Checked, Outcome, equal, refused};
use super::world::{World, naughty};
use crate::context::Context;
use crate::effect::Effects;
use crate::error::ErrorKind::BudgetExceeded;
use crate::event::{NumberedEvent, PlatformEvent};

super::suite! { "EventLog":
    an_event_is_kept_as_it_is,
    numbers_have_no_gap,
    events_are_read_from_any_number,
    tenants_have_numbers_of_their_own,
    unpublished_events_come_in_order,
    a_confirmed_event_is_published_once,
    any_event_may_be_confirmed_again,
    a_refused_change_leaves_no_gap,
    writers_and_readers_at_once_see_one_log,
}

/// Writes events through a change.
async fn write(w: &World, ctx: &Context, events: Vec<PlatformEvent>) -> Outcome {
    let user = w.new_user(&format!("{}@trial.example", w.mark()));
    Ok(w.stores.users.insert(ctx, user, Effects { events, ..Effects::none() }).await?)
}

fn event(w: &World, ctx: &Context) -> PlatformEvent {
    PlatformEvent::of(ctx, &w.env, "trial.made", w.mark(), json!({ "n": w.mark() }))
}

/// Writes `count` events, one to three at a time.
async fn log(w: &World, ctx: &Context, count: usize) -> Checked<Vec<PlatformEvent>> {
    let mut all = Vec::new();
    while all.len() < count {
        let size = (1 + all.len() % 3).min(count - all.len());
        let events: Vec<_> = (0..size).map(|_| event(w, ctx)).collect();
        write(w, ctx, events.clone()).await?;
        all.extend(events);
    }
    Ok(all)
}

fn numbered(events: &[PlatformEvent]) -> Vec<NumberedEvent> {
    (1..).zip(events).map(|(seq, event)| NumberedEvent { seq, event: event.clone() }).collect()
}

async fn an_event_is_kept_as_it_is(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let mut events = vec![PlatformEvent {
        subject: None,
        ..PlatformEvent::new(&w.env, ctx.tenant(), "trial.made", 1, json!({}))
    }];
    for text in naughty() {
        let data = json!({ &text: [text, 0.1, 1, null, i64::MIN, u64::MAX, { "deep": { "deeper": [[]] } }] });
        events.push(PlatformEvent {
            source: format!("/{text}"),
            kind: text.clone(),
            subject: Some(text.clone()),
            time: w.after(3),
            correlationid: text.clone(),
            causationid: Some(text.clone()),
            userid: Some(text.clone()),
            traceparent: Some(text.clone()),
            dataversion: text,
            ..PlatformEvent::of(&ctx, &w.env, "trial.made", 1, data)
        });
    }
    write(&w, &ctx, events.clone()).await?;
    equal("read", &w.stores.events.read(&ctx, 0, 100).await?, &numbered(&events))?;
    equal("unpublished", &w.stores.events.unpublished(100).await?, &numbered(&events))
}

async fn numbers_have_no_gap(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    equal("none yet", &w.stores.events.read(&ctx, 0, 10).await?, &Vec::new())?;
    let mut all = Vec::new();
    for count in [1, 1, 2, 7, 1, 20] {
        let events: Vec<_> = (0..count).map(|_| event(&w, &ctx)).collect();
        write(&w, &ctx, events.clone()).await?;
        all.extend(events);
        // Reading in between numbers the events in several steps.
        equal("the events", &w.stores.events.read(&ctx, 0, 1000).await?, &numbered(&all))?;
    }
    Ok(())
}

async fn events_are_read_from_any_number(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let all = numbered(&log(&w, &ctx, 10).await?);
    for (after, limit) in [(0, 10), (0, 3), (0, 0), (4, 2), (9, 5), (10, 5), (1_000_000, 1)] {
        let expected: Vec<_> =
            all.iter().filter(|event| event.seq > after).take(limit as usize).cloned().collect();
        let read = w.stores.events.read(&ctx, after, limit).await?;
        equal(&format!("{limit} events after {after}"), &read, &expected)?;
    }
    Ok(())
}

async fn tenants_have_numbers_of_their_own(w: World) -> Outcome {
    let (one, two) = (w.tenant().await?, w.tenant().await?);
    let (mut ones, mut twos) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        ones.extend(log(&w, &one, 2).await?);
        twos.extend(log(&w, &two, 3).await?);
    }
    equal("one", &w.stores.events.read(&one, 0, 100).await?, &numbered(&ones))?;
    equal("two", &w.stores.events.read(&two, 0, 100).await?, &numbered(&twos))?;
    let nobody = w.ctx(w.env.id());
    equal("an unknown tenant", &w.stores.events.read(&nobody, 0, 100).await?, &Vec::new())
}

async fn unpublished_events_come_in_order(w: World) -> Outcome {
    let (one, two) = (w.tenant().await?, w.tenant().await?);
    equal("none yet", &w.stores.events.unpublished(10).await?, &Vec::new())?;
    // The later tenant writes first.
    let mut all = numbered(&log(&w, &two, 4).await?);
    all.extend(numbered(&log(&w, &one, 4).await?));
    all.sort_by_key(|event| (event.event.tenantid, event.seq));
    for limit in [0, 1, 5, 8, 100] {
        let expected: Vec<_> = all.iter().take(limit).cloned().collect();
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        equal(&format!("at most {limit}"), &w.stores.events.unpublished(limit).await?, &expected)?;
    }
    Ok(())
}

async fn a_confirmed_event_is_published_once(w: World) -> Outcome {
    let (one, two) = (w.tenant().await?, w.tenant().await?);
    let all = numbered(&log(&w, &one, 6).await?);
    let others = numbered(&log(&w, &two, 1).await?);
    w.stores.events.published(&[]).await?;
    let some = |wanted: &[u64]| -> Vec<_> {
        all.iter().filter(|event| wanted.contains(&event.seq)).cloned().collect()
    };
    w.stores.events.published(&some(&[2, 5])).await?;
    let mut left = some(&[1, 3, 4, 6]);
    left.extend(others.clone());
    equal("the rest", &w.stores.events.unpublished(10).await?, &left)?;
    w.stores.events.published(&left).await?;
    equal("all confirmed", &w.stores.events.unpublished(10).await?, &Vec::new())?;
    equal("still to be read", &w.stores.events.read(&one, 0, 10).await?, &all)?;
    let more = log(&w, &one, 1).await?;
    let next: Vec<_> = more.into_iter().map(|event| NumberedEvent { seq: 7, event }).collect();
    equal("new ones", &w.stores.events.unpublished(10).await?, &next)
}

async fn any_event_may_be_confirmed_again(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let all = numbered(&log(&w, &ctx, 2).await?);
    for _ in 0..2 {
        w.stores.events.published(all.get(..1).unwrap_or_default()).await?;
    }
    // Numbers that are not there, and an unknown tenant's event.
    let unknown = w.ctx(w.env.id());
    let strange = [
        NumberedEvent { seq: 99, event: event(&w, &ctx) },
        NumberedEvent { seq: 0, event: event(&w, &ctx) },
        NumberedEvent { seq: 1, event: event(&w, &unknown) },
    ];
    w.stores.events.published(&strange).await?;
    equal("the rest", &w.stores.events.unpublished(10).await?.as_slice(), &all.get(1..).unwrap_or_default())
}

async fn a_refused_change_leaves_no_gap(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let mut all = Vec::new();
    for _ in 0..3 {
        all.extend(log(&w, &ctx, 2).await?);
        let refusal = w.stores.users.insert(&ctx, w.new_user("never@trial.example"), w.overdrawn(&ctx)).await;
        refused("no room", refusal, BudgetExceeded)?;
    }
    equal("the events", &w.stores.events.read(&ctx, 0, 100).await?, &numbered(&all))
}

async fn writers_and_readers_at_once_see_one_log(w: World) -> Outcome {
    const WRITERS: usize = 30;
    let ctx = w.tenant().await?;
    let one = |_| {
        let (w, ctx) = (&w, &ctx);
        async move {
            let events = [event(w, ctx), event(w, ctx)];
            write(w, ctx, events.to_vec()).await?;
            let read = w.stores.events.read(ctx, 0, 1000).await?;
            let unpublished = w.stores.events.unpublished(1000).await?;
            let numbers: Vec<_> = read.iter().map(|event| event.seq).collect();
            equal("numbers", &numbers, &(1..=read.len() as u64).collect())?;
            let at = read.windows(2).filter(|pair| pair.iter().map(|event| &event.event).eq(&events)).count();
            equal("a writer's events, side by side", &at, &1)?;
            equal("what was read is unpublished", &unpublished.get(..read.len()), &Some(&*read))?;
            Ok::<_, super::Failure>(read)
        }
    };
    let reads = join_all((0..WRITERS).map(one)).await;
    let all = w.stores.events.read(&ctx, 0, 1000).await?;
    equal("events", &all.len(), &(2 * WRITERS))?;
    let ids: BTreeSet<_> = all.iter().map(|event| event.event.id).collect();
    equal("distinct", &ids.len(), &all.len())?;
    for read in reads {
        let read = read?;
        equal("a log seen in between", &all.get(..read.len()), &Some(&*read))?;
    }
    Ok(())
}
