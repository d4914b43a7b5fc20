//! From a response to an answer, or to the error it stands for.

use std::time::Duration;

use agentprovision_core::{Error, ErrorKind, Retry, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::connector::Connector;

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// JSON; nothing at all is `null`.
    #[default]
    Json,
    /// A text, as a JSON string.
    Text,
    /// Bytes, as a [`Blob`].
    Bytes,
    /// Whatever comes: JSON where it is, else a text, else a [`Blob`]; nothing at all is `null`.
    Any,
    /// Whatever comes, which says nothing more: `null`.
    Ignored,
    /// What headers say, as an object of texts: header and field. The body is left aside.
    Headers(&'static [(&'static str, &'static str)]),
}

impl Form {
    pub(crate) const fn accept(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Text => "text/plain, */*",
            Self::Bytes | Self::Any | Self::Ignored | Self::Headers(_) => "*/*",
        }
    }
}

/// Bytes that an operation answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Blob {
    /// The bytes, in base64.
    pub base64: String,
    /// Their content type, where the vendor says one.
    pub content_type: Option<String>,
    /// How many they are.
    pub size: u64,
}

/// The head and the whole body of a response.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Response {
    /// A response.
    pub fn new(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        Self { status, headers, body }
    }

    /// The body as JSON, if it is.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What a refused request means.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// What kind of failure it is.
    pub category: Category,
    /// The vendor's words about it, if there are any.
    pub message: Option<String>,
    /// How long to wait, where the vendor says so.
    pub after: Option<Duration>,
}

impl Failure {
    /// A failure of a kind.
    pub fn new(category: Category) -> Self {
        Self { category, message: None, after: None }
    }

    /// With the vendor's words.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// With a time to wait.
    #[must_use]
    pub fn after(mut self, after: Duration) -> Self {
        self.after = Some(after);
        self
    }
}

macro_rules! categories {
    ($($(#[$doc:meta])* $name:ident $code:literal $kind:ident $retry:literal $message:literal,)*) => {
        /// What kind of failure a refused request is: a closed set, each with the kind of [`Error`] it becomes, whether the
        /// same request can succeed later, and what is said about it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Category { $($(#[$doc])* $name,)* }

        impl Category {
            /// Every category.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable name.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The kind of error it becomes.
            pub const fn kind(self) -> ErrorKind {
                match self { $(Self::$name => ErrorKind::$kind,)* }
            }

            /// Whether the same request can succeed later.
            pub const fn transient(self) -> bool {
                match self { $(Self::$name => $retry,)* }
            }

            const fn message(self) -> &'static str {
                match self { $(Self::$name => $message,)* }
            }
        }
    };
}

categories! {
    /// The request breaks a rule of the vendor.
    Invalid "invalid" InvalidInput false "the vendor refused the request",
    /// What proves who asks is wrong, revoked or expired.
    Credentials "credentials" ProviderError false "the vendor refused the integration's credentials; it has to be connected again",
    /// The account may not do this.
    Forbidden "forbidden" ProviderError false "the integration's account may not do this at the vendor",
    /// There is no such thing, or the account may not know of it.
    NotFound "not_found" NotFound false "the vendor has no such thing",
    /// The state of the thing does not allow it.
    Conflict "conflict" Conflict false "the vendor refused a change that does not fit the state of the thing",
    /// The request is larger than the vendor takes.
    TooLarge "too_large" TooLarge false "the request is larger than the vendor takes",
    /// Too many requests for now.
    RateLimited "rate_limited" RateLimited true "the vendor takes no more requests for now",
    /// The vendor cannot answer for now.
    Unavailable "unavailable" Unavailable true "the vendor cannot answer for now",
    /// The vendor failed.
    Failed "failed" ProviderError true "the vendor failed to answer",
}

/// The longest text of a vendor that is given on, in characters.
const QUOTED: usize = 300;
/// The longest wait that is believed.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// An error of a vendor that nobody expected: its own words are the cause, which tenants are not shown.
pub(crate) fn unexpected(what: String) -> Error {
    Error::new(
        ErrorKind::ProviderError,
        format!("the vendor's answer is not what its description says: {}", clip(&what)),
    )
    .with_context("reason", "schema")
}

fn clip(text: &str) -> String {
    let mut clipped: String = text.chars().filter(|c| !c.is_control()).take(QUOTED).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    clipped
}

/// What the vendor says about a failure, where vendors usually say it.
fn words(body: &Value) -> Option<String> {
    const PLACES: [&str; 9] = [
        "/message",
        "/error/message",
        "/errorMessages/0",
        "/errors/0/message",
        "/errors/0/detail",
        "/errors/0",
        "/error_description",
        "/error",
        "/detail",
    ];
    PLACES.iter().find_map(|place| match body.pointer(place) {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        _ => None,
    })
}

/// How long a `retry-after` header asks to wait: seconds or a date (RFC 9110, section 10.2.3). What is over already is no
/// time, and more than a day is a day.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() => {
            Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_WAIT.as_secs_f64()))
        }
        Ok(_) => return None,
        Err(_) => crate::date::http_date(text)?.since(now),
    };
    Some(wait.min(LONGEST_WAIT))
}

/// What a status means where the connector does not know better.
pub(crate) fn usual(status: StatusCode) -> Category {
    match status.as_u16() {
        401 => Category::Credentials,
        402 | 403 | 451 => Category::Forbidden,
        404 | 410 => Category::NotFound,
        409 | 412 | 423 | 428 => Category::Conflict,
        413 | 414 | 431 => Category::TooLarge,
        429 => Category::RateLimited,
        408 | 425 | 502..=504 | 520..=529 => Category::Unavailable,
        500..=599 => Category::Failed,
        _ => Category::Invalid,
    }
}

/// What a response stands for, if that is a failure.
pub(crate) fn failure(connector: &Connector, response: &Response, now: Timestamp) -> Option<Failure> {
    let found = connector.classify.and_then(|classify| classify(response, now));
    let mut failure = match found {
        Some(failure) => failure,
        None if response.status.is_success() => return None,
        None => Failure::new(usual(response.status)),
    };
    if failure.after.is_none() && failure.category.transient() {
        failure.after = retry_after(&response.headers, now);
    }
    if failure.message.is_none() {
        failure.message = response.json().as_ref().and_then(words);
    }
    Some(failure)
}

impl Failure {
    /// The error it becomes. What the vendor says is part of the message, shortened: it is about the tenant's own request and
    /// account. `secrets` are taken out of it.
    pub(crate) fn into_error(self, status: StatusCode, secrets: &[&str]) -> Error {
        self.told(secrets).with_context("status", status.as_u16())
    }

    /// The same, where there is no status.
    pub(crate) fn told(self, secrets: &[&str]) -> Error {
        let mut message = self.category.message().to_owned();
        if let Some(mut said) = self.message {
            for secret in secrets.iter().filter(|secret| secret.len() >= 4) {
                said = said.replace(*secret, "[secret]");
            }
            message.push_str(": ");
            message.push_str(&clip(&said));
        }
        let error = Error::new(self.category.kind(), message).with_context("reason", self.category.code());
        match (self.after, self.category.transient()) {
            (Some(after), true) => {
                error.with_context("retry_after_ms", after.as_millis()).with_retry(Retry::After(after))
            }
            (None, true) => error.with_retry(Retry::After(Duration::ZERO)),
            (_, false) => error,
        }
    }
}

/// The value of a successful response.
///
/// # Errors
/// `provider_error` for what is not of the form.
pub(crate) fn value(form: Form, response: &Response) -> agentprovision_core::Result<Value> {
    let kind = || response.header(CONTENT_TYPE.as_str()).map(str::to_owned);
    match form {
        Form::Ignored => Ok(Value::Null),
        Form::Headers(named) => Ok(named
            .iter()
            .filter_map(|(name, field)| Some(((*field).to_owned(), Value::from(response.header(name)?))))
            .collect::<Map<_, _>>()
            .into()),
        Form::Json if response.body.iter().all(u8::is_ascii_whitespace) => Ok(Value::Null),
        Form::Json => serde_json::from_slice(&response.body).map_err(|error| {
            let said = kind().unwrap_or_else(|| "nothing".to_owned());
            unexpected(format!("it is no JSON ({error}), and its content type says `{}`", clip(&said)))
        }),
        Form::Text => match std::str::from_utf8(&response.body) {
            Ok(text) => Ok(Value::from(text)),
            Err(_) => Err(unexpected("it is no text in UTF-8".to_owned())),
        },
        Form::Bytes => Ok(blob(response)),
        Form::Any => Ok(any(response)),
    }
}

fn blob(response: &Response) -> Value {
    json!({
        "base64": STANDARD.encode(&response.body),
        "content_type": response.header(CONTENT_TYPE.as_str()),
        "size": response.body.len(),
    })
}

fn any(response: &Response) -> Value {
    let kind = response.header(CONTENT_TYPE.as_str()).unwrap_or_default().to_ascii_lowercase();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let found = match std::str::from_utf8(&response.body) {
        _ if response.body.is_empty() => Some(Value::Null),
        // What says that it is no JSON is none, even where it could be read as such.
        Ok(_) if kind.is_empty() || kind.ends_with("json") => response.json(),
        _ => None,
    };
    let text = || std::str::from_utf8(&response.body).ok().filter(|text| !text.contains('\0'));
    found.or_else(|| text().map(Value::from)).unwrap_or_else(|| blob(response))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_answer_is_json_or_a_text_or_bytes() {
        for (kind, body, expected) in [
            ("application/json; charset=utf-8", &b"{\"a\":1}"[..], json!({ "a": 1 })),
            ("application/problem+json", b"[1]", json!([1])),
            ("application/json", b"{", json!("{")),
            ("text/plain", b"1", json!("1")),
            ("", b"1", json!(1)),
            ("", b"one", json!("one")),
            ("text/html", b"", Value::Null),
            (
                "image/png",
                b"\x89PNG",
                json!({ "base64": "iVBORw==", "content_type": "image/png", "size": 4 }),
            ),
            ("", b"a\0b", json!({ "base64": "YQBi", "content_type": null, "size": 3 })),
        ] {
            let mut headers = HeaderMap::new();
            if !kind.is_empty() {
                headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
            }
            let response = Response::new(StatusCode::OK, headers, Bytes::from_static(body));
            assert_eq!(value(Form::Any, &response).unwrap(), expected, "{kind}");
        }
    }

    #[test]
    fn headers_are_an_answer_where_there_is_no_other() {
        let mut headers = HeaderMap::new();
        headers.insert("x-message-id", http::HeaderValue::from_static("m1"));
        let response = Response::new(StatusCode::ACCEPTED, headers, Bytes::from_static(b"<html>"));
        let form = Form::Headers(&[("x-message-id", "id"), ("x-other", "other")]);
        assert_eq!(value(form, &response).unwrap(), json!({ "id": "m1" }));
    }
}
