//! The form of a recording.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use agentprovision_core::{Error, ErrorKind, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the form.
const VERSION: u32 = 1;
/// What stands in place of a secret.
pub(super) const REDACTED: &str = "[redacted]";

/// One request and its response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// The version of the form: 1.
    pub version: u32,
    /// What was sent.
    pub request: RecordedRequest,
    /// What came back.
    pub response: RecordedResponse,
}

impl Exchange {
    /// An exchange of the current version.
    pub fn new(request: RecordedRequest, response: RecordedResponse) -> Self {
        Self { version: VERSION, request, response }
    }
}

/// What was sent, without secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedRequest {
    /// The method.
    pub method: String,
    /// The path and the query.
    pub path: String,
    /// The headers; the value of one that may be a secret is `[redacted]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The body: JSON, or a string where it is none; null where there is none.
    #[serde(default)]
    pub body: Value,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedResponse {
    /// The status.
    pub status: u16,
    /// The headers, but for those about the connection and the length.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The body in the pieces in which it arrived.
    pub body: Vec<Piece>,
    /// Whether the body broke off, or nobody read it to its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut_off: bool,
}

/// A piece of a body: text where it is text, hexadecimal otherwise, as when a character is cut in two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Piece {
    /// UTF-8.
    Text(String),
    /// Anything else.
    Bytes {
        /// The bytes in hexadecimal.
        hex: String,
    },
}

impl Piece {
    /// A piece of these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes { hex: hex::encode(bytes) },
        }
    }

    /// The bytes.
    ///
    /// # Errors
    /// `corrupt` when the hexadecimal text is none.
    pub fn bytes(&self) -> Result<Bytes> {
        match self {
            Self::Text(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
            Self::Bytes { hex } => hex::decode(hex).map(Bytes::from).map_err(|error| {
                Error::corrupt("a piece of a recorded body is not hexadecimal").with_source(error)
            }),
        }
    }
}

/// Writes a cassette, over an older one: one exchange per line.
///
/// # Errors
/// `unavailable` when the file cannot be written.
pub fn save(path: impl AsRef<Path>, exchanges: &[Exchange]) -> Result<()> {
    let mut text = String::new();
    for exchange in exchanges {
        let line = serde_json::to_string(exchange)
            .map_err(|error| Error::internal("an exchange cannot be written as JSON").with_source(error))?;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    }
    fs::write(path, text).map_err(|error| {
        Error::new(ErrorKind::Unavailable, "the cassette cannot be written").with_source(error)
    })
}

/// Reads a cassette.
///
/// # Errors
/// `unavailable` when the file cannot be read; `corrupt`, with the line, when it is no cassette; `schema_too_new` when a
/// newer version of this library wrote it.
pub fn load(path: impl AsRef<Path>) -> Result<Vec<Exchange>> {
    let text = fs::read_to_string(path).map_err(|error| {
        Error::new(ErrorKind::Unavailable, "the cassette cannot be read").with_source(error)
    })?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            let bad = |error| {
                Error::corrupt(format!("line {} of the cassette is no exchange", at + 1)).with_source(error)
            };
            let value: Value = serde_json::from_str(line).map_err(bad)?;
            if value
                .get("version")
                .and_then(Value::as_u64)
                .is_some_and(|version| version > u64::from(VERSION))
            {
                return Err(Error::new(
                    ErrorKind::SchemaTooNew,
                    "the cassette was written by a newer version",
                ));
            }
            serde_json::from_value(value).map_err(bad)
        })
        .collect()
}

/// Whether a header's or a query field's value may be a secret, by its name.
fn secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["auth", "key", "token", "secret", "cookie", "signature", "password", "credential"]
        .iter()
        .any(|word| name.contains(word))
}

/// The headers without secrets, and the secrets.
pub(super) fn without_secrets(headers: &HeaderMap) -> (Vec<(String, String)>, Vec<String>) {
    let mut secrets = Vec::new();
    let kept = headers
        .iter()
        .map(|(name, value)| {
            let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
            // Limits are counted in tokens; a number is no secret.
            let number = text.bytes().all(|byte| byte.is_ascii_digit());
            if value.is_sensitive() || secret_name(name.as_str()) && !number && !is_rate_limit(name) {
                let bare = text.split_once(' ').map_or(text.as_str(), |(_, bare)| bare);
                // Without the scheme; short values would be found everywhere.
                secrets.extend((bare.len() >= 8).then(|| bare.to_owned()));
                return (name.to_string(), REDACTED.to_owned());
            }
            (name.to_string(), text)
        })
        .collect();
    (kept, secrets)
}

fn is_rate_limit(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-ratelimit-")
}

/// Headers that belong to a connection or say a length, which a replay has its own of.
pub(super) fn of_connection(name: &str) -> bool {
    ["connection", "content-length", "transfer-encoding", "keep-alive", "set-cookie", "trailer", "upgrade"]
        .contains(&name)
}

/// Path and query, secrets in the query redacted.
pub(super) fn path_of(uri: &http::Uri) -> String {
    let Some(query) = uri.query() else { return uri.path().to_owned() };
    let fields: Vec<String> = query
        .split('&')
        .map(|field| match field.split_once('=') {
            Some((name, _)) if secret_name(name) => format!("{name}={REDACTED}"),
            _ => field.to_owned(),
        })
        .collect();
    format!("{}?{}", uri.path(), fields.join("&"))
}

/// A body as JSON, as a string where it is none.
pub(super) fn body_of(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}
