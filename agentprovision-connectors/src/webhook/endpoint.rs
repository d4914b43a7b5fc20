//! Endpoints: where vendors send what happens there, whose they are, and what comes of it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::access::{Access, Principals};
use agentprovision_core::audit::AuditRecord;
use agentprovision_core::authz::{Permission, Resource};
use agentprovision_core::context::Context;
use agentprovision_core::effect::Effects;
use agentprovision_core::event::PlatformEvent;
use agentprovision_core::id::{AgentId, DeliveryId, EndpointId, IntegrationId, TenantId};
use agentprovision_core::page::{Page, PageRequest};
use agentprovision_core::run::Runs;
use agentprovision_core::secret::{SecretPath, SecretStore};
use agentprovision_core::webhook::{Delivery, EndpointState, EndpointStore, Inbox, WebhookEndpoint};
use agentprovision_core::{Env, Error, ErrorKind, Result, Timestamp, text};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::event::GenericSource;
use super::{EventFilter, Scheme, Secrets, Template, Vendor, Verifier};

/// The most triggers of an endpoint.
const TRIGGERS: usize = 50;
/// For how long the secret before counts, where nobody says.
const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);

/// What comes of a delivery: a run of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// Which events are meant; all where absent.
    #[serde(default)]
    pub filter: EventFilter,
    /// The agent whose run is started.
    pub agent: AgentId,
    /// The run's input: a template over `event` and `body`, as `Look into {{ body.issue.title }}.`.
    pub input: String,
    /// Whether an event is left out that is older than what is known of its thing; default no.
    #[serde(default)]
    pub newest_only: bool,
}

/// An endpoint to be made.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEndpoint {
    /// The name, 1 to 255 characters, unique within the tenant.
    pub name: String,
    /// Who sends.
    pub vendor: Vendor,
    /// How deliveries prove whose they are; the vendor's usual way where absent.
    #[serde(default)]
    pub scheme: Option<Scheme>,
    /// How a generic sender's deliveries are read.
    #[serde(default)]
    pub source: Option<GenericSource>,
    /// The integration it belongs to.
    #[serde(default)]
    pub integration: Option<IntegrationId>,
    /// What comes of deliveries.
    #[serde(default)]
    pub triggers: Vec<Trigger>,
    /// The secret, where the vendor gives one out; else one is made.
    #[serde(default, skip_serializing)]
    #[schemars(extend("format" = "secret"))]
    pub secret: Option<String>,
}

/// A change of an endpoint: what is given is replaced, the rest stays.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointUpdate {
    /// The new name.
    #[serde(default)]
    pub name: Option<String>,
    /// The new triggers, instead of all the old ones.
    #[serde(default)]
    pub triggers: Option<Vec<Trigger>>,
    /// Whether it takes deliveries.
    #[serde(default)]
    pub enabled: Option<bool>,
}

/// An endpoint that was made, or whose secret was changed. The secret is shown this once.
#[derive(Clone, Debug)]
pub struct MadeEndpoint {
    /// The endpoint.
    pub endpoint: WebhookEndpoint,
    /// The last part of its URL.
    pub address: EndpointAddress,
    /// The secret, to be entered at the vendor.
    pub secret: SecretString,
}

/// The last part of an endpoint's URL: `hok_<tenant>_<endpoint>`. It carries the tenant, and says nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointAddress {
    /// The tenant.
    pub tenant: TenantId,
    /// The endpoint.
    pub endpoint: EndpointId,
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hok_{}_{}", self.tenant.uuid().as_simple(), self.endpoint.uuid().as_simple())
    }
}

impl FromStr for EndpointAddress {
    type Err = Error;

    /// # Errors
    /// `not_found` for anything else.
    fn from_str(text: &str) -> Result<Self> {
        let parts = text.strip_prefix("hok_").and_then(|rest| rest.split_once('_'));
        let simple = |part: &str| part.len() == 32;
        parts
            .filter(|(tenant, endpoint)| simple(tenant) && simple(endpoint))
            .and_then(|(tenant, endpoint)| {
                Some(Self { tenant: tenant.parse().ok()?, endpoint: endpoint.parse().ok()? })
            })
            .ok_or_else(no_endpoint)
    }
}

pub(super) fn no_endpoint() -> Error {
    Error::not_found("no such endpoint")
}

/// What the service is put together of.
#[derive(Debug)]
pub struct WebhooksParts {
    /// Keeps endpoints.
    pub store: Arc<dyn EndpointStore>,
    /// Keeps deliveries.
    pub inbox: Arc<dyn Inbox>,
    /// Keeps their secrets.
    pub secrets: Arc<dyn SecretStore>,
    /// The check at the door.
    pub access: Access,
    /// Makes contexts of the owners of endpoints.
    pub principals: Arc<dyn Principals>,
    /// Starts runs.
    pub runs: Runs,
}

/// Makes, changes and finds endpoints, and shows what came in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Webhooks(pub(super) Arc<WebhooksParts>);

/// The usual way in which a vendor's deliveries prove whose they are.
fn usual(vendor: Vendor) -> Result<Scheme> {
    Ok(match vendor {
        Vendor::Github => Scheme::Github,
        Vendor::Slack => Scheme::Slack,
        Vendor::Gitlab => Scheme::GitlabToken,
        Vendor::Jira => Scheme::Jira,
        Vendor::Pagerduty => Scheme::Pagerduty,
        Vendor::Stripe => Scheme::Stripe,
        Vendor::Standard => Scheme::StandardWebhooks,
        Vendor::Alertmanager => Scheme::Bearer,
        Vendor::AzureDevops => Scheme::Basic { user: String::new() },
        Vendor::Generic => return Err(Error::invalid("`scheme` says how a generic sender signs")),
    })
}

/// Where the secret of an endpoint is.
pub(super) fn secret_of(id: EndpointId) -> Result<SecretPath> {
    SecretPath::new(format!("webhooks/{id}"))
}

/// What the secret keeps: the current one, and the one before it with its end.
pub(super) fn secrets(kept: &SecretString) -> Result<Secrets> {
    let bad = || Error::corrupt("the secret of an endpoint cannot be read");
    let kept: Value = serde_json::from_str(kept.expose_secret()).map_err(|_| bad())?;
    let text = |name: &str| kept.get(name).and_then(Value::as_str).map(SecretString::from);
    let secrets = Secrets::new(text("current").ok_or_else(bad)?);
    let until =
        kept.get("previous_until").and_then(Value::as_str).and_then(|end| end.parse::<Timestamp>().ok());
    Ok(match (text("previous"), until) {
        (Some(previous), Some(until)) => secrets.with_previous(previous, until),
        _ => secrets,
    })
}

/// How an endpoint's deliveries are read, beside the scheme.
#[derive(Serialize, Deserialize)]
struct Kept {
    scheme: Scheme,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<GenericSource>,
}

/// What the record of an endpoint says, read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) vendor: Vendor,
    pub(super) scheme: Scheme,
    pub(super) source: GenericSource,
    pub(super) triggers: Vec<Trigger>,
}

impl Read {
    pub(super) fn of(endpoint: &WebhookEndpoint) -> Result<Self> {
        let bad = |error: serde_json::Error| Error::corrupt("an endpoint cannot be read").with_source(error);
        let kept: Kept = serde_json::from_value(endpoint.scheme.clone()).map_err(bad)?;
        let triggers = serde_json::from_value(endpoint.triggers.clone()).map_err(bad)?;
        let source = kept.source.unwrap_or_default();
        Ok(Self { vendor: endpoint.vendor.parse()?, scheme: kept.scheme, source, triggers })
    }
}

impl Webhooks {
    /// The service.
    pub fn new(parts: WebhooksParts) -> Self {
        Self(Arc::new(parts))
    }

    pub(super) fn env(&self) -> &Env {
        self.0.access.env()
    }

    fn effects(&self, ctx: &Context, endpoint: &WebhookEndpoint, action: &str, event: &str) -> Effects {
        let record = AuditRecord::of(ctx, self.env(), action, "webhooks", endpoint.id)
            .with("vendor", endpoint.vendor.as_str())
            .with("state", endpoint.state.name());
        let data = json!({ "name": endpoint.name, "vendor": endpoint.vendor, "state": endpoint.state });
        Effects::audited(record).event(PlatformEvent::of(ctx, self.env(), event, endpoint.id, data))
    }

    fn check_triggers(triggers: &[Trigger]) -> Result<Value> {
        if triggers.len() > TRIGGERS {
            return Err(Error::too_large(format!("an endpoint has at most {TRIGGERS} triggers")));
        }
        for trigger in triggers {
            trigger.filter.check()?;
            Template::new(trigger.input.clone())?;
        }
        serde_json::to_value(triggers)
            .map_err(|error| Error::internal("triggers have no JSON form").with_source(error))
    }

    /// Makes an endpoint, which acts on behalf of whoever makes it.
    ///
    /// # Errors
    /// `permission_denied` without `integrations:create`; `invalid_input` for a bad name, scheme, secret, filter or template;
    /// `already_exists` for a taken name; `unsupported` where there is nothing to seal its secret with; `tenant_suspended`.
    pub async fn create(&self, ctx: &Context, new: NewEndpoint) -> Result<MadeEndpoint> {
        let parts = &*self.0;
        parts.access.check(ctx, Permission::INTEGRATIONS_CREATE, Resource::all("webhooks")).await?;
        let scheme = new.scheme.map_or_else(|| usual(new.vendor), Ok)?;
        let secret = match new.secret {
            Some(secret) => SecretString::from(secret),
            None => self.fresh(&scheme),
        };
        // Whether it holds together, before anything is kept.
        Verifier::new(scheme.clone(), Secrets::new(secret.clone()))?;
        let kept = Kept { scheme, source: new.source };
        let now = self.env().now();
        let endpoint = WebhookEndpoint {
            id: self.env().id(),
            name: text::name("name", &new.name)?,
            vendor: new.vendor.to_string(),
            scheme: serde_json::to_value(kept)
                .map_err(|error| Error::internal("a scheme has no JSON form").with_source(error))?,
            integration: new.integration,
            triggers: Self::check_triggers(&new.triggers)?,
            state: EndpointState::Active,
            owner: ctx.principal().user(),
            created_at: now,
            updated_at: now,
            revision: 1,
        };
        let effects = self.effects(ctx, &endpoint, "webhooks.create", "webhook.created");
        parts.store.insert(ctx, endpoint.clone(), effects).await?;
        // After the record: what is left when this ends in between takes no deliveries, can be seen, and deleted.
        let value = SecretString::from(json!({ "current": secret.expose_secret() }).to_string());
        if let Err(error) = parts.secrets.put(ctx, &secret_of(endpoint.id)?, value, 0, None).await {
            let effects = self.effects(ctx, &endpoint, "webhooks.delete", "webhook.deleted");
            if let Err(left) = parts.store.delete(ctx, endpoint.id, 1, effects).await {
                tracing::warn!(endpoint = %endpoint.id, error = ?left, "an endpoint without a secret is left");
            }
            return Err(error);
        }
        let address = EndpointAddress { tenant: ctx.tenant(), endpoint: endpoint.id };
        Ok(MadeEndpoint { endpoint, address, secret })
    }

    /// A secret of 256 bits, in the form of the scheme.
    fn fresh(&self, scheme: &Scheme) -> SecretString {
        let bytes: [u8; 32] = self.env().random();
        SecretString::from(match scheme {
            Scheme::StandardWebhooks | Scheme::GitlabSigned => format!("whsec_{}", STANDARD.encode(bytes)),
            Scheme::Hmac(scheme) if scheme.key != super::KeyForm::Text => STANDARD.encode(bytes),
            _ => URL_SAFE_NO_PAD.encode(bytes),
        })
    }

    /// An endpoint.
    ///
    /// # Errors
    /// `not_found`, also without `integrations:read`.
    pub async fn get(&self, ctx: &Context, id: EndpointId) -> Result<WebhookEndpoint> {
        self.0.access.read(ctx, Permission::INTEGRATIONS_READ, Resource::one("webhooks", id)).await?;
        self.0.store.get(ctx, id).await
    }

    /// All endpoints, oldest first.
    ///
    /// # Errors
    /// `permission_denied` without `integrations:read`; `invalid_input` for a bad page.
    pub async fn list(&self, ctx: &Context, page: PageRequest) -> Result<Page<WebhookEndpoint>> {
        self.0.access.list(ctx, Permission::INTEGRATIONS_READ, "webhooks").await?;
        self.0.store.list(ctx, page).await
    }

    async fn for_change(
        &self,
        ctx: &Context,
        permission: Permission,
        id: EndpointId,
    ) -> Result<WebhookEndpoint> {
        let resource = Resource::one("webhooks", id);
        self.0.access.change(ctx, permission, Permission::INTEGRATIONS_READ, resource).await?;
        self.0.store.get(ctx, id).await
    }

    async fn replace(
        &self,
        ctx: &Context,
        mut endpoint: WebhookEndpoint,
        action: &str,
        event: &str,
    ) -> Result<WebhookEndpoint> {
        let expected = endpoint.revision;
        endpoint.revision = expected + 1;
        endpoint.updated_at = self.env().now();
        let effects = self.effects(ctx, &endpoint, action, event);
        self.0.store.replace(ctx, endpoint.clone(), expected, effects).await?;
        Ok(endpoint)
    }

    /// Changes an endpoint.
    ///
    /// # Errors
    /// `permission_denied` without `integrations:update`, `not_found` without `integrations:read` too; those of
    /// [`Webhooks::create`]; `conflict` when it changes at the same time.
    pub async fn update(
        &self,
        ctx: &Context,
        id: EndpointId,
        update: EndpointUpdate,
    ) -> Result<WebhookEndpoint> {
        let mut endpoint = self.for_change(ctx, Permission::INTEGRATIONS_UPDATE, id).await?;
        if let Some(name) = update.name {
            endpoint.name = text::name("name", &name)?;
        }
        if let Some(triggers) = update.triggers {
            endpoint.triggers = Self::check_triggers(&triggers)?;
        }
        if let Some(enabled) = update.enabled {
            endpoint.state = if enabled { EndpointState::Active } else { EndpointState::Disabled };
        }
        self.replace(ctx, endpoint, "webhooks.update", "webhook.updated").await
    }

    /// Gives an endpoint another secret. The one before it counts for a while, a day where nothing is said, so that no delivery is
    /// lost while it is entered at the vendor.
    ///
    /// # Errors
    /// `permission_denied` without `integrations:update`, `not_found` without `integrations:read` too; `invalid_input` for a
    /// secret that is not in the scheme's form; `conflict` when it changes at the same time.
    pub async fn rotate(
        &self,
        ctx: &Context,
        id: EndpointId,
        secret: Option<SecretString>,
        overlap: Option<Duration>,
    ) -> Result<MadeEndpoint> {
        let endpoint = self.for_change(ctx, Permission::INTEGRATIONS_UPDATE, id).await?;
        let scheme = Read::of(&endpoint)?.scheme;
        let secret = secret.unwrap_or_else(|| self.fresh(&scheme));
        Verifier::new(scheme, Secrets::new(secret.clone()))?;
        let path = secret_of(id)?;
        let (before, version) = match self.0.secrets.get(ctx, &path).await {
            Ok(kept) => {
                let value: Value = serde_json::from_str(kept.value.expose_secret()).unwrap_or_default();
                (value.get("current").and_then(Value::as_str).map(str::to_owned), kept.version)
            }
            Err(error) if error.is(ErrorKind::NotFound) => (None, 0),
            Err(error) => return Err(error),
        };
        let until = self.env().now().after(overlap.unwrap_or(OVERLAP));
        let value = json!({
            "current": secret.expose_secret(),
            "previous": before,
            "previous_until": until,
        });
        self.0.secrets.put(ctx, &path, SecretString::from(value.to_string()), version, None).await?;
        let endpoint = self.replace(ctx, endpoint, "webhooks.rotate", "webhook.rotated").await?;
        let address = EndpointAddress { tenant: ctx.tenant(), endpoint: id };
        Ok(MadeEndpoint { endpoint, address, secret })
    }

    /// Removes an endpoint, its secret and its deliveries.
    ///
    /// # Errors
    /// `permission_denied` without `integrations:delete`, `not_found` without `integrations:read` too; `conflict` when it
    /// changes at the same time.
    pub async fn delete(&self, ctx: &Context, id: EndpointId) -> Result<()> {
        let endpoint = self.for_change(ctx, Permission::INTEGRATIONS_DELETE, id).await?;
        // Before the record: what is left when this ends in between can be seen, and deleted again.
        self.0.secrets.delete(ctx, &secret_of(id)?).await?;
        let effects = self.effects(ctx, &endpoint, "webhooks.delete", "webhook.deleted");
        self.0.store.delete(ctx, id, endpoint.revision, effects).await
    }

    /// The deliveries of an endpoint, oldest first, without their bodies.
    ///
    /// # Errors
    /// `not_found`, also without `integrations:read`; `invalid_input` for a bad page.
    pub async fn deliveries(
        &self,
        ctx: &Context,
        id: EndpointId,
        page: PageRequest,
    ) -> Result<Page<Delivery>> {
        self.get(ctx, id).await?;
        self.0.inbox.list(ctx, id, page).await
    }

    /// A delivery as it came.
    ///
    /// # Errors
    /// `not_found`, also without `integrations:read`.
    pub async fn delivery(&self, ctx: &Context, id: DeliveryId) -> Result<Delivery> {
        self.0.access.read(ctx, Permission::INTEGRATIONS_READ, Resource::one("webhooks", id)).await?;
        self.0.inbox.get(ctx, id).await
    }

    /// Works on a delivery that is over once more. What it started then is not started again.
    ///
    /// # Errors
    /// `permission_denied` without `integrations:update`, `not_found` without `integrations:read` too; `conflict` for one that is
    /// pending.
    pub async fn replay(&self, ctx: &Context, id: DeliveryId) -> Result<()> {
        let resource = Resource::one("webhooks", id);
        let (change, seen) = (Permission::INTEGRATIONS_UPDATE, Permission::INTEGRATIONS_READ);
        self.0.access.change(ctx, change, seen, resource).await?;
        let record = AuditRecord::of(ctx, self.env(), "webhooks.replay", "webhooks", id);
        self.0.inbox.replay(ctx, id, Effects::audited(record)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_carry_their_tenant_and_nothing_else_is_one() {
        let env = Env::default();
        let address = EndpointAddress { tenant: env.id(), endpoint: env.id() };
        assert_eq!(address.to_string().parse::<EndpointAddress>().unwrap(), address);
        let text = address.to_string();
        for bad in [
            "",
            "hok_",
            "hok_x_y",
            &text[..text.len() - 1],
            &format!("{text}0"),
            &text.replace("hok_", "key_"),
        ] {
            assert_eq!(bad.parse::<EndpointAddress>().unwrap_err().kind(), ErrorKind::NotFound, "{bad}");
        }
    }
}
