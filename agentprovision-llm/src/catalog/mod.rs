//! What is known about models: context windows and prices, in integers.
//!
//! The catalogue the crate ships is a convenience, not a contract: providers change prices. Every shipped price says
//! where it is from and when it was checked, and [`Catalog::with`] puts your own over it. A model that is not in the
//! catalogue has no price, which is unknown and never zero.

mod openai;

use std::collections::BTreeMap;

use agentprovision_core::model::{Capabilities, ModelInfo, ModelPrice, PriceSheet};
use agentprovision_core::money::PicoUsd;
use agentprovision_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::clip;

/// The dearest token that is believed: one US dollar. Anything above is a price per million tokens in the wrong field.
const DEAREST: i64 = 1_000_000_000_000;

/// One model of one provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogEntry {
    /// The provider, by the name it is registered under.
    pub provider: String,
    /// The model, by the provider's name for it.
    pub model: String,
    /// Longest input and output together, in tokens; absent when unknown.
    #[serde(default)]
    pub context_window: Option<u64>,
    /// Longest output in tokens; absent when unknown.
    #[serde(default)]
    pub max_output_tokens: Option<u64>,
    /// The price in pico-USD per token (2.50 USD per million tokens is `2_500_000`); absent when unknown.
    #[serde(default)]
    pub price: Option<ModelPrice>,
    /// Where the price is from.
    #[serde(default)]
    pub source: Option<String>,
    /// The day the price was checked, as `2026-01-31`.
    #[serde(default)]
    pub checked: Option<String>,
}

impl CatalogEntry {
    /// An entry about which nothing but its name is known.
    pub fn new(provider: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            provider: provider.into(),
            model: model.into(),
            context_window: None,
            max_output_tokens: None,
            price: None,
            source: None,
            checked: None,
        }
    }

    /// The same entry with prices in pico-USD per token.
    #[must_use]
    pub fn with_price(mut self, price: ModelPrice) -> Self {
        self.price = Some(price);
        self
    }

    fn check(&self) -> Result<()> {
        let at = || format!("catalogue entry `{}/{}`", clip(&self.provider), clip(&self.model));
        if self.provider.is_empty() || self.model.is_empty() {
            return Err(Error::invalid(format!("{}: provider and model must not be empty", at())));
        }
        if self.provider.contains('/') {
            return Err(Error::invalid(format!("{}: a provider's name has no slash", at())));
        }
        if self.context_window == Some(0) || self.max_output_tokens == Some(0) {
            return Err(Error::invalid(format!("{}: a limit must be at least 1 token", at())));
        }
        let Some(ModelPrice { input, output, cache_read, cache_write, cache_write_1h, reasoning }) =
            self.price
        else {
            return Ok(());
        };
        let prices = [
            ("input", Some(input)),
            ("output", Some(output)),
            ("cache_read", cache_read),
            ("cache_write", cache_write),
            ("cache_write_1h", cache_write_1h),
            ("reasoning", reasoning),
        ];
        for (name, price) in prices {
            match price {
                Some(PicoUsd(price)) if price < 0 => {
                    return Err(Error::invalid(format!("{}: the `{name}` price is negative", at())));
                }
                Some(PicoUsd(price)) if price > DEAREST => {
                    return Err(Error::invalid(format!(
                        "{}: the `{name}` price is more than one dollar per token; prices are in pico-USD per token",
                        at()
                    )));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The models that are known, by provider and name.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    entries: BTreeMap<(String, String), CatalogEntry>,
}

impl Catalog {
    /// A catalogue that knows nothing.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The catalogue the crate ships: OpenAI's chat models whose price does not depend on the length of the request.
    pub fn shipped() -> Self {
        let entries =
            openai::entries().map(|entry| ((entry.provider.clone(), entry.model.clone()), entry)).collect();
        Self { entries }
    }

    /// This catalogue with these entries over its own.
    ///
    /// # Errors
    /// `invalid_input` for an entry with an empty name, a slash in its provider, a limit of zero, a negative price or
    /// one of more than a dollar per token, and when two of the added entries are about the same model.
    pub fn with(mut self, entries: impl IntoIterator<Item = CatalogEntry>) -> Result<Self> {
        let mut added = BTreeMap::new();
        for entry in entries {
            entry.check()?;
            let key = (entry.provider.clone(), entry.model.clone());
            if added.contains_key(&key) {
                return Err(Error::invalid(format!(
                    "catalogue entry `{}/{}` is there twice",
                    clip(&entry.provider),
                    clip(&entry.model)
                )));
            }
            added.insert(key, entry);
        }
        self.entries.append(&mut added);
        Ok(self)
    }

    /// The entry of a provider's model: the one of exactly this name, or else, for a dated version such as
    /// `gpt-4o-2024-08-06`, the one of the name without the date.
    pub fn get(&self, provider: &str, model: &str) -> Option<&CatalogEntry> {
        let find = |model: &str| self.entries.get(&(provider.to_owned(), model.to_owned()));
        find(model).or_else(|| find(without_date(model)?))
    }

    /// The entries of a provider, by name.
    pub fn of<'a>(&'a self, provider: &'a str) -> impl Iterator<Item = &'a CatalogEntry> {
        self.entries.values().filter(move |entry| entry.provider == provider)
    }

    /// What is known about a provider's model, as [`ModelInfo`]; only the names when it is not in the catalogue.
    pub fn info(&self, provider: &str, model: &str) -> ModelInfo {
        let entry = self.get(provider, model);
        ModelInfo {
            name: model.to_owned(),
            provider: provider.to_owned(),
            context_window: entry.and_then(|entry| entry.context_window),
            max_output_tokens: entry.and_then(|entry| entry.max_output_tokens),
            price: entry.and_then(|entry| entry.price).map(PriceSheet::from),
            capabilities: Capabilities::default(),
        }
    }
}

/// The name before a suffix `-YYYY-MM-DD`.
fn without_date(model: &str) -> Option<&str> {
    let (name, date) = model.split_at_checked(model.len().checked_sub(11)?)?;
    let dated = date.bytes().zip(b"-dddd-dd-dd").all(|(byte, form)| match form {
        b'd' => byte.is_ascii_digit(),
        dash => byte == *dash,
    });
    (dated && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(input: i64, output: i64) -> ModelPrice {
        ModelPrice::new(PicoUsd(input), PicoUsd(output))
    }

    #[test]
    fn the_shipped_catalogue_passes_its_own_checks() {
        let shipped: Vec<CatalogEntry> = openai::entries().collect();
        let catalog = Catalog::empty().with(shipped.clone()).unwrap();
        assert_eq!(catalog.entries, Catalog::shipped().entries);
        assert_eq!(catalog.of("openai").count(), shipped.len());
        for entry in shipped {
            let price = entry.price.unwrap();
            assert!(price.input.0 > 0 && price.output > price.input, "{}", entry.model);
            assert!(price.cache_read.is_none_or(|read| read < price.input && read.0 > 0), "{}", entry.model);
            assert!(entry.context_window > entry.max_output_tokens, "{}", entry.model);
            let checked: jiff::civil::Date = entry.checked.unwrap().parse().unwrap();
            assert!(checked.year() >= 2026);
            assert!(entry.source.unwrap().starts_with("https://"));
        }
    }

    #[test]
    fn a_dated_version_falls_back_to_its_name_and_an_exact_entry_goes_first() {
        let catalog = Catalog::shipped();
        let model = |name| catalog.get("openai", name).map(|entry| entry.model.as_str());
        assert_eq!(model("gpt-4o-2024-08-06"), Some("gpt-4o"));
        assert_eq!(model("gpt-4o-2024-05-13"), Some("gpt-4o-2024-05-13"));
        for unknown in [
            "gpt-4o-2024-08-0",
            "gpt-4o-2024-08-06x",
            "gpt-4o-abcd-ef-gh",
            "-2024-08-06",
            "",
            "é2024-08-06",
            "gpt-99",
        ] {
            assert_eq!(model(unknown), None, "{unknown}");
        }
        assert_eq!(catalog.get("other", "gpt-4o"), None);
        assert_eq!(catalog.info("openai", "gpt-99").price, None);
    }

    #[test]
    fn own_entries_go_over_the_shipped_ones() {
        let own = CatalogEntry::new("openai", "gpt-4o").with_price(price(1, 2));
        let catalog = Catalog::shipped().with([own]).unwrap();
        assert_eq!(catalog.info("openai", "gpt-4o-2024-08-06").price, Some(price(1, 2).into()));
        let free = CatalogEntry::new("local", "llama").with_price(price(0, 0));
        assert!(Catalog::empty().with([free]).is_ok());
    }

    #[test]
    fn bad_entries_are_refused_by_name() {
        let entry = || CatalogEntry::new("p", "m");
        let refused = |entries: Vec<CatalogEntry>| Catalog::shipped().with(entries).unwrap_err().to_string();
        assert_eq!(
            refused(vec![entry().with_price(price(-1, 2))]),
            "catalogue entry `p/m`: the `input` price is negative"
        );
        assert_eq!(
            refused(vec![entry().with_price(price(1, i64::MAX))]),
            "catalogue entry `p/m`: the `output` price is more than one dollar per token; prices are in pico-USD per token"
        );
        let read = ModelPrice { cache_read: Some(PicoUsd(-5)), ..price(1, 1) };
        assert!(refused(vec![entry().with_price(read)]).contains("`cache_read` price is negative"));
        assert_eq!(refused(vec![entry(), entry()]), "catalogue entry `p/m` is there twice");
        assert!(refused(vec![CatalogEntry::new("", "m")]).contains("must not be empty"));
        assert!(refused(vec![CatalogEntry::new("a/b", "m")]).contains("no slash"));
        assert!(
            refused(vec![CatalogEntry { context_window: Some(0), ..entry() }]).contains("at least 1 token")
        );
        assert!(
            serde_json::from_str::<CatalogEntry>(r#"{"provider": "p", "model": "m", "prise": 1}"#).is_err()
        );
    }
}
