//! THE transition table of agent definitions. Diagram, documentation and tests derive from it.
//!
//! ```text
//! draft ⇄ validated → deployed → running ⇄ paused
//!                         │         │        │
//!                         └─────────┴────────┴──→ retired
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Where an agent's definition is in its life.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AgentState {
    /// Being written.
    Draft,
    /// Its latest version has no errors.
    Validated,
    /// Has a live version; starts to run when its aliases resolve.
    Deployed,
    /// Runs may start.
    Running,
    /// No run may start; those under way go on.
    Paused,
    /// At its end; kept for its runs.
    Retired,
}

use AgentState::{Deployed, Draft, Paused, Retired, Running, Validated};

/// Every legal edge.
pub const EDGES: &[(AgentState, AgentState)] = &[
    (Draft, Validated),
    (Validated, Draft),
    (Validated, Deployed),
    (Deployed, Running),
    (Deployed, Retired),
    (Running, Paused),
    (Running, Retired),
    (Paused, Running),
    (Paused, Retired),
];

impl AgentState {
    /// Every state.
    pub const ALL: &'static [AgentState] = &[Draft, Validated, Deployed, Running, Paused, Retired];

    /// The name in stores and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Draft => "draft",
            Validated => "validated",
            Deployed => "deployed",
            Running => "running",
            Paused => "paused",
            Retired => "retired",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.name() == name)
    }

    /// The states that may follow.
    pub fn next(self) -> impl Iterator<Item = AgentState> {
        EDGES.iter().filter(move |(from, _)| *from == self).map(|(_, to)| *to)
    }

    /// Checks one step of the lifecycle.
    ///
    /// # Errors
    /// `conflict`, naming the states that may follow.
    pub fn step_to(self, to: AgentState) -> Result<AgentState> {
        if self.next().any(|next| next == to) {
            return Ok(to);
        }
        let legal: Vec<&str> = self.next().map(AgentState::name).collect();
        let legal = if legal.is_empty() { "nothing".to_owned() } else { legal.join(" or ") };
        Err(Error::conflict(format!("invalid state transition: {self} -> {to}; from {self} follows {legal}")))
    }
}

impl fmt::Display for AgentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
