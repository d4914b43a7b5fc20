//! The main job on every store: provision, deploy, run, and what is left behind.

use std::sync::Arc;

use agentprovision::id::AgentId;
use agentprovision::prelude::*;
use agentprovision::testing::{Reply, ScriptedModel};
use serde_json::json;

use crate::support::{home, in_time, sqlite};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Order {
    id: String,
}

fn builder() -> agentprovision::PlatformBuilder {
    let model = ScriptedModel::from_fn("m", |request| match ScriptedModel::tool_results(request) {
        0 => Reply::tool("find_order", json!({"id": "1234"})),
        _ => Reply::text("Order 1234 is on its way."),
    });
    let find = tool("find_order", "Finds an order", |_: ToolCall, order: Order| async move {
        Result::Ok(json!({"id": order.id, "state": "shipped"}))
    });
    Platform::builder().model("m", Arc::new(model)).tool(find.effect(Effect::Pure))
}

async fn main_job(platform: &Platform) -> AgentId {
    let acme = home(platform, "acme").await;
    let (_, ctx) = acme.user(platform, "ada", Role::AGENT_MANAGER).await;
    let spec = AgentSpec::new("triage").instructions("Help.").model("m").tools(["find_order"]).budget(Budget::usd("0.05"));
    let agent = platform.agents().create(&ctx, spec).await.unwrap();
    platform.agents().deploy(&ctx, agent.id).await.unwrap();
    let run = platform.runs().start(&ctx, agent.id, RunInput::text("Where is 1234?")).await.unwrap();
    let outcome = in_time(run.wait()).await.unwrap();
    assert_eq!(outcome.text().unwrap(), "Order 1234 is on its way.");
    let usage = platform.usage().summary(&acme.admin, Period::ALL).await.unwrap();
    assert_eq!(Some(usage.cost_usd), outcome.record().totals.cost_usd());
    let events = platform.events().read(&acme.admin, 0, 500).await.unwrap();
    assert!(events.iter().zip(1..).all(|(event, seq)| event.seq == seq), "numbered without gaps");
    assert!(events.iter().any(|event| event.event.kind == "agentprovision.run.finished"));
    let head = platform.audit().verify(&acme.admin).await.unwrap();
    let proof = platform.audit().prove(&acme.admin, head.size - 1, head.size).await.unwrap();
    let last = platform.audit().entries(&acme.admin, head.size - 1, 1).await.unwrap();
    agentprovision::audit::merkle::verify_inclusion(last[0].leaf(), proof.seq, head.size, &proof.path, head.root).unwrap();
    agent.id
}

#[tokio::test]
async fn the_main_job_in_memory() {
    let platform = builder().build().await.unwrap();
    main_job(&platform).await;
    platform.close().await.unwrap();
    let error = platform.operator("ops", "again").map(|operator| {
        let platform = platform.clone();
        async move { platform.tenants().list(&operator, PageRequest::default()).await }
    });
    assert_eq!(error.unwrap().await.unwrap_err().kind(), ErrorKind::Closed);
    platform.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_main_job_on_sqlite_and_what_a_second_process_sees() {
    let folder = tempfile::tempdir().unwrap();
    let platform = builder().store(sqlite(folder.path())).build().await.unwrap();
    let agent = main_job(&platform).await;
    platform.close().await.unwrap();

    let again = builder().store(sqlite(folder.path())).build().await.unwrap();
    let operator = again.operator("ops@host.example", "look").unwrap();
    let tenants = again.tenants().list(&operator, PageRequest::default()).await.unwrap();
    assert_eq!(tenants.items.len(), 1);
    again.audit().verify_platform(&operator).await.unwrap();
    let tenant = tenants.items[0].id;
    let error = again.context(tenant, again.env().id()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let _ = agent;
    again.close().await.unwrap();
}

#[tokio::test]
async fn a_platform_has_one_store_and_names_what_is_wrong() {
    let backend = Arc::new(agentprovision::MemoryDb::new(agentprovision::Env::default()));
    let error = Platform::builder().backend(backend).store("memory://").build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = Platform::builder().store("mysql://x").build().await.unwrap_err();
    assert!(error.message().contains("sqlite"), "{error}");
    let twice = || tool("same", "", |_: ToolCall, _: Order| async move { Result::Ok(1) });
    let error = Platform::builder().tool(twice()).tool(twice()).build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let error = Platform::builder().permission("nonsense").build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}
