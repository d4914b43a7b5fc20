//! The connector `postgres` through all layers, against a real server.

#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these functions are called by tests only"
)]

mod database;
mod trials;
#[path = "../calls/world.rs"]
mod world;

use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};

/// Longer than any trial takes by far.
const WATCHDOG: Duration = Duration::from_secs(60);

/// A test; ignored where there is no server.
fn trial<F>(name: &str, body: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = ()>,
{
    let there = std::env::var_os(database::SERVER).is_some_and(|url| !url.is_empty());
    Trial::test(name, move || run(body)).with_ignored_flag(!there)
}

fn run<F: Future<Output = ()>>(body: impl FnOnce() -> F + Send + 'static) -> Result<(), Failed> {
    let (done, outcome) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(body());
        done.send(()).ok();
    });
    match outcome.recv_timeout(WATCHDOG) {
        Ok(()) => Ok(()),
        Err(RecvTimeoutError::Timeout) => Err(format!("not over after {WATCHDOG:?}").into()),
        Err(RecvTimeoutError::Disconnected) => Err("the trial panicked".into()),
    }
}

fn main() -> ExitCode {
    libtest_mimic::run(&Arguments::from_args(), trials::all()).exit_code()
}
