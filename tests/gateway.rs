//! A platform behind HTTP: its keys decide who calls, and its routes who answers.

use std::sync::Arc;

use agentprovision::authz::{Authorizer, Decision, Permission, Resource};
use agentprovision::llm::gateway::Gateway;
use agentprovision::prelude::*;
use agentprovision::tenancy::identity::ApiKeyRequest;
use agentprovision::testing::{Reply, ScriptedModel};
use axum::http::Request;
use http_body_util::{BodyExt, Full};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tower::Service;

use crate::support::{home, in_time};

async fn call(gateway: &Gateway, method: &str, path: &str, key: &str, body: Value) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path).header("x-api-key", key);
    let request = request.header("content-type", "application/json");
    let request = request.body(Full::new(axum::body::Bytes::from(body.to_string()))).unwrap();
    let response = in_time(gateway.clone().call(request)).await.unwrap();
    let status = response.status().as_u16();
    let body = in_time(response.into_body().collect()).await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn keys_of_the_platform_call_its_models_where_they_may_run_agents() {
    let model = ScriptedModel::from_fn("m", |_| Reply::text("hello"));
    let config =
        PlatformConfig::from_json(r#"{"routing": {"routes": {"chat": {"targets": ["m"]}}}}"#).unwrap();
    let platform = config.into_builder().unwrap().model("m", Arc::new(model)).build().await.unwrap();
    let acme = home(&platform, "acme").await;
    let gateway = platform.gateway().build().unwrap();
    let key = |request: ApiKeyRequest| {
        let (keys, admin) = (platform.keys(), &acme.admin);
        async move { keys.create(admin, request).await.unwrap().secret.expose_secret().to_owned() }
    };
    let whole = key(ApiKeyRequest::new("whole")).await;
    let body = json!({"model": "chat", "messages": [{"role": "user", "content": "hi"}]});
    let ask = |key: String| {
        let (gateway, body) = (&gateway, body.clone());
        async move { call(gateway, "POST", "/v1/chat/completions", &key, body).await }
    };
    let (status, answer) = ask(whole.clone()).await;
    assert_eq!((status, &answer["choices"][0]["message"]["content"]), (200, &json!("hello")));
    let (_, models) = call(&gateway, "GET", "/v1/models", &whole, Value::Null).await;
    let names: Vec<&Value> = models["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(names, ["chat", "m"]);

    let reader = key(ApiKeyRequest::new("reader").scopes([Permission::AUDIT_READ])).await;
    let (status, answer) = ask(reader).await;
    assert_eq!((status, &answer["error"]["code"]), (403, &json!("permission_denied")));
    let (status, _) = ask(format!("{whole}x")).await;
    assert_eq!(status, 401);
    platform.close().await.unwrap();
}

/// The host's authorizer: what it says of `models` holds for the gateway too.
#[derive(Debug)]
struct Without {
    inner: Arc<dyn Authorizer>,
    /// What nobody may on `models`; anything where absent.
    permission: Option<Permission>,
}

#[async_trait::async_trait]
impl Authorizer for Without {
    async fn decide(&self, ctx: &Context, permission: Permission, resource: &Resource) -> Result<Decision> {
        if resource.kind == "models" && self.permission.is_none_or(|denied| denied == permission) {
            return Ok(Decision::Deny("models are not for you".into()));
        }
        self.inner.decide(ctx, permission, resource).await
    }
}

#[tokio::test]
async fn the_hosts_authorizer_decides_about_every_path() {
    let messages = json!([{"role": "user", "content": "hi"}]);
    let asking = [
        ("POST", "/v1/chat/completions", json!({"model": "m", "messages": messages})),
        ("POST", "/v1/chat/completions", json!({"model": "m", "messages": messages, "stream": true})),
        ("POST", "/v1/responses", json!({"model": "m", "input": "hi"})),
        ("POST", "/v1/messages", json!({"model": "m", "max_tokens": 9, "messages": messages})),
        ("POST", "/v1/messages/count_tokens", json!({"model": "m", "messages": messages})),
        ("POST", "/v1/embeddings", json!({"model": "m", "input": "hi"})),
    ];
    let reading = [("GET", "/v1/models", Value::Null), ("GET", "/v1/models/m", Value::Null)];
    for denied in [None, Some(Permission::AGENTS_RUN), Some(Permission::AGENTS_READ)] {
        let model = Arc::new(ScriptedModel::from_fn("m", |_| Reply::text("hello")));
        let platform = Platform::builder()
            .model("m", model.clone())
            .embedder("m", model.clone())
            .authorizer(move |inner| Arc::new(Without { inner, permission: denied }))
            .build()
            .await
            .unwrap();
        let acme = home(&platform, "acme").await;
        let key = platform.keys().create(&acme.admin, ApiKeyRequest::new("whole")).await.unwrap();
        let key = key.secret.expose_secret();
        let gateway = platform.gateway().build().unwrap();
        let only_reading = denied == Some(Permission::AGENTS_READ);
        for (method, path, body) in &asking {
            if only_reading && body["stream"] == json!(true) {
                continue;
            }
            let (status, answer) = call(&gateway, method, path, key, body.clone()).await;
            assert_eq!(status, if only_reading { 200 } else { 403 }, "{path}: {answer}");
        }
        assert_eq!(model.requests().is_empty(), !only_reading);
        for (method, path, body) in &reading {
            let (status, answer) = call(&gateway, method, path, key, body.clone()).await;
            assert_eq!(status, 403, "{path}: {answer}");
            assert_eq!(answer["error"]["message"], "models are not for you");
        }
        platform.close().await.unwrap();
    }
}
