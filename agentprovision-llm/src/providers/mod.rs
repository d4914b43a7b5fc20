//! Providers: one file each, over a dialect.

#[cfg(feature = "anthropic")]
mod anthropic;
#[cfg(feature = "openai")]
mod azure;
#[cfg(feature = "bedrock")]
mod bedrock;
#[cfg(feature = "openai")]
mod cerebras;
#[cfg(feature = "cohere")]
mod cohere;
#[cfg(feature = "openai")]
mod deepseek;
#[cfg(feature = "openai")]
mod fireworks;
#[cfg(feature = "gemini")]
mod gemini;
#[cfg(feature = "openai")]
mod groq;
#[cfg(feature = "openai")]
mod hosted;
#[cfg(feature = "openai")]
mod llamacpp;
#[cfg(feature = "openai")]
mod mistral;
#[cfg(feature = "ollama")]
mod ollama;
#[cfg(feature = "openai")]
mod openai;
#[cfg(feature = "openai")]
mod openai_compatible;
#[cfg(feature = "openai")]
mod openrouter;
#[cfg(feature = "openai")]
mod perplexity;
#[cfg(feature = "openai")]
mod together;
#[cfg(feature = "gemini")]
mod vertex;
#[cfg(feature = "openai")]
mod vllm;
#[cfg(feature = "openai")]
mod xai;

#[cfg(feature = "anthropic")]
pub use anthropic::Anthropic;
#[cfg(feature = "openai")]
pub use azure::Azure;
#[cfg(feature = "bedrock")]
pub use bedrock::Bedrock;
#[cfg(feature = "openai")]
pub use cerebras::Cerebras;
#[cfg(feature = "cohere")]
pub use cohere::Cohere;
#[cfg(feature = "openai")]
pub use deepseek::DeepSeek;
#[cfg(feature = "openai")]
pub use fireworks::Fireworks;
#[cfg(feature = "gemini")]
pub use gemini::Gemini;
#[cfg(feature = "openai")]
pub use groq::Groq;
#[cfg(feature = "openai")]
pub use hosted::Hosted;
#[cfg(feature = "openai")]
pub use llamacpp::LlamaCpp;
#[cfg(feature = "openai")]
pub use mistral::Mistral;
#[cfg(feature = "ollama")]
pub use ollama::Ollama;
#[cfg(feature = "openai")]
pub use openai::OpenAi;
#[cfg(feature = "openai")]
pub use openai_compatible::OpenAiCompatible;
#[cfg(feature = "openai")]
pub use openrouter::OpenRouter;
#[cfg(feature = "openai")]
pub use perplexity::Perplexity;
#[cfg(feature = "openai")]
pub use together::Together;
#[cfg(feature = "gemini")]
pub use vertex::{AccessTokens, TokenFn, Vertex};
#[cfg(feature = "openai")]
pub use vllm::Vllm;
#[cfg(feature = "openai")]
pub use xai::Xai;

use std::fmt;
use std::sync::Arc;

use agentprovision_core::Result;
use agentprovision_core::http::HttpTransport;
use agentprovision_core::model::{ChatModel, EmbeddingModel, RerankModel};
use http::Uri;

use crate::catalog::Catalog;

/// A service that serves models.
pub trait Provider: fmt::Debug + Send + Sync + 'static {
    /// The name it is registered under, without a slash; the catalogue and `provider/model` use it.
    fn name(&self) -> &str;

    /// The URLs it talks to, for the transport's list of allowed hosts.
    fn base_urls(&self) -> Vec<Uri>;

    /// The model the provider calls `model`; what `catalog` knows about it goes into its
    /// [`ModelInfo`](agentprovision_core::model::ModelInfo). The provider is not asked whether it exists.
    ///
    /// # Errors
    /// `invalid_input` when the name cannot be one of a model.
    fn model(
        &self,
        model: &str,
        transport: Arc<dyn HttpTransport>,
        catalog: &Catalog,
    ) -> Result<Arc<dyn ChatModel>>;

    /// The embedding model the provider calls `model`.
    ///
    /// # Errors
    /// `unsupported` when the provider has none; `invalid_input` when the name cannot be one of a model.
    fn embedder(
        &self,
        model: &str,
        transport: Arc<dyn HttpTransport>,
        catalog: &Catalog,
    ) -> Result<Arc<dyn EmbeddingModel>>;

    /// The rerank model the provider calls `model`.
    ///
    /// # Errors
    /// `unsupported` when the provider has none; `invalid_input` when the name cannot be one of a model.
    fn reranker(
        &self,
        model: &str,
        transport: Arc<dyn HttpTransport>,
        catalog: &Catalog,
    ) -> Result<Arc<dyn RerankModel>>;
}

/// The refusal of a provider that has no models of a kind.
#[cfg(any(
    feature = "anthropic",
    feature = "bedrock",
    feature = "cohere",
    feature = "gemini",
    feature = "ollama",
    feature = "openai"
))]
fn lacking(provider: &str, kind: &str) -> agentprovision_core::Error {
    let provider = crate::clip(provider);
    agentprovision_core::Error::unsupported(format!("the provider `{provider}` has no {kind} models"))
}

/// What the catalogue knows of a model of `provider`.
#[cfg(any(
    feature = "anthropic",
    feature = "bedrock",
    feature = "cohere",
    feature = "gemini",
    feature = "ollama",
    feature = "openai"
))]
fn info(provider: &str, model: &str, catalog: &Catalog) -> Result<agentprovision_core::model::ModelInfo> {
    if model.is_empty() {
        return Err(agentprovision_core::Error::invalid("the name of a model must not be empty"));
    }
    Ok(catalog.info(provider, model))
}
