//! Where requests may go that somebody else has a say in: every URL that a tenant can name or lead to.

mod address;
mod destination;
#[cfg(feature = "dial")]
mod dial;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod forbidden;
#[cfg(feature = "http-reqwest")]
mod guarded;
mod resolver;

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use url::{Host, Url};

pub use self::address::is_global;
pub use self::destination::Destination;
#[cfg(feature = "dial")]
pub use self::dial::Dialer;
#[cfg(feature = "http-reqwest")]
pub use self::guarded::GuardedTransport;
pub use self::resolver::{Resolver, SystemResolver};
use crate::error::{Error, ErrorKind, Result};

/// Ends of names that mean something inside of a network only (RFC 6761, RFC 6762, RFC 8375, and what is in use).
const INNER_NAMES: &[&str] = &[
    "localhost",
    "local",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
    "home.arpa",
    "onion",
    "invalid",
    "test",
];

/// Which destinations may be reached, and how much may come back.
///
/// By default: `https` on port 443, other protocols encrypted and on ports of their own ([`Destination`]), names that resolve to
/// addresses of the internet and to nothing else, and such addresses themselves. What lies in the host's own networks is reached
/// only where the host names a [`Network`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EgressPolicy {
    networks: Vec<Network>,
    /// Hops that are followed for a `GET` or `HEAD`, each checked like the first; default 5.
    pub redirects: usize,
    /// The longest response, in bytes; default 32 MiB.
    pub max_response_bytes: u64,
    /// The longest a connection may take to open; default 10 s.
    pub connect_timeout: Duration,
    /// The longest everything may take, to the end of the body; default 60 s.
    pub timeout: Duration,
}

impl Default for EgressPolicy {
    fn default() -> Self {
        Self {
            networks: Vec::new(),
            redirects: 5,
            max_response_bytes: 32 * 1024 * 1024,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
        }
    }
}

/// A network that the host lets requests into, by a name of its own.
#[derive(Clone, Debug)]
pub struct Network {
    name: String,
    ranges: Vec<IpNet>,
    plain_http: bool,
    any_port: bool,
}

impl Network {
    /// A network of these ranges, as `10.1.0.0/16` or one address.
    ///
    /// # Errors
    /// `invalid_input` for what is no range.
    pub fn new(name: impl Into<String>, ranges: &[&str]) -> Result<Self> {
        let name = name.into();
        let range = |text: &&str| {
            let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            parsed.map_err(|_| {
                Error::invalid(format!("`{text}` of the network `{name}` is no range of addresses"))
            })
        };
        let ranges = ranges.iter().map(range).collect::<Result<_>>()?;
        Ok(Self { name, ranges, plain_http: false, any_port: false })
    }

    /// Lets requests without encryption into it, of HTTP and of other protocols.
    #[must_use]
    pub fn plain_http(mut self) -> Self {
        self.plain_http = true;
        self
    }

    /// Lets requests to every port of it.
    #[must_use]
    pub fn any_port(mut self) -> Self {
        self.any_port = true;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn contains(&self, address: IpAddr) -> bool {
        // An address may be written as one that carries it.
        let address = address.to_canonical();
        self.ranges.iter().any(|range| range.contains(&address))
    }

    fn takes(&self, to: &Destination) -> bool {
        (self.plain_http || to.encrypted) && (self.any_port || to.usual_port)
    }
}

/// What a URL names, before it is looked up.
#[derive(Clone, Debug)]
struct Target {
    #[cfg_attr(not(feature = "http-reqwest"), expect(dead_code, reason = "what is sent"))]
    url: Url,
    to: Destination,
}

/// What lets a request out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    /// It goes to the internet.
    Internet,
    /// It goes into the network of this number.
    Network(usize),
}

fn blocked(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Blocked, message.into())
}

impl EgressPolicy {
    /// Lets requests into a network of the host's.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.networks.push(network);
        self
    }

    /// Whether a URL may be kept as somebody's: what is wrong with it whatever it resolves to. Every request to it is checked
    /// again, with the addresses it goes to.
    ///
    /// # Errors
    /// `invalid_input` for what is no URL; `blocked` for one that is never reached.
    pub fn check(&self, url: &str) -> Result<()> {
        self.check_literal(&self.target(url)?.to)
    }

    /// The same of a destination of another protocol than HTTP.
    ///
    /// # Errors
    /// `blocked` for one that is never reached.
    pub fn check_destination(&self, to: &Destination) -> Result<()> {
        self.known(to)?;
        self.check_literal(to)
    }

    /// Whether an address in the place of a name may be reached.
    fn check_literal(&self, to: &Destination) -> Result<()> {
        to.literal().map_or(Ok(()), |address| self.admit(to, &[address]).map(drop))
    }

    /// Reads a URL. Numbers in the place of a host are addresses in any notation, as clients take them
    /// (<https://url.spec.whatwg.org/#host-parsing>).
    fn target(&self, url: &str) -> Result<Target> {
        let url = Url::parse(url).map_err(|_| Error::invalid("this is no absolute URL"))?;
        let encrypted = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(blocked("a URL begins with `https`")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(blocked("a URL with a user or a password in it is not reached"));
        }
        let host = url.host().ok_or_else(|| Error::invalid("a URL names a host"))?.to_owned();
        let usual_port = url.port().is_none();
        let port = url.port_or_known_default().unwrap_or_default();
        let to = Destination { host, port, encrypted, usual_port };
        self.known(&to).map_err(|error| match (encrypted, usual_port) {
            _ if self.taken(&to) => error,
            (true, _) => blocked("a URL with a port other than 443 is not reached"),
            (false, _) => blocked("a URL without encryption is not reached; it begins with `https`"),
        })?;
        Ok(Target { url, to })
    }

    /// Whether something may be reached in this way at all.
    fn taken(&self, to: &Destination) -> bool {
        (to.encrypted && to.usual_port) || self.networks.iter().any(|network| network.takes(to))
    }

    /// Refuses what is not reached whatever it resolves to.
    fn known(&self, to: &Destination) -> Result<()> {
        if !self.taken(to) {
            return Err(blocked(if to.encrypted {
                format!("the port {} is not one that may be reached", to.port)
            } else {
                "a connection without encryption is not made".to_owned()
            }));
        }
        if let Host::Domain(name) = &to.host {
            let name = name.trim_end_matches('.');
            let inner =
                |end: &&str| name == *end || name.strip_suffix(end).is_some_and(|rest| rest.ends_with('.'));
            if self.networks.is_empty() && (!name.contains('.') || INNER_NAMES.iter().any(inner)) {
                return Err(blocked(format!("the name `{name}` means something inside of a network only")));
            }
        }
        Ok(())
    }

    /// What lets a request to all of these addresses out. One that may not be reached closes the door to the others: which of
    /// them a connection goes to is chance.
    fn admit(&self, to: &Destination, addresses: &[IpAddr]) -> Result<Admission> {
        let all = |of: &dyn Fn(IpAddr) -> bool| {
            !addresses.is_empty() && addresses.iter().all(|address| of(*address))
        };
        if to.encrypted && to.usual_port && all(&is_global) {
            return Ok(Admission::Internet);
        }
        let into = |network: &Network| network.takes(to) && all(&|address| network.contains(address));
        match self.networks.iter().position(into) {
            Some(number) => Ok(Admission::Network(number)),
            // Not which addresses: that is nobody's business who asks from outside.
            None => Err(blocked(format!("the host `{}` is not one that may be reached", to.host))),
        }
    }

    /// Whether a connection that was let out so may go to this address.
    #[cfg(feature = "http-reqwest")]
    fn allows(&self, admission: Admission, address: IpAddr) -> bool {
        match admission {
            Admission::Internet => is_global(address),
            Admission::Network(number) => {
                self.networks.get(number).is_some_and(|network| network.contains(address))
            }
        }
    }
}

#[cfg(test)]
mod tests;
