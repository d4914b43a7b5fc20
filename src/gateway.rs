//! The platform behind the HTTP face of [`llm::gateway`](crate::llm::gateway).

use std::sync::Arc;

use agentprovision_core::authz::{Permission, Resource};
use agentprovision_core::context::Credentials;
use agentprovision_core::http::inbound::Authenticate;
use agentprovision_core::model::{ChatModel, EmbeddingModel, EmbeddingResolver, ModelResolver};
use agentprovision_core::{Context, Result};
use agentprovision_llm::gateway::{Gateway, GatewayBuilder};
use agentprovision_llm::models::UsageWriter;
use agentprovision_llm::route::Router;
use async_trait::async_trait;

use crate::platform::Platform;

/// Begins a gateway for the callers of a platform.
pub(crate) fn builder(platform: &Platform) -> GatewayBuilder {
    let counted =
        Arc::new(Counted { router: platform.router().clone(), writer: platform.usage_writer().clone() });
    Gateway::builder(Arc::new(Keys(platform.clone())), counted.clone())
        .embeddings(counted)
        .directory(Arc::new(platform.models().clone()))
        .env(platform.env().clone())
}

/// The models of a platform, with what they use written to its store.
#[derive(Debug)]
struct Counted {
    router: Router,
    writer: UsageWriter,
}

impl ModelResolver for Counted {
    fn resolve(&self, name: &str) -> Result<Arc<dyn ChatModel>> {
        Ok(self.writer.chat(self.router.resolve(name)?))
    }
}

impl EmbeddingResolver for Counted {
    fn embedder(&self, name: &str) -> Result<Arc<dyn EmbeddingModel>> {
        Ok(self.writer.embedding(self.router.embedder(name)?))
    }
}

/// The API keys of a platform, whose authorizer decides who may call models.
#[derive(Debug)]
struct Keys(Platform);

#[async_trait]
impl Authenticate for Keys {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Context> {
        let ctx = self.0.authenticate(credentials).await?;
        self.0.access().check(&ctx, Permission::AGENTS_RUN, Resource::all("models")).await?;
        Ok(ctx)
    }
}
