//! The content blocks of one answer as they come, and what becomes of them: events, and the continuation.

use agentprovision_core::model::{ChatEvent, Continuation, FinishReason};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::ISSUER;

/// One answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    blocks: Vec<Block>,
    calls: usize,
    finished: bool,
}

#[derive(Debug)]
struct Block {
    /// Its index on the wire; none for a block of a whole answer.
    index: Option<u64>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Text(String),
    /// Text with its signature, or encrypted in pieces of base64.
    Reasoning {
        text: String,
        signature: String,
        redacted: Vec<String>,
    },
    /// A call; `place` is its number in the answer, and none for a tool of the provider itself.
    Tool {
        place: Option<usize>,
        start: Value,
        input: String,
    },
    /// Something else, whole, in the provider's form.
    Other(Value),
    /// Something else in pieces that this version cannot put together.
    Unknown,
}

impl Answer {
    /// Whether the reason why it ended is known.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// A block of a whole answer.
    pub(super) fn whole_block(&mut self, block: &Value, out: &mut Vec<ChatEvent>) {
        if let Some(text) = block.get("text").and_then(Value::as_str) {
            self.text(None, text, out);
        } else if let Some(tool) = block.get("toolUse") {
            self.tool(None, tool, out);
            let input = tool.get("input").filter(|input| input.as_object().is_none_or(|map| !map.is_empty()));
            if let Some(input) = input.filter(|input| !input.is_null()) {
                self.input(None, &input.to_string(), out);
            }
        } else if let Some(reasoning) = block.get("reasoningContent") {
            let part = reasoning.get("reasoningText").unwrap_or(reasoning);
            self.add(None, fresh_reasoning());
            self.reasoning(None, part, out);
        } else if let Some(parts) = block.pointer("/citationsContent/content").and_then(Value::as_array) {
            // Text with its sources, which in a stream come beside it.
            let texts = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str));
            self.text(None, &texts.collect::<String>(), out);
        } else if block.is_object() {
            self.add(None, Content::Other(block.clone()));
        }
    }

    /// A block of a stream begins. Only tools say so.
    pub(super) fn begin(&mut self, index: u64, start: &Value, out: &mut Vec<ChatEvent>) {
        match start.get("toolUse") {
            Some(tool) => self.tool(Some(index), tool, out),
            None if start.as_object().is_some_and(|fields| !fields.is_empty()) => {
                self.add(Some(index), Content::Unknown);
            }
            None => {}
        }
    }

    /// More of a block of a stream.
    pub(super) fn delta(&mut self, index: u64, delta: &Value, out: &mut Vec<ChatEvent>) {
        let index = Some(index);
        if let Some(text) = delta.get("text").and_then(Value::as_str) {
            self.text(index, text, out);
        } else if let Some(tool) = delta.get("toolUse") {
            self.input(index, tool.get("input").and_then(Value::as_str).unwrap_or_default(), out);
        } else if let Some(reasoning) = delta.get("reasoningContent") {
            self.reasoning(index, reasoning, out);
        } else if delta.get("citation").is_none() {
            self.add(index, Content::Unknown);
        }
    }

    fn add(&mut self, index: Option<u64>, content: Content) {
        self.blocks.push(Block { index, content });
    }

    /// The block that a piece belongs to; a block of a whole answer gets its pieces one after the other.
    fn last(&mut self, index: Option<u64>) -> Option<&mut Content> {
        let block = match index {
            None => self.blocks.last_mut(),
            Some(_) => self.blocks.iter_mut().rev().find(|block| block.index == index),
        };
        block.map(|block| &mut block.content)
    }

    fn text(&mut self, index: Option<u64>, text: &str, out: &mut Vec<ChatEvent>) {
        push(Some(text), ChatEvent::Text, out);
        match self.last(index) {
            Some(Content::Text(known)) if index.is_some() => known.push_str(text),
            _ => self.add(index, Content::Text(text.to_owned())),
        }
    }

    fn reasoning(&mut self, index: Option<u64>, part: &Value, out: &mut Vec<ChatEvent>) {
        let field = |name| part.get(name).and_then(Value::as_str);
        push(field("text"), ChatEvent::Reasoning, out);
        if !matches!(self.last(index), Some(Content::Reasoning { .. })) {
            self.add(index, fresh_reasoning());
        }
        if let Some(Content::Reasoning { text, signature, redacted }) = self.last(index) {
            text.push_str(field("text").unwrap_or_default());
            signature.push_str(field("signature").unwrap_or_default());
            redacted.extend(field("redactedContent").map(str::to_owned));
        }
    }

    fn tool(&mut self, index: Option<u64>, start: &Value, out: &mut Vec<ChatEvent>) {
        let text =
            |name| start.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        // A tool of the provider itself is not the caller's to run.
        let place = (text("type").as_deref() != Some("server_tool_use")).then_some(self.calls);
        if let Some(index) = place {
            let (id, name) = (text("toolUseId"), text("name"));
            out.push(ChatEvent::ToolCall { index, id, name, arguments: String::new() });
            self.calls += 1;
        }
        self.add(index, Content::Tool { place, start: start.clone(), input: String::new() });
    }

    fn input(&mut self, index: Option<u64>, piece: &str, out: &mut Vec<ChatEvent>) {
        if let Some(Content::Tool { place, input, .. }) = self.last(index) {
            input.push_str(piece);
            if let Some(index) = place.filter(|_| !piece.is_empty()) {
                let arguments = piece.to_owned();
                out.push(ChatEvent::ToolCall { index, id: None, name: None, arguments });
            }
        }
    }

    /// The answer is over; the first reason holds.
    pub(super) fn finish(&mut self, raw: Option<&str>, out: &mut Vec<ChatEvent>) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        out.extend(self.continuation().map(ChatEvent::Continuation));
        let reason = match raw {
            Some("end_turn" | "stop_sequence") => FinishReason::Stop,
            Some("max_tokens" | "model_context_window_exceeded") => FinishReason::Length,
            Some("tool_use") => FinishReason::ToolCalls,
            Some("guardrail_intervened" | "content_filtered" | "refusal") => FinishReason::ContentFilter,
            // `malformed_model_output` and `malformed_tool_use` among them: what was generated is billed all the same.
            _ => FinishReason::Other,
        };
        out.push(ChatEvent::Finished { reason, raw: raw.map(str::to_owned) });
    }

    /// What the provider wants to see again: nothing for an answer of text and tool calls only. Text and calls are left
    /// out where they follow everything else, since the message has them.
    fn continuation(&self) -> Option<Continuation> {
        let sent: Vec<(bool, Value)> = self.blocks.iter().filter_map(|block| item(&block.content)).collect();
        let last = sent.iter().rposition(|(special, _)| *special)?;
        let mixed = sent.iter().take(last).any(|(special, _)| !special)
            || sent
                .iter()
                .skip(last + 1)
                .skip_while(|(_, item)| is_text(item))
                .any(|(_, item)| is_text(item));
        let kept = sent.into_iter().enumerate().filter(|(at, _)| mixed || *at <= last);
        let items = kept.map(|(_, (_, item))| item).collect();
        Some(Continuation { issuer: ISSUER.to_owned(), items })
    }
}

fn fresh_reasoning() -> Content {
    Content::Reasoning { text: String::new(), signature: String::new(), redacted: Vec::new() }
}

fn is_text(item: &Value) -> bool {
    item.get("text").is_some()
}

/// A block in the form it is sent back in, and whether it is neither text nor a call; `None` for what is refused:
/// empty text, and reasoning that is not signed.
fn item(content: &Content) -> Option<(bool, Value)> {
    match content {
        Content::Text(text) if text.trim().is_empty() => None,
        Content::Text(text) => Some((false, json!({"text": text}))),
        Content::Reasoning { redacted, .. } if !redacted.is_empty() => {
            let data = match redacted.as_slice() {
                [data] => data.clone(),
                pieces => {
                    let pieces = pieces.iter().map(|piece| STANDARD.decode(piece).ok());
                    STANDARD.encode(pieces.collect::<Option<Vec<_>>>()?.concat())
                }
            };
            Some((true, json!({"reasoningContent": {"redactedContent": data}})))
        }
        Content::Reasoning { signature, .. } if signature.is_empty() => None,
        Content::Reasoning { text, signature, .. } => {
            let text = json!({"text": text, "signature": signature});
            Some((true, json!({"reasoningContent": {"reasoningText": text}})))
        }
        Content::Tool { place, start, input } => {
            let mut tool = start.as_object().cloned().unwrap_or_default();
            // Half an input cannot be sent back; the call's result says what happened to it.
            let input: Value = serde_json::from_str(input).unwrap_or_else(|_| json!({}));
            tool.insert("input".into(), input);
            Some((place.is_none(), json!({"toolUse": tool})))
        }
        Content::Other(block) => Some((true, block.clone())),
        Content::Unknown => None,
    }
}

fn push(text: Option<&str>, event: fn(String) -> ChatEvent, out: &mut Vec<ChatEvent>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        out.push(event(text.to_owned()));
    }
}
