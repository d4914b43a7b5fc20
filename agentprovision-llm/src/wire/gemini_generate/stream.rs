//! Streamed answers.

use agentprovision_core::model::ChatEvent;
use serde_json::Value;

use super::answer::Answer;
use super::{Host, classify};
use crate::wire::json_stream::JsonObjects;
use crate::wire::sse::{SseEvent, SseParser};
use crate::wire::{Category, ProviderError, StreamDecoder};

/// What kind of body it turned out to be.
#[derive(Debug)]
enum Body {
    /// Only white space so far.
    Unknown,
    /// Server-sent events (`alt=sse`).
    Events(SseParser),
    /// A JSON array of chunks, or one document: an error, or an answer that was not streamed.
    Objects(JsonObjects),
}

#[derive(Debug)]
pub(super) struct Decoder {
    body: Body,
    answer: Answer,
    any_data: bool,
}

impl Decoder {
    pub(super) fn new(host: Host) -> Self {
        Self { body: Body::Unknown, answer: Answer::new(host), any_data: false }
    }

    fn event(&mut self, event: SseEvent, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        match event {
            SseEvent::ErrorField(text) => {
                let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
                Err(classify::error_value(&value))
            }
            SseEvent::Data { data, .. } if matches!(data.trim_ascii(), "" | "[DONE]") => Ok(()),
            SseEvent::Data { data, .. } => {
                let chunk = serde_json::from_str(&data).map_err(|error| {
                    ProviderError::new(
                        Category::Malformed,
                        format!("an event of the stream is not JSON: {error}"),
                    )
                })?;
                self.any_data = true;
                self.answer.chunk(&chunk, out)
            }
        }
    }
}

impl StreamDecoder for Decoder {
    fn push(&mut self, mut bytes: &[u8], out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        if matches!(self.body, Body::Unknown) {
            bytes = bytes.trim_ascii_start();
            self.body = match bytes.first() {
                None => return Ok(()),
                Some(b'{' | b'[') => Body::Objects(JsonObjects::default()),
                Some(_) => Body::Events(SseParser::default()),
            };
        }
        let (mut events, mut chunks) = (Vec::new(), Vec::new());
        let parsed = match &mut self.body {
            Body::Unknown => Ok(()),
            Body::Events(parser) => parser.push(bytes, &mut events),
            Body::Objects(parser) => parser.push(bytes, &mut chunks),
        };
        for event in events {
            self.event(event, out)?;
        }
        for chunk in chunks {
            self.any_data = true;
            self.answer.chunk(&chunk, out)?;
        }
        parsed
    }

    fn finish(&mut self, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        let mut events = Vec::new();
        let (mut stray, mut pending) = (false, false);
        match &mut self.body {
            Body::Unknown => {}
            Body::Events(parser) => {
                stray = parser.stray();
                parser.finish(&mut events)?;
            }
            Body::Objects(parser) => pending = parser.pending(),
        }
        for event in events {
            match event {
                // An event that was cut off was never sent.
                SseEvent::Data { data, .. } if serde_json::from_str::<Value>(&data).is_err() => {}
                event => self.event(event, out)?,
            }
        }
        if self.answer.is_finished() {
            // Only now: text may follow a finish reason.
            self.answer.end(out);
            Ok(())
        } else if stray && !self.any_data {
            Err(ProviderError::new(
                Category::Malformed,
                "a success status with a body that is no event stream",
            ))
        } else if pending {
            Err(ProviderError::new(Category::Incomplete, "the stream ended in the middle of an object"))
        } else {
            Err(ProviderError::new(Category::Incomplete, "the stream ended before its finish reason"))
        }
    }
}
