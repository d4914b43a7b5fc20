//! [`EventLog`] in memory.

use async_trait::async_trait;

use super::{MemoryDb, slice};
use crate::context::Context;
use crate::error::Result;
use crate::event::{EventLog, NumberedEvent, PlatformEvent};

/// An event in the outbox of its tenant.
pub(super) struct Outgoing {
    event: PlatformEvent,
    confirmed: bool,
}

impl Outgoing {
    pub(super) fn new(event: PlatformEvent) -> Self {
        Self { event, confirmed: false }
    }

    fn numbered(&self, place: u64) -> NumberedEvent {
        NumberedEvent { seq: place + 1, event: self.event.clone() }
    }
}

#[async_trait]
impl EventLog for MemoryDb {
    async fn read(&self, ctx: &Context, after: u64, limit: u32) -> Result<Vec<NumberedEvent>> {
        let state = self.open()?;
        let events = slice(&state.of(ctx.tenant()).events, after, limit);
        Ok(events.map(|(place, outgoing)| outgoing.numbered(place)).collect())
    }

    async fn unpublished(&self, limit: u32) -> Result<Vec<NumberedEvent>> {
        let state = self.open()?;
        let all = state.data.values().flat_map(|data| (0..).zip(&data.events));
        let open = all.filter(|(_, outgoing)| !outgoing.confirmed).take(limit as usize);
        Ok(open.map(|(place, outgoing)| outgoing.numbered(place)).collect())
    }

    async fn published(&self, events: &[NumberedEvent]) -> Result<()> {
        let mut state = self.open()?;
        for NumberedEvent { seq, event } in events {
            let place = seq.checked_sub(1).and_then(|place| usize::try_from(place).ok());
            let events = state.data.get_mut(&event.tenantid).map(|data| &mut data.events);
            // The id tells the event from an older one of the same number, which went with its tenant's data.
            if let Some((place, events)) = place.zip(events)
                && let Some(outgoing) = events.get_mut(place)
                && outgoing.event.id == event.id
            {
                outgoing.confirmed = true;
            }
        }
        Ok(())
    }
}
