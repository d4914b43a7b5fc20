//! Together AI.

use super::hosted::{Hosted, Service};
use crate::wire::openai_chat::{Lack, OpenAiChat};
use crate::wire::openai_embeddings::OpenAiEmbeddings;

/// Together AI, under the name `together`, with the key in `TOGETHER_API_KEY`, at `TOGETHER_BASE_URL`.
pub type Together = Hosted<TogetherService>;

/// What is particular to it.
#[derive(Clone, Debug)]
pub enum TogetherService {}

impl Service for TogetherService {
    const NAME: &'static str = "together";
    const BASE_URL: &'static str = "https://api.together.xyz/v1";
    const VARIABLES: &'static str = "TOGETHER";

    fn chat() -> OpenAiChat {
        OpenAiChat::new().without(&[Lack::Documents])
    }

    fn embeddings() -> Option<OpenAiEmbeddings> {
        Some(OpenAiEmbeddings::new())
    }
}
