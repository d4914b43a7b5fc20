//! What a vendor limits, as data of its connector.

use std::time::Duration;

use crate::operation::Text;

/// Who shares a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shared {
    /// Each integration has its own.
    Integration,
    /// All integrations of one application (an OAuth client), or of one connector where there is none.
    App,
    /// Each operation of an integration has its own.
    Operation,
    /// Each value of an input of an integration has its own, such as a channel.
    Field(Text),
}

/// How a vendor says when a quota is there again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reset {
    /// As seconds since 1970.
    Epoch,
    /// As seconds from now.
    After,
}

/// Headers in which a vendor says what is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    /// How many requests are left.
    pub remaining: Text,
    /// When all of them are there again.
    pub reset: Text,
    /// How that is said.
    pub form: Reset,
}

/// Something a vendor limits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quota {
    /// What it is called.
    pub name: Text,
    /// Who shares it.
    pub shared: Shared,
    /// Names, or beginnings of names that end in `.`, of the operations it is about; all where empty.
    pub operations: Vec<Text>,
    /// So many requests in so much time, where that is known beforehand.
    pub rate: Option<(u32, Duration)>,
    /// What the vendor says about it.
    pub learned: Option<Learned>,
}

impl Quota {
    /// A quota of each integration, about all operations.
    pub fn new(name: impl Into<Text>) -> Self {
        Self {
            name: name.into(),
            shared: Shared::Integration,
            operations: Vec::new(),
            rate: None,
            learned: None,
        }
    }

    /// Shared by others.
    #[must_use]
    pub fn shared(mut self, shared: Shared) -> Self {
        self.shared = shared;
        self
    }

    /// About these operations: names, or beginnings that end in `.`.
    #[must_use]
    pub fn operations<const N: usize>(mut self, names: [&'static str; N]) -> Self {
        self.operations = names.into_iter().map(Text::Borrowed).collect();
        self
    }

    /// So many requests in so much time.
    #[must_use]
    pub fn rate(mut self, requests: u32, per: Duration) -> Self {
        self.rate = Some((requests, per));
        self
    }

    /// What is left is in these headers.
    #[must_use]
    pub fn learned(mut self, remaining: impl Into<Text>, reset: impl Into<Text>, form: Reset) -> Self {
        self.learned = Some(Learned { remaining: remaining.into(), reset: reset.into(), form });
        self
    }

    /// Whether it is about an operation.
    pub(crate) fn is_about(&self, operation: &str) -> bool {
        let named =
            |name: &Text| operation == *name || (name.ends_with('.') && operation.starts_with(&**name));
        self.operations.is_empty() || self.operations.iter().any(named)
    }
}
