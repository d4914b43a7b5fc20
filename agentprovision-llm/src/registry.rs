//! The models of a platform.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentprovision_core::http::HttpTransport;
use agentprovision_core::model::{ChatModel, ModelResolver};
use agentprovision_core::{Env, Error, Result};
use http::Uri;

use crate::catalog::Catalog;
use crate::clip;
use crate::providers::Provider;
use crate::route::{Health, HealthOptions, Watched};

/// The set of models of a platform: resolves the name an agent uses to a [`ChatModel`]. Cheap to clone.
///
/// A name is looked up in this order: a model registered under exactly this name; `provider/model` where the provider
/// is registered; the first provider whose catalogue entries know the name; the only provider, when there is one.
#[derive(Clone, Debug)]
pub struct ModelRegistry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    explicit: BTreeMap<String, Arc<dyn ChatModel>>,
    /// In the order they were registered.
    providers: Vec<Arc<dyn Provider>>,
    catalog: Catalog,
    transport: Option<Arc<dyn HttpTransport>>,
    env: Env,
    health: Arc<HealthOptions>,
    /// Models of providers that were asked for, by provider and name, each with its health.
    watched: moka::sync::Cache<(String, String), Arc<dyn ChatModel>>,
}

/// The most models of providers that are kept; names come from agents, so there is a limit.
const KEPT: u64 = 4096;

/// Collects the models of a platform.
#[derive(Debug)]
pub struct ModelRegistryBuilder {
    explicit: Vec<(String, Arc<dyn ChatModel>)>,
    providers: Vec<Arc<dyn Provider>>,
    catalog: Catalog,
    transport: Option<Arc<dyn HttpTransport>>,
    env: Env,
    health: HealthOptions,
}

impl ModelRegistryBuilder {
    /// What is known about models; the shipped catalogue where this is not called.
    #[must_use]
    pub fn catalog(mut self, catalog: Catalog) -> Self {
        self.catalog = catalog;
        self
    }

    /// How providers are reached. Needed with a provider; models of your own do without.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn HttpTransport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Clock and randomness; the system's where this is not called.
    #[must_use]
    pub fn env(mut self, env: Env) -> Self {
        self.env = env;
        self
    }

    /// When a provider's model is left alone after failures.
    #[must_use]
    pub fn health(mut self, options: HealthOptions) -> Self {
        self.health = options;
        self
    }

    /// One more provider. The order decides where two know the same model.
    #[must_use]
    pub fn provider(mut self, provider: Arc<dyn Provider>) -> Self {
        self.providers.push(provider);
        self
    }

    /// A model of your own under this name. It goes before every provider.
    #[must_use]
    pub fn model(mut self, name: impl Into<String>, model: Arc<dyn ChatModel>) -> Self {
        self.explicit.push((name.into(), model));
        self
    }

    /// The models.
    ///
    /// # Errors
    /// `already_exists` when two models or two providers have one name; `invalid_input` when a name is empty, a
    /// provider's name has a slash, or there are providers but no transport.
    pub fn build(self) -> Result<ModelRegistry> {
        let mut explicit = BTreeMap::new();
        for (name, model) in self.explicit {
            if name.is_empty() {
                return Err(Error::invalid("the name of a model must not be empty"));
            }
            if explicit.contains_key(&name) {
                return Err(Error::already_exists(format!("there are two models named `{}`", clip(&name))));
            }
            explicit.insert(name, model);
        }
        for (position, provider) in self.providers.iter().enumerate() {
            let name = provider.name();
            if name.is_empty() || name.contains('/') {
                return Err(Error::invalid(format!("`{}` is no name of a provider", clip(name))));
            }
            if self.providers.iter().take(position).any(|other| other.name() == name) {
                return Err(Error::already_exists(format!("there are two providers named `{}`", clip(name))));
            }
        }
        if !self.providers.is_empty() && self.transport.is_none() {
            return Err(Error::invalid("a model provider needs an HTTP transport"));
        }
        let Self { providers, catalog, transport, env, health, explicit: _ } = self;
        let watched = moka::sync::Cache::new(KEPT);
        Ok(ModelRegistry(Arc::new(Inner {
            explicit,
            providers,
            catalog,
            transport,
            env,
            health: Arc::new(health),
            watched,
        })))
    }
}

impl ModelRegistry {
    /// Nothing yet, with the shipped catalogue.
    pub fn builder() -> ModelRegistryBuilder {
        ModelRegistryBuilder {
            explicit: Vec::new(),
            providers: Vec::new(),
            catalog: Catalog::shipped(),
            transport: None,
            env: Env::default(),
            health: HealthOptions::default(),
        }
    }

    /// The model an agent names.
    ///
    /// # Errors
    /// `not_found`, naming what there is; `invalid_input` when the provider cannot have a model of this name.
    pub fn get(&self, name: &str) -> Result<Arc<dyn ChatModel>> {
        if let Some(model) = self.0.explicit.get(name) {
            return Ok(Arc::clone(model));
        }
        let providers = &self.0.providers;
        if let Some((prefix, model)) = name.split_once('/')
            && let Some(provider) = providers.iter().find(|provider| provider.name() == prefix)
        {
            return self.of(provider, model);
        }
        let knows = |provider: &&Arc<dyn Provider>| self.0.catalog.get(provider.name(), name).is_some();
        if let Some(provider) = providers.iter().find(knows) {
            return self.of(provider, name);
        }
        match providers.as_slice() {
            [provider] if !name.is_empty() => self.of(provider, name),
            _ => Err(Error::not_found(format!(
                "there is no model `{}`; there are {}",
                clip(name),
                self.available()
            ))),
        }
    }

    /// The URLs of every provider, for the transport's list of allowed hosts.
    pub fn base_urls(&self) -> Vec<Uri> {
        self.0.providers.iter().flat_map(|provider| provider.base_urls()).collect()
    }

    /// What is known about models.
    pub fn catalog(&self) -> &Catalog {
        &self.0.catalog
    }

    /// The names that resolve and are known: registered models, and what the catalogue knows of each provider as
    /// `provider/model`.
    pub fn names(&self) -> Vec<String> {
        let known = self.0.providers.iter().flat_map(|provider| {
            self.0.catalog.of(provider.name()).map(|entry| format!("{}/{}", entry.provider, entry.model))
        });
        self.0.explicit.keys().cloned().chain(known).collect()
    }

    fn of(&self, provider: &Arc<dyn Provider>, model: &str) -> Result<Arc<dyn ChatModel>> {
        let key = (provider.name().to_owned(), model.to_owned());
        if let Some(kept) = self.0.watched.get(&key) {
            return Ok(kept);
        }
        let transport = self.0.transport.as_ref();
        let transport =
            transport.ok_or_else(|| Error::internal("a provider without a transport was registered"))?;
        let made = provider.model(model, Arc::clone(transport), &self.0.catalog)?;
        let env = self.0.env.clone();
        let health = Health::new(env.clone(), Arc::clone(&self.0.health));
        let watched: Arc<dyn ChatModel> = Arc::new(Watched::new(made, health, env));
        // Whoever was first keeps the one health of the model.
        Ok(self.0.watched.get_with(key, || watched))
    }

    /// What there is, for an error: the registered models, and the providers with the form of their names.
    fn available(&self) -> String {
        let models = self.0.explicit.keys().map(|name| format!("`{}`", clip(name)));
        let providers = self.0.providers.iter().map(|provider| format!("`{}/…`", clip(provider.name())));
        let all: Vec<String> = models.chain(providers).collect();
        if all.is_empty() { "none".into() } else { all.join(", ") }
    }
}

impl ModelResolver for ModelRegistry {
    fn resolve(&self, name: &str) -> Result<Arc<dyn ChatModel>> {
        self.get(name)
    }
}
