//! Tenants.

use agentprovision_core::context::{Context, OperatorContext};
use agentprovision_core::effect::OperatorEffects;
use agentprovision_core::id::TenantId;
use agentprovision_core::page::{Cursor, Page, PageRequest};
use agentprovision_core::tenant::{Revision, Tenant, TenantState, TenantStore};
use agentprovision_core::{Error, Result};
use async_trait::async_trait;

use super::conn::TenantTx;
use super::value::{Row, system_sql, tenant_sql, to_json, values};
use super::{SqlStore, archive, effects, residence, start};

macro_rules! columns {
    () => {
        "tenant_id, name, domain, state, plan, region, settings, created_at, updated_at, revision"
    };
}

pub(super) fn missing() -> Error {
    Error::not_found("no such tenant")
}

fn read(mut row: Row) -> Result<Tenant> {
    Ok(Tenant {
        id: row.next()?,
        name: row.next()?,
        domain: row.next()?,
        state: state_named(&row.next::<String>()?)?,
        plan: row.next()?,
        region: row.next()?,
        settings: row.json()?,
        created_at: row.next()?,
        updated_at: row.next()?,
        revision: row.next()?,
    })
}

fn state_named(name: &str) -> Result<TenantState> {
    TenantState::from_name(name).ok_or_else(|| Error::corrupt("a tenant has an unknown state"))
}

/// The state of the transaction's tenant; `None` when there is no such tenant.
pub(super) async fn state(tx: &mut TenantTx<'_>) -> Result<Option<TenantState>> {
    let row = tx.row(tenant_sql!("SELECT state FROM tenants WHERE tenant_id = $1"), vec![]).await?;
    row.map(|mut row| state_named(&row.next::<String>()?)).transpose()
}

/// As [`state`], of a transaction that does not change its tenant.
pub(super) async fn state_beside(tx: &mut TenantTx<'_>) -> Result<Option<TenantState>> {
    #[cfg(feature = "store-postgres")]
    if let Some(said) = tx.said().await? {
        return said.state.as_deref().map(state_named).transpose();
    }
    state(tx).await
}

/// The transaction's tenant; `None` when there is no such tenant.
pub(super) async fn find(tx: &mut TenantTx<'_>) -> Result<Option<Tenant>> {
    let sql = tenant_sql!(concat!("SELECT ", columns!(), " FROM tenants WHERE tenant_id = $1"));
    tx.row(sql, vec![]).await?.map(read).transpose()
}

async fn get(tx: &mut TenantTx<'_>) -> Result<Tenant> {
    find(tx).await?.ok_or_else(missing)
}

pub(super) async fn domain_taken(tx: &mut TenantTx<'_>, domain: Option<&str>) -> Result<()> {
    let Some(domain) = domain else { return Ok(()) };
    let sql = tenant_sql!("SELECT 1 FROM tenants WHERE domain = $2 AND tenant_id <> $1");
    match tx.rows_above(sql, values![domain]).await?.is_empty() {
        false => Err(Error::already_exists("the domain is taken")),
        true => Ok(()),
    }
}

async fn create(tx: &mut TenantTx<'_>, tenant: Tenant) -> Result<()> {
    if tx.exists(tenant_sql!("SELECT 1 FROM tenants WHERE tenant_id = $1"), vec![]).await? {
        return Err(Error::already_exists("the id of the tenant is taken"));
    }
    domain_taken(tx, tenant.domain.as_deref()).await?;
    let sql = tenant_sql!(concat!(
        "INSERT INTO tenants (",
        columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
    ));
    let settings = to_json(&tenant.settings)?;
    let Tenant { name, domain, state, plan, region, created_at, updated_at, revision, .. } = tenant;
    let row = values![name, domain, state.name(), plan, region, settings, created_at, updated_at, revision];
    tx.execute(sql, row).await.map(drop)
}

async fn replace(tx: &mut TenantTx<'_>, mut tenant: Tenant, expected: Revision) -> Result<()> {
    let old = get(tx).await?;
    if old.state == TenantState::Deleted {
        return Err(Error::conflict("the tenant is deleted"));
    }
    if old.revision != expected {
        return Err(Error::conflict("the tenant was changed since it was read"));
    }
    if tenant.state == TenantState::Deleted {
        (tenant.domain, tenant.settings) = (None, serde_json::Map::new());
        archive::remove(tx).await?;
    }
    domain_taken(tx, tenant.domain.as_deref()).await?;
    let sql = tenant_sql!(
        "UPDATE tenants SET name = $2, domain = $3, state = $4, plan = $5, region = $6, settings = $7, created_at = $8, \
         updated_at = $9, revision = $10 WHERE tenant_id = $1"
    );
    let settings = to_json(&tenant.settings)?;
    let Tenant { name, domain, state, plan, region, created_at, updated_at, .. } = tenant;
    let row =
        values![name, domain, state.name(), plan, region, settings, created_at, updated_at, expected + 1];
    tx.execute(sql, row).await.map(drop)
}

#[async_trait]
impl TenantStore for SqlStore {
    async fn create(&self, _: &OperatorContext, tenant: Tenant, all: OperatorEffects) -> Result<()> {
        self.write_system(|mut system| {
            Box::pin(async move {
                let mut tx = system.tenant(tenant.id);
                tx.alone().await?;
                residence::at_home(&mut tx).await?;
                effects::guard(&mut tx, &all.tenant).await?;
                create(&mut tx, tenant).await?;
                effects::apply(&mut tx, all.tenant).await?;
                effects::platform(&mut system, &all.platform).await
            })
        })
        .await
    }

    async fn get(&self, _: &OperatorContext, id: TenantId) -> Result<Tenant> {
        self.read(id, |mut tx| Box::pin(async move { get(&mut tx).await })).await
    }

    async fn list(&self, _: &OperatorContext, page: PageRequest) -> Result<Page<Tenant>> {
        let page = page.checked()?;
        let (created, id) = start(&page);
        let values = values![created, id, page.limit + 1];
        let rows = self
            .read_system(|mut tx| {
                Box::pin(async move {
                    let sql = system_sql!(concat!(
                        "SELECT ",
                        columns!(),
                        " FROM tenants WHERE (created_at, tenant_id) > ($1, $2) ORDER BY created_at, tenant_id LIMIT $3"
                    ));
                    tx.rows(sql, values).await
                })
            })
            .await?;
        let tenants = rows.into_iter().map(read).collect::<Result<_>>()?;
        let position = |tenant: &Tenant| Cursor { created: tenant.created_at, id: tenant.id.uuid() };
        Ok(Page::from_overfull(tenants, page.limit, position))
    }

    async fn replace(
        &self,
        _: &OperatorContext,
        tenant: Tenant,
        expected: Revision,
        all: OperatorEffects,
    ) -> Result<()> {
        self.write_system(move |mut system| {
            Box::pin(async move {
                let mut tx = system.tenant(tenant.id);
                tx.alone().await?;
                residence::at_home(&mut tx).await?;
                effects::guard(&mut tx, &all.tenant).await?;
                let deleted = tenant.state == TenantState::Deleted;
                replace(&mut tx, tenant, expected).await?;
                effects::apply(&mut tx, all.tenant).await?;
                if deleted {
                    // With the record of the deletion, which is in the platform log too.
                    archive::erase_log(&mut tx).await?;
                }
                effects::platform(&mut system, &all.platform).await
            })
        })
        .await
    }

    async fn own(&self, ctx: &Context) -> Result<Tenant> {
        self.read(ctx.tenant(), |mut tx| Box::pin(async move { get(&mut tx).await })).await
    }

    async fn state(&self, id: TenantId) -> Result<TenantState> {
        self.read(id, |mut tx| Box::pin(async move { state(&mut tx).await?.ok_or_else(missing) })).await
    }
}
