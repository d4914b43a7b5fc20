//! Deliveries of webhooks: kept once, and worked on by one worker at a time.

use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::effect::Effects;
use agentprovision_core::id::{DeliveryId, EndpointId, TenantId, WorkerId};
use agentprovision_core::page::{Cursor, Page, PageRequest};
use agentprovision_core::webhook::{
    Accepted, ClaimedDelivery, Delivery, DeliveryEnd, DeliveryState, Inbox, NewDelivery, check_mark,
    check_term,
};
use agentprovision_core::{Error, ErrorKind, Result};
use async_trait::async_trait;

use super::conn::{SystemTx, TenantTx};
use super::value::{
    Dialect, Row, SystemSql, TenantSql, system_sql, tenant_sql, timed, timed_sql, to_json, values,
};
use super::{Engine, SqlBackend, SqlStore, accept, claims, endpoints, residence, start};

/// Of a delivery `d` and its work `w`, all but the body.
macro_rules! columns {
    () => {
        "d.id, d.endpoint_id, d.key, d.digest, d.kind, d.headers, d.received_at, d.repeats, d.conflicts, \
         d.conflict_digest, w.state, w.attempts, w.error, w.runs, w.finished_at"
    };
}

macro_rules! joined {
    () => {
        " FROM deliveries d JOIN delivery_work w ON w.tenant_id = d.tenant_id AND w.delivery_id = d.id "
    };
}

/// Tenants that have a delivery ready; see [`claims::turns`].
pub(super) const TURNS: SystemSql = system_sql!(
    claims::turns_sql!("delivery_work", "delivery_id", " AND l.ready_at IS NOT NULL", "$3", "", "$4"),
    claims::turns_sql!(
        "delivery_work",
        "delivery_id",
        " AND l.ready_at IS NOT NULL",
        timed!(postgres "$3" now),
        "",
        "$4"
    )
);

/// Deliveries of a tenant that may be taken, at most `$3`.
pub(super) const READY: TenantSql = tenant_sql!(
    "SELECT delivery_id FROM delivery_work WHERE tenant_id = $1 AND ready_at <= $2 \
     AND (lease_until IS NULL OR lease_until <= $2) ORDER BY ready_at, delivery_id LIMIT $3"
);

/// The same where many write: takes those that nobody else has locked.
const TAKE: TenantSql = timed_sql!("$3":
    "WITH free AS MATERIALIZED (SELECT tenant_id, delivery_id FROM delivery_work WHERE tenant_id = $1 \
     AND ready_at <= " now " AND (lease_until IS NULL OR lease_until <= " now ") \
     ORDER BY ready_at, delivery_id LIMIT $2" unlocked "), \
     taken AS (UPDATE delivery_work w SET epoch = w.epoch + 1, attempts = w.attempts + 1, \
     lease_until = " now " + $4, worker_id = $5 FROM free \
     WHERE w.tenant_id = free.tenant_id AND w.delivery_id = free.delivery_id RETURNING w.*) \
     SELECT w.epoch, " (columns!()) ", d.body FROM taken w \
     JOIN deliveries d ON d.tenant_id = $1 AND d.id = w.delivery_id ORDER BY w.ready_at, w.delivery_id"
);

fn missing() -> Error {
    Error::not_found("no such delivery")
}

fn state(row: &mut Row) -> Result<DeliveryState> {
    DeliveryState::from_name(&row.next::<String>()?)
        .ok_or_else(|| Error::corrupt("a delivery has an unknown state"))
}

fn error(row: &mut Row) -> Result<Option<ErrorKind>> {
    let unknown = || Error::corrupt("a delivery has an unknown error");
    row.next::<Option<String>>()?.map(|code| ErrorKind::from_code(&code).ok_or_else(unknown)).transpose()
}

/// Reads a delivery and, where it is there, its body.
fn read(row: &mut Row, body: bool) -> Result<Delivery> {
    let mut new = NewDelivery {
        id: row.next()?,
        endpoint: row.next()?,
        key: row.next()?,
        digest: row.next()?,
        kind: row.next()?,
        headers: row.next()?,
        received_at: row.next()?,
        body: Vec::new(),
    };
    let (repeats, conflicts, conflict_digest) = (row.next()?, row.next()?, row.next()?);
    let state = state(row)?;
    let (attempts, error) = (row.next()?, error(row)?);
    let (runs, finished_at) = (row.json()?, row.next()?);
    if body {
        new.body = row.next()?;
    }
    Ok(Delivery { new, state, attempts, error, runs, repeats, conflicts, conflict_digest, finished_at })
}

/// Who takes deliveries, and for how long.
#[derive(Clone, Copy, Debug)]
struct Taker {
    worker: WorkerId,
    term: Duration,
}

/// Tenants with a delivery ready, in turn.
async fn turns(tx: &mut SystemTx<'_>, after: Option<TenantId>, limit: usize) -> Result<Vec<TenantId>> {
    let now = tx.env.now();
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    claims::in_order(tx, TURNS, after, values![now, most], limit, |_| true).await
}

/// Up to `share` deliveries of the tenant, taken.
async fn take(
    tx: &mut TenantTx<'_>,
    tenant: TenantId,
    by: Taker,
    share: usize,
) -> Result<Vec<ClaimedDelivery>> {
    let now = tx.env.now();
    let most = i64::try_from(share).unwrap_or(i64::MAX);
    let claimed = |mut row: Row| {
        let epoch = row.next()?;
        Ok(ClaimedDelivery { tenant, epoch, delivery: read(&mut row, true)? })
    };
    if tx.dialect() == Dialect::Postgres {
        let rows = tx.rows(TAKE, values![most, now, by.term, by.worker]).await?;
        return rows.into_iter().map(claimed).collect();
    }
    let mut taken = Vec::new();
    for mut row in tx.rows(READY, values![now, most]).await? {
        let id: DeliveryId = row.next()?;
        let sql = tenant_sql!(
            "UPDATE delivery_work SET epoch = epoch + 1, attempts = attempts + 1, lease_until = $3, worker_id = $4 \
             WHERE tenant_id = $1 AND delivery_id = $2"
        );
        tx.execute(sql, values![id, now.after(by.term), by.worker]).await?;
        let sql = tenant_sql!(concat!(
            "SELECT w.epoch, ",
            columns!(),
            ", d.body",
            joined!(),
            "WHERE d.tenant_id = $1 AND d.id = $2"
        ));
        taken.push(claimed(tx.row(sql, values![id]).await?.ok_or_else(missing)?)?);
    }
    Ok(taken)
}

async fn finish(tx: &mut TenantTx<'_>, id: DeliveryId, epoch: u64, end: DeliveryEnd) -> Result<()> {
    let now = tx.env.now();
    let over = timed_sql!("$7":
        "UPDATE delivery_work SET state = $4, error = $5, runs = coalesce($6, runs), finished_at = " now ", \
         ready_at = NULL, lease_until = NULL \
         WHERE tenant_id = $1 AND delivery_id = $2 AND epoch = $3 AND lease_until IS NOT NULL"
    );
    let again = timed_sql!("$6":
        "UPDATE delivery_work SET error = $4, ready_at = " now " + $5, lease_until = NULL \
         WHERE tenant_id = $1 AND delivery_id = $2 AND epoch = $3 AND lease_until IS NOT NULL"
    );
    let (sql, values) = match end {
        DeliveryEnd::Done(runs) => {
            let (none, runs) = (None::<&str>, to_json(&runs)?);
            (over, values![id, epoch, DeliveryState::Done.name(), none, runs, now])
        }
        DeliveryEnd::Failed(error) => {
            let (state, none) = (DeliveryState::Failed.name(), None::<&str>);
            (over, values![id, epoch, state, error.code(), none, now])
        }
        DeliveryEnd::Retry(after, error) => (again, values![id, epoch, error.code(), after, now]),
    };
    if tx.execute(sql, values).await? > 0 {
        return Ok(());
    }
    let sql = tenant_sql!("SELECT 1 FROM delivery_work WHERE tenant_id = $1 AND delivery_id = $2");
    match tx.exists(sql, values![id]).await? {
        true => Err(Error::fenced("the delivery is not this worker's any more")),
        false => Err(missing()),
    }
}

async fn replay(tx: &mut TenantTx<'_>, id: DeliveryId) -> Result<()> {
    let sql = tenant_sql!(lock "SELECT state FROM delivery_work WHERE tenant_id = $1 AND delivery_id = $2");
    if state(&mut tx.row(sql, values![id]).await?.ok_or_else(missing)?)? == DeliveryState::Pending {
        return Err(Error::conflict("the delivery is pending"));
    }
    let sql = timed_sql!("$3":
        "UPDATE delivery_work SET state = 'pending', ready_at = " now ", finished_at = NULL \
         WHERE tenant_id = $1 AND delivery_id = $2"
    );
    tx.execute(sql, values![id, tx.env.now()]).await.map(drop)
}

async fn advance(tx: &mut TenantTx<'_>, endpoint: EndpointId, key: String, version: String) -> Result<bool> {
    if !endpoints::exists(tx, endpoint).await? {
        return Err(endpoints::missing());
    }
    let sql = tenant_sql!(
        "INSERT INTO webhook_marks (tenant_id, endpoint_id, key, version) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (tenant_id, endpoint_id, key) DO UPDATE SET version = excluded.version \
         WHERE webhook_marks.version < excluded.version"
    );
    Ok(tx.execute(sql, values![endpoint, key, version]).await? > 0)
}

/// Tenants with deliveries that are over for long.
const EXPIRED: SystemSql = system_sql!(
    "SELECT DISTINCT tenant_id FROM delivery_work WHERE finished_at < $1 - $2 ORDER BY tenant_id",
    concat!(
        "SELECT DISTINCT tenant_id FROM delivery_work WHERE finished_at < ",
        timed!(postgres "$1" now),
        " - $2 ORDER BY tenant_id"
    )
);

macro_rules! old {
    ($now:expr) => {
        concat!(
            "SELECT delivery_id FROM delivery_work WHERE tenant_id = $1 AND finished_at < ",
            $now,
            " - $3 ORDER BY finished_at, delivery_id LIMIT $4"
        )
    };
}

/// Removes such deliveries of a tenant; where the database can, with their work in one statement.
const FORGET: TenantSql = TenantSql::new(
    concat!("DELETE FROM deliveries WHERE tenant_id = $1 AND id IN (", old!("$2"), ")"),
    concat!(
        "WITH old AS MATERIALIZED (",
        old!(timed!(postgres "$2" now)),
        timed!(postgres "$2" unlocked),
        "), work AS (DELETE FROM delivery_work w USING old WHERE w.tenant_id = $1 AND w.delivery_id = old.delivery_id) \
         DELETE FROM deliveries d USING old WHERE d.tenant_id = $1 AND d.id = old.delivery_id"
    ),
);

async fn forget(tx: &mut TenantTx<'_>, keep: Duration, limit: u32) -> Result<u64> {
    // What is on its way to another database is removed there.
    if !residence::is_home(tx).await? {
        return Ok(0);
    }
    let values = values![tx.env.now(), keep, limit];
    let gone = tx.execute(FORGET, values.clone()).await?;
    if tx.dialect() == Dialect::Sqlite {
        let sql = tenant_sql!(concat!(
            "DELETE FROM delivery_work WHERE tenant_id = $1 AND delivery_id IN (",
            old!("$2"),
            ")"
        ));
        tx.execute(sql, values).await?;
    }
    Ok(gone)
}

impl SqlBackend {
    /// Tenants whose deliveries would be taken now, in turn; nothing is taken.
    pub(crate) async fn delivery_turns(&self, after: Option<TenantId>, limit: u32) -> Result<Vec<TenantId>> {
        self.0.delivery_turns(after, limit).await
    }

    /// As [`Inbox::claim`], with at most `each` of every tenant.
    pub(crate) async fn claim_deliveries(
        &self,
        worker: WorkerId,
        term: Duration,
        limit: u32,
        each: u32,
        after: Option<TenantId>,
    ) -> Result<Vec<ClaimedDelivery>> {
        self.0.claim_deliveries(Taker { worker, term }, limit, each, after).await
    }
}

impl SqlStore {
    async fn delivery_turns(&self, after: Option<TenantId>, limit: u32) -> Result<Vec<TenantId>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.read_system(move |mut tx| Box::pin(async move { turns(&mut tx, after, limit).await })).await
    }

    async fn claim_deliveries(
        &self,
        by: Taker,
        limit: u32,
        each: u32,
        after: Option<TenantId>,
    ) -> Result<Vec<ClaimedDelivery>> {
        // Workers ask often, and mostly there is nothing: asking takes no turn of a writer.
        let turns = self.delivery_turns(after, limit).await?;
        if limit == 0 || turns.is_empty() {
            return Ok(Vec::new());
        }
        let [most, each] = [limit, each].map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        self.write_system(move |mut tx| {
            Box::pin(async move {
                claims::in_turn(&mut tx, turns, most, each, move |tx, tenant, share| {
                    Box::pin(take(tx, tenant, by, share))
                })
                .await
            })
        })
        .await
    }
}

#[async_trait]
impl Inbox for SqlStore {
    async fn accept(&self, tenant: TenantId, delivery: NewDelivery) -> Result<Accepted> {
        delivery.check()?;
        self.check_open()?;
        let accepted = match &self.engine {
            #[cfg(feature = "store-sqlite")]
            Engine::Sqlite(lanes) => lanes.merge(accept::Accept { tenant, delivery }).await?,
            #[cfg(feature = "store-postgres")]
            Engine::Postgres(pool) => self.gathered.accept(pool, &self.env, tenant, delivery).await?,
            #[cfg(feature = "store-postgres")]
            Engine::Lent(_) => {
                let one = self.write_system(move |tx| {
                    Box::pin(async move { accept::keep(&mut tx.into_tenant(tenant), &[delivery]).await })
                });
                accept::only(one.await?)?
            }
        };
        if accepted == Accepted::New {
            self.delivered.notify_waiters();
        }
        Ok(accepted)
    }

    async fn claim(
        &self,
        worker: WorkerId,
        term: Duration,
        limit: u32,
        after: Option<TenantId>,
    ) -> Result<Vec<ClaimedDelivery>> {
        check_term(term)?;
        self.claim_deliveries(Taker { worker, term }, limit, limit, after).await
    }

    async fn finish(
        &self,
        tenant: TenantId,
        id: DeliveryId,
        epoch: u64,
        end: DeliveryEnd,
        all: Effects,
    ) -> Result<()> {
        let again = matches!(end, DeliveryEnd::Retry(..));
        self.change(tenant, all, move |tx| Box::pin(finish(tx, id, epoch, end))).await?;
        if again {
            self.delivered.notify_waiters();
        }
        Ok(())
    }

    async fn advance(
        &self,
        tenant: TenantId,
        endpoint: EndpointId,
        key: &str,
        version: &str,
    ) -> Result<bool> {
        check_mark(key, version)?;
        let (key, version) = (key.to_owned(), version.to_owned());
        self.change(tenant, Effects::none(), move |tx| Box::pin(advance(tx, endpoint, key, version))).await
    }

    async fn mark(&self, tenant: TenantId, endpoint: EndpointId, key: &str) -> Result<Option<String>> {
        let sql = tenant_sql!(
            "SELECT version FROM webhook_marks WHERE tenant_id = $1 AND endpoint_id = $2 AND key = $3"
        );
        Ok(self.read_rows(tenant, sql, values![endpoint, key], |mut row| row.next()).await?.pop())
    }

    async fn get(&self, ctx: &Context, id: DeliveryId) -> Result<Delivery> {
        let sql = tenant_sql!(concat!(
            "SELECT ",
            columns!(),
            ", d.body",
            joined!(),
            "WHERE d.tenant_id = $1 AND d.id = $2"
        ));
        let found = self.read_rows(ctx.tenant(), sql, values![id], |mut row| read(&mut row, true)).await?;
        found.into_iter().next().ok_or_else(missing)
    }

    async fn list(&self, ctx: &Context, endpoint: EndpointId, page: PageRequest) -> Result<Page<Delivery>> {
        let page = page.checked()?;
        let (received, after) = start(&page);
        let sql = tenant_sql!(concat!(
            "SELECT ",
            columns!(),
            joined!(),
            "WHERE d.tenant_id = $1 AND d.endpoint_id = $2 AND (d.received_at, d.id) > ($3, $4) \
             ORDER BY d.received_at, d.id LIMIT $5"
        ));
        let values = values![endpoint, received, after, page.limit + 1];
        let found = self.read_rows(ctx.tenant(), sql, values, |mut row| read(&mut row, false)).await?;
        let position =
            |delivery: &Delivery| Cursor { created: delivery.new.received_at, id: delivery.new.id.uuid() };
        Ok(Page::from_overfull(found, page.limit, position))
    }

    async fn replay(&self, ctx: &Context, id: DeliveryId, all: Effects) -> Result<()> {
        self.change(ctx.tenant(), all, move |tx| Box::pin(replay(tx, id))).await?;
        self.delivered.notify_waiters();
        Ok(())
    }

    async fn expire(&self, keep: Duration, limit: u32) -> Result<u32> {
        let tenants = self
            .read_system(move |mut tx| {
                Box::pin(async move {
                    let rows = tx.rows(EXPIRED, values![tx.env.now(), keep]).await?;
                    rows.into_iter().map(|mut row| row.next()).collect::<Result<Vec<TenantId>>>()
                })
            })
            .await?;
        let mut gone = 0;
        for tenant in tenants {
            let left = limit - gone;
            if left == 0 {
                break;
            }
            let removed = self
                .write_system(move |tx| {
                    Box::pin(async move { forget(&mut tx.into_tenant(tenant), keep, left).await })
                })
                .await?;
            gone += u32::try_from(removed).unwrap_or(left);
        }
        Ok(gone)
    }

    async fn woken(&self) {
        self.delivered.notified().await;
    }
}
