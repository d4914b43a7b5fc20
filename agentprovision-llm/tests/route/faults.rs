//! Every way an upstream can fail, before and after content, with and without somebody else to ask.

use agentprovision_core::clock::SeededEntropy;
use agentprovision_core::model::{AttemptEnd, ChatEvent};
use agentprovision_core::money::{Cost, NanoUsd};
use agentprovision_core::{Env, ErrorKind};
use agentprovision_llm::Category;
use futures_util::StreamExt;
use serde_json::json;
use std::sync::Arc;

use crate::kit::{
    ANSWER_COST, Act, Bench, Upstream, ask, begun, categories, ended, event, fine, opened, patient, status,
};
use crate::support::{finish_event, text_event};

/// A failure and the category it is recorded as.
#[derive(Clone, Debug)]
struct Fault {
    name: &'static str,
    category: &'static str,
    acts: Vec<Act>,
}

/// Words that no error may repeat.
const WORDS: &str = "upstream words with key-0-secret";

fn with_body(code: u16, body: &serde_json::Value) -> Vec<Act> {
    status(code, "content-type: application/json\r\n", &body.to_string())
}

fn said(code: u16) -> Vec<Act> {
    with_body(code, &json!({"error": {"message": WORDS}}))
}

fn coded(status: u16, code: &str) -> Vec<Act> {
    with_body(status, &json!({"error": {"message": WORDS, "code": code}}))
}

/// Failures before anything of the answer came, whether it was to be streamed or not.
fn before() -> Vec<Fault> {
    let fault = |name, category: &'static str, acts| Fault { name, category, acts };
    vec![
        fault("400", "invalid_request", said(400)),
        fault("422", "invalid_request", said(422)),
        fault("policy", "content_policy", coded(400, "content_policy_violation")),
        fault("window", "context_window_exceeded", coded(400, "context_length_exceeded")),
        fault("401", "authentication", said(401)),
        fault("403", "permission", said(403)),
        fault("402", "quota_exhausted", said(402)),
        fault("quota", "quota_exhausted", coded(429, "insufficient_quota")),
        fault("404", "not_found", said(404)),
        fault("405", "unsupported", said(405)),
        fault("413", "request_exceeds_limit", said(413)),
        fault("429", "rate_limit", said(429)),
        fault("503", "overloaded", said(503)),
        fault("529", "overloaded", said(529)),
        fault("500", "server_error", said(500)),
        fault("502", "server_error", status(502, "", "<html>bad gateway</html>")),
        fault("504", "timeout", said(504)),
        fault("redirect", "malformed", status(302, "location: http://127.0.0.1:1/\r\n", "")),
        fault("no json", "malformed", status(200, "", "<html>hello</html>\n")),
        fault("200 error", "server_error", with_body(200, &json!({"error": {"message": WORDS}}))),
        fault("reset", "unavailable", vec![Act::Reset]),
        fault("hang", "deadline_exceeded", vec![Act::Hang]),
        fault(
            "cut body",
            "incomplete",
            vec![Act::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"choices\"".to_vec())],
        ),
    ]
}

/// Failures in the middle of a stream.
fn within_a_stream() -> Vec<Fault> {
    let error =
        |code: &str| event(&format!("data: {}\n\n", json!({"error": {"message": WORDS, "code": code}})));
    let fault = |name, category: &'static str, acts| Fault { name, category, acts };
    vec![
        fault("error event", "server_error", vec![error("server_error"), ended()]),
        fault("overloaded event", "overloaded", vec![error("overloaded_error"), ended()]),
        fault("rate limit event", "rate_limit", vec![error("rate_limit_exceeded"), ended()]),
        fault(
            "error field",
            "server_error",
            vec![event(&format!("error: {{\"message\": \"{WORDS}\"}}\n\n")), ended()],
        ),
        fault("no finish", "incomplete", vec![ended()]),
        fault("cut", "incomplete", vec![]),
        fault("no json", "malformed", vec![event("data: {{{\n\n"), ended()]),
        fault("hang", "deadline_exceeded", vec![Act::Hang]),
    ]
}

fn policy(category: &str) -> (bool, bool) {
    let of = match category {
        "unavailable" => Category::Transport,
        "deadline_exceeded" => Category::Timeout,
        code => *Category::ALL.iter().find(|one| one.code() == code).unwrap(),
    };
    (of.policy().retry_same_target, of.policy().failover_to_other_target)
}

/// The categories whose next credential may do better.
const CREDENTIAL: [&str; 4] = ["authentication", "permission", "quota_exhausted", "rate_limit"];

fn no_words(error: &agentprovision_core::Error) {
    let shown = format!("{error} {:?}", error.context());
    assert!(!shown.contains("upstream words") && !shown.contains("secret"), "{shown}");
}

/// One target that always fails: as often as its category allows, and never more often than the budget.
#[tokio::test]
async fn one_target_is_asked_again_only_where_that_can_help() {
    for streamed in [false, true] {
        for fault in before() {
            let bench = Bench::new(vec![Upstream::always(fault.acts.clone()).await], patient(1));
            let request = ask("a/m");
            let answer = match streamed {
                true => bench.stream(request.clone()).await,
                false => bench.complete(request.clone()).await,
            };
            let error = answer.unwrap_err();
            no_words(&error);
            assert!(!format!("{error:?}").contains("key-0-secret"), "{error:?}");
            let (again, _) = policy(fault.category);
            // The only one has all the time there is, and nothing is left after that.
            let expected = if again && fault.name != "hang" { 3 } else { 1 };
            assert_eq!(bench.calls(), expected, "{fault:?}");
            assert_eq!(categories(&request), vec![fault.category; expected], "{fault:?}");
            // Only who may have done the work may send a bill.
            let billed = matches!(fault.category, "deadline_exceeded" | "timeout" | "incomplete")
                || fault.name == "no json";
            for attempt in request.log.attempts() {
                assert_eq!(attempt.is_billed(), billed, "{fault:?}");
                assert_eq!(attempt.cost.unwrap() > NanoUsd::ZERO, billed, "{fault:?}");
            }
        }
    }
}

/// A second target answers wherever that can help, at once; its text is the whole text.
#[tokio::test]
async fn another_target_answers_where_that_can_help() {
    for streamed in [false, true] {
        for fault in before() {
            let failing = Upstream::always(fault.acts.clone()).await;
            let bench = Bench::new(
                vec![failing, Upstream::start(|_, seen| fine(seen, "two words")).await],
                patient(2),
            );
            let request = ask("all");
            let answer = match streamed {
                true => bench.stream(request.clone()).await,
                false => bench.complete(request.clone()).await,
            };
            let (_, over) = policy(fault.category);
            if !over {
                no_words(&answer.unwrap_err());
                assert_eq!(categories(&request), [fault.category]);
                assert_eq!(bench.upstreams[1].calls(), 0, "{fault:?}");
                continue;
            }
            assert_eq!(answer.unwrap(), "two words", "{fault:?}");
            assert_eq!(categories(&request), [fault.category, "answered"], "{fault:?}");
            let last = request.log.attempts().pop().unwrap();
            assert_eq!((last.provider.as_str(), last.estimated), ("b", false));
            assert_eq!(last.cost, Some(NanoUsd::from_nanos(ANSWER_COST)));
            assert_eq!(bench.calls(), 2, "{fault:?}");
        }
    }
}

/// Another credential is asked where the credential may be the trouble.
#[tokio::test]
async fn another_credential_is_asked_where_that_can_help() {
    for streamed in [false, true] {
        for fault in before() {
            // The first request fails, whichever credential it has.
            let acts = fault.acts.clone();
            let upstream =
                Upstream::start(move |n, seen| if n == 0 { acts.clone() } else { fine(seen, "fine") }).await;
            let bench = Bench::with(vec![upstream], 2, patient(1), 3);
            let request = ask("a/m");
            let answer = match streamed {
                true => bench.stream(request.clone()).await,
                false => bench.complete(request.clone()).await,
            };
            let keys = bench.upstreams[0].keys();
            let (again, _) = policy(fault.category);
            if CREDENTIAL.contains(&fault.category) {
                assert_eq!(answer.unwrap(), "fine");
                assert!(keys.len() == 2 && keys[0] != keys[1], "{fault:?}: {keys:?}");
                assert_eq!(bench.now().as_millis(), 0, "at once");
            } else if again {
                assert_eq!(answer.unwrap(), "fine", "{fault:?}");
                assert!(bench.now().as_millis() > 0, "after a pause");
            } else {
                assert!(answer.is_err() && keys.len() == 1, "{fault:?}: {keys:?}");
            }
            assert_eq!(request.log.len(), bench.calls());
        }
    }
}

/// Pitfalls 15, 16 and 18: what goes wrong within a stream before its first content is one failed attempt.
#[tokio::test]
async fn pitfall_18_a_failure_in_a_stream_before_content_goes_to_the_next_target() {
    for fault in within_a_stream() {
        let mut acts = vec![opened()];
        acts.extend(fault.acts.clone());
        let failing = Upstream::always(acts.clone()).await;
        let bench =
            Bench::new(vec![failing, Upstream::start(|_, seen| fine(seen, "two words")).await], patient(2));
        let request = ask("all");
        assert_eq!(bench.stream(request.clone()).await.unwrap(), "two words", "{fault:?}");
        assert_eq!(categories(&request), [fault.category, "answered"], "{fault:?}");
        let bench = Bench::new(vec![Upstream::always(acts).await], patient(1));
        let request = ask("a/m");
        no_words(&bench.stream(request.clone()).await.unwrap_err());
        let (again, _) = policy(fault.category);
        assert_eq!(bench.calls(), if again && fault.name != "hang" { 3 } else { 1 }, "{fault:?}");
        assert_eq!(categories(&request), vec![fault.category; bench.calls()]);
    }
}

/// Pitfalls 16 and 17: after the first piece nobody else is asked, the error is typed, and what was written is counted.
#[tokio::test]
async fn pitfall_17_after_content_nobody_else_goes_on() {
    for fault in within_a_stream() {
        let mut acts = begun(&["half "]);
        acts.push(Act::Gate);
        acts.extend(fault.acts.clone());
        let failing = Upstream::always(acts).await;
        let bench = Bench::with(
            vec![failing, Upstream::start(|_, seen| fine(seen, "never")).await],
            2,
            patient(2),
            1,
        );
        let request = ask("all");
        let mut stream = bench.open(request.clone()).await.unwrap();
        assert_eq!(request.log.len(), 0, "the attempt is under way");
        let first = bench.drive(async { stream.next().await.unwrap().unwrap() }).await;
        assert!(matches!(first, ChatEvent::Started { .. } | ChatEvent::Text(_)), "{first:?}");
        bench.upstreams[0].go();
        let (text, error) = bench.rest(&mut stream).await;
        let error = error.unwrap_or_else(|| panic!("{fault:?} is no end"));
        no_words(&error);
        assert!(
            text == "half " || matches!(first, ChatEvent::Text(_)) && text.is_empty(),
            "{fault:?}: {text:?}"
        );
        assert!(bench.drive(stream.next()).await.is_none(), "nothing follows an error");
        assert_eq!(categories(&request), [fault.category], "{fault:?}");
        let attempt = request.log.attempts().pop().unwrap();
        assert!(attempt.is_billed() && attempt.estimated && attempt.first_content_us.is_some());
        assert_eq!(attempt.usage.unwrap().output_tokens, Some(2), "five bytes, from above");
        assert_eq!((bench.calls(), bench.upstreams[1].calls()), (1, 0), "{fault:?}");
    }
}

#[tokio::test]
async fn a_connection_that_is_refused_goes_to_the_next_target() {
    let bench = Bench::new(
        vec![Upstream::refusing().await, Upstream::start(|_, seen| fine(seen, "here")).await],
        patient(2),
    );
    let request = ask("all");
    assert_eq!(bench.complete(request.clone()).await.unwrap(), "here");
    assert_eq!(categories(&request), ["unavailable", "answered"]);
    assert_eq!(request.log.cost(), Cost::Known(NanoUsd::from_nanos(ANSWER_COST)));
}

/// Pitfall 31: counts that come after the finish reason, in an event without choices, are those of the answer.
#[tokio::test]
async fn pitfall_31_counts_after_the_end_are_recorded() {
    let bench = Bench::new(vec![Upstream::start(|_, seen| fine(seen, "a b")).await], patient(1));
    let request = ask("a/m");
    assert_eq!(bench.stream(request.clone()).await.unwrap(), "a b");
    let attempt = request.log.attempts().pop().unwrap();
    assert_eq!((attempt.end, attempt.estimated), (AttemptEnd::Answered, false));
    assert_eq!(attempt.usage.unwrap().total(), 15);
}

/// What was counted before the end does not hide what was written after it.
#[tokio::test]
async fn counts_so_far_are_no_counts_of_the_whole() {
    let early = json!({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 1}});
    let mut acts = vec![opened(), event(&format!("data: {early}\n\n"))];
    acts.extend([event(&text_event(&"x".repeat(300))), ended()]);
    let bench = Bench::new(vec![Upstream::always(acts).await], patient(1));
    let request = ask("a/m");
    assert!(bench.stream(request.clone()).await.unwrap_err().is(ErrorKind::Incomplete));
    let attempt = request.log.attempts().pop().unwrap();
    let usage = attempt.usage.unwrap();
    assert!(attempt.estimated);
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(7), Some(100)));
}

/// Pitfall 21: whatever upstreams do, in whatever order, no more is asked than the budget allows, every request is in the
/// log, text is that of one answer, and nobody follows content.
#[tokio::test]
async fn pitfall_21_no_script_makes_more_requests_than_the_budget() {
    for seed in 0..60_u64 {
        let env = Env::new(Arc::clone(Env::default().clock()), Arc::new(SeededEntropy::new(seed)));
        let draw = |below: usize| usize::from(u16::from_le_bytes(env.random())) % below;
        let (targets, credentials) = (1 + draw(3), 1 + draw(2));
        let max = 1 + draw(6);
        let mut upstreams = Vec::new();
        for at in 0..targets {
            // What each of its requests meets; `None` is an answer.
            let script: Vec<Option<(bool, Fault)>> = (0..8)
                .map(|_| match draw(5) {
                    0 => None,
                    1 => {
                        let faults = within_a_stream();
                        Some((true, faults[draw(faults.len() - 1)].clone()))
                    }
                    _ => {
                        let faults = before();
                        Some((false, faults[draw(faults.len())].clone()))
                    }
                })
                .collect();
            let upstream = Upstream::start(move |n, seen| match &script[n % script.len()] {
                None => fine(seen, &format!("answer of {at}")),
                Some((false, fault)) => fault.acts.clone(),
                Some((true, fault)) => {
                    let mut acts = begun(&[&format!("part of {at}")]);
                    acts.extend(fault.acts.clone());
                    acts
                }
            });
            upstreams.push(upstream.await);
        }
        let mut config = patient(targets);
        config.max_attempts = u32::try_from(max).unwrap();
        let bench = Bench::with(upstreams, credentials, config, seed);
        for round in 0..3 {
            let before = bench.calls();
            let request = ask("all");
            let at = format!("seed {seed}, round {round}");
            let streamed = draw(2) == 0;
            let (text, error) = if streamed {
                match bench.open(request.clone()).await {
                    Ok(mut stream) => bench.rest(&mut stream).await,
                    Err(error) => (String::new(), Some(error)),
                }
            } else {
                match bench.complete(request.clone()).await {
                    Ok(text) => (text, None),
                    Err(error) => (String::new(), Some(error)),
                }
            };
            let calls = bench.calls() - before;
            assert!(calls <= max, "{at}: {calls} of {max}");
            let attempts = request.log.attempts();
            assert_eq!(attempts.len(), calls, "{at}: {attempts:?}");
            let whole = (0..targets).any(|at| text == format!("answer of {at}"));
            let part = (0..targets).any(|at| text == format!("part of {at}"));
            match &error {
                None => assert!(whole, "{at}: {text:?}"),
                Some(error) => {
                    no_words(error);
                    assert!(text.is_empty() || part, "{at}: {text:?}");
                }
            }
            let answered = attempts.iter().filter(|one| one.end == AttemptEnd::Answered).count();
            assert_eq!(answered, usize::from(error.is_none()), "{at}: {attempts:?}");
            // Whoever gave content was the last one.
            let first = attempts.iter().position(|one| one.first_content_us.is_some());
            assert!(first.is_none_or(|first| first + 1 == attempts.len()), "{at}: {attempts:?}");
            assert!(attempts.iter().all(|one| one.is_billed() == (one.cost > Some(NanoUsd::ZERO))), "{at}");
        }
    }
}

/// Pitfall 16: a stream that is cut after any of its events is an error, and never a short answer.
#[tokio::test]
async fn pitfall_16_a_stream_cut_anywhere_before_its_end_is_incomplete() {
    let words = ["one ", "two ", "three "];
    for cut in 0..=words.len() {
        let mut acts = begun(&words[..cut]);
        acts.push(ended());
        let bench = Bench::new(vec![Upstream::always(acts).await], patient(1));
        let request = ask("a/m");
        let error = bench.stream(request.clone()).await.unwrap_err();
        assert!(error.is(ErrorKind::Incomplete), "{error:?}");
        assert_eq!(request.log.len(), if cut == 0 { 3 } else { 1 });
    }
    let mut acts = begun(&words);
    acts.extend([event(&finish_event()), ended()]);
    let bench = Bench::new(vec![Upstream::always(acts).await], patient(1));
    assert_eq!(bench.stream(ask("a/m")).await.unwrap(), "one two three ");
}
