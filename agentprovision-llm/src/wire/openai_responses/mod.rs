//! The responses format of OpenAI, which Azure, xAI, vLLM and others speak too.
//!
//! Written from OpenAI's API reference (`POST /responses` and its streaming events). The whole conversation goes with
//! every request, so that nothing has to be stored at the provider: `store` is false unless `extra` says otherwise, and
//! reasoning comes back encrypted, as a [`Continuation`](agentprovision_core::model::Continuation) that holds the items
//! of the answer.

mod classify;
mod decode;
mod encode;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use agentprovision_core::Result;
use agentprovision_core::model::{ChatRequest, ChatResponse, WireFormat};
use http::{HeaderMap, StatusCode};

use super::streamed::Streamed;
use super::{Delivery, Dialect, ProviderError, StreamDecoder, WireRequest};

/// The responses dialect.
#[derive(Clone, Debug)]
pub struct OpenAiResponses {
    issuer: Arc<str>,
    stateless: bool,
}

impl Default for OpenAiResponses {
    fn default() -> Self {
        Self { issuer: "openai.responses".into(), stateless: true }
    }
}

impl OpenAiResponses {
    /// The dialect with `openai.responses` as the issuer of encrypted reasoning.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same dialect with another issuer: who else can read what one provider encrypts is told apart by it.
    #[must_use]
    pub fn with_issuer(self, issuer: &str) -> Self {
        Self { issuer: issuer.into(), ..self }
    }

    /// The same dialect without the fields `store` and `include`, for servers that store nothing and encrypt nothing.
    #[must_use]
    pub fn without_state_fields(self) -> Self {
        Self { stateless: false, ..self }
    }
}

impl Dialect for OpenAiResponses {
    fn format(&self) -> WireFormat {
        WireFormat::Responses
    }

    fn encode(&self, request: &ChatRequest, delivery: Delivery) -> Result<WireRequest> {
        encode::encode(request, delivery, self)
    }

    fn decode(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<ChatResponse, ProviderError> {
        decode::decode(status, headers, body, &self.issuer)
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(Streamed::new(stream::Answer::new(&self.issuer)))
    }

    fn classify(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        classify::classify(status, headers, body)
    }
}
