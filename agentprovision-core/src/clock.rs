//! Time and randomness are injected: [`Clock`], [`Entropy`] and [`Env`], the bundle services carry.
//!
//! This is the only file of the workspace that touches `tokio::time`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::id::Id;

/// A point in time in whole microseconds since 1970-01-01T00:00:00Z. Shown and serialised as RFC 3339 with six
/// fractional digits, so that text sorts as time does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// This point in time plus `duration`, saturating.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The time from `earlier` to this one; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time:.6}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = Error;

    /// Reads RFC 3339; digits beyond microseconds are cut.
    fn from_str(text: &str) -> Result<Self> {
        text.parse::<jiff::Timestamp>().map(|time| Self(time.as_microsecond())).map_err(|error| {
            Error::invalid(format!("`{}` is not an RFC 3339 time", crate::money::clip(text)))
                .with_source(error)
        })
    }
}

crate::schema::text_schema!(Timestamp, "Timestamp", "date-time", "An RFC 3339 time with microseconds.");

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where time comes from.
#[async_trait]
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Wall time, for what is stored.
    fn now(&self) -> Timestamp;
    /// Time since an arbitrary start that never goes back, for durations and waiting.
    fn monotonic(&self) -> Duration;
    /// Returns when [`Clock::monotonic`] has reached `at`.
    async fn sleep_until(&self, at: Duration);
}

/// Where randomness comes from.
pub trait Entropy: fmt::Debug + Send + Sync + 'static {
    /// Fills `bytes` with random bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's clock.
#[derive(Debug, Clone)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    async fn sleep_until(&self, at: Duration) {
        tokio::time::sleep(at.saturating_sub(self.monotonic())).await;
    }
}

/// The operating system's random numbers.
#[derive(Debug, Clone, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        // Without a random source nothing here is safe; the operating systems we run on do not fail after start.
        if let Err(error) = getrandom::fill(bytes) {
            #[expect(clippy::panic, reason = "an id or a secret without randomness must never be made")]
            {
                panic!("the operating system gave no random bytes: {error}");
            }
        }
    }
}

/// A clock that moves only when told to, for tests.
///
/// A sleeper wakes when [`ManualClock::advance`] passes its time. Wall and monotonic time move together.
#[derive(Debug, Clone)]
pub struct ManualClock {
    start: Timestamp,
    elapsed: Arc<tokio::sync::watch::Sender<Duration>>,
}

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self { start, elapsed: Arc::new(tokio::sync::watch::Sender::new(Duration::ZERO)) }
    }

    /// Moves the clock on and wakes whoever waited for a time up to then.
    pub fn advance(&self, by: Duration) {
        self.elapsed.send_modify(|elapsed| *elapsed += by);
    }

    /// Number of sleepers and other receivers at the moment, so that a test can wait until somebody waits.
    pub fn waiters(&self) -> usize {
        self.elapsed.receiver_count()
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.start.after(*self.elapsed.borrow())
    }

    fn monotonic(&self) -> Duration {
        *self.elapsed.borrow()
    }

    async fn sleep_until(&self, at: Duration) {
        let mut elapsed = self.elapsed.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = elapsed.wait_for(|now| *now >= at).await;
    }
}

/// Repeatable pseudo-random bytes (SplitMix64), for tests; not for secrets.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<u64>);

impl SeededEntropy {
    /// A stream of bytes that depends on `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = *state;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            for (byte, random) in chunk.iter_mut().zip((word ^ (word >> 31)).to_le_bytes()) {
                *byte = random;
            }
        }
    }
}

/// Clock, entropy and the id generator that depends on both; cheap to clone, carried by every service.
#[derive(Clone)]
pub struct Env(Arc<EnvInner>);

struct EnvInner {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    last: Mutex<(u64, u16)>,
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env").field("clock", &self.0.clock).field("entropy", &self.0.entropy).finish()
    }
}

impl Default for Env {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock::default()), Arc::new(OsEntropy))
    }
}

impl Env {
    /// A bundle of the given parts.
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self(Arc::new(EnvInner { clock, entropy, last: Mutex::new((0, 0)) }))
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// Wall time.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Monotonic time.
    pub fn monotonic(&self) -> Duration {
        self.0.clock.monotonic()
    }

    /// Returns after `duration`.
    pub async fn sleep(&self, duration: Duration) {
        self.0.clock.sleep_until(self.monotonic().saturating_add(duration)).await;
    }

    /// Waits for `future`, at most for `limit`; `None` when the time is over first.
    pub async fn timeout<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = self.sleep(limit) => None,
        }
    }

    /// Random bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.entropy.fill(&mut bytes);
        bytes
    }

    /// A new id. Ids made by one `Env` sort in the order they were made: UUIDv7 (RFC 9562, section 5.7) with a 12-bit
    /// counter in `rand_a` (section 6.2, method 1); a clock that goes back does not move ids back.
    pub fn id<I: Id>(&self) -> I {
        let now = u64::try_from(self.now().micros() / 1000).unwrap_or(0);
        let (millis, counter) = {
            let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = match *last {
                (millis, _) if now > millis => (now, 0),
                (millis, counter) if counter < 0x0fff => (millis, counter + 1),
                (millis, _) => (millis + 1, 0),
            };
            *last
        };
        let random = u64::from_le_bytes(self.random());
        let high = (millis << 16) | 0x7000 | u64::from(counter);
        let low = (random >> 2) | 0x8000_0000_0000_0000;
        I::from_uuid_unchecked(uuid::Uuid::from_u64_pair(high, low))
    }
}

/// Waits for a time that may move on while it is waited for, such as the longest pause between two pieces of a stream.
///
/// A timer that was set is left as it is when the time moves on, and set anew only when it goes off: many waits that end
/// in time cost one timer, and not one each. So a timer may stand while nobody waits.
pub struct Alarm {
    env: Env,
    /// When it goes off, on the monotonic clock.
    timer: Option<(Duration, BoxFuture<'static, ()>)>,
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alarm").field("timer", &self.timer.as_ref().map(|(at, _)| at)).finish_non_exhaustive()
    }
}

impl Alarm {
    /// An alarm by this clock.
    pub fn new(env: Env) -> Self {
        Self { env, timer: None }
    }

    /// Ready once [`Env::monotonic`] has reached `at`; otherwise the task is woken then, or earlier for nothing.
    pub fn poll(&mut self, task: &mut Context<'_>, at: Duration) -> Poll<()> {
        loop {
            // A timer for later than that would be too late.
            let (_, timer) = match &mut self.timer {
                Some(timer) if timer.0 <= at => timer,
                _ => {
                    let env = self.env.clone();
                    let sleep = async move { env.0.clock.sleep_until(at).await };
                    self.timer.insert((at, Box::pin(sleep)))
                }
            };
            if timer.as_mut().poll(task).is_pending() {
                return Poll::Pending;
            }
            self.timer = None;
            if self.env.monotonic() >= at {
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RunId;

    #[test]
    fn ids_of_one_env_sort_in_the_order_they_were_made() {
        let env = Env::new(
            Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000))),
            Arc::new(SeededEntropy::new(1)),
        );
        let ids: Vec<RunId> = (0..10_000).map(|_| env.id()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        assert!(ids.iter().all(|id| id.uuid().get_version_num() == 7));
    }

    #[test]
    fn times_print_with_six_digits_and_read_back() {
        let time = Timestamp::from_micros(1_700_000_000_000_001);
        assert_eq!(time.to_string(), "2023-11-14T22:13:20.000001Z");
        assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
        assert_eq!(Timestamp::from_micros(0).to_string(), "1970-01-01T00:00:00.000000Z");
    }

    #[tokio::test]
    async fn an_alarm_goes_off_at_the_last_time_it_was_set_to() {
        let clock = ManualClock::new(Timestamp::default());
        let env = Env::new(Arc::new(clock.clone()), Arc::new(OsEntropy));
        let mut alarm = Alarm::new(env);
        let mut at = async |seconds| {
            std::future::poll_fn(|task| Poll::Ready(alarm.poll(task, Duration::from_secs(seconds)))).await
        };
        assert!(at(10).await.is_pending());
        clock.advance(Duration::from_secs(9));
        assert!(at(19).await.is_pending());
        assert_eq!(clock.waiters(), 1, "the timer is left as it is");
        // Past the first time, and before the second.
        clock.advance(Duration::from_secs(9));
        assert!(at(19).await.is_pending());
        clock.advance(Duration::from_secs(1));
        assert!(at(19).await.is_ready());
        // Earlier than before.
        assert!(at(60).await.is_pending());
        assert!(at(30).await.is_pending());
        clock.advance(Duration::from_secs(11));
        assert!(at(30).await.is_ready());
    }

    #[tokio::test]
    async fn a_sleeper_wakes_when_the_manual_clock_passes_its_time() {
        let clock = ManualClock::new(Timestamp::default());
        let env = Env::new(Arc::new(clock.clone()), Arc::new(OsEntropy));
        let sleeper = tokio::spawn(async move { env.sleep(Duration::from_secs(60)).await });
        while clock.waiters() == 0 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(59));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        sleeper.await.unwrap();
    }
}
