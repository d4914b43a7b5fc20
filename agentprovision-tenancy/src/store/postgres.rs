//! Preparing a PostgreSQL database for the platform.
//!
//! The platform logs in as a role that owns nothing and that row security binds; it refuses to start as any other. So
//! somebody else prepares the database: [`prepare`] makes the roles, the schema `agentprovision`, its tables, policies
//! and rights, and is safe to repeat. `examples/migrate.rs` is its command line.

pub use super::sql::postgres::prepare::{PrepareOptions, PrepareStep, prepare};
#[cfg(feature = "testing")]
pub use super::sql::postgres::testing::TestDatabase;

/// A connection of the driver's, sqlx 0.9: what [`SqlBackend::enlist`](super::SqlBackend::enlist) works on.
pub use sqlx::postgres::PgConnection;

/// The options of a store URL: name, default, and what it means.
pub const OPTIONS: &[(&str, &str, &str)] = super::sql::postgres::settings::OPTIONS;
