//! xAI.

use super::hosted::{Hosted, Service};
use crate::wire::openai_chat::{Lack, OpenAiChat, TokenLimitField};

/// xAI, under the name `xai`, with the key in `XAI_API_KEY`, at `XAI_BASE_URL`.
pub type Xai = Hosted<XaiService>;

/// What is particular to it.
#[derive(Clone, Debug)]
pub enum XaiService {}

impl Service for XaiService {
    const NAME: &'static str = "xai";
    const BASE_URL: &'static str = "https://api.x.ai/v1";
    const VARIABLES: &'static str = "XAI";

    fn chat() -> OpenAiChat {
        OpenAiChat::new().with_token_limit(TokenLimitField::MaxCompletionTokens).without(&[Lack::Documents])
    }
}

impl Xai {
    /// The same provider in the responses format, in which reasoning goes on between the turns of a conversation.
    #[must_use]
    pub fn responses(self) -> Self {
        self.server(|server| server.responses())
    }
}
