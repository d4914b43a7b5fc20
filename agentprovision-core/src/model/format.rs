//! Names of wire formats.

use serde::{Deserialize, Serialize};

/// A wire format of conversations or vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WireFormat {
    /// OpenAI's chat completions, and its embeddings.
    ChatCompletions,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
    /// Google's generateContent, and its embeddings.
    GenerateContent,
    /// Amazon Bedrock's converse, and its embeddings.
    Converse,
    /// Cohere's chat and embed.
    Cohere,
    /// Ollama's chat.
    Ollama,
    /// One that is not known: no field of another format has a place in it.
    Unknown,
}
