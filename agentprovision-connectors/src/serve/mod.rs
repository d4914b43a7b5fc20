//! Operations over HTTP: as REST ([`Rest`]), and as tools of the Model Context Protocol ([`Mcp`]).
//!
//! Both are [`tower::Service`]s over [`http`] types and need no framework. A caller proves who it is by an API key
//! (`Authorization: Bearer` or `x-api-key`); the tenant is that of the key. A call is made as
//! [`Integrations::invoke`] makes it, with the same permission, meter, audit record and limits, and what is described to
//! callers is made of the same [`OperationSpec`](crate::OperationSpec) that checks their input.
//!
//! A caller sees the operations of connectors that its tenant has an active integration of. Where it has several of one, the
//! call says which is meant, by name or id.

mod document;
mod mcp;
mod rest;

pub use self::mcp::{Mcp, McpOptions};
pub use self::rest::{Rest, RestOptions};

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::authz::Permission;
use agentprovision_core::context::Context;
use agentprovision_core::http::inbound::{self, Authenticate};
use agentprovision_core::integration::{IntegrationQuery, IntegrationState};
use agentprovision_core::{Env, Error, ErrorKind, Result, Retry};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use serde_json::{Map, Value, json};

use crate::integrations::{CallOptions, Integrations};
use crate::operation::Effect;
use crate::tools::OperationTool;

/// What is let in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServeOptions {
    /// The longest body of a request, in bytes; default 4 MiB.
    pub max_body_bytes: usize,
    /// The longest that sending it may take; default 10 s.
    pub body_timeout: Duration,
    /// Whether only operations that change nothing are served; default no.
    pub read_only: bool,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self { max_body_bytes: 4 * 1024 * 1024, body_timeout: Duration::from_secs(10), read_only: false }
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An answer in one piece.
type Answer = Response<Full<Bytes>>;

/// What both faces have in common.
struct Served {
    integrations: Integrations,
    auth: Arc<dyn Authenticate>,
    tools: Vec<OperationTool>,
    options: ServeOptions,
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Served {
    fn new(integrations: &Integrations, auth: Arc<dyn Authenticate>, options: ServeOptions) -> Self {
        let mut tools = integrations.operation_tools();
        tools.retain(|tool| !options.read_only || tool.operation().effect == Effect::Read);
        tools.sort_by(|one, other| one.name().cmp(other.name()));
        Self { integrations: integrations.clone(), auth, tools, options }
    }

    fn env(&self) -> &Env {
        self.integrations.env()
    }

    /// Who calls. The credential alone says so, and nothing of the body is read before.
    async fn caller(&self, headers: &HeaderMap) -> Result<Context> {
        let ctx = self.auth.authenticate(&inbound::credentials(headers)?).await?;
        Ok(ctx.with_info(inbound::info(headers)))
    }

    /// What the caller's tenant can use, by the name of the tool.
    async fn usable(&self, ctx: &Context) -> Result<impl Iterator<Item = &OperationTool>> {
        let connected: BTreeSet<String> = self.integrations.connected(ctx).await?;
        Ok(self.tools.iter().filter(move |tool| connected.contains(&*tool.connector().name)))
    }

    async fn body<B>(&self, body: B) -> Result<Bytes>
    where
        B: Body,
        B::Error: fmt::Display,
    {
        let collected = crate::body::collect(body, self.options.max_body_bytes);
        let late = || Error::new(ErrorKind::DeadlineExceeded, "the body took too long");
        self.env().timeout(self.options.body_timeout, collected).await.unwrap_or_else(|| Err(late()))
    }
}

impl Integrations {
    /// The names of connectors that the tenant has active integrations of.
    async fn connected(&self, ctx: &Context) -> Result<BTreeSet<String>> {
        self.access().list(ctx, Permission::INTEGRATIONS_INVOKE, "integrations").await?;
        let active = IntegrationQuery::default().state(IntegrationState::Active);
        Ok(self.every(ctx, active).await?.into_iter().map(|one| one.connector).collect())
    }
}

/// How a call is made: under the caller's key, if it has one.
fn call_options(headers: &HeaderMap) -> Result<CallOptions> {
    let key = inbound::idempotency_key(headers);
    if key.is_none() && headers.contains_key("idempotency-key") {
        let longest = inbound::LONGEST_TEXT;
        let message =
            format!("the header `idempotency-key` must be 1 to {longest} printable characters of ASCII");
        return Err(Error::invalid(message));
    }
    Ok(CallOptions { idempotency_key: key.map(str::to_owned), ..CallOptions::default() })
}

/// An error as JSON: what RFC 9457 calls a problem, and `code`, `retryable`, `retry_after_ms` and `context`.
fn problem(error: &Error) -> Value {
    problem_with(status(error), error)
}

fn problem_with(status: StatusCode, error: &Error) -> Value {
    let after = match error.retry() {
        Retry::After(after) => Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        Retry::Never | Retry::Exhausted => None,
    };
    let facts = error.context().iter();
    let context: Map<String, Value> =
        facts.map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str()))).collect();
    json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": error.message(),
        "code": error.kind().code(),
        "retryable": after.is_some(),
        "retry_after_ms": after,
        "context": context,
    })
}

fn status(error: &Error) -> StatusCode {
    StatusCode::from_u16(error.kind().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The answer that says what went wrong. `challenge` goes with what does not prove who asks.
fn refused(error: &Error, challenge: &HeaderValue) -> Answer {
    refused_with(status(error), error, challenge)
}

fn refused_with(status: StatusCode, error: &Error, challenge: &HeaderValue) -> Answer {
    let mut answer = answered(status, "application/problem+json", &problem_with(status, error));
    let headers = answer.headers_mut();
    if error.is(ErrorKind::Unauthenticated) {
        headers.insert(WWW_AUTHENTICATE, challenge.clone());
    }
    if let Retry::After(after) = error.retry() {
        // At least a second: zero would be an invitation to hammer.
        let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX).max(1000);
        headers.insert(RETRY_AFTER, HeaderValue::from(millis.div_ceil(1000)));
    }
    answer
}

fn answered(status: StatusCode, media_type: &'static str, value: &Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(value.to_string())));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    // What a tenant's vendor said is nobody else's.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Names the request in its answer, as the audit log names it.
fn named<T>(mut answer: Response<T>, ctx: Option<&Context>) -> Response<T> {
    let id = ctx.and_then(|ctx| HeaderValue::from_str(&ctx.request_id().to_string()).ok());
    if let Some(id) = id {
        answer.headers_mut().insert(REQUEST_ID, id);
    }
    answer
}
