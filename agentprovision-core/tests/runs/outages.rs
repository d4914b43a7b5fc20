//! A store, and whoever knows the grants, that go away for a while: no tool fails of it, and none is called too often.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentprovision_core::access::Principals;
use agentprovision_core::agent::AgentSpec;
use agentprovision_core::error::Retry;
use agentprovision_core::id::{SignalId, TenantId, UserId};
use agentprovision_core::run::{
    ClaimRequest, Created, Engine, EngineOptions, Fence, JournalBatch, Lease, LocalEngine, NewRun, Outcome,
    RunInput, RunStatus, RunStore, RunTx, Runs, Signal,
};
use agentprovision_core::testing::{Reply, ScriptedModel};
use agentprovision_core::tool::{Effect, SqlTx, SqlValue, ToolCall, TxHandle, tool};
use agentprovision_core::{Context, Effects, Error, ErrorKind, Result, Timestamp};
use async_trait::async_trait;
use serde_json::json;

use crate::support::{in_time, world_with};

/// How often each thing goes wrong before it goes well.
#[derive(Clone, Copy, Default)]
struct Outages {
    grants: u32,
    begins: u32,
    statements: u32,
    /// Commits that are done, and nobody can tell.
    commits: u32,
}

/// What is left of it.
#[derive(Debug, Default)]
struct Left {
    grants: AtomicU32,
    begins: AtomicU32,
    statements: AtomicU32,
    commits: AtomicU32,
}

/// Whether it goes wrong once more.
fn once_more(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

fn away() -> Error {
    Error::new(ErrorKind::Unavailable, "away").with_retry(Retry::After(Duration::from_secs(1)))
}

#[derive(Debug)]
struct Grants(Arc<dyn Principals>, Arc<Left>);

#[async_trait]
impl Principals for Grants {
    async fn context(&self, tenant: TenantId, user: UserId) -> Result<Context> {
        if once_more(&self.1.grants) { Err(away()) } else { self.0.context(tenant, user).await }
    }
}

#[derive(Debug)]
struct Store(Arc<dyn RunStore>, Arc<Left>);

#[async_trait]
impl RunStore for Store {
    async fn create(&self, ctx: &Context, run: NewRun, effects: Effects) -> Result<Created> {
        self.0.create(ctx, run, effects).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Lease>> {
        self.0.claim(request).await
    }

    async fn woken(&self) {
        self.0.woken().await;
    }

    async fn renew(&self, fence: &Fence, until: Timestamp) -> Result<Vec<(SignalId, Signal)>> {
        self.0.renew(fence, until).await
    }

    async fn commit(&self, fence: &Fence, batch: JournalBatch, effects: Effects) -> Result<u64> {
        self.0.commit(fence, batch, effects).await
    }

    async fn begin(&self, fence: &Fence) -> Result<Box<dyn RunTx>> {
        if once_more(&self.1.begins) {
            return Err(away());
        }
        let lost = once_more(&self.1.statements);
        Ok(Box::new(Tx { inner: self.0.begin(fence).await?, left: self.1.clone(), lost }))
    }
}

#[derive(Debug)]
struct Tx {
    inner: Box<dyn RunTx>,
    left: Arc<Left>,
    lost: bool,
}

#[async_trait]
impl RunTx for Tx {
    fn handle(&self) -> TxHandle {
        TxHandle::new(Arc::new(Statements { lost: self.lost }))
    }

    async fn commit(self: Box<Self>, batch: JournalBatch, effects: Effects) -> Result<u64> {
        let done = self.inner.commit(batch, effects).await;
        if once_more(&self.left.commits) {
            return Err(Error::new(ErrorKind::Uncertain, "the answer was lost"));
        }
        done
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        let ended = self.inner.rollback().await;
        if self.lost { Err(Error::closed("the transaction of the step has ended")) } else { ended }
    }
}

#[derive(Debug)]
struct Statements {
    lost: bool,
}

#[async_trait]
impl SqlTx for Statements {
    async fn execute(&self, _: &str, _: &[SqlValue]) -> Result<u64> {
        if self.lost { Err(away()) } else { Ok(1) }
    }

    async fn query(&self, _: &str, _: &[SqlValue]) -> Result<Vec<Vec<SqlValue>>> {
        Ok(Vec::new())
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Nothing {}

/// A run with one call of a tool, and how often that was made. Outages begin once the model has asked for it.
async fn run(effect: Effect, outages: Outages) -> (Outcome, u32) {
    let (left, calls) = (Arc::new(Left::default()), Arc::new(Mutex::new(Vec::new())));
    let begins = left.clone();
    let model = ScriptedModel::from_fn("m", move |request| match ScriptedModel::tool_results(request) {
        0 => {
            begins.grants.store(outages.grants, Ordering::SeqCst);
            begins.begins.store(outages.begins, Ordering::SeqCst);
            begins.statements.store(outages.statements, Ordering::SeqCst);
            begins.commits.store(outages.commits, Ordering::SeqCst);
            Reply::tool("act", json!({}))
        }
        _ => Reply::text("done"),
    });
    let called = calls.clone();
    let act = tool("act", "Acts", move |call: ToolCall, _: Nothing| {
        called.lock().unwrap().push(call.idempotency_key().to_owned());
        async move {
            if effect == Effect::Transactional {
                call.tx()?.execute("UPDATE things SET done = 1 WHERE tenant_id = $1", &[]).await?;
            }
            Result::Ok("acted")
        }
    });
    // The engine of the world leaves every run to the one that has the outages.
    let mut options = EngineOptions::default();
    options.max_runs = 0;
    let world = world_with(options, [Arc::new(model) as _], [Arc::new(act.effect(effect)) as _]).await;
    let agent = world.deploy(AgentSpec::new("a").model("m").tools(["act"])).await;
    let mut parts = world.parts.clone();
    parts.options = EngineOptions::default();
    parts.stores.runs = Arc::new(Store(parts.stores.runs.clone(), left.clone()));
    parts.principals = Arc::new(Grants(parts.principals.clone(), left));
    let engine = LocalEngine::start(parts);
    let runs = Runs::new(&engine);
    let run = runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    let clock = world.clock.clone();
    let mover = tokio::spawn(async move {
        loop {
            clock.advance(Duration::from_millis(100));
            tokio::task::yield_now().await;
        }
    });
    let outcome = in_time(run.wait()).await.unwrap();
    mover.abort();
    let calls = calls.lock().unwrap().clone();
    assert!(calls.iter().collect::<BTreeSet<_>>().len() <= 1, "called under several keys: {calls:?}");
    let closing = engine.clone();
    tokio::join!(async { closing.close().await }, world.stop());
    (outcome, calls.len() as u32)
}

/// The step of the tool in a run that is over.
fn acted(outcome: &Outcome) -> bool {
    assert_eq!(outcome.record().status, RunStatus::Completed);
    let step = outcome.chain().steps.iter().find(|step| step.name == "act").unwrap();
    step.error.is_none()
}

#[tokio::test]
async fn grants_that_cannot_be_read_are_asked_for_again() {
    for effect in [Effect::Pure, Effect::Idempotent, Effect::Transactional, Effect::Unsafe] {
        let (outcome, calls) = run(effect, Outages { grants: 3, ..Outages::default() }).await;
        assert!(acted(&outcome), "{effect:?}");
        assert_eq!(calls, 1, "{effect:?}");
    }
}

#[tokio::test]
async fn a_transaction_that_cannot_begin_is_waited_for() {
    let (outcome, calls) = run(Effect::Transactional, Outages { begins: 5, ..Outages::default() }).await;
    assert!(acted(&outcome));
    assert_eq!(calls, 1);
}

#[tokio::test]
async fn a_tool_whose_transaction_was_lost_is_called_again_but_not_for_ever() {
    let (outcome, calls) = run(Effect::Transactional, Outages { statements: 3, ..Outages::default() }).await;
    assert!(acted(&outcome));
    assert_eq!(calls, 4);
    let (outcome, calls) = run(Effect::Transactional, Outages { statements: 9, ..Outages::default() }).await;
    assert!(!acted(&outcome));
    assert_eq!(calls, 4);
}

#[tokio::test]
async fn a_commit_nobody_can_tell_of_is_read_from_the_journal() {
    let (outcome, calls) = run(Effect::Transactional, Outages { commits: 1, ..Outages::default() }).await;
    assert!(acted(&outcome));
    assert_eq!(calls, 1);
}
