//! The connectors that come with the library, a feature each.

#[cfg(feature = "pagerduty")]
pub mod pagerduty;
#[cfg(feature = "stripe")]
pub mod stripe;

#[cfg(test)]
mod probe;
