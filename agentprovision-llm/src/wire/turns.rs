//! A conversation as turns, for formats in which the two sides speak by turns and the results of tools come first in the
//! user's.

use serde_json::{Value, json};

/// What one side says until the other does.
#[derive(Debug)]
struct Turn {
    role: &'static str,
    results: Vec<Value>,
    content: Vec<Value>,
}

/// The turns so far.
#[derive(Debug, Default)]
pub(super) struct Turns(Vec<Turn>);

impl Turns {
    /// Adds what `role` says: blocks of tool results, and other blocks.
    pub(super) fn push(&mut self, role: &'static str, results: Vec<Value>, content: Vec<Value>) {
        match self.0.last_mut() {
            Some(turn) if turn.role == role => {
                turn.results.extend(results);
                turn.content.extend(content);
            }
            _ => self.0.push(Turn { role, results, content }),
        }
    }

    /// The messages; a turn without content is none.
    pub(super) fn finish(mut self) -> Vec<Value> {
        self.0.retain(|turn| !turn.results.is_empty() || !turn.content.is_empty());
        if let Some(last) = self.0.last_mut().filter(|turn| turn.role == "assistant")
            && let Some(Value::String(text)) = last.content.last_mut().and_then(|block| block.get_mut("text"))
        {
            // The answer goes on from here, and models refuse to go on from white space.
            text.truncate(text.trim_end().len());
        }
        let messages = self.0.into_iter().map(|turn| {
            let content: Vec<Value> = turn.results.into_iter().chain(turn.content).collect();
            json!({"role": turn.role, "content": content})
        });
        messages.collect()
    }
}
