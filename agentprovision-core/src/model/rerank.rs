//! The contract of models that sort documents by how well they answer a query.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CallLog, ModelInfo, RouteHints, Usage};
use crate::context::Context;
use crate::error::Result;

/// A request to a rerank model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct RerankRequest {
    /// The model's name.
    pub model: String,
    /// What is searched for.
    pub query: String,
    /// The documents to sort.
    pub documents: Vec<String>,
    /// How many of the best to name; all where absent.
    pub top_n: Option<u32>,
    /// Fields of the provider's own wire format, passed through unchanged.
    pub extra: serde_json::Map<String, Value>,
    /// What the caller says about who answers.
    #[serde(default, skip_serializing_if = "RouteHints::is_default")]
    pub route: RouteHints,
    /// Where the attempts are recorded.
    #[serde(skip)]
    pub log: CallLog,
}

impl RerankRequest {
    /// A request to `model` to sort these documents.
    pub fn new<T: Into<String>>(
        model: impl Into<String>,
        query: impl Into<String>,
        documents: impl IntoIterator<Item = T>,
    ) -> Self {
        let documents = documents.into_iter().map(Into::into).collect();
        Self { model: model.into(), query: query.into(), documents, ..Self::default() }
    }
}

/// How well one document answers the query.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Ranked {
    /// Its place among the documents of the request, from 0.
    pub index: usize,
    /// Higher is better; the scale is the model's own.
    pub score: f64,
}

/// The documents of a request, the best first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RerankResponse {
    /// The documents, the best first, each at most once.
    pub results: Vec<Ranked>,
    /// The model that answered, as the provider names it.
    pub model: Option<String>,
    /// Token counts or searches, whichever the provider bills by; absent when it sent none.
    pub usage: Option<Usage>,
}

/// Sorts documents by how well they answer a query. Providers implement it, layers wrap it.
#[async_trait]
pub trait RerankModel: fmt::Debug + Send + Sync + 'static {
    /// What the model is.
    fn info(&self) -> &ModelInfo;
    /// The models that may answer a request in this one's place, with what they cost the context's tenant now: the model
    /// alone where nothing routes it.
    fn answerers(&self, _ctx: &Context, _route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        vec![Arc::new(self.info().clone())]
    }
    /// The documents, the best first.
    async fn rerank(&self, ctx: &Context, request: RerankRequest) -> Result<RerankResponse>;
}
