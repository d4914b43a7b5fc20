//! The form of the builder that files, environments and other languages use.

use std::time::Duration;

use agentprovision_core::authz::PermissionRegistry;
use agentprovision_core::identity::Role;
use agentprovision_core::run::EngineOptions;
use agentprovision_core::{Error, Result};
use agentprovision_llm::Catalog;
use agentprovision_llm::layers::LayersConfig;
use agentprovision_llm::route::RoutingConfig;
use agentprovision_tenancy::placement::Shard;
use agentprovision_tenancy::rbac::RoleSpec;
use agentprovision_tenancy::tenant::BackupOptions;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize};

use crate::builder::PlatformBuilder;
use crate::decode::decode;
use crate::integrations::ConnectorsConfig;
use crate::providers::ProviderConfig;
use crate::webhooks::WebhooksConfig;

/// The settings of a platform as plain data. Unknown fields are refused by name.
///
/// Secrets are not in it: a field that ends in `_env` names the environment variable that holds one, and
/// [`PlatformConfig::into_builder_with`] can take them from elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PlatformConfig {
    /// The store, by URL; default `memory://`.
    pub store: Option<String>,
    /// Several databases instead of one store, each with a `name`, a `url` and, if wanted, a `weight` and a `region`; the
    /// first one also has what is above tenants.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<Shard>,
    /// Providers of models; in JSON the type alone, such as `"openai"`, stands for one with its defaults.
    #[serde(deserialize_with = "providers")]
    pub providers: Vec<ProviderConfig>,
    /// Permissions of the host's own.
    pub permissions: Vec<String>,
    /// Roles of the host's own.
    pub roles: Vec<RoleConfig>,
    /// The environment variable with the secret under which API keys are digested.
    pub pepper_env: Option<String>,
    /// Settings of the engine.
    pub engine: EngineConfig,
    /// Where backups of tenants go, and when they are made; none where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backups: Option<BackupConfig>,
    /// Models and prices that go over those the library knows, in the format of
    /// [`catalog`](agentprovision_llm::catalog); tenants' own terms among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalog: Option<serde_json::Value>,
    /// How requests to models are routed.
    pub routing: RoutingConfig,
    /// What surrounds every model: guards, caches, rate limits, budgets.
    pub layers: LayersConfig,
    /// Connectors, and where they may go.
    pub connectors: ConnectorsConfig,
    /// How deliveries of webhooks are worked on.
    pub webhooks: WebhooksConfig,
}

/// One role of the host's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RoleConfig {
    /// The name: 1 to 64 lower-case letters, digits and underscores.
    pub name: String,
    /// Roles whose permissions it has too.
    #[serde(default)]
    pub contains: Vec<String>,
    /// Roles that have its permissions too, and can therefore assign it.
    #[serde(default)]
    pub within: Vec<String>,
    /// Its own permissions, by name.
    #[serde(default)]
    pub permissions: Vec<String>,
}

impl RoleConfig {
    fn spec(self, registry: &PermissionRegistry) -> Result<RoleSpec> {
        let own = self.permissions.iter().map(|name| registry.get(name)).collect::<Result<Vec<_>>>()?;
        let roles = |names: Vec<String>| names.into_iter().map(Role::new);
        Ok(RoleSpec::new(self.name)
            .contains(roles(self.contains))
            .within(roles(self.within))
            .permissions(own))
    }
}

/// Reads providers, a type alone among them.
fn providers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ProviderConfig>, D::Error> {
    let given = Vec::<serde_json::Value>::deserialize(deserializer)?;
    let read = |provider| {
        let provider = match provider {
            serde_json::Value::String(kind) => serde_json::json!({ "type": kind }),
            other => other,
        };
        ProviderConfig::deserialize(provider).map_err(serde::de::Error::custom)
    };
    given.into_iter().map(read).collect()
}

/// Settings of the engine; an absent one keeps its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EngineConfig {
    /// Milliseconds a run is held without being renewed.
    pub lease_ms: Option<u64>,
    /// Runs that are driven at the same time; 0 leaves all of them to other processes on the same store.
    pub max_runs: Option<usize>,
    /// Runs of one tenant that are driven at the same time; as many as of all where absent.
    pub max_runs_per_tenant: Option<usize>,
    /// Milliseconds between looks for runs that nobody holds.
    pub poll_ms: Option<u64>,
    /// Milliseconds a model may be silent.
    pub model_idle_ms: Option<u64>,
}

/// Where backups of tenants go, and when they are made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct BackupConfig {
    /// The folder of their files, which must be there.
    pub folder: String,
    /// Seconds between the backups of a tenant; only when somebody asks for them where absent.
    #[serde(default)]
    pub every_s: Option<u64>,
    /// How many completed ones of a tenant are kept; default 7.
    #[serde(default)]
    pub keep: Option<u32>,
    /// Seconds that making one may take; default 3600.
    #[serde(default)]
    pub patience_s: Option<u64>,
}

impl BackupConfig {
    fn options(self) -> BackupOptions {
        let mut options = BackupOptions::new(self.folder);
        options.every = self.every_s.map(Duration::from_secs);
        options.keep = self.keep.unwrap_or(options.keep);
        options.patience = self.patience_s.map_or(options.patience, Duration::from_secs);
        options
    }
}

impl PlatformConfig {
    /// Reads JSON.
    ///
    /// # Errors
    /// `invalid_input`, naming the unknown or missing field and, for an unknown one, the nearest known.
    pub fn from_json(text: &str) -> Result<Self> {
        decode("the configuration", text)
    }

    /// All permissions: the built-in ones and those of the configuration.
    pub(crate) fn permissions(&self) -> Result<PermissionRegistry> {
        let mut registry = PermissionRegistry::default();
        for name in &self.permissions {
            registry.register(name)?;
        }
        Ok(registry)
    }

    /// The builder with these settings; add tools and models of your own, then build.
    ///
    /// # Errors
    /// `invalid_input` for a setting that cannot be used, or an environment variable that is not set.
    pub fn into_builder(self) -> Result<PlatformBuilder> {
        self.into_builder_with(&|_| None)
    }

    /// The builder with these settings; each variable that a `…_env` field names is asked of `secret` first, then of the
    /// environment.
    ///
    /// # Errors
    /// As [`PlatformConfig::into_builder`].
    pub fn into_builder_with(self, secret: &dyn Fn(&str) -> Option<SecretString>) -> Result<PlatformBuilder> {
        let variable = |name: &str| {
            check_name(name)?;
            secret(name).map_or_else(|| variable(name), Ok)
        };
        let registry = self.permissions()?;
        let Self {
            store,
            shards,
            providers,
            permissions,
            roles,
            pepper_env,
            engine,
            backups,
            catalog,
            routing,
            layers,
            connectors,
            webhooks,
        } = self;
        let mut builder =
            PlatformBuilder::default().engine(engine.options()?).routing(routing).layers(layers);
        builder = builder.connector_parts(connectors.parts(&variable)?).webhook_work(webhooks.options()?);
        if let Some(store) = store {
            builder = builder.store(store);
        }
        if let Some(backups) = backups {
            builder = builder.backups(backups.options());
        }
        for shard in shards {
            builder = builder.shard(shard);
        }
        if let Some(table) = catalog {
            builder = builder.catalog(Catalog::shipped().read(&table.to_string())?);
        }
        for name in permissions {
            builder = builder.permission(name);
        }
        for role in roles {
            builder = builder.role(role.spec(&registry)?);
        }
        if let Some(name) = pepper_env {
            builder = builder.pepper(variable(&name)?);
        }
        for provider in providers {
            builder = provider.add(builder, &variable)?;
        }
        Ok(builder)
    }
}

/// Refuses what is no name of a variable, and does not repeat it: it may be the secret itself, in the wrong place.
fn check_name(name: &str) -> Result<()> {
    let letters = |byte: u8| byte == b'_' || byte.is_ascii_uppercase() || byte.is_ascii_digit();
    if (1..=64).contains(&name.len()) && name.bytes().all(letters) {
        return Ok(());
    }
    Err(Error::invalid(
        "a field that ends in `_env` or `_envs` takes names of variables, of `A-Z 0-9 _`, not the secret",
    ))
}

fn variable(name: &str) -> Result<SecretString> {
    let value = std::env::var(name).map_err(|_| {
        Error::invalid(format!("the environment variable `{}` is not set", name.escape_debug()))
    })?;
    Ok(value.into())
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
        if self.max_runs_per_tenant == Some(0) {
            return Err(Error::invalid("`engine.max_runs_per_tenant` is 0"));
        }
        options.max_runs = self.max_runs.unwrap_or(options.max_runs);
        options.max_runs_per_tenant = self.max_runs_per_tenant;
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
            (r#"{"engine": {"lease": 1}}"#, "did you mean `lease_ms`?"),
            (r#"{"providers": ["openia"]}"#, "unknown variant `openia`"),
            (r#"{"providers": [{"type": "azure"}]}"#, "missing field `resource`"),
            (r#"{"providers": [{"type": "groq", "key": "x"}]}"#, "unknown field `key`"),
            (r#"{"stroe": "memory://"}"#, "did you mean `store`?"),
            (r#"{"layers": {"caches": {}}}"#, "unknown field `caches`"),
            (r#"{"backups": {"every_s": 60}}"#, "missing field `folder`"),
            (r#"{"backups": {"folder": "f", "every": 60}}"#, "did you mean `every_s`?"),
            (r#"{"shards": [{"name": "eu-1"}]}"#, "missing field `url`"),
            (r#"{"shards": [{"name": "eu-1", "url": "sqlite://a", "wieght": 2}]}"#, "unknown field `wieght`"),
            (r#"{"routing": {"max_attempt": 3}}"#, "did you mean `max_attempts`?"),
        ] {
            let error = PlatformConfig::from_json(text).unwrap_err();
            assert!(error.message().contains(named), "{error}");
        }
        let config = r#"{"permissions": ["orders:refund"], "roles": [{"name": "clerk", "permissions": ["orders:fly"]}]}"#;
        let unknown = PlatformConfig::from_json(config).unwrap().into_builder().unwrap_err();
        assert!(unknown.message().contains("orders:fly"), "{unknown}");
        let misplaced = r#"{"pepper_env": "hunter2-and-a-half"}"#;
        let misplaced = PlatformConfig::from_json(misplaced).unwrap().into_builder().unwrap_err();
        assert!(!misplaced.message().contains("hunter2"), "{misplaced}");
        let all = [
            "openai",
            "anthropic",
            "gemini",
            "cohere",
            "mistral",
            "groq",
            "deepseek",
            "xai",
            "openrouter",
            "together",
            "perplexity",
            "fireworks",
            "cerebras",
            "vllm",
            "llamacpp",
            "ollama",
        ];
        let config = serde_json::json!({ "providers": all }).to_string();
        let asked = std::cell::RefCell::new(Vec::new());
        let built = PlatformConfig::from_json(&config).unwrap().into_builder_with(&|name| {
            asked.borrow_mut().push(name.to_owned());
            Some("0123456789".to_owned().into())
        });
        if cfg!(all(
            feature = "llm-openai",
            feature = "llm-anthropic",
            feature = "llm-gemini",
            feature = "llm-cohere",
            feature = "llm-ollama"
        )) {
            let _ = built.unwrap();
            assert_eq!(asked.borrow().len(), 13, "servers of one's own need no key: {asked:?}");
        } else {
            assert_eq!(built.unwrap_err().kind(), agentprovision_core::ErrorKind::Unsupported);
        }
        let none = PlatformConfig::from_json(r#"{"engine": {"max_runs": 0}}"#).unwrap();
        assert_eq!(none.engine.options().unwrap().max_runs, 0);
        let zero = PlatformConfig::from_json(r#"{"engine": {"max_runs_per_tenant": 0}}"#).unwrap();
        assert!(zero.into_builder().unwrap_err().message().contains("max_runs_per_tenant"));
        let some = PlatformConfig::from_json(r#"{"engine": {"max_runs_per_tenant": 3}}"#).unwrap();
        let options = some.engine.options().unwrap();
        assert_eq!((options.max_runs, options.max_runs_per_tenant), (256, Some(3)));
        let backups = |more: &str| {
            let text = format!(r#"{{"backups": {{"folder": "f"{more}}}}}"#);
            PlatformConfig::from_json(&text).unwrap().backups.unwrap().options()
        };
        assert_eq!(backups(""), BackupOptions::new("f"));
        let all = BackupOptions::new("f").every(Duration::from_secs(60)).keep(3);
        let said = backups(r#", "every_s": 60, "keep": 3, "patience_s": 5"#);
        assert_eq!(said, all.patience(Duration::from_secs(5)));
    }
}
