//! The tools of a platform, by name, with their compiled schemas.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::Tool;
use crate::error::{Error, Result};

struct Entry {
    tool: Arc<dyn Tool>,
    schema: jsonschema::Validator,
}

/// The tools of a platform, by name. Their schemas are compiled once, when they are added.
#[derive(Clone, Default)]
pub struct ToolSet(BTreeMap<String, Arc<Entry>>);

impl fmt::Debug for ToolSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl ToolSet {
    /// Adds a tool.
    ///
    /// # Errors
    /// `invalid_input` when the name is no tool name or the schema is no schema of an object; `already_exists` when the
    /// name is taken.
    pub fn add(&mut self, tool: Arc<dyn Tool>) -> Result<()> {
        let spec = tool.spec();
        let name = spec.name.clone();
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if !(1..=64).contains(&name.len()) || !name.bytes().all(fits) {
            return Err(Error::invalid(format!(
                "`{}` is not a tool name: 1 to 64 letters, digits, `_` and `-`",
                crate::money::clip(&name)
            )));
        }
        if spec.input_schema.get("type").and_then(Value::as_str) != Some("object") {
            return Err(Error::invalid(format!(
                "the input schema of the tool `{name}` is not of type `object`"
            )));
        }
        if spec.timeout_ms == 0 {
            return Err(Error::invalid(format!("the tool `{name}` has no time: its timeout is 0 ms")));
        }
        let schema = compile(&format!("the input schema of the tool `{name}`"), &spec.input_schema)?;
        if self.0.contains_key(&name) {
            return Err(Error::already_exists(format!("there is already a tool `{name}`")));
        }
        self.0.insert(name, Arc::new(Entry { tool, schema }));
        Ok(())
    }

    /// The tool with this name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Tool>> {
        self.0.get(name).map(|entry| &entry.tool)
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The tool, if the input matches its schema.
    ///
    /// # Errors
    /// `not_found` for an unknown tool, naming those there are; `invalid_input` naming every violation.
    pub fn checked(&self, name: &str, input: &Value) -> Result<&Arc<dyn Tool>> {
        let entry = self.0.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.names().collect();
            Error::not_found(format!(
                "unknown tool `{}`; there are {}",
                crate::money::clip(name),
                names.join(", ")
            ))
        })?;
        check(&format!("the input of `{name}`"), &entry.schema, input)?;
        Ok(&entry.tool)
    }
}

/// Compiles a JSON Schema (draft 2020-12 unless it says otherwise); references leave the document never.
pub(crate) fn compile(what: &str, schema: &Value) -> Result<jsonschema::Validator> {
    crate::references::circular(schema)
        .map_err(|error| Error::invalid(format!("{what}: {}", error.message())))?;
    jsonschema::validator_for(schema)
        .map_err(|error| Error::invalid(format!("{what} is not a JSON Schema: {error}")))
}

/// Refuses a value that does not match, naming at most five violations.
pub(crate) fn check(what: &str, schema: &jsonschema::Validator, value: &Value) -> Result<()> {
    let problems: Vec<String> = schema
        .iter_errors(value)
        .take(5)
        .map(|error| match error.instance_path().to_string() {
            path if path.is_empty() => error.to_string(),
            path => format!("{error} at `{path}`"),
        })
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Error::invalid(format!("{what} does not match its schema: {}", problems.join("; "))))
    }
}
