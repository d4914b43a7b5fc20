//! Answers in the shapes of this format. Written from Anthropic's API reference and from what gateways are known to do.

use agentprovision_core::clock::{Entropy, SeededEntropy};
use agentprovision_core::model::{
    ChatAssembler, ChatEvent, ChatRequest, ChatResponse, FinishReason, Message, Usage,
};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::wire::Category;

type Run = (Vec<ChatEvent>, Result<(), ProviderError>);

fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Run {
    let mut decoder = AnthropicMessages::new().decoder();
    let mut events = Vec::new();
    for piece in pieces {
        if let Err(error) = decoder.push(piece, &mut events) {
            return (events, Err(error));
        }
    }
    let end = decoder.finish(&mut events);
    (events, end)
}

fn sse(events: &[Value]) -> Vec<u8> {
    let text = events.iter().map(|event| {
        let name = event["type"].as_str().unwrap_or("x");
        format!("event: {name}\ndata: {event}\n\n")
    });
    text.collect::<String>().into_bytes()
}

fn start() -> Value {
    json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
        "content": [], "stop_reason": null, "usage": {"input_tokens": 3, "cache_read_input_tokens": 20,
        "cache_creation_input_tokens": 7, "output_tokens": 1}}})
}

fn begin(index: u64, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u64, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn text(index: u64, text: &str) -> Value {
    delta(index, json!({"type": "text_delta", "text": text}))
}

fn input(index: u64, piece: &str) -> Value {
    delta(index, json!({"type": "input_json_delta", "partial_json": piece}))
}

fn stop(index: u64) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn end(reason: &str) -> Value {
    json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9}})
}

fn tool(id: &str, name: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": name, "input": {}})
}

fn assembled(events: &[ChatEvent]) -> ChatResponse {
    let mut assembler = ChatAssembler::new();
    events.iter().for_each(|event| assembler.push(event));
    assembler.finish().unwrap()
}

fn answer(events: &[Value]) -> ChatResponse {
    let (events, end) = feed(sse(events).chunks(1));
    end.unwrap();
    assembled(&events)
}

fn failure(bytes: &[u8]) -> Category {
    feed(bytes.chunks(1)).1.unwrap_err().category
}

fn decode(body: &str) -> Result<ChatResponse, ProviderError> {
    AnthropicMessages::new().decode(StatusCode::OK, &HeaderMap::new(), body.as_bytes())
}

/// A stream of everything: thinking, text, the provider's own tool, calls side by side.
fn everything() -> Vec<Value> {
    vec![
        start(),
        begin(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        json!({"type": "ping"}),
        delta(0, json!({"type": "thinking_delta", "thinking": "hm "})),
        delta(0, json!({"type": "thinking_delta", "thinking": "hé"})),
        delta(0, json!({"type": "signature_delta", "signature": "sig"})),
        stop(0),
        begin(1, json!({"type": "redacted_thinking", "data": "dark"})),
        stop(1),
        begin(2, json!({"type": "text", "text": ""})),
        text(2, "hé"),
        text(2, "llo"),
        stop(2),
        begin(3, json!({"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}})),
        input(3, "{\"query\": "),
        input(3, "\"sky\"}"),
        stop(3),
        begin(4, json!({"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []})),
        stop(4),
        begin(5, tool("toolu_1", "add")),
        begin(6, tool("toolu_2", "now")),
        input(5, "{\"x\":"),
        input(6, ""),
        input(5, "1}"),
        stop(6),
        stop(5),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
            "usage": {"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}}}),
        json!({"type": "message_stop"}),
    ]
}

fn everything_whole() -> Value {
    json!({"type": "message", "id": "msg_1", "role": "assistant", "model": "m", "stop_reason": "tool_use",
        "content": [
            {"type": "thinking", "thinking": "hm hé", "signature": "sig"},
            {"type": "redacted_thinking", "data": "dark"},
            {"type": "text", "text": "héllo"},
            {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "sky"}},
            {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []},
            {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"x": 1}},
            {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
        ],
        "usage": {"input_tokens": 3, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 7,
            "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}}})
}

#[test]
fn a_stream_and_a_whole_answer_of_the_same_content_are_the_same() {
    let streamed = answer(&everything());
    let whole = everything_whole().to_string();
    assert_eq!(decode(&whole).unwrap(), streamed);
    assert_eq!((streamed.text.as_str(), streamed.reasoning.as_str()), ("héllo", "hm hé"));
    let calls: Vec<_> = streamed.tool_calls.iter().map(|call| (call.id.as_str(), call.json())).collect();
    assert_eq!(calls, [("toolu_1", Some(json!({"x": 1}))), ("toolu_2", Some(json!({})))]);
    assert!(streamed.tool_calls.iter().all(|call| call.complete));
    let usage = Usage {
        input_tokens: Some(30),
        cache_read_tokens: Some(20),
        cache_write_tokens: Some(7),
        output_tokens: Some(9),
        reasoning_tokens: Some(4),
        ..Usage::default()
    };
    assert_eq!(streamed.usage, Some(usage));
    // The same document in place of a stream, from a gateway that knows no streaming.
    let (events, end) = feed([whole.as_bytes()]);
    end.unwrap();
    assert_eq!(assembled(&events), streamed);
}

#[test]
fn an_answer_goes_back_as_it_came() {
    for answer in [answer(&everything()), decode(&everything_whole().to_string()).unwrap()] {
        let items = answer.continuation.clone().unwrap().items;
        assert_eq!(json!(items), everything_whole()["content"]);
        let message = Message::Assistant {
            text: answer.text,
            tool_calls: answer.tool_calls,
            continuation: answer.continuation,
        };
        let request = ChatRequest::new("m", vec![Message::user("hi"), message]);
        let wire = AnthropicMessages::new().encode(&request, Delivery::Whole).unwrap();
        let body: Value = serde_json::from_slice(&wire.body).unwrap();
        assert_eq!(body["messages"][1]["content"], everything_whole()["content"]);
    }
}

#[test]
fn a_continuation_holds_no_more_than_it_must() {
    let thinking = json!({"type": "thinking", "thinking": "", "signature": "s"});
    let plain = [start(), begin(0, json!({"type": "text", "text": "hi"})), stop(0), end("end_turn")];
    assert_eq!(answer(&plain).continuation, None);
    let head = answer(&[
        start(),
        begin(0, thinking.clone()),
        begin(1, json!({"type": "text", "text": ""})),
        text(1, "hi"),
        begin(2, tool("a", "f")),
        end("tool_use"),
    ]);
    assert_eq!(head.continuation.unwrap().items, std::slice::from_ref(&thinking));
    // Thinking that was cut off before its signature, and what this version cannot put together, stay out.
    let half =
        [start(), begin(0, json!({"type": "thinking", "thinking": "h", "signature": ""})), end("max_tokens")];
    assert_eq!(answer(&half).continuation, None);
    let unknown = [
        start(),
        begin(0, json!({"type": "brand_new"})),
        delta(0, json!({"type": "brand_new_delta", "x": 1})),
        end("end_turn"),
    ];
    assert_eq!(answer(&unknown).continuation, None);
    // What asked for a call stays with it, where that was another tool.
    let mut asked = tool("a", "f");
    asked["caller"] = json!({"type": "code_execution_20260120", "tool_id": "srv_1"});
    let asked = [
        start(),
        begin(0, json!({"type": "server_tool_use", "id": "srv_1"})),
        begin(1, asked),
        end("tool_use"),
    ];
    assert_eq!(answer(&asked).continuation.unwrap().items[1]["caller"]["tool_id"], "srv_1");
    // Citations belong to their text.
    let cited = answer(&[
        start(),
        begin(0, json!({"type": "web_search_tool_result", "content": []})),
        begin(1, json!({"type": "text", "text": "", "citations": []})),
        delta(1, json!({"type": "citations_delta", "citation": {"url": "u"}})),
        text(1, "blue"),
        end("end_turn"),
    ]);
    let items = cited.continuation.unwrap().items;
    assert_eq!(items[1], json!({"type": "text", "text": "blue", "citations": [{"url": "u"}]}));
}

#[test]
fn calls_are_whole_or_not_complete() {
    let half = answer(&[start(), begin(0, tool("a", "f")), input(0, "{\"x\": \"y"), end("max_tokens")]);
    assert_eq!((half.finish, half.tool_calls[0].complete), (FinishReason::Length, false));
    let unbegun = answer(&[
        start(),
        begin(0, tool("a", "f")),
        stop(0),
        begin(1, tool("b", "f")),
        end("model_context_window_exceeded"),
    ]);
    let complete: Vec<bool> = unbegun.tool_calls.iter().map(|call| call.complete).collect();
    assert_eq!((unbegun.finish, complete), (FinishReason::Length, vec![true, false]));
    // A gateway that sends the input at once, and one that leaves the beginning of a text out.
    let at_once = answer(&[
        start(),
        text(0, "hi"),
        begin(1, json!({"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}})),
        stop(1),
        end("tool_use"),
    ]);
    assert_eq!((at_once.text.as_str(), at_once.tool_calls[0].arguments.as_str()), ("hi", "{\"x\":1}"));
    // Content that comes with the beginning of the message.
    let mut early = start();
    early["message"]["content"] = json!([tool("a", "f"), {"type": "text", "text": "so "}]);
    let early =
        answer(&[early, begin(0, json!({"type": "text", "text": ""})), text(0, "hi"), end("end_turn")]);
    assert_eq!((early.text.as_str(), early.tool_calls.len()), ("so hi", 1));
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
        ("refusal", ContentFilter),
        ("pause_turn", Other),
        ("brand_new", Other),
    ] {
        let answer = answer(&[start(), end(raw)]);
        assert_eq!((answer.finish, answer.finish_raw.as_deref()), (reason, Some(raw)));
    }
    // The first reason holds; without one the last event is the end.
    let twice = answer(&[start(), end("max_tokens"), end("end_turn"), json!({"type": "message_stop"})]);
    assert_eq!(twice.finish, Length);
    let none = answer(&[start(), text(0, "hi"), json!({"type": "message_stop"})]);
    assert_eq!((none.finish, none.finish_raw), (Other, None));
}

#[test]
fn a_stream_is_complete_from_its_stop_reason_on() {
    let all = everything();
    let whole = sse(&all);
    let complete = sse(&all[..all.len() - 1]).len() - 2;
    let all_events = feed([&whole[..]]).0;
    for at in 0..=whole.len() {
        let (events, outcome) = feed([&whole[..at]]);
        let expected = if at < complete { Err(Category::Incomplete) } else { Ok(()) };
        assert_eq!(outcome.map_err(|error| error.category), expected, "cut at {at}");
        assert!(all_events.starts_with(&events), "cut at {at}");
    }
    let marked = [whole.clone(), b"event: data\ndata: [DONE]\n\n".to_vec()].concat();
    assert_eq!(feed([&marked[..]]), feed([&whole[..]]));
    // What comes after the last event is nobody's.
    let late = [whole.clone(), sse(&[text(9, "late")])].concat();
    assert_eq!(feed([&late[..]]), feed([&whole[..]]));
}

#[test]
fn a_message_that_begins_again_is_one_message_or_a_failure() {
    let mut other = start();
    other["message"]["id"] = json!("msg_2");
    let again = answer(&[start(), text(0, "a"), start(), text(0, "b"), end("end_turn")]);
    assert_eq!(again.text, "ab");
    let (events, outcome) = feed([&sse(&[start(), text(0, "a"), other, text(0, "b"), end("end_turn")])[..]]);
    assert_eq!(outcome.unwrap_err().category, Category::Incomplete);
    assert!(events.contains(&ChatEvent::Text("a".into())) && !events.contains(&ChatEvent::Text("b".into())));
}

#[test]
fn errors_inside_a_successful_answer_are_errors_after_what_came_before() {
    let hi = sse(&[start(), text(0, "hi")]);
    let overloaded = json!({"type": "error", "error": {"details": null, "type": "overloaded_error", "message": "Overloaded"}});
    for (tail, category) in [
        (sse(std::slice::from_ref(&overloaded)), Category::Overloaded),
        (format!("data: {overloaded}\n\n").into_bytes(), Category::Overloaded),
        (b"event: error\ndata: oh no\n\n".to_vec(), Category::ServerError),
        (b"error: {\"error\": {\"type\": \"rate_limit_error\"}}\n".to_vec(), Category::RateLimit),
        (b"data: {nonsense\n\n".to_vec(), Category::Malformed),
    ] {
        let (events, outcome) = feed([&[hi.clone(), tail].concat()[..]]);
        assert_eq!(outcome.unwrap_err().category, category);
        assert!(events.contains(&ChatEvent::Text("hi".into())));
    }
    assert_eq!(failure(overloaded.to_string().as_bytes()), Category::Overloaded);
    assert_eq!(failure(b"<html>\n<p>welcome</p>\n"), Category::Malformed);
    assert_eq!(failure(b"{\"id\": \"a\", \"con"), Category::Incomplete);
    assert_eq!(failure(b""), Category::Incomplete);
}

#[test]
fn a_success_status_without_an_answer_is_an_error() {
    for (body, category) in [
        ("", Category::Malformed),
        ("hello", Category::Malformed),
        ("null", Category::Malformed),
        ("{}", Category::Malformed),
        ("{\"content\": \"x\"}", Category::Malformed),
        ("{\"type\": \"error\", \"error\": {\"type\": \"api_error\"}}", Category::ServerError),
    ] {
        assert_eq!(decode(body).unwrap_err().category, category, "{body}");
    }
    let refused = decode("{\"content\": [], \"stop_reason\": \"refusal\"}").unwrap();
    assert_eq!((refused.finish, refused.text.as_str()), (FinishReason::ContentFilter, ""));
    let status = AnthropicMessages::new().decode(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), b"{}");
    assert_eq!(status.unwrap_err().category, Category::RateLimit);
}

#[test]
fn damaged_streams_end_in_an_error_or_an_answer_in_every_chunking() {
    let whole = sse(&everything());
    let entropy = SeededEntropy::new(7);
    let random = || {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        usize::from_le_bytes(bytes)
    };
    let (mut complete, mut failed) = (0, 0);
    for _ in 0..1000 {
        let mut damaged = whole.clone();
        for _ in 0..=random() % 3 {
            let (at, other) = (random() % damaged.len(), random() % whole.len());
            match random() % 4 {
                0 => damaged[at] = random() as u8,
                1 => drop(damaged.drain(at..(at + random() % 40).min(damaged.len()))),
                2 => damaged.insert(at, b"\r\n:{}[]\""[random() % 8]),
                _ => damaged.splice(at..at, whole[other..].iter().copied().take(30)).for_each(drop),
            }
        }
        let outcome = feed(damaged.chunks(1));
        match &outcome.1 {
            Ok(()) => complete += 1,
            Err(_) => failed += 1,
        }
        assert_eq!(feed([&damaged[..]]), outcome, "{}", String::from_utf8_lossy(&damaged));
        let _ = decode(&String::from_utf8_lossy(&damaged));
    }
    assert!(complete > 100 && failed > 100, "{complete} {failed}");
}
