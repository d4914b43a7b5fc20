//! Errors: a status and a `message`; the words tell more than the status.

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

/// The error that came with a success status.
pub(in crate::wire) fn error_value(value: &Value) -> ProviderError {
    build(None, &HeaderMap::new(), value)
}

/// The error inside a body or event that came with a success status: it has words where an answer has a message.
pub(in crate::wire) fn embedded(value: &Value) -> Option<ProviderError> {
    let said = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty()) || value.is_object();
    let failed = value.get("error").is_some_and(said)
        || value.get("message").is_some_and(|words| words.as_str().is_some_and(|text| !text.is_empty()));
    failed.then(|| error_value(value))
}

fn build(status: Option<u16>, headers: &HeaderMap, body: &Value) -> ProviderError {
    let object = body.get("error").filter(|error| error.is_object()).unwrap_or(body);
    let words = [object.get("message"), body.get("error"), Some(body)];
    let message = words.into_iter().flatten().find_map(Value::as_str).unwrap_or_default();
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let status = status.or_else(|| {
        let number = object.get("status_code").or_else(|| object.get("code")).and_then(Value::as_u64);
        number.and_then(|status| u16::try_from(status).ok()).filter(|status| (400..600).contains(status))
    });
    let category = category(status, text("error_type").unwrap_or_default(), message);
    let mut error = ProviderError::new(category, message);
    error.hints = hints(headers, object, message);
    error.status = status;
    error.details = (!object.is_null()).then(|| Box::new(object.clone()));
    error
}

fn category(status: Option<u16>, kind: &str, message: &str) -> Category {
    let message = message.to_ascii_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
    let open = matches!(status, None | Some(400 | 403 | 413 | 422 | 500));
    // The same words begin a refusal of a token limit above the model's, which shortening the prompt does not help.
    let too_many = kind == "TOO_MANY_TOKENS" || open && says(&["too many tokens"]);
    if too_many && !says(&["max tokens must be"]) {
        return Category::ContextWindow;
    }
    // 498 is a word of the deny list in the request or the answer.
    if status == Some(498)
        || open && says(&["content policy", "blocked by our", "usage policy", "safety mode blocked"])
    {
        return Category::ContentPolicy;
    }
    if status == Some(401) || open && says(&["invalid api token", "incorrect api key", "no api key supplied"])
    {
        return Category::Authentication;
    }
    if open && says(&["model"]) && says(&["not found", "does not exist", "was removed"]) {
        return Category::NotFound;
    }
    // A trial key's calls of a month do not come back by waiting a minute.
    let used_up = says(&["calls / month", "calls/month", "monthly", "out of credits", "billing"]);
    match status {
        Some(402) => Category::QuotaExhausted,
        Some(429) if used_up => Category::QuotaExhausted,
        Some(403) => Category::Permission,
        Some(404) => Category::NotFound,
        Some(408 | 504 | 522 | 524) => Category::Timeout,
        Some(413) => Category::RequestExceedsLimit,
        Some(429) => Category::RateLimit,
        Some(405 | 501) => Category::Unsupported,
        Some(503 | 529) => Category::Overloaded,
        // The request was cancelled on the way.
        Some(499) => Category::ServerError,
        Some(400..=499) => Category::InvalidRequest,
        None if says(&["too many requests", "rate limit"]) => Category::RateLimit,
        None if says(&["overloaded", "unavailable"]) => Category::Overloaded,
        None if says(&["timeout", "timed out"]) => Category::Timeout,
        None if says(&["invalid request"]) => Category::InvalidRequest,
        _ => Category::ServerError,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_status_and_the_words_tell_the_category_together() {
        use Category::*;
        for (status, words, expected) in [
            (400, "invalid request: temperature must be between 0 and 1.0 inclusive.", InvalidRequest),
            (400, "too many tokens: size limit exceeded by 25836 tokens.", ContextWindow),
            (400, "too many tokens: max tokens must be less than or equal to 4096", InvalidRequest),
            (401, "invalid api token", Authentication),
            (402, "please add a payment method", QuotaExhausted),
            (403, "no", Permission),
            (404, "model 'x' not found, make sure the correct model ID was used", NotFound),
            (400, "model 'x' was removed on September 15, 2025", NotFound),
            (422, "no", InvalidRequest),
            (429, "You are using a Trial key, which is limited to 1000 API calls / month", QuotaExhausted),
            (429, "You are using a Trial key, which is limited to 20 API calls / minute", RateLimit),
            (429, "too many tokens per minute", RateLimit),
            (498, "invalid token", ContentPolicy),
            (499, "request cancelled", ServerError),
            (500, "internal server error", ServerError),
            (501, "x", Unsupported),
            (503, "x", Overloaded),
            (504, "x", Timeout),
            (302, "x", Malformed),
        ] {
            let body = json!({"id": "x", "message": words}).to_string();
            let error = classify(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes());
            assert_eq!(error.category, expected, "{status} {words}");
        }
        let typed = json!({"error_type": "TOO_MANY_TOKENS", "message": "x"}).to_string();
        let typed = classify(StatusCode::BAD_REQUEST, &HeaderMap::new(), typed.as_bytes());
        assert_eq!(typed.category, ContextWindow);
    }

    #[test]
    fn an_error_is_told_from_an_answer() {
        for none in [json!({"message": {"role": "assistant"}}), json!({}), json!({"error": null}), json!(5)] {
            assert_eq!(embedded(&none), None, "{none}");
        }
        assert_eq!(embedded(&json!({"message": "too many requests"})).unwrap().category, Category::RateLimit);
        assert_eq!(embedded(&json!({"error": "overloaded"})).unwrap().message, "overloaded");
        assert_eq!(error_value(&json!("oops")).message, "oops");
    }
}
