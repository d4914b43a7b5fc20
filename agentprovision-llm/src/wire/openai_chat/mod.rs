//! The chat completions format of OpenAI, which many other providers and servers speak too.
//!
//! Written from OpenAI's API reference (`POST /chat/completions` and its streaming events), and tolerant where servers
//! of the same format differ: reasoning as `reasoning_content`, `reasoning` or content parts, tool calls without or with
//! reused indices, usage in several places, errors inside successful answers. What a server must be asked otherwise is
//! an option of [`OpenAiChat`].

mod again;
pub(in crate::wire) mod classify;
mod decode;
mod encode;
mod messages;
mod options;
mod stream;
pub(in crate::wire) mod strict;
#[cfg(test)]
mod tests;
pub(in crate::wire) mod usage;
mod usual;

pub use options::{CallIdForm, DocumentForm, Lack, ReasoningField, SeedField, TokenLimitField};

use agentprovision_core::Result;
use agentprovision_core::model::{ChatRequest, ChatResponse, WireFormat};
use http::{HeaderMap, StatusCode};

use self::again::Again;
use super::streamed::Streamed;
use super::{Delivery, Dialect, ProviderError, StreamDecoder, WireRequest};

/// The chat completions dialect. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct OpenAiChat {
    token_limit: TokenLimitField,
    seed: SeedField,
    documents: DocumentForm,
    call_ids: CallIdForm,
    again: Option<Again>,
    lacks: &'static [Lack],
}

impl OpenAiChat {
    /// The dialect as most servers speak it, with `max_tokens` as the field of the token limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same dialect with another field for the token limit.
    #[must_use]
    pub fn with_token_limit(self, token_limit: TokenLimitField) -> Self {
        Self { token_limit, ..self }
    }

    /// The same dialect with another field for the seed.
    #[must_use]
    pub fn with_seed(self, seed: SeedField) -> Self {
        Self { seed, ..self }
    }

    /// The same dialect with another form of documents.
    #[must_use]
    pub fn with_documents(self, documents: DocumentForm) -> Self {
        Self { documents, ..self }
    }

    /// The same dialect with another form of the ids of tool calls.
    #[must_use]
    pub fn with_call_ids(self, call_ids: CallIdForm) -> Self {
        Self { call_ids, ..self }
    }

    /// The same dialect for a provider that wants to see reasoning again; `issuer` marks what is its own.
    #[must_use]
    pub fn with_reasoning_again(self, issuer: &str, field: ReasoningField) -> Self {
        Self { again: Some(Again::new(issuer, field)), ..self }
    }

    /// The same dialect for a server that lacks these.
    #[must_use]
    pub fn without(self, lacks: &'static [Lack]) -> Self {
        Self { lacks, ..self }
    }

    fn lacks(&self, lack: Lack) -> bool {
        self.lacks.contains(&lack)
    }
}

impl Dialect for OpenAiChat {
    fn format(&self) -> WireFormat {
        WireFormat::ChatCompletions
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
        decode::decode(status, headers, body, self.again.clone())
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(Streamed::new(stream::Chunks::new(self.again.clone())))
    }

    fn classify(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        classify::classify(status, headers, body)
    }
}
