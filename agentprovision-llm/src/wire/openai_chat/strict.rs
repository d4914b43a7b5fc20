//! Schemas that strict output takes.

use serde_json::{Map, Value, json};

/// Whether a schema keeps the rules of strict output: every object closed, every property required. Asking for strict
/// output with another schema is refused by OpenAI.
pub(in crate::wire) fn is_strict(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => {
            let object = fields.get("type") == Some(&json!("object")) || fields.contains_key("properties");
            let closed = || {
                let required: Vec<&Value> =
                    fields.get("required").and_then(Value::as_array).into_iter().flatten().collect();
                fields.get("additionalProperties") == Some(&Value::Bool(false))
                    && fields
                        .get("properties")
                        .and_then(Value::as_object)
                        .into_iter()
                        .flat_map(Map::keys)
                        .all(|name| required.iter().any(|required| *required == name))
            };
            (!object || closed()) && fields.values().all(is_strict)
        }
        Value::Array(items) => items.iter().all(is_strict),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_output_is_asked_for_only_where_the_schema_allows_it() {
        let closed = json!({"type": "object", "properties": {}, "additionalProperties": false});
        assert!(is_strict(&closed));
        assert!(!is_strict(&json!({"type": "object", "properties": {}})));
        assert!(!is_strict(&json!({"type": "array", "items": {"type": "object"}})));
        let optional =
            json!({"properties": {"a": closed, "b": {}}, "required": ["a"], "additionalProperties": false});
        assert!(!is_strict(&optional));
    }
}
