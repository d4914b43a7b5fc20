//! Sessions.

use agentprovision_core::context::Context;
use agentprovision_core::effect::Effects;
use agentprovision_core::id::SessionId;
use agentprovision_core::page::{Cursor, Page, PageRequest};
use agentprovision_core::run::{SessionRecord, SessionStore};
use agentprovision_core::{Error, Result};
use async_trait::async_trait;

use super::conn::TenantTx;
use super::value::{Row, tenant_sql, values};
use super::{SqlStore, agents, start};

macro_rules! columns {
    () => {
        "id, agent_id, user_id, active_run, created_at"
    };
}

pub(super) fn missing() -> Error {
    Error::not_found("no such session")
}

fn read(mut row: Row) -> Result<SessionRecord> {
    Ok(SessionRecord {
        id: row.next()?,
        agent: row.next()?,
        user: row.next()?,
        active_run: row.next()?,
        created_at: row.next()?,
    })
}

/// A session, inside a transaction.
pub(super) async fn get(tx: &mut TenantTx<'_>, id: SessionId) -> Result<SessionRecord> {
    let sql = tenant_sql!(concat!("SELECT ", columns!(), " FROM sessions WHERE tenant_id = $1 AND id = $2"));
    read(tx.row(sql, values![id]).await?.ok_or_else(missing)?)
}

/// As [`get`], and the session stays as it is until the transaction ends.
pub(super) async fn locked(tx: &mut TenantTx<'_>, id: SessionId) -> Result<SessionRecord> {
    let sql =
        tenant_sql!(lock concat!("SELECT ", columns!(), " FROM sessions WHERE tenant_id = $1 AND id = $2"));
    read(tx.row(sql, values![id]).await?.ok_or_else(missing)?)
}

async fn open(tx: &mut TenantTx<'_>, session: SessionRecord) -> Result<()> {
    let taken = tenant_sql!("SELECT 1 FROM sessions WHERE tenant_id = $1 AND id = $2");
    if tx.exists(taken, values![session.id]).await? {
        return Err(Error::already_exists("the id of the session is taken"));
    }
    if !agents::exists(tx, session.agent).await? {
        return Err(agents::missing());
    }
    let sql = tenant_sql!(concat!(
        "INSERT INTO sessions (tenant_id, ",
        columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6)"
    ));
    let SessionRecord { id, agent, user, active_run, created_at } = session;
    tx.execute(sql, values![id, agent, user, active_run, created_at]).await.map(drop)
}

#[async_trait]
impl SessionStore for SqlStore {
    async fn open(&self, ctx: &Context, session: SessionRecord, all: Effects) -> Result<()> {
        self.change(ctx.tenant(), all, |tx| Box::pin(open(tx, session))).await
    }

    async fn get(&self, ctx: &Context, id: SessionId) -> Result<SessionRecord> {
        self.read(ctx.tenant(), move |mut tx| Box::pin(async move { get(&mut tx, id).await })).await
    }

    async fn list(&self, ctx: &Context, page: PageRequest) -> Result<Page<SessionRecord>> {
        let page = page.checked()?;
        let (created, after) = start(&page);
        let values = values![created, after, page.limit + 1];
        let sql = tenant_sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM sessions WHERE tenant_id = $1 AND (created_at, id) > ($2, $3) ORDER BY created_at, id LIMIT $4"
        ));
        let sessions = self.read_rows(ctx.tenant(), sql, values, read).await?;
        let position =
            |session: &SessionRecord| Cursor { created: session.created_at, id: session.id.uuid() };
        Ok(Page::from_overfull(sessions, page.limit, position))
    }
}
