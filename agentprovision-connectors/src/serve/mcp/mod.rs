//! Operations as tools of the Model Context Protocol, over its Streamable HTTP transport
//! (<https://modelcontextprotocol.io/specification/2026-07-28>, and its versions since 2025-03-26).
//!
//! Written here, because what is needed of it is three methods: its Rust library changes the git configuration of a workspace
//! that vendors it, in a build script.

mod front;
mod message;
mod tools;

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use agentprovision_core::context::Context;
use agentprovision_core::http::inbound::Authenticate;
use agentprovision_core::{Error, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use serde_json::{Value, json};

use self::front::Front;
use self::message::{Era, Failure, Message, Said};
use super::{Answer, ServeOptions, Served, answered, named, refused};
use crate::integrations::Integrations;

/// How operations are served to clients of the Model Context Protocol.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct McpOptions {
    /// What is let in.
    pub serve: ServeOptions,
    /// The names, with or without a port, under which clients reach the service; another `Host` is refused with 403. Default
    /// `localhost`, `127.0.0.1` and `[::1]`.
    pub hosts: Vec<String>,
    /// The origins of web pages that may call, as `https://app.example.com`; another `Origin` is refused with 403. Default
    /// none. Clients that are no browser have no origin.
    pub origins: Vec<String>,
    /// The URL of the service's protected resource metadata (RFC 9728), named to callers without a credential; default none.
    pub resource_metadata: Option<String>,
    /// Tools in one page of their list, at least one; default 200.
    pub tools_per_page: usize,
    /// What a model is told about the tools as a whole; default none.
    pub instructions: Option<String>,
}

impl Default for McpOptions {
    fn default() -> Self {
        Self {
            serve: ServeOptions::default(),
            hosts: ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec(),
            origins: Vec::new(),
            resource_metadata: None,
            tools_per_page: 200,
            instructions: None,
        }
    }
}

/// Operations as tools of the Model Context Protocol: a [`tower::Service`] of HTTP requests that is mounted under one path.
/// Cheap to clone.
///
/// It speaks the Streamable HTTP transport of the versions 2025-03-26, 2025-06-18, 2025-11-25 and 2026-07-28, answers in JSON
/// and keeps no sessions, so any process on the same store answers any request. `tools/list` has what the caller's tenant can
/// use, in pages; `tools/call` carries an operation out. What an operation does is told by `readOnlyHint`, `destructiveHint`
/// and `idempotentHint`: asking a person first is up to the client. An operation that fails is a result with `isError`, whose
/// text is that of a problem of [`Rest`](super::Rest); a tool that is not there is a JSON-RPC error. The header
/// `Idempotency-Key` of a call makes it one that is carried out once.
#[derive(Clone, Debug)]
pub struct Mcp(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    served: Served,
    front: Front,
    challenge: HeaderValue,
    tools_per_page: usize,
    instructions: Option<String>,
}

impl Integrations {
    /// The operations of all connectors as tools of the Model Context Protocol, for callers whom `auth` knows: a platform is
    /// one that does.
    ///
    /// # Errors
    /// `invalid_input` for a URL of metadata that no header can have.
    pub fn mcp(&self, auth: Arc<dyn Authenticate>, options: McpOptions) -> Result<Mcp> {
        let McpOptions { serve, hosts, origins, resource_metadata, tools_per_page, instructions } = options;
        let challenge = match resource_metadata {
            None => HeaderValue::from_static("Bearer"),
            Some(url) if url.contains('"') => return Err(Error::invalid("`resource_metadata` has a quote")),
            Some(url) => HeaderValue::from_str(&format!("Bearer resource_metadata=\"{url}\""))
                .map_err(|_| Error::invalid("`resource_metadata` cannot be the value of a header"))?,
        };
        Ok(Mcp(Arc::new(Inner {
            served: Served::new(self, auth, serve),
            front: Front { hosts, origins },
            challenge,
            tools_per_page: tools_per_page.max(1),
            instructions,
        })))
    }
}

impl Mcp {
    async fn serve<B>(&self, request: Request<B>) -> Answer
    where
        B: Body + Send,
        B::Error: fmt::Display + Send,
    {
        let inner = &*self.0;
        let (head, body) = request.into_parts();
        if let Some(refused) = inner.front.refusal(&head) {
            return refused;
        }
        let ctx = match inner.served.caller(&head.headers).await {
            Ok(ctx) => ctx,
            Err(error) => return refused(&error, &inner.challenge),
        };
        let answer = match inner.served.body(body).await {
            Ok(body) => self.answer(&ctx, &head.headers, &body).await,
            Err(error) => refused(&error, &inner.challenge),
        };
        named(answer, Some(&ctx))
    }

    /// Answers what a body has: one message, or several where the version knows that.
    async fn answer(&self, ctx: &Context, headers: &HeaderMap, body: &[u8]) -> Answer {
        let failed = |failure: Failure| answered(failure.status, JSON, &failure.of(&Value::Null));
        let Ok(body) = serde_json::from_slice(body) else {
            return failed(Failure::parse());
        };
        let Value::Array(items) = body else {
            return match Message::read(body) {
                Err(failure) => failed(failure),
                Ok(message) => match self.one(ctx, headers, message).await {
                    Some((status, said)) => answered(status, JSON, &said),
                    None => accepted(),
                },
            };
        };
        if !message::takes_batches(headers) || items.is_empty() {
            return failed(Failure::request("several messages at once are of the version 2025-03-26"));
        }
        let mut said = Vec::new();
        for item in items {
            match Message::read(item) {
                Err(failure) => said.push(failure.of(&Value::Null)),
                Ok(message) => said.extend(self.one(ctx, headers, message).await.map(|(_, said)| said)),
            }
        }
        if said.is_empty() { accepted() } else { answered(StatusCode::OK, JSON, &Value::Array(said)) }
    }

    /// The status and the text that one message is answered with; nothing where it asks nothing.
    async fn one(&self, ctx: &Context, headers: &HeaderMap, message: Message) -> Option<(StatusCode, Value)> {
        let Message::Request(request) = message else { return None };
        let said = match Era::of(headers, &request) {
            Err(failure) => Err(failure),
            Ok(era) => {
                self.carry_out(ctx, headers, era, &request).await.map_err(|failure| failure.in_era(era))
            }
        };
        Some(match said {
            Ok(result) => (StatusCode::OK, json!({ "jsonrpc": "2.0", "id": request.id, "result": result })),
            Err(failure) => (failure.status, failure.of(&request.id)),
        })
    }

    async fn carry_out(
        &self,
        ctx: &Context,
        headers: &HeaderMap,
        era: Era,
        request: &message::Request,
    ) -> Result<Said, Failure> {
        match (era, &*request.method) {
            (Era::Handshake, "initialize") => message::initialize(request, self.0.instructions.as_deref()),
            (Era::Handshake, "ping") => Ok(Said::new()),
            (Era::Stateless, "server/discover") => Ok(message::discover(self.0.instructions.as_deref())),
            (_, "tools/list") => self.list(ctx, era, request).await,
            (_, "tools/call") => self.call(ctx, headers, era, request).await,
            (_, method) => Err(Failure::no_method(method)),
        }
    }
}

const JSON: &str = "application/json";

/// The answer to what asks nothing.
fn accepted() -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::ACCEPTED;
    answer
}

impl<B> tower::Service<Request<B>> for Mcp
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: fmt::Display + Send,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mcp = self.clone();
        Box::pin(async move { Ok(mcp.serve(request).await) })
    }
}
