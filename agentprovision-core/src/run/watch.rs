//! Who watches a run that shall not outlive its watchers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_core::Stream;
use futures_util::TryStreamExt;

use super::events::{RunEvent, RunEventKind, RunEvents};
use super::service::Runs;
use crate::context::Context;
use crate::error::{ErrorKind, Result};
use crate::id::RunId;

/// Shared by the handles of one start and by what watches through them.
pub(super) struct Watch {
    runs: Runs,
    ctx: Context,
    id: RunId,
    watchers: AtomicUsize,
    /// The run is over, or its end was asked for.
    settled: AtomicBool,
}

impl Watch {
    pub(super) fn new(runs: &Runs, ctx: &Context, id: RunId) -> Arc<Self> {
        Arc::new(Self {
            runs: runs.clone(),
            ctx: ctx.clone(),
            id,
            watchers: AtomicUsize::new(0),
            settled: AtomicBool::new(false),
        })
    }

    /// The events, which count as a watcher until they are dropped.
    pub(super) fn watched(
        self: &Arc<Self>,
        events: impl Stream<Item = Result<RunEvent>> + Send + 'static,
    ) -> RunEvents {
        self.watchers.fetch_add(1, Ordering::SeqCst);
        let watcher = Watcher(self.clone());
        Box::pin(events.inspect_ok(move |event| {
            if matches!(event.kind, RunEventKind::Finished { .. }) {
                watcher.0.settled.store(true, Ordering::SeqCst);
            }
        }))
    }

    fn lost(&self) {
        if self.settled.swap(true, Ordering::SeqCst) {
            return;
        }
        let (runs, ctx, id) = (self.runs.clone(), self.ctx.clone(), self.id);
        // Dropped wherever the host drops it, which need not be within the runtime.
        self.runs.shared.runtime.spawn(async move {
            match runs.abandon(&ctx, id).await {
                Err(error) if !matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Closed) => {
                    tracing::warn!(run = %id, ?error, "a run that nobody watches could not be cancelled");
                }
                _ => {}
            }
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.lost();
    }
}

struct Watcher(Arc<Watch>);

impl Drop for Watcher {
    fn drop(&mut self) {
        if self.0.watchers.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.lost();
        }
    }
}
