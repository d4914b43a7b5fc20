//! Answers in the shapes that Cohere sends. Written from its API reference.

use agentprovision_core::clock::{Entropy, SeededEntropy};
use agentprovision_core::model::{ChatAssembler, ChatEvent, ChatResponse, FinishReason, Usage};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::wire::Category;

type Run = (Vec<ChatEvent>, Result<(), ProviderError>);

fn run_in(bytes: &[u8], size: usize) -> Run {
    let mut decoder = CohereChat::new().decoder();
    let mut events = Vec::new();
    for piece in bytes.chunks(size) {
        if let Err(error) = decoder.push(piece, &mut events) {
            return (events, Err(error));
        }
    }
    let end = decoder.finish(&mut events);
    (events, end)
}

fn sse(events: &[Value]) -> Vec<u8> {
    let named =
        |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or("x"));
    events.iter().flat_map(|event| named(event).into_bytes()).collect()
}

fn start() -> Value {
    json!({"type": "message-start", "id": "r", "delta": {"message": {"role": "assistant", "content": []}}})
}

fn content(kind: &str, text: &str) -> Value {
    json!({"type": "content-delta", "index": 0, "delta": {"message": {"content": {kind: text}}}})
}

fn plan(text: &str) -> Value {
    json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": text}}})
}

fn call(index: u64, id: &str, name: &str) -> Value {
    json!({"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls":
        {"id": id, "type": "function", "function": {"name": name, "arguments": ""}}}}})
}

fn arguments(index: u64, text: &str) -> Value {
    json!({"type": "tool-call-delta", "index": index, "delta": {"message": {"tool_calls":
        {"function": {"arguments": text}}}}})
}

fn end(reason: &str) -> Value {
    json!({"type": "message-end", "delta": {"finish_reason": reason, "usage": usage()}})
}

fn usage() -> Value {
    json!({"billed_units": {"input_tokens": 1, "output_tokens": 2}, "tokens": {"input_tokens": 9.0, "output_tokens": 4},
        "cached_tokens": 3})
}

fn assemble((events, end): Run) -> ChatResponse {
    end.unwrap();
    let mut assembler = ChatAssembler::new();
    events.iter().for_each(|event| assembler.push(event));
    assembler.finish().unwrap()
}

fn answer(events: &[Value]) -> ChatResponse {
    assemble(run_in(&sse(events), 1))
}

fn failure(bytes: &[u8]) -> Category {
    run_in(bytes, 1).1.unwrap_err().category
}

fn decode(body: &str) -> Result<ChatResponse, ProviderError> {
    CohereChat::new().decode(StatusCode::OK, &HeaderMap::new(), body.as_bytes())
}

/// Calls as `id name arguments complete`.
fn calls(answer: &ChatResponse) -> Vec<String> {
    let calls = answer.tool_calls.iter();
    calls.map(|call| format!("{} {} {} {}", call.id, call.name, call.arguments, call.complete)).collect()
}

#[test]
fn a_stream_and_a_whole_answer_of_the_same_content_are_the_same() {
    let streamed = answer(&[
        start(),
        json!({"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "thinking", "thinking": "h"}}}}),
        content("thinking", "m"),
        json!({"type": "content-end", "index": 0}),
        content("text", "hé"),
        content("text", "llo"),
        plan("I "),
        plan("will."),
        call(0, "a", "f"),
        arguments(0, "{\"x\":"),
        call(1, "b", "g"),
        arguments(1, "null"),
        arguments(0, " 1}"),
        json!({"type": "tool-call-end", "index": 0}),
        json!({"type": "citation-start", "index": 0, "delta": {"message": {"citations": {"text": "no"}}}}),
        end("TOOL_CALL"),
    ]);
    let function = |name: &str, arguments: &str| json!({"name": name, "arguments": arguments});
    let whole = json!({"id": "r", "finish_reason": "TOOL_CALL", "usage": usage(), "message": {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "héllo"}],
        "tool_plan": "I will.",
        "tool_calls": [
            {"id": "a", "type": "function", "function": function("f", "{\"x\": 1}")},
            {"id": "b", "type": "function", "function": function("g", "null")},
        ],
    }});
    assert_eq!(decode(&whole.to_string()).unwrap(), streamed);
    assert_eq!(assemble(run_in(whole.to_string().as_bytes(), 7)), streamed);
    assert_eq!(calls(&streamed), ["a f {\"x\": 1} true", "b g {} true"]);
    assert_eq!((streamed.text.as_str(), streamed.reasoning.as_str()), ("héllo", "hm"));
    let continuation = streamed.continuation.unwrap();
    assert_eq!(continuation.issuer, "cohere.chat");
    assert_eq!(
        continuation.items,
        [json!({"type": "thinking", "thinking": "hm"}), json!({"tool_plan": "I will."})]
    );
    let expected = Usage {
        input_tokens: Some(9),
        cache_read_tokens: Some(3),
        output_tokens: Some(4),
        billed_input_tokens: Some(1),
        billed_output_tokens: Some(2),
        ..Usage::default()
    };
    assert_eq!((streamed.usage, streamed.id.as_deref()), (Some(expected), Some("r")));
}

#[test]
fn no_arguments_are_an_empty_object_and_half_of_them_are_none() {
    for pieces in [vec![], vec![""], vec!["null"], vec!["n", "ull"], vec![" nul", "l "], vec!["{}"]] {
        let pieces = pieces.iter().map(|piece| arguments(0, piece));
        let all: Vec<Value> =
            [start(), call(0, "a", "f")].into_iter().chain(pieces).chain([end("TOOL_CALL")]).collect();
        let answer = answer(&all);
        assert!(answer.tool_calls[0].complete);
        assert_eq!(answer.tool_calls[0].json(), Some(json!({})), "{all:?}");
    }
    for half in ["nul", "{\"x\": 1"] {
        let cut = answer(&[start(), call(0, "a", "f"), arguments(0, half), end("MAX_TOKENS")]);
        assert_eq!((cut.finish, cut.tool_calls[0].complete), (FinishReason::Length, false), "{half}");
    }
}

#[test]
fn finish_reasons_are_mapped_and_kept() {
    use FinishReason::*;
    for (raw, reason) in [
        ("COMPLETE", Stop),
        ("STOP_SEQUENCE", Stop),
        ("MAX_TOKENS", Length),
        ("TOOL_CALL", ToolCalls),
        ("ERROR_TOXIC", ContentFilter),
        ("BRAND_NEW", Other),
    ] {
        let answer = answer(&[start(), end(raw)]);
        assert_eq!((answer.finish, answer.finish_raw.as_deref()), (reason, Some(raw)));
    }
    assert_eq!(failure(&sse(&[end("ERROR")])), Category::ServerError);
    assert_eq!(failure(&sse(&[end("TIMEOUT")])), Category::Timeout);
    let error = json!({"type": "message-end", "delta": {"error": "the model is overloaded"}});
    assert_eq!(failure(&sse(&[error])), Category::Overloaded);
}

#[test]
fn a_stream_is_complete_from_its_last_event_on() {
    let all = sse(&[start(), content("text", "hi"), end("COMPLETE")]);
    for at in 0..=all.len() {
        let outcome = run_in(&all[..at], 5).1.map_err(|error| error.category);
        let expected = if at < all.len() - 2 { Err(Category::Incomplete) } else { Ok(()) };
        assert_eq!(outcome, expected, "cut at {at}");
    }
    for marker in ["data: [DONE]\n\n", ""] {
        let late = [all.as_slice(), marker.as_bytes(), &sse(&[content("text", "late")])].concat();
        assert_eq!(run_in(&late, 1), run_in(&all, 1));
    }
}

#[test]
fn errors_inside_a_successful_answer_are_errors_after_what_came_before() {
    let hi = sse(&[start(), content("text", "hi")]);
    for (tail, category) in [
        ("event: error\ndata: {\"message\": \"too many requests\"}\n\n", Category::RateLimit),
        ("data: {\"type\": \"error\", \"message\": \"x\", \"status_code\": 503}\n\n", Category::Overloaded),
        ("data: {\"id\": \"x\", \"message\": \"internal server error\"}\n\n", Category::ServerError),
        ("data: {nonsense\n\n", Category::Malformed),
    ] {
        let body = [hi.clone(), tail.as_bytes().to_vec()].concat();
        let (events, outcome) = run_in(&body, 1);
        assert_eq!(outcome.unwrap_err().category, category, "{tail}");
        assert!(events.contains(&ChatEvent::Text("hi".into())));
    }
    for (body, category) in [
        ("", Category::Malformed),
        ("null", Category::Malformed),
        ("{}", Category::Malformed),
        ("{\"message\": \"invalid request: x\"}", Category::InvalidRequest),
        ("{\"message\": {}, \"finish_reason\": \"ERROR\"}", Category::ServerError),
    ] {
        assert_eq!(decode(body).unwrap_err().category, category, "{body}");
    }
    assert_eq!(decode("{\"message\": {\"content\": \"x\"}}").unwrap().text, "x");
    let refused = CohereChat::new().decode(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), b"{}");
    assert_eq!(refused.unwrap_err().category, Category::RateLimit);
}

#[test]
fn damaged_streams_end_in_an_error_or_an_answer_in_every_chunking() {
    let whole = sse(&[
        start(),
        content("text", "hé"),
        plan("p"),
        call(0, "a", "f"),
        arguments(0, "{\"x\": [1]}"),
        end("TOOL_CALL"),
    ]);
    let entropy = SeededEntropy::new(7);
    let random = || {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        usize::from_le_bytes(bytes)
    };
    let (mut complete, mut failed) = (0, 0);
    for _ in 0..3000 {
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
        let outcome = run_in(&damaged, 1);
        match &outcome.1 {
            Ok(()) => complete += 1,
            Err(_) => failed += 1,
        }
        assert_eq!(run_in(&damaged, damaged.len()), outcome, "{}", String::from_utf8_lossy(&damaged));
        let _ = CohereChat::new().decode(StatusCode::OK, &HeaderMap::new(), &damaged);
        let _ = CohereChat::new().classify(StatusCode::BAD_REQUEST, &HeaderMap::new(), &damaged);
    }
    assert!(complete > 100 && failed > 100, "{complete} {failed}");
}
