//! The connectors' requests against mock servers that Prism makes of vendors' own descriptions.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::node;
use crate::postgres::free_port;
use crate::report::Counts;
use crate::run::{Result, Workspace, cannot_start, output, shown};
use crate::suites::{Plan, Steps};

/// Where Prism's version is pinned.
const FOLDER: &str = "xtask/peers/contracts";

/// What checks one description, built with the tests.
const EXAMPLE: &str = "agentprovision-connectors/examples/contracts.rs";

/// Mock servers at a time: each takes a few hundred MiB.
const AT_A_TIME: usize = 2;

/// The longest a mock server may take to listen; the largest description takes a few seconds.
const START: Duration = Duration::from_secs(120);

pub(crate) fn plan(workspace: &Workspace) -> Plan {
    if let Err(reason) = &workspace.conformance {
        return Plan::Skip(reason.clone());
    }
    Plan::where_there_is(workspace, EXAMPLE, test)
}

fn test(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    let descriptions = workspace.conformance.clone()?.join("vendor-specs");
    let program = workspace.examples.join("contracts");
    let mut list = workspace.command(&program, [&descriptions]);
    println!("$ {}", shown(&list));
    let list = output(&mut list)?;
    println!("{list}");
    let mut files: VecDeque<PathBuf> = covered(&list).map(|name| descriptions.join(name)).collect();
    if files.is_empty() {
        return Err(format!("no connector covers a description in {}", descriptions.display()).into());
    }
    let prism = install(workspace, steps)?;
    // Those that take longest first.
    let size = |file: &PathBuf| file.metadata().map_or(0, |about| about.len());
    files.make_contiguous().sort_by_key(|file| std::cmp::Reverse(size(file)));
    let (files, steps) = (Mutex::new(files), Mutex::new(steps));
    let next = || files.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(file) = next() {
                    let result = check(workspace, &prism, &program, &file);
                    // What several say at a time nobody can read.
                    let mut steps = steps.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Err(error) = conclude(&file, result, &mut steps) {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(error);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ").into()) }
}

/// The files of a list that a connector covers.
fn covered(list: &str) -> impl Iterator<Item = &str> {
    let named = list.lines().filter_map(|line| line.split_once(": "));
    named.filter(|(name, by)| name.ends_with(".json") && *by != "not covered").map(|(name, _)| name)
}

/// Prism's script.
fn install(workspace: &Workspace, steps: &mut Steps) -> Result<PathBuf> {
    node::needed(workspace)?;
    let folder = workspace.target.join("contracts-node");
    std::fs::create_dir_all(&folder)?;
    std::fs::copy(workspace.root.join(FOLDER).join("package.json"), folder.join("package.json"))?;
    let mut install = workspace.command("npm", ["install", "--no-package-lock", "--ignore-scripts"]);
    steps.run(node::quiet(&mut install).current_dir(&folder))?;
    Ok(folder.join("node_modules/@stoplight/prism-cli/dist/index.js"))
}

/// A thread's own error: those of the rest cannot go from one thread to another.
type Said<T> = std::result::Result<T, String>;

fn check(workspace: &Workspace, prism: &Path, program: &Path, file: &Path) -> Said<Output> {
    let prism = Prism::start(workspace, prism, file).map_err(|error| error.to_string())?;
    let mut command = workspace.command(program, [file]);
    command.arg(&prism.url);
    command.output().map_err(|error| cannot_start(&command, &error))
}

/// Shows what was said of a description, and counts it.
fn conclude(file: &Path, result: Said<Output>, steps: &mut Steps) -> Said<()> {
    let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
    println!("$ contracts {name}");
    let output = result.map_err(|error| format!("{name}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}{}", String::from_utf8_lossy(&output.stderr));
    said.lines().filter_map(Counts::from_closing_line).for_each(|counts| steps.count(counts));
    if output.status.success() { Ok(()) } else { Err(format!("{name}: it ended with {}", output.status)) }
}

/// A running mock server; dropping it stops it.
#[derive(Debug)]
struct Prism {
    child: Child,
    url: String,
}

impl Prism {
    fn start(workspace: &Workspace, script: &Path, file: &Path) -> Result<Self> {
        let port = free_port()?.to_string();
        let mut command: Command = workspace.command("node", [script]);
        command.args(["mock", "--host", "127.0.0.1", "--port", &port]).arg(file);
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = piped.spawn().map_err(|error| cannot_start(piped, &error))?;
        let stdout = child.stdout.take();
        let server = Self { child, url: format!("http://127.0.0.1:{port}") };
        let stdout = stdout.ok_or("the mock server has no standard output")?;
        let (listens, heard) = channel();
        // It says something of every request, and would stand still if nobody read it. Its end ends the thread.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(std::result::Result::ok) {
                if line.contains("Prism is listening") {
                    // Nobody waits any more where it took too long.
                    let _ = listens.send(());
                }
            }
        });
        match heard.recv_timeout(START) {
            Ok(()) => Ok(server),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("the mock server does not listen after {} s", START.as_secs()).into())
            }
            Err(RecvTimeoutError::Disconnected) => Err("the mock server ended before it listened".into()),
        }
    }
}

impl Drop for Prism {
    fn drop(&mut self) {
        // Nothing can be done about an error here: then it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_a_connector_covers_are_found_in_the_list() {
        let list = "a.json: a\nb-v2.json: not covered\nc-d.json: c\na is verified by description\n";
        assert_eq!(covered(list).collect::<Vec<_>>(), ["a.json", "c-d.json"]);
    }
}
