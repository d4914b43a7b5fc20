//! Whole answers: the last event of a stream without those before it.

use agentprovision_core::model::{ChatAssembler, ChatResponse};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::classify;
use super::stream::Answer;
use crate::wire::streamed::Events;
use crate::wire::{Category, ProviderError};

pub(super) fn decode(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    issuer: &str,
) -> Result<ChatResponse, ProviderError> {
    if !status.is_success() {
        return Err(classify::classify(status, headers, body));
    }
    let malformed =
        |words: String| ProviderError::new(Category::Malformed, format!("HTTP {} {words}", status.as_u16()));
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| malformed(format!("whose body is not JSON: {error}")))?;
    let mut events = Vec::new();
    Answer::new(issuer).document(&body, &mut events).map_err(|error| match error.category {
        Category::Malformed => malformed(error.message),
        _ => error,
    })?;
    let mut assembler = ChatAssembler::new();
    events.iter().for_each(|event| assembler.push(event));
    assembler.finish().map_err(|error| ProviderError::new(Category::Incomplete, error.to_string()))
}
