//! Requests.

use agentprovision_core::model::{ChatRequest, Content, Continuation, Message, ToolChoice, ToolRequest};
use agentprovision_core::{Error, Result};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

use super::OpenAiResponses;
use crate::clip;
use crate::wire::call_ids::CallIds;
use crate::wire::json::to_bytes;
use crate::wire::openai_chat::strict::is_strict;
use crate::wire::{Delivery, WireRequest, media};

/// Fields that `extra` may not set: those with a field of their own, `background`, whose answer would have to be asked
/// for again, and what adds a conversation stored at the provider to the one that is sent.
const OWNED: [&str; 8] = [
    "model",
    "input",
    "stream",
    "tools",
    "tool_choice",
    "background",
    "previous_response_id",
    "conversation",
];

pub(super) fn encode(
    request: &ChatRequest,
    delivery: Delivery,
    dialect: &OpenAiResponses,
) -> Result<WireRequest> {
    if request.model.is_empty() {
        return Err(Error::invalid("a request must name a model"));
    }
    if request.messages.is_empty() {
        return Err(Error::invalid("a request needs at least one message"));
    }
    if !request.stop.is_empty() {
        return Err(Error::unsupported("the responses format has no stop sequences"));
    }
    if request.seed.is_some() {
        return Err(Error::unsupported("the responses format has no seed"));
    }
    let mut body = Map::new();
    body.insert("model".into(), json!(request.model));
    body.insert("input".into(), Value::Array(input(request, &dialect.issuer)?));
    tools(request, &mut body)?;
    if let Some(temperature) = request.temperature {
        // JSON has no word for infinity; serde_json would send null.
        if !temperature.is_finite() {
            return Err(Error::invalid("the temperature must be a finite number"));
        }
        body.insert("temperature".into(), json!(temperature));
    }
    if let Some(tokens) = request.max_tokens {
        if tokens == 0 {
            return Err(Error::invalid("the token limit must be at least 1"));
        }
        body.insert("max_output_tokens".into(), json!(tokens));
    }
    if let Some(schema) = &request.output_schema {
        if !schema.is_object() {
            return Err(Error::invalid("the output schema must be a JSON object"));
        }
        let format =
            json!({"type": "json_schema", "name": "answer", "schema": schema, "strict": is_strict(schema)});
        body.insert("text".into(), json!({"format": format}));
    }
    if delivery == Delivery::Streamed {
        body.insert("stream".into(), json!(true));
    }
    extra(request, dialect, &mut body)?;
    let body = to_bytes(&body);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        ACCEPT,
        HeaderValue::from_static(match delivery {
            Delivery::Whole => "application/json",
            Delivery::Streamed => "text/event-stream",
        }),
    );
    Ok(WireRequest { path: "/responses".into(), headers, body: body.into() })
}

fn extra(request: &ChatRequest, dialect: &OpenAiResponses, body: &mut Map<String, Value>) -> Result<()> {
    let refused = |name: &str| Error::invalid(format!("extra fields may not set `{}`", clip(name)));
    for (name, value) in &request.extra {
        match (name.as_str(), body.get_mut(name), value) {
            (name, _, _) if OWNED.contains(&name) => return Err(refused(name)),
            // Beside the form of the answer this field says how long it is to be.
            ("text", Some(Value::Object(own)), Value::Object(more)) if !more.contains_key("format") => {
                own.extend(more.clone());
            }
            (name, Some(_), _) => return Err(refused(name)),
            (name, None, value) => {
                body.insert(name.to_owned(), value.clone());
            }
        }
    }
    if dialect.stateless {
        body.entry("store").or_insert(json!(false));
        body.entry("include").or_insert(json!(["reasoning.encrypted_content"]));
    }
    Ok(())
}

fn input(request: &ChatRequest, issuer: &str) -> Result<Vec<Value>> {
    let mut ids = CallIds::default();
    let mut items = Vec::with_capacity(request.messages.len());
    for (place, message) in request.messages.iter().enumerate() {
        match message {
            Message::System { text } => items.push(json!({"role": "system", "content": text})),
            Message::User { content } => {
                items.push(json!({"role": "user", "content": user_content(content)?}));
            }
            Message::Assistant { text, tool_calls, continuation } => {
                let sent: Vec<String> =
                    tool_calls.iter().zip(0..).map(|(call, at)| ids.call(&call.id, place, at)).collect();
                let own = continuation.as_ref().filter(|continuation| continuation.issuer == issuer);
                match own.and_then(|own| again(own, text, tool_calls, &sent)) {
                    Some(own) => items.extend(own),
                    None => items.extend(plain(text, tool_calls, &sent)),
                }
            }
            Message::Tool { call_id, content, .. } => items.push(json!({
                "type": "function_call_output", "call_id": ids.result(call_id), "output": content,
            })),
            _ => {
                return Err(Error::unsupported("the responses format has no form for this kind of message"));
            }
        }
    }
    Ok(items)
}

fn user_content(content: &[Content]) -> Result<Value> {
    if let [Content::Text { text }] = content {
        return Ok(json!(text));
    }
    if content.is_empty() {
        return Err(Error::invalid("a user's message needs content"));
    }
    content.iter().map(part).collect()
}

fn part(content: &Content) -> Result<Value> {
    Ok(match content {
        Content::Text { text } => json!({"type": "input_text", "text": text}),
        Content::Image { media_type, source } => {
            json!({"type": "input_image", "detail": "auto", "image_url": media::url(media_type, source)?})
        }
        Content::Document { media_type, name, source } => {
            let url = media::url(media_type, source)?;
            if url.starts_with("data:") {
                let name = media::file_name(name.as_deref(), media_type);
                json!({"type": "input_file", "filename": name, "file_data": url})
            } else {
                json!({"type": "input_file", "file_url": url})
            }
        }
        _ => return Err(Error::unsupported("the responses format has no form for this kind of content")),
    })
}

/// An answer in the words that every server of this format reads.
fn plain(text: &str, calls: &[ToolRequest], ids: &[String]) -> Vec<Value> {
    let mut items = Vec::new();
    if !text.is_empty() || calls.is_empty() {
        items.push(json!({"role": "assistant", "content": text}));
    }
    for (call, id) in calls.iter().zip(ids) {
        // Servers refuse a history with half an argument list; the tool's result says what happened to the call.
        let whole = !call.arguments.trim().is_empty() && call.json().is_some();
        let arguments = if whole { call.arguments.as_str() } else { "{}" };
        items
            .push(json!({"type": "function_call", "call_id": id, "name": call.name, "arguments": arguments}));
    }
    items
}

/// The items of an answer as the provider sent them. `None` when the message says something else than they do, or the
/// answer was cut off: then reasoning that belongs to nothing would be refused.
fn again(own: &Continuation, text: &str, calls: &[ToolRequest], ids: &[String]) -> Option<Vec<Value>> {
    let field =
        |item: &Value, name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut said = String::new();
    let mut asked = calls.iter().zip(ids);
    for item in &own.items {
        match field(item, "type").as_str() {
            "message" => {
                for part in item.get("content").and_then(Value::as_array).into_iter().flatten() {
                    said.push_str(part.get("text").and_then(Value::as_str).unwrap_or_default());
                }
            }
            "function_call" => {
                let (call, id) = asked.next()?;
                let same = field(item, "call_id") == *id
                    && field(item, "name") == call.name
                    && field(item, "arguments") == call.arguments;
                if !same || !call.complete {
                    return None;
                }
            }
            _ => {}
        }
    }
    let last = own.items.last().map(|item| field(item, "type"));
    if said != text || asked.next().is_some() || last.is_none_or(|last| last == "reasoning") {
        return None;
    }
    // A field that is null in an answer is not always one of a request.
    let without_nulls = |item: &Value| match item {
        Value::Object(fields) => {
            fields.iter().filter(|(_, value)| !value.is_null()).map(|(k, v)| (k.clone(), v.clone())).collect()
        }
        other => other.clone(),
    };
    Some(own.items.iter().map(without_nulls).collect())
}

fn tools(request: &ChatRequest, body: &mut Map<String, Value>) -> Result<()> {
    let choice = match &request.tool_choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some(json!("none")),
        ToolChoice::Required => Some(json!("required")),
        ToolChoice::Tool(name) => {
            if !request.tools.iter().any(|tool| tool.name == *name) {
                return Err(Error::invalid(format!(
                    "the chosen tool `{}` is not among the tools",
                    clip(name)
                )));
            }
            Some(json!({"type": "function", "name": name}))
        }
        _ => return Err(Error::unsupported("the responses format has no form for this tool choice")),
    };
    if request.tools.is_empty() {
        // Servers refuse `tool_choice` without tools.
        return match request.tool_choice {
            ToolChoice::Required => Err(Error::invalid("a tool call is required but there are no tools")),
            _ => Ok(()),
        };
    }
    let tools = request.tools.iter().map(|tool| {
        // Strict is what OpenAI takes where nothing is said, and it refuses most schemas.
        let mut function = json!({
            "type": "function", "name": tool.name, "parameters": tool.input_schema, "strict": false,
        });
        if let (Some(function), false) = (function.as_object_mut(), tool.description.is_empty()) {
            function.insert("description".into(), json!(tool.description));
        }
        function
    });
    body.insert("tools".into(), tools.collect());
    if let Some(choice) = choice {
        body.insert("tool_choice".into(), choice);
    }
    Ok(())
}
