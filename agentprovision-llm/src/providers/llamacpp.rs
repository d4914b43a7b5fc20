//! llama.cpp.

use super::hosted::{Hosted, Service};
use crate::wire::openai_chat::{Lack, OpenAiChat};
use crate::wire::openai_embeddings::OpenAiEmbeddings;

/// A server of llama.cpp, under the name `llamacpp`, at `LLAMA_BASE_URL` or on this machine, with the key in `LLAMA_API_KEY`
/// where there is one.
pub type LlamaCpp = Hosted<LlamaCppService>;

/// What is particular to it.
#[derive(Clone, Debug)]
pub enum LlamaCppService {}

impl Service for LlamaCppService {
    const NAME: &'static str = "llamacpp";
    const BASE_URL: &'static str = "http://localhost:8080/v1";
    const VARIABLES: &'static str = "LLAMA";
    const KEY_IS_OPTIONAL: bool = true;

    fn chat() -> OpenAiChat {
        OpenAiChat::new().without(&[Lack::Documents])
    }

    fn embeddings() -> Option<OpenAiEmbeddings> {
        Some(OpenAiEmbeddings::new())
    }
}
