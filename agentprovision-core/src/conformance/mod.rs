//! One conformance suite per store contract, for whoever writes a [`Backend`].
//!
//! A backend is right when every [`Trial`] of [`trials`] passes on it. Each trial asks its factory for a [`Subject`]: an
//! empty backend whose time is a [`ManualClock`]. A trial never panics by itself; it says what it expected and what it
//! saw as a [`Failure`]. Trials wait for nothing but the backend, so a runner should put a limit on each.
//!
//! ```
//! use std::sync::Arc;
//! use agentprovision_core::clock::{ManualClock, OsEntropy};
//! use agentprovision_core::conformance::{self, Subject};
//! use agentprovision_core::{Env, MemoryDb, Timestamp};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let memory = || -> conformance::Opening {
//!     Box::pin(async {
//!         let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
//!         let env = Env::new(Arc::new(clock.clone()), Arc::new(OsEntropy));
//!         Ok(Subject::new(Arc::new(MemoryDb::new(env.clone())), env, clock))
//!     })
//! };
//! for trial in conformance::trials().iter().filter(|trial| trial.contract() == "SessionStore") {
//!     if let Err(failure) = trial.run(&memory).await {
//!         panic!("{trial}: {failure}");
//!     }
//! }
//! # }
//! ```

mod agents;
mod api_keys;
mod archives;
mod audit;
mod backend;
mod backups;
mod changes;
mod check;
mod effects;
mod endpoints;
mod events;
mod idempotency;
mod inbox;
mod inbox_claim;
mod inbox_end;
mod integrations;
mod maintenance;
mod quota;
mod records;
mod run_index;
mod run_tx;
mod runs;
mod runs_claim;
mod runs_turns;
mod secrets;
mod sessions;
mod snapshot;
mod tenants;
mod tenants_delete;
mod usage;
mod users;
mod world;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::backend::Backend;
use crate::clock::{Env, ManualClock};
use crate::error::Result;

pub use check::{Failure, Outcome};
use world::World;

/// What a trial runs on: an empty backend and the clock that is its time.
pub struct Subject {
    backend: Arc<dyn Backend>,
    env: Env,
    clock: ManualClock,
    keep: Option<Box<dyn Any + Send + Sync>>,
}

impl Subject {
    /// An empty backend whose time is `clock`; `env` is over the same clock, and where the trial takes its ids from.
    pub fn new(backend: Arc<dyn Backend>, env: Env, clock: ManualClock) -> Self {
        Self { backend, env, clock, keep: None }
    }

    /// The same subject, with something that is dropped after the backend: a folder, a database that is removed.
    #[must_use]
    pub fn keeping(mut self, what: impl Any + Send + Sync) -> Self {
        self.keep = Some(Box::new(what));
        self
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("backend", &self.backend).finish_non_exhaustive()
    }
}

/// A subject being opened.
pub type Opening = BoxFuture<'static, Result<Subject>>;

type Run = fn(World) -> BoxFuture<'static, Outcome>;

/// One rule of a contract, as something to run.
#[derive(Clone, Copy)]
pub struct Trial {
    contract: &'static str,
    name: &'static str,
    run: Run,
}

impl Trial {
    const fn new(contract: &'static str, name: &'static str, run: Run) -> Self {
        Self { contract, name, run }
    }

    /// The contract the rule belongs to, by the name of its trait.
    pub fn contract(&self) -> &'static str {
        self.contract
    }

    /// The rule, in words joined by underscores; unique within the contract.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs the trial on a new subject.
    ///
    /// # Errors
    /// What was expected and what was seen instead; or that the subject could not be opened.
    pub async fn run(&self, factory: &(dyn Fn() -> Opening + Send + Sync)) -> Outcome {
        let subject = factory().await.map_err(|error| Failure::of("open a backend", &error))?;
        (self.run)(World::new(subject)?).await
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.contract, self.name)
    }
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Every trial of every contract.
pub fn trials() -> Vec<Trial> {
    [
        tenants::TRIALS,
        tenants_delete::TRIALS,
        users::TRIALS,
        api_keys::TRIALS,
        agents::TRIALS,
        runs::TRIALS,
        runs_claim::TRIALS,
        runs_turns::TRIALS,
        run_tx::TRIALS,
        run_index::TRIALS,
        sessions::TRIALS,
        secrets::TRIALS,
        integrations::TRIALS,
        idempotency::TRIALS,
        endpoints::TRIALS,
        inbox::TRIALS,
        inbox_claim::TRIALS,
        inbox_end::TRIALS,
        audit::TRIALS,
        usage::TRIALS,
        quota::TRIALS,
        events::TRIALS,
        effects::TRIALS,
        archives::TRIALS,
        backups::TRIALS,
        changes::TRIALS,
        maintenance::TRIALS,
        backend::TRIALS,
    ]
    .concat()
}

/// The trials of a file: a function that is not named here is dead code, which the compiler tells.
macro_rules! suite {
    ($contract:literal: $($name:ident,)*) => {
        pub(super) const TRIALS: &[super::Trial] =
            &[$(super::Trial::new($contract, stringify!($name), |world| Box::pin($name(world))),)*];
    };
}
use suite;
