//! The ledger over a store.

use super::*;

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

/// What a gate does instead of what it should.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Mood {
    #[default]
    Well,
    /// Does it and never says so.
    Hangs,
    /// Does nothing for this tenant, and never says so.
    DeafTo(TenantId),
    /// Settles nothing for this tenant.
    Fails(TenantId),
}

/// A gate with moods, which counts what it is asked.
#[derive(Debug)]
struct Moody {
    inner: Arc<dyn QuotaGate>,
    mood: Mutex<Mood>,
    asked: Mutex<usize>,
}

impl Moody {
    fn over(inner: Arc<dyn QuotaGate>) -> Arc<Self> {
        Arc::new(Self { inner, mood: Mutex::default(), asked: Mutex::default() })
    }

    fn feels(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }

    async fn does<T>(
        &self,
        ctx: &Context,
        settles: bool,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        *self.asked.lock().unwrap() += 1;
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::DeafTo(tenant) if tenant == ctx.tenant() => std::future::pending().await,
            Mood::Fails(tenant) if tenant == ctx.tenant() && settles => {
                Err(Error::new(ErrorKind::Unavailable, "the store is away"))
            }
            Mood::Hangs => {
                let _ = work.await;
                std::future::pending().await
            }
            _ => work.await,
        }
    }
}

#[async_trait]
impl QuotaGate for Moody {
    async fn define(&self, ctx: &Context, key: &BudgetKey, cap: Option<i64>) -> Result<()> {
        *self.asked.lock().unwrap() += 1;
        self.inner.define(ctx, key, cap).await
    }

    async fn reserve(&self, ctx: &Context, id: ReservationId, demand: Demand) -> Result<Reservation> {
        self.does(ctx, false, self.inner.reserve(ctx, id, demand)).await
    }

    async fn settle(&self, ctx: &Context, held: Reservation, actual: Demand) -> Result<()> {
        self.does(ctx, true, self.inner.settle(ctx, held, actual)).await
    }

    async fn state(&self, ctx: &Context, key: &BudgetKey) -> Result<Option<BudgetState>> {
        *self.asked.lock().unwrap() += 1;
        self.inner.state(ctx, key).await
    }
}

struct Kept {
    world: World,
    gate: Arc<Moody>,
    ledger: Arc<StoreLedger>,
    limits: [Limit; 1],
}

/// A budget of so many prompt tokens per day.
fn kept(most: u64) -> Kept {
    let (world, gate) = store();
    let gate = Moody::over(gate);
    let ledger = Arc::new(StoreLedger::new(gate.clone(), world.env.clone()));
    let limits = [limit(Scope::Tenant, Dimension::InputTokens, Window::Day, most)];
    Kept { world, gate, ledger, limits }
}

impl Kept {
    async fn reserve(&self, ctx: &Context, amount: u64) -> Result<HoldId> {
        within(self.ledger.reserve(ctx, &self.limits, input(amount), TTL)).await
    }

    /// As another process sees the budget.
    async fn seen(&self, ctx: &Context) -> (u64, u64) {
        let other = StoreLedger::new(self.gate.inner.clone(), self.world.env.clone());
        let Balance { spent, reserved } = other.balance(ctx, &self.limits[0]).await.unwrap();
        (spent, reserved)
    }
}

#[tokio::test]
async fn a_block_for_somebody_who_went_away_is_not_lost() {
    let test = kept(1600);
    let ctx = test.world.ctx();
    let gone = async || {
        test.gate.feels(Mood::Hangs);
        {
            let mut reserving = std::pin::pin!(test.ledger.reserve(&ctx, &test.limits, input(10), TTL));
            assert!(futures_util::poll!(reserving.as_mut()).is_pending());
        }
        test.gate.feels(Mood::Well);
    };
    gone().await;
    assert_eq!(test.seen(&ctx).await, (0, 100), "the gate has done it");
    test.ledger.close().await.unwrap();
    assert_eq!(test.seen(&ctx).await, (0, 0));

    // Whoever comes next takes it over.
    gone().await;
    let id = test.reserve(&ctx, 70).await.unwrap();
    assert_eq!(test.seen(&ctx).await, (0, 100));
    test.ledger.settle(id, input(70));

    // The same of one who closes: what was told is told once.
    test.gate.feels(Mood::Hangs);
    {
        let mut closing = std::pin::pin!(test.ledger.close());
        assert!(futures_util::poll!(closing.as_mut()).is_pending());
    }
    test.gate.feels(Mood::Well);
    let id = test.reserve(&ctx, 30).await.unwrap();
    test.ledger.settle(id, input(30));
    test.ledger.close().await.unwrap();
    assert_eq!(test.seen(&ctx).await, (100, 0));
}

#[tokio::test]
async fn what_a_window_left_behind_is_told_when_its_tenant_comes_again() {
    let test = kept(1600);
    let ctx = test.world.ctx();
    let id = test.reserve(&ctx, 10).await.unwrap();
    test.ledger.settle(id, input(10));
    let yesterday =
        BudgetKey::new("llm:tenant:input_tokens:day:2026-03-01T00:00:00.000000Z", StoreDimension::Tokens);
    let held = async || test.gate.inner.state(&ctx, &yesterday).await.unwrap().unwrap().reserved;
    assert_eq!(held().await, 100);
    test.world.clock.advance(DAY);
    // A failure is not the business of whoever comes, and forgets nothing.
    test.gate.feels(Mood::Fails(test.world.tenant));
    test.reserve(&ctx, 10).await.unwrap();
    assert_eq!(held().await, 100);
    test.gate.feels(Mood::Well);
    test.reserve(&ctx, 200).await.unwrap();
    assert_eq!(held().await, 0);
}

#[tokio::test]
async fn the_budget_of_one_tenant_holds_up_no_other() {
    let test = kept(100);
    let (ctx, other) = (test.world.ctx(), test.world.context(test.world.env.id(), test.world.env.id(), None));
    test.gate.feels(Mood::DeafTo(ctx.tenant()));
    let mut stuck = std::pin::pin!(test.ledger.reserve(&ctx, &test.limits, input(1), TTL));
    assert!(futures_util::poll!(stuck.as_mut()).is_pending());
    let id = test.reserve(&other, 1).await.unwrap();
    test.ledger.settle(id, input(1));
    // Nor do its blocks, when all are given back.
    let mut closing = std::pin::pin!(test.ledger.close());
    assert!(futures_util::poll!(closing.as_mut()).is_pending());
    assert_eq!(test.seen(&other).await, (1, 0));
}

#[tokio::test]
async fn a_budget_without_room_is_not_asked_about_by_every_request() {
    let test = kept(100);
    let ctx = test.world.ctx();
    let id = test.reserve(&ctx, 100).await.unwrap();
    let refuse = async |amount| {
        let refusal = test.reserve(&ctx, amount).await;
        refused(refusal, Dimension::InputTokens, Window::Day)
    };
    refuse(1).await;
    let asked = test.gate.asked();
    for _ in 0..100 {
        assert_eq!(refuse(1).await.retry(), Retry::After(DAY));
        assert_eq!(refuse(101).await.retry(), Retry::Never);
    }
    assert_eq!(test.gate.asked(), asked);
    // What is given back here is there at once, and what others give back after a while.
    test.ledger.settle(id, input(60));
    let id = test.reserve(&ctx, 40).await.unwrap();
    test.ledger.settle(id, input(30));
    test.ledger.close().await.unwrap();
    let other = StoreLedger::new(test.gate.inner.clone(), test.world.env.clone());
    other.reserve(&ctx, &test.limits, input(10), TTL).await.unwrap();
    refuse(5).await;
    other.close().await.unwrap();
    let other = StoreLedger::new(test.gate.inner.clone(), test.world.env.clone());
    assert_eq!(other.balance(&ctx, &test.limits[0]).await.unwrap(), Balance { spent: 100, reserved: 0 });
    // A higher limit opens it at once.
    let more = [limit(Scope::Tenant, Dimension::InputTokens, Window::Day, 200)];
    test.ledger.reserve(&ctx, &more, input(50), TTL).await.unwrap();
    // A day later it is another budget, also within the second.
    test.world.clock.advance(DAY);
    test.reserve(&ctx, 100).await.unwrap();
}

#[tokio::test]
async fn what_others_give_back_is_found_a_second_later() {
    let test = kept(100);
    let ctx = test.world.ctx();
    let other = StoreLedger::new(test.gate.inner.clone(), test.world.env.clone());
    let id = other.reserve(&ctx, &test.limits, input(100), TTL).await.unwrap();
    test.reserve(&ctx, 50).await.unwrap_err();
    other.settle(id, input(10));
    other.close().await.unwrap();
    test.reserve(&ctx, 50).await.unwrap_err();
    test.world.clock.advance(Duration::from_secs(1));
    test.reserve(&ctx, 50).await.unwrap();
}

#[tokio::test]
async fn closing_tells_all_that_was_used_and_gives_every_tenants_blocks_back() {
    let test = kept(1000);
    let ctx = test.world.ctx();
    let slow = test.reserve(&ctx, 100).await.unwrap();
    test.ledger.close().await.unwrap();
    assert_eq!(test.seen(&ctx).await, (100, 0));
    // It came to more than its estimate, and there is no block left to tell that with.
    test.ledger.settle(slow, input(150));
    test.ledger.close().await.unwrap();
    assert_eq!(test.seen(&ctx).await, (150, 0));

    // The same beyond the limit, which is no reason to forget it.
    let all = test.reserve(&ctx, 850).await.unwrap();
    test.ledger.close().await.unwrap();
    test.ledger.settle(all, input(900));
    test.ledger.close().await.unwrap();
    test.ledger.close().await.unwrap();
    assert_eq!(test.seen(&ctx).await, (1050, 0));

    // One tenant's failure is said, and keeps nobody else's blocks.
    let others: Vec<Context> =
        (0..20).map(|_| test.world.context(test.world.env.id(), test.world.env.id(), None)).collect();
    for ctx in &others {
        let id = test.reserve(ctx, 10).await.unwrap();
        test.ledger.settle(id, input(10));
    }
    test.gate.feels(Mood::Fails(others[3].tenant()));
    assert_eq!(test.ledger.close().await.unwrap_err().kind(), ErrorKind::Unavailable);
    for (place, ctx) in others.iter().enumerate() {
        let expected = if place == 3 { (0, 62) } else { (10, 0) };
        assert_eq!(test.seen(ctx).await, expected, "{place}");
    }
    test.gate.feels(Mood::Well);
    test.ledger.close().await.unwrap();
    assert_eq!(test.seen(&others[3]).await, (10, 0));
}
