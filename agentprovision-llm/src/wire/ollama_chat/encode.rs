//! Requests.

use agentprovision_core::model::{ChatRequest, Content, Message, Source, ToolChoice};
use agentprovision_core::{Error, Result};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

use crate::clip;
use crate::wire::call_ids::CallIds;
use crate::wire::functions::function;
use crate::wire::json::to_bytes;
use crate::wire::schema::{Rules, reduce};
use crate::wire::{Delivery, WireRequest};

/// Fields that `extra` may not set, because they have a field of their own.
const OWNED: [&str; 5] = ["model", "messages", "stream", "tools", "format"];

/// What the server keeps of a tool's schema; the rest it throws away, so references are followed here.
const RULES: Rules = Rules {
    format: "Ollama's format",
    keywords: &["type", "description", "enum", "items", "anyOf", "properties", "required"],
    references: false,
};

pub(super) fn encode(request: &ChatRequest, delivery: Delivery) -> Result<WireRequest> {
    if request.model.is_empty() {
        return Err(Error::invalid("a request must name a model"));
    }
    // Without messages the server loads or unloads the model instead of answering.
    if request.messages.is_empty() {
        return Err(Error::invalid("a request needs at least one message"));
    }
    let mut body = Map::new();
    body.insert("model".into(), json!(request.model));
    let mut ids = CallIds::default();
    let messages = request.messages.iter().enumerate();
    body.insert(
        "messages".into(),
        messages.map(|(at, item)| message(at, item, &mut ids)).collect::<Result<Value>>()?,
    );
    // The server streams unless told not to.
    body.insert("stream".into(), json!(delivery == Delivery::Streamed));
    tools(request, &mut body)?;
    if let Some(schema) = &request.output_schema {
        if !schema.is_object() {
            return Err(Error::invalid("the output schema must be a JSON object"));
        }
        body.insert("format".into(), schema.clone());
    }
    let options = options(request)?;
    if !options.is_empty() {
        body.insert("options".into(), Value::Object(options));
    }
    for (name, value) in &request.extra {
        if OWNED.contains(&name.as_str()) {
            return Err(Error::invalid(format!("extra fields may not set `{}`", clip(name))));
        }
        if name != "options" {
            body.insert(name.clone(), value.clone());
        }
    }
    let body = to_bytes(&body);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(
        ACCEPT,
        HeaderValue::from_static(match delivery {
            Delivery::Whole => "application/json",
            Delivery::Streamed => "application/x-ndjson",
        }),
    );
    Ok(WireRequest { path: "/api/chat".into(), headers, body: body.into() })
}

fn options(request: &ChatRequest) -> Result<Map<String, Value>> {
    let mut options = Map::new();
    if let Some(temperature) = request.temperature {
        // JSON has no word for infinity; serde_json would send null.
        if !temperature.is_finite() {
            return Err(Error::invalid("the temperature must be a finite number"));
        }
        options.insert("temperature".into(), json!(temperature));
    }
    if let Some(tokens) = request.max_tokens {
        if tokens == 0 {
            return Err(Error::invalid("the token limit must be at least 1"));
        }
        options.insert("num_predict".into(), json!(tokens));
    }
    if !request.stop.is_empty() {
        options.insert("stop".into(), json!(request.stop));
    }
    if let Some(seed) = request.seed {
        options.insert("seed".into(), json!(seed));
    }
    if let Some(extra) = request.extra.get("options") {
        let extra = extra.as_object().ok_or_else(|| Error::invalid("`options` must be an object"))?;
        for (name, value) in extra {
            if options.contains_key(name) {
                return Err(Error::invalid(format!("extra fields may not set `options.{}`", clip(name))));
            }
            options.insert(name.clone(), value.clone());
        }
    }
    Ok(options)
}

fn message<'a>(at: usize, message: &'a Message, ids: &mut CallIds<'a>) -> Result<Value> {
    Ok(match message {
        Message::System { text } => json!({"role": "system", "content": text}),
        Message::User { content } => user(content)?,
        Message::Assistant { text, tool_calls, .. } => {
            let mut out = json!({"role": "assistant", "content": text});
            let calls = tool_calls.iter().enumerate().map(|(place, call)| {
                // Half an argument list cannot be sent; the tool's result says what happened to the call.
                let arguments = call.json().filter(Value::is_object).unwrap_or_else(|| json!({}));
                let function = json!({"index": place, "name": call.name, "arguments": arguments});
                json!({"id": ids.call(&call.id, at, place), "function": function})
            });
            let calls: Vec<Value> = calls.collect();
            if let (Some(fields), false) = (out.as_object_mut(), calls.is_empty()) {
                fields.insert("tool_calls".into(), json!(calls));
            }
            out
        }
        Message::Tool { call_id, name, content, .. } => {
            json!({"role": "tool", "content": content, "tool_name": name, "tool_call_id": ids.result(call_id)})
        }
        _ => return Err(Error::unsupported("Ollama's format has no form for this kind of message")),
    })
}

/// Texts become one, because a message has one; pictures go beside them.
fn user(content: &[Content]) -> Result<Value> {
    if content.is_empty() {
        return Err(Error::invalid("a user's message needs content"));
    }
    let (mut texts, mut images) = (Vec::new(), Vec::new());
    for part in content {
        match part {
            Content::Text { text } => texts.push(text.as_str()),
            Content::Image { source: Source::Base64(data), .. } => images.push(data.as_str()),
            Content::Image { .. } => {
                return Err(Error::unsupported("Ollama's format has no form for an image by URL"));
            }
            Content::Document { .. } => {
                return Err(Error::unsupported("Ollama's format has no form for a document"));
            }
            _ => return Err(Error::unsupported("Ollama's format has no form for this kind of content")),
        }
    }
    let mut out = json!({"role": "user", "content": texts.join("\n\n")});
    if let (Some(fields), false) = (out.as_object_mut(), images.is_empty()) {
        fields.insert("images".into(), json!(images));
    }
    Ok(out)
}

fn tools(request: &ChatRequest, body: &mut Map<String, Value>) -> Result<()> {
    match &request.tool_choice {
        ToolChoice::Auto => {}
        // There is no field for it, but a model that knows of no tool calls none.
        ToolChoice::None => return Ok(()),
        ToolChoice::Required if request.tools.is_empty() => {
            return Err(Error::invalid("a tool call is required but there are no tools"));
        }
        _ => return Err(Error::unsupported("Ollama's format has no form for a tool call that is required")),
    }
    if request.tools.is_empty() {
        return Ok(());
    }
    let mut tools = Vec::with_capacity(request.tools.len());
    for tool in &request.tools {
        let mut schema = reduce(&tool.input_schema, &RULES)
            .map_err(|error| error.with_context("tool", clip(&tool.name)))?;
        if let Some(fields) = schema.as_object_mut() {
            // The server reads both of every tool.
            fields.entry("type").or_insert_with(|| json!("object"));
            fields.entry("properties").or_insert_with(|| json!({}));
        }
        tools.push(function(tool, &schema));
    }
    body.insert("tools".into(), json!(tools));
    Ok(())
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;
    use agentprovision_core::model::{ToolDefinition, ToolRequest};

    use super::*;

    fn body(request: &ChatRequest, delivery: Delivery) -> Value {
        let wire = encode(request, delivery).unwrap();
        assert_eq!(wire.path, "/api/chat");
        serde_json::from_slice(&wire.body).unwrap()
    }

    fn refused(change: impl FnOnce(&mut ChatRequest)) -> Error {
        let mut request = ChatRequest::new("m", vec![Message::user("hi")]);
        change(&mut request);
        encode(&request, Delivery::Whole).unwrap_err()
    }

    fn tool(schema: Value) -> ToolDefinition {
        ToolDefinition { name: "t".into(), description: "adds".into(), input_schema: schema }
    }

    #[test]
    fn a_small_request_says_nothing_more_than_it_must() {
        let request = ChatRequest::new("m", vec![Message::user("hi")]);
        let expected =
            json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": false});
        assert_eq!(body(&request, Delivery::Whole), expected);
        let wire = encode(&request, Delivery::Streamed).unwrap();
        assert_eq!(wire.headers.get(ACCEPT).unwrap(), "application/x-ndjson");
    }

    #[test]
    fn a_full_request_has_every_field_in_its_place() {
        let call = |id: &str, arguments: &str| ToolRequest {
            id: id.into(),
            name: "t".into(),
            arguments: arguments.into(),
            complete: true,
        };
        let result = |id: &str| Message::Tool {
            call_id: id.into(),
            name: "t".into(),
            content: "2".into(),
            is_error: false,
        };
        let image = Content::Image { media_type: "image/png".into(), source: Source::Base64("QUJD".into()) };
        let mut request = ChatRequest::new(
            "m",
            vec![
                Message::system("be brief"),
                Message::User {
                    content: vec![
                        Content::Text { text: "a".into() },
                        image,
                        Content::Text { text: "b".into() },
                    ],
                },
                Message::Assistant {
                    text: "so".into(),
                    tool_calls: vec![call("c1", "{\"x\": 1}"), call("", "{\"x")],
                    continuation: None,
                },
                result("c1"),
                result(""),
                Message::assistant("done"),
            ],
        );
        request.tools = vec![tool(json!({"properties": {"x": {"$ref": "#/$defs/X"}, "y": true},
            "$defs": {"X": {"type": "integer", "minimum": 1}}}))];
        request.temperature = Some(0.5);
        request.max_tokens = Some(100);
        request.output_schema = Some(json!({"type": "object", "$schema": "x"}));
        request.stop = vec!["END".into()];
        request.seed = Some(-7);
        request.extra.insert("think".into(), json!(true));
        request.extra.insert("options".into(), json!({"num_ctx": 8192}));
        let sent = |id: &str, index: u64, arguments: Value| json!({"id": id, "function": {"index": index, "name": "t", "arguments": arguments}});
        let expected = json!({
            "model": "m",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "a\n\nb", "images": ["QUJD"]},
                {"role": "assistant", "content": "so", "tool_calls":
                    [sent("c1", 0, json!({"x": 1})), sent("call_2_1", 1, json!({}))]},
                {"role": "tool", "content": "2", "tool_name": "t", "tool_call_id": "c1"},
                {"role": "tool", "content": "2", "tool_name": "t", "tool_call_id": "call_2_1"},
                {"role": "assistant", "content": "done"},
            ],
            "stream": true,
            "tools": [{"type": "function", "function": {"name": "t", "description": "adds", "parameters":
                {"type": "object", "properties": {"x": {"type": "integer"}, "y": {}}}}}],
            "format": {"type": "object", "$schema": "x"},
            "options": {"temperature": 0.5, "num_predict": 100, "stop": ["END"], "seed": -7, "num_ctx": 8192},
            "think": true,
        });
        assert_eq!(body(&request, Delivery::Streamed), expected);
        request.tool_choice = ToolChoice::None;
        assert_eq!(body(&request, Delivery::Whole).get("tools"), None);
    }

    #[test]
    fn what_cannot_be_said_is_refused_with_a_reason() {
        assert!(refused(|r| r.model.clear()).is(ErrorKind::InvalidInput));
        assert!(refused(|r| r.messages.clear()).is(ErrorKind::InvalidInput));
        assert!(
            refused(|r| r.messages = vec![Message::User { content: Vec::new() }]).is(ErrorKind::InvalidInput)
        );
        assert!(refused(|r| r.temperature = Some(f64::NAN)).is(ErrorKind::InvalidInput));
        assert!(refused(|r| r.max_tokens = Some(0)).is(ErrorKind::InvalidInput));
        assert!(refused(|r| r.output_schema = Some(json!(true))).is(ErrorKind::InvalidInput));
        assert!(refused(|r| r.tool_choice = ToolChoice::Required).is(ErrorKind::InvalidInput));
        assert!(refused(|r| r.tools = vec![tool(json!({"not": {}}))]).message().contains("`not`"));
        let url =
            Content::Image { media_type: "image/png".into(), source: Source::Url("https://h/x".into()) };
        assert!(
            refused(|r| r.messages = vec![Message::User { content: vec![url] }])
                .message()
                .contains("image by URL")
        );
        for choice in [ToolChoice::Required, ToolChoice::Tool("t".into())] {
            let error = refused(|r| {
                r.tools = vec![tool(json!({}))];
                r.tool_choice = choice;
            });
            assert!(error.is(ErrorKind::Unsupported), "{error}");
        }
        for name in OWNED {
            let error = refused(|r| drop(r.extra.insert(name.into(), json!(2))));
            assert_eq!(error.to_string(), format!("extra fields may not set `{name}`"));
        }
        let error = refused(|r| {
            r.seed = Some(1);
            r.extra.insert("options".into(), json!({"seed": 2}));
        });
        assert_eq!(error.to_string(), "extra fields may not set `options.seed`");
    }
}
