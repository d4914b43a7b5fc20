//! Room for runs in this process: how many are driven at once, of all tenants and of each, and who is next.
//!
//! Tenants that wait are served in turn, by id. A tenant at its limit is passed over and holds nobody up.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::id::TenantId;

/// Tenants that may wait here while there is no room, before no more runs are taken from the store for others.
const IN_LINE: usize = 8;

/// The room of an engine.
#[derive(Debug)]
pub(super) struct Room {
    per_tenant: usize,
    state: Mutex<State>,
    left: Notify,
}

#[derive(Debug, Default)]
struct State {
    free: usize,
    /// Those with runs in here or in line.
    tenants: BTreeMap<TenantId, Tenant>,
    /// Who was served last.
    last: Option<TenantId>,
    /// The number of the next ticket.
    next: u64,
}

#[derive(Debug, Default)]
struct Tenant {
    running: usize,
    /// By number of their tickets, the first one first.
    waiting: BTreeMap<u64, oneshot::Sender<()>>,
}

/// What may be taken from the store.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Runs.
    pub(super) limit: usize,
    /// Of one tenant.
    pub(super) per_tenant: usize,
    /// Tenants that are at their limit, or whose runs wait here already.
    pub(super) full: Vec<TenantId>,
}

/// A place in line, then room, until it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    room: Arc<Room>,
    tenant: TenantId,
    number: u64,
    served: oneshot::Receiver<()>,
}

impl Room {
    /// Room for `all` runs, of which one tenant has at most `per_tenant`; each is 1 at least.
    pub(super) fn new(all: usize, per_tenant: usize) -> Arc<Self> {
        let state = State { free: all.max(1), ..State::default() };
        Arc::new(Self { per_tenant: per_tenant.max(1), state: Mutex::new(state), left: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stands in line behind the other runs of the tenant.
    pub(super) fn enter(self: &Arc<Self>, tenant: TenantId) -> Ticket {
        let (serve, served) = oneshot::channel();
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.tenants.entry(tenant).or_default().waiting.insert(number, serve);
        state.serve(self.per_tenant);
        drop(state);
        Ticket { room: self.clone(), tenant, number, served }
    }

    /// What may be taken from the store. While there is no room and some tenants wait, the runs of a few others may
    /// stand in line with theirs: what was started here must not keep out what others have in the store.
    pub(super) fn wanted(&self) -> Wanted {
        let state = self.state();
        let waiting = state.tenants.values().filter(|tenant| !tenant.waiting.is_empty()).count();
        let (limit, mut per_tenant) = match (state.free, waiting) {
            (0, 0) => (0, 1),
            (0, waiting) => (IN_LINE.saturating_sub(waiting), 1),
            (free, _) => (free, self.per_tenant),
        };
        let mut full = Vec::new();
        for (id, tenant) in &state.tenants {
            let left = self.per_tenant.saturating_sub(tenant.running);
            if left == 0 || !tenant.waiting.is_empty() {
                full.push(*id);
            } else {
                per_tenant = per_tenant.min(left);
            }
        }
        Wanted { limit, per_tenant, full }
    }

    /// Waits until a run left, or has left since this was waited for last.
    pub(super) async fn left(&self) {
        self.left.notified().await;
    }
}

impl State {
    /// Gives what is free to those whose turn it is.
    fn serve(&mut self, per_tenant: usize) {
        while self.free > 0 {
            let due = |(_, tenant): &(&TenantId, &mut Tenant)| {
                tenant.running < per_tenant && !tenant.waiting.is_empty()
            };
            let behind = self.last.map_or(Unbounded, Excluded);
            let next = match self.tenants.range_mut((behind, Unbounded)).find(due) {
                Some((id, _)) => Some(*id),
                None => self.tenants.iter_mut().find(due).map(|(id, _)| *id),
            };
            let Some(id) = next else { return };
            let Some(tenant) = self.tenants.get_mut(&id) else { return };
            let Some((_, serve)) = tenant.waiting.pop_first() else { return };
            tenant.running += 1;
            self.free -= 1;
            self.last = Some(id);
            // A ticket whose holder is going away is given back when it is dropped.
            let _ = serve.send(());
        }
    }
}

impl Ticket {
    /// Waits for room. May be dropped and waited for again.
    pub(super) async fn wait(&mut self) {
        if !self.served.is_terminated() {
            // The sender goes only with its message or with this ticket.
            let _ = (&mut self.served).await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.room.state();
        let Some(tenant) = state.tenants.get_mut(&self.tenant) else { return };
        let waited = tenant.waiting.remove(&self.number).is_some();
        if !waited {
            tenant.running -= 1;
        }
        if tenant.running == 0 && tenant.waiting.is_empty() {
            state.tenants.remove(&self.tenant);
        }
        if !waited {
            state.free += 1;
            state.serve(self.room.per_tenant);
        }
        drop(state);
        self.room.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;
    use futures_util::FutureExt;

    fn tenant(place: u128) -> TenantId {
        TenantId::from_uuid_unchecked(uuid::Uuid::from_u128(place))
    }

    /// Whether the ticket is served.
    fn served(ticket: &mut Ticket) -> bool {
        ticket.wait().now_or_never().is_some()
    }

    #[test]
    fn tenants_that_wait_are_served_in_turn() {
        let room = Room::new(1, usize::MAX);
        let first = room.enter(tenant(2));
        // The first tenant asks for a lot before the others ask at all.
        let mut line: Vec<_> = [2, 2, 2, 2, 1, 3, 3].map(|id| (id, room.enter(tenant(id)))).into();
        drop(first);
        let mut order = Vec::new();
        while !line.is_empty() {
            let all: Vec<_> = line.iter_mut().map(|(_, ticket)| served(ticket)).collect();
            assert_eq!(all.iter().filter(|served| **served).count(), 1);
            let (id, ticket) = line.remove(all.iter().position(|served| *served).unwrap());
            order.push(id);
            drop(ticket);
        }
        assert_eq!(order, [3, 1, 2, 3, 2, 2, 2]);
        assert_eq!(room.wanted(), Wanted { limit: 1, per_tenant: usize::MAX, full: vec![] });
        assert!(room.state().tenants.is_empty());
    }

    #[test]
    fn a_tenant_at_its_limit_holds_nobody_up() {
        let room = Room::new(4, 2);
        let mut many: Vec<_> = (0..10).map(|_| room.enter(tenant(1))).collect();
        let mut one = room.enter(tenant(2));
        assert!(served(&mut one));
        assert_eq!(many.iter_mut().map(served).filter(|served| *served).count(), 2);
        // One place is left, and of the second tenant one more run may come; the first one is full.
        assert_eq!(room.wanted(), Wanted { limit: 1, per_tenant: 1, full: vec![tenant(1)] });
        drop(many.remove(1));
        assert!(served(&mut many[1]));
        assert!(!served(&mut many[2]));
    }

    #[test]
    fn a_few_others_may_stand_in_line_while_there_is_no_room() {
        let room = Room::new(1, usize::MAX);
        let _runs = room.enter(tenant(1));
        assert_eq!(room.wanted().limit, 0, "what nobody here waits for is left to others");
        let mut line = vec![room.enter(tenant(1))];
        assert_eq!(room.wanted(), Wanted { limit: IN_LINE - 1, per_tenant: 1, full: vec![tenant(1)] });
        line.extend((2..20).map(|id| room.enter(tenant(id))));
        assert_eq!(room.wanted().limit, 0);
    }

    #[test]
    fn whoever_leaves_the_line_takes_nobodys_room() {
        let room = Room::new(1, usize::MAX);
        let mut first = room.enter(tenant(1));
        let (gone, mut next) = (room.enter(tenant(2)), room.enter(tenant(3)));
        drop(gone);
        assert!(!served(&mut next));
        // Served, and dropped before it knew.
        let unaware = room.enter(tenant(1));
        assert!(served(&mut first));
        drop(first);
        assert!(served(&mut next));
        drop(next);
        drop(unaware);
        assert_eq!(room.wanted(), Wanted { limit: 1, per_tenant: usize::MAX, full: vec![] });
        assert!(room.left().now_or_never().is_some());
    }
}
