//! The library's sources over locks whose order the explorer chooses.

mod sync {
    pub(super) use shuttle::sync::{Mutex, MutexGuard};
    pub(super) use std::sync::PoisonError;
}

pub use agentprovision_llm::limit::*;

#[path = "../../src/limit/bucket.rs"]
pub mod bucket;
#[path = "../../src/route/health.rs"]
pub mod health;
#[path = "../../src/limit/memory.rs"]
pub mod memory;
