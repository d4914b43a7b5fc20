//! The events of a run as callers follow them: numbered, resumable, with exactly one terminal event.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_core::stream::BoxStream;
use futures_util::stream;
use serde::{Deserialize, Serialize};

use super::engine::Shared;
use super::feed::Live;
use super::journal::{
    DoneOutcome, JournalEntry, JournalRow, PayloadHash, RunTotals, StepError, StepKind, decode_entry,
};
use super::store::RunStatus;
use crate::authz::{Permission, Resource};
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

crate::schema::text_schema!(EventCursor, "EventCursor", "cursor", "A place in a run's events.");

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
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
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
    shared: Arc<Shared>,
    ctx: Context,
    run: RunId,
    cursor: EventCursor,
    /// What was delivered of the text of the call under way; unknown to a follower that resumed in the middle of it.
    spoken: Option<String>,
    /// What the steps whose beginning was seen do.
    kinds: BTreeMap<u32, StepKind>,
    ready: VecDeque<RunEvent>,
    over: bool,
}

/// Follows a run from a place on, up to its terminal event.
pub(super) fn follow(shared: &Arc<Shared>, ctx: Context, run: RunId, after: EventCursor) -> RunEvents {
    let follower = Follower {
        shared: shared.clone(),
        ctx,
        run,
        cursor: after,
        spoken: (after.part == 0).then(String::new),
        kinds: BTreeMap::new(),
        ready: VecDeque::new(),
        over: false,
    };
    Box::pin(stream::try_unfold(follower, |mut follower| async move {
        Ok(follower.advance().await?.map(|event| (event, follower)))
    }))
}

impl Follower {
    async fn advance(&mut self) -> Result<Option<RunEvent>> {
        let shared = self.shared.clone();
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.cursor = event.cursor;
                return Ok(Some(event));
            }
            if self.over {
                return Ok(None);
            }
            // Subscribe before reading, so that nothing is committed unseen between the two.
            let mut changes = shared.feeds.changes();
            let mut live = shared.feeds.follow(self.run);
            let state = live.as_mut().map(|live| live.borrow_and_update().clone());
            if state.as_ref().is_none_or(|state| state.seq > self.cursor.row) {
                // Whoever lost the permission since sees no more.
                let resource = Resource::one("runs", self.run);
                shared.access.read(&self.ctx, Permission::RUNS_READ, resource).await?;
                let rows = shared.stores.index.journal(&self.ctx, self.run, self.cursor.row, 100).await?;
                for row in rows {
                    self.take(&row).await?;
                }
                if !self.ready.is_empty() || self.over {
                    continue;
                }
                if live.is_none() {
                    // Nothing follows the terminal event, whoever asks for it.
                    let record = shared.stores.index.get(&self.ctx, self.run).await?;
                    if record.status.is_terminal() && record.seq <= self.cursor.row {
                        return Ok(None);
                    }
                }
            }
            if let Some(Live { seq, step: Some((step, text)) }) = &state
                && *seq <= self.cursor.row
                && self.speak(self.cursor.row, *step, text)
            {
                continue;
            }
            match &mut live {
                // An error says that the feed has ended; then the journal says how it went on.
                Some(live) => drop(live.changed().await),
                None => tokio::select! {
                    _ = changes.changed() => {}
                    () = shared.env.sleep(POLL) => {}
                },
            }
        }
    }

    /// Delivers what is new of a model's text. A text that does not go on from what was delivered is a new one: the
    /// call was made again.
    fn speak(&mut self, row: u64, step: u32, text: &str) -> bool {
        let part = usize::try_from(self.cursor.part).unwrap_or(usize::MAX);
        let goes_on = match &self.spoken {
            Some(spoken) => text.starts_with(spoken.as_str()),
            None => text.is_char_boundary(part),
        };
        let from = if goes_on { part } else { 0 };
        if !goes_on {
            self.push(EventCursor { row, part: 0 }, RunEventKind::Restarted { step });
        }
        self.spoken = Some(text.to_owned());
        self.cursor.part = text.len() as u64;
        match text.get(from..) {
            Some(more) if !more.is_empty() => {
                let cursor = EventCursor { row, part: text.len() as u64 };
                self.push(cursor, RunEventKind::Text { step, text: more.to_owned() });
            }
            _ => {}
        }
        !self.ready.is_empty()
    }

    fn push(&mut self, cursor: EventCursor, kind: RunEventKind) {
        self.ready.push_back(RunEvent { cursor, run: self.run, kind });
    }

    /// Turns a journal row into events.
    async fn take(&mut self, row: &JournalRow) -> Result<()> {
        let mut cursor = EventCursor { row: row.seq, part: 0 };
        let kind = match decode_entry(&row.body)? {
            JournalEntry::Created { .. } => RunEventKind::Started,
            JournalEntry::Intent { step, kind, name, .. } => {
                self.kinds.insert(step, kind);
                self.spoken = Some(String::new());
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
                self.spoken = Some(String::new());
                RunEventKind::StepFinished { step, ok, error, usage, cost_usd: cost }
            }
            JournalEntry::ApprovalAsked { approval, tool, args_hash, .. } => {
                RunEventKind::ApprovalRequested { approval, tool, args_hash }
            }
            JournalEntry::ApprovalAnswered { approval, approved, .. } => {
                RunEventKind::ApprovalAnswered { approval, approved }
            }
            JournalEntry::CancelAsked { .. } => {
                // A model call may be under way; its text goes on from where it is.
                cursor.part = self.cursor.part;
                RunEventKind::CancelRequested
            }
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
        if self.kind_of(step).await? != Some(StepKind::Model) {
            return Ok(());
        }
        let bytes = self.shared.stores.index.payloads(&self.ctx, self.run, &[*output]).await?;
        let answer: ChatResponse = bytes
            .first()
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .ok_or_else(|| Error::corrupt("a model's answer cannot be read"))?;
        self.speak(seq.saturating_sub(1), step, &answer.text);
        Ok(())
    }

    /// What a step does; a follower that resumed after its beginning reads the journal up to here once.
    async fn kind_of(&mut self, step: u32) -> Result<Option<StepKind>> {
        let mut after = 0;
        while !self.kinds.contains_key(&step) {
            let rows = self.shared.stores.index.journal(&self.ctx, self.run, after, 500).await?;
            let Some(last) = rows.last() else { break };
            after = last.seq;
            for row in &rows {
                if let JournalEntry::Intent { step, kind, .. } = decode_entry(&row.body)? {
                    self.kinds.insert(step, kind);
                }
            }
        }
        Ok(self.kinds.get(&step).copied())
    }
}

/// How an uncertain step reads.
pub(super) fn uncertain() -> StepError {
    StepError {
        kind: crate::ErrorKind::Uncertain,
        message: "the step was interrupted; it may or may not have had its effect".into(),
    }
}
