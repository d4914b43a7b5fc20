//! Google's `generateContent` format, of the Gemini API and of Vertex AI.
//!
//! Written from Google's API reference (`models.generateContent`, `models.streamGenerateContent`, version `v1beta` of the
//! Gemini API and `v1` of Vertex AI) and its guides on function calling and thought signatures. Streams are read as
//! server-sent events and as one JSON array. Both hosts take the same bodies; they differ in the path of a model.
//!
//! The signatures of an answer come as a [`Continuation`](agentprovision_core::model::Continuation) whose items are the
//! parts of the answer as Google sent them, text that was streamed in pieces put together.

mod answer;
pub(super) mod classify;
mod contents;
mod decode;
pub(super) mod encode;
mod partial;
mod stream;
#[cfg(test)]
mod tests;
mod usage;

use agentprovision_core::Result;
use agentprovision_core::model::{ChatRequest, ChatResponse, WireFormat};
use http::{HeaderMap, StatusCode};

use super::{Delivery, Dialect, ProviderError, StreamDecoder, WireRequest};

/// Who serves the format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Host {
    #[default]
    Gemini,
    Vertex,
}

impl Host {
    /// Whose signatures they are: nothing says that one of the hosts reads those of the other.
    const fn issuer(self) -> &'static str {
        match self {
            Self::Gemini => "gemini.generateContent",
            Self::Vertex => "vertex.generateContent",
        }
    }
}

/// The `generateContent` dialect.
#[derive(Clone, Debug, Default)]
pub struct GeminiGenerate {
    host: Host,
}

impl GeminiGenerate {
    /// The dialect of the Gemini API: `/models/{model}:generateContent` below `…/v1beta`.
    pub fn new() -> Self {
        Self::default()
    }

    /// The dialect of Vertex AI: `/publishers/google/models/{model}:generateContent` below
    /// `…/v1/projects/{project}/locations/{location}`.
    pub fn vertex() -> Self {
        Self { host: Host::Vertex }
    }
}

impl Dialect for GeminiGenerate {
    fn format(&self) -> WireFormat {
        WireFormat::GenerateContent
    }

    fn encode(&self, request: &ChatRequest, delivery: Delivery) -> Result<WireRequest> {
        encode::encode(request, delivery, self.host)
    }

    fn decode(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<ChatResponse, ProviderError> {
        decode::decode(status, headers, body, self.host)
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(stream::Decoder::new(self.host))
    }

    fn classify(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        classify::classify(status, headers, body)
    }
}
