//! Perplexity.

use super::hosted::{Hosted, Service};
use crate::wire::openai_chat::{Lack, OpenAiChat};

/// Perplexity, under the name `perplexity`, with the key in `PERPLEXITY_API_KEY`, at `PERPLEXITY_BASE_URL`. Its models
/// search the web and call no tools.
pub type Perplexity = Hosted<PerplexityService>;

/// What is particular to it.
#[derive(Clone, Debug)]
pub enum PerplexityService {}

impl Service for PerplexityService {
    const NAME: &'static str = "perplexity";
    const BASE_URL: &'static str = "https://api.perplexity.ai";
    const VARIABLES: &'static str = "PERPLEXITY";

    fn chat() -> OpenAiChat {
        OpenAiChat::new().without(&[
            Lack::Tools,
            Lack::Stop,
            Lack::Seed,
            Lack::Documents,
            Lack::StreamOptions,
        ])
    }
}
