//! [`HttpTransport`] by reqwest: redirects off, no proxy from the environment, allowed hosts only.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;

use super::{BodyStream, HttpTransport};
use crate::error::{Error, ErrorKind, Result, Retry};

/// Limits of a [`ReqwestTransport`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReqwestOptions {
    /// The longest a connection may take to open; default 10 s.
    pub connect_timeout: Duration,
    /// The longest a response may be silent, before its head and between pieces of its body; none by default: a model may
    /// think for minutes before it answers, and whoever asks has deadlines.
    pub read_timeout: Option<Duration>,
}

impl Default for ReqwestOptions {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(10), read_timeout: None }
    }
}

/// An HTTP client that talks only to the hosts it was told of. Cheap to clone; clones share the connection pool and the
/// list of hosts.
#[derive(Clone)]
pub struct ReqwestTransport {
    client: ::reqwest::Client,
    allowed: Arc<RwLock<BTreeSet<String>>>,
}

impl fmt::Debug for ReqwestTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestTransport").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl ReqwestTransport {
    /// A client with these limits that may talk to nobody yet.
    ///
    /// # Errors
    /// `unavailable` when no TLS configuration can be made.
    pub fn new(options: &ReqwestOptions) -> Result<Self> {
        let mut builder = ::reqwest::Client::builder()
            .redirect(::reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(options.connect_timeout);
        if let Some(limit) = options.read_timeout {
            builder = builder.read_timeout(limit);
        }
        let client = builder.build().map_err(|error| {
            Error::new(ErrorKind::Unavailable, "no HTTP client can be made").with_source(error)
        })?;
        Ok(Self { client, allowed: Arc::default() })
    }

    /// Allows the host and port of an absolute `http` or `https` URL, as a configured provider names it.
    ///
    /// # Errors
    /// `invalid_input` when the URL is not absolute.
    pub fn allow(&self, url: &http::Uri) -> Result<()> {
        let origin = origin(url)?;
        self.allowed.write().unwrap_or_else(PoisonError::into_inner).insert(origin);
        Ok(())
    }
}

/// `host:port`, the port filled in from the scheme.
fn origin(url: &http::Uri) -> Result<String> {
    let port = match (url.port_u16(), url.scheme_str()) {
        (Some(port), Some("http" | "https")) => port,
        (None, Some("http")) => 80,
        (None, Some("https")) => 443,
        _ => return Err(Error::invalid("a URL must be absolute, with the scheme `http` or `https`")),
    };
    let host = url.host().ok_or_else(|| Error::invalid("a URL must name a host"))?;
    Ok(format!("{}:{port}", host.to_ascii_lowercase()))
}

/// An error of the client as one of ours.
pub(super) fn failed(error: ::reqwest::Error) -> Error {
    // The URL may carry a key in its query; it never leaves in an error.
    let error = error.without_url();
    // A connection that took too long is both; no request went out over it.
    let (kind, message) = if error.is_connect() {
        (ErrorKind::Unavailable, "the server could not be reached")
    } else if error.is_timeout() {
        (ErrorKind::DeadlineExceeded, "the server did not answer in time")
    } else {
        (ErrorKind::Unavailable, "the exchange with the server broke off")
    };
    Error::new(kind, message).with_retry(Retry::After(Duration::ZERO)).with_source(error)
}

/// The head of a response, taken out of it.
pub(super) fn head_of(response: &mut ::reqwest::Response) -> http::Response<()> {
    let mut head = http::Response::new(());
    *head.status_mut() = response.status();
    *head.version_mut() = response.version();
    *head.headers_mut() = std::mem::take(response.headers_mut());
    head
}

#[async_trait]
impl HttpTransport for ReqwestTransport {
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<BodyStream>> {
        let origin = origin(request.uri())?;
        if !self.allowed.read().unwrap_or_else(PoisonError::into_inner).contains(&origin) {
            return Err(Error::new(
                ErrorKind::Blocked,
                format!("no configured provider names the host `{origin}`"),
            ));
        }
        let request = ::reqwest::Request::try_from(request).map_err(|error| {
            Error::invalid("the request has a URL that cannot be sent").with_source(error.without_url())
        })?;
        let mut response = self.client.execute(request).await.map_err(failed)?;
        let head = head_of(&mut response);
        let body: BodyStream = response.bytes_stream().map(|piece| piece.map_err(failed)).boxed();
        Ok(head.map(|()| body))
    }
}
