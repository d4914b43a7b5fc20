//! The trials of [`UserStore`](crate::identity::UserStore).

use super::check::{Outcome, equal, holds, refused};
use super::records::{INSERTED, TIMES, at};
use super::world::{World, check_pages, naughty};
use crate::effect::{Effects, Guard};
use crate::error::ErrorKind::{AlreadyExists, BudgetExceeded, Conflict, NotFound, TenantSuspended};
use crate::identity::{Role, User};
use crate::page::{Cursor, PageRequest};
use crate::tenant::TenantState;

super::suite! { "UserStore":
    a_user_is_kept_as_it_is,
    a_taken_id_or_address_is_refused,
    addresses_are_unique_by_bytes,
    the_same_user_may_be_in_two_tenants,
    a_list_is_ordered_and_paged,
    a_replacement_needs_the_revision,
    a_replacement_counts_the_revision,
    a_deleted_user_is_gone,
    a_first_admin_is_added_once,
    an_admin_remains,
    a_foreign_user_is_not_found,
    guards_come_before_everything_else,
    effects_commit_with_the_change,
    a_refused_effect_leaves_nothing,
}

async fn a_user_is_kept_as_it_is(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    for text in naughty() {
        let user = User {
            name: Some(text.clone()),
            roles: vec![Role::TENANT_USER, Role::new(text.clone()), Role::AUDITOR],
            active: false,
            updated_at: w.after(1),
            ..w.new_user(&text)
        };
        w.stores.users.insert(&ctx, user.clone(), w.effects(&ctx)).await?;
        equal("get", &w.stores.users.get(&ctx, user.id).await?, &user)?;
        equal("member", &w.stores.users.member(ctx.tenant(), user.id).await?, &user)?;
    }
    let bare = User { roles: Vec::new(), ..w.new_user("bare@trial.example") };
    w.stores.users.insert(&ctx, bare.clone(), w.effects(&ctx)).await?;
    equal("a user without name and roles", &w.stores.users.get(&ctx, bare.id).await?, &bare)
}

async fn a_taken_id_or_address_is_refused(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let user = w.user(&ctx).await?;
    let same_id = User { id: user.id, ..w.new_user("other@trial.example") };
    let call = w.stores.users.insert(&ctx, same_id, w.effects(&ctx));
    w.refuses(&ctx, "a taken id", AlreadyExists, call).await?;
    let call = w.stores.users.insert(&ctx, w.new_user(&user.email), w.effects(&ctx));
    w.refuses(&ctx, "a taken address", AlreadyExists, call).await?;
    Ok(())
}

async fn addresses_are_unique_by_bytes(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let alike = [
        "ada@x.example",
        "Ada@x.example",
        "\u{e9}@x.example",
        "e\u{301}@x.example",
        "ada@x.example ",
        "a_a@x.example",
    ];
    for email in alike {
        w.stores.users.insert(&ctx, w.new_user(email), w.effects(&ctx)).await?;
    }
    for email in alike {
        let result = w.stores.users.insert(&ctx, w.new_user(email), w.effects(&ctx)).await;
        refused("the same bytes again", result, AlreadyExists)?;
    }
    Ok(())
}

async fn the_same_user_may_be_in_two_tenants(w: World) -> Outcome {
    let (one, two) = (w.tenant().await?, w.tenant().await?);
    let user = w.user(&one).await?;
    let twin = User { name: Some("twin".into()), ..user.clone() };
    w.stores.users.insert(&two, twin.clone(), w.effects(&two)).await?;
    w.stores.users.delete(&one, user.id, w.effects(&one)).await?;
    equal("the user of the other tenant", &w.stores.users.get(&two, user.id).await?, &twin)?;
    refused("the deleted one", w.stores.users.member(one.tenant(), user.id).await, NotFound)?;
    Ok(())
}

async fn a_list_is_ordered_and_paged(w: World) -> Outcome {
    let (ctx, other) = (w.tenant().await?, w.tenant().await?);
    w.user(&other).await?;
    let start = w.env.now();
    let mut made = TIMES.map(|millis| User {
        created_at: at(start, millis),
        ..w.new_user(&format!("{}@trial.example", w.mark()))
    });
    for user in INSERTED.iter().filter_map(|index| made.get(*index)) {
        w.stores.users.insert(&ctx, user.clone(), w.effects(&ctx)).await?;
    }
    made.sort_by_key(|user| (user.created_at, user.id));
    let ids = made.map(|user| user.id);
    let position = |user: &User| Cursor { created: user.created_at, id: user.id.uuid() };
    check_pages("users", &ids, |user| user.id, position, |page| w.stores.users.list(&ctx, page)).await
}

async fn a_replacement_needs_the_revision(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (user, other) = (w.user(&ctx).await?, w.user(&ctx).await?);
    for expected in [0, 2] {
        let call = w.stores.users.replace(&ctx, user.clone(), expected, w.effects(&ctx));
        w.refuses(&ctx, "another revision", Conflict, call).await?;
    }
    let taken = User { email: other.email, ..user.clone() };
    let call = w.stores.users.replace(&ctx, taken.clone(), 1, w.effects(&ctx));
    w.refuses(&ctx, "a taken address", AlreadyExists, call).await?;
    let call = w.stores.users.replace(&ctx, taken, 2, w.effects(&ctx));
    w.refuses(&ctx, "another revision and a taken address", Conflict, call).await?;
    let unknown = w.new_user("unknown@trial.example");
    let call = w.stores.users.replace(&ctx, unknown, 1, w.effects(&ctx));
    w.refuses(&ctx, "an unknown user", NotFound, call).await?;
    Ok(())
}

async fn a_replacement_counts_the_revision(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let mut expected = w.user(&ctx).await?;
    let first = expected.email.clone();
    for (revision, text) in (1..).zip(naughty()) {
        w.tick();
        expected = User {
            email: text.clone(),
            name: (revision % 2 == 0).then(|| text.clone()),
            roles: vec![Role::new(text)],
            active: revision % 2 == 0,
            updated_at: w.env.now(),
            // What the caller writes here does not count.
            revision: 77,
            ..expected
        };
        w.stores.users.replace(&ctx, expected.clone(), revision, w.effects(&ctx)).await?;
        expected.revision = revision + 1;
        equal("the replaced user", &w.stores.users.get(&ctx, expected.id).await?, &expected)?;
    }
    let next = w.new_user(&first);
    Ok(w.stores.users.insert(&ctx, next, w.effects(&ctx)).await?)
}

async fn a_deleted_user_is_gone(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (user, other) = (w.user(&ctx).await?, w.user(&ctx).await?);
    let (key, kept) = (w.new_key(user.id), w.new_key(other.id));
    for key in [&key, &kept] {
        w.stores.keys.insert(&ctx, key.clone(), w.effects(&ctx)).await?;
    }
    let agent = w.agent(&ctx).await?;
    let mut run = w.new_run(&ctx, &agent);
    run.record.user = user.id;
    let lease = w.start(&ctx, run).await?;
    w.stores.users.delete(&ctx, user.id, w.effects(&ctx)).await?;
    refused("get", w.stores.users.get(&ctx, user.id).await, NotFound)?;
    refused("member", w.stores.users.member(ctx.tenant(), user.id).await, NotFound)?;
    equal("users", &w.stores.users.list(&ctx, PageRequest::default()).await?.items, &vec![other])?;
    refused("the user's key", w.stores.keys.get(&ctx, key.id).await, NotFound)?;
    refused("the user's key", w.stores.keys.lookup(ctx.tenant(), key.id).await, NotFound)?;
    equal("keys", &w.stores.keys.list(&ctx, PageRequest::default()).await?.items, &vec![kept])?;
    equal("the user's run", &w.stores.index.get(&ctx, lease.run.id).await?, &lease.run)?;
    let call = w.stores.users.delete(&ctx, user.id, w.effects(&ctx));
    w.refuses(&ctx, "a second deletion", NotFound, call).await?;
    // Id and address are free again, and the key does not come back with them.
    w.stores.users.insert(&ctx, user, w.effects(&ctx)).await?;
    refused("the old key", w.stores.keys.get(&ctx, key.id).await, NotFound)?;
    Ok(())
}

async fn a_first_admin_is_added_once(w: World) -> Outcome {
    let users = &w.stores.users;
    let ctx = w.tenant().await?;
    let tenant = ctx.tenant();
    let plain = w.user(&ctx).await?;
    let admin = |email: &str| User { roles: vec![Role::AUDITOR, Role::TENANT_ADMIN], ..w.new_user(email) };
    let effects = || w.above(tenant, w.effects(&ctx));
    let call = users.bootstrap(&w.op, tenant, admin(&plain.email), effects());
    w.refuses(&ctx, "a taken address", AlreadyExists, call).await?;
    let same_id = User { id: plain.id, ..admin("id@trial.example") };
    let call = users.bootstrap(&w.op, tenant, same_id, effects());
    w.refuses(&ctx, "a taken id", AlreadyExists, call).await?;
    let first = admin("first@trial.example");
    let with = effects();
    let call = users.bootstrap(&w.op, tenant, first.clone(), with.clone());
    w.applies_above(&ctx, "bootstrap", &with, call).await?;
    equal("the admin", &users.get(&ctx, first.id).await?, &first)?;
    let call = users.bootstrap(&w.op, tenant, admin("second@trial.example"), effects());
    w.refuses(&ctx, "a second admin", Conflict, call).await?;
    users.replace(&ctx, User { active: false, ..first.clone() }, 1, w.effects(&ctx)).await?;
    let call = users.bootstrap(&w.op, tenant, admin(&plain.email), effects());
    w.refuses(&ctx, "an admin beside an inactive one", Conflict, call).await?;
    users.delete(&ctx, first.id, w.effects(&ctx)).await?;
    users.bootstrap(&w.op, tenant, admin("third@trial.example"), effects()).await?;
    // Another tenant's admin does not count, and a missing tenant has no admin.
    let other = w.tenant().await?;
    users.bootstrap(&w.op, other.tenant(), first, w.above(other.tenant(), w.effects(&other))).await?;
    let nowhere = w.ctx(w.env.id());
    let call = users.bootstrap(
        &w.op,
        nowhere.tenant(),
        admin("a@trial.example"),
        w.above(nowhere.tenant(), w.effects(&nowhere)),
    );
    w.refuses(&nowhere, "an unknown tenant", NotFound, call).await?;
    Ok(())
}

async fn an_admin_remains(w: World) -> Outcome {
    let users = &w.stores.users;
    let ctx = w.tenant().await?;
    let admin = |email: &str| User { roles: vec![Role::TENANT_ADMIN], ..w.new_user(email) };
    let (one, two, plain) = (admin("one@trial.example"), admin("two@trial.example"), w.user(&ctx).await?);
    let guarded = |user: &User| {
        let mut effects = w.effects(&ctx);
        effects.guards.push(Guard::AdminRemains(user.id));
        effects
    };
    // Without any admin nobody is the last one.
    users.replace(&ctx, plain.clone(), 1, guarded(&plain)).await?;
    users.insert(&ctx, one.clone(), w.effects(&ctx)).await?;
    users.replace(&ctx, plain.clone(), 2, guarded(&plain)).await?;
    let demoted = User { roles: vec![Role::AUDITOR], ..one.clone() };
    let call = users.replace(&ctx, demoted.clone(), 1, guarded(&one));
    w.refuses(&ctx, "the last admin's demotion", Conflict, call).await?;
    w.refuses(&ctx, "the last admin's deletion", Conflict, users.delete(&ctx, one.id, guarded(&one))).await?;
    users.insert(&ctx, User { active: false, ..two.clone() }, w.effects(&ctx)).await?;
    let call = users.delete(&ctx, one.id, guarded(&one));
    w.refuses(&ctx, "the last active admin's deletion", Conflict, call).await?;
    users.replace(&ctx, two.clone(), 1, guarded(&two)).await?;
    users.replace(&ctx, demoted, 1, guarded(&one)).await?;
    w.refuses(&ctx, "the other admin's deletion", Conflict, users.delete(&ctx, two.id, guarded(&two)))
        .await?;
    users.delete(&ctx, one.id, guarded(&one)).await?;
    // A role whose name only contains the admin's is another role.
    let alike = User {
        roles: vec![Role::new("not_tenant_admin"), Role::new("tenant_admin\"")],
        ..w.new_user("alike@trial.example")
    };
    users.insert(&ctx, alike, w.effects(&ctx)).await?;
    w.refuses(&ctx, "beside a role alike", Conflict, users.delete(&ctx, two.id, guarded(&two))).await?;
    Ok(())
}

async fn a_foreign_user_is_not_found(w: World) -> Outcome {
    let users = &w.stores.users;
    let (ctx, foreign) = (w.tenant().await?, w.tenant().await?);
    let user = w.user(&ctx).await?;
    refused("get", users.get(&foreign, user.id).await, NotFound)?;
    refused("member", users.member(foreign.tenant(), user.id).await, NotFound)?;
    equal("list", &users.list(&foreign, PageRequest::default()).await?.items, &Vec::new())?;
    let call = users.replace(&foreign, user.clone(), 1, w.effects(&foreign));
    w.refuses(&foreign, "replace", NotFound, call).await?;
    w.refuses(&foreign, "delete", NotFound, users.delete(&foreign, user.id, w.effects(&foreign))).await?;
    // The same address in another tenant is another user.
    users.insert(&foreign, w.new_user(&user.email), w.effects(&foreign)).await?;
    equal("the user", &users.get(&ctx, user.id).await?, &user)
}

async fn guards_come_before_everything_else(w: World) -> Outcome {
    let users = &w.stores.users;
    let ctx = w.tenant().await?;
    let user = w.user(&ctx).await?;
    w.set_state(ctx.tenant(), TenantState::Suspended).await?;
    let kind = TenantSuspended;
    w.refuses(&ctx, "insert", kind, users.insert(&ctx, user.clone(), w.overdrawn(&ctx))).await?;
    let admin = User { roles: vec![Role::TENANT_ADMIN], ..user.clone() };
    let call = users.bootstrap(&w.op, ctx.tenant(), admin, w.above(ctx.tenant(), w.effects(&ctx)));
    w.refuses(&ctx, "bootstrap", kind, call).await?;
    w.refuses(&ctx, "replace", kind, users.replace(&ctx, user.clone(), 9, w.effects(&ctx))).await?;
    w.refuses(&ctx, "delete", kind, users.delete(&ctx, w.env.id(), w.effects(&ctx))).await?;
    // Reading and what is not guarded go on.
    equal("get", &users.get(&ctx, user.id).await?, &user)?;
    users.delete(&ctx, user.id, Effects::none()).await?;
    w.set_state(ctx.tenant(), TenantState::Deleted).await?;
    w.refuses(&ctx, "insert", NotFound, users.insert(&ctx, user, w.effects(&ctx))).await?;
    Ok(())
}

async fn effects_commit_with_the_change(w: World) -> Outcome {
    let users = &w.stores.users;
    let ctx = w.tenant().await?;
    let user = w.new_user("ada@trial.example");
    let effects = w.effects(&ctx);
    w.applies(&ctx, "insert", &effects, users.insert(&ctx, user.clone(), effects.clone())).await?;
    let effects = w.effects(&ctx);
    w.applies(&ctx, "replace", &effects, users.replace(&ctx, user.clone(), 1, effects.clone())).await?;
    let effects = w.effects(&ctx);
    w.applies(&ctx, "delete", &effects, users.delete(&ctx, user.id, effects.clone())).await
}

async fn a_refused_effect_leaves_nothing(w: World) -> Outcome {
    let users = &w.stores.users;
    let ctx = w.tenant().await?;
    let (user, new) = (w.user(&ctx).await?, w.new_user("new@trial.example"));
    w.stores.keys.insert(&ctx, w.new_key(user.id), w.effects(&ctx)).await?;
    let kind = BudgetExceeded;
    w.refuses(&ctx, "insert", kind, users.insert(&ctx, new.clone(), w.overdrawn(&ctx))).await?;
    let above = w.above(ctx.tenant(), w.overdrawn(&ctx));
    w.refuses(&ctx, "bootstrap", kind, users.bootstrap(&w.op, ctx.tenant(), new.clone(), above)).await?;
    let next = User { email: "next@trial.example".into(), active: false, ..user.clone() };
    w.refuses(&ctx, "replace", kind, users.replace(&ctx, next, 1, w.overdrawn(&ctx))).await?;
    w.refuses(&ctx, "delete", kind, users.delete(&ctx, user.id, w.overdrawn(&ctx))).await?;
    refused("the new user", users.get(&ctx, new.id).await, NotFound)?;
    users.insert(&ctx, new, w.effects(&ctx)).await?;
    // The change's own refusal comes before that of a budget.
    let call = users.insert(&ctx, user.clone(), w.overdrawn(&ctx));
    w.refuses(&ctx, "a taken id and no room", AlreadyExists, call).await?;
    holds("the user is as before", users.get(&ctx, user.id).await? == user)
}
