//! Ollama.

use std::env;
use std::sync::Arc;

use agentprovision_core::Result;
use agentprovision_core::http::HttpTransport;
use agentprovision_core::model::{ChatModel, EmbeddingModel, RerankModel};
use http::Uri;
use secrecy::SecretString;

use super::Provider;
use crate::catalog::Catalog;
use crate::endpoint::Endpoint;
use crate::http_model::HttpModel;
use crate::wire::ollama_chat::OllamaChat;

/// An Ollama server, under the name `ollama`, in its own format. Without a key, as servers of your own are.
#[derive(Clone, Debug)]
pub struct Ollama(Endpoint);

impl Ollama {
    /// The address a server listens on unless told otherwise.
    pub const LOCAL: &'static str = "http://localhost:11434";

    /// The server at `base_url`, to which `/api/chat` is added: [`Ollama::LOCAL`].
    ///
    /// # Errors
    /// `invalid_input` when the URL is not an absolute one without user, query and fragment.
    pub fn new(base_url: &str) -> Result<Self> {
        Ok(Self(Endpoint::new("ollama", base_url)?))
    }

    /// The server that `OLLAMA_HOST` names, as Ollama's own programs read it: a URL, or a host with or without a port;
    /// [`Ollama::LOCAL`] where it is not set. With the key in `OLLAMA_API_KEY` where that is set.
    ///
    /// # Errors
    /// `invalid_input` when the host cannot be one or the key cannot stand in a header.
    pub fn from_env() -> Result<Self> {
        let read =
            |name| env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let server =
            Self::new(&read("OLLAMA_HOST").map_or_else(|| Self::LOCAL.to_owned(), |host| url_of(&host)))?;
        match read("OLLAMA_API_KEY") {
            Some(key) => server.key(key.into()),
            None => Ok(server),
        }
    }

    /// The same server with a key, sent as `Authorization: Bearer …`, which Ollama's cloud and proxies ask for.
    ///
    /// # Errors
    /// `invalid_input` when the key is empty or cannot stand in a header.
    pub fn key(self, key: SecretString) -> Result<Self> {
        Ok(Self(self.0.with_key(key)?))
    }

    /// The same server with one more header on every request; its value is treated as a secret.
    ///
    /// # Errors
    /// `invalid_input` when the name or the value cannot stand in a header, or the name is one the platform sets.
    pub fn header(self, name: &str, value: &str) -> Result<Self> {
        Ok(Self(self.0.with_header(name, value)?))
    }
}

/// The URL of a host: without a scheme the port is Ollama's, and the address that means all of them is this machine.
fn url_of(host: &str) -> String {
    if host.contains("://") {
        return host.to_owned();
    }
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !port.is_empty() => {
            (name, port)
        }
        _ => (host.trim_end_matches(':'), "11434"),
    };
    let name = if matches!(name, "" | "0.0.0.0") { "localhost" } else { name };
    format!("http://{name}:{port}")
}

impl Provider for Ollama {
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
        Ok(Arc::new(HttpModel::new(info, self.0.clone(), Arc::new(OllamaChat::new()), transport)))
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
    use super::*;

    #[test]
    fn a_host_is_read_as_ollama_reads_it() {
        for (host, expected) in [
            ("gpu", "http://gpu:11434"),
            ("gpu:80", "http://gpu:80"),
            (":1234", "http://localhost:1234"),
            ("0.0.0.0", "http://localhost:11434"),
            ("https://ollama.com", "https://ollama.com"),
        ] {
            assert_eq!(url_of(host), expected);
            assert!(Ollama::new(expected).is_ok());
        }
    }
}
