//! What a provider wants to see again, as a text that a client carries without reading it.
//!
//! Each format has a place for such a text: encrypted reasoning in responses, redacted thinking in messages, reasoning
//! details in chat completions, as OpenRouter sends them. So the reasoning of any provider goes on through any format.

use agentprovision_core::model::Continuation;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// How such a text begins; a version is part of it.
const PREFIX: &str = "apc1.";

/// The continuation as a text.
pub(super) fn seal(continuation: &Continuation) -> Option<String> {
    let json = serde_json::to_vec(continuation).ok()?;
    Some(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json)))
}

/// Whether a text is meant to be a continuation.
pub(super) fn is_sealed(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// The continuation in a text. `None` for what is not one, and for one that holds anything else than pieces of an
/// answer: it comes from a client, and goes to the provider with the platform's credential.
pub(super) fn open(text: &str) -> Option<Continuation> {
    let json = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
    let continuation: Continuation = serde_json::from_slice(&json).ok()?;
    continuation.items.iter().all(is_answer).then_some(continuation)
}

/// Whether an item can be a piece of an answer, by its type or, in formats whose pieces have none, by its fields.
pub(super) fn is_answer(item: &Value) -> bool {
    let Value::Object(fields) = item else { return false };
    let only = |names: &[&str]| fields.keys().all(|name| names.contains(&name.as_str()));
    match fields.get("type").and_then(Value::as_str) {
        Some("message") => {
            fields.get("role").is_none_or(|role| role == "assistant")
                && parts_are(fields, "content", &["output_text", "text", "refusal"])
        }
        Some("reasoning") => parts_are(fields, "content", &["reasoning_text", "text"]),
        Some("function_call" | "thinking" | "redacted_thinking" | "text" | "tool_use") => true,
        Some(_) => false,
        None => only(&[
            "text",
            "thought",
            "thoughtSignature",
            "functionCall",
            "reasoningContent",
            "toolUse",
            "reasoning_content",
            "reasoning_details",
            "thinking",
            "tool_plan",
        ]),
    }
}

fn parts_are(fields: &Map<String, Value>, name: &str, types: &[&str]) -> bool {
    let parts = fields.get(name).and_then(Value::as_array);
    parts
        .into_iter()
        .flatten()
        .all(|part| part.get("type").and_then(Value::as_str).is_some_and(|found| types.contains(&found)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_sealed_opens_again_and_nothing_else_does() {
        let of = |item: Value| Continuation { issuer: "openai".into(), items: vec![item] };
        for item in [
            json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}),
            json!({"type": "message", "content": [{"type": "output_text", "text": "a"}]}),
            json!({"type": "thinking", "thinking": "hm", "signature": "s"}),
            json!({"text": "a", "thoughtSignature": "s"}),
        ] {
            let continuation = of(item);
            let text = seal(&continuation).unwrap();
            assert!(is_sealed(&text));
            assert_eq!(open(&text), Some(continuation));
            assert_eq!(open(&text[..text.len() - 2]), None);
        }
        // What is stored at the provider belongs to whoever put it there.
        for item in [
            json!({"type": "item_reference", "id": "rs_of_somebody_else"}),
            json!({"type": "message", "role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}),
            json!({"fileData": {"fileUri": "gs://of-somebody-else"}}),
            json!("text"),
        ] {
            assert_eq!(open(&seal(&of(item)).unwrap()), None);
        }
        assert_eq!(open("apc1.!"), None);
        assert!(!is_sealed("ErUBCkYIBRgC"));
    }
}
