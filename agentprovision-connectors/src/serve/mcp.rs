//! Operations as tools of the Model Context Protocol, over its Streamable HTTP transport.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use agentprovision_core::context::Context;
use agentprovision_core::http::inbound::Authenticate;
use agentprovision_core::{Error, Result};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ErrorData, Extensions, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::Value;

use super::{ServeOptions, Served, call_options, named, problem, refused};
use crate::integrations::Integrations;
use crate::operation::Effect;
use crate::tools::OperationTool;

/// Tools in one page of their list.
const PAGE: usize = 200;

/// How operations are served to clients of the Model Context Protocol.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct McpOptions {
    /// What is let in.
    pub serve: ServeOptions,
    /// The names, with or without a port, under which clients reach the service; another `Host` is refused with 403. Default
    /// those of the loopback.
    pub hosts: Vec<String>,
    /// The origins of web pages that may call, as `https://app.example.com:443`; default none. Clients that are no browser
    /// have no origin.
    pub origins: Vec<String>,
    /// The URL of the service's protected resource metadata (RFC 9728), named to callers without a credential; default none.
    pub resource_metadata: Option<String>,
    /// What a model is told about the tools as a whole; default none.
    pub instructions: Option<String>,
}

impl Default for McpOptions {
    fn default() -> Self {
        Self {
            serve: ServeOptions::default(),
            hosts: ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec(),
            origins: Vec::new(),
            resource_metadata: None,
            instructions: None,
        }
    }
}

/// Operations as tools of the Model Context Protocol: a [`tower::Service`] of HTTP requests that is mounted under one path.
/// Cheap to clone.
///
/// It speaks the Streamable HTTP transport of the versions 2025-03-26 to 2026-07-28 and keeps no sessions, so any process
/// on the same store answers any request. `tools/list` has what the caller's tenant can use, in pages; `tools/call` carries
/// an operation out. What an operation does is told by `readOnlyHint`, `destructiveHint` and `idempotentHint`: asking a
/// person first is up to the client. An operation that fails is a result with `isError`, whose content is that of a problem
/// of [`Rest`](super::Rest); a tool that is not there is a JSON-RPC error. The header `Idempotency-Key` of a call makes it
/// one that is carried out once.
#[derive(Clone)]
pub struct Mcp {
    served: Arc<Served>,
    service: StreamableHttpService<Handler, NeverSessionManager>,
    challenge: HeaderValue,
}

impl fmt::Debug for Mcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mcp").field("served", &self.served).finish_non_exhaustive()
    }
}

impl Integrations {
    /// The operations of all connectors as tools of the Model Context Protocol, for callers whom `auth` knows: a platform is
    /// one that does.
    ///
    /// # Errors
    /// `invalid_input` for a URL of metadata that no header can have.
    pub fn mcp(&self, auth: Arc<dyn Authenticate>, options: McpOptions) -> Result<Mcp> {
        let McpOptions { serve, hosts, origins, resource_metadata, instructions } = options;
        let challenge = match resource_metadata {
            None => HeaderValue::from_static("Bearer"),
            Some(url) if url.contains('"') => return Err(Error::invalid("`resource_metadata` has a quote")),
            Some(url) => HeaderValue::from_str(&format!("Bearer resource_metadata=\"{url}\""))
                .map_err(|_| Error::invalid("`resource_metadata` cannot be the value of a header"))?,
        };
        let mut config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_max_request_body_bytes(serve.max_body_bytes)
            .with_allowed_hosts(hosts)
            .enforce_origin_validation();
        config.allowed_origins = origins;
        let served = Arc::new(Served::new(self, auth, serve));
        let handler = Handler { served: served.clone(), instructions };
        let service = StreamableHttpService::new(
            move || Ok(handler.clone()),
            Arc::new(NeverSessionManager::default()),
            config,
        );
        Ok(Mcp { served, service, challenge })
    }
}

impl Mcp {
    async fn serve<B>(&self, request: Request<B>) -> Response<BoxBody<Bytes, Infallible>>
    where
        B: Body + Send,
        B::Error: fmt::Display + Send,
    {
        let (mut head, body) = request.into_parts();
        let read = async {
            let ctx = self.served.caller(&head.headers).await?;
            Ok((ctx, self.served.body(body).await?))
        };
        match read.await {
            Ok((ctx, body)) => {
                head.extensions.insert(ctx.clone());
                let answer = self.service.handle(Request::from_parts(head, Full::new(body))).await;
                named(answer, Some(&ctx))
            }
            Err(error) => refused(&error, &self.challenge).map(|body| body.boxed()),
        }
    }
}

/// Answers one request.
#[derive(Clone)]
struct Handler {
    served: Arc<Served>,
    instructions: Option<String>,
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let about = Implementation::new("agentprovision", env!("CARGO_PKG_VERSION"));
        let mut info = ServerConfig::new(ServerCapabilities::builder().enable_tools().build());
        info.server_info = about.with_title("AgentProvision connectors");
        info.instructions.clone_from(&self.instructions);
        info
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let (ctx, _) = caller(&context.extensions)?;
        let after = request.and_then(|request| request.cursor).unwrap_or_default();
        let usable = self.served.usable(ctx).await.map_err(|error| failed(&error))?;
        let mut rest = usable.filter(|tool| *tool.name() > *after).peekable();
        let tools: Vec<Tool> = rest.by_ref().take(PAGE).map(described).collect();
        let last = tools.last().map(|tool| tool.name.to_string());
        let next_cursor = rest.peek().and(last);
        Ok(ListToolsResult { next_cursor, ..ListToolsResult::with_all_items(tools) })
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let (ctx, head) = caller(&context.extensions)?;
        let Ok(at) = self.served.tools.binary_search_by(|tool| tool.name().cmp(&request.name)) else {
            return Err(unknown(&request.name));
        };
        let tool = self.served.tools.get(at).ok_or_else(|| unknown(&request.name))?;
        let mut input = request.arguments.unwrap_or_default();
        let called = async {
            let options = call_options(&head.headers)?;
            let integration = tool.take_integration(&mut input)?;
            tool.invoke(ctx, integration.as_deref(), input, options).await
        };
        let result = match called.await {
            Ok(value) => CallToolResult::structured(value),
            Err(error) => CallToolResult::structured_error(problem(&error)),
        };
        Ok(result.into())
    }
}

/// Who calls, as the service has put it beside the request.
fn caller(extensions: &Extensions) -> Result<(&Context, &Parts), ErrorData> {
    let head = extensions.get::<Parts>();
    let found = head.and_then(|head| Some((head.extensions.get::<Context>()?, head)));
    found.ok_or_else(|| ErrorData::internal_error("the request has no caller", None))
}

fn failed(error: &Error) -> ErrorData {
    ErrorData::internal_error(error.message().to_owned(), Some(problem(error)))
}

fn unknown(name: &str) -> ErrorData {
    let name: String = name.chars().take(100).collect();
    ErrorData::invalid_params(format!("there is no tool `{name}`"), None)
}

/// A tool as clients see it.
fn described(tool: &OperationTool) -> Tool {
    let operation = tool.operation();
    let object = |schema: &Value| schema.as_object().map(|fields| Arc::new(fields.clone()));
    let mut described = Tool::new_with_raw(
        tool.name().to_owned(),
        Some(tool.summary().to_owned().into()),
        object(tool.input()).unwrap_or_default(),
    );
    described.title = Some(format!("{}: {}", tool.connector().title, operation.name));
    described.output_schema = object(&operation.output);
    described.annotations = Some(
        ToolAnnotations::new()
            .read_only(operation.effect == Effect::Read)
            .destructive(operation.effect == Effect::Destroy)
            .idempotent(operation.repeatable())
            .open_world(true),
    );
    described
}

impl<B> tower::Service<Request<B>> for Mcp
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: fmt::Display + Send,
{
    type Response = Response<BoxBody<Bytes, Infallible>>;
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
