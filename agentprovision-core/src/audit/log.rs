//! The service for a tenant's audit log.

use std::sync::Arc;

use super::merkle::{CompactRange, TreeHash};
use super::{AuditEntry, AuditReader, Checkpoint, InclusionProof};
use crate::access::Access;
use crate::authz::{Permission, Resource};
use crate::context::{Context, OperatorContext};
use crate::error::{Error, Result};

/// Entries read at a time.
const PAGE: u32 = 500;
/// The action that tells of a restore.
const RESTORED: &str = "archives.restore";

/// Reads and verifies audit logs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AuditLog {
    reader: Arc<dyn AuditReader>,
    access: Access,
}

impl AuditLog {
    /// The service over a backend's reader.
    pub fn new(reader: Arc<dyn AuditReader>, access: Access) -> Self {
        Self { reader, access }
    }

    async fn readable(&self, ctx: &Context) -> Result<()> {
        self.access.check(ctx, Permission::AUDIT_READ, Resource::all("audit")).await
    }

    /// At most `limit` (up to 500) entries from place `from` on.
    ///
    /// # Errors
    /// `permission_denied` without `audit:read`; `invalid_input` for a limit of 0 or above 500.
    pub async fn entries(&self, ctx: &Context, from: u64, limit: u32) -> Result<Vec<AuditEntry>> {
        self.readable(ctx).await?;
        self.reader.entries(ctx, from, checked(limit)?).await
    }

    /// The current tree head.
    ///
    /// # Errors
    /// `permission_denied` without `audit:read`.
    pub async fn checkpoint(&self, ctx: &Context) -> Result<Checkpoint> {
        self.readable(ctx).await?;
        self.reader.checkpoint(ctx).await
    }

    /// A proof that the record at `seq` is in the log as it was at `size` records.
    ///
    /// # Errors
    /// `permission_denied` without `audit:read`; `invalid_input` for places that are not in the log.
    pub async fn prove(&self, ctx: &Context, seq: u64, size: u64) -> Result<InclusionProof> {
        self.readable(ctx).await?;
        self.reader.prove(ctx, seq, size).await
    }

    /// A proof that the log of `old` records is the beginning of the log of `new` records: compare it with a checkpoint
    /// that was kept outside, and no record before it was changed, dropped or added.
    ///
    /// # Errors
    /// As [`AuditLog::prove`].
    pub async fn consistency(&self, ctx: &Context, old: u64, new: u64) -> Result<Vec<TreeHash>> {
        self.readable(ctx).await?;
        self.reader.consistency(ctx, old, new).await
    }

    /// Reads every record, checks places and forms, and recomputes the tree: what was pending at the call is included.
    /// Of records that were erased with the tenant, before it was restored, the hashes are checked; any other that is
    /// gone is an error.
    ///
    /// # Errors
    /// `permission_denied` without `audit:read`; `corrupt` when the log does not verify.
    pub async fn verify(&self, ctx: &Context) -> Result<Checkpoint> {
        self.readable(ctx).await?;
        let head = self.reader.checkpoint(ctx).await?;
        let mut log = Verified::default();
        while log.tree.size() < head.size {
            let entries = self.reader.entries(ctx, log.tree.size(), PAGE).await?;
            log.add(&entries, head.size)?;
        }
        log.compare(head)
    }

    /// At most `limit` (up to 500) entries of the platform log from place `from` on.
    ///
    /// # Errors
    /// `foreign_context`; `invalid_input` for a limit of 0 or above 500.
    pub async fn platform_entries(
        &self,
        op: &OperatorContext,
        from: u64,
        limit: u32,
    ) -> Result<Vec<AuditEntry>> {
        self.access.operator(op)?;
        self.reader.platform_entries(op, from, checked(limit)?).await
    }

    /// Verifies the platform log as [`AuditLog::verify`] does a tenant's.
    ///
    /// # Errors
    /// `foreign_context`; `corrupt` when the log does not verify.
    pub async fn verify_platform(&self, op: &OperatorContext) -> Result<Checkpoint> {
        self.access.operator(op)?;
        let head = self.reader.platform_checkpoint(op).await?;
        let mut log = Verified::default();
        while log.tree.size() < head.size {
            let entries = self.reader.platform_entries(op, log.tree.size(), PAGE).await?;
            log.add(&entries, head.size)?;
        }
        log.compare(head)
    }
}

fn checked(limit: u32) -> Result<u32> {
    if (1..=PAGE).contains(&limit) {
        Ok(limit)
    } else {
        Err(Error::invalid(format!("1 to {PAGE} entries are read at a time, not `{limit}`")))
    }
}

/// As much of a log as was verified.
#[derive(Default)]
struct Verified {
    tree: CompactRange,
    /// How many records the log had up to the last one that is erased.
    erased: u64,
    /// The place of the record that its tenant was last restored: before it, records may have been erased with the tenant,
    /// here or where it came from.
    restored: u64,
}

impl Verified {
    fn add(&mut self, entries: &[AuditEntry], size: u64) -> Result<()> {
        if entries.is_empty() {
            return Err(Error::corrupt(format!(
                "the audit log ends at {} of {size} records",
                self.tree.size()
            )));
        }
        for entry in entries {
            if self.tree.size() == size {
                break;
            }
            if entry.seq != self.tree.size() {
                return Err(Error::corrupt(format!("the audit log has a gap at {}", self.tree.size())));
            }
            if entry.erased.is_some() {
                self.erased = entry.seq + 1;
            } else {
                let record = entry.record()?;
                if record.action == RESTORED {
                    self.restored = entry.seq;
                }
            }
            self.tree.append(entry.leaf());
        }
        Ok(())
    }

    fn compare(&self, head: Checkpoint) -> Result<Checkpoint> {
        if self.tree.root() != head.root {
            let message = format!("the audit log of {} records does not have its root", head.size);
            return Err(Error::corrupt(message));
        }
        if self.erased > self.restored {
            let message = format!("record {} of the audit log is gone", self.erased - 1);
            return Err(Error::corrupt(message));
        }
        Ok(head)
    }
}
