//! A ledger whose budgets are kept by the backend.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::id::{ReservationId, TenantId};
use agentprovision_core::usage::{BudgetKey, Dimension as StoreDimension, QuotaGate, Reservation};
use agentprovision_core::{Env, ErrorKind, Result, Timestamp};
use async_trait::async_trait;

use super::sync::{Mutex, MutexGuard, PoisonError};
use super::{Amounts, Balance, Dimension, HoldId, Ledger, Limit, MemoryLedger, Scope, Window, no_room};

/// A block is this part of what is left of a budget, so that several processes share it to the end.
const PART: i64 = 16;

/// Budgets per day and month in the backend's [`QuotaGate`], so that they outlive the process and hold for several
/// processes together. Budgets per minute are the process's own.
///
/// Room is leased from the gate in blocks, and what is within a block is decided in memory; so most reservations ask no
/// store, and settling never does. [`Ledger::close`] gives back what is left of the blocks. A process that ends without
/// it leaves its blocks taken until their window ends: a crash can make a budget smaller, never larger.
///
/// In the gate a budget is a scope such as `llm:user usr_…:tokens:day:2026-03-01T00:00:00.000000Z`, which names the
/// start of its window; requests are kept as `steps`, all kinds of tokens as `tokens`.
#[derive(Debug)]
pub struct StoreLedger {
    gate: Arc<dyn QuotaGate>,
    env: Env,
    memory: MemoryLedger,
    leases: Mutex<HashMap<LeaseKey, Lease>>,
    /// One lease at a time: whoever waited finds the block that the one before got.
    leasing: futures_util::lock::Mutex<()>,
}

type LeaseKey = (TenantId, Scope, Dimension, Window);

#[derive(Clone, Debug)]
struct Lease {
    ctx: Context,
    limit: Limit,
    key: BudgetKey,
    ends: Timestamp,
    /// What earlier blocks of the window came to, which the gate knows.
    settled: u64,
    blocks: Vec<Reservation>,
}

impl Lease {
    fn leased(&self) -> u64 {
        self.blocks.iter().map(amount).fold(self.settled, u64::saturating_add)
    }
}

fn amount(block: &Reservation) -> u64 {
    block.demand.iter().map(|(_, amount)| u64::try_from(*amount).unwrap_or(0)).sum()
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

fn lease_key(tenant: TenantId, limit: &Limit) -> LeaseKey {
    (tenant, limit.scope.clone(), limit.dimension, limit.window)
}

fn budget_key(limit: &Limit, start: Timestamp) -> BudgetKey {
    let dimension = match limit.dimension {
        Dimension::Requests => StoreDimension::Steps,
        Dimension::Cost => StoreDimension::Cost,
        Dimension::InputTokens | Dimension::OutputTokens | Dimension::Tokens => StoreDimension::Tokens,
    };
    let scope = match &limit.scope {
        Scope::Tenant => "tenant".to_owned(),
        Scope::Project(name) => format!("project {name}"),
        Scope::User(id) => format!("user {id}"),
        Scope::Agent(id) => format!("agent {id}"),
        Scope::Key(id) => format!("key {id}"),
        Scope::Model(name) => format!("model {name}"),
    };
    BudgetKey::new(format_args!("llm:{scope}:{}:{}:{start}", limit.dimension, limit.window), dimension)
}

/// Whether the backend keeps it.
fn is_kept(limit: &Limit) -> bool {
    limit.window != Window::Minute
}

impl StoreLedger {
    /// Over the gate of a backend.
    pub fn new(gate: Arc<dyn QuotaGate>, env: Env) -> Self {
        Self {
            gate,
            memory: MemoryLedger::new(env.clone()),
            env,
            leases: Mutex::default(),
            leasing: futures_util::lock::Mutex::new(()),
        }
    }

    fn leases(&self) -> MutexGuard<'_, HashMap<LeaseKey, Lease>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The limits with what is leased instead of what is configured.
    fn within_leases(&self, tenant: TenantId, limits: &[Limit]) -> Vec<Limit> {
        let now = self.env.now();
        let leases = self.leases();
        let within = |limit: &Limit| {
            if !is_kept(limit) {
                return limit.clone();
            }
            let lease = leases.get(&lease_key(tenant, limit)).filter(|lease| lease.ends > now);
            // A limit that was lowered holds at once.
            Limit { most: lease.map_or(0, Lease::leased).min(limit.most), ..limit.clone() }
        };
        limits.iter().map(within).collect()
    }

    /// Leases what is missing for `amounts`; whether there is anything new to try with.
    ///
    /// # Errors
    /// `budget_exceeded` when the gate has no room, and whatever the gate fails with.
    async fn lease(&self, ctx: &Context, limits: &[Limit], amounts: &Amounts) -> Result<bool> {
        let mut new = false;
        for limit in limits.iter().filter(|limit| is_kept(limit)) {
            let amount = amounts.get(limit.dimension);
            if amount == 0 {
                continue;
            }
            let now = self.env.now();
            self.end_leases(now).await?;
            let map_key = lease_key(ctx.tenant(), limit);
            let kept = self.leases().get(&map_key).cloned();
            let mut lease = kept.unwrap_or_else(|| {
                let period = limit.window.period(now, &limit.zone);
                let (ctx, limit, key) = (ctx.clone(), limit.clone(), budget_key(limit, period.start));
                Lease { ctx, limit, key, ends: period.end, settled: 0, blocks: Vec::new() }
            });
            let Balance { spent, reserved } = self.memory.balance_now(ctx.tenant(), limit);
            let wanted = spent.saturating_add(reserved).saturating_add(amount);
            let missing = wanted.saturating_sub(lease.leased());
            if missing == 0 {
                continue;
            }
            self.gate.define(ctx, &lease.key, Some(signed(limit.most))).await?;
            let state = self.gate.state(ctx, &lease.key).await?.unwrap_or_default();
            let rest = state.cap.saturating_sub(state.spent).saturating_sub(state.reserved);
            let missing = signed(missing);
            let no_room = || no_room(limit, amount, lease.ends, now);
            if rest < missing {
                return Err(no_room());
            }
            // Another process may be faster; then just what is needed is asked for.
            let mut held = Err(no_room());
            for block in [missing.max(rest / PART), missing] {
                let id: ReservationId = self.env.id();
                held = self.gate.reserve(ctx, id, vec![(lease.key.clone(), block)]).await;
                match &held {
                    Err(error) if error.is(ErrorKind::BudgetExceeded) => {}
                    _ => break,
                }
            }
            let block = held.map_err(|error| match error.kind() {
                ErrorKind::BudgetExceeded => no_room(),
                _ => error,
            })?;
            lease.blocks.push(block);
            self.leases().insert(map_key, lease);
            new = true;
        }
        Ok(new)
    }

    /// Settles the leases of windows that have ended, in full: nobody can use what is left of them.
    async fn end_leases(&self, now: Timestamp) -> Result<()> {
        let ended: Vec<Lease> = {
            let mut leases = self.leases();
            let (over, live) = leases.drain().partition(|(_, lease)| lease.ends <= now);
            *leases = live;
            HashMap::into_values(over).collect()
        };
        for lease in ended {
            self.settle_blocks(&lease, lease.leased()).await?;
        }
        Ok(())
    }

    /// Tells the gate what became of the blocks, of all that was used in the window: the last one takes what went
    /// beyond them.
    async fn settle_blocks(&self, lease: &Lease, used: u64) -> Result<()> {
        let mut used = used.saturating_sub(lease.settled);
        let last = lease.blocks.len().saturating_sub(1);
        for (place, block) in lease.blocks.iter().enumerate() {
            let actual = if place == last { used } else { used.min(amount(block)) };
            used -= actual;
            let actual = vec![(lease.key.clone(), signed(actual))];
            self.gate.settle(&lease.ctx, block.clone(), actual).await?;
        }
        Ok(())
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
        let try_now = || {
            let within = self.within_leases(ctx.tenant(), limits);
            self.memory.reserve_now(ctx.tenant(), &within, amounts, ttl)
        };
        if let Ok(held) = try_now() {
            return Ok(held);
        }
        let _leasing = self.leasing.lock().await;
        loop {
            let refused = match try_now() {
                Ok(held) => return Ok(held),
                Err(refused) => refused,
            };
            // Nothing new to lease: it is a budget per minute that has no room.
            if !self.lease(ctx, limits, &amounts).await? {
                return Err(refused);
            }
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
        let ours =
            self.leases().get(&lease_key(ctx.tenant(), limit)).filter(|lease| lease.ends > now).cloned();
        // What this process told the gate or leased from it is in its own balance.
        let (settled, leased) = ours.map_or((0, 0), |lease| (lease.settled, lease.leased() - lease.settled));
        let key = budget_key(limit, limit.window.period(now, &limit.zone).start);
        let all = self.gate.state(ctx, &key).await?.unwrap_or_default();
        let unsigned = |amount: i64| u64::try_from(amount).unwrap_or(0);
        Ok(Balance {
            spent: unsigned(all.spent).saturating_sub(settled).saturating_add(here.spent),
            reserved: unsigned(all.reserved).saturating_sub(leased).saturating_add(here.reserved),
        })
    }

    async fn close(&self) -> Result<()> {
        let _leasing = self.leasing.lock().await;
        self.end_leases(self.env.now()).await?;
        let leases: Vec<(LeaseKey, Lease)> =
            self.leases().iter().map(|(key, lease)| (key.clone(), lease.clone())).collect();
        for (key, mut lease) in leases {
            // Work under way is taken to come to its estimate.
            let Balance { spent, reserved } = self.memory.balance_now(key.0, &lease.limit);
            let used = spent.saturating_add(reserved);
            self.settle_blocks(&lease, used).await?;
            lease.blocks.clear();
            lease.settled = lease.settled.max(used);
            self.leases().insert(key, lease);
        }
        Ok(())
    }
}
