//! What a call of an operation costs over the bare HTTP client: with all layers, typed, against a server on the loopback that
//! answers at once. Aim: at most 30 microseconds in the middle.

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentprovision_connectors::auth::Auth;
use agentprovision_connectors::layers::RetryOptions;
use agentprovision_connectors::quota::{Quota, Reset};
use agentprovision_connectors::{
    Catalog, Connector, Integrations, IntegrationsParts, NewIntegration, operations,
};
use agentprovision_core::access::Access;
use agentprovision_core::authz::{ContextAuthorizer, PermissionSet};
use agentprovision_core::backend::Backend as _;
use agentprovision_core::context::{ContextIssuer, Identity, Principal, RequestInfo};
use agentprovision_core::effect::{EffectWriter, OperatorEffects};
use agentprovision_core::http::egress::{EgressPolicy, GuardedTransport, Network, SystemResolver};
use agentprovision_core::tenant::{Tenant, TenantState};
use agentprovision_core::testing::ClearSecrets;
use agentprovision_core::{Env, MemoryDb};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

const ROUNDS: usize = 9;
const CALLS: usize = 2_000;

/// A ticket.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Ticket {
    /// Its number.
    pub number: u64,
    /// Its title.
    pub title: String,
    /// Its state.
    pub state: Option<String>,
}

operations! {
    /// Gets a ticket.
    GetTicket "tickets.get" get("/queues/{queue}/tickets/{number}") => Ticket {
        /// The queue.
        queue: String,
        /// The number.
        number: u64,
    }
}

/// A server in a thread of its own.
fn server() -> String {
    let (told, url) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(format!("http://{}", listener.local_addr().unwrap())).unwrap();
            let body =
                r#"{"number":7,"title":"It is late","state":"open","links":{"self":"x"},"body":"words"}"#;
            let answer = move || async move { ([("content-type", "application/json")], body) };
            axum::serve(listener, axum::Router::new().fallback(answer)).await.unwrap();
        });
    });
    url.recv().unwrap()
}

async fn integrations(
    url: &str,
) -> (Integrations, agentprovision_core::Context, agentprovision_core::id::IntegrationId) {
    let env = Env::default();
    let db = MemoryDb::new(env.clone());
    let stores = db.stores();
    let issuer = ContextIssuer::new(env.clone());
    let loopback = Network::new("loopback", &["127.0.0.0/8"]).unwrap().plain_http().any_port();
    let egress = EgressPolicy::default().network(loopback);
    let quota = Quota::new("calls").learned("x-remaining", "x-reset", Reset::Epoch);
    let connector = Connector::builder("desk", "https://desk.example")
        .auth(Auth::bearer("Token"))
        .quota(quota)
        .operations(operations())
        .build()
        .unwrap();
    let mut catalog = Catalog::default();
    catalog.add(connector).unwrap();
    let integrations = Integrations::new(IntegrationsParts {
        catalog,
        store: stores.integrations.clone(),
        secrets: Arc::new(ClearSecrets::new(stores.secrets.clone())),
        idempotency: stores.idempotency.clone(),
        transport: Arc::new(GuardedTransport::new(egress.clone(), env.clone()).unwrap()),
        egress,
        resolver: Arc::new(SystemResolver),
        access: Access::new(issuer.clone(), Arc::new(ContextAuthorizer)),
        writer: EffectWriter::start(stores.effects.clone(), env.clone()),
        policies: Vec::new(),
        retry: RetryOptions::default(),
        apps: Default::default(),
    });
    let (id, now) = (env.id(), env.now());
    let tenant = Tenant {
        id,
        name: "t".into(),
        domain: None,
        state: TenantState::Active,
        plan: None,
        region: None,
        settings: Map::new(),
        created_at: now,
        updated_at: now,
        revision: 1,
    };
    let op = issuer.operator("bench", "a benchmark").unwrap();
    stores.tenants.create(&op, tenant, OperatorEffects::default()).await.unwrap();
    let principal = Principal::User(env.id());
    let identity = Identity { tenant: id, principal, scopes: PermissionSet::ALL, expires: None, key: None };
    let ctx = issuer.context(&identity, &PermissionSet::ALL, RequestInfo::default());
    let new = NewIntegration {
        name: "desk".into(),
        connector: "desk".into(),
        auth: None,
        settings: json!({ "base_url": url }).as_object().unwrap().clone(),
        credentials: json!({ "token": "t" }).as_object().unwrap().clone(),
    };
    let made = integrations.create(&ctx, new).await.unwrap();
    (integrations, ctx, made.id)
}

fn middle(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let url = server();
    let (integrations, ctx, id) = integrations(&url).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let input = GetTicket { queue: "q".into(), number: 7 };
    let path = format!("{url}/queues/q/tickets/7");
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (mut first, mut second) = (Vec::with_capacity(CALLS), Vec::with_capacity(CALLS));
        for _ in 0..CALLS {
            let begun = Instant::now();
            let request = client.get(&path).bearer_auth("t").header("accept", "application/json");
            let bytes = request.send().await.unwrap().bytes().await.unwrap();
            let ticket: Ticket = serde_json::from_slice(&bytes).unwrap();
            first.push(begun.elapsed());
            assert_eq!(ticket.number, 7);
            let begun = Instant::now();
            let ticket = integrations.call(&ctx, id, &input).await.unwrap();
            second.push(begun.elapsed());
            assert_eq!(ticket.number, 7);
        }
        // The first round warms up.
        if round > 0 {
            bare.push(middle(first));
            ours.push(middle(second));
        }
    }
    bare.sort_unstable_by(f64::total_cmp);
    ours.sort_unstable_by(f64::total_cmp);
    let (bare, ours) = (bare[ROUNDS / 2], ours[ROUNDS / 2]);
    println!("bare reqwest p50 {bare:.1} us, with all layers p50 {ours:.1} us, added {:.1} us", ours - bare);
    println!("ratio operation_overhead {:.3}", ours / bare);
}
