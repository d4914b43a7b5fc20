//! JSON as guards see it: its strings and numbers, as what they mean.

use std::ops::Range;

use serde::de::IgnoredAny;

use super::spans::Spans;

/// The strings and numbers among the values of a JSON text, a line each. Every one that is written there, also of a
/// field that is there twice; numbers digit by digit.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    text: String,
    /// Where each is among the leaves, and where in the JSON.
    places: Vec<(Range<usize>, Range<usize>)>,
}

impl Leaves {
    /// Those of an array or object; `None` for everything else.
    pub(super) fn of(json: &str) -> Option<Self> {
        if !json.trim_start().starts_with(['{', '[']) || serde_json::from_str::<IgnoredAny>(json).is_err() {
            return None;
        }
        // From here on the text is known to be JSON, so that tokens are told by how they begin.
        let (bytes, mut leaves, mut at) = (json.as_bytes(), Self::default(), 0);
        while let Some(byte) = bytes.get(at) {
            let start = at;
            match byte {
                b'"' => {
                    at = end_of_string(bytes, at);
                    let next = bytes.get(at..)?.iter().find(|byte| !byte.is_ascii_whitespace());
                    if next != Some(&b':') {
                        leaves.push(&serde_json::from_str::<String>(json.get(start..at)?).ok()?, start..at);
                    }
                }
                b'-' | b'0'..=b'9' => {
                    let part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                    at += bytes.get(at..)?.iter().take_while(|byte| part(byte)).count();
                    leaves.push(json.get(start..at)?, start..at);
                }
                _ => at += 1,
            }
        }
        Some(leaves)
    }

    fn push(&mut self, leaf: &str, place: Range<usize>) {
        let start = self.text.len();
        self.text.push_str(leaf);
        self.places.push((start..self.text.len(), place));
        self.text.push('\n');
    }

    /// The leaves.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The JSON they are of with what is replaced in them. A number something is replaced in becomes a string.
    pub(super) fn replaced(&self, json: &str, spans: &Spans) -> String {
        let (mut out, mut at) = (String::new(), 0);
        for (leaf, place) in self.places.iter().filter(|(leaf, _)| spans.touches(leaf)) {
            out.push_str(json.get(at..place.start).unwrap_or_default());
            let leaf = serde_json::Value::String(spans.part(&self.text, leaf.clone()));
            out.push_str(&leaf.to_string());
            at = place.end;
        }
        out.push_str(json.get(at..).unwrap_or_default());
        out
    }
}

/// The place after a string that begins here.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    loop {
        match bytes.get(at) {
            Some(b'\\') => at += 2,
            Some(b'"') | None => return at + 1,
            Some(_) => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_is_seen_as_it_is_written() {
        let json = r#" {"a": "x\"y", "a" : [12345678901234567890123, -1.50e+2, true], "\u0041": {"b": "\u0041\\"}} "#;
        let leaves = Leaves::of(json).unwrap();
        assert_eq!(leaves.text(), "x\"y\n12345678901234567890123\n-1.50e+2\nA\\\n");
        let deep = format!("{}\"x\"{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Leaves::of(&deep).unwrap().text(), "x\n");
        for other in ["\"x\"", "7", "{\"a\":", "[1,]", ""] {
            assert!(Leaves::of(other).is_none(), "{other}");
        }
    }
}
