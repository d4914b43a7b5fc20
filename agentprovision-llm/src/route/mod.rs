//! Which target answers a request, and what is done when it does not.
//!
//! A [`Router`] makes many models at many providers look like one. For each request it leaves out the targets that
//! cannot or may not answer, puts the others in order by a [`Strategy`] or a [`Selector`] of the host's own, and asks
//! them one after the other within one budget of attempts and one deadline. [`Router::explain`] says why.
//!
//! - One request makes at most [`RoutingConfig::max_attempts`] requests to providers: retries, credentials, fallbacks
//!   and hedges together.
//! - A streamed answer is committed to its target with the first piece of content. Until then a failure is one attempt
//!   that failed; after that it is an error of the stream, and nobody else goes on.
//! - [`Health`] leaves targets alone that fail or ask for a pause.
//! - Every attempt is recorded in the request's [`CallLog`](agentprovision_core::model::CallLog) with what it used and
//!   cost, also one that was dropped.

mod ask;
mod bucket;
mod chat;
mod config;
mod core;
mod decision;
mod estimate;
mod health;
mod plan;
mod pulse;
mod record;
mod router;
mod strategy;
pub(crate) mod target;
mod tries;
mod vectors;

use crate::sync;

pub use config::{
    BreakerConfig, HedgeConfig, PriceCap, RouteConfig, RouteTarget, RoutingConfig, Strategy, TenantRouting,
};
pub(crate) use config::{Problems, nearest};
pub use decision::{Candidate, DropReason, Dropped, RouteDecision, RouteRequest, Selector};
pub use estimate::{DEFAULT_OUTPUT, input_tokens, output_tokens};
pub use health::{Blocked, Health, HealthOptions, Permit, Reason, Verdict};
pub use router::{Router, RouterBuilder, TargetStatus};
pub(crate) use tries::provider_error;
