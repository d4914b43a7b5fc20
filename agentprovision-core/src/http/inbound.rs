//! Requests that come in over HTTP: who calls, by which credential, and the facts of a request that are kept.

use std::fmt;

use async_trait::async_trait;
use http::header::{AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderName};

use crate::context::{Context, Credentials, RequestInfo};
use crate::error::{Error, ErrorKind, Result};

/// Checks the credentials of requests.
#[async_trait]
pub trait Authenticate: fmt::Debug + Send + Sync + 'static {
    /// The context of whoever the credential belongs to. The tenant of everything the request does is that context's.
    ///
    /// # Errors
    /// `unauthenticated`, with the same message, for every credential that does not hold; `permission_denied` for one
    /// that may not do what is served; `tenant_suspended`.
    async fn authenticate(&self, credentials: &Credentials) -> Result<Context>;
}

/// The names a key can come under besides `Authorization: Bearer`: Anthropic's, then Azure's.
const KEYS: [&str; 2] = ["x-api-key", "api-key"];

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The longest text that is taken from a header, in bytes.
pub const LONGEST_TEXT: usize = 255;

/// The key of a request, from `Authorization: Bearer`, `x-api-key` or `api-key`.
///
/// # Errors
/// `unauthenticated` when there is none, or several that differ.
pub fn credentials(headers: &HeaderMap) -> Result<Credentials> {
    let refused = |message| Error::new(ErrorKind::Unauthenticated, message);
    let bearer = headers.get_all(AUTHORIZATION).iter().filter_map(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let named = KEYS.iter().flat_map(|name| headers.get_all(*name)).filter_map(|value| value.to_str().ok());
    let mut keys = bearer.chain(named.map(str::trim)).filter(|key| !key.is_empty());
    let Some(key) = keys.next() else {
        return Err(refused("an API key is required, as `Authorization: Bearer` or `x-api-key`"));
    };
    if keys.any(|other| other != key) {
        return Err(refused("the request has two API keys that differ"));
    }
    Ok(Credentials::ApiKey(key.to_owned().into()))
}

/// The value of a header, where it is printable ASCII of 1 to [`LONGEST_TEXT`] bytes.
pub fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    let printable = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    (!text.is_empty() && text.len() <= LONGEST_TEXT && printable).then_some(text)
}

/// The client's own id of the request (`x-request-id`).
pub fn request_id(headers: &HeaderMap) -> Option<&str> {
    text(headers, &REQUEST_ID)
}

/// The client's `idempotency-key`.
pub fn idempotency_key(headers: &HeaderMap) -> Option<&str> {
    text(headers, &IDEMPOTENCY_KEY)
}

/// The facts of a request: its `traceparent`, its `x-request-id` as the correlation id, and its user agent.
pub fn info(headers: &HeaderMap) -> RequestInfo {
    RequestInfo {
        traceparent: text(headers, &TRACEPARENT).filter(|text| is_traceparent(text)).map(str::to_owned),
        correlation_id: request_id(headers).map(str::to_owned),
        user_agent: text(headers, &USER_AGENT).map(str::to_owned),
        ..RequestInfo::default()
    }
}

/// Whether a media type is `application/json` or one with the suffix `+json` (RFC 6839).
pub fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Whether a text is a W3C trace context of version 00: version, trace, parent and flags in lower-case hex.
fn is_traceparent(text: &str) -> bool {
    let lengths = [2, 32, 16, 2];
    let hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    text.split('-').map(str::len).eq(lengths) && text.split('-').all(hex) && !text.starts_with("ff")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use secrecy::ExposeSecret;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_key_is_found_under_every_name_and_two_that_differ_are_refused() {
        for pair in [
            ("authorization", "Bearer k"),
            ("authorization", "bearer  k"),
            ("x-api-key", "k"),
            ("api-key", "k "),
        ] {
            let Ok(Credentials::ApiKey(key)) = credentials(&headers(&[pair])) else { panic!("{pair:?}") };
            assert_eq!(key.expose_secret(), "k");
        }
        assert!(credentials(&headers(&[("authorization", "Bearer k"), ("x-api-key", "k")])).is_ok());
        for bad in [
            &[][..],
            &[("authorization", "Basic k")],
            &[("x-api-key", " ")],
            &[("authorization", "Bearer key-one"), ("x-api-key", "key-two")],
        ] {
            let error = credentials(&headers(bad)).unwrap_err();
            assert!(error.is(ErrorKind::Unauthenticated), "{error:?}");
            assert!(!format!("{error:?}").contains("key-"), "{error:?}");
        }
    }

    #[test]
    fn json_is_told_by_its_media_type() {
        for json in ["application/json", "Application/JSON; charset=utf-8", "application/problem+json"] {
            assert!(is_json(json), "{json}");
        }
        for other in ["", "text/plain", "text/json", "application/jsonl", "image/svg+json"] {
            assert!(!is_json(other), "{other}");
        }
    }

    #[test]
    fn only_a_trace_context_is_one() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(info(&headers(&[("traceparent", good)])).traceparent.as_deref(), Some(good));
        assert_eq!(info(&headers(&[("traceparent", "00-xyz")])).traceparent, None);
    }
}
