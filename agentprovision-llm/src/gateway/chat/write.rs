//! Answers.

use agentprovision_core::Error;
use agentprovision_core::model::{ChatEvent, ChatResponse, Continuation, FinishReason, Usage};
use serde_json::{Map, Value, json};

use super::Form;
use crate::gateway::answer::{Calls, Head};
use crate::gateway::failure;
use crate::gateway::opaque;
use crate::gateway::stream::{Encoder, Sse};

/// A whole answer.
pub(in crate::gateway) fn whole(head: &Head, answer: ChatResponse) -> Value {
    let calls: Vec<Value> = answer
        .tool_calls
        .iter()
        .filter(|call| call.complete)
        .map(|call| {
            let function = json!({"name": call.name, "arguments": call.arguments});
            json!({"id": call.id, "type": "function", "function": function})
        })
        .collect();
    let cut = calls.len() < answer.tool_calls.len();
    let mut message = Map::new();
    message.insert("role".into(), json!("assistant"));
    let silent = answer.text.is_empty() && (!calls.is_empty() || answer.refusal.is_some());
    message.insert("content".into(), if silent { Value::Null } else { json!(answer.text) });
    message.insert("refusal".into(), json!(answer.refusal));
    message.insert("annotations".into(), json!([]));
    if !calls.is_empty() {
        message.insert("tool_calls".into(), Value::Array(calls));
    }
    if !answer.reasoning.is_empty() {
        message.insert("reasoning_content".into(), json!(answer.reasoning));
    }
    message.extend(answer.continuation.as_ref().and_then(details));
    let choice = json!({
        "index": 0,
        "message": message,
        "logprobs": null,
        "finish_reason": reason(answer.finish, cut),
    });
    let mut out = json!({
        "id": head.id("chatcmpl-"),
        "object": "chat.completion",
        "created": head.created,
        "model": answer.model.as_deref().unwrap_or(&head.model),
        "choices": [choice],
    });
    if let (Some(out), Some(counts)) = (out.as_object_mut(), &answer.usage) {
        out.insert("usage".into(), usage(counts));
    }
    out
}

/// Calls that were cut off must not look as if they were to be made.
fn reason(reason: FinishReason, cut: bool) -> &'static str {
    match reason {
        FinishReason::ToolCalls if cut => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::Length => "length",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Stop | FinishReason::Other => "stop",
        // A reason of a later version: the answer is over.
        _ => "stop",
    }
}

fn details(continuation: &Continuation) -> Option<(String, Value)> {
    let data = opaque::seal(continuation)?;
    Some(("reasoning_details".into(), json!([{"type": "reasoning.encrypted", "data": data}])))
}

/// The counts; one that is not known is zero, since the format has no word for that.
fn usage(usage: &Usage) -> Value {
    let (input, output) = (usage.input_tokens.unwrap_or(0), usage.output_tokens.unwrap_or(0));
    json!({
        "prompt_tokens": input,
        "completion_tokens": output,
        "total_tokens": input.saturating_add(output),
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens.unwrap_or(0)},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens.unwrap_or(0)},
    })
}

/// A streamed answer.
pub(in crate::gateway) struct Chunks {
    head: Head,
    form: Form,
    begun: bool,
    calls: Calls,
    usage: Option<Usage>,
    continuation: Option<Continuation>,
}

impl Chunks {
    pub(in crate::gateway) fn new(head: Head, form: Form) -> Self {
        Self { head, form, begun: false, calls: Calls::default(), usage: None, continuation: None }
    }

    fn chunk(&self, choices: Value, out: &mut Sse) {
        let mut chunk = json!({
            "id": self.head.id("chatcmpl-"),
            "object": "chat.completion.chunk",
            "created": self.head.created,
            "model": self.head.model,
            "choices": choices,
        });
        if let (true, Some(chunk)) = (self.form.include_usage, chunk.as_object_mut()) {
            chunk.insert("usage".into(), Value::Null);
        }
        out.data(&chunk);
    }

    fn delta(&mut self, mut delta: Value, finish: Option<&str>, out: &mut Sse) {
        if !std::mem::replace(&mut self.begun, true)
            && let Some(delta) = delta.as_object_mut()
        {
            delta.insert("role".into(), json!("assistant"));
        }
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
        self.chunk(json!([choice]), out);
    }
}

impl Encoder for Chunks {
    fn event(&mut self, event: ChatEvent, out: &mut Sse) {
        match event {
            ChatEvent::Started { model, .. } => {
                if let (false, Some(model)) = (self.begun, model) {
                    self.head.model = model;
                }
            }
            ChatEvent::Text(text) => self.delta(json!({ "content": text }), None, out),
            ChatEvent::Reasoning(text) => self.delta(json!({ "reasoning_content": text }), None, out),
            ChatEvent::Refusal(text) => self.delta(json!({ "refusal": text }), None, out),
            ChatEvent::ToolCall { index, id, name, arguments } => {
                let first = self.calls.push(index, id.as_deref(), name.as_deref(), &arguments);
                let mut function = json!({ "arguments": arguments });
                if let (Some(name), Some(function)) = (name, function.as_object_mut()) {
                    function.insert("name".into(), json!(name));
                }
                let mut call = json!({"index": index, "function": function});
                if let (Some(call), true) = (call.as_object_mut(), first || id.is_some()) {
                    call.insert("id".into(), json!(id.unwrap_or_default()));
                    call.insert("type".into(), json!("function"));
                }
                self.delta(json!({ "tool_calls": [call] }), None, out);
            }
            ChatEvent::Continuation(continuation) => self.continuation = Some(continuation),
            ChatEvent::Usage(usage) => self.usage = Some(usage),
            ChatEvent::Finished { reason, .. } => {
                let details = self.continuation.take().as_ref().and_then(details);
                let delta: Map<String, Value> = details.into_iter().collect();
                let word = self::reason(reason, self.calls.any_cut());
                self.delta(Value::Object(delta), Some(word), out);
            }
            // Of a later version.
            _ => {}
        }
    }

    fn end(&mut self, out: &mut Sse) {
        if let (true, Some(counts)) = (self.form.include_usage, &self.usage) {
            out.data(&json!({
                "id": self.head.id("chatcmpl-"),
                "object": "chat.completion.chunk",
                "created": self.head.created,
                "model": self.head.model,
                "choices": [],
                "usage": usage(counts),
            }));
        }
        out.text("[DONE]");
    }

    fn fail(&mut self, error: &Error, out: &mut Sse) {
        // Without `[DONE]`: the answer is not whole.
        out.data(&json!({ "error": failure::open_ai_object(error) }));
    }
}
