//! Routes requests: what the router's faces share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::model::{
    CallLog, ChatModel, ChatRequest, ChatResponse, ChatStream, EmbedRequest, EmbedResponse, ModelInfo,
    RerankRequest, RerankResponse, RouteHints,
};
use agentprovision_core::{Env, Error, Result, Timestamp, canonical};

use super::ask::{Call, Commons};
use super::chat::{self, Streamed, Whole};
use super::config::RoutingConfig;
use super::decision::{RouteRequest, Selector};
use super::plan::{Ground, Needs, Plan};
use super::target::{Served, Target};
use super::tries::{Bounds, Failure};
use super::vectors::{self, Embed, Rerank};
use crate::http_vectors::joined;
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
    /// Who answered the last request with an affinity key, and when. By a hash: the keys are of any length.
    warm: moka::sync::Cache<[u8; 32], (Arc<str>, Duration)>,
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
        let warm = moka::sync::Cache::new(KEPT);
        let seeds = AtomicU64::new(u64::from_le_bytes(env.random()));
        let config = RwLock::new(Arc::new(config.canonical()));
        Self { registry, selectors, config, commons, warm, seeds, env }
    }

    pub(crate) fn config(&self) -> Arc<RoutingConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many attempts a request that begins now may make, and when its answer must be there.
    pub(crate) fn bounds(&self) -> (u32, Timestamp) {
        let config = self.config();
        (config.max_attempts, self.env.now().after(Duration::from_millis(config.timeout_ms)))
    }

    /// Routes by another configuration from now on.
    pub(crate) fn replace(&self, config: RoutingConfig) {
        self.commons.hedges.set(config.hedge.unwrap_or_default().per_cent);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config.canonical());
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
        let warm = request.affinity.as_ref().and_then(|key| self.warm(ctx, &request.model, key));
        let (catalog, now) = (self.registry.catalog().current(), self.env.now());
        let ground = Ground { config: &config, selectors: &selectors, lookup, catalog: &catalog, warm, now };
        let plan = ground.plan(ctx, request, hints, needs)?;
        Ok((plan, config))
    }

    /// Who may answer for a name, with what they cost the tenant now.
    pub(crate) fn answerers<M: Served + ?Sized>(
        &self,
        ctx: &Context,
        name: &str,
        hints: &RouteHints,
        lookup: &dyn Fn(&str) -> Result<Arc<Target<M>>>,
    ) -> Vec<Arc<ModelInfo>> {
        let (catalog, now) = (self.registry.catalog().current(), self.env.now());
        let config = self.config();
        Ground { config: &config, selectors: &|_| None, lookup, catalog: &catalog, warm: None, now }
            .answerers(ctx, name, hints)
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
        log.keep();
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
            output_tokens: plan.decision.output_tokens,
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

    /// Texts go to a provider in batches, each asked for as a request is: with attempts of its own, and again by itself
    /// where it fails. The vectors are those of one model: another one that has to go on begins with the first text, with
    /// the attempts that are left, so no text is sent more than `max_attempts` times.
    pub(crate) async fn embed(&self, ctx: &Context, mut request: EmbedRequest) -> Result<EmbedResponse> {
        if request.inputs.iter().any(String::is_empty) {
            return Err(Error::invalid("an empty text has no vector"));
        }
        let needs = vectors::needs(request.inputs.iter().map(String::as_str));
        let asked = self.request(ctx, &request.model, &request.route, &needs);
        let lookup = |name: &str| self.registry.embedding(name);
        let (plan, config) = self.plan(ctx, &asked, &request.route, &needs, &lookup)?;
        let mut call = self.call(ctx, plan, &config, &request.route, &request.log, asked.seed);
        let limit = Duration::from_millis(config.attempt_ms.min(config.timeout_ms));
        let inputs = std::mem::take(&mut request.inputs);
        let mut others = call.targets.clone();
        let mut whole: Option<EmbedResponse> = None;
        // The most attempts any batch of the model that is asked took.
        let mut most = 0;
        loop {
            let done = whole.as_ref().map_or(0, |whole| whole.vectors.len());
            let texts = inputs.get(done..).unwrap_or_default();
            let before = request.log.len();
            let part = call.run(&Embed { env: &self.env, ctx, request: &request, texts, limit }).await;
            most = most.max(request.log.len() - before);
            let error = match (part, whole.take()) {
                (Ok((part, who)), None) => {
                    call.targets.retain(|(target, _)| target.name == who);
                    others.retain(|(target, _)| target.name != who);
                    whole = Some(part);
                    None
                }
                (Ok((part, _)), Some(so_far)) => joined(so_far, part).map(|both| whole = Some(both)).err(),
                (Err(error), None) => return Err(error),
                (Err(error), Some(_)) => Some(error),
            };
            if let Some(error) = error {
                let left = call.bounds.max_attempts.saturating_sub(u32::try_from(most).unwrap_or(u32::MAX));
                let late = self.env.monotonic() >= call.bounds.deadline;
                if call.pay_once || late || left == 0 || others.is_empty() || !Failure::of(&error).elsewhere()
                {
                    return Err(error);
                }
                (call.bounds.max_attempts, most) = (left, 0);
                call.targets.clone_from(&others);
                continue;
            }
            if let Some(whole) = whole.take_if(|whole| whole.vectors.len() >= inputs.len()) {
                return Ok(whole);
            }
        }
    }

    pub(crate) async fn rerank(&self, ctx: &Context, request: RerankRequest) -> Result<RerankResponse> {
        let texts = request.documents.iter().map(String::as_str).chain([request.query.as_str()]);
        let needs = vectors::needs(texts);
        let asked = self.request(ctx, &request.model, &request.route, &needs);
        let lookup = |name: &str| self.registry.rerank(name);
        let (plan, config) = self.plan(ctx, &asked, &request.route, &needs, &lookup)?;
        let call = self.call(ctx, plan, &config, &request.route, &request.log, asked.seed);
        let limit = Duration::from_millis(config.attempt_ms.min(config.timeout_ms));
        Ok(call.run(&Rerank { env: &self.env, ctx, request: &request, limit }).await?.0)
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

    /// The name a model has in metrics; `None` for one that only callers name.
    #[cfg(feature = "otel")]
    pub(crate) fn label(&self, info: &ModelInfo) -> Option<String> {
        match self.config().routes.contains_key(&info.name) {
            true => Some(info.name.clone()),
            false => self.registry.label(info),
        }
    }

    fn remember(&self, ctx: &Context, model: &str, hints: &RouteHints, who: Arc<str>) {
        if let Some(key) = &hints.affinity {
            self.warm.insert(warmth(ctx, model, key), (who, self.env.monotonic()));
        }
    }

    fn warm(&self, ctx: &Context, model: &str, key: &str) -> Option<Arc<str>> {
        let (who, since) = self.warm.get(&warmth(ctx, model, key))?;
        (self.env.monotonic().saturating_sub(since) < WARM).then_some(who)
    }
}

fn warmth(ctx: &Context, model: &str, key: &str) -> [u8; 32] {
    // A name has no control characters, so no two pairs meet.
    canonical::sha256(&[ctx.tenant().uuid().as_bytes(), model.as_bytes(), b"\0", key.as_bytes()])
}
