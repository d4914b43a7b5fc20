//! Errors: what a status, a type and the words of a message mean together (Anthropic's API reference, "Errors").

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::wire::hint::hints;
use crate::wire::{Category, ProviderError};

/// An answer with an error status.
pub(super) fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError {
    let value = serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).trim().to_owned()));
    if status.is_redirection() {
        // Redirects are not followed: a key must not go where an answer points.
        let mut error = ProviderError::new(Category::Malformed, "the provider answered with a redirect");
        error.status = Some(status.as_u16());
        return error;
    }
    build(Some(status.as_u16()), headers, &value)
}

/// The error inside a body or an event that came with a success status.
pub(super) fn embedded(value: &Value) -> Option<ProviderError> {
    let said = value.get("type").and_then(Value::as_str) == Some("error");
    let held = value.get("error").is_some_and(|error| match error {
        Value::Object(fields) => !fields.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => false,
    });
    (said || held).then(|| error_value(value))
}

/// An error that was sent as such within a stream, whatever its shape.
pub(super) fn error_value(value: &Value) -> ProviderError {
    build(None, &HeaderMap::new(), value)
}

fn build(status: Option<u16>, headers: &HeaderMap, body: &Value) -> ProviderError {
    let object = body.get("error").filter(|error| error.is_object()).unwrap_or(body);
    let text = |name| object.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let kind = text("type").filter(|kind| *kind != "error");
    let message = text("message")
        .or_else(|| text("detail"))
        .or_else(|| body.get("error").and_then(Value::as_str))
        .or_else(|| object.as_str())
        .unwrap_or_default();
    let mut error = ProviderError::new(category(status, kind.unwrap_or_default(), message), message);
    error.status = status;
    error.provider_code = text("code").map(str::to_owned);
    error.provider_type = kind.map(str::to_owned);
    error.hints = hints(headers, object, message);
    error.details = (!object.is_null()).then(|| Box::new(object.clone()));
    error
}

fn category(status: Option<u16>, kind: &str, message: &str) -> Category {
    let message = message.to_ascii_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
    // The words are believed only where type and status leave the meaning open.
    if matches!(kind, "invalid_request_error" | "api_error" | "")
        && matches!(status, None | Some(400 | 413 | 422 | 500))
    {
        for (phrases, category) in [
            (CONTEXT_WINDOW, Category::ContextWindow),
            (CONTENT_POLICY, Category::ContentPolicy),
            (QUOTA, Category::QuotaExhausted),
        ] {
            if says(phrases) {
                return category;
            }
        }
    }
    // A limit of the account that no waiting changes.
    if status == Some(429) && says(&["extra usage is required"]) {
        return Category::RequestExceedsLimit;
    }
    match kind {
        "authentication_error" => Category::Authentication,
        "permission_error" => Category::Permission,
        "billing_error" => Category::QuotaExhausted,
        "not_found_error" => Category::NotFound,
        "request_too_large" => Category::RequestExceedsLimit,
        "rate_limit_error" => Category::RateLimit,
        "timeout_error" => Category::Timeout,
        "overloaded_error" => Category::Overloaded,
        _ => match status {
            Some(401) => Category::Authentication,
            Some(402) => Category::QuotaExhausted,
            Some(403) => Category::Permission,
            Some(404) => Category::NotFound,
            Some(405 | 501) => Category::Unsupported,
            // 522 and 524 are Cloudflare's, which is in front of the provider.
            Some(408 | 504 | 522 | 524) => Category::Timeout,
            Some(413) => Category::RequestExceedsLimit,
            Some(429) => Category::RateLimit,
            Some(503 | 529) => Category::Overloaded,
            Some(400..=499) => Category::InvalidRequest,
            None if kind == "invalid_request_error" => Category::InvalidRequest,
            _ if message.contains("overloaded") => Category::Overloaded,
            _ => Category::ServerError,
        },
    }
}

const CONTEXT_WINDOW: &[&str] =
    &["prompt is too long", "exceed context limit", "context window", "input is too long"];

const CONTENT_POLICY: &[&str] = &["content filtering policy", "usage policy", "usage policies"];

const QUOTA: &[&str] =
    &["credit balance is too low", "specified api usage limits", "workspace api usage limits"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::wire::HintSource;

    fn of(status: u16, kind: &str, message: &str) -> Category {
        let body = json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "r"});
        let status = StatusCode::from_u16(status).unwrap();
        classify(status, &HeaderMap::new(), body.to_string().as_bytes()).category
    }

    #[test]
    fn types_words_and_statuses_each_have_their_say() {
        use Category::*;
        for (status, kind, message, expected) in [
            (400, "invalid_request_error", "temperature: range: 0..1", InvalidRequest),
            (
                400,
                "invalid_request_error",
                "prompt is too long: 205000 tokens > 200000 maximum",
                ContextWindow,
            ),
            (
                400,
                "invalid_request_error",
                "input length and `max_tokens` exceed context limit: 1 + 2 > 2",
                ContextWindow,
            ),
            (400, "invalid_request_error", "Output blocked by content filtering policy", ContentPolicy),
            (
                400,
                "invalid_request_error",
                "Your credit balance is too low to access the API",
                QuotaExhausted,
            ),
            (
                400,
                "invalid_request_error",
                "You have reached your specified API usage limits. You will regain access on x",
                QuotaExhausted,
            ),
            (401, "authentication_error", "invalid x-api-key", Authentication),
            (402, "billing_error", "x", QuotaExhausted),
            (403, "permission_error", "x", Permission),
            (404, "not_found_error", "model: x", NotFound),
            (413, "request_too_large", "Request exceeds the maximum size", RequestExceedsLimit),
            (429, "rate_limit_error", "This request would exceed your account's rate limit", RateLimit),
            (
                429,
                "rate_limit_error",
                "Extra usage is required for long context requests.",
                RequestExceedsLimit,
            ),
            (500, "api_error", "Internal server error", ServerError),
            (504, "timeout_error", "x", Timeout),
            (529, "overloaded_error", "Overloaded", Overloaded),
            (529, "", "", Overloaded),
            (502, "", "", ServerError),
            (418, "", "", InvalidRequest),
        ] {
            assert_eq!(of(status, kind, message), expected, "{status} {kind} {message}");
        }
        let page = classify(StatusCode::BAD_GATEWAY, &HeaderMap::new(), b" <html>\xff ");
        assert_eq!((page.category, page.message.as_str()), (ServerError, "<html>\u{fffd}"));
        assert_eq!(classify(StatusCode::FOUND, &HeaderMap::new(), b"").category, Malformed);
    }

    #[test]
    fn an_error_without_a_status_is_known_by_its_type() {
        let overloaded =
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
        let error = embedded(&overloaded).unwrap();
        assert_eq!((error.category, error.status), (Category::Overloaded, None));
        assert_eq!(error.provider_type.as_deref(), Some("overloaded_error"));
        assert_eq!(embedded(&json!({"type": "error"})).unwrap().category, Category::ServerError);
        assert_eq!(embedded(&json!({"error": "x"})).unwrap().message, "x");
        for none in [json!({}), json!({"error": null}), json!({"type": "message"}), json!(1), json!([])] {
            assert_eq!(embedded(&none), None, "{none}");
        }
    }

    #[test]
    fn the_wait_is_read_from_the_header() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "17".parse().unwrap());
        let error = classify(StatusCode::TOO_MANY_REQUESTS, &headers, b"{}");
        assert_eq!((error.category, error.retry_after().unwrap().as_secs()), (Category::RateLimit, 17));
        assert_eq!(error.hints[0].source, HintSource::RetryAfter);
    }
}
