//! Tenants as files: [`Archives`].

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentprovision_core::access::Access;
use agentprovision_core::archive::{self, ArchiveSummary, Layout, Part, Reader, Restore, Value, Writer};
use agentprovision_core::audit::{AuditRecord, Checkpoint};
use agentprovision_core::backend::Stores;
use agentprovision_core::effect::OperatorEffects;
use agentprovision_core::id::{RequestId, TenantId};
use agentprovision_core::task::detached;
use agentprovision_core::tenant::{Tenant, TenantState};
use agentprovision_core::{Error, ErrorKind, OperatorContext, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;

use super::{Tenants, told};
use crate::rbac::RbacAuthorizer;

/// Parts that wait between the store and the file.
const PARTS: usize = 4;
/// Rows that are given to the store at a time, and their bytes, about.
const ROWS: usize = 256;
const PART: usize = 1 << 20;

/// What is kept of a tenant that is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastArchive {
    /// Its archive, in this file.
    At(PathBuf),
    /// Nothing: there is no way back.
    Nothing,
}

/// Which tenant an archive becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestoreInto {
    /// The one it was exported from, which must be deleted or was never in this store.
    #[default]
    Same,
    /// A new one. Everything but the tenant keeps its id.
    New,
}

/// How an archive is restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// Which tenant it becomes.
    pub into: RestoreInto,
}

impl RestoreOptions {
    /// Into the tenant it was exported from.
    pub fn new() -> Self {
        Self::default()
    }

    /// Into this one.
    #[must_use]
    pub fn into_tenant(mut self, into: RestoreInto) -> Self {
        self.into = into;
        self
    }
}

/// A tenant that came from an archive.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Restored {
    /// The tenant: suspended.
    pub tenant: Tenant,
    /// The archive.
    pub archive: ArchiveSummary,
}

/// Exports tenants to files, verifies and restores them. Cheap to clone.
///
/// An archive is all of a tenant in the clear, digests of its API keys included; its file can be read by its owner only.
/// Stores in memory have no archives: `unsupported`.
#[derive(Clone, Debug)]
pub struct Archives {
    access: Access,
    stores: Stores,
    authorizer: Arc<RbacAuthorizer>,
}

impl Archives {
    /// Writes everything of a tenant, as of one moment, to a new file. Both logs tell of it, and so does an event, before
    /// the first byte is written. The file has its name only when it is complete and on the disk.
    ///
    /// # Errors
    /// `not_found` for a tenant that is not there or deleted; `already_exists` when there is a file; `unavailable` when it
    /// cannot be written; `too_large` for a row of more than 64 MiB; `unsupported`; `foreign_context`.
    pub async fn export(
        &self,
        op: &OperatorContext,
        tenant: TenantId,
        path: impl Into<PathBuf>,
    ) -> Result<ArchiveSummary> {
        self.access.operator(op)?;
        let path = path.into();
        self.check_export(&path)?;
        let effects = told(op, self.access.env(), tenant, "archives.export", "tenant.exported");
        let id: RequestId = self.access.env().id();
        let partial = beside(&path, &format!(".{}.partial", id.uuid().as_simple()));
        let (summary, partial) = self.write(op, tenant, partial, effects).await?;
        blocking(move || partial.name(&path)).await?;
        Ok(summary)
    }

    /// Writes everything of a tenant to a file that is complete and on the disk, and goes unless it gets its name.
    pub(super) async fn write(
        &self,
        op: &OperatorContext,
        tenant: TenantId,
        partial: PathBuf,
        effects: OperatorEffects,
    ) -> Result<(ArchiveSummary, Partial)> {
        let layout = self.stores.archives.layout()?;
        let (parts, taken) = mpsc::channel(PARTS);
        let writing = blocking(move || write(partial, layout, taken));
        let (given, written) =
            futures_util::join!(self.stores.archives.export(op, tenant, parts, effects), writing);
        first(given, written)
    }

    /// Reads an archive to its end and checks all of it.
    ///
    /// # Errors
    /// `corrupt` when it is not as it was written; `schema_too_new` when a newer version wrote it; `unavailable` when it
    /// cannot be read; `unsupported`; `foreign_context`.
    pub async fn verify(&self, op: &OperatorContext, path: impl Into<PathBuf>) -> Result<ArchiveSummary> {
        self.access.operator(op)?;
        let (layout, path) = (self.stores.archives.layout()?, path.into());
        blocking(move || archive::verify(open(&path)?, layout)).await
    }

    /// Makes a tenant of an archive, after all of it was checked, in one transaction. The tenant is suspended: what was
    /// revoked or changed after the export is as it was then, and work that was under way goes on once the tenant is
    /// resumed. Both logs tell of it with the heads of the archived log and of the one that was found.
    ///
    /// A deleted tenant's log stays: its erased records are filled in again, and what happened to the tenant elsewhere
    /// since is put behind them. Where there is no log the archived one is copied. A
    /// domain that is taken is left out. A new tenant has no events, and its API keys hold nowhere: their texts name the
    /// tenant they were made for.
    ///
    /// # Errors
    /// Those of [`Archives::verify`]; `conflict` when the tenant is there and not deleted, or the archived audit log has
    /// nothing in common with the one that is there; `foreign_context`.
    pub async fn restore(
        &self,
        op: &OperatorContext,
        path: impl Into<PathBuf>,
        options: RestoreOptions,
    ) -> Result<Restored> {
        self.access.operator(op)?;
        let (layout, path) = (self.stores.archives.layout()?, path.into());
        let file = path.clone();
        let archive = blocking(move || archive::verify(open(&file)?, layout)).await?;
        let target = match options.into {
            RestoreInto::Same => archive.header.tenant,
            RestoreInto::New => self.access.env().id(),
        };
        let standing = self.stores.archives.standing(op, target).await?;
        if standing.tenant.is_some_and(|(state, _)| state != TenantState::Deleted) {
            return Err(Error::conflict("the tenant is there: only a deleted one is restored"));
        }
        let effects = self.restored(op, target, &archive, standing.audit);
        let what = Restore { header: archive.header.clone(), tenant: target, found: standing.audit };
        let (service, op) = (self.clone(), op.clone());
        detached(async move {
            let (parts, taken) = mpsc::channel(PARTS);
            let expected = archive.clone();
            let reading = blocking(move || read(&path, layout, &expected, &parts));
            let writing = service.stores.archives.restore(&op, what, taken, effects);
            let (written, read) = futures_util::join!(writing, reading);
            let tenant = match (written, read) {
                (Ok(tenant), _) => tenant,
                (Err(error), Err(other)) if error.is(ErrorKind::Cancelled) => return Err(other),
                (Err(error), _) => return Err(error),
            };
            service.authorizer.reset_users(tenant.id);
            service.authorizer.set_tenant(tenant.id, tenant.state, tenant.revision);
            Ok(Restored { tenant, archive })
        })
        .await
    }

    pub(crate) fn of(tenants: &Tenants) -> Self {
        let Tenants { access, stores, authorizer, .. } = tenants.clone();
        Self { access, stores, authorizer }
    }

    /// Whether there may be an export to a file, as far as can be told before.
    pub(super) fn check_export(&self, path: &Path) -> Result<()> {
        self.stores.archives.layout()?;
        free(path)
    }

    /// Reads a file that was written and has no name yet, from the disk to its end.
    pub(super) async fn check(&self, partial: Partial, summary: &ArchiveSummary) -> Result<Partial> {
        let (layout, expected) = (self.stores.archives.layout()?, summary.clone());
        blocking(move || {
            if archive::verify(open(&partial.path)?, layout)? != expected {
                return Err(Error::corrupt("the archive on the disk is not the one that was written"));
            }
            Ok(partial)
        })
        .await
    }

    fn restored(
        &self,
        op: &OperatorContext,
        target: TenantId,
        archive: &ArchiveSummary,
        found: Checkpoint,
    ) -> OperatorEffects {
        let mut effects = told(op, self.access.env(), target, "archives.restore", "tenant.restored");
        for record in effects.tenant.audit.iter_mut().chain(&mut effects.platform) {
            tell(record, archive);
            let facts = [("archived", json!(archive.header.audit)), ("found", json!(found))];
            record.details.extend(facts.map(|(name, head)| (name.to_owned(), head)));
            if target != archive.header.tenant {
                record.details.insert("from".to_owned(), json!(archive.header.tenant));
            }
        }
        effects
    }
}

/// Adds to a record which archive it is about.
pub(super) fn tell(record: &mut AuditRecord, archive: &ArchiveSummary) {
    let facts = json!({
        "digest": archive.digest,
        "exported_at": archive.header.exported_at,
        "rows": archive.rows,
    });
    record.details.insert("archive".to_owned(), facts);
}

fn unread() -> Error {
    Error::new(ErrorKind::Cancelled, "the archive was not read to its end")
}

/// What both sides of a channel came to. The side that stopped first says why; the other one only that it was left.
fn first<T>(given: Result<()>, taken: Result<T>) -> Result<T> {
    match (given, taken) {
        (Err(error), Err(other)) if error.is(ErrorKind::Cancelled) => Err(other),
        (Err(error), _) => Err(error),
        (Ok(()), taken) => taken,
    }
}

/// Does work on files where it may wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal("the work was interrupted").with_source(error)),
    }
}

fn failed(message: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::new(ErrorKind::Unavailable, message).with_source(error)
}

fn open(path: &Path) -> Result<BufReader<File>> {
    match File::open(path) {
        Ok(file) => Ok(BufReader::with_capacity(64 << 10, file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::not_found("there is no such file").with_source(error))
        }
        Err(error) => Err(failed("the archive cannot be read")(error)),
    }
}

fn free(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(_) => Err(Error::already_exists("there is a file where the archive is to be written")),
        Err(_) => Ok(()),
    }
}

/// The path with more behind its name.
pub(super) fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    name.into()
}

/// A file that goes with the value, unless it was given its name.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    named: bool,
}

impl Partial {
    /// Gives it its name, on the disk too.
    pub(super) fn name(mut self, path: &Path) -> Result<()> {
        let unwritten = failed("the archive cannot be written");
        free(path)?;
        std::fs::rename(&self.path, path).map_err(&unwritten)?;
        self.named = true;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        #[cfg(unix)]
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(&unwritten)?;
        #[cfg(not(unix))]
        let _ = folder;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.named {
            // What cannot be removed is no archive, and its name says so.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Writes what a store gives.
fn write(
    path: PathBuf,
    layout: &'static Layout,
    mut parts: mpsc::Receiver<Part>,
) -> Result<(ArchiveSummary, Partial)> {
    let Some(Part::Header(header)) = parts.blocking_recv() else { return Err(unread()) };
    let unwritten = failed("the archive cannot be written");
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path).map_err(&unwritten)?;
    let partial = Partial { path, named: false };
    let mut writer = Writer::new(BufWriter::with_capacity(64 << 10, file), header, layout)?;
    loop {
        match parts.blocking_recv() {
            Some(Part::Rows(table, rows)) => rows.iter().try_for_each(|row| writer.row(table, row))?,
            Some(Part::End) => break,
            Some(Part::Header(_)) => return Err(Error::internal("an export has two headers")),
            None => return Err(unread()),
        }
    }
    let (summary, mut file) = writer.finish()?;
    file.flush().and_then(|()| file.get_ref().sync_all()).map_err(&unwritten)?;
    Ok((summary, partial))
}

/// Gives a store what an archive holds, and its end only when it is the one that was verified.
fn read(
    path: &Path,
    layout: &'static Layout,
    expected: &ArchiveSummary,
    parts: &mpsc::Sender<Part>,
) -> Result<()> {
    let send = |part| parts.blocking_send(part).map_err(|_| unread());
    let mut reader = Reader::open(open(path)?, layout)?;
    send(Part::Header(reader.header().clone()))?;
    let (mut table, mut rows, mut bytes) = (0, Vec::new(), 0);
    while let Some((place, row)) = reader.row()? {
        if (place != table || rows.len() == ROWS || bytes > PART) && !rows.is_empty() {
            send(Part::Rows(table, std::mem::take(&mut rows)))?;
            bytes = 0;
        }
        table = place;
        bytes += row.iter().map(size).sum::<usize>();
        rows.push(row);
    }
    if !rows.is_empty() {
        send(Part::Rows(table, rows))?;
    }
    if reader.into_summary()? != *expected {
        return Err(Error::conflict("the archive was changed while it was read"));
    }
    send(Part::End)
}

fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 8,
    }
}
