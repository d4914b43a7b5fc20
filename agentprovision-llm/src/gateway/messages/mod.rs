//! Anthropic's messages: `POST /v1/messages`.
//!
//! Written from Anthropic's API reference (version 2023-06-01). What a provider wants to see again comes and goes as
//! redacted thinking, whose data clients carry without reading it; thinking that Anthropic itself signed goes back as it
//! came.

mod read;
mod write;

pub(super) use read::{read, read_limited};
pub(super) use write::{Blocks, whole};
