//! The locks of code whose schedules are explored: a model of it names the explorer's locks here instead.

pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError};
