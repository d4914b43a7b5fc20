//! What is expected against what came out.

use serde_json::{Value, json};

use super::Outcome;

/// Every leaf of `expected` must be in `actual`.
pub(crate) fn compare(path: &str, expected: &Value, actual: &Value) -> Outcome<()> {
    let differs = || Err(format!("{path}: expected {}, got {}", short(expected), short(actual)));
    match (expected, actual) {
        // Arguments are compared as a whole; in every other object a key may be left unsaid.
        (Value::Object(_), Value::Object(_)) if path.ends_with("/arguments") => {
            if expected == actual {
                Ok(())
            } else {
                differs()
            }
        }
        (Value::Object(fields), Value::Object(found)) => fields.iter().try_for_each(|(name, value)| {
            let path = format!("{path}/{name}");
            let found = found.get(name).ok_or_else(|| format!("{path}: a key this program does not know"))?;
            compare(&path, value, found)
        }),
        (Value::Array(items), Value::Array(found)) if items.len() == found.len() => {
            let pairs = items.iter().zip(found).enumerate();
            pairs
                .into_iter()
                .try_for_each(|(at, (item, found))| compare(&format!("{path}/{at}"), item, found))
        }
        // The beginning of a message, and a kind of malformed answer, are expected as prefixes.
        (Value::String(prefix), Value::String(found))
            if path.ends_with("/message_prefix") || path.ends_with("/malformed") =>
        {
            if found.starts_with(prefix.as_str()) { Ok(()) } else { differs() }
        }
        // A code or reason may be a number on the wire; here it is text.
        (Value::Number(number), Value::String(found))
            if path.ends_with("code") || path.ends_with("/finish_reason_raw") =>
        {
            if number.to_string() == *found { Ok(()) } else { differs() }
        }
        // A call without an id has an empty one.
        (Value::Null, Value::String(found)) if path.ends_with("/id") && found.is_empty() => Ok(()),
        // The numbers of a vector are expected with six places.
        (Value::Number(number), Value::Number(found)) if path.starts_with("/first3/") => {
            let apart = number.as_f64().zip(found.as_f64()).map(|(number, found)| (number - found).abs());
            if apart.is_some_and(|apart| apart < 2e-6) { Ok(()) } else { differs() }
        }
        _ if expected == actual => Ok(()),
        _ => differs(),
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 120 {
        format!("{}…", text.chars().take(120).collect::<String>())
    } else {
        text
    }
}

/// JSON pointers to every leaf; an empty list or object is one.
pub(crate) fn leaves(value: &Value) -> Vec<String> {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.replace('~', "~0").replace('/', "~1"), value)).collect()
        }
        Value::Array(items) => items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect(),
        _ => Vec::new(),
    };
    if children.is_empty() {
        return vec![String::new()];
    }
    let below =
        |(name, value): (String, &Value)| leaves(value).into_iter().map(move |rest| format!("/{name}{rest}"));
    children.into_iter().flat_map(below).collect()
}

pub(crate) fn alter(leaf: &Value) -> Value {
    match leaf {
        Value::Null => json!("altered"),
        Value::Bool(value) => json!(!value),
        Value::Number(number) => json!(number.as_f64().unwrap_or(0.0) + 1.0),
        Value::String(text) => json!(format!("{text}~")),
        Value::Array(_) => json!(["altered"]),
        Value::Object(_) => json!({"altered": true}),
    }
}

pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
