//! The transaction of a tool's step, as statements and rows in JSON.

use agentprovision_core::tool::{SqlValue, TxHandle};
use agentprovision_core::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::decode::decode;
use crate::wire::encode;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    sql: String,
    #[serde(default)]
    params: Vec<Value>,
}

impl Statement {
    fn read(arguments: &str) -> Result<(String, Vec<SqlValue>)> {
        let Self { sql, params } = decode("the statement", arguments)?;
        let values = params.into_iter().enumerate().map(|(place, value)| {
            sql_value(value).ok_or_else(|| {
                Error::invalid(format!(
                    "parameter ${} is not null, a boolean, a number, a text or bytes",
                    place + 2
                ))
            })
        });
        Ok((sql, values.collect::<Result<_>>()?))
    }
}

fn sql_value(value: Value) -> Option<SqlValue> {
    Some(match value {
        Value::Null => SqlValue::Null,
        Value::Bool(flag) => SqlValue::Int(flag.into()),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => SqlValue::Int(integer),
            None if number.is_u64() => return None,
            None => SqlValue::Real(number.as_f64()?),
        },
        Value::String(text) => SqlValue::Text(text),
        Value::Object(map) => {
            let mut entries = map.into_iter();
            match (entries.next(), entries.next()) {
                (Some((key, Value::String(text))), None) if key == "$bytes" => {
                    SqlValue::Bytes(STANDARD.decode(text).ok()?)
                }
                _ => return None,
            }
        }
        Value::Array(_) => return None,
    })
}

fn json_value(value: SqlValue) -> Result<Value> {
    Ok(match value {
        SqlValue::Null => Value::Null,
        SqlValue::Int(integer) => integer.into(),
        SqlValue::Real(number) => number.into(),
        SqlValue::Text(text) => text.into(),
        SqlValue::Bytes(bytes) => {
            let mut map = Map::new();
            map.insert("$bytes".into(), STANDARD.encode(bytes).into());
            map.into()
        }
        _ => return Err(Error::unsupported("a value of this type has no JSON form")),
    })
}

/// Runs a statement in the transaction of a tool's step: `{"sql", "params"}`, where a parameter is null, a boolean, a
/// number, a text, or `{"$bytes": base64}`. `$1` is the tenant's id, the parameters are `$2`, `$3`, … The answer is the
/// number of rows that changed.
///
/// # Errors
/// `invalid_input` for another form; otherwise as [`TxHandle::execute`].
pub async fn tx_execute(tx: &TxHandle, arguments: &str) -> Result<String> {
    let (sql, values) = Statement::read(arguments)?;
    encode(&tx.execute(&sql, &values).await?)
}

/// Runs a query in the transaction of a tool's step, as [`tx_execute`]. The answer is an array of rows, each an array.
///
/// # Errors
/// `invalid_input` for another form; otherwise as [`TxHandle::query`].
pub async fn tx_query(tx: &TxHandle, arguments: &str) -> Result<String> {
    let (sql, values) = Statement::read(arguments)?;
    let rows = tx
        .query(&sql, &values)
        .await?
        .into_iter()
        .map(|row| row.into_iter().map(json_value).collect::<Result<Vec<Value>>>());
    encode(&rows.collect::<Result<Vec<_>>>()?)
}
