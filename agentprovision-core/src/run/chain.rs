//! The execution chain of a run: every step with how long it took, its tokens and its cost.

use std::fmt;

use serde::{Serialize, Serializer};

use super::journal::{DoneOutcome, JournalEntry, JournalRow, RunTotals, StepError, StepKind, decode_entry};
use super::store::RunStatus;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::RunId;
use crate::model::Usage;
use crate::money::NanoUsd;

/// A step of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct ChainStep {
    /// Its number, from 0.
    pub step: u32,
    /// What it did.
    pub kind: StepKind,
    /// The model that answered, or the tool.
    pub name: String,
    /// Whether it gave a result; absent while it is under way.
    pub success: Option<bool>,
    /// Its error, where it gave none.
    pub error: Option<StepError>,
    /// When it became ready.
    pub timestamp: Timestamp,
    /// Milliseconds from when it became ready to its end.
    pub duration_ms: u64,
    /// Milliseconds of that before the attempt that ended it began: waiting, and attempts that failed.
    pub waited_ms: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// Prompt tokens of a model call.
    pub input_tokens: Option<u64>,
    /// Completion tokens of a model call.
    pub output_tokens: Option<u64>,
    /// Its cost, as a decimal string; absent for a tool, and for a model without a price.
    pub cost_usd: Option<NanoUsd>,
    #[serde(skip)]
    usage: Option<Usage>,
}

impl ChainStep {
    /// All token counts of a model call.
    pub fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }
}

/// Sums over a chain.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct ChainSummary {
    /// Number of steps.
    pub total_steps: u32,
    /// Their cost; absent when any part is unknown.
    pub total_cost_usd: Option<NanoUsd>,
    /// Input and output tokens together.
    pub total_tokens: u64,
    /// Steps that gave a result, of those that ended, in per mille.
    pub success_per_mille: u32,
}

/// The execution chain of a run. `Display` is a table; JSON also has each step's `step_type`.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// The run, which is also its trace.
    pub run: RunId,
    /// Where the run stands.
    pub status: RunStatus,
    /// Milliseconds from when the run was accepted to its end, or to the last thing that is known.
    pub total_duration_ms: u64,
    /// The steps, in the order they became ready.
    pub steps: Vec<ChainStep>,
    /// What the run used.
    pub totals: RunTotals,
}

impl Chain {
    /// The chain in a run's journal.
    ///
    /// # Errors
    /// `corrupt` when a row cannot be read.
    pub fn from_journal(run: RunId, status: RunStatus, rows: &[JournalRow]) -> Result<Self> {
        let mut chain =
            Self { run, status, total_duration_ms: 0, steps: Vec::new(), totals: RunTotals::default() };
        let mut accepted = None;
        for row in rows {
            let last = match decode_entry(&row.body)? {
                JournalEntry::Created { at, .. } => {
                    accepted = Some(at);
                    at
                }
                JournalEntry::Intent { step, kind, name, at, .. } => {
                    chain.steps.push(ChainStep {
                        step,
                        kind,
                        name,
                        success: None,
                        error: None,
                        timestamp: at,
                        duration_ms: 0,
                        waited_ms: 0,
                        attempts: 0,
                        input_tokens: None,
                        output_tokens: None,
                        cost_usd: None,
                        usage: None,
                    });
                    at
                }
                JournalEntry::Done { step, outcome, usage, cost, model, attempts, started, at } => {
                    if let Some(found) = chain.steps.iter_mut().find(|found| found.step == step) {
                        found.success = Some(matches!(outcome, DoneOutcome::Ok { .. }));
                        found.error = match outcome {
                            DoneOutcome::Ok { .. } => None,
                            DoneOutcome::Failed { error } => Some(error),
                            DoneOutcome::Uncertain => Some(super::events::uncertain()),
                        };
                        found.duration_ms = millis(at.since(found.timestamp));
                        found.waited_ms = millis(started.since(found.timestamp));
                        found.attempts = attempts;
                        found.input_tokens = usage.and_then(|usage| usage.input_tokens);
                        found.output_tokens = usage.and_then(|usage| usage.output_tokens);
                        found.cost_usd = cost;
                        found.usage = usage;
                        found.name = model.unwrap_or_else(|| std::mem::take(&mut found.name));
                    }
                    at
                }
                JournalEntry::Finished { totals, at, .. } => {
                    chain.totals = totals;
                    at
                }
                JournalEntry::ApprovalAsked { at, .. }
                | JournalEntry::ApprovalAnswered { at, .. }
                | JournalEntry::CancelAsked { at, .. } => at,
            };
            chain.total_duration_ms = accepted.map_or(0, |accepted| millis(last.since(accepted)));
        }
        Ok(chain)
    }

    /// Sums over the chain.
    pub fn summary(&self) -> ChainSummary {
        let ended = self.steps.iter().filter(|step| step.success.is_some()).count();
        let good = self.steps.iter().filter(|step| step.success == Some(true)).count();
        ChainSummary {
            total_steps: u32::try_from(self.steps.len()).unwrap_or(u32::MAX),
            total_cost_usd: self.totals.cost_usd(),
            total_tokens: self.totals.input_tokens.saturating_add(self.totals.output_tokens),
            success_per_mille: u32::try_from(good * 1000 / ended.max(1)).unwrap_or(0),
        }
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A step of a chain.
#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "ChainStep")]
struct StepForm<'a> {
    /// `llm_invocation` or `tool_execution`.
    step_type: &'static str,
    #[serde(flatten)]
    step: &'a ChainStep,
}

/// The execution chain of a run.
#[derive(Serialize, schemars::JsonSchema)]
struct Form<'a> {
    /// The run, which is also its trace.
    trace_id: RunId,
    /// Where the run stands.
    status: RunStatus,
    /// Milliseconds from when the run was accepted to its end, or to the last thing that is known.
    total_duration_ms: u64,
    /// The steps, in the order they became ready.
    steps: Vec<StepForm<'a>>,
    /// Sums over them.
    summary: ChainSummary,
}

impl schemars::JsonSchema for Chain {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Chain".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Form::json_schema(generator)
    }
}

impl Serialize for Chain {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        Form {
            trace_id: self.run,
            status: self.status,
            total_duration_ms: self.total_duration_ms,
            steps: self
                .steps
                .iter()
                .map(|step| StepForm { step_type: step.kind.step_type(), step })
                .collect(),
            summary: self.summary(),
        }
        .serialize(serializer)
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.steps.iter().map(|step| step.name.chars().count()).max().unwrap_or(0).clamp(4, 40);
        writeln!(
            f,
            "{:>4}  {:<5}  {:<width$}  {:>8}  {:>7}  {:>7}  {:>12}  result",
            "step", "kind", "name", "ms", "in", "out", "cost USD"
        )?;
        let number = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        for step in &self.steps {
            let cost = step.cost_usd.map_or_else(|| "-".to_owned(), |cost| cost.to_string());
            let result = match (&step.error, step.success) {
                (Some(error), _) => error.kind.code(),
                (None, Some(true)) => "ok",
                (None, _) => "…",
            };
            write!(
                f,
                "{:>4}  {:<5}  {:<width$}  {:>8}  {:>7}  {:>7}  {:>12}  {result}",
                step.step,
                step.kind.name(),
                step.name,
                step.duration_ms,
                number(step.input_tokens),
                number(step.output_tokens),
                cost,
            )?;
            if step.attempts > 1 {
                write!(f, " after {} attempts", step.attempts)?;
            }
            writeln!(f)?;
        }
        let cost = self.totals.cost_usd().map_or_else(|| "unknown".to_owned(), |cost| cost.to_string());
        write!(
            f,
            "{} in {} ms: {} steps, {} + {} tokens, cost {cost} USD",
            self.status.name(),
            self.total_duration_ms,
            self.steps.len(),
            self.totals.input_tokens,
            self.totals.output_tokens,
        )
    }
}
