//! Streamed answers.

use agentprovision_core::model::{ChatEvent, ServiceTier, Usage};
use serde_json::Value;

use super::again::Again;
use super::usage::{merge, of_answer, tier};
use super::{classify, decode, usual};
use crate::wire::ProviderError;
use crate::wire::streamed::Events;

/// How often the frame of an answer's texts may change until it is no longer looked for.
const FRAMES: u32 = 16;

/// The chunks of one answer.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    id: Option<String>,
    model: Option<String>,
    calls: Calls,
    usage: Option<Usage>,
    tier: Option<ServiceTier>,
    again: Option<Again>,
    /// What surrounded the last text, and how often that was something else.
    frame: Option<usual::Frame>,
    frames: u32,
    finished: bool,
}

impl Events for Chunks {
    fn usual(&mut self, data: &str, out: &mut Vec<ChatEvent>) -> bool {
        // Who answers is learned first; what a provider wants to see again is kept as it came.
        if self.id.is_none() || self.model.is_none() || self.again.is_some() {
            return false;
        }
        if let Some(event) = self.frame.as_ref().and_then(|frame| frame.event(data)) {
            out.push(event);
            return true;
        }
        let Some(usual) = usual::chunk(data) else { return false };
        self.tier = usual.tier.and_then(ServiceTier::from_wire).or(self.tier);
        // A server that changes its frame all the time has none.
        if self.frames < FRAMES
            && let Some(frame) = usual::Frame::of(data, &usual.said)
        {
            self.frame = Some(frame);
            self.frames += 1;
        }
        usual.said.events(out);
        true
    }

    fn data(&mut self, chunk: &Value, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        self.started(chunk, out);
        let choices = chunk.get("choices").and_then(Value::as_array).into_iter().flatten();
        // Only the first choice is used; a choice without an index is the first.
        let choice =
            choices.into_iter().find(|choice| choice.get("index").and_then(Value::as_u64).unwrap_or(0) == 0);
        if let Some(delta) = choice.and_then(|choice| choice.get("delta")) {
            events_of(delta, &mut self.calls, out);
            if let Some(again) = &mut self.again {
                again.see(delta);
            }
        }
        // Not every chunk names the tier, and the one with the counts may not.
        self.tier = tier(chunk).or(self.tier);
        if let Some(counts) = of_answer(chunk) {
            let counts =
                merge(self.usage, Usage { service_tier: counts.service_tier.or(self.tier), ..counts });
            self.usage = Some(counts);
            out.push(ChatEvent::Usage(counts));
        }
        if let Some(error) = classify::embedded(chunk).or_else(|| choice.and_then(classify::embedded)) {
            return Err(error);
        }
        let raw = choice.and_then(|choice| choice.get("finish_reason")).and_then(Value::as_str);
        if let Some(raw) = raw.filter(|raw| !raw.is_empty() && !self.finished) {
            let finished = decode::finished(Some(raw))?;
            let again = self.again.as_mut().and_then(Again::continuation);
            out.extend(again.map(ChatEvent::Continuation));
            out.push(finished);
            self.finished = true;
        }
        Ok(())
    }

    fn document(&mut self, body: &Value, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        out.extend(decode::whole(body, self.again.take())?);
        self.finished = true;
        Ok(())
    }

    fn error(&self, data: &Value) -> ProviderError {
        classify::error_value(data)
    }

    fn finished(&self) -> bool {
        self.finished
    }
}

impl Chunks {
    pub(super) fn new(again: Option<Again>) -> Self {
        Self { again, ..Self::default() }
    }

    fn started(&mut self, chunk: &Value, out: &mut Vec<ChatEvent>) {
        let mut learned = false;
        for (slot, name) in [(&mut self.id, "id"), (&mut self.model, "model")] {
            if slot.is_none() {
                *slot = chunk
                    .get(name)
                    .and_then(Value::as_str)
                    .filter(|text| !text.is_empty())
                    .map(str::to_owned);
                learned |= slot.is_some();
            }
        }
        if learned {
            out.push(ChatEvent::Started { id: self.id.clone(), model: self.model.clone() });
        }
    }
}

/// The content events of a message or of a delta, which have the same fields.
pub(super) fn events_of(delta: &Value, calls: &mut Calls, out: &mut Vec<ChatEvent>) {
    // Some servers send the same reasoning under both names.
    let reasoning = ["reasoning_content", "reasoning"]
        .into_iter()
        .filter_map(|name| delta.get(name).and_then(Value::as_str))
        .find(|text| !text.is_empty());
    push_text(reasoning, ChatEvent::Reasoning, out);
    match delta.get("content") {
        Some(Value::String(text)) => push_text(Some(text), ChatEvent::Text, out),
        Some(Value::Array(parts)) => parts.iter().for_each(|part| content_part(part, out)),
        _ => {}
    }
    push_text(delta.get("refusal").and_then(Value::as_str), ChatEvent::Refusal, out);
    for call in delta.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
        out.extend(calls.piece(call));
    }
}

fn push_text(text: Option<&str>, event: fn(String) -> ChatEvent, out: &mut Vec<ChatEvent>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        out.push(event(text.to_owned()));
    }
}

/// A part of a content list: text, a refusal, or thinking, whose text may be a list of parts again.
fn content_part(part: &Value, out: &mut Vec<ChatEvent>) {
    let text = |name| part.get(name).and_then(Value::as_str);
    match (text("type"), part.get("thinking")) {
        (_, Some(Value::Array(parts))) => {
            for part in parts {
                push_text(part.get("text").and_then(Value::as_str), ChatEvent::Reasoning, out);
            }
        }
        (_, Some(Value::String(thinking))) => push_text(Some(thinking), ChatEvent::Reasoning, out),
        (Some("refusal"), _) => push_text(text("refusal"), ChatEvent::Refusal, out),
        (Some("text" | "output_text") | None, _) => push_text(text("text"), ChatEvent::Text, out),
        _ => {}
    }
}

/// The tool calls of one answer, numbered in the order they begin. The index on the wire is only a hint: servers leave
/// it out, begin at 1, or use one index for several calls.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<Call>);

#[derive(Debug)]
struct Call {
    wire_index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

impl Calls {
    /// The event of one element of `tool_calls`.
    fn piece(&mut self, piece: &Value) -> Option<ChatEvent> {
        let wire_index = piece.get("index").and_then(Value::as_u64);
        let id = piece.get("id").and_then(Value::as_str).unwrap_or_default();
        let function = piece.get("function");
        let name = function.and_then(|f| f.get("name")).and_then(Value::as_str).unwrap_or_default();
        let arguments = match function.and_then(|f| f.get("arguments")) {
            Some(Value::String(text)) => text.clone(),
            // Some servers send the arguments as an object instead of as its text.
            Some(object @ Value::Object(_)) => object.to_string(),
            _ => String::new(),
        };
        let index = match self.find(wire_index, id, name) {
            Some(index) => index,
            // Nothing that could be called, and nothing it could belong to.
            None if id.is_empty() && name.is_empty() && arguments.is_empty() => return None,
            None => {
                let call =
                    Call { wire_index, id: String::new(), name: String::new(), arguments: String::new() };
                self.0.push(call);
                self.0.len() - 1
            }
        };
        let call = self.0.get_mut(index)?;
        let new_id = (call.id.is_empty() && !id.is_empty()).then(|| id.to_owned());
        // The name comes once; a server that repeats it with every piece means the same call.
        let new_name = (call.name.is_empty() && !name.is_empty()).then(|| name.to_owned());
        call.id.push_str(new_id.as_deref().unwrap_or_default());
        call.name.push_str(new_name.as_deref().unwrap_or_default());
        call.arguments.push_str(&arguments);
        Some(ChatEvent::ToolCall { index, id: new_id, name: new_name, arguments })
    }

    /// The call a piece goes on with; `None` when it begins a new one.
    fn find(&self, wire_index: Option<u64>, id: &str, name: &str) -> Option<usize> {
        let last = |matches: &dyn Fn(&Call) -> bool| self.0.iter().rposition(matches);
        if !id.is_empty()
            && let Some(known) =
                last(&|call| call.id == id && (wire_index.is_none() || call.wire_index == wire_index))
        {
            return Some(known);
        }
        let index = match wire_index {
            Some(_) => last(&|call| call.wire_index == wire_index)?,
            // Without an index a name begins a call and anything else goes on with the last one.
            None if !name.is_empty() => return None,
            None => self.0.len().checked_sub(1)?,
        };
        if name.is_empty() {
            return Some(index);
        }
        let call = self.0.get(index)?;
        let another_id = !id.is_empty() && !call.id.is_empty() && id != call.id;
        let again = id.is_empty() && !call.name.is_empty() && whole(&call.arguments);
        (!another_id && !again).then_some(index)
    }
}

/// Whether an argument text is one whole JSON object, after which a name can only begin another call.
fn whole(arguments: &str) -> bool {
    arguments.trim_end().ends_with('}') && serde_json::from_str::<serde::de::IgnoredAny>(arguments).is_ok()
}
