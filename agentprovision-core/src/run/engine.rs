//! The engine that drives runs in this process.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Fuse};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::driver::Driver;
use super::feed::Feeds;
use super::journal::{DoneOutcome, JournalEntry, STATE_VERSION, StepKind};
use super::machine::OpenStep;
use super::room::{Room, Ticket, Wanted};
use super::signal::Signal;
use super::store::{ClaimRequest, Fence, JournalBatch, Lease, Release, RunPatch, RunStore};
use crate::access::{Access, Principals};
use crate::agent::{AgentSpec, VersionHash};
use crate::audit::AuditRecord;
use crate::authz::PermissionRegistry;
use crate::backend::Stores;
use crate::clock::Env;
use crate::context::Context;
use crate::effect::Effects;
use crate::error::{ErrorKind, Result};
use crate::id::{AgentId, RunId, TenantId, WorkerId};
use crate::model::ModelResolver;
use crate::tool::ToolSet;
use crate::usage::{Meter, UsageEvent};

/// Settings of a [`LocalEngine`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineOptions {
    /// How long a run is held without being renewed; default 30 s. It is renewed after a third of it.
    pub lease: Duration,
    /// Runs that are driven at the same time; default 256. With 0 none is, here: what is started here is left at once to
    /// the workers on the same store, and followed like any other run.
    pub max_runs: usize,
    /// Runs of one tenant that are driven at the same time; by default as many as of all. More of them wait, here or in
    /// the store, and hold up no other tenant.
    pub max_runs_per_tenant: Option<usize>,
    /// How often runs that nobody holds are looked for; default 1 s.
    pub poll: Duration,
    /// The longest a model may be silent; default 120 s.
    pub model_idle: Duration,
    /// How long a cancelled tool may take to end; default 2 s.
    pub cancel_grace: Duration,
    /// How long [`Engine::close`] waits for steps under way; default 10 s.
    pub close_grace: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            max_runs: 256,
            max_runs_per_tenant: None,
            poll: Duration::from_secs(1),
            model_idle: Duration::from_secs(120),
            cancel_grace: Duration::from_secs(2),
            close_grace: Duration::from_secs(10),
        }
    }
}

/// Drives runs. What it does is in the journal, so another engine can go on where this one stopped.
#[async_trait]
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// Takes over a run that its starter holds.
    fn submit(&self, lease: Lease);
    /// Something was said to a run.
    fn wake(&self, run: RunId);
    /// Stops taking up runs, lets steps under way end for a while, and gives every run back.
    async fn close(&self);
}

/// What an engine works with.
#[derive(Clone, Debug)]
pub struct EngineParts {
    /// The stores.
    pub stores: Stores,
    /// The tools.
    pub tools: Arc<ToolSet>,
    /// The models.
    pub models: Arc<dyn ModelResolver>,
    /// Current grants.
    pub principals: Arc<dyn Principals>,
    /// The check at the door.
    pub access: Access,
    /// Names of permissions.
    pub permissions: Arc<PermissionRegistry>,
    /// Settings.
    pub options: EngineOptions,
}

/// What the engine, its drivers and the service share.
pub(super) struct Shared {
    pub(super) stores: Stores,
    pub(super) tools: Arc<ToolSet>,
    pub(super) models: Arc<dyn ModelResolver>,
    pub(super) principals: Arc<dyn Principals>,
    pub(super) access: Access,
    pub(super) permissions: Arc<PermissionRegistry>,
    pub(super) options: EngineOptions,
    pub(super) env: Env,
    pub(super) worker: WorkerId,
    pub(super) feeds: Feeds,
    pub(super) closing: CancellationToken,
    pub(super) runtime: tokio::runtime::Handle,
    wakes: Mutex<HashMap<RunId, Arc<Notify>>>,
    look: Notify,
    specs: moka::sync::Cache<(TenantId, VersionHash), Arc<AgentSpec>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl Shared {
    /// The same on other stores, with nobody who listens or looks.
    pub(super) fn on(&self, stores: Stores) -> Self {
        Self {
            stores,
            tools: self.tools.clone(),
            models: self.models.clone(),
            principals: self.principals.clone(),
            access: self.access.clone(),
            permissions: self.permissions.clone(),
            options: self.options.clone(),
            env: self.env.clone(),
            worker: self.worker,
            feeds: Feeds::default(),
            closing: self.closing.clone(),
            runtime: self.runtime.clone(),
            wakes: Mutex::default(),
            look: Notify::new(),
            specs: self.specs.clone(),
        }
    }

    /// The specification behind a version; versions never change, so they are kept.
    pub(super) async fn spec(
        &self,
        ctx: &Context,
        agent: AgentId,
        version: VersionHash,
    ) -> Result<Arc<AgentSpec>> {
        let key = (ctx.tenant(), version);
        if let Some(spec) = self.specs.get(&key) {
            return Ok(spec);
        }
        let stored = self.stores.agents.version(ctx, agent, version).await?;
        let spec = Arc::new(stored.spec(version)?);
        self.specs.insert(key, spec.clone());
        Ok(spec)
    }

    /// Registers who listens for what is said to a run.
    pub(super) fn listen(&self, run: RunId) -> Arc<Notify> {
        let notify = Arc::new(Notify::new());
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner).insert(run, notify.clone());
        notify
    }

    /// Nobody listens for this run any more.
    pub(super) fn deaf(&self, run: RunId, wake: &Arc<Notify>) {
        let mut wakes = self.wakes.lock().unwrap_or_else(PoisonError::into_inner);
        // Another driver may have the run by now.
        if wakes.get(&run).is_some_and(|listening| Arc::ptr_eq(listening, wake)) {
            wakes.remove(&run);
        }
    }

    /// Looks for runs at once.
    pub(super) fn look(&self) {
        self.look.notify_one();
    }

    /// Usage and audit of a step that ended.
    pub(super) fn done_effects(
        &self,
        ctx: &Context,
        agent: AgentId,
        run: RunId,
        step: &OpenStep,
        entry: &JournalEntry,
    ) -> Effects {
        let JournalEntry::Done { outcome, usage, cost, model, started, at, .. } = entry else {
            return Effects::none();
        };
        let mut effects = Effects::none();
        let mut count = |meter: Meter, quantity: u64, cost| {
            effects.usage.push(UsageEvent {
                id: self.env.id(),
                meter,
                quantity,
                at: *at,
                user: Some(ctx.principal().user()),
                agent: Some(agent),
                run: Some(run),
                model: model.clone(),
                cost,
            });
        };
        match step.kind {
            StepKind::Model => {
                if matches!(outcome, DoneOutcome::Ok { .. }) || usage.is_some() {
                    count(Meter::LlmRequests, 1, *cost);
                }
                if let Some(usage) = usage {
                    for (meter, tokens) in [
                        (Meter::LlmTokensInput, usage.input_tokens),
                        (Meter::LlmTokensOutput, usage.output_tokens),
                    ] {
                        if let Some(tokens) = tokens.filter(|tokens| *tokens > 0) {
                            count(meter, tokens, None);
                        }
                    }
                }
            }
            StepKind::Tool => {
                let millis = u64::try_from(at.since(*started).as_millis()).unwrap_or(u64::MAX);
                count(Meter::ComputeMs, millis, None);
                let record = AuditRecord::of(ctx, &self.env, "tools.call", "tools", &step.name)
                    .with("run", run.to_string())
                    .with("step", step.step);
                effects.audit.push(match outcome {
                    DoneOutcome::Ok { .. } => record,
                    DoneOutcome::Failed { error } => record.failed(&error.clone().into()),
                    DoneOutcome::Uncertain => record.failed(&super::events::uncertain().into()),
                });
            }
        }
        effects
    }
}

/// Keeps runs for later that nobody may drive yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Parked(Arc<Mutex<Vec<Lease>>>);

impl Parked {
    /// The runs, which are not kept any more.
    pub(super) fn take(&self) -> Vec<Lease> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Engine for Parked {
    fn submit(&self, lease: Lease) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(lease);
    }

    fn wake(&self, _: RunId) {
        // Whoever drives the run reads what was said when it takes it up.
    }

    async fn close(&self) {}
}

/// The default engine: tokio tasks over the store's journal.
#[derive(Clone, Debug)]
pub struct LocalEngine {
    shared: Arc<Shared>,
    drivers: TaskTracker,
    room: Arc<Room>,
}

impl LocalEngine {
    /// Starts an engine. It looks for runs that nobody holds: at once, when the store says so, and at every poll, so runs
    /// that a crash left go on. Tenants are served in turn, wherever their runs were started.
    pub fn start(parts: EngineParts) -> Self {
        let EngineParts { stores, tools, models, principals, access, permissions, options } = parts;
        let env = access.env().clone();
        let room = Room::new(options.max_runs, options.max_runs_per_tenant.unwrap_or(usize::MAX));
        let shared = Arc::new(Shared {
            stores,
            tools,
            models,
            principals,
            access,
            permissions,
            options,
            worker: env.id(),
            env,
            feeds: Feeds::default(),
            closing: CancellationToken::new(),
            runtime: tokio::runtime::Handle::current(),
            wakes: Mutex::default(),
            look: Notify::new(),
            specs: moka::sync::Cache::new(1024),
        });
        let engine = Self { shared, drivers: TaskTracker::new(), room };
        if engine.drives() {
            let looking = engine.clone();
            engine.drivers.spawn(async move { looking.look_for_runs().await });
        }
        engine
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn drives(&self) -> bool {
        self.shared.options.max_runs > 0
    }

    /// Leaves a run to whoever looks for it next.
    async fn give_back(&self, fence: &Fence) {
        let patch = RunPatch { release: Some(Release::Ready), ..RunPatch::default() };
        let batch = JournalBatch { patch, ..JournalBatch::default() };
        if let Err(error) = self.shared.stores.runs.commit(fence, batch, Effects::none()).await {
            tracing::warn!(run = %fence.run, error = ?error, "a run could not be given back");
        }
    }

    async fn look_for_runs(&self) {
        let shared = &self.shared;
        let mut last = shared.env.now();
        let mut after = None;
        loop {
            let mut woken = listen(&*shared.stores.runs);
            let now = shared.env.now();
            // After a pause of the whole process its own runs look abandoned; their drivers get to renew them first.
            let late = shared.options.poll.saturating_add(shared.options.lease / 2);
            let paused = now.since(std::mem::replace(&mut last, now)) > late;
            let Wanted { limit, per_tenant, full } = self.room.wanted();
            let (limit, left_out) = (limit.min(64), limit == 0 || !full.is_empty());
            if limit > 0 && !paused {
                let until = now.after(shared.options.lease);
                let request = ClaimRequest::new(shared.worker, until, limit, STATE_VERSION)
                    .after(after)
                    .per_tenant(per_tenant)
                    .full(full);
                match shared.stores.runs.claim(request).await {
                    Ok(leases) => {
                        let some = !leases.is_empty();
                        for lease in leases {
                            tracing::debug!(run = %lease.fence.run, epoch = lease.fence.epoch, "a run was taken up");
                            after = Some(lease.fence.tenant);
                            self.submit(lease);
                        }
                        if some && !shared.closing.is_cancelled() {
                            tokio::task::yield_now().await;
                            continue;
                        }
                    }
                    Err(error) => tracing::warn!(error = ?error, "runs could not be looked for"),
                }
            }
            tokio::select! {
                biased;
                () = shared.closing.cancelled() => return,
                () = shared.look.notified() => {}
                () = &mut woken => {}
                // There may be runs in the store that there was no room for.
                () = self.room.left(), if left_out => {}
                () = shared.env.sleep(shared.options.poll) => {}
            }
        }
    }

    /// Waits for room. `None` when the run is not to be driven here.
    async fn turn(&self, lease: &Lease, mut ticket: Ticket) -> Option<Turn> {
        let (shared, fence) = (&self.shared, &lease.fence);
        let wake = shared.listen(fence.run);
        let late = lease.run.deadline.since(shared.env.now());
        let mut late = std::pin::pin!(shared.env.sleep(late));
        let turn = loop {
            tokio::select! {
                biased;
                () = shared.closing.cancelled() => {
                    // What is not begun is not begun here.
                    self.give_back(fence).await;
                    break None;
                }
                () = ticket.wait() => break Some(Turn { _room: Some(ticket) }),
                // A run that is to end needs no room.
                () = wake.notified() => match self.to_end(lease).await {
                    Ok(true) => break Some(Turn { _room: None }),
                    Ok(false) => {}
                    Err(error) if error.is(ErrorKind::Fenced) => break None,
                    // It is read again when it is the run's turn.
                    Err(error) => tracing::warn!(run = %fence.run, error = ?error, "signals could not be read"),
                },
                () = &mut late => break Some(Turn { _room: None }),
            }
        };
        shared.deaf(fence.run, &wake);
        turn
    }

    /// Whether somebody said that the run is to end.
    async fn to_end(&self, lease: &Lease) -> Result<bool> {
        let until = self.shared.env.now().after(self.shared.options.lease);
        let signals = self.shared.stores.runs.renew(&lease.fence, until).await?;
        Ok(signals.iter().any(|(_, signal)| matches!(signal, Signal::Cancel { .. })))
    }
}

/// The right to be driven now, with the room that takes.
struct Turn {
    _room: Option<Ticket>,
}

/// Waits until the store says that a run may be ready. It listens from now on, so that nothing is missed between a look
/// and the wait behind it.
fn listen(runs: &dyn RunStore) -> Fuse<BoxFuture<'_, ()>> {
    let mut woken = runs.woken().fuse();
    if (&mut woken).now_or_never().is_some() {
        // That was said before the look that comes now.
        woken = runs.woken().fuse();
        let _ = (&mut woken).now_or_never();
    }
    woken
}

#[async_trait]
impl Engine for LocalEngine {
    fn submit(&self, lease: Lease) {
        if !self.drives() {
            let engine = self.clone();
            self.drivers.spawn(async move { engine.give_back(&lease.fence).await });
            return;
        }
        // In line from now on: the next look has to know of it.
        let (engine, ticket) = (self.clone(), self.room.enter(lease.fence.tenant));
        self.drivers.spawn(async move {
            let Some(_turn) = engine.turn(&lease, ticket).await else { return };
            let span = tracing::info_span!(
                "agent_execution",
                run.id = %lease.fence.run,
                agent.id = %lease.run.agent,
                user.id = %lease.run.user,
                tenant.id = %lease.fence.tenant,
                epoch = lease.fence.epoch,
            );
            Driver::drive(engine.shared, lease).instrument(span).await;
        });
    }

    fn wake(&self, run: RunId) {
        let notify = self.shared.wakes.lock().unwrap_or_else(PoisonError::into_inner).get(&run).cloned();
        match notify {
            Some(notify) => notify.notify_one(),
            None => self.shared.look(),
        }
    }

    async fn close(&self) {
        self.shared.closing.cancel();
        self.drivers.close();
        self.drivers.wait().await;
    }
}
