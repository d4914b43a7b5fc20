//! THE table of the built-in roles. The golden matrix shows what a change of it means.

use agentprovision_core::authz::Permission;

use RoleScope::{Platform, Projects, Tenant};

/// Where a role counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RoleScope {
    /// Above the tenants; no user of a tenant can have it.
    Platform,
    /// Everywhere in its tenant.
    Tenant,
    /// In the projects it is given for; not assignable while there are no projects.
    Projects,
}

/// A built-in role.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BuiltinRole {
    /// The name that is stored.
    pub name: &'static str,
    /// Other names it can be assigned by.
    pub aliases: &'static [&'static str],
    /// Where it counts.
    pub scope: RoleScope,
    /// The roles whose permissions it has too.
    pub contains: &'static [&'static str],
    /// Its own permissions.
    pub own: &'static [Permission],
}

/// The permissions that count above the tenants only: no role of a tenant can have them.
pub const PLATFORM_ONLY: &[Permission] =
    &[Permission::TENANTS_CREATE, Permission::TENANTS_SUSPEND, Permission::TENANTS_DELETE];

/// Every built-in role, in the order of the documentation.
pub const BUILTIN: &[BuiltinRole] = &[
    BuiltinRole {
        name: "super_admin",
        aliases: &["platform_admin"],
        scope: Platform,
        contains: &[],
        // `audit:read` is that of the platform log; nothing inside a tenant.
        own: &[
            Permission::TENANTS_CREATE,
            Permission::TENANTS_READ,
            Permission::TENANTS_UPDATE,
            Permission::TENANTS_SUSPEND,
            Permission::TENANTS_DELETE,
            Permission::AUDIT_READ,
        ],
    },
    BuiltinRole {
        name: "tenant_admin",
        aliases: &[],
        scope: Tenant,
        contains: &["agent_manager", "integration_manager", "security_manager", "project_admin"],
        own: &[
            Permission::AGENTS_DELETE,
            Permission::USERS_CREATE,
            Permission::USERS_READ,
            Permission::USERS_UPDATE,
            Permission::USERS_DELETE,
            Permission::ROLES_READ,
            Permission::ROLES_WRITE,
            Permission::ROLES_ASSIGN,
            Permission::SECRETS_READ,
            Permission::SECRETS_WRITE,
            Permission::USAGE_READ,
            Permission::TENANTS_READ,
            Permission::TENANTS_UPDATE,
        ],
    },
    BuiltinRole {
        name: "project_admin",
        aliases: &[],
        scope: Projects,
        contains: &[],
        own: &[
            Permission::AGENTS_CREATE,
            Permission::AGENTS_READ,
            Permission::AGENTS_UPDATE,
            Permission::AGENTS_DEPLOY,
            Permission::AGENTS_RUN,
            Permission::RUNS_READ,
            Permission::RUNS_CANCEL,
            Permission::RUNS_APPROVE,
            Permission::INTEGRATIONS_READ,
            Permission::USERS_READ,
        ],
    },
    BuiltinRole {
        name: "agent_manager",
        aliases: &[],
        scope: Tenant,
        contains: &[],
        own: &[
            Permission::AGENTS_CREATE,
            Permission::AGENTS_READ,
            Permission::AGENTS_UPDATE,
            Permission::AGENTS_DEPLOY,
            Permission::AGENTS_RUN,
            Permission::RUNS_READ,
            Permission::RUNS_CANCEL,
            Permission::RUNS_APPROVE,
        ],
    },
    BuiltinRole {
        name: "integration_manager",
        aliases: &[],
        scope: Tenant,
        contains: &[],
        own: &[
            Permission::INTEGRATIONS_CREATE,
            Permission::INTEGRATIONS_READ,
            Permission::INTEGRATIONS_UPDATE,
            Permission::INTEGRATIONS_DELETE,
            Permission::INTEGRATIONS_INVOKE,
            Permission::SECRETS_WRITE,
            Permission::SECRETS_ROTATE,
        ],
    },
    BuiltinRole {
        name: "security_manager",
        aliases: &[],
        scope: Tenant,
        contains: &[],
        own: &[
            Permission::POLICIES_READ,
            Permission::POLICIES_WRITE,
            Permission::ROLES_READ,
            Permission::USERS_READ,
            Permission::AUDIT_READ,
            Permission::AUDIT_EXPORT,
            Permission::SECRETS_ROTATE,
        ],
    },
    BuiltinRole {
        name: "tenant_user",
        aliases: &[],
        scope: Tenant,
        contains: &["agent_operator", "agent_viewer", "integration_user"],
        own: &[],
    },
    BuiltinRole {
        name: "agent_operator",
        aliases: &["operator"],
        scope: Tenant,
        contains: &[],
        own: &[
            Permission::AGENTS_READ,
            Permission::AGENTS_RUN,
            Permission::RUNS_READ,
            Permission::RUNS_CANCEL,
        ],
    },
    BuiltinRole {
        name: "agent_viewer",
        aliases: &["viewer"],
        scope: Tenant,
        contains: &[],
        own: &[Permission::AGENTS_READ],
    },
    BuiltinRole {
        name: "integration_user",
        aliases: &[],
        scope: Tenant,
        contains: &[],
        own: &[Permission::INTEGRATIONS_READ, Permission::INTEGRATIONS_INVOKE],
    },
    BuiltinRole {
        name: "auditor",
        aliases: &[],
        scope: Tenant,
        contains: &[],
        own: &[Permission::AUDIT_READ, Permission::AUDIT_EXPORT, Permission::USAGE_READ],
    },
];
