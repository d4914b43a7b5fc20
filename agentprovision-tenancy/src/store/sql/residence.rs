//! Whether a tenant is at home in this database, and the steps of moving one to another.
//!
//! A tenant without a row in `residences` is at home. Every other one was moved at least once: its row says where it
//! stands and the epoch of the move that said so. A step of an older epoch is refused, so a mover that was taken over
//! does nothing more. Whoever writes asks inside the transaction, behind the lock that a change of the row waits for.

use std::sync::atomic::Ordering;
use std::time::Duration;

use agentprovision_core::archive::{Header, Part};
use agentprovision_core::effect::Effects;
use agentprovision_core::error::Retry;
use agentprovision_core::id::TenantId;
use agentprovision_core::tenant::TenantState;
use agentprovision_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc;

use super::archive::{self, Who};
use super::conn::TenantTx;
use super::tables::{LAYOUT, TABLES};
use super::value::{Dialect, Value, tenant_sql, values};
use super::{SqlBackend, effects, tenants};

/// Where a tenant stands in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Residence {
    /// It is at home.
    Home,
    /// It is at home and only read: it is being copied to another database.
    Frozen,
    /// It is being copied to here.
    Arriving,
    /// It is at home elsewhere.
    Moved,
}

impl Residence {
    const fn name(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Frozen => "frozen",
            Self::Arriving => "arriving",
            Self::Moved => "moved",
        }
    }

    fn named(name: &str) -> Result<Self> {
        [Self::Home, Self::Frozen, Self::Arriving, Self::Moved]
            .into_iter()
            .find(|residence| residence.name() == name)
            .ok_or_else(|| Error::corrupt("the residence of a tenant cannot be read"))
    }
}

/// The source of an error that says: look up where the tenant is, and ask there.
#[derive(Debug)]
struct Away;

impl std::fmt::Display for Away {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the tenant is at home in another database")
    }
}

impl std::error::Error for Away {}

/// Whether an error says that the tenant is at home in another database.
pub(crate) fn is_away(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<Away>())
}

fn unavailable(message: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, message).with_retry(Retry::After(Duration::from_secs(1)))
}

fn frozen() -> Error {
    unavailable("the tenant is being moved to another database and cannot be changed for a moment")
}

fn away() -> Error {
    unavailable("the tenant is at home in another database").with_source(Away)
}

fn taken_over() -> Error {
    Error::conflict("another move of the tenant has begun")
}

/// Whether the transaction's tenant is at home and may be changed.
pub(super) async fn is_home(tx: &mut TenantTx<'_>) -> Result<bool> {
    Ok(tx.residence().await?.is_none_or(|state| state == Residence::Home.name()))
}

/// Refuses to change a tenant that is not at home, or is being moved.
pub(super) async fn at_home(tx: &mut TenantTx<'_>) -> Result<()> {
    match tx.residence().await?.as_deref().map(Residence::named).transpose()? {
        None | Some(Residence::Home) => Ok(()),
        Some(Residence::Frozen) => Err(frozen()),
        Some(Residence::Arriving | Residence::Moved) => Err(away()),
    }
}

/// Refuses what was read of a tenant that has left.
pub(super) async fn not_moved(tx: &mut TenantTx<'_>) -> Result<()> {
    match tx.residence().await?.as_deref().map(Residence::named).transpose()? {
        Some(Residence::Moved) => Err(away()),
        _ => Ok(()),
    }
}

/// Where the transaction's tenant stands, for a step of this epoch, which nobody else changes until the transaction ends.
async fn stand(tx: &mut TenantTx<'_>, epoch: u64) -> Result<Option<Residence>> {
    tx.alone().await?;
    let sql = tenant_sql!("SELECT state, epoch FROM residences WHERE tenant_id = $1");
    let Some(mut row) = tx.row(sql, vec![]).await? else { return Ok(None) };
    let residence = Residence::named(&row.next::<String>()?)?;
    if row.next::<u64>()? > epoch { Err(taken_over()) } else { Ok(Some(residence)) }
}

async fn set(tx: &mut TenantTx<'_>, residence: Residence, epoch: u64) -> Result<()> {
    let sql = tenant_sql!(
        "INSERT INTO residences (tenant_id, state, epoch) VALUES ($1, $2, $3) \
         ON CONFLICT (tenant_id) DO UPDATE SET state = excluded.state, epoch = excluded.epoch"
    );
    tx.execute(sql, values![residence.name(), epoch]).await.map(drop)
}

/// Removes every row of the transaction's tenant, whatever becomes of it otherwise; children before their parents.
async fn clear(tx: &mut TenantTx<'_>) -> Result<()> {
    for table in TABLES.iter().rev() {
        tx.execute(table.delete, vec![]).await?;
    }
    if tx.dialect() == Dialect::Postgres {
        tx.execute(tenant_sql!("DELETE FROM due WHERE tenant_id = $1"), vec![]).await?;
    }
    Ok(())
}

/// The steps of a move. Each is one transaction, and harmless when it is taken again.
///
/// All of them fail with `conflict` for a step that an older epoch has passed by, or that has no sense where the tenant
/// stands.
impl SqlBackend {
    /// Freezes a tenant: nothing of it is changed from here on until [`SqlBackend::settle`], runs under way are given up
    /// by their workers, and everything that was pending has its place. The effects are the last change.
    pub(crate) async fn freeze(&self, tenant: TenantId, epoch: u64, all: Effects) -> Result<()> {
        self.0
            .write_system(move |mut system| {
                Box::pin(async move {
                    let mut tx = system.tenant(tenant);
                    match stand(&mut tx, epoch).await? {
                        None | Some(Residence::Home | Residence::Frozen) => {}
                        Some(Residence::Arriving | Residence::Moved) => return Err(taken_over()),
                    }
                    let state = tenants::state(&mut tx).await?.ok_or_else(tenants::missing)?;
                    if state != TenantState::Deleted {
                        effects::apply(&mut tx, all).await?;
                    }
                    archive::settle(&mut tx).await?;
                    let given_up = tenant_sql!(
                        "UPDATE run_leases SET lease_until = NULL WHERE tenant_id = $1 AND lease_until IS NOT NULL"
                    );
                    tx.execute(given_up, vec![]).await?;
                    set(&mut tx, Residence::Frozen, epoch).await
                })
            })
            .await
    }

    /// Gives every row of a tenant, as of one moment.
    pub(crate) async fn copy_out(&self, tenant: TenantId, to: mpsc::Sender<Part>) -> Result<()> {
        self.0.copy_out(tenant, &to, Who::Any).await
    }

    /// Writes the rows of a tenant as they are, in the place of those an earlier copy left.
    ///
    /// # Errors
    /// `cancelled`, and nothing written, when the parts end without [`Part::End`].
    pub(crate) async fn copy_in(
        &self,
        tenant: TenantId,
        epoch: u64,
        from: mpsc::Receiver<Part>,
    ) -> Result<()> {
        // What was given cannot be given again.
        let from = std::sync::Arc::new(std::sync::Mutex::new(Some(from)));
        self.0
            .write_system(move |mut system| {
                Box::pin(async move {
                    let from = from.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
                    let mut from =
                        from.ok_or_else(|| unavailable("other changes came in the way of copying a tenant"))?;
                    let mut tx = system.tenant(tenant);
                    match stand(&mut tx, epoch).await? {
                        None if tenants::state(&mut tx).await?.is_some() => return Err(taken_over()),
                        None | Some(Residence::Arriving | Residence::Moved) => {}
                        Some(Residence::Home | Residence::Frozen) => return Err(taken_over()),
                    }
                    clear(&mut tx).await?;
                    let mut header: Option<Header> = None;
                    loop {
                        match from.recv().await {
                            Some(Part::Header(first)) if header.is_none() => header = Some(first),
                            Some(Part::Rows(table, rows)) => {
                                let (Some(_), Some(table)) = (&header, TABLES.get(table)) else {
                                    return Err(Error::internal("a copy begins with its header"));
                                };
                                // The first value is the tenant, which the transaction binds.
                                let rows = rows.into_iter().flat_map(|row| row.into_iter().skip(1));
                                tx.multi(table.insert, rows.map(Value::from).collect()).await?;
                            }
                            Some(Part::End) if header.is_some() => break,
                            Some(_) => return Err(Error::internal("a copy has one header and one end")),
                            None => {
                                let message = "the tenant was not copied to its end";
                                return Err(Error::new(ErrorKind::Cancelled, message));
                            }
                        }
                    }
                    set(&mut tx, Residence::Arriving, epoch).await
                })
            })
            .await
    }

    /// Says that a frozen tenant has left: nothing of it is read here any more.
    pub(crate) async fn leave(&self, tenant: TenantId, epoch: u64) -> Result<()> {
        self.0
            .write_system(move |mut system| {
                Box::pin(async move {
                    let mut tx = system.tenant(tenant);
                    match stand(&mut tx, epoch).await? {
                        Some(Residence::Frozen) => set(&mut tx, Residence::Moved, epoch).await,
                        Some(Residence::Moved) => Ok(()),
                        _ => Err(taken_over()),
                    }
                })
            })
            .await
    }

    /// Makes a tenant that was frozen or copied to here be at home, with the effects as its first change.
    pub(crate) async fn settle(&self, tenant: TenantId, epoch: u64, all: Effects) -> Result<()> {
        let settled = self.0.write_system(move |mut system| {
            Box::pin(async move {
                let mut tx = system.tenant(tenant);
                match stand(&mut tx, epoch).await? {
                    Some(Residence::Arriving | Residence::Frozen) => {
                        let state = tenants::state(&mut tx).await?.ok_or_else(tenants::missing)?;
                        if state != TenantState::Deleted {
                            effects::apply(&mut tx, all).await?;
                        }
                    }
                    // A step that freezes it late is refused by the epoch.
                    None | Some(Residence::Home) => {}
                    Some(Residence::Moved) => return Err(taken_over()),
                }
                set(&mut tx, Residence::Home, epoch).await
            })
        });
        settled.await?;
        // Its runs can be taken up.
        self.0.ready.notify_waiters();
        Ok(())
    }

    /// Removes the rows of a tenant that has left, or never came: one that was copied to here for nothing. What stays is
    /// that it is at home elsewhere.
    pub(crate) async fn discard(&self, tenant: TenantId, epoch: u64) -> Result<()> {
        self.0
            .write_system(move |mut system| {
                Box::pin(async move {
                    let mut tx = system.tenant(tenant);
                    match stand(&mut tx, epoch).await? {
                        None if tenants::state(&mut tx).await?.is_some() => return Err(taken_over()),
                        None | Some(Residence::Arriving | Residence::Moved) => {}
                        Some(Residence::Home | Residence::Frozen) => return Err(taken_over()),
                    }
                    clear(&mut tx).await?;
                    set(&mut tx, Residence::Moved, epoch).await
                })
            })
            .await
    }

    /// Whether there is such a tenant here; if not, none can be made here any more by whoever was about to.
    pub(crate) async fn vacate(&self, tenant: TenantId, epoch: u64) -> Result<bool> {
        self.0
            .write_system(move |mut system| {
                Box::pin(async move {
                    let mut tx = system.tenant(tenant);
                    stand(&mut tx, epoch).await?;
                    if tenants::state(&mut tx).await?.is_some() {
                        return Ok(true);
                    }
                    set(&mut tx, Residence::Moved, epoch).await.map(|()| false)
                })
            })
            .await
    }

    /// Reads ask from here on whether their tenant is still at home.
    pub(crate) fn is_shard(&self) {
        self.0.shard.store(true, Ordering::Relaxed);
    }

    /// The tables of archives.
    pub(crate) fn layout(&self) -> &'static agentprovision_core::archive::Layout {
        &LAYOUT
    }
}
