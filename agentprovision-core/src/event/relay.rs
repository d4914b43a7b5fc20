//! Carries events from the outbox to the sinks, and lets callers follow them.

use std::sync::Arc;
use std::time::Duration;

use futures_core::stream::BoxStream;
use tokio_util::sync::CancellationToken;

use super::{EventBus, EventLog, EventSink, EventSource, NumberedEvent};
use crate::access::Access;
use crate::authz::{Permission, Resource};
use crate::clock::Env;
use crate::context::Context;
use crate::error::Result;

/// How often the outbox is looked at when nothing came.
const POLL: Duration = Duration::from_millis(250);

/// Events handed over at a time.
const BATCH: u32 = 100;

/// Hands every event to every sink, at least once and in order per tenant, until `closing` fires. A batch that a sink
/// refuses is handed over again; sinks that took it before see it twice.
pub async fn relay(
    log: Arc<dyn EventLog>,
    sinks: Vec<Arc<dyn EventSink>>,
    env: Env,
    closing: CancellationToken,
) {
    loop {
        let wait = match hand_over(&*log, &sinks).await {
            Ok(0) => POLL,
            Ok(_) if closing.is_cancelled() => return,
            Ok(_) => continue,
            Err(error) => {
                tracing::warn!(error = ?error, "events could not be handed over");
                POLL * 4
            }
        };
        tokio::select! {
            biased;
            () = closing.cancelled() => return,
            () = env.sleep(wait) => {}
        }
    }
}

async fn hand_over(log: &dyn EventLog, sinks: &[Arc<dyn EventSink>]) -> Result<usize> {
    let events = log.unpublished(BATCH).await?;
    if events.is_empty() {
        return Ok(0);
    }
    for sink in sinks {
        sink.publish(&events).await?;
    }
    log.published(&events).await?;
    Ok(events.len())
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
        self.bus.subscribe(ctx, after).await
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
