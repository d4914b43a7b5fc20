//! A connector of your own in one file: a help desk of the house, which an agent then works with.
//!
//! ```text
//! cargo run --example custom_connector --features testing
//! ```

#![allow(clippy::print_stdout, reason = "a program that talks to a terminal")]

use std::sync::Arc;

use agentprovision::connectors::auth::Auth;
use agentprovision::connectors::operation::Page;
use agentprovision::connectors::paging::Paging;
use agentprovision::connectors::{Connector, Integrations, NewIntegration, operations};
use agentprovision::http::egress::{EgressPolicy, Network};
use agentprovision::id::IntegrationId;
use agentprovision::prelude::*;
use agentprovision::testing::{Reply, ScriptedModel};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// A ticket of the help desk: of what it answers, what is worth knowing.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Ticket {
    /// Its number.
    pub number: u64,
    /// What it is about.
    pub title: String,
    /// Whether it is open.
    pub open: bool,
}

/// Whose the key is.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Me {
    /// The id of the account.
    pub id: String,
}

// Each of these is a method in Rust, a tool of a model and a call by its name, with one permission, one meter, one record in the
// audit log and one set of limits.
operations! {
    /// Says whose account the key belongs to.
    WhoAmI "users.me" get("/me") => Me {}
    /// Lists tickets, oldest first.
    ListTickets "tickets.list" get("/queues/{queue}/tickets") => Page<Ticket> [.page(Paging::LINK)] {
        /// The queue, such as `it`.
        queue: String,
    }
    /// Makes a ticket.
    CreateTicket "tickets.create" post("/queues/{queue}/tickets") => Ticket [.key_header("idempotency-key")] {
        /// The queue, such as `it`.
        queue: String,
        /// What it is about, in one line.
        title: String,
    }
}

/// The connector.
fn desk() -> Result<Connector> {
    Connector::builder("desk", "https://desk.example/api")
        .about("Help desk", "Tickets of the house.")
        .auth(Auth::key_header("x-api-key", ""))
        .whoami("users.me", "/id", "/id")
        .operations(operations())
        .build()
}

type Tickets = Arc<Mutex<Vec<Value>>>;

/// The help desk itself, on the loopback.
async fn serve() -> std::io::Result<String> {
    let known = |headers: &HeaderMap| headers.get("x-api-key").is_some_and(|key| key == "secret-1");
    let list = move |State(tickets): State<Tickets>, headers: HeaderMap| async move {
        if !known(&headers) {
            return Err(StatusCode::UNAUTHORIZED);
        }
        Ok(Value::Array(tickets.lock().await.clone()).to_string())
    };
    let create = move |State(tickets): State<Tickets>,
                       Path(_): Path<String>,
                       headers: HeaderMap,
                       body: String| async move {
        if !known(&headers) {
            return Err(StatusCode::UNAUTHORIZED);
        }
        let asked: Value = serde_json::from_str(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
        let mut tickets = tickets.lock().await;
        let ticket = json!({ "number": tickets.len() + 1, "title": asked.get("title"), "open": true, "colour": "red" });
        tickets.push(ticket.clone());
        Ok(ticket.to_string())
    };
    let me = move |headers: HeaderMap| async move {
        if known(&headers) { Ok(json!({ "id": "house" }).to_string()) } else { Err(StatusCode::UNAUTHORIZED) }
    };
    let router = axum::Router::new()
        .route("/api/me", get(me))
        .route("/api/queues/{queue}/tickets", get(list).post(create))
        .with_state(Tickets::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/api", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

async fn open_tickets(integrations: &Integrations, ctx: &Context, id: IntegrationId) -> Result<Vec<Ticket>> {
    integrations.pages(ctx, id, &ListTickets { queue: "it".into() }).try_collect().await
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let url = serve().await?;
    let script = [
        Reply::tool("desk_tickets_create", json!({ "queue": "it", "title": "The printer is on fire" })),
        Reply::text("I have made ticket 2 about the printer."),
    ];
    let platform = Platform::builder()
        .model("scripted", Arc::new(ScriptedModel::new("scripted", script)))
        .connector(desk()?)
        // Tenants name URLs: without this they could name none of this machine's.
        .egress(
            EgressPolicy::default()
                .network(Network::new("loopback", &["127.0.0.0/8"])?.plain_http().any_port()),
        )
        .build()
        .await?;
    let operator = platform.operator("ops@host.example", "example")?;
    let acme = platform.tenants().create(&operator, NewTenant::new("acme", "acme.example")).await?;
    let root =
        platform.tenants().bootstrap_admin(&operator, acme.id, NewUser::new("root@acme.example")).await?;
    let ctx = platform.context(acme.id, root.id).await?;

    // A tenant's instance of the connector: where it is, and what proves who asks. The key is sealed, and shown to nobody again.
    let new: NewIntegration = serde_json::from_value(json!({
        "name": "desk", "connector": "desk", "settings": { "base_url": url }, "credentials": { "key": "secret-1" },
    }))?;
    let integrations = platform.integrations();
    let desk = integrations.create(&ctx, new).await?;
    let tested = integrations.test(&ctx, desk.id).await?;
    println!(
        "connected to the account `{}` in {} ms",
        tested.account.map(|a| a.id).unwrap_or_default(),
        tested.duration_ms
    );

    // As a method.
    let ticket = integrations
        .call(&ctx, desk.id, &CreateTicket { queue: "it".into(), title: "No coffee".into() })
        .await?;
    println!("made ticket {}: {}", ticket.number, ticket.title);

    // As a tool of an agent.
    let spec = AgentSpec::new("helper")
        .model("scripted")
        .tools(["desk_tickets_create"])
        .capabilities(["integrations:invoke"]);
    let agent = platform.agents().create(&ctx, spec).await?;
    platform.agents().deploy(&ctx, agent.id).await?;
    let run = platform.runs().start(&ctx, agent.id, RunInput::text("The printer is on fire.")).await?;
    println!("{}", run.wait().await?.text().unwrap_or_default());

    for ticket in open_tickets(integrations, &ctx, desk.id).await? {
        println!("  {} {}", ticket.number, ticket.title);
    }
    print!("{}", platform.usage().summary(&ctx, agentprovision::usage::Period::ALL).await?);
    platform.close().await?;
    Ok(())
}
