//! Columns of many rows as values of one statement, which reads them with `unnest`.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo, Postgres};
use sqlx::{Encode, Type};

use super::super::value::Value;

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::sql) enum Kind {
    Int,
    Text,
    Bytes,
    Id,
}

impl Kind {
    /// The numbers of the array's type and of its elements' in the catalogue (`pg_type.dat`).
    fn types(self) -> (Oid, Oid) {
        match self {
            Self::Int => (Oid(1016), Oid(20)),
            Self::Text => (Oid(1009), Oid(25)),
            Self::Bytes => (Oid(1001), Oid(17)),
            Self::Id => (Oid(2951), Oid(2950)),
        }
    }
}

/// The values of one column, from the first row to the last.
#[derive(Clone, Debug)]
pub(in crate::store::sql) struct Column {
    kind: Kind,
    values: Vec<Value>,
}

/// The columns of rows whose values stand one after the other.
pub(in crate::store::sql) fn columns(kinds: &[Kind], rows: Vec<Value>) -> Vec<Column> {
    let mut columns: Vec<Column> =
        kinds.iter().map(|kind| Column { kind: *kind, values: Vec::new() }).collect();
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        columns.iter_mut().zip(rows.by_ref()).for_each(|(column, value)| column.values.push(value));
    }
    columns
}

impl Type<Postgres> for Column {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(0))
    }

    fn compatible(_: &PgTypeInfo) -> bool {
        true
    }
}

impl Encode<'_, Postgres> for Column {
    /// An array of one dimension as the server's `array_recv` reads it: dimensions, whether something is absent, the type
    /// of the elements, their number, the index of the first, and of each its length and bytes.
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let length = i32::try_from(self.values.len())?;
        let absent = self.values.contains(&Value::Null);
        buffer.extend_from_slice(&i32::from(length > 0).to_be_bytes());
        buffer.extend_from_slice(&i32::from(absent).to_be_bytes());
        buffer.extend_from_slice(&self.kind.types().1.0.to_be_bytes());
        if length == 0 {
            return Ok(IsNull::No);
        }
        buffer.extend_from_slice(&length.to_be_bytes());
        buffer.extend_from_slice(&1_i32.to_be_bytes());
        for value in &self.values {
            let number;
            let bytes: &[u8] = match (self.kind, value) {
                (_, Value::Null) => {
                    buffer.extend_from_slice(&(-1_i32).to_be_bytes());
                    continue;
                }
                (Kind::Int, Value::Int(value)) => {
                    number = value.to_be_bytes();
                    &number
                }
                (Kind::Text, Value::Text(value)) => value.as_bytes(),
                (Kind::Bytes | Kind::Id, Value::Bytes(value)) => value,
                _ => return Err("a column has values of several kinds".into()),
            };
            buffer.extend_from_slice(&i32::try_from(bytes.len())?.to_be_bytes());
            buffer.extend_from_slice(bytes);
        }
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(self.kind.types().0))
    }
}
