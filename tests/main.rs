//! What holds for a platform as a whole. One binary; each module is one subject.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests"
)]

mod around;
#[cfg(unix)]
mod crash;
mod deliveries;
mod enlist;
#[cfg(unix)]
mod fleet;
mod gateway;
mod integrations;
mod isolation;
mod models;
mod oauth;
mod platform;
mod quickstart;
mod serve;
#[cfg(unix)]
mod storm;
mod support;
mod tables;
mod tidy;
mod wire;
