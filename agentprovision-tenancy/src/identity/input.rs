//! What a caller says about users and keys, and the rules for it.

use agentprovision_core::authz::{Permission, PermissionSet};
use agentprovision_core::clock::Timestamp;
use agentprovision_core::id::UserId;
use agentprovision_core::identity::{Role, User};
use agentprovision_core::{Env, Result, text};

use crate::rbac::Roles;

/// A user to be made.
///
/// ```
/// # use agentprovision_tenancy::identity::NewUser;
/// # use agentprovision_core::identity::Role;
/// let ada = NewUser::new("ada@acme.example").name("Ada").role(Role::AGENT_MANAGER);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewUser {
    /// The e-mail address, unique within the tenant.
    pub email: String,
    /// The full name, 1 to 255 characters.
    pub name: Option<String>,
    /// The roles, at most 64.
    pub roles: Vec<Role>,
}

impl NewUser {
    /// A user without name and roles.
    pub fn new(email: impl Into<String>) -> Self {
        Self { email: email.into(), name: None, roles: Vec::new() }
    }

    /// The same user with a name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The same user with one more role.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.roles.push(role);
        self
    }

    /// The same user with more roles.
    #[must_use]
    pub fn roles(mut self, roles: impl IntoIterator<Item = Role>) -> Self {
        self.roles.extend(roles);
        self
    }

    pub(crate) fn into_user(self, env: &Env, roles: &Roles) -> Result<User> {
        let now = env.now();
        Ok(User {
            email: text::email(&self.email)?,
            name: self.name.map(|name| text::name("name", &name)).transpose()?,
            roles: roles.assignable(&self.roles)?,
            active: true,
            id: env.id(),
            created_at: now,
            updated_at: now,
            revision: 1,
        })
    }
}

/// A change of a user: what is set is replaced, the rest stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserUpdate {
    /// The new name; `Some(None)` for no name.
    pub name: Option<Option<String>>,
    /// Whether the user may do anything.
    pub active: Option<bool>,
    /// The new roles, instead of all the old ones.
    pub roles: Option<Vec<Role>>,
}

impl UserUpdate {
    /// A change of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same change with a new name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(Some(name.into()));
        self
    }

    /// The same change to no name.
    #[must_use]
    pub fn without_name(mut self) -> Self {
        self.name = Some(None);
        self
    }

    /// The same change that activates or deactivates.
    #[must_use]
    pub fn active(mut self, active: bool) -> Self {
        self.active = Some(active);
        self
    }

    /// The same change with new roles, instead of all the old ones.
    #[must_use]
    pub fn roles(mut self, roles: impl IntoIterator<Item = Role>) -> Self {
        self.roles = Some(roles.into_iter().collect());
        self
    }

    pub(crate) fn apply(self, mut user: User, roles: &Roles) -> Result<User> {
        if let Some(name) = self.name {
            user.name = name.map(|name| text::name("name", &name)).transpose()?;
        }
        if let Some(active) = self.active {
            user.active = active;
        }
        if let Some(new) = self.roles {
            user.roles = roles.assignable(&new)?;
        }
        Ok(user)
    }
}

/// An API key to be made.
///
/// ```
/// # use agentprovision_tenancy::identity::ApiKeyRequest;
/// # use agentprovision_core::authz::Permission;
/// let request = ApiKeyRequest::new("nightly report").scopes([Permission::USAGE_READ]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiKeyRequest {
    /// What the key is for, 1 to 255 characters.
    pub name: String,
    /// Whose key it is; the caller's where absent.
    pub user: Option<UserId>,
    /// What the key is limited to; where absent, what [`ApiKeys::create`](super::ApiKeys::create) says.
    pub scopes: Option<PermissionSet>,
    /// When the key ends; never where absent.
    pub expires_at: Option<Timestamp>,
}

impl ApiKeyRequest {
    /// A key of the caller's own.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), user: None, scopes: None, expires_at: None }
    }

    /// The same key for another user.
    #[must_use]
    pub fn user(mut self, user: UserId) -> Self {
        self.user = Some(user);
        self
    }

    /// The same key limited to these permissions.
    #[must_use]
    pub fn scopes(mut self, scopes: impl IntoIterator<Item = Permission>) -> Self {
        self.scopes = Some(scopes.into_iter().collect());
        self
    }

    /// The same key until a point in time; at that time it is over.
    #[must_use]
    pub fn expires_at(mut self, at: Timestamp) -> Self {
        self.expires_at = Some(at);
        self
    }
}
