//! `cargo xtask test`: everything that decides whether a change is good, in one order, stopping at the first failure.

use std::process::Command;
use std::time::Duration;

use crate::postgres::{Postgres, URL_VARIABLE};
use crate::report::Counts;
use crate::run::{Result, Workspace, heading, shown, tee, timed, works};

/// One line of the summary. A suite in another language is one more of these.
struct Suite {
    title: &'static str,
    /// The commands see a running server in `AGENTPROVISION_TEST_POSTGRES_URL`.
    needs_postgres: bool,
    plan: Plan,
}

enum Plan {
    Run(Vec<Command>),
    Skip(String),
}

/// Cheap checks come first. Lints, documentation and tests take the same features, so that they share what they build.
fn suites(workspace: &Workspace) -> Vec<Suite> {
    let suite = |title, plan| Suite { title, needs_postgres: false, plan };
    let cargo = |arguments: &[&str]| workspace.cargo(arguments);
    let all = ["--workspace", "--all-features"];
    let mut lints = cargo(&["clippy", "--all-targets"]);
    lints.args(all).args(["--", "-D", "warnings"]);
    let mut documentation = cargo(&["doc", "--no-deps"]);
    documentation.args(all).env("RUSTDOCFLAGS", "-D warnings");
    // All of the failures are more useful than the first.
    let mut tests = cargo(&["test", "--no-fail-fast"]);
    tests.args(all);
    vec![
        suite("format", Plan::Run(vec![cargo(&["fmt", "--all", "--check"])])),
        suite("dependency policy", dependency_policy(workspace)),
        suite("lints", Plan::Run(vec![lints])),
        suite("documentation", Plan::Run(vec![documentation])),
        suite("tests", Plan::Run(vec![tests])),
        suite("quickstart", quickstart(workspace)),
        suite("transcripts", transcripts(workspace)),
    ]
}

fn dependency_policy(workspace: &Workspace) -> Plan {
    if !works(&mut workspace.cargo(["deny", "--version"])) {
        return Plan::Skip("cargo-deny is not installed".into());
    }
    // Not the advisories: what the day's news says does not depend on the change.
    Plan::Run(vec![workspace.cargo("deny check --hide-inclusion-graph licenses bans sources".split(' '))])
}

/// As a newcomer runs it, which also builds the default features.
fn quickstart(workspace: &Workspace) -> Plan {
    if !workspace.root.join("examples/quickstart.rs").exists() {
        return Plan::Skip("there is no examples/quickstart.rs".into());
    }
    Plan::Run(vec![workspace.cargo(["run", "--example", "quickstart"])])
}

/// The example was built with the tests; `cargo run` would build it again with fewer features.
fn transcripts(workspace: &Workspace) -> Plan {
    let data = match &workspace.conformance {
        Ok(folder) => folder.join("llm"),
        Err(reason) => return Plan::Skip(reason.clone()),
    };
    if !workspace.root.join("agentprovision-llm/examples/transcripts.rs").exists() {
        return Plan::Skip("there is no agentprovision-llm/examples/transcripts.rs".into());
    }
    let program = || workspace.command(workspace.examples.join("transcripts"), [&data]);
    let (mut openai, mut self_test) = (program(), program());
    openai.args(["--provider", "openai", "--api", "openai.chat"]);
    self_test.arg("--self-test");
    Plan::Run(vec![openai, self_test])
}

enum Outcome {
    Passed,
    Failed,
    Skipped(String),
    NotRun,
}

struct Line {
    title: &'static str,
    outcome: Outcome,
    counts: Counts,
    elapsed: Duration,
}

/// `cargo xtask test`; the answer is whether everything passed.
pub(crate) fn test(workspace: &Workspace) -> Result<bool> {
    ensure_components(workspace)?;
    let mut server = None;
    let mut lines: Vec<Line> = Vec::new();
    let mut failed = false;
    for suite in suites(workspace) {
        let Suite { title, needs_postgres, plan } = suite;
        let mut line =
            Line { title, outcome: Outcome::NotRun, counts: Counts::default(), elapsed: Duration::ZERO };
        match plan {
            _ if failed => {}
            Plan::Skip(reason) => {
                heading(title);
                println!("skipped: {reason}");
                line.outcome = Outcome::Skipped(reason);
            }
            Plan::Run(commands) => {
                heading(title);
                let (result, elapsed) = timed(|| {
                    let url = if needs_postgres { Some(url_of(&mut server)?) } else { None };
                    run(commands, url.as_deref(), &mut line.counts)
                });
                if let Err(error) = &result {
                    failed = true;
                    println!("error: {error}");
                    // A check that found no failing test is itself the failure.
                    line.counts.failed = line.counts.failed.max(1);
                }
                println!(
                    "-- {title}: {} after {:.1} s",
                    if failed { "failed" } else { "ok" },
                    elapsed.as_secs_f64()
                );
                line.outcome = if failed { Outcome::Failed } else { Outcome::Passed };
                line.elapsed = elapsed;
            }
        }
        lines.push(line);
    }
    drop(server);
    summarise(&lines);
    Ok(!failed)
}

fn url_of(server: &mut Option<Postgres>) -> Result<String> {
    let running = match server.take() {
        Some(running) => running,
        None => Postgres::start()?,
    };
    Ok(server.insert(running).url.clone())
}

fn run(commands: Vec<Command>, postgres: Option<&str>, counts: &mut Counts) -> Result<()> {
    for mut command in commands {
        if let Some(url) = postgres {
            command.env(URL_VARIABLE, url);
        }
        println!("$ {}", shown(&command));
        let status = tee(&mut command, |line| {
            if let Some(found) = Counts::from_result_line(line) {
                counts.add(found);
            }
        })?;
        if !status.success() {
            return Err(format!("{} ended with {status}", shown(&command)).into());
        }
    }
    Ok(())
}

fn summarise(lines: &[Line]) {
    heading("summary");
    let mut total = Counts::default();
    for line in lines {
        total.add(line.counts);
        let seconds = format!("{:.1} s", line.elapsed.as_secs_f64());
        let Counts { passed, failed, ignored } = line.counts;
        let (word, detail) = match &line.outcome {
            Outcome::Skipped(reason) => ("skipped", reason.clone()),
            Outcome::NotRun => ("not run", String::new()),
            Outcome::Passed if line.counts == Counts::default() => ("ok", seconds),
            Outcome::Passed => ("ok", format!("{seconds}, {passed} passed, {ignored} ignored")),
            Outcome::Failed => {
                ("FAILED", format!("{seconds}, {passed} passed, {failed} failed, {ignored} ignored"))
            }
        };
        println!("{word:8} {:20} {detail}", line.title);
    }
    println!("\n{total}");
}

/// A minimal toolchain comes without these two.
pub(crate) fn ensure_components(workspace: &Workspace) -> Result<()> {
    for (command, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if works(&mut workspace.cargo([command, "--version"])) {
            continue;
        }
        println!("adding {component} to the toolchain");
        if !works(&mut workspace.command("rustup", ["component", "add", component])) {
            return Err(format!("the toolchain has no {component}").into());
        }
    }
    Ok(())
}
