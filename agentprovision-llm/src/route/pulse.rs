//! How fast and how reliable a target has been.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Weight of the newest of the moving averages, in 1/16.
const NEWEST: f64 = 3.0 / 16.0;
/// Fewer first pieces than this say nothing about how slow the slowest are.
const SAMPLES: u32 = 20;
/// Counted in steps of a quarter of a power of two, from 1 ms on.
const STEPS: usize = 80;
/// Where the counts are halved, so that old times are forgotten.
const FULL: u32 = 512;
/// What a failure adds to the expected time: about what the retry elsewhere costs.
const PENALTY_MS: f64 = 2_000.0;

#[derive(Debug)]
struct Inner {
    /// Milliseconds to the first piece of a streamed answer, or to the whole of another one.
    first: Option<f64>,
    /// Milliseconds per token of output after that.
    token: Option<f64>,
    /// Share of attempts that failed, 0 to 1.
    failing: f64,
    counts: [u32; STEPS],
    total: u32,
    /// Attempts under way.
    pending: u32,
}

/// Moving averages of one target. What it says is a guess and never decides about money.
#[derive(Debug)]
pub(crate) struct Pulse(Mutex<Inner>);

impl Default for Pulse {
    fn default() -> Self {
        let counts = [0; STEPS];
        Self(Mutex::new(Inner { first: None, token: None, failing: 0.0, counts, total: 0, pending: 0 }))
    }
}

fn average(old: Option<f64>, new: f64) -> f64 {
    old.map_or(new, |old| old + (new - old) * NEWEST)
}

fn step(millis: f64) -> usize {
    let step = (millis.max(1.0).log2() * 4.0) as usize;
    step.min(STEPS - 1)
}

impl Pulse {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt begins.
    pub(crate) fn begin(&self) {
        self.lock().pending += 1;
    }

    /// An attempt is over, however it ended.
    pub(crate) fn end(&self) {
        let mut inner = self.lock();
        inner.pending = inner.pending.saturating_sub(1);
    }

    /// The first piece came after `first`.
    pub(crate) fn first(&self, first: Duration) {
        let millis = first.as_secs_f64() * 1e3;
        let mut inner = self.lock();
        inner.first = Some(average(inner.first, millis));
        if let Some(count) = inner.counts.get_mut(step(millis)) {
            *count += 1;
        }
        inner.total += 1;
        if inner.total >= FULL {
            inner.counts.iter_mut().for_each(|count| *count /= 2);
            inner.total = inner.counts.iter().sum();
        }
    }

    /// `tokens` of output took `rest` after the first piece.
    pub(crate) fn answered(&self, tokens: u64, rest: Duration) {
        let mut inner = self.lock();
        inner.failing = average(Some(inner.failing), 0.0);
        if tokens > 0 && !rest.is_zero() {
            inner.token = Some(average(inner.token, rest.as_secs_f64() * 1e3 / tokens as f64));
        }
    }

    /// It failed in a way that speaks against the target.
    pub(crate) fn failed(&self) {
        let mut inner = self.lock();
        inner.failing = average(Some(inner.failing), 1.0);
    }

    /// The share of attempts that failed lately, 0 to 1.
    pub(crate) fn failing(&self) -> f64 {
        self.lock().failing
    }

    /// The expected time of an answer of `tokens`, in milliseconds, with a penalty for failures, which are fast, and for
    /// what is under way; `None` while nothing is known.
    pub(crate) fn expected(&self, tokens: u64) -> Option<f64> {
        let inner = self.lock();
        let time = inner.first? + inner.token.unwrap_or(0.0) * tokens as f64;
        Some(time * (1.0 + f64::from(inner.pending) * 0.1) + inner.failing * PENALTY_MS)
    }

    /// The most tokens of output that are likely in this time, twice what is usual; `None` while nothing is known.
    pub(crate) fn most(&self, time: Duration) -> Option<u64> {
        let token = self.lock().token.filter(|token| *token > 0.0)?;
        Some((2.0 * time.as_secs_f64() * 1e3 / token).ceil() as u64)
    }

    /// The time after which 19 of 20 first pieces had come; `None` while there were too few.
    pub(crate) fn slow(&self) -> Option<Duration> {
        let inner = self.lock();
        if inner.total < SAMPLES {
            return None;
        }
        let mut left = inner.total.div_ceil(20);
        let at = inner.counts.iter().rposition(|count| {
            left = left.saturating_sub(*count);
            left == 0
        })?;
        // The upper end of the step.
        Some(Duration::from_secs_f64(((at + 1) as f64 / 4.0).exp2() / 1e3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_do_not_look_fast() {
        let (well, failing) = (Pulse::default(), Pulse::default());
        assert_eq!(well.expected(10), None, "nothing is known");
        for _ in 0..20 {
            well.first(Duration::from_millis(300));
            well.answered(10, Duration::from_millis(100));
            failing.first(Duration::from_millis(5));
            failing.failed();
        }
        assert!(failing.expected(10) > well.expected(10));
        assert!(failing.failing() > 0.9 && well.failing() == 0.0);
    }

    #[test]
    fn what_is_under_way_makes_it_slower() {
        let pulse = Pulse::default();
        pulse.first(Duration::from_millis(100));
        let idle = pulse.expected(0);
        pulse.begin();
        assert!(pulse.expected(0) > idle);
        pulse.end();
        pulse.end();
        assert_eq!(pulse.expected(0), idle);
    }

    #[test]
    fn the_slowest_twentieth_is_known_after_twenty() {
        let pulse = Pulse::default();
        for n in 0..19 {
            pulse.first(Duration::from_millis(100 + n));
            assert_eq!(pulse.slow(), None);
        }
        pulse.first(Duration::from_millis(100));
        let slow = pulse.slow().unwrap();
        assert!((Duration::from_millis(119)..Duration::from_millis(160)).contains(&slow), "{slow:?}");
        (0..60).for_each(|_| pulse.first(Duration::from_secs(4)));
        assert!(pulse.slow().unwrap() >= Duration::from_secs(4));
        // Old times are forgotten.
        (0..20_000).for_each(|_| pulse.first(Duration::from_millis(100)));
        assert!(pulse.slow().unwrap() < Duration::from_millis(160));
    }
}
