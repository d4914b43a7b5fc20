//! What a model costs per token.

use serde::{Deserialize, Serialize};

use super::Usage;
use crate::money::{NanoUsd, PicoUsd};

/// Prices of one model, in pico-USD per token.
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
}

impl ModelPrice {
    /// The exact price of a request, in pico-USD. Counts that contradict each other never give a negative part: cached
    /// tokens beyond the input are paid as such, and nothing is left uncached.
    pub fn picos(&self, usage: &Usage) -> i128 {
        let input = usage.input_tokens.unwrap_or(0);
        let read = usage.cache_read_tokens.unwrap_or(0);
        let write = usage.cache_write_tokens.unwrap_or(0);
        let hour = usage.cache_write_1h_tokens.unwrap_or(0).min(write);
        let uncached = input.saturating_sub(read).saturating_sub(write);
        self.input.times(uncached)
            + self.cache_read.unwrap_or(self.input).times(read)
            + self.cache_write.unwrap_or(self.input).times(write - hour)
            + self.cache_write_1h.or(self.cache_write).unwrap_or(self.input).times(hour)
            + self.output.times(usage.output_tokens.unwrap_or(0))
    }

    /// The price of a request, rounded half up once to nano-USD.
    pub fn cost(&self, usage: &Usage) -> NanoUsd {
        NanoUsd::from_picos(self.picos(usage))
    }

    /// The most a request of so many prompt tokens and at most so many completion tokens can cost.
    pub fn at_most(&self, input: u64, output: u64) -> NanoUsd {
        let parts = [self.cache_read, self.cache_write, self.cache_write_1h];
        let dearest = parts.into_iter().flatten().fold(self.input, PicoUsd::max);
        NanoUsd::from_picos(dearest.times(input) + self.output.times(output) + 999)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradicting_counts_never_give_a_negative_part() {
        let price = ModelPrice {
            input: PicoUsd(2_500_000),
            output: PicoUsd(10_000_000),
            cache_read: Some(PicoUsd(1_250_000)),
            cache_write: None,
            cache_write_1h: Some(PicoUsd(5_000_000)),
        };
        let usage = Usage { input_tokens: Some(10), cache_read_tokens: Some(30), ..Usage::default() };
        assert_eq!(price.picos(&usage), 30 * 1_250_000);
        assert_eq!(price.cost(&Usage::default()), NanoUsd::ZERO);
        let hour = Usage {
            input_tokens: Some(10),
            cache_write_tokens: Some(4),
            cache_write_1h_tokens: Some(9),
            ..Usage::default()
        };
        assert_eq!(price.picos(&hour), 6 * 2_500_000 + 4 * 5_000_000);
        let usage = Usage {
            input_tokens: Some(14),
            output_tokens: Some(7),
            cache_read_tokens: Some(0),
            ..Usage::default()
        };
        assert_eq!(price.cost(&usage).to_string(), "0.000105");
        assert!(price.at_most(14, 7) >= price.cost(&usage));
    }
}
