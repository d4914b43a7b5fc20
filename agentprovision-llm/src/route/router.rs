//! The router.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use agentprovision_core::context::Context;
use agentprovision_core::model::{
    ChatModel, ChatRequest, EmbedRequest, EmbeddingModel, EmbeddingResolver, ModelInfo, ModelResolver,
    RerankModel, RerankResolver,
};
use agentprovision_core::{Error, ErrorKind, Result};
use serde::Serialize;
use tower::Layer;

use super::chat::Routed;
use super::config::{BreakerConfig, RoutingConfig, Strategy};
use super::core::Core;
use super::decision::{RouteDecision, Selector};
use super::target::{Served, Target};
use super::vectors::{RoutedEmbedder, RoutedReranker};
use crate::clip;
#[cfg(feature = "cache-semantic")]
use crate::layers::SemanticCacheLayer;
use crate::layers::{Answerer, CacheLayer, EmbeddingCacheLayer, GuardLayer, TraceLayer, ValidateLayer};
use crate::registry::{ModelRegistry, check_name};

/// The most resolved names that are kept; names come from agents, so there is a limit.
const KEPT: u64 = 4096;

type ChatLayer = Arc<dyn Fn(&Arc<Core>, Arc<dyn ChatModel>) -> Arc<dyn ChatModel> + Send + Sync>;
type EmbeddingLayer =
    Arc<dyn Fn(&Arc<Core>, Arc<dyn EmbeddingModel>) -> Arc<dyn EmbeddingModel> + Send + Sync>;
type RerankLayer = Arc<dyn Fn(Arc<dyn RerankModel>) -> Arc<dyn RerankModel> + Send + Sync>;

/// Makes many models at many providers look like one. Cheap to clone; every clone is the same router.
///
/// It resolves names: of routes, of registered models, and `provider/model`. What a name resolves to retries, fails over
/// and records, with the router's layers around it.
///
/// ```
/// # use std::sync::Arc;
/// # use agentprovision_core::model::ModelResolver;
/// # use agentprovision_core::testing::{Reply, ScriptedModel};
/// use agentprovision_llm::ModelRegistry;
/// use agentprovision_llm::route::{Router, RoutingConfig};
///
/// # fn main() -> agentprovision_core::Result<()> {
/// # let (small, large) = (ScriptedModel::new("small", [Reply::text("hi")]), ScriptedModel::new("large", []));
/// let registry =
///     ModelRegistry::builder().model("small", Arc::new(small)).model("large", Arc::new(large)).build()?;
/// let config: RoutingConfig = serde_json::from_str(
///     r#"{"routes": {"chat": {"targets": ["small", "large"], "strategy": "cost"}}, "max_attempts": 3}"#,
/// )
/// .expect("a configuration");
/// let router = Router::builder(registry).config(config).build()?;
/// let model = router.resolve("chat")?; // a `ChatModel` like any other
/// assert!(router.resolve("chta").is_err());
/// # let _ = model;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Router {
    core: Arc<Core>,
    faces: Arc<Faces>,
}

/// What names resolve to. Apart from the core, which every face holds.
struct Faces {
    chat_layers: Vec<ChatLayer>,
    embedding_layers: Vec<EmbeddingLayer>,
    rerank_layers: Vec<RerankLayer>,
    chat: moka::sync::Cache<String, Arc<dyn ChatModel>>,
    embedding: moka::sync::Cache<String, Arc<dyn EmbeddingModel>>,
    rerank: moka::sync::Cache<String, Arc<dyn RerankModel>>,
    /// The faces of models that guards ask: those without guards.
    unguarded: Option<Arc<Faces>>,
}

impl Faces {
    fn new(
        chat_layers: Vec<ChatLayer>,
        embedding_layers: Vec<EmbeddingLayer>,
        rerank_layers: Vec<RerankLayer>,
    ) -> Self {
        Self {
            chat_layers,
            embedding_layers,
            rerank_layers,
            chat: moka::sync::Cache::new(KEPT),
            embedding: moka::sync::Cache::new(KEPT),
            rerank: moka::sync::Cache::new(KEPT),
            unguarded: None,
        }
    }

    /// What names stand for may have changed.
    fn clear(&self) {
        self.chat.invalidate_all();
        self.embedding.invalidate_all();
        self.rerank.invalidate_all();
        self.unguarded.iter().for_each(|faces| faces.clear());
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("config", &self.core.config()).finish_non_exhaustive()
    }
}

/// Puts a router together.
#[must_use]
pub struct RouterBuilder {
    registry: ModelRegistry,
    config: RoutingConfig,
    selectors: BTreeMap<String, Arc<dyn Selector>>,
    /// Each with whether it is one of guards.
    chat_layers: Vec<(ChatLayer, bool)>,
    embedding_layers: Vec<EmbeddingLayer>,
    rerank_layers: Vec<RerankLayer>,
    guards: Vec<GuardLayer>,
}

impl fmt::Debug for RouterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl RouterBuilder {
    /// The models it is about.
    pub fn registry(&self) -> &ModelRegistry {
        &self.registry
    }

    /// How requests are routed.
    pub fn config(mut self, config: RoutingConfig) -> Self {
        self.config = config;
        self
    }

    /// A strategy of the host's own, under a name that configurations and requests use. A name of a [`Strategy`] is
    /// refused.
    pub fn selector(mut self, name: impl Into<String>, selector: Arc<dyn Selector>) -> Self {
        self.selectors.insert(name.into(), selector);
        self
    }

    /// A layer around every chat model the router resolves. The first one is the outermost.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Arc<dyn ChatModel>, Service = Arc<dyn ChatModel>> + Send + Sync + 'static,
    {
        self.chat_layers.push((Arc::new(move |_, model| layer.layer(model)), false));
        self
    }

    /// A trace around every model the router resolves, of every kind. Its metrics have names of routes and known models
    /// alone, so that no caller can fill them with names of its own.
    pub fn trace(mut self, trace: TraceLayer) -> Self {
        let (chat, vectors) = (trace.clone(), trace.clone());
        self.chat_layers.push((Arc::new(move |core, model| told(&chat, core).layer(model)), false));
        self.embedding_layers.push(Arc::new(move |core, model| told(&vectors, core).layer(model)));
        self.rerank_layer(trace)
    }

    /// Guards around every model the router resolves, of every kind. Models that a configuration of theirs names judge by
    /// way of the router: with all its layers but guards, so that what they use is limited and counted as well.
    pub fn guards(mut self, guards: GuardLayer) -> Self {
        let around = guards.clone();
        self.chat_layers.push((Arc::new(move |_, model| around.layer(model)), true));
        self.guards.push(guards.clone());
        self.embedding_layer(guards.clone()).rerank_layer(guards)
    }

    /// Checks of requests and answers, in their place among the layers. What is asked again counts among the attempts
    /// and in the time of its request.
    pub fn validate(mut self, checks: ValidateLayer) -> Self {
        let layer: ChatLayer = Arc::new(move |core, model| {
            let core = Arc::clone(core);
            checks.clone().bounds(move || core.bounds()).layer(model)
        });
        self.chat_layers.push((layer, false));
        self
    }

    /// A layer around every embedding model the router resolves. The first one is the outermost.
    pub fn embedding_layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Arc<dyn EmbeddingModel>, Service = Arc<dyn EmbeddingModel>> + Send + Sync + 'static,
    {
        self.embedding_layers.push(Arc::new(move |_, model| layer.layer(model)));
        self
    }

    /// A layer around every rerank model the router resolves. The first one is the outermost.
    pub fn rerank_layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Arc<dyn RerankModel>, Service = Arc<dyn RerankModel>> + Send + Sync + 'static,
    {
        self.rerank_layers.push(Arc::new(move |model| layer.layer(model)));
        self
    }

    /// A cache, in its place among the layers. It stores what the targets of the model or route that was asked for
    /// answer, and nothing of their fallbacks.
    pub fn cache(mut self, cache: CacheLayer) -> Self {
        let layer: ChatLayer = Arc::new(move |core, model| {
            let core = Arc::clone(core);
            let own = move |request: &ChatRequest, by: &Answerer| core.is_own_chat(&request.model, by);
            cache.clone().own_targets(own).layer(model)
        });
        self.chat_layers.push((layer, false));
        self
    }

    /// A semantic cache, as [`cache`](Self::cache).
    #[cfg(feature = "cache-semantic")]
    pub fn semantic_cache(mut self, cache: SemanticCacheLayer) -> Self {
        let layer: ChatLayer = Arc::new(move |core, model| {
            let core = Arc::clone(core);
            let own = move |request: &ChatRequest, by: &Answerer| core.is_own_chat(&request.model, by);
            cache.clone().own_targets(own).layer(model)
        });
        self.chat_layers.push((layer, false));
        self
    }

    /// A cache of vectors, as [`cache`](Self::cache).
    pub fn embedding_cache(mut self, cache: EmbeddingCacheLayer) -> Self {
        self.embedding_layers.push(Arc::new(move |core, model| {
            let core = Arc::clone(core);
            let own = move |request: &EmbedRequest, by: &Answerer| core.is_own_embedder(&request.model, by);
            cache.clone().own_targets(own).layer(model)
        }));
        self
    }

    /// The router.
    ///
    /// # Errors
    /// `invalid_input` with everything that is wrong with the configuration, or with the models that are to judge, and for
    /// a `breaker` that is not the one the registry was built with.
    pub fn build(self) -> Result<Router> {
        let Self { registry, config, selectors, chat_layers, embedding_layers, rerank_layers, guards } = self;
        if let Some(name) = selectors.keys().find(|name| Strategy::from_name(name).is_some()) {
            return Err(Error::invalid(format!("`{name}` is a strategy of the router's own")));
        }
        check(&config, &registry, &selectors)?;
        let breaker = &config.breaker;
        if *breaker != BreakerConfig::default() && breaker.options() != *registry.health() {
            let what =
                "`breaker`: the models were made with another one; give `ModelRegistryBuilder::health` ";
            return Err(Error::invalid(format!("{what}the options of this one")));
        }
        let core = Arc::new(Core::new(registry, config, selectors));
        let unguarded = chat_layers.iter().filter(|(_, is_guard)| !is_guard);
        let unguarded = unguarded.map(|(layer, _)| Arc::clone(layer)).collect();
        let chat_layers = chat_layers.into_iter().map(|(layer, _)| layer).collect();
        let mut faces = Faces::new(chat_layers, embedding_layers, rerank_layers);
        if !guards.is_empty() {
            let unguarded = Arc::new(Faces::new(unguarded, Vec::new(), Vec::new()));
            faces.unguarded = Some(Arc::clone(&unguarded));
            let judges: Arc<dyn ModelResolver> =
                Arc::new(Router { core: Arc::clone(&core), faces: unguarded });
            guards.iter().try_for_each(|guards| guards.judged_by(&judges))?;
        }
        Ok(Router { core, faces: Arc::new(faces) })
    }
}

/// A trace that knows which names are no invention of a caller's.
#[cfg(feature = "otel")]
fn told(trace: &TraceLayer, core: &Arc<Core>) -> TraceLayer {
    let core = Arc::clone(core);
    trace.clone().names(move |info| core.label(info))
}

#[cfg(not(feature = "otel"))]
fn told(trace: &TraceLayer, _: &Arc<Core>) -> TraceLayer {
    trace.clone()
}

fn check(
    config: &RoutingConfig,
    registry: &ModelRegistry,
    selectors: &BTreeMap<String, Arc<dyn Selector>>,
) -> Result<()> {
    let own: Vec<&str> = selectors.keys().map(String::as_str).collect();
    let model = |name: &str| registry.known(name).map(|(name, _)| name);
    config.check(&own, &model, &registry.names(), &registry.providers())
}

/// A target and how it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TargetStatus {
    /// `provider/model`, or the name it is registered under.
    pub target: String,
    /// What it is and can do.
    pub info: ModelInfo,
    /// How many credentials it has.
    pub credentials: usize,
    /// How many of them may not be asked at the moment.
    pub blocked: usize,
    /// The share of its attempts that failed lately, 0 to 1.
    pub failing: f64,
    /// The expected time to the first piece of an answer in milliseconds; absent while nothing is known.
    pub first_ms: Option<f64>,
}

impl Router {
    /// Begins to build a router over these models.
    pub fn builder(registry: ModelRegistry) -> RouterBuilder {
        RouterBuilder {
            registry,
            config: RoutingConfig::default(),
            selectors: BTreeMap::new(),
            chat_layers: Vec::new(),
            embedding_layers: Vec::new(),
            rerank_layers: Vec::new(),
            guards: Vec::new(),
        }
    }

    /// The models it routes to.
    pub fn registry(&self) -> &ModelRegistry {
        &self.core.registry
    }

    /// The configuration at the moment.
    pub fn config(&self) -> RoutingConfig {
        (*self.core.config()).clone()
    }

    /// Routes by another configuration from now on; requests under way keep theirs. Breakers and averages stay.
    ///
    /// # Errors
    /// `invalid_input` with everything that is wrong with it; then the old one stays.
    pub fn reload(&self, config: RoutingConfig) -> Result<()> {
        check(&config, &self.core.registry, &self.core.selectors)?;
        self.core.replace(config);
        self.faces.clear();
        Ok(())
    }

    /// Who would be asked for a request, in which order, and why not the others; asks nobody.
    ///
    /// # Errors
    /// As the request itself, where nobody can be asked.
    pub fn explain(&self, ctx: &Context, request: &ChatRequest) -> Result<RouteDecision> {
        Ok(self.core.plan_chat(ctx, request)?.0.decision)
    }

    /// The chat models of the host's own and those of providers that were asked for so far, and how they are.
    pub fn status(&self) -> Vec<TargetStatus> {
        let status = |target: Arc<Target<dyn ChatModel>>| TargetStatus {
            target: target.name.to_string(),
            info: (*target.info).clone(),
            credentials: target.seats.len(),
            blocked: target.seats.iter().filter(|seat| seat.health.check().is_err()).count(),
            failing: target.vitals.pulse.failing(),
            first_ms: target.vitals.pulse.expected(0),
        };
        self.core.registry.known_chat().into_iter().map(status).collect()
    }

    /// The names of the routes.
    pub fn routes(&self) -> Vec<String> {
        self.core.config().routes.keys().cloned().collect()
    }

    /// What is known of whoever a name stands for first.
    fn info<M: Served + ?Sized>(
        &self,
        name: &str,
        lookup: impl Fn(&str) -> Result<Arc<Target<M>>>,
    ) -> Result<Arc<ModelInfo>> {
        check_name(name)?;
        let config = self.core.config();
        let mut at = name;
        while let Some(route) = config.routes.get(at) {
            // A route has a target and is in no circle: both were checked.
            let Some(first) = route.targets.first() else { break };
            at = &first.model;
        }
        let info = &lookup(at).map_err(|error| self.suggest(error, name))?.info;
        if at == name {
            return Ok(Arc::clone(info));
        }
        Ok(Arc::new(ModelInfo { name: name.to_owned(), ..(**info).clone() }))
    }

    /// An error that helps with a name nobody knows. Who asks is not known here, so where tenants may not use everything
    /// it names nothing that there is.
    fn suggest(&self, error: Error, name: &str) -> Error {
        if !error.is(ErrorKind::NotFound) {
            return error;
        }
        if !self.core.config().tenants.is_empty() {
            return Error::not_found(format!("there is no model or route `{}`", clip(name)));
        }
        let routes = self.routes();
        let near = super::config::nearest(name, routes.iter().map(String::as_str));
        if near.is_empty() {
            return error;
        }
        Error::new(error.kind(), format!("there is no model or route `{}`{near}", clip(name)))
    }
}

impl ModelResolver for Router {
    fn resolve(&self, name: &str) -> Result<Arc<dyn ChatModel>> {
        if let Some(model) = self.faces.chat.get(name) {
            return Ok(model);
        }
        let info = self.info(name, |name| self.core.registry.chat(name))?;
        let routed: Arc<dyn ChatModel> =
            Arc::new(Routed { core: Arc::clone(&self.core), info, name: name.to_owned() });
        let model = self.faces.chat_layers.iter().rev().fold(routed, |inner, layer| layer(&self.core, inner));
        self.faces.chat.insert(name.to_owned(), Arc::clone(&model));
        Ok(model)
    }
}

impl EmbeddingResolver for Router {
    fn embedder(&self, name: &str) -> Result<Arc<dyn EmbeddingModel>> {
        if let Some(model) = self.faces.embedding.get(name) {
            return Ok(model);
        }
        let info = self.info(name, |name| self.core.registry.embedding(name))?;
        let routed: Arc<dyn EmbeddingModel> =
            Arc::new(RoutedEmbedder { core: Arc::clone(&self.core), info, name: name.to_owned() });
        let model =
            self.faces.embedding_layers.iter().rev().fold(routed, |inner, layer| layer(&self.core, inner));
        self.faces.embedding.insert(name.to_owned(), Arc::clone(&model));
        Ok(model)
    }
}

impl RerankResolver for Router {
    fn reranker(&self, name: &str) -> Result<Arc<dyn RerankModel>> {
        if let Some(model) = self.faces.rerank.get(name) {
            return Ok(model);
        }
        let info = self.info(name, |name| self.core.registry.rerank(name))?;
        let routed: Arc<dyn RerankModel> =
            Arc::new(RoutedReranker { core: Arc::clone(&self.core), info, name: name.to_owned() });
        let model = self.faces.rerank_layers.iter().rev().fold(routed, |inner, layer| layer(inner));
        self.faces.rerank.insert(name.to_owned(), Arc::clone(&model));
        Ok(model)
    }
}
