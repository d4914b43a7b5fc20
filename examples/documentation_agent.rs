//! An agent that keeps the documentation: when a pull request is merged on GitHub, it reads what was changed, adds a line to the
//! list of changes on a branch of its own, opens a pull request for it, notes that in the issue at Jira that the title names, and
//! tells the team in Slack. A webhook starts it.
//!
//! ```text
//! cargo run --example documentation_agent --features testing,connector-emulator,connector-github,connector-jira,connector-slack
//! ```
//!
//! It works on emulated services, on which requests fail and webhooks come twice; with credentials in the environment on the
//! vendors' (see `services/mod.rs`).

#![allow(clippy::print_stdout, reason = "a program that talks to a terminal")]

mod services;

use agentprovision::testing::Reply;
use http::Method;
use serde_json::{Value, json};
use services::{Outcome, Places, Services, Task, expect, text};

const CHANGES: &str = "CHANGES.md";
const BRANCH: &str = "changes-of-1";

fn script(at: &Places, so_far: &[Value]) -> Reply {
    let (owner, repo) = (&at.owner, &at.repo);
    let of =
        |place: usize, pointer: &str| so_far.get(place).map(|made| text(made, pointer)).unwrap_or_default();
    let title = of(0, "/title");
    match so_far.len() {
        0 => Reply::tool("github_pulls_get", json!({ "owner": owner, "repo": repo, "pull_number": 1 })),
        1 => {
            Reply::tool("github_pulls_list_files", json!({ "owner": owner, "repo": repo, "pull_number": 1 }))
        }
        2 => Reply::tool("github_contents_get", json!({ "owner": owner, "repo": repo, "path": CHANGES })),
        3 => Reply::tool("github_refs_get", json!({ "owner": owner, "repo": repo, "ref": "heads/main" })),
        4 => Reply::tool(
            "github_refs_create",
            json!({ "owner": owner, "repo": repo, "ref": format!("refs/heads/{BRANCH}"), "sha": of(3, "/object/sha") }),
        ),
        5 => Reply::tool(
            "github_contents_put",
            json!({
                "owner": owner, "repo": repo, "path": CHANGES, "branch": BRANCH, "sha": of(2, "/sha"),
                "message": "List what was merged", "text": format!("{}- {title}\n", of(2, "/text")),
            }),
        ),
        6 => Reply::tool(
            "github_pulls_create",
            json!({ "owner": owner, "repo": repo, "title": "List what was merged", "head": BRANCH, "base": "main" }),
        ),
        7 => Reply::tool(
            "jira_comments_add",
            json!({
                "issueIdOrKey": title.split(':').next(),
                "body": format!("Documented in pull request {}.", of(6, "/number")),
            }),
        ),
        8 => Reply::tool(
            "slack_chat_post_message",
            json!({ "channel": at.channel, "text": format!("Pull request {} lists: {title}", of(6, "/number")) }),
        ),
        _ => Reply::text(format!("I have opened pull request {}.", of(6, "/number"))),
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let services = Services::open().await?;
    let task = Task {
        name: "documentation",
        instructions: "When a pull request is merged: read it and its files, add one line with its title to CHANGES.md on a new \
            branch, open a pull request for that against the default branch, add a comment to the issue in Jira whose key \
            begins the title, and tell the team's channel. End with one sentence that names the new pull request's number.",
        tools: &[
            "github_pulls_get",
            "github_pulls_list_files",
            "github_contents_get",
            "github_refs_get",
            "github_refs_create",
            "github_contents_put",
            "github_pulls_create",
            "jira_comments_add",
            "slack_chat_post_message",
        ],
        filter: json!({ "kind": "pull_request.closed", "attributes": { "merged": "true" } }),
        input: format!(
            "Pull request {{{{ body.number }}}} of {{{{ body.repository.full_name }}}} was merged. The project in Jira is {}, the channel in \
             Slack is {}.",
            services.places.project, services.places.channel
        ),
        script,
    };
    if let Some(emulator) = &services.emulator {
        emulator.jira().add_issue("OPS", "Checkout is slow", json!({}))?;
        let github = emulator.github();
        github.add_file("acme/app", "main", CHANGES, b"# Changes\n\n")?;
        github.add_file("acme/app", "faster", "src/checkout.rs", b"fn checkout() {}\n")?;
        github.add_pull("acme/app", "OPS-1: Make the checkout fast", "faster", "main")?;
    }
    let said = services::run(&services, task, |emulator| {
        emulator.github().act(None, Method::PUT, "/repos/acme/app/pulls/1/merge", json!({})).map(drop)
    })
    .await?;

    if let Some(emulator) = &services.emulator {
        println!("{} requests, some of which failed", emulator.requests().len());
        let pulls = emulator.github().pulls("acme/app")?;
        expect("pull requests", &pulls.len(), &2)?;
        let file = emulator.github().file("acme/app", BRANCH, CHANGES)?;
        let wanted = "# Changes\n\n- OPS-1: Make the checkout fast\n";
        expect("the list of changes", &String::from_utf8_lossy(&file).into_owned(), &wanted.to_owned())?;
        expect("comments in Jira", &emulator.jira().comments("OPS-1")?.len(), &1)?;
        expect("messages", &emulator.slack().messages(&services.places.channel)?.len(), &1)?;
        expect("what it says", &said.contains("pull request 2"), &true)?;
    }
    Ok(())
}
