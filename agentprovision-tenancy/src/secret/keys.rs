//! The keys that secrets are sealed with.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use agentprovision_core::{Env, Error, Result};
use aws_lc_rs::hkdf::{HKDF_SHA512, KeyType, Salt};
use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretBox};

/// The bytes of a key.
pub(super) const KEY: usize = 32;
/// The bytes of a key's id.
pub(super) const ID: usize = 8;
/// What the id of a key is derived for.
const ID_INFO: &[u8] = b"agentprovision sealing key id 1";

/// The host's keys for secrets: the first one seals, each of them opens. To go over to a new key, put it before the old one,
/// and take the old one away once nothing is sealed with it any more. Cheap to clone; gone from memory with the last clone.
///
/// A key is 32 random bytes: `openssl rand -base64 32` makes one. Without it what it has sealed is lost, so it is kept
/// where backups of the store are not.
#[derive(Clone)]
pub struct SealingKeys(Arc<[SealingKey]>);

impl SealingKeys {
    /// The keys, the one that seals first.
    ///
    /// # Errors
    /// `invalid_input` without a key, or for the same one twice.
    pub fn new(keys: &[[u8; KEY]]) -> Result<Self> {
        let keys = keys.iter().map(SealingKey::new).collect::<Result<Vec<_>>>()?;
        if keys.is_empty() {
            return Err(Error::invalid("there is no sealing key"));
        }
        for (place, key) in keys.iter().enumerate() {
            if keys.iter().take(place).any(|other| other.id == key.id) {
                return Err(Error::invalid(format!("the sealing key {} is given twice", key.id)));
            }
        }
        Ok(Self(keys.into()))
    }

    /// The keys in a text, one per line or between commas, each as base64 or as 64 hexadecimal digits.
    ///
    /// # Errors
    /// As [`SealingKeys::new`], and `invalid_input` for what is no key.
    pub fn parse(text: &str) -> Result<Self> {
        let texts = text.split([',', '\n', '\r']).map(str::trim).filter(|text| !text.is_empty());
        let mut keys = Zeroizing::new(Vec::new());
        for (place, text) in texts.enumerate() {
            keys.push(*decode(text).ok_or_else(|| {
                let message = "is not 32 bytes, as base64 or as 64 hexadecimal digits";
                Error::invalid(format!("the sealing key at place {} {message}", place + 1))
            })?);
        }
        Self::new(&keys)
    }

    /// The keys in an environment variable, as [`SealingKeys::parse`] reads them.
    ///
    /// # Errors
    /// `invalid_input` when it is not set or its name is not of `A-Z 0-9 _`, and as [`SealingKeys::parse`].
    pub fn from_env(name: &str) -> Result<Self> {
        let letter = |byte: u8| byte == b'_' || byte.is_ascii_uppercase() || byte.is_ascii_digit();
        // It is not repeated: it may be the key itself, in the wrong place.
        if !(1..2 * KEY).contains(&name.len()) || !name.bytes().all(letter) {
            return Err(Error::invalid("sealing keys are in a variable with a name of `A-Z 0-9 _`"));
        }
        let place = format!("the environment variable `{name}`");
        match std::env::var(name).map(Zeroizing::new) {
            Ok(value) => Self::parse(&value).map_err(|error| within(&place, &error)),
            Err(std::env::VarError::NotUnicode(_)) => Err(Error::invalid(format!("{place} is no text"))),
            Err(std::env::VarError::NotPresent) => Err(Error::invalid(format!("{place} is not set"))),
        }
    }

    /// The keys in a file, as [`SealingKeys::parse`] reads them.
    ///
    /// # Errors
    /// `invalid_input` when it cannot be read, and as [`SealingKeys::parse`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let place = format!("the file `{}`", crate::clip(&path.to_string_lossy()));
        let text = std::fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|error| Error::invalid(format!("{place} cannot be read")).with_source(error))?;
        Self::parse(&text).map_err(|error| within(&place, &error))
    }

    /// One random key, for a store that ends with the process.
    pub fn random(env: &Env) -> Self {
        let key = Zeroizing::new(env.random::<KEY>());
        // Without an id, which no key is without, there is no key.
        SealingKey::new(&key).map_or_else(|_| Self::absent(), |key| Self([key].into()))
    }

    /// No key: nothing can be sealed, and nothing opens.
    pub fn absent() -> Self {
        Self([].into())
    }

    /// The key that seals.
    pub(super) fn first(&self) -> Option<&SealingKey> {
        self.0.first()
    }

    /// The key with this id.
    pub(super) fn get(&self, id: KeyId) -> Option<&SealingKey> {
        self.0.iter().find(|key| key.id == id)
    }
}

impl fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKeys")?;
        f.debug_list().entries(self.0.iter().map(|key| key.id)).finish()
    }
}

/// Names a key, and says nothing of it: derived from the key as everything else is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyId(pub(super) [u8; ID]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key, from which others are derived.
pub(super) struct SealingKey {
    pub(super) id: KeyId,
    secret: SecretBox<[u8; KEY]>,
}

impl SealingKey {
    fn new(bytes: &[u8; KEY]) -> Result<Self> {
        let secret = SecretBox::init_with_mut(|secret: &mut [u8; KEY]| secret.copy_from_slice(bytes));
        let mut key = Self { id: KeyId([0; ID]), secret };
        key.id = KeyId(*key.derive(&Salt::none(HKDF_SHA512), ID_INFO)?);
        Ok(key)
    }

    /// HKDF-SHA-512 (RFC 5869) over the key.
    pub(super) fn derive<const N: usize>(&self, salt: &Salt, info: &[u8]) -> Result<Zeroizing<[u8; N]>> {
        let mut out = Zeroizing::new([0; N]);
        let prk = salt.extract(self.secret.expose_secret());
        prk.expand(&[info], Length(N))
            .and_then(|okm| okm.fill(out.as_mut()))
            .map_err(|error| Error::internal("a key cannot be derived").with_source(error))?;
        Ok(out)
    }
}

/// How many bytes are derived.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// An error about what is in a place.
fn within(place: &str, error: &Error) -> Error {
    Error::new(error.kind(), format!("{place}: {}", error.message()))
}

/// The key a text stands for: hexadecimal digits, or base64 of either alphabet, with or without padding.
fn decode(text: &str) -> Option<Zeroizing<[u8; KEY]>> {
    let mut key = Zeroizing::new([0; KEY]);
    if text.len() == 2 * KEY {
        return hex::decode_to_slice(text, key.as_mut()).ok().map(|()| key);
    }
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [STANDARD, URL_SAFE].iter().find_map(|alphabet| {
        let bytes = Zeroizing::new(GeneralPurpose::new(alphabet, config).decode(text).ok()?);
        key.copy_from_slice(bytes.as_slice().first_chunk::<KEY>().filter(|_| bytes.len() == KEY)?);
        Some(key.clone())
    })
}

#[cfg(test)]
mod tests {
    use agentprovision_core::ErrorKind;

    use super::*;

    const ONE: [u8; KEY] = [0x11; KEY];
    /// `ONE` as base64.
    const TEXT: &str = "ERERERERERERERERERERERERERERERERERERERERERE=";

    fn ids(keys: &SealingKeys) -> Vec<KeyId> {
        keys.0.iter().map(|key| key.id).collect()
    }

    #[test]
    fn keys_are_read_in_every_form_and_the_first_one_seals() {
        let one = ids(&SealingKeys::new(&[ONE]).unwrap());
        let two: [u8; KEY] = std::array::from_fn(|n| 0xf8 | n as u8);
        let both = ids(&SealingKeys::new(&[two, ONE]).unwrap());
        assert_eq!(one[0], both[1]);
        for text in [TEXT, TEXT.trim_end_matches('='), &hex::encode(ONE), &hex::encode_upper(ONE)] {
            assert_eq!(ids(&SealingKeys::parse(text).unwrap()), one, "{text}");
            assert_eq!(ids(&SealingKeys::parse(&format!("\n {text}\t\r\n,")).unwrap()), one, "{text}");
        }
        let config = GeneralPurposeConfig::new();
        for alphabet in [STANDARD, URL_SAFE] {
            let text = GeneralPurpose::new(&alphabet, config).encode(two);
            assert!(text.contains(['+', '/', '-', '_']));
            for between in [",", "\n", "\r\n", " , ", "\n\n"] {
                let keys = SealingKeys::parse(&format!("{text}{between}{TEXT}")).unwrap();
                assert_eq!(ids(&keys), both);
                assert_eq!(keys.first().unwrap().id, both[0]);
            }
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        let short = hex::encode([0xab; 31]);
        let long = hex::encode([0xab; 33]);
        let half = format!("{TEXT}\n{}", &TEXT[..40]);
        for bad in ["", " \n,", "no key", &TEXT[..40], &short, &long, &half, &format!("{TEXT},{TEXT}"), "\0"]
        {
            let error = SealingKeys::parse(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("ERER") && !shown.contains("abab") && !shown.contains("1111"), "{shown}");
        }
        let error = SealingKeys::parse(&half).unwrap_err();
        assert!(error.message().contains("place 2"), "{error}");
        assert!(SealingKeys::new(&[]).is_err());
    }

    #[test]
    fn keys_come_from_a_file_or_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        std::fs::write(&file, format!("{TEXT}\n")).unwrap();
        assert_eq!(ids(&SealingKeys::from_file(&file).unwrap()), ids(&SealingKeys::new(&[ONE]).unwrap()));
        std::fs::write(&file, "canary").unwrap();
        let error = SealingKeys::from_file(&file).unwrap_err();
        assert!(error.message().contains("keys`: ") && !format!("{error:?}").contains("canary"), "{error:?}");
        let missing = SealingKeys::from_file(folder.path().join("none")).unwrap_err();
        assert!(missing.is(ErrorKind::InvalidInput) && missing.message().contains("cannot be read"));
        // `PATH` is set and no key.
        let error = SealingKeys::from_env("PATH").unwrap_err();
        assert!(error.message().starts_with("the environment variable `PATH`: "), "{error}");
        let error = SealingKeys::from_env("AGENTPROVISION_NO_SUCH_VARIABLE").unwrap_err();
        assert!(error.is(ErrorKind::InvalidInput) && error.message().contains("is not set"), "{error}");
        for name in ["", "A=B", "A\0B", TEXT, &hex::encode(ONE), &hex::encode_upper([0xab; KEY])] {
            let error = SealingKeys::from_env(name).unwrap_err();
            assert!(error.is(ErrorKind::InvalidInput), "{error}");
            assert!(name.is_empty() || !format!("{error:?}").contains(name), "{error:?}");
        }
    }

    #[test]
    fn keys_are_shown_by_their_ids_alone() {
        let keys = SealingKeys::new(&[ONE, [0x22; KEY]]).unwrap();
        let [one, two] = ids(&keys)[..] else { panic!("two keys") };
        assert_eq!(format!("{keys:?}"), format!("SealingKeys[{one}, {two}]"));
        assert_eq!(format!("{:?}", SealingKeys::absent()), "SealingKeys[]");
        assert!(!format!("{keys:?}").contains("1111"));
        let env = Env::default();
        assert_ne!(ids(&SealingKeys::random(&env)), ids(&SealingKeys::random(&env)));
    }
}
