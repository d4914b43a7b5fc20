//! HTTP out of the platform: one small contract, so that hosts and tests can put their own behind it. And into it: who calls
//! ([`inbound`]).

pub mod egress;
pub mod inbound;
#[cfg(feature = "http-reqwest")]
mod reqwest;
#[cfg(feature = "sigv4")]
pub mod sigv4;

#[cfg(feature = "http-reqwest")]
pub use self::reqwest::{ReqwestOptions, ReqwestTransport};

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;

use crate::error::Result;

/// The body of a response, in pieces as they arrive. Dropping it closes the exchange.
pub type BodyStream = BoxStream<'static, Result<Bytes>>;

/// Sends one HTTP request and returns the response's head and its body as a stream.
///
/// An implementation follows no redirect, takes no proxy from the environment, and adds no retry.
#[async_trait]
pub trait HttpTransport: fmt::Debug + Send + Sync + 'static {
    /// Sends a request with an absolute URL.
    ///
    /// # Errors
    /// `blocked` for a host that is not allowed; `unavailable` when no response came; `deadline_exceeded` when it took
    /// too long. A response with an error status is a response.
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<BodyStream>>;
}
