//! OpenAI's chat models.
//!
//! Left out on purpose: models whose price rises with the length of the prompt (GPT-5.4 and later), because a
//! [`ModelPrice`] has one price and the cost of a long request would be too low. Prices are of the standard service
//! tier.

use agentprovision_core::model::ModelPrice;
use agentprovision_core::money::PicoUsd;

use super::CatalogEntry;

/// OpenAI's page was not read itself: these are the figures that two tables which quote it agree on.
const SOURCE: &str = "https://developers.openai.com/api/docs/pricing as quoted by LiteLLM and genai-prices";
const CHECKED: &str = "2026-11-21";

/// Name, context window, longest output; pico-USD per token of input, cached input and output.
type Row = (&'static str, u64, u64, i64, Option<i64>, i64);

const ROWS: &[Row] = &[
    ("gpt-3.5-turbo", 16_385, 4_096, 500_000, None, 1_500_000),
    ("gpt-4-turbo", 128_000, 4_096, 10_000_000, None, 30_000_000),
    ("gpt-4.1", 1_047_576, 32_768, 2_000_000, Some(500_000), 8_000_000),
    ("gpt-4.1-mini", 1_047_576, 32_768, 400_000, Some(100_000), 1_600_000),
    ("gpt-4.1-nano", 1_047_576, 32_768, 100_000, Some(25_000), 400_000),
    ("gpt-4o", 128_000, 16_384, 2_500_000, Some(1_250_000), 10_000_000),
    ("gpt-4o-2024-05-13", 128_000, 4_096, 5_000_000, None, 15_000_000),
    ("gpt-4o-mini", 128_000, 16_384, 150_000, Some(75_000), 600_000),
    ("gpt-5", 400_000, 128_000, 1_250_000, Some(125_000), 10_000_000),
    ("gpt-5-mini", 400_000, 128_000, 250_000, Some(25_000), 2_000_000),
    ("gpt-5-nano", 400_000, 128_000, 50_000, Some(5_000), 400_000),
    ("gpt-5.1", 400_000, 128_000, 1_250_000, Some(125_000), 10_000_000),
    ("o1", 200_000, 100_000, 15_000_000, Some(7_500_000), 60_000_000),
    ("o3", 200_000, 100_000, 2_000_000, Some(500_000), 8_000_000),
    ("o3-mini", 200_000, 100_000, 1_100_000, Some(550_000), 4_400_000),
    ("o4-mini", 200_000, 100_000, 1_100_000, Some(275_000), 4_400_000),
];

pub(super) fn entries() -> impl Iterator<Item = CatalogEntry> {
    ROWS.iter().map(|&(model, window, longest, input, cached, output)| CatalogEntry {
        provider: "openai".into(),
        model: model.into(),
        context_window: Some(window),
        max_output_tokens: Some(longest),
        price: Some(ModelPrice {
            cache_read: cached.map(PicoUsd),
            ..ModelPrice::new(PicoUsd(input), PicoUsd(output))
        }),
        source: Some(SOURCE.into()),
        checked: Some(CHECKED.into()),
    })
}
