//! Permissions, grants and the [`Authorizer`] contract.
//!
//! A permission is a number in a closed registry, so a set of them is a bitset and a check is one bit test. Hosts add
//! their own through [`PermissionRegistry::register`] before the platform is built.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};

macro_rules! permissions {
    ($($name:ident $text:literal,)*) => {
        impl Permission {
            permissions!(@consts 0u16; $($name $text,)*);
            /// The built-in permissions, in the order of their numbers.
            pub const BUILTIN: &'static [&'static str] = &[$($text,)*];
        }
    };
    (@consts $n:expr; $name:ident $text:literal, $($rest:tt)*) => {
        #[doc = concat!("`", $text, "`")]
        pub const $name: Permission = Permission($n);
        permissions!(@consts $n + 1; $($rest)*);
    };
    (@consts $n:expr;) => {};
}

/// A permission such as `agents:run`, as its number in the registry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission(u16);

permissions! {
    TENANTS_CREATE "tenants:create",
    TENANTS_READ "tenants:read",
    TENANTS_UPDATE "tenants:update",
    TENANTS_SUSPEND "tenants:suspend",
    TENANTS_DELETE "tenants:delete",
    USERS_CREATE "users:create",
    USERS_READ "users:read",
    USERS_UPDATE "users:update",
    USERS_DELETE "users:delete",
    ROLES_READ "roles:read",
    ROLES_WRITE "roles:write",
    ROLES_ASSIGN "roles:assign",
    POLICIES_READ "policies:read",
    POLICIES_WRITE "policies:write",
    AGENTS_CREATE "agents:create",
    AGENTS_READ "agents:read",
    AGENTS_UPDATE "agents:update",
    AGENTS_DELETE "agents:delete",
    AGENTS_DEPLOY "agents:deploy",
    AGENTS_RUN "agents:run",
    RUNS_READ "runs:read",
    RUNS_CANCEL "runs:cancel",
    RUNS_APPROVE "runs:approve",
    INTEGRATIONS_CREATE "integrations:create",
    INTEGRATIONS_READ "integrations:read",
    INTEGRATIONS_UPDATE "integrations:update",
    INTEGRATIONS_DELETE "integrations:delete",
    INTEGRATIONS_INVOKE "integrations:invoke",
    SECRETS_READ "secrets:read",
    SECRETS_WRITE "secrets:write",
    SECRETS_ROTATE "secrets:rotate",
    AUDIT_READ "audit:read",
    AUDIT_EXPORT "audit:export",
    USAGE_READ "usage:read",
}

impl Permission {
    /// How many permissions a registry can hold.
    pub const CAPACITY: usize = 512;

    /// The number in the registry.
    pub const fn index(self) -> u16 {
        self.0
    }

    /// The text of a built-in permission.
    pub fn builtin_name(self) -> Option<&'static str> {
        Self::BUILTIN.get(usize::from(self.0)).copied()
    }

    /// The built-in permission with this text.
    pub fn builtin(text: &str) -> Option<Self> {
        let index = Self::BUILTIN.iter().position(|name| *name == text)?;
        u16::try_from(index).ok().map(Self)
    }
}

impl fmt::Debug for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.builtin_name() {
            Some(name) => f.write_str(name),
            None => write!(f, "permission #{}", self.0),
        }
    }
}

/// A set of permissions: 512 bits, compared and tested without allocation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PermissionSet([u64; 8]);

impl PermissionSet {
    /// No permission.
    pub const EMPTY: Self = Self([0; 8]);

    /// Every permission there can be.
    pub const ALL: Self = Self([u64::MAX; 8]);

    /// Whether the set has `permission`.
    #[inline]
    pub fn contains(&self, permission: Permission) -> bool {
        let index = usize::from(permission.0);
        self.0.get(index / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    /// Adds a permission.
    pub fn insert(&mut self, permission: Permission) {
        let index = usize::from(permission.0);
        if let Some(word) = self.0.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
    }

    /// What is in either set.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
        self
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersection(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= other);
        self
    }

    /// Whether every permission of `self` is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).all(|(word, other)| word & !other == 0)
    }

    /// The permissions, by number.
    pub fn iter(&self) -> impl Iterator<Item = Permission> + '_ {
        (0..Permission::CAPACITY as u16).map(Permission).filter(|permission| self.contains(*permission))
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        let mut set = Self::EMPTY;
        permissions.into_iter().for_each(|permission| set.insert(permission));
        set
    }
}

impl fmt::Debug for PermissionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The names of all permissions of a platform: the built-in ones and the host's own.
#[derive(Clone, Debug)]
pub struct PermissionRegistry {
    names: Vec<Arc<str>>,
    by_name: HashMap<Arc<str>, Permission>,
}

impl Default for PermissionRegistry {
    fn default() -> Self {
        let names: Vec<Arc<str>> = Permission::BUILTIN.iter().map(|name| Arc::from(*name)).collect();
        let by_name = names.iter().cloned().zip((0..).map(Permission)).collect();
        Self { names, by_name }
    }
}

impl PermissionRegistry {
    /// Adds a permission of the host, `resource:verb` in lower case; a known name gives its number again.
    ///
    /// # Errors
    /// `invalid_input` for a text of another form, `too_large` beyond [`Permission::CAPACITY`].
    pub fn register(&mut self, name: &str) -> Result<Permission> {
        if let Some(known) = self.by_name.get(name) {
            return Ok(*known);
        }
        let part = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        if !name.split_once(':').is_some_and(|(resource, verb)| part(resource) && part(verb)) {
            return Err(Error::invalid(format!(
                "`{}` is not a permission of the form `resource:verb`",
                crate::money::clip(name)
            )));
        }
        let index =
            u16::try_from(self.names.len()).ok().filter(|index| usize::from(*index) < Permission::CAPACITY);
        let permission =
            Permission(index.ok_or_else(|| Error::too_large("a platform has at most 512 permissions"))?);
        let name: Arc<str> = Arc::from(name);
        self.names.push(name.clone());
        self.by_name.insert(name, permission);
        Ok(permission)
    }

    /// The permission with this name.
    ///
    /// # Errors
    /// `invalid_input`, naming the known ones, for another name.
    pub fn get(&self, name: &str) -> Result<Permission> {
        self.by_name.get(name).copied().ok_or_else(|| {
            Error::invalid(format!(
                "unknown permission `{}`; known are {}",
                crate::money::clip(name),
                self.names.join(", ")
            ))
        })
    }

    /// The set of the permissions with these names.
    ///
    /// # Errors
    /// As [`PermissionRegistry::get`].
    pub fn set(&self, names: &[String]) -> Result<PermissionSet> {
        names.iter().map(|name| self.get(name)).collect()
    }

    /// All names, in the order of their numbers.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// The name of a permission.
    pub fn name(&self, permission: Permission) -> Option<&str> {
        self.names.get(usize::from(permission.0)).map(|name| &**name)
    }
}

/// What a decision is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The kind, in the plural of the permissions: `agents`, `runs`, …
    pub kind: &'static str,
    /// The id in text form; absent for the whole collection.
    pub id: Option<String>,
}

impl Resource {
    /// All resources of a kind.
    pub const fn all(kind: &'static str) -> Self {
        Self { kind, id: None }
    }

    /// One resource.
    pub fn one(kind: &'static str, id: impl fmt::Display) -> Self {
        Self { kind, id: Some(id.to_string()) }
    }
}

/// The answer of an [`Authorizer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The principal may.
    Allow,
    /// The principal may not, and why, in words a tenant may read.
    Deny(std::borrow::Cow<'static, str>),
}

impl Decision {
    /// Turns a denial into the error a caller sees.
    ///
    /// # Errors
    /// `permission_denied` with the reason.
    pub fn into_result(self) -> Result<()> {
        match self {
            Decision::Allow => Ok(()),
            Decision::Deny(reason) => Err(Error::new(ErrorKind::PermissionDenied, reason)),
        }
    }
}

/// Decides whether a principal may do something. An error of an authorizer denies.
#[async_trait]
pub trait Authorizer: fmt::Debug + Send + Sync + 'static {
    /// Decides about one permission on one resource.
    async fn decide(&self, ctx: &Context, permission: Permission, resource: &Resource) -> Result<Decision>;
}

/// The smallest authorizer: the grants that are in the context, and nothing else.
#[derive(Clone, Debug, Default)]
pub struct ContextAuthorizer;

#[async_trait]
impl Authorizer for ContextAuthorizer {
    async fn decide(&self, ctx: &Context, permission: Permission, _: &Resource) -> Result<Decision> {
        Ok(if ctx.grants().contains(permission) {
            Decision::Allow
        } else {
            Decision::Deny(format!("`{permission:?}` is not granted").into())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_put_in() {
        let mut registry = PermissionRegistry::default();
        let refund = registry.register("orders:refund").unwrap();
        let set: PermissionSet = [Permission::AGENTS_RUN, refund].into_iter().collect();
        assert!(set.contains(refund) && set.contains(Permission::AGENTS_RUN));
        assert!(!set.contains(Permission::AGENTS_READ));
        assert_eq!(set.iter().count(), 2);
        assert!(set.is_subset(&PermissionSet::ALL) && !PermissionSet::ALL.is_subset(&set));
        assert_eq!(registry.name(refund), Some("orders:refund"));
        assert_eq!(registry.register("orders:refund").unwrap(), refund);
    }

    #[test]
    fn bad_and_unknown_names_are_refused() {
        let mut registry = PermissionRegistry::default();
        for name in ["", "a", ":", "a:", "A:b", "a:b:c", "a: b"] {
            assert_eq!(registry.register(name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
        }
        assert!(registry.get("agents:fly").unwrap_err().message().contains("agents:run"));
        assert_eq!(Permission::builtin("usage:read"), Some(Permission::USAGE_READ));
        assert_eq!(Permission::BUILTIN.len(), 34);
    }
}
