//! A tenant from an archive, in one transaction.

use agentprovision_core::archive::{Header, Part, Restore, Value as Stored};
use agentprovision_core::audit::merkle::{self, TreeHash};
use agentprovision_core::effect::OperatorEffects;
use agentprovision_core::id::{RunId, TenantId};
use agentprovision_core::tenant::{Revision, Tenant, TenantState};
use agentprovision_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc;

use super::conn::{SystemTx, TenantTx};
use super::tables::{LAYOUT, TABLES};
use super::value::{Value, tenant_sql, values};
use super::{archive, audit, effects, index, residence, tenants};

/// By how much the epochs of restored runs are raised: a worker that took a run up after the export holds a lower one,
/// and is not let in again.
const EPOCHS: i64 = 1 << 32;

pub(super) async fn restore(
    system: &mut SystemTx<'_>,
    what: Restore,
    mut from: mpsc::Receiver<Part>,
    all: OperatorEffects,
) -> Result<Tenant> {
    let mut tx = system.tenant(what.tenant);
    tx.alone().await?;
    residence::at_home(&mut tx).await?;
    let mut target = Target::new(&mut tx, &what).await?;
    loop {
        match from.recv().await {
            Some(Part::Header(header)) if header == what.header => {}
            Some(Part::Rows(table, rows)) => target.rows(&mut tx, table, rows).await?,
            Some(Part::End) => break,
            Some(Part::Header(_)) => {
                return Err(Error::conflict("the archive was changed while it was read"));
            }
            None => {
                let message = "the archive was not read to its end";
                return Err(Error::new(ErrorKind::Cancelled, message));
            }
        }
    }
    check_runs(&mut tx, what.tenant).await?;
    effects::guard(&mut tx, &all.tenant).await?;
    effects::apply(&mut tx, all.tenant).await?;
    let tenant = tenants::find(&mut tx).await?.filter(|tenant| tenant.state == TenantState::Suspended);
    let tenant = tenant.ok_or_else(|| Error::corrupt("the archive does not hold its tenant"))?;
    effects::platform(system, &all.platform).await?;
    Ok(tenant)
}

/// What the rows come into.
struct Target<'a> {
    header: &'a Header,
    /// The revision of the tombstone.
    tombstone: Option<Revision>,
    /// Whether there is a log, which stays.
    log: bool,
    /// Whether it is another tenant than the archive's.
    other: bool,
}

impl<'a> Target<'a> {
    async fn new(tx: &mut TenantTx<'_>, what: &'a Restore) -> Result<Self> {
        while audit::sequence(tx).await? {}
        let found = archive::standing(tx).await?;
        let tombstone = match found.tenant {
            Some((TenantState::Deleted, revision)) => Some(revision),
            Some(_) => return Err(Error::conflict("the tenant is there: only a deleted one is restored")),
            None => None,
        };
        archive::at(found.audit, what.found)?;
        let (header, log) = (&what.header, found.audit.size > 0);
        let other = what.tenant != header.tenant;
        if other && (log || tombstone.is_some()) {
            return Err(Error::conflict("another tenant's archive becomes a tenant that was never there"));
        }
        if log {
            let beginning = header.audit.size <= found.audit.size
                && audit::subtree(tx, 0..header.audit.size).await? == header.audit.root;
            if !beginning {
                return Err(Error::conflict("the archived audit log is not the beginning of the tenant's"));
            }
        }
        Ok(Self { header, tombstone, log, other })
    }

    async fn rows(&mut self, tx: &mut TenantTx<'_>, table: usize, rows: Vec<Vec<Stored>>) -> Result<()> {
        let (Some(layout), Some(sql)) = (LAYOUT.tables.get(table), TABLES.get(table)) else {
            return Err(Error::corrupt("the archive has a table that is not known"));
        };
        match layout.name {
            "tenants" => {
                for row in rows {
                    self.tenant(tx, row).await?;
                }
                return Ok(());
            }
            "audit_log" if self.log => return self.fill(tx, rows).await,
            "audit_heads" if self.log => return Ok(()),
            "audit_pending" if self.log => return self.pending(tx, rows).await,
            "events" | "outbox" | "event_heads" if self.other => return Ok(()),
            "event_heads" => {
                for row in rows {
                    count(tx, row).await?;
                }
                return Ok(());
            }
            _ => {}
        }
        let mut all = Vec::with_capacity(rows.len() * layout.columns.len());
        for mut row in rows {
            if layout.name == "run_leases" {
                // Nobody holds it; when it may be taken up is as it was.
                for (column, value) in layout.columns.iter().zip(&mut row) {
                    match (column.name, &value) {
                        ("lease_until", _) => *value = Stored::Null,
                        ("epoch", Stored::Int(epoch)) => *value = Stored::Int(epoch.saturating_add(EPOCHS)),
                        _ => {}
                    }
                }
            }
            // The first is the tenant, which the transaction binds.
            all.extend(row.into_iter().skip(1).map(Value::from));
        }
        tx.multi(sql.insert, all).await
    }

    /// The tenant's own row: suspended, and newer than anything that is known of the tenant.
    async fn tenant(&self, tx: &mut TenantTx<'_>, row: Vec<Stored>) -> Result<()> {
        let [_, name, domain, _, plan, region, settings, created_at, _, Stored::Int(revision)] =
            row.as_slice()
        else {
            return Err(Error::corrupt("the archived tenant cannot be read"));
        };
        let domain = match domain {
            Stored::Text(text) if tenants::domain_taken(tx, Some(text)).await.is_ok() => domain.clone(),
            _ => Stored::Null,
        };
        let revision = u64::try_from(*revision).unwrap_or(0).max(self.tombstone.unwrap_or(0)) + 1;
        let now = tx.env.now();
        let row = values![
            name.clone(),
            domain,
            TenantState::Suspended.name(),
            plan.clone(),
            region.clone(),
            settings.clone(),
            created_at.clone(),
            now,
            revision,
        ];
        let sql = match self.tombstone {
            Some(_) => tenant_sql!(
                "UPDATE tenants SET name = $2, domain = $3, state = $4, plan = $5, region = $6, settings = $7, \
                 created_at = $8, updated_at = $9, revision = $10 WHERE tenant_id = $1"
            ),
            None => tenant_sql!(
                "INSERT INTO tenants (tenant_id, name, domain, state, plan, region, settings, created_at, updated_at, \
                 revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
            ),
        };
        tx.execute(sql, row).await.map(drop)
    }

    /// Fills in records that were erased, where the leaf says that they are the same.
    async fn fill(&self, tx: &mut TenantTx<'_>, rows: Vec<Vec<Stored>>) -> Result<()> {
        let sql = tenant_sql!(
            "UPDATE audit_log SET bytes = $4 WHERE log_id = $1 AND seq = $2 AND leaf = $3 AND length(bytes) = 0"
        );
        for row in rows {
            let [_, Stored::Int(seq), Stored::Bytes(leaf), Stored::Bytes(bytes)] = row.as_slice() else {
                return Err(Error::corrupt("a record of the archived audit log cannot be read"));
            };
            if !bytes.is_empty() && TreeHash::try_from(leaf.as_slice())? == merkle::leaf_hash(bytes) {
                tx.execute(sql, values![*seq, &**leaf, &**bytes]).await?;
            }
        }
        Ok(())
    }

    /// Records that had no place in the log when it was archived have one in a log that stayed, or get one.
    async fn pending(&self, tx: &mut TenantTx<'_>, rows: Vec<Vec<Stored>>) -> Result<()> {
        let fill = tenant_sql!(
            "UPDATE audit_log SET bytes = $4 WHERE log_id = $1 AND seq >= $2 AND leaf = $3 AND length(bytes) = 0"
        );
        let there =
            tenant_sql!("SELECT 1 FROM audit_log WHERE log_id = $1 AND seq >= $2 AND leaf = $3 LIMIT 1");
        for row in rows {
            let [_, Stored::Bytes(bytes)] = row.as_slice() else {
                return Err(Error::corrupt("a record of the archived audit log cannot be read"));
            };
            let leaf = merkle::leaf_hash(bytes);
            tx.execute(fill, values![self.header.audit.size, leaf.as_bytes(), &**bytes]).await?;
            if !tx.exists(there, values![self.header.audit.size, leaf.as_bytes()]).await? {
                tx.multi(&super::multi::AUDIT_PENDING, values![&**bytes]).await?;
            }
        }
        Ok(())
    }
}

/// The count of events goes on from the higher one, so that no number ever means two events.
async fn count(tx: &mut TenantTx<'_>, row: Vec<Stored>) -> Result<()> {
    let [_, Stored::Int(seq)] = row.as_slice() else {
        return Err(Error::corrupt("the archived count of events cannot be read"));
    };
    let sql = tenant_sql!(
        "INSERT INTO event_heads (tenant_id, seq) VALUES ($1, $2) ON CONFLICT (tenant_id) DO UPDATE SET seq = \
         CASE WHEN excluded.seq > event_heads.seq THEN excluded.seq ELSE event_heads.seq END"
    );
    tx.execute(sql, values![*seq]).await.map(drop)
}

/// Whoever looks for work reads the runs of all tenants: those that come back under way must be readable.
async fn check_runs(tx: &mut TenantTx<'_>, tenant: TenantId) -> Result<()> {
    let sql = tenant_sql!("SELECT run_id FROM run_leases WHERE tenant_id = $1");
    for mut row in tx.rows(sql, vec![]).await? {
        let run: RunId = row.next()?;
        index::get(tx, tenant, run)
            .await
            .map_err(|error| Error::corrupt("an archived run cannot be read").with_source(error))?;
    }
    Ok(())
}
