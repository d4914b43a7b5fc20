//! Opening a placed backend: the databases are who the directory says they are.

use std::sync::Arc;

use agentprovision_core::backend::Backend as _;
use agentprovision_core::page::PageRequest;
use agentprovision_core::{Env, Error, ErrorKind, Result};
use uuid::Uuid;

use super::backend::{Member, PlacedBackend, Router};
use super::{Placement, PlacementState, Shard};
use crate::store::{SqlBackend, sql};
use sql::directory::{Claimed, ShardRow};

/// The most shards.
const SHARDS: usize = 1000;

/// Refuses what cannot be a list of shards.
fn check(shards: &[Shard]) -> Result<()> {
    if shards.is_empty() || shards.len() > SHARDS {
        return Err(Error::invalid(format!("a placed store has 1 to {SHARDS} shards")));
    }
    for (place, shard) in shards.iter().enumerate() {
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if !(1..=64).contains(&shard.name.len()) || !shard.name.bytes().all(letters) {
            return Err(Error::invalid(format!(
                "the name of a shard is 1 to 64 lower-case letters, digits, `-` and `_`, not `{}`",
                crate::clip(&shard.name)
            )));
        }
        if !shard.weight.is_normal() || shard.weight < 0.0 {
            return Err(Error::invalid(format!(
                "the weight of the shard `{}` is a number above 0, not `{}`",
                shard.name, shard.weight
            )));
        }
        if shard.region.as_deref().is_some_and(str::is_empty) {
            return Err(Error::invalid(format!("the region of the shard `{}` is empty", shard.name)));
        }
        if shards.iter().take(place).any(|other| other.name == shard.name) {
            return Err(Error::invalid(format!("two shards have the name `{}`", shard.name)));
        }
    }
    Ok(())
}

/// Says of an error which shard it is about.
fn of(shard: &Shard) -> impl Fn(Error) -> Error {
    let name = shard.name.clone();
    move |error| {
        let named = Error::new(error.kind(), format!("the shard `{name}`: {}", error.message()));
        named.with_retry(error.retry()).with_source(error)
    }
}

fn conflict(shard: &Shard, what: &str) -> Error {
    Error::conflict(format!("the shard `{}` {what}", shard.name))
}

impl PlacedBackend {
    /// Opens every shard. The first one has the directory and the platform log; its tenants, if it was used alone before,
    /// are taken into the directory where they are. Every other one begins without tenants.
    ///
    /// # Errors
    /// `invalid_input` for a bad list, and a URL that names no database; `unavailable` and the others of
    /// [`connect`](crate::store::connect), naming the shard; `conflict` when two shards are the same database, when one is
    /// another than the directory knows by the name or belongs to another directory, when a new one has tenants, and when
    /// a shard that tenants are kept in is not in the list.
    pub async fn open(shards: Vec<Shard>, env: Env) -> Result<Self> {
        check(&shards)?;
        let mut members: Vec<Member> = Vec::new();
        for shard in &shards {
            let opened = async {
                let sql = SqlBackend::by_url(&shard.url, env.clone()).await.map_err(of(shard))?;
                let directory = members.first().map(|first| (&first.sql, first.id));
                let id = join(shard, &sql, directory, &env, &members).await.map_err(of_conflict(shard))?;
                Ok(Member { shard: shard.clone(), id, stores: sql.stores(), sql })
            };
            match opened.await {
                Ok(member) => members.push(member),
                Err(error) => return abandon(members, error).await,
            }
        }
        let mut members = members.into_iter();
        let Some(first) = members.next() else { return Err(Error::internal("a placed store has a shard")) };
        let router = Router::new(first, members.collect(), env);
        let router = Arc::new(router);
        match begin(&router).await {
            Ok(()) => Ok(Self::over(router)),
            Err(error) => {
                router.close().await.ok();
                Err(error)
            }
        }
    }
}

/// A conflict names its shard already.
fn of_conflict(shard: &Shard) -> impl Fn(Error) -> Error {
    let name = of(shard);
    move |error| if error.is(ErrorKind::Conflict) { error } else { name(error) }
}

async fn abandon<T>(members: Vec<Member>, error: Error) -> Result<T> {
    for member in members {
        member.sql.close().await.ok();
    }
    Err(error)
}

/// Makes sure that a database is the shard of its name; gives its id.
async fn join(
    shard: &Shard,
    sql: &SqlBackend,
    directory: Option<(&SqlBackend, Uuid)>,
    env: &Env,
    members: &[Member],
) -> Result<Uuid> {
    let known = sql.shard().await?;
    if let Some(known) = &known
        && let Some(twin) = members.iter().find(|member| member.id == known.id)
    {
        return Err(conflict(shard, &format!("is the same database as the shard `{}`", twin.shard.name)));
    }
    let drawn = env.id::<agentprovision_core::id::RequestId>().uuid();
    let own = match (directory, known) {
        (None, Some(known)) => known,
        (None, None) => {
            let row = ShardRow { id: drawn, name: shard.name.clone(), home: drawn, carried: 0 };
            sql.name_itself(row).await?
        }
        (Some((directory, home)), known) => {
            let another = || conflict(shard, "is another database than the directory knows by this name");
            let own = match known {
                Some(known) => known,
                None if sql.has_tenants().await? => {
                    return Err(conflict(shard, "is new to the directory and has tenants of its own"));
                }
                None if directory.shards().await?.iter().any(|row| row.name == shard.name) => {
                    return Err(another());
                }
                // It says whose it is first: who finds it so goes on from there.
                None => {
                    sql.name_itself(ShardRow { id: drawn, name: shard.name.clone(), home, carried: 0 })
                        .await?
                }
            };
            if own.home != home {
                return Err(conflict(shard, "belongs to another directory"));
            }
            if own.name == shard.name {
                let enrolled = directory.enroll(ShardRow { carried: 0, ..own.clone() }).await?;
                if enrolled.id != own.id || enrolled.name != own.name {
                    return Err(another());
                }
            }
            own
        }
    };
    if own.name != shard.name {
        return Err(conflict(shard, &format!("is the database that is known as `{}`", own.name)));
    }
    let home = directory.map_or(own.id, |(_, home)| home);
    if own.home != home {
        return Err(conflict(shard, "belongs to another directory"));
    }
    sql.is_shard();
    Ok(own.id)
}

/// Looks at the directory: it names no shard that is not there, and knows every tenant of its own database.
async fn begin(router: &Router) -> Result<()> {
    let home = router.directory();
    for name in home.mentioned().await? {
        if router.index(&name).is_err() {
            let message = format!("tenants are kept in the shard `{name}`, which is not configured");
            return Err(Error::conflict(message));
        }
    }
    for tenant in home.strangers().await? {
        let Some(found) = home.tenant(tenant).await? else { continue };
        let placement = Placement {
            tenant_id: tenant,
            shard: router.home().shard.name.clone(),
            state: PlacementState::Settled,
            other: None,
            region: found.region,
            pin: None,
            epoch: 1,
            created_at: found.created_at,
        };
        home.add_placement(placement, None).await?;
        if let Some(domain) = found.domain
            && let Claimed::By(holder) = home.claim_domain(tenant, domain).await?
        {
            return Err(Error::conflict(format!("the tenants {tenant} and {holder} have the same domain")));
        }
    }
    // A first look, so that a directory that cannot be read is found now.
    home.placements(PageRequest::limit(1)).await.map(drop)
}
