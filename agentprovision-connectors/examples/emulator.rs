//! An emulated GitHub, Jira and Slack as a program, for hosts in other languages: it prints where they are and how to come in, as a
//! line of JSON, then waits. A line on its input makes it print what has become of them; the end of its input ends it.
//!
//! ```text
//! cargo run -p agentprovision-connectors --features emulator --example emulator -- [--faults]
//! ```
//!
//! With `--faults` much goes wrong on the way: limits in the forms in which the vendors have them, broken answers and lost
//! connections. The first line:
//!
//! ```json
//! { "github": { "url": "…", "token": "…", "repository": "acme/app", "issue": 1 },
//!   "jira": { "url": "…", "username": "…", "password": "…", "project": "OPS" },
//!   "slack": { "url": "…", "token": "…", "channel": "C…" } }
//! ```
//!
//! The others have `comments` (of the issue at GitHub), `issues` (of Jira), `messages` (of Slack) and `requests`, how many there were.

#![allow(clippy::print_stdout, reason = "it prints what it is asked for")]

use std::io::BufRead as _;
use std::time::Duration;

use agentprovision_connectors::emulator::{Emulator, Fault, RetryAfter, Rule, Vendor};
use agentprovision_core::Env;
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let emulator = Emulator::start(Env::default()).await?;
    let github = emulator.github().add_token("octobot");
    emulator.github().add_repository("acme/app")?;
    let issue = emulator.github().add_issue("acme/app", json!({ "title": "The checkout burns" }))?;
    let jira = emulator.jira().add_token("bot@acme.example");
    emulator.jira().add_project("OPS", "Operations")?;
    let slack = emulator.slack().add_bot_token("octobot");
    let channel = emulator.slack().add_channel("ops")?;
    if std::env::args().skip(1).any(|argument| argument == "--faults") {
        faults(&emulator);
    }
    let places = json!({
        "github": { "url": emulator.github_url(), "token": github, "repository": "acme/app", "issue": issue },
        "jira": {
            "url": emulator.jira_url(), "username": "bot@acme.example", "password": jira, "project": "OPS",
        },
        "slack": { "url": emulator.slack_url(), "token": slack, "channel": channel },
    });
    println!("{places}");
    // Reading blocks, and the servers go on beside it.
    tokio::task::block_in_place(|| -> Result<(), Box<dyn std::error::Error>> {
        for line in std::io::stdin().lock().lines() {
            line?;
            let became = json!({
                "comments": emulator.github().comments("acme/app", issue)?,
                "issues": emulator.jira().issues("OPS")?,
                "messages": emulator.slack().messages(&channel)?,
                "requests": emulator.requests().len(),
            });
            println!("{became}");
        }
        Ok(())
    })
}

/// Nothing that is not carried out is lost by these, and nothing that is carried out is answered by an error.
fn faults(emulator: &Emulator) {
    let (github, jira, slack) = (Vendor::Github, Vendor::Jira, Vendor::Slack);
    let second = || RetryAfter::Seconds(1);
    for rule in [
        Rule::new(Fault::Status(502)).vendor(github).method("GET").next(1),
        Rule::new(Fault::Close).vendor(github).method("GET").nth(2),
        Rule::new(Fault::SecondaryLimit { status: 403, retry_after: second() })
            .vendor(github)
            .method("POST")
            .next(1),
        Rule::new(Fault::RateLimited(RetryAfter::Date(Duration::from_secs(1)))).vendor(jira).next(1),
        Rule::new(Fault::RateLimited(second())).vendor(jira).method("POST").nth(2),
        Rule::new(Fault::RateLimited(second())).vendor(slack).next(1),
    ] {
        emulator.faults().add(rule);
    }
}
