//! Mistral AI.

use super::hosted::{Hosted, Service};
use crate::wire::openai_chat::{CallIdForm, DocumentForm, Lack, OpenAiChat, SeedField};
use crate::wire::openai_embeddings::OpenAiEmbeddings;

/// Mistral AI, under the name `mistral`, with the key in `MISTRAL_API_KEY`, at `MISTRAL_BASE_URL`.
pub type Mistral = Hosted<MistralService>;

/// What is particular to it.
#[derive(Clone, Debug)]
pub enum MistralService {}

impl Service for MistralService {
    const NAME: &'static str = "mistral";
    const BASE_URL: &'static str = "https://api.mistral.ai/v1";
    const VARIABLES: &'static str = "MISTRAL";

    fn chat() -> OpenAiChat {
        // Mistral refuses fields it does not know, and sends the usage of streams unasked.
        OpenAiChat::new()
            .with_seed(SeedField::RandomSeed)
            .with_documents(DocumentForm::DocumentUrl)
            .with_call_ids(CallIdForm::NineLettersAndDigits)
            .without(&[Lack::StreamOptions])
    }

    fn embeddings() -> Option<OpenAiEmbeddings> {
        Some(OpenAiEmbeddings::new().with_dimensions_field("output_dimension"))
    }
}
