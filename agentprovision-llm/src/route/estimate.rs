//! How many tokens a request is, before anybody counted.

use agentprovision_core::model::{ChatRequest, Content, Message, Source};

/// The longest answer that is reckoned with when neither the request nor the model says, in tokens.
pub const DEFAULT_OUTPUT: u64 = 4096;

/// What an image or a page is reckoned as, in tokens: more than providers count for one of usual size.
const IMAGE: u64 = 2000;

/// The prompt's length in tokens, from above: three bytes to a token, which is more than tokenizers give for the text of
/// most languages, and a flat amount for an image.
pub fn input_tokens(request: &ChatRequest) -> u64 {
    let mut bytes = 0_u64;
    let mut flat = 0_u64;
    let mut add = |text: &str| bytes += text.len() as u64;
    for message in &request.messages {
        // The roles and separators of the format.
        flat += 4;
        match message {
            Message::System { text } => add(text),
            Message::User { content } => {
                for piece in content {
                    match piece {
                        Content::Text { text } => add(text),
                        Content::Document { source: Source::Base64(data), media_type, .. }
                            if media_type.starts_with("text/") =>
                        {
                            add(data);
                        }
                        // What an image or a page counts depends on its size in pixels, not in bytes.
                        Content::Document { source: Source::Base64(data), .. } => {
                            flat += IMAGE * (data.len() as u64).div_ceil(100_000).max(1);
                        }
                        _ => flat += IMAGE,
                    }
                }
            }
            Message::Assistant { text, tool_calls, continuation } => {
                add(text);
                // The issuer reads it, for instance as signed reasoning.
                let items = continuation.iter().flat_map(|continuation| &continuation.items);
                items.for_each(|item| bytes_of(item, &mut add));
                for call in tool_calls {
                    add(&call.name);
                    add(&call.arguments);
                }
            }
            Message::Tool { name, content, .. } => {
                add(name);
                add(content);
            }
            _ => {}
        }
    }
    for tool in &request.tools {
        flat += 8;
        add(&tool.name);
        add(&tool.description);
        bytes_of(&tool.input_schema, &mut add);
    }
    if let Some(schema) = &request.output_schema {
        bytes_of(schema, &mut add);
    }
    bytes.div_ceil(3) + flat
}

/// About the bytes of a JSON value, without writing it.
fn bytes_of(value: &serde_json::Value, add: &mut impl FnMut(&str)) {
    use serde_json::Value;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => add("12345"),
        Value::String(text) => {
            add(text);
            add("\"\",");
        }
        Value::Array(items) => {
            add("[],");
            items.iter().for_each(|item| bytes_of(item, add));
        }
        Value::Object(fields) => {
            add("{},");
            for (key, value) in fields {
                add(key);
                add("\"\":");
                bytes_of(value, add);
            }
        }
    }
}

/// The longest answer to expect: what the request allows, at most what the model can.
pub fn output_tokens(request: &ChatRequest, model_limit: Option<u64>) -> u64 {
    request.max_tokens.unwrap_or(DEFAULT_OUTPUT).min(model_limit.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use agentprovision_core::model::Continuation;

    use super::*;

    #[test]
    fn what_an_issuer_reads_again_is_counted() {
        let answer = |items| {
            let continuation = Some(Continuation { issuer: "anthropic".into(), items });
            let answer = Message::Assistant { text: "a".into(), tool_calls: Vec::new(), continuation };
            input_tokens(&ChatRequest::new("m", vec![Message::user("hi"), answer]))
        };
        let reasoning = serde_json::json!({"type": "thinking", "thinking": "x".repeat(3000), "signature": "y".repeat(600)});
        assert!(answer(vec![reasoning]) >= answer(Vec::new()) + 1200);
    }
}
