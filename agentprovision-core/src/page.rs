//! Pages of a list: ordered by (created, id), continued by an opaque cursor.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// What part of a list to return.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PageRequest {
    /// At most this many items, 1 to 100; default 20.
    pub limit: u32,
    /// Continue after this position, as returned in [`Page::next`].
    pub after: Option<Cursor>,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { limit: 20, after: None }
    }
}

impl PageRequest {
    /// A first page of at most `limit` items.
    pub fn limit(limit: u32) -> Self {
        Self { limit, after: None }
    }

    /// The page after `cursor`, with the same limit.
    #[must_use]
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// Checks the limit.
    ///
    /// # Errors
    /// `invalid_input` when the limit is not within 1 to 100.
    pub fn checked(self) -> Result<Self> {
        match self.limit {
            1..=100 => Ok(self),
            limit => Err(Error::invalid(format!("a page has 1 to 100 items, not `{limit}`"))),
        }
    }
}

/// A position in a list: the (created, id) of the last item seen. Opaque to callers; text form `<micros>-<uuid>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// When the item was created.
    pub created: Timestamp,
    /// The UUID of its id.
    pub id: uuid::Uuid,
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.created.micros(), self.id.as_simple())
    }
}

impl std::str::FromStr for Cursor {
    type Err = Error;

    /// # Errors
    /// `invalid_input` when the text is not a cursor.
    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid(format!("`{}` is not a page cursor", crate::money::clip(text)));
        let (micros, id) = text.rsplit_once('-').ok_or_else(bad)?;
        Ok(Self {
            created: Timestamp::from_micros(micros.parse().map_err(|_| bad())?),
            id: uuid::Uuid::try_parse(id).map_err(|_| bad())?,
        })
    }
}

crate::schema::text_schema!(Cursor, "Cursor", "cursor", "A place in a list.");

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Page<T> {
    /// The items, oldest first.
    pub items: Vec<T>,
    /// Where the next page starts; absent on the last page.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// A page of `items` read with one item more than the limit: the extra one says that there is a next page.
    pub fn from_overfull(mut items: Vec<T>, limit: u32, position: impl Fn(&T) -> Cursor) -> Self {
        let limit = limit as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(position) } else { None };
        Self { items, next }
    }
}
