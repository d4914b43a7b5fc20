//! The trials of [`Backend`](crate::backend::Backend).

use std::time::Duration;

use super::check::{Outcome, equal, refused};
use super::world::World;
use super::{idempotency, secrets};
use crate::agent::AgentQuery;
use crate::effect::{Effects, OperatorEffects};
use crate::error::ErrorKind::Closed;
use crate::integration::IntegrationQuery;
use crate::page::PageRequest;
use crate::run::{ClaimRequest, JournalBatch, RunQuery, Signal};
use crate::tenant::TenantState;
use crate::usage::{BudgetKey, Dimension, Period, Reservation};
use crate::webhook::DeliveryEnd;

super::suite! { "Backend":
    stores_are_handles_over_one_state,
    after_the_end_everything_is_closed,
    a_handle_taken_after_the_end_is_closed,
    effects_alone_do_not_outlive_a_dropped_call,
}

async fn stores_are_handles_over_one_state(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let user = w.user(&ctx).await?;
    let again = w.backend.stores();
    equal("the user", &again.users.get(&ctx, user.id).await?, &user)?;
    again.users.delete(&ctx, user.id, w.effects(&ctx)).await?;
    equal("users", &w.stores.users.list(&ctx, PageRequest::default()).await?.items.len(), &0)?;
    equal("audit records", &w.stores.audit.checkpoint(&ctx).await?.size, &1)
}

/// Every method of every store, on things that are there.
async fn after_the_end_everything_is_closed(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let user = w.user(&ctx).await?;
    let key = w.new_key(user.id);
    w.stores.keys.insert(&ctx, key.clone(), Effects::none()).await?;
    let agent = w.agent(&ctx).await?;
    let session = w.session(&ctx, &agent).await?;
    let lease = w.run(&ctx, &agent).await?;
    let (new_agent, version) = w.new_agent("late");
    let (run, tenant) = (lease.run.id, w.stores.tenants.own(&ctx).await?);
    let budget = BudgetKey::new("a", Dimension::Steps);
    let signal = Signal::Cancel { by: user.id };
    let (path, work, integration) =
        (secrets::path("late")?, idempotency::work("late"), w.integration(&ctx).await?);
    let endpoint = w.endpoint(&ctx).await?;
    let above = OperatorEffects::default;
    w.stores.audit.checkpoint(&ctx).await?;
    w.backend.close().await?;

    let s = &w.stores;
    macro_rules! closed {
        ($($store:ident . $method:ident($($argument:expr),*);)*) => {
            $(refused(
                concat!(stringify!($store), ".", stringify!($method)),
                s.$store.$method($($argument),*).await,
                Closed,
            )?;)*
        };
    }
    closed! {
        tenants.create(&w.op, w.new_tenant("late"), above());
        tenants.get(&w.op, tenant.id);
        tenants.list(&w.op, PageRequest::default());
        tenants.replace(&w.op, tenant.clone(), 1, above());
        tenants.own(&ctx);
        tenants.state(tenant.id);
        users.insert(&ctx, w.new_user("late@trial.example"), Effects::none());
        users.bootstrap(&w.op, tenant.id, w.new_user("late@trial.example"), above());
        users.get(&ctx, user.id);
        users.list(&ctx, PageRequest::default());
        users.replace(&ctx, user.clone(), 1, Effects::none());
        users.delete(&ctx, user.id, Effects::none());
        users.member(tenant.id, user.id);
        keys.insert(&ctx, w.new_key(user.id), Effects::none());
        keys.get(&ctx, key.id);
        keys.list(&ctx, PageRequest::default());
        keys.revoke(&ctx, key.id, w.env.now(), Effects::none());
        keys.lookup(tenant.id, key.id);
        agents.insert(&ctx, new_agent, version, Effects::none());
        agents.get(&ctx, agent.id);
        agents.version(&ctx, agent.id, agent.latest);
        agents.replace(&ctx, agent.clone(), None, 1, Effects::none());
        agents.list(&ctx, AgentQuery::default());
        agents.delete(&ctx, agent.id, 1, Effects::none());
        runs.create(&ctx, w.new_run(&ctx, &agent), Effects::none());
        runs.claim(ClaimRequest::new(w.env.id(), w.after(60), 1, 1));
        runs.renew(&lease.fence, w.after(60));
        runs.commit(&lease.fence, JournalBatch::default(), Effects::none());
        runs.begin(&lease.fence);
        index.get(&ctx, run);
        index.list(&ctx, RunQuery::default());
        index.journal(&ctx, run, 0, 10);
        index.payloads(&ctx, run, &[]);
        index.signal(&ctx, run, w.env.id(), signal, Effects::none());
        sessions.open(&ctx, w.new_session(&ctx, &agent), Effects::none());
        sessions.get(&ctx, session.id);
        sessions.list(&ctx, PageRequest::default());
        secrets.get(&ctx, &path);
        secrets.put(&ctx, &path, secrets::sealed(1), None);
        secrets.delete(&ctx, &path);
        secrets.lease(&ctx, &path, w.env.id(), Duration::ZERO);
        integrations.insert(&ctx, w.new_integration("late"), Effects::none());
        integrations.get(&ctx, integration.id);
        integrations.replace(&ctx, integration.clone(), 1, Effects::none());
        integrations.list(&ctx, IntegrationQuery::default());
        integrations.delete(&ctx, integration.id, 1, Effects::none());
        idempotency.begin(&ctx, &work, [0; 32], Duration::ZERO, Duration::ZERO);
        idempotency.finish(&ctx, &work, 1, None);
        endpoints.insert(&ctx, w.new_endpoint("late"), Effects::none());
        endpoints.get(&ctx, endpoint.id);
        endpoints.replace(&ctx, endpoint.clone(), 1, Effects::none());
        endpoints.list(&ctx, PageRequest::default());
        endpoints.delete(&ctx, endpoint.id, 1, Effects::none());
        endpoints.lookup(ctx.tenant(), endpoint.id);
        inbox.accept(ctx.tenant(), w.new_delivery(endpoint.id, "late"));
        inbox.claim(w.env.id(), super::idempotency::TERM, 1, None);
        inbox.finish(ctx.tenant(), w.env.id(), 1, DeliveryEnd::Done(vec![]), Effects::none());
        inbox.advance(ctx.tenant(), endpoint.id, "key", "1");
        inbox.mark(ctx.tenant(), endpoint.id, "key");
        inbox.get(&ctx, w.env.id());
        inbox.list(&ctx, endpoint.id, PageRequest::default());
        inbox.replay(&ctx, w.env.id(), Effects::none());
        inbox.expire(Duration::ZERO, 1);
        audit.entries(&ctx, 0, 10);
        audit.checkpoint(&ctx);
        audit.prove(&ctx, 0, 1);
        audit.consistency(&ctx, 1, 1);
        audit.platform_entries(&w.op, 0, 10);
        audit.platform_checkpoint(&w.op);
        usage.summary(&ctx, Period::ALL);
        usage.events(&ctx, None, 10);
        quota.define(&ctx, &budget, Some(1));
        quota.reserve(&ctx, w.env.id(), Vec::new());
        quota.settle(&ctx, Reservation { id: w.env.id(), demand: Vec::new() }, Vec::new());
        quota.state(&ctx, &budget);
        events.read(&ctx, 0, 10);
        events.unpublished(10);
        events.published(&[]);
        effects.apply(&ctx, Effects::none());
    }
    Ok(())
}

async fn a_handle_taken_after_the_end_is_closed(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    w.backend.close().await?;
    refused("own", w.backend.stores().tenants.own(&ctx).await, Closed)?;
    Ok(())
}

/// A call whose future is dropped either happens whole or not at all.
async fn effects_alone_do_not_outlive_a_dropped_call(w: World) -> Outcome {
    use std::task::{Context, Poll, Waker};

    let ctx = w.tenant().await?;
    let (mut changes, mut dropped) = (0, Vec::new());
    for polls in [0, 1, 1, 2, 3] {
        let user = w.new_user(&format!("{}@trial.example", w.mark()));
        dropped.push(user.id);
        {
            let mut call = std::pin::pin!(w.stores.users.insert(&ctx, user, w.effects(&ctx)));
            for _ in 0..polls {
                if let Poll::Ready(result) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    result?;
                    break;
                }
            }
        }
        w.stores
            .users
            .insert(&ctx, w.new_user(&format!("{}@trial.example", w.mark())), w.effects(&ctx))
            .await?;
        changes += 1;
    }
    // A dropped call may still be carried out, beside those behind it.
    for tries in (0..1000).rev() {
        let mut applied = changes;
        for user in &dropped {
            applied += u64::from(w.stores.users.get(&ctx, *user).await.is_ok());
        }
        let records = w.stores.audit.checkpoint(&ctx).await?.size;
        let events = w.stores.events.read(&ctx, 0, 100).await?.len() as u64;
        if tries == 0 || (records, events) == (applied, applied) {
            equal("audit records and events", &(records, events), &(applied, applied))?;
            break;
        }
    }
    equal("state", &w.stores.tenants.state(ctx.tenant()).await?, &TenantState::Active)
}
