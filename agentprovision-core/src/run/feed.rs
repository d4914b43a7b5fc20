//! What is seen of a run while it is under way in this process: a wake-up per change, and the text of the step so far.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::id::RunId;

/// What a driver shows of its run. Followers read the journal for what is committed, and take from here only the text
/// of the model call under way, from where they are; so a slow follower holds nobody up and misses nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    /// Number of the last committed journal row.
    pub(super) seq: u64,
    /// The model call under way: its step and its text so far.
    pub(super) step: Option<(u32, Arc<String>)>,
}

/// The runs that are under way in this process.
#[derive(Clone, Debug, Default)]
pub(super) struct Feeds(Arc<FeedsInner>);

#[derive(Debug, Default)]
struct FeedsInner {
    runs: Mutex<HashMap<RunId, watch::Sender<Live>>>,
    changed: watch::Sender<u64>,
}

impl Feeds {
    /// Opens the feed of a run; it is there until [`Feeds::close`].
    pub(super) fn open(&self, run: RunId, seq: u64) -> Feed {
        let sender = watch::Sender::new(Live { seq, step: None });
        self.0.runs.lock().unwrap_or_else(PoisonError::into_inner).insert(run, sender.clone());
        self.bump();
        Feed { sender }
    }

    /// Ends the feed of a run; followers go on with the journal.
    pub(super) fn close(&self, run: RunId, feed: &Feed) {
        let mut runs = self.0.runs.lock().unwrap_or_else(PoisonError::into_inner);
        // Another driver may have the run by now.
        if runs.get(&run).is_some_and(|sender| sender.same_channel(&feed.sender)) {
            runs.remove(&run);
        }
        drop(runs);
        self.bump();
    }

    /// The feed of a run that is under way here.
    pub(super) fn follow(&self, run: RunId) -> Option<watch::Receiver<Live>> {
        self.0.runs.lock().unwrap_or_else(PoisonError::into_inner).get(&run).map(watch::Sender::subscribe)
    }

    /// Wakes when a feed is opened or closed, and when somebody calls [`Feeds::bump`].
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Wakes everybody who waits for a run that is not under way here.
    pub(super) fn bump(&self) {
        self.0.changed.send_modify(|count| *count += 1);
    }
}

/// The driver's side of a feed.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    sender: watch::Sender<Live>,
}

impl Feed {
    /// A batch was committed.
    pub(super) fn committed(&self, seq: u64) {
        self.sender.send_modify(|live| live.seq = live.seq.max(seq));
    }

    /// A model call begins, or begins again.
    pub(super) fn begin(&self, step: u32) {
        self.sender.send_modify(|live| live.step = Some((step, Arc::default())));
    }

    /// The model call ended.
    pub(super) fn end(&self) {
        self.sender.send_modify(|live| live.step = None);
    }

    /// More text of the model call.
    pub(super) fn text(&self, more: &str) {
        self.sender.send_modify(|live| {
            if let Some((_, text)) = &mut live.step {
                Arc::make_mut(text).push_str(more);
            }
        });
    }
}
