//! Any endpoint that speaks OpenAI's chat completions: vLLM, llama.cpp, Ollama, Groq, Mistral, DeepSeek, OpenRouter and
//! many more.

use std::sync::Arc;

use agentprovision_core::http::HttpTransport;
use agentprovision_core::model::ChatModel;
use agentprovision_core::{Error, Result};
use http::Uri;
use secrecy::SecretString;

use super::Provider;
use crate::catalog::Catalog;
use crate::wire::openai_chat::OpenAiChat;
use crate::{Endpoint, HttpModel};

/// A server of OpenAI's chat completions format, under a name of your own.
#[derive(Clone, Debug)]
pub struct OpenAiCompatible {
    endpoint: Endpoint,
    dialect: OpenAiChat,
}

impl OpenAiCompatible {
    /// The server at `base_url`, to which `/chat/completions` is added: `http://localhost:11434/v1`. Without a key.
    ///
    /// # Errors
    /// `invalid_input` when the name is empty or has a slash, or the URL is not an absolute one without user, query
    /// and fragment.
    pub fn new(name: &str, base_url: &str) -> Result<Self> {
        Ok(Self { endpoint: Endpoint::new(name, base_url)?, dialect: OpenAiChat::new() })
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

    /// The same server with other options of the dialect.
    #[must_use]
    pub fn dialect(self, dialect: OpenAiChat) -> Self {
        Self { dialect, ..self }
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
        if model.is_empty() {
            return Err(Error::invalid("the name of a model must not be empty"));
        }
        let info = catalog.info(self.name(), model);
        Ok(Arc::new(HttpModel::new(info, self.endpoint.clone(), Arc::new(self.dialect.clone()), transport)))
    }
}
