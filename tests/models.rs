//! Models without an agent: what an answer carries, what is counted whatever becomes of it, and what closing waits for.

use std::sync::Arc;

use agentprovision::llm::experiment::{CompareOptions, Contains};
use agentprovision::llm::models::ModelKind;
use agentprovision::llm::route::RoutingConfig;
use agentprovision::model::{
    AttemptEnd, CallLog, ChatEvent, ChatRequest, EmbedRequest, EmbeddingResolver, Message, ModelResolver,
    RerankRequest,
};
use agentprovision::money::NanoUsd;
use agentprovision::prelude::*;
use agentprovision::testing::{ManualClock, Reply, ScriptedModel, SeededEntropy};
use agentprovision::usage::{Meter, UsageEvent};
use agentprovision::{Env, PlatformBuilder, Timestamp};
use serde_json::json;

use crate::support::{Home, home, in_time, store};

fn ask(model: &str) -> ChatRequest {
    ChatRequest::new(model, vec![Message::user("Where is order 1234?")])
}

fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "down")
}

/// The kind of a result's error; `None` where there is none.
fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

/// A platform with one model of these answers, in memory.
async fn platform(replies: impl IntoIterator<Item = Reply>) -> (Platform, Home) {
    started(Platform::builder().model("m", Arc::new(ScriptedModel::new("m", replies)))).await
}

async fn started(builder: PlatformBuilder) -> (Platform, Home) {
    let platform = builder.build().await.unwrap();
    let home = home(&platform, "acme").await;
    (platform, home)
}

fn routing(config: serde_json::Value) -> RoutingConfig {
    serde_json::from_value(config).unwrap()
}

async fn usage(platform: &Platform, home: &Home) -> Vec<UsageEvent> {
    platform.usage().events(&home.admin, None, 500).await.unwrap()
}

/// Sums per meter, and the cost.
async fn sums(platform: &Platform, home: &Home) -> (Vec<(Meter, u64)>, NanoUsd) {
    let sums = platform.usage().summary(&home.admin, Period::ALL).await.unwrap();
    (sums.meters.into_iter().collect(), sums.cost_usd)
}

#[tokio::test]
async fn an_answer_carries_what_was_spent_on_it_and_it_is_counted_when_the_answer_is_there() {
    let folder = tempfile::tempdir().unwrap();
    for store in ["memory://".to_owned(), store::new(&folder.path().join("platform.db"))] {
        let replies = [Reply::Fail(unavailable()), Reply::text("It is on its way.")];
        let model = Arc::new(ScriptedModel::new("m", replies));
        let (platform, home) = started(
            Platform::builder().store(store).model("m", model).routing(routing(json!({ "backoff_ms": 0 }))),
        )
        .await;
        let answered = in_time(platform.models().complete(&home.admin, ask("m"))).await.unwrap();
        assert_eq!(answered.answer.text, "It is on its way.");
        let ends: Vec<&AttemptEnd> = answered.spent.attempts.iter().map(|attempt| &attempt.end).collect();
        assert!(
            matches!(
                ends[..],
                [AttemptEnd::Failed { kind: ErrorKind::Unavailable, .. }, AttemptEnd::Answered]
            ),
            "{ends:?}"
        );
        assert_eq!(answered.spent.usage, answered.answer.usage);
        let used = answered.spent.usage.unwrap();
        // The price of a scripted model is 1 and 2 micro-USD per token.
        let nanos = used.input_tokens.unwrap() * 1_000 + used.output_tokens.unwrap() * 2_000;
        assert_eq!(answered.spent.cost_usd, Some(NanoUsd::from_nanos(nanos as i64)));

        let (meters, cost) = sums(&platform, &home).await;
        let counted = [
            (Meter::LlmTokensInput, used.input_tokens.unwrap()),
            (Meter::LlmTokensOutput, used.output_tokens.unwrap()),
            (Meter::LlmRequests, 1),
        ];
        assert_eq!(meters, counted);
        assert_eq!(Some(cost), answered.spent.cost_usd);
        for event in usage(&platform, &home).await {
            assert_eq!((event.user, event.model.as_deref()), (Some(home.root.id), Some("m")));
            assert_eq!((event.agent, event.run), (None, None));
        }
        platform.close().await.unwrap();
    }
}

#[tokio::test]
async fn an_attempt_that_broke_off_is_counted_beside_the_one_that_answered_for_it() {
    let broken = ScriptedModel::new("a", [Reply::Break("The order ".into(), unavailable())]);
    let (platform, home) = started(
        Platform::builder()
            .model("a", Arc::new(broken))
            .model("b", Arc::new(ScriptedModel::new("b", [Reply::text("here")]))),
    )
    .await;
    // Streamed, it was committed to the first one, whose text is paid.
    let mut stream = platform.models().stream(&home.admin, ask("a")).await.unwrap();
    let mut text = String::new();
    let error = loop {
        match in_time(stream.try_next()).await {
            Ok(Some(ChatEvent::Text(piece))) => text.push_str(&piece),
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended well"),
            Err(error) => break error,
        }
    };
    assert_eq!((text.as_str(), error.kind()), ("The order ", ErrorKind::Unavailable));
    assert_eq!(in_time(stream.try_next()).await.unwrap(), None, "an error is the end");
    let attempt = &stream.spent().unwrap().attempts[0];
    assert!(attempt.estimated && attempt.cost.is_some_and(|cost| cost > NanoUsd::ZERO), "{attempt:?}");
    let (meters, cost) = sums(&platform, &home).await;
    assert_eq!(meters.last(), Some(&(Meter::LlmRequests, 1)));
    assert_eq!(Some(cost), attempt.cost);
    platform.close().await.unwrap();
}

#[tokio::test]
async fn a_stream_read_to_its_end_says_what_was_spent_and_an_empty_one_before_that_nothing() {
    let (platform, home) = platform([Reply::text("one two three")]).await;
    let mut stream = platform.models().stream(&home.admin, ask("m")).await.unwrap();
    assert!(stream.spent().is_none());
    let mut events = Vec::new();
    while let Some(event) = in_time(stream.try_next()).await.unwrap() {
        events.push(event);
    }
    assert_eq!(events[..3], ["one ", "two ", "three"].map(|word| ChatEvent::Text(word.into())));
    assert_eq!(stream.spent().unwrap().attempts.len(), 1);
    // It is written by the time the reader knows of the end.
    assert_eq!(Some(sums(&platform, &home).await.1), stream.spent().unwrap().cost_usd);
    platform.close().await.unwrap();
}

/// Pitfall 14: a bill is not lost because the client went away.
#[tokio::test]
async fn pitfall_14_who_goes_away_pays_for_what_was_written_and_closing_waits_until_it_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let scripted = Arc::new(ScriptedModel::from_fn("m", |_| Reply::Stall("some of the answer".into())));
    let url = store::new(&folder.path().join("platform.db"));
    let builder = || Platform::builder().store(&*url).pepper("a pepper for these tests only");
    let (platform, home) = started(builder().model("m", scripted.clone())).await;
    let log = CallLog::default();
    let mut request = ask("m");
    request.log = log.clone();
    let mut stream = platform.models().stream(&home.admin, request.clone()).await.unwrap();
    assert!(matches!(stream.try_next().await.unwrap(), Some(ChatEvent::Text(_))));
    drop(stream);
    // The caller's own log has it at once.
    let [dropped] = &log.attempts()[..] else { panic!("{log:?}") };
    assert_eq!(dropped.end, AttemptEnd::Dropped);
    // A future that is dropped while the model works, twice with one log.
    for asked in 2..4 {
        let mut waiting = Box::pin(platform.models().complete(&home.admin, request.clone()));
        in_time(async {
            while scripted.requests().len() < asked {
                tokio::select! {
                    biased;
                    answer = &mut waiting => panic!("{answer:?}"),
                    () = tokio::task::yield_now() => {}
                }
            }
        })
        .await;
        drop(waiting);
    }
    assert_eq!(log.len(), 3);
    let cost = log.cost().known().unwrap();
    platform.close().await.unwrap();

    let again = builder().build().await.unwrap();
    let admin = again.context(home.tenant.id, home.root.id).await.unwrap();
    let sums = again.usage().summary(&admin, Period::ALL).await.unwrap();
    assert_eq!((sums.meters[&Meter::LlmRequests], sums.cost_usd), (3, cost));
    again.close().await.unwrap();
}

#[tokio::test]
async fn closing_ends_what_does_not_end_and_counts_it() {
    let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
    let env = Env::new(Arc::new(clock.clone()), Arc::new(SeededEntropy::new(5)));
    let stall = ScriptedModel::from_fn("m", |_| Reply::Stall("for ever".into()));
    let (platform, home) = started(Platform::builder().env(env).model("m", Arc::new(stall))).await;
    let log = CallLog::default();
    let mut request = ask("m");
    request.log = log.clone();
    let waiting = tokio::spawn({
        let (platform, ctx) = (platform.clone(), home.admin.clone());
        async move { platform.models().complete(&ctx, request).await.map(drop) }
    });
    let closing = tokio::spawn({
        let platform = platform.clone();
        async move { platform.close().await }
    });
    let closed = in_time(async {
        while !closing.is_finished() {
            clock.advance(std::time::Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
        closing.await.unwrap()
    });
    closed.await.unwrap();
    assert_eq!(kind(waiting.await.unwrap()), Some(ErrorKind::Closed));
    assert_eq!(log.attempts()[0].end, AttemptEnd::Dropped);
    assert_eq!(kind(platform.models().complete(&home.admin, ask("m")).await), Some(ErrorKind::Closed));
}

#[tokio::test]
async fn an_unknown_price_is_no_cost_of_zero() {
    let model = ScriptedModel::new("m", [Reply::text("for whatever it costs")]).price(None);
    let (platform, home) = started(Platform::builder().model("m", Arc::new(model))).await;
    let answered = platform.models().complete(&home.admin, ask("m")).await.unwrap();
    assert_eq!(answered.spent.cost_usd, None);
    let sums = platform.usage().summary(&home.admin, Period::ALL).await.unwrap();
    assert_eq!((sums.unpriced_requests, sums.cost_usd), (1, NanoUsd::ZERO));
    platform.close().await.unwrap();
}

#[tokio::test]
async fn vectors_and_rankings_are_counted_too() {
    let model = Arc::new(ScriptedModel::new("m", []));
    let (platform, home) =
        started(Platform::builder().embedder("vectors", model.clone()).reranker("ranks", model)).await;
    let models = platform.models();
    let embedded =
        models.embed(&home.admin, EmbedRequest::new("vectors", ["one", "two", "one"])).await.unwrap();
    let [one, two, again] = &embedded.answer.vectors[..] else { panic!("{embedded:?}") };
    assert!(one == again && one != two);
    let ranked = models
        .rerank(&home.admin, RerankRequest::new("ranks", "an order", ["a bill", "an order", "an apple"]))
        .await
        .unwrap();
    let places: Vec<usize> = ranked.answer.results.iter().map(|result| result.index).collect();
    assert_eq!(places, [1, 2, 0]);
    let (meters, cost) = sums(&platform, &home).await;
    assert_eq!(meters.last(), Some(&(Meter::LlmRequests, 2)));
    let spent = [embedded.spent.cost_usd, ranked.spent.cost_usd].into_iter().map(Option::unwrap);
    assert_eq!(cost, spent.sum::<NanoUsd>());
    assert_eq!(
        kind(models.embed(&home.admin, EmbedRequest::new("ranks", ["a"])).await),
        Some(ErrorKind::NotFound)
    );
    platform.close().await.unwrap();
}

#[tokio::test]
async fn what_a_host_asks_by_itself_counts_through_the_writer() {
    let scripted = Arc::new(ScriptedModel::from_fn("m", |_| Reply::text("one two")));
    let (platform, home) =
        started(Platform::builder().model("m", scripted.clone()).embedder("m", scripted)).await;
    let chat = platform.usage_writer().chat(platform.router().resolve("m").unwrap());
    assert_eq!(chat.info().name, "m");
    let log = CallLog::default();
    let mut request = ask("m");
    request.log = log.clone();
    chat.complete(&home.admin, request.clone()).await.unwrap();
    let events: Vec<_> = chat.stream(&home.admin, request).await.unwrap().try_collect().await.unwrap();
    assert_eq!(events[0], ChatEvent::Text("one ".into()));
    let vectors = platform.usage_writer().embedding(platform.router().embedder("m").unwrap());
    assert_eq!(vectors.info().name, "m");
    vectors.embed(&home.admin, EmbedRequest::new("m", ["one"])).await.unwrap();
    assert_eq!(log.len(), 2);
    assert_eq!(sums(&platform, &home).await.0.last(), Some(&(Meter::LlmRequests, 3)));
    platform.close().await.unwrap();
}

#[tokio::test]
async fn models_side_by_side_are_scored_and_all_of_them_count() {
    let right = Arc::new(ScriptedModel::new("right", [Reply::text("It is 4.")]));
    let wrong = Arc::new(ScriptedModel::new("wrong", [Reply::text("It is 5.")]));
    let (platform, home) = started(Platform::builder().model("right", right).model("wrong", wrong)).await;
    let options = CompareOptions::default().scorer(Contains::new(["4"]).unwrap());
    let names = ["wrong".to_owned(), "right".to_owned()];
    let compared = in_time(platform.models().compare(&home.admin, &names, &ask(""), options)).await.unwrap();
    assert_eq!(compared.recommendation.unwrap().model, "right");
    let costs = compared.models.iter().map(|model| model.cost.known().unwrap()).sum::<NanoUsd>();
    let (meters, cost) = sums(&platform, &home).await;
    assert_eq!((meters.last(), cost), (Some(&(Meter::LlmRequests, 2)), costs));
    let unknown =
        platform.models().compare(&home.admin, &["n".into()], &ask(""), CompareOptions::default()).await;
    assert_eq!(kind(unknown), Some(ErrorKind::NotFound));
    platform.close().await.unwrap();
}

#[tokio::test]
async fn the_list_has_what_the_tenant_may_use_and_nothing_that_others_asked_for() {
    let scripted = |name: &str| Arc::new(ScriptedModel::from_fn(name, |_| Reply::text("hello")));
    let builder = || {
        Platform::builder()
            .provider(OpenAi::at("http://127.0.0.1:9/v1", "sk-not-a-key".into()).unwrap())
            .model("large", scripted("large"))
            .model("small", scripted("small"))
            .embedder("vectors", scripted("vectors"))
    };
    let routes = json!({
        "chat": { "targets": ["large", "cheap"] },
        "cheap": { "targets": ["small"] },
        "best": { "targets": ["large"] },
    });
    let (platform, acme) = started(builder().routing(routing(json!({ "routes": routes })))).await;
    let other = home(&platform, "other").await;
    let names = async |home: &Home| -> Vec<(ModelKind, String)> {
        let entries = platform.models().list(&home.admin).await.unwrap();
        entries.into_iter().map(|entry| (entry.kind, entry.name)).collect()
    };
    // What somebody asked for is that somebody's.
    let mut secret = ask("openai/ft:gpt-4o:other:secret");
    secret.route.max_attempts = Some(1);
    assert!(platform.models().complete(&other.admin, secret).await.is_err());
    let all = names(&acme).await;
    assert!(all.contains(&(ModelKind::Chat, "openai/gpt-4o-mini".into())), "{all:?}");
    assert!(!all.iter().any(|(_, name)| name.contains("secret")), "{all:?}");
    for (kind, name) in [
        (ModelKind::Route, "chat"),
        (ModelKind::Route, "cheap"),
        (ModelKind::Chat, "large"),
        (ModelKind::Embedding, "vectors"),
    ] {
        assert!(all.contains(&(kind, name.into())), "{name}: {all:?}");
    }

    let tenants = json!({ (acme.tenant.id.to_string()): { "allow": ["small"] } });
    let limited = routing(json!({ "routes": routes, "tenants": tenants }));
    platform.router().reload(limited).unwrap();
    let may = names(&acme).await;
    let expected = [(ModelKind::Route, "chat"), (ModelKind::Route, "cheap"), (ModelKind::Chat, "small")];
    assert_eq!(may, expected.map(|(kind, name)| (kind, name.to_owned())));
    let entries = platform.models().list(&acme.admin).await.unwrap();
    assert_eq!((entries[0].info.name.as_str(), &entries[0].targets[..]), ("chat", &["small".to_owned()][..]));
    assert_eq!(names(&other).await, all, "the other tenant is not limited");
    let denied = platform.models().complete(&acme.admin, ask("large")).await;
    assert_eq!(kind(denied), Some(ErrorKind::PermissionDenied));
    let decision = platform.models().explain(&acme.admin, &ask("chat")).await.unwrap();
    let asked: Vec<&str> = decision.candidates.iter().map(|candidate| candidate.target.as_str()).collect();
    assert_eq!((asked, decision.dropped.len()), (vec!["small"], 1));
    assert!(usage(&platform, &acme).await.is_empty(), "nobody was asked");
    platform.close().await.unwrap();
}

#[tokio::test]
async fn a_name_that_stands_for_nothing_is_not_found_and_costs_nothing() {
    let (platform, home) = platform([]).await;
    let models = platform.models();
    assert_eq!(kind(models.complete(&home.admin, ask("n")).await), Some(ErrorKind::NotFound));
    assert_eq!(kind(models.stream(&home.admin, ask("n")).await), Some(ErrorKind::NotFound));
    assert_eq!(kind(models.explain(&home.admin, &ask("n")).await), Some(ErrorKind::NotFound));
    assert!(usage(&platform, &home).await.is_empty());
    platform.close().await.unwrap();
}
