//! [`SealedSecrets`].

use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::id::WorkerId;
use agentprovision_core::secret::{
    Leased, MAX_SECRET, Sealed, SealedStore, Secret, SecretLease, SecretPath, SecretStore,
};
use agentprovision_core::{Context, Env, Error, ErrorKind, Result};
use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

use super::keys::SealingKeys;
use super::seal::{self, Place};

/// Secrets that are sealed before a store gets them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SealedSecrets {
    store: Arc<dyn SealedStore>,
    keys: SealingKeys,
    env: Env,
}

impl SealedSecrets {
    /// Secrets in `store`, sealed with the first of `keys`. Salts are random numbers of `env`.
    pub fn new(store: Arc<dyn SealedStore>, keys: SealingKeys, env: Env) -> Self {
        Self { store, keys, env }
    }
}

#[async_trait]
impl SecretStore for SealedSecrets {
    async fn get(&self, ctx: &Context, path: &SecretPath) -> Result<Secret> {
        let Sealed { bytes, version } = self.store.get(ctx, path).await?;
        let id = seal::key_id(&bytes)?;
        let key = self.keys.get(id).ok_or_else(|| {
            let message = format!("the secret is sealed with the key {id}, which the platform does not have");
            Error::new(ErrorKind::Unavailable, message)
        })?;
        let value = seal::open(key, Place { tenant: ctx.tenant(), path, version }, &bytes)?;
        let value = std::str::from_utf8(&value).map_err(|_| seal::corrupt())?;
        Ok(Secret { value: SecretString::from(value), version })
    }

    async fn put(
        &self,
        ctx: &Context,
        path: &SecretPath,
        value: SecretString,
        expected: u64,
        lease: Option<SecretLease>,
    ) -> Result<u64> {
        let value = value.expose_secret().as_bytes();
        if value.len() > MAX_SECRET {
            return Err(Error::too_large(format!("the secret has more than {MAX_SECRET} bytes")));
        }
        let key = self.keys.first().ok_or_else(|| {
            Error::unsupported(
                "secrets in a lasting store need a sealing key: give the platform one when it is built, 32 random bytes \
                 as base64, from a file or an environment variable (`openssl rand -base64 32` makes one)",
            )
        })?;
        let version =
            expected.checked_add(1).ok_or_else(|| Error::conflict("the secret has no such version"))?;
        let place = Place { tenant: ctx.tenant(), path, version };
        let bytes = seal::seal(key, self.env.random(), place, value)?;
        self.store.put(ctx, path, Sealed { bytes, version }, lease).await?;
        Ok(version)
    }

    async fn delete(&self, ctx: &Context, path: &SecretPath) -> Result<()> {
        self.store.delete(ctx, path).await
    }

    async fn lease(
        &self,
        ctx: &Context,
        path: &SecretPath,
        holder: WorkerId,
        term: Duration,
    ) -> Result<Leased> {
        self.store.lease(ctx, path, holder, term).await
    }
}
