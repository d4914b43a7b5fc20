//! What a model costs.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::{PriceWindow, ServiceTier, Usage};
use crate::clock::Timestamp;
use crate::money::{NanoUsd, PicoUsd};

/// One column of prices, in pico-USD per token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ModelPrice {
    /// Prompt tokens that come from no cache.
    pub input: PicoUsd,
    /// Completion tokens.
    pub output: PicoUsd,
    /// Prompt tokens read from the provider's cache; the input price where absent.
    pub cache_read: Option<PicoUsd>,
    /// Prompt tokens written to the provider's cache; the input price where absent.
    pub cache_write: Option<PicoUsd>,
    /// Prompt tokens written to the provider's cache for an hour; the price of other writes where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<PicoUsd>,
    /// Those of the completion tokens that were reasoning; the output price where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<PicoUsd>,
}

impl ModelPrice {
    /// Prices of prompt and completion tokens, whatever the cache and reasoning.
    pub const fn new(input: PicoUsd, output: PicoUsd) -> Self {
        Self { input, output, cache_read: None, cache_write: None, cache_write_1h: None, reasoning: None }
    }

    /// The exact price of a request, in pico-USD. Counts that contradict each other never give a negative part: cached
    /// tokens beyond the input are paid as such, and nothing is left uncached.
    pub fn picos(&self, usage: &Usage) -> i128 {
        let output = usage.billed_output_tokens.or(usage.output_tokens).unwrap_or(0);
        let reasoning = usage.reasoning_tokens.unwrap_or(0).min(output);
        sum([
            self.input_picos(usage),
            self.output.times(output - reasoning),
            self.reasoning.unwrap_or(self.output).times(reasoning),
        ])
    }

    fn input_picos(&self, usage: &Usage) -> i128 {
        // What a provider bills leaves the cache out already.
        if let Some(billed) = usage.billed_input_tokens {
            return self.input.times(billed);
        }
        let input = usage.input_tokens.unwrap_or(0);
        let read = usage.cache_read_tokens.unwrap_or(0);
        let write = usage.cache_write_tokens.unwrap_or(0);
        let hour = usage.cache_write_1h_tokens.unwrap_or(0).min(write);
        let uncached = input.saturating_sub(read).saturating_sub(write);
        sum([
            self.input.times(uncached),
            self.cache_read.unwrap_or(self.input).times(read),
            self.cache_write.unwrap_or(self.input).times(write - hour),
            self.hour().times(hour),
        ])
    }

    /// The price of a request, rounded half up once to nano-USD.
    pub fn cost(&self, usage: &Usage) -> NanoUsd {
        NanoUsd::from_picos(self.picos(usage))
    }

    /// The most a request of so many prompt tokens and at most so many completion tokens can cost.
    pub fn at_most(&self, input: u64, output: u64) -> NanoUsd {
        ceiling(sum([self.dearest_input().times(input), self.dearest_output().times(output)]))
    }

    /// The highest price of a prompt token, cached or not.
    pub fn dearest_input(&self) -> PicoUsd {
        let parts = [self.cache_read, self.cache_write, self.cache_write_1h];
        parts.into_iter().flatten().fold(self.input, PicoUsd::max)
    }

    /// The highest price of a completion token, reasoning or not.
    pub fn dearest_output(&self) -> PicoUsd {
        self.reasoning.map_or(self.output, |reasoning| reasoning.max(self.output))
    }

    /// The higher of both in every part.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        let either = |part: fn(&Self) -> PicoUsd| part(&self).max(part(&other));
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_read: Some(either(|price| price.cache_read.unwrap_or(price.input))),
            cache_write: Some(either(|price| price.cache_write.unwrap_or(price.input))),
            cache_write_1h: Some(either(Self::hour)),
            reasoning: Some(either(|price| price.reasoning.unwrap_or(price.output))),
        }
    }

    fn hour(&self) -> PicoUsd {
        self.cache_write_1h.or(self.cache_write).unwrap_or(self.input)
    }
}

/// Counts are what a provider says, so a sum may be out of range.
fn sum<const N: usize>(parts: [i128; N]) -> i128 {
    parts.into_iter().fold(0, i128::saturating_add)
}

/// A nano-dollar that was begun counts: this is for what must not be too low.
fn ceiling(picos: i128) -> NanoUsd {
    NanoUsd::from_picos(picos.saturating_add(499))
}

/// Prices that replace the others where all of its conditions hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PriceVariant {
    /// For requests of more prompt tokens than this, cached ones included; of any length where absent. The whole request
    /// is paid at these prices, not only what is above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<u64>,
    /// For answers of this service tier; of any where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<ServiceTier>,
    /// For requests that begin in one of these windows; at any time where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<PriceWindow>,
    /// The prices.
    #[serde(flatten)]
    pub price: ModelPrice,
}

impl PriceVariant {
    fn applies(&self, input: u64, tier: ServiceTier, at: Timestamp) -> bool {
        self.above.is_none_or(|above| input > above)
            && self.service_tier.is_none_or(|own| own == tier)
            && (self.windows.is_empty() || self.windows.iter().any(|window| window.contains(at)))
    }

    /// Of several that apply, the first in this order holds: windows go before lengths, longer before shorter, and a
    /// tier's own before those of any.
    fn rank(&self) -> Reverse<(bool, Option<u64>, bool)> {
        Reverse((!self.windows.is_empty(), self.above, self.service_tier.is_some()))
    }
}

/// What a model costs: a column of prices, and those that replace it for long requests, for other service tiers and at
/// certain times. Of the variants that apply to a request one holds: one with windows before one without, then the one
/// with the highest `above`, then one of the answer's own tier, then the first in the list. It replaces the whole
/// column, so a combination of conditions has a variant of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PriceSheet {
    /// The prices where no variant applies.
    #[serde(flatten)]
    pub base: ModelPrice,
    /// The prices under conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<PriceVariant>,
    /// What every request costs beside its tokens, in pico-USD; nothing where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_request: Option<PicoUsd>,
    /// What every billed search costs, in pico-USD; nothing where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_search: Option<PicoUsd>,
}

impl From<ModelPrice> for PriceSheet {
    fn from(base: ModelPrice) -> Self {
        Self { base, variants: Vec::new(), per_request: None, per_search: None }
    }
}

impl PriceSheet {
    /// The prices that hold for an answer with these counts to a request that began at `at`.
    pub fn column(&self, usage: &Usage, at: Timestamp) -> &ModelPrice {
        let input = usage.input_tokens.unwrap_or(0);
        let tier = usage.service_tier.unwrap_or(ServiceTier::Standard);
        let applying = self.variants.iter().filter(|variant| variant.applies(input, tier, at));
        applying.min_by_key(|variant| variant.rank()).map_or(&self.base, |variant| &variant.price)
    }

    /// The exact price of an answer with these counts to a request that began at `at`, in pico-USD.
    pub fn picos(&self, usage: &Usage, at: Timestamp) -> i128 {
        sum([self.column(usage, at).picos(usage), self.fees(usage)])
    }

    /// The same, rounded half up once to nano-USD.
    pub fn cost(&self, usage: &Usage, at: Timestamp) -> NanoUsd {
        NanoUsd::from_picos(self.picos(usage, at))
    }

    /// The most a request with at most these counts can cost at any time, whatever part of its prompt is cached: at the
    /// highest of the prices that can apply to so long a request of this tier.
    ///
    /// The tier is the one that is asked for; a provider that answers in a dearer one than was asked for goes beyond it.
    pub fn at_most(&self, most: &Usage) -> NanoUsd {
        let column = self.dearest(most.input_tokens.unwrap_or(0), most.service_tier);
        let input = column.dearest_input().times(most.input_tokens.unwrap_or(0));
        let output = column.dearest_output().times(most.output_tokens.unwrap_or(0));
        ceiling(sum([input, output, self.fees(most)]))
    }

    /// The highest prices that can apply to a request of at most `input` prompt tokens that asks for `tier`, at any time.
    pub fn dearest(&self, input: u64, tier: Option<ServiceTier>) -> ModelPrice {
        let tier = tier.unwrap_or(ServiceTier::Standard);
        let applying = self.variants.iter().filter(|variant| {
            variant.above.is_none_or(|above| input > above)
                && variant.service_tier.is_none_or(|own| own == tier)
        });
        // The base column counts too: a provider may serve what asked for another tier as everybody.
        applying.fold(self.base, |dearest, variant| dearest.max(variant.price))
    }

    fn fees(&self, usage: &Usage) -> i128 {
        let searches = usage.search_units.unwrap_or(0);
        sum([
            self.per_request.map_or(0, |fee| fee.times(1)),
            self.per_search.map_or(0, |fee| fee.times(searches)),
        ])
    }
}

#[cfg(test)]
#[path = "price_tests.rs"]
mod tests;
