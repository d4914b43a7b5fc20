//! Errors: a status and one text, `{"error": "…"}`.

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::wire::hint::hints;
use crate::wire::{Category, ProviderError};

/// An answer with an error status.
pub(super) fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError {
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

/// The error inside a document that came with a success status.
pub(super) fn embedded(value: &Value) -> Option<ProviderError> {
    match value.get("error")? {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) if text.is_empty() => None,
        _ => Some(build(None, &HeaderMap::new(), value)),
    }
}

fn build(status: Option<u16>, headers: &HeaderMap, body: &Value) -> ProviderError {
    let error = body.get("error").unwrap_or(body);
    // A proxy in front may answer in the form of OpenAI.
    let words = [Some(error), error.get("message"), body.get("message")];
    let message = words.into_iter().flatten().find_map(Value::as_str).unwrap_or_default();
    let text = |name: &str| error.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let status = status.or_else(|| {
        let number = body.get("status_code").or_else(|| body.get("status")).and_then(Value::as_u64);
        number.and_then(|status| u16::try_from(status).ok()).filter(|status| (400..600).contains(status))
    });
    let mut out = ProviderError::new(category(status, message), message);
    out.hints = hints(headers, error, message);
    out.status = status;
    out.provider_code = text("code").map(str::to_owned);
    out.provider_type = text("type").map(str::to_owned);
    out.details = (!body.is_null()).then(|| Box::new(body.clone()));
    out
}

fn category(status: Option<u16>, message: &str) -> Category {
    let message = message.to_ascii_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
    let open = matches!(status, None | Some(400 | 413 | 500));
    if open
        && says(&[
            "context length",
            "context window",
            "prompt too long",
            "prompt is too long",
            "input length exceeds",
        ])
    {
        return Category::ContextWindow;
    }
    // Tools, thinking or pictures with a model that has none of it: another model may.
    if open && says(&["does not support", "not supported by this model", "only supports one image"]) {
        return Category::Unsupported;
    }
    if open && says(&["model"]) && says(&["not found"]) {
        return Category::NotFound;
    }
    match status {
        Some(401) => Category::Authentication,
        Some(402) => Category::QuotaExhausted,
        Some(403) => Category::Permission,
        Some(404) => Category::NotFound,
        Some(408 | 504 | 522 | 524) => Category::Timeout,
        Some(413) => Category::RequestExceedsLimit,
        Some(429) if says(&["usage limit", "weekly limit", "upgrade"]) => Category::QuotaExhausted,
        Some(429) => Category::RateLimit,
        Some(405 | 501) => Category::Unsupported,
        // 503 is a full queue.
        Some(503 | 529) => Category::Overloaded,
        _ if open && says(&["server busy", "maximum pending requests", "requires more system memory"]) => {
            Category::Overloaded
        }
        Some(400..=499) => Category::InvalidRequest,
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
            (400, "invalid model name", InvalidRequest),
            (400, "\"x\" does not support tools", Unsupported),
            (400, "prompt too long; exceeded max context length by 3 tokens", ContextWindow),
            (400, "the input length exceeds the context length", ContextWindow),
            (401, "unauthorized", Authentication),
            (403, "no", Permission),
            (404, "model 'x' not found", NotFound),
            (413, "x", RequestExceedsLimit),
            (429, "too many requests", RateLimit),
            (429, "you have reached your weekly usage limit", QuotaExhausted),
            (500, "llama runner process has terminated", ServerError),
            (500, "model requires more system memory (8 GiB) than is available", Overloaded),
            (501, "x", Unsupported),
            (502, "x", ServerError),
            (503, "server busy, please try again", Overloaded),
            (504, "x", Timeout),
            (302, "x", Malformed),
        ] {
            let body = json!({"error": words}).to_string();
            let error = classify(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes());
            assert_eq!(error.category, expected, "{status} {words}");
        }
    }

    #[test]
    fn an_error_is_read_in_every_shape() {
        let of = |body: &str| classify(StatusCode::BAD_GATEWAY, &HeaderMap::new(), body.as_bytes());
        assert_eq!(of("{\"error\": \"x\"}").message, "x");
        assert_eq!(
            of("{\"error\": {\"message\": \"x\", \"type\": \"t\"}}").provider_type.as_deref(),
            Some("t")
        );
        assert_eq!(of(" oops ").message, "oops");
        for none in [json!({}), json!({"error": null}), json!({"error": ""})] {
            assert_eq!(embedded(&none), None, "{none}");
        }
        let inside = embedded(&json!({"error": "no", "status": 503})).unwrap();
        assert_eq!((inside.category, inside.status), (Category::Overloaded, Some(503)));
    }
}
