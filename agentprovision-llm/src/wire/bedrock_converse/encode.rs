//! Requests.

use agentprovision_core::http::sigv4::encode as percent;
use agentprovision_core::model::{ChatRequest, ToolChoice};
use agentprovision_core::{Error, Result};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

use super::messages::{Conversation, conversation};
use crate::clip;
use crate::wire::json::to_bytes;
use crate::wire::{Delivery, WireRequest, strict_schema};

/// Fields that `extra` may not set, because the rest of the platform relies on them or they have a field of their own.
const OWNED: [&str; 4] = ["modelId", "messages", "system", "toolConfig"];

pub(super) fn encode(request: &ChatRequest, delivery: Delivery, cache_points: bool) -> Result<WireRequest> {
    if request.model.is_empty() {
        return Err(Error::invalid("a request must name a model"));
    }
    if request.messages.is_empty() {
        return Err(Error::invalid("a request needs at least one message"));
    }
    let mut conversation = conversation(&request.messages)?;
    let mut tools = tools(request, &conversation)?;
    if cache_points {
        add_cache_points(&mut conversation, tools.as_mut());
    }
    let mut body = Map::new();
    body.insert("messages".into(), Value::Array(conversation.messages));
    if !conversation.system.is_empty() {
        body.insert("system".into(), Value::Array(conversation.system));
    }
    if let Some(tools) = tools {
        body.insert("toolConfig".into(), Value::Object(tools));
    }
    if request.seed.is_some() {
        return Err(Error::unsupported(
            "the converse format has no `seed`; a model that has one takes it in `additionalModelRequestFields`",
        ));
    }
    let mut extra = request.extra.clone();
    let inference = inference(request, extra.remove("inferenceConfig"))?;
    if !inference.is_empty() {
        body.insert("inferenceConfig".into(), Value::Object(inference));
    }
    if let Some(schema) = &request.output_schema {
        let schema = strict_schema::reduce(schema)?.to_string();
        let structure = json!({"jsonSchema": {"name": "answer", "schema": schema}});
        body.insert(
            "outputConfig".into(),
            json!({"textFormat": {"type": "json_schema", "structure": structure}}),
        );
    }
    for (name, value) in extra {
        if OWNED.contains(&name.as_str()) || body.contains_key(&name) {
            return Err(Error::invalid(format!("extra fields may not set `{}`", clip(&name))));
        }
        body.insert(name, value);
    }
    let body = to_bytes(&body);
    let (operation, accept) = match delivery {
        Delivery::Whole => ("converse", "application/json"),
        Delivery::Streamed => ("converse-stream", "application/vnd.amazon.eventstream"),
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    // The name has colons, and slashes where it is an ARN.
    let path = format!("/model/{}/{operation}", percent(request.model.as_bytes()));
    Ok(WireRequest { path, headers, body: body.into() })
}

/// The parameters all models have, beside what else the caller's `inferenceConfig` says, such as `topP`.
fn inference(request: &ChatRequest, extra: Option<Value>) -> Result<Map<String, Value>> {
    let mut out = match extra {
        None => Map::new(),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err(Error::invalid("the extra field `inferenceConfig` must be an object")),
    };
    let mut own = Vec::new();
    if let Some(temperature) = request.temperature {
        // JSON has no word for infinity; serde_json would send null.
        if !temperature.is_finite() {
            return Err(Error::invalid("the temperature must be a finite number"));
        }
        own.push(("temperature", json!(temperature)));
    }
    match request.max_tokens {
        Some(0) => return Err(Error::invalid("the token limit must be at least 1")),
        Some(tokens) => own.push(("maxTokens", json!(tokens))),
        None => {}
    }
    if !request.stop.is_empty() {
        own.push(("stopSequences", json!(request.stop)));
    }
    for (name, value) in own {
        if out.insert(name.into(), value).is_some() {
            return Err(Error::invalid(format!("extra fields may not set `inferenceConfig.{name}`")));
        }
    }
    Ok(out)
}

fn tools(request: &ChatRequest, conversation: &Conversation) -> Result<Option<Map<String, Value>>> {
    let told = !conversation.tools.is_empty();
    let choice = match &request.tool_choice {
        ToolChoice::Auto => None,
        // The format cannot forbid calls, and refuses a conversation with calls that has no tools.
        ToolChoice::None if told && !request.tools.is_empty() => {
            return Err(Error::unsupported(
                "the converse format cannot forbid tool calls in a conversation that has some",
            ));
        }
        ToolChoice::None if !told => return Ok(None),
        ToolChoice::None => None,
        ToolChoice::Required if request.tools.is_empty() => {
            return Err(Error::invalid("a tool call is required but there are no tools"));
        }
        ToolChoice::Required => Some(json!({"any": {}})),
        ToolChoice::Tool(name) => {
            if !request.tools.iter().any(|tool| tool.name == *name) {
                return Err(Error::invalid(format!(
                    "the chosen tool `{}` is not among the tools",
                    clip(name)
                )));
            }
            Some(json!({"tool": {"name": name}}))
        }
        _ => return Err(Error::unsupported("the converse format has no form for this tool choice")),
    };
    let spec = |name: &str, description: &str, schema: Value| {
        let mut spec = json!({"name": name, "inputSchema": {"json": schema}});
        if let (Some(spec), false) = (spec.as_object_mut(), description.is_empty()) {
            spec.insert("description".into(), json!(description));
        }
        json!({"toolSpec": spec})
    };
    let mut specs = Vec::new();
    for tool in &request.tools {
        specs.push(spec(&tool.name, &tool.description, input_schema(&tool.name, &tool.input_schema)?));
    }
    if specs.is_empty() {
        // A conversation with calls is refused without their tools, so they stand by their names.
        specs.extend(conversation.tools.iter().map(|name| spec(name, "", json!({"type": "object"}))));
    }
    if specs.is_empty() {
        return Ok(None);
    }
    let mut out = Map::new();
    out.insert("tools".into(), Value::Array(specs));
    if let Some(choice) = choice {
        out.insert("toolChoice".into(), choice);
    }
    Ok(Some(out))
}

/// The schema of a tool's input, which must be one of an object by name.
fn input_schema(name: &str, schema: &Value) -> Result<Value> {
    let refused = |what: &str| {
        Error::invalid(format!(
            "the converse format takes no input schema with {what}: tool `{}`",
            clip(name)
        ))
    };
    let Some(fields) = schema.as_object() else {
        return Err(refused("anything but an object at its root"));
    };
    let mut schema = fields.clone();
    match fields.get("type") {
        None => drop(schema.insert("type".into(), json!("object"))),
        Some(kind) if kind == "object" => {}
        Some(_) => return Err(refused("another `type` than `object`")),
    }
    Ok(Value::Object(schema))
}

/// Marks the ends of what stays the same from one request to the next.
fn add_cache_points(conversation: &mut Conversation, tools: Option<&mut Map<String, Value>>) {
    let point = || json!({"cachePoint": {"type": "default"}});
    if !conversation.system.is_empty() {
        conversation.system.push(point());
    }
    if let Some(Value::Array(tools)) = tools.and_then(|tools| tools.get_mut("tools")) {
        tools.push(point());
    }
    let last = conversation.messages.iter_mut().rfind(|message| message.get("role") == Some(&json!("user")));
    if let Some(Value::Array(content)) = last.and_then(|message| message.get_mut("content")) {
        content.push(point());
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
