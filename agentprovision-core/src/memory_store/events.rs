//! [`EventLog`] in memory.

use std::ops::Bound;

use async_trait::async_trait;

use super::{MemoryDb, State};
use crate::context::Context;
use crate::error::Result;
use crate::event::{EventLog, NumberedEvent, PlatformEvent};
use crate::id::TenantId;

/// An event of a tenant.
pub(super) struct Outgoing {
    event: PlatformEvent,
    /// Whether a relay has confirmed it.
    confirmed: bool,
}

impl State {
    /// Numbers events. The count outlives the tenant's data, so that no number ever means two events.
    pub(super) fn append_events(&mut self, tenant: TenantId, events: Vec<PlatformEvent>) {
        for event in events {
            let number = self.event_numbers.entry(tenant).or_default();
            *number += 1;
            let number = *number;
            self.of_mut(tenant).events.insert(number, Outgoing { event, confirmed: false });
        }
    }
}

fn numbered((seq, outgoing): (&u64, &Outgoing)) -> NumberedEvent {
    NumberedEvent { seq: *seq, event: outgoing.event.clone() }
}

#[async_trait]
impl EventLog for MemoryDb {
    async fn read(&self, ctx: &Context, after: u64, limit: u32) -> Result<Vec<NumberedEvent>> {
        let state = self.open()?;
        let events = state.of(ctx.tenant()).events.range((Bound::Excluded(after), Bound::Unbounded));
        Ok(events.take(limit as usize).map(numbered).collect())
    }

    async fn unpublished(&self, limit: u32) -> Result<Vec<NumberedEvent>> {
        let state = self.open()?;
        let events = state.data.values().flat_map(|data| &data.events);
        let open = events.filter(|(_, outgoing)| !outgoing.confirmed);
        Ok(open.take(limit as usize).map(numbered).collect())
    }

    async fn published(&self, events: &[NumberedEvent]) -> Result<()> {
        let mut state = self.open()?;
        for NumberedEvent { seq, event } in events {
            let tenant = state.data.get_mut(&event.tenantid);
            if let Some(outgoing) = tenant.and_then(|data| data.events.get_mut(seq)) {
                outgoing.confirmed = true;
            }
        }
        Ok(())
    }
}
