//! The layers of a platform, as plain data and in use.

use std::sync::Arc;

use agentprovision_core::{Env, Error, Result};
use serde::{Deserialize, Serialize};

use super::{
    BudgetConfig, BudgetLayer, CacheConfig, CacheLayer, EmbeddingCacheConfig, EmbeddingCacheLayer,
    GuardLayer, GuardsConfig, RateLimitConfig, RateLimitLayer, TraceConfig, TraceLayer, ValidateConfig,
    ValidateLayer,
};
use crate::limit::Ledger;
use crate::route::RouterBuilder;
#[cfg(feature = "otel")]
use crate::telemetry::Telemetry;

/// What surrounds every model of a router. A part that is absent is not there, but for the trace, which always is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LayersConfig {
    /// What is told of each request.
    pub trace: TraceConfig,
    /// What may be asked and answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guards: Option<GuardsConfig>,
    /// Answers that are given again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheConfig>,
    /// Vectors that are given again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding_cache: Option<EmbeddingCacheConfig>,
    /// Checks of files in requests, and of answers against the schema that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validate: Option<ValidateConfig>,
    /// How fast requests may come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limits: Option<RateLimitConfig>,
    /// How much may be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budgets: Option<BudgetConfig>,
}

impl LayersConfig {
    /// The layers; `ledger` keeps the budgets.
    ///
    /// # Errors
    /// `invalid_input` with every problem of every part.
    pub fn layers(&self, env: &Env, ledger: Arc<dyn Ledger>) -> Result<Layers> {
        let mut problems = Vec::new();
        let cache = self.cache.clone().map(|config| CacheLayer::new(config, env.clone()));
        let cache = made(cache, &mut problems);
        let vectors =
            self.embedding_cache.clone().map(|config| EmbeddingCacheLayer::new(config, env.clone()));
        let embedding_cache = made(vectors, &mut problems);
        let guards = self.guards.as_ref().map(|config| GuardLayer::for_router(config, env.clone()));
        let guards = made(guards, &mut problems);
        // What a guard took out of an answer must not come out of the cache.
        let guards = guards.map(|guards| match &cache {
            Some(cache) => guards.forget_in(cache),
            None => guards,
        });
        let validate = made(self.validate.clone().map(ValidateLayer::new), &mut problems);
        let rates = self.rate_limits.as_ref().map(|config| RateLimitLayer::new(config, env.clone()));
        let rate_limits = made(rates, &mut problems);
        let budgets = self.budgets.as_ref().map(|config| BudgetLayer::new(config, ledger, env.clone()));
        let budgets = made(budgets, &mut problems);
        if !problems.is_empty() {
            return Err(Error::invalid(problems.join("; ")));
        }
        let trace = TraceLayer::new(env.clone(), self.trace);
        Ok(Layers { trace, guards, cache, embedding_cache, validate, rate_limits, budgets })
    }

    /// The router with these layers, as [`Layers::around`]; `ledger` keeps the budgets.
    ///
    /// # Errors
    /// As [`layers`](Self::layers) and [`Layers::around`].
    pub fn around(&self, router: RouterBuilder, ledger: Arc<dyn Ledger>) -> Result<RouterBuilder> {
        self.layers(router.registry().env(), ledger)?.around(router)
    }
}

fn made<T>(layer: Option<Result<T>>, problems: &mut Vec<String>) -> Option<T> {
    layer?.map_err(|error| problems.push(error.message().to_owned())).ok()
}

/// The layers of a configuration, to put around a router and to reach again while it is in use: limits are reloaded,
/// balances read and stored answers dropped here. Cheap to clone; every clone is the same layers.
#[derive(Clone, Debug)]
pub struct Layers {
    trace: TraceLayer,
    guards: Option<GuardLayer>,
    cache: Option<CacheLayer>,
    embedding_cache: Option<EmbeddingCacheLayer>,
    validate: Option<ValidateLayer>,
    rate_limits: Option<RateLimitLayer>,
    budgets: Option<BudgetLayer>,
}

impl Layers {
    /// The same layers, which tell OpenTelemetry of each request.
    #[cfg(feature = "otel")]
    #[must_use]
    pub fn telemetry(mut self, telemetry: Telemetry) -> Self {
        self.trace = self.trace.telemetry(telemetry);
        self
    }

    /// The router with these layers, in their order. Layers that were added before are outside of them. Guards can be
    /// around one router only, since its models judge.
    ///
    /// # Errors
    /// `invalid_input` when content is to be recorded and there is no telemetry that could.
    pub fn around(&self, mut router: RouterBuilder) -> Result<RouterBuilder> {
        let Self { trace, guards, cache, embedding_cache, validate, rate_limits, budgets } = self.clone();
        if trace.lacks_telemetry() {
            return Err(Error::invalid(
                "`trace.capture_content` has no effect without telemetry, which only a host in Rust can give",
            ));
        }
        router = router.trace(trace);
        if let Some(guards) = guards {
            router = router.guards(guards);
        }
        if let Some(cache) = cache {
            router = router.cache(cache);
        }
        if let Some(vectors) = embedding_cache {
            router = router.embedding_cache(vectors);
        }
        if let Some(validate) = validate {
            router = router.validate(validate);
        }
        if let Some(rates) = rate_limits {
            router = router.layer(rates.clone()).embedding_layer(rates.clone()).rerank_layer(rates);
        }
        if let Some(budgets) = budgets {
            router = router.layer(budgets.clone()).embedding_layer(budgets.clone()).rerank_layer(budgets);
        }
        Ok(router)
    }

    /// Answers that are given again.
    pub fn cache(&self) -> Option<&CacheLayer> {
        self.cache.as_ref()
    }

    /// Vectors that are given again.
    pub fn embedding_cache(&self) -> Option<&EmbeddingCacheLayer> {
        self.embedding_cache.as_ref()
    }

    /// How fast requests may come.
    pub fn rate_limits(&self) -> Option<&RateLimitLayer> {
        self.rate_limits.as_ref()
    }

    /// How much may be used.
    pub fn budgets(&self) -> Option<&BudgetLayer> {
        self.budgets.as_ref()
    }
}
