//! The models a caller may name: `GET /v1/models` and `GET /v1/models/{id}`, in one form that the libraries of OpenAI and
//! of Anthropic both read.

use std::fmt;

use agentprovision_core::Result;
use agentprovision_core::context::Context;
use agentprovision_core::model::{ModelInfo, ModelResolver};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::ModelRegistry;
use crate::route::{Router, RoutingConfig};

/// Tells which models there are.
#[async_trait]
pub trait ModelDirectory: fmt::Debug + Send + Sync + 'static {
    /// The models the caller may name, each under the name it is asked for by.
    ///
    /// # Errors
    /// What the models cannot be listed with.
    async fn list(&self, ctx: &Context) -> Result<Vec<ModelInfo>>;
}

#[async_trait]
impl ModelDirectory for ModelRegistry {
    async fn list(&self, _ctx: &Context) -> Result<Vec<ModelInfo>> {
        let catalog = self.catalog().current();
        let info = |name: String| {
            let known = name.split_once('/').and_then(|(provider, model)| {
                catalog.get(provider, model)?;
                Some(catalog.info(provider, model))
            });
            // A model of the host's own may have any name, also one with a slash.
            let info = known.or_else(|| self.get(&name).ok().map(|model| model.info().clone()))?;
            Some(ModelInfo { name, ..info })
        };
        Ok(self.names().into_iter().filter_map(info).collect())
    }
}

/// Routes first, then the models behind them; those that the tenant may use.
#[async_trait]
impl ModelDirectory for Router {
    async fn list(&self, ctx: &Context) -> Result<Vec<ModelInfo>> {
        let config = self.config();
        let models = self.registry().list(ctx).await?;
        let allowed = |name: &str| {
            let known = models.iter().find(|info| info.name == name).map(|info| info.provider.as_str());
            let provider = known.or_else(|| name.split_once('/').map(|(provider, _)| provider));
            config.allows(ctx.tenant(), name, provider.unwrap_or_default()).is_ok()
        };
        let route = |name: &String| {
            let open = targets(&config, name).into_iter().any(allowed);
            Some(self.resolve(name).ok()?.info().clone()).filter(|_| open)
        };
        let mut all: Vec<ModelInfo> = config.routes.keys().filter_map(route).collect();
        let of_tenant = |info: &&ModelInfo| config.allows(ctx.tenant(), &info.name, &info.provider).is_ok();
        all.extend(models.iter().filter(of_tenant).cloned());
        Ok(all)
    }
}

/// The models a route leads to, through routes within it; the configuration was checked for circles.
fn targets<'a>(config: &'a RoutingConfig, name: &'a str) -> Vec<&'a str> {
    match config.routes.get(name) {
        Some(route) => route.targets.iter().flat_map(|target| targets(config, &target.model)).collect(),
        None => vec![name],
    }
}

/// One model. When it came to be is not known, which both formats write as the beginning of their time.
pub(super) fn one(info: &ModelInfo) -> Value {
    json!({
        "id": info.name,
        "object": "model",
        "created": 0,
        "owned_by": info.provider,
        "type": "model",
        "display_name": info.name,
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": info.context_window,
        "max_tokens": info.max_output_tokens,
    })
}

/// All of them, on one page.
pub(super) fn all(models: &[ModelInfo]) -> Value {
    json!({
        "object": "list",
        "data": models.iter().map(one).collect::<Vec<_>>(),
        "has_more": false,
        "first_id": models.first().map(|info| &info.name),
        "last_id": models.last().map(|info| &info.name),
    })
}
