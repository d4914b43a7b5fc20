//! Requests as they are read, and whole answers.

use agentprovision_core::model::{
    CacheUse, ChatEvent, ChatRequest, Content, Continuation, FinishReason, Message, Source, ToolChoice,
    ToolDefinition, ToolRequest, WireFormat,
};
use serde_json::{Value, json};

use super::world::*;

fn call(id: &str, arguments: &str) -> ToolRequest {
    ToolRequest { id: id.into(), name: "add".into(), arguments: arguments.into(), complete: true }
}

fn result(id: &str, content: &str, is_error: bool) -> Message {
    Message::Tool { call_id: id.into(), name: "add".into(), content: content.into(), is_error }
}

fn assistant(text: &str, tool_calls: Vec<ToolRequest>) -> Message {
    Message::Assistant { text: text.into(), tool_calls, continuation: None }
}

fn picture() -> Content {
    Content::Image { media_type: "image/png".into(), source: Source::Base64("AAAA".into()) }
}

/// The conversation that all formats say in their own words.
fn conversation() -> ChatRequest {
    let text = |text: &str| Content::Text { text: text.into() };
    let by_url =
        Content::Image { media_type: "image/jpeg".into(), source: Source::Url("https://h/a.jpg".into()) };
    let file = Content::Document {
        media_type: "application/pdf".into(),
        name: Some("a.pdf".into()),
        source: Source::Base64("AAAA".into()),
    };
    let mut request = ChatRequest::new(
        "m",
        vec![
            Message::system("be brief"),
            Message::User { content: vec![text("look"), picture(), by_url, file] },
            assistant("so", vec![call("c1", "{\"a\":1}"), call("c2", "{}")]),
            result("c1", "2", false),
            result("c2", "3", false),
            Message::user("and now?"),
        ],
    );
    request.tools = vec![ToolDefinition {
        name: "add".into(),
        description: "adds".into(),
        input_schema: json!({"type": "object"}),
    }];
    request.tool_choice = ToolChoice::Tool("add".into());
    request.temperature = Some(0.5);
    request.max_tokens = Some(64);
    request.output_schema = Some(json!({"type": "object", "title": "T"}));
    request
}

const PNG: &str = "data:image/png;base64,AAAA";

async fn read(provider: &str, path: &str, body: &Value) -> ChatRequest {
    let world = World::of(provider, answer("ok"));
    let answer = world.post(path, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    world.model.last().1
}

#[tokio::test]
async fn chat_completions_are_read() {
    let function = |name: &str, arguments: &str| json!({"name": name, "arguments": arguments});
    let body = json!({
        "model": "m",
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "be brief"}]},
            {"role": "user", "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": PNG, "detail": "auto"}},
                {"type": "image_url", "image_url": {"url": "https://h/a.jpg"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
            ]},
            // With what the libraries keep of an answer.
            {"role": "assistant", "content": "so", "refusal": null, "annotations": [], "audio": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": function("add", "{\"a\":1}")},
                {"id": "c2", "type": "function", "function": function("add", "{}")},
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "2"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "3"}]},
            {"role": "user", "content": "and now?"},
        ],
        "tools": [{"type": "function", "function":
            {"name": "add", "description": "adds", "parameters": {"type": "object"}, "strict": true}}],
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "temperature": 0.5,
        "max_completion_tokens": 64,
        "n": 1,
        "response_format": {"type": "json_schema", "json_schema":
            {"name": "T", "strict": true, "schema": {"type": "object", "title": "T"}}},
        "stop": ["END"],
        "seed": 7,
        "logprobs": false,
        "reasoning_effort": "low",
        "user": "u-1",
        "x_unheard_of": {"a": [1]},
    });
    let mut expected = conversation();
    expected.stop = vec!["END".into()];
    expected.seed = Some(7);
    expected.route.affinity = Some("u-1".into());
    let extra = json!({"reasoning_effort": "low", "user": "u-1", "x_unheard_of": {"a": [1]}});
    expected.extra = extra.as_object().unwrap().clone();
    expected.extra_format = Some(WireFormat::ChatCompletions);
    assert_eq!(read("openai", "/v1/chat/completions", &body).await, expected);
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stop": "END",
        "max_tokens": 3, "response_format": {"type": "json_object"}, "tool_choice": "required",
        "tools": [{"type": "function", "function": {"name": "f"}}]});
    let request = read("openai", "/v1/chat/completions", &body).await;
    assert_eq!((request.stop, request.max_tokens), (vec!["END".to_owned()], Some(3)));
    assert_eq!(request.extra["response_format"], json!({"type": "json_object"}));
    assert_eq!(request.tool_choice, ToolChoice::Required);
    assert_eq!(request.tools[0].input_schema, json!({"type": "object", "properties": {}}));
}

#[tokio::test]
async fn responses_are_read() {
    let body = json!({
        "model": "m",
        "instructions": "be brief",
        "input": [
            {"role": "user", "content": [
                {"type": "input_text", "text": "look"},
                {"type": "input_image", "image_url": PNG, "detail": "auto"},
                {"type": "input_image", "image_url": "https://h/a.jpg"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
            ]},
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "so", "annotations": [], "logprobs": []}]},
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "add", "arguments": "{\"a\":1}", "status": "completed"},
            {"type": "function_call", "call_id": "c2", "name": "add", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "2"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "3"}]},
            {"role": "user", "content": "and now?"},
        ],
        "tools": [{"type": "function", "name": "add", "description": "adds", "parameters": {"type": "object"}, "strict": false}],
        "tool_choice": {"type": "function", "name": "add"},
        "temperature": 0.5,
        "max_output_tokens": 64,
        "text": {"format": {"type": "json_schema", "name": "T", "schema": {"type": "object", "title": "T"}, "strict": true}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": true,
        "prompt_cache_key": "k",
        "previous_response_id": null,
    });
    let mut expected = conversation();
    expected.route.affinity = Some("k".into());
    // Whoever asks a provider puts them under its names.
    let extra = json!({"reasoning": {"effort": "low", "summary": "auto"}, "text": {"verbosity": "low"}, "prompt_cache_key": "k"});
    expected.extra = extra.as_object().unwrap().clone();
    expected.extra_format = Some(WireFormat::Responses);
    assert_eq!(read("openai", "/v1/responses", &body).await, expected);
    let small = json!({"model": "m", "input": "hi"});
    assert_eq!(read("openai", "/v1/responses", &small).await.messages, [Message::user("hi")]);
}

#[tokio::test]
async fn messages_are_read() {
    let body = json!({
        "model": "m",
        "max_tokens": 64,
        "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "look"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {"type": "image", "source": {"type": "url", "url": "https://h/a.jpg"}},
                {"type": "document", "title": "a.pdf", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}},
            ]},
            {"role": "assistant", "content": [
                {"type": "text", "text": "so", "citations": null},
                {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}},
                {"type": "tool_use", "id": "c2", "name": "add", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "2"},
                {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "3"}]},
                {"type": "text", "text": "and now?"},
            ]},
        ],
        "tools": [{"name": "add", "description": "adds", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "add", "disable_parallel_tool_use": true},
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object", "title": "T"}}, "effort": "low"},
        "top_k": 5,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "metadata": {"user_id": "u-1"},
    });
    let mut expected = conversation();
    expected.stop = vec!["END".into()];
    expected.route.affinity = Some("u-1".into());
    let extra = json!({"top_k": 5, "thinking": {"type": "enabled", "budget_tokens": 1024}, "metadata": {"user_id": "u-1"},
        "parallel_tool_calls": false, "cache_control": {"type": "ephemeral"}, "output_config": {"effort": "low"}});
    expected.extra = extra.as_object().unwrap().clone();
    expected.extra_format = Some(WireFormat::Messages);
    assert_eq!(read("anthropic", "/v1/messages", &body).await, expected);
    let failed = json!({"model": "m", "max_tokens": 1, "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "add", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "no", "is_error": true}]},
    ]});
    assert_eq!(read("openai", "/v1/messages", &failed).await.messages[2], result("c1", "no", true));
}

/// Thinking that Anthropic signed itself goes back as it came, and unsigned thinking goes nowhere.
#[tokio::test]
async fn thinking_of_anthropic_goes_back_as_it_came() {
    let thinking = json!({"type": "thinking", "thinking": "hm", "signature": "ErUB"});
    let said = json!({"type": "text", "text": "so"});
    let unsigned = json!({"type": "thinking", "thinking": "hm", "signature": ""});
    for (blocks, kept) in [
        (json!([thinking, said]), Some(vec![thinking.clone(), said.clone()])),
        (json!([unsigned, said]), None),
    ] {
        let body = json!({"model": "m", "max_tokens": 9, "messages":
            [{"role": "user", "content": "hi"}, {"role": "assistant", "content": blocks}, {"role": "user", "content": "?"}]});
        let continuation = kept.map(|items| Continuation { issuer: "anthropic.messages".into(), items });
        let expected = Message::Assistant { text: "so".into(), tool_calls: Vec::new(), continuation };
        assert_eq!(read("anthropic", "/v1/messages", &body).await.messages[1], expected);
    }
}

#[tokio::test]
async fn whole_answers_have_the_forms_of_their_formats() {
    let mut events = vec![Ok(ChatEvent::Reasoning("hm".into()))];
    events.extend([text("hello"), piece(0, Some("add"), "{\"a\":1}"), piece(1, Some("add"), "{}")]);
    events.extend([finished(FinishReason::ToolCalls), usage()]);
    let world = World::of("openai", events);
    let [chat, responses, messages] = small(false);

    let mut said = world.post(chat.0, &chat.1).await.json();
    let id = said["id"].take();
    assert!(id.as_str().unwrap().starts_with("chatcmpl-"));
    assert!(said["created"].take().as_i64().unwrap() > 1_700_000_000);
    let call = |id: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": "add", "arguments": arguments}});
    let expected = json!({
        "id": null, "object": "chat.completion", "created": null, "model": "m",
        "choices": [{"index": 0, "logprobs": null, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": "hello", "refusal": null, "annotations": [], "reasoning_content": "hm",
            "tool_calls": [call("call_0", "{\"a\":1}"), call("call_1", "{}")],
        }}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 2}},
    });
    assert_eq!(said, expected);

    let said = world.post(messages.0, &messages.1).await.json();
    assert!(said["id"].as_str().unwrap().starts_with("msg_"));
    let content = json!([
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "hello"},
        {"type": "tool_use", "id": "call_0", "name": "add", "input": {"a": 1}},
        {"type": "tool_use", "id": "call_1", "name": "add", "input": {}},
    ]);
    assert_eq!(
        (&said["content"], &said["stop_reason"], &said["role"]),
        (&content, &json!("tool_use"), &json!("assistant"))
    );
    let usage = json!({"input_tokens": 5, "cache_creation_input_tokens": 1, "cache_read_input_tokens": 4, "output_tokens": 5});
    assert_eq!(said["usage"], usage);

    let mut body = responses.1;
    body["instructions"] = "be brief".into();
    let said = world.post(responses.0, &body).await.json();
    assert_eq!(
        (&said["object"], &said["status"], &said["instructions"]),
        (&json!("response"), &json!("completed"), &json!("be brief"))
    );
    let output = said["output"].as_array().unwrap();
    let kinds: Vec<&str> = output.iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reasoning", "message", "function_call", "function_call"]);
    assert_eq!(output[0]["summary"], json!([{"type": "summary_text", "text": "hm"}]));
    assert_eq!(
        output[1]["content"],
        json!([{"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}])
    );
    assert_eq!((&output[2]["call_id"], &output[2]["arguments"]), (&json!("call_0"), &json!("{\"a\":1}")));
    assert_eq!(said["usage"]["input_tokens_details"], json!({"cached_tokens": 4, "cache_write_tokens": 1}));
    let mut ids: Vec<&str> = output.iter().map(|item| item["id"].as_str().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[tokio::test]
async fn answers_end_for_the_reasons_of_their_formats() {
    let refused = vec![Ok(ChatEvent::Refusal("I will not".into())), finished(FinishReason::ContentFilter)];
    for (events, chat_word, messages_word, status) in [
        (vec![text("a"), finished(FinishReason::Length)], "length", "max_tokens", "incomplete"),
        (refused, "content_filter", "refusal", "incomplete"),
        (vec![text("a"), finished(FinishReason::Other)], "stop", "end_turn", "completed"),
    ] {
        let world = World::of("openai", events);
        let [chat, responses, messages] = small(false);
        let said = world.post(chat.0, &chat.1).await.json();
        assert_eq!(said["choices"][0]["finish_reason"], chat_word);
        assert_eq!(world.post(messages.0, &messages.1).await.json()["stop_reason"], messages_word);
        assert_eq!(world.post(responses.0, &responses.1).await.json()["status"], status);
    }
}

/// The tenant is that of the key, whatever else is sent.
#[tokio::test]
async fn a_header_with_a_forged_tenant_changes_nothing() {
    let world = World::text("ok");
    for (key, tenant) in [(KEY, world.keys.acme), (OTHER_KEY, world.keys.globex)] {
        for (path, body) in small(false) {
            let mut request = post(path, &body);
            let headers = request.headers_mut();
            headers.insert("authorization", format!("Bearer {key}").parse().unwrap());
            for name in [
                "x-tenant-id",
                "x-agentprovision-tenant",
                "x-tenant",
                "tenant",
                "x-forwarded-tenant",
                "openai-organization",
            ] {
                let other = if key == KEY { world.keys.globex } else { world.keys.acme };
                headers.insert(name, other.to_string().parse().unwrap());
            }
            assert_eq!(world.send(request).await.status, 200);
            assert_eq!(world.model.last().0.tenant(), tenant);
        }
    }
}

/// Pitfall 19: every format goes the same way, with the same hints.
#[tokio::test]
async fn pitfall_19_every_format_has_the_same_pipeline() {
    let world = World::text("ok");
    let mut seen = Vec::new();
    for stream in [false, true] {
        for (path, body) in small(stream) {
            let mut request = post(path, &body);
            for (name, value) in [
                ("x-agentprovision-project", "p"),
                ("x-agentprovision-cache", "never"),
                ("x-session-id", "s"),
                ("x-request-id", "r-1"),
                ("idempotency-key", "i-1"),
                ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ] {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
            let answer = world.send(request).await;
            assert_eq!(
                (&answer.headers["x-request-id"], &answer.headers["idempotency-key"]),
                (&"r-1".parse().unwrap(), &"i-1".parse().unwrap())
            );
            let (ctx, request) = world.model.last();
            assert_eq!(ctx.correlation_id(), "r-1");
            assert!(ctx.info().traceparent.is_some());
            seen.push((request.messages, request.route));
        }
    }
    let (_, route) = &seen[0];
    assert_eq!(
        (route.project.as_deref(), route.affinity.as_deref(), route.cache),
        (Some("p"), Some("s"), CacheUse::Never)
    );
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
    // Without an id of the client's own, the platform's.
    let [(path, body), ..] = small(false);
    let answer = world.post(path, &body).await;
    assert_eq!(answer.headers["x-request-id"], world.model.last().0.request_id().to_string());
}

#[tokio::test]
async fn embeddings_come_as_floats_or_in_base64() {
    let world = World::text("ok");
    let floats = world
        .post("/v1/embeddings", &json!({"model": "m", "input": ["a", "bcd"], "encoding_format": "float"}))
        .await
        .json();
    assert_eq!(floats["data"][1], json!({"object": "embedding", "index": 1, "embedding": [3.0, -0.5]}));
    assert_eq!(floats["usage"], json!({"prompt_tokens": 7, "total_tokens": 7}));
    let packed = world
        .post("/v1/embeddings", &json!({"model": "m", "input": "a", "encoding_format": "base64"}))
        .await
        .json();
    // 1.0 is 0000803f and -0.5 is 000000bf.
    assert_eq!(packed["data"][0]["embedding"], "AACAPwAAAL8=");
}

#[tokio::test]
async fn models_are_listed_for_both_libraries() {
    let world = World::text("ok");
    let all = world.get("/v1/models").await.json();
    assert_eq!(
        (&all["object"], &all["has_more"], &all["first_id"]),
        (&json!("list"), &json!(false), &json!("m"))
    );
    let one = world.get("/v1/models/m").await.json();
    assert_eq!(all["data"], json!([one]));
    assert_eq!(
        (&one["object"], &one["type"], &one["owned_by"]),
        (&json!("model"), &json!("model"), &json!("openai"))
    );
    let none = world.get("/v1/models/of%2Fnobody").await;
    assert_eq!((none.status.as_u16(), &none.json()["error"]["code"]), (404, &json!("model_not_found")));
}

#[tokio::test]
async fn prompts_are_counted_without_asking_anybody() {
    let world = World::text("ok");
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "a".repeat(300)}]});
    let counted = world.post("/v1/messages/count_tokens", &body).await.json();
    assert!((100..200).contains(&counted["input_tokens"].as_u64().unwrap()), "{counted}");
    body["model"] = "of-nobody".into();
    assert_eq!(world.post("/v1/messages/count_tokens", &body).await.status, 404);
    assert!(!world.model.was_asked());
}
