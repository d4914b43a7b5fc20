//! Streamed answers.

use agentprovision_core::model::ChatEvent;
use serde_json::Value;

use super::blocks::Answer;
use super::usage::usage;
use super::{classify, decode};
use crate::wire::aws_event_stream::{Message, Parser};
use crate::wire::{Category, ProviderError, StreamDecoder};

/// What kind of body it turned out to be.
#[derive(Debug, Default)]
enum Body {
    /// Nothing so far.
    #[default]
    Unknown,
    /// An AWS event stream.
    Messages(Parser),
    /// One JSON document: an error with a success status, or a gateway that knows no streaming.
    Document(Vec<u8>),
}

#[derive(Debug, Default)]
pub(super) struct Decoder {
    body: Body,
    answer: Answer,
}

impl StreamDecoder for Decoder {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        if matches!(self.body, Body::Unknown) {
            self.body = match bytes.first() {
                None => return Ok(()),
                // The first byte of a length is far below.
                Some(b'{' | b'[') => Body::Document(Vec::new()),
                Some(_) => Body::Messages(Parser::default()),
            };
        }
        let mut messages = Vec::new();
        let parsed = match &mut self.body {
            Body::Unknown => Ok(()),
            Body::Messages(parser) => parser.push(bytes, &mut messages),
            Body::Document(document) => {
                if document.len().saturating_add(bytes.len()) > Parser::LIMIT {
                    return Err(ProviderError::new(Category::AnswerTooLarge, "the answer passes the limit"));
                }
                document.extend_from_slice(bytes);
                Ok(())
            }
        };
        for message in messages {
            self.message(&message, out)?;
        }
        parsed
    }

    fn finish(&mut self, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        if let Body::Document(document) = &mut self.body {
            let document = std::mem::take(document);
            return document_events(&document).map(|events| out.extend(events));
        }
        if self.answer.is_finished() {
            Ok(())
        } else {
            Err(ProviderError::new(Category::Incomplete, "the stream ended before its stop reason"))
        }
    }
}

fn document_events(document: &[u8]) -> Result<Vec<ChatEvent>, ProviderError> {
    match serde_json::from_slice::<Value>(document) {
        Ok(body) => decode::whole(&body),
        Err(error) if error.is_eof() => {
            Err(ProviderError::new(Category::Incomplete, "the answer ended in the middle of its body"))
        }
        Err(error) => Err(ProviderError::new(
            Category::Malformed,
            format!("a success status with a body that is no event stream: {error}"),
        )),
    }
}

impl Decoder {
    fn message(&mut self, message: &Message, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        let header = |name| message.header(name);
        // Exceptions are of the operation; errors are of the service and have no payload.
        if let Some(name) = header(":exception-type").or_else(|| header(":error-code")) {
            return Err(classify::exception(name, &message.payload, header(":error-message")));
        }
        if matches!(header(":message-type"), Some("exception" | "error")) {
            return Err(classify::exception("", &message.payload, header(":error-message")));
        }
        let kind = header(":event-type").unwrap_or_default();
        if !KNOWN.contains(&kind) {
            return Ok(());
        }
        let event: Value = serde_json::from_slice(&message.payload).map_err(|error| {
            ProviderError::new(Category::Malformed, format!("an event of the stream is not JSON: {error}"))
        })?;
        let part = |name| event.get(name).unwrap_or(&Value::Null);
        let index = event.get("contentBlockIndex").and_then(Value::as_u64).unwrap_or(0);
        match kind {
            "contentBlockStart" => self.answer.begin(index, part("start"), out),
            "contentBlockDelta" => self.answer.delta(index, part("delta"), out),
            "messageStop" => self.answer.finish(part("stopReason").as_str(), out),
            "metadata" => out.extend(usage(&event).map(ChatEvent::Usage)),
            _ => {}
        }
        Ok(())
    }
}

/// The events that say something; others may come with later versions.
const KNOWN: [&str; 4] = ["contentBlockStart", "contentBlockDelta", "messageStop", "metadata"];
