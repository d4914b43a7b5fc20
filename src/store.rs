//! The store of a platform, beside the host's own data.

use std::fmt;

#[cfg(feature = "store-postgres")]
use agentprovision_core::agent::Agents;
#[cfg(feature = "store-postgres")]
use agentprovision_core::run::{Runs, Sessions};
#[cfg(feature = "store-postgres")]
use agentprovision_core::{Error, Result};
#[cfg(feature = "store-postgres")]
use agentprovision_tenancy::Tenancy;
#[cfg(feature = "store-postgres")]
use agentprovision_tenancy::identity::{ApiKeys, Users};
#[cfg(feature = "store-postgres")]
use agentprovision_tenancy::store::{SqlBackend, postgres::PgConnection};
#[cfg(feature = "store-postgres")]
use agentprovision_tenancy::tenant::Tenants;

use crate::platform::Platform;

/// The store of a platform. Cheap to clone.
#[derive(Clone)]
pub struct Store(Platform);

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.0.0.backend).finish()
    }
}

impl Store {
    pub(crate) fn of(platform: &Platform) -> Self {
        Self(platform.clone())
    }

    /// Makes changes of the platform a part of a transaction the host has begun: they are committed or rolled back with
    /// it, by the host.
    ///
    /// `host` is a connection to the platform's own PostgreSQL database, logged in as the platform is, inside a
    /// transaction; a `&mut sqlx::Transaction` will do. A change that is refused is undone alone, and the transaction can
    /// still be committed. Runs that are started are driven after the commit; follow them by their id through the
    /// platform itself. Who may do what is decided by what is committed already.
    ///
    /// What was written stays locked until the transaction ends, so nothing slow belongs between this and the commit.
    /// Isolation level and timeouts are the host's; at `REPEATABLE READ` and above other writers make a change fail with
    /// `unavailable`, and the transaction has to be begun again.
    ///
    /// ```no_run
    /// # use agentprovision::prelude::*;
    /// # async fn example(
    /// #     platform: Platform,
    /// #     ctx: Context,
    /// #     agent: agentprovision::id::AgentId,
    /// #     host: &mut agentprovision::tenancy::store::postgres::PgConnection,
    /// # ) -> agentprovision::Result<()> {
    /// // let mut host = pool.begin().await?;
    /// // sqlx::query("UPDATE orders SET state = 'late' WHERE id = $1").bind(1234).execute(&mut *host).await?;
    /// let run = platform
    ///     .store()
    ///     .enlist(host, async |work| {
    ///         let run = work.runs().start(&ctx, agent, RunInput::text("Order 1234 is late.")).await?;
    ///         Ok(run.id())
    ///     })
    ///     .await?;
    /// // host.commit().await?;
    /// let outcome = platform.runs().get(&ctx, run).await?.wait().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `unsupported` for another store than PostgreSQL; `invalid_input` for a connection outside of a transaction, of
    /// another database, or of a user whom row security does not bind; `conflict` for a transaction that has failed
    /// already; `unavailable` where it cannot go on; those of `work`.
    #[cfg(feature = "store-postgres")]
    pub async fn enlist<T>(
        &self,
        host: &mut PgConnection,
        work: impl AsyncFnOnce(&Enlisted) -> Result<T>,
    ) -> Result<T> {
        let platform = &self.0.0;
        let backend: &dyn std::any::Any = &*platform.backend;
        let Some(backend) = backend.downcast_ref::<SqlBackend>() else {
            return Err(Error::unsupported(
                "only a store on PostgreSQL can be part of the host's transaction",
            ));
        };
        backend
            .enlist(host, async |stores| {
                let runs = platform.runs.within(stores.clone());
                let enlisted = Enlisted {
                    tenancy: platform.tenancy.within(&stores),
                    agents: platform.agents.within(stores.agents.clone()),
                    sessions: Sessions::new(runs.clone()),
                    runs: runs.clone(),
                };
                let done = work(&enlisted).await?;
                runs.release().await?;
                Ok(done)
            })
            .await
    }
}

/// The services of a platform within a transaction of the host's.
#[cfg(feature = "store-postgres")]
#[derive(Debug)]
pub struct Enlisted {
    tenancy: Tenancy,
    agents: Agents,
    runs: Runs,
    sessions: Sessions,
}

#[cfg(feature = "store-postgres")]
impl Enlisted {
    /// Tenants, for operators.
    pub fn tenants(&self) -> &Tenants {
        self.tenancy.tenants()
    }

    /// The users of a tenant.
    pub fn users(&self) -> &Users {
        self.tenancy.users()
    }

    /// The API keys of users.
    pub fn keys(&self) -> &ApiKeys {
        self.tenancy.keys()
    }

    /// Agents.
    pub fn agents(&self) -> &Agents {
        &self.agents
    }

    /// Runs. They begin after the commit, and none can be watched before.
    pub fn runs(&self) -> &Runs {
        &self.runs
    }

    /// Sessions with agents.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }
}
