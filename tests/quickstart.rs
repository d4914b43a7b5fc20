//! The quickstart, run as a user runs it, and its report recomputed from what it left in the store.

use std::path::Path;
use std::process::Command;

use agentprovision::audit::merkle::{CompactRange, leaf_hash};
use agentprovision::id::{RunId, TenantId};
use agentprovision::llm::Catalog;
use agentprovision::model::Usage;
use agentprovision::prelude::*;
use agentprovision::run::{JournalEntry, StepKind, decode_entry};
use serde_json::{Value, json};

use crate::support::store;

/// Runs the example's binary, which `cargo test` builds beside this one.
fn quickstart(arguments: &[&str]) -> std::process::Output {
    let mut binary = std::env::current_exe().unwrap();
    binary.pop();
    if binary.ends_with("deps") {
        binary.pop();
    }
    let binary = binary.join("examples").join("quickstart");
    Command::new(&binary).args(arguments).env_remove("OPENAI_API_KEY").output().unwrap_or_else(|error| {
        panic!("{}: {error}; `cargo test` builds it unless it is filtered", binary.display())
    })
}

fn report(store: &str, issue: &Path) -> Value {
    let output = quickstart(&["--store", store, "--json", "--issue", issue.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn issue(folder: &Path, number: u64, title: &str, body: Value) -> std::path::PathBuf {
    let file = folder.join(format!("{number}.json"));
    let webhook = json!({"action": "opened", "issue": {"number": number, "title": title, "body": body, "state": "open", "comments": 0}});
    std::fs::write(&file, webhook.to_string()).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_report_agrees_with_what_another_process_finds_in_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = store::new(&folder.path().join("platform.db"));
    let files = [
        issue(folder.path(), 7, "Crash when the cart is empty", json!("It panics.")),
        issue(folder.path(), 8, "Ünïcödé \u{202e}title\u{202c} \"quoted\" \\ #9", Value::Null),
    ];
    for file in &files {
        let report = report(&store, file);
        let webhook: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let title = webhook["issue"]["title"].as_str().unwrap();
        let output = report["run"]["output"].as_str().unwrap();
        assert!(output.contains(title), "{output}");
        assert_eq!(
            report["refused"],
            json!({"cross_tenant": "not_found", "missing_permission": "permission_denied"})
        );
        assert_eq!(report["run"]["status"], "completed");
        check(&store, &report).await;
    }
}

/// Recomputes the report: steps from journal rows, cost from tokens and prices, the root from the record bytes, events
/// from the outbox.
async fn check(store: &str, report: &Value) {
    let platform = Platform::builder().store(store).build().await.unwrap();
    let tenant: TenantId = report["tenants"][0]["id"].as_str().unwrap().parse().unwrap();
    let run: RunId = report["run"]["id"].as_str().unwrap().parse().unwrap();
    let operator = platform.operator("ops@host.example", "check").unwrap();
    assert_eq!(platform.tenants().get(&operator, tenant).await.unwrap().name, "acme");
    let admin = admin_of(&platform, tenant, run).await;

    let (_, rows) = platform.runs().journal(&admin, run).await.unwrap();
    let price = Catalog::shipped().get("openai", "gpt-4o-mini").unwrap().price.clone().unwrap();
    let mut steps = Vec::new();
    let mut total = 0;
    for row in &rows {
        match decode_entry(&row.body).unwrap() {
            JournalEntry::Intent { kind, name, at, .. } => steps.push((kind, name, at, None, None)),
            JournalEntry::Done { step, usage, at, .. } => {
                let found = &mut steps[step as usize];
                found.3 = Some(u64::try_from(at.since(found.2).as_millis()).unwrap());
                found.4 = usage;
            }
            _ => {}
        }
    }
    let reported = report["run"]["steps"].as_array().unwrap();
    assert_eq!(reported.len(), steps.len());
    for (reported, (kind, name, _, millis, usage)) in reported.iter().zip(&steps) {
        assert_eq!(reported["kind"], kind.name());
        assert_eq!(reported["name"], name.as_str());
        assert_eq!(reported["duration_ms"].as_u64(), *millis);
        if *kind == StepKind::Model {
            let Usage { input_tokens: Some(input), output_tokens: Some(output), .. } = usage.unwrap() else {
                panic!("a model step without tokens")
            };
            assert_eq!(
                (reported["input_tokens"].as_u64(), reported["output_tokens"].as_u64()),
                (Some(input), Some(output))
            );
            let picos = i128::from(input) * i128::from(price.base.input.0)
                + i128::from(output) * i128::from(price.base.output.0);
            let nanos = (picos + 500) / 1000;
            total += nanos;
            assert_eq!(dollars(&reported["cost_usd"]), nanos);
        } else {
            assert!(reported["cost_usd"].is_null());
        }
    }
    assert_eq!(dollars(&report["run"]["cost_usd"]), total);
    assert_eq!(dollars(&report["usage"]["cost_usd"]), total);

    let size = report["audit"]["size"].as_u64().unwrap();
    let mut tree = CompactRange::default();
    for entry in platform.audit().entries(&admin, 0, 500).await.unwrap().iter().take(size as usize) {
        tree.append(leaf_hash(&entry.bytes));
    }
    assert_eq!(tree.size(), size);
    assert_eq!(report["audit"]["root"], tree.root().to_string());
    let events = platform.events().read(&admin, 0, 500).await.unwrap();
    assert_eq!(report["events"].as_u64(), Some(events.len() as u64));
    platform.close().await.unwrap();
}

/// A context for the tenant's admin, found through the audit log's first records by nobody but the host.
async fn admin_of(platform: &Platform, tenant: TenantId, _: RunId) -> Context {
    let operator = platform.operator("ops@host.example", "find the admin").unwrap();
    let log = platform.audit().platform_entries(&operator, 0, 500).await.unwrap();
    for entry in log {
        let record = entry.record().unwrap();
        if record.action == "tenants.bootstrap_admin" {
            for text in record.details.values().filter_map(Value::as_str).chain(record.resource_id.as_deref())
            {
                if let Ok(user) = text.parse()
                    && let Ok(ctx) = platform.context(tenant, user).await
                {
                    return ctx;
                }
            }
        }
    }
    panic!("the platform log names no admin of {tenant}");
}

fn dollars(value: &Value) -> i128 {
    let amount: agentprovision::money::NanoUsd = value.as_str().unwrap().parse().unwrap();
    i128::from(amount.nanos())
}

#[test]
fn it_says_in_one_line_what_is_wrong_with_its_input() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.json");
    for (text, needle) in [("", "not JSON"), ("{}", "webhook"), (r#"{"issue": {"number": "x"}}"#, "webhook")]
    {
        std::fs::write(&bad, text).unwrap();
        let output = quickstart(&["--issue", bad.to_str().unwrap()]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && message.contains(needle) && message.lines().count() == 1,
            "{message}"
        );
    }
    assert!(!quickstart(&["--nothing"]).status.success());
    assert!(!quickstart(&["--store", "sqlite:///dev/null/x.db"]).status.success());
}
