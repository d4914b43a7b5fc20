//! The PostgreSQL backend, in what it does not share with every other: logins, row security, lost connections, poolers,
//! and preparing a database. Without a server every trial shows as ignored.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod accepts;
mod backups;
mod cancelled;
mod commits;
mod failures;
#[cfg(feature = "store-sqlite")]
#[path = "../filled/mod.rs"]
mod filled;
mod hostile;
mod linter;
mod login;
mod planted;
mod pooler;
mod prepare;
mod proxy;
mod reach;
mod server;
#[cfg(feature = "store-sqlite")]
mod travel;
mod world;

use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};

/// Names a PostgreSQL server for tests; `cargo xtask test` starts one.
const POSTGRES: &str = "AGENTPROVISION_TEST_POSTGRES_URL";

/// Longer than any trial takes by far.
const WATCHDOG: Duration = Duration::from_secs(60);

/// A test; ignored where there is no server.
fn trial<F>(topic: &str, name: impl Into<String>, body: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = ()>,
{
    let there = std::env::var_os(POSTGRES).is_some_and(|url| !url.is_empty());
    Trial::test(name, move || run(body)).with_kind(topic).with_ignored_flag(!there)
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
    let topics = [
        accepts::trials(),
        backups::trials(),
        cancelled::trials(),
        commits::trials(),
        failures::trials(),
        hostile::trials(),
        linter::trials(),
        login::trials(),
        planted::trials(),
        pooler::trials(),
        prepare::trials(),
        reach::trials(),
        #[cfg(feature = "store-sqlite")]
        travel::trials(),
    ];
    libtest_mimic::run(&Arguments::from_args(), topics.into_iter().flatten().collect()).exit_code()
}
