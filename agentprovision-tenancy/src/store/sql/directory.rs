//! The directory: which database every tenant is kept in, and which databases there are.

use agentprovision_core::audit::AuditRecord;
use agentprovision_core::id::TenantId;
use agentprovision_core::page::{Cursor, Page, PageRequest};
use agentprovision_core::run::ClaimRequest;
use agentprovision_core::tenant::Tenant;
use agentprovision_core::{Error, Result};
use uuid::Uuid;

use super::audit::PLATFORM_LOG;
use super::conn::{SystemTx, TenantTx};
use super::multi::AUDIT_PENDING;
use super::value::{Row, Value, system_sql, tenant_sql, values};
use super::{SqlBackend, claims, effects, start};
use crate::placement::{Placement, PlacementState};

/// A database as the directory, or the database itself, names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShardRow {
    /// Drawn once for each database.
    pub(crate) id: Uuid,
    /// The name.
    pub(crate) name: String,
    /// The database with the directory: its own id in that one.
    pub(crate) home: Uuid,
    /// How many records of its platform log are in that of the directory's database.
    pub(crate) carried: u64,
}

/// What became of a claim for a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// The tenant has it now.
    New,
    /// The tenant had it before.
    Before,
    /// Another tenant has it.
    By(TenantId),
}

macro_rules! columns {
    () => {
        "tenant_id, shard, state, other, region, pin, epoch, created_at"
    };
}

fn read(mut row: Row) -> Result<Placement> {
    Ok(Placement {
        tenant_id: row.next()?,
        shard: row.next()?,
        state: PlacementState::from_name(&row.next::<String>()?)
            .ok_or_else(|| Error::corrupt("the place of a tenant cannot be read"))?,
        other: row.next()?,
        region: row.next()?,
        pin: row.next()?,
        epoch: row.next()?,
        created_at: row.next()?,
    })
}

fn read_shard(mut row: Row) -> Result<ShardRow> {
    Ok(ShardRow { id: row.next()?, name: row.next()?, home: row.next()?, carried: row.next()? })
}

/// The shard's own row among those of its database.
fn own(rows: Vec<ShardRow>) -> Option<ShardRow> {
    let alone = rows.len() == 1;
    rows.into_iter().find(|row| alone || row.id == row.home)
}

async fn shards(tx: &mut SystemTx<'_>) -> Result<Vec<ShardRow>> {
    let sql = system_sql!("SELECT log_id, name, home, carried FROM shards ORDER BY name");
    tx.rows(sql, vec![]).await?.into_iter().map(read_shard).collect()
}

async fn claim(tx: &mut TenantTx<'_>, tenant: TenantId, domain: &str) -> Result<Claimed> {
    let sql = tenant_sql!(
        "SELECT tenant_id FROM placement_domains WHERE domain = $2 AND (tenant_id = $1 OR tenant_id <> $1)"
    );
    if let Some(mut row) = tx.rows_above(sql, values![domain]).await?.into_iter().next() {
        let holder: TenantId = row.next()?;
        return Ok(if holder == tenant { Claimed::Before } else { Claimed::By(holder) });
    }
    let sql = tenant_sql!("INSERT INTO placement_domains (tenant_id, domain) VALUES ($1, $2)");
    tx.execute(sql, values![domain]).await?;
    Ok(Claimed::New)
}

async fn insert(tx: &mut TenantTx<'_>, placement: &Placement) -> Result<()> {
    let sql = tenant_sql!(concat!(
        "INSERT INTO placements (",
        columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
    ));
    let Placement { shard, state, other, region, pin, epoch, created_at, .. } = placement.clone();
    tx.execute(sql, values![shard, state.name(), other, region, pin, epoch, created_at]).await.map(drop)
}

/// What is read and written of the directory, in the database that has it.
impl SqlBackend {
    /// Where a tenant is kept.
    pub(crate) async fn placement(&self, tenant: TenantId) -> Result<Option<Placement>> {
        self.0
            .read_system(move |mut tx| {
                Box::pin(async move {
                    let sql =
                        tenant_sql!(concat!("SELECT ", columns!(), " FROM placements WHERE tenant_id = $1"));
                    tx.tenant(tenant).row(sql, vec![]).await?.map(read).transpose()
                })
            })
            .await
    }

    /// Where all tenants are kept, by (created, id).
    pub(crate) async fn placements(&self, page: PageRequest) -> Result<Page<Placement>> {
        let page = page.checked()?;
        let (created, id) = start(&page);
        let values = values![created, id, page.limit + 1];
        let rows = self
            .0
            .read_system(|mut tx| {
                Box::pin(async move {
                    let sql = system_sql!(concat!(
                        "SELECT ",
                        columns!(),
                        " FROM placements WHERE (created_at, tenant_id) > ($1, $2) \
                         ORDER BY created_at, tenant_id LIMIT $3"
                    ));
                    tx.rows(sql, values).await
                })
            })
            .await?;
        let placements = rows.into_iter().map(read).collect::<Result<_>>()?;
        Ok(Page::from_overfull(placements, page.limit, Placement::position))
    }

    /// Adds a tenant with its domain; gives the tenant that has the id or the domain already, and then adds nothing.
    pub(crate) async fn add_placement(
        &self,
        placement: Placement,
        domain: Option<String>,
    ) -> Result<Option<TenantId>> {
        self.0
            .write_system(move |mut system| {
                Box::pin(async move {
                    let tenant = placement.tenant_id;
                    let mut tx = system.tenant(tenant);
                    if tx.exists(tenant_sql!("SELECT 1 FROM placements WHERE tenant_id = $1"), vec![]).await?
                    {
                        return Ok(Some(tenant));
                    }
                    if let Some(domain) = domain
                        && let Claimed::By(holder) = claim(&mut tx, tenant, &domain).await?
                    {
                        return Ok(Some(holder));
                    }
                    insert(&mut tx, &placement).await.map(|()| None)
                })
            })
            .await
    }

    /// Puts a placement in the place of the one that has this epoch; the records go into the platform log with it.
    ///
    /// # Errors
    /// `conflict` when the epoch is another.
    pub(crate) async fn change_placement(
        &self,
        placement: Placement,
        expected: u64,
        records: Vec<AuditRecord>,
    ) -> Result<()> {
        self.0
            .write_system(move |mut system| {
                Box::pin(async move {
                    let sql = tenant_sql!(
                        "UPDATE placements SET shard = $3, state = $4, other = $5, region = $6, pin = $7, epoch = $8, \
                         created_at = $9 WHERE tenant_id = $1 AND epoch = $2"
                    );
                    let Placement { tenant_id, shard, state, other, region, pin, epoch, created_at } = placement;
                    let row = values![expected, shard, state.name(), other, region, pin, epoch, created_at];
                    if system.tenant(tenant_id).execute(sql, row).await? == 0 {
                        return Err(Error::conflict("another change of the tenant's place came first"));
                    }
                    effects::platform(&mut system, &records).await
                })
            })
            .await
    }

    /// Forgets a tenant that was never made.
    pub(crate) async fn remove_placement(&self, tenant: TenantId, epoch: u64) -> Result<()> {
        self.0
            .write_system(move |mut system| {
                Box::pin(async move {
                    let mut tx = system.tenant(tenant);
                    let sql = tenant_sql!("DELETE FROM placements WHERE tenant_id = $1 AND epoch = $2");
                    if tx.execute(sql, values![epoch]).await? > 0 {
                        let sql = tenant_sql!("DELETE FROM placement_domains WHERE tenant_id = $1");
                        tx.execute(sql, vec![]).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Claims a domain for a tenant.
    pub(crate) async fn claim_domain(&self, tenant: TenantId, domain: String) -> Result<Claimed> {
        self.0
            .write_system(move |mut system| {
                Box::pin(async move { claim(&mut system.tenant(tenant), tenant, &domain).await })
            })
            .await
    }

    /// Gives up every domain of a tenant but this one.
    pub(crate) async fn keep_domain(&self, tenant: TenantId, domain: Option<String>) -> Result<()> {
        self.0
            .write_system(move |mut system| {
                Box::pin(async move {
                    let sql = tenant_sql!(
                        "DELETE FROM placement_domains WHERE tenant_id = $1 AND domain <> coalesce($2, '')"
                    );
                    system.tenant(tenant).execute(sql, values![domain]).await.map(drop)
                })
            })
            .await
    }

    /// Gives up one domain of a tenant.
    pub(crate) async fn drop_domain(&self, tenant: TenantId, domain: String) -> Result<()> {
        self.0
            .write_system(move |mut system| {
                Box::pin(async move {
                    let sql =
                        tenant_sql!("DELETE FROM placement_domains WHERE tenant_id = $1 AND domain = $2");
                    system.tenant(tenant).execute(sql, values![domain]).await.map(drop)
                })
            })
            .await
    }

    /// The databases this one knows.
    pub(crate) async fn shards(&self) -> Result<Vec<ShardRow>> {
        self.0.read_system(|mut tx| Box::pin(async move { shards(&mut tx).await })).await
    }

    /// This database's own row, if it has one.
    pub(crate) async fn shard(&self) -> Result<Option<ShardRow>> {
        Ok(own(self.shards().await?))
    }

    /// Names this database in itself, once; gives the row it has then.
    pub(crate) async fn name_itself(&self, row: ShardRow) -> Result<ShardRow> {
        self.name(row, |rows, _| own(rows)).await
    }

    /// Names another database in this one, the directory's; gives the row with its name or its id, if there is one.
    pub(crate) async fn enroll(&self, row: ShardRow) -> Result<ShardRow> {
        self.name(row, |rows, row| {
            rows.into_iter().find(|other| other.name == row.name || other.id == row.id)
        })
        .await
    }

    async fn name(
        &self,
        row: ShardRow,
        known: fn(Vec<ShardRow>, &ShardRow) -> Option<ShardRow>,
    ) -> Result<ShardRow> {
        self.0
            .write_system(move |mut system| {
                Box::pin(async move {
                    // One at a time, whoever starts.
                    system.log(PLATFORM_LOG).alone().await?;
                    if let Some(known) = known(shards(&mut system).await?, &row) {
                        return Ok(known);
                    }
                    let sql = tenant_sql!(
                        "INSERT INTO shards (log_id, name, home, carried) VALUES ($1, $2, $3, $4)"
                    );
                    let named = values![&*row.name, row.home, row.carried];
                    system.log(row.id).execute(sql, named).await.map(|_| row)
                })
            })
            .await
    }

    /// The names of the databases that tenants are kept in or moved between.
    pub(crate) async fn mentioned(&self) -> Result<Vec<String>> {
        let rows = self
            .0
            .read_system(|mut tx| {
                Box::pin(async move {
                    let sql = system_sql!(
                        "SELECT shard FROM placements UNION SELECT other FROM placements WHERE other IS NOT NULL \
                         ORDER BY 1"
                    );
                    tx.rows(sql, vec![]).await
                })
            })
            .await?;
        rows.into_iter().map(|mut row| row.next()).collect()
    }

    /// Whether there is any tenant in this database.
    pub(crate) async fn has_tenants(&self) -> Result<bool> {
        let rows = self.0.read_system(|mut tx| {
            Box::pin(async move { tx.rows(system_sql!("SELECT 1 FROM tenants LIMIT 1"), vec![]).await })
        });
        Ok(!rows.await?.is_empty())
    }

    /// Tenants of this database that the directory in it does not know.
    pub(crate) async fn strangers(&self) -> Result<Vec<TenantId>> {
        let rows = self
            .0
            .read_system(|mut tx| {
                Box::pin(async move {
                    let sql = system_sql!(
                        "SELECT tenant_id FROM tenants t WHERE NOT EXISTS \
                         (SELECT 1 FROM placements p WHERE p.tenant_id = t.tenant_id) \
                         AND NOT EXISTS (SELECT 1 FROM residences h WHERE h.tenant_id = t.tenant_id)"
                    );
                    tx.rows(sql, vec![]).await
                })
            })
            .await?;
        rows.into_iter().map(|mut row| row.next()).collect()
    }

    /// A tenant's row, whoever asks.
    pub(crate) async fn tenant(&self, tenant: TenantId) -> Result<Option<Tenant>> {
        self.0.read(tenant, |mut tx| Box::pin(async move { super::tenants::find(&mut tx).await })).await
    }

    /// Adds records of another database's platform log behind those that were carried before, each once. Says how many
    /// are there then.
    pub(crate) async fn carry(&self, shard: Uuid, from: u64, records: Vec<Vec<u8>>) -> Result<u64> {
        self.0
            .write_system(move |mut system| {
                Box::pin(async move {
                    let to = from + records.len() as u64;
                    let sql =
                        tenant_sql!("UPDATE shards SET carried = $3 WHERE log_id = $1 AND carried = $2");
                    if system.log(shard).execute(sql, values![from, to]).await? == 0 {
                        let sql = tenant_sql!("SELECT carried FROM shards WHERE log_id = $1");
                        let row = system.log(shard).row(sql, vec![]).await?;
                        return row.ok_or_else(|| Error::not_found("no such database"))?.next();
                    }
                    let rows = records.into_iter().map(Value::Bytes).collect();
                    system.log(PLATFORM_LOG).multi(&AUDIT_PENDING, rows).await?;
                    Ok(to)
                })
            })
            .await
    }

    /// Tenants whose runs would be claimed now, in turn; nothing is claimed.
    pub(crate) async fn turns(&self, ask: ClaimRequest) -> Result<Vec<TenantId>> {
        self.0
            .read_system(move |mut tx| Box::pin(async move { claims::turns(&mut tx, &ask, ask.limit).await }))
            .await
    }
}

impl Placement {
    /// Its place in a list.
    fn position(&self) -> Cursor {
        Cursor { created: self.created_at, id: self.tenant_id.uuid() }
    }
}
