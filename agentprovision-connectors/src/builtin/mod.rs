//! The connectors that come with the library, a feature each.

#[cfg(feature = "gitlab")]
pub mod gitlab;
#[cfg(feature = "pagerduty")]
pub mod pagerduty;
#[cfg(feature = "sendgrid")]
pub mod sendgrid;
#[cfg(feature = "stripe")]
pub mod stripe;

#[cfg(all(test, any(feature = "gitlab", feature = "pagerduty", feature = "sendgrid", feature = "stripe")))]
mod probe;
