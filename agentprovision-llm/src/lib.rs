//! LLM dialects, providers, prices and the registry of models.
//!
//! - [`wire`] holds the dialects: pure translation between the vocabulary of
//!   [`agentprovision_core::model`] and a provider's wire format. No I/O, no retries.
//! - [`providers`] holds one [`Provider`] per service; [`HttpModel`] joins a dialect, an endpoint and a transport into a
//!   [`ChatModel`](agentprovision_core::model::ChatModel).
//! - [`catalog`] knows context windows and prices, in integers.
//! - [`Models`] is the set of models of a platform: it resolves a name to a model.
//!
//! # Features
//! - `openai` (default): OpenAI and any OpenAI-compatible endpoint.
//! - `http-reqwest`: passes `http-reqwest` on to the core.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod catalog;
mod http_model;
pub mod providers;
mod registry;
pub mod wire;

pub use catalog::{Catalog, CatalogEntry};
pub use http_model::{Endpoint, HttpModel};
pub use providers::Provider;
pub use registry::{Models, ModelsBuilder};
pub use wire::{Category, ProviderError};

/// The first 64 characters of user input, escaped, for error messages.
pub(crate) fn clip(text: &str) -> String {
    let mut out: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        out.push('…');
    }
    out
}
