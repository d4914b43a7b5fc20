//! The one table of public operations.

use agentprovision_core::authz::Permission;

/// Who an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Within a tenant: its first parameter is a `Context`.
    Tenant,
    /// Above the tenants: its first parameter is an `OperatorContext`.
    Operator,
    /// Where contexts come from.
    Host,
}

/// One public operation of a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Operation {
    /// Its name, `service.method`.
    pub name: &'static str,
    /// Who it is for.
    pub scope: Scope,
    /// What the principal needs; absent where every active user of the tenant may do it with their own things.
    pub permission: Option<Permission>,
    /// The kind of resource, in the plural of the permissions.
    pub resource: &'static str,
    /// Whether it names one resource by id: then without the permission, or for a foreign id, it is `not_found`.
    pub by_id: bool,
    /// The action in the audit log; absent where nothing is changed.
    pub audit: Option<&'static str>,
    /// What it counts.
    pub meter: Option<&'static str>,
}

const fn op(
    name: &'static str,
    scope: Scope,
    permission: Option<Permission>,
    resource: &'static str,
) -> Operation {
    Operation { name, scope, permission, resource, by_id: false, audit: None, meter: None }
}

const fn tenant(name: &'static str, permission: Permission, resource: &'static str) -> Operation {
    op(name, Scope::Tenant, Some(permission), resource)
}

const fn own(name: &'static str, resource: &'static str) -> Operation {
    op(name, Scope::Tenant, None, resource)
}

const fn operator(name: &'static str, permission: Permission) -> Operation {
    op(name, Scope::Operator, Some(permission), "tenants")
}

impl Operation {
    const fn by_id(mut self) -> Self {
        self.by_id = true;
        self
    }

    const fn audit(mut self, action: &'static str) -> Self {
        self.audit = Some(action);
        self
    }

    const fn meter(mut self, meter: &'static str) -> Self {
        self.meter = Some(meter);
        self
    }
}

use Permission as P;

/// Every public operation. Checks, audit, the isolation tests and the bindings read it; a test fails when a public
/// method of a service is missing here.
pub const OPERATIONS: &[Operation] = &[
    op("platform.operator", Scope::Host, None, "tenants"),
    op("platform.context", Scope::Host, None, "tenants").by_id(),
    op("platform.authenticate", Scope::Host, None, "api_keys"),
    op("platform.close", Scope::Host, None, "tenants"),
    operator("tenants.create", P::TENANTS_CREATE).audit("tenants.create"),
    operator("tenants.get", P::TENANTS_READ).by_id(),
    operator("tenants.list", P::TENANTS_READ),
    tenant("tenants.own", P::TENANTS_READ, "tenants"),
    operator("tenants.update", P::TENANTS_UPDATE).by_id().audit("tenants.update"),
    operator("tenants.suspend", P::TENANTS_SUSPEND).by_id().audit("tenants.suspend"),
    operator("tenants.resume", P::TENANTS_SUSPEND).by_id().audit("tenants.resume"),
    operator("tenants.delete", P::TENANTS_DELETE).by_id().audit("tenants.delete"),
    operator("archives.export", P::TENANTS_READ).by_id().audit("archives.export"),
    operator("archives.verify", P::TENANTS_READ),
    operator("archives.restore", P::TENANTS_CREATE).audit("archives.restore"),
    operator("backups.run", P::TENANTS_READ).by_id().audit("backups.run"),
    operator("backups.list", P::TENANTS_READ).by_id(),
    operator("backups.get", P::TENANTS_READ).by_id(),
    operator("placements.get", P::TENANTS_READ).by_id(),
    operator("placements.list", P::TENANTS_READ),
    operator("placements.plan", P::TENANTS_READ),
    operator("placements.move_tenant", P::TENANTS_UPDATE).by_id().audit("placements.move_tenant"),
    operator("placements.pin", P::TENANTS_UPDATE).by_id().audit("placements.pin"),
    operator("tenants.bootstrap_admin", P::TENANTS_CREATE).by_id().audit("tenants.bootstrap_admin"),
    tenant("users.create", P::USERS_CREATE, "users").audit("users.create"),
    tenant("users.get", P::USERS_READ, "users").by_id(),
    tenant("users.list", P::USERS_READ, "users"),
    tenant("users.update", P::USERS_UPDATE, "users").by_id().audit("users.update"),
    tenant("users.delete", P::USERS_DELETE, "users").by_id().audit("users.delete"),
    own("keys.create", "api_keys").audit("keys.create"),
    own("keys.get", "api_keys").by_id(),
    tenant("keys.list", P::USERS_READ, "api_keys"),
    own("keys.list_own", "api_keys"),
    own("keys.revoke", "api_keys").by_id().audit("keys.revoke"),
    tenant("agents.validate", P::AGENTS_READ, "agents"),
    tenant("agents.create", P::AGENTS_CREATE, "agents").audit("agents.create"),
    tenant("agents.get", P::AGENTS_READ, "agents").by_id(),
    tenant("agents.version", P::AGENTS_READ, "agents").by_id(),
    tenant("agents.list", P::AGENTS_READ, "agents"),
    tenant("agents.update", P::AGENTS_UPDATE, "agents").by_id().audit("agents.update"),
    tenant("agents.deploy", P::AGENTS_DEPLOY, "agents").by_id().audit("agents.deploy"),
    tenant("agents.rollback", P::AGENTS_DEPLOY, "agents").by_id().audit("agents.rollback"),
    tenant("agents.pause", P::AGENTS_DEPLOY, "agents").by_id().audit("agents.pause"),
    tenant("agents.resume", P::AGENTS_DEPLOY, "agents").by_id().audit("agents.resume"),
    tenant("agents.retire", P::AGENTS_DEPLOY, "agents").by_id().audit("agents.retire"),
    tenant("agents.delete", P::AGENTS_DELETE, "agents").by_id().audit("agents.delete"),
    tenant("runs.start", P::AGENTS_RUN, "agents").by_id().audit("runs.start").meter("llm.requests"),
    tenant("runs.get", P::RUNS_READ, "runs").by_id(),
    tenant("runs.record", P::RUNS_READ, "runs").by_id(),
    tenant("runs.list", P::RUNS_READ, "runs"),
    tenant("runs.events", P::RUNS_READ, "runs").by_id(),
    tenant("runs.chain", P::RUNS_READ, "runs").by_id(),
    tenant("runs.journal", P::RUNS_READ, "runs").by_id(),
    tenant("runs.cancel", P::RUNS_CANCEL, "runs").by_id().audit("runs.cancel"),
    tenant("runs.approve", P::RUNS_APPROVE, "runs").by_id().audit("runs.approve"),
    tenant("sessions.open", P::AGENTS_RUN, "agents").by_id().audit("sessions.open"),
    tenant("sessions.get", P::RUNS_READ, "sessions").by_id(),
    tenant("sessions.list", P::RUNS_READ, "sessions"),
    tenant("models.list", P::AGENTS_READ, "models"),
    tenant("models.explain", P::AGENTS_READ, "models"),
    tenant("models.complete", P::AGENTS_RUN, "models").meter("llm.requests"),
    tenant("models.stream", P::AGENTS_RUN, "models").meter("llm.requests"),
    tenant("models.embed", P::AGENTS_RUN, "models").meter("llm.requests"),
    tenant("models.rerank", P::AGENTS_RUN, "models").meter("llm.requests"),
    tenant("models.compare", P::AGENTS_RUN, "models").meter("llm.requests"),
    tenant("connectors.list", P::INTEGRATIONS_READ, "integrations"),
    tenant("connectors.get", P::INTEGRATIONS_READ, "integrations"),
    tenant("integrations.create", P::INTEGRATIONS_CREATE, "integrations").audit("integrations.create"),
    tenant("integrations.get", P::INTEGRATIONS_READ, "integrations").by_id(),
    tenant("integrations.list", P::INTEGRATIONS_READ, "integrations"),
    tenant("integrations.update", P::INTEGRATIONS_UPDATE, "integrations")
        .by_id()
        .audit("integrations.update"),
    tenant("integrations.delete", P::INTEGRATIONS_DELETE, "integrations")
        .by_id()
        .audit("integrations.delete"),
    tenant("integrations.test", P::INTEGRATIONS_INVOKE, "integrations").by_id().audit("integrations.test"),
    tenant("integrations.authorize", P::INTEGRATIONS_UPDATE, "integrations").by_id(),
    tenant("integrations.connect", P::INTEGRATIONS_UPDATE, "integrations")
        .by_id()
        .audit("integrations.connect"),
    tenant("integrations.invoke", P::INTEGRATIONS_INVOKE, "integrations")
        .by_id()
        .audit("integrations.invoke")
        .meter("integration.calls"),
    op("webhooks.receive", Scope::Host, None, "webhooks"),
    tenant("webhooks.create", P::INTEGRATIONS_CREATE, "webhooks").audit("webhooks.create"),
    tenant("webhooks.get", P::INTEGRATIONS_READ, "webhooks").by_id(),
    tenant("webhooks.list", P::INTEGRATIONS_READ, "webhooks"),
    tenant("webhooks.update", P::INTEGRATIONS_UPDATE, "webhooks").by_id().audit("webhooks.update"),
    tenant("webhooks.rotate", P::INTEGRATIONS_UPDATE, "webhooks").by_id().audit("webhooks.rotate"),
    tenant("webhooks.delete", P::INTEGRATIONS_DELETE, "webhooks").by_id().audit("webhooks.delete"),
    tenant("webhooks.deliveries", P::INTEGRATIONS_READ, "webhooks").by_id(),
    tenant("webhooks.delivery", P::INTEGRATIONS_READ, "webhooks").by_id(),
    tenant("webhooks.replay", P::INTEGRATIONS_UPDATE, "webhooks").by_id().audit("webhooks.replay"),
    tenant("audit.entries", P::AUDIT_READ, "audit"),
    tenant("audit.checkpoint", P::AUDIT_READ, "audit"),
    tenant("audit.prove", P::AUDIT_READ, "audit"),
    tenant("audit.consistency", P::AUDIT_READ, "audit"),
    tenant("audit.verify", P::AUDIT_READ, "audit"),
    operator("audit.platform_entries", P::AUDIT_READ),
    operator("audit.verify_platform", P::AUDIT_READ),
    tenant("usage.summary", P::USAGE_READ, "usage"),
    tenant("usage.events", P::USAGE_READ, "usage"),
    tenant("events.subscribe", P::AUDIT_READ, "events"),
    tenant("events.read", P::AUDIT_READ, "events"),
];
