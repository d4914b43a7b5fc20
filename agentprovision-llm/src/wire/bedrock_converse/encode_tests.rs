use agentprovision_core::ErrorKind;
use agentprovision_core::model::{Content, Continuation, Message, Source, ToolDefinition, ToolRequest};
use serde_json::json;

use super::*;

fn body(request: &ChatRequest) -> Value {
    serde_json::from_slice(&encode(request, Delivery::Whole, false).unwrap().body).unwrap()
}

fn refused(change: impl FnOnce(&mut ChatRequest)) -> Error {
    let mut request = ChatRequest::new("m", vec![Message::user("hi")]);
    change(&mut request);
    encode(&request, Delivery::Whole, false).unwrap_err()
}

fn call(id: &str, arguments: &str) -> ToolRequest {
    ToolRequest { id: id.into(), name: "f".into(), arguments: arguments.into(), complete: true }
}

fn result(call_id: &str, content: &str, is_error: bool) -> Message {
    Message::Tool { call_id: call_id.into(), name: "f".into(), content: content.into(), is_error }
}

fn document(media_type: &str, name: Option<&str>, source: Source) -> Content {
    Content::Document { media_type: media_type.into(), name: name.map(str::to_owned), source }
}

fn tool() -> ToolDefinition {
    let input_schema = json!({"properties": {"x": {"type": "integer"}}});
    ToolDefinition { name: "f".into(), description: "adds".into(), input_schema }
}

fn with_calls() -> ChatRequest {
    let calls =
        Message::Assistant { text: String::new(), tool_calls: vec![call("a", "")], continuation: None };
    ChatRequest::new("m", vec![Message::user("hi"), calls, result("a", "1", false)])
}

#[test]
fn a_small_request_says_nothing_more_than_it_must() {
    let mut request = ChatRequest::new("us.amazon.nova-micro-v1:0", vec![Message::user("hi")]);
    assert_eq!(body(&request), json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}));
    let wire = encode(&request, Delivery::Whole, false).unwrap();
    assert_eq!(wire.path, "/model/us.amazon.nova-micro-v1%3A0/converse");
    request.model = "arn:aws:bedrock:us-east-1:1:inference-profile/a".into();
    let wire = encode(&request, Delivery::Streamed, false).unwrap();
    assert_eq!(
        wire.path,
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fa/converse-stream"
    );
    assert_eq!(wire.headers.get(ACCEPT).unwrap(), "application/vnd.amazon.eventstream");
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
                    Content::Text { text: " ".into() },
                    Content::Image { media_type: "image/png".into(), source: Source::Base64("aGk=".into()) },
                    Content::Image {
                        media_type: "image/webp".into(),
                        source: Source::Url("s3://b/k".into()),
                    },
                    document("application/pdf", Some("a_b  c.pdf"), Source::Base64("aGk=".into())),
                    document("text/csv; charset=utf-8", Some("a_b c.pdf"), Source::Base64("aGk=".into())),
                    document("application/json", None, Source::Base64("aGk=".into())),
                ],
            },
            Message::Assistant {
                continuation: None,
                text: "on it".into(),
                tool_calls: vec![call("c1", "{\"x\": 1}"), call("a b", ""), call("c3", "{\"x")],
            },
            result("c1", "2", false),
            Message::user("and now?"),
            result("a b", "", true),
            result("c3", "cut off", true),
            Message::assistant("Well \n"),
        ],
    );
    request.tools = vec![tool()];
    request.tool_choice = ToolChoice::Required;
    request.temperature = Some(0.5);
    request.max_tokens = Some(100);
    request.output_schema = Some(json!({"type": "object", "properties": {"a": {"type": "string"}}}));
    request.stop = vec!["END".into()];
    request.extra.insert("inferenceConfig".into(), json!({"topP": 0.5}));
    request.extra.insert("additionalModelRequestFields".into(), json!({"top_k": 5}));
    let call = |id: &str, input: Value| json!({"toolUse": {"toolUseId": id, "name": "f", "input": input}});
    let bytes = json!({"bytes": "aGk="});
    let file =
        |format: &str, name: &str| json!({"document": {"format": format, "name": name, "source": bytes}});
    let answer = |id: &str, content: Value| json!({"toolResult": {"toolUseId": id, "content": content, "status": "error"}});
    let schema =
        "{\"additionalProperties\":false,\"properties\":{\"a\":{\"type\":\"string\"}},\"type\":\"object\"}";
    let expected = json!({
        "system": [{"text": "be brief"}],
        "messages": [
            {"role": "user", "content": [
                {"text": "look"},
                {"image": {"format": "png", "source": bytes}},
                {"image": {"format": "webp", "source": {"s3Location": {"uri": "s3://b/k"}}}},
                file("pdf", "a-b c-pdf"),
                file("csv", "a-b c-pdf (2)"),
                file("txt", "document"),
            ]},
            {"role": "assistant", "content":
                [{"text": "on it"}, call("c1", json!({"x": 1})), call("call_2_1", json!({})), call("c3", json!({}))]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "c1", "content": [{"text": "2"}]}},
                answer("call_2_1", json!([{"text": "error"}])),
                answer("c3", json!([{"text": "cut off"}])),
                {"text": "and now?"},
            ]},
            {"role": "assistant", "content": [{"text": "Well"}]},
        ],
        "toolConfig": {
            "tools": [{"toolSpec": {"name": "f", "description": "adds", "inputSchema":
                {"json": {"type": "object", "properties": {"x": {"type": "integer"}}}}}}],
            "toolChoice": {"any": {}},
        },
        "inferenceConfig": {"temperature": 0.5, "maxTokens": 100, "stopSequences": ["END"], "topP": 0.5},
        "outputConfig": {"textFormat": {"type": "json_schema", "structure":
            {"jsonSchema": {"name": "answer", "schema": schema}}}},
        "additionalModelRequestFields": {"top_k": 5},
    });
    assert_eq!(body(&request), expected);
}

#[test]
fn a_conversation_with_calls_has_tools_even_without_any() {
    let mut request = with_calls();
    let named = json!({"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}]});
    assert_eq!(body(&request)["toolConfig"], named);
    request.tool_choice = ToolChoice::None;
    assert_eq!(body(&request)["toolConfig"], named);
    // Without calls the tools can be left out, which forbids them; with calls nothing can.
    request.tools = vec![tool()];
    let error = encode(&request, Delivery::Whole, false).unwrap_err();
    assert!(error.is(ErrorKind::Unsupported), "{error:?}");
    request.messages.truncate(1);
    assert_eq!(body(&request).get("toolConfig"), None);
    request.tool_choice = ToolChoice::Tool("f".into());
    assert_eq!(body(&request)["toolConfig"]["toolChoice"], json!({"tool": {"name": "f"}}));
}

#[test]
fn cache_points_mark_what_stays() {
    let mut request = with_calls();
    request.messages.insert(0, Message::system("be brief"));
    request.messages.push(Message::assistant("so"));
    request.tools = vec![tool()];
    let wire = encode(&request, Delivery::Whole, true).unwrap();
    let body: Value = serde_json::from_slice(&wire.body).unwrap();
    let point = json!({"cachePoint": {"type": "default"}});
    assert_eq!(body["system"][1], point);
    assert_eq!(body["toolConfig"]["tools"][1], point);
    assert_eq!(body["messages"][2]["content"][1], point);
    assert_eq!(body.to_string().matches("cachePoint").count(), 3);
}

#[test]
fn signed_reasoning_goes_back_to_its_issuer_only() {
    let reasoning = json!({"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}});
    let tool = |input: Value| json!({"toolUse": {"toolUseId": "c", "name": "f", "input": input}});
    let sent = |text: &str, arguments: &str, issuer: &str, items: Value| {
        let items = items.as_array().unwrap().clone();
        let continuation = Some(Continuation { issuer: issuer.into(), items });
        let tool_calls = vec![call("c", arguments)];
        let message = Message::Assistant { text: text.into(), tool_calls, continuation };
        let messages = vec![Message::user("hi"), message, result("c", "1", false)];
        body(&ChatRequest::new("m", messages))["messages"][1]["content"].clone()
    };
    let one = || json!({"x": 1});
    let head = json!([reasoning]);
    let after = json!([reasoning, {"text": "on it"}, tool(one())]);
    assert_eq!(sent("on it", "{\"x\":1}", "bedrock.converse", head.clone()), after);
    assert_eq!(
        sent("on it", "{\"x\":1}", "anthropic.messages", head),
        json!([{"text": "on it"}, tool(one())])
    );
    let between = json!([{"text": "on "}, reasoning, {"text": "it"}, tool(one())]);
    assert_eq!(sent("on it", "{\"x\":1}", "bedrock.converse", between.clone()), between);
    assert_eq!(sent("on it", "{\"x\":2}", "bedrock.converse", between)[2], tool(json!({"x": 2})));
}

#[test]
fn what_cannot_be_said_is_refused_with_a_reason() {
    use ErrorKind::{InvalidInput, Unsupported};
    let user = |content| Message::User { content };
    let image = |media_type: &str, source| Content::Image { media_type: media_type.into(), source };
    let empty = || Source::Base64(String::new());
    let text = || Content::Text { text: "x".into() };
    let cases: Vec<(Error, ErrorKind, &str)> = vec![
        (refused(|r| r.model.clear()), InvalidInput, "name a model"),
        (refused(|r| r.messages.clear()), InvalidInput, "at least one message"),
        (refused(|r| r.messages = vec![Message::system("x")]), InvalidInput, "no instruction"),
        (refused(|r| r.messages = vec![Message::user(" ")]), InvalidInput, "needs content"),
        (refused(|r| r.temperature = Some(f64::NAN)), InvalidInput, "finite"),
        (refused(|r| r.max_tokens = Some(0)), InvalidInput, "at least 1"),
        (refused(|r| r.seed = Some(1)), Unsupported, "`seed`"),
        (refused(|r| r.output_schema = Some(json!({"not": {}}))), InvalidInput, "`not`"),
        (refused(|r| r.tool_choice = ToolChoice::Required), InvalidInput, "no tools"),
        (refused(|r| r.tool_choice = ToolChoice::Tool("g".into())), InvalidInput, "`g`"),
        (
            refused(|r| r.messages = vec![user(vec![image("image/tiff", empty())])]),
            Unsupported,
            "`image/tiff`",
        ),
        (
            refused(|r| r.messages = vec![user(vec![image("image/png", Source::Url("https://a".into()))])]),
            Unsupported,
            "`s3://`",
        ),
        (
            refused(|r| r.messages = vec![user(vec![text(), document("application/zip", None, empty())])]),
            Unsupported,
            "`application/zip`",
        ),
        (
            refused(|r| r.messages = vec![user(vec![document("application/pdf", None, empty())])]),
            InvalidInput,
            "text beside",
        ),
        (
            refused(|r| {
                r.tools = vec![tool()];
                r.tools[0].input_schema = json!({"type": "array"});
            }),
            InvalidInput,
            "`type`",
        ),
    ];
    for (error, kind, words) in cases {
        assert!(error.is(kind) && error.message().contains(words), "{error:?} has no {words}");
    }
    for name in OWNED {
        let error = refused(|r| drop(r.extra.insert(name.into(), json!(2))));
        assert_eq!(error.to_string(), format!("extra fields may not set `{name}`"));
    }
    let error = refused(|r| {
        r.max_tokens = Some(5);
        r.extra.insert("inferenceConfig".into(), json!({"maxTokens": 7}));
    });
    assert_eq!(error.to_string(), "extra fields may not set `inferenceConfig.maxTokens`");
}
