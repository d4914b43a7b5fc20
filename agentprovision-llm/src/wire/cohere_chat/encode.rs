//! Requests.

use agentprovision_core::model::{ChatRequest, Content, Continuation, Message, Source, ToolChoice};
use agentprovision_core::{Error, Result};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

use super::ISSUER;
use crate::clip;
use crate::wire::call_ids::CallIds;
use crate::wire::functions::function;
use crate::wire::json::to_bytes;
use crate::wire::schema::{Rules, reduce};
use crate::wire::{Delivery, WireRequest};

/// Fields that `extra` may not set, because they have a field of their own.
const OWNED: [&str; 5] = ["model", "messages", "stream", "tools", "tool_choice"];

/// The most sequences that may end an answer.
const MOST_STOPS: usize = 5;

/// What structured output knows; ranges of numbers and of lengths are documented as unsupported.
const RULES: Rules = Rules {
    format: "Cohere's format",
    keywords: &[
        "$id",
        "$schema",
        "$defs",
        "$ref",
        "type",
        "title",
        "description",
        "enum",
        "format",
        "pattern",
        "items",
        "anyOf",
        "properties",
        "required",
        "additionalProperties",
    ],
    references: true,
};

pub(super) fn encode(request: &ChatRequest, delivery: Delivery) -> Result<WireRequest> {
    if request.model.is_empty() {
        return Err(Error::invalid("a request must name a model"));
    }
    let mut body = Map::new();
    body.insert("model".into(), json!(request.model));
    let (mut ids, mut messages) = (CallIds::default(), Vec::with_capacity(request.messages.len()));
    for (at, item) in request.messages.iter().enumerate() {
        messages.extend(message(at, item, &mut ids)?);
    }
    if messages.is_empty() {
        return Err(Error::invalid("a request needs at least one message"));
    }
    body.insert("messages".into(), json!(messages));
    body.insert("stream".into(), json!(delivery == Delivery::Streamed));
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
        body.insert("max_tokens".into(), json!(tokens));
    }
    if let Some(schema) = &request.output_schema {
        if !schema.is_object() {
            return Err(Error::invalid("the output schema must be a JSON object"));
        }
        let format = json!({"type": "json_object", "json_schema": reduce(schema, &RULES)?});
        body.insert("response_format".into(), format);
    }
    if request.stop.len() > MOST_STOPS {
        return Err(Error::invalid(format!("Cohere's format has at most {MOST_STOPS} stop sequences")));
    }
    if !request.stop.is_empty() {
        body.insert("stop_sequences".into(), json!(request.stop));
    }
    if let Some(seed) = request.seed {
        let seed =
            u64::try_from(seed).map_err(|_| Error::invalid("Cohere's format has no negative seeds"))?;
        body.insert("seed".into(), json!(seed));
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
    Ok(WireRequest { path: "/v2/chat".into(), headers, body: body.into() })
}

fn message<'a>(at: usize, message: &'a Message, ids: &mut CallIds<'a>) -> Result<Option<Value>> {
    Ok(Some(match message {
        Message::System { text } => json!({"role": "system", "content": text}),
        Message::User { content } => json!({"role": "user", "content": user(content)?}),
        Message::Assistant { text, tool_calls, continuation } => {
            let own = continuation.as_ref().filter(|continuation| continuation.issuer == ISSUER);
            let (thinking, plan) = own.map(parts).unwrap_or_default();
            let mut content = thinking;
            let mut out = Map::new();
            out.insert("role".into(), json!("assistant"));
            if !tool_calls.is_empty() {
                // Beside calls, what the model said goes into the plan, where Cohere's own models say it.
                let plan: Vec<&str> = [plan, text].into_iter().filter(|text| !text.is_empty()).collect();
                if !plan.is_empty() {
                    out.insert("tool_plan".into(), json!(plan.join("\n")));
                }
                let calls = tool_calls.iter().enumerate().map(|(place, call)| {
                    // Half an argument list cannot be sent; the tool's result says what happened to the call.
                    let whole = !call.arguments.trim().is_empty()
                        && call.json().is_some_and(|value| value.is_object());
                    let arguments = if whole { call.arguments.as_str() } else { "{}" };
                    let function = json!({"name": call.name, "arguments": arguments});
                    json!({"id": ids.call(&call.id, at, place), "type": "function", "function": function})
                });
                out.insert("tool_calls".into(), calls.collect());
            } else if !text.is_empty() {
                content.push(json!({"type": "text", "text": text}));
            } else {
                // An answer that said nothing; a turn without content is refused.
                return Ok(None);
            }
            if !content.is_empty() {
                out.insert("content".into(), json!(content));
            }
            Value::Object(out)
        }
        Message::Tool { call_id, content, .. } => {
            json!({"role": "tool", "tool_call_id": ids.result(call_id), "content": content})
        }
        _ => return Err(Error::unsupported("Cohere's format has no form for this kind of message")),
    }))
}

/// The thinking and the plan of a continuation.
fn parts(continuation: &Continuation) -> (Vec<Value>, &str) {
    let thinking = continuation.items.iter().filter(|item| item.get("thinking").is_some()).cloned().collect();
    let plan = continuation.items.iter().find_map(|item| item.get("tool_plan")?.as_str());
    (thinking, plan.unwrap_or_default())
}

fn user(content: &[Content]) -> Result<Value> {
    if content.is_empty() {
        return Err(Error::invalid("a user's message needs content"));
    }
    if let [Content::Text { text }] = content {
        return Ok(json!(text));
    }
    content
        .iter()
        .map(|part| match part {
            Content::Text { text } => Ok(json!({"type": "text", "text": text})),
            Content::Image { media_type, source } => {
                let url = match source {
                    Source::Base64(data) => format!("data:{media_type};base64,{data}"),
                    Source::Url(url) => url.clone(),
                    _ => {
                        return Err(Error::unsupported(
                            "Cohere's format has no form for this source of an image",
                        ));
                    }
                };
                Ok(json!({"type": "image_url", "image_url": {"url": url}}))
            }
            Content::Document { .. } => {
                Err(Error::unsupported("Cohere's format has no form for a document among a user's content"))
            }
            _ => Err(Error::unsupported("Cohere's format has no form for this kind of content")),
        })
        .collect()
}

fn tools(request: &ChatRequest, body: &mut Map<String, Value>) -> Result<()> {
    let (choice, only) = match &request.tool_choice {
        ToolChoice::Auto => (None, None),
        ToolChoice::None => (Some("NONE"), None),
        ToolChoice::Required => (Some("REQUIRED"), None),
        // There is no field for one of them, but a call is required and there is no other.
        ToolChoice::Tool(name) => {
            if !request.tools.iter().any(|tool| tool.name == *name) {
                return Err(Error::invalid(format!(
                    "the chosen tool `{}` is not among the tools",
                    clip(name)
                )));
            }
            (Some("REQUIRED"), Some(name))
        }
        _ => return Err(Error::unsupported("Cohere's format has no form for this tool choice")),
    };
    if request.tools.is_empty() {
        return match request.tool_choice {
            ToolChoice::Required => Err(Error::invalid("a tool call is required but there are no tools")),
            _ => Ok(()),
        };
    }
    let tools = request.tools.iter().filter(|tool| only.is_none_or(|only| tool.name == *only));
    let tools = tools.map(|tool| function(tool, &tool.input_schema));
    body.insert("tools".into(), tools.collect());
    if let Some(choice) = choice {
        body.insert("tool_choice".into(), json!(choice));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;
    use agentprovision_core::model::{ToolDefinition, ToolRequest};

    use super::*;

    fn body(request: &ChatRequest, delivery: Delivery) -> Value {
        let wire = encode(request, delivery).unwrap();
        assert_eq!(wire.path, "/v2/chat");
        serde_json::from_slice(&wire.body).unwrap()
    }

    fn refused(change: impl FnOnce(&mut ChatRequest)) -> Error {
        let mut request = ChatRequest::new("m", vec![Message::user("hi")]);
        change(&mut request);
        encode(&request, Delivery::Whole).unwrap_err()
    }

    fn tool(name: &str) -> ToolDefinition {
        let input_schema = json!({"type": "object", "properties": {"x": {"type": "integer", "minimum": 1}}});
        ToolDefinition { name: name.into(), description: "adds".into(), input_schema }
    }

    #[test]
    fn a_small_request_says_nothing_more_than_it_must() {
        let request = ChatRequest::new("m", vec![Message::user("hi")]);
        let expected =
            json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": false});
        assert_eq!(body(&request, Delivery::Whole), expected);
        let wire = encode(&request, Delivery::Streamed).unwrap();
        assert_eq!(wire.headers.get(ACCEPT).unwrap(), "text/event-stream");
    }

    #[test]
    fn a_full_request_has_every_field_in_its_place() {
        let call = |id: &str, arguments: &str| ToolRequest {
            id: id.into(),
            name: "t".into(),
            arguments: arguments.into(),
            complete: true,
        };
        let turn = |issuer: &str| Message::Assistant {
            text: "so".into(),
            tool_calls: vec![call("c1", "{\"x\": 1}"), call("c2", "{\"x")],
            continuation: Some(Continuation {
                issuer: issuer.into(),
                items: vec![json!({"type": "thinking", "thinking": "hm"}), json!({"tool_plan": "I will."})],
            }),
        };
        let image = |source| Content::Image { media_type: "image/png".into(), source };
        let mut request = ChatRequest::new(
            "m",
            vec![
                Message::system("be brief"),
                Message::User {
                    content: vec![
                        Content::Text { text: "a".into() },
                        image(Source::Base64("QUJD".into())),
                        image(Source::Url("https://h/x.png".into())),
                    ],
                },
                turn("cohere.chat"),
                Message::Tool {
                    call_id: "c1".into(),
                    name: "t".into(),
                    content: "2".into(),
                    is_error: false,
                },
                turn("anthropic.messages"),
                Message::assistant(""),
                Message::assistant("done"),
            ],
        );
        request.tools = vec![tool("t"), tool("u")];
        request.tool_choice = ToolChoice::Tool("t".into());
        request.temperature = Some(0.5);
        request.max_tokens = Some(100);
        request.output_schema = Some(json!({"type": "object", "minProperties": 1}));
        request.stop = vec!["END".into()];
        request.seed = Some(7);
        request.extra.insert("p".into(), json!(0.5));
        let sent = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "t", "arguments": arguments}});
        let expected = json!({
            "model": "m",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [
                    {"type": "text", "text": "a"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
                    {"type": "image_url", "image_url": {"url": "https://h/x.png"}},
                ]},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}], "tool_plan": "I will.\nso",
                    "tool_calls": [sent("c1", "{\"x\": 1}"), sent("c2", "{}")]},
                {"role": "tool", "tool_call_id": "c1", "content": "2"},
                {"role": "assistant", "tool_plan": "so",
                    "tool_calls": [sent("call_4_0", "{\"x\": 1}"), sent("call_4_1", "{}")]},
                {"role": "assistant", "content": [{"type": "text", "text": "done"}]},
            ],
            "stream": true,
            "tools": [{"type": "function", "function": {"name": "t", "description": "adds", "parameters": tool("t").input_schema}}],
            "tool_choice": "REQUIRED",
            "temperature": 0.5,
            "max_tokens": 100,
            "response_format": {"type": "json_object", "json_schema": {"type": "object"}},
            "stop_sequences": ["END"],
            "seed": 7,
            "p": 0.5,
        });
        assert_eq!(body(&request, Delivery::Streamed), expected);
    }

    #[test]
    fn what_cannot_be_said_is_refused_with_a_reason() {
        assert!(refused(|r| r.model.clear()).is(ErrorKind::InvalidInput));
        assert!(refused(|r| r.messages.clear()).is(ErrorKind::InvalidInput));
        assert!(refused(|r| r.messages = vec![Message::assistant("")]).is(ErrorKind::InvalidInput));
        assert!(
            refused(|r| r.messages = vec![Message::User { content: Vec::new() }]).is(ErrorKind::InvalidInput)
        );
        assert!(refused(|r| r.temperature = Some(f64::NAN)).is(ErrorKind::InvalidInput));
        assert!(refused(|r| r.max_tokens = Some(0)).is(ErrorKind::InvalidInput));
        assert!(refused(|r| r.seed = Some(-1)).is(ErrorKind::InvalidInput));
        assert!(refused(|r| r.stop = vec!["x".into(); 6]).is(ErrorKind::InvalidInput));
        assert!(refused(|r| r.output_schema = Some(json!(true))).is(ErrorKind::InvalidInput));
        assert!(refused(|r| r.output_schema = Some(json!({"not": {}}))).message().contains("`not`"));
        assert!(refused(|r| r.tool_choice = ToolChoice::Required).is(ErrorKind::InvalidInput));
        assert!(refused(|r| r.tool_choice = ToolChoice::Tool("x".into())).message().contains("`x`"));
        let document = Content::Document {
            media_type: "application/pdf".into(),
            name: None,
            source: Source::Base64("QUJD".into()),
        };
        let error = refused(|r| r.messages = vec![Message::User { content: vec![document] }]);
        assert!(error.is(ErrorKind::Unsupported) && error.message().contains("document"), "{error}");
        for name in OWNED {
            let error = refused(|r| drop(r.extra.insert(name.into(), json!(2))));
            assert_eq!(error.to_string(), format!("extra fields may not set `{name}`"));
        }
    }
}
