//! The in-process event bus.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::stream;
use tokio::sync::broadcast;

use super::{EventLog, EventSink, EventSource, NumberedEvent};
use crate::access::Access;
use crate::authz::{Permission, Resource};
use crate::clock::Env;
use crate::context::Context;
use crate::error::Result;

/// Followers of events within a process. The relay wakes them; what they read comes from the durable log, so a slow
/// follower loses nothing and holds nobody up.
#[derive(Clone)]
pub struct EventBus {
    log: Arc<dyn EventLog>,
    wake: broadcast::Sender<()>,
    env: Env,
}

impl fmt::Debug for EventBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBus").finish_non_exhaustive()
    }
}

/// Events of other processes are seen within this time.
const POLL: std::time::Duration = std::time::Duration::from_millis(250);

impl EventBus {
    /// A bus over the event log of a backend.
    pub fn new(log: Arc<dyn EventLog>, env: Env) -> Self {
        Self { log, wake: broadcast::Sender::new(1), env }
    }

    /// At most `limit` events of the context's tenant after number `after`.
    pub(super) async fn read(&self, ctx: &Context, after: u64, limit: u32) -> Result<Vec<NumberedEvent>> {
        self.log.read(ctx, after, limit).await
    }
}

#[async_trait]
impl EventSink for EventBus {
    async fn publish(&self, _: &[NumberedEvent]) -> Result<()> {
        // Nobody listening is no failure.
        let _ = self.wake.send(());
        Ok(())
    }
}

#[async_trait]
impl EventSource for EventBus {
    async fn subscribe(
        &self,
        ctx: &Context,
        after: u64,
    ) -> Result<BoxStream<'static, Result<NumberedEvent>>> {
        Ok(self.follow(ctx, after, None))
    }
}

struct Follower {
    bus: EventBus,
    ctx: Context,
    access: Option<Access>,
    wake: broadcast::Receiver<()>,
    after: u64,
    ready: VecDeque<NumberedEvent>,
}

impl EventBus {
    /// The events after number `after`, then those that come, for as long as `access` lets them be seen.
    pub(super) fn follow(
        &self,
        ctx: &Context,
        after: u64,
        access: Option<Access>,
    ) -> BoxStream<'static, Result<NumberedEvent>> {
        let (bus, ctx, wake) = (self.clone(), ctx.clone(), self.wake.subscribe());
        let follower = Follower { bus, ctx, access, wake, after, ready: VecDeque::new() };
        Box::pin(stream::try_unfold(follower, |mut follower| async move {
            Ok(Some((follower.next().await?, follower)))
        }))
    }
}

impl Follower {
    async fn next(&mut self) -> Result<NumberedEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.after = event.seq;
                return Ok(event);
            }
            if let Some(access) = &self.access {
                access.check(&self.ctx, Permission::AUDIT_READ, Resource::all("events")).await?;
            }
            self.ready = self.bus.log.read(&self.ctx, self.after, 100).await?.into();
            if self.ready.is_empty() {
                tokio::select! {
                    _ = self.wake.recv() => {}
                    () = self.bus.env.sleep(POLL) => {}
                }
            }
        }
    }
}
