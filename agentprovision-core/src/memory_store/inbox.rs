//! [`Inbox`] in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use super::{MemoryDb, TenantData, in_turn, page};
use crate::clock::Timestamp;
use crate::context::Context;
use crate::effect::{Effects, Guard};
use crate::error::{Error, Result};
use crate::id::{DeliveryId, EndpointId, TenantId, WorkerId};
use crate::page::{Cursor, Page, PageRequest};
use crate::webhook::{
    Accepted, ClaimedDelivery, Delivery, DeliveryEnd, DeliveryState, EndpointState, Inbox, NewDelivery,
    check_mark, check_term,
};

/// The deliveries of a tenant, and the marks of its endpoints.
#[derive(Default)]
pub(super) struct Kept {
    deliveries: BTreeMap<DeliveryId, Row>,
    /// Deliveries by endpoint and key.
    keys: BTreeMap<(EndpointId, String), DeliveryId>,
    marks: BTreeMap<(EndpointId, String), String>,
}

struct Row {
    delivery: Delivery,
    /// From when on a pending one may be taken.
    ready_at: Timestamp,
    /// Until when it is somebody's; nobody's where absent.
    until: Option<Timestamp>,
    epoch: u64,
}

impl Row {
    fn new(new: NewDelivery, now: Timestamp) -> Self {
        let delivery = Delivery {
            new,
            state: DeliveryState::Pending,
            attempts: 0,
            error: None,
            runs: Vec::new(),
            repeats: 0,
            conflicts: 0,
            conflict_digest: None,
            finished_at: None,
        };
        Self { delivery, ready_at: now, until: None, epoch: 0 }
    }

    fn is_ready(&self, now: Timestamp) -> bool {
        self.delivery.state == DeliveryState::Pending
            && self.ready_at <= now
            && self.until.is_none_or(|until| until <= now)
    }

    fn end(&mut self, end: DeliveryEnd, now: Timestamp) {
        self.until = None;
        let delivery = &mut self.delivery;
        match end {
            DeliveryEnd::Done(runs) => {
                (delivery.state, delivery.finished_at) = (DeliveryState::Done, Some(now));
                (delivery.runs, delivery.error) = (runs, None);
            }
            DeliveryEnd::Retry(after, error) => {
                delivery.error = Some(error);
                self.ready_at = now.after(after);
            }
            DeliveryEnd::Failed(error) => {
                (delivery.state, delivery.finished_at) = (DeliveryState::Failed, Some(now));
                delivery.error = Some(error);
            }
        }
    }
}

impl Kept {
    fn row(&self, id: DeliveryId) -> Result<&Row> {
        self.deliveries.get(&id).ok_or_else(|| Error::not_found("no such delivery"))
    }

    /// The delivery with this key, if there is one, and whether its body is the same.
    fn found(&self, new: &NewDelivery) -> Option<(DeliveryId, bool)> {
        let id = self.keys.get(&(new.endpoint, new.key.clone()))?;
        let row = self.deliveries.get(id)?;
        Some((*id, row.delivery.new.digest == new.digest))
    }

    fn ready(&self, now: Timestamp) -> Vec<(Timestamp, DeliveryId)> {
        let ready = self.deliveries.iter().filter(|(_, row)| row.is_ready(now));
        ready.map(|(id, row)| (row.ready_at, *id)).collect()
    }

    /// Gives a delivery to a worker, with a new epoch.
    fn take_up(&mut self, tenant: TenantId, id: DeliveryId, until: Timestamp) -> Option<ClaimedDelivery> {
        let row = self.deliveries.get_mut(&id)?;
        row.epoch += 1;
        row.delivery.attempts += 1;
        row.until = Some(until);
        Some(ClaimedDelivery { tenant, delivery: row.delivery.clone(), epoch: row.epoch })
    }

    fn remove(&mut self, id: DeliveryId) {
        if let Some(row) = self.deliveries.remove(&id) {
            self.keys.remove(&(row.delivery.new.endpoint, row.delivery.new.key));
        }
    }

    /// Removes what belongs to an endpoint.
    pub(super) fn forget(&mut self, endpoint: EndpointId) {
        self.deliveries.retain(|_, row| row.delivery.new.endpoint != endpoint);
        self.keys.retain(|(owner, _), _| *owner != endpoint);
        self.marks.retain(|(owner, _), _| *owner != endpoint);
    }
}

#[async_trait]
impl Inbox for MemoryDb {
    async fn accept(&self, tenant: TenantId, delivery: NewDelivery) -> Result<Accepted> {
        delivery.check()?;
        let now = self.env.now();
        let guards = Effects { guards: vec![Guard::TenantActive], ..Effects::none() };
        let accepted = self.open()?.change_in(tenant, guards, |data| {
            if data.endpoint(delivery.endpoint)?.state != EndpointState::Active {
                return Err(Error::not_found("no such endpoint"));
            }
            let found = data.inbox.found(&delivery);
            if found.is_none() && data.inbox.deliveries.contains_key(&delivery.id) {
                return Err(Error::conflict("the id of the delivery is another one's"));
            }
            Ok(move |data: &mut TenantData| {
                let inbox = &mut data.inbox;
                let Some((id, same)) = found else {
                    inbox.keys.insert((delivery.endpoint, delivery.key.clone()), delivery.id);
                    inbox.deliveries.insert(delivery.id, Row::new(delivery, now));
                    return Accepted::New;
                };
                if let Some(row) = inbox.deliveries.get_mut(&id) {
                    if same {
                        row.delivery.repeats += 1;
                    } else {
                        row.delivery.conflicts += 1;
                        row.delivery.conflict_digest = Some(delivery.digest);
                    }
                }
                if same { Accepted::Again } else { Accepted::Conflict }
            })
        })?;
        if accepted == Accepted::New {
            self.delivered.notify_waiters();
        }
        Ok(accepted)
    }

    async fn claim(
        &self,
        _: WorkerId,
        term: Duration,
        limit: u32,
        after: Option<TenantId>,
    ) -> Result<Vec<ClaimedDelivery>> {
        check_term(term)?;
        let mut state = self.open()?;
        let now = self.env.now();
        let queues: Vec<_> = state
            .data
            .iter()
            .filter(|(tenant, _)| state.is_active(**tenant))
            .map(|(tenant, data)| (*tenant, data.inbox.ready(now)))
            .collect();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let turns = in_turn(queues.into_iter(), after, limit, limit);
        let until = now.after(term);
        Ok(turns
            .filter_map(|(tenant, (_, id))| state.of_mut(tenant).inbox.take_up(tenant, id, until))
            .collect())
    }

    async fn finish(
        &self,
        tenant: TenantId,
        id: DeliveryId,
        epoch: u64,
        end: DeliveryEnd,
        effects: Effects,
    ) -> Result<()> {
        let now = self.env.now();
        let again = matches!(end, DeliveryEnd::Retry(..));
        self.open()?.change_in(tenant, effects, |data| {
            let row = data.inbox.row(id)?;
            if row.epoch != epoch || row.until.is_none() {
                return Err(Error::fenced("the delivery is not this worker's any more"));
            }
            Ok(move |data: &mut TenantData| {
                if let Some(row) = data.inbox.deliveries.get_mut(&id) {
                    row.end(end, now);
                }
            })
        })?;
        if again {
            self.delivered.notify_waiters();
        }
        Ok(())
    }

    async fn advance(
        &self,
        tenant: TenantId,
        endpoint: EndpointId,
        key: &str,
        version: &str,
    ) -> Result<bool> {
        check_mark(key, version)?;
        self.open()?.change_in(tenant, Effects::none(), |data| {
            data.endpoint(endpoint)?;
            let place = (endpoint, key.to_owned());
            let newer = data.inbox.marks.get(&place).is_none_or(|there| there.as_str() < version);
            Ok(move |data: &mut TenantData| {
                if newer {
                    data.inbox.marks.insert(place, version.to_owned());
                }
                newer
            })
        })
    }

    async fn mark(&self, tenant: TenantId, endpoint: EndpointId, key: &str) -> Result<Option<String>> {
        Ok(self.open()?.of(tenant).inbox.marks.get(&(endpoint, key.to_owned())).cloned())
    }

    async fn get(&self, ctx: &Context, id: DeliveryId) -> Result<Delivery> {
        Ok(self.open()?.of(ctx.tenant()).inbox.row(id)?.delivery.clone())
    }

    async fn list(
        &self,
        ctx: &Context,
        endpoint: EndpointId,
        request: PageRequest,
    ) -> Result<Page<Delivery>> {
        let all = self.open()?;
        let rows = all.of(ctx.tenant()).inbox.deliveries.values().map(|row| &row.delivery);
        let position =
            |delivery: &Delivery| Cursor { created: delivery.new.received_at, id: delivery.new.id.uuid() };
        let mut found = page(rows.filter(|delivery| delivery.new.endpoint == endpoint), request, position)?;
        for delivery in &mut found.items {
            delivery.new.body = Vec::new();
        }
        Ok(found)
    }

    async fn replay(&self, ctx: &Context, id: DeliveryId, effects: Effects) -> Result<()> {
        let now = self.env.now();
        self.open()?.change_in(ctx.tenant(), effects, |data| {
            if data.inbox.row(id)?.delivery.state == DeliveryState::Pending {
                return Err(Error::conflict("the delivery is pending"));
            }
            Ok(move |data: &mut TenantData| {
                if let Some(row) = data.inbox.deliveries.get_mut(&id) {
                    row.delivery.state = DeliveryState::Pending;
                    (row.delivery.finished_at, row.ready_at) = (None, now);
                }
            })
        })?;
        self.delivered.notify_waiters();
        Ok(())
    }

    async fn expire(&self, keep: Duration, limit: u32) -> Result<u32> {
        let mut state = self.open()?;
        let now = self.env.now();
        let mut gone = 0;
        for data in state.data.values_mut() {
            let rows = data.inbox.deliveries.iter();
            let mut over: Vec<_> =
                rows.filter_map(|(id, row)| Some((row.delivery.finished_at?, *id))).collect();
            over.retain(|(at, _)| at.after(keep) < now);
            over.sort_unstable();
            for (_, id) in over {
                if gone == limit {
                    return Ok(gone);
                }
                data.inbox.remove(id);
                gone += 1;
            }
        }
        Ok(gone)
    }

    async fn woken(&self) {
        self.delivered.notified().await;
    }
}
