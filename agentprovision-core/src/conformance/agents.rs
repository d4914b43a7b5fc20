//! The trials of [`AgentStore`](crate::agent::AgentStore).

use std::collections::BTreeMap;

use super::check::{Outcome, equal, refused};
use super::records::{INSERTED, TIMES, at};
use super::world::{World, check_pages, naughty};
use crate::agent::{AgentQuery, AgentRecord, AgentState, AgentVersion, VersionHash};
use crate::error::ErrorKind::{AlreadyExists, BudgetExceeded, Conflict, NotFound, TenantSuspended};
use crate::page::{Cursor, PageRequest};
use crate::run::RunStatus;
use crate::tenant::TenantState;

super::suite! { "AgentStore":
    an_agent_is_kept_as_it_is,
    a_taken_id_or_name_is_refused,
    names_are_unique_by_bytes,
    a_retired_agent_keeps_its_name,
    a_list_is_ordered_and_paged,
    a_list_of_one_state_is_ordered_and_paged,
    a_replacement_needs_the_revision,
    a_replacement_counts_the_revision,
    versions_never_change,
    a_version_belongs_to_its_agent,
    a_deleted_agent_is_gone,
    an_agent_with_runs_or_sessions_stays,
    a_foreign_agent_is_not_found,
    guards_come_before_everything_else,
    effects_commit_with_the_change,
    a_refused_effect_leaves_nothing,
}

fn position(agent: &AgentRecord) -> Cursor {
    Cursor { created: agent.created_at, id: agent.id.uuid() }
}

async fn an_agent_is_kept_as_it_is(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    for (n, text) in naughty().into_iter().enumerate() {
        let (agent, _) = w.new_agent(&text);
        let canonical =
            format!("{{\"instructions\":{},\"n\":{n}}}", serde_json::Value::from(text.repeat(100)));
        let hash = VersionHash::of(&canonical);
        let version = AgentVersion { hash, canonical, created_at: w.after(1) };
        let agent = AgentRecord {
            state: AgentState::ALL.iter().copied().cycle().nth(n).unwrap_or(agent.state),
            latest: hash,
            aliases: BTreeMap::from([(text.clone(), hash), ("live".into(), hash), (String::new(), hash)]),
            project_id: Some(w.env.id()),
            updated_at: w.after(2),
            ..agent
        };
        w.stores.agents.insert(&ctx, agent.clone(), version.clone(), w.effects(&ctx)).await?;
        equal("get", &w.stores.agents.get(&ctx, agent.id).await?, &agent)?;
        equal("version", &w.stores.agents.version(&ctx, agent.id, hash).await?, &version)?;
    }
    let (agent, version) = w.new_agent("bare");
    let agent = AgentRecord { aliases: BTreeMap::new(), ..agent };
    w.stores.agents.insert(&ctx, agent.clone(), version, w.effects(&ctx)).await?;
    equal("an agent without alias", &w.stores.agents.get(&ctx, agent.id).await?, &agent)
}

async fn a_taken_id_or_name_is_refused(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let (other, version) = w.new_agent("other");
    let same_id = AgentRecord { id: agent.id, ..other };
    let call = w.stores.agents.insert(&ctx, same_id, version.clone(), w.effects(&ctx));
    w.refuses(&ctx, "a taken id", AlreadyExists, call).await?;
    refused("its version", w.stores.agents.version(&ctx, agent.id, version.hash).await, NotFound)?;
    let (same_name, version) = w.new_agent(&agent.name);
    let call = w.stores.agents.insert(&ctx, same_name, version, w.effects(&ctx));
    w.refuses(&ctx, "a taken name", AlreadyExists, call).await?;
    Ok(())
}

async fn names_are_unique_by_bytes(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    for name in ["sales", "Sales", "SALES", "sales ", "s_les", "s%", "\u{e9}", "e\u{301}", "E\u{301}"] {
        let (agent, version) = w.new_agent(name);
        w.stores.agents.insert(&ctx, agent, version, w.effects(&ctx)).await?;
        let (again, version) = w.new_agent(name);
        let result = w.stores.agents.insert(&ctx, again, version, w.effects(&ctx)).await;
        refused("the same bytes again", result, AlreadyExists)?;
    }
    Ok(())
}

async fn a_retired_agent_keeps_its_name(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let retired = AgentRecord { state: AgentState::Retired, ..agent.clone() };
    w.stores.agents.replace(&ctx, retired, None, 1, w.effects(&ctx)).await?;
    let (next, version) = w.new_agent(&agent.name);
    let call = w.stores.agents.insert(&ctx, next, version, w.effects(&ctx));
    w.refuses(&ctx, "a retired agent's name", AlreadyExists, call).await?;
    Ok(())
}

/// Seven agents, of two states, and one of another tenant.
async fn listed(w: &World) -> Result<(crate::Context, [AgentRecord; 7]), super::Failure> {
    let (ctx, other) = (w.tenant().await?, w.tenant().await?);
    w.agent(&other).await?;
    let start = w.env.now();
    let mut made = TIMES.map(|millis| {
        let (agent, version) = w.new_agent(&format!("agent {}", w.mark()));
        let state = if millis == 0 { AgentState::Draft } else { AgentState::Running };
        (AgentRecord { created_at: at(start, millis), state, ..agent }, version)
    });
    for (agent, version) in INSERTED.iter().filter_map(|index| made.get(*index)) {
        w.stores.agents.insert(&ctx, agent.clone(), version.clone(), w.effects(&ctx)).await?;
    }
    made.sort_by_key(|(agent, _)| (agent.created_at, agent.id));
    Ok((ctx, made.map(|(agent, _)| agent)))
}

async fn a_list_is_ordered_and_paged(w: World) -> Outcome {
    let (ctx, made) = listed(&w).await?;
    let ids = made.map(|agent| agent.id);
    let list = |page| w.stores.agents.list(&ctx, AgentQuery::page(page));
    check_pages("agents", &ids, |agent| agent.id, position, list).await
}

async fn a_list_of_one_state_is_ordered_and_paged(w: World) -> Outcome {
    let (ctx, made) = listed(&w).await?;
    for state in [AgentState::Draft, AgentState::Running, AgentState::Retired] {
        let ids: Vec<_> = made.iter().filter(|agent| agent.state == state).map(|agent| agent.id).collect();
        let list = |page| w.stores.agents.list(&ctx, AgentQuery::page(page).state(state));
        check_pages(state.name(), &ids, |agent| agent.id, position, list).await?;
    }
    Ok(())
}

async fn a_replacement_needs_the_revision(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (agent, other) = (w.agent(&ctx).await?, w.agent(&ctx).await?);
    let version = w.new_version("next");
    for expected in [0, 2] {
        let call =
            w.stores.agents.replace(&ctx, agent.clone(), Some(version.clone()), expected, w.effects(&ctx));
        w.refuses(&ctx, "another revision", Conflict, call).await?;
    }
    let taken = AgentRecord { name: other.name, ..agent.clone() };
    let call = w.stores.agents.replace(&ctx, taken.clone(), Some(version.clone()), 1, w.effects(&ctx));
    w.refuses(&ctx, "a taken name", AlreadyExists, call).await?;
    let call = w.stores.agents.replace(&ctx, taken, Some(version.clone()), 2, w.effects(&ctx));
    w.refuses(&ctx, "another revision and a taken name", Conflict, call).await?;
    refused("the version", w.stores.agents.version(&ctx, agent.id, version.hash).await, NotFound)?;
    let (unknown, version) = w.new_agent("unknown");
    let call = w.stores.agents.replace(&ctx, unknown, Some(version), 1, w.effects(&ctx));
    w.refuses(&ctx, "an unknown agent", NotFound, call).await?;
    Ok(())
}

async fn a_replacement_counts_the_revision(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let mut expected = w.agent(&ctx).await?;
    let first = expected.name.clone();
    for (revision, text) in (1..).zip(naughty()) {
        w.tick();
        let version = w.new_version(&text);
        expected.aliases.insert(text.clone(), version.hash);
        expected.aliases.remove("live");
        expected = AgentRecord {
            name: text,
            state: AgentState::Paused,
            latest: version.hash,
            project_id: (revision % 2 == 0).then(|| w.env.id()),
            updated_at: w.env.now(),
            // What the caller writes here does not count.
            revision: 77,
            ..expected
        };
        let call =
            w.stores.agents.replace(&ctx, expected.clone(), Some(version.clone()), revision, w.effects(&ctx));
        call.await?;
        expected.revision = revision + 1;
        equal("the replaced agent", &w.stores.agents.get(&ctx, expected.id).await?, &expected)?;
        let stored = w.stores.agents.version(&ctx, expected.id, version.hash).await?;
        equal("its version", &stored, &version)?;
    }
    let (next, version) = w.new_agent(&first);
    Ok(w.stores.agents.insert(&ctx, next, version, w.effects(&ctx)).await?)
}

async fn versions_never_change(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (agent, first) = w.new_agent("versioned");
    w.stores.agents.insert(&ctx, agent.clone(), first.clone(), w.effects(&ctx)).await?;
    let second = w.new_version("second");
    w.stores.agents.replace(&ctx, agent.clone(), Some(second.clone()), 1, w.effects(&ctx)).await?;
    w.tick();
    for (revision, version) in [(2, &first), (3, &second)] {
        let again = AgentVersion { created_at: w.env.now(), ..version.clone() };
        w.stores.agents.replace(&ctx, agent.clone(), Some(again), revision, w.effects(&ctx)).await?;
    }
    for version in [first, second] {
        equal("a version", &w.stores.agents.version(&ctx, agent.id, version.hash).await?, &version)?;
    }
    Ok(())
}

async fn a_version_belongs_to_its_agent(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (one, version) = w.new_agent("one");
    let (two, other) = w.new_agent("two");
    w.stores.agents.insert(&ctx, one.clone(), version.clone(), w.effects(&ctx)).await?;
    w.stores.agents.insert(&ctx, two.clone(), other, w.effects(&ctx)).await?;
    refused("the other agent's", w.stores.agents.version(&ctx, two.id, version.hash).await, NotFound)?;
    refused("an unknown agent's", w.stores.agents.version(&ctx, w.env.id(), version.hash).await, NotFound)?;
    // Two agents may have the same content.
    w.tick();
    let same = AgentVersion { created_at: w.env.now(), ..version.clone() };
    w.stores.agents.replace(&ctx, two.clone(), Some(same.clone()), 1, w.effects(&ctx)).await?;
    equal("one", &w.stores.agents.version(&ctx, one.id, version.hash).await?, &version)?;
    equal("two", &w.stores.agents.version(&ctx, two.id, version.hash).await?, &same)
}

async fn a_deleted_agent_is_gone(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (agent, kept) = (w.agent(&ctx).await?, w.agent(&ctx).await?);
    let call = w.stores.agents.delete(&ctx, agent.id, 2, w.effects(&ctx));
    w.refuses(&ctx, "another revision", Conflict, call).await?;
    w.stores.agents.delete(&ctx, agent.id, 1, w.effects(&ctx)).await?;
    refused("get", w.stores.agents.get(&ctx, agent.id).await, NotFound)?;
    refused("its version", w.stores.agents.version(&ctx, agent.id, agent.latest).await, NotFound)?;
    equal("agents", &w.stores.agents.list(&ctx, AgentQuery::default()).await?.items, &vec![kept])?;
    let call = w.stores.agents.delete(&ctx, agent.id, 1, w.effects(&ctx));
    w.refuses(&ctx, "a second deletion", NotFound, call).await?;
    // Name and id are free again, and the old version does not come back with them.
    let version = w.new_version("again");
    w.stores.agents.insert(&ctx, agent.clone(), version, w.effects(&ctx)).await?;
    refused("the old version", w.stores.agents.version(&ctx, agent.id, agent.latest).await, NotFound)?;
    Ok(())
}

async fn an_agent_with_runs_or_sessions_stays(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (ran, talked) = (w.agent(&ctx).await?, w.agent(&ctx).await?);
    let lease = w.run(&ctx, &ran).await?;
    w.session(&ctx, &talked).await?;
    for id in [ran.id, talked.id] {
        let call = w.stores.agents.delete(&ctx, id, 1, w.effects(&ctx));
        w.refuses(&ctx, "an agent in use", Conflict, call).await?;
    }
    w.finish(&lease, RunStatus::Completed).await?;
    let call = w.stores.agents.delete(&ctx, ran.id, 1, w.effects(&ctx));
    w.refuses(&ctx, "an agent whose run is over", Conflict, call).await?;
    Ok(())
}

async fn a_foreign_agent_is_not_found(w: World) -> Outcome {
    let agents = &w.stores.agents;
    let (ctx, foreign) = (w.tenant().await?, w.tenant().await?);
    let agent = w.agent(&ctx).await?;
    refused("get", agents.get(&foreign, agent.id).await, NotFound)?;
    refused("version", agents.version(&foreign, agent.id, agent.latest).await, NotFound)?;
    equal("list", &agents.list(&foreign, AgentQuery::page(PageRequest::limit(9))).await?.items, &Vec::new())?;
    let call = agents.replace(&foreign, agent.clone(), None, 1, w.effects(&foreign));
    w.refuses(&foreign, "replace", NotFound, call).await?;
    w.refuses(&foreign, "delete", NotFound, agents.delete(&foreign, agent.id, 1, w.effects(&foreign)))
        .await?;
    // The same name in another tenant is another agent.
    let (same_name, version) = w.new_agent(&agent.name);
    agents.insert(&foreign, same_name, version, w.effects(&foreign)).await?;
    equal("the agent", &agents.get(&ctx, agent.id).await?, &agent)
}

async fn guards_come_before_everything_else(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let (_, version) = w.new_agent("new");
    w.set_state(ctx.tenant(), TenantState::Suspended).await?;
    let kind = TenantSuspended;
    let call = w.stores.agents.insert(&ctx, agent.clone(), version, w.overdrawn(&ctx));
    w.refuses(&ctx, "insert", kind, call).await?;
    let call = w.stores.agents.replace(&ctx, agent.clone(), None, 9, w.effects(&ctx));
    w.refuses(&ctx, "replace", kind, call).await?;
    w.refuses(&ctx, "delete", kind, w.stores.agents.delete(&ctx, w.env.id(), 1, w.effects(&ctx))).await?;
    equal("get", &w.stores.agents.get(&ctx, agent.id).await?, &agent)
}

async fn effects_commit_with_the_change(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let (agent, version) = w.new_agent("with effects");
    let effects = w.effects(&ctx);
    let call = w.stores.agents.insert(&ctx, agent.clone(), version, effects.clone());
    w.applies(&ctx, "insert", &effects, call).await?;
    let effects = w.effects(&ctx);
    let call = w.stores.agents.replace(&ctx, agent.clone(), Some(w.new_version("next")), 1, effects.clone());
    w.applies(&ctx, "replace", &effects, call).await?;
    let effects = w.effects(&ctx);
    let call = w.stores.agents.delete(&ctx, agent.id, 2, effects.clone());
    w.applies(&ctx, "delete", &effects, call).await
}

async fn a_refused_effect_leaves_nothing(w: World) -> Outcome {
    let ctx = w.tenant().await?;
    let agent = w.agent(&ctx).await?;
    let (new, version) = w.new_agent("new");
    let kind = BudgetExceeded;
    let call = w.stores.agents.insert(&ctx, new.clone(), version.clone(), w.overdrawn(&ctx));
    w.refuses(&ctx, "insert", kind, call).await?;
    refused("the new version", w.stores.agents.version(&ctx, new.id, version.hash).await, NotFound)?;
    let next = AgentRecord { name: "next".into(), aliases: BTreeMap::new(), ..agent.clone() };
    let call = w.stores.agents.replace(&ctx, next, Some(version.clone()), 1, w.overdrawn(&ctx));
    w.refuses(&ctx, "replace", kind, call).await?;
    refused("the next version", w.stores.agents.version(&ctx, agent.id, version.hash).await, NotFound)?;
    w.refuses(&ctx, "delete", kind, w.stores.agents.delete(&ctx, agent.id, 1, w.overdrawn(&ctx))).await?;
    w.stores.agents.version(&ctx, agent.id, agent.latest).await?;
    Ok(())
}
