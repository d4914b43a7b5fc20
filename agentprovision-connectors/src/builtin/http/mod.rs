//! Any service over plain HTTP: requests to paths under the URL that an integration says.
//!
//! Nothing is known of the service, so nothing is said about it: whoever calls it knows its paths and what it answers. A path stays
//! under the base URL, however it is written; other hosts are other integrations. What a request says about who sends it comes from
//! the integration's credentials alone.

mod path;

use std::collections::BTreeMap;

use agentprovision_core::{Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::answer::{Form, Response, value};
use crate::auth::{Auth, Field, Grant, OAuth2};
use crate::call::{Answer, Call};
use crate::connector::Connector;
use crate::operation::{Effect, Handler, OperationSpec, Work, read};
use crate::param::{In, Param, Style};
use crate::request::is_senders;

/// The longest body that is given on, in bytes: what a model reads is shorter by far.
const LONGEST: usize = 4 * 1024 * 1024;
/// Headers of one request, at most.
const HEADERS: usize = 50;

/// Headers of a response that are given on: what it is, what is left of a quota, and where it goes on. Never cookies.
const GIVEN_ON: &[&str] = &[
    "age",
    "allow",
    "cache-control",
    "content-disposition",
    "content-language",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "deprecation",
    "etag",
    "expires",
    "last-modified",
    "link",
    "location",
    "request-id",
    "retry-after",
    "sunset",
    "vary",
    "x-correlation-id",
    "x-page",
    "x-next-page",
    "x-per-page",
    "x-request-id",
    "x-total",
    "x-total-count",
];

/// The same, by how their names begin.
const GIVEN_ON_BY_PREFIX: &[&str] = &["ratelimit", "x-ratelimit-", "x-rate-limit-"];

/// The connector.
///
/// # Errors
/// `invalid_input` if its description does not hold together, which tests rule out.
pub fn connector() -> Result<Connector> {
    let about = "Calls any service over HTTP, under one URL.";
    let header = json!({
        "type": "string",
        "description": "Of `key`: the header that the key goes into.",
        "default": "x-api-key",
        "pattern": "^[A-Za-z0-9-]{1,64}$",
    });
    let mut client = OAuth2::new("", "{+token_url}");
    client.client_auth = crate::auth::ClientAuth::Basic;
    let base = json!({
        "type": "string",
        "description": "The URL that all paths are under, as `https://api.example.com/v1`.",
        "maxLength": 2048,
    });
    Connector::builder("http", "")
        .about("HTTP", about)
        .setting_schema("base_url", base)
        .required(["base_url"])
        .setting_schema("key_header", header)
        .setting("key_prefix", "Of `key`: what stands before the key, as `Token `; nothing where absent.")
        .setting("token_url", "Of `client`: where the client's credentials are exchanged for a token.")
        .setting("scopes", "Of `client`: what is asked for, separated by spaces.")
        .auth(Auth::bearer("Token"))
        .auth(Auth::basic("User name and password"))
        .auth(Auth::handler("key", "Key in a header", vec![Field::new("key", "The key.")]))
        .auth(Auth::tokens("client", "OAuth 2, client credentials", Grant::Client(client)))
        .auth(Auth::none())
        .operations([
            operation(Method::GET, "Gets what is at a path."),
            operation(Method::HEAD, "Asks for the headers of what is at a path, without the body."),
            operation(Method::POST, "Posts a body to a path."),
            operation(Method::PUT, "Puts a body in the place of what is at a path."),
            operation(Method::PATCH, "Changes what is at a path."),
            operation(Method::DELETE, "Deletes what is at a path."),
        ])
        .build()
}

/// What a request answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// Headers, by their names in lower case: those about the content, quotas and pages.
    pub headers: BTreeMap<String, String>,
    /// The body: JSON where it is, else a text, else an object with `base64`, `content_type` and `size`; `null` where there is
    /// none.
    pub body: Value,
}

/// What a request is made of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    path: String,
    #[serde(default)]
    query: Map<String, Value>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    accept_statuses: Vec<u16>,
}

fn operation(method: Method, summary: &'static str) -> OperationSpec {
    let name = format!("request.{}", method.as_str().to_ascii_lowercase());
    let plain = json!({ "type": ["string", "number", "boolean"] });
    let mut input = json!({
        "type": "object",
        "required": ["path"],
        "additionalProperties": false,
        "properties": {
            "path": {
                "type": "string",
                "description": "The path under the integration's URL, as `/users/7`. It is no URL, and has no query.",
                "maxLength": 4096,
            },
            "query": {
                "type": "object",
                "description": "The query, by names; a list is a name several times.",
                "additionalProperties": { "anyOf": [plain, { "type": "array", "items": plain }] },
            },
            "headers": {
                "type": "object",
                "description": "Headers, by names. Who sends the request is not among them.",
                "additionalProperties": { "type": "string" },
                "maxProperties": HEADERS,
            },
            "accept_statuses": {
                "type": "array",
                "description": "Statuses beyond 2xx that are an answer and no error, as 404.",
                "items": { "type": "integer", "minimum": 300, "maximum": 599 },
            },
        },
    });
    if let (true, Some(properties)) = (
        [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(&method),
        input.pointer_mut("/properties").and_then(Value::as_object_mut),
    ) {
        let about = "The body: a text is sent as it is, everything else as JSON, or as a form where the header `content-type` \
            says `application/x-www-form-urlencoded`.";
        properties.insert("body".to_owned(), json!({ "description": about }));
    }
    let output = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    let output = output.into_root_schema_for::<Answered>().to_value();
    let spec = OperationSpec::new(
        name,
        summary,
        input,
        output,
        Work::Handler(std::sync::Arc::new(Requests(method.clone()))),
    );
    match method {
        Method::GET | Method::HEAD => spec.effect(Effect::Read).natural(),
        Method::PUT => spec.natural(),
        Method::DELETE => spec.effect(Effect::Destroy).natural(),
        _ => spec,
    }
}

/// Sends requests of one method.
#[derive(Debug)]
struct Requests(Method);

#[async_trait]
impl Handler for Requests {
    async fn handle(&self, call: &Call) -> Result<Answer> {
        let asked: Asked = read(Value::Object(Map::clone(&call.input)))
            .map_err(|why| Error::invalid(format!("the request cannot be made: {why}")))?;
        let mut request = request(&self.0, &call.base_url()?, &asked)?;
        if call.integration.auth == "key" {
            let setting = |name: &str| call.integration.settings.get(name).and_then(Value::as_str);
            let key = call.credentials().await?;
            let key = secrecy::ExposeSecret::expose_secret(key.field("key")?);
            let prefix = setting("key_prefix").unwrap_or_default();
            put_key(&mut request, setting("key_header").unwrap_or("x-api-key"), prefix, key)?;
        }
        let response = call.send(request).await?;
        if !asked.accept_statuses.contains(&response.status.as_u16()) {
            call.check(&response).await?;
        }
        Ok(Answer::new(answered(&response)?))
    }
}

/// Puts a key into a header, where it is not shown and does not follow a redirect to somebody else.
fn put_key(request: &mut Request<Bytes>, header: &str, prefix: &str, key: &str) -> Result<()> {
    let name: HeaderName = header.parse().map_err(|_| {
        Error::invalid(format!("the setting `key_header` is no name of a header: `{header}`"))
    })?;
    if is_senders(name.as_str()) && name != http::header::AUTHORIZATION {
        return Err(Error::invalid(format!(
            "the setting `key_header` names `{name}`, which is no header for a key"
        )));
    }
    let mut value = HeaderValue::from_str(&format!("{prefix}{key}"))
        .map_err(|_| Error::invalid("the credentials have characters that no header can have"))?;
    value.set_sensitive(true);
    request.headers_mut().insert(name, value);
    Ok(())
}

fn request(method: &Method, base: &str, asked: &Asked) -> Result<Request<Bytes>> {
    let mut url = path::under(base, &asked.path)?;
    let query = asked.query.iter().flat_map(|(name, value)| {
        Param::new(name.clone(), name.clone(), In::Query, Style::Form, true).pairs(value)
    });
    for (at, (name, value)) in query.enumerate() {
        url.extend([if at == 0 { "?" } else { "&" }, &name, "=", &value]);
    }
    let mut request = Request::builder()
        .method(method.clone())
        .uri(url)
        .body(Bytes::new())
        .map_err(|error| Error::invalid("the request has no URL that can be sent").with_source(error))?;
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, */*;q=0.8"));
    for (name, value) in &asked.headers {
        let bad = || Error::invalid(format!("`{}` is no header", name.escape_default()));
        let parsed: HeaderName = name.parse().map_err(|_| bad())?;
        if is_senders(name) {
            return Err(Error::invalid(format!(
                "the header `{parsed}` is the sender's, and set by the integration alone"
            )));
        }
        headers.insert(parsed, HeaderValue::from_str(value).map_err(|_| bad())?);
    }
    if let Some(body) = asked.body.as_ref().filter(|body| !body.is_null()) {
        let said = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_form = said.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded");
        let (bytes, kind) = match body {
            Value::String(text) => (text.clone(), "text/plain; charset=utf-8"),
            Value::Object(fields) if is_form => (form(fields), "application/x-www-form-urlencoded"),
            body => (body.to_string(), "application/json"),
        };
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
        *request.body_mut() = Bytes::from(bytes);
    }
    Ok(request)
}

/// An object as a form.
fn form(fields: &Map<String, Value>) -> String {
    let pairs = fields.iter().flat_map(|(name, value)| {
        let style = if value.is_object() { Style::Deep } else { Style::Form };
        Param::new(name.clone(), name.clone(), In::Form, style, true).pairs(value)
    });
    pairs.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn answered(response: &Response) -> Result<Value> {
    if response.body.len() > LONGEST {
        return Err(Error::too_large(format!("the answer has more than {LONGEST} bytes")));
    }
    Ok(json!({
        "status": response.status.as_u16(),
        "headers": given_on(&response.headers),
        "body": value(Form::Any, response)?,
    }))
}

fn given_on(headers: &HeaderMap) -> Map<String, Value> {
    let mut given: Map<String, Value> = Map::new();
    for (name, value) in headers {
        let name = name.as_str();
        let goes =
            GIVEN_ON.contains(&name) || GIVEN_ON_BY_PREFIX.iter().any(|prefix| name.starts_with(prefix));
        let Some(value) = value.to_str().ok().filter(|_| goes) else { continue };
        match given.get_mut(name) {
            // Several of one name are one list (RFC 9110, section 5.3).
            Some(Value::String(before)) => before.extend([", ", value]),
            _ => {
                given.insert(name.to_owned(), value.into());
            }
        }
    }
    given
}

#[cfg(test)]
mod tests;
