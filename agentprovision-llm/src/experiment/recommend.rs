//! Which model of a comparison to take.

use agentprovision_core::money::{Cost, NanoUsd};
use serde::Serialize;

use super::compare::Compared;

/// Which model to take, and why.
///
/// Where answers were scored, the models within the tolerance of the best mean score count as good, and the cheapest of
/// those is taken, where the cost is alike the faster one. A cost that is unknown is never the lowest: such a model is
/// taken only when no good one has a known cost, and then the one with the best score is. Where nothing was scored,
/// those that answered most often count as good. Of models alike in everything the first is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Recommendation {
    /// The name of the model.
    pub model: String,
    /// Why, in one sentence without a final period.
    pub ground: String,
}

pub(super) fn recommend(models: &[Compared], tolerance: u16) -> Option<Recommendation> {
    let answering = || models.iter().filter(|model| model.answered > 0);
    let best = answering().filter_map(|model| model.score).max();
    let good: Vec<&Compared> = match best {
        Some(best) => {
            let near = |score: u16| score.saturating_add(tolerance) >= best;
            answering().filter(|model| model.score.is_some_and(near)).collect()
        }
        None => {
            let most = answering().map(|model| model.answered).max()?;
            answering().filter(|model| model.answered == most).collect()
        }
    };
    let speed = |model: &Compared| model.latency_us.unwrap_or(u64::MAX);
    let priced = good.iter().filter_map(|model| Some((model.cost.known()?, *model)));
    let cheapest = priced.min_by_key(|(cost, model)| (*cost, speed(model)));
    let (model, ground) = match (best, cheapest) {
        (Some(best), Some((cost, model))) => (model, scored(model, cost, best, &good)),
        (Some(_), None) => {
            let model = *good.iter().min_by_key(|model| (std::cmp::Reverse(model.score), speed(model)))?;
            (model, format!("it has the best score, {}, and no cost is known", tenths(model.score?)))
        }
        (None, Some((cost, model))) => {
            let others = if good.len() > 1 {
                "the cheapest of those that answered"
            } else {
                "the only one to answer as often"
            };
            (model, format!("nothing was scored, and it is {others}, at {}", dollars(cost)))
        }
        (None, None) => {
            let model = *good.iter().min_by_key(|model| speed(model))?;
            (model, "nothing was scored and no cost is known, and it is the fastest".into())
        }
    };
    Some(Recommendation { model: model.model.clone(), ground })
}

fn scored(model: &Compared, cost: NanoUsd, best: u16, good: &[&Compared]) -> String {
    let score = model.score.unwrap_or(0);
    let dearer = good.iter().filter(|other| !std::ptr::eq(**other, model)).count();
    if dearer == 0 {
        return format!("it has the best score, {}, and no other comes near", tenths(score));
    }
    let unknown = good.iter().any(|other| other.cost == Cost::Unknown);
    let known = if unknown { " whose cost is known" } else { "" };
    if score == best {
        return format!(
            "it has the best score, {}, and is the cheapest{known} of those near it, at {}",
            tenths(score),
            dollars(cost)
        );
    }
    let (score, best) = (tenths(score), tenths(best));
    format!(
        "its score, {score}, is near the best, {best}, and it is the cheapest{known} there, at {}",
        dollars(cost)
    )
}

/// A score as `8.7/10`; a hundredth is cut, so that nothing looks better than it is.
pub(super) fn tenths(per_mille: u16) -> String {
    format!("{}.{}/10", per_mille / 100, per_mille % 100 / 10)
}

/// An amount as it is shown: `$0.000105`.
pub(super) fn dollars(amount: NanoUsd) -> String {
    format!("${amount}")
}
