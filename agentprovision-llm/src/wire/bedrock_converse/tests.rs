//! Answers in the shapes of this format. Written from the API reference of Amazon Bedrock Runtime.

use agentprovision_core::clock::{Entropy, SeededEntropy};
use agentprovision_core::model::{
    ChatAssembler, ChatEvent, ChatRequest, ChatResponse, FinishReason, Message, Usage,
};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::wire::Category;
use crate::wire::aws_event_stream::message;

type Run = (Vec<ChatEvent>, Result<(), ProviderError>);

fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Run {
    let mut decoder = BedrockConverse::new().decoder();
    let mut events = Vec::new();
    for piece in pieces {
        if let Err(error) = decoder.push(piece, &mut events) {
            return (events, Err(error));
        }
    }
    let end = decoder.finish(&mut events);
    (events, end)
}

fn event(kind: &str, payload: Value) -> Vec<u8> {
    let headers = [(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")];
    message(&headers, payload.to_string().as_bytes())
}

fn exception(kind: &str, words: &str) -> Vec<u8> {
    let headers = [(":exception-type", kind), (":message-type", "exception")];
    message(&headers, json!({"message": words}).to_string().as_bytes())
}

fn delta(index: u64, delta: Value) -> Vec<u8> {
    event("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta, "p": "abc"}))
}

fn text(index: u64, text: &str) -> Vec<u8> {
    delta(index, json!({"text": text}))
}

fn begin(index: u64, start: Value) -> Vec<u8> {
    event("contentBlockStart", json!({"contentBlockIndex": index, "start": start}))
}

fn call(index: u64, id: &str, name: &str) -> Vec<u8> {
    begin(index, json!({"toolUse": {"toolUseId": id, "name": name}}))
}

fn input(index: u64, piece: &str) -> Vec<u8> {
    delta(index, json!({"toolUse": {"input": piece}}))
}

fn stop(reason: &str) -> Vec<u8> {
    event("messageStop", json!({"stopReason": reason}))
}

fn usage() -> Value {
    json!({"inputTokens": 3, "outputTokens": 9, "totalTokens": 32, "cacheReadInputTokens": 20})
}

fn assembled(events: &[ChatEvent]) -> ChatResponse {
    let mut assembler = ChatAssembler::new();
    events.iter().for_each(|event| assembler.push(event));
    assembler.finish().unwrap()
}

fn answer(messages: &[Vec<u8>]) -> ChatResponse {
    let (events, end) = feed(messages.concat().chunks(1));
    end.unwrap();
    assembled(&events)
}

fn decode(body: &str) -> Result<ChatResponse, ProviderError> {
    BedrockConverse::new().decode(StatusCode::OK, &HeaderMap::new(), body.as_bytes())
}

fn everything() -> Vec<Vec<u8>> {
    vec![
        event("messageStart", json!({"role": "assistant"})),
        delta(0, json!({"reasoningContent": {"text": "h"}})),
        delta(0, json!({"reasoningContent": {"text": "é"}})),
        delta(0, json!({"reasoningContent": {"signature": "sig"}})),
        event("contentBlockStop", json!({"contentBlockIndex": 0})),
        delta(1, json!({"reasoningContent": {"redactedContent": "ZGFyaw=="}})),
        event("contentBlockStop", json!({"contentBlockIndex": 1})),
        text(2, ""),
        text(2, "hé"),
        text(2, "llo"),
        begin(3, json!({"toolUse": {"toolUseId": "srv", "name": "ground", "type": "server_tool_use"}})),
        input(3, "{\"q\":1}"),
        call(4, "tooluse_1", "add"),
        call(5, "tooluse_2", "now"),
        input(4, "{\"x\":"),
        input(5, ""),
        input(4, "1}"),
        event("contentBlockStop", json!({"contentBlockIndex": 4})),
        stop("tool_use"),
        event("metadata", json!({"usage": usage(), "metrics": {"latencyMs": 5}})),
    ]
}

fn everything_whole() -> Value {
    let server = json!({"toolUseId": "srv", "name": "ground", "type": "server_tool_use", "input": {"q": 1}});
    json!({"output": {"message": {"role": "assistant", "content": [
        {"reasoningContent": {"reasoningText": {"text": "hé", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": "ZGFyaw=="}},
        {"text": "héllo"},
        {"toolUse": server},
        {"toolUse": {"toolUseId": "tooluse_1", "name": "add", "input": {"x": 1}}},
        {"toolUse": {"toolUseId": "tooluse_2", "name": "now", "input": {}}},
    ]}}, "stopReason": "tool_use", "usage": usage(), "metrics": {"latencyMs": 5}})
}

#[test]
fn a_stream_and_a_whole_answer_of_the_same_content_are_the_same() {
    let streamed = answer(&everything());
    let whole = everything_whole().to_string();
    assert_eq!(decode(&whole).unwrap(), streamed);
    assert_eq!((streamed.text.as_str(), streamed.reasoning.as_str()), ("héllo", "hé"));
    let calls: Vec<_> = streamed.tool_calls.iter().map(|call| (call.id.as_str(), call.json())).collect();
    assert_eq!(calls, [("tooluse_1", Some(json!({"x": 1}))), ("tooluse_2", Some(json!({})))]);
    let expected = Usage {
        input_tokens: Some(23),
        cache_read_tokens: Some(20),
        output_tokens: Some(9),
        ..Usage::default()
    };
    assert_eq!(streamed.usage, Some(expected));
    let (events, end) = feed([whole.as_bytes()]);
    end.unwrap();
    assert_eq!(assembled(&events), streamed);
}

#[test]
fn an_answer_goes_back_as_it_came() {
    let content = everything_whole()["output"]["message"]["content"].take();
    for answer in [answer(&everything()), decode(&everything_whole().to_string()).unwrap()] {
        assert_eq!(json!(answer.continuation.clone().unwrap().items), content);
        let message = Message::Assistant {
            text: answer.text,
            tool_calls: answer.tool_calls,
            continuation: answer.continuation,
        };
        let request = ChatRequest::new("m", vec![Message::user("hi"), message]);
        let wire = BedrockConverse::new().encode(&request, Delivery::Whole).unwrap();
        let body: Value = serde_json::from_slice(&wire.body).unwrap();
        assert_eq!(body["messages"][1]["content"], content);
    }
}

#[test]
fn a_continuation_holds_no_more_than_it_must() {
    assert_eq!(answer(&[text(0, "hi"), stop("end_turn")]).continuation, None);
    let signed = json!({"reasoningContent": {"reasoningText": {"text": "", "signature": "ab"}}});
    let head = answer(&[
        delta(0, json!({"reasoningContent": {"signature": "a"}})),
        delta(0, json!({"reasoningContent": {"signature": "b"}})),
        text(1, "hi"),
        call(2, "a", "f"),
        stop("tool_use"),
    ]);
    assert_eq!(head.continuation.unwrap().items, [signed]);
    // Reasoning without a signature is refused by the models that give it.
    let open =
        answer(&[delta(0, json!({"reasoningContent": {"text": "hm"}})), text(1, "hi"), stop("end_turn")]);
    assert_eq!((open.reasoning.as_str(), open.continuation), ("hm", None));
    // Encrypted reasoning in pieces.
    let pieces = answer(&[
        delta(0, json!({"reasoningContent": {"redactedContent": "ZA=="}})),
        delta(0, json!({"reasoningContent": {"redactedContent": "YXJr"}})),
        stop("end_turn"),
    ]);
    assert_eq!(
        pieces.continuation.unwrap().items,
        [json!({"reasoningContent": {"redactedContent": "ZGFyaw=="}})]
    );
    let unknown = [delta(0, json!({"brandNew": 1})), begin(1, json!({"brandNew": {}})), stop("end_turn")];
    assert_eq!(answer(&unknown).continuation, None);
}

#[test]
fn text_with_sources_is_text() {
    let cited = json!({"content": [{"text": "blue"}], "citations": [{"title": "t"}]});
    let body =
        json!({"output": {"message": {"content": [{"citationsContent": cited}]}}, "stopReason": "end_turn"});
    let whole = decode(&body.to_string()).unwrap();
    assert_eq!((whole.text.as_str(), whole.continuation.as_ref()), ("blue", None));
    let cited = delta(0, json!({"citation": {"title": "t"}}));
    assert_eq!(answer(&[text(0, "bl"), cited, text(0, "ue"), stop("end_turn")]), whole);
}

#[test]
fn stop_reasons_are_mapped_and_kept() {
    use FinishReason::*;
    for (raw, reason) in [
        ("end_turn", Stop),
        ("stop_sequence", Stop),
        ("max_tokens", Length),
        ("model_context_window_exceeded", Length),
        ("tool_use", ToolCalls),
        ("guardrail_intervened", ContentFilter),
        ("content_filtered", ContentFilter),
        ("malformed_tool_use", Other),
    ] {
        let answer = answer(&[stop(raw)]);
        assert_eq!((answer.finish, answer.finish_raw.as_deref()), (reason, Some(raw)));
    }
    let half = answer(&[call(0, "a", "f"), input(0, "{\"x\": \"y"), stop("max_tokens")]);
    assert_eq!((half.finish, half.tool_calls[0].complete), (Length, false));
    let unbegun = answer(&[call(0, "a", "f"), stop("max_tokens")]);
    assert!(!unbegun.tool_calls[0].complete);
}

#[test]
fn a_stream_is_complete_from_its_stop_reason_on() {
    let all = everything();
    let whole = all.concat();
    let complete = all[..all.len() - 1].concat().len();
    let all_events = feed([&whole[..]]).0;
    for at in 0..=whole.len() {
        let (events, outcome) = feed([&whole[..at]]);
        let expected = if at < complete { Err(Category::Incomplete) } else { Ok(()) };
        assert_eq!(outcome.map_err(|error| error.category), expected, "cut at {at}");
        assert!(all_events.starts_with(&events), "cut at {at}");
    }
}

#[test]
fn exceptions_inside_a_successful_answer_are_errors_after_what_came_before() {
    let plain = |headers: &[(&str, &str)]| message(headers, b"");
    for (tail, category) in [
        (exception("throttlingException", "wait"), Category::RateLimit),
        (exception("serviceUnavailableException", "x"), Category::Overloaded),
        (exception("modelStreamErrorException", "x"), Category::ServerError),
        (exception("validationException", "Input is too long for requested model."), Category::ContextWindow),
        (exception("internalServerException", "x"), Category::ServerError),
        (
            plain(&[(":message-type", "error"), (":error-code", "x"), (":error-message", "y")]),
            Category::ServerError,
        ),
        (plain(&[(":message-type", "exception")]), Category::ServerError),
        (message(&[(":event-type", "messageStop")], b"{nonsense"), Category::Malformed),
        (b"<html><p>welcome</p>".to_vec(), Category::Malformed),
    ] {
        let (events, outcome) = feed([&[text(0, "hi"), tail].concat()[..]]);
        assert_eq!(outcome.unwrap_err().category, category);
        assert_eq!(events, [ChatEvent::Text("hi".into())]);
    }
    // Events of later versions say nothing.
    let later = [message(&[(":event-type", "brandNew")], b"?"), text(0, "hi"), stop("end_turn")];
    assert_eq!(answer(&later).text, "hi");
    let document = json!({"__type": "ThrottlingException", "message": "wait"}).to_string();
    assert_eq!(feed([document.as_bytes()]).1.unwrap_err().category, Category::RateLimit);
    assert_eq!(feed([&b"{\"output\": "[..]]).1.unwrap_err().category, Category::Incomplete);
    assert_eq!(feed([&b""[..]]).1.unwrap_err().category, Category::Incomplete);
}

#[test]
fn a_success_status_without_an_answer_is_an_error() {
    for body in ["", "hello", "null", "{}", "{\"output\": {}}", "{\"message\": \"no\"}"] {
        assert_eq!(decode(body).unwrap_err().category, Category::Malformed, "{body}");
    }
    let blocked = decode("{\"stopReason\": \"guardrail_intervened\"}").unwrap();
    assert_eq!((blocked.finish, blocked.text.as_str()), (FinishReason::ContentFilter, ""));
    let status = BedrockConverse::new().decode(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), b"{}");
    assert_eq!(status.unwrap_err().category, Category::RateLimit);
}

#[test]
fn damaged_streams_end_in_an_error_or_an_answer_in_every_chunking() {
    let all = everything();
    let entropy = SeededEntropy::new(7);
    let random = || {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        usize::from_le_bytes(bytes)
    };
    let (mut complete, mut failed) = (0, 0);
    for round in 0..400 {
        let mut messages = all.clone();
        // Whole messages lost, doubled or in another place, or damage within one.
        for _ in 0..=random() % 3 {
            let at = random() % messages.len();
            match random() % 3 {
                0 => drop(messages.remove(at)),
                1 => messages.insert(at, all[random() % all.len()].clone()),
                _ => {
                    let other = random() % messages.len();
                    messages.swap(at, other);
                }
            }
        }
        let mut damaged = messages.concat();
        if round % 2 == 0 {
            let at = random() % damaged.len();
            damaged[at] = random() as u8;
        }
        let outcome = feed(damaged.chunks(1));
        match &outcome.1 {
            Ok(()) => complete += 1,
            Err(_) => failed += 1,
        }
        assert_eq!(feed([&damaged[..]]), outcome);
        let mut document = everything_whole().to_string().into_bytes();
        let at = random() % document.len();
        document[at] = random() as u8;
        let _ = decode(&String::from_utf8_lossy(&document));
    }
    assert!(complete > 100 && failed > 100, "{complete} {failed}");
}
