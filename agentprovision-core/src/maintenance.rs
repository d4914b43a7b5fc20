//! Work that one process at a time does for all of them: handing events over, putting audit records into their logs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::clock::Env;
use crate::error::Result;
use crate::id::WorkerId;

/// How long a duty stays with a process that is not heard of any more.
const TERM: Duration = Duration::from_secs(5);

/// How often there is a look for work when there was none.
pub(crate) const POLL: Duration = Duration::from_millis(250);

/// Work above tenants that one worker at a time has the duty of.
///
/// A duty spares work; it keeps nobody out. What is done under it must stay right when two do it for a moment, as may
/// happen when clocks jump.
#[async_trait]
pub trait MaintenanceStore: fmt::Debug + Send + Sync + 'static {
    /// Takes up a duty for `term`, or keeps it for another `term`. `false` while another worker has it.
    ///
    /// Terms are measured by one clock: that of the database, where it has one.
    async fn hold(&self, duty: Duty, worker: WorkerId, term: Duration) -> Result<bool>;
    /// Gives a duty back, so that another worker may take it up at once. Harmless without the duty.
    async fn give_back(&self, duty: Duty, worker: WorkerId) -> Result<()>;
    /// Whether audit records wait for their place in a log. A store that gives them their places by itself says `false`.
    async fn unsequenced(&self) -> Result<bool>;
    /// Moves what waits into its logs, gap-free, each log in a transaction of its own.
    async fn sequence(&self) -> Result<()>;
}

/// What one worker at a time does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Duty {
    /// Handing events over to the sinks.
    Relay,
    /// Putting audit records into their logs.
    Sequencer,
}

impl Duty {
    /// The name it is stored under.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Sequencer => "sequencer",
        }
    }
}

/// A process's part in a duty: it has it, or sees whether it can take it up.
#[derive(Debug)]
pub struct OnDuty {
    store: Arc<dyn MaintenanceStore>,
    env: Env,
    duty: Duty,
    worker: WorkerId,
    /// Until when, by the monotonic clock, nobody else takes it up.
    until: Option<Duration>,
}

impl OnDuty {
    /// A worker of its own that does not have the duty yet.
    pub fn new(store: Arc<dyn MaintenanceStore>, env: Env, duty: Duty) -> Self {
        let worker = env.id();
        Self { store, env, duty, worker, until: None }
    }

    /// Whether this process has the duty now; takes it up, or keeps it, where it can. Asks the store only when the rest of
    /// the term is short.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn is_ours(&mut self) -> Result<bool> {
        let now = self.env.monotonic();
        if self.until.is_some_and(|until| until.saturating_sub(now) > TERM / 2) {
            return Ok(true);
        }
        // The term begins before the store has heard of it.
        let held = self.store.hold(self.duty, self.worker, TERM).await;
        self.until = matches!(held, Ok(true)).then_some(now + TERM);
        held
    }

    /// Gives the duty back, if it was ever taken up.
    pub async fn end(self) {
        if self.until.is_some()
            && let Err(error) = self.store.give_back(self.duty, self.worker).await
        {
            tracing::debug!(?error, duty = self.duty.name(), "a duty stays taken until its term ends");
        }
    }
}

/// Puts audit records into their logs, with the duty [`Duty::Sequencer`], until `closing` fires, where the store does not do so by itself; one process at a
/// time does it.
pub async fn sequencer(mut duty: OnDuty, closing: CancellationToken) {
    let (store, env) = (duty.store.clone(), duty.env.clone());
    loop {
        let look = async {
            if store.unsequenced().await? && duty.is_ours().await? {
                store.sequence().await?;
            }
            Ok(())
        };
        let looked: Option<Result<()>> = tokio::select! {
            biased;
            looked = look => Some(looked),
            () = closing.cancelled() => None,
        };
        let wait = match looked {
            None => break,
            Some(Ok(())) => POLL,
            Some(Err(error)) => {
                tracing::warn!(error = ?error, "audit records could not be put into their logs");
                POLL * 4
            }
        };
        tokio::select! {
            biased;
            () = closing.cancelled() => break,
            () = env.sleep(wait) => {}
        }
    }
    duty.end().await;
}
