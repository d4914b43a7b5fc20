//! Rate limits, and around models.

use super::*;

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
        // There is room now, and it is not for somebody who comes before those who wait have noticed.
        {
            let mut newcomer = std::pin::pin!(model.complete(&ctx, named("newcomer")));
            let polled = futures_util::poll!(newcomer.as_mut());
            assert!(!matches!(polled, std::task::Poll::Ready(Ok(_))), "it went ahead of those who wait");
        }
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
async fn whoever_is_sent_away_takes_nobodys_turn() {
    let (world, layer) = limited(json!({
        "limits": [{"of": {"scope": "tenant"}, "requests_per_minute": 60, "burst_per_cent": 1}],
        "max_wait_ms": 10_000,
        "max_waiting": 1,
    }));
    let model = layer.layer(Arc::new(talks()) as Arc<dyn ChatModel>);
    let ctx = world.ctx();
    model.complete(&ctx, hello()).await.unwrap();
    let mut waiting = std::pin::pin!(model.complete(&ctx, hello()));
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    world.clock.advance(Duration::from_secs(1));
    for _ in 0..5 {
        let error = model.complete(&ctx, hello()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RateLimited);
    }
    within(waiting).await.unwrap();
}

#[test]
fn a_look_takes_nothing() {
    let world = world();
    let buckets = Buckets::new(world.env.clone());
    let rates = [
        rate(Scope::Tenant, Dimension::Requests, 60, 2),
        rate(Scope::Tenant, Dimension::InputTokens, 60, 10),
    ];
    let full = [rates[0].clone(), rates[1].clone(), rates[1].clone()];
    let held = buckets.take(world.tenant, &rates, &input(4)).unwrap();
    for _ in 0..5 {
        buckets.check(world.tenant, &rates, &input(6)).unwrap();
        buckets.check(world.tenant, &full, &input(3)).unwrap();
        assert_eq!(
            buckets.check(world.tenant, &full, &input(4)).unwrap_err().wait,
            Some(Duration::from_secs(2))
        );
    }
    buckets.settle(held, &input(1));
    buckets.check(world.tenant, &rates, &input(10)).unwrap_err();
    buckets.take(world.tenant, &rates, &input(9)).unwrap();
    assert!(buckets.check(world.tenant, &rates, &input(0)).is_err(), "two requests are two");
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
