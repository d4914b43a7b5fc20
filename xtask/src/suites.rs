//! `cargo xtask test`: everything that decides whether a change is good, in one order, stopping at the first failure.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::postgres::{Postgres, URL_VARIABLE};
use crate::report::Counts;
use crate::run::{Result, Workspace, heading, shown, tee, timed, works};
use crate::{contracts, mail, node, oauth, packages, python, sdks};

/// Names this program to tests that start and restart a server of their own.
const XTASK_VARIABLE: &str = "AGENTPROVISION_XTASK";

/// One line of the summary.
struct Suite {
    title: &'static str,
    /// The commands see a running server in `AGENTPROVISION_TEST_POSTGRES_URL`, and a linter of row security in
    /// `AGENTPROVISION_PGRLS`. In `AGENTPROVISION_XTASK` they see this program, for servers of their own.
    needs_postgres: bool,
    plan: Plan,
}

pub(crate) enum Plan {
    Run(Vec<Command>),
    /// For commands that depend on what the ones before them left behind.
    Work(fn(&Workspace, &mut Steps) -> Result<()>),
    Skip(String),
}

impl Plan {
    /// The work, once the workspace has the file it is about.
    pub(crate) fn where_there_is(
        workspace: &Workspace,
        file: &str,
        work: fn(&Workspace, &mut Steps) -> Result<()>,
    ) -> Self {
        if workspace.root.join(file).exists() {
            Self::Work(work)
        } else {
            Self::Skip(format!("there is no {file}"))
        }
    }
}

/// Runs the commands of a suite, and counts the tests they report.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    postgres: Option<String>,
    linter: Option<PathBuf>,
    counts: Counts,
}

impl Steps {
    /// Counts tests that ran elsewhere.
    pub(crate) fn count(&mut self, found: Counts) {
        self.counts.add(found);
    }

    pub(crate) fn run(&mut self, command: &mut Command) -> Result<()> {
        if let Some(url) = &self.postgres {
            command.env(URL_VARIABLE, url).env(XTASK_VARIABLE, std::env::current_exe()?);
        }
        if let Some(linter) = &self.linter {
            command.env("AGENTPROVISION_PGRLS", linter);
        }
        println!("$ {}", shown(command));
        let status = tee(command, |line| {
            if let Some(found) = Counts::from_result_line(line) {
                self.counts.add(found);
            }
        })?;
        if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", shown(command)).into()) }
    }
}

/// Cheap checks come first. Lints, documentation and tests take the same features, so that they share what they build.
fn suites(workspace: &Workspace) -> Vec<Suite> {
    let suite = |title, plan| Suite { title, needs_postgres: false, plan };
    let cargo = |arguments: &[&str]| workspace.cargo(arguments);
    let all = ["--workspace", "--all-features"];
    let mut lints = cargo(&["clippy", "--all-targets"]);
    lints.args(all).args(["--", "-D", "warnings"]);
    // What is built for one store must not need the other.
    let one_store = |store: &str| {
        let mut lints =
            cargo(&["clippy", "--package", "agentprovision-tenancy", "--no-default-features", "--features"]);
        lints.args([store, "--", "-D", "warnings"]);
        lints
    };
    let lints = vec![lints, one_store("store-sqlite"), one_store("store-postgres")];
    let mut documentation = cargo(&["doc", "--no-deps"]);
    documentation.args(all).env("RUSTDOCFLAGS", "-D warnings");
    // All of the failures are more useful than the first.
    let mut tests = cargo(&["test", "--no-fail-fast"]);
    tests.args(all);
    // What is about a platform as a whole and about stores, with a database on the server in the place of each file.
    let on_server = |binary, topics: &[&str]| {
        let mut shared = cargo(&["test", "--no-fail-fast"]);
        shared
            .args(all)
            .args(["--test", binary, "--"])
            .args(topics)
            .env("AGENTPROVISION_TEST_STORE", "postgres");
        shared
    };
    let mut platforms = on_server(
        "suite",
        &["isolation", "crash", "platform", "deliveries", "enlist", "models", "storm", "wire"],
    );
    // A step's transaction holds up nobody there, so a worker that stands still inside one keeps its run.
    platforms.args(["--skip", "a_frozen_worker"]);
    let steps = on_server("store", &["tx::"]);
    // Alone: it keeps every core busy by itself.
    let fleet = on_server("suite", &["fleet"]);
    vec![
        suite("format", Plan::Run(vec![cargo(&["fmt", "--all", "--check"])])),
        suite("dependency policy", dependency_policy(workspace)),
        suite("lints", Plan::Run(lints)),
        suite("documentation", Plan::Run(vec![documentation])),
        Suite { needs_postgres: true, ..suite("tests", Plan::Run(vec![tests])) },
        Suite {
            needs_postgres: true,
            ..suite("tests on postgres", Plan::Run(vec![platforms, steps, fleet]))
        },
        suite("quickstart", quickstart(workspace)),
        suite("transcripts", transcripts(workspace)),
        suite("webhooks", webhooks(workspace)),
        suite("contracts", contracts::plan(workspace)),
        suite("oauth", oauth::plan(workspace)),
        suite("mail", mail::plan(workspace)),
        Suite { needs_postgres: true, ..suite("python", python::plan(workspace)) },
        Suite { needs_postgres: true, ..suite("node", node::plan(workspace)) },
        suite("packages", packages::plan(workspace)),
        suite("sdks", sdks::plan(workspace)),
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
    let (all, mut self_test) = (program(), program());
    self_test.arg("--self-test");
    Plan::Run(vec![all, self_test])
}

/// Bodies that vendors sent, signed anew, read and written again.
fn webhooks(workspace: &Workspace) -> Plan {
    match &workspace.conformance {
        Ok(folder) => {
            let program = workspace.examples.join("webhooks");
            Plan::Run(vec![workspace.command(program, [&folder.join("webhooks")])])
        }
        Err(reason) => Plan::Skip(reason.clone()),
    }
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

/// `cargo xtask test`, of all suites or one; the answer is whether everything passed.
pub(crate) fn test(workspace: &Workspace, only: Option<&str>) -> Result<bool> {
    let mut suites = suites(workspace);
    if let Some(title) = only {
        let titles: Vec<_> = suites.iter().map(|suite| suite.title).collect();
        suites.retain(|suite| suite.title == title);
        if suites.is_empty() {
            return Err(format!("there is no suite `{title}`; there are: {}", titles.join(", ")).into());
        }
    }
    ensure_components(workspace)?;
    let mut server = None;
    let mut lines: Vec<Line> = Vec::new();
    let mut failed = false;
    for suite in suites {
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
            plan => {
                heading(title);
                let mut steps = Steps::default();
                let (result, elapsed) = timed(|| {
                    if needs_postgres {
                        steps.linter = Some(linter(workspace, &mut steps)?);
                        steps.postgres = Some(url_of(&mut server)?);
                    }
                    run(workspace, plan, &mut steps)
                });
                line.counts = steps.counts;
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

/// The program of the linter, in an environment of its own.
fn linter(workspace: &Workspace, steps: &mut Steps) -> Result<PathBuf> {
    let requirements = workspace.root.join("agentprovision-tenancy/tests/postgres/requirements.txt");
    let venv = python::Venv::with(workspace, "pgrls-venv", &requirements, steps)?;
    Ok(PathBuf::from(venv.command(workspace, "pgrls").get_program()))
}

fn run(workspace: &Workspace, plan: Plan, steps: &mut Steps) -> Result<()> {
    match plan {
        Plan::Run(commands) => commands.into_iter().try_for_each(|mut command| steps.run(&mut command)),
        Plan::Work(work) => work(workspace, steps),
        Plan::Skip(_) => Ok(()),
    }
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
