//! The service of endpoints, and of what came in.

use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::access::{Access, Principals};
use agentprovision_core::audit::AuditRecord;
use agentprovision_core::authz::{Permission, Resource};
use agentprovision_core::context::Context;
use agentprovision_core::effect::Effects;
use agentprovision_core::event::PlatformEvent;
use agentprovision_core::id::{DeliveryId, EndpointId};
use agentprovision_core::page::{Page, PageRequest};
use agentprovision_core::run::Runs;
use agentprovision_core::secret::{SecretPath, SecretStore};
use agentprovision_core::webhook::{Delivery, DeliveryState, EndpointState, EndpointStore, Inbox};
use agentprovision_core::{Env, Error, ErrorKind, Result, Timestamp, text};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::endpoint::{Endpoint, EndpointAddress, EndpointUpdate, MadeEndpoint, NewEndpoint, Trigger};
use super::receive::KnownEndpoints;
use super::{Scheme, Secrets, Template, Vendor, Verifier};

/// The most triggers of an endpoint.
const TRIGGERS: usize = 50;
/// For how long the secret before counts, where nobody says.
const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);

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
pub struct Webhooks(pub(super) Arc<WebhooksParts>, pub(super) KnownEndpoints);

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

/// The mark that says how many attempts a delivery had had when it was replayed. A store counts over all replays.
pub(super) fn replayed(id: DeliveryId) -> String {
    format!("replayed/{id}")
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

impl Webhooks {
    /// The service.
    pub fn new(parts: WebhooksParts) -> Self {
        Self(Arc::new(parts), KnownEndpoints::default())
    }

    pub(super) fn env(&self) -> &Env {
        self.0.access.env()
    }

    fn effects(&self, ctx: &Context, endpoint: &Endpoint, action: &str, event: &str) -> Effects {
        let record = AuditRecord::of(ctx, self.env(), action, "webhooks", endpoint.id)
            .with("vendor", endpoint.vendor.as_str())
            .with("state", endpoint.state.name());
        let data = json!({ "name": endpoint.name, "vendor": endpoint.vendor, "state": endpoint.state });
        Effects::audited(record).event(PlatformEvent::of(ctx, self.env(), event, endpoint.id, data))
    }

    fn check_triggers(triggers: &[Trigger]) -> Result<()> {
        if triggers.len() > TRIGGERS {
            return Err(Error::too_large(format!("an endpoint has at most {TRIGGERS} triggers")));
        }
        for trigger in triggers {
            trigger.filter.check()?;
            Template::new(trigger.input.clone())?;
        }
        Ok(())
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
        Self::check_triggers(&new.triggers)?;
        let (id, now) = (self.env().id(), self.env().now());
        let endpoint = Endpoint {
            id,
            address: EndpointAddress { tenant: ctx.tenant(), endpoint: id },
            name: text::name("name", &new.name)?,
            vendor: new.vendor,
            scheme,
            source: new.source,
            integration: new.integration,
            triggers: new.triggers,
            state: EndpointState::Active,
            owner: ctx.principal().user(),
            created_at: now,
            updated_at: now,
            revision: 1,
        };
        let effects = self.effects(ctx, &endpoint, "webhooks.create", "webhook.created");
        parts.store.insert(ctx, endpoint.record()?, effects).await?;
        // After the record: what is left when this ends in between takes no deliveries, can be seen, and deleted.
        let value = SecretString::from(json!({ "current": secret.expose_secret() }).to_string());
        if let Err(error) = parts.secrets.put(ctx, &secret_of(endpoint.id)?, value, 0, None).await {
            let effects = self.effects(ctx, &endpoint, "webhooks.delete", "webhook.deleted");
            if let Err(left) = parts.store.delete(ctx, endpoint.id, 1, effects).await {
                tracing::warn!(endpoint = %endpoint.id, error = ?left, "an endpoint without a secret is left");
            }
            return Err(error);
        }
        Ok(MadeEndpoint { endpoint, secret })
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
    pub async fn get(&self, ctx: &Context, id: EndpointId) -> Result<Endpoint> {
        self.0.access.read(ctx, Permission::INTEGRATIONS_READ, Resource::one("webhooks", id)).await?;
        self.find(ctx, id).await
    }

    async fn find(&self, ctx: &Context, id: EndpointId) -> Result<Endpoint> {
        Endpoint::read(ctx.tenant(), self.0.store.get(ctx, id).await?)
    }

    /// All endpoints, oldest first.
    ///
    /// # Errors
    /// `permission_denied` without `integrations:read`; `invalid_input` for a bad page.
    pub async fn list(&self, ctx: &Context, page: PageRequest) -> Result<Page<Endpoint>> {
        self.0.access.list(ctx, Permission::INTEGRATIONS_READ, "webhooks").await?;
        let page = self.0.store.list(ctx, page).await?;
        let items = page.items.into_iter().map(|record| Endpoint::read(ctx.tenant(), record));
        Ok(Page { items: items.collect::<Result<_>>()?, next: page.next })
    }

    async fn for_change(&self, ctx: &Context, permission: Permission, id: EndpointId) -> Result<Endpoint> {
        let resource = Resource::one("webhooks", id);
        self.0.access.change(ctx, permission, Permission::INTEGRATIONS_READ, resource).await?;
        self.find(ctx, id).await
    }

    async fn replace(
        &self,
        ctx: &Context,
        mut endpoint: Endpoint,
        action: &str,
        event: &str,
    ) -> Result<Endpoint> {
        let expected = endpoint.revision;
        endpoint.revision = expected + 1;
        endpoint.updated_at = self.env().now();
        let effects = self.effects(ctx, &endpoint, action, event);
        self.0.store.replace(ctx, endpoint.record()?, expected, effects).await?;
        Ok(endpoint)
    }

    /// Changes an endpoint.
    ///
    /// # Errors
    /// `permission_denied` without `integrations:update`, `not_found` without `integrations:read` too; those of
    /// [`Webhooks::create`]; `conflict` when it changes at the same time.
    pub async fn update(&self, ctx: &Context, id: EndpointId, update: EndpointUpdate) -> Result<Endpoint> {
        let mut endpoint = self.for_change(ctx, Permission::INTEGRATIONS_UPDATE, id).await?;
        if let Some(name) = update.name {
            endpoint.name = text::name("name", &name)?;
        }
        if let Some(triggers) = update.triggers {
            Self::check_triggers(&triggers)?;
            endpoint.triggers = triggers;
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
        let scheme = endpoint.scheme.clone();
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
        // Before the secret: of two who rotate it at the same time one is refused, and has changed nothing.
        let endpoint = self.replace(ctx, endpoint, "webhooks.rotate", "webhook.rotated").await?;
        self.0.secrets.put(ctx, &path, SecretString::from(value.to_string()), version, None).await?;
        Ok(MadeEndpoint { endpoint, secret })
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

    /// Works on a delivery that is over once more, with as many attempts as a new one has. What it started then is not started
    /// again.
    ///
    /// # Errors
    /// `permission_denied` without `integrations:update`, `not_found` without `integrations:read` too; `conflict` for one that is
    /// pending.
    pub async fn replay(&self, ctx: &Context, id: DeliveryId) -> Result<()> {
        let resource = Resource::one("webhooks", id);
        let (change, seen) = (Permission::INTEGRATIONS_UPDATE, Permission::INTEGRATIONS_READ);
        self.0.access.change(ctx, change, seen, resource).await?;
        let Delivery { new, state, attempts, .. } = self.0.inbox.get(ctx, id).await?;
        // Before it is pending: whoever takes it then finds the mark. One that is pending has got its attempts.
        if state != DeliveryState::Pending {
            let version = format!("{attempts:010}");
            self.0.inbox.advance(ctx.tenant(), new.endpoint, &replayed(id), &version).await?;
        }
        let record = AuditRecord::of(ctx, self.env(), "webhooks.replay", "webhooks", id);
        self.0.inbox.replay(ctx, id, Effects::audited(record)).await
    }
}
