//! Drives one run: carries out what its machine says and journals what happened, before and after.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::engine::Shared;
use super::feed::Feed;
use super::journal::{
    DoneOutcome, JournalEntry, JournalRow, PayloadHash, RunTotals, StepError, StepKind, decode_entry,
    encode_entry,
};
use super::machine::{Command, OpenStep, Quote, RunMachine};
use super::signal::Signal;
use super::step::{StepEnd, StepScope};
use super::store::{JournalBatch, Lease, Payload, Release, RunPatch, RunStatus};
use super::{budget, history};
use crate::agent::AgentSpec;
use crate::audit::AuditRecord;
use crate::authz::{Permission, PermissionSet, Resource};
use crate::context::{Context, Identity, Principal, RequestInfo};
use crate::effect::{Effects, Guard, QuotaOp};
use crate::error::{Error, ErrorKind, Result};
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
    closing: bool,
}

/// How a step's task ended.
type Joined = std::result::Result<(tokio::task::Id, StepEnd), tokio::task::JoinError>;

/// Why driving ended.
enum Stop {
    /// The run is over or was given back.
    Done,
    /// The tenant was suspended: what is under way ends, nothing new begins.
    Park,
}

impl Driver {
    /// Drives a run until it is over, waits, or cannot go on here.
    pub(super) async fn drive(shared: Arc<Shared>, lease: Lease) {
        let run = lease.fence.run;
        let wake = shared.listen(run);
        let feed = shared.feeds.open(run, lease.run.seq);
        let ended = Self::open_and_go(shared.clone(), lease, feed, wake).await;
        shared.deaf(run);
        shared.feeds.close(run);
        match ended {
            Ok(()) => {}
            // Somebody else has the run; nothing of ours was written.
            Err(error) if error.is(ErrorKind::Fenced) => tracing::info!(%run, "another worker has the run"),
            // The lease runs out and somebody tries again from the journal.
            Err(error) => tracing::warn!(%run, error = ?error, "the run could not be driven on"),
        }
    }

    async fn open_and_go(shared: Arc<Shared>, lease: Lease, feed: Feed, wake: Arc<Notify>) -> Result<()> {
        let mut driver = match Self::open(&shared, &lease, feed.clone(), wake).await {
            Ok(driver) => driver,
            Err(error) => return Self::give_up(&shared, &lease, error).await,
        };
        match driver.go().await? {
            Stop::Done => Ok(()),
            Stop::Park => driver.park().await,
        }
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
        let mut info = caller.info().clone();
        info.correlation_id = Some(record.id.to_string());
        let caller = caller.with_info(info);
        shared.access.check(&caller, Permission::AGENTS_RUN, Resource::one("agents", record.agent)).await?;
        let capabilities = shared.permissions.set(&spec.capabilities)?;
        let ctx = caller.for_agent(record.agent, &capabilities);
        let quote = quote(shared, &spec);
        let scope = StepScope {
            shared: shared.clone(),
            fence: lease.fence,
            agent: record.agent,
            spec,
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
            closing: false,
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
                driver.ended(StepEnd { step, entry, payload: None, committed: None })?;
            }
        }
        Ok(driver)
    }

    /// Ends or gives back a run that could not be opened.
    async fn give_up(shared: &Shared, lease: &Lease, error: Error) -> Result<()> {
        match error.kind() {
            ErrorKind::TenantSuspended => {
                let patch = RunPatch {
                    status: Some(RunStatus::Parked),
                    release: Some(Release::Ready),
                    ..RunPatch::default()
                };
                let batch = JournalBatch { patch, ..JournalBatch::default() };
                shared.stores.runs.commit(&lease.fence, batch, Effects::none()).await?;
                Ok(())
            }
            ErrorKind::PermissionDenied
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
                Ok(())
            }
            _ => Err(error),
        }
    }

    async fn go(&mut self) -> Result<Stop> {
        let shared = self.scope.shared.clone();
        let env = &shared.env;
        let third = shared.options.lease / 3;
        let mut renew_at = env.monotonic();
        loop {
            if env.monotonic() >= renew_at {
                self.renew().await?;
                renew_at = env.monotonic().saturating_add(third);
            }
            if self.closing && self.running.is_empty() {
                self.give_back().await?;
                return Ok(Stop::Done);
            }
            if !self.closing {
                match self.machine.next(env.now(), &self.quote, || env.id()) {
                    Command::Journal(entries) => {
                        for entry in entries {
                            self.machine.apply(&entry, None)?;
                            match entry {
                                JournalEntry::Finished { .. } => self.pending.facts.push(entry),
                                _ => self.pending.intents.push(entry),
                            }
                        }
                        if self.machine.is_over() {
                            self.finish().await?;
                            return Ok(Stop::Done);
                        }
                        continue;
                    }
                    Command::Execute(steps) => {
                        if let Err(error) = self.flush(RunPatch::default()).await {
                            return self.stopped(error);
                        }
                        for step in steps {
                            self.begin(step);
                        }
                    }
                    Command::Abort(steps) => {
                        for step in steps {
                            self.abort(step)?;
                        }
                        if let Err(error) = self.flush(RunPatch::default()).await {
                            return self.stopped(error);
                        }
                        if self.running.is_empty() {
                            continue;
                        }
                    }
                    Command::Wait => {
                        self.wait().await?;
                        return Ok(Stop::Done);
                    }
                    Command::Over => return Ok(Stop::Done),
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

    /// Decides what a refused commit means: suspension parks the run, anything else stops this worker.
    fn stopped(&mut self, error: Error) -> Result<Stop> {
        if error.is(ErrorKind::TenantSuspended) { Ok(Stop::Park) } else { Err(error) }
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
        let entry = super::machine::ended(step.step, outcome, now);
        StepEnd { step, entry, payload: None, committed: None }
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
        let StepEnd { step, entry, payload, committed } = end;
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

    /// Renews the lease and takes in what was said to the run.
    async fn renew(&mut self) -> Result<()> {
        let shared = self.scope.shared.clone();
        let until = shared.env.now().after(shared.options.lease);
        for (id, signal) in shared.stores.runs.renew(&self.lease.fence, until).await? {
            if self.pending.consumed.contains(&id) {
                continue;
            }
            let at = shared.env.now();
            let entry = match signal {
                Signal::Cancel { by } => Some(JournalEntry::CancelAsked { signal: id, by, at }),
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
        Ok(())
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
        patch.totals = Some(self.machine.totals());
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

    /// The tenant was suspended: steps under way end and are journaled, then the run is given back.
    async fn park(&mut self) -> Result<()> {
        self.pending.intents.clear();
        loop {
            let patch = if self.running.is_empty() {
                RunPatch {
                    status: Some(RunStatus::Parked),
                    release: Some(Release::Ready),
                    ..RunPatch::default()
                }
            } else {
                RunPatch::default()
            };
            let last = self.running.is_empty();
            // Totals would count the intents that were not journaled; the record keeps the last ones.
            let batch = JournalBatch {
                entries: Self::encode(&self.pending.facts)?,
                payloads: std::mem::take(&mut self.pending.payloads),
                consumed: std::mem::take(&mut self.pending.consumed),
                patch,
            };
            let effects = std::mem::take(&mut self.pending.effects);
            self.pending.facts.clear();
            let seq = self.scope.shared.stores.runs.commit(&self.lease.fence, batch, effects).await?;
            self.feed.committed(seq);
            if last {
                return Ok(());
            }
            if let Some(end) = self.running.join_next_with_id().await {
                self.joined(end)?;
            }
        }
    }

    async fn wait(&mut self) -> Result<()> {
        let patch = RunPatch {
            status: Some(RunStatus::Waiting),
            release: Some(Release::UntilSignal),
            ..RunPatch::default()
        };
        match self.flush(patch).await {
            Err(error) if error.is(ErrorKind::TenantSuspended) => self.park().await,
            other => other,
        }
    }

    async fn give_back(&mut self) -> Result<()> {
        self.pending.intents.clear();
        let patch = RunPatch { release: Some(Release::Ready), ..RunPatch::default() };
        self.flush(patch).await
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
    if !demand.is_empty() {
        effects.quota.push(QuotaOp::Settle(reservation(run), demand));
    }
    effects
}

/// What is known of the models of an agent; a name that does not resolve counts as one without a price.
pub(super) fn quote(shared: &Shared, spec: &AgentSpec) -> Quote {
    let models: Option<Vec<_>> = std::iter::once(&spec.model)
        .chain(&spec.fallbacks)
        .map(|name| shared.models.resolve(name).ok())
        .collect();
    models.map_or_else(Quote::default, |models| budget::quote(models.iter().map(|model| model.info())))
}

/// Rebuilds a run's machine from its journal, which must verify.
async fn load(shared: &Shared, ctx: &Context, lease: &Lease, spec: Arc<AgentSpec>) -> Result<RunMachine> {
    let record = &lease.run;
    let mut rows: Vec<JournalRow> = Vec::new();
    loop {
        let more = shared.stores.index.journal(ctx, record.id, rows.len() as u64, 500).await?;
        let whole = more.len() < 500;
        rows.extend(more);
        if whole {
            break;
        }
    }
    JournalRow::verify(&record.salt, &rows, &record.head)?;
    let entries: Vec<JournalEntry> = rows.iter().map(|row| decode_entry(&row.body)).collect::<Result<_>>()?;
    let named: Vec<PayloadHash> = entries.iter().filter_map(content).collect();
    let mut payloads = shared.stores.index.payloads(ctx, record.id, &named).await?.into_iter();
    let said = history::of_session(&shared.stores, ctx, record).await?;
    let mut machine = RunMachine::new(spec, shared.tools.clone(), record.salt, said);
    for entry in &entries {
        let payload = content(entry).and_then(|_| payloads.next());
        machine.apply(entry, payload.as_deref())?;
    }
    Ok(machine)
}

/// The content an entry needs to be applied.
pub(super) fn content(entry: &JournalEntry) -> Option<PayloadHash> {
    match entry {
        JournalEntry::Created { input, .. } => Some(*input),
        JournalEntry::Done { outcome: DoneOutcome::Ok { output }, .. } => Some(*output),
        _ => None,
    }
}
