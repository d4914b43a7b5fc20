//! An answer in pieces, and what was spent on it.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use agentprovision_core::Result;
use agentprovision_core::model::{ChatEvent, ChatStream};
use futures_util::{Stream, StreamExt, stream};

use super::spend::{Spent, Tab};

/// The pieces of an answer. Dropping it ends the request at once; what was used until then counts.
pub struct ModelStream {
    events: ChatStream,
    spent: Arc<OnceLock<Spent>>,
}

impl fmt::Debug for ModelStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelStream").field("spent", &self.spent.get()).finish_non_exhaustive()
    }
}

impl ModelStream {
    pub(super) fn new(events: ChatStream, tab: Tab) -> Self {
        let spent = Arc::new(OnceLock::new());
        let open = Open { events, tab: Some(tab), spent: Arc::clone(&spent) };
        let events = stream::unfold(open, |mut open| async {
            let event = open.next().await?;
            Some((event, open))
        });
        Self { events: events.boxed(), spent }
    }

    /// What was spent; `None` until the stream is at its end.
    pub fn spent(&self) -> Option<&Spent> {
        self.spent.get()
    }
}

impl Stream for ModelStream {
    type Item = Result<ChatEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_next_unpin(cx)
    }
}

/// A stream that is read.
struct Open {
    // Dropped first: that is when the last attempt is recorded.
    events: ChatStream,
    /// `None` once the stream is at its end.
    tab: Option<Tab>,
    spent: Arc<OnceLock<Spent>>,
}

impl Open {
    async fn next(&mut self) -> Option<Result<ChatEvent>> {
        let tab = self.tab.as_ref()?;
        let event = tab.within(self.events.next()).await.unwrap_or_else(|error| Some(Err(error)));
        if !matches!(event, Some(Ok(_))) {
            self.events = stream::empty().boxed();
            if let Some(tab) = self.tab.take() {
                // Nobody else sets it, and this runs once.
                let _ = self.spent.set(tab.end().await);
            }
        }
        event
    }
}
