//! Secrets of tenants, sealed before they are stored: [`SealedSecrets`] over [`SealingKeys`].
//!
//! A stolen database, and an archive, hold nothing without a key; and what stands in a row was sealed for that row: another
//! tenant's, another path's or an older version's does not open there. The keys belong in the host's configuration.

mod keys;
mod seal;
mod sealed;
#[cfg(test)]
mod tests;

pub use keys::SealingKeys;
pub use sealed::SealedSecrets;
