use crate::error::ErrorKind;

use super::forbidden::forbidden_urls;
use super::*;

#[test]
fn forms_of_forbidden_destinations_are_refused() {
    let policy = EgressPolicy::default();
    for url in forbidden_urls() {
        let error = policy.check(url).expect_err(url);
        assert_eq!(error.kind(), ErrorKind::Blocked, "{url}: {error:?}");
    }
    for url in [
        "",
        "example.com",
        "/path",
        "//example.com/",
        "https://",
        "https://[::1",
        "https://a b.com/",
        "https://exa mple",
    ] {
        let error = policy.check(url).expect_err(url);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}: {error:?}");
    }
}

#[test]
fn the_internet_is_reached() {
    let policy = EgressPolicy::default();
    for url in [
        "https://example.com",
        "https://example.com:443/x?y#z",
        "https://EXAMPLE.com./",
        "https://bücher.example/",
        "https://8.8.8.8/",
        "https://134744072/",
        "https://[2606:4700::1111]/",
        "https://[64:ff9b::8.8.8.8]/",
        "https://notlocalhost.com/",
        "https://internal.example.com/",
    ] {
        policy.check(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    }
}

#[test]
fn a_network_is_entered_by_what_it_allows_only() {
    let office = Network::new("office", &["10.1.0.0/16", "fd00:1::/32"]).unwrap();
    assert_eq!(office.name(), "office");
    let strict = EgressPolicy::default().network(office.clone());
    let wide = EgressPolicy::default().network(office.plain_http().any_port());
    for (url, into_strict, into_wide) in [
        ("https://10.1.2.3/", true, true),
        ("https://[::ffff:10.1.2.3]/", true, true),
        ("https://[fd00:1::9]/", true, true),
        ("http://10.1.2.3/", false, true),
        ("https://10.1.2.3:8443/", false, true),
        ("http://10.1.2.3:8080/", false, true),
        ("https://10.2.0.1/", false, false),
        ("https://[fd00:2::9]/", false, false),
        ("https://127.0.0.1/", false, false),
        // What is allowed in the office is not allowed on the internet.
        ("http://8.8.8.8/", false, false),
        ("https://8.8.8.8:8443/", false, false),
        ("https://8.8.8.8/", true, true),
        ("https://user@10.1.2.3/", false, false),
    ] {
        for (policy, expected) in [(&strict, into_strict), (&wide, into_wide)] {
            assert_eq!(policy.check(url).is_ok(), expected, "{url}");
        }
    }
    for bad in ["10.1.0.0/33", "office", "", "10.1.0.0-10.2.0.0"] {
        let error = Network::new("office", &[bad]).unwrap_err();
        assert!(error.is(ErrorKind::InvalidInput) && error.message().contains("office"), "{error:?}");
    }
}

#[test]
fn one_address_that_may_not_be_reached_closes_the_door_to_the_others() {
    let policy = EgressPolicy::default().network(Network::new("office", &["10.1.0.0/16"]).unwrap());
    let target = policy.target("https://example.com/").unwrap();
    let admitted = |addresses: &[&str]| {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        policy.admit(&target.to, &addresses).ok()
    };
    assert_eq!(admitted(&["8.8.8.8", "2606:4700::1111"]), Some(Admission::Internet));
    assert_eq!(admitted(&["10.1.0.1", "10.1.255.1"]), Some(Admission::Network(0)));
    for mixed in
        [&["8.8.8.8", "127.0.0.1"][..], &["8.8.8.8", "10.1.0.1"], &["10.1.0.1", "10.2.0.1"], &["::1"], &[]]
    {
        assert_eq!(admitted(mixed), None, "{mixed:?}");
    }
}

#[cfg(feature = "http-reqwest")]
mod guarded {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use bytes::Bytes;
    use futures_util::StreamExt as _;
    use http::{Method, Request, Response};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::clock::{Env, ManualClock, SeededEntropy, Timestamp};
    use crate::http::{BodyStream, HttpTransport as _};

    /// Answers with the next of its lists, the last one for ever.
    #[derive(Debug)]
    struct Names(Mutex<VecDeque<Vec<IpAddr>>>);

    impl Names {
        fn new(answers: &[&[&str]]) -> Arc<Self> {
            let of = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
            Arc::new(Self(Mutex::new(answers.iter().map(of).collect())))
        }
    }

    #[async_trait]
    impl Resolver for Names {
        async fn resolve(&self, _: &str) -> Result<Vec<IpAddr>> {
            let mut answers = self.0.lock().unwrap();
            Ok(if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() })
        }
    }

    /// A server that answers each connection by what its path is.
    struct Server {
        port: u16,
        /// The heads of the requests that came.
        heads: Arc<Mutex<Vec<String>>>,
    }

    impl Server {
        async fn start() -> Self {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let heads = Arc::new(Mutex::new(Vec::new()));
            let seen = heads.clone();
            tokio::spawn(async move {
                while let Ok((mut client, _)) = listener.accept().await {
                    let seen = seen.clone();
                    tokio::spawn(async move {
                        let mut head = Vec::new();
                        while !head.ends_with(b"\r\n\r\n") {
                            if client.read_buf(&mut head).await.unwrap_or(0) == 0 {
                                return;
                            }
                        }
                        let head = String::from_utf8(head).unwrap();
                        let path = head.split(' ').nth(1).unwrap().to_owned();
                        seen.lock().unwrap().push(head);
                        let _ = answer(&mut client, &path).await;
                    });
                }
            });
            Self { port, heads }
        }

        fn url(&self, path: &str) -> String {
            format!("http://127.0.0.1:{}{path}", self.port)
        }

        fn heads(&self) -> Vec<String> {
            self.heads.lock().unwrap().clone()
        }
    }

    async fn answer(client: &mut tokio::net::TcpStream, path: &str) -> std::io::Result<()> {
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n";
        if let Some(to) = path.strip_prefix("/to/") {
            let text = format!(
                "HTTP/1.1 302 Found\r\nconnection: close\r\ncontent-length: 0\r\nlocation: {to}\r\n\r\n"
            );
            return client.write_all(text.as_bytes()).await;
        }
        match path {
            "/endless" => {
                client.write_all(format!("{head}\r\n").as_bytes()).await?;
                loop {
                    client.write_all(&[b'x'; 4096]).await?;
                }
            }
            "/huge" => {
                client.write_all(format!("{head}content-length: 1000000000\r\n\r\nx").as_bytes()).await?
            }
            "/silent" => {
                client.write_all(format!("{head}\r\nfirst").as_bytes()).await?;
                std::future::pending::<()>().await;
            }
            "/mute" => std::future::pending::<()>().await,
            "/round" => {
                let text = "HTTP/1.1 307 Again\r\nconnection: close\r\ncontent-length: 0\r\nlocation: /round\r\n\r\n";
                client.write_all(text.as_bytes()).await?;
            }
            _ => client.write_all(format!("{head}content-length: 2\r\n\r\nok").as_bytes()).await?,
        }
        client.shutdown().await
    }

    fn loopback() -> EgressPolicy {
        let machine = Network::new("this machine", &["127.0.0.1"]).unwrap();
        EgressPolicy::default().network(machine.plain_http().any_port())
    }

    fn transport(policy: EgressPolicy) -> GuardedTransport {
        GuardedTransport::new(policy, Env::default()).unwrap()
    }

    fn get(url: &str) -> Request<Bytes> {
        Request::builder().uri(url).body(Bytes::new()).unwrap()
    }

    async fn whole(response: Response<BodyStream>) -> Result<Vec<u8>> {
        let mut body = response.into_body();
        let mut whole = Vec::new();
        while let Some(piece) = body.next().await {
            whole.extend(piece?);
        }
        Ok(whole)
    }

    async fn kind(transport: &GuardedTransport, url: &str) -> ErrorKind {
        match transport.send(get(url)).await {
            Ok(response) => whole(response).await.expect_err(url).kind(),
            Err(error) => error.kind(),
        }
    }

    #[tokio::test]
    async fn what_a_name_leads_to_is_checked_and_nobody_is_asked_twice() {
        let server = Server::start().await;
        for answers in
            [&[&["127.0.0.1"][..]][..], &[&["93.184.216.34", "127.0.0.1"]], &[&["::ffff:127.0.0.1"]], &[&[]]]
        {
            let plain =
                GuardedTransport::with_resolver(EgressPolicy::default(), Env::default(), Names::new(answers));
            assert_eq!(
                kind(&plain.unwrap(), "https://rebind.example/").await,
                ErrorKind::Blocked,
                "{answers:?}"
            );
        }
        // A name that is public when it is looked at and private when it is connected to.
        for (first, second) in [("93.184.216.34", "127.0.0.1"), ("127.0.0.1", "10.0.0.1")] {
            let names = Names::new(&[&[first], &[second]]);
            let url = if first == "127.0.0.1" {
                format!("http://rebind.example:{}/", server.port)
            } else {
                "https://rebind.example/".to_owned()
            };
            let guarded = GuardedTransport::with_resolver(loopback(), Env::default(), names).unwrap();
            assert_eq!(kind(&guarded, &url).await, ErrorKind::Blocked, "{first}, then {second}");
        }
        assert_eq!(server.heads(), [] as [&str; 0]);
        let named =
            GuardedTransport::with_resolver(loopback(), Env::default(), Names::new(&[&["127.0.0.1"]]))
                .unwrap();
        let response = named.send(get(&format!("http://named.example:{}/", server.port))).await.unwrap();
        assert_eq!(whole(response).await.unwrap(), b"ok");
        assert!(server.heads()[0].contains("host: named.example"), "{:?}", server.heads());
    }

    #[tokio::test]
    async fn every_hop_is_checked() {
        let server = Server::start().await;
        let transport = transport(loopback());
        for to in [
            "http://169.254.169.254/latest/",
            "http://127.0.0.2/",
            "http://2130706434/",
            "https://[::1]/",
            "//10.0.0.1/",
            "http://user@127.0.0.1/",
            "file:///etc/passwd",
            "gopher://127.0.0.1/",
        ] {
            assert_eq!(kind(&transport, &server.url(&format!("/to/{to}"))).await, ErrorKind::Blocked, "{to}");
        }
        assert_eq!(kind(&transport, &server.url("/round")).await, ErrorKind::Blocked);
        assert_eq!(server.heads().len(), 8 + 6, "five hops of a circle were followed");
        let response = transport.send(get(&server.url("/to//here"))).await.unwrap();
        assert_eq!(whole(response).await.unwrap(), b"ok");
        // Somebody who changes something is told, and decides.
        let mut change = get(&server.url("/to//here"));
        *change.method_mut() = Method::POST;
        assert_eq!(transport.send(change).await.unwrap().status(), 302);
    }

    #[tokio::test]
    async fn who_sends_a_request_is_nobody_elses_business() {
        let (first, second) = (Server::start().await, Server::start().await);
        let transport = transport(loopback());
        for to in ["/here".to_owned(), second.url("/there")] {
            let mut request = get(&first.url(&format!("/to/{to}")));
            let mut key = http::HeaderValue::from_static("key-1");
            key.set_sensitive(true);
            request.headers_mut().insert("x-api-key", key);
            for (name, value) in [
                ("authorization", "Bearer one"),
                ("cookie", "a=b"),
                ("x-plain", "yes"),
                ("host", "other.example"),
            ] {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
            transport.send(request).await.unwrap();
        }
        let said = |head: &String| {
            ["authorization", "cookie", "x-api-key", "x-plain"]
                .map(|name| head.contains(&format!("\r\n{name}:")))
        };
        let all: Vec<_> = first.heads().iter().chain(&second.heads()).map(said).collect();
        let mine = [true; 4];
        assert_eq!(all, [mine, mine, mine, [false, false, false, true]]);
        assert!(!first.heads().concat().contains("other.example"));
    }

    #[tokio::test]
    async fn a_response_ends_at_the_limit() {
        let server = Server::start().await;
        let mut policy = loopback();
        policy.max_response_bytes = 100_000;
        let transport = transport(policy);
        assert_eq!(kind(&transport, &server.url("/huge")).await, ErrorKind::TooLarge);
        let mut body = transport.send(get(&server.url("/endless"))).await.unwrap().into_body();
        let (mut taken, mut end) = (0, None);
        while let Some(piece) = body.next().await
            && taken < 1_000_000
        {
            match piece {
                Ok(piece) => taken += piece.len(),
                Err(error) => end = Some(error.kind()),
            }
        }
        assert!(taken <= 100_000 && end == Some(ErrorKind::TooLarge), "{taken} {end:?}");
    }

    #[tokio::test]
    async fn whoever_is_slow_is_left_at_the_deadline() {
        let server = Server::start().await;
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        let env = Env::new(clock.clone(), Arc::new(SeededEntropy::new(7)));
        let transport = GuardedTransport::new(loopback(), env).unwrap();
        for path in ["/mute", "/silent"] {
            let (transport, url) = (transport.clone(), server.url(path));
            let before = server.heads().len();
            let waits = tokio::spawn(async move { kind(&transport, &url).await });
            let left = async {
                while server.heads().len() == before {
                    tokio::task::yield_now().await;
                }
                while !waits.is_finished() {
                    clock.advance(Duration::from_secs(10));
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), left).await.expect("it waits for ever");
            assert_eq!(waits.await.unwrap(), ErrorKind::DeadlineExceeded, "{path}");
        }
    }
}
