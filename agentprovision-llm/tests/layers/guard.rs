//! What guards see, and what becomes of what they find.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::model::{
    CacheUse, ChatEvent, ChatModel, ChatRequest, ChatResponse, Content, Continuation, Message, ToolRequest,
};
use agentprovision_core::testing::{ModelMap, Reply, ScriptedModel};
use agentprovision_core::{Env, Error, ErrorKind, Result};
use agentprovision_llm::layers::{
    CacheConfig, CacheLayer, Guard, GuardLayer, GuardVerdict, GuardsConfig, Inspected, OnFailure, Part,
    Redaction, Side,
};
use async_trait::async_trait;
use serde_json::{Value, json};
use tower::Layer;

use crate::kit::{ask, events, standing, text_of};
use crate::support::{Server, Step, chunk, context, stream_head, text_event, within};

type Decide = dyn Fn(&Inspected<'_>) -> Result<GuardVerdict> + Send + Sync;

/// A guard that is a function, and notes what it saw.
struct By {
    decide: Box<Decide>,
    saw: Mutex<Vec<(Side, Part, usize, String)>>,
}

impl std::fmt::Debug for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("By")
    }
}

fn by(decide: impl Fn(&Inspected<'_>) -> Result<GuardVerdict> + Send + Sync + 'static) -> Arc<By> {
    Arc::new(By { decide: Box::new(decide), saw: Mutex::default() })
}

/// Blocks what has a word.
fn without(word: &'static str) -> Arc<By> {
    by(move |what| {
        let found = what.text.contains(word);
        Ok(if found { GuardVerdict::Block("word".into()) } else { GuardVerdict::Allow })
    })
}

/// Replaces a word by `***`.
fn hiding(word: &'static str) -> Arc<By> {
    by(move |what| {
        let hits = what.text.match_indices(word);
        let redaction = |(start, _): (usize, &str)| Redaction {
            range: start..start + word.len(),
            replacement: "***".into(),
        };
        Ok(GuardVerdict::Redact(hits.map(redaction).collect()))
    })
}

#[async_trait]
impl Guard for By {
    fn name(&self) -> &str {
        "by"
    }

    async fn inspect(&self, _: &Context, what: &Inspected<'_>) -> Result<GuardVerdict> {
        self.saw.lock().unwrap().push((what.side, what.part, what.before, what.text.to_owned()));
        (self.decide)(what)
    }
}

fn scripted(replies: impl IntoIterator<Item = Reply>) -> Arc<ScriptedModel> {
    Arc::new(ScriptedModel::new("m", replies))
}

fn guarded(layer: &GuardLayer, model: &Arc<ScriptedModel>) -> Arc<dyn ChatModel> {
    layer.layer(Arc::clone(model) as Arc<dyn ChatModel>)
}

fn layer(guard: Arc<By>) -> GuardLayer {
    GuardLayer::new(Env::default()).guard(guard)
}

async fn whole(model: &Arc<dyn ChatModel>, request: ChatRequest) -> Result<ChatResponse> {
    within(model.complete(&context(), request)).await
}

async fn streamed(model: &Arc<dyn ChatModel>, request: ChatRequest) -> Result<Vec<ChatEvent>> {
    events(model.stream(&context(), request).await).await
}

/// A request that says `secret` in every place a request has for words.
fn talkative() -> ChatRequest {
    let call = ToolRequest {
        id: "c".into(),
        name: "find".into(),
        arguments: r#"{"q":"a \u0073ecret","n":[1,{"deep":"secret"}]}"#.into(),
        complete: true,
    };
    let continuation = Some(Continuation { issuer: "x".into(), items: vec![json!("secret")] });
    let text = |text: &str| Content::Text { text: text.into() };
    ChatRequest::new(
        "m",
        vec![
            Message::system("system secret"),
            Message::User { content: vec![text("nothing"), text("user secret")] },
            Message::Assistant { text: "assistant secret".into(), tool_calls: vec![call], continuation },
            Message::Tool {
                call_id: "c".into(),
                name: "find".into(),
                content: r#"{"found":"secret"}"#.into(),
                is_error: false,
            },
            Message::Tool {
                call_id: "d".into(),
                name: "find".into(),
                content: "no secret".into(),
                is_error: true,
            },
        ],
    )
}

#[tokio::test]
async fn everything_a_request_says_is_looked_at_and_what_is_found_is_never_sent() {
    let model = scripted([Reply::text("fine"), Reply::text("fine")]);
    let guard = hiding("secret");
    let all = guarded(&layer(guard.clone()), &model);
    whole(&all, talkative()).await.unwrap();
    let sent = serde_json::to_string(&model.requests()[0]).unwrap();
    assert!(!sent.contains("secret") && !sent.contains(r"\\u0073"), "{sent}");
    assert_eq!(sent.matches("***").count(), 7);
    let Message::Assistant { tool_calls, continuation, .. } = &model.requests()[0].messages[2] else {
        panic!()
    };
    assert_eq!(*continuation, None, "it says the same in the provider's words");
    assert_eq!(tool_calls[0].json(), Some(json!({ "q": "a ***", "n": [1, { "deep": "***" }] })));
    let saw = guard.saw.lock().unwrap().clone();
    let parts: Vec<Part> =
        saw.iter().filter(|(side, ..)| *side == Side::Input).map(|(_, part, ..)| *part).collect();
    use Part::{Assistant, System, ToolArguments, ToolResult, User};
    assert_eq!(parts, [System, User, User, Assistant, ToolArguments, ToolResult, ToolResult]);

    // A request in which nothing is found is sent as it is, to the byte.
    let clean = scripted([Reply::text("fine")]);
    whole(&guarded(&layer(hiding("absent")), &clean), talkative()).await.unwrap();
    assert_eq!(clean.requests()[0], talkative());
}

#[tokio::test]
async fn a_request_that_is_blocked_is_never_sent_and_the_error_says_which_message() {
    let model = scripted([]);
    let blocking = guarded(&layer(without("no secret")), &model);
    for error in [
        whole(&blocking, talkative()).await.unwrap_err(),
        streamed(&blocking, talkative()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::ContentPolicy);
        assert_eq!(error.message(), "the guard `by` refused the request: word");
        let facts = [("guard", "by".to_owned()), ("reason", "word".to_owned()), ("message", "4".to_owned())];
        assert_eq!(error.context(), facts);
    }
    assert!(model.requests().is_empty());
}

#[tokio::test]
async fn a_whole_answer_is_looked_at_with_the_arguments_of_its_calls() {
    let both =
        || Reply::Both("a secret".into(), vec![("find".into(), json!({ "q": "secret", "n": 12_345 }))]);
    let answer = whole(&guarded(&layer(hiding("secret")), &scripted([both()])), ask("x")).await.unwrap();
    assert_eq!(
        (answer.text.as_str(), answer.tool_calls[0].json()),
        ("a ***", Some(json!({ "q": "***", "n": 12345 })))
    );
    assert!(answer.tool_calls[0].complete);
    // A number is looked at too, and what takes its place is a string.
    let answer = whole(&guarded(&layer(hiding("234")), &scripted([both()])), ask("x")).await.unwrap();
    assert_eq!(answer.tool_calls[0].json(), Some(json!({ "q": "secret", "n": "1***5" })));
    let error = whole(&guarded(&layer(without("secret")), &scripted([both()])), ask("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContentPolicy);
    assert!(error.message().contains("refused the answer"), "{error}");
}

/// A text in which a word is at a place.
fn long(word: &str, at: usize, length: usize) -> String {
    let filler: String = "0123456789 ".chars().cycle().take(length).collect();
    format!("{}{word}{}", &filler[..at], &filler[at..])
}

#[tokio::test]
async fn a_word_across_the_windows_of_a_stream_never_comes_out_in_parts() {
    // Every place around the first two looks, of a text of many pieces.
    let places = (0..40).chain(80..140).chain(180..240).chain([499, 500]);
    for at in places {
        let text = long("SECRET", at, 500);
        for word_by_word in [true, false] {
            let pieces = if word_by_word { text.clone() } else { text.replace(' ', "_") };
            let hidden = layer(hiding("SECRET")).windows(100, 20);
            let events =
                streamed(&guarded(&hidden, &scripted([Reply::text(&*pieces)])), ask("x")).await.unwrap();
            assert_eq!(text_of(&events), pieces.replace("SECRET", "***"), "at {at}");

            let blocked = layer(without("SECRET")).windows(100, 20);
            let model = guarded(&blocked, &scripted([Reply::text(&*pieces)]));
            let mut stream = model.stream(&context(), ask("x")).await.unwrap();
            let mut out = String::new();
            let error = loop {
                match within(futures_util::StreamExt::next(&mut stream)).await.unwrap() {
                    Ok(ChatEvent::Text(text)) => out.push_str(&text),
                    Ok(other) => panic!("{other:?}"),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), ErrorKind::ContentPolicy);
            assert!(pieces.starts_with(&out) && out.len() <= at, "at {at} came out {out}");
            assert!(within(futures_util::StreamExt::next(&mut stream)).await.is_none());
        }
    }
}

#[tokio::test]
async fn a_stream_is_held_in_windows_and_goes_on() {
    let guard = by(|_| Ok(GuardVerdict::Allow));
    let windows = layer(guard.clone()).windows(100, 20);
    let text = long("ä€", 95, 400);
    let events = streamed(&guarded(&windows, &scripted([Reply::text(&*text)])), ask("x")).await.unwrap();
    assert_eq!(text_of(&events), text);
    let pieces = events.iter().filter(|event| matches!(event, ChatEvent::Text(_))).count();
    assert!((3..=5).contains(&pieces), "{events:?}");
    let saw = guard.saw.lock().unwrap().clone();
    let output: Vec<_> = saw.iter().filter(|(side, ..)| *side == Side::Output).collect();
    assert_eq!(output.len(), pieces);
    for (_, part, before, window) in &output {
        assert_eq!((*part, &text[*before..*before + window.len()]), (Part::Text, window.as_str()));
        assert!(window.len() < 100 + 20 + 20 + 20, "{window}");
    }
}

#[tokio::test]
async fn calls_in_a_stream_come_out_whole_and_looked_at_before_the_end() {
    let both = || Reply::Both("a secret".into(), vec![("find".into(), json!({ "q": "secret" }))]);
    let events = streamed(&guarded(&layer(hiding("secret")), &scripted([both()])), ask("x")).await.unwrap();
    let [ChatEvent::Text(text), ChatEvent::ToolCall { name, arguments, .. }, ChatEvent::Finished { .. }, _] =
        events.as_slice()
    else {
        panic!("{events:?}")
    };
    assert_eq!(
        (text.as_str(), name.as_deref(), arguments.as_str()),
        ("a ***", Some("find"), r#"{"q":"***"}"#)
    );
    let error = streamed(&guarded(&layer(without("\"")), &scripted([both()])), ask("x")).await;
    assert!(error.is_ok(), "the marks of JSON are no words: {error:?}");
    let blocking = by(|what| {
        let found = what.part == Part::ToolArguments && what.text.contains("secret");
        Ok(if found { GuardVerdict::Block("word".into()) } else { GuardVerdict::Allow })
    });
    let model = guarded(&layer(blocking), &scripted([both()]));
    let mut stream = model.stream(&context(), ask("x")).await.unwrap();
    let mut items = Vec::new();
    while let Some(item) = within(futures_util::StreamExt::next(&mut stream)).await {
        items.push(item);
    }
    assert!(matches!(items.as_slice(), [Ok(ChatEvent::Text(_)), Err(_)]), "{items:?}");
}

#[tokio::test]
async fn what_is_blocked_in_a_stream_closes_the_exchange_with_the_provider() {
    let script = vec![stream_head(), chunk(&text_event(&long("SECRET", 10, 200))), Step::UntilClosed];
    let mut server = Server::start(script).await;
    let blocking = layer(without("SECRET")).windows(100, 20);
    let model = blocking.layer(server.model());
    let mut stream = within(model.stream(&context(), ask("x"))).await.unwrap();
    let error = loop {
        if let Err(error) = within(futures_util::StreamExt::next(&mut stream)).await.unwrap() {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::ContentPolicy);
    // The caller still has the stream in its hands.
    within(server.closed()).await;
    drop(stream);
}

#[tokio::test]
async fn an_error_in_a_stream_comes_after_what_was_held_and_looked_at() {
    let broken =
        || Reply::Break("some secret words".into(), Error::new(ErrorKind::Incomplete, "it broke off"));
    let collect = async |guard: Arc<By>| {
        let model = guarded(&layer(guard), &scripted([broken()]));
        let stream = model.stream(&context(), ask("x")).await.unwrap();
        within(futures_util::StreamExt::collect::<Vec<_>>(stream)).await
    };
    let items = collect(hiding("secret")).await;
    let [Ok(ChatEvent::Text(text)), Err(error)] = items.as_slice() else { panic!("{items:?}") };
    assert_eq!((text.as_str(), error.kind()), ("some *** words", ErrorKind::Incomplete));
    let items = collect(without("secret")).await;
    assert!(
        matches!(items.as_slice(), [Err(error)] if error.kind() == ErrorKind::ContentPolicy),
        "{items:?}"
    );
}

#[tokio::test]
async fn guards_that_fail_or_take_too_long_let_nothing_pass_unless_they_may() {
    #[derive(Debug)]
    struct Slow;
    #[async_trait]
    impl Guard for Slow {
        fn name(&self) -> &str {
            "slow"
        }
        async fn inspect(&self, _: &Context, _: &Inspected<'_>) -> Result<GuardVerdict> {
            std::future::pending().await
        }
    }
    let failing = || by(|_| Err(Error::new(ErrorKind::Internal, "cannot"))) as Arc<dyn Guard>;
    for (guard, slow) in [(failing(), false), (Arc::new(Slow) as Arc<dyn Guard>, true)] {
        for on_failure in [OnFailure::Block, OnFailure::Allow] {
            for side in [Side::Input, Side::Output] {
                let (clock, env) = standing();
                let guards = GuardLayer::new(env).guard_with(
                    Arc::clone(&guard),
                    &[side],
                    Duration::from_millis(200),
                    on_failure,
                );
                let model = scripted([Reply::text("fine")]);
                let asked = guarded(&guards, &model);
                let task = tokio::spawn(async move { whole(&asked, ask("x")).await });
                while slow && clock.waiters() == 0 {
                    tokio::task::yield_now().await;
                }
                clock.advance(Duration::from_millis(200));
                let result = within(task).await.unwrap();
                match on_failure {
                    OnFailure::Allow => assert_eq!(result.unwrap().text, "fine"),
                    OnFailure::Block => {
                        let error = result.unwrap_err();
                        assert_eq!(error.kind(), ErrorKind::Unavailable);
                        assert!(error.message().contains("could not decide"), "{error}");
                        assert_eq!(model.requests().len(), usize::from(side == Side::Output));
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn an_answer_in_which_something_was_replaced_or_blocked_is_not_kept_in_the_cache() {
    type Make = fn() -> Arc<By>;
    let guards: [(Make, bool); 3] =
        [(|| hiding("secret"), false), (|| without("secret"), false), (|| hiding("absent"), true)];
    for (guard, kept) in guards {
        for is_streamed in [false, true] {
            let model = Arc::new(ScriptedModel::from_fn("m", |_| Reply::text("a secret answer")));
            let cache = CacheLayer::new(CacheConfig::default(), Env::default()).unwrap();
            let inner = cache.layer(model.clone() as Arc<dyn ChatModel>);
            let guarded = layer(guard()).forget_in(&cache).layer(inner);
            let ctx = context();
            for _ in 0..2 {
                let mut request = ask("x");
                request.route.cache = CacheUse::Always;
                if is_streamed {
                    _ = events(guarded.stream(&ctx, request).await).await;
                } else {
                    _ = within(guarded.complete(&ctx, request)).await;
                }
            }
            assert_eq!(model.requests().len(), if kept { 1 } else { 2 });
        }
    }
}

#[tokio::test]
async fn a_later_guard_sees_what_an_earlier_one_left() {
    let later = by(|_| Ok(GuardVerdict::Allow));
    let guards = layer(hiding("secret")).guard(later.clone());
    let model = scripted([Reply::text("my secret")]);
    whole(&guarded(&guards, &model), ask("a secret")).await.unwrap();
    let saw: Vec<String> = later.saw.lock().unwrap().iter().map(|(.., text)| text.clone()).collect();
    assert_eq!(saw, ["a ***", "my ***"]);
}

/// A layer of one guard by its configuration.
fn configured(check: Value) -> Result<GuardLayer> {
    let config = json!({ "guards": [{ "name": "g", "check": check, "on": ["input"] }] });
    let config: GuardsConfig = serde_json::from_value(config).unwrap();
    GuardLayer::from_config(&config, Env::default(), Arc::new(ModelMap::default()))
}

/// What is sent when this is said.
async fn passes(check: Value, text: &str) -> Result<String> {
    let model = scripted([Reply::text("fine")]);
    whole(&guarded(&configured(check).unwrap(), &model), ask(text)).await?;
    let request = model.requests().pop().unwrap();
    let Message::User { content } = &request.messages[0] else { panic!() };
    let Content::Text { text } = &content[0] else { panic!() };
    Ok(text.clone())
}

#[tokio::test]
async fn personal_data_and_keys_are_found_by_their_form_and_only_when_their_check_digits_hold() {
    for (text, expected) in [
        ("write to ada.l+x@mail.acme.example, please", "write to [email], please"),
        ("a@b is no address, nor is @acme.example", "a@b is no address, nor is @acme.example"),
        ("card 4111 1111 1111 1111 or 5500-0000-0000-0004.", "card [card] or [card]."),
        ("4111 1111 1111 1111 12 34", "[card] 12 34"),
        ("ref 12 4111111111111111", "ref 12 [card]"),
        ("4111 1111 1111 1112 and 1234567890123", "4111 1111 1111 1112 and 1234567890123"),
        ("order 00000000000000000000000000000000", "order 00000000000000000000000000000000"),
        ("pay DE89 3704 0044 0532 0130 00 now", "pay [iban] now"),
        ("gb82west12345698765432", "[iban]"),
        ("DE88 3704 0044 0532 0130 00", "DE88 3704 0044 0532 0130 00"),
        ("key sk-abcdefghijklmnopqrstuvwx, AKIAIOSFODNN7EXAMPLE", "key [key], [key]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nend", "[key]\nend"),
        ("-----BEGIN PRIVATE KEY-----\nabc", "[key]"),
    ] {
        assert_eq!(passes(json!({ "pii": {} }), text).await.unwrap(), expected);
    }
    let only = json!({ "pii": { "kinds": ["iban"], "block": true } });
    assert_eq!(passes(only.clone(), "a@b.example").await.unwrap(), "a@b.example");
    let error = passes(only, "DE89370400440532013000").await.unwrap_err();
    assert!(error.message().ends_with(": iban"), "{error}");
}

#[tokio::test]
async fn words_are_whole_and_patterns_and_lengths_hold() {
    let words = json!({ "patterns": { "words": ["Ass", "c++", "two words"], "action": { "redact": "-" } } });
    assert_eq!(passes(words, "glass ass ASS. C++ two words").await.unwrap(), "glass - -. - -");
    let patterns = json!({ "patterns": { "patterns": ["T-[0-9]{4}"] } });
    assert_eq!(passes(patterns.clone(), "T-123").await.unwrap(), "T-123");
    assert!(passes(patterns, "see T-1234").await.unwrap_err().message().ends_with(": pattern"));
    assert!(passes(json!({ "max_bytes": 5 }), "12345").await.is_ok());
    assert!(passes(json!({ "max_bytes": 5 }), "123456").await.unwrap_err().message().ends_with(": too_long"));
    // Of a stream, altogether and not by window.
    let config = json!({ "window_bytes": 10, "overlap_bytes": 2,
        "guards": [{ "name": "g", "check": { "max_bytes": 25 }, "on": ["output"] }] });
    let config = serde_json::from_value(config).unwrap();
    let layer = GuardLayer::from_config(&config, Env::default(), Arc::new(ModelMap::default())).unwrap();
    let short =
        streamed(&guarded(&layer, &scripted([Reply::text("five five five five five")])), ask("x")).await;
    assert!(short.is_ok());
    let long = Reply::text("five five five five five five");
    assert!(streamed(&guarded(&layer, &scripted([long])), ask("x")).await.is_err());
}

#[tokio::test]
async fn a_model_judges_and_what_it_cannot_judge_does_not_pass() {
    let judge = Arc::new(ScriptedModel::from_fn("judge", |request| {
        let Message::User { content } = &request.messages[1] else { panic!() };
        let Content::Text { text } = &content[0] else { panic!() };
        Reply::text(match serde_json::from_str::<String>(text).unwrap().as_str() {
            "bad \"} words" => r#"{"allowed": false, "reason": "rude_words"}"#,
            "worse" => r#"{"allowed": false, "reason": "as you see, sk-123"}"#,
            "odd" => "I would rather not say",
            _ => r#"{"allowed": true, "reason": "fine"}"#,
        })
    }));
    let config = json!({ "guards": [
        { "name": "g", "check": { "judge": { "model": "judge", "policy": "be kind" } }, "on": ["input"] },
    ] });
    let config = serde_json::from_value(config).unwrap();
    let models = ModelMap::new([judge.clone() as Arc<dyn ChatModel>]);
    let layer = GuardLayer::from_config(&config, Env::default(), Arc::new(models)).unwrap();
    let model = guarded(&layer, &scripted([Reply::text("fine")]));
    assert_eq!(whole(&model, ask("good")).await.unwrap().text, "fine");
    let error = whole(&model, ask("bad \"} words")).await.unwrap_err();
    assert_eq!((error.kind(), error.message().ends_with(": rude_words")), (ErrorKind::ContentPolicy, true));
    assert!(whole(&model, ask("worse")).await.unwrap_err().message().ends_with(": policy"));
    assert_eq!(whole(&model, ask("odd")).await.unwrap_err().kind(), ErrorKind::Unavailable);
    let asked = &judge.requests()[0];
    assert_eq!(asked.temperature, Some(0.0));
    assert!(asked.output_schema.is_some());
    assert!(matches!(&asked.messages[0], Message::System { text } if text.contains("be kind")));
}

#[test]
fn a_configuration_of_guards_is_refused_with_all_its_problems_and_their_paths() {
    let config: GuardsConfig = serde_json::from_value(json!({ "window_bytes": 0, "guards": [
        { "name": "a", "check": { "patterns": { "patterns": ["(", "x*"], "words": [" "] } } },
        { "name": "a", "check": { "pii": { "kinds": [] } }, "on": [] },
        { "name": "", "check": { "max_bytes": 0 }, "timeout_ms": 0 },
        { "name": "j", "check": { "judge": { "model": "gpt", "policy": "" } } },
    ] }))
    .unwrap();
    let error = GuardLayer::from_config(&config, Env::default(), Arc::new(ModelMap::default())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    for part in [
        "`window_bytes`",
        "`guards[0].check.patterns`: `patterns[0]`, `(`, is no pattern",
        "`patterns[1]` finds something in every text",
        "`words[0]` is empty",
        "two guards named `a`",
        "`guards[1].on`",
        "`guards[1].check.pii`",
        "`guards[2].name`",
        "`guards[2].check.max_bytes`",
        "`guards[2].timeout_ms`",
        "`guards[3].check.judge`: `policy`",
        "`guards[3].check.judge.model`: unknown model `gpt`",
    ] {
        assert!(error.message().contains(part), "{part} is not in {error}");
    }
    let unknown =
        serde_json::from_value::<GuardsConfig>(json!({ "guards": [{ "name": "a", "check": { "pi": {} } }] }));
    assert!(unknown.unwrap_err().to_string().contains("unknown variant `pi`"));
}

#[tokio::test]
async fn without_guards_there_is_no_layer() {
    let model = scripted([]) as Arc<dyn ChatModel>;
    let same = GuardLayer::new(Env::default()).layer(Arc::clone(&model));
    assert!(Arc::ptr_eq(&model, &same));
}

#[tokio::test]
async fn a_field_that_is_there_twice_is_looked_at_twice() {
    let twice = r#"{"q": "\u0073ecret", "q": "fine", "n": 41111111111111111111111}"#;
    let asked = || {
        let call =
            ToolRequest { id: "c".into(), name: "find".into(), arguments: twice.into(), complete: true };
        let assistant =
            Message::Assistant { text: String::new(), tool_calls: vec![call], continuation: None };
        ChatRequest::new("m", vec![Message::user("x"), assistant])
    };
    let arguments = |message: &Message| match message {
        Message::Assistant { tool_calls, .. } => tool_calls[0].arguments.clone(),
        other => panic!("{other:?}"),
    };
    // To the model.
    let model = scripted([Reply::text("fine"), Reply::text("fine")]);
    whole(&guarded(&layer(hiding("secret")), &model), asked()).await.unwrap();
    let sent = arguments(&model.requests()[0].messages[1]);
    assert_eq!(sent, r#"{"q": "***", "q": "fine", "n": 41111111111111111111111}"#);
    whole(&guarded(&layer(hiding("111111111111111111111")), &model), asked()).await.unwrap();
    assert!(arguments(&model.requests()[1].messages[1]).ends_with(r#""n": "4***1"}"#));
    let error = whole(&guarded(&layer(without("secret")), &model), asked()).await.unwrap_err();
    assert_eq!((error.kind(), model.requests().len()), (ErrorKind::ContentPolicy, 2));
    // From the model, whole and streamed.
    let reply = || scripted([Reply::CutOff("find".into(), twice.into())]);
    let answer = whole(&guarded(&layer(hiding("secret")), &reply()), ask("x")).await.unwrap();
    assert!(answer.tool_calls[0].arguments.starts_with(r#"{"q": "***", "q": "fine""#));
    let events = streamed(&guarded(&layer(hiding("secret")), &reply()), ask("x")).await.unwrap();
    let called = events.iter().find_map(|event| match event {
        ChatEvent::ToolCall { arguments, .. } => Some(arguments.as_str()),
        _ => None,
    });
    assert!(called.unwrap().starts_with(r#"{"q": "***", "q": "fine""#), "{events:?}");
    let blocking = layer(without("secret"));
    assert!(whole(&guarded(&blocking, &reply()), ask("x")).await.is_err());
    assert!(streamed(&guarded(&blocking, &reply()), ask("x")).await.is_err());
}

#[tokio::test]
async fn what_a_provider_wants_to_see_again_is_looked_at_and_left_out() {
    let asked = || {
        let items = vec![json!({ "type": "text", "parts": [{ "text": "a secret" }] }), json!("signature")];
        let continuation = Some(Continuation { issuer: "x".into(), items });
        let assistant = Message::Assistant { text: "fine".into(), tool_calls: Vec::new(), continuation };
        ChatRequest::new("m", vec![Message::user("x"), assistant, Message::user("y")])
    };
    let model = scripted([Reply::text("fine"), Reply::text("fine")]);
    whole(&guarded(&layer(hiding("absent")), &model), asked()).await.unwrap();
    assert_eq!(model.requests()[0], asked(), "nothing was found");
    whole(&guarded(&layer(hiding("secret")), &model), asked()).await.unwrap();
    let Message::Assistant { text, continuation, .. } = &model.requests()[1].messages[1] else { panic!() };
    assert_eq!((text.as_str(), continuation), ("fine", &None));
    for result in [
        whole(&guarded(&layer(without("secret")), &model), asked()).await.map(drop),
        streamed(&guarded(&layer(without("secret")), &model), asked()).await.map(drop),
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::ContentPolicy);
    }
    assert_eq!(model.requests().len(), 2);
}
