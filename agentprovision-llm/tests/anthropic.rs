//! Anthropic over real HTTP on the loopback: what is sent, what comes back, and what must never leave.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "these functions are called by tests only"
)]

#[cfg(test)]
#[expect(dead_code, reason = "shared with the tests of other providers")]
#[path = "support/mod.rs"]
mod support;

use std::sync::Arc;

use agentprovision_core::ErrorKind;
use agentprovision_core::model::{ChatEvent, ChatModel, ChatRequest, FinishReason, Message, ModelInfo};
use agentprovision_llm::providers::Anthropic;
use agentprovision_llm::{Catalog, CatalogEntry, Provider};
use futures_util::StreamExt;
use serde_json::json;
use support::{KEY, Server, chunk, context, stream_end, stream_head, transport, within};

fn provider(server: &Server) -> Anthropic {
    let provider = Anthropic::at(&server.base_url, format!(" {KEY}\n").into()).unwrap();
    provider.header("anthropic-beta", "some-beta-2026-01-01").unwrap()
}

fn model(server: &Server) -> Arc<dyn ChatModel> {
    let provider = provider(server);
    provider.model("claude-x", transport(&provider), &Catalog::empty()).unwrap()
}

fn hello() -> ChatRequest {
    ChatRequest::new("whatever the agent calls it", vec![Message::user("hello")])
}

#[tokio::test]
async fn a_request_says_exactly_what_it_must() {
    let body = json!({"type": "message", "id": "msg_1", "model": "claude-x-1", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 8, "output_tokens": 1}});
    let mut server = Server::answering("200 OK", "", &body.to_string()).await;
    let answer = within(model(&server).complete(&context(), hello())).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.finish), ("hi", FinishReason::Stop));
    let seen = within(server.seen()).await;
    assert!(seen.head.starts_with("POST /v1/messages HTTP/1.1\n"), "{}", seen.head);
    for (name, value) in [
        ("x-api-key", KEY),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "some-beta-2026-01-01"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(seen.header(name), Some(value));
    }
    assert_eq!(seen.header("authorization"), None);
    let messages = json!([{"role": "user", "content": [{"type": "text", "text": "hello"}]}]);
    assert_eq!(seen.json(), json!({"model": "claude-x", "messages": messages, "max_tokens": 4096}));
}

#[tokio::test]
async fn the_longest_answer_is_what_the_catalogue_knows_of_the_model() {
    let mut server = Server::answering("200 OK", "", "{}").await;
    let provider = provider(&server);
    let mut entry = CatalogEntry::new("anthropic", "claude-x");
    entry.max_output_tokens = Some(64_000);
    let catalog = Catalog::empty().with([entry]).unwrap();
    let model = provider.model("claude-x", transport(&provider), &catalog).unwrap();
    let info: &ModelInfo = model.info();
    assert_eq!(info.max_output_tokens, Some(64_000));
    let error = within(model.complete(&context(), hello())).await.unwrap_err();
    assert!(error.is(ErrorKind::ProviderError), "{error:?}");
    assert_eq!(within(server.seen()).await.json()["max_tokens"], 64_000);
}

#[tokio::test]
async fn a_stream_that_fails_before_content_is_an_error_of_the_call() {
    let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\"}}\n\n";
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
    let server = Server::start(vec![stream_head(), chunk(start), chunk(error), stream_end()]).await;
    let error = within(model(&server).stream(&context(), hello())).await.err().unwrap();
    assert!(error.is(ErrorKind::Unavailable), "{error:?}");

    let text = "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n";
    let server = Server::start(vec![stream_head(), chunk(start), chunk(text), stream_end()]).await;
    let stream = within(model(&server).stream(&context(), hello())).await.unwrap();
    let events: Vec<_> = within(stream.collect()).await;
    assert!(events.iter().any(|event| matches!(event, Ok(ChatEvent::Text(text)) if text == "hi")));
    let last = events.last().unwrap().as_ref().unwrap_err();
    assert!(last.is(ErrorKind::Incomplete), "{last:?}");
}

#[tokio::test]
async fn the_key_is_in_no_error() {
    let body =
        json!({"type": "error", "error": {"type": "authentication_error", "message": format!("bad {KEY}")}});
    let server = Server::answering("401 Unauthorized", "", &body.to_string()).await;
    let error = within(model(&server).complete(&context(), hello())).await.unwrap_err();
    let text = format!("{error:?} {:?} {:?}", model(&server), provider(&server));
    assert!(text.contains("bad [redacted]") && !text.contains(KEY), "{text}");
}
