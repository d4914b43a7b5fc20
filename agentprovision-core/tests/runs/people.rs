//! What people say to runs: approvals, cancellation, sessions, suspension.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use agentprovision_core::agent::{AgentSpec, Behaviour};
use agentprovision_core::id::ApprovalId;
use agentprovision_core::model::{ChatModel, Content, Message};
use agentprovision_core::run::{Answer, PayloadHash, Run, RunEventKind, RunInput, RunStatus, StepKind};
use agentprovision_core::tenant::TenantState;
use agentprovision_core::testing::{Reply, ScriptedModel};
use agentprovision_core::tool::{Approval, Effect, Tool, ToolCall, tool};
use agentprovision_core::{ErrorKind, Result};
use futures_util::TryStreamExt;
use serde_json::json;

use crate::support::{in_time, world};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Refund {
    order: String,
}

fn refund(calls: &Arc<AtomicU32>) -> Arc<dyn Tool> {
    let calls = calls.clone();
    Arc::new(
        tool("refund", "Pays an order back", move |_: ToolCall, input: Refund| {
            let calls = calls.clone();
            async move {
                calls.fetch_add(1, Ordering::SeqCst);
                Result::Ok(format!("refunded {}", input.order))
            }
        })
        .approval(Approval::Always),
    )
}

fn spec() -> AgentSpec {
    AgentSpec::new("desk").instructions("Help.").model("m").tools(["refund"])
}

async fn asked(run: &Run, skip: usize) -> (ApprovalId, PayloadHash) {
    let mut events = run.events();
    let mut seen = 0;
    loop {
        let event = in_time(events.try_next()).await.unwrap().expect("the run asks");
        if let RunEventKind::ApprovalRequested { approval, args_hash, .. } = event.kind {
            if seen == skip {
                return (approval, args_hash);
            }
            seen += 1;
        }
    }
}

async fn status(run: &Run, wanted: RunStatus) {
    in_time(async {
        while run.record().await.unwrap().status != wanted {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn four_approvals_in_a_row_each_run_their_call_once() {
    let calls = Arc::new(AtomicU32::new(0));
    let model = ScriptedModel::from_fn("m", |request| match ScriptedModel::tool_results(request) {
        4 => Reply::text("all refunded"),
        n => Reply::tool("refund", json!({"order": format!("{n}")})),
    });
    let world = world([Arc::new(model) as Arc<dyn ChatModel>], [refund(&calls)]).await;
    let agent = world.deploy(spec()).await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    for n in 0..4 {
        let (approval, hash) = asked(&run, n).await;
        status(&run, RunStatus::Waiting).await;
        assert_eq!(calls.load(Ordering::SeqCst), n as u32);
        let other = PayloadHash::from_bytes([7; 32]);
        let error =
            world.runs.approve(&world.ctx, run.id(), approval, other, Answer::Approve).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "an approval is bound to its arguments");
        world.runs.approve(&world.ctx, run.id(), approval, hash, Answer::Approve).await.unwrap();
        // A second answer is a no-op, the opposite one too.
        let again = world.runs.approve(&world.ctx, run.id(), approval, hash, Answer::Deny).await;
        assert!(again.is_ok() || again.unwrap_err().kind() == ErrorKind::Conflict);
    }
    let outcome = in_time(run.wait()).await.unwrap();
    assert_eq!(outcome.text().unwrap(), "all refunded");
    assert_eq!(calls.load(Ordering::SeqCst), 4);
    world.stop().await;
}

#[tokio::test]
async fn a_denied_call_is_not_made_and_the_model_is_told() {
    let calls = Arc::new(AtomicU32::new(0));
    let model = Arc::new(ScriptedModel::new(
        "m",
        [Reply::tool("refund", json!({"order": "1"})), Reply::text("as you wish")],
    ));
    let world = world([model.clone() as Arc<dyn ChatModel>], [refund(&calls)]).await;
    let agent = world.deploy(spec()).await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    let (approval, hash) = asked(&run, 0).await;
    world.runs.approve(&world.ctx, run.id(), approval, hash, Answer::Deny).await.unwrap();
    assert_eq!(in_time(run.wait()).await.unwrap().text().unwrap(), "as you wish");
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    assert!(matches!(&model.requests()[1].messages[..], [.., Message::Tool { is_error: true, .. }]));
    world.stop().await;
}

#[tokio::test]
async fn cancel_fires_the_tools_token_and_nothing_runs_after_it() {
    let stopped = Arc::new(AtomicU32::new(0));
    let seen = stopped.clone();
    let slow = tool("refund", "Waits for its token", move |call: ToolCall, _: Refund| {
        let seen = seen.clone();
        async move {
            call.cancel().cancelled().await;
            seen.fetch_add(1, Ordering::SeqCst);
            Result::Ok("stopped in time")
        }
    })
    .effect(Effect::Idempotent);
    let model = Arc::new(ScriptedModel::from_fn("m", |_| Reply::tool("refund", json!({"order": "1"}))));
    let world = world([model.clone() as Arc<dyn ChatModel>], [Arc::new(slow) as Arc<dyn Tool>]).await;
    let agent = world.deploy(spec()).await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    let mut events = run.events();
    loop {
        let event = in_time(events.try_next()).await.unwrap().unwrap();
        if matches!(event.kind, RunEventKind::StepStarted { kind: StepKind::Tool, .. }) {
            break;
        }
    }
    run.cancel().await.unwrap();
    let outcome = in_time(run.wait()).await.unwrap();
    assert_eq!(outcome.status(), RunStatus::Cancelled);
    assert_eq!(stopped.load(Ordering::SeqCst), 1);
    assert_eq!(model.requests().len(), 1, "the model was not asked again");
    assert_eq!(run.cancel().await.unwrap_err().kind(), ErrorKind::Conflict);
    world.stop().await;
}

#[tokio::test]
async fn cancel_ends_a_run_that_waits_for_a_person() {
    let calls = Arc::new(AtomicU32::new(0));
    let model = ScriptedModel::from_fn("m", |_| Reply::tool("refund", json!({"order": "1"})));
    let world = world([Arc::new(model) as Arc<dyn ChatModel>], [refund(&calls)]).await;
    let agent = world.deploy(spec()).await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    status(&run, RunStatus::Waiting).await;
    run.cancel().await.unwrap();
    assert_eq!(in_time(run.wait()).await.unwrap().status(), RunStatus::Cancelled);
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    world.stop().await;
}

#[tokio::test]
async fn a_run_that_waits_for_a_person_ends_at_its_deadline() {
    let calls = Arc::new(AtomicU32::new(0));
    let model = ScriptedModel::from_fn("m", |_| Reply::tool("refund", json!({"order": "1"})));
    let world = world([Arc::new(model) as Arc<dyn ChatModel>], [refund(&calls)]).await;
    let agent = world.deploy(spec()).await;
    let deadline = world.env.now().after(std::time::Duration::from_secs(600));
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go").deadline(deadline)).await.unwrap();
    status(&run, RunStatus::Waiting).await;
    world.clock.advance(std::time::Duration::from_secs(601));
    // After so long a pause the engine lets drivers renew first; it looks again a poll later.
    let clock = world.clock.clone();
    let mover = tokio::spawn(async move {
        loop {
            clock.advance(std::time::Duration::from_millis(500));
            tokio::task::yield_now().await;
        }
    });
    let outcome = in_time(run.wait()).await.unwrap();
    mover.abort();
    assert_eq!(outcome.text().unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    world.stop().await;
}

#[tokio::test]
async fn a_suspended_tenants_run_parks_at_the_next_step_and_goes_on_after_resume() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let opened = gate.clone();
    let begun = Arc::new(AtomicU32::new(0));
    let beginning = begun.clone();
    let slow = tool("refund", "Waits for the gate", move |_: ToolCall, _: Refund| {
        let (gate, begun) = (gate.clone(), beginning.clone());
        async move {
            begun.fetch_add(1, Ordering::SeqCst);
            gate.notified().await;
            Result::Ok("paid")
        }
    });
    let model = Arc::new(ScriptedModel::new(
        "m",
        [Reply::tool("refund", json!({"order": "1"})), Reply::text("done")],
    ));
    let world = world([model.clone() as Arc<dyn ChatModel>], [Arc::new(slow) as Arc<dyn Tool>]).await;
    let agent = world.deploy(spec()).await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    crate::support::until(|| begun.load(Ordering::SeqCst) == 1).await;
    world.set_tenant(TenantState::Suspended).await;
    opened.notify_one();
    status(&run, RunStatus::Parked).await;
    assert_eq!(model.requests().len(), 1, "no step begins for a suspended tenant");
    let error = world.runs.start(&world.ctx, agent.id, RunInput::text("again")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TenantSuspended);
    world.set_tenant(TenantState::Active).await;
    world.clock.advance(std::time::Duration::from_secs(2));
    let outcome = in_time(run.wait()).await.unwrap();
    assert_eq!(outcome.text().unwrap(), "done");
    assert_eq!(begun.load(Ordering::SeqCst), 1, "the step that ended while suspended is not repeated");
    world.stop().await;
}

#[tokio::test]
async fn a_session_remembers_and_has_one_turn_at_a_time() {
    let model = Arc::new(ScriptedModel::new("m", [Reply::text("hello Ada"), Reply::text("Ada, you said")]));
    let world = world([model.clone() as Arc<dyn ChatModel>], []).await;
    let agent = world.deploy(AgentSpec::new("chat").model("m").behaviour(Behaviour::Conversational)).await;
    let session = world.sessions.open(&world.ctx, agent.id).await.unwrap();
    let first = session.send(RunInput::text("I am Ada")).await.unwrap();
    let busy = session.send(RunInput::text("and?")).await;
    in_time(first.wait()).await.unwrap();
    if let Err(error) = busy {
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let second = session.send(RunInput::text("who am I?")).await.unwrap();
        in_time(second.wait()).await.unwrap();
    }
    let said = &model.requests()[1].messages;
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(matches!(&said[1], Message::Assistant { text, .. } if text == "hello Ada"));
    assert!(
        matches!(&said[0], Message::User { content } if matches!(&content[0], Content::Text { text } if text == "I am Ada"))
    );
    world.stop().await;
}
