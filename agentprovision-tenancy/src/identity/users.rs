//! The users of a tenant: [`Users`].

use std::sync::Arc;

use agentprovision_core::access::Access;
use agentprovision_core::audit::AuditRecord;
use agentprovision_core::authz::{Permission, PermissionSet, Resource};
use agentprovision_core::backend::Stores;
use agentprovision_core::effect::{Effects, Guard};
use agentprovision_core::event::PlatformEvent;
use agentprovision_core::id::UserId;
use agentprovision_core::identity::{Role, User};
use agentprovision_core::page::{Page, PageRequest};
use agentprovision_core::task::detached;
use agentprovision_core::{Context, Error, Result};
use serde_json::{Value, json};

use super::input::{NewUser, UserUpdate};
use crate::rbac::{RbacAuthorizer, Roles};
use crate::tenant::names;

/// Creates, changes and removes the users of a tenant. Cheap to clone.
///
/// Roles are given and taken with `roles:assign`, and only by somebody who holds everything those roles grant. A tenant
/// keeps at least one active `tenant_admin`. A change counts in the next check of this process.
#[derive(Clone, Debug)]
pub struct Users {
    pub(crate) access: Access,
    pub(crate) stores: Stores,
    pub(crate) roles: Arc<Roles>,
    pub(crate) authorizer: Arc<RbacAuthorizer>,
}

impl Users {
    /// Adds an active user. Needs `users:create` and, where roles are given, `roles:assign`.
    ///
    /// # Errors
    /// `already_exists` for a taken address; `invalid_input` or `too_large` for bad text and for roles that are unknown
    /// or count above the tenants; `unsupported` for a role that is bounded to projects; `permission_denied`, also for
    /// roles that grant more than the caller holds; `tenant_suspended`; and those of [`Access::check`].
    pub async fn create(&self, ctx: &Context, new: NewUser) -> Result<User> {
        self.access.check(ctx, Permission::USERS_CREATE, Resource::all("users")).await?;
        if !new.roles.is_empty() {
            self.access.check(ctx, Permission::ROLES_ASSIGN, Resource::all("roles")).await?;
        }
        let env = self.access.env();
        let user = new.into_user(env, &self.roles)?;
        self.grantable(ctx, &user.roles)?;
        let record =
            AuditRecord::of(ctx, env, "users.create", "users", user.id).with("roles", names(&user.roles));
        let data = json!({ "roles": names(&user.roles) });
        let effects =
            Effects::audited(record).event(PlatformEvent::of(ctx, env, "user.created", user.id, data));
        let (service, ctx, stored) = (self.clone(), ctx.clone(), user.clone());
        detached(async move {
            service.stores.users.insert(&ctx, stored.clone(), effects).await?;
            service.publish(&ctx, &stored);
            Ok(())
        })
        .await?;
        Ok(user)
    }

    /// A user. Needs `users:read`.
    ///
    /// # Errors
    /// `not_found`, also without the permission; and those of [`Access::check`].
    pub async fn get(&self, ctx: &Context, id: UserId) -> Result<User> {
        self.access.read(ctx, Permission::USERS_READ, Resource::one("users", id)).await?;
        self.stores.users.get(ctx, id).await
    }

    /// All users, oldest first. Needs `users:read`.
    ///
    /// # Errors
    /// `invalid_input` for a bad page; and those of [`Access::check`].
    pub async fn list(&self, ctx: &Context, page: PageRequest) -> Result<Page<User>> {
        self.access.list(ctx, Permission::USERS_READ, "users").await?;
        self.stores.users.list(ctx, page.checked()?).await
    }

    /// Changes name, activity or roles of a user. Needs `users:update` and, where roles are set, `roles:assign`.
    ///
    /// # Errors
    /// `not_found`, also with neither the permission nor `users:read`; `conflict` when the tenant would be without an
    /// active `tenant_admin`, or the user was changed at the same time; otherwise as [`Users::create`].
    pub async fn update(&self, ctx: &Context, id: UserId, update: UserUpdate) -> Result<User> {
        self.access
            .change(ctx, Permission::USERS_UPDATE, Permission::USERS_READ, Resource::one("users", id))
            .await?;
        if update.roles.is_some() {
            self.access.check(ctx, Permission::ROLES_ASSIGN, Resource::one("users", id)).await?;
        }
        let env = self.access.env();
        let old = self.stores.users.get(ctx, id).await?;
        let new = update.apply(old.clone(), &self.roles)?;
        let added = without(&new.roles, &old.roles);
        let removed = without(&old.roles, &new.roles);
        self.grantable(ctx, &added)?;
        self.grantable(ctx, &removed)?;

        let changes = [("name", old.name != new.name), ("active", old.active != new.active)];
        let changed: Vec<Value> =
            changes.iter().filter(|(_, is)| *is).map(|(field, _)| (*field).into()).collect();
        let record = AuditRecord::of(ctx, env, "users.update", "users", id).with("changed", changed);
        let data = json!({ "active": new.active, "roles": names(&new.roles) });
        let mut effects =
            Effects::audited(record).event(PlatformEvent::of(ctx, env, "user.updated", id, data));
        if !(added.is_empty() && removed.is_empty()) {
            let record = AuditRecord::of(ctx, env, "roles.assign", "users", id);
            effects.audit.push(record.with("added", names(&added)).with("removed", names(&removed)));
        }
        if !(new.active && new.roles.contains(&Role::TENANT_ADMIN)) {
            effects.guards.push(Guard::AdminRemains(id));
        }
        let new = User { updated_at: env.now(), revision: old.revision + 1, ..new };
        let (service, ctx, stored) = (self.clone(), ctx.clone(), new.clone());
        detached(async move {
            service.stores.users.replace(&ctx, stored.clone(), old.revision, effects).await?;
            service.publish(&ctx, &stored);
            Ok(())
        })
        .await?;
        Ok(new)
    }

    /// Removes a user and the user's API keys; agents and runs stay. Needs `users:delete`.
    ///
    /// # Errors
    /// `not_found`, also with neither the permission nor `users:read`; `conflict` when the tenant would be without an
    /// active `tenant_admin`; `tenant_suspended`; and those of [`Access::check`].
    pub async fn delete(&self, ctx: &Context, id: UserId) -> Result<()> {
        self.access
            .change(ctx, Permission::USERS_DELETE, Permission::USERS_READ, Resource::one("users", id))
            .await?;
        let env = self.access.env();
        let record = AuditRecord::of(ctx, env, "users.delete", "users", id);
        let mut effects =
            Effects::audited(record).event(PlatformEvent::of(ctx, env, "user.deleted", id, json!({})));
        effects.guards.push(Guard::AdminRemains(id));
        let (service, ctx) = (self.clone(), ctx.clone());
        detached(async move {
            service.stores.users.delete(&ctx, id, effects).await?;
            service.authorizer.revoke(ctx.tenant(), id);
            Ok(())
        })
        .await
    }

    /// Tells the authorizer what a stored user may do.
    fn publish(&self, ctx: &Context, user: &User) {
        self.authorizer.set_grants(ctx.tenant(), user.id, current_grants(&self.roles, user), user.revision);
    }

    /// Nobody hands out, or takes away, more than they hold.
    fn grantable(&self, ctx: &Context, roles: &[Role]) -> Result<()> {
        let held = self.authorizer.effective(ctx);
        match roles.iter().find(|role| !self.roles.grants(std::slice::from_ref(*role)).is_subset(&held)) {
            Some(role) => Err(Error::denied(format!("`{role}` grants more than the caller holds"))),
            None => Ok(()),
        }
    }
}

/// What a stored user may do: nothing while inactive.
pub(crate) fn current_grants(roles: &Roles, user: &User) -> PermissionSet {
    if user.active { roles.grants(&user.roles) } else { PermissionSet::EMPTY }
}

fn without(roles: &[Role], others: &[Role]) -> Vec<Role> {
    roles.iter().filter(|role| !others.contains(role)).cloned().collect()
}
