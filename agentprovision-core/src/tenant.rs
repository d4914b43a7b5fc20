//! Tenants: the record and the store contract.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::context::{Context, OperatorContext};
use crate::effect::OperatorEffects;
use crate::error::Result;
use crate::id::TenantId;
use crate::page::{Page, PageRequest};

/// Counts the changes of a record: 1 when it is made. Compare-and-swap on it tells lost updates.
pub type Revision = u64;

/// Whether a tenant's users and agents may do anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TenantState {
    /// They may.
    Active,
    /// Nothing runs and nothing is changed; data is kept.
    Suspended,
    /// Only the tombstone and the hashes of the audit log are left.
    Deleted,
}

impl TenantState {
    /// The name in stores and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deleted => "deleted",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Active, Self::Suspended, Self::Deleted].into_iter().find(|state| state.name() == name)
    }
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Tenant {
    /// The id.
    pub id: TenantId,
    /// The name, at most 255 characters.
    pub name: String,
    /// The domain, unique among the tenants that are not deleted; free again after deletion.
    pub domain: Option<String>,
    /// Whether anything may be done.
    pub state: TenantState,
    /// The plan it is on.
    pub plan: Option<String>,
    /// Where its data must stay.
    pub region: Option<String>,
    /// Settings of the host.
    pub settings: Map<String, Value>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Counts its changes.
    pub revision: Revision,
}

/// Keeps tenants. Everything but [`TenantStore::own`] and [`TenantStore::state`] is an operator's.
#[async_trait]
pub trait TenantStore: fmt::Debug + Send + Sync + 'static {
    /// Adds a tenant.
    ///
    /// # Errors
    /// `already_exists` when the id or the domain is taken.
    async fn create(&self, op: &OperatorContext, tenant: Tenant, effects: OperatorEffects) -> Result<()>;
    /// A tenant, a deleted one too.
    ///
    /// # Errors
    /// `not_found`.
    async fn get(&self, op: &OperatorContext, id: TenantId) -> Result<Tenant>;
    /// All tenants by (created, id), deleted ones too.
    async fn list(&self, op: &OperatorContext, page: PageRequest) -> Result<Page<Tenant>>;
    /// Replaces a tenant whose revision is `expected`; the stored revision is `expected + 1`. A tenant whose new state is
    /// deleted loses everything but its row (without domain and settings), the leaf hashes and the head of its audit log
    /// (of the records themselves nothing, the deletion's included), the count of its events and the effects' own events.
    ///
    /// # Errors
    /// `not_found`; `conflict` when the revision is another; `already_exists` for a taken domain.
    async fn replace(
        &self,
        op: &OperatorContext,
        tenant: Tenant,
        expected: Revision,
        effects: OperatorEffects,
    ) -> Result<()>;
    /// The tenant of the context.
    async fn own(&self, ctx: &Context) -> Result<Tenant>;
    /// The state of a tenant, for those who check credentials; carries no content.
    ///
    /// # Errors
    /// `not_found`.
    async fn state(&self, id: TenantId) -> Result<TenantState>;
}
