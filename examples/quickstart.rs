//! The main job, end to end, on the embedded default: no server, no key.
//!
//! Provisions two tenants, lets a permitted user create and deploy an agent, runs it on a GitHub issue with a tool,
//! streams the answer, prints every step with its cost, and verifies the audit log.
//!
//! ```text
//! cargo run --example quickstart -- [--store URL] [--issue FILE] [--json]
//! ```
//!
//! With `OPENAI_API_KEY` in the environment it talks to OpenAI; without, to a small model on loopback.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a program that talks to a terminal"
)]

mod support;

use std::error::Error as StdError;

use agentprovision::llm::providers::OpenAi;
use agentprovision::prelude::*;
use serde_json::{Value, json};

const MODEL: &str = "gpt-4o-mini";

#[derive(Default)]
struct Options {
    store: Option<String>,
    issue: Option<String>,
    json: bool,
}

fn options() -> std::result::Result<Options, String> {
    let mut options = Options::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--store" => options.store = Some(value()?),
            "--issue" => options.issue = Some(value()?),
            "--json" => options.json = true,
            _ => return Err(format!("unknown option {arg}; known are --store URL, --issue FILE and --json")),
        }
    }
    Ok(options)
}

/// What the tool needs to know.
#[derive(serde::Deserialize, schemars::JsonSchema)]
struct LookupIssue {
    /// The number of the issue.
    number: u64,
}

#[tokio::main]
async fn main() {
    if let Err(error) = run().await {
        eprintln!("quickstart: {error}");
        std::process::exit(1);
    }
}

async fn run() -> std::result::Result<(), Box<dyn StdError>> {
    let options = options()?;
    let body = match &options.issue {
        Some(file) => std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?,
        None => include_str!("data/issue.json").to_owned(),
    };
    let webhook: Value =
        serde_json::from_str(&body).map_err(|error| format!("the issue is not JSON: {error}"))?;
    let issue = webhook["issue"].clone();
    let (Some(number), Some(title)) = (issue["number"].as_u64(), issue["title"].as_str()) else {
        return Err(
            "the file is no GitHub `issues` webhook: it has no issue with a number and a title".into()
        );
    };
    let say = |line: &str| {
        if !options.json {
            println!("{line}");
        }
    };

    // Without a URL, a file that is gone afterwards.
    let folder = tempfile::tempdir()?;
    let store = options
        .store
        .clone()
        .unwrap_or_else(|| format!("sqlite://{}", folder.path().join("quickstart.db").display()));
    let (provider, name) = match OpenAi::from_env() {
        Ok(provider) => (provider, "openai"),
        Err(_) => (OpenAi::at(&support::loopback_model().await?, "no-key".into())?, "loopback"),
    };
    say(&format!("store     {store}"));
    say(&match name {
        "openai" => format!("model     {MODEL} by OpenAI"),
        _ => format!(
            "model     a small model on loopback in the place of {MODEL}, since OPENAI_API_KEY is not set"
        ),
    });

    let known = issue.clone();
    let lookup_issue =
        tool("lookup_issue", "Find an issue by its number", move |_: ToolCall, wanted: LookupIssue| {
            let known = known.clone();
            async move {
                if known["number"].as_u64() != Some(wanted.number) {
                    return Err(Error::not_found(format!("there is no issue `{}`", wanted.number)));
                }
                Ok(json!({
                    "number": known["number"], "title": known["title"], "body": known["body"],
                    "state": known["state"], "comments": known["comments"],
                }))
            }
        })
        .effect(Effect::Pure);

    let platform = Platform::builder().store(store).provider(provider).tool(lookup_issue).build().await?;

    // Two tenants, each with its first admin. An operator makes them and can do nothing inside them.
    let operator = platform.operator("ops@host.example", "sign-up")?;
    let mark = &platform.env().id::<agentprovision::id::RequestId>().to_string()[24..];
    let mut tenants = Vec::new();
    for name in ["acme", "globex"] {
        let new = NewTenant::new(name, format!("{name}-{mark}.example"));
        let tenant = platform.tenants().create(&operator, new).await?;
        let root = NewUser::new(format!("root@{name}.example"));
        let root = platform.tenants().bootstrap_admin(&operator, tenant.id, root).await?;
        say(&format!("tenant    {} {}", tenant.id, tenant.name));
        tenants.push((tenant, root));
    }
    let [(acme, root), (globex, stranger)] = tenants.as_slice() else {
        return Err("two tenants were made".into());
    };
    let admin = platform.context(acme.id, root.id).await?;

    // A user who may build and run agents, and one who may only look at them.
    let ada = NewUser::new("ada@acme.example").role(Role::AGENT_MANAGER);
    let ada = platform.users().create(&admin, ada).await?;
    let vic = NewUser::new("vic@acme.example").role(Role::AGENT_VIEWER);
    let vic = platform.users().create(&admin, vic).await?;
    let ctx = platform.context(acme.id, ada.id).await?;

    let spec = AgentSpec::new("triage")
        .instructions("Look the issue up, label it, and write a two-line summary.")
        .model(MODEL)
        .tools(["lookup_issue"])
        .budget(Budget::usd("0.05"));
    let agent = platform.agents().create(&ctx, spec).await?;
    platform.agents().deploy(&ctx, agent.id).await?;
    say(&format!("agent     {} {} version {}", agent.id, agent.name, &agent.latest.to_string()[..12]));

    let input = RunInput::text(format!("Issue #{number} was opened: {title}"));
    let run = platform.runs().start(&ctx, agent.id, input.idempotency_key(format!("issue-{number}"))).await?;
    say(&format!("run       {}\n", run.id()));
    let mut events = run.events();
    while let Some(event) = events.try_next().await? {
        if !options.json {
            print!("{event}");
        }
    }
    let outcome = run.wait().await?;
    say(&format!("\n{}\n", outcome.chain()));

    // What is refused: another tenant's agent is not there, and looking is not running.
    let foreign = platform.context(globex.id, stranger.id).await?;
    let cross_tenant = refusal(platform.agents().get(&foreign, agent.id).await)?;
    let viewer = platform.context(acme.id, vic.id).await?;
    let missing = refusal(platform.runs().start(&viewer, agent.id, RunInput::text("hello")).await)?;
    say(&format!("refused   another tenant reads the agent: {cross_tenant}"));
    say(&format!("refused   a viewer starts a run: {missing}"));

    let usage = platform.usage().summary(&admin, Period::ALL).await?;
    say(&format!("\n{usage}\n"));
    let mut count = 0;
    loop {
        let events = platform.events().read(&admin, count, 500).await?;
        let Some(last) = events.last() else { break };
        count = last.seq;
    }
    let head = platform.audit().verify(&admin).await?;
    say(&format!("events    {count}"));
    say(&format!("audit     {} records, verified, root {}", head.size, head.root));

    if options.json {
        let steps: Vec<Value> = outcome
            .chain()
            .steps
            .iter()
            .map(|step| {
                json!({
                    "kind": step.kind, "name": step.name, "duration_ms": step.duration_ms,
                    "input_tokens": step.input_tokens, "output_tokens": step.output_tokens, "cost_usd": step.cost_usd,
                })
            })
            .collect();
        let tenants: Vec<Value> = tenants
            .iter()
            .map(|(tenant, _)| json!({"id": tenant.id, "name": tenant.name, "domain": tenant.domain}))
            .collect();
        let report = json!({
            "provider": name,
            "tenants": tenants,
            "run": {
                "id": run.id(),
                "status": outcome.status(),
                "output": outcome.text().ok(),
                "steps": steps,
                "cost_usd": outcome.record().totals.cost_usd(),
            },
            "refused": { "cross_tenant": cross_tenant, "missing_permission": missing },
            "audit": { "size": head.size, "root": head.root, "verified": true },
            "usage": usage,
            "events": count,
        });
        println!("{report}");
    }
    outcome.text()?;
    platform.close().await?;
    Ok(())
}

/// The code of the error that must come.
fn refusal<T>(result: Result<T>) -> std::result::Result<&'static str, Box<dyn StdError>> {
    match result {
        Ok(_) => Err("something went through that must be refused".into()),
        Err(error) => Ok(error.kind().code()),
    }
}
