//! Agents and their versions.

use agentprovision_core::agent::{
    AgentQuery, AgentRecord, AgentState, AgentStore, AgentVersion, VersionHash,
};
use agentprovision_core::context::Context;
use agentprovision_core::effect::Effects;
use agentprovision_core::id::AgentId;
use agentprovision_core::page::{Cursor, Page};
use agentprovision_core::tenant::Revision;
use agentprovision_core::{Error, Result};
use async_trait::async_trait;

use super::conn::TenantTx;
use super::value::{Row, tenant_sql, to_json, values};
use super::{SqlStore, start};

macro_rules! columns {
    () => {
        "id, name, state, latest, aliases, project_id, created_by, created_at, updated_at, revision"
    };
}

pub(super) fn missing() -> Error {
    Error::not_found("no such agent")
}

fn changed() -> Error {
    Error::conflict("the agent was changed since it was read")
}

fn read(mut row: Row) -> Result<AgentRecord> {
    Ok(AgentRecord {
        id: row.next()?,
        name: row.next()?,
        state: AgentState::from_name(&row.next::<String>()?)
            .ok_or_else(|| Error::corrupt("an agent has an unknown state"))?,
        latest: row.next()?,
        aliases: row.json()?,
        project_id: row.next()?,
        created_by: row.next()?,
        created_at: row.next()?,
        updated_at: row.next()?,
        revision: row.next()?,
    })
}

/// Whether there is such an agent.
pub(super) async fn exists(tx: &mut TenantTx<'_>, id: AgentId) -> Result<bool> {
    tx.exists(tenant_sql!("SELECT 1 FROM agents WHERE tenant_id = $1 AND id = $2"), values![id]).await
}

async fn add_version(tx: &mut TenantTx<'_>, agent: AgentId, version: AgentVersion) -> Result<()> {
    let sql = tenant_sql!(
        "INSERT INTO agent_versions (tenant_id, agent_id, hash, canonical, created_at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (tenant_id, agent_id, hash) DO NOTHING"
    );
    let row = values![agent, version.hash, version.canonical, version.created_at];
    tx.execute(sql, row).await.map(drop)
}

async fn insert(tx: &mut TenantTx<'_>, agent: AgentRecord, version: AgentVersion) -> Result<()> {
    let sql = tenant_sql!(concat!(
        "INSERT INTO agents (tenant_id, ",
        columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING"
    ));
    let aliases = to_json(&agent.aliases)?;
    let AgentRecord {
        id, name, state, latest, project_id, created_by, created_at, updated_at, revision, ..
    } = agent;
    let row = values![
        id,
        name,
        state.name(),
        latest,
        aliases,
        project_id,
        created_by,
        created_at,
        updated_at,
        revision
    ];
    match tx.execute(sql, row).await? {
        0 => Err(Error::already_exists("the id or the name of the agent is taken")),
        _ => add_version(tx, id, version).await,
    }
}

async fn revision(tx: &mut TenantTx<'_>, id: AgentId, expected: Revision) -> Result<()> {
    let sql = tenant_sql!(lock "SELECT revision FROM agents WHERE tenant_id = $1 AND id = $2");
    let revision: Revision = tx.row(sql, values![id]).await?.ok_or_else(missing)?.next()?;
    if revision == expected { Ok(()) } else { Err(changed()) }
}

async fn replace(
    tx: &mut TenantTx<'_>,
    agent: AgentRecord,
    add: Option<AgentVersion>,
    expected: Revision,
) -> Result<()> {
    revision(tx, agent.id, expected).await?;
    let taken = tenant_sql!("SELECT 1 FROM agents WHERE tenant_id = $1 AND name = $2 AND id <> $3");
    if tx.exists(taken, values![&*agent.name, agent.id]).await? {
        return Err(Error::already_exists("the name of the agent is taken"));
    }
    let sql = tenant_sql!(
        "UPDATE agents SET name = $3, state = $4, latest = $5, aliases = $6, project_id = $7, created_by = $8, \
         created_at = $9, updated_at = $10, revision = $11 WHERE tenant_id = $1 AND id = $2"
    );
    let aliases = to_json(&agent.aliases)?;
    let AgentRecord { id, name, state, latest, project_id, created_by, created_at, updated_at, .. } = agent;
    let row = values![
        id,
        name,
        state.name(),
        latest,
        aliases,
        project_id,
        created_by,
        created_at,
        updated_at,
        expected + 1
    ];
    tx.execute(sql, row).await?;
    match add {
        Some(version) => add_version(tx, id, version).await,
        None => Ok(()),
    }
}

async fn delete(tx: &mut TenantTx<'_>, id: AgentId, expected: Revision) -> Result<()> {
    revision(tx, id, expected).await?;
    let used = tenant_sql!(
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM runs WHERE tenant_id = $1 AND agent_id = $2) \
         OR EXISTS (SELECT 1 FROM sessions WHERE tenant_id = $1 AND agent_id = $2)"
    );
    if tx.exists(used, values![id]).await? {
        return Err(Error::conflict("the agent has runs or sessions"));
    }
    tx.execute(tenant_sql!("DELETE FROM agent_versions WHERE tenant_id = $1 AND agent_id = $2"), values![id])
        .await?;
    tx.execute(tenant_sql!("DELETE FROM agents WHERE tenant_id = $1 AND id = $2"), values![id])
        .await
        .map(drop)
}

#[async_trait]
impl AgentStore for SqlStore {
    async fn insert(
        &self,
        ctx: &Context,
        agent: AgentRecord,
        version: AgentVersion,
        all: Effects,
    ) -> Result<()> {
        self.change(ctx.tenant(), all, |tx| Box::pin(insert(tx, agent, version))).await
    }

    async fn get(&self, ctx: &Context, id: AgentId) -> Result<AgentRecord> {
        let sql =
            tenant_sql!(concat!("SELECT ", columns!(), " FROM agents WHERE tenant_id = $1 AND id = $2"));
        self.read_rows(ctx.tenant(), sql, values![id], read).await?.pop().ok_or_else(missing)
    }

    async fn version(&self, ctx: &Context, id: AgentId, hash: VersionHash) -> Result<AgentVersion> {
        let sql = tenant_sql!(
            "SELECT canonical, created_at FROM agent_versions WHERE tenant_id = $1 AND agent_id = $2 AND hash = $3"
        );
        let read =
            move |mut row: Row| Ok(AgentVersion { hash, canonical: row.next()?, created_at: row.next()? });
        let found = self.read_rows(ctx.tenant(), sql, values![id, hash], read).await?.pop();
        found.ok_or_else(|| Error::not_found("no such version of the agent"))
    }

    async fn replace(
        &self,
        ctx: &Context,
        agent: AgentRecord,
        add: Option<AgentVersion>,
        expected: Revision,
        all: Effects,
    ) -> Result<()> {
        self.change(ctx.tenant(), all, move |tx| Box::pin(replace(tx, agent, add, expected))).await
    }

    async fn list(&self, ctx: &Context, query: AgentQuery) -> Result<Page<AgentRecord>> {
        let page = query.page.checked()?;
        let (created, after) = start(&page);
        let values = values![created, after, page.limit + 1, query.state.map(AgentState::name)];
        let sql = tenant_sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM agents WHERE tenant_id = $1 AND (created_at, id) > ($2, $3) AND (state = $5 OR $5 IS NULL) \
             ORDER BY created_at, id LIMIT $4"
        ));
        let agents = self.read_rows(ctx.tenant(), sql, values, read).await?;
        let position = |agent: &AgentRecord| Cursor { created: agent.created_at, id: agent.id.uuid() };
        Ok(Page::from_overfull(agents, page.limit, position))
    }

    async fn delete(&self, ctx: &Context, id: AgentId, expected: Revision, all: Effects) -> Result<()> {
        self.change(ctx.tenant(), all, move |tx| Box::pin(delete(tx, id, expected))).await
    }
}
