//! How many tokens a request may have, before a provider counted them: estimates from above, without a tokenizer.

use std::io;

use agentprovision_core::model::{ChatEvent, ChatRequest, ChatResponse, Content, Message, Source};
use serde::Serialize;

/// What an image takes at most with the providers that say, in tokens.
const IMAGE: u64 = 5_000;

/// What a document takes that nobody here has seen, in tokens.
const FAR_DOCUMENT: u64 = 30_000;

/// Bytes that a message, a tool or a call takes beside its text: role, names, separators.
const FRAME: u64 = 16;

/// The tokens of `bytes` bytes of text: three to a token, which is above what tokenizers give for the text of most
/// languages.
pub const fn text_tokens(bytes: u64) -> u64 {
    bytes.div_ceil(3)
}

/// The tokens of a request's prompt: messages, tools and schema. An image counts 5000 tokens; a document a third of its
/// bytes, or 30 000 tokens where it is elsewhere.
pub fn prompt_tokens(request: &ChatRequest) -> u64 {
    let mut bytes = 0;
    let mut tokens = 0;
    for message in &request.messages {
        bytes += FRAME;
        match message {
            Message::System { text } => bytes += text.len() as u64,
            Message::User { content } => {
                for piece in content {
                    match piece {
                        Content::Text { text } => bytes += text.len() as u64,
                        Content::Image { .. } => tokens += IMAGE,
                        Content::Document { source: Source::Base64(data), .. } => {
                            tokens += data.len() as u64 / 4
                        }
                        Content::Document { .. } => tokens += FAR_DOCUMENT,
                        // A kind of content this version does not know is counted by its form.
                        other => bytes += json_len(other),
                    }
                }
            }
            Message::Assistant { text, tool_calls, continuation } => {
                let calls =
                    tool_calls.iter().map(|call| FRAME + (call.name.len() + call.arguments.len()) as u64);
                bytes += text.len() as u64 + calls.sum::<u64>();
                bytes += continuation.as_ref().map_or(0, |continuation| json_len(&continuation.items));
            }
            Message::Tool { name, content, .. } => bytes += (name.len() + content.len()) as u64,
            other => bytes += json_len(other),
        }
    }
    for tool in &request.tools {
        bytes += FRAME + (tool.name.len() + tool.description.len()) as u64 + json_len(&tool.input_schema);
    }
    bytes += request.output_schema.as_ref().map_or(0, json_len);
    if !request.extra.is_empty() {
        bytes += json_len(&request.extra);
    }
    text_tokens(bytes).saturating_add(tokens)
}

/// The tokens of an answer that came without counts.
pub fn output_tokens(answer: &ChatResponse) -> u64 {
    let calls = answer.tool_calls.iter().map(|call| call.name.len() + call.arguments.len());
    let refusal = answer.refusal.as_ref().map_or(0, String::len);
    let bytes = answer.text.len() + answer.reasoning.len() + refusal + calls.sum::<usize>();
    text_tokens(bytes as u64)
}

/// The bytes of an answer that an event carries.
pub(crate) fn event_bytes(event: &ChatEvent) -> u64 {
    let bytes = match event {
        ChatEvent::Text(text) | ChatEvent::Reasoning(text) | ChatEvent::Refusal(text) => text.len(),
        ChatEvent::ToolCall { name, arguments, .. } => name.as_ref().map_or(0, String::len) + arguments.len(),
        _ => 0,
    };
    bytes as u64
}

/// The length of a value's JSON form, without making it.
fn json_len<T: Serialize + ?Sized>(value: &T) -> u64 {
    struct Count(u64);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        // What has no JSON form is not sent either.
        Err(_) => 0,
    }
}
