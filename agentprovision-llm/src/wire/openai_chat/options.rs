//! Where servers of the chat completions format differ from each other.

use crate::wire::call_ids::IdForm;

/// Which field carries the longest answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenLimitField {
    /// `max_completion_tokens`, which OpenAI asks for.
    MaxCompletionTokens,
    /// `max_tokens`, which other servers know.
    #[default]
    MaxTokens,
}

/// Which field carries the seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeedField {
    /// `seed`.
    #[default]
    Seed,
    /// `random_seed`, which Mistral knows.
    RandomSeed,
}

/// How a user's documents are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DocumentForm {
    /// A part `file` with the bytes, which OpenAI takes; no addresses.
    #[default]
    File,
    /// A part `file` with the bytes or an address, which OpenRouter takes.
    FileOrUrl,
    /// A part `document_url`, which Mistral takes.
    DocumentUrl,
}

/// The ids of tool calls a server takes; other ones are replaced in the whole conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallIdForm {
    /// At most 40 printable characters of ASCII.
    #[default]
    Printable,
    /// Nine letters and digits, as Mistral asks for.
    NineLettersAndDigits,
}

impl CallIdForm {
    pub(super) fn ids(self) -> IdForm {
        match self {
            Self::Printable => IdForm {
                is_valid: |id| (1..=40).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()),
                make: |message, place, attempt| format!("call_{message}_{place}{}", "_".repeat(attempt)),
            },
            Self::NineLettersAndDigits => IdForm {
                is_valid: |id| id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
                make: |message, place, attempt| {
                    format!("{:05}{:03}{}", message % 100_000, place % 1000, attempt % 10)
                },
            },
        }
    }
}

/// The field of an answer in which a provider wants to see its model's reasoning again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReasoningField {
    /// `reasoning_content`, a text, which DeepSeek asks for with tool calls.
    Content,
    /// `reasoning_details`, a list that OpenRouter hands on to the model's own provider.
    Details,
}

impl ReasoningField {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Content => "reasoning_content",
            Self::Details => "reasoning_details",
        }
    }
}

/// What a server may lack. A request that needs it is refused, except where the server does it unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lack {
    /// Tools.
    Tools,
    /// Answers that match a schema.
    OutputSchema,
    /// Sequences that end the answer.
    Stop,
    /// A seed.
    Seed,
    /// Images.
    Images,
    /// Documents.
    Documents,
    /// The field `stream_options`, without which these servers send the usage all the same.
    StreamOptions,
}
