//! The gateway: requests of three formats in, answers and streams of three formats out.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these functions are called by tests only"
)]

#[path = "gateway/bad_input.rs"]
mod bad_input;
#[path = "gateway/formats.rs"]
mod formats;
#[path = "gateway/http.rs"]
mod http_face;
#[path = "gateway/load.rs"]
mod load;
#[path = "gateway/streams.rs"]
mod streams;
#[expect(dead_code, reason = "other tests use the rest of it")]
mod support;
#[path = "gateway/world.rs"]
mod world;
