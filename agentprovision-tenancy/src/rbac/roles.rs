//! The registry of roles: the built-in ones and a host's own, each with the closure of what it grants.

use std::collections::HashMap;
use std::sync::Arc;

use agentprovision_core::authz::{Permission, PermissionRegistry, PermissionSet};
use agentprovision_core::identity::Role;
use agentprovision_core::{Error, Result};

use super::builtin::{BUILTIN, PLATFORM_ONLY, RoleScope};
use crate::clip;

/// The most roles that can contain one another in a row. Deeper is a mistake, and nobody could review it.
const MAX_DEPTH: usize = 32;

/// The most roles one user can have.
const MAX_ROLES: usize = 64;

/// A role of the host, to be registered with [`Roles::register`] before the platform is built.
///
/// Nobody can give a role that grants more than they hold themselves. A role with permissions of the host's own is
/// therefore assignable only when somebody holds them: say [`RoleSpec::within`] the role of those who shall assign it.
#[derive(Clone, Debug)]
pub struct RoleSpec {
    name: String,
    contains: Vec<Role>,
    within: Vec<Role>,
    own: PermissionSet,
}

impl RoleSpec {
    /// A role without permissions. The name has 1 to 64 lower-case letters, digits and underscores.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), contains: Vec::new(), within: Vec::new(), own: PermissionSet::EMPTY }
    }

    /// The same role with the permissions of `roles` too.
    #[must_use]
    pub fn contains(mut self, roles: impl IntoIterator<Item = Role>) -> Self {
        self.contains.extend(roles);
        self
    }

    /// The same role, whose permissions `roles` have too.
    #[must_use]
    pub fn within(mut self, roles: impl IntoIterator<Item = Role>) -> Self {
        self.within.extend(roles);
        self
    }

    /// The same role with more permissions of its own.
    #[must_use]
    pub fn permissions(mut self, own: impl IntoIterator<Item = Permission>) -> Self {
        own.into_iter().for_each(|permission| self.own.insert(permission));
        self
    }
}

#[derive(Clone, Debug)]
struct Entry {
    role: Role,
    scope: RoleScope,
    contains: Vec<usize>,
    own: PermissionSet,
    granted: PermissionSet,
}

/// Every role of a platform by name, and the names of the permissions they grant.
#[derive(Clone, Debug)]
pub struct Roles {
    permissions: Arc<PermissionRegistry>,
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
}

impl Default for Roles {
    fn default() -> Self {
        Self::new(PermissionRegistry::default())
    }
}

impl Roles {
    /// The built-in roles over the given permissions.
    pub fn new(permissions: PermissionRegistry) -> Self {
        let mut roles =
            Self { permissions: Arc::new(permissions), entries: Vec::new(), by_name: HashMap::new() };
        for (index, builtin) in BUILTIN.iter().enumerate() {
            let contains =
                BUILTIN.iter().enumerate().filter(|(_, other)| builtin.contains.contains(&other.name));
            roles.entries.push(Entry {
                role: Role::new(builtin.name),
                scope: builtin.scope,
                contains: contains.map(|(other, _)| other).collect(),
                own: builtin.own.iter().copied().collect(),
                granted: PermissionSet::EMPTY,
            });
            let names = [builtin.name].into_iter().chain(builtin.aliases.iter().copied());
            roles.by_name.extend(names.map(|name| (name.to_owned(), index)));
        }
        // The table has no cycle; a test compares every closure with the golden matrix.
        let _ = roles.close();
        roles
    }

    /// Adds a role of the host.
    ///
    /// # Errors
    /// As [`Roles::register_all`].
    pub fn register(&mut self, spec: RoleSpec) -> Result<()> {
        self.register_all([spec])
    }

    /// Adds roles of the host, which may name each other; all of them or none.
    ///
    /// # Errors
    /// `already_exists` for a taken name. `invalid_input` for a malformed name, an unknown role or permission, roles
    /// that contain themselves or nest more than 32 deep, and what counts above the tenants only.
    pub fn register_all(&mut self, specs: impl IntoIterator<Item = RoleSpec>) -> Result<()> {
        let specs: Vec<RoleSpec> = specs.into_iter().collect();
        let mut next = self.clone();
        let first = next.entries.len();
        for spec in &specs {
            next.add(spec)?;
        }
        for (index, spec) in (first..).zip(&specs) {
            let contains =
                spec.contains.iter().map(|role| next.tenant_role(role)).collect::<Result<Vec<_>>>()?;
            next.link(index, &contains);
            for role in &spec.within {
                let parent = next.tenant_role(role)?;
                next.link(parent, &[index]);
            }
        }
        next.close()?;
        *self = next;
        Ok(())
    }

    /// The names of the permissions.
    pub fn permissions(&self) -> &PermissionRegistry {
        &self.permissions
    }

    /// Every role, the built-in ones first.
    pub fn iter(&self) -> impl Iterator<Item = &Role> {
        self.entries.iter().map(|entry| &entry.role)
    }

    /// The role with this name or alias, under the name that is stored.
    ///
    /// # Errors
    /// `invalid_input`, naming the known roles, for another name.
    pub fn get(&self, name: &str) -> Result<&Role> {
        self.entry(name).map(|entry| &entry.role)
    }

    /// What a role grants, with the roles it contains.
    ///
    /// # Errors
    /// As [`Roles::get`].
    pub fn grants_of(&self, role: &Role) -> Result<PermissionSet> {
        self.entry(role.name()).map(|entry| entry.granted)
    }

    /// What a role grants without the roles it contains.
    ///
    /// # Errors
    /// As [`Roles::get`].
    pub fn own_grants_of(&self, role: &Role) -> Result<PermissionSet> {
        self.entry(role.name()).map(|entry| entry.own)
    }

    /// Where a role counts.
    ///
    /// # Errors
    /// As [`Roles::get`].
    pub fn scope_of(&self, role: &Role) -> Result<RoleScope> {
        self.entry(role.name()).map(|entry| entry.scope)
    }

    /// What the roles of a stored user grant together within the tenant. A role that is no longer registered, or does
    /// not count in the whole tenant, grants nothing.
    pub fn grants(&self, roles: &[Role]) -> PermissionSet {
        let entries = roles.iter().filter_map(|role| self.entries.get(*self.by_name.get(role.name())?));
        entries
            .filter(|entry| entry.scope == RoleScope::Tenant)
            .fold(PermissionSet::EMPTY, |all, entry| all.union(&entry.granted))
    }

    /// The roles under the names that are stored, each once, when a user of a tenant can have them.
    ///
    /// # Errors
    /// `invalid_input` for an unknown role, which names the known ones, or one above the tenants; `unsupported` for one
    /// that is bounded to projects; `too_large` for more than 64.
    pub fn assignable(&self, roles: &[Role]) -> Result<Vec<Role>> {
        if roles.len() > MAX_ROLES {
            return Err(Error::too_large(format!("a user has at most {MAX_ROLES} roles")));
        }
        let mut assignable = Vec::with_capacity(roles.len());
        for role in roles {
            let entry = self.entry(role.name())?;
            match entry.scope {
                RoleScope::Tenant => {}
                RoleScope::Platform => return Err(above_tenants(&entry.role)),
                RoleScope::Projects => {
                    return Err(Error::unsupported(format!(
                        "`{}` is given for projects, and there are no projects yet",
                        entry.role
                    )));
                }
            }
            if !assignable.contains(&entry.role) {
                assignable.push(entry.role.clone());
            }
        }
        Ok(assignable)
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        self.index(name).and_then(|index| {
            self.entries.get(index).ok_or_else(|| Error::internal("a registered role has no entry"))
        })
    }

    fn index(&self, name: &str) -> Result<usize> {
        self.by_name.get(name).copied().ok_or_else(|| {
            let known: Vec<&str> = self.iter().map(Role::name).collect();
            Error::invalid(format!("unknown role `{}`; known are {}", clip(name), known.join(", ")))
        })
    }

    fn tenant_role(&self, role: &Role) -> Result<usize> {
        let index = self.index(role.name())?;
        match self.entry(role.name())?.scope {
            RoleScope::Platform => Err(above_tenants(role)),
            _ => Ok(index),
        }
    }

    fn add(&mut self, spec: &RoleSpec) -> Result<()> {
        let name = spec.name.as_str();
        let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if !(1..=64).contains(&name.len()) || !name.bytes().all(letters) {
            return Err(Error::invalid(format!(
                "`{}` is not a role name of 1 to 64 lower-case letters, digits and underscores",
                clip(name)
            )));
        }
        for permission in spec.own.iter() {
            let Some(text) = self.permissions.name(permission) else {
                return Err(Error::invalid(format!("role `{name}` has a permission that is not registered")));
            };
            if PLATFORM_ONLY.contains(&permission) {
                return Err(Error::invalid(format!("`{text}` counts above the tenants only")));
            }
        }
        if self.by_name.insert(name.to_owned(), self.entries.len()).is_some() {
            return Err(Error::already_exists(format!("there is a role `{name}` already")));
        }
        self.entries.push(Entry {
            role: Role::new(name.to_owned()),
            scope: RoleScope::Tenant,
            contains: Vec::new(),
            own: spec.own,
            granted: PermissionSet::EMPTY,
        });
        Ok(())
    }

    fn link(&mut self, parent: usize, children: &[usize]) {
        if let Some(entry) = self.entries.get_mut(parent) {
            entry.contains.extend(children);
        }
    }

    /// Computes what each role grants, contained roles before those that contain them (Kahn's algorithm, so that a deep
    /// chain costs no stack and a cycle is what is left over).
    fn close(&mut self) -> Result<()> {
        let mut containers: Vec<Vec<usize>> = vec![Vec::new(); self.entries.len()];
        let mut open: Vec<usize> = Vec::with_capacity(self.entries.len());
        for (index, entry) in self.entries.iter_mut().enumerate() {
            entry.contains.sort_unstable();
            entry.contains.dedup();
            entry.granted = entry.own;
            open.push(entry.contains.len());
            for child in &entry.contains {
                containers.get_mut(*child).map(|parents| parents.push(index)).unwrap_or_default();
            }
        }
        let leaves = open.iter().enumerate().filter(|(_, open)| **open == 0);
        let mut level: Vec<usize> = leaves.map(|(index, _)| index).collect();
        let mut done = 0;
        // One level a turn, so the number of turns is the depth.
        for _ in 0..MAX_DEPTH {
            let mut above = Vec::new();
            for index in &level {
                let granted = self.entries.get(*index).map(|entry| entry.granted).unwrap_or_default();
                for parent in containers.get(*index).into_iter().flatten() {
                    if let (Some(entry), Some(open)) = (self.entries.get_mut(*parent), open.get_mut(*parent))
                    {
                        entry.granted = entry.granted.union(&granted);
                        *open -= 1;
                        if *open == 0 {
                            above.push(*parent);
                        }
                    }
                }
            }
            done += level.len();
            level = above;
        }
        if done == self.entries.len() {
            return Ok(());
        }
        let left = self.entries.iter().zip(&open).filter(|(_, open)| **open > 0);
        let names: Vec<&str> = left.map(|(entry, _)| entry.role.name()).take(8).collect();
        Err(Error::invalid(format!(
            "roles contain themselves or nest more than {MAX_DEPTH} deep: `{}`",
            names.join("`, `")
        )))
    }
}

fn above_tenants(role: &Role) -> Error {
    Error::invalid(format!("`{role}` counts above the tenants; no user of a tenant can have it"))
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;

    use super::*;

    fn kind(result: Result<impl std::fmt::Debug>) -> ErrorKind {
        result.unwrap_err().kind()
    }

    fn chain(length: usize) -> Vec<RoleSpec> {
        (0..length)
            .map(|n| {
                let spec = RoleSpec::new(format!("r{n}"));
                if n + 1 < length { spec.contains([Role::new(format!("r{}", n + 1))]) } else { spec }
            })
            .collect()
    }

    #[test]
    fn aliases_are_stored_under_the_name_they_stand_for() {
        let roles = Roles::default();
        let given = [Role::new("operator"), Role::AGENT_OPERATOR, Role::new("viewer")];
        assert_eq!(roles.assignable(&given).unwrap(), [Role::AGENT_OPERATOR, Role::AGENT_VIEWER]);
    }

    #[test]
    fn unknown_platform_and_project_roles_cannot_be_assigned() {
        let roles = Roles::default();
        let unknown = roles.assignable(&[Role::new("root\u{0}")]).unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::InvalidInput);
        assert!(unknown.message().contains("tenant_admin") && !unknown.message().contains('\0'));
        for name in ["super_admin", "platform_admin"] {
            assert_eq!(kind(roles.assignable(&[Role::new(name)])), ErrorKind::InvalidInput);
        }
        assert_eq!(kind(roles.assignable(&[Role::PROJECT_ADMIN])), ErrorKind::Unsupported);
        assert_eq!(kind(roles.assignable(&vec![Role::AUDITOR; 65])), ErrorKind::TooLarge);
        // Stored all the same, by another version or by hand, they grant nothing.
        let stored = [Role::SUPER_ADMIN, Role::PROJECT_ADMIN, Role::new("gone")];
        assert_eq!(roles.grants(&stored), PermissionSet::EMPTY);
    }

    #[test]
    fn grants_reach_through_every_level() {
        let mut roles = Roles::default();
        let mut specs = chain(20);
        specs[19] = RoleSpec::new("r19").contains([Role::AUDITOR]);
        roles.register_all(specs).unwrap();
        let grants = roles.grants(&[Role::new("r0")]);
        assert_eq!(grants, roles.grants_of(&Role::AUDITOR).unwrap());
        assert_eq!(roles.own_grants_of(&Role::new("r0")).unwrap(), PermissionSet::EMPTY);
    }

    #[test]
    fn cycles_and_endless_chains_are_refused_and_change_nothing() {
        let mut roles = Roles::default();
        let spec = |name: &str, of: &str| RoleSpec::new(name.to_owned()).contains([Role::new(of.to_owned())]);
        assert_eq!(kind(roles.register(spec("a", "a"))), ErrorKind::InvalidInput);
        let two = roles.register_all([spec("a", "b"), spec("b", "a")]).unwrap_err();
        assert!(two.message().contains("`a`, `b`"), "{two}");
        let within =
            RoleSpec::new("a").contains([Role::TENANT_ADMIN]).within([Role::AUDITOR, Role::AGENT_MANAGER]);
        assert_eq!(kind(roles.register(within)), ErrorKind::InvalidInput);
        assert_eq!(kind(roles.register_all(chain(10_000))), ErrorKind::InvalidInput);
        assert_eq!(kind(roles.register(spec("a", "nobody"))), ErrorKind::InvalidInput);
        assert_eq!(roles.iter().count(), BUILTIN.len());
        assert_eq!(roles.grants(&[Role::AGENT_VIEWER]).iter().count(), 1);
        roles.register_all(chain(MAX_DEPTH)).unwrap();
    }

    #[test]
    fn a_host_brings_its_own_permissions_and_roles() {
        let mut permissions = PermissionRegistry::default();
        let refund = permissions.register("orders:refund").unwrap();
        let mut roles = Roles::new(permissions);
        let spec = RoleSpec::new("cashier").permissions([refund]).within([Role::TENANT_ADMIN]);
        roles.register(spec.clone()).unwrap();
        assert!(roles.grants(&[Role::TENANT_ADMIN]).contains(refund));
        assert!(!roles.grants(&[Role::AGENT_MANAGER]).contains(refund));
        assert_eq!(kind(roles.register(spec)), ErrorKind::AlreadyExists);
        assert_eq!(kind(roles.register(RoleSpec::new("viewer"))), ErrorKind::AlreadyExists);
        // Permissions of another registry, and those above the tenants, are refused.
        assert_eq!(
            kind(Roles::default().register(RoleSpec::new("c").permissions([refund]))),
            ErrorKind::InvalidInput
        );
        let operator = RoleSpec::new("c").permissions([Permission::TENANTS_DELETE]);
        assert_eq!(kind(roles.register(operator)), ErrorKind::InvalidInput);
        assert_eq!(
            kind(roles.register(RoleSpec::new("c").contains([Role::SUPER_ADMIN]))),
            ErrorKind::InvalidInput
        );
        for name in ["", "A", "a b", "a\u{0}", &"a".repeat(65), &"a".repeat(10 << 20)] {
            let error = roles.register(RoleSpec::new(name)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.message().len() < 400);
        }
    }
}
