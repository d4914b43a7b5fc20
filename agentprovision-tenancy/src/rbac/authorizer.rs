//! The default authorizer: one bit test on the context's grants and one on the grants of this moment.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use agentprovision_core::authz::{
    Authorizer, Decision, Permission, PermissionRegistry, PermissionSet, Resource,
};
use agentprovision_core::id::{ApiKeyId, TenantId, UserId};
use agentprovision_core::tenant::{Revision, TenantState};
use agentprovision_core::{Context, Error, ErrorKind, Result};
use async_trait::async_trait;

use super::roles::Roles;
use crate::cache::Cache;
use crate::identity::users::current_grants;

const SHARDS: usize = 64;

type Users = HashMap<(TenantId, UserId), Current, BuildHasherDefault<IdHasher>>;

/// What is known of a user: grants as of a revision of the user's record.
#[derive(Clone, Copy, Debug)]
struct Current {
    revision: Revision,
    grants: PermissionSet,
    /// How often the tenant had been seen to change when this was read.
    as_of: u64,
}

// A lock of its own cache line, so that checks on different users do not slow each other down.
#[derive(Default)]
#[repr(align(128))]
struct Shard(RwLock<Users>);

/// Decides by the grants in the context, within those the user has at the moment.
///
/// The services of this crate tell it of every change they make, and the maker of contexts of every user it reads, so a
/// changed role, a removed user, a revoked key or a suspended tenant counts in the very next check of this process,
/// whatever contexts are still around. In a [`Tenancy`](crate::Tenancy) it also follows what other processes change: at
/// the latest 250 ms after such a change was committed, the user, the key and the tenant of the context are read again.
/// By itself it judges a user nobody told of by the context alone.
///
/// A decision takes a lookup in a sharded map, and once in 250 ms a question to the store.
pub struct RbacAuthorizer {
    roles: Arc<Roles>,
    shards: Box<[Shard]>,
    tenants: RwLock<HashMap<TenantId, (Revision, TenantState)>>,
    any_closed: AtomicBool,
    revoked_keys: RwLock<HashSet<ApiKeyId>>,
    follows: Option<Follows>,
    /// Who knows what this one does not.
    beneath: Option<Arc<RbacAuthorizer>>,
}

/// How changes of other processes are seen.
struct Follows {
    cache: Cache,
    /// Keys that were read, each with how often its tenant had been seen to change.
    keys: RwLock<HashMap<ApiKeyId, u64>>,
}

impl std::fmt::Debug for RbacAuthorizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RbacAuthorizer").finish_non_exhaustive()
    }
}

impl RbacAuthorizer {
    /// An authorizer that knows nobody yet. `roles` names the permissions in its answers.
    pub fn new(roles: Arc<Roles>) -> Self {
        Self {
            roles,
            shards: std::iter::repeat_with(Shard::default).take(SHARDS).collect(),
            tenants: RwLock::default(),
            any_closed: AtomicBool::new(false),
            revoked_keys: RwLock::default(),
            follows: None,
            beneath: None,
        }
    }

    /// As [`RbacAuthorizer::new`], following what other processes change.
    pub(crate) fn following(roles: Arc<Roles>, cache: Cache) -> Self {
        Self { follows: Some(Follows { cache, keys: RwLock::default() }), ..Self::new(roles) }
    }

    /// One that knows what this one knows, and is told of what is not committed yet.
    pub(crate) fn within(self: &Arc<Self>) -> Self {
        Self { beneath: Some(self.clone()), ..Self::new(self.roles.clone()) }
    }

    /// The names of all permissions.
    pub fn permissions(&self) -> &PermissionRegistry {
        self.roles.permissions()
    }

    /// What the user of a tenant may do at the moment, where that is known here.
    pub fn grants_of(&self, tenant: TenantId, user: UserId) -> Option<PermissionSet> {
        let known = read(self.shard(user)?).get(&(tenant, user)).map(|known| known.grants);
        known.or_else(|| self.beneath.as_ref()?.grants_of(tenant, user))
    }

    /// What the context may do at the moment: its grants, within those of its user where they are known here.
    pub fn effective(&self, ctx: &Context) -> PermissionSet {
        match self.grants_of(ctx.tenant(), ctx.principal().user()) {
            Some(current) => ctx.grants().intersection(&current),
            None => *ctx.grants(),
        }
    }

    /// Tells what a user may do as of `revision` of the user's record; what is known of a later revision stays.
    pub fn set_grants(&self, tenant: TenantId, user: UserId, grants: PermissionSet, revision: Revision) {
        let Some(shard) = self.shard(user) else { return };
        let mut users = write(shard);
        let known = users.entry((tenant, user)).or_insert(Current { revision, grants, as_of: 0 });
        if revision >= known.revision {
            *known = Current { revision, grants, ..*known };
        }
    }

    /// Reads the user, the key and the tenant of a context again, where something of the tenant changed since.
    pub(crate) async fn follow(&self, ctx: &Context) -> Result<()> {
        let Some(follows) = &self.follows else { return Ok(()) };
        follows.cache.watch.ensure().await?;
        let (tenant, user) = (ctx.tenant(), ctx.principal().user());
        let count = follows.cache.watch.count(tenant);
        let read_before = |shard: &RwLock<Users>| read(shard).get(&(tenant, user)).map(|known| known.as_of);
        let user_known = count == 0 || self.shard(user).and_then(read_before) == Some(count);
        let key_known = |key: &ApiKeyId| count == 0 || read(&follows.keys).get(key) == Some(&count);
        if user_known && ctx.key().as_ref().is_none_or(key_known) {
            return Ok(());
        }
        let stores = &follows.cache.stores;
        let known = read(&self.tenants).get(&tenant).map_or(0, |(revision, _)| *revision);
        match stores.tenants.state(tenant).await {
            Ok(state) => self.set_tenant(tenant, state, known),
            Err(error) if error.is(ErrorKind::NotFound) => return Err(no_tenant()),
            Err(error) => return Err(error),
        }
        let (grants, revision) = match stores.users.member(tenant, user).await {
            Ok(found) => (current_grants(&self.roles, &found), found.revision),
            Err(error) if error.is(ErrorKind::NotFound) => (PermissionSet::EMPTY, Revision::MAX),
            Err(error) => return Err(error),
        };
        if let Some(key) = ctx.key() {
            match stores.keys.lookup(tenant, key).await {
                Ok(found) if found.revoked_at.is_none() => {}
                Ok(_) => self.revoke_key(key),
                Err(error) if error.is(ErrorKind::NotFound) => self.revoke_key(key),
                Err(error) => return Err(error),
            }
            write(&follows.keys).insert(key, count);
        }
        // Whatever was known before: what changed here meanwhile has been counted, and is read again the next time.
        if let Some(shard) = self.shard(user) {
            write(shard).insert((tenant, user), Current { revision, grants, as_of: count });
        }
        Ok(())
    }

    /// Tells that a user is gone, for good.
    pub fn revoke(&self, tenant: TenantId, user: UserId) {
        self.set_grants(tenant, user, PermissionSet::EMPTY, Revision::MAX);
    }

    /// Tells that an API key is revoked; contexts made with it may do nothing more.
    pub fn revoke_key(&self, key: ApiKeyId) {
        write(&self.revoked_keys).insert(key);
    }

    /// Whether this process knows the key to be revoked.
    pub fn is_key_revoked(&self, key: ApiKeyId) -> bool {
        read(&self.revoked_keys).contains(&key)
            || self.beneath.as_ref().is_some_and(|beneath| beneath.is_key_revoked(key))
    }

    /// Tells the state of a tenant as of `revision` of its record; what is known of a later revision stays.
    pub fn set_tenant(&self, tenant: TenantId, state: TenantState, revision: Revision) {
        let mut known = write(&self.tenants);
        if known.get(&tenant).is_some_and(|(known, _)| *known > revision) {
            return;
        }
        known.insert(tenant, (revision, state));
        let any = known.values().any(|(_, state)| *state != TenantState::Active);
        self.any_closed.store(any, Ordering::Release);
    }

    /// Tells that a tenant came back from an archive: what was known of its users, and who of them was gone for good, may
    /// not be so any more. Contexts from before may do nothing until a new one is made for their user.
    pub(crate) fn reset_users(&self, tenant: TenantId) {
        for shard in &self.shards {
            for ((_, _), current) in write(&shard.0).iter_mut().filter(|((of, _), _)| *of == tenant) {
                *current = Current { revision: 0, grants: PermissionSet::EMPTY, as_of: 0 };
            }
        }
    }

    /// The revision at which this process saw the tenant suspended or deleted.
    pub(crate) fn closed_at(&self, tenant: TenantId) -> Option<Revision> {
        read(&self.tenants)
            .get(&tenant)
            .filter(|(_, state)| *state != TenantState::Active)
            .map(|(revision, _)| *revision)
    }

    /// Whether the tenant of a context is open, as far as this process knows.
    ///
    /// # Errors
    /// `tenant_suspended` or, for a deleted tenant, `not_found`.
    pub(crate) fn check_tenant(&self, tenant: TenantId) -> Result<()> {
        if let Some(beneath) = &self.beneath {
            beneath.check_tenant(tenant)?;
        }
        if !self.any_closed.load(Ordering::Acquire) {
            return Ok(());
        }
        match read(&self.tenants).get(&tenant) {
            None | Some((_, TenantState::Active)) => Ok(()),
            Some((_, TenantState::Suspended)) => Err(suspended()),
            Some((_, TenantState::Deleted)) => Err(no_tenant()),
        }
    }

    /// The decision without the detour over a future: what [`Authorizer::decide`] answers.
    ///
    /// # Errors
    /// `tenant_suspended` or `not_found` where this process knows that the tenant is suspended or deleted, and
    /// `unauthenticated` where it knows that the API key of the context is revoked.
    pub fn allows(&self, ctx: &Context, permission: Permission) -> Result<bool> {
        self.check_tenant(ctx.tenant())?;
        self.check_key(ctx)?;
        Ok(ctx.grants().contains(permission)
            && self
                .grants_of(ctx.tenant(), ctx.principal().user())
                .is_none_or(|current| current.contains(permission)))
    }

    pub(crate) fn check_key(&self, ctx: &Context) -> Result<()> {
        match ctx.key() {
            Some(key) if self.is_key_revoked(key) => {
                Err(Error::new(ErrorKind::Unauthenticated, "the API key is revoked"))
            }
            _ => Ok(()),
        }
    }

    fn shard(&self, user: UserId) -> Option<&RwLock<Users>> {
        let [.., low] = user.uuid().into_bytes();
        self.shards.get(usize::from(low) % SHARDS).map(|shard| &shard.0)
    }
}

#[async_trait]
impl Authorizer for RbacAuthorizer {
    async fn decide(&self, ctx: &Context, permission: Permission, _: &Resource) -> Result<Decision> {
        self.follow(ctx).await?;
        if self.allows(ctx, permission)? {
            return Ok(Decision::Allow);
        }
        Ok(Decision::Deny(match self.roles.permissions().name(permission) {
            Some(name) => format!("`{name}` is not granted").into(),
            None => "the permission is not granted".into(),
        }))
    }
}

pub(crate) fn suspended() -> Error {
    Error::new(ErrorKind::TenantSuspended, "the tenant is suspended")
}

pub(crate) fn no_tenant() -> Error {
    Error::not_found("no such tenant")
}

// No code panics under these locks, and what they guard is whole after every statement.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Multiplies ids together (FxHash). Enough here: only ids that a store holds are ever inserted, and those are random.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    fn write_usize(&mut self, _: usize) {
        // Lengths: every id has the same.
    }

    fn finish(&self) -> u64 {
        // The table takes its buckets from the low bits, the multiplication mixes the high ones best.
        self.0.rotate_left(26)
    }
}

#[cfg(test)]
mod tests {
    use agentprovision_core::Env;
    use agentprovision_core::context::{ContextIssuer, Identity, Principal, RequestInfo};
    use agentprovision_core::identity::Role;

    use super::*;

    struct World {
        authorizer: RbacAuthorizer,
        issuer: ContextIssuer,
        tenant: TenantId,
        user: UserId,
        key: ApiKeyId,
    }

    fn world() -> World {
        let env = Env::default();
        World {
            authorizer: RbacAuthorizer::new(Arc::default()),
            issuer: ContextIssuer::new(env.clone()),
            tenant: env.id(),
            user: env.id(),
            key: env.id(),
        }
    }

    impl World {
        fn context(&self, grants: &PermissionSet) -> Context {
            let identity = Identity {
                tenant: self.tenant,
                principal: Principal::User(self.user),
                scopes: PermissionSet::ALL,
                expires: None,
                key: Some(self.key),
            };
            self.issuer.context(&identity, grants, RequestInfo::default())
        }

        fn may(&self, ctx: &Context, permission: Permission) -> std::result::Result<bool, ErrorKind> {
            self.authorizer.allows(ctx, permission).map_err(|error| error.kind())
        }
    }

    #[test]
    fn a_change_counts_in_the_next_check_of_an_older_context() {
        let world = world();
        let World { authorizer, tenant, user, .. } = &world;
        let manager = Roles::default().grants(&[Role::AGENT_MANAGER]);
        let viewer = Roles::default().grants(&[Role::AGENT_VIEWER]);
        let ctx = world.context(&manager);
        assert_eq!(world.may(&ctx, Permission::AGENTS_RUN), Ok(true), "judged by the context alone");
        assert_eq!(world.may(&ctx, Permission::USERS_READ), Ok(false));
        authorizer.set_grants(*tenant, *user, viewer, 2);
        assert_eq!(world.may(&ctx, Permission::AGENTS_RUN), Ok(false));
        assert_eq!(world.may(&ctx, Permission::AGENTS_READ), Ok(true));
        assert_eq!(authorizer.effective(&ctx), viewer);
        // What was read before the change arrives after it.
        authorizer.set_grants(*tenant, *user, manager, 1);
        assert_eq!(world.may(&ctx, Permission::AGENTS_RUN), Ok(false));
        // More grants do not widen a context that has fewer.
        authorizer.set_grants(*tenant, *user, PermissionSet::ALL, 3);
        assert_eq!(world.may(&ctx, Permission::USERS_READ), Ok(false));
        authorizer.revoke(*tenant, *user);
        authorizer.set_grants(*tenant, *user, manager, 4);
        assert_eq!(world.may(&ctx, Permission::AGENTS_READ), Ok(false));
    }

    #[test]
    fn the_same_user_id_in_another_tenant_is_another_user() {
        let world = world();
        let ctx = world.context(&PermissionSet::ALL);
        world.authorizer.revoke(Env::default().id(), world.user);
        assert_eq!(world.may(&ctx, Permission::AGENTS_READ), Ok(true));
    }

    #[test]
    fn closed_tenants_and_revoked_keys_end_every_context() {
        let world = world();
        let World { authorizer, tenant, key, .. } = &world;
        let ctx = world.context(&PermissionSet::ALL);
        authorizer.set_tenant(*tenant, TenantState::Suspended, 2);
        assert_eq!(world.may(&ctx, Permission::AGENTS_READ), Err(ErrorKind::TenantSuspended));
        authorizer.set_tenant(*tenant, TenantState::Active, 1);
        assert_eq!(world.may(&ctx, Permission::AGENTS_READ), Err(ErrorKind::TenantSuspended), "older news");
        authorizer.set_tenant(*tenant, TenantState::Active, 3);
        authorizer.set_tenant(*tenant, TenantState::Suspended, 2);
        assert_eq!(world.may(&ctx, Permission::AGENTS_READ), Ok(true));
        authorizer.revoke_key(*key);
        assert_eq!(world.may(&ctx, Permission::AGENTS_READ), Err(ErrorKind::Unauthenticated));
        authorizer.set_tenant(*tenant, TenantState::Deleted, 4);
        assert_eq!(world.may(&ctx, Permission::AGENTS_READ), Err(ErrorKind::NotFound));
    }

    #[test]
    fn a_revocation_is_seen_by_other_threads_at_once() {
        let world = world();
        let ctx = world.context(&PermissionSet::ALL);
        let started = std::sync::Barrier::new(3);
        let revoked = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    started.wait();
                    loop {
                        // Read first: a check that begins after the revocation must deny.
                        let over = revoked.load(Ordering::Acquire);
                        let allowed = world.may(&ctx, Permission::AGENTS_RUN).unwrap();
                        assert!(!(over && allowed));
                        if over {
                            break;
                        }
                    }
                });
            }
            started.wait();
            world.authorizer.revoke(world.tenant, world.user);
            revoked.store(true, Ordering::Release);
        });
    }

    #[test]
    fn ids_spread_over_shards_and_buckets() {
        let env = Env::default();
        let mut shards = vec![0; SHARDS];
        let mut low_bits = HashSet::new();
        for _ in 0..4096 {
            let (tenant, user): (TenantId, UserId) = (env.id(), env.id());
            shards[usize::from(*user.uuid().as_bytes().last().unwrap()) % SHARDS] += 1;
            let mut hasher = IdHasher::default();
            std::hash::Hash::hash(&(tenant, user), &mut hasher);
            low_bits.insert(hasher.finish() & 0xffff);
        }
        assert!(shards.iter().all(|count| (16..160).contains(count)), "{shards:?}");
        assert!(low_bits.len() > 3500, "{}", low_bits.len());
    }
}
