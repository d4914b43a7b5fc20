//! What is kept in memory of tenants, users and keys, and when it does not hold any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use agentprovision_core::authz::{Permission, Resource};
use agentprovision_core::backend::Stores;
use agentprovision_core::changes::{ChangeFeed, Changes, Mark};
use agentprovision_core::context::Credentials;
use agentprovision_core::effect::{Effects, OperatorEffects};
use agentprovision_core::id::{TenantId, UserId};
use agentprovision_core::identity::{Role, User, UserStore};
use agentprovision_core::page::{Page, PageRequest};
use agentprovision_core::tenant::Revision;
use agentprovision_core::{Context, Error, ErrorKind, OperatorContext, Result};
use agentprovision_tenancy::Tenancy;
use agentprovision_tenancy::identity::{ApiKeyRequest, UserUpdate};
use async_trait::async_trait;
use tokio::sync::Notify;

use super::{World, kind, pepper, roles, scenarios};

/// What another process changes is seen when this time has passed.
const BOUND: Duration = Duration::from_millis(250);

/// The same store from another process.
fn elsewhere(world: &World) -> Tenancy {
    Tenancy::new(world.issuer.clone(), &world.stores, roles(), pepper())
}

async fn may(tenancy: &Tenancy, ctx: &Context) -> std::result::Result<(), ErrorKind> {
    let check = tenancy.access().check(ctx, Permission::AGENTS_READ, Resource::all("agents"));
    check.await.map_err(|error| error.kind())
}

/// A user store that counts what is asked of it, and holds an answer back when it is told to.
#[derive(Debug)]
struct Slow {
    inner: Arc<dyn UserStore>,
    asked: AtomicUsize,
    hold: AtomicBool,
    read: Notify,
    go: Notify,
}

impl Slow {
    fn over(stores: &mut Stores) -> Arc<Self> {
        let slow = Arc::new(Self {
            inner: stores.users.clone(),
            asked: AtomicUsize::new(0),
            hold: AtomicBool::new(false),
            read: Notify::new(),
            go: Notify::new(),
        });
        stores.users = slow.clone();
        slow
    }
}

#[async_trait]
impl UserStore for Slow {
    async fn insert(&self, ctx: &Context, user: User, effects: Effects) -> Result<()> {
        self.inner.insert(ctx, user, effects).await
    }

    async fn bootstrap(
        &self,
        op: &OperatorContext,
        tenant: TenantId,
        user: User,
        effects: OperatorEffects,
    ) -> Result<()> {
        self.inner.bootstrap(op, tenant, user, effects).await
    }

    async fn get(&self, ctx: &Context, id: UserId) -> Result<User> {
        self.inner.get(ctx, id).await
    }

    async fn list(&self, ctx: &Context, page: PageRequest) -> Result<Page<User>> {
        self.inner.list(ctx, page).await
    }

    async fn replace(&self, ctx: &Context, user: User, expected: Revision, effects: Effects) -> Result<()> {
        self.inner.replace(ctx, user, expected, effects).await
    }

    async fn delete(&self, ctx: &Context, id: UserId, effects: Effects) -> Result<()> {
        self.inner.delete(ctx, id, effects).await
    }

    async fn member(&self, tenant: TenantId, id: UserId) -> Result<User> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let found = self.inner.member(tenant, id).await;
        if self.hold.load(Ordering::SeqCst) {
            self.read.notify_one();
            self.go.notified().await;
        }
        found
    }
}

/// A feed that can be told to fail.
#[derive(Debug)]
struct Silent(Arc<dyn ChangeFeed>, AtomicBool);

#[async_trait]
impl ChangeFeed for Silent {
    async fn changed(&self, since: Option<&Mark>) -> Result<Changes> {
        if self.1.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "nobody answers"));
        }
        self.0.changed(since).await
    }

    async fn told(&self, heard: u64) -> u64 {
        self.0.told(heard).await
    }
}

scenarios! {
    async fn what_another_process_changes_counts_for_contexts_that_are_around(world) {
        let (here, there) = (&world.tenancy, elsewhere(&world));
        let ada = world.user("ada", &[Role::AGENT_MANAGER]).await;
        let ctx = world.context(&ada).await;
        assert_eq!(may(here, &ctx).await, Ok(()));
        there.users().update(&world.admin, ada.id, UserUpdate::new().roles([Role::AUDITOR])).await.unwrap();
        world.clock.advance(BOUND);
        assert_eq!(may(here, &ctx).await, Err(ErrorKind::PermissionDenied));
        assert!(!world.context(&ada).await.grants().contains(Permission::AGENTS_READ));
        there.users().update(&world.admin, ada.id, UserUpdate::new().roles([Role::AGENT_VIEWER])).await.unwrap();
        world.clock.advance(BOUND);
        assert_eq!(may(here, &ctx).await, Ok(()), "within what the context has");

        there.tenants().suspend(&world.operator, world.acme).await.unwrap();
        world.clock.advance(BOUND);
        assert_eq!(may(here, &ctx).await, Err(ErrorKind::TenantSuspended));
        assert_eq!(kind(here.contexts().context(world.acme, ada.id).await), ErrorKind::TenantSuspended);
        there.tenants().resume(&world.operator, world.acme).await.unwrap();
        world.clock.advance(BOUND);
        assert_eq!(may(here, &ctx).await, Ok(()));

        there.users().delete(&world.admin, ada.id).await.unwrap();
        world.clock.advance(BOUND);
        assert_eq!(may(here, &ctx).await, Err(ErrorKind::PermissionDenied));
        assert_eq!(kind(here.contexts().context(world.acme, ada.id).await), ErrorKind::NotFound);
    }

    async fn a_key_that_another_process_revokes_holds_no_longer(world) {
        let (here, there) = (&world.tenancy, elsewhere(&world));
        let ada = world.user("ada", &[Role::AGENT_MANAGER]).await;
        let ctx = world.context(&ada).await;
        let made = here.keys().create(&ctx, ApiKeyRequest::new("bot")).await.unwrap();
        let other = here.keys().create(&ctx, ApiKeyRequest::new("other")).await.unwrap();
        let credentials = |key: &agentprovision_tenancy::identity::NewApiKey| Credentials::ApiKey(key.secret.clone());
        let limited = here.contexts().authenticate(&credentials(&made)).await.unwrap();
        let beside = here.contexts().authenticate(&credentials(&other)).await.unwrap();
        there.keys().revoke(&world.admin, made.record.id).await.unwrap();
        world.clock.advance(BOUND);
        // First the context of another key: what was read for it says nothing of this one.
        assert_eq!(may(here, &beside).await, Ok(()));
        assert_eq!(may(here, &limited).await, Err(ErrorKind::Unauthenticated));
        assert_eq!(kind(here.contexts().authenticate(&credentials(&made)).await), ErrorKind::Unauthenticated);
        here.contexts().authenticate(&credentials(&other)).await.unwrap();
    }

    async fn what_is_told_of_counts_before_the_time_has_passed(world) {
        let (here, there) = (world.tenancy.clone(), elsewhere(&world));
        let ada = world.user("ada", &[Role::AGENT_MANAGER]).await;
        let ctx = world.context(&ada).await;
        let closing = tokio_util::sync::CancellationToken::new();
        let hearing = tokio::spawn({
            let (here, closing) = (here.clone(), closing.clone());
            async move { here.hear(closing).await }
        });
        there.users().delete(&world.admin, ada.id).await.unwrap();
        // The clock stands still.
        while may(&here, &ctx).await.is_ok() {
            tokio::task::yield_now().await;
        }
        closing.cancel();
        hearing.await.unwrap();
    }

    async fn what_is_kept_is_read_once(world) {
        let mut stores = world.stores.clone();
        let slow = Slow::over(&mut stores);
        let here = Tenancy::new(world.issuer.clone(), &stores, roles(), pepper());
        let ada = world.user("ada", &[Role::AGENT_MANAGER]).await;
        for _ in 0..100 {
            here.contexts().context(world.acme, ada.id).await.unwrap();
        }
        assert_eq!(slow.asked.load(Ordering::SeqCst), 1);
        // Time alone makes nothing old.
        world.clock.advance(BOUND * 100);
        here.contexts().context(world.acme, ada.id).await.unwrap();
        assert_eq!(slow.asked.load(Ordering::SeqCst), 1);
        let (_, gus) = world.globex().await;
        world.clock.advance(BOUND);
        here.contexts().context(world.acme, ada.id).await.unwrap();
        assert_eq!(slow.asked.load(Ordering::SeqCst), 1, "another tenant changed");
        // The same user in another tenant is somebody else.
        assert_eq!(kind(here.contexts().context(gus.tenant(), ada.id).await), ErrorKind::NotFound);
    }

    async fn what_was_read_before_a_change_is_not_kept_after_it(world) {
        let mut stores = world.stores.clone();
        let slow = Slow::over(&mut stores);
        let here = Tenancy::new(world.issuer.clone(), &stores, roles(), pepper());
        let ada = world.user("ada", &[Role::AGENT_MANAGER]).await;
        slow.hold.store(true, Ordering::SeqCst);
        let reading = tokio::spawn({
            let (here, acme) = (here.clone(), world.acme);
            async move { here.contexts().context(acme, ada.id).await }
        });
        slow.read.notified().await;
        slow.hold.store(false, Ordering::SeqCst);
        here.users().update(&world.admin, ada.id, UserUpdate::new().roles([Role::AUDITOR])).await.unwrap();
        slow.go.notify_one();
        let old = reading.await.unwrap().unwrap();
        assert_eq!(may(&here, &old).await, Err(ErrorKind::PermissionDenied));
        let fresh = here.contexts().context(world.acme, ada.id).await.unwrap();
        assert!(!fresh.grants().contains(Permission::AGENTS_READ));
    }

    async fn a_store_that_does_not_answer_lets_nobody_in(world) {
        let mut stores = world.stores.clone();
        let silent = Arc::new(Silent(stores.changes.clone(), AtomicBool::new(false)));
        stores.changes = silent.clone();
        let here = Tenancy::new(world.issuer.clone(), &stores, roles(), pepper());
        let ada = world.user("ada", &[Role::AGENT_MANAGER]).await;
        let ctx = here.contexts().context(world.acme, ada.id).await.unwrap();
        silent.1.store(true, Ordering::SeqCst);
        assert_eq!(may(&here, &ctx).await, Ok(()), "it was asked a moment ago");
        world.clock.advance(BOUND);
        assert_eq!(may(&here, &ctx).await, Err(ErrorKind::PermissionDenied));
        assert_eq!(kind(here.contexts().context(world.acme, ada.id).await), ErrorKind::Unavailable);
        silent.1.store(false, Ordering::SeqCst);
        assert_eq!(may(&here, &ctx).await, Ok(()));
    }
}
