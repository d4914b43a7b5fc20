//! Which tenants' metadata changed: what tells a process that keeps some of it that it does not hold any more.

use std::fmt;

use async_trait::async_trait;

use crate::error::Result;
use crate::id::TenantId;

/// A tenant's metadata as of a change: equal ones are the same, and there is no order among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub i64);

/// Up to where changes have been seen: a place in the order of each database behind the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(pub Vec<i64>);

impl Mark {
    /// The place in the order of a database, by its position; absent for one that was not there.
    pub fn place(&self, database: usize) -> Option<i64> {
        self.0.get(database).copied()
    }
}

/// What changed, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The tenants with their epochs. One that was named before may be named again, with the same epoch.
    pub tenants: Vec<(TenantId, Epoch)>,
    /// What the next question begins with.
    pub mark: Mark,
}

/// Tells whose metadata changed: the tenant itself, its users or API keys. Each such change gives its tenant a new
/// epoch, in the same transaction.
#[async_trait]
pub trait ChangeFeed: fmt::Debug + Send + Sync + 'static {
    /// Every tenant with a change that was committed since `since` was handed out; without it nothing but a mark.
    async fn changed(&self, since: Option<&Mark>) -> Result<Changes>;
    /// Waits until there may be more than whoever got `heard` here has heard of; begins with 0. A store that is told of
    /// nothing waits for ever: polling [`ChangeFeed::changed`] is what counts.
    async fn told(&self, heard: u64) -> u64;
}
