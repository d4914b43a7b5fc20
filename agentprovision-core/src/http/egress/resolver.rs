//! How names are looked up.

use std::fmt;
use std::net::{IpAddr, ToSocketAddrs as _};

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Result};

/// Looks names up.
#[async_trait]
pub trait Resolver: fmt::Debug + Send + Sync + 'static {
    /// The addresses of a name.
    ///
    /// # Errors
    /// `unavailable` when there are none.
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>>;
}

/// As the operating system looks names up.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>> {
        let failed = || Error::new(ErrorKind::Unavailable, "the name of the host cannot be looked up");
        let name = name.to_owned();
        // The system's way blocks.
        let found = tokio::task::spawn_blocking(move || (name.as_str(), 0).to_socket_addrs());
        let found = found.await.map_err(|error| failed().with_source(error))?;
        let found = found.map_err(|error| failed().with_source(error))?;
        Ok(found.map(|address| address.ip()).collect())
    }
}
