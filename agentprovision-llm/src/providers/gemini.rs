//! Google's Gemini API.

use std::env;
use std::sync::Arc;

use agentprovision_core::http::HttpTransport;
use agentprovision_core::model::{ChatModel, EmbeddingModel, RerankModel};
use agentprovision_core::{Error, Result};
use http::Uri;
use secrecy::{ExposeSecret, SecretString};

use super::Provider;
use crate::catalog::Catalog;
use crate::endpoint::Endpoint;
use crate::http_model::HttpModel;
use crate::http_vectors::HttpEmbedder;
use crate::wire::gemini_embed::GeminiEmbed;
use crate::wire::gemini_generate::GeminiGenerate;

const BASE_URL: &str = "https://generativelanguage.googleapis.com/v1beta";

/// Google's Gemini API, under the name `gemini`. Vertex AI is [`Vertex`](super::Vertex).
#[derive(Clone, Debug)]
pub struct Gemini(Endpoint);

impl Gemini {
    /// The Gemini API with this key.
    ///
    /// # Errors
    /// `invalid_input` when the key is empty or cannot stand in a header.
    pub fn new(key: SecretString) -> Result<Self> {
        Self::at(BASE_URL, key)
    }

    /// The Gemini API behind another base URL, to which `/models/…` is added, such as that of a gateway.
    ///
    /// # Errors
    /// `invalid_input` as [`Gemini::new`], and when the URL is not an absolute one without user, query and fragment.
    pub fn at(base_url: &str, key: SecretString) -> Result<Self> {
        let key = key.expose_secret().trim();
        if key.is_empty() {
            return Err(Error::invalid("the key of provider `gemini` is empty"));
        }
        // In a header, not in the address: addresses are logged.
        Ok(Self(Endpoint::new("gemini", base_url)?.with_header("x-goog-api-key", key)?))
    }

    /// The Gemini API with the key in `GOOGLE_API_KEY` or, where that is not set, in `GEMINI_API_KEY`: the order of
    /// Google's own libraries.
    ///
    /// # Errors
    /// `invalid_input` when neither is set, and as [`Gemini::new`].
    pub fn from_env() -> Result<Self> {
        let read = |name| env::var(name).ok().filter(|value| !value.trim().is_empty());
        let key = read("GOOGLE_API_KEY").or_else(|| read("GEMINI_API_KEY")).ok_or_else(|| {
            Error::invalid(
                "neither of the environment variables `GOOGLE_API_KEY` and `GEMINI_API_KEY` is set",
            )
        })?;
        Self::new(key.into())
    }

    /// The same provider with one more header on every request.
    ///
    /// # Errors
    /// `invalid_input` when the name or the value cannot stand in a header, or the name is one the platform sets.
    pub fn header(self, name: &str, value: &str) -> Result<Self> {
        Ok(Self(self.0.with_header(name, value)?))
    }
}

impl Provider for Gemini {
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
        Ok(Arc::new(HttpModel::new(info, self.0.clone(), Arc::new(GeminiGenerate::new()), transport)))
    }

    fn embedder(
        &self,
        model: &str,
        transport: Arc<dyn HttpTransport>,
        catalog: &Catalog,
    ) -> Result<Arc<dyn EmbeddingModel>> {
        let info = super::info(self.name(), model, catalog)?;
        Ok(Arc::new(HttpEmbedder::new(info, self.0.clone(), Arc::new(GeminiEmbed::new()), transport)))
    }

    fn reranker(&self, _: &str, _: Arc<dyn HttpTransport>, _: &Catalog) -> Result<Arc<dyn RerankModel>> {
        Err(super::lacking(self.name(), "rerank"))
    }
}
