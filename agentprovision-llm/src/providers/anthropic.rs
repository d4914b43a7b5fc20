//! Anthropic.

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
use crate::wire::anthropic_messages::AnthropicMessages;

const BASE_URL: &str = "https://api.anthropic.com/v1";

/// Anthropic's messages, under the name `anthropic`.
///
/// Where a request sets no limit of tokens, the longest answer the catalogue knows of the model is asked for, and
/// [`AnthropicMessages::MAX_TOKENS`] of a model it does not know.
#[derive(Clone, Debug)]
pub struct Anthropic(Endpoint);

impl Anthropic {
    /// Anthropic with this key.
    ///
    /// # Errors
    /// `invalid_input` when the key is empty or cannot stand in a header.
    pub fn new(key: SecretString) -> Result<Self> {
        Self::at(BASE_URL, key)
    }

    /// Anthropic behind another base URL, to which `/messages` is added, such as that of a gateway.
    ///
    /// # Errors
    /// `invalid_input` as [`Anthropic::new`], and when the URL is not an absolute one without user, query and fragment.
    pub fn at(base_url: &str, key: SecretString) -> Result<Self> {
        let key = key.expose_secret().trim();
        if key.is_empty() {
            return Err(Error::invalid("the key of provider `anthropic` is empty"));
        }
        Ok(Self(Endpoint::new("anthropic", base_url)?.with_header("x-api-key", key)?))
    }

    /// Anthropic with the key in `ANTHROPIC_API_KEY`, at `ANTHROPIC_BASE_URL` where that is set: as Anthropic's own
    /// libraries read it, without the `/v1`.
    ///
    /// # Errors
    /// `invalid_input` when the key is not set, and as [`Anthropic::at`].
    pub fn from_env() -> Result<Self> {
        let read = |name| env::var(name).ok().filter(|value| !value.trim().is_empty());
        let key = read("ANTHROPIC_API_KEY")
            .ok_or_else(|| Error::invalid("the environment variable `ANTHROPIC_API_KEY` is not set"))?;
        let base_url = read("ANTHROPIC_BASE_URL").map(|url| format!("{}/v1", url.trim_end_matches('/')));
        Self::at(base_url.as_deref().unwrap_or(BASE_URL), key.into())
    }

    /// The same provider with one more header on every request, such as `anthropic-beta`.
    ///
    /// # Errors
    /// `invalid_input` when the name or the value cannot stand in a header, or the name is one the platform sets.
    pub fn header(self, name: &str, value: &str) -> Result<Self> {
        Ok(Self(self.0.with_header(name, value)?))
    }
}

impl Provider for Anthropic {
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
        let limit = info.max_output_tokens.unwrap_or(AnthropicMessages::MAX_TOKENS);
        let dialect = AnthropicMessages::new().with_max_tokens(limit);
        Ok(Arc::new(HttpModel::new(info, self.0.clone(), Arc::new(dialect), transport)))
    }

    fn embedder(&self, _: &str, _: Arc<dyn HttpTransport>, _: &Catalog) -> Result<Arc<dyn EmbeddingModel>> {
        Err(super::lacking(self.name(), "embedding"))
    }

    fn reranker(&self, _: &str, _: Arc<dyn HttpTransport>, _: &Catalog) -> Result<Arc<dyn RerankModel>> {
        Err(super::lacking(self.name(), "rerank"))
    }
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;

    use super::*;

    #[test]
    fn what_cannot_be_a_provider_is_refused() {
        for key in [" ", "a\nb"] {
            let error = Anthropic::new(key.into()).unwrap_err();
            assert!(error.is(ErrorKind::InvalidInput) && !error.to_string().contains("a\nb"), "{error}");
        }
        assert!(Anthropic::at("ftp://h", "k".into()).unwrap_err().is(ErrorKind::InvalidInput));
    }
}
