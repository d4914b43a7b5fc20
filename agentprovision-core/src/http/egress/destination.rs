//! Where a connection goes, before its name is looked up.

use std::net::{IpAddr, Ipv6Addr};

use url::Host;

use crate::error::{Error, Result};

/// Where a connection of another protocol than HTTP goes: a host as somebody has written it, and a port.
///
/// The port is an odd one, and the connection encrypted, unless said otherwise: odd ports and connections without encryption are
/// for a [`Network`](super::Network) of the host's that allows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub(super) host: Host<String>,
    pub(super) port: u16,
    pub(super) encrypted: bool,
    pub(super) usual_port: bool,
}

impl Destination {
    /// A host and a port. Numbers in the place of a name are addresses in any notation, as HTTP clients take them; an address of
    /// IPv6 may stand in brackets or without.
    ///
    /// # Errors
    /// `invalid_input` for what names no host, and for port 0.
    pub fn new(host: &str, port: u16) -> Result<Self> {
        if port == 0 {
            return Err(Error::invalid("the port 0 is none"));
        }
        let bare = host.parse::<Ipv6Addr>().map(Host::Ipv6);
        let host = match bare {
            Ok(host) => host,
            Err(_) => Host::parse(host).map_err(|_| {
                let host: String = host.chars().filter(|c| !c.is_control()).take(64).collect();
                Error::invalid(format!("`{host}` is neither a name of a host nor an address"))
            })?,
        };
        Ok(Self { host, port, encrypted: true, usual_port: false })
    }

    /// Of a protocol that has these ports for its own.
    #[must_use]
    pub fn usual_ports(mut self, ports: &[u16]) -> Self {
        self.usual_port = ports.contains(&self.port);
        self
    }

    /// Without encryption.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.encrypted = false;
        self
    }

    /// The host: a name in lower case and without a dot at its end, or an address. It is what a certificate has to be for.
    pub fn host(&self) -> String {
        match &self.host {
            Host::Domain(name) => name.trim_end_matches('.').to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether what goes there is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// The address that stands in the place of a name.
    pub(super) fn literal(&self) -> Option<IpAddr> {
        match &self.host {
            Host::Ipv4(address) => Some(IpAddr::V4(*address)),
            Host::Ipv6(address) => Some(IpAddr::V6(*address)),
            Host::Domain(_) => None,
        }
    }
}
