//! Runs the conformance suite on the store in memory, each trial as a test of its own.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use agentprovision_core::clock::{ManualClock, SeededEntropy};
use agentprovision_core::conformance::{self, Opening, Subject, Trial};
use agentprovision_core::{Env, MemoryDb, Timestamp};
use libtest_mimic::{Arguments, Failed};

/// Longer than any trial takes by far.
const WATCHDOG: Duration = Duration::from_secs(30);

fn memory() -> Opening {
    Box::pin(async {
        let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
        let env = Env::new(Arc::new(clock.clone()), Arc::new(SeededEntropy::new(1)));
        Ok(Subject::new(Arc::new(MemoryDb::new(env.clone())), env, clock))
    })
}

fn run(trial: Trial) -> Result<(), Failed> {
    let (done, outcome) = mpsc::channel();
    std::thread::spawn(move || {
        let outcome = match tokio::runtime::Builder::new_current_thread().build() {
            Ok(runtime) => runtime.block_on(trial.run(&memory)).map_err(Failed::from),
            Err(error) => Err(error.into()),
        };
        done.send(outcome).ok();
    });
    match outcome.recv_timeout(WATCHDOG) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => Err(format!("not over after {WATCHDOG:?}").into()),
        Err(RecvTimeoutError::Disconnected) => Err("the trial panicked".into()),
    }
}

fn main() -> ExitCode {
    let trials = conformance::trials();
    let tests = trials
        .into_iter()
        .map(|trial| libtest_mimic::Trial::test(trial.to_string(), move || run(trial)).with_kind("memory"));
    libtest_mimic::run(&Arguments::from_args(), tests.collect()).exit_code()
}
