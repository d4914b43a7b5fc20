//! Trying again what can be tried again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentprovision_core::id::IntegrationId;
use agentprovision_core::{Env, Error, ErrorKind, Result, Retry};
use async_trait::async_trait;
use moka::sync::Cache;
use tower::Layer;

use crate::call::{Answer, Call, Invoke, not_done};

/// How often and when calls are tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryOptions {
    /// Attempts of one call, at most; default 4.
    pub attempts: u32,
    /// The longest the first pause is, where the vendor does not say how long; it doubles; default 500 ms.
    pub pause: Duration,
    /// The longest pause of that kind; default 20 s.
    pub longest_pause: Duration,
    /// Repeats per hundred calls of an integration that succeed; default 10. Ten can be made before the first one succeeds.
    pub budget: u32,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            attempts: 4,
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(20),
            budget: 10,
        }
    }
}

/// What a repeat costs of what is saved up.
const REPEAT: u32 = 100;
/// The most that is saved up.
const SAVED: u32 = 10 * REPEAT;

/// Tries calls again that failed for now: reads, what is harmless to repeat, and what the vendor did not take because there was
/// too much. It waits as long as the vendor says, else a random time that grows. It never waits beyond the call's deadline: then
/// the error comes back at once, and says when.
#[derive(Clone, Debug)]
pub struct RetryLayer {
    options: RetryOptions,
    budgets: Cache<IntegrationId, Arc<Mutex<u32>>>,
}

impl RetryLayer {
    /// Tries again as these options say.
    pub fn new(options: RetryOptions) -> Self {
        Self { options, budgets: Cache::new(10_000) }
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self::new(RetryOptions::default())
    }
}

#[derive(Debug)]
struct Retrying {
    layer: RetryLayer,
    inner: Arc<dyn Invoke>,
}

impl Layer<Arc<dyn Invoke>> for RetryLayer {
    type Service = Arc<dyn Invoke>;

    fn layer(&self, inner: Arc<dyn Invoke>) -> Self::Service {
        Arc::new(Retrying { layer: self.clone(), inner })
    }
}

impl RetryLayer {
    fn budget(&self, call: &Call) -> Arc<Mutex<u32>> {
        self.budgets.get_with(call.integration.id, || Arc::new(Mutex::new(SAVED)))
    }

    fn earn(&self, call: &Call) {
        let budget = self.budget(call);
        let mut saved = budget.lock().unwrap_or_else(PoisonError::into_inner);
        *saved = saved.saturating_add(self.options.budget).min(SAVED);
    }

    fn spend(&self, call: &Call) -> bool {
        let budget = self.budget(call);
        let mut saved = budget.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = saved.checked_sub(REPEAT);
        *saved = rest.unwrap_or(*saved);
        rest.is_some()
    }

    /// How long to wait before the attempt after this one; `None` where there is none.
    fn pause(&self, call: &Call, error: &Error, attempt: u32) -> Option<Duration> {
        let Retry::After(hint) = error.retry() else { return None };
        // Of these nothing was carried out.
        let untouched = error.is(ErrorKind::RateLimited) || call.requests() == 0 || not_done(error);
        if attempt >= self.options.attempts || !(untouched || call.spec().repeatable()) {
            return None;
        }
        if !hint.is_zero() {
            return Some(hint);
        }
        let longest =
            self.options.pause.saturating_mul(1 << (attempt - 1).min(16)).min(self.options.longest_pause);
        Some(random_part(call.env(), longest))
    }
}

/// A random part of a time, so that those who failed together do not come back together.
fn random_part(env: &Env, of: Duration) -> Duration {
    let random = u32::from_le_bytes(env.random());
    of.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[async_trait]
impl Invoke for Retrying {
    async fn invoke(&self, call: &Call) -> Result<Answer> {
        let mut attempt = 1;
        loop {
            let error = match self.inner.invoke(call).await {
                Ok(mut answer) => {
                    self.layer.earn(call);
                    answer.retries = attempt - 1;
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let Some(pause) = self.layer.pause(call, &error, attempt) else {
                // Whoever is outside need not try on top of it.
                let gave_up = attempt > 1 && matches!(error.retry(), Retry::After(_));
                return Err(if gave_up { error.with_retry(Retry::Exhausted) } else { error });
            };
            let env = call.env();
            if env.monotonic().saturating_add(pause) >= call.deadline {
                return Err(error.with_context("wait_ms", pause.as_millis()).with_retry(Retry::After(pause)));
            }
            if !self.layer.spend(call) {
                return Err(error.with_context("retry_budget", "spent"));
            }
            env.sleep(pause).await;
            attempt += 1;
        }
    }
}
