//! One call of an operation on its way through the layers, and what comes back.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::http::egress::Destination;
use agentprovision_core::id::{AgentId, RunId};
use agentprovision_core::integration::Integration;
use agentprovision_core::{Env, Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use serde_json::{Map, Value};
use tokio::net::TcpStream;

use crate::answer::Response;
use crate::auth::{Credentials, not_granted};
use crate::connector::{Compiled, Connector};
use crate::exchange::Exchange;
use crate::operation::{OperationSpec, PAGE};

/// What the context of an error says when nothing was carried out, whatever was sent: somebody has said so.
pub(crate) const NOT_DONE: (&str, &str) = ("carried_out", "no");

/// Whether an error says that nothing was carried out.
pub(crate) fn not_done(error: &Error) -> bool {
    error.context().iter().any(|(name, value)| (*name, value.as_str()) == NOT_DONE)
}

/// A call. Cheap to clone.
#[derive(Clone)]
#[non_exhaustive]
pub struct Call {
    /// On whose behalf.
    pub ctx: Context,
    /// The integration.
    pub integration: Arc<Integration>,
    /// Its connector.
    pub connector: Arc<Connector>,
    /// The operation.
    pub operation: Arc<Compiled>,
    /// The input; it matches the schema.
    pub input: Arc<Map<String, Value>>,
    /// The caller's idempotency key.
    pub key: Option<Arc<str>>,
    /// When it must be over, on the monotonic clock.
    pub deadline: Duration,
    /// The run it is part of.
    pub run: Option<RunId>,
    /// The agent that makes it.
    pub agent: Option<AgentId>,
    /// Whether the caller gave the key; one that was made for the vendor alone is forgotten with the call.
    pub(crate) named: bool,
    /// Credentials that are tried, in the place of those that are kept.
    pub(crate) candidate: Option<Arc<Credentials>>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) exchange: Arc<Exchange>,
}

/// What a call has sent.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    requests: AtomicU32,
    bytes: AtomicU64,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the input: content stays out of logs.
        f.debug_struct("Call")
            .field("tenant", &self.ctx.tenant())
            .field("integration", &self.integration.id)
            .field("operation", &self.operation.spec.name)
            .finish_non_exhaustive()
    }
}

impl Call {
    /// The description of the operation.
    pub fn spec(&self) -> &OperationSpec {
        &self.operation.spec
    }

    /// The application at the vendor that the integration uses, by its client id, where the host has registered one.
    pub fn app(&self) -> Option<&str> {
        self.exchange.app(&self.connector.name).map(|app| app.client_id.as_str())
    }

    /// Of a list that is read by code: `next` of the page before.
    pub fn page(&self) -> Option<&str> {
        self.input.get(PAGE).and_then(Value::as_str)
    }

    /// Clock, entropy and ids.
    pub fn env(&self) -> &Env {
        self.exchange.env()
    }

    /// Requests it has sent so far. As long as there are none, nothing can have been carried out.
    pub fn requests(&self) -> u32 {
        self.traffic.requests.load(Ordering::Acquire)
    }

    /// Bytes of their bodies.
    pub fn bytes_sent(&self) -> u64 {
        self.traffic.bytes.load(Ordering::Acquire)
    }

    /// Counts a request that is about to be sent: for handlers that send it otherwise than by [`Call::send`].
    pub fn count_request(&self, bytes: u64) {
        self.traffic.requests.fetch_add(1, Ordering::AcqRel);
        self.traffic.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// The URL that requests of the integration go under.
    ///
    /// # Errors
    /// `invalid_input` for settings that do not say it; `provider_error` with the reason `grant` where granting access says it.
    pub fn base_url(&self) -> Result<String> {
        let (auth, settings) =
            (self.connector.auth(Some(&self.integration.auth))?, &self.integration.settings);
        if auth.awaits(settings) {
            return Err(not_granted());
        }
        self.connector.base_by(auth, settings)
    }

    /// Sends a request as the integration: with its credentials, which are renewed where they have to be, through the
    /// guarded client.
    ///
    /// # Errors
    /// `blocked`, `unavailable`, `deadline_exceeded`, `too_large` of the exchange; `provider_error` when the credentials hold no
    /// longer. A response with an error status is a response.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response> {
        self.exchange.send(self, request).await
    }

    /// Where connections of the integration go, of a connector that speaks another protocol than HTTP.
    ///
    /// # Errors
    /// `invalid_input` for settings that do not say it; `unsupported` for a connector that speaks HTTP.
    pub fn destination(&self) -> Result<Destination> {
        let dials = self.connector.dials.ok_or_else(|| {
            Error::unsupported(format!("`{}` does not say where connections go", self.connector.name))
        })?;
        dials(&self.integration.settings)
    }

    /// A connection to there, if the policy for egress allows it. What is to be encrypted is encrypted by whoever asked for it,
    /// and counted by [`Call::count_request`].
    ///
    /// # Errors
    /// Those of [`Call::destination`]; `blocked` for what may not be reached; `unavailable` where nobody answers.
    pub async fn connect(&self) -> Result<TcpStream> {
        self.exchange.dialer().connect(&self.destination()?).await
    }

    /// Nothing, or the error that a response stands for.
    ///
    /// # Errors
    /// What the response stands for, by the connector's own rules.
    pub async fn check(&self, response: &Response) -> Result<()> {
        self.exchange.check(self, response).await
    }

    /// The integration's credentials, for handlers that prove who asks in a way of their own.
    ///
    /// # Errors
    /// `conflict` for an integration that has none.
    pub async fn credentials(&self) -> Result<Arc<Credentials>> {
        self.exchange.credentials(self).await
    }
}

/// What an operation answered.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// The answer. Of a list, [`Page`](crate::operation::Page) in its JSON form.
    pub value: Value,
    /// How often it was tried again.
    pub retries: u32,
}

impl Answer {
    /// An answer.
    pub fn new(value: Value) -> Self {
        Self { value, ..Self::default() }
    }
}

/// Carries out calls: the exchange itself, or a layer around it.
#[async_trait]
pub trait Invoke: fmt::Debug + Send + Sync + 'static {
    /// Carries out a call.
    ///
    /// # Errors
    /// Whatever keeps it from its end.
    async fn invoke(&self, call: &Call) -> Result<Answer>;
}
