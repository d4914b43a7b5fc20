//! Fireworks AI.

use super::hosted::{Hosted, Service};
use crate::wire::openai_chat::{Lack, OpenAiChat};
use crate::wire::openai_embeddings::OpenAiEmbeddings;

/// Fireworks AI, under the name `fireworks`, with the key in `FIREWORKS_API_KEY`, at `FIREWORKS_BASE_URL`. Its models are
/// `fireworks/accounts/fireworks/models/…`.
pub type Fireworks = Hosted<FireworksService>;

/// What is particular to it.
#[derive(Clone, Debug)]
pub enum FireworksService {}

impl Service for FireworksService {
    const NAME: &'static str = "fireworks";
    const BASE_URL: &'static str = "https://api.fireworks.ai/inference/v1";
    const VARIABLES: &'static str = "FIREWORKS";

    fn chat() -> OpenAiChat {
        // The usage of streams comes unasked.
        OpenAiChat::new().without(&[Lack::Documents, Lack::StreamOptions])
    }

    fn embeddings() -> Option<OpenAiEmbeddings> {
        Some(OpenAiEmbeddings::new())
    }
}
