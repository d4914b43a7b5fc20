//! What is known about models: limits, capabilities and prices, in integers.
//!
//! The catalogue the crate ships is a convenience, not a contract: providers change prices. Every shipped price says
//! where it is from and when it was checked, and your own table goes over it. A model that is not in the catalogue has no
//! price, which is unknown and never zero; a budget has a policy for it.
//!
//! # A table of your own
//!
//! [`Catalog::read`] puts a JSON text over a catalogue: what it says of a model holds, and what it leaves open is as it
//! was known. What is wrong with it is reported all at once, each with its path
//! and the nearest known name, and then nothing of it is used.
//!
//! ```
//! # fn main() -> agentprovision_core::Result<()> {
//! use agentprovision_llm::Catalog;
//!
//! let catalog = Catalog::shipped().read(r#"{
//!   "format": 1,
//!   "unit": "usd_per_million_tokens",
//!   "providers": {"openai": {
//!     "source": "our contract", "checked": "2026-01-31",
//!     "models": {
//!       "gpt-4o": {"context_window": 128000, "max_output_tokens": 16384, "capabilities": ["tools", "images"],
//!         "price": {"input": "2", "output": "8", "cache_read": "1",
//!           "variants": [
//!             {"service_tier": "batch", "input": "1", "output": "4"},
//!             {"above": 100000, "input": "4", "output": "16"},
//!             {"windows": [{"from": "22:00", "until": "06:00", "days": ["sat", "sun"]}], "input": "1", "output": "4"}
//!           ]}},
//!       "gpt-4o-mini": [
//!         {"valid_until": "2026-07-01", "price": {"input": "0.15", "output": "0.6"}},
//!         {"valid_from": "2026-07-01", "price": {"input": "0.1", "output": "0.4"}}
//!       ]
//!     }}},
//!   "tenants": {"ten_0190b1a4-6a30-7000-8000-000000000001": {"multiplier": "0.85"}}
//! }"#)?;
//! assert_eq!(catalog.info("openai", "gpt-4o-2024-08-06").max_output_tokens, Some(16_384));
//! # Ok(())
//! # }
//! ```
//!
//! | field | holds |
//! |---|---|
//! | `format` | `1` |
//! | `unit` | `usd_per_million_tokens`: prices are decimal text, fees are decimal text in US dollars; or `pico_usd_per_token`: both are whole numbers of pico-USD. It is never guessed |
//! | `providers` | by name: `source` and `checked` of all its entries, and `models` by the provider's name |
//! | a model | one entry, or a list of entries that are true one after the other |
//! | `mode` | `chat` (where absent), `embedding` or `rerank` |
//! | `aliases` | other names of the model |
//! | `context_window`, `max_output_tokens` | in tokens |
//! | `capabilities`, `lacks` | of `tools`, `images`, `documents`, `output_schema`, `reasoning`; what is in neither is unknown |
//! | `price` | `input`, `output` and where they differ `cache_read`, `cache_write`, `cache_write_1h`, `reasoning`; `variants`, `per_request`, `per_search`: a [`PriceSheet`] |
//! | a variant | the same prices under conditions: `above` so many tokens, `service_tier`, `windows` of the day in UTC |
//! | `valid_from`, `valid_until` | a day or an RFC 3339 time; from the first on, and before the second |
//! | `retires` | the day the provider stops serving it |
//! | `source`, `checked` | where the price is from, and the day it was checked |
//! | `tenants` | by id: a `multiplier` on prices, and `providers` with prices of single models |
//!
//! [`litellm::read`] reads LiteLLM's table. [`LiveCatalog`] replaces a catalogue while it is in use.
//!
//! # Names
//!
//! A model is found by its name, by an alias, and by the forms providers write: with a date (`gpt-4o-2024-08-06`,
//! `claude-haiku-4-5-20251001`, `claude-sonnet-4-5@20250929`), `-latest`, Google's `models/` and `-001`, Bedrock's
//! inference profiles and their ARNs, and OpenAI's fine-tuned `ft:BASE:…`, which costs what `ft:BASE` does. An entry of
//! exactly the name always goes first.
//!
//! # What the shipped data leaves out
//!
//! Fees of the providers' own tools (searches, code execution), audio, images that are made, cache writes kept for
//! twelve hours, and surcharges by region that are not in a model's name.

mod decimal;
mod entry;
mod format;
pub mod litellm;
mod live;
mod names;
mod negotiated;
mod shelf;
mod shipped;

pub use entry::{CatalogEntry, ModelMode};
pub use live::{LiveCatalog, Loaded};
pub use negotiated::{Multiplier, Negotiated};

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use agentprovision_core::id::TenantId;
use agentprovision_core::model::{Capabilities, ModelInfo, PriceSheet};
use agentprovision_core::{Result, Timestamp};
use sha2::{Digest, Sha256};

use self::shelf::{Shelf, Shelves};
use self::shipped::Shipped;
use crate::clip;
use crate::route::Problems;

/// The models that are known, by provider and name. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    shipped: Option<Arc<Shipped>>,
    /// What was put over it.
    own: Arc<Shelves>,
    tenants: Arc<BTreeMap<TenantId, (Negotiated, Shelves)>>,
    version: Arc<OnceLock<String>>,
}

impl Catalog {
    /// A catalogue that knows nothing.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The catalogue the crate ships. The table of a provider is read when it is first asked for.
    pub fn shipped() -> Self {
        Self { shipped: Some(Arc::new(Shipped::default())), ..Self::default() }
    }

    /// This catalogue with these entries over its own. What an entry leaves open is as it was known for the model, so an
    /// entry with a price alone changes the price alone. What was put over it before for the same model is replaced, its
    /// history included.
    ///
    /// # Errors
    /// `invalid_input` with everything that cannot be: an empty name, a slash in a provider's name, a limit of zero, a
    /// negative price or one of more than a dollar per token, two entries about the same model at the same time, a name
    /// that means two models.
    pub fn with(mut self, entries: impl IntoIterator<Item = CatalogEntry>) -> Result<Self> {
        let mut entries: Vec<CatalogEntry> = entries.into_iter().collect();
        let mut problems = Problems::default();
        for entry in &mut entries {
            if let Some(known) = self.get(&entry.provider, &entry.model) {
                entry.complete(known);
            }
            let path = format!("{}/{}", clip(&entry.provider), clip(&entry.model));
            entry.check(&path, &mut problems);
        }
        let added = shelf::shelves(entries, &mut problems);
        problems.into_result("the catalogue")?;
        let own = Arc::make_mut(&mut self.own);
        for (provider, shelf) in added {
            own.entry(provider).or_default().put(shelf);
        }
        self.version = Arc::default();
        Ok(self)
    }

    /// This catalogue with the terms of a tenant, in place of those it had.
    ///
    /// # Errors
    /// `invalid_input` as [`Catalog::with`].
    pub fn with_negotiated(mut self, tenant: TenantId, terms: Negotiated) -> Result<Self> {
        let mut problems = Problems::default();
        for entry in &terms.entries {
            entry
                .check(&format!("{tenant}: {}/{}", clip(&entry.provider), clip(&entry.model)), &mut problems);
        }
        let shelves = shelf::shelves(terms.entries.clone(), &mut problems);
        problems.into_result("the catalogue")?;
        Arc::make_mut(&mut self.tenants).insert(tenant, (terms, shelves));
        self.version = Arc::default();
        Ok(self)
    }

    /// This catalogue with a table of the module's format over it.
    ///
    /// # Errors
    /// `invalid_input` with everything that is wrong with the table.
    pub fn read(self, text: &str) -> Result<Self> {
        self.read_counted(text).map(|(catalog, _)| catalog)
    }

    /// The same, and how many entries the table has.
    fn read_counted(self, text: &str) -> Result<(Self, usize)> {
        let table = format::read(text)?;
        let count =
            table.entries.len() + table.tenants.iter().map(|(_, terms)| terms.entries.len()).sum::<usize>();
        let mut catalog = self.with(table.entries)?;
        for (tenant, terms) in table.tenants {
            catalog = catalog.with_negotiated(tenant, terms)?;
        }
        Ok((catalog, count))
    }

    /// What was put over the shipped catalogue, as a table that [`Catalog::read`] reads.
    pub fn write(&self) -> String {
        let entries: Vec<&CatalogEntry> = self.own.values().flat_map(Shelf::entries).collect();
        let tenants: Vec<_> = self.tenants.iter().map(|(id, (terms, _))| (id, terms)).collect();
        format::write(&entries, &tenants)
    }

    /// What tells this content from any other: a SHA-256 in hexadecimal.
    pub fn version(&self) -> &str {
        self.version.get_or_init(|| {
            let mut hash = Sha256::new();
            for (_, text) in self.shipped.iter().flat_map(|shipped| shipped.texts()) {
                hash.update(text);
            }
            hash.update(self.write());
            hex::encode(hash.finalize())
        })
    }

    /// The entry of a provider's model, by the name or one that leads to it; the last one where prices change.
    pub fn get(&self, provider: &str, model: &str) -> Option<&CatalogEntry> {
        self.find(provider, model)?.last()
    }

    /// The same that is true at `at`.
    pub fn get_at(&self, provider: &str, model: &str, at: Timestamp) -> Option<&CatalogEntry> {
        self.find(provider, model)?.iter().find(|entry| entry.is_valid(at))
    }

    /// The history of a model.
    fn find(&self, provider: &str, model: &str) -> Option<&[CatalogEntry]> {
        let own = self.own.get(provider);
        let shipped = self.shipped.as_ref().and_then(|shipped| shipped.shelf(provider));
        names::candidates(provider, model).into_iter().find_map(|name| {
            own.and_then(|shelf| shelf.find(name)).or_else(|| shipped.and_then(|shelf| shelf.find(name)))
        })
    }

    /// The entries of a provider, by name; the last one of a model whose prices change.
    pub fn of<'a>(&'a self, provider: &str) -> impl Iterator<Item = &'a CatalogEntry> + use<'a> {
        let own = self.own.get(provider).into_iter();
        let shipped = self.shipped.as_ref().and_then(|shipped| shipped.shelf(provider)).into_iter();
        let all: BTreeMap<&str, &CatalogEntry> = shipped.chain(own).flat_map(|shelf| shelf.last()).collect();
        all.into_values()
    }

    /// The providers there is something about.
    pub fn providers(&self) -> Vec<&str> {
        let shipped = self.shipped.iter().flat_map(|shipped| shipped.texts()).map(|(provider, _)| provider);
        let all: std::collections::BTreeSet<&str> =
            shipped.chain(self.own.keys().map(String::as_str)).collect();
        all.into_iter().collect()
    }

    /// What is known about a provider's model, as [`ModelInfo`]; only the names when it is not in the catalogue. Where
    /// prices change, the last ones.
    pub fn info(&self, provider: &str, model: &str) -> ModelInfo {
        known(self.get(provider, model), provider, model)
    }

    /// What is known about a provider's model at `at`.
    pub fn info_at(&self, provider: &str, model: &str, at: Timestamp) -> ModelInfo {
        known(self.get_at(provider, model, at), provider, model)
    }

    /// What a provider's model costs a tenant at `at`: the tenant's own price of the model, or everybody's times the
    /// tenant's factor. `None` when the price is unknown, which a factor does not change.
    pub fn price(
        &self,
        tenant: Option<TenantId>,
        provider: &str,
        model: &str,
        at: Timestamp,
    ) -> Option<PriceSheet> {
        self.price_over(None, tenant, provider, model, at)
    }

    /// The same for a model whose price is `own` and not everybody's by the catalogue.
    pub(crate) fn price_over(
        &self,
        own: Option<PriceSheet>,
        tenant: Option<TenantId>,
        provider: &str,
        model: &str,
        at: Timestamp,
    ) -> Option<PriceSheet> {
        let terms = tenant.and_then(|tenant| self.tenants.get(&tenant));
        if let Some((_, shelves)) = terms
            && let Some(shelf) = shelves.get(provider)
        {
            let history = names::candidates(provider, model).into_iter().find_map(|name| shelf.find(name));
            let agreed = history.and_then(|history| history.iter().find(|entry| entry.is_valid(at)));
            if let Some(sheet) = agreed.and_then(|entry| entry.price.clone()) {
                return Some(sheet);
            }
        }
        let sheet = own.or_else(|| self.get_at(provider, model, at)?.price.clone())?;
        Some(match terms.and_then(|(terms, _)| terms.multiplier) {
            Some(multiplier) => multiplier.sheet(sheet),
            None => sheet,
        })
    }

    /// Whether a tenant has terms of its own.
    pub(crate) fn has_terms(&self, tenant: TenantId) -> bool {
        self.tenants.contains_key(&tenant)
    }

    /// Whether both are one catalogue; equal content is not enough.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.version, &other.version)
    }
}

fn known(entry: Option<&CatalogEntry>, provider: &str, model: &str) -> ModelInfo {
    match entry {
        Some(entry) => entry.info(model),
        None => ModelInfo {
            name: model.to_owned(),
            provider: provider.to_owned(),
            context_window: None,
            max_output_tokens: None,
            price: None,
            capabilities: Capabilities::default(),
        },
    }
}
