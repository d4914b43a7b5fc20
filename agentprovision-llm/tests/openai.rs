//! OpenAI over real HTTP on the loopback: what is sent, what comes back, and what must never leave.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "these functions are called by tests only"
)]

#[cfg(test)]
#[path = "support/mod.rs"]
mod support;

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::http::HttpTransport;
use agentprovision_core::model::{ChatEvent, ChatRequest, FinishReason, Message};
use agentprovision_core::{Error, ErrorKind, Retry, Timestamp};
use agentprovision_llm::providers::{OpenAi, OpenAiCompatible};
use agentprovision_llm::{Catalog, Category, ModelRegistry, Provider, ProviderError};
use futures_util::StreamExt;
use serde_json::json;
use support::{
    KEY, Server, Step, chunk, context, finish_event, stream_end, stream_head, text_event, transport, within,
};

fn hello() -> ChatRequest {
    ChatRequest::new("whatever the agent calls it", vec![Message::user("hello")])
}

fn category(error: &Error) -> Category {
    error
        .source()
        .and_then(|source| source.downcast_ref::<ProviderError>())
        .expect("no provider error")
        .category
}

/// An error's every text, down to the last cause.
fn everything(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {:?}", error.context());
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(" {cause} {cause:?}"));
        source = cause.source();
    }
    text
}

async fn error_of(server: &Server) -> Error {
    within(server.model().complete(&context(), hello())).await.unwrap_err()
}

async fn stream_error_of(server: &Server) -> Error {
    within(server.model().stream(&context(), hello())).await.err().expect("the stream opened")
}

#[tokio::test]
async fn a_request_says_exactly_what_it_must() {
    let body = json!({"id": "chatcmpl-1", "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 8, "completion_tokens": 1, "total_tokens": 9}});
    let mut server =
        Server::answering("200 OK", "content-type: application/json\r\n", &body.to_string()).await;
    let model = server.model();
    let mut request = hello();
    request.max_tokens = Some(5);
    let answer = within(model.complete(&context(), request)).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.finish), ("hi", FinishReason::Stop));
    let cost = model.info().cost(&answer.usage.unwrap(), Timestamp::default()).unwrap();
    assert_eq!(cost.to_string(), "0.00003");

    let seen = within(server.seen()).await;
    assert!(seen.head.starts_with("POST /v1/chat/completions HTTP/1.1\n"), "{}", seen.head);
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(seen.header("accept"), Some("application/json"));
    let messages = json!([{"role": "user", "content": "hello"}]);
    assert_eq!(seen.json(), json!({"model": "gpt-4o", "messages": messages, "max_completion_tokens": 5}));
}

#[tokio::test]
async fn a_stream_is_handed_on_as_it_arrives() {
    let mut server = Server::start(vec![
        stream_head(),
        chunk(&text_event("one")),
        Step::Wait,
        chunk(&text_event("two")[..20]),
        chunk(&format!("{}{}data: [DONE]\n\n", &text_event("two")[20..], finish_event())),
        stream_end(),
    ])
    .await;
    let mut stream = within(server.model().stream(&context(), hello())).await.unwrap();
    let started =
        ChatEvent::Started { id: Some("chatcmpl-1".into()), model: Some("gpt-4o-2024-08-06".into()) };
    assert_eq!(within(stream.next()).await.unwrap().unwrap(), started);
    assert_eq!(within(stream.next()).await.unwrap().unwrap(), ChatEvent::Text("one".into()));
    // The server has not sent the rest yet.
    server.go();
    let rest: Vec<ChatEvent> = within(stream.map(Result::unwrap).collect()).await;
    let finished = ChatEvent::Finished { reason: FinishReason::Stop, raw: Some("stop".into()) };
    assert_eq!(rest, [ChatEvent::Text("two".into()), finished]);

    let seen = within(server.seen()).await.json();
    assert_eq!(seen["stream"], json!(true));
    assert_eq!(seen["stream_options"], json!({"include_usage": true}));
}

#[tokio::test]
async fn a_host_that_is_not_allowed_is_blocked() {
    let mut server = Server::answering("200 OK", "", "{}").await;
    let provider = OpenAi::at(&server.base_url, KEY.into()).unwrap();
    let other = OpenAiCompatible::new("other", "http://127.0.0.1:1/v1").unwrap();
    let model = provider.model("gpt-4o", transport(&other), &Catalog::shipped()).unwrap();
    let error = within(model.complete(&context(), hello())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Blocked);
    let error = within(model.stream(&context(), hello())).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Blocked);
    assert!(server.saw_nothing());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut target = Server::answering("200 OK", "", "{}").await;
    let location = format!("location: {}/chat/completions\r\n", target.base_url);
    for status in ["302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let server = Server::answering(status, &location, "").await;
        // Even a target that is allowed gets nothing.
        let providers = [&server, &target].map(|server| OpenAi::at(&server.base_url, KEY.into()).unwrap());
        let transport = transport(&providers[0]);
        transport.allow(&providers[1].base_urls()[0]).unwrap();
        let model = providers[0].model("gpt-4o", transport, &Catalog::shipped()).unwrap();
        let error = within(model.complete(&context(), hello())).await.unwrap_err();
        assert_eq!((error.kind(), category(&error)), (ErrorKind::ProviderError, Category::Malformed));
    }
    assert!(target.saw_nothing());
}

#[tokio::test]
async fn nobody_listening_is_unavailable_and_may_be_tried_again() {
    let server = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}/v1", listener.local_addr().unwrap())
    };
    let provider = OpenAi::at(&server, KEY.into()).unwrap();
    let model = provider.model("gpt-4o", transport(&provider), &Catalog::shipped()).unwrap();
    let error = within(model.complete(&context(), hello())).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::After(Duration::ZERO)));
    assert!(error.context().contains(&("provider", "openai".into())));
}

#[tokio::test]
async fn an_error_with_a_success_status_is_an_error_of_the_call() {
    let body = json!({"error": {"message": "you have no credit", "code": "insufficient_quota"}}).to_string();
    for body in [body.clone(), format!("data: {body}\n\n"), format!("event: error\ndata: {body}\n\n")] {
        let server = Server::answering("200 OK", "content-type: text/event-stream\r\n", &body).await;
        let error = stream_error_of(&server).await;
        assert_eq!((error.kind(), category(&error)), (ErrorKind::ProviderError, Category::QuotaExhausted));
        assert_eq!(error.retry(), Retry::Never);
        assert!(!error.to_string().contains("credit"));
    }
    let server = Server::answering("200 OK", "", &body).await;
    assert_eq!(category(&error_of(&server).await), Category::QuotaExhausted);
    for body in ["", "welcome", "{}", "null", "{\"choices\":[]}", "[[[[", "\u{0}"] {
        let server = Server::answering("200 OK", "content-type: text/html\r\n", body).await;
        assert_eq!(error_of(&server).await.kind(), ErrorKind::ProviderError, "{body}");
        let kind = stream_error_of(&server).await.kind();
        assert!(matches!(kind, ErrorKind::ProviderError | ErrorKind::Incomplete), "{body}: {kind}");
    }
}

#[tokio::test]
async fn an_error_before_the_first_content_is_an_error_of_the_call() {
    let error = "data: {\"error\":{\"message\":\"busy\",\"code\":503}}\n\n";
    let server = Server::start(vec![
        stream_head(),
        chunk(": wait\n\n"),
        chunk(&text_event("")),
        chunk(error),
        stream_end(),
    ])
    .await;
    let failed = stream_error_of(&server).await;
    assert_eq!((failed.kind(), category(&failed)), (ErrorKind::Unavailable, Category::Overloaded));

    // After content it is the last item instead.
    let server =
        Server::start(vec![stream_head(), chunk(&text_event("hi")), chunk(error), stream_end()]).await;
    let stream = within(server.model().stream(&context(), hello())).await.unwrap();
    let items: Vec<_> = within(stream.collect()).await;
    let [Ok(ChatEvent::Started { .. }), Ok(ChatEvent::Text(_)), Err(last)] = items.as_slice() else {
        panic!("{items:?}");
    };
    assert_eq!(category(last), Category::Overloaded);
}

#[tokio::test]
async fn a_stream_that_is_cut_off_is_incomplete_unless_it_has_its_finish_reason() {
    let whole = |tail: &[Step]| [&[stream_head(), chunk(&text_event("hi"))], tail].concat();
    // Ended politely, broken off between chunks, and broken off within a chunk.
    let half = Step::Send(b"ff\r\ndata: {\"choi".to_vec());
    for tail in [vec![stream_end()], vec![], vec![half.clone()]] {
        let server = Server::start(whole(&tail)).await;
        let stream = within(server.model().stream(&context(), hello())).await.unwrap();
        let mut items: Vec<_> = within(stream.collect()).await;
        let error = items.pop().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incomplete);
        assert!(items.iter().all(Result::is_ok));
        assert!(items.iter().any(|item| matches!(item, Ok(ChatEvent::Text(text)) if text == "hi")));
    }
    for tail in [vec![stream_end()], vec![], vec![half]] {
        let server = Server::start(whole(&[vec![chunk(&finish_event())], tail].concat())).await;
        let stream = within(server.model().stream(&context(), hello())).await.unwrap();
        let items: Vec<_> = within(stream.collect()).await;
        assert!(items.iter().all(Result::is_ok), "{items:?}");
        assert!(matches!(items.last(), Some(Ok(ChatEvent::Finished { .. }))));
    }
    // A whole answer that is cut off.
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"choices\":".to_vec();
    let server = Server::start(vec![Step::Send(cut)]).await;
    assert_eq!(error_of(&server).await.kind(), ErrorKind::Incomplete);
}

#[tokio::test]
async fn a_rate_limit_says_when_to_come_back() {
    let body = json!({"error": {"message": "Limit reached. Please try again in 6ms.", "type": "tokens",
        "code": "rate_limit_exceeded"}})
    .to_string();
    for (headers, after) in [
        ("", 6),
        ("retry-after-ms: 1500\r\nretry-after: 1\r\n", 1500),
        ("x-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 1m2.5s\r\n", 62_500),
    ] {
        let server = Server::answering("429 Too Many Requests", headers, &body).await;
        for error in [error_of(&server).await, stream_error_of(&server).await] {
            assert_eq!(error.kind(), ErrorKind::RateLimited);
            assert_eq!(error.retry(), Retry::After(Duration::from_millis(after)));
            assert_eq!(error.to_string(), "the model provider takes no more requests for now");
        }
    }
}

#[tokio::test]
async fn the_key_is_in_no_error_and_in_no_debug_text() {
    let echo = json!({"error": {"message": format!("Incorrect API key provided: {KEY}."), "type": KEY,
        "code": KEY, "param": KEY}})
    .to_string();
    for (status, body) in
        [("401 Unauthorized", echo.as_str()), ("500 Internal Server Error", KEY), ("200 OK", echo.as_str())]
    {
        let server = Server::answering(status, "", body).await;
        for error in [error_of(&server).await, stream_error_of(&server).await] {
            assert!(!everything(&error).contains(KEY), "{}", everything(&error));
        }
        let model = server.model();
        assert!(!format!("{model:?} {model:#?}").contains(KEY));
    }
    let server = Server::answering("401 Unauthorized", "", &echo).await;
    assert!(everything(&error_of(&server).await).contains("Incorrect API key provided: [redacted]."));

    let provider = OpenAi::new(KEY.into()).unwrap();
    assert!(!format!("{provider:?} {provider:#?}").contains(KEY));
    let secret = "gateway-secret-value";
    let provider = OpenAiCompatible::new("gw", &server.base_url).unwrap().header("api-key", secret).unwrap();
    assert!(!format!("{provider:?} {provider:#?}").contains(secret));
    // A bad key is refused without being quoted.
    for key in ["", " ", "sk-with\nnewline", "sk-\u{7f}"] {
        let error = OpenAi::new(key.into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!everything(&error).contains("sk-"), "{error:?}");
    }
}

#[tokio::test]
async fn a_huge_error_page_is_cut() {
    let page = format!("<html>{}", "x".repeat(3_000_000));
    let server = Server::answering("502 Bad Gateway", "content-type: text/html\r\n", &page).await;
    let error = error_of(&server).await;
    assert_eq!(category(&error), Category::ServerError);
    assert!(everything(&error).len() < 20_000);
}

#[tokio::test]
async fn dropping_a_stream_or_a_call_closes_its_connection() {
    let mut server = Server::start(vec![stream_head(), chunk(&text_event("hi")), Step::UntilClosed]).await;
    let mut stream = within(server.model().stream(&context(), hello())).await.unwrap();
    within(stream.next()).await.unwrap().unwrap();
    drop(stream);
    within(server.closed()).await;

    // A stream that gave its error is over, although somebody still holds it.
    let error = "data: {\"error\":{\"message\":\"busy\",\"code\":503}}\n\n";
    let mut server =
        Server::start(vec![stream_head(), chunk(&text_event("hi")), chunk(error), Step::UntilClosed]).await;
    let mut stream = within(server.model().stream(&context(), hello())).await.unwrap();
    while within(stream.next()).await.unwrap().is_ok() {}
    within(server.closed()).await;
    assert!(within(stream.next()).await.is_none());

    let mut server = Server::start(vec![Step::UntilClosed]).await;
    let model = server.model();
    let call = tokio::spawn(async move { model.complete(&context(), hello()).await });
    within(server.seen()).await;
    call.abort();
    within(server.closed()).await;
}

#[tokio::test]
async fn a_bad_request_is_refused_before_anything_is_sent() {
    let mut server = Server::answering("200 OK", "", "{}").await;
    let mut request = hello();
    request.extra.insert("stream".into(), json!(true));
    let error = within(server.model().complete(&context(), request)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(server.saw_nothing());
}

#[tokio::test]
async fn a_compatible_server_gets_its_own_fields() {
    let mut server = Server::answering("500 Internal Server Error", "", "").await;
    let provider = OpenAiCompatible::new("local", &format!("{}/", server.base_url)).unwrap();
    let provider = provider.header("x-team", "blue").unwrap();
    let model = provider.model("org/llama", transport(&provider), &Catalog::shipped()).unwrap();
    assert_eq!((model.info().name.as_str(), model.info().provider.as_str()), ("org/llama", "local"));
    assert_eq!(model.info().price, None);
    let mut request = hello();
    request.max_tokens = Some(5);
    within(model.complete(&context(), request)).await.unwrap_err();
    let seen = within(server.seen()).await;
    assert!(seen.head.starts_with("POST /v1/chat/completions HTTP/1.1\n"), "{}", seen.head);
    assert_eq!((seen.header("authorization"), seen.header("x-team")), (None, Some("blue")));
    assert_eq!(seen.json()["max_tokens"], json!(5));
    assert_eq!(seen.json()["model"], json!("org/llama"));
}

#[test]
fn bad_endpoints_are_refused() {
    for url in [
        "",
        "api.openai.com",
        "/v1",
        "ftp://a/v1",
        "http://",
        "http://u:p@a/v1",
        "http://a/v1?key=x",
        "http://a/#x",
        "http://a b/",
        "https:///v1",
    ] {
        let error = OpenAiCompatible::new("p", url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}");
    }
    for name in ["", "a/b", "a\nb"] {
        assert!(OpenAiCompatible::new(name, "http://a").is_err());
    }
    let provider = || OpenAiCompatible::new("p", "http://a/v1").unwrap();
    for (name, value) in
        [("authorization", "x"), ("Host", "x"), ("bad name", "x"), ("x-a", "a\nb"), ("", "x")]
    {
        assert_eq!(provider().header(name, value).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
    }
}

#[test]
fn names_resolve_in_the_documented_order() {
    let provider = |name: &str| -> Arc<dyn Provider> {
        Arc::new(OpenAiCompatible::new(name, &format!("http://{name}.invalid/v1")).unwrap())
    };
    let openai: Arc<dyn Provider> = Arc::new(OpenAi::new(KEY.into()).unwrap());
    let transport: Arc<dyn HttpTransport> = transport(openai.as_ref());
    let own = provider("own").model("mine", Arc::clone(&transport), &Catalog::empty()).unwrap();
    let models = ModelRegistry::builder()
        .transport(Arc::clone(&transport))
        .model("gpt-4o-mini", Arc::clone(&own))
        .provider(provider("local"))
        .provider(Arc::clone(&openai))
        .build()
        .unwrap();
    let of =
        |name: &str| models.get(name).map(|model| format!("{}:{}", model.info().provider, model.info().name));
    assert_eq!(of("gpt-4o-mini").unwrap(), "own:mine");
    assert_eq!(of("openai/gpt-4o-mini").unwrap(), "openai:gpt-4o-mini");
    assert_eq!(of("local/org/llama").unwrap(), "local:org/llama");
    assert_eq!(of("gpt-4o-2024-08-06").unwrap(), "openai:gpt-4o-2024-08-06");
    let error = of("org/unknown`").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        "there is no model `org/unknown``; there are `gpt-4o-mini`, `local/…`, `openai/…`"
    );
    assert_eq!(of("org/unknown\n").unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(of("").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(of("local/").unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(models.names().contains(&"openai/gpt-4o".into()));
    assert_eq!(models.base_urls().len(), 2);

    let one = ModelRegistry::builder()
        .transport(Arc::clone(&transport))
        .provider(provider("local"))
        .build()
        .unwrap();
    assert_eq!(one.get("org/llama").unwrap().info().name, "org/llama");
    let none = ModelRegistry::builder().build().unwrap();
    assert_eq!(none.get("x").unwrap_err().to_string(), "there is no model `x`; there are none");

    let twice =
        ModelRegistry::builder().transport(transport).provider(provider("a")).provider(provider("a")).build();
    assert_eq!(twice.unwrap_err().kind(), ErrorKind::AlreadyExists);
    let twice = ModelRegistry::builder().model("m", Arc::clone(&own)).model("m", own).build();
    assert_eq!(twice.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(
        ModelRegistry::builder().provider(provider("a")).build().unwrap_err().is(ErrorKind::InvalidInput)
    );
}
