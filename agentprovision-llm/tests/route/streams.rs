//! Streams that are left, stand still, or are late.

use std::time::Duration;

use agentprovision_core::ErrorKind;
use agentprovision_core::model::{AttemptEnd, ChatEvent};
use futures_util::StreamExt;

use crate::kit::{
    Act, Bench, LIMIT_MS, Upstream, ask, begun, categories, context_until, ended, event, fine, opened,
    patient, until,
};
use crate::support::{Seen, finish_event, text_event, within};
use serde_json::json;

/// Reads up to the first text.
async fn first_text(bench: &Bench, stream: &mut agentprovision_core::model::ChatStream) {
    let text = async { while !matches!(stream.next().await.unwrap().unwrap(), ChatEvent::Text(_)) {} };
    bench.drive(text).await;
}

#[tokio::test]
async fn pitfall_14_a_stream_that_is_left_closes_its_connection_and_is_paid_by_estimate() {
    let mut acts = begun(&["123456789"]);
    acts.extend([Act::Gate, Act::Hang]);
    let bench = Bench::new(vec![Upstream::always(acts).await], patient(1));
    let request = ask("a/m");
    let mut stream = bench.open(request.clone()).await.unwrap();
    first_text(&bench, &mut stream).await;
    bench.upstreams[0].go();
    assert!(request.log.is_empty());
    drop(stream);
    let attempt = request.log.attempts().pop().expect("recorded with the drop");
    assert_eq!((attempt.end, attempt.estimated), (AttemptEnd::Dropped, true));
    assert_eq!(attempt.usage.unwrap().output_tokens, Some(3));
    assert!(attempt.cost.unwrap().nanos() > 0);
    until(|| bench.upstreams[0].closed() == 1).await;
    // Whoever leaves says nothing of the target.
    assert_eq!(bench.router.status()[0].failing, 0.0);
}

#[tokio::test]
async fn pitfall_14_a_request_that_is_left_before_its_answer_begins_closes_its_connection() {
    for streamed in [false, true] {
        let bench = Bench::new(vec![Upstream::always(vec![Act::Hang]).await], patient(1));
        let request = ask("a/m");
        let (model, ctx, asked) = (bench.model("a/m"), bench.ctx.clone(), request.clone());
        let task = tokio::spawn(async move {
            match streamed {
                true => model.stream(&ctx, asked).await.map(drop),
                false => model.complete(&ctx, asked).await.map(drop),
            }
        });
        until(|| bench.upstreams[0].hanging() == 1).await;
        task.abort();
        task.await.unwrap_err();
        until(|| bench.upstreams[0].closed() == 1).await;
        assert_eq!(categories(&request), ["dropped"]);
        let attempt = request.log.attempts().remove(0);
        assert!(attempt.is_billed() && attempt.estimated);
        // Of an answer in one piece nobody saw how much was written.
        let expected = if streamed { 0 } else { agentprovision_llm::route::DEFAULT_OUTPUT };
        assert_eq!(attempt.usage.unwrap().output_tokens, Some(expected));
    }
}

/// What a request allows, and what is likely in the time it took, bound what an answer that nobody saw may have cost.
#[tokio::test]
async fn pitfall_14_the_estimate_of_an_answer_that_was_not_seen_is_from_above_and_bounded() {
    // A stream of ten tokens a second: a gap, and its counts.
    let counted = |seen: &Seen| match seen.body.windows(13).any(|part| part == b"\"stream\":true") {
        true => {
            let counts = json!({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 10}});
            let mut acts = begun(&["a"]);
            acts.extend([Act::Gate, event(&finish_event()), event(&format!("data: {counts}\n\n")), ended()]);
            acts
        }
        false => vec![Act::Hang],
    };
    let bench = Bench::new(vec![Upstream::start(move |_, seen| counted(seen)).await], patient(1));
    for (known, max_tokens, seconds, expected) in
        [(false, Some(70), 5, 70), (true, None, 5, 2 * 50), (true, Some(70), 5, 70), (true, None, 3600, 4096)]
    {
        if known {
            let mut stream = bench.open(ask("a/m")).await.unwrap();
            first_text(&bench, &mut stream).await;
            bench.clock.advance(Duration::from_secs(1));
            bench.upstreams[0].go();
            assert!(bench.rest(&mut stream).await.1.is_none());
        }
        let mut request = ask("a/m");
        request.max_tokens = max_tokens;
        let (model, ctx, asked) = (bench.model("a/m"), bench.ctx.clone(), request.clone());
        let task = tokio::spawn(async move { model.complete(&ctx, asked).await.map(drop) });
        until(|| bench.upstreams[0].hanging() == 1).await;
        bench.clock.advance(Duration::from_secs(seconds));
        task.abort();
        task.await.unwrap_err();
        until(|| bench.upstreams[0].hanging() == 0).await;
        let usage = request.log.attempts().remove(0).usage.unwrap();
        assert_eq!(usage.output_tokens, Some(expected), "{known} {max_tokens:?} {seconds}");
    }
}

/// Who stops reading with the last piece has the whole answer.
#[tokio::test]
async fn a_reader_that_stops_at_the_finish_reason_has_the_answer() {
    let mut acts = begun(&["123456789"]);
    acts.extend([event(&finish_event()), Act::Gate]);
    let bench = Bench::new(vec![Upstream::always(acts).await], patient(1));
    let request = ask("a/m");
    let mut stream = bench.open(request.clone()).await.unwrap();
    let finish =
        async { while !matches!(stream.next().await.unwrap().unwrap(), ChatEvent::Finished { .. }) {} };
    bench.drive(finish).await;
    drop(stream);
    assert_eq!(categories(&request), ["answered"]);
    assert!(request.log.attempts()[0].estimated);
}

/// Moves the clock on once the upstream hangs and `pauses` is the time to the next limit.
async fn limit_of(bench: &Bench, at: usize) -> Duration {
    until(|| bench.upstreams[at].hanging() == 1 && bench.clock.next_wait().is_some()).await;
    bench.clock.next_wait().unwrap()
}

#[tokio::test]
async fn pitfall_20_only_the_last_candidate_has_the_whole_deadline() {
    let hang = || Upstream::always(vec![opened(), Act::Hang]);
    let mut config = patient(2);
    (config.first_event_ms, config.attempt_ms, config.timeout_ms) = (60_000, 300_000, 600_000);
    for (streamed, limit) in [(true, 60), (false, 300)] {
        let bench = Bench::new(vec![hang().await, hang().await], config.clone());
        let request = ask("all");
        let (model, ctx, asked) = (bench.model("all"), bench.ctx.clone(), request.clone());
        let task = tokio::spawn(async move {
            match streamed {
                true => model.stream(&ctx, asked).await.map(drop),
                false => model.complete(&ctx, asked).await.map(drop),
            }
        });
        let first = limit_of(&bench, 0).await;
        assert_eq!(first.as_secs(), limit, "while another one can be asked");
        bench.clock.advance(first);
        let rest = limit_of(&bench, 1).await;
        assert_eq!(rest.as_secs(), 600 - limit, "all that is left");
        bench.clock.advance(rest);
        let error = within(task).await.unwrap().unwrap_err();
        assert!(error.is(ErrorKind::DeadlineExceeded), "{error}");
        assert_eq!(categories(&request), ["deadline_exceeded"; 2]);
    }
}

#[tokio::test]
async fn the_earliest_of_all_deadlines_holds() {
    let hang = Upstream::always(vec![Act::Hang]).await;
    let bench = Bench::new(vec![hang], patient(1));
    let now = agentprovision_core::clock::Clock::now(&bench.clock);
    for (of_context, of_request, seconds) in [(Some(7), None, 7), (None, Some(5), 5), (Some(3), Some(9), 3)] {
        let deadline = |seconds: Option<u64>| {
            seconds.map(|s| bench.router.registry().env().now().after(Duration::from_secs(s)))
        };
        let mut request = ask("a/m");
        request.route.deadline = deadline(of_request);
        let ctx = deadline(of_context).map_or_else(|| bench.ctx.clone(), context_until);
        let begun = bench.now();
        let model = bench.model("a/m");
        let error = bench.drive(model.complete(&ctx, request.clone())).await.unwrap_err();
        assert!(error.is(ErrorKind::DeadlineExceeded), "{error}");
        assert_eq!((bench.now() - begun).as_secs(), seconds);
        // Whoever is in a hurry does not shut the target out for the others.
        assert_eq!(bench.router.status()[0].failing, 0.0);
        until(|| bench.upstreams[0].hanging() == 0).await;
    }
    let calls = bench.calls();
    let model = bench.model("a/m");
    let error = bench.drive(model.complete(&context_until(now), ask("a/m"))).await.unwrap_err();
    assert!(error.is(ErrorKind::DeadlineExceeded), "{error}");
    assert_eq!(bench.calls(), calls, "nobody is asked when it is too late");
}

/// A stream that keeps writing still ends with its deadline.
#[tokio::test]
async fn the_deadline_ends_a_stream_in_its_middle() {
    let mut acts = begun(&["one "]);
    acts.extend([Act::Gate, event(&text_event("two ")), Act::Gate, Act::Hang]);
    let mut config = patient(1);
    // Longer than what is taken for a pause.
    (config.idle_ms, config.timeout_ms) = (50_000_000, 65_000_000);
    let bench = Bench::new(vec![Upstream::always(acts).await], config);
    let request = ask("a/m");
    let mut stream = bench.open(request.clone()).await.unwrap();
    first_text(&bench, &mut stream).await;
    bench.clock.advance(Duration::from_secs(45_000));
    bench.upstreams[0].go();
    first_text(&bench, &mut stream).await;
    bench.upstreams[0].go();
    let (_, error) = bench.rest(&mut stream).await;
    assert_eq!(error.unwrap().message(), "the deadline of the request has passed");
    assert_eq!(bench.now().as_secs(), 65_000);
    assert_eq!(categories(&request), ["deadline_exceeded"]);
}

#[tokio::test]
async fn keep_alive_comments_are_no_signs_of_life() {
    let mut acts = begun(&["one "]);
    acts.extend([Act::Gate, event(": keep-alive\n\n"), Act::Hang]);
    let mut config = patient(1);
    config.idle_ms = 120_000;
    let bench = Bench::new(vec![Upstream::always(acts).await], config);
    let request = ask("a/m");
    let mut stream = bench.open(request.clone()).await.unwrap();
    first_text(&bench, &mut stream).await;
    let task = tokio::spawn(async move { (stream.next().await, stream) });
    until(|| bench.clock.next_wait() == Some(Duration::from_secs(120))).await;
    bench.clock.advance(Duration::from_secs(100));
    bench.upstreams[0].go();
    until(|| bench.upstreams[0].hanging() == 1).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.clock.next_wait(), Some(Duration::from_secs(20)), "it goes on from where it was");
    bench.clock.advance(Duration::from_secs(20));
    let (item, _) = within(task).await.unwrap();
    let error = item.unwrap().unwrap_err();
    assert_eq!(error.message(), "the model was silent for too long");
    assert_eq!(categories(&request), ["deadline_exceeded"]);
    const { assert!(LIMIT_MS > 120_000) };
}

/// A fallback that was asked while the first target hung gives the whole text.
#[tokio::test]
async fn text_of_two_targets_is_never_mixed() {
    let mut held = vec![opened()];
    held.push(Act::Hang);
    let bench = Bench::new(
        vec![Upstream::always(held).await, Upstream::start(|_, seen| fine(seen, "all of it")).await],
        patient(2),
    );
    assert_eq!(bench.stream(ask("all")).await.unwrap(), "all of it");
    until(|| bench.upstreams[0].closed() == 1).await;
}
