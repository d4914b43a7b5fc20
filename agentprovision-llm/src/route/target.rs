//! What can be asked: a model at a provider, under one or more credentials.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agentprovision_core::Env;
use agentprovision_core::model::{ChatModel, EmbeddingModel, ModelInfo, RerankModel};

use super::bucket::Bucket;
use super::health::{Health, HealthOptions};
use super::pulse::Pulse;

/// Extra requests to a target that are let through before any success, and what each success adds, in per cent.
const RETRIES: (u32, u32) = (10, 10);

/// One credential of a target: the model that uses it, and whether it may be asked.
#[derive(Debug)]
pub(crate) struct Seat<M: Served + ?Sized> {
    pub(crate) model: Arc<M>,
    pub(crate) health: Health,
}

/// A model that can be asked, with what is known of it. One per process and model, whoever asks.
#[derive(Debug)]
pub(crate) struct Target<M: Served + ?Sized> {
    pub(crate) info: Arc<ModelInfo>,
    /// `provider/model`, or the name a model of the host's own is registered under.
    pub(crate) name: Arc<str>,
    pub(crate) seats: Vec<Seat<M>>,
    pub(crate) vitals: Arc<Vitals>,
}

/// What is learned of a target while it is asked.
#[derive(Debug)]
pub(crate) struct Vitals {
    pub(crate) pulse: Pulse,
    /// Bounds retries of the target over all requests of the process.
    pub(crate) retries: Bucket,
    /// When it was last asked against its breaker, in microseconds of the monotonic clock; 0 for never.
    last_resort: AtomicU64,
}

impl Vitals {
    /// Whether it may be asked against its breaker: no more often than once in each `pause`.
    pub(crate) fn last_resort(&self, now: Duration, pause: Duration) -> bool {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let (now, pause) = (micros(now), micros(pause));
        let due = |last: u64| (last == 0 || now.saturating_sub(last) >= pause).then_some(now.max(1));
        self.last_resort.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok()
    }
}

/// What is alike in every kind of model.
pub(crate) trait Served: fmt::Debug + Send + Sync + 'static {
    fn model_info(&self) -> &ModelInfo;
}

impl Served for dyn ChatModel {
    fn model_info(&self) -> &ModelInfo {
        self.info()
    }
}

impl Served for dyn EmbeddingModel {
    fn model_info(&self) -> &ModelInfo {
        self.info()
    }
}

impl Served for dyn RerankModel {
    fn model_info(&self) -> &ModelInfo {
        self.info()
    }
}

impl<M: Served + ?Sized> Target<M> {
    /// A target over the same model under each credential.
    pub(crate) fn new(
        name: String,
        info: ModelInfo,
        models: impl IntoIterator<Item = Arc<M>>,
        env: &Env,
        health: &Arc<HealthOptions>,
    ) -> Self {
        let seat = |model| Seat { model, health: Health::new(env.clone(), Arc::clone(health)) };
        let seats = models.into_iter().map(seat).collect();
        let retries = Bucket::new(RETRIES.0, RETRIES.1);
        let vitals = Vitals { pulse: Pulse::default(), retries, last_resort: AtomicU64::new(0) };
        Self { info: Arc::new(info), name: name.into(), seats, vitals: Arc::new(vitals) }
    }
}
