//! The workspace's own commands, run as `cargo xtask <command>`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program talks to its terminal")]

mod bench;
mod contracts;
mod debian;
mod fresh;
mod guard;
mod mail;
mod node;
mod oauth;
mod packages;
mod peers;
mod postgres;
mod python;
mod report;
mod run;
mod sdks;
mod stores;
mod suites;

use std::process::ExitCode;

use crate::run::{Result, Workspace};

const USAGE: &str = "\
usage: cargo xtask <command>

  test           format, lints, documentation, tests, examples, OAuth against npm's `oidc-provider`, the Python
                 and Node packages, and the libraries of providers against the gateway; the last line is
                 `N passed, N failed`
  test SUITE     one of its suites; a name that is none lists them
  test --fresh   everything, from a fresh clone in a minimal Debian root (root user, Debian host)
  services       start a throw-away PostgreSQL, print its URL, stop it on Enter; the lines `restart` and
                 `restart immediate` (as in a crash) restart it on the same port
  bench [NAME]   run the benchmarks and collect their ratios

environment:
  AGENTPROVISION_CONFORMANCE        folder of conformance data; without it what reads the folder is skipped
  AGENTPROVISION_TEST_POSTGRES_URL  use this PostgreSQL server instead of starting one
  AGENTPROVISION_XTASK              set for the tests: this program, by which those that restart a PostgreSQL
                                    start one of their own; without it they are skipped";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        // Tests start this too, from wherever they are.
        ["services"] => postgres::serve().map(|()| true),
        arguments => Workspace::find().and_then(|workspace| dispatch(&workspace, arguments)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `Ok(false)` is a failure that has already been reported, where nothing may follow on the terminal.
fn dispatch(workspace: &Workspace, arguments: &[&str]) -> Result<bool> {
    match arguments {
        ["test"] => suites::test(workspace, None),
        ["test", "--fresh"] => fresh::test(workspace),
        ["test", suite] if !suite.starts_with('-') => suites::test(workspace, Some(suite)),
        ["bench"] => bench::bench(workspace, None).map(|()| true),
        ["bench", name] if !name.starts_with('-') => bench::bench(workspace, Some(name)).map(|()| true),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(true)
        }
        _ => Err(USAGE.into()),
    }
}
