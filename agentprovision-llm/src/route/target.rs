//! What can be asked: a model at a provider, under one or more credentials.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use agentprovision_core::id::TenantId;
use agentprovision_core::model::{ChatModel, EmbeddingModel, ModelInfo, RerankModel};

use agentprovision_core::{Env, Timestamp};

use super::bucket::Bucket;
use super::health::{Health, HealthOptions};
use super::pulse::Pulse;
use crate::catalog::Catalog;

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
    /// Whether the price is the model's own and not one of the catalogue it was made with.
    own_price: bool,
    /// What is known of it by the catalogue in use, for tenants without terms of their own.
    kept: RwLock<Option<Priced>>,
}

/// What is known of a target, as long as it is true.
#[derive(Debug)]
struct Priced {
    catalog: Catalog,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    info: Arc<ModelInfo>,
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
        catalog: &Catalog,
        env: &Env,
        health: &Arc<HealthOptions>,
    ) -> Self {
        let seat = |model| Seat { model, health: Health::new(env.clone(), Arc::clone(health)) };
        let seats = models.into_iter().map(seat).collect();
        let retries = Bucket::new(RETRIES.0, RETRIES.1);
        let vitals = Vitals { pulse: Pulse::default(), retries, last_resort: AtomicU64::new(0) };
        let known = catalog.get(&info.provider, &info.name).and_then(|entry| entry.price.as_ref());
        let own_price = info.price.is_some() && info.price.as_ref() != known;
        Self {
            info: Arc::new(info),
            name: name.into(),
            seats,
            vitals: Arc::new(vitals),
            own_price,
            kept: RwLock::default(),
        }
    }

    /// What is known of it, with what it costs a tenant at `at` by a catalogue.
    pub(crate) fn priced(&self, catalog: &Catalog, tenant: TenantId, at: Timestamp) -> Arc<ModelInfo> {
        let own_terms = catalog.has_terms(tenant);
        if !own_terms {
            let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
            let is_true = |kept: &&Priced| {
                kept.catalog.is(catalog)
                    && kept.from.is_none_or(|from| from <= at)
                    && kept.until.is_none_or(|until| at < until)
            };
            if let Some(kept) = kept.as_ref().filter(is_true) {
                return Arc::clone(&kept.info);
            }
        }
        let own = self.own_price.then(|| self.info.price.clone()).flatten();
        let entry = catalog.get_at(&self.info.provider, &self.info.name, at);
        let sheet = catalog.price_over(own, Some(tenant), &self.info.provider, &self.info.name, at);
        let info = if sheet == self.info.price {
            Arc::clone(&self.info)
        } else {
            Arc::new(ModelInfo { price: sheet, ..(*self.info).clone() })
        };
        // Between two entries of a history the price is unknown, and nobody says for how long.
        let lasts = entry.is_some() || catalog.get(&self.info.provider, &self.info.name).is_none();
        if !own_terms && lasts {
            let (from, until) = entry.map_or((None, None), |entry| (entry.valid_from, entry.valid_until));
            let kept = Priced { catalog: catalog.clone(), from, until, info: Arc::clone(&info) };
            *self.kept.write().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        }
        info
    }
}
