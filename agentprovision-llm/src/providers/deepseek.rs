//! DeepSeek.

use super::hosted::{Hosted, Service};
use crate::wire::openai_chat::{Lack, OpenAiChat, ReasoningField};

/// DeepSeek, under the name `deepseek`, with the key in `DEEPSEEK_API_KEY`, at `DEEPSEEK_BASE_URL`.
pub type DeepSeek = Hosted<DeepSeekService>;

/// What is particular to it.
#[derive(Clone, Debug)]
pub enum DeepSeekService {}

impl Service for DeepSeekService {
    const NAME: &'static str = "deepseek";
    const BASE_URL: &'static str = "https://api.deepseek.com";
    const VARIABLES: &'static str = "DEEPSEEK";

    fn chat() -> OpenAiChat {
        // Answers are JSON on request, but match no schema; with tool calls the reasoning before them is asked for again.
        OpenAiChat::new().with_reasoning_again(Self::NAME, ReasoningField::Content).without(&[
            Lack::OutputSchema,
            Lack::Seed,
            Lack::Documents,
        ])
    }
}
