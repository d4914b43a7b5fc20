//! The messages format of Anthropic, which gateways in front of its models speak too.
//!
//! Written from Anthropic's API reference (`POST /v1/messages`, version 2023-06-01, and its streaming events). Thinking
//! with its signature, redacted thinking and what the provider's own tools did go into the answer's
//! [`Continuation`](agentprovision_core::model::Continuation), in the order of the answer, and from there back into the
//! conversation. A prompt cache is asked for with the `extra` field `cache_control`, which caches up to the last block,
//! and calls one at a time with `parallel_tool_calls`, as at OpenAI.

mod blocks;
mod classify;
mod decode;
mod encode;
mod messages;
mod stream;
#[cfg(test)]
mod tests;
mod usage;

use agentprovision_core::Result;
use agentprovision_core::model::{ChatRequest, ChatResponse, WireFormat};
use http::{HeaderMap, StatusCode};

use super::streamed::Streamed;
use super::{Delivery, Dialect, ProviderError, StreamDecoder, WireRequest};

/// The issuer of continuations.
const ISSUER: &str = "anthropic.messages";

/// The messages dialect.
#[derive(Clone, Debug)]
pub struct AnthropicMessages {
    max_tokens: u64,
}

impl AnthropicMessages {
    /// The longest answer, in tokens, that is asked for where the request sets no limit: what every model of this format
    /// can write. The format has no default of its own.
    pub const MAX_TOKENS: u64 = 4096;

    /// The dialect with [`AnthropicMessages::MAX_TOKENS`] where a request sets no limit.
    pub fn new() -> Self {
        Self { max_tokens: Self::MAX_TOKENS }
    }

    /// The same dialect with another limit where a request sets none; at least 1.
    #[must_use]
    pub fn with_max_tokens(mut self, tokens: u64) -> Self {
        self.max_tokens = tokens.max(1);
        self
    }
}

impl Default for AnthropicMessages {
    fn default() -> Self {
        Self::new()
    }
}

impl Dialect for AnthropicMessages {
    fn format(&self) -> WireFormat {
        WireFormat::Messages
    }

    fn encode(&self, request: &ChatRequest, delivery: Delivery) -> Result<WireRequest> {
        encode::encode(request, delivery, self.max_tokens)
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
        Box::new(Streamed::new(stream::Stream::default()))
    }

    fn classify(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        classify::classify(status, headers, body)
    }
}
