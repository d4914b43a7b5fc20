//! Plays operations on both stores and compares what they say.

use std::sync::Arc;

use agentprovision_core::Env;
use agentprovision_core::agent::AgentQuery;
use agentprovision_core::backend::{Backend, Stores};
use agentprovision_core::clock::{ManualClock, SeededEntropy};
use agentprovision_core::context::{Context, OperatorContext};
use agentprovision_core::integration::IntegrationQuery;
use agentprovision_core::memory_store::MemoryDb;
use agentprovision_core::page::PageRequest;
use agentprovision_core::run::RunQuery;
use agentprovision_core::usage::Period;
use agentprovision_tenancy::store;

use crate::Counts;
use crate::answer::Answer;
use crate::args::{START, Script, budgets};
use crate::faulty::Fault;
use crate::integrations::paths;
use crate::methods::Method;
use crate::ops::Op;

/// Where two stores differ.
#[derive(Debug)]
pub(crate) struct Difference {
    /// The place of the last operation.
    pub(crate) at: usize,
    /// The operations up to there, with their arguments and answers.
    pub(crate) trace: Vec<String>,
    /// What each store said.
    pub(crate) what: String,
}

/// A store with a clock and a seed of its own.
struct Side {
    backend: Arc<dyn Backend>,
    stores: Stores,
    clock: ManualClock,
}

impl Side {
    fn env() -> (ManualClock, Env) {
        let clock = ManualClock::new(START);
        let env = Env::new(Arc::new(clock.clone()), Arc::new(SeededEntropy::new(1)));
        (clock, env)
    }

    fn memory(fault: Option<Fault>) -> Self {
        let (clock, env) = Self::env();
        let backend = Arc::new(MemoryDb::new(env));
        let stores = backend.stores();
        Self { stores: fault.map_or(stores.clone(), |fault| fault.plant(stores)), backend, clock }
    }

    async fn at(url: &str) -> Self {
        let (clock, env) = Self::env();
        let backend = store::connect(url, env).await.expect("a new store");
        Self { stores: backend.stores(), backend, clock }
    }
}

/// The store that is compared with the one in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Against {
    Sqlite,
    #[cfg(all(feature = "store-postgres", feature = "testing"))]
    Postgres,
}

/// Plays a case on new stores. `None` when they agree on everything.
pub(crate) async fn play(
    ops: &[Op],
    against: Against,
    fault: Option<Fault>,
    counts: &mut Counts,
) -> Option<Difference> {
    let memory = Side::memory(fault);
    match against {
        Against::Sqlite => {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let url = format!("sqlite://{}", folder.path().join("case.db").display());
            both(ops, memory, Side::at(&url).await, false, counts).await
        }
        #[cfg(all(feature = "store-postgres", feature = "testing"))]
        Against::Postgres => {
            let server = std::env::var(crate::POSTGRES).expect("a server");
            let database = store::postgres::TestDatabase::create(&server).await.expect("a database");
            both(ops, memory, Side::at(database.url()).await, true, counts).await
        }
    }
}

async fn both(
    ops: &[Op],
    memory: Side,
    other: Side,
    own_time: bool,
    counts: &mut Counts,
) -> Option<Difference> {
    let mut script = Script::new(memory.backend.stores(), own_time);
    let difference = compare(ops, &memory, &other, &mut script, counts).await;
    for side in [&memory, &other] {
        side.backend.close().await.expect("a store that closes");
    }
    difference
}

async fn compare(
    ops: &[Op],
    memory: &Side,
    other: &Side,
    script: &mut Script,
    counts: &mut Counts,
) -> Option<Difference> {
    let mut trace = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        let plan = script.plan(*op).await;
        for side in [memory, other] {
            side.clock.advance(plan.advance);
        }
        let expected = (plan.call)(memory.stores.clone()).await;
        let seen = (plan.call)(other.stores.clone()).await;
        let transaction = matches!(op.method, Method::TxCommit | Method::TxRollback);
        for name in [op.method.name(), "runs.begin"].into_iter().take(1 + usize::from(transaction)) {
            let [calls, successes] = counts.entry(name).or_default();
            *calls += 1;
            *successes += u64::from(!expected.said.starts_with("error"));
        }
        trace.push(clip(format!("{at:>4} {}{} -> {}", op.method.name(), plan.arguments, expected.said)));
        let mut pairs = vec![("the answer".to_owned(), expected.said.clone(), seen.said.clone())];
        if !op.bare && may_write(op.method) {
            pairs.push(roots(memory, other, script).await);
        }
        if at + 1 == ops.len() {
            pairs.extend(everything(memory, other, script).await);
        }
        if let Some((what, expected, seen)) = pairs.into_iter().find(|(_, expected, seen)| expected != seen) {
            let (expected, seen) = apart(&expected, &seen);
            let what = format!("{what} differs:\n  memory {expected}\n  other  {seen}");
            return Some(Difference { at, trace, what });
        }
        script.fences.extend(expected.leases.iter().map(|lease| lease.fence));
        script.leases.extend(expected.held);
        script.taken.extend(expected.taken);
        if !expected.events.is_empty() {
            script.events = expected.events;
        }
    }
    None
}

/// Whether effects may have written audit records.
fn may_write(method: Method) -> bool {
    let verbs = [
        "create",
        "replace",
        "insert",
        "bootstrap",
        "delete",
        "revoke",
        "commit",
        "signal",
        "open",
        "apply",
        "begin",
        "finish",
        "replay",
        "forget",
    ];
    method.name().split_once('.').is_some_and(|(_, verb)| verbs.contains(&verb))
}

/// The audit roots of all tenants and of the platform.
async fn roots(memory: &Side, other: &Side, script: &Script) -> (String, String, String) {
    let mut said = [String::new(), String::new()];
    for (said, side) in said.iter_mut().zip([memory, other]) {
        for ctx in script.contexts() {
            said.push_str(&Answer::of(side.stores.audit.checkpoint(ctx).await).said);
        }
        said.push_str(&Answer::of(side.stores.audit.platform_checkpoint(&script.op).await).said);
    }
    let [expected, seen] = said;
    ("an audit root".to_owned(), expected, seen)
}

/// All that can be read of both stores.
async fn everything(memory: &Side, other: &Side, script: &Script) -> Vec<(String, String, String)> {
    let mut pairs = Vec::new();
    for ctx in script.contexts() {
        let (expected, seen) =
            (tenant(&memory.stores, &script.op, ctx).await, tenant(&other.stores, &script.op, ctx).await);
        for ((what, expected), (_, seen)) in expected.into_iter().zip(seen) {
            pairs.push((format!("{what} of {} at the end", ctx.tenant()), expected, seen));
        }
    }
    for what in ["tenants", "the platform log", "unpublished events"] {
        let mut said = Vec::new();
        for stores in [&memory.stores, &other.stores] {
            let answer = match what {
                "tenants" => Answer::of(stores.tenants.list(&script.op, PageRequest::limit(100)).await),
                "the platform log" => Answer::of(stores.audit.platform_entries(&script.op, 0, 10_000).await),
                _ => Answer::of(stores.events.unpublished(10_000).await),
            };
            said.push(answer.said);
        }
        pairs.push((format!("{what} at the end"), said.remove(0), said.remove(0)));
    }
    pairs
}

async fn tenant(stores: &Stores, by: &OperatorContext, ctx: &Context) -> Vec<(&'static str, String)> {
    let page = PageRequest::limit(100);
    let mut query = RunQuery::default();
    query.page = page.clone();
    let runs = stores.index.list(ctx, query).await;
    let mut journals = String::new();
    for run in runs.iter().flat_map(|runs| &runs.items) {
        journals.push_str(&Answer::of(stores.index.journal(ctx, run.id, 0, 10_000).await).said);
    }
    let mut states = String::new();
    for key in budgets() {
        states.push_str(&Answer::of(stores.quota.state(ctx, &key).await).said);
    }
    let mut secrets = String::new();
    for path in paths() {
        secrets.push_str(&Answer::of(stores.secrets.get(ctx, &path).await).said);
    }
    let integrations = stores.integrations.list(ctx, IntegrationQuery::page(page.clone())).await;
    let endpoints = stores.endpoints.list(ctx, page.clone()).await;
    let mut deliveries = String::new();
    for endpoint in endpoints.iter().flat_map(|endpoints| &endpoints.items) {
        deliveries.push_str(&Answer::of(stores.inbox.list(ctx, endpoint.id, page.clone()).await).said);
    }
    vec![
        ("secrets", secrets),
        ("endpoints", Answer::of(endpoints).said),
        ("deliveries", deliveries),
        ("integrations", Answer::of(integrations).said),
        ("budgets", states),
        ("users", Answer::of(stores.users.list(ctx, page.clone()).await).said),
        ("keys", Answer::of(stores.keys.list(ctx, page.clone()).await).said),
        ("agents", Answer::of(stores.agents.list(ctx, AgentQuery::page(page.clone())).await).said),
        ("backups", Answer::of(stores.backups.list(by, ctx.tenant(), page.clone()).await).said),
        ("sessions", Answer::of(stores.sessions.list(ctx, page).await).said),
        ("runs", Answer::of(runs).said),
        ("journals", journals),
        ("usage", Answer::of(stores.usage.events(ctx, None, 10_000).await).said),
        ("sums of usage", Answer::of(stores.usage.summary(ctx, Period::ALL).await).said),
        ("events", Answer::of(stores.events.read(ctx, 0, 10_000).await).said),
        ("the audit log", Answer::of(stores.audit.entries(ctx, 0, 10_000).await).said),
    ]
}

/// Two texts from a little before where they part.
fn apart(one: &str, two: &str) -> (String, String) {
    let same = one.chars().zip(two.chars()).take_while(|(one, two)| one == two).count();
    let from = same.saturating_sub(200);
    let part = |text: &str| clip(text.chars().skip(from).collect());
    (part(one), part(two))
}

fn clip(text: String) -> String {
    const MOST: usize = 1200;
    if text.chars().nth(MOST).is_none() {
        text
    } else {
        text.chars().take(MOST).chain("…".chars()).collect()
    }
}
