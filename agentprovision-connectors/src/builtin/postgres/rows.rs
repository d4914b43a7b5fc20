//! Values in and out: parameters as texts that the server reads, rows as JSON that it writes.

use agentprovision_core::{Error, Result};
use bytes::BytesMut;
use serde_json::{Map, Value};
use tokio_postgres::types::{Format, IsNull, Kind, ToSql, Type, to_sql_checked};

/// A parameter in the form in which the server reads any type: its text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parameter(pub(super) Option<String>);

impl ToSql for Parameter {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        Ok(match &self.0 {
            None => IsNull::Yes,
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                IsNull::No
            }
        })
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// A value as a parameter of a type.
pub(super) fn parameter(value: &Value, kind: &Type) -> Result<Parameter> {
    Ok(Parameter(match (value, kind.kind()) {
        (Value::Null, _) => None,
        (value, _) if is_json(kind) => Some(value.to_string()),
        (Value::Array(items), Kind::Array(of)) => Some(array(items, of)?),
        (Value::String(text), _) => Some(text.clone()),
        (Value::Bool(_) | Value::Number(_), _) => Some(value.to_string()),
        (Value::Array(_) | Value::Object(_), _) => {
            return Err(Error::invalid(format!(
                "a parameter of the type `{kind}` is given as a list or an object"
            )));
        }
    }))
}

fn is_json(kind: &Type) -> bool {
    *kind == Type::JSON || *kind == Type::JSONB
}

/// A list in the server's notation (<https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO>).
fn array(items: &[Value], of: &Type) -> Result<String> {
    let mut text = String::from("{");
    for (number, item) in items.iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        match item {
            // Lists of more than one dimension are of the same type.
            Value::Array(items) if !is_json(of) => text.push_str(&array(items, of)?),
            item => match parameter(item, of)?.0 {
                None => text.push_str("NULL"),
                Some(item) => {
                    text.push('"');
                    for c in item.chars() {
                        if matches!(c, '"' | '\\') {
                            text.push('\\');
                        }
                        text.push(c);
                    }
                    text.push('"');
                }
            },
        }
    }
    text.push('}');
    Ok(text)
}

/// As what a column is cast where JSON would say it as a number that readers round.
pub(super) fn text_of(kind: &Type) -> Option<&'static str> {
    match *kind {
        Type::NUMERIC => Some("text"),
        Type::NUMERIC_ARRAY => Some("_text"),
        _ => None,
    }
}

/// A row that the server wrote as an object of `c0`, `c1` and so on.
pub(super) fn row(json: &str, columns: usize) -> Result<Vec<Value>> {
    let bad = |error| Error::internal("a row of the server cannot be read").with_source(error);
    let mut object: Map<String, Value> = serde_json::from_str(json).map_err(bad)?;
    Ok((0..columns).map(|number| object.remove(&format!("c{number}")).unwrap_or_default()).collect())
}

/// The word a statement begins with, in upper case: behind comments and parentheses.
pub(super) fn first_word(sql: &str) -> String {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = behind(comment);
        } else {
            break;
        }
    }
    rest.chars().take_while(char::is_ascii_alphabetic).take(32).collect::<String>().to_ascii_uppercase()
}

/// What is behind a comment, which may have others in it.
fn behind(comment: &str) -> &str {
    let (mut rest, mut depth) = (comment, 1_u32);
    while depth > 0 {
        let Some(at) = rest.find(['*', '/']) else { return "" };
        let (_, from) = rest.split_at(at);
        (rest, depth) = if let Some(rest) = from.strip_prefix("*/") {
            (rest, depth - 1)
        } else if let Some(rest) = from.strip_prefix("/*") {
            (rest, depth + 1)
        } else {
            (from.get(1..).unwrap_or_default(), depth)
        };
    }
    rest
}
