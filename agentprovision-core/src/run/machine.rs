//! The run machine: pure, serialisable, versioned. Journal entries go in, commands come out.
//!
//! State changes through [`RunMachine::apply`] alone, with entries in the order they were journaled, whether they are
//! journaled just now or read back after a crash; so a recovered run is the same run. [`RunMachine::next`] says what to
//! do and changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::budget;
use super::journal::{
    DoneOutcome, JournalEntry, PayloadHash, RunTotals, STATE_VERSION, Salt, StepError, StepKind, payload_hash,
};
use crate::agent::AgentSpec;
use crate::canonical;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ApprovalId, UserId};
use crate::model::{ChatRequest, ChatResponse, FinishReason, Message, PriceSheet, ToolRequest};
use crate::tool::{Approval, Effect, ToolSet};

/// How often an answer that does not match the output schema is sent back to the model.
const MAX_REPAIRS: u32 = 2;

/// What a run was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Text.
    Text(String),
    /// A value that matches the agent's input schema.
    Json(Value),
}

impl Input {
    /// What the model is told.
    pub(super) fn message(&self) -> Message {
        match self {
            Self::Text(text) => Message::user(text.clone()),
            Self::Json(value) => Message::user(value.to_string()),
        }
    }
}

/// What is known of the models an agent may use, for holding room in its budget: the dearest of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quote {
    /// The prices of every model; absent when any of them has none.
    pub prices: Option<Vec<PriceSheet>>,
    /// The longest answer, in tokens.
    pub max_output: Option<u64>,
}

/// Where a tool call of the last answer stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CallState {
    Pending { approved: bool },
    Asked(ApprovalId),
    Open(u32),
    Done { content: String, is_error: bool },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Call {
    request: ToolRequest,
    args_hash: PayloadHash,
    state: CallState,
}

/// A step that was begun and has not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenStep {
    /// Its number.
    pub step: u32,
    /// What it does.
    pub kind: StepKind,
    /// The model or the tool.
    pub name: String,
    /// The tool's effect class.
    pub effect: Effect,
    /// The model's id of the tool call.
    pub call_id: Option<String>,
    /// Longest answer to ask for, in tokens.
    pub max_tokens: Option<u64>,
    /// When it became ready.
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    v: u32,
    messages: Vec<Message>,
    next_step: u32,
    open: BTreeMap<u32, OpenStep>,
    calls: Vec<Call>,
    totals: RunTotals,
    repairs: u32,
    repeats: BTreeMap<String, u32>,
    cancel: Option<UserId>,
    deadline: Timestamp,
    scopes: Option<Vec<String>>,
    decided: Option<DoneOutcome>,
    over: bool,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Journal these entries, with whatever else is to be journaled now, apply them, and ask again.
    Journal(Vec<JournalEntry>),
    /// Carry out these steps, those of them that are not being carried out, and wait for one to end.
    Execute(Vec<OpenStep>),
    /// Stop these steps and wait for them to end.
    Abort(Vec<OpenStep>),
    /// Wait for a person.
    Wait,
    /// Nothing: the run is over.
    Over,
}

/// A run as a state machine.
#[derive(Clone, Debug)]
pub struct RunMachine {
    spec: Arc<AgentSpec>,
    tools: Arc<ToolSet>,
    salt: Salt,
    state: State,
}

impl RunMachine {
    /// A machine before its first entry. `history` is what was said in the session before.
    pub fn new(spec: Arc<AgentSpec>, tools: Arc<ToolSet>, salt: Salt, history: Vec<Message>) -> Self {
        let state = State {
            v: STATE_VERSION,
            messages: history,
            next_step: 0,
            open: BTreeMap::new(),
            calls: Vec::new(),
            totals: RunTotals::default(),
            repairs: 0,
            repeats: BTreeMap::new(),
            cancel: None,
            deadline: Timestamp::default(),
            scopes: None,
            decided: None,
            over: false,
        };
        Self { spec, tools, salt, state }
    }

    /// The state as versioned JSON.
    ///
    /// # Errors
    /// None in practice.
    pub fn snapshot(&self) -> Result<Value> {
        serde_json::to_value(&self.state)
            .map_err(|error| Error::internal("the state has no JSON form").with_source(error))
    }

    /// A machine from a snapshot, for the same agent and tools.
    ///
    /// # Errors
    /// `schema_too_new` for a snapshot of a newer version; `corrupt` when it cannot be read.
    pub fn restore(spec: Arc<AgentSpec>, tools: Arc<ToolSet>, salt: Salt, snapshot: Value) -> Result<Self> {
        if snapshot.get("v").and_then(Value::as_u64).is_some_and(|v| v > u64::from(STATE_VERSION)) {
            return Err(Error::new(ErrorKind::SchemaTooNew, "the run was written by a newer version"));
        }
        let state = serde_json::from_value(snapshot)
            .map_err(|error| Error::corrupt("a run's state cannot be read").with_source(error))?;
        Ok(Self { spec, tools, salt, state })
    }

    /// What the run used so far.
    pub fn totals(&self) -> RunTotals {
        self.state.totals
    }

    /// What the credential that started the run was limited to, as permission names; no limit where absent.
    pub fn scopes(&self) -> Option<&[String]> {
        self.state.scopes.as_deref()
    }

    /// Whether the run is over.
    pub fn is_over(&self) -> bool {
        self.state.over
    }

    /// Steps that were begun and have not ended.
    pub fn open(&self) -> impl Iterator<Item = &OpenStep> {
        self.state.open.values()
    }

    /// The tool call behind an open tool step.
    pub fn call(&self, step: &OpenStep) -> Option<&ToolRequest> {
        let call = self.state.calls.iter().find(|call| call.state == CallState::Open(step.step))?;
        Some(&call.request)
    }

    /// The request of a model step.
    pub fn request(&self, max_tokens: Option<u64>) -> ChatRequest {
        let spec = &*self.spec;
        let mut messages = Vec::with_capacity(self.state.messages.len() + 1);
        if !spec.instructions.is_empty() {
            messages.push(Message::system(spec.instructions.clone()));
        }
        messages.extend(self.state.messages.iter().cloned());
        let mut request = ChatRequest::new(spec.model.clone(), messages);
        request.tools = spec
            .tools
            .iter()
            .filter_map(|name| self.tools.get(name))
            .map(|tool| tool.spec().definition())
            .collect();
        request.temperature = spec.temperature;
        request.max_tokens = max_tokens.or(spec.max_tokens);
        request.output_schema = spec.output_schema.clone();
        request
    }

    /// Takes an entry in. `payload` is the content the entry names: the input of `Created`, the output of a `Done` that
    /// is `Ok`.
    ///
    /// # Errors
    /// `corrupt` when the entry does not follow from the state, or its payload is missing or cannot be read.
    pub fn apply(&mut self, entry: &JournalEntry, payload: Option<&[u8]>) -> Result<()> {
        let state = &mut self.state;
        match entry {
            JournalEntry::Created { v, deadline, scopes, .. } => {
                if *v > STATE_VERSION {
                    return Err(Error::new(
                        ErrorKind::SchemaTooNew,
                        "the run was started by a newer version",
                    ));
                }
                let input: Input = read_payload(payload)?;
                state.deadline = *deadline;
                state.scopes.clone_from(scopes);
                state.messages.push(input.message());
            }
            JournalEntry::Intent { step, kind, name, args_hash, effect, call_id, max_tokens, at } => {
                if *step != state.next_step {
                    return Err(out_of_order(entry));
                }
                state.next_step += 1;
                state.totals.steps += 1;
                if *kind == StepKind::Tool {
                    state.totals.tool_calls += 1;
                    let call = state.calls.iter_mut().find(|call| {
                        // Ids may be empty, or the same for several calls of an answer.
                        matches!(call.state, CallState::Pending { .. })
                            && Some(&call.request.id) == call_id.as_ref()
                            && call.args_hash == *args_hash
                            && call.request.name == *name
                    });
                    call.ok_or_else(|| out_of_order(entry))?.state = CallState::Open(*step);
                }
                let open = OpenStep {
                    step: *step,
                    kind: *kind,
                    name: name.clone(),
                    effect: *effect,
                    call_id: call_id.clone(),
                    max_tokens: *max_tokens,
                    at: *at,
                };
                state.open.insert(*step, open);
            }
            JournalEntry::Done { step, outcome, usage, cost, .. } => {
                let open = state.open.remove(step).ok_or_else(|| out_of_order(entry))?;
                match open.kind {
                    StepKind::Model => {
                        if let Some(usage) = usage {
                            state.totals.input_tokens += usage.input_tokens.unwrap_or(0);
                            state.totals.output_tokens += usage.output_tokens.unwrap_or(0);
                        }
                        match cost {
                            Some(cost) => state.totals.cost = state.totals.cost + *cost,
                            // An answer without a price makes the run's cost unknown; a call that never got one costs nothing.
                            None if matches!(outcome, DoneOutcome::Ok { .. }) || usage.is_some() => {
                                state.totals.unpriced += 1;
                            }
                            None => {}
                        }
                        self.model_done(outcome, payload)?;
                    }
                    StepKind::Tool => self.tool_done(*step, outcome, payload)?,
                }
            }
            JournalEntry::ApprovalAsked { approval, call_id, tool, args_hash, .. } => {
                let call = state.calls.iter_mut().find(|call| {
                    call.state == CallState::Pending { approved: false }
                        && call.request.id == *call_id
                        && call.args_hash == *args_hash
                        && call.request.name == *tool
                });
                call.ok_or_else(|| out_of_order(entry))?.state = CallState::Asked(*approval);
            }
            JournalEntry::ApprovalAnswered { approval, approved, .. } => {
                let call = state.calls.iter_mut().find(|call| call.state == CallState::Asked(*approval));
                let call = call.ok_or_else(|| out_of_order(entry))?;
                call.state = if *approved {
                    CallState::Pending { approved: true }
                } else {
                    CallState::Done { content: "a person denied this call".into(), is_error: true }
                };
                self.answer_when_all_called();
            }
            JournalEntry::CancelAsked { by, .. } => state.cancel = Some(*by),
            JournalEntry::Finished { .. } => state.over = true,
        }
        Ok(())
    }

    fn model_done(&mut self, outcome: &DoneOutcome, payload: Option<&[u8]>) -> Result<()> {
        let output = match outcome {
            DoneOutcome::Ok { output } => *output,
            DoneOutcome::Failed { error } => {
                self.state.decided = Some(DoneOutcome::Failed { error: error.clone() });
                return Ok(());
            }
            DoneOutcome::Uncertain => return Err(Error::corrupt("a model call is uncertain")),
        };
        let answer: ChatResponse = read_payload(payload)?;
        let fail = |kind, message: &str| {
            Some(DoneOutcome::Failed { error: StepError { kind, message: message.to_owned() } })
        };
        if answer.finish == FinishReason::ContentFilter {
            self.state.decided =
                fail(ErrorKind::ContentPolicy, "the provider's content policy cut the answer");
            return Ok(());
        }
        if answer.refusal.is_some() {
            self.state.decided = fail(ErrorKind::ContentPolicy, "the model refused to answer");
            return Ok(());
        }
        self.state.messages.push(Message::Assistant {
            text: answer.text.clone(),
            tool_calls: answer.tool_calls.clone(),
            continuation: answer.continuation.clone(),
        });
        if !answer.tool_calls.is_empty() {
            self.state.calls = answer.tool_calls.into_iter().map(|request| self.pending(request)).collect();
            return Ok(());
        }
        if answer.finish == FinishReason::Length {
            self.state.decided =
                fail(ErrorKind::Incomplete, "the answer reached the token limit before it was complete");
            return Ok(());
        }
        match self.check_output(&answer.text) {
            Ok(()) => self.state.decided = Some(DoneOutcome::Ok { output }),
            Err(error) if self.state.repairs >= MAX_REPAIRS => {
                self.state.decided = Some(DoneOutcome::Failed { error: StepError::from(&error) });
            }
            Err(error) => {
                self.state.repairs += 1;
                self.state.messages.push(Message::user(format!(
                    "Your answer was not accepted: {error}. Answer again with JSON that matches the schema, and nothing else."
                )));
            }
        }
        Ok(())
    }

    fn check_output(&self, text: &str) -> Result<()> {
        let Some(schema) = &self.spec.output_schema else { return Ok(()) };
        let value: Value = serde_json::from_str(text).map_err(|error| {
            Error::new(ErrorKind::ProviderError, format!("the model's answer is not JSON: {error}"))
        })?;
        let schema = crate::tool::compile("the output schema", schema)?;
        crate::tool::check("the model's answer", &schema, &value)
            .map_err(|error| Error::new(ErrorKind::ProviderError, error.message().to_owned()))
    }

    fn pending(&self, request: ToolRequest) -> Call {
        let args_hash = payload_hash(&self.salt, request.arguments.as_bytes());
        Call { request, args_hash, state: CallState::Pending { approved: false } }
    }

    fn tool_done(&mut self, step: u32, outcome: &DoneOutcome, payload: Option<&[u8]>) -> Result<()> {
        let (content, is_error) = match outcome {
            DoneOutcome::Ok { .. } => {
                let bytes = payload.ok_or_else(|| Error::corrupt("the result of a tool is missing"))?;
                let text = std::str::from_utf8(bytes)
                    .map_err(|error| Error::corrupt("the result of a tool is not text").with_source(error))?;
                (text.to_owned(), false)
            }
            DoneOutcome::Failed { error } => (error.message.clone(), true),
            DoneOutcome::Uncertain => (
                "uncertain: the call was interrupted; it may or may not have had its effect, and was not repeated".into(),
                true,
            ),
        };
        let call = self.state.calls.iter_mut().find(|call| call.state == CallState::Open(step));
        let call = call.ok_or_else(|| Error::corrupt("a tool's result belongs to no call"))?;
        let fingerprint = canonical::sha256(&[
            call.request.name.as_bytes(),
            b"\0",
            call.request.arguments.as_bytes(),
            b"\0",
            content.as_bytes(),
        ]);
        call.state = CallState::Done { content, is_error };
        let name = call.request.name.clone();
        let repeats = self.state.repeats.entry(hex::encode(fingerprint)).or_default();
        *repeats += 1;
        if *repeats >= self.spec.limits.max_repeats.max(1) && *repeats > 1 && self.state.decided.is_none() {
            self.state.decided = Some(DoneOutcome::Failed {
                error: StepError {
                    kind: ErrorKind::Conflict,
                    message: format!(
                        "the agent goes in circles: `{name}` gave the same result to the same call {repeats} times"
                    ),
                },
            });
        }
        self.answer_when_all_called();
        Ok(())
    }

    /// When every call of the answer has a result, the results go to the model, one each, in the order of the calls.
    fn answer_when_all_called(&mut self) {
        if !self.state.calls.iter().all(|call| matches!(call.state, CallState::Done { .. })) {
            return;
        }
        for call in std::mem::take(&mut self.state.calls) {
            if let CallState::Done { content, is_error } = call.state {
                let Call { request, .. } = call;
                self.state.messages.push(Message::Tool {
                    call_id: request.id,
                    name: request.name,
                    content,
                    is_error,
                });
            }
        }
    }

    /// What an interrupted step must do, by its effect class: `None` to carry it out again under the same key, or the
    /// entry that ends it.
    pub fn recover(step: &OpenStep, now: Timestamp) -> Option<JournalEntry> {
        match (step.kind, step.effect) {
            (StepKind::Tool, Effect::Unsafe) => Some(ended(step.step, DoneOutcome::Uncertain, now, now)),
            _ => None,
        }
    }

    /// The approval an answer is for, when it waits and is bound to these arguments.
    pub fn waits_for(&self, approval: ApprovalId, args_hash: &PayloadHash) -> bool {
        self.state
            .calls
            .iter()
            .any(|call| call.state == CallState::Asked(approval) && call.args_hash == *args_hash)
    }

    /// What to do next. `new_approval` gives ids to approvals that are to be asked for.
    pub fn next(
        &self,
        now: Timestamp,
        quote: &Quote,
        mut new_approval: impl FnMut() -> ApprovalId,
    ) -> Command {
        let state = &self.state;
        if state.over {
            return Command::Over;
        }
        let open: Vec<OpenStep> = state.open.values().cloned().collect();
        let stop = if state.cancel.is_some() {
            Some(StepError { kind: ErrorKind::Cancelled, message: "the run was cancelled".into() })
        } else if now >= state.deadline {
            Some(StepError { kind: ErrorKind::DeadlineExceeded, message: "the run's deadline passed".into() })
        } else {
            None
        };
        let stop = stop.map(|error| DoneOutcome::Failed { error });
        if let Some(outcome) = state.decided.clone().or(stop) {
            return if open.is_empty() {
                Command::Journal(vec![self.finished(outcome, now)])
            } else {
                Command::Abort(open)
            };
        }
        if !state.calls.is_empty() {
            return self.next_calls(now, open, &mut new_approval);
        }
        if !open.is_empty() {
            return Command::Execute(open);
        }
        let request = self.request(None);
        match budget::model_step(&self.spec, &state.totals, &request, quote) {
            Ok(max_tokens) => {
                let bytes = canonical::to_bytes(&self.request(max_tokens)).unwrap_or_default();
                Command::Journal(vec![JournalEntry::Intent {
                    step: state.next_step,
                    kind: StepKind::Model,
                    name: self.spec.model.clone(),
                    args_hash: payload_hash(&self.salt, &bytes),
                    effect: Effect::Idempotent,
                    call_id: None,
                    max_tokens,
                    at: now,
                }])
            }
            Err(error) => Command::Journal(vec![
                self.finished(DoneOutcome::Failed { error: StepError::from(&error) }, now),
            ]),
        }
    }

    fn next_calls(
        &self,
        now: Timestamp,
        open: Vec<OpenStep>,
        new_approval: &mut impl FnMut() -> ApprovalId,
    ) -> Command {
        let state = &self.state;
        let mut entries = Vec::new();
        let mut step = state.next_step;
        let mut running = open.len();
        let mut totals = state.totals;
        for call in &state.calls {
            let CallState::Pending { approved } = call.state else { continue };
            let request = &call.request;
            let intent = |step: u32, effect: Effect| JournalEntry::Intent {
                step,
                kind: StepKind::Tool,
                name: request.name.clone(),
                args_hash: call.args_hash,
                effect,
                call_id: Some(request.id.clone()),
                max_tokens: None,
                at: now,
            };
            if let Err(error) = budget::tool_step(&self.spec, &totals) {
                let failed = DoneOutcome::Failed { error: StepError::from(&error) };
                // Calls of the same answer that were begun before the budget was used up still end first.
                if entries.is_empty() && open.is_empty() {
                    return Command::Journal(vec![self.finished(failed, now)]);
                }
                break;
            }
            match self.checked(request) {
                Err(error) => {
                    // A call that cannot be made is a step that failed, so that the model and the chain both see it.
                    entries.push(intent(step, Effect::Pure));
                    let failed = DoneOutcome::Failed { error: StepError::from(&error) };
                    entries.push(ended(step, failed, now, now));
                }
                Ok((_, Approval::Always)) if !approved => {
                    entries.push(JournalEntry::ApprovalAsked {
                        approval: new_approval(),
                        call_id: request.id.clone(),
                        tool: request.name.clone(),
                        args_hash: call.args_hash,
                        at: now,
                    });
                    continue;
                }
                Ok((effect, _)) => {
                    if running >= (self.spec.limits.max_parallel_tools.max(1)) as usize {
                        continue;
                    }
                    running += 1;
                    entries.push(intent(step, effect));
                }
            }
            step += 1;
            totals.steps += 1;
            totals.tool_calls += 1;
        }
        if !entries.is_empty() {
            Command::Journal(entries)
        } else if open.is_empty() {
            Command::Wait
        } else {
            Command::Execute(open)
        }
    }

    /// Whether a call can be made at all: whole arguments, a tool of this agent, input that matches its schema.
    fn checked(&self, request: &ToolRequest) -> Result<(Effect, Approval)> {
        let input = request.json().filter(|_| request.complete).ok_or_else(|| {
            Error::invalid(format!(
                "the arguments of `{}` are not whole JSON; the call was not made",
                request.name
            ))
        })?;
        if !self.spec.tools.contains(&request.name) {
            return Err(Error::invalid(format!(
                "there is no tool `{}`; there are: {}",
                crate::money::clip(&request.name),
                self.spec.tools.join(", ")
            )));
        }
        let tool = self.tools.checked(&request.name, &input)?;
        Ok((tool.spec().effect, tool.spec().approval))
    }

    fn finished(&self, outcome: DoneOutcome, now: Timestamp) -> JournalEntry {
        let cancelled = matches!(&outcome, DoneOutcome::Failed { error } if error.kind == ErrorKind::Cancelled)
            && self.state.cancel.is_some();
        JournalEntry::Finished { outcome, cancelled, totals: self.state.totals, at: now }
    }
}

/// The entry that ends a step without a model's counts: a tool's, or one nobody carried out.
pub(super) fn ended(step: u32, outcome: DoneOutcome, started: Timestamp, at: Timestamp) -> JournalEntry {
    JournalEntry::Done { step, outcome, usage: None, cost: None, model: None, attempts: 1, started, at }
}

fn read_payload<T: serde::de::DeserializeOwned>(payload: Option<&[u8]>) -> Result<T> {
    let bytes = payload.ok_or_else(|| Error::corrupt("a payload of the run is missing"))?;
    serde_json::from_slice(bytes)
        .map_err(|error| Error::corrupt("a payload of the run cannot be read").with_source(error))
}

fn out_of_order(entry: &JournalEntry) -> Error {
    Error::corrupt("the journal has an entry that does not follow").with_context("entry", json!(entry))
}
