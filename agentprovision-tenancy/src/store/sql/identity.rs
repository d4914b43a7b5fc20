//! Users and API keys.

use agentprovision_core::context::{Context, OperatorContext};
use agentprovision_core::effect::{Effects, OperatorEffects};
use agentprovision_core::id::{ApiKeyId, TenantId, UserId};
use agentprovision_core::identity::{ApiKey, ApiKeyStore, Role, User, UserStore};
use agentprovision_core::page::{Cursor, Page, PageRequest};
use agentprovision_core::tenant::Revision;
use agentprovision_core::{Error, Result, Timestamp};
use async_trait::async_trait;

use super::conn::{TenantTx, Turn};
use super::value::{Row, from_json, tenant_sql, to_json, values};
use super::{SqlStore, effects, residence, start};

macro_rules! user_columns {
    () => {
        "id, email, name, roles, active, created_at, updated_at, revision"
    };
}

macro_rules! key_columns {
    () => {
        "id, user_id, name, digest, scopes, expires_at, revoked_at, created_at"
    };
}

fn no_user() -> Error {
    Error::not_found("no such user")
}

fn no_key() -> Error {
    Error::not_found("no such API key")
}

fn read_user(mut row: Row) -> Result<User> {
    Ok(User {
        id: row.next()?,
        email: row.next()?,
        name: row.next()?,
        roles: row.json()?,
        active: row.next()?,
        created_at: row.next()?,
        updated_at: row.next()?,
        revision: row.next()?,
    })
}

fn read_key(mut row: Row) -> Result<ApiKey> {
    Ok(ApiKey {
        id: row.next()?,
        user: row.next()?,
        name: row.next()?,
        digest: row.next()?,
        scopes: row.next::<Option<String>>()?.map(|scopes| from_json(&scopes)).transpose()?,
        expires_at: row.next()?,
        revoked_at: row.next()?,
        created_at: row.next()?,
    })
}

async fn insert_user(tx: &mut TenantTx<'_>, user: User) -> Result<()> {
    let sql = tenant_sql!(concat!(
        "INSERT INTO users (tenant_id, ",
        user_columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING"
    ));
    let roles = to_json(&user.roles)?;
    let User { id, email, name, active, created_at, updated_at, revision, .. } = user;
    let row = values![id, email, name, roles, active, created_at, updated_at, revision];
    match tx.execute(sql, row).await? {
        0 => Err(Error::already_exists("the id or the e-mail address of the user is taken")),
        _ => Ok(()),
    }
}

async fn user_exists(tx: &mut TenantTx<'_>, id: UserId) -> Result<()> {
    match tx.exists(tenant_sql!("SELECT 1 FROM users WHERE tenant_id = $1 AND id = $2"), values![id]).await? {
        true => Ok(()),
        false => Err(no_user()),
    }
}

async fn has_admin(tx: &mut TenantTx<'_>) -> Result<bool> {
    for mut row in tx.rows(tenant_sql!("SELECT roles FROM users WHERE tenant_id = $1"), vec![]).await? {
        if row.json::<Vec<Role>>()?.contains(&Role::TENANT_ADMIN) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The condition of `Guard::AdminRemains`.
pub(super) async fn check_admin_remains(tx: &mut TenantTx<'_>, user: UserId) -> Result<()> {
    tx.turn(Turn::Admins).await?;
    let sql = tenant_sql!("SELECT id, roles FROM users WHERE tenant_id = $1 AND active = 1");
    let mut admins = Vec::new();
    for mut row in tx.rows(sql, vec![]).await? {
        let id: UserId = row.next()?;
        if row.json::<Vec<Role>>()?.contains(&Role::TENANT_ADMIN) {
            admins.push(id);
        }
    }
    if !admins.is_empty() && admins.iter().all(|admin| *admin == user) {
        return Err(Error::conflict("the tenant would be left without an admin"));
    }
    Ok(())
}

async fn replace_user(tx: &mut TenantTx<'_>, user: User, expected: Revision) -> Result<()> {
    let sql = tenant_sql!(lock "SELECT revision FROM users WHERE tenant_id = $1 AND id = $2");
    let revision: Revision = tx.row(sql, values![user.id]).await?.ok_or_else(no_user)?.next()?;
    if revision != expected {
        return Err(Error::conflict("the user was changed since it was read"));
    }
    let taken = tenant_sql!("SELECT 1 FROM users WHERE tenant_id = $1 AND email = $2 AND id <> $3");
    if tx.exists(taken, values![&*user.email, user.id]).await? {
        return Err(Error::already_exists("the e-mail address is taken"));
    }
    let sql = tenant_sql!(
        "UPDATE users SET email = $3, name = $4, roles = $5, active = $6, created_at = $7, updated_at = $8, \
         revision = $9 WHERE tenant_id = $1 AND id = $2"
    );
    let roles = to_json(&user.roles)?;
    let User { id, email, name, active, created_at, updated_at, .. } = user;
    let row = values![id, email, name, roles, active, created_at, updated_at, expected + 1];
    tx.execute(sql, row).await.map(drop)
}

async fn get_user(tx: &mut TenantTx<'_>, id: UserId) -> Result<User> {
    let sql =
        tenant_sql!(concat!("SELECT ", user_columns!(), " FROM users WHERE tenant_id = $1 AND id = $2"));
    read_user(tx.row(sql, values![id]).await?.ok_or_else(no_user)?)
}

async fn get_key(tx: &mut TenantTx<'_>, id: ApiKeyId) -> Result<ApiKey> {
    let sql =
        tenant_sql!(concat!("SELECT ", key_columns!(), " FROM api_keys WHERE tenant_id = $1 AND id = $2"));
    read_key(tx.row(sql, values![id]).await?.ok_or_else(no_key)?)
}

async fn insert_key(tx: &mut TenantTx<'_>, key: ApiKey) -> Result<()> {
    user_exists(tx, key.user).await?;
    let sql = tenant_sql!(concat!(
        "INSERT INTO api_keys (tenant_id, ",
        key_columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING"
    ));
    let scopes = key.scopes.as_ref().map(to_json).transpose()?;
    let ApiKey { id, user, name, digest, expires_at, revoked_at, created_at, .. } = key;
    let row = values![id, user, name, digest, scopes, expires_at, revoked_at, created_at];
    match tx.execute(sql, row).await? {
        0 => Err(Error::already_exists("the id of the API key is taken")),
        _ => Ok(()),
    }
}

#[async_trait]
impl UserStore for SqlStore {
    async fn insert(&self, ctx: &Context, user: User, all: Effects) -> Result<()> {
        self.change(ctx.tenant(), all, |tx| Box::pin(insert_user(tx, user))).await
    }

    async fn bootstrap(
        &self,
        _: &OperatorContext,
        tenant: TenantId,
        user: User,
        all: OperatorEffects,
    ) -> Result<()> {
        self.write_system(move |mut system| {
            Box::pin(async move {
                let mut tx = system.tenant(tenant);
                residence::at_home(&mut tx).await?;
                effects::guard(&mut tx, &all.tenant).await?;
                tx.turn(Turn::Admins).await?;
                if has_admin(&mut tx).await? {
                    return Err(Error::conflict("the tenant has an admin"));
                }
                insert_user(&mut tx, user).await?;
                effects::apply(&mut tx, all.tenant).await?;
                effects::platform(&mut system, &all.platform).await
            })
        })
        .await
    }

    async fn get(&self, ctx: &Context, id: UserId) -> Result<User> {
        self.member(ctx.tenant(), id).await
    }

    async fn list(&self, ctx: &Context, page: PageRequest) -> Result<Page<User>> {
        let page = page.checked()?;
        let (created, after) = start(&page);
        let values = values![created, after, page.limit + 1];
        let sql = tenant_sql!(concat!(
            "SELECT ",
            user_columns!(),
            " FROM users WHERE tenant_id = $1 AND (created_at, id) > ($2, $3) ORDER BY created_at, id LIMIT $4"
        ));
        let users = self.read_rows(ctx.tenant(), sql, values, read_user).await?;
        Ok(Page::from_overfull(users, page.limit, |user| Cursor {
            created: user.created_at,
            id: user.id.uuid(),
        }))
    }

    async fn replace(&self, ctx: &Context, user: User, expected: Revision, all: Effects) -> Result<()> {
        self.change(ctx.tenant(), all, move |tx| Box::pin(replace_user(tx, user, expected))).await
    }

    async fn delete(&self, ctx: &Context, id: UserId, all: Effects) -> Result<()> {
        self.change(ctx.tenant(), all, move |tx| {
            Box::pin(async move {
                user_exists(tx, id).await?;
                let keys = tenant_sql!("DELETE FROM api_keys WHERE tenant_id = $1 AND user_id = $2");
                tx.execute(keys, values![id]).await?;
                let user = tenant_sql!("DELETE FROM users WHERE tenant_id = $1 AND id = $2");
                tx.execute(user, values![id]).await.map(drop)
            })
        })
        .await
    }

    async fn member(&self, tenant: TenantId, id: UserId) -> Result<User> {
        self.read(tenant, move |mut tx| Box::pin(async move { get_user(&mut tx, id).await })).await
    }
}

#[async_trait]
impl ApiKeyStore for SqlStore {
    async fn insert(&self, ctx: &Context, key: ApiKey, all: Effects) -> Result<()> {
        self.change(ctx.tenant(), all, |tx| Box::pin(insert_key(tx, key))).await
    }

    async fn get(&self, ctx: &Context, id: ApiKeyId) -> Result<ApiKey> {
        self.lookup(ctx.tenant(), id).await
    }

    async fn list(&self, ctx: &Context, page: PageRequest) -> Result<Page<ApiKey>> {
        let page = page.checked()?;
        let (created, after) = start(&page);
        let values = values![created, after, page.limit + 1];
        let sql = tenant_sql!(concat!(
            "SELECT ",
            key_columns!(),
            " FROM api_keys WHERE tenant_id = $1 AND (created_at, id) > ($2, $3) ORDER BY created_at, id LIMIT $4"
        ));
        let keys = self.read_rows(ctx.tenant(), sql, values, read_key).await?;
        Ok(Page::from_overfull(keys, page.limit, |key| Cursor { created: key.created_at, id: key.id.uuid() }))
    }

    async fn revoke(&self, ctx: &Context, id: ApiKeyId, at: Timestamp, all: Effects) -> Result<()> {
        self.change(ctx.tenant(), all, move |tx| {
            Box::pin(async move {
                let sql = tenant_sql!(
                    "UPDATE api_keys SET revoked_at = coalesce(revoked_at, $3) WHERE tenant_id = $1 AND id = $2"
                );
                match tx.execute(sql, values![id, at]).await? {
                    0 => Err(no_key()),
                    _ => Ok(()),
                }
            })
        })
        .await
    }

    async fn lookup(&self, tenant: TenantId, id: ApiKeyId) -> Result<ApiKey> {
        self.read(tenant, move |mut tx| Box::pin(async move { get_key(&mut tx, id).await })).await
    }
}
