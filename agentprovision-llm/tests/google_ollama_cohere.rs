//! Gemini, Vertex AI, Ollama and Cohere over real HTTP on the loopback: what is sent and what comes back.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "these functions are called by tests only"
)]

#[cfg(test)]
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "support/mod.rs"]
mod support;

use std::error::Error as _;
use std::sync::Arc;

use agentprovision_core::model::{
    ChatEvent, ChatModel, ChatRequest, EmbedRequest, FinishReason, Message, RerankRequest,
};
use agentprovision_core::{Error, ErrorKind};
use agentprovision_llm::providers::{Cohere, Gemini, Ollama, TokenFn, Vertex};
use agentprovision_llm::{Catalog, Category, Provider, ProviderError};
use futures_util::StreamExt;
use serde_json::json;
use support::{KEY, Server, chunk, context, stream_end, stream_head, transport, within};

const JSON: &str = "content-type: application/json\r\n";

fn hello() -> ChatRequest {
    ChatRequest::new("whatever the agent calls it", vec![Message::user("hello")])
}

fn model(provider: &dyn Provider, name: &str) -> Arc<dyn ChatModel> {
    provider.model(name, transport(provider), &Catalog::shipped()).unwrap()
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

fn category(error: &Error) -> Category {
    error
        .source()
        .and_then(|source| source.downcast_ref::<ProviderError>())
        .expect("no provider error")
        .category
}

fn google_answer() -> String {
    json!({"candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1}})
    .to_string()
}

#[tokio::test]
async fn gemini_gets_its_key_in_its_own_header_and_streams_events() {
    let event = |text: &str, end: &str| {
        format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{text}\"}}]}}{end}}}]}}\r\n\r\n"
        )
    };
    let script = vec![
        stream_head(),
        chunk(&event("h", "")),
        chunk(&event("i", ",\"finishReason\":\"STOP\"")),
        stream_end(),
    ];
    let mut server = Server::start(script).await;
    let gemini = Gemini::at(&server.base_url, KEY.into()).unwrap();
    let stream = within(model(&gemini, "gemini-2.5-flash").stream(&context(), hello())).await.unwrap();
    let events: Vec<ChatEvent> = within(stream.map(Result::unwrap).collect::<Vec<_>>()).await;
    let finished = ChatEvent::Finished { reason: FinishReason::Stop, raw: Some("STOP".into()) };
    assert_eq!(events, [ChatEvent::Text("h".into()), ChatEvent::Text("i".into()), finished]);
    let seen = within(server.seen()).await;
    let line = "POST /v1/models/gemini-2.5-flash:streamGenerateContent?alt=sse HTTP/1.1\n";
    assert!(seen.head.starts_with(line), "{}", seen.head);
    assert_eq!(seen.header("x-goog-api-key"), Some(KEY));
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(seen.json(), json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}));
}

#[tokio::test]
async fn a_key_that_google_quotes_does_not_come_through() {
    let body = json!({"error": {"code": 400, "status": "INVALID_ARGUMENT",
        "message": format!("API key not valid: {KEY}")}});
    let server = Server::answering("400 Bad Request", JSON, &body.to_string()).await;
    let gemini = Gemini::at(&server.base_url, KEY.into()).unwrap();
    let error = within(model(&gemini, "m").complete(&context(), hello())).await.unwrap_err();
    assert_eq!(category(&error), Category::Authentication);
    assert!(!everything(&error).contains(KEY) && !format!("{gemini:?}").contains(KEY));
}

#[tokio::test]
async fn vertex_embeds_one_text_a_request_with_googles_newest() {
    let body =
        json!({"predictions": [{"embeddings": {"values": [1, 0.5], "statistics": {"token_count": 2}}}]});
    let mut server = Server::answering("200 OK", JSON, &body.to_string()).await;
    let tokens = Arc::new(TokenFn::new(|| async { Ok(KEY.into()) }));
    let vertex = Vertex::at(&server.base_url, "p", "europe-west4", tokens).unwrap();
    let embedder = vertex.embedder("gemini-embedding-001", transport(&vertex), &Catalog::shipped()).unwrap();
    let answer = within(embedder.embed(&context(), EmbedRequest::new("", ["a", "b"]))).await.unwrap();
    assert_eq!(answer.vectors, [[1.0, 0.5], [1.0, 0.5]]);
    assert_eq!(answer.usage.unwrap().input_tokens, Some(4));
    for text in ["a", "b"] {
        let seen = within(server.seen()).await;
        let line = "POST /v1/v1/projects/p/locations/europe-west4/publishers/google/models/gemini-embedding-001:predict ";
        assert!(seen.head.starts_with(line), "{}", seen.head);
        assert_eq!(seen.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
        assert_eq!(seen.json(), json!({"instances": [{"content": text}]}));
    }
}

#[tokio::test]
async fn vertex_gets_a_token_for_every_request_and_errors_do_not_show_it() {
    let mut server = Server::answering("200 OK", JSON, &google_answer()).await;
    let tokens = Arc::new(TokenFn::new(|| async { Ok(KEY.into()) }));
    let vertex = Vertex::at(&server.base_url, "p", "europe-west4", tokens).unwrap();
    let answer = within(model(&vertex, "gemini-2.5-pro").complete(&context(), hello())).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.usage.unwrap().total()), ("hi", 4));
    let seen = within(server.seen()).await;
    let path =
        "/v1/v1/projects/p/locations/europe-west4/publishers/google/models/gemini-2.5-pro:generateContent";
    assert!(seen.head.starts_with(&format!("POST {path} HTTP/1.1\n")), "{}", seen.head);
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {KEY}").as_str()));

    let body = json!({"error": {"code": 401, "status": "UNAUTHENTICATED", "message": format!("no: {KEY}")}});
    let server = Server::answering("401 Unauthorized", JSON, &body.to_string()).await;
    let tokens = Arc::new(TokenFn::new(|| async { Ok(KEY.into()) }));
    let vertex = Vertex::at(&server.base_url, "p", "global", tokens).unwrap();
    let error = within(model(&vertex, "m").complete(&context(), hello())).await.unwrap_err();
    assert!(!everything(&error).contains(KEY), "{}", everything(&error));

    // Without a token nothing is sent.
    let mut server = Server::answering("200 OK", JSON, &google_answer()).await;
    let tokens = Arc::new(TokenFn::new(|| async { Err(Error::new(ErrorKind::Unavailable, "no token")) }));
    let vertex = Vertex::at(&server.base_url, "p", "global", tokens).unwrap();
    let error = within(model(&vertex, "m").complete(&context(), hello())).await.unwrap_err();
    assert!(error.is(ErrorKind::Unavailable) && server.saw_nothing());
}

#[tokio::test]
async fn ollama_is_asked_without_a_key_and_streams_lines() {
    let line =
        |text: &str, done: bool| format!("{{\"message\":{{\"content\":\"{text}\"}},\"done\":{done}}}\n");
    // A line in two pieces.
    let text = line("hi", false);
    let (first, second) = text.split_at(20);
    let script = vec![stream_head(), chunk(first), chunk(second), chunk(&line("", true)), stream_end()];
    let mut server = Server::start(script).await;
    let ollama = Ollama::new(&server.base_url).unwrap();
    let stream = within(model(&ollama, "qwen3").stream(&context(), hello())).await.unwrap();
    let events: Vec<ChatEvent> = within(stream.map(Result::unwrap).collect::<Vec<_>>()).await;
    assert_eq!(events.first(), Some(&ChatEvent::Text("hi".into())));
    let seen = within(server.seen()).await;
    assert!(seen.head.starts_with("POST /v1/api/chat HTTP/1.1\n"), "{}", seen.head);
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(seen.json()["model"], "qwen3");

    // The server goes away in the middle.
    let server = Server::start(vec![stream_head(), chunk(&text)]).await;
    let ollama = Ollama::new(&server.base_url).unwrap();
    let stream = within(model(&ollama, "m").stream(&context(), hello())).await.unwrap();
    let mut events = within(stream.collect::<Vec<_>>()).await;
    assert_eq!(category(&events.pop().unwrap().unwrap_err()), Category::Incomplete);
}

#[tokio::test]
async fn cohere_answers_embeds_and_ranks() {
    let answer = json!({"id": "x", "finish_reason": "COMPLETE", "message": {"content": [{"type": "text", "text": "hi"}]}});
    let mut server = Server::answering("200 OK", JSON, &answer.to_string()).await;
    let cohere = Cohere::at(&server.base_url, KEY.into()).unwrap();
    let answer = within(model(&cohere, "command").complete(&context(), hello())).await.unwrap();
    assert_eq!(answer.text, "hi");
    let seen = within(server.seen()).await;
    assert!(seen.head.starts_with("POST /v1/v2/chat HTTP/1.1\n"), "{}", seen.head);
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {KEY}").as_str()));

    let vectors = json!({"embeddings": {"float": [[1, 2]]}, "meta": {"billed_units": {"input_tokens": 2}}});
    let server = Server::answering("200 OK", JSON, &vectors.to_string()).await;
    let cohere = Cohere::at(&server.base_url, KEY.into()).unwrap();
    let embedder = cohere.embedder("embed-v4.0", transport(&cohere), &Catalog::shipped()).unwrap();
    let answer = within(embedder.embed(&context(), EmbedRequest::new("x", ["a"]))).await.unwrap();
    assert_eq!((answer.vectors, answer.usage.unwrap().input_tokens), (vec![vec![1.0, 2.0]], Some(2)));

    let ranked = json!({"results": [{"index": 0, "relevance_score": 0.1}, {"index": 1, "relevance_score": 0.9}],
        "meta": {"billed_units": {"search_units": 1}}});
    let server = Server::answering("200 OK", JSON, &ranked.to_string()).await;
    let cohere = Cohere::at(&server.base_url, KEY.into()).unwrap();
    let reranker = cohere.reranker("rerank-v3.5", transport(&cohere), &Catalog::shipped()).unwrap();
    let answer = within(reranker.rerank(&context(), RerankRequest::new("x", "q", ["a", "b"]))).await.unwrap();
    assert_eq!((answer.results[0].index, answer.usage.unwrap().search_units), (1, Some(1)));
}

#[tokio::test]
async fn gemini_embeds_in_batches() {
    let vectors = json!({"embeddings": [{"values": [1, 2]}]});
    let mut server = Server::answering("200 OK", JSON, &vectors.to_string()).await;
    let gemini = Gemini::at(&server.base_url, KEY.into()).unwrap();
    let embedder = gemini.embedder("gemini-embedding-001", transport(&gemini), &Catalog::shipped()).unwrap();
    let answer = within(embedder.embed(&context(), EmbedRequest::new("x", ["a"]))).await.unwrap();
    assert_eq!((answer.vectors, answer.usage), (vec![vec![1.0, 2.0]], None));
    let seen = within(server.seen()).await;
    assert!(seen.head.starts_with("POST /v1/models/gemini-embedding-001:batchEmbedContents HTTP/1.1\n"));
    // Fewer vectors than texts are no answer.
    let error = within(embedder.embed(&context(), EmbedRequest::new("x", ["a", "b"]))).await.unwrap_err();
    assert_eq!(category(&error), Category::Malformed);
}
