//! The trials of [`ChangeFeed`](crate::changes::ChangeFeed).

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::check::{Checked, Failure, Outcome, equal};
use super::world::World;
use crate::changes::{Epoch, Mark};
use crate::context::Context;
use crate::effect::Effects;
use crate::id::TenantId;
use crate::identity::User;
use crate::tenant::TenantState;

super::suite! { "ChangeFeed":
    every_change_of_metadata_is_named,
    nothing_is_named_before_the_first_question,
    what_is_no_metadata_changes_nothing,
    nothing_is_missed_while_many_change,
}

/// The epochs since a mark, and the next mark.
async fn since(w: &World, mark: &mut Mark) -> Checked<BTreeMap<TenantId, Epoch>> {
    let changes = w.stores.changes.changed(Some(mark)).await?;
    *mark = changes.mark;
    Ok(changes.tenants.into_iter().collect())
}

async fn every_change_of_metadata_is_named(w: World) -> Outcome {
    let (ctx, other) = (w.tenant().await?, w.tenant().await?);
    let mut mark = w.stores.changes.changed(None).await?.mark;
    let mut known = since(&w, &mut mark).await?;
    let mut named = async |what: &str| -> Outcome {
        let now = since(&w, &mut mark).await?;
        let Some(epoch) = now.get(&ctx.tenant()) else {
            return Err(Failure::new(format_args!("{what} is not named")));
        };
        equal(&format!("another epoch after {what}"), &(known.get(&ctx.tenant()) != Some(epoch)), &true)?;
        let seen = now.get(&other.tenant());
        equal(
            &format!("the other tenant after {what}"),
            &(seen.is_some() && seen != known.get(&other.tenant())),
            &false,
        )?;
        known.extend(now);
        Ok(())
    };
    let user = w.user(&ctx).await?;
    named("a new user").await?;
    let changed = User { active: false, ..user.clone() };
    w.stores.users.replace(&ctx, changed, user.revision, Effects::none()).await?;
    named("a changed user").await?;
    let key = w.new_key(user.id);
    w.stores.keys.insert(&ctx, key.clone(), Effects::none()).await?;
    named("a new key").await?;
    w.stores.keys.revoke(&ctx, key.id, w.after(1), Effects::none()).await?;
    named("a revoked key").await?;
    let gone = w.user(&ctx).await?;
    named("another user").await?;
    w.stores.users.delete(&ctx, gone.id, Effects::none()).await?;
    named("a deleted user").await?;
    w.set_state(ctx.tenant(), TenantState::Suspended).await?;
    named("a suspended tenant").await
}

async fn nothing_is_named_before_the_first_question(w: World) -> Outcome {
    w.user(&w.tenant().await?).await?;
    equal("the tenants", &w.stores.changes.changed(None).await?.tenants, &Vec::new())
}

async fn what_is_no_metadata_changes_nothing(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let mut mark = w.stores.changes.changed(None).await?.mark;
    let before = since(&w, &mut mark).await?;
    w.run(&ctx, &agent).await?;
    w.stores.effects.apply(&ctx, w.effects(&ctx)).await?;
    let after = since(&w, &mut mark).await?;
    equal(
        "the epoch",
        &after.get(&ctx.tenant()).filter(|epoch| before.get(&ctx.tenant()) != Some(epoch)),
        &None,
    )
}

async fn nothing_is_missed_while_many_change(w: World) -> Outcome {
    let mut tenants: Vec<Context> = Vec::new();
    for _ in 0..4 {
        tenants.push(w.tenant().await?);
    }
    let first = w.stores.changes.changed(None).await?.mark;
    let write = async |ctx: &Context| -> Outcome {
        for _ in 0..8 {
            w.user(ctx).await?;
        }
        Ok(())
    };
    let follow = async {
        let (mut mark, mut seen) = (first.clone(), BTreeMap::new());
        for _ in 0..40 {
            seen.extend(since(&w, &mut mark).await?);
        }
        Checked::Ok((mark, seen))
    };
    let (written, followed) = futures_util::join!(join_all(tenants.iter().map(write)), follow);
    written.into_iter().collect::<Outcome>()?;
    let (mut mark, mut seen) = followed?;
    seen.extend(since(&w, &mut mark).await?);
    let all = w.stores.changes.changed(Some(&first)).await?.tenants.into_iter().collect();
    equal("what was seen bit by bit", &seen, &all)?;
    equal("how many tenants", &seen.len(), &tenants.len())
}
