//! Works on deliveries: reads them again, and starts the runs that their endpoint's triggers ask for.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::effect::{Effects, Guard};
use agentprovision_core::event::PlatformEvent;
use agentprovision_core::id::{RunId, TenantId, WorkerId};
use agentprovision_core::run::RunInput;
use agentprovision_core::webhook::{ClaimedDelivery, DeliveryEnd, Inbox};
use agentprovision_core::{Env, Error, ErrorKind, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::endpoint::{Endpoint, Trigger};
use super::receive::{bounded, event_of};
use super::service::{Webhooks, replayed};
use super::{Template, WebhookEvent};

/// How often deliveries that are over for long enough are looked for, and the most that are removed at a time.
const SWEEP: (Duration, u32) = (Duration::from_secs(10 * 60), 500);
/// Pauses before an attempt after a failed one; after the last of them a delivery is given up.
const PAUSES: [u64; 6] = [5, 30, 120, 600, 3600, 21_600];
/// The most attempts at a delivery, however they end, from when it came or was replayed.
const ATTEMPTS: u32 = PAUSES.len() as u32 + 1;

/// How deliveries are worked on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkOptions {
    /// Deliveries that are worked on at the same time; default 16. With 0 this process works on none.
    pub at_once: usize,
    /// How long one may take before somebody else takes it up; default 60 s.
    pub term: Duration,
    /// The pause between looks for what other processes have kept; default 1 s.
    pub poll: Duration,
    /// How long deliveries of all tenants are kept after they are over; default 7 days, which is more than vendors send repeats for.
    pub keep: Duration,
}

impl Default for WorkOptions {
    fn default() -> Self {
        Self {
            at_once: 16,
            term: Duration::from_secs(60),
            poll: Duration::from_secs(1),
            keep: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

/// What a host does about events itself.
#[async_trait]
pub trait WebhookHandler: fmt::Debug + Send + Sync + 'static {
    /// Acts on an event of an endpoint, on behalf of its owner. It is called again, with the same delivery, when it fails or the
    /// process ends before it is over: tell repeats by the id of the delivery. An attempt whose process ended counts like one
    /// that failed: after seven of both the delivery is given up as `uncertain`, so that one that ends every process that
    /// works on it does not do so for ever. What was worked on beside it has lost those attempts too.
    ///
    /// # Errors
    /// `invalid_input`, `not_found`, `permission_denied`, `unsupported`, `too_large` and `idempotency_mismatch` give the delivery
    /// up. Any other, and a panic, is tried again, after longer and longer pauses: seven attempts within eight hours, and as
    /// many after each [`Webhooks::replay`].
    async fn handle(&self, ctx: &Context, delivery: &HandledDelivery<'_>) -> Result<()>;
}

/// A delivery, as a handler sees it.
#[derive(Debug)]
#[non_exhaustive]
pub struct HandledDelivery<'a> {
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// The delivery's id here.
    pub id: agentprovision_core::id::DeliveryId,
    /// What it says.
    pub event: &'a WebhookEvent,
}

/// The deliveries that are worked on by this process.
#[derive(Clone)]
pub(super) struct Work {
    webhooks: Webhooks,
    handlers: Arc<[Arc<dyn WebhookHandler>]>,
    options: WorkOptions,
    worker: WorkerId,
}

impl Webhooks {
    /// Works on deliveries until `closing`, then ends what was begun. The worker's id is drawn now, not when it begins.
    pub fn work(
        &self,
        options: WorkOptions,
        handlers: Vec<Arc<dyn WebhookHandler>>,
        closing: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let work =
            Work { webhooks: self.clone(), handlers: handlers.into(), worker: self.env().id(), options };
        work.run(closing)
    }
}

impl Work {
    async fn run(self, closing: CancellationToken) {
        if self.options.at_once == 0 {
            return;
        }
        let places = Arc::new(Semaphore::new(self.options.at_once));
        let (mut begun, mut last) = (JoinSet::new(), None);
        let rounds = async {
            while !closing.is_cancelled() {
                self.round(&places, &mut begun, &mut last, &closing).await;
            }
        };
        tokio::select! {
            () = rounds => {}
            () = sweep(&*self.webhooks.0.inbox, self.webhooks.env(), self.options.keep) => {}
        }
        while begun.join_next().await.is_some() {}
    }

    /// Takes what there is room for, and waits until there may be more. Tenants have their turns behind the last one. Only
    /// waits end when it closes: what was asked for is taken, and would be nobody's until its time is over.
    async fn round(
        &self,
        places: &Arc<Semaphore>,
        begun: &mut JoinSet<()>,
        last: &mut Option<TenantId>,
        closing: &CancellationToken,
    ) {
        while begun.try_join_next().is_some() {}
        let first = closing.run_until_cancelled(places.clone().acquire_owned()).await;
        let Some(Ok(first)) = first else { return };
        let room = u32::try_from(places.available_permits() + 1).unwrap_or(u32::MAX);
        drop(first);
        let inbox = &self.webhooks.0.inbox;
        // Asked for before the look, so that nothing comes in between.
        let mut woken = inbox.woken().fuse();
        let _ = (&mut woken).now_or_never();
        let claimed = match inbox.claim(self.worker, self.options.term, room, *last).await {
            Ok(claimed) => claimed,
            Err(error) => {
                if !error.is(ErrorKind::Closed) {
                    tracing::warn!(?error, "deliveries could not be looked for");
                }
                closing.run_until_cancelled(self.webhooks.env().sleep(self.options.poll)).await;
                return;
            }
        };
        let all = claimed.len();
        *last = claimed.last().map(|claimed| claimed.tenant).or(*last);
        for claimed in claimed {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let work = self.clone();
            begun.spawn(async move {
                work.deliver(claimed).await;
                drop(place);
            });
        }
        if all == 0 {
            // Whichever comes first.
            closing.run_until_cancelled(self.webhooks.env().timeout(self.options.poll, woken)).await;
        }
    }

    async fn deliver(&self, claimed: ClaimedDelivery) {
        let limit = self.options.term;
        let (attempt, worked) = match self.attempt(&claimed).await {
            Ok(attempt) if attempt > ATTEMPTS => (attempt, Err(unended())),
            Ok(attempt) => {
                let worked = AssertUnwindSafe(self.work_on(&claimed)).catch_unwind();
                let worked = match self.webhooks.env().timeout(limit, worked).await {
                    Some(worked) => worked.unwrap_or_else(|_| Err(Error::internal("the handler panicked"))),
                    None => Err(late()),
                };
                (attempt, worked)
            }
            // It is not known to be one too many.
            Err(error) => (1, Err(error)),
        };
        let (tenant, id, epoch) = (claimed.tenant, claimed.delivery.new.id, claimed.epoch);
        let (end, effects) = match worked {
            Ok((runs, effects)) => (DeliveryEnd::Done(runs), effects),
            Err(error) => {
                tracing::warn!(%tenant, delivery = %id, attempt, ?error, "a delivery could not be worked on");
                (self.after(&error, attempt), Effects::none())
            }
        };
        if let Err(error) = self.webhooks.0.inbox.finish(tenant, id, epoch, end, effects).await {
            // It is taken up again when its time is over.
            tracing::warn!(%tenant, delivery = %id, ?error, "the end of a delivery could not be kept");
        }
    }

    /// Which attempt this is since the delivery came or was replayed.
    async fn attempt(&self, claimed: &ClaimedDelivery) -> Result<u32> {
        let (all, new) = (claimed.delivery.attempts, &claimed.delivery.new);
        // What was replayed was begun before.
        if all <= 1 {
            return Ok(all);
        }
        let mark = self.webhooks.0.inbox.mark(claimed.tenant, new.endpoint, &replayed(new.id)).await?;
        let before = mark.and_then(|attempts| attempts.parse().ok()).unwrap_or(0);
        Ok(all.saturating_sub(before))
    }

    /// What comes of a failed attempt.
    fn after(&self, error: &Error, attempt: u32) -> DeliveryEnd {
        let lasting = matches!(
            error.kind(),
            ErrorKind::InvalidInput
                | ErrorKind::NotFound
                | ErrorKind::PermissionDenied
                | ErrorKind::Unsupported
                | ErrorKind::TooLarge
                | ErrorKind::IdempotencyMismatch
        );
        let pause = PAUSES.get(attempt.saturating_sub(1) as usize);
        match pause {
            Some(seconds) if !lasting => DeliveryEnd::Retry(Duration::from_secs(*seconds), error.kind()),
            _ => DeliveryEnd::Failed(error.kind()),
        }
    }

    async fn work_on(&self, claimed: &ClaimedDelivery) -> Result<(Vec<RunId>, Effects)> {
        let parts = &*self.webhooks.0;
        let new = &claimed.delivery.new;
        let endpoint = parts.store.lookup(claimed.tenant, new.endpoint).await?;
        let endpoint = Endpoint::read(claimed.tenant, endpoint)?;
        let ctx = parts.principals.context(claimed.tenant, endpoint.owner).await?;
        let event = event_of(&endpoint, &headers(&new.headers)?, Bytes::from(new.body.clone()))?;
        for handler in &*self.handlers {
            let handled = HandledDelivery { endpoint: &endpoint, id: new.id, event: &event };
            handler.handle(&ctx, &handled).await?;
        }
        let wanted: Vec<(usize, &Trigger)> = endpoint
            .triggers
            .iter()
            .enumerate()
            .filter(|(_, trigger)| trigger.filter.matches(&event))
            .collect();
        let newest = match &event.ordering {
            // Asked for once: of two triggers the second would find its own event.
            Some(ordering) if wanted.iter().any(|(_, trigger)| trigger.newest_only) => {
                self.newest(claimed, &ordering.key, &ordering.version.to_string()).await?
            }
            _ => true,
        };
        let mut runs = Vec::new();
        for (at, trigger) in wanted {
            if trigger.newest_only && !newest {
                continue;
            }
            let input = Template::new(trigger.input.clone())?.render(&event)?;
            // The same for every attempt, so that a run is started once however often this is tried.
            let key = format!("{}/{at}", new.id);
            let run =
                parts.runs.start(&ctx, trigger.agent, RunInput::text(input).idempotency_key(key)).await?;
            runs.push(run.id());
        }
        let data = json!({
            "delivery": new.id,
            "kind": event.kind,
            "vendor": event.vendor,
            "subject": event.subject,
            "runs": runs,
        });
        let told = PlatformEvent::of(&ctx, self.webhooks.env(), "webhook.received", endpoint.id, data);
        Ok((runs, Effects { guards: vec![Guard::TenantExists], events: vec![told], ..Effects::none() }))
    }

    /// Whether nothing newer than an event is known. What is known may be this event, by an attempt before, or another one of
    /// the same version, and vendors with whole seconds do send those: neither is a reason to leave it out.
    async fn newest(&self, claimed: &ClaimedDelivery, key: &str, version: &str) -> Result<bool> {
        let (inbox, endpoint) = (&self.webhooks.0.inbox, claimed.delivery.new.endpoint);
        let key = &bounded(key);
        if inbox.advance(claimed.tenant, endpoint, key, version).await? {
            return Ok(true);
        }
        Ok(inbox.mark(claimed.tenant, endpoint, key).await?.as_deref() == Some(version))
    }
}

/// Removes what has been over for long enough, again and again.
async fn sweep(inbox: &dyn Inbox, env: &Env, keep: Duration) {
    let (pause, most) = SWEEP;
    loop {
        match inbox.expire(keep, most).await {
            // There may be more.
            Ok(gone) if gone == most => continue,
            Err(error) if !error.is(ErrorKind::Closed) => {
                tracing::warn!(?error, "old deliveries could not be removed");
            }
            _ => {}
        }
        env.sleep(pause).await;
    }
}

fn late() -> Error {
    Error::new(ErrorKind::DeadlineExceeded, "the delivery was not worked on in time")
}

/// Of a delivery whose last attempt, of all that it has, was begun and never ended.
fn unended() -> Error {
    Error::new(ErrorKind::Uncertain, format!("the delivery was begun {ATTEMPTS} times and never ended"))
}

/// The headers that were kept.
fn headers(kept: &str) -> Result<HeaderMap> {
    let bad = || Error::corrupt("the headers of a delivery cannot be read");
    let kept: Map<String, Value> = serde_json::from_str(kept).map_err(|_| bad())?;
    let header = |(name, value): (String, Value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_str(value.as_str()?).ok()?))
    };
    kept.into_iter().map(|pair| header(pair).ok_or_else(bad)).collect()
}

#[cfg(test)]
mod tests {
    use agentprovision_core::backend::Backend as _;
    use agentprovision_core::clock::{ManualClock, OsEntropy};
    use agentprovision_core::context::{ContextIssuer, Identity, Principal, RequestInfo};
    use agentprovision_core::effect::OperatorEffects;
    use agentprovision_core::page::PageRequest;
    use agentprovision_core::tenant::{Tenant, TenantState};
    use agentprovision_core::webhook::{EndpointState, NewDelivery, WebhookEndpoint};
    use agentprovision_core::{MemoryDb, Timestamp};

    use super::*;

    #[tokio::test]
    async fn deliveries_go_when_they_have_been_over_for_long() {
        let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
        let env = Env::new(Arc::new(clock.clone()), Arc::new(OsEntropy));
        let stores = MemoryDb::new(env.clone()).stores();
        let issuer = ContextIssuer::new(env.clone());
        let op = issuer.operator("tests", "test").unwrap();
        let (now, tenant) = (env.now(), env.id());
        let new = Tenant {
            id: tenant,
            name: "acme".into(),
            domain: None,
            state: TenantState::Active,
            plan: None,
            region: None,
            settings: Map::new(),
            created_at: now,
            updated_at: now,
            revision: 1,
        };
        stores.tenants.create(&op, new, OperatorEffects::default()).await.unwrap();
        let principal = Principal::User(env.id());
        let scopes = agentprovision_core::authz::PermissionSet::ALL;
        let identity = Identity { tenant, principal, scopes, expires: None, key: None };
        let ctx = issuer.context(&identity, &scopes, RequestInfo::default());
        let endpoint = WebhookEndpoint {
            id: env.id(),
            name: "ci".into(),
            vendor: "github".into(),
            scheme: json!({}),
            integration: None,
            triggers: json!([]),
            state: EndpointState::Active,
            owner: env.id(),
            created_at: now,
            updated_at: now,
            revision: 1,
        };
        let id = endpoint.id;
        stores.endpoints.insert(&ctx, endpoint, Effects::none()).await.unwrap();
        // More than are removed at a time, and one that waits.
        for n in 0..=SWEEP.1 + 1 {
            let delivery = NewDelivery {
                id: env.id(),
                endpoint: id,
                key: n.to_string(),
                digest: [0; 32],
                kind: String::new(),
                headers: "{}".into(),
                body: Vec::new(),
                received_at: now,
            };
            stores.inbox.accept(tenant, delivery).await.unwrap();
        }
        let claimed = stores.inbox.claim(env.id(), SWEEP.0, SWEEP.1 + 1, None).await.unwrap();
        for one in claimed {
            let (id, done) = (one.delivery.new.id, DeliveryEnd::Done(Vec::new()));
            stores.inbox.finish(tenant, id, one.epoch, done, Effects::none()).await.unwrap();
        }
        let left = async || stores.inbox.list(&ctx, id, PageRequest::limit(100)).await.unwrap().items.len();
        let keep = SWEEP.0 * 3;
        let mut sweep = Box::pin(sweep(&*stores.inbox, &env, keep));
        let mut look = async |after| {
            clock.advance(after);
            assert!(futures_util::poll!(&mut sweep).is_pending());
            left().await
        };
        assert_eq!(look(Duration::ZERO).await, 100);
        assert_eq!(look(keep).await, 100);
        // It looks again only after its pause.
        assert_eq!(look(Duration::from_secs(1)).await, 100);
        assert_eq!(look(SWEEP.0).await, 1);
    }
}
