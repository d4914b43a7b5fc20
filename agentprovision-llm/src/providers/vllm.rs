//! vLLM.

use super::hosted::{Hosted, Service};
use crate::wire::openai_chat::{Lack, OpenAiChat};
use crate::wire::openai_embeddings::OpenAiEmbeddings;
use crate::wire::openai_responses::OpenAiResponses;

/// A vLLM server, under the name `vllm`, at `VLLM_BASE_URL` or on this machine, with the key in `VLLM_API_KEY` where there is
/// one.
pub type Vllm = Hosted<VllmService>;

/// What is particular to it.
#[derive(Clone, Debug)]
pub enum VllmService {}

impl Service for VllmService {
    const NAME: &'static str = "vllm";
    const BASE_URL: &'static str = "http://localhost:8000/v1";
    const VARIABLES: &'static str = "VLLM";
    const KEY_IS_OPTIONAL: bool = true;

    fn chat() -> OpenAiChat {
        OpenAiChat::new().without(&[Lack::Documents])
    }

    fn embeddings() -> Option<OpenAiEmbeddings> {
        Some(OpenAiEmbeddings::new())
    }
}

impl Vllm {
    /// The same server in the responses format. It stores and encrypts nothing.
    #[must_use]
    pub fn responses(self) -> Self {
        self.server(|server| server.dialect(OpenAiResponses::new().without_state_fields()))
    }
}
