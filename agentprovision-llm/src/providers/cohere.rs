//! Cohere.

use std::env;
use std::sync::Arc;

use agentprovision_core::http::HttpTransport;
use agentprovision_core::model::{ChatModel, EmbeddingModel, RerankModel};
use agentprovision_core::{Error, Result};
use http::Uri;
use secrecy::SecretString;

use super::Provider;
use crate::catalog::Catalog;
use crate::endpoint::Endpoint;
use crate::http_model::HttpModel;
use crate::http_vectors::{HttpEmbedder, HttpReranker};
use crate::wire::cohere_chat::CohereChat;
use crate::wire::cohere_embed::CohereEmbed;
use crate::wire::cohere_rerank::CohereRerank;

const BASE_URL: &str = "https://api.cohere.com";

/// Cohere, under the name `cohere`: chat, embedding and rerank models.
#[derive(Clone, Debug)]
pub struct Cohere(Endpoint);

impl Cohere {
    /// Cohere with this key.
    ///
    /// # Errors
    /// `invalid_input` when the key is empty or cannot stand in a header.
    pub fn new(key: SecretString) -> Result<Self> {
        Self::at(BASE_URL, key)
    }

    /// Cohere behind another base URL, to which `/v2/chat`, `/v2/embed` and `/v2/rerank` are added, such as that of a
    /// private deployment.
    ///
    /// # Errors
    /// `invalid_input` as [`Cohere::new`], and when the URL is not an absolute one without user, query and fragment.
    pub fn at(base_url: &str, key: SecretString) -> Result<Self> {
        Ok(Self(Endpoint::new("cohere", base_url)?.with_key(key)?))
    }

    /// Cohere with the key in `CO_API_KEY` or, where that is not set, in `COHERE_API_KEY`; at `CO_API_URL` where that is
    /// set.
    ///
    /// # Errors
    /// `invalid_input` when no key is set, and as [`Cohere::at`].
    pub fn from_env() -> Result<Self> {
        let read = |name| env::var(name).ok().filter(|value| !value.trim().is_empty());
        let key = read("CO_API_KEY").or_else(|| read("COHERE_API_KEY")).ok_or_else(|| {
            Error::invalid("neither of the environment variables `CO_API_KEY` and `COHERE_API_KEY` is set")
        })?;
        Self::at(read("CO_API_URL").as_deref().unwrap_or(BASE_URL), key.into())
    }

    /// The same provider with one more header on every request, such as `x-client-name`.
    ///
    /// # Errors
    /// `invalid_input` when the name or the value cannot stand in a header, or the name is one the platform sets.
    pub fn header(self, name: &str, value: &str) -> Result<Self> {
        Ok(Self(self.0.with_header(name, value)?))
    }
}

impl Provider for Cohere {
    fn name(&self) -> &str {
        self.0.provider()
    }

    fn base_urls(&self) -> Vec<Uri> {
        vec![self.0.base_url().clone()]
    }

    fn model(
        &self,
        model: &str,
        transport: Arc<dyn HttpTransport>,
        catalog: &Catalog,
    ) -> Result<Arc<dyn ChatModel>> {
        let info = super::info(self.name(), model, catalog)?;
        Ok(Arc::new(HttpModel::new(info, self.0.clone(), Arc::new(CohereChat::new()), transport)))
    }

    fn embedder(
        &self,
        model: &str,
        transport: Arc<dyn HttpTransport>,
        catalog: &Catalog,
    ) -> Result<Arc<dyn EmbeddingModel>> {
        let info = super::info(self.name(), model, catalog)?;
        Ok(Arc::new(HttpEmbedder::new(info, self.0.clone(), Arc::new(CohereEmbed::new()), transport)))
    }

    fn reranker(
        &self,
        model: &str,
        transport: Arc<dyn HttpTransport>,
        catalog: &Catalog,
    ) -> Result<Arc<dyn RerankModel>> {
        let info = super::info(self.name(), model, catalog)?;
        Ok(Arc::new(HttpReranker::new(info, self.0.clone(), Arc::new(CohereRerank::new()), transport)))
    }
}
