//! What a run may still use: pure checks before each step, so that a limit is a limit.

use serde_json::Value;

use super::journal::RunTotals;
use super::machine::Quote;
use crate::agent::AgentSpec;
use crate::error::{Error, ErrorKind, Result};
use crate::id::AgentId;
use crate::model::{ChatRequest, ModelInfo, ModelPrice, ServiceTier};
use crate::usage::{BudgetKey, Demand, Dimension};

/// Model calls and tool calls of a run whose agent sets no limit.
pub const DEFAULT_STEPS: u32 = 50;

/// Longest answer that is asked for under a budget when neither the agent nor the catalogue says, in tokens.
const DEFAULT_OUTPUT: u64 = 4096;

/// An answer shorter than this many tokens is not worth asking for.
const LEAST_OUTPUT: u64 = 16;

fn exceeded(dimension: Dimension, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::BudgetExceeded, format!("the run's budget has no room for another step: {what}"))
        .with_context("dimension", dimension.name())
}

fn steps(spec: &AgentSpec, totals: &RunTotals) -> Result<()> {
    let limit = spec.budget.per_run.steps.unwrap_or(DEFAULT_STEPS);
    if totals.steps >= limit {
        Err(exceeded(Dimension::Steps, format_args!("{limit} steps")))
    } else {
        Ok(())
    }
}

/// Whether another tool call may begin.
pub(super) fn tool_step(spec: &AgentSpec, totals: &RunTotals) -> Result<()> {
    steps(spec, totals)?;
    match spec.budget.per_run.tool_calls {
        Some(limit) if totals.tool_calls >= limit => {
            Err(exceeded(Dimension::ToolCalls, format_args!("{limit} tool calls")))
        }
        _ => Ok(()),
    }
}

/// Whether another model call may begin, and how long its answer may be at most where a budget limits it.
///
/// Prompt tokens are estimated from the request's bytes, three to a token, which is above what tokenizers give for the
/// text of most languages. An estimate that was too low shows as an overrun when the run is settled.
pub(super) fn model_step(
    spec: &AgentSpec,
    totals: &RunTotals,
    request: &ChatRequest,
    quote: &Quote,
) -> Result<Option<u64>> {
    steps(spec, totals)?;
    let budget = &spec.budget.per_run;
    if budget.tokens.is_none() && budget.cost_usd.is_none() {
        return Ok(None);
    }
    let bytes = serde_json::to_vec(request).map_or(0, |bytes| bytes.len() as u64);
    let input = bytes.div_ceil(3);
    let wanted = request.max_tokens.unwrap_or(DEFAULT_OUTPUT).min(quote.max_output.unwrap_or(u64::MAX));
    let mut output = wanted;
    if let Some(limit) = budget.tokens {
        let used = totals.input_tokens.saturating_add(totals.output_tokens);
        output = output.min(limit.saturating_sub(used).saturating_sub(input));
        if output < LEAST_OUTPUT.min(wanted) {
            return Err(exceeded(Dimension::Tokens, format_args!("{limit} tokens")));
        }
    }
    if let Some(limit) = budget.cost_usd {
        let price = quote.dearest(input, request).ok_or_else(|| price_unknown(&spec.model))?;
        let left =
            limit.nanos().saturating_sub(totals.cost.nanos()).saturating_sub(price.at_most(input, 0).nanos());
        let per_token = i128::from(price.dearest_output().0).max(1);
        let affordable = u64::try_from(i128::from(left.max(0)) * 1000 / per_token).unwrap_or(u64::MAX);
        output = output.min(affordable);
        if left <= 0 || output < LEAST_OUTPUT.min(wanted) {
            return Err(exceeded(Dimension::Cost, format_args!("{limit} USD")));
        }
    }
    Ok(Some(output))
}

/// The refusal of a cost budget over a model without a price.
pub(super) fn price_unknown(model: &str) -> Error {
    Error::new(
        ErrorKind::PriceUnknown,
        format!(
            "the agent has a cost budget, and the price of `{}` or one of its fallbacks is unknown",
            crate::money::clip(model)
        ),
    )
}

/// What a run holds of its agent's total budget when it starts: the run's own limit, in each dimension that has a total.
pub(super) fn demand(spec: &AgentSpec, agent: AgentId) -> Demand {
    let held = |dimension: &Dimension| {
        spec.budget.total.get(*dimension)?;
        let amount = spec.budget.per_run.get(*dimension)?;
        Some((BudgetKey::new(agent, *dimension), amount))
    };
    Dimension::ALL.iter().filter_map(held).collect()
}

/// What a finished run used of its agent's total budget.
pub(super) fn actual(spec: &AgentSpec, agent: AgentId, totals: &RunTotals) -> Demand {
    demand(spec, agent)
        .into_iter()
        .map(|(key, _)| {
            let amount = match key.dimension {
                Dimension::Steps => i64::from(totals.steps),
                Dimension::ToolCalls => i64::from(totals.tool_calls),
                Dimension::Tokens => i64::try_from(totals.input_tokens.saturating_add(totals.output_tokens))
                    .unwrap_or(i64::MAX),
                Dimension::Cost => totals.cost.nanos(),
            };
            (key, amount)
        })
        .collect()
}

impl Quote {
    /// The highest prices any of the models can have for a request of so many prompt tokens; `None` when one of them has
    /// no price.
    fn dearest(&self, input: u64, request: &ChatRequest) -> Option<ModelPrice> {
        let asked =
            request.extra.get("service_tier").and_then(Value::as_str).and_then(ServiceTier::from_wire);
        let prices = self.prices.as_ref()?.iter();
        prices.map(|sheet| sheet.dearest(input, asked)).reduce(ModelPrice::max)
    }
}

/// The prices and the longest answer of several models; no price when one of them has none.
pub fn quote<'a>(infos: impl IntoIterator<Item = &'a ModelInfo>) -> Quote {
    let mut quote: Option<Quote> = None;
    for info in infos {
        let own = info.price.clone();
        quote = Some(match quote {
            None => Quote { prices: own.map(|sheet| vec![sheet]), max_output: info.max_output_tokens },
            Some(so_far) => Quote {
                prices: so_far.prices.zip(own).map(|(mut sheets, own)| {
                    sheets.push(own);
                    sheets
                }),
                max_output: so_far.max_output.zip(info.max_output_tokens).map(|(a, b)| a.min(b)),
            },
        });
    }
    quote.unwrap_or_default()
}
