//! The entries of one provider, by every name they have.

use std::collections::BTreeMap;

use super::CatalogEntry;
use crate::clip;
use crate::route::Problems;

/// Providers by name.
pub(super) type Shelves = BTreeMap<String, Shelf>;

/// The models of one provider.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf {
    /// Each with its history, the oldest entry first.
    models: BTreeMap<String, Vec<CatalogEntry>>,
    aliases: BTreeMap<String, String>,
}

impl Shelf {
    /// The history of a model, by its name or an alias.
    pub(super) fn find(&self, name: &str) -> Option<&[CatalogEntry]> {
        let model = self.models.get(name).or_else(|| self.models.get(self.aliases.get(name)?))?;
        Some(model)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &CatalogEntry> {
        self.models.values().flatten()
    }

    /// The last entry of every model.
    pub(super) fn last(&self) -> impl Iterator<Item = (&str, &CatalogEntry)> {
        self.models.iter().filter_map(|(name, history)| Some((name.as_str(), history.last()?)))
    }

    /// Puts the models of another shelf over these.
    pub(super) fn put(&mut self, other: Self) {
        for (name, history) in other.models {
            self.aliases.retain(|_, model| *model != name);
            self.aliases.remove(&name);
            self.models.insert(name, history);
        }
        self.aliases.extend(other.aliases);
    }
}

/// The entries in their places. What cannot be together is a problem.
pub(super) fn shelves(entries: Vec<CatalogEntry>, problems: &mut Problems) -> Shelves {
    let mut all = Shelves::new();
    for entry in entries {
        let history =
            all.entry(entry.provider.clone()).or_default().models.entry(entry.model.clone()).or_default();
        if history.iter().any(|other| other.overlaps(&entry)) {
            problems.add(path(&entry), "is there twice for the same time");
        }
        history.push(entry);
    }
    for shelf in all.values_mut() {
        let Shelf { models, aliases } = shelf;
        for (name, history) in models.iter_mut() {
            history.sort_by_key(|entry| entry.valid_from);
            for (entry, alias) in
                history.iter().flat_map(|entry| entry.aliases.iter().map(move |alias| (entry, alias)))
            {
                match aliases.insert(alias.clone(), name.clone()) {
                    Some(other) if other != *name => {
                        problems.add(path(entry), format!("`{}` is an alias of two models", clip(alias)));
                    }
                    _ => {}
                }
            }
        }
        for (alias, name) in
            aliases.iter().filter(|(alias, name)| models.contains_key(*alias) && alias != name)
        {
            problems.add(clip(name), format!("its alias `{}` is a model of its own", clip(alias)));
        }
    }
    all
}

fn path(entry: &CatalogEntry) -> String {
    format!("{}/{}", clip(&entry.provider), clip(&entry.model))
}
