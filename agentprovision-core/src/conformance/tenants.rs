//! The trials of [`TenantStore`](crate::tenant::TenantStore), deletion apart.

use serde_json::{Map, json};

use super::check::{Outcome, equal, holds, refused};
use super::records::{INSERTED, TIMES, at};
use super::world::{World, check_pages, naughty};
use crate::effect::{Effects, OperatorEffects};
use crate::error::ErrorKind::{AlreadyExists, BudgetExceeded, Conflict, NotFound, TenantSuspended};
use crate::page::Cursor;
use crate::tenant::{Tenant, TenantState};

super::suite! { "TenantStore":
    a_tenant_is_kept_as_it_is,
    a_taken_id_or_domain_is_refused,
    tenants_without_domain_do_not_collide,
    a_list_is_ordered_and_paged,
    a_replacement_needs_the_revision,
    a_replacement_counts_the_revision,
    a_domain_moves_with_its_tenant,
    an_unknown_tenant_is_not_found,
    a_suspended_tenant_refuses_what_is_guarded,
    effects_commit_with_the_change,
    a_refused_effect_leaves_nothing,
}

async fn a_tenant_is_kept_as_it_is(w: World) -> Outcome {
    for (n, text) in naughty().into_iter().enumerate() {
        let nested =
            json!({ &text: [text, null, 1, -1, 0.1, u64::MAX, i64::MIN, { "k": { "deep": true } }] });
        let tenant = Tenant {
            domain: Some(format!("d{n}.example")),
            plan: Some(text.clone()),
            region: Some(text.clone()),
            settings: Map::from_iter([("nested".to_owned(), nested)]),
            updated_at: w.after(1),
            ..w.new_tenant(&text)
        };
        w.stores.tenants.create(&w.op, tenant.clone(), OperatorEffects::default()).await?;
        equal("get", &w.stores.tenants.get(&w.op, tenant.id).await?, &tenant)?;
        equal("own", &w.stores.tenants.own(&w.ctx(tenant.id)).await?, &tenant)?;
        equal("state", &w.stores.tenants.state(tenant.id).await?, &TenantState::Active)?;
    }
    Ok(())
}

async fn a_taken_id_or_domain_is_refused(w: World) -> Outcome {
    let tenants = &w.stores.tenants;
    let first = Tenant { domain: Some("a.example".into()), ..w.new_tenant("first") };
    let ctx = w.ctx(first.id);
    tenants.create(&w.op, first.clone(), OperatorEffects::default()).await?;
    let same_id = Tenant { id: first.id, ..w.new_tenant("second") };
    let effects = w.above(first.id, w.effects(&ctx));
    w.refuses(&ctx, "a taken id", AlreadyExists, tenants.create(&w.op, same_id, effects)).await?;
    let same_domain = Tenant { domain: first.domain.clone(), ..w.new_tenant("third") };
    // A tenant that is not there yet is not active: no guard.
    let effects =
        w.above(same_domain.id, Effects { guards: Vec::new(), ..w.effects(&w.ctx(same_domain.id)) });
    let other = w.ctx(same_domain.id);
    w.refuses(&other, "a taken domain", AlreadyExists, tenants.create(&w.op, same_domain, effects)).await?;
    let other_bytes = Tenant { domain: Some("A.example".into()), ..w.new_tenant("fourth") };
    tenants.create(&w.op, other_bytes, OperatorEffects::default()).await?;
    Ok(())
}

async fn tenants_without_domain_do_not_collide(w: World) -> Outcome {
    for _ in 0..3 {
        w.tenant().await?;
    }
    Ok(())
}

async fn a_list_is_ordered_and_paged(w: World) -> Outcome {
    let start = w.env.now();
    let made = TIMES.map(|millis| Tenant { created_at: at(start, millis), ..w.new_tenant("listed") });
    for tenant in INSERTED.iter().filter_map(|index| made.get(*index)) {
        w.stores.tenants.create(&w.op, tenant.clone(), OperatorEffects::default()).await?;
    }
    let mut sorted = made.to_vec();
    sorted.sort_by_key(|tenant| (tenant.created_at, tenant.id));
    let ids: Vec<_> = sorted.iter().map(|tenant| tenant.id).collect();
    let position = |tenant: &Tenant| Cursor { created: tenant.created_at, id: tenant.id.uuid() };
    check_pages("tenants", &ids, |tenant| tenant.id, position, |page| w.stores.tenants.list(&w.op, page))
        .await
}

async fn a_replacement_needs_the_revision(w: World) -> Outcome {
    let tenants = &w.stores.tenants;
    let taken = Tenant { domain: Some("taken.example".into()), ..w.new_tenant("other") };
    tenants.create(&w.op, taken.clone(), OperatorEffects::default()).await?;
    let ctx = w.tenant().await?;
    let tenant = tenants.own(&ctx).await?;
    let effects = || w.above(tenant.id, w.effects(&ctx));
    for expected in [0, 2] {
        let call = tenants.replace(&w.op, tenant.clone(), expected, effects());
        w.refuses(&ctx, "another revision", Conflict, call).await?;
    }
    let domain = Tenant { domain: taken.domain, ..tenant.clone() };
    w.refuses(&ctx, "a taken domain", AlreadyExists, tenants.replace(&w.op, domain.clone(), 1, effects()))
        .await?;
    let call = tenants.replace(&w.op, domain, 2, effects());
    w.refuses(&ctx, "another revision and a taken domain", Conflict, call).await?;
    Ok(())
}

async fn a_replacement_counts_the_revision(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let mut expected = w.stores.tenants.own(&ctx).await?;
    for (revision, text) in (1..).zip(naughty()) {
        w.tick();
        expected = Tenant {
            name: text.clone(),
            plan: (revision % 2 == 0).then(|| text.clone()),
            settings: Map::from_iter([(text, json!(revision))]),
            updated_at: w.env.now(),
            // What the caller writes here does not count.
            revision: 77,
            ..expected
        };
        w.stores.tenants.replace(&w.op, expected.clone(), revision, OperatorEffects::default()).await?;
        expected.revision = revision + 1;
        equal("the replaced tenant", &w.stores.tenants.own(&ctx).await?, &expected)?;
    }
    Ok(())
}

async fn a_domain_moves_with_its_tenant(w: World) -> Outcome {
    let tenants = &w.stores.tenants;
    let first = Tenant { domain: Some("one.example".into()), ..w.new_tenant("first") };
    tenants.create(&w.op, first.clone(), OperatorEffects::default()).await?;
    tenants.replace(&w.op, first.clone(), 1, OperatorEffects::default()).await?;
    let moved = Tenant { domain: Some("two.example".into()), ..first.clone() };
    tenants.replace(&w.op, moved, 2, OperatorEffects::default()).await?;
    let second = Tenant { domain: first.domain, ..w.new_tenant("second") };
    tenants.create(&w.op, second.clone(), OperatorEffects::default()).await?;
    let back = Tenant { domain: second.domain, ..tenants.get(&w.op, first.id).await? };
    let result = tenants.replace(&w.op, back, 3, OperatorEffects::default()).await;
    refused("the domain another tenant has now", result, AlreadyExists)?;
    Ok(())
}

async fn an_unknown_tenant_is_not_found(w: World) -> Outcome {
    let tenants = &w.stores.tenants;
    let unknown = w.new_tenant("unknown");
    let ctx = w.ctx(unknown.id);
    refused("get", tenants.get(&w.op, unknown.id).await, NotFound)?;
    refused("own", tenants.own(&ctx).await, NotFound)?;
    refused("state", tenants.state(unknown.id).await, NotFound)?;
    let effects = w.above(unknown.id, w.effects(&ctx));
    w.refuses(&ctx, "replace", NotFound, tenants.replace(&w.op, unknown.clone(), 1, effects)).await?;
    let unguarded = w.above(unknown.id, Effects::none());
    w.refuses(&ctx, "replace", NotFound, tenants.replace(&w.op, unknown.clone(), 1, unguarded)).await?;
    let guarded = w.above(unknown.id, w.effects(&ctx));
    w.refuses(&ctx, "a guarded create", NotFound, tenants.create(&w.op, unknown, guarded)).await?;
    Ok(())
}

async fn a_suspended_tenant_refuses_what_is_guarded(w: World) -> Outcome {
    let (ctx, other) = (w.tenant().await?, w.tenant().await?);
    w.set_state(ctx.tenant(), TenantState::Suspended).await?;
    equal("state", &w.stores.tenants.state(ctx.tenant()).await?, &TenantState::Suspended)?;
    let tenant = w.stores.tenants.own(&ctx).await?;
    let effects = w.above(ctx.tenant(), w.effects(&ctx));
    // The guard comes before the revision.
    let call = w.stores.tenants.replace(&w.op, tenant, 99, effects);
    w.refuses(&ctx, "a guarded replacement", TenantSuspended, call).await?;
    w.stores.users.insert(&other, w.new_user("a@trial.example"), w.effects(&other)).await?;
    w.set_state(ctx.tenant(), TenantState::Active).await?;
    w.stores.users.insert(&ctx, w.new_user("a@trial.example"), w.effects(&ctx)).await?;
    Ok(())
}

async fn effects_commit_with_the_change(w: World) -> Outcome {
    let tenants = &w.stores.tenants;
    let tenant = w.new_tenant("with effects");
    let ctx = w.ctx(tenant.id);
    let first = w.above(tenant.id, Effects { guards: Vec::new(), ..w.effects(&ctx) });
    w.applies_above(&ctx, "create", &first, tenants.create(&w.op, tenant.clone(), first.clone())).await?;
    let second = w.above(tenant.id, w.effects(&ctx));
    let next = Tenant { state: TenantState::Suspended, ..tenant };
    w.applies_above(&ctx, "replace", &second, tenants.replace(&w.op, next, 1, second.clone())).await?;
    equal("state", &tenants.state(ctx.tenant()).await?, &TenantState::Suspended)
}

async fn a_refused_effect_leaves_nothing(w: World) -> Outcome {
    let tenants = &w.stores.tenants;
    let tenant = Tenant { domain: Some("free.example".into()), ..w.new_tenant("refused") };
    let ctx = w.ctx(tenant.id);
    let effects = w.above(tenant.id, Effects { guards: Vec::new(), ..w.overdrawn(&ctx) });
    let call = tenants.create(&w.op, tenant.clone(), effects);
    w.refuses(&ctx, "create", BudgetExceeded, call).await?;
    refused("the refused tenant", tenants.state(tenant.id).await, NotFound)?;
    // The id and the domain are still free.
    tenants.create(&w.op, tenant.clone(), OperatorEffects::default()).await?;
    w.user(&ctx).await?;
    for state in [TenantState::Suspended, TenantState::Deleted] {
        let effects = w.above(tenant.id, w.overdrawn(&ctx));
        let call = tenants.replace(&w.op, Tenant { state, ..tenant.clone() }, 1, effects);
        w.refuses(&ctx, state.name(), BudgetExceeded, call).await?;
    }
    let own = tenants.own(&ctx).await?;
    holds("the tenant is as it was", own == tenant)
}
