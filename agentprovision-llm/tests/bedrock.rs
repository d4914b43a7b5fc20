//! Amazon Bedrock over real HTTP on the loopback: what is sent, what comes back, and what must never leave.

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

use agentprovision_core::clock::ManualClock;
use agentprovision_core::model::{ChatModel, ChatRequest, EmbedRequest, FinishReason, Message};
use agentprovision_core::{Error, ErrorKind, Result};
use agentprovision_llm::providers::Bedrock;
use agentprovision_llm::{AwsKeySource, AwsKeys, Catalog, Provider};
use async_trait::async_trait;
use serde_json::json;
use support::{KEY, Server, context, transport, within};

const TOKEN: &str = "session-token-0123456789";

fn hello() -> ChatRequest {
    ChatRequest::new("whatever the agent calls it", vec![Message::user("hello")])
}

fn model(provider: &Bedrock) -> Arc<dyn ChatModel> {
    provider.model("us.amazon.nova-micro-v1:0", transport(provider), &Catalog::empty()).unwrap()
}

fn bedrock(server: &Server, keys: impl AwsKeySource) -> Bedrock {
    let clock = ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap());
    let url = server.base_url.trim_end_matches("/v1");
    Bedrock::new("us-east-1", Arc::new(keys)).unwrap().at(url).unwrap().clock(Arc::new(clock))
}

fn keys() -> AwsKeys {
    AwsKeys::new("AKIDEXAMPLE", KEY.into()).with_session_token(TOKEN.into())
}

#[tokio::test]
async fn a_request_is_signed_for_what_the_server_sees() {
    let body = json!({"output": {"message": {"content": [{"text": "hi"}]}}, "stopReason": "end_turn",
        "usage": {"inputTokens": 8, "outputTokens": 1, "totalTokens": 9}});
    let mut server = Server::answering("200 OK", "", &body.to_string()).await;
    let provider = bedrock(&server, keys());
    let answer = within(model(&provider).complete(&context(), hello())).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.finish), ("hi", FinishReason::Stop));
    let seen = within(server.seen()).await;
    let line = "POST /model/us.amazon.nova-micro-v1%3A0/converse HTTP/1.1\n";
    assert!(seen.head.starts_with(line), "{}", seen.head);
    assert_eq!(seen.json(), json!({"messages": [{"role": "user", "content": [{"text": "hello"}]}]}));
    assert_eq!(seen.header("x-amz-date"), Some("20260102T030405Z"));
    assert_eq!(seen.header("x-amz-security-token"), Some(TOKEN));
    let authorization = seen.header("authorization").unwrap();
    let scope = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/us-east-1/bedrock/aws4_request, \
        SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=";
    assert!(authorization.starts_with(scope), "{authorization}");

    // Signed once more over what arrived, it is the same signature.
    let host = seen.header("host").unwrap();
    let mut again = http::Request::post(format!("http://{host}/model/us.amazon.nova-micro-v1%3A0/converse"))
        .header("content-type", seen.header("content-type").unwrap())
        .body(bytes::Bytes::from(seen.body.clone()))
        .unwrap();
    let clock = ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap());
    let signer = agentprovision_llm::SigV4::new(Arc::new(keys()), "us-east-1", "bedrock");
    let signer = signer.with_clock(Arc::new(clock));
    agentprovision_llm::Credential::apply(&signer, &mut again).await.unwrap();
    assert_eq!(again.headers().get("authorization").unwrap(), authorization);
}

#[tokio::test]
async fn secrets_are_in_no_error() {
    let canonical = format!("should have been 'POST\\n...\\nx-amz-security-token:{TOKEN}'");
    let body = json!({"message": canonical}).to_string();
    let server = Server::answering("403 Forbidden", "", &body).await;
    let provider = bedrock(&server, keys());
    let error = within(model(&provider).complete(&context(), hello())).await.unwrap_err();
    assert!(error.is(ErrorKind::ProviderError));
    let text = format!("{error:?} {provider:?} {:?}", model(&provider));
    assert!(text.contains("x-amz-security-token:[redacted]"), "{text}");
    assert!(!text.contains(TOKEN) && !text.contains(KEY), "{text}");
}

#[tokio::test]
async fn an_api_key_is_sent_as_it_is() {
    let mut server = Server::answering("200 OK", "", "{}").await;
    let url = server.base_url.trim_end_matches("/v1");
    let provider = Bedrock::with_api_key("us-east-1", KEY.into()).unwrap().at(url).unwrap();
    let error = within(model(&provider).complete(&context(), hello())).await.unwrap_err();
    assert!(!format!("{error:?} {provider:?}").contains(KEY));
    let seen = within(server.seen()).await;
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(seen.header("x-amz-date"), None);
}

#[tokio::test]
async fn texts_are_embedded_one_by_one() {
    let body = json!({"embedding": [0.5, -1.0], "inputTextTokenCount": 3}).to_string();
    let mut server = Server::answering("200 OK", "", &body).await;
    let provider = bedrock(&server, keys());
    let model = provider.embedder("titan:0", transport(&provider), &Catalog::empty()).unwrap();
    let answer = within(model.embed(&context(), EmbedRequest::new("x", ["a", "b"]))).await.unwrap();
    assert_eq!(answer.vectors, [[0.5, -1.0], [0.5, -1.0]]);
    assert_eq!(answer.usage.unwrap().input_tokens, Some(6));
    for text in ["a", "b"] {
        let seen = within(server.seen()).await;
        assert!(seen.head.starts_with("POST /model/titan%3A0/invoke HTTP/1.1\n"), "{}", seen.head);
        assert_eq!(seen.json(), json!({"inputText": text}));
        assert!(seen.header("authorization").unwrap().starts_with("AWS4-HMAC-SHA256 "));
    }
}

#[derive(Debug)]
struct Expired;

#[async_trait]
impl AwsKeySource for Expired {
    async fn keys(&self) -> Result<AwsKeys> {
        Err(Error::new(ErrorKind::Unavailable, "no keys for now"))
    }
}

#[tokio::test]
async fn without_keys_nothing_is_sent() {
    let mut server = Server::answering("200 OK", "", "{}").await;
    let provider = bedrock(&server, Expired);
    let error = within(model(&provider).complete(&context(), hello())).await.unwrap_err();
    assert!(error.is(ErrorKind::Unavailable), "{error:?}");
    assert!(server.saw_nothing());
}
