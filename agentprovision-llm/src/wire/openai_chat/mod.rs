//! The chat completions format of OpenAI, which many other providers and servers speak too.
//!
//! Written from OpenAI's API reference (`POST /chat/completions` and its streaming events), and tolerant where servers
//! of the same format differ: reasoning as `reasoning_content`, `reasoning` or content parts, tool calls without or with
//! reused indices, usage in several places, errors inside successful answers.

pub(in crate::wire) mod classify;
mod decode;
mod encode;
mod stream;
pub(in crate::wire) mod strict;
#[cfg(test)]
mod tests;
pub(in crate::wire) mod usage;

use agentprovision_core::Result;
use agentprovision_core::model::{ChatRequest, ChatResponse};
use http::{HeaderMap, StatusCode};

use super::streamed::Streamed;
use super::{Delivery, Dialect, ProviderError, StreamDecoder, WireRequest};

/// Which field carries the longest answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenLimitField {
    /// `max_completion_tokens`, which OpenAI asks for.
    MaxCompletionTokens,
    /// `max_tokens`, which other servers know.
    #[default]
    MaxTokens,
}

/// The chat completions dialect.
#[derive(Clone, Debug, Default)]
pub struct OpenAiChat {
    token_limit: TokenLimitField,
}

impl OpenAiChat {
    /// The dialect with `max_tokens` as the field of the token limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same dialect with another field for the token limit.
    #[must_use]
    pub fn with_token_limit(mut self, field: TokenLimitField) -> Self {
        self.token_limit = field;
        self
    }
}

impl Dialect for OpenAiChat {
    fn encode(&self, request: &ChatRequest, delivery: Delivery) -> Result<WireRequest> {
        encode::encode(request, delivery, self.token_limit)
    }

    fn decode(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<ChatResponse, ProviderError> {
        decode::decode(status, headers, body)
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::<Streamed<stream::Chunks>>::default()
    }

    fn classify(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        classify::classify(status, headers, body)
    }
}
