//! Cerebras.

use super::hosted::{Hosted, Service};
use crate::wire::openai_chat::{Lack, OpenAiChat, TokenLimitField};

/// Cerebras, under the name `cerebras`, with the key in `CEREBRAS_API_KEY`, at `CEREBRAS_BASE_URL`.
pub type Cerebras = Hosted<CerebrasService>;

/// What is particular to it.
#[derive(Clone, Debug)]
pub enum CerebrasService {}

impl Service for CerebrasService {
    const NAME: &'static str = "cerebras";
    const BASE_URL: &'static str = "https://api.cerebras.ai/v1";
    const VARIABLES: &'static str = "CEREBRAS";

    fn chat() -> OpenAiChat {
        OpenAiChat::new().with_token_limit(TokenLimitField::MaxCompletionTokens).without(&[Lack::Documents])
    }
}
