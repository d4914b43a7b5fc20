//! Answers. A whole answer is a stream of one document.

use agentprovision_core::model::{ChatAssembler, ChatEvent, ChatResponse, FinishReason, Usage};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::classify;
use crate::wire::json_stream::JsonObjects;
use crate::wire::{Category, ProviderError, StreamDecoder};

pub(super) fn decode(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<ChatResponse, ProviderError> {
    if !status.is_success() {
        return Err(classify::classify(status, headers, body));
    }
    let malformed =
        |words: String| ProviderError::new(Category::Malformed, format!("HTTP {} {words}", status.as_u16()));
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| malformed(format!("whose body is not JSON: {error}")))?;
    let (mut answer, mut events) = (Answer::default(), Vec::new());
    answer.chunk(&body, &mut events)?;
    if !answer.done {
        return Err(match body.get("message") {
            Some(_) => ProviderError::new(Category::Incomplete, "the answer ended before it was done"),
            None => malformed("JSON without a message".into()),
        });
    }
    let mut assembler = ChatAssembler::new();
    events.iter().for_each(|event| assembler.push(event));
    assembler.finish().map_err(|error| ProviderError::new(Category::Incomplete, error.to_string()))
}

#[derive(Debug, Default)]
pub(super) struct Decoder {
    objects: JsonObjects,
    answer: Answer,
}

impl StreamDecoder for Decoder {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        let mut chunks = Vec::new();
        let parsed = if self.answer.done { Ok(()) } else { self.objects.push(bytes, &mut chunks) };
        for chunk in chunks {
            self.answer.chunk(&chunk, out)?;
        }
        // What comes after the end is nobody's, in whatever pieces it arrives.
        if self.answer.done { Ok(()) } else { parsed }
    }

    fn finish(&mut self, _out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        if self.answer.done {
            return Ok(());
        }
        let words = if self.objects.pending() {
            "the stream ended in the middle of a line"
        } else {
            "the stream ended before it was done"
        };
        Err(ProviderError::new(Category::Incomplete, words))
    }
}

#[derive(Debug, Default)]
struct Answer {
    model: Option<String>,
    calls: usize,
    done: bool,
}

impl Answer {
    fn chunk(&mut self, chunk: &Value, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        if self.done {
            return Ok(());
        }
        let text = |value: Option<&Value>| {
            value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        if self.model.is_none() {
            self.model = text(chunk.get("model"));
            out.extend(self.model.clone().map(|model| ChatEvent::Started { id: None, model: Some(model) }));
        }
        if let Some(message) = chunk.get("message") {
            out.extend(text(message.get("thinking")).map(ChatEvent::Reasoning));
            out.extend(text(message.get("content")).map(ChatEvent::Text));
            for call in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
                self.call(call, out);
            }
        }
        if let Some(error) = classify::embedded(chunk) {
            return Err(error);
        }
        if chunk.get("done").and_then(Value::as_bool) == Some(true) {
            self.done = true;
            let raw = text(chunk.get("done_reason"));
            let reason = match raw.as_deref() {
                Some("length") => FinishReason::Length,
                // Ollama says `stop` for answers that ask for tools too, and old servers say nothing.
                Some("stop") | None if self.calls > 0 => FinishReason::ToolCalls,
                Some("stop") | None => FinishReason::Stop,
                Some("tool_calls") => FinishReason::ToolCalls,
                _ => FinishReason::Other,
            };
            out.extend(usage(chunk).map(ChatEvent::Usage));
            out.push(ChatEvent::Finished { reason, raw });
        }
        Ok(())
    }

    /// A call comes whole. Its index is no help: servers number every chunk from 0.
    fn call(&mut self, call: &Value, out: &mut Vec<ChatEvent>) {
        let function = call.get("function");
        let text = |value: Option<&Value>| {
            value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let arguments = match function.and_then(|function| function.get("arguments")) {
            Some(Value::String(text)) => text.clone(),
            None | Some(Value::Null) => "{}".to_owned(),
            Some(value) => value.to_string(),
        };
        let name = text(function.and_then(|function| function.get("name")));
        if name.is_none() && function.is_none() {
            return;
        }
        let index = self.calls;
        self.calls += 1;
        out.push(ChatEvent::ToolCall { index, id: text(call.get("id")), name, arguments });
    }
}

/// Token counts. A prompt that was in the cache is counted too, so nothing tells what was read from there.
fn usage(chunk: &Value) -> Option<Usage> {
    let count = |name: &str| chunk.get(name).and_then(Value::as_u64);
    let usage = Usage {
        input_tokens: count("prompt_eval_count"),
        output_tokens: count("eval_count"),
        ..Usage::default()
    };
    (usage != Usage::default()).then_some(usage)
}
