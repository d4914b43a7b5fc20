//! Several credentials of one provider.

use std::collections::BTreeSet;
use std::time::Duration;

use agentprovision_core::ErrorKind;
use serde_json::json;

use crate::kit::{Bench, Upstream, ask, categories, fine, patient, status};

#[tokio::test]
async fn requests_take_turns_with_the_credentials() {
    let bench = Bench::with(vec![Upstream::start(|_, seen| fine(seen, "x")).await], 3, patient(1), 4);
    for _ in 0..60 {
        bench.complete(ask("a/m")).await.unwrap();
    }
    let keys = bench.upstreams[0].keys();
    for key in ["key-0-secret", "key-1-secret", "key-2-secret"] {
        let share = keys.iter().filter(|used| *used == key).count();
        assert!(share >= 10, "{key}: {share} of 60");
    }
}

#[tokio::test]
async fn a_credential_that_is_refused_is_left_alone_for_a_while() {
    let script = |_: usize, seen: &crate::support::Seen| match seen.header("authorization") {
        Some("Bearer key-0-secret") => status(401, "", "{}"),
        _ => fine(seen, "x"),
    };
    let bench = Bench::with(vec![Upstream::start(script).await], 2, patient(1), 4);
    for _ in 0..20 {
        let request = ask("a/m");
        bench.complete(request.clone()).await.unwrap();
        let attempts = request.log.attempts();
        assert_eq!(attempts.last().unwrap().credential, 1);
        assert!(attempts.len() == 1 || categories(&request) == ["authentication", "answered"]);
    }
    let refused = || bench.upstreams[0].keys().iter().filter(|key| *key == "key-0-secret").count();
    assert_eq!(refused(), 1);
    assert_eq!(bench.router.status()[0].blocked, 1);
    bench.clock.advance(Duration::from_secs(30));
    for _ in 0..20 {
        bench.complete(ask("a/m")).await.unwrap();
    }
    assert_eq!(refused(), 2, "once more, after a while");
}

#[tokio::test]
async fn a_pause_is_that_of_one_credential() {
    let script = |_: usize, seen: &crate::support::Seen| match seen.header("authorization") {
        Some("Bearer key-0-secret") => status(429, "retry-after: 40\r\n", "{}"),
        _ => fine(seen, "x"),
    };
    let bench = Bench::with(vec![Upstream::start(script).await], 2, patient(1), 4);
    for _ in 0..20 {
        bench.complete(ask("a/m")).await.unwrap();
    }
    assert_eq!(bench.now(), Duration::ZERO, "nobody waited");
    let limited = bench.upstreams[0].keys().iter().filter(|key| *key == "key-0-secret").count();
    assert_eq!((limited, bench.calls()), (1, 21));
}

/// What one credential is refused takes nothing of what outages may cost: there is no end to going on to the next.
#[tokio::test]
async fn going_on_to_the_next_credential_is_no_retry() {
    let script = |_: usize, seen: &crate::support::Seen| match seen.header("authorization") {
        Some("Bearer key-0-secret") => status(429, "", "{}"),
        _ => fine(seen, "x"),
    };
    let mut config = patient(1);
    config.max_attempts = 2;
    let bench = Bench::with(vec![Upstream::start(script).await], 2, config, 4);
    for _ in 0..100 {
        bench.complete(ask("a/m")).await.unwrap();
        // Long enough for the breaker of the one to be tried again.
        bench.clock.advance(Duration::from_secs(130));
    }
}

/// A pause of one credential does not keep the target from being asked again under the other.
#[tokio::test]
async fn a_target_is_asked_again_under_whichever_credential_is_free() {
    let script = |n: usize, seen: &crate::support::Seen| match n {
        0 => status(429, "retry-after: 1000\r\n", "{}"),
        1 => status(500, "", "{}"),
        _ => fine(seen, "x"),
    };
    let bench = Bench::with(vec![Upstream::start(script).await], 2, patient(1), 4);
    let request = ask("a/m");
    assert_eq!(bench.complete(request.clone()).await.unwrap(), "x");
    let keys = bench.upstreams[0].keys();
    assert_eq!((keys.len(), &keys[1]), (3, &keys[2]), "{keys:?}");
    assert!(bench.now() < Duration::from_secs(1));
}

/// Pitfall 39: nothing an upstream says reaches whoever asked, not even when every credential is refused.
#[tokio::test]
async fn pitfall_39_no_words_and_no_keys_in_errors() {
    let body = json!({"error": {"message": "Incorrect API key provided: key-0-secret, key-1-secret; upstream words"}});
    let bench =
        Bench::with(vec![Upstream::always(status(401, "", &body.to_string())).await], 2, patient(1), 4);
    let error = bench.complete(ask("a/m")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderError);
    assert_eq!(bench.upstreams[0].keys().iter().collect::<BTreeSet<_>>().len(), 2);
    for shown in [error.to_string(), format!("{:?}", error.context())] {
        assert!(!shown.contains("secret") && !shown.contains("upstream words"), "{shown}");
    }
}
