//! A tenant's connectors over HTTP: each operation of GitHub as REST, and as a tool of the Model Context Protocol.
//!
//! ```text
//! cargo run --example connector_server --features connector-emulator,connector-github,serve -- --listen 127.0.0.1:8090
//! ```
//!
//! It prints a key and the URLs, and serves until it is interrupted. GitHub is an emulated one with the repository
//! `acme/app`, or the vendor's where `GITHUB_TOKEN` is set.

#![allow(clippy::print_stdout, reason = "a program that talks to a terminal")]

use std::error::Error as StdError;
use std::sync::Arc;

use agentprovision::Env;
use agentprovision::connectors::NewIntegration;
use agentprovision::connectors::builtin;
use agentprovision::connectors::emulator::Emulator;
use agentprovision::connectors::serve::{McpOptions, RestOptions};
use agentprovision::http::egress::{EgressPolicy, Network};
use agentprovision::prelude::*;
use agentprovision::tenancy::identity::ApiKeyRequest;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

type Outcome<T> = std::result::Result<T, Box<dyn StdError>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let listen = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => "127.0.0.1:8090",
        ["--listen", listen] => listen,
        _ => return Err("the only option is --listen ADDRESS".into()),
    };
    let emulator = Emulator::start(Env::default()).await?;
    let loopback = Network::new("loopback", &["127.0.0.0/8"])?.plain_http().any_port();
    let platform = Platform::builder()
        .connector(builtin::github::connector()?)
        .egress(EgressPolicy::default().network(loopback))
        .build()
        .await?;
    let key = tenant_with_github(&platform, &emulator).await?;

    // Whoever has a key of the platform may call; what they may do is what the key's owner may.
    let callers = Arc::new(platform.clone());
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let mut rest = RestOptions::default();
    rest.base_url = Some(format!("{url}/api"));
    let rest = platform.integrations().rest(callers.clone(), rest);
    let mcp = platform.integrations().mcp(callers, McpOptions::default())?;
    let app = axum::Router::new().nest_service("/api", rest).route_service("/mcp", mcp);

    println!("key {key}");
    println!("rest {url}/api");
    println!("mcp {url}/mcp");
    let interrupted = async { drop(tokio::signal::ctrl_c().await) };
    axum::serve(listener, app).with_graceful_shutdown(interrupted).await?;
    platform.close().await?;
    Ok(())
}

/// A tenant with an integration of GitHub; gives its admin's key.
async fn tenant_with_github(platform: &Platform, emulator: &Emulator) -> Outcome<String> {
    let operator = platform.operator("connector_server", "an example")?;
    let tenant = platform.tenants().create(&operator, NewTenant::new("acme", "acme.example")).await?;
    let admin = NewUser::new("root@acme.example");
    let admin = platform.tenants().bootstrap_admin(&operator, tenant.id, admin).await?;
    let admin = platform.context(tenant.id, admin.id).await?;
    let fields = |value: Value| -> Map<String, Value> { value.as_object().cloned().unwrap_or_default() };
    let (settings, token) = match std::env::var("GITHUB_TOKEN") {
        Ok(token) => (json!({}), token),
        Err(_) => {
            emulator.github().add_repository("acme/app")?;
            (json!({ "base_url": emulator.github_url() }), emulator.github().add_token("octobot"))
        }
    };
    let github = NewIntegration {
        name: "github".into(),
        connector: "github".into(),
        auth: None,
        settings: fields(settings),
        credentials: fields(json!({ "token": token })),
    };
    platform.integrations().create(&admin, github).await?;
    let key = platform.keys().create(&admin, ApiKeyRequest::new("clients")).await?;
    Ok(key.secret.expose_secret().to_owned())
}
