//! Connections of other protocols than HTTP under an [`EgressPolicy`]: a name is looked up once, and the connection goes to an
//! address that was checked or to none.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::{Destination, EgressPolicy, Resolver};
use crate::clock::Env;
use crate::error::{Error, ErrorKind, Result, Retry};

/// Opens connections to where a policy allows. Cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    policy: Arc<EgressPolicy>,
    resolver: Arc<dyn Resolver>,
    env: Env,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Dialer {
    /// Dials under a policy, and looks names up in this way.
    pub fn new(policy: EgressPolicy, resolver: Arc<dyn Resolver>, env: Env) -> Self {
        Self { policy: Arc::new(policy), resolver, env }
    }

    /// Where a connection to a destination may go: all addresses of its name, each of which is allowed.
    ///
    /// # Errors
    /// `blocked` for what may not be reached, also when one of several addresses may not; `unavailable` for a name that has none.
    pub async fn addresses(&self, to: &Destination) -> Result<Vec<SocketAddr>> {
        self.policy.check_destination(to)?;
        let addresses = match to.literal() {
            Some(address) => vec![address],
            None => self.resolver.resolve(&to.host.to_string()).await?,
        };
        self.policy.admit(to, &addresses)?;
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, to.port)).collect())
    }

    /// A connection to a destination. What it says there, and that it is encrypted where the destination says so, is up to
    /// whoever asked for it.
    ///
    /// # Errors
    /// As [`Dialer::addresses`]; `unavailable` when none of the addresses answers within the policy's time for it, of which each
    /// has its share.
    pub async fn connect(&self, to: &Destination) -> Result<TcpStream> {
        let unreached = || {
            Error::new(ErrorKind::Unavailable, "the server could not be reached")
                .with_retry(Retry::After(Duration::ZERO))
        };
        let limit = self.policy.connect_timeout;
        let addresses = self.env.timeout(limit, self.addresses(to)).await.ok_or_else(unreached)??;
        let share = limit / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let mut last = unreached();
        for address in addresses {
            match self.env.timeout(share, TcpStream::connect(address)).await {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last = unreached().with_source(error),
                None => {}
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::net::IpAddr;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use tokio::net::TcpListener;
    use url::Url;

    use super::super::forbidden::forbidden_urls;
    use super::super::{Network, is_global};
    use super::*;

    const PUBLIC: &str = "93.184.216.34";

    /// What names lead to, answer by answer, and how many were given.
    #[derive(Debug, Default)]
    struct Names(Mutex<(VecDeque<Vec<IpAddr>>, usize)>);

    impl Names {
        fn new(answers: &[&[&str]]) -> Arc<Self> {
            let of = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
            Arc::new(Self(Mutex::new((answers.iter().map(of).collect(), 0))))
        }
    }

    #[async_trait]
    impl Resolver for Names {
        async fn resolve(&self, _: &str) -> Result<Vec<IpAddr>> {
            let mut state = self.0.lock().unwrap();
            state.1 += 1;
            Ok(state.0.pop_front().unwrap_or_default())
        }
    }

    fn dialer(policy: EgressPolicy, names: Arc<Names>) -> Dialer {
        Dialer::new(policy, names, Env::default())
    }

    fn mail(host: &str, port: u16) -> Destination {
        Destination::new(host, port).unwrap().usual_ports(&[25, 465, 587])
    }

    fn loopback() -> EgressPolicy {
        EgressPolicy::default().network(Network::new("this machine", &["127.77.0.0/16"]).unwrap())
    }

    #[tokio::test]
    async fn hosts_of_forbidden_urls_are_refused_before_and_when_they_are_dialled() {
        let mut refused = 0;
        for url in forbidden_urls() {
            let Ok(url) = Url::parse(url) else { continue };
            let Some(host) = url.host_str().filter(|host| !host.starts_with("example.com")) else { continue };
            let Ok(to) = Destination::new(host.trim_matches(['[', ']']), 465).or(Destination::new(host, 465))
            else {
                continue;
            };
            let to = to.usual_ports(&[465]);
            refused += 1;
            let error = EgressPolicy::default().check_destination(&to).expect_err(url.as_str());
            assert_eq!(error.kind(), ErrorKind::Blocked, "{url}: {error:?}");
            // Whatever a name says now.
            let error = dialer(EgressPolicy::default(), Names::new(&[&["127.0.0.1"]]))
                .connect(&to)
                .await
                .expect_err(url.as_str());
            assert_eq!(error.kind(), ErrorKind::Blocked, "{url}: {error:?}");
        }
        assert!(refused >= 40, "{refused}");
        for bad in ["", " ", "a b", "a/b", "a@b", "a:25", "[::1", "a\r\nb", "exa\u{0}mple.com"] {
            assert_eq!(Destination::new(bad, 25).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:?}");
        }
        assert_eq!(Destination::new("example.com", 0).unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn odd_ports_and_plain_connections_are_for_networks_that_allow_them() {
        let outside = EgressPolicy::default();
        let office = |change: fn(Network) -> Network| {
            EgressPolicy::default().network(change(Network::new("office", &["10.1.0.0/16"]).unwrap()))
        };
        let strict = office(|office| office);
        let (ports, plain) = (office(Network::any_port), office(Network::plain_http));
        for (to, allowed) in [
            (mail("example.com", 465), [true, true, true, true]),
            (mail("8.8.8.8", 587), [true, true, true, true]),
            (mail("8.8.8.8", 5432), [false, false, false, false]),
            (mail("8.8.8.8", 25).plain(), [false, false, false, false]),
            (mail("10.1.0.9", 25), [false, true, true, true]),
            (mail("10.1.0.9", 26), [false, false, true, false]),
            (mail("10.1.0.9", 25).plain(), [false, false, false, true]),
            (mail("::ffff:10.1.0.9", 25), [false, true, true, true]),
            (mail("10.2.0.9", 25), [false, false, false, false]),
            // Without a list of its own a protocol has no usual port.
            (Destination::new("example.com", 443).unwrap(), [false, false, true, false]),
        ] {
            for (policy, allowed) in [&outside, &strict, &ports, &plain].into_iter().zip(allowed) {
                assert_eq!(policy.check_destination(&to).is_ok(), allowed, "{to:?} under {policy:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_connection_goes_to_what_was_checked_and_nobody_is_asked_twice() {
        for answers in [
            &[&["127.0.0.1"][..]][..],
            &[&[PUBLIC, "127.0.0.1"]],
            &[&["127.77.0.1", PUBLIC]],
            &[&["::ffff:127.0.0.1"]],
            &[&["64:ff9b::7f00:1"]],
            &[&[]],
        ] {
            for policy in [EgressPolicy::default(), loopback()] {
                let names = Names::new(answers);
                let error =
                    dialer(policy, names.clone()).connect(&mail("rebind.example", 465)).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Blocked, "{answers:?}: {error:?}");
                assert_eq!(names.0.lock().unwrap().1, 1);
            }
        }
        assert!(is_global(PUBLIC.parse().unwrap()));
        let outside = dialer(EgressPolicy::default(), Names::new(&[&[PUBLIC]]));
        let found = outside.addresses(&mail("a.example", 25)).await.unwrap();
        assert_eq!(found, [SocketAddr::new(PUBLIC.parse().unwrap(), 25)]);
        // A second answer would lead elsewhere; it is not asked for. The first address is nobody's, the second one answers.
        let listener = TcpListener::bind("127.77.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let names = Names::new(&[&["127.77.0.2", "127.77.0.1"], &["127.0.0.1"]]);
        let open = EgressPolicy::default()
            .network(Network::new("this machine", &["127.77.0.0/16"]).unwrap().any_port().plain_http());
        let to = mail("Mail.Example.", port).plain();
        let stream = dialer(open.clone(), names.clone()).connect(&to).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
        assert_eq!((to.host(), names.0.lock().unwrap().1), ("mail.example".to_owned(), 1));
        drop(listener);
        let error = dialer(open, Names::new(&[&["127.77.0.1"]])).connect(&to).await.unwrap_err();
        assert!(error.is(ErrorKind::Unavailable) && error.retry() != Retry::Never, "{error:?}");
    }
}
