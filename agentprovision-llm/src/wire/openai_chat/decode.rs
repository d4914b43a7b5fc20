//! Whole answers. A message is turned into the events a stream would have given, so that both ways agree.

use agentprovision_core::model::{ChatAssembler, ChatEvent, ChatResponse, FinishReason};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::again::Again;
use super::stream::{Calls, events_of};
use super::usage::of_answer;
use super::{classify, usual};
use crate::wire::{Category, ProviderError};

pub(super) fn decode(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    again: Option<Again>,
) -> Result<ChatResponse, ProviderError> {
    if !status.is_success() {
        return Err(classify::classify(status, headers, body));
    }
    let malformed =
        |words: String| ProviderError::new(Category::Malformed, format!("HTTP {} {words}", status.as_u16()));
    // What a provider wants to see again is kept as it came.
    let usual = if again.is_none() { usual::whole(body) } else { None };
    let events = match usual {
        Some(events) => events,
        None => {
            let body: Value = serde_json::from_slice(body)
                .map_err(|error| malformed(format!("whose body is not JSON: {error}")))?;
            whole(&body, again).map_err(|error| match error.category {
                Category::Malformed => malformed(error.message),
                _ => error,
            })?
        }
    };
    let mut assembler = ChatAssembler::new();
    for event in events {
        assembler.push(&event);
    }
    assembler.finish().map_err(|error| ProviderError::new(Category::Incomplete, error.to_string()))
}

/// The events of a whole answer.
pub(super) fn whole(body: &Value, again: Option<Again>) -> Result<Vec<ChatEvent>, ProviderError> {
    if let Some(error) = classify::embedded(body) {
        return Err(error);
    }
    let choices = body.get("choices").and_then(Value::as_array);
    let Some(choice) = choices.and_then(|choices| choices.first()) else {
        return Err(ProviderError::new(Category::Malformed, "JSON without choices"));
    };
    if let Some(error) = classify::embedded(choice) {
        return Err(error);
    }
    let message = choice.get("message").filter(|message| message.is_object());
    let raw = choice.get("finish_reason").and_then(Value::as_str).filter(|raw| !raw.is_empty());
    // A content filter may leave nothing but the reason.
    if message.is_none() && raw.is_none() {
        return Err(ProviderError::new(Category::Malformed, "JSON without a message in its first choice"));
    }
    let mut out = Vec::new();
    let text =
        |name| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    out.push(ChatEvent::Started { id: text("id"), model: text("model") });
    if let Some(message) = message {
        events_of(message, &mut Calls::default(), &mut out);
        let again = again.and_then(|mut again| {
            again.see(message);
            again.continuation()
        });
        out.extend(again.map(ChatEvent::Continuation));
    }
    out.extend(of_answer(body).map(ChatEvent::Usage));
    out.push(finished(raw)?);
    Ok(out)
}

/// The event of a finish reason.
pub(super) fn finished(raw: Option<&str>) -> Result<ChatEvent, ProviderError> {
    let reason = match raw {
        Some("stop" | "eos" | "eos_token" | "end_turn" | "stop_sequence") => FinishReason::Stop,
        Some("length" | "max_tokens" | "max_output_tokens" | "model_length") => FinishReason::Length,
        Some("tool_calls" | "function_call" | "tool_use") => FinishReason::ToolCalls,
        Some("content_filter" | "safety") => FinishReason::ContentFilter,
        // These end the stream, not the answer.
        Some(raw @ ("error" | "abort" | "aborted")) => {
            return Err(ProviderError::new(Category::ServerError, format!("the answer ended with `{raw}`")));
        }
        Some(raw @ "insufficient_system_resource") => {
            return Err(ProviderError::new(Category::Overloaded, format!("the answer ended with `{raw}`")));
        }
        _ => FinishReason::Other,
    };
    Ok(ChatEvent::Finished { reason, raw: raw.map(str::to_owned) })
}
