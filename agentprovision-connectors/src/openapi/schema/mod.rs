//! From the schemas of a document to JSON Schema 2020-12, one document for each input and output.
//!
//! References become references to `$defs`, so cycles stay what they are. What belongs to OpenAPI alone goes. The dialect of
//! OpenAPI 3.0 is translated: `nullable`, `exclusiveMinimum: true`, `example`, and `$ref`, beside which nothing else counts.

mod loosen;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use agentprovision_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::document::{Document, short};

/// The longest description of a field, in characters.
const DESCRIPTION: usize = 500;

/// What a schema describes, for fields that are only sent or only answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// What is sent.
    Input,
    /// What is answered.
    Output,
}

/// Makes JSON Schemas of the schemas of a document.
pub(super) struct Schemas<'d> {
    document: &'d Document,
    /// The longest schema, in bytes.
    most: usize,
    /// Patterns that were tried, and whether they can be used.
    patterns: RefCell<HashMap<String, bool>>,
}

/// One schema that is being made.
struct Work<'s, 'd> {
    schemas: &'s Schemas<'d>,
    side: Side,
    /// Names of definitions, by reference.
    names: BTreeMap<String, String>,
    taken: BTreeSet<String>,
    /// Definitions that were referred to and not made yet, the nearest first.
    waiting: VecDeque<(String, &'d Value)>,
}

/// Keywords whose value is a schema.
const ONE: &[&str] = &[
    "additionalItems",
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords whose value is a list of schemas.
const LIST: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords whose value has schemas by name.
const NAMED: &[&str] = &["dependentSchemas", "patternProperties", "properties"];
/// Keywords that say nothing to whoever checks a value or calls an operation, or that would change what references mean.
const DROPPED: &[&str] = &[
    "$anchor",
    "$comment",
    "$defs",
    "$dynamicAnchor",
    "$id",
    "$schema",
    "$vocabulary",
    "definitions",
    "discriminator",
    "example",
    "externalDocs",
    "id",
    "nullable",
    "readOnly",
    "writeOnly",
    "xml",
];

impl<'d> Schemas<'d> {
    pub(super) fn new(document: &'d Document, most: usize) -> Self {
        Self { document, most, patterns: RefCell::default() }
    }

    /// The JSON Schema of a schema. Definitions that make it too long are left out, those that are furthest away first: then
    /// anything will do in their place. `None` where it is too long without any.
    ///
    /// # Errors
    /// `invalid_input`, `blocked` or `unsupported` for references that cannot be followed.
    pub(super) fn schema(&self, raw: &Value, side: Side) -> Result<Option<Value>> {
        let mut work = Work {
            schemas: self,
            side,
            names: BTreeMap::new(),
            taken: BTreeSet::new(),
            waiting: VecDeque::new(),
        };
        let root = work.convert(raw)?;
        let mut size = root.to_string().len();
        if size > self.most {
            return Ok(None);
        }
        let mut definitions = BTreeMap::new();
        while let Some((name, raw)) = work.waiting.pop_front() {
            let definition = work.convert(raw)?;
            size += definition.to_string().len() + name.len();
            if size > self.most {
                break;
            }
            definitions.insert(name, definition);
        }
        Ok(Some(loosen::finish(root, definitions)))
    }

    /// Whether a regular expression can be used: documents have some of other dialects.
    fn usable(&self, pattern: &str) -> bool {
        if let Some(usable) = self.patterns.borrow().get(pattern) {
            return *usable;
        }
        let usable = jsonschema::validator_for(&json!({ "pattern": pattern })).is_ok();
        self.patterns.borrow_mut().insert(pattern.to_owned(), usable);
        usable
    }

    /// Whether a field is for the other side only, so that this one does not have to have it.
    fn elsewhere(&self, field: &Value, side: Side) -> bool {
        let mark = match side {
            Side::Input => "readOnly",
            Side::Output => "writeOnly",
        };
        let marked = |schema: &Value| schema.get(mark) == Some(&Value::Bool(true));
        marked(field) || self.document.follow(field).is_ok_and(marked)
    }
}

impl<'d> Work<'_, 'd> {
    /// The definition that a reference leads to.
    fn refer(&mut self, reference: &str) -> Result<String> {
        if let Some(name) = self.names.get(reference) {
            return Ok(name.clone());
        }
        let target = self.schemas.document.at(reference)?;
        let last = reference.rsplit('/').next().unwrap_or_default();
        let kept = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let own: String = last.chars().filter(kept).take(64).collect();
        let own = if own.is_empty() { "schema".to_owned() } else { own };
        let mut name = own.clone();
        let mut number = 1;
        while !self.taken.insert(name.clone()) {
            number += 1;
            name = format!("{own}_{number}");
        }
        self.names.insert(reference.to_owned(), name.clone());
        self.waiting.push_back((name.clone(), target));
        Ok(name)
    }

    fn convert(&mut self, schema: &Value) -> Result<Value> {
        let Some(fields) = schema.as_object() else {
            // A list or a text is no schema: whoever compiles it says so.
            return Ok(schema.clone());
        };
        let v30 = self.schemas.document.is_v30;
        let mut made = Map::new();
        for (keyword, value) in fields {
            // In 3.0 nothing counts beside a reference. What it is about is told all the same.
            let beside = v30 && fields.contains_key("$ref");
            if beside && !["$ref", "deprecated", "description"].contains(&keyword.as_str()) {
                continue;
            }
            let value = match (keyword.as_str(), value) {
                ("$ref", Value::String(reference)) => format!("#/$defs/{}", self.refer(reference)?).into(),
                ("$ref", _) => return Err(Error::invalid("a `$ref` is no text")),
                ("$dynamicRef" | "$recursiveRef", _) => {
                    return Err(Error::unsupported("a schema refers to an anchor"));
                }
                ("description", Value::String(text)) => short(text, DESCRIPTION).into(),
                ("required", Value::Array(names)) => self.required(names, fields.get("properties")),
                // Of an earlier draft, where each field says it of itself.
                ("required", Value::Bool(_)) => continue,
                ("items", Value::Array(items)) => {
                    made.insert("prefixItems".to_owned(), self.all(items)?);
                    continue;
                }
                ("examples", examples) if !examples.is_array() => continue,
                ("exclusiveMinimum" | "exclusiveMaximum", Value::Bool(exclusive)) => {
                    let limit = if keyword == "exclusiveMinimum" { "minimum" } else { "maximum" };
                    if let (true, Some(limit)) = (exclusive, fields.get(limit)) {
                        made.insert(keyword.clone(), limit.clone());
                    }
                    continue;
                }
                ("minimum" | "maximum", limit) => {
                    let exclusive =
                        if keyword == "minimum" { "exclusiveMinimum" } else { "exclusiveMaximum" };
                    if fields.get(exclusive) == Some(&Value::Bool(true)) {
                        continue;
                    }
                    limit.clone()
                }
                ("pattern", Value::String(pattern)) if !self.schemas.usable(pattern) => continue,
                (dropped, _) if DROPPED.contains(&dropped) || dropped.starts_with("x-") => continue,
                (one, value) if ONE.contains(&one) => self.convert(value)?,
                (list, Value::Array(schemas)) if LIST.contains(&list) => self.all(schemas)?,
                (named, Value::Object(schemas)) if NAMED.contains(&named) => {
                    let mut all = Map::new();
                    for (name, schema) in schemas {
                        if keyword != "patternProperties" || self.schemas.usable(name) {
                            all.insert(name.clone(), self.convert(schema)?);
                        }
                    }
                    all.into()
                }
                (_, value) => value.clone(),
            };
            made.insert(keyword.clone(), value);
        }
        if let (Some(example), false) = (fields.get("example"), made.contains_key("examples")) {
            made.insert("examples".to_owned(), json!([example]));
        }
        let nullable = v30 && fields.get("nullable") == Some(&Value::Bool(true));
        Ok(if nullable { or_null(made) } else { Value::Object(made) })
    }

    fn all(&mut self, schemas: &[Value]) -> Result<Value> {
        schemas.iter().map(|schema| self.convert(schema)).collect::<Result<Vec<_>>>().map(Value::Array)
    }

    /// The fields that have to be there, each once.
    fn required(&self, names: &[Value], properties: Option<&Value>) -> Value {
        let mut seen = BTreeSet::new();
        let needed = names.iter().filter(|name| {
            let Some(text) = name.as_str() else { return true };
            let field = properties.and_then(|properties| properties.get(text));
            let elsewhere = field.is_some_and(|field| self.schemas.elsewhere(field, self.side));
            !elsewhere && seen.insert(text.to_owned())
        });
        Value::Array(needed.cloned().collect())
    }
}

/// What a schema describes, and `null`.
fn or_null(mut made: Map<String, Value>) -> Value {
    let composed =
        ["$ref", "allOf", "anyOf", "const", "not", "oneOf"].iter().any(|word| made.contains_key(*word));
    if composed {
        let description = made.remove("description");
        let mut either = Map::new();
        either.insert("anyOf".to_owned(), json!([made, { "type": "null" }]));
        either.extend(description.map(|description| ("description".to_owned(), description)));
        return Value::Object(either);
    }
    match made.get_mut("type") {
        Some(Value::Array(types)) if !types.contains(&json!("null")) => types.push(json!("null")),
        Some(one @ Value::String(_)) => *one = json!([one, "null"]),
        _ => {}
    }
    match made.get_mut("enum") {
        Some(Value::Array(values)) if !values.contains(&Value::Null) => values.push(Value::Null),
        _ => {}
    }
    Value::Object(made)
}
