//! What the recordings show of each provider.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::compare::{list, text};

/// What a recording can show, in the order of the columns of the README's table of providers.
pub(crate) const SHOWN: [&str; 7] =
    ["chat", "stream", "tools", "structured output", "images", "embeddings", "rerank"];

/// For each provider, by its name here: how many cases were recorded from it, and how many of these show what.
pub(crate) type Evidence = BTreeMap<String, (usize, BTreeMap<&'static str, usize>)>;

/// Counts a case. One that was composed, quoted or written by hand shows nothing of its provider.
pub(crate) fn count(folder: &Path, case: &Value, evidence: &mut Evidence) {
    let provenance = case.pointer("/source/provenance").and_then(Value::as_str).unwrap_or_default();
    if !provenance.starts_with("recorded") && !provenance.starts_with("sanitised") {
        return;
    }
    let request = std::fs::read(folder.join(text(case, "request_file"))).unwrap_or_default();
    let request = serde_json::from_slice(&request).unwrap_or(Value::Null);
    let (cases, shown) = evidence.entry(provider(case).to_owned()).or_default();
    *cases += 1;
    for what in shows(case, &request) {
        *shown.entry(what).or_default() += 1;
    }
}

/// The provider of this library that a case is evidence for: some were recorded from services that are reached as an
/// endpoint that speaks OpenAI's format.
fn provider(case: &Value) -> &str {
    match (text(case, "provider"), text(case, "api")) {
        ("doubleword" | "gemini-openai-compat" | "gpustack" | "openai-compatible" | "voyage", _) => {
            "openai_compatible"
        }
        ("ollama", api) if api.starts_with("openai.") => "openai_compatible",
        (name, _) => name,
    }
}

fn shows(case: &Value, request: &Value) -> Vec<&'static str> {
    let (api, kind) = (text(case, "api"), text(case, "kind"));
    let mut out = Vec::new();
    if api.contains("rerank") {
        out.extend((kind == "response").then_some("rerank"));
        return out;
    }
    if api.contains("embed") {
        out.extend((kind == "response").then_some("embeddings"));
        return out;
    }
    match kind {
        "response" => out.push("chat"),
        "stream" => out.push("stream"),
        _ => return out,
    }
    let expected = case.get("expected").unwrap_or(&Value::Null);
    if !list(expected, "tool_calls").is_empty() {
        out.push("tools");
    }
    let asks = |fields: &[&str], types: &[&str]| {
        mentions(request, &|name, value| {
            fields.contains(&name) && !value.is_null()
                || name == "type" && value.as_str().is_some_and(|value| types.contains(&value))
        })
    };
    if asks(&["responseSchema", "responseJsonSchema"], &["json_schema"]) {
        out.push("structured output");
    }
    if asks(&["inlineData", "images"], &["image", "input_image", "image_url"]) {
        out.push("images");
    }
    out
}

/// Whether any field at any depth is of that kind.
fn mentions(value: &Value, wanted: &dyn Fn(&str, &Value) -> bool) -> bool {
    match value {
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| wanted(name, value) || mentions(value, wanted))
        }
        Value::Array(items) => items.iter().any(|item| mentions(item, wanted)),
        _ => false,
    }
}

/// One line a provider.
pub(crate) fn lines(evidence: &Evidence) -> Vec<String> {
    let line = |(name, (cases, shown)): (&String, &(usize, BTreeMap<&str, usize>))| {
        let of = |what: &&str| shown.get(what).map(|count| format!("{what} {count}"));
        let parts: Vec<String> = SHOWN.iter().filter_map(of).collect();
        let rest = if parts.is_empty() { "errors only".to_owned() } else { parts.join(", ") };
        format!("{name}: {cases} recorded ({rest})")
    };
    evidence.iter().map(line).collect()
}
