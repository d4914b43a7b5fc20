//! Arguments of a function call that come in pieces, each with the JSON path of where it belongs (Vertex AI,
//! `streamFunctionCallArguments`).

use serde_json::{Map, Value};

use crate::wire::{Category, ProviderError};

/// The deepest path that is followed; deeper values could not be read back.
const DEEPEST: usize = 64;
/// The longest list that is built.
const LONGEST: usize = 100_000;

#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// Puts one element of `partialArgs` into `arguments`. Text goes on where there is text already.
///
/// # Errors
/// [`Category::Malformed`] when the path is none or leads elsewhere than what is there.
pub(super) fn apply(arguments: &mut Value, piece: &Value) -> Result<(), ProviderError> {
    let path = piece.get("jsonPath").and_then(Value::as_str).unwrap_or_default();
    let bad =
        || ProviderError::new(Category::Malformed, "a piece of arguments has no path to where it belongs");
    let steps = steps(path).ok_or_else(bad)?;
    let mut place = arguments;
    for step in steps {
        place = match step {
            Step::Key(key) => {
                if place.is_null() {
                    *place = Value::Object(Map::new());
                }
                place.as_object_mut().ok_or_else(bad)?.entry(key).or_insert(Value::Null)
            }
            Step::Index(index) => {
                if place.is_null() {
                    *place = Value::Array(Vec::new());
                }
                let list = place.as_array_mut().ok_or_else(bad)?;
                if index >= LONGEST {
                    return Err(bad());
                }
                if list.len() <= index {
                    list.resize(index + 1, Value::Null);
                }
                list.get_mut(index).ok_or_else(bad)?
            }
        };
    }
    if let Some(text) = piece.get("stringValue").and_then(Value::as_str) {
        match place {
            Value::String(held) => held.push_str(text),
            place => *place = Value::String(text.to_owned()),
        }
    } else if let Some(value) = piece.get("numberValue").or_else(|| piece.get("boolValue")) {
        // Numbers are doubles on the wire; a whole one is meant as an integer.
        *place = match value.as_f64() {
            Some(number) if value.is_f64() && number.fract() == 0.0 && number.abs() < 9e15 => {
                Value::from(number as i64)
            }
            _ => value.clone(),
        };
    } else if piece.get("nullValue").is_some() {
        *place = Value::Null;
    }
    Ok(())
}

/// The steps of a path such as `$.a[0]['b c']` (RFC 9535, singular queries).
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if steps.len() >= DEEPEST {
            return None;
        }
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (key, after) = after.split_at(end);
            if key.is_empty() {
                return None;
            }
            steps.push(Step::Key(key.to_owned()));
            rest = after;
        } else {
            let after = rest.strip_prefix('[')?;
            if let Some(quote) = after.chars().next().filter(|quote| matches!(quote, '\'' | '"')) {
                let (key, after) = quoted(after.get(1..)?, quote)?;
                steps.push(Step::Key(key));
                rest = after.strip_prefix(']')?;
            } else {
                let (index, after) = after.split_once(']')?;
                steps.push(Step::Index(index.parse().ok()?));
                rest = after;
            }
        }
    }
    Some(steps)
}

/// The text up to the closing quote, and what follows it.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if escaped {
            out.push(c);
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return Some((out, text.get(at + c.len_utf8()..)?));
        } else {
            out.push(c);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pieces_go_where_their_paths_lead() {
        let mut arguments = json!({});
        for piece in [
            json!({"jsonPath": "$.a", "stringValue": "Bos"}),
            json!({"jsonPath": "$.a", "stringValue": "ton"}),
            json!({"jsonPath": "$.list[0].x", "numberValue": 1.0}),
            json!({"jsonPath": "$.list[2]['y z']", "numberValue": 1.5}),
            json!({"jsonPath": "$[\"it's\"]", "boolValue": true}),
            json!({"jsonPath": "$['a\\'b']", "nullValue": "NULL_VALUE"}),
        ] {
            apply(&mut arguments, &piece).unwrap();
        }
        let expected =
            json!({"a": "Boston", "list": [{"x": 1}, null, {"y z": 1.5}], "it's": true, "a'b": null});
        assert_eq!(arguments, expected);
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        let deep = format!("${}", ".a".repeat(65));
        for path in
            ["", "a", "$.", "$..a", "$[", "$[x]", "$['a", "$['a'", "$[100000]", "$.a.b", "$[0]", "$é", &deep]
        {
            let mut arguments = json!({"a": 1});
            let error = apply(&mut arguments, &json!({"jsonPath": path, "stringValue": "x"})).unwrap_err();
            assert_eq!(error.category, Category::Malformed, "{path}");
        }
        assert!(apply(&mut json!({}), &json!({})).is_err());
    }
}
