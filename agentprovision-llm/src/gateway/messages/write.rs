//! Answers.

use agentprovision_core::Error;
use agentprovision_core::model::{ChatEvent, ChatResponse, Continuation, FinishReason, Usage};
use serde_json::{Map, Value, json};

use crate::gateway::answer::{Calls, Head};
use crate::gateway::failure::{self, Shape};
use crate::gateway::opaque;
use crate::gateway::stream::{Encoder, Sse};

/// A whole answer.
pub(in crate::gateway) fn whole(head: &Head, answer: ChatResponse) -> Value {
    let mut content = Vec::new();
    if !answer.reasoning.is_empty() {
        content.push(json!({"type": "thinking", "thinking": answer.reasoning, "signature": ""}));
    }
    content.extend(answer.continuation.as_ref().and_then(redacted));
    for text in [Some(answer.text), answer.refusal].into_iter().flatten().filter(|text| !text.is_empty()) {
        content.push(json!({"type": "text", "text": text}));
    }
    let mut cut = false;
    for call in &answer.tool_calls {
        match call.json().filter(|input| call.complete && input.is_object()) {
            Some(input) => {
                content.push(json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input}));
            }
            None => cut = true,
        }
    }
    json!({
        "id": head.id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": answer.model.as_deref().unwrap_or(&head.model),
        "content": content,
        "stop_reason": reason(answer.finish, answer.finish_raw.as_deref(), cut),
        "stop_sequence": null,
        "usage": usage(answer.usage.as_ref()),
    })
}

/// Calls that were cut off must not look as if they were to be made.
fn reason(reason: FinishReason, raw: Option<&str>, cut: bool) -> &'static str {
    match (reason, raw) {
        (FinishReason::ToolCalls, _) if cut => "max_tokens",
        (FinishReason::ToolCalls, _) => "tool_use",
        (FinishReason::Length, Some("model_context_window_exceeded")) => "model_context_window_exceeded",
        (FinishReason::Length, _) => "max_tokens",
        (FinishReason::ContentFilter, _) => "refusal",
        (_, Some("stop_sequence")) => "stop_sequence",
        _ => "end_turn",
    }
}

fn redacted(continuation: &Continuation) -> Option<Value> {
    let data = opaque::seal(continuation)?;
    Some(json!({"type": "redacted_thinking", "data": data}))
}

/// The counts: those of the cache stand beside the input here. One that is not known is zero, since the format has no
/// word for that.
fn usage(usage: Option<&Usage>) -> Value {
    let usage = usage.copied().unwrap_or_default();
    let (read, write) = (usage.cache_read_tokens.unwrap_or(0), usage.cache_write_tokens.unwrap_or(0));
    json!({
        "input_tokens": usage.input_tokens.unwrap_or(0).saturating_sub(read).saturating_sub(write),
        "cache_creation_input_tokens": write,
        "cache_read_input_tokens": read,
        "output_tokens": usage.output_tokens.unwrap_or(0),
    })
}

/// A block of text or thinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
}

/// A streamed answer.
///
/// Blocks come one after the other. Only a call whose arguments go on after something else began stays open beside it,
/// which the index of each event allows.
pub(in crate::gateway) struct Blocks {
    head: Head,
    begun: bool,
    /// How many blocks there are so far.
    blocks: usize,
    /// The open block of text or thinking, which is the last one.
    open: Option<Kind>,
    calls: Calls,
    /// The open calls: place among the calls, and block.
    open_calls: Vec<(usize, usize)>,
    usage: Option<Usage>,
    finish: Option<(FinishReason, Option<String>)>,
}

impl Blocks {
    pub(in crate::gateway) fn new(head: Head) -> Self {
        Self {
            head,
            begun: false,
            blocks: 0,
            open: None,
            calls: Calls::default(),
            open_calls: Vec::new(),
            usage: None,
            finish: None,
        }
    }

    fn begin(&mut self, out: &mut Sse) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let message = json!({
            "id": self.head.id("msg_"),
            "type": "message",
            "role": "assistant",
            "model": self.head.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": usage(self.usage.as_ref()),
        });
        out.event("message_start", &json!({"type": "message_start", "message": message}));
    }

    /// Begins a block, after the end of those that are whole; its index.
    fn start(&mut self, block: &Value, out: &mut Sse) -> usize {
        self.begin(out);
        self.close(false, out);
        let index = self.blocks;
        let start = json!({"type": "content_block_start", "index": index, "content_block": block});
        out.event("content_block_start", &start);
        self.blocks += 1;
        index
    }

    /// Ends the open blocks that are whole, or all of them.
    fn close(&mut self, all: bool, out: &mut Sse) {
        if self.open.take().is_some() {
            stop(self.blocks.saturating_sub(1), out);
        }
        let calls = &self.calls;
        self.open_calls.retain(|(call, block)| {
            let ends = all || calls.is_whole(*call);
            if ends {
                stop(*block, out);
            }
            !ends
        });
    }

    fn piece(&mut self, kind: Kind, text: &str, out: &mut Sse) {
        if self.open != Some(kind) {
            let block = match kind {
                Kind::Thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
                Kind::Text => json!({"type": "text", "text": ""}),
            };
            self.start(&block, out);
            self.open = Some(kind);
        }
        let piece = match kind {
            Kind::Thinking => json!({"type": "thinking_delta", "thinking": text}),
            Kind::Text => json!({"type": "text_delta", "text": text}),
        };
        delta(self.blocks.saturating_sub(1), &piece, out);
    }

    fn call(&mut self, call: usize, first: bool, arguments: &str, out: &mut Sse) {
        if let (true, Some((id, name))) = (first, self.calls.named(call)) {
            let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
            // The new call is not whole yet, whatever it begins with.
            let index = self.start(&block, out);
            self.open_calls.push((call, index));
        }
        let open = self.open_calls.iter().find(|(open, _)| *open == call);
        if let (Some((_, block)), false) = (open, arguments.is_empty()) {
            delta(*block, &json!({"type": "input_json_delta", "partial_json": arguments}), out);
        }
    }
}

fn stop(index: usize, out: &mut Sse) {
    out.event("content_block_stop", &json!({"type": "content_block_stop", "index": index}));
}

fn delta(index: usize, delta: &Value, out: &mut Sse) {
    let delta = json!({"type": "content_block_delta", "index": index, "delta": delta});
    out.event("content_block_delta", &delta);
}

impl Encoder for Blocks {
    fn event(&mut self, event: ChatEvent, out: &mut Sse) {
        match event {
            ChatEvent::Started { model, .. } => {
                if let (false, Some(model)) = (self.begun, model) {
                    self.head.model = model;
                }
            }
            ChatEvent::Text(text) | ChatEvent::Refusal(text) => self.piece(Kind::Text, &text, out),
            ChatEvent::Reasoning(text) => self.piece(Kind::Thinking, &text, out),
            ChatEvent::ToolCall { index, id, name, arguments } => {
                let first = self.calls.push(index, id.as_deref(), name.as_deref(), &arguments);
                self.call(index, first, &arguments, out);
            }
            ChatEvent::Continuation(continuation) => {
                if let Some(block) = redacted(&continuation) {
                    let index = self.start(&block, out);
                    stop(index, out);
                }
            }
            ChatEvent::Usage(usage) => self.usage = Some(usage),
            ChatEvent::Finished { reason, raw } => {
                self.begin(out);
                self.close(true, out);
                self.finish = Some((reason, raw));
            }
            // Of a later version.
            _ => {}
        }
    }

    fn end(&mut self, out: &mut Sse) {
        let (finish, raw) = self.finish.take().unwrap_or((FinishReason::Other, None));
        let word = reason(finish, raw.as_deref(), self.calls.any_cut());
        let mut counts = usage(self.usage.as_ref());
        if let (None, Some(counts)) = (self.usage, counts.as_object_mut()) {
            // What was told at the beginning stays where nothing else is known.
            counts.retain(|name, _| name == "output_tokens");
        }
        let mut delta = Map::new();
        delta.insert("stop_reason".into(), json!(word));
        delta.insert("stop_sequence".into(), Value::Null);
        out.event("message_delta", &json!({"type": "message_delta", "delta": delta, "usage": counts}));
        out.event("message_stop", &json!({"type": "message_stop"}));
    }

    fn fail(&mut self, error: &Error, out: &mut Sse) {
        out.event("error", &failure::body(Shape::Anthropic, error, None));
    }
}
