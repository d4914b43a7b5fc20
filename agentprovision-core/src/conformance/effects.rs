//! The trials of [`EffectStore`](crate::effect::EffectStore).

use super::check::{Outcome, equal};
use super::world::World;
use crate::context::Context;
use crate::effect::{Effects, Guard, OperatorEffects};
use crate::error::ErrorKind::{BudgetExceeded, NotFound, TenantSuspended};
use crate::tenant::{Tenant, TenantState};
use crate::usage::{Meter, UsageEvent};

super::suite! { "EffectStore":
    effects_of_every_kind_are_applied,
    a_refusal_leaves_nothing_behind,
    no_effects_change_nothing,
    usage_that_comes_twice_counts_once,
    work_that_was_done_counts_in_a_suspended_tenant,
    nothing_is_kept_for_a_tenant_that_is_not_there,
    tenants_have_effects_of_their_own,
}

/// Usage alone, under the condition that its tenant is there.
fn counted(usage: Vec<UsageEvent>) -> Effects {
    Effects { guards: vec![Guard::TenantExists], usage, ..Effects::none() }
}

async fn usage_of(w: &World, ctx: &Context) -> crate::Result<Vec<UsageEvent>> {
    w.stores.usage.events(ctx, None, 100).await
}

async fn effects_of_every_kind_are_applied(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let effects = w.effects(&ctx);
    w.stores.effects.apply(&ctx, effects.clone()).await?;
    equal("usage", &usage_of(&w, &ctx).await?, &effects.usage)?;
    let kept = w.stores.events.read(&ctx, 0, 10).await?;
    equal("events", &kept.into_iter().map(|kept| kept.event).collect(), &effects.events)?;
    equal("audit records", &w.stores.audit.checkpoint(&ctx).await?.size, &1)?;
    let budget = w.stores.quota.state(&ctx, &World::marked()).await?;
    equal("the budget is there", &budget.is_some(), &true)
}

async fn a_refusal_leaves_nothing_behind(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let call = w.stores.effects.apply(&ctx, w.overdrawn(&ctx));
    w.refuses(&ctx, "a budget without room", BudgetExceeded, call).await?;
    w.set_state(ctx.tenant(), TenantState::Suspended).await?;
    let call = w.stores.effects.apply(&ctx, w.effects(&ctx));
    w.refuses(&ctx, "a suspended tenant", TenantSuspended, call).await?;
    Ok(())
}

async fn no_effects_change_nothing(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    w.stores.effects.apply(&ctx, Effects::none()).await?;
    equal("usage", &usage_of(&w, &ctx).await?, &Vec::new())?;
    equal("audit records", &w.stores.audit.checkpoint(&ctx).await?.size, &0)
}

async fn usage_that_comes_twice_counts_once(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let first = w.usage(Meter::LlmRequests, 1);
    let other = w.usage(Meter::LlmTokensInput, 5);
    w.stores.effects.apply(&ctx, counted(vec![first.clone()])).await?;
    w.stores.effects.apply(&ctx, counted(vec![first.clone(), other.clone()])).await?;
    equal("usage", &usage_of(&w, &ctx).await?, &vec![first, other])
}

async fn work_that_was_done_counts_in_a_suspended_tenant(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    w.set_state(ctx.tenant(), TenantState::Suspended).await?;
    let event = w.usage(Meter::LlmRequests, 1);
    w.stores.effects.apply(&ctx, counted(vec![event.clone()])).await?;
    equal("usage", &usage_of(&w, &ctx).await?, &vec![event])
}

async fn nothing_is_kept_for_a_tenant_that_is_not_there(w: World) -> Outcome {
    let (gone, never) = (w.tenant().await?, w.ctx(w.env.id()));
    let tenant = w.stores.tenants.own(&gone).await?;
    let revision = tenant.revision;
    let deleted = Tenant { state: TenantState::Deleted, ..tenant };
    w.stores.tenants.replace(&w.op, deleted, revision, OperatorEffects::default()).await?;
    for ctx in [&gone, &never] {
        let call = w.stores.effects.apply(ctx, counted(vec![w.usage(Meter::LlmRequests, 1)]));
        w.refuses(ctx, "usage", NotFound, call).await?;
    }
    Ok(())
}

async fn tenants_have_effects_of_their_own(w: World) -> Outcome {
    let (one, two) = (w.tenant().await?, w.tenant().await?);
    let event = w.usage(Meter::LlmRequests, 1);
    // Ids are known within a tenant.
    let twin = UsageEvent { quantity: 2, ..event.clone() };
    w.stores.effects.apply(&one, counted(vec![event.clone()])).await?;
    w.stores.effects.apply(&two, counted(vec![twin.clone()])).await?;
    equal("the first", &usage_of(&w, &one).await?, &vec![event])?;
    equal("the second", &usage_of(&w, &two).await?, &vec![twin])
}
