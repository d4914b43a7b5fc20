//! The layers around a model, each over a scripted model or a real server on the loopback.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these functions are called by tests only"
)]

#[cfg(test)]
mod cache;
#[cfg(test)]
mod cache_key;
#[cfg(all(test, feature = "cache-semantic"))]
mod embed;
#[cfg(test)]
mod flight;
#[cfg(test)]
mod guard;
#[cfg(test)]
mod kit;
#[cfg(test)]
mod routed;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the tests of providers")]
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
mod timeout;
#[cfg(test)]
mod validate;
