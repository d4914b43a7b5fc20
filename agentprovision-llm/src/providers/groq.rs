//! Groq.

use super::hosted::{Hosted, Service};
use crate::wire::openai_chat::{Lack, OpenAiChat, TokenLimitField};

/// Groq, under the name `groq`, with the key in `GROQ_API_KEY`, at `GROQ_BASE_URL`.
pub type Groq = Hosted<GroqService>;

/// What is particular to it.
#[derive(Clone, Debug)]
pub enum GroqService {}

impl Service for GroqService {
    const NAME: &'static str = "groq";
    const BASE_URL: &'static str = "https://api.groq.com/openai/v1";
    const VARIABLES: &'static str = "GROQ";

    fn chat() -> OpenAiChat {
        OpenAiChat::new().with_token_limit(TokenLimitField::MaxCompletionTokens).without(&[Lack::Documents])
    }
}
