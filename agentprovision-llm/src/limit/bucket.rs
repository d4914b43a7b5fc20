//! How fast work may come: the generic cell rate algorithm, in its form of a leaky bucket as a meter, with amounts that
//! are corrected when they are known.
//!
//! A bucket holds `burst` and runs out at `per_minute`. It is counted in exact integers: one unit of work is 60 · 10⁹
//! parts, of which `per_minute` run out each nanosecond. At any moment at most `burst` fits, and over any time `t` at
//! most `burst + per_minute · t`. What a limit that strictly begins anew each minute allows is a budget's matter.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::time::Duration;

use agentprovision_core::Env;
use agentprovision_core::id::TenantId;

use super::sync::{Mutex, MutexGuard, PoisonError};
use super::{Amounts, Dimension, Scope};

/// Nanoseconds per minute, and parts per unit of work.
const UNIT: u128 = 60_000_000_000;

/// Parts that are locked apart. All buckets of a tenant are in one part, so that taking from several is one step.
const SHARDS: usize = 32;

/// Buckets of a part that are not worth tidying.
const FEW: usize = 256;

type Key = (TenantId, Scope, Dimension);

/// How fast work of one scope may come in one dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Whose work.
    pub scope: Scope,
    /// What is counted.
    pub dimension: Dimension,
    /// How much per minute, in the unit of the dimension.
    pub per_minute: u64,
    /// How much at once.
    pub burst: u64,
}

/// Work that came too fast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The limit that would hold it up the longest.
    pub rate: Rate,
    /// When there will be room if nobody else takes it, to the nanosecond; `None` when it never fits.
    pub wait: Option<Duration>,
}

/// The buckets of one process. What a lost worker took runs out like everything else.
#[derive(Debug)]
pub struct Buckets {
    env: Env,
    hasher: std::hash::RandomState,
    shards: Vec<Mutex<Shard>>,
}

#[derive(Clone, Debug, Default)]
struct Shard {
    buckets: HashMap<Key, Bucket>,
    /// The number of the last share: none comes twice, also when its bucket was forgotten.
    last: u64,
    tidy_at: usize,
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    /// What is in it, the oldest first; it runs out from there.
    shares: VecDeque<Share>,
    /// The sum of the shares, in parts.
    level: u128,
    /// When that was so, in nanoseconds of the monotonic clock.
    at: u128,
    /// Parts that run out per nanosecond.
    rate: u64,
}

/// What one piece of work has in a bucket.
#[derive(Clone, Copy, Debug)]
struct Share {
    /// Those of a bucket have growing numbers.
    number: u64,
    /// Nobody corrects it: several in a row are one.
    fixed: bool,
    /// Of what was taken, what has not run out and was not given back.
    left: u128,
}

/// Work that was let through. Settle it when its true amounts are known; without that, the estimate stays.
#[derive(Clone, Debug)]
pub struct RateHold {
    tenant: TenantId,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
struct Part {
    key: Key,
    share: Share,
}

impl Bucket {
    fn run_out(&mut self, now: u128, rate: u64) {
        let elapsed = now.saturating_sub(self.at);
        let mut sinks = elapsed.saturating_mul(u128::from(rate));
        self.level = self.level.saturating_sub(sinks);
        while let Some(first) = self.shares.front_mut() {
            if first.left > sinks {
                first.left -= sinks;
                break;
            }
            sinks -= first.left;
            self.shares.pop_front();
        }
        self.at = self.at.max(now);
        self.rate = rate;
    }

    fn is_empty(&self, now: u128) -> bool {
        now.saturating_sub(self.at).saturating_mul(u128::from(self.rate)) >= self.level
    }

    fn add(&mut self, share: Share) {
        self.level += share.left;
        match self.shares.back_mut() {
            Some(last) if last.fixed && share.fixed => last.left += share.left,
            _ => self.shares.push_back(share),
        }
    }

    /// Takes the last share away again, in the step that added it.
    fn undo(&mut self, share: Share) {
        self.level = self.level.saturating_sub(share.left);
        match self.shares.back_mut() {
            Some(last) if last.number == share.number => drop(self.shares.pop_back()),
            Some(merged) => merged.left = merged.left.saturating_sub(share.left),
            None => {}
        }
    }

    /// Corrects a share to what was used of it; `number` is for what was used beyond it.
    fn correct(&mut self, share: Share, used: u128, number: u64) {
        if used >= share.left {
            self.add(Share { number, fixed: true, left: used - share.left });
            return;
        }
        let place = self.shares.binary_search_by_key(&share.number, |held| held.number);
        if let Some(held) = place.ok().and_then(|place| self.shares.get_mut(place)) {
            let back = (share.left - used).min(held.left);
            held.left -= back;
            self.level -= back;
        }
    }
}

impl Buckets {
    /// All empty.
    pub fn new(env: Env) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect();
        Self { env, hasher: std::hash::RandomState::new(), shards }
    }

    fn shard(&self, tenant: TenantId) -> Option<MutexGuard<'_, Shard>> {
        let place = usize::try_from(self.hasher.hash_one(tenant) % SHARDS as u64).unwrap_or(0);
        self.shards.get(place).map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes `amounts` from all of these buckets of a tenant, or from none.
    ///
    /// # Errors
    /// [`Refused`]: by the limit the work never fits into, or else by the one that takes longest to have room.
    pub fn take(&self, tenant: TenantId, rates: &[Rate], amounts: &Amounts) -> Result<RateHold, Refused> {
        let now = self.env.monotonic().as_nanos();
        match self.shard(tenant).as_deref_mut() {
            Some(shard) => shard.take(now, tenant, rates, amounts),
            None => Ok(RateHold { tenant, parts: Vec::new() }),
        }
    }

    /// Whether there is room at the moment; takes nothing.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn check(&self, tenant: TenantId, rates: &[Rate], amounts: &Amounts) -> Result<(), Refused> {
        let now = self.env.monotonic().as_nanos();
        let mut shard = self.shard(tenant);
        let Some(shard) = shard.as_deref_mut() else { return Ok(()) };
        let held = shard.take(now, tenant, rates, amounts)?;
        shard.undo(&held.parts);
        Ok(())
    }

    /// Corrects what was taken to what was used; a request stays a request. Of what was taken too much, only what has not
    /// run out since is given back: the rest was never in anybody's way any more, and giving it back would let others
    /// through twice.
    pub fn settle(&self, hold: RateHold, actual: &Amounts) {
        let now = self.env.monotonic().as_nanos();
        let mut shard = self.shard(hold.tenant);
        let Some(shard) = shard.as_deref_mut() else { return };
        for part in &hold.parts {
            let Some(bucket) = shard.buckets.get_mut(&part.key) else { continue };
            bucket.run_out(now, bucket.rate);
            shard.last += 1;
            bucket.correct(part.share, u128::from(actual.get(part.key.2)) * UNIT, shard.last);
        }
    }
}

impl Shard {
    fn take(
        &mut self,
        now: u128,
        tenant: TenantId,
        rates: &[Rate],
        amounts: &Amounts,
    ) -> Result<RateHold, Refused> {
        self.tidy(now);
        let mut hold = RateHold { tenant, parts: Vec::with_capacity(rates.len()) };
        let mut refused: Option<(&Rate, Option<u128>)> = None;
        for rate in rates {
            let taken = u128::from(amounts.get(rate.dimension)) * UNIT;
            let key = (tenant, rate.scope.clone(), rate.dimension);
            let bucket =
                self.buckets.entry(key.clone()).or_insert_with(|| Bucket { at: now, ..Bucket::default() });
            bucket.run_out(now, rate.per_minute);
            let room = u128::from(rate.burst) * UNIT;
            let wait = if taken > room || rate.per_minute == 0 {
                None
            } else {
                Some((bucket.level + taken).saturating_sub(room).div_ceil(u128::from(rate.per_minute).max(1)))
            };
            let fits = taken == 0 || wait == Some(0);
            if !fits {
                let longest = refused.is_none_or(|(_, longest)| match (wait, longest) {
                    (_, None) => false,
                    (None, _) => true,
                    (Some(wait), Some(longest)) => wait > longest,
                });
                if longest {
                    refused = Some((rate, wait));
                }
                continue;
            }
            self.last += 1;
            let fixed = rate.dimension == Dimension::Requests;
            let share = Share { number: self.last, fixed, left: taken };
            bucket.add(share);
            hold.parts.push(Part { key, share });
        }
        match refused {
            None => Ok(hold),
            Some((rate, wait)) => {
                self.undo(&hold.parts);
                let wait = wait.map(|wait| Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)));
                Err(Refused { rate: rate.clone(), wait })
            }
        }
    }

    /// Takes shares away again in the step that added them, the last one first.
    fn undo(&mut self, parts: &[Part]) {
        for part in parts.iter().rev() {
            if let Some(bucket) = self.buckets.get_mut(&part.key) {
                bucket.undo(part.share);
            }
        }
    }

    /// Forgets empty buckets each time their number has doubled; an empty one is as good as none.
    fn tidy(&mut self, now: u128) {
        if self.buckets.len() > self.tidy_at.max(FEW) {
            self.buckets.retain(|_, bucket| !bucket.is_empty(now));
            self.tidy_at = self.buckets.len() * 2;
        }
    }
}
