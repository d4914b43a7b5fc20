//! The conversation: turns of content blocks.

use agentprovision_core::model::{Content, Message, Source, ToolRequest};
use agentprovision_core::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::ISSUER;
use crate::clip;
use crate::wire::call_ids::CallIds;
use crate::wire::turns::Turns;

const IMAGES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// The instructions and the turns of a conversation.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// Blocks of text.
    pub(super) system: Vec<Value>,
    /// Messages, the user's and the model's in turn.
    pub(super) messages: Vec<Value>,
}

/// The conversation in this format. Instructions go before everything else, wherever they were.
pub(super) fn conversation(messages: &[Message]) -> Result<Conversation> {
    let mut out = Conversation::default();
    let mut turns = Turns::default();
    let mut ids = CallIds::default();
    for (at, message) in messages.iter().enumerate() {
        let (role, results, content) = match message {
            Message::System { text } => {
                out.system.extend(text_block(text));
                continue;
            }
            Message::User { content } => ("user", Vec::new(), user_content(content)?),
            Message::Assistant { text, tool_calls, continuation } => {
                let items = continuation
                    .as_ref()
                    .filter(|continuation| continuation.issuer == ISSUER)
                    .map_or(&[][..], |continuation| &continuation.items);
                let sent: Vec<String> = tool_calls
                    .iter()
                    .enumerate()
                    .map(|(place, call)| ids.call(&call.id, at, place))
                    .collect();
                ("assistant", Vec::new(), assistant_content(text, tool_calls, &sent, items))
            }
            Message::Tool { call_id, content, is_error, .. } => {
                ("user", vec![tool_result(&ids.result(call_id), content, *is_error)], Vec::new())
            }
            _ => return Err(Error::unsupported("the messages format has no form for this kind of message")),
        };
        turns.push(role, results, content);
    }
    out.messages = turns.finish();
    if out.messages.is_empty() {
        return Err(Error::invalid("a request needs at least one message that is no instruction"));
    }
    Ok(out)
}

/// A block of text; none for white space, which the provider refuses.
fn text_block(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({"type": "text", "text": text}))
}

fn user_content(content: &[Content]) -> Result<Vec<Value>> {
    let mut out = Vec::with_capacity(content.len());
    for part in content {
        match part {
            Content::Text { text } => out.extend(text_block(text)),
            Content::Image { media_type, source } => {
                let source = image_source(media_type, source)?;
                out.push(json!({"type": "image", "source": source}));
            }
            Content::Document { media_type, name, source } => {
                let source = document_source(media_type, source)?;
                let mut block = json!({"type": "document", "source": source});
                if let (Some(fields), Some(name)) = (block.as_object_mut(), name) {
                    fields.insert("title".into(), json!(name));
                }
                out.push(block);
            }
            _ => return Err(Error::unsupported("the messages format has no form for this kind of content")),
        }
    }
    if out.is_empty() {
        return Err(Error::invalid("a user's message needs content"));
    }
    Ok(out)
}

fn image_source(media_type: &str, source: &Source) -> Result<Value> {
    match source {
        Source::Url(url) => Ok(json!({"type": "url", "url": url})),
        Source::Base64(data) if IMAGES.contains(&media_type) => {
            Ok(json!({"type": "base64", "media_type": media_type, "data": data}))
        }
        _ => Err(no_form("an image", media_type)),
    }
}

fn document_source(media_type: &str, source: &Source) -> Result<Value> {
    match (media_type, source) {
        ("application/pdf", Source::Url(url)) => Ok(json!({"type": "url", "url": url})),
        ("application/pdf", Source::Base64(data)) => {
            Ok(json!({"type": "base64", "media_type": media_type, "data": data}))
        }
        (_, Source::Base64(data)) if is_text(media_type) => {
            let bytes = STANDARD.decode(data).map_err(|_| Error::invalid("a document is not in base64"))?;
            let text = String::from_utf8(bytes)
                .map_err(|_| Error::invalid(format!("a document of `{}` is not UTF-8", clip(media_type))))?;
            Ok(json!({"type": "text", "media_type": "text/plain", "data": text}))
        }
        (_, Source::Url(_)) => Err(no_form("the address of a document", media_type)),
        _ => Err(no_form("a document", media_type)),
    }
}

/// Whether a document of this type can be read as plain text.
fn is_text(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence.starts_with("text/")
        || matches!(essence, "application/json" | "application/xml" | "application/yaml")
}

fn no_form(what: &str, media_type: &str) -> Error {
    Error::unsupported(format!("the messages format has no form for {what} of `{}`", clip(media_type)))
}

fn tool_result(id: &str, content: &str, is_error: bool) -> Value {
    let mut block = json!({"type": "tool_result", "tool_use_id": id});
    if let Some(fields) = block.as_object_mut() {
        if !content.trim().is_empty() {
            fields.insert("content".into(), json!(content));
        }
        if is_error {
            fields.insert("is_error".into(), json!(true));
            // The provider refuses an error without words.
            fields.entry("content").or_insert(json!("error"));
        }
    }
    block
}

/// The arguments as the provider wants them. It refuses half an argument list; the tool's result says what happened to
/// the call.
fn input(call: &ToolRequest) -> Value {
    call.json().filter(Value::is_object).unwrap_or_else(|| json!({}))
}

/// The blocks of an answer. Those the provider itself gave go back in its order and form, unless text or calls of the
/// message are no longer what they were; then what is neither goes before them.
fn assistant_content(text: &str, calls: &[ToolRequest], ids: &[String], items: &[Value]) -> Vec<Value> {
    let kind = |item: &Value| item.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let of = |wanted: &str| items.iter().filter(|item| kind(item) == wanted).collect::<Vec<_>>();
    let (texts, tools) = (of("text"), of("tool_use"));
    let mut out = Vec::new();
    if !texts.is_empty() || !tools.is_empty() {
        let said: String = texts.iter().filter_map(|item| item.get("text").and_then(Value::as_str)).collect();
        let same_call = |(item, call): (&&Value, &ToolRequest)| {
            item.get("id").and_then(Value::as_str) == Some(call.id.as_str())
                && item.get("name").and_then(Value::as_str) == Some(call.name.as_str())
                && item.get("input") == Some(&input(call))
        };
        // The answer may have had blocks of white space, which were not kept.
        let unspaced = |text: &str| text.split_whitespace().collect::<String>();
        let same = unspaced(&said) == unspaced(text)
            && tools.len() == calls.len()
            && tools.iter().zip(calls).all(same_call)
            && calls.iter().zip(ids).all(|(call, id)| call.id == *id);
        if same {
            return items.to_vec();
        }
    }
    out.extend(items.iter().filter(|item| !matches!(kind(item).as_str(), "text" | "tool_use")).cloned());
    out.extend(text_block(text));
    out.extend(
        calls
            .iter()
            .zip(ids)
            .map(|(call, id)| json!({"type": "tool_use", "id": id, "name": call.name, "input": input(call)})),
    );
    out
}
