//! [`HttpTransport`] under an [`EgressPolicy`]: names are looked up here, and a connection goes to an address that was
//! checked or to none.

use std::error::Error as _;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::reqwest::dns::{Addrs, Name, Resolve, Resolving};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use http::header::{AUTHORIZATION, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use url::Url;

use super::super::reqwest::{failed, head_of};
use super::super::{BodyStream, HttpTransport};
use super::{Admission, Destination, EgressPolicy, Resolver, SystemResolver, blocked};
use crate::clock::Env;
use crate::error::{Error, ErrorKind, Result};

/// What the HTTP client is told when a name may not be reached.
#[derive(Clone, Copy, Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name leads to an address that may not be reached")
    }
}

impl std::error::Error for Refused {}

/// Looks names up for connections, which then go to these addresses: nobody asks a second time.
struct Pinned {
    resolver: Arc<dyn Resolver>,
    policy: Arc<EgressPolicy>,
    admission: Admission,
}

impl Resolve for Pinned {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolver, policy, admission) = (self.resolver.clone(), self.policy.clone(), self.admission);
        Box::pin(async move {
            let addresses = resolver.resolve(name.as_str()).await?;
            if addresses.is_empty() || !addresses.iter().all(|address| policy.allows(admission, *address)) {
                return Err(Refused.into());
            }
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// An HTTP client for URLs that somebody else has a say in. Redirects of a `GET` or `HEAD` are followed, each hop checked like
/// the first; what identifies the sender stays with the origin it was meant for. Cheap to clone.
#[derive(Clone)]
pub struct GuardedTransport {
    policy: Arc<EgressPolicy>,
    resolver: Arc<dyn Resolver>,
    env: Env,
    internet: ::reqwest::Client,
    /// By the numbers of the policy's networks: connections into one are nobody's way into another.
    networks: Vec<::reqwest::Client>,
}

impl fmt::Debug for GuardedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedTransport").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl GuardedTransport {
    /// A client under a policy.
    ///
    /// # Errors
    /// `unavailable` when no TLS configuration can be made.
    pub fn new(policy: EgressPolicy, env: Env) -> Result<Self> {
        Self::with_resolver(policy, env, Arc::new(SystemResolver))
    }

    /// The same, with a way of your own to look names up.
    ///
    /// # Errors
    /// As [`GuardedTransport::new`].
    pub fn with_resolver(policy: EgressPolicy, env: Env, resolver: Arc<dyn Resolver>) -> Result<Self> {
        let policy = Arc::new(policy);
        let client = |admission| {
            let pinned = Pinned { resolver: resolver.clone(), policy: policy.clone(), admission };
            let builder = ::reqwest::Client::builder()
                .redirect(::reqwest::redirect::Policy::none())
                .no_proxy()
                .connect_timeout(policy.connect_timeout)
                .dns_resolver(Arc::new(pinned));
            builder.build().map_err(|error| {
                Error::new(ErrorKind::Unavailable, "no HTTP client can be made").with_source(error)
            })
        };
        let internet = client(Admission::Internet)?;
        let networks = (0..policy.networks.len())
            .map(|number| client(Admission::Network(number)))
            .collect::<Result<_>>()?;
        Ok(Self { policy, resolver, env, internet, networks })
    }

    /// What it lets out.
    pub fn policy(&self) -> &EgressPolicy {
        &self.policy
    }

    /// What lets a request to this target out.
    async fn admission(&self, to: &Destination) -> Result<Admission> {
        let addresses = match (to.literal(), &to.host) {
            (Some(address), _) => vec![address],
            // The connection looks it up, and checks what it finds.
            _ if self.policy.networks.is_empty() => return Ok(Admission::Internet),
            (None, host) => self.resolver.resolve(&host.to_string()).await?,
        };
        self.policy.admit(to, &addresses)
    }

    /// One exchange, up to the head of the response.
    async fn exchange(
        &self,
        target: &super::Target,
        request: &Request<Bytes>,
    ) -> Result<::reqwest::Response> {
        let admission = self.admission(&target.to).await?;
        let client = match admission {
            Admission::Internet => &self.internet,
            Admission::Network(number) => self.networks.get(number).unwrap_or(&self.internet),
        };
        // The URL as it was read here: another reader might see another host in it.
        let sent = client
            .request(request.method().clone(), target.url.clone())
            .headers(request.headers().clone())
            .version(request.version())
            .body(request.body().clone());
        let response = sent.send().await.map_err(told)?;
        match response.remote_addr() {
            Some(peer) if self.policy.allows(admission, peer.ip()) => Ok(response),
            _ => Err(blocked("the connection leads to an address that may not be reached")),
        }
    }

    async fn follow(&self, mut request: Request<Bytes>) -> Result<::reqwest::Response> {
        // Whose host it is says the URL.
        request.headers_mut().remove(HOST);
        let mut target = self.policy.target(&request.uri().to_string())?;
        let mut hops = 0;
        loop {
            let response = self.exchange(&target, &request).await?;
            let Some(next) = next_hop(&request, &response, &target.url)? else { return Ok(response) };
            if self.policy.redirects == 0 {
                return Ok(response);
            }
            if hops == self.policy.redirects {
                return Err(blocked(format!("more than {hops} redirects are not followed")));
            }
            hops += 1;
            let before = std::mem::replace(&mut target, self.policy.target(next.as_str())?);
            if before.url.origin() != target.url.origin() {
                forget_sender(request.headers_mut());
            }
        }
    }
}

/// Where a response sends somebody who only looks.
fn next_hop(request: &Request<Bytes>, response: &::reqwest::Response, at: &Url) -> Result<Option<Url>> {
    let followed = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    let looks = [Method::GET, Method::HEAD].contains(request.method());
    let Some(location) = response.headers().get(LOCATION) else { return Ok(None) };
    if !looks || !followed.contains(&response.status()) {
        return Ok(None);
    }
    let next = location.to_str().ok().and_then(|text| at.join(text).ok());
    next.map(Some).ok_or_else(|| blocked("a redirect leads nowhere"))
}

/// Takes out of a request what says who sends it.
fn forget_sender(headers: &mut HeaderMap) {
    for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
        headers.remove(name);
    }
    let sensitive: Vec<_> =
        headers.iter().filter(|(_, value)| value.is_sensitive()).map(|(name, _)| name.clone()).collect();
    for name in sensitive {
        headers.remove(name);
    }
}

/// An error of the client as one of ours.
fn told(error: ::reqwest::Error) -> Error {
    let mut cause = error.source();
    while let Some(found) = cause {
        if found.is::<Refused>() {
            return blocked("the host is not one that may be reached");
        }
        cause = found.source();
    }
    failed(error)
}

fn late() -> Error {
    Error::new(ErrorKind::DeadlineExceeded, "the server did not answer in time")
}

/// The body, to its end or to where a limit is.
fn bounded(body: BodyStream, mut left: u64, env: Env, deadline: Duration) -> BodyStream {
    let pieces = stream::unfold(Some(body), move |body| {
        let env = env.clone();
        async move {
            let mut body = body?;
            let next = env.timeout(deadline.saturating_sub(env.monotonic()), body.next()).await;
            match next {
                None => Some((Err(late()), None)),
                Some(None) => None,
                Some(Some(Err(error))) => Some((Err(error), None)),
                Some(Some(Ok(piece))) => Some((Ok(piece), Some(body))),
            }
        }
    });
    let pieces = pieces.scan(false, move |over, piece| {
        let piece = if *over {
            None
        } else {
            Some(piece.and_then(|piece| match left.checked_sub(piece.len() as u64) {
                Some(rest) => {
                    left = rest;
                    Ok(piece)
                }
                None => {
                    *over = true;
                    Err(too_large())
                }
            }))
        };
        std::future::ready(piece)
    });
    pieces.boxed()
}

fn too_large() -> Error {
    Error::too_large("the response is larger than the policy for egress takes")
}

#[async_trait]
impl HttpTransport for GuardedTransport {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<BodyStream>> {
        let deadline = self.env.monotonic().saturating_add(self.policy.timeout);
        let mut response =
            self.env.timeout(self.policy.timeout, self.follow(request)).await.ok_or_else(late)??;
        let head = head_of(&mut response);
        if response.content_length().is_some_and(|length| length > self.policy.max_response_bytes) {
            return Err(too_large());
        }
        let body = response.bytes_stream().map(|piece| piece.map_err(failed)).boxed();
        Ok(head.map(|()| bounded(body, self.policy.max_response_bytes, self.env.clone(), deadline)))
    }
}
