//! A whole answer in pieces.

use agentprovision_core::model::{ChatEvent, ChatResponse};

/// The events of a stream that gives this answer, each part of it in one piece.
pub(super) fn events(response: ChatResponse) -> Vec<ChatEvent> {
    let mut events = Vec::new();
    let ChatResponse {
        id,
        model,
        text,
        reasoning,
        refusal,
        tool_calls,
        finish,
        finish_raw,
        usage,
        continuation,
    } = response;
    if id.is_some() || model.is_some() {
        events.push(ChatEvent::Started { id, model });
    }
    if !reasoning.is_empty() {
        events.push(ChatEvent::Reasoning(reasoning));
    }
    if !text.is_empty() {
        events.push(ChatEvent::Text(text));
    }
    events.extend(refusal.map(ChatEvent::Refusal));
    events.extend(tool_calls.into_iter().enumerate().map(|(index, call)| ChatEvent::ToolCall {
        index,
        id: Some(call.id),
        name: Some(call.name),
        arguments: call.arguments,
    }));
    events.extend(continuation.map(ChatEvent::Continuation));
    events.push(ChatEvent::Finished { reason: finish, raw: finish_raw });
    events.extend(usage.map(ChatEvent::Usage));
    events
}
