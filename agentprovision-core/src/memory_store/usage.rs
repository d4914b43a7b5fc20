//! Budgets in memory, and [`UsageReader`] and [`QuotaGate`].

use std::collections::BTreeMap;
use std::ops::Bound;

use async_trait::async_trait;

use super::{MemoryDb, TenantData};
use crate::context::Context;
use crate::effect::{Effects, QuotaOp};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ReservationId, UsageId};
use crate::money::NanoUsd;
use crate::usage::{
    BudgetKey, BudgetState, Demand, Meter, Period, QuotaGate, Reservation, UsageEvent, UsageReader,
    UsageSummary,
};

/// The budgets of a tenant.
///
/// What a budget has reserved is the sum of what is held for it, so a limit that is set while work is under way counts
/// that work.
#[derive(Clone, Default)]
pub(super) struct Budgets {
    limited: BTreeMap<BudgetKey, BudgetState>,
    held: BTreeMap<ReservationId, Demand>,
}

impl Budgets {
    /// Applies an operation. After a refusal the budgets are not to be used any more.
    pub(super) fn apply(&mut self, op: &QuotaOp) -> Result<()> {
        match op {
            QuotaOp::Define(key, Some(cap)) => self.define(key, *cap),
            QuotaOp::Define(key, None) => {
                self.limited.remove(key);
            }
            QuotaOp::Reserve(id, demand) => self.reserve(*id, demand)?,
            QuotaOp::Settle(id, actual) => self.settle(*id, actual)?,
        }
        Ok(())
    }

    fn define(&mut self, key: &BudgetKey, cap: i64) {
        let held = self.held.values().flatten().filter(|(held, _)| held == key).map(|(_, amount)| *amount);
        let reserved = held.fold(0, i64::saturating_add);
        let state =
            self.limited.entry(key.clone()).or_insert(BudgetState { reserved, ..BudgetState::default() });
        state.cap = cap.max(clamp(state.taken() - i128::from(state.overrun)));
    }

    fn reserve(&mut self, id: ReservationId, demand: &Demand) -> Result<()> {
        check_amounts(demand)?;
        if self.held.contains_key(&id) {
            return Ok(());
        }
        for (key, amount) in demand {
            if let Some(state) = self.limited.get_mut(key) {
                // Room is below the limit: an overrun is no room.
                if state.taken() + i128::from(*amount) > i128::from(state.cap) {
                    return Err(no_room(key));
                }
                state.reserved = state.reserved.saturating_add(*amount);
            }
        }
        self.held.insert(id, demand.clone());
        Ok(())
    }

    fn settle(&mut self, id: ReservationId, actual: &Demand) -> Result<()> {
        check_amounts(actual)?;
        let Some(held) = self.held.remove(&id) else { return Ok(()) };
        for (key, amount) in &held {
            if let Some(state) = self.limited.get_mut(key) {
                state.reserved = state.reserved.saturating_sub(*amount);
            }
        }
        for (key, amount) in actual {
            if let Some(state) = self.limited.get_mut(key) {
                state.spent = state.spent.saturating_add(*amount);
                state.overrun = state.overrun.max(clamp(state.taken() - i128::from(state.cap)));
            }
        }
        Ok(())
    }
}

impl BudgetState {
    /// What is spent and reserved together, which may be beyond the range of an `i64`.
    fn taken(&self) -> i128 {
        i128::from(self.spent) + i128::from(self.reserved)
    }
}

fn clamp(amount: i128) -> i64 {
    i64::try_from(amount).unwrap_or(if amount < 0 { i64::MIN } else { i64::MAX })
}

fn check_amounts(demand: &Demand) -> Result<()> {
    if demand.iter().any(|(_, amount)| *amount < 0) {
        return Err(Error::invalid("an amount of a budget is zero or more"));
    }
    Ok(())
}

fn no_room(key: &BudgetKey) -> Error {
    let dimension = key.dimension.name();
    Error::new(ErrorKind::BudgetExceeded, format!("the budget has no room for `{dimension}`"))
        .with_context("scope", &key.scope)
        .with_context("dimension", dimension)
}

impl MemoryDb {
    fn quota(&self, ctx: &Context, op: QuotaOp) -> Result<()> {
        let effects = Effects::none().quota(op);
        self.open()?.change_in(ctx.tenant(), effects, |_| Ok(|_: &mut TenantData| ()))
    }
}

#[async_trait]
impl QuotaGate for MemoryDb {
    async fn define(&self, ctx: &Context, key: &BudgetKey, cap: Option<i64>) -> Result<()> {
        self.quota(ctx, QuotaOp::Define(key.clone(), cap))
    }

    async fn reserve(&self, ctx: &Context, id: ReservationId, demand: Demand) -> Result<Reservation> {
        self.quota(ctx, QuotaOp::Reserve(id, demand.clone()))?;
        Ok(Reservation { id, demand })
    }

    async fn settle(&self, ctx: &Context, held: Reservation, actual: Demand) -> Result<()> {
        self.quota(ctx, QuotaOp::Settle(held.id, actual))
    }

    async fn state(&self, ctx: &Context, key: &BudgetKey) -> Result<Option<BudgetState>> {
        Ok(self.open()?.of(ctx.tenant()).budgets.limited.get(key).copied())
    }
}

#[async_trait]
impl UsageReader for MemoryDb {
    async fn summary(&self, ctx: &Context, period: Period) -> Result<UsageSummary> {
        let state = self.open()?;
        let within = |event: &&UsageEvent| period.start <= event.at && event.at < period.end;
        let events: Vec<&UsageEvent> = state.of(ctx.tenant()).usage.values().filter(within).collect();
        let mut summary = UsageSummary::default();
        for event in &events {
            let sum = summary.meters.entry(event.meter).or_default();
            *sum = sum.saturating_add(event.quantity);
            if event.meter == Meter::LlmRequests && event.cost.is_none() {
                summary.unpriced_requests = summary.unpriced_requests.saturating_add(event.quantity);
            }
        }
        summary.cost_usd = events.iter().filter_map(|event| event.cost).sum::<NanoUsd>();
        Ok(summary)
    }

    async fn events(&self, ctx: &Context, after: Option<UsageId>, limit: u32) -> Result<Vec<UsageEvent>> {
        let state = self.open()?;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let events = state.of(ctx.tenant()).usage.range((start, Bound::Unbounded));
        Ok(events.take(limit as usize).map(|(_, event)| event.clone()).collect())
    }
}
