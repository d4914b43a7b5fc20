//! An HTTP face that official libraries of OpenAI and Anthropic speak to after a change of their `base_url`.
//!
//! [`Gateway`] is a [`tower::Service`] over [`http`] types and needs no framework: mount it on axum, on hyper or in a
//! test. Whatever format a request comes in, it becomes one [`ChatRequest`](agentprovision_core::model::ChatRequest) and
//! goes through the same resolver, so limits, budgets and fallbacks hold for every format alike.
//!
//! | method and path | format |
//! |---|---|
//! | `POST /v1/chat/completions` | OpenAI, whole and streamed |
//! | `POST /v1/responses` | OpenAI, whole and streamed |
//! | `POST /v1/embeddings` | OpenAI |
//! | `POST /v1/messages` | Anthropic, whole and streamed |
//! | `POST /v1/messages/count_tokens` | Anthropic; reckoned here from above, nobody is asked |
//! | `GET /v1/models`, `GET /v1/models/{id}` | both |
//! | `GET /healthz` | `200` with `ok`, or `503` while draining; without a credential |
//!
//! # Callers
//! The key comes as `Authorization: Bearer`, `x-api-key` or `api-key`. The tenant is that of the key: no header and no
//! field names one. A caller may say more:
//!
//! | header | means |
//! |---|---|
//! | `x-agentprovision-project` | the project whose budget pays |
//! | `x-agentprovision-cache` | whether a stored answer may be given: `default`, `always`, `refresh`, `never` |
//! | `x-session-id` | requests that belong together go to one target; where absent, the fields `prompt_cache_key`, `user` or `metadata.user_id` |
//! | `x-request-id` | the correlation id of the work this belongs to; echoed |
//! | `idempotency-key` | echoed |
//! | `traceparent` | the caller's span |
//!
//! # Fields
//! What the vocabulary of this platform has a word for goes to any model. A field that only one format has goes through
//! unchanged to models of that format ([`WireFormat`](agentprovision_core::model::WireFormat)), under another name to models that have it under another name,
//! and otherwise keeps that model from answering; where no fallback has it either, it is refused by name. Nothing a caller
//! asked for is left out silently. Hints that ask for nothing that
//! changes an answer, such as `user` and `metadata`, are left out where they have no place.
//!
//! # Load
//! [`GatewayConfig`] limits what is under way: of everybody, and of each tenant to about a half, so that one of them does
//! not keep the others out. A body that does not arrive in time is given up, and so is a streamed answer that its client
//! does not read. A request has 250,000 messages and tool calls at most.
//!
//! # Errors
//! Each [`ErrorKind`] has a status and, in the shape of the request's format, a type and a code, so that the libraries
//! raise their typed errors. Messages are this platform's; a provider's words are never among them. An error after a
//! stream has begun is an event in the format's own shape.

mod answer;
mod asked;
mod body;
mod caller;
mod chat;
mod embeddings;
mod failure;
mod fields;
mod load;
mod messages;
mod models;
mod opaque;
mod responses;
mod serve;
mod stall;
mod stream;

pub use body::GatewayBody;
pub use models::ModelDirectory;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use agentprovision_core::http::inbound::Authenticate;
use agentprovision_core::model::{EmbeddingResolver, ModelResolver};
use agentprovision_core::{Env, Error, ErrorKind, Result};
use http::{Request, Response};
use http_body::Body;
use serde::{Deserialize, Serialize};

use load::Load;

/// Settings of a gateway as plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct GatewayConfig {
    /// The largest body of a request, in bytes; default 32 MiB.
    pub max_body_bytes: usize,
    /// How much the bodies of all requests under way may be together, in bytes; default 512 MiB. A tenant may have half of
    /// it. More is refused with `503`, a tenant's with `429`.
    pub max_bytes_under_way: usize,
    /// Requests under way at the same time, streams among them; default 1024. More are refused with `503`.
    pub max_requests: usize,
    /// Those of one tenant; half of `max_requests` where absent. More are refused with `429`.
    pub max_requests_per_tenant: Option<usize>,
    /// How long the body of a request may take to arrive, in milliseconds; default 60,000. Then `408`.
    pub body_timeout_ms: u64,
    /// How long a client may leave a streamed answer unread that goes on, in milliseconds; default 60,000. The answer ends
    /// after that time, or after twice of it at the latest. A model that takes its time is no client that does not read.
    pub write_stall_timeout_ms: u64,
}

const MIB: usize = 1024 * 1024;

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 32 * MIB,
            max_bytes_under_way: 512 * MIB,
            max_requests: 1024,
            max_requests_per_tenant: None,
            body_timeout_ms: 60_000,
            write_stall_timeout_ms: 60_000,
        }
    }
}

impl GatewayConfig {
    /// Refuses settings under which nothing could be served.
    ///
    /// # Errors
    /// `invalid_input`, naming every wrong setting.
    pub fn check(&self) -> Result<()> {
        let is_zero = [
            ("max_body_bytes", self.max_body_bytes == 0),
            ("max_bytes_under_way", self.max_bytes_under_way == 0),
            ("max_requests", self.max_requests == 0),
            ("max_requests_per_tenant", self.max_requests_per_tenant == Some(0)),
            ("body_timeout_ms", self.body_timeout_ms == 0),
            ("write_stall_timeout_ms", self.write_stall_timeout_ms == 0),
        ];
        let mut wrong: Vec<String> =
            is_zero.iter().filter(|(_, zero)| *zero).map(|(name, _)| format!("`{name}` is 0")).collect();
        if self.max_bytes_under_way > 0 && self.max_bytes_under_way / 2 < self.max_body_bytes {
            wrong.push("`max_bytes_under_way` is less than twice `max_body_bytes`".into());
        }
        if wrong.is_empty() { Ok(()) } else { Err(Error::invalid(wrong.join(", "))) }
    }

    fn limits(&self) -> load::Limits {
        load::Limits {
            requests: self.max_requests,
            requests_of_tenant: self.max_requests_per_tenant.unwrap_or(self.max_requests.div_ceil(2)),
            bytes: self.max_bytes_under_way,
        }
    }
}

/// Puts a [`Gateway`] together.
#[derive(Debug)]
#[must_use]
pub struct GatewayBuilder {
    auth: Arc<dyn Authenticate>,
    models: Arc<dyn ModelResolver>,
    embeddings: Option<Arc<dyn EmbeddingResolver>>,
    directory: Option<Arc<dyn ModelDirectory>>,
    config: GatewayConfig,
    env: Env,
}

impl GatewayBuilder {
    /// Embedding models; without them `/v1/embeddings` says that there are none.
    pub fn embeddings(mut self, embeddings: Arc<dyn EmbeddingResolver>) -> Self {
        self.embeddings = Some(embeddings);
        self
    }

    /// The models that `/v1/models` lists; none where this is not called.
    pub fn directory(mut self, directory: Arc<dyn ModelDirectory>) -> Self {
        self.directory = Some(directory);
        self
    }

    /// Other settings than the defaults.
    pub fn config(mut self, config: GatewayConfig) -> Self {
        self.config = config;
        self
    }

    /// Another clock; the system's where this is not called.
    pub fn env(mut self, env: Env) -> Self {
        self.env = env;
        self
    }

    /// The gateway.
    ///
    /// # Errors
    /// Those of [`GatewayConfig::check`].
    pub fn build(self) -> Result<Gateway> {
        let Self { auth, models, embeddings, directory, config, env } = self;
        config.check()?;
        let load = Load::new(config.limits());
        Ok(Gateway(Arc::new(Parts { auth, models, embeddings, directory, config, env, load })))
    }
}

struct Parts {
    auth: Arc<dyn Authenticate>,
    models: Arc<dyn ModelResolver>,
    embeddings: Option<Arc<dyn EmbeddingResolver>>,
    directory: Option<Arc<dyn ModelDirectory>>,
    config: GatewayConfig,
    env: Env,
    load: Load,
}

/// The gateway: a [`tower::Service`] of HTTP requests. Cheap to clone; every clone is the same gateway.
///
/// Dropping the future of a request, or the body of a streamed answer, drops the model's work at once: that is what a
/// server does when its client goes away. It is called within a tokio runtime.
#[derive(Clone)]
pub struct Gateway(Arc<Parts>);

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Begins to build a gateway over these models for callers whom `auth` knows.
    pub fn builder(auth: Arc<dyn Authenticate>, models: Arc<dyn ModelResolver>) -> GatewayBuilder {
        GatewayBuilder {
            auth,
            models,
            embeddings: None,
            directory: None,
            config: GatewayConfig::default(),
            env: Env::default(),
        }
    }

    /// How many requests are under way, streams that are still read among them.
    pub fn under_way(&self) -> usize {
        self.0.load.under_way()
    }

    /// Refuses further requests with `503`, and returns when those under way are over. A server that ends calls this
    /// beside its own shutdown; whoever does not want to wait for long drops the future.
    pub async fn drain(&self) {
        self.0.load.drain().await;
    }
}

impl<B> tower::Service<Request<B>> for Gateway
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: fmt::Display + Send,
{
    type Response = Response<GatewayBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let gateway = self.clone();
        Box::pin(async move { Ok(gateway.serve(request).await) })
    }
}

/// Refused for now, because of the gateway itself.
fn busy(busy: load::Busy) -> Error {
    let (kind, message) = match busy {
        load::Busy::Full => (ErrorKind::Unavailable, "the gateway is busy"),
        load::Busy::Tenant => (ErrorKind::RateLimited, "too much of this tenant's is under way"),
        load::Busy::Draining => (ErrorKind::Unavailable, "the gateway is about to end"),
    };
    let second = std::time::Duration::from_secs(1);
    Error::new(kind, message).with_retry(agentprovision_core::Retry::After(second))
}
