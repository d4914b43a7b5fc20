//! Who calls, and what the headers say.

use std::fmt;

use agentprovision_core::context::{Context, Credentials, RequestInfo};
use agentprovision_core::model::{CacheUse, RouteHints};
use agentprovision_core::{Error, ErrorKind, Result};
use async_trait::async_trait;
use http::header::{AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderName};

use super::fields::PARAM;

/// Checks the credential of a request.
#[async_trait]
pub trait GatewayAuth: fmt::Debug + Send + Sync + 'static {
    /// The context of whoever the credential belongs to. The tenant of everything the request does is that context's.
    ///
    /// # Errors
    /// `unauthenticated`, with the same message, for every credential that does not hold; `permission_denied` for one
    /// that may not call models; `tenant_suspended`.
    async fn authenticate(&self, credentials: &Credentials) -> Result<Context>;
}

/// The names a key can come under besides `Authorization: Bearer`: Anthropic's, then Azure's.
const KEYS: [&str; 2] = ["x-api-key", "api-key"];

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const SESSION: HeaderName = HeaderName::from_static("x-session-id");
const PROJECT: HeaderName = HeaderName::from_static("x-agentprovision-project");
const CACHE: HeaderName = HeaderName::from_static("x-agentprovision-cache");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The longest text that is taken from a header, in bytes.
const LONGEST: usize = 255;

/// The key of a request, from `Authorization: Bearer`, `x-api-key` or `api-key`.
///
/// # Errors
/// `unauthenticated` when there is none, or several that differ.
pub(super) fn credentials(headers: &HeaderMap) -> Result<Credentials> {
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

/// The value of a header, where it is printable text of a reasonable length.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    let printable = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    (!text.is_empty() && text.len() <= LONGEST && printable).then_some(text)
}

/// The client's own id of the request, which is echoed.
pub(super) fn request_id(headers: &HeaderMap) -> Option<&str> {
    text(headers, &REQUEST_ID)
}

/// The client's idempotency key, which is echoed.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Option<&str> {
    text(headers, &IDEMPOTENCY_KEY)
}

/// The facts of the request.
pub(super) fn info(headers: &HeaderMap) -> RequestInfo {
    let mut info = RequestInfo::default();
    info.traceparent = text(headers, &TRACEPARENT).filter(|text| is_traceparent(text)).map(str::to_owned);
    info.correlation_id = request_id(headers).map(str::to_owned);
    info.user_agent = text(headers, &USER_AGENT).map(str::to_owned);
    info
}

/// Whether a text is a W3C trace context of version 00: version, trace, parent and flags in lower-case hex.
fn is_traceparent(text: &str) -> bool {
    let lengths = [2, 32, 16, 2];
    let hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    text.split('-').map(str::len).eq(lengths) && text.split('-').all(hex) && !text.starts_with("ff")
}

/// What the headers say about who answers.
///
/// # Errors
/// `invalid_input`, naming the header.
pub(super) fn hints(headers: &HeaderMap) -> Result<RouteHints> {
    let mut hints = RouteHints::default();
    let named = |name: &HeaderName| match headers.contains_key(name) {
        false => Ok(None),
        true => text(headers, name).map(|text| Some(text.to_owned())).ok_or_else(|| {
            let message = format!("the header `{name}` must be 1 to {LONGEST} printable characters of ASCII");
            Error::invalid(message).with_context(PARAM, name)
        }),
    };
    hints.project = named(&PROJECT)?;
    hints.affinity = named(&SESSION)?;
    hints.cache = match named(&CACHE)?.as_deref() {
        None | Some("default") => CacheUse::Default,
        Some("always") => CacheUse::Always,
        Some("refresh") => CacheUse::Refresh,
        Some("never") => CacheUse::Never,
        Some(_) => {
            let message = format!("the header `{CACHE}` must be `default`, `always`, `refresh` or `never`");
            return Err(Error::invalid(message).with_context(PARAM, CACHE));
        }
    };
    Ok(hints)
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
    fn headers_become_hints_or_are_refused_by_name() {
        let all = headers(&[
            ("x-session-id", "s"),
            ("x-agentprovision-project", "p"),
            ("x-agentprovision-cache", "refresh"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ]);
        let found = hints(&all).unwrap();
        assert_eq!((found.affinity.as_deref(), found.project.as_deref()), (Some("s"), Some("p")));
        assert_eq!(found.cache, CacheUse::Refresh);
        assert!(info(&all).traceparent.is_some());
        assert_eq!(info(&headers(&[("traceparent", "00-xyz")])).traceparent, None);
        for bad in [("x-agentprovision-cache", "yes"), ("x-agentprovision-project", "")] {
            let error = hints(&headers(&[bad])).unwrap_err();
            assert!(error.message().contains(bad.0), "{error}");
        }
    }
}
