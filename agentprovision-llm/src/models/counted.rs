//! Models whose use counts wherever they are asked.

use std::sync::Arc;

use agentprovision_core::Result;
use agentprovision_core::context::Context;
use agentprovision_core::model::{
    ChatModel, ChatRequest, ChatResponse, ChatStream, EmbedRequest, EmbedResponse, EmbeddingModel, ModelInfo,
    RouteHints,
};
use async_trait::async_trait;
use futures_util::StreamExt;

use super::spend::UsageWriter;

impl UsageWriter {
    /// A chat model that writes what each request used as usage of the context's tenant. For a model that records its
    /// attempts, as a router's do, and not for agents, whose runs count by themselves.
    pub fn chat(&self, inner: Arc<dyn ChatModel>) -> Arc<dyn ChatModel> {
        Arc::new(Counted { inner, writer: self.clone() })
    }

    /// As [`UsageWriter::chat`], for an embedding model.
    pub fn embedding(&self, inner: Arc<dyn EmbeddingModel>) -> Arc<dyn EmbeddingModel> {
        Arc::new(Counted { inner, writer: self.clone() })
    }
}

#[derive(Debug)]
struct Counted<M: ?Sized> {
    inner: Arc<M>,
    writer: UsageWriter,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChatModel for Counted<dyn ChatModel> {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    fn answerers(&self, ctx: &Context, route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        self.inner.answerers(ctx, route)
    }

    async fn complete(&self, ctx: &Context, mut request: ChatRequest) -> Result<ChatResponse> {
        let tab = self.writer.open(ctx, &mut request.log).await?;
        Ok(tab.ask(self.inner.complete(ctx, request)).await?.answer)
    }

    async fn stream(&self, ctx: &Context, mut request: ChatRequest) -> Result<ChatStream> {
        let tab = self.writer.open(ctx, &mut request.log).await?;
        Ok(tab.follow(self.inner.stream(ctx, request)).await?.boxed())
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl EmbeddingModel for Counted<dyn EmbeddingModel> {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    fn answerers(&self, ctx: &Context, route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        self.inner.answerers(ctx, route)
    }

    fn largest_batch(&self) -> usize {
        self.inner.largest_batch()
    }

    async fn embed(&self, ctx: &Context, mut request: EmbedRequest) -> Result<EmbedResponse> {
        let tab = self.writer.open(ctx, &mut request.log).await?;
        Ok(tab.ask(self.inner.embed(ctx, request)).await?.answer)
    }
}
