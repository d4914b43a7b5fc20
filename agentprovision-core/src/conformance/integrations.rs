//! The trials of [`IntegrationStore`](crate::integration::IntegrationStore).

use serde_json::{Map, Value, json};

use super::check::{Outcome, equal, refused};
use super::records::{INSERTED, TIMES, at};
use super::world::{World, check_pages, naughty};
use crate::error::ErrorKind::{self, AlreadyExists, BudgetExceeded, Conflict, NotFound, TenantSuspended};
use crate::integration::{Account, Health, Integration, IntegrationQuery, IntegrationState};
use crate::page::{Cursor, PageRequest};
use crate::tenant::TenantState;

super::suite! { "IntegrationStore":
    an_integration_is_kept_as_it_is,
    a_taken_id_or_name_is_refused,
    names_are_unique_by_bytes,
    a_list_is_ordered_and_paged,
    a_list_of_a_connector_or_a_state_is_ordered_and_paged,
    a_replacement_needs_the_revision,
    a_replacement_counts_the_revision,
    a_deleted_integration_is_gone,
    a_foreign_integration_is_not_found,
    guards_come_before_everything_else,
    effects_commit_with_the_change,
    a_refused_effect_leaves_nothing,
}

fn position(integration: &Integration) -> Cursor {
    Cursor { created: integration.created_at, id: integration.id.uuid() }
}

async fn an_integration_is_kept_as_it_is(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let errors = ErrorKind::ALL.iter().copied().cycle();
    for ((n, text), error) in naughty().into_iter().enumerate().zip(errors) {
        let settings = json!({ "text": text, "n": [n, 0.1, 1e300, -7, null, true], "in": { &*text: {} } });
        let state = IntegrationState::ALL.iter().copied().cycle().nth(n);
        let integration = Integration {
            connector: text.clone(),
            auth: text.clone(),
            settings: settings.as_object().cloned().unwrap_or_default(),
            account: Some(Account { id: text.clone(), name: (n % 2 == 0).then(|| text.clone()) }),
            state: state.unwrap_or(IntegrationState::Active),
            health: Some(Health {
                healthy: n % 2 == 0,
                error: (n % 3 > 0).then_some(error),
                message: (n % 3 > 0).then(|| text.clone()),
                checked_at: w.after(3),
            }),
            updated_at: w.after(2),
            ..w.new_integration(&text)
        };
        w.stores.integrations.insert(&ctx, integration.clone(), w.effects(&ctx)).await?;
        equal("get", &w.stores.integrations.get(&ctx, integration.id).await?, &integration)?;
    }
    let bare = Integration { settings: Map::new(), ..w.new_integration("bare") };
    w.stores.integrations.insert(&ctx, bare.clone(), w.effects(&ctx)).await?;
    equal("one without anything", &w.stores.integrations.get(&ctx, bare.id).await?, &bare)
}

async fn a_taken_id_or_name_is_refused(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let integration = w.integration(&ctx).await?;
    let same_id = Integration { id: integration.id, ..w.new_integration("other") };
    let call = w.stores.integrations.insert(&ctx, same_id, w.effects(&ctx));
    w.refuses(&ctx, "a taken id", AlreadyExists, call).await?;
    let same_name = w.new_integration(&integration.name);
    let call = w.stores.integrations.insert(&ctx, same_name, w.effects(&ctx));
    w.refuses(&ctx, "a taken name", AlreadyExists, call).await?;
    equal("the integration", &w.stores.integrations.get(&ctx, integration.id).await?, &integration)
}

async fn names_are_unique_by_bytes(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    for name in ["crm", "Crm", "CRM", "crm ", "c_m", "c%", "\u{e9}", "e\u{301}", "E\u{301}"] {
        w.stores.integrations.insert(&ctx, w.new_integration(name), w.effects(&ctx)).await?;
        let again = w.stores.integrations.insert(&ctx, w.new_integration(name), w.effects(&ctx)).await;
        refused("the same bytes again", again, AlreadyExists)?;
    }
    Ok(())
}

/// Seven integrations, of two connectors and two states, and one of another tenant.
async fn listed(w: &World) -> Result<(crate::Context, [Integration; 7]), super::Failure> {
    let (ctx, other) = (w.tenant().await?, w.tenant().await?);
    w.integration(&other).await?;
    let start = w.env.now();
    let mut made = TIMES.map(|millis| {
        let (connector, state) = match millis {
            0 => ("one", IntegrationState::Disabled),
            _ => ("two", IntegrationState::Active),
        };
        let new = w.new_integration(&format!("integration {}", w.mark()));
        Integration { created_at: at(start, millis), connector: connector.into(), state, ..new }
    });
    for integration in INSERTED.iter().filter_map(|index| made.get(*index)) {
        w.stores.integrations.insert(&ctx, integration.clone(), w.effects(&ctx)).await?;
    }
    made.sort_by_key(|integration| (integration.created_at, integration.id));
    Ok((ctx, made))
}

async fn a_list_is_ordered_and_paged(w: World) -> Outcome {
    let (ctx, made) = listed(&w).await?;
    let ids = made.map(|integration| integration.id);
    let list = |page| w.stores.integrations.list(&ctx, IntegrationQuery::page(page));
    check_pages("integrations", &ids, |integration| integration.id, position, list).await
}

async fn a_list_of_a_connector_or_a_state_is_ordered_and_paged(w: World) -> Outcome {
    let (ctx, made) = listed(&w).await?;
    let connectors = [None, Some("one"), Some("two"), Some("One"), Some("")];
    let states = [None, Some(IntegrationState::Active), Some(IntegrationState::NeedsReconnect)];
    for (connector, state) in connectors.iter().flat_map(|one| states.map(|two| (*one, two))) {
        let wanted = made.iter().filter(|integration| {
            connector.is_none_or(|name| integration.connector == name)
                && state.is_none_or(|state| integration.state == state)
        });
        let ids: Vec<_> = wanted.map(|integration| integration.id).collect();
        let list = |page| {
            let mut query = IntegrationQuery::page(page);
            (query.connector, query.state) = (connector.map(str::to_owned), state);
            w.stores.integrations.list(&ctx, query)
        };
        let what = format!("{connector:?} {state:?}");
        check_pages(&what, &ids, |integration| integration.id, position, list).await?;
    }
    Ok(())
}

async fn a_replacement_needs_the_revision(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (integration, other) = (w.integration(&ctx).await?, w.integration(&ctx).await?);
    let replace = |integration: &Integration, expected| {
        w.stores.integrations.replace(&ctx, integration.clone(), expected, w.effects(&ctx))
    };
    for expected in [0, 2] {
        w.refuses(&ctx, "another revision", Conflict, replace(&integration, expected)).await?;
    }
    let taken = Integration { name: other.name, ..integration.clone() };
    w.refuses(&ctx, "a taken name", AlreadyExists, replace(&taken, 1)).await?;
    w.refuses(&ctx, "another revision and a taken name", Conflict, replace(&taken, 2)).await?;
    let unknown = w.new_integration("unknown");
    w.refuses(&ctx, "an unknown integration", NotFound, replace(&unknown, 1)).await?;
    Ok(())
}

async fn a_replacement_counts_the_revision(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let mut expected = w.integration(&ctx).await?;
    let first = expected.name.clone();
    for (revision, text) in (1..).zip(naughty()) {
        w.tick();
        let odd = revision % 2 == 1;
        let account = Account { id: text.clone(), name: None };
        expected = Integration {
            name: text.clone(),
            connector: format!("connector {revision}"),
            auth: text.clone(),
            settings: Map::from_iter([(text.clone(), Value::from(revision))]),
            account: odd.then_some(account),
            state: if odd { IntegrationState::NeedsReconnect } else { IntegrationState::Active },
            health: odd.then(|| Health {
                healthy: false,
                error: Some(ErrorKind::Unauthenticated),
                message: Some(text),
                checked_at: w.env.now(),
            }),
            created_by: w.env.id(),
            updated_at: w.env.now(),
            // What the caller writes here does not count.
            revision: 77,
            ..expected
        };
        w.stores.integrations.replace(&ctx, expected.clone(), revision, w.effects(&ctx)).await?;
        expected.revision = revision + 1;
        let stored = w.stores.integrations.get(&ctx, expected.id).await?;
        equal("the replaced integration", &stored, &expected)?;
    }
    // The first name is free again.
    Ok(w.stores.integrations.insert(&ctx, w.new_integration(&first), w.effects(&ctx)).await?)
}

async fn a_deleted_integration_is_gone(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (integration, kept) = (w.integration(&ctx).await?, w.integration(&ctx).await?);
    let delete = |expected| w.stores.integrations.delete(&ctx, integration.id, expected, w.effects(&ctx));
    w.refuses(&ctx, "another revision", Conflict, delete(2)).await?;
    delete(1).await?;
    refused("get", w.stores.integrations.get(&ctx, integration.id).await, NotFound)?;
    let list = w.stores.integrations.list(&ctx, IntegrationQuery::default()).await?;
    equal("integrations", &list.items, &vec![kept])?;
    w.refuses(&ctx, "a second deletion", NotFound, delete(1)).await?;
    Ok(w.stores.integrations.insert(&ctx, integration.clone(), w.effects(&ctx)).await?)
}

async fn a_foreign_integration_is_not_found(w: World) -> Outcome {
    let store = &w.stores.integrations;
    let (ctx, foreign) = (w.tenant().await?, w.tenant().await?);
    let integration = w.integration(&ctx).await?;
    refused("get", store.get(&foreign, integration.id).await, NotFound)?;
    let list = store.list(&foreign, IntegrationQuery::page(PageRequest::limit(9))).await?;
    equal("list", &list.items, &Vec::new())?;
    let call = store.replace(&foreign, integration.clone(), 1, w.effects(&foreign));
    w.refuses(&foreign, "replace", NotFound, call).await?;
    let call = store.delete(&foreign, integration.id, 1, w.effects(&foreign));
    w.refuses(&foreign, "delete", NotFound, call).await?;
    // The same name, and the same id, in another tenant is another integration.
    store.insert(&foreign, Integration { revision: 5, ..integration.clone() }, w.effects(&foreign)).await?;
    equal("ours", &store.get(&ctx, integration.id).await?, &integration)
}

async fn guards_come_before_everything_else(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (store, integration) = (&w.stores.integrations, w.integration(&ctx).await?);
    w.set_state(ctx.tenant(), TenantState::Suspended).await?;
    let kind = TenantSuspended;
    let call = store.insert(&ctx, integration.clone(), w.overdrawn(&ctx));
    w.refuses(&ctx, "insert", kind, call).await?;
    let call = store.replace(&ctx, integration.clone(), 9, w.effects(&ctx));
    w.refuses(&ctx, "replace", kind, call).await?;
    w.refuses(&ctx, "delete", kind, store.delete(&ctx, w.env.id(), 1, w.effects(&ctx))).await?;
    equal("get", &store.get(&ctx, integration.id).await?, &integration)
}

async fn effects_commit_with_the_change(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (store, integration) = (&w.stores.integrations, w.new_integration("with effects"));
    let effects = w.effects(&ctx);
    let call = store.insert(&ctx, integration.clone(), effects.clone());
    w.applies(&ctx, "insert", &effects, call).await?;
    let effects = w.effects(&ctx);
    let call = store.replace(&ctx, integration.clone(), 1, effects.clone());
    w.applies(&ctx, "replace", &effects, call).await?;
    let effects = w.effects(&ctx);
    let call = store.delete(&ctx, integration.id, 2, effects.clone());
    w.applies(&ctx, "delete", &effects, call).await
}

async fn a_refused_effect_leaves_nothing(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (store, integration) = (&w.stores.integrations, w.integration(&ctx).await?);
    let kind = BudgetExceeded;
    let call = store.insert(&ctx, w.new_integration("new"), w.overdrawn(&ctx));
    w.refuses(&ctx, "insert", kind, call).await?;
    let next = Integration { name: "next".into(), ..integration.clone() };
    w.refuses(&ctx, "replace", kind, store.replace(&ctx, next, 1, w.overdrawn(&ctx))).await?;
    w.refuses(&ctx, "delete", kind, store.delete(&ctx, integration.id, 1, w.overdrawn(&ctx))).await?;
    equal("get", &store.get(&ctx, integration.id).await?, &integration)
}
