//! How much is under way, how much there may be, and waiting for its end.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentprovision_core::id::TenantId;
use tokio::sync::Notify;

/// How much there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Requests of everybody.
    pub(super) requests: usize,
    /// Requests of one tenant.
    pub(super) requests_of_tenant: usize,
    /// Bytes of the bodies of everybody's requests; one tenant may have half of them.
    pub(super) bytes: usize,
}

/// What is under way, of everybody or of one tenant.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    requests: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    all: Share,
    /// Of tenants that have something under way.
    tenants: HashMap<TenantId, Share>,
    draining: bool,
}

/// The requests under way. Cheap to clone; every clone counts the same.
#[derive(Clone, Debug)]
pub(super) struct Load(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    state: Mutex<State>,
    /// Told of the end of a request.
    ended: Notify,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a request is not let in, or not let go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Busy {
    /// As much is under way as there may be.
    Full,
    /// As much of the tenant's is under way as there may be.
    Tenant,
    /// The gateway is about to end.
    Draining,
}

/// One request under way; it is over when this is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    shared: Arc<Shared>,
    tenant: Option<TenantId>,
    bytes: usize,
}

impl Permit {
    /// Says whose request it is, once that is known.
    pub(super) fn assign(&mut self, tenant: TenantId) -> Result<(), Busy> {
        let mut state = self.shared.state();
        let share = state.tenants.entry(tenant).or_default();
        if share.requests >= self.shared.limits.requests_of_tenant {
            return Err(Busy::Tenant);
        }
        share.requests += 1;
        self.tenant = Some(tenant);
        Ok(())
    }

    /// Holds room for more bytes of the body, until the request is over.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), Busy> {
        let limit = self.shared.limits.bytes;
        let mut state = self.shared.state();
        let State { all, tenants, .. } = &mut *state;
        let share = self.tenant.and_then(|tenant| tenants.get_mut(&tenant));
        if share.as_ref().is_some_and(|share| share.bytes.saturating_add(bytes) > limit / 2) {
            return Err(Busy::Tenant);
        }
        if all.bytes.saturating_add(bytes) > limit {
            return Err(Busy::Full);
        }
        all.bytes += bytes;
        self.bytes += bytes;
        if let Some(share) = share {
            share.bytes += bytes;
        }
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.all.requests -= 1;
        state.all.bytes -= self.bytes;
        if let Some(tenant) = self.tenant
            && let Some(share) = state.tenants.get_mut(&tenant)
        {
            share.requests -= 1;
            share.bytes -= self.bytes;
            if share.requests == 0 {
                state.tenants.remove(&tenant);
            }
        }
        drop(state);
        self.shared.ended.notify_waiters();
    }
}

impl Load {
    pub(super) fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared { limits, state: Mutex::default(), ended: Notify::new() }))
    }

    /// Lets a request in where there is room.
    pub(super) fn enter(&self) -> Result<Permit, Busy> {
        let mut state = self.0.state();
        if state.draining {
            return Err(Busy::Draining);
        }
        if state.all.requests >= self.0.limits.requests {
            return Err(Busy::Full);
        }
        state.all.requests += 1;
        Ok(Permit { shared: Arc::clone(&self.0), tenant: None, bytes: 0 })
    }

    /// How many are under way.
    pub(super) fn under_way(&self) -> usize {
        self.0.state().all.requests
    }

    /// Whether no more are let in.
    pub(super) fn is_draining(&self) -> bool {
        self.0.state().draining
    }

    /// Lets nobody in from now on, and returns when nothing is under way any more.
    pub(super) async fn drain(&self) {
        self.0.state().draining = true;
        loop {
            let mut ended = pin!(self.0.ended.notified());
            // From here on no end is missed.
            ended.as_mut().enable();
            if self.under_way() == 0 {
                return;
            }
            ended.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use agentprovision_core::Env;

    use super::*;

    #[test]
    fn a_tenant_has_its_share_and_gives_it_back() {
        let load = Load::new(Limits { requests: 9, requests_of_tenant: 2, bytes: 100 });
        let (one, other): (TenantId, TenantId) = (Env::default().id(), Env::default().id());
        let [mut first, mut second, mut third, mut fourth] = [(); 4].map(|()| load.enter().unwrap());
        assert_eq!([first.assign(one), second.assign(one)], [Ok(()), Ok(())]);
        assert_eq!(third.assign(one), Err(Busy::Tenant));
        assert_eq!([third.assign(other), fourth.assign(other)], [Ok(()), Ok(())]);
        assert_eq!([first.hold(30), second.hold(20), second.hold(1)], [Ok(()), Ok(()), Err(Busy::Tenant)]);
        assert_eq!([third.hold(50), fourth.hold(1)], [Ok(()), Err(Busy::Tenant)]);
        let mut nobody = load.enter().unwrap();
        assert_eq!(nobody.hold(1), Err(Busy::Full));
        drop((first, nobody));
        assert_eq!(second.hold(30), Ok(()));
        let mut again = load.enter().unwrap();
        assert_eq!(again.assign(one), Ok(()));
        drop((second, third, fourth, again));
        assert!(load.0.state().tenants.is_empty());
        assert_eq!((load.under_way(), load.0.state().all.bytes), (0, 0));
    }

    #[tokio::test]
    async fn a_drain_waits_for_the_last_and_lets_nobody_in() {
        let load = Load::new(Limits { requests: 2, requests_of_tenant: 2, bytes: 1 });
        let (first, second) = (load.enter().unwrap(), load.enter().unwrap());
        assert_eq!(load.enter().unwrap_err(), Busy::Full);
        drop(first);
        let third = load.enter().unwrap();
        let draining = tokio::spawn({
            let load = load.clone();
            async move { load.drain().await }
        });
        while !load.is_draining() {
            tokio::task::yield_now().await;
        }
        drop(second);
        assert_eq!(load.enter().unwrap_err(), Busy::Draining);
        tokio::task::yield_now().await;
        assert!(!draining.is_finished());
        drop(third);
        draining.await.unwrap();
        assert_eq!(load.under_way(), 0);
    }
}
