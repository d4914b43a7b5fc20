//! The audit logs in memory, and [`AuditReader`] over them.

use async_trait::async_trait;

use super::{MemoryDb, slice};
use crate::audit::merkle::{self, CompactRange, TreeHash};
use crate::audit::{AuditEntry, AuditReader, Checkpoint, InclusionProof};
use crate::context::{Context, OperatorContext};
use crate::error::Result;

/// One log: the records' bytes, their leaves, and the tree head over them.
#[derive(Default)]
pub(super) struct Log {
    /// Without bytes where a record was erased.
    records: Vec<Vec<u8>>,
    leaves: Vec<TreeHash>,
    head: CompactRange,
}

impl Log {
    pub(super) fn append(&mut self, records: Vec<Vec<u8>>) {
        for bytes in records {
            let leaf = merkle::leaf_hash(&bytes);
            self.head.append(leaf);
            self.leaves.push(leaf);
            self.records.push(bytes);
        }
    }

    fn entries(&self, from: u64, limit: u32) -> Vec<AuditEntry> {
        slice(&self.records, from, limit)
            .zip(slice(&self.leaves, from, limit))
            .map(|((seq, bytes), (_, leaf))| AuditEntry::stored(seq, *leaf, bytes.clone()))
            .collect()
    }

    /// Forgets what the records say; their leaves stay.
    pub(super) fn erase(&mut self) {
        self.records.iter_mut().for_each(|bytes| *bytes = Vec::new());
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint { size: self.head.size(), root: self.head.root() }
    }

    /// The tree head as it was at `size` records.
    fn checkpoint_at(&self, size: u64) -> Checkpoint {
        let mut head = CompactRange::default();
        head.extend((0..size).zip(&self.leaves).map(|(_, leaf)| *leaf));
        Checkpoint { size: head.size(), root: head.root() }
    }
}

#[async_trait]
impl AuditReader for MemoryDb {
    async fn entries(&self, ctx: &Context, from: u64, limit: u32) -> Result<Vec<AuditEntry>> {
        let state = self.open()?;
        Ok(state.logs.get(&ctx.tenant()).map(|log| log.entries(from, limit)).unwrap_or_default())
    }

    async fn checkpoint(&self, ctx: &Context) -> Result<Checkpoint> {
        let state = self.open()?;
        Ok(state.logs.get(&ctx.tenant()).map_or_else(|| Log::default().checkpoint(), Log::checkpoint))
    }

    async fn prove(&self, ctx: &Context, seq: u64, size: u64) -> Result<InclusionProof> {
        let state = self.open()?;
        let none = Log::default();
        let log = state.logs.get(&ctx.tenant()).unwrap_or(&none);
        let path = merkle::inclusion_proof(seq, size, &log.leaves)?;
        Ok(InclusionProof { seq, checkpoint: log.checkpoint_at(size), path })
    }

    async fn consistency(&self, ctx: &Context, old: u64, new: u64) -> Result<Vec<TreeHash>> {
        let state = self.open()?;
        let leaves = state.logs.get(&ctx.tenant()).map(|log| log.leaves.as_slice()).unwrap_or_default();
        Ok(merkle::consistency_proof(old, new, leaves)?)
    }

    async fn platform_entries(&self, _: &OperatorContext, from: u64, limit: u32) -> Result<Vec<AuditEntry>> {
        Ok(self.open()?.platform.entries(from, limit))
    }

    async fn platform_checkpoint(&self, _: &OperatorContext) -> Result<Checkpoint> {
        Ok(self.open()?.platform.checkpoint())
    }
}
