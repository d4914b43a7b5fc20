//! Writing an archive.

use std::fmt;
use std::io::{self, Write};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    ArchiveSummary, FORMAT, FRAME, Header, Layout, MAGIC, MAX_ROW, Sealing, TableSummary, Value, WINDOW_LOG,
    ZSTD, kind,
};
use crate::canonical;
use crate::error::{Error, ErrorKind, Result};

/// The level of compression: zstd's own default.
const LEVEL: i32 = 3;

/// Writes an archive, row by row. It is one only after [`Writer::finish`].
pub struct Writer<W: Write> {
    stream: zstd::Encoder<'static, Hashed<W>>,
    layout: &'static Layout,
    header: Header,
    /// Everything in the stream so far.
    all: Sha256,
    /// Tables that are over.
    tables: Vec<TableSummary>,
    /// The rows of the table that is open: those not written yet, and the count and digest of all.
    frame: Vec<u8>,
    rows: u64,
    digest: Sha256,
}

impl<W: Write> fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("header", &self.header).finish_non_exhaustive()
    }
}

impl<W: Write> Writer<W> {
    /// Begins an archive.
    ///
    /// # Errors
    /// `unavailable` when it cannot be written.
    pub fn new(to: W, header: Header, layout: &'static Layout) -> Result<Self> {
        let mut to = Hashed { inner: to, digest: Sha256::new(), bytes: 0 };
        let begin = [&MAGIC[..], &FORMAT.to_le_bytes(), &[Sealing::None as u8, ZSTD]].concat();
        let stream = to.write_all(&begin).and_then(|()| {
            let mut stream = zstd::Encoder::new(to, LEVEL)?;
            stream.include_checksum(true)?;
            stream.window_log(WINDOW_LOG.min(21))?;
            Ok(stream)
        });
        let mut writer = Self {
            stream: stream.map_err(failed)?,
            layout,
            header,
            all: Sha256::new(),
            tables: Vec::new(),
            frame: Vec::new(),
            rows: 0,
            digest: Sha256::new(),
        };
        let header = canonical::to_bytes(&writer.header)?;
        writer.put(kind::HEADER, &header)?;
        writer.begin()?;
        Ok(writer)
    }

    /// Writes a row of the table with this place in the layout. Tables are written in their order.
    ///
    /// # Errors
    /// `corrupt` for values the columns do not take, and another tenant's row; `too_large` for a row of more than
    /// [`MAX_ROW`] bytes; `invalid_input` for a table that is over; `unavailable` when it cannot be written.
    pub fn row(&mut self, table: usize, values: &[Value]) -> Result<()> {
        while self.tables.len() < table {
            self.end()?;
            self.begin()?;
        }
        let Some(layout) = self.layout.tables.get(table).filter(|_| table == self.tables.len()) else {
            return Err(Error::invalid("the tables of an archive are written in their order"));
        };
        layout.takes(self.header.tenant, values)?;
        let start = self.frame.len();
        self.frame.extend([0; 4]);
        values.iter().try_for_each(|value| encode(value, &mut self.frame))?;
        let length = self.frame.len() - start - 4;
        if length > MAX_ROW {
            let message =
                format!("a row of `{}` has {length} bytes, more than fit into an archive", layout.name);
            return Err(Error::too_large(message));
        }
        let prefix = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        for (to, from) in self.frame.iter_mut().skip(start).zip(prefix) {
            *to = from;
        }
        self.digest.update(self.frame.get(start..).unwrap_or_default());
        self.rows += 1;
        if self.frame.len() >= FRAME { self.flush() } else { Ok(()) }
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// `unavailable` when it cannot be written.
    pub fn finish(mut self) -> Result<(ArchiveSummary, W)> {
        self.end()?;
        while self.tables.len() < self.layout.tables.len() {
            self.begin()?;
            self.end()?;
        }
        let digest = hex::encode(self.all.clone().finalize());
        let manifest = canonical::to_bytes(&json!({ "digest": digest, "tables": self.tables }))?;
        self.put(kind::MANIFEST, &manifest)?;
        let Hashed { mut inner, digest, bytes } = self.stream.finish().map_err(failed)?;
        let digest: [u8; 32] = digest.finalize().into();
        inner.write_all(&digest).and_then(|()| inner.flush()).map_err(failed)?;
        let rows = self.tables.iter().map(|table| table.rows).sum();
        let (header, tables) = (self.header, self.tables);
        Ok((ArchiveSummary { header, tables, rows, bytes: bytes + 32, digest: digest.into() }, inner))
    }

    fn begin(&mut self) -> Result<()> {
        let Some(table) = self.layout.tables.get(self.tables.len()) else { return Ok(()) };
        let columns: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        let body = canonical::to_bytes(&json!({ "name": table.name, "columns": columns }))?;
        self.put(kind::TABLE, &body)
    }

    fn end(&mut self) -> Result<()> {
        let Some(table) = self.layout.tables.get(self.tables.len()) else { return Ok(()) };
        self.flush()?;
        let (rows, digest) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.digest));
        let digest: [u8; 32] = digest.finalize().into();
        self.put(kind::END, &[&rows.to_le_bytes()[..], &digest].concat())?;
        self.tables.push(TableSummary { name: table.name.to_owned(), rows, digest: digest.into() });
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let frame = std::mem::take(&mut self.frame);
        self.put(kind::ROWS, &frame)?;
        self.frame = frame;
        self.frame.clear();
        Ok(())
    }

    fn put(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        let length = u32::try_from(body.len()).map_err(|_| Error::too_large("a frame of an archive"))?;
        let head = [&[kind][..], &length.to_le_bytes()].concat();
        self.all.update(&head);
        self.all.update(body);
        self.stream.write_all(&head).and_then(|()| self.stream.write_all(body)).map_err(failed)
    }
}

/// Counts and hashes what goes through.
struct Hashed<W> {
    inner: W,
    digest: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or_default());
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn failed(error: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the archive cannot be written").with_source(error)
}

pub(super) fn encode(value: &Value, to: &mut Vec<u8>) -> Result<()> {
    let mut long = |tag: u8, bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).map_err(|_| Error::too_large("a value of an archive"))?;
        to.push(tag);
        to.extend(length.to_le_bytes());
        to.extend(bytes);
        Ok(())
    };
    match value {
        Value::Text(text) => return long(3, text.as_bytes()),
        Value::Bytes(bytes) => return long(4, bytes),
        Value::Null => to.push(0),
        Value::Int(number) => {
            to.push(1);
            to.extend(number.to_le_bytes());
        }
        Value::Real(number) => {
            to.push(2);
            to.extend(number.to_le_bytes());
        }
    }
    Ok(())
}
