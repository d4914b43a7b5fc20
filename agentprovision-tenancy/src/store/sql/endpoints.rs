//! Endpoints for webhooks.

use agentprovision_core::context::Context;
use agentprovision_core::effect::Effects;
use agentprovision_core::id::{EndpointId, TenantId};
use agentprovision_core::page::{Cursor, Page, PageRequest};
use agentprovision_core::tenant::Revision;
use agentprovision_core::webhook::{EndpointState, EndpointStore, WebhookEndpoint};
use agentprovision_core::{Error, Result};
use async_trait::async_trait;

use super::conn::TenantTx;
use super::value::{Row, Value, tenant_sql, to_json, values};
use super::{SqlStore, effects, residence, start};

macro_rules! columns {
    () => {
        "id, name, vendor, scheme, integration_id, triggers, state, owner, created_at, updated_at, revision"
    };
}

pub(super) fn missing() -> Error {
    Error::not_found("no such endpoint")
}

fn read(mut row: Row) -> Result<WebhookEndpoint> {
    Ok(WebhookEndpoint {
        id: row.next()?,
        name: row.next()?,
        vendor: row.next()?,
        scheme: row.json()?,
        integration: row.next()?,
        triggers: row.json()?,
        state: EndpointState::from_name(&row.next::<String>()?)
            .ok_or_else(|| Error::corrupt("an endpoint has an unknown state"))?,
        owner: row.next()?,
        created_at: row.next()?,
        updated_at: row.next()?,
        revision: row.next()?,
    })
}

/// The values of an endpoint in the order of its columns.
fn row(endpoint: WebhookEndpoint, revision: Revision) -> Result<Vec<Value>> {
    let (scheme, triggers) = (to_json(&endpoint.scheme)?, to_json(&endpoint.triggers)?);
    let WebhookEndpoint { id, name, vendor, integration, state, owner, created_at, updated_at, .. } =
        endpoint;
    Ok(values![
        id,
        name,
        vendor,
        scheme,
        integration,
        triggers,
        state.name(),
        owner,
        created_at,
        updated_at,
        revision
    ])
}

async fn insert(tx: &mut TenantTx<'_>, endpoint: WebhookEndpoint) -> Result<()> {
    let sql = tenant_sql!(concat!(
        "INSERT INTO webhook_endpoints (tenant_id, ",
        columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING"
    ));
    let revision = endpoint.revision;
    match tx.execute(sql, row(endpoint, revision)?).await? {
        0 => Err(Error::already_exists("the id or the name of the endpoint is taken")),
        _ => Ok(()),
    }
}

/// Whether there is such an endpoint.
pub(super) async fn exists(tx: &mut TenantTx<'_>, id: EndpointId) -> Result<bool> {
    let sql = tenant_sql!("SELECT 1 FROM webhook_endpoints WHERE tenant_id = $1 AND id = $2");
    tx.exists(sql, values![id]).await
}

async fn revision(tx: &mut TenantTx<'_>, id: EndpointId, expected: Revision) -> Result<()> {
    let sql = tenant_sql!(lock "SELECT revision FROM webhook_endpoints WHERE tenant_id = $1 AND id = $2");
    let revision: Revision = tx.row(sql, values![id]).await?.ok_or_else(missing)?.next()?;
    if revision == expected {
        Ok(())
    } else {
        Err(Error::conflict("the endpoint was changed since it was read"))
    }
}

async fn replace(tx: &mut TenantTx<'_>, endpoint: WebhookEndpoint, expected: Revision) -> Result<()> {
    revision(tx, endpoint.id, expected).await?;
    let taken =
        tenant_sql!("SELECT 1 FROM webhook_endpoints WHERE tenant_id = $1 AND name = $2 AND id <> $3");
    if tx.exists(taken, values![&*endpoint.name, endpoint.id]).await? {
        return Err(Error::already_exists("the name of the endpoint is taken"));
    }
    let sql = tenant_sql!(
        "UPDATE webhook_endpoints SET name = $3, vendor = $4, scheme = $5, integration_id = $6, triggers = $7, \
         state = $8, owner = $9, created_at = $10, updated_at = $11, revision = $12 WHERE tenant_id = $1 AND id = $2"
    );
    tx.execute(sql, row(endpoint, expected + 1)?).await.map(drop)
}

async fn delete(tx: &mut TenantTx<'_>, id: EndpointId, expected: Revision) -> Result<()> {
    revision(tx, id, expected).await?;
    for sql in [
        tenant_sql!(
            "DELETE FROM delivery_work WHERE tenant_id = $1 AND delivery_id IN \
             (SELECT id FROM deliveries WHERE tenant_id = $1 AND endpoint_id = $2)"
        ),
        tenant_sql!("DELETE FROM deliveries WHERE tenant_id = $1 AND endpoint_id = $2"),
        tenant_sql!("DELETE FROM webhook_marks WHERE tenant_id = $1 AND endpoint_id = $2"),
        tenant_sql!("DELETE FROM webhook_endpoints WHERE tenant_id = $1 AND id = $2"),
    ] {
        tx.execute(sql, values![id]).await?;
    }
    Ok(())
}

#[async_trait]
impl EndpointStore for SqlStore {
    async fn insert(&self, ctx: &Context, endpoint: WebhookEndpoint, all: Effects) -> Result<()> {
        self.change(ctx.tenant(), all, |tx| Box::pin(insert(tx, endpoint))).await
    }

    async fn get(&self, ctx: &Context, id: EndpointId) -> Result<WebhookEndpoint> {
        self.lookup(ctx.tenant(), id).await
    }

    async fn replace(
        &self,
        ctx: &Context,
        endpoint: WebhookEndpoint,
        expected: Revision,
        all: Effects,
    ) -> Result<()> {
        self.change(ctx.tenant(), all, move |tx| Box::pin(replace(tx, endpoint, expected))).await
    }

    async fn list(&self, ctx: &Context, page: PageRequest) -> Result<Page<WebhookEndpoint>> {
        let page = page.checked()?;
        let (created, after) = start(&page);
        let sql = tenant_sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM webhook_endpoints WHERE tenant_id = $1 AND (created_at, id) > ($2, $3) \
             ORDER BY created_at, id LIMIT $4"
        ));
        let values = values![created, after, page.limit + 1];
        let endpoints = self.read_rows(ctx.tenant(), sql, values, read).await?;
        let position =
            |endpoint: &WebhookEndpoint| Cursor { created: endpoint.created_at, id: endpoint.id.uuid() };
        Ok(Page::from_overfull(endpoints, page.limit, position))
    }

    async fn delete(&self, ctx: &Context, id: EndpointId, expected: Revision, all: Effects) -> Result<()> {
        let tenant = ctx.tenant();
        self.write_system(move |mut system| {
            Box::pin(async move {
                let mut tx = system.tenant(tenant);
                // Nothing is delivered to it while it goes.
                tx.alone().await?;
                residence::at_home(&mut tx).await?;
                effects::guard(&mut tx, &all).await?;
                delete(&mut tx, id, expected).await?;
                effects::apply(&mut tx, all).await
            })
        })
        .await
    }

    async fn lookup(&self, tenant: TenantId, id: EndpointId) -> Result<WebhookEndpoint> {
        let sql = tenant_sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM webhook_endpoints WHERE tenant_id = $1 AND id = $2"
        ));
        self.read_rows(tenant, sql, values![id], read).await?.pop().ok_or_else(missing)
    }
}
