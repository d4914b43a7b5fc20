//! The contract of embedding models.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CallLog, ModelInfo, RouteHints, Usage, WireFormat};
use crate::context::Context;
use crate::error::Result;

/// What vectors are for; models that were trained for it make others for a question than for what answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EmbedPurpose {
    /// What is searched for.
    Query,
    /// What is found.
    Document,
    /// How alike two texts are.
    Similarity,
    /// Input of a classifier.
    Classification,
    /// Input of a clustering.
    Clustering,
}

/// A request to an embedding model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct EmbedRequest {
    /// The model's name.
    pub model: String,
    /// The texts, none of them empty.
    pub inputs: Vec<String>,
    /// What the vectors are for; models that know no difference ignore it.
    pub purpose: Option<EmbedPurpose>,
    /// Length of the vectors; the model's default where absent.
    pub dimensions: Option<u32>,
    /// Fields of the provider's own wire format, passed through unchanged.
    pub extra: serde_json::Map<String, Value>,
    /// The format `extra` is written in. A provider of another one is asked by its own names for these fields; hints
    /// that change no answer are left out, and where a field has no name the model cannot answer. Where this is absent,
    /// they are passed through whoever answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub extra_format: Option<WireFormat>,
    /// What the caller says about who answers.
    #[serde(default, skip_serializing_if = "RouteHints::is_default")]
    pub route: RouteHints,
    /// Where the attempts are recorded.
    #[serde(skip)]
    pub log: CallLog,
}

impl EmbedRequest {
    /// A request for the vectors of these texts to `model`.
    pub fn new<T: Into<String>>(model: impl Into<String>, inputs: impl IntoIterator<Item = T>) -> Self {
        let inputs = inputs.into_iter().map(Into::into).collect();
        Self { model: model.into(), inputs, ..Self::default() }
    }
}

/// The vectors of texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EmbedResponse {
    /// One vector for each text, in the order of the texts, all of one length.
    pub vectors: Vec<Vec<f32>>,
    /// The model that answered, as the provider names it.
    pub model: Option<String>,
    /// Token counts; absent when the provider sent none.
    pub usage: Option<Usage>,
}

/// Turns texts into vectors. Providers implement it, layers wrap it.
#[async_trait]
pub trait EmbeddingModel: fmt::Debug + Send + Sync + 'static {
    /// What the model is.
    fn info(&self) -> &ModelInfo;
    /// The models that may answer a request in this one's place, with what they cost the context's tenant now: the model
    /// alone where nothing routes it.
    fn answerers(&self, _ctx: &Context, _route: &RouteHints) -> Vec<Arc<ModelInfo>> {
        vec![Arc::new(self.info().clone())]
    }
    /// The most texts the provider takes in one request. More are sent in several, and whoever wants to know of each
    /// sends no more.
    fn largest_batch(&self) -> usize {
        usize::MAX
    }
    /// One vector for each text. More texts than the provider takes at once are sent in several requests.
    async fn embed(&self, ctx: &Context, request: EmbedRequest) -> Result<EmbedResponse>;
}
