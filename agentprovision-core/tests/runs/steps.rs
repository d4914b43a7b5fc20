//! Models and tools: what is called, how often, and what the model and the journal see of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agentprovision_core::agent::{AgentSpec, AgentState, Budget};
use agentprovision_core::model::{ChatModel, Message};
use agentprovision_core::run::{
    ClaimRequest, DoneOutcome, Engine, EventCursor, JournalEntry, JournalRow, Quote, RunEventKind, RunInput,
    RunMachine, RunStatus, StepKind, decode_entry,
};
use agentprovision_core::testing::{Reply, ScriptedModel};
use agentprovision_core::tool::{Effect, Tool, ToolCall, tool};
use agentprovision_core::usage::{Meter, Period};
use agentprovision_core::{Error, ErrorKind, Result, Retry};
use futures_util::TryStreamExt;
use serde_json::json;

use crate::support::{in_time, world};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Number {
    n: i64,
}

async fn double(_: ToolCall, input: Number) -> Result<i64> {
    Ok(input.n * 2)
}

fn doubler() -> Arc<dyn Tool> {
    Arc::new(tool("double", "Doubles a number", double).effect(Effect::Pure))
}

fn spec() -> AgentSpec {
    AgentSpec::new("triage").instructions("Be short.").model("m")
}

#[tokio::test]
async fn a_run_calls_a_tool_answers_and_leaves_a_verified_journal_usage_and_cost() {
    let model =
        Arc::new(ScriptedModel::new("m", [Reply::tool("double", json!({"n": 21})), Reply::text("it is 42")]));
    let world = world([model.clone() as Arc<dyn ChatModel>], [doubler()]).await;
    let agent = world.deploy(spec().tools(["double"])).await;
    assert_eq!(agent.state, AgentState::Running);
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("what is 21 doubled?")).await.unwrap();
    let events: Vec<_> = in_time(run.events().try_collect()).await.unwrap();
    let text: String = events
        .iter()
        .filter_map(|event| match &event.kind {
            RunEventKind::Text { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(text, "it is 42");
    assert!(matches!(events.first().unwrap().kind, RunEventKind::Started));
    let ends = events.iter().filter(|event| matches!(event.kind, RunEventKind::Finished { .. })).count();
    assert_eq!(ends, 1, "exactly one terminal event");
    assert!(matches!(
        events.last().unwrap().kind,
        RunEventKind::Finished { status: RunStatus::Completed, .. }
    ));
    assert!(events.windows(2).all(|pair| pair[0].cursor < pair[1].cursor), "numbers go up: {events:#?}");

    let outcome = in_time(run.wait()).await.unwrap();
    assert_eq!(outcome.text().unwrap(), "it is 42");
    let kinds: Vec<_> = outcome.chain().steps.iter().map(|step| (step.kind, step.success)).collect();
    assert_eq!(
        kinds,
        [(StepKind::Model, Some(true)), (StepKind::Tool, Some(true)), (StepKind::Model, Some(true))]
    );
    let (record, rows) = world.runs.journal(&world.ctx, run.id()).await.unwrap();
    JournalRow::verify(&record.salt, &rows, &record.head).unwrap();
    assert_eq!(rows.len(), 8, "created, three intents, three dones, finished");

    let requests = model.requests();
    assert!(
        matches!(&requests[1].messages[..], [.., Message::Tool { content, is_error: false, .. }] if content == "42")
    );
    let usage = world.stores.usage.summary(&world.ctx, Period::ALL).await.unwrap();
    assert_eq!(usage.meters[&Meter::LlmRequests], 2);
    assert_eq!(usage.meters[&Meter::LlmTokensInput], record.totals.input_tokens);
    assert_eq!(Some(usage.cost_usd), record.totals.cost_usd());
    assert!(record.totals.cost.nanos() > 0);
    world.stop().await;
}

#[tokio::test]
async fn events_resume_after_any_of_their_places() {
    let model =
        ScriptedModel::new("m", [Reply::tool("double", json!({"n": 1})), Reply::text("one two three")]);
    let world = world([Arc::new(model) as Arc<dyn ChatModel>], [doubler()]).await;
    let agent = world.deploy(spec().tools(["double"])).await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    in_time(run.wait()).await.unwrap();
    let all: Vec<_> = in_time(run.events().try_collect()).await.unwrap();
    for (place, event) in all.iter().enumerate() {
        let rest: Vec<_> = in_time(run.events_after(event.cursor).try_collect()).await.unwrap();
        assert_eq!(rest, all[place + 1..], "after {}", event.cursor);
    }
    // In the middle of a text too.
    let row = all.iter().find(|event| matches!(event.kind, RunEventKind::Text { .. })).unwrap().cursor.row;
    let rest: Vec<_> = in_time(run.events_after(EventCursor { row, part: 4 }).try_collect()).await.unwrap();
    assert!(matches!(&rest[0].kind, RunEventKind::Text { text, .. } if text == "two three"));
    world.stop().await;
}

#[tokio::test]
async fn parallel_calls_give_one_result_each_in_order_even_when_one_panics() {
    async fn fragile(_: ToolCall, input: Number) -> Result<i64> {
        assert!(input.n != 3, "three is too much");
        Ok(input.n)
    }
    let calls = (1..=5).map(|n| ("fragile".to_owned(), json!({"n": n}))).collect();
    let model = Arc::new(ScriptedModel::new("m", [Reply::Tools(calls), Reply::text("done")]));
    let tool = Arc::new(tool("fragile", "Fails at three", fragile).effect(Effect::Pure));
    let world = world([model.clone() as Arc<dyn ChatModel>], [tool as Arc<dyn Tool>]).await;
    let agent = world.deploy(spec().tools(["fragile"])).await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    let outcome = in_time(run.wait()).await.unwrap();
    assert_eq!(outcome.text().unwrap(), "done");
    let results: Vec<(String, bool)> = model.requests()[1]
        .messages
        .iter()
        .filter_map(|message| match message {
            Message::Tool { content, is_error, .. } => Some((content.clone(), *is_error)),
            _ => None,
        })
        .collect();
    let expected: Vec<(String, bool)> = (1..=5)
        .map(|n| if n == 3 { ("the tool `fragile` panicked".into(), true) } else { (n.to_string(), false) })
        .collect();
    assert_eq!(results, expected);
    world.stop().await;
}

#[tokio::test]
async fn calls_that_cannot_be_made_are_failed_steps_and_reach_the_model() {
    let calls = vec![
        ("nothing".to_owned(), json!({})),
        ("double".to_owned(), json!({"n": "many"})),
        ("double".to_owned(), json!({"n": 2})),
    ];
    let model = Arc::new(ScriptedModel::new("m", [Reply::Tools(calls), Reply::text("done")]));
    let world = world([model.clone() as Arc<dyn ChatModel>], [doubler()]).await;
    let agent = world.deploy(spec().tools(["double"])).await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    let outcome = in_time(run.wait()).await.unwrap();
    let steps: Vec<_> =
        outcome.chain().steps.iter().map(|step| step.error.as_ref().map(|error| error.kind)).collect();
    assert_eq!(
        steps,
        [None, Some(ErrorKind::InvalidInput), Some(ErrorKind::InvalidInput), None, None],
        "{}",
        outcome.chain()
    );
    world.stop().await;
}

#[tokio::test]
async fn a_call_whose_arguments_were_cut_off_is_not_made() {
    let cut = Reply::CutOff("double".into(), "{\"n\": 2".into());
    let model = ScriptedModel::new("m", [cut, Reply::text("sorry")]);
    let world = world([Arc::new(model) as Arc<dyn ChatModel>], [doubler()]).await;
    let agent = world.deploy(spec().tools(["double"])).await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    let outcome = in_time(run.wait()).await.unwrap();
    let error = outcome.chain().steps[1].error.clone().unwrap();
    assert_eq!(error.kind, ErrorKind::InvalidInput);
    assert!(error.message.contains("not made"), "{}", error.message);
    world.stop().await;
}

#[tokio::test]
async fn a_tool_that_never_returns_is_ended_by_its_timeout_and_unsafe_ones_are_uncertain() {
    async fn never(_: ToolCall, _: Number) -> Result<i64> {
        std::future::pending().await
    }
    for (effect, kind) in
        [(Effect::Idempotent, ErrorKind::DeadlineExceeded), (Effect::Unsafe, ErrorKind::Uncertain)]
    {
        let model = ScriptedModel::new("m", [Reply::tool("never", json!({"n": 1})), Reply::text("gave up")]);
        let tool = tool("never", "Never returns", never).effect(effect).timeout(Duration::from_secs(5));
        let world = world([Arc::new(model) as Arc<dyn ChatModel>], [Arc::new(tool) as Arc<dyn Tool>]).await;
        let agent = world.deploy(spec().tools(["never"])).await;
        let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
        let mut events = run.events();
        while let Some(event) = in_time(events.try_next()).await.unwrap() {
            if matches!(event.kind, RunEventKind::StepStarted { kind: StepKind::Tool, .. }) {
                break;
            }
        }
        let clock = world.clock.clone();
        let mover = tokio::spawn(async move {
            loop {
                clock.advance(Duration::from_millis(500));
                tokio::task::yield_now().await;
            }
        });
        let outcome = in_time(run.wait()).await.unwrap();
        mover.abort();
        assert_eq!(outcome.chain().steps[1].error.as_ref().unwrap().kind, kind);
        assert_eq!(outcome.text().unwrap(), "gave up");
        world.stop().await;
    }
}

#[tokio::test]
async fn a_model_that_fails_is_tried_again_then_its_fallback_and_every_attempt_counts() {
    let down = || Error::new(ErrorKind::Unavailable, "down").with_retry(Retry::After(Duration::ZERO));
    let first = Arc::new(ScriptedModel::from_fn("m", move |_| Reply::Break("half an ans".into(), down())));
    let second = Arc::new(ScriptedModel::new("backup", [Reply::text("whole")]));
    let world = world([first.clone() as Arc<dyn ChatModel>, second as Arc<dyn ChatModel>], []).await;
    let agent = world.deploy(spec().fallback("backup")).await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    let outcome = in_time(run.wait()).await.unwrap();
    assert_eq!(outcome.text().unwrap(), "whole");
    let step = &outcome.chain().steps[0];
    assert_eq!((step.attempts, step.name.as_str()), (2, "backup"));
    assert_eq!(first.requests().len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_model_nobody_answers_for_fails_the_run_with_its_error() {
    let model = ScriptedModel::new("m", [Reply::Fail(Error::new(ErrorKind::ContentPolicy, "not this"))]);
    let world = world([Arc::new(model) as Arc<dyn ChatModel>], []).await;
    let agent = world.deploy(spec()).await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    let outcome = in_time(run.wait()).await.unwrap();
    assert_eq!(outcome.status(), RunStatus::Failed);
    assert_eq!(outcome.text().unwrap_err().kind(), ErrorKind::ContentPolicy);
    world.stop().await;
}

#[tokio::test]
async fn a_model_that_panics_fails_its_run() {
    let model = ScriptedModel::from_fn("m", |_| panic!("a model of the host's"));
    let world = world([Arc::new(model) as Arc<dyn ChatModel>], []).await;
    let agent = world.deploy(spec()).await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    let outcome = in_time(run.wait()).await.unwrap();
    assert_eq!(outcome.text().unwrap_err().kind(), ErrorKind::Internal);
    world.stop().await;
}

#[tokio::test]
async fn an_answer_that_breaks_the_output_schema_is_sent_back_twice_then_fails() {
    let schema =
        json!({"type": "object", "required": ["label"], "properties": {"label": {"type": "string"}}});
    for (replies, good) in [
        (vec!["no json", "{\"label\": 1}", "{\"label\": \"bug\"}"], true),
        (vec!["a", "b", "c", "{\"label\": \"bug\"}"], false),
    ] {
        let model = Arc::new(ScriptedModel::new("m", replies.into_iter().map(Reply::text)));
        let world = world([model.clone() as Arc<dyn ChatModel>], []).await;
        let agent = world.deploy(spec().output_schema(schema.clone())).await;
        let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
        let outcome = in_time(run.wait()).await.unwrap();
        assert_eq!(model.requests().len(), 3);
        if good {
            assert_eq!(outcome.output::<serde_json::Value>().unwrap(), json!({"label": "bug"}));
        } else {
            assert_eq!(outcome.text().unwrap_err().kind(), ErrorKind::ProviderError);
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn an_agent_that_goes_in_circles_is_stopped() {
    let model = ScriptedModel::from_fn("m", |_| Reply::tool("double", json!({"n": 1})));
    let world = world([Arc::new(model) as Arc<dyn ChatModel>], [doubler()]).await;
    let agent = world.deploy(spec().tools(["double"])).await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    let outcome = in_time(run.wait()).await.unwrap();
    assert_eq!(outcome.text().unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(outcome.record().totals.tool_calls, 3);
    world.stop().await;
}

#[tokio::test]
async fn a_lost_worker_is_replaced_and_finished_steps_are_read_not_repeated() {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    async fn count(_: ToolCall, input: Number) -> Result<i64> {
        CALLS.fetch_add(1, Ordering::SeqCst);
        Ok(input.n)
    }
    // The first worker's model stalls after the tool; the lease runs out and the second worker asks again.
    let stalls = AtomicU32::new(0);
    let model = ScriptedModel::from_fn("m", move |request| match ScriptedModel::tool_results(request) {
        0 => Reply::tool("count", json!({"n": 5})),
        _ if stalls.fetch_add(1, Ordering::SeqCst) == 0 => Reply::Stall("half".into()),
        _ => Reply::text("whole answer"),
    });
    let tool = Arc::new(tool("count", "Counts", count)) as Arc<dyn Tool>;
    let world = world([Arc::new(model) as Arc<dyn ChatModel>], [tool]).await;
    let agent = world.deploy(spec().tools(["count"])).await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    let mut events = run.events();
    loop {
        let event = in_time(events.try_next()).await.unwrap().unwrap();
        if matches!(&event.kind, RunEventKind::Text { text, .. } if text == "half") {
            break;
        }
    }
    // Another worker takes the run up behind the first one's back, as if the first had been paused for long.
    let until_then = world.env.now().after(Duration::from_secs(3600));
    let claimed =
        world.stores.runs.claim(ClaimRequest::new(world.env.id(), until_then, 10, 1)).await.unwrap();
    assert!(claimed.is_empty(), "a held run is not claimed");
    let (second, _) = world.second_engine();
    // The lease runs out and the second worker is faster than the first one's renewal.
    world.clock.advance(Duration::from_secs(31));
    let until_then = world.env.now().after(Duration::from_secs(30));
    let mut claimed =
        world.stores.runs.claim(ClaimRequest::new(world.env.id(), until_then, 10, 1)).await.unwrap();
    second.submit(claimed.pop().expect("a run whose lease ran out is claimed"));
    let outcome = in_time(run.wait()).await.unwrap();
    assert_eq!(CALLS.load(Ordering::SeqCst), 1);
    assert_eq!(outcome.text().unwrap(), "whole answer");
    let (_, rows) = world.runs.journal(&world.ctx, run.id()).await.unwrap();
    let entries: Vec<_> = rows.iter().map(|row| decode_entry(&row.body).unwrap()).collect();
    assert_eq!(entries.len(), 8, "{entries:#?}");
    world.stop().await;
}

#[tokio::test]
async fn steps_are_limited_exactly() {
    let n = AtomicU32::new(0);
    let model = ScriptedModel::from_fn("m", move |_| {
        Reply::tool("double", json!({"n": n.fetch_add(1, Ordering::SeqCst)}))
    });
    let world = world([Arc::new(model) as Arc<dyn ChatModel>], [doubler()]).await;
    let agent = world
        .deploy(spec().tools(["double"]).budget(Budget::default().per_run(|run| run.steps = Some(7))))
        .await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    let outcome = in_time(run.wait()).await.unwrap();
    assert_eq!(outcome.text().unwrap_err().kind(), ErrorKind::BudgetExceeded);
    assert_eq!(outcome.record().totals.steps, 7);
    world.stop().await;
}

#[tokio::test]
async fn an_answer_of_text_and_calls_is_followed_live_and_told_once() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let opened = gate.clone();
    let slow = tool("slow", "Waits", move |_: ToolCall, _: Number| {
        let gate = gate.clone();
        async move {
            gate.notified().await;
            Result::Ok("done")
        }
    });
    let both = Reply::Both("Let me look. ".into(), vec![("slow".into(), json!({"n": 1}))]);
    let model = ScriptedModel::new("m", [both, Reply::text("Found it.")]);
    let world = world(
        [Arc::new(model) as Arc<dyn ChatModel>],
        [Arc::new(slow.effect(Effect::Pure)) as Arc<dyn Tool>],
    )
    .await;
    let agent = world.deploy(spec().tools(["slow"])).await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    let mut events = run.events();
    let mut text = String::new();
    while let Some(event) = in_time(events.try_next()).await.unwrap() {
        match event.kind {
            RunEventKind::Text { text: more, .. } => text.push_str(&more),
            RunEventKind::StepStarted { kind: StepKind::Tool, .. } => {
                // Everybody gets the floor while the tool is under way.
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                opened.notify_one();
            }
            RunEventKind::Restarted { .. } => panic!("nothing was restarted"),
            _ => {}
        }
    }
    assert_eq!(text, "Let me look. Found it.");
    world.stop().await;
}

#[tokio::test]
async fn a_text_that_begins_again_is_told_as_such() {
    let down = || Error::new(ErrorKind::Unavailable, "down").with_retry(Retry::After(Duration::ZERO));
    let gate = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = gate.clone();
    let first = ScriptedModel::from_fn("m", move |_| {
        assert!(!seen.load(Ordering::SeqCst));
        Reply::Break("half an ans".into(), down())
    });
    let second = ScriptedModel::new("backup", [Reply::text("another answer")]);
    let world =
        world([Arc::new(first) as Arc<dyn ChatModel>, Arc::new(second) as Arc<dyn ChatModel>], []).await;
    let agent = world.deploy(spec().fallback("backup")).await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    let events: Vec<_> = in_time(run.events().try_collect()).await.unwrap();
    let mut text = String::new();
    for event in &events {
        match &event.kind {
            RunEventKind::Text { text: more, .. } => text.push_str(more),
            RunEventKind::Restarted { .. } => text.clear(),
            _ => {}
        }
    }
    assert_eq!(text, "another answer");
    world.stop().await;
}

#[tokio::test]
async fn the_end_is_last_even_when_calls_that_cannot_be_made_use_the_budget_up() {
    for steps in 2..=6 {
        let n = AtomicU32::new(0);
        let model = ScriptedModel::from_fn("m", move |_| {
            let n = n.fetch_add(1, Ordering::SeqCst);
            Reply::Tools(vec![("double".into(), json!({"n": n})), ("nothing".into(), json!({}))])
        });
        let world = world([Arc::new(model) as Arc<dyn ChatModel>], [doubler()]).await;
        let budget = Budget::default().per_run(|run| run.steps = Some(steps));
        let agent = world.deploy(spec().tools(["double"]).budget(budget)).await;
        let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
        let outcome = in_time(run.wait()).await.unwrap();
        assert_eq!(outcome.record().totals.steps, steps);
        let (_, rows) = world.runs.journal(&world.ctx, run.id()).await.unwrap();
        let mut open = std::collections::BTreeSet::new();
        for (place, row) in rows.iter().enumerate() {
            match decode_entry(&row.body).unwrap() {
                JournalEntry::Intent { step, .. } => assert!(open.insert(step)),
                JournalEntry::Done { step, .. } => assert!(open.remove(&step), "an end without a beginning"),
                JournalEntry::Finished { .. } => assert_eq!(place + 1, rows.len(), "the end is last"),
                _ => {}
            }
        }
        assert!(open.is_empty());
        world.stop().await;
    }
}

#[tokio::test]
async fn a_machine_restored_from_its_snapshot_says_the_same_at_every_row() {
    let calls = vec![("double".to_owned(), json!({"n": 1})), ("double".to_owned(), json!({"n": 2}))];
    let model = ScriptedModel::new("m", [Reply::Tools(calls), Reply::text("done")]);
    let world = world([Arc::new(model) as Arc<dyn ChatModel>], [doubler()]).await;
    let agent = world.deploy(spec().tools(["double"])).await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    in_time(run.wait()).await.unwrap();
    let (record, rows) = world.runs.journal(&world.ctx, run.id()).await.unwrap();
    let live = Arc::new(world.agents.version(&world.ctx, agent.id, record.version).await.unwrap());
    let tools = world.parts.tools.clone();
    let mut machine = RunMachine::new(live.clone(), tools.clone(), record.salt, Vec::new());
    let approval = world.env.id();
    for row in &rows {
        let entry = decode_entry(&row.body).unwrap();
        let payload = match &entry {
            JournalEntry::Created { input, .. } => Some(*input),
            JournalEntry::Done { outcome: DoneOutcome::Ok { output }, .. } => Some(*output),
            _ => None,
        };
        let bytes = match payload {
            Some(hash) => {
                Some(world.stores.index.payloads(&world.ctx, run.id(), &[hash]).await.unwrap().remove(0))
            }
            None => None,
        };
        machine.apply(&entry, bytes.as_deref()).unwrap();
        let snapshot = machine.snapshot().unwrap();
        let restored =
            RunMachine::restore(live.clone(), tools.clone(), record.salt, snapshot.clone()).unwrap();
        let now = world.env.now();
        let quote = Quote::default();
        assert_eq!(machine.next(now, &quote, || approval), restored.next(now, &quote, || approval));
        let mut newer = snapshot;
        newer["v"] = json!(99);
        let error = RunMachine::restore(live.clone(), tools.clone(), record.salt, newer).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SchemaTooNew);
    }
    assert!(machine.is_over());
    world.stop().await;
}
