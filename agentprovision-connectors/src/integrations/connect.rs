//! How somebody grants an integration access at the vendor: out to the vendor, and back with a code.

use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::authz::{Permission, Resource};
use agentprovision_core::context::Context;
use agentprovision_core::id::IntegrationId;
use agentprovision_core::integration::{Health, Integration, IntegrationState};
use agentprovision_core::secret::SecretPath;
use agentprovision_core::{Error, ErrorKind, Result, Timestamp};
use bytes::Bytes;
use http::Request;
use http::header::ACCEPT;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{CallOptions, Integrations, same_account};
use crate::answer::failure;
use crate::auth::{Credentials, Grant, OAuth2, random_text};
use crate::connector::Connector;

/// How long somebody has to grant access.
const OPEN: Duration = Duration::from_secs(600);

/// Where somebody is sent to grant an integration access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Authorization {
    /// The URL at the vendor.
    pub url: String,
    /// What the vendor gives back with the code: `<integration>.<random>`, for this one time.
    pub state: String,
    /// Until when it can be used.
    pub expires_at: Timestamp,
}

impl Authorization {
    /// The integration that a state is about. It is a claim until [`Integrations::connect`] has checked it.
    ///
    /// # Errors
    /// `invalid_input` for a text that is no state.
    pub fn integration(state: &str) -> Result<IntegrationId> {
        let id = state.split_once('.').and_then(|(id, _)| id.parse().ok());
        id.ok_or_else(|| Error::invalid("this is no state of an authorization"))
    }
}

/// Where the authorization that is under way is kept.
pub(super) fn pending(id: IntegrationId) -> Result<SecretPath> {
    SecretPath::new(format!("integrations/{id}/authorization"))
}

fn code_grant<'a>(connector: &'a Connector, integration: &Integration) -> Result<&'a OAuth2> {
    match connector.auth(Some(&integration.auth))?.grant() {
        Some(Grant::Code(oauth)) => Ok(oauth),
        _ => Err(Error::invalid(format!(
            "`{}` of `{}` is not granted in a browser",
            integration.auth, connector.name
        ))),
    }
}

impl Integrations {
    /// Begins to connect an integration: where to send whoever grants access. The vendor sends them back to `redirect_uri`, which is
    /// registered there, with a code and the state. An authorization that was begun before can no longer be used.
    ///
    /// # Errors
    /// `permission_denied` without `integrations:update`, `not_found` without `integrations:read` too; `invalid_input` for an
    /// integration whose access is not granted in a browser, or without an application that is registered at the vendor.
    pub async fn authorize(
        &self,
        ctx: &Context,
        id: IntegrationId,
        redirect_uri: &str,
        scopes: Option<Vec<String>>,
    ) -> Result<Authorization> {
        let (connector, integration) = self.for_update(ctx, id).await?;
        let oauth = code_grant(&connector, &integration)?;
        let call = self.look_up(ctx, &connector, &integration)?;
        let held = self.0.exchange.look(&call).await?;
        let client = self.0.exchange.client(&call, &held.credentials).ok_or_else(|| {
            Error::invalid(format!("no application is registered for `{}`", connector.name))
        })?;
        let scopes = scopes.unwrap_or_else(|| oauth.scopes.iter().map(ToString::to_string).collect());
        let scopes = scopes.join(&*oauth.scope_separator);
        let env = self.env();
        let state = format!("{id}.{}", random_text(env.random()));
        let verifier = SecretString::from(random_text(env.random()));
        let url = connector.fill(&oauth.authorize_url, &integration.settings)?;
        let url = oauth.authorization(&url, &client, &scopes, redirect_uri, &state, &verifier)?;
        let expires_at = env.now().after(OPEN);
        let kept = json!({
            "state": state,
            "verifier": verifier.expose_secret(),
            "redirect_uri": redirect_uri,
            "expires_at": expires_at,
        });
        let path = pending(id)?;
        let version = match self.0.secrets.get(ctx, &path).await {
            Ok(secret) => secret.version,
            Err(error) if error.is(ErrorKind::NotFound) => 0,
            Err(error) => return Err(error),
        };
        self.0.secrets.put(ctx, &path, SecretString::from(kept.to_string()), version, None).await?;
        Ok(Authorization { url, state, expires_at })
    }

    /// Ends connecting an integration: exchanges the code that the vendor has given. It can be done once, within ten minutes. The
    /// account is asked for, and held to: another one than before is refused.
    ///
    /// # Errors
    /// `permission_denied` without `integrations:update`, `not_found` without `integrations:read` too; `invalid_input` for a
    /// state that is not the one that was given out, or no longer, and where access was granted to several places of which the
    /// settings name none; `conflict` for another account; `provider_error` when the vendor refuses the code.
    pub async fn connect(
        &self,
        ctx: &Context,
        id: IntegrationId,
        state: &str,
        code: &str,
    ) -> Result<Integration> {
        let (connector, integration) = self.for_update(ctx, id).await?;
        let oauth = code_grant(&connector, &integration)?;
        let begun = self.take_pending(ctx, id, state).await?;
        let text = |name: &str| begun.get(name).and_then(Value::as_str).unwrap_or_default();
        let call = self.look_up(ctx, &connector, &integration)?;
        let held = self.0.exchange.look(&call).await?;
        let client = self.0.exchange.client(&call, &held.credentials).ok_or_else(|| {
            Error::invalid(format!("no application is registered for `{}`", connector.name))
        })?;
        let mut grant = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", text("redirect_uri")),
        ];
        if oauth.pkce {
            grant.push(("code_verifier", text("verifier")));
        }
        let url = connector.fill(&oauth.token_url, &integration.settings)?;
        let request = oauth.token_request(&url, &client, &grant, &oauth.token_params)?;
        let now = self.env().now();
        let response = self.0.exchange.exchange(request).await?;
        let tokens = oauth.tokens(&response, now, None)?;
        let credentials = Credentials { tokens: Some(tokens), ..Credentials::clone(&held.credentials) };
        let learned = self.learn(&connector, integration.clone(), &credentials).await?;
        self.adopt(ctx, &connector, integration, learned, credentials).await
    }

    /// Asks the vendor for the setting that it tells now that access has been granted.
    async fn learn(
        &self,
        connector: &Connector,
        mut integration: Integration,
        credentials: &Credentials,
    ) -> Result<Integration> {
        let auth = connector.auth(Some(&integration.auth))?;
        let Some(learned) = auth.learns.as_ref().filter(|_| auth.awaits(&integration.settings)) else {
            return Ok(integration);
        };
        let (settings, now) = (&integration.settings, self.env().now());
        let request =
            Request::get(connector.fill(&learned.url, settings)?).header(ACCEPT, "application/json");
        let mut request = request
            .body(Bytes::new())
            .map_err(|error| Error::invalid("the URL of what is learned is none").with_source(error))?;
        auth.apply(credentials, settings, now, &mut request)?;
        let response = self.0.exchange.exchange(request).await?;
        if let Some(failure) = failure(connector, &response, now) {
            return Err(failure.into_error(response.status, &credentials.secrets().collect::<Vec<_>>()));
        }
        let value = learned
            .of(&response.json().unwrap_or_default(), connector.fill(&learned.meant, settings).ok())?;
        integration.settings.insert(learned.setting.to_string(), Value::from(value));
        self.settings(connector, auth, &integration.settings)?;
        Ok(integration)
    }

    /// Keeps credentials that were just got, once it is clear whose they are.
    async fn adopt(
        &self,
        ctx: &Context,
        connector: &Arc<Connector>,
        before: Integration,
        mut integration: Integration,
        credentials: Credentials,
    ) -> Result<Integration> {
        let account = match &connector.whoami {
            Some(whoami) => {
                let candidate = Some(Arc::new(credentials.clone()));
                Some(self.whoami(ctx, connector, &integration, whoami, candidate).await?)
            }
            None => None,
        };
        same_account(&integration, account.as_ref())?;
        integration.account = account.or(integration.account);
        if integration.state == IntegrationState::NeedsReconnect {
            integration.state = IntegrationState::Active;
        }
        let checked_at = self.env().now();
        integration.health = Some(Health { healthy: true, error: None, message: None, checked_at });
        let told = ("integrations.connect", "integration.connected");
        self.replace_with(ctx, before, integration, &credentials, told).await
    }

    async fn for_update(&self, ctx: &Context, id: IntegrationId) -> Result<(Arc<Connector>, Integration)> {
        let (change, seen) = (Permission::INTEGRATIONS_UPDATE, Permission::INTEGRATIONS_READ);
        self.0.access.change(ctx, change, seen, Resource::one("integrations", id)).await?;
        let integration = self.0.store.get(ctx, id).await?;
        Ok((self.0.catalog.get(&integration.connector)?.clone(), integration))
    }

    /// A call of any operation: what finding credentials needs.
    fn look_up(
        &self,
        ctx: &Context,
        connector: &Arc<Connector>,
        integration: &Integration,
    ) -> Result<crate::call::Call> {
        let name = connector.operations().next().map(|spec| spec.name.clone());
        let name = name.ok_or_else(|| Error::invalid(format!("`{}` has no operations", connector.name)))?;
        let operation = connector.operation(&name)?;
        self.unchecked(
            ctx,
            connector,
            operation,
            Arc::new(integration.clone()),
            Map::new(),
            CallOptions::default(),
        )
    }

    /// What was kept when it was begun. Whoever takes it, takes it from everybody else.
    async fn take_pending(&self, ctx: &Context, id: IntegrationId, state: &str) -> Result<Value> {
        let unknown = || Error::invalid("the state is not the one that was given out last, or no longer");
        let path = pending(id)?;
        let kept = match self.0.secrets.get(ctx, &path).await {
            Ok(kept) => kept,
            Err(error) if error.is(ErrorKind::NotFound) => return Err(unknown()),
            Err(error) => return Err(error),
        };
        let begun: Value = serde_json::from_str(kept.value.expose_secret()).unwrap_or_default();
        let digest = |text: &str| agentprovision_core::canonical::sha256(&[text.as_bytes()]);
        let expected = begun.get("state").and_then(Value::as_str).unwrap_or_default();
        // By digests, so that how long it takes says nothing.
        if expected.is_empty() || digest(expected) != digest(state) {
            return Err(unknown());
        }
        let end: Option<Timestamp> =
            begun.get("expires_at").and_then(Value::as_str).and_then(|end| end.parse().ok());
        // Two who come with it at the same time: one of them finds another version.
        self.0.secrets.put(ctx, &path, SecretString::from("{}"), kept.version, None).await.map_err(
            |error| {
                if error.is(ErrorKind::Conflict) { unknown() } else { error }
            },
        )?;
        if end.is_none_or(|end| end <= self.env().now()) {
            return Err(unknown());
        }
        Ok(begun)
    }
}
