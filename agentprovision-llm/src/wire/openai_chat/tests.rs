//! Answers in the shapes that servers of this format send. Written from OpenAI's API reference and from the
//! differences this dialect documents.

use agentprovision_core::clock::{Entropy, SeededEntropy};
use agentprovision_core::model::{ChatAssembler, ChatEvent, ChatResponse, FinishReason, Usage};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::wire::Category;

fn run(bytes: &[u8]) -> (Vec<ChatEvent>, Result<(), ProviderError>) {
    let mut decoder = OpenAiChat::new().decoder();
    let mut events = Vec::new();
    for byte in bytes {
        if let Err(error) = decoder.push(&[*byte], &mut events) {
            return (events, Err(error));
        }
    }
    let end = decoder.finish(&mut events);
    (events, end)
}

fn sse(chunks: &[Value]) -> Vec<u8> {
    chunks.iter().flat_map(|chunk| format!("data: {chunk}\n\n").into_bytes()).collect()
}

fn delta(delta: Value) -> Value {
    json!({"id": "a", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn finish(reason: &str) -> Value {
    json!({"id": "a", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn answer(chunks: &[Value]) -> ChatResponse {
    let (events, end) = run(&sse(chunks));
    end.unwrap();
    let mut assembler = ChatAssembler::new();
    events.iter().for_each(|event| assembler.push(event));
    assembler.finish().unwrap()
}

fn failure(bytes: &[u8]) -> Category {
    run(bytes).1.unwrap_err().category
}

fn decode(body: &str) -> Result<ChatResponse, ProviderError> {
    OpenAiChat::new().decode(StatusCode::OK, &HeaderMap::new(), body.as_bytes())
}

/// Calls as `id name arguments complete`.
fn calls(answer: &ChatResponse) -> Vec<String> {
    let calls = answer.tool_calls.iter();
    calls.map(|call| format!("{} {} {} {}", call.id, call.name, call.arguments, call.complete)).collect()
}

fn piece(index: Option<u64>, id: Option<&str>, name: Option<&str>, arguments: &str) -> Value {
    let mut piece = json!({"function": {"arguments": arguments}});
    for (key, value) in [("index", json!(index)), ("id", json!(id))] {
        if !value.is_null() {
            piece[key] = value;
        }
    }
    if let Some(name) = name {
        piece["function"]["name"] = json!(name);
    }
    delta(json!({"tool_calls": [piece]}))
}

#[test]
fn a_stream_and_a_whole_answer_of_the_same_content_are_the_same() {
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens_details": {"reasoning_tokens": 1}});
    let streamed = answer(&[
        delta(json!({"role": "assistant", "content": "", "tool_calls": null})),
        delta(json!({"reasoning_content": "hm", "reasoning": "hm"})),
        delta(json!({"content": "hé"})),
        delta(json!({"content": "llo"})),
        piece(Some(0), Some("c1"), Some("add"), ""),
        piece(Some(0), None, None, "{\"x\":"),
        piece(Some(0), None, None, " 1}"),
        finish("tool_calls"),
        json!({"id": "a", "model": "m", "choices": [], "usage": usage}),
    ]);
    let message = json!({"role": "assistant", "content": "héllo", "reasoning_content": "hm", "refusal": null,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{\"x\": 1}"}}]});
    let whole = json!({"id": "a", "model": "m", "usage": usage,
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
    assert_eq!(decode(&whole.to_string()).unwrap(), streamed);
    assert_eq!(calls(&streamed), ["c1 add {\"x\": 1} true"]);
    assert_eq!((streamed.text.as_str(), streamed.reasoning.as_str()), ("héllo", "hm"));
    let expected = Usage {
        input_tokens: Some(9),
        cache_read_tokens: Some(2),
        cache_write_tokens: None,
        output_tokens: Some(4),
        reasoning_tokens: Some(1),
        ..Usage::default()
    };
    assert_eq!(streamed.usage, Some(expected));
    // The same document in place of a stream, from a server that knows no streaming.
    let (events, end) = run(whole.to_string().as_bytes());
    end.unwrap();
    let mut assembler = ChatAssembler::new();
    events.iter().for_each(|event| assembler.push(event));
    assert_eq!(assembler.finish().unwrap(), streamed);
}

#[test]
fn tool_calls_are_told_apart_whatever_their_indices_say() {
    let one = ["a f {\"x\":1} true", "b g {\"y\":2} true"];
    let streams: [&[Value]; 5] = [
        // As documented.
        &[
            piece(Some(0), Some("a"), Some("f"), "{\"x\":"),
            piece(Some(1), Some("b"), Some("g"), "{\"y\":"),
            piece(Some(0), None, None, "1}"),
            piece(Some(1), None, None, "2}"),
        ],
        // From 1 on.
        &[
            piece(Some(1), Some("a"), Some("f"), "{\"x\":1}"),
            piece(Some(2), Some("b"), Some("g"), "{\"y\":2}"),
        ],
        // One index for all.
        &[
            piece(Some(0), Some("a"), Some("f"), "{\"x\":"),
            piece(Some(0), None, Some(""), "1}"),
            piece(Some(0), Some("b"), Some("g"), ""),
            piece(Some(0), Some("b"), Some("g"), "{\"y\":2}"),
        ],
        // No index.
        &[
            piece(None, Some("a"), Some("f"), "{\"x\":"),
            piece(None, None, None, "1}"),
            piece(None, Some("b"), Some("g"), "{\"y\":2}"),
        ],
        // A new id with every piece.
        &[
            piece(Some(0), Some("a"), Some("f"), "{\"x\":"),
            piece(Some(0), Some("a2"), None, "1}"),
            piece(Some(1), Some("b"), Some("g"), "{\"y\":"),
            piece(Some(1), Some("b2"), None, "2}"),
        ],
    ];
    for (at, stream) in streams.iter().enumerate() {
        let all: Vec<Value> = stream.iter().cloned().chain([finish("tool_calls")]).collect();
        assert_eq!(calls(&answer(&all)), one, "stream {at}");
    }
    // No ids at all: a name after whole arguments begins another call.
    let bare = answer(&[
        piece(Some(0), Some(""), Some("f"), "{}"),
        piece(Some(0), Some(""), Some("f"), "{\"x\":1}"),
        finish("tool_calls"),
    ]);
    assert_eq!(calls(&bare), [" f {} true", " f {\"x\":1} true"]);
    // The same tool twice, with arguments as objects.
    let call = |id: &str| json!({"id": id, "function": {"name": "f", "arguments": {"x": 1}}});
    let objects = answer(&[delta(json!({"tool_calls": [call("a"), call("b")]})), finish("tool_calls")]);
    assert_eq!(calls(&objects), ["a f {\"x\":1} true", "b f {\"x\":1} true"]);
}

#[test]
fn cut_off_arguments_are_not_complete_and_no_arguments_are() {
    let none = answer(&[piece(Some(0), Some("a"), Some("f"), ""), finish("tool_calls")]);
    assert!(none.tool_calls[0].complete);
    assert_eq!(none.tool_calls[0].json(), Some(json!({})));
    let half = answer(&[piece(Some(0), Some("a"), Some("f"), "{\"x\": \"y"), finish("length")]);
    assert_eq!((half.finish, half.tool_calls[0].complete), (FinishReason::Length, false));
    let unbegun = answer(&[
        piece(Some(0), Some("a"), Some("f"), ""),
        piece(Some(1), Some("b"), Some("g"), ""),
        finish("length"),
    ]);
    assert_eq!(calls(&unbegun), ["a f  true", "b g  false"]);
}

#[test]
fn finish_reasons_are_mapped_and_kept() {
    use FinishReason::*;
    for (raw, reason) in [
        ("stop", Stop),
        ("eos", Stop),
        ("length", Length),
        ("model_length", Length),
        ("tool_calls", ToolCalls),
        ("function_call", ToolCalls),
        ("content_filter", ContentFilter),
        ("brand_new", Other),
    ] {
        let answer = answer(&[finish(raw)]);
        assert_eq!((answer.finish, answer.finish_raw.as_deref()), (reason, Some(raw)));
    }
    for failed in ["error", "abort", "insufficient_system_resource"] {
        assert!(run(&sse(&[finish(failed)])).1.is_err(), "{failed}");
    }
    // The first reason holds, and is told once.
    let (events, end) = run(&sse(&[finish("length"), finish("stop")]));
    end.unwrap();
    let told = events.iter().filter(|event| matches!(event, ChatEvent::Finished { .. }));
    let first = ChatEvent::Finished { reason: Length, raw: Some("length".into()) };
    assert_eq!(told.collect::<Vec<_>>(), [&first]);
    // An empty reason in every chunk is none.
    assert_eq!(failure(&sse(&[finish(""), finish("")])), Category::Incomplete);
}

#[test]
fn a_stream_is_complete_from_its_finish_reason_on() {
    let head = sse(&[delta(json!({"content": "hi"}))]);
    let end = sse(&[finish("stop")]);
    let all = [head.clone(), end].concat();
    // Without the blank line, without `[DONE]`, without usage.
    let complete = all.len() - 2;
    for at in 0..=all.len() {
        let (events, outcome) = run(&all[..at]);
        let expected = if at < complete { Err(Category::Incomplete) } else { Ok(()) };
        assert_eq!(outcome.map_err(|error| error.category), expected, "cut at {at}");
        assert!(!events.iter().any(|event| matches!(event, ChatEvent::Usage(_))));
    }
    // What comes after the end marker is nobody's.
    let late =
        [all.clone(), b"data: [DONE]\n\n".to_vec(), sse(&[delta(json!({"content": "late"}))])].concat();
    assert_eq!(run(&late), run(&all));
    // Half a usage event does no harm.
    let usage = [all.clone(), b"data: {\"choices\":[],\"usage\":{\"prompt".to_vec()].concat();
    assert_eq!(run(&usage), run(&all));
}

#[test]
fn usage_may_be_spread_and_may_come_anywhere() {
    let with = |mut chunk: Value, usage: Value| {
        chunk["usage"] = usage;
        chunk
    };
    let spread = answer(&[
        with(delta(json!({"content": "x"})), json!({"prompt_tokens": 5})),
        with(finish("stop"), json!({"completion_tokens": 2})),
        with(delta(json!({})), Value::Null),
    ]);
    let expected = Usage { input_tokens: Some(5), output_tokens: Some(2), ..Usage::default() };
    assert_eq!(spread.usage, Some(expected));
    let mut groq = finish("stop");
    groq["x_groq"] = json!({"usage": {"prompt_tokens": 5, "completion_tokens": 2}});
    assert_eq!(answer(&[groq]).usage, Some(expected));
    assert_eq!(answer(&[with(finish("stop"), json!({}))]).usage, None);
}

#[test]
fn errors_inside_a_successful_answer_are_errors_after_what_came_before() {
    let hi = delta(json!({"content": "hi"}));
    let error = json!({"error": {"message": "slow down", "code": 429}});
    let mut beside = finish("length");
    beside["error"] = json!({"message": "gone", "code": 502});
    let mut in_choice = delta(json!({"content": "x"}));
    in_choice["choices"][0]["error"] = json!({"message": "gone", "code": 502});
    let hi = sse(&[hi]);
    for (tail, category) in [
        (sse(std::slice::from_ref(&error)), Category::RateLimit),
        (sse(&[beside]), Category::ServerError),
        (sse(&[in_choice]), Category::ServerError),
        (b"event: error\ndata: {\"message\": \"overloaded\"}\n\n".to_vec(), Category::Overloaded),
        (b"event: error\ndata: oh no\n\n".to_vec(), Category::ServerError),
        (
            b"error: {\"error\": {\"message\": \"x\", \"type\": \"rate_limit_error\"}}\n".to_vec(),
            Category::RateLimit,
        ),
        (b"data: {nonsense\n\n".to_vec(), Category::Malformed),
    ] {
        let (events, outcome) = run(&[hi.clone(), tail].concat());
        assert_eq!(outcome.unwrap_err().category, category);
        assert!(events.contains(&ChatEvent::Text("hi".into())));
    }
    // An error document in place of a stream, and a page in place of either.
    assert_eq!(failure(error.to_string().as_bytes()), Category::RateLimit);
    assert_eq!(failure(b"<html>\n<p>welcome</p>\n"), Category::Malformed);
    assert_eq!(failure(b"{\"id\": \"a\", \"cho"), Category::Incomplete);
    assert_eq!(failure(b"{nonsense}"), Category::Malformed);
    assert_eq!(failure(b""), Category::Incomplete);
    assert_eq!(failure(b": ping\n\n: ping\n\n"), Category::Incomplete);
}

#[test]
fn only_the_first_choice_is_used() {
    let two = json!({"choices": [
        {"index": 1, "delta": {"content": "no"}, "finish_reason": "length"},
        {"index": 0, "delta": {"content": "yes"}, "finish_reason": "stop"},
    ]});
    let answer = answer(&[two]);
    assert_eq!((answer.text.as_str(), answer.finish), ("yes", FinishReason::Stop));
}

#[test]
fn content_may_be_a_list_of_parts() {
    let parts = json!([
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "thinking", "thinking": "!"},
        {"type": "text", "text": "hi"},
        {"type": "refusal", "refusal": "no"},
        {"type": "image", "text": "not text"},
        7,
    ]);
    let answer = answer(&[delta(json!({"content": parts})), finish("stop")]);
    assert_eq!((answer.reasoning.as_str(), answer.text.as_str()), ("hm!", "hi"));
    assert_eq!(answer.refusal.as_deref(), Some("no"));
}

#[test]
fn a_success_status_without_an_answer_is_an_error() {
    for (body, category) in [
        ("", Category::Malformed),
        ("hello", Category::Malformed),
        ("null", Category::Malformed),
        ("{}", Category::Malformed),
        ("{\"choices\": []}", Category::Malformed),
        ("{\"choices\": [{}]}", Category::Malformed),
        ("{\"choices\": \"x\"}", Category::Malformed),
        ("{\"error\": {\"message\": \"no\", \"code\": 401}}", Category::Authentication),
        ("{\"error\": {\"message\": \"no\", \"code\": \"insufficient_quota\"}}", Category::QuotaExhausted),
        ("{\"choices\": [{\"error\": {\"code\": 503, \"message\": \"x\"}}]}", Category::Overloaded),
    ] {
        let error = decode(body).unwrap_err();
        assert_eq!(error.category, category, "{body}");
    }
    // A filtered answer has only its reason.
    let filtered = decode("{\"choices\": [{\"finish_reason\": \"content_filter\"}]}").unwrap();
    assert_eq!((filtered.finish, filtered.text.as_str()), (FinishReason::ContentFilter, ""));
    let refused = OpenAiChat::new().decode(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), b"{}");
    assert_eq!(refused.unwrap_err().category, Category::RateLimit);
}

#[test]
fn damaged_streams_end_in_an_error_or_an_answer_in_every_chunking() {
    let whole = [
        sse(&[
            delta(json!({"content": "hé"})),
            piece(Some(0), Some("a"), Some("f"), "{\"x\": [1, 2]}"),
            json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}),
            finish("stop"),
        ]),
        b"data: [DONE]\n\n".to_vec(),
    ]
    .concat();
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
        let outcome = run(&damaged);
        let mut decoder = OpenAiChat::new().decoder();
        let mut events = Vec::new();
        let end = match decoder.push(&damaged, &mut events) {
            Ok(()) => decoder.finish(&mut events),
            error => error,
        };
        match &end {
            Ok(()) => complete += 1,
            Err(_) => failed += 1,
        }
        assert_eq!((events, end), outcome, "{}", String::from_utf8_lossy(&damaged));
    }
    assert!(complete > 100 && failed > 100, "{complete} {failed}");
}

#[test]
fn reasoning_that_is_wanted_again_is_kept_from_streams_and_whole_answers() {
    let dialect = OpenAiChat::new().with_reasoning_again("p", ReasoningField::Content);
    let chunks = [
        delta(json!({"role": "assistant", "reasoning_content": ""})),
        delta(json!({"reasoning_content": "h"})),
        delta(json!({"reasoning_content": "m"})),
        piece(Some(0), Some("c1"), Some("add"), "{}"),
        finish("tool_calls"),
    ];
    let mut decoder = dialect.decoder();
    let mut events = Vec::new();
    decoder.push(&sse(&chunks), &mut events).unwrap();
    decoder.finish(&mut events).unwrap();
    let mut assembler = ChatAssembler::new();
    events.iter().for_each(|event| assembler.push(event));
    let streamed = assembler.finish().unwrap();
    let message = json!({"reasoning_content": "hm",
        "tool_calls": [{"id": "c1", "function": {"name": "add", "arguments": "{}"}}]});
    let whole =
        json!({"id": "a", "model": "m", "choices": [{"message": message, "finish_reason": "tool_calls"}]});
    let whole = dialect.decode(StatusCode::OK, &HeaderMap::new(), whole.to_string().as_bytes()).unwrap();
    assert_eq!(whole, streamed);
    let continuation = whole.continuation.unwrap();
    assert_eq!(
        (continuation.issuer.as_str(), continuation.items),
        ("p", vec![json!({"reasoning_content": "hm"})])
    );
    assert_eq!(answer(&chunks).continuation, None);
}
