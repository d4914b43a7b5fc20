//! Integrations.

use agentprovision_core::context::Context;
use agentprovision_core::effect::Effects;
use agentprovision_core::id::IntegrationId;
use agentprovision_core::integration::{Integration, IntegrationQuery, IntegrationState, IntegrationStore};
use agentprovision_core::page::{Cursor, Page};
use agentprovision_core::tenant::Revision;
use agentprovision_core::{Error, Result};
use async_trait::async_trait;

use super::conn::TenantTx;
use super::value::{Row, Value, from_json, tenant_sql, to_json, values};
use super::{SqlStore, start};

macro_rules! columns {
    () => {
        "id, name, connector, auth, settings, account, state, health, created_by, created_at, updated_at, revision"
    };
}

fn missing() -> Error {
    Error::not_found("no such integration")
}

fn read(mut row: Row) -> Result<Integration> {
    Ok(Integration {
        id: row.next()?,
        name: row.next()?,
        connector: row.next()?,
        auth: row.next()?,
        settings: row.json()?,
        account: row.next::<Option<String>>()?.as_deref().map(from_json).transpose()?,
        state: IntegrationState::from_name(&row.next::<String>()?)
            .ok_or_else(|| Error::corrupt("an integration has an unknown state"))?,
        health: row.next::<Option<String>>()?.as_deref().map(from_json).transpose()?,
        created_by: row.next()?,
        created_at: row.next()?,
        updated_at: row.next()?,
        revision: row.next()?,
    })
}

/// The values of an integration in the order of its columns.
fn row(integration: Integration, revision: Revision) -> Result<Vec<Value>> {
    let settings = to_json(&integration.settings)?;
    let account = integration.account.as_ref().map(to_json).transpose()?;
    let health = integration.health.as_ref().map(to_json).transpose()?;
    let Integration { id, name, connector, auth, state, created_by, created_at, updated_at, .. } =
        integration;
    Ok(values![
        id,
        name,
        connector,
        auth,
        settings,
        account,
        state.name(),
        health,
        created_by,
        created_at,
        updated_at,
        revision
    ])
}

async fn insert(tx: &mut TenantTx<'_>, integration: Integration) -> Result<()> {
    let sql = tenant_sql!(concat!(
        "INSERT INTO integrations (tenant_id, ",
        columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING"
    ));
    let revision = integration.revision;
    match tx.execute(sql, row(integration, revision)?).await? {
        0 => Err(Error::already_exists("the id or the name of the integration is taken")),
        _ => Ok(()),
    }
}

async fn revision(tx: &mut TenantTx<'_>, id: IntegrationId, expected: Revision) -> Result<()> {
    let sql = tenant_sql!(lock "SELECT revision FROM integrations WHERE tenant_id = $1 AND id = $2");
    let revision: Revision = tx.row(sql, values![id]).await?.ok_or_else(missing)?.next()?;
    if revision == expected {
        Ok(())
    } else {
        Err(Error::conflict("the integration was changed since it was read"))
    }
}

async fn replace(tx: &mut TenantTx<'_>, integration: Integration, expected: Revision) -> Result<()> {
    revision(tx, integration.id, expected).await?;
    let taken = tenant_sql!("SELECT 1 FROM integrations WHERE tenant_id = $1 AND name = $2 AND id <> $3");
    if tx.exists(taken, values![&*integration.name, integration.id]).await? {
        return Err(Error::already_exists("the name of the integration is taken"));
    }
    let sql = tenant_sql!(
        "UPDATE integrations SET name = $3, connector = $4, auth = $5, settings = $6, account = $7, state = $8, \
         health = $9, created_by = $10, created_at = $11, updated_at = $12, revision = $13 \
         WHERE tenant_id = $1 AND id = $2"
    );
    tx.execute(sql, row(integration, expected + 1)?).await.map(drop)
}

async fn delete(tx: &mut TenantTx<'_>, id: IntegrationId, expected: Revision) -> Result<()> {
    revision(tx, id, expected).await?;
    let sql = tenant_sql!("DELETE FROM integrations WHERE tenant_id = $1 AND id = $2");
    tx.execute(sql, values![id]).await.map(drop)
}

#[async_trait]
impl IntegrationStore for SqlStore {
    async fn insert(&self, ctx: &Context, integration: Integration, all: Effects) -> Result<()> {
        self.change(ctx.tenant(), all, |tx| Box::pin(insert(tx, integration))).await
    }

    async fn get(&self, ctx: &Context, id: IntegrationId) -> Result<Integration> {
        let sql = tenant_sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM integrations WHERE tenant_id = $1 AND id = $2"
        ));
        self.read_rows(ctx.tenant(), sql, values![id], read).await?.pop().ok_or_else(missing)
    }

    async fn replace(
        &self,
        ctx: &Context,
        integration: Integration,
        expected: Revision,
        all: Effects,
    ) -> Result<()> {
        self.change(ctx.tenant(), all, move |tx| Box::pin(replace(tx, integration, expected))).await
    }

    async fn list(&self, ctx: &Context, query: IntegrationQuery) -> Result<Page<Integration>> {
        let IntegrationQuery { page, connector, state, .. } = query;
        let page = page.checked()?;
        let (created, after) = start(&page);
        let values = values![created, after, page.limit + 1, connector, state.map(IntegrationState::name)];
        let sql = tenant_sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM integrations WHERE tenant_id = $1 AND (created_at, id) > ($2, $3) \
             AND (connector = $5 OR $5 IS NULL) AND (state = $6 OR $6 IS NULL) ORDER BY created_at, id LIMIT $4"
        ));
        let integrations = self.read_rows(ctx.tenant(), sql, values, read).await?;
        let position =
            |integration: &Integration| Cursor { created: integration.created_at, id: integration.id.uuid() };
        Ok(Page::from_overfull(integrations, page.limit, position))
    }

    async fn delete(&self, ctx: &Context, id: IntegrationId, expected: Revision, all: Effects) -> Result<()> {
        self.change(ctx.tenant(), all, move |tx| Box::pin(delete(tx, id, expected))).await
    }
}
