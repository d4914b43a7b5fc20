//! [`AgentStore`] in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{MemoryDb, TenantData, page};
use crate::agent::{AgentQuery, AgentRecord, AgentStore, AgentVersion, VersionHash};
use crate::context::Context;
use crate::effect::Effects;
use crate::error::{Error, Result};
use crate::id::AgentId;
use crate::page::{Cursor, Page};
use crate::tenant::Revision;

pub(super) struct Agent {
    record: AgentRecord,
    versions: BTreeMap<VersionHash, AgentVersion>,
}

impl TenantData {
    pub(super) fn agent(&self, id: AgentId) -> Result<&Agent> {
        self.agents.get(&id).ok_or_else(|| Error::not_found("no such agent"))
    }

    /// The agent, if its revision is the expected one.
    fn agent_at(&self, id: AgentId, expected: Revision) -> Result<&Agent> {
        let agent = self.agent(id)?;
        if agent.record.revision != expected {
            return Err(Error::conflict("the agent was changed in the meantime"));
        }
        Ok(agent)
    }

    /// Refuses a name that another agent has.
    fn check_name(&self, agent: &AgentRecord) -> Result<()> {
        if self.agents.values().any(|other| other.record.id != agent.id && other.record.name == agent.name) {
            return Err(Error::already_exists("the name is taken"));
        }
        Ok(())
    }
}

#[async_trait]
impl AgentStore for MemoryDb {
    async fn insert(
        &self,
        ctx: &Context,
        agent: AgentRecord,
        version: AgentVersion,
        effects: Effects,
    ) -> Result<()> {
        self.open()?.change_in(ctx.tenant(), effects, |data| {
            if data.agents.contains_key(&agent.id) {
                return Err(Error::already_exists("the agent exists"));
            }
            data.check_name(&agent)?;
            Ok(move |data: &mut TenantData| {
                let versions = BTreeMap::from([(version.hash, version)]);
                data.agents.insert(agent.id, Agent { record: agent, versions });
            })
        })
    }

    async fn get(&self, ctx: &Context, id: AgentId) -> Result<AgentRecord> {
        Ok(self.open()?.of(ctx.tenant()).agent(id)?.record.clone())
    }

    async fn version(&self, ctx: &Context, id: AgentId, hash: VersionHash) -> Result<AgentVersion> {
        let state = self.open()?;
        let version = state.of(ctx.tenant()).agent(id)?.versions.get(&hash);
        version.cloned().ok_or_else(|| Error::not_found("no such version of the agent"))
    }

    async fn replace(
        &self,
        ctx: &Context,
        mut agent: AgentRecord,
        add: Option<AgentVersion>,
        expected: Revision,
        effects: Effects,
    ) -> Result<()> {
        self.open()?.change_in(ctx.tenant(), effects, |data| {
            data.agent_at(agent.id, expected)?;
            data.check_name(&agent)?;
            agent.revision = expected + 1;
            Ok(move |data: &mut TenantData| {
                if let Some(stored) = data.agents.get_mut(&agent.id) {
                    stored.record = agent;
                    if let Some(version) = add {
                        stored.versions.entry(version.hash).or_insert(version);
                    }
                }
            })
        })
    }

    async fn list(&self, ctx: &Context, query: AgentQuery) -> Result<Page<AgentRecord>> {
        let state = self.open()?;
        let records = state.of(ctx.tenant()).agents.values().map(|agent| &agent.record);
        let wanted = records.filter(|agent| query.state.is_none_or(|state| agent.state == state));
        page(wanted, query.page, |agent| Cursor { created: agent.created_at, id: agent.id.uuid() })
    }

    async fn delete(&self, ctx: &Context, id: AgentId, expected: Revision, effects: Effects) -> Result<()> {
        self.open()?.change_in(ctx.tenant(), effects, |data| {
            data.agent_at(id, expected)?;
            let has_runs = data.runs.values().any(|run| run.record.agent == id);
            if has_runs || data.sessions.values().any(|session| session.agent == id) {
                return Err(Error::conflict("the agent has runs or sessions"));
            }
            Ok(move |data: &mut TenantData| {
                data.agents.remove(&id);
            })
        })
    }
}
