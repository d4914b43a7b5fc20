//! The platform: one cheap, clonable handle.

use std::fmt;
use std::sync::Arc;

use agentprovision_connectors::webhook::Webhooks;
use agentprovision_connectors::{Connectors, Integrations};
#[cfg(feature = "gateway")]
use agentprovision_core::access::Access;
use agentprovision_core::agent::Agents;
use agentprovision_core::audit::AuditLog;
use agentprovision_core::authz::PermissionRegistry;
use agentprovision_core::backend::Backend;
use agentprovision_core::context::Credentials;
use agentprovision_core::event::Events;
use agentprovision_core::http::inbound::Authenticate;
use agentprovision_core::id::{TenantId, UserId};
use agentprovision_core::run::{Engine, LocalEngine, Runs, Sessions};
use agentprovision_core::usage::UsageReport;
use agentprovision_core::{Context, ContextIssuer, Env, ErrorKind, OperatorContext, Result};
use agentprovision_llm::LiveCatalog;
use agentprovision_llm::layers::Layers;
use agentprovision_llm::limit::Ledger;
use agentprovision_llm::models::{Models, UsageWriter};
use agentprovision_llm::route::Router;
use agentprovision_tenancy::Tenancy;
use agentprovision_tenancy::identity::{ApiKeys, Users};
use agentprovision_tenancy::placement::Placements;
use agentprovision_tenancy::tenant::{Archives, BackupSchedule, Backups, Tenants};
use async_trait::async_trait;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::builder::PlatformBuilder;
use crate::store::Store;

/// A platform: tenants, users, agents and runs over one store. Cheap to clone; every clone is the same platform.
///
/// It drives runs in the background until [`Platform::close`]. A process that ends without it loses nothing: another one
/// goes on from the journal.
#[derive(Clone)]
pub struct Platform(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) issuer: ContextIssuer,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) tenancy: Tenancy,
    pub(crate) placements: Placements,
    pub(crate) agents: Agents,
    pub(crate) runs: Runs,
    pub(crate) sessions: Sessions,
    pub(crate) audit: AuditLog,
    pub(crate) usage: UsageReport,
    pub(crate) events: Events,
    pub(crate) router: Router,
    pub(crate) layers: Layers,
    pub(crate) models: Models,
    pub(crate) connectors: Connectors,
    pub(crate) integrations: Integrations,
    pub(crate) webhooks: Webhooks,
    pub(crate) writer: UsageWriter,
    /// Keeps the budgets of requests to models.
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) permissions: Arc<PermissionRegistry>,
    pub(crate) engine: LocalEngine,
    pub(crate) schedule: BackupSchedule,
    /// The relay of events and the sequencer of audit records.
    pub(crate) background: tokio::sync::Mutex<Vec<JoinHandle<()>>>,
    pub(crate) closing: CancellationToken,
    /// Ends taking up deliveries, before runs are stopped.
    pub(crate) working: CancellationToken,
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform").field("backend", &self.0.backend).finish_non_exhaustive()
    }
}

/// Whoever has a credential of the platform may call what is served, and do there what they may do anyway.
#[async_trait]
impl Authenticate for Platform {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Context> {
        Platform::authenticate(self, credentials).await
    }
}

impl Platform {
    pub(crate) fn from_parts(parts: Inner) -> Self {
        Self(Arc::new(parts))
    }

    /// Begins to build a platform.
    pub fn builder() -> PlatformBuilder {
        PlatformBuilder::default()
    }

    /// A context above the tenants. The host says who acts and why; both are recorded with everything done with it.
    ///
    /// # Errors
    /// `invalid_input` or `too_large` when the actor or the reason is empty, has control characters or more than 255
    /// characters.
    pub fn operator(&self, actor: &str, reason: &str) -> Result<OperatorContext> {
        self.0.issuer.operator(actor, reason)
    }

    /// A context for a user whom the host has authenticated itself: checks membership and loads grants.
    ///
    /// # Errors
    /// `not_found` when the tenant has no such active user; `tenant_suspended`.
    pub async fn context(&self, tenant: TenantId, user: UserId) -> Result<Context> {
        self.0.tenancy.contexts().context(tenant, user).await
    }

    /// A context for whoever a credential belongs to.
    ///
    /// # Errors
    /// `unauthenticated`, with the same message, for every credential that does not hold; `tenant_suspended`.
    pub async fn authenticate(&self, credentials: &Credentials) -> Result<Context> {
        self.0.tenancy.contexts().authenticate(credentials).await
    }

    /// Checks contexts as every service does.
    #[cfg(feature = "gateway")]
    pub(crate) fn access(&self) -> &Access {
        self.0.tenancy.access()
    }

    /// The store, for what concerns the host's own data beside the platform's.
    pub fn store(&self) -> Store {
        Store::of(self)
    }

    /// Tenants, for operators.
    pub fn tenants(&self) -> &Tenants {
        self.0.tenancy.tenants()
    }

    /// Archives: tenants exported to files, and restored from them.
    pub fn archives(&self) -> &Archives {
        self.0.tenancy.archives()
    }

    /// Backups of tenants.
    pub fn backups(&self) -> &Backups {
        self.0.tenancy.backups()
    }

    /// Where tenants are kept, on a platform with several databases.
    pub fn placements(&self) -> &Placements {
        &self.0.placements
    }

    /// The users of a tenant.
    pub fn users(&self) -> &Users {
        self.0.tenancy.users()
    }

    /// The API keys of users.
    pub fn keys(&self) -> &ApiKeys {
        self.0.tenancy.keys()
    }

    /// Agents.
    pub fn agents(&self) -> &Agents {
        &self.0.agents
    }

    /// Runs.
    pub fn runs(&self) -> &Runs {
        &self.0.runs
    }

    /// Sessions with agents.
    pub fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// Models, asked without an agent.
    pub fn models(&self) -> &Models {
        &self.0.models
    }

    /// Which connectors there are.
    pub fn connectors(&self) -> &Connectors {
        &self.0.connectors
    }

    /// Integrations: a tenant's configured instances of connectors, and calls of their operations.
    pub fn integrations(&self) -> &Integrations {
        &self.0.integrations
    }

    /// Webhooks: endpoints that vendors send to, what came in, and the service that takes it.
    ///
    /// ```
    /// # use agentprovision::Platform;
    /// # async fn example() -> agentprovision::Result<()> {
    /// let platform = Platform::builder().build().await?;
    /// // A `tower::Service`: mount it on axum, or on hyper, under a path such as `/hooks/{address}`.
    /// let hooks = platform.webhooks().receiver(Default::default());
    /// # Ok(())
    /// # }
    /// ```
    pub fn webhooks(&self) -> &Webhooks {
        &self.0.webhooks
    }

    /// Begins to build a gateway for the callers of this platform: its API keys are the gateway's, its models with their
    /// routes are what it serves, and what they use is counted as the tenant's.
    ///
    /// Whoever may start runs may call models directly (`agents:run` on `models`), since both spend the same way; listing
    /// them needs `agents:read` too.
    ///
    /// ```
    /// # use agentprovision::Platform;
    /// # async fn example() -> agentprovision::Result<()> {
    /// let platform = Platform::builder().build().await?;
    /// let gateway = platform.gateway().build()?; // a `tower::Service`: mount it on axum, or on hyper
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "gateway")]
    pub fn gateway(&self) -> agentprovision_llm::gateway::GatewayBuilder {
        crate::gateway::builder(self)
    }

    /// Counts what models use that the host asks by itself, such as those behind a gateway.
    pub fn usage_writer(&self) -> &UsageWriter {
        &self.0.writer
    }

    /// What is known about models and their prices. It can be replaced while requests are under way.
    pub fn catalog(&self) -> &LiveCatalog {
        self.0.router.registry().catalog()
    }

    /// The models agents may name, and how requests to them are routed.
    pub fn router(&self) -> &Router {
        &self.0.router
    }

    /// What surrounds every model, while it is in use: reloads limits, reads balances, drops stored answers.
    ///
    /// ```
    /// # use agentprovision::Platform;
    /// # use agentprovision::llm::layers::{BudgetConfig, LayersConfig};
    /// # async fn example(layers: LayersConfig, other: BudgetConfig) -> agentprovision::Result<()> {
    /// let platform = Platform::builder().layers(layers).build().await?;
    /// if let Some(budgets) = platform.layers().budgets() {
    ///     budgets.reload(&other)?; // what was spent stays spent
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn layers(&self) -> &Layers {
        &self.0.layers
    }

    /// The names of all permissions: the built-in ones and the host's own.
    pub fn permissions(&self) -> &Arc<PermissionRegistry> {
        &self.0.permissions
    }

    /// The audit log.
    pub fn audit(&self) -> &AuditLog {
        &self.0.audit
    }

    /// What was used.
    pub fn usage(&self) -> &UsageReport {
        &self.0.usage
    }

    /// Events.
    pub fn events(&self) -> &Events {
        &self.0.events
    }

    /// Clock, entropy and ids of this platform.
    pub fn env(&self) -> &Env {
        self.0.issuer.env()
    }

    /// Who makes contexts here, for authenticators of the host's own.
    pub fn issuer(&self) -> &ContextIssuer {
        &self.0.issuer
    }

    /// Stops taking up deliveries of webhooks, runs and requests to models, lets steps and requests under way end for a while, gives every run
    /// back, ends backups that are being made, writes what was used, and closes the store. Later calls fail with `closed`; closing twice is harmless.
    ///
    /// # Errors
    /// What closing the store fails with.
    pub async fn close(&self) -> Result<()> {
        self.0.working.cancel();
        tokio::join!(self.0.engine.close(), self.0.writer.close(), self.0.schedule.close());
        if let Err(error) = self.0.ledger.close().await
            && !error.is(ErrorKind::Closed)
        {
            tracing::warn!(%error, "what budgets had leased and not used stays taken until their windows end");
        }
        self.0.closing.cancel();
        let mut background = self.0.background.lock().await;
        while let Some(running) = background.last_mut() {
            if let Err(error) = running.await {
                tracing::warn!(%error, "a background task was lost");
            }
            // Only now: whoever stops waiting before leaves it to the next one.
            background.pop();
        }
        drop(background);
        match self.0.backend.close().await {
            Err(error) if error.is(ErrorKind::Closed) => Ok(()),
            other => other,
        }
    }
}
