//! The conversation of a request.

use agentprovision_core::model::{Content, Continuation, Message, Source, ToolRequest};
use agentprovision_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::Host;
use crate::wire::call_ids::CallIds;

/// What Google takes in place of a signature for a call it did not sign (guide on thought signatures).
const UNSIGNED: &str = "skip_thought_signature_validator";

/// A conversation in Google's form.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// The parts of the system instruction: there is one place for all of them, wherever they stood.
    pub(super) system: Vec<Value>,
    /// The turns.
    pub(super) contents: Vec<Value>,
}

/// A call of the last answer, which results are told apart by.
struct Called {
    /// An id no other call has: Google gives none to most.
    id: String,
    name: String,
    /// The id Google gave it.
    wire_id: Option<Value>,
}

pub(super) fn conversation(messages: &[Message], model: &str, host: Host) -> Result<Conversation> {
    let mut out = Conversation::default();
    let mut ids = CallIds::default();
    let mut called: Vec<Called> = Vec::new();
    let mut results: Vec<(usize, Value)> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        if !matches!(message, Message::Tool { .. }) {
            end_results(&mut results, &mut out);
        }
        match message {
            Message::System { text } => out.system.push(json!({"text": text})),
            Message::User { content } => {
                if content.is_empty() {
                    return Err(Error::invalid("a user's message needs content"));
                }
                let parts = content.iter().map(part).collect::<Result<Vec<_>>>()?;
                out.contents.push(json!({"role": "user", "parts": parts}));
            }
            Message::Assistant { text, tool_calls, continuation } => {
                let own = continuation.as_ref().filter(|continuation| continuation.issuer == host.issuer());
                let mut parts = answer(text, tool_calls, own);
                if checks_signatures(model) {
                    sign_first_call(&mut parts);
                }
                let wire = parts.iter().filter_map(|part| part.get("functionCall"));
                called = tool_calls
                    .iter()
                    .zip(wire)
                    .enumerate()
                    .map(|(place, (call, wire))| Called {
                        id: ids.call(&call.id, at, place),
                        name: call.name.clone(),
                        wire_id: wire.get("id").cloned(),
                    })
                    .collect();
                if !parts.is_empty() {
                    out.contents.push(json!({"role": "model", "parts": parts}));
                }
            }
            Message::Tool { call_id, name, content, is_error } => {
                let id = ids.result(call_id);
                let place = called.iter().position(|call| call.id == id);
                let call = place.and_then(|place| called.get(place));
                let name = if name.is_empty() { call.map_or("", |call| &call.name) } else { name };
                if name.is_empty() {
                    return Err(Error::invalid("the result of a tool must name the tool"));
                }
                let mut response = json!({"name": name, "response": result(content, *is_error)});
                if let (Some(id), Some(fields)) =
                    (call.and_then(|call| call.wire_id.clone()), response.as_object_mut())
                {
                    fields.insert("id".into(), id);
                }
                results.push((place.unwrap_or(usize::MAX), json!({"functionResponse": response})));
            }
            _ => return Err(Error::unsupported("Google's format has no form for this kind of message")),
        }
    }
    end_results(&mut results, &mut out);
    Ok(out)
}

/// The results of one answer's calls go together, in the order of the calls: without ids only their places tell which
/// is which.
fn end_results(results: &mut Vec<(usize, Value)>, out: &mut Conversation) {
    if results.is_empty() {
        return;
    }
    results.sort_by_key(|(place, _)| *place);
    let parts: Vec<Value> = results.drain(..).map(|(_, part)| part).collect();
    out.contents.push(json!({"role": "user", "parts": parts}));
}

/// A result is an object with `output` or `error`.
fn result(content: &str, is_error: bool) -> Value {
    let name = if is_error { "error" } else { "output" };
    let value = serde_json::from_str(content).unwrap_or_else(|_| json!(content));
    Value::Object(Map::from_iter([(name.to_owned(), value)]))
}

fn part(content: &Content) -> Result<Value> {
    let file = |media_type: &str, source: &Source| {
        if media_type.is_empty() {
            return Err(Error::invalid("an image or document needs a media type"));
        }
        Ok(match source {
            Source::Base64(data) => json!({"inlineData": {"mimeType": media_type, "data": data}}),
            Source::Url(url) => json!({"fileData": {"mimeType": media_type, "fileUri": url}}),
            _ => return Err(Error::unsupported("Google's format has no form for this source of a file")),
        })
    };
    match content {
        Content::Text { text } => Ok(json!({"text": text})),
        Content::Image { media_type, source } | Content::Document { media_type, source, .. } => {
            file(media_type, source)
        }
        _ => Err(Error::unsupported("Google's format has no form for this kind of content")),
    }
}

/// The parts of an answer: as Google sent them, where they still say what the message says.
fn answer(text: &str, calls: &[ToolRequest], continuation: Option<&Continuation>) -> Vec<Value> {
    let items = continuation.map(|continuation| continuation.items.as_slice()).unwrap_or_default();
    let signed = |part: &&Value| part.get("functionCall").is_some();
    let same = items.iter().filter(signed).count() == calls.len()
        && items.iter().filter(signed).zip(calls).all(|(part, call)| is_call(part, call))
        && text_of(items) == text;
    if !items.is_empty() && same {
        return items.to_vec();
    }
    let mut parts = Vec::new();
    if !text.is_empty() {
        parts.push(json!({"text": text}));
    }
    // The message was changed since; the calls that are left keep their signatures.
    let mut left: Vec<&Value> = items.iter().filter(signed).collect();
    for call in calls {
        let kept = left.iter().position(|part| is_call(part, call)).map(|at| left.remove(at).clone());
        parts.push(
            kept.unwrap_or_else(|| json!({"functionCall": {"name": call.name, "args": arguments(call)}})),
        );
    }
    parts
}

fn text_of(items: &[Value]) -> String {
    let thought = |part: &&Value| part.get("thought").and_then(Value::as_bool) == Some(true);
    items.iter().filter(|part| !thought(part)).filter_map(|part| part.get("text")?.as_str()).collect()
}

fn is_call(part: &Value, call: &ToolRequest) -> bool {
    let wire = part.get("functionCall");
    let field = |name| wire.and_then(|wire| wire.get(name));
    let args = field("args").cloned().unwrap_or_else(|| json!({}));
    field("name").and_then(Value::as_str) == Some(&call.name) && args == arguments(call)
}

/// The arguments as an object. Half an argument list cannot be sent; the tool's result says what happened to the call.
fn arguments(call: &ToolRequest) -> Value {
    call.json().filter(Value::is_object).unwrap_or_else(|| json!({}))
}

/// Whether a model refuses calls without a signature: Gemini 3 and later.
fn checks_signatures(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    name.starts_with("gemini-") && !["gemini-1", "gemini-2"].iter().any(|old| name.starts_with(old))
}

/// Of the calls of one answer only the first carries a signature.
fn sign_first_call(parts: &mut [Value]) {
    let first = parts.iter_mut().find(|part| part.get("functionCall").is_some());
    if let Some(first) = first.and_then(Value::as_object_mut) {
        first.entry("thoughtSignature").or_insert_with(|| json!(UNSIGNED));
    }
}
