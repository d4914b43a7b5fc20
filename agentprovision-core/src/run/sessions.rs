//! The service for sessions.

use super::handle::Run;
use super::service::{RunInput, Runs};
use super::store::SessionRecord;
use crate::audit::AuditRecord;
use crate::authz::{Permission, Resource};
use crate::context::Context;
use crate::effect::Effects;
use crate::error::{Error, Result};
use crate::id::{AgentId, SessionId};
use crate::page::{Page, PageRequest};

/// Opens sessions and takes turns in them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sessions {
    runs: Runs,
}

impl Sessions {
    /// The service beside the one for runs.
    pub fn new(runs: Runs) -> Self {
        Self { runs }
    }

    /// Opens a session with an agent.
    ///
    /// # Errors
    /// As [`Runs::start`], for the agent.
    pub async fn open(&self, ctx: &Context, agent: AgentId) -> Result<Session> {
        let shared = &self.runs.shared;
        self.runs.permitted(ctx, agent).await?;
        self.runs.runnable(ctx, agent).await?;
        let record = SessionRecord {
            id: shared.env.id(),
            agent,
            user: ctx.principal().user(),
            active_run: None,
            created_at: shared.env.now(),
        };
        let audit = AuditRecord::of(ctx, &shared.env, "sessions.open", "sessions", record.id)
            .with("agent", agent.to_string());
        shared.stores.sessions.open(ctx, record.clone(), Effects::audited(audit)).await?;
        Ok(Session { runs: self.runs.clone(), ctx: ctx.clone(), record })
    }

    /// A session of the caller.
    ///
    /// # Errors
    /// `not_found`, also without `runs:read` and for another user's session.
    pub async fn get(&self, ctx: &Context, id: SessionId) -> Result<Session> {
        let shared = &self.runs.shared;
        shared.access.read(ctx, Permission::RUNS_READ, Resource::one("sessions", id)).await?;
        let record = shared.stores.sessions.get(ctx, id).await?;
        if record.user != ctx.principal().user() {
            return Err(Error::not_found("no such session"));
        }
        Ok(Session { runs: self.runs.clone(), ctx: ctx.clone(), record })
    }

    /// The sessions of the tenant, oldest first.
    ///
    /// # Errors
    /// `permission_denied` without `runs:read`; `invalid_input` for a bad page.
    pub async fn list(&self, ctx: &Context, page: PageRequest) -> Result<Page<SessionRecord>> {
        let shared = &self.runs.shared;
        shared.access.list(ctx, Permission::RUNS_READ, "sessions").await?;
        shared.stores.sessions.list(ctx, page).await
    }
}

/// A conversation with an agent: each turn sees what was said before.
#[derive(Clone, Debug)]
pub struct Session {
    runs: Runs,
    ctx: Context,
    record: SessionRecord,
}

impl Session {
    /// The id.
    pub fn id(&self) -> SessionId {
        self.record.id
    }

    /// The session as it was when this handle was made.
    pub fn record(&self) -> &SessionRecord {
        &self.record
    }

    /// Takes a turn.
    ///
    /// # Errors
    /// `conflict` while another turn is under way; otherwise as [`Runs::start`].
    pub async fn send(&self, input: RunInput) -> Result<Run> {
        self.runs.start(&self.ctx, self.record.agent, input.session(self.record.id)).await
    }
}
