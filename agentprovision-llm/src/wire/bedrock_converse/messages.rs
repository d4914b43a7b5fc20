//! The conversation: turns of content blocks.

use std::collections::HashSet;

use agentprovision_core::model::{Content, Message, Source, ToolRequest};
use agentprovision_core::{Error, Result};
use serde_json::{Value, json};

use super::ISSUER;
use crate::clip;
use crate::wire::call_ids::CallIds;
use crate::wire::turns::Turns;

/// The instructions and the turns of a conversation.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// Blocks of text.
    pub(super) system: Vec<Value>,
    /// Messages, the user's and the model's in turn.
    pub(super) messages: Vec<Value>,
    /// The tools the conversation tells of, in order.
    pub(super) tools: Vec<String>,
}

/// The conversation in this format. Instructions go before everything else, wherever they were.
pub(super) fn conversation(messages: &[Message]) -> Result<Conversation> {
    let mut out = Conversation::default();
    let mut turns = Turns::default();
    let mut ids = CallIds::default();
    let mut names = HashSet::new();
    for (at, message) in messages.iter().enumerate() {
        match message {
            Message::System { text } => out.system.extend(text_block(text)),
            Message::User { content } => {
                turns.push("user", Vec::new(), user_content(content, &mut names)?);
            }
            Message::Assistant { text, tool_calls, continuation } => {
                let items = continuation
                    .as_ref()
                    .filter(|continuation| continuation.issuer == ISSUER)
                    .map_or(&[][..], |continuation| &continuation.items);
                let mut sent = Vec::with_capacity(tool_calls.len());
                for (place, call) in tool_calls.iter().enumerate() {
                    sent.push(ids.call(&call.id, at, place));
                    if !out.tools.contains(&call.name) {
                        out.tools.push(call.name.clone());
                    }
                }
                turns.push("assistant", Vec::new(), assistant_content(text, tool_calls, &sent, items));
            }
            Message::Tool { call_id, content, is_error, .. } => {
                turns.push("user", vec![tool_result(&ids.result(call_id), content, *is_error)], Vec::new());
            }
            _ => return Err(Error::unsupported("the converse format has no form for this kind of message")),
        }
    }
    out.messages = turns.finish();
    if out.messages.is_empty() {
        return Err(Error::invalid("a request needs at least one message that is no instruction"));
    }
    Ok(out)
}

/// A block of text; none for white space, which the provider refuses.
fn text_block(text: &str) -> Option<Value> {
    (!text.trim().is_empty()).then(|| json!({"text": text}))
}

fn user_content(content: &[Content], names: &mut HashSet<String>) -> Result<Vec<Value>> {
    let mut out = Vec::with_capacity(content.len());
    for part in content {
        match part {
            Content::Text { text } => out.extend(text_block(text)),
            Content::Image { media_type, source } => {
                let format = match media_type.as_str() {
                    "image/png" => "png",
                    "image/jpeg" => "jpeg",
                    "image/gif" => "gif",
                    "image/webp" => "webp",
                    _ => return Err(no_form("an image", media_type)),
                };
                let source = file(source, "an image")?;
                out.push(json!({"image": {"format": format, "source": source}}));
            }
            Content::Document { media_type, name, source } => {
                let format = document_format(media_type)?;
                let source = file(source, "a document")?;
                let name = document_name(name.as_deref(), names);
                out.push(json!({"document": {"format": format, "name": name, "source": source}}));
            }
            _ => return Err(Error::unsupported("the converse format has no form for this kind of content")),
        }
    }
    if out.is_empty() {
        return Err(Error::invalid("a user's message needs content"));
    }
    if out.iter().any(|block| block.get("document").is_some())
        && !out.iter().any(|block| block.get("text").is_some())
    {
        return Err(Error::invalid("the converse format takes a document only with a text beside it"));
    }
    Ok(out)
}

/// The bytes of a file, or where they are: the provider fetches from its own storage only.
fn file(source: &Source, what: &str) -> Result<Value> {
    match source {
        Source::Base64(data) => Ok(json!({"bytes": data})),
        Source::Url(url) if url.starts_with("s3://") => Ok(json!({"s3Location": {"uri": url}})),
        _ => Err(Error::unsupported(format!(
            "the converse format has no form for the address of {what} but `s3://`"
        ))),
    }
}

fn document_format(media_type: &str) -> Result<&'static str> {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    Ok(match essence {
        "application/pdf" => "pdf",
        "text/csv" => "csv",
        "text/html" => "html",
        "text/markdown" => "md",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        "application/json" | "application/xml" | "application/yaml" => "txt",
        text if text.starts_with("text/") => "txt",
        _ => return Err(no_form("a document", media_type)),
    })
}

/// A name of letters, digits, single spaces, hyphens and brackets, which no other document of the request has.
fn document_name(name: Option<&str>, names: &mut HashSet<String>) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '(' | ')' | '[' | ']');
    let words = name.unwrap_or_default().split_whitespace();
    let plain: Vec<String> =
        words.map(|word| word.chars().map(|c| if allowed(c) { c } else { '-' }).collect()).collect();
    let plain: String = plain.join(" ").chars().take(150).collect();
    let base = if plain.is_empty() { "document".to_owned() } else { plain };
    let mut out = base.clone();
    let mut number = 1;
    while !names.insert(out.clone()) {
        number += 1;
        out = format!("{base} ({number})");
    }
    out
}

fn no_form(what: &str, media_type: &str) -> Error {
    Error::unsupported(format!("the converse format has no form for {what} of `{}`", clip(media_type)))
}

fn tool_result(id: &str, content: &str, is_error: bool) -> Value {
    // Models refuse an error without words.
    let words = text_block(content).or_else(|| is_error.then(|| json!({"text": "error"})));
    let content: Vec<Value> = words.into_iter().collect();
    let mut result = json!({"toolUseId": id, "content": content});
    if let (Some(fields), true) = (result.as_object_mut(), is_error) {
        // Not every model takes the status, so it is only said where it matters.
        fields.insert("status".into(), json!("error"));
    }
    json!({"toolResult": result})
}

/// The arguments as the provider wants them. It refuses half an argument list; the tool's result says what happened to
/// the call.
fn input(call: &ToolRequest) -> Value {
    call.json().filter(Value::is_object).unwrap_or_else(|| json!({}))
}

/// The blocks of an answer. Those the provider itself gave go back in its order and form, unless text or calls of the
/// message are no longer what they were; then what is neither goes before them.
fn assistant_content(text: &str, calls: &[ToolRequest], ids: &[String], items: &[Value]) -> Vec<Value> {
    let texts: Vec<&str> = items.iter().filter_map(|item| item.get("text")?.as_str()).collect();
    let tools: Vec<&Value> = items.iter().filter_map(client_tool).collect();
    if !texts.is_empty() || !tools.is_empty() {
        let same_call = |(tool, call): (&&Value, &ToolRequest)| {
            tool.get("toolUseId").and_then(Value::as_str) == Some(call.id.as_str())
                && tool.get("name").and_then(Value::as_str) == Some(call.name.as_str())
                && tool.get("input") == Some(&input(call))
        };
        // The answer may have had blocks of white space, which were not kept.
        let unspaced = |text: &str| text.split_whitespace().collect::<String>();
        let same = unspaced(&texts.concat()) == unspaced(text)
            && tools.len() == calls.len()
            && tools.iter().zip(calls).all(same_call)
            && calls.iter().zip(ids).all(|(call, id)| call.id == *id);
        if same {
            return items.to_vec();
        }
    }
    let special = |item: &&Value| item.get("text").is_none() && client_tool(item).is_none();
    let calls = calls
        .iter()
        .zip(ids)
        .map(|(call, id)| json!({"toolUse": {"toolUseId": id, "name": call.name, "input": input(call)}}));
    items.iter().filter(special).cloned().chain(text_block(text)).chain(calls).collect()
}

/// The call of one of the caller's tools.
fn client_tool(item: &Value) -> Option<&Value> {
    let tool = item.get("toolUse")?;
    (tool.get("type").and_then(Value::as_str) != Some("server_tool_use")).then_some(tool)
}
