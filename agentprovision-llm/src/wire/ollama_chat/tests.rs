//! Answers in the shapes that Ollama sends. Written from its API documentation.

use agentprovision_core::clock::{Entropy, SeededEntropy};
use agentprovision_core::model::{ChatAssembler, ChatEvent, ChatResponse, FinishReason, Usage};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::wire::Category;

type Run = (Vec<ChatEvent>, Result<(), ProviderError>);

fn run_in(bytes: &[u8], size: usize) -> Run {
    let mut decoder = OllamaChat::new().decoder();
    let mut events = Vec::new();
    for piece in bytes.chunks(size) {
        if let Err(error) = decoder.push(piece, &mut events) {
            return (events, Err(error));
        }
    }
    let end = decoder.finish(&mut events);
    (events, end)
}

fn lines(chunks: &[Value]) -> Vec<u8> {
    chunks.iter().flat_map(|chunk| format!("{chunk}\n").into_bytes()).collect()
}

fn piece(message: Value) -> Value {
    json!({"model": "m", "message": message, "done": false})
}

fn done(reason: &str) -> Value {
    json!({"model": "m", "message": {"role": "assistant", "content": ""}, "done": true, "done_reason": reason,
        "prompt_eval_count": 5, "eval_count": 7})
}

fn assemble((events, end): Run) -> ChatResponse {
    end.unwrap();
    let mut assembler = ChatAssembler::new();
    events.iter().for_each(|event| assembler.push(event));
    assembler.finish().unwrap()
}

fn answer(chunks: &[Value]) -> ChatResponse {
    assemble(run_in(&lines(chunks), 1))
}

fn failure(bytes: &[u8]) -> Category {
    run_in(bytes, 1).1.unwrap_err().category
}

fn decode(body: &str) -> Result<ChatResponse, ProviderError> {
    OllamaChat::new().decode(StatusCode::OK, &HeaderMap::new(), body.as_bytes())
}

#[test]
fn a_stream_and_a_whole_answer_of_the_same_content_are_the_same() {
    let call = |x: u64| json!({"function": {"index": 0, "name": "add", "arguments": {"x": x}}});
    let streamed = answer(&[
        piece(json!({"role": "assistant", "content": "", "thinking": "hm"})),
        piece(json!({"content": "hé"})),
        piece(json!({"content": "llo"})),
        // Every call in its own chunk, each with index 0.
        piece(json!({"content": "", "tool_calls": [call(1)]})),
        piece(json!({"content": "", "tool_calls": [call(2)]})),
        done("stop"),
    ]);
    let mut whole = done("stop");
    whole["message"] =
        json!({"role": "assistant", "content": "héllo", "thinking": "hm", "tool_calls": [call(1), call(2)]});
    assert_eq!(decode(&whole.to_string()).unwrap(), streamed);
    assert_eq!(assemble(run_in(whole.to_string().as_bytes(), 3)), streamed);
    let arguments: Vec<&str> = streamed.tool_calls.iter().map(|call| call.arguments.as_str()).collect();
    assert_eq!(arguments, ["{\"x\":1}", "{\"x\":2}"]);
    assert_eq!((streamed.text.as_str(), streamed.reasoning.as_str()), ("héllo", "hm"));
    assert_eq!((streamed.finish, streamed.finish_raw.as_deref()), (FinishReason::ToolCalls, Some("stop")));
    let usage = Usage { input_tokens: Some(5), output_tokens: Some(7), ..Usage::default() };
    assert_eq!((streamed.usage, streamed.model.as_deref()), (Some(usage), Some("m")));
}

#[test]
fn finish_reasons_are_mapped_and_kept() {
    for (raw, reason) in
        [("stop", FinishReason::Stop), ("length", FinishReason::Length), ("load", FinishReason::Other)]
    {
        let answer = answer(&[done(raw)]);
        assert_eq!((answer.finish, answer.finish_raw.as_deref()), (reason, Some(raw)));
    }
    // Old servers say no reason and no counts.
    let old = answer(&[piece(json!({"content": "x"})), json!({"done": true})]);
    assert_eq!((old.finish, old.finish_raw, old.usage), (FinishReason::Stop, None, None));
}

#[test]
fn a_stream_is_complete_from_its_last_object_on() {
    let all = lines(&[piece(json!({"content": "hi"})), done("stop")]);
    for at in 0..=all.len() {
        let outcome = run_in(&all[..at], 5).1.map_err(|error| error.category);
        let expected = if at < all.len() - 1 { Err(Category::Incomplete) } else { Ok(()) };
        assert_eq!(outcome, expected, "cut at {at}");
    }
    let late = [all.clone(), b"<html> {".to_vec(), lines(&[piece(json!({"content": "late"}))])].concat();
    for size in [1, 1000] {
        assert_eq!(run_in(&late, size), run_in(&all, 1));
    }
}

#[test]
fn errors_inside_a_successful_answer_are_errors_after_what_came_before() {
    let hi = piece(json!({"content": "hi"}));
    for (tail, category) in [
        (json!({"error": "model runner has unexpectedly stopped"}).to_string(), Category::ServerError),
        ("<html>".to_owned(), Category::Malformed),
        ("{nonsense}".to_owned(), Category::Malformed),
    ] {
        let body = [lines(std::slice::from_ref(&hi)), tail.into_bytes()].concat();
        let (events, outcome) = run_in(&body, 1);
        assert_eq!(outcome.unwrap_err().category, category);
        assert!(events.contains(&ChatEvent::Text("hi".into())));
        assert_eq!(run_in(&body, 1000), run_in(&body, 1));
    }
    assert_eq!(failure(b""), Category::Incomplete);
    for (body, category) in [
        ("", Category::Malformed),
        ("null", Category::Malformed),
        ("{}", Category::Malformed),
        ("{\"message\": {\"content\": \"x\"}, \"done\": false}", Category::Incomplete),
        ("{\"error\": \"model 'x' not found\"}", Category::NotFound),
    ] {
        assert_eq!(decode(body).unwrap_err().category, category, "{body}");
    }
    let refused = OllamaChat::new().decode(StatusCode::NOT_FOUND, &HeaderMap::new(), b"{}");
    assert_eq!(refused.unwrap_err().category, Category::NotFound);
}

#[test]
fn damaged_streams_end_in_an_error_or_an_answer_in_every_chunking() {
    let whole = lines(&[
        piece(json!({"content": "hé", "thinking": "x"})),
        piece(json!({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"x": [1]}}}]})),
        done("stop"),
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
        let (at, other) = (random() % damaged.len(), random() % whole.len());
        match random() % 4 {
            0 => damaged[at] = random() as u8,
            1 => drop(damaged.drain(at..(at + random() % 40).min(damaged.len()))),
            2 => damaged.insert(at, b"\r\n:{}[]\""[random() % 8]),
            _ => damaged.splice(at..at, whole[other..].iter().copied().take(30)).for_each(drop),
        }
        let outcome = run_in(&damaged, 1);
        match &outcome.1 {
            Ok(()) => complete += 1,
            Err(_) => failed += 1,
        }
        assert_eq!(run_in(&damaged, damaged.len()), outcome, "{}", String::from_utf8_lossy(&damaged));
        let _ = OllamaChat::new().decode(StatusCode::OK, &HeaderMap::new(), &damaged);
        let _ = OllamaChat::new().classify(StatusCode::BAD_REQUEST, &HeaderMap::new(), &damaged);
    }
    assert!(complete > 100 && failed > 100, "{complete} {failed}");
}
