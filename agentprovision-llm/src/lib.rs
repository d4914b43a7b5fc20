//! LLM dialects, providers, prices and the registry of models.
//!
//! - [`wire`] holds the dialects: pure translation between the vocabulary of
//!   [`agentprovision_core::model`] and a provider's wire format. No I/O, no retries.
//! - [`providers`] holds one [`Provider`] per service; [`HttpModel`] joins a dialect, an endpoint and a transport into a
//!   [`ChatModel`](agentprovision_core::model::ChatModel).
//! - [`catalog`] knows context windows and prices, in integers.
//! - [`layers`] holds what surrounds a model: guards, caches, limits, deadlines.
//! - [`limit`] holds room in budgets before work and settles it after, and [`layers`] put that around a model.
//! - [`models`] is the service through which users ask models without an agent.
//! - [`ModelRegistry`] is the set of models of a platform: it resolves a name to a model.
//!
//! ```
//! # #[cfg(not(feature = "openai"))]
//! # fn main() {}
//! # #[cfg(feature = "openai")]
//! # fn main() -> agentprovision_core::Result<()> {
//! use std::sync::Arc;
//! use agentprovision_core::http::{ReqwestOptions, ReqwestTransport};
//! use agentprovision_llm::providers::{OpenAi, OpenAiCompatible};
//! use agentprovision_llm::ModelRegistry;
//!
//! // Talks to nobody it was not told of.
//! let transport = ReqwestTransport::new(&ReqwestOptions::default())?;
//! let models = ModelRegistry::builder()
//!     .transport(Arc::new(transport.clone()))
//!     .provider(Arc::new(OpenAi::new("sk-your-key".into())?))
//!     .provider(Arc::new(OpenAiCompatible::new("local", "http://localhost:11434/v1")?))
//!     .build()?;
//! for url in models.base_urls() {
//!     transport.allow(&url)?;
//! }
//!
//! let model = models.get("gpt-4o-mini")?;
//! assert_eq!(model.info().provider, "openai");
//! assert_eq!(model.info().context_window, Some(128_000));
//! assert_eq!(models.get("local/qwen3")?.info().price, None); // unknown, not zero
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//! - `openai` (default): OpenAI and any OpenAI-compatible endpoint.
//! - `anthropic`: Anthropic.
//! - `bedrock`: Amazon Bedrock, chat of every vendor there and Titan embeddings, with signed requests.
//! - `gemini`: Google's Gemini API and Vertex AI.
//! - `ollama`: Ollama's own format.
//! - `cohere`: Cohere's chat, embedding and rerank models.
//! - `replay`: record conversations with providers and replay them over real HTTP.
//! - `otel`: OpenTelemetry spans and metrics of requests to models.
//! - `gateway`: an HTTP face in the formats of OpenAI and Anthropic.
//! - `cache-semantic`: a cache that finds answers to questions in other words.
//! - `http-reqwest`: passes `http-reqwest` on to the core.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod catalog;
mod credential;
mod endpoint;
pub mod experiment;
#[cfg(feature = "gateway")]
pub mod gateway;
mod http_model;
mod http_vectors;
pub mod layers;
pub mod limit;
pub mod models;
mod patience;
pub mod providers;
mod registry;
#[cfg(feature = "replay")]
pub mod replay;
pub mod route;
#[cfg(feature = "bedrock")]
mod sigv4;
mod sync;
mod target;
#[cfg(feature = "otel")]
pub mod telemetry;
pub mod wire;

pub use catalog::{Catalog, CatalogEntry, LiveCatalog};
pub use credential::Credential;
pub use endpoint::Endpoint;
pub use http_model::HttpModel;
pub use http_vectors::{HttpEmbedder, HttpReranker};
pub use models::Models;
pub use providers::Provider;
pub use registry::{ModelRegistry, ModelRegistryBuilder};
#[cfg(feature = "bedrock")]
pub use sigv4::{AwsKeySource, AwsKeys, SigV4};
pub use wire::{Category, ProviderError};

/// The first 64 characters of user input, escaped, for error messages.
pub(crate) fn clip(text: &str) -> String {
    let mut out: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        out.push('…');
    }
    out
}
