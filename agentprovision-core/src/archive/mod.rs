//! Archives: one tenant as one file, and the store contract behind exporting and restoring it.
//!
//! [`Writer`] makes an archive and [`Reader`] reads one, row by row; neither knows a database nor holds more than a few
//! rows. What the tables are is said by the store's [`Layout`]. Start with [`verify`].
//!
//! # The format, version 1
//!
//! All numbers are little-endian.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | magic: `41 50 56 41 52 43 48 0A`, `APVARCH` and a line feed |
//! | 8 | 2 | version of the format, 1 |
//! | 10 | 1 | [`Sealing`]: how the stream that follows is encrypted; 0, not at all, is the only one so far |
//! | 11 | 1 | how the stream is compressed; 1: one zstd frame (RFC 8878) with a checksum and a window of at most 8 MiB |
//! | 12 | … | the stream |
//! | end − 32 | 32 | SHA-256 of every byte before |
//!
//! The stream is a sequence of frames: kind (1 byte), length of the body (4 bytes), body.
//!
//! | kind | body | when |
//! |---|---|---|
//! | 1 header | canonical JSON of [`Header`] | first |
//! | 2 table | canonical JSON `{"columns":[…],"name":"…"}` | begins a table; every table of the layout, in its order |
//! | 3 rows | whole rows, one after the other, at least one | any number of times within a table |
//! | 4 end | number of rows (8 bytes), SHA-256 over all rows of the table as they are encoded | ends a table |
//! | 5 manifest | canonical JSON `{"digest":"…","tables":[…]}` of all counts and digests; `digest` is the SHA-256 over all frames before, kinds and lengths included | last |
//!
//! A row is its length (4 bytes, at most [`MAX_ROW`]) and its values: a tag (1 byte) and, behind it, for `0` null nothing,
//! for `1` an integer 8 bytes, for `2` a float its 8 bytes (IEEE 754), for `3` a text and `4` bytes a length (4 bytes) and
//! as many bytes. The first column of every table is the tenant's UUID, 16 bytes.

mod check;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::audit::Checkpoint;
use crate::audit::merkle::TreeHash;
use crate::clock::Timestamp;
use crate::context::OperatorContext;
use crate::effect::OperatorEffects;
use crate::error::{Error, Result};
use crate::id::TenantId;
use crate::tenant::{Revision, Tenant, TenantState};

pub use read::{Reader, verify};
pub use write::Writer;

/// The first bytes of an archive.
pub const MAGIC: [u8; 8] = *b"APVARCH\n";
/// The newest version of the format.
pub const FORMAT: u16 = 1;
/// The most bytes of one row.
pub const MAX_ROW: usize = 64 << 20;

/// Bytes of rows that are put into one frame, unless a single row has more.
const FRAME: usize = 256 << 10;
/// The most bytes of a frame of rows.
const MAX_FRAME: usize = MAX_ROW + FRAME + 8;
/// The most bytes of any other frame.
const MAX_META: usize = 1 << 20;
/// The window of the compression, as a power of two.
const WINDOW_LOG: u32 = 23;
/// The compression: zstd.
const ZSTD: u8 = 1;

/// The kinds of frames.
mod kind {
    pub(super) const HEADER: u8 = 1;
    pub(super) const TABLE: u8 = 2;
    pub(super) const ROWS: u8 = 3;
    pub(super) const END: u8 = 4;
    pub(super) const MANIFEST: u8 = 5;
}

/// How the stream of an archive is encrypted: the place where encryption comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum Sealing {
    /// Not at all.
    None = 0,
}

/// A value as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// An integer.
    Int(i64),
    /// A float.
    Real(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 16 bytes of a UUID.
    Id,
    /// 32 bytes of a hash.
    Hash,
    /// Bytes of any number.
    Bytes,
    /// An integer.
    Int,
    /// A float.
    Real,
    /// A text.
    Text,
}

impl Kind {
    fn takes(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Id, Value::Bytes(bytes)) => bytes.len() == 16,
            (Self::Hash, Value::Bytes(bytes)) => bytes.len() == 32,
            (Self::Bytes, Value::Bytes(_))
            | (Self::Int, Value::Int(_))
            | (Self::Real, Value::Real(_))
            | (Self::Text, Value::Text(_)) => true,
            _ => false,
        }
    }
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it may hold nothing.
    pub nullable: bool,
}

/// A table of an archive. Its first column is the tenant.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// The name.
    pub name: &'static str,
    /// The columns, in the order of a row's values.
    pub columns: &'static [Column],
}

impl Table {
    /// Whether these are values of a row of the tenant.
    fn takes(&self, tenant: TenantId, values: &[Value]) -> Result<()> {
        let fits = self.columns.len() == values.len()
            && self.columns.iter().zip(values).all(|(column, value)| {
                column.kind.takes(value) || (column.nullable && *value == Value::Null)
            });
        if !fits {
            return Err(Error::corrupt(format!(
                "a row of `{}` has values its columns do not take",
                self.name
            )));
        }
        match values.first() {
            Some(Value::Bytes(id)) if id == tenant.uuid().as_bytes() => Ok(()),
            _ => Err(Error::corrupt(format!("a row of `{}` belongs to another tenant", self.name))),
        }
    }
}

/// The tables of a store, in the order they stand in an archive: what a row refers to stands before it.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The version of the schema the tables are of.
    pub version: u32,
    /// The tables.
    pub tables: &'static [Table],
}

/// What an archive says about itself before its tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ArchiveHeader")]
pub struct Header {
    /// The version of the schema its tables are of.
    pub schema: u32,
    /// The tenant.
    pub tenant: TenantId,
    /// The state the tenant was in.
    pub state: TenantState,
    /// When it was exported.
    pub exported_at: Timestamp,
    /// The kind of store it was exported from, such as `sqlite`.
    pub store: String,
    /// The head of the tenant's audit log: records that had no place in it yet are not counted.
    pub audit: Checkpoint,
}

/// A table of an archive in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ArchiveTable")]
pub struct TableSummary {
    /// The name.
    pub name: String,
    /// The number of rows.
    pub rows: u64,
    /// SHA-256 over the rows.
    pub digest: TreeHash,
}

/// An archive that was written or verified, in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ArchiveSummary {
    /// What it says about itself.
    pub header: Header,
    /// Its tables.
    pub tables: Vec<TableSummary>,
    /// The number of rows of all tables.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its last 32 bytes, the SHA-256 of all before: names it among all archives.
    pub digest: TreeHash,
}

/// What a store and whoever reads or writes an archive give each other.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// The first one of an export.
    Header(Header),
    /// Rows of the table with this place in the layout. Tables come in the order of the layout.
    Rows(usize, Vec<Vec<Value>>),
    /// The last one: without it what came before is not all there is.
    End,
}

/// What a store knows of a tenant that is to be exported or restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// State and revision of its row; absent where there is none.
    pub tenant: Option<(TenantState, Revision)>,
    /// The head of its audit log, with everything in it that was pending.
    pub audit: Checkpoint,
}

/// What is to be restored.
#[derive(Clone, Debug, PartialEq)]
pub struct Restore {
    /// What the archive says about itself.
    pub header: Header,
    /// The tenant it becomes: its own or another one, which is not there yet.
    pub tenant: TenantId,
    /// The head of that tenant's audit log as [`ArchiveStore::standing`] told it.
    pub found: Checkpoint,
}

/// Reads and writes all rows of a tenant.
#[async_trait]
pub trait ArchiveStore: fmt::Debug + Send + Sync + 'static {
    /// The tables.
    ///
    /// # Errors
    /// `unsupported` by a store that makes no archives; then by every other method too.
    fn layout(&self) -> Result<&'static Layout>;
    /// What is there of a tenant. What of its log was pending has its place afterwards.
    async fn standing(&self, op: &OperatorContext, tenant: TenantId) -> Result<Standing>;
    /// Commits the effects, then gives every row of a tenant, as of one moment: the header, the rows table by table, the
    /// end. Nothing is given that the log does not tell of.
    ///
    /// # Errors
    /// `not_found` for a tenant that is not there or deleted; `cancelled` when nobody takes the parts any more.
    async fn export(
        &self,
        op: &OperatorContext,
        tenant: TenantId,
        to: mpsc::Sender<Part>,
        effects: OperatorEffects,
    ) -> Result<()>;
    /// Writes the rows of an archive that was verified, then the effects, in one transaction; the tenant is suspended
    /// afterwards.
    ///
    /// Where the tenant has an audit log, it stays and goes on: erased records are filled in again where their leaf hash
    /// says that they are the same, and what the archived one tells from where it is another, because the tenant lived on
    /// elsewhere, is put behind what is there. Otherwise the archived log is copied. Runs that were
    /// held by a worker can be taken up, and all get an epoch no worker has ever had. Numbers of events go on from the
    /// higher of both counts; one whose number is another event's here gets a new one. In another tenant than the archive's the log's records are what they were and name the
    /// tenant they were written for; events, which are what happened to that tenant, are left out. A domain that is taken
    /// is left out.
    ///
    /// # Errors
    /// `conflict` when the tenant is there and not deleted, when its log is not at `found`, or the archived one has no
    /// record in common with it; `cancelled`, and nothing written, when the parts end without [`Part::End`]; `corrupt` for rows that
    /// do not belong together, and a log that does not verify.
    async fn restore(
        &self,
        op: &OperatorContext,
        restore: Restore,
        from: mpsc::Receiver<Part>,
        effects: OperatorEffects,
    ) -> Result<Tenant>;
}
