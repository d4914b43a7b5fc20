//! A tenant from an archive, in one transaction.

use std::collections::BTreeMap;

use agentprovision_core::archive::{Part, Restore, Value as Stored};
use agentprovision_core::audit::merkle::{self, TreeHash};
use agentprovision_core::effect::OperatorEffects;
use agentprovision_core::id::{RunId, TenantId};
use agentprovision_core::tenant::{Revision, Tenant, TenantState};
use agentprovision_core::webhook::EndpointState;
use agentprovision_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc;

use super::conn::{SystemTx, TenantTx};
use super::tables::{LAYOUT, TABLES};
use super::value::{Value, tenant_sql, values};
use super::{archive, audit, effects, index, residence, tenants};

/// By how much restored epochs are raised, of runs, deliveries, secrets and work under keys: whoever took one up after the export holds a
/// lower one, and is not let in again.
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
struct Target {
    /// The revision of the tombstone.
    tombstone: Option<Revision>,
    /// How many records the log has that is there and stays.
    log: u64,
    /// How many of them the archived log begins with too, as far as both were compared.
    common: u64,
    /// What is left of the events, by number.
    events: BTreeMap<i64, Vec<u8>>,
    /// Whether it is another tenant than the archive's.
    other: bool,
}

impl Target {
    async fn new(tx: &mut TenantTx<'_>, what: &Restore) -> Result<Self> {
        while audit::sequence(tx).await? {}
        let found = archive::standing(tx).await?;
        let tombstone = match found.tenant {
            Some((TenantState::Deleted, revision)) => Some(revision),
            Some(_) => return Err(Error::conflict("the tenant is there: only a deleted one is restored")),
            None => None,
        };
        archive::at(found.audit, what.found)?;
        let log = found.audit.size;
        let other = what.tenant != what.header.tenant;
        if other && (log > 0 || tombstone.is_some()) {
            return Err(Error::conflict("another tenant's archive becomes a tenant that was never there"));
        }
        if audit::subtree(tx, 0..log).await? != found.audit.root {
            return Err(Error::corrupt("the audit log that is there does not have its root"));
        }
        let sql = tenant_sql!("SELECT seq, bytes FROM events WHERE tenant_id = $1");
        let mut events = BTreeMap::new();
        for mut row in tx.rows(sql, vec![]).await? {
            events.insert(row.next()?, row.next()?);
        }
        Ok(Self { tombstone, log, common: 0, events, other })
    }

    async fn rows(&mut self, tx: &mut TenantTx<'_>, table: usize, mut rows: Vec<Vec<Stored>>) -> Result<()> {
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
            "audit_log" if self.log > 0 => return self.merge(tx, rows).await,
            "audit_heads" if self.log > 0 => return Ok(()),
            "audit_pending" if self.log > 0 => return self.pending(tx, rows).await,
            "events" | "outbox" | "event_heads" | "secrets" if self.other => return Ok(()),
            "event_heads" => {
                for row in rows {
                    count(tx, row).await?;
                }
                return Ok(());
            }
            "events" if !self.events.is_empty() => rows = self.renumber(tx, rows).await?,
            _ => {}
        }
        let mut all = Vec::with_capacity(rows.len() * layout.columns.len());
        for mut row in rows {
            for (column, value) in layout.columns.iter().zip(&mut row) {
                match (layout.name, column.name, &value) {
                    // Nobody holds it; when a run or a delivery may be taken up is as it was.
                    ("run_leases" | "secrets" | "delivery_work", "lease_until" | "lease_holder", _) => {
                        *value = Stored::Null;
                    }
                    (
                        "run_leases" | "secrets" | "idempotency_keys" | "delivery_work",
                        "epoch" | "lease_epoch",
                        Stored::Int(epoch),
                    ) => {
                        *value = Stored::Int(epoch.saturating_add(EPOCHS));
                    }
                    // What proves who asks stays with the tenant it was sealed for.
                    ("integrations", "state", Stored::Text(state)) if self.other && state == "active" => {
                        *value = Stored::Text("needs_reconnect".into());
                    }
                    ("webhook_endpoints", "state", _) if self.other => {
                        *value = Stored::Text(EndpointState::Disabled.name().into());
                    }
                    _ => {}
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

    /// The log that is there stays. Where the archived one is its beginning, erased records are filled in again; from the
    /// first record on that is another, the tenant lived on elsewhere, and what is told of that comes behind all.
    async fn merge(&mut self, tx: &mut TenantTx<'_>, rows: Vec<Vec<Stored>>) -> Result<()> {
        let same = tenant_sql!(
            "UPDATE audit_log SET bytes = CASE WHEN length(bytes) = 0 THEN $4 ELSE bytes END \
             WHERE log_id = $1 AND seq = $2 AND leaf = $3"
        );
        let mut behind = Vec::new();
        for row in rows {
            let [_, Stored::Int(seq), Stored::Bytes(leaf), Stored::Bytes(bytes)] = row.as_slice() else {
                return Err(Error::corrupt("a record of the archived audit log cannot be read"));
            };
            let hash = TreeHash::try_from(leaf.as_slice())?;
            if !bytes.is_empty() && hash != merkle::leaf_hash(bytes) {
                return Err(Error::corrupt("a record of the archived audit log does not verify"));
            }
            let next = u64::try_from(*seq) == Ok(self.common) && self.common < self.log;
            if next && tx.execute(same, values![*seq, &**leaf, &**bytes]).await? > 0 {
                self.common += 1;
            } else if self.common == 0 {
                return Err(Error::conflict(
                    "the archived audit log has nothing in common with the tenant's",
                ));
            } else if !self.there(tx, leaf, bytes).await? {
                behind.push((hash, bytes.clone()));
            }
        }
        if behind.is_empty() { Ok(()) } else { audit::append(tx, behind).await }
    }

    /// Whether the log that was there has a record behind the common beginning; filled in where it was erased.
    async fn there(&self, tx: &mut TenantTx<'_>, leaf: &[u8], bytes: &[u8]) -> Result<bool> {
        let sql = tenant_sql!(
            "UPDATE audit_log SET bytes = CASE WHEN length(bytes) = 0 THEN $5 ELSE bytes END \
             WHERE log_id = $1 AND seq >= $2 AND seq < $3 AND leaf = $4"
        );
        Ok(tx.execute(sql, values![self.common, self.log, leaf, bytes]).await? > 0)
    }

    /// Records that had no place in the log when it was archived have one in a log that stayed, or get one.
    async fn pending(&self, tx: &mut TenantTx<'_>, rows: Vec<Vec<Stored>>) -> Result<()> {
        for row in rows {
            let [_, Stored::Bytes(bytes)] = row.as_slice() else {
                return Err(Error::corrupt("a record of the archived audit log cannot be read"));
            };
            if !self.there(tx, merkle::leaf_hash(bytes).as_bytes(), bytes).await? {
                tx.multi(&super::multi::AUDIT_PENDING, values![&**bytes]).await?;
            }
        }
        Ok(())
    }

    /// Events whose number is another event's here, that of the deletion, get a new one and are handed over once more.
    async fn renumber(&self, tx: &mut TenantTx<'_>, mut rows: Vec<Vec<Stored>>) -> Result<Vec<Vec<Stored>>> {
        let mut again = Vec::new();
        rows.retain(|row| {
            let [_, Stored::Int(seq), Stored::Bytes(bytes), _] = row.as_slice() else { return true };
            let Some(here) = self.events.get(seq) else { return true };
            if here != bytes {
                again.push(Value::Bytes(bytes.clone()));
            }
            false
        });
        tx.multi(&super::multi::OUTBOX, again).await?;
        Ok(rows)
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
