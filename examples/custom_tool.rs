//! One tool of each effect class, and one that a person must agree to.
//!
//! ```text
//! cargo run --example custom_tool --features testing
//! ```

#![allow(clippy::print_stdout, clippy::indexing_slicing, reason = "a program that talks to a terminal")]

use std::sync::Arc;

use agentprovision::prelude::*;
use agentprovision::testing::{Reply, ScriptedModel};
use serde_json::json;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Order {
    /// The order's number.
    id: i64,
}

/// Pure: reads and computes. After a crash it is simply called again.
async fn price(_: ToolCall, order: Order) -> Result<i64> {
    Ok(order.id * 10)
}

/// Idempotent: the key is the same for every attempt, so the other side can tell a repetition.
async fn reserve(call: ToolCall, order: Order) -> Result<String> {
    Ok(format!("reserved {} under {}", order.id, &call.idempotency_key()[..8]))
}

/// Transactional: what is written through `tx` commits together with the step's result, or not at all.
async fn book(call: ToolCall, order: Order) -> Result<String> {
    let tx = call.tx()?;
    tx.execute("CREATE TABLE IF NOT EXISTS bookings (tenant_id BLOB NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (tenant_id, id))", &[])
        .await?;
    tx.execute("INSERT INTO bookings (tenant_id, id) VALUES ($1, $2)", &[order.id.into()]).await?;
    let rows = tx.query("SELECT count(*) FROM bookings WHERE tenant_id = $1", &[]).await?;
    Ok(format!("{rows:?}"))
}

/// Unsafe, and approved by a person first: it is called at most once, with exactly the arguments that were approved.
async fn refund(_: ToolCall, order: Order) -> Result<String> {
    Ok(format!("refunded order {}", order.id))
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let order = json!({ "id": 7 });
    let script = [
        Reply::tool("price", order.clone()),
        Reply::tool("reserve", order.clone()),
        Reply::tool("book", order.clone()),
        Reply::tool("refund", order),
        Reply::text("Order 7 is booked, and its deposit is paid back."),
    ];
    let folder = tempfile::tempdir()?;
    let platform = Platform::builder()
        .store(format!("sqlite://{}", folder.path().join("tools.db").display()))
        .model("scripted", Arc::new(ScriptedModel::new("scripted", script)))
        .tool(tool("price", "The price of an order", price).effect(Effect::Pure))
        .tool(tool("reserve", "Reserves an order's goods", reserve).effect(Effect::Idempotent))
        .tool(tool("book", "Books an order", book).effect(Effect::Transactional))
        .tool(tool("refund", "Pays a deposit back", refund).approval(Approval::Always))
        .build()
        .await?;
    let operator = platform.operator("ops@host.example", "example")?;
    let acme = platform.tenants().create(&operator, NewTenant::new("acme", "acme.example")).await?;
    let root =
        platform.tenants().bootstrap_admin(&operator, acme.id, NewUser::new("root@acme.example")).await?;
    let ctx = platform.context(acme.id, root.id).await?;

    let spec = AgentSpec::new("booking").model("scripted").tools(["price", "reserve", "book", "refund"]);
    let agent = platform.agents().create(&ctx, spec).await?;
    platform.agents().deploy(&ctx, agent.id).await?;
    let run = platform
        .runs()
        .start(&ctx, agent.id, RunInput::text("Book order 7 and pay its deposit back."))
        .await?;
    let mut events = run.events();
    while let Some(event) = events.try_next().await? {
        print!("{event}");
        if let RunEventKind::ApprovalRequested { approval, args_hash, .. } = event.kind {
            platform.runs().approve(&ctx, run.id(), approval, args_hash, Answer::Approve).await?;
        }
    }
    println!("\n{}", run.wait().await?.chain());
    platform.close().await?;
    Ok(())
}
