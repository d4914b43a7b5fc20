//! The service for integrations: a tenant's configured instances of connectors, and calls of their operations.

mod calls;
mod changes;
mod connect;

pub use changes::{Changes, Watermark};
pub use connect::Authorization;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::access::Access;
use agentprovision_core::audit::AuditRecord;
use agentprovision_core::authz::{Permission, Resource};
use agentprovision_core::context::Context;
use agentprovision_core::effect::{EffectWriter, Effects};
use agentprovision_core::event::PlatformEvent;
use agentprovision_core::http::HttpTransport;
use agentprovision_core::http::egress::{Dialer, EgressPolicy, Resolver};
use agentprovision_core::id::{AgentId, IntegrationId, RunId, TenantId};
use agentprovision_core::idempotency::IdempotencyStore;
use agentprovision_core::integration::{
    Account, Health, Integration, IntegrationQuery, IntegrationState, IntegrationStore,
};
use agentprovision_core::page::Page;
use agentprovision_core::secret::SecretStore;
use agentprovision_core::{Env, Error, ErrorKind, Result, text};
use moka::sync::Cache;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tower::{Layer, ServiceBuilder};

use crate::auth::{Auth, Credentials, Grant, OAuthApp};
use crate::call::Invoke;
use crate::connector::{Catalog, Connector, WhoAmI, compile_schema, violations};
use crate::exchange::{Carry, Exchange, secret_of};
use crate::layers::{
    CallPolicy, ConcurrencyLayer, DeadlineLayer, Gates, IdempotencyLayer, MeterLayer, PolicyLayer,
    QuotaLayer, RetryLayer, RetryOptions, TraceLayer,
};

/// How long a record that was read is used for calls without another look.
const FRESH: Duration = Duration::from_secs(1);

/// What the service is put together of.
#[derive(Debug)]
pub struct IntegrationsParts {
    /// The connectors there are.
    pub catalog: Catalog,
    /// Keeps integrations.
    pub store: Arc<dyn IntegrationStore>,
    /// Keeps their credentials.
    pub secrets: Arc<dyn SecretStore>,
    /// Remembers what was done under keys.
    pub idempotency: Arc<dyn IdempotencyStore>,
    /// The guarded client.
    pub transport: Arc<dyn HttpTransport>,
    /// What URLs may be configured, and where connections of other protocols may go.
    pub egress: EgressPolicy,
    /// Looks up the names that such connections go to.
    pub resolver: Arc<dyn Resolver>,
    /// The check at the door.
    pub access: Access,
    /// Writes usage and audit records.
    pub writer: EffectWriter,
    /// The host's policies for calls.
    pub policies: Vec<Arc<dyn CallPolicy>>,
    /// How calls are tried again.
    pub retry: RetryOptions,
    /// Applications that the host has registered at vendors, by connector.
    pub apps: BTreeMap<String, OAuthApp>,
}

/// Makes, changes and finds integrations, and calls operations of them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Integrations(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    catalog: Catalog,
    store: Arc<dyn IntegrationStore>,
    secrets: Arc<dyn SecretStore>,
    egress: EgressPolicy,
    access: Access,
    exchange: Arc<Exchange>,
    stack: Arc<dyn Invoke>,
    /// By tenant too: an id says nothing of whose it is.
    read: Cache<(TenantId, IntegrationId), (Duration, Arc<Integration>)>,
}

/// An integration to be made.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewIntegration {
    /// The name, 1 to 255 characters, unique within the tenant.
    pub name: String,
    /// The connector.
    pub connector: String,
    /// Which of its ways to prove who asks; the usual one where absent.
    #[serde(default)]
    pub auth: Option<String>,
    /// Its settings.
    #[serde(default)]
    pub settings: Map<String, Value>,
    /// What is entered to prove who asks; it is kept sealed and never shown.
    #[serde(default)]
    #[schemars(extend("format" = "secret"))]
    pub credentials: Map<String, Value>,
}

/// A change of an integration: what is given is replaced, the rest stays.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntegrationUpdate {
    /// The new name.
    #[serde(default)]
    pub name: Option<String>,
    /// The new settings, instead of all the old ones.
    #[serde(default)]
    pub settings: Option<Map<String, Value>>,
    /// New credentials, instead of all the old ones. An integration that had to be connected again can be used then.
    #[serde(default)]
    #[schemars(extend("format" = "secret"))]
    pub credentials: Option<Map<String, Value>>,
    /// Whether it is switched on.
    #[serde(default)]
    pub enabled: Option<bool>,
}

/// What a test of an integration tried, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct TestResult {
    /// Whether it can be used.
    pub healthy: bool,
    /// The operation that was called; absent where the connector has none to try.
    pub operation: Option<String>,
    /// Where the request went.
    pub base_url: Option<String>,
    /// Whose account it is connected to.
    pub account: Option<Account>,
    /// Why it cannot be used.
    pub error: Option<ErrorKind>,
    /// In words, for people.
    pub message: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// How a call is made.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CallOptions {
    /// The caller's key: a call that was made with it before is answered as then.
    pub idempotency_key: Option<String>,
    /// The longest it may take; the operation's own limit where absent or shorter.
    pub timeout: Option<Duration>,
    /// The run it is part of.
    pub run: Option<RunId>,
    /// The agent that makes it.
    pub agent: Option<AgentId>,
}

impl CallOptions {
    /// With a key of the caller.
    pub fn key(key: impl Into<String>) -> Self {
        Self { idempotency_key: Some(key.into()), ..Self::default() }
    }
}

impl Integrations {
    /// The service. `around` is put around the layers, outside of all but the trace.
    pub fn new(parts: IntegrationsParts) -> Self {
        let IntegrationsParts {
            catalog,
            store,
            secrets,
            idempotency,
            transport,
            egress,
            resolver,
            access,
            writer,
            policies,
            retry,
            apps,
        } = parts;
        let env = access.env().clone();
        let gates = Arc::new(Gates::new(env.clone()));
        let dialer = Dialer::new(egress.clone(), resolver, env.clone());
        let exchange = Exchange::new(transport, dialer, secrets.clone(), env, gates.clone(), apps);
        let exchange = Arc::new(exchange);
        let layers = ServiceBuilder::new()
            .layer(TraceLayer)
            .layer(PolicyLayer::new(access.clone(), policies))
            .layer(MeterLayer::new(writer))
            .layer(DeadlineLayer)
            .layer(IdempotencyLayer::new(idempotency))
            .layer(RetryLayer::new(retry))
            .layer(QuotaLayer(gates))
            .layer(ConcurrencyLayer::default());
        let stack = layers.into_inner().layer(Arc::new(Carry) as Arc<dyn Invoke>);
        Self(Arc::new(Inner {
            catalog,
            store,
            secrets,
            egress,
            access,
            exchange,
            stack,
            read: Cache::new(100_000),
        }))
    }

    /// The connectors there are.
    pub fn catalog(&self) -> &Catalog {
        &self.0.catalog
    }

    #[cfg(feature = "serve")]
    pub(crate) fn access(&self) -> &Access {
        &self.0.access
    }

    pub(crate) fn env(&self) -> &Env {
        self.0.access.env()
    }

    pub(crate) fn store(&self) -> &Arc<dyn IntegrationStore> {
        &self.0.store
    }

    /// Settings as a connector takes them, and as the URLs that are made of them may be.
    fn settings(&self, connector: &Connector, auth: &Auth, settings: &Map<String, Value>) -> Result<()> {
        text::json("settings", &Value::Object(settings.clone()), 64 * 1024)?;
        let schema = compile_schema(&format!("the settings of `{}`", connector.name), &connector.settings)?;
        if let Some(problems) = violations(&schema, &Value::Object(settings.clone())) {
            return Err(Error::invalid(format!("the settings of `{}`: {problems}", connector.name)));
        }
        // What granting access has yet to say is checked then.
        let base = match auth.awaits(settings) {
            true => String::new(),
            false => connector.base_by(auth, settings)?,
        };
        if base.contains(['?', '#']) {
            return Err(Error::invalid("a URL that operations go under has no query and no fragment"));
        }
        // A connector without a URL of its own has nothing to check.
        if !base.is_empty() {
            self.0.egress.check(&base)?;
        }
        if let Some(dials) = connector.dials {
            self.0.egress.check_destination(&dials(settings)?)?;
        }
        for template in auth.grant().into_iter().flat_map(Grant::urls) {
            self.0.egress.check(&connector.fill(template, settings)?)?;
        }
        Ok(())
    }

    fn effects(&self, ctx: &Context, integration: &Integration, action: &str, event: &str) -> Effects {
        let record = AuditRecord::of(ctx, self.env(), action, "integrations", integration.id)
            .with("connector", integration.connector.as_str())
            .with("state", integration.state.name());
        let data = serde_json::json!({
            "connector": integration.connector,
            "name": integration.name,
            "state": integration.state,
            "account": integration.account,
        });
        Effects::audited(record).event(PlatformEvent::of(ctx, self.env(), event, integration.id, data))
    }

    /// Makes an integration.
    ///
    /// # Errors
    /// `permission_denied` without `integrations:create`; `not_found` for an unknown connector; `invalid_input`, naming the
    /// field, for bad settings or credentials; `blocked` for a URL that is never reached; `already_exists` for a taken name;
    /// `unsupported` where there is nothing to seal credentials with; `tenant_suspended`.
    pub async fn create(&self, ctx: &Context, new: NewIntegration) -> Result<Integration> {
        let inner = &*self.0;
        inner.access.check(ctx, Permission::INTEGRATIONS_CREATE, Resource::all("integrations")).await?;
        let connector = inner.catalog.get(&new.connector)?;
        let auth = connector.auth(new.auth.as_deref())?;
        self.settings(connector, auth, &new.settings)?;
        let credentials = Credentials::entered(&auth.fields, &new.credentials)?;
        let now = self.env().now();
        let integration = Integration {
            id: self.env().id(),
            name: text::name("name", &new.name)?,
            connector: connector.name.to_string(),
            auth: auth.name.to_string(),
            settings: new.settings,
            account: None,
            state: IntegrationState::Active,
            health: None,
            created_by: ctx.principal().user(),
            created_at: now,
            updated_at: now,
            revision: 1,
        };
        let effects = self.effects(ctx, &integration, "integrations.create", "integration.created");
        inner.store.insert(ctx, integration.clone(), effects).await?;
        if auth.fields.is_empty() {
            return Ok(integration);
        }
        // After the record: what is left when this ends in between can be seen, and deleted.
        let put = inner.secrets.put(ctx, &secret_of(integration.id)?, credentials.to_secret(), 0, None).await;
        if let Err(error) = put {
            let effects = self.effects(ctx, &integration, "integrations.delete", "integration.deleted");
            if let Err(left) = inner.store.delete(ctx, integration.id, 1, effects).await {
                tracing::warn!(integration = %integration.id, error = ?left, "an integration without credentials is left");
            }
            return Err(error);
        }
        Ok(integration)
    }

    /// An integration.
    ///
    /// # Errors
    /// `not_found`, also without `integrations:read`.
    pub async fn get(&self, ctx: &Context, id: IntegrationId) -> Result<Integration> {
        let resource = Resource::one("integrations", id);
        self.0.access.read(ctx, Permission::INTEGRATIONS_READ, resource).await?;
        self.0.store.get(ctx, id).await
    }

    /// The integrations of a query, oldest first.
    ///
    /// # Errors
    /// `permission_denied` without `integrations:read`; `invalid_input` for a bad page.
    pub async fn list(&self, ctx: &Context, query: IntegrationQuery) -> Result<Page<Integration>> {
        self.0.access.list(ctx, Permission::INTEGRATIONS_READ, "integrations").await?;
        self.0.store.list(ctx, query).await
    }

    /// Changes an integration. One that is connected to an account stays with it: the vendor is asked whose new credentials are
    /// before they are kept.
    ///
    /// # Errors
    /// `permission_denied` without `integrations:update`, `not_found` without `integrations:read` too; those of
    /// [`Integrations::create`]; `conflict` when it changes at the same time, or for credentials of another account; those of
    /// the vendor where it has to be asked.
    pub async fn update(
        &self,
        ctx: &Context,
        id: IntegrationId,
        update: IntegrationUpdate,
    ) -> Result<Integration> {
        let inner = &*self.0;
        let (change, seen) = (Permission::INTEGRATIONS_UPDATE, Permission::INTEGRATIONS_READ);
        inner.access.change(ctx, change, seen, Resource::one("integrations", id)).await?;
        let before = inner.store.get(ctx, id).await?;
        let mut integration = before.clone();
        let connector = inner.catalog.get(&integration.connector)?;
        let auth = connector.auth(Some(&integration.auth))?;
        if let Some(name) = update.name {
            integration.name = text::name("name", &name)?;
        }
        if let Some(mut settings) = update.settings {
            // What was learned holds for as long as the same thing is meant.
            if let Some(learned) = &auth.learns
                && connector.fill(&learned.meant, &settings).ok()
                    == connector.fill(&learned.meant, &integration.settings).ok()
                && let Some(kept) = integration.settings.get(&*learned.setting)
            {
                settings.entry(&*learned.setting).or_insert_with(|| kept.clone());
            }
            self.settings(connector, auth, &settings)?;
            integration.settings = settings;
        }
        let credentials =
            update.credentials.map(|entered| Credentials::entered(&auth.fields, &entered)).transpose()?;
        integration.state = match (update.enabled, integration.state) {
            (Some(false), _) => IntegrationState::Disabled,
            (Some(true), IntegrationState::Disabled) => IntegrationState::Active,
            (_, IntegrationState::NeedsReconnect) if credentials.is_some() => IntegrationState::Active,
            (_, state) => state,
        };
        let told = ("integrations.update", "integration.updated");
        let Some(credentials) = credentials else {
            return self.replace(ctx, integration, told).await;
        };
        self.check_account(ctx, connector, &integration, &credentials).await?;
        self.replace_with(ctx, before, integration, &credentials, told).await
    }

    /// Refuses credentials of another account than the one an integration is connected to.
    async fn check_account(
        &self,
        ctx: &Context,
        connector: &Arc<Connector>,
        integration: &Integration,
        credentials: &Credentials,
    ) -> Result<()> {
        match (&connector.whoami, &integration.account) {
            (Some(whoami), Some(_)) => {
                let candidate = Some(Arc::new(credentials.clone()));
                let found = self.whoami(ctx, connector, integration, whoami, candidate).await?;
                same_account(integration, Some(&found))
            }
            _ => Ok(()),
        }
    }

    /// Replaces an integration and its credentials. The record comes first, as its revision tells two who do the same at the same
    /// time apart: whoever is refused has changed nothing. When this ends in between, the old credentials go on to be used, or
    /// are found to be refused, and can be given again.
    async fn replace_with(
        &self,
        ctx: &Context,
        before: Integration,
        integration: Integration,
        credentials: &Credentials,
        told: (&str, &str),
    ) -> Result<Integration> {
        let path = secret_of(integration.id)?;
        let version = match self.0.secrets.get(ctx, &path).await {
            Ok(secret) => secret.version,
            Err(error) if error.is(ErrorKind::NotFound) => 0,
            // One that does not open any more can be replaced, by whoever says which one it was.
            Err(error) => return Err(error),
        };
        let kept = self.replace(ctx, integration, told).await?;
        let put = self.0.secrets.put(ctx, &path, credentials.to_secret(), version, None).await;
        self.0.exchange.forget(ctx, kept.id);
        if let Err(error) = put {
            let before = Integration { revision: kept.revision, ..before };
            if let Err(left) = self.replace(ctx, before, told).await {
                tracing::warn!(integration = %kept.id, error = ?left, "a change without its credentials is left");
            }
            return Err(error);
        }
        Ok(kept)
    }

    /// Replaces an integration, and tells it by the names of the action and of the event.
    async fn replace(
        &self,
        ctx: &Context,
        mut integration: Integration,
        (action, event): (&str, &str),
    ) -> Result<Integration> {
        let expected = integration.revision;
        integration.revision = expected + 1;
        integration.updated_at = self.env().now();
        let effects = self.effects(ctx, &integration, action, event);
        self.0.store.replace(ctx, integration.clone(), expected, effects).await?;
        self.0.read.invalidate(&(ctx.tenant(), integration.id));
        Ok(integration)
    }

    /// Access was taken back: somebody has to grant it again, which is an event.
    async fn needs_reconnect(&self, ctx: &Context, id: IntegrationId, why: &Error) {
        let marked = async {
            let mut integration = self.0.store.get(ctx, id).await?;
            if integration.state != IntegrationState::Active {
                return Ok(());
            }
            integration.state = IntegrationState::NeedsReconnect;
            integration.health = Some(Health {
                healthy: false,
                error: Some(why.kind()),
                message: Some(why.message().to_owned()),
                checked_at: self.env().now(),
            });
            let told = ("integrations.needs_reconnect", "integration.needs_reconnect");
            self.replace(ctx, integration, told).await.map(drop)
        };
        // Somebody else may have said so, or may have just connected it again.
        if let Err(error) = marked.await {
            tracing::debug!(integration = %id, ?error, "that an integration needs to be connected again was not kept");
        }
    }

    /// Removes an integration and its credentials.
    ///
    /// # Errors
    /// `permission_denied` without `integrations:delete`, `not_found` without `integrations:read` too; `conflict` when it
    /// changes at the same time.
    pub async fn delete(&self, ctx: &Context, id: IntegrationId) -> Result<()> {
        let inner = &*self.0;
        let (change, seen) = (Permission::INTEGRATIONS_DELETE, Permission::INTEGRATIONS_READ);
        inner.access.change(ctx, change, seen, Resource::one("integrations", id)).await?;
        let integration = inner.store.get(ctx, id).await?;
        // Before the record: what is left when this ends in between can be seen, and deleted again.
        inner.secrets.delete(ctx, &connect::pending(id)?).await?;
        inner.secrets.delete(ctx, &secret_of(id)?).await?;
        inner.exchange.forget(ctx, id);
        let effects = self.effects(ctx, &integration, "integrations.delete", "integration.deleted");
        inner.store.delete(ctx, id, integration.revision, effects).await?;
        inner.read.invalidate(&(ctx.tenant(), id));
        Ok(())
    }

    /// Tries an integration: asks the vendor whose account it is, and keeps what came of it as the integration's health. An account
    /// that was found before is held to: another one is an error. Only what the vendor refuses for good changes the
    /// integration's state.
    ///
    /// # Errors
    /// `permission_denied` without `integrations:invoke`, `not_found` without `integrations:read` too; `conflict` when it
    /// changes at the same time. What keeps the integration from being used is no error but the result.
    pub async fn test(&self, ctx: &Context, id: IntegrationId) -> Result<TestResult> {
        let inner = &*self.0;
        let (invoke, seen) = (Permission::INTEGRATIONS_INVOKE, Permission::INTEGRATIONS_READ);
        inner.access.change(ctx, invoke, seen, Resource::one("integrations", id)).await?;
        let mut integration = inner.store.get(ctx, id).await?;
        let connector = inner.catalog.get(&integration.connector)?.clone();
        let begun = self.env().monotonic();
        let whoami = connector.whoami.clone();
        let tried = match &whoami {
            Some(whoami) => self.whoami(ctx, &connector, &integration, whoami, None).await.map(Some),
            None => Ok(None),
        };
        let outcome =
            tried.and_then(|account| same_account(&integration, account.as_ref()).map(|()| account));
        let error = outcome.as_ref().err();
        let auth = connector.auth(Some(&integration.auth));
        let base_url = auth.and_then(|auth| connector.base_by(auth, &integration.settings)).ok();
        let base_url = base_url.filter(|url| !url.is_empty());
        let result = TestResult {
            healthy: error.is_none(),
            operation: whoami.map(|whoami| whoami.operation.to_string()),
            base_url,
            account: outcome.as_ref().ok().cloned().flatten(),
            error: error.map(Error::kind),
            message: error.map(|error| error.message().to_owned()),
            duration_ms: u64::try_from(self.env().monotonic().saturating_sub(begun).as_millis())
                .unwrap_or(u64::MAX),
        };
        let refused = error.is_some_and(credentials_refused);
        integration.state = match integration.state {
            IntegrationState::Active if refused => IntegrationState::NeedsReconnect,
            IntegrationState::NeedsReconnect if result.healthy && result.operation.is_some() => {
                IntegrationState::Active
            }
            state => state,
        };
        if integration.account.is_none() {
            integration.account = result.account.clone();
        }
        integration.health = Some(Health {
            healthy: result.healthy,
            error: result.error,
            message: result.message.clone(),
            checked_at: self.env().now(),
        });
        self.replace(ctx, integration, ("integrations.test", "integration.tested")).await?;
        Ok(result)
    }

    async fn whoami(
        &self,
        ctx: &Context,
        connector: &Arc<Connector>,
        integration: &Integration,
        whoami: &WhoAmI,
        candidate: Option<Arc<Credentials>>,
    ) -> Result<Account> {
        let operation = connector.operation(&whoami.operation)?;
        // Whether it can be used is the question, so it is asked whatever its state.
        let looked_at = Integration { state: IntegrationState::Active, ..integration.clone() };
        let mut call =
            self.prepare(ctx, connector, operation, Arc::new(looked_at), Map::new(), CallOptions::default())?;
        call.candidate = candidate;
        let answer = self.0.stack.invoke(&call).await?;
        let text = |place: &str| match answer.value.pointer(place) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let id = text(&whoami.id)
            .ok_or_else(|| crate::answer::unexpected("it does not say whose account it is".to_owned()))?;
        Ok(Account { id, name: text(&whoami.name) })
    }
}

fn same_account(integration: &Integration, found: Option<&Account>) -> Result<()> {
    match (&integration.account, found) {
        (Some(pinned), Some(found)) if pinned.id != found.id => Err(Error::conflict(
            "the credentials are of another account than the one the integration is connected to",
        )
        .with_context("account", &pinned.id)),
        _ => Ok(()),
    }
}

/// Whether the vendor refused what proves who asks.
fn credentials_refused(error: &Error) -> bool {
    error.context().iter().any(|(name, value)| *name == "reason" && value == "credentials")
}
