//! What a vendor limits is waited for before it is asked, and shared fairly.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use agentprovision_core::id::{IntegrationId, TenantId};
use agentprovision_core::{Env, Error, ErrorKind, Result, Retry};
use async_trait::async_trait;
use http::HeaderMap;
use serde_json::Value;
use tokio::sync::oneshot;
use tower::Layer;

use crate::call::{Answer, Call, Invoke};
use crate::quota::{Quota, Reset, Shared};

/// Holds calls back until the vendor takes them: while it has said that it takes no more, and as its rates say. Those who wait
/// for one quota are served tenant by tenant, in turn, so that nobody's many calls keep out somebody else's one. A call whose
/// deadline comes first is refused at once, with the time.
#[derive(Clone, Debug)]
pub struct QuotaLayer(pub(crate) Arc<Gates>);

#[derive(Debug)]
struct Gated {
    gates: Arc<Gates>,
    inner: Arc<dyn Invoke>,
}

impl Layer<Arc<dyn Invoke>> for QuotaLayer {
    type Service = Arc<dyn Invoke>;

    fn layer(&self, inner: Arc<dyn Invoke>) -> Self::Service {
        Arc::new(Gated { gates: self.0.clone(), inner })
    }
}

#[async_trait]
impl Invoke for Gated {
    async fn invoke(&self, call: &Call) -> Result<Answer> {
        for quota in about(call) {
            self.gates.gate(call, quota).pass(call).await?;
        }
        let answer = self.inner.invoke(call).await;
        if let Err(error) = &answer
            && error.is(ErrorKind::RateLimited)
            && let Retry::After(wait) = error.retry()
            && let Some(quota) = about(call).next()
        {
            // What the vendor says to one is true for all who share it.
            self.gates.gate(call, quota).block(wait);
        }
        answer
    }
}

/// The quotas a call is about, the narrowest first as connectors list them.
fn about(call: &Call) -> impl Iterator<Item = &Quota> {
    let name = &call.spec().name;
    call.connector.quotas.iter().filter(|quota| quota.is_about(name))
}

/// What tells a gate from others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    connector: String,
    quota: String,
    whose: Whose,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Whose {
    Integration(IntegrationId),
    App(String),
    Part(IntegrationId, String),
}

/// The gates of all quotas.
#[derive(Debug)]
pub(crate) struct Gates {
    env: Env,
    gates: Mutex<HashMap<Key, Arc<Gate>>>,
}

/// Gates that are kept before those nobody uses are looked for.
const MANY: usize = 4096;

impl Gates {
    pub(crate) fn new(env: Env) -> Self {
        Self { env, gates: Mutex::default() }
    }

    fn gate(&self, call: &Call, quota: &Quota) -> Arc<Gate> {
        let id = call.integration.id;
        let whose = match &quota.shared {
            Shared::Integration => Whose::Integration(id),
            Shared::App => Whose::App(call.app().unwrap_or_default().to_owned()),
            Shared::Operation => Whose::Part(id, call.spec().name.to_string()),
            Shared::Field(field) => {
                let value = call.input.get(&**field).map(Value::to_string).unwrap_or_default();
                Whose::Part(id, value)
            }
        };
        let key = Key { connector: call.connector.name.to_string(), quota: quota.name.to_string(), whose };
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if gates.len() >= MANY {
            let now = self.env.monotonic();
            gates.retain(|_, gate| Arc::strong_count(gate) > 1 || gate.next(&gate.state(), now) > now);
        }
        gates
            .entry(key)
            .or_insert_with(|| {
                let rate = quota.rate.map(|(requests, per)| (requests.max(1), per));
                Arc::new_cyclic(|this| Gate {
                    this: this.clone(),
                    env: self.env.clone(),
                    rate,
                    state: Mutex::default(),
                })
            })
            .clone()
    }

    /// Takes what a response says about quotas.
    pub(crate) fn learn(&self, call: &Call, headers: &HeaderMap) {
        for quota in about(call) {
            let Some(learned) = &quota.learned else { continue };
            let number = |name: &str| -> Option<f64> {
                headers
                    .get(name)?
                    .to_str()
                    .ok()?
                    .trim()
                    .parse()
                    .ok()
                    .filter(|number: &f64| number.is_finite())
            };
            let (Some(remaining), Some(reset)) = (number(&learned.remaining), number(&learned.reset)) else {
                continue;
            };
            if remaining >= 1.0 {
                continue;
            }
            let wait = match learned.form {
                Reset::After => reset,
                #[expect(clippy::cast_precision_loss, reason = "seconds of a clock")]
                Reset::Epoch => reset - self.env.now().micros() as f64 / 1e6,
            };
            self.gate(call, quota).block(Duration::from_secs_f64(wait.clamp(0.0, LONGEST.as_secs_f64())));
        }
    }
}

/// The longest that a vendor is believed.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug)]
struct Gate {
    this: Weak<Gate>,
    env: Env,
    rate: Option<(u32, Duration)>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Nothing passes before, on the monotonic clock.
    blocked: Duration,
    /// When the next one would come if all came as evenly as the rate says: the theoretical arrival time of GCRA.
    arrival: Duration,
    /// Tenants with somebody who waits, the next one first, each with those who wait, the first one first.
    waiting: VecDeque<(TenantId, VecDeque<oneshot::Sender<()>>)>,
    /// Whether a task lets in who waits.
    served: bool,
}

impl Gate {
    /// When the next one may pass: so many may come at once as come within the time.
    fn next(&self, state: &State, now: Duration) -> Duration {
        let burst = self.rate.map_or(Duration::ZERO, |(requests, per)| per.saturating_sub(per / requests));
        state.arrival.saturating_sub(burst).max(state.blocked).max(now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets nothing pass for a while.
    fn block(&self, wait: Duration) {
        let until = self.env.monotonic().saturating_add(wait.min(LONGEST));
        let mut state = self.state();
        state.blocked = state.blocked.max(until);
    }

    /// Counts one that passes now.
    fn count(&self, state: &mut State, now: Duration) {
        let Some((requests, per)) = self.rate else { return };
        state.arrival = state.arrival.max(now).saturating_add(per / requests);
    }

    async fn pass(&self, call: &Call) -> Result<()> {
        let wait = {
            let mut state = self.state();
            let now = self.env.monotonic();
            let next = self.next(&state, now);
            if state.waiting.is_empty() && next <= now {
                self.count(&mut state, now);
                return Ok(());
            }
            if next >= call.deadline {
                return Err(refused(next.saturating_sub(now)));
            }
            let (turn, wait) = oneshot::channel();
            let tenant = call.ctx.tenant();
            match state.waiting.iter_mut().find(|(other, _)| *other == tenant) {
                Some((_, queue)) => queue.push_back(turn),
                None => state.waiting.push_back((tenant, VecDeque::from([turn]))),
            }
            if !state.served {
                state.served = true;
                if let Some(gate) = self.this.upgrade() {
                    tokio::spawn(async move { gate.serve().await });
                }
            }
            wait
        };
        let left = call.deadline.saturating_sub(self.env.monotonic());
        match self.env.timeout(left, wait).await {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(Error::closed("the platform is closed")),
            None => {
                let now = self.env.monotonic();
                Err(refused(self.next(&self.state(), now).saturating_sub(now)))
            }
        }
    }

    /// Lets in who waits, tenant by tenant, until nobody does.
    async fn serve(&self) {
        loop {
            let wait = {
                let mut state = self.state();
                let now = self.env.monotonic();
                loop {
                    let next = self.next(&state, now);
                    if next > now {
                        break next.saturating_sub(now);
                    }
                    let Some((tenant, mut queue)) = state.waiting.pop_front() else {
                        state.served = false;
                        return;
                    };
                    // Who has given up takes nobody's turn.
                    while let Some(turn) = queue.pop_front() {
                        if turn.send(()).is_ok() {
                            self.count(&mut state, now);
                            break;
                        }
                    }
                    if !queue.is_empty() {
                        state.waiting.push_back((tenant, queue));
                    }
                }
            };
            self.env.sleep(wait).await;
        }
    }
}

fn refused(wait: Duration) -> Error {
    Error::new(
        ErrorKind::RateLimited,
        "the vendor takes no more requests for now, and the time is over before it does",
    )
    .with_context("reason", "quota")
    .with_context("retry_after_ms", wait.as_millis())
    .with_retry(Retry::After(wait))
}
