//! Budgets and rate limits: what they promise, by the names of the mistakes they are there to prevent.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentprovision_core::authz::PermissionSet;
use agentprovision_core::backend::Backend;
use agentprovision_core::clock::{ManualClock, SeededEntropy};
use agentprovision_core::context::{Context, ContextIssuer, Identity, Principal, RequestInfo};
use agentprovision_core::id::{ApiKeyId, TenantId, UserId};
use agentprovision_core::memory_store::MemoryDb;
use agentprovision_core::model::{
    Attempt, AttemptEnd, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, EmbedRequest,
    EmbedResponse, EmbeddingModel, FinishReason, Message, ModelInfo, ModelPrice, Usage,
};
use agentprovision_core::money::{NanoUsd, PicoUsd};
use agentprovision_core::testing::{ModelMap, Reply, ScriptedModel};
use agentprovision_core::usage::QuotaGate;
use agentprovision_core::{Env, Error, ErrorKind, Result, Retry, Timestamp};
use agentprovision_llm::layers::{BudgetConfig, BudgetLayer, RateLimitConfig, RateLimitLayer};
use agentprovision_llm::limit::{
    Amounts, Balance, Buckets, Dimension, Hold, HoldId, Ledger, Limit, MemoryLedger, Rate, Scope,
    StoreLedger, Window, Zone,
};
use agentprovision_llm::route::input_tokens;
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use serde_json::json;
use tower::Layer;

const TTL: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// 2026-03-01T00:00:00Z, a Sunday.
const START: i64 = 1_772_323_200_000_000;

async fn within<T>(future: impl Future<Output = T>) -> T {
    Env::default().timeout(Duration::from_secs(30), future).await.expect("the test hangs")
}

fn seed() -> u64 {
    let seed = std::env::var("AGENTPROVISION_SEED")
        .map_or(0, |seed| seed.parse().expect("AGENTPROVISION_SEED is a number"));
    println!("AGENTPROVISION_SEED={seed}");
    seed
}

struct Draw(Env);

impl Draw {
    fn below(&self, end: u64) -> u64 {
        u64::from_le_bytes(self.0.random()) % end
    }
}

struct World {
    clock: ManualClock,
    env: Env,
    tenant: TenantId,
}

fn world() -> World {
    let clock = ManualClock::new(Timestamp::from_micros(START));
    let env = Env::new(Arc::new(clock.clone()), Arc::new(SeededEntropy::new(seed())));
    World { clock, tenant: env.id(), env }
}

impl World {
    fn user(&self, user: UserId) -> Context {
        self.context(self.tenant, user, None)
    }

    fn context(&self, tenant: TenantId, user: UserId, key: Option<ApiKeyId>) -> Context {
        let identity = Identity {
            tenant,
            principal: Principal::User(user),
            scopes: PermissionSet::EMPTY,
            expires: None,
            key,
        };
        let issuer = ContextIssuer::new(self.env.clone());
        issuer.context(&identity, &PermissionSet::EMPTY, RequestInfo::default())
    }

    fn ctx(&self) -> Context {
        self.user(self.env.id())
    }

    fn ledger(&self) -> Arc<MemoryLedger> {
        Arc::new(MemoryLedger::new(self.env.clone()))
    }
}

fn limit(scope: Scope, dimension: Dimension, window: Window, most: u64) -> Limit {
    Limit { scope, dimension, window, zone: Zone::UTC, most }
}

fn requests(window: Window, most: u64) -> Limit {
    limit(Scope::Tenant, Dimension::Requests, window, most)
}

fn input(amount: u64) -> Amounts {
    Amounts { requests: 1, input_tokens: amount, ..Amounts::default() }
}

fn taken(balance: Balance) -> u64 {
    balance.spent + balance.reserved
}

#[track_caller]
fn refused<T: fmt::Debug>(result: Result<T>, dimension: Dimension, window: Window) -> Error {
    let error = result.expect_err("it was let through");
    assert_eq!(error.kind(), ErrorKind::BudgetExceeded, "{error:?}");
    assert!(error.context().contains(&("dimension", dimension.name().to_owned())), "{error:?}");
    assert!(error.context().contains(&("window", window.name().to_owned())), "{error:?}");
    error
}

// The ledger.

#[test]
fn pitfall_08_concurrent_reservations_never_pass_a_limit() {
    let world = world();
    let ledger = world.ledger();
    let users: Vec<UserId> = (0..4).map(|_| world.env.id()).collect();
    let tenant_limit = limit(Scope::Tenant, Dimension::Tokens, Window::Day, 100_000);
    let granted = Mutex::new(HashMap::<HoldId, u64>::new());
    std::thread::scope(|threads| {
        for thread in 0..64_usize {
            let (ledger, users, granted, world) = (&ledger, &users, &granted, &world);
            let tenant_limit = tenant_limit.clone();
            threads.spawn(move || {
                let draw = Draw(Env::new(
                    Arc::new(world.clock.clone()),
                    Arc::new(SeededEntropy::new(thread as u64)),
                ));
                let user = Scope::User(users[thread % users.len()]);
                let limits = [
                    tenant_limit,
                    limit(user, Dimension::InputTokens, Window::Minute, 40_000),
                    requests(Window::Month, 1_000_000),
                ];
                for _ in 0..400 {
                    let amount = 1 + draw.below(200);
                    if let Ok(id) = ledger.reserve_now(world.tenant, &limits, input(amount), TTL) {
                        let used = if draw.below(2) == 0 { amount } else { draw.below(amount + 1) };
                        if draw.below(4) == 0 {
                            assert!(granted.lock().unwrap().insert(id, amount).is_none(), "an id came twice");
                        } else {
                            granted.lock().unwrap().insert(id, used);
                            ledger.settle(id, input(used));
                            ledger.settle(id, input(used));
                        }
                    }
                    for limit in &limits {
                        assert!(taken(ledger.balance_now(world.tenant, limit)) <= limit.most);
                    }
                }
            });
        }
    });
    let all: u64 = granted.lock().unwrap().values().sum();
    assert_eq!(taken(ledger.balance_now(world.tenant, &tenant_limit)), all);
    // It was used to the end: not one more fits than was refused for.
    assert!(tenant_limit.most - all < 200, "{all}");
}

#[test]
fn a_reservation_is_in_every_budget_or_in_none() {
    let world = world();
    let ledger = world.ledger();
    let wide = limit(Scope::Tenant, Dimension::InputTokens, Window::Day, 1000);
    let narrow = limit(Scope::User(world.env.id()), Dimension::InputTokens, Window::Minute, 10);
    for limits in [[wide.clone(), narrow.clone()], [narrow.clone(), wide.clone()]] {
        let error = ledger.reserve_now(world.tenant, &limits, input(11), TTL).unwrap_err();
        assert_eq!(error.retry(), Retry::Never, "it never fits: {error:?}");
        assert_eq!(ledger.balance_now(world.tenant, &wide), Balance::default());
    }
    // The same budget twice is taken twice.
    let twice = [narrow.clone(), narrow.clone()];
    ledger.reserve_now(world.tenant, &twice, input(6), TTL).unwrap_err();
    ledger.reserve_now(world.tenant, &twice, input(5), TTL).unwrap();
    assert_eq!(ledger.balance_now(world.tenant, &narrow).reserved, 10);
    // Of two that are closed, the one that is closed longer says when to come again.
    let month = limit(Scope::Tenant, Dimension::InputTokens, Window::Month, 3);
    ledger.reserve_now(world.tenant, std::slice::from_ref(&month), input(3), TTL).unwrap();
    for limits in [[month.clone(), narrow.clone()], [narrow, month]] {
        let refusal = ledger.reserve_now(world.tenant, &limits, input(3), TTL);
        let error = refused(refusal, Dimension::InputTokens, Window::Month);
        assert_eq!(error.retry(), Retry::After(31 * DAY));
    }
}

#[test]
fn tenants_do_not_see_each_others_budgets() {
    let world = world();
    let ledger = world.ledger();
    let one = [requests(Window::Day, 1)];
    for _ in 0..200 {
        ledger.reserve_now(world.env.id(), &one, input(1), TTL).unwrap();
    }
}

#[test]
fn pitfall_09_a_hold_is_settled_once_and_never_lost() {
    let world = world();
    let ledger = world.ledger();
    let limits = [limit(Scope::Tenant, Dimension::InputTokens, Window::Day, 100)];
    let balance = || ledger.balance_now(world.tenant, &limits[0]);
    let reserve = |amount| ledger.reserve_now(world.tenant, &limits, input(amount), TTL);

    // Settled twice, and settled under an id nobody gave.
    let id = reserve(60).unwrap();
    ledger.settle(id, input(50));
    ledger.settle(id, input(50));
    ledger.settle(HoldId { number: id.number + 1, ..id }, input(50));
    assert_eq!(balance(), Balance { spent: 50, reserved: 0 });

    // A worker that is gone holds nothing for ever.
    let lost = reserve(50).unwrap();
    reserve(1).unwrap_err();
    world.clock.advance(TTL);
    let id = reserve(40).unwrap();
    // It was only slow: what it did is charged, and closes the budget.
    ledger.settle(lost, input(50));
    assert_eq!(balance(), Balance { spent: 100, reserved: 40 });
    ledger.settle(id, input(0));
    reserve(1).unwrap_err();

    // The next day everything is there again, and nothing of yesterday comes back.
    let id = {
        world.clock.advance(DAY);
        let id = reserve(30).unwrap();
        world.clock.advance(DAY);
        id
    };
    assert_eq!(balance(), Balance::default());
    ledger.settle(id, input(30));
    assert_eq!(balance(), Balance::default());
    let id = reserve(100).unwrap();
    assert_eq!(balance(), Balance { spent: 0, reserved: 100 });
    ledger.settle(id, input(7));

    // One that is extended stays; one that had expired is held again where there is room.
    let id = reserve(93).unwrap();
    for _ in 0..5 {
        world.clock.advance(TTL / 2);
        ledger.extend(id, TTL);
        reserve(1).unwrap_err();
    }
    world.clock.advance(TTL);
    let other = reserve(90).unwrap();
    ledger.extend(id, TTL);
    assert_eq!(balance(), Balance { spent: 7, reserved: 90 });
    ledger.settle(other, input(0));
    ledger.extend(id, TTL);
    assert_eq!(balance(), Balance { spent: 7, reserved: 93 });
}

#[tokio::test]
async fn pitfall_09_a_dropped_hold_settles_what_is_known_so_far() {
    let world = world();
    let ledger = world.ledger();
    let ctx = world.ctx();
    let limits = [limit(Scope::Tenant, Dimension::InputTokens, Window::Day, 100)];
    let shared: Arc<dyn Ledger> = ledger.clone();
    let held = Hold::reserve(shared.clone(), &ctx, &limits, input(40), TTL).await.unwrap();
    drop(held);
    assert_eq!(ledger.balance_now(world.tenant, &limits[0]), Balance { spent: 40, reserved: 0 });
    let mut held = Hold::reserve(shared.clone(), &ctx, &limits, input(40), TTL).await.unwrap();
    held.so_far(input(3));
    drop(held);
    assert_eq!(ledger.balance_now(world.tenant, &limits[0]), Balance { spent: 43, reserved: 0 });
    assert!(!Hold::reserve(shared, &ctx, &[], input(40), TTL).await.unwrap().is_limited());
}

#[test]
fn pitfall_10_every_dimension_has_a_window_of_its_own() {
    let world = world();
    let ledger = world.ledger();
    let limits = [
        requests(Window::Minute, 2),
        requests(Window::Day, 5),
        limit(Scope::Tenant, Dimension::InputTokens, Window::Minute, 1000),
        limit(Scope::Tenant, Dimension::Tokens, Window::Day, 2500),
    ];
    let ask = |tokens| ledger.reserve_now(world.tenant, &limits, input(tokens), DAY);
    world.clock.advance(Duration::from_secs(15));
    ask(900).unwrap();
    ask(100).unwrap();
    let error = refused(ask(0), Dimension::Requests, Window::Minute);
    assert_eq!(error.retry(), Retry::After(Duration::from_secs(45)));
    world.clock.advance(Duration::from_secs(45));
    ask(1000).unwrap();
    let error = refused(ask(1), Dimension::InputTokens, Window::Minute);
    assert_eq!(error.retry(), Retry::After(MINUTE));
    world.clock.advance(MINUTE);
    let error = refused(ask(501), Dimension::Tokens, Window::Day);
    assert_eq!(error.retry(), Retry::After(DAY - 2 * MINUTE));
    ask(500).unwrap();
    ask(0).unwrap();
    world.clock.advance(MINUTE);
    refused(ask(0), Dimension::Requests, Window::Day);
}

#[test]
fn pitfall_12_after_a_window_ends_the_first_request_passes() {
    let world = world();
    let ledger = world.ledger();
    let limits = [requests(Window::Minute, 1)];
    let ask = || ledger.reserve_now(world.tenant, &limits, input(1), TTL);
    ask().unwrap();
    world.clock.advance(MINUTE - Duration::from_micros(1));
    let error = ask().unwrap_err();
    assert_eq!(error.retry(), Retry::After(Duration::from_micros(1)));
    world.clock.advance(Duration::from_micros(1));
    // What an unsettled request of the last minute holds is not in the way.
    ask().unwrap();
    ask().unwrap_err();
}

#[test]
fn windows_follow_the_calendar_of_their_time_zone() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let period = |window: Window, now: &str, zone: &Zone| {
        let period = window.period(at(now), zone);
        assert!(period.start <= at(now) && at(now) < period.end);
        (period.start.to_string(), period.end.to_string(), period.end.since(period.start).as_secs() / 60)
    };
    let lisbon = Zone::named("Europe/Lisbon").unwrap();
    let minutes = |window, now, zone| period(window, now, zone).2;
    assert_eq!(
        period(Window::Day, "2026-07-01T00:30:00Z", &lisbon),
        ("2026-06-30T23:00:00.000000Z".into(), "2026-07-01T23:00:00.000000Z".into(), 24 * 60)
    );
    // Clocks are changed on the last Sundays of March and October.
    assert_eq!(minutes(Window::Day, "2026-03-29T12:00:00Z", &lisbon), 23 * 60);
    assert_eq!(minutes(Window::Day, "2026-10-25T12:00:00Z", &lisbon), 25 * 60);
    assert_eq!(minutes(Window::Minute, "2026-10-25T01:59:59.999999Z", &lisbon), 1);
    assert_eq!(minutes(Window::Month, "2028-02-29T23:59:59Z", &Zone::UTC), 29 * 24 * 60);
    assert_eq!(period(Window::Month, "2026-12-31T23:59:59Z", &Zone::UTC).1, "2027-01-01T00:00:00.000000Z");
    // A place that skips midnight begins its day at one o'clock.
    let santiago = Zone::named("America/Santiago").unwrap();
    assert_eq!(period(Window::Day, "2026-09-06T12:00:00Z", &santiago).0, "2026-09-06T04:00:00.000000Z");
    assert_eq!(Zone::named("Europe/Lisboa").unwrap_err().kind(), ErrorKind::InvalidInput);
    // Beyond the calendar nothing is refused for that.
    let never = Window::Day.period(Timestamp::from_micros(i64::MAX), &Zone::UTC);
    assert_eq!(never.start, Timestamp::from_micros(i64::MIN));
}

#[test]
fn pitfall_13_what_is_free_goes_on_when_the_money_is_gone() {
    let world = world();
    let ledger = world.ledger();
    let limits = [limit(Scope::Tenant, Dimension::Cost, Window::Month, 10)];
    let cost = |nanos| Amounts { requests: 1, cost: NanoUsd::from_nanos(nanos), ..Amounts::default() };
    let ask = |nanos| ledger.reserve_now(world.tenant, &limits, cost(nanos), TTL);
    let id = ask(10).unwrap();
    ledger.settle(id, cost(25));
    let error = refused(ask(1), Dimension::Cost, Window::Month);
    assert_eq!(error.retry(), Retry::After(31 * DAY));
    let id = ask(0).unwrap();
    // It was not free after all: that counts.
    ledger.settle(id, cost(2));
    assert_eq!(ledger.balance_now(world.tenant, &limits[0]), Balance { spent: 27, reserved: 0 });
}

/// The ledger against a naive one that keeps every reservation and sums them up anew each time.
#[test]
fn any_sequence_of_steps_gives_what_a_plain_list_of_them_gives() {
    #[derive(Clone)]
    struct Entry {
        day: i64,
        scope: usize,
        amount: u64,
        used: Option<u64>,
        expires: Duration,
    }
    let seed = seed();
    for round in 0..200 {
        let clock = ManualClock::new(Timestamp::from_micros(START));
        let env = Env::new(Arc::new(clock.clone()), Arc::new(SeededEntropy::new(seed + round)));
        let draw = Draw(env.clone());
        let tenant: TenantId = env.id();
        let ledger = MemoryLedger::new(env.clone());
        let scopes = [Scope::Tenant, Scope::User(env.id()), Scope::User(env.id())];
        let limits: Vec<Limit> = scopes
            .iter()
            .map(|scope| limit(scope.clone(), Dimension::InputTokens, Window::Day, 10 + draw.below(100)))
            .collect();
        let mut entries: Vec<(HoldId, Vec<Entry>)> = Vec::new();
        for step in 0..120 {
            let (now, day) = (env.monotonic(), env.now().micros() / DAY.as_micros() as i64);
            let state = |scope: usize, entries: &[(HoldId, Vec<Entry>)]| {
                let mut balance = Balance::default();
                for entry in entries.iter().flat_map(|(_, parts)| parts) {
                    if entry.day != day || entry.scope != scope {
                        continue;
                    }
                    match entry.used {
                        Some(used) => balance.spent += used,
                        None if entry.expires > now => balance.reserved += entry.amount,
                        None => {}
                    }
                }
                balance
            };
            match draw.below(6) {
                0..=2 => {
                    let user = 1 + draw.below(2) as usize;
                    let under = [limits[0].clone(), limits[user].clone()];
                    let amount = draw.below(40);
                    let room = [0, user].iter().all(|scope| {
                        amount == 0 || taken(state(*scope, &entries)) + amount <= limits[*scope].most
                    });
                    let held = ledger.reserve_now(tenant, &under, input(amount), TTL);
                    assert_eq!(held.is_ok(), room, "round {round}, step {step}");
                    if let Ok(id) = held {
                        let part = |scope| Entry { day, scope, amount, used: None, expires: now + TTL };
                        entries.push((id, vec![part(0), part(user)]));
                    }
                }
                3 if !entries.is_empty() => {
                    let chosen = draw.below(entries.len() as u64) as usize;
                    let used = draw.below(60);
                    ledger.settle(entries[chosen].0, input(used));
                    for part in &mut entries[chosen].1 {
                        part.used.get_or_insert(used);
                    }
                }
                4 => clock.advance(Duration::from_secs(draw.below(90))),
                _ if draw.below(10) == 0 => clock.advance(Duration::from_secs(draw.below(86_400))),
                _ => {}
            }
            let (now_day, now) = (env.now().micros() / DAY.as_micros() as i64, env.monotonic());
            for (scope, limit) in limits.iter().enumerate() {
                let ours = ledger.balance_now(tenant, limit);
                let mut naive = Balance::default();
                for entry in entries.iter().flat_map(|(_, parts)| parts) {
                    if entry.day == now_day && entry.scope == scope {
                        match entry.used {
                            Some(used) => naive.spent += used,
                            None if entry.expires > now => naive.reserved += entry.amount,
                            None => {}
                        }
                    }
                }
                assert_eq!(ours, naive, "round {round}, step {step}, scope {scope}");
            }
        }
    }
}

// The ledger over the store.

fn store() -> (World, Arc<dyn QuotaGate>) {
    let world = world();
    let db = MemoryDb::new(world.env.clone());
    (world, db.stores().quota)
}

#[tokio::test]
async fn budgets_of_days_and_months_outlive_the_process() {
    let (world, gate) = store();
    let ctx = world.ctx();
    let limits = [
        limit(Scope::Tenant, Dimension::InputTokens, Window::Day, 1000),
        limit(Scope::User(ctx.principal().user()), Dimension::Requests, Window::Month, 10),
        requests(Window::Minute, 100),
    ];
    let balance = async |ledger: &StoreLedger| {
        let mut all = Vec::new();
        for limit in &limits {
            all.push(ledger.balance(&ctx, limit).await.unwrap());
        }
        all.iter().map(|balance| (balance.spent, balance.reserved)).collect::<Vec<_>>()
    };
    let first = StoreLedger::new(gate.clone(), world.env.clone());
    let id = first.reserve(&ctx, &limits, input(300), TTL).await.unwrap();
    first.settle(id, input(250));
    first.settle(id, input(250));
    let id = first.reserve(&ctx, &limits, input(500), TTL).await.unwrap();
    first.settle(id, input(520));
    assert_eq!(balance(&first).await, [(770, 0), (2, 0), (2, 0)]);
    first.close().await.unwrap();
    assert_eq!(balance(&first).await, [(770, 0), (2, 0), (2, 0)]);
    // Closing gives back and counts once; the ledger can go on.
    first.close().await.unwrap();
    let id = first.reserve(&ctx, &limits, input(30), TTL).await.unwrap();
    first.settle(id, input(30));
    first.close().await.unwrap();

    let second = StoreLedger::new(gate.clone(), world.env.clone());
    assert_eq!(balance(&second).await, [(800, 0), (3, 0), (0, 0)]);
    let error =
        refused(second.reserve(&ctx, &limits, input(201), TTL).await, Dimension::InputTokens, Window::Day);
    assert_eq!(error.retry(), Retry::After(DAY));
    let id = second.reserve(&ctx, &limits, input(200), TTL).await.unwrap();
    second.settle(id, input(200));
    // Without a close, as after a crash: nothing is given back, and nothing is forgotten.
    let third = StoreLedger::new(gate, world.env.clone());
    refused(third.reserve(&ctx, &limits, input(1), TTL).await, Dimension::InputTokens, Window::Day);
    world.clock.advance(DAY);
    third.reserve(&ctx, &limits, input(1000), TTL).await.unwrap();
    refused(third.reserve(&ctx, &limits, input(1), TTL).await, Dimension::InputTokens, Window::Day);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_share_a_budget_to_the_end_and_not_beyond() {
    let (world, gate) = store();
    let ctx = world.ctx();
    let limits = Arc::new([limit(Scope::Tenant, Dimension::InputTokens, Window::Day, 5000)]);
    let granted = Arc::new(Mutex::new(0_u64));
    let mut tasks = Vec::new();
    let ledgers: Vec<_> =
        (0..3).map(|_| Arc::new(StoreLedger::new(gate.clone(), world.env.clone()))).collect();
    for task in 0..48_usize {
        let (ledger, ctx, limits) = (ledgers[task % 3].clone(), ctx.clone(), limits.clone());
        let granted = granted.clone();
        tasks.push(tokio::spawn(async move {
            for _ in 0..40 {
                match ledger.reserve(&ctx, limits.as_slice(), input(7), TTL).await {
                    Ok(id) => {
                        ledger.settle(id, input(7));
                        *granted.lock().unwrap() += 7;
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::BudgetExceeded),
                }
            }
        }));
    }
    within(async {
        for task in tasks {
            task.await.unwrap();
        }
    })
    .await;
    let all = *granted.lock().unwrap();
    assert!(all <= 5000, "{all}");
    // What a process leased and did not need may be left over, which is less than a part of what there was.
    assert!(all > 4500, "{all}");
    for ledger in ledgers {
        ledger.close().await.unwrap();
    }
    let fresh = StoreLedger::new(gate, world.env.clone());
    assert_eq!(fresh.balance(&ctx, &limits[0]).await.unwrap(), Balance { spent: all, reserved: 0 });
    fresh.reserve(&ctx, limits.as_slice(), input(5000 - all), TTL).await.unwrap();
}

// The layer.

/// A model as a router is one: it writes its attempts into the log as they end, also when it is dropped.
#[derive(Debug)]
struct Attempting {
    info: ModelInfo,
    attempts: Vec<Attempt>,
    stalls: bool,
}

struct Pending {
    log: agentprovision_core::model::CallLog,
    attempt: Attempt,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.log.push(self.attempt.clone());
    }
}

fn attempt(tokens: Option<(u64, u64)>, cost: Option<i64>) -> Attempt {
    Attempt {
        provider: "p".into(),
        model: "m".into(),
        credential: 0,
        started: Timestamp::default(),
        duration_us: 1,
        first_content_us: None,
        hedge: false,
        end: AttemptEnd::Answered,
        usage: tokens.map(|(input, output)| Usage {
            input_tokens: Some(input),
            output_tokens: Some(output),
            ..Usage::default()
        }),
        estimated: false,
        cost: cost.map(NanoUsd::from_nanos),
    }
}

#[async_trait]
impl ChatModel for Attempting {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn complete(&self, _: &Context, request: ChatRequest) -> Result<ChatResponse> {
        let pending: Vec<Pending> = self
            .attempts
            .iter()
            .map(|attempt| Pending { log: request.log.clone(), attempt: attempt.clone() })
            .collect();
        if self.stalls {
            std::future::pending::<()>().await;
        }
        drop(pending);
        Err(Error::new(ErrorKind::Unavailable, "nobody answered"))
    }

    async fn stream(&self, _: &Context, request: ChatRequest) -> Result<ChatStream> {
        let pending: Vec<Pending> = self
            .attempts
            .iter()
            .map(|attempt| Pending { log: request.log.clone(), attempt: attempt.clone() })
            .collect();
        let events = stream::iter([Ok(ChatEvent::Text("well".into()))]).chain(stream::pending());
        Ok(events.inspect(move |_| _ = pending.len()).boxed())
    }
}

struct Budgeted {
    world: World,
    ledger: Arc<MemoryLedger>,
    layer: BudgetLayer,
}

fn budgeted(config: serde_json::Value) -> Budgeted {
    let world = world();
    let ledger = world.ledger();
    let config: BudgetConfig = serde_json::from_value(config).unwrap();
    let layer = BudgetLayer::new(&config, ledger.clone(), world.env.clone()).unwrap();
    Budgeted { world, ledger, layer }
}

impl Budgeted {
    fn around(&self, model: impl ChatModel) -> Arc<dyn ChatModel> {
        let model: Arc<dyn ChatModel> = Arc::new(model);
        self.layer.layer(model)
    }

    /// The budgets of a user in the order of the configuration's scopes, as `(spent, reserved)`.
    async fn balances(&self, ctx: &Context) -> Vec<(Dimension, u64, u64)> {
        let balances = self.layer.balances(ctx, "m", &ChatRequest::default().route).await.unwrap();
        balances.iter().map(|(limit, balance)| (limit.dimension, balance.spent, balance.reserved)).collect()
    }
}

fn hello() -> ChatRequest {
    ChatRequest::new("m", vec![Message::user("hello")])
}

fn price(input: i64, output: i64) -> ModelPrice {
    ModelPrice {
        input: PicoUsd(input),
        output: PicoUsd(output),
        cache_read: None,
        cache_write: None,
        cache_write_1h: None,
    }
}

fn talks() -> ScriptedModel {
    ScriptedModel::from_fn("m", |_| Reply::text("hello to you"))
}

#[tokio::test]
async fn a_request_without_room_is_refused_and_nothing_of_it_stays() {
    let test = budgeted(json!({
        "limits": [
            {"of": {"scope": "tenant"}, "per": "month", "requests": 100},
            {"of": {"scope": "user"}, "per": "day", "requests": 2},
        ],
    }));
    let inner = Arc::new(talks());
    let model = test.layer.layer(inner.clone() as Arc<dyn ChatModel>);
    let ctx = test.world.ctx();
    model.complete(&ctx, hello()).await.unwrap();
    let events: Vec<_> = model.stream(&ctx, hello()).await.unwrap().collect().await;
    assert!(events.iter().all(Result::is_ok));
    test.world.clock.advance(DAY / 4);
    let error = refused(model.complete(&ctx, hello()).await, Dimension::Requests, Window::Day);
    assert_eq!(error.retry(), Retry::After(DAY / 4 * 3));
    let user = ctx.principal().user();
    assert!(error.context().contains(&("scope", format!("user `{user}`"))), "{error:?}");
    assert_eq!(error.message(), format!("the budget of user `{user}` per day has no room for `requests`"));
    assert_eq!(inner.requests().len(), 2, "nothing was sent");
    let requests = Dimension::Requests;
    assert_eq!(test.balances(&ctx).await, [(requests, 2, 0), (requests, 2, 0)]);
    // Another user of the tenant has a budget of their own.
    model.complete(&test.world.ctx(), hello()).await.unwrap();
    test.world.clock.advance(DAY / 4 * 3);
    model.complete(&ctx, hello()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_11_concurrent_first_requests_of_an_unknown_user_are_limited() {
    let test = budgeted(json!({
        "limits": [{"of": {"scope": "user"}, "per": "day", "cost_usd": "0.01"}],
        "max_output_tokens": 1000,
    }));
    let inner = Arc::new(talks());
    let model = test.layer.layer(inner.clone() as Arc<dyn ChatModel>);
    let ctx = test.world.ctx();
    // 1000 tokens of output are 0.002 USD, and the prompt is a little more: four fit until they are settled.
    let all = (0..64).map(|_| {
        let (model, ctx) = (model.clone(), ctx.clone());
        tokio::spawn(async move { model.stream(&ctx, hello()).await })
    });
    let mut streams = Vec::new();
    for task in all.collect::<Vec<_>>() {
        match within(task).await.unwrap() {
            Ok(events) => streams.push(events),
            Err(error) => drop(refused(Err::<(), _>(error), Dimension::Cost, Window::Day)),
        }
    }
    assert_eq!(streams.len(), 4);
    assert_eq!(inner.requests().len(), 4);
    let (_, spent, reserved) = test.balances(&ctx).await[0];
    assert!(spent == 0 && reserved > 8_000_000 && reserved <= 10_000_000, "{reserved}");
    for events in streams {
        assert!(events.all(async |event| event.is_ok()).await);
    }
    // What they did use is far less, and exact.
    let usage = inner.requests()[0].messages.clone();
    let input = serde_json::to_string(&usage).unwrap().len() as i64 / 4;
    let (_, spent, reserved) = test.balances(&ctx).await[0];
    assert_eq!((spent as i64, reserved), (4 * (input * 1000 + 4 * 2000), 0));
}

#[tokio::test]
async fn the_most_specific_limit_counts() {
    let world = world();
    let (vip, other): (UserId, TenantId) = (world.env.id(), world.env.id());
    let config = json!({
        "limits": [
            {"of": {"scope": "user"}, "per": "day", "requests": 3, "tokens": 1_000_000},
            {"of": {"scope": "user", "id": vip}, "per": "day", "requests": 5},
            {"of": {"scope": "user", "tenant": other}, "per": "day", "requests": 1},
            {"of": {"scope": "project", "id": "dear"}, "per": "day", "requests": 2},
            {"of": {"scope": "key"}, "per": "day", "requests": 2},
            {"of": {"scope": "model", "id": "n"}, "per": "day", "requests": 0},
        ],
    });
    let config: BudgetConfig = serde_json::from_value(config).unwrap();
    let layer = BudgetLayer::new(&config, world.ledger(), world.env.clone()).unwrap();
    let model = layer.layer(Arc::new(talks()) as Arc<dyn ChatModel>);
    let passes = async |ctx: &Context, request: ChatRequest| {
        let mut passed = 0;
        while model.complete(ctx, request.clone()).await.is_ok() {
            passed += 1;
        }
        passed
    };
    assert_eq!(passes(&world.ctx(), hello()).await, 3);
    assert_eq!(passes(&world.user(vip), hello()).await, 5);
    assert_eq!(passes(&world.context(other, world.env.id(), None), hello()).await, 1);
    assert_eq!(passes(&world.context(world.tenant, world.env.id(), Some(world.env.id())), hello()).await, 2);
    let mut request = hello();
    request.route.project = Some("dear".into());
    assert_eq!(passes(&world.ctx(), request.clone()).await, 2);
    assert_eq!(passes(&world.ctx(), request.clone()).await, 0, "the project's budget is not the user's");
    request.route.project = Some("cheap".into());
    assert_eq!(passes(&world.ctx(), request.clone()).await, 3);
    request.route.project = Some("x".repeat(257));
    assert_eq!(model.complete(&world.ctx(), request).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    let banned =
        layer.layer(Arc::new(ScriptedModel::from_fn("n", |_| Reply::text("x"))) as Arc<dyn ChatModel>);
    let error = banned.complete(&world.ctx(), hello()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::BudgetExceeded, Retry::Never));
}

#[tokio::test]
async fn pitfall_04_a_model_without_a_price_is_never_free_by_accident() {
    let with = |policy: serde_json::Value| {
        budgeted(json!({
            "limits": [{"of": {"scope": "tenant"}, "per": "month", "cost_usd": "3"}],
            "unknown_price": policy,
        }))
    };
    let unpriced = || talks().price(None);
    let denying = with(json!("deny"));
    let ctx = denying.world.ctx();
    let error = denying.around(unpriced()).complete(&ctx, hello()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PriceUnknown);
    // A fallback without a price is as bad.
    let fallback: Arc<dyn ChatModel> =
        Arc::new(ScriptedModel::from_fn("other", |_| Reply::text("x")).price(None));
    let layer = denying.layer.clone().models(Arc::new(ModelMap::new([fallback])));
    let model = layer.layer(Arc::new(talks()) as Arc<dyn ChatModel>);
    let mut request = hello();
    model.complete(&ctx, request.clone()).await.unwrap();
    request.route.fallbacks = vec!["nobody".into(), "other".into()];
    assert_eq!(model.complete(&ctx, request).await.unwrap_err().kind(), ErrorKind::PriceUnknown);

    let allowing = with(json!("allow"));
    let ctx = allowing.world.ctx();
    allowing.around(unpriced()).complete(&ctx, hello()).await.unwrap();
    assert_eq!(allowing.balances(&ctx).await, [(Dimension::Cost, 0, 0)]);

    let reserving = with(json!({"reserve": "1"}));
    let ctx = reserving.world.ctx();
    let model = reserving.around(unpriced());
    for _ in 0..3 {
        model.complete(&ctx, hello()).await.unwrap();
    }
    assert_eq!(reserving.balances(&ctx).await, [(Dimension::Cost, 3_000_000_000, 0)]);
    refused(model.complete(&ctx, hello()).await, Dimension::Cost, Window::Month);

    // Where cost is not limited nobody asks for a price.
    let free = budgeted(json!({"limits": [{"of": {"scope": "tenant"}, "per": "day", "tokens": 100_000}]}));
    free.around(unpriced()).complete(&free.world.ctx(), hello()).await.unwrap();
}

#[tokio::test]
async fn pitfall_13_a_free_model_is_served_when_the_budget_is_used_up() {
    let test = budgeted(json!({"limits": [{"of": {"scope": "tenant"}, "per": "month", "cost_usd": "0"}]}));
    let ctx = test.world.ctx();
    refused(test.around(talks()).complete(&ctx, hello()).await, Dimension::Cost, Window::Month);
    test.around(talks().price(Some(price(0, 0)))).complete(&ctx, hello()).await.unwrap();
    // Not one that may fall back to a model that is not free.
    let dear: Arc<dyn ChatModel> = Arc::new(ScriptedModel::from_fn("dear", |_| Reply::text("x")));
    let layer = test.layer.clone().models(Arc::new(ModelMap::new([dear])));
    let free = layer.layer(Arc::new(talks().price(Some(price(0, 0)))) as Arc<dyn ChatModel>);
    let mut request = hello();
    request.route.fallbacks = vec!["dear".into()];
    refused(free.complete(&ctx, request).await, Dimension::Cost, Window::Month);
}

#[tokio::test]
async fn an_estimate_is_the_dearest_answer_that_may_come() {
    let test = budgeted(json!({
        "limits": [{"of": {"scope": "tenant"}, "per": "day", "cost_usd": "100", "output_tokens": 1_000_000}],
        "max_output_tokens": 3000,
    }));
    let ctx = test.world.ctx();
    let dear: Arc<dyn ChatModel> = Arc::new(
        ScriptedModel::from_fn("dear", |_| Reply::text("x")).price(Some(price(5_000_000, 30_000_000))),
    );
    let layer = test.layer.clone().models(Arc::new(ModelMap::new([dear])));
    let inner = Arc::new(ScriptedModel::from_fn("m", |_| Reply::Stall("a".into())));
    let model = layer.layer(inner.clone() as Arc<dyn ChatModel>);
    let mut request = hello();
    let prompt = input_tokens(&request);
    let held = async |request: &ChatRequest| {
        let events = model.stream(&ctx, request.clone()).await.unwrap();
        let balances = test.balances(&ctx).await;
        let held = (balances[0].2, balances[1].2);
        drop(events);
        held
    };
    let cost = |input: u64, output: u64, price: ModelPrice| price.at_most(input, output).nanos() as u64;
    let cheap = price(1_000_000, 2_000_000);
    assert_eq!(held(&request).await, (3000, cost(prompt, 3000, cheap)));
    assert_eq!(
        inner.requests().last().unwrap().max_tokens,
        Some(3000),
        "what was held for is what was asked for"
    );
    request.max_tokens = Some(500);
    assert_eq!(held(&request).await, (500, cost(prompt, 500, cheap)));
    request.route.fallbacks = vec!["dear".into()];
    assert_eq!(held(&request).await, (500, cost(prompt, 500, price(5_000_000, 30_000_000))));
    request.max_tokens = Some(100_000);
    assert_eq!(held(&request).await.0, 3000);
    assert_eq!(inner.requests().last().unwrap().max_tokens, Some(3000));
}

#[tokio::test]
async fn every_attempt_that_may_be_billed_counts_and_no_other() {
    let config = json!({"limits": [{
        "of": {"scope": "tenant"}, "per": "day",
        "requests": 100, "input_tokens": 100_000, "output_tokens": 100_000, "tokens": 100_000, "cost_usd": "1",
    }]});
    let test = budgeted(config);
    let ctx = test.world.ctx();
    let info = talks().info().clone();
    let attempts =
        vec![attempt(None, Some(0)), attempt(Some((10, 2)), Some(700)), attempt(Some((10, 5)), Some(900))];
    let model = test.around(Attempting { info: info.clone(), attempts, stalls: false });
    let request = hello();
    request.log.push(attempt(Some((5000, 5000)), Some(5000)));
    model.complete(&ctx, request).await.unwrap_err();
    use Dimension::{Cost, InputTokens, OutputTokens, Requests, Tokens};
    let spent = test.balances(&ctx).await;
    let expected =
        [(Requests, 1, 0), (InputTokens, 20, 0), (OutputTokens, 7, 0), (Tokens, 27, 0), (Cost, 1600, 0)];
    assert_eq!(spent, expected);

    // An attempt without a price came to what was reckoned with.
    let attempts = vec![attempt(Some((1, 1)), None)];
    let model = test.around(Attempting { info, attempts, stalls: false });
    let estimate = price(1_000_000, 2_000_000).at_most(input_tokens(&hello()), 4096).nanos() as u64;
    model.complete(&ctx, hello()).await.unwrap_err();
    assert_eq!(test.balances(&ctx).await[4], (Cost, 1600 + estimate, 0));
}

#[tokio::test]
async fn pitfall_14_a_dropped_answer_settles_what_was_used_so_far() {
    let config = || {
        json!({"limits": [{
            "of": {"scope": "tenant"}, "per": "day", "input_tokens": 100_000, "output_tokens": 100_000,
        }]})
    };
    let info = talks().info().clone();
    let spent = async |test: &Budgeted, ctx: &Context| {
        let balances = test.balances(ctx).await;
        assert!(balances.iter().all(|(_, _, reserved)| *reserved == 0), "{balances:?}");
        (balances[0].1, balances[1].1)
    };

    // A router writes the attempt into the log when its stream is dropped; that is what is settled.
    let test = budgeted(config());
    let ctx = test.world.ctx();
    let attempts = vec![attempt(Some((11, 3)), Some(1))];
    let model = test.around(Attempting { info: info.clone(), attempts: attempts.clone(), stalls: true });
    let mut events = model.stream(&ctx, hello()).await.unwrap();
    events.next().await.unwrap().unwrap();
    assert!(test.balances(&ctx).await[1].2 > 0, "it is held");
    drop(events);
    assert_eq!(spent(&test, &ctx).await, (11, 3));

    // The same before there is an answer at all.
    let task = {
        let (model, ctx) = (model.clone(), ctx.clone());
        tokio::spawn(async move { model.complete(&ctx, hello()).await })
    };
    within(async {
        while test.balances(&ctx).await[1].2 == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    task.abort();
    assert!(within(task).await.unwrap_err().is_cancelled());
    assert_eq!(spent(&test, &ctx).await, (22, 6));

    // A model that keeps no log: the prompt, and what was read of the answer.
    let test = budgeted(config());
    let ctx = test.world.ctx();
    let model = test.around(ScriptedModel::from_fn("m", |_| Reply::Stall("one two three ".into())));
    let mut events = model.stream(&ctx, hello()).await.unwrap();
    for _ in 0..2 {
        events.next().await.unwrap().unwrap();
    }
    drop(events);
    let prompt = input_tokens(&hello());
    assert_eq!(spent(&test, &ctx).await, (prompt, "one two ".len().div_ceil(3) as u64));

    // An answer that broke off is paid; a request that was turned away is not.
    let cut = Error::new(ErrorKind::Incomplete, "it broke off");
    let model = test.around(ScriptedModel::new(
        "m",
        [
            Reply::Break("one ".into(), cut),
            Reply::Fail(Error::new(ErrorKind::RateLimited, "not now")),
            Reply::Fail(Error::new(ErrorKind::RateLimited, "not now")),
        ],
    ));
    let before = spent(&test, &ctx).await;
    let events: Vec<_> = model.stream(&ctx, hello()).await.unwrap().collect().await;
    assert!(events.last().unwrap().is_err());
    assert_eq!(spent(&test, &ctx).await, (before.0 + prompt, before.1 + 2));
    model.complete(&ctx, hello()).await.unwrap_err();
    assert!(model.stream(&ctx, hello()).await.is_err());
    assert_eq!(spent(&test, &ctx).await, (before.0 + prompt, before.1 + 2));
}

/// Answers without token counts.
#[derive(Debug)]
struct Uncounted(ModelInfo);

#[async_trait]
impl ChatModel for Uncounted {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    async fn complete(&self, _: &Context, _: ChatRequest) -> Result<ChatResponse> {
        Ok(ChatResponse {
            id: None,
            model: None,
            text: "123456".into(),
            reasoning: "123".into(),
            refusal: None,
            tool_calls: Vec::new(),
            finish: FinishReason::Stop,
            finish_raw: None,
            usage: None,
            continuation: None,
        })
    }

    async fn stream(&self, _: &Context, _: ChatRequest) -> Result<ChatStream> {
        let finished = ChatEvent::Finished { reason: FinishReason::Stop, raw: None };
        Ok(stream::iter([Ok(ChatEvent::Text("123456789".into())), Ok(finished)]).boxed())
    }
}

#[tokio::test]
async fn an_answer_without_counts_is_counted_by_its_length() {
    let test = budgeted(json!({"limits": [{
        "of": {"scope": "tenant"}, "per": "day", "input_tokens": 100_000, "output_tokens": 100_000,
    }]}));
    let ctx = test.world.ctx();
    let model = test.around(Uncounted(talks().info().clone()));
    model.complete(&ctx, hello()).await.unwrap();
    let prompt = input_tokens(&hello());
    let expected = |n: u64| [(Dimension::InputTokens, n * prompt, 0), (Dimension::OutputTokens, n * 3, 0)];
    assert_eq!(test.balances(&ctx).await, expected(1));
    model.stream(&ctx, hello()).await.unwrap().collect::<Vec<_>>().await;
    assert_eq!(test.balances(&ctx).await, expected(2));
}

#[tokio::test]
async fn work_that_goes_on_keeps_its_room_however_long_it_takes() {
    let test = budgeted(json!({
        "limits": [{"of": {"scope": "tenant"}, "per": "day", "requests": 1}],
        "hold_ms": 30_000,
    }));
    let ctx = test.world.ctx();
    let model = test.around(ScriptedModel::from_fn("m", |_| Reply::Stall(String::new())));
    let reader = {
        let (model, ctx) = (model.clone(), ctx.clone());
        tokio::spawn(async move { model.stream(&ctx, hello()).await.unwrap().next().await.is_none() })
    };
    let waiting = async || {
        within(async {
            while test.world.clock.waiters() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    for _ in 0..10 {
        waiting().await;
        test.world.clock.advance(Duration::from_secs(10));
        // The reader is woken and waits again.
        within(async {
            while test.world.clock.waiters() == 0 || !beaten(&test, &ctx).await {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    refused(model.complete(&ctx, hello()).await, Dimension::Requests, Window::Day);
    reader.abort();
    assert!(within(reader).await.unwrap_err().is_cancelled());
    assert_eq!(test.balances(&ctx).await, [(Dimension::Requests, 1, 0)]);

    // Held, and still held one moment before it would expire without a beat.
    async fn beaten(test: &Budgeted, ctx: &Context) -> bool {
        test.balances(ctx).await == [(Dimension::Requests, 0, 1)]
    }
}

#[derive(Debug)]
struct Vectors(ModelInfo, Option<u64>);

#[async_trait]
impl EmbeddingModel for Vectors {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    async fn embed(&self, _: &Context, request: EmbedRequest) -> Result<EmbedResponse> {
        let usage = self.1.map(|input| Usage { input_tokens: Some(input), ..Usage::default() });
        Ok(EmbedResponse { vectors: vec![vec![1.0]; request.inputs.len()], model: None, usage })
    }
}

#[tokio::test]
async fn pitfall_19_embeddings_are_under_the_same_budgets() {
    let test = budgeted(json!({"limits": [{
        "of": {"scope": "tenant"}, "per": "day", "requests": 3, "output_tokens": 10_000, "cost_usd": "1",
    }]}));
    let ctx = test.world.ctx();
    let info = talks().info().clone();
    let embedder =
        |usage| test.layer.layer(Arc::new(Vectors(info.clone(), usage)) as Arc<dyn EmbeddingModel>);
    let texts = || EmbedRequest::new("m", ["123", "123456"]);
    embedder(Some(7)).embed(&ctx, texts()).await.unwrap();
    use Dimension::{Cost, OutputTokens, Requests};
    assert_eq!(test.balances(&ctx).await, [(Requests, 1, 0), (OutputTokens, 0, 0), (Cost, 7000, 0)]);
    embedder(None).embed(&ctx, texts()).await.unwrap();
    assert_eq!(test.balances(&ctx).await, [(Requests, 2, 0), (OutputTokens, 0, 0), (Cost, 10_000, 0)]);
    test.around(talks()).complete(&ctx, hello()).await.unwrap();
    refused(embedder(None).embed(&ctx, texts()).await, Requests, Window::Day);
    assert_eq!(embedder(None).info(), &info);
}

#[tokio::test]
async fn budgets_change_while_they_are_used() {
    let test = budgeted(json!({"limits": [{"of": {"scope": "tenant"}, "per": "day", "requests": 1}]}));
    let ctx = test.world.ctx();
    let model = test.around(talks());
    model.complete(&ctx, hello()).await.unwrap();
    model.complete(&ctx, hello()).await.unwrap_err();
    let config = |text: &str| serde_json::from_str::<BudgetConfig>(text).unwrap();
    let more = r#"{"limits": [{"of": {"scope": "tenant"}, "per": "day", "requests": 2}]}"#;
    test.layer.reload(&config(more)).unwrap();
    model.complete(&ctx, hello()).await.unwrap();
    model.complete(&ctx, hello()).await.unwrap_err();
    let bad = r#"{"limits": [{"of": {"scope": "tenent"}, "per": "day", "requests": 9}]}"#;
    let error = test.layer.reload(&config(bad)).unwrap_err();
    assert!(error.message().contains("did you mean `tenant`?"), "{error}");
    model.complete(&ctx, hello()).await.unwrap_err();
    test.layer.reload(&config("{}")).unwrap();
    model.complete(&ctx, hello()).await.unwrap();
    assert_eq!(test.ledger.balance_now(test.world.tenant, &requests(Window::Day, 2)).spent, 2);
}

// Rate limits.

fn rate(scope: Scope, dimension: Dimension, per_minute: u64, burst: u64) -> Rate {
    Rate { scope, dimension, per_minute, burst }
}

#[test]
fn pitfall_08_concurrent_requests_never_take_more_tokens_than_there_are() {
    let world = world();
    let buckets = Buckets::new(world.env.clone());
    let user = Scope::User(world.env.id());
    let rates = [
        rate(Scope::Tenant, Dimension::Tokens, 10_000, 10_000),
        rate(user, Dimension::Requests, 1_000_000, 1_000_000),
    ];
    let granted = Mutex::new(0);
    std::thread::scope(|threads| {
        for _ in 0..64 {
            threads.spawn(|| {
                for _ in 0..50 {
                    if let Ok(held) = buckets.take(world.tenant, &rates, &input(70)) {
                        *granted.lock().unwrap() += 7;
                        buckets.settle(held, &input(7));
                    }
                }
            });
        }
    });
    let granted = *granted.lock().unwrap();
    assert!(granted <= 10_000 && granted > 9_900, "{granted}");
    let left = 10_000 - granted;
    assert!(buckets.take(world.tenant, &rates, &input(left + 1)).is_err());
    assert!(buckets.take(world.tenant, &rates, &input(left)).is_ok());
}

#[test]
fn a_refusal_says_to_the_nanosecond_when_there_is_room() {
    let world = world();
    let buckets = Buckets::new(world.env.clone());
    let rates =
        [rate(Scope::Tenant, Dimension::InputTokens, 7, 7), rate(Scope::Tenant, Dimension::Requests, 100, 2)];
    let take = |tokens| buckets.take(world.tenant, &rates, &input(tokens));
    take(7).unwrap();
    let refused = take(3).unwrap_err();
    assert_eq!(refused.rate, rates[0]);
    // Three of seven per minute, rounded up: one nanosecond less is too early.
    let wait = Duration::from_nanos((60_000_000_000_u64 * 3).div_ceil(7));
    assert_eq!(refused.wait, Some(wait));
    world.clock.advance(wait - Duration::from_nanos(1));
    assert_eq!(take(3).unwrap_err().wait, Some(Duration::from_nanos(1)));
    world.clock.advance(Duration::from_nanos(1));
    take(3).unwrap();
    // What never fits, whatever else is in the way.
    assert_eq!(take(8).unwrap_err().wait, None);
    // A refusal takes nothing, from any bucket.
    world.clock.advance(MINUTE);
    for _ in 0..10 {
        take(8).unwrap_err();
    }
    take(1).unwrap();
    take(1).unwrap();
    let refused = take(1).unwrap_err();
    assert_eq!((refused.rate, refused.wait), (rates[1].clone(), Some(Duration::from_millis(600))));
}

/// Work that uses no more than it takes never comes faster than its rate over any time, whenever it is settled.
#[test]
fn over_any_time_no_more_passes_than_burst_and_rate_allow() {
    let seed = seed();
    for round in 0..300 {
        let clock = ManualClock::new(Timestamp::from_micros(START));
        let env = Env::new(Arc::new(clock.clone()), Arc::new(SeededEntropy::new(seed + round)));
        let draw = Draw(env.clone());
        let tenant: TenantId = env.id();
        let buckets = Buckets::new(env.clone());
        let (per_minute, burst) = (60 * (1 + draw.below(5)), 10 + draw.below(50));
        let rates = [rate(Scope::Tenant, Dimension::InputTokens, per_minute, burst)];
        let mut open = Vec::new();
        // When it was let through, in milliseconds, and what it came to.
        let mut passed: Vec<(u64, u64)> = Vec::new();
        let mut naive_holds = 0;
        for _ in 0..150 {
            match draw.below(3) {
                0 => clock.advance(Duration::from_millis(draw.below(2000))),
                1 => {
                    let amount = 1 + draw.below(burst);
                    if let Ok(held) = buckets.take(tenant, &rates, &input(amount)) {
                        let now = env.monotonic().as_millis() as u64;
                        open.push((held, passed.len(), amount));
                        passed.push((now, amount));
                        naive_holds += 1;
                    }
                }
                _ if !open.is_empty() => {
                    let (held, place, amount) = open.swap_remove(draw.below(open.len() as u64) as usize);
                    let used = draw.below(amount + 1);
                    passed[place].1 = used;
                    buckets.settle(held, &input(used));
                }
                _ => {}
            }
        }
        assert!(naive_holds > 5, "round {round} tried little");
        for (place, (start, _)) in passed.iter().enumerate() {
            let mut sum = 0;
            for (end, amount) in &passed[place..] {
                sum += amount;
                assert!(sum * 60_000 <= burst * 60_000 + (end - start) * per_minute, "round {round}");
            }
        }
    }
}

#[test]
fn what_is_given_back_late_lets_nobody_through_twice() {
    let world = world();
    let buckets = Buckets::new(world.env.clone());
    let rates = [rate(Scope::Tenant, Dimension::InputTokens, 60, 60)];
    let take = |tokens| buckets.take(world.tenant, &rates, &input(tokens));
    let slow = take(60).unwrap();
    world.clock.advance(MINUTE);
    let next = take(60).unwrap();
    buckets.settle(slow, &input(0));
    assert_eq!(take(1).unwrap_err().wait, Some(Duration::from_secs(1)), "all of it had run out");
    // Half of it has run out; the other half is given back, and only that.
    world.clock.advance(MINUTE / 2);
    let after = take(30).unwrap();
    buckets.settle(next, &input(0));
    take(30).unwrap();
    assert!(take(1).is_err());
    // Used more than it took: those who come after wait for it.
    buckets.settle(after, &input(90));
    assert_eq!(take(1).unwrap_err().wait, Some(Duration::from_secs(61)));
}

fn limited(config: serde_json::Value) -> (World, RateLimitLayer) {
    let world = world();
    let config: RateLimitConfig = serde_json::from_value(config).unwrap();
    let layer = RateLimitLayer::new(&config, world.env.clone()).unwrap();
    (world, layer)
}

#[tokio::test]
async fn too_many_requests_are_refused_with_the_time_to_wait() {
    let (world, layer) = limited(json!({"limits": [
        {"of": {"scope": "user"}, "requests_per_minute": 60, "burst_per_cent": 5},
        {"of": {"scope": "tenant"}, "tokens_per_minute": 100_000},
    ]}));
    let inner = Arc::new(talks());
    let model = layer.layer(inner.clone() as Arc<dyn ChatModel>);
    let ctx = world.ctx();
    for _ in 0..3 {
        model.complete(&ctx, hello()).await.unwrap();
    }
    let error = model.stream(&ctx, hello()).await.err().unwrap();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::RateLimited, Retry::After(Duration::from_secs(1))));
    let user = ctx.principal().user();
    assert_eq!(error.message(), format!("user `{user}` has used up its `requests` per minute for now"));
    assert_eq!(inner.requests().len(), 3, "nothing was sent");
    model.complete(&world.ctx(), hello()).await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    let events: Vec<_> = model.stream(&ctx, hello()).await.unwrap().collect().await;
    assert!(events.iter().all(Result::is_ok));
    let vectors = layer.layer(Arc::new(Vectors(talks().info().clone(), None)) as Arc<dyn EmbeddingModel>);
    let error = vectors.embed(&ctx, EmbedRequest::new("m", ["a"])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited, "one policy for all");
}

#[tokio::test]
async fn tokens_that_were_not_used_are_given_back() {
    let (world, layer) =
        limited(json!({"limits": [{"of": {"scope": "tenant"}, "output_tokens_per_minute": 5000}]}));
    let model = layer.layer(Arc::new(talks()) as Arc<dyn ChatModel>);
    let ctx = world.ctx();
    // Each is reckoned with 4096 tokens, and used 4.
    for _ in 0..50 {
        model.complete(&ctx, hello()).await.unwrap();
    }
    let stalls = layer
        .layer(Arc::new(ScriptedModel::from_fn("m", |_| Reply::Stall("a ".into()))) as Arc<dyn ChatModel>);
    let events = stalls.stream(&ctx, hello()).await.unwrap();
    assert!(stalls.stream(&ctx, hello()).await.is_err(), "what is under way is counted in full");
    drop(events);
    drop(stalls.stream(&ctx, hello()).await.unwrap());
}

#[tokio::test]
async fn pitfall_23_a_request_larger_than_the_limit_never_waits() {
    let (world, layer) = limited(json!({
        "limits": [{"of": {"scope": "tenant"}, "tokens_per_minute": 1000}],
        "max_wait_ms": 3_600_000,
    }));
    let model = layer.layer(Arc::new(talks()) as Arc<dyn ChatModel>);
    let ctx = world.ctx();
    let mut request = hello();
    request.max_tokens = Some(1000);
    let error = within(model.complete(&ctx, request.clone())).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::TooLarge, Retry::Never));
    request.max_tokens = Some(100);
    model.complete(&ctx, request).await.unwrap();
}

#[tokio::test]
async fn requests_wait_in_the_order_they_came_and_no_longer_than_they_may() {
    let (world, layer) = limited(json!({
        "limits": [{"of": {"scope": "tenant"}, "requests_per_minute": 60, "burst_per_cent": 1}],
        "max_wait_ms": 10_000,
        "max_waiting": 3,
    }));
    let inner = Arc::new(talks());
    let model = layer.layer(inner.clone() as Arc<dyn ChatModel>);
    let ctx = world.ctx();
    model.complete(&ctx, hello()).await.unwrap();
    let named = |name: &str| ChatRequest::new("m", vec![Message::user(name)]);
    let mut waiting = Vec::new();
    for (sleepers, name) in ["first", "second", "third"].into_iter().enumerate() {
        let (model, ctx) = (model.clone(), ctx.clone());
        let request = named(name);
        waiting.push(tokio::spawn(async move { model.complete(&ctx, request).await }));
        within(async {
            while world.clock.waiters() <= sleepers {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    // A fourth would be too many; and one whose deadline is near does not line up.
    let error = model.complete(&ctx, named("fourth")).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::RateLimited, Retry::After(Duration::from_secs(1))));
    let mut hasty = named("hasty");
    hasty.route.deadline = Some(world.env.now());
    assert_eq!(model.complete(&ctx, hasty).await.unwrap_err().kind(), ErrorKind::RateLimited);
    // The second goes away; the third takes its turn.
    waiting.remove(1).abort();
    for expected in ["first", "third"] {
        let sent = inner.requests().len();
        world.clock.advance(Duration::from_secs(1));
        within(async {
            while inner.requests().len() == sent {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(inner.requests()[sent].messages, [Message::user(expected)]);
    }
    for task in waiting {
        within(task).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn bad_rate_limits_are_all_named() {
    let config = json!({
        "limits": [
            {"of": {"scope": "team"}, "requests_per_minute": 1},
            {"of": {"scope": "user"}, "requests_per_minute": 0, "burst_per_cent": 101},
            {"of": {"scope": "user"}, "requests_per_minute": 1},
            {"of": {"scope": "model"}},
        ],
        "max_wait_ms": 1,
        "max_waiting": 0,
    });
    let config: RateLimitConfig = serde_json::from_value(config).unwrap();
    let error = RateLimitLayer::new(&config, Env::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    for part in [
        "`limits[0].of.scope`: there is no scope `team`",
        "`limits[1].burst_per_cent`",
        "`limits[1].requests_per_minute`: a rate is more than zero",
        "`limits[2].requests_per_minute`: an earlier limit",
        "`limits[3]`: it limits nothing",
        "`max_waiting`",
    ] {
        assert!(error.message().contains(part), "{part} is not in: {error}");
    }
    assert!(serde_json::from_value::<RateLimitConfig>(json!({"limit": []})).is_err());
}
