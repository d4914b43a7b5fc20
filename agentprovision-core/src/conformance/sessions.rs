//! The trials of [`SessionStore`](crate::run::SessionStore).

use super::check::{Outcome, equal, refused};
use super::records::{INSERTED, TIMES, at};
use super::world::{World, check_pages};
use crate::error::ErrorKind::{AlreadyExists, BudgetExceeded, Conflict, NotFound, TenantSuspended};
use crate::page::{Cursor, PageRequest};
use crate::run::{Release, RunStatus, SessionRecord};
use crate::tenant::TenantState;

super::suite! { "SessionStore":
    a_session_is_kept_as_it_is,
    a_session_needs_its_agent_and_a_free_id,
    a_list_is_ordered_and_paged,
    a_session_has_one_turn_at_a_time,
    a_foreign_session_is_not_found,
    guards_come_before_everything_else,
    effects_commit_with_the_change,
    a_refused_effect_leaves_nothing,
}

async fn a_session_is_kept_as_it_is(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let session = w.session(&ctx, &agent).await?;
    equal("get", &w.stores.sessions.get(&ctx, session.id).await?, &session)?;
    equal("list", &w.stores.sessions.list(&ctx, PageRequest::default()).await?.items, &vec![session])
}

async fn a_session_needs_its_agent_and_a_free_id(w: World) -> Outcome {
    let (ctx, other) = (w.tenant().await?, w.tenant().await?);
    let (agent, foreign) = (w.agent(&ctx).await?, w.agent(&other).await?);
    let session = w.session(&ctx, &agent).await?;
    let call = w.stores.sessions.open(&ctx, session.clone(), w.effects(&ctx));
    w.refuses(&ctx, "a taken id", AlreadyExists, call).await?;
    for agent in [w.env.id(), foreign.id] {
        let unknown = SessionRecord { agent, id: w.env.id(), ..session.clone() };
        let call = w.stores.sessions.open(&ctx, unknown, w.effects(&ctx));
        w.refuses(&ctx, "an unknown agent", NotFound, call).await?;
    }
    let both = SessionRecord { agent: foreign.id, ..session };
    let call = w.stores.sessions.open(&ctx, both, w.effects(&ctx));
    w.refuses(&ctx, "a taken id and an unknown agent", AlreadyExists, call).await?;
    Ok(())
}

async fn a_list_is_ordered_and_paged(w: World) -> Outcome {
    let (ctx, other) = (w.tenant().await?, w.tenant().await?);
    let (agent, foreign) = (w.agent(&ctx).await?, w.agent(&other).await?);
    w.session(&other, &foreign).await?;
    let start = w.env.now();
    let mut made =
        TIMES.map(|millis| SessionRecord { created_at: at(start, millis), ..w.new_session(&ctx, &agent) });
    for session in INSERTED.iter().filter_map(|index| made.get(*index)) {
        w.stores.sessions.open(&ctx, session.clone(), w.effects(&ctx)).await?;
    }
    made.sort_by_key(|session| (session.created_at, session.id));
    let ids = made.map(|session| session.id);
    let position = |session: &SessionRecord| Cursor { created: session.created_at, id: session.id.uuid() };
    let list = |page| w.stores.sessions.list(&ctx, page);
    check_pages("sessions", &ids, |session| session.id, position, list).await
}

async fn a_session_has_one_turn_at_a_time(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let (session, idle) = (w.session(&ctx, &agent).await?, w.session(&ctx, &agent).await?);
    for status in [RunStatus::Completed, RunStatus::Failed, RunStatus::Cancelled] {
        let mut run = w.new_run(&ctx, &agent);
        run.record.session_id = Some(session.id);
        let lease = w.start(&ctx, run.clone()).await?;
        let during = SessionRecord { active_run: Some(lease.run.id), ..session.clone() };
        equal("during the turn", &w.stores.sessions.get(&ctx, session.id).await?, &during)?;
        run.record.id = w.env.id();
        let call = w.stores.runs.create(&ctx, run, w.effects(&ctx));
        w.refuses(&ctx, "a second turn", Conflict, call).await?;
        w.release(&lease, Release::Ready).await?;
        equal("a turn given up", &w.stores.sessions.get(&ctx, session.id).await?, &during)?;
        for lease in w.claim(1).await? {
            w.finish(&lease, status).await?;
        }
        equal("after the turn", &w.stores.sessions.get(&ctx, session.id).await?, &session)?;
    }
    equal("another session", &w.stores.sessions.get(&ctx, idle.id).await?, &idle)
}

async fn a_foreign_session_is_not_found(w: World) -> Outcome {
    let (ctx, foreign) = (w.tenant().await?, w.tenant().await?);
    let agent = w.agent(&ctx).await?;
    let session = w.session(&ctx, &agent).await?;
    refused("get", w.stores.sessions.get(&foreign, session.id).await, NotFound)?;
    refused("an unknown one", w.stores.sessions.get(&ctx, w.env.id()).await, NotFound)?;
    equal("list", &w.stores.sessions.list(&foreign, PageRequest::default()).await?.items, &Vec::new())
}

async fn guards_come_before_everything_else(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let session = w.session(&ctx, &agent).await?;
    w.set_state(ctx.tenant(), TenantState::Suspended).await?;
    let call = w.stores.sessions.open(&ctx, session.clone(), w.overdrawn(&ctx));
    w.refuses(&ctx, "open", TenantSuspended, call).await?;
    equal("get", &w.stores.sessions.get(&ctx, session.id).await?, &session)
}

async fn effects_commit_with_the_change(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let effects = w.effects(&ctx);
    let call = w.stores.sessions.open(&ctx, w.new_session(&ctx, &agent), effects.clone());
    w.applies(&ctx, "open", &effects, call).await
}

async fn a_refused_effect_leaves_nothing(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let session = w.new_session(&ctx, &agent);
    let call = w.stores.sessions.open(&ctx, session.clone(), w.overdrawn(&ctx));
    w.refuses(&ctx, "open", BudgetExceeded, call).await?;
    Ok(w.stores.sessions.open(&ctx, session, w.effects(&ctx)).await?)
}
