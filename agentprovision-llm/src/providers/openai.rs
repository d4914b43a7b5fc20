//! OpenAI.

use std::sync::Arc;

use agentprovision_core::Result;
use agentprovision_core::http::HttpTransport;
use agentprovision_core::model::{ChatModel, EmbeddingModel, RerankModel};
use http::Uri;
use secrecy::SecretString;

use super::hosted::{required, variable};
use super::{OpenAiCompatible, Provider};
use crate::catalog::Catalog;
use crate::wire::openai_chat::{OpenAiChat, TokenLimitField};
use crate::wire::openai_embeddings::OpenAiEmbeddings;

const BASE_URL: &str = "https://api.openai.com/v1";

/// OpenAI, under the name `openai`: chat completions, unless told otherwise, and embeddings.
#[derive(Clone, Debug)]
pub struct OpenAi(OpenAiCompatible);

impl OpenAi {
    /// OpenAI with this key.
    ///
    /// # Errors
    /// `invalid_input` when the key is empty or cannot stand in a header.
    pub fn new(key: SecretString) -> Result<Self> {
        Self::at(BASE_URL, key)
    }

    /// OpenAI behind another base URL, such as that of a gateway or of a regional endpoint.
    ///
    /// # Errors
    /// `invalid_input` as [`OpenAi::new`], and when the URL is not an absolute one without user, query and fragment.
    pub fn at(base_url: &str, key: SecretString) -> Result<Self> {
        let dialect = OpenAiChat::new().with_token_limit(TokenLimitField::MaxCompletionTokens);
        let embeddings = OpenAiEmbeddings::new().with_base64();
        Ok(Self(OpenAiCompatible::new("openai", base_url)?.dialect(dialect).embeddings(embeddings).key(key)?))
    }

    /// OpenAI with the key in `OPENAI_API_KEY`, at `OPENAI_BASE_URL` where that is set.
    ///
    /// # Errors
    /// `invalid_input` when the key is not set, and as [`OpenAi::at`].
    pub fn from_env() -> Result<Self> {
        let key = required("OPENAI_API_KEY")?;
        let base_url = variable("OPENAI_BASE_URL");
        Self::at(base_url.as_deref().unwrap_or(BASE_URL), key.into())
    }

    /// The same provider with one more header on every request, such as `OpenAI-Project`.
    ///
    /// # Errors
    /// `invalid_input` when the name or the value cannot stand in a header, or the name is one the platform sets.
    pub fn header(self, name: &str, value: &str) -> Result<Self> {
        Ok(Self(self.0.header(name, value)?))
    }

    /// The same provider in the responses format, in which reasoning goes on between the turns of a conversation.
    #[must_use]
    pub fn responses(self) -> Self {
        Self(self.0.responses())
    }
}

impl Provider for OpenAi {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn base_urls(&self) -> Vec<Uri> {
        self.0.base_urls()
    }

    fn model(
        &self,
        model: &str,
        transport: Arc<dyn HttpTransport>,
        catalog: &Catalog,
    ) -> Result<Arc<dyn ChatModel>> {
        self.0.model(model, transport, catalog)
    }

    fn embedder(
        &self,
        model: &str,
        transport: Arc<dyn HttpTransport>,
        catalog: &Catalog,
    ) -> Result<Arc<dyn EmbeddingModel>> {
        self.0.embedder(model, transport, catalog)
    }

    fn reranker(&self, _: &str, _: Arc<dyn HttpTransport>, _: &Catalog) -> Result<Arc<dyn RerankModel>> {
        Err(super::lacking(self.name(), "rerank"))
    }
}
