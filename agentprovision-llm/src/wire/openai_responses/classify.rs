//! Errors: those of the chat format, and the codes that only a response has.

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::wire::openai_chat::classify as chat;
use crate::wire::{Category, ProviderError};

/// An answer with an error status.
pub(super) fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError {
    refined(chat::classify(status, headers, body))
}

/// The error of a response that came with a success status.
pub(super) fn embedded(response: &Value) -> Option<ProviderError> {
    chat::embedded(response).map(refined)
}

/// An event of the type `error`: its fields are those of the error, or the error is one of them.
pub(super) fn event(data: &Value) -> ProviderError {
    let mut data = data.clone();
    if let Some(fields) = data.as_object_mut().filter(|fields| !fields.contains_key("error")) {
        // The type and the number are those of the event.
        if fields.get("type").and_then(Value::as_str) == Some("error") {
            fields.remove("type");
        }
        fields.remove("sequence_number");
    }
    refined(chat::error_value(&data))
}

fn refined(mut error: ProviderError) -> ProviderError {
    error.category = match error.provider_code.as_deref() {
        Some("bio_policy" | "image_content_policy_violation" | "cyber_policy") => Category::ContentPolicy,
        Some("data_residency_mismatch") => Category::Permission,
        Some("vector_store_timeout") => Category::Timeout,
        Some("invalid_prompt") if error.category == Category::ServerError => Category::InvalidRequest,
        Some(code) if error.category == Category::ServerError && is_about_an_image(code) => {
            Category::InvalidRequest
        }
        _ => error.category,
    };
    error
}

fn is_about_an_image(code: &str) -> bool {
    code.contains("image") && !code.contains("timeout")
}
