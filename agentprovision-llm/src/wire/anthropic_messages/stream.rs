//! Streamed answers.

use agentprovision_core::model::ChatEvent;
use serde_json::Value;

use super::blocks::Answer;
use super::{classify, decode};
use crate::wire::ProviderError;
use crate::wire::streamed::Events;

/// What the events of one stream make.
#[derive(Debug, Default)]
pub(super) struct Stream {
    answer: Answer,
    /// The provider's last event was seen.
    stopped: bool,
    document: bool,
}

impl Events for Stream {
    fn data(&mut self, event: &Value, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        if self.stopped {
            return Ok(());
        }
        if let Some(error) = classify::embedded(event) {
            return Err(error);
        }
        let part = |name| event.get(name).unwrap_or(&Value::Null);
        let index = Some(event.get("index").and_then(Value::as_u64).unwrap_or(0));
        match part("type").as_str().unwrap_or_default() {
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
                self.stopped = true;
            }
            // `ping`, and events that are younger than this version.
            _ => {}
        }
        Ok(())
    }

    fn document(&mut self, body: &Value, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        out.extend(decode::whole(body)?);
        self.document = true;
        Ok(())
    }

    fn error(&self, data: &Value) -> ProviderError {
        classify::error_value(data)
    }

    fn finished(&self) -> bool {
        self.document || self.answer.is_finished()
    }
}
