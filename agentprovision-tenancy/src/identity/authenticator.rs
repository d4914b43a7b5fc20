//! Checks API keys: [`ApiKeyAuthenticator`].

use std::sync::Arc;

use agentprovision_core::authz::PermissionSet;
use agentprovision_core::backend::Stores;
use agentprovision_core::context::{Authenticator, Credentials, Identity, Principal};
use agentprovision_core::identity::ApiKey;
use agentprovision_core::tenant::TenantState;
use agentprovision_core::{Env, Error, ErrorKind, Result};
use async_trait::async_trait;
use secrecy::ExposeSecret;
use subtle::{Choice, ConstantTimeEq};

use super::secret::{KeyText, Pepper};
use crate::rbac::{Roles, suspended};

/// Tells whose an API key is.
///
/// The key names its tenant, and is looked up in that tenant only. A key that is malformed, unknown, of another
/// platform, wrong, revoked or expired (from `expires_at` on), and one of an inactive user or a deleted tenant, all give
/// the same `unauthenticated` error; up to the comparison of the digests, which takes constant time, they cost the same
/// work. Only who has the right secret learns that the tenant is suspended (`tenant_suspended`).
#[derive(Clone, Debug)]
pub struct ApiKeyAuthenticator {
    pub(crate) env: Env,
    pub(crate) stores: Stores,
    pub(crate) roles: Arc<Roles>,
    pub(crate) pepper: Pepper,
}

impl ApiKeyAuthenticator {
    /// The stored key of this text, when the secret is the right one.
    async fn verified(&self, text: &str) -> Result<(Identity, ApiKey)> {
        let given = KeyText::parse(text).unwrap_or_default();
        // Without a pepper no key holds.
        let digest = self.pepper.digest(&given).map_err(|_| refused())?;
        let stored = match given.ids() {
            Some((tenant, id)) => {
                missing_is_none(self.stores.keys.lookup(tenant, id).await)?.map(|key| (tenant, key))
            }
            None => None,
        };
        let expected = stored.as_ref().map_or([0; 32], |(_, key)| key.digest);
        let right = digest.ct_eq(&expected) & Choice::from(u8::from(stored.is_some()));
        match stored {
            Some((tenant, key)) if bool::from(right) => {
                let identity = Identity {
                    tenant,
                    principal: Principal::User(key.user),
                    scopes: self.scopes(&key),
                    expires: key.expires_at,
                    key: Some(key.id),
                };
                Ok((identity, key))
            }
            _ => Err(refused()),
        }
    }

    /// A scope that is no longer registered grants nothing.
    fn scopes(&self, key: &ApiKey) -> PermissionSet {
        match &key.scopes {
            None => PermissionSet::ALL,
            Some(names) => names.iter().filter_map(|name| self.roles.permissions().get(name).ok()).collect(),
        }
    }
}

#[async_trait]
impl Authenticator for ApiKeyAuthenticator {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Identity> {
        let Credentials::ApiKey(text) = credentials else {
            return Err(refused());
        };
        let (identity, key) = self.verified(text.expose_secret()).await?;
        if key.revoked_at.is_some() || key.expires_at.is_some_and(|at| at <= self.env.now()) {
            return Err(refused());
        }
        let user = missing_is_none(self.stores.users.member(identity.tenant, key.user).await)?;
        if !user.is_some_and(|user| user.active) {
            return Err(refused());
        }
        match missing_is_none(self.stores.tenants.state(identity.tenant).await)? {
            Some(TenantState::Active) => Ok(identity),
            Some(TenantState::Suspended) => Err(suspended()),
            Some(TenantState::Deleted) | None => Err(refused()),
        }
    }
}

/// The one error of every credential that does not hold.
pub(super) fn refused() -> Error {
    Error::new(ErrorKind::Unauthenticated, "the credential is not valid")
}

fn missing_is_none<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is(ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
