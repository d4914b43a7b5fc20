//! Requests.

use agentprovision_core::model::{ChatRequest, ToolChoice};
use agentprovision_core::{Error, Result};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

use super::strict::is_strict;
use super::{Lack, OpenAiChat, SeedField, TokenLimitField, messages};
use crate::clip;
use crate::wire::functions::function;
use crate::wire::json::to_bytes;
use crate::wire::{Delivery, WireRequest};

/// Fields that `extra` may not set, because the rest of the platform relies on them: `n` bills answers nobody reads,
/// `stream_options` would lose the usage, the others have a field of their own.
const OWNED: [&str; 7] = ["model", "messages", "stream", "stream_options", "tools", "tool_choice", "n"];

pub(super) fn encode(request: &ChatRequest, delivery: Delivery, dialect: &OpenAiChat) -> Result<WireRequest> {
    if request.model.is_empty() {
        return Err(Error::invalid("a request must name a model"));
    }
    if request.messages.is_empty() {
        return Err(Error::invalid("a request needs at least one message"));
    }
    let needs = [
        (Lack::Tools, !request.tools.is_empty(), "tools"),
        (Lack::OutputSchema, request.output_schema.is_some(), "output schema"),
        (Lack::Stop, !request.stop.is_empty(), "stop sequences"),
        (Lack::Seed, request.seed.is_some(), "seed"),
    ];
    if let Some((_, _, name)) = needs.iter().find(|(lack, needed, _)| *needed && dialect.lacks(*lack)) {
        return Err(Error::unsupported(format!("the model provider has no {name}")));
    }
    let mut body = Map::new();
    body.insert("model".into(), json!(request.model));
    body.insert("messages".into(), messages::encode(&request.messages, dialect)?);
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
        let field = match dialect.token_limit {
            TokenLimitField::MaxCompletionTokens => "max_completion_tokens",
            TokenLimitField::MaxTokens => "max_tokens",
        };
        body.insert(field.into(), json!(tokens));
    }
    if let Some(schema) = &request.output_schema {
        if !schema.is_object() {
            return Err(Error::invalid("the output schema must be a JSON object"));
        }
        let format = json!({"name": "answer", "schema": schema, "strict": is_strict(schema)});
        body.insert("response_format".into(), json!({"type": "json_schema", "json_schema": format}));
    }
    if !request.stop.is_empty() {
        body.insert("stop".into(), json!(request.stop));
    }
    if let Some(seed) = request.seed {
        let field = match dialect.seed {
            SeedField::Seed => "seed",
            SeedField::RandomSeed => "random_seed",
        };
        body.insert(field.into(), json!(seed));
    }
    if delivery == Delivery::Streamed {
        body.insert("stream".into(), json!(true));
        if !dialect.lacks(Lack::StreamOptions) {
            // Without it a streamed answer has no usage, and its cost would be unknown.
            body.insert("stream_options".into(), json!({"include_usage": true}));
        }
    }
    for (name, value) in &request.extra {
        if OWNED.contains(&name.as_str()) || body.contains_key(name) {
            return Err(Error::invalid(format!("extra fields may not set `{}`", clip(name))));
        }
        body.insert(name.clone(), value.clone());
    }
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
    Ok(WireRequest { path: "/chat/completions".into(), headers, body: body.into() })
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
            Some(json!({"type": "function", "function": {"name": name}}))
        }
        _ => return Err(Error::unsupported("the chat completions format has no form for this tool choice")),
    };
    if request.tools.is_empty() {
        // Servers refuse `tool_choice` without tools.
        return match request.tool_choice {
            ToolChoice::Required => Err(Error::invalid("a tool call is required but there are no tools")),
            _ => Ok(()),
        };
    }
    let tools: Vec<Value> = request.tools.iter().map(|tool| function(tool, &tool.input_schema)).collect();
    body.insert("tools".into(), json!(tools));
    if let Some(choice) = choice {
        body.insert("tool_choice".into(), choice);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;
    use agentprovision_core::model::{Content, Message, ToolDefinition, ToolRequest};

    use super::*;

    fn body(request: &ChatRequest, delivery: Delivery) -> Value {
        let dialect = OpenAiChat::new().with_token_limit(TokenLimitField::MaxCompletionTokens);
        let wire = encode(request, delivery, &dialect).unwrap();
        assert_eq!(wire.path, "/chat/completions");
        serde_json::from_slice(&wire.body).unwrap()
    }

    fn refused(change: impl FnOnce(&mut ChatRequest)) -> Error {
        let mut request = ChatRequest::new("m", vec![Message::user("hi")]);
        change(&mut request);
        encode(&request, Delivery::Whole, &OpenAiChat::new()).unwrap_err()
    }

    #[test]
    fn a_small_request_says_nothing_more_than_it_must() {
        let request = ChatRequest::new("m", vec![Message::user("hi")]);
        let expected = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        assert_eq!(body(&request, Delivery::Whole), expected);
        let wire = encode(&request, Delivery::Streamed, &OpenAiChat::new()).unwrap();
        assert_eq!(wire.headers.get(ACCEPT).unwrap(), "text/event-stream");
    }

    #[test]
    fn a_full_request_has_every_field_in_its_place() {
        let mut request = ChatRequest::new(
            "m",
            vec![
                Message::system("be brief"),
                Message::User {
                    content: vec![Content::Text { text: "a".into() }, Content::Text { text: "b".into() }],
                },
                Message::Assistant {
                    continuation: None,
                    text: String::new(),
                    tool_calls: vec![
                        ToolRequest {
                            id: "c1".into(),
                            name: "t".into(),
                            arguments: "{\"x\": 1}".into(),
                            complete: true,
                        },
                        ToolRequest {
                            id: "c2".into(),
                            name: "t".into(),
                            arguments: String::new(),
                            complete: true,
                        },
                        ToolRequest {
                            id: "c3".into(),
                            name: "t".into(),
                            arguments: "{\"x".into(),
                            complete: false,
                        },
                    ],
                },
                Message::Tool {
                    call_id: "c1".into(),
                    name: "t".into(),
                    content: "2".into(),
                    is_error: false,
                },
                Message::assistant("done"),
            ],
        );
        let schema = json!({"type": "object", "properties": {"x": {"type": "integer"}}});
        request.tools = vec![ToolDefinition {
            name: "t".into(),
            description: "adds".into(),
            input_schema: schema.clone(),
        }];
        request.tool_choice = ToolChoice::Tool("t".into());
        request.temperature = Some(0.5);
        request.max_tokens = Some(100);
        request.output_schema = Some(json!({
            "type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false
        }));
        request.stop = vec!["END".into()];
        request.seed = Some(-7);
        request.extra.insert("reasoning_effort".into(), json!("low"));
        let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "t", "arguments": arguments}});
        let expected = json!({
            "model": "m",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {"role": "assistant", "content": null, "tool_calls":
                    [call("c1", "{\"x\": 1}"), call("c2", "{}"), call("c3", "{}")]},
                {"role": "tool", "tool_call_id": "c1", "content": "2"},
                {"role": "assistant", "content": "done"},
            ],
            "tools": [{"type": "function", "function": {"name": "t", "description": "adds", "parameters": schema}}],
            "tool_choice": {"type": "function", "function": {"name": "t"}},
            "temperature": 0.5,
            "max_completion_tokens": 100,
            "response_format": {"type": "json_schema", "json_schema":
                {"name": "answer", "schema": request.output_schema, "strict": true}},
            "stop": ["END"],
            "seed": -7,
            "stream": true,
            "stream_options": {"include_usage": true},
            "reasoning_effort": "low",
        });
        assert_eq!(body(&request, Delivery::Streamed), expected);
    }

    #[test]
    fn what_cannot_be_said_is_refused_with_a_reason() {
        assert_eq!(refused(|r| r.model.clear()).to_string(), "a request must name a model");
        assert!(refused(|r| r.messages.clear()).is(ErrorKind::InvalidInput));
        assert!(
            refused(|r| r.messages = vec![Message::User { content: Vec::new() }]).is(ErrorKind::InvalidInput)
        );
        assert!(refused(|r| r.temperature = Some(f64::NAN)).is(ErrorKind::InvalidInput));
        assert!(refused(|r| r.max_tokens = Some(0)).is(ErrorKind::InvalidInput));
        assert!(refused(|r| r.output_schema = Some(json!(true))).is(ErrorKind::InvalidInput));
        assert!(refused(|r| r.tool_choice = ToolChoice::Required).is(ErrorKind::InvalidInput));
        let error = refused(|r| r.tool_choice = ToolChoice::Tool("x`\n".repeat(60)));
        assert!(error.message().len() < 300 && !error.message().contains('\n'), "{error}");
        for name in OWNED {
            let error = refused(|r| {
                r.extra.insert(name.into(), json!(2));
            });
            assert_eq!(error.to_string(), format!("extra fields may not set `{name}`"));
        }
        let error = refused(|r| {
            r.seed = Some(1);
            r.extra.insert("seed".into(), json!(2));
        });
        assert_eq!(error.to_string(), "extra fields may not set `seed`");
    }
}
