//! Breaker, cooldown and the hints of providers, by real answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentprovision_core::{ErrorKind, Retry};
use agentprovision_llm::route::{Reason, RoutingConfig};
use futures_util::future::join_all;
use serde_json::json;

use crate::kit::{Act, Bench, Upstream, ask, begun, categories, ended, event, fine, patient, status, until};
use crate::support::Seen;

/// One try for each request, so that a test counts failures.
fn once(targets: usize) -> RoutingConfig {
    let mut config = patient(targets);
    config.max_attempts = 1;
    config
}

fn refused(headers: &str, message: &str) -> Vec<Act> {
    status(429, headers, &json!({"error": {"message": message}}).to_string())
}

fn blocked(bench: &Bench, model: &str) -> Option<Reason> {
    let decision = bench.router.explain(&bench.ctx, &ask(model)).unwrap();
    decision.candidates[0].blocked
}

/// An upstream that fails until it is told to be well.
async fn failing(fault: impl Fn(&Seen) -> Vec<Act> + Send + Sync + 'static) -> (Upstream, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(false));
    let held = Arc::clone(&well);
    let script =
        move |_, seen: &Seen| if held.load(Ordering::SeqCst) { fine(seen, "well") } else { fault(seen) };
    (Upstream::start(script).await, well)
}

#[tokio::test]
async fn a_breaker_opens_after_five_failures_probes_and_closes() {
    let (upstream, well) = failing(|_| status(500, "", "{}")).await;
    let bench = Bench::new(vec![upstream], once(1));
    for n in 1..=5 {
        assert_eq!(blocked(&bench, "a/m"), None, "{n}");
        bench.complete(ask("a/m")).await.unwrap_err();
    }
    assert_eq!(blocked(&bench, "a/m"), Some(Reason::Open));
    assert_eq!(bench.calls(), 5);
    // The only one is never shut out for good: one request a second may try, the others fail at once and know when.
    bench.complete(ask("a/m")).await.unwrap_err();
    assert_eq!(bench.calls(), 6);
    let error = bench.complete(ask("a/m")).await.unwrap_err();
    assert_eq!(bench.calls(), 6);
    assert!(error.is(ErrorKind::Unavailable), "{error}");
    let Retry::After(wait) = error.retry() else { panic!("{error:?}") };
    assert!((4..=6).contains(&wait.as_secs()), "{wait:?}");
    // A failed probe opens it for twice as long.
    bench.clock.advance(wait);
    bench.complete(ask("a/m")).await.unwrap_err();
    assert_eq!((bench.calls(), blocked(&bench, "a/m")), (7, Some(Reason::Open)));
    well.store(true, Ordering::SeqCst);
    bench.clock.advance(Duration::from_secs(12));
    for _ in 0..2 {
        assert_eq!(bench.complete(ask("a/m")).await.unwrap(), "well");
    }
    // Closed: four failures more do not open it.
    well.store(false, Ordering::SeqCst);
    for _ in 0..4 {
        bench.complete(ask("a/m")).await.unwrap_err();
    }
    assert_eq!(blocked(&bench, "a/m"), None);
}

#[tokio::test]
async fn pitfall_15_a_breaker_learns_from_errors_within_a_stream() {
    let error = event("data: {\"error\": {\"message\": \"x\", \"code\": \"server_error\"}}\n\n");
    let before = vec![crate::kit::opened(), error.clone(), ended()];
    let mut after = begun(&["half"]);
    after.extend([error, ended()]);
    let mut cut = begun(&["half"]);
    cut.push(ended());
    for acts in [before, after, cut] {
        let bench = Bench::new(vec![Upstream::always(acts).await], once(1));
        for _ in 0..5 {
            bench.stream(ask("a/m")).await.unwrap_err();
        }
        assert_eq!(blocked(&bench, "a/m"), Some(Reason::Open));
        assert!(bench.router.status()[0].failing > 0.5);
    }
}

#[tokio::test]
async fn refusals_of_a_bad_request_do_not_open_a_breaker() {
    let bench = Bench::new(vec![Upstream::always(status(400, "", "{}")).await], once(1));
    for _ in 0..20 {
        bench.complete(ask("a/m")).await.unwrap_err();
    }
    assert_eq!((blocked(&bench, "a/m"), bench.calls()), (None, 20));
}

/// A refusal says nothing of whether the target can do its work: it closes no breaker.
#[tokio::test]
async fn refusals_of_a_bad_request_do_not_close_a_breaker() {
    for (code, body) in [
        (400, ""),
        (403, ""),
        (404, ""),
        (413, ""),
        (400, r#"{"error": {"message": "no", "code": "content_policy_violation"}}"#),
    ] {
        let script = move |n: usize, seen: &Seen| match n {
            0..5 => status(500, "", "{}"),
            5..8 => status(code, "content-type: application/json\r\n", body),
            8 => status(500, "", "{}"),
            _ => fine(seen, "well"),
        };
        let bench = Bench::new(vec![Upstream::start(script).await], once(1));
        for _ in 0..5 {
            bench.complete(ask("a/m")).await.unwrap_err();
        }
        bench.clock.advance(Duration::from_secs(7));
        for _ in 0..4 {
            assert_eq!(blocked(&bench, "a/m"), None);
            bench.complete(ask("a/m")).await.unwrap_err();
        }
        assert_eq!(
            blocked(&bench, "a/m"),
            Some(Reason::Open),
            "{code}: still half open, and so it opened again"
        );
    }
}

/// Pitfall 24: while it is tried out, two at a time are let in, and a probe that is left frees its place.
#[tokio::test]
async fn pitfall_24_two_probes_at_a_time_and_a_lost_one_does_not_block() {
    let (well, hangs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (held, held_well) = (Arc::clone(&hangs), Arc::clone(&well));
    let upstream = Upstream::start(move |_, seen| match held.load(Ordering::SeqCst) {
        true => vec![Act::Hang],
        false if held_well.load(Ordering::SeqCst) => fine(seen, "well"),
        false => status(500, "", "{}"),
    })
    .await;
    let bench = Bench::new(vec![upstream], once(1));
    for _ in 0..5 {
        bench.complete(ask("a/m")).await.unwrap_err();
    }
    bench.clock.advance(Duration::from_secs(6));
    hangs.store(true, Ordering::SeqCst);
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (model, ctx) = (bench.model("a/m"), bench.ctx.clone());
            tokio::spawn(async move { model.complete(&ctx, ask("a/m")).await })
        })
        .collect();
    // One more may be asked against the breaker, as once in every second.
    until(|| tasks.iter().filter(|task| task.is_finished()).count() == 7).await;
    until(|| bench.upstreams[0].hanging() == 3).await;
    assert_eq!(bench.calls(), 5 + 3);
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    join_all(tasks).await;
    hangs.store(false, Ordering::SeqCst);
    well.store(true, Ordering::SeqCst);
    until(|| bench.upstreams[0].hanging() == 0).await;
    assert_eq!(bench.complete(ask("a/m")).await.unwrap(), "well");
}

/// Pitfall 22: every form of the hint is kept, and of several the longest holds.
#[tokio::test]
async fn pitfall_22_hints_are_kept_in_every_form() {
    let date = "date: Wed, 21 Oct 2015 07:28:00 GMT\r\n";
    for (headers, message, seconds) in [
        ("retry-after: 7\r\n", "", 7.0),
        ("retry-after: 1.5\r\n", "", 1.5),
        ("retry-after-ms: 2500\r\n", "", 2.5),
        (&*format!("{date}retry-after: Wed, 21 Oct 2015 07:28:09 GMT\r\n"), "", 9.0),
        ("x-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 1m2s\r\n", "", 62.0),
        ("", "Please try again in 3.5s.", 3.5),
        // They disagree: the longest.
        ("retry-after-ms: 1000\r\nretry-after: 4\r\n", "", 4.0),
        ("retry-after: 2\r\n", "Please try again in 11s.", 11.0),
    ] {
        let (headers, message) = (headers.to_owned(), message.to_owned());
        let upstream =
            Upstream::start(
                move |n, seen| if n == 0 { refused(&headers, &message) } else { fine(seen, "later") },
            );
        let mut config = patient(1);
        config.wait_max_ms = 120_000;
        let bench = Bench::new(vec![upstream.await], config);
        let request = ask("a/m");
        assert_eq!(bench.complete(request.clone()).await.unwrap(), "later");
        assert_eq!(bench.now().as_secs_f64(), seconds);
        assert_eq!(categories(&request), ["rate_limit", "answered"]);
    }
}

/// Pitfall 22: a shorter pause does not end a longer one.
#[tokio::test]
async fn pitfall_22_a_shorter_pause_does_not_shorten_a_longer_one() {
    // Both are under way when the first is refused.
    let gated = |headers: &str| [vec![Act::Gate], refused(headers, "")].concat();
    let script = move |n: usize, seen: &Seen| match n {
        0 => gated("retry-after: 50\r\n"),
        1 => gated("retry-after: 2\r\n"),
        _ => fine(seen, "later"),
    };
    let bench = Bench::new(vec![Upstream::start(script).await], once(1));
    let ask_one = || {
        let (model, ctx) = (bench.model("a/m"), bench.ctx.clone());
        tokio::spawn(async move { model.complete(&ctx, ask("a/m")).await })
    };
    let one = ask_one();
    until(|| bench.calls() == 1).await;
    let two = ask_one();
    until(|| bench.calls() == 2).await;
    for task in [one, two] {
        bench.upstreams[0].go();
        crate::support::within(task).await.unwrap().unwrap_err();
    }
    bench.clock.advance(Duration::from_secs(49));
    assert_eq!(blocked(&bench, "a/m"), Some(Reason::Cooling));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(blocked(&bench, "a/m"), None);
}

/// A pause that is too long to wait for is kept nevertheless: the next request does not ask.
#[tokio::test]
async fn pitfall_22_a_pause_that_is_not_waited_for_is_kept() {
    let bench = Bench::new(vec![Upstream::always(refused("retry-after: 300\r\n", "")).await], patient(1));
    let error = bench.complete(ask("a/m")).await.unwrap_err();
    assert!(error.is(ErrorKind::RateLimited), "{error}");
    assert_eq!(error.retry(), Retry::After(Duration::from_secs(300)));
    bench.clock.advance(Duration::from_secs(100));
    let error = bench.complete(ask("a/m")).await.unwrap_err();
    assert_eq!((bench.calls(), error.retry()), (1, Retry::After(Duration::from_secs(200))));
}

/// Pitfall 23: what waiting cannot fix is not asked for again, whatever the headers say.
#[tokio::test]
async fn pitfall_23_what_waiting_cannot_fix_is_not_waited_for() {
    for (message, code, kind) in [
        ("Request too large for gpt-4o", "rate_limit_exceeded", ErrorKind::TooLarge),
        ("You exceeded your current quota", "insufficient_quota", ErrorKind::ProviderError),
    ] {
        let body = json!({"error": {"message": message, "code": code}}).to_string();
        let bench =
            Bench::new(vec![Upstream::always(status(429, "retry-after: 1\r\n", &body)).await], patient(1));
        let error = bench.complete(ask("a/m")).await.unwrap_err();
        assert_eq!((error.kind(), error.retry(), bench.calls()), (kind, Retry::Never, 1), "{error}");
        assert_eq!(bench.now(), Duration::ZERO);
    }
}

/// Pitfall 25: with everybody's breaker open each target may be tried once a second, and an outage of one does not take
/// the turn of another.
#[tokio::test]
async fn pitfall_25_all_open_is_no_lock_out() {
    let down = || Upstream::always(status(500, "", "{}"));
    let bench = Bench::new(vec![down().await, down().await], once(2));
    for _ in 0..5 {
        bench.complete(ask("a/m")).await.unwrap_err();
        bench.complete(ask("b/m")).await.unwrap_err();
    }
    assert_eq!((blocked(&bench, "a/m"), blocked(&bench, "b/m")), (Some(Reason::Open), Some(Reason::Open)));
    for _ in 0..3 {
        bench.complete(ask("a/m")).await.unwrap_err();
        bench.complete(ask("b/m")).await.unwrap_err();
    }
    assert_eq!(bench.upstreams.iter().map(Upstream::calls).collect::<Vec<_>>(), [6, 6]);
    bench.clock.advance(Duration::from_millis(1100));
    bench.complete(ask("all")).await.unwrap_err();
    assert_eq!(bench.calls(), 13, "the least bad one");
}

/// Pitfall 26: a target that fails fast is not the fast one.
#[tokio::test]
async fn pitfall_26_a_target_that_fails_fast_is_not_preferred() {
    let bad = Upstream::start(|n, seen| if n % 2 == 0 { fine(seen, "a") } else { status(500, "", "{}") });
    let good = Upstream::start(|_, seen| fine(seen, "b"));
    let mut config = once(2);
    config.routes.get_mut("all").unwrap().strategy = Some("performance".into());
    config.breaker.min_samples = Some(1000);
    let bench = Bench::new(vec![bad.await, good.await], config);
    for _ in 0..6 {
        bench.complete(ask("a/m")).await.ok();
        bench.complete(ask("b/m")).await.unwrap();
    }
    for _ in 0..20 {
        let decision = bench.router.explain(&bench.ctx, &ask("all")).unwrap();
        assert_eq!(decision.candidates[0].target, "b/m");
    }
}
