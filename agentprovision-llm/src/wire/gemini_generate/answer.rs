//! The events of an answer. A whole answer is one chunk of a stream, so both are read here.

use agentprovision_core::model::{ChatEvent, Continuation, FinishReason, Usage};
use serde_json::{Map, Value, json};

use super::usage::Counts;
use super::{Host, classify, partial};
use crate::wire::{Category, ProviderError};

#[derive(Debug)]
pub(super) struct Answer {
    host: Host,
    id: Option<String>,
    model: Option<String>,
    calls: usize,
    open: Option<Open>,
    counts: Counts,
    /// The parts so far, for the continuation.
    parts: Vec<Value>,
    /// Whether Google wants to see the parts again as they are.
    replay: bool,
    finish: Option<(FinishReason, String)>,
    any_candidate: bool,
}

/// A function call whose arguments still come.
#[derive(Debug)]
struct Open {
    index: usize,
    arguments: Value,
    /// Place of its part among the parts.
    part: usize,
}

impl Answer {
    pub(super) fn new(host: Host) -> Self {
        Self {
            host,
            id: None,
            model: None,
            calls: 0,
            open: None,
            counts: Counts::default(),
            parts: Vec::new(),
            replay: false,
            finish: None,
            any_candidate: false,
        }
    }

    /// Whether a finish reason was seen.
    pub(super) fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Whether there was anything of an answer.
    pub(super) fn any_candidate(&self) -> bool {
        self.any_candidate
    }

    /// The token counts so far, where there are any.
    pub(super) fn usage(&self) -> Option<Usage> {
        Some(self.counts.usage()).filter(|usage| *usage != Usage::default())
    }

    /// Takes one chunk.
    pub(super) fn chunk(&mut self, chunk: &Value, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        self.started(chunk, out);
        let candidates = chunk.get("candidates").and_then(Value::as_array).into_iter().flatten();
        // Only the first candidate is used; one without an index is the first.
        let candidate = candidates
            .into_iter()
            .find(|candidate| candidate.get("index").and_then(Value::as_u64).unwrap_or(0) == 0);
        let parts = candidate.and_then(|candidate| candidate.get("content")?.get("parts")?.as_array());
        for part in parts.into_iter().flatten() {
            self.part(part, out)?;
        }
        if chunk.get("usageMetadata").is_some_and(|usage| self.counts.update(usage)) {
            out.push(ChatEvent::Usage(self.counts.usage()));
        }
        if let Some(error) = classify::embedded(chunk) {
            return Err(error);
        }
        if let Some(candidate) = candidate {
            self.any_candidate = true;
            if let Some(raw) = text_or_number(candidate.get("finishReason")) {
                // With code execution a reason may come before the end; the last one holds.
                self.finish = Some((finish_reason(&raw)?, raw));
            }
        }
        let blocked = chunk.get("promptFeedback").and_then(|feedback| feedback.get("blockReason"));
        if let Some(reason) = text_or_number(blocked) {
            self.finish.get_or_insert((FinishReason::ContentFilter, format!("PROMPT_BLOCKED:{reason}")));
        }
        Ok(())
    }

    /// Says that nothing more comes. Without a finish reason nothing is added.
    pub(super) fn end(&mut self, out: &mut Vec<ChatEvent>) {
        let Some((reason, raw)) = self.finish.take() else { return };
        self.cut_call(out);
        self.tell(reason, Some(raw), out);
    }

    /// The end of a whole answer, which has an end although it may say no reason.
    pub(super) fn end_whole(&mut self, out: &mut Vec<ChatEvent>) {
        if self.finish.is_some() {
            self.end(out);
        } else {
            self.cut_call(out);
            self.tell(FinishReason::Other, None, out);
        }
    }

    fn tell(&mut self, reason: FinishReason, raw: Option<String>, out: &mut Vec<ChatEvent>) {
        if self.replay {
            let items = std::mem::take(&mut self.parts);
            let issuer = self.host.issuer().to_owned();
            out.push(ChatEvent::Continuation(Continuation { issuer, items }));
        }
        // Google says STOP for answers that ask for tools too.
        let reason = match reason {
            FinishReason::Stop if self.calls > 0 => FinishReason::ToolCalls,
            reason => reason,
        };
        out.push(ChatEvent::Finished { reason, raw });
    }

    fn started(&mut self, chunk: &Value, out: &mut Vec<ChatEvent>) {
        let mut learned = false;
        for (slot, name) in [(&mut self.id, "responseId"), (&mut self.model, "modelVersion")] {
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

    fn part(&mut self, part: &Value, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        let signed =
            part.get("thoughtSignature").and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        self.replay |= signed;
        if let Some(call) = part.get("functionCall") {
            return self.call(part, call, out);
        }
        let thought = part.get("thought").and_then(Value::as_bool).unwrap_or(false);
        match part.get("text").and_then(Value::as_str) {
            Some(text) => {
                if !text.is_empty() {
                    let event = if thought { ChatEvent::Reasoning } else { ChatEvent::Text };
                    out.push(event(text.to_owned()));
                }
                self.keep_text(part, text, thought, signed);
            }
            // What a server-side tool did belongs to the answer; a picture is not sent back without need.
            None if signed || part.get("inlineData").is_none() => {
                let known = ["executableCode", "codeExecutionResult", "toolCall", "toolResponse"];
                self.replay |= known.iter().any(|name| part.get(name).is_some());
                self.parts.extend(part.as_object().map(|part| Value::Object(part.clone())));
            }
            None => {}
        }
        Ok(())
    }

    /// Unsigned text goes on with the text before it; a signature holds for exactly its part.
    fn keep_text(&mut self, part: &Value, text: &str, thought: bool, signed: bool) {
        if signed {
            self.parts.push(part.clone());
        } else if !thought && !text.is_empty() {
            let last = self.parts.last_mut().and_then(Value::as_object_mut);
            match last.filter(|last| last.len() == 1).and_then(|last| last.get_mut("text")) {
                Some(Value::String(held)) => held.push_str(text),
                _ => self.parts.push(json!({"text": text})),
            }
        }
    }

    fn call(&mut self, part: &Value, call: &Value, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        let text = |name| call.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (id, name) = (text("id"), text("name"));
        let continues = call.get("willContinue").and_then(Value::as_bool).unwrap_or(false);
        let arguments = call.get("args").filter(|arguments| !arguments.is_null());
        if name.is_some() || self.open.is_none() && arguments.is_some() {
            self.cut_call(out);
            self.replay |= id.is_some();
            let index = self.calls;
            self.calls += 1;
            self.parts.push(part.clone());
            let begun = |arguments| ChatEvent::ToolCall {
                index,
                id: id.map(str::to_owned),
                name: name.map(str::to_owned),
                arguments,
            };
            let pieces = call.get("partialArgs").is_some();
            if !continues && !pieces {
                out.push(begun(arguments.map_or_else(|| "{}".to_owned(), Value::to_string)));
                return Ok(());
            }
            out.push(begun(String::new()));
            let arguments = arguments.cloned().unwrap_or_else(|| Value::Object(Map::new()));
            self.open = Some(Open { index, arguments, part: self.parts.len().saturating_sub(1) });
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        for piece in call.get("partialArgs").and_then(Value::as_array).into_iter().flatten() {
            partial::apply(&mut open.arguments, piece)?;
        }
        if let (None, Some(signature)) = (name, part.get("thoughtSignature"))
            && let Some(held) = self.parts.get_mut(open.part).and_then(Value::as_object_mut)
        {
            held.insert("thoughtSignature".into(), signature.clone());
        }
        if !continues {
            self.end_call(out);
        }
        Ok(())
    }

    /// The arguments of a call are told when they are whole: pieces may come in any order.
    fn end_call(&mut self, out: &mut Vec<ChatEvent>) {
        let Some(open) = self.open.take() else { return };
        out.push(ChatEvent::ToolCall {
            index: open.index,
            id: None,
            name: None,
            arguments: open.arguments.to_string(),
        });
        let call = self.parts.get_mut(open.part).and_then(|part| part.get_mut("functionCall"));
        if let Some(call) = call.and_then(Value::as_object_mut) {
            call.remove("willContinue");
            call.remove("partialArgs");
            call.insert("args".into(), open.arguments);
        }
    }

    /// A call whose arguments never ended gets what there was, as text that is not JSON, so that nobody executes it.
    fn cut_call(&mut self, out: &mut Vec<ChatEvent>) {
        let Some(open) = self.open.take() else { return };
        let mut arguments = open.arguments.to_string();
        arguments.pop();
        out.push(ChatEvent::ToolCall { index: open.index, id: None, name: None, arguments });
        let call = self.parts.get_mut(open.part).and_then(|part| part.get_mut("functionCall"));
        if let Some(call) = call.and_then(Value::as_object_mut) {
            call.remove("willContinue");
            call.remove("partialArgs");
            call.insert("args".into(), json!({}));
        }
    }
}

/// An enumeration's value, which some clients of Vertex AI write as its number.
fn text_or_number(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// What a reason means. Numbers mean the same as names only as far as both hosts number alike.
fn finish_reason(raw: &str) -> Result<FinishReason, ProviderError> {
    Ok(match raw {
        "STOP" | "1" => FinishReason::Stop,
        "MAX_TOKENS" | "2" => FinishReason::Length,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR"
        | "3"
        | "4"
        | "7"
        | "8" => FinishReason::ContentFilter,
        // The model wrote a call that Google could not read, and threw the answer away; another try may do better.
        "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "TOO_MANY_TOOL_CALLS" | "MALFORMED_RESPONSE" => {
            return Err(ProviderError::new(Category::ServerError, format!("the answer ended with `{raw}`")));
        }
        // The history lacks what it should have; no other try of the same request does better.
        "MISSING_THOUGHT_SIGNATURE" => {
            return Err(ProviderError::new(
                Category::InvalidRequest,
                format!("the answer ended with `{raw}`"),
            ));
        }
        _ => FinishReason::Other,
    })
}
