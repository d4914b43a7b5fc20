//! Why a request goes where it goes.

use std::collections::BTreeMap;

use agentprovision_core::id::TenantId;
use agentprovision_core::money::NanoUsd;
use serde::{Serialize, Serializer};

use super::health::Reason;

/// What a selector knows of a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RouteRequest {
    /// The name that was asked for.
    pub model: String,
    /// The tenant.
    pub tenant: TenantId,
    /// The caller's labels.
    pub tags: BTreeMap<String, String>,
    /// The affinity key.
    pub affinity: Option<String>,
    /// The estimated length of the prompt, in tokens.
    pub input_tokens: u64,
    /// The longest answer that is expected, in tokens.
    pub output_tokens: u64,
    /// Random bits of this request: with equal ones everything is decided alike.
    pub seed: u64,
}

/// A target that may answer.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Candidate {
    /// `provider/model`, or the name a model of the host's own is registered under.
    pub target: String,
    /// The provider.
    pub provider: String,
    /// Whether it was made for the task and goes first.
    pub custom: bool,
    /// Its group: 0 for what was asked for, then one for each fallback. Groups stay in order.
    pub group: u32,
    /// Its share, for the strategies that weigh.
    pub weight: u32,
    /// Whether it answered the last request with the same affinity key, so that its prompt cache is warm.
    pub warm: bool,
    /// The expected cost: the whole prompt, and the longest answer that is expected; absent when the price is unknown.
    pub cost: Option<NanoUsd>,
    /// The expected time of the answer in milliseconds, with a penalty for failures; absent while nothing is known.
    pub expected_ms: Option<f64>,
    /// The share of its attempts that failed lately, 0 to 1.
    pub failing: f64,
    /// Quality by the host's own measure, 0 to 1000.
    pub quality: u32,
    /// Why it may not be asked at the moment.
    #[serde(serialize_with = "blocked", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub blocked: Option<Reason>,
    /// What the strategy gave it; higher is better, on the strategy's own scale.
    pub score: Option<f64>,
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn blocked<S: Serializer>(reason: &Option<Reason>, serializer: S) -> Result<S::Ok, S::Error> {
    match reason {
        Some(reason) => serializer.serialize_str(reason.name()),
        None => serializer.serialize_none(),
    }
}

/// Why a target was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DropReason {
    /// Nothing has this name.
    Unknown,
    /// The tenant may not use it.
    NotAllowed,
    /// It is in none of the tenant's regions.
    Region,
    /// It lacks a capability the request needs.
    Capability(&'static str),
    /// The prompt and the answer do not fit its context window.
    ContextWindow,
    /// Its price is above the cap, or unknown.
    Price,
    /// The selector left it out.
    Selector,
}

/// A target that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Dropped {
    /// Its name.
    pub target: String,
    /// Why.
    pub reason: DropReason,
}

/// How a request is routed: who is asked, in which order, and who is not.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct RouteDecision {
    /// The name that was asked for.
    pub requested: String,
    /// The strategy or selector that put the first group in order.
    pub strategy: String,
    /// The estimated length of the prompt, in tokens, from above.
    pub input_tokens: u64,
    /// The longest answer that is expected, in tokens.
    pub output_tokens: u64,
    /// Who is asked, in this order.
    pub candidates: Vec<Candidate>,
    /// Who is not, in the order they were looked at.
    pub dropped: Vec<Dropped>,
}

/// Puts candidates in order, by a rule of the host's own. Pure: it sees values and gives an order.
pub trait Selector: std::fmt::Debug + Send + Sync + 'static {
    /// The positions of the candidates in the order they are asked; one that is not named is left out, and a position
    /// that is not there is ignored.
    fn rank(&self, request: &RouteRequest, candidates: &[Candidate]) -> Vec<usize>;
}
