//! What was done under keys of callers.

use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::effect::{Effects, Guard};
use agentprovision_core::error::Retry;
use agentprovision_core::idempotency::{Begun, IdempotencyStore, Work, WorkKey};
use agentprovision_core::{Error, ErrorKind, Result};
use async_trait::async_trait;

use super::SqlStore;
use super::conn::TenantTx;
use super::value::{Row, tenant_sql, timed_sql, values};

/// How often work is looked for that somebody else adds and takes away at the same time.
const LOOKS: usize = 3;

fn read(row: &mut Row) -> Result<Work> {
    Ok(Work {
        input: row.next()?,
        epoch: row.next()?,
        lease_until: row.next()?,
        answer: row.next()?,
        keep: row.next()?,
        forget_at: row.next()?,
    })
}

/// Begins work that is not known, and takes away what is old; says whether it was not known.
async fn add(
    tx: &mut TenantTx<'_>,
    WorkKey { scope, key }: &WorkKey,
    input: [u8; 32],
    term: Duration,
    keep: Duration,
) -> Result<bool> {
    let sql = timed_sql!("$7":
        "INSERT INTO idempotency_keys (tenant_id, scope, key, input, epoch, lease_until, keep, forget_at) \
         VALUES ($1, $2, $3, $4, 1, " now " + $5, $6, " now " + $5 + $6) ON CONFLICT (tenant_id, scope, key) DO NOTHING"
    );
    let now = tx.env.now();
    if tx.execute(sql, values![&**scope, &**key, input, term, keep, now]).await? == 0 {
        return Ok(false);
    }
    let old = timed_sql!("$4":
        "DELETE FROM idempotency_keys WHERE tenant_id = $1 AND (scope, key) IN (SELECT scope, key FROM idempotency_keys \
         WHERE tenant_id = $1 AND forget_at <= " now " AND NOT (scope = $2 AND key = $3)" unlocked ")"
    );
    tx.execute(old, values![&**scope, &**key, now]).await?;
    Ok(true)
}

async fn begin(
    tx: &mut TenantTx<'_>,
    work: WorkKey,
    input: [u8; 32],
    term: Duration,
    keep: Duration,
) -> Result<Begun> {
    for _ in 0..LOOKS {
        if add(tx, &work, input, term, keep).await? {
            return Ok(Begun::New(1));
        }
        let sql = timed_sql!("$4":
            "SELECT input, epoch, lease_until, answer, keep, forget_at, " now " FROM idempotency_keys \
             WHERE tenant_id = $1 AND scope = $2 AND key = $3" locked
        );
        let (scope, key) = (&*work.scope, &*work.key);
        // What was there a moment ago may be forgotten by now.
        let Some(mut row) = tx.row(sql, values![scope, key, tx.env.now()]).await? else { continue };
        let (next, begun) = read(&mut row)?.begin(input, term, keep, row.next()?)?;
        if let Some(next) = next {
            let sql = tenant_sql!(
                "UPDATE idempotency_keys SET input = $4, epoch = $5, lease_until = $6, answer = NULL, keep = $7, \
                 forget_at = $8 WHERE tenant_id = $1 AND scope = $2 AND key = $3"
            );
            let Work { input, epoch, lease_until, keep, forget_at, .. } = next;
            tx.execute(sql, values![scope, key, input, epoch, lease_until, keep, forget_at]).await?;
        }
        return Ok(begun);
    }
    let message = "others come in the way of the work under the idempotency key";
    Err(Error::new(ErrorKind::Unavailable, message).with_retry(Retry::After(Duration::from_secs(1))))
}

async fn finish(tx: &mut TenantTx<'_>, work: WorkKey, epoch: u64, answer: Option<Vec<u8>>) -> Result<()> {
    let sql = timed_sql!("$7":
        "UPDATE idempotency_keys SET answer = $5, input = CASE WHEN $6 = 1 THEN input END, \
         lease_until = NULL, forget_at = " now " + keep \
         WHERE tenant_id = $1 AND scope = $2 AND key = $3 AND epoch = $4 AND lease_until IS NOT NULL"
    );
    let done = answer.is_some();
    let row = values![work.scope, work.key, epoch, answer, done, tx.env.now()];
    match tx.execute(sql, row).await? {
        0 => Err(Work::fenced()),
        _ => Ok(()),
    }
}

#[async_trait]
impl IdempotencyStore for SqlStore {
    async fn begin(
        &self,
        ctx: &Context,
        work: &WorkKey,
        input: [u8; 32],
        term: Duration,
        keep: Duration,
    ) -> Result<Begun> {
        work.check()?;
        let work = work.clone();
        let guards = Effects { guards: vec![Guard::TenantActive], ..Effects::none() };
        self.change(ctx.tenant(), guards, move |tx| Box::pin(begin(tx, work, input, term, keep))).await
    }

    async fn finish(&self, ctx: &Context, work: &WorkKey, epoch: u64, answer: Option<Vec<u8>>) -> Result<()> {
        let work = work.clone();
        self.change(ctx.tenant(), Effects::none(), move |tx| Box::pin(finish(tx, work, epoch, answer))).await
    }
}
