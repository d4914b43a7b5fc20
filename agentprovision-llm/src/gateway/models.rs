//! The models a caller may name: `GET /v1/models` and `GET /v1/models/{id}`, in one form that the libraries of OpenAI and
//! of Anthropic both read.

use std::collections::HashSet;
use std::fmt;

use agentprovision_core::Result;
use agentprovision_core::context::Context;
use agentprovision_core::model::ModelInfo;
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::ModelRegistry;
use crate::models::{ModelEntry, ModelKind, Models, entries};
use crate::route::Router;

/// Tells which models there are.
#[async_trait]
pub trait ModelDirectory: fmt::Debug + Send + Sync + 'static {
    /// The models the caller may name, each under the name it is asked for by.
    ///
    /// # Errors
    /// What the models cannot be listed with.
    async fn list(&self, ctx: &Context) -> Result<Vec<ModelInfo>>;
}

/// Chat and embedding models: those of the host's own, and those the catalogue knows of the providers.
#[async_trait]
impl ModelDirectory for ModelRegistry {
    async fn list(&self, _ctx: &Context) -> Result<Vec<ModelInfo>> {
        Ok(named(self.listed()))
    }
}

/// Routes first, then the chat and embedding models behind them; those that the tenant may use.
#[async_trait]
impl ModelDirectory for Router {
    async fn list(&self, ctx: &Context) -> Result<Vec<ModelInfo>> {
        Ok(listed(entries(self, ctx)))
    }
}

/// As a [`Router`] lists them, for whoever may read them (`agents:read`).
#[async_trait]
impl ModelDirectory for Models {
    async fn list(&self, ctx: &Context) -> Result<Vec<ModelInfo>> {
        Ok(listed(Models::list(self, ctx).await?))
    }
}

fn listed(entries: Vec<ModelEntry>) -> Vec<ModelInfo> {
    named(entries.into_iter().map(|entry| (entry.name, entry.kind, entry.info)))
}

/// Each name once, and those only that the gateway has a path for.
fn named(models: impl IntoIterator<Item = (String, ModelKind, ModelInfo)>) -> Vec<ModelInfo> {
    let mut seen = HashSet::new();
    let models = models.into_iter().filter(|(_, kind, _)| *kind != ModelKind::Rerank);
    let models = models.filter(|(name, ..)| seen.insert(name.clone()));
    models.map(|(name, _, info)| ModelInfo { name, ..info }).collect()
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
