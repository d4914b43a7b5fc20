//! What surrounds a model: each layer is a [`tower::Layer`] that turns one
//! [`ChatModel`](agentprovision_core::model::ChatModel) into another.
//!
//! The order from outside: trace, guard, cache, rate limit, budget, then the router with its attempts, then meter.
//! Nothing is charged for an answer that the cache gives, because it stands outside of the budget.

mod shadow;

pub use shadow::{ShadowBudget, ShadowConfig, ShadowCounts, ShadowLayer, ShadowSink, Shadowed};
