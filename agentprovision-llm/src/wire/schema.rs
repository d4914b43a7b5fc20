//! JSON Schemas reduced to what a provider takes.
//!
//! Annotations and bounds on single values a provider does not know are left out: the model loses a hint, and whoever
//! validates the value still has the whole schema. A keyword without which other values would be meant is refused.

use agentprovision_core::{Error, Result};
use serde_json::{Map, Value, json};

use crate::clip;

/// The deepest schema that is read.
const DEEPEST: usize = 64;
/// The largest schema that references may grow into, in sub-schemas.
const LARGEST: usize = 10_000;

/// Keywords that say nothing about which values are valid (JSON Schema 2020-12, core and meta-data; OpenAPI's beside).
const ANNOTATIONS: &[&str] = &[
    "$schema",
    "$comment",
    "$vocabulary",
    "$id",
    "$anchor",
    "title",
    "description",
    "default",
    "deprecated",
    "readOnly",
    "writeOnly",
    "example",
    "examples",
    "discriminator",
    "externalDocs",
    "xml",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "propertyOrdering",
    "format",
];

/// Keywords that only narrow single values.
const BOUNDS: &[&str] = &[
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minContains",
    "maxContains",
    "minProperties",
    "maxProperties",
];

/// What a provider takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Who it is, for errors.
    pub(crate) format: &'static str,
    /// The keywords it knows; `const` and the combinators are among them only if it knows them.
    pub(crate) keywords: &'static [&'static str],
    /// Whether it follows `$ref`; otherwise what it leads to is put in its place.
    pub(crate) references: bool,
}

/// The schema with nothing but what the rules allow.
///
/// # Errors
/// `invalid_input` naming the keyword that cannot be left out.
pub(crate) fn reduce(schema: &Value, rules: &Rules) -> Result<Value> {
    let mut reducer = Reducer { root: schema, rules, open: Vec::new(), size: 0 };
    reducer.schema(schema)
}

struct Reducer<'a> {
    root: &'a Value,
    rules: &'a Rules,
    /// The references being followed, and the depth.
    open: Vec<Option<&'a str>>,
    size: usize,
}

impl<'a> Reducer<'a> {
    fn knows(&self, keyword: &str) -> bool {
        self.rules.keywords.contains(&keyword)
    }

    fn refused(&self, keyword: &str) -> Error {
        Error::invalid(format!("{} has no form for a schema with `{}`", self.rules.format, clip(keyword)))
    }

    fn schema(&mut self, schema: &'a Value) -> Result<Value> {
        self.size += 1;
        if self.open.len() >= DEEPEST || self.size > LARGEST {
            return Err(Error::invalid("a schema is nested too deep or grows too large"));
        }
        self.open.push(None);
        let out = match schema {
            Value::Bool(true) => Ok(json!({})),
            Value::Bool(false) => Err(self.refused("false")),
            Value::Object(fields) => self.object(fields).map(Value::Object),
            _ => Err(Error::invalid("a schema must be a JSON object")),
        };
        self.open.pop();
        out
    }

    fn object(&mut self, fields: &'a Map<String, Value>) -> Result<Map<String, Value>> {
        if let Some(target) = fields.get("$ref") {
            return self.reference(fields, target);
        }
        let mut out = Map::new();
        for (keyword, value) in fields {
            self.keyword(keyword, value, fields, &mut out)?;
        }
        Ok(out)
    }

    fn keyword(
        &mut self,
        keyword: &'a str,
        value: &'a Value,
        fields: &'a Map<String, Value>,
        out: &mut Map<String, Value>,
    ) -> Result<()> {
        match keyword {
            "properties" => {
                let properties = value.as_object().ok_or_else(|| self.refused(keyword))?;
                let properties =
                    properties.iter().map(|(name, schema)| Ok((name.clone(), self.schema(schema)?)));
                out.insert(keyword.into(), Value::Object(properties.collect::<Result<_>>()?));
            }
            "$defs" | "definitions" if self.rules.references => {
                let schemas = value.as_object().ok_or_else(|| self.refused(keyword))?;
                let defs = out.entry("$defs").or_insert_with(|| json!({}));
                for (name, schema) in schemas {
                    let schema = self.schema(schema)?;
                    defs.as_object_mut().map(|defs| defs.insert(name.clone(), schema));
                }
            }
            "$defs" | "definitions" => {}
            "items" if value.is_array() && !self.knows("prefixItems") => return Err(self.refused("items")),
            "items" if value.is_array() => {
                out.insert("prefixItems".into(), self.list(value)?);
            }
            "items" => {
                let items = self.schema(value)?;
                out.insert(keyword.into(), items);
            }
            "additionalProperties" if !self.knows(keyword) => {}
            "additionalProperties" if value.is_boolean() => {
                out.insert(keyword.into(), value.clone());
            }
            "additionalProperties" => {
                let schema = self.schema(value)?;
                out.insert(keyword.into(), schema);
            }
            "anyOf" | "prefixItems" if self.knows(keyword) => {
                out.insert(keyword.into(), self.list(value)?);
            }
            "oneOf" if self.knows("oneOf") || self.knows("anyOf") => {
                let name = if self.knows("oneOf") { "oneOf" } else { "anyOf" };
                out.insert(name.into(), self.list(value)?);
            }
            // One schema that must hold is that schema; older generators wrap references so.
            "allOf" if value.as_array().is_some_and(|schemas| schemas.len() == 1) && !self.knows(keyword) => {
                let only = value
                    .as_array()
                    .and_then(|schemas| schemas.first())
                    .ok_or_else(|| self.refused(keyword))?;
                let Value::Object(only) = self.schema(only)? else { return Err(self.refused(keyword)) };
                for (name, value) in only {
                    if fields.contains_key(&name) && !ANNOTATIONS.contains(&name.as_str()) {
                        return Err(self.refused(keyword));
                    }
                    out.entry(name).or_insert(value);
                }
            }
            "allOf" if self.knows(keyword) => {
                out.insert(keyword.into(), self.list(value)?);
            }
            "const" if !self.knows(keyword) => self.values(std::slice::from_ref(value), fields, out)?,
            "enum" => {
                let values = value.as_array().ok_or_else(|| self.refused(keyword))?;
                self.values(values, fields, out)?;
            }
            "nullable" if !self.knows(keyword) => {
                if let (Some(true), Some(Value::String(kind))) = (value.as_bool(), fields.get("type")) {
                    out.insert("type".into(), json!([kind, "null"]));
                }
            }
            "type" => {
                out.entry("type").or_insert_with(|| value.clone());
            }
            "exclusiveMinimum" | "exclusiveMaximum"
                if !self.knows(keyword) && fields.get("type") == Some(&json!("integer")) =>
            {
                let (name, step) =
                    if keyword == "exclusiveMinimum" { ("minimum", 1) } else { ("maximum", -1) };
                if let (true, Some(bound)) = (self.knows(name), value.as_i64()) {
                    out.entry(name).or_insert_with(|| json!(bound.saturating_add(step)));
                }
            }
            _ if self.knows(keyword) => {
                out.insert(keyword.into(), value.clone());
            }
            _ if ANNOTATIONS.contains(&keyword) || BOUNDS.contains(&keyword) || keyword.starts_with("x-") => {
            }
            _ => return Err(self.refused(keyword)),
        }
        Ok(())
    }

    /// The values of `enum` and `const`: providers that know the one know it for text and numbers.
    fn values(
        &self,
        values: &[Value],
        fields: &Map<String, Value>,
        out: &mut Map<String, Value>,
    ) -> Result<()> {
        let plain: Vec<&Value> =
            values.iter().filter(|value| value.is_string() || value.is_number()).collect();
        let rest: Vec<&Value> =
            values.iter().filter(|value| !value.is_string() && !value.is_number()).collect();
        let kinds = fields.get("type");
        let null = |value: &&Value| value.is_null();
        match (plain.as_slice(), rest.as_slice()) {
            (plain, []) => {
                out.insert("enum".into(), json!(plain));
                if let (None, Some(kind)) = (kinds, kind_of(plain)) {
                    out.insert("type".into(), json!(kind));
                }
            }
            // Nothing but true, false or null: the type says nearly as much.
            ([], rest) if rest.iter().all(null) => {
                out.insert("type".into(), json!("null"));
            }
            ([], rest) if rest.iter().all(|value| value.is_boolean()) => {
                out.insert("type".into(), json!("boolean"));
            }
            (plain, rest)
                if rest.iter().all(null) && self.knows("anyOf") && !fields.contains_key("anyOf") =>
            {
                let kind = kind_of(plain).ok_or_else(|| self.refused("enum"))?;
                out.remove("type");
                out.insert("anyOf".into(), json!([{"type": kind, "enum": plain}, {"type": "null"}]));
            }
            _ => return Err(self.refused("enum")),
        }
        Ok(())
    }

    fn list(&mut self, value: &'a Value) -> Result<Value> {
        let schemas =
            value.as_array().ok_or_else(|| Error::invalid("a list of schemas must be a JSON array"))?;
        schemas.iter().map(|schema| self.schema(schema)).collect()
    }

    fn reference(&mut self, fields: &'a Map<String, Value>, target: &'a Value) -> Result<Map<String, Value>> {
        // Beside a reference only annotations are left out; anything else would be lost.
        let lost = fields.keys().find(|name| {
            !name.starts_with('$') && *name != "definitions" && !ANNOTATIONS.contains(&name.as_str())
        });
        if lost.is_some() {
            return Err(self.refused("$ref"));
        }
        let path = target.as_str().ok_or_else(|| self.refused("$ref"))?;
        let rest = path.strip_prefix('#').ok_or_else(|| self.refused("$ref"))?;
        if self.rules.references {
            let mut out = Map::new();
            for name in ["$defs", "definitions"] {
                if let Some(schemas) = fields.get(name) {
                    self.keyword(name, schemas, fields, &mut out)?;
                }
            }
            let path = match rest.strip_prefix("/definitions/") {
                Some(name) => format!("#/$defs/{name}"),
                None => path.to_owned(),
            };
            out.insert("$ref".into(), json!(path));
            return Ok(out);
        }
        if self.open.contains(&Some(path)) {
            return Err(self.refused("$ref to itself"));
        }
        let found = self.root.pointer(rest).ok_or_else(|| self.refused("$ref"))?;
        self.open.push(Some(path));
        let out = self.schema(found);
        self.open.pop();
        let Value::Object(mut out) = out? else { return Err(self.refused("$ref")) };
        if let Some(description) = fields.get("description").filter(|_| self.knows("description")) {
            out.insert("description".into(), description.clone());
        }
        Ok(out)
    }
}

/// The one type of all the values.
fn kind_of(values: &[&Value]) -> Option<&'static str> {
    let kind = |value: &Value| match value {
        Value::String(_) => "string",
        Value::Number(number) if number.is_f64() => "number",
        _ => "integer",
    };
    let first = kind(values.first()?);
    values.iter().all(|value| kind(value) == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;

    use super::*;

    const KNOWN: &[&str] = &[
        "type",
        "description",
        "enum",
        "items",
        "prefixItems",
        "minimum",
        "anyOf",
        "properties",
        "required",
    ];
    const KEEP: Rules = Rules { format: "the test format", keywords: KNOWN, references: true };
    const INLINE: Rules = Rules { references: false, ..KEEP };

    #[test]
    fn what_a_provider_does_not_know_is_left_out_or_said_otherwise() {
        let schema = json!({
            "$schema": "x", "type": "object", "required": ["a", "not"], "x-order": 1, "minProperties": 1,
            "additionalProperties": false,
            "properties": {
                "a": {"type": "string", "pattern": "^a", "title": "A", "description": "d"},
                "not": {"const": "yes"},
                "n": {"type": "integer", "exclusiveMinimum": 0},
                "b": {"const": true},
                "u": {"oneOf": [{"type": "string"}, {"enum": [1, 2]}]},
                "o": {"enum": ["x", null]},
                "p": {"type": "string", "nullable": true},
                "t": {"type": "array", "items": [{"type": "string"}]},
                "any": true,
                "only": {"allOf": [{"type": "string"}], "description": "mine"},
            },
        });
        let expected = json!({
            "type": "object", "required": ["a", "not"],
            "properties": {
                "a": {"type": "string", "description": "d"},
                "not": {"type": "string", "enum": ["yes"]},
                "n": {"type": "integer", "minimum": 1},
                "b": {"type": "boolean"},
                "u": {"anyOf": [{"type": "string"}, {"type": "integer", "enum": [1, 2]}]},
                "o": {"anyOf": [{"type": "string", "enum": ["x"]}, {"type": "null"}]},
                "p": {"type": ["string", "null"]},
                "t": {"type": "array", "prefixItems": [{"type": "string"}]},
                "any": {},
                "only": {"type": "string", "description": "mine"},
            },
        });
        assert_eq!(reduce(&schema, &KEEP).unwrap(), expected);
        // What is reduced already stays as it is.
        assert_eq!(reduce(&expected, &KEEP).unwrap(), expected);
    }

    #[test]
    fn references_are_kept_or_followed() {
        let schema = json!({
            "properties": {"x": {"$ref": "#/definitions/N", "description": "mine"}, "y": {"$ref": "#/definitions/N"}},
            "definitions": {"N": {"type": "string", "description": "theirs"}},
        });
        let kept = json!({
            "properties": {"x": {"$ref": "#/$defs/N"}, "y": {"$ref": "#/$defs/N"}},
            "$defs": {"N": {"type": "string", "description": "theirs"}},
        });
        assert_eq!(reduce(&schema, &KEEP).unwrap(), kept);
        let inlined = json!({"properties": {
            "x": {"type": "string", "description": "mine"}, "y": {"type": "string", "description": "theirs"},
        }});
        assert_eq!(reduce(&schema, &INLINE).unwrap(), inlined);
    }

    #[test]
    fn what_would_mean_something_else_is_refused_by_name() {
        let deep = (0..100).fold(json!({}), |inner, _| json!({"items": inner}));
        let bomb = {
            let mut defs = Map::new();
            for level in 0..18 {
                let next = format!("#/$defs/d{}", level + 1);
                defs.insert(format!("d{level}"), json!({"anyOf": [{"$ref": next}, {"$ref": next}]}));
            }
            defs.insert("d18".into(), json!({}));
            json!({"$ref": "#/$defs/d0", "$defs": defs})
        };
        for (schema, name) in [
            (json!({"properties": {"a": {"not": {}}}}), "`not`"),
            (json!({"allOf": [{}, {}]}), "`allOf`"),
            (json!({"type": "string", "allOf": [{"type": "integer"}]}), "`allOf`"),
            (json!({"if": {}}), "`if`"),
            (json!({"patternProperties": {}}), "`patternProperties`"),
            (json!({"properties": {"a": false}}), "`false`"),
            (json!({"enum": [{"a": 1}]}), "`enum`"),
            (json!({"$ref": "https://elsewhere.example"}), "`$ref`"),
            (json!({"$ref": "#/$defs/none"}), "`$ref`"),
            (json!({"$ref": "#/$defs/a", "type": "string", "$defs": {"a": {}}}), "`$ref`"),
            (json!({"$ref": "#"}), "`$ref to itself`"),
            (
                json!({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}),
                "`$ref to itself`",
            ),
            (json!([]), "object"),
            (json!({"items": 5}), "object"),
            (deep, "too deep"),
            (bomb, "too large"),
        ] {
            let error = reduce(&schema, &INLINE).unwrap_err();
            assert!(error.is(ErrorKind::InvalidInput) && error.message().contains(name), "{schema}: {error}");
        }
    }
}
