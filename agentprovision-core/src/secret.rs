//! Secrets of tenants: [`SecretStore`], which gives them out, and [`SealedStore`], which keeps them sealed.
//!
//! A path names a secret, a version counts its values. Whoever replaces a value says which one it read, so that of two
//! who do the same at the same time one is told. What takes long between the reading and the replacing, such as
//! exchanging a token that can be used once, is done under a lease: one holder at a time in all processes, and what an
//! earlier holder brings too late is refused.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::id::WorkerId;

/// The longest secret, in bytes.
pub const MAX_SECRET: usize = 64 * 1024;

/// Names a secret within its tenant: segments of `a-z 0-9 _ . -`, joined by `/`, at most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SecretPath(String);

impl SecretPath {
    /// The path with this text.
    ///
    /// # Errors
    /// `invalid_input` for a text that is no path.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        let segment = |segment: &str| {
            let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b);
            !segment.is_empty() && segment.bytes().all(fits) && segment.bytes().any(|b| b != b'.')
        };
        if text.len() > 255 || !text.split('/').all(segment) {
            return Err(Error::invalid(format!(
                "`{}` is not the path of a secret: segments of `a-z 0-9 _ . -` joined by `/`",
                crate::money::clip(&text)
            )));
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The value of a secret.
#[derive(Clone, Debug)]
pub struct Secret {
    /// The value.
    pub value: SecretString,
    /// Counts the values it had, from 1.
    pub version: u64,
}

/// What came of asking for the lease on a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leased {
    /// It is the asker's, until the term is over.
    Yours(SecretLease),
    /// Somebody else has it, until then.
    Held(Timestamp),
}

/// The right to replace the value of a secret, until its term is over or somebody else has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretLease {
    /// Who has it.
    pub holder: WorkerId,
    /// Counts its holders: a value that comes with an older one is refused.
    pub epoch: u64,
}

/// Keeps the secrets of tenants. Whatever implements it protects them at rest, and shows them to nobody else.
#[async_trait]
pub trait SecretStore: fmt::Debug + Send + Sync + 'static {
    /// The newest value.
    ///
    /// # Errors
    /// `not_found`; `corrupt` for one that does not open; `unavailable` for one whose key is not there.
    async fn get(&self, ctx: &Context, path: &SecretPath) -> Result<Secret>;
    /// Replaces the value whose version is `expected`, 0 for a secret that is not there. With a lease only as long as
    /// nobody has taken it since; the lease ends with it. Answers the new version.
    ///
    /// # Errors
    /// As [`SealedStore::put`]; `too_large` beyond [`MAX_SECRET`]; `unsupported` when there is nothing to seal it with.
    async fn put(
        &self,
        ctx: &Context,
        path: &SecretPath,
        value: SecretString,
        expected: u64,
        lease: Option<SecretLease>,
    ) -> Result<u64>;
    /// Removes a secret with its lease; harmless where there is none.
    ///
    /// # Errors
    /// Those of a tenant that is not active.
    async fn delete(&self, ctx: &Context, path: &SecretPath) -> Result<()>;
    /// Takes the lease on a secret for a term, or has it for longer; a term of zero gives it back.
    ///
    /// # Errors
    /// As [`SealedStore::lease`].
    async fn lease(
        &self,
        ctx: &Context,
        path: &SecretPath,
        holder: WorkerId,
        term: Duration,
    ) -> Result<Leased>;
}

/// A sealed value, as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The sealed bytes.
    pub bytes: Vec<u8>,
    /// Counts the values of the secret, from 1.
    pub version: u64,
}

/// Keeps sealed secrets: what a database has to do for a [`SecretStore`]. It knows no key. Time for leases is the
/// store's own where several processes share it.
#[async_trait]
pub trait SealedStore: fmt::Debug + Send + Sync + 'static {
    /// The newest value.
    ///
    /// # Errors
    /// `not_found`.
    async fn get(&self, ctx: &Context, path: &SecretPath) -> Result<Sealed>;
    /// Replaces the value whose version is one less than that of `value`; 1 is the version of one that is not there yet. A
    /// lease that comes with it ends; without one a lease stays whose it is.
    ///
    /// What was begun under a lease is ended in a suspended tenant too: a token that can be used once would be lost.
    ///
    /// # Errors
    /// `fenced` for a lease that was taken by somebody else, used up or given back; else `conflict` when there is another
    /// version; without a lease those of a tenant that is not active, with one `not_found` for a deleted one.
    async fn put(
        &self,
        ctx: &Context,
        path: &SecretPath,
        value: Sealed,
        lease: Option<SecretLease>,
    ) -> Result<()>;
    /// Removes a secret with its lease; harmless where there is none.
    ///
    /// # Errors
    /// Those of a tenant that is not active.
    async fn delete(&self, ctx: &Context, path: &SecretPath) -> Result<()>;
    /// As [`SecretStore::lease`]. A holder who asks again keeps the epoch; everybody else gets a higher one, once the
    /// term is over. Who gives a lease back that is not theirs changes nothing.
    ///
    /// # Errors
    /// `not_found` for a secret that is not there; those of a tenant that is not active.
    async fn lease(
        &self,
        ctx: &Context,
        path: &SecretPath,
        holder: WorkerId,
        term: Duration,
    ) -> Result<Leased>;
}

/// What a store knows of the lease on a secret: the rules of [`SealedStore::lease`] and [`SealedStore::put`], for
/// whoever writes one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseState {
    /// Who has it, and until when; also beyond that, as long as nobody else has taken it.
    pub held: Option<(WorkerId, Timestamp)>,
    /// Counts its holders.
    pub epoch: u64,
}

impl LeaseState {
    /// What becomes of the lease when somebody asks for it, and what they are told. Terms are whole microseconds.
    pub fn ask(self, holder: WorkerId, term: Duration, now: Timestamp) -> (Self, Leased) {
        let back = term.as_micros() == 0;
        let (held, epoch) = match self.held {
            Some((other, until)) if other != holder && until > now => return (self, Leased::Held(until)),
            Some((other, _)) if other == holder && back => (None, self.epoch),
            held if back => (held, self.epoch),
            Some((other, _)) if other == holder => (Some((holder, now.after(term))), self.epoch),
            _ => (Some((holder, now.after(term))), self.epoch + 1),
        };
        (Self { held, epoch }, Leased::Yours(SecretLease { holder, epoch }))
    }

    /// What becomes of it behind a value that came with `lease`.
    ///
    /// # Errors
    /// `fenced` when that is not the lease of now.
    pub fn used(self, lease: Option<SecretLease>) -> Result<Self> {
        let Some(SecretLease { holder, epoch }) = lease else { return Ok(self) };
        if self.epoch == epoch && self.held.is_some_and(|(held, _)| held == holder) {
            return Ok(Self { held: None, epoch });
        }
        Err(Error::fenced("the lease on the secret is over"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn paths_are_segments_and_nothing_else() {
        for good in ["a", "integrations/int_01", "webhooks/hok_1/previous", "a.b-c_d/0"] {
            assert_eq!(SecretPath::new(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(256);
        for bad in ["", "/", "a/", "/a", "a//b", "A", "a b", "a/../b", ".", "a\0", "ä", &long] {
            assert_eq!(SecretPath::new(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad}");
        }
    }
}
