//! The innermost part of a call: from the input to a request, to the vendor and back, as the integration.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::http::HttpTransport;
use agentprovision_core::http::egress::Dialer;
use agentprovision_core::id::{IntegrationId, TenantId, WorkerId};
use agentprovision_core::secret::{SecretPath, SecretStore};
use agentprovision_core::{Env, Error, ErrorKind, Result};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use http::{HeaderName, HeaderValue, Request, StatusCode};
use moka::sync::Cache;

use crate::answer::{Category, Response, failure};
use crate::auth::{Auth, Credentials, OAuthApp, not_granted};
use crate::call::{Answer, Call, Invoke};
use crate::layers::Gates;
use crate::operation::{Idempotency, Work};
use crate::renew::Flight;

/// How long credentials that were read are used without another look.
const FRESH: Duration = Duration::from_secs(60);

/// The bytes of the shortest secret that is looked for in words: shorter ones are parts of any.
const SHORTEST: usize = 4;

/// Sends requests as integrations.
pub(crate) struct Exchange {
    transport: Arc<dyn HttpTransport>,
    dialer: Dialer,
    secrets: Arc<dyn SecretStore>,
    env: Env,
    gates: Arc<Gates>,
    apps: BTreeMap<String, OAuthApp>,
    worker: WorkerId,
    /// Those who renew the tokens of one integration, one after the other.
    flights: Cache<(TenantId, IntegrationId), Flight>,
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
        dialer: Dialer,
        secrets: Arc<dyn SecretStore>,
        env: Env,
        gates: Arc<Gates>,
        apps: BTreeMap<String, OAuthApp>,
    ) -> Self {
        let worker = env.id();
        let (flights, read) = (Cache::new(10_000), Cache::new(10_000));
        Self { transport, dialer, secrets, env, gates, apps, worker, flights, read }
    }

    /// Names this process to others that renew tokens.
    pub(crate) fn worker(&self) -> WorkerId {
        self.worker
    }

    /// The application that the host has registered for a connector.
    pub(crate) fn app(&self, connector: &str) -> Option<&OAuthApp> {
        self.apps.get(connector)
    }

    /// The turn of those who renew the tokens of a call's integration.
    pub(crate) fn flight(&self, call: &Call) -> Flight {
        self.flights.get_with((call.ctx.tenant(), call.integration.id), Arc::default)
    }

    pub(crate) fn dialer(&self) -> &Dialer {
        &self.dialer
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

    pub(crate) async fn credentials(self: &Arc<Self>, call: &Call) -> Result<Arc<Credentials>> {
        Ok(self.held(call).await?.credentials.clone())
    }

    /// The credentials of a call's integration, read at most a minute ago, with tokens that hold.
    pub(crate) async fn held(self: &Arc<Self>, call: &Call) -> Result<Arc<Held>> {
        if let Some(credentials) = &call.candidate {
            return Ok(Arc::new(Held {
                credentials: credentials.clone(),
                version: 0,
                at: self.env.monotonic(),
            }));
        }
        let now = self.env.monotonic();
        let held = match self.known(call).filter(|held| now.saturating_sub(held.at) < FRESH) {
            Some(held) => held,
            None => self.look(call).await?,
        };
        let auth = call.connector.auth(Some(&call.integration.auth))?;
        let Some(grant) = auth.grant() else { return Ok(held) };
        match &held.credentials.tokens {
            Some(tokens) if !grant.is_due(tokens, self.env.now()) => Ok(held),
            // Somebody has to grant access before anything can be renewed.
            None if grant.is_spent() => Err(not_granted()),
            _ => self.renew(call, grant, held.version).await,
        }
    }

    /// What was read of a call's integration.
    pub(crate) fn known(&self, call: &Call) -> Option<Arc<Held>> {
        self.read.get(&(call.ctx.tenant(), call.integration.id))
    }

    /// Reads the credentials of a call's integration.
    pub(crate) async fn look(&self, call: &Call) -> Result<Arc<Held>> {
        match self.secrets.get(&call.ctx, &secret_of(call.integration.id)?).await {
            Ok(secret) => Ok(self.keep(call, Credentials::from_secret(&secret.value)?, secret.version)),
            Err(error) if error.is(ErrorKind::NotFound) => Ok(self.keep(call, Credentials::default(), 0)),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn keep(&self, call: &Call, credentials: Credentials, version: u64) -> Arc<Held> {
        let held = Arc::new(Held { credentials: Arc::new(credentials), version, at: self.env.monotonic() });
        self.read.insert((call.ctx.tenant(), call.integration.id), held.clone());
        held
    }

    /// One exchange as the integration. What the vendor refuses as nobody's is sent once more where there is something newer to
    /// prove it with.
    pub(crate) async fn send(self: &Arc<Self>, call: &Call, mut request: Request<Bytes>) -> Result<Response> {
        let auth = call.connector.auth(Some(&call.integration.auth))?;
        for (name, value) in &call.connector.headers {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
                request.headers_mut().entry(name).or_insert(value);
            }
        }
        let held = self.held(call).await?;
        let response = self.send_with(call, auth, &held, request.clone()).await?;
        // Not every vendor says so by the status.
        let is_nobodys = || {
            let failure = failure(&call.connector, &response, self.env.now());
            failure.is_some_and(|failure| failure.category == Category::Credentials)
        };
        if call.candidate.is_some() || (response.status != StatusCode::UNAUTHORIZED && !is_nobodys()) {
            return Ok(response);
        }
        let newer = match auth.grant() {
            Some(grant) => Some(self.renew(call, grant, held.version).await?),
            None => Some(self.look(call).await?).filter(|newest| newest.version > held.version),
        };
        match newer {
            Some(newer) => self.send_with(call, auth, &newer, request).await,
            None => Ok(response),
        }
    }

    async fn send_with(
        &self,
        call: &Call,
        auth: &Auth,
        held: &Held,
        mut request: Request<Bytes>,
    ) -> Result<Response> {
        auth.apply(&held.credentials, &call.integration.settings, self.env.now(), &mut request)?;
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

    async fn by_template(self: &Arc<Self>, call: &Call) -> Result<Answer> {
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

    /// An error whose words have nothing of what the integration proves itself with: vendors, and handlers, repeat what they
    /// were given.
    fn without_secrets(&self, call: &Call, error: Error) -> Error {
        let known = call.candidate.clone().or_else(|| Some(self.known(call)?.credentials.clone()));
        let Some(credentials) = known else { return error };
        let secrets: Vec<&str> = credentials.secrets().filter(|secret| secret.len() >= SHORTEST).collect();
        let clean =
            |text: &str| secrets.iter().fold(text.to_owned(), |text, one| text.replace(one, "[secret]"));
        let message = clean(error.message());
        if message == error.message() && error.context().iter().all(|(_, value)| clean(value) == *value) {
            return error;
        }
        // Without its source, which may have the same words.
        let cleaned = Error::new(error.kind(), message).with_retry(error.retry());
        error
            .context()
            .iter()
            .fold(cleaned, |cleaned, (name, value)| cleaned.with_context(name, clean(value)))
    }

    /// The error that a response stands for, if that is a failure.
    pub(crate) async fn check(self: &Arc<Self>, call: &Call, response: &Response) -> Result<()> {
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
        let answer = match &call.spec().work {
            Work::Http(_) => call.exchange.by_template(call).await,
            Work::Handler(handler) => handler.handle(call).await,
        };
        answer.map_err(|error| call.exchange.without_secrets(call, error))
    }
}
