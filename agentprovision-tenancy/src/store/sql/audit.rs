//! Audit logs: what is pending is moved into its log in order, then read and proved from there.

use std::ops::Range;

use agentprovision_core::audit::merkle::{self, CompactRange, TreeHash};
use agentprovision_core::audit::{AuditEntry, AuditReader, Checkpoint, InclusionProof};
use agentprovision_core::context::{Context, OperatorContext};
use agentprovision_core::{Error, Result};
use async_trait::async_trait;
use uuid::Uuid;

use super::SqlStore;
use super::conn::{TenantTx, Turn};
use super::multi::AUDIT_LOG;
use super::value::{TenantSql, tenant_sql, values};

/// The log of the platform: no tenant has the nil UUID.
pub(super) const PLATFORM_LOG: Uuid = Uuid::nil();

/// Leaves that are read at once for a proof.
const LEAVES: u64 = 10_000;

/// The head of the transaction's log.
async fn head(tx: &mut TenantTx<'_>) -> Result<CompactRange> {
    match tx.row(tenant_sql!("SELECT head FROM audit_heads WHERE log_id = $1"), vec![]).await? {
        Some(mut row) => Ok(CompactRange::from_bytes(&row.next::<Vec<u8>>()?)?),
        None => Ok(CompactRange::default()),
    }
}

/// Whether records wait for their place in the transaction's log.
async fn pending(tx: &mut TenantTx<'_>) -> Result<bool> {
    tx.exists(tenant_sql!("SELECT 1 FROM audit_pending WHERE log_id = $1 LIMIT 1"), vec![]).await
}

/// Moves what is pending into the log; at most some thousand records. Says whether there may be more.
pub(super) async fn sequence(tx: &mut TenantTx<'_>) -> Result<bool> {
    tx.turn(Turn::Audit).await?;
    tx.take_up("audit").await?;
    // What is there is taken out and put in one transaction: an order of commits that is not the order of positions
    // loses nothing.
    const TAKE: TenantSql = TenantSql::new(
        "DELETE FROM audit_pending WHERE log_id = $1 AND pos IN \
         (SELECT pos FROM audit_pending WHERE log_id = $1 ORDER BY pos LIMIT 4096) RETURNING 0, pos, bytes",
        "DELETE FROM audit_pending WHERE log_id = $1 AND (tx, pos) IN \
         (SELECT tx, pos FROM audit_pending WHERE log_id = $1 ORDER BY tx, pos LIMIT 4096) RETURNING tx, pos, bytes",
    );
    let mut taken = Vec::new();
    for mut row in tx.rows(TAKE, vec![]).await? {
        taken.push(((row.next::<i64>()?, row.next::<i64>()?), row.next::<Vec<u8>>()?));
    }
    if taken.is_empty() {
        return Ok(false);
    }
    taken.sort_unstable_by_key(|(pos, _)| *pos);
    let more = taken.len() == 4096;
    append(tx, taken.into_iter().map(|(_, bytes)| (merkle::leaf_hash(&bytes), bytes)).collect()).await?;
    Ok(more)
}

/// Gives records their places behind the transaction's log, as leaf and bytes; an erased one has no bytes. Nothing may be
/// pending that was there before them.
pub(super) async fn append(tx: &mut TenantTx<'_>, records: Vec<(TreeHash, Vec<u8>)>) -> Result<()> {
    let mut head = head(tx).await?;
    let mut rows = Vec::new();
    for (leaf, bytes) in records {
        rows.extend(values![head.size(), leaf.as_bytes(), bytes]);
        head.append(leaf);
    }
    tx.multi(&AUDIT_LOG, rows).await?;
    let sql = tenant_sql!(
        "INSERT INTO audit_heads (log_id, head) VALUES ($1, $2) ON CONFLICT (log_id) DO UPDATE SET head = excluded.head"
    );
    tx.execute(sql, values![head.to_bytes()]).await.map(drop)
}

/// Moves what is pending into every log: what the one writer of a file does by itself.
#[cfg(feature = "store-sqlite")]
pub(super) async fn sequence_all(tx: &mut super::conn::SystemTx<'_>) -> Result<()> {
    let logs =
        tx.rows(super::value::system_sql!("SELECT DISTINCT log_id FROM audit_pending"), vec![]).await?;
    for mut log in logs {
        let log: Uuid = log.next()?;
        while sequence(&mut tx.log(log)).await? {}
    }
    Ok(())
}

async fn entries(tx: &mut TenantTx<'_>, from: u64, limit: u32) -> Result<Vec<AuditEntry>> {
    let Ok(from) = i64::try_from(from) else { return Ok(Vec::new()) };
    let sql = tenant_sql!(
        "SELECT seq, leaf, bytes FROM audit_log WHERE log_id = $1 AND seq >= $2 ORDER BY seq LIMIT $3"
    );
    let rows = tx.rows(sql, values![from, limit]).await?;
    rows.into_iter().map(|mut row| Ok(AuditEntry::stored(row.next()?, row.next()?, row.next()?))).collect()
}

/// The root over leaves of the log.
pub(super) async fn subtree(tx: &mut TenantTx<'_>, range: Range<u64>) -> Result<TreeHash> {
    let sql =
        tenant_sql!("SELECT leaf FROM audit_log WHERE log_id = $1 AND seq >= $2 AND seq < $3 ORDER BY seq");
    let mut tree = CompactRange::default();
    let mut from = range.start;
    while from < range.end {
        let to = range.end.min(from + LEAVES);
        for mut row in tx.rows(sql, values![from, to]).await? {
            tree.append(row.next()?);
        }
        from = to;
    }
    if tree.size() == range.end - range.start {
        Ok(tree.root())
    } else {
        Err(Error::corrupt("the audit log has a gap"))
    }
}

async fn subtrees(tx: &mut TenantTx<'_>, ranges: Vec<Range<u64>>) -> Result<Vec<TreeHash>> {
    let mut roots = Vec::new();
    for range in ranges {
        roots.push(subtree(tx, range).await?);
    }
    Ok(roots)
}

async fn within(tx: &mut TenantTx<'_>, size: u64) -> Result<()> {
    let log = head(tx).await?.size();
    if size <= log {
        Ok(())
    } else {
        Err(Error::invalid(format!("the audit log has {log} records, less than `{size}`")))
    }
}

pub(super) async fn checkpoint(tx: &mut TenantTx<'_>) -> Result<Checkpoint> {
    let head = head(tx).await?;
    Ok(Checkpoint { size: head.size(), root: head.root() })
}

impl SqlStore {
    /// Sequences a log as it is now; without a write when nothing is pending.
    async fn sequenced(&self, log: Uuid) -> Result<()> {
        let pending =
            self.read_system(move |mut tx| Box::pin(async move { pending(&mut tx.log(log)).await })).await?;
        if !pending {
            return Ok(());
        }
        self.write_system(move |mut tx| {
            Box::pin(async move {
                while sequence(&mut tx.log(log)).await? {}
                Ok(())
            })
        })
        .await
    }
}

#[async_trait]
impl AuditReader for SqlStore {
    async fn entries(&self, ctx: &Context, from: u64, limit: u32) -> Result<Vec<AuditEntry>> {
        self.sequenced(ctx.tenant().uuid()).await?;
        self.read(ctx.tenant(), move |mut tx| Box::pin(async move { entries(&mut tx, from, limit).await }))
            .await
    }

    async fn checkpoint(&self, ctx: &Context) -> Result<Checkpoint> {
        self.sequenced(ctx.tenant().uuid()).await?;
        self.read(ctx.tenant(), |mut tx| Box::pin(async move { checkpoint(&mut tx).await })).await
    }

    async fn prove(&self, ctx: &Context, seq: u64, size: u64) -> Result<InclusionProof> {
        self.sequenced(ctx.tenant().uuid()).await?;
        let ranges = merkle::inclusion_ranges(seq, size)?;
        // A log only grows at its end, so its prefix is the same in every statement.
        self.read(ctx.tenant(), move |mut tx| {
            Box::pin(async move {
                within(&mut tx, size).await?;
                let root = subtree(&mut tx, 0..size).await?;
                let path = subtrees(&mut tx, ranges).await?;
                Ok(InclusionProof { seq, checkpoint: Checkpoint { size, root }, path })
            })
        })
        .await
    }

    async fn consistency(&self, ctx: &Context, old: u64, new: u64) -> Result<Vec<TreeHash>> {
        self.sequenced(ctx.tenant().uuid()).await?;
        let ranges = merkle::consistency_ranges(old, new)?;
        self.read(ctx.tenant(), move |mut tx| {
            Box::pin(async move {
                within(&mut tx, new).await?;
                subtrees(&mut tx, ranges).await
            })
        })
        .await
    }

    async fn platform_entries(&self, _: &OperatorContext, from: u64, limit: u32) -> Result<Vec<AuditEntry>> {
        self.sequenced(PLATFORM_LOG).await?;
        self.read_system(move |mut tx| {
            Box::pin(async move { entries(&mut tx.log(PLATFORM_LOG), from, limit).await })
        })
        .await
    }

    async fn platform_checkpoint(&self, _: &OperatorContext) -> Result<Checkpoint> {
        self.sequenced(PLATFORM_LOG).await?;
        self.read_system(|mut tx| Box::pin(async move { checkpoint(&mut tx.log(PLATFORM_LOG)).await })).await
    }
}
