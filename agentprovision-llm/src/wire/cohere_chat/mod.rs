//! Cohere's chat format, version 2 (`POST /v2/chat`).
//!
//! Written from Cohere's API reference and the types of its libraries. What a model says before it calls tools
//! (`tool_plan`) and its thinking come as a [`Continuation`](agentprovision_core::model::Continuation), because Cohere
//! wants to see them again.

mod answer;
pub(super) mod classify;
mod encode;
#[cfg(test)]
mod tests;

use agentprovision_core::Result;
use agentprovision_core::model::{ChatRequest, ChatResponse, WireFormat};
use http::{HeaderMap, StatusCode};

use super::streamed::Streamed;
use super::{Delivery, Dialect, ProviderError, StreamDecoder, WireRequest};

/// Who wrote a continuation.
const ISSUER: &str = "cohere.chat";

/// Cohere's chat dialect, below the server's address without `/v2`.
#[derive(Clone, Debug, Default)]
pub struct CohereChat(());

impl CohereChat {
    /// The dialect.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Dialect for CohereChat {
    fn format(&self) -> WireFormat {
        WireFormat::Cohere
    }

    fn encode(&self, request: &ChatRequest, delivery: Delivery) -> Result<WireRequest> {
        encode::encode(request, delivery)
    }

    fn decode(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<ChatResponse, ProviderError> {
        answer::decode(status, headers, body)
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(Streamed::new(answer::Answer::default()))
    }

    fn classify(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        classify::classify(status, headers, body)
    }
}
