//! Several engines over one store, and several tenants in one engine: whose run is next, and who goes on with it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use agentprovision_core::agent::{AgentRecord, AgentSpec};
use agentprovision_core::model::ChatModel;
use agentprovision_core::run::{Engine, EngineOptions, Run, RunInput, RunStatus};
use agentprovision_core::testing::{ModelMap, Reply, ScriptedModel};
use agentprovision_core::tool::{Tool, ToolCall, tool};
use agentprovision_core::{Context, Result};
use futures_util::FutureExt;
use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::{World, in_time, until, world_with};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Who {
    who: String,
}

/// Calls of the tool `work`, which end one by one as the gate lets them.
struct Site {
    gate: Semaphore,
    begun: Mutex<Vec<String>>,
    at_work: Mutex<BTreeMap<String, usize>>,
    most: Mutex<BTreeMap<String, usize>>,
}

impl Site {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: Semaphore::new(0),
            begun: Mutex::default(),
            at_work: Mutex::default(),
            most: Mutex::default(),
        })
    }

    fn tool(self: &Arc<Self>) -> Arc<dyn Tool> {
        let site = self.clone();
        Arc::new(tool("work", "Works", move |_: ToolCall, Who { who }| {
            let site = site.clone();
            async move {
                site.begun.lock().unwrap().push(who.clone());
                let now = {
                    let mut at_work = site.at_work.lock().unwrap();
                    let now = at_work.entry(who.clone()).or_default();
                    *now += 1;
                    *now
                };
                site.most
                    .lock()
                    .unwrap()
                    .entry(who.clone())
                    .and_modify(|most| *most = now.max(*most))
                    .or_insert(now);
                site.gate.acquire().await.unwrap().forget();
                *site.at_work.lock().unwrap().get_mut(&who).unwrap() -= 1;
                Result::Ok("done")
            }
        }))
    }

    fn begun(&self) -> Vec<String> {
        self.begun.lock().unwrap().clone()
    }

    fn at_work(&self, who: &str) -> usize {
        self.at_work.lock().unwrap().get(who).copied().unwrap_or(0)
    }

    /// Whose call was begun when, from 0.
    fn place(&self, who: &str) -> usize {
        self.begun().iter().position(|begun| begun == who).unwrap()
    }
}

/// A model that calls the tool once, for a tenant.
fn worker(who: &'static str) -> Arc<dyn ChatModel> {
    Arc::new(ScriptedModel::from_fn(who, move |request| match ScriptedModel::tool_results(request) {
        0 => Reply::tool("work", json!({ "who": who })),
        _ => Reply::text("done"),
    }))
}

struct Tenants {
    world: World,
    site: Arc<Site>,
    busy: (Context, AgentRecord),
    other: (Context, AgentRecord),
}

/// Two tenants, each with an agent whose runs work once.
async fn tenants(max_runs: usize, max_runs_per_tenant: Option<usize>) -> Tenants {
    let mut options = EngineOptions::default();
    options.max_runs = max_runs;
    options.max_runs_per_tenant = max_runs_per_tenant;
    let site = Site::new();
    let world = world_with(options, [worker("busy"), worker("other")], [site.tool()]).await;
    let spec = |who: &str| AgentSpec::new(who).model(who).tools(["work"]);
    let busy = (world.ctx.clone(), world.deploy(spec("busy")).await);
    let ctx = world.tenant("other").await;
    let agent = world.deploy_as(&ctx, spec("other")).await;
    Tenants { world, site, busy, other: (ctx, agent) }
}

impl Tenants {
    async fn start(&self, (ctx, agent): &(Context, AgentRecord)) -> Run {
        self.world.runs.start(ctx, agent.id, RunInput::text("go")).await.unwrap()
    }

    async fn start_many(&self, who: &(Context, AgentRecord), count: usize) -> Vec<Run> {
        let mut runs = Vec::new();
        for _ in 0..count {
            runs.push(self.start(who).await);
        }
        runs
    }

    /// Waits until some calls are under way, and gives everybody who could begin another one the time to.
    async fn working(&self, busy: usize, other: usize) {
        let site = &self.site;
        until(|| (site.at_work("busy"), site.at_work("other")) == (busy, other)).await;
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert_eq!((site.at_work("busy"), site.at_work("other")), (busy, other));
    }
}

async fn completed(runs: Vec<Run>) {
    for outcome in join_all(runs.iter().map(|run| in_time(run.wait()))).await {
        assert_eq!(outcome.unwrap().record().status, RunStatus::Completed);
    }
}

#[tokio::test]
async fn a_tenant_that_starts_a_lot_delays_nobody_beyond_a_turn() {
    let tenants = tenants(1, None).await;
    let mut runs = tenants.start_many(&tenants.busy, 100).await;
    tenants.working(1, 0).await;
    runs.push(tenants.start(&tenants.other).await);
    tenants.site.gate.add_permits(101);
    completed(runs).await;
    assert_eq!(tenants.site.place("other"), 1, "behind the one that was at work");
    tenants.world.stop().await;
}

#[tokio::test]
async fn what_waits_in_the_store_has_its_turn_among_what_was_started_here() {
    let tenants = tenants(1, None).await;
    let mut runs = tenants.start_many(&tenants.busy, 50).await;
    tenants.working(1, 0).await;
    let (second, elsewhere) = tenants.world.second_engine();
    let (ctx, agent) = &tenants.other;
    for _ in 0..2 {
        let run = elsewhere.start(ctx, agent.id, RunInput::text("go")).await.unwrap();
        runs.push(tenants.world.runs.get(ctx, run.id()).await.unwrap());
        tenants.working(1, 1).await;
    }
    // The second run was not begun; it is given back, and stands in line here.
    let mut closing = Box::pin(second.close());
    assert!((&mut closing).now_or_never().is_none());
    tenants.working(1, 1).await;
    assert_eq!(tenants.site.begun(), ["busy", "other"]);
    tenants.site.gate.add_permits(52);
    in_time(closing).await;
    completed(runs).await;
    let begun = tenants.site.begun();
    assert_eq!((begun.len(), begun[2].as_str()), (52, "other"), "behind the one that was at work");
    tenants.world.stop().await;
}

#[tokio::test]
async fn no_tenant_has_more_runs_driven_than_its_limit() {
    let tenants = tenants(5, Some(2)).await;
    let mut runs = tenants.start_many(&tenants.busy, 20).await;
    tenants.working(2, 0).await;
    // The runs that wait hold no room.
    runs.push(tenants.start(&tenants.other).await);
    tenants.working(2, 1).await;
    tenants.site.gate.add_permits(21);
    completed(runs).await;
    assert_eq!(tenants.site.most.lock().unwrap().get("busy"), Some(&2));
    tenants.world.stop().await;
}

#[tokio::test]
async fn the_limit_holds_for_claimed_runs_too_and_room_is_used_when_it_is_free() {
    let tenants = tenants(1, None).await;
    let runs = tenants.start_many(&tenants.busy, 20).await;
    let other = tenants.start(&tenants.other).await;
    tenants.working(1, 0).await;
    // Closing gives back all but the one at work, which is given back when its step has ended.
    let mut closing = Box::pin(tenants.world.engine.close());
    assert!((&mut closing).now_or_never().is_none());
    tenants.site.gate.add_permits(1);
    in_time(closing).await;
    assert_eq!(tenants.site.begun(), ["busy"]);

    let mut parts = tenants.world.parts.clone();
    parts.options.max_runs = 8;
    parts.options.max_runs_per_tenant = Some(3);
    let second = agentprovision_core::run::LocalEngine::start(parts);
    let elsewhere = agentprovision_core::run::Runs::new(&second);
    // The one whose step had ended goes on with its second step, and works no more.
    tenants.working(3, 1).await;
    tenants.site.gate.add_permits(20);
    // Nobody moves the clock: whenever a run ends, the next one is looked for.
    let mut all = Vec::new();
    for run in &runs {
        all.push(elsewhere.get(&tenants.busy.0, run.id()).await.unwrap());
    }
    all.push(elsewhere.get(&tenants.other.0, other.id()).await.unwrap());
    completed(all).await;
    assert_eq!(tenants.site.most.lock().unwrap().get("busy"), Some(&3));
    assert_eq!(tenants.site.begun().len(), 21, "no call was made twice");
    in_time(second.close()).await;
    tenants.world.stop().await;
}

#[tokio::test]
async fn a_run_that_is_cancelled_in_line_ends_without_room() {
    let tenants = tenants(1, None).await;
    let mut runs = tenants.start_many(&tenants.busy, 3).await;
    tenants.working(1, 0).await;
    let last = runs.pop().unwrap();
    last.cancel().await.unwrap();
    assert_eq!(in_time(last.wait()).await.unwrap().record().status, RunStatus::Cancelled);
    assert_eq!(tenants.site.begun().len(), 1);
    tenants.site.gate.add_permits(2);
    completed(runs).await;
    tenants.world.stop().await;
}

#[tokio::test]
async fn a_closed_engine_leaves_its_runs_to_another_at_once() {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let tenants = tenants(4, None).await;
    let run = tenants.start(&tenants.busy).await;
    tenants.working(1, 0).await;
    // The other engine's model says whose answer it is.
    let mut parts = tenants.world.parts.clone();
    let model = ScriptedModel::from_fn("busy", |request| {
        CALLS.fetch_add(1, Ordering::SeqCst);
        assert_eq!(ScriptedModel::tool_results(request), 1, "the first two steps are read, not repeated");
        Reply::text("from the other engine")
    });
    parts.models = Arc::new(ModelMap::new([Arc::new(model) as Arc<dyn ChatModel>]));
    let second = agentprovision_core::run::LocalEngine::start(parts);
    let elsewhere = agentprovision_core::run::Runs::new(&second);
    let before = tenants.world.env.now();
    let mut closing = Box::pin(tenants.world.engine.close());
    // The step under way is waited for.
    assert!((&mut closing).now_or_never().is_none());
    tenants.working(1, 0).await;
    assert!((&mut closing).now_or_never().is_none());
    tenants.site.gate.add_permits(1);
    in_time(closing).await;
    let run = elsewhere.get(&tenants.busy.0, run.id()).await.unwrap();
    let outcome = in_time(run.wait()).await.unwrap();
    assert_eq!(outcome.text().unwrap(), "from the other engine");
    assert_eq!((CALLS.load(Ordering::SeqCst), tenants.site.begun().len()), (1, 1));
    assert_eq!(tenants.world.env.now(), before, "no lease ran out and nobody polled");
    in_time(second.close()).await;
    tenants.world.stop().await;
}

#[tokio::test]
async fn an_engine_without_room_leaves_its_runs_to_another_at_once() {
    let tenants = tenants(0, None).await;
    let before = tenants.world.env.now();
    let mut runs = tenants.start_many(&tenants.busy, 3).await;
    // Nobody here takes up what is cancelled either.
    runs[2].cancel().await.unwrap();
    tenants.working(0, 0).await;
    assert_eq!(runs[0].record().await.unwrap().status, RunStatus::Running);

    let mut parts = tenants.world.parts.clone();
    parts.options.max_runs = 4;
    let second = agentprovision_core::run::LocalEngine::start(parts);
    let elsewhere = agentprovision_core::run::Runs::new(&second);
    tenants.working(2, 0).await;
    // Another one goes on at once too, where there is an engine by now.
    runs.push(tenants.start(&tenants.busy).await);
    tenants.working(3, 0).await;
    tenants.site.gate.add_permits(3);
    let mut ends = Vec::new();
    for run in &runs {
        let run = elsewhere.get(&tenants.busy.0, run.id()).await.unwrap();
        ends.push(in_time(run.wait()).await.unwrap().record().status);
    }
    use RunStatus::{Cancelled, Completed};
    assert_eq!(ends, [Completed, Completed, Cancelled, Completed]);
    assert_eq!(tenants.world.env.now(), before, "no lease ran out and nobody polled");
    in_time(second.close()).await;
    tenants.world.stop().await;
}
