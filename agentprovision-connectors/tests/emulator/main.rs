//! The emulated vendors over real HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod descriptions;
mod faults;
mod github;
mod jira;
mod oauth;
#[cfg(all(feature = "github", feature = "jira", feature = "slack"))]
mod operations;
mod receiver;
mod slack;
mod support;
mod webhooks;
mod wrong;
