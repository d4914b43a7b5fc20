//! Runs the conformance suite on the stores behind URLs, each trial as a test of its own.
//!
//! A store this build or this machine does not have shows its trials as ignored.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use agentprovision_core::clock::{ManualClock, OsEntropy};
use agentprovision_core::conformance::{self, Opening, Subject, Trial};
use agentprovision_core::{Env, Timestamp};
use agentprovision_tenancy::store;
use libtest_mimic::{Arguments, Failed};

/// Longer than any trial takes by far.
const WATCHDOG: Duration = Duration::from_secs(30);

/// A kind of store.
#[derive(Clone, Copy)]
struct Target {
    name: &'static str,
    open: fn() -> Opening,
    /// Whether there is such a store here.
    there: bool,
}

/// Names a PostgreSQL server for tests; `cargo xtask test` starts one.
const POSTGRES: &str = "AGENTPROVISION_TEST_POSTGRES_URL";

fn targets() -> [Target; 4] {
    let server =
        cfg!(all(feature = "store-postgres", feature = "testing")) && std::env::var_os(POSTGRES).is_some();
    [
        Target { name: "sqlite", open: sqlite, there: cfg!(feature = "store-sqlite") },
        Target { name: "postgres", open: postgres, there: server },
        Target { name: "placed-sqlite", open: placed_sqlite, there: cfg!(feature = "store-sqlite") },
        Target { name: "placed-both", open: placed_both, there: server && cfg!(feature = "store-sqlite") },
    ]
}

/// A new database, which goes with the subject.
fn postgres() -> Opening {
    Box::pin(async {
        #[cfg(all(feature = "store-postgres", feature = "testing"))]
        {
            let server = std::env::var(POSTGRES).unwrap_or_default();
            let database = store::postgres::TestDatabase::create(&server).await?;
            let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
            let env = Env::new(Arc::new(clock.clone()), Arc::new(OsEntropy));
            let backend = store::connect(database.url(), env.clone()).await?;
            Ok(Subject::new(backend, env, clock).keeping(database))
        }
        #[cfg(not(all(feature = "store-postgres", feature = "testing")))]
        Err(agentprovision_core::Error::unsupported("this build has no PostgreSQL"))
    })
}

/// Tenants on two files.
fn placed_sqlite() -> Opening {
    placed(|folder| Box::pin(async move { Ok((file(&folder, "two"), None)) }))
}

/// Tenants on a file and a database.
fn placed_both() -> Opening {
    placed(|_| {
        Box::pin(async {
            #[cfg(all(feature = "store-postgres", feature = "testing"))]
            {
                let server = std::env::var(POSTGRES).unwrap_or_default();
                let database = store::postgres::TestDatabase::create(&server).await?;
                Ok((database.url().to_owned(), Some(Box::new(database) as Keep)))
            }
            #[cfg(not(all(feature = "store-postgres", feature = "testing")))]
            Err(agentprovision_core::Error::unsupported("this build has no PostgreSQL"))
        })
    })
}

/// What is dropped after a subject.
type Keep = Box<dyn std::any::Any + Send + Sync>;
/// The URL of a second shard.
type Second = futures_util::future::BoxFuture<'static, agentprovision_core::Result<(String, Option<Keep>)>>;

fn file(folder: &std::path::Path, name: &str) -> String {
    format!("sqlite://{}", folder.join(format!("{name}.db")).display())
}

#[cfg(any(feature = "store-sqlite", feature = "store-postgres"))]
fn placed(second: fn(std::path::PathBuf) -> Second) -> Opening {
    use agentprovision_tenancy::placement::{PlacedBackend, Shard};
    Box::pin(async move {
        let folder = tempfile::tempdir().map_err(|error| {
            agentprovision_core::Error::internal("no temporary folder").with_source(error)
        })?;
        let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
        let env = Env::new(Arc::new(clock.clone()), Arc::new(OsEntropy));
        let (url, keep) = second(folder.path().to_owned()).await?;
        let shards = vec![Shard::new("one", file(folder.path(), "one")), Shard::new("two", url)];
        let backend = PlacedBackend::open(shards, env.clone()).await?;
        Ok(Subject::new(Arc::new(backend), env, clock).keeping((folder, keep)))
    })
}

#[cfg(not(any(feature = "store-sqlite", feature = "store-postgres")))]
fn placed(_: fn(std::path::PathBuf) -> Second) -> Opening {
    Box::pin(async { Err(agentprovision_core::Error::unsupported("this build has no databases")) })
}

/// A new file in a folder of its own, which goes with the subject.
fn sqlite() -> Opening {
    Box::pin(async {
        let folder = tempfile::tempdir().map_err(|error| {
            agentprovision_core::Error::internal("no temporary folder").with_source(error)
        })?;
        let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
        let env = Env::new(Arc::new(clock.clone()), Arc::new(OsEntropy));
        let url = format!("sqlite://{}", folder.path().join("trial.db").display());
        let backend = store::connect(&url, env.clone()).await?;
        Ok(Subject::new(backend, env, clock).keeping(folder))
    })
}

fn run(target: Target, trial: Trial) -> Result<(), Failed> {
    let (done, outcome) = mpsc::channel();
    std::thread::spawn(move || {
        let outcome = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
        {
            Ok(runtime) => runtime.block_on(trial.run(&target.open)).map_err(Failed::from),
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
    let mut tests = Vec::new();
    for target in targets() {
        for trial in conformance::trials() {
            let test = libtest_mimic::Trial::test(trial.to_string(), move || run(target, trial));
            tests.push(test.with_kind(target.name).with_ignored_flag(!target.there));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}
