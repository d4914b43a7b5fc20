//! Where a provider is and how to prove who asks.

use std::fmt;
use std::sync::Arc;

use agentprovision_core::{Error, Result};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use secrecy::{ExposeSecret, SecretString};

use crate::clip;
use crate::credential::Credential;
use crate::wire::{ProviderError, WireRequest};

/// Where a provider is and how to prove who asks.
#[derive(Clone)]
pub struct Endpoint {
    provider: Arc<str>,
    base_url: Arc<str>,
    uri: Uri,
    query: Arc<str>,
    headers: HeaderMap,
    key: Option<SecretString>,
    /// The key as it is sent.
    bearer: Option<HeaderValue>,
    credential: Option<Arc<dyn Credential>>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Header values stay out: a gateway's key may be among them.
        f.debug_struct("Endpoint")
            .field("provider", &self.provider)
            .field("base_url", &self.base_url)
            .field("query", &self.query)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("key", &self.key.as_ref().map(|_| "[redacted]"))
            .field("credential", &self.credential)
            .finish()
    }
}

impl Endpoint {
    /// The endpoint of `provider` at `base_url`, an absolute `http` or `https` URL without user, query and fragment, to
    /// which the paths of the dialect are added: `https://api.openai.com/v1`.
    ///
    /// # Errors
    /// `invalid_input` when the provider's name is empty or has a slash or the URL is not of that form.
    pub fn new(provider: &str, base_url: &str) -> Result<Self> {
        if provider.is_empty() || provider.contains('/') || provider.chars().any(char::is_control) {
            return Err(Error::invalid(format!("`{}` is no name of a provider", clip(provider))));
        }
        // The URL may carry a password, so it is not quoted.
        let bad = || {
            Error::invalid("a base URL must be absolute, `http` or `https`, without user, query and fragment")
        };
        let url: Uri = base_url.parse().map_err(|_| bad())?;
        let authority = url.authority().ok_or_else(bad)?;
        let plain = matches!(url.scheme_str(), Some("http" | "https"))
            && !authority.host().is_empty()
            && !authority.as_str().contains('@')
            && url.query().is_none()
            && !base_url.contains('#');
        if !plain {
            return Err(bad());
        }
        Ok(Self {
            provider: provider.into(),
            base_url: base_url.trim_end_matches('/').into(),
            uri: url,
            query: "".into(),
            headers: HeaderMap::new(),
            key: None,
            bearer: None,
            credential: None,
        })
    }

    /// The same endpoint with a key, sent as `Authorization: Bearer …`.
    ///
    /// # Errors
    /// `invalid_input` when the key is empty or cannot stand in a header; the key is not in the error.
    pub fn with_key(mut self, key: SecretString) -> Result<Self> {
        if key.expose_secret().trim().is_empty() {
            return Err(Error::invalid(format!("the key of provider `{}` is empty", self.provider)));
        }
        self.bearer = Some(bearer(&key)?);
        self.key = Some(key);
        Ok(self)
    }

    /// The same endpoint with a credential that is asked for every request, after everything else is set.
    #[must_use]
    pub fn with_credential(mut self, credential: Arc<dyn Credential>) -> Self {
        self.credential = Some(credential);
        self
    }

    /// The same endpoint with one more header on every request. Its value is treated as a secret.
    ///
    /// # Errors
    /// `invalid_input` when the name or the value cannot stand in a header, or the name is one the platform sets.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self> {
        let name: HeaderName =
            name.parse().map_err(|_| Error::invalid(format!("`{}` is no name of a header", clip(name))))?;
        if ["authorization", "host", "content-type", "content-length", "accept"].contains(&name.as_str()) {
            return Err(Error::invalid(format!("the header `{name}` is set by the platform")));
        }
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| Error::invalid(format!("the value of the header `{name}` cannot be sent")))?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }

    /// The same endpoint with `name=value` in the query of every request, such as `api-version=2024-10-21`. No place for
    /// secrets: addresses are logged.
    ///
    /// # Errors
    /// `invalid_input` when either has characters other than letters, digits, `-`, `.`, `_` and `~`.
    pub fn with_query(mut self, name: &str, value: &str) -> Result<Self> {
        if !is_segment(name) || !is_segment(value) {
            return Err(Error::invalid(format!("`{}={}` cannot stand in a query", clip(name), clip(value))));
        }
        let and = if self.query.is_empty() { "" } else { "&" };
        self.query = format!("{}{and}{name}={value}", self.query).into();
        Ok(self)
    }

    /// The provider's name.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The base URL, for the transport's list of allowed hosts.
    pub fn base_url(&self) -> &Uri {
        &self.uri
    }

    /// The request with the endpoint's address, headers and credential.
    pub(crate) async fn request(&self, wire: WireRequest) -> Result<http::Request<Bytes>> {
        let mark = match (self.query.is_empty(), wire.path.contains('?')) {
            (true, _) => "",
            (false, false) => "?",
            (false, true) => "&",
        };
        let mut out = http::Request::post(format!("{}{}{mark}{}", self.base_url, wire.path, self.query))
            .body(wire.body)
            .map_err(|error| {
                Error::internal("the address of a request cannot be built").with_source(error)
            })?;
        *out.headers_mut() = wire.headers;
        out.headers_mut().extend(self.headers.clone());
        if let Some(bearer) = &self.bearer {
            out.headers_mut().insert(AUTHORIZATION, bearer.clone());
        }
        if let Some(credential) = &self.credential {
            credential.apply(&mut out).await?;
        }
        Ok(out)
    }

    /// Takes the endpoint's secrets out of a provider's words.
    pub(crate) fn redacted(&self, mut error: ProviderError) -> ProviderError {
        if let Some(key) = &self.key {
            error = error.redacted(key.expose_secret().trim());
        }
        // A short value is no secret, and taking it out would garble the words.
        for value in
            self.headers.values().filter_map(|value| value.to_str().ok()).filter(|value| value.len() >= 8)
        {
            error = error.redacted(value);
        }
        match &self.credential {
            Some(credential) => credential.redacted(error),
            None => error,
        }
    }
}

fn bearer(key: &SecretString) -> Result<HeaderValue> {
    let mut value =
        HeaderValue::from_str(&format!("Bearer {}", key.expose_secret().trim())).map_err(|_| {
            Error::invalid("the key of a provider has characters that cannot be sent in a header")
        })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether a text can stand in an address as it is (RFC 3986, section 2.3).
pub(crate) fn is_segment(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_query_follows_the_path_whatever_that_ends_with() {
        let endpoint = Endpoint::new("p", "http://h/v1/").unwrap();
        let wire =
            |path: &str| WireRequest { path: path.into(), headers: HeaderMap::new(), body: Bytes::new() };
        let uri =
            async |endpoint: &Endpoint, path| endpoint.request(wire(path)).await.unwrap().uri().to_string();
        assert_eq!(uri(&endpoint, "/x").await, "http://h/v1/x");
        let endpoint =
            endpoint.with_query("api-version", "2024-10-21").unwrap().with_query("a", "b").unwrap();
        assert_eq!(uri(&endpoint, "/x").await, "http://h/v1/x?api-version=2024-10-21&a=b");
        assert_eq!(uri(&endpoint, "/x?alt=sse").await, "http://h/v1/x?alt=sse&api-version=2024-10-21&a=b");
        for bad in ["", "a b", "a&b", "ü", "a#"] {
            assert!(endpoint.clone().with_query("a", bad).is_err(), "{bad}");
        }
    }

    #[derive(Debug)]
    struct Sign;

    #[async_trait::async_trait]
    impl Credential for Sign {
        async fn apply(&self, request: &mut http::Request<Bytes>) -> Result<()> {
            let seen = format!("{} {:?} {}", request.uri(), request.body(), request.headers().len());
            request.headers_mut().insert(AUTHORIZATION, seen.parse().unwrap());
            Ok(())
        }

        fn redacted(&self, error: ProviderError) -> ProviderError {
            error.redacted("signed")
        }
    }

    #[tokio::test]
    async fn a_credential_sees_the_request_as_it_is_sent() {
        let endpoint = Endpoint::new("p", "http://h").unwrap().with_credential(Arc::new(Sign));
        let endpoint = endpoint.with_header("x-more", "1").unwrap().with_query("a", "b").unwrap();
        let wire = WireRequest { path: "/x".into(), headers: HeaderMap::new(), body: "hi".into() };
        let request = endpoint.request(wire).await.unwrap();
        assert_eq!(request.headers().get(AUTHORIZATION).unwrap(), "http://h/x?a=b b\"hi\" 1");
        let error = ProviderError::new(crate::wire::Category::ServerError, "you signed");
        assert_eq!(endpoint.redacted(error).message, "you [redacted]");
    }
}
