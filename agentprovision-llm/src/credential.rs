//! Proving who asks, where a fixed key in a header does not do.

use std::fmt;

use agentprovision_core::Result;
use async_trait::async_trait;
use bytes::Bytes;

use crate::wire::ProviderError;

/// Proves who asks: signs a request, or brings a token that changes from time to time. Asked for every attempt, and last,
/// when method, address, headers and body are what will be sent.
#[async_trait]
pub trait Credential: fmt::Debug + Send + Sync + 'static {
    /// Adds what proves it, usually the header `authorization`; a value that is a secret is marked as sensitive.
    ///
    /// # Errors
    /// Whatever kept the credential from being had; the request is not sent.
    async fn apply(&self, request: &mut http::Request<Bytes>) -> Result<()>;

    /// Takes the secrets out of a provider's words; see [`ProviderError::redacted`].
    fn redacted(&self, error: ProviderError) -> ProviderError;
}
