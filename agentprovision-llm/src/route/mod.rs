//! Which target answers a request, and which may be asked at all.
//!
//! [`Health`] is what is known of one target; read it first.

mod health;
mod watched;

pub use health::{Blocked, Health, HealthOptions, Permit, Reason, Verdict};
pub use watched::Watched;
