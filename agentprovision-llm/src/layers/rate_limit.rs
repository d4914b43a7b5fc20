//! Rate limits: requests and tokens per minute, smoothed.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::id::TenantId;
use agentprovision_core::model::{ChatModel, EmbeddingModel, RerankModel, RouteHints};
use agentprovision_core::money::NanoUsd;
use agentprovision_core::{Env, Error, ErrorKind, Result, Retry};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tower::Layer;

use super::metered::{Ask, Gate, Metered, Ticket};
use crate::limit::{Amounts, Buckets, Dimension, Rate, RateHold, Refused, Rules, Scope, Selector, Subject};
use crate::route::Problems;

/// How fast requests may come. Without limits everything passes.
///
/// ```
/// use agentprovision_llm::layers::RateLimitConfig;
///
/// let config: RateLimitConfig = serde_json::from_str(r#"{
///     "limits": [
///         {"of": {"scope": "tenant"}, "requests_per_minute": 600, "tokens_per_minute": 1000000},
///         {"of": {"scope": "key"}, "requests_per_minute": 60, "burst_per_cent": 10}
///     ],
///     "max_wait_ms": 2000
/// }"#)?;
/// config.check()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimitConfig {
    /// The limits. A request must fit all it is under.
    pub limits: Vec<RateLimit>,
    /// How long a request may wait for its turn, in milliseconds, and never beyond its deadline; by default it does not
    /// wait and is refused.
    pub max_wait_ms: u64,
    /// The most requests that wait for one limit at the same time; default 100.
    pub max_waiting: usize,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self { limits: Vec::new(), max_wait_ms: 0, max_waiting: 100 }
    }
}

/// How fast requests of one scope may come; what is absent is not limited. Each has a bucket of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimit {
    /// What it is about.
    pub of: Selector,
    /// Requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// Prompt tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens_per_minute: Option<u64>,
    /// Completion tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_minute: Option<u64>,
    /// Prompt and completion tokens together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// How much of a minute's worth may come at once, in per cent, 1 to 100; default 100. A request for more tokens than
    /// that never passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_per_cent: Option<u32>,
}

/// A configuration that was read.
#[derive(Debug)]
struct Policy {
    /// Per minute, and at once.
    rules: Rules<Dimension, (u64, u64)>,
    max_wait: Duration,
    max_waiting: usize,
}

impl RateLimitConfig {
    /// Whether it can be used.
    ///
    /// # Errors
    /// `invalid_input`, naming everything that is wrong: unknown scopes, ids that are none, limits of zero, limits that
    /// say nothing or say it twice.
    pub fn check(&self) -> Result<()> {
        self.read().map(drop)
    }

    fn read(&self) -> Result<Policy> {
        let mut problems = Problems::default();
        let mut rules = Rules::new();
        for (place, limit) in self.limits.iter().enumerate() {
            let path = format!("limits[{place}]");
            let burst = limit.burst_per_cent.unwrap_or(100);
            if !(1..=100).contains(&burst) {
                problems.add(format_args!("{path}.burst_per_cent"), "it is 1 to 100");
            }
            let amounts = [
                ("requests_per_minute", Dimension::Requests, limit.requests_per_minute),
                ("input_tokens_per_minute", Dimension::InputTokens, limit.input_tokens_per_minute),
                ("output_tokens_per_minute", Dimension::OutputTokens, limit.output_tokens_per_minute),
                ("tokens_per_minute", Dimension::Tokens, limit.tokens_per_minute),
            ];
            if amounts.iter().all(|(_, _, amount)| amount.is_none()) {
                problems.add(&path, "it limits nothing");
            }
            let Some(chosen) = limit.of.read(&format_args!("{path}.of"), &mut problems) else { continue };
            for (name, dimension, amount) in amounts {
                let Some(amount) = amount else { continue };
                if amount == 0 {
                    problems.add(format_args!("{path}.{name}"), "a rate is more than zero");
                }
                let burst = u128::from(amount) * u128::from(burst) / 100;
                let burst = u64::try_from(burst).unwrap_or(u64::MAX).max(1);
                if !rules.add(chosen.clone(), dimension, (amount, burst)) {
                    problems.add(format_args!("{path}.{name}"), "an earlier limit says this already");
                }
            }
        }
        if self.max_wait_ms > 0 && self.max_waiting == 0 {
            problems.add("max_waiting", "nobody may wait, though `max_wait_ms` lets them");
        }
        let max_wait = Duration::from_millis(self.max_wait_ms);
        problems.into_result("the configuration of the rate limits")?;
        Ok(Policy { rules, max_wait, max_waiting: self.max_waiting })
    }
}

/// Limits how fast requests come to models. A request takes room for its prompt and its answer before it is sent, and
/// gives back what it did not use when it ends. An answer is reckoned with the `max_tokens` of its request, or with 4096
/// tokens; one that is longer is made up for by those who come after. Chat, embedding and rerank models count
/// together.
///
/// A request that comes too fast waits, first come first served within a limit, where the configuration lets it and its
/// turn comes before its deadline; otherwise it is refused as `rate_limited`, with the exact time after which there is
/// room if nobody else takes it. One that is larger than the whole limit is `too_large` at once: waiting cannot help.
#[derive(Clone, Debug)]
pub struct RateLimitLayer {
    gate: Arc<RateGate>,
}

#[derive(Debug)]
struct RateGate {
    buckets: Arc<Buckets>,
    policy: Mutex<Arc<Policy>>,
    queues: Mutex<HashMap<(TenantId, Scope), Arc<Queue>>>,
    env: Env,
}

impl RateLimitLayer {
    /// The rate limits of a configuration.
    ///
    /// # Errors
    /// `invalid_input`, naming every problem of the configuration.
    pub fn new(config: &RateLimitConfig, env: Env) -> Result<Self> {
        let policy = Mutex::new(Arc::new(config.read()?));
        let buckets = Arc::new(Buckets::new(env.clone()));
        let gate = Arc::new(RateGate { buckets, policy, queues: Mutex::default(), env });
        Ok(Self { gate })
    }

    /// Takes another configuration from now on, in every model this layer is around.
    ///
    /// # Errors
    /// `invalid_input`, naming every problem of the configuration; the one before then stays.
    pub fn reload(&self, config: &RateLimitConfig) -> Result<()> {
        let policy = Arc::new(config.read()?);
        *self.gate.policy.lock().unwrap_or_else(PoisonError::into_inner) = policy;
        Ok(())
    }
}

impl Layer<Arc<dyn ChatModel>> for RateLimitLayer {
    type Service = Arc<dyn ChatModel>;

    fn layer(&self, inner: Arc<dyn ChatModel>) -> Self::Service {
        Metered::chat(inner, self.gate.clone(), self.gate.env.clone())
    }
}

impl Layer<Arc<dyn EmbeddingModel>> for RateLimitLayer {
    type Service = Arc<dyn EmbeddingModel>;

    fn layer(&self, inner: Arc<dyn EmbeddingModel>) -> Self::Service {
        Metered::embedding(inner, self.gate.clone(), self.gate.env.clone())
    }
}

impl Layer<Arc<dyn RerankModel>> for RateLimitLayer {
    type Service = Arc<dyn RerankModel>;

    fn layer(&self, inner: Arc<dyn RerankModel>) -> Self::Service {
        Metered::rerank(inner, self.gate.clone(), self.gate.env.clone())
    }
}

/// Those who wait for a limit of one scope; the first of them holds the only permit.
#[derive(Debug)]
struct Queue {
    first: Semaphore,
    waiting: AtomicUsize,
}

/// A place in a queue, given up when it is dropped.
struct Place<'a> {
    gate: &'a RateGate,
    key: (TenantId, Scope),
    queue: Arc<Queue>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queues = self.gate.queues();
        if self.queue.waiting.fetch_sub(1, Ordering::Relaxed) == 1 {
            queues.remove(&self.key);
        }
    }
}

fn too_fast(refused: &Refused) -> Error {
    let Rate { scope, dimension, per_minute, burst } = &refused.rate;
    let error = match refused.wait {
        Some(wait) => {
            let message = format!("{scope} has used up its `{dimension}` per minute for now");
            Error::new(ErrorKind::RateLimited, message).with_retry(Retry::After(wait))
        }
        None => Error::too_large(format!(
            "the request may need more `{dimension}` than the {burst} that {scope} may use at once"
        )),
    };
    error
        .with_context("scope", scope)
        .with_context("dimension", dimension)
        .with_context("per_minute", per_minute)
}

impl RateGate {
    fn queues(&self) -> MutexGuard<'_, HashMap<(TenantId, Scope), Arc<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first of these limits that somebody waits for: whoever comes now comes after them.
    fn waited_for(&self, tenant: TenantId, rates: &[Rate]) -> Option<Rate> {
        let queues = self.queues();
        if queues.is_empty() {
            return None;
        }
        rates.iter().find(|rate| queues.contains_key(&(tenant, rate.scope.clone()))).cloned()
    }

    /// A place behind those who wait already.
    fn line_up(&self, tenant: TenantId, scope: Scope, most: usize) -> Option<Place<'_>> {
        let key = (tenant, scope);
        let mut queues = self.queues();
        let queue = queues
            .entry(key.clone())
            .or_insert_with(|| Arc::new(Queue { first: Semaphore::new(1), waiting: AtomicUsize::new(0) }));
        if queue.waiting.load(Ordering::Relaxed) >= most {
            return None;
        }
        queue.waiting.fetch_add(1, Ordering::Relaxed);
        Some(Place { gate: self, key, queue: Arc::clone(queue) })
    }

    /// How long a request may wait: as configured, and not beyond a deadline.
    fn patience(&self, policy: &Policy, ctx: &Context, route: &RouteHints) -> Duration {
        let now = self.env.now();
        let deadlines = [ctx.deadline(), route.deadline].into_iter().flatten();
        deadlines.map(|deadline| deadline.since(now)).fold(policy.max_wait, Duration::min)
    }

    async fn take(
        &self,
        policy: &Policy,
        ask: &Ask<'_>,
        rates: &[Rate],
        amounts: &Amounts,
    ) -> Result<RateHold> {
        let tenant = ask.ctx.tenant();
        let patience = self.patience(policy, ask.ctx, ask.route);
        let refused = match self.waited_for(tenant, rates).filter(|_| !patience.is_zero()) {
            Some(rate) => Refused { rate, wait: Some(Duration::ZERO) },
            None => match self.buckets.take(tenant, rates, amounts) {
                Ok(held) => return Ok(held),
                Err(refused) => refused,
            },
        };
        if refused.wait.is_none_or(|wait| wait > patience) || patience.is_zero() {
            return Err(too_fast(&refused));
        }
        let Some(place) = self.line_up(tenant, refused.rate.scope.clone(), policy.max_waiting) else {
            return Err(self.now(tenant, rates, amounts, refused));
        };
        let give_up = self.env.monotonic().saturating_add(patience);
        let turn = self.env.timeout(patience, place.queue.first.acquire()).await;
        let Some(_turn) = turn else { return Err(self.now(tenant, rates, amounts, refused)) };
        loop {
            let refused = match self.buckets.take(tenant, rates, amounts) {
                Ok(held) => return Ok(held),
                Err(refused) => refused,
            };
            let left = give_up.saturating_sub(self.env.monotonic());
            match refused.wait {
                Some(wait) if wait <= left => self.env.sleep(wait).await,
                _ => return Err(too_fast(&refused)),
            }
        }
    }

    /// The refusal of somebody who found too many waiting, with what is known now. It takes nothing, also where there is
    /// room: others wait for it.
    fn now(&self, tenant: TenantId, rates: &[Rate], amounts: &Amounts, before: Refused) -> Error {
        too_fast(&self.buckets.check(tenant, rates, amounts).err().unwrap_or(before))
    }
}

#[async_trait]
impl Gate for RateGate {
    fn max_output(&self) -> Option<u64> {
        None
    }

    async fn enter(&self, ask: Ask<'_>) -> Result<Option<Box<dyn Ticket>>> {
        let policy = Arc::clone(&self.policy.lock().unwrap_or_else(PoisonError::into_inner));
        let project = ask.route.project.as_deref();
        let rules = policy.rules.of(Subject { ctx: ask.ctx, project, model: &ask.model })?;
        if rules.is_empty() {
            return Ok(None);
        }
        let rate = |(scope, dimension, (per_minute, burst))| Rate { scope, dimension, per_minute, burst };
        let rates: Vec<Rate> = rules.into_iter().map(rate).collect();
        let amounts = Amounts {
            requests: 1,
            input_tokens: ask.size.input,
            output_tokens: ask.likely_output(),
            cost: NanoUsd::ZERO,
        };
        let held = self.take(&policy, &ask, &rates, &amounts).await?;
        Ok(Some(Box::new(Taken { buckets: Arc::clone(&self.buckets), held: Some(held) })))
    }
}

struct Taken {
    buckets: Arc<Buckets>,
    held: Option<RateHold>,
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taken").field("held", &self.held).finish_non_exhaustive()
    }
}

impl Ticket for Taken {
    fn beat(&self) -> Option<Duration> {
        None
    }

    fn extend(&self) {}

    fn settle(&mut self, actual: Amounts, _: u32) {
        if let Some(held) = self.held.take() {
            self.buckets.settle(held, &actual);
        }
    }
}
