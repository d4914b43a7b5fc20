//! The service for runs and sessions: starts them, finds them, and says things to them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::budget;
use super::chain::Chain;
use super::driver::reservation;
use super::engine::{Engine, LocalEngine, Parked, Shared};
use super::events::{EventCursor, RunEvents, follow};
use super::handle::Run;
use super::journal::{
    ChainHash, JournalEntry, JournalRow, PayloadHash, RunTotals, STATE_VERSION, decode_entry, encode_entry,
    payload_hash,
};
use super::load::quote;
use super::machine::{Command, Input, RunMachine};
use super::signal::Signal;
use super::store::{
    Created, JournalBatch, NewRun, Payload, Release, RunPatch, RunQuery, RunRecord, RunStatus,
};
use super::watch::Watch;
use crate::agent::{AgentRecord, AgentSpec, AgentState, LIVE, VersionHash};
use crate::audit::AuditRecord;
use crate::authz::{Permission, Resource};
use crate::backend::Stores;
use crate::canonical;
use crate::clock::Timestamp;
use crate::context::Context;
use crate::effect::{Effects, QuotaOp};
use crate::error::{Error, ErrorKind, Result};
use crate::event::PlatformEvent;
use crate::id::{AgentId, ApprovalId, Id, RunId, SessionId, SignalId};
use crate::page::{Page, PageRequest};
use crate::task::detached;
use crate::text;

/// The longest input, in bytes.
pub const MAX_INPUT: usize = 4 << 20;

/// What becomes of a run that nobody watches any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnDisconnect {
    /// It goes on.
    #[default]
    Continue,
    /// It is cancelled; see [`RunInput::on_disconnect`].
    Cancel,
}

/// What a run is started with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunInput {
    /// Text or JSON.
    pub input: Input,
    /// A second start of the same agent with the same key and input gives the same run.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// The session the run is a turn of.
    #[serde(default)]
    pub session: Option<SessionId>,
    /// When it must be over, if before what the agent allows.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
    /// Another user the caller acts for, as the host says; recorded with the run.
    #[serde(default)]
    pub on_behalf_of: Option<String>,
    /// What becomes of it when nobody watches it any more; default: it goes on.
    #[serde(default)]
    pub on_disconnect: OnDisconnect,
}

impl RunInput {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Input::Text(text.into()))
    }

    /// JSON that matches the agent's input schema.
    pub fn json(value: Value) -> Self {
        Self::new(Input::Json(value))
    }

    fn new(input: Input) -> Self {
        Self {
            input,
            idempotency_key: None,
            session: None,
            deadline: None,
            on_behalf_of: None,
            on_disconnect: OnDisconnect::Continue,
        }
    }

    /// The same input with another answer to nobody watching. With [`OnDisconnect::Cancel`] the run is cancelled as soon
    /// as the last stream of events or wait that the returned handle and its clones gave is dropped before the run's
    /// end, or all of these handles are. The start needs `runs:cancel` then. It holds for this process only: a run that
    /// another process takes up after a crash goes on.
    #[must_use]
    pub fn on_disconnect(mut self, then: OnDisconnect) -> Self {
        self.on_disconnect = then;
        self
    }

    /// The same input under an idempotency key, at most 255 characters.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// The same input as a turn of a session.
    #[must_use]
    pub fn session(mut self, session: SessionId) -> Self {
        self.session = Some(session);
        self
    }

    /// The same input with a deadline.
    #[must_use]
    pub fn deadline(mut self, at: Timestamp) -> Self {
        self.deadline = Some(at);
        self
    }

    /// The same input on another user's behalf.
    #[must_use]
    pub fn on_behalf_of(mut self, user: impl Into<String>) -> Self {
        self.on_behalf_of = Some(user.into());
        self
    }
}

/// Starts runs, finds them, and says things to them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Runs {
    pub(super) shared: Arc<Shared>,
    engine: Arc<dyn Engine>,
    /// Where runs wait that are part of a transaction of the host's.
    parked: Option<Parked>,
}

impl Runs {
    /// The service over an engine.
    pub fn new(engine: &LocalEngine) -> Self {
        Self { shared: engine.shared().clone(), engine: Arc::new(engine.clone()), parked: None }
    }

    /// The same service on other stores, those of a transaction that is not committed yet. What is started through it is
    /// driven by nobody until [`Runs::release`], and then by whoever looks for runs after the commit. Handles on such
    /// runs end with the stores; the id of a run is what lasts.
    pub fn within(&self, stores: Stores) -> Self {
        let parked = Parked::default();
        let shared = Arc::new(self.shared.on(stores));
        Self { shared, engine: Arc::new(parked.clone()), parked: Some(parked) }
    }

    /// Gives up the runs that were started [within](Runs::within) a transaction, in that transaction.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn release(&self) -> Result<()> {
        for lease in self.parked.iter().flat_map(Parked::take) {
            let patch = RunPatch { release: Some(Release::Ready), ..RunPatch::default() };
            let batch = JournalBatch { patch, ..JournalBatch::default() };
            self.shared.stores.runs.commit(&lease.fence, batch, Effects::none()).await?;
        }
        Ok(())
    }

    /// Starts a run of an agent's live version.
    ///
    /// # Behavior
    /// The run, what it holds of its agent's budget, its audit record and its event commit together before this
    /// returns. Dropping the handle does not stop it.
    ///
    /// # Errors
    /// `permission_denied` without `agents:run`, or `not_found` where the caller may not see the agent either;
    /// `conflict` unless the agent is running, or when the session has a turn under way; `invalid_input` when the input
    /// does not match; `budget_exceeded`, `price_unknown`; `idempotency_mismatch`; `tenant_suspended`.
    pub async fn start(&self, ctx: &Context, agent: AgentId, input: RunInput) -> Result<Run> {
        let shared = &self.shared;
        if shared.closing.is_cancelled() {
            return Err(Error::closed("the platform is closed"));
        }
        self.permitted(ctx, agent).await?;
        let watched = input.on_disconnect == OnDisconnect::Cancel;
        if watched && self.parked.is_some() {
            return Err(Error::invalid("a run cannot be watched before its transaction is committed"));
        }
        if watched {
            shared.access.check(ctx, Permission::RUNS_CANCEL, Resource::all("runs")).await?;
        }
        let idem = idempotency(agent, &input)?;
        if let Some((key, hash)) = &idem {
            // A repeated start finds its run, whatever became of the agent since.
            let mut query =
                RunQuery { agent: Some(agent), idem_key: Some(key.clone()), ..RunQuery::default() };
            query.page = PageRequest::limit(1);
            if let Some(run) = shared.stores.index.list(ctx, query).await?.items.first() {
                if run.idem_hash != Some(*hash) {
                    let message = "the idempotency key was used with another input";
                    return Err(Error::new(ErrorKind::IdempotencyMismatch, message));
                }
                return Ok(self.watched(ctx, run.id, watched));
            }
        }
        let (record, spec) = self.runnable(ctx, agent).await?;
        if let Some(session) = input.session {
            // What was said in it is its user's own.
            let session = shared.stores.sessions.get(ctx, session).await?;
            if session.user != ctx.principal().user() {
                return Err(Error::not_found("no such session"));
            }
        }
        let new = self.prepare(ctx, &record, &spec, input, idem)?;
        let id = new.record.id;
        let mut effects = Effects::audited(
            AuditRecord::of(ctx, &shared.env, "runs.start", "runs", id)
                .with("agent", agent.to_string())
                .with("version", new.record.version.to_string()),
        )
        .event(PlatformEvent::of(
            ctx,
            &shared.env,
            "run.started",
            id,
            serde_json::json!({ "agent": agent }),
        ));
        let demand = budget::demand(&spec, agent);
        if !demand.is_empty() {
            effects = effects.quota(QuotaOp::Reserve(reservation(id), demand));
        }
        // A caller that goes away in the middle leaves no run that is stored and that nobody drives or watches.
        let (runs, ctx) = (self.clone(), ctx.clone());
        detached(async move {
            let id = match runs.shared.stores.runs.create(&ctx, new, effects).await? {
                Created::New(lease) => {
                    runs.engine.submit(lease);
                    id
                }
                Created::Existing(id) => id,
            };
            Ok(runs.watched(&ctx, id, watched))
        })
        .await
    }

    /// Whether the caller may run the agent.
    pub(super) async fn permitted(&self, ctx: &Context, agent: AgentId) -> Result<()> {
        let access = &self.shared.access;
        let resource = Resource::one("agents", agent);
        if let Err(error) = access.check(ctx, Permission::AGENTS_RUN, resource.clone()).await {
            access.read(ctx, Permission::AGENTS_READ, resource).await?;
            return Err(error);
        }
        Ok(())
    }

    /// The agent and the specification of its live version, when the agent is running.
    pub(super) async fn runnable(
        &self,
        ctx: &Context,
        agent: AgentId,
    ) -> Result<(AgentRecord, Arc<AgentSpec>)> {
        let shared = &self.shared;
        let record = shared.stores.agents.get(ctx, agent).await?;
        if record.state != AgentState::Running {
            return Err(Error::conflict(format!(
                "the agent is {}; runs start on a running agent",
                record.state
            )));
        }
        let spec = shared.spec(ctx, agent, live(&record)?).await?;
        Ok((record, spec))
    }

    fn prepare(
        &self,
        ctx: &Context,
        agent: &AgentRecord,
        spec: &Arc<AgentSpec>,
        input: RunInput,
        idem: Option<(String, [u8; 32])>,
    ) -> Result<NewRun> {
        let shared = &self.shared;
        let RunInput { input, idempotency_key: _, session, deadline, on_behalf_of, on_disconnect: _ } = input;
        check_input(spec, &input)?;
        let on_behalf_of = on_behalf_of.map(|user| text::name("on_behalf_of", &user)).transpose()?;
        let models = quote(shared, ctx, spec);
        if spec.budget.per_run.cost_usd.is_some() && models.prices.is_none() {
            return Err(budget::price_unknown(&spec.model));
        }
        let version = live(agent)?;
        let input_bytes = canonical::to_bytes(&input)?;
        let (idem_key, idem_hash) = idem.unzip();
        let now = shared.env.now();
        let limit = now.after(std::time::Duration::from_millis(spec.limits.timeout_ms));
        let deadline = [deadline, ctx.deadline()].into_iter().flatten().fold(limit, Timestamp::min);
        let salt = shared.env.random();
        let input = Payload { hash: payload_hash(&salt, &input_bytes), bytes: input_bytes };
        let created = JournalEntry::Created {
            v: STATE_VERSION,
            agent: agent.id,
            version,
            user: ctx.principal().user(),
            input: input.hash,
            session,
            scopes: self.scopes(ctx),
            deadline,
            at: now,
        };
        let mut entries = vec![encode_entry(&created)?];
        if session.is_none() {
            // The first intent shares the commit of the start. A turn's waits until what was said before is read.
            let mut machine = RunMachine::new(spec.clone(), shared.tools.clone(), salt, Vec::new());
            machine.apply(&created, Some(&input.bytes))?;
            if let Command::Journal(first) = machine.next(now, &models, || shared.env.id()) {
                for entry in first {
                    if let JournalEntry::Finished { outcome: super::DoneOutcome::Failed { error }, .. } =
                        &entry
                    {
                        return Err(error.clone().into());
                    }
                    entries.push(encode_entry(&entry)?);
                }
            }
        }
        let id = shared.env.id();
        let record = RunRecord {
            id,
            tenant: ctx.tenant(),
            agent: agent.id,
            version,
            user: ctx.principal().user(),
            project_id: agent.project_id,
            session_id: session,
            parent_run: None,
            idem_key,
            idem_hash,
            on_behalf_of,
            region: None,
            status: RunStatus::Running,
            state_version: STATE_VERSION,
            salt,
            seq: 0,
            head: ChainHash::START,
            deadline,
            totals: RunTotals::default(),
            output: None,
            error: None,
            created_at: now,
            updated_at: now,
            finished_at: None,
        };
        let lease_until = now.after(shared.options.lease);
        Ok(NewRun { record, entries, payloads: vec![input], worker: shared.worker, lease_until })
    }

    /// What a limited credential, or an agent that starts a run, may pass on: no more than it has.
    fn scopes(&self, ctx: &Context) -> Option<Vec<String>> {
        let limited = ctx.key().is_some() || ctx.agent().is_some();
        let name = |permission| self.shared.permissions.name(permission).map(str::to_owned);
        limited.then(|| ctx.grants().iter().filter_map(name).collect())
    }

    fn handle(&self, ctx: &Context, id: RunId) -> Run {
        self.watched(ctx, id, false)
    }

    fn watched(&self, ctx: &Context, id: RunId, watched: bool) -> Run {
        let watch = watched.then(|| Watch::new(self, ctx, id));
        Run { runs: self.clone(), ctx: ctx.clone(), id, watch }
    }

    /// Asks for a run to end whose caller said at its start that it should.
    pub(super) async fn abandon(&self, ctx: &Context, id: RunId) -> Result<()> {
        let by = ctx.principal().user();
        self.signal(ctx, id, self.shared.env.id(), Signal::Cancel { by }, "runs.cancel").await
    }

    /// A handle on a run.
    ///
    /// # Errors
    /// `not_found`, also without `runs:read`.
    pub async fn get(&self, ctx: &Context, id: RunId) -> Result<Run> {
        self.record(ctx, id).await?;
        Ok(self.handle(ctx, id))
    }

    /// The record of a run.
    ///
    /// # Errors
    /// `not_found`, also without `runs:read`.
    pub async fn record(&self, ctx: &Context, id: RunId) -> Result<RunRecord> {
        self.shared.access.read(ctx, Permission::RUNS_READ, Resource::one("runs", id)).await?;
        self.shared.stores.index.get(ctx, id).await
    }

    /// The runs of a query, oldest first.
    ///
    /// # Errors
    /// `permission_denied` without `runs:read`; `invalid_input` for a bad page.
    pub async fn list(&self, ctx: &Context, query: RunQuery) -> Result<Page<RunRecord>> {
        self.shared.access.list(ctx, Permission::RUNS_READ, "runs").await?;
        self.shared.stores.index.list(ctx, query).await
    }

    /// The events of a run after a place; from the beginning with the default cursor.
    ///
    /// # Errors
    /// `not_found`, also without `runs:read`.
    pub async fn events(&self, ctx: &Context, id: RunId, after: EventCursor) -> Result<RunEvents> {
        self.record(ctx, id).await?;
        let shared = &self.shared;
        Ok(follow(shared, ctx.clone(), id, after))
    }

    /// The execution chain of a run so far.
    ///
    /// # Errors
    /// `not_found`, also without `runs:read`; `corrupt` when the journal does not verify.
    pub async fn chain(&self, ctx: &Context, id: RunId) -> Result<Chain> {
        let (record, rows) = self.journal(ctx, id).await?;
        Chain::from_journal(id, record.status, &rows)
    }

    /// The verified journal of a run.
    ///
    /// # Errors
    /// `not_found`, also without `runs:read`; `corrupt` when it does not verify.
    pub async fn journal(&self, ctx: &Context, id: RunId) -> Result<(RunRecord, Vec<JournalRow>)> {
        let record = self.record(ctx, id).await?;
        let mut rows: Vec<JournalRow> = Vec::new();
        while (rows.len() as u64) < record.seq {
            let more = self.shared.stores.index.journal(ctx, id, rows.len() as u64, 500).await?;
            if more.is_empty() {
                break;
            }
            rows.extend(more);
        }
        // Rows that were committed after the record was read are not part of what it vouches for.
        rows.truncate(usize::try_from(record.seq).unwrap_or(usize::MAX));
        JournalRow::verify(&record.salt, &rows, &record.head)?;
        Ok((record, rows))
    }

    /// Asks for a run to end. What is under way is stopped; the run ends as cancelled.
    ///
    /// # Errors
    /// `permission_denied` without `runs:cancel`, `not_found` without `runs:read` too; `conflict` when it is over.
    pub async fn cancel(&self, ctx: &Context, id: RunId) -> Result<()> {
        self.writable(ctx, Permission::RUNS_CANCEL, id).await?;
        self.abandon(ctx, id).await
    }

    /// Answers an approval that a run waits for. `args_hash` is the one the request named: an answer to other arguments
    /// is refused. A second answer to the same approval does nothing.
    ///
    /// # Errors
    /// `permission_denied` without `runs:approve`, `not_found` without `runs:read` too, or for an approval the run never
    /// asked for; `conflict` for other arguments, or when the run is over.
    pub async fn approve(
        &self,
        ctx: &Context,
        id: RunId,
        approval: ApprovalId,
        args_hash: PayloadHash,
        answer: Answer,
    ) -> Result<()> {
        self.writable(ctx, Permission::RUNS_APPROVE, id).await?;
        let (_, rows) = self.journal(ctx, id).await?;
        let mut asked = None;
        let mut answered = false;
        for row in &rows {
            match decode_entry(&row.body)? {
                JournalEntry::ApprovalAsked { approval: found, args_hash, .. } if found == approval => {
                    asked = Some(args_hash);
                }
                JournalEntry::ApprovalAnswered { approval: found, .. } => answered |= found == approval,
                _ => {}
            }
        }
        let asked = asked.ok_or_else(|| Error::not_found("no such approval"))?;
        if asked != args_hash {
            return Err(Error::conflict("the approval is for other arguments than those that were answered"));
        }
        if answered {
            return Ok(());
        }
        let approved = answer == Answer::Approve;
        let by = ctx.principal().user();
        let signal = Signal::Approval { approval, args_hash, approved, by };
        // One signal per approval: whoever answers first has answered.
        let signal_id = SignalId::from_uuid_unchecked(approval.uuid());
        self.signal(ctx, id, signal_id, signal, if approved { "runs.approve" } else { "runs.deny" }).await
    }

    async fn writable(&self, ctx: &Context, permission: Permission, id: RunId) -> Result<()> {
        let resource = Resource::one("runs", id);
        if let Err(error) = self.shared.access.check(ctx, permission, resource.clone()).await {
            self.shared.access.read(ctx, Permission::RUNS_READ, resource).await?;
            return Err(error);
        }
        self.shared.stores.index.get(ctx, id).await.map(|_| ())
    }

    async fn signal(
        &self,
        ctx: &Context,
        run: RunId,
        id: SignalId,
        signal: Signal,
        action: &str,
    ) -> Result<()> {
        let effects = Effects::audited(AuditRecord::of(ctx, &self.shared.env, action, "runs", run));
        let (runs, ctx) = (self.clone(), ctx.clone());
        detached(async move {
            runs.shared.stores.index.signal(&ctx, run, id, signal, effects).await?;
            runs.engine.wake(run);
            Ok(())
        })
        .await
    }
}

/// A person's answer to an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The call goes ahead.
    Approve,
    /// It does not.
    Deny,
}

/// The version an agent's runs start on.
fn live(agent: &AgentRecord) -> Result<VersionHash> {
    let live = agent.aliases.get(LIVE).copied();
    live.ok_or_else(|| Error::conflict(format!("the agent has no alias `{LIVE}`; deploy it first")))
}

/// The idempotency key of a start, with the hash of what it is used with.
fn idempotency(agent: AgentId, input: &RunInput) -> Result<Option<(String, [u8; 32])>> {
    let Some(key) = &input.idempotency_key else { return Ok(None) };
    let key = text::name("idempotency_key", key)?;
    let session = input.session.map_or([0; 16], |id| *id.uuid().as_bytes());
    let bytes = canonical::to_bytes(&input.input)?;
    Ok(Some((key, canonical::sha256(&[agent.uuid().as_bytes(), &session, &bytes]))))
}

fn check_input(spec: &AgentSpec, input: &Input) -> Result<()> {
    match (input, &spec.input_schema) {
        (Input::Text(text), None) => text::content("input", text, MAX_INPUT).map(|_| ()),
        (Input::Text(_), Some(_)) => {
            Err(Error::invalid("the agent takes JSON that matches its input schema, not text"))
        }
        (Input::Json(value), schema) => {
            text::json("input", value, MAX_INPUT)?;
            let Some(schema) = schema else { return Ok(()) };
            let schema = crate::tool::compile("the input schema", schema)?;
            crate::tool::check("the input", &schema, value)
        }
    }
}
