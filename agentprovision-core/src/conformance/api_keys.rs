//! The trials of [`ApiKeyStore`](crate::identity::ApiKeyStore).

use super::check::{Outcome, equal, refused};
use super::records::{INSERTED, TIMES, at};
use super::world::{World, check_pages, naughty};
use crate::error::ErrorKind::{AlreadyExists, BudgetExceeded, NotFound, TenantSuspended};
use crate::identity::ApiKey;
use crate::page::{Cursor, PageRequest};
use crate::tenant::TenantState;

super::suite! { "ApiKeyStore":
    a_key_is_kept_as_it_is,
    a_key_needs_its_user_and_a_free_id,
    a_list_is_ordered_and_paged,
    a_key_is_revoked_once,
    a_foreign_key_is_not_found,
    guards_come_before_everything_else,
    effects_commit_with_the_change,
    a_refused_effect_leaves_nothing,
}

/// The keys, field by field: their own `Debug` hides most.
fn same(what: &str, seen: &ApiKey, expected: &ApiKey) -> Outcome {
    equal(what, &seen.name, &expected.name)?;
    equal(what, &seen.scopes, &expected.scopes)?;
    equal(what, &seen.expires_at, &expected.expires_at)?;
    equal(what, &seen.revoked_at, &expected.revoked_at)?;
    equal(what, &seen.created_at, &expected.created_at)?;
    equal(what, seen, expected)
}

async fn a_key_is_kept_as_it_is(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let user = w.user(&ctx).await?;
    let mut keys = vec![w.new_key(user.id), ApiKey { scopes: Some(Vec::new()), ..w.new_key(user.id) }];
    for text in naughty() {
        keys.push(ApiKey {
            name: text.clone(),
            scopes: Some(vec![text.clone(), "agents:run".into(), text]),
            expires_at: Some(w.after(60)),
            revoked_at: Some(w.after(1)),
            ..w.new_key(user.id)
        });
    }
    for key in keys {
        w.stores.keys.insert(&ctx, key.clone(), w.effects(&ctx)).await?;
        same("get", &w.stores.keys.get(&ctx, key.id).await?, &key)?;
        same("lookup", &w.stores.keys.lookup(ctx.tenant(), key.id).await?, &key)?;
    }
    Ok(())
}

async fn a_key_needs_its_user_and_a_free_id(w: World) -> Outcome {
    let (ctx, other) = (w.tenant().await?, w.tenant().await?);
    let (user, foreign) = (w.user(&ctx).await?, w.user(&other).await?);
    let key = w.new_key(user.id);
    w.stores.keys.insert(&ctx, key.clone(), w.effects(&ctx)).await?;
    for unknown in [w.env.id(), foreign.id] {
        let call = w.stores.keys.insert(&ctx, w.new_key(unknown), w.effects(&ctx));
        w.refuses(&ctx, "no such user", NotFound, call).await?;
        let taken = ApiKey { id: key.id, ..w.new_key(unknown) };
        let call = w.stores.keys.insert(&ctx, taken, w.effects(&ctx));
        w.refuses(&ctx, "no such user and a taken id", NotFound, call).await?;
    }
    let call = w.stores.keys.insert(&ctx, ApiKey { id: key.id, ..w.new_key(user.id) }, w.effects(&ctx));
    w.refuses(&ctx, "a taken id", AlreadyExists, call).await?;
    // Ids are taken within a tenant.
    let twin = ApiKey { id: key.id, ..w.new_key(foreign.id) };
    w.stores.keys.insert(&other, twin.clone(), w.effects(&other)).await?;
    same("the other tenant's key", &w.stores.keys.lookup(other.tenant(), key.id).await?, &twin)?;
    same("the key", &w.stores.keys.lookup(ctx.tenant(), key.id).await?, &key)
}

async fn a_list_is_ordered_and_paged(w: World) -> Outcome {
    let (ctx, other) = (w.tenant().await?, w.tenant().await?);
    let (user, foreign) = (w.user(&ctx).await?, w.user(&other).await?);
    w.stores.keys.insert(&other, w.new_key(foreign.id), w.effects(&other)).await?;
    let start = w.env.now();
    let mut made = TIMES.map(|millis| ApiKey {
        created_at: at(start, millis),
        revoked_at: (millis == 5).then(|| at(start, 10)),
        ..w.new_key(user.id)
    });
    for key in INSERTED.iter().filter_map(|index| made.get(*index)) {
        w.stores.keys.insert(&ctx, key.clone(), w.effects(&ctx)).await?;
    }
    made.sort_by_key(|key| (key.created_at, key.id));
    let ids = made.map(|key| key.id);
    let position = |key: &ApiKey| Cursor { created: key.created_at, id: key.id.uuid() };
    check_pages("keys", &ids, |key| key.id, position, |page| w.stores.keys.list(&ctx, page)).await
}

async fn a_key_is_revoked_once(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let user = w.user(&ctx).await?;
    let (mut key, other) = (w.new_key(user.id), w.new_key(user.id));
    w.stores.keys.insert(&ctx, key.clone(), w.effects(&ctx)).await?;
    w.stores.keys.insert(&ctx, other.clone(), w.effects(&ctx)).await?;
    let first = w.after(1);
    for seconds in [1, 2] {
        let effects = w.effects(&ctx);
        let call = w.stores.keys.revoke(&ctx, key.id, w.after(seconds), effects.clone());
        w.applies(&ctx, "revoke", &effects, call).await?;
        key.revoked_at = Some(first);
        same("the revoked key", &w.stores.keys.lookup(ctx.tenant(), key.id).await?, &key)?;
    }
    same("another key", &w.stores.keys.get(&ctx, other.id).await?, &other)?;
    let call = w.stores.keys.revoke(&ctx, w.env.id(), first, w.effects(&ctx));
    w.refuses(&ctx, "an unknown key", NotFound, call).await?;
    Ok(())
}

async fn a_foreign_key_is_not_found(w: World) -> Outcome {
    let (ctx, foreign) = (w.tenant().await?, w.tenant().await?);
    let user = w.user(&ctx).await?;
    let key = w.new_key(user.id);
    w.stores.keys.insert(&ctx, key.clone(), w.effects(&ctx)).await?;
    refused("get", w.stores.keys.get(&foreign, key.id).await, NotFound)?;
    refused("lookup", w.stores.keys.lookup(foreign.tenant(), key.id).await, NotFound)?;
    equal("list", &w.stores.keys.list(&foreign, PageRequest::default()).await?.items, &Vec::new())?;
    let call = w.stores.keys.revoke(&foreign, key.id, w.env.now(), w.effects(&foreign));
    w.refuses(&foreign, "revoke", NotFound, call).await?;
    same("the key", &w.stores.keys.get(&ctx, key.id).await?, &key)
}

async fn guards_come_before_everything_else(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let user = w.user(&ctx).await?;
    let key = w.new_key(user.id);
    w.stores.keys.insert(&ctx, key.clone(), w.effects(&ctx)).await?;
    w.set_state(ctx.tenant(), TenantState::Suspended).await?;
    let call = w.stores.keys.insert(&ctx, w.new_key(w.env.id()), w.overdrawn(&ctx));
    w.refuses(&ctx, "insert", TenantSuspended, call).await?;
    let call = w.stores.keys.revoke(&ctx, w.env.id(), w.env.now(), w.effects(&ctx));
    w.refuses(&ctx, "revoke", TenantSuspended, call).await?;
    same("lookup", &w.stores.keys.lookup(ctx.tenant(), key.id).await?, &key)
}

async fn effects_commit_with_the_change(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let user = w.user(&ctx).await?;
    let key = w.new_key(user.id);
    let effects = w.effects(&ctx);
    w.applies(&ctx, "insert", &effects, w.stores.keys.insert(&ctx, key.clone(), effects.clone())).await?;
    let effects = w.effects(&ctx);
    let call = w.stores.keys.revoke(&ctx, key.id, w.env.now(), effects.clone());
    w.applies(&ctx, "revoke", &effects, call).await
}

async fn a_refused_effect_leaves_nothing(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let user = w.user(&ctx).await?;
    let (key, new) = (w.new_key(user.id), w.new_key(user.id));
    w.stores.keys.insert(&ctx, key.clone(), w.effects(&ctx)).await?;
    let call = w.stores.keys.insert(&ctx, new.clone(), w.overdrawn(&ctx));
    w.refuses(&ctx, "insert", BudgetExceeded, call).await?;
    refused("the new key", w.stores.keys.lookup(ctx.tenant(), new.id).await, NotFound)?;
    let call = w.stores.keys.revoke(&ctx, key.id, w.env.now(), w.overdrawn(&ctx));
    w.refuses(&ctx, "revoke", BudgetExceeded, call).await?;
    same("the key", &w.stores.keys.get(&ctx, key.id).await?, &key)
}
