//! Whole answers, and the objects that streams are made of too.

use agentprovision_core::Error;
use agentprovision_core::model::{ChatResponse, Continuation, FinishReason, Usage};
use serde_json::{Map, Value, json};

use super::Form;
use crate::gateway::answer::Head;
use crate::gateway::failure;
use crate::gateway::opaque;

/// A whole answer.
pub(in crate::gateway) fn whole(head: &Head, form: &Form, answer: ChatResponse) -> Value {
    let mut output = Vec::new();
    if !answer.reasoning.is_empty() || answer.continuation.is_some() {
        let id = head.id(&format!("rs_{}_", output.len()));
        output.push(reasoning(&id, &answer.reasoning, answer.continuation.as_ref(), "completed"));
    }
    let mut content = Vec::new();
    if !answer.text.is_empty() || (answer.refusal.is_none() && answer.tool_calls.is_empty()) {
        content.push(text_part(&answer.text));
    }
    content.extend(answer.refusal.as_deref().map(refusal_part));
    let cut = answer.tool_calls.iter().any(|call| !call.complete);
    let (status, why) = status(answer.finish, cut);
    if !content.is_empty() {
        let id = head.id(&format!("msg_{}_", output.len()));
        output.push(message(&id, content, status));
    }
    for call in answer.tool_calls.iter().filter(|call| call.complete) {
        let id = head.id(&format!("fc_{}_", output.len()));
        output.push(function_call(&id, &call.id, &call.name, &call.arguments, "completed"));
    }
    let model = answer.model.as_deref().unwrap_or(&head.model);
    let parts = Parts { model, status, output, why, usage: answer.usage.as_ref(), error: None };
    response(head, form, parts)
}

/// How an answer ended: its status, and why it is not whole. Calls that were cut off must not look as if they were to be
/// made.
pub(super) fn status(finish: FinishReason, cut: bool) -> (&'static str, Option<&'static str>) {
    match finish {
        FinishReason::Length => ("incomplete", Some("max_output_tokens")),
        FinishReason::ContentFilter => ("incomplete", Some("content_filter")),
        _ if cut => ("incomplete", Some("max_output_tokens")),
        _ => ("completed", None),
    }
}

/// What changes from one response object of an answer to the next.
pub(super) struct Parts<'a> {
    pub(super) model: &'a str,
    pub(super) status: &'static str,
    pub(super) output: Vec<Value>,
    pub(super) why: Option<&'static str>,
    pub(super) usage: Option<&'a Usage>,
    pub(super) error: Option<&'a Error>,
}

/// The response object. What the request did not say has the format's own default.
pub(super) fn response(head: &Head, form: &Form, parts: Parts<'_>) -> Value {
    let Parts { model, status, output, why, usage, error } = parts;
    let mut out: Map<String, Value> = [
        ("instructions", Value::Null),
        ("max_output_tokens", Value::Null),
        ("metadata", json!({})),
        ("parallel_tool_calls", json!(true)),
        ("reasoning", json!({"effort": null, "summary": null})),
        ("temperature", json!(1.0)),
        ("text", json!({"format": {"type": "text"}})),
        ("tool_choice", json!("auto")),
        ("tools", json!([])),
        ("top_p", json!(1.0)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .collect();
    out.extend(form.echo.iter().filter(|(_, value)| !value.is_null()).map(|(k, v)| (k.clone(), v.clone())));
    let own = [
        ("id", json!(head.id("resp_"))),
        ("object", json!("response")),
        ("created_at", json!(head.created)),
        ("status", json!(status)),
        ("background", json!(false)),
        ("error", error.map_or(Value::Null, failed)),
        ("incomplete_details", why.map_or(Value::Null, |why| json!({ "reason": why }))),
        ("model", json!(model)),
        ("output", Value::Array(output)),
        ("previous_response_id", Value::Null),
        ("store", json!(false)),
        ("truncation", json!("disabled")),
        ("usage", usage.map_or(Value::Null, self::usage)),
    ];
    out.extend(own.map(|(name, value)| (name.to_owned(), value)));
    Value::Object(out)
}

fn failed(error: &Error) -> Value {
    json!({"code": failure::code(error), "message": error.message()})
}

/// The counts; one that is not known is zero, since the format has no word for that.
fn usage(usage: &Usage) -> Value {
    let (input, output) = (usage.input_tokens.unwrap_or(0), usage.output_tokens.unwrap_or(0));
    json!({
        "input_tokens": input,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens.unwrap_or(0),
            "cache_write_tokens": usage.cache_write_tokens.unwrap_or(0),
        },
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens.unwrap_or(0)},
        "total_tokens": input.saturating_add(output),
    })
}

pub(super) fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

pub(super) fn refusal_part(refusal: &str) -> Value {
    json!({"type": "refusal", "refusal": refusal})
}

pub(super) fn message(id: &str, content: Vec<Value>, status: &str) -> Value {
    json!({"id": id, "type": "message", "role": "assistant", "status": status, "content": content})
}

pub(super) fn function_call(id: &str, call_id: &str, name: &str, arguments: &str, status: &str) -> Value {
    json!({
        "id": id, "type": "function_call", "call_id": call_id, "name": name, "arguments": arguments, "status": status,
    })
}

pub(super) fn reasoning(id: &str, text: &str, again: Option<&Continuation>, status: &str) -> Value {
    let summary: Vec<Value> =
        (!text.is_empty()).then(|| json!({"type": "summary_text", "text": text})).into_iter().collect();
    json!({
        "id": id,
        "type": "reasoning",
        "status": status,
        "summary": summary,
        "encrypted_content": again.and_then(opaque::seal),
    })
}
