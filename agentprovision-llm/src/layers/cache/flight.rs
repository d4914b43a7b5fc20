//! Single flight: of several callers with one question, one asks and the others wait for its answer.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agentprovision_core::Result;
use tokio::sync::watch;

use super::key::Key;

/// What becomes of a question: nothing yet, or its outcome.
type Outcome<T> = Option<Result<T>>;

struct Map<T> {
    next: u64,
    open: HashMap<Key, (u64, watch::Receiver<Outcome<T>>)>,
}

/// The questions that are being asked.
pub(super) struct Flights<T>(Mutex<Map<T>>);

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self(Mutex::new(Map { next: 0, open: HashMap::new() }))
    }
}

impl<T> fmt::Debug for Flights<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("open", &self.lock().open.len()).finish()
    }
}

/// Who asks, and who waits.
pub(super) enum Joined<T: Clone> {
    /// This caller asks.
    Lead(Lead<T>),
    /// Another one does.
    Follow(Follow<T>),
}

impl<T> Flights<T> {
    fn lock(&self) -> MutexGuard<'_, Map<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Questions under way are answered to those who wait already, and to nobody who comes later.
    pub(super) fn forget(&self) {
        self.lock().open.clear();
    }
}

impl<T: Clone> Flights<T> {
    /// Joins those with the same question.
    pub(super) fn join(self: &Arc<Self>, key: Key) -> Joined<T> {
        let mut map = self.lock();
        if let Some((_, outcome)) = map.open.get(&key) {
            return Joined::Follow(Follow(outcome.clone()));
        }
        let (sender, outcome) = watch::channel(None);
        let number = map.next;
        map.next += 1;
        map.open.insert(key, (number, outcome));
        Joined::Lead(Lead { flights: Arc::clone(self), key, number, sender })
    }
}

/// The right and the duty to ask. Dropped without an outcome, it passes to one of those who wait.
pub(super) struct Lead<T: Clone> {
    flights: Arc<Flights<T>>,
    key: Key,
    number: u64,
    sender: watch::Sender<Outcome<T>>,
}

impl<T: Clone> Lead<T> {
    /// Gives the outcome to all who wait; nobody joins any more. It is made only if somebody does.
    pub(super) fn end(self, outcome: impl FnOnce() -> Result<T>) {
        self.close();
        if self.sender.receiver_count() > 0 {
            self.sender.send_replace(Some(outcome()));
        }
    }

    fn close(&self) {
        let mut map = self.flights.lock();
        if map.open.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            map.open.remove(&self.key);
        }
    }
}

impl<T: Clone> Drop for Lead<T> {
    fn drop(&mut self) {
        self.close();
    }
}

/// One who waits.
pub(super) struct Follow<T>(watch::Receiver<Outcome<T>>);

impl<T: Clone> Follow<T> {
    /// The outcome; `None` when whoever asked went away.
    pub(super) async fn outcome(mut self) -> Outcome<T> {
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        }
    }
}
