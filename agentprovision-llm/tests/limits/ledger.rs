//! The ledger in memory.

use super::*;

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

#[test]
fn requests_that_are_refused_leave_nothing_behind() {
    let world = world();
    let ledger = world.ledger();
    let tenant = limit(Scope::Tenant, Dimension::InputTokens, Window::Day, 10);
    for number in 0..10_000 {
        let project = Scope::Project(format!("flood-{number}").into());
        let project = limit(project, Dimension::InputTokens, Window::Day, 100);
        let limits = [project.clone(), tenant.clone(), project];
        ledger.reserve_now(world.tenant, &limits, input(11), TTL).unwrap_err();
    }
    let kept = format!("{ledger:?}");
    assert!(!kept.contains("flood") && !kept.contains(&world.tenant.to_string()), "{}", kept.len());
    // What was there before a refusal is still there after it.
    let id = ledger.reserve_now(world.tenant, std::slice::from_ref(&tenant), input(4), TTL).unwrap();
    ledger.reserve_now(world.tenant, std::slice::from_ref(&tenant), input(7), TTL).unwrap_err();
    ledger.settle(id, input(3));
    assert_eq!(ledger.balance_now(world.tenant, &tenant), Balance { spent: 3, reserved: 0 });
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
