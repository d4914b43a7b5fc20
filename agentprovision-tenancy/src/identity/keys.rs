//! The API keys of a tenant's users: [`ApiKeys`].

use std::fmt;
use std::sync::Arc;

use agentprovision_core::access::Access;
use agentprovision_core::audit::AuditRecord;
use agentprovision_core::authz::{Permission, PermissionSet, Resource};
use agentprovision_core::backend::Stores;
use agentprovision_core::effect::Effects;
use agentprovision_core::event::PlatformEvent;
use agentprovision_core::id::{ApiKeyId, UserId};
use agentprovision_core::identity::{ApiKey, User};
use agentprovision_core::page::{Cursor, Page, PageRequest};
use agentprovision_core::task::detached;
use agentprovision_core::{Context, Error, Result, text};
use secrecy::SecretString;
use serde_json::json;

use super::input::ApiKeyRequest;
use super::secret::{KeyText, Pepper};
use super::users::current_grants;
use crate::rbac::{RbacAuthorizer, Roles};

/// A new key, with the text that is shown this once: the store has a digest only.
pub struct NewApiKey {
    /// The key as it is stored.
    pub record: ApiKey,
    /// The text to give to the client, `apk_<tenant>_<key>_<secret>`.
    pub secret: SecretString,
}

impl fmt::Debug for NewApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewApiKey").field("record", &self.record).finish_non_exhaustive()
    }
}

/// Creates, lists and revokes API keys. Cheap to clone.
///
/// Every active user manages their own keys without a permission. The keys of others are seen with `users:read` and made
/// and revoked with `users:update`. An agent manages no keys, whoever it acts for.
#[derive(Clone, Debug)]
pub struct ApiKeys {
    pub(crate) access: Access,
    pub(crate) stores: Stores,
    pub(crate) roles: Arc<Roles>,
    pub(crate) authorizer: Arc<RbacAuthorizer>,
    pub(crate) pepper: Pepper,
}

impl ApiKeys {
    /// Adds a key, which never may more than the caller: its scopes must be among the caller's grants. A key without
    /// scopes may whatever its user may, now and later, when the caller makes it for themselves with all their grants at
    /// hand; otherwise it is limited to the caller's grants of this moment. It ends no later than the caller's own
    /// credential.
    ///
    /// # Errors
    /// `invalid_input` or `too_large` for a bad name, unknown scopes and a time to end that has passed;
    /// `permission_denied`, also for scopes beyond the caller's grants; `not_found` when there is no such user;
    /// `conflict` when that user is not active; `tenant_suspended`; and those of [`Access::check`].
    pub async fn create(&self, ctx: &Context, request: ApiKeyRequest) -> Result<NewApiKey> {
        let owner = request.user.unwrap_or(ctx.principal().user());
        self.manage(ctx, owner, Resource::one("users", owner)).await?;
        let env = self.access.env();
        let now = env.now();
        let name = text::name("name", &request.name)?;
        if request.expires_at.is_some_and(|at| at <= now) {
            return Err(Error::invalid("`expires_at` has passed"));
        }
        let user = self.stores.users.get(ctx, owner).await?;
        if !user.active {
            return Err(Error::conflict("the user is not active"));
        }
        let id: ApiKeyId = env.id();
        let text = KeyText::new(ctx.tenant(), id, env.random());
        let record = ApiKey {
            id,
            user: owner,
            name,
            digest: self.pepper.digest(&text)?,
            scopes: self.scopes(ctx, &user, request.scopes)?,
            expires_at: earliest(request.expires_at, ctx.expires()),
            revoked_at: None,
            created_at: now,
        };
        let audit = AuditRecord::of(ctx, env, "keys.create", "api_keys", id).with("user", owner.to_string());
        let data = json!({ "user": owner.to_string() });
        let effects = Effects::audited(audit).event(PlatformEvent::of(ctx, env, "api_key.created", id, data));
        self.stores.keys.insert(ctx, record.clone(), effects).await?;
        Ok(NewApiKey { record, secret: text.to_text() })
    }

    /// A key: the caller's own, or with `users:read` anybody's.
    ///
    /// # Errors
    /// `not_found`, also for a key the caller may not see; and those of [`Access::check`].
    pub async fn get(&self, ctx: &Context, id: ApiKeyId) -> Result<ApiKey> {
        self.access.context(ctx)?;
        let found = self.stores.keys.get(ctx, id).await;
        match found {
            Ok(key) if key.user == ctx.principal().user() => {
                self.own(ctx).await?;
                Ok(key)
            }
            found => {
                self.access.read(ctx, Permission::USERS_READ, Resource::one("api_keys", id)).await?;
                found
            }
        }
    }

    /// All keys of the tenant, oldest first, revoked ones too. Needs `users:read`.
    ///
    /// # Errors
    /// `invalid_input` for a bad page; and those of [`Access::check`].
    pub async fn list(&self, ctx: &Context, page: PageRequest) -> Result<Page<ApiKey>> {
        self.access.list(ctx, Permission::USERS_READ, "users").await?;
        self.stores.keys.list(ctx, page.checked()?).await
    }

    /// The caller's own keys, oldest first, revoked ones too.
    ///
    /// # Errors
    /// `invalid_input` for a bad page; and those of [`Access::context`].
    pub async fn list_own(&self, ctx: &Context, page: PageRequest) -> Result<Page<ApiKey>> {
        let user = self.own(ctx).await?;
        let page = page.checked()?;
        let limit = page.limit;
        let mut keys = Vec::new();
        let mut rest = PageRequest::limit(100);
        rest.after = page.after;
        loop {
            let part = self.stores.keys.list(ctx, rest.clone()).await?;
            keys.extend(part.items.into_iter().filter(|key| key.user == user.id));
            match part.next {
                Some(next) if keys.len() <= limit as usize => rest = rest.after(next),
                _ => break,
            }
        }
        Ok(Page::from_overfull(keys, limit, |key| Cursor { created: key.created_at, id: key.id.uuid() }))
    }

    /// Ends a key: the caller's own, or with `users:update` anybody's. Ending it again does nothing more.
    ///
    /// # Errors
    /// `not_found`, also for another's key with neither the permission nor `users:read`; `permission_denied` for one the
    /// caller may only see; `tenant_suspended`; and those of [`Access::check`].
    pub async fn revoke(&self, ctx: &Context, id: ApiKeyId) -> Result<()> {
        self.access.context(ctx)?;
        // Who may not end other keys must not learn here which there are, so the check comes before the answer.
        let found = self.stores.keys.get(ctx, id).await;
        match &found {
            Ok(key) if key.user == ctx.principal().user() => {
                self.own(ctx).await?;
            }
            _ => {
                let resource = Resource::one("api_keys", id);
                self.access.change(ctx, Permission::USERS_UPDATE, Permission::USERS_READ, resource).await?;
                no_agent(ctx)?;
            }
        }
        found?;
        let env = self.access.env();
        let audit = AuditRecord::of(ctx, env, "keys.revoke", "api_keys", id);
        let effects =
            Effects::audited(audit).event(PlatformEvent::of(ctx, env, "api_key.revoked", id, json!({})));
        let (service, ctx, now) = (self.clone(), ctx.clone(), env.now());
        detached(async move {
            service.stores.keys.revoke(&ctx, id, now, effects).await?;
            service.authorizer.revoke_key(id);
            Ok(())
        })
        .await
    }

    /// Whether the caller may change the keys of `owner`.
    async fn manage(&self, ctx: &Context, owner: UserId, resource: Resource) -> Result<()> {
        if owner == ctx.principal().user() {
            self.own(ctx).await.map(drop)
        } else {
            self.access.check(ctx, Permission::USERS_UPDATE, resource).await?;
            no_agent(ctx)
        }
    }

    /// The caller, an active user who acts in person. Without a permission to ask for, this reads the store.
    async fn own(&self, ctx: &Context) -> Result<User> {
        self.access.context(ctx)?;
        self.authorizer.follow(ctx).await?;
        self.authorizer.check_tenant(ctx.tenant())?;
        self.authorizer.check_key(ctx)?;
        no_agent(ctx)?;
        let user = self.stores.users.member(ctx.tenant(), ctx.principal().user()).await?;
        if user.active { Ok(user) } else { Err(Error::denied("the user is not active")) }
    }

    /// The names of what a key is limited to; `None` for no limit but its user's grants.
    fn scopes(
        &self,
        ctx: &Context,
        user: &User,
        wanted: Option<PermissionSet>,
    ) -> Result<Option<Vec<String>>> {
        let held = self.authorizer.effective(ctx);
        let permissions = self.roles.permissions();
        let name = |permission| permissions.name(permission).map(str::to_owned);
        let Some(wanted) = wanted else {
            let all = user.id == ctx.principal().user() && current_grants(&self.roles, user).is_subset(&held);
            return Ok(if all { None } else { Some(held.iter().filter_map(name).collect()) });
        };
        if wanted == PermissionSet::EMPTY {
            return Err(Error::invalid("a key needs at least one scope"));
        }
        let names: Option<Vec<String>> = wanted.iter().map(name).collect();
        let names = names.ok_or_else(|| Error::invalid("a scope is no permission of this platform"))?;
        if wanted.is_subset(&held) {
            Ok(Some(names))
        } else {
            Err(Error::denied("a key cannot have scopes its maker does not hold"))
        }
    }
}

fn no_agent(ctx: &Context) -> Result<()> {
    match ctx.agent() {
        Some(_) => Err(Error::denied("an agent cannot manage API keys")),
        None => Ok(()),
    }
}

fn earliest<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
