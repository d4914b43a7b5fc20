//! Ollama's own chat format (`POST /api/chat`), streamed as one JSON document a line.
//!
//! Written from Ollama's API documentation and the types of its server. Beside the OpenAI-compatible format it has what
//! that one lacks: thinking, structured output by schema, and the options of the runner through
//! [`extra`](agentprovision_core::model::ChatRequest::extra) (`options`, `think`, `keep_alive`).

mod answer;
mod classify;
mod encode;
#[cfg(test)]
mod tests;

use agentprovision_core::Result;
use agentprovision_core::model::{ChatRequest, ChatResponse, WireFormat};
use http::{HeaderMap, StatusCode};

use super::{Delivery, Dialect, ProviderError, StreamDecoder, WireRequest};

/// Ollama's chat dialect, below the server's address without `/api`.
#[derive(Clone, Debug, Default)]
pub struct OllamaChat(());

impl OllamaChat {
    /// The dialect.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Dialect for OllamaChat {
    fn format(&self) -> WireFormat {
        WireFormat::Ollama
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
        Box::<answer::Decoder>::default()
    }

    fn classify(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        classify::classify(status, headers, body)
    }
}
