//! A run that shall not outlive its watchers is cancelled by the last of them that goes, and only by that.

use std::sync::Arc;

use agentprovision::prelude::*;
use agentprovision::run::{OnDisconnect, Run, RunEventKind, RunStatus};
use agentprovision::testing::{Reply, ScriptedModel};
use futures_util::TryStreamExt;

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
