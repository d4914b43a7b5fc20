//! Drives one run: carries out what its machine says and journals what happened, before and after.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::budget;
use super::engine::Shared;
use super::feed::Feed;
use super::journal::{DoneOutcome, JournalEntry, PayloadHash, RunTotals, StepError, StepKind, encode_entry};
use super::load::{load, quote};
use super::machine::{Command, OpenStep, Quote, RunMachine};
use super::signal::Signal;
use super::step::{StepEnd, StepScope};
use super::store::{JournalBatch, Lease, Payload, Release, RunPatch, RunStatus};
use crate::audit::AuditRecord;
use crate::authz::{Permission, PermissionSet, Resource};
use crate::context::{Context, Identity, Principal, RequestInfo};
use crate::effect::{Effects, Guard, QuotaOp};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::event::PlatformEvent;
use crate::id::{Id, ReservationId, SignalId};
use crate::usage::Demand;

/// The reservation of a run in its agent's budget: one per run, named by it.
pub(super) fn reservation(run: crate::id::RunId) -> ReservationId {
    ReservationId::from_uuid_unchecked(run.uuid())
}

/// What is to be journaled next: first what happened, then what is about to be done.
#[derive(Default)]
struct Pending {
    facts: Vec<JournalEntry>,
    intents: Vec<JournalEntry>,
    payloads: Vec<Payload>,
    consumed: Vec<SignalId>,
    effects: Effects,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.intents.is_empty() && self.consumed.is_empty()
    }
}

pub(super) struct Driver {
    scope: StepScope,
    machine: RunMachine,
    quote: Quote,
    lease: Lease,
    status: RunStatus,
    feed: Feed,
    wake: Arc<Notify>,
    running: JoinSet<StepEnd>,
    tokens: HashMap<u32, CancellationToken>,
    tasks: HashMap<tokio::task::Id, OpenStep>,
    pending: Pending,
    dropped: RunTotals,
    closing: bool,
    parking: bool,
}

/// How a step's task ended.
type Joined = std::result::Result<(tokio::task::Id, StepEnd), tokio::task::JoinError>;

/// What to do after the machine was asked.
enum Act {
    /// Ask it again.
    Again,
    /// Wait for what is under way.
    Follow,
    /// Nothing more, here.
    Leave(Left),
}

/// How a worker leaves a run.
enum Left {
    /// The run is over.
    Over,
    /// Somebody may have to take it up again.
    GivenBack,
}

impl Drop for Driver {
    /// A worker that is lost takes no tool with it; each is told to stop.
    fn drop(&mut self) {
        self.stop_steps();
    }
}

impl Driver {
    /// Drives a run until it is over, waits, or cannot go on here.
    pub(super) async fn drive(shared: Arc<Shared>, lease: Lease) {
        let run = lease.fence.run;
        let wake = shared.listen(run);
        let feed = shared.feeds.open(run, lease.run.seq);
        let driving = Self::open_and_go(shared.clone(), lease, feed.clone(), wake.clone());
        // Code of the host's runs in here: an authorizer, a resolver of models.
        let ended = AssertUnwindSafe(driving).catch_unwind().await;
        shared.deaf(run, &wake);
        shared.feeds.close(run, &feed);
        match ended {
            // What was said after the run was given back was heard by nobody.
            Ok(Ok(Left::GivenBack)) => shared.look(),
            Ok(Ok(Left::Over)) => {}
            // Somebody else has the run; nothing of ours was written.
            Ok(Err(error)) if error.is(ErrorKind::Fenced) => tracing::info!("another worker has the run"),
            // The lease runs out and somebody tries again from the journal.
            Ok(Err(error)) => tracing::warn!(error = ?error, "the run could not be driven on"),
            Err(_) => tracing::error!("driving the run panicked"),
        }
    }

    async fn open_and_go(shared: Arc<Shared>, lease: Lease, feed: Feed, wake: Arc<Notify>) -> Result<Left> {
        let mut driver = match Self::open(&shared, &lease, feed.clone(), wake).await {
            Ok(driver) => driver,
            Err(error) => return Self::give_up(&shared, &lease, error).await,
        };
        driver.go().await
    }

    /// A context to read the run with: it may do nothing else.
    fn reader(shared: &Shared, lease: &Lease) -> Context {
        let identity = Identity {
            tenant: lease.fence.tenant,
            principal: Principal::User(lease.run.user),
            scopes: PermissionSet::EMPTY,
            expires: None,
            key: None,
        };
        shared.access.issuer().context(&identity, &PermissionSet::EMPTY, RequestInfo::default())
    }

    /// Reads the run from the store and checks that it may go on.
    async fn open(shared: &Arc<Shared>, lease: &Lease, feed: Feed, wake: Arc<Notify>) -> Result<Self> {
        let reader = Self::reader(shared, lease);
        let record = &lease.run;
        let spec = shared.spec(&reader, record.agent, record.version).await?;
        let machine = load(shared, &reader, lease, spec.clone()).await?;
        let caller = shared.principals.context(lease.fence.tenant, record.user).await.map_err(|error| {
            if error.is(ErrorKind::NotFound) {
                Error::denied("the caller is not a user of the tenant any more").with_source(error)
            } else {
                error
            }
        })?;
        let scopes =
            machine.scopes().map_or(Ok(PermissionSet::ALL), |names| shared.permissions.set(names))?;
        let caller = caller.within(&scopes);
        let mut info = caller.info().clone();
        info.correlation_id = Some(record.id.to_string());
        let caller = caller.with_info(info);
        shared.access.check(&caller, Permission::AGENTS_RUN, Resource::one("agents", record.agent)).await?;
        let capabilities = shared.permissions.set(&spec.capabilities)?;
        let ctx = caller.for_agent(record.agent, &capabilities);
        let quote = quote(shared, &ctx, &spec);
        let scope = StepScope {
            shared: shared.clone(),
            fence: lease.fence,
            agent: record.agent,
            spec,
            scopes,
            ctx,
            salt: record.salt,
            deadline: record.deadline,
            feed: feed.clone(),
        };
        let mut driver = Self {
            scope,
            machine,
            quote,
            lease: lease.clone(),
            status: record.status,
            feed,
            wake,
            running: JoinSet::new(),
            tokens: HashMap::new(),
            tasks: HashMap::new(),
            pending: Pending::default(),
            dropped: RunTotals::default(),
            closing: false,
            parking: false,
        };
        // Epoch 1 is the starter itself, which journaled its first intent a moment ago; nothing of it is in doubt.
        if lease.fence.epoch > 1 {
            let now = shared.env.now();
            let ended: Vec<_> = driver
                .machine
                .open()
                .filter_map(|step| RunMachine::recover(step, now).map(|entry| (step.clone(), entry)))
                .collect();
            for (step, entry) in ended {
                driver.ended(StepEnd { step, entry, payload: None, committed: None, lost: None })?;
            }
        }
        Ok(driver)
    }

    /// Ends or gives back a run that could not be opened.
    async fn give_up(shared: &Shared, lease: &Lease, error: Error) -> Result<Left> {
        let passing = error.is(ErrorKind::Unavailable) || matches!(error.retry(), Retry::After(_));
        let error = match (passing, shared.env.now() >= lease.run.deadline) {
            // An outage, of an authorizer too, is no verdict: somebody tries again when the lease is over.
            (true, false) => return Err(error),
            (true, true) => {
                Error::new(ErrorKind::DeadlineExceeded, "the run's deadline passed").with_source(error)
            }
            (false, _) => error,
        };
        match error.kind() {
            ErrorKind::TenantSuspended => {
                let patch = RunPatch {
                    status: Some(RunStatus::Parked),
                    release: Some(Release::Ready),
                    ..RunPatch::default()
                };
                let batch = JournalBatch { patch, ..JournalBatch::default() };
                shared.stores.runs.commit(&lease.fence, batch, Effects::none()).await?;
                Ok(Left::GivenBack)
            }
            ErrorKind::PermissionDenied
            | ErrorKind::DeadlineExceeded
            | ErrorKind::Corrupt
            | ErrorKind::InvalidInput
            | ErrorKind::NotFound => {
                let now = shared.env.now();
                let reader = Self::reader(shared, lease);
                let outcome = DoneOutcome::Failed { error: StepError::from(&error) };
                let totals = lease.run.totals;
                let entry =
                    JournalEntry::Finished { outcome: outcome.clone(), cancelled: false, totals, at: now };
                let demand = match shared.spec(&reader, lease.run.agent, lease.run.version).await {
                    Ok(spec) => budget::actual(&spec, lease.run.agent, &totals),
                    Err(_) => Demand::new(),
                };
                let effects =
                    finish_effects(shared, &reader, lease, &outcome, RunStatus::Failed, &totals, demand);
                let patch = RunPatch {
                    status: Some(RunStatus::Failed),
                    totals: Some(totals),
                    error: Some(StepError::from(&error)),
                    ..RunPatch::default()
                };
                let batch =
                    JournalBatch { entries: vec![encode_entry(&entry)?], patch, ..JournalBatch::default() };
                shared.stores.runs.commit(&lease.fence, batch, effects).await?;
                Ok(Left::Over)
            }
            _ => Err(error),
        }
    }

    async fn go(&mut self) -> Result<Left> {
        let shared = self.scope.shared.clone();
        let env = &shared.env;
        let mut renew_at = env.monotonic();
        loop {
            // Nothing that happened may be journaled behind an intent that was decided before it.
            if self.pending.intents.is_empty() && env.monotonic() >= renew_at {
                renew_at = self.renew().await?;
            }
            self.closing |= self.running.is_empty() && shared.closing.is_cancelled();
            if self.closing || self.parking {
                if self.running.is_empty() {
                    self.give_back().await?;
                    return Ok(Left::GivenBack);
                }
                // What ended is kept, however long its siblings take.
                self.flush(RunPatch::default()).await?;
                if self.parking && env.now() >= self.scope.deadline {
                    self.stop_steps();
                }
            } else {
                match self.act().await? {
                    Act::Again => continue,
                    Act::Follow => {}
                    Act::Leave(left) => return Ok(left),
                }
            }
            let deadline = self.scope.deadline.since(env.now());
            let aborting = self.tokens.values().any(CancellationToken::is_cancelled);
            tokio::select! {
                biased;
                Some(end) = self.running.join_next_with_id() => self.joined(end)?,
                () = shared.closing.cancelled(), if !self.closing => {
                    self.closing = true;
                    self.stop_later(shared.options.close_grace);
                }
                () = self.wake.notified() => renew_at = env.monotonic(),
                () = env.clock().sleep_until(renew_at) => {}
                () = env.sleep(deadline), if !aborting && !self.closing => {}
            }
        }
    }

    /// Does what the machine says.
    async fn act(&mut self) -> Result<Act> {
        let env = self.scope.shared.env.clone();
        match self.machine.next(env.now(), &self.quote, || env.id()) {
            Command::Journal(entries) => {
                // The end is a fact; what was decided before it is journaled before it.
                let ends = matches!(entries.as_slice(), [JournalEntry::Finished { .. }]);
                if ends && !self.pending.intents.is_empty() && !self.flushed(RunPatch::default()).await? {
                    return Ok(Act::Again);
                }
                for entry in entries {
                    self.machine.apply(&entry, None)?;
                    if ends { self.pending.facts.push(entry) } else { self.pending.intents.push(entry) }
                }
                if !self.machine.is_over() {
                    return Ok(Act::Again);
                }
                self.finish().await?;
                Ok(Act::Leave(Left::Over))
            }
            Command::Execute(steps) => {
                if !self.flushed(RunPatch::default()).await? {
                    return Ok(Act::Again);
                }
                for step in steps {
                    self.begin(step);
                }
                Ok(Act::Follow)
            }
            Command::Abort(steps) => {
                if !self.flushed(RunPatch::default()).await? {
                    return Ok(Act::Again);
                }
                for step in steps {
                    self.abort(step)?;
                }
                self.flush(RunPatch::default()).await?;
                Ok(if self.running.is_empty() { Act::Again } else { Act::Follow })
            }
            Command::Wait => {
                let patch = RunPatch {
                    status: Some(RunStatus::Waiting),
                    release: Some(Release::UntilSignal),
                    ..RunPatch::default()
                };
                Ok(if self.flushed(patch).await? { Act::Leave(Left::GivenBack) } else { Act::Again })
            }
            Command::Over => Ok(Act::Leave(Left::Over)),
        }
    }

    /// Journals what is pending. When the tenant is suspended, no intent is: steps under way end, nothing new begins,
    /// and the machine, which is ahead of the journal now, is not asked again.
    async fn flushed(&mut self, patch: RunPatch) -> Result<bool> {
        match self.flush(patch).await {
            Ok(()) => Ok(true),
            Err(error) if error.is(ErrorKind::TenantSuspended) => {
                self.parking = true;
                self.drop_intents();
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Forgets what was decided and not journaled; whoever takes the run up decides again.
    fn drop_intents(&mut self) {
        for entry in self.pending.intents.drain(..) {
            if let JournalEntry::Intent { kind, .. } = entry {
                self.dropped.steps += 1;
                self.dropped.tool_calls += u32::from(kind == StepKind::Tool);
            }
        }
    }

    fn stop_steps(&self) {
        self.tokens.values().for_each(CancellationToken::cancel);
    }

    /// Steps under way get so long to end when the engine closes; then a tool is cancelled like any other.
    fn stop_later(&self, grace: Duration) {
        let env = self.scope.shared.env.clone();
        let tokens: Vec<CancellationToken> = self.tokens.values().cloned().collect();
        tokio::spawn(async move {
            env.sleep(grace).await;
            tokens.iter().for_each(CancellationToken::cancel);
        });
    }

    fn begin(&mut self, step: OpenStep) {
        if self.tokens.contains_key(&step.step) {
            return;
        }
        let token = CancellationToken::new();
        self.tokens.insert(step.step, token.clone());
        let scope = self.scope.clone();
        match step.kind {
            StepKind::Model => {
                let request = self.machine.request(step.max_tokens);
                let task = self
                    .running
                    .spawn(scope.model(step.clone(), request, token).instrument(step_span(&step)));
                self.tasks.insert(task.id(), step);
            }
            StepKind::Tool => match self.machine.call(&step).cloned() {
                Some(request) => {
                    let task = self
                        .running
                        .spawn(scope.tool(step.clone(), request, token).instrument(step_span(&step)));
                    self.tasks.insert(task.id(), step);
                }
                None => {
                    tracing::error!(run = %self.lease.fence.run, step = step.step, "a tool step has no call")
                }
            },
        }
    }

    fn abort(&mut self, step: OpenStep) -> Result<()> {
        if let Some(token) = self.tokens.get(&step.step) {
            token.cancel();
            return Ok(());
        }
        // An interrupted step that may be repeated, of a run that is to stop: it is not.
        let error = Error::new(ErrorKind::Cancelled, "the step was interrupted and not repeated");
        let end = self.unfinished(step, &error);
        self.ended(end)
    }

    /// The end of a step that nobody will end.
    fn unfinished(&self, step: OpenStep, error: &Error) -> StepEnd {
        let now = self.scope.shared.env.now();
        let outcome = DoneOutcome::Failed { error: StepError::from(error) };
        let entry = super::machine::ended(step.step, outcome, now, now);
        StepEnd { step, entry, payload: None, committed: None, lost: None }
    }

    fn joined(&mut self, end: Joined) -> Result<()> {
        let end = match end {
            Ok((task, end)) => {
                self.tasks.remove(&task);
                end
            }
            // A model or an authorizer of the host's that panics ends its step, not the run's worker.
            Err(error) => {
                let step = self.tasks.remove(&error.id());
                let step =
                    step.ok_or_else(|| Error::internal("a step's task was lost").with_source(error))?;
                let lost = Error::internal(format!("the {} `{}` panicked", step.kind.name(), step.name));
                self.unfinished(step, &lost)
            }
        };
        self.tokens.remove(&end.step.step);
        if end.step.kind == StepKind::Model {
            self.feed.end();
        }
        if let Some(error) = end.lost {
            return Err(error);
        }
        if self.closing
            && matches!(&end.entry, JournalEntry::Done { outcome: DoneOutcome::Failed { error }, .. } if error.kind == ErrorKind::Cancelled)
        {
            // Stopped by the engine's end, not the run's: whoever takes the run up carries the step out again.
            return Ok(());
        }
        self.ended(end)
    }

    /// Takes in how a step ended.
    fn ended(&mut self, end: StepEnd) -> Result<()> {
        let StepEnd { step, entry, payload, committed, lost: _ } = end;
        self.machine.apply(&entry, payload.as_ref().map(|payload| payload.bytes.as_slice()))?;
        if let Some(seq) = committed {
            self.feed.committed(seq);
            return Ok(());
        }
        let shared = &self.scope.shared;
        let effects =
            shared.done_effects(&self.scope.ctx, self.scope.agent, self.lease.fence.run, &step, &entry);
        self.pending.effects.usage.extend(effects.usage);
        self.pending.effects.audit.extend(effects.audit);
        self.pending.facts.push(entry);
        self.pending.payloads.extend(payload);
        Ok(())
    }

    /// Renews the lease, takes in what was said to the run, and says when to come again.
    async fn renew(&mut self) -> Result<Duration> {
        let shared = self.scope.shared.clone();
        let (env, lease) = (&shared.env, shared.options.lease);
        let until = env.now().after(lease);
        let signals = match shared.stores.runs.renew(&self.lease.fence, until).await {
            Ok(signals) => signals,
            // A short outage of the store ends nothing while the run is still ours.
            Err(error) if error.is(ErrorKind::Unavailable) && env.now() < self.lease.until => {
                tracing::warn!(error = ?error, "the lease could not be renewed");
                return Ok(env.monotonic().saturating_add(Duration::from_secs(1)));
            }
            Err(error) => return Err(error),
        };
        self.lease.until = until;
        for (id, signal) in signals {
            if self.pending.consumed.contains(&id) {
                continue;
            }
            let at = env.now();
            let entry = match signal {
                Signal::Cancel { by } => {
                    if self.parking {
                        self.stop_steps();
                    }
                    Some(JournalEntry::CancelAsked { signal: id, by, at })
                }
                Signal::Approval { approval, args_hash, approved, by }
                    if self.machine.waits_for(approval, &args_hash) =>
                {
                    Some(JournalEntry::ApprovalAnswered { approval, approved, by, at })
                }
                // An answer to nothing that waits: an older one, or one for other arguments.
                Signal::Approval { .. } => None,
            };
            self.pending.consumed.push(id);
            if let Some(entry) = entry {
                self.machine.apply(&entry, None)?;
                self.pending.facts.push(entry);
            }
        }
        Ok(env.monotonic().saturating_add(lease / 3))
    }

    fn encode(entries: &[JournalEntry]) -> Result<Vec<Vec<u8>>> {
        entries.iter().map(encode_entry).collect()
    }

    /// Journals what is pending: facts and intents together, as long as the tenant is active.
    async fn flush(&mut self, mut patch: RunPatch) -> Result<()> {
        if self.pending.is_empty() && patch == RunPatch::default() {
            return Ok(());
        }
        if patch.status.is_none() && self.status != RunStatus::Running {
            patch.status = Some(RunStatus::Running);
        }
        let mut totals = self.machine.totals();
        totals.steps -= self.dropped.steps.min(totals.steps);
        totals.tool_calls -= self.dropped.tool_calls.min(totals.tool_calls);
        patch.totals = Some(totals);
        let mut effects = self.pending.effects.clone();
        if !self.pending.intents.is_empty() {
            effects.guards.push(Guard::TenantActive);
        }
        effects.events.extend(self.pending.intents.iter().filter_map(|entry| self.asked(entry)));
        let mut entries = Self::encode(&self.pending.facts)?;
        entries.extend(Self::encode(&self.pending.intents)?);
        let status = patch.status;
        let batch = JournalBatch {
            entries,
            payloads: self.pending.payloads.clone(),
            consumed: self.pending.consumed.clone(),
            patch,
        };
        let seq = self.scope.shared.stores.runs.commit(&self.lease.fence, batch, effects).await?;
        self.pending = Pending::default();
        self.status = status.unwrap_or(self.status);
        self.feed.committed(seq);
        Ok(())
    }

    fn asked(&self, entry: &JournalEntry) -> Option<PlatformEvent> {
        let JournalEntry::ApprovalAsked { approval, tool, args_hash, .. } = entry else { return None };
        let data = serde_json::json!({ "approval": approval, "tool": tool, "args_hash": args_hash });
        Some(PlatformEvent::of(
            &self.scope.ctx,
            &self.scope.shared.env,
            "run.approval_requested",
            self.lease.fence.run,
            data,
        ))
    }

    /// Leaves the run to whoever takes it up next.
    async fn give_back(&mut self) -> Result<()> {
        self.drop_intents();
        let status = self.parking.then_some(RunStatus::Parked);
        self.flush(RunPatch { status, release: Some(Release::Ready), ..RunPatch::default() }).await
    }

    async fn finish(&mut self) -> Result<()> {
        let Some(JournalEntry::Finished { outcome, cancelled, totals, .. }) =
            self.pending.facts.last().cloned()
        else {
            return Err(Error::internal("a run without an end was to be finished"));
        };
        let (status, output, error) = ending(&outcome, cancelled);
        let demand = budget::actual(&self.scope.spec, self.scope.agent, &totals);
        let effects = finish_effects(
            &self.scope.shared,
            &self.scope.ctx,
            &self.lease,
            &outcome,
            status,
            &totals,
            demand,
        );
        self.pending.effects.quota.extend(effects.quota);
        self.pending.effects.audit.extend(effects.audit);
        self.pending.effects.events.extend(effects.events);
        self.flush(RunPatch { status: Some(status), output, error, ..RunPatch::default() }).await
    }
}

/// One span per step, within its run's.
fn step_span(step: &OpenStep) -> tracing::Span {
    tracing::info_span!("step", step = step.step, kind = step.kind.name(), name = %step.name)
}

/// How an outcome reads in the run's record.
fn ending(outcome: &DoneOutcome, cancelled: bool) -> (RunStatus, Option<PayloadHash>, Option<StepError>) {
    match outcome {
        DoneOutcome::Ok { output } => (RunStatus::Completed, Some(*output), None),
        DoneOutcome::Failed { error } if cancelled => (RunStatus::Cancelled, None, Some(error.clone())),
        DoneOutcome::Failed { error } => (RunStatus::Failed, None, Some(error.clone())),
        DoneOutcome::Uncertain => (RunStatus::Failed, None, Some(super::events::uncertain())),
    }
}

fn finish_effects(
    shared: &Shared,
    ctx: &Context,
    lease: &Lease,
    outcome: &DoneOutcome,
    status: RunStatus,
    totals: &RunTotals,
    demand: Demand,
) -> Effects {
    let run = lease.fence.run;
    let record = AuditRecord::of(ctx, &shared.env, "runs.finish", "runs", run)
        .with("agent", lease.run.agent.to_string())
        .with("status", status.name())
        .with("steps", totals.steps);
    let record = match outcome {
        DoneOutcome::Failed { error } => record.failed(&error.clone().into()),
        _ => record,
    };
    let data = serde_json::json!({
        "agent": lease.run.agent,
        "status": status,
        "totals": totals,
        "cost_usd": totals.cost_usd(),
    });
    let mut effects = Effects { audit: vec![record], ..Effects::none() }.event(PlatformEvent::of(
        ctx,
        &shared.env,
        "run.finished",
        run,
        data,
    ));
    // Harmless where nothing was held.
    effects.quota.push(QuotaOp::Settle(reservation(run), demand));
    effects
}
