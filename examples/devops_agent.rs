//! An agent on duty: when a workflow fails on GitHub, it reads the log, looks whether Jira knows, files an incident, tells the
//! team in Slack, and leaves a note at GitHub. A webhook starts it.
//!
//! ```text
//! cargo run --example devops_agent --features testing,connector-emulator,connector-github,connector-jira,connector-slack
//! ```
//!
//! It works on emulated services, on which requests fail and webhooks come twice; with credentials in the environment on the
//! vendors' (see `services/mod.rs`).

#![allow(clippy::print_stdout, reason = "a program that talks to a terminal")]

mod services;

use agentprovision::testing::Reply;
use serde_json::{Value, json};
use services::{Outcome, Places, Services, Task, expect, text};

const LOG: &str =
    "Compiling app\nerror[E0308]: mismatched types in src/checkout.rs:42\nerror: could not compile `app`\n";

fn script(at: &Places, so_far: &[Value]) -> Reply {
    let (owner, repo) = (&at.owner, &at.repo);
    let key = |place: usize| so_far.get(place).map(|made| text(made, "/key")).unwrap_or_default();
    let last = so_far.last().cloned().unwrap_or_default();
    match so_far.len() {
        0 => Reply::tool(
            "github_runs_list",
            json!({ "owner": owner, "repo": repo, "status": "failure", "per_page": 1 }),
        ),
        1 => Reply::tool(
            "github_runs_list_jobs",
            json!({ "owner": owner, "repo": repo, "run_id": last.pointer("/items/0/id") }),
        ),
        2 => Reply::tool(
            "github_jobs_logs",
            json!({ "owner": owner, "repo": repo, "job_id": last.pointer("/items/0/id") }),
        ),
        3 => Reply::tool(
            "jira_issues_search",
            json!({ "jql": format!("project = {} AND labels = ci-failure", at.project) }),
        ),
        4 => {
            let log = so_far.get(2).map(Value::to_string).unwrap_or_default();
            let error = log.split("\\n").find(|line| line.contains("error")).unwrap_or("the build fails");
            Reply::tool(
                "jira_issues_create",
                json!({ "fields": {
                    "project": { "key": at.project },
                    "issuetype": { "name": "Bug" },
                    "summary": "The build is broken",
                    "description": error,
                    "labels": ["ci-failure"],
                } }),
            )
        }
        5 => Reply::tool(
            "github_issues_create",
            json!({ "owner": owner, "repo": repo, "title": "The build is broken", "body": format!("See {}.", key(4)) }),
        ),
        6 => Reply::tool(
            "slack_chat_post_message",
            json!({ "channel": at.channel, "text": format!("The build is broken: {}", key(4)) }),
        ),
        _ => Reply::text(format!("I have filed {} and told the team.", key(4))),
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let services = Services::open().await?;
    let task = Task {
        name: "on duty",
        instructions: "When a workflow has failed: read the log of its failed job, look in Jira for an open issue about it \
            with the label `ci-failure`, and only if there is none make one, an issue at GitHub that names its key, and a \
            message in the team's channel. End with one sentence that names the key.",
        tools: &[
            "github_runs_list",
            "github_runs_list_jobs",
            "github_jobs_logs",
            "jira_issues_search",
            "jira_issues_create",
            "github_issues_create",
            "slack_chat_post_message",
        ],
        filter: json!({ "kind": "workflow_run.completed", "attributes": { "conclusion": "failure" } }),
        input: format!(
            "The workflow run {{{{ body.workflow_run.id }}}} of {{{{ body.repository.full_name }}}} has failed. The project in \
             Jira is {}, the channel in Slack is {}.",
            services.places.project, services.places.channel
        ),
        script,
    };
    let said = services::run(&services, task, |emulator| {
        emulator.github().add_run("acme/app", "main", "completed", Some("failure"), LOG).map(drop)
    })
    .await?;

    if let Some(emulator) = &services.emulator {
        let incidents = emulator.jira().issues("OPS")?;
        let notes = emulator.github().issues("acme/app")?;
        let messages = emulator.slack().messages(&services.places.channel)?;
        println!("{} requests, some of which failed", emulator.requests().len());
        expect("incidents", &incidents.len(), &1)?;
        let key = incidents.first().map(|incident| text(incident, "/key")).unwrap_or_default();
        expect("what it says", &said.contains(&key), &true)?;
        expect(
            "notes",
            &notes.iter().map(|note| text(note, "/body")).collect::<Vec<_>>(),
            &vec![format!("See {key}.")],
        )?;
        let told: Vec<String> = messages.iter().map(|message| text(message, "/text")).collect();
        expect("messages", &told, &vec![format!("The build is broken: {key}")])?;
    }
    Ok(())
}
