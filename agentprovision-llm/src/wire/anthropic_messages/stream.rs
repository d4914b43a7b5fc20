//! Streamed answers.

use agentprovision_core::model::ChatEvent;
use serde_json::Value;

use super::blocks::Answer;
use super::{classify, decode};
use crate::wire::sse::{SseEvent, SseParser};
use crate::wire::{Category, ProviderError, StreamDecoder};

/// What kind of body it turned out to be.
#[derive(Debug, Default)]
enum Body {
    /// Only white space so far.
    #[default]
    Unknown,
    /// Server-sent events.
    Events(SseParser),
    /// One JSON document: an error with a success status, or a gateway that knows no streaming.
    Document(Vec<u8>),
}

#[derive(Debug, Default)]
pub(super) struct Decoder {
    body: Body,
    answer: Answer,
    /// The provider's last event was seen.
    done: bool,
    any_data: bool,
}

impl StreamDecoder for Decoder {
    fn push(&mut self, mut bytes: &[u8], out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        if matches!(self.body, Body::Unknown) {
            bytes = bytes.trim_ascii_start();
            self.body = match bytes.first() {
                None => return Ok(()),
                Some(b'{' | b'[') => Body::Document(Vec::new()),
                Some(_) => Body::Events(SseParser::default()),
            };
        }
        let mut events = Vec::new();
        let parsed = match &mut self.body {
            Body::Unknown => Ok(()),
            Body::Events(parser) => parser.push(bytes, &mut events),
            Body::Document(document) => {
                if document.len().saturating_add(bytes.len()) > SseParser::LIMIT {
                    return Err(ProviderError::new(Category::AnswerTooLarge, "the answer passes the limit"));
                }
                document.extend_from_slice(bytes);
                Ok(())
            }
        };
        for event in events {
            self.event(event, out)?;
        }
        parsed
    }

    fn finish(&mut self, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        let mut events = Vec::new();
        let mut stray = false;
        match &mut self.body {
            Body::Unknown => {}
            Body::Events(parser) => {
                stray = parser.stray();
                parser.finish(&mut events)?;
            }
            Body::Document(document) => {
                let document = std::mem::take(document);
                return document_events(&document).map(|events| out.extend(events));
            }
        }
        for event in events {
            match event {
                // An event that was cut off was never sent.
                SseEvent::Data { data, .. } if serde_json::from_str::<Value>(&data).is_err() => {}
                event => self.event(event, out)?,
            }
        }
        if self.answer.is_finished() {
            Ok(())
        } else if stray && !self.any_data {
            Err(ProviderError::new(
                Category::Malformed,
                "a success status with a body that is no event stream",
            ))
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
    fn event(&mut self, event: SseEvent, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        let (name, data) = match event {
            _ if self.done => return Ok(()),
            SseEvent::ErrorField(text) => {
                let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
                return Err(classify::error_value(&value));
            }
            SseEvent::Data { event, data } => (event, data),
        };
        // Gateways add the end marker of another format.
        if matches!(data.trim_ascii(), "" | "[DONE]") {
            return Ok(());
        }
        let failed = name.as_deref() == Some("error");
        match serde_json::from_str::<Value>(&data) {
            Ok(value) if failed => Err(classify::error_value(&value)),
            Ok(value) => self.message(name.as_deref(), &value, out),
            Err(_) if failed => Err(classify::error_value(&Value::String(data))),
            Err(error) => Err(ProviderError::new(
                Category::Malformed,
                format!("an event of the stream is not JSON: {error}"),
            )),
        }
    }

    fn message(
        &mut self,
        name: Option<&str>,
        event: &Value,
        out: &mut Vec<ChatEvent>,
    ) -> Result<(), ProviderError> {
        self.any_data = true;
        if let Some(error) = classify::embedded(event) {
            return Err(error);
        }
        let part = |name| event.get(name).unwrap_or(&Value::Null);
        let index = Some(event.get("index").and_then(Value::as_u64).unwrap_or(0));
        match event.get("type").and_then(Value::as_str).or(name).unwrap_or_default() {
            "message_start" => self.answer.start(part("message"), out)?,
            "content_block_start" => self.answer.begin(index, part("content_block"), out),
            "content_block_delta" => self.answer.delta(index, part("delta"), out),
            "content_block_stop" => self.answer.end(index, out),
            "message_delta" => {
                self.answer.usage(event.get("usage"), out);
                if let Some(raw) = part("delta").get("stop_reason").and_then(Value::as_str) {
                    self.answer.finish(Some(raw), out);
                }
            }
            "message_stop" => {
                // Without a reason it is over all the same.
                self.answer.finish(None, out);
                self.done = true;
            }
            // `ping`, and events that are younger than this version.
            _ => {}
        }
        Ok(())
    }
}
