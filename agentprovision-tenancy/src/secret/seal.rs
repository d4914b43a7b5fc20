//! The sealed form of a secret.
//!
//! ```text
//! 0x01 format | 0x01 suite | key id (8) | salt (16) | commitment (16) | ciphertext | tag (16)
//! ```
//!
//! Suite 1: HKDF-SHA-512 (RFC 5869) over the sealing key, with the random salt, gives 60 bytes: a key and a nonce for
//! AES-256-GCM and the commitment. Each value has a key of its own, so nonces do not repeat. GCM alone opens under more
//! than one key; the commitment fixes it to one. The associated data are everything before the ciphertext and the place of
//! the value, each part behind its length, so that it opens in no other.

use agentprovision_core::id::TenantId;
use agentprovision_core::secret::SecretPath;
use agentprovision_core::{Error, Result};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA512, Salt};
use secrecy::zeroize::Zeroizing;
use subtle::ConstantTimeEq as _;

use super::keys::{ID, KEY, KeyId, SealingKey};

/// The format and its suite.
const VERSION: [u8; 2] = [1, 1];
/// What keys of values are derived for.
const INFO: &[u8] = b"agentprovision secret 1";
/// Where values stand, beside what a [`Place`] says.
const COLUMN: [&[u8]; 2] = [b"secrets", b"sealed"];

pub(super) const SALT: usize = 16;
const COMMITMENT: usize = 16;
const NONCE: usize = 12;
const TAG: usize = 16;
const HEADER: usize = VERSION.len() + ID + SALT + COMMITMENT;

/// Where a value stands: it opens nowhere else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) tenant: TenantId,
    pub(super) path: &'a SecretPath,
    pub(super) version: u64,
}

impl Place<'_> {
    /// The associated data of a value with this header.
    pub(super) fn bind(self, header: &[u8]) -> Vec<u8> {
        let [table, column] = COLUMN;
        let (tenant, version) = (self.tenant.uuid(), self.version.to_be_bytes());
        let parts = [header, tenant.as_bytes(), table, column, self.path.as_str().as_bytes(), &version];
        let mut bound = Vec::new();
        for part in parts {
            bound.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bound.extend_from_slice(part);
        }
        bound
    }
}

/// What is derived for one value.
pub(super) struct Derived {
    pub(super) key: LessSafeKey,
    pub(super) nonce: Nonce,
    pub(super) commitment: [u8; COMMITMENT],
}

pub(super) fn derive(key: &SealingKey, salt: &[u8; SALT]) -> Result<Derived> {
    let unusable = || Error::internal("a key cannot be derived");
    let out: Zeroizing<[u8; KEY + NONCE + COMMITMENT]> = key.derive(&Salt::new(HKDF_SHA512, salt), INFO)?;
    let (key, rest) = out.split_first_chunk::<KEY>().ok_or_else(unusable)?;
    let (nonce, rest) = rest.split_first_chunk::<NONCE>().ok_or_else(unusable)?;
    let commitment = *rest.first_chunk::<COMMITMENT>().ok_or_else(unusable)?;
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|error| unusable().with_source(error))?;
    Ok(Derived { key: LessSafeKey::new(key), nonce: Nonce::assume_unique_for_key(*nonce), commitment })
}

/// Seals a value. The salt is random, and another one each time.
pub(super) fn seal(key: &SealingKey, salt: [u8; SALT], place: Place<'_>, value: &[u8]) -> Result<Vec<u8>> {
    let derived = derive(key, &salt)?;
    // As large as it gets, so that the value is nowhere but here, where it is overwritten.
    let mut sealed = Vec::with_capacity(HEADER + value.len() + TAG);
    for part in [&VERSION[..], &key.id.0, &salt, &derived.commitment] {
        sealed.extend_from_slice(part);
    }
    let bound = place.bind(&sealed);
    sealed.extend_from_slice(value);
    let (_, text) = sealed.split_at_mut(HEADER);
    let tag = derived
        .key
        .seal_in_place_separate_tag(derived.nonce, Aad::from(bound), text)
        .map_err(|error| Error::internal("a secret cannot be sealed").with_source(error))?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

/// Which key a value is sealed with.
///
/// # Errors
/// `corrupt` for what is no sealed value.
pub(super) fn key_id(sealed: &[u8]) -> Result<KeyId> {
    if sealed.len() < HEADER + TAG {
        return Err(corrupt());
    }
    sealed.strip_prefix(&VERSION).and_then(|rest| rest.first_chunk()).map(|id| KeyId(*id)).ok_or_else(corrupt)
}

/// Opens a value.
///
/// # Errors
/// `corrupt` for one that was changed, was sealed for another place, or with another key.
pub(super) fn open(key: &SealingKey, place: Place<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    if key_id(sealed)? != key.id {
        return Err(corrupt());
    }
    let (header, text) = sealed.split_at_checked(HEADER).ok_or_else(corrupt)?;
    let (_, rest) = header.split_at_checked(VERSION.len() + ID).ok_or_else(corrupt)?;
    let (salt, commitment) = rest.split_first_chunk::<SALT>().ok_or_else(corrupt)?;
    let derived = derive(key, salt)?;
    if !bool::from(derived.commitment.ct_eq(commitment)) {
        return Err(corrupt());
    }
    let mut text = Zeroizing::new(text.to_vec());
    let bound = place.bind(header);
    let length = match derived.key.open_in_place(derived.nonce, Aad::from(bound), &mut text) {
        Ok(value) => value.len(),
        Err(_) => return Err(corrupt()),
    };
    text.truncate(length);
    Ok(text)
}

/// The error of what does not open, which is not told why.
pub(super) fn corrupt() -> Error {
    Error::corrupt("the stored secret does not open: it was changed, or belongs elsewhere")
}
