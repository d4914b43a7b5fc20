//! Spans and metrics of OpenTelemetry, as an exporter gets them.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these functions are called by tests only"
)]

#[cfg(test)]
mod content;
mod names;
mod requests;
#[expect(dead_code, reason = "other tests use more of it")]
#[path = "../support/mod.rs"]
mod support;
mod wiring;
mod world;
