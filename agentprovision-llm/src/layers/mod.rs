//! What surrounds a model: each layer is a [`tower::Layer`] that turns one
//! [`ChatModel`](agentprovision_core::model::ChatModel) into another.
//!
//! The order from outside: trace, guard, cache, rate limit, budget, then the router with its attempts, then meter.
//! Nothing is charged for an answer that the cache gives, because it stands outside of the budget.

mod budget;
mod cache;
mod metered;
mod rate_limit;
pub(crate) mod trace;

pub use budget::{BudgetConfig, BudgetLayer, BudgetLimit, UnknownPrice};
pub use cache::{Answerer, CacheConfig, CacheLayer, CacheScope, CacheStats};
pub use rate_limit::{RateLimit, RateLimitConfig, RateLimitLayer};
pub use trace::{TraceConfig, TraceLayer};

use agentprovision_core::{Error, Result};

/// Refuses a configuration, naming every problem it has.
fn refuse(what: &str, problems: &[String]) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!("the configuration of {what} cannot be used: {}", problems.join("; "))))
}
