//! Reasoning that a provider wants to see again.

use std::sync::Arc;

use agentprovision_core::model::Continuation;
use serde_json::{Map, Value, json};

use super::ReasoningField;

/// Collects the reasoning of one answer, and finds it in later requests.
#[derive(Clone, Debug)]
pub(super) struct Again {
    issuer: Arc<str>,
    field: ReasoningField,
    seen: Option<Value>,
}

impl Again {
    pub(super) fn new(issuer: &str, field: ReasoningField) -> Self {
        Self { issuer: issuer.into(), field, seen: None }
    }

    /// Takes a message or the next delta of one.
    pub(super) fn see(&mut self, delta: &Value) {
        let Some(new) = delta.get(self.field.name()) else { return };
        match (self.field, &mut self.seen, new) {
            (ReasoningField::Content, None, Value::String(_)) => self.seen = Some(new.clone()),
            (ReasoningField::Content, Some(Value::String(all)), Value::String(more)) => all.push_str(more),
            (ReasoningField::Details, None, Value::Array(details)) if !details.is_empty() => {
                self.seen = Some(Value::Array(merged(Vec::new(), details)));
            }
            (ReasoningField::Details, Some(Value::Array(all)), Value::Array(details)) => {
                *all = merged(std::mem::take(all), details);
            }
            _ => {}
        }
    }

    /// What the provider wants to see again: the field of the message, as an object.
    pub(super) fn continuation(&mut self) -> Option<Continuation> {
        let seen = self.seen.take()?;
        Some(Continuation { issuer: self.issuer.to_string(), items: vec![json!({self.field.name(): seen})] })
    }

    /// Puts it into the message again, where it is this provider's.
    pub(super) fn restore(&self, continuation: Option<&Continuation>, message: &mut Map<String, Value>) {
        let own = continuation.filter(|continuation| *continuation.issuer == *self.issuer);
        let fields = own.and_then(|own| own.items.first()?.get(self.field.name()).cloned());
        if let Some(value) = fields {
            message.insert(self.field.name().to_owned(), value);
        }
    }
}

/// The details with more of them. A stream cuts a detail into pieces with its type and index, of which texts go on and
/// other fields come once.
fn merged(mut all: Vec<Value>, more: &[Value]) -> Vec<Value> {
    for piece in more {
        let same = |one: &Value| ["type", "index"].iter().all(|name| one.get(name) == piece.get(name));
        let last = all.last_mut().filter(|last| piece.get("index").is_some() && same(last));
        let (Some(Value::Object(last)), Value::Object(piece)) = (last, piece) else {
            all.push(piece.clone());
            continue;
        };
        for (name, value) in piece {
            match (name.as_str(), last.get_mut(name), value) {
                ("text" | "summary" | "data", Some(Value::String(text)), Value::String(more)) => {
                    text.push_str(more);
                }
                (_, Some(old), _) if !old.is_null() => {}
                _ => {
                    last.insert(name.clone(), value.clone());
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_what_a_whole_answer_has() {
        let mut again = Again::new("p", ReasoningField::Details);
        let piece = |index: u64, name: &str, text: &str| json!({"reasoning_details": [{"type": "reasoning.text", "index": index, name: text}]});
        for delta in [
            piece(0, "text", "a"),
            piece(0, "text", "b"),
            piece(0, "signature", "S"),
            json!({"content": "x"}),
            piece(1, "text", "c"),
        ] {
            again.see(&delta);
        }
        let continuation = again.continuation().unwrap();
        let details = json!([
            {"type": "reasoning.text", "index": 0, "text": "ab", "signature": "S"},
            {"type": "reasoning.text", "index": 1, "text": "c"},
        ]);
        assert_eq!(continuation.items, [json!({"reasoning_details": details})]);
        let restored = |issuer: &str| {
            let mut message = Map::new();
            Again::new(issuer, ReasoningField::Details).restore(Some(&continuation), &mut message);
            message
        };
        assert_eq!(restored("p")["reasoning_details"], details);
        assert!(restored("q").is_empty());
    }

    #[test]
    fn reasoning_that_is_empty_is_still_reasoning() {
        let mut again = Again::new("p", ReasoningField::Content);
        for reasoning in [json!(null), json!("")] {
            again.see(&json!({"reasoning_content": reasoning}));
        }
        assert_eq!(again.continuation().unwrap().items, [json!({"reasoning_content": ""})]);
        again.see(&json!({"content": "a"}));
        assert_eq!(again.continuation(), None);
    }
}
