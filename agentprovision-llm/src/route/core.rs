//! Routes requests: what the router's faces share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::model::{
    CallLog, ChatModel, ChatRequest, ChatResponse, ChatStream, EmbedRequest, EmbedResponse, RerankRequest,
    RerankResponse, RouteHints,
};
use agentprovision_core::{Env, Error, Result};

use super::ask::{Call, Commons};
use super::chat::{self, Streamed, Whole};
use super::config::RoutingConfig;
use super::decision::{RouteRequest, Selector};
use super::plan::{Ground, Needs, Plan};
use super::target::{Served, Target};
use super::tries::Bounds;
use super::vectors::{self, Embed, Rerank};
use crate::layers::Answerer;
use crate::registry::ModelRegistry;

/// How long a prompt cache is taken to be warm: what providers keep theirs for at least.
const WARM: Duration = Duration::from_secs(300);
/// The most affinity keys that are kept.
const KEPT: u64 = 65_536;

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) registry: ModelRegistry,
    pub(crate) selectors: BTreeMap<String, Arc<dyn Selector>>,
    /// A configuration that was checked.
    config: RwLock<Arc<RoutingConfig>>,
    commons: Commons,
    /// Who answered the last request with an affinity key.
    warm: moka::sync::Cache<String, Arc<str>>,
    seeds: AtomicU64,
    env: Env,
}

impl Core {
    pub(crate) fn new(
        registry: ModelRegistry,
        config: RoutingConfig,
        selectors: BTreeMap<String, Arc<dyn Selector>>,
    ) -> Self {
        let env = registry.env().clone();
        let commons = Commons::new(config.hedge.unwrap_or_default().per_cent);
        let warm = moka::sync::Cache::builder().max_capacity(KEPT).time_to_live(WARM).build();
        let seeds = AtomicU64::new(u64::from_le_bytes(env.random()));
        Self { registry, selectors, config: RwLock::new(Arc::new(config)), commons, warm, seeds, env }
    }

    pub(crate) fn config(&self) -> Arc<RoutingConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Routes by another configuration from now on.
    pub(crate) fn replace(&self, config: RoutingConfig) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// Random bits, from a generator that the platform's entropy was asked for once (SplitMix64): they decide who goes
    /// first and keep no secret, and asking the operating system for each request is slow.
    fn seed(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut word = self.seeds.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn request(&self, ctx: &Context, model: &str, hints: &RouteHints, needs: &Needs) -> RouteRequest {
        RouteRequest {
            model: model.to_owned(),
            tenant: ctx.tenant(),
            tags: hints.tags.clone(),
            affinity: hints.affinity.clone(),
            input_tokens: needs.input_tokens,
            output_tokens: needs.max_tokens.unwrap_or(needs.usual_output),
            seed: self.seed(),
        }
    }

    fn plan<M: Served + ?Sized>(
        &self,
        ctx: &Context,
        request: &RouteRequest,
        hints: &RouteHints,
        needs: &Needs,
        lookup: &dyn Fn(&str) -> Result<Arc<Target<M>>>,
    ) -> Result<(Plan<M>, Arc<RoutingConfig>)> {
        if hints.max_attempts == Some(0) {
            return Err(Error::invalid("`max_attempts` must be at least 1"));
        }
        let config = self.config();
        let selectors = |name: &str| self.selectors.get(name).cloned();
        let warm = request.affinity.as_ref().and_then(|key| self.warm.get(&warmth(ctx, &request.model, key)));
        let now = self.env.now();
        let ground = Ground { config: &config, selectors: &selectors, lookup, warm, now };
        let plan = ground.plan(ctx, request, hints, needs)?;
        Ok((plan, config))
    }

    pub(crate) fn plan_chat(
        &self,
        ctx: &Context,
        request: &ChatRequest,
    ) -> Result<(Plan<dyn ChatModel>, Arc<RoutingConfig>, u64)> {
        let needs = chat::needs(request);
        let asked = self.request(ctx, &request.model, &request.route, &needs);
        let lookup = |name: &str| self.registry.chat(name);
        let (plan, config) = self.plan(ctx, &asked, &request.route, &needs, &lookup)?;
        Ok((plan, config, asked.seed))
    }

    fn call<'a, M: Served + ?Sized>(
        &'a self,
        ctx: &Context,
        plan: Plan<M>,
        config: &RoutingConfig,
        hints: &RouteHints,
        log: &CallLog,
        seed: u64,
    ) -> Call<'a, M> {
        let (now, wall) = (self.env.monotonic(), self.env.now());
        let ends = [ctx.deadline(), hints.deadline].into_iter().flatten().min();
        let longest = Duration::from_millis(config.timeout_ms);
        let left = ends.map_or(longest, |end| end.since(wall).min(longest));
        let attempts = hints.max_attempts.map_or(config.max_attempts, |most| most.min(config.max_attempts));
        Call {
            env: &self.env,
            commons: &self.commons,
            bounds: Bounds {
                max_attempts: attempts,
                retries: config.retries,
                backoff: Duration::from_millis(config.backoff_ms),
                backoff_max: Duration::from_millis(config.backoff_max_ms),
                wait_max: Duration::from_millis(config.wait_max_ms),
                deadline: now.saturating_add(left),
            },
            log: log.clone(),
            input_tokens: plan.decision.input_tokens,
            pay_once: hints.pay_once,
            seed,
            targets: plan.targets,
        }
    }

    pub(crate) async fn complete(&self, ctx: &Context, request: &ChatRequest) -> Result<ChatResponse> {
        let (plan, config, seed) = self.plan_chat(ctx, request)?;
        let call = self.call(ctx, plan, &config, &request.route, &request.log, seed);
        let limit = Duration::from_millis(config.attempt_ms.min(config.timeout_ms));
        let (answer, who) = call.run(&Whole { env: &self.env, ctx, request, limit }).await?;
        self.remember(ctx, &request.model, &request.route, who);
        Ok(answer)
    }

    pub(crate) async fn stream(&self, ctx: &Context, request: &ChatRequest) -> Result<ChatStream> {
        let (plan, config, seed) = self.plan_chat(ctx, request)?;
        let call = self.call(ctx, plan, &config, &request.route, &request.log, seed);
        let ask = Streamed {
            env: &self.env,
            ctx,
            request,
            limit: Duration::from_millis(config.first_event_ms.min(config.timeout_ms)),
            idle: Duration::from_millis(config.idle_ms),
            deadline: call.bounds.deadline,
            hedges: config.hedge.is_some(),
        };
        let (answer, who) = call.run(&ask).await?;
        self.remember(ctx, &request.model, &request.route, who);
        Ok(answer)
    }

    pub(crate) async fn embed(&self, ctx: &Context, request: &EmbedRequest) -> Result<EmbedResponse> {
        let needs = vectors::needs(request.inputs.iter().map(String::as_str));
        let asked = self.request(ctx, &request.model, &request.route, &needs);
        let lookup = |name: &str| self.registry.embedding(name);
        let (plan, config) = self.plan(ctx, &asked, &request.route, &needs, &lookup)?;
        let call = self.call(ctx, plan, &config, &request.route, &request.log, asked.seed);
        let limit = Duration::from_millis(config.attempt_ms.min(config.timeout_ms));
        Ok(call.run(&Embed { env: &self.env, ctx, request, limit }).await?.0)
    }

    pub(crate) async fn rerank(&self, ctx: &Context, request: &RerankRequest) -> Result<RerankResponse> {
        let texts = request.documents.iter().map(String::as_str).chain([request.query.as_str()]);
        let needs = vectors::needs(texts);
        let asked = self.request(ctx, &request.model, &request.route, &needs);
        let lookup = |name: &str| self.registry.rerank(name);
        let (plan, config) = self.plan(ctx, &asked, &request.route, &needs, &lookup)?;
        let call = self.call(ctx, plan, &config, &request.route, &request.log, asked.seed);
        let limit = Duration::from_millis(config.attempt_ms.min(config.timeout_ms));
        Ok(call.run(&Rerank { env: &self.env, ctx, request, limit }).await?.0)
    }

    /// Whether this target is one that a chat model's or route's name stands for, as against its fallbacks.
    pub(crate) fn is_own_chat(&self, name: &str, by: &Answerer) -> bool {
        let is = |name: &str| self.registry.chat(name).is_ok_and(|target| by.is(&target.info));
        self.config().any_target(name, &is)
    }

    /// The same of an embedding model.
    pub(crate) fn is_own_embedder(&self, name: &str, by: &Answerer) -> bool {
        let is = |name: &str| self.registry.embedding(name).is_ok_and(|target| by.is(&target.info));
        self.config().any_target(name, &is)
    }

    fn remember(&self, ctx: &Context, model: &str, hints: &RouteHints, who: Arc<str>) {
        if let Some(key) = &hints.affinity {
            self.warm.insert(warmth(ctx, model, key), who);
        }
    }
}

fn warmth(ctx: &Context, model: &str, key: &str) -> String {
    format!("{}\n{model}\n{key}", ctx.tenant())
}
