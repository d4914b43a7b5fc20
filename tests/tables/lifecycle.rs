//! The lifecycle of a definition: the table, every edge that is not in it, and what the service makes of both.

use std::collections::BTreeSet;
use std::sync::Arc;

use agentprovision::agent::lifecycle::EDGES;
use agentprovision::agent::{AgentRecord, AgentState};
use agentprovision::prelude::*;
use agentprovision::testing::ScriptedModel;

use super::golden;
use crate::support::{Home, home};

fn documented() -> BTreeSet<(String, String)> {
    let table = golden("lifecycle.txt");
    let edges: BTreeSet<(String, String)> = table
        .lines()
        .filter_map(|line| line.split_once(" -> "))
        .map(|(from, to)| (from.into(), to.into()))
        .collect();
    assert_eq!(edges.len(), table.lines().count());
    edges
}

#[test]
fn the_edges_are_the_documented_ones_and_every_other_is_refused_by_name() {
    let documented = documented();
    let now: BTreeSet<(String, String)> =
        EDGES.iter().map(|(from, to)| (from.name().into(), to.name().into())).collect();
    assert_eq!(now, documented);
    for from in AgentState::ALL {
        for to in AgentState::ALL {
            let legal = documented.contains(&(from.name().to_owned(), to.name().to_owned()));
            match from.step_to(*to) {
                Ok(state) => assert!(legal && state == *to, "{from} -> {to}"),
                Err(error) => {
                    assert!(!legal, "{from} -> {to}");
                    names_what_is_legal(&error, *from, &documented);
                }
            }
        }
        assert_eq!(AgentState::from_name(from.name()), Some(*from));
        assert_eq!(serde_json::to_value(from).unwrap(), from.name());
    }
}

fn names_what_is_legal(error: &Error, from: AgentState, documented: &BTreeSet<(String, String)>) {
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let next: Vec<&str> =
        documented.iter().filter(|(state, _)| state == from.name()).map(|(_, next)| next.as_str()).collect();
    let (_, follows) = error.message().split_once("follows ").unwrap_or_else(|| panic!("{error}"));
    let named: BTreeSet<&str> = follows.split(" or ").collect();
    let expected: BTreeSet<&str> =
        if next.is_empty() { ["nothing"].into() } else { next.into_iter().collect() };
    assert_eq!(named, expected, "{error}");
}

const VERBS: [&str; 7] = ["pause", "resume", "retire", "deploy", "rollback", "update", "delete"];

/// Where each verb leads from each state an agent can rest in through the service; `conflict` leads nowhere.
const RESTING: [(&str, [&str; 7]); 4] = [
    ("draft", ["conflict", "conflict", "conflict", "running", "conflict", "draft", "gone"]),
    ("running", ["paused", "conflict", "retired", "running", "running", "running", "conflict"]),
    ("paused", ["conflict", "running", "retired", "paused", "paused", "paused", "conflict"]),
    ("retired", ["conflict", "conflict", "conflict", "conflict", "conflict", "conflict", "conflict"]),
];

async fn agent_in(platform: &Platform, ctx: &Context, state: &str, name: String) -> AgentRecord {
    let agents = platform.agents();
    let agent = agents.create(ctx, AgentSpec::new(name).model("m")).await.unwrap();
    if state == "draft" {
        return agent;
    }
    let agent = agents.deploy(ctx, agent.id).await.unwrap();
    match state {
        "paused" => agents.pause(ctx, agent.id).await.unwrap(),
        "retired" => agents.retire(ctx, agent.id).await.unwrap(),
        _ => agent,
    }
}

async fn act(
    platform: &Platform,
    ctx: &Context,
    agent: &AgentRecord,
    verb: &str,
) -> Result<Option<AgentRecord>> {
    let agents = platform.agents();
    match verb {
        "pause" => agents.pause(ctx, agent.id).await.map(Some),
        "resume" => agents.resume(ctx, agent.id).await.map(Some),
        "retire" => agents.retire(ctx, agent.id).await.map(Some),
        "deploy" => agents.deploy(ctx, agent.id).await.map(Some),
        "rollback" => agents.rollback(ctx, agent.id, agent.latest).await.map(Some),
        "update" => {
            let spec = AgentSpec::new(agent.name.clone()).model("m").instructions("Say more.");
            agents.update(ctx, agent.id, spec).await.map(Some)
        }
        "delete" => agents.delete(ctx, agent.id).await.map(|()| None),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn the_service_takes_the_legal_edges_and_refuses_the_others_without_a_trace() {
    let model = ScriptedModel::new("m", []);
    let platform = Platform::builder().model("m", Arc::new(model)).build().await.unwrap();
    let Home { admin, .. } = home(&platform, "acme").await;
    for (state, row) in RESTING {
        for (verb, leads) in VERBS.into_iter().zip(row) {
            let agent = agent_in(&platform, &admin, state, format!("{verb} while {state}")).await;
            assert_eq!(agent.state.name(), state);
            let before = platform.audit().checkpoint(&admin).await.unwrap();
            let result = act(&platform, &admin, &agent, verb).await;
            match (leads, result) {
                ("conflict", Err(error)) => {
                    assert_eq!(error.kind(), ErrorKind::Conflict, "{verb} while {state}: {error}");
                    if ["pause", "resume", "retire"].contains(&verb) {
                        names_what_is_legal(&error, agent.state, &documented());
                    }
                    assert_eq!(platform.agents().get(&admin, agent.id).await.unwrap(), agent);
                    assert_eq!(platform.audit().checkpoint(&admin).await.unwrap(), before);
                }
                ("gone", Ok(None)) => {
                    let gone = platform.agents().get(&admin, agent.id).await.unwrap_err();
                    assert_eq!(gone.kind(), ErrorKind::NotFound);
                }
                (_, Ok(Some(now))) => {
                    assert_eq!(now.state.name(), leads, "{verb} while {state}");
                    assert_eq!(platform.agents().get(&admin, agent.id).await.unwrap(), now);
                    assert_eq!(platform.audit().checkpoint(&admin).await.unwrap().size, before.size + 1);
                }
                (_, result) => panic!("{verb} while {state}: {leads} is expected, not {result:?}"),
            }
            // Runs start on a running agent, and on no other.
            if verb == "pause" {
                let start = platform.runs().start(&admin, agent.id, RunInput::text("x")).await;
                assert_eq!(start.map(|_| ()).unwrap_err().kind(), ErrorKind::Conflict, "{state}");
            }
        }
    }
    platform.close().await.unwrap();
}
