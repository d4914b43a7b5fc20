//! Streamed answers whose clients must go on reading them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use agentprovision_core::{Env, Error, ErrorKind};
use bytes::Bytes;
use tokio::task::JoinHandle;

use super::load::Permit;
use super::stream::SentEvents;

/// A streamed answer. A server that cannot write polls it no more, so somebody else has to look whether it is read.
pub(super) struct Watched {
    shared: Arc<Mutex<State>>,
    watch: Option<JoinHandle<()>>,
}

struct State {
    events: SentEvents,
    /// Whether it is the client's turn: nobody has come for a piece yet, or for the one after the last. Otherwise it is
    /// the model's, which may take its time.
    with_client: bool,
    /// How often somebody came.
    polls: u64,
}

fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watched {
    pub(super) fn new(events: SentEvents) -> Self {
        let state = State { events, with_client: true, polls: 0 };
        Self { shared: Arc::new(Mutex::new(state)), watch: None }
    }

    pub(super) fn hold(&mut self, permit: Permit) {
        lock(&self.shared).events.hold(permit);
    }

    /// Ends the answer when the client does not read for this long; noticed after twice as long at most.
    pub(super) fn watch(&mut self, env: Env, limit: Duration) {
        self.watch = Some(tokio::spawn(watch(Arc::downgrade(&self.shared), env, limit)));
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = lock(&self.shared);
        let piece = state.events.poll(cx);
        state.with_client = piece.is_ready();
        state.polls = state.polls.wrapping_add(1);
        piece
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
    }
}

async fn watch(shared: Weak<Mutex<State>>, env: Env, limit: Duration) {
    let mut seen = 0;
    loop {
        env.sleep(limit).await;
        let Some(shared) = shared.upgrade() else { return };
        let mut state = lock(&shared);
        if state.events.is_over() {
            return;
        }
        if state.with_client && state.polls == seen {
            let held = state.events.cut(&Error::new(ErrorKind::Cancelled, "the answer was not read in time"));
            drop(state);
            // Outside the lock, because it ends the model's work.
            drop(held);
            return;
        }
        seen = state.polls;
    }
}
