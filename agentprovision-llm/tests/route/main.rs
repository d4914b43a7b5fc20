//! The router over scripted upstreams: real HTTP on the loopback, and a clock that moves only when the router waits.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these functions are called by tests only"
)]

#[cfg(test)]
mod config;
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod decide;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod formats;
#[cfg(test)]
mod health;
#[cfg(test)]
mod hedge;
#[cfg(test)]
mod kit;
#[cfg(test)]
mod prices;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod streams;
#[cfg(test)]
#[expect(dead_code, reason = "shared with the tests of providers")]
#[path = "../support/mod.rs"]
mod support;
#[cfg(test)]
mod transport;
#[cfg(test)]
mod vectors;
