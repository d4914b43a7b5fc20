//! Users and API keys: the records and their store contracts.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::context::{Context, OperatorContext};
use crate::effect::{Effects, OperatorEffects};
use crate::error::Result;
use crate::id::{ApiKeyId, TenantId, UserId};
use crate::page::{Page, PageRequest};
use crate::tenant::Revision;

/// A role by name. The built-in ones are constants; an unknown name is refused when it is assigned.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct Role(std::borrow::Cow<'static, str>);

macro_rules! roles {
    ($($name:ident $text:literal,)*) => {
        impl Role {
            $(#[doc = concat!("`", $text, "`")]
            pub const $name: Role = Role(std::borrow::Cow::Borrowed($text));)*
        }
    };
}

roles! {
    SUPER_ADMIN "super_admin",
    TENANT_ADMIN "tenant_admin",
    PROJECT_ADMIN "project_admin",
    AGENT_MANAGER "agent_manager",
    INTEGRATION_MANAGER "integration_manager",
    SECURITY_MANAGER "security_manager",
    TENANT_USER "tenant_user",
    AGENT_OPERATOR "agent_operator",
    AGENT_VIEWER "agent_viewer",
    INTEGRATION_USER "integration_user",
    AUDITOR "auditor",
}

impl Role {
    /// A role by name.
    pub fn new(name: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A user of a tenant. The same person in two tenants is two users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct User {
    /// The id.
    pub id: UserId,
    /// The e-mail address, unique within the tenant.
    pub email: String,
    /// The full name.
    pub name: Option<String>,
    /// The roles.
    pub roles: Vec<Role>,
    /// Whether the user may do anything.
    pub active: bool,
    /// When the user was made.
    pub created_at: Timestamp,
    /// When the user was last changed.
    pub updated_at: Timestamp,
    /// Counts the changes.
    pub revision: Revision,
}

/// Keeps the users of tenants.
#[async_trait]
pub trait UserStore: fmt::Debug + Send + Sync + 'static {
    /// Adds a user.
    ///
    /// # Errors
    /// `already_exists` when the id or the e-mail address is taken in the tenant.
    async fn insert(&self, ctx: &Context, user: User, effects: Effects) -> Result<()>;
    /// Adds the first admin of a tenant.
    ///
    /// # Errors
    /// `conflict` when the tenant has a user with the role `tenant_admin`, active or not; otherwise as
    /// [`UserStore::insert`].
    async fn bootstrap(
        &self,
        op: &OperatorContext,
        tenant: TenantId,
        user: User,
        effects: OperatorEffects,
    ) -> Result<()>;
    /// A user.
    ///
    /// # Errors
    /// `not_found`.
    async fn get(&self, ctx: &Context, id: UserId) -> Result<User>;
    /// All users by (created, id).
    async fn list(&self, ctx: &Context, page: PageRequest) -> Result<Page<User>>;
    /// Replaces a user whose revision is `expected`; the stored revision is `expected + 1`.
    ///
    /// # Errors
    /// `not_found`; `conflict` when the revision is another; `already_exists` for a taken address.
    async fn replace(&self, ctx: &Context, user: User, expected: Revision, effects: Effects) -> Result<()>;
    /// Removes a user and the user's API keys.
    ///
    /// # Errors
    /// `not_found`.
    async fn delete(&self, ctx: &Context, id: UserId, effects: Effects) -> Result<()>;
    /// A user by tenant and id, for those who make contexts.
    ///
    /// # Errors
    /// `not_found`.
    async fn member(&self, tenant: TenantId, id: UserId) -> Result<User>;
}

/// An API key as it is stored: the secret itself is nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The public id, part of the key's text.
    pub id: ApiKeyId,
    /// Whose key it is.
    pub user: UserId,
    /// What it is for, in the user's words.
    pub name: String,
    /// HMAC-SHA-256 of tenant, key id and secret under the host's pepper.
    pub digest: [u8; 32],
    /// What it is limited to, as permission names; everything the user may where absent.
    pub scopes: Option<Vec<String>>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("id", &self.id).field("user", &self.user).finish_non_exhaustive()
    }
}

/// Keeps API keys.
#[async_trait]
pub trait ApiKeyStore: fmt::Debug + Send + Sync + 'static {
    /// Adds a key of a user of the tenant.
    ///
    /// # Errors
    /// `already_exists` when the id is taken; `not_found` when there is no such user.
    async fn insert(&self, ctx: &Context, key: ApiKey, effects: Effects) -> Result<()>;
    /// A key.
    ///
    /// # Errors
    /// `not_found`.
    async fn get(&self, ctx: &Context, id: ApiKeyId) -> Result<ApiKey>;
    /// All keys by (created, id), revoked ones too.
    async fn list(&self, ctx: &Context, page: PageRequest) -> Result<Page<ApiKey>>;
    /// Marks a key as revoked; a revoked key stays as it is.
    ///
    /// # Errors
    /// `not_found`.
    async fn revoke(&self, ctx: &Context, id: ApiKeyId, at: Timestamp, effects: Effects) -> Result<()>;
    /// A key by the tenant and id in its text, for the authenticator.
    ///
    /// # Errors
    /// `not_found`.
    async fn lookup(&self, tenant: TenantId, id: ApiKeyId) -> Result<ApiKey>;
}
