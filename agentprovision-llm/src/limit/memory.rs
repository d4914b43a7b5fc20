//! The ledger of one process.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::id::TenantId;
use agentprovision_core::{Env, Result, Timestamp};
use async_trait::async_trait;

use super::sync::{Mutex, MutexGuard, PoisonError};
use super::{Amounts, Balance, Dimension, HoldId, Ledger, Limit, Scope, Window, no_room};

/// Parts that are locked apart. All budgets of a tenant are in one part, so that a reservation is one step.
const SHARDS: usize = 32;

/// Accounts of a tenant, or tenants of a part, that are not worth tidying.
const FEW: usize = 64;

type Key = (Scope, Dimension, Window);

/// Budgets in memory: exact, and gone with the process.
///
/// An account is kept until its window ends, so what it takes is one entry of about 150 bytes per scope, dimension and
/// window in use.
#[derive(Debug)]
pub struct MemoryLedger {
    env: Env,
    hasher: std::hash::RandomState,
    shards: Vec<Mutex<Shard>>,
}

#[derive(Clone, Debug, Default)]
struct Shard {
    tenants: HashMap<TenantId, Tenant>,
    /// The number of the last hold: it counts on when a tenant is forgotten, so that no number comes twice.
    last: u64,
    tidy_at: usize,
}

#[derive(Clone, Debug, Default)]
struct Tenant {
    accounts: HashMap<Key, Account>,
    holds: HashMap<u64, Held>,
    /// No hold expires before this, on the monotonic clock.
    expires: Duration,
    tidy_at: usize,
}

#[derive(Clone, Copy, Debug)]
struct Account {
    ends: Timestamp,
    spent: u64,
    reserved: u64,
}

#[derive(Clone, Debug)]
struct Held {
    parts: Vec<Part>,
    expires: Duration,
    /// Its time was over, so its room is free; what it comes to is charged all the same.
    expired: bool,
}

#[derive(Clone, Debug)]
struct Part {
    key: Key,
    /// The end of the window it was reserved in, which names the window.
    ends: Timestamp,
    amount: u64,
    most: u64,
}

impl Account {
    fn has_room(&self, amount: u64, most: u64) -> bool {
        let taken = u128::from(self.spent) + u128::from(self.reserved);
        amount == 0 || taken + u128::from(amount) <= u128::from(most)
    }
}

impl Tenant {
    /// The account of a limit, in the window that `now` is in, and whether it is a new one. A clock that goes back opens
    /// no earlier window again.
    fn account(&mut self, limit: &Limit, now: Timestamp) -> (&mut Account, Key, bool) {
        let key = (limit.scope.clone(), limit.dimension, limit.window);
        let fresh = |now| Account { ends: limit.window.period(now, &limit.zone).end, spent: 0, reserved: 0 };
        let mut new = false;
        let account = self.accounts.entry(key.clone()).or_insert_with(|| {
            new = true;
            fresh(now)
        });
        if account.ends <= now {
            *account = fresh(now);
        }
        (account, key, new)
    }

    /// Holds all or nothing; the error is of the budget that is closed the longest. A refusal leaves no account behind:
    /// names come from requests.
    fn take(&mut self, limits: &[Limit], amounts: &Amounts, now: Timestamp) -> Result<Vec<Part>> {
        let mut parts = Vec::with_capacity(limits.len());
        let mut opened = Vec::new();
        let mut refused: Option<(&Limit, u64, Timestamp)> = None;
        for limit in limits {
            let amount = amounts.get(limit.dimension);
            let (account, key, new) = self.account(limit, now);
            let ends = if amount > limit.most { Timestamp::from_micros(i64::MAX) } else { account.ends };
            if account.has_room(amount, limit.most) {
                account.reserved = account.reserved.saturating_add(amount);
                parts.push(Part { key: key.clone(), ends: account.ends, amount, most: limit.most });
            } else if refused.is_none_or(|(_, _, longest)| ends > longest) {
                refused = Some((limit, amount, ends));
            }
            if new {
                opened.push(key);
            }
        }
        match refused {
            None => Ok(parts),
            Some((limit, amount, ends)) => {
                parts.iter().for_each(|part| self.free(part));
                opened.iter().for_each(|key| _ = self.accounts.remove(key));
                Err(no_room(limit, amount, ends, now))
            }
        }
    }

    /// The account of a part, unless its window has ended.
    fn of(&mut self, part: &Part) -> Option<&mut Account> {
        self.accounts.get_mut(&part.key).filter(|account| account.ends == part.ends)
    }

    fn free(&mut self, part: &Part) {
        if let Some(account) = self.of(part) {
            account.reserved = account.reserved.saturating_sub(part.amount);
        }
    }

    /// Frees what expired; whether anything did.
    fn expire(&mut self, now: Timestamp, monotonic: Duration) -> bool {
        if monotonic < self.expires {
            return false;
        }
        let mut holds = std::mem::take(&mut self.holds);
        let mut freed = false;
        for held in holds.values_mut().filter(|held| !held.expired && held.expires <= monotonic) {
            held.expired = true;
            freed = true;
            held.parts.iter().for_each(|part| self.free(part));
        }
        // Once its windows are over, nothing is left to charge.
        holds.retain(|_, held| !held.expired || held.parts.iter().any(|part| part.ends > now));
        let live = holds.values().filter(|held| !held.expired);
        self.expires = live.map(|held| held.expires).min().unwrap_or(Duration::MAX);
        self.holds = holds;
        freed
    }

    /// Forgets accounts of windows that are over, each time their number has doubled.
    fn tidy(&mut self, now: Timestamp) {
        if self.accounts.len() > self.tidy_at.max(FEW) {
            self.accounts.retain(|_, account| account.ends > now);
            self.tidy_at = self.accounts.len() * 2;
        }
    }
}

impl MemoryLedger {
    /// Nothing spent yet.
    pub fn new(env: Env) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect();
        Self { env, hasher: std::hash::RandomState::new(), shards }
    }

    fn shard(&self, tenant: TenantId) -> Option<MutexGuard<'_, Shard>> {
        let place = usize::try_from(self.hasher.hash_one(tenant) % SHARDS as u64).unwrap_or(0);
        self.shards.get(place).map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// [`Ledger::reserve`], which never waits here.
    ///
    /// # Errors
    /// `budget_exceeded`.
    pub fn reserve_now(
        &self,
        tenant: TenantId,
        limits: &[Limit],
        amounts: Amounts,
        ttl: Duration,
    ) -> Result<HoldId> {
        let (now, monotonic) = (self.env.now(), self.env.monotonic());
        let mut shard = self.shard(tenant);
        let Some(shard) = shard.as_deref_mut() else { return Err(out_of_shards()) };
        if shard.tenants.len() > shard.tidy_at.max(FEW) {
            shard.tenants.retain(|_, tenant| {
                tenant.accounts.retain(|_, account| account.ends > now);
                !tenant.accounts.is_empty() || !tenant.holds.is_empty()
            });
            shard.tidy_at = shard.tenants.len() * 2;
        }
        let number = shard.last + 1;
        let tenant_ = shard.tenants.entry(tenant).or_default();
        tenant_.tidy(now);
        let taken = match tenant_.take(limits, &amounts, now) {
            Err(_) if tenant_.expire(now, monotonic) => tenant_.take(limits, &amounts, now),
            taken => taken,
        };
        let parts = match taken {
            Ok(parts) => parts,
            Err(refused) => {
                if tenant_.accounts.is_empty() && tenant_.holds.is_empty() {
                    shard.tenants.remove(&tenant);
                }
                return Err(refused);
            }
        };
        let expires = monotonic.saturating_add(ttl);
        tenant_.expires = if tenant_.holds.is_empty() { expires } else { tenant_.expires.min(expires) };
        tenant_.holds.insert(number, Held { parts, expires, expired: false });
        shard.last = number;
        Ok(HoldId { tenant, number })
    }

    /// [`Ledger::balance`], which never waits here.
    pub fn balance_now(&self, tenant: TenantId, limit: &Limit) -> Balance {
        let (now, monotonic) = (self.env.now(), self.env.monotonic());
        let mut shard = self.shard(tenant);
        let Some(tenant) = shard.as_deref_mut().and_then(|shard| shard.tenants.get_mut(&tenant)) else {
            return Balance::default();
        };
        tenant.expire(now, monotonic);
        let key = (limit.scope.clone(), limit.dimension, limit.window);
        let account = tenant.accounts.get(&key).filter(|account| account.ends > now);
        account.map_or_else(Balance::default, |account| Balance {
            spent: account.spent,
            reserved: account.reserved,
        })
    }
}

fn out_of_shards() -> agentprovision_core::Error {
    agentprovision_core::Error::internal("a part of the ledger is missing")
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn reserve(
        &self,
        ctx: &Context,
        limits: &[Limit],
        amounts: Amounts,
        ttl: Duration,
    ) -> Result<HoldId> {
        self.reserve_now(ctx.tenant(), limits, amounts, ttl)
    }

    fn settle(&self, id: HoldId, actual: Amounts) {
        let mut shard = self.shard(id.tenant);
        let Some(tenant) = shard.as_deref_mut().and_then(|shard| shard.tenants.get_mut(&id.tenant)) else {
            return;
        };
        let Some(held) = tenant.holds.remove(&id.number) else { return };
        for part in &held.parts {
            if !held.expired {
                tenant.free(part);
            }
            let used = actual.get(part.key.1);
            if let Some(account) = tenant.of(part) {
                account.spent = account.spent.saturating_add(used);
            }
        }
    }

    fn extend(&self, id: HoldId, ttl: Duration) {
        let expires = self.env.monotonic().saturating_add(ttl);
        let mut shard = self.shard(id.tenant);
        let Some(tenant) = shard.as_deref_mut().and_then(|shard| shard.tenants.get_mut(&id.tenant)) else {
            return;
        };
        let Some(mut held) = tenant.holds.remove(&id.number) else { return };
        if held.expired {
            let room = |part: &Part| {
                tenant.accounts.get(&part.key).is_none_or(|account| {
                    account.ends != part.ends || account.has_room(part.amount, part.most)
                })
            };
            if held.parts.iter().all(room) {
                held.expired = false;
                for part in &held.parts {
                    if let Some(account) = tenant.of(part) {
                        account.reserved = account.reserved.saturating_add(part.amount);
                    }
                }
            }
        }
        held.expires = expires;
        tenant.expires = tenant.expires.min(expires);
        tenant.holds.insert(id.number, held);
    }

    async fn balance(&self, ctx: &Context, limit: &Limit) -> Result<Balance> {
        Ok(self.balance_now(ctx.tenant(), limit))
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
