//! A gateway that libraries of OpenAI and Anthropic speak to after a change of their `base_url`, on axum.
//!
//! ```text
//! cargo run --example llm_gateway --features gateway -- --config examples/data/llm_gateway.json --listen 127.0.0.1:8080 --bootstrap
//! ```
//!
//! The configuration is JSON: `platform` is a `PlatformConfig` (store, providers, routing), `gateway` a `GatewayConfig`,
//! `bootstrap` the first tenant. With `--bootstrap` that tenant, its admin and an API key are made where they are not
//! there yet, also after a start that broke off, and the key is printed, this once. Interrupted, it lets requests under way end, for 30 seconds at most.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to a terminal")]

use std::error::Error as StdError;
use std::time::Duration;

use agentprovision::id::{TenantId, UserId};
use agentprovision::llm::gateway::GatewayConfig;
use agentprovision::prelude::*;
use agentprovision::tenancy::identity::ApiKeyRequest;
use agentprovision::{ErrorKind, PlatformConfig};
use axum::serve::ListenerExt;
use secrecy::ExposeSecret;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    platform: PlatformConfig,
    #[serde(default)]
    gateway: GatewayConfig,
    #[serde(default)]
    bootstrap: Bootstrap,
}

/// The first tenant.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Bootstrap {
    tenant: String,
    domain: String,
    email: String,
}

impl Default for Bootstrap {
    fn default() -> Self {
        let [tenant, domain, email] = ["first", "first.example", "root@first.example"].map(str::to_owned);
        Self { tenant, domain, email }
    }
}

struct Options {
    config: String,
    listen: String,
    bootstrap: bool,
}

fn options() -> std::result::Result<Options, String> {
    let (mut config, mut listen, mut bootstrap) = (None, "127.0.0.1:8080".to_owned(), false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--config" => config = Some(value()?),
            "--listen" => listen = value()?,
            "--bootstrap" => bootstrap = true,
            _ => {
                return Err(format!(
                    "unknown option {arg}; known are --config FILE, --listen ADDR and --bootstrap"
                ));
            }
        }
    }
    Ok(Options { config: config.ok_or("--config FILE is required")?, listen, bootstrap })
}

#[tokio::main]
async fn main() {
    if let Err(error) = run().await {
        eprintln!("llm_gateway: {error}");
        std::process::exit(1);
    }
}

async fn run() -> std::result::Result<(), Box<dyn StdError>> {
    let Options { config: file, listen, bootstrap } = options()?;
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
    let config: Config = serde_json::from_str(&text).map_err(|error| format!("{file}: {error}"))?;

    let platform = config.platform.into_builder()?.build().await?;
    let gateway = platform.gateway().config(config.gateway).build()?;
    if bootstrap {
        match first_key(&platform, config.bootstrap).await? {
            Some(key) => println!("key {key}"),
            None => eprintln!("llm_gateway: the first tenant has its key"),
        }
    }

    // The gateway answers what is asked of it below these paths; whatever else the host serves stands beside it.
    let app = axum::Router::new().fallback_service(gateway.clone());
    let listener =
        tokio::net::TcpListener::bind(&listen).await.map_err(|error| format!("{listen}: {error}"))?;
    println!("listening on http://{}", listener.local_addr()?);
    // The events of a stream are small, and each is to go out at once.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            eprintln!("llm_gateway: {error}");
        }
    });
    let serving = axum::serve(listener, app).with_graceful_shutdown(interrupted());
    let overdue = async {
        interrupted().await;
        // The server says when the last byte is written; until then new requests are refused.
        let drained = async {
            gateway.drain().await;
            std::future::pending().await
        };
        platform.env().timeout(Duration::from_secs(30), drained).await.unwrap_or(())
    };
    tokio::select! {
        served = async { serving.await } => served?,
        () = overdue => eprintln!("llm_gateway: some connections did not end in time"),
    }
    platform.close().await?;
    Ok(())
}

/// The key of the first tenant's admin, with whatever of them is not there yet; `None` where even the key is.
async fn first_key(platform: &Platform, first: Bootstrap) -> Result<Option<String>> {
    let operator = platform.operator("llm_gateway", "bootstrap")?;
    let new = NewTenant::new(first.tenant, first.domain.clone());
    let tenant = match platform.tenants().create(&operator, new).await {
        Err(error) if error.is(ErrorKind::AlreadyExists) => {
            tenant_of(platform, &operator, &first.domain).await?.ok_or(error)?
        }
        made => made?.id,
    };
    let root = match platform.tenants().bootstrap_admin(&operator, tenant, NewUser::new(first.email)).await {
        // There is an admin: whom an earlier start has made.
        Err(error) if error.is(ErrorKind::Conflict) => {
            admin_of(platform, &operator, tenant).await?.ok_or(error)?
        }
        made => made?.id,
    };
    let admin = platform.context(tenant, root).await?;
    let keys = platform.keys().list_own(&admin, PageRequest::limit(100)).await?;
    if keys.items.iter().any(|key| key.name == KEY_NAME && key.revoked_at.is_none()) {
        return Ok(None);
    }
    let key = platform.keys().create(&admin, ApiKeyRequest::new(KEY_NAME)).await?;
    Ok(Some(key.secret.expose_secret().to_owned()))
}

const KEY_NAME: &str = "gateway";

async fn tenant_of(
    platform: &Platform,
    operator: &OperatorContext,
    domain: &str,
) -> Result<Option<TenantId>> {
    let mut page = PageRequest::limit(100);
    loop {
        let tenants = platform.tenants().list(operator, page).await?;
        if let Some(found) = tenants.items.iter().find(|tenant| tenant.domain.as_deref() == Some(domain)) {
            return Ok(Some(found.id));
        }
        let Some(next) = tenants.next else { return Ok(None) };
        page = PageRequest::limit(100).after(next);
    }
}

/// The admin an operator has given a tenant, as the platform's log tells.
async fn admin_of(
    platform: &Platform,
    operator: &OperatorContext,
    tenant: TenantId,
) -> Result<Option<UserId>> {
    let mut from = 0;
    loop {
        let entries = platform.audit().platform_entries(operator, from, 500).await?;
        let Some(last) = entries.last() else { return Ok(None) };
        from = last.seq + 1;
        for entry in &entries {
            let record = entry.record()?;
            let of_tenant = record.details.get("tenant_id").is_some_and(|id| id == &tenant.to_string());
            if record.action == "tenants.bootstrap_admin" && of_tenant {
                return record.resource_id.map(|id| id.parse()).transpose();
            }
        }
    }
}

/// Returns when the process is asked to end.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
