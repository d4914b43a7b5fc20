//! How many requests are under way, how many there may be, and waiting for their end.

use std::sync::Arc;

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, Default)]
struct State {
    under_way: usize,
    draining: bool,
}

/// The requests under way. Cheap to clone; every clone counts the same.
#[derive(Clone, Debug)]
pub(super) struct Load {
    limit: usize,
    state: Arc<watch::Sender<State>>,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Busy {
    /// As many are under way as there may be.
    Full,
    /// The gateway is about to end.
    Draining,
}

/// One request under way; it is over when this is dropped.
#[derive(Debug)]
pub(super) struct Permit(Arc<watch::Sender<State>>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.send_modify(|state| state.under_way -= 1);
    }
}

impl Load {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, state: Arc::new(watch::Sender::default()) }
    }

    /// Lets a request in where there is room.
    pub(super) fn enter(&self) -> Result<Permit, Busy> {
        let mut refused = None;
        // Nobody but a drain looks, and it has to be told of ends only.
        self.state.send_if_modified(|state| {
            refused = match state {
                State { draining: true, .. } => Some(Busy::Draining),
                State { under_way, .. } if *under_way >= self.limit => Some(Busy::Full),
                State { under_way, .. } => {
                    *under_way += 1;
                    None
                }
            };
            false
        });
        match refused {
            None => Ok(Permit(Arc::clone(&self.state))),
            Some(busy) => Err(busy),
        }
    }

    /// How many are under way.
    pub(super) fn under_way(&self) -> usize {
        self.state.borrow().under_way
    }

    /// Whether no more are let in.
    pub(super) fn is_draining(&self) -> bool {
        self.state.borrow().draining
    }

    /// Lets nobody in from now on, and returns when nothing is under way any more.
    pub(super) async fn drain(&self) {
        self.state.send_modify(|state| state.draining = true);
        let mut state = self.state.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = state.wait_for(|state| state.under_way == 0).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_drain_waits_for_the_last_and_lets_nobody_in() {
        let load = Load::new(2);
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
