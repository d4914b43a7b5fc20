//! The contracts of the store under runs: [`RunStore`] for workers, [`RunIndex`] for callers, [`SessionStore`].

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{ChainHash, JournalRow, PayloadHash, RunTotals, Salt, Signal, StepError};
use crate::agent::VersionHash;
use crate::clock::Timestamp;
use crate::context::Context;
use crate::effect::Effects;
use crate::error::Result;
use crate::id::{AgentId, ProjectId, RunId, SessionId, SignalId, TenantId, UserId, WorkerId};
use crate::page::{Page, PageRequest};
use crate::tool::TxHandle;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunStatus {
    /// Under way, or waiting for a worker.
    Running,
    /// Waits for a person.
    Waiting,
    /// Waits for its tenant to be resumed.
    Parked,
    /// Over, with an output.
    Completed,
    /// Over, with an error.
    Failed,
    /// Over because somebody said so.
    Cancelled,
}

impl RunStatus {
    /// Every status.
    pub const ALL: &'static [RunStatus] =
        &[Self::Running, Self::Waiting, Self::Parked, Self::Completed, Self::Failed, Self::Cancelled];

    /// The name in stores and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Parked => "parked",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|status| status.name() == name)
    }

    /// Whether the run is over.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// A run as it is stored, without its journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The id.
    pub id: RunId,
    /// The tenant.
    pub tenant: TenantId,
    /// The agent.
    pub agent: AgentId,
    /// The version it is pinned to.
    pub version: VersionHash,
    /// On whose behalf it runs; grants are read again whenever a worker takes it up.
    pub user: UserId,
    /// The project it belongs to.
    pub project_id: Option<ProjectId>,
    /// The session it is a turn of.
    pub session_id: Option<SessionId>,
    /// The run that started it.
    pub parent_run: Option<RunId>,
    /// The caller's idempotency key, unique per agent.
    pub idem_key: Option<String>,
    /// Hash of what the key was used with.
    pub idem_hash: Option<[u8; 32]>,
    /// Another user the caller acts for, as the host says.
    pub on_behalf_of: Option<String>,
    /// Where it must run.
    pub region: Option<String>,
    /// Where it stands.
    pub status: RunStatus,
    /// Version of the machine it was started with.
    pub state_version: u32,
    /// The salt of its hashes.
    pub salt: Salt,
    /// Number of journal rows.
    pub seq: u64,
    /// Link of the last journal row.
    pub head: ChainHash,
    /// When it must be over.
    pub deadline: Timestamp,
    /// What it used, as of its last commit.
    pub totals: RunTotals,
    /// Its output, as a payload.
    pub output: Option<PayloadHash>,
    /// Its error.
    pub error: Option<StepError>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
}

/// Content of a run: a question, an answer, a tool's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Its name: [`payload_hash`](super::payload_hash) under the run's salt.
    pub hash: PayloadHash,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A new run.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// The record; `seq` and `head` are set by the store.
    pub record: RunRecord,
    /// Bodies of its first journal rows.
    pub entries: Vec<Vec<u8>>,
    /// Its first payloads.
    pub payloads: Vec<Payload>,
    /// Who drives it at once.
    pub worker: WorkerId,
    /// Until when.
    pub lease_until: Timestamp,
}

/// What became of a [`NewRun`].
#[expect(clippy::large_enum_variant, reason = "made once per start and taken apart at once")]
#[derive(Clone, Debug)]
pub enum Created {
    /// It was added, and its worker holds it.
    New(Lease),
    /// The same key was used with the same input before: that run.
    Existing(RunId),
}

/// The right to write to a run: who took it up last. Every write names it, and one with a stale epoch is `fenced`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The tenant.
    pub tenant: TenantId,
    /// The run.
    pub run: RunId,
    /// Counts how often the run was taken up, from 1.
    pub epoch: u64,
}

/// A run that is held by a worker for a while.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The right to write.
    pub fence: Fence,
    /// Until when; a worker renews it in time.
    pub until: Timestamp,
    /// The run when it was taken up.
    pub run: RunRecord,
}

/// Which runs a worker takes up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimRequest {
    /// Who holds them.
    pub worker: WorkerId,
    /// Until when.
    pub until: Timestamp,
    /// At most so many, of all tenants together.
    pub limit: usize,
    /// Runs of a machine that is newer than this are left to others.
    pub state_version: u32,
    /// The tenant that was served last: those behind it, by id, come first. From the first tenant on where absent.
    pub after: Option<TenantId>,
    /// At most so many of one tenant.
    pub per_tenant: usize,
    /// Tenants whose runs are left to others.
    pub full: Vec<TenantId>,
}

impl ClaimRequest {
    /// At most `limit` runs of whichever tenants.
    pub fn new(worker: WorkerId, until: Timestamp, limit: usize, state_version: u32) -> Self {
        Self { worker, until, limit, state_version, after: None, per_tenant: usize::MAX, full: Vec::new() }
    }

    /// The same request, beginning behind this tenant.
    #[must_use]
    pub fn after(mut self, tenant: Option<TenantId>) -> Self {
        self.after = tenant;
        self
    }

    /// The same request for at most so many runs of one tenant.
    #[must_use]
    pub fn per_tenant(mut self, most: usize) -> Self {
        self.per_tenant = most;
        self
    }

    /// The same request without the runs of these tenants.
    #[must_use]
    pub fn full(mut self, tenants: Vec<TenantId>) -> Self {
        self.full = tenants;
        self
    }
}

/// How a worker gives a run up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Somebody may take it up at once.
    Ready,
    /// A signal makes it ready; so does one that already waits, and so does its deadline.
    UntilSignal,
}

/// What changes in a run's record with a journal batch; absent fields stay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunPatch {
    /// Where it stands now. A terminal status ends the lease, and the session's turn.
    pub status: Option<RunStatus>,
    /// What it used.
    pub totals: Option<RunTotals>,
    /// Its output.
    pub output: Option<PayloadHash>,
    /// Its error.
    pub error: Option<StepError>,
    /// The worker gives it up.
    pub release: Option<Release>,
}

/// Rows that are journaled together.
#[derive(Clone, Debug, Default)]
pub struct JournalBatch {
    /// Bodies of the rows, in order.
    pub entries: Vec<Vec<u8>>,
    /// Payloads they name; one that is there already is left as it is.
    pub payloads: Vec<Payload>,
    /// Signals they take up; each is removed.
    pub consumed: Vec<SignalId>,
    /// What changes in the record.
    pub patch: RunPatch,
}

/// The store of runs as workers see it.
///
/// Numbers, links and epochs are read inside the transaction that writes. Time is the store's clock.
#[async_trait]
pub trait RunStore: fmt::Debug + Send + Sync + 'static {
    /// Adds a run, held by its worker with epoch 1.
    ///
    /// A run of a session takes the session's turn. With an idempotency key that was used before for the agent, nothing
    /// is added and no effect applied: the same hash gives [`Created::Existing`].
    ///
    /// # Errors
    /// `idempotency_mismatch` for the same key with another hash; `not_found` for an unknown agent or session;
    /// `conflict` when the session has a turn under way; `already_exists` for a taken id; and what the effects refuse.
    async fn create(&self, ctx: &Context, run: NewRun, effects: Effects) -> Result<Created>;
    /// Takes up runs of active tenants that are ready and held by nobody; each gets a new epoch.
    ///
    /// Tenants are served in turn, by id, beginning behind `after` and going on from the first one: nobody gets a second
    /// run before everybody who has one ready got a first. Of a tenant, the run that is ready for longest comes first,
    /// then the one with the smaller id. The leases are in the order of the turns.
    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Lease>>;
    /// Waits until a run may have become ready, through whoever: this process or another one. It listens from its first
    /// poll on, and may be dropped at any time. It may return for nothing, and a store that cannot tell never returns:
    /// who waits here looks from time to time anyway.
    async fn woken(&self);
    /// Holds a run until `until`, and returns the signals that wait, oldest first.
    ///
    /// # Errors
    /// `fenced`.
    async fn renew(&self, fence: &Fence, until: Timestamp) -> Result<Vec<(SignalId, Signal)>>;
    /// Journals a batch and returns the number of the last row.
    ///
    /// # Errors
    /// `fenced`; `conflict` when the run is over; and what the effects refuse.
    async fn commit(&self, fence: &Fence, batch: JournalBatch, effects: Effects) -> Result<u64>;
    /// Begins the transaction of a transactional step.
    ///
    /// # Errors
    /// `fenced`.
    async fn begin(&self, fence: &Fence) -> Result<Box<dyn RunTx>>;
}

/// The transaction of a transactional step. Dropping it rolls back.
#[async_trait]
pub trait RunTx: fmt::Debug + Send + 'static {
    /// What the tool writes through.
    fn handle(&self) -> TxHandle;
    /// Commits what was written, together with a batch. The handle is `closed` from then on.
    ///
    /// # Errors
    /// As [`RunStore::commit`]; then nothing was written.
    async fn commit(self: Box<Self>, batch: JournalBatch, effects: Effects) -> Result<u64>;
    /// Forgets what was written. The handle is `closed` from then on.
    async fn rollback(self: Box<Self>) -> Result<()>;
}

/// Which runs to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RunQuery {
    /// The page.
    pub page: PageRequest,
    /// Only those of this agent.
    pub agent: Option<AgentId>,
    /// Only the turns of this session.
    pub session: Option<SessionId>,
    /// Only those that stand here.
    pub status: Option<RunStatus>,
    /// Only those that were started with this idempotency key.
    pub idem_key: Option<String>,
}

/// The store of runs as callers see it.
#[async_trait]
pub trait RunIndex: fmt::Debug + Send + Sync + 'static {
    /// A run.
    ///
    /// # Errors
    /// `not_found`.
    async fn get(&self, ctx: &Context, run: RunId) -> Result<RunRecord>;
    /// The runs of the query by (created, id).
    async fn list(&self, ctx: &Context, query: RunQuery) -> Result<Page<RunRecord>>;
    /// At most `limit` journal rows after number `after`.
    ///
    /// # Errors
    /// `not_found` for an unknown run.
    async fn journal(&self, ctx: &Context, run: RunId, after: u64, limit: u32) -> Result<Vec<JournalRow>>;
    /// Payloads of a run, in the order of the names.
    ///
    /// # Errors
    /// `not_found` when one of them is not there; `corrupt` when one does not have its name.
    async fn payloads(&self, ctx: &Context, run: RunId, hashes: &[PayloadHash]) -> Result<Vec<Vec<u8>>>;
    /// Says something to a run and makes it ready to be taken up. A second signal of the same id does nothing.
    ///
    /// # Errors
    /// `not_found`; `conflict` when the run is over; and what the effects refuse.
    async fn signal(
        &self,
        ctx: &Context,
        run: RunId,
        id: SignalId,
        signal: Signal,
        effects: Effects,
    ) -> Result<()>;
}

/// A conversation with an agent: one turn at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SessionRecord {
    /// The id.
    pub id: SessionId,
    /// The agent.
    pub agent: AgentId,
    /// Whose conversation it is.
    pub user: UserId,
    /// The turn that is under way.
    pub active_run: Option<RunId>,
    /// When it was opened.
    pub created_at: Timestamp,
}

/// Keeps sessions. Turns are taken by [`RunStore::create`] and ended by the commit that ends the run.
#[async_trait]
pub trait SessionStore: fmt::Debug + Send + Sync + 'static {
    /// Adds a session.
    ///
    /// # Errors
    /// `already_exists` for a taken id; `not_found` for an unknown agent.
    async fn open(&self, ctx: &Context, session: SessionRecord, effects: Effects) -> Result<()>;
    /// A session.
    ///
    /// # Errors
    /// `not_found`.
    async fn get(&self, ctx: &Context, id: SessionId) -> Result<SessionRecord>;
    /// All sessions by (created, id).
    async fn list(&self, ctx: &Context, page: PageRequest) -> Result<Page<SessionRecord>>;
}
