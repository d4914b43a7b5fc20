//! One exchange with a provider: what models of every kind share.

use std::sync::Arc;

use agentprovision_core::http::{BodyStream, HttpTransport};
use agentprovision_core::model::{ModelInfo, Usage};
use agentprovision_core::{Error, ErrorKind, Result};
use bytes::BytesMut;
use futures_util::StreamExt;
use http::response::Parts;
use http::{HeaderMap, StatusCode};

use crate::endpoint::Endpoint;
use crate::wire::{Category, ProviderError, WireRequest};

/// The largest whole answer that is read, in bytes.
const LARGEST_ANSWER: usize = 32 * 1024 * 1024;
/// The largest error that is read, in bytes; what follows is cut off.
const LARGEST_ERROR: usize = 256 * 1024;

/// What a dialect makes of an answer with an error status.
pub(crate) type Classify<'a> = &'a (dyn Fn(StatusCode, &HeaderMap, &[u8]) -> ProviderError + Sync);

/// A model at its provider.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) info: ModelInfo,
    /// The name the provider knows the model by.
    pub(crate) wire_name: String,
    endpoint: Endpoint,
    transport: Arc<dyn HttpTransport>,
}

impl Target {
    pub(crate) fn new(info: ModelInfo, endpoint: Endpoint, transport: Arc<dyn HttpTransport>) -> Self {
        Self { wire_name: info.name.clone(), info, endpoint, transport }
    }

    /// The answer, once its head says that it is none of an error.
    pub(crate) async fn open(
        &self,
        wire: WireRequest,
        classify: Classify<'_>,
    ) -> Result<http::Response<BodyStream>> {
        let request = self.endpoint.request(wire).await.map_err(|error| self.named(error))?;
        let response = self.transport.send(request).await.map_err(|error| self.named(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (head, mut body) = response.into_parts();
        let mut held = BytesMut::new();
        // The status says enough when the body does not arrive.
        while let Some(Ok(piece)) = body.next().await {
            let room = LARGEST_ERROR.saturating_sub(held.len());
            held.extend_from_slice(piece.get(..room).unwrap_or(&piece));
            if held.len() >= LARGEST_ERROR {
                break;
            }
        }
        Err(self.failed(classify(head.status, &head.headers, &held)))
    }

    /// The whole answer.
    pub(crate) async fn whole(&self, wire: WireRequest, classify: Classify<'_>) -> Result<(Parts, BytesMut)> {
        let (head, mut body) = self.open(wire, classify).await?.into_parts();
        let mut held = BytesMut::new();
        while let Some(piece) = body.next().await {
            held.extend_from_slice(&piece.map_err(|error| self.broken(error, None))?);
            if held.len() > LARGEST_ANSWER {
                return Err(
                    self.failed(ProviderError::new(Category::AnswerTooLarge, "the answer passes the limit"))
                );
            }
        }
        Ok((head, held))
    }

    pub(crate) fn failed(&self, error: ProviderError) -> Error {
        self.named(self.endpoint.redacted(error).into())
    }

    fn named(&self, error: Error) -> Error {
        error.with_context("provider", self.endpoint.provider()).with_context("model", &self.info.name)
    }

    /// What a failure of the transport in the middle of a body means: the answer is cut off.
    pub(crate) fn broken(&self, error: Error, usage: Option<Box<Usage>>) -> Error {
        if error.is(ErrorKind::Unavailable) {
            let mut cut = ProviderError::new(Category::Incomplete, format!("the body broke off: {error:?}"));
            cut.usage = usage;
            return self.failed(cut);
        }
        self.named(error)
    }
}
