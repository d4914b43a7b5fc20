//! What was asked and answered, in the convention's JSON form of messages. Only for hosts that asked for it.

use agentprovision_core::model::{
    ChatEvent, ChatRequest, Content, FinishReason, Message, Source, ToolRequest,
};
use opentelemetry::KeyValue;
use serde_json::{Value, json};

use super::names;
use crate::layers::trace::{Answer, finish_name};

/// The messages and tools of a request. Instructions stand among the messages, because that is where the request has
/// them.
pub(super) fn asked(request: &ChatRequest) -> Vec<KeyValue> {
    let messages: Value = request.messages.iter().filter_map(message).collect();
    let mut out = vec![KeyValue::new(names::INPUT_MESSAGES, messages.to_string())];
    if !request.tools.is_empty() {
        let tools: Value = request
            .tools
            .iter()
            .map(|tool| {
                json!({"type": "function", "name": tool.name, "description": tool.description,
                    "parameters": tool.input_schema})
            })
            .collect();
        out.push(KeyValue::new(names::TOOL_DEFINITIONS, tools.to_string()));
    }
    out
}

/// What was answered, as far as it came.
pub(super) fn answered(answer: &Answer) -> Option<KeyValue> {
    let mut content = answer.content.clone()?;
    // What was there before a failure is told too, with a word for how it ended.
    content.push(&ChatEvent::Finished { reason: FinishReason::Other, raw: None });
    let whole = content.finish().ok()?;
    let mut parts = Vec::new();
    if !whole.reasoning.is_empty() {
        parts.push(json!({"type": "reasoning", "content": whole.reasoning}));
    }
    for text in [Some(whole.text), whole.refusal].into_iter().flatten().filter(|text| !text.is_empty()) {
        parts.push(json!({"type": "text", "content": text}));
    }
    parts.extend(whole.tool_calls.iter().map(call));
    let finish = answer.finish.map_or("error", finish_name);
    let messages = json!([{"role": "assistant", "parts": parts, "finish_reason": finish}]);
    Some(KeyValue::new(names::OUTPUT_MESSAGES, messages.to_string()))
}

fn call(call: &ToolRequest) -> Value {
    // Half an argument list is no JSON; it is told as the text it is.
    let arguments = call.json().unwrap_or_else(|| json!(call.arguments));
    json!({"type": "tool_call", "id": call.id, "name": call.name, "arguments": arguments})
}

fn message(message: &Message) -> Option<Value> {
    let text = |text: &str| json!({"type": "text", "content": text});
    Some(match message {
        Message::System { text: said } => json!({"role": "system", "parts": [text(said)]}),
        Message::User { content } => {
            json!({"role": "user", "parts": content.iter().filter_map(part).collect::<Value>()})
        }
        Message::Assistant { text: said, tool_calls, .. } => {
            let said = (!said.is_empty()).then(|| text(said));
            let parts: Value = said.into_iter().chain(tool_calls.iter().map(call)).collect();
            json!({"role": "assistant", "parts": parts})
        }
        Message::Tool { call_id, content, .. } => {
            json!({"role": "tool", "parts": [{"type": "tool_call_response", "id": call_id, "response": content}]})
        }
        _ => return None,
    })
}

/// A piece of a user's message; of a file, what it is and not its bytes.
fn part(part: &Content) -> Option<Value> {
    let (modality, media_type, source) = match part {
        Content::Text { text } => return Some(json!({"type": "text", "content": text})),
        Content::Image { media_type, source } => ("image", media_type, source),
        Content::Document { media_type, source, .. } => ("document", media_type, source),
        _ => return None,
    };
    Some(match source {
        Source::Url(url) => json!({"type": "uri", "modality": modality, "mime_type": media_type, "uri": url}),
        _ => json!({"type": "blob", "modality": modality, "mime_type": media_type, "content": ""}),
    })
}
