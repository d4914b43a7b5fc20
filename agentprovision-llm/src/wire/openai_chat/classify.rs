//! Errors: what a status, a code, a type and the words of a message mean together.

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::wire::hint::hints;
use crate::wire::{Category, ProviderError};

/// An answer with an error status.
pub(in crate::wire) fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError {
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

/// The error inside a body, chunk or choice that came with a success status.
pub(in crate::wire) fn embedded(value: &Value) -> Option<ProviderError> {
    value.get("error").filter(|error| !is_empty(error)).map(|_| build(None, &HeaderMap::new(), value))
}

/// An error that was sent as such within a stream, whatever its shape.
pub(in crate::wire) fn error_value(value: &Value) -> ProviderError {
    build(None, &HeaderMap::new(), value)
}

fn is_empty(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn build(status: Option<u16>, headers: &HeaderMap, body: &Value) -> ProviderError {
    // Some gateways wrap the body into a list of one.
    let body = body.as_array().and_then(|items| items.first()).unwrap_or(body);
    // The error object, where there is one; otherwise its fields are those of the body.
    let object = body.get("error").filter(|error| error.is_object()).unwrap_or(body);
    let code = text(object.get("code"));
    let kind = text(object.get("type")).or_else(|| text(object.get("status")).filter(|s| !numeric(s)));
    let message = message(object, body);
    let status = status.or_else(|| {
        [object.get("status_code"), object.get("code"), object.get("status")]
            .into_iter()
            .filter_map(text)
            .filter_map(|text| text.parse().ok())
            .find(|status| (400..600).contains(status))
    });
    let mut error = ProviderError::new(
        category(status, code.as_deref().unwrap_or_default(), kind.as_deref().unwrap_or_default(), &message),
        "",
    );
    error.hints = hints(headers, object, &message);
    error = ProviderError { status, provider_code: code, provider_type: kind, ..error };
    error.message = ProviderError::new(error.category, message).message;
    error.details = (!object.is_null()).then(|| Box::new(object.clone()));
    error
}

/// A text or a number as text.
fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn numeric(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The words of an error: OpenAI's `message`, FastAPI's `detail`, a bare text; a gateway keeps the upstream's words in
/// `metadata.raw`.
fn message(object: &Value, body: &Value) -> String {
    let candidates = [object.get("message"), object.get("detail"), body.get("error"), Some(object)];
    let words = candidates.into_iter().flatten().find_map(words).unwrap_or_default();
    match text(object.get("metadata").and_then(|metadata| metadata.get("raw"))) {
        Some(raw) => format!("{words} :: {raw}"),
        None => words,
    }
}

fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        // Validation errors come as a list of objects with `msg`.
        Value::Array(items) => {
            let all: Vec<String> =
                items.iter().filter_map(|item| words(item.get("msg").unwrap_or(item))).collect();
            (!all.is_empty()).then(|| all.join("; "))
        }
        Value::Object(fields) => fields.get("detail").or_else(|| fields.get("message")).and_then(words),
        _ => None,
    }
}

fn category(status: Option<u16>, code: &str, kind: &str, message: &str) -> Category {
    let (code, kind) = (code.to_ascii_lowercase(), kind.to_ascii_lowercase());
    let message = message.to_ascii_lowercase();
    let named = |names: &[&str]| names.iter().any(|name| code == *name || kind == *name);
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
    // A provider's words are believed only where the status leaves the meaning open.
    let open = matches!(status, None | Some(400 | 403 | 413 | 422 | 500));

    if named(&["context_length_exceeded", "exceed_context_size_error", "too_many_prompt_tokens"])
        || open && says(CONTEXT_WINDOW)
    {
        return Category::ContextWindow;
    }
    if named(&["content_policy_violation", "content_filter", "responsibleaipolicyviolation"])
        || open && says(CONTENT_POLICY)
    {
        return Category::ContentPolicy;
    }
    if status == Some(402)
        || named(&["insufficient_quota", "billing_hard_limit_reached", "billing_not_active"])
    {
        return Category::QuotaExhausted;
    }
    if matches!(status, None | Some(400 | 413 | 429)) && says(&["request too large"])
        || status == Some(413)
        || named(&["request_too_large"])
    {
        return Category::RequestExceedsLimit;
    }
    if status == Some(401)
        || named(&["invalid_api_key", "authentication_error"])
        || open && says(&["incorrect api key", "invalid api key", "api key not valid"])
    {
        return Category::Authentication;
    }
    if named(&["model_not_found", "invalid_model"])
        || status != Some(403) && open && says(UNKNOWN_MODEL)
        || status == Some(404)
    {
        return Category::NotFound;
    }
    match status {
        Some(403) => Category::Permission,
        // 522 and 524 are Cloudflare's, in front of many providers.
        Some(408 | 504 | 522 | 524) => Category::Timeout,
        Some(429) => Category::RateLimit,
        Some(501 | 405) => Category::Unsupported,
        // 498 is Groq's word for no capacity, 529 Anthropic's, which gateways hand on.
        Some(498 | 503 | 529) => Category::Overloaded,
        _ if named(&["rate_limit_exceeded", "rate_limit_error", "too_many_requests"]) => Category::RateLimit,
        _ if named(&["overloaded_error", "overloaded", "server_overloaded"]) || says(&["overloaded"]) => {
            Category::Overloaded
        }
        _ if named(&["timeout", "timeout_error"]) => Category::Timeout,
        Some(400..=499) => Category::InvalidRequest,
        None if named(&["invalid_request_error", "bad_request"]) => Category::InvalidRequest,
        _ => Category::ServerError,
    }
}

const CONTEXT_WINDOW: &[&str] = &[
    "maximum context length",
    "max context length",
    "context window",
    "context length",
    "context size",
    "prompt is too long",
    "prompt too long",
    "total length of all messages is too long",
    "too many tokens",
    "exceeds the maximum number of tokens",
];

const CONTENT_POLICY: &[&str] = &[
    "content management policy",
    "content policy",
    "safety system",
    "input was flagged",
    "violates our usage polic",
];

const UNKNOWN_MODEL: &[&str] = &["invalid model", "not a valid model", "unknown model", "model not found"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(status: u16, body: Value) -> ProviderError {
        classify(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.to_string().as_bytes())
    }

    fn error(code: &str, kind: &str, message: &str) -> Value {
        json!({"error": {"code": code, "type": kind, "message": message}})
    }

    #[test]
    fn evidence_beats_the_status_where_the_status_is_vague() {
        use Category::*;
        for (status, body, expected) in [
            (400, error("context_length_exceeded", "invalid_request_error", "x"), ContextWindow),
            (400, error("", "", "This model's maximum context length is 8 tokens"), ContextWindow),
            (400, error("content_policy_violation", "", "x"), ContentPolicy),
            (400, error("x", "invalid_request_error", "bad temperature"), InvalidRequest),
            (422, json!({"detail": [{"loc": ["a"], "msg": "field required"}]}), InvalidRequest),
            (401, json!({"detail": "no"}), Authentication),
            (400, error("invalid-argument", "", "Incorrect API key provided"), Authentication),
            (402, json!({}), QuotaExhausted),
            (403, error("forbidden", "", "no"), Permission),
            (403, error("403", "", "your input was flagged"), ContentPolicy),
            (404, error("model_not_found", "", "x"), NotFound),
            (400, error("", "invalid_model", "x"), NotFound),
            (405, json!(""), Unsupported),
            (408, json!(""), Timeout),
            (
                413,
                error("rate_limit_exceeded", "tokens", "Request too large for model `m`"),
                RequestExceedsLimit,
            ),
            (
                429,
                error("rate_limit_exceeded", "tokens", "Request too large for m: Limit 1, Requested 2"),
                RequestExceedsLimit,
            ),
            (429, error("insufficient_quota", "insufficient_quota", "x"), QuotaExhausted),
            (429, error("rate_limit_exceeded", "tokens", "too many tokens per min"), RateLimit),
            (429, json!("slow down"), RateLimit),
            (500, error("", "server_error", "The model is overloaded"), Overloaded),
            (500, json!(null), ServerError),
            (501, json!({}), Unsupported),
            (502, json!("<html>"), ServerError),
            (503, json!({}), Overloaded),
            (504, json!({}), Timeout),
            (524, json!({}), Timeout),
            (498, json!({}), Overloaded),
            (529, json!({}), Overloaded),
            (418, json!({}), InvalidRequest),
            (302, json!({}), Malformed),
        ] {
            assert_eq!(of(status, body.clone()).category, expected, "{status} {body}");
        }
    }

    #[test]
    fn the_words_are_found_in_every_shape() {
        for (body, expected) in [
            (json!({"error": {"message": "a"}}), "a"),
            (json!({"error": "a"}), "a"),
            (json!({"message": "a", "code": "1"}), "a"),
            (json!({"message": {"detail": [{"msg": "a"}, {"msg": "b"}]}}), "a; b"),
            (json!({"detail": "a"}), "a"),
            (json!([{"error": {"message": "a"}}]), "a"),
            (json!({"error": {"message": "a", "metadata": {"raw": "b"}}}), "a :: b"),
            (json!("a"), "a"),
            (json!({}), ""),
            (json!([]), ""),
            (json!(5), ""),
        ] {
            assert_eq!(of(400, body.clone()).message, expected, "{body}");
        }
        let garbage = classify(StatusCode::BAD_GATEWAY, &HeaderMap::new(), b" \xff<html> ");
        assert_eq!(garbage.message, "\u{fffd}<html>");
    }

    #[test]
    fn an_error_without_a_status_takes_it_from_its_code() {
        let error = embedded(&json!({"error": {"code": 429, "message": "x"}})).unwrap();
        assert_eq!((error.category, error.status), (Category::RateLimit, Some(429)));
        let error =
            error_value(&json!({"error": {"status_code": 400, "code": "tool_use_failed", "message": "x"}}));
        assert_eq!((error.category, error.status), (Category::InvalidRequest, Some(400)));
        assert_eq!(error_value(&json!("x")).category, Category::ServerError);
        for none in [json!({}), json!({"error": null}), json!({"error": {}}), json!({"error": ""})] {
            assert_eq!(embedded(&none), None, "{none}");
        }
    }
}
