//! JSON objects one after another, from bytes in any chunking: newline-delimited (NDJSON), as the elements of one array,
//! or a single document.

use serde_json::Value;

use super::sse::SseParser;
use super::{Category, ProviderError};

/// Splits one stream. Between objects white space, commas and the brackets of an array are skipped.
#[derive(Debug)]
pub(crate) struct JsonObjects {
    limit: usize,
    held: Vec<u8>,
    depth: usize,
    quoted: bool,
    escaped: bool,
}

impl Default for JsonObjects {
    fn default() -> Self {
        Self { limit: SseParser::LIMIT, held: Vec::new(), depth: 0, quoted: false, escaped: false }
    }
}

impl JsonObjects {
    /// Takes the next bytes and appends the objects they complete to `out`.
    ///
    /// # Errors
    /// [`Category::Malformed`] at something that is no object, [`Category::AnswerTooLarge`] when an object passes the
    /// limit; the objects before it are in `out`.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<Value>) -> Result<(), ProviderError> {
        for byte in bytes {
            if self.depth == 0 {
                match byte {
                    b'{' => {}
                    b' ' | b'\t' | b'\r' | b'\n' | b',' | b'[' | b']' => continue,
                    _ => return Err(malformed("something that is no JSON object")),
                }
            }
            if self.held.len() >= self.limit {
                return Err(ProviderError::new(
                    Category::AnswerTooLarge,
                    "an object of the stream passes the limit",
                ));
            }
            self.held.push(*byte);
            if self.ends_object(*byte) {
                let object = serde_json::from_slice(&self.held);
                self.held.clear();
                out.push(object.map_err(|error| malformed(&format!("an object that is not JSON: {error}")))?);
            }
        }
        Ok(())
    }

    /// Whether an object was begun and not ended.
    pub(crate) fn pending(&self) -> bool {
        self.depth > 0
    }

    fn ends_object(&mut self, byte: u8) -> bool {
        if self.quoted {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.quoted = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.quoted = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

fn malformed(what: &str) -> ProviderError {
    ProviderError::new(Category::Malformed, format!("the stream has {what}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(text: &str, size: usize) -> (Vec<Value>, Option<Category>, bool) {
        let (mut parser, mut out) = (JsonObjects::default(), Vec::new());
        for piece in text.as_bytes().chunks(size) {
            if let Err(error) = parser.push(piece, &mut out) {
                return (out, Some(error.category), false);
            }
        }
        (out, None, parser.pending())
    }

    #[test]
    fn objects_are_found_in_every_framing_and_chunking() {
        let both = vec![json!({"a": "}\"{\\é"}), json!({"b": [{}, [1]]})];
        for text in [
            "{\"a\": \"}\\\"{\\\\é\"}\n{\"b\":[{},[1]]}\n",
            "[{\"a\": \"}\\\"{\\\\é\"}\n,\r\n{\"b\":[{},[1]]}]",
            "{\"a\": \"}\\\"{\\\\é\"}{\"b\":[{},[1]]}",
        ] {
            for size in [1, 2, 3, 7, 1000] {
                assert_eq!(parse(text, size), (both.clone(), None, false), "{text} in {size}");
            }
        }
    }

    #[test]
    fn what_is_no_object_is_told_after_what_came_before() {
        for text in ["{}<html>", "{}5", "{} {nonsense}", "{} {]"] {
            for size in [1, 1000] {
                assert_eq!(parse(text, size), (vec![json!({})], Some(Category::Malformed), false), "{text}");
            }
        }
        assert_eq!(parse("{} {\"a\": [", 1), (vec![json!({})], None, true));
        assert_eq!(parse("", 1), (Vec::new(), None, false));
    }

    #[test]
    fn the_limit_holds() {
        let mut parser = JsonObjects { limit: 8, ..JsonObjects::default() };
        parser.push(b"{\"a\":1} {\"a\":1}", &mut Vec::new()).unwrap();
        let error = parser.push(b"{\"a\":12345}", &mut Vec::new()).unwrap_err();
        assert_eq!(error.category, Category::AnswerTooLarge);
    }
}
