//! Integrations: a tenant's configured instances of connectors. The record and the store contract; what they can do is in
//! `agentprovision-connectors`.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::context::Context;
use crate::effect::Effects;
use crate::error::{ErrorKind, Result};
use crate::id::{IntegrationId, UserId};
use crate::page::{Page, PageRequest};
use crate::tenant::Revision;

/// Whether an integration can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum IntegrationState {
    /// It can.
    Active,
    /// Somebody has to grant access again: what proved who asks was refused for good.
    NeedsReconnect,
    /// Somebody has switched it off.
    Disabled,
}

impl IntegrationState {
    /// Every state.
    pub const ALL: &'static [Self] = &[Self::Active, Self::NeedsReconnect, Self::Disabled];

    /// The name in stores and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::NeedsReconnect => "needs_reconnect",
            Self::Disabled => "disabled",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.name() == name)
    }
}

/// Whose account at the vendor an integration is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Account {
    /// The vendor's id of it, which does not change.
    pub id: String,
    /// How the vendor shows it.
    pub name: Option<String>,
}

/// What the last look at an integration found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Health {
    /// Whether it could be used.
    pub healthy: bool,
    /// Why not.
    pub error: Option<ErrorKind>,
    /// In words, for people.
    pub message: Option<String>,
    /// When it was looked at.
    pub checked_at: Timestamp,
}

/// An integration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Integration {
    /// The id.
    pub id: IntegrationId,
    /// The name, unique within the tenant.
    pub name: String,
    /// The connector in the catalogue.
    pub connector: String,
    /// Which of the connector's ways to prove who asks is used.
    pub auth: String,
    /// The connector's settings; none of them is a secret.
    pub settings: Map<String, Value>,
    /// The account it is connected to: what was found first, and is held to since.
    pub account: Option<Account>,
    /// Whether it can be used.
    pub state: IntegrationState,
    /// What the last test found.
    pub health: Option<Health>,
    /// Who made it.
    pub created_by: UserId,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Counts the changes.
    pub revision: Revision,
}

/// Which integrations to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct IntegrationQuery {
    /// The page.
    pub page: PageRequest,
    /// Only those of this connector.
    pub connector: Option<String>,
    /// Only those in this state.
    pub state: Option<IntegrationState>,
}

impl IntegrationQuery {
    /// All integrations, a page of them.
    pub fn page(page: PageRequest) -> Self {
        Self { page, ..Self::default() }
    }

    /// The same query for one connector.
    #[must_use]
    pub fn connector(mut self, name: impl Into<String>) -> Self {
        self.connector = Some(name.into());
        self
    }

    /// The same query for one state.
    #[must_use]
    pub fn state(mut self, state: IntegrationState) -> Self {
        self.state = Some(state);
        self
    }
}

/// Keeps integrations.
#[async_trait]
pub trait IntegrationStore: fmt::Debug + Send + Sync + 'static {
    /// Adds an integration.
    ///
    /// # Errors
    /// `already_exists` when the id or the name is taken in the tenant.
    async fn insert(&self, ctx: &Context, integration: Integration, effects: Effects) -> Result<()>;
    /// An integration.
    ///
    /// # Errors
    /// `not_found`.
    async fn get(&self, ctx: &Context, id: IntegrationId) -> Result<Integration>;
    /// Replaces an integration whose revision is `expected`; the stored revision is `expected + 1`.
    ///
    /// # Errors
    /// `not_found`; `conflict` when the revision is another; `already_exists` for a taken name.
    async fn replace(
        &self,
        ctx: &Context,
        integration: Integration,
        expected: Revision,
        effects: Effects,
    ) -> Result<()>;
    /// All integrations of the query by (created, id).
    async fn list(&self, ctx: &Context, query: IntegrationQuery) -> Result<Page<Integration>>;
    /// Removes an integration whose revision is `expected`.
    ///
    /// # Errors
    /// `not_found`; `conflict` when the revision is another.
    async fn delete(
        &self,
        ctx: &Context,
        id: IntegrationId,
        expected: Revision,
        effects: Effects,
    ) -> Result<()>;
}
