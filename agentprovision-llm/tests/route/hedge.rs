//! A second request beside a slow one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentprovision_core::model::{AttemptEnd, ChatRequest};
use agentprovision_core::money::{Cost, NanoUsd};
use agentprovision_llm::route::RoutingConfig;

use crate::kit::{ANSWER_COST, Act, Bench, Upstream, ask, begun, fine, opened, patient, until};
use crate::support::within;

fn hedging() -> RoutingConfig {
    let mut config = patient(2);
    config.hedge = Some(agentprovision_llm::route::HedgeConfig::default());
    config
}

/// The first target stands still while it is told to; the second one is always well.
async fn bench(config: RoutingConfig, slow: Vec<Act>) -> (Bench, Arc<AtomicBool>) {
    let still = Arc::new(AtomicBool::new(false));
    let held = Arc::clone(&still);
    let first = Upstream::start(
        move |_, seen| {
            if held.load(Ordering::SeqCst) { slow.clone() } else { fine(seen, "first") }
        },
    );
    let second = Upstream::start(|_, seen| fine(seen, "second"));
    (Bench::new(vec![first.await, second.await], config), still)
}

/// A streamed request, read to its end, while the clock stands.
fn start(bench: &Bench, request: &ChatRequest) -> tokio::task::JoinHandle<agentprovision_core::Result<()>> {
    use futures_util::TryStreamExt;
    let (model, ctx, request) = (bench.model("all"), bench.ctx.clone(), request.clone());
    tokio::spawn(async move { model.stream(&ctx, request).await?.try_for_each(async |_| Ok(())).await })
}

/// So many quick answers.
async fn quick(bench: &Bench, times: usize) {
    for _ in 0..times {
        within(start(bench, &ask("all"))).await.unwrap().unwrap();
    }
}

/// A request whose first target stands still, up to where a second one would be sent.
async fn slow(
    bench: &Bench,
    request: &ChatRequest,
) -> tokio::task::JoinHandle<agentprovision_core::Result<()>> {
    let before = bench.upstreams[0].hanging();
    let task = start(bench, request);
    until(|| bench.upstreams[0].hanging() > before).await;
    bench.clock.advance(Duration::from_millis(2));
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    task
}

#[tokio::test]
async fn pitfall_38_the_slower_one_of_two_is_recorded_and_paid_in_the_same_log() {
    let (bench, still) = bench(hedging(), vec![opened(), Act::Hang]).await;
    quick(&bench, 20).await;
    still.store(true, Ordering::SeqCst);
    let request = ask("all");
    within(slow(&bench, &request).await).await.unwrap().unwrap();
    let attempts = request.log.attempts();
    let said: Vec<_> =
        attempts.iter().map(|one| (one.provider.as_str(), one.hedge, one.end.clone())).collect();
    assert_eq!(said, [("a", false, AttemptEnd::Dropped), ("b", true, AttemptEnd::Answered)]);
    let lost = attempts[0].cost.unwrap();
    assert!(attempts[0].estimated && lost > NanoUsd::ZERO);
    assert_eq!(request.log.cost(), Cost::Known(lost + NanoUsd::from_nanos(ANSWER_COST)));
    until(|| bench.upstreams[0].closed() == 1).await;
}

#[tokio::test]
async fn one_in_twenty_gets_a_second_request() {
    let (bench, still) = bench(hedging(), vec![opened(), Act::Hang]).await;
    quick(&bench, 20).await;
    let hedged = async |expected: bool| {
        still.store(true, Ordering::SeqCst);
        let before = bench.upstreams[1].calls();
        let task = slow(&bench, &ask("all")).await;
        if expected {
            within(task).await.unwrap().unwrap();
        } else {
            task.abort();
            task.await.unwrap_err();
        }
        until(|| bench.upstreams[0].hanging() == 0).await;
        still.store(false, Ordering::SeqCst);
        assert_eq!(bench.upstreams[1].calls() - before, usize::from(expected));
    };
    for _ in 0..5 {
        hedged(true).await;
    }
    hedged(false).await;
    // What answers fill up again: the five above, and these.
    quick(&bench, 15).await;
    hedged(true).await;
    hedged(false).await;
}

#[tokio::test]
async fn no_second_request_without_need() {
    let hangs = || vec![opened(), Act::Hang];
    let mut content = begun(&["half"]);
    content.push(Act::Hang);
    let (mut one_attempt, mut off) = (hedging(), hedging());
    one_attempt.max_attempts = 1;
    off.hedge = None;
    for (why, config, acts, samples, pay_once) in [
        ("the usual times are not known", hedging(), hangs(), 19, false),
        ("there is content", hedging(), content, 20, false),
        ("the budget has no room", one_attempt, hangs(), 20, false),
        ("both may be billed", hedging(), hangs(), 20, true),
        ("it is off", off, hangs(), 20, false),
    ] {
        let (bench, still) = bench(config, acts).await;
        quick(&bench, samples).await;
        still.store(true, Ordering::SeqCst);
        let mut request = ask("all");
        request.route.pay_once = pay_once;
        let task = slow(&bench, &request).await;
        assert_eq!((bench.upstreams[1].calls(), task.is_finished()), (0, false), "{why}");
        task.abort();
        task.await.unwrap_err();
        assert_eq!(request.log.len(), 1, "{why}");
    }
}
