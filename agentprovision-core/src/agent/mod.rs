//! Agents: the specification, its immutable versions, the definition lifecycle and the service.

pub mod lifecycle;
mod service;
mod spec;
mod validate;

pub use lifecycle::AgentState;
pub use service::Agents;
pub use spec::{
    AgentSpec, Behaviour, Budget, BudgetLimits, Interface, KNOWN_TYPES, Limits, SecuritySpec, VersionHash,
};
pub use validate::{Problem, Severity, Validation, validate};

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::context::Context;
use crate::effect::Effects;
use crate::error::{Error, Result};
use crate::id::{AgentId, ProjectId, UserId};
use crate::page::{Page, PageRequest};
use crate::tenant::Revision;

/// The alias that runs start on.
pub const LIVE: &str = "live";

/// An agent: a name, a state and aliases over immutable versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AgentRecord {
    /// The id.
    pub id: AgentId,
    /// The name, unique within the tenant.
    pub name: String,
    /// Where it is in the definition lifecycle.
    pub state: AgentState,
    /// The version that was added last.
    pub latest: VersionHash,
    /// Names for versions; [`LIVE`] is the one runs start on.
    pub aliases: BTreeMap<String, VersionHash>,
    /// The project it belongs to.
    pub project_id: Option<ProjectId>,
    /// Who made it.
    pub created_by: UserId,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Counts its changes.
    pub revision: Revision,
}

/// A version of an agent: its content never changes, and its name is the hash of its content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentVersion {
    /// SHA-256 of the canonical form.
    pub hash: VersionHash,
    /// The canonical form, as it is stored.
    pub canonical: String,
    /// When it was added.
    pub created_at: Timestamp,
}

impl AgentVersion {
    /// The specification in a version that was asked for by `hash`.
    ///
    /// # Errors
    /// `corrupt` when the stored form does not have that hash, or cannot be read.
    pub fn spec(&self, hash: VersionHash) -> Result<AgentSpec> {
        if VersionHash::of(&self.canonical) != hash {
            return Err(Error::corrupt("the agent's stored version does not have its hash"));
        }
        serde_json::from_str(&self.canonical)
            .map_err(|error| Error::corrupt("the agent's specification cannot be read").with_source(error))
    }
}

/// Which agents to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AgentQuery {
    /// The page.
    pub page: PageRequest,
    /// Only those in this state.
    pub state: Option<AgentState>,
}

impl AgentQuery {
    /// All agents, a page of them.
    pub fn page(page: PageRequest) -> Self {
        Self { page, state: None }
    }

    /// The same query for one state.
    #[must_use]
    pub fn state(mut self, state: AgentState) -> Self {
        self.state = Some(state);
        self
    }
}

/// Keeps agents and their versions.
#[async_trait]
pub trait AgentStore: fmt::Debug + Send + Sync + 'static {
    /// Adds an agent with its first version.
    ///
    /// # Errors
    /// `already_exists` when the id or the name is taken in the tenant.
    async fn insert(
        &self,
        ctx: &Context,
        agent: AgentRecord,
        version: AgentVersion,
        effects: Effects,
    ) -> Result<()>;
    /// An agent.
    ///
    /// # Errors
    /// `not_found`.
    async fn get(&self, ctx: &Context, id: AgentId) -> Result<AgentRecord>;
    /// A version of an agent.
    ///
    /// # Errors
    /// `not_found`.
    async fn version(&self, ctx: &Context, id: AgentId, hash: VersionHash) -> Result<AgentVersion>;
    /// Replaces an agent whose revision is `expected`, and adds a version if it is new; the stored revision is
    /// `expected + 1`.
    ///
    /// # Errors
    /// `not_found`; `conflict` when the revision is another; `already_exists` for a taken name.
    async fn replace(
        &self,
        ctx: &Context,
        agent: AgentRecord,
        add: Option<AgentVersion>,
        expected: Revision,
        effects: Effects,
    ) -> Result<()>;
    /// All agents of the query by (created, id).
    async fn list(&self, ctx: &Context, query: AgentQuery) -> Result<Page<AgentRecord>>;
    /// Removes an agent that has no runs, with its versions.
    ///
    /// # Errors
    /// `not_found`; `conflict` when it has runs or the revision is not `expected`.
    async fn delete(&self, ctx: &Context, id: AgentId, expected: Revision, effects: Effects) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_version_that_was_changed_in_the_store_is_not_run() {
        let canonical = AgentSpec::new("desk").model("m").canonical().unwrap();
        let hash = VersionHash::of(&canonical);
        let good = AgentVersion { hash, canonical: canonical.clone(), created_at: Timestamp::default() };
        assert_eq!(good.spec(hash).unwrap().name, "desk");
        let changed = AgentVersion { canonical: canonical.replace("desk", "dusk"), ..good };
        assert_eq!(changed.spec(hash).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
