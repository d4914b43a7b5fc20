//! What is seen of a request before anything else: where it is sent to and from, and in which form.

use agentprovision_core::Error;
use agentprovision_core::http::inbound::is_json;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use url::Url;

use super::super::{Answer, refused_with};

/// Who is let in by name: a page in a browser must not reach the service under a name that somebody else has made point here.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) hosts: Vec<String>,
    pub(super) origins: Vec<String>,
}

impl Front {
    /// The answer to what is let in no further.
    pub(super) fn refusal(&self, head: &Parts) -> Option<Answer> {
        let (status, why) = if !self.is_for_us(head) {
            (StatusCode::FORBIDDEN, "the host is none of this service's")
        } else if !self.comes_from_us(&head.headers) {
            (StatusCode::FORBIDDEN, "pages of this origin may not call")
        } else if head.method != Method::POST {
            (StatusCode::METHOD_NOT_ALLOWED, "messages are posted")
        } else if !one(&head.headers, &CONTENT_TYPE).is_some_and(is_json) {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "messages are `application/json`")
        } else if !accepts_json(&head.headers) {
            (StatusCode::NOT_ACCEPTABLE, "answers are `application/json`")
        } else {
            return None;
        };
        let mut answer = refused_with(status, &Error::denied(why), &HeaderValue::from_static("Bearer"));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        }
        Some(answer)
    }

    fn is_for_us(&self, head: &Parts) -> bool {
        let authority = match head.headers.contains_key(HOST) {
            true => one(&head.headers, &HOST),
            // HTTP/2 says it in the URL.
            false => head.uri.authority().map(|authority| authority.as_str()),
        };
        let Some(authority) = authority.filter(|authority| !authority.contains('@')) else { return false };
        let name = match authority.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => authority,
        };
        self.hosts.iter().any(|host| host.eq_ignore_ascii_case(authority) || host.eq_ignore_ascii_case(name))
    }

    fn comes_from_us(&self, headers: &HeaderMap) -> bool {
        if !headers.contains_key(ORIGIN) {
            return true;
        }
        let origin =
            |text: &str| Url::parse(text).ok().map(|url| url.origin()).filter(|origin| origin.is_tuple());
        let Some(from) = one(headers, &ORIGIN).and_then(origin) else { return false };
        self.origins.iter().any(|ours| origin(ours).is_some_and(|ours| ours == from))
    }
}

/// The value of a header that is there once.
pub(super) fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

/// Whether a client can read JSON, by its `Accept` if it has one.
fn accepts_json(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = values.flat_map(|value| value.split(',')).map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let range = parts.next().unwrap_or_default();
        let never = parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
        (range.to_ascii_lowercase(), never)
    });
    let json = |range: &str| matches!(range, "application/json" | "application/*" | "*/*");
    !headers.contains_key(ACCEPT) || ranges.any(|(range, never)| !never && json(&range))
}
