//! OpenRouter.

use super::hosted::{Hosted, Service};
use crate::wire::openai_chat::{DocumentForm, OpenAiChat, ReasoningField};
use crate::wire::openai_embeddings::OpenAiEmbeddings;

/// OpenRouter, under the name `openrouter`, with the key in `OPENROUTER_API_KEY`, at `OPENROUTER_BASE_URL`. Its models
/// are `openrouter/vendor/model`; an application names itself with the headers `HTTP-Referer` and `X-Title`.
pub type OpenRouter = Hosted<OpenRouterService>;

/// What is particular to it.
#[derive(Clone, Debug)]
pub enum OpenRouterService {}

impl Service for OpenRouterService {
    const NAME: &'static str = "openrouter";
    const BASE_URL: &'static str = "https://openrouter.ai/api/v1";
    const VARIABLES: &'static str = "OPENROUTER";

    fn chat() -> OpenAiChat {
        // The signed reasoning of the model behind it comes as details.
        OpenAiChat::new()
            .with_documents(DocumentForm::FileOrUrl)
            .with_reasoning_again(Self::NAME, ReasoningField::Details)
    }

    fn embeddings() -> Option<OpenAiEmbeddings> {
        Some(OpenAiEmbeddings::new())
    }
}
