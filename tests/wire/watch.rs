//! A run that shall not outlive its watchers is cancelled by the last of them that goes, and only by that.

use std::sync::Arc;

use agentprovision::backend::{Backend, Stores};
use agentprovision::id::SignalId;
use agentprovision::prelude::*;
use agentprovision::run::{
    ClaimRequest, Created, Fence, JournalBatch, Lease, NewRun, OnDisconnect, Run, RunEventKind, RunStatus,
    RunStore, RunTx, Signal,
};
use agentprovision::testing::{Reply, ScriptedModel};
use agentprovision::{Effects, Timestamp};
use futures_util::TryStreamExt;
use tokio::sync::Notify;

use crate::support::{Home, home, in_time};

/// A model that says something and then nothing for ever, or answers.
async fn platform(reply: Reply) -> (Platform, Home, Context, agentprovision::id::AgentId) {
    let model = ScriptedModel::from_fn("m", move |_| reply.clone());
    let platform = Platform::builder().model("m", Arc::new(model)).build().await.unwrap();
    let acme = home(&platform, "acme").await;
    let (_, ctx) = acme.user(&platform, "ada", Role::AGENT_MANAGER).await;
    let agent = platform.agents().create(&ctx, AgentSpec::new("a").model("m")).await.unwrap();
    platform.agents().deploy(&ctx, agent.id).await.unwrap();
    (platform, acme, ctx, agent.id)
}

fn stalls() -> Reply {
    Reply::Stall("well ".into())
}

async fn until_text(run: &Run) -> agentprovision::run::RunEvents {
    let mut events = run.events();
    loop {
        let event = in_time(events.try_next()).await.unwrap().unwrap();
        if matches!(event.kind, RunEventKind::Text { .. }) {
            return events;
        }
    }
}

async fn end(platform: &Platform, ctx: &Context, run: agentprovision::id::RunId) -> RunStatus {
    let run = platform.runs().get(ctx, run).await.unwrap();
    in_time(run.wait()).await.unwrap().status()
}

#[tokio::test]
async fn the_last_watcher_that_goes_cancels_the_run() {
    let (platform, acme, ctx, agent) = platform(stalls()).await;
    let input = || RunInput::text("hi").on_disconnect(OnDisconnect::Cancel);

    let run = platform.runs().start(&ctx, agent, input()).await.unwrap();
    let first = until_text(&run).await;
    let second = until_text(&run).await;
    drop(first);
    // Somebody still watches: nothing is said to the run. A record that was changed would show it.
    tokio::task::yield_now().await;
    assert_eq!(run.record().await.unwrap().status, RunStatus::Running);
    drop(second);
    assert_eq!(end(&platform, &ctx, run.id()).await, RunStatus::Cancelled);

    let run = platform.runs().start(&ctx, agent, input()).await.unwrap();
    let id = run.id();
    drop(run.clone());
    let mut waiting = Box::pin(run.wait());
    assert!(futures_util::FutureExt::now_or_never(waiting.as_mut()).is_none());
    drop(waiting);
    assert_eq!(end(&platform, &ctx, id).await, RunStatus::Cancelled);

    let id = platform.runs().start(&ctx, agent, input()).await.unwrap().id();
    assert_eq!(end(&platform, &ctx, id).await, RunStatus::Cancelled, "a handle that nobody kept");

    let asked = platform.audit().entries(&acme.admin, 0, 500).await.unwrap();
    let asked = asked.iter().filter(|entry| entry.record().unwrap().action == "runs.cancel").count();
    assert_eq!(asked, 3, "one request each");
    platform.close().await.unwrap();
}

#[tokio::test]
async fn a_run_goes_on_unless_its_start_said_otherwise_and_an_ended_one_is_left_alone() {
    let (platform, acme, ctx, agent) = platform(stalls()).await;
    let run = platform.runs().start(&ctx, agent, RunInput::text("hi")).await.unwrap();
    drop(until_text(&run).await);
    let id = run.id();
    drop(run);
    assert_eq!(platform.runs().record(&ctx, id).await.unwrap().status, RunStatus::Running);
    platform.runs().cancel(&ctx, id).await.unwrap();
    assert_eq!(end(&platform, &ctx, id).await, RunStatus::Cancelled);
    platform.close().await.unwrap();
    drop(acme);

    let (platform, acme, ctx, agent) = self::platform(Reply::text("done")).await;
    let input = RunInput::text("hi").on_disconnect(OnDisconnect::Cancel);
    let run = platform.runs().start(&ctx, agent, input).await.unwrap();
    assert_eq!(in_time(run.wait()).await.unwrap().status(), RunStatus::Completed);
    drop(run);
    let asked = platform.audit().entries(&acme.admin, 0, 500).await.unwrap();
    let asked = asked.iter().any(|entry| entry.record().unwrap().action == "runs.cancel");
    assert!(!asked, "nobody asks for the end of a run that is over");
    platform.close().await.unwrap();
}

#[tokio::test]
async fn who_may_not_cancel_cannot_say_so_at_the_start() {
    let (platform, acme, ctx, agent) = platform(stalls()).await;
    let needed =
        [agentprovision::authz::Permission::AGENTS_RUN, agentprovision::authz::Permission::RUNS_READ];
    let request = agentprovision::tenancy::identity::ApiKeyRequest::new("bot").scopes(needed);
    let key = platform.keys().create(&ctx, request).await.unwrap();
    let credentials = agentprovision::context::Credentials::ApiKey(key.secret);
    let limited = platform.authenticate(&credentials).await.unwrap();
    let input = RunInput::text("hi").on_disconnect(OnDisconnect::Cancel);
    let error = platform.runs().start(&limited, agent, input).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let runs = platform.runs().list(&acme.admin, Default::default()).await.unwrap();
    assert!(runs.items.is_empty(), "nothing was started");
    platform.close().await.unwrap();
}

/// A store whose starts are committed and then take their time to say so.
#[derive(Debug)]
struct Slow {
    inner: Arc<dyn Backend>,
    runs: Arc<SlowRuns>,
}

#[derive(Debug)]
struct SlowRuns {
    inner: Arc<dyn RunStore>,
    committed: Notify,
    go_on: Notify,
}

#[async_trait::async_trait]
impl Backend for Slow {
    fn stores(&self) -> Stores {
        Stores { runs: self.runs.clone(), ..self.inner.stores() }
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

#[async_trait::async_trait]
impl RunStore for SlowRuns {
    async fn create(&self, ctx: &Context, run: NewRun, effects: Effects) -> Result<Created> {
        let created = self.inner.create(ctx, run, effects).await;
        self.committed.notify_one();
        self.go_on.notified().await;
        created
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Lease>> {
        self.inner.claim(request).await
    }

    async fn woken(&self) {
        self.inner.woken().await;
    }

    async fn renew(&self, fence: &Fence, until: Timestamp) -> Result<Vec<(SignalId, Signal)>> {
        self.inner.renew(fence, until).await
    }

    async fn commit(&self, fence: &Fence, batch: JournalBatch, effects: Effects) -> Result<u64> {
        self.inner.commit(fence, batch, effects).await
    }

    async fn begin(&self, fence: &Fence) -> Result<Box<dyn RunTx>> {
        self.inner.begin(fence).await
    }
}

/// The clock stands still, so a run that nobody drives would never be taken up by anybody else.
#[tokio::test]
async fn a_start_that_is_given_up_after_its_commit_is_driven_or_cancelled_as_it_said() {
    for (then, status) in
        [(OnDisconnect::Continue, RunStatus::Completed), (OnDisconnect::Cancel, RunStatus::Cancelled)]
    {
        let start = r#"{"start": "2026-01-01T00:00:00Z", "seed": 1}"#;
        let (env, _) = agentprovision::wire::testing::env(start).unwrap();
        let reply = if then == OnDisconnect::Continue { Reply::text("done") } else { stalls() };
        let model = ScriptedModel::from_fn("m", move |_| reply.clone());
        let inner: Arc<dyn Backend> = Arc::new(agentprovision::MemoryDb::new(env.clone()));
        let runs = SlowRuns { inner: inner.stores().runs, committed: Notify::new(), go_on: Notify::new() };
        let slow = Arc::new(Slow { inner, runs: Arc::new(runs) });
        let platform = Platform::builder()
            .env(env)
            .backend(slow.clone())
            .model("m", Arc::new(model))
            .build()
            .await
            .unwrap();
        let acme = home(&platform, "acme").await;
        let agent = platform.agents().create(&acme.admin, AgentSpec::new("a").model("m")).await.unwrap();
        platform.agents().deploy(&acme.admin, agent.id).await.unwrap();
        let input = RunInput::text("hi").on_disconnect(then);
        let mut start = Box::pin(platform.runs().start(&acme.admin, agent.id, input));
        tokio::select! {
            biased;
            _ = &mut start => panic!("the store has not answered yet"),
            () = slow.runs.committed.notified() => {}
        }
        drop(start);
        slow.runs.go_on.notify_one();
        let runs = platform.runs().list(&acme.admin, Default::default()).await.unwrap().items;
        assert_eq!(end(&platform, &acme.admin, runs[0].id).await, status, "{then:?}");
        platform.close().await.unwrap();
    }
}
