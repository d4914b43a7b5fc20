//! Which models there are for a tenant.

use std::collections::BTreeMap;

use agentprovision_core::context::Context;
use agentprovision_core::model::ModelInfo;
use serde::{Deserialize, Serialize};

use crate::route::{Router, RoutingConfig, TargetStatus};

/// What a name stands for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ModelKind {
    /// Several models.
    Route,
    /// A chat model.
    Chat,
    /// An embedding model.
    Embedding,
    /// A rerank model.
    Rerank,
}

/// How a model is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct ModelStatus {
    /// How many credentials it has.
    pub credentials: usize,
    /// How many of them may not be asked at the moment.
    pub blocked: usize,
    /// The share of its attempts that failed lately, 0 to 1.
    pub failing: f64,
    /// The expected time to the first piece of an answer in milliseconds; absent while nothing is known.
    pub first_ms: Option<f64>,
}

impl From<&TargetStatus> for ModelStatus {
    fn from(status: &TargetStatus) -> Self {
        Self {
            credentials: status.credentials,
            blocked: status.blocked,
            failing: status.failing,
            first_ms: status.first_ms,
        }
    }
}

/// A name that can be asked for.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct ModelEntry {
    /// The name.
    pub name: String,
    /// What it stands for.
    pub kind: ModelKind,
    /// What is known of it; of a route, of the first model the tenant may use.
    pub info: ModelInfo,
    /// The names a route stands for, as far as the tenant may use them; empty for a model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// How it is; absent for a route, and for a model that was not asked since the platform started.
    pub status: Option<ModelStatus>,
}

/// The names a tenant may use, by kind and name.
pub(crate) fn list(router: &Router, ctx: &Context) -> Vec<ModelEntry> {
    let (config, registry) = (router.config(), router.registry());
    let permits = |name: &str, info: &ModelInfo| config.allows(ctx.tenant(), name, &info.provider).is_ok();
    // Names that somebody asked for and that are neither registered nor known are that somebody's, so they stay out.
    let known: BTreeMap<String, TargetStatus> =
        router.status().into_iter().map(|status| (status.target.clone(), status)).collect();
    let mut entries: Vec<ModelEntry> = registry
        .listed()
        .into_iter()
        .filter(|(name, _, info)| permits(name, info))
        .map(|(name, kind, info)| {
            let status = known.get(&name).filter(|_| kind == ModelKind::Chat).map(ModelStatus::from);
            ModelEntry { name, kind, info, targets: Vec::new(), status }
        })
        .collect();
    for name in config.routes.keys().cloned() {
        let mut usable = Vec::new();
        let mut first = None;
        for target in targets(&config, &name) {
            if let Ok((full, info)) = registry.known(target)
                && permits(&full, &info)
            {
                first.get_or_insert((*info).clone());
                usable.push(target.to_owned());
            }
        }
        if let Some(info) = first {
            let info = ModelInfo { name: name.clone(), ..info };
            entries.push(ModelEntry { name, kind: ModelKind::Route, info, targets: usable, status: None });
        }
    }
    entries.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    // The catalogue may know of a model more than once.
    entries.dedup_by(|a, b| (a.kind, &a.name) == (b.kind, &b.name));
    entries
}

/// The models a route stands for, those of routes within it in their place.
fn targets<'a>(config: &'a RoutingConfig, name: &'a str) -> Vec<&'a str> {
    match config.routes.get(name) {
        // In no circle: that was checked.
        Some(route) => route.targets.iter().flat_map(|target| targets(config, &target.model)).collect(),
        None => vec![name],
    }
}
