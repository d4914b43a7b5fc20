//! Where contexts come from: [`Contexts`].

use std::sync::Arc;

use agentprovision_core::access::Principals;
use agentprovision_core::authz::PermissionSet;
use agentprovision_core::backend::Stores;
use agentprovision_core::context::{
    Authenticator, ContextIssuer, Credentials, Identity, Principal, RequestInfo,
};
use agentprovision_core::id::{TenantId, UserId};
use agentprovision_core::tenant::TenantState;
use agentprovision_core::{Context, Error, ErrorKind, Result};
use async_trait::async_trait;

use super::authenticator::refused;
use super::users::current_grants;
use crate::rbac::{RbacAuthorizer, Roles, no_tenant, suspended};

/// Makes contexts: from a checked credential, or for a user the host has authenticated itself. Cheap to clone.
///
/// Each one reads the tenant's state and the user's roles from the store, and tells the authorizer what it read.
#[derive(Clone, Debug)]
pub struct Contexts {
    pub(crate) issuer: ContextIssuer,
    pub(crate) stores: Stores,
    pub(crate) roles: Arc<Roles>,
    pub(crate) authorizer: Arc<RbacAuthorizer>,
    pub(crate) authenticator: Arc<dyn Authenticator>,
}

impl Contexts {
    /// A context for a user of a tenant whom the host knows to be the caller.
    ///
    /// # Errors
    /// `not_found` when there is no such tenant, no such user in it, or the user is not active; `tenant_suspended`.
    pub async fn context(&self, tenant: TenantId, user: UserId) -> Result<Context> {
        let identity = Identity {
            tenant,
            principal: Principal::User(user),
            scopes: PermissionSet::ALL,
            expires: None,
            key: None,
        };
        self.issue(&identity).await
    }

    /// A context for whoever a credential belongs to, with what the credential is limited to.
    ///
    /// # Errors
    /// `unauthenticated`, with the same message, for every credential that does not hold; `tenant_suspended`.
    pub async fn authenticate(&self, credentials: &Credentials) -> Result<Context> {
        let identity = self.authenticator.authenticate(credentials).await?;
        // What was there a moment ago and is gone now is no different from what never was.
        self.issue(&identity).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => refused(),
            _ => error,
        })
    }

    async fn issue(&self, identity: &Identity) -> Result<Context> {
        let tenant = identity.tenant;
        let Principal::User(user) = identity.principal else {
            return Err(Error::unsupported("only users can act"));
        };
        let closed = self.authorizer.closed_at(tenant);
        match self.stores.tenants.state(tenant).await? {
            TenantState::Active => {}
            TenantState::Suspended => return Err(suspended()),
            TenantState::Deleted => return Err(no_tenant()),
        }
        if let Some(revision) = closed {
            // Another process has resumed the tenant since.
            self.authorizer.set_tenant(tenant, TenantState::Active, revision);
        }
        let user = self.stores.users.member(tenant, user).await?;
        let grants = current_grants(&self.roles, &user);
        self.authorizer.set_grants(tenant, user.id, grants, user.revision);
        if !user.active {
            return Err(Error::not_found("no such user"));
        }
        Ok(self.issuer.context(identity, &grants, RequestInfo::default()))
    }
}

#[async_trait]
impl Principals for Contexts {
    async fn context(&self, tenant: TenantId, user: UserId) -> Result<Context> {
        Contexts::context(self, tenant, user).await
    }
}
