//! Budgets and what is held in them.

use agentprovision_core::context::Context;
use agentprovision_core::effect::{Effects, QuotaOp};
use agentprovision_core::id::ReservationId;
use agentprovision_core::usage::{BudgetKey, BudgetState, Demand, QuotaGate, Reservation};
use agentprovision_core::{Error, ErrorKind, Result};
use async_trait::async_trait;

use super::SqlStore;
use super::conn::{TenantTx, Turn};
use super::value::{TenantSql, tenant_sql, to_json, values};

/// Applies one operation.
pub(super) async fn apply(tx: &mut TenantTx<'_>, op: QuotaOp) -> Result<()> {
    match op {
        QuotaOp::Define(key, cap) => define(tx, &key, cap).await,
        QuotaOp::Reserve(id, demand) => reserve(tx, id, &demand).await,
        QuotaOp::Settle(id, actual) => settle(tx, id, &actual).await,
    }
}

macro_rules! select {
    () => {
        "SELECT cap, spent, reserved, overrun FROM budgets WHERE tenant_id = $1 AND scope = $2 AND dimension = $3"
    };
}

/// A budget as it is, or, to be changed, as it stays until the transaction ends.
async fn state(tx: &mut TenantTx<'_>, key: &BudgetKey, sql: TenantSql) -> Result<Option<BudgetState>> {
    let Some(mut row) = tx.row(sql, values![&*key.scope, key.dimension.name()]).await? else {
        return Ok(None);
    };
    Ok(Some(BudgetState {
        cap: row.next()?,
        spent: row.next()?,
        reserved: row.next()?,
        overrun: row.next()?,
    }))
}

const READ: TenantSql = tenant_sql!(select!());
const CHANGE: TenantSql = tenant_sql!(lock select!());

async fn store(tx: &mut TenantTx<'_>, key: &BudgetKey, state: BudgetState) -> Result<()> {
    let sql = tenant_sql!(
        "INSERT INTO budgets (tenant_id, scope, dimension, cap, spent, reserved, overrun) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant_id, scope, dimension) DO UPDATE \
         SET cap = excluded.cap, spent = excluded.spent, reserved = excluded.reserved, overrun = excluded.overrun"
    );
    let BudgetState { cap, spent, reserved, overrun } = state;
    let row = values![&*key.scope, key.dimension.name(), cap, spent, reserved, overrun];
    tx.execute(sql, row).await.map(drop)
}

/// An exact sum as it is stored; what is beyond the range of an `i64` stays at its end.
fn clamp(sum: i128) -> i64 {
    i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}

async fn define(tx: &mut TenantTx<'_>, key: &BudgetKey, cap: Option<i64>) -> Result<()> {
    // What is held without a limit is counted by going through the reservations, so none may come meanwhile.
    tx.turn(Turn::Budgets).await?;
    let Some(cap) = cap else {
        let sql = tenant_sql!("DELETE FROM budgets WHERE tenant_id = $1 AND scope = $2 AND dimension = $3");
        return tx.execute(sql, values![&*key.scope, key.dimension.name()]).await.map(drop);
    };
    let old = match state(tx, key, CHANGE).await? {
        Some(old) => old,
        // What is held counts from now on, also where it was held before there was a limit.
        None => BudgetState { reserved: held(tx, key).await?, ..BudgetState::default() },
    };
    let least = i128::from(old.spent) + i128::from(old.reserved) - i128::from(old.overrun);
    store(tx, key, BudgetState { cap: cap.max(clamp(least)), ..old }).await
}

/// What reservations hold of a budget.
async fn held(tx: &mut TenantTx<'_>, key: &BudgetKey) -> Result<i64> {
    let mut sum = 0_i64;
    for mut row in
        tx.rows(tenant_sql!("SELECT demand FROM reservations WHERE tenant_id = $1"), vec![]).await?
    {
        let demand: Demand = row.json()?;
        sum = demand
            .iter()
            .filter(|(held, _)| held == key)
            .fold(sum, |sum, (_, amount)| sum.saturating_add(*amount));
    }
    Ok(sum)
}

fn not_negative(demand: &Demand) -> Result<()> {
    match demand.iter().find(|(_, amount)| *amount < 0) {
        Some((key, _)) => {
            Err(Error::invalid(format!("the amount of `{}` is negative", key.dimension.name())))
        }
        None => Ok(()),
    }
}

async fn reserve(tx: &mut TenantTx<'_>, id: ReservationId, demand: &Demand) -> Result<()> {
    not_negative(demand)?;
    tx.shared_turn(Turn::Budgets).await?;
    let sql = tenant_sql!(
        "INSERT INTO reservations (tenant_id, id, demand) VALUES ($1, $2, $3) ON CONFLICT (tenant_id, id) DO NOTHING"
    );
    if tx.execute(sql, values![id, to_json(demand)?]).await? == 0 {
        return Ok(());
    }
    for (key, amount) in demand {
        let Some(budget) = state(tx, key, CHANGE).await? else { continue };
        let sum = i128::from(budget.spent) + i128::from(budget.reserved) + i128::from(*amount);
        if sum > i128::from(budget.cap) {
            let dimension = key.dimension.name();
            let message = format!("the budget has no room for `{dimension}`");
            return Err(Error::new(ErrorKind::BudgetExceeded, message)
                .with_context("scope", &key.scope)
                .with_context("dimension", dimension));
        }
        store(tx, key, BudgetState { reserved: budget.reserved.saturating_add(*amount), ..budget }).await?;
    }
    Ok(())
}

async fn settle(tx: &mut TenantTx<'_>, id: ReservationId, actual: &Demand) -> Result<()> {
    not_negative(actual)?;
    tx.shared_turn(Turn::Budgets).await?;
    let sql = tenant_sql!("DELETE FROM reservations WHERE tenant_id = $1 AND id = $2 RETURNING demand");
    let Some(mut row) = tx.row(sql, values![id]).await? else { return Ok(()) };
    for (key, held) in row.json::<Demand>()? {
        if let Some(budget) = state(tx, &key, CHANGE).await? {
            let reserved = budget.reserved.saturating_sub(held);
            store(tx, &key, BudgetState { reserved, ..budget }).await?;
        }
    }
    for (key, used) in actual {
        if let Some(budget) = state(tx, key, CHANGE).await? {
            let spent = budget.spent.saturating_add(*used);
            let beyond = i128::from(spent) + i128::from(budget.reserved) - i128::from(budget.cap);
            let overrun = budget.overrun.max(clamp(beyond));
            store(tx, key, BudgetState { spent, overrun, ..budget }).await?;
        }
    }
    Ok(())
}

#[async_trait]
impl QuotaGate for SqlStore {
    async fn define(&self, ctx: &Context, key: &BudgetKey, cap: Option<i64>) -> Result<()> {
        let op = QuotaOp::Define(key.clone(), cap);
        self.change(ctx.tenant(), Effects::none(), |tx| Box::pin(apply(tx, op))).await
    }

    async fn reserve(&self, ctx: &Context, id: ReservationId, demand: Demand) -> Result<Reservation> {
        let op = QuotaOp::Reserve(id, demand.clone());
        self.change(ctx.tenant(), Effects::none(), |tx| Box::pin(apply(tx, op))).await?;
        Ok(Reservation { id, demand })
    }

    async fn settle(&self, ctx: &Context, held: Reservation, actual: Demand) -> Result<()> {
        let op = QuotaOp::Settle(held.id, actual);
        self.change(ctx.tenant(), Effects::none(), |tx| Box::pin(apply(tx, op))).await
    }

    async fn state(&self, ctx: &Context, key: &BudgetKey) -> Result<Option<BudgetState>> {
        let key = key.clone();
        self.read(ctx.tenant(), |mut tx| Box::pin(async move { state(&mut tx, &key, READ).await })).await
    }
}
