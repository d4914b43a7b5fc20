//! The stores that keep what they read.

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use agentprovision_core::archive::{ArchiveStore, Layout, Part, Restore, Standing};
use agentprovision_core::backend::Stores;
use agentprovision_core::effect::{Effects, OperatorEffects};
use agentprovision_core::id::{ApiKeyId, TenantId, UserId};
use agentprovision_core::identity::{ApiKey, ApiKeyStore, User, UserStore};
use agentprovision_core::page::{Page, PageRequest};
use agentprovision_core::tenant::{Revision, Tenant, TenantState, TenantStore};
use agentprovision_core::{Context, OperatorContext, Result, Timestamp};
use async_trait::async_trait;
use moka::sync::Cache;
use tokio::sync::mpsc;

use super::Watch;

/// Records of each kind that are kept.
const CAPACITY: u64 = 10_000;

/// Stores whose hot records are kept.
pub(super) fn kept(inner: &Stores, watch: &Watch) -> Stores {
    let stores = Arc::new(Kept {
        inner: inner.clone(),
        watch: watch.clone(),
        states: Cache::new(CAPACITY),
        members: Cache::new(CAPACITY),
        keys: Cache::new(CAPACITY),
    });
    Stores {
        tenants: stores.clone(),
        users: stores.clone(),
        keys: stores.clone(),
        archives: stores,
        ..inner.clone()
    }
}

/// Records by tenant and id, each with the count of its tenant's changes when it was read.
type Records<K, V> = Cache<(TenantId, K), (u64, V)>;

#[derive(Debug)]
struct Kept {
    inner: Stores,
    watch: Watch,
    states: Records<(), TenantState>,
    members: Records<UserId, User>,
    keys: Records<ApiKeyId, ApiKey>,
}

/// Counts a change when it is over, however it ends: dropped in the middle it may still be carried out.
struct Changing<'a> {
    watch: &'a Watch,
    tenant: TenantId,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.watch.changed(self.tenant);
    }
}

impl Kept {
    fn changing(&self, tenant: TenantId) -> Changing<'_> {
        Changing { watch: &self.watch, tenant }
    }

    /// What is kept, where it holds; else what `read` reads. What is not there is asked for every time.
    async fn look_up<K, V>(
        &self,
        records: &Records<K, V>,
        (tenant, key): (TenantId, K),
        read: impl Future<Output = Result<V>>,
    ) -> Result<V>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
    {
        self.watch.ensure().await?;
        // Counted before it is read: what changes meanwhile makes it old.
        let count = self.watch.count(tenant);
        match records.get(&(tenant, key.clone())) {
            Some((as_of, value)) if as_of == count => return Ok(value),
            _ => {}
        }
        let value = read.await?;
        records.insert((tenant, key), (count, value.clone()));
        Ok(value)
    }
}

#[async_trait]
impl TenantStore for Kept {
    async fn create(&self, op: &OperatorContext, tenant: Tenant, effects: OperatorEffects) -> Result<()> {
        let _changing = self.changing(tenant.id);
        self.inner.tenants.create(op, tenant, effects).await
    }

    async fn get(&self, op: &OperatorContext, id: TenantId) -> Result<Tenant> {
        self.inner.tenants.get(op, id).await
    }

    async fn list(&self, op: &OperatorContext, page: PageRequest) -> Result<Page<Tenant>> {
        self.inner.tenants.list(op, page).await
    }

    async fn replace(
        &self,
        op: &OperatorContext,
        tenant: Tenant,
        expected: Revision,
        effects: OperatorEffects,
    ) -> Result<()> {
        let _changing = self.changing(tenant.id);
        self.inner.tenants.replace(op, tenant, expected, effects).await
    }

    async fn own(&self, ctx: &Context) -> Result<Tenant> {
        self.inner.tenants.own(ctx).await
    }

    async fn state(&self, id: TenantId) -> Result<TenantState> {
        self.look_up(&self.states, (id, ()), self.inner.tenants.state(id)).await
    }
}

#[async_trait]
impl UserStore for Kept {
    async fn insert(&self, ctx: &Context, user: User, effects: Effects) -> Result<()> {
        let _changing = self.changing(ctx.tenant());
        self.inner.users.insert(ctx, user, effects).await
    }

    async fn bootstrap(
        &self,
        op: &OperatorContext,
        tenant: TenantId,
        user: User,
        effects: OperatorEffects,
    ) -> Result<()> {
        let _changing = self.changing(tenant);
        self.inner.users.bootstrap(op, tenant, user, effects).await
    }

    async fn get(&self, ctx: &Context, id: UserId) -> Result<User> {
        self.inner.users.get(ctx, id).await
    }

    async fn list(&self, ctx: &Context, page: PageRequest) -> Result<Page<User>> {
        self.inner.users.list(ctx, page).await
    }

    async fn replace(&self, ctx: &Context, user: User, expected: Revision, effects: Effects) -> Result<()> {
        let _changing = self.changing(ctx.tenant());
        self.inner.users.replace(ctx, user, expected, effects).await
    }

    async fn delete(&self, ctx: &Context, id: UserId, effects: Effects) -> Result<()> {
        let _changing = self.changing(ctx.tenant());
        self.inner.users.delete(ctx, id, effects).await
    }

    async fn member(&self, tenant: TenantId, id: UserId) -> Result<User> {
        self.look_up(&self.members, (tenant, id), self.inner.users.member(tenant, id)).await
    }
}

#[async_trait]
impl ApiKeyStore for Kept {
    async fn insert(&self, ctx: &Context, key: ApiKey, effects: Effects) -> Result<()> {
        let _changing = self.changing(ctx.tenant());
        self.inner.keys.insert(ctx, key, effects).await
    }

    async fn get(&self, ctx: &Context, id: ApiKeyId) -> Result<ApiKey> {
        self.inner.keys.get(ctx, id).await
    }

    async fn list(&self, ctx: &Context, page: PageRequest) -> Result<Page<ApiKey>> {
        self.inner.keys.list(ctx, page).await
    }

    async fn revoke(&self, ctx: &Context, id: ApiKeyId, at: Timestamp, effects: Effects) -> Result<()> {
        let _changing = self.changing(ctx.tenant());
        self.inner.keys.revoke(ctx, id, at, effects).await
    }

    async fn lookup(&self, tenant: TenantId, id: ApiKeyId) -> Result<ApiKey> {
        self.look_up(&self.keys, (tenant, id), self.inner.keys.lookup(tenant, id)).await
    }
}

#[async_trait]
impl ArchiveStore for Kept {
    fn layout(&self) -> Result<&'static Layout> {
        self.inner.archives.layout()
    }

    async fn standing(&self, op: &OperatorContext, tenant: TenantId) -> Result<Standing> {
        self.inner.archives.standing(op, tenant).await
    }

    async fn export(
        &self,
        op: &OperatorContext,
        tenant: TenantId,
        to: mpsc::Sender<Part>,
        effects: OperatorEffects,
    ) -> Result<()> {
        self.inner.archives.export(op, tenant, to, effects).await
    }

    async fn restore(
        &self,
        op: &OperatorContext,
        restore: Restore,
        from: mpsc::Receiver<Part>,
        effects: OperatorEffects,
    ) -> Result<Tenant> {
        let _changing = self.changing(restore.tenant);
        self.inner.archives.restore(op, restore, from, effects).await
    }
}
