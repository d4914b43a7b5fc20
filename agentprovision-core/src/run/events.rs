//! The events of a run as callers follow them: numbered, resumable, with exactly one terminal event.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_core::stream::BoxStream;
use futures_util::stream;
use serde::{Deserialize, Serialize};

use super::feed::Feeds;
use super::journal::{
    DoneOutcome, JournalEntry, JournalRow, PayloadHash, RunTotals, StepError, StepKind, decode_entry,
};
use super::store::{RunIndex, RunStatus};
use crate::clock::Env;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::id::{ApprovalId, RunId};
use crate::model::{ChatResponse, Usage};
use crate::money::NanoUsd;

/// A place in a run's events: resume after it, and nothing is missed or repeated. Text form `<row>.<part>`.
///
/// The row is a number of the journal; the part counts the bytes of the answer that were delivered since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventCursor {
    /// The journal row.
    pub row: u64,
    /// Bytes of the model's text after it.
    pub part: u64,
}

impl fmt::Display for EventCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.row, self.part)
    }
}

impl std::str::FromStr for EventCursor {
    type Err = Error;

    /// # Errors
    /// `invalid_input` for another form.
    fn from_str(text: &str) -> Result<Self> {
        let bad =
            || Error::invalid(format!("`{}` is not a place in a run's events", crate::money::clip(text)));
        let (row, part) = text.split_once('.').ok_or_else(bad)?;
        Ok(Self { row: row.parse().map_err(|_| bad())?, part: part.parse().map_err(|_| bad())? })
    }
}

impl Serialize for EventCursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventCursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunEventKind {
    /// The run was accepted.
    Started,
    /// A step begins.
    StepStarted {
        /// Its number.
        step: u32,
        /// What it does.
        kind: StepKind,
        /// The model or the tool.
        name: String,
    },
    /// More of the model's text.
    Text {
        /// The step.
        step: u32,
        /// The text.
        text: String,
    },
    /// A model call begins again: what was delivered of its text counts no more.
    Restarted {
        /// The step.
        step: u32,
    },
    /// A step ended.
    StepFinished {
        /// Its number.
        step: u32,
        /// Whether it gave a result.
        ok: bool,
        /// Its error, where it gave none.
        error: Option<StepError>,
        /// Token counts of a model call.
        usage: Option<Usage>,
        /// Its cost, where known.
        cost_usd: Option<NanoUsd>,
    },
    /// A tool call waits for a person.
    ApprovalRequested {
        /// The approval, for the answer.
        approval: ApprovalId,
        /// The tool.
        tool: String,
        /// Hash of the exact arguments, for the answer.
        args_hash: PayloadHash,
    },
    /// A person answered.
    ApprovalAnswered {
        /// The approval.
        approval: ApprovalId,
        /// Whether the call goes ahead.
        approved: bool,
    },
    /// Somebody asked for the run to end.
    CancelRequested,
    /// The run is over. Always the last event, and only that.
    Finished {
        /// How.
        status: RunStatus,
        /// Its error, unless it is completed.
        error: Option<StepError>,
        /// What it used.
        totals: RunTotals,
    },
}

/// An event with its place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunEvent {
    /// The place: resume after it.
    pub cursor: EventCursor,
    /// The run.
    pub run: RunId,
    /// What happened.
    #[serde(flatten)]
    pub kind: RunEventKind,
}

impl fmt::Display for RunEvent {
    /// Text as it is; everything else on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            RunEventKind::Text { text, .. } => f.write_str(text),
            RunEventKind::Started => writeln!(f, "[run {} started]", self.run),
            RunEventKind::StepStarted { kind: StepKind::Tool, name, .. } => writeln!(f, "[tool {name}]"),
            RunEventKind::StepFinished { error: Some(error), .. } => {
                writeln!(f, "[failed: {}]", error.message)
            }
            RunEventKind::Restarted { .. } => writeln!(f, "\n[the answer begins again]"),
            RunEventKind::ApprovalRequested { tool, .. } => writeln!(f, "[{tool} waits for approval]"),
            RunEventKind::ApprovalAnswered { approved: true, .. } => writeln!(f, "[approved]"),
            RunEventKind::ApprovalAnswered { approved: false, .. } => writeln!(f, "[denied]"),
            RunEventKind::CancelRequested => writeln!(f, "[cancel requested]"),
            RunEventKind::Finished { status, error: None, .. } => writeln!(f, "\n[{}]", status.name()),
            RunEventKind::Finished { status, error: Some(error), .. } => {
                writeln!(f, "\n[{}: {}]", status.name(), error.message)
            }
            RunEventKind::StepStarted { .. } | RunEventKind::StepFinished { .. } => Ok(()),
        }
    }
}

/// The events of a run.
pub type RunEvents = BoxStream<'static, Result<RunEvent>>;

/// Changes of other processes are seen within this time.
const POLL: Duration = Duration::from_millis(250);

struct Follower {
    index: Arc<dyn RunIndex>,
    feeds: Feeds,
    env: Env,
    ctx: Context,
    run: RunId,
    cursor: EventCursor,
    /// The model call whose text is being delivered: its step and attempt.
    speaking: Option<(u32, u32)>,
    model_steps: std::collections::BTreeSet<u32>,
    ready: VecDeque<RunEvent>,
    over: bool,
}

/// Follows a run from a place on, up to its terminal event.
pub(super) fn follow(
    index: Arc<dyn RunIndex>,
    feeds: Feeds,
    env: Env,
    ctx: Context,
    run: RunId,
    after: EventCursor,
) -> RunEvents {
    let follower = Follower {
        index,
        feeds,
        env,
        ctx,
        run,
        cursor: after,
        speaking: None,
        model_steps: std::collections::BTreeSet::new(),
        ready: VecDeque::new(),
        over: false,
    };
    Box::pin(stream::try_unfold(follower, |mut follower| async move {
        Ok(follower.advance().await?.map(|event| (event, follower)))
    }))
}

impl Follower {
    async fn advance(&mut self) -> Result<Option<RunEvent>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.cursor = event.cursor;
                return Ok(Some(event));
            }
            if self.over {
                return Ok(None);
            }
            // Subscribe before reading, so that nothing is committed unseen between the two.
            let mut changes = self.feeds.changes();
            let mut live = self.feeds.follow(self.run);
            let rows = self.index.journal(&self.ctx, self.run, self.cursor.row, 100).await?;
            for row in rows {
                self.take(&row).await?;
            }
            if !self.ready.is_empty() || self.over {
                continue;
            }
            if live.is_none() {
                // Nothing follows the terminal event, whoever asks for it.
                let record = self.index.get(&self.ctx, self.run).await?;
                if record.status.is_terminal() && record.seq <= self.cursor.row {
                    return Ok(None);
                }
            }
            if let Some(live) = &mut live {
                let state = live.borrow_and_update().clone();
                if state.seq <= self.cursor.row && self.speak(&state.step) {
                    continue;
                }
                if state.seq > self.cursor.row {
                    continue;
                }
            }
            tokio::select! {
                _ = async { match &mut live { Some(live) => live.changed().await, None => std::future::pending().await } } => {}
                _ = changes.changed() => {}
                () = self.env.sleep(POLL), if live.is_none() => {}
            }
        }
    }

    /// Delivers what is new of the text of the call under way.
    fn speak(&mut self, step: &Option<(u32, u32, Arc<String>)>) -> bool {
        let Some((step, attempt, text)) = step else { return false };
        let restarted = self.speaking.is_some_and(|speaking| speaking.0 == *step && speaking.1 != *attempt);
        self.speaking = Some((*step, *attempt));
        if restarted && self.cursor.part > 0 {
            let cursor = EventCursor { row: self.cursor.row, part: 0 };
            self.push(cursor, RunEventKind::Restarted { step: *step });
            self.cursor = cursor;
            return true;
        }
        let Some(more) = text.get(usize::try_from(self.cursor.part).unwrap_or(usize::MAX)..) else {
            return false;
        };
        if more.is_empty() {
            return false;
        }
        let cursor = EventCursor { row: self.cursor.row, part: text.len() as u64 };
        self.push(cursor, RunEventKind::Text { step: *step, text: more.to_owned() });
        true
    }

    fn push(&mut self, cursor: EventCursor, kind: RunEventKind) {
        self.ready.push_back(RunEvent { cursor, run: self.run, kind });
    }

    /// Turns a journal row into events.
    async fn take(&mut self, row: &JournalRow) -> Result<()> {
        let cursor = EventCursor { row: row.seq, part: 0 };
        let kind = match decode_entry(&row.body)? {
            JournalEntry::Created { .. } => RunEventKind::Started,
            JournalEntry::Intent { step, kind, name, .. } => {
                if kind == StepKind::Model {
                    self.model_steps.insert(step);
                }
                RunEventKind::StepStarted { step, kind, name }
            }
            JournalEntry::Done { step, outcome, usage, cost, .. } => {
                let (ok, error) = match &outcome {
                    DoneOutcome::Ok { output } => {
                        self.rest_of_text(step, row.seq, output).await?;
                        (true, None)
                    }
                    DoneOutcome::Failed { error } => (false, Some(error.clone())),
                    DoneOutcome::Uncertain => (false, Some(uncertain())),
                };
                RunEventKind::StepFinished { step, ok, error, usage, cost_usd: cost }
            }
            JournalEntry::ApprovalAsked { approval, tool, args_hash, .. } => {
                RunEventKind::ApprovalRequested { approval, tool, args_hash }
            }
            JournalEntry::ApprovalAnswered { approval, approved, .. } => {
                RunEventKind::ApprovalAnswered { approval, approved }
            }
            JournalEntry::CancelAsked { .. } => RunEventKind::CancelRequested,
            JournalEntry::Finished { outcome, cancelled, totals, .. } => {
                self.over = true;
                let (status, error) = match outcome {
                    DoneOutcome::Ok { .. } => (RunStatus::Completed, None),
                    DoneOutcome::Failed { error } if cancelled => (RunStatus::Cancelled, Some(error)),
                    DoneOutcome::Failed { error } => (RunStatus::Failed, Some(error)),
                    DoneOutcome::Uncertain => (RunStatus::Failed, Some(uncertain())),
                };
                RunEventKind::Finished { status, error, totals }
            }
        };
        self.push(cursor, kind);
        self.cursor = cursor;
        Ok(())
    }

    /// Before a model call's end is told, what was not yet delivered of its text is.
    async fn rest_of_text(&mut self, step: u32, seq: u64, output: &PayloadHash) -> Result<()> {
        let delivered = std::mem::take(&mut self.cursor.part);
        if !self.model_steps.contains(&step) && delivered == 0 && !self.is_model(step).await? {
            return Ok(());
        }
        let bytes = self.index.payloads(&self.ctx, self.run, &[*output]).await?;
        let answer: ChatResponse = bytes
            .first()
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .ok_or_else(|| Error::corrupt("a model's answer cannot be read"))?;
        let rest = answer.text.get(usize::try_from(delivered).unwrap_or(usize::MAX)..).unwrap_or_default();
        if !rest.is_empty() {
            let cursor = EventCursor { row: seq.saturating_sub(1), part: answer.text.len() as u64 };
            self.push(cursor, RunEventKind::Text { step, text: rest.to_owned() });
        }
        Ok(())
    }

    /// Whether a step whose beginning this follower has not seen asks a model.
    async fn is_model(&mut self, step: u32) -> Result<bool> {
        let mut after = 0;
        loop {
            let rows = self.index.journal(&self.ctx, self.run, after, 100).await?;
            let Some(last) = rows.last() else { return Ok(false) };
            after = last.seq;
            for row in &rows {
                if let JournalEntry::Intent { step: found, kind, .. } = decode_entry(&row.body)?
                    && found == step
                {
                    return Ok(kind == StepKind::Model);
                }
            }
        }
    }
}

/// How an uncertain step reads.
pub(super) fn uncertain() -> StepError {
    StepError {
        kind: crate::ErrorKind::Uncertain,
        message: "the step was interrupted; it may or may not have had its effect".into(),
    }
}
