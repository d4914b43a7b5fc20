//! JSON Schemas for providers that hold the answer to a grammar: every object closed, no limits on numbers, lengths and
//! counts (Anthropic, "Structured outputs"; Amazon Bedrock, "Get validated JSON results").
//!
//! A limit that the grammar cannot hold goes into the description, so that the model still reads it; whoever checks the
//! answer checks it against the whole schema. What would let the answer have another shape is refused.

use agentprovision_core::{Error, Result, references};
use serde_json::{Map, Value, json};

use crate::clip;

/// The deepest schema that is read.
const DEEPEST: usize = 64;
/// The most definitions; more than any grammar has room for.
const DEFINITIONS: usize = 1000;

/// Kept as they are.
const KEPT: [&str; 7] = ["type", "enum", "const", "description", "title", "default", "required"];
/// Say nothing about the shape of an answer.
const NOTES: [&str; 7] =
    ["$schema", "$id", "$comment", "$anchor", "examples", "deprecated", "contentMediaType"];
/// Limits that only make valid answers fewer.
const LIMITS: [&str; 14] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
];
/// Cannot be left out without giving the answer another shape.
const REFUSED: [&str; 13] = [
    "not",
    "if",
    "then",
    "else",
    "patternProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "prefixItems",
    "contains",
    "unevaluatedProperties",
    "unevaluatedItems",
    "$dynamicRef",
];
/// The formats of texts the grammars know.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// The schema as the provider takes it.
///
/// # Errors
/// `invalid_input` naming the keyword that cannot be left out.
pub(super) fn reduce(schema: &Value) -> Result<Value> {
    let Some(fields) = schema.as_object() else {
        return Err(Error::invalid("the output schema must be a JSON object"));
    };
    let groups = ["$defs", "definitions"].into_iter().filter_map(|name| fields.get(name)?.as_object());
    if groups.map(Map::len).sum::<usize>() > DEFINITIONS {
        return Err(Error::invalid(format!("the output schema has more than {DEFINITIONS} definitions")));
    }
    if references::circular(schema)? {
        return Err(refused("$ref", "to itself"));
    }
    part(schema, 0)
}

fn refused(keyword: &str, what: &str) -> Error {
    let what = if what.is_empty() { String::new() } else { format!(" {what}") };
    Error::invalid(format!("the provider cannot hold an answer to a schema with `{}`{what}", clip(keyword)))
}

fn part(schema: &Value, depth: usize) -> Result<Value> {
    let Some(fields) = schema.as_object() else {
        // `true` and `{}` allow anything, for which there is no grammar.
        return Err(Error::invalid("every part of the output schema must say its type"));
    };
    if depth > DEEPEST {
        return Err(Error::invalid("the output schema is nested too deeply"));
    }
    let mut out = Map::new();
    let mut limits = Vec::new();
    for (name, value) in fields {
        match name.as_str() {
            "properties" | "$defs" | "definitions" => {
                let parts = value.as_object().into_iter().flatten();
                let parts = parts.map(|(name, value)| Ok((name.clone(), part(value, depth + 1)?)));
                out.insert(name.clone(), Value::Object(parts.collect::<Result<_>>()?));
            }
            "items" => drop(out.insert(name.clone(), part(value, depth + 1)?)),
            "anyOf" | "oneOf" | "allOf" => {
                let parts = value.as_array().into_iter().flatten().map(|value| part(value, depth + 1));
                let parts = parts.collect::<Result<Vec<_>>>()?;
                let closed = |part: &Value| {
                    ["$ref", "additionalProperties"].iter().any(|word| part.get(word).is_some())
                };
                if name == "allOf" && parts.len() > 1 && parts.iter().any(closed) {
                    // Closed, no part allows what another asks for.
                    return Err(refused("allOf", "of several objects"));
                }
                // Which of several forms an answer has shows from the answer.
                let name = if name == "oneOf" { "anyOf" } else { name };
                if out.insert(name.to_owned(), Value::Array(parts)).is_some() {
                    return Err(refused("oneOf", "beside `anyOf`"));
                }
            }
            "$ref" => match value.as_str() {
                Some(target) if target.starts_with("#/$defs/") || target.starts_with("#/definitions/") => {
                    out.insert(name.clone(), value.clone());
                }
                _ => return Err(refused("$ref", "to another place than its definitions")),
            },
            "additionalProperties" if value.as_object().is_some_and(|fields| !fields.is_empty()) => {
                return Err(refused("additionalProperties", "of its own form"));
            }
            "format" if FORMATS.iter().any(|format| value == format) => {
                out.insert(name.clone(), value.clone());
            }
            "enum" | "const" if is_complex(name, value) => return Err(refused(name, "of objects or lists")),
            "minItems" if matches!(value.as_u64(), Some(0 | 1)) => {
                drop(out.insert(name.clone(), value.clone()))
            }
            keyword if REFUSED.contains(&keyword) => return Err(refused(keyword, "")),
            keyword if LIMITS.contains(&keyword) => limits.push(format!("{keyword}: {value}")),
            keyword if KEPT.contains(&keyword) => drop(out.insert(name.clone(), value.clone())),
            keyword if NOTES.contains(&keyword) => {}
            // Words of somebody's own say nothing to a validator.
            _ => {}
        }
    }
    if !["type", "enum", "const", "anyOf", "allOf", "$ref"].iter().any(|keyword| out.contains_key(*keyword)) {
        if !out.contains_key("properties") {
            return Err(Error::invalid("every part of the output schema must say its type"));
        }
        out.insert("type".into(), json!("object"));
    }
    let is_object = match out.get("type") {
        Some(Value::Array(types)) => types.iter().any(|kind| kind == "object"),
        Some(kind) => kind == "object",
        None => out.contains_key("properties"),
    };
    if is_object {
        let has = |keyword: &&str| out.contains_key(*keyword);
        match (out.contains_key("properties"), ["anyOf", "allOf", "$ref"].iter().find(|keyword| has(keyword)))
        {
            // Each form closes itself, and this part adds nothing of its own.
            (false, Some(_)) => drop(out.remove("type")),
            (true, Some(keyword)) => return Err(refused(keyword, "beside `properties`")),
            // Closed, it could only be empty.
            (false, None) if fields.get("additionalProperties") != Some(&Value::Bool(false)) => {
                return Err(refused("type", "`object` and no properties"));
            }
            _ => drop(out.insert("additionalProperties".into(), Value::Bool(false))),
        }
    }
    if !limits.is_empty() {
        let described = out.get("description").and_then(Value::as_str).unwrap_or_default();
        let gap = if described.is_empty() { "" } else { "\n\n" };
        let description = format!("{described}{gap}({})", limits.join(", "));
        out.insert("description".into(), Value::String(description));
    }
    Ok(Value::Object(out))
}

/// Whether a value that an answer may have is an object or a list, or a choice among such values.
fn is_complex(keyword: &str, value: &Value) -> bool {
    let complex = |value: &Value| value.is_object() || value.is_array();
    value.is_object()
        || keyword == "const" && value.is_array()
        || value.as_array().is_some_and(|items| items.iter().any(complex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_closed_and_limits_become_words() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "City",
            "properties": {
                "name": {"type": "string", "minLength": 2, "description": "its name"},
                "size": {"type": ["integer", "null"], "minimum": 1, "maximum": 9},
                "mail": {"type": "string", "format": "email"},
                "code": {"type": "string", "format": "regex"},
                "tags": {"type": "array", "items": {"oneOf": [{"type": "string"}, {"const": 1}]}, "minItems": 1,
                    "maxItems": 3, "x-mine": 1},
                "near": {"$ref": "#/$defs/Point"},
                "none": {"type": "object", "additionalProperties": false},
            },
            "required": ["name"],
            "additionalProperties": true,
            "$defs": {"Point": {"type": "object", "properties": {"x": {"type": "number"}}}},
        });
        let expected = json!({
            "type": "object",
            "title": "City",
            "properties": {
                "name": {"type": "string", "description": "its name\n\n(minLength: 2)"},
                "size": {"type": ["integer", "null"], "description": "(maximum: 9, minimum: 1)"},
                "mail": {"type": "string", "format": "email"},
                "code": {"type": "string", "description": "(format: \"regex\")"},
                "tags": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"const": 1}]}, "minItems": 1,
                    "description": "(maxItems: 3)"},
                "near": {"$ref": "#/$defs/Point"},
                "none": {"type": "object", "additionalProperties": false},
            },
            "required": ["name"],
            "additionalProperties": false,
            "$defs": {"Point": {"type": "object", "properties": {"x": {"type": "number"}},
                "additionalProperties": false}},
        });
        assert_eq!(reduce(&schema).unwrap(), expected);
        let forms = json!({"type": "object", "oneOf": [expected]});
        assert_eq!(reduce(&forms).unwrap(), json!({"anyOf": [expected]}));
        // What it gives it leaves alone.
        assert_eq!(reduce(&expected).unwrap(), expected);
    }

    #[test]
    fn what_would_change_the_shape_is_refused_by_name() {
        let inner = |keyword: &str, value: Value| json!({"type": "object", "properties": {"a": {"type": "object", "properties": {}, keyword: value}}});
        for keyword in REFUSED {
            let error = reduce(&inner(keyword, json!({}))).unwrap_err();
            assert!(error.message().contains(&format!("`{keyword}`")), "{error}");
        }
        for (schema, word) in [
            (inner("additionalProperties", json!({"type": "string"})), "additionalProperties"),
            (inner("$ref", json!("https://example.com/x")), "another place"),
            (json!({"type": "object"}), "no properties"),
            (json!({"type": "object", "properties": {"a": true}}), "type"),
            (json!({"type": "array", "items": {}}), "type"),
            (json!({"oneOf": [], "anyOf": []}), "oneOf"),
            (json!({"enum": ["a", {}]}), "`enum`"),
            (json!({"const": {}}), "`const`"),
            (json!({"const": [1]}), "`const`"),
            (json!({"allOf": [{"properties": {}}, {"type": "object", "properties": {}}]}), "`allOf`"),
            (json!({"properties": {}, "anyOf": []}), "`anyOf` beside `properties`"),
            (json!(true), "object"),
        ] {
            let error = reduce(&schema).unwrap_err();
            assert!(error.is(agentprovision_core::ErrorKind::InvalidInput), "{schema}");
            assert!(error.message().contains(word), "{error}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_is_refused_however_it_does() {
        let tree = json!({"$ref": "#/$defs/A", "$defs": {
            "A": {"type": "object", "properties": {"b": {"$ref": "#/$defs/B"}}},
            "B": {"type": "array", "items": {"$ref": "#/$defs/A"}},
        }});
        assert!(reduce(&tree).unwrap_err().message().contains("to itself"));
        let twice = json!({"type": "object", "properties": {"x": {"$ref": "#/$defs/A"}, "y": {"$ref": "#/$defs/A"}},
            "$defs": {"A": {"type": "string"}}});
        assert!(reduce(&twice).is_ok());
        let root = json!({"type": "object", "properties": {"x": {"$ref": "#"}}});
        assert!(reduce(&root).is_err());
        let mut deep = json!({"type": "string"});
        for _ in 0..100 {
            deep = json!({"type": "array", "items": deep});
        }
        assert!(reduce(&deep).unwrap_err().message().contains("deeply"));
    }

    #[test]
    fn chains_of_references_are_refused_however_long() {
        let chain = |length: usize| {
            let link = |at: usize| json!({"$ref": format!("#/$defs/d{at}")});
            let mut definitions: Map<String, Value> =
                (1..length).map(|at| (format!("d{}", at - 1), link(at))).collect();
            definitions.insert(format!("d{}", length - 1), json!({"type": "string"}));
            json!({"type": "object", "properties": {"x": {"$ref": "#/$defs/d0"}}, "$defs": definitions})
        };
        assert!(reduce(&chain(30)).is_ok());
        for length in [100, 1_000, 20_000, 100_000] {
            let (schema, (done, ended)) = (chain(length), std::sync::mpsc::channel());
            std::thread::spawn(move || done.send(reduce(&schema)));
            let outcome = ended.recv_timeout(std::time::Duration::from_secs(30)).expect("it hangs");
            assert!(outcome.unwrap_err().is(agentprovision_core::ErrorKind::InvalidInput), "{length}");
        }
    }
}
