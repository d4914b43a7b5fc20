//! Tenants: [`Tenants`], for operators and for a tenant that looks at itself.

mod archives;
mod backups;
mod input;

use std::sync::Arc;

use agentprovision_core::access::Access;
use agentprovision_core::archive::ArchiveSummary;
use agentprovision_core::audit::AuditRecord;
use agentprovision_core::authz::{Permission, Resource};
use agentprovision_core::backend::Stores;
use agentprovision_core::effect::{Effects, Guard, OperatorEffects};
use agentprovision_core::event::PlatformEvent;
use agentprovision_core::id::TenantId;
use agentprovision_core::identity::{Role, User};
use agentprovision_core::page::{Page, PageRequest};
use agentprovision_core::task::detached;
use agentprovision_core::tenant::{Tenant, TenantState};
use agentprovision_core::{Context, Error, OperatorContext, Result};
use serde_json::{Map, Value, json};

pub use archives::{Archives, LastArchive, RestoreInto, RestoreOptions, Restored};
pub use backups::{BackupOptions, BackupSchedule, Backups};
pub use input::{NewTenant, TenantUpdate};

use crate::identity::NewUser;
use crate::rbac::{RbacAuthorizer, Roles};

/// Creates, suspends, resumes and deletes tenants. Cheap to clone.
///
/// Every change is recorded in the tenant's audit log and in the platform log, in the transaction of the change.
#[derive(Clone, Debug)]
pub struct Tenants {
    pub(crate) access: Access,
    pub(crate) stores: Stores,
    pub(crate) roles: Arc<Roles>,
    pub(crate) authorizer: Arc<RbacAuthorizer>,
}

impl Tenants {
    /// Adds an active tenant.
    ///
    /// # Errors
    /// `already_exists` for a domain that is taken; `invalid_input` or `too_large` for bad names and settings;
    /// `foreign_context`.
    pub async fn create(&self, op: &OperatorContext, new: NewTenant) -> Result<Tenant> {
        self.access.operator(op)?;
        let tenant = new.into_tenant(self.access.env())?;
        let effects = self.effects(op, &tenant, "create", "created");
        self.stores.tenants.create(op, tenant.clone(), effects).await?;
        Ok(tenant)
    }

    /// A tenant, a deleted one too.
    ///
    /// # Errors
    /// `not_found`, `foreign_context`.
    pub async fn get(&self, op: &OperatorContext, id: TenantId) -> Result<Tenant> {
        self.access.operator(op)?;
        self.stores.tenants.get(op, id).await
    }

    /// All tenants, oldest first, deleted ones too.
    ///
    /// # Errors
    /// `invalid_input` for a bad page, `foreign_context`.
    pub async fn list(&self, op: &OperatorContext, page: PageRequest) -> Result<Page<Tenant>> {
        self.access.operator(op)?;
        self.stores.tenants.list(op, page.checked()?).await
    }

    /// The tenant of the context. Needs `tenants:read`.
    ///
    /// # Errors
    /// `not_found` without the permission, and those of [`Access::check`].
    pub async fn own(&self, ctx: &Context) -> Result<Tenant> {
        self.access.read(ctx, Permission::TENANTS_READ, Resource::one("tenants", ctx.tenant())).await?;
        self.stores.tenants.own(ctx).await
    }

    /// Changes name, plan or settings of an active tenant.
    ///
    /// # Errors
    /// `not_found`; `tenant_suspended`; `conflict` when the tenant is deleted or was changed at the same time;
    /// `invalid_input` or `too_large` for a bad value; `foreign_context`.
    pub async fn update(&self, op: &OperatorContext, id: TenantId, update: TenantUpdate) -> Result<Tenant> {
        let tenant = self.changeable(op, id).await?;
        let changed = update.apply(tenant.clone())?;
        let mut effects = self.effects(op, &tenant, "update", "updated");
        effects.tenant.guards.push(Guard::TenantActive);
        self.replace(op, changed, effects).await
    }

    /// Stops everything in a tenant: its users and agents may do nothing, its data is kept.
    ///
    /// # Errors
    /// `not_found`; `conflict` when the tenant is suspended already, deleted, or was changed at the same time;
    /// `foreign_context`.
    pub async fn suspend(&self, op: &OperatorContext, id: TenantId) -> Result<Tenant> {
        self.change_state(op, id, TenantState::Suspended, "suspend", "suspended").await
    }

    /// Lets a suspended tenant go on.
    ///
    /// # Errors
    /// `not_found`; `conflict` when the tenant is active, deleted, or was changed at the same time; `foreign_context`.
    pub async fn resume(&self, op: &OperatorContext, id: TenantId) -> Result<Tenant> {
        self.change_state(op, id, TenantState::Active, "resume", "resumed").await
    }

    /// Removes everything of a tenant but its row, the hashes of its audit log and their head; the platform log tells of
    /// it. With a last archive the tenant is suspended and exported first, and can be restored from that; without one
    /// there is no way back. The files of its backups stay where they are, and nothing here tells of them any more.
    ///
    /// # Errors
    /// `not_found`; `conflict` when the tenant is deleted already or was changed at the same time; those of
    /// [`Archives::export`], and then the tenant is still there, suspended; `foreign_context`.
    pub async fn delete(&self, op: &OperatorContext, id: TenantId, last: LastArchive) -> Result<Tenant> {
        let tenant = self.changeable(op, id).await?;
        let LastArchive::At(path) = last else { return self.remove(op, tenant, None).await };
        let archives = archives::Archives::of(self);
        archives.check_export(&path)?;
        let tenant = match tenant.state {
            TenantState::Active => self.suspend(op, id).await?,
            _ => tenant,
        };
        let archive = archives.export(op, id, path).await?;
        self.remove(op, tenant, Some(archive)).await
    }

    /// Adds the first admin of a tenant: a user with the role `tenant_admin` besides the given ones.
    ///
    /// # Errors
    /// `conflict` when the tenant has an admin, active or not; `already_exists` for a taken address; `not_found`;
    /// `tenant_suspended`; otherwise as [`Users::create`](crate::identity::Users::create).
    pub async fn bootstrap_admin(
        &self,
        op: &OperatorContext,
        tenant: TenantId,
        new: NewUser,
    ) -> Result<User> {
        self.access.operator(op)?;
        let env = self.access.env();
        let user = new.role(Role::TENANT_ADMIN).into_user(env, &self.roles)?;
        let record = |log| {
            AuditRecord::of_operator(op, env, log, "tenants.bootstrap_admin", "users", user.id)
                .with("roles", names(&user.roles))
        };
        let event =
            PlatformEvent::new(env, tenant, "user.created", user.id, json!({ "roles": names(&user.roles) }));
        let effects = OperatorEffects {
            tenant: Effects::audited(record(Some(tenant))).event(
                event.with_correlation(op.request_id().to_string(), Some(op.request_id().to_string())),
            ),
            platform: vec![record(None).with("tenant_id", tenant.to_string())],
        };
        let (service, op, stored) = (self.clone(), op.clone(), user.clone());
        detached(async move {
            let grants = service.roles.grants(&stored.roles);
            let (id, revision) = (stored.id, stored.revision);
            service.stores.users.bootstrap(&op, tenant, stored, effects).await?;
            service.authorizer.set_grants(tenant, id, grants, revision);
            Ok(())
        })
        .await?;
        Ok(user)
    }

    async fn change_state(
        &self,
        op: &OperatorContext,
        id: TenantId,
        state: TenantState,
        verb: &str,
        past: &str,
    ) -> Result<Tenant> {
        let tenant = self.changeable(op, id).await?;
        if tenant.state == state {
            return Err(Error::conflict(format!("the tenant is {} already", state.name())));
        }
        let effects = self.effects(op, &tenant, verb, past);
        self.replace(op, Tenant { state, ..tenant }, effects).await
    }

    async fn remove(
        &self,
        op: &OperatorContext,
        tenant: Tenant,
        archive: Option<ArchiveSummary>,
    ) -> Result<Tenant> {
        let mut effects = self.effects(op, &tenant, "delete", "deleted");
        if let Some(archive) = archive {
            let records = effects.tenant.audit.iter_mut().chain(&mut effects.platform);
            records.for_each(|record| archives::tell(record, &archive));
        }
        let gone = Tenant { state: TenantState::Deleted, domain: None, settings: Map::new(), ..tenant };
        self.replace(op, gone, effects).await
    }

    async fn changeable(&self, op: &OperatorContext, id: TenantId) -> Result<Tenant> {
        let tenant = self.get(op, id).await?;
        if tenant.state == TenantState::Deleted {
            return Err(Error::conflict("the tenant is deleted"));
        }
        Ok(tenant)
    }

    /// Stores `tenant` over the revision it was read at, and tells the authorizer.
    async fn replace(
        &self,
        op: &OperatorContext,
        tenant: Tenant,
        effects: OperatorEffects,
    ) -> Result<Tenant> {
        let expected = tenant.revision;
        let tenant = Tenant { updated_at: self.access.env().now(), revision: expected + 1, ..tenant };
        let (service, op, stored) = (self.clone(), op.clone(), tenant.clone());
        detached(async move {
            let (id, state, revision) = (stored.id, stored.state, stored.revision);
            service.stores.tenants.replace(&op, stored, expected, effects).await?;
            service.authorizer.set_tenant(id, state, revision);
            Ok(())
        })
        .await?;
        Ok(tenant)
    }

    fn effects(&self, op: &OperatorContext, tenant: &Tenant, verb: &str, past: &str) -> OperatorEffects {
        told(op, self.access.env(), tenant.id, &format!("tenants.{verb}"), &format!("tenant.{past}"))
    }
}

/// What tells of an operator's action on a tenant: a record in both logs and an event.
fn told(
    op: &OperatorContext,
    env: &agentprovision_core::Env,
    tenant: TenantId,
    action: &str,
    event: &str,
) -> OperatorEffects {
    let record = |log| AuditRecord::of_operator(op, env, log, action, "tenants", tenant);
    let request = op.request_id().to_string();
    let event = PlatformEvent::new(env, tenant, event, tenant, json!({}))
        .with_correlation(request.clone(), Some(request));
    let within = Effects { audit: vec![record(Some(tenant))], ..Effects::none() };
    OperatorEffects { tenant: within.event(event), platform: vec![record(None)] }
}

/// Role names, for audit records and events.
pub(crate) fn names(roles: &[Role]) -> Vec<Value> {
    roles.iter().map(|role| role.name().into()).collect()
}
