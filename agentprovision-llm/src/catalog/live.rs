//! The catalogue in use.

use std::sync::{Arc, PoisonError, RwLock};

use agentprovision_core::Result;

use super::Catalog;

/// What was put into use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The version in use now.
    pub version: String,
    /// The version in use before.
    pub previous: String,
    /// How many entries a file added or replaced; absent where a whole catalogue was put in place.
    pub entries: Option<usize>,
}

/// The catalogue in use: replaced whole while requests are under way, or not at all. Cheap to clone; every clone is the
/// same.
#[derive(Clone, Debug)]
pub struct LiveCatalog {
    /// What files are read over.
    base: Catalog,
    current: Arc<RwLock<Catalog>>,
}

impl LiveCatalog {
    /// This catalogue; files are read over it.
    pub fn new(base: Catalog) -> Self {
        Self { current: Arc::new(RwLock::new(base.clone())), base }
    }

    /// The catalogue that files are read over.
    pub fn base(&self) -> &Catalog {
        &self.base
    }

    /// The catalogue in use now. Whoever holds it is not disturbed by a later one.
    pub fn current(&self) -> Catalog {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another catalogue into use.
    pub fn replace(&self, catalog: Catalog) -> Loaded {
        let version = catalog.version().to_owned();
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let previous = std::mem::replace(&mut *current, catalog);
        drop(current);
        Loaded { version, previous: previous.version().to_owned(), entries: None }
    }

    /// Puts the base with a file of the catalogue's own format over it into use.
    ///
    /// # Errors
    /// `invalid_input` with everything that is wrong with the file; what was in use stays in use, whole.
    pub fn reload(&self, text: &str) -> Result<Loaded> {
        let (catalog, entries) = self.base.clone().read_counted(text)?;
        Ok(Loaded { entries: Some(entries), ..self.replace(catalog) })
    }
}
