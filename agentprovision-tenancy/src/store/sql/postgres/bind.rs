//! Values as they are bound to statements, and read from rows.

use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArguments, PgRow, PgTypeInfo, PgValueRef, Postgres};
use sqlx::{Arguments as _, Decode, Encode, Row as _, Type, TypeInfo as _, ValueRef as _};

use super::super::value::{Row, Value};
use super::columns::Column;

/// A value as it is bound. Bytes and absent values take the type of their place: `uuid` and `bytea` are the same on the
/// wire.
struct Bound(Value);

impl Type<Postgres> for Bound {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(0))
    }

    fn compatible(_: &PgTypeInfo) -> bool {
        true
    }
}

/// Numbers of types in the catalogue (`pg_type.dat`).
const INT8: PgTypeInfo = PgTypeInfo::with_oid(Oid(20));
const UUID: PgTypeInfo = PgTypeInfo::with_oid(Oid(2950));
const TEXT: PgTypeInfo = PgTypeInfo::with_oid(Oid(25));
const FLOAT8: PgTypeInfo = PgTypeInfo::with_oid(Oid(701));

impl Encode<'_, Postgres> for Bound {
    fn encode_by_ref(
        &self,
        buffer: &mut sqlx::postgres::PgArgumentBuffer,
    ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
        match &self.0 {
            Value::Null => return Ok(sqlx::encode::IsNull::Yes),
            Value::Int(value) => buffer.extend_from_slice(&value.to_be_bytes()),
            Value::Real(value) => buffer.extend_from_slice(&value.to_be_bytes()),
            Value::Text(value) => buffer.extend_from_slice(value.as_bytes()),
            Value::Bytes(value) => buffer.extend_from_slice(value),
        }
        Ok(sqlx::encode::IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        match &self.0 {
            Value::Int(_) => Some(INT8),
            Value::Real(_) => Some(FLOAT8),
            Value::Text(_) => Some(TEXT),
            Value::Null | Value::Bytes(_) => None,
        }
    }
}

/// The values of a statement of a tool, the first of which is its tenant.
pub(super) fn tool_arguments(values: Vec<Value>) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    arguments.reserve(values.len(), 0);
    for (place, value) in values.into_iter().enumerate() {
        let bound = if place == 0 { arguments.add(BoundTenant(value)) } else { arguments.add(Bound(value)) };
        bound.map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// A tenant as it is bound.
struct BoundTenant(Value);

impl Type<Postgres> for BoundTenant {
    fn type_info() -> PgTypeInfo {
        UUID
    }
}

impl Encode<'_, Postgres> for BoundTenant {
    fn encode_by_ref(
        &self,
        buffer: &mut sqlx::postgres::PgArgumentBuffer,
    ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
        if let Value::Bytes(bytes) = &self.0 {
            buffer.extend_from_slice(bytes);
        }
        Ok(sqlx::encode::IsNull::No)
    }
}

pub(super) fn arguments(values: Vec<Value>) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    arguments.reserve(values.len(), 0);
    for value in values {
        arguments.add(Bound(value)).map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

pub(super) fn with_columns(values: Vec<Value>, columns: Vec<Column>) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = arguments(values)?;
    for column in columns {
        arguments.add(column).map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// The values of a row.
pub(super) fn row(row: &PgRow) -> Result<Row, sqlx::Error> {
    (0..row.len()).map(|column| value(row.try_get_raw(column)?)).collect::<Result<_, _>>().map(Row::new)
}

fn value(raw: PgValueRef<'_>) -> Result<Value, sqlx::Error> {
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let kind = raw.type_info().into_owned();
    match kind.name() {
        "INT8" => <i64 as Decode<Postgres>>::decode(raw).map(Value::Int),
        "INT4" => <i32 as Decode<Postgres>>::decode(raw).map(|value| Value::Int(value.into())),
        "INT2" => <i16 as Decode<Postgres>>::decode(raw).map(|value| Value::Int(value.into())),
        "BOOL" => <bool as Decode<Postgres>>::decode(raw).map(|value| Value::Int(value.into())),
        "FLOAT8" => <f64 as Decode<Postgres>>::decode(raw).map(Value::Real),
        "FLOAT4" => <f32 as Decode<Postgres>>::decode(raw).map(|value| Value::Real(value.into())),
        "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "JSON" => {
            raw.as_str().map(|text| Value::Text(text.to_owned()))
        }
        "BYTEA" | "UUID" => raw.as_bytes().map(|bytes| Value::Bytes(bytes.to_vec())),
        "VOID" => Ok(Value::Null),
        other => {
            Err(format!("a column has the type {other}; cast it to text, bigint, double precision or bytea")
                .into())
        }
    }
    .map_err(sqlx::Error::Decode)
}
