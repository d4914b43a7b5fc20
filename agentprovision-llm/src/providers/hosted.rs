//! Services that speak OpenAI's chat completions: what they share. What tells one from another is a file each.

use std::env;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use agentprovision_core::http::HttpTransport;
use agentprovision_core::model::{ChatModel, EmbeddingModel, RerankModel};
use agentprovision_core::{Error, Result};
use http::Uri;
use secrecy::SecretString;

use super::{OpenAiCompatible, Provider};
use crate::catalog::Catalog;
use crate::wire::openai_chat::OpenAiChat;
use crate::wire::openai_embeddings::OpenAiEmbeddings;

/// What tells one service from another.
pub trait Service: fmt::Debug + Clone + Send + Sync + 'static {
    /// The name it is registered under.
    const NAME: &'static str;
    /// The base URL of its API, to which `/chat/completions` is added.
    const BASE_URL: &'static str;
    /// What the names of its environment variables begin with: `…_API_KEY` and `…_BASE_URL`.
    const VARIABLES: &'static str;
    /// Whether it can do without a key, as servers of your own do.
    const KEY_IS_OPTIONAL: bool = false;

    /// Its dialect.
    fn chat() -> OpenAiChat;

    /// The dialect of its embeddings, where it has embedding models.
    fn embeddings() -> Option<OpenAiEmbeddings> {
        None
    }
}

/// A service of OpenAI's chat completions; [`Groq`](super::Groq), [`Mistral`](super::Mistral) and others are names of it.
#[derive(Clone, Debug)]
pub struct Hosted<S>(OpenAiCompatible, PhantomData<fn() -> S>);

impl<S: Service> Hosted<S> {
    /// The base URL of its API: for servers of your own, on this machine.
    pub const BASE_URL: &'static str = S::BASE_URL;

    /// The service with this key.
    ///
    /// # Errors
    /// `invalid_input` when the key is empty or cannot stand in a header.
    pub fn new(key: SecretString) -> Result<Self> {
        Self::at(S::BASE_URL, key)
    }

    /// The service behind another base URL, such as that of a gateway or of a regional endpoint.
    ///
    /// # Errors
    /// `invalid_input` as [`Hosted::new`], and when the URL is not an absolute one without user, query and fragment.
    pub fn at(base_url: &str, key: SecretString) -> Result<Self> {
        let server = Self::without_key(base_url)?;
        Ok(Self(server.0.key(key)?, PhantomData))
    }

    /// The service at this base URL without a key, as servers of your own are.
    ///
    /// # Errors
    /// `invalid_input` when the URL is not an absolute one without user, query and fragment.
    pub fn without_key(base_url: &str) -> Result<Self> {
        let server = OpenAiCompatible::new(S::NAME, base_url)?.dialect(S::chat());
        Ok(Self(server.embeddings(S::embeddings().unwrap_or_default()), PhantomData))
    }

    /// The service with the key in `…_API_KEY`, at `…_BASE_URL` where that is set; the type's own documentation has the
    /// names.
    ///
    /// # Errors
    /// `invalid_input` when a key is needed and not set, and as [`Hosted::at`].
    pub fn from_env() -> Result<Self> {
        let name = format!("{}_API_KEY", S::VARIABLES);
        let base_url = variable(&format!("{}_BASE_URL", S::VARIABLES));
        let base_url = base_url.as_deref().unwrap_or(S::BASE_URL);
        match variable(&name) {
            None if S::KEY_IS_OPTIONAL => Self::without_key(base_url),
            _ => Self::at(base_url, required(&name)?.into()),
        }
    }

    /// The same service with one more header on every request; its value is treated as a secret.
    ///
    /// # Errors
    /// `invalid_input` when the name or the value cannot stand in a header, or the name is one the platform sets.
    pub fn header(self, name: &str, value: &str) -> Result<Self> {
        Ok(Self(self.0.header(name, value)?, PhantomData))
    }

    /// The same service with its server changed.
    pub(super) fn server(self, change: impl FnOnce(OpenAiCompatible) -> OpenAiCompatible) -> Self {
        Self(change(self.0), PhantomData)
    }
}

impl<S: Service> Provider for Hosted<S> {
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
        match S::embeddings() {
            Some(_) => self.0.embedder(model, transport, catalog),
            None => Err(super::lacking(S::NAME, "embedding")),
        }
    }

    fn reranker(&self, _: &str, _: Arc<dyn HttpTransport>, _: &Catalog) -> Result<Arc<dyn RerankModel>> {
        Err(super::lacking(self.name(), "rerank"))
    }
}

/// The value of an environment variable; empty counts as not set.
pub(super) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// The value of an environment variable that must be set.
pub(super) fn required(name: &str) -> Result<String> {
    variable(name).ok_or_else(|| Error::invalid(format!("the environment variable `{name}` is not set")))
}
