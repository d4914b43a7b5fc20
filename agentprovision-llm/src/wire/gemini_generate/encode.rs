//! Requests.

use agentprovision_core::model::{ChatRequest, ToolChoice};
use agentprovision_core::{Error, Result};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

use super::{Host, contents};
use crate::clip;
use crate::endpoint::is_segment;
use crate::wire::json::to_bytes;
use crate::wire::schema::{Rules, reduce};
use crate::wire::{Delivery, WireRequest};

/// Fields that `extra` may not set, because they have a field of their own. Google reads both spellings.
const OWNED: [&str; 7] =
    ["model", "contents", "systemInstruction", "system_instruction", "tools", "toolConfig", "tool_config"];

/// Of the fields of `generationConfig` these: more than one candidate bills answers nobody reads.
const OWNED_CONFIG: [&str; 2] = ["candidateCount", "candidate_count"];

/// What is documented for `responseJsonSchema`.
const RULES: Rules = Rules {
    format: "Google's format",
    keywords: &[
        "$id",
        "$defs",
        "$ref",
        "$anchor",
        "type",
        "format",
        "title",
        "description",
        "enum",
        "items",
        "prefixItems",
        "minItems",
        "maxItems",
        "minimum",
        "maximum",
        "anyOf",
        "oneOf",
        "properties",
        "additionalProperties",
        "required",
        "propertyOrdering",
    ],
    references: true,
};

pub(super) fn encode(request: &ChatRequest, delivery: Delivery, host: Host) -> Result<WireRequest> {
    let path = path(&request.model, delivery, host)?;
    let conversation = contents::conversation(&request.messages, &request.model, host)?;
    if conversation.contents.is_empty() {
        return Err(Error::invalid("a request needs at least one message besides the system's"));
    }
    let mut body = Map::new();
    body.insert("contents".into(), json!(conversation.contents));
    if !conversation.system.is_empty() {
        body.insert("systemInstruction".into(), json!({"parts": conversation.system}));
    }
    tools(request, &mut body)?;
    let config = config(request)?;
    if !config.is_empty() {
        body.insert("generationConfig".into(), Value::Object(config));
    }
    for (name, value) in &request.extra {
        if matches!(name.as_str(), "generationConfig" | "generation_config") {
            continue;
        }
        if OWNED.contains(&name.as_str()) {
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
    Ok(WireRequest { path, headers, body: body.into() })
}

/// The path of a model's method. A name may be that of a resource: `tunedModels/x`, `publishers/p/models/x`.
fn path(model: &str, delivery: Delivery, host: Host) -> Result<String> {
    let method = match delivery {
        Delivery::Whole => "generateContent",
        Delivery::Streamed => "streamGenerateContent?alt=sse",
    };
    Ok(format!("/{}:{method}", resource(model, host)?))
}

/// The name of a model as a resource.
pub(in crate::wire) fn resource(model: &str, host: Host) -> Result<String> {
    if model.is_empty() {
        return Err(Error::invalid("a request must name a model"));
    }
    let segment = |text: &str| {
        let text = text.replace(['@', ':'], "");
        is_segment(&text) && !text.chars().all(|c| c == '.')
    };
    if !model.split('/').all(segment) {
        return Err(Error::invalid(format!("`{}` is no name of a model", clip(model))));
    }
    let prefix = match host {
        _ if model.contains('/') => "",
        Host::Gemini => "models/",
        Host::Vertex => "publishers/google/models/",
    };
    Ok(format!("{prefix}{model}"))
}

fn config(request: &ChatRequest) -> Result<Map<String, Value>> {
    let mut config = Map::new();
    if let Some(temperature) = request.temperature {
        // JSON has no word for infinity; serde_json would send null.
        if !temperature.is_finite() {
            return Err(Error::invalid("the temperature must be a finite number"));
        }
        config.insert("temperature".into(), json!(temperature));
    }
    if let Some(tokens) = request.max_tokens {
        if tokens == 0 {
            return Err(Error::invalid("the token limit must be at least 1"));
        }
        config.insert("maxOutputTokens".into(), json!(tokens));
    }
    if !request.stop.is_empty() {
        config.insert("stopSequences".into(), json!(request.stop));
    }
    if let Some(seed) = request.seed {
        let seed = i32::try_from(seed).map_err(|_| Error::invalid("Google's format has seeds of 32 bits"))?;
        config.insert("seed".into(), json!(seed));
    }
    if let Some(schema) = &request.output_schema {
        if !schema.is_object() {
            return Err(Error::invalid("the output schema must be a JSON object"));
        }
        config.insert("responseMimeType".into(), json!("application/json"));
        config.insert("responseJsonSchema".into(), reduce(schema, &RULES)?);
    }
    for spelling in ["generationConfig", "generation_config"] {
        let Some(extra) = request.extra.get(spelling) else { continue };
        let extra =
            extra.as_object().ok_or_else(|| Error::invalid(format!("`{spelling}` must be an object")))?;
        for (name, value) in extra {
            let another_schema = request.output_schema.is_some()
                && ["responseSchema", "response_schema", "responseFormat"].contains(&name.as_str());
            if OWNED_CONFIG.contains(&name.as_str()) || another_schema || config.contains_key(&camel(name)) {
                return Err(Error::invalid(format!("extra fields may not set `{spelling}.{}`", clip(name))));
            }
            config.insert(name.clone(), value.clone());
        }
    }
    Ok(config)
}

/// `max_output_tokens` as `maxOutputTokens`.
fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        match c {
            '_' => upper = true,
            c if std::mem::take(&mut upper) => out.extend(c.to_uppercase()),
            c => out.push(c),
        }
    }
    out
}

fn tools(request: &ChatRequest, body: &mut Map<String, Value>) -> Result<()> {
    let choice = match &request.tool_choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some(json!({"mode": "NONE"})),
        ToolChoice::Required => Some(json!({"mode": "ANY"})),
        ToolChoice::Tool(name) => {
            if !request.tools.iter().any(|tool| tool.name == *name) {
                return Err(Error::invalid(format!(
                    "the chosen tool `{}` is not among the tools",
                    clip(name)
                )));
            }
            Some(json!({"mode": "ANY", "allowedFunctionNames": [name]}))
        }
        _ => return Err(Error::unsupported("Google's format has no form for this tool choice")),
    };
    if request.tools.is_empty() {
        return match request.tool_choice {
            ToolChoice::Required => Err(Error::invalid("a tool call is required but there are no tools")),
            _ => Ok(()),
        };
    }
    let mut declarations = Vec::with_capacity(request.tools.len());
    for tool in &request.tools {
        if !is_function_name(&tool.name) {
            return Err(Error::invalid(format!(
                "Google's format takes no tool named `{}`",
                clip(&tool.name)
            )));
        }
        if !tool.input_schema.is_object() {
            return Err(Error::invalid(format!(
                "the schema of tool `{}` must be an object",
                clip(&tool.name)
            )));
        }
        let schema = reduce(&tool.input_schema, &RULES)
            .map_err(|error| error.with_context("tool", clip(&tool.name)))?;
        let mut declaration = json!({"name": tool.name, "parametersJsonSchema": schema});
        if let (Some(declaration), false) = (declaration.as_object_mut(), tool.description.is_empty()) {
            declaration.insert("description".into(), json!(tool.description));
        }
        declarations.push(declaration);
    }
    body.insert("tools".into(), json!([{"functionDeclarations": declarations}]));
    if let Some(choice) = choice {
        body.insert("toolConfig".into(), json!({"functionCallingConfig": choice}));
    }
    Ok(())
}

/// The documented form of a function's name.
fn is_function_name(name: &str) -> bool {
    name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;
    use agentprovision_core::model::{Content, Continuation, Message, Source, ToolDefinition, ToolRequest};

    use super::*;

    fn body(request: &ChatRequest) -> Value {
        serde_json::from_slice(&encode(request, Delivery::Whole, Host::Gemini).unwrap().body).unwrap()
    }

    fn refused(change: impl FnOnce(&mut ChatRequest)) -> Error {
        let mut request = ChatRequest::new("m", vec![Message::user("hi")]);
        change(&mut request);
        encode(&request, Delivery::Whole, Host::Gemini).unwrap_err()
    }

    fn call(id: &str, name: &str, arguments: &str) -> ToolRequest {
        ToolRequest { id: id.into(), name: name.into(), arguments: arguments.into(), complete: true }
    }

    fn result(id: &str, content: &str, is_error: bool) -> Message {
        Message::Tool { call_id: id.into(), name: "t".into(), content: content.into(), is_error }
    }

    fn turn(calls: Vec<ToolRequest>, text: &str, continuation: Option<(&str, Value)>) -> Message {
        let continuation = continuation.map(|(issuer, items)| Continuation {
            issuer: issuer.into(),
            items: items.as_array().unwrap().clone(),
        });
        Message::Assistant { text: text.into(), tool_calls: calls, continuation }
    }

    fn contents(model: &str, messages: Vec<Message>) -> Value {
        body(&ChatRequest::new(model, messages))["contents"].clone()
    }

    #[test]
    fn a_small_request_says_nothing_more_than_it_must() {
        let request = ChatRequest::new("m", vec![Message::user("hi")]);
        let expected = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
        assert_eq!(body(&request), expected);
        let path = |model: &str, delivery, host| {
            encode(&ChatRequest::new(model, vec![Message::user("hi")]), delivery, host).map(|wire| wire.path)
        };
        use Delivery::{Streamed, Whole};
        for (model, delivery, host, expected) in [
            ("m-1.5", Whole, Host::Gemini, "/models/m-1.5:generateContent"),
            ("m", Streamed, Host::Gemini, "/models/m:streamGenerateContent?alt=sse"),
            ("tunedModels/x", Whole, Host::Gemini, "/tunedModels/x:generateContent"),
            ("m@001", Whole, Host::Vertex, "/publishers/google/models/m@001:generateContent"),
            ("endpoints/12", Whole, Host::Vertex, "/endpoints/12:generateContent"),
        ] {
            assert_eq!(path(model, delivery, host).unwrap(), expected);
        }
        for bad in ["", "a b", "../x", "a/../b", "a?b", "a#b", "a//b", "/a", "ü", "a%2e"] {
            assert!(path(bad, Whole, Host::Gemini).unwrap_err().is(ErrorKind::InvalidInput), "{bad}");
        }
    }

    #[test]
    fn a_full_request_has_every_field_in_its_place() {
        let file = |source| Content::Image { media_type: "image/png".into(), source };
        let mut request = ChatRequest::new(
            "gemini-2.5-flash",
            vec![
                Message::system("be brief"),
                Message::User {
                    content: vec![
                        Content::Text { text: "a".into() },
                        file(Source::Base64("QUJD".into())),
                        file(Source::Url("https://h/x.png".into())),
                        Content::Document {
                            media_type: "application/pdf".into(),
                            name: Some("x.pdf".into()),
                            source: Source::Base64("QUJD".into()),
                        },
                    ],
                },
                turn(
                    vec![call("c1", "t", "{\"x\": 1}"), call("c2", "t", ""), call("c3", "t", "{\"x")],
                    "so",
                    None,
                ),
                result("c2", "plain", true),
                result("c1", "[2]", false),
                result("c3", "{\"output\": 1}", false),
                Message::assistant(""),
                Message::system("be kind"),
                Message::assistant("done"),
            ],
        );
        request.tools = vec![ToolDefinition {
            name: "t".into(),
            description: "adds".into(),
            input_schema: json!({"type": "object", "properties": {"x": {"type": "integer", "default": 1}}}),
        }];
        request.tool_choice = ToolChoice::Tool("t".into());
        request.temperature = Some(0.5);
        request.max_tokens = Some(100);
        request.output_schema = Some(json!({"type": "object", "$schema": "x"}));
        request.stop = vec!["END".into()];
        request.seed = Some(-7);
        request.extra.insert("safetySettings".into(), json!([]));
        request.extra.insert("generationConfig".into(), json!({"thinkingConfig": {"thinkingBudget": 0}}));
        let fc = |args: Value| json!({"functionCall": {"name": "t", "args": args}});
        let fr = |response: Value| json!({"functionResponse": {"name": "t", "response": response}});
        let expected = json!({
            "systemInstruction": {"parts": [{"text": "be brief"}, {"text": "be kind"}]},
            "contents": [
                {"role": "user", "parts": [
                    {"text": "a"},
                    {"inlineData": {"mimeType": "image/png", "data": "QUJD"}},
                    {"fileData": {"mimeType": "image/png", "fileUri": "https://h/x.png"}},
                    {"inlineData": {"mimeType": "application/pdf", "data": "QUJD"}},
                ]},
                {"role": "model", "parts": [{"text": "so"}, fc(json!({"x": 1})), fc(json!({})), fc(json!({}))]},
                {"role": "user", "parts": [
                    fr(json!({"output": [2]})), fr(json!({"error": "plain"})), fr(json!({"output": {"output": 1}})),
                ]},
                {"role": "model", "parts": [{"text": "done"}]},
            ],
            "tools": [{"functionDeclarations": [{"name": "t", "description": "adds",
                "parametersJsonSchema": {"type": "object", "properties": {"x": {"type": "integer"}}}}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["t"]}},
            "generationConfig": {"temperature": 0.5, "maxOutputTokens": 100, "stopSequences": ["END"], "seed": -7,
                "responseMimeType": "application/json", "responseJsonSchema": {"type": "object"},
                "thinkingConfig": {"thinkingBudget": 0}},
            "safetySettings": [],
        });
        assert_eq!(body(&request), expected);
    }

    #[test]
    fn signatures_and_ids_go_back_with_their_parts_and_to_their_issuer_only() {
        let items = json!([
            {"text": "hm", "thought": true, "thoughtSignature": "s0"},
            {"text": "so"},
            {"functionCall": {"id": "g1", "name": "t", "args": {"x": 1}}, "thoughtSignature": "s1"},
            {"functionCall": {"id": "g2", "name": "t", "args": {}}},
        ]);
        let calls = || vec![call("c1", "t", "{\"x\":1}"), call("c2", "t", "")];
        let history = |issuer: &str, text: &str| {
            vec![
                Message::user("hi"),
                turn(calls(), text, Some((issuer, items.clone()))),
                result("c2", "2", false),
                result("c1", "1", false),
            ]
        };
        let own = contents("gemini-3-pro", history("gemini.generateContent", "so"));
        assert_eq!(own[1], json!({"role": "model", "parts": items}));
        assert_eq!(own[2]["parts"][0]["functionResponse"]["id"], "g1");
        assert_eq!(own[2]["parts"][1]["functionResponse"]["id"], "g2");
        // The text was changed since: the calls keep what is theirs.
        let changed = contents("gemini-3-pro", history("gemini.generateContent", "edited"));
        assert_eq!(changed[1]["parts"], json!([{"text": "edited"}, items[2], items[3]]));
        // Another's signatures are left out, and the first call says so where signatures are checked.
        let foreign = contents("gemini-3-pro", history("anthropic.messages", "so"));
        let fc = |args: Value| json!({"functionCall": {"name": "t", "args": args}});
        let mut first = fc(json!({"x": 1}));
        first["thoughtSignature"] = json!("skip_thought_signature_validator");
        assert_eq!(foreign[1]["parts"], json!([{"text": "so"}, first, fc(json!({}))]));
        assert_eq!(foreign[2]["parts"][0]["functionResponse"].get("id"), None);
        let old = contents("gemini-2.5-pro", history("vertex.generateContent", "so"));
        assert_eq!(old[1]["parts"], json!([{"text": "so"}, fc(json!({"x": 1})), fc(json!({}))]));
    }

    #[test]
    fn results_of_calls_without_ids_belong_to_them_in_order() {
        let calls = vec![call("", "a", ""), call("", "b", "")];
        let result = |name: &str| Message::Tool {
            call_id: String::new(),
            name: name.into(),
            content: "1".into(),
            is_error: false,
        };
        let contents =
            contents("m", vec![Message::user("hi"), turn(calls, "", None), result("a"), result("b")]);
        assert_eq!(contents[2]["parts"][0]["functionResponse"]["name"], "a");
        assert_eq!(contents[2]["parts"][1]["functionResponse"]["name"], "b");
    }

    #[test]
    fn what_cannot_be_said_is_refused_with_a_reason() {
        let tool = |name: &str, schema: Value| ToolDefinition {
            name: name.into(),
            description: String::new(),
            input_schema: schema,
        };
        for (change, words) in [
            (
                Box::new(|r: &mut ChatRequest| r.model.clear()) as Box<dyn Fn(&mut ChatRequest)>,
                "name a model",
            ),
            (Box::new(|r| r.messages.clear()), "at least one message"),
            (Box::new(|r| r.messages = vec![Message::system("x")]), "at least one message"),
            (Box::new(|r| r.messages = vec![Message::User { content: Vec::new() }]), "content"),
            (Box::new(|r| r.temperature = Some(f64::NAN)), "finite"),
            (Box::new(|r| r.max_tokens = Some(0)), "at least 1"),
            (Box::new(|r| r.seed = Some(1 << 40)), "32 bits"),
            (Box::new(|r| r.output_schema = Some(json!(true))), "output schema"),
            (Box::new(|r| r.output_schema = Some(json!({"not": {}}))), "`not`"),
            (Box::new(|r| r.tool_choice = ToolChoice::Required), "no tools"),
            (Box::new(|r| r.tool_choice = ToolChoice::Tool("x".into())), "`x` is not among"),
            (Box::new(move |r| r.tools = vec![tool("1x", json!({}))]), "`1x`"),
            (Box::new(move |r| r.tools = vec![tool("x", json!([]))]), "`x` must be an object"),
            (Box::new(move |r| r.tools = vec![tool("x", json!({"if": {}}))]), "`if`"),
        ] {
            let error = refused(change);
            assert!(error.is(ErrorKind::InvalidInput) && error.message().contains(words), "{words}: {error}");
        }
        for name in OWNED {
            let error = refused(|r| drop(r.extra.insert(name.into(), json!(2))));
            assert_eq!(error.to_string(), format!("extra fields may not set `{name}`"));
        }
        for config in [
            json!({"candidateCount": 2}),
            json!({"max_output_tokens": 2}),
            json!({"maxOutputTokens": 2}),
            json!({"responseSchema": {}}),
            json!(5),
        ] {
            let error = refused(|r| {
                r.max_tokens = Some(1);
                r.output_schema = Some(json!({}));
                r.extra.insert("generationConfig".into(), config.clone());
            });
            assert!(error.is(ErrorKind::InvalidInput), "{config}");
        }
    }
}
