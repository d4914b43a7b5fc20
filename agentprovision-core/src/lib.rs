//! Contracts, vocabulary and the run engine of AgentProvision.
//!
//! This crate knows no database and, with default features, no HTTP client. Stores, models, tools and transports are
//! small traits; `MemoryDb` implements every store contract in memory and is the executable
//! model the SQL stores are tested against. Start with [`Context`], [`Error`] and `run::RunStore`.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod access;
pub mod agent;
pub mod archive;
pub mod audit;
pub mod authz;
pub mod backend;
pub mod backup;
pub mod canonical;
pub mod changes;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod context;
pub mod effect;
pub mod error;
pub mod event;
pub mod http;
pub mod id;
pub mod idempotency;
pub mod identity;
pub mod integration;
pub mod maintenance;
pub mod memory_store;
pub mod model;
pub mod money;
pub mod page;
pub mod references;
pub mod run;
mod schema;
pub mod secret;
#[doc(hidden)]
pub mod task;
pub mod tenant;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
pub mod tool;
pub mod usage;
pub mod webhook;

pub use clock::{Alarm, Clock, Entropy, Env, Timestamp};
pub use context::{Context, ContextIssuer, OperatorContext};
pub use effect::Effects;
pub use error::{Error, ErrorKind, Result, Retry};
pub use memory_store::MemoryDb;
