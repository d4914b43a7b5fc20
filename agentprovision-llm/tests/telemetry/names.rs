//! Names of models in metrics: callers may invent them, and metrics keep every one for ever.

use std::collections::BTreeSet;
use std::sync::Arc;

use agentprovision_core::http::{BodyStream, HttpTransport};
use agentprovision_core::model::{ChatRequest, EmbedRequest, EmbeddingResolver, Message, ModelResolver};
use agentprovision_core::testing::{Reply, ScriptedModel};
use agentprovision_core::{Error, ErrorKind, Result};
use agentprovision_llm::ModelRegistry;
use agentprovision_llm::providers::OpenAi;
use agentprovision_llm::route::{Router, RoutingConfig};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::support::within;
use super::world::*;

/// A provider that has a chat model of every name, and nothing else.
#[derive(Debug)]
struct Anything;

#[async_trait]
impl HttpTransport for Anything {
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<BodyStream>> {
        if !request.uri().path().ends_with("/chat/completions") {
            return Err(Error::new(ErrorKind::Unavailable, "no such path"));
        }
        let asked: Value = serde_json::from_slice(request.body()).unwrap();
        let choice = json!({"message": {"content": "hello"}, "finish_reason": "stop"});
        let answer = json!({"id": "x", "model": asked["model"], "choices": [choice]});
        let body = stream::iter([Ok(Bytes::from(answer.to_string()))]).boxed();
        Ok(http::Response::builder().header("content-type", "application/json").body(body).unwrap())
    }
}

/// The names of models in the metrics.
fn labels(world: &World) -> BTreeSet<String> {
    world.points().into_iter().map(|(_, labels, ..)| labels["gen_ai.request.model"].clone()).collect()
}

#[tokio::test]
async fn names_that_callers_invent_do_not_make_the_metrics_grow() {
    let world = World::new();
    let own = ScriptedModel::from_fn("m", |_| Reply::text("hello"));
    let registry = ModelRegistry::builder()
        .env(world.env.clone())
        .transport(Arc::new(Anything))
        .provider(Arc::new(OpenAi::new("sk-none".into()).unwrap()))
        .model("m", Arc::new(own))
        .build()
        .unwrap();
    let config: RoutingConfig = serde_json::from_value(
        json!({"routes": {"support": {"targets": ["openai/ours"]}}, "max_attempts": 1}),
    )
    .unwrap();
    let router = Router::builder(registry).config(config).trace(world.layer(false)).build().unwrap();
    let ask = async |name: &str| {
        let request = ChatRequest::new(name, vec![Message::user("hi")]);
        within(router.resolve(name).unwrap().complete(&world.ctx, request)).await.map(drop)
    };
    for at in 0..3000 {
        ask(&format!("openai/invented-{at}")).await.unwrap();
    }
    // Dates that nobody has released the model at.
    for day in 10..20 {
        ask(&format!("openai/gpt-4o-mini-1999-01-{day}")).await.unwrap();
    }
    within(
        router.embedder("openai/invented-vectors").unwrap().embed(&world.ctx, EmbedRequest::new("x", ["a"])),
    )
    .await
    .unwrap_err();
    assert_eq!(labels(&world), ["_OTHER", "gpt-4o-mini"].map(str::to_owned).into());
    assert!(world.points().len() < 20, "{}", world.points().len());
    // Who looks at one request sees what it asked for.
    world.span("chat invented-2999");

    ask("m").await.unwrap();
    ask("support").await.unwrap();
    assert_eq!(labels(&world), ["_OTHER", "gpt-4o-mini", "m", "support"].map(str::to_owned).into());
}
