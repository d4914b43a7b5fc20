//! Connectors that the host language writes: what one is, and one call of its operations, with the way back to the service.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentprovision_connectors::auth::{Auth, Credentials, Field, Grant, OAuth2};
use agentprovision_connectors::call::{Answer as Answered, Call};
use agentprovision_connectors::operation::{Effect, Handler, Work};
use agentprovision_connectors::request::{Body, HttpTemplate};
use agentprovision_connectors::{Connector, OperationSpec, answer::Response};
use agentprovision_core::{Error, ErrorKind, Result, Retry};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::{Answer, HostCall, HostFunction};
use crate::decode::decode;
use crate::wire::encode;

/// What a connector is, as the host says.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ConnectorSpec")]
pub(super) struct ConnectorForm {
    /// The name: 1 to 32 of `a-z 0-9 -`.
    name: String,
    /// How people call the service; the name where absent.
    title: Option<String>,
    /// What it is good for, in a sentence.
    #[serde(default)]
    summary: String,
    /// The version of this description; default `1.0.0`.
    version: Option<String>,
    /// The URL that requests go under, with settings in braces; the setting `base_url` of an integration replaces it.
    #[serde(default)]
    base_url: String,
    /// Settings of an integration, each with its JSON Schema.
    #[serde(default)]
    settings: BTreeMap<String, Value>,
    /// Ways to prove who asks, the usual one first; nobody proves anything where there is none.
    #[serde(default)]
    auth: Vec<AuthForm>,
    /// Headers of every request.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// How the account is found that an integration is connected to.
    whoami: Option<WhoAmIForm>,
    /// What it can do.
    operations: Vec<OperationForm>,
}

/// A way to prove who asks.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[schemars(rename = "ConnectorAuth")]
enum AuthForm {
    /// The credential `token`, as a bearer token.
    Bearer {},
    /// The credentials `username` and `password`.
    Basic {},
    /// The credential `key`, in a header.
    Header {
        /// The header.
        header: String,
        /// What stands before the key; nothing where absent.
        #[serde(default)]
        prefix: String,
    },
    /// The credential `key`, in the query.
    Query {
        /// The name in the query.
        name: String,
    },
    /// Tokens that somebody grants in a browser, and that are renewed; the host registers its application.
    Oauth {
        /// Where people grant access.
        authorize_url: String,
        /// Where codes and refresh tokens are exchanged.
        token_url: String,
        /// What is asked for.
        #[serde(default)]
        scopes: Vec<String>,
    },
    /// Credentials that the operations use in a way of their own.
    Own {
        /// What whoever makes an integration is asked for.
        fields: Vec<FieldForm>,
    },
}

/// A credential that is asked for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ConnectorField")]
struct FieldForm {
    /// The name.
    name: String,
    /// What it is.
    #[serde(default)]
    about: String,
    /// Whether it can be left out; default no.
    #[serde(default)]
    optional: bool,
}

/// How an account is found: by an operation without input.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ConnectorWhoAmI")]
struct WhoAmIForm {
    /// The operation.
    operation: String,
    /// Where its answer has the account's id, as a JSON pointer.
    id: String,
    /// Where it has the account's name.
    name: String,
}

/// An operation.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OperationSpec")]
struct OperationForm {
    /// The name within the connector: 1 to 64 of `a-z 0-9 _ .`.
    name: String,
    /// What it does, for people and models.
    #[serde(default)]
    summary: String,
    /// JSON Schema of its input; an object.
    input_schema: Value,
    /// JSON Schema of its answer; anything where absent.
    output_schema: Option<Value>,
    /// What it does to what the service keeps; default `write`.
    effect: Option<Effect>,
    /// Whether it can be repeated when its end is not known; default `none`, unless its effect is `read`.
    idempotency: Option<IdempotencyForm>,
    /// The longest a call may take, in milliseconds; default 30 000.
    timeout_ms: Option<u64>,
    /// What a call counts as on the meter `integration.calls`; default 1.
    units: Option<u64>,
    /// What the credential has to be granted, in the service's words.
    #[serde(default)]
    scopes: Vec<String>,
}

/// Whether an operation can be repeated.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "OperationIdempotency")]
enum IdempotencyForm {
    /// Doing it twice is doing it once.
    Natural,
    /// Doing it twice is doing it twice.
    None,
}

impl AuthForm {
    fn auth(self) -> Auth {
        match self {
            Self::Bearer {} => Auth::bearer("Token"),
            Self::Basic {} => Auth::basic("User name and password"),
            Self::Header { header, prefix } => Auth::key_header(header, prefix),
            Self::Query { name } => Auth::key_query(name),
            Self::Oauth { authorize_url, token_url, scopes } => {
                let mut oauth = OAuth2::new(authorize_url, token_url);
                oauth.scopes = scopes.into_iter().map(Into::into).collect();
                Auth::tokens("oauth", "In a browser", Grant::Code(oauth))
            }
            Self::Own { fields } => {
                let field = |FieldForm { name, about, optional }| match Field::new(name, about) {
                    field if optional => field.optional(),
                    field => field,
                };
                Auth::handler("credentials", "Credentials", fields.into_iter().map(field).collect())
            }
        }
    }
}

impl OperationForm {
    fn spec(self, handler: &Arc<dyn Handler>) -> OperationSpec {
        let output = self.output_schema.unwrap_or(Value::Bool(true));
        let work = Work::Handler(handler.clone());
        let mut spec = OperationSpec::new(self.name, self.summary, self.input_schema, output, work);
        spec.effect = self.effect.unwrap_or(spec.effect);
        spec.timeout = self.timeout_ms.map_or(spec.timeout, Duration::from_millis);
        spec.units = self.units.unwrap_or(spec.units);
        spec.scopes = self.scopes.into_iter().map(Into::into).collect();
        match self.idempotency {
            Some(IdempotencyForm::Natural) => spec.natural(),
            Some(IdempotencyForm::None) | None => spec,
        }
    }
}

/// A connector whose operations are a host's function; [`HostCall::operation`] says which one is called. `spec` is a JSON object
/// with `name`, `operations` (each with `name` and `input_schema`) and what else [`schema`](crate::wire::schema) describes as
/// `ConnectorSpec`.
///
/// # Errors
/// `invalid_input` for a specification that cannot be read or used, naming what is wrong; `already_exists` for two operations of
/// one name.
pub fn connector(spec: &str, function: Arc<dyn HostFunction>) -> Result<Connector> {
    let form: ConnectorForm = decode("the connector", spec)?;
    let handler: Arc<dyn Handler> = Arc::new(HostOperation { function });
    let title = form.title.unwrap_or_else(|| form.name.clone());
    let mut connector = Connector::builder(form.name, form.base_url).about(title, form.summary);
    if let Some(version) = form.version {
        connector = connector.version(version);
    }
    for (name, schema) in form.settings {
        connector = connector.setting_schema(&name, schema);
    }
    let mut ways = BTreeSet::new();
    for auth in form.auth.into_iter().map(AuthForm::auth) {
        if !ways.insert(auth.name.clone()) {
            return Err(Error::invalid(format!("the connector proves who asks by `{}` twice", auth.name)));
        }
        connector = connector.auth(auth);
    }
    for (name, value) in form.headers {
        connector = connector.header(name, value);
    }
    if let Some(WhoAmIForm { operation, id, name }) = form.whoami {
        connector = connector.whoami(operation, id, name);
    }
    connector.operations(form.operations.into_iter().map(|operation| operation.spec(&handler))).build()
}

#[derive(Debug)]
struct HostOperation {
    function: Arc<dyn HostFunction>,
}

#[async_trait]
impl Handler for HostOperation {
    async fn handle(&self, call: &Call) -> Result<Answered> {
        let credentials = call.credentials().await?;
        // What the host does beside `send` cannot be seen, so from here on something may have been done.
        call.count_request(0);
        let over = CancellationToken::new();
        let _over = over.clone().drop_guard();
        let operation = OperationCall(Arc::new(Inner {
            call: call.clone(),
            credentials,
            over,
            failed: Mutex::default(),
        }));
        let input = encode(&*call.input)?;
        let (ctx, given) = (Some(call.ctx.clone()), Some(operation.clone()));
        let answer = Answer::begin(&*self.function, |reply| HostCall {
            input,
            ctx,
            tool: None,
            operation: given,
            reply,
        });
        let what = format!("the answer of `{}.{}`", call.connector.name, call.spec().name);
        match answer.value::<Value>(&what).await {
            Ok(value) => {
                let body = Bytes::from(encode(&value)?);
                let response = Response::new(StatusCode::OK, HeaderMap::new(), body);
                Ok(Answered::new(call.operation.answer(&response, &[])?))
            }
            Err(error) => Err(operation.as_it_was(error)),
        }
    }
}

/// One call of an operation of a host's connector: what it is about, and the way to the service. Cheap to clone.
#[derive(Clone)]
pub struct OperationCall(Arc<Inner>);

struct Inner {
    call: Call,
    credentials: Arc<Credentials>,
    over: CancellationToken,
    /// What the last request failed with.
    failed: Mutex<Option<Failed>>,
}

/// What an error says, which cannot be cloned.
struct Failed {
    kind: ErrorKind,
    message: String,
    retry: Retry,
    context: Vec<(&'static str, String)>,
}

impl fmt::Debug for OperationCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OperationCall").field(&self.0.call).finish()
    }
}

/// A request, as the host gives it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendForm {
    method: String,
    path: String,
    #[serde(default)]
    params: Map<String, Value>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    json: Option<Value>,
    body: Option<BodyForm>,
    check: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum BodyForm {
    Text(String),
    Bytes {
        #[serde(rename = "$bytes")]
        base64: String,
    },
}

impl BodyForm {
    fn bytes(self) -> Result<Bytes> {
        match self {
            Self::Text(text) => Ok(text.into()),
            Self::Bytes { base64 } => match STANDARD.decode(base64) {
                Ok(bytes) => Ok(bytes.into()),
                Err(_) => Err(Error::invalid("the body is no base64")),
            },
        }
    }
}

/// Whether a path stays under what it is put behind, and is read the same by everybody.
fn stays_below(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#\\\"<>^`|".contains(&byte);
    let decoded = path.to_ascii_lowercase().replace("%2e", ".");
    path.starts_with('/')
        && path.bytes().all(plain)
        && !decoded.split('/').any(|part| part == "." || part == "..")
}

impl OperationCall {
    /// What the call is about, as JSON: `connector`, `operation`, `integration` (`id`, `name`, `auth`, `account`), `settings`,
    /// `idempotency_key`, `run`, `agent` and `deadline`.
    ///
    /// # Errors
    /// None in practice.
    pub fn facts(&self) -> Result<String> {
        let Call { integration, connector, operation, key, deadline, run, agent, .. } = &self.0.call;
        let env = self.0.call.env();
        encode(&json!({
            "connector": connector.name,
            "operation": operation.spec.name,
            "integration": {
                "id": integration.id,
                "name": integration.name,
                "auth": integration.auth,
                "account": integration.account,
            },
            "settings": integration.settings,
            "idempotency_key": key,
            "run": run,
            "agent": agent,
            "deadline": env.now().after(deadline.saturating_sub(env.monotonic())),
        }))
    }

    /// The credentials of the integration, as a JSON object of texts: what was entered, by the names of the fields, and
    /// `access_token` of those that are granted.
    ///
    /// # Errors
    /// None in practice.
    pub fn credentials(&self) -> Result<SecretString> {
        let Inner { call, credentials, .. } = &*self.0;
        let auth = call.connector.auth(Some(&call.integration.auth))?;
        let mut texts = Map::new();
        for field in &auth.fields {
            if let Some(value) = credentials.optional(&field.name) {
                texts.insert(field.name.to_string(), value.expose_secret().into());
            }
        }
        if let Some(tokens) = &credentials.tokens {
            texts.insert("access_token".into(), tokens.access.expose_secret().into());
        }
        Ok(Value::Object(texts).to_string().into())
    }

    /// Sends a request as the integration, and gives the response: `{"status", "headers", "body"}`, where the body is a text, or
    /// `{"$bytes": base64}`.
    ///
    /// The request is `{"method", "path"}` and optionally `params`, of which the path takes those that it names in braces and the
    /// query the rest, `headers`, `json` or `body` (a text or `{"$bytes": base64}`), and `check`: unless that is false, a response
    /// that is a failure is the error it stands for.
    ///
    /// # Errors
    /// `invalid_input` for a request that cannot be made; `conflict` when the call is over; otherwise as [`Call::send`] and
    /// [`Call::check`].
    pub async fn send(&self, request: &str) -> Result<String> {
        let sent = async {
            tokio::select! {
                biased;
                () = self.0.over.cancelled() => Err(Error::conflict("the call of the operation is over")),
                sent = self.exchange(request) => sent,
            }
        };
        sent.await.inspect_err(|error| {
            let failed = Failed {
                kind: error.kind(),
                message: error.message().to_owned(),
                retry: error.retry(),
                context: error.context().to_vec(),
            };
            *self.0.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(failed);
        })
    }

    async fn exchange(&self, request: &str) -> Result<String> {
        let call = &self.0.call;
        let SendForm { method, path, params, headers, json, body, check } = decode("the request", request)?;
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| Error::invalid(format!("`{}` is no method", crate::decode::clip(&method))))?;
        if !stays_below(&path) {
            let path = crate::decode::clip(&path);
            return Err(Error::invalid(format!(
                "`{path}` is no path under the service's URL: it begins with `/`, leads nowhere else, and leaves the query to \
                 `params`"
            )));
        }
        let base = call.base_url()?;
        if base.is_empty() {
            let name = &call.connector.name;
            return Err(Error::invalid(format!("neither `{name}` nor the settings have a `base_url`")));
        }
        let mut template = HttpTemplate::new(method, path);
        template.body = Body::None;
        let mut request = template.request(&base, &params, &[])?;
        let kind = match (json, body) {
            (Some(_), Some(_)) => return Err(Error::invalid("a request has `json` or a `body`, not both")),
            (Some(json), None) => {
                *request.body_mut() = encode(&json)?.into();
                Some("application/json")
            }
            (None, Some(body)) => {
                *request.body_mut() = body.bytes()?;
                None
            }
            (None, None) => None,
        };
        if let Some(kind) = kind {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        for (name, value) in headers {
            let bad = || Error::invalid(format!("`{}` is no header", crate::decode::clip(&name)));
            let named: HeaderName = name.parse().map_err(|_| bad())?;
            request.headers_mut().insert(named, value.parse().map_err(|_| bad())?);
        }
        let response = call.send(request).await?;
        if check.unwrap_or(true) {
            call.check(&response).await?;
        }
        let mut headers = Map::new();
        for name in response.headers.keys() {
            let values: Vec<_> = response
                .headers
                .get_all(name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .collect();
            headers.insert(name.to_string(), values.join(", ").into());
        }
        let body = match std::str::from_utf8(&response.body) {
            Ok(text) => Value::from(text),
            Err(_) => json!({ "$bytes": STANDARD.encode(&response.body) }),
        };
        encode(&json!({ "status": response.status.as_u16(), "headers": headers, "body": body }))
    }

    /// An error that the host has let pass says what it said before: how it was meant is more than what crosses.
    fn as_it_was(&self, error: Error) -> Error {
        let failed = self.0.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failed.filter(|failed| failed.kind == error.kind() && failed.message == error.message()) {
            Some(Failed { retry, context, .. }) => {
                let error = error.with_retry(retry);
                context.into_iter().fold(error, |error, (name, value)| error.with_context(name, value))
            }
            None => error,
        }
    }
}
