//! Puts a platform together.

use std::sync::Arc;

use agentprovision_connectors::auth::OAuthApp;
use agentprovision_connectors::layers::{CallPolicy, RetryOptions};
use agentprovision_connectors::webhook::{WebhookHandler, Webhooks, WebhooksParts, WorkOptions};
use agentprovision_connectors::{Connector, Connectors};
use agentprovision_core::agent::Agents;
use agentprovision_core::audit::AuditLog;
use agentprovision_core::authz::{Authorizer, PermissionRegistry};
use agentprovision_core::backend::Backend;
use agentprovision_core::effect::EffectWriter;
use agentprovision_core::event::{EventBus, EventSink, Events, relay};
use agentprovision_core::http::HttpTransport;
use agentprovision_core::http::egress::EgressPolicy;
use agentprovision_core::maintenance::{Duty, OnDuty, sequencer};
use agentprovision_core::model::{ChatModel, EmbeddingModel, RerankModel};
use agentprovision_core::run::{EngineOptions, EngineParts, LocalEngine, Runs, Sessions};
use agentprovision_core::tool::{Tool, ToolSet};
use agentprovision_core::usage::UsageReport;
use agentprovision_core::{ContextIssuer, Env, Error, Result};
use agentprovision_llm::layers::LayersConfig;
use agentprovision_llm::limit::StoreLedger;
use agentprovision_llm::models::{Models, UsageWriter};
use agentprovision_llm::providers::Provider;
use agentprovision_llm::route::{Router, RouterBuilder, RoutingConfig, Selector};
#[cfg(feature = "otel")]
use agentprovision_llm::telemetry::Telemetry;
use agentprovision_llm::{Catalog, ModelRegistry, ModelRegistryBuilder};
use agentprovision_tenancy::Tenancy;
use agentprovision_tenancy::identity::Pepper;
use agentprovision_tenancy::placement::{PlacedBackend, Placements, Shard};
use agentprovision_tenancy::rbac::{RbacAuthorizer, RoleSpec, Roles};
use agentprovision_tenancy::secret::SealingKeys;
use agentprovision_tenancy::store;
use agentprovision_tenancy::tenant::{BackupOptions, BackupSchedule};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use tower::Layer;

use crate::integrations::ConnectorParts;
use crate::platform::{Inner, Platform};
use crate::webhooks::WebhookParts;

type AddToRouter = Box<dyn FnOnce(RouterBuilder) -> RouterBuilder + Send>;
type WrapAuthorizer = Box<dyn FnOnce(Arc<RbacAuthorizer>) -> Arc<dyn Authorizer> + Send>;

/// Puts a platform together: a store, models, tools. Everything has a default; nothing is read from the environment
/// unless a provider's `from_env` does.
#[derive(Default)]
#[must_use]
pub struct PlatformBuilder {
    store: Option<String>,
    backend: Option<Arc<dyn Backend>>,
    shards: Vec<Shard>,
    placed: Option<PlacedBackend>,
    env: Env,
    providers: Vec<Arc<dyn Provider>>,
    credentials: Vec<Arc<dyn Provider>>,
    models: Vec<(String, Arc<dyn ChatModel>)>,
    embedders: Vec<(String, Arc<dyn EmbeddingModel>)>,
    rerankers: Vec<(String, Arc<dyn RerankModel>)>,
    catalog: Option<Catalog>,
    transport: Option<Arc<dyn HttpTransport>>,
    tools: Vec<Arc<dyn Tool>>,
    permissions: Vec<String>,
    roles: Vec<RoleSpec>,
    authorizer: Option<WrapAuthorizer>,
    sinks: Vec<Arc<dyn EventSink>>,
    pepper: Option<SecretString>,
    engine: EngineOptions,
    backups: Option<BackupOptions>,
    routing: RoutingConfig,
    layers: LayersConfig,
    connectors: ConnectorParts,
    webhooks: WebhookParts,
    /// What the host itself adds to the router, in this order.
    around: Vec<AddToRouter>,
    #[cfg(feature = "otel")]
    telemetry: Option<Telemetry>,
}

impl std::fmt::Debug for PlatformBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlatformBuilder")
            .field("tools", &self.tools)
            .field("providers", &self.providers)
            .finish_non_exhaustive()
    }
}

impl PlatformBuilder {
    /// The store, by URL: `sqlite://path` or `memory://`; default `memory://`, which is gone with the process.
    pub fn store(mut self, url: impl Into<String>) -> Self {
        self.store = Some(url.into());
        self
    }

    /// One of several databases instead of one store; any number. Each tenant is kept in one of them: see
    /// [`placement`](agentprovision_tenancy::placement). The first one also has what is above tenants, and stays the first.
    pub fn shard(mut self, shard: Shard) -> Self {
        self.shards.push(shard);
        self
    }

    /// Several databases that are open already, instead of [`PlatformBuilder::shard`].
    pub fn placed(mut self, backend: PlacedBackend) -> Self {
        self.placed = Some(backend);
        self
    }

    /// A backend of your own instead of a store by URL.
    pub fn backend(mut self, backend: Arc<dyn Backend>) -> Self {
        self.backend = Some(backend);
        self
    }

    /// Another clock and another source of randomness.
    pub fn env(mut self, env: Env) -> Self {
        self.env = env;
        self
    }

    /// A provider of models; any number.
    pub fn provider(mut self, provider: impl Provider) -> Self {
        self.providers.push(Arc::new(provider));
        self
    }

    /// A provider that was added already, under another credential; any number. When one is refused or takes no more
    /// requests, the next is asked, and each has a health of its own.
    pub fn credential(mut self, provider: impl Provider) -> Self {
        self.credentials.push(Arc::new(provider));
        self
    }

    /// The providers of another builder, as further credentials of those that are here.
    pub(crate) fn credentials_of(mut self, other: Self) -> Self {
        self.credentials.extend(other.providers);
        self
    }

    /// A model of your own, by name.
    pub fn model(mut self, name: impl Into<String>, model: Arc<dyn ChatModel>) -> Self {
        self.models.push((name.into(), model));
        self
    }

    /// An embedding model of your own, by name.
    pub fn embedder(mut self, name: impl Into<String>, model: Arc<dyn EmbeddingModel>) -> Self {
        self.embedders.push((name.into(), model));
        self
    }

    /// A rerank model of your own, by name.
    pub fn reranker(mut self, name: impl Into<String>, model: Arc<dyn RerankModel>) -> Self {
        self.rerankers.push((name.into(), model));
        self
    }

    /// Another price catalogue than the one that is shipped.
    pub fn catalog(mut self, catalog: Catalog) -> Self {
        self.catalog = Some(catalog);
        self
    }

    /// Another HTTP client for providers.
    pub fn transport(mut self, transport: Arc<dyn HttpTransport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// A tool agents may use; any number.
    pub fn tool(mut self, tool: impl Tool) -> Self {
        self.tools.push(Arc::new(tool));
        self
    }

    /// A permission of your own, `resource:verb`; any number.
    pub fn permission(mut self, name: impl Into<String>) -> Self {
        self.permissions.push(name.into());
        self
    }

    /// A role of your own; any number.
    pub fn role(mut self, role: RoleSpec) -> Self {
        self.roles.push(role);
        self
    }

    /// An authorizer of your own, made from the one by role: ask that one first.
    pub fn authorizer(
        mut self,
        authorizer: impl FnOnce(Arc<RbacAuthorizer>) -> Arc<dyn Authorizer> + Send + 'static,
    ) -> Self {
        self.authorizer = Some(Box::new(authorizer));
        self
    }

    /// Where events go, at least once; any number.
    pub fn event_sink(mut self, sink: Arc<dyn EventSink>) -> Self {
        self.sinks.push(sink);
        self
    }

    /// The secret under which API keys are digested, at least 16 bytes. Without one there are no API keys, except over
    /// `memory://`, whose keys end with the process anyway.
    pub fn pepper(mut self, pepper: impl Into<SecretString>) -> Self {
        self.pepper = Some(pepper.into());
        self
    }

    /// Settings of the engine.
    pub fn engine(mut self, options: EngineOptions) -> Self {
        self.engine = options;
        self
    }

    /// A folder for backups of tenants, and when they are made.
    pub fn backups(mut self, options: BackupOptions) -> Self {
        self.backups = Some(options);
        self
    }

    /// How requests to models are routed.
    pub fn routing(mut self, config: RoutingConfig) -> Self {
        self.routing = config;
        self
    }

    /// A strategy of your own, under a name that routes and requests use.
    pub fn selector(mut self, name: impl Into<String>, selector: Arc<dyn Selector>) -> Self {
        let name = name.into();
        self.around.push(Box::new(move |router| router.selector(name, selector)));
        self
    }

    /// What surrounds every model: guards, caches, rate limits, budgets. [`Platform::layers`] reaches them later.
    pub fn layers(mut self, config: LayersConfig) -> Self {
        self.layers = config;
        self
    }

    /// A layer of your own around every chat model, outside of those that are configured; any number, the first one
    /// outermost.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Arc<dyn ChatModel>, Service = Arc<dyn ChatModel>> + Send + Sync + 'static,
    {
        self.around.push(Box::new(move |router| router.layer(layer)));
        self
    }

    /// Where OpenTelemetry's spans and metrics of requests to models go.
    #[cfg(feature = "otel")]
    pub fn telemetry(mut self, telemetry: Telemetry) -> Self {
        self.telemetry = Some(telemetry);
        self
    }

    /// A connector: tenants can make integrations of it, and its operations are tools, as `github_issues_create`. Those of the
    /// library are in [`connectors::builtin`](agentprovision_connectors::builtin), a feature each.
    pub fn connector(mut self, connector: Connector) -> Self {
        self.connectors.connectors.push(connector);
        self
    }

    /// An application that is registered at a vendor, for integrations whose access is granted in a browser.
    pub fn oauth_app(mut self, connector: impl Into<String>, app: OAuthApp) -> Self {
        self.connectors.apps.insert(connector.into(), app);
        self
    }

    /// Where requests may go to URLs that tenants name; default the internet by `https`, and nothing else.
    pub fn egress(mut self, policy: EgressPolicy) -> Self {
        self.connectors.egress = policy;
        self
    }

    /// A transport of your own for connectors, instead of one that the policy for egress guards.
    pub fn connector_transport(mut self, transport: Arc<dyn HttpTransport>) -> Self {
        self.connectors.transport = Some(transport);
        self
    }

    /// A policy for calls of connectors; any number, and each of them can refuse.
    pub fn call_policy(mut self, policy: Arc<dyn CallPolicy>) -> Self {
        self.connectors.policies.push(policy);
        self
    }

    /// How calls of connectors are tried again.
    pub fn call_retries(mut self, options: RetryOptions) -> Self {
        self.connectors.retry = options;
        self
    }

    /// The keys that secrets are sealed with. Without them a store that lasts holds no secret.
    pub fn sealing_keys(mut self, keys: SealingKeys) -> Self {
        self.connectors.keys = Some(keys);
        self
    }

    /// How deliveries of webhooks are worked on.
    pub fn webhook_work(mut self, options: WorkOptions) -> Self {
        self.webhooks.work = options;
        self
    }

    /// What the host does about events of webhooks itself; any number, called one after the other, before triggers start runs.
    pub fn webhook_handler(mut self, handler: Arc<dyn WebhookHandler>) -> Self {
        self.webhooks.handlers.push(handler);
        self
    }

    pub(crate) fn connector_parts(mut self, parts: ConnectorParts) -> Self {
        self.connectors = parts;
        self
    }

    /// Opens the store, checks every part, and starts to drive runs. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// What the store cannot be opened with; `invalid_input` or `already_exists` for a bad tool, model, permission or
    /// role, naming it.
    pub async fn build(self) -> Result<Platform> {
        let env = self.env;
        let mut registry = PermissionRegistry::default();
        for name in &self.permissions {
            registry.register(name)?;
        }
        let mut roles = Roles::new(registry.clone());
        roles.register_all(self.roles)?;
        let mut tools = ToolSet::default();
        for tool in self.tools {
            if let Some(permission) = &tool.spec().permission {
                registry.get(permission)?;
            }
            tools.add(tool)?;
        }
        let health = self.routing.breaker.options();
        let mut models = ModelRegistry::builder().env(env.clone()).health(health);
        for (name, model) in self.models {
            models = models.model(name, model);
        }
        for (name, model) in self.embedders {
            models = models.embedder(name, model);
        }
        for (name, model) in self.rerankers {
            models = models.reranker(name, model);
        }
        let models = with_providers(models, self.providers, self.credentials, self.catalog, self.transport)?;
        let given =
            [self.backend.is_some(), self.store.is_some(), !self.shards.is_empty(), self.placed.is_some()];
        if given.into_iter().filter(|given| *given).count() > 1 {
            let message = "a platform has one store: a URL, several shards or a backend, not two of them";
            return Err(Error::invalid(message));
        }
        let placed = match self.placed {
            None if !self.shards.is_empty() => Some(PlacedBackend::open(self.shards, env.clone()).await?),
            placed => placed,
        };
        let (backend, lasting): (Arc<dyn Backend>, bool) = match (self.backend, &placed, self.store) {
            (Some(backend), ..) => (backend, true),
            (None, Some(placed), _) => (Arc::new(placed.clone()), true),
            (None, None, url) => {
                let url = url.unwrap_or_else(|| "memory://".into());
                (store::connect(&url, env.clone()).await?, !url.starts_with("memory://"))
            }
        };
        let pepper = match &self.pepper {
            Some(pepper) => Pepper::new(pepper)?,
            None if lasting => Pepper::absent(),
            None => Pepper::random(&env),
        };
        let stores = backend.stores();
        let issuer = ContextIssuer::new(env.clone());
        let tenancy = match self.authorizer {
            Some(wrap) => Tenancy::with_authorizer(issuer.clone(), &stores, roles, pepper, wrap),
            None => Tenancy::new(issuer.clone(), &stores, roles, pepper),
        };
        let tenancy = match self.backups {
            Some(options) => tenancy.with_backups(options)?,
            None => tenancy,
        };
        let stores = tenancy.stores().clone();
        let access = tenancy.access().clone();
        let registry = Arc::new(registry);
        // Budgets of days and months outlast the process, where the store does.
        let ledger = Arc::new(StoreLedger::new(stores.quota.clone(), env.clone()));
        let layers = self.layers.layers(&env, ledger.clone())?;
        #[cfg(feature = "otel")]
        let layers = match self.telemetry {
            Some(telemetry) => layers.telemetry(telemetry),
            None => layers,
        };
        let router = Router::builder(models).config(self.routing);
        let router = self.around.into_iter().fold(router, |router, add| add(router));
        let router = layers.around(router)?.build()?;
        let resolver = Arc::new(router.clone());
        let effects = EffectWriter::start(stores.effects.clone(), env.clone());
        let (integrations, secrets) =
            self.connectors.integrations(&env, &stores, &access, &effects, lasting)?;
        for tool in integrations.tools() {
            tools.add(tool)?;
        }
        let tools = Arc::new(tools);
        let agents = Agents::new(
            stores.agents.clone(),
            tools.clone(),
            resolver.clone(),
            registry.clone(),
            access.clone(),
        );
        let engine = LocalEngine::start(EngineParts {
            stores: stores.clone(),
            tools,
            models: resolver,
            principals: Arc::new(tenancy.contexts().clone()),
            access: access.clone(),
            permissions: registry.clone(),
            options: self.engine,
        });
        let bus = EventBus::new(stores.events.clone(), env.clone());
        let closing = CancellationToken::new();
        let mut sinks: Vec<Arc<dyn EventSink>> = vec![Arc::new(bus.clone())];
        sinks.extend(self.sinks);
        // Whatever is drawn at random is drawn here, in this order.
        let on_duty = |duty| OnDuty::new(stores.maintenance.clone(), env.clone(), duty);
        let (relaying, sequencing) = (on_duty(Duty::Relay), on_duty(Duty::Sequencer));
        let runs = Runs::new(&engine);
        let webhooks = Webhooks::new(WebhooksParts {
            store: stores.endpoints.clone(),
            inbox: stores.inbox.clone(),
            secrets,
            access: access.clone(),
            principals: Arc::new(tenancy.contexts().clone()),
            runs: runs.clone(),
        });
        let WebhookParts { work, handlers } = self.webhooks;
        let working = closing.child_token();
        let background = vec![
            tokio::spawn(webhooks.work(work, handlers, working.clone())),
            tokio::spawn(relay(stores.events.clone(), relaying, sinks, env.clone(), closing.clone())),
            tokio::spawn(sequencer(sequencing, closing.clone())),
            tokio::spawn({
                let (tenancy, closing) = (tenancy.clone(), closing.clone());
                async move { tenancy.hear(closing).await }
            }),
        ];
        let schedule = BackupSchedule::start(tenancy.backups());
        let writer = UsageWriter::over(effects);
        Ok(Platform::from_parts(Inner {
            issuer,
            agents,
            sessions: Sessions::new(runs.clone()),
            runs,
            audit: AuditLog::new(stores.audit.clone(), access.clone()),
            usage: UsageReport::new(stores.usage.clone(), access.clone()),
            events: Events::new(bus, access.clone()),
            placements: Placements::new(access.clone(), placed.as_ref()),
            connectors: Connectors::new(integrations.catalog().clone(), access.clone()),
            integrations,
            webhooks,
            tenancy,
            models: Models::new(router.clone(), stores.tenants.clone(), access.clone(), writer.clone()),
            writer,
            ledger,
            layers,
            router,
            permissions: registry,
            engine,
            schedule,
            background: tokio::sync::Mutex::new(background),
            closing,
            working,
            backend,
        }))
    }
}

fn with_providers(
    mut models: ModelRegistryBuilder,
    providers: Vec<Arc<dyn Provider>>,
    credentials: Vec<Arc<dyn Provider>>,
    catalog: Option<Catalog>,
    transport: Option<Arc<dyn HttpTransport>>,
) -> Result<ModelRegistry> {
    if let Some(catalog) = catalog {
        models = models.catalog(catalog);
    }
    let urls: Vec<_> =
        providers.iter().chain(&credentials).flat_map(|provider| provider.base_urls()).collect();
    if let Some(transport) =
        transport.map_or_else(|| default_transport(&urls), |transport| Ok(Some(transport)))?
    {
        models = models.transport(transport);
    }
    for provider in providers {
        models = models.provider(provider);
    }
    for provider in credentials {
        models = models.credential(provider);
    }
    models.build()
}

/// A client that may talk to the hosts the providers name, and to nobody else.
#[cfg(feature = "http-reqwest")]
fn default_transport(urls: &[http::Uri]) -> Result<Option<Arc<dyn HttpTransport>>> {
    use agentprovision_core::http::{ReqwestOptions, ReqwestTransport};
    if urls.is_empty() {
        return Ok(None);
    }
    let transport = ReqwestTransport::new(&ReqwestOptions::default())?;
    for url in urls {
        transport.allow(url)?;
    }
    Ok(Some(Arc::new(transport)))
}

#[cfg(not(feature = "http-reqwest"))]
fn default_transport(_: &[http::Uri]) -> Result<Option<Arc<dyn HttpTransport>>> {
    Ok(None)
}
