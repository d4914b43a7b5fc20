//! Budgets and idempotent starts.

use std::sync::Arc;

use agentprovision_core::ErrorKind;
use agentprovision_core::agent::{AgentSpec, Budget};
use agentprovision_core::model::ChatModel;
use agentprovision_core::run::{ClaimRequest, Engine, RunInput, RunQuery, RunStatus};
use agentprovision_core::testing::{Reply, ScriptedModel};
use agentprovision_core::usage::{BudgetKey, Dimension};

use crate::support::{in_time, world};

fn chatty() -> Arc<dyn ChatModel> {
    Arc::new(ScriptedModel::from_fn("m", |_| Reply::text("a short answer")))
}

#[tokio::test]
async fn of_64_concurrent_starts_against_a_budget_for_10_exactly_10_are_admitted() {
    let stalled = Arc::new(ScriptedModel::from_fn("m", |_| Reply::Stall("…".into())));
    let world = world([stalled as Arc<dyn ChatModel>], []).await;
    let budget = Budget::usd("0.05").total(|total| total.cost_usd = Some("0.50".parse().unwrap()));
    let agent = world.deploy(AgentSpec::new("a").model("m").budget(budget)).await;
    let starts = (0..64).map(|_| {
        let (runs, ctx) = (world.runs.clone(), world.ctx.clone());
        tokio::spawn(async move { runs.start(&ctx, agent.id, RunInput::text("go")).await })
    });
    let mut admitted = Vec::new();
    for start in futures_util::future::join_all(starts).await {
        match start.unwrap() {
            Ok(run) => admitted.push(run),
            Err(error) => assert_eq!(error.kind(), ErrorKind::BudgetExceeded),
        }
    }
    assert_eq!(admitted.len(), 10);
    for run in &admitted {
        run.cancel().await.unwrap();
        assert_eq!(in_time(run.wait()).await.unwrap().status(), RunStatus::Cancelled);
    }
    // What was held and not used is there again.
    let key = BudgetKey::new(agent.id, Dimension::Cost);
    let state = world.stores.quota.state(&world.ctx, &key).await.unwrap().unwrap();
    assert_eq!((state.reserved, state.overrun), (0, 0));
    world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap().cancel().await.unwrap();
    world.stop().await;
}

#[tokio::test]
async fn a_cost_budget_needs_a_price_and_limits_the_answer() {
    let free = Arc::new(ScriptedModel::from_fn("free", |_| Reply::text("x")).price(None));
    let priced = Arc::new(ScriptedModel::from_fn("m", |_| Reply::text("a short answer")));
    let world = world([free as Arc<dyn ChatModel>, priced.clone() as Arc<dyn ChatModel>], []).await;
    let error = world
        .agents
        .create(&world.ctx, AgentSpec::new("a").model("free").budget(Budget::usd("1")))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PriceUnknown);
    // Without a budget it runs, and its cost is unknown, not zero.
    let agent = world.deploy(AgentSpec::new("b").model("free")).await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    let outcome = in_time(run.wait()).await.unwrap();
    assert_eq!(outcome.record().totals.cost_usd(), None);
    assert_eq!(outcome.chain().steps[0].cost_usd, None);

    let agent = world.deploy(AgentSpec::new("c").model("m").budget(Budget::usd("0.001"))).await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    let outcome = in_time(run.wait()).await.unwrap();
    assert_eq!(outcome.status(), RunStatus::Completed);
    let asked = priced.requests()[0].max_tokens.unwrap();
    assert!((100..500).contains(&asked), "0.001 USD buys at most 500 tokens at 2 USD a million, not {asked}");
    let error =
        world.runs.start(&world.ctx, agent.id, RunInput::text("long ".repeat(2000))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BudgetExceeded);
    world.stop().await;
}

#[tokio::test]
async fn the_same_key_gives_the_same_run_and_other_input_is_refused() {
    let world = world([chatty()], []).await;
    let agent = world.deploy(AgentSpec::new("a").model("m")).await;
    let input = || RunInput::text("go").idempotency_key("ticket-77");
    let first = world.runs.start(&world.ctx, agent.id, input()).await.unwrap();
    let again = world.runs.start(&world.ctx, agent.id, input()).await.unwrap();
    assert_eq!(first.id(), again.id());
    let error = world
        .runs
        .start(&world.ctx, agent.id, RunInput::text("stop").idempotency_key("ticket-77"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::IdempotencyMismatch);
    let page = world.runs.list(&world.ctx, RunQuery::default()).await.unwrap();
    assert_eq!(page.items.len(), 1);
    // A retry finds its run even when no new one could start.
    world.agents.pause(&world.ctx, agent.id).await.unwrap();
    assert_eq!(world.runs.start(&world.ctx, agent.id, input()).await.unwrap().id(), first.id());
    let error = world.runs.start(&world.ctx, agent.id, RunInput::text("new")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    in_time(again.wait()).await.unwrap();
    world.stop().await;
}

#[tokio::test]
async fn closing_gives_runs_back_and_another_engine_finishes_them() {
    let first_only = std::sync::atomic::AtomicU32::new(0);
    let model = ScriptedModel::from_fn("m", move |_| {
        if first_only.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            Reply::Stall("…".into())
        } else {
            Reply::text("done by the second")
        }
    });
    let world = world([Arc::new(model) as Arc<dyn ChatModel>], []).await;
    let agent = world.deploy(AgentSpec::new("a").model("m")).await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    let clock = world.clock.clone();
    let mover = tokio::spawn(async move {
        loop {
            clock.advance(std::time::Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    });
    in_time(world.engine.close()).await;
    let (second, runs) = world.second_engine();
    let again = runs.get(&world.ctx, run.id()).await.unwrap();
    let outcome = in_time(again.wait()).await.unwrap();
    assert_eq!(outcome.text().unwrap(), "done by the second");
    in_time(second.close()).await;
    mover.abort();
    let _ = (&world.issuer, &world.sessions);
}

#[tokio::test]
async fn a_run_whose_worker_is_lost_is_found_however_seldom_somebody_looks() {
    let first_only = std::sync::atomic::AtomicU32::new(0);
    let model = ScriptedModel::from_fn("m", move |_| {
        if first_only.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            Reply::Stall("…".into())
        } else {
            Reply::text("found")
        }
    });
    let mut world = world([Arc::new(model) as Arc<dyn ChatModel>], []).await;
    // More than half of the lease.
    world.parts.options.poll = std::time::Duration::from_secs(20);
    let (second, runs) = world.second_engine();
    let agent = world.deploy(AgentSpec::new("a").model("m")).await;
    let run = world.runs.start(&world.ctx, agent.id, RunInput::text("go")).await.unwrap();
    // Somebody takes the run and is not heard of again.
    world.clock.advance(std::time::Duration::from_secs(31));
    let until = world.env.now().after(std::time::Duration::from_secs(30));
    assert_eq!(
        world.stores.runs.claim(ClaimRequest::new(world.env.id(), until, 1, u32::MAX)).await.unwrap().len(),
        1
    );
    let clock = world.clock.clone();
    let mover = tokio::spawn(async move {
        loop {
            clock.advance(std::time::Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    });
    in_time(world.engine.close()).await;
    let again = runs.get(&world.ctx, run.id()).await.unwrap();
    assert_eq!(in_time(again.wait()).await.unwrap().text().unwrap(), "found");
    in_time(second.close()).await;
    mover.abort();
}
