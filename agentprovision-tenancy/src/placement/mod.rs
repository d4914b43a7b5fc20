//! Tenants on several databases.
//!
//! [`PlacedBackend`] is one backend over several databases, its *shards*. Each tenant is kept in one of them, its *home*,
//! with everything it has: so what commits together still does. Where a new tenant goes is decided by weighted rendezvous
//! hashing ([`rendezvous`]) among the shards of its region, once; from then on the *directory* says it, a table in the
//! first shard, so neither another weight nor another shard moves anybody. [`Placements`] lists, plans, pins and moves.
//!
//! # A move
//!
//! A move copies a tenant from its home to another shard while its users go on reading:
//!
//! | step | where | what |
//! |---|---|---|
//! | begin | directory | the row says that the tenant moves, and counts the epoch |
//! | freeze | source | writes are refused, runs are given up by their workers, what is pending gets its place |
//! | copy | both | every row, as it is, in one transaction of the target |
//! | verify | both | counts and digests of every table, and the head of the audit log |
//! | flip | directory | the row says that the tenant is at home in the target |
//! | leave | source | what is still there is read by nobody any more |
//! | settle | target | the tenant is at home: writes are accepted |
//! | clear | source | the rows go; what stays says that the tenant has moved |
//! | done | directory | the row says so |
//!
//! Before the flip the source is the tenant's home, from the flip on the target; never both. A mover that dies leaves the
//! tenant where that is: moving it again goes on from there, and moving it to where it is at home undoes what was begun.
//! Each of them raises the epoch, and a database refuses the steps of an older one. A process that has not heard of a move
//! is refused by the database it asks, looks the tenant up again and asks the right one.

#[cfg(any(feature = "store-sqlite", feature = "store-postgres"))]
mod above;
#[cfg(any(feature = "store-sqlite", feature = "store-postgres"))]
mod archives;
#[cfg(any(feature = "store-sqlite", feature = "store-postgres"))]
mod backend;
#[cfg(any(feature = "store-sqlite", feature = "store-postgres"))]
mod claims;
mod hash;
mod inbox;
#[cfg(any(feature = "store-sqlite", feature = "store-postgres"))]
mod moving;
#[cfg(not(any(feature = "store-sqlite", feature = "store-postgres")))]
mod none;
#[cfg(any(feature = "store-sqlite", feature = "store-postgres"))]
mod open;
#[cfg(any(feature = "store-sqlite", feature = "store-postgres"))]
mod operations;
mod plan;
#[cfg(any(feature = "store-sqlite", feature = "store-postgres"))]
mod routes;
mod service;
#[cfg(any(feature = "store-sqlite", feature = "store-postgres"))]
mod tenants;

use std::fmt;

use agentprovision_core::Timestamp;
use agentprovision_core::id::TenantId;
use serde::{Deserialize, Serialize};

#[cfg(any(feature = "store-sqlite", feature = "store-postgres"))]
pub use backend::PlacedBackend;
pub use hash::rendezvous;
#[cfg(all(feature = "testing", any(feature = "store-sqlite", feature = "store-postgres")))]
pub use moving::{Pause, Step};
#[cfg(not(any(feature = "store-sqlite", feature = "store-postgres")))]
pub use none::PlacedBackend;
pub use plan::{Rebalance, plan};
pub use service::Placements;

/// A database that keeps tenants.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Shard {
    /// The name in the directory: 1 to 64 lower-case letters, digits, `-` and `_`. It stays with the database.
    pub name: String,
    /// The database, as the URL of a store that lasts: `sqlite://` or `postgres://`.
    pub url: String,
    /// How many tenants it gets in proportion to the others; above 0, default 1.
    #[serde(default = "one")]
    pub weight: f64,
    /// Where it is. Tenants of a region are kept in shards of that region only.
    #[serde(default)]
    pub region: Option<String>,
}

fn one() -> f64 {
    1.0
}

impl Shard {
    /// A shard of weight 1 in no region.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self { name: name.into(), url: url.into(), weight: 1.0, region: None }
    }

    /// Another weight.
    #[must_use]
    pub fn weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// In a region.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_struct("Shard")
            .field("name", &self.name)
            .field("weight", &self.weight)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// Where the moving of a tenant stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PlacementState {
    /// The tenant is being made.
    Creating,
    /// It is not being moved.
    Settled,
    /// It is being copied to the other shard.
    Moving,
    /// It is at home in its shard, and the other one still has its rows.
    Leaving,
}

impl PlacementState {
    /// The name in stores and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Settled => "settled",
            Self::Moving => "moving",
            Self::Leaving => "leaving",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Creating, Self::Settled, Self::Moving, Self::Leaving]
            .into_iter()
            .find(|state| state.name() == name)
    }
}

/// Where a tenant is kept: a row of the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Placement {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The shard it is at home in.
    pub shard: String,
    /// Where the moving of it stands.
    pub state: PlacementState,
    /// The shard it is moving to, or leaving.
    pub other: Option<String>,
    /// The region it is kept in.
    pub region: Option<String>,
    /// The shard an operator has said it belongs in, whatever the hash says.
    pub pin: Option<String>,
    /// Counts the changes of its place.
    pub epoch: u64,
    /// When the tenant was made.
    pub created_at: Timestamp,
}
