//! The form of the builder that files, environments and other languages use.

use std::time::Duration;

use agentprovision_core::run::EngineOptions;
use agentprovision_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::builder::PlatformBuilder;

/// The settings of a platform as plain data. Unknown fields are refused by name.
///
/// Secrets are not in it: a field that ends in `_env` names the environment variable that holds one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PlatformConfig {
    /// The store, by URL; default `memory://`.
    pub store: Option<String>,
    /// Providers of models.
    pub providers: Vec<ProviderConfig>,
    /// Permissions of the host's own.
    pub permissions: Vec<String>,
    /// The environment variable with the secret under which API keys are digested.
    pub pepper_env: Option<String>,
    /// Settings of the engine.
    pub engine: EngineConfig,
}

/// One provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ProviderConfig {
    /// OpenAI.
    #[serde(rename = "openai")]
    OpenAi {
        /// The environment variable with the key; default `OPENAI_API_KEY`.
        #[serde(default)]
        key_env: Option<String>,
        /// Another address, with the path before `/chat/completions`.
        #[serde(default)]
        base_url: Option<String>,
    },
    /// An endpoint that speaks OpenAI's dialect.
    #[serde(rename = "openai_compatible")]
    OpenAiCompatible {
        /// The name agents put before a model's, as in `name/model`.
        name: String,
        /// The address, with the path before `/chat/completions`.
        base_url: String,
        /// The environment variable with the key; none is sent where absent.
        #[serde(default)]
        key_env: Option<String>,
    },
}

/// Settings of the engine; an absent one keeps its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EngineConfig {
    /// Milliseconds a run is held without being renewed.
    pub lease_ms: Option<u64>,
    /// Runs that are driven at the same time.
    pub max_runs: Option<usize>,
    /// Milliseconds between looks for runs that nobody holds.
    pub poll_ms: Option<u64>,
    /// Milliseconds a model may be silent.
    pub model_idle_ms: Option<u64>,
}

impl PlatformConfig {
    /// Reads JSON.
    ///
    /// # Errors
    /// `invalid_input`, naming the unknown or missing field.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text)
            .map_err(|error| Error::invalid(format!("the configuration cannot be read: {error}")))
    }

    /// The builder with these settings; add tools and models of your own, then build.
    ///
    /// # Errors
    /// `invalid_input` for a setting that cannot be used, or an environment variable that is not set.
    pub fn into_builder(self) -> Result<PlatformBuilder> {
        let Self { store, providers, permissions, pepper_env, engine } = self;
        let mut builder = PlatformBuilder::default().engine(engine.options()?);
        if let Some(store) = store {
            builder = builder.store(store);
        }
        for name in permissions {
            builder = builder.permission(name);
        }
        if let Some(name) = pepper_env {
            builder = builder.pepper(variable(&name)?);
        }
        for provider in providers {
            builder = provider.add(builder)?;
        }
        Ok(builder)
    }
}

fn variable(name: &str) -> Result<secrecy::SecretString> {
    let value = std::env::var(name).map_err(|_| {
        Error::invalid(format!("the environment variable `{}` is not set", name.escape_debug()))
    })?;
    Ok(value.into())
}

impl ProviderConfig {
    #[cfg(feature = "llm-openai")]
    fn add(self, builder: PlatformBuilder) -> Result<PlatformBuilder> {
        use agentprovision_llm::providers::{OpenAi, OpenAiCompatible};
        Ok(match self {
            Self::OpenAi { key_env, base_url } => {
                let key = variable(key_env.as_deref().unwrap_or("OPENAI_API_KEY"))?;
                builder.provider(match base_url {
                    Some(url) => OpenAi::at(&url, key)?,
                    None => OpenAi::new(key)?,
                })
            }
            Self::OpenAiCompatible { name, base_url, key_env } => {
                let mut provider = OpenAiCompatible::new(&name, &base_url)?;
                if let Some(name) = key_env {
                    provider = provider.key(variable(&name)?)?;
                }
                builder.provider(provider)
            }
        })
    }

    #[cfg(not(feature = "llm-openai"))]
    fn add(self, _: PlatformBuilder) -> Result<PlatformBuilder> {
        Err(Error::unsupported("this build has no providers; enable the feature `llm-openai`"))
    }
}

impl EngineConfig {
    fn options(&self) -> Result<EngineOptions> {
        let mut options = EngineOptions::default();
        let set = |name: &str, target: &mut Duration, value: Option<u64>| match value {
            Some(0) => Err(Error::invalid(format!("`engine.{name}` is 0"))),
            Some(millis) => {
                *target = Duration::from_millis(millis);
                Ok(())
            }
            None => Ok(()),
        };
        set("lease_ms", &mut options.lease, self.lease_ms)?;
        set("poll_ms", &mut options.poll, self.poll_ms)?;
        set("model_idle_ms", &mut options.model_idle, self.model_idle_ms)?;
        match self.max_runs {
            Some(0) => return Err(Error::invalid("`engine.max_runs` is 0")),
            Some(runs) => options.max_runs = runs,
            None => {}
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_missing_fields_are_named() {
        for (text, named) in [
            (r#"{"stores": "memory://"}"#, "stores"),
            (r#"{"providers": [{"type": "openai_compatible", "name": "local"}]}"#, "base_url"),
            (r#"{"providers": [{"type": "nobody"}]}"#, "nobody"),
            (r#"{"engine": {"lease": 1}}"#, "lease"),
        ] {
            let error = PlatformConfig::from_json(text).unwrap_err();
            assert!(error.message().contains(named), "{error}");
        }
        let zero = PlatformConfig::from_json(r#"{"engine": {"max_runs": 0}}"#).unwrap();
        assert!(zero.into_builder().unwrap_err().message().contains("max_runs"));
    }
}
