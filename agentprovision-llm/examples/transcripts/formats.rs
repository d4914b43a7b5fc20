//! The wire formats, by the names that cases give them. A new dialect adds its line here.

use agentprovision_llm::wire::Dialect;
use agentprovision_llm::wire::embed::EmbedDialect;
use agentprovision_llm::wire::openai_chat::OpenAiChat;
use agentprovision_llm::wire::openai_embeddings::OpenAiEmbeddings;
use agentprovision_llm::wire::openai_responses::OpenAiResponses;

/// A wire format.
pub(crate) enum Format {
    Chat(Box<dyn Dialect>),
    Embed(Box<dyn EmbedDialect>),
}

fn chat(dialect: impl Dialect) -> Option<Format> {
    Some(Format::Chat(Box::new(dialect)))
}

fn embed(dialect: impl EmbedDialect) -> Option<Format> {
    Some(Format::Embed(Box::new(dialect)))
}

/// The format with this name; `None` when its dialect is not built.
pub(crate) fn format(api: &str) -> Option<Format> {
    match api {
        #[cfg(feature = "anthropic")]
        "anthropic.messages" => chat(agentprovision_llm::wire::anthropic_messages::AnthropicMessages::new()),
        #[cfg(feature = "cohere")]
        "cohere.chat" => chat(agentprovision_llm::wire::cohere_chat::CohereChat::new()),
        #[cfg(feature = "cohere")]
        "cohere.embed" => embed(agentprovision_llm::wire::cohere_embed::CohereEmbed::new()),
        #[cfg(feature = "gemini")]
        "gemini.generateContent" => chat(agentprovision_llm::wire::gemini_generate::GeminiGenerate::new()),
        #[cfg(feature = "gemini")]
        "gemini.embed" => embed(agentprovision_llm::wire::gemini_embed::GeminiEmbed::new()),
        #[cfg(feature = "ollama")]
        "ollama.chat" => chat(agentprovision_llm::wire::ollama_chat::OllamaChat::new()),
        #[cfg(feature = "bedrock")]
        "bedrock.converse" => chat(agentprovision_llm::wire::bedrock_converse::BedrockConverse::new()),
        #[cfg(feature = "bedrock")]
        "bedrock.titan-embed" => embed(agentprovision_llm::wire::titan_embed::TitanEmbed::new()),
        "openai.chat" => chat(OpenAiChat::new()),
        "openai.embeddings" => embed(OpenAiEmbeddings::new()),
        "openai.responses" => chat(OpenAiResponses::new()),
        _ => None,
    }
}
