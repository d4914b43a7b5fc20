//! Providers of models as plain data.

use agentprovision_core::{Error, Result};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::builder::PlatformBuilder;

/// Reads the secret in a variable.
pub(crate) type Variable<'a> = &'a dyn Fn(&str) -> Result<SecretString>;

/// A provider with one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct KeyedProvider {
    /// The environment variable with the key; default the one of the provider's own libraries.
    pub key_env: Option<String>,
    /// The environment variables with further keys: when one is refused or takes no more requests, the next is asked.
    pub more_key_envs: Vec<String>,
    /// Another address, with the path before what the provider's format adds.
    pub base_url: Option<String>,
}

/// A server of the host's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ServerProvider {
    /// The address; default the one the server listens on by itself, on this machine.
    pub base_url: Option<String>,
    /// The environment variable with the key; none is sent where absent.
    pub key_env: Option<String>,
}

/// One provider, by its `type`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProviderConfig {
    /// OpenAI; the key in `OPENAI_API_KEY`.
    #[serde(rename = "openai")]
    OpenAi(KeyedProvider),
    /// An endpoint that speaks OpenAI's dialect.
    #[serde(rename = "openai_compatible")]
    OpenAiCompatible(CompatibleProvider),
    /// Azure OpenAI; the key in `AZURE_OPENAI_API_KEY`.
    Azure(AzureProvider),
    /// Anthropic; the key in `ANTHROPIC_API_KEY`.
    Anthropic(KeyedProvider),
    /// Amazon Bedrock.
    Bedrock(BedrockProvider),
    /// Google's Gemini API; the key in `GEMINI_API_KEY`.
    Gemini(KeyedProvider),
    /// Cohere; the key in `COHERE_API_KEY`.
    Cohere(KeyedProvider),
    /// Mistral AI; the key in `MISTRAL_API_KEY`.
    Mistral(KeyedProvider),
    /// Groq; the key in `GROQ_API_KEY`.
    Groq(KeyedProvider),
    /// DeepSeek; the key in `DEEPSEEK_API_KEY`.
    #[serde(rename = "deepseek")]
    DeepSeek(KeyedProvider),
    /// xAI; the key in `XAI_API_KEY`.
    Xai(KeyedProvider),
    /// OpenRouter; the key in `OPENROUTER_API_KEY`.
    #[serde(rename = "openrouter")]
    OpenRouter(KeyedProvider),
    /// Together AI; the key in `TOGETHER_API_KEY`.
    Together(KeyedProvider),
    /// Perplexity; the key in `PERPLEXITY_API_KEY`.
    Perplexity(KeyedProvider),
    /// Fireworks AI; the key in `FIREWORKS_API_KEY`.
    Fireworks(KeyedProvider),
    /// Cerebras; the key in `CEREBRAS_API_KEY`.
    Cerebras(KeyedProvider),
    /// A server of vLLM.
    Vllm(ServerProvider),
    /// A server of llama.cpp.
    #[serde(rename = "llamacpp")]
    LlamaCpp(ServerProvider),
    /// A server of Ollama.
    Ollama(ServerProvider),
}

/// An endpoint that speaks OpenAI's dialect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CompatibleProvider {
    /// The name agents put before a model's, as in `name/model`.
    pub name: String,
    /// The address, with the path before `/chat/completions`.
    pub base_url: String,
    /// The environment variable with the key; none is sent where absent.
    #[serde(default)]
    pub key_env: Option<String>,
    /// The environment variables with further keys: when one is refused or takes no more requests, the next is asked.
    #[serde(default)]
    pub more_key_envs: Vec<String>,
}

/// A resource of Azure OpenAI.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AzureProvider {
    /// The resource's address, such as `https://name.openai.azure.com`.
    pub resource: String,
    /// The environment variable with the key; default `AZURE_OPENAI_API_KEY`.
    #[serde(default)]
    pub key_env: Option<String>,
    /// The environment variables with further keys: when one is refused or takes no more requests, the next is asked.
    #[serde(default)]
    pub more_key_envs: Vec<String>,
    /// A version of the API of deployments, such as `2024-10-21`; the API without versions where absent.
    #[serde(default)]
    pub api_version: Option<String>,
}

/// Amazon Bedrock in a region: with an API key of its own, or with AWS keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct BedrockProvider {
    /// The region, such as `us-east-1`.
    pub region: String,
    /// The environment variable with a Bedrock API key; AWS keys are used where absent.
    #[serde(default)]
    pub key_env: Option<String>,
    /// The environment variable with the id of the access key; default `AWS_ACCESS_KEY_ID`.
    #[serde(default)]
    pub access_key_id_env: Option<String>,
    /// The environment variable with the secret of the access key; default `AWS_SECRET_ACCESS_KEY`.
    #[serde(default)]
    pub secret_access_key_env: Option<String>,
    /// The environment variable with the session token of temporary keys.
    #[serde(default)]
    pub session_token_env: Option<String>,
}

/// The provider of a keyed service: `key` and `at` of the type, which all of them have.
#[cfg(any(
    feature = "llm-openai",
    feature = "llm-anthropic",
    feature = "llm-gemini",
    feature = "llm-cohere"
))]
macro_rules! keyed {
    ($provider:ty, $default:literal, $config:expr, $variable:expr) => {{
        let KeyedProvider { key_env, base_url, .. } = $config;
        let key = $variable(key_env.as_deref().unwrap_or($default))?;
        match base_url {
            Some(url) => <$provider>::at(&url, key)?,
            None => <$provider>::new(key)?,
        }
    }};
}

/// The provider of a server of the host's own.
#[cfg(feature = "llm-openai")]
macro_rules! server {
    ($provider:ty, $config:expr, $variable:expr) => {{
        let ServerProvider { base_url, key_env } = $config;
        let base_url = base_url.as_deref().unwrap_or(<$provider>::BASE_URL);
        match key_env {
            Some(name) => <$provider>::at(base_url, $variable(&name)?)?,
            None => <$provider>::without_key(base_url)?,
        }
    }};
}

impl ProviderConfig {
    /// The builder with this provider, under each of its keys.
    pub(crate) fn add(mut self, builder: PlatformBuilder, variable: Variable<'_>) -> Result<PlatformBuilder> {
        let more = self.keys().map(|(_, more)| std::mem::take(more)).unwrap_or_default();
        let mut builder = self.clone().add_one(builder, variable)?;
        for name in more {
            let mut other = self.clone();
            other.keys().into_iter().for_each(|(key, _)| *key = Some(name.clone()));
            builder = builder.credentials_of(other.add_one(PlatformBuilder::default(), variable)?);
        }
        Ok(builder)
    }

    /// The names of the variables with its keys, where it can have several.
    fn keys(&mut self) -> Option<(&mut Option<String>, &mut Vec<String>)> {
        match self {
            Self::OpenAi(config)
            | Self::Anthropic(config)
            | Self::Gemini(config)
            | Self::Cohere(config)
            | Self::Mistral(config)
            | Self::Groq(config)
            | Self::DeepSeek(config)
            | Self::Xai(config)
            | Self::OpenRouter(config)
            | Self::Together(config)
            | Self::Perplexity(config)
            | Self::Fireworks(config)
            | Self::Cerebras(config) => Some((&mut config.key_env, &mut config.more_key_envs)),
            Self::OpenAiCompatible(config) => Some((&mut config.key_env, &mut config.more_key_envs)),
            Self::Azure(config) => Some((&mut config.key_env, &mut config.more_key_envs)),
            Self::Bedrock(_) | Self::Vllm(_) | Self::LlamaCpp(_) | Self::Ollama(_) => None,
        }
    }

    /// The builder with this provider, under its first key.
    #[cfg_attr(
        not(feature = "llm-openai"),
        allow(unused_variables, reason = "without any provider there is nothing to add")
    )]
    fn add_one(self, builder: PlatformBuilder, variable: Variable<'_>) -> Result<PlatformBuilder> {
        match self {
            #[cfg(feature = "llm-openai")]
            config @ (Self::OpenAi(_)
            | Self::OpenAiCompatible(_)
            | Self::Azure(_)
            | Self::Mistral(_)
            | Self::Groq(_)
            | Self::DeepSeek(_)
            | Self::Xai(_)
            | Self::OpenRouter(_)
            | Self::Together(_)
            | Self::Perplexity(_)
            | Self::Fireworks(_)
            | Self::Cerebras(_)
            | Self::Vllm(_)
            | Self::LlamaCpp(_)) => config.of_openai(builder, variable),
            #[cfg(feature = "llm-anthropic")]
            Self::Anthropic(config) => Ok(builder.provider(keyed!(
                agentprovision_llm::providers::Anthropic,
                "ANTHROPIC_API_KEY",
                config,
                variable
            ))),
            #[cfg(feature = "llm-gemini")]
            Self::Gemini(config) => Ok(builder.provider(keyed!(
                agentprovision_llm::providers::Gemini,
                "GEMINI_API_KEY",
                config,
                variable
            ))),
            #[cfg(feature = "llm-cohere")]
            Self::Cohere(config) => Ok(builder.provider(keyed!(
                agentprovision_llm::providers::Cohere,
                "COHERE_API_KEY",
                config,
                variable
            ))),
            #[cfg(feature = "llm-ollama")]
            Self::Ollama(ServerProvider { base_url, key_env }) => {
                let server = agentprovision_llm::providers::Ollama::new(
                    base_url.as_deref().unwrap_or(agentprovision_llm::providers::Ollama::LOCAL),
                )?;
                Ok(builder.provider(match key_env {
                    Some(name) => server.key(variable(&name)?)?,
                    None => server,
                }))
            }
            #[cfg(feature = "llm-bedrock")]
            Self::Bedrock(config) => config.add(builder, variable),
            #[allow(unreachable_patterns, reason = "with all features there is nothing else")]
            other => Err(Error::unsupported(format!(
                "this build does not have the provider `{}`; enable its feature",
                other.name()
            ))),
        }
    }

    fn name(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        value.get("type").and_then(|name| name.as_str()).unwrap_or("unknown").to_owned()
    }

    #[cfg(feature = "llm-openai")]
    fn of_openai(self, builder: PlatformBuilder, variable: Variable<'_>) -> Result<PlatformBuilder> {
        use agentprovision_llm::providers as p;
        Ok(match self {
            Self::OpenAi(config) => builder.provider(keyed!(p::OpenAi, "OPENAI_API_KEY", config, variable)),
            Self::OpenAiCompatible(CompatibleProvider { name, base_url, key_env, .. }) => {
                let mut provider = p::OpenAiCompatible::new(&name, &base_url)?;
                if let Some(name) = key_env {
                    provider = provider.key(variable(&name)?)?;
                }
                builder.provider(provider)
            }
            Self::Azure(AzureProvider { resource, key_env, api_version, .. }) => {
                let key = variable(key_env.as_deref().unwrap_or("AZURE_OPENAI_API_KEY"))?;
                let azure = p::Azure::new(&resource, key)?;
                builder.provider(match api_version {
                    Some(version) => azure.api_version(&version)?,
                    None => azure,
                })
            }
            Self::Mistral(config) => {
                builder.provider(keyed!(p::Mistral, "MISTRAL_API_KEY", config, variable))
            }
            Self::Groq(config) => builder.provider(keyed!(p::Groq, "GROQ_API_KEY", config, variable)),
            Self::DeepSeek(config) => {
                builder.provider(keyed!(p::DeepSeek, "DEEPSEEK_API_KEY", config, variable))
            }
            Self::Xai(config) => builder.provider(keyed!(p::Xai, "XAI_API_KEY", config, variable)),
            Self::OpenRouter(config) => {
                builder.provider(keyed!(p::OpenRouter, "OPENROUTER_API_KEY", config, variable))
            }
            Self::Together(config) => {
                builder.provider(keyed!(p::Together, "TOGETHER_API_KEY", config, variable))
            }
            Self::Perplexity(config) => {
                builder.provider(keyed!(p::Perplexity, "PERPLEXITY_API_KEY", config, variable))
            }
            Self::Fireworks(config) => {
                builder.provider(keyed!(p::Fireworks, "FIREWORKS_API_KEY", config, variable))
            }
            Self::Cerebras(config) => {
                builder.provider(keyed!(p::Cerebras, "CEREBRAS_API_KEY", config, variable))
            }
            Self::Vllm(config) => builder.provider(server!(p::Vllm, config, variable)),
            Self::LlamaCpp(config) => builder.provider(server!(p::LlamaCpp, config, variable)),
            _ => return Err(Error::internal("a provider is in the wrong place")),
        })
    }
}

impl BedrockProvider {
    #[cfg(feature = "llm-bedrock")]
    fn add(self, builder: PlatformBuilder, variable: Variable<'_>) -> Result<PlatformBuilder> {
        use agentprovision_llm::AwsKeys;
        use agentprovision_llm::providers::Bedrock;
        use secrecy::ExposeSecret;
        if let Some(name) = self.key_env {
            return Ok(builder.provider(Bedrock::with_api_key(&self.region, variable(&name)?)?));
        }
        let named = |name: Option<String>, default: &str| variable(name.as_deref().unwrap_or(default));
        let id = named(self.access_key_id_env, "AWS_ACCESS_KEY_ID")?;
        let secret = named(self.secret_access_key_env, "AWS_SECRET_ACCESS_KEY")?;
        let mut keys = AwsKeys::new(id.expose_secret(), secret);
        if let Some(name) = self.session_token_env {
            keys = keys.with_session_token(variable(&name)?);
        }
        Ok(builder.provider(Bedrock::new(&self.region, std::sync::Arc::new(keys))?))
    }
}
