//! Values, rows and statements: the small vocabulary between the stores and a database driver.

use std::time::Duration;

use agentprovision_core::audit::merkle::TreeHash;
use agentprovision_core::id::{
    AgentId, ApiKeyId, BackupId, DeliveryId, EndpointId, Id, IntegrationId, ProjectId, ReservationId, RunId,
    SessionId, SignalId, TenantId, UsageId, UserId, WorkerId,
};
use agentprovision_core::{Error, Result, Timestamp};
use uuid::Uuid;

/// What is bound to a statement, or read from a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Int(i64),
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// The database a statement is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

/// A text for each database; mostly the same.
#[derive(Clone, Copy, Debug)]
struct Texts {
    sqlite: &'static str,
    postgres: &'static str,
    /// PostgreSQL's of a statement that reads, as one that enters by itself and needs no transaction around it.
    alone: Option<&'static str>,
}

impl Texts {
    const fn of(self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
        }
    }
}

/// A statement on the tables of one tenant: `$1` is always that tenant's id (or its log's).
#[derive(Clone, Copy, Debug)]
pub(super) struct TenantSql(Texts);

impl TenantSql {
    /// Refuses, when the crate is compiled, a text that does not name the tenant and `$1`.
    pub(super) const fn new(sqlite: &'static str, postgres: &'static str) -> Self {
        assert!(names_tenant(sqlite) && names_tenant(postgres), "a tenant statement names its tenant as $1");
        Self(Texts { sqlite, postgres, alone: None })
    }

    pub(super) const fn with_alone(mut self, alone: &'static str) -> Self {
        self.0.alone = Some(alone);
        self
    }

    pub(super) const fn alone(self) -> Option<&'static str> {
        self.0.alone
    }

    pub(super) const fn text(self, dialect: Dialect) -> &'static str {
        self.0.of(dialect)
    }
}

const fn names_tenant(text: &str) -> bool {
    (contains(text, "tenant_id") || contains(text, "log_id")) && contains(text, "$1")
}

/// A statement on system tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct SystemSql(Texts);

impl SystemSql {
    pub(super) const fn new(sqlite: &'static str, postgres: &'static str) -> Self {
        Self(Texts { sqlite, postgres, alone: None })
    }

    pub(super) const fn with_alone(mut self, alone: &'static str) -> Self {
        self.0.alone = Some(alone);
        self
    }

    pub(super) const fn alone(self) -> Option<&'static str> {
        self.0.alone
    }

    pub(super) const fn text(self, dialect: Dialect) -> &'static str {
        self.0.of(dialect)
    }
}

/// A statement that reads, as one that first makes a setting for itself. The setting goes with the statement, as with
/// any transaction. It is there before a table is looked at: what is asked for depends on the row that has made it, and a
/// loop over that row is the only way to read it.
macro_rules! alone {
    ($setting:literal, $text:expr) => {
        concat!(
            "WITH entered AS MATERIALIZED (SELECT set_config(",
            $setting,
            ",true) AS made) SELECT answer.* FROM entered CROSS JOIN LATERAL (SELECT * FROM (",
            $text,
            ") AS asked WHERE entered.made IS NOT NULL OFFSET 0) AS answer"
        )
    };
}

/// `str::contains`, for constants.
const fn contains(text: &str, part: &str) -> bool {
    let (mut text, part) = (text.as_bytes(), part.as_bytes());
    while text.len() >= part.len() {
        if starts_with(text, part) {
            return true;
        }
        let Some((_, rest)) = text.split_first() else { return false };
        text = rest;
    }
    false
}

const fn starts_with(mut text: &[u8], mut part: &[u8]) -> bool {
    while let Some((expected, part_rest)) = part.split_first() {
        match text.split_first() {
            Some((byte, text_rest)) if *byte == *expected => (text, part) = (text_rest, part_rest),
            _ => return false,
        }
    }
    true
}

/// A statement on the tables of one tenant, checked when the crate is compiled. With `lock` before it the rows it reads
/// stay as they are until the transaction ends.
macro_rules! tenant_sql {
    (lock $($text:tt)+) => {
        const {
            $crate::store::sql::value::TenantSql::new(concat!($($text)+), concat!($($text)+, " FOR UPDATE"))
        }
    };
    ($text:expr) => {
        const {
            $crate::store::sql::value::TenantSql::new($text, $text).with_alone(
                $crate::store::sql::value::alone!("'app.current_tenant_id',$1::uuid::text", $text),
            )
        }
    };
}

/// A statement on the tables of one tenant that needs the time, where its text says `now`. Statements on a file, which has
/// one host, are told by the value that is named first; on PostgreSQL it is the database's time, since the clocks of its
/// clients may differ by hours. What is `locked` at the end of a reading statement stays as it is, and of what is `unlocked`
/// everything is left out that somebody else has locked.
macro_rules! timed_sql {
    ($at:literal: $($part:tt)+) => {
        const {
            $crate::store::sql::value::TenantSql::new(
                concat!($($crate::store::sql::value::timed!(sqlite $at $part)),+),
                concat!($($crate::store::sql::value::timed!(postgres $at $part)),+),
            )
        }
    };
}

/// A part of the text of such a statement.
macro_rules! timed {
    ($database:ident $at:literal $text:literal) => {
        $text
    };
    ($database:ident $at:literal ($text:expr)) => {
        $text
    };
    (sqlite $at:literal now) => {
        $at
    };
    (sqlite $at:literal $lock:ident) => {
        ""
    };
    (postgres $at:literal now) => {
        concat!(
            "(SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint WHERE ",
            $at,
            "::bigint IS NOT NULL)"
        )
    };
    (postgres $at:literal locked) => {
        " FOR UPDATE"
    };
    (postgres $at:literal unlocked) => {
        " FOR UPDATE SKIP LOCKED"
    };
}

/// A statement on system tables; with two texts, the first is SQLite's and the second PostgreSQL's.
macro_rules! system_sql {
    ($sqlite:expr, $postgres:expr) => {
        const {
            $crate::store::sql::value::SystemSql::new($sqlite, $postgres)
                .with_alone($crate::store::sql::value::alone!("'app.above_tenants','on'", $postgres))
        }
    };
    ($text:expr) => {
        $crate::store::sql::value::system_sql!($text, $text)
    };
}

/// The values of a statement.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::sql::value::Value::from($value)),*] };
}

pub(super) use {alone, system_sql, tenant_sql, timed, timed_sql, values};

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<u64> for Value {
    /// The same 64 bits; numbers and counters stay far below 2^63.
    fn from(value: u64) -> Self {
        Self::Int(value.cast_signed())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(value.into())
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(value: [u8; N]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(value: &[u8; N]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Self {
        Self::Int(value.micros())
    }
}

impl From<Duration> for Value {
    /// In microseconds. A quarter of what fits at most, so that a time and two of them can be added up.
    fn from(value: Duration) -> Self {
        const MOST: i64 = i64::MAX / 4;
        Self::Int(i64::try_from(value.as_micros()).map_or(MOST, |micros| micros.min(MOST)))
    }
}

impl From<Uuid> for Value {
    fn from(value: Uuid) -> Self {
        Self::Bytes(value.into_bytes().to_vec())
    }
}

impl<T> From<Option<T>> for Value
where
    Value: From<T>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Self::from)
    }
}

/// A row, read from its first column to its last.
#[derive(Debug)]
pub(super) struct Row(std::vec::IntoIter<Value>);

impl Row {
    pub(super) fn new(values: Vec<Value>) -> Self {
        Self(values.into_iter())
    }

    /// The next column.
    ///
    /// # Errors
    /// `corrupt` when it is not what the schema says.
    pub(super) fn next<T: FromValue>(&mut self) -> Result<T> {
        self.0.next().and_then(T::from_value).ok_or_else(|| Error::corrupt("a stored row cannot be read"))
    }

    /// The next column, as JSON.
    pub(super) fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T> {
        from_json(&self.next::<String>()?)
    }

    pub(super) fn into_values(self) -> Vec<Value> {
        self.0.collect()
    }
}

pub(super) fn to_json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::internal("JSON could not be written").with_source(error))
}

pub(super) fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|error| Error::corrupt("a stored row cannot be read").with_source(error))
}

/// What a column is read as.
pub(super) trait FromValue: Sized {
    fn from_value(value: Value) -> Option<Self>;
}

impl FromValue for i64 {
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Int(value) = value { Some(value) } else { None }
    }
}

impl FromValue for u64 {
    fn from_value(value: Value) -> Option<Self> {
        i64::from_value(value).map(i64::cast_unsigned)
    }
}

impl FromValue for u32 {
    fn from_value(value: Value) -> Option<Self> {
        i64::from_value(value).and_then(|value| value.try_into().ok())
    }
}

impl FromValue for bool {
    fn from_value(value: Value) -> Option<Self> {
        i64::from_value(value).map(|value| value != 0)
    }
}

impl FromValue for String {
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Text(value) = value { Some(value) } else { None }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Bytes(value) = value { Some(value) } else { None }
    }
}

impl<const N: usize> FromValue for [u8; N] {
    fn from_value(value: Value) -> Option<Self> {
        Vec::from_value(value).and_then(|bytes| bytes.try_into().ok())
    }
}

impl FromValue for TreeHash {
    fn from_value(value: Value) -> Option<Self> {
        <[u8; 32]>::from_value(value).map(Self::from)
    }
}

impl FromValue for Timestamp {
    fn from_value(value: Value) -> Option<Self> {
        i64::from_value(value).map(Self::from_micros)
    }
}

impl FromValue for Duration {
    fn from_value(value: Value) -> Option<Self> {
        u64::from_value(value).map(Self::from_micros)
    }
}

impl FromValue for Uuid {
    fn from_value(value: Value) -> Option<Self> {
        <[u8; 16]>::from_value(value).map(Self::from_bytes)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Option<Self> {
        if value == Value::Null { Some(None) } else { T::from_value(value).map(Some) }
    }
}

macro_rules! ids {
    ($($id:ident)*) => {$(
        impl From<$id> for Value {
            fn from(id: $id) -> Self {
                id.uuid().into()
            }
        }

        impl FromValue for $id {
            fn from_value(value: Value) -> Option<Self> {
                Uuid::from_value(value).map(Self::from_uuid_unchecked)
            }
        }
    )*};
}

ids! { AgentId ApiKeyId BackupId DeliveryId EndpointId IntegrationId ProjectId ReservationId RunId SessionId SignalId TenantId UsageId UserId WorkerId }

macro_rules! hashes {
    ($($hash:ty)*) => {$(
        impl From<$hash> for Value {
            fn from(hash: $hash) -> Self {
                hash.as_bytes().into()
            }
        }

        impl FromValue for $hash {
            fn from_value(value: Value) -> Option<Self> {
                <[u8; 32]>::from_value(value).map(Self::from_bytes)
            }
        }
    )*};
}

hashes! {
    agentprovision_core::agent::VersionHash
    agentprovision_core::run::ChainHash
    agentprovision_core::run::PayloadHash
}
