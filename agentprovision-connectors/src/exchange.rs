//! The innermost part of a call: from the input to a request, to the vendor and back, as the integration.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::http::HttpTransport;
use agentprovision_core::id::{IntegrationId, TenantId};
use agentprovision_core::secret::{SecretPath, SecretStore};
use agentprovision_core::{Env, Error, ErrorKind, Result};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use http::{HeaderName, HeaderValue, Request};
use moka::sync::Cache;

use crate::answer::{Response, failure};
use crate::auth::Credentials;
use crate::call::{Answer, Call, Invoke};
use crate::layers::Gates;
use crate::operation::{Idempotency, Work};

/// How long credentials that were read are used without another look.
const FRESH: Duration = Duration::from_secs(60);

/// Sends requests as integrations.
pub(crate) struct Exchange {
    transport: Arc<dyn HttpTransport>,
    secrets: Arc<dyn SecretStore>,
    env: Env,
    gates: Arc<Gates>,
    /// By tenant too: an id says nothing of whose it is.
    read: Cache<(TenantId, IntegrationId), Arc<Held>>,
}

/// Credentials that were read.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) version: u64,
    /// When they were read, on the monotonic clock.
    at: Duration,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("transport", &self.transport).finish_non_exhaustive()
    }
}

/// Where the credentials of an integration are.
pub(crate) fn secret_of(id: IntegrationId) -> Result<SecretPath> {
    SecretPath::new(format!("integrations/{id}"))
}

impl Exchange {
    pub(crate) fn new(
        transport: Arc<dyn HttpTransport>,
        secrets: Arc<dyn SecretStore>,
        env: Env,
        gates: Arc<Gates>,
    ) -> Self {
        Self { transport, secrets, env, gates, read: Cache::new(10_000) }
    }

    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    pub(crate) fn secrets(&self) -> &Arc<dyn SecretStore> {
        &self.secrets
    }

    /// Forgets what was read of an integration.
    pub(crate) fn forget(&self, ctx: &Context, id: IntegrationId) {
        self.read.invalidate(&(ctx.tenant(), id));
    }

    pub(crate) async fn credentials(&self, call: &Call) -> Result<Arc<Credentials>> {
        Ok(self.held(call).await?.credentials.clone())
    }

    /// The credentials of a call's integration, read at most a minute ago.
    pub(crate) async fn held(&self, call: &Call) -> Result<Arc<Held>> {
        let id = call.integration.id;
        let now = self.env.monotonic();
        if let Some(credentials) = &call.candidate {
            return Ok(Arc::new(Held { credentials: credentials.clone(), version: 0, at: now }));
        }
        if let Some(held) =
            self.read.get(&(call.ctx.tenant(), id)).filter(|held| now.saturating_sub(held.at) < FRESH)
        {
            return Ok(held);
        }
        let held = match self.secrets.get(&call.ctx, &secret_of(id)?).await {
            Ok(secret) => Held {
                credentials: Arc::new(Credentials::from_secret(&secret.value)?),
                version: secret.version,
                at: now,
            },
            Err(error) if error.is(ErrorKind::NotFound) => {
                Held { credentials: Arc::default(), version: 0, at: now }
            }
            Err(error) => return Err(error),
        };
        let held = Arc::new(held);
        self.read.insert((call.ctx.tenant(), id), held.clone());
        Ok(held)
    }

    /// One exchange as the integration.
    pub(crate) async fn send(&self, call: &Call, mut request: Request<Bytes>) -> Result<Response> {
        let auth = call.connector.auth(Some(&call.integration.auth))?;
        for (name, value) in &call.connector.headers {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
                request.headers_mut().entry(name).or_insert(value);
            }
        }
        let held = self.held(call).await?;
        auth.apply(&held.credentials, &mut request)?;
        call.count_request(request.body().len() as u64);
        let response = self.exchange(request).await?;
        self.gates.learn(call, &response.headers);
        Ok(response)
    }

    /// One exchange as nobody, to the end of the body.
    pub(crate) async fn exchange(&self, request: Request<Bytes>) -> Result<Response> {
        let response = self.transport.send(request).await?;
        let (head, body) = response.into_parts();
        let body: BytesMut = body
            .try_fold(BytesMut::new(), async |mut all, piece| {
                all.extend_from_slice(&piece);
                Ok(all)
            })
            .await?;
        Ok(Response::new(head.status, head.headers, body.freeze()))
    }

    async fn by_template(&self, call: &Call) -> Result<Answer> {
        let (mut request, place) = call.operation.request(&call.base_url()?, &call.input)?;
        if let (Idempotency::Key(header), Some(key)) = (&call.spec().idempotency, &call.key) {
            let name: HeaderName =
                header.parse().map_err(|_| Error::internal("the idempotency header is no header"))?;
            let key = HeaderValue::from_str(key)
                .map_err(|_| Error::invalid("the idempotency key has characters that no header can have"))?;
            request.headers_mut().insert(name, key);
        }
        let response = call.send(request).await?;
        self.check(call, &response).await?;
        Ok(Answer::new(call.operation.answer(&response, &place)?))
    }

    /// The error that a response stands for, if that is a failure.
    pub(crate) async fn check(&self, call: &Call, response: &Response) -> Result<()> {
        let Some(failure) = failure(&call.connector, response, self.env.now()) else { return Ok(()) };
        let held = self.held(call).await?;
        let secrets: Vec<&str> = held.credentials.secrets().collect();
        Err(failure.into_error(response.status, &secrets))
    }
}

/// The end of the layers.
#[derive(Debug)]
pub(crate) struct Carry;

#[async_trait]
impl Invoke for Carry {
    async fn invoke(&self, call: &Call) -> Result<Answer> {
        match &call.spec().work {
            Work::Http(_) => call.exchange.by_template(call).await,
            Work::Handler(handler) => handler.handle(call).await,
        }
    }
}
