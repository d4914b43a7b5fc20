//! Requests that are refused, each with a reason.

use agentprovision_core::{Error, ErrorKind};
use agentprovision_llm::gateway::GatewayConfig;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::world::*;

/// The parts of an error in the shape of OpenAI: status, code, param and message.
async fn refused(world: &World, path: &str, body: &Value) -> (u16, String, Value, String) {
    let answer = world.post(path, body).await;
    let error = answer.json()["error"].take();
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    (answer.status.as_u16(), text("code"), error["param"].clone(), text("message"))
}

#[tokio::test]
async fn every_field_that_is_wrong_is_named() {
    let user = json!([{"role": "user", "content": "hi"}]);
    let chat = |more: Value| {
        let mut body = json!({"model": "m", "messages": user});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ("/v1/chat/completions", body)
    };
    let content = |part: Value| chat(json!({"messages": [{"role": "user", "content": [part]}]}));
    let responses = |more: Value| {
        let mut body = json!({"model": "m", "input": "hi"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ("/v1/responses", body)
    };
    let world = World::text("ok");
    for ((path, body), param) in [
        (chat(json!({"model": null})), "model"),
        (chat(json!({"model": 7})), "model"),
        (chat(json!({"messages": null})), "messages"),
        (chat(json!({"messages": "hi"})), "messages"),
        (chat(json!({"messages": ["hi"]})), "messages[0]"),
        (chat(json!({"messages": [{"role": "wizard", "content": "hi"}]})), "messages[0].role"),
        (chat(json!({"messages": [{"role": "user"}]})), "messages[0].content"),
        (chat(json!({"messages": [{"role": "user", "content": "hi", "name": "ada"}]})), "messages[0].name"),
        (content(json!({"type": "input_audio", "input_audio": {}})), "messages[0].content[0].type"),
        (
            content(json!({"type": "image_url", "image_url": {"url": "/etc/passwd"}})),
            "messages[0].content[0].image_url.url",
        ),
        (
            content(json!({"type": "image_url", "image_url": {"url": "https://h/a", "detail": "low"}})),
            "messages[0].content[0].image_url.detail",
        ),
        (
            content(json!({"type": "file", "file": {"file_id": "file-1"}})),
            "messages[0].content[0].file.file_id",
        ),
        (chat(json!({"n": 2})), "n"),
        (chat(json!({"logprobs": true})), "logprobs"),
        (chat(json!({"functions": []})), "functions"),
        (chat(json!({"temperature": "hot"})), "temperature"),
        (chat(json!({"max_tokens": -1})), "max_tokens"),
        (chat(json!({"max_completion_tokens": 0})), "max_completion_tokens"),
        (chat(json!({"stop": [1]})), "stop"),
        (chat(json!({"tools": [{"type": "web_search"}]})), "tools[0].type"),
        (
            chat(json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]})),
            "tools[0].function.parameters",
        ),
        (chat(json!({"tool_choice": "often"})), "tool_choice"),
        (
            chat(json!({"response_format": {"type": "json_schema", "json_schema": {"name": "T"}}})),
            "response_format.json_schema.schema",
        ),
        (chat(json!({"response_format": {"type": "grammar"}})), "response_format.type"),
        (chat(json!({"stream_options": {"include": 1}})), "stream_options.include"),
        (responses(json!({"input": null})), "input"),
        (responses(json!({"previous_response_id": "resp_1"})), "previous_response_id"),
        (responses(json!({"background": true})), "background"),
        (responses(json!({"input": [{"type": "item_reference", "id": "rs_1"}]})), "input[0].type"),
        (responses(json!({"input": [{"type": "function_call", "name": "f"}]})), "input[0].call_id"),
        (responses(json!({"include": ["file_search_call.results"]})), "include"),
    ] {
        let (status, code, found, message) = refused(&world, path, &body).await;
        assert_eq!((status, code.as_str()), (400, "invalid_input"), "{param}: {message}");
        assert_eq!(found, param, "{message}");
        assert!(message.starts_with(&format!("`{param}`: ")), "{message}");
    }
    let anthropic = |more: Value| {
        let mut body = json!({"model": "m", "max_tokens": 9, "messages": user});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (body, place) in [
        (anthropic(json!({"max_tokens": null})), "max_tokens"),
        (anthropic(json!({"messages": [{"role": "system", "content": "hi"}]})), "messages[0].role"),
        (
            anthropic(json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]})),
            "tools[0].type",
        ),
        (
            anthropic(
                json!({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]}),
            ),
            "messages[0].content[0].source.type",
        ),
        (
            anthropic(
                json!({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": [{"type": "image"}]}]}]}),
            ),
            "messages[0].content[0].content[0].type",
        ),
        (anthropic(json!({"mcp_servers": []})), "mcp_servers"),
    ] {
        let answer = world.post("/v1/messages", &body).await;
        let error = answer.json()["error"].take();
        assert_eq!((answer.status.as_u16(), &error["type"]), (400, &json!("invalid_request_error")));
        assert!(error["message"].as_str().unwrap().starts_with(&format!("`{place}`: ")), "{error}");
    }
    for (body, param) in [
        (json!({"model": "m", "input": [1, 2]}), "input"),
        (json!({"model": "m", "input": []}), "input"),
        (json!({"model": "m", "input": "a", "encoding_format": "int8"}), "encoding_format"),
        (json!({"model": "m", "input": "a", "dimensions": u64::MAX}), "dimensions"),
    ] {
        assert_eq!(refused(&world, "/v1/embeddings", &body).await.2, param);
    }
    assert!(!world.model.was_asked());
}

#[tokio::test]
async fn paths_methods_and_bodies_that_are_wrong_say_so() {
    let world = World::text("ok");
    let [(path, body), ..] = small(false);
    assert_eq!(world.get("/v1/completions").await.status, 404);
    let wrong = world.get(path).await;
    assert_eq!((wrong.status.as_u16(), &wrong.headers["allow"]), (405, &"POST".parse().unwrap()));
    for bad in ["{\"model\": \"m\",\n  oops}", "[1]", "", "{\"model\": \"m\""] {
        let mut request = post(path, &Value::Null);
        *request.body_mut() = Full::new(Bytes::from(bad));
        let answer = world.send(request).await;
        assert_eq!(answer.status, 400);
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(bad == "[1]" || message.contains("line") && message.contains("column"), "{message}");
        assert!(!message.contains("oops"), "{message}");
    }
    let mut request = post(path, &body);
    request.headers_mut().insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
    assert_eq!(world.send(request).await.status, 415);
    let mut request = post(path, &body);
    request.headers_mut().insert("content-type", "Application/JSON; charset=utf-8".parse().unwrap());
    assert_eq!(world.send(request).await.status, 200);
    let mut request = post(path, &body);
    request.headers_mut().insert("x-agentprovision-cache", "sometimes".parse().unwrap());
    let answer = world.send(request).await.json();
    assert_eq!(answer["error"]["param"], "x-agentprovision-cache");
}

/// A body that is announced as too large is not read, and one that turns out to be is not read on.
#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read_on() {
    let mut config = GatewayConfig::default();
    config.max_body_bytes = 100;
    let world = World::with("openai", answer("ok"), false, |builder| builder.config(config));
    let [(path, _), ..] = small(false);
    let parts = |bodies: usize| {
        let read = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = std::sync::Arc::clone(&read);
        let pieces = futures_util::stream::iter((0..bodies).map(move |_| {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok::<_, std::convert::Infallible>(http_body::Frame::data(Bytes::from(vec![b' '; 40])))
        }));
        (http_body_util::StreamBody::new(pieces), read)
    };
    for (announced, expected) in [(Some("400"), 0), (None, 3)] {
        let (body, read) = parts(10);
        let mut request = Request::post(path).header("authorization", format!("Bearer {KEY}"));
        if let Some(length) = announced {
            request = request.header("content-length", length);
        }
        let request = request.body(body).unwrap();
        let response = tower::Service::call(&mut world.gateway.clone(), request).await.unwrap();
        assert_eq!(response.status(), 413);
        let body: Value =
            serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
        assert!(body["error"]["message"].as_str().unwrap().contains("100 bytes"));
        assert_eq!(read.load(std::sync::atomic::Ordering::SeqCst), expected);
    }
}

#[tokio::test]
async fn without_a_key_that_holds_nothing_is_read() {
    let world = World::text("ok");
    let [chat, _, messages] = small(false);
    for (key, status) in [(None, 401), (Some("Bearer nobody's"), 401), (Some("Bearer key-of-suspended"), 403)]
    {
        for (path, body) in [&chat, &messages] {
            let mut request = post(path, body);
            match key {
                Some(key) => drop(request.headers_mut().insert("authorization", key.parse().unwrap())),
                None => drop(request.headers_mut().remove("authorization")),
            }
            // Nobody's body is not read, so it may be anything.
            *request.body_mut() = Full::new(Bytes::from_static(b"no JSON"));
            let answer = world.send(request).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.headers["x-should-retry"], "false");
            let error = answer.json()["error"].take();
            match (*path, status) {
                ("/v1/messages", 401) => assert_eq!(error["type"], "authentication_error"),
                ("/v1/messages", _) => assert_eq!(error["type"], "permission_error"),
                (_, 401) => assert_eq!(error["code"], "invalid_api_key"),
                _ => assert_eq!(error["code"], "tenant_suspended"),
            }
        }
    }
    for name in ["x-api-key", "api-key"] {
        let mut request = post(chat.0, &chat.1);
        request.headers_mut().remove("authorization");
        request.headers_mut().insert(name, KEY.parse().unwrap());
        assert_eq!(world.send(request).await.status, 200);
    }
    let mut request = post("/healthz", &Value::Null);
    *request.method_mut() = Method::GET;
    request.headers_mut().remove("authorization");
    assert_eq!(world.send(request).await.status, 200);
}

#[tokio::test]
async fn errors_of_the_platform_have_the_statuses_of_the_formats() {
    for (kind, status, code, anthropic) in [
        (ErrorKind::BudgetExceeded, 402, "insufficient_quota", "billing_error"),
        (ErrorKind::PermissionDenied, 403, "permission_denied", "permission_error"),
        (ErrorKind::NotFound, 404, "model_not_found", "not_found_error"),
        (ErrorKind::TooLarge, 413, "too_large", "request_too_large"),
        (ErrorKind::PriceUnknown, 422, "price_unknown", "invalid_request_error"),
        (ErrorKind::QuotaExceeded, 429, "insufficient_quota", "rate_limit_error"),
        (ErrorKind::RateLimited, 429, "rate_limit_exceeded", "rate_limit_error"),
        (ErrorKind::ProviderError, 502, "provider_error", "api_error"),
        (ErrorKind::DeadlineExceeded, 504, "deadline_exceeded", "timeout_error"),
    ] {
        let world = World::of("openai", vec![Err(Error::new(kind, "no"))]);
        for stream in [false, true] {
            let [chat, responses, messages] = small(stream);
            for (path, body) in [chat, responses] {
                let found = refused(&world, path, &body).await;
                assert_eq!(found, (status, code.to_owned(), Value::Null, "no".to_owned()), "{kind}");
            }
            let answer = world.post(messages.0, &messages.1).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.json()["error"]["type"]),
                (status, &json!(anthropic)),
                "{kind}"
            );
        }
    }
    let world = World::text("ok");
    let unknown = refused(&world, "/v1/responses", &json!({"model": "x", "input": "hi"})).await;
    assert_eq!((unknown.0, unknown.1.as_str()), (404, "model_not_found"));
}

#[test]
fn settings_that_serve_nobody_are_all_named() {
    let config: GatewayConfig =
        serde_json::from_value(json!({"max_requests": 0, "max_body_bytes": 0, "body_timeout_ms": 0}))
            .unwrap();
    let expected = "`max_body_bytes` is 0, `max_requests` is 0, `body_timeout_ms` is 0";
    assert_eq!(config.check().unwrap_err().message(), expected);
    let config: GatewayConfig = serde_json::from_value(json!({"max_body_bytes": 1 << 30})).unwrap();
    let expected = "`max_bytes_under_way` is less than twice `max_body_bytes`";
    assert_eq!(config.check().unwrap_err().message(), expected);
    let error = serde_json::from_value::<GatewayConfig>(json!({"max_request": 1})).unwrap_err();
    assert!(error.to_string().contains("unknown field `max_request`"), "{error}");
}
