//! Whole tenants: exported as of one moment, restored in one transaction, deleted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentprovision_core::archive::{ArchiveStore, Header, Layout, Part, Restore, Standing, Value as Stored};
use agentprovision_core::audit::Checkpoint;
use agentprovision_core::context::OperatorContext;
use agentprovision_core::effect::OperatorEffects;
use agentprovision_core::error::Retry;
use agentprovision_core::id::TenantId;
use agentprovision_core::tenant::{Tenant, TenantState};
use agentprovision_core::{Env, Error, ErrorKind, Result};
use async_trait::async_trait;
use tokio::sync::mpsc;

use super::conn::{Conn, Mode, SystemTx, TenantTx};
use super::tables::{self, APART, Fate, LAYOUT, Pages, TABLES, TableSql};
use super::value::{Value, tenant_sql, values};
use super::{Engine, SqlStore, audit, effects, events, residence, restore, tenants};

/// Bytes of rows that are held at a time, about.
const PART: usize = 1 << 20;
/// The most rows that are read at a time.
const ROWS: usize = 256;

impl From<Stored> for Value {
    fn from(value: Stored) -> Self {
        match value {
            Stored::Null => Self::Null,
            Stored::Int(value) => Self::Int(value),
            Stored::Real(value) => Self::Real(value),
            Stored::Text(value) => Self::Text(value),
            Stored::Bytes(value) => Self::Bytes(value),
        }
    }
}

impl From<Value> for Stored {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Int(value) => Self::Int(value),
            Value::Real(value) => Self::Real(value),
            Value::Text(value) => Self::Text(value),
            Value::Bytes(value) => Self::Bytes(value),
        }
    }
}

/// Removes everything of the transaction's tenant but what [`Fate`] keeps, children before their parents.
pub(super) async fn remove(tx: &mut TenantTx<'_>) -> Result<()> {
    // The count of events outlives the tenant: those that go without having been read have had their numbers. And what
    // is pending for the log has its place in it, or its leaf would be lost.
    settle(tx).await?;
    for delete in APART {
        tx.execute(*delete, vec![]).await?;
    }
    for table in TABLES.iter().rev().filter(|table| table.fate == Fate::Gone) {
        tx.execute(table.delete, vec![]).await?;
    }
    Ok(())
}

/// Erases what the records of the transaction's log say; their leaves stay, and so does every proof.
pub(super) async fn erase_log(tx: &mut TenantTx<'_>) -> Result<()> {
    while audit::sequence(tx).await? {}
    let sql = tenant_sql!("UPDATE audit_log SET bytes = $2 WHERE log_id = $1 AND length(bytes) > 0");
    tx.execute(sql, values![Vec::<u8>::new()]).await.map(drop)
}

/// Gives what waits for a place in the log, and for a number among the events, both.
pub(super) async fn settle(tx: &mut TenantTx<'_>) -> Result<()> {
    while audit::sequence(tx).await? {}
    while events::number(tx).await? {}
    Ok(())
}

/// What is there of the transaction's tenant.
pub(super) async fn standing(tx: &mut TenantTx<'_>) -> Result<Standing> {
    let tenant = match tenants::find(tx).await? {
        Some(tenant) => Some((tenant.state, tenant.revision)),
        None => None,
    };
    Ok(Standing { tenant, audit: audit::checkpoint(tx).await? })
}

async fn send(to: &mpsc::Sender<Part>, part: Part) -> Result<()> {
    let gone = |_| Error::new(ErrorKind::Cancelled, "nobody takes what is exported any more");
    to.send(part).await.map_err(gone)
}

/// Whose rows are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// A tenant that is not deleted.
    Living,
    /// Any tenant: what is left of a deleted one moves too.
    Any,
}

async fn copy(tx: &mut TenantTx<'_>, tenant: TenantId, to: &mpsc::Sender<Part>, who: Who) -> Result<()> {
    let Standing { tenant: found, audit } = standing(tx).await?;
    let state = match (found, who) {
        (Some((TenantState::Deleted, _)), Who::Living) | (None, _) => return Err(tenants::missing()),
        (Some((state, _)), _) => state,
    };
    let (exported_at, store) = (tx.env.now(), tx.store_name().to_owned());
    let header = Header { schema: LAYOUT.version, tenant, state, exported_at, store, audit };
    send(to, Part::Header(header)).await?;
    for (place, (sql, table)) in TABLES.iter().zip(LAYOUT.tables).enumerate() {
        let mut cursor = Cursor::new(sql, table);
        loop {
            let rows = cursor.next(tx).await?;
            if rows.is_empty() {
                break;
            }
            send(to, Part::Rows(place, rows)).await?;
        }
    }
    send(to, Part::End).await
}

/// Copies a tenant as of one moment; says whether the transaction was ended in order.
async fn snapshot(
    conn: &mut Conn,
    env: &Env,
    tenant: TenantId,
    to: &mpsc::Sender<Part>,
    who: Who,
) -> (Result<()>, bool) {
    if let Err(error) = conn.begin(Mode::Snapshot).await {
        return (Err(error), false);
    }
    let result = copy(&mut SystemTx { conn, env }.tenant(tenant), tenant, to, who).await;
    let ended = conn.rollback().await.is_ok();
    let lost = conn.take_lost();
    (result, ended && lost.is_none())
}

/// Where the reading of a table is.
struct Cursor {
    table: &'static TableSql,
    after: Vec<Value>,
    read: usize,
    /// Rows to read next: few where rows are large.
    limit: usize,
}

impl Cursor {
    fn new(table: &'static TableSql, layout: &agentprovision_core::archive::Table) -> Self {
        let after = match table.pages {
            Pages::After(key) => key
                .iter()
                .filter_map(|column| layout.columns.get(*column))
                .map(|column| tables::before(column.kind).into())
                .collect(),
            Pages::Offset => Vec::new(),
        };
        Self { table, after, read: 0, limit: 16 }
    }

    async fn next(&mut self, tx: &mut TenantTx<'_>) -> Result<Vec<Vec<Stored>>> {
        let mut bound = self.after.clone();
        bound.push((self.limit as u64).into());
        if matches!(self.table.pages, Pages::Offset) {
            bound.push((self.read as u64).into());
        }
        let mut rows = Vec::new();
        let mut bytes = 0;
        for row in tx.rows(self.table.page, bound).await? {
            let row = row.into_values();
            bytes += row.iter().map(size).sum::<usize>();
            rows.push(row);
        }
        self.read += rows.len();
        if let (Pages::After(key), Some(last)) = (self.table.pages, rows.last()) {
            self.after = key.iter().filter_map(|column| last.get(*column).cloned()).collect();
        }
        if let Some(each) = bytes.checked_div(rows.len()) {
            self.limit = (PART / each.max(1)).clamp(1, ROWS);
        }
        Ok(rows.into_iter().map(|row| row.into_iter().map(Stored::from).collect()).collect())
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 8,
    }
}

impl SqlStore {
    /// Gives every row of a tenant, as of one moment.
    pub(super) async fn copy_out(&self, tenant: TenantId, to: &mpsc::Sender<Part>, who: Who) -> Result<()> {
        self.check_open()?;
        match &self.engine {
            #[cfg(feature = "store-sqlite")]
            Engine::Sqlite(lanes) => {
                let mut lent = lanes.lend().await?;
                let (result, ended) = snapshot(&mut lent.conn, &self.env, tenant, to, who).await;
                if ended {
                    lent.give_back();
                }
                result
            }
            #[cfg(feature = "store-postgres")]
            Engine::Lent(_) => Err(super::not_within_another()),
            #[cfg(feature = "store-postgres")]
            Engine::Postgres(pool) => {
                let mut lent = pool.lend().await?;
                let (result, ended) = snapshot(&mut lent.conn, &self.env, tenant, to, who).await;
                if ended {
                    lent.give_back();
                }
                result
            }
        }
    }
}

#[async_trait]
impl ArchiveStore for SqlStore {
    fn layout(&self) -> Result<&'static Layout> {
        self.check_open().map(|()| &LAYOUT)
    }

    async fn standing(&self, _: &OperatorContext, tenant: TenantId) -> Result<Standing> {
        self.write(tenant, |mut tx| {
            Box::pin(async move {
                while audit::sequence(&mut tx).await? {}
                standing(&mut tx).await
            })
        })
        .await
    }

    async fn export(
        &self,
        _: &OperatorContext,
        tenant: TenantId,
        to: mpsc::Sender<Part>,
        all: OperatorEffects,
    ) -> Result<()> {
        #[cfg(feature = "store-postgres")]
        if let Engine::Lent(_) = &self.engine {
            return Err(super::not_within_another());
        }
        self.write_system(move |mut system| {
            Box::pin(async move {
                let mut tx = system.tenant(tenant);
                residence::at_home(&mut tx).await?;
                effects::exists(tenants::state(&mut tx).await?)?;
                effects::guard(&mut tx, &all.tenant).await?;
                effects::apply(&mut tx, all.tenant).await?;
                // Little is pending then in the moment that is exported; what is, is exported as pending.
                settle(&mut tx).await?;
                effects::platform(&mut system, &all.platform).await
            })
        })
        .await?;
        self.copy_out(tenant, &to, Who::Living).await
    }

    async fn restore(
        &self,
        _: &OperatorContext,
        what: Restore,
        from: mpsc::Receiver<Part>,
        all: OperatorEffects,
    ) -> Result<Tenant> {
        // What was read of the archive cannot be read again.
        let from = Arc::new(Mutex::new(Some(from)));
        self.write_system(move |mut system| {
            Box::pin(async move {
                let from = from.lock().unwrap_or_else(PoisonError::into_inner).take();
                let from = from.ok_or_else(|| {
                    let message = "other changes came in the way of restoring a tenant";
                    Error::new(ErrorKind::Unavailable, message).with_retry(Retry::After(Duration::ZERO))
                })?;
                restore::restore(&mut system, what, from, all).await
            })
        })
        .await
    }
}

/// Whether the log is at a head.
pub(super) fn at(found: Checkpoint, expected: Checkpoint) -> Result<()> {
    match found == expected {
        true => Ok(()),
        false => Err(Error::conflict("the tenant's audit log went on while the archive was read")),
    }
}
