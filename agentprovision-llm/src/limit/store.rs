//! A ledger whose budgets are kept by the backend.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::id::{ReservationId, TenantId};
use agentprovision_core::usage::{Demand, QuotaGate, Reservation};
use agentprovision_core::{Env, Error, ErrorKind, Result, Timestamp};
use async_trait::async_trait;
use futures_util::StreamExt;

use super::lease::{Due, Lease, LeaseKey, Leases, State, is_kept, lease_key};
use super::sync::{Mutex, PoisonError};
use super::{Amounts, Balance, HoldId, Ledger, Limit, MemoryLedger, no_room};

/// A block is this part of what is left of a budget, so that several processes share it to the end.
const PART: u64 = 16;

/// How long a budget that had no room is taken to have none, unless something changes here.
const SHUT: Duration = Duration::from_secs(1);

/// Blocks of windows that are over which one reservation tells the gate about: they are many when a day ends.
const FEW: usize = 4;

/// Tenants that are closed at the same time.
const AT_ONCE: usize = 16;

/// Budgets per day and month in the backend's [`QuotaGate`], so that they outlive the process and hold for several
/// processes together. Budgets per minute are the process's own.
///
/// Room is leased from the gate in blocks, and what is within a block is decided in memory; so most reservations ask no
/// store, and settling never does. A budget that had no room is not asked for again for a second, unless its limit
/// changes or work of this process gives room back. [`Ledger::close`] gives back what is left of the blocks. A process
/// that ends without it leaves its blocks taken until their window ends: a crash can make a budget smaller, never
/// larger.
///
/// Close it when the work is over: what work under way comes to beyond its estimate is told by the next close.
///
/// In the gate a budget is a scope such as `llm:user usr_…:tokens:day:2026-03-01T00:00:00.000000Z`, which names the
/// start of its window; requests are kept as `steps`, all kinds of tokens as `tokens`. A block that may have been
/// reserved when a caller went away or the gate failed is reserved again under the same id, so a gate must take the
/// second time for the first.
#[derive(Debug)]
pub struct StoreLedger {
    gate: Arc<dyn QuotaGate>,
    env: Env,
    memory: MemoryLedger,
    /// Apart, so that no tenant waits for another one's.
    tenants: Mutex<HashMap<TenantId, Arc<Leases>>>,
}

/// One reservation that is asked for.
#[derive(Clone, Copy, Debug)]
struct Wanted<'a> {
    ctx: &'a Context,
    limits: &'a [Limit],
    amounts: &'a Amounts,
    ttl: Duration,
}

impl Wanted<'_> {
    /// The limits the gate keeps and of which something is asked.
    fn kept(&self) -> impl Iterator<Item = (&Limit, u64)> {
        let amounts = self.amounts;
        let asked = move |limit: &Limit| amounts.get(limit.dimension);
        self.limits
            .iter()
            .map(move |limit| (limit, asked(limit)))
            .filter(|(limit, amount)| is_kept(limit) && *amount > 0)
    }
}

impl StoreLedger {
    /// Over the gate of a backend.
    pub fn new(gate: Arc<dyn QuotaGate>, env: Env) -> Self {
        Self { gate, memory: MemoryLedger::new(env.clone()), env, tenants: Mutex::default() }
    }

    fn leases(&self, tenant: TenantId) -> Arc<Leases> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tenants.entry(tenant).or_default())
    }

    /// Reserves within what is leased instead of what is configured, in one step: no block ends in between.
    fn try_now(&self, leases: &Leases, wanted: Wanted<'_>) -> Result<HoldId> {
        let (state, now) = (leases.state(), self.env.now());
        let within = |limit: &Limit| {
            if !is_kept(limit) {
                return limit.clone();
            }
            let leased = state.live(&lease_key(limit), now).map_or(0, Lease::leased);
            // A limit that was lowered holds at once.
            Limit { most: leased.min(limit.most), ..limit.clone() }
        };
        let within: Vec<Limit> = wanted.limits.iter().map(within).collect();
        self.memory.reserve_now(wanted.ctx.tenant(), &within, *wanted.amounts, wanted.ttl)
    }

    /// What of `amount` does not fit what is leased.
    fn missing(&self, state: &State, tenant: TenantId, limit: &Limit, amount: u64, now: Timestamp) -> u64 {
        let Balance { spent, reserved } = self.memory.balance_now(tenant, limit);
        let leased = state.live(&lease_key(limit), now).map_or(0, Lease::leased);
        spent.saturating_add(reserved).saturating_add(amount).saturating_sub(leased)
    }

    /// Whether the gate has to be asked.
    ///
    /// # Errors
    /// `budget_exceeded` where it is known to have no room.
    fn needs_gate(&self, leases: &Leases, wanted: Wanted<'_>) -> Result<bool> {
        let (now, monotonic) = (self.env.now(), self.env.monotonic());
        let state = leases.state();
        let mut needs = false;
        for (limit, amount) in wanted.kept() {
            let missing = self.missing(&state, wanted.ctx.tenant(), limit, amount, now);
            if missing == 0 {
                continue;
            }
            if amount > limit.most || state.is_shut(limit, missing, now, monotonic) {
                return Err(no_room(limit, amount, limit.window.period(now, &limit.zone).end, now));
            }
            needs = true;
        }
        Ok(needs)
    }

    /// Leases what is missing. Only for who has the turn.
    ///
    /// # Errors
    /// `budget_exceeded` when the gate has no room, and whatever the gate fails with.
    async fn lease(&self, leases: &Leases, wanted: Wanted<'_>) -> Result<()> {
        leases.state().end_windows(self.env.now());
        // What fails stays due, and is no business of this request.
        let _ = self.tell(leases, wanted.ctx.tenant(), FEW).await;
        for (limit, amount) in wanted.kept() {
            let now = self.env.now();
            let missing = self.missing(&leases.state(), wanted.ctx.tenant(), limit, amount, now);
            if missing > 0 {
                self.lease_one(leases, wanted.ctx, limit, amount, missing).await?;
            }
        }
        Ok(())
    }

    async fn lease_one(
        &self,
        leases: &Leases,
        ctx: &Context,
        limit: &Limit,
        amount: u64,
        missing: u64,
    ) -> Result<()> {
        let (at, now) = (lease_key(limit), self.env.now());
        let (budget, ends, doubtful, defined) = {
            let mut state = leases.state();
            state.end_windows(now);
            match state.live(&at, now) {
                Some(lease) => {
                    let defined = lease.limit.most == limit.most;
                    (lease.budget.clone(), lease.ends, lease.doubtful(), defined)
                }
                None => {
                    let lease = Lease::new(ctx, limit, now);
                    (lease.budget, lease.ends, None, false)
                }
            }
        };
        if let Some(block) = doubtful
            && self.reserve_block(leases, ctx, &at, block).await?
        {
            return Ok(());
        }
        let refusal = || no_room(limit, amount, ends, now);
        if !defined {
            self.gate.define(ctx, &budget, Some(i64::try_from(limit.most).unwrap_or(i64::MAX))).await?;
            leases.state().defined(&at, limit);
        }
        let state = self.gate.state(ctx, &budget).await?.unwrap_or_default();
        let rest = state.cap.saturating_sub(state.spent).saturating_sub(state.reserved);
        let rest = u64::try_from(rest).unwrap_or(0);
        let shut = |rest| {
            let monotonic = self.env.monotonic();
            leases.state().shut(limit, rest, ends, monotonic.saturating_add(SHUT), monotonic);
        };
        if rest < missing {
            shut(rest);
            return Err(refusal());
        }
        // Another process may be faster; then just what is needed is asked for.
        for size in [missing.max(rest / PART), missing] {
            // Known before the gate is asked: whoever goes away meanwhile leaves a block that is asked for again or
            // given back, and none that nobody knows of.
            let block = leases.state().begin(ctx, limit, now, self.env.id(), size);
            if self.reserve_block(leases, ctx, &at, block).await? {
                return Ok(());
            }
        }
        shut(missing - 1);
        Err(refusal())
    }

    /// Reserves a block that is known here; false when the gate has no room for it, and then it is forgotten.
    async fn reserve_block(
        &self,
        leases: &Leases,
        ctx: &Context,
        at: &LeaseKey,
        block: (ReservationId, Demand),
    ) -> Result<bool> {
        let (id, demand) = block;
        match self.gate.reserve(ctx, id, demand).await {
            Ok(_) => {
                leases.state().held(at, id);
                Ok(true)
            }
            Err(error) if error.is(ErrorKind::BudgetExceeded) => {
                leases.state().forget(at, id);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Tells the gate what blocks that have ended came to, at most so many. Only for who has the turn.
    ///
    /// # Errors
    /// The first failure; the other blocks are told all the same, and this one by the next call.
    async fn tell(&self, leases: &Leases, tenant: TenantId, most: usize) -> Result<()> {
        let due = leases.state().due(most);
        let mut failed: Option<Error> = None;
        for due in due {
            if let Err(error) = self.tell_one(leases, due).await {
                tracing::warn!(%tenant, ?error, "a block of a budget could not be given back");
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn tell_one(&self, leases: &Leases, due: Due) -> Result<()> {
        let Due { ctx, at, id, demand, held, actual } = due;
        if !held {
            match self.gate.reserve(&ctx, id, demand.clone()).await {
                Ok(_) => leases.state().held(&at, id),
                // It was never reserved, and nothing was used of it.
                Err(error) if error.is(ErrorKind::BudgetExceeded) && !demand.is_empty() => {
                    leases.state().forget(&at, id);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.gate.settle(&ctx, Reservation { id, demand }, actual).await?;
        leases.state().told(&at, id);
        Ok(())
    }

    async fn close_tenant(&self, tenant: TenantId, leases: &Leases) -> Result<()> {
        let _turn = leases.turn.lock().await;
        {
            let mut state = leases.state();
            state.end_windows(self.env.now());
            // Work under way is taken to come to its estimate.
            state.end_blocks(|limit| {
                let Balance { spent, reserved } = self.memory.balance_now(tenant, limit);
                (spent.saturating_add(reserved), self.env.id())
            });
        }
        self.tell(leases, tenant, usize::MAX).await
    }
}

#[async_trait]
impl Ledger for StoreLedger {
    async fn reserve(
        &self,
        ctx: &Context,
        limits: &[Limit],
        amounts: Amounts,
        ttl: Duration,
    ) -> Result<HoldId> {
        let leases = self.leases(ctx.tenant());
        let wanted = Wanted { ctx, limits, amounts: &amounts, ttl };
        if let Ok(held) = self.try_now(&leases, wanted) {
            return Ok(held);
        }
        if !self.needs_gate(&leases, wanted)? {
            // It is a budget per minute that has no room, or somebody has just given some back.
            return self.try_now(&leases, wanted);
        }
        let _turn = leases.turn.lock().await;
        loop {
            if let Ok(held) = self.try_now(&leases, wanted) {
                return Ok(held);
            }
            // Whoever had the turn before may have found no room.
            if !self.needs_gate(&leases, wanted)? {
                return self.try_now(&leases, wanted);
            }
            self.lease(&leases, wanted).await?;
        }
    }

    fn settle(&self, id: HoldId, actual: Amounts) {
        self.memory.settle(id, actual);
    }

    fn extend(&self, id: HoldId, ttl: Duration) {
        self.memory.extend(id, ttl);
    }

    async fn balance(&self, ctx: &Context, limit: &Limit) -> Result<Balance> {
        let here = self.memory.balance_now(ctx.tenant(), limit);
        if !is_kept(limit) {
            return Ok(here);
        }
        let now = self.env.now();
        // What this process told the gate or holds of it is in its own balance.
        let (settled, held) = {
            let leases = self.leases(ctx.tenant());
            let state = leases.state();
            state.live(&lease_key(limit), now).map_or((0, 0), |lease| (lease.settled, lease.held()))
        };
        let all = self.gate.state(ctx, &Lease::new(ctx, limit, now).budget).await?.unwrap_or_default();
        let unsigned = |amount: i64| u64::try_from(amount).unwrap_or(0);
        Ok(Balance {
            spent: unsigned(all.spent).saturating_sub(settled).saturating_add(here.spent),
            reserved: unsigned(all.reserved).saturating_sub(held).saturating_add(here.reserved),
        })
    }

    async fn close(&self) -> Result<()> {
        let tenants: Vec<(TenantId, Arc<Leases>)> = {
            let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            tenants.iter().map(|(tenant, leases)| (*tenant, Arc::clone(leases))).collect()
        };
        // No tenant's failure keeps the blocks of another one.
        let close = |(tenant, leases): (TenantId, Arc<Leases>)| async move {
            self.close_tenant(tenant, &leases).await
        };
        let results: Vec<Result<()>> =
            futures_util::stream::iter(tenants).map(close).buffer_unordered(AT_ONCE).collect().await;
        results.into_iter().collect()
    }
}
