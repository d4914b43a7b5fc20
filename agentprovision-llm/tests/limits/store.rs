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
