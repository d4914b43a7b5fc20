//! References within a JSON Schema, followed without recursion: a chain of them may be as long as a request, and whoever
//! follows it with a call for each would end the process.

use std::collections::HashMap;

use serde_json::Value;

use crate::error::{Error, Result};

/// The most references that may follow one another.
const LONGEST: usize = 64;

/// Whether references of the schema lead back to where they come from.
///
/// # Errors
/// `invalid_input` where more than 64 of them follow one another, or more than 64 are none by JSON pointer and so are not
/// followed here.
pub fn circular(schema: &Value) -> Result<bool> {
    let mut walk = Walk { root: schema, heights: HashMap::new(), unknown: 0 };
    let mut circle = false;
    let mut path = vec![walk.open(schema)];
    while let Some(last) = path.last_mut() {
        if last.height > LONGEST || walk.unknown > LONGEST {
            return Err(Error::invalid(format!(
                "more than {LONGEST} references of the schema follow one another"
            )));
        }
        let Some(next) = last.left.pop() else {
            let height = last.height;
            walk.heights.insert(last.schema, Some(height));
            path.pop();
            path.iter_mut().last().into_iter().for_each(|above| above.height = above.height.max(height + 1));
            continue;
        };
        match walk.heights.get(&std::ptr::from_ref(next)) {
            Some(None) => circle = true,
            Some(Some(height)) => last.height = last.height.max(height + 1),
            // One step down for the whole schema, which leads everywhere.
            None if path.len() > LONGEST + 1 => {
                return Err(Error::invalid(format!(
                    "more than {LONGEST} references of the schema follow one another"
                )));
            }
            None => path.push(walk.open(next)),
        }
    }
    Ok(circle)
}

struct Walk<'a> {
    root: &'a Value,
    /// By the address of a schema how many references follow one another below it; `None` while it is followed.
    heights: HashMap<*const Value, Option<usize>>,
    /// References that are not followed.
    unknown: usize,
}

/// A schema whose references are followed.
struct Followed<'a> {
    schema: &'a Value,
    left: Vec<&'a Value>,
    height: usize,
}

impl<'a> Walk<'a> {
    fn open(&mut self, schema: &'a Value) -> Followed<'a> {
        self.heights.insert(schema, None);
        let (mut parts, mut left) = (vec![schema], Vec::new());
        while let Some(part) = parts.pop() {
            match part {
                Value::Object(fields) => {
                    for (name, value) in fields {
                        match (name.as_str(), value) {
                            ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(target)) => {
                                let pointer = target.strip_prefix('#');
                                match pointer.and_then(|pointer| self.root.pointer(pointer)) {
                                    Some(found) => left.push(found),
                                    None => self.unknown += 1,
                                }
                            }
                            _ => parts.push(value),
                        }
                    }
                }
                Value::Array(items) => parts.extend(items),
                _ => {}
            }
        }
        Followed { schema, left, height: 0 }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    fn chain(length: usize, link: impl Fn(usize) -> Value) -> Value {
        let mut definitions: Map<String, Value> =
            (1..length).map(|at| (format!("d{}", at - 1), link(at))).collect();
        definitions.insert(format!("d{}", length - 1), json!({"type": "string"}));
        json!({"type": "object", "properties": {"x": {"$ref": "#/$defs/d0"}}, "$defs": definitions})
    }

    #[test]
    fn chains_are_refused_however_long_and_however_written() {
        let pointer = |at: usize| json!({"$ref": format!("#/$defs/d{at}")});
        let nested = |at: usize| json!({"anyOf": [{"items": {"$ref": format!("#/$defs/d{at}")}}]});
        let encoded = |at: usize| json!({"$ref": format!("#/%24defs/d{at}")});
        let anchor = |at: usize| json!({"$anchor": format!("a{}", at - 1), "$ref": format!("#a{at}")});
        assert!(!circular(&chain(60, pointer)).unwrap());
        for length in [100, 1_000, 20_000, 100_000] {
            for schema in
                [chain(length, pointer), chain(length, nested), chain(length, encoded), chain(length, anchor)]
            {
                let ended = std::sync::mpsc::channel();
                std::thread::spawn(move || ended.0.send(circular(&schema)));
                let outcome = ended.1.recv_timeout(std::time::Duration::from_secs(30)).expect("it hangs");
                assert!(outcome.unwrap_err().is(crate::ErrorKind::InvalidInput), "{length}");
            }
        }
        // Each of many definitions refers to all after it.
        let all = |at: usize| (at..300).map(|at| json!({"$ref": format!("#/$defs/d{at}")}));
        assert!(circular(&chain(300, |at| json!({"anyOf": all(at).collect::<Vec<_>>()}))).is_err());
    }

    #[test]
    fn circles_are_told_from_two_ways_to_one_place() {
        for (schema, expected) in [
            (json!({"type": "string"}), false),
            (json!(true), false),
            (json!({"a": {"$ref": "#/$defs/x"}, "b": {"$ref": "#/$defs/x"}, "$defs": {"x": {}}}), false),
            (json!({"items": {"$ref": "#"}}), true),
            (json!({"$defs": {"x": {"items": {"$ref": "#/$defs/x"}}}}), true),
            (
                json!({"$defs": {"x": {"items": {"$ref": "#/$defs/y"}}, "y": {"not": {"$ref": "#/$defs/x"}}}}),
                true,
            ),
            (json!({"$ref": "https://example.com/x"}), false),
        ] {
            assert_eq!(circular(&schema).unwrap(), expected, "{schema}");
        }
    }
}
