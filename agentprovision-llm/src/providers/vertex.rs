//! Google's models on Vertex AI.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use agentprovision_core::http::HttpTransport;
use agentprovision_core::model::{ChatModel, EmbeddingModel, RerankModel};
use agentprovision_core::{Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Uri};
use secrecy::{ExposeSecret, SecretString};

use super::Provider;
use crate::catalog::Catalog;
use crate::clip;
use crate::credential::Credential;
use crate::endpoint::{Endpoint, is_segment};
use crate::http_model::HttpModel;
use crate::http_vectors::HttpEmbedder;
use crate::wire::ProviderError;
use crate::wire::gemini_generate::GeminiGenerate;
use crate::wire::vertex_embed::VertexEmbed;

/// Gives OAuth 2.0 access tokens of Google Cloud, with the scope `https://www.googleapis.com/auth/cloud-platform`. The
/// host application knows where they come from (a service account, workload identity, the metadata server) and keeps one
/// as long as it is valid: it is asked for every request.
#[async_trait]
pub trait AccessTokens: fmt::Debug + Send + Sync + 'static {
    /// A token that is valid now.
    ///
    /// # Errors
    /// Whatever kept it from being had; the request is not sent.
    async fn access_token(&self) -> Result<SecretString>;
}

/// Access tokens from a closure.
pub struct TokenFn<F>(F);

impl<F> TokenFn<F> {
    /// Asks `tokens` for every request.
    pub fn new(tokens: F) -> Self {
        Self(tokens)
    }
}

impl<F> fmt::Debug for TokenFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFn").finish_non_exhaustive()
    }
}

#[async_trait]
impl<F, Fut> AccessTokens for TokenFn<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<SecretString>> + Send + 'static,
{
    async fn access_token(&self) -> Result<SecretString> {
        (self.0)().await
    }
}

/// Google's models on Vertex AI, under the name `vertex`.
///
/// ```
/// use agentprovision_llm::providers::{TokenFn, Vertex};
/// use std::sync::Arc;
///
/// # fn main() -> agentprovision_core::Result<()> {
/// let tokens = TokenFn::new(|| async { Ok("from the metadata server".into()) });
/// let vertex = Vertex::new("my-project", "europe-west4", Arc::new(tokens))?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Vertex(Endpoint);

impl Vertex {
    /// The models of a project at a location such as `europe-west4`, or `global`.
    ///
    /// # Errors
    /// `invalid_input` when project or location cannot be one.
    pub fn new(project: &str, location: &str, tokens: Arc<dyn AccessTokens>) -> Result<Self> {
        let host = match location {
            "global" => "https://aiplatform.googleapis.com".to_owned(),
            // The two that are of no region have hosts of their own.
            "us" | "eu" => format!("https://aiplatform.{location}.rep.googleapis.com"),
            _ => format!("https://{location}-aiplatform.googleapis.com"),
        };
        Self::at(&host, project, location, tokens)
    }

    /// The same behind another address, to which `/v1/projects/…` is added, such as that of a private endpoint.
    ///
    /// # Errors
    /// `invalid_input` as [`Vertex::new`], and when the URL is not an absolute one without user, query and fragment.
    pub fn at(base_url: &str, project: &str, location: &str, tokens: Arc<dyn AccessTokens>) -> Result<Self> {
        // Old projects have their domain before a colon.
        if !is_segment(&project.replace(':', "")) || project.starts_with('.') {
            return Err(Error::invalid(format!("`{}` is no id of a project", clip(project))));
        }
        let region = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if location.is_empty() || !location.chars().all(region) {
            return Err(Error::invalid(format!("`{}` is no location", clip(location))));
        }
        let base_url = base_url.trim_end_matches('/');
        let base_url = format!("{base_url}/v1/projects/{project}/locations/{location}");
        let bearer = Bearer { tokens, sent: Mutex::new(VecDeque::new()) };
        Ok(Self(Endpoint::new("vertex", &base_url)?.with_credential(Arc::new(bearer))))
    }

    /// The same provider with one more header on every request, such as `x-goog-user-project`.
    ///
    /// # Errors
    /// `invalid_input` when the name or the value cannot stand in a header, or the name is one the platform sets.
    pub fn header(self, name: &str, value: &str) -> Result<Self> {
        Ok(Self(self.0.with_header(name, value)?))
    }
}

impl Provider for Vertex {
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
        Ok(Arc::new(HttpModel::new(info, self.0.clone(), Arc::new(GeminiGenerate::vertex()), transport)))
    }

    fn embedder(
        &self,
        model: &str,
        transport: Arc<dyn HttpTransport>,
        catalog: &Catalog,
    ) -> Result<Arc<dyn EmbeddingModel>> {
        let info = super::info(self.name(), model, catalog)?;
        let dialect = Arc::new(VertexEmbed::new(model));
        Ok(Arc::new(HttpEmbedder::new(info, self.0.clone(), dialect, transport)))
    }

    fn reranker(&self, _: &str, _: Arc<dyn HttpTransport>, _: &Catalog) -> Result<Arc<dyn RerankModel>> {
        Err(super::lacking(self.name(), "rerank"))
    }
}

/// Sends the token of the moment, and knows the last ones that were sent, to take them out of errors.
#[derive(Debug)]
struct Bearer {
    tokens: Arc<dyn AccessTokens>,
    sent: Mutex<VecDeque<SecretString>>,
}

/// An answer may come after the next token was fetched, but hardly after a few of them.
const KEPT: usize = 4;

#[async_trait]
impl Credential for Bearer {
    async fn apply(&self, request: &mut http::Request<Bytes>) -> Result<()> {
        let token = self.tokens.access_token().await?;
        let text = token.expose_secret().trim();
        let value = HeaderValue::from_str(&format!("Bearer {text}")).ok().filter(|_| !text.is_empty());
        let mut value = value
            .ok_or_else(|| Error::internal("the access token of Vertex AI cannot be sent in a header"))?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if !sent.iter().any(|known| known.expose_secret() == token.expose_secret()) {
            sent.push_back(token);
            if sent.len() > KEPT {
                sent.pop_front();
            }
        }
        Ok(())
    }

    fn redacted(&self, error: ProviderError) -> ProviderError {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.iter().fold(error, |error, token| error.redacted(token.expose_secret().trim()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use agentprovision_core::ErrorKind;

    use super::*;
    use crate::wire::Category;

    fn tokens() -> Arc<dyn AccessTokens> {
        let count = AtomicUsize::new(0);
        Arc::new(TokenFn::new(move || {
            let number = count.fetch_add(1, Ordering::Relaxed);
            async move { Ok(SecretString::from(format!("ya29.token-{number}"))) }
        }))
    }

    #[test]
    fn a_project_and_a_location_make_the_address() {
        for (location, expected) in [
            (
                "europe-west4",
                "https://europe-west4-aiplatform.googleapis.com/v1/projects/p:q/locations/europe-west4",
            ),
            ("global", "https://aiplatform.googleapis.com/v1/projects/p:q/locations/global"),
            ("eu", "https://aiplatform.eu.rep.googleapis.com/v1/projects/p:q/locations/eu"),
        ] {
            let vertex = Vertex::new("p:q", location, tokens()).unwrap();
            assert_eq!(vertex.base_urls(), [expected.parse::<Uri>().unwrap()]);
        }
        for (project, location) in
            [("", "us"), ("a/b", "us"), ("..", "us"), ("p", ""), ("p", "evil.example/x"), ("p", "a.b")]
        {
            let error = Vertex::new(project, location, tokens()).unwrap_err();
            assert!(error.is(ErrorKind::InvalidInput), "{project} {location}");
        }
    }

    #[tokio::test]
    async fn every_request_gets_the_token_of_the_moment_and_errors_show_none() {
        let bearer = Bearer { tokens: tokens(), sent: Mutex::default() };
        for number in 0..6 {
            let mut request = http::Request::new(Bytes::new());
            bearer.apply(&mut request).await.unwrap();
            let header = request.headers().get(AUTHORIZATION).unwrap();
            assert!(header.is_sensitive() && header == &format!("Bearer ya29.token-{number}"));
        }
        let error = ProviderError::new(Category::Authentication, "no to ya29.token-4 and ya29.token-5");
        assert_eq!(bearer.redacted(error).message, "no to [redacted] and [redacted]");
        assert_eq!(bearer.sent.lock().unwrap().len(), KEPT);
        for bad in [" ", "a\nb"] {
            let tokens = Arc::new(TokenFn::new(move || async move { Ok(SecretString::from(bad)) }));
            let bearer = Bearer { tokens, sent: Mutex::default() };
            let error = bearer.apply(&mut http::Request::new(Bytes::new())).await.unwrap_err();
            assert!(!format!("{error:?}").contains("a\nb"));
        }
    }
}
