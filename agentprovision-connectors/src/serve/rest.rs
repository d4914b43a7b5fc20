//! Operations as REST.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use agentprovision_core::context::Context;
use agentprovision_core::http::inbound::{Authenticate, is_json};
use agentprovision_core::{Error, Result};
use http::header::{ALLOW, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use serde_json::{Map, Value};

use super::{Answer, ServeOptions, Served, answered, call_options, document, named, refused, refused_with};
use crate::integrations::Integrations;
use crate::tools::{INTEGRATION, OperationTool};

/// How operations are served as REST.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RestOptions {
    /// What is let in.
    pub serve: ServeOptions,
    /// The URL under which clients reach the service, for the description. Default none, which OpenAPI takes for the root of
    /// the host: say it where the service is mounted anywhere else.
    pub base_url: Option<String>,
}

/// Operations as REST: a [`tower::Service`] of HTTP requests. Cheap to clone.
///
/// | method and path | what it does |
/// |---|---|
/// | `POST /{connector}/{operation}` | carries an operation out; the body is its input, a JSON object, and the answer its output |
/// | `GET /openapi.json` | describes in OpenAPI 3.1 what the caller's tenant can use |
///
/// | part of a call | means |
/// |---|---|
/// | `?integration=` | the name or id of the integration, where the tenant has several of the connector |
/// | `Idempotency-Key` | a call that was made under it before is answered as then |
/// | `x-request-id`, `traceparent` | the work that it belongs to |
///
/// Errors are `application/problem+json` (RFC 9457) with the platform's `code`; their statuses are those of
/// [`ErrorKind::http_status`](agentprovision_core::ErrorKind::http_status). Paths count from where the service is mounted.
#[derive(Clone, Debug)]
pub struct Rest(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    served: Served,
    base_url: Option<String>,
}

const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer");

impl Integrations {
    /// The operations of all connectors as REST, for callers whom `auth` knows: a platform is one that does.
    pub fn rest(&self, auth: Arc<dyn Authenticate>, options: RestOptions) -> Rest {
        let RestOptions { serve, base_url } = options;
        Rest(Arc::new(Inner { served: Served::new(self, auth, serve), base_url }))
    }
}

/// What a method and a path ask for.
enum Route<'a> {
    Document,
    Call(&'a OperationTool),
    /// The path takes this method alone.
    Takes(&'static str),
}

impl Rest {
    async fn serve<B>(&self, request: Request<B>) -> Answer
    where
        B: Body + Send,
        B::Error: fmt::Display + Send,
    {
        let (head, body) = request.into_parts();
        let ctx = match self.0.served.caller(&head.headers).await {
            Ok(ctx) => ctx,
            Err(error) => return refused(&error, &CHALLENGE),
        };
        let value = match self.route(&head) {
            Ok(Route::Document) => self.describe(&ctx).await,
            Ok(Route::Call(tool)) => self.call(&ctx, tool, &head, body).await,
            Ok(Route::Takes(method)) => return named(not_allowed(method), Some(&ctx)),
            Err(error) => Err(error),
        };
        let answer = match value {
            Ok(value) => answered(StatusCode::OK, "application/json", &value),
            Err(error) => refused(&error, &CHALLENGE),
        };
        named(answer, Some(&ctx))
    }

    /// Where a request goes.
    fn route(&self, head: &Parts) -> Result<Route<'_>> {
        let path = head.uri.path().trim_start_matches('/');
        let (method, route) = match path {
            "openapi.json" => ("GET", Route::Document),
            _ => ("POST", Route::Call(self.operation(path)?)),
        };
        Ok(if head.method == method { route } else { Route::Takes(method) })
    }

    fn operation(&self, path: &str) -> Result<&OperationTool> {
        let Served { integrations, tools, .. } = &self.0.served;
        let (connector, operation) =
            path.split_once('/').ok_or_else(|| Error::not_found("a path is `/{connector}/{operation}`"))?;
        // Says which one is called similarly.
        let connector = integrations.catalog().get(connector)?;
        let spec = &connector.operation(operation)?.spec;
        let found = tools.iter().find(|tool| Arc::ptr_eq(tool.operation(), spec));
        found.ok_or_else(|| Error::not_found("only operations that change nothing are served here"))
    }

    async fn describe(&self, ctx: &Context) -> Result<Value> {
        let tools = self.0.served.usable(ctx).await?;
        Ok(document::of(tools, self.0.base_url.as_deref()))
    }

    async fn call<B>(&self, ctx: &Context, tool: &OperationTool, head: &Parts, body: B) -> Result<Value>
    where
        B: Body + Send,
        B::Error: fmt::Display + Send,
    {
        let integration = integration(head.uri.query().unwrap_or_default())?;
        let options = call_options(&head.headers)?;
        let body = self.0.served.body(body).await?;
        let input = input(&head.headers, &body)?;
        tool.invoke(ctx, integration.as_deref(), input, options).await
    }
}

fn not_allowed(takes: &'static str) -> Answer {
    let error = Error::invalid(format!("the path takes {takes}"));
    let mut answer = refused_with(StatusCode::METHOD_NOT_ALLOWED, &error, &CHALLENGE);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(takes));
    answer
}

/// The integration that the query names.
fn integration(query: &str) -> Result<Option<String>> {
    let mut named = None;
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if name != INTEGRATION {
            return Err(Error::invalid("the query takes `integration` alone; input goes into the body"));
        }
        if named.replace(value.into_owned()).is_some() {
            return Err(Error::invalid("the query names `integration` twice"));
        }
    }
    Ok(named)
}

/// The input of an operation; nothing at all is none of its fields.
fn input(headers: &HeaderMap, body: &[u8]) -> Result<Map<String, Value>> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    let media_type = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    if !media_type.is_none_or(is_json) {
        return Err(Error::invalid("the body is sent as `application/json`"));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(input)) => Ok(input),
        Ok(_) => Err(Error::invalid("the body is no JSON object")),
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            Err(Error::invalid(format!("the body is no JSON: line {line} column {column}")))
        }
    }
}

impl<B> tower::Service<Request<B>> for Rest
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: fmt::Display + Send,
{
    type Response = Response<Full<bytes::Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let rest = self.clone();
        Box::pin(async move { Ok(rest.serve(request).await) })
    }
}
