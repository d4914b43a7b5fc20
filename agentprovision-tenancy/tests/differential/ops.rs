//! Operations as data, and the generator of them.

use crate::methods::{METHODS, Method};

/// One operation: a method, and where its arguments are drawn from.
#[derive(Clone, Copy)]
pub(crate) struct Op {
    pub(crate) method: Method,
    pub(crate) seed: u64,
    /// Without effects.
    pub(crate) bare: bool,
}

/// What a case begins with, so that there is something to work on.
const FIRST: [(Method, usize); 8] = [
    (Method::TenantsCreate, 6),
    (Method::UsersInsert, 8),
    (Method::KeysInsert, 8),
    (Method::AgentsInsert, 8),
    (Method::SessionsOpen, 8),
    (Method::RunsCreate, 8),
    (Method::QuotaDefine, 4),
    (Method::EndpointsInsert, 6),
];

/// The operations of a case.
pub(crate) fn case(rng: &mut Rng, length: usize) -> Vec<Op> {
    let first = FIRST.iter().flat_map(|(method, count)| std::iter::repeat_n(*method, *count));
    let mut ops: Vec<Op> = first.map(|method| Op { method, seed: rng.next(), bare: false }).collect();
    ops.resize_with(length.max(ops.len()), || Op::random(rng));
    ops
}

impl Op {
    fn random(rng: &mut Rng) -> Self {
        let total: u64 = METHODS.iter().map(|(_, _, weight)| weight).sum();
        let mut left = rng.below(total);
        for (method, _, weight) in METHODS {
            if left < *weight {
                return Self { method: *method, seed: rng.next(), bare: false };
            }
            left -= weight;
        }
        unreachable!("the weights add up")
    }
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let effects = if self.bare { " without effects" } else { "" };
        write!(f, "{}({:#x}{effects})", self.method.name(), self.seed)
    }
}

/// Repeatable pseudo-random numbers (SplitMix64).
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }

    /// One of these, or nothing, as often.
    pub(crate) fn maybe<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        if self.one_in(2) { None } else { Some(self.pick(from)) }
    }

    /// Up to `most` of what `make` makes, mostly none or one.
    pub(crate) fn some<T>(&mut self, most: u64, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = if self.one_in(2) { 0 } else { self.below(most + 1) };
        (0..count).map(|_| make(self)).collect()
    }
}
