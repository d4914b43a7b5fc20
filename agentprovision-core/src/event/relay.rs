//! Carries events from the outbox to the sinks, and lets callers follow them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_core::stream::BoxStream;
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::{EventBus, EventLog, EventSink, NumberedEvent};
use crate::access::Access;
use crate::authz::{Permission, Resource};
use crate::clock::Env;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::maintenance::{OnDuty, POLL};

/// The longest a sink may take for a batch.
const PATIENCE: Duration = Duration::from_secs(30);

/// Events handed over at a time.
const BATCH: u32 = 100;

/// Hands every event to every sink, at least once and in order per tenant, until `closing` fires. A batch that a sink
/// refuses is handed over again; sinks that took it before see it twice. Of all the processes on a store one at a time
/// does it: who has the duty [`Duty::Relay`](crate::maintenance::Duty).
pub async fn relay(
    log: Arc<dyn EventLog>,
    mut duty: OnDuty,
    sinks: Vec<Arc<dyn EventSink>>,
    env: Env,
    closing: CancellationToken,
) {
    loop {
        let handed = match tokio::select! {
            biased;
            handed = hand_over(&*log, &mut duty, &sinks, &env) => handed,
            // What a sink did not take to the end is handed over again by whoever comes next.
            () = closing.cancelled() => break,
        } {
            // What every sink took is not handed over again because this one leaves now.
            Ok(events) if !events.is_empty() => log.published(&events).await.map(|()| true),
            other => other.map(|_| false),
        };
        let wait = match handed {
            Ok(true) => continue,
            Ok(false) => POLL,
            Err(error) => {
                tracing::warn!(error = ?error, "events could not be handed over");
                POLL * 4
            }
        };
        tokio::select! {
            biased;
            () = closing.cancelled() => break,
            () = env.sleep(wait) => {}
        }
    }
    duty.end().await;
}

/// Gives every sink what none has confirmed yet, where this process has the duty to; says what it was.
async fn hand_over(
    log: &dyn EventLog,
    duty: &mut OnDuty,
    sinks: &[Arc<dyn EventSink>],
    env: &Env,
) -> Result<Vec<NumberedEvent>> {
    // The duty is taken up only where there is something to do: a store at rest is not written to.
    if log.unpublished(1).await?.is_empty() || !duty.is_ours().await? {
        return Ok(Vec::new());
    }
    // What there was before may be another one's work that is done by now.
    let events = log.unpublished(BATCH).await?;
    for sink in sinks {
        // A sink is the host's code: one that panics or hangs is one that refused.
        let published = AssertUnwindSafe(sink.publish(&events)).catch_unwind();
        match env.timeout(PATIENCE, published).await {
            Some(Ok(result)) => result?,
            Some(Err(_)) => return Err(Error::internal("an event sink panicked")),
            None => return Err(Error::new(ErrorKind::DeadlineExceeded, "an event sink took too long")),
        }
    }
    Ok(events)
}

/// Follows a tenant's events. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Events {
    bus: EventBus,
    access: Access,
}

impl Events {
    /// The service over the bus of a process.
    pub fn new(bus: EventBus, access: Access) -> Self {
        Self { bus, access }
    }

    /// The events after number `after` (0 for all that are kept), then those that come.
    ///
    /// # Errors
    /// `permission_denied` without `audit:read`: events tell as much as the audit log does.
    pub async fn subscribe(
        &self,
        ctx: &Context,
        after: u64,
    ) -> Result<BoxStream<'static, Result<NumberedEvent>>> {
        self.access.check(ctx, Permission::AUDIT_READ, Resource::all("events")).await?;
        Ok(self.bus.follow(ctx, after, Some(self.access.clone())))
    }

    /// At most `limit` (up to 500) events after number `after`.
    ///
    /// # Errors
    /// As [`Events::subscribe`]; `invalid_input` for a limit of 0 or above 500.
    pub async fn read(&self, ctx: &Context, after: u64, limit: u32) -> Result<Vec<NumberedEvent>> {
        self.access.check(ctx, Permission::AUDIT_READ, Resource::all("events")).await?;
        if !(1..=500).contains(&limit) {
            return Err(crate::Error::invalid(format!("1 to 500 events are read at a time, not `{limit}`")));
        }
        self.bus.read(ctx, after, limit).await
    }
}
