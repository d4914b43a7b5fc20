//! The tables the crate ships: one file per provider in the module's own format, made by `examples/catalog_data.rs`.

use std::fmt;
use std::sync::OnceLock;

use super::shelf::{Shelf, shelves};
use super::{CatalogEntry, format};
use crate::route::Problems;

macro_rules! tables {
    ($($provider:literal),* $(,)?) => {
        const TABLES: &[(&str, &str)] = &[$(($provider, include_str!(concat!("data/", $provider, ".json")))),*];
    };
}

tables!(
    "anthropic",
    "azure",
    "bedrock",
    "cerebras",
    "cohere",
    "deepseek",
    "fireworks",
    "gemini",
    "groq",
    "mistral",
    "openai",
    "perplexity",
    "together",
    "vertex",
    "xai",
);

/// The tables, each read when it is first needed: most platforms use few of the providers.
pub(super) struct Shipped(Vec<(&'static str, &'static str, OnceLock<Shelf>)>);

impl fmt::Debug for Shipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.texts().map(|(provider, _)| provider)).finish()
    }
}

impl Default for Shipped {
    fn default() -> Self {
        Self(TABLES.iter().map(|(provider, text)| (*provider, *text, OnceLock::new())).collect())
    }
}

impl Shipped {
    pub(super) fn texts(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.0.iter().map(|(provider, text, _)| (*provider, *text))
    }

    pub(super) fn shelf(&self, provider: &str) -> Option<&Shelf> {
        let (name, text, shelf) = self.0.iter().find(|(name, ..)| *name == provider)?;
        // A table that cannot be read is empty; a test reads every one.
        Some(shelf.get_or_init(|| entries(text).map_or_else(|_| Shelf::default(), |all| shelf_of(name, all))))
    }
}

fn entries(text: &str) -> agentprovision_core::Result<Vec<CatalogEntry>> {
    format::read(text).map(|table| table.entries)
}

fn shelf_of(provider: &str, entries: Vec<CatalogEntry>) -> Shelf {
    shelves(entries, &mut Problems::default()).remove(provider).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::ModelMode;

    #[test]
    fn every_table_is_read_whole_and_says_where_it_is_from() {
        for (provider, text) in TABLES {
            let all = entries(text).unwrap_or_else(|error| panic!("{provider}: {error}"));
            assert!(!all.is_empty(), "{provider}");
            let mut problems = Problems::default();
            let found = shelves(all.clone(), &mut problems);
            problems.into_result("the catalogue").unwrap_or_else(|error| panic!("{provider}: {error}"));
            assert_eq!(found.keys().collect::<Vec<_>>(), [provider]);
            for entry in &all {
                assert!(
                    entry.source.as_ref().is_some_and(|source| source.contains("LiteLLM")),
                    "{}",
                    entry.model
                );
                assert_eq!(entry.checked.as_deref(), Some("2026-11-21"));
                if entry.mode != ModelMode::Chat {
                    continue;
                }
                let Some(price) = &entry.price else { continue };
                assert!(price.base.output.0 > 0, "{provider}/{}", entry.model);
            }
            let written = format::write(&all.iter().collect::<Vec<_>>(), &[]);
            assert_eq!(&written, text, "{provider}: what is written is what was read");
        }
    }
}
