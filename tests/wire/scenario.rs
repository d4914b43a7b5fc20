//! The scenario of `tests/scenario.md`, once typed and once in JSON, on both stores.

use std::sync::Arc;

use agentprovision::prelude::*;
use agentprovision::wire::{self, Caller, testing};
use serde_json::{Value, json};

use crate::support::{in_time, store};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/scenario.json");

#[derive(serde::Deserialize)]
struct Order {
    id: String,
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]})
}

async fn platform(store: &str) -> Platform {
    let (env, _) = testing::env(r#"{"start": "2026-01-01T00:00:00Z", "seed": 7}"#).unwrap();
    let script = json!({"name": "m", "replies": [
        {"tools": [["find_order", {"id": "1234"}]]},
        {"tools": [["cancel_order", {"id": "1234"}]]},
        {"text": "Order 1234 was late and is cancelled."},
    ]});
    let tool = |name: &str, description: &str, effect, answer: fn(String) -> Value| Given {
        spec: {
            let mut spec = agentprovision::tool::ToolSpec::new(name, description, schema());
            spec.effect = effect;
            spec
        },
        answer,
    };
    Platform::builder()
        .store(store)
        .env(env)
        .pepper("0123456789abcdef".to_owned())
        .model("m", Arc::new(testing::scripted_model(&script.to_string()).unwrap()))
        .tool(tool("find_order", "Finds an order", Effect::Pure, |id| json!({"id": id, "state": "late"})))
        .tool(tool("cancel_order", "Cancels an order", Effect::Idempotent, |id| json!({"cancelled": id})))
        .build()
        .await
        .unwrap()
}

#[derive(Debug)]
struct Given {
    spec: agentprovision::tool::ToolSpec,
    answer: fn(String) -> Value,
}

#[async_trait::async_trait]
impl agentprovision::tool::Tool for Given {
    fn spec(&self) -> &agentprovision::tool::ToolSpec {
        &self.spec
    }

    async fn call(&self, _: &ToolCall, input: Value) -> Result<Value> {
        let order: Order = serde_json::from_value(input).unwrap();
        Ok((self.answer)(order.id))
    }
}

async fn typed(store: &str) -> Value {
    let platform = platform(store).await;
    let operator = platform.operator("ops@host.example", "scenario").unwrap();
    let acme = platform.tenants().create(&operator, NewTenant::new("acme", "acme.example")).await.unwrap();
    let root = NewUser::new("root@acme.example");
    let root = platform.tenants().bootstrap_admin(&operator, acme.id, root).await.unwrap();
    let admin = platform.context(acme.id, root.id).await.unwrap();
    let ada = NewUser::new("ada@acme.example").role(Role::AGENT_MANAGER);
    let ada = platform.users().create(&admin, ada).await.unwrap();
    let ctx = platform.context(acme.id, ada.id).await.unwrap();
    let spec = AgentSpec::new("desk")
        .instructions("Help.")
        .model("m")
        .tools(["find_order", "cancel_order"])
        .budget(Budget::usd("0.05"));
    let agent = platform.agents().create(&ctx, spec).await.unwrap();
    platform.agents().deploy(&ctx, agent.id).await.unwrap();
    let input = RunInput::text("Order 1234 never arrived").idempotency_key("ticket-77");
    let run = platform.runs().start(&ctx, agent.id, input).await.unwrap();
    let outcome = in_time(run.wait()).await.unwrap();
    let usage = platform.usage().summary(&admin, Period::ALL).await.unwrap();
    let audit = platform.audit().verify(&admin).await.unwrap();
    let found = json!({
        "run": run.id(),
        "version": outcome.record().version,
        "status": outcome.status(),
        "answer": outcome.text().unwrap(),
        "head": outcome.record().head,
        "chain": outcome.chain(),
        "usage": usage,
        "audit": audit,
    });
    platform.close().await.unwrap();
    found
}

async fn in_json(store: &str) -> Value {
    let platform = platform(store).await;
    let call = async |caller: Caller<'_>, name: &str, given: Value| -> Value {
        let answer = wire::invoke(&platform, caller, name, &given.to_string()).await.unwrap();
        serde_json::from_str(&answer).unwrap()
    };
    let operator = json!({"actor": "ops@host.example", "reason": "scenario"});
    let operator = wire::operator(&platform, &operator.to_string()).unwrap();
    let above = Caller::Operator(&operator);
    let acme = call(above, "tenants.create", json!({"name": "acme", "domain": "acme.example"})).await;
    let root = json!({"tenant": acme["id"], "email": "root@acme.example"});
    let root = call(above, "tenants.bootstrap_admin", root).await;
    let admin = json!({"tenant": acme["id"], "user": root["id"]});
    let admin = wire::context(&platform, &admin.to_string()).await.unwrap();
    let ada = json!({"email": "ada@acme.example", "roles": ["agent_manager"]});
    let ada = call(Caller::Tenant(&admin), "users.create", ada).await;
    let ctx = json!({"tenant": acme["id"], "user": ada["id"]});
    let ctx = wire::context(&platform, &ctx.to_string()).await.unwrap();
    let spec = json!({"name": "desk", "instructions": "Help.", "model": "m",
        "tools": ["find_order", "cancel_order"], "budget": {"per_run": {"cost_usd": "0.05"}}});
    let agent = call(Caller::Tenant(&ctx), "agents.create", json!({"spec": spec})).await;
    call(Caller::Tenant(&ctx), "agents.deploy", json!({"agent": agent["id"]})).await;
    let start =
        json!({"agent": agent["id"], "input": "Order 1234 never arrived", "idempotency_key": "ticket-77"});
    let run = wire::start(&platform, &ctx, "runs.start", &start.to_string()).await.unwrap();
    let outcome: Value = serde_json::from_str(&in_time(wire::run_wait(&run)).await.unwrap()).unwrap();
    let all = json!({"from": "0001-01-01T00:00:00Z"});
    let usage = call(Caller::Tenant(&admin), "usage.summary", all).await;
    let audit = call(Caller::Tenant(&admin), "audit.verify", json!({})).await;
    let record = &outcome["record"];
    let found = json!({
        "run": record["id"],
        "version": record["version"],
        "status": record["status"],
        "answer": outcome["answer"],
        "head": record["head"],
        "chain": outcome["chain"],
        "usage": usage,
        "audit": audit,
    });
    platform.close().await.unwrap();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scenario_is_the_golden_one_in_both_forms_and_on_both_stores() {
    let folder = tempfile::tempdir().unwrap();
    let first = typed("memory://").await;
    if std::env::var_os("AGENTPROVISION_UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, serde_json::to_string_pretty(&first).unwrap() + "\n").unwrap();
    }
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(GOLDEN).unwrap()).unwrap();
    assert_eq!(first, golden, "if that is meant, run again with AGENTPROVISION_UPDATE_GOLDEN=1");
    for round in 0..5 {
        assert_eq!(in_json("memory://").await, golden, "in JSON, round {round}");
    }
    assert_eq!(typed(&store::new(&folder.path().join("platform.db"))).await, golden, "on a database");
}
