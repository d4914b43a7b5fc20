//! A mail server on the loopback, which does as a test says and remembers what it was told.

use std::sync::{Arc, Mutex};

use agentprovision_core::Env;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// How the server encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encrypts {
    Never,
    FromTheStart,
    WhenAsked,
}

/// What the server does otherwise than it should.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// What it answers to commands that begin so, so many times.
    pub(crate) says: Vec<(&'static str, &'static str, usize)>,
    /// It goes away instead of answering to the end of a message, which it has.
    pub(crate) leaves: bool,
    /// What it says in the clear behind its answer to STARTTLS.
    pub(crate) injects: &'static str,
    /// The ways to prove who sends that it offers; `PLAIN LOGIN` where empty.
    pub(crate) ways: &'static str,
}

/// What the server was told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) connections: usize,
    /// Those that are there now.
    pub(crate) open: usize,
    /// Commands, those within TLS behind a `*`.
    pub(crate) commands: Vec<String>,
    pub(crate) messages: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct MailServer {
    pub(crate) port: u16,
    /// Its certificate in PEM.
    pub(crate) certificate: String,
    pub(crate) plan: Arc<Mutex<Plan>>,
    pub(crate) told: Arc<Mutex<Told>>,
    encrypts: Encrypts,
}

/// The settings of a server with a certificate for this name, and the certificate.
pub(crate) fn certified(name: &str) -> (Arc<ServerConfig>, String) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (Arc::new(config), made.cert.pem())
}

impl MailServer {
    /// Starts on an address, with a certificate for a name.
    pub(crate) async fn start(address: &str, name: &str, encrypts: Encrypts) -> Self {
        let (config, certificate) = certified(name);
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self { port, certificate, plan: Arc::default(), told: Arc::default(), encrypts };
        let serving = server.clone();
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(config);
            while let Ok((tcp, _)) = listener.accept().await {
                let (server, acceptor) = (serving.clone(), acceptor.clone());
                {
                    let mut told = server.told.lock().unwrap();
                    told.connections += 1;
                    told.open += 1;
                }
                tokio::spawn(async move {
                    let talk = async {
                        if server.encrypts == Encrypts::FromTheStart {
                            let tls = acceptor.accept(tcp).await.ok()?;
                            return server.talk(BufReader::new(tls), true, true).await.map(drop);
                        }
                        let tcp = server.talk(BufReader::new(tcp), false, true).await?;
                        let tls = acceptor.accept(tcp.into_inner()).await.ok()?;
                        server.talk(BufReader::new(tls), true, false).await.map(drop)
                    };
                    let _ = Env::default().timeout(std::time::Duration::from_secs(30), talk).await;
                    server.told.lock().unwrap().open -= 1;
                });
            }
        });
        server
    }

    /// What it answers to a command instead of what it should.
    fn planned(&self, command: &str) -> Option<&'static str> {
        let mut plan = self.plan.lock().unwrap();
        let found =
            plan.says.iter_mut().find(|(begins, _, left)| *left > 0 && command.starts_with(begins))?;
        found.2 -= 1;
        Some(found.1)
    }

    /// Answers until the client leaves, or asks for encryption: then the stream comes back.
    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: BufReader<S>,
        encrypted: bool,
        greet: bool,
    ) -> Option<BufReader<S>> {
        if greet {
            let greeting = self.planned("").unwrap_or("220-mail.example says hello\r\n220 and is ready");
            stream.get_mut().write_all(format!("{greeting}\r\n").as_bytes()).await.ok()?;
        }
        let mut login = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_owned();
            let mark = if encrypted { "*" } else { "" };
            self.told.lock().unwrap().commands.push(format!("{mark}{line}"));
            let word = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let planned = self.planned(&line);
            let answer = match (planned, &*word) {
                (Some(answer), _) => answer.to_owned(),
                (None, "EHLO") => {
                    let ways = match self.plan.lock().unwrap().ways {
                        "" => "PLAIN LOGIN",
                        ways => ways,
                    };
                    let starttls = match (self.encrypts, encrypted) {
                        (Encrypts::WhenAsked, false) => "250-STARTTLS\r\n",
                        _ => "",
                    };
                    format!("250-mail.example at your service\r\n250-SIZE 10000\r\n{starttls}250 AUTH {ways}")
                }
                (None, "STARTTLS") => {
                    let injected = self.plan.lock().unwrap().injects;
                    let answer = format!("220 go ahead\r\n{injected}");
                    stream.get_mut().write_all(answer.as_bytes()).await.ok()?;
                    return Some(stream);
                }
                (None, "AUTH") if line == "AUTH LOGIN" => {
                    login = 2;
                    format!("334 {}", STANDARD.encode("Username:"))
                }
                (None, _) if login > 0 => {
                    login -= 1;
                    if login == 0 { "235 2.7.0 welcome".into() } else { "334 UGFzc3dvcmQ6".into() }
                }
                (None, "AUTH") => "235 2.7.0 welcome".into(),
                (None, "DATA") => {
                    stream.get_mut().write_all(b"354 go on\r\n").await.ok()?;
                    let message = Self::message(&mut stream).await?;
                    self.told.lock().unwrap().messages.push(message);
                    if self.plan.lock().unwrap().leaves {
                        return None;
                    }
                    self.planned(".").unwrap_or("250 2.0.0 queued as 7").to_owned()
                }
                (None, "MAIL" | "RCPT" | "NOOP") => "250 2.1.0 fine".into(),
                (None, "QUIT") => "221 bye".into(),
                (None, _) => "500 5.5.2 what".into(),
            };
            stream.get_mut().write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
            stream.get_mut().flush().await.ok()?;
        }
    }

    /// A message up to the line that ends it, dots taken away.
    async fn message<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Option<String> {
        let mut message = String::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            assert!(line.ends_with("\r\n"), "a line of a message does not end as lines do");
            match line.strip_prefix('.') {
                Some("\r\n") => return Some(message),
                Some(rest) => message.push_str(rest),
                None => message.push_str(&line),
            }
        }
    }

    pub(crate) fn commands(&self) -> Vec<String> {
        self.told.lock().unwrap().commands.clone()
    }

    pub(crate) fn messages(&self) -> Vec<String> {
        self.told.lock().unwrap().messages.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.told.lock().unwrap().connections
    }
}
