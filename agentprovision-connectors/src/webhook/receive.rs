//! Takes deliveries over HTTP: verified, kept, acknowledged. Nothing is worked on here, so nothing here waits for work.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use agentprovision_core::canonical::sha256;
use agentprovision_core::webhook::{Accepted, EndpointState, MAX_TEXT, NewDelivery};
use agentprovision_core::{Error, ErrorKind, Result, Timestamp};
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use moka::sync::Cache;
use serde_json::{Map, Value};

use super::endpoint::{Endpoint, EndpointAddress, no_endpoint};
use super::event::GenericSource;
use super::service::{Webhooks, secret_of, secrets};
use super::{Vendor, Verifier, WebhookEvent};
use crate::body::collect;

/// How long what was read of an endpoint is used without another look.
const FRESH: Duration = Duration::from_secs(1);
/// Headers that are kept with a delivery, beside those that begin with `x-` or `webhook-`: what reading it again needs. Those that
/// prove who sent it are not kept.
const KEPT: [&str; 2] = ["content-type", "idempotency-key"];

/// What a receiver lets in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReceiverOptions {
    /// The longest body, in bytes; default 25 MiB, which is GitHub's.
    pub max_body_bytes: usize,
    /// The longest that sending it may take; default 10 s.
    pub body_timeout: Duration,
}

impl Default for ReceiverOptions {
    fn default() -> Self {
        Self { max_body_bytes: 25 * 1024 * 1024, body_timeout: Duration::from_secs(10) }
    }
}

/// A tower service that takes deliveries: mount it under any path, the last part of which is the endpoint's address
/// (`POST /hooks/hok_…`). Cheap to clone.
///
/// A delivery is acknowledged (200) when it is kept, and not before; one that is there already is acknowledged too. One that does
/// not prove whose it is is answered 401, one for nobody 404, one that cannot be read 400, the id of another one 409; when it
/// cannot be kept the answer is 503, and the vendor sends it again.
#[derive(Clone, Debug)]
pub struct Receiver {
    webhooks: Webhooks,
    options: ReceiverOptions,
}

/// What is known of endpoints.
#[derive(Clone)]
pub(super) struct KnownEndpoints(Cache<EndpointAddress, Arc<Known>>);

impl Default for KnownEndpoints {
    fn default() -> Self {
        Self(Cache::new(10_000))
    }
}

impl fmt::Debug for KnownEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownEndpoints")
    }
}

/// What is known of an endpoint.
struct Known {
    at: Duration,
    endpoint: Endpoint,
    verifier: Verifier,
}

/// An answer of a receiver.
type Answered = Response<Full<Bytes>>;

impl Webhooks {
    /// A service that takes deliveries over HTTP.
    pub fn receiver(&self, options: ReceiverOptions) -> Receiver {
        Receiver { webhooks: self.clone(), options }
    }

    /// Takes a delivery: for hosts whose HTTP server runs no tower service, in place of a [`Receiver`]. `address` is the last
    /// part of the path, `body` the bytes as they came. Once this is over without an error the delivery is kept, or was
    /// before; the text is what to answer Slack with, where it asks whether the endpoint is there. [`Received::of`] says how
    /// to answer.
    ///
    /// # Errors
    /// `unauthenticated` for a delivery that does not prove whose it is; `not_found` for an address of nobody, or of an
    /// endpoint that is disabled; `tenant_suspended`; `invalid_input` for what cannot be read; `conflict` for another
    /// delivery's id; those of the store, after which the vendor is to send it again.
    pub async fn receive(&self, address: &str, headers: &HeaderMap, body: Bytes) -> Result<Option<String>> {
        let address: EndpointAddress = address.parse()?;
        let known = self.known(address).await?;
        let now = self.env().now();
        known.verifier.verify(now, headers, &body)?;
        let event = event_of(&known.endpoint, headers, body.clone())?;
        if let Some(challenge) = event.challenge() {
            return Ok(Some(challenge.to_owned()));
        }
        let delivery = self.new_delivery(address, headers, &event, body, now)?;
        match self.0.inbox.accept(address.tenant, delivery).await? {
            Accepted::New | Accepted::Again => Ok(None),
            Accepted::Conflict => Err(Error::conflict("the id of the delivery was another one's")),
        }
    }

    async fn known(&self, address: EndpointAddress) -> Result<Arc<Known>> {
        let (now, cache) = (self.env().monotonic(), &self.1.0);
        if let Some(known) = cache.get(&address).filter(|known| now.saturating_sub(known.at) < FRESH) {
            return Ok(known);
        }
        let parts = &*self.0;
        let endpoint = parts.store.lookup(address.tenant, address.endpoint).await?;
        let endpoint = Endpoint::read(address.tenant, endpoint)?;
        if endpoint.state != EndpointState::Active {
            return Err(no_endpoint());
        }
        // Whose endpoint it is may have gone, and then nobody takes deliveries.
        let ctx = parts.principals.context(address.tenant, endpoint.owner).await?;
        let kept = parts.secrets.get(&ctx, &secret_of(address.endpoint)?).await?;
        let verifier = Verifier::new(endpoint.scheme.clone(), secrets(&kept.value)?)?;
        let known = Arc::new(Known { at: now, endpoint, verifier });
        cache.insert(address, known.clone());
        Ok(known)
    }

    fn new_delivery(
        &self,
        address: EndpointAddress,
        headers: &HeaderMap,
        event: &WebhookEvent,
        body: Bytes,
        now: Timestamp,
    ) -> Result<NewDelivery> {
        let cut = |text: &str| {
            let mut kept = text.replace('\0', "");
            kept.truncate(kept.floor_char_boundary(MAX_TEXT));
            kept
        };
        let key = bounded(&event.delivery_id);
        let kept: Map<String, Value> = headers
            .iter()
            .filter(|(name, _)| is_kept(name.as_str()))
            .filter_map(|(name, value)| Some((name.to_string(), Value::from(value.to_str().ok()?))))
            .collect();
        Ok(NewDelivery {
            id: self.env().id(),
            endpoint: address.endpoint,
            key,
            digest: sha256(&[&body]),
            kind: cut(&event.kind),
            headers: Value::Object(kept).to_string(),
            body: body.to_vec(),
            received_at: now,
        })
    }
}

impl Receiver {
    async fn serve<B>(&self, request: Request<B>) -> Answered
    where
        B: Body + Send,
        B::Data: Send,
        B::Error: fmt::Display + Send,
    {
        let (head, body) = request.into_parts();
        if head.method != Method::POST {
            let mut answer = answered(StatusCode::METHOD_NOT_ALLOWED, "deliveries are posted");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return answer;
        }
        let body = collect(body, self.options.max_body_bytes);
        let collected = self.webhooks.env().timeout(self.options.body_timeout, body).await;
        let taken = match collected {
            Some(Ok(body)) => {
                let address = head.uri.path().rsplit('/').next().unwrap_or_default();
                self.webhooks.receive(address, &head.headers, body).await
            }
            Some(Err(error)) => Err(error),
            None => return answered(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
        };
        let Received { status, text } = Received::of(&taken);
        answered(status, &text)
    }
}

/// A text as a store takes it for a key: one that it cannot hold is told by its digest.
pub(super) fn bounded(key: &str) -> String {
    match key.len() {
        1..=MAX_TEXT if !key.contains('\0') => key.to_owned(),
        _ => format!("sha256:{}", hex::encode(sha256(&[key.as_bytes()]))),
    }
}

/// Reads a delivery as its endpoint says.
pub(super) fn event_of(endpoint: &Endpoint, headers: &HeaderMap, body: Bytes) -> Result<WebhookEvent> {
    match (endpoint.vendor, &endpoint.source) {
        (Vendor::Generic, Some(source)) => WebhookEvent::read_as(source, headers, body),
        (Vendor::Generic, None) => WebhookEvent::read_as(&GenericSource::default(), headers, body),
        (vendor, _) => WebhookEvent::read(vendor, headers, body),
    }
}

fn is_kept(name: &str) -> bool {
    let proves = name.contains("signature") || name.contains("token") || name.contains("secret");
    !proves && (name.starts_with("x-") || name.starts_with("webhook-") || KEPT.contains(&name))
}

/// A status and a text; never more than the sender has to know.
fn answered(status: StatusCode, text: &str) -> Answered {
    let mut answer = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// How a delivery is answered: a status, and a text that says no more than the sender has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// 200 for what is kept; else see [`Receiver`].
    pub status: StatusCode,
    /// The body, as `text/plain`.
    pub text: String,
}

impl Received {
    /// How to answer what [`Webhooks::receive`] gave.
    pub fn of(taken: &Result<Option<String>>) -> Self {
        let (status, text) = match taken {
            Ok(challenge) => (StatusCode::OK, challenge.as_deref().unwrap_or_default()),
            Err(error) => match error.kind() {
                ErrorKind::Unauthenticated => {
                    (StatusCode::UNAUTHORIZED, "the delivery does not prove whose it is")
                }
                // Of a tenant that is gone or suspended, or an owner who is, nobody outside learns more than of one that never was.
                ErrorKind::NotFound | ErrorKind::TenantSuspended => {
                    (StatusCode::NOT_FOUND, "no such endpoint")
                }
                ErrorKind::InvalidInput => (StatusCode::BAD_REQUEST, error.message()),
                ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, error.message()),
                ErrorKind::Conflict => (StatusCode::CONFLICT, error.message()),
                _ => {
                    tracing::warn!(?error, "a delivery could not be kept");
                    (StatusCode::SERVICE_UNAVAILABLE, "the delivery could not be kept; send it again")
                }
            },
        };
        Self { status, text: text.to_owned() }
    }
}

impl<B> tower::Service<Request<B>> for Receiver
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: fmt::Display + Send,
{
    type Response = Answered;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let receiver = self.clone();
        Box::pin(async move { Ok(receiver.serve(request).await) })
    }
}
