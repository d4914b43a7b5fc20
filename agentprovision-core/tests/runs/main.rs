//! The run engine over the store in memory: what happens, in which order, and what is left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod budgets;
mod outages;
mod people;
mod steps;
mod support;
mod workers;
