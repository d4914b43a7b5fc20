//! What a process has leased of budgets that a store keeps, block by block.

use std::collections::HashMap;
use std::time::Duration;

use agentprovision_core::Timestamp;
use agentprovision_core::context::Context;
use agentprovision_core::id::ReservationId;
use agentprovision_core::usage::{BudgetKey, Demand, Dimension as StoreDimension};

use super::sync::{Mutex, MutexGuard, PoisonError};
use super::{Dimension, Limit, Scope, Window};

/// Budgets without room that are not worth tidying.
const FEW: usize = 64;

/// What names a lease of a tenant: a budget and its present window.
pub(super) type LeaseKey = (Scope, Dimension, Window);

pub(super) fn lease_key(limit: &Limit) -> LeaseKey {
    (limit.scope.clone(), limit.dimension, limit.window)
}

/// Whether the backend keeps it.
pub(super) fn is_kept(limit: &Limit) -> bool {
    limit.window != Window::Minute
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
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

/// What a tenant has leased.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// One asks the gate at a time: whoever waited finds the block that the one before got.
    pub(super) turn: futures_util::lock::Mutex<()>,
    state: Mutex<State>,
}

impl Leases {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    live: HashMap<LeaseKey, Lease>,
    /// Of windows that are over: what the gate is still to be told.
    over: Vec<(LeaseKey, Lease)>,
    /// Budgets that had no room.
    shut: HashMap<LeaseKey, Shut>,
    tidy_at: usize,
}

/// A budget that had no room.
#[derive(Clone, Copy, Debug)]
struct Shut {
    /// What was left of it.
    rest: u64,
    /// Its limit.
    most: u64,
    /// When its window ends.
    ends: Timestamp,
    /// On the monotonic clock.
    until: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct Lease {
    ctx: Context,
    /// As the gate knows it.
    pub(super) limit: Limit,
    pub(super) budget: BudgetKey,
    pub(super) ends: Timestamp,
    /// What the gate was told so far.
    pub(super) settled: u64,
    blocks: Vec<Block>,
}

/// Room in the gate under one id.
#[derive(Clone, Copy, Debug)]
struct Block {
    id: ReservationId,
    amount: u64,
    /// Whether the gate is known to hold it; otherwise it may.
    held: bool,
    /// What it came to, once it has ended: told once more if need be, it is still this much.
    came_to: Option<u64>,
}

impl Block {
    fn room(&self) -> u64 {
        match self.came_to {
            Some(used) => used,
            None if self.held => self.amount,
            None => 0,
        }
    }

    /// A block that is there to be told about and not to be used asks for no room.
    fn demand(&self, budget: &BudgetKey) -> Demand {
        match self.amount {
            0 => Vec::new(),
            amount => vec![(budget.clone(), signed(amount))],
        }
    }
}

/// A block that has ended, for the gate.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) ctx: Context,
    pub(super) at: LeaseKey,
    pub(super) id: ReservationId,
    pub(super) demand: Demand,
    pub(super) held: bool,
    pub(super) actual: Demand,
}

impl Lease {
    /// Of nothing so far, in the window that `now` is in.
    pub(super) fn new(ctx: &Context, limit: &Limit, now: Timestamp) -> Self {
        let period = limit.window.period(now, &limit.zone);
        Self {
            ctx: ctx.clone(),
            limit: limit.clone(),
            budget: budget_key(limit, period.start),
            ends: period.end,
            settled: 0,
            blocks: Vec::new(),
        }
    }

    /// What may be used of the budget here, since its window began.
    pub(super) fn leased(&self) -> u64 {
        self.blocks.iter().map(Block::room).fold(self.settled, u64::saturating_add)
    }

    /// What the gate holds for it.
    pub(super) fn held(&self) -> u64 {
        self.blocks.iter().filter(|block| block.held).map(|block| block.amount).sum()
    }

    /// A block of which nobody knows whether the gate holds it.
    pub(super) fn doubtful(&self) -> Option<(ReservationId, Demand)> {
        let block = self.blocks.iter().find(|block| !block.held && block.came_to.is_none())?;
        Some((block.id, block.demand(&self.budget)))
    }

    /// Ends the blocks, when so much was used in all of the window; `id` is for what was used beyond them.
    fn end(&mut self, used: u64, id: ReservationId) {
        let told =
            self.blocks.iter().filter_map(|block| block.came_to).fold(self.settled, u64::saturating_add);
        let mut rest = used.saturating_sub(told);
        for block in self.blocks.iter_mut().filter(|block| block.came_to.is_none()) {
            let part = block.room().min(rest);
            block.came_to = Some(part);
            rest -= part;
        }
        if rest > 0 {
            self.blocks.push(Block { id, amount: 0, held: false, came_to: Some(rest) });
        }
    }
}

impl State {
    /// The lease of a window that has not ended.
    pub(super) fn live(&self, at: &LeaseKey, now: Timestamp) -> Option<&Lease> {
        self.live.get(at).filter(|lease| lease.ends > now)
    }

    /// Puts the leases of windows that have ended aside. They are told in full: nobody can use what is left of them.
    pub(super) fn end_windows(&mut self, now: Timestamp) {
        for (at, mut lease) in self.live.extract_if(|_, lease| lease.ends <= now) {
            for block in lease.blocks.iter_mut().filter(|block| block.came_to.is_none()) {
                block.came_to = Some(block.room());
            }
            if !lease.blocks.is_empty() {
                self.over.push((at, lease));
            }
        }
    }

    /// Ends every block of the live leases; `used` says what was used in the window of a limit, and gives a new id.
    pub(super) fn end_blocks(&mut self, used: impl Fn(&Limit) -> (u64, ReservationId)) {
        for lease in self.live.values_mut() {
            let (used, id) = used(&lease.limit);
            lease.end(used, id);
        }
    }

    /// Blocks that have ended, at most so many; those of windows that are over come first.
    pub(super) fn due(&self, most: usize) -> Vec<Due> {
        let over = self.over.iter().map(|(at, lease)| (at, lease));
        let ended = over.chain(&self.live).flat_map(|(at, lease)| {
            lease.blocks.iter().filter_map(move |block| {
                let actual = vec![(lease.budget.clone(), signed(block.came_to?))];
                let demand = block.demand(&lease.budget);
                let (ctx, at) = (lease.ctx.clone(), at.clone());
                Some(Due { ctx, at, id: block.id, demand, held: block.held, actual })
            })
        });
        ended.take(most).collect()
    }

    /// The lease with this block.
    fn with(&mut self, at: &LeaseKey, id: ReservationId) -> Option<&mut Lease> {
        let has = |lease: &Lease| lease.blocks.iter().any(|block| block.id == id);
        let live = self.live.get_mut(at).filter(|lease| has(lease));
        live.or_else(|| self.over.iter_mut().map(|(_, lease)| lease).find(|lease| has(lease)))
    }

    /// A new block, which the gate is not known to hold.
    pub(super) fn begin(
        &mut self,
        ctx: &Context,
        limit: &Limit,
        now: Timestamp,
        id: ReservationId,
        amount: u64,
    ) -> (ReservationId, Demand) {
        let lease = self.live.entry(lease_key(limit)).or_insert_with(|| Lease::new(ctx, limit, now));
        let block = Block { id, amount, held: false, came_to: None };
        lease.blocks.push(block);
        (id, block.demand(&lease.budget))
    }

    /// The gate holds a block.
    pub(super) fn held(&mut self, at: &LeaseKey, id: ReservationId) {
        let block = self.with(at, id).and_then(|lease| lease.blocks.iter_mut().find(|block| block.id == id));
        if let Some(block) = block {
            block.held = true;
        }
        self.shut.remove(at);
    }

    /// The gate does not hold a block, nor will it.
    pub(super) fn forget(&mut self, at: &LeaseKey, id: ReservationId) {
        self.remove(at, id, |_, _| {});
    }

    /// The gate was told what a block came to.
    pub(super) fn told(&mut self, at: &LeaseKey, id: ReservationId) {
        self.remove(at, id, |lease, block| lease.settled = lease.settled.saturating_add(block.room()));
        self.shut.remove(at);
    }

    /// Takes a block out of its lease, and forgets a lease that says nothing any more.
    fn remove(&mut self, at: &LeaseKey, id: ReservationId, then: impl FnOnce(&mut Lease, Block)) {
        let Some(lease) = self.with(at, id) else { return };
        if let Some(place) = lease.blocks.iter().position(|block| block.id == id) {
            let block = lease.blocks.remove(place);
            then(lease, block);
        }
        self.over.retain(|(_, lease)| !lease.blocks.is_empty());
        if self.live.get(at).is_some_and(|lease| lease.blocks.is_empty() && lease.settled == 0) {
            self.live.remove(at);
        }
    }

    /// The gate knows the limit of a budget.
    pub(super) fn defined(&mut self, at: &LeaseKey, limit: &Limit) {
        if let Some(lease) = self.live.get_mut(at) {
            lease.limit = limit.clone();
        }
    }

    /// A budget had no more than `rest` left.
    pub(super) fn shut(&mut self, limit: &Limit, rest: u64, ends: Timestamp, until: Duration, now: Duration) {
        if self.shut.len() > self.tidy_at.max(FEW) {
            self.shut.retain(|_, shut| shut.until > now);
            self.tidy_at = self.shut.len() * 2;
        }
        self.shut.insert(lease_key(limit), Shut { rest, most: limit.most, ends, until });
    }

    /// Whether a budget is known not to have `missing` left.
    pub(super) fn is_shut(&self, limit: &Limit, missing: u64, now: Timestamp, monotonic: Duration) -> bool {
        self.shut.get(&lease_key(limit)).is_some_and(|shut| {
            missing > shut.rest && shut.most == limit.most && shut.ends > now && shut.until > monotonic
        })
    }
}
