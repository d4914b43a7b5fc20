use agentprovision_core::ErrorKind;
use agentprovision_core::model::{Content, Continuation, Message, Source, ToolRequest};
use serde_json::json;

use super::*;

fn body(request: &ChatRequest, delivery: Delivery) -> Value {
    let wire = encode(request, delivery, 4096).unwrap();
    assert_eq!(wire.path, "/messages");
    assert_eq!(wire.headers.get("anthropic-version").unwrap(), "2023-06-01");
    serde_json::from_slice(&wire.body).unwrap()
}

fn messages(messages: Vec<Message>) -> Value {
    body(&ChatRequest::new("m", messages), Delivery::Whole)["messages"].take()
}

fn refused(change: impl FnOnce(&mut ChatRequest)) -> Error {
    let mut request = ChatRequest::new("m", vec![Message::user("hi")]);
    change(&mut request);
    encode(&request, Delivery::Whole, 1).unwrap_err()
}

fn call(id: &str, arguments: &str) -> ToolRequest {
    ToolRequest { id: id.into(), name: "f".into(), arguments: arguments.into(), complete: true }
}

fn assistant(text: &str, tool_calls: Vec<ToolRequest>, issuer: &str, items: Value) -> Message {
    let items = items.as_array().unwrap().clone();
    let continuation = Some(Continuation { issuer: issuer.into(), items });
    Message::Assistant { text: text.into(), tool_calls, continuation }
}

fn result(call_id: &str, content: &str) -> Message {
    Message::Tool { call_id: call_id.into(), name: "f".into(), content: content.into(), is_error: false }
}

fn document(media_type: &str, source: Source) -> Content {
    Content::Document { media_type: media_type.into(), name: None, source }
}

#[test]
fn a_small_request_says_nothing_more_than_it_must() {
    let request = ChatRequest::new("m", vec![Message::user("hi")]);
    let expected = json!({"model": "m", "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]});
    assert_eq!(body(&request, Delivery::Whole), expected);
    let wire = encode(&request, Delivery::Streamed, 1).unwrap();
    assert_eq!(wire.headers.get(ACCEPT).unwrap(), "text/event-stream");
}

#[test]
fn a_budget_for_thinking_leaves_room_for_the_answer() {
    let mut request = ChatRequest::new("m", vec![Message::user("hi")]);
    let limit = |request: &ChatRequest| body(request, Delivery::Whole)["max_tokens"].as_u64().unwrap();
    request.extra.insert("thinking".into(), json!({"type": "enabled", "budget_tokens": 10_000}));
    assert_eq!(limit(&request), 14_096);
    request.max_tokens = Some(11_000);
    assert_eq!(limit(&request), 11_000);
}

#[test]
fn a_full_request_has_every_field_in_its_place() {
    let mut request = ChatRequest::new(
        "m",
        vec![
            Message::system("be brief"),
            Message::User {
                content: vec![
                    Content::Text { text: "look".into() },
                    Content::Text { text: " \n".into() },
                    Content::Image { media_type: "image/png".into(), source: Source::Base64("aGk=".into()) },
                    Content::Image {
                        media_type: "image/x".into(),
                        source: Source::Url("https://a/b".into()),
                    },
                    Content::Document {
                        media_type: "application/pdf".into(),
                        name: Some("a.pdf".into()),
                        source: Source::Base64("aGk=".into()),
                    },
                    document("application/pdf", Source::Url("https://a/c".into())),
                    document("text/csv; charset=utf-8", Source::Base64("aGk=".into())),
                ],
            },
            Message::Assistant {
                continuation: None,
                text: "on it".into(),
                tool_calls: vec![call("c1", "{\"x\": 1}"), call("a b", ""), call("c3", "{\"x")],
            },
            result("c1", "2"),
            Message::user("and now?"),
            Message::Tool { call_id: "a b".into(), name: "f".into(), content: String::new(), is_error: true },
            Message::system("be kind"),
            result("c3", "cut off"),
            Message::assistant(""),
            Message::assistant("Well \n"),
        ],
    );
    request.tools = vec![ToolDefinition {
        name: "f".into(),
        description: "adds".into(),
        input_schema: json!({"properties": {"x": {"type": "integer"}}}),
    }];
    request.tool_choice = ToolChoice::Tool("f".into());
    request.temperature = Some(0.5);
    request.max_tokens = Some(100);
    request.output_schema = Some(json!({"type": "object", "properties": {"a": {"type": "string"}}}));
    request.stop = vec!["END".into()];
    request.extra.insert("thinking".into(), json!({"type": "adaptive"}));
    request.extra.insert("cache_control".into(), json!({"type": "ephemeral", "ttl": "1h"}));
    request.extra.insert("output_config".into(), json!({"effort": "low"}));
    let text = |text: &str| json!({"type": "text", "text": text});
    let call = |id: &str, input: Value| json!({"type": "tool_use", "id": id, "name": "f", "input": input});
    let file = |kind: &str, source: Value| json!({"type": kind, "source": source});
    let mut pdf =
        file("document", json!({"type": "base64", "media_type": "application/pdf", "data": "aGk="}));
    pdf["title"] = json!("a.pdf");
    let expected = json!({
        "model": "m",
        "max_tokens": 100,
        "system": [text("be brief"), text("be kind")],
        "messages": [
            {"role": "user", "content": [
                text("look"),
                file("image", json!({"type": "base64", "media_type": "image/png", "data": "aGk="})),
                file("image", json!({"type": "url", "url": "https://a/b"})),
                pdf,
                file("document", json!({"type": "url", "url": "https://a/c"})),
                file("document", json!({"type": "text", "media_type": "text/plain", "data": "hi"})),
            ]},
            {"role": "assistant", "content":
                [text("on it"), call("c1", json!({"x": 1})), call("call_2_1", json!({})), call("c3", json!({}))]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "2"},
                {"type": "tool_result", "tool_use_id": "call_2_1", "content": "error", "is_error": true},
                {"type": "tool_result", "tool_use_id": "c3", "content": "cut off"},
                text("and now?"),
            ]},
            {"role": "assistant", "content": [text("Well")]},
        ],
        "tools": [{"name": "f", "description": "adds",
            "input_schema": {"type": "object", "properties": {"x": {"type": "integer"}}}}],
        "tool_choice": {"type": "tool", "name": "f"},
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "stream": true,
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema":
            {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false}}},
        "thinking": {"type": "adaptive"},
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
    });
    assert_eq!(body(&request, Delivery::Streamed), expected);
}

#[test]
fn every_tool_choice_has_its_form() {
    let choice = |tool_choice| {
        let mut request = ChatRequest::new("m", vec![Message::user("hi")]);
        request.tools = vec![ToolDefinition {
            name: "f".into(),
            description: String::new(),
            input_schema: json!({"type": "object"}),
        }];
        request.tool_choice = tool_choice;
        body(&request, Delivery::Whole).get("tool_choice").cloned()
    };
    assert_eq!(choice(ToolChoice::Auto), None);
    assert_eq!(choice(ToolChoice::None), Some(json!({"type": "none"})));
    assert_eq!(choice(ToolChoice::Required), Some(json!({"type": "any"})));
}

#[test]
fn signed_thinking_goes_back_to_its_issuer_only() {
    let thinking = json!({"type": "thinking", "thinking": "hm", "signature": "s"});
    let redacted = json!({"type": "redacted_thinking", "data": "d"});
    let user = Message::user("hi");
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {"x": 1}});
    let sent = |message: Message| {
        let id = match &message {
            Message::Assistant { tool_calls, .. } => tool_calls[0].id.clone(),
            _ => String::new(),
        };
        messages(vec![user.clone(), message, result(&id, "1")])[1]["content"].clone()
    };
    let calls = || vec![super::tests::call("c", "{\"x\":1}")];
    let text = |text: &str| json!({"type": "text", "text": text});
    let before = json!([thinking, redacted]);
    assert_eq!(
        sent(assistant("on it", calls(), "anthropic.messages", before.clone())),
        json!([thinking, redacted, text("on it"), call("c")])
    );
    // Another issuer's is left out, and everything else goes.
    assert_eq!(
        sent(assistant("on it", calls(), "openai.responses", before)),
        json!([text("on it"), call("c")])
    );
    // In between text and calls it keeps its place …
    let between = json!([text("on "), thinking, text("it"), redacted, call("c")]);
    assert_eq!(sent(assistant("on it", calls(), "anthropic.messages", between.clone())), between);
    // … unless these are no longer what they were.
    assert_eq!(
        sent(assistant("on [redacted]", calls(), "anthropic.messages", between.clone())),
        json!([thinking, redacted, text("on [redacted]"), call("c")])
    );
    let other = vec![super::tests::call("c", "{\"x\":2}")];
    let changed = sent(assistant("on it", other, "anthropic.messages", between));
    assert_eq!(changed[3]["input"], json!({"x": 2}));
}

#[test]
fn what_cannot_be_said_is_refused_with_a_reason() {
    use ErrorKind::{InvalidInput, Unsupported};
    let user = |content| Message::User { content };
    let tool = |input_schema| ToolDefinition { name: "f".into(), description: String::new(), input_schema };
    let cases: Vec<(Error, ErrorKind, &str)> = vec![
        (refused(|r| r.model.clear()), InvalidInput, "name a model"),
        (refused(|r| r.messages.clear()), InvalidInput, "at least one message"),
        (refused(|r| r.messages = vec![Message::system("x")]), InvalidInput, "no instruction"),
        (refused(|r| r.messages = vec![user(Vec::new())]), InvalidInput, "needs content"),
        (refused(|r| r.messages = vec![Message::user(" ")]), InvalidInput, "needs content"),
        (refused(|r| r.temperature = Some(f64::INFINITY)), InvalidInput, "finite"),
        (refused(|r| r.max_tokens = Some(0)), InvalidInput, "at least 1"),
        (refused(|r| r.seed = Some(1)), Unsupported, "`seed`"),
        (refused(|r| r.output_schema = Some(json!({"not": {}}))), InvalidInput, "`not`"),
        (refused(|r| r.tool_choice = ToolChoice::Required), InvalidInput, "no tools"),
        (refused(|r| r.tool_choice = ToolChoice::Tool("g".into())), InvalidInput, "`g`"),
        (refused(|r| r.tools = vec![tool(json!({"oneOf": []}))]), InvalidInput, "`oneOf`"),
        (refused(|r| r.tools = vec![tool(json!({"type": "string"}))]), InvalidInput, "`type`"),
        (refused(|r| r.tools = vec![tool(json!(true))]), InvalidInput, "object"),
        (
            refused(|r| {
                let source = Source::Base64(String::new());
                r.messages = vec![user(vec![Content::Image { media_type: "image/tiff".into(), source }])];
            }),
            Unsupported,
            "`image/tiff`",
        ),
        (
            refused(|r| {
                r.messages = vec![user(vec![document("application/zip", Source::Base64(String::new()))])];
            }),
            Unsupported,
            "`application/zip`",
        ),
        (
            refused(|r| {
                r.messages = vec![user(vec![document("text/plain", Source::Url("https://a/b".into()))])];
            }),
            Unsupported,
            "address",
        ),
        (
            refused(|r| {
                r.messages = vec![user(vec![document("text/plain", Source::Base64("?".into()))])];
            }),
            InvalidInput,
            "base64",
        ),
    ];
    for (error, kind, words) in cases {
        assert!(error.is(kind) && error.message().contains(words), "{error:?} has no {words}");
    }
    for name in OWNED.into_iter().chain(["max_tokens"]) {
        let error = refused(|r| drop(r.extra.insert(name.into(), json!(2))));
        assert_eq!(error.to_string(), format!("extra fields may not set `{name}`"));
    }
    let error = refused(|r| {
        r.output_schema = Some(json!({"type": "string"}));
        r.extra.insert("output_config".into(), json!({"format": {}}));
    });
    assert!(error.message().contains("output_config.format"), "{error}");
}

#[test]
fn calls_one_at_a_time_are_part_of_the_choice() {
    let sent = |choice: ToolChoice, parallel: Value| {
        let mut request = ChatRequest::new("m", vec![Message::user("hi")]);
        let input_schema = json!({"type": "object"});
        request.tools = vec![ToolDefinition { name: "t".into(), description: String::new(), input_schema }];
        request.tool_choice = choice;
        request.extra.insert("parallel_tool_calls".into(), parallel);
        let body = body(&request, Delivery::Whole);
        assert_eq!(body.get("parallel_tool_calls"), None);
        body.get("tool_choice").cloned()
    };
    let single = json!({"type": "auto", "disable_parallel_tool_use": true});
    assert_eq!(sent(ToolChoice::Auto, json!(false)), Some(single));
    let single = json!({"type": "any", "disable_parallel_tool_use": true});
    assert_eq!(sent(ToolChoice::Required, json!(false)), Some(single));
    assert_eq!(sent(ToolChoice::None, json!(false)), Some(json!({"type": "none"})));
    assert_eq!(sent(ToolChoice::Auto, json!(true)), None);
}
