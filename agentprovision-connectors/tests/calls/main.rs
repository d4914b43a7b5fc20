//! Calls of operations through all layers, against a server on the loopback.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these functions are called by tests only"
)]

#[cfg(test)]
mod accounts;
#[cfg(all(test, feature = "smtp"))]
mod aiosmtpd;
#[cfg(test)]
mod answers;
#[cfg(all(test, feature = "emulator", feature = "github", feature = "jira"))]
mod changes;
#[cfg(all(test, feature = "http", feature = "openapi", feature = "smtp", feature = "postgres"))]
mod dials;
#[cfg(all(test, feature = "http", feature = "openapi"))]
mod egress;
#[cfg(all(test, feature = "github"))]
mod github;
#[cfg(all(test, feature = "confluence", feature = "emulator", feature = "jira", feature = "slack"))]
mod granted;
#[cfg(test)]
mod limits;
#[cfg(all(test, feature = "smtp"))]
mod mail_server;
#[cfg(test)]
mod oauth;
#[cfg(test)]
mod once;
#[cfg(all(test, feature = "s3"))]
mod s3;
#[cfg(all(test, feature = "smtp"))]
mod smtp;
#[cfg(test)]
mod tokens;
#[cfg(all(test, feature = "slack"))]
mod uploads;
#[cfg(test)]
mod world;
