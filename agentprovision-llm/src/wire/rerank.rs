//! The contract of wire formats for reranking.

use std::fmt;

use agentprovision_core::Result;
use agentprovision_core::model::{RerankRequest, RerankResponse};
use http::{HeaderMap, StatusCode};

use super::{ProviderError, WireRequest};

/// One wire format for reranking. Pure: no I/O, no retries.
pub trait RerankDialect: fmt::Debug + Send + Sync + 'static {
    /// The request in this format; it has a query and at least one document.
    ///
    /// # Errors
    /// `invalid_input` when the request says something the format cannot express.
    fn encode(&self, request: &RerankRequest) -> Result<WireRequest>;

    /// The order in a body that came with a success status. Whoever calls checks that every place is one of the
    /// request, and sorts by score.
    ///
    /// # Errors
    /// A [`ProviderError`] when the body holds an error or no results.
    fn decode(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<RerankResponse, ProviderError>;

    /// What an answer with an error status means.
    fn classify(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError;
}
