//! [`PlacedBackend`], and how a call finds its tenant.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use agentprovision_core::backend::{Backend, Stores};
use agentprovision_core::context::OperatorContext;
use agentprovision_core::error::Retry;
use agentprovision_core::id::TenantId;
use agentprovision_core::{Env, Error, ErrorKind, Result};
use async_trait::async_trait;
use futures_util::future::join_all;
use moka::sync::Cache;
use uuid::Uuid;

use super::plan::{eligible, home};
use super::{Placement, Shard};
use crate::store::SqlBackend;
use crate::store::sql::residence::is_away;

/// Tenants whose place is remembered.
const REMEMBERED: u64 = 100_000;
/// How often a tenant is looked up again before a call gives up.
const LOOKS: usize = 3;
/// Records of a platform log that are carried at a time.
const RECORDS: u32 = 256;

/// A shard that is open.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) shard: Shard,
    pub(super) id: Uuid,
    pub(super) sql: SqlBackend,
    pub(super) stores: Stores,
}

/// Which shard a call goes to.
pub(super) struct Router {
    /// The first one has the directory.
    first: Member,
    others: Vec<Member>,
    /// Where tenants were when they were last looked up. What is wrong here is refused by the shard that is asked.
    places: Cache<TenantId, usize>,
    /// What each member told of changes so far.
    pub(super) heard: Vec<AtomicU64>,
    env: Env,
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.members().map(|member| &member.shard)).finish()
    }
}

/// A backend over several databases, each tenant in one of them. Cheap to clone.
#[derive(Clone)]
pub struct PlacedBackend {
    pub(super) router: Arc<Router>,
    /// Where its movers are held up.
    #[cfg(feature = "testing")]
    pub(super) pause: Option<super::Pause>,
}

impl fmt::Debug for PlacedBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PlacedBackend").field(&self.router).finish()
    }
}

impl PlacedBackend {
    pub(super) fn over(router: Arc<Router>) -> Self {
        Self {
            router,
            #[cfg(feature = "testing")]
            pause: None,
        }
    }

    /// The same backend, whose movers are held up before a step; for tests.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn pausing(&self, at: super::Step) -> (Self, super::Pause) {
        let pause = super::Pause::new(at);
        (Self { pause: Some(pause.clone()), ..self.clone() }, pause)
    }

    /// Closes one shard alone, as one that goes away; for tests.
    ///
    /// # Errors
    /// `invalid_input` for an unknown one, and what closing it fails with.
    #[cfg(feature = "testing")]
    pub async fn close_shard(&self, name: &str) -> Result<()> {
        self.router.member(self.router.index(name)?).sql.close().await
    }

    /// The shards, the one with the directory first.
    pub fn shards(&self) -> Vec<Shard> {
        self.router.members().map(|member| member.shard.clone()).collect()
    }
}

#[async_trait]
impl Backend for PlacedBackend {
    fn stores(&self) -> Stores {
        let router = &self.router;
        Stores {
            tenants: Arc::new(self.clone()),
            users: router.clone(),
            keys: router.clone(),
            agents: router.clone(),
            runs: router.clone(),
            index: router.clone(),
            sessions: router.clone(),
            secrets: router.clone(),
            integrations: router.clone(),
            idempotency: router.clone(),
            endpoints: router.clone(),
            inbox: router.clone(),
            audit: router.clone(),
            usage: router.clone(),
            quota: router.clone(),
            events: router.clone(),
            effects: router.clone(),
            archives: router.clone(),
            backups: router.clone(),
            changes: router.clone(),
            maintenance: router.clone(),
        }
    }

    async fn close(&self) -> Result<()> {
        self.router.close().await
    }
}

impl Router {
    /// Over at least one member.
    pub(super) fn new(first: Member, others: Vec<Member>, env: Env) -> Self {
        let heard = std::iter::repeat_with(AtomicU64::default).take(1 + others.len()).collect();
        Self { first, others, places: Cache::new(REMEMBERED), heard, env }
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        std::iter::once(&self.first).chain(&self.others)
    }

    pub(super) fn member(&self, place: usize) -> &Member {
        place.checked_sub(1).and_then(|place| self.others.get(place)).unwrap_or(&self.first)
    }

    pub(super) fn env(&self) -> &Env {
        &self.env
    }

    /// The member with the directory.
    pub(super) fn home(&self) -> &Member {
        &self.first
    }

    /// The database with the directory.
    pub(super) fn directory(&self) -> &SqlBackend {
        &self.first.sql
    }

    pub(super) fn shards(&self) -> Vec<Shard> {
        self.members().map(|member| member.shard.clone()).collect()
    }

    /// The member with this name.
    ///
    /// # Errors
    /// `invalid_input`, naming those there are.
    pub(super) fn index(&self, name: &str) -> Result<usize> {
        self.members().position(|member| member.shard.name == name).ok_or_else(|| {
            let known: Vec<_> = self.members().map(|member| format!("`{}`", member.shard.name)).collect();
            let name = crate::clip(name);
            Error::invalid(format!("there is no shard `{name}`; there are {}", known.join(", ")))
        })
    }

    /// The member a placement names.
    pub(super) fn named(&self, name: &str) -> Result<&Member> {
        let missing = |_| {
            Error::new(ErrorKind::Unavailable, format!("the shard `{}` is not configured", crate::clip(name)))
        };
        Ok(self.member(self.index(name).map_err(missing)?))
    }

    /// Where a new tenant of a region goes.
    ///
    /// # Errors
    /// `invalid_input` when there are regions and this is none.
    pub(super) fn choose(&self, tenant: TenantId, region: Option<&str>) -> Result<usize> {
        match home(&self.shards(), tenant, region) {
            Some(shard) => self.index(&shard.name),
            None => Err(self.no_region(region)),
        }
    }

    /// Refuses a shard that is not of a tenant's region.
    pub(super) fn check_region(&self, shard: &Shard, region: Option<&str>) -> Result<()> {
        let shards = self.shards();
        let allowed = eligible(&shards, region);
        if allowed.is_empty() {
            return Err(self.no_region(region));
        }
        if allowed.iter().any(|other| other.name == shard.name) {
            return Ok(());
        }
        let names: Vec<_> = allowed.iter().map(|shard| format!("`{}`", shard.name)).collect();
        Err(Error::invalid(format!(
            "the tenant is kept in its region, in {}, not in `{}`",
            names.join(" or "),
            shard.name
        )))
    }

    fn no_region(&self, region: Option<&str>) -> Error {
        let mut known: Vec<_> = self.members().filter_map(|member| member.shard.region.clone()).collect();
        known.sort_unstable();
        known.dedup();
        let region = crate::clip(region.unwrap_or_default());
        Error::invalid(format!("no shard is in the region `{region}`; there are {}", known.join(", ")))
    }

    /// Where a tenant is. One the directory does not know may be in its own database.
    pub(super) async fn place(&self, tenant: TenantId) -> Result<usize> {
        match self.places.get(&tenant) {
            Some(place) => Ok(place),
            None => self.look_up(tenant).await,
        }
    }

    /// Asks the directory where a tenant is.
    pub(super) async fn look_up(&self, tenant: TenantId) -> Result<usize> {
        let Some(placement) = self.directory().placement(tenant).await? else {
            self.places.invalidate(&tenant);
            return Ok(0);
        };
        self.remember(&placement)
    }

    pub(super) fn remember(&self, placement: &Placement) -> Result<usize> {
        let place = self.index(&placement.shard).map_err(|_| {
            let message =
                format!("the tenant is kept in the shard `{}`, which is not configured", placement.shard);
            Error::new(ErrorKind::Unavailable, message)
        })?;
        self.places.insert(placement.tenant_id, place);
        Ok(place)
    }

    /// A tenant was seen in a shard.
    pub(super) fn seen(&self, tenant: TenantId, place: usize) {
        self.places.insert(tenant, place);
    }

    /// Asks the stores of a tenant's home. Where that has changed, the new one is asked.
    pub(super) async fn on<'s, T, F, Fut>(&'s self, tenant: TenantId, call: F) -> Result<T>
    where
        F: Fn(&'s Stores) -> Fut + Send,
        Fut: Future<Output = Result<T>> + Send,
        T: Send,
    {
        let mut place = self.place(tenant).await?;
        let mut looks = 1;
        loop {
            let result = call(&self.member(place).stores).await;
            // A run that was taken up in the new home is not held in the old one.
            let stale = |error: &Error| is_away(error) || error.is(ErrorKind::Fenced);
            let Err(error) = &result else { return result };
            if !stale(error) || looks == LOOKS {
                return result;
            }
            let now = self.look_up(tenant).await?;
            if now == place {
                return result;
            }
            (place, looks) = (now, looks + 1);
        }
    }

    /// Does something in every shard. One that fails is left out, unless all do.
    pub(super) async fn each<'s, T, F, Fut>(&'s self, what: &'static str, call: F) -> Result<Vec<(usize, T)>>
    where
        F: Fn(usize, &'s Member) -> Fut + Send,
        Fut: Future<Output = Result<T>> + Send,
        T: Send,
    {
        let calls = self.members().enumerate().map(|(place, member)| {
            let asked = call(place, member);
            async move { (place, asked.await) }
        });
        let (mut done, mut failed) = (Vec::new(), None);
        for (place, result) in join_all(calls).await {
            match result {
                Ok(value) => done.push((place, value)),
                Err(error) => {
                    let shard = &self.member(place).shard.name;
                    tracing::warn!(shard, ?error, what, "a shard does not answer");
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) if done.is_empty() => Err(error),
            _ => Ok(done),
        }
    }

    /// Brings what a shard's platform log has to that of the directory's database, once and in order.
    pub(super) async fn carry(&self, op: &OperatorContext, member: &Member) -> Result<()> {
        if member.id == self.first.id {
            return Ok(());
        }
        let rows = self.directory().shards().await?;
        let mut from = rows.iter().find(|row| row.id == member.id).map_or(0, |row| row.carried);
        loop {
            let entries = member.stores.audit.platform_entries(op, from, RECORDS).await?;
            if entries.is_empty() {
                return Ok(());
            }
            let records = entries.into_iter().map(|entry| entry.bytes).collect();
            from = self.directory().carry(member.id, from, records).await?;
        }
    }

    /// As [`Router::carry`], behind a change that was made: what stays is carried by whoever reads the log.
    pub(super) async fn carry_on(&self, op: &OperatorContext, member: &Member) {
        if let Err(error) = self.carry(op, member).await {
            tracing::warn!(shard = member.shard.name, ?error, "records wait for the platform log");
        }
    }

    pub(super) async fn close(&self) -> Result<()> {
        let closed = join_all(self.members().map(|member| member.sql.close())).await;
        closed.into_iter().collect()
    }
}

/// The error of a call that came to the wrong shard too often.
pub(super) fn busy(message: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, message).with_retry(Retry::After(Duration::from_secs(1)))
}
