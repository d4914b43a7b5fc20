//! A handle on a run, and how it ended.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::TryStreamExt;

use super::chain::Chain;
use super::events::{EventCursor, RunEvents};
use super::service::Runs;
use super::store::{RunRecord, RunStatus};
use super::watch::Watch;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::id::RunId;
use crate::model::ChatResponse;

/// A handle on a run. Cheap to clone; dropping it does nothing to the run, unless its start said so.
#[derive(Clone)]
pub struct Run {
    pub(super) runs: Runs,
    pub(super) ctx: Context,
    pub(super) id: RunId,
    pub(super) watch: Option<Arc<Watch>>,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Run").field(&self.id).finish()
    }
}

impl Run {
    /// The id.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// Where the run stands.
    ///
    /// # Errors
    /// As [`Runs::record`].
    pub async fn record(&self) -> Result<RunRecord> {
        self.runs.record(&self.ctx, self.id).await
    }

    /// Its events from the beginning, up to its end.
    pub fn events(&self) -> RunEvents {
        self.events_after(EventCursor::default())
    }

    /// Its events after a place, up to its end. Without `runs:read` the stream's first item is the error.
    pub fn events_after(&self, after: EventCursor) -> RunEvents {
        let run = self.clone();
        let events =
            futures_util::stream::once(async move { run.runs.events(&run.ctx, run.id, after).await })
                .try_flatten();
        match &self.watch {
            Some(watch) => watch.watched(events),
            None => Box::pin(events),
        }
    }

    /// Waits for its end. Dropping the future does nothing to the run, unless its start said so.
    ///
    /// # Errors
    /// As [`Runs::record`]; a run that failed is an outcome, not an error.
    pub async fn wait(&self) -> Result<Outcome> {
        let mut events = self.events();
        while events.try_next().await?.is_some() {}
        let (record, rows) = self.runs.journal(&self.ctx, self.id).await?;
        let chain = Chain::from_journal(self.id, record.status, &rows)?;
        let answer = match record.output {
            Some(output) => {
                let bytes = self.runs.shared.stores.index.payloads(&self.ctx, self.id, &[output]).await?;
                let answer: ChatResponse = bytes
                    .first()
                    .and_then(|bytes| serde_json::from_slice(bytes).ok())
                    .ok_or_else(|| Error::corrupt("the run's output cannot be read"))?;
                Some(answer.text)
            }
            None => None,
        };
        Ok(Outcome { record, chain, answer })
    }

    /// Asks for the run to end; see [`Runs::cancel`].
    ///
    /// # Errors
    /// As [`Runs::cancel`].
    pub async fn cancel(&self) -> Result<()> {
        self.runs.cancel(&self.ctx, self.id).await
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    record: RunRecord,
    chain: Chain,
    answer: Option<String>,
}

impl Outcome {
    /// The record of the run.
    pub fn record(&self) -> &RunRecord {
        &self.record
    }

    /// How it ended.
    pub fn status(&self) -> RunStatus {
        self.record.status
    }

    /// The answer, of a completed run.
    ///
    /// # Errors
    /// The error the run ended with.
    pub fn text(&self) -> Result<&str> {
        match (&self.answer, &self.record.error) {
            (Some(answer), _) => Ok(answer),
            (None, Some(error)) => Err(error.clone().into()),
            (None, None) => Err(Error::new(ErrorKind::Incomplete, "the run has no output")),
        }
    }

    /// The answer of a completed run as a value, for an agent with an output schema.
    ///
    /// # Errors
    /// The error the run ended with; `invalid_input` when the answer does not have this form.
    pub fn output<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(self.text()?)
            .map_err(|error| Error::invalid(format!("the answer does not have the asked form: {error}")))
    }

    /// Every step: what, how long, tokens, cost.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }
}

impl IntoFuture for Run {
    type Output = Result<Outcome>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.wait().await })
    }
}
