//! Whole answers. A message is turned into the events a stream would have given, so that both ways agree.

use agentprovision_core::model::{ChatAssembler, ChatEvent, ChatResponse};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::blocks::Answer;
use super::classify;
use super::usage::usage;
use crate::wire::{Category, ProviderError};

pub(super) fn decode(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<ChatResponse, ProviderError> {
    if !status.is_success() {
        return Err(classify::classify(status, headers, body));
    }
    let malformed =
        |words: String| ProviderError::new(Category::Malformed, format!("HTTP {} {words}", status.as_u16()));
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| malformed(format!("whose body is not JSON: {error}")))?;
    let mut assembler = ChatAssembler::new();
    let events = whole(&body).map_err(|error| match error.category {
        Category::Malformed => malformed(error.message),
        _ => error,
    })?;
    for event in events {
        assembler.push(&event);
    }
    assembler.finish().map_err(|error| ProviderError::new(Category::Incomplete, error.to_string()))
}

/// The events of a whole answer.
pub(super) fn whole(body: &Value) -> Result<Vec<ChatEvent>, ProviderError> {
    if let Some(error) = classify::embedded(body) {
        return Err(error);
    }
    let content = body.pointer("/output/message/content").and_then(Value::as_array);
    let raw = body.get("stopReason").and_then(Value::as_str);
    // A guardrail may leave nothing but the reason.
    if content.is_none() && raw.is_none() {
        return Err(ProviderError::new(Category::Malformed, "JSON without a message"));
    }
    let mut out = Vec::new();
    let mut answer = Answer::default();
    for block in content.into_iter().flatten() {
        answer.whole_block(block, &mut out);
    }
    out.extend(usage(body).map(ChatEvent::Usage));
    answer.finish(raw, &mut out);
    Ok(out)
}
