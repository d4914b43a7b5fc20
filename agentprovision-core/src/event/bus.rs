//! The in-process event bus.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::stream;
use tokio::sync::broadcast;

use super::{EventLog, EventSink, EventSource, NumberedEvent};
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
        struct State {
            bus: EventBus,
            ctx: Context,
            wake: broadcast::Receiver<()>,
            after: u64,
            ready: VecDeque<NumberedEvent>,
        }
        let state = State {
            bus: self.clone(),
            ctx: ctx.clone(),
            wake: self.wake.subscribe(),
            after,
            ready: VecDeque::new(),
        };
        Ok(Box::pin(stream::try_unfold(state, |mut state| async move {
            loop {
                if let Some(event) = state.ready.pop_front() {
                    state.after = event.seq;
                    return Ok(Some((event, state)));
                }
                state.ready = state.bus.log.read(&state.ctx, state.after, 100).await?.into();
                if state.ready.is_empty() {
                    tokio::select! {
                        _ = state.wake.recv() => {}
                        () = state.bus.env.sleep(POLL) => {}
                    }
                }
            }
        })))
    }
}
