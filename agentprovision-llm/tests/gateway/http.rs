//! The gateway behind a real HTTP server, with a provider behind real HTTP.

use std::sync::Arc;

use agentprovision_core::http::{ReqwestOptions, ReqwestTransport};
use agentprovision_core::model::{ChatModel, ModelResolver};
use agentprovision_core::testing::ModelMap;
use agentprovision_llm::gateway::{Gateway, GatewayConfig};
use agentprovision_llm::providers::{Anthropic, OpenAi};
use agentprovision_llm::route::Router;
use agentprovision_llm::{ModelRegistry, Provider};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

use super::support::{self, Server, Step, chunk, stream_head, text_event, within};
use super::world::*;

/// A gateway over a provider.
fn over(model: Arc<dyn ChatModel>) -> Gateway {
    Gateway::builder(keys(), Arc::new(ModelMap::new([model]))).build().unwrap()
}

/// Serves it on a free port.
async fn serve(gateway: Gateway) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let gateway = gateway.clone();
            let service = service_fn(move |request| gateway.clone().call(request));
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(connection), service);
            tokio::spawn(async move { drop(serving.await) });
        }
    });
    address
}

async fn ask(address: std::net::SocketAddr, body: &str) -> TcpStream {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(body.as_bytes()).await.unwrap();
    connection
}

/// Pitfall 14: when a client goes away, the provider stops working for it at once.
#[tokio::test]
async fn pitfall_14_a_client_that_goes_away_ends_the_request_to_the_provider() {
    let mut upstream =
        Server::start(vec![stream_head(), chunk(&text_event("hello")), Step::UntilClosed]).await;
    let gateway = over(upstream.model());
    let address = serve(gateway.clone()).await;
    let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "stream": true})
        .to_string();
    let mut client = ask(address, &body).await;
    let mut seen = Vec::new();
    while !seen.windows(5).any(|window| window == b"hello") {
        assert!(within(client.read_buf(&mut seen)).await.unwrap() > 0);
    }
    assert_eq!(gateway.under_way(), 1);
    drop(client);
    within(upstream.closed()).await;
    within(gateway.drain()).await;

    // A client that waits for a whole answer.
    let mut upstream = Server::start(vec![Step::UntilClosed]).await;
    let address = serve(over(upstream.model())).await;
    let client = ask(address, &body.replace("true", "false")).await;
    within(upstream.seen()).await;
    drop(client);
    within(upstream.closed()).await;
}

/// Pitfall 39: a provider's words never reach a caller, whatever the status and the format.
#[tokio::test]
async fn pitfall_39_the_words_of_a_provider_are_not_told() {
    for (status, expected) in [
        ("401 Unauthorized", 502),
        ("400 Bad Request", 400),
        ("429 Too Many Requests", 429),
        ("500 Oops", 502),
    ] {
        let words = format!(
            "{{\"error\": {{\"message\": \"secret {}\", \"type\": \"x\", \"code\": \"secret\"}}}}",
            support::KEY
        );
        let upstream =
            Server::answering(status, "content-type: application/json\r\nx-secret: secret\r\n", &words).await;
        let gateway = over(upstream.model());
        for stream in [false, true] {
            for (path, mut body) in small(stream) {
                body["model"] = "gpt-4o".into();
                let answer = Answer::of(gateway.clone().call(post(path, &body)).await.unwrap()).await;
                assert_eq!(answer.status, expected, "{answer:?}");
                let told = format!("{answer:?}");
                assert!(!told.contains("secret") && !told.contains(support::KEY), "{told}");
            }
        }
    }
}

/// Fields nobody here knows reach a provider that speaks the format of the request, and the key of the caller does not.
#[tokio::test]
async fn unknown_fields_go_through_to_the_provider() {
    let mut upstream = Server::answering(
        "200 OK",
        "content-type: application/json\r\n",
        r#"{"id": "x", "model": "gpt-4o-2024-08-06", "choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}]}"#,
    )
    .await;
    let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "logit_bias": {"50256": -100},
        "x_unheard_of": [1, {"a": null}], "parallel_tool_calls": false});
    let gateway = over(upstream.model());
    let answer = Answer::of(gateway.clone().call(post("/v1/chat/completions", &body)).await.unwrap()).await;
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "ok");
    assert_eq!(answer.json()["model"], "gpt-4o-2024-08-06");
    let seen = upstream.seen().await;
    assert_eq!(seen.json(), body);
    assert!(!seen.head.contains(KEY));
}

#[tokio::test]
async fn a_full_gateway_refuses_and_a_draining_one_waits_for_what_is_under_way() {
    let mut config = GatewayConfig::default();
    config.max_requests = 1;
    let stalling = World::with("openai", vec![text("half")], true, |builder| builder.config(config));
    let [(path, body), ..] = small(true);
    let first = stalling.raw(post(path, &body)).await;
    assert_eq!(first.status(), 200);
    let full = stalling.post(path, &body).await;
    assert_eq!((full.status.as_u16(), &full.headers["retry-after"]), (503, &"1".parse().unwrap()));
    drop(first);
    let mut second = stalling.raw(post(path, &body)).await.into_body();
    assert_eq!(stalling.gateway.under_way(), 1);

    let gateway = stalling.gateway.clone();
    let drained = tokio::spawn(async move { gateway.drain().await });
    while stalling.get("/healthz").await.status == 200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(stalling.post(path, &body).await.status, 503);
    // What is under way goes on.
    let piece = within(second.frame()).await.unwrap().unwrap().into_data().unwrap();
    assert!(piece.starts_with(b"data: "));
    assert!(!drained.is_finished());
    drop(second);
    within(drained).await.unwrap();
}

/// The registry of a platform is its directory too.
#[tokio::test]
async fn the_registry_lists_what_it_knows() {
    let provider = OpenAi::new("sk-none".into()).unwrap();
    let own: Arc<dyn ChatModel> = World::text("ok").model;
    let registry = ModelRegistry::builder()
        .transport(support::transport(&provider))
        .provider(Arc::new(provider))
        .model("acme/support", own)
        .build()
        .unwrap();
    assert!(registry.resolve("acme/support").is_ok());
    let registry = Arc::new(registry);
    let gateway = Gateway::builder(keys(), registry.clone()).directory(registry).build().unwrap();
    let mut request = post("/v1/models", &serde_json::Value::Null);
    *request.method_mut() = http::Method::GET;
    let listed = Answer::of(gateway.clone().call(request).await.unwrap()).await.json();
    let names: Vec<&str> =
        listed["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    for known in ["acme/support", "openai/gpt-4o-mini", "openai/text-embedding-3-small"] {
        assert_eq!(names.iter().filter(|name| **name == known).count(), 1, "{known}: {names:?}");
    }
}

/// A router over these providers, as the model `chat`.
fn routed(providers: Vec<(Arc<dyn Provider>, &str)>) -> Gateway {
    let transport = ReqwestTransport::new(&ReqwestOptions::default()).unwrap();
    let mut registry = ModelRegistry::builder();
    let mut targets = Vec::new();
    for (provider, model) in providers {
        provider.base_urls().iter().for_each(|url| transport.allow(url).unwrap());
        targets.push(format!("{}/{model}", provider.name()));
        registry = registry.provider(provider);
    }
    let config =
        serde_json::from_value(json!({"routes": {"chat": {"targets": targets}}, "retries": 0})).unwrap();
    let registry = registry.transport(Arc::new(transport)).build().unwrap();
    let router = Router::builder(registry).config(config).build().unwrap();
    Gateway::builder(keys(), Arc::new(router)).build().unwrap()
}

/// What is written for one format reaches a fallback of another one without the words it does not know.
#[tokio::test]
async fn fields_of_the_clients_format_are_fitted_to_whoever_answers() {
    let key = || support::KEY.to_owned().into();
    let json = "content-type: application/json\r\n";
    let message = r#"{"type": "message", "id": "x", "model": "claude", "role": "assistant", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "there"}], "usage": {"input_tokens": 1, "output_tokens": 1}}"#;
    let messages = json!([{"role": "user", "content": "hi"}]);
    for (own, status) in [("user", 200), ("logit_bias", 502)] {
        let mut failing = Server::answering("500 X", json, "{}").await;
        let mut fine = Server::answering("200 OK", json, message).await;
        let gateway = routed(vec![
            (Arc::new(OpenAi::at(&failing.base_url, key()).unwrap()), "gpt-4o"),
            (Arc::new(Anthropic::at(&fine.base_url, key()).unwrap()), "claude-sonnet-4-5"),
        ]);
        let body = json!({"model": "chat", "messages": messages, own: {"1": 2}});
        let answer =
            Answer::of(gateway.clone().call(post("/v1/chat/completions", &body)).await.unwrap()).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(failing.seen().await.json()[own], body[own]);
        if status == 200 {
            let seen = fine.seen().await.json();
            assert_eq!(seen.get(own), None, "{seen}");
            assert_eq!(answer.json()["choices"][0]["message"]["content"], "there");
        } else {
            assert!(fine.saw_nothing());
        }
    }
}

/// What the format of nobody who could answer has a word for is refused by name, and nothing is sent.
#[tokio::test]
async fn fields_that_nobody_who_answers_knows_are_refused_by_name() {
    let mut upstream = Server::answering("500 X", "", "").await;
    let gateway = over(upstream.model());
    let messages = json!([{"role": "user", "content": "hi"}]);
    for (path, name, body) in [
        ("/v1/responses", "truncation", json!({"model": "gpt-4o", "input": "hi", "truncation": "auto"})),
        (
            "/v1/messages",
            "top_k",
            json!({"model": "gpt-4o", "max_tokens": 9, "messages": messages, "top_k": 5}),
        ),
    ] {
        let answer = Answer::of(gateway.clone().call(post(path, &body)).await.unwrap()).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        let message = answer.json()["error"]["message"].take();
        assert!(message.as_str().unwrap().starts_with(&format!("`{name}`: ")), "{message}");
    }
    assert!(upstream.saw_nothing());
}

/// A provider that is asked in the responses format keeps the words of that format.
#[tokio::test]
async fn fields_of_the_responses_format_stay_as_they_are_where_it_is_spoken() {
    let body = r#"{"id": "r", "object": "response", "status": "completed", "model": "m", "output": [{"type": "message",
        "id": "m", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "ok", "annotations": []}]}]}"#;
    let mut upstream = Server::answering("200 OK", "content-type: application/json\r\n", body).await;
    let provider = OpenAi::at(&upstream.base_url, support::KEY.to_owned().into()).unwrap().responses();
    let gateway = routed(vec![(Arc::new(provider), "gpt-5")]);
    let body = json!({"model": "chat", "input": "hi", "reasoning": {"effort": "low"}});
    let answer = Answer::of(gateway.clone().call(post("/v1/responses", &body)).await.unwrap()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let body =
        json!({"model": "chat", "messages": [{"role": "user", "content": "hi"}], "reasoning_effort": "high"});
    let answer = Answer::of(gateway.clone().call(post("/v1/chat/completions", &body)).await.unwrap()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for effort in ["low", "high"] {
        let seen = upstream.seen().await.json();
        assert_eq!(seen["reasoning"]["effort"], effort, "{seen}");
        assert_eq!(seen.get("reasoning_effort"), None);
    }
}
