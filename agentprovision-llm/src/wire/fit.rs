//! Fields of one format in a request to a model that speaks another.

use agentprovision_core::model::WireFormat;
use agentprovision_core::{Error, Result};
use serde_json::{Map, Value, json};

/// Fields that ask for nothing that changes an answer: they go to a model of the same format and nowhere else.
const HINTS: [&str; 9] = [
    "user",
    "metadata",
    "store",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "cache_control",
    "include",
];

/// The fields of a request that the vocabulary has no place for, as `extra` of a request in the format `to`; as they are
/// where nobody says which format they are in.
///
/// # Errors
/// `invalid_input`, naming the field that the other format has no word for.
pub(crate) fn fit(
    from: Option<WireFormat>,
    to: WireFormat,
    fields: Map<String, Value>,
) -> Result<Map<String, Value>> {
    if from.is_none_or(|from| from == to) {
        return Ok(fields);
    }
    let mut out = Map::new();
    for (name, value) in fields {
        if HINTS.contains(&name.as_str()) || is_default(&name, &value) {
            continue;
        }
        let Some((name, value)) = translated(to, &name, value) else {
            let name = crate::clip(&name);
            return Err(Error::invalid(format!("`{name}`: the provider of this model has no such field")));
        };
        match out.get_mut(name) {
            Some(Value::Object(known)) => known.extend(value.as_object().cloned().unwrap_or_default()),
            _ => drop(out.insert(name.to_owned(), value)),
        }
    }
    Ok(out)
}

/// Whether a field says what holds without it.
fn is_default(name: &str, value: &Value) -> bool {
    match name {
        "parallel_tool_calls" => value == &json!(true),
        "frequency_penalty" | "presence_penalty" => value.as_f64() == Some(0.0),
        "service_tier" => ["auto", "default", "standard_only"].map(Value::from).contains(value),
        "thinking" => value.get("type") == Some(&json!("disabled")),
        "truncation" => value == &json!("disabled"),
        "text" => value.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

/// A field under its name in another format.
fn translated(to: WireFormat, name: &str, value: Value) -> Option<(&'static str, Value)> {
    use WireFormat::{ChatCompletions, Cohere, Converse, GenerateContent, Messages, Ollama, Responses};
    Some(match (name, to) {
        ("top_p", ChatCompletions | Responses | Messages) => ("top_p", value),
        ("top_p", GenerateContent) => ("generationConfig", json!({ "topP": value })),
        ("top_p", Converse) => ("inferenceConfig", json!({ "topP": value })),
        ("top_p", Cohere) => ("p", value),
        ("top_p", Ollama) => ("options", json!({ "top_p": value })),
        ("top_k", GenerateContent) => ("generationConfig", json!({ "topK": value })),
        ("top_k", Cohere) => ("k", value),
        ("top_k", Ollama) => ("options", json!({ "top_k": value })),
        ("parallel_tool_calls", ChatCompletions | Responses | Messages) => ("parallel_tool_calls", value),
        ("reasoning_effort", Responses) => ("reasoning", json!({ "effort": value })),
        ("reasoning", ChatCompletions) => {
            let fields = value.as_object()?;
            // How the reasoning is told is no part of how much there is of it.
            let known = |name: &String| ["effort", "summary", "generate_summary"].contains(&name.as_str());
            if !fields.keys().all(known) {
                return None;
            }
            ("reasoning_effort", fields.get("effort").filter(|effort| !effort.is_null())?.clone())
        }
        ("verbosity", Responses) => ("text", json!({ "verbosity": value })),
        ("text", ChatCompletions) => match value.as_object()?.iter().next() {
            Some((name, value)) if name == "verbosity" => ("verbosity", value.clone()),
            _ => return None,
        },
        ("response_format", Responses) => ("text", json!({ "format": value })),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(from: WireFormat, to: WireFormat, fields: Value) -> Result<Value, String> {
        let fields = fields.as_object().unwrap().clone();
        fit(Some(from), to, fields).map(Value::Object).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn fields_go_through_to_their_own_format_and_by_other_names_to_others() {
        use WireFormat::*;
        let fields = json!({"user": "u", "top_p": 0.5, "logit_bias": {"1": 2}});
        assert_eq!(fitted(ChatCompletions, ChatCompletions, fields.clone()), Ok(fields.clone()));
        let error = fitted(ChatCompletions, Messages, fields).unwrap_err();
        assert_eq!(error, "`logit_bias`: the provider of this model has no such field");
        let small = json!({"user": "u", "top_p": 0.5, "parallel_tool_calls": true, "presence_penalty": 0});
        for (to, expected) in [
            (Messages, json!({"top_p": 0.5})),
            (GenerateContent, json!({"generationConfig": {"topP": 0.5}})),
            (Converse, json!({"inferenceConfig": {"topP": 0.5}})),
            (Cohere, json!({"p": 0.5})),
            (Ollama, json!({"options": {"top_p": 0.5}})),
        ] {
            assert_eq!(fitted(ChatCompletions, to, small.clone()), Ok(expected));
        }
        let reasoning = json!({"reasoning": {"effort": "low", "summary": "auto"}, "text": {"verbosity": "low"}, "store": false});
        let expected = json!({"reasoning_effort": "low", "verbosity": "low"});
        assert_eq!(fitted(Responses, ChatCompletions, reasoning), Ok(expected.clone()));
        let back = json!({"reasoning": {"effort": "low"}, "text": {"verbosity": "low"}});
        assert_eq!(fitted(ChatCompletions, Responses, expected), Ok(back));
        let both = json!({"top_p": 1, "top_k": 3});
        assert_eq!(fitted(Messages, Ollama, both.clone()), Ok(json!({"options": {"top_p": 1, "top_k": 3}})));
        assert!(fitted(Messages, Unknown, both).is_err());
    }
}
