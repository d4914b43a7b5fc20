//! What the formats with JSON in server-sent events share: telling an event stream from a document, and where a stream
//! may end.

use std::fmt;

use agentprovision_core::model::ChatEvent;
use serde_json::Value;

use super::sse::{SseEvent, SseParser};
use super::{Category, ProviderError, StreamDecoder};

/// What one format makes of its events.
pub(super) trait Events: fmt::Debug + Send {
    /// Takes the data of the next event.
    fn data(&mut self, data: &Value, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError>;

    /// Takes the data of an event of the usual form without a tree of values; false, and nothing done, where it is
    /// anything else.
    fn usual(&mut self, _data: &str, _out: &mut Vec<ChatEvent>) -> bool {
        false
    }

    /// Takes a whole answer, from a server that knows no streaming.
    fn document(&mut self, body: &Value, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError>;

    /// What an event that is sent as an error says.
    fn error(&self, data: &Value) -> ProviderError;

    /// Whether the event that says why the answer ended was seen.
    fn finished(&self) -> bool;
}

/// What kind of body it turned out to be.
#[derive(Debug, Default)]
enum Body {
    /// Only white space so far.
    #[default]
    Unknown,
    /// Server-sent events.
    Events(SseParser),
    /// One JSON document: an error with a success status, or a server that knows no streaming.
    Document(Vec<u8>),
}

/// A decoder of one streamed answer in such a format.
#[derive(Debug, Default)]
pub(super) struct Streamed<E> {
    body: Body,
    events: E,
    /// The end marker was seen.
    done: bool,
    any_data: bool,
    /// Kept for its room.
    parsed: Vec<SseEvent>,
}

impl<E: Events> StreamDecoder for Streamed<E> {
    fn push(&mut self, mut bytes: &[u8], out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        if matches!(self.body, Body::Unknown) {
            bytes = bytes.trim_ascii_start();
            self.body = match bytes.first() {
                None => return Ok(()),
                Some(b'{' | b'[') => Body::Document(Vec::new()),
                Some(_) => Body::Events(SseParser::default()),
            };
        }
        let mut events = std::mem::take(&mut self.parsed);
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
        for event in events.drain(..) {
            self.event(event, out)?;
        }
        self.parsed = events;
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
                return self.document(&document, out);
            }
        }
        for event in events {
            match event {
                // An event that was cut off was never sent.
                SseEvent::Data { data, .. }
                    if data != "[DONE]" && serde_json::from_str::<Value>(&data).is_err() => {}
                event => self.event(event, out)?,
            }
        }
        if self.events.finished() {
            Ok(())
        } else if stray && !self.any_data {
            Err(ProviderError::new(
                Category::Malformed,
                "a success status with a body that is no event stream",
            ))
        } else {
            Err(ProviderError::new(Category::Incomplete, "the stream ended before its finish reason"))
        }
    }
}

impl<E: Events> Streamed<E> {
    pub(super) fn new(events: E) -> Self {
        Self { body: Body::Unknown, events, done: false, any_data: false, parsed: Vec::new() }
    }

    fn document(&mut self, document: &[u8], out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        match serde_json::from_slice::<Value>(document) {
            Ok(body) => self.events.document(&body, out),
            Err(error) if error.is_eof() => {
                Err(ProviderError::new(Category::Incomplete, "the answer ended in the middle of its body"))
            }
            Err(error) => Err(ProviderError::new(
                Category::Malformed,
                format!("a success status with a body that is no event stream: {error}"),
            )),
        }
    }

    fn event(&mut self, event: SseEvent, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        match event {
            SseEvent::ErrorField(text) => {
                let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
                Err(self.events.error(&value))
            }
            _ if self.done => Ok(()),
            SseEvent::Data { data, .. } if data.trim_ascii() == "[DONE]" => {
                self.done = true;
                Ok(())
            }
            SseEvent::Data { data, .. } if data.trim_ascii().is_empty() => Ok(()),
            SseEvent::Data { event, data } => {
                let failed = event.as_deref() == Some("error");
                if !failed && self.events.usual(&data, out) {
                    self.any_data = true;
                    return Ok(());
                }
                match serde_json::from_str::<Value>(&data) {
                    Ok(data) if failed => Err(self.events.error(&data)),
                    Ok(data) => {
                        self.any_data = true;
                        self.events.data(&data, out)
                    }
                    Err(_) if failed => Err(self.events.error(&Value::String(data))),
                    Err(error) => Err(ProviderError::new(
                        Category::Malformed,
                        format!("an event of the stream is not JSON: {error}"),
                    )),
                }
            }
        }
    }
}
