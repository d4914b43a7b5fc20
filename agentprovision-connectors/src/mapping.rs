//! Changing one JSON value into another: by an expression that was made at run time, or by code.

use std::fmt;
use std::sync::Arc;

use agentprovision_core::{Error, Result};
use jmespath::Expression;
use serde_json::Value;

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
}
