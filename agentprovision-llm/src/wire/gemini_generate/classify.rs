//! Errors, in the form of `google.rpc.Status`: a status, a code of gRPC, details and the words of a message together.

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::wire::hint::hints;
use crate::wire::{Category, ProviderError};

/// An answer with an error status.
pub(in crate::wire) fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError {
    if status.is_redirection() {
        // Redirects are not followed: a key must not go where an answer points.
        let mut error = ProviderError::new(Category::Malformed, "the provider answered with a redirect");
        error.status = Some(status.as_u16());
        return error;
    }
    let value = serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).trim().to_owned()));
    build(Some(status.as_u16()), headers, &value)
}

/// The error inside a chunk or body that came with a success status.
pub(in crate::wire) fn embedded(value: &Value) -> Option<ProviderError> {
    let error = value.get("error").filter(|error| !error.is_null())?;
    let empty = error.as_object().is_some_and(serde_json::Map::is_empty);
    (!empty).then(|| build(None, &HeaderMap::new(), value))
}

/// An error that was sent as such within a stream, whatever its shape.
pub(super) fn error_value(value: &Value) -> ProviderError {
    build(None, &HeaderMap::new(), value)
}

fn build(status: Option<u16>, headers: &HeaderMap, body: &Value) -> ProviderError {
    // The array form of a stream wraps an error into a list of one.
    let body = body.as_array().and_then(|items| items.first()).unwrap_or(body);
    let object = body.get("error").filter(|error| error.is_object()).unwrap_or(body);
    let text = |name: &str| object.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let number = object.get("code").and_then(Value::as_u64);
    let code = number.map(|code| code.to_string()).or_else(|| text("code").map(str::to_owned));
    let kind = text("status");
    let words = [object.get("message"), body.get("error"), Some(object)];
    let message = words.into_iter().flatten().find_map(Value::as_str).unwrap_or_default();
    let status = status.or_else(|| {
        number.and_then(|code| u16::try_from(code).ok()).filter(|status| (400..600).contains(status))
    });
    let category = category(status, kind.unwrap_or_default(), &Details::of(object), message);
    let mut error = ProviderError::new(category, message);
    error.hints = hints(headers, object, message);
    error.status = status;
    error.provider_code = code;
    error.provider_type = kind.map(str::to_owned);
    error.details = (!object.is_null()).then(|| Box::new(object.clone()));
    error
}

/// What the details of an error say.
struct Details {
    /// The reasons of `google.rpc.ErrorInfo`.
    reasons: Vec<String>,
    /// Whether a quota of zero was exceeded: the account may not use the model at all.
    no_quota: bool,
}

impl Details {
    fn of(error: &Value) -> Self {
        let details = || error.get("details").and_then(Value::as_array).into_iter().flatten();
        let reasons =
            details().filter_map(|detail| detail.get("reason")?.as_str()).map(str::to_owned).collect();
        let violations = details().filter_map(|detail| detail.get("violations")?.as_array()).flatten();
        let no_quota = violations
            .filter_map(|violation| violation.get("quotaValue")?.as_str())
            .any(|value| value == "0");
        Self { reasons, no_quota }
    }

    fn name(&self, reasons: &[&str]) -> bool {
        self.reasons.iter().any(|reason| reasons.contains(&reason.as_str()))
    }
}

fn category(status: Option<u16>, kind: &str, details: &Details, message: &str) -> Category {
    let message = message.to_ascii_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
    // A provider's words are believed only where the status leaves the meaning open.
    let open = matches!(status, None | Some(400 | 403 | 413 | 422 | 500));

    if open && says(CONTEXT_WINDOW) {
        return Category::ContextWindow;
    }
    if open && says(CONTENT_POLICY) {
        return Category::ContentPolicy;
    }
    if status == Some(402)
        || details.name(&["BILLING_DISABLED"])
        || matches!(status, None | Some(429 | 403))
            && (details.no_quota
                || says(&["limit: 0,", "limit: 0\n", "credits are depleted", "spending cap", "spend cap"])
                || message.ends_with("limit: 0"))
    {
        return Category::QuotaExhausted;
    }
    if status == Some(413) || open && says(&["payload size exceeds the limit"]) {
        return Category::RequestExceedsLimit;
    }
    if status == Some(401)
        || kind == "UNAUTHENTICATED"
        || details.name(&[
            "API_KEY_INVALID",
            "API_KEY_EXPIRED",
            "ACCESS_TOKEN_EXPIRED",
            "CREDENTIALS_MISSING",
        ])
        || open && says(AUTHENTICATION)
    {
        return Category::Authentication;
    }
    match (status, kind) {
        (Some(404), _) | (None, "NOT_FOUND") => Category::NotFound,
        (Some(403), _) | (None, "PERMISSION_DENIED") => Category::Permission,
        // The account, or where it asks from, does not meet a condition.
        (None | Some(400), "FAILED_PRECONDITION") => Category::Permission,
        // 522 and 524 are Cloudflare's.
        (Some(408 | 504 | 522 | 524), _) | (None, "DEADLINE_EXCEEDED") => Category::Timeout,
        (Some(429), _) | (None, "RESOURCE_EXHAUSTED") => Category::RateLimit,
        (Some(405 | 501), _) | (None, "UNIMPLEMENTED") => Category::Unsupported,
        (Some(503 | 529), _) | (None, "UNAVAILABLE") => Category::Overloaded,
        _ if says(&["overloaded"]) => Category::Overloaded,
        // Cancelled and aborted by the server, not refused.
        (Some(409 | 499), _) => Category::ServerError,
        (Some(400..=499), _) | (None, "INVALID_ARGUMENT" | "OUT_OF_RANGE") => Category::InvalidRequest,
        _ => Category::ServerError,
    }
}

const CONTEXT_WINDOW: &[&str] = &[
    "exceeds the maximum number of tokens",
    "token count exceeds",
    "maximum context length",
    "input context is too long",
];

const CONTENT_POLICY: &[&str] =
    &["responsible ai", "prohibited use policy", "content policy", "violates our polic", "blocked by safety"];

const AUTHENTICATION: &[&str] = &[
    "api key not valid",
    "api key expired",
    "api key not found",
    "api_key_invalid",
    "invalid api key",
    "unregistered callers",
    "api key was reported as leaked",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(status: u16, body: Value) -> ProviderError {
        classify(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.to_string().as_bytes())
    }

    fn error(kind: &str, message: &str) -> Value {
        json!({"error": {"code": 400, "status": kind, "message": message}})
    }

    #[test]
    fn status_details_and_words_tell_the_category_together() {
        use Category::*;
        let reason = |reason: &str| {
            json!({"error": {"status": "INVALID_ARGUMENT", "message": "x", "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}]}})
        };
        let quota = |value: &str| {
            json!({"error": {"status": "RESOURCE_EXHAUSTED", "message": "x", "details": [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaValue": value}]}]}})
        };
        for (status, body, expected) in [
            (400, error("INVALID_ARGUMENT", "x"), InvalidRequest),
            (400, reason("API_KEY_INVALID"), Authentication),
            (
                400,
                error("INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
                Authentication,
            ),
            (400, error("INVALID_ARGUMENT", "API key expired. Please renew the API key."), Authentication),
            (400, error("FAILED_PRECONDITION", "User location is not supported"), Permission),
            (
                400,
                error(
                    "INVALID_ARGUMENT",
                    "The input token count (9) exceeds the maximum number of tokens allowed (8).",
                ),
                ContextWindow,
            ),
            (400, error("INVALID_ARGUMENT", "violates Google's Responsible AI practices"), ContentPolicy),
            (
                400,
                error("INVALID_ARGUMENT", "Request payload size exceeds the limit: 20971520 bytes."),
                RequestExceedsLimit,
            ),
            (401, error("UNAUTHENTICATED", "x"), Authentication),
            (402, error("RESOURCE_EXHAUSTED", "x"), QuotaExhausted),
            (403, error("PERMISSION_DENIED", "x"), Permission),
            (403, error("PERMISSION_DENIED", "Method doesn't allow unregistered callers"), Authentication),
            (403, reason("BILLING_DISABLED"), QuotaExhausted),
            (404, error("NOT_FOUND", "x"), NotFound),
            (404, json!("<html>"), NotFound),
            (408, json!({}), Timeout),
            (413, json!({}), RequestExceedsLimit),
            (429, quota("1000000"), RateLimit),
            (429, quota("0"), QuotaExhausted),
            (429, error("RESOURCE_EXHAUSTED", "Quota exceeded, limit: 0, model: m"), QuotaExhausted),
            (429, error("RESOURCE_EXHAUSTED", "Quota exceeded, limit: 0.5, model: m"), RateLimit),
            (429, error("RESOURCE_EXHAUSTED", "token count exceeds"), RateLimit),
            (499, error("CANCELLED", "x"), ServerError),
            (500, error("INTERNAL", "x"), ServerError),
            (501, error("UNIMPLEMENTED", "x"), Unsupported),
            (502, json!(null), ServerError),
            (503, error("UNAVAILABLE", "x"), Overloaded),
            (504, error("DEADLINE_EXCEEDED", "x"), Timeout),
            (302, json!({}), Malformed),
        ] {
            assert_eq!(of(status, body.clone()).category, expected, "{status} {body}");
        }
    }

    #[test]
    fn an_error_is_read_in_every_shape() {
        let list = of(
            429,
            json!([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow down",
            "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "48s"}]}}]),
        );
        assert_eq!((list.message.as_str(), list.provider_code.as_deref()), ("slow down", Some("429")));
        assert_eq!(list.provider_type.as_deref(), Some("RESOURCE_EXHAUSTED"));
        assert_eq!(list.retry_after(), Some(std::time::Duration::from_secs(48)));
        assert_eq!(of(500, json!("oops")).message, "oops");
        assert_eq!(of(500, json!({"error": "oops"})).message, "oops");
        for none in [json!({}), json!({"error": null}), json!({"error": {}}), json!(5)] {
            assert_eq!(embedded(&none), None, "{none}");
        }
        let inside =
            embedded(&json!({"error": {"code": 503, "status": "UNAVAILABLE", "message": "x"}})).unwrap();
        assert_eq!((inside.category, inside.status), (Category::Overloaded, Some(503)));
        assert_eq!(
            embedded(&json!({"error": {"status": "RESOURCE_EXHAUSTED"}})).unwrap().category,
            Category::RateLimit
        );
        assert_eq!(error_value(&json!("x")).category, Category::ServerError);
    }
}
