//! Whole answers.

use agentprovision_core::model::{ChatAssembler, ChatResponse};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::answer::Answer;
use super::{Host, classify};
use crate::wire::{Category, ProviderError};

pub(super) fn decode(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    host: Host,
) -> Result<ChatResponse, ProviderError> {
    if !status.is_success() {
        return Err(classify::classify(status, headers, body));
    }
    let malformed =
        |words: String| ProviderError::new(Category::Malformed, format!("HTTP {} {words}", status.as_u16()));
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| malformed(format!("whose body is not JSON: {error}")))?;
    let (mut answer, mut events) = (Answer::new(host), Vec::new());
    // A list of one is how the same address answers when the stream was asked for without server-sent events.
    for chunk in body.as_array().map_or(std::slice::from_ref(&body), Vec::as_slice) {
        // A call Google could not read fails the answer, and is billed.
        answer.chunk(chunk, &mut events).map_err(|mut error| {
            error.usage = answer.usage().map(Box::new);
            error
        })?;
    }
    if !answer.is_finished() && !answer.any_candidate() {
        return Err(malformed("JSON without candidates".into()));
    }
    answer.end_whole(&mut events);
    let mut assembler = ChatAssembler::new();
    events.iter().for_each(|event| assembler.push(event));
    assembler.finish().map_err(|error| ProviderError::new(Category::Incomplete, error.to_string()))
}
