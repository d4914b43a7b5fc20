//! A vendor's description, as far as making requests wrong needs it.

use std::collections::BTreeSet;
use std::path::Path;

use http::Method;
use serde_json::{Map, Value};

use super::{Outcome, read};

/// An OpenAPI document.
pub(crate) struct Description {
    document: Value,
    /// What paths of the connector begin with at this document: its base URL may be further up or down than the document's.
    prefix: String,
}

/// An operation of it.
#[derive(Clone, Copy)]
pub(crate) struct Described<'a> {
    description: &'a Description,
    /// The path, with the vendor's names in braces.
    pub(crate) path: &'a str,
    shared: &'a Value,
    operation: &'a Value,
}

/// What a parameter is.
pub(crate) struct Parameter<'a> {
    pub(crate) name: &'a str,
    pub(crate) place: &'a str,
    pub(crate) required: bool,
    pub(crate) schema: &'a Value,
}

/// What stands behind the host of a URL, without a slash at the end.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default().trim_end_matches('/')
}

impl Description {
    pub(crate) fn read(file: &Path, base_url: &str) -> Outcome<Self> {
        let document = read(file)?;
        let server = document.pointer("/servers/0/url").and_then(Value::as_str).unwrap_or_default();
        let (ours, theirs) = (path_of(base_url), path_of(server));
        let prefix = ours.strip_prefix(theirs).filter(|rest| !rest.contains('{')).unwrap_or_default();
        Ok(Self { prefix: prefix.to_owned(), document })
    }

    /// The operation that requests of a template go to. What is variable in a segment is so on both sides.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Option<Described<'_>> {
        let ours = format!("{}{path}", self.prefix);
        let alike = |theirs: &str| {
            let (ours, theirs): (Vec<&str>, Vec<&str>) =
                (ours.split('/').collect(), theirs.split('/').collect());
            ours.len() == theirs.len()
                && ours.iter().zip(&theirs).all(|(a, b)| a == b || (a.contains('{') && b.contains('{')))
        };
        let paths = self.document.get("paths").and_then(Value::as_object)?;
        let method = method.as_str().to_ascii_lowercase();
        paths.iter().filter(|(theirs, _)| alike(theirs)).find_map(|(path, shared)| {
            let operation = shared.get(&method)?;
            Some(Described { description: self, path, shared, operation })
        })
    }

    /// What a reference leads to.
    fn resolve<'a>(&'a self, mut value: &'a Value) -> &'a Value {
        while let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            let found = reference.strip_prefix('#').and_then(|pointer| self.document.pointer(pointer));
            let Some(found) = found else { break };
            value = found;
        }
        value
    }

    /// The schemas that a schema is put together of.
    fn parts<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        let schema = self.resolve(schema);
        let mut parts = vec![schema];
        for word in ["allOf", "oneOf", "anyOf"] {
            let more = schema.get(word).and_then(Value::as_array).into_iter().flatten();
            more.for_each(|part| parts.extend(self.parts(part)));
        }
        parts
    }

    /// The types that a schema lets through; `None` where it may be any.
    pub(crate) fn types<'a>(&'a self, schema: &'a Value) -> Option<BTreeSet<&'a str>> {
        let schema = self.resolve(schema);
        let mut types: BTreeSet<&str> = match schema.get("type") {
            Some(Value::String(name)) => [name.as_str()].into(),
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => {
                let choices = |word| schema.get(word).and_then(Value::as_array);
                if let Some(parts) = choices("oneOf").or(choices("anyOf")) {
                    let mut all = BTreeSet::new();
                    for part in parts {
                        all.extend(self.types(part)?);
                    }
                    all
                } else {
                    choices("allOf")?.iter().find_map(|part| self.types(part))?
                }
            }
        };
        if types.contains("number") {
            types.insert("integer");
        }
        Some(types)
    }

    /// The schema of a field, wherever in the schema it stands; `None` where it stands in several, or in none.
    pub(crate) fn field<'a>(&'a self, schema: &'a Value, name: &str) -> Option<&'a Value> {
        let fields = self.parts(schema).into_iter().filter_map(|part| part.get("properties")?.get(name));
        let mut fields = fields.collect::<Vec<_>>();
        let first = fields.pop()?;
        fields.iter().all(|other| self.types(other) == self.types(first)).then_some(first)
    }

    /// The fields of a schema itself.
    pub(crate) fn fields<'a>(&'a self, schema: &'a Value) -> Vec<(&'a str, &'a Value)> {
        let fields = self.resolve(schema).get("properties").and_then(Value::as_object).into_iter().flatten();
        fields.map(|(name, field)| (name.as_str(), field)).collect()
    }

    /// Fields that every value has.
    pub(crate) fn required<'a>(&'a self, schema: &'a Value) -> Vec<&'a str> {
        let schema = self.resolve(schema);
        let own = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let mut required: Vec<&str> = own.filter_map(Value::as_str).collect();
        let parts = schema.get("allOf").and_then(Value::as_array).into_iter().flatten();
        parts.for_each(|part| required.extend(self.required(part)));
        required
    }

    /// Whether fields that it does not name are wrong.
    pub(crate) fn closed(&self, schema: &Value) -> bool {
        self.resolve(schema).get("additionalProperties") == Some(&Value::Bool(false))
    }

    /// The values that a schema names, where it does.
    pub(crate) fn choices<'a>(&'a self, schema: &'a Value) -> Option<&'a Vec<Value>> {
        self.resolve(schema).get("enum").and_then(Value::as_array)
    }
}

impl<'a> Described<'a> {
    pub(crate) fn description(&self) -> &'a Description {
        self.description
    }

    pub(crate) fn prefix(&self) -> &'a str {
        &self.description.prefix
    }

    pub(crate) fn parameters(&self) -> Vec<Parameter<'a>> {
        let lists = [self.operation, self.shared].into_iter().filter_map(|of| of.get("parameters"));
        let all =
            lists.filter_map(Value::as_array).flatten().map(|parameter| self.description.resolve(parameter));
        all.filter_map(|parameter| {
            Some(Parameter {
                name: parameter.get("name")?.as_str()?,
                place: parameter.get("in")?.as_str()?,
                required: parameter.get("required").and_then(Value::as_bool).unwrap_or(false),
                schema: parameter.get("schema").unwrap_or(&Value::Null),
            })
        })
        .collect()
    }

    /// The schema of the body in a form.
    pub(crate) fn body(&self, kind: &str) -> Option<&'a Value> {
        let body = self.description.resolve(self.operation.get("requestBody")?);
        let kind = kind.split(';').next().unwrap_or_default().trim();
        body.get("content")?.get(kind)?.get("schema")
    }

    /// Whether the body is described as a list and in parts, which no form is.
    pub(crate) fn is_list_in_parts(&self, kind: &str) -> bool {
        let kind_of = |schema: &Value| schema.get("type").and_then(Value::as_str) == Some("array");
        kind.starts_with("multipart/") && self.body(kind).is_some_and(kind_of)
    }

    /// Whether a request has to prove who asks.
    pub(crate) fn secured(&self) -> bool {
        let here = self.operation.get("security");
        let security = here.or_else(|| self.description.document.get("security")).and_then(Value::as_array);
        // An empty way among them is one that needs nothing.
        let needs = |way: &Value| way.as_object().is_some_and(|way: &Map<String, Value>| !way.is_empty());
        security.is_some_and(|ways| !ways.is_empty() && ways.iter().all(needs))
    }
}
