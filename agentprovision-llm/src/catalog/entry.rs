//! What is known about one model, and whether that can be true.

use agentprovision_core::Timestamp;
use agentprovision_core::model::{Capabilities, ModelInfo, ModelPrice, PriceSheet};
use agentprovision_core::money::PicoUsd;
use serde::{Deserialize, Serialize};

use super::names;
use crate::route::Problems;

/// The dearest token that is believed: one US dollar. Anything above is a price per million tokens in the wrong field.
const DEAREST: i64 = 1_000_000_000_000;

/// What a model is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ModelMode {
    /// Answers.
    #[default]
    Chat,
    /// Vectors.
    Embedding,
    /// An order of documents.
    Rerank,
}

/// One model of one provider, for as long as this is true of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogEntry {
    /// The provider, by the name it is registered under.
    pub provider: String,
    /// The model, by the provider's name for it.
    pub model: String,
    /// Other names the provider has for it.
    pub aliases: Vec<String>,
    /// What it is asked for.
    pub mode: ModelMode,
    /// Longest input and output together, in tokens; absent when unknown.
    pub context_window: Option<u64>,
    /// Longest output in tokens; absent when unknown.
    pub max_output_tokens: Option<u64>,
    /// What it can do beside text.
    pub capabilities: Capabilities,
    /// What it costs; absent when unknown.
    pub price: Option<PriceSheet>,
    /// When this begins to be true; always was where absent.
    pub valid_from: Option<Timestamp>,
    /// When this is true no more; still is where absent.
    pub valid_until: Option<Timestamp>,
    /// The day the provider stops serving it, as `2026-01-31`.
    pub retires: Option<String>,
    /// Where the price is from.
    pub source: Option<String>,
    /// The day the price was checked, as `2026-01-31`.
    pub checked: Option<String>,
}

impl CatalogEntry {
    /// An entry about which nothing but its name is known.
    pub fn new(provider: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            provider: provider.into(),
            model: model.into(),
            aliases: Vec::new(),
            mode: ModelMode::Chat,
            context_window: None,
            max_output_tokens: None,
            capabilities: Capabilities::default(),
            price: None,
            valid_from: None,
            valid_until: None,
            retires: None,
            source: None,
            checked: None,
        }
    }

    /// The same entry with these prices.
    #[must_use]
    pub fn with_price(mut self, price: impl Into<PriceSheet>) -> Self {
        self.price = Some(price.into());
        self
    }

    /// The same entry with these limits in tokens: the longest input and output together, and the longest output.
    #[must_use]
    pub fn with_limits(mut self, context_window: Option<u64>, max_output_tokens: Option<u64>) -> Self {
        self.context_window = context_window;
        self.max_output_tokens = max_output_tokens;
        self
    }

    /// Whether this is true at `at`.
    pub fn is_valid(&self, at: Timestamp) -> bool {
        self.valid_from.is_none_or(|from| from <= at) && self.valid_until.is_none_or(|until| at < until)
    }

    /// Takes what is left open from what else is known of the model. When that was true does not matter.
    pub(super) fn complete(&mut self, known: &Self) {
        if self.mode == ModelMode::default() {
            self.mode = known.mode;
        }
        self.context_window = self.context_window.or(known.context_window);
        self.max_output_tokens = self.max_output_tokens.or(known.max_output_tokens);
        let Capabilities { tools, images, documents, output_schema, reasoning, .. } = &mut self.capabilities;
        for (own, known) in [
            (tools, known.capabilities.tools),
            (images, known.capabilities.images),
            (documents, known.capabilities.documents),
            (output_schema, known.capabilities.output_schema),
            (reasoning, known.capabilities.reasoning),
        ] {
            *own = own.or(known);
        }
        if self.price.is_none() {
            self.price.clone_from(&known.price);
            self.source = self.source.take().or_else(|| known.source.clone());
            self.checked = self.checked.take().or_else(|| known.checked.clone());
        }
        self.retires = self.retires.take().or_else(|| known.retires.clone());
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let before = |one: &Self, two: &Self| {
            one.valid_until.zip(two.valid_from).is_some_and(|(end, start)| end <= start)
        };
        !before(self, other) && !before(other, self)
    }

    pub(super) fn info(&self, model: &str) -> ModelInfo {
        ModelInfo {
            name: model.to_owned(),
            provider: self.provider.clone(),
            context_window: self.context_window,
            max_output_tokens: self.max_output_tokens,
            price: self.price.clone(),
            capabilities: self.capabilities,
        }
    }

    pub(super) fn check(&self, path: &str, problems: &mut Problems) {
        if self.provider.is_empty() || self.model.is_empty() || self.aliases.iter().any(String::is_empty) {
            problems.add(path, "provider, model and aliases must not be empty");
        }
        if self.provider.contains('/') {
            problems.add(path, "a provider's name has no slash");
        }
        if self.context_window == Some(0) || self.max_output_tokens == Some(0) {
            problems.add(path, "a limit must be at least 1 token");
        }
        if self.valid_from.zip(self.valid_until).is_some_and(|(from, until)| until <= from) {
            problems.add(path, "`valid_until` is not after `valid_from`");
        }
        for (name, day) in [("retires", &self.retires), ("checked", &self.checked)] {
            if day.as_ref().is_some_and(|day| !names::is_day(day)) {
                problems.add(format!("{path}.{name}"), "is not a day such as `2026-01-31`");
            }
        }
        if let Some(sheet) = &self.price {
            check_price(sheet, &format!("{path}.price"), problems);
        }
    }
}

pub(super) fn check_price(sheet: &PriceSheet, path: &str, problems: &mut Problems) {
    column(&sheet.base, path, problems);
    for (name, fee) in [("per_request", sheet.per_request), ("per_search", sheet.per_search)] {
        price(fee, &format!("{path}.{name}"), problems);
    }
    for (place, variant) in sheet.variants.iter().enumerate() {
        let path = format!("{path}.variants[{place}]");
        if variant.above.is_none() && variant.service_tier.is_none() && variant.windows.is_empty() {
            problems.add(&path, "needs a condition: `above`, `service_tier` or `windows`");
        }
        let same = |other: &&agentprovision_core::model::PriceVariant| {
            (other.above, other.service_tier, &other.windows)
                == (variant.above, variant.service_tier, &variant.windows)
        };
        if sheet.variants.iter().take(place).any(|other| same(&other)) {
            problems.add(&path, "has the conditions of one before it");
        }
        column(&variant.price, &path, problems);
    }
}

fn column(column: &ModelPrice, path: &str, problems: &mut Problems) {
    let ModelPrice { input, output, cache_read, cache_write, cache_write_1h, reasoning } = *column;
    for (name, part) in [
        ("input", Some(input)),
        ("output", Some(output)),
        ("cache_read", cache_read),
        ("cache_write", cache_write),
        ("cache_write_1h", cache_write_1h),
        ("reasoning", reasoning),
    ] {
        price(part, &format!("{path}.{name}"), problems);
    }
}

fn price(price: Option<PicoUsd>, path: &str, problems: &mut Problems) {
    match price {
        Some(PicoUsd(price)) if price < 0 => problems.add(path, "a price is negative"),
        Some(PicoUsd(price)) if price > DEAREST => problems
            .add(path, "is more than one dollar; a price per million tokens in a field for one per token?"),
        _ => {}
    }
}
