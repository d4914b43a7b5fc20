//! Platforms for tests: real stores, the real engine, scripted models.

#[cfg(unix)]
pub(crate) mod aftermath;
#[cfg(unix)]
pub(crate) mod crew;
pub(crate) mod desk;
pub(crate) mod heard;
pub(crate) mod hooks;
#[cfg(unix)]
pub(crate) mod life;
pub(crate) mod store;
#[cfg(unix)]
pub(crate) mod victim;

use std::future::Future;
use std::time::Duration;

use agentprovision::Entropy;
use agentprovision::identity::User;
use agentprovision::prelude::*;
use agentprovision::tenant::Tenant;
use agentprovision::testing::SeededEntropy;

/// A test that hangs fails.
pub(crate) async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("nothing happened for 30 s")
}

/// A tenant with its first admin.
pub(crate) struct Home {
    pub(crate) tenant: Tenant,
    pub(crate) root: User,
    pub(crate) admin: Context,
}

/// Makes a tenant and its first admin.
pub(crate) async fn home(platform: &Platform, name: &str) -> Home {
    let operator = platform.operator("ops@host.example", "test").unwrap();
    let new = NewTenant::new(name, format!("{name}.example"));
    let tenant = platform.tenants().create(&operator, new).await.unwrap();
    let root = NewUser::new(format!("root@{name}.example"));
    let root = platform.tenants().bootstrap_admin(&operator, tenant.id, root).await.unwrap();
    let admin = platform.context(tenant.id, root.id).await.unwrap();
    Home { tenant, root, admin }
}

impl Home {
    /// A user of the tenant with a role, and a context for them.
    pub(crate) async fn user(&self, platform: &Platform, name: &str, role: Role) -> (User, Context) {
        let new = NewUser::new(format!("{name}@{}.example", self.tenant.name)).role(role);
        let user = platform.users().create(&self.admin, new).await.unwrap();
        let ctx = platform.context(self.tenant.id, user.id).await.unwrap();
        (user, ctx)
    }
}

/// Numbers below a bound from a seed that is printed.
pub(crate) struct Draw(SeededEntropy);

impl Draw {
    pub(crate) fn new() -> Self {
        let seed = std::env::var("AGENTPROVISION_SEED")
            .map_or(0, |seed| seed.parse().expect("AGENTPROVISION_SEED is a number"));
        println!("AGENTPROVISION_SEED={seed}");
        Self(SeededEntropy::new(seed))
    }

    pub(crate) fn below(&self, bound: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        (u64::from_be_bytes(bytes) % bound as u64) as usize
    }
}
