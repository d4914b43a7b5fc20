//! A chat model over HTTP: a dialect, an endpoint and a transport.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use agentprovision_core::context::Context;
use agentprovision_core::http::{BodyStream, HttpTransport};
use agentprovision_core::model::{ChatEvent, ChatModel, ChatRequest, ChatResponse, ChatStream, ModelInfo};
use agentprovision_core::{Error, ErrorKind, Result};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use secrecy::{ExposeSecret, SecretString};

use crate::clip;
use crate::wire::{Category, Delivery, Dialect, ProviderError, StreamDecoder};

/// The largest whole answer that is read, in bytes.
const LARGEST_ANSWER: usize = 32 * 1024 * 1024;
/// The largest error that is read, in bytes; what follows is cut off.
const LARGEST_ERROR: usize = 256 * 1024;

/// Where a provider is and how to prove who asks.
#[derive(Clone)]
pub struct Endpoint {
    provider: Arc<str>,
    base_url: Arc<str>,
    uri: Uri,
    headers: HeaderMap,
    key: Option<SecretString>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Header values stay out: a gateway's key may be among them.
        f.debug_struct("Endpoint")
            .field("provider", &self.provider)
            .field("base_url", &self.base_url)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("key", &self.key.as_ref().map(|_| "[redacted]"))
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
            headers: HeaderMap::new(),
            key: None,
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
        bearer(&key)?;
        self.key = Some(key);
        Ok(self)
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

    /// The provider's name.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The base URL, for the transport's list of allowed hosts.
    pub fn base_url(&self) -> &Uri {
        &self.uri
    }

    /// Takes the endpoint's secrets out of a provider's words.
    fn redacted(&self, mut error: ProviderError) -> ProviderError {
        if let Some(key) = &self.key {
            error = error.redacted(key.expose_secret().trim());
        }
        // A short value is no secret, and taking it out would garble the words.
        for value in
            self.headers.values().filter_map(|value| value.to_str().ok()).filter(|value| value.len() >= 8)
        {
            error = error.redacted(value);
        }
        error
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

/// A model of one provider, over HTTP.
///
/// The `model` of a request is replaced by the name this model has at its provider, so that the name an agent uses and
/// the provider's name may differ. An answer's deadline is the caller's to keep: dropping the future or the stream ends
/// the exchange.
#[derive(Clone, Debug)]
pub struct HttpModel {
    info: ModelInfo,
    wire_name: String,
    endpoint: Endpoint,
    dialect: Arc<dyn Dialect>,
    transport: Arc<dyn HttpTransport>,
}

impl HttpModel {
    /// A model that is called what `info` calls it, here and at its provider.
    pub fn new(
        info: ModelInfo,
        endpoint: Endpoint,
        dialect: Arc<dyn Dialect>,
        transport: Arc<dyn HttpTransport>,
    ) -> Self {
        Self { wire_name: info.name.clone(), info, endpoint, dialect, transport }
    }

    async fn send(&self, mut request: ChatRequest, delivery: Delivery) -> Result<http::Response<BodyStream>> {
        request.model.clone_from(&self.wire_name);
        let wire = self.dialect.encode(&request, delivery)?;
        let mut out =
            http::Request::post(format!("{}{}", self.endpoint.base_url, wire.path)).body(wire.body).map_err(
                |error| Error::internal("the address of a request cannot be built").with_source(error),
            )?;
        *out.headers_mut() = wire.headers;
        out.headers_mut().extend(self.endpoint.headers.clone());
        if let Some(key) = &self.endpoint.key {
            out.headers_mut().insert(AUTHORIZATION, bearer(key)?);
        }
        self.transport.send(out).await.map_err(|error| self.named(error))
    }

    /// The error of an answer with an error status.
    async fn refused(&self, response: http::Response<BodyStream>) -> Error {
        let (head, mut body) = response.into_parts();
        let mut held = BytesMut::new();
        // The status says enough when the body does not arrive.
        while let Some(Ok(piece)) = body.next().await {
            let room = LARGEST_ERROR.saturating_sub(held.len());
            held.extend_from_slice(piece.get(..room).unwrap_or(&piece));
            if held.len() >= LARGEST_ERROR {
                break;
            }
        }
        self.failed(self.dialect.classify(head.status, &head.headers, &held))
    }

    fn failed(&self, error: ProviderError) -> Error {
        self.named(self.endpoint.redacted(error).into())
    }

    fn named(&self, error: Error) -> Error {
        error.with_context("provider", self.endpoint.provider()).with_context("model", &self.info.name)
    }

    /// What a failure of the transport in the middle of a body means: the answer is cut off.
    fn broken(&self, error: Error) -> Error {
        if error.is(ErrorKind::Unavailable) {
            let cut = ProviderError::new(Category::Incomplete, format!("the body broke off: {error:?}"));
            return self.failed(cut);
        }
        self.named(error)
    }
}

#[async_trait]
impl ChatModel for HttpModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn complete(&self, _ctx: &Context, request: ChatRequest) -> Result<ChatResponse> {
        let response = self.send(request, Delivery::Whole).await?;
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        let (head, mut body) = response.into_parts();
        let mut held = BytesMut::new();
        while let Some(piece) = body.next().await {
            held.extend_from_slice(&piece.map_err(|error| self.broken(error))?);
            if held.len() > LARGEST_ANSWER {
                return Err(
                    self.failed(ProviderError::new(Category::AnswerTooLarge, "the answer passes the limit"))
                );
            }
        }
        self.dialect.decode(head.status, &head.headers, &held).map_err(|error| self.failed(error))
    }

    async fn stream(&self, _ctx: &Context, request: ChatRequest) -> Result<ChatStream> {
        let response = self.send(request, Delivery::Streamed).await?;
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        let mut exchange = Exchange {
            model: self.clone(),
            decoder: self.dialect.decoder(),
            body: Some(response.into_body()),
            events: VecDeque::new(),
            error: None,
        };
        // Until there is content, another model can still take over, so an error until then is an error of the call.
        while !exchange.committed() {
            exchange.read().await;
        }
        if !exchange.has_content()
            && let Some(error) = exchange.error.take()
        {
            return Err(error);
        }
        Ok(stream::unfold(exchange, |mut exchange| async {
            let item = exchange.next().await?;
            Some((item, exchange))
        })
        .boxed())
    }
}

/// A streamed answer as it arrives.
struct Exchange {
    model: HttpModel,
    decoder: Box<dyn StreamDecoder>,
    /// `None` once it is over; dropping it closes the exchange.
    body: Option<BodyStream>,
    events: VecDeque<ChatEvent>,
    /// Comes after the events.
    error: Option<Error>,
}

impl Exchange {
    fn has_content(&self) -> bool {
        self.events.iter().any(|event| event.is_content() || matches!(event, ChatEvent::Finished { .. }))
    }

    fn committed(&self) -> bool {
        self.body.is_none() || self.has_content()
    }

    async fn next(&mut self) -> Option<Result<ChatEvent>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(Ok(event));
            }
            if let Some(error) = self.error.take() {
                return Some(Err(error));
            }
            self.body.as_ref()?;
            self.read().await;
        }
    }

    /// Reads one piece of the body and decodes it.
    async fn read(&mut self) {
        let Some(body) = &mut self.body else { return };
        let mut out = Vec::new();
        let outcome = match body.next().await {
            Some(Ok(piece)) => self.push(&piece, &mut out),
            Some(Err(error)) => {
                self.body = None;
                // An answer that is complete stays so when its connection breaks afterwards.
                match self.decoder.finish(&mut out) {
                    Ok(()) => Ok(()),
                    Err(_) => Err(self.model.broken(error)),
                }
            }
            None => {
                self.body = None;
                self.decoder.finish(&mut out).map_err(|error| self.model.failed(error))
            }
        };
        self.events.extend(out);
        if let Err(error) = outcome {
            self.body = None;
            self.error = Some(error);
        }
    }

    fn push(&mut self, piece: &Bytes, out: &mut Vec<ChatEvent>) -> Result<()> {
        self.decoder.push(piece, out).map_err(|error| self.model.failed(error))
    }
}
