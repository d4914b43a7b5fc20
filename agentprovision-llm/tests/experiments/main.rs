//! Experiments, shadow traffic and comparisons: over scripted models, and over real HTTP where a connection must close.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these functions are called by tests only"
)]

#[cfg(test)]
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../support/mod.rs"]
mod support;

mod assignment;
mod comparison;
mod scores;
mod shadow;

use std::sync::Arc;

use agentprovision_core::clock::Timestamp;
use agentprovision_core::model::{
    Attempt, AttemptEnd, CallLog, ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, FinishReason,
    Message, ModelInfo, Usage,
};
use agentprovision_core::money::NanoUsd;
use agentprovision_core::testing::{Reply, ScriptedModel};
use agentprovision_core::{Context, Result};
use async_trait::async_trait;
use futures_util::StreamExt;

fn scripted(name: &str, reply: &'static str) -> Arc<ScriptedModel> {
    Arc::new(ScriptedModel::from_fn(name, move |_| Reply::text(reply)))
}

fn ask(model: &str) -> ChatRequest {
    ChatRequest::new(model, vec![Message::user("What is six times seven?")])
}

async fn events(stream: ChatStream) -> Vec<Result<ChatEvent>> {
    stream.collect().await
}

/// An answer with this text.
fn answer(text: &str) -> ChatResponse {
    ChatResponse {
        id: None,
        model: None,
        text: text.into(),
        reasoning: String::new(),
        refusal: None,
        tool_calls: Vec::new(),
        finish: FinishReason::Stop,
        finish_raw: None,
        usage: None,
        continuation: None,
    }
}

/// A model that panics.
#[derive(Debug)]
struct Panics(ModelInfo);

#[async_trait]
impl ChatModel for Panics {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    async fn complete(&self, _: &Context, _: ChatRequest) -> Result<ChatResponse> {
        panic!("as it was told to")
    }

    async fn stream(&self, _: &Context, _: ChatRequest) -> Result<ChatStream> {
        panic!("as it was told to")
    }
}

/// A model that records two attempts as a router does, of 123 nano-USD together.
#[derive(Debug)]
struct Recording(Arc<ScriptedModel>);

impl Recording {
    fn record(&self, log: &CallLog) {
        for cost in [100, 23] {
            log.push(Attempt {
                provider: "p".into(),
                model: "m".into(),
                credential: 0,
                started: Timestamp::default(),
                duration_us: 1,
                first_content_us: None,
                hedge: false,
                end: AttemptEnd::Answered,
                usage: Some(Usage { input_tokens: Some(5), ..Usage::default() }),
                estimated: false,
                cost: Some(NanoUsd::from_nanos(cost)),
            });
        }
    }
}

#[async_trait]
impl ChatModel for Recording {
    fn info(&self) -> &ModelInfo {
        self.0.info()
    }

    async fn complete(&self, ctx: &Context, request: ChatRequest) -> Result<ChatResponse> {
        self.record(&request.log);
        self.0.complete(ctx, request).await
    }

    async fn stream(&self, ctx: &Context, request: ChatRequest) -> Result<ChatStream> {
        self.record(&request.log);
        self.0.stream(ctx, request).await
    }
}
