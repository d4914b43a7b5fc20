//! The service for agents.

use std::sync::Arc;

use super::validate::validate;
use super::{
    AgentQuery, AgentRecord, AgentSpec, AgentState, AgentStore, AgentVersion, LIVE, Validation, VersionHash,
};
use crate::access::Access;
use crate::audit::AuditRecord;
use crate::authz::{Permission, PermissionRegistry, Resource};
use crate::clock::Env;
use crate::context::Context;
use crate::effect::{Effects, QuotaOp};
use crate::error::{Error, ErrorKind, Result};
use crate::event::PlatformEvent;
use crate::id::AgentId;
use crate::model::ModelResolver;
use crate::page::Page;
use crate::text;
use crate::tool::ToolSet;
use crate::usage::{BudgetKey, Dimension};

/// Makes, changes, deploys and finds agents. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Agents {
    store: Arc<dyn AgentStore>,
    tools: Arc<ToolSet>,
    models: Arc<dyn ModelResolver>,
    permissions: Arc<PermissionRegistry>,
    access: Access,
}

impl Agents {
    /// The same service on another store, that of a transaction that is not committed yet.
    #[must_use]
    pub fn within(&self, store: Arc<dyn AgentStore>) -> Self {
        Self { store, ..self.clone() }
    }

    /// The service over a store, with the tools, models and permissions that specifications are checked against.
    pub fn new(
        store: Arc<dyn AgentStore>,
        tools: Arc<ToolSet>,
        models: Arc<dyn ModelResolver>,
        permissions: Arc<PermissionRegistry>,
        access: Access,
    ) -> Self {
        Self { store, tools, models, permissions, access }
    }

    fn env(&self) -> &Env {
        self.access.env()
    }

    /// Checks a specification without storing it: every problem at once.
    ///
    /// # Errors
    /// `permission_denied` without `agents:read`.
    pub async fn validate(&self, ctx: &Context, spec: &AgentSpec) -> Result<Validation> {
        self.access.list(ctx, Permission::AGENTS_READ, "agents").await?;
        Ok(self.check(spec))
    }

    fn check(&self, spec: &AgentSpec) -> Validation {
        validate(spec, &self.tools, &*self.models, &self.permissions)
    }

    /// Makes an agent, a draft, with the specification as its first version.
    ///
    /// # Errors
    /// `permission_denied` without `agents:create`; `invalid_input` or `too_large` for a bad name, and whatever else
    /// [`Agents::validate`] would call an error; `already_exists` for a taken name; `tenant_suspended`.
    pub async fn create(&self, ctx: &Context, spec: AgentSpec) -> Result<AgentRecord> {
        self.access.check(ctx, Permission::AGENTS_CREATE, Resource::all("agents")).await?;
        let (spec, version) = self.version_of(spec)?;
        let now = version.created_at;
        let agent = AgentRecord {
            id: self.env().id(),
            name: spec.name,
            state: AgentState::Draft,
            latest: version.hash,
            aliases: std::collections::BTreeMap::new(),
            project_id: None,
            created_by: ctx.principal().user(),
            created_at: now,
            updated_at: now,
            revision: 1,
        };
        let effects = self.effects(ctx, &agent, "agents.create", "agent.created");
        self.store.insert(ctx, agent.clone(), version, effects).await?;
        Ok(agent)
    }

    /// The version a specification makes. Names are normalised; everything a deployment would refuse is refused now.
    fn version_of(&self, mut spec: AgentSpec) -> Result<(AgentSpec, AgentVersion)> {
        self.check(&spec).into_result()?;
        spec.name = text::name("name", &spec.name)?;
        let canonical = spec.canonical()?;
        if canonical.len() > 4 << 20 {
            return Err(Error::too_large("the specification has more than 4 MiB"));
        }
        let hash = VersionHash::of(&canonical);
        Ok((spec, AgentVersion { hash, canonical, created_at: self.env().now() }))
    }

    fn effects(&self, ctx: &Context, agent: &AgentRecord, action: &str, event: &str) -> Effects {
        let record = AuditRecord::of(ctx, self.env(), action, "agents", agent.id)
            .with("state", agent.state.name())
            .with("version", agent.latest.to_string());
        let data =
            serde_json::json!({ "state": agent.state, "version": agent.latest, "aliases": agent.aliases });
        Effects::audited(record).event(PlatformEvent::of(ctx, self.env(), event, agent.id, data))
    }

    /// An agent.
    ///
    /// # Errors
    /// `not_found`, also without `agents:read`.
    pub async fn get(&self, ctx: &Context, id: AgentId) -> Result<AgentRecord> {
        self.access.read(ctx, Permission::AGENTS_READ, Resource::one("agents", id)).await?;
        self.store.get(ctx, id).await
    }

    /// The specification behind a version of an agent.
    ///
    /// # Errors
    /// `not_found`, also without `agents:read`; `corrupt` when the stored form is not the version's.
    pub async fn version(&self, ctx: &Context, id: AgentId, hash: VersionHash) -> Result<AgentSpec> {
        self.access.read(ctx, Permission::AGENTS_READ, Resource::one("agents", id)).await?;
        self.spec(ctx, id, hash).await
    }

    async fn spec(&self, ctx: &Context, id: AgentId, hash: VersionHash) -> Result<AgentSpec> {
        self.store.version(ctx, id, hash).await?.spec(hash)
    }

    /// The agents of a query, oldest first.
    ///
    /// # Errors
    /// `permission_denied` without `agents:read`; `invalid_input` for a bad page.
    pub async fn list(&self, ctx: &Context, query: AgentQuery) -> Result<Page<AgentRecord>> {
        self.access.list(ctx, Permission::AGENTS_READ, "agents").await?;
        self.store.list(ctx, query).await
    }

    /// Adds a version. The live one stays live until the next [`Agents::deploy`]; a validated agent is a draft again.
    ///
    /// # Errors
    /// `permission_denied` without `agents:update`, `not_found` without `agents:read` too; the specification's problems
    /// as in [`Agents::create`]; `conflict` for a retired agent, or when the agent changes at the same time.
    pub async fn update(&self, ctx: &Context, id: AgentId, spec: AgentSpec) -> Result<AgentRecord> {
        let mut agent = self.for_change(ctx, Permission::AGENTS_UPDATE, id).await?;
        if agent.state == AgentState::Retired {
            return Err(Error::conflict("the agent is retired and gets no new version"));
        }
        let (spec, version) = self.version_of(spec)?;
        agent.name = spec.name;
        agent.latest = version.hash;
        if agent.state == AgentState::Validated {
            agent.state = agent.state.step_to(AgentState::Draft)?;
        }
        self.replace(ctx, agent, Some(version), Vec::new(), "agents.update", "agent.updated").await
    }

    /// Makes the latest version live: validates it, moves the alias [`LIVE`] to it, sets the budget it names, and lets
    /// the agent run.
    ///
    /// # Errors
    /// `permission_denied` without `agents:deploy`, `not_found` without `agents:read` too; the specification's problems;
    /// `conflict` for a retired agent, or when the agent changes at the same time.
    pub async fn deploy(&self, ctx: &Context, id: AgentId) -> Result<AgentRecord> {
        let agent = self.for_change(ctx, Permission::AGENTS_DEPLOY, id).await?;
        let latest = agent.latest;
        self.go_live(ctx, agent, latest, "agents.deploy", "agent.deployed").await
    }

    /// Makes an older version live again.
    ///
    /// # Errors
    /// As [`Agents::deploy`]; `not_found` for an unknown version.
    pub async fn rollback(&self, ctx: &Context, id: AgentId, to: VersionHash) -> Result<AgentRecord> {
        let agent = self.for_change(ctx, Permission::AGENTS_DEPLOY, id).await?;
        if !agent.aliases.contains_key(LIVE) {
            return Err(Error::conflict("the agent was never deployed: there is nothing to roll back"));
        }
        self.go_live(ctx, agent, to, "agents.rollback", "agent.rolled_back").await
    }

    async fn go_live(
        &self,
        ctx: &Context,
        mut agent: AgentRecord,
        version: VersionHash,
        action: &str,
        event: &str,
    ) -> Result<AgentRecord> {
        let spec = self.spec(ctx, agent.id, version).await?;
        self.check(&spec).into_result()?;
        // An agent on its way up takes every step; one that runs or is paused changes its version in place.
        while matches!(agent.state, AgentState::Draft | AgentState::Validated | AgentState::Deployed) {
            agent.state = agent.state.step_to(match agent.state {
                AgentState::Draft => AgentState::Validated,
                AgentState::Validated => AgentState::Deployed,
                _ => AgentState::Running,
            })?;
        }
        if agent.state == AgentState::Retired {
            agent.state.step_to(AgentState::Deployed)?;
        }
        agent.aliases.insert(LIVE.to_owned(), version);
        let budgets = Dimension::ALL
            .iter()
            .map(|dimension| {
                QuotaOp::Define(BudgetKey::new(agent.id, *dimension), spec.budget.total.get(*dimension))
            })
            .collect();
        self.replace(ctx, agent, None, budgets, action, event).await
    }

    /// Stops runs from starting; those under way go on.
    ///
    /// # Errors
    /// `permission_denied` without `agents:deploy`, `not_found` without `agents:read` too; `conflict`, naming the legal
    /// states, unless the agent is running.
    pub async fn pause(&self, ctx: &Context, id: AgentId) -> Result<AgentRecord> {
        self.step(ctx, id, AgentState::Paused, "agents.pause", "agent.paused").await
    }

    /// Lets runs start again.
    ///
    /// # Errors
    /// As [`Agents::pause`], unless the agent is paused.
    pub async fn resume(&self, ctx: &Context, id: AgentId) -> Result<AgentRecord> {
        self.step(ctx, id, AgentState::Running, "agents.resume", "agent.resumed").await
    }

    /// Ends an agent; it is kept for its runs.
    ///
    /// # Errors
    /// As [`Agents::pause`], for a draft or a validated agent (delete it) and a retired one.
    pub async fn retire(&self, ctx: &Context, id: AgentId) -> Result<AgentRecord> {
        self.step(ctx, id, AgentState::Retired, "agents.retire", "agent.retired").await
    }

    async fn step(
        &self,
        ctx: &Context,
        id: AgentId,
        to: AgentState,
        action: &str,
        event: &str,
    ) -> Result<AgentRecord> {
        let mut agent = self.for_change(ctx, Permission::AGENTS_DEPLOY, id).await?;
        agent.state = agent.state.step_to(to)?;
        self.replace(ctx, agent, None, Vec::new(), action, event).await
    }

    /// Deletes a draft or validated agent that has no runs.
    ///
    /// # Errors
    /// `permission_denied` without `agents:delete`, `not_found` without `agents:read` too; `conflict` for an agent that
    /// was deployed (retire it) or has runs.
    pub async fn delete(&self, ctx: &Context, id: AgentId) -> Result<()> {
        let agent = self.for_change(ctx, Permission::AGENTS_DELETE, id).await?;
        if !matches!(agent.state, AgentState::Draft | AgentState::Validated) {
            return Err(Error::conflict(format!(
                "the agent is {}: an agent that was deployed is retired",
                agent.state
            )));
        }
        let effects = self.effects(ctx, &agent, "agents.delete", "agent.deleted");
        self.store.delete(ctx, id, agent.revision, effects).await
    }

    /// The agent, when the caller may change it.
    async fn for_change(&self, ctx: &Context, permission: Permission, id: AgentId) -> Result<AgentRecord> {
        let resource = Resource::one("agents", id);
        match self.access.check(ctx, permission, resource.clone()).await {
            Ok(()) => {}
            Err(error) if error.is(ErrorKind::PermissionDenied) => {
                // Not even allowed to see it: then it is not there.
                self.access.read(ctx, Permission::AGENTS_READ, resource).await?;
                self.store.get(ctx, id).await?;
                return Err(error);
            }
            Err(error) => return Err(error),
        }
        self.store.get(ctx, id).await
    }

    async fn replace(
        &self,
        ctx: &Context,
        mut agent: AgentRecord,
        add: Option<AgentVersion>,
        budgets: Vec<QuotaOp>,
        action: &str,
        event: &str,
    ) -> Result<AgentRecord> {
        let expected = agent.revision;
        agent.revision = expected + 1;
        agent.updated_at = self.env().now();
        let mut effects = self.effects(ctx, &agent, action, event);
        effects.quota = budgets;
        self.store.replace(ctx, agent.clone(), add, expected, effects).await?;
        Ok(agent)
    }
}
