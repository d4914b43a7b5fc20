//! The trials of [`Inbox`](crate::webhook::Inbox) on keeping deliveries, and on marks.

use futures_util::future::join_all;

use super::check::{Checked, Outcome, equal, holds, refused};
use super::records::{INSERTED, TIMES, at};
use super::world::{World, check_pages, naughty};
use crate::context::Context;
use crate::effect::Effects;
use crate::error::ErrorKind::{InvalidInput, NotFound, TenantSuspended, TooLarge};
use crate::id::{DeliveryId, EndpointId};
use crate::page::Cursor;
use crate::tenant::TenantState;
use crate::webhook::{
    Accepted, Delivery, DeliveryState, EndpointState, MAX_TEXT, NewDelivery, WebhookEndpoint,
};

super::suite! { "Inbox":
    a_delivery_is_kept_as_it_came,
    what_comes_again_is_counted,
    of_many_at_once_one_is_new,
    of_many_at_once_with_other_bodies_one_is_kept,
    keys_are_told_apart_by_their_bytes,
    endpoints_and_tenants_have_keys_of_their_own,
    a_delivery_for_nobody_is_refused,
    what_cannot_be_stored_is_refused,
    a_list_is_ordered_and_paged_without_bodies,
    a_foreign_delivery_is_not_found,
    a_mark_ends_at_the_greatest_version,
    of_many_at_once_the_greatest_version_stays,
    versions_are_compared_by_their_bytes,
    marks_are_their_endpoints_own,
}

/// An endpoint of a tenant.
pub(super) async fn endpoint(w: &World) -> Checked<(Context, EndpointId)> {
    let ctx = w.tenant().await?;
    let id = w.endpoint(&ctx).await?.id;
    Ok((ctx, id))
}

/// Adds a delivery, which has to be new.
pub(super) async fn deliver(
    w: &World,
    ctx: &Context,
    endpoint: EndpointId,
    key: &str,
) -> Checked<DeliveryId> {
    let delivery = w.new_delivery(endpoint, key);
    let id = delivery.id;
    equal(key, &w.stores.inbox.accept(ctx.tenant(), delivery).await?, &Accepted::New)?;
    Ok(id)
}

/// A delivery nobody has worked on.
fn fresh(new: NewDelivery) -> Delivery {
    Delivery {
        new,
        state: DeliveryState::Pending,
        attempts: 0,
        error: None,
        runs: Vec::new(),
        repeats: 0,
        conflicts: 0,
        conflict_digest: None,
        finished_at: None,
    }
}

/// Whether two deliveries are the same in everything; a failure shows their ids.
fn same(what: &str, seen: &Delivery, expected: &Delivery) -> Outcome {
    equal(what, seen, expected)?;
    equal(what, &seen.new.headers, &expected.new.headers)?;
    holds(what, seen.new.body == expected.new.body && seen.new.digest == expected.new.digest)
}

async fn a_delivery_is_kept_as_it_came(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    let mut texts = naughty();
    texts.retain(|text| text.len() <= MAX_TEXT);
    let bodies = [Vec::new(), (0..=255).collect(), vec![0xff; 300_000]];
    for (n, (text, body)) in (0..).zip(texts.iter().zip(bodies.iter().cycle())) {
        let new = NewDelivery {
            digest: [n; 32],
            kind: text.clone(),
            headers: format!("{{\"x-text\":{:?}}}", text),
            body: body.clone(),
            received_at: w.after(u64::from(n)),
            ..w.new_delivery(endpoint, text)
        };
        equal(text, &w.stores.inbox.accept(ctx.tenant(), new.clone()).await?, &Accepted::New)?;
        same(text, &w.stores.inbox.get(&ctx, new.id).await?, &fresh(new))?;
    }
    Ok(())
}

async fn what_comes_again_is_counted(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    let (inbox, first) = (&w.stores.inbox, w.new_delivery(endpoint, "once"));
    let accept = |new| inbox.accept(ctx.tenant(), new);
    equal("the first", &accept(first.clone()).await?, &Accepted::New)?;
    w.tick();
    // The same one once more, and one that is made anew of the same request.
    equal("again", &accept(first.clone()).await?, &Accepted::Again)?;
    equal("again", &accept(w.new_delivery(endpoint, "once")).await?, &Accepted::Again)?;
    let other = NewDelivery { digest: [8; 32], body: vec![8], ..w.new_delivery(endpoint, "once") };
    for _ in 0..3 {
        equal("another body", &accept(other.clone()).await?, &Accepted::Conflict)?;
    }
    let last = NewDelivery { digest: [9; 32], body: vec![9], ..w.new_delivery(endpoint, "once") };
    equal("a third body", &accept(last.clone()).await?, &Accepted::Conflict)?;
    equal("the first body again", &accept(first.clone()).await?, &Accepted::Again)?;
    let counts = Delivery { repeats: 3, conflicts: 4, ..fresh(first.clone()) };
    let expected = Delivery { conflict_digest: Some(last.digest), ..counts };
    same("what is kept", &inbox.get(&ctx, first.id).await?, &expected)?;
    refused("the other one", inbox.get(&ctx, other.id).await, NotFound)?;
    Ok(())
}

async fn of_many_at_once_one_is_new(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    let many: Vec<NewDelivery> = (0..100).map(|_| w.new_delivery(endpoint, "once")).collect();
    let ids: Vec<DeliveryId> = many.iter().map(|new| new.id).collect();
    let calls = many.into_iter().map(|new| w.stores.inbox.accept(ctx.tenant(), new));
    let mut kept = Vec::new();
    for (id, accepted) in ids.into_iter().zip(join_all(calls).await) {
        match accepted? {
            Accepted::New => kept.push(id),
            other => equal("the others", &other, &Accepted::Again)?,
        }
    }
    let [id] = kept[..] else { return Err(super::Failure::new(format_args!("{} are new", kept.len()))) };
    let delivery = w.stores.inbox.get(&ctx, id).await?;
    equal("the others", &(delivery.repeats, delivery.conflicts), &(99, 0))?;
    let list = w.stores.inbox.list(&ctx, endpoint, crate::page::PageRequest::default()).await?;
    equal("the list", &list.items.len(), &1)?;
    let claimed = w.stores.inbox.claim(w.env.id(), super::idempotency::TERM, 100, None).await?;
    equal("what is worked on", &claimed.len(), &1)
}

async fn of_many_at_once_with_other_bodies_one_is_kept(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    for key in ["a", "b", "c"] {
        let many = (0..20_u8).map(|n| {
            let new = NewDelivery { digest: [n % 4; 32], body: vec![n % 4], ..w.new_delivery(endpoint, key) };
            async {
                let digest = new.digest;
                (digest, new.id, w.stores.inbox.accept(ctx.tenant(), new).await)
            }
        });
        let mut answers = Vec::new();
        for (digest, id, accepted) in join_all(many).await {
            answers.push((digest, id, accepted?));
        }
        let new: Vec<_> = answers.iter().filter(|(.., accepted)| *accepted == Accepted::New).collect();
        let [(kept, id, _)] = new[..] else {
            return Err(super::Failure::new(format_args!("{} are new", new.len())));
        };
        for (digest, _, accepted) in &answers {
            holds("whose body it is", (digest == kept) == (*accepted != Accepted::Conflict))?;
        }
        let delivery = w.stores.inbox.get(&ctx, *id).await?;
        equal("its body", &delivery.new.digest, kept)?;
        equal("the counts", &(delivery.repeats, delivery.conflicts), &(4, 15))?;
        let other = delivery.conflict_digest;
        let told =
            other.is_some_and(|other| other != *kept && answers.iter().any(|(seen, ..)| *seen == other));
        holds("the digest of another body", told)?;
    }
    Ok(())
}

async fn keys_are_told_apart_by_their_bytes(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    let mut texts = naughty();
    texts.retain(|text| text.len() <= MAX_TEXT);
    texts.extend(["a", "A", "a ", "%", "_", "\u{e9}", "e\u{301}"].map(str::to_owned));
    texts.push("k".repeat(MAX_TEXT));
    texts.sort();
    texts.dedup();
    for expected in [Accepted::New, Accepted::Again] {
        for text in &texts {
            let accepted = w.stores.inbox.accept(ctx.tenant(), w.new_delivery(endpoint, text)).await?;
            equal(text, &accepted, &expected)?;
        }
    }
    Ok(())
}

async fn endpoints_and_tenants_have_keys_of_their_own(w: World) -> Outcome {
    let (ctx, one) = endpoint(&w).await?;
    let (two, foreign) = (w.endpoint(&ctx).await?.id, w.tenant().await?);
    // An endpoint with the same id, of another tenant.
    let same = WebhookEndpoint { id: one, ..w.new_endpoint("same") };
    w.stores.endpoints.insert(&foreign, same, Effects::none()).await?;
    for (ctx, endpoint) in [(&ctx, one), (&ctx, two), (&foreign, one)] {
        deliver(&w, ctx, endpoint, "once").await?;
    }
    Ok(())
}

async fn a_delivery_for_nobody_is_refused(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    let (other, inbox) = (w.tenant().await?, &w.stores.inbox);
    let new = || w.new_delivery(endpoint, "once");
    let unknown = w.new_delivery(w.env.id(), "once");
    w.refuses(&ctx, "an unknown endpoint", NotFound, inbox.accept(ctx.tenant(), unknown)).await?;
    let call = inbox.accept(other.tenant(), new());
    w.refuses(&other, "an endpoint of another tenant", NotFound, call).await?;
    refused("an unknown tenant", inbox.accept(w.env.id(), new()).await, NotFound)?;
    let off = WebhookEndpoint { state: EndpointState::Disabled, ..w.new_endpoint("off") };
    w.stores.endpoints.insert(&ctx, off.clone(), Effects::none()).await?;
    let call = inbox.accept(ctx.tenant(), w.new_delivery(off.id, "once"));
    w.refuses(&ctx, "a disabled endpoint", NotFound, call).await?;
    deliver(&w, &ctx, endpoint, "once").await?;
    w.set_state(ctx.tenant(), TenantState::Suspended).await?;
    let call = inbox.accept(ctx.tenant(), new());
    w.refuses(&ctx, "a suspended tenant, and a key that is there", TenantSuspended, call).await?;
    w.set_state(ctx.tenant(), TenantState::Deleted).await?;
    refused("a deleted tenant", inbox.accept(ctx.tenant(), new()).await, NotFound)?;
    Ok(())
}

async fn what_cannot_be_stored_is_refused(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    let long = "k".repeat(MAX_TEXT + 1);
    for (key, kind) in [("", InvalidInput), ("a\0", InvalidInput), (&long, TooLarge)] {
        let call = w.stores.inbox.accept(ctx.tenant(), w.new_delivery(endpoint, key));
        w.refuses(&ctx, "a key", kind, call).await?;
        let call = w.stores.inbox.advance(ctx.tenant(), endpoint, key, "1").await;
        refused("the key of a mark", call, kind)?;
        let call = w.stores.inbox.advance(ctx.tenant(), endpoint, "key", key).await;
        refused("the version of a mark", call, kind)?;
    }
    let new = NewDelivery { kind: "\0".into(), ..w.new_delivery(endpoint, "k") };
    w.refuses(&ctx, "a kind", InvalidInput, w.stores.inbox.accept(ctx.tenant(), new)).await?;
    let new = NewDelivery { kind: long, ..w.new_delivery(endpoint, "k") };
    w.refuses(&ctx, "a kind", TooLarge, w.stores.inbox.accept(ctx.tenant(), new)).await?;
    Ok(())
}

async fn a_list_is_ordered_and_paged_without_bodies(w: World) -> Outcome {
    let (ctx, one) = endpoint(&w).await?;
    let other = w.endpoint(&ctx).await?.id;
    deliver(&w, &ctx, other, "other").await?;
    let start = w.env.now();
    let mut made = TIMES.map(|millis| {
        let new = w.new_delivery(one, &format!("key {}", w.mark()));
        NewDelivery { received_at: at(start, millis), body: b"canary".to_vec(), ..new }
    });
    for new in INSERTED.iter().filter_map(|index| made.get(*index)) {
        w.stores.inbox.accept(ctx.tenant(), new.clone()).await?;
    }
    made.sort_by_key(|new| (new.received_at, new.id));
    let ids: Vec<DeliveryId> = made.iter().map(|new| new.id).collect();
    let position =
        |delivery: &Delivery| Cursor { created: delivery.new.received_at, id: delivery.new.id.uuid() };
    let list = |page| w.stores.inbox.list(&ctx, one, page);
    check_pages("deliveries", &ids, |delivery| delivery.new.id, position, list).await?;
    let listed = list(crate::page::PageRequest::limit(100)).await?;
    for (seen, new) in listed.items.iter().zip(made) {
        same("a listed one", seen, &fresh(NewDelivery { body: Vec::new(), ..new }))?;
    }
    Ok(())
}

async fn a_foreign_delivery_is_not_found(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    let foreign = w.tenant().await?;
    let id = deliver(&w, &ctx, endpoint, "once").await?;
    let inbox = &w.stores.inbox;
    refused("get", inbox.get(&foreign, id).await, NotFound)?;
    refused("an unknown one", inbox.get(&ctx, w.env.id()).await, NotFound)?;
    let list = inbox.list(&foreign, endpoint, crate::page::PageRequest::default()).await?;
    equal("list", &list.items, &Vec::new())?;
    let call = inbox.replay(&foreign, id, w.effects(&foreign));
    w.refuses(&foreign, "replay", NotFound, call).await?;
    Ok(())
}

/// All orders of some things.
fn permutations<T: Clone>(all: &[T]) -> Vec<Vec<T>> {
    let Some((last, others)) = all.split_last() else { return vec![Vec::new()] };
    let mut found = Vec::new();
    for order in permutations(others) {
        for place in 0..=order.len() {
            let mut order = order.clone();
            order.insert(place, last.clone());
            found.push(order);
        }
    }
    found
}

async fn a_mark_ends_at_the_greatest_version(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    let (inbox, tenant) = (&w.stores.inbox, ctx.tenant());
    for (n, order) in permutations(&["1", "2", "3", "4"]).into_iter().enumerate() {
        let key = format!("key {n}");
        equal("before", &inbox.mark(tenant, endpoint, &key).await?, &None)?;
        let mut greatest = "";
        for version in &order {
            let moved = inbox.advance(tenant, endpoint, &key, version).await?;
            equal(&format!("{order:?} {version}"), &moved, &(*version > greatest))?;
            greatest = greatest.max(version);
            let mark = inbox.mark(tenant, endpoint, &key).await?;
            equal("the mark", &mark.as_deref(), &Some(greatest))?;
        }
        for version in order {
            equal("a second time", &inbox.advance(tenant, endpoint, &key, version).await?, &false)?;
        }
        equal("in the end", &inbox.mark(tenant, endpoint, &key).await?.as_deref(), &Some("4"))?;
    }
    Ok(())
}

async fn of_many_at_once_the_greatest_version_stays(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    let (inbox, tenant) = (&w.stores.inbox, ctx.tenant());
    for key in ["a", "b", "c"] {
        // Each version twice: no more than one of the two moves the mark.
        let versions: Vec<String> = (0..24).map(|n| format!("{:02}", (n * 7) % 12)).collect();
        let moves =
            join_all(versions.iter().map(|version| inbox.advance(tenant, endpoint, key, version))).await;
        let mut moved = Vec::new();
        for (version, result) in versions.iter().zip(moves) {
            if result? {
                moved.push(version);
            }
        }
        let count = moved.len();
        moved.sort_unstable();
        moved.dedup();
        equal("each moves it once", &moved.len(), &count)?;
        equal("the last of them", &moved.pop().map(String::as_str), &Some("11"))?;
        equal("the mark", &inbox.mark(tenant, endpoint, key).await?.as_deref(), &Some("11"))?;
    }
    Ok(())
}

async fn versions_are_compared_by_their_bytes(w: World) -> Outcome {
    let (ctx, endpoint) = endpoint(&w).await?;
    let mut texts = naughty();
    texts.retain(|text| text.len() <= MAX_TEXT);
    texts.extend(["10", "9", "A", "a", "B", "b", "\u{e9}", "z"].map(str::to_owned));
    texts.sort();
    texts.dedup();
    for version in &texts {
        let moved = w.stores.inbox.advance(ctx.tenant(), endpoint, "key", version).await?;
        equal(version, &moved, &true)?;
    }
    for version in &texts {
        let moved = w.stores.inbox.advance(ctx.tenant(), endpoint, "key", version).await?;
        equal(version, &moved, &false)?;
    }
    Ok(())
}

async fn marks_are_their_endpoints_own(w: World) -> Outcome {
    let (ctx, one) = endpoint(&w).await?;
    let (two, foreign) = (w.endpoint(&ctx).await?.id, w.tenant().await?);
    let inbox = &w.stores.inbox;
    equal("the first", &inbox.advance(ctx.tenant(), one, "key", "9").await?, &true)?;
    for (key, endpoint) in [("Key", one), ("key ", one), ("key", two)] {
        equal("another mark", &inbox.mark(ctx.tenant(), endpoint, key).await?, &None)?;
        equal(key, &inbox.advance(ctx.tenant(), endpoint, key, "1").await?, &true)?;
    }
    equal("a foreign one", &inbox.mark(foreign.tenant(), one, "key").await?, &None)?;
    refused("a foreign one", inbox.advance(foreign.tenant(), one, "key", "1").await, NotFound)?;
    equal("the first", &inbox.mark(ctx.tenant(), one, "key").await?.as_deref(), &Some("9"))
}
