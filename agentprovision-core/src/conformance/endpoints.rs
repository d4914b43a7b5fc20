//! The trials of [`EndpointStore`](crate::webhook::EndpointStore).

use std::time::Duration;

use serde_json::json;

use super::check::{Outcome, equal, refused};
use super::records::{INSERTED, TIMES, at};
use super::world::{World, check_pages, naughty};
use crate::effect::Effects;
use crate::error::ErrorKind::{AlreadyExists, BudgetExceeded, Conflict, NotFound, TenantSuspended};
use crate::page::{Cursor, PageRequest};
use crate::tenant::TenantState;
use crate::webhook::{Accepted, DeliveryEnd, EndpointState, WebhookEndpoint};

super::suite! { "EndpointStore":
    an_endpoint_is_kept_as_it_is,
    a_taken_id_or_name_is_refused,
    names_are_unique_by_bytes,
    a_list_is_ordered_and_paged,
    a_replacement_needs_the_revision,
    a_replacement_counts_the_revision,
    a_deleted_endpoint_is_gone,
    what_was_delivered_goes_with_its_endpoint,
    a_foreign_endpoint_is_not_found,
    guards_come_before_everything_else,
    effects_commit_with_the_change,
    a_refused_effect_leaves_nothing,
}

fn position(endpoint: &WebhookEndpoint) -> Cursor {
    Cursor { created: endpoint.created_at, id: endpoint.id.uuid() }
}

async fn an_endpoint_is_kept_as_it_is(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    for (n, text) in naughty().into_iter().enumerate() {
        let state = EndpointState::ALL.iter().copied().cycle().nth(n);
        let endpoint = WebhookEndpoint {
            vendor: text.clone(),
            scheme: json!({ "text": text, "n": [n, 0.1, 1e300, -7, null, true], "in": { &*text: {} } }),
            integration: (n % 2 == 0).then(|| w.env.id()),
            triggers: json!([{ "input": text }, n]),
            state: state.unwrap_or(EndpointState::Active),
            updated_at: w.after(2),
            ..w.new_endpoint(&text)
        };
        w.stores.endpoints.insert(&ctx, endpoint.clone(), w.effects(&ctx)).await?;
        equal(&text, &w.stores.endpoints.get(&ctx, endpoint.id).await?, &endpoint)?;
        let looked_up = w.stores.endpoints.lookup(ctx.tenant(), endpoint.id).await?;
        equal("looked up", &looked_up, &endpoint)?;
    }
    Ok(())
}

async fn a_taken_id_or_name_is_refused(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let endpoint = w.endpoint(&ctx).await?;
    let same_id = WebhookEndpoint { id: endpoint.id, ..w.new_endpoint("other") };
    let call = w.stores.endpoints.insert(&ctx, same_id, w.effects(&ctx));
    w.refuses(&ctx, "a taken id", AlreadyExists, call).await?;
    let same_name = w.new_endpoint(&endpoint.name);
    let call = w.stores.endpoints.insert(&ctx, same_name, w.effects(&ctx));
    w.refuses(&ctx, "a taken name", AlreadyExists, call).await?;
    Ok(())
}

async fn names_are_unique_by_bytes(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    for name in ["ci", "Ci", "CI", "ci ", "c_i", "c%", "\u{e9}", "e\u{301}", "E\u{301}"] {
        w.stores.endpoints.insert(&ctx, w.new_endpoint(name), w.effects(&ctx)).await?;
        let again = w.stores.endpoints.insert(&ctx, w.new_endpoint(name), w.effects(&ctx)).await;
        refused("the same bytes again", again, AlreadyExists)?;
    }
    Ok(())
}

async fn a_list_is_ordered_and_paged(w: World) -> Outcome {
    let (ctx, other) = (w.tenant().await?, w.tenant().await?);
    w.endpoint(&other).await?;
    let start = w.env.now();
    let mut made = TIMES.map(|millis| {
        let new = w.new_endpoint(&format!("endpoint {}", w.mark()));
        WebhookEndpoint { created_at: at(start, millis), ..new }
    });
    for endpoint in INSERTED.iter().filter_map(|index| made.get(*index)) {
        w.stores.endpoints.insert(&ctx, endpoint.clone(), Effects::none()).await?;
    }
    made.sort_by_key(|endpoint| (endpoint.created_at, endpoint.id));
    let ids = made.map(|endpoint| endpoint.id);
    let list = |page| w.stores.endpoints.list(&ctx, page);
    check_pages("endpoints", &ids, |endpoint| endpoint.id, position, list).await
}

async fn a_replacement_needs_the_revision(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (endpoint, other) = (w.endpoint(&ctx).await?, w.endpoint(&ctx).await?);
    let replace = |endpoint: &WebhookEndpoint, expected| {
        w.stores.endpoints.replace(&ctx, endpoint.clone(), expected, w.effects(&ctx))
    };
    for expected in [0, 2] {
        w.refuses(&ctx, "another revision", Conflict, replace(&endpoint, expected)).await?;
    }
    let taken = WebhookEndpoint { name: other.name, ..endpoint.clone() };
    w.refuses(&ctx, "a taken name", AlreadyExists, replace(&taken, 1)).await?;
    w.refuses(&ctx, "another revision and a taken name", Conflict, replace(&taken, 2)).await?;
    let unknown = w.new_endpoint("unknown");
    w.refuses(&ctx, "an unknown endpoint", NotFound, replace(&unknown, 1)).await?;
    Ok(())
}

async fn a_replacement_counts_the_revision(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let mut expected = w.endpoint(&ctx).await?;
    let first = expected.name.clone();
    for (revision, text) in (1..).zip(naughty()) {
        w.tick();
        let odd = revision % 2 == 1;
        expected = WebhookEndpoint {
            name: text.clone(),
            vendor: format!("vendor {revision}"),
            scheme: json!({ &*text: revision }),
            integration: odd.then(|| w.env.id()),
            triggers: json!([text]),
            state: if odd { EndpointState::Disabled } else { EndpointState::Active },
            owner: w.env.id(),
            updated_at: w.env.now(),
            // What the caller writes here does not count.
            revision: 77,
            ..expected
        };
        w.stores.endpoints.replace(&ctx, expected.clone(), revision, w.effects(&ctx)).await?;
        expected.revision = revision + 1;
        let stored = w.stores.endpoints.get(&ctx, expected.id).await?;
        equal("the replaced endpoint", &stored, &expected)?;
    }
    // The first name is free again.
    Ok(w.stores.endpoints.insert(&ctx, w.new_endpoint(&first), w.effects(&ctx)).await?)
}

async fn a_deleted_endpoint_is_gone(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (endpoint, kept) = (w.endpoint(&ctx).await?, w.endpoint(&ctx).await?);
    let delete = |expected| w.stores.endpoints.delete(&ctx, endpoint.id, expected, w.effects(&ctx));
    w.refuses(&ctx, "another revision", Conflict, delete(2)).await?;
    delete(1).await?;
    refused("get", w.stores.endpoints.get(&ctx, endpoint.id).await, NotFound)?;
    refused("lookup", w.stores.endpoints.lookup(ctx.tenant(), endpoint.id).await, NotFound)?;
    let list = w.stores.endpoints.list(&ctx, PageRequest::default()).await?;
    equal("endpoints", &list.items, &vec![kept])?;
    w.refuses(&ctx, "a second deletion", NotFound, delete(1)).await?;
    Ok(w.stores.endpoints.insert(&ctx, endpoint.clone(), w.effects(&ctx)).await?)
}

async fn what_was_delivered_goes_with_its_endpoint(w: World) -> Outcome {
    let (ctx, inbox) = (w.tenant().await?, &w.stores.inbox);
    let (tenant, gone, kept) = (ctx.tenant(), w.endpoint(&ctx).await?, w.endpoint(&ctx).await?);
    let mut ids = Vec::new();
    for endpoint in [gone.id, kept.id] {
        for key in ["held", "pending"] {
            let delivery = w.new_delivery(endpoint, key);
            ids.push(delivery.id);
            equal(key, &inbox.accept(tenant, delivery).await?, &Accepted::New)?;
        }
        equal("a mark", &inbox.advance(tenant, endpoint, "key", "1").await?, &true)?;
    }
    let claimed = inbox.claim(w.env.id(), Duration::from_secs(600), 1, None).await?;
    let [held, pending, others @ ..] = &*ids else { return Err(super::Failure::new("no deliveries")) };
    equal("who is held", &claimed.iter().map(|one| one.delivery.new.id).collect(), &vec![*held])?;
    w.stores.endpoints.delete(&ctx, gone.id, 1, w.effects(&ctx)).await?;
    for id in [*held, *pending] {
        refused("a delivery", inbox.get(&ctx, id).await, NotFound)?;
        refused("replay", inbox.replay(&ctx, id, Effects::none()).await, NotFound)?;
    }
    let late = inbox.finish(tenant, *held, 1, DeliveryEnd::Done(vec![]), Effects::none()).await;
    refused("the end of one", late, NotFound)?;
    equal("its mark", &inbox.mark(tenant, gone.id, "key").await?, &None)?;
    refused("another mark", inbox.advance(tenant, gone.id, "key", "2").await, NotFound)?;
    refused("another delivery", inbox.accept(tenant, w.new_delivery(gone.id, "held")).await, NotFound)?;
    equal("its list", &inbox.list(&ctx, gone.id, PageRequest::default()).await?.items.len(), &0)?;
    // Those of the other endpoint are as they were.
    equal("the other mark", &inbox.mark(tenant, kept.id, "key").await?, &Some("1".into()))?;
    let claimed = inbox.claim(w.env.id(), Duration::from_secs(600), 10, None).await?;
    let seen: Vec<_> = claimed.iter().map(|one| one.delivery.new.id).collect();
    equal("the other deliveries", &seen, &others.to_vec())?;
    // Under its old id it begins anew.
    w.stores.endpoints.insert(&ctx, gone.clone(), Effects::none()).await?;
    let again = inbox.accept(tenant, w.new_delivery(gone.id, "held")).await?;
    equal("the same key", &again, &Accepted::New)
}

async fn a_foreign_endpoint_is_not_found(w: World) -> Outcome {
    let store = &w.stores.endpoints;
    let (ctx, foreign) = (w.tenant().await?, w.tenant().await?);
    let endpoint = w.endpoint(&ctx).await?;
    refused("get", store.get(&foreign, endpoint.id).await, NotFound)?;
    refused("lookup", store.lookup(foreign.tenant(), endpoint.id).await, NotFound)?;
    equal("list", &store.list(&foreign, PageRequest::limit(9)).await?.items, &Vec::new())?;
    let call = store.replace(&foreign, endpoint.clone(), 1, w.effects(&foreign));
    w.refuses(&foreign, "replace", NotFound, call).await?;
    let call = store.delete(&foreign, endpoint.id, 1, w.effects(&foreign));
    w.refuses(&foreign, "delete", NotFound, call).await?;
    // The same name, and the same id, in another tenant is another endpoint.
    store.insert(&foreign, WebhookEndpoint { revision: 5, ..endpoint.clone() }, w.effects(&foreign)).await?;
    equal("ours", &store.get(&ctx, endpoint.id).await?, &endpoint)
}

async fn guards_come_before_everything_else(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (store, endpoint) = (&w.stores.endpoints, w.endpoint(&ctx).await?);
    w.set_state(ctx.tenant(), TenantState::Suspended).await?;
    let kind = TenantSuspended;
    let call = store.insert(&ctx, endpoint.clone(), w.overdrawn(&ctx));
    w.refuses(&ctx, "insert", kind, call).await?;
    let call = store.replace(&ctx, endpoint.clone(), 9, w.effects(&ctx));
    w.refuses(&ctx, "replace", kind, call).await?;
    w.refuses(&ctx, "delete", kind, store.delete(&ctx, w.env.id(), 1, w.effects(&ctx))).await?;
    equal("get", &store.get(&ctx, endpoint.id).await?, &endpoint)
}

async fn effects_commit_with_the_change(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (store, endpoint) = (&w.stores.endpoints, w.new_endpoint("with effects"));
    let effects = w.effects(&ctx);
    let call = store.insert(&ctx, endpoint.clone(), effects.clone());
    w.applies(&ctx, "insert", &effects, call).await?;
    let effects = w.effects(&ctx);
    let call = store.replace(&ctx, endpoint.clone(), 1, effects.clone());
    w.applies(&ctx, "replace", &effects, call).await?;
    let effects = w.effects(&ctx);
    let call = store.delete(&ctx, endpoint.id, 2, effects.clone());
    w.applies(&ctx, "delete", &effects, call).await
}

async fn a_refused_effect_leaves_nothing(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (store, endpoint) = (&w.stores.endpoints, w.endpoint(&ctx).await?);
    w.stores.inbox.accept(ctx.tenant(), w.new_delivery(endpoint.id, "kept")).await?;
    let kind = BudgetExceeded;
    let call = store.insert(&ctx, w.new_endpoint("new"), w.overdrawn(&ctx));
    w.refuses(&ctx, "insert", kind, call).await?;
    let next = WebhookEndpoint { name: "next".into(), ..endpoint.clone() };
    w.refuses(&ctx, "replace", kind, store.replace(&ctx, next, 1, w.overdrawn(&ctx))).await?;
    w.refuses(&ctx, "delete", kind, store.delete(&ctx, endpoint.id, 1, w.overdrawn(&ctx))).await?;
    equal("get", &store.get(&ctx, endpoint.id).await?, &endpoint)
}
