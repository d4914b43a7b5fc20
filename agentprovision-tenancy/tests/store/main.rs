//! The SQLite backend: files, the writer, transactions of steps, crashes. What it shares with every other backend is
//! checked by the conformance suites.

#![cfg(feature = "store-sqlite")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod archives;
mod backups;
mod crash;
mod files;
#[path = "../filled/mod.rs"]
mod filled;
#[cfg(feature = "testing")]
mod placement;
mod processes;
mod tx;
mod world;
mod writer;
