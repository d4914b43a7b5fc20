//! Reads JSON objects of a request field by field, so that what is wrong is named by its place.

use agentprovision_core::{Error, Result};
use serde_json::{Map, Value};

use crate::clip;

/// A wrong request, naming the place of what is wrong in it: `messages[0].content`.
pub(super) fn wrong(place: &str, what: impl std::fmt::Display) -> Error {
    let place: String = place.chars().take(200).collect();
    Error::invalid(format!("`{place}`: {what}")).with_context(PARAM, place)
}

/// The fact of an [`Error`] that says which field it is about.
pub(super) const PARAM: &str = "param";

/// An object of a request. A field is taken out as it is read, so that what is left was not understood; `null` counts as
/// absent, as in the formats themselves.
#[derive(Debug)]
pub(super) struct Fields {
    place: String,
    map: Map<String, Value>,
}

impl Fields {
    /// The whole body.
    pub(super) fn body(value: Value) -> Result<Self> {
        match value {
            Value::Object(map) => Ok(Self { place: String::new(), map }),
            _ => Err(Error::invalid("the body must be a JSON object")),
        }
    }

    /// An object at a place.
    pub(super) fn new(place: String, value: Value) -> Result<Self> {
        match value {
            Value::Object(map) => Ok(Self { place, map }),
            _ => Err(wrong(&place, "expected an object")),
        }
    }

    /// Where a field is.
    pub(super) fn place(&self, name: &str) -> String {
        if self.place.is_empty() { clip(name) } else { format!("{}.{}", self.place, clip(name)) }
    }

    /// An error about a field.
    pub(super) fn wrong(&self, name: &str, what: impl std::fmt::Display) -> Error {
        wrong(&self.place(name), what)
    }

    /// An error about a required field that is not there.
    pub(super) fn missing(&self, name: &str) -> Error {
        self.wrong(name, "the field is required")
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "expected a string")),
        }
    }

    pub(super) fn required(&mut self, name: &str) -> Result<String> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<Option<bool>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.wrong(name, "expected true or false")),
        }
    }

    pub(super) fn count(&mut self, name: &str) -> Result<Option<u64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_u64().map(Some).ok_or_else(|| self.wrong(name, "expected a whole number of at least 0"))
    }

    pub(super) fn integer(&mut self, name: &str) -> Result<Option<i64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_i64().map(Some).ok_or_else(|| self.wrong(name, "expected a whole number of 64 bits"))
    }

    pub(super) fn number(&mut self, name: &str) -> Result<Option<f64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| self.wrong(name, "expected a number"))
    }

    pub(super) fn list(&mut self, name: &str) -> Result<Option<Vec<Value>>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(_) => Err(self.wrong(name, "expected a list")),
        }
    }

    pub(super) fn object(&mut self, name: &str) -> Result<Option<Self>> {
        let place = self.place(name);
        self.take(name).map(|value| Self::new(place, value)).transpose()
    }

    /// The objects of a list, each with its place.
    pub(super) fn objects(&mut self, name: &str) -> Result<Vec<Self>> {
        let place = self.place(name);
        objects(&place, self.list(name)?.unwrap_or_default())
    }

    /// A JSON Schema, which is an object.
    pub(super) fn schema(&mut self, name: &str) -> Result<Option<Value>> {
        match self.take(name) {
            None => Ok(None),
            Some(schema @ Value::Object(_)) => Ok(Some(schema)),
            Some(_) => Err(self.wrong(name, "expected a JSON Schema, which is an object")),
        }
    }

    /// Drops fields that say nothing for us.
    pub(super) fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.map.remove(*name);
        }
    }

    /// Refuses a field that has a value the gateway has no way to pass on.
    pub(super) fn refuse(&self, names: &[&str]) -> Result<()> {
        match names.iter().find(|name| self.has(name)) {
            Some(name) => Err(self.wrong(name, "the gateway does not support this field")),
            None => Ok(()),
        }
    }

    /// Refuses what was not read.
    pub(super) fn finish(self) -> Result<()> {
        match self.map.iter().find(|(_, value)| !value.is_null()) {
            Some((name, _)) => Err(self.wrong(name, "the gateway does not know this field")),
            None => Ok(()),
        }
    }

    /// What was not read.
    pub(super) fn rest(self) -> Map<String, Value> {
        self.map.into_iter().filter(|(_, value)| !value.is_null()).collect()
    }
}

/// The objects of a list at a place.
pub(super) fn objects(place: &str, list: Vec<Value>) -> Result<Vec<Fields>> {
    list.into_iter().enumerate().map(|(at, value)| Fields::new(format!("{place}[{at}]"), value)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_named_by_its_place() {
        let mut body =
            Fields::body(json!({"a": [{"b": 1, "c": null}, 2], "d": -1, "e": {"f": {"g": []}}})).unwrap();
        assert_eq!(body.count("d").unwrap_err().message(), "`d`: expected a whole number of at least 0");
        let mut deep = body.object("e").unwrap().unwrap().object("f").unwrap().unwrap();
        assert_eq!(deep.text("g").unwrap_err().context(), [(PARAM, "e.f.g".to_owned())]);
        let error = body.objects("a").unwrap_err();
        assert_eq!(error.message(), "`a[1]`: expected an object");
        let mut item = Fields::new("a[0]".into(), json!({"b": 1, "c": null})).unwrap();
        assert_eq!(item.text("b").unwrap_err().message(), "`a[0].b`: expected a string");
        item.finish().unwrap();
        let long = "x\n".repeat(500);
        let error = Fields::body(json!({ long.clone(): 1 })).unwrap().finish().unwrap_err();
        assert!(error.message().len() < 300 && !error.message().contains('\n'), "{error}");
        assert!(Fields::body(json!([])).is_err());
    }
}
