//! Requests.

use agentprovision_core::model::{ChatRequest, ToolChoice, ToolDefinition};
use agentprovision_core::{Error, Result};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::AnthropicMessages;
use super::messages::conversation;
use crate::clip;
use crate::wire::json::to_bytes;
use crate::wire::{Delivery, WireRequest, strict_schema};

/// Fields that `extra` may not set, because the rest of the platform relies on them or they have a field of their own.
const OWNED: [&str; 6] = ["model", "messages", "system", "stream", "tools", "tool_choice"];

/// OpenAI's name for whether calls may come several at a time, which says it to this format too.
const PARALLEL: &str = "parallel_tool_calls";

const VERSION: HeaderName = HeaderName::from_static("anthropic-version");

pub(super) fn encode(request: &ChatRequest, delivery: Delivery, default_limit: u64) -> Result<WireRequest> {
    if request.model.is_empty() {
        return Err(Error::invalid("a request must name a model"));
    }
    if request.messages.is_empty() {
        return Err(Error::invalid("a request needs at least one message"));
    }
    let mut body = Map::new();
    body.insert("model".into(), json!(request.model));
    let conversation = conversation(&request.messages)?;
    if !conversation.system.is_empty() {
        body.insert("system".into(), Value::Array(conversation.system));
    }
    body.insert("messages".into(), Value::Array(conversation.messages));
    if request.max_tokens == Some(0) {
        return Err(Error::invalid("the token limit must be at least 1"));
    }
    // The limit counts what is thought, too.
    let budget = request.extra.get("thinking").and_then(|thinking| thinking.get("budget_tokens")?.as_u64());
    let room = budget.map_or(0, |budget| budget.saturating_add(AnthropicMessages::MAX_TOKENS));
    body.insert("max_tokens".into(), json!(request.max_tokens.unwrap_or(default_limit.max(room))));
    tools(request, &mut body)?;
    if let Some(temperature) = request.temperature {
        // JSON has no word for infinity; serde_json would send null.
        if !temperature.is_finite() {
            return Err(Error::invalid("the temperature must be a finite number"));
        }
        body.insert("temperature".into(), json!(temperature));
    }
    if !request.stop.is_empty() {
        body.insert("stop_sequences".into(), json!(request.stop));
    }
    if request.seed.is_some() {
        return Err(Error::unsupported("the messages format has no `seed`"));
    }
    if delivery == Delivery::Streamed {
        body.insert("stream".into(), json!(true));
    }
    let mut extra = request.extra.clone();
    // It is part of the choice among the tools here.
    extra.remove(PARALLEL);
    if let Some(schema) = &request.output_schema {
        body.insert("output_config".into(), output_config(schema, extra.remove("output_config"))?);
    }
    for (name, value) in extra {
        if OWNED.contains(&name.as_str()) || body.contains_key(&name) {
            return Err(Error::invalid(format!("extra fields may not set `{}`", clip(&name))));
        }
        body.insert(name, value);
    }
    let body = to_bytes(&body);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(VERSION, HeaderValue::from_static("2023-06-01"));
    headers.insert(
        ACCEPT,
        HeaderValue::from_static(match delivery {
            Delivery::Whole => "application/json",
            Delivery::Streamed => "text/event-stream",
        }),
    );
    Ok(WireRequest { path: "/messages".into(), headers, body: body.into() })
}

/// The form of the answer, beside what else the caller's `output_config` says, such as `effort`.
fn output_config(schema: &Value, extra: Option<Value>) -> Result<Value> {
    let mut config = match extra {
        None => Map::new(),
        Some(Value::Object(config)) if !config.contains_key("format") => config,
        Some(_) => return Err(Error::invalid("extra fields may not set `output_config.format`")),
    };
    config.insert("format".into(), json!({"type": "json_schema", "schema": strict_schema::reduce(schema)?}));
    Ok(Value::Object(config))
}

fn tools(request: &ChatRequest, body: &mut Map<String, Value>) -> Result<()> {
    let choice = match &request.tool_choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some(json!({"type": "none"})),
        ToolChoice::Required => Some(json!({"type": "any"})),
        ToolChoice::Tool(name) => {
            if !request.tools.iter().any(|tool| tool.name == *name) {
                return Err(Error::invalid(format!(
                    "the chosen tool `{}` is not among the tools",
                    clip(name)
                )));
            }
            Some(json!({"type": "tool", "name": name}))
        }
        _ => return Err(Error::unsupported("the messages format has no form for this tool choice")),
    };
    if request.tools.is_empty() {
        return match request.tool_choice {
            ToolChoice::Required => Err(Error::invalid("a tool call is required but there are no tools")),
            _ => Ok(()),
        };
    }
    let tools = request.tools.iter().map(|tool| {
        let mut wire = json!({"name": tool.name, "input_schema": input_schema(tool)?});
        if let (Some(wire), false) = (wire.as_object_mut(), tool.description.is_empty()) {
            wire.insert("description".into(), json!(tool.description));
        }
        Ok(wire)
    });
    body.insert("tools".into(), tools.collect::<Result<_>>()?);
    let single =
        request.extra.get(PARALLEL) == Some(&json!(false)) && request.tool_choice != ToolChoice::None;
    let mut choice = choice.or_else(|| single.then(|| json!({"type": "auto"})));
    if let (Some(Value::Object(choice)), true) = (&mut choice, single) {
        choice.insert("disable_parallel_tool_use".into(), json!(true));
    }
    if let Some(choice) = choice {
        body.insert("tool_choice".into(), choice);
    }
    Ok(())
}

/// The schema of a tool's input, which must be one of an object by name and no choice between several.
fn input_schema(tool: &ToolDefinition) -> Result<Value> {
    let refused = |what: &str| {
        let name = clip(&tool.name);
        Error::invalid(format!("the messages format takes no input schema with {what}: tool `{name}`"))
    };
    let Some(fields) = tool.input_schema.as_object() else {
        return Err(refused("anything but an object at its root"));
    };
    if let Some(keyword) =
        ["anyOf", "oneOf", "allOf"].into_iter().find(|keyword| fields.contains_key(*keyword))
    {
        return Err(refused(&format!("`{keyword}` at its root")));
    }
    let mut schema = fields.clone();
    match fields.get("type") {
        None => drop(schema.insert("type".into(), json!("object"))),
        Some(kind) if kind == "object" => {}
        Some(_) => return Err(refused("another `type` than `object`")),
    }
    Ok(Value::Object(schema))
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
