//! The bundle of stores a platform runs on.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::agent::AgentStore;
use crate::archive::ArchiveStore;
use crate::audit::AuditReader;
use crate::backup::BackupStore;
use crate::changes::ChangeFeed;
use crate::effect::EffectStore;
use crate::error::Result;
use crate::event::EventLog;
use crate::idempotency::IdempotencyStore;
use crate::identity::{ApiKeyStore, UserStore};
use crate::integration::IntegrationStore;
use crate::maintenance::MaintenanceStore;
use crate::run::{RunIndex, RunStore, SessionStore};
use crate::secret::SealedStore;
use crate::tenant::TenantStore;
use crate::usage::{QuotaGate, UsageReader};
use crate::webhook::{EndpointStore, Inbox};

/// Hands out the stores of one database. Effects commit with their change, so a backend is replaced whole.
#[async_trait]
pub trait Backend: Any + fmt::Debug + Send + Sync + 'static {
    /// Every store. Cheap: handles over shared state.
    fn stores(&self) -> Stores;
    /// Finishes what was accepted, then closes; later calls fail with `closed`.
    async fn close(&self) -> Result<()>;
}

/// The stores of a backend.
#[derive(Clone, Debug)]
pub struct Stores {
    /// Tenants.
    pub tenants: Arc<dyn TenantStore>,
    /// Users.
    pub users: Arc<dyn UserStore>,
    /// API keys.
    pub keys: Arc<dyn ApiKeyStore>,
    /// Agents.
    pub agents: Arc<dyn AgentStore>,
    /// Runs, for workers.
    pub runs: Arc<dyn RunStore>,
    /// Runs, for callers.
    pub index: Arc<dyn RunIndex>,
    /// Sessions.
    pub sessions: Arc<dyn SessionStore>,
    /// Secrets, sealed.
    pub secrets: Arc<dyn SealedStore>,
    /// Integrations.
    pub integrations: Arc<dyn IntegrationStore>,
    /// Work that was done under keys of its callers.
    pub idempotency: Arc<dyn IdempotencyStore>,
    /// Endpoints for webhooks.
    pub endpoints: Arc<dyn EndpointStore>,
    /// Deliveries of webhooks.
    pub inbox: Arc<dyn Inbox>,
    /// The audit log.
    pub audit: Arc<dyn AuditReader>,
    /// Usage.
    pub usage: Arc<dyn UsageReader>,
    /// Budgets.
    pub quota: Arc<dyn QuotaGate>,
    /// Events.
    pub events: Arc<dyn EventLog>,
    /// Effects without a change.
    pub effects: Arc<dyn EffectStore>,
    /// Export and restore of whole tenants.
    pub archives: Arc<dyn ArchiveStore>,
    /// Records of backups.
    pub backups: Arc<dyn BackupStore>,
    /// Whose metadata changed.
    pub changes: Arc<dyn ChangeFeed>,
    /// What one process at a time does.
    pub maintenance: Arc<dyn MaintenanceStore>,
}
