//! Runs as callers see them: [`RunIndex`].

use std::collections::HashMap;

use agentprovision_core::context::Context;
use agentprovision_core::effect::Effects;
use agentprovision_core::id::{RunId, SignalId, TenantId};
use agentprovision_core::page::{Cursor, Page};
use agentprovision_core::run::{
    JournalRow, PayloadHash, RunIndex, RunQuery, RunRecord, RunStatus, Salt, Signal, payload_hash,
};
use agentprovision_core::{Error, Result};
use async_trait::async_trait;

use super::conn::TenantTx;
use super::value::{Row, from_json, tenant_sql, to_json, values};
use super::{SqlStore, effects, runs, start};

macro_rules! columns {
    () => {
        "id, agent_id, version, user_id, project_id, session_id, parent_run, idem_key, idem_hash, on_behalf_of, region, \
         status, state_version, salt, seq, head, deadline, totals, output, error, created_at, updated_at, finished_at"
    };
}

#[cfg(feature = "store-postgres")]
pub(super) use columns;

fn missing() -> Error {
    Error::not_found("no such run")
}

/// The next column of a row, as a status.
pub(super) fn status(row: &mut Row) -> Result<RunStatus> {
    RunStatus::from_name(&row.next::<String>()?).ok_or_else(|| Error::corrupt("a run has an unknown status"))
}

pub(super) fn read(tenant: TenantId, mut row: Row) -> Result<RunRecord> {
    Ok(RunRecord {
        tenant,
        id: row.next()?,
        agent: row.next()?,
        version: row.next()?,
        user: row.next()?,
        project_id: row.next()?,
        session_id: row.next()?,
        parent_run: row.next()?,
        idem_key: row.next()?,
        idem_hash: row.next()?,
        on_behalf_of: row.next()?,
        region: row.next()?,
        status: status(&mut row)?,
        state_version: row.next()?,
        salt: row.next()?,
        seq: row.next()?,
        head: row.next()?,
        deadline: row.next()?,
        totals: row.json()?,
        output: row.next()?,
        error: row.next::<Option<String>>()?.map(|error| from_json(&error)).transpose()?,
        created_at: row.next()?,
        updated_at: row.next()?,
        finished_at: row.next()?,
    })
}

/// A run, inside a transaction.
pub(super) async fn get(tx: &mut TenantTx<'_>, tenant: TenantId, id: RunId) -> Result<RunRecord> {
    let sql = tenant_sql!(concat!("SELECT ", columns!(), " FROM runs WHERE tenant_id = $1 AND id = $2"));
    read(tenant, tx.row(sql, values![id]).await?.ok_or_else(missing)?)
}

/// Adds the row of a run.
pub(super) async fn insert(tx: &mut TenantTx<'_>, run: &RunRecord) -> Result<()> {
    let sql = tenant_sql!(concat!(
        "INSERT INTO runs (tenant_id, ",
        columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, \
         $23, $24)"
    ));
    let row = values![
        run.id,
        run.agent,
        run.version,
        run.user,
        run.project_id,
        run.session_id,
        run.parent_run,
        run.idem_key.as_deref(),
        run.idem_hash,
        run.on_behalf_of.as_deref(),
        run.region.as_deref(),
        run.status.name(),
        run.state_version,
        run.salt,
        run.seq,
        run.head,
        run.deadline,
        to_json(&run.totals)?,
        run.output,
        run.error.as_ref().map(to_json).transpose()?,
        run.created_at,
        run.updated_at,
        run.finished_at,
    ];
    tx.execute(sql, row).await.map(drop)
}

async fn exists(tx: &mut TenantTx<'_>, run: RunId) -> Result<()> {
    match tx.exists(tenant_sql!("SELECT 1 FROM runs WHERE tenant_id = $1 AND id = $2"), values![run]).await? {
        true => Ok(()),
        false => Err(missing()),
    }
}

async fn payloads(tx: &mut TenantTx<'_>, run: RunId, hashes: &[PayloadHash]) -> Result<Vec<Vec<u8>>> {
    let sql = tenant_sql!("SELECT salt FROM runs WHERE tenant_id = $1 AND id = $2");
    let salt: Salt = tx.row(sql, values![run]).await?.ok_or_else(missing)?.next()?;
    let mut found = HashMap::new();
    for hash in hashes {
        if found.contains_key(hash) {
            continue;
        }
        let sql =
            tenant_sql!("SELECT bytes FROM payloads WHERE tenant_id = $1 AND run_id = $2 AND hash = $3");
        let row = tx.row(sql, values![run, *hash]).await?;
        let bytes: Vec<u8> = row.ok_or_else(|| Error::not_found("no such payload of the run"))?.next()?;
        if payload_hash(&salt, &bytes) != *hash {
            return Err(Error::corrupt("a payload does not have its name"));
        }
        found.insert(*hash, bytes);
    }
    Ok(hashes.iter().filter_map(|hash| found.get(hash).cloned()).collect())
}

async fn signal(tx: &mut TenantTx<'_>, run: RunId, id: SignalId, signal: Signal, all: Effects) -> Result<()> {
    let known = tenant_sql!("SELECT 1 FROM signals WHERE tenant_id = $1 AND run_id = $2 AND id = $3");
    if tx.exists(known, values![run, id]).await? {
        return Ok(());
    }
    effects::guard(tx, &all).await?;
    let sql = tenant_sql!(lock "SELECT status FROM runs WHERE tenant_id = $1 AND id = $2");
    if status(&mut tx.row(sql, values![run]).await?.ok_or_else(missing)?)?.is_terminal() {
        return Err(runs::over());
    }
    let sql = tenant_sql!(
        "INSERT INTO signals (tenant_id, run_id, id, pos, body) SELECT $1, $2, $3, coalesce(max(pos), 0) + 1, $4 \
         FROM signals WHERE tenant_id = $1 AND run_id = $2"
    );
    tx.execute(sql, values![run, id, to_json(&signal)?]).await?;
    let sql = tenant_sql!(
        "UPDATE run_leases SET ready_at = CASE WHEN ready_at < $3 THEN ready_at ELSE $3 END WHERE tenant_id = $1 AND run_id = $2"
    );
    tx.execute(sql, values![run, tx.env.now()]).await?;
    effects::apply(tx, all).await
}

#[async_trait]
impl RunIndex for SqlStore {
    async fn get(&self, ctx: &Context, run: RunId) -> Result<RunRecord> {
        let tenant = ctx.tenant();
        self.read(tenant, move |mut tx| Box::pin(async move { get(&mut tx, tenant, run).await })).await
    }

    async fn list(&self, ctx: &Context, query: RunQuery) -> Result<Page<RunRecord>> {
        let tenant = ctx.tenant();
        let page = query.page.checked()?;
        let (created, after) = start(&page);
        let mut values =
            values![created, after, page.limit + 1, query.agent, query.status.map(RunStatus::name)];
        let sql = match (query.session, query.idem_key) {
            (session, Some(key)) => {
                values.push(key.into());
                values.push(session.into());
                tenant_sql!(concat!(
                    "SELECT ",
                    columns!(),
                    " FROM runs WHERE tenant_id = $1 AND idem_key = $7 AND (created_at, id) > ($2, $3) \
                     AND (agent_id = $5 OR $5 IS NULL) AND (status = $6 OR $6 IS NULL) \
                     AND (session_id = $8 OR $8 IS NULL) ORDER BY created_at, id LIMIT $4"
                ))
            }
            (None, None) => tenant_sql!(concat!(
                "SELECT ",
                columns!(),
                " FROM runs WHERE tenant_id = $1 AND (created_at, id) > ($2, $3) AND (agent_id = $5 OR $5 IS NULL) \
                 AND (status = $6 OR $6 IS NULL) ORDER BY created_at, id LIMIT $4"
            )),
            (Some(session), None) => {
                values.push(session.into());
                tenant_sql!(concat!(
                    "SELECT ",
                    columns!(),
                    " FROM runs WHERE tenant_id = $1 AND session_id = $7 AND (created_at, id) > ($2, $3) \
                     AND (agent_id = $5 OR $5 IS NULL) AND (status = $6 OR $6 IS NULL) ORDER BY created_at, id LIMIT $4"
                ))
            }
        };
        let runs = self.read_rows(tenant, sql, values, |row| read(tenant, row)).await?;
        Ok(Page::from_overfull(runs, page.limit, |run| Cursor { created: run.created_at, id: run.id.uuid() }))
    }

    async fn journal(&self, ctx: &Context, run: RunId, after: u64, limit: u32) -> Result<Vec<JournalRow>> {
        self.read(ctx.tenant(), move |mut tx| {
            Box::pin(async move {
                exists(&mut tx, run).await?;
                let Ok(after) = i64::try_from(after) else { return Ok(Vec::new()) };
                let sql = tenant_sql!(
                    "SELECT seq, body, hash FROM journal WHERE tenant_id = $1 AND run_id = $2 AND seq > $3 ORDER BY seq \
                     LIMIT $4"
                );
                let rows = tx.rows(sql, values![run, after, limit]).await?;
                let read =
                    |mut row: Row| Ok(JournalRow { seq: row.next()?, body: row.next()?, hash: row.next()? });
                rows.into_iter().map(read).collect()
            })
        })
        .await
    }

    async fn payloads(&self, ctx: &Context, run: RunId, hashes: &[PayloadHash]) -> Result<Vec<Vec<u8>>> {
        let hashes = hashes.to_vec();
        self.read(ctx.tenant(), move |mut tx| Box::pin(async move { payloads(&mut tx, run, &hashes).await }))
            .await
    }

    async fn signal(
        &self,
        ctx: &Context,
        run: RunId,
        id: SignalId,
        body: Signal,
        all: Effects,
    ) -> Result<()> {
        self.write(ctx.tenant(), move |mut tx| {
            Box::pin(async move { signal(&mut tx, run, id, body, all).await })
        })
        .await?;
        self.ready.notify_waiters();
        Ok(())
    }
}
