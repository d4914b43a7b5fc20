//! A process of the storm: it takes deliveries, works on them, and ends at its step.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agentprovision::connectors::webhook::{HandledDelivery, ReceiverOptions, WebhookHandler, WorkOptions};
use agentprovision::prelude::*;
use agentprovision::testing::{FaultBackend, FaultPoint};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::platform;
use crate::support::aftermath::connect;
use crate::support::hooks::{self, Point};
use crate::support::victim::{note, say};

/// The environment variable that makes a process one of those that end.
pub(super) const SCENARIO: &str = "AGENTPROVISION_STORM_SCENARIO";

/// Where a process ends: at the n-th time that it comes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Step {
    /// Before the delivery is written.
    BeforeKept,
    /// After that, and before its acknowledgement.
    AfterKept,
    /// After deliveries were taken to be worked on.
    AfterClaim,
    /// Before the host's handler has done anything.
    BeforeHandled,
    /// When it has.
    AfterHandled,
    /// Before a run is started or goes on.
    BeforeRun,
    /// After that.
    AfterRun,
    /// Between the effects and the end of a delivery, with which its event is committed.
    BeforeFinish,
    /// After that.
    AfterFinish,
}

/// What a process is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Scenario {
    pub(super) store: String,
    /// The file of what the host's handler did.
    pub(super) log: PathBuf,
    pub(super) ends: Option<(Step, u64)>,
}

/// Ends the process at its step.
#[derive(Debug)]
struct Trap {
    ends: Option<(Step, u64)>,
    passed: AtomicU64,
}

impl Trap {
    fn reached(&self, step: Step) {
        let Some((at, times)) = self.ends else { return };
        if step == at && self.passed.fetch_add(1, Ordering::SeqCst) + 1 == times {
            std::process::abort();
        }
    }
}

/// What the host does about a delivery: it writes it down where no transaction takes it back.
#[derive(Debug)]
struct Host {
    trap: Arc<Trap>,
    log: PathBuf,
}

#[async_trait]
impl WebhookHandler for Host {
    async fn handle(&self, _: &Context, delivery: &HandledDelivery<'_>) -> Result<()> {
        self.trap.reached(Step::BeforeHandled);
        note(&self.log, &format!("{} {}\n", delivery.id, delivery.event.delivery_id));
        self.trap.reached(Step::AfterHandled);
        Ok(())
    }
}

/// Not a test of its own: a process of the storm. Without a scenario it has nothing to do.
#[test]
fn child() {
    let Ok(scenario) = std::env::var(SCENARIO) else { return };
    let scenario: Scenario = serde_json::from_str(&scenario).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(live(scenario));
}

async fn live(scenario: Scenario) {
    let Scenario { store, log, ends } = scenario;
    let trap = Arc::new(Trap { ends, passed: AtomicU64::new(0) });
    let in_inbox = trap.clone();
    let trapped = hooks::Around::new(connect(&store).await, move |point| {
        match point {
            Point::BeforeAccept => in_inbox.reached(Step::BeforeKept),
            Point::AfterAccept => in_inbox.reached(Step::AfterKept),
            Point::BeforeClaim => {}
            Point::AfterClaim => in_inbox.reached(Step::AfterClaim),
            Point::BeforeFinish => in_inbox.reached(Step::BeforeFinish),
            Point::AfterFinish(id) => {
                in_inbox.reached(Step::AfterFinish);
                say(format_args!("over {id}"));
            }
        }
        Ok(())
    });
    let in_runs = trap.clone();
    let backend = FaultBackend::new(Arc::new(trapped), move |point| match point {
        FaultPoint::Before(_) => in_runs.reached(Step::BeforeRun),
        FaultPoint::After(_) => in_runs.reached(Step::AfterRun),
    });
    let backend = Arc::new(backend);
    let platform = platform(backend.clone()).await;
    let webhooks = platform.webhooks().clone();
    let closing = CancellationToken::new();
    let mut options = WorkOptions::default();
    // What a process that ended has held is taken up soon.
    (options.term, options.poll) = (Duration::from_secs(4), Duration::from_millis(100));
    let host: Arc<dyn WebhookHandler> = Arc::new(Host { trap, log });
    let work = tokio::spawn({
        let (webhooks, closing) = (webhooks.clone(), closing.clone());
        async move { webhooks.work(options, vec![host], closing).await }
    });
    let url = hooks::serve(webhooks.receiver(ReceiverOptions::default())).await;
    say(format_args!("at {url}"));
    // Until nobody is there to say something any more.
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()).unwrap()).await.unwrap();
    closing.cancel();
    work.await.unwrap();
    platform.close().await.unwrap();
}
