//! Dialects: pure translation between the vocabulary of conversations and a provider's wire format.
//!
//! A [`Dialect`] encodes a request, decodes a whole answer or a stream, and classifies errors. It does no I/O, holds no
//! key and never retries; [`HttpModel`](crate::HttpModel) does the talking.
//!
//! What a provider knows beyond the vocabulary is asked for with the fields of `extra`, which go into the request
//! unchanged where they are of its format; a field that the vocabulary has too is refused. Of an answer, what has no place in the vocabulary is not
//! kept: log probabilities, citations, which servers or tiers were used. What the provider wants to see again is, in
//! [`Continuation`](agentprovision_core::model::Continuation).

#[cfg(feature = "anthropic")]
pub mod anthropic_messages;
#[cfg(feature = "bedrock")]
mod aws_event_stream;
#[cfg(feature = "bedrock")]
pub mod bedrock_converse;
#[cfg(any(
    feature = "anthropic",
    feature = "bedrock",
    feature = "cohere",
    feature = "gemini",
    feature = "ollama",
    feature = "openai"
))]
mod call_ids;
#[cfg(feature = "cohere")]
pub mod cohere_chat;
#[cfg(feature = "cohere")]
pub mod cohere_embed;
#[cfg(feature = "cohere")]
pub mod cohere_rerank;
pub mod embed;
mod error;
pub(crate) mod fit;
#[cfg(any(feature = "cohere", feature = "ollama", feature = "openai"))]
mod functions;
#[cfg(feature = "gemini")]
pub mod gemini_embed;
#[cfg(feature = "gemini")]
pub mod gemini_generate;
#[allow(dead_code, reason = "only dialects look for hints, and none may be built")]
mod hint;
#[cfg(any(
    feature = "anthropic",
    feature = "bedrock",
    feature = "cohere",
    feature = "gemini",
    feature = "ollama",
    feature = "openai"
))]
mod json;
#[cfg(any(feature = "gemini", feature = "ollama"))]
mod json_stream;
#[cfg(feature = "openai")]
mod media;
#[cfg(feature = "ollama")]
pub mod ollama_chat;
#[cfg(feature = "openai")]
pub mod openai_chat;
#[cfg(feature = "openai")]
pub mod openai_embeddings;
#[cfg(feature = "openai")]
pub mod openai_responses;
pub mod rerank;
#[cfg(any(feature = "cohere", feature = "gemini", feature = "ollama"))]
mod schema;
pub mod sse;
#[cfg(any(feature = "anthropic", feature = "cohere", feature = "openai"))]
mod streamed;
#[cfg(any(feature = "anthropic", feature = "bedrock"))]
mod strict_schema;
#[cfg(feature = "bedrock")]
pub mod titan_embed;
#[cfg(any(feature = "anthropic", feature = "bedrock"))]
mod turns;
#[cfg(feature = "gemini")]
pub mod vertex_embed;

pub use error::{Category, Policy, ProviderError};
pub use hint::{HintSource, RetryHint};

use std::fmt;

use agentprovision_core::Result;
use agentprovision_core::model::{ChatEvent, ChatRequest, ChatResponse, WireFormat};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// How an answer is to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// In one body.
    Whole,
    /// As a stream of events.
    Streamed,
}

/// A request in a provider's wire format, without address and credential. Always a POST.
#[derive(Clone, Debug)]
pub struct WireRequest {
    /// The path below the provider's base URL, beginning with a slash.
    pub path: String,
    /// Headers the format asks for.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// One wire format. Pure: no I/O, no retries.
pub trait Dialect: fmt::Debug + Send + Sync + 'static {
    /// Which format it is, for fields that a request has in the words of another; [`WireFormat::Unknown`] for one of the
    /// host's own.
    fn format(&self) -> WireFormat {
        WireFormat::Unknown
    }

    /// The request in this format.
    ///
    /// # Errors
    /// `invalid_input` when the request says something the format cannot express; `unsupported` for content this
    /// dialect has no form for.
    fn encode(&self, request: &ChatRequest, delivery: Delivery) -> Result<WireRequest>;

    /// The answer in a whole body that came with a success status.
    ///
    /// # Errors
    /// A [`ProviderError`] when the body holds an error or no answer.
    fn decode(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<ChatResponse, ProviderError>;

    /// A decoder for one streamed answer.
    fn decoder(&self) -> Box<dyn StreamDecoder>;

    /// What an answer with an error status means.
    fn classify(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError;
}

/// Decodes one streamed answer from its bytes, however they are cut into pieces.
pub trait StreamDecoder: fmt::Debug + Send {
    /// Takes the next bytes and appends the events they complete to `out`.
    ///
    /// # Errors
    /// A [`ProviderError`] when the stream holds an error; the events before it are in `out`. Nothing may be pushed
    /// afterwards.
    fn push(&mut self, bytes: &[u8], out: &mut Vec<ChatEvent>) -> Result<(), ProviderError>;

    /// Says that no more bytes come.
    ///
    /// # Errors
    /// [`Category::Incomplete`] when the answer was cut off before the event that says why it ended; other categories
    /// when what was pending turns out to be an error.
    fn finish(&mut self, out: &mut Vec<ChatEvent>) -> Result<(), ProviderError>;
}
