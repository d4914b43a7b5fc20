//! The way of a request through the gateway: the same for every format.

use std::fmt;
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::http::inbound;
use agentprovision_core::model::{RouteHints, WireFormat};
use agentprovision_core::{Error, ErrorKind, Result};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use http_body::Body;
use serde_json::Value;

use super::answer::Head;
use super::asked::Asked;
use super::body::{self, BodyError, GatewayBody};
use super::failure::{self, Shape};
use super::load::Permit;
use super::stream::{Encoder, SentEvents};
use super::{Gateway, busy, caller, chat, embeddings, messages, models, responses};

/// What a path and a method ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Route {
    Health,
    Chat,
    Responses,
    Messages,
    Count,
    Embeddings,
    Models,
    Model(String),
}

/// Why there is no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoRoute {
    Path,
    /// The method that is allowed there.
    Method(&'static str),
}

fn route(method: &Method, path: &str) -> Result<Route, NoRoute> {
    let (wanted, route) = match path {
        "/healthz" => (Method::GET, Route::Health),
        "/v1/chat/completions" => (Method::POST, Route::Chat),
        "/v1/responses" => (Method::POST, Route::Responses),
        "/v1/messages" => (Method::POST, Route::Messages),
        "/v1/messages/count_tokens" => (Method::POST, Route::Count),
        "/v1/embeddings" => (Method::POST, Route::Embeddings),
        "/v1/models" => (Method::GET, Route::Models),
        _ => match path.strip_prefix("/v1/models/").filter(|id| !id.is_empty()) {
            Some(id) => (Method::GET, Route::Model(decoded(id))),
            None => return Err(NoRoute::Path),
        },
    };
    match *method == wanted {
        true => Ok(route),
        false => Err(NoRoute::Method(if wanted == Method::GET { "GET" } else { "POST" })),
    }
}

/// A part of a path without percent-encoding (RFC 3986, section 2.1): names of models have slashes and colons.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let digit = |at: usize| more.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
                rest = more.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whose shapes an answer on this path has.
fn shape(path: &str, headers: &HeaderMap) -> Shape {
    if path.starts_with("/v1/messages") || headers.contains_key("anthropic-version") {
        Shape::Anthropic
    } else {
        Shape::OpenAi
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Anthropic's name for it.
const REQUEST_ID_SHORT: HeaderName = HeaderName::from_static("request-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A format in which conversations are asked and answered.
#[derive(Clone, Copy, Debug)]
enum Face {
    Chat,
    Responses,
    Messages,
}

/// What of a request decides about the form of the answer.
enum Form {
    Chat(chat::Form),
    Responses(responses::Form),
    Messages,
}

impl Face {
    fn format(self) -> WireFormat {
        match self {
            Self::Chat => WireFormat::ChatCompletions,
            Self::Responses => WireFormat::Responses,
            Self::Messages => WireFormat::Messages,
        }
    }

    fn read(self, body: Value) -> Result<(Asked, Form)> {
        Ok(match self {
            Self::Chat => {
                let (asked, form) = chat::read(body)?;
                (asked, Form::Chat(form))
            }
            Self::Responses => {
                let (asked, form) = responses::read(body)?;
                (asked, Form::Responses(form))
            }
            Self::Messages => (messages::read_limited(body)?, Form::Messages),
        })
    }
}

impl Form {
    fn encoder(self, head: Head) -> Box<dyn Encoder> {
        match self {
            Self::Chat(form) => Box::new(chat::Chunks::new(head, form)),
            Self::Responses(form) => Box::new(responses::Items::new(head, form)),
            Self::Messages => Box::new(messages::Blocks::new(head)),
        }
    }
}

/// Who calls, and what the headers said.
struct Caller {
    ctx: Context,
    hints: RouteHints,
}

impl Gateway {
    pub(super) async fn serve<B>(&self, request: Request<B>) -> Response<GatewayBody>
    where
        B: Body,
        B::Error: fmt::Display,
    {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let shape = shape(path, &head.headers);
        let route = match route(&head.method, path) {
            Ok(Route::Health) => return self.health(),
            Ok(route) => route,
            Err(no) => return no_route(shape, no),
        };
        let permit = match self.0.load.enter() {
            Ok(permit) => permit,
            Err(reason) => return failure::response(shape, &busy(reason), None),
        };
        let mut id = None;
        let answer = self.answer(route, &head.headers, body, permit, &mut id).await;
        let mut response = answer.unwrap_or_else(|refused| match refused {
            Refused::Error(error) => failure::response(shape, &error, id.as_deref()),
            Refused::Status(status, error) => {
                with_status(failure::response(shape, &error, id.as_deref()), status)
            }
        });
        name(&head.headers, id.as_deref(), response.headers_mut());
        response
    }

    fn health(&self) -> Response<GatewayBody> {
        let draining = self.0.load.is_draining();
        let mut response = Response::new(GatewayBody::text(if draining { "draining\n" } else { "ok\n" }));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        let status = if draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        with_status(response, status)
    }

    async fn answer<B>(
        &self,
        route: Route,
        headers: &HeaderMap,
        body: B,
        mut permit: Permit,
        id: &mut Option<String>,
    ) -> Result<Response<GatewayBody>, Refused>
    where
        B: Body,
        B::Error: fmt::Display,
    {
        // The credential alone says who calls; only then is anything of the body read.
        let ctx = self.0.auth.authenticate(&inbound::credentials(headers)?).await?;
        let ctx = ctx.with_info(inbound::info(headers));
        *id = Some(ctx.request_id().to_string());
        permit.assign(ctx.tenant()).map_err(busy)?;
        let caller = Caller { ctx, hints: caller::hints(headers)? };
        let face = match &route {
            Route::Models => return Ok(json(&models::all(&self.list(&caller.ctx).await?))),
            Route::Model(name) => return Ok(json(&self.model(&caller.ctx, name).await?)),
            Route::Chat => Some(Face::Chat),
            Route::Responses => Some(Face::Responses),
            Route::Messages => Some(Face::Messages),
            Route::Embeddings | Route::Count | Route::Health => None,
        };
        let (env, config) = (&self.0.env, &self.0.config);
        let body = body::read(headers, body, &mut permit, config.max_body_bytes);
        let in_time = env.timeout(Duration::from_millis(config.body_timeout_ms), body).await;
        let body = in_time.unwrap_or(Err(BodyError::Slow))?;
        match face {
            Some(face) => {
                let mut response = self.chat(face, caller, body, permit).await?;
                response.body_mut().watch(env, Duration::from_millis(config.write_stall_timeout_ms));
                Ok(response)
            }
            None if route == Route::Count => Ok(self.count(body)?),
            None => Ok(self.embed(caller, body).await?),
        }
    }

    async fn chat(
        &self,
        face: Face,
        caller: Caller,
        body: Value,
        permit: Permit,
    ) -> Result<Response<GatewayBody>> {
        let Caller { ctx, mut hints } = caller;
        let (Asked { mut request, own, stream, affinity }, form) = face.read(body)?;
        if request.messages.is_empty() {
            return Err(Error::invalid("a request needs at least one message"));
        }
        let model = self.0.models.resolve(&request.model)?;
        (request.extra, request.extra_format) = (own, Some(face.format()));
        hints.affinity = hints.affinity.or(affinity);
        request.route = hints;
        let head = Head {
            request: ctx.request_id().uuid().simple().to_string(),
            created: self.0.env.now().micros() / 1_000_000,
            model: request.model.clone(),
        };
        if stream {
            let events = SentEvents::open(model.stream(&ctx, request).await?, form.encoder(head)).await?;
            let mut body = GatewayBody::events(events);
            body.hold(permit);
            return Ok(stream_of(body));
        }
        let answer = model.complete(&ctx, request).await?;
        Ok(json(&match form {
            Form::Chat(_) => chat::whole(&head, answer),
            Form::Responses(form) => responses::whole(&head, &form, answer),
            Form::Messages => messages::whole(&head, answer),
        }))
    }

    async fn embed(&self, caller: Caller, body: Value) -> Result<Response<GatewayBody>> {
        let Caller { ctx, mut hints } = caller;
        let (mut request, encoding) = embeddings::read(body)?;
        let Some(embedders) = &self.0.embeddings else {
            return Err(Error::unsupported("this gateway has no embedding models"));
        };
        let model = embedders.embedder(&request.model)?;
        hints.affinity = hints.affinity.or(request.route.affinity.take());
        request.route = hints;
        let asked = request.model.clone();
        let answer = model.embed(&ctx, request).await?;
        Ok(json(&embeddings::write(&asked, &answer, encoding)))
    }

    /// How long a prompt is: reckoned here, from above, because nobody is asked.
    fn count(&self, body: Value) -> Result<Response<GatewayBody>> {
        let request = messages::read(body)?.request;
        self.0.models.resolve(&request.model)?;
        Ok(json(&serde_json::json!({"input_tokens": crate::route::input_tokens(&request)})))
    }

    async fn list(&self, ctx: &Context) -> Result<Vec<agentprovision_core::model::ModelInfo>> {
        match &self.0.directory {
            Some(directory) => directory.list(ctx).await,
            None => Ok(Vec::new()),
        }
    }

    async fn model(&self, ctx: &Context, name: &str) -> Result<Value> {
        let models = self.list(ctx).await?;
        let found = models.iter().find(|info| info.name == name);
        found
            .map(models::one)
            .ok_or_else(|| Error::not_found(format!("there is no model `{}`", crate::clip(name))))
    }
}

/// Why there is no answer.
enum Refused {
    Error(Error),
    /// With a status that no kind of error has.
    Status(StatusCode, Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::MediaType => {
                let error = Error::invalid("the body must have the content type `application/json`");
                Self::Status(StatusCode::UNSUPPORTED_MEDIA_TYPE, error)
            }
            BodyError::Slow => {
                let error = Error::new(ErrorKind::DeadlineExceeded, "the body did not arrive in time");
                Self::Status(StatusCode::REQUEST_TIMEOUT, error)
            }
            BodyError::Busy(reason) => Self::Error(busy(reason)),
            BodyError::Refused(error) => Self::Error(error),
        }
    }
}

fn with_status(mut response: Response<GatewayBody>, status: StatusCode) -> Response<GatewayBody> {
    *response.status_mut() = status;
    response
}

fn json(value: &Value) -> Response<GatewayBody> {
    let mut response = Response::new(GatewayBody::json(value));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn stream_of(body: GatewayBody) -> Response<GatewayBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Asks proxies not to collect events.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

fn no_route(shape: Shape, no: NoRoute) -> Response<GatewayBody> {
    match no {
        NoRoute::Path => {
            let error = Error::not_found("there is nothing at this path");
            failure::response(shape, &error, None)
        }
        NoRoute::Method(allowed) => {
            let error = Error::new(ErrorKind::InvalidInput, format!("this path takes {allowed}"));
            let mut response = failure::response(shape, &error, None);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            with_status(response, StatusCode::METHOD_NOT_ALLOWED)
        }
    }
}

/// Puts the ids of the request into the headers of the answer: the client's own where it gave one.
fn name(asked: &HeaderMap, id: Option<&str>, headers: &mut HeaderMap) {
    let value = |text: &str| HeaderValue::from_str(text).ok();
    if let Some(found) = inbound::request_id(asked).or(id).and_then(value) {
        headers.insert(REQUEST_ID, found.clone());
        headers.insert(REQUEST_ID_SHORT, found);
    }
    if let Some(key) = inbound::idempotency_key(asked).and_then(value) {
        headers.insert(IDEMPOTENCY_KEY, key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods_lead_somewhere_or_say_why_not() {
        assert_eq!(route(&Method::POST, "/v1/messages"), Ok(Route::Messages));
        assert_eq!(route(&Method::GET, "/v1/messages"), Err(NoRoute::Method("POST")));
        assert_eq!(route(&Method::POST, "/v1/models/x"), Err(NoRoute::Method("GET")));
        let model = |text: &str| Ok(Route::Model(text.to_owned()));
        assert_eq!(route(&Method::GET, "/v1/models/openai/gpt-4o"), model("openai/gpt-4o"));
        assert_eq!(route(&Method::GET, "/v1/models/openai%2Fgpt%3a4%zz%"), model("openai/gpt:4%zz%"));
        for path in ["/", "/v1", "/v1/models/", "/v1/chat", "/v2/models"] {
            assert_eq!(route(&Method::GET, path), Err(NoRoute::Path));
        }
    }
}
