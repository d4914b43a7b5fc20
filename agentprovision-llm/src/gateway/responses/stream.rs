//! Streamed answers.

use agentprovision_core::Error;
use agentprovision_core::model::{ChatEvent, Continuation, FinishReason, Usage};
use serde_json::{Value, json};

use super::Form;
use super::write::{self, Parts};
use crate::gateway::answer::{Calls, Head};
use crate::gateway::failure;
use crate::gateway::stream::{Encoder, Sse};

/// One item of the output.
#[derive(Debug)]
enum Item {
    /// Texts and refusals in turn; the last one is open.
    Message { parts: Vec<Part>, open: bool },
    /// Open until the end, because what the provider wants to see again comes last.
    Reasoning { text: String, open: bool },
    /// A tool call, by its place among those of the answer.
    Call { call: usize, open: bool },
}

#[derive(Debug)]
struct Part {
    refusal: bool,
    text: String,
}

impl Part {
    fn value(&self) -> Value {
        if self.refusal { write::refusal_part(&self.text) } else { write::text_part(&self.text) }
    }
}

/// The events of one answer.
pub(in crate::gateway) struct Items {
    head: Head,
    form: Form,
    number: u64,
    begun: bool,
    items: Vec<Item>,
    calls: Calls,
    continuation: Option<Continuation>,
    usage: Option<Usage>,
    finish: FinishReason,
}

impl Items {
    pub(in crate::gateway) fn new(head: Head, form: Form) -> Self {
        Self {
            head,
            form,
            number: 0,
            begun: false,
            items: Vec::new(),
            calls: Calls::default(),
            continuation: None,
            usage: None,
            finish: FinishReason::Other,
        }
    }

    fn tell(&mut self, name: &str, mut data: Value, out: &mut Sse) {
        if let Some(data) = data.as_object_mut() {
            data.insert("type".into(), json!(name));
            data.insert("sequence_number".into(), json!(self.number));
        }
        self.number += 1;
        out.event(name, &data);
    }

    /// The response as it stands.
    fn response(&self, status: &'static str, why: Option<&'static str>, error: Option<&Error>) -> Value {
        let output = (0..self.items.len()).filter_map(|place| self.item(place, status)).collect();
        let parts = Parts { model: &self.head.model, status, output, why, usage: self.usage.as_ref(), error };
        write::response(&self.head, &self.form, parts)
    }

    fn begin(&mut self, out: &mut Sse) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        for name in ["response.created", "response.in_progress"] {
            let response = self.response("in_progress", None, None);
            self.tell(name, json!({ "response": response }), out);
        }
    }

    fn id(&self, place: usize) -> String {
        let prefix = match self.items.get(place) {
            Some(Item::Message { .. }) => "msg",
            Some(Item::Reasoning { .. }) => "rs",
            _ => "fc",
        };
        self.head.id(&format!("{prefix}_{place}_"))
    }

    /// An item with all its content; one of an answer that is not whole may be cut off.
    fn item(&self, place: usize, status: &str) -> Option<Value> {
        let id = self.id(place);
        let status = if status == "completed" { "completed" } else { "incomplete" };
        Some(match self.items.get(place)? {
            Item::Message { parts, .. } => {
                write::message(&id, parts.iter().map(Part::value).collect(), status)
            }
            Item::Reasoning { text, .. } => {
                let first = self.items.iter().position(|item| matches!(item, Item::Reasoning { .. }));
                let again = self.continuation.as_ref().filter(|_| first == Some(place));
                write::reasoning(&id, text, again, "completed")
            }
            Item::Call { call, .. } => {
                let found = self.calls.get(*call)?;
                let status = if found.json().is_some() { "completed" } else { "incomplete" };
                write::function_call(&id, &found.id, &found.name, &found.arguments, status)
            }
        })
    }

    /// Begins an item with nothing in it.
    fn add(&mut self, item: Item, out: &mut Sse) -> usize {
        self.begin(out);
        self.close_texts(out);
        let place = self.items.len();
        self.items.push(item);
        let id = self.id(place);
        let empty = match self.items.get(place) {
            Some(Item::Message { .. }) => write::message(&id, Vec::new(), "in_progress"),
            Some(Item::Call { call, .. }) => {
                let (call_id, name) = self.calls.named(*call).unwrap_or_default();
                write::function_call(&id, call_id, name, "", "in_progress")
            }
            _ => write::reasoning(&id, "", None, "in_progress"),
        };
        self.tell("response.output_item.added", json!({"output_index": place, "item": empty}), out);
        place
    }

    fn done(&mut self, place: usize, status: &str, out: &mut Sse) {
        if let Some(item) = self.item(place, status) {
            self.tell("response.output_item.done", json!({"output_index": place, "item": item}), out);
        }
    }

    /// Ends what is open of text before something else begins.
    fn close_texts(&mut self, out: &mut Sse) {
        let Some(place) = self.items.len().checked_sub(1) else { return };
        let id = self.id(place);
        match self.items.get_mut(place) {
            Some(Item::Message { open, .. }) if *open => {
                *open = false;
                self.close_part(place, &id, out);
                self.done(place, "completed", out);
            }
            Some(Item::Reasoning { text, open }) if *open => {
                *open = false;
                let text = std::mem::take(text);
                let at = json!({"item_id": id, "output_index": place, "summary_index": 0});
                self.tell("response.reasoning_summary_text.done", with(&at, "text", json!(text)), out);
                let part = json!({"type": "summary_text", "text": text});
                self.tell("response.reasoning_summary_part.done", with(&at, "part", part), out);
                if let Some(Item::Reasoning { text: kept, .. }) = self.items.get_mut(place) {
                    *kept = text;
                }
            }
            _ => {}
        }
    }

    /// Ends the last part of a message.
    fn close_part(&mut self, place: usize, id: &str, out: &mut Sse) {
        let Some(Item::Message { parts, .. }) = self.items.get(place) else { return };
        let Some((index, part)) = parts.iter().enumerate().next_back() else { return };
        let at = json!({"item_id": id, "output_index": place, "content_index": index});
        let (name, done) = if part.refusal {
            ("response.refusal.done", with(&at, "refusal", json!(part.text)))
        } else {
            let done = with(&at, "text", json!(part.text));
            ("response.output_text.done", with(&done, "logprobs", json!([])))
        };
        let whole = with(&at, "part", part.value());
        self.tell(name, done, out);
        self.tell("response.content_part.done", whole, out);
    }

    fn say(&mut self, refusal: bool, text: String, out: &mut Sse) {
        let last = self.items.len().checked_sub(1);
        let open =
            last.filter(|place| matches!(self.items.get(*place), Some(Item::Message { open: true, .. })));
        let place = match open {
            Some(place) => place,
            None => self.add(Item::Message { parts: Vec::new(), open: true }, out),
        };
        let id = self.id(place);
        let Some(Item::Message { parts, .. }) = self.items.get_mut(place) else { return };
        if parts.last().is_none_or(|part| part.refusal != refusal) {
            if !parts.is_empty() {
                self.close_part(place, &id, out);
            }
            let Some(Item::Message { parts, .. }) = self.items.get_mut(place) else { return };
            let (index, part) = (parts.len(), Part { refusal, text: String::new() });
            let empty = part.value();
            parts.push(part);
            let at = json!({"item_id": id, "output_index": place, "content_index": index, "part": empty});
            self.tell("response.content_part.added", at, out);
        }
        let Some(Item::Message { parts, .. }) = self.items.get_mut(place) else { return };
        let index = parts.len().saturating_sub(1);
        if let Some(part) = parts.last_mut() {
            part.text.push_str(&text);
        }
        let delta = json!({"item_id": id, "output_index": place, "content_index": index, "delta": text});
        match refusal {
            true => self.tell("response.refusal.delta", delta, out),
            false => self.tell("response.output_text.delta", with(&delta, "logprobs", json!([])), out),
        }
    }

    fn think(&mut self, piece: &str, out: &mut Sse) {
        let last = self.items.len().checked_sub(1);
        let open =
            last.filter(|place| matches!(self.items.get(*place), Some(Item::Reasoning { open: true, .. })));
        let place = match open {
            Some(place) => place,
            None => {
                let place = self.add(Item::Reasoning { text: String::new(), open: true }, out);
                let part = json!({"type": "summary_text", "text": ""});
                let at = json!({"item_id": self.id(place), "output_index": place, "summary_index": 0, "part": part});
                self.tell("response.reasoning_summary_part.added", at, out);
                place
            }
        };
        if let Some(Item::Reasoning { text, .. }) = self.items.get_mut(place) {
            text.push_str(piece);
        }
        let delta =
            json!({"item_id": self.id(place), "output_index": place, "summary_index": 0, "delta": piece});
        self.tell("response.reasoning_summary_text.delta", delta, out);
    }

    fn call(&mut self, call: usize, first: bool, arguments: &str, out: &mut Sse) {
        let place = match first {
            true => self.add(Item::Call { call, open: true }, out),
            false => {
                let is_it = |item: &Item| matches!(item, Item::Call { call: of, .. } if *of == call);
                let Some(place) = self.items.iter().position(is_it) else { return };
                place
            }
        };
        if !arguments.is_empty() {
            let delta = json!({"item_id": self.id(place), "output_index": place, "delta": arguments});
            self.tell("response.function_call_arguments.delta", delta, out);
        }
    }

    /// Ends every item that is still open, in order.
    fn close_all(&mut self, out: &mut Sse) {
        self.close_texts(out);
        for place in 0..self.items.len() {
            let call = match self.items.get_mut(place) {
                Some(Item::Call { call, open: open @ true }) => {
                    *open = false;
                    Some(*call)
                }
                Some(Item::Reasoning { .. }) => None,
                _ => continue,
            };
            let arguments = call.and_then(|call| self.calls.get(call)).map(|call| call.arguments.clone());
            if let Some(arguments) = arguments {
                let name = call.and_then(|call| self.calls.named(call)).map(|(_, name)| name.to_owned());
                let done = json!({
                    "item_id": self.id(place), "output_index": place, "name": name, "arguments": arguments,
                });
                self.tell("response.function_call_arguments.done", done, out);
            }
            self.done(place, "completed", out);
        }
    }
}

/// An object with one more field.
fn with(object: &Value, name: &str, value: Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
    object
}

impl Encoder for Items {
    fn event(&mut self, event: ChatEvent, out: &mut Sse) {
        match event {
            ChatEvent::Started { model, .. } => {
                if let (false, Some(model)) = (self.begun, model) {
                    self.head.model = model;
                }
            }
            ChatEvent::Text(text) => self.say(false, text, out),
            ChatEvent::Refusal(text) => self.say(true, text, out),
            ChatEvent::Reasoning(text) => self.think(&text, out),
            ChatEvent::ToolCall { index, id, name, arguments } => {
                let first = self.calls.push(index, id.as_deref(), name.as_deref(), &arguments);
                self.call(index, first, &arguments, out);
            }
            ChatEvent::Continuation(continuation) => {
                self.continuation = Some(continuation);
                if !self.items.iter().any(|item| matches!(item, Item::Reasoning { .. })) {
                    self.add(Item::Reasoning { text: String::new(), open: false }, out);
                }
            }
            ChatEvent::Usage(usage) => self.usage = Some(usage),
            ChatEvent::Finished { reason, .. } => {
                self.begin(out);
                self.close_all(out);
                self.finish = reason;
            }
            // Of a later version.
            _ => {}
        }
    }

    fn end(&mut self, out: &mut Sse) {
        let (status, why) = write::status(self.finish, self.calls.any_cut());
        let name = if status == "completed" { "response.completed" } else { "response.incomplete" };
        let response = self.response(status, why, None);
        self.tell(name, json!({ "response": response }), out);
    }

    fn fail(&mut self, error: &Error, out: &mut Sse) {
        let response = self.response("failed", None, Some(error));
        self.tell("response.failed", json!({ "response": response }), out);
        // The libraries raise an exception for the object, and the documented fields stand beside it.
        let data = json!({
            "code": failure::code(error),
            "message": error.message(),
            "param": null,
            "error": failure::open_ai_object(error),
        });
        self.tell("error", data, out);
    }
}
