//! The models of a platform.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentprovision_core::http::HttpTransport;
use agentprovision_core::model::{
    ChatModel, EmbeddingModel, EmbeddingResolver, ModelInfo, ModelResolver, RerankModel, RerankResolver,
};
use agentprovision_core::{Env, Error, Result};
use http::Uri;

use crate::catalog::{Catalog, LiveCatalog, ModelMode};
use crate::clip;
use crate::models::ModelKind;
use crate::patience::Patience;
use crate::providers::Provider;
use crate::route::HealthOptions;
use crate::route::target::{Served, Target};

/// The set of models of a platform: resolves a name to a model. Cheap to clone.
///
/// A name is looked up in this order: a model registered under exactly this name; `provider/model` where the provider
/// is registered; the first provider whose catalogue entries know the name; the only provider, when there is one.
///
/// What it resolves to is the plain model under the provider's first credential. [`Router`](crate::route::Router) is what
/// retries, fails over and rotates credentials.
#[derive(Clone, Debug)]
pub struct ModelRegistry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    chat: Kind<dyn ChatModel>,
    embedding: Kind<dyn EmbeddingModel>,
    rerank: Kind<dyn RerankModel>,
    /// In the order they were registered.
    providers: Vec<Slot>,
    catalog: LiveCatalog,
    transport: Option<Arc<dyn HttpTransport>>,
    env: Env,
    health: Arc<HealthOptions>,
}

/// One provider, under each of its credentials.
#[derive(Debug)]
struct Slot {
    name: String,
    credentials: Vec<Arc<dyn Provider>>,
}

/// The models of one kind.
#[derive(Debug)]
struct Kind<M: Served + ?Sized> {
    own: BTreeMap<String, Arc<Target<M>>>,
    /// Models of providers that were asked for, by `provider/model`, each with what is known of it.
    kept: moka::sync::Cache<String, Arc<Target<M>>>,
}

/// The most models of providers that are kept; names come from agents, so there is a limit.
const KEPT: u64 = 4096;

/// Collects the models of a platform.
#[derive(Debug)]
pub struct ModelRegistryBuilder {
    chat: Vec<(String, Arc<dyn ChatModel>)>,
    embedding: Vec<(String, Arc<dyn EmbeddingModel>)>,
    rerank: Vec<(String, Arc<dyn RerankModel>)>,
    providers: Vec<Arc<dyn Provider>>,
    credentials: Vec<Arc<dyn Provider>>,
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

    /// When a model is left alone after failures.
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

    /// A provider that is registered already, under another credential. A router goes on to the next credential when one
    /// is refused or takes no more requests, and each has a health of its own.
    #[must_use]
    pub fn credential(mut self, provider: Arc<dyn Provider>) -> Self {
        self.credentials.push(provider);
        self
    }

    /// A model of your own under this name. It goes before every provider.
    #[must_use]
    pub fn model(mut self, name: impl Into<String>, model: Arc<dyn ChatModel>) -> Self {
        self.chat.push((name.into(), model));
        self
    }

    /// An embedding model of your own under this name. It goes before every provider.
    #[must_use]
    pub fn embedder(mut self, name: impl Into<String>, model: Arc<dyn EmbeddingModel>) -> Self {
        self.embedding.push((name.into(), model));
        self
    }

    /// A rerank model of your own under this name. It goes before every provider.
    #[must_use]
    pub fn reranker(mut self, name: impl Into<String>, model: Arc<dyn RerankModel>) -> Self {
        self.rerank.push((name.into(), model));
        self
    }

    /// The models.
    ///
    /// # Errors
    /// `already_exists` when two models of a kind or two providers have one name; `invalid_input` when a name is empty,
    /// a provider's name has a slash, a credential is for no registered provider, or there are providers but no
    /// transport.
    pub fn build(self) -> Result<ModelRegistry> {
        let mut providers: Vec<Slot> = Vec::new();
        for provider in self.providers {
            let name = provider.name().to_owned();
            if name.is_empty() || name.contains('/') {
                return Err(Error::invalid(format!("`{}` is no name of a provider", clip(&name))));
            }
            if providers.iter().any(|other| other.name == name) {
                return Err(Error::already_exists(format!(
                    "there are two providers named `{}`",
                    clip(&name)
                )));
            }
            providers.push(Slot { name, credentials: vec![provider] });
        }
        for provider in self.credentials {
            let slot = providers.iter_mut().find(|slot| slot.name == provider.name()).ok_or_else(|| {
                let name = clip(provider.name());
                Error::invalid(format!("a credential is for the provider `{name}`, which is not registered"))
            })?;
            slot.credentials.push(provider);
        }
        if !providers.is_empty() && self.transport.is_none() {
            return Err(Error::invalid("a model provider needs an HTTP transport"));
        }
        let (env, health) = (self.env, Arc::new(self.health));
        Ok(ModelRegistry(Arc::new(Inner {
            chat: Kind::new(self.chat, &self.catalog, &env, &health)?,
            embedding: Kind::new(self.embedding, &self.catalog, &env, &health)?,
            rerank: Kind::new(self.rerank, &self.catalog, &env, &health)?,
            providers,
            catalog: LiveCatalog::new(self.catalog),
            transport: self.transport.map(|inner| Arc::new(Patience { inner, env: env.clone() }) as _),
            env,
            health,
        })))
    }
}

impl<M: Served + ?Sized> Kind<M> {
    fn new(
        models: Vec<(String, Arc<M>)>,
        catalog: &Catalog,
        env: &Env,
        health: &Arc<HealthOptions>,
    ) -> Result<Self> {
        let mut own = BTreeMap::new();
        for (name, model) in models {
            if name.is_empty() {
                return Err(Error::invalid("the name of a model must not be empty"));
            }
            let info = model.model_info().clone();
            let target = Arc::new(Target::new(name.clone(), info, [model], catalog, env, health));
            if own.insert(name.clone(), target).is_some() {
                return Err(Error::already_exists(format!("there are two models named `{}`", clip(&name))));
            }
        }
        Ok(Self { own, kept: moka::sync::Cache::new(KEPT) })
    }
}

impl ModelRegistry {
    /// Nothing yet, with the shipped catalogue.
    pub fn builder() -> ModelRegistryBuilder {
        ModelRegistryBuilder {
            chat: Vec::new(),
            embedding: Vec::new(),
            rerank: Vec::new(),
            providers: Vec::new(),
            credentials: Vec::new(),
            catalog: Catalog::shipped(),
            transport: None,
            env: Env::default(),
            health: HealthOptions::default(),
        }
    }

    /// The model an agent names, without a router around it.
    ///
    /// # Errors
    /// `not_found`, naming what there is; `invalid_input` when the provider cannot have a model of this name.
    pub fn get(&self, name: &str) -> Result<Arc<dyn ChatModel>> {
        first(&*self.chat(name)?)
    }

    /// The URLs of every provider, for the transport's list of allowed hosts.
    pub fn base_urls(&self) -> Vec<Uri> {
        let credentials = self.0.providers.iter().flat_map(|slot| &slot.credentials);
        credentials.flat_map(|provider| provider.base_urls()).collect()
    }

    /// What is known about models. A router takes prices from the one in use when a request begins; limits and
    /// capabilities stay those a model was made with.
    pub fn catalog(&self) -> &LiveCatalog {
        &self.0.catalog
    }

    /// The names that resolve and are known: registered models, and what the catalogue knows of each provider as
    /// `provider/model`.
    pub fn names(&self) -> Vec<String> {
        let catalog = self.0.catalog.current();
        let known = self.0.providers.iter().flat_map(|slot| {
            catalog.of(&slot.name).map(|entry| format!("{}/{}", entry.provider, entry.model))
        });
        self.0.chat.own.keys().cloned().chain(known).collect()
    }

    /// The names by which models say who provides them: of the providers, and of whoever the host's own models name.
    pub(crate) fn providers(&self) -> Vec<String> {
        let own = self.0.chat.own.values().map(|target| target.info.provider.clone());
        let own = own.chain(self.0.embedding.own.values().map(|target| target.info.provider.clone()));
        let own = own.chain(self.0.rerank.own.values().map(|target| target.info.provider.clone()));
        self.0.providers.iter().map(|slot| slot.name.clone()).chain(own).collect()
    }

    /// When a model is left alone after failures.
    pub(crate) fn health(&self) -> &HealthOptions {
        &self.0.health
    }

    /// Clock and randomness.
    pub fn env(&self) -> &Env {
        &self.0.env
    }

    /// The name the host registered a model by, or the one the catalogue has for it; `None` where neither knows it.
    #[cfg(feature = "otel")]
    pub(crate) fn label(&self, info: &ModelInfo) -> Option<String> {
        fn has<M: Served + ?Sized>(models: &Kind<M>, info: &ModelInfo) -> bool {
            models.own.values().any(|target| target.info.name == info.name)
        }
        let Inner { chat, embedding, rerank, catalog, .. } = &*self.0;
        if has(chat, info) || has(embedding, info) || has(rerank, info) {
            return Some(info.name.clone());
        }
        // Its own name, because others may lead to it, such as one for every day.
        catalog.current().get(&info.provider, &info.name).map(|entry| entry.model.clone())
    }

    /// The names of [`ModelRegistry::names`] and those of registered embedding and rerank models, with what they stand for
    /// and what is known of it. Makes no model.
    pub(crate) fn listed(&self) -> Vec<(String, ModelKind, ModelInfo)> {
        fn own<M: Served + ?Sized>(
            models: &Kind<M>,
            kind: ModelKind,
        ) -> impl Iterator<Item = (String, ModelKind, ModelInfo)> {
            models.own.iter().map(move |(name, target)| (name.clone(), kind, (*target.info).clone()))
        }
        let catalog = self.0.catalog.current();
        let known = self.0.providers.iter().flat_map(|slot| {
            catalog.of(&slot.name).map(|entry| {
                let name = format!("{}/{}", entry.provider, entry.model);
                let kind = match entry.mode {
                    ModelMode::Chat => ModelKind::Chat,
                    ModelMode::Embedding => ModelKind::Embedding,
                    ModelMode::Rerank => ModelKind::Rerank,
                };
                (name, kind, catalog.info(&entry.provider, &entry.model))
            })
        });
        own(&self.0.chat, ModelKind::Chat)
            .chain(own(&self.0.embedding, ModelKind::Embedding))
            .chain(own(&self.0.rerank, ModelKind::Rerank))
            .chain(known)
            .collect()
    }

    /// What a model of any kind is called and what is known of it, by a name that stands for it.
    pub(crate) fn known(&self, name: &str) -> Result<(Arc<str>, Arc<ModelInfo>)> {
        fn of<M: Served + ?Sized>(target: &Target<M>) -> (Arc<str>, Arc<ModelInfo>) {
            (Arc::clone(&target.name), Arc::clone(&target.info))
        }
        self.chat(name).map(|target| of(&*target)).or_else(|error| {
            let embedding = self.embedding(name).map(|target| of(&*target));
            embedding.or_else(|_| self.rerank(name).map(|target| of(&*target))).map_err(|_| error)
        })
    }

    pub(crate) fn chat(&self, name: &str) -> Result<Arc<Target<dyn ChatModel>>> {
        self.target(&self.0.chat, name, |provider, model, transport| {
            provider.model(model, transport, self.0.catalog.base())
        })
    }

    pub(crate) fn embedding(&self, name: &str) -> Result<Arc<Target<dyn EmbeddingModel>>> {
        self.target(&self.0.embedding, name, |provider, model, transport| {
            provider.embedder(model, transport, self.0.catalog.base())
        })
    }

    pub(crate) fn rerank(&self, name: &str) -> Result<Arc<Target<dyn RerankModel>>> {
        self.target(&self.0.rerank, name, |provider, model, transport| {
            provider.reranker(model, transport, self.0.catalog.base())
        })
    }

    /// The chat models of the host's own and those of providers that were asked for so far.
    pub(crate) fn known_chat(&self) -> Vec<Arc<Target<dyn ChatModel>>> {
        let mut kept: Vec<_> = self.0.chat.kept.iter().map(|(_, target)| target).collect();
        kept.sort_by(|a, b| a.name.cmp(&b.name));
        self.0.chat.own.values().cloned().chain(kept).collect()
    }

    fn target<M: Served + ?Sized>(
        &self,
        kind: &Kind<M>,
        name: &str,
        make: impl Fn(&dyn Provider, &str, Arc<dyn HttpTransport>) -> Result<Arc<M>>,
    ) -> Result<Arc<Target<M>>> {
        if let Some(target) = kind.own.get(name).cloned().or_else(|| kind.kept.get(name)) {
            return Ok(target);
        }
        let (slot, model) = self.place(name)?;
        let full = format!("{}/{model}", slot.name);
        if let Some(target) = kind.kept.get(&full) {
            return Ok(target);
        }
        let transport = self.0.transport.as_ref();
        let transport =
            transport.ok_or_else(|| Error::internal("a provider without a transport was registered"))?;
        let models = slot.credentials.iter().map(|provider| make(&**provider, model, Arc::clone(transport)));
        let models = models.collect::<Result<Vec<_>>>()?;
        let info = models.first().ok_or_else(|| Error::internal("a provider without a credential"))?;
        let info = info.model_info().clone();
        let made = Arc::new(Target::new(
            full.clone(),
            info,
            models,
            self.0.catalog.base(),
            &self.0.env,
            &self.0.health,
        ));
        // Whoever was first keeps the one health of the model.
        Ok(kind.kept.get_with(full, || made))
    }

    /// The provider of a model that is not the host's own, and the provider's name for it.
    fn place<'a>(&'a self, name: &'a str) -> Result<(&'a Slot, &'a str)> {
        check_name(name)?;
        let providers = &self.0.providers;
        if let Some((prefix, model)) = name.split_once('/')
            && let Some(slot) = providers.iter().find(|slot| slot.name == prefix)
        {
            return Ok((slot, model));
        }
        let catalog = self.0.catalog.current();
        let knows = |slot: &&Slot| catalog.get(&slot.name, name).is_some();
        if let Some(slot) = providers.iter().find(knows) {
            return Ok((slot, name));
        }
        match providers.as_slice() {
            [slot] if !name.is_empty() => Ok((slot, name)),
            _ => Err(Error::not_found(format!(
                "there is no model `{}`; there are {}",
                clip(name),
                self.available()
            ))),
        }
    }

    /// What there is, for an error: the registered models, and the providers with the form of their names.
    fn available(&self) -> String {
        let models = self.0.chat.own.keys().map(|name| format!("`{}`", clip(name)));
        let providers = self.0.providers.iter().map(|slot| format!("`{}/…`", clip(&slot.name)));
        let all: Vec<String> = models.chain(providers).collect();
        if all.is_empty() { "none".into() } else { all.join(", ") }
    }
}

/// The longest name of a model or route, in bytes. Names come from agents and are kept.
const LONGEST_NAME: usize = 255;

/// Refuses what can be the name of no model and no route.
///
/// # Errors
/// `invalid_input`.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        let what = format!("`{}` is no name of a model: ", clip(name));
        return Err(Error::invalid(what + "it is longer than 255 bytes or has control characters"));
    }
    Ok(())
}

fn first<M: Served + ?Sized>(target: &Target<M>) -> Result<Arc<M>> {
    let seat = target.seats.first().ok_or_else(|| Error::internal("a target without a credential"))?;
    Ok(Arc::clone(&seat.model))
}

impl ModelResolver for ModelRegistry {
    fn resolve(&self, name: &str) -> Result<Arc<dyn ChatModel>> {
        self.get(name)
    }
}

impl EmbeddingResolver for ModelRegistry {
    fn embedder(&self, name: &str) -> Result<Arc<dyn EmbeddingModel>> {
        first(&*self.embedding(name)?)
    }
}

impl RerankResolver for ModelRegistry {
    fn reranker(&self, name: &str) -> Result<Arc<dyn RerankModel>> {
        first(&*self.rerank(name)?)
    }
}
