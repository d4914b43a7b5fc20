//! The layers of a platform, as plain data.

use std::sync::Arc;

use agentprovision_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{
    BudgetConfig, BudgetLayer, CacheConfig, CacheLayer, EmbeddingCacheConfig, EmbeddingCacheLayer,
    GuardLayer, GuardsConfig, RateLimitConfig, RateLimitLayer, TraceConfig, TraceLayer, ValidateConfig,
    ValidateLayer,
};
use crate::limit::Ledger;
use crate::route::RouterBuilder;

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
    /// The router with these layers, in their order; `ledger` keeps the budgets. Layers that were added before are
    /// outside of them.
    ///
    /// # Errors
    /// `invalid_input` with every problem of every part.
    pub fn around(&self, router: RouterBuilder, ledger: Arc<dyn Ledger>) -> Result<RouterBuilder> {
        let models = router.registry().clone();
        let env = models.env().clone();
        let mut problems = Vec::new();
        let cache = self.cache.clone().map(|config| CacheLayer::new(config, env.clone()));
        let cache = made(cache, &mut problems);
        let vectors =
            self.embedding_cache.clone().map(|config| EmbeddingCacheLayer::new(config, env.clone()));
        let vectors = made(vectors, &mut problems);
        let guards = self.guards.as_ref().map(|config| GuardLayer::from_config(config, env.clone(), &models));
        let guards = made(guards, &mut problems);
        // What a guard took out of an answer must not come out of the cache.
        let guards = guards.map(|guards| match &cache {
            Some(cache) => guards.forget_in(cache),
            None => guards,
        });
        let validate = made(self.validate.clone().map(ValidateLayer::new), &mut problems);
        let rates = self.rate_limits.as_ref().map(|config| RateLimitLayer::new(config, env.clone()));
        let rates = made(rates, &mut problems);
        let budgets = self.budgets.as_ref().map(|config| BudgetLayer::new(config, ledger, env.clone()));
        let budgets = made(budgets, &mut problems);
        if !problems.is_empty() {
            return Err(Error::invalid(problems.join("; ")));
        }
        let trace = TraceLayer::new(env, self.trace);
        let mut router = router.layer(trace.clone()).embedding_layer(trace);
        if let Some(guards) = guards {
            router = router.layer(guards.clone()).embedding_layer(guards);
        }
        if let Some(cache) = cache {
            router = router.cache(cache);
        }
        if let Some(vectors) = vectors {
            router = router.embedding_cache(vectors);
        }
        if let Some(validate) = validate {
            router = router.layer(validate);
        }
        if let Some(rates) = rates {
            router = router.layer(rates.clone()).embedding_layer(rates);
        }
        if let Some(budgets) = budgets {
            router = router.layer(budgets.clone()).embedding_layer(budgets);
        }
        Ok(router)
    }
}

fn made<T>(layer: Option<Result<T>>, problems: &mut Vec<String>) -> Option<T> {
    layer?.map_err(|error| problems.push(error.message().to_owned())).ok()
}
