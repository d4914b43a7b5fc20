//! Models side by side.

use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::clock::Timestamp;
use agentprovision_core::model::{CacheUse, ChatModel, ModelPrice};
use agentprovision_core::money::{Cost, NanoUsd, PicoUsd};
use agentprovision_core::testing::{ManualClock, Reply, ScriptedModel, SeededEntropy};
use agentprovision_core::{Env, Error, ErrorKind};
use agentprovision_llm::experiment::{CompareOptions, Comparison, Contains, Contender, ExactMatch, compare};
use serde_json::{Value, json};

use crate::support::{Server, Step, chunk, context, stream_head, text_event, within};
use crate::{Recording, ask, scripted};

fn priced(name: &str, reply: &'static str, price: Option<i64>) -> Arc<dyn ChatModel> {
    let price = price.map(|price| ModelPrice::new(PicoUsd(price), PicoUsd(price)));
    Arc::new(ScriptedModel::from_fn(name, move |_| Reply::text(reply)).price(price))
}

fn manual() -> (CompareOptions, ManualClock) {
    let clock = ManualClock::new(Timestamp::default());
    let env = Env::new(Arc::new(clock.clone()), Arc::new(SeededEntropy::new(1)));
    (CompareOptions::default().env(env), clock)
}

async fn of(contenders: &[(&str, Arc<dyn ChatModel>)], options: &CompareOptions) -> Comparison {
    let contenders: Vec<Contender> =
        contenders.iter().map(|(name, model)| Contender::new(*name, model.clone())).collect();
    within(compare(&context(), &contenders, &ask("m"), options)).await.unwrap()
}

fn recommended(comparison: &Comparison) -> (&str, &str) {
    let found = comparison.recommendation.as_ref().unwrap();
    (&found.model, &found.ground)
}

#[tokio::test]
async fn a_failure_stays_in_its_place() {
    let fails: Arc<dyn ChatModel> = Arc::new(ScriptedModel::from_fn("f", |_| {
        Reply::Fail(Error::new(ErrorKind::RateLimited, "the model provider takes no more requests for now"))
    }));
    let breaks: Arc<dyn ChatModel> = Arc::new(ScriptedModel::from_fn("b", |_| {
        Reply::Break("half ".into(), Error::new(ErrorKind::Unavailable, "gone"))
    }));
    let good = scripted("g", "42");
    let (options, _) = manual();
    let options = options.scorer(ExactMatch::new("42"));
    let comparison = of(&[("bad", fails), ("good", good.clone()), ("broken", breaks)], &options).await;
    let json = serde_json::to_value(&comparison).unwrap();
    let [bad, found, broken] = json["models"].as_array().unwrap().as_slice() else { panic!("{json}") };
    assert_eq!(bad["trials"][0]["failure"]["kind"], "rate_limited");
    assert_eq!((&bad["answered"], &bad["cost"], &bad["latency_us"]), (&json!(0), &json!("0"), &Value::Null));
    assert_eq!((&found["score"], &found["answered"]), (&json!(1000), &json!(1)));
    assert_eq!(found["trials"][0]["answer"], "42");
    assert_eq!(broken["trials"][0]["failure"]["kind"], "unavailable");
    assert_eq!(broken["cost"], Value::Null, "something was answered, and nobody counted it");
    assert_eq!(recommended(&comparison).0, "good");
    let asked = good.requests();
    assert_eq!(asked[0].model, "good");
    assert_eq!(asked[0].route.cache, CacheUse::Never);
}

#[tokio::test]
async fn one_deadline_ends_what_is_too_slow() {
    let slow: Arc<dyn ChatModel> = Arc::new(ScriptedModel::from_fn("s", |_| Reply::Stall("4".into())));
    let (options, clock) = manual();
    let options = options.timeout(Duration::from_secs(9));
    let contenders = [("slow", slow), ("quick", scripted("q", "42") as Arc<dyn ChatModel>)];
    let comparing = of(&contenders, &options);
    let advancing = async {
        while clock.waiters() == 0 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(9));
    };
    let (comparison, ()) = futures_util::join!(comparing, advancing);
    let [slow, quick] = &comparison.models[..] else { panic!("{comparison:?}") };
    let failure = slow.trials[0].failure.as_ref().unwrap();
    assert_eq!(failure.kind, ErrorKind::DeadlineExceeded);
    assert_eq!((slow.trials[0].latency_us, slow.trials[0].cost), (9_000_000, Cost::Unknown));
    assert_eq!((quick.answered, quick.latency_us, quick.first_content_us), (1, Some(0), Some(0)));
    assert_eq!(recommended(&comparison).0, "quick");

    // An earlier end of the caller's own holds.
    let mut request = ask("m");
    request.route.deadline = Some(Timestamp::default().after(Duration::from_secs(9)));
    let contenders =
        [Contender::new("quick", Arc::new(ScriptedModel::from_fn("s", |_| Reply::Stall("4".into()))))];
    let late = within(compare(&context(), &contenders, &request, &options)).await.unwrap();
    assert_eq!(late.models[0].trials[0].failure.as_ref().unwrap().kind, ErrorKind::DeadlineExceeded);
    assert!(late.recommendation.is_none());
}

#[tokio::test]
async fn the_recommendation_follows_its_rule() {
    let (options, _) = manual();
    let scored = options.clone().scorer(Contains::new(["a", "b", "c", "d"]).unwrap());
    let dear = || ("dear", priced("d", "a b c d", Some(9_000_000)));
    let cheap = || ("cheap", priced("c", "a b c d", Some(1_000_000)));
    let fair = || ("fair", priced("f", "a b c", Some(1)));
    let unknown = || ("unknown", priced("u", "a b c d", None));

    let comparison = of(&[dear(), fair()], &scored).await;
    let alone = "it has the best score, 10.0/10, and no other comes near";
    assert_eq!(recommended(&comparison), ("dear", alone));

    let comparison = of(&[dear(), cheap(), fair()], &scored).await;
    let (model, ground) = recommended(&comparison);
    assert_eq!(model, "cheap");
    assert!(
        ground.starts_with("it has the best score, 10.0/10, and is the cheapest of those near it, at $0."),
        "{ground}"
    );

    let comparison = of(&[dear(), fair()], &scored.clone().tolerance(250)).await;
    let (model, ground) = recommended(&comparison);
    assert_eq!(model, "fair");
    assert!(
        ground.starts_with("its score, 7.5/10, is near the best, 10.0/10, and it is the cheapest there"),
        "{ground}"
    );

    // What costs nobody knows how much never wins on cost.
    let comparison = of(&[unknown(), dear()], &scored).await;
    let (model, ground) = recommended(&comparison);
    assert_eq!(model, "dear");
    assert!(ground.contains("the cheapest whose cost is known of those near it"), "{ground}");
    assert_eq!(comparison.models[0].cost, Cost::Unknown);

    let comparison = of(&[("one", priced("o", "a", None)), unknown()], &scored).await;
    assert_eq!(recommended(&comparison), ("unknown", "it has the best score, 10.0/10, and no cost is known"));

    let comparison = of(&[unknown(), dear(), cheap()], &options).await;
    let (model, ground) = recommended(&comparison);
    assert_eq!(model, "cheap");
    assert!(
        ground.starts_with("nothing was scored, and it is the cheapest of those that answered, at $0."),
        "{ground}"
    );
    assert!(comparison.models.iter().all(|model| model.score.is_none()));

    let comparison = of(&[unknown()], &options).await;
    assert_eq!(recommended(&comparison).1, "nothing was scored and no cost is known, and it is the fastest");
}

#[tokio::test]
async fn repetitions_are_counted_together() {
    let replies = std::sync::Mutex::new(0);
    let sometimes: Arc<dyn ChatModel> = Arc::new(ScriptedModel::from_fn("s", move |_| {
        let mut n = replies.lock().unwrap();
        *n += 1;
        if *n % 2 == 0 { Reply::Fail(Error::new(ErrorKind::Unavailable, "no")) } else { Reply::text("42") }
    }));
    let routed: Arc<dyn ChatModel> = Arc::new(Recording(scripted("r", "41 and 42")));
    let (options, _) = manual();
    let options = options.scorer(ExactMatch::new("42")).repetitions(4).concurrency(3).streamed(false);
    let comparison = of(&[("sometimes", sometimes), ("routed", routed)], &options).await;
    let [sometimes, routed] = &comparison.models[..] else { panic!("{comparison:?}") };
    // A failure is a bad answer.
    assert_eq!((sometimes.answered, sometimes.score, sometimes.trials.len()), (2, Some(500), 4));
    assert_eq!((routed.answered, routed.score), (4, Some(0)));
    // The attempts a router recorded are what counts.
    assert_eq!(routed.cost, Cost::Known(NanoUsd::from_nanos(123)));
    assert_eq!(routed.trials[3].usage.unwrap().input_tokens, Some(10));
    assert_eq!(routed.first_content_us, None);
    assert_eq!(recommended(&comparison).0, "sometimes");
    assert!(comparison.to_string().contains("fair, 2 of 4 failed: unavailable"), "{comparison}");
}

#[tokio::test]
async fn the_table_keeps_its_columns_whatever_the_names() {
    let (options, clock) = manual();
    let options = options.scorer(ExactMatch::new("42"));
    let long = "a-name-of-a-model-that-is-longer-than-any-column-of-a-table-may-be";
    let fails: Arc<dyn ChatModel> =
        Arc::new(ScriptedModel::from_fn("f", |_| Reply::Fail(Error::new(ErrorKind::RateLimited, "no"))));
    let contenders: [(&str, Arc<dyn ChatModel>); 4] = [
        ("模型/大", scripted("a", "42")),
        (long, priced("b", "42", None)),
        ("red\u{1b}[31m\nname", scripted("c", "41")),
        ("down", fails),
    ];
    let comparison = of(&contenders, &options).await;
    let table = comparison.to_string();
    let expected = "\
Model                             Score    Speed    First    Tokens  Cost       Reasoning
────────────────────────────────  ───────  ───────  ───────  ──────  ─────────  ──────────────────────
模型/大                           10.0/10  0.000 s  0.000 s  19+1    $0.000021  excellent: as expected
a-name-of-a-model-that-is-longe…  10.0/10  0.000 s  0.000 s  19+1    unknown    excellent: as expected
red [31m name                     0.0/10   0.000 s  0.000 s  19+1    $0.000021  poor: not as expected
down                              -        -        -        -       $0         failed: rate_limited

Take 模型/大: it has the best score, 10.0/10, and is the cheapest whose cost is known of those near it, at $0.000021.";
    assert_eq!(table, expected, "\n{table}\n");
    assert_eq!(clock.waiters(), 0, "nothing of it is left");
    let nobody = of(&[("down", contenders[3].1.clone())], &options).await;
    assert!(nobody.to_string().ends_with("No model answered."));
}

#[tokio::test]
async fn its_json_keeps_its_form() {
    let (options, _) = manual();
    let options = options.scorer(ExactMatch::new("42"));
    let comparison = of(&[("a", scripted("a", "42")), ("b", priced("b", "x", None))], &options).await;
    let trial = |answer: &str, cost: Value, score: u16, reason: &str| {
        let usage = json!({"input_tokens": 19, "cache_read_tokens": null, "cache_write_tokens": null,
            "output_tokens": 1, "reasoning_tokens": null});
        json!({"answer": answer, "latency_us": 0, "first_content_us": 0, "usage": usage, "cost": cost,
            "score": score, "reason": reason, "scoring_cost": "0"})
    };
    let model = |name: &str, cost: Value, score: u16, trial: Value| {
        json!({"model": name, "provider": "scripted", "answered": 1, "score": score, "latency_us": 0,
            "first_content_us": 0, "cost": cost, "trials": [trial]})
    };
    let cost = json!("0.000021");
    assert_eq!(
        serde_json::to_value(&comparison).unwrap(),
        json!({
            "models": [
                model("a", cost.clone(), 1000, trial("42", cost, 1000, "as expected")),
                model("b", Value::Null, 0, trial("x", Value::Null, 0, "not as expected")),
            ],
            "recommendation": {"model": "a", "ground": "it has the best score, 10.0/10, and no other comes near"},
        })
    );
}

#[tokio::test]
async fn what_cannot_be_compared_is_refused_with_every_problem() {
    let options =
        CompareOptions::default().repetitions(0).concurrency(0).tolerance(1001).timeout(Duration::ZERO);
    let model = scripted("m", "x");
    let contenders = [
        Contender::new("", model.clone()),
        Contender::new("a", model.clone()),
        Contender::new("a", model.clone()),
    ];
    let error = compare(&context(), &contenders, &ask("m"), &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    for problem in [
        "`repetitions`: is 0, and from 1 to 100",
        "`concurrency`: is 0",
        "`tolerance`: is 1001",
        "`timeout`",
        "`contenders[0]`: its name must not be empty",
        "`contenders[2]`: there are two named `a`",
    ] {
        assert!(error.message().contains(problem), "{problem} in {error}");
    }
    assert!(compare(&context(), &[], &ask("m"), &CompareOptions::default()).await.is_err());
    assert!(model.requests().is_empty());
}

#[tokio::test]
async fn dropping_a_comparison_closes_every_connection() {
    let script = || vec![stream_head(), chunk(&text_event("4")), Step::UntilClosed];
    let (mut one, mut two) = (Server::start(script()).await, Server::start(script()).await);
    let contenders = [Contender::new("one", one.model()), Contender::new("two", two.model())];
    let (ctx, request, options) = (context(), ask("m"), CompareOptions::default());
    let mut comparing = Box::pin(compare(&ctx, &contenders, &request, &options));
    let both = async {
        one.seen().await;
        two.seen().await;
    };
    tokio::select! {
        _ = &mut comparing => panic!("nothing ends here"),
        () = within(both) => {}
    }
    drop(comparing);
    within(one.closed()).await;
    within(two.closed()).await;
}
