//! The text of an API key and what is stored instead of it.

use std::fmt;

use agentprovision_core::id::{ApiKeyId, TenantId};
use agentprovision_core::{Env, Error, Result};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use uuid::Uuid;

/// The fewest bytes of a pepper.
const MIN_PEPPER: usize = 16;

/// The host's secret under which API keys are digested. A stolen database is worthless without it, so it belongs in the
/// host's configuration, not in the store. Changing it ends every API key.
#[derive(Clone)]
pub struct Pepper(Option<Hmac<Sha256>>);

impl Pepper {
    /// A pepper of at least 16 bytes; use random ones.
    ///
    /// # Errors
    /// `invalid_input` for a shorter one.
    pub fn new(secret: &SecretString) -> Result<Self> {
        let bytes = secret.expose_secret().as_bytes();
        if bytes.len() < MIN_PEPPER {
            return Err(Error::invalid(format!("the pepper of API keys needs at least {MIN_PEPPER} bytes")));
        }
        Hmac::new_from_slice(bytes)
            .map(|mac| Self(Some(mac)))
            .map_err(|error| Error::internal("the pepper cannot be used").with_source(error))
    }

    /// A random pepper, for a store that ends with the process.
    pub fn random(env: &Env) -> Self {
        Self(Hmac::new_from_slice(&env.random::<32>()).ok())
    }

    /// No pepper: no API key can be made, and none holds.
    pub fn absent() -> Self {
        Self(None)
    }

    /// HMAC-SHA-256 (RFC 2104) over tenant, key id and secret, so that a digest is worth nothing in another row.
    ///
    /// # Errors
    /// `unsupported` without a pepper.
    pub(super) fn digest(&self, key: &KeyText) -> Result<[u8; 32]> {
        let mut mac = self.0.clone().ok_or_else(|| {
            Error::unsupported(
                "API keys in a lasting store need a pepper: give the platform one when it is built",
            )
        })?;
        mac.update(key.tenant.as_bytes());
        mac.update(key.id.as_bytes());
        mac.update(&key.secret);
        Ok(mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(…)")
    }
}

/// What the text `apk_<tenant>_<key>_<secret>` of an API key says: two UUIDs of 32 hexadecimal digits and 256 random
/// bits of 64. The nil ids and secret stand for no key, so that a malformed text costs the same work.
#[derive(Default)]
pub(super) struct KeyText {
    tenant: Uuid,
    id: Uuid,
    secret: [u8; 32],
}

impl KeyText {
    pub(super) fn new(tenant: TenantId, id: ApiKeyId, secret: [u8; 32]) -> Self {
        Self { tenant: tenant.uuid(), id: id.uuid(), secret }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("apk_")?.split('_');
        let (tenant, id, secret) =
            (digits::<16>(parts.next()?)?, digits::<16>(parts.next()?)?, digits(parts.next()?)?);
        parts.next().is_none().then_some(Self {
            tenant: Uuid::from_bytes(tenant),
            id: Uuid::from_bytes(id),
            secret,
        })
    }

    /// Tenant and id; `None` for the nil ones.
    pub(super) fn ids(&self) -> Option<(TenantId, ApiKeyId)> {
        Some((TenantId::from_uuid(self.tenant)?, ApiKeyId::from_uuid(self.id)?))
    }

    pub(super) fn to_text(&self) -> SecretString {
        let secret = hex::encode(self.secret);
        format!("apk_{}_{}_{secret}", self.tenant.as_simple(), self.id.as_simple()).into()
    }
}

/// Exactly `2 * N` lower-case hexadecimal digits: one key has one text.
fn digits<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
    (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pepper(text: &str) -> Result<Pepper> {
        Pepper::new(&text.into())
    }

    #[test]
    fn a_text_reads_back_and_nothing_else_does() {
        let env = Env::default();
        let key = KeyText::new(env.id(), env.id(), env.random());
        let text = key.to_text();
        let text = text.expose_secret();
        assert_eq!(text.len(), 134);
        let again = KeyText::parse(text).unwrap();
        assert_eq!((again.ids(), again.secret), (key.ids(), key.secret));
        for bad in [
            String::new(),
            "apk_".into(),
            "apk___".into(),
            text.to_uppercase(),
            text.replace("apk_", "APK_"),
            format!("{text}0"),
            format!("{text}_"),
            format!(" {text}"),
            text[..133].into(),
            text.replace('_', "-"),
            text.replacen('0', "\u{0}", 1),
            "apk_".repeat(1 << 20),
        ] {
            assert!(KeyText::parse(&bad).is_none(), "{}", crate::clip(&bad));
        }
        let nil = KeyText::default();
        assert!(KeyText::parse(nil.to_text().expose_secret()).unwrap().ids().is_none());
    }

    #[test]
    fn a_digest_depends_on_pepper_tenant_key_and_secret() {
        let env = Env::default();
        let (tenant, id, secret) = (env.id(), env.id(), env.random());
        let one = pepper("0123456789abcdef").unwrap();
        let digest = one.digest(&KeyText::new(tenant, id, secret)).unwrap();
        let others = [
            pepper("0123456789abcdeg").unwrap().digest(&KeyText::new(tenant, id, secret)).unwrap(),
            one.digest(&KeyText::new(env.id(), id, secret)).unwrap(),
            one.digest(&KeyText::new(tenant, env.id(), secret)).unwrap(),
            one.digest(&KeyText::new(tenant, id, env.random())).unwrap(),
        ];
        assert!(!others.contains(&digest));
        assert_eq!(digest, one.clone().digest(&KeyText::new(tenant, id, secret)).unwrap());
        let none = Pepper::absent().digest(&KeyText::new(tenant, id, secret)).unwrap_err();
        assert!(none.is(agentprovision_core::ErrorKind::Unsupported));
    }

    #[test]
    fn a_short_pepper_is_refused_and_none_is_shown() {
        assert!(pepper("0123456789abcde").unwrap_err().is(agentprovision_core::ErrorKind::InvalidInput));
        assert_eq!(format!("{:?}", pepper("0123456789abcdef").unwrap()), "Pepper(…)");
    }
}
