//! Any endpoint that speaks a format of OpenAI and has no file of its own here.

use std::sync::Arc;

use agentprovision_core::Result;
use agentprovision_core::http::HttpTransport;
use agentprovision_core::model::{ChatModel, EmbeddingModel, RerankModel};
use http::Uri;
use secrecy::SecretString;

use super::Provider;
use crate::catalog::Catalog;
use crate::wire::Dialect;
use crate::wire::embed::EmbedDialect;
use crate::wire::openai_chat::OpenAiChat;
use crate::wire::openai_embeddings::OpenAiEmbeddings;
use crate::wire::openai_responses::OpenAiResponses;
use crate::{Endpoint, HttpEmbedder, HttpModel};

/// A server of OpenAI's formats, under a name of your own: chat completions, unless told otherwise.
#[derive(Clone, Debug)]
pub struct OpenAiCompatible {
    endpoint: Endpoint,
    dialect: Arc<dyn Dialect>,
    embeddings: Arc<dyn EmbedDialect>,
}

impl OpenAiCompatible {
    /// The server at `base_url`, to which `/chat/completions` is added: `http://localhost:11434/v1`. Without a key.
    ///
    /// # Errors
    /// `invalid_input` when the name is empty or has a slash, or the URL is not an absolute one without user, query
    /// and fragment.
    pub fn new(name: &str, base_url: &str) -> Result<Self> {
        Ok(Self {
            endpoint: Endpoint::new(name, base_url)?,
            dialect: Arc::new(OpenAiChat::new()),
            embeddings: Arc::new(OpenAiEmbeddings::new()),
        })
    }

    /// The same server with a key, sent as `Authorization: Bearer …`.
    ///
    /// # Errors
    /// `invalid_input` when the key is empty or cannot stand in a header.
    pub fn key(self, key: SecretString) -> Result<Self> {
        Ok(Self { endpoint: self.endpoint.with_key(key)?, ..self })
    }

    /// The same server with one more header on every request; its value is treated as a secret.
    ///
    /// # Errors
    /// `invalid_input` when the name or the value cannot stand in a header, or the name is one the platform sets.
    pub fn header(self, name: &str, value: &str) -> Result<Self> {
        Ok(Self { endpoint: self.endpoint.with_header(name, value)?, ..self })
    }

    /// The same server with another dialect, or with other options of it.
    #[must_use]
    pub fn dialect(self, dialect: impl Dialect) -> Self {
        Self { dialect: Arc::new(dialect), ..self }
    }

    /// The same server in the responses format, `/responses`; what it encrypts is its own.
    #[must_use]
    pub fn responses(self) -> Self {
        let dialect = OpenAiResponses::new().with_issuer(self.endpoint.provider());
        self.dialect(dialect)
    }

    /// The same server with other options of its embeddings.
    #[must_use]
    pub fn embeddings(self, dialect: impl EmbedDialect) -> Self {
        Self { embeddings: Arc::new(dialect), ..self }
    }

    /// The same server with its endpoint changed.
    pub(super) fn endpoint(self, change: impl FnOnce(Endpoint) -> Result<Endpoint>) -> Result<Self> {
        Ok(Self { endpoint: change(self.endpoint)?, ..self })
    }
}

impl Provider for OpenAiCompatible {
    fn name(&self) -> &str {
        self.endpoint.provider()
    }

    fn base_urls(&self) -> Vec<Uri> {
        vec![self.endpoint.base_url().clone()]
    }

    fn model(
        &self,
        model: &str,
        transport: Arc<dyn HttpTransport>,
        catalog: &Catalog,
    ) -> Result<Arc<dyn ChatModel>> {
        let info = super::info(self.name(), model, catalog)?;
        Ok(Arc::new(HttpModel::new(info, self.endpoint.clone(), Arc::clone(&self.dialect), transport)))
    }

    fn embedder(
        &self,
        model: &str,
        transport: Arc<dyn HttpTransport>,
        catalog: &Catalog,
    ) -> Result<Arc<dyn EmbeddingModel>> {
        let info = super::info(self.name(), model, catalog)?;
        let embeddings = Arc::clone(&self.embeddings);
        Ok(Arc::new(HttpEmbedder::new(info, self.endpoint.clone(), embeddings, transport)))
    }

    fn reranker(&self, _: &str, _: Arc<dyn HttpTransport>, _: &Catalog) -> Result<Arc<dyn RerankModel>> {
        Err(super::lacking(self.name(), "rerank"))
    }
}
