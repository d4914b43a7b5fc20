//! Recording a conversation through a real transport and replaying it through another.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "these functions are called by tests only"
)]

#[expect(dead_code, reason = "other tests use the rest of it")]
#[cfg(test)]
#[path = "support/mod.rs"]
mod support;

use std::sync::Arc;

use agentprovision_core::model::{ChatEvent, ChatModel, ChatRequest, Message};
use agentprovision_core::{ErrorKind, Result};
use agentprovision_llm::providers::OpenAi;
use agentprovision_llm::replay::{Exchange, Piece, Recorder, ReplayOptions, ReplayServer, load, save};
use agentprovision_llm::{Catalog, Provider};
use futures_util::StreamExt;
use serde_json::json;
use support::{
    KEY, Server, Step, chunk, context, finish_event, stream_end, stream_head, text_event, transport, within,
};

fn hello() -> ChatRequest {
    ChatRequest::new("m", vec![Message::user("hello")])
}

fn recorded_at(base_url: &str) -> (Arc<dyn ChatModel>, Recorder) {
    let provider = OpenAi::at(base_url, KEY.into()).unwrap();
    let recorder = Recorder::new(transport(&provider));
    (provider.model("gpt-4o", Arc::new(recorder.clone()), &Catalog::empty()).unwrap(), recorder)
}

async fn items(model: &Arc<dyn ChatModel>, request: ChatRequest) -> Vec<Result<ChatEvent>> {
    let stream = within(model.stream(&context(), request)).await.unwrap();
    within(stream.collect()).await
}

/// The server side of a conversation whose text is cut within a character.
async fn conversation(tail: Vec<Step>) -> (Vec<Result<ChatEvent>>, Vec<Exchange>) {
    let event = text_event("hé").into_bytes();
    let at = event.iter().position(|byte| *byte == 0xc3).unwrap() + 1;
    let raw = |bytes: &[u8]| {
        let size = format!("{:x}\r\n", bytes.len()).into_bytes();
        Step::Send([&size, bytes, b"\r\n"].concat())
    };
    let (first, second) = event.split_at(at);
    let script = [vec![stream_head(), raw(first), raw(second)], tail].concat();
    let server = Server::start(script).await;
    let (model, recorder) = recorded_at(&server.base_url);
    let items = items(&model, hello()).await;
    (items, recorder.exchanges())
}

#[tokio::test]
async fn what_was_recorded_is_replayed_over_http_in_the_same_pieces() {
    let (live, exchanges) = conversation(vec![chunk(&finish_event()), stream_end()]).await;
    assert!(live.iter().all(Result::is_ok), "{live:?}");
    let [exchange] = exchanges.as_slice() else { panic!("{exchanges:?}") };
    assert_eq!(
        (exchange.request.method.as_str(), exchange.request.path.as_str()),
        ("POST", "/v1/chat/completions")
    );
    assert_eq!(exchange.request.body["model"], json!("gpt-4o"));
    assert!(exchange.request.headers.contains(&("authorization".into(), "[redacted]".into())));
    assert!(!exchange.response.cut_off);
    assert!(exchange.response.body.iter().any(|piece| matches!(piece, Piece::Bytes { .. })), "{exchange:?}");

    let folder = std::env::temp_dir().join(format!("agentprovision-replay-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("cassette.jsonl");
    save(&path, &exchanges).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains(KEY), "{text}");
    assert_eq!(load(&path).unwrap(), exchanges);
    std::fs::write(&path, "\n{}\n").unwrap();
    let error = load(&path).unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Corrupt, "line 2 of the cassette is no exchange")
    );
    std::fs::write(&path, "{\"version\":2}\n").unwrap();
    assert_eq!(load(&path).unwrap_err().kind(), ErrorKind::SchemaTooNew);
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(load(&path).unwrap_err().kind(), ErrorKind::Unavailable);

    let server = ReplayServer::start(exchanges.clone(), ReplayOptions::default()).await.unwrap();
    let (model, again) = recorded_at(&server.url("/v1"));
    let replayed = items(&model, hello()).await;
    let all =
        |items: &[Result<ChatEvent>]| items.iter().map(|item| item.clone().unwrap()).collect::<Vec<_>>();
    assert_eq!(all(&replayed), all(&live));
    assert_eq!(again.exchanges()[0].response.body, exchanges[0].response.body);
    server.finish().unwrap();
}

#[tokio::test]
async fn a_recording_that_broke_off_breaks_off_again() {
    let (live, exchanges) = conversation(vec![]).await;
    assert_eq!(live.last().unwrap().as_ref().unwrap_err().kind(), ErrorKind::Incomplete);
    assert!(exchanges[0].response.cut_off);
    let server = ReplayServer::start(exchanges, ReplayOptions::default()).await.unwrap();
    let (model, _) = recorded_at(&server.url("/v1"));
    let replayed = items(&model, hello()).await;
    assert_eq!(replayed.len(), live.len());
    assert_eq!(replayed.last().unwrap().as_ref().unwrap_err().kind(), ErrorKind::Incomplete);
    server.finish().unwrap();
}

#[tokio::test]
async fn a_request_that_differs_is_refused_and_remembered() {
    let (_, exchanges) = conversation(vec![chunk(&finish_event()), stream_end()]).await;
    let mut other = hello();
    other.seed = Some(1);

    let server = ReplayServer::start(exchanges.clone(), ReplayOptions::default()).await.unwrap();
    let (model, _) = recorded_at(&server.url("/v1"));
    let error = within(model.stream(&context(), other.clone())).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ProviderError);
    let error = server.finish().unwrap_err();
    assert_eq!(error.to_string(), "the body of request 1 differs from the recorded one at `/seed`");

    let mut options = ReplayOptions::default();
    options.ignore.push("/seed".into());
    let server = ReplayServer::start(exchanges.clone(), options).await.unwrap();
    let (model, _) = recorded_at(&server.url("/v1"));
    assert!(items(&model, other).await.iter().all(Result::is_ok));
    // Each exchange is served once.
    assert!(within(model.stream(&context(), hello())).await.is_err());
    assert!(server.finish().unwrap_err().message().ends_with("was not recorded"));

    let server = ReplayServer::start(exchanges.clone(), ReplayOptions::default()).await.unwrap();
    let (model, _) = recorded_at(&server.url("/v2"));
    assert!(within(model.stream(&context(), hello())).await.is_err());
    assert!(server.finish().unwrap_err().message().contains("`POST /v2/chat/completions`"));

    let server = ReplayServer::start(exchanges.clone(), ReplayOptions::default()).await.unwrap();
    assert_eq!(server.finish().unwrap_err().message(), "1 recorded exchanges were not asked for");

    let mut bad = exchanges;
    bad[0].response.body = vec![Piece::Bytes { hex: "zz".into() }];
    let error = ReplayServer::start(bad, ReplayOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_key_is_not_recorded_even_when_an_answer_echoes_it_in_two_pieces() {
    let body = format!("{{\"error\":{{\"message\":\"bad key {KEY}\"}}}}");
    let (first, second) = body.split_at(body.find(KEY).unwrap() + 5);
    let head = b"HTTP/1.1 401 Unauthorized\r\ntransfer-encoding: chunked\r\nset-cookie: a=b\r\nx-ratelimit-remaining-tokens: 7\r\n\r\n";
    let server =
        Server::start(vec![Step::Send(head.to_vec()), chunk(first), chunk(second), stream_end()]).await;
    let (model, recorder) = recorded_at(&server.base_url);
    within(model.complete(&context(), hello())).await.unwrap_err();
    let exchanges = recorder.exchanges();
    let text = serde_json::to_string(&exchanges).unwrap();
    assert!(!text.contains(KEY) && !text.contains("sk-te"), "{text}");
    assert_eq!(exchanges[0].response.headers, [("x-ratelimit-remaining-tokens".into(), "7".into())]);
}
