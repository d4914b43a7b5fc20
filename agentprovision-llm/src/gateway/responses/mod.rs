//! OpenAI's responses: `POST /v1/responses`.
//!
//! Written from OpenAI's API reference. Nothing is stored: a conversation comes whole with every request, and what a
//! provider wants to see again comes and goes as encrypted reasoning.

mod read;
mod stream;
mod write;

pub(super) use read::read;
pub(super) use stream::Items;
pub(super) use write::whole;

use serde_json::{Map, Value};

/// Fields of the request that the answer repeats.
#[derive(Clone, Debug, Default)]
pub(super) struct Form {
    pub(super) echo: Map<String, Value>,
}
