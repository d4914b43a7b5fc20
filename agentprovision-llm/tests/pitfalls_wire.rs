//! Mistakes that others made between a wire format and what it means, asked of every format there is. The numbers are those
//! of the list of pitfalls that the tests are named after.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these functions are called by tests only"
)]

#[cfg(test)]
#[path = "wires/mod.rs"]
mod wires;

use std::collections::BTreeSet;

use agentprovision_core::model::{
    ChatEvent, ChatRequest, EmbedRequest, FinishReason, Message, RerankRequest, ToolDefinition, Usage,
};
use agentprovision_llm::wire::cohere_embed::CohereEmbed;
use agentprovision_llm::wire::cohere_rerank::CohereRerank;
use agentprovision_llm::wire::embed::EmbedDialect;
use agentprovision_llm::wire::gemini_embed::GeminiEmbed;
use agentprovision_llm::wire::openai_embeddings::OpenAiEmbeddings;
use agentprovision_llm::wire::rerank::RerankDialect;
use agentprovision_llm::wire::titan_embed::TitanEmbed;
use agentprovision_llm::wire::vertex_embed::VertexEmbed;
use agentprovision_llm::wire::{Category, Delivery};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use wires::{ALL, Wire, assembled, frame};

fn body(wire: Wire, request: &ChatRequest) -> Value {
    let sent = wire.dialect().encode(request, Delivery::Whole);
    serde_json::from_slice(&sent.unwrap_or_else(|error| panic!("{wire:?}: {error}")).body).unwrap()
}

/// Characters of one to four bytes, and one made of several.
const TEXT: [&str; 4] = ["a naïve ", "日本語 ", "🦀", "👩‍👩‍👧 ende"];

#[test]
fn pitfall_28_a_character_split_between_chunks_is_one_character() {
    for wire in ALL {
        let bytes =
            wire.stream(&TEXT, &[("c1", "find", &["{\"q\":", "\"größe 🦀\"}"])], Some(wire.ends()[1]));
        let whole = wire.run(&bytes, bytes.len());
        let answer = assembled(&whole.0).unwrap();
        // What Cohere's models say before they call is told like any text.
        assert_eq!(answer.text, TEXT.concat(), "{wire:?}");
        assert_eq!(answer.tool_calls[0].json(), Some(json!({"q": "größe 🦀"})), "{wire:?}");
        for size in 1..8 {
            assert_eq!(wire.run(&bytes, size), whole, "{wire:?} in pieces of {size}");
        }
        for cut in 0..bytes.len() {
            let (mut decoder, mut events) = (wire.dialect().decoder(), Vec::new());
            decoder.push(&bytes[..cut], &mut events).unwrap();
            decoder.push(&bytes[cut..], &mut events).unwrap();
            let end = decoder.finish(&mut events);
            assert_eq!((events, end), whole, "{wire:?} cut at {cut}");
        }
    }
}

#[test]
fn pitfall_29_parallel_calls_of_one_tool_stay_apart() {
    for wire in ALL {
        let calls: [wires::Call<'_>; 3] = [
            ("c1", "find", &["{\"x\":", "1}"]),
            ("c2", "find", &["{\"x\":2}"]),
            ("c3", "find", &["{\"x\":1}"]),
        ];
        let bytes = wire.stream(&[], &calls, Some(wire.ends()[1]));
        let answer = wire.answer(&bytes);
        let arguments: Vec<_> = answer.tool_calls.iter().map(|call| call.json().unwrap()).collect();
        assert_eq!(arguments, [json!({"x": 1}), json!({"x": 2}), json!({"x": 1})], "{wire:?}");
        assert!(answer.tool_calls.iter().all(|call| call.name == "find" && call.complete), "{wire:?}");
        assert_eq!(answer.finish, FinishReason::ToolCalls, "{wire:?}");
        if wire.names_calls() {
            let ids: Vec<&str> = answer.tool_calls.iter().map(|call| call.id.as_str()).collect();
            assert_eq!(ids, ["c1", "c2", "c3"], "{wire:?}");
        }
        // Sent back, every call has a result of its own, whatever ids the provider gave.
        let mut messages = vec![
            Message::user("x"),
            Message::Assistant {
                text: String::new(),
                tool_calls: answer.tool_calls.clone(),
                continuation: answer.continuation.clone(),
            },
        ];
        for (number, call) in answer.tool_calls.iter().enumerate() {
            let (call_id, name) = (call.id.clone(), call.name.clone());
            messages.push(Message::Tool {
                call_id,
                name,
                content: format!("result {number}"),
                is_error: false,
            });
        }
        let sent = body(wire, &ChatRequest::new("m", messages)).to_string();
        let places: Vec<_> = (0..3).map(|number| sent.find(&format!("result {number}")).unwrap()).collect();
        assert!(places.is_sorted(), "{wire:?}: {sent}");
    }
}

#[test]
fn pitfall_29_indices_of_calls_may_be_reused_begin_at_one_or_be_missing() {
    let call = |index: Value, id: &str, arguments: &str| {
        let mut call =
            json!({"id": id, "type": "function", "function": {"name": "find", "arguments": arguments}});
        if !index.is_null() {
            call["index"] = index;
        }
        json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})
    };
    let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]});
    for indices in
        [[json!(0), json!(0)], [json!(1), json!(2)], [json!(null), json!(null)], [json!(7), json!(3)]]
    {
        let [first, second] = indices.clone();
        let events = [call(first, "c1", "{\"x\":1}"), call(second, "c2", "{\"x\":2}"), end.clone()];
        let answer = Wire::OpenAiChat.answer(&Wire::OpenAiChat.framed(&events));
        let found: Vec<_> =
            answer.tool_calls.iter().map(|call| (call.id.as_str(), call.json().unwrap())).collect();
        assert_eq!(found, [("c1", json!({"x": 1})), ("c2", json!({"x": 2}))], "{indices:?}");
    }
    // Google sends both in one chunk, without ids and indices.
    let part = |x: u64| json!({"functionCall": {"name": "find", "args": {"x": x}}});
    let both = json!({"candidates": [{"content": {"parts": [part(1), part(2)]}, "finishReason": "STOP"}]});
    let answer = Wire::Gemini.answer(&Wire::Gemini.framed(&[both]));
    assert_eq!(answer.tool_calls.len(), 2);
}

#[test]
fn pitfall_30_a_call_whose_arguments_are_cut_off_is_never_executable() {
    for wire in ALL {
        let [_, called, limited] = wire.ends();
        if wire.cuts_arguments() {
            let cut: [wires::Call<'_>; 2] =
                [("c1", "find", &["{\"x\":1}"]), ("c2", "drop", &["{\"x\": \"ha"])];
            let answer = wire.answer(&wire.stream(&["so "], &cut, Some(limited)));
            let complete: Vec<_> = answer.tool_calls.iter().map(|call| call.complete).collect();
            assert_eq!((complete, answer.finish), (vec![true, false], FinishReason::Length), "{wire:?}");
        }
        // A stream that just ends is no answer, however good it looks.
        let whole: [wires::Call<'_>; 1] = [("c1", "find", &["{\"x\":1}"])];
        let (events, end) = wire.run(&wire.stream(&["so "], &whole, None), 7);
        assert_eq!(end.unwrap_err().category, Category::Incomplete, "{wire:?}");
        assert!(assembled(&events).is_err(), "{wire:?}");
        let answer = wire.answer(&wire.stream(&["so "], &whole, Some(called)));
        assert!(answer.tool_calls[0].complete, "{wire:?}");
    }
}

fn counts(input: u64, output: u64) -> Usage {
    Usage { input_tokens: Some(input), output_tokens: Some(output), ..Usage::default() }
}

#[test]
fn pitfall_31_usage_is_found_wherever_it_stands() {
    let text =
        json!({"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": null}], "usage": null});
    let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 5});
    let with = |mut event: Value, usage: Value| {
        event["usage"] = usage;
        event
    };
    let empty = json!({"choices": [], "usage": usage});
    let spread = json!({"choices": [], "usage": {"completion_tokens": 5}});
    for events in [
        // After the end, in a chunk without choices.
        vec![text.clone(), end.clone(), empty.clone()],
        // Before it.
        vec![text.clone(), empty.clone(), end.clone()],
        // With an empty delta.
        vec![text.clone(), with(end.clone(), usage.clone())],
        // With the text, and then no more.
        vec![with(text.clone(), usage.clone()), end.clone()],
        // In two parts, and once more without anything.
        vec![
            with(text.clone(), json!({"prompt_tokens": 9})),
            end.clone(),
            spread,
            json!({"choices": [], "usage": {}}),
        ],
    ] {
        let answer = Wire::OpenAiChat.answer(&Wire::OpenAiChat.framed(&events));
        let found = answer.usage.unwrap();
        assert_eq!((found.input_tokens, found.output_tokens), (Some(9), Some(5)), "{events:?}");
    }
    // Without any, none is made up.
    assert_eq!(Wire::OpenAiChat.answer(&Wire::OpenAiChat.framed(&[text, end])).usage, None);

    let after = |wire: Wire, more: Value| {
        let mut bytes = wire.stream(&["hi"], &[], Some(wire.ends()[0]));
        bytes.extend(wire.framed(&[more]));
        wire.answer(&bytes).usage.unwrap()
    };
    let found =
        after(Wire::Gemini, json!({"usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 5}}));
    assert_eq!(found, counts(9, 5));
    let found = after(Wire::Bedrock, json!({"metadata": {"usage": {"inputTokens": 9, "outputTokens": 5}}}));
    assert_eq!((found.input_tokens, found.output_tokens), (Some(9), Some(5)));
    // Half at the beginning, half at the end.
    let found =
        Wire::Anthropic.answer(&Wire::Anthropic.stream(&["hi"], &[], Some("end_turn"))).usage.unwrap();
    assert_eq!((found.input_tokens, found.output_tokens), (Some(9), Some(5)));
    let end = json!({"type": "message-end", "delta": {"finish_reason": "COMPLETE",
        "usage": {"tokens": {"input_tokens": 9, "output_tokens": 5}}}});
    assert_eq!(Wire::Cohere.answer(&Wire::Cohere.framed(&[end])).usage, Some(counts(9, 5)));
    let end = json!({"message": {"role": "assistant", "content": "hi"}, "done": true, "done_reason": "stop",
        "prompt_eval_count": 9, "eval_count": 5});
    assert_eq!(Wire::Ollama.answer(&Wire::Ollama.framed(&[end])).usage, Some(counts(9, 5)));
    let bytes = Wire::OpenAiResponses.stream(&["hi"], &[], Some("completed"));
    let found = Wire::OpenAiResponses.answer(&bytes).usage.unwrap();
    assert_eq!((found.input_tokens, found.output_tokens), (Some(9), Some(5)));
}

#[test]
fn pitfall_31_the_usage_of_a_stream_is_asked_for() {
    let request = ChatRequest::new("m", vec![Message::user("x")]);
    let sent = Wire::OpenAiChat.dialect().encode(&request, Delivery::Streamed).unwrap();
    let sent: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(sent["stream_options"], json!({"include_usage": true}));
}

/// An answer with something signed in it, which only its issuer can read, and a call with an id no other takes.
fn signed(wire: Wire) -> String {
    // OpenAI itself gives no id it would not take again.
    let id = if wire == Wire::OpenAiResponses {
        "call_1".to_owned()
    } else {
        "call-".to_owned() + &"x".repeat(120)
    };
    let call = json!({"id": id, "type": "function", "function": {"name": "find", "arguments": "{}"}});
    match wire {
        Wire::OpenAiChat | Wire::Ollama => {
            // These sign nothing; what one of their servers does with reasoning has tests of its own.
            if wire == Wire::Ollama {
                let call = json!({"id": id, "function": {"name": "find", "arguments": {}}});
                let message = json!({"role": "assistant", "content": "", "thinking": "SIGNED", "tool_calls": [call]});
                return json!({"model": "m", "message": message, "done": true, "done_reason": "stop"}).to_string();
            }
            let message = json!({"role": "assistant", "content": "", "reasoning_content": "SIGNED", "tool_calls": [call]});
            json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})
        }
        Wire::OpenAiResponses => json!({"id": "r", "status": "completed", "output": [
            {"type": "reasoning", "id": "rs_1", "encrypted_content": "SIGNED", "summary": []},
            {"type": "function_call", "call_id": id, "name": "find", "arguments": "{}"}]}),
        Wire::Anthropic => json!({"type": "message", "role": "assistant", "stop_reason": "tool_use", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "SIGNED"},
            {"type": "tool_use", "id": id, "name": "find", "input": {}}]}),
        Wire::Gemini => json!({"candidates": [{"finishReason": "STOP", "content": {"parts": [
            {"functionCall": {"id": id, "name": "find", "args": {}}, "thoughtSignature": "SIGNED"}]}}]}),
        Wire::Bedrock => json!({"stopReason": "tool_use", "output": {"message": {"role": "assistant", "content": [
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "SIGNED"}}},
            {"toolUse": {"toolUseId": id, "name": "find", "input": {}}}]}}}),
        Wire::Cohere => json!({"id": "c", "finish_reason": "TOOL_CALL", "message": {"role": "assistant",
            "content": [{"type": "thinking", "thinking": "SIGNED"}], "tool_calls": [call]}}),
    }
    .to_string()
}

#[test]
fn pitfall_32_history_of_one_provider_is_taken_by_every_other() {
    for from in ALL {
        let answer = from.whole(&signed(from)).unwrap_or_else(|error| panic!("{from:?}: {error}"));
        let call = &answer.tool_calls[0];
        let (call_id, name) = (call.id.clone(), call.name.clone());
        let messages = vec![
            Message::user("x"),
            Message::Assistant {
                text: answer.text.clone(),
                tool_calls: answer.tool_calls.clone(),
                continuation: answer.continuation.clone(),
            },
            Message::Tool { call_id, name, content: "found".into(), is_error: false },
        ];
        for to in ALL {
            let mut request = ChatRequest::new("m", messages.clone());
            let input_schema = json!({"type": "object", "properties": {}});
            request.tools =
                vec![ToolDefinition { name: "find".into(), description: "finds".into(), input_schema }];
            let sent = body(to, &request);
            let keeps = answer.continuation.is_some() && from == to;
            assert_eq!(sent.to_string().contains("SIGNED"), keeps, "{from:?} to {to:?}: {sent}");
            // Ids are short, and that of the result is that of the call.
            let mut ids = Vec::new();
            collect(&sent, &mut ids);
            let longest = if to == Wire::OpenAiChat { 40 } else { 64 };
            let own = from == to && keeps;
            assert!(own || ids.iter().all(|id| id.len() <= longest), "{from:?} to {to:?}: {sent}");
            let different: BTreeSet<&String> = ids.iter().collect();
            assert!(
                ids.len() == 2 && different.len() == 1 || to == Wire::Gemini,
                "{from:?} to {to:?}: {sent}"
            );
        }
    }
}

/// The ids of calls and of what answers them.
fn collect(value: &Value, ids: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let named = ["call_id", "tool_call_id", "tool_use_id", "toolUseId"];
            let calls = fields.contains_key("function") || fields.get("type") == Some(&json!("tool_use"));
            for (name, value) in fields {
                if named.contains(&name.as_str()) || name == "id" && calls {
                    ids.extend(value.as_str().map(str::to_owned));
                }
                collect(value, ids);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, ids)),
        _ => {}
    }
}

#[test]
fn pitfall_36_statuses_lie_about_what_went_wrong() {
    let google = |reason: &str| {
        json!({"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "x", "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}]}})
    };
    let openai = |message: &str, kind: &str| json!({"error": {"message": message, "type": kind, "param": null, "code": null}});
    let aws = |message: &str| json!({"message": message});
    for (wire, status, body, expected) in [
        // Authentication that is no 401.
        (Wire::Gemini, 400, google("API_KEY_INVALID"), Category::Authentication),
        (
            Wire::OpenAiChat,
            400,
            json!({"code": "x", "error": "Incorrect API key provided. Ask for another."}),
            Category::Authentication,
        ),
        // What 403 means is left open: the credential, or what it may do. Another one is tried either way.
        (
            Wire::Bedrock,
            403,
            aws("The security token included in the request is expired"),
            Category::Permission,
        ),
        (Wire::OpenAiChat, 403, openai("Forbidden", "invalid_request_error"), Category::Permission),
        // A model that is not there, and no 404.
        (Wire::OpenAiChat, 400, openai("invalid model ID", "invalid_request_error"), Category::NotFound),
        (
            Wire::OpenAiChat,
            400,
            json!({"object": "error", "message": "Invalid model: m", "type": "invalid_model", "code": "1500"}),
            Category::NotFound,
        ),
        (Wire::OpenAiChat, 400, openai("m is not a valid model ID", ""), Category::NotFound),
        (Wire::Bedrock, 400, aws("The provided model identifier is invalid."), Category::NotFound),
        // Quota that no waiting gives back, in the clothes of a rate limit.
        (
            Wire::OpenAiChat,
            429,
            json!({"error": {"message": "x", "type": "insufficient_quota", "code": "insufficient_quota"}}),
            Category::QuotaExhausted,
        ),
        (
            Wire::Anthropic,
            400,
            json!({"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}}),
            Category::QuotaExhausted,
        ),
        // And what they say is right.
        (Wire::OpenAiChat, 401, openai("x", "invalid_request_error"), Category::Authentication),
        (Wire::Cohere, 401, json!({"message": "invalid api token"}), Category::Authentication),
        (Wire::Ollama, 404, json!({"error": "model 'm' not found"}), Category::NotFound),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let error = wire.dialect().classify(status, &HeaderMap::new(), body.to_string().as_bytes());
        assert_eq!(error.category, expected, "{wire:?} {status} {body}");
        let policy = error.policy();
        assert!(!policy.retry_same_target && policy.failover_to_other_target, "{wire:?} {status} {body}");
    }
}

#[test]
fn pitfall_37_a_success_status_without_an_answer_is_an_error() {
    for wire in ALL {
        let error = match wire {
            Wire::Anthropic => {
                json!({"type": "error", "error": {"type": "overloaded_error", "message": "x"}})
            }
            Wire::Gemini => json!({"error": {"code": 503, "status": "UNAVAILABLE", "message": "x"}}),
            Wire::Bedrock => json!({"__type": "ServiceUnavailableException", "message": "x"}),
            Wire::Ollama => json!({"error": "the server is overloaded"}),
            Wire::Cohere => json!({"message": "overloaded"}),
            _ => json!({"error": {"message": "x", "type": "server_error", "code": 503}}),
        };
        let empty = [
            String::new(),
            "null".into(),
            "{}".into(),
            "[]".into(),
            "\"ok\"".into(),
            "<html>maintenance</html>".into(),
            json!({"choices": []}).to_string(),
            json!({"choices": null, "output": null, "candidates": [], "content": null, "message": null})
                .to_string(),
        ];
        for body in empty.iter().chain([&error.to_string()]) {
            if let Ok(answer) = wire.whole(body) {
                panic!("{wire:?} makes an answer of {body}: {answer:?}");
            }
            let bytes = if wire == Wire::Bedrock && body.starts_with("{\"__type") {
                frame(
                    &[(":exception-type", "serviceUnavailableException"), (":message-type", "exception")],
                    &json!({"message": "x"}),
                )
            } else {
                body.clone().into_bytes()
            };
            let (events, end) = wire.run(&bytes, 5);
            assert!(end.is_err(), "{wire:?} makes a stream of {body}: {events:?}");
            assert!(!events.iter().any(ChatEvent::is_content), "{wire:?}: {body}");
        }
        // An error is told as what it is, not as an answer that could not be read.
        let category = wire.whole(&error.to_string()).unwrap_err().category;
        assert_ne!(category, Category::Incomplete, "{wire:?}");
        assert!(
            category == Category::Malformed || category.policy().retry_same_target,
            "{wire:?} {category}"
        );
    }
}

#[test]
fn fields_of_a_providers_own_go_through_every_dialect_unchanged() {
    let value = json!({"deep": [1, 2.5, null, {"größe": "ü"}]});
    for wire in ALL {
        let mut request = ChatRequest::new("m", vec![Message::user("x")]);
        request.extra.insert("brand_new_field".into(), value.clone());
        assert_eq!(body(wire, &request)["brand_new_field"], value, "{wire:?}");
        // A field with a place of its own is refused, not sent twice or silently lost.
        request.max_tokens = Some(5);
        let field = match wire {
            Wire::OpenAiResponses => "max_output_tokens",
            Wire::Gemini => "contents",
            Wire::Bedrock => "messages",
            Wire::Ollama => "model",
            _ => "max_tokens",
        };
        request.extra.insert(field.into(), json!(6));
        let error = wire.dialect().encode(&request, Delivery::Whole).unwrap_err();
        assert!(error.to_string().contains(field), "{wire:?}: {error}");
    }
    let mut request = EmbedRequest::new("m", ["x"]);
    request.extra.insert("brand_new_field".into(), value.clone());
    let dialects: [(Box<dyn EmbedDialect>, &str); 5] = [
        (Box::new(OpenAiEmbeddings::new()), ""),
        (Box::new(CohereEmbed::new()), ""),
        (Box::new(GeminiEmbed::new()), "/requests/0"),
        (Box::new(VertexEmbed::new("m")), "/instances/0"),
        (Box::new(TitanEmbed::new()), ""),
    ];
    for (dialect, place) in dialects {
        let sent: Value = serde_json::from_slice(&dialect.encode(&request).unwrap().body).unwrap();
        assert_eq!(sent.pointer(place).unwrap()["brand_new_field"], value, "{dialect:?}");
    }
    let mut request = RerankRequest::new("m", "q", ["d"]);
    request.extra.insert("brand_new_field".into(), value.clone());
    let sent: Value = serde_json::from_slice(&CohereRerank::new().encode(&request).unwrap().body).unwrap();
    assert_eq!(sent["brand_new_field"], value);
}

#[test]
fn log_probabilities_are_asked_for_in_each_providers_own_words() {
    for (wire, name, value) in [
        (Wire::OpenAiChat, "logprobs", json!(true)),
        (Wire::OpenAiChat, "top_logprobs", json!(3)),
        (Wire::OpenAiResponses, "top_logprobs", json!(3)),
        (Wire::OpenAiResponses, "include", json!(["message.output_text.logprobs"])),
        (Wire::Gemini, "generationConfig", json!({"responseLogprobs": true, "logprobs": 3})),
        (Wire::Cohere, "logprobs", json!(true)),
        (Wire::Ollama, "logprobs", json!(true)),
    ] {
        let mut request = ChatRequest::new("m", vec![Message::user("x")]);
        request.extra.insert(name.into(), value.clone());
        assert_eq!(body(wire, &request)[name], value, "{wire:?}");
    }
}
