//! The services of this crate over one bundle of stores: [`Tenancy`].

use std::sync::Arc;

use agentprovision_core::access::Access;
use agentprovision_core::authz::Authorizer;
use agentprovision_core::backend::Stores;
use agentprovision_core::context::{Authenticator, ContextIssuer};

use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::identity::{ApiKeyAuthenticator, ApiKeys, Contexts, Pepper, Users};
use crate::rbac::{RbacAuthorizer, Roles};
use crate::tenant::{Archives, BackupOptions, Backups, Tenants};

/// Tenants, users, keys and contexts that share one issuer, one registry of roles and one authorizer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tenancy {
    access: Access,
    cache: Cache,
    roles: Arc<Roles>,
    authorizer: Arc<RbacAuthorizer>,
    tenants: Tenants,
    archives: Archives,
    backups: Backups,
    users: Users,
    keys: ApiKeys,
    contexts: Contexts,
}

impl Tenancy {
    /// The services over `stores`, with decisions by role alone.
    pub fn new(issuer: ContextIssuer, stores: &Stores, roles: Roles, pepper: Pepper) -> Self {
        Self::with_authorizer(issuer, stores, roles, pepper, |rbac| rbac)
    }

    /// The services over `stores`, with decisions by what `authorizer` makes of those by role: an authorizer of the
    /// host's asks the given one first, so that a change of roles counts at once.
    pub fn with_authorizer(
        issuer: ContextIssuer,
        stores: &Stores,
        roles: Roles,
        pepper: Pepper,
        authorizer: impl FnOnce(Arc<RbacAuthorizer>) -> Arc<dyn Authorizer>,
    ) -> Self {
        let roles = Arc::new(roles);
        let cache = Cache::new(stores, issuer.env());
        let stores = &cache.stores;
        let rbac = Arc::new(RbacAuthorizer::following(roles.clone(), cache.clone()));
        let access = Access::new(issuer.clone(), authorizer(rbac.clone()));
        let authenticator = ApiKeyAuthenticator {
            env: issuer.env().clone(),
            stores: stores.clone(),
            roles: roles.clone(),
            pepper: pepper.clone(),
        };
        let tenants = Tenants {
            access: access.clone(),
            stores: stores.clone(),
            roles: roles.clone(),
            authorizer: rbac.clone(),
        };
        Self {
            archives: Archives::of(&tenants),
            backups: Backups::of(&tenants, None),
            tenants,
            users: Users {
                access: access.clone(),
                stores: stores.clone(),
                roles: roles.clone(),
                authorizer: rbac.clone(),
            },
            keys: ApiKeys {
                access: access.clone(),
                stores: stores.clone(),
                roles: roles.clone(),
                authorizer: rbac.clone(),
                pepper,
            },
            contexts: Contexts {
                issuer,
                stores: stores.clone(),
                roles: roles.clone(),
                authorizer: rbac.clone(),
                authenticator: Arc::new(authenticator),
            },
            access,
            cache,
            roles,
            authorizer: rbac,
        }
    }

    /// The same services on other stores, those of a transaction that is not committed yet. They let in whom these let in;
    /// what they change is known here, and to every other process, once it is committed.
    #[must_use]
    pub fn within(&self, stores: &Stores) -> Self {
        let Self { access, cache, roles, authorizer, contexts, .. } = self.clone();
        let cache = Cache { stores: stores.clone(), ..cache };
        let authorizer = Arc::new(authorizer.within());
        let tenants = Tenants {
            access: access.clone(),
            stores: stores.clone(),
            roles: roles.clone(),
            authorizer: authorizer.clone(),
        };
        Self {
            archives: Archives::of(&tenants),
            backups: Backups::of(&tenants, None),
            tenants,
            users: Users { stores: stores.clone(), authorizer: authorizer.clone(), ..self.users.clone() },
            keys: ApiKeys { stores: stores.clone(), authorizer: authorizer.clone(), ..self.keys.clone() },
            contexts,
            access,
            cache,
            roles,
            authorizer,
        }
    }

    /// The stores these services work on, for the other services of the platform: changes of metadata count at once where
    /// they go through these.
    pub fn stores(&self) -> &Stores {
        &self.cache.stores
    }

    /// Hears of changes made by other processes until `closing` fires, where the store is told of them. Without it they
    /// are seen a little later: what other services ask for is never older than 250 ms.
    pub async fn hear(&self, closing: CancellationToken) {
        self.cache.hear(closing).await;
    }

    /// The check at the door, for the other services of the platform.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// The roles and permissions.
    pub fn roles(&self) -> &Roles {
        &self.roles
    }

    /// What every user may do at the moment.
    pub fn authorizer(&self) -> &Arc<RbacAuthorizer> {
        &self.authorizer
    }

    /// The tenants.
    pub fn tenants(&self) -> &Tenants {
        &self.tenants
    }

    /// Archives of tenants.
    pub fn archives(&self) -> &Archives {
        &self.archives
    }

    /// The same services, with a folder for backups and perhaps a schedule, which a
    /// [`BackupSchedule`](crate::tenant::BackupSchedule) follows.
    ///
    /// # Errors
    /// `invalid_input` for options that cannot be used.
    pub fn with_backups(mut self, options: BackupOptions) -> agentprovision_core::Result<Self> {
        self.backups = Backups::of(&self.tenants, Some(options.checked()?));
        Ok(self)
    }

    /// Backups of tenants.
    pub fn backups(&self) -> &Backups {
        &self.backups
    }

    /// The users of tenants.
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// The API keys of users.
    pub fn keys(&self) -> &ApiKeys {
        &self.keys
    }

    /// Whose credential it is, for hosts that make no context of it; [`Contexts::authenticate`] does both.
    pub fn authenticator(&self) -> &Arc<dyn Authenticator> {
        &self.contexts.authenticator
    }

    /// Where contexts come from.
    pub fn contexts(&self) -> &Contexts {
        &self.contexts
    }
}
