//! [`UserStore`] and [`ApiKeyStore`] in memory.

use async_trait::async_trait;

use super::{MemoryDb, State, TenantData, page};
use crate::clock::Timestamp;
use crate::context::{Context, OperatorContext};
use crate::effect::{Effects, OperatorEffects};
use crate::error::{Error, Result};
use crate::id::{ApiKeyId, TenantId, UserId};
use crate::identity::{ApiKey, ApiKeyStore, Role, User, UserStore};
use crate::page::{Cursor, Page, PageRequest};
use crate::tenant::Revision;

impl TenantData {
    /// The condition of [`Guard::AdminRemains`](crate::effect::Guard::AdminRemains).
    pub(super) fn check_admin_remains(&self, id: UserId) -> Result<()> {
        let is_admin = |user: &&User| user.active && user.roles.contains(&Role::TENANT_ADMIN);
        let mut admins = self.users.values().filter(is_admin).peekable();
        if admins.peek().is_some() && admins.all(|user| user.id == id) {
            return Err(Error::conflict("the tenant would be left without an admin"));
        }
        Ok(())
    }

    fn user(&self, id: UserId) -> Result<&User> {
        self.users.get(&id).ok_or_else(|| Error::not_found("no such user"))
    }

    fn key(&self, id: ApiKeyId) -> Result<&ApiKey> {
        self.keys.get(&id).ok_or_else(|| Error::not_found("no such API key"))
    }

    /// Refuses an address that another user has.
    fn check_email(&self, user: &User) -> Result<()> {
        if self.users.values().any(|other| other.id != user.id && other.email == user.email) {
            return Err(Error::already_exists("the e-mail address is taken"));
        }
        Ok(())
    }

    /// Refuses a new user whose id or address is taken.
    fn check_new_user(&self, user: &User) -> Result<()> {
        if self.users.contains_key(&user.id) {
            return Err(Error::already_exists("the user exists"));
        }
        self.check_email(user)
    }
}

#[async_trait]
impl UserStore for MemoryDb {
    async fn insert(&self, ctx: &Context, user: User, effects: Effects) -> Result<()> {
        self.open_metadata(ctx.tenant())?.change_in(ctx.tenant(), effects, |data| {
            data.check_new_user(&user)?;
            Ok(move |data: &mut TenantData| {
                data.users.insert(user.id, user);
            })
        })
    }

    async fn bootstrap(
        &self,
        _: &OperatorContext,
        tenant: TenantId,
        user: User,
        effects: OperatorEffects,
    ) -> Result<()> {
        self.open_metadata(tenant)?.change(tenant, effects.tenant, &effects.platform, |state| {
            let data = state.of(tenant);
            if data.users.values().any(|user| user.roles.contains(&Role::TENANT_ADMIN)) {
                return Err(Error::conflict("the tenant has an admin already"));
            }
            data.check_new_user(&user)?;
            Ok(move |state: &mut State| {
                state.of_mut(tenant).users.insert(user.id, user);
            })
        })
    }

    async fn get(&self, ctx: &Context, id: UserId) -> Result<User> {
        self.open()?.of(ctx.tenant()).user(id).cloned()
    }

    async fn list(&self, ctx: &Context, request: PageRequest) -> Result<Page<User>> {
        let position = |user: &User| Cursor { created: user.created_at, id: user.id.uuid() };
        page(self.open()?.of(ctx.tenant()).users.values(), request, position)
    }

    async fn replace(
        &self,
        ctx: &Context,
        mut user: User,
        expected: Revision,
        effects: Effects,
    ) -> Result<()> {
        self.open_metadata(ctx.tenant())?.change_in(ctx.tenant(), effects, |data| {
            if data.user(user.id)?.revision != expected {
                return Err(Error::conflict("the user was changed in the meantime"));
            }
            data.check_email(&user)?;
            user.revision = expected + 1;
            Ok(move |data: &mut TenantData| {
                data.users.insert(user.id, user);
            })
        })
    }

    async fn delete(&self, ctx: &Context, id: UserId, effects: Effects) -> Result<()> {
        self.open_metadata(ctx.tenant())?.change_in(ctx.tenant(), effects, |data| {
            data.user(id)?;
            Ok(move |data: &mut TenantData| {
                data.users.remove(&id);
                data.keys.retain(|_, key| key.user != id);
            })
        })
    }

    async fn member(&self, tenant: TenantId, id: UserId) -> Result<User> {
        self.open()?.of(tenant).user(id).cloned()
    }
}

#[async_trait]
impl ApiKeyStore for MemoryDb {
    async fn insert(&self, ctx: &Context, key: ApiKey, effects: Effects) -> Result<()> {
        self.open_metadata(ctx.tenant())?.change_in(ctx.tenant(), effects, |data| {
            data.user(key.user)?;
            if data.keys.contains_key(&key.id) {
                return Err(Error::already_exists("the API key exists"));
            }
            Ok(move |data: &mut TenantData| {
                data.keys.insert(key.id, key);
            })
        })
    }

    async fn get(&self, ctx: &Context, id: ApiKeyId) -> Result<ApiKey> {
        self.open()?.of(ctx.tenant()).key(id).cloned()
    }

    async fn list(&self, ctx: &Context, request: PageRequest) -> Result<Page<ApiKey>> {
        let position = |key: &ApiKey| Cursor { created: key.created_at, id: key.id.uuid() };
        page(self.open()?.of(ctx.tenant()).keys.values(), request, position)
    }

    async fn revoke(&self, ctx: &Context, id: ApiKeyId, at: Timestamp, effects: Effects) -> Result<()> {
        self.open_metadata(ctx.tenant())?.change_in(ctx.tenant(), effects, |data| {
            let mut key = data.key(id)?.clone();
            key.revoked_at.get_or_insert(at);
            Ok(move |data: &mut TenantData| {
                data.keys.insert(id, key);
            })
        })
    }

    async fn lookup(&self, tenant: TenantId, id: ApiKeyId) -> Result<ApiKey> {
        self.open()?.of(tenant).key(id).cloned()
    }
}
