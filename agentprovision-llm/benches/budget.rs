//! What a reservation costs: room is held in four budgets at once and settled, by 64 tasks of one tenant; against one
//! counter behind a mutex, which is the least that could decide anything. The measurements take turns, and the ratios
//! are medians over rounds, so that a busy machine changes the figures but not the ratios.

#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops at a surprise"
)]

use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agentprovision_core::Env;
use agentprovision_core::authz::PermissionSet;
use agentprovision_core::context::{Context, ContextIssuer, Identity, Principal, RequestInfo};
use agentprovision_core::money::NanoUsd;
use agentprovision_llm::limit::{
    Amounts, Buckets, Dimension, Hold, Ledger, Limit, MemoryLedger, Rate, Scope, Window, Zone,
};
use criterion::Criterion;
use futures_util::FutureExt;
use tokio::runtime::Runtime;

const TASKS: usize = 64;
const EACH: usize = 500;
const ROUNDS: usize = 31;
const TTL: Duration = Duration::from_secs(600);

/// What a request is reckoned with, and what it comes to.
const ESTIMATE: Amounts =
    Amounts { requests: 1, input_tokens: 800, output_tokens: 1000, cost: NanoUsd::from_nanos(2_000_000) };
const ACTUAL: Amounts =
    Amounts { requests: 1, input_tokens: 700, output_tokens: 200, cost: NanoUsd::from_nanos(900_000) };

fn context(env: &Env) -> Context {
    let identity = Identity {
        tenant: env.id(),
        principal: Principal::User(env.id()),
        scopes: PermissionSet::EMPTY,
        expires: None,
        key: Some(env.id()),
    };
    ContextIssuer::new(env.clone()).context(&identity, &PermissionSet::EMPTY, RequestInfo::default())
}

/// Budgets of the tenant, the user and the key, with room for `requests` requests.
fn limits(ctx: &Context, requests: u64) -> Vec<Limit> {
    let user = Scope::User(ctx.principal().user());
    let key = ctx.key().map(Scope::Key).unwrap();
    [
        (Scope::Tenant, Dimension::Cost, Window::Month, 2_000_000),
        (user.clone(), Dimension::Cost, Window::Day, 2_000_000),
        (user, Dimension::Tokens, Window::Day, 1800),
        (key, Dimension::Requests, Window::Month, 1),
    ]
    .into_iter()
    .map(|(scope, dimension, window, each)| Limit {
        scope,
        dimension,
        window,
        zone: Zone::UTC,
        most: requests * each,
    })
    .collect()
}

fn rates(ctx: &Context) -> Vec<Rate> {
    let most = 1 << 40;
    [
        (Scope::Tenant, Dimension::Tokens),
        (Scope::User(ctx.principal().user()), Dimension::Tokens),
        (Scope::User(ctx.principal().user()), Dimension::Requests),
    ]
    .map(|(scope, dimension)| Rate { scope, dimension, per_minute: most, burst: most })
    .to_vec()
}

/// Nanoseconds per piece of work, of 64 tasks on every core that do `EACH` each.
fn together(runtime: &Runtime, work: impl Fn() + Clone + Send + 'static) -> f64 {
    let start = Instant::now();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let work = work.clone();
                tokio::spawn(async move {
                    for n in 0..EACH {
                        work();
                        if n % 16 == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    start.elapsed().as_nanos() as f64 / (TASKS * EACH) as f64
}

fn reserve_and_settle(ledger: &Arc<dyn Ledger>, ctx: &Context, limits: &[Limit]) {
    let held = Hold::reserve(ledger.clone(), ctx, limits, ESTIMATE, TTL);
    // The ledger in memory never waits.
    held.now_or_never().unwrap().unwrap().settle(black_box(ACTUAL));
}

fn take_and_settle(buckets: &Buckets, ctx: &Context, rates: &[Rate]) {
    let held = buckets.take(ctx.tenant(), rates, &ESTIMATE).unwrap();
    buckets.settle(held, black_box(&ACTUAL));
}

/// Offers four times the work there is room for, from 64 tasks at once, and says how much was let through.
fn overshoot(runtime: &Runtime) -> (u64, u64) {
    let env = Env::default();
    let ctx = context(&env);
    let room = (TASKS * EACH / 4) as u64;
    let limits = Arc::new(limits(&ctx, room));
    let memory = Arc::new(MemoryLedger::new(env));
    let ledger: Arc<dyn Ledger> = memory.clone();
    let granted = Arc::new(Mutex::new(0_u64));
    let (asked, held) = (ctx.clone(), limits.clone());
    let counted = granted.clone();
    together(runtime, move || {
        let reserved = Hold::reserve(ledger.clone(), &asked, &held, ESTIMATE, TTL).now_or_never().unwrap();
        if let Ok(reserved) = reserved {
            *counted.lock().unwrap() += 1;
            reserved.settle(ESTIMATE);
        }
    });
    for limit in limits.iter() {
        let balance = memory.balance_now(ctx.tenant(), limit);
        assert!(balance.spent + balance.reserved <= limit.most, "{balance:?} of {limit:?}");
    }
    let granted = *granted.lock().unwrap();
    (granted, room)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let env = Env::default();
    let ctx = context(&env);
    let ledger: Arc<dyn Ledger> = Arc::new(MemoryLedger::new(env.clone()));
    let buckets = Arc::new(Buckets::new(env));
    let limits: Arc<Vec<Limit>> = Arc::new(limits(&ctx, 1 << 32));
    let rates = Arc::new(rates(&ctx));
    let counter = Arc::new(Mutex::new(0_u64));

    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let mut group = criterion.benchmark_group("budget");
    group.bench_function("counter", |b| b.iter(|| *counter.lock().unwrap() += black_box(1)));
    group.bench_function("reserve_settle", |b| b.iter(|| reserve_and_settle(&ledger, &ctx, &limits)));
    group.bench_function("take_settle", |b| b.iter(|| take_and_settle(&buckets, &ctx, &rates)));
    group.finish();

    let runtime = Runtime::new().unwrap();
    let cores = runtime.metrics().num_workers();
    let mut rounds = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let counter = counter.clone();
        rounds.0.push(together(&runtime, move || *counter.lock().unwrap() += black_box(1)));
        let (ledger, ctx_, limits) = (ledger.clone(), ctx.clone(), limits.clone());
        rounds.1.push(together(&runtime, move || reserve_and_settle(&ledger, &ctx_, &limits)));
        let (buckets, ctx_, rates) = (buckets.clone(), ctx.clone(), rates.clone());
        rounds.2.push(together(&runtime, move || take_and_settle(&buckets, &ctx_, &rates)));
    }
    let ratio =
        |ours: &[f64]| median(ours.iter().zip(&rounds.0).map(|(ours, reference)| ours / reference).collect());
    let (budget, rate) = (ratio(&rounds.1), ratio(&rounds.2));
    let (granted, room) = overshoot(&runtime);
    assert!(granted <= room, "{granted} of {room} were let through");
    let per_core = |nanos: f64| 1e9 / nanos / cores as f64;
    println!("{TASKS} tasks of one tenant on {cores} cores, {ROUNDS} rounds:");
    println!("reference {:.0} ns, one counter behind a mutex", median(rounds.0.clone()));
    for (name, values, what) in [
        ("budget", &rounds.1, "reserve and settle in four budgets"),
        ("rate", &rounds.2, "take and settle in three rate limits"),
    ] {
        let nanos = median(values.clone());
        println!("{name:9} {nanos:.0} ns, {:.0} per second and core, {what}", per_core(nanos));
    }
    println!("overshoot {} of {room} requests there was room for", granted.saturating_sub(room));
    println!("ratio budget_reserve_settle {budget:.2}");
    println!("ratio rate_take_settle {rate:.2}");
}
