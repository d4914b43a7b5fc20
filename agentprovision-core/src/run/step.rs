//! Carries out one step: asks a model, or calls a tool.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::engine::Shared;
use super::feed::Feed;
use super::journal::{
    DoneOutcome, JournalEntry, Salt, StepError, encode_entry, idempotency_key, payload_hash,
};
use super::machine::{self, OpenStep};
use super::store::{Fence, JournalBatch, Payload};
use crate::agent::AgentSpec;
use crate::authz::{Permission, PermissionSet, Resource};
use crate::canonical;
use crate::clock::Timestamp;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::id::AgentId;
use crate::model::{
    Attempt, CallLog, ChatAssembler, ChatEvent, ChatModel, ChatRequest, ChatResponse, ToolRequest, Usage,
};
use crate::money::NanoUsd;
use crate::tool::{Effect, Tool, ToolCall, timed_out};

/// How often providers are asked for one step, over the model and its fallbacks together.
const MAX_ATTEMPTS: u32 = 4;
/// How often a step begins to ask, also where nobody could be asked.
const MAX_ROUNDS: u32 = 6;
/// Transactions that may be lost under one call of a tool.
const MAX_LOST: u32 = 4;

/// What every step of a run knows.
#[derive(Clone)]
pub(super) struct StepScope {
    pub(super) shared: Arc<Shared>,
    pub(super) fence: Fence,
    pub(super) agent: AgentId,
    pub(super) spec: Arc<AgentSpec>,
    pub(super) scopes: PermissionSet,
    pub(super) ctx: Context,
    pub(super) salt: Salt,
    pub(super) deadline: Timestamp,
    pub(super) feed: Feed,
}

/// How a step ended.
#[derive(Debug)]
pub(super) struct StepEnd {
    /// Its number.
    pub(super) step: OpenStep,
    /// The entry that ends it.
    pub(super) entry: JournalEntry,
    /// The output it names.
    pub(super) payload: Option<Payload>,
    /// The number of the entry's row, when the step's own transaction journaled it.
    pub(super) committed: Option<u64>,
    /// Why nobody knows whether the step's own transaction was committed: the journal decides.
    pub(super) lost: Option<Error>,
}

impl StepScope {
    fn now(&self) -> Timestamp {
        self.shared.env.now()
    }

    fn output(&self, bytes: Vec<u8>) -> (DoneOutcome, Option<Payload>) {
        let hash = payload_hash(&self.salt, &bytes);
        (DoneOutcome::Ok { output: hash }, Some(Payload { hash, bytes }))
    }

    /// Asks the model. Who answers in its place, and what is tried again, is up to whatever its name resolves to; only an
    /// answer that broke off in the middle is begun anew here, because a run's followers can be told so.
    pub(super) async fn model(
        self,
        step: OpenStep,
        mut request: ChatRequest,
        cancel: CancellationToken,
    ) -> StepEnd {
        let log = CallLog::default();
        let mut spent = Spent::default();
        let started = self.now();
        let names: Vec<&String> = std::iter::once(&self.spec.model).chain(&self.spec.fallbacks).collect();
        request.route.deadline = Some(self.deadline);
        // What a budget allows is one answer; a second one may be paid for only when the first was not.
        request.route.pay_once = step.max_tokens.is_some();
        let mut round = 0;
        let result = loop {
            // After an answer that broke off the next model goes first.
            let first = round as usize % names.len().max(1);
            let rest = names.iter().cycle().skip(first + 1).take(names.len().saturating_sub(1));
            request.route.fallbacks = rest.map(|name| (*name).clone()).collect();
            request.route.max_attempts = Some(MAX_ATTEMPTS.saturating_sub(spent.attempts(&log)));
            request.log = log.clone();
            round += 1;
            self.feed.begin(step.step);
            let name = names.get(first).map_or("", |name| name.as_str());
            let outcome = tokio::select! {
                biased;
                () = cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, "the model call was cancelled")),
                outcome = self.ask(name, &request, &mut spent) => outcome,
            };
            let error = match outcome {
                Ok(answer) => break Ok(answer),
                Err(error) => error,
            };
            let attempts = spent.attempts(&log);
            tracing::debug!(run = %self.fence.run, model = name, attempts, kind = %error.kind(), "a model call failed");
            let Retry::After(hint) = error.retry() else { break Err(error) };
            let paid = spent.is_billed(&log) && step.max_tokens.is_some();
            if paid || attempts >= MAX_ATTEMPTS || round >= MAX_ROUNDS {
                break Err(error);
            }
            // Once every model was tried there is nothing to do but wait.
            if round as usize >= names.len() {
                let backoff = Duration::from_millis(500 << round.min(4)).min(Duration::from_secs(8));
                let wait = hint.max(backoff);
                if self.now().after(wait) >= self.deadline {
                    break Err(error);
                }
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => break Err(Error::new(ErrorKind::Cancelled, "the model call was cancelled")),
                    () = self.shared.env.sleep(wait) => {}
                }
            }
        };
        let model = result.as_ref().ok().map(|(_, model)| model.clone());
        let (outcome, payload) = match result.and_then(|(answer, _)| canonical::to_bytes(&answer)) {
            Ok(bytes) => self.output(bytes),
            Err(error) => (DoneOutcome::Failed { error: StepError::from(&error) }, None),
        };
        let entry = JournalEntry::Done {
            step: step.step,
            outcome,
            usage: spent.usage(&log),
            cost: spent.cost(&log),
            model,
            attempts: spent.attempts(&log),
            started,
            at: self.now(),
        };
        StepEnd { step, entry, payload, committed: None, lost: None }
    }

    /// One answer, and the name of the model that gave it.
    async fn ask(
        &self,
        name: &str,
        request: &ChatRequest,
        spent: &mut Spent,
    ) -> Result<(ChatResponse, String)> {
        let model = self.shared.models.resolve(name)?;
        let mut request = request.clone();
        request.model = name.to_owned();
        let before = request.log.len();
        let mut assembler = ChatAssembler::new();
        let began = self.now();
        let result = self.read(&*model, &request, &mut assembler).await;
        // A router recorded its attempts; a model alone made one, and whoever sent a piece of an answer is paid, whether
        // the rest came or not.
        let name = match request.log.attempts().get(before..).and_then(<[Attempt]>::last) {
            Some(last) => last.model.clone(),
            None => {
                let answered = result.is_ok() || assembler.written() > 0;
                let bytes = serde_json::to_vec(&request).map_or(0, |bytes| bytes.len());
                spent.add(&*model, assembler.usage(), began, answered, bytes, assembler.written());
                model.info().name.clone()
            }
        };
        let answer = result.and_then(|()| assembler.finish())?;
        Ok((answer, name))
    }

    async fn read(
        &self,
        model: &dyn ChatModel,
        request: &ChatRequest,
        assembler: &mut ChatAssembler,
    ) -> Result<()> {
        let idle = self.shared.options.model_idle;
        let silent = || {
            Error::new(ErrorKind::DeadlineExceeded, "the model was silent for too long")
                .with_retry(Retry::After(Duration::ZERO))
        };
        let env = &self.shared.env;
        // Before the first piece others may be asked, and pauses kept, so that only the run's own deadline counts.
        let left = self.deadline.since(self.now());
        let mut stream =
            env.timeout(left, model.stream(&self.ctx, request.clone())).await.ok_or_else(silent)??;
        while let Some(event) = env.timeout(idle, stream.next()).await.ok_or_else(silent)? {
            let event = event?;
            if let ChatEvent::Text(text) = &event {
                self.feed.text(text);
            }
            assembler.push(&event);
        }
        if assembler.is_finished() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Incomplete, "the model's answer ended before it was complete")
            .with_retry(Retry::After(Duration::ZERO)))
    }

    /// Calls a tool, under its time limit and the run's deadline, and takes a panic as a failure of the call.
    pub(super) async fn tool(
        self,
        step: OpenStep,
        request: ToolRequest,
        cancel: CancellationToken,
    ) -> StepEnd {
        let started = self.now();
        let found = self.shared.tools.get(&step.name).cloned();
        let result = match (found, request.json()) {
            (Some(tool), Some(input)) => {
                match self.beyond_outages(&cancel, || self.permitted(&*tool)).await {
                    Ok(ctx) if step.effect == Effect::Transactional => {
                        return self.transactional(step, tool, ctx, input, cancel, started).await;
                    }
                    Ok(ctx) => {
                        let call = self.call(&step, &*tool, ctx, &cancel, None);
                        self.run(&step, tool, call, input, &cancel).await
                    }
                    Err(error) => Err(Some(error)),
                }
            }
            (None, _) => {
                Err(Some(Error::not_found(format!("the tool `{}` is not there any more", step.name))))
            }
            (_, None) => Err(Some(Error::invalid("the arguments are not JSON"))),
        };
        let (outcome, payload) = match result {
            Ok(value) => self.output(canonical::json_bytes(&value)),
            Err(Some(error)) => (DoneOutcome::Failed { error: StepError::from(&error) }, None),
            Err(None) => (DoneOutcome::Uncertain, None),
        };
        let entry = self.done(&step, outcome, started);
        StepEnd { step, entry, payload, committed: None, lost: None }
    }

    /// Grants are read again before each tool: what was revoked since the run began counts.
    async fn permitted(&self, tool: &dyn Tool) -> Result<Context> {
        let shared = &self.shared;
        let tenant = self.fence.tenant;
        let current = match shared.principals.context(tenant, self.ctx.principal().user()).await {
            Ok(ctx) => ctx.within(&self.scopes).with_info(self.ctx.info().clone()),
            // The intent was journaled while the tenant was active; the next one will not be.
            Err(error) if error.is(ErrorKind::TenantSuspended) => return Ok(self.ctx.clone()),
            Err(error) if error.is(ErrorKind::NotFound) => {
                return Err(Error::denied("the caller may not run agents any more").with_source(error));
            }
            Err(error) => return Err(error),
        };
        shared.access.check(&current, Permission::AGENTS_RUN, Resource::one("agents", self.agent)).await?;
        let capabilities = shared.permissions.set(&self.spec.capabilities)?;
        if let Some(name) = &tool.spec().permission {
            let permission = shared.permissions.get(name)?;
            if !capabilities.contains(permission) {
                return Err(Error::denied(format!("the agent lacks the capability `{name}`")));
            }
            shared.access.check(&current, permission, Resource::all("tools")).await?;
        }
        Ok(current.for_agent(self.agent, &capabilities))
    }

    fn call(
        &self,
        step: &OpenStep,
        tool: &dyn Tool,
        ctx: Context,
        cancel: &CancellationToken,
        tx: Option<crate::tool::TxHandle>,
    ) -> ToolCall {
        let key = idempotency_key(self.fence.tenant, self.fence.run, step.step);
        let deadline = self.deadline.min(self.now().after(tool.spec().timeout()));
        ToolCall::new(ctx, self.fence.run, step.step, key, deadline, cancel.clone(), tx)
    }

    /// `Err(None)` when an unsafe tool did not end: nobody knows what it did.
    async fn run(
        &self,
        step: &OpenStep,
        tool: Arc<dyn Tool>,
        call: ToolCall,
        input: Value,
        cancel: &CancellationToken,
    ) -> Result<Value, Option<Error>> {
        let env = &self.shared.env;
        let limit = call.deadline().since(env.now());
        if cancel.is_cancelled() || limit.is_zero() {
            return Err(Some(not_begun()));
        }
        let name = tool.spec().name.clone();
        let late = timed_out(tool.spec());
        // A task of its own, so that a tool that blocks its thread cannot hold up its run.
        let mut task = tokio::spawn(async move {
            AssertUnwindSafe(async { tool.call(&call, input).await }).catch_unwind().await
        });
        let ended = |joined: std::result::Result<
            std::thread::Result<Result<Value>>,
            tokio::task::JoinError,
        >| match joined {
            Ok(Ok(result)) => result.map_err(Some),
            Ok(Err(_)) | Err(_) => Err(Some(Error::internal(format!("the tool `{name}` panicked")))),
        };
        let stopped = tokio::select! {
            biased;
            joined = &mut task => return ended(joined),
            () = cancel.cancelled() => Error::new(ErrorKind::Cancelled, format!("the tool `{name}` was cancelled")),
            () = env.sleep(limit) => late,
        };
        cancel.cancel();
        // A tool that listens to its token may still end well; one that does not is left behind.
        if let Some(joined) = env.timeout(self.shared.options.cancel_grace, &mut task).await {
            return ended(joined);
        }
        task.abort();
        Err(if step.effect == Effect::Unsafe { None } else { Some(stopped) })
    }

    /// A transactional tool: what it writes, its result and the effects commit together. A transaction that the store lost
    /// before its commit has left nothing, so the tool is called again in another one.
    async fn transactional(
        self,
        step: OpenStep,
        tool: Arc<dyn Tool>,
        ctx: Context,
        input: Value,
        cancel: CancellationToken,
        started: Timestamp,
    ) -> StepEnd {
        let mut lost = 0;
        let (tx, result) = loop {
            let begin = || self.shared.stores.runs.begin(&self.fence);
            let tx = match self.beyond_outages(&cancel, begin).await {
                Ok(tx) => tx,
                Err(error) => return self.failed(step, &error, started),
            };
            let call = self.call(&step, &*tool, ctx.clone(), &cancel, Some(tx.handle()));
            let error = match self.run(&step, tool.clone(), call, input.clone(), &cancel).await {
                Ok(value) => break (tx, value),
                Err(error) => error.unwrap_or_else(|| Error::internal("the tool did not end")),
            };
            // A rollback that fails is one the store does by itself when the handle is dropped.
            let Err(gone) = tx.rollback().await else { return self.failed(step, &error, started) };
            tracing::warn!(run = %self.fence.run, error = ?gone, "a rollback failed");
            lost += 1;
            if !error.is(ErrorKind::Unavailable) || lost == MAX_LOST || cancel.is_cancelled() {
                return self.failed(step, &error, started);
            }
        };
        let (outcome, payload) = self.output(canonical::json_bytes(&result));
        let entry = self.done(&step, outcome, started);
        let effects = self.shared.done_effects(&self.ctx, self.agent, self.fence.run, &step, &entry);
        let batch = encode_entry(&entry).map(|body| JournalBatch {
            entries: vec![body],
            payloads: payload.iter().cloned().collect(),
            ..JournalBatch::default()
        });
        let committed = match batch {
            Ok(batch) => tx.commit(batch, effects).await,
            Err(error) => Err(error),
        };
        match committed {
            Ok(seq) => StepEnd { step, entry, payload, committed: Some(seq), lost: None },
            // It may have been committed: saying that it failed would be a guess.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Unavailable | ErrorKind::Uncertain | ErrorKind::Closed | ErrorKind::Internal
                ) =>
            {
                StepEnd { step, entry, payload: None, committed: None, lost: Some(error) }
            }
            Err(error) => self.failed(step, &error, started),
        }
    }

    fn failed(&self, step: OpenStep, error: &Error, started: Timestamp) -> StepEnd {
        let entry = self.done(&step, DoneOutcome::Failed { error: StepError::from(error) }, started);
        StepEnd { step, entry, payload: None, committed: None, lost: None }
    }

    /// What `ask` gives, asked again for as long as what it asks cannot be reached: an outage before a tool begins is no
    /// answer of the tool. It ends with the run's deadline, which cancels the step.
    async fn beyond_outages<T, F: Future<Output = Result<T>>>(
        &self,
        cancel: &CancellationToken,
        ask: impl Fn() -> F,
    ) -> Result<T> {
        loop {
            let error = match not_after(cancel, ask()).await {
                Err(error) if error.is(ErrorKind::Unavailable) && self.now() < self.deadline => error,
                answer => return answer,
            };
            tracing::warn!(run = %self.fence.run, error = ?error, "a tool waits for an outage to end");
            let Retry::After(hint) = error.retry() else { return Err(error) };
            let wait = hint.clamp(Duration::from_millis(50), Duration::from_secs(8));
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(not_begun()),
                () = self.shared.env.sleep(wait) => {}
            }
        }
    }

    fn done(&self, step: &OpenStep, outcome: DoneOutcome, started: Timestamp) -> JournalEntry {
        machine::ended(step.step, outcome, started, self.now())
    }
}

fn not_begun() -> Error {
    Error::new(ErrorKind::Cancelled, "the tool was not begun: the run was to end")
}

/// What `future` gives, unless the step is to end first.
async fn not_after<T>(cancel: &CancellationToken, future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(not_begun()),
        result = future => result,
    }
}

/// What the attempts of a model call used, together, where no router recorded them: each is paid, whether it answered
/// or not.
#[derive(Default)]
struct Spent {
    usage: Option<Usage>,
    cost: NanoUsd,
    attempts: u32,
    billed: bool,
    unpriced: bool,
}

impl Spent {
    fn add(
        &mut self,
        model: &dyn ChatModel,
        usage: Option<Usage>,
        began: Timestamp,
        answered: bool,
        request: usize,
        answer: usize,
    ) {
        self.attempts += 1;
        if usage.is_none() && !answered {
            return;
        }
        self.billed = true;
        self.usage = self.usage.into_iter().chain(usage).reduce(Usage::plus);
        let cost = match usage {
            Some(usage) => model.info().cost(&usage, began),
            // An answer without counts is paid by an estimate from above, so that a cost budget still holds.
            None => model.info().at_most(&Usage {
                input_tokens: Some((request as u64).div_ceil(3)),
                output_tokens: Some((answer as u64).div_ceil(3)),
                ..Usage::default()
            }),
        };
        match cost {
            Some(cost) => self.cost = self.cost + cost,
            None => self.unpriced = true,
        }
    }

    fn is_billed(&self, log: &CallLog) -> bool {
        self.billed || log.usage().is_some()
    }

    fn attempts(&self, log: &CallLog) -> u32 {
        self.attempts.saturating_add(u32::try_from(log.len()).unwrap_or(u32::MAX))
    }

    fn usage(&self, log: &CallLog) -> Option<Usage> {
        self.usage.into_iter().chain(log.usage()).reduce(Usage::plus)
    }

    /// Absent when nothing was billed, or the price of something was unknown.
    fn cost(&self, log: &CallLog) -> Option<NanoUsd> {
        if self.unpriced || !self.is_billed(log) {
            return None;
        }
        log.cost().known().map(|routed| routed + self.cost)
    }
}
