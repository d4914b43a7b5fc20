//! Whether a target may be asked: a circuit breaker over a sliding window, and a cooldown that the target asked for.
//!
//! ```text
//!             half of at least 10 in 30 s failed, or 5 in a row
//!    closed ────────────────────────────────────────────────────→ open, 5 s · 2ⁿ
//!       ↑                                                          │ time over
//!       └──────────────── 2 probes succeeded ──────────────── half open, 2 probes at a time
//!                                                                  │ a probe failed
//!                                                                  └────→ open, for longer
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::Env;

use super::sync::{Mutex, MutexGuard, PoisonError};

/// Parts the window is counted in.
const BUCKETS: u32 = 10;

/// When a breaker opens and closes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthOptions {
    /// How far back outcomes count; default 30 s.
    pub window: Duration,
    /// Fewer outcomes than this in the window say nothing; default 10.
    pub min_samples: u32,
    /// Failures of the window that open it, in per cent; default 50.
    pub failure_per_cent: u32,
    /// Failures in a row that open it; default 5.
    pub consecutive: u32,
    /// How long it is open the first time, and twice as long each time after that; default 5 s.
    pub open: Duration,
    /// The longest it is open; default 120 s.
    pub open_max: Duration,
    /// Probes at the same time while it is half open; default 2.
    pub probes: u32,
    /// Probes that must succeed to close it; default 2.
    pub successes: u32,
}

impl Default for HealthOptions {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            min_samples: 10,
            failure_per_cent: 50,
            consecutive: 5,
            open: Duration::from_secs(5),
            open_max: Duration::from_secs(120),
            probes: 2,
            successes: 2,
        }
    }
}

/// What a request says of its target's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The target did its work.
    Success,
    /// It did not.
    Failure,
    /// Nothing: the request was bad, was cancelled, or never reached it.
    Nothing,
}

/// Why a target may not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It asked for a pause.
    Cooling,
    /// It failed too often.
    Open,
    /// It is being tried out by others.
    Probing,
}

impl Reason {
    /// The name in decisions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cooling => "cooling",
            Self::Open => "open",
            Self::Probing => "probing",
        }
    }
}

/// A target that may not be asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Why.
    pub reason: Reason,
    /// When to ask again, on the clock's monotonic time.
    pub retry_at: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    number: u64,
    good: u32,
    bad: u32,
}

#[derive(Clone, Debug)]
struct Probe {
    number: u64,
    expires: Duration,
}

#[derive(Clone, Debug)]
enum State {
    Closed { window: VecDeque<Bucket>, in_a_row: u32 },
    Open { until: Duration },
    HalfOpen { probes: Vec<Probe>, succeeded: u32 },
}

impl State {
    fn closed() -> Self {
        Self::Closed { window: VecDeque::new(), in_a_row: 0 }
    }
}

#[derive(Clone, Debug)]
struct Inner {
    state: State,
    /// Counts changes of the state: what a request says about an older one is old news.
    generation: u64,
    /// How often it opened without closing in between.
    opened: u32,
    cooling: Duration,
    probe: u64,
}

/// The health of one target under one credential. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct Health {
    env: Env,
    options: Arc<HealthOptions>,
    inner: Arc<Mutex<Inner>>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("state", &self.lock().state).finish_non_exhaustive()
    }
}

impl Health {
    /// A healthy target.
    pub fn new(env: Env, options: Arc<HealthOptions>) -> Self {
        let inner =
            Inner { state: State::closed(), generation: 0, opened: 0, cooling: Duration::ZERO, probe: 0 };
        Self { env, options, inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the target could not be asked at the moment, if so; takes nothing.
    ///
    /// # Errors
    /// [`Blocked`].
    pub fn check(&self) -> Result<(), Blocked> {
        self.blocked(&self.lock(), self.env.monotonic())
    }

    fn blocked(&self, inner: &Inner, now: Duration) -> Result<(), Blocked> {
        if inner.cooling > now {
            return Err(Blocked { reason: Reason::Cooling, retry_at: inner.cooling });
        }
        match &inner.state {
            State::Open { until } if *until > now => Err(Blocked { reason: Reason::Open, retry_at: *until }),
            State::HalfOpen { probes, .. } => self.room(probes, now),
            State::Closed { .. } | State::Open { .. } => Ok(()),
        }
    }

    fn room(&self, probes: &[Probe], now: Duration) -> Result<(), Blocked> {
        let held = probes.iter().filter(|probe| probe.expires > now);
        if held.clone().count() < self.options.probes as usize {
            return Ok(());
        }
        let retry_at = held.map(|probe| probe.expires).min().unwrap_or(now);
        Err(Blocked { reason: Reason::Probing, retry_at })
    }

    /// Permission to ask the target once. While the breaker is half open the request is a probe, whose place is free
    /// again after `lease` whatever becomes of it.
    ///
    /// # Errors
    /// [`Blocked`].
    pub fn admit(&self, lease: Duration) -> Result<Permit, Blocked> {
        let now = self.env.monotonic();
        let mut guard = self.lock();
        let inner = &mut *guard;
        self.blocked(inner, now)?;
        if matches!(inner.state, State::Open { .. }) {
            inner.state = State::HalfOpen { probes: Vec::new(), succeeded: 0 };
            inner.generation += 1;
        }
        let mut number = None;
        if let State::HalfOpen { probes, .. } = &mut inner.state {
            inner.probe += 1;
            number = Some(inner.probe);
            probes.retain(|probe| probe.expires > now);
            probes.push(Probe { number: inner.probe, expires: now.saturating_add(lease) });
        }
        Ok(Permit { health: self.clone(), generation: inner.generation, probe: number, said: false })
    }

    /// Leaves the target alone for a while, as it asked; a shorter pause than one under way changes nothing.
    pub fn cool(&self, pause: Duration) {
        let until = self.env.monotonic().saturating_add(pause);
        let mut inner = self.lock();
        inner.cooling = inner.cooling.max(until);
    }

    fn record(&self, generation: u64, probe: Option<u64>, verdict: Verdict) {
        let now = self.env.monotonic();
        let mut guard = self.lock();
        let inner = &mut *guard;
        if generation != inner.generation {
            return;
        }
        let opens = match &mut inner.state {
            State::Closed { window, in_a_row } => {
                self.count(window, verdict, now);
                match verdict {
                    Verdict::Success => *in_a_row = 0,
                    Verdict::Failure => *in_a_row += 1,
                    Verdict::Nothing => {}
                }
                verdict == Verdict::Failure && (*in_a_row >= self.options.consecutive || self.bad(window))
            }
            State::Open { .. } => false,
            State::HalfOpen { probes, succeeded } => {
                probes.retain(|held| Some(held.number) != probe);
                *succeeded += u32::from(verdict == Verdict::Success);
                if *succeeded >= self.options.successes {
                    inner.state = State::closed();
                    inner.generation += 1;
                    inner.opened = 0;
                    return;
                }
                verdict == Verdict::Failure
            }
        };
        if opens {
            inner.state = State::Open { until: now.saturating_add(self.pause(inner.opened)) };
            inner.generation += 1;
            inner.opened += 1;
        }
    }

    fn number(&self, now: Duration) -> u64 {
        let width = (self.options.window / BUCKETS).max(Duration::from_millis(1));
        u64::try_from(now.as_millis() / width.as_millis()).unwrap_or(u64::MAX)
    }

    fn count(&self, window: &mut VecDeque<Bucket>, verdict: Verdict, now: Duration) {
        let number = self.number(now);
        if window.back().is_none_or(|last| last.number < number) {
            window.push_back(Bucket { number, ..Bucket::default() });
        }
        while window.front().is_some_and(|first| first.number + u64::from(BUCKETS) <= number) {
            window.pop_front();
        }
        if let Some(last) = window.back_mut() {
            match verdict {
                Verdict::Success => last.good += 1,
                Verdict::Failure => last.bad += 1,
                Verdict::Nothing => {}
            }
        }
    }

    fn bad(&self, window: &VecDeque<Bucket>) -> bool {
        let (good, bad) = window
            .iter()
            .fold((0, 0), |(good, bad), bucket| (good + u64::from(bucket.good), bad + u64::from(bucket.bad)));
        let all: u64 = good + bad;
        all >= u64::from(self.options.min_samples)
            && bad * 100 >= all * u64::from(self.options.failure_per_cent)
    }

    /// How long to be open: twice as long each time, and up to a fifth longer or shorter, so that those who wait do not
    /// come back together.
    fn pause(&self, opened: u32) -> Duration {
        let pause = self.options.open.saturating_mul(1 << opened.min(16)).min(self.options.open_max);
        let draw = u32::from(u16::from_le_bytes(self.env.random()));
        pause.saturating_mul(800 + draw % 401) / 1000
    }
}

/// Permission to ask a target once. Say what became of it; a permit that is dropped says nothing and frees its place.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    health: Health,
    generation: u64,
    probe: Option<u64>,
    said: bool,
}

impl Permit {
    /// Whether the target is being tried out.
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// Says what became of the request.
    pub fn record(mut self, verdict: Verdict) {
        self.said = true;
        self.health.record(self.generation, self.probe, verdict);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.said {
            self.health.record(self.generation, self.probe, Verdict::Nothing);
        }
    }
}

#[cfg(test)]
mod tests {
    use agentprovision_core::Timestamp;
    use agentprovision_core::clock::{ManualClock, SeededEntropy};

    use super::*;

    const LEASE: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    fn target(seed: u64) -> (Health, ManualClock) {
        let clock = ManualClock::new(Timestamp::default());
        let env = Env::new(Arc::new(clock.clone()), Arc::new(SeededEntropy::new(seed)));
        (Health::new(env, Arc::default()), clock)
    }

    fn fail(health: &Health, times: usize) {
        for _ in 0..times {
            health.admit(LEASE).unwrap().record(Verdict::Failure);
        }
    }

    fn retry_at(health: &Health) -> Duration {
        health.check().unwrap_err().retry_at
    }

    /// Fails until it is open and waits until it may be tried again.
    fn half_open(health: &Health, clock: &ManualClock) {
        fail(health, 5);
        let until = retry_at(health);
        clock.advance(until - health.env.monotonic());
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_a_success_between_them_does_not() {
        let (health, _) = target(1);
        fail(&health, 4);
        health.admit(LEASE).unwrap().record(Verdict::Success);
        fail(&health, 4);
        health.check().unwrap();
        fail(&health, 1);
        assert_eq!(health.admit(LEASE).unwrap_err().reason, Reason::Open);
    }

    #[test]
    fn half_of_at_least_ten_within_the_window_open_it() {
        let (health, clock) = target(1);
        let say = |verdict| health.admit(LEASE).unwrap().record(verdict);
        for _ in 0..4 {
            say(Verdict::Success);
            say(Verdict::Failure);
        }
        // Cancelled requests count as nothing.
        (0..50).for_each(|_| say(Verdict::Nothing));
        health.check().unwrap();
        // Outside the window they are forgotten.
        clock.advance(Duration::from_secs(31));
        say(Verdict::Success);
        say(Verdict::Failure);
        health.check().unwrap();
        for _ in 0..4 {
            say(Verdict::Success);
            health.check().unwrap();
            say(Verdict::Failure);
        }
        assert_eq!(health.check().unwrap_err().reason, Reason::Open);
    }

    #[test]
    fn it_is_open_for_longer_each_time_and_never_for_longer_than_the_limit() {
        let (health, clock) = target(7);
        let mut expected = 5.0_f64;
        for round in 0..8 {
            fail(&health, if round == 0 { 5 } else { 1 });
            let pause = retry_at(&health) - health.env.monotonic();
            let ratio = pause.as_secs_f64() / expected;
            assert!((0.8..=1.2).contains(&ratio), "round {round}: {pause:?} of {expected}");
            clock.advance(pause);
            expected = (expected * 2.0).min(120.0);
        }
    }

    #[test]
    fn two_probes_at_a_time_and_two_successes_close_it() {
        let (health, clock) = target(1);
        half_open(&health, &clock);
        let one = health.admit(LEASE).unwrap();
        let two = health.admit(LEASE).unwrap();
        assert!(one.is_probe() && two.is_probe());
        assert_eq!(health.admit(LEASE).unwrap_err().reason, Reason::Probing);
        one.record(Verdict::Success);
        // A cancelled probe frees its place and says nothing.
        drop(two);
        let three = health.admit(LEASE).unwrap();
        let four = health.admit(LEASE).unwrap();
        three.record(Verdict::Success);
        assert!(!health.admit(LEASE).unwrap().is_probe(), "closed");
        // What a request of the time before says is old news.
        four.record(Verdict::Failure);
        fail(&health, 4);
        health.check().unwrap();
    }

    #[test]
    fn a_failed_probe_opens_it_again() {
        let (health, clock) = target(1);
        half_open(&health, &clock);
        let late = health.admit(LEASE).unwrap();
        health.admit(LEASE).unwrap().record(Verdict::Failure);
        let until = retry_at(&health);
        late.record(Verdict::Success);
        assert_eq!(retry_at(&health), until, "the other probe was of the time before");
    }

    #[test]
    fn a_probe_that_is_never_heard_of_again_does_not_block_for_ever() {
        let (health, clock) = target(1);
        half_open(&health, &clock);
        let lost = [health.admit(LEASE).unwrap(), health.admit(LEASE).unwrap()];
        assert_eq!(retry_at(&health), health.env.monotonic() + LEASE);
        clock.advance(LEASE);
        health.admit(LEASE).unwrap().record(Verdict::Success);
        health.admit(LEASE).unwrap().record(Verdict::Success);
        assert!(!health.admit(LEASE).unwrap().is_probe());
        lost.into_iter().for_each(std::mem::forget);
    }

    #[test]
    fn a_shorter_pause_does_not_end_a_longer_one() {
        let (health, clock) = target(1);
        health.cool(Duration::from_secs(30));
        health.cool(SECOND);
        let blocked = health.admit(LEASE).unwrap_err();
        assert_eq!(blocked, Blocked { reason: Reason::Cooling, retry_at: Duration::from_secs(30) });
        clock.advance(Duration::from_secs(30));
        health.check().unwrap();
    }

    /// Whatever happens, no more probes than allowed are out, and whoever waits as long as it is told gets in.
    #[test]
    fn no_order_of_events_lets_a_herd_in_or_blocks_for_ever() {
        for seed in 0..200 {
            let (health, clock) = target(seed);
            let mut held: Vec<(Permit, Duration)> = Vec::new();
            for _ in 0..400 {
                let draw: [u8; 4] = health.env.random();
                let verdict = [Verdict::Success, Verdict::Failure, Verdict::Failure, Verdict::Nothing]
                    [usize::from(draw[1] % 4)];
                match draw[0] % 5 {
                    0 | 1 => held.extend(
                        health
                            .admit(SECOND * 10)
                            .ok()
                            .map(|permit| (permit, health.env.monotonic() + SECOND * 10)),
                    ),
                    2 if !held.is_empty() => {
                        held.swap_remove(usize::from(draw[2]) % held.len()).0.record(verdict);
                    }
                    3 => clock.advance(Duration::from_millis(u64::from(draw[3]) * 40)),
                    _ => health.cool(Duration::from_millis(u64::from(draw[3]))),
                }
                let (now, generation) = (health.env.monotonic(), health.lock().generation);
                let probing = held.iter().filter(|(permit, expires)| {
                    permit.is_probe() && permit.generation == generation && *expires > now
                });
                assert!(probing.count() <= 2, "seed {seed}");
            }
            let mut waits = 0;
            while let Err(blocked) = health.admit(LEASE).map(|permit| permit.record(Verdict::Success)) {
                assert!(blocked.retry_at > health.env.monotonic(), "seed {seed}: {blocked:?}");
                clock.advance(blocked.retry_at - health.env.monotonic());
                waits += 1;
                assert!(waits < 10, "seed {seed}: {blocked:?}");
            }
        }
    }
}
