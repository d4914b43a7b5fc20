//! Changing one JSON value into another: by an expression that was made at run time, or by code.

use std::fmt;
use std::sync::Arc;

use agentprovision_core::{Error, Result};
use jmespath::Expression;
use serde_json::{Map, Value};

/// A JMESPath expression (<https://jmespath.org/specification.html>), compiled once, or a function. Cheap to clone.
#[derive(Clone)]
pub struct Mapping(How);

#[derive(Clone)]
enum How {
    Expression(Arc<Expression<'static>>),
    Function(fn(&Value) -> Result<Value>),
}

impl Mapping {
    /// Compiles an expression.
    ///
    /// # Errors
    /// `invalid_input`, saying where it is wrong.
    pub fn jmespath(expression: &str) -> Result<Self> {
        let compiled = jmespath::compile(expression)
            .map_err(|error| Error::invalid(format!("this is no JMESPath expression: {error}")))?;
        Ok(Self(How::Expression(Arc::new(compiled))))
    }

    /// By a function, for what no expression says.
    pub fn function(function: fn(&Value) -> Result<Value>) -> Self {
        Self(How::Function(function))
    }

    /// The value it makes of another.
    ///
    /// # Errors
    /// `invalid_input` when a function gets what it cannot take.
    pub fn apply(&self, value: &Value) -> Result<Value> {
        let expression = match &self.0 {
            How::Expression(expression) => expression,
            How::Function(function) => return function(value),
        };
        let found = expression.search(value).map_err(|error| {
            Error::invalid(format!("the expression cannot be used on this value: {}", error.reason))
        })?;
        serde_json::to_value(&*found)
            .map_err(|error| Error::internal("what an expression found has no JSON form").with_source(error))
    }
}

impl Mapping {
    /// The input it makes of another. What an expression does not find is `null` to it, so fields that it makes `null` are left
    /// out; those of a function are meant.
    ///
    /// # Errors
    /// `invalid_input` when a function gets what it cannot take, and for what is no object.
    pub(crate) fn input(&self, input: Map<String, Value>) -> Result<Map<String, Value>> {
        match self.apply(&Value::Object(input))? {
            Value::Object(mut mapped) => {
                if matches!(self.0, How::Expression(_)) {
                    mapped.retain(|_, value| without_nulls(value));
                }
                Ok(mapped)
            }
            _ => Err(Error::invalid("the mapping of the input does not make an object")),
        }
    }
}

/// Leaves fields that are `null` out of a value; says whether anything is left.
fn without_nulls(value: &mut Value) -> bool {
    match value {
        Value::Null => return false,
        Value::Object(fields) => fields.retain(|_, value| without_nulls(value)),
        Value::Array(items) => items.iter_mut().for_each(|item| {
            without_nulls(item);
        }),
        _ => {}
    }
    true
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match &self.0 {
            How::Expression(expression) => expression.as_str(),
            How::Function(_) => "a function",
        };
        f.debug_tuple("Mapping").field(&text).finish()
    }
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;
    use serde_json::json;

    use super::*;

    #[test]
    fn expressions_change_values_and_bad_ones_are_refused() {
        let mapping = Mapping::jmespath("items[?open].{number: id, title: name}").unwrap();
        let value = json!({ "items": [{ "id": 1, "name": "a", "open": true }, { "id": 2, "name": "b", "open": false }] });
        assert_eq!(mapping.apply(&value).unwrap(), json!([{ "number": 1, "title": "a" }]));
        assert_eq!(Mapping::jmespath("items[").unwrap_err().kind(), ErrorKind::InvalidInput);
        let wrong = Mapping::jmespath("abs(@)").unwrap();
        assert_eq!(wrong.apply(&json!("x")).unwrap_err().kind(), ErrorKind::InvalidInput);
        let function = Mapping::function(|value| Ok(json!({ "of": value })));
        assert_eq!(function.apply(&json!(1)).unwrap(), json!({ "of": 1 }));
    }

    #[test]
    fn inputs_have_no_fields_that_were_not_found() {
        let mapping =
            Mapping::jmespath("{id: id, task: {name: name, who: who && {id: who}, more: more[].{id: @}}}")
                .unwrap();
        let of = |value: serde_json::Value| mapping.input(value.as_object().unwrap().clone()).unwrap();
        assert_eq!(Value::from(of(json!({ "name": "a" }))), json!({ "task": { "name": "a" } }));
        assert_eq!(
            Value::from(of(json!({ "id": 1, "who": "x", "more": ["y"] }))),
            json!({ "id": 1, "task": { "who": { "id": "x" }, "more": [{ "id": "y" }] } })
        );
        let list = Mapping::jmespath("items").unwrap();
        assert_eq!(list.input(Map::new()).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
