//! Answers in the shapes that servers of this format send. Written from OpenAI's API reference.

use agentprovision_core::ErrorKind;
use agentprovision_core::clock::{Entropy, SeededEntropy};
use agentprovision_core::model::{
    ChatAssembler, ChatEvent, ChatRequest, ChatResponse, Content, Continuation, FinishReason, Message,
    Source, ToolChoice, ToolDefinition, ToolRequest,
};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::wire::Category;

type Run = (Vec<ChatEvent>, Result<(), ProviderError>);

fn run(bytes: &[u8], chunk: usize) -> Run {
    let mut decoder = OpenAiResponses::new().decoder();
    let mut events = Vec::new();
    for piece in bytes.chunks(chunk) {
        if let Err(error) = decoder.push(piece, &mut events) {
            return (events, Err(error));
        }
    }
    let end = decoder.finish(&mut events);
    (events, end)
}

fn sse(events: &[Value]) -> Vec<u8> {
    let event = |data: &Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap());
    events.iter().flat_map(|data| event(data).into_bytes()).collect()
}

fn assembled(run: Run) -> ChatResponse {
    run.1.unwrap();
    let mut assembler = ChatAssembler::new();
    run.0.iter().for_each(|event| assembler.push(event));
    assembler.finish().unwrap()
}

fn decode(body: &Value) -> Result<ChatResponse, ProviderError> {
    OpenAiResponses::new().decode(StatusCode::OK, &HeaderMap::new(), body.to_string().as_bytes())
}

fn reasoning() -> Value {
    json!({"id": "rs_1", "type": "reasoning", "encrypted_content": "AAAA", "status": null,
        "summary": [{"type": "summary_text", "text": "hm"}, {"type": "summary_text", "text": "so"}]})
}

fn message(text: &str) -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}]})
}

fn call(id: &str, arguments: &str) -> Value {
    json!({"id": format!("fc_{id}"), "type": "function_call", "call_id": id, "name": "add", "arguments": arguments,
        "status": "completed"})
}

fn response(output: &[Value]) -> Value {
    json!({"id": "resp_1", "object": "response", "model": "m", "status": "completed", "output": output,
        "error": null, "incomplete_details": null,
        "usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
            "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 14}})
}

fn output() -> Vec<Value> {
    vec![reasoning(), message("héllo"), call("c1", "{\"x\": 1}"), call("c2", "{\"x\": 2}")]
}

/// A stream of that output as OpenAI sends it.
fn stream() -> Vec<Value> {
    let at = |place: u64, mut event: Value| {
        event["output_index"] = json!(place);
        event
    };
    let begun = |kind: &str| json!({"type": "response.output_item.added", "item": {"type": kind}});
    let done = |item: Value| json!({"type": "response.output_item.done", "item": item});
    let delta = |name: &str, delta: &str| json!({"type": format!("response.{name}.delta"), "delta": delta});
    let mut begun_call = begun("function_call");
    begun_call["item"] = json!({"type": "function_call", "call_id": "c1", "name": "add", "arguments": ""});
    let summary = |index: u64, text: &str| json!({"type": "response.reasoning_summary_text.delta", "summary_index": index, "delta": text});
    vec![
        json!({"type": "response.created", "response": {"id": "resp_1", "model": "m", "status": "in_progress"}}),
        at(0, begun("reasoning")),
        at(0, summary(0, "hm")),
        at(0, summary(1, "so")),
        at(0, done(reasoning())),
        at(1, begun("message")),
        at(1, delta("output_text", "hé")),
        at(1, delta("output_text", "llo")),
        at(1, json!({"type": "response.output_text.done", "text": "héllo"})),
        at(1, done(message("héllo"))),
        at(2, begun_call),
        at(2, delta("function_call_arguments", "{\"x\"")),
        at(2, delta("function_call_arguments", ": 1}")),
        at(2, json!({"type": "response.function_call_arguments.done", "arguments": "{\"x\": 1}"})),
        at(2, done(call("c1", "{\"x\": 1}"))),
        // A server may send a call in one piece.
        at(3, done(call("c2", "{\"x\": 2}"))),
        json!({"type": "response.completed", "response": response(&output())}),
    ]
}

#[test]
fn a_stream_and_a_whole_answer_of_the_same_content_are_the_same() {
    let whole = decode(&response(&output())).unwrap();
    assert_eq!(assembled(run(&sse(&stream()), 1)), whole);
    assert_eq!((whole.text.as_str(), whole.reasoning.as_str()), ("héllo", "hmso"));
    assert_eq!((whole.finish, whole.finish_raw.as_deref()), (FinishReason::ToolCalls, Some("completed")));
    let calls: Vec<_> =
        whole.tool_calls.iter().map(|call| (call.id.as_str(), call.arguments.as_str())).collect();
    assert_eq!(calls, [("c1", "{\"x\": 1}"), ("c2", "{\"x\": 2}")]);
    assert!(whole.tool_calls.iter().all(|call| call.complete));
    let usage = whole.usage.unwrap();
    assert_eq!(
        (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens),
        (Some(9), Some(2), Some(1))
    );
    assert_eq!((usage.output_tokens, usage.reasoning_tokens), (Some(5), Some(3)));
    let continuation = Continuation { issuer: "openai.responses".into(), items: output() };
    assert_eq!(whole.continuation, Some(continuation));
    // The same document in place of a stream, from a server that knows no streaming.
    assert_eq!(assembled(run(response(&output()).to_string().as_bytes(), 3)), whole);
}

#[test]
fn nothing_comes_twice_and_nothing_is_lost_whatever_a_server_leaves_out() {
    let whole = decode(&response(&output())).unwrap();
    let all = stream();
    // Without any one of the events before the last.
    for left_out in 1..all.len() - 1 {
        let mut events = all.clone();
        let event = events.remove(left_out);
        if event["type"].as_str().unwrap().ends_with(".delta") {
            // What remains of the pieces goes on otherwise than the whole, so the pieces hold.
            continue;
        }
        assert_eq!(assembled(run(&sse(&events), 7)), whole, "without {event}");
    }
    // An item that begins with what then comes in pieces.
    let mut events = all.clone();
    for (event, whole) in [(1, reasoning()), (5, message("héllo")), (10, call("c1", "{\"x\": 1}"))] {
        events[event]["item"] = whole;
    }
    assert_eq!(assembled(run(&sse(&events), 7)), whole);
    // The last event repeats nothing.
    let mut events = all.clone();
    events.last_mut().unwrap()["response"]["output"] = json!([]);
    assert_eq!(assembled(run(&sse(&events), 7)), whole);
    // Only the last event.
    assert_eq!(assembled(run(&sse(&all[all.len() - 1..]), 7)), whole);
    // Places that the last event counts otherwise.
    let mut events = all;
    for event in &mut events {
        if let Some(place) = event.get_mut("output_index") {
            *place = json!(place.as_u64().unwrap() + 10);
        }
    }
    let answer = assembled(run(&sse(&events), 7));
    assert_eq!((answer.text, answer.tool_calls), (whole.text, whole.tool_calls));
}

#[test]
fn the_reason_why_an_answer_ended_is_read() {
    let with = |status: &str, why: Option<&str>, output: Vec<Value>| {
        let mut body = response(&output);
        body["status"] = json!(status);
        body["incomplete_details"] = why.map_or(Value::Null, |why| json!({"reason": why}));
        decode(&body)
    };
    let answer = with("incomplete", Some("max_output_tokens"), vec![call("c", "{\"x")]).unwrap();
    assert_eq!(answer.finish, FinishReason::Length);
    assert_eq!(answer.finish_raw.as_deref(), Some("incomplete:max_output_tokens"));
    assert!(!answer.tool_calls[0].complete);
    let answer = with("incomplete", Some("content_filter"), vec![message("a")]).unwrap();
    assert_eq!(answer.finish, FinishReason::ContentFilter);
    assert_eq!(with("incomplete", None, vec![]).unwrap().finish, FinishReason::Other);
    assert_eq!(with("completed", None, vec![message("a")]).unwrap().finish, FinishReason::Stop);
    for status in ["queued", "in_progress", "cancelled"] {
        let error = with(status, None, vec![]).unwrap_err();
        assert_eq!((error.category, error.provider_code.as_deref()), (Category::Incomplete, Some(status)));
    }
    let refusal = json!({"type": "message", "content": [{"type": "refusal", "refusal": "no"}]});
    assert_eq!(with("completed", None, vec![refusal]).unwrap().refusal.as_deref(), Some("no"));
}

#[test]
fn errors_inside_a_successful_answer_are_errors_after_what_came_before() {
    let failed = |code: &str| {
        let mut body = response(&[]);
        body["status"] = json!("failed");
        body["error"] = json!({"code": code, "message": "x"});
        body
    };
    for (code, category) in [
        ("server_error", Category::ServerError),
        ("rate_limit_exceeded", Category::RateLimit),
        ("insufficient_quota", Category::QuotaExhausted),
        ("invalid_prompt", Category::InvalidRequest),
        ("invalid_base64_image", Category::InvalidRequest),
        ("image_content_policy_violation", Category::ContentPolicy),
        ("context_length_exceeded", Category::ContextWindow),
    ] {
        assert_eq!(decode(&failed(code)).unwrap_err().category, category, "{code}");
        let mut events = stream();
        *events.last_mut().unwrap() = json!({"type": "response.failed", "response": failed(code)});
        let (before, end) = run(&sse(&events), 5);
        assert_eq!(end.unwrap_err().category, category, "{code}");
        assert!(before.contains(&ChatEvent::Text("llo".into())));
        // The counts of a failed answer are billed.
        assert!(matches!(before.last(), Some(ChatEvent::Usage(_))));
        for event in [
            json!({"type": "error", "sequence_number": 3, "code": code, "message": "x", "param": null}),
            json!({"type": "error", "error": {"type": "t", "code": code, "message": "x"}}),
        ] {
            let error = run(&sse(std::slice::from_ref(&event)), 5).1.unwrap_err();
            assert_eq!((error.category, error.message.as_str()), (category, "x"), "{event}");
        }
    }
    let malformed = |body: &Value| decode(body).unwrap_err().category;
    for body in [json!({}), json!([]), json!("x"), json!({"output": "x"}), json!({"choices": []})] {
        assert_eq!(malformed(&body), Category::Malformed, "{body}");
    }
    let error = run(b"<html>\n</html>\n", 4).1.unwrap_err();
    assert_eq!(error.category, Category::Malformed);
}

#[test]
fn damaged_streams_end_in_an_error_or_an_answer_in_every_chunking() {
    let bytes = sse(&stream());
    let whole = run(&bytes, bytes.len());
    let last = bytes.len() - 2;
    for end in 0..bytes.len() {
        let cut = &bytes[..end];
        let one = run(cut, cut.len().max(1));
        if end % 16 == 0 {
            assert_eq!(one, run(cut, 1), "cut at {end}");
        }
        match &one.1 {
            Err(error) => {
                assert!(end < last, "cut at {end}");
                assert_eq!(error.category, Category::Incomplete, "cut at {end}");
                assert!(whole.0.starts_with(&one.0));
            }
            Ok(()) => assert!(end >= last, "cut at {end}"),
        }
    }
    let entropy = SeededEntropy::new(7);
    let random = move || {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    };
    for _ in 0..400 {
        let mut damaged = bytes.clone();
        for _ in 0..1 + random() % 4 {
            let at = random() as usize % damaged.len();
            damaged[at] = random() as u8;
        }
        assert_eq!(run(&damaged, 1), run(&damaged, 4096));
    }
}

fn encoded(request: &ChatRequest) -> Value {
    let wire = OpenAiResponses::new().encode(request, Delivery::Streamed).unwrap();
    assert_eq!(wire.path, "/responses");
    serde_json::from_slice(&wire.body).unwrap()
}

fn asked(id: &str, arguments: &str) -> ToolRequest {
    ToolRequest { id: id.into(), name: "add".into(), arguments: arguments.into(), complete: true }
}

#[test]
fn a_full_request_has_every_field_in_its_place() {
    let png = Source::Base64("AAA=".into());
    let url = Source::Url("https://a/b.pdf".into());
    let mut request = ChatRequest::new(
        "m",
        vec![
            Message::system("be brief"),
            Message::User {
                content: vec![
                    Content::Text { text: "a".into() },
                    Content::Image { media_type: "image/png".into(), source: png.clone() },
                    Content::Document { media_type: "application/pdf".into(), name: None, source: png },
                    Content::Document { media_type: "application/pdf".into(), name: None, source: url },
                ],
            },
            Message::Assistant {
                text: String::new(),
                tool_calls: vec![asked("c1", "{\"x\": 1}"), asked("not ok", "{\"x")],
                continuation: Some(Continuation {
                    issuer: "other".into(),
                    items: vec![json!({"type": "x"})],
                }),
            },
            Message::Tool {
                call_id: "not ok".into(),
                name: "add".into(),
                content: "2".into(),
                is_error: false,
            },
        ],
    );
    let schema = json!({"type": "object"});
    request.tools =
        vec![ToolDefinition { name: "add".into(), description: "adds".into(), input_schema: schema.clone() }];
    request.tool_choice = ToolChoice::Tool("add".into());
    request.temperature = Some(0.5);
    request.max_tokens = Some(100);
    request.output_schema = Some(schema.clone());
    request.extra.insert("text".into(), json!({"verbosity": "low"}));
    request.extra.insert("reasoning".into(), json!({"effort": "low"}));
    let expected = json!({
        "model": "m",
        "input": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [
                {"type": "input_text", "text": "a"},
                {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,AAA="},
                {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,AAA="},
                {"type": "input_file", "file_url": "https://a/b.pdf"},
            ]},
            {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{\"x\": 1}"},
            {"type": "function_call", "call_id": "call_2_1", "name": "add", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_2_1", "output": "2"},
        ],
        "tools": [{"type": "function", "name": "add", "description": "adds", "parameters": schema, "strict": false}],
        "tool_choice": {"type": "function", "name": "add"},
        "temperature": 0.5,
        "max_output_tokens": 100,
        "text": {"format": {"type": "json_schema", "name": "answer", "schema": schema, "strict": false},
            "verbosity": "low"},
        "reasoning": {"effort": "low"},
        "stream": true,
        "store": false,
        "include": ["reasoning.encrypted_content"],
    });
    assert_eq!(encoded(&request), expected);
}

#[test]
fn an_answer_goes_back_as_it_came_to_its_issuer_alone_and_only_unchanged() {
    let answer = decode(&response(&output())).unwrap();
    let history = |change: &dyn Fn(&mut String, &mut Vec<ToolRequest>, &mut Continuation)| {
        let (mut text, mut tool_calls) = (answer.text.clone(), answer.tool_calls.clone());
        let mut continuation = answer.continuation.clone().unwrap();
        change(&mut text, &mut tool_calls, &mut continuation);
        let answer = Message::Assistant { text, tool_calls, continuation: Some(continuation) };
        let body = encoded(&ChatRequest::new("m", vec![Message::user("hi"), answer]));
        body["input"].as_array().unwrap()[1..].to_vec()
    };
    let mut items = output();
    items[0].as_object_mut().unwrap().remove("status");
    assert_eq!(history(&|_, _, _| {}), items);
    let plain = |text: &str| {
        let mut items = vec![json!({"role": "assistant", "content": text})];
        for (id, x) in [("c1", 1), ("c2", 2)] {
            let arguments = format!("{{\"x\": {x}}}");
            items
                .push(json!({"type": "function_call", "call_id": id, "name": "add", "arguments": arguments}));
        }
        items
    };
    assert_eq!(history(&|_, _, own| own.issuer = "xai".into()), plain("héllo"));
    assert_eq!(history(&|text, _, _| *text = "other".into()), plain("other"));
    assert_eq!(history(&|_, calls, _| drop(calls.pop())), plain("héllo")[..2]);
    assert_eq!(history(&|_, _, own| own.items.clear()), plain("héllo"));
    // Reasoning that only the provider's store could read again is not kept.
    let mut stored = output();
    stored[0].as_object_mut().unwrap().remove("encrypted_content");
    assert_eq!(decode(&response(&stored)).unwrap().continuation, None);
    assert_eq!(decode(&response(&[message("a")])).unwrap().continuation, None);
}

#[test]
fn what_cannot_be_said_is_refused_with_a_reason() {
    let refused = |change: &dyn Fn(&mut ChatRequest)| {
        let mut request = ChatRequest::new("m", vec![Message::user("hi")]);
        change(&mut request);
        OpenAiResponses::new().encode(&request, Delivery::Whole).unwrap_err()
    };
    assert!(refused(&|r| r.stop = vec!["x".into()]).is(ErrorKind::Unsupported));
    assert!(refused(&|r| r.seed = Some(1)).is(ErrorKind::Unsupported));
    assert!(refused(&|r| r.model.clear()).is(ErrorKind::InvalidInput));
    assert!(refused(&|r| r.messages.clear()).is(ErrorKind::InvalidInput));
    assert!(refused(&|r| r.messages = vec![Message::User { content: vec![] }]).is(ErrorKind::InvalidInput));
    assert!(refused(&|r| r.temperature = Some(f64::INFINITY)).is(ErrorKind::InvalidInput));
    assert!(refused(&|r| r.max_tokens = Some(0)).is(ErrorKind::InvalidInput));
    assert!(refused(&|r| r.tool_choice = ToolChoice::Required).is(ErrorKind::InvalidInput));
    for name in ["input", "background", "previous_response_id"] {
        let error = refused(&|r| {
            r.extra.insert(name.into(), json!("x"));
        });
        assert_eq!(error.to_string(), format!("extra fields may not set `{name}`"));
    }
    let mut request = ChatRequest::new("m", vec![Message::user("hi")]);
    request.extra.insert("store".into(), json!(true));
    assert_eq!(encoded(&request)["store"], true);
    let wire = OpenAiResponses::new()
        .without_state_fields()
        .encode(&ChatRequest::new("m", vec![Message::user("hi")]), Delivery::Whole)
        .unwrap();
    let expected = json!({"model": "m", "input": [{"role": "user", "content": "hi"}]});
    assert_eq!(serde_json::from_slice::<Value>(&wire.body).unwrap(), expected);
}
