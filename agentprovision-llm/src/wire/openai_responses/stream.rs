//! Streamed answers. What an event says in full is compared with what came before it in pieces, so that nothing is lost
//! where a server sends no pieces and nothing comes twice where it sends both.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentprovision_core::model::{ChatEvent, Continuation, FinishReason, Usage};
use serde_json::Value;

use super::classify;
use crate::wire::openai_chat::usage::of_answer;
use crate::wire::streamed::Events;
use crate::wire::{Category, ProviderError};

/// The kinds of text an item can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Text,
    Refusal,
    Summary,
    Reasoning,
}

impl Kind {
    /// The type of the items that have it.
    fn of_item(self) -> &'static str {
        match self {
            Self::Text | Self::Refusal => "message",
            Self::Summary | Self::Reasoning => "reasoning",
        }
    }

    fn event(self, text: String) -> ChatEvent {
        match self {
            Self::Text => ChatEvent::Text(text),
            Self::Refusal => ChatEvent::Refusal(text),
            Self::Summary | Self::Reasoning => ChatEvent::Reasoning(text),
        }
    }
}

/// One item of the output, as far as it was seen.
#[derive(Debug, Default)]
struct Item {
    /// Its type on the wire, once known.
    kind: String,
    /// Its texts so far, by kind and place.
    texts: BTreeMap<(Kind, u64), String>,
    call: Option<Call>,
    /// The item as the provider sent it when it was done.
    whole: Option<Value>,
}

#[derive(Debug)]
struct Call {
    index: usize,
    id: String,
    name: String,
    arguments: String,
}

/// The events of one answer.
#[derive(Debug)]
pub(super) struct Answer {
    issuer: Arc<str>,
    id: Option<String>,
    model: Option<String>,
    /// By their place in the output.
    items: BTreeMap<u64, Item>,
    calls: usize,
    finished: bool,
}

impl Answer {
    pub(super) fn new(issuer: &str) -> Self {
        Self {
            issuer: issuer.into(),
            id: None,
            model: None,
            items: BTreeMap::new(),
            calls: 0,
            finished: false,
        }
    }
}

impl Events for Answer {
    fn data(&mut self, data: &Value, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        if self.finished {
            return Ok(());
        }
        let text = |name| data.get(name).and_then(Value::as_str).unwrap_or_default();
        let at = |name| data.get(name).and_then(Value::as_u64).unwrap_or(0);
        let last = || self.items.keys().next_back().copied().unwrap_or(0);
        let place = data.get("output_index").and_then(Value::as_u64).unwrap_or_else(last);
        let response = data.get("response");
        match (text("type"), response) {
            ("response.created" | "response.in_progress" | "response.queued", Some(response)) => {
                self.started(response, out);
            }
            ("response.output_item.added", _) => {
                self.begun(place, data.get("item").unwrap_or(&Value::Null), out);
            }
            ("response.output_item.done", _) => {
                let item = data.get("item").unwrap_or(&Value::Null);
                self.item(place, item, out);
                self.items.entry(place).or_default().whole = Some(item.clone());
            }
            ("response.output_text.delta", _) => {
                self.piece(place, (Kind::Text, at("content_index")), text("delta"), out);
            }
            ("response.output_text.done", _) => {
                self.fill(place, (Kind::Text, at("content_index")), text("text"), out);
            }
            ("response.refusal.delta", _) => {
                self.piece(place, (Kind::Refusal, at("content_index")), text("delta"), out);
            }
            ("response.refusal.done", _) => {
                self.fill(place, (Kind::Refusal, at("content_index")), text("refusal"), out);
            }
            ("response.reasoning_summary_text.delta", _) => {
                self.piece(place, (Kind::Summary, at("summary_index")), text("delta"), out);
            }
            ("response.reasoning_summary_text.done", _) => {
                self.fill(place, (Kind::Summary, at("summary_index")), text("text"), out);
            }
            ("response.reasoning_text.delta", _) => {
                self.piece(place, (Kind::Reasoning, at("content_index")), text("delta"), out);
            }
            ("response.reasoning_text.done", _) => {
                self.fill(place, (Kind::Reasoning, at("content_index")), text("text"), out);
            }
            ("response.function_call_arguments.delta", _) => {
                self.arguments(place, text("delta"), out);
            }
            ("response.function_call_arguments.done", _) => {
                let arguments = text("arguments");
                if let Some(rest) = self.rest(place, arguments) {
                    self.arguments(place, &rest, out);
                }
            }
            (
                "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled",
                Some(response),
            ) => return self.end(response, out),
            ("error", _) => return Err(classify::event(data)),
            // Further events say nothing the vocabulary has a word for; an error may come in a shape of its own.
            _ => return classify::embedded(data).map_or(Ok(()), Err),
        }
        Ok(())
    }

    fn document(&mut self, body: &Value, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        if !body.get("output").is_some_and(Value::is_array) {
            let malformed = || ProviderError::new(Category::Malformed, "JSON without output");
            return Err(classify::embedded(body).unwrap_or_else(malformed));
        }
        self.end(body, out)
    }

    fn error(&self, data: &Value) -> ProviderError {
        classify::event(data)
    }

    fn finished(&self) -> bool {
        self.finished
    }
}

impl Answer {
    fn started(&mut self, response: &Value, out: &mut Vec<ChatEvent>) {
        let mut learned = false;
        for (slot, name) in [(&mut self.id, "id"), (&mut self.model, "model")] {
            if slot.is_none() {
                let text = response.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
                *slot = text.map(str::to_owned);
                learned |= slot.is_some();
            }
        }
        if learned {
            out.push(ChatEvent::Started { id: self.id.clone(), model: self.model.clone() });
        }
    }

    /// More of a text.
    fn piece(&mut self, place: u64, part: (Kind, u64), text: &str, out: &mut Vec<ChatEvent>) {
        if text.is_empty() {
            return;
        }
        let item = self.items.entry(place).or_default();
        if item.kind.is_empty() {
            item.kind = part.0.of_item().to_owned();
        }
        item.texts.entry(part).or_default().push_str(text);
        out.push(part.0.event(text.to_owned()));
    }

    /// A whole text: what was not sent in pieces comes now. A text that goes on otherwise than it began stays as it is.
    fn fill(&mut self, place: u64, part: (Kind, u64), whole: &str, out: &mut Vec<ChatEvent>) {
        let sent = self.items.get(&place).and_then(|item| item.texts.get(&part)).map_or("", String::as_str);
        if let Some(rest) = whole.strip_prefix(sent) {
            let rest = rest.to_owned();
            self.piece(place, part, &rest, out);
        }
    }

    /// More of the arguments of the call at this place.
    fn arguments(&mut self, place: u64, text: &str, out: &mut Vec<ChatEvent>) {
        let Some(call) = self.items.get_mut(&place).and_then(|item| item.call.as_mut()) else { return };
        if !text.is_empty() {
            call.arguments.push_str(text);
            let arguments = text.to_owned();
            out.push(ChatEvent::ToolCall { index: call.index, id: None, name: None, arguments });
        }
    }

    /// What is missing of the arguments of the call at this place.
    fn rest(&self, place: u64, whole: &str) -> Option<String> {
        let call = self.items.get(&place)?.call.as_ref()?;
        whole.strip_prefix(call.arguments.as_str()).map(str::to_owned)
    }

    /// An item at its beginning. What content it has already comes again in pieces.
    fn begun(&mut self, place: u64, wire: &Value, out: &mut Vec<ChatEvent>) {
        let kind = wire.get("type").and_then(Value::as_str).unwrap_or_default();
        let item = self.items.entry(place).or_default();
        if item.kind.is_empty() {
            item.kind = kind.to_owned();
        }
        if item.kind == "function_call" && kind == item.kind {
            let mut wire = wire.clone();
            wire.as_object_mut().and_then(|fields| fields.remove("arguments"));
            self.call(place, &wire, out);
        }
    }

    /// A whole item.
    fn item(&mut self, place: u64, wire: &Value, out: &mut Vec<ChatEvent>) {
        let kind = wire.get("type").and_then(Value::as_str).unwrap_or_default();
        let item = self.items.entry(place).or_default();
        if item.kind.is_empty() {
            item.kind = kind.to_owned();
        }
        // A server that calls an item something else at its end has sent its content under the first name.
        if item.kind != kind {
            return;
        }
        let parts = |name| wire.get(name).and_then(Value::as_array).into_iter().flatten().zip(0..);
        let text =
            |part: &Value, name: &str| part.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        match kind {
            "message" => {
                for (part, at) in parts("content") {
                    match part.get("type").and_then(Value::as_str) {
                        Some("output_text" | "text") => {
                            self.fill(place, (Kind::Text, at), &text(part, "text"), out);
                        }
                        Some("refusal") => {
                            self.fill(place, (Kind::Refusal, at), &text(part, "refusal"), out);
                        }
                        _ => {}
                    }
                }
            }
            "reasoning" => {
                // A server that sends one text under both names has sent it once.
                let sent = |kind| move |part: &(Kind, u64)| part.0 == kind;
                let only_text = item.texts.keys().any(sent(Kind::Reasoning))
                    && !item.texts.keys().any(sent(Kind::Summary));
                let only_summary = item.texts.keys().any(sent(Kind::Summary))
                    && !item.texts.keys().any(sent(Kind::Reasoning));
                for (part, at) in parts("summary").filter(|_| !only_text) {
                    self.fill(place, (Kind::Summary, at), &text(part, "text"), out);
                }
                for (part, at) in parts("content").filter(|_| !only_summary) {
                    self.fill(place, (Kind::Reasoning, at), &text(part, "text"), out);
                }
            }
            "function_call" => self.call(place, wire, out),
            _ => {}
        }
    }

    fn call(&mut self, place: u64, wire: &Value, out: &mut Vec<ChatEvent>) {
        let text = |name| wire.get(name).and_then(Value::as_str).unwrap_or_default();
        let id = if text("call_id").is_empty() { text("id") } else { text("call_id") };
        let (name, whole) = (text("name"), text("arguments"));
        let item = self.items.entry(place).or_default();
        let Some(call) = &mut item.call else {
            let index = self.calls;
            self.calls += 1;
            let (id, name, arguments) = (id.to_owned(), name.to_owned(), whole.to_owned());
            out.push(ChatEvent::ToolCall {
                index,
                id: Some(id.clone()),
                name: Some(name.clone()),
                arguments: arguments.clone(),
            });
            item.call = Some(Call { index, id, name, arguments });
            return;
        };
        let new_id = (call.id.is_empty() && !id.is_empty()).then(|| id.to_owned());
        let new_name = (call.name.is_empty() && !name.is_empty()).then(|| name.to_owned());
        let rest = whole.strip_prefix(call.arguments.as_str()).unwrap_or_default().to_owned();
        if new_id.is_none() && new_name.is_none() && rest.is_empty() {
            return;
        }
        call.id.push_str(new_id.as_deref().unwrap_or_default());
        call.name.push_str(new_name.as_deref().unwrap_or_default());
        call.arguments.push_str(&rest);
        out.push(ChatEvent::ToolCall { index: call.index, id: new_id, name: new_name, arguments: rest });
    }

    /// Whether an item of the last event was already seen at another place, as some servers count the output twice.
    fn is_known_elsewhere(&self, place: u64, wire: &Value) -> bool {
        if self.items.contains_key(&place) {
            return false;
        }
        let text = |value: &Value, name: &str| {
            value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let parts = ["content", "summary"].map(|name| wire.get(name).and_then(Value::as_array));
        let texts: Vec<String> =
            parts.into_iter().flatten().flatten().filter_map(|part| text(part, "text")).collect();
        let id = text(wire, "call_id");
        self.items.values().any(|item| {
            item.call.as_ref().is_some_and(|call| id.as_deref() == Some(call.id.as_str()))
                || item.texts.values().any(|sent| texts.contains(sent))
        })
    }

    /// The response as the last event has it, or as a whole answer is.
    fn end(&mut self, response: &Value, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError> {
        self.started(response, out);
        let output = response.get("output").and_then(Value::as_array).into_iter().flatten();
        let streamed = !self.items.is_empty();
        for (wire, place) in output.zip(0..) {
            if streamed && self.is_known_elsewhere(place, wire) {
                continue;
            }
            self.item(place, wire, out);
            self.items.entry(place).or_default().whole = Some(wire.clone());
        }
        let counts: Option<Usage> = of_answer(response);
        if let Some(error) = classify::embedded(response) {
            out.extend(counts.map(ChatEvent::Usage));
            return Err(error);
        }
        let text = |name| response.get(name).and_then(Value::as_str);
        let why = response.pointer("/incomplete_details/reason").and_then(Value::as_str);
        let (reason, raw) = match (text("status"), why) {
            (Some("completed") | None, _) if self.calls > 0 => (FinishReason::ToolCalls, text("status")),
            (Some("completed") | None, _) => (FinishReason::Stop, text("status")),
            (Some("incomplete"), Some("max_output_tokens" | "max_tokens")) => {
                (FinishReason::Length, text("status"))
            }
            (Some("incomplete"), Some("content_filter")) => (FinishReason::ContentFilter, text("status")),
            (Some("incomplete"), _) => (FinishReason::Other, text("status")),
            (Some(status), _) => {
                out.extend(counts.map(ChatEvent::Usage));
                let category = if status == "failed" { Category::ServerError } else { Category::Incomplete };
                let mut error = ProviderError::new(category, format!("the response is `{status}`"));
                error.provider_code = Some(status.to_owned());
                return Err(error);
            }
        };
        let raw = raw.map(|status| match why {
            Some(why) => format!("{status}:{why}"),
            None => status.to_owned(),
        });
        out.extend(self.continuation().map(ChatEvent::Continuation));
        out.extend(counts.map(ChatEvent::Usage));
        out.push(ChatEvent::Finished { reason, raw });
        self.finished = true;
        Ok(())
    }

    /// The items of the answer, where there is reasoning among them that the provider can read again. Reasoning that is
    /// only named by its id cannot be sent back, and then neither can the items that follow it.
    fn continuation(&self) -> Option<Continuation> {
        let items: Vec<Value> = self.items.values().filter_map(|item| item.whole.clone()).collect();
        let mut reasoning = items.iter().filter(|item| item.get("type") == Some(&Value::from("reasoning")));
        let encrypted = |item: &Value| {
            item.get("encrypted_content").and_then(Value::as_str).is_some_and(|text| !text.is_empty())
        };
        let first = reasoning.next()?;
        (encrypted(first) && reasoning.all(encrypted))
            .then(|| Continuation { issuer: self.issuer.to_string(), items })
    }
}
