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
}

impl ModelPrice {
    /// The exact price of a request, in pico-USD. Counts that contradict each other never give a negative part: cached
    /// tokens beyond the input are paid as such, and nothing is left uncached.
    pub fn picos(&self, usage: &Usage) -> i128 {
        let input = usage.input_tokens.unwrap_or(0);
        let read = usage.cache_read_tokens.unwrap_or(0);
        let write = usage.cache_write_tokens.unwrap_or(0);
        let uncached = input.saturating_sub(read).saturating_sub(write);
        self.input.times(uncached)
            + self.cache_read.unwrap_or(self.input).times(read)
            + self.cache_write.unwrap_or(self.input).times(write)
            + self.output.times(usage.output_tokens.unwrap_or(0))
    }

    /// The price of a request, rounded half up once to nano-USD.
    pub fn cost(&self, usage: &Usage) -> NanoUsd {
        NanoUsd::from_picos(self.picos(usage))
    }

    /// The most a request of so many prompt tokens and at most so many completion tokens can cost.
    pub fn at_most(&self, input: u64, output: u64) -> NanoUsd {
        let dearest =
            self.input.max(self.cache_read.unwrap_or(self.input)).max(self.cache_write.unwrap_or(self.input));
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
        };
        let usage = Usage { input_tokens: Some(10), cache_read_tokens: Some(30), ..Usage::default() };
        assert_eq!(price.picos(&usage), 30 * 1_250_000);
        assert_eq!(price.cost(&Usage::default()), NanoUsd::ZERO);
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
