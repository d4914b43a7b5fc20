//! The main job on every store: provision, deploy, run, and what is left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agentprovision::authz::Permission;
use agentprovision::context::Credentials;
use agentprovision::id::AgentId;
use agentprovision::prelude::*;
use agentprovision::tenancy::identity::ApiKeyRequest;
use agentprovision::tenancy::rbac::RoleSpec;
use agentprovision::testing::{Reply, ScriptedModel};
use serde_json::json;

use crate::support::{home, in_time, store};

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
    let spec = AgentSpec::new("triage")
        .instructions("Help.")
        .model("m")
        .tools(["find_order"])
        .budget(Budget::usd("0.05"));
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
    agentprovision::audit::merkle::verify_inclusion(
        last[0].leaf(),
        proof.seq,
        head.size,
        &proof.path,
        head.root,
    )
    .unwrap();
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
async fn the_main_job_on_a_database_and_what_a_second_process_sees() {
    let folder = tempfile::tempdir().unwrap();
    let url = store::new(&folder.path().join("platform.db"));
    let platform = builder().store(&*url).build().await.unwrap();
    let agent = main_job(&platform).await;
    platform.close().await.unwrap();

    let again = builder().store(&*url).build().await.unwrap();
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

#[tokio::test]
async fn a_run_started_with_a_limited_key_may_do_no_more_than_the_key() {
    let pay = tool("pay", "Pays", |_: ToolCall, order: Order| async move { Result::Ok(order.id) });
    let model = ScriptedModel::from_fn("m", |request| match ScriptedModel::tool_results(request) {
        0 => Reply::tool("pay", json!({"id": "1"})),
        _ => Reply::text("done"),
    });
    let mut registry = agentprovision::authz::PermissionRegistry::default();
    let paying = registry.register("orders:pay").unwrap();
    let platform = Platform::builder()
        .permission("orders:pay")
        .role(RoleSpec::new("cashier").permissions([paying]).within([Role::TENANT_ADMIN]))
        .model("m", Arc::new(model))
        .tool(pay.effect(Effect::Pure).permission("orders:pay"))
        .build()
        .await
        .unwrap();
    let acme = home(&platform, "acme").await;
    let new = NewUser::new("ada@acme.example").roles([Role::AGENT_MANAGER, Role::new("cashier")]);
    let ada = platform.users().create(&acme.admin, new).await.unwrap();
    let ctx = platform.context(acme.tenant.id, ada.id).await.unwrap();
    let spec = AgentSpec::new("till").model("m").tools(["pay"]).capabilities(["orders:pay"]);
    let agent = platform.agents().create(&ctx, spec).await.unwrap();
    platform.agents().deploy(&ctx, agent.id).await.unwrap();

    let needed = [Permission::AGENTS_RUN, Permission::RUNS_READ];
    let key = platform.keys().create(&ctx, ApiKeyRequest::new("bot").scopes(needed)).await.unwrap();
    let limited = platform.authenticate(&Credentials::ApiKey(key.secret)).await.unwrap();
    for (ctx, allowed) in [(&ctx, true), (&limited, false)] {
        let run = platform.runs().start(ctx, agent.id, RunInput::text("pay 1")).await.unwrap();
        let outcome = in_time(run.wait()).await.unwrap();
        let error = outcome.chain().steps[1].error.as_ref().map(|error| error.kind);
        assert_eq!(error, (!allowed).then_some(ErrorKind::PermissionDenied));
    }
    platform.close().await.unwrap();
}

#[tokio::test]
async fn nobody_takes_a_turn_in_anothers_session() {
    let platform = builder().build().await.unwrap();
    let acme = home(&platform, "acme").await;
    let (_, ada) = acme.user(&platform, "ada", Role::AGENT_MANAGER).await;
    let (_, bob) = acme.user(&platform, "bob", Role::AGENT_MANAGER).await;
    let agent = platform
        .agents()
        .create(&ada, AgentSpec::new("chat").model("m").tools(["find_order"]))
        .await
        .unwrap();
    platform.agents().deploy(&ada, agent.id).await.unwrap();
    let session = platform.sessions().open(&ada, agent.id).await.unwrap();
    let input = RunInput::text("what did Ada say?").session(session.id());
    let error = platform.runs().start(&bob, agent.id, input).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(platform.sessions().get(&bob, session.id()).await.unwrap_err().kind(), ErrorKind::NotFound);
    in_time(session.send(RunInput::text("hello")).await.unwrap().wait()).await.unwrap();
    platform.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_runs_against_a_budget_for_10_exactly_10_are_admitted_50_times_over() {
    let folder = tempfile::tempdir().unwrap();
    let model = ScriptedModel::from_fn("m", |_| Reply::Stall("thinking".into()));
    let platform = Platform::builder()
        .store(store::new(&folder.path().join("platform.db")))
        .model("m", Arc::new(model))
        .build()
        .await
        .unwrap();
    let acme = home(&platform, "acme").await;
    let (_, ctx) = acme.user(&platform, "ada", Role::AGENT_MANAGER).await;
    for round in 0..50 {
        let budget = Budget::usd("0.05").total(|total| total.cost_usd = Some("0.5".parse().unwrap()));
        let spec = AgentSpec::new(format!("agent {round}")).model("m").budget(budget);
        let agent = platform.agents().create(&ctx, spec).await.unwrap();
        platform.agents().deploy(&ctx, agent.id).await.unwrap();
        let starts = (0..64).map(|_| {
            let (platform, ctx) = (platform.clone(), ctx.clone());
            tokio::spawn(async move { platform.runs().start(&ctx, agent.id, RunInput::text("go")).await })
        });
        let mut admitted = Vec::new();
        for start in starts.collect::<Vec<_>>() {
            match in_time(start).await.unwrap() {
                Ok(run) => admitted.push(run),
                Err(error) => assert_eq!(error.kind(), ErrorKind::BudgetExceeded),
            }
        }
        assert_eq!(admitted.len(), 10, "in round {round}");
        for run in admitted {
            run.cancel().await.unwrap();
            assert_eq!(in_time(run.wait()).await.unwrap().status(), RunStatus::Cancelled);
        }
    }
    platform.close().await.unwrap();
}

/// Counts every event it is handed, for all platforms of a store.
#[derive(Debug, Default)]
struct Deliveries(std::sync::Mutex<Vec<(usize, agentprovision::id::EventId)>>);

#[derive(Debug)]
struct Mailbox(usize, Arc<Deliveries>);

#[async_trait::async_trait]
impl agentprovision::event::EventSink for Mailbox {
    async fn publish(&self, events: &[agentprovision::event::NumberedEvent]) -> Result<()> {
        let mut delivered = self.1.0.lock().unwrap();
        delivered.extend(events.iter().map(|event| (self.0, event.event.id)));
        Ok(())
    }
}

/// Three platforms on one store: one of them hands every event over once, and when it closes another goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_platforms_on_a_store_one_hands_events_over() {
    let folder = tempfile::tempdir().unwrap();
    let url = store::new(&folder.path().join("platform.db"));
    let deliveries = Arc::new(Deliveries::default());
    let mut platforms = BTreeMap::new();
    for number in 0..3 {
        let sink = Arc::new(Mailbox(number, deliveries.clone()));
        platforms.insert(number, builder().store(&*url).event_sink(sink).build().await.unwrap());
    }
    let acme = home(&platforms[&0], "acme").await;
    let mut users = 0;
    while let Some(platform) = platforms.values().next() {
        let ctx = platform.context(acme.tenant.id, acme.root.id).await.unwrap();
        for _ in 0..20 {
            users += 1;
            let new = NewUser::new(format!("u{users}@acme.example")).role(Role::AGENT_VIEWER);
            platform.users().create(&ctx, new).await.unwrap();
        }
        let events = platform.events().read(&ctx, 0, 500).await.unwrap();
        in_time(async {
            while deliveries.0.lock().unwrap().len() < events.len() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let delivered = deliveries.0.lock().unwrap().clone();
        let expected: Vec<_> = events.iter().map(|event| event.event.id).collect();
        assert_eq!(delivered.iter().map(|(_, id)| *id).collect::<Vec<_>>(), expected);
        let by: BTreeSet<usize> = delivered[delivered.len() - 20..].iter().map(|(by, _)| *by).collect();
        assert_eq!(by.len(), 1, "who delivered the last ones: {by:?}");
        // The one with the duty leaves, and the others do not wait for the end of its term.
        platforms.remove(by.first().unwrap()).expect("one that is open").close().await.unwrap();
    }
}
