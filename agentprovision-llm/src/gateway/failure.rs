//! Errors in the shapes of the formats, so that their libraries raise the typed errors their users know.

use std::time::Duration;

use agentprovision_core::{Error, ErrorKind, Retry};
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, HeaderName, Response, StatusCode};
use serde_json::{Value, json};

use super::body::GatewayBody;
use super::fields::PARAM;

/// Whose shapes an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Those of OpenAI.
    OpenAi,
    /// Those of Anthropic.
    Anthropic,
}

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
/// Read by the libraries of OpenAI and Anthropic before they look at the status.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// The status of an error.
pub(super) fn status(error: &Error) -> StatusCode {
    // What the platform tells apart from other bad input is plain bad input in both APIs, and what it does not do is
    // something else than a failure that calling again could mend.
    let code = match error.kind() {
        ErrorKind::ContextWindow | ErrorKind::ContentPolicy | ErrorKind::Unsupported => 400,
        kind => kind.http_status(),
    };
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// OpenAI's type and code of an error.
fn open_ai(error: &Error) -> (&'static str, &'static str) {
    let kind = error.kind();
    match kind {
        ErrorKind::Unauthenticated => ("authentication_error", "invalid_api_key"),
        ErrorKind::BudgetExceeded | ErrorKind::QuotaExceeded => ("insufficient_quota", "insufficient_quota"),
        ErrorKind::NotFound => ("invalid_request_error", "model_not_found"),
        ErrorKind::ContextWindow => ("invalid_request_error", "context_length_exceeded"),
        ErrorKind::ContentPolicy => ("invalid_request_error", "content_policy_violation"),
        ErrorKind::RateLimited => ("rate_limit_error", "rate_limit_exceeded"),
        _ => match status(error).as_u16() {
            403 => ("permission_error", kind.code()),
            409 => ("conflict_error", kind.code()),
            500.. => ("server_error", kind.code()),
            _ => ("invalid_request_error", kind.code()),
        },
    }
}

/// Anthropic's type of an error.
fn anthropic(error: &Error) -> &'static str {
    match status(error).as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

/// The error object of OpenAI's shape: `{message, type, param, code}`.
pub(super) fn open_ai_object(error: &Error) -> Value {
    let (kind, code) = open_ai(error);
    let param = error.context().iter().find(|(name, _)| *name == PARAM).map(|(_, value)| value);
    json!({"message": error.message(), "type": kind, "param": param, "code": code})
}

/// The error body of a shape.
pub(super) fn body(shape: Shape, error: &Error, request_id: Option<&str>) -> Value {
    match shape {
        Shape::OpenAi => json!({ "error": open_ai_object(error) }),
        Shape::Anthropic => json!({
            "type": "error",
            "error": {"type": anthropic(error), "message": error.message()},
            "request_id": request_id,
        }),
    }
}

/// The code of OpenAI's error events.
pub(super) fn code(error: &Error) -> &'static str {
    open_ai(error).1
}

/// What a client is told about calling again. The platform has tried as often as it should, so a client that tries once
/// more by itself is asked not to, except where the error says that waiting helps.
fn retry(error: &Error, headers: &mut HeaderMap) {
    let after = match error.retry() {
        Retry::After(after) => Some(after),
        // The status alone says that waiting helps.
        Retry::Never if error.is(ErrorKind::RateLimited) => Some(Duration::from_secs(1)),
        Retry::Never | Retry::Exhausted => None,
    };
    let Some(after) = after else {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        return;
    };
    // At least a second: zero would be an invitation to hammer.
    let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX).max(1000);
    headers.insert(RETRY_AFTER, HeaderValue::from(millis.div_ceil(1000)));
    headers.insert(RETRY_AFTER_MS, HeaderValue::from(millis));
}

/// The answer that says what went wrong.
pub(super) fn response(shape: Shape, error: &Error, request_id: Option<&str>) -> Response<GatewayBody> {
    let mut response = Response::new(GatewayBody::json(&body(shape, error, request_id)));
    *response.status_mut() = status(error);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    retry(error, headers);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_status_and_a_type_in_both_shapes() {
        for kind in ErrorKind::ALL {
            let error = Error::new(*kind, "no");
            let status = status(&error).as_u16();
            assert!((400..=599).contains(&status), "{kind}");
            let (openai, anthropic) = (open_ai(&error).0, anthropic(&error));
            assert_eq!(openai == "server_error", status >= 500, "{kind}");
            let failing = ["api_error", "overloaded_error", "timeout_error"].contains(&anthropic);
            assert_eq!(failing, status >= 500, "{kind}");
        }
        let tell = |kind| {
            let error = Error::new(kind, "no");
            (status(&error).as_u16(), open_ai(&error).1, anthropic(&error))
        };
        assert_eq!(tell(ErrorKind::BudgetExceeded), (402, "insufficient_quota", "billing_error"));
        assert_eq!(tell(ErrorKind::ContextWindow), (400, "context_length_exceeded", "invalid_request_error"));
        assert_eq!(tell(ErrorKind::PriceUnknown), (422, "price_unknown", "invalid_request_error"));
        assert_eq!(tell(ErrorKind::TooLarge), (413, "too_large", "request_too_large"));
    }

    #[test]
    fn only_where_waiting_helps_a_client_is_told_to_call_again() {
        let headers = |error: Error| response(Shape::OpenAi, &error, None).headers().clone();
        let limited = Error::new(ErrorKind::RateLimited, "no");
        assert_eq!(headers(limited.clone())["retry-after"], "1");
        let hinted = headers(limited.with_retry(Retry::After(Duration::from_millis(2100))));
        assert_eq!(
            (&hinted["retry-after"], &hinted["retry-after-ms"]),
            (&"3".parse().unwrap(), &"2100".parse().unwrap())
        );
        assert!(!hinted.contains_key("x-should-retry"));
        for retry in [Retry::Never, Retry::Exhausted] {
            let failed = headers(Error::new(ErrorKind::ProviderError, "no").with_retry(retry));
            assert_eq!(failed["x-should-retry"], "false");
            assert!(!failed.contains_key("retry-after"));
        }
    }
}
