//! The converse format of Amazon Bedrock, which is the same for the models of all vendors there.
//!
//! Written from the API reference of Amazon Bedrock Runtime (`Converse` and `ConverseStream`). Reasoning with its
//! signature goes into the answer's [`Continuation`](agentprovision_core::model::Continuation) and from there back into
//! the conversation. Fields of one vendor's model go into the `extra` field `additionalModelRequestFields`.

mod blocks;
pub(super) mod classify;
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

use super::{Delivery, Dialect, ProviderError, StreamDecoder, WireRequest};

/// The issuer of continuations.
const ISSUER: &str = "bedrock.converse";

/// The converse dialect.
#[derive(Clone, Debug, Default)]
pub struct BedrockConverse {
    cache_points: bool,
}

impl BedrockConverse {
    /// The dialect without cache points.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same dialect, with or without a cache point after the tools, the instructions and the last message of the
    /// user. Models without a prompt cache refuse cache points.
    #[must_use]
    pub fn with_cache_points(mut self, on: bool) -> Self {
        self.cache_points = on;
        self
    }
}

impl Dialect for BedrockConverse {
    fn format(&self) -> WireFormat {
        WireFormat::Converse
    }

    fn encode(&self, request: &ChatRequest, delivery: Delivery) -> Result<WireRequest> {
        encode::encode(request, delivery, self.cache_points)
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
        Box::<stream::Decoder>::default()
    }

    fn classify(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        classify::classify(status, headers, body)
    }
}
