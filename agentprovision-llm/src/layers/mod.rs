//! What surrounds a model: each layer is a [`tower::Layer`] that turns one
//! [`ChatModel`](agentprovision_core::model::ChatModel) into another, and most of them do the same with models of vectors and
//! of rankings.
//!
//! The order from outside: trace, guard, cache, validation, rate limit, budget, then the router with its attempts, then
//! meter. Nothing is charged for an answer that the cache gives, because it stands outside of the budget.

mod budget;
mod cache;
mod events;
mod guard;
mod metered;
mod rate_limit;
mod shadow;
mod stack;
mod timeout;
pub(crate) mod trace;
mod validate;

pub use budget::{BudgetConfig, BudgetLayer, BudgetLimit, UnknownPrice};
pub use cache::{
    Answerer, CacheConfig, CacheLayer, CacheScope, CacheStats, EmbeddingCacheConfig, EmbeddingCacheLayer,
};
#[cfg(feature = "cache-semantic")]
pub use cache::{SemanticCacheConfig, SemanticCacheLayer};
pub use guard::{
    Guard, GuardAction, GuardCheck, GuardConfig, GuardLayer, GuardVerdict, GuardsConfig, Inspected,
    JudgeConfig, JudgeGuard, LengthGuard, OnFailure, Part, PatternConfig, PatternGuard, PiiConfig, PiiGuard,
    PiiKind, Redaction, Side,
};
pub use rate_limit::{RateLimit, RateLimitConfig, RateLimitLayer};
pub use shadow::{ShadowBudget, ShadowConfig, ShadowCounts, ShadowLayer, ShadowSink, Shadowed};
pub use stack::{Layers, LayersConfig};
pub use timeout::{TimeoutConfig, TimeoutLayer};
pub use trace::{TraceConfig, TraceLayer};
pub use validate::{ValidateConfig, ValidateLayer};

use agentprovision_core::{Error, Result};

/// Refuses a configuration, naming every problem it has.
pub(crate) fn refuse(what: &str, problems: &[String]) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!("the configuration of {what} cannot be used: {}", problems.join("; "))))
}
