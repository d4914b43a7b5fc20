//! Secrets as they are, over a store for sealed ones.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::id::WorkerId;
use crate::secret::{Leased, Sealed, SealedStore, Secret, SecretLease, SecretPath, SecretStore};

/// A [`SecretStore`] that seals nothing, for tests of what uses secrets. Never for anything else.
#[derive(Debug)]
pub struct ClearSecrets(Arc<dyn SealedStore>);

impl ClearSecrets {
    /// Secrets in this store.
    pub fn new(store: Arc<dyn SealedStore>) -> Self {
        Self(store)
    }
}

#[async_trait]
impl SecretStore for ClearSecrets {
    async fn get(&self, ctx: &Context, path: &SecretPath) -> Result<Secret> {
        let sealed = self.0.get(ctx, path).await?;
        let text = String::from_utf8(sealed.bytes).map_err(|_| Error::corrupt("the secret is no text"))?;
        Ok(Secret { value: SecretString::from(text), version: sealed.version })
    }

    async fn put(
        &self,
        ctx: &Context,
        path: &SecretPath,
        value: SecretString,
        expected: u64,
        lease: Option<SecretLease>,
    ) -> Result<u64> {
        let sealed = Sealed { bytes: value.expose_secret().as_bytes().to_vec(), version: expected + 1 };
        self.0.put(ctx, path, sealed, lease).await.map(|()| expected + 1)
    }

    async fn delete(&self, ctx: &Context, path: &SecretPath) -> Result<()> {
        self.0.delete(ctx, path).await
    }

    async fn lease(
        &self,
        ctx: &Context,
        path: &SecretPath,
        holder: WorkerId,
        term: Duration,
    ) -> Result<Leased> {
        self.0.lease(ctx, path, holder, term).await
    }
}
