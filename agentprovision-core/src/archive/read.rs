//! Reading an archive: nothing it says is believed before it is checked.

use std::fmt;
use std::io::{self, BufRead, Read};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::check::Checks;
use super::{
    ArchiveSummary, FORMAT, Header, Layout, MAGIC, MAX_FRAME, MAX_META, MAX_ROW, Sealing, Table,
    TableSummary, Value, WINDOW_LOG, ZSTD, kind,
};
use crate::audit::merkle::TreeHash;
use crate::error::{Error, ErrorKind, Result};

/// Reads an archive to its end and checks all of it.
///
/// # Errors
/// As [`Reader::open`] and [`Reader::row`].
pub fn verify(from: impl BufRead, layout: &'static Layout) -> Result<ArchiveSummary> {
    let mut reader = Reader::open(from, layout)?;
    while reader.row()?.is_some() {}
    reader.into_summary()
}

/// Reads an archive, row by row. That it is whole is known only when [`Reader::row`] has answered `None`.
pub struct Reader<R: BufRead> {
    /// Absent once the stream is over.
    stream: Option<zstd::Decoder<'static, Hashed<R>>>,
    layout: &'static Layout,
    header: Header,
    checks: Checks,
    /// Everything in the stream so far.
    all: Sha256,
    /// Tables that are over, and whether the next one has begun.
    tables: Vec<TableSummary>,
    open: bool,
    /// The frame of rows that is open, and how far it was read.
    frame: Vec<u8>,
    at: usize,
    rows: u64,
    digest: Sha256,
    /// Once everything was read: the size and the last bytes.
    over: Option<(u64, TreeHash)>,
}

impl<R: BufRead> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("header", &self.header).finish_non_exhaustive()
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// `corrupt` for what is no archive; `schema_too_new` for one of a newer version; `unsupported` for one that is
    /// sealed, or of an older schema; `unavailable` when it cannot be read.
    pub fn open(from: R, layout: &'static Layout) -> Result<Self> {
        let mut from = Hashed { inner: from, digest: Sha256::new(), bytes: 0 };
        let mut begin = [0; 12];
        from.read_exact(&mut begin).map_err(failed)?;
        let [magic @ .., low, high, sealing, compression] = begin;
        if magic != MAGIC {
            return Err(Error::corrupt("the file is not an archive"));
        }
        match u16::from_le_bytes([low, high]) {
            0 => return Err(Error::corrupt("the archive has no version")),
            version if version > FORMAT => return Err(too_new(version.into(), FORMAT.into())),
            _ => {}
        }
        if sealing != Sealing::None as u8 || compression != ZSTD {
            return Err(Error::unsupported(
                "the archive is sealed or compressed in a way that is not known here",
            ));
        }
        let stream = zstd::Decoder::with_buffer(from).and_then(|mut stream| {
            stream.window_log_max(WINDOW_LOG)?;
            Ok(stream.single_frame())
        });
        let header = Header {
            schema: 0,
            tenant: crate::id::Id::from_uuid_unchecked(uuid::Uuid::nil()),
            state: crate::tenant::TenantState::Deleted,
            exported_at: crate::clock::Timestamp::from_micros(0),
            store: String::new(),
            audit: crate::audit::Checkpoint { size: 0, root: crate::audit::merkle::empty_root() },
        };
        let mut reader = Self {
            stream: Some(stream.map_err(failed)?),
            layout,
            header,
            checks: Checks::default(),
            all: Sha256::new(),
            tables: Vec::new(),
            open: false,
            frame: Vec::new(),
            at: 0,
            rows: 0,
            digest: Sha256::new(),
            over: None,
        };
        let body = reader.frame(&[kind::HEADER])?.1;
        // A newer one may say more about itself.
        let Schema { schema } = json(&body)?;
        if schema > layout.version {
            return Err(too_new(schema, layout.version));
        }
        if schema < layout.version {
            return Err(Error::unsupported(format!(
                "the archive has schema version {schema}, and this version of the platform reads {}",
                layout.version
            )));
        }
        reader.header = json(&body)?;
        Ok(reader)
    }

    /// What the archive says about itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next row, and the place of its table in the layout; `None` when everything was read and is whole.
    ///
    /// # Errors
    /// `corrupt` for anything that is not as it was written; `unavailable` when it cannot be read. Nothing is to be
    /// read any more after an error.
    pub fn row(&mut self) -> Result<Option<(usize, Vec<Value>)>> {
        loop {
            if self.over.is_some() {
                return Ok(None);
            }
            let place = self.tables.len();
            let table = self.layout.tables.get(place);
            if let Some(table) = table.filter(|_| self.at < self.frame.len()) {
                let values = self.decode(table)?;
                self.checks.row(&self.header, table, &values)?;
                return Ok(Some((place, values)));
            }
            match table {
                None => self.end()?,
                Some(table) if !self.open => self.begin(table)?,
                Some(table) => match self.frame(&[kind::ROWS, kind::END])? {
                    (kind::ROWS, body) if !body.is_empty() => (self.frame, self.at) = (body, 0),
                    (kind::END, body) => self.close(table, &body)?,
                    _ => return Err(Error::corrupt("the archive has a frame without rows")),
                },
            }
        }
    }

    /// The archive in numbers.
    ///
    /// # Errors
    /// `corrupt` while not everything was read.
    pub fn into_summary(self) -> Result<ArchiveSummary> {
        let Some((bytes, digest)) = self.over else {
            return Err(Error::corrupt("the archive was not read to its end"));
        };
        let rows = self.tables.iter().map(|table| table.rows).sum();
        Ok(ArchiveSummary { header: self.header, tables: self.tables, rows, bytes, digest })
    }

    /// The next frame, which must be of one of these kinds.
    fn frame(&mut self, expected: &[u8]) -> Result<(u8, Vec<u8>)> {
        let stream = self.stream.as_mut().ok_or_else(|| Error::corrupt("the archive is over"))?;
        let mut head = [0; 5];
        stream.read_exact(&mut head).map_err(failed)?;
        let [kind, length @ ..] = head;
        if !expected.contains(&kind) {
            return Err(Error::corrupt("the frames of the archive are not in their order"));
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > if kind == kind::ROWS { MAX_FRAME } else { MAX_META } {
            return Err(Error::corrupt("a frame of the archive is larger than any that is written"));
        }
        // Room is taken for what is there, not for what is said to be.
        let mut body = Vec::new();
        stream.take(length as u64).read_to_end(&mut body).map_err(failed)?;
        if body.len() != length {
            return Err(short());
        }
        if kind != kind::MANIFEST {
            self.all.update(head);
            self.all.update(&body);
        }
        Ok((kind, body))
    }

    fn begin(&mut self, table: &Table) -> Result<()> {
        let Begin { name, columns } = json(&self.frame(&[kind::TABLE])?.1)?;
        let known = columns.iter().map(String::as_str).eq(table.columns.iter().map(|column| column.name));
        if name != table.name || !known {
            return Err(Error::corrupt(format!(
                "the archive has not the table `{}` in its place",
                table.name
            )));
        }
        self.open = true;
        Ok(())
    }

    fn decode(&mut self, table: &Table) -> Result<Vec<Value>> {
        let broken = || Error::corrupt(format!("a row of `{}` cannot be read", table.name));
        let frame = self.frame.get(self.at..).unwrap_or_default();
        let mut rest = frame;
        let length = take_length(&mut rest).filter(|length| *length <= MAX_ROW).ok_or_else(broken)?;
        let mut row = rest.get(..length).ok_or_else(broken)?;
        let mut values = Vec::with_capacity(table.columns.len());
        while !row.is_empty() && values.len() < table.columns.len() {
            values.push(take_value(&mut row).ok_or_else(broken)?);
        }
        if !row.is_empty() {
            return Err(broken());
        }
        table.takes(self.header.tenant, &values)?;
        self.digest.update(frame.get(..length + 4).ok_or_else(broken)?);
        self.at += length + 4;
        self.rows += 1;
        Ok(values)
    }

    fn close(&mut self, table: &Table, body: &[u8]) -> Result<()> {
        let (rows, digest) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.digest));
        let digest: [u8; 32] = digest.finalize().into();
        if body != [&rows.to_le_bytes()[..], &digest].concat() {
            return Err(Error::corrupt(format!(
                "the rows of `{}` are not those that were written",
                table.name
            )));
        }
        self.tables.push(TableSummary { name: table.name.to_owned(), rows, digest: digest.into() });
        self.open = false;
        Ok(())
    }

    /// Reads what follows the tables, behind which nothing may follow.
    fn end(&mut self) -> Result<()> {
        let Manifest { digest, tables } = json(&self.frame(&[kind::MANIFEST])?.1)?;
        let all: [u8; 32] = std::mem::take(&mut self.all).finalize().into();
        if tables != self.tables || digest != all.into() {
            return Err(Error::corrupt("the archive is not what its manifest says"));
        }
        let mut stream = self.stream.take().ok_or_else(|| Error::corrupt("the archive is over"))?;
        if stream.read(&mut [0]).map_err(failed)? != 0 {
            return Err(trailing());
        }
        let Hashed { mut inner, digest, bytes } = stream.finish();
        let digest: [u8; 32] = digest.finalize().into();
        let mut last = [0; 32];
        inner.read_exact(&mut last).map_err(failed)?;
        if last != digest {
            return Err(Error::corrupt("the archive does not have its digest"));
        }
        if !inner.fill_buf().map_err(failed)?.is_empty() {
            return Err(trailing());
        }
        self.checks.end(&self.header)?;
        self.over = Some((bytes + 32, digest.into()));
        Ok(())
    }
}

#[derive(Deserialize)]
struct Schema {
    schema: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Begin {
    name: String,
    columns: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    digest: TreeHash,
    tables: Vec<TableSummary>,
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body)
        .map_err(|error| Error::corrupt("a frame of the archive cannot be read").with_source(error))
}

fn take<'a>(from: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(taken)
}

fn take_length(from: &mut &[u8]) -> Option<usize> {
    Some(u32::from_le_bytes(take(from, 4)?.try_into().ok()?) as usize)
}

fn take_value(from: &mut &[u8]) -> Option<Value> {
    let long = |from: &mut &[u8]| {
        let length = take_length(from)?;
        Some(take(from, length)?.to_vec())
    };
    let [tag] = *take(from, 1)? else { return None };
    Some(match tag {
        0 => Value::Null,
        1 => Value::Int(i64::from_le_bytes(take(from, 8)?.try_into().ok()?)),
        2 => Value::Real(f64::from_le_bytes(take(from, 8)?.try_into().ok()?)),
        3 => Value::Text(String::from_utf8(long(from)?).ok()?),
        4 => Value::Bytes(long(from)?),
        _ => return None,
    })
}

/// Counts and hashes what was taken out, not what lies ahead.
struct Hashed<R> {
    inner: R,
    digest: Sha256,
    bytes: u64,
}

impl<R: BufRead> Read for Hashed<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let taken = self.inner.read(to)?;
        self.digest.update(to.get(..taken).unwrap_or_default());
        self.bytes += taken as u64;
        Ok(taken)
    }
}

impl<R: BufRead> BufRead for Hashed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // What is buffered is there without reading.
        if let Ok(bytes) = self.inner.fill_buf() {
            self.digest.update(bytes.get(..amount).unwrap_or_default());
        }
        self.bytes += amount as u64;
        self.inner.consume(amount);
    }
}

fn too_new(found: u32, known: u32) -> Error {
    let message = format!("the archive has version {found}, and this version of the platform knows {known}");
    Error::new(ErrorKind::SchemaTooNew, message)
}

fn short() -> Error {
    Error::corrupt("the archive ends before it is complete")
}

fn trailing() -> Error {
    Error::corrupt("something follows the end of the archive")
}

/// What the file system says is `unavailable`; what the bytes say is `corrupt`.
fn failed(error: io::Error) -> Error {
    match error.kind() {
        _ if error.raw_os_error().is_some() => {
            Error::new(ErrorKind::Unavailable, "the archive cannot be read").with_source(error)
        }
        io::ErrorKind::UnexpectedEof => short().with_source(error),
        _ => Error::corrupt("the archive cannot be decompressed").with_source(error),
    }
}
