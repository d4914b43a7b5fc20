//! OpenAI's chat completions: `POST /v1/chat/completions`.
//!
//! Written from OpenAI's API reference. Reasoning is shown as `reasoning_content`, as DeepSeek does, and what a provider
//! wants to see again comes and goes in `reasoning_details`, as OpenRouter does: libraries keep unknown fields of a
//! message and send them back.

mod read;
mod write;

pub(super) use read::{affinity, detail, read};
pub(super) use write::{Chunks, whole};

/// What of a request decides about the form of the answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Form {
    /// Whether the last chunk is to have the token counts.
    pub(super) include_usage: bool,
}
