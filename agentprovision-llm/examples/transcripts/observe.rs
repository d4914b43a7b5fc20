//! What a dialect makes of a case, in the form of what is expected.

use agentprovision_core::model::{ChatResponse, EmbedResponse, FinishReason};
use agentprovision_llm::wire::{Category, HintSource, ProviderError};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::Outcome;
use super::compare::{list, text};
use super::formats::Format;
use super::streams::stream;

/// What the dialect makes of a case, in the form of `expected`.
pub(crate) fn observe(case: &Value, body: &[u8], format: &Format) -> Outcome<Value> {
    let status =
        case.get("http_status").and_then(Value::as_u64).and_then(|status| u16::try_from(status).ok());
    let status = StatusCode::from_u16(status.unwrap_or(0)).map_err(|error| error.to_string())?;
    let mut headers = HeaderMap::new();
    for (name, value) in case.get("headers").and_then(Value::as_object).into_iter().flatten() {
        let name: HeaderName = name.parse().map_err(|_| format!("bad header {name}"))?;
        let value =
            value.as_str().and_then(|value| HeaderValue::from_str(value).ok()).ok_or("bad header value")?;
        headers.insert(name, value);
    }
    match (text(case, "kind"), format) {
        ("error", format) => {
            let found = match format {
                Format::Chat(dialect) => dialect.classify(status, &headers, body),
                Format::Embed(dialect) => dialect.classify(status, &headers, body),
            };
            Ok(json!({"error": error(&found, &headers, body)}))
        }
        ("response", Format::Embed(dialect)) => dialect
            .decode(status, &headers, body)
            .map(|answer| vectors(&answer))
            .map_err(|error| error.to_string()),
        ("response", Format::Chat(dialect)) => {
            let api = text(case, "api");
            let recording: Value = serde_json::from_slice(body).unwrap_or_default();
            match dialect.decode(status, &headers, body) {
                Ok(answer) => Ok(Value::Object(response(api, &answer, &[recording]))),
                Err(error) if error.category == Category::Malformed => Ok(
                    json!({"malformed": error.message, "finish_reason": "error", "finish_reason_raw": null}),
                ),
                // An answer that is still being made is none; its state is the code of the error.
                Err(error) if error.category == Category::Incomplete => {
                    Ok(Value::Object(pending(api, error.provider_code, recording)))
                }
                Err(error) => Ok(Value::Object(failed(api, &error, recording))),
            }
        }
        ("stream", Format::Chat(dialect)) => stream(case, body, dialect.as_ref()),
        (other, _) => Err(format!("unknown kind {other}")),
    }
}

/// An error with a success status.
fn failed(api: &str, error: &ProviderError, recording: Value) -> Map<String, Value> {
    let recorded = |name| recording.get(name).cloned().unwrap_or_default();
    let (status, reported) = (recorded("status"), recorded("error"));
    let mut fields = pending(api, None, recording);
    fields.insert("finish_reason".into(), json!("error"));
    fields.insert("finish_reason_raw".into(), status);
    fields.insert("response_error".into(), reported);
    fields.insert("stream_error".into(), stream_error(error));
    fields
}

fn pending(api: &str, state: Option<String>, recording: Value) -> Map<String, Value> {
    let text = |name| recording.get(name).and_then(Value::as_str).map(str::to_owned);
    let answer = ChatResponse {
        id: text("id"),
        model: text("model"),
        text: String::new(),
        reasoning: String::new(),
        refusal: None,
        tool_calls: Vec::new(),
        finish: FinishReason::Other,
        finish_raw: state,
        usage: None,
        continuation: None,
    };
    let mut fields = response(api, &answer, &[recording]);
    fields.insert("finish_reason".into(), json!("pending"));
    fields
}

fn vectors(answer: &EmbedResponse) -> Value {
    json!({
        "vectors": answer.vectors.len(),
        "dims": answer.vectors.iter().map(Vec::len).collect::<std::collections::BTreeSet<_>>(),
        "first3": answer.vectors.first().map(|vector| vector.iter().take(3).collect::<Vec<_>>()),
        "model": answer.model,
        "usage": {"input_tokens": answer.usage.and_then(|usage| usage.input_tokens)},
    })
}

fn error(error: &ProviderError, headers: &HeaderMap, body: &[u8]) -> Value {
    let hints = error.hints.iter().map(|hint| {
        let source = match hint.source {
            HintSource::RetryAfterMs => "retry-after-ms",
            HintSource::RetryAfter => "retry-after",
            HintSource::RetryInfo => "google.rpc.RetryInfo",
            HintSource::ResetRequests => "x-ratelimit-reset-requests",
            HintSource::ResetTokens => "x-ratelimit-reset-tokens",
            HintSource::Message => "openai message text",
            _ => "unknown",
        };
        json!({"ms": u64::try_from(hint.after.as_millis()).unwrap_or(u64::MAX), "source": source})
    });
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let policy = error.policy();
    json!({
        "status": error.status,
        "category": error.category.code(),
        "provider_code": error.provider_code,
        "provider_type": error.provider_type,
        "message_prefix": error.message,
        "retry_after_hints": hints.collect::<Vec<_>>(),
        "retry_same_target": policy.retry_same_target,
        "failover_to_other_target": policy.failover_to_other_target,
        "counts_against_target_health": policy.counts_against_target_health,
        // The id is for the log of whoever runs the platform; the contract does not carry it.
        "request_id_present": headers.contains_key("x-request-id") || body.get("request_id").is_some(),
    })
}

/// A decoded answer; `recording` is its parsed body or events, for the facts the contract does not carry.
pub(crate) fn response(api: &str, answer: &ChatResponse, recording: &[Value]) -> Map<String, Value> {
    let recorded = |name: &str| {
        recording.iter().rev().find_map(|event| {
            let inner = event.get("response").and_then(|response| response.get(name));
            event.get(name).or(inner).filter(|value| !value.is_null())
        })
    };
    let calls = answer.tool_calls.iter().map(|call| {
        let arguments = if call.complete { call.json() } else { None };
        json!({"id": call.id, "name": call.name, "arguments": arguments, "complete": call.complete})
    });
    let mut warnings = Vec::new();
    if answer.tool_calls.iter().any(|call| !call.complete) {
        warnings.push("tool arguments are not valid JSON (truncated or merged)");
    }
    if api == "cohere.chat" && any(recording, &|name, value| name == "arguments" && *value == json!("null")) {
        warnings.push("tool arguments were JSON null");
    }
    let seen_again = answer.continuation.as_ref().map(|continuation| continuation.items.as_slice());
    let seen_again = seen_again.unwrap_or_default();
    let usage = answer.usage.map(|usage| {
        let (input, output) = (usage.input_tokens.unwrap_or(0), usage.output_tokens.unwrap_or(0));
        let wire = recorded("usage");
        let wire_count = |name: &str| wire.and_then(|usage| usage.get(name)).and_then(Value::as_u64);
        let exceeds = |part: Option<u64>, whole: Option<u64>| part.unwrap_or(0) > whole.unwrap_or(u64::MAX);
        let mut anomalies = Vec::new();
        if exceeds(usage.cache_read_tokens, usage.input_tokens) {
            anomalies.push("cached_exceeds_prompt");
        }
        if exceeds(usage.reasoning_tokens, usage.output_tokens) {
            anomalies.push("reasoning_exceeds_completion");
        }
        if wire_count("total_tokens").is_some_and(|total| total > input.saturating_add(output)) {
            anomalies.push("total_exceeds_sum");
        }
        json!({
            "input_tokens": usage.input_tokens,
            "cache_read_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "cache_write_1h_tokens": usage.cache_write_1h_tokens,
            "output_tokens": usage.output_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
            "anomalies": anomalies,
            "server_tool_use": wire.and_then(|usage| usage.get("server_tool_use")),
            "billed_input_tokens": billed(recording, "input_tokens"),
            "billed_output_tokens": billed(recording, "output_tokens"),
            "provider_reported_cost": wire.and_then(|usage| usage.get("cost")),
            "provider_reported_cost_in_usd_ticks": wire.and_then(|usage| usage.get("cost_in_usd_ticks")),
        })
    });
    let fields = json!({
        "text": answer.text,
        "reasoning_text": answer.reasoning,
        "refusal": answer.refusal,
        "tool_calls": calls.collect::<Vec<_>>(),
        // The manifest keeps a refusal apart from a filter.
        "finish_reason": match (answer.finish, answer.finish_raw.as_deref()) {
            (FinishReason::ContentFilter, Some("refusal")) => json!("refusal"),
            (finish, _) => json!(finish),
        },
        "finish_reason_raw": answer.finish_raw,
        "usage": usage,
        // What the answer is paid by.
        "counts": answer.usage,
        "model": answer.model,
        "response_id": answer.id,
        "warnings": warnings,
        "choices": recorded("choices").and_then(Value::as_array).map(Vec::len),
        "service_tier": recorded("service_tier"),
        "has_reasoning_signature": any(seen_again, &|name, value| {
            matches!(name, "signature" | "thoughtSignature") && value.as_str().is_some_and(|text| !text.is_empty())
        }),
        "has_redacted_reasoning": any(seen_again, &|name, value| {
            name == "redactedContent" || name == "type" && *value == json!("redacted_thinking")
        }),
        "server_tool_items": server_items(recording),
        "tool_plan": tool_plan(recording),
    });
    fields.as_object().cloned().unwrap_or_default()
}

/// The error as decoded, with the provider's further fields.
pub(crate) fn stream_error(error: &ProviderError) -> Value {
    let mut fields = error.details.as_deref().and_then(Value::as_object).cloned().unwrap_or_default();
    fields.insert("message".into(), json!(error.message));
    if let Some(kind) = &error.provider_type {
        fields.insert("type".into(), json!(kind));
    }
    if let Some(code) = &error.provider_code {
        fields.insert("code".into(), json!(code));
    }
    Value::Object(fields)
}

/// Whether any field of these values, at any depth, is of that kind.
fn any(values: &[Value], wanted: &dyn Fn(&str, &Value) -> bool) -> bool {
    values.iter().any(|value| match value {
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| wanted(name, value) || any(std::slice::from_ref(value), wanted))
        }
        Value::Array(items) => any(items, wanted),
        _ => false,
    })
}

/// What the provider's own tools left in the answer, which the contract does not carry.
fn server_items(recording: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    for event in recording {
        let output = list(event, "output").iter();
        let types = output.chain(event.get("content_block")).map(|item| text(item, "type"));
        found.extend(types.filter(|name| is_server_item(name)).map(str::to_owned));
        for part in list(event, "candidates")
            .iter()
            .flat_map(|one| one.pointer("/content/parts").and_then(Value::as_array).into_iter().flatten())
        {
            let names = part.as_object().into_iter().flat_map(Map::keys);
            found.extend(
                names
                    .filter(|name| matches!(name.as_str(), "executableCode" | "codeExecutionResult"))
                    .cloned(),
            );
        }
    }
    found
}

fn is_server_item(name: &str) -> bool {
    name == "server_tool_use"
        || name.ends_with("_tool_result")
        || name.ends_with("_call") && !matches!(name, "function_call" | "custom_tool_call")
}

/// What Cohere bills, which leaves out its own part of the prompt.
fn billed<'a>(recording: &'a [Value], name: &str) -> Option<&'a Value> {
    recording.iter().rev().find_map(|event| {
        let usage = event.get("usage").or_else(|| event.pointer("/delta/usage"))?;
        usage.get("billed_units")?.get(name)
    })
}

/// The words of Cohere's models before they call tools.
fn tool_plan(recording: &[Value]) -> String {
    let plans = recording.iter().filter_map(|event| {
        event.pointer("/message/tool_plan").or_else(|| event.pointer("/delta/message/tool_plan"))
    });
    plans.filter_map(Value::as_str).collect()
}
