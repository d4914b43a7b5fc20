//! The content blocks of one answer as they come, and what becomes of them: events, and the continuation.

use agentprovision_core::model::{ChatEvent, Continuation, FinishReason, Usage};
use serde_json::{Map, Value, json};

use super::ISSUER;
use super::usage::Counts;
use crate::wire::{Category, ProviderError};

/// One answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    id: Option<String>,
    started: bool,
    blocks: Vec<Block>,
    calls: usize,
    counts: Counts,
    told: Option<Usage>,
    finished: bool,
}

#[derive(Debug)]
struct Block {
    /// Its index on the wire; none for a block that came with the message.
    index: Option<u64>,
    /// The block in the provider's form, as far as it came.
    value: Map<String, Value>,
    /// The pieces of its input.
    input: String,
    /// Which tool call of the answer it is.
    call: Option<usize>,
    open: bool,
    /// Something came that this version cannot put in its place, so it cannot be sent back.
    damaged: bool,
}

impl Block {
    fn kind(&self) -> &str {
        self.value.get("type").and_then(Value::as_str).unwrap_or_default()
    }

    fn append(&mut self, field: &str, text: &str) {
        match self.value.get_mut(field) {
            Some(Value::String(known)) => known.push_str(text),
            _ => drop(self.value.insert(field.to_owned(), json!(text))),
        }
    }
}

impl Answer {
    /// Whether the reason why it ended is known.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// The message at the beginning, which may come with content.
    pub(super) fn start(&mut self, message: &Value, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        let text = |name| {
            message.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let id = text("id");
        if self.started {
            // Gateways repeat the beginning, or begin again after a failure of their own; what was told cannot be
            // taken back.
            return if id.is_none() || id == self.id {
                Ok(())
            } else {
                Err(ProviderError::new(Category::Incomplete, "another message began before this one ended"))
            };
        }
        self.started = true;
        self.id.clone_from(&id);
        out.push(ChatEvent::Started { id, model: text("model") });
        for block in message.get("content").and_then(Value::as_array).into_iter().flatten() {
            self.begin(None, block, out);
            self.end_last(out);
        }
        self.usage(message.get("usage"), out);
        Ok(())
    }

    /// A block begins; it may bring all its content.
    pub(super) fn begin(&mut self, index: Option<u64>, block: &Value, out: &mut Vec<ChatEvent>) {
        if index.is_some() {
            self.end(index, out);
        }
        let Some(value) = block.as_object().cloned() else { return };
        let text = |name| value.get(name).and_then(Value::as_str).unwrap_or_default();
        let mut call = None;
        match text("type") {
            "text" => push(text("text"), ChatEvent::Text, out),
            "thinking" => push(text("thinking"), ChatEvent::Reasoning, out),
            "tool_use" => {
                call = Some(self.calls);
                let named = |text: &str| (!text.is_empty()).then(|| text.to_owned());
                out.push(ChatEvent::ToolCall {
                    index: self.calls,
                    id: named(text("id")),
                    name: named(text("name")),
                    arguments: String::new(),
                });
                self.calls += 1;
            }
            // What the provider's own tools did is for the provider.
            _ => {}
        }
        self.blocks.push(Block { index, value, input: String::new(), call, open: true, damaged: false });
    }

    /// More of a block.
    pub(super) fn delta(&mut self, index: Option<u64>, delta: &Value, out: &mut Vec<ChatEvent>) {
        let text = |name| delta.get(name).and_then(Value::as_str).unwrap_or_default();
        let kind = text("type");
        if !self.blocks.iter().any(|block| block.index == index && block.open) {
            // Gateways leave the beginning out.
            match kind {
                "text_delta" => self.begin(index, &json!({"type": "text", "text": ""}), out),
                "thinking_delta" => self.begin(index, &json!({"type": "thinking", "thinking": ""}), out),
                _ => {}
            }
        }
        let Some(block) = self.blocks.iter_mut().rev().find(|block| block.index == index) else { return };
        match kind {
            "text_delta" => {
                block.append("text", text("text"));
                push(text("text"), ChatEvent::Text, out);
            }
            "thinking_delta" => {
                block.append("thinking", text("thinking"));
                push(text("thinking"), ChatEvent::Reasoning, out);
            }
            "signature_delta" => block.append("signature", text("signature")),
            "compaction_delta" => block.append("content", text("content")),
            "citations_delta" => {
                let citation = delta.get("citation").cloned().unwrap_or_default();
                match block.value.get_mut("citations") {
                    Some(Value::Array(citations)) => citations.push(citation),
                    _ => drop(block.value.insert("citations".into(), json!([citation]))),
                }
            }
            "input_json_delta" => {
                let piece = text("partial_json");
                block.input.push_str(piece);
                if let Some(index) = block.call.filter(|_| !piece.is_empty()) {
                    let arguments = piece.to_owned();
                    out.push(ChatEvent::ToolCall { index, id: None, name: None, arguments });
                }
            }
            _ => block.damaged = true,
        }
    }

    /// A block ends.
    pub(super) fn end(&mut self, index: Option<u64>, out: &mut Vec<ChatEvent>) {
        if let Some(at) = self.blocks.iter().rposition(|block| block.index == index && block.open) {
            self.end_at(at, out);
        }
    }

    fn end_last(&mut self, out: &mut Vec<ChatEvent>) {
        if let Some(last) = self.blocks.len().checked_sub(1) {
            self.end_at(last, out);
        }
    }

    fn end_at(&mut self, at: usize, out: &mut Vec<ChatEvent>) {
        let Some(block) = self.blocks.get_mut(at) else { return };
        block.open = false;
        if !block.value.contains_key("input") && block.call.is_none() {
            return;
        }
        let given =
            block.value.get("input").filter(|input| input.as_object().is_none_or(|map| !map.is_empty()));
        match (block.input.is_empty(), given) {
            // The whole input came with the beginning.
            (true, Some(given)) if !given.is_null() => {
                if let Some(index) = block.call {
                    let arguments = given.to_string();
                    out.push(ChatEvent::ToolCall { index, id: None, name: None, arguments });
                }
            }
            (true, _) => drop(block.value.insert("input".into(), json!({}))),
            // Half an input cannot be sent back; the call's result says what happened to it.
            (false, _) => {
                let input = serde_json::from_str(&block.input).unwrap_or_else(|_| json!({}));
                block.value.insert("input".into(), input);
            }
        }
    }

    /// Counts, so far.
    pub(super) fn usage(&mut self, wire: Option<&Value>, out: &mut Vec<ChatEvent>) {
        if let Some(wire) = wire {
            self.counts.take(wire);
        }
        if let Some(usage) = self.counts.usage().filter(|usage| self.told != Some(*usage)) {
            self.told = Some(usage);
            out.push(ChatEvent::Usage(usage));
        }
    }

    /// The answer is over; the first reason holds.
    pub(super) fn finish(&mut self, raw: Option<&str>, out: &mut Vec<ChatEvent>) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        for at in 0..self.blocks.len() {
            if self.blocks.get(at).is_some_and(|block| block.open) {
                self.end_at(at, out);
            }
        }
        out.extend(self.continuation().map(ChatEvent::Continuation));
        let reason = match raw {
            Some("end_turn" | "stop_sequence") => FinishReason::Stop,
            Some("max_tokens" | "model_context_window_exceeded") => FinishReason::Length,
            Some("tool_use") => FinishReason::ToolCalls,
            Some("refusal") => FinishReason::ContentFilter,
            // `pause_turn` and `compaction` among them: the answer goes on when it is sent back.
            _ => FinishReason::Other,
        };
        out.push(ChatEvent::Finished { reason, raw: raw.map(str::to_owned) });
    }

    /// What the provider wants to see again: nothing for an answer of text and tool calls only. Text and calls are left
    /// out where they follow everything else, since the message has them.
    fn continuation(&self) -> Option<Continuation> {
        let sent: Vec<&Block> = self.blocks.iter().filter(|block| can_return(block)).collect();
        let last = sent.iter().rposition(|block| is_special(block))?;
        let tail = || sent.iter().skip(last + 1);
        let is_text = |block: &&Block| block.kind() == "text";
        let mixed = sent.iter().take(last).any(|block| !is_special(block))
            || tail().skip_while(|block| is_text(block)).any(is_text);
        // The message has no place for sources, and for which of the provider's tools asked for a call.
        let more = |block: &&Block| {
            let caller = block.value.get("caller").and_then(|caller| caller.get("type")?.as_str());
            block.value.contains_key("citations") || caller.is_some_and(|caller| caller != "direct")
        };
        let whole = mixed || tail().any(more);
        let kept = sent.iter().enumerate().filter(|(at, _)| whole || *at <= last);
        let items = kept.map(|(_, block)| Value::Object(block.value.clone())).collect();
        Some(Continuation { issuer: ISSUER.to_owned(), items })
    }
}

/// Whether a block is neither text nor a tool call.
fn is_special(block: &Block) -> bool {
    !matches!(block.kind(), "text" | "tool_use")
}

/// Whether the provider takes a block back: it refuses empty text and thinking that is not signed, because it was cut off.
fn can_return(block: &Block) -> bool {
    let empty = |field| block.value.get(field).and_then(Value::as_str).unwrap_or_default().trim().is_empty();
    match block.kind() {
        "text" => !empty("text"),
        "thinking" => !empty("signature"),
        _ => !block.damaged,
    }
}

fn push(text: &str, event: fn(String) -> ChatEvent, out: &mut Vec<ChatEvent>) {
    if !text.is_empty() {
        out.push(event(text.to_owned()));
    }
}
