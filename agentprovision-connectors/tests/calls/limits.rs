//! Waiting, trying again and giving up.

use std::sync::Arc;
use std::time::Duration;

use agentprovision_connectors::CallOptions;
use agentprovision_connectors::quota::{Quota, Shared};
use agentprovision_core::{ErrorKind, Retry};
use serde_json::{Value, json};

use super::world::{Ticket, World, learned};

fn ticket() -> Value {
    json!({ "number": 7, "title": "t" })
}

#[tokio::test]
async fn pitfall_11_every_form_of_retry_after_is_a_bounded_wait() {
    // The clock stands at 2023-11-14T22:13:20Z.
    for (header, waits) in [
        ("3", Some(3)),
        ("0", Some(0)),
        ("-5", Some(0)),
        ("Tue, 14 Nov 2023 22:13:25 GMT", Some(5)),
        ("Tue, 14 Nov 2023 22:13:00 GMT", Some(0)),
        ("soon", Some(0)),
        // Longer than the operation may take: an error with the time, and no waiting.
        ("999999", None),
        ("Tue, 14 Nov 2023 23:13:20 GMT", None),
    ] {
        let world = World::new().await;
        let desk = world.integration().await;
        world.answers(429, &[("retry-after", header)], &json!({ "message": "slow down" }));
        world.answers(200, &[], &ticket());
        let begun = world.env.monotonic();
        let ended = world.run(world.get(&desk)).await;
        let waited = world.env.monotonic().saturating_sub(begun);
        match waits {
            Some(seconds) => {
                assert_eq!(ended.unwrap(), Ticket { number: 7, title: "t".into() }, "{header}");
                assert!(waited >= Duration::from_secs(seconds), "{header}: {waited:?}");
            }
            None => {
                let error = ended.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::RateLimited);
                assert!(
                    matches!(error.retry(), Retry::After(wait) if wait >= Duration::from_secs(3600)),
                    "{error:?}"
                );
                assert_eq!(world.seen().len(), 1, "{header}");
            }
        }
    }
}

#[tokio::test]
async fn reads_are_tried_again_a_few_times_and_writes_are_not() {
    let world = World::new().await;
    let desk = world.integration().await;
    for _ in 0..3 {
        world.answers(503, &[], &json!({}));
    }
    world.answers(200, &[], &ticket());
    world.run(world.get(&desk)).await.unwrap();
    assert_eq!(world.seen().len(), 4);
    for _ in 0..9 {
        world.answers(502, &[], &json!({}));
    }
    let error = world.run(world.get(&desk)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Exhausted));
    assert_eq!(world.seen().len(), 8);
    let made = world.invoke(&desk, "tickets.create", json!({ "queue": "q", "title": "t" }));
    assert_eq!(world.run(made).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(world.seen().len(), 9, "a write may have been carried out");
    // What the vendor did not take can be sent again.
    world.script.lock().unwrap().answers.clear();
    world.answers(429, &[("retry-after", "1")], &json!({}));
    world.answers(200, &[], &ticket());
    let made = world.invoke(&desk, "tickets.create", json!({ "queue": "q", "title": "t" }));
    world.run(made).await.unwrap();
    assert_eq!(world.seen().len(), 11);
}

#[tokio::test]
async fn repeats_are_a_tenth_of_what_succeeds() {
    let world = World::new().await;
    let desk = world.integration().await;
    let mut spent = 0;
    for _ in 0..8 {
        for _ in 0..4 {
            world.answers(503, &[], &json!({}));
        }
        let before = world.seen().len();
        world.run(world.get(&desk)).await.unwrap_err();
        spent += world.seen().len() - before - 1;
        world.script.lock().unwrap().answers.clear();
    }
    assert_eq!(spent, 10, "what was saved up, and no more");
    for _ in 0..10 {
        world.answers(200, &[], &ticket());
        world.run(world.get(&desk)).await.unwrap();
    }
    world.answers(503, &[], &json!({}));
    world.answers(200, &[], &ticket());
    world.run(world.get(&desk)).await.unwrap();
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_waited_for_by_all_who_share_it() {
    let world = World::with(|connector| connector.quota(learned())).await;
    let (mine, other) = (world.integration().await, world.other_tenant().await);
    let theirs = world.integrations.create(&other, world.new_integration("desk")).await.unwrap();
    let reset = (world.env.now().micros() / 1_000_000 + 20).to_string();
    world.answers(200, &[("x-remaining", "0"), ("x-reset", &reset)], &ticket());
    world.run(world.get(&mine)).await.unwrap();
    world.answers(200, &[], &ticket());
    let begun = world.env.monotonic();
    let input = json!({ "queue": "q", "number": 7 }).as_object().unwrap().clone();
    let call =
        world.integrations.invoke(&other, theirs.id, "tickets.get", input.clone(), CallOptions::default());
    world.run(call).await.unwrap();
    assert!(world.env.monotonic().saturating_sub(begun) >= Duration::from_secs(19));
    // Whoever has no time to wait is told at once.
    let reset = (world.env.now().micros() / 1_000_000 + 3600).to_string();
    world.answers(200, &[("x-remaining", "0"), ("x-reset", &reset)], &ticket());
    world.run(world.get(&mine)).await.unwrap();
    let before = (world.seen().len(), world.env.monotonic());
    let call = world.integrations.invoke(&other, theirs.id, "tickets.get", input, CallOptions::default());
    let error = world.run(call).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(matches!(error.retry(), Retry::After(wait) if wait > Duration::from_secs(3000)));
    assert_eq!(before, (world.seen().len(), world.env.monotonic()));
}

#[tokio::test]
async fn pitfall_12_tenants_that_share_a_quota_have_equal_shares() {
    let quota = Quota::new("calls").shared(Shared::App).rate(10, Duration::from_secs(1));
    let world = Arc::new(World::with(|connector| connector.quota(quota)).await);
    let other = world.other_tenant().await;
    let mine = world.integration().await;
    let theirs = world.integrations.create(&other, world.new_integration("desk")).await.unwrap();
    for _ in 0..1000 {
        world.answers(200, &[], &ticket());
    }
    let input = json!({ "queue": "q", "number": 7 }).as_object().unwrap().clone();
    let mut calls = tokio::task::JoinSet::new();
    // One tenant asks nine times as often, and first.
    for at in 0..300 {
        let (ctx, id) = if at >= 270 { (other.clone(), theirs.id) } else { (world.ctx.clone(), mine.id) };
        let (world, input) = (world.clone(), input.clone());
        calls.spawn(async move {
            let called =
                world.integrations.invoke(&ctx, id, "tickets.get", input, CallOptions::default()).await;
            (ctx.tenant(), called.is_ok(), world.env.monotonic())
        });
    }
    let all = async {
        let mut all = Vec::new();
        while let Some(ended) = calls.join_next().await {
            all.push(ended.unwrap());
        }
        all
    };
    let ended = world.run(all).await;
    let share = |tenant, until: Duration| {
        ended.iter().filter(|(whose, ok, at)| *whose == tenant && *ok && *at <= until).count()
    };
    // While both wait, each gets half of what passes.
    let half = Duration::from_secs(6);
    let (first, second) = (share(world.ctx.tenant(), half), share(other.tenant(), half));
    assert!(second >= 25 && first >= 25, "{first} and {second}");
    assert_eq!(share(other.tenant(), Duration::MAX), 30);
}

#[tokio::test]
async fn a_rate_lets_its_burst_pass_at_once_from_the_beginning() {
    let quota = Quota::new("calls").rate(5, Duration::from_secs(10));
    let world = World::with(|connector| connector.quota(quota)).await;
    let desk = world.integration().await;
    for _ in 0..6 {
        world.answers(200, &[], &ticket());
    }
    let begun = world.env.monotonic();
    for _ in 0..5 {
        world.get(&desk).await.unwrap();
    }
    assert_eq!(world.env.monotonic(), begun);
    world.run(world.get(&desk)).await.unwrap();
    assert!(world.env.monotonic().saturating_sub(begun) >= Duration::from_secs(2));
}

#[tokio::test]
async fn pitfall_14_a_channel_has_a_quota_of_its_own() {
    let per_channel = Quota::new("posts")
        .shared(Shared::Field("channel".into()))
        .operations(["chat."])
        .rate(1, Duration::from_secs(1));
    let world = World::with(|connector| connector.quota(per_channel)).await;
    let desk = world.integration().await;
    for _ in 0..4 {
        world.answers(200, &[], &json!({ "ok": true }));
    }
    let post = |channel: &str| world.invoke(&desk, "chat.post", json!({ "channel": channel }));
    let begun = world.env.monotonic();
    post("a").await.unwrap();
    post("b").await.unwrap();
    assert_eq!(world.env.monotonic(), begun, "different channels do not wait for each other");
    world.run(post("a")).await.unwrap();
    assert!(world.env.monotonic().saturating_sub(begun) >= Duration::from_millis(900));
}

#[tokio::test]
async fn an_operation_ends_with_its_time_and_says_whether_it_may_have_been_carried_out() {
    let world = World::new().await;
    let desk = world.integration().await;
    world.script.lock().unwrap().held = Some(Arc::new(tokio::sync::Semaphore::new(0)));
    assert_eq!(world.run(world.get(&desk)).await.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    let made = world.invoke(&desk, "tickets.create", json!({ "queue": "q", "title": "t" }));
    assert_eq!(world.run(made).await.unwrap_err().kind(), ErrorKind::Uncertain);
    let paid = world.invoke(&desk, "payments.create", json!({ "amount": 5 }));
    assert_eq!(
        world.run(paid).await.unwrap_err().kind(),
        ErrorKind::DeadlineExceeded,
        "its key makes it repeatable"
    );
}

#[tokio::test]
async fn calls_of_one_integration_run_at_the_same_time_as_its_connector_says() {
    let world = Arc::new(World::with(|connector| connector.concurrency(2)).await);
    let desk = world.integration().await;
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    world.script.lock().unwrap().held = Some(gate.clone());
    for _ in 0..5 {
        world.answers(200, &[], &ticket());
    }
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let (world, desk) = (world.clone(), desk.clone());
        calls.spawn(async move { world.get(&desk).await.map(drop) });
    }
    let seen = async |count: usize| {
        let reached = async {
            while world.seen().len() < count {
                tokio::task::yield_now().await;
            }
        };
        agentprovision_core::Env::default()
            .timeout(Duration::from_secs(30), reached)
            .await
            .expect("the test hangs");
    };
    seen(2).await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.seen().len(), 2);
    gate.add_permits(5);
    while let Some(ended) = calls.join_next().await {
        ended.unwrap().unwrap();
    }
    assert_eq!(world.seen().len(), 5);
}
