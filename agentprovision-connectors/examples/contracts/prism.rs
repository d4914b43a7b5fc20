//! What Prism says of a request.

use agentprovision_connectors::answer::Response;
use agentprovision_connectors::auth::{Auth, Credentials, Tokens};
use agentprovision_core::Timestamp;
use agentprovision_core::http::{HttpTransport, ReqwestOptions, ReqwestTransport};
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Request};
use secrecy::SecretString;
use serde_json::{Map, Value};
use url::form_urlencoded;

use super::Outcome;

/// A running mock server.
pub(crate) struct Prism {
    transport: ReqwestTransport,
    url: String,
}

/// Its answer.
pub(crate) struct Reply {
    pub(crate) response: Response,
    /// What is wrong with the request.
    violations: Vec<String>,
    /// Whether the example that it answers with is not what the description says.
    pub(crate) contradicts: bool,
    /// Whether it found what is wrong with parts of a form that nobody sent, and nothing else.
    made_up: bool,
    /// The kind of its refusal, where it is one of its own.
    refusal: Option<String>,
}

/// Made-up credentials of a kind.
pub(crate) fn credentials(auth: &Auth) -> Outcome<Credentials> {
    const MADE_UP: &str = "contract-check";
    let fields = auth.fields.iter().filter(|field| !field.optional);
    let entered: Map<String, Value> = fields.map(|field| (field.name.to_string(), MADE_UP.into())).collect();
    let mut credentials = Credentials::entered(&auth.fields, &entered).map_err(|error| error.to_string())?;
    credentials.tokens = Some(Tokens {
        access: SecretString::from(MADE_UP),
        refresh: None,
        expires_at: None,
        scopes: Vec::new(),
        got_at: Timestamp::default(),
    });
    Ok(credentials)
}

impl Prism {
    pub(crate) fn at(url: &str) -> Outcome<Self> {
        let transport =
            ReqwestTransport::new(&ReqwestOptions::default()).map_err(|error| error.to_string())?;
        let uri = url.parse().map_err(|error| format!("`{url}`: {error}"))?;
        transport.allow(&uri).map_err(|error| error.to_string())?;
        Ok(Self { transport, url: url.trim_end_matches('/').to_owned() })
    }

    /// The URL that paths go under.
    pub(crate) fn base(&self, prefix: &str) -> String {
        format!("{}{prefix}", self.url)
    }

    pub(crate) async fn send(&self, request: &Request<Bytes>) -> Outcome<Reply> {
        let reply = self.once(request.clone()).await?;
        if reply.refusal.as_deref() != Some("NOT_ACCEPTABLE") {
            return Ok(reply);
        }
        // Descriptions lack media types that vendors have for other forms of an answer, and Prism looks at nothing else then.
        let mut request = request.clone();
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("*/*"));
        self.once(request).await
    }

    async fn once(&self, request: Request<Bytes>) -> Outcome<Reply> {
        let form = form(&request);
        let response = self.transport.send(request).await.map_err(|error| error.to_string())?;
        let (head, body) = response.into_parts();
        let body: BytesMut = body
            .try_fold(BytesMut::new(), async |mut all, piece| {
                all.extend_from_slice(&piece);
                Ok(all)
            })
            .await
            .map_err(|error| error.to_string())?;
        Ok(Reply::of(Response::new(head.status, head.headers, body.freeze()), form.as_deref()))
    }
}

/// The names in a form, each as its parts: `items[0][price]` as `items`, `0`, `price`.
fn form(request: &Request<Bytes>) -> Option<Vec<Vec<String>>> {
    let kind = request.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    let names = form_urlencoded::parse(request.body())
        .map(|(name, _)| name.split('[').map(|part| part.trim_end_matches(']').to_owned()).collect());
    kind.starts_with("application/x-www-form-urlencoded").then(|| names.collect())
}

/// Whether it is about a part of a form that was not sent: as soon as there is anything in a form, Prism takes each of its
/// objects that is not there for an empty one, and misses in it what is required.
fn is_made_up(violation: &Value, form: &[Vec<String>]) -> bool {
    let place = violation.get("location").and_then(Value::as_array).into_iter().flatten();
    let place: Vec<&str> = place.filter_map(Value::as_str).collect();
    let Some(field) = place.strip_prefix(&["request", "body"]).filter(|field| !field.is_empty()) else {
        return false;
    };
    let sent = |name: &Vec<String>| name.len() >= field.len() && name.iter().zip(field).all(|(a, b)| a == b);
    violation.get("code").and_then(Value::as_str) == Some("required") && !form.iter().any(sent)
}

impl Reply {
    fn of(response: Response, form: Option<&[Vec<String>]>) -> Self {
        let header: Option<Value> =
            response.header("sl-violations").and_then(|text| serde_json::from_str(text).ok());
        // Where the description has no answer for a bad request, Prism answers in words of its own.
        let problem = response.header("content-type") == Some("application/problem+json");
        let problem = response.json().filter(|_| problem).unwrap_or_default();
        let refusal = problem.get("type").and_then(Value::as_str);
        let refusal = refusal.and_then(|kind| kind.strip_prefix("https://stoplight.io/prism/errors#"));
        let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
        let mut all = list(header.as_ref());
        let found = all.len();
        if let Some(form) = form {
            all.retain(|violation| !is_made_up(violation, form));
        }
        let made_up = all.len() < found;
        let about = |part: &str| {
            let mut violations = all.clone();
            violations.retain(|one| one.pointer("/location/0").and_then(Value::as_str) == Some(part));
            violations
        };
        let text = |violation: &Value| {
            let place = list(violation.get("location"));
            let place: Vec<&str> = place.iter().filter_map(Value::as_str).collect();
            let message = violation.get("message").and_then(Value::as_str).unwrap_or_default();
            format!("{} ({message})", place.join("."))
        };
        // All of these are about the request, and do not say so.
        let violations = about("request").iter().chain(&list(problem.get("validation"))).map(text).collect();
        let contradicts = !about("response").is_empty();
        let refusal = refusal.map(str::to_owned);
        Self { violations, contradicts, made_up, refusal, response }
    }

    /// Whether there is nothing wrong with the request.
    pub(crate) fn in_order(&self) -> Outcome<()> {
        let status = self.response.status;
        match (&self.refusal, self.violations.as_slice()) {
            (None, []) if self.made_up => Ok(()),
            (Some(kind), []) => Err(format!("refused with {status} {kind}")),
            (_, []) if status.is_success() || status.is_redirection() => Ok(()),
            (_, []) => Err(format!("answered with {status}")),
            (_, violations) => Err(violations.join("; ")),
        }
    }

    /// Whether Prism found what is wrong with a request that is.
    pub(crate) fn refused(&self) -> bool {
        !self.violations.is_empty() || self.response.status == http::StatusCode::UNAUTHORIZED
    }
}
