//! The platform behind the HTTP face of [`llm::gateway`](crate::llm::gateway).

use std::sync::Arc;

use agentprovision_core::authz::Permission;
use agentprovision_core::context::Credentials;
use agentprovision_core::{Context, Error, Result};
use agentprovision_llm::gateway::{Gateway, GatewayAuth, GatewayBuilder};
use async_trait::async_trait;

use crate::platform::Platform;

impl Platform {
    /// Begins to build a gateway for the callers of this platform: its API keys are the gateway's, and its models with
    /// their routes are what it serves.
    ///
    /// Whoever may start runs may call models directly (`agents:run`), since both spend the same way.
    ///
    /// ```
    /// # use agentprovision::Platform;
    /// # async fn example() -> agentprovision::Result<()> {
    /// let platform = Platform::builder().build().await?;
    /// let gateway = platform.gateway().build()?; // a `tower::Service`: mount it on axum, or on hyper
    /// # Ok(())
    /// # }
    /// ```
    pub fn gateway(&self) -> GatewayBuilder {
        let models = Arc::new(self.router().clone());
        Gateway::builder(Arc::new(Keys(self.clone())), models.clone())
            .embeddings(models.clone())
            .directory(models)
            .env(self.env().clone())
    }
}

/// The API keys of a platform.
#[derive(Debug)]
struct Keys(Platform);

#[async_trait]
impl GatewayAuth for Keys {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Context> {
        let ctx = self.0.authenticate(credentials).await?;
        match ctx.grants().contains(Permission::AGENTS_RUN) {
            true => Ok(ctx),
            false => Err(Error::denied("calling models needs the permission `agents:run`")),
        }
    }
}
