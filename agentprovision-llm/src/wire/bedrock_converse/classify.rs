//! Errors: what a status, an exception and the words of a message mean together (Amazon Bedrock Runtime API reference,
//! "Converse", errors).

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::wire::hint::hints;
use crate::wire::{Category, ProviderError};

/// An answer with an error status.
pub(in crate::wire) fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError {
    let value = serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).trim().to_owned()));
    if status.is_redirection() {
        // Redirects are not followed: a signature must not go where an answer points.
        let mut error = ProviderError::new(Category::Malformed, "the provider answered with a redirect");
        error.status = Some(status.as_u16());
        return error;
    }
    let named = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
    build(Some(status.as_u16()), headers, named, &value)
}

/// The error inside a body that came with a success status.
pub(in crate::wire) fn embedded(body: &Value) -> Option<ProviderError> {
    // Services behind the same front answer like this when they do not know the operation.
    let inner = body.get("Output").unwrap_or(body);
    inner.get("__type").map(|_| build(None, &HeaderMap::new(), None, inner))
}

/// An exception that came as a message of the stream.
pub(super) fn exception(name: &str, payload: &[u8], words: Option<&str>) -> ProviderError {
    let value = serde_json::from_slice(payload)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(payload).trim().to_owned()));
    let mut error = build(None, &HeaderMap::new(), Some(name), &value);
    if let Some(words) = words.filter(|_| error.message.is_empty()) {
        error.message = ProviderError::new(error.category, words).message;
    }
    error
}

fn build(status: Option<u16>, headers: &HeaderMap, named: Option<&str>, body: &Value) -> ProviderError {
    let text = |name| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    // `Name:http://…` in the header, `com.amazon.coral.service#Name` in the body.
    let kind = named
        .or_else(|| text("__type"))
        .map(|name| name.split(':').next().unwrap_or_default())
        .map(|name| name.rsplit('#').next().unwrap_or_default().trim())
        .filter(|name| !name.is_empty());
    let message = text("message")
        .or_else(|| text("Message"))
        .or_else(|| text("originalMessage"))
        .or_else(|| body.as_str())
        .unwrap_or_default();
    let mut error = ProviderError::new(category(status, kind.unwrap_or_default(), message), message);
    error.status = status;
    error.provider_type = kind.map(str::to_owned);
    error.hints = hints(headers, body, message);
    error.details = (!body.is_null()).then(|| Box::new(body.clone()));
    error
}

fn category(status: Option<u16>, kind: &str, message: &str) -> Category {
    let kind = kind.to_ascii_lowercase();
    let message = message.to_ascii_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
    // The words are believed only where exception and status leave the meaning open.
    let open =
        matches!(kind.as_str(), "validationexception" | "modelerrorexception" | "modelstreamerrorexception")
            || kind.is_empty() && matches!(status, None | Some(400 | 422 | 424));
    if open {
        for (phrases, category) in [
            (CONTEXT_WINDOW, Category::ContextWindow),
            (CONTENT_POLICY, Category::ContentPolicy),
            (UNKNOWN_MODEL, Category::NotFound),
        ] {
            if says(phrases) {
                return category;
            }
        }
    }
    match kind.as_str() {
        "validationexception" | "serializationexception" => Category::InvalidRequest,
        "throttlingexception" | "toomanyrequestsexception" => Category::RateLimit,
        "accessdeniedexception" => Category::Permission,
        "resourcenotfoundexception" | "unknownoperationexception" => Category::NotFound,
        "servicequotaexceededexception" => Category::QuotaExhausted,
        "modeltimeoutexception" => Category::Timeout,
        "modelnotreadyexception" | "serviceunavailableexception" => Category::Overloaded,
        "modelerrorexception" | "modelstreamerrorexception" | "internalserverexception" => {
            Category::ServerError
        }
        _ => match status {
            Some(401) => Category::Authentication,
            Some(402) => Category::QuotaExhausted,
            // Bad signatures and expired tokens among them.
            Some(403) => Category::Permission,
            Some(404) => Category::NotFound,
            Some(405 | 501) => Category::Unsupported,
            Some(408 | 504) => Category::Timeout,
            Some(413) => Category::RequestExceedsLimit,
            Some(424) => Category::ServerError,
            Some(429) => Category::RateLimit,
            Some(503) => Category::Overloaded,
            Some(400..=499) => Category::InvalidRequest,
            _ => Category::ServerError,
        },
    }
}

const CONTEXT_WINDOW: &[&str] = &[
    "input is too long",
    "prompt is too long",
    "exceed context limit",
    "maximum context length",
    "context window",
    "too many total text bytes",
    "too many input tokens",
];

const CONTENT_POLICY: &[&str] = &["content filtering policy", "content policy", "responsible ai polic"];

const UNKNOWN_MODEL: &[&str] = &["provided model identifier is invalid", "model identifier is invalid"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(status: u16, kind: &str, message: &str) -> Category {
        let mut headers = HeaderMap::new();
        if !kind.is_empty() {
            let value = format!("{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/");
            headers.insert("x-amzn-errortype", value.parse().unwrap());
        }
        let body = json!({"message": message}).to_string();
        let error = classify(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes());
        assert_eq!(error.provider_type.unwrap_or_default(), kind);
        error.category
    }

    #[test]
    fn exceptions_words_and_statuses_each_have_their_say() {
        use Category::*;
        for (status, kind, message, expected) in [
            (400, "ValidationException", "Malformed input request", InvalidRequest),
            (400, "ValidationException", "Input is too long for requested model.", ContextWindow),
            (
                400,
                "ValidationException",
                "The model returned the following errors: prompt is too long: 2 tokens > 1 maximum",
                ContextWindow,
            ),
            (400, "ValidationException", "Output blocked by content filtering policy", ContentPolicy),
            (400, "", "The provided model identifier is invalid.", NotFound),
            (400, "ServiceQuotaExceededException", "x", QuotaExhausted),
            (403, "AccessDeniedException", "You don't have access to the model", Permission),
            (403, "UnrecognizedClientException", "The security token is invalid.", Permission),
            (404, "ResourceNotFoundException", "x", NotFound),
            (408, "ModelTimeoutException", "x", Timeout),
            (424, "ModelErrorException", "x", ServerError),
            (429, "ThrottlingException", "Too many tokens, please wait before trying again.", RateLimit),
            (429, "ModelNotReadyException", "x", Overloaded),
            (500, "InternalServerException", "x", ServerError),
            (503, "ServiceUnavailableException", "x", Overloaded),
            (429, "", "", RateLimit),
            (413, "", "", RequestExceedsLimit),
            (502, "", "", ServerError),
        ] {
            assert_eq!(of(status, kind, message), expected, "{status} {kind} {message}");
        }
        let page = classify(StatusCode::BAD_GATEWAY, &HeaderMap::new(), b" <html>\xff ");
        assert_eq!((page.category, page.message.as_str()), (ServerError, "<html>\u{fffd}"));
    }

    #[test]
    fn exceptions_are_known_wherever_they_are_named() {
        let body = json!({"Output": {"__type": "com.amazon.coral.service#UnknownOperationException"}});
        let error = embedded(&body).unwrap();
        assert_eq!(error.provider_type.as_deref(), Some("UnknownOperationException"));
        assert_eq!(error.category, Category::NotFound);
        assert_eq!(embedded(&json!({"output": {}})), None);
        let error = exception("throttlingException", b"{\"message\": \"wait\"}", None);
        assert_eq!((error.category, error.message.as_str()), (Category::RateLimit, "wait"));
        let error = exception("internalFailure", b"", Some("gone"));
        assert_eq!((error.category, error.message.as_str()), (Category::ServerError, "gone"));
    }
}
