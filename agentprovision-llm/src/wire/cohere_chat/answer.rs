//! Answers. A whole answer is turned into the events a stream would have given, so that both ways agree.

use agentprovision_core::model::{ChatAssembler, ChatEvent, ChatResponse, Continuation, FinishReason, Usage};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::{ISSUER, classify};
use crate::wire::streamed::Events;
use crate::wire::{Category, ProviderError};

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
    let mut events = Vec::new();
    Answer::default().document(&body, &mut events).map_err(|error| match error.category {
        Category::Malformed => malformed(error.message),
        _ => error,
    })?;
    let mut assembler = ChatAssembler::new();
    events.iter().for_each(|event| assembler.push(event));
    assembler.finish().map_err(|error| ProviderError::new(Category::Incomplete, error.to_string()))
}

#[derive(Debug, Default)]
pub(super) struct Answer {
    id: Option<String>,
    calls: Vec<Call>,
    thinking: String,
    plan: String,
    finished: bool,
}

/// A tool call as it comes.
#[derive(Debug)]
struct Call {
    wire_index: Option<u64>,
    /// Arguments held back, because they may turn out to be `null`, Cohere's word for none.
    held: String,
    told: bool,
}

impl Events for Answer {
    fn data(&mut self, data: &Value, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        let kind = text(data.get("type")).unwrap_or_default();
        let message = data.pointer("/delta/message");
        let field = |name: &str| message.and_then(|message| message.get(name));
        if self.finished {
            return Ok(());
        }
        match kind {
            "message-start" => self.started(data, out),
            "content-start" | "content-delta" => {
                if let Some(content) = field("content") {
                    self.content(content, out);
                }
            }
            "tool-plan-delta" => self.plan.push_str(text(field("tool_plan")).unwrap_or_default()),
            "tool-call-start" | "tool-call-delta" => {
                let index = data.get("index").and_then(Value::as_u64);
                let call = field("tool_calls")
                    .map(|calls| calls.as_array().and_then(|calls| calls.first()).unwrap_or(calls));
                if let Some(call) = call {
                    self.call(kind == "tool-call-start", index, call, out);
                }
            }
            "message-end" => {
                self.started(data, out);
                let delta = data.get("delta").unwrap_or(&Value::Null);
                self.end(delta, out)?;
            }
            "error" => return Err(classify::error_value(data)),
            "" => {
                if let Some(error) = classify::embedded(data) {
                    return Err(error);
                }
            }
            // Citations, the ends of parts, and what is new.
            _ => {}
        }
        Ok(())
    }

    fn document(&mut self, body: &Value, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        if let Some(error) = classify::embedded(body) {
            return Err(error);
        }
        let Some(message) = body.get("message").filter(|message| message.is_object()) else {
            return Err(ProviderError::new(Category::Malformed, "JSON without a message"));
        };
        self.started(body, out);
        match message.get("content") {
            Some(Value::Array(parts)) => parts.iter().for_each(|part| self.content(part, out)),
            Some(content) => self.content(content, out),
            None => {}
        }
        self.plan.push_str(text(message.get("tool_plan")).unwrap_or_default());
        for call in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            self.call(true, None, call, out);
        }
        self.end(body, out)
    }

    fn error(&self, data: &Value) -> ProviderError {
        classify::error_value(data)
    }

    fn finished(&self) -> bool {
        self.finished
    }
}

impl Answer {
    fn started(&mut self, data: &Value, out: &mut Vec<ChatEvent>) {
        if let (None, Some(id)) = (&self.id, text(data.get("id"))) {
            self.id = Some(id.to_owned());
            out.push(ChatEvent::Started { id: self.id.clone(), model: None });
        }
    }

    /// A part of the content, or a piece of one: text or thinking.
    fn content(&mut self, content: &Value, out: &mut Vec<ChatEvent>) {
        if let Some(thinking) = text(content.get("thinking")) {
            self.thinking.push_str(thinking);
            out.push(ChatEvent::Reasoning(thinking.to_owned()));
        }
        let words = text(content.get("text")).or_else(|| text(Some(content)));
        out.extend(words.map(|words| ChatEvent::Text(words.to_owned())));
    }

    fn call(&mut self, begins: bool, wire_index: Option<u64>, call: &Value, out: &mut Vec<ChatEvent>) {
        let function = call.get("function");
        let field = |name| function.and_then(|function| function.get(name));
        let arguments = match field("arguments") {
            Some(Value::String(text)) => text.clone(),
            Some(object @ Value::Object(_)) => object.to_string(),
            _ => String::new(),
        };
        let known = self.calls.iter().rposition(|call| call.wire_index == wire_index);
        let index = match known {
            Some(index) if !begins => index,
            _ => {
                self.calls.push(Call { wire_index, held: String::new(), told: false });
                let index = self.calls.len() - 1;
                let owned = |value: Option<&Value>| text(value).map(str::to_owned);
                let (id, name) = (owned(call.get("id")), owned(field("name")));
                out.push(ChatEvent::ToolCall { index, id, name, arguments: String::new() });
                index
            }
        };
        let Some(call) = self.calls.get_mut(index) else { return };
        call.held.push_str(&arguments);
        if call.told || !"null".starts_with(call.held.trim()) {
            call.told = true;
            tell(index, std::mem::take(&mut call.held), out);
        }
    }

    /// The end, from the fields `finish_reason`, `usage` and `error`.
    fn end(&mut self, end: &Value, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        for (index, call) in self.calls.iter_mut().enumerate() {
            let held = std::mem::take(&mut call.held);
            tell(index, if held.trim() == "null" { "{}".to_owned() } else { held }, out);
        }
        let mut items = Vec::new();
        if !self.thinking.is_empty() {
            items.push(json!({"type": "thinking", "thinking": self.thinking}));
        }
        if !self.plan.is_empty() {
            items.push(json!({"tool_plan": self.plan}));
        }
        if !items.is_empty() {
            out.push(ChatEvent::Continuation(Continuation { issuer: ISSUER.to_owned(), items }));
        }
        out.extend(end.get("usage").and_then(usage).map(ChatEvent::Usage));
        if let Some(error) = text(end.get("error")) {
            return Err(classify::error_value(&json!({"message": error})));
        }
        let raw = text(end.get("finish_reason"));
        let failed =
            |category, raw: &str| ProviderError::new(category, format!("the answer ended with `{raw}`"));
        let reason = match raw {
            Some("COMPLETE" | "STOP_SEQUENCE") => FinishReason::Stop,
            Some("MAX_TOKENS") => FinishReason::Length,
            Some("TOOL_CALL") => FinishReason::ToolCalls,
            Some("ERROR_TOXIC") => FinishReason::ContentFilter,
            Some(raw @ "ERROR") => return Err(failed(Category::ServerError, raw)),
            Some(raw @ "TIMEOUT") => return Err(failed(Category::Timeout, raw)),
            _ => FinishReason::Other,
        };
        self.finished = true;
        out.push(ChatEvent::Finished { reason, raw: raw.map(str::to_owned) });
        Ok(())
    }
}

fn tell(index: usize, arguments: String, out: &mut Vec<ChatEvent>) {
    if !arguments.is_empty() {
        out.push(ChatEvent::ToolCall { index, id: None, name: None, arguments });
    }
}

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Token counts: what the model read and wrote, and what is billed, which leaves out Cohere's own part of the prompt.
fn usage(wire: &Value) -> Option<Usage> {
    let count = |path: &str| {
        let value = wire.pointer(path)?;
        // The counts are doubles in Cohere's types.
        value.as_u64().or_else(|| {
            value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..9e15).contains(n)).map(|n| n as u64)
        })
    };
    let usage = Usage {
        input_tokens: count("/tokens/input_tokens"),
        cache_read_tokens: count("/cached_tokens"),
        output_tokens: count("/tokens/output_tokens"),
        billed_input_tokens: count("/billed_units/input_tokens"),
        billed_output_tokens: count("/billed_units/output_tokens"),
        ..Usage::default()
    };
    (usage != Usage::default()).then_some(usage)
}
