//! Ids of tool calls in a form that providers take: the history may come from another provider, whose ids are longer,
//! have other characters, come twice or are missing.

use std::collections::{HashMap, HashSet, VecDeque};

/// What ids a provider takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdForm {
    /// Whether an id can stay as it is.
    pub(super) is_valid: fn(&str) -> bool,
    /// An id for the call at the second place of the message at the first; the third counts the tries until it is free.
    pub(super) make: fn(usize, usize, usize) -> String,
}

impl Default for IdForm {
    fn default() -> Self {
        Self { is_valid, make }
    }
}

/// The ids of one conversation, from its beginning.
#[derive(Debug, Default)]
pub(super) struct CallIds<'a> {
    form: IdForm,
    used: HashSet<String>,
    /// What became of an id in the last message that has it; several where the message has it several times.
    known: HashMap<&'a str, (usize, VecDeque<String>)>,
}

impl<'a> CallIds<'a> {
    /// The longest id that is kept as it is, in bytes.
    const LONGEST: usize = 64;

    /// None yet, in another form than that which most providers take.
    #[cfg(feature = "openai")]
    pub(super) fn new(form: IdForm) -> Self {
        Self { form, ..Self::default() }
    }

    /// The id of the call at `place` of the message at `message`: its own where that can stay, and otherwise one that is
    /// the same whenever the same conversation is sent.
    pub(super) fn call(&mut self, id: &'a str, message: usize, place: usize) -> String {
        let mut sent = id.to_owned();
        let mut valid = (self.form.is_valid)(id);
        for attempt in 0.. {
            if valid && self.used.insert(sent.clone()) {
                break;
            }
            sent = (self.form.make)(message, place, attempt);
            valid = true;
        }
        let (last, ids) = self.known.entry(id).or_default();
        if *last != message {
            ids.clear();
        }
        *last = message;
        ids.push_back(sent.clone());
        sent
    }

    /// The id of the call that a result names: the results of calls with one id belong to them in order.
    pub(super) fn result(&mut self, id: &str) -> String {
        match self.known.get_mut(id) {
            Some((_, ids)) if ids.len() > 1 => ids.pop_front().unwrap_or_default(),
            Some((_, ids)) => ids.front().cloned().unwrap_or_default(),
            None if (self.form.is_valid)(id) => id.to_owned(),
            // A result of no call, which the provider will refuse by name.
            None => "call_unknown".to_owned(),
        }
    }
}

fn make(message: usize, place: usize, attempt: usize) -> String {
    format!("call_{message}_{place}{}", "_".repeat(attempt))
}

fn is_valid(id: &str) -> bool {
    (1..=CallIds::LONGEST).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_where_they_can_and_results_find_their_calls() {
        let mut ids = CallIds::default();
        assert_eq!(ids.call("toolu_1-a", 1, 0), "toolu_1-a");
        assert_eq!(ids.call("functions.f:0", 1, 1), "call_1_1");
        let long = "x".repeat(65);
        assert_eq!(ids.call(&long, 1, 2), "call_1_2");
        assert_eq!(ids.result("functions.f:0"), "call_1_1");
        assert_eq!(ids.result(&long), "call_1_2");
        assert_eq!(ids.result("toolu_1-a"), "toolu_1-a");
        // The same id again: in one message, and in a later one.
        assert_eq!((ids.call("", 3, 0), ids.call("", 3, 1)), ("call_3_0".into(), "call_3_1".into()));
        assert_eq!((ids.result(""), ids.result("")), ("call_3_0".into(), "call_3_1".into()));
        assert_eq!(ids.call("toolu_1-a", 5, 0), "call_5_0");
        assert_eq!(ids.result("toolu_1-a"), "call_5_0");
        // An id that looks like a made up one.
        assert_eq!(ids.call("call_7_1", 7, 0), "call_7_1");
        assert_eq!(ids.call("é", 7, 1), "call_7_1_");
        assert_eq!(ids.result("of-nobody"), "of-nobody");
        assert_eq!(ids.result("of nobody"), "call_unknown");
    }
}
