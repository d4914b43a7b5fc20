//! A database with an account of its own on the server for tests, and what stands between it and a connector.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use agentprovision_connectors::NewIntegration;
use agentprovision_connectors::builtin::postgres;
use agentprovision_core::integration::Integration;
use agentprovision_core::{Env, Result};
use rcgen::generate_simple_self_signed;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::world::World;

/// Names a PostgreSQL server for tests; `cargo xtask test` starts one.
pub(crate) const SERVER: &str = "AGENTPROVISION_TEST_POSTGRES_URL";

/// What the account proves itself with.
pub(crate) const PASSWORD: &str = "canary-password";

pub(crate) struct Database {
    pub(crate) world: World,
    /// Of the database and of the account that owns it.
    pub(crate) name: String,
    /// A superuser in the database.
    pub(crate) admin: Client,
    server: Config,
    pub(crate) address: (String, u16),
}

/// What loses answers.
pub(crate) struct Losing {
    pub(crate) port: u16,
    /// How many have connected.
    pub(crate) came: Arc<AtomicUsize>,
    /// How many of them it has left alone.
    pub(crate) lost: Arc<AtomicUsize>,
}

impl Losing {
    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }

    /// Carries out work: time goes on only while nobody is connected.
    pub(crate) async fn run<T>(&self, world: &World, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            if let Poll::Ready(done) = futures_util::poll!(&mut work) {
                return done;
            }
            tokio::task::yield_now().await;
            tokio::task::spawn_blocking(std::thread::yield_now).await.unwrap();
            if self.lost() > 0 && self.came.load(Ordering::SeqCst) == self.lost() {
                world.clock.advance(Duration::from_millis(50));
            }
        }
    }
}

fn server() -> (Config, (String, u16)) {
    let config: Config = std::env::var(SERVER).unwrap().parse().unwrap();
    let Some(Host::Tcp(host)) = config.get_hosts().first().cloned() else { panic!("{SERVER} names no host") };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    (config, (host, port))
}

async fn connect(config: &Config, address: &(String, u16)) -> Client {
    let tcp = TcpStream::connect((address.0.as_str(), address.1)).await.unwrap();
    let (client, connection) = config.connect_raw(tcp, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl Database {
    pub(crate) async fn new() -> Self {
        let name = format!("connector_{}", hex::encode(Env::default().random::<8>()));
        let (mut config, address) = server();
        let root = connect(&config, &address).await;
        for statement in [
            format!("CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'"),
            format!("CREATE DATABASE {name} OWNER {name}"),
        ] {
            root.batch_execute(&statement).await.unwrap();
        }
        let admin = connect(config.dbname(&name), &address).await;
        let world = World::of(postgres::connector().unwrap()).await;
        Self { world, name, admin, server: server().0, address }
    }

    /// Takes everything away again.
    pub(crate) async fn drop(self) {
        let root = connect(&self.server, &self.address).await;
        drop(self.admin);
        root.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await.unwrap();
        root.batch_execute(&format!("DROP ROLE {}", self.name)).await.unwrap();
    }

    /// An integration with it; `settings` over those that reach it without encryption.
    pub(crate) async fn try_integration(&self, settings: Value, password: &str) -> Result<Integration> {
        let mut all = json!({
            "host": self.address.0, "port": self.address.1, "database": self.name, "tls": "off", "writable": true,
        });
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let credentials = json!({ "username": self.name, "password": password });
        let new = NewIntegration {
            name: hex::encode(Env::default().random::<8>()),
            connector: "postgres".into(),
            auth: None,
            settings: all.as_object().unwrap().clone(),
            credentials: credentials.as_object().unwrap().clone(),
        };
        self.world.integrations.create(&self.world.ctx, new).await
    }

    pub(crate) async fn integration(&self, settings: Value) -> Integration {
        self.try_integration(settings, PASSWORD).await.unwrap()
    }

    pub(crate) async fn query(&self, of: &Integration, sql: &str, params: Value) -> Result<Value> {
        self.world.invoke(of, "query", json!({ "sql": sql, "params": params })).await
    }

    pub(crate) async fn execute(&self, of: &Integration, sql: &str, params: Value) -> Result<Value> {
        self.world.invoke(of, "execute", json!({ "sql": sql, "params": params })).await
    }

    /// The one value of a query of the administrator's.
    pub(crate) async fn value(&self, sql: &str) -> i64 {
        self.admin.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// A port before the server that speaks TLS, with a certificate for a name; and the certificate.
    pub(crate) async fn behind_tls(&self, name: &str) -> (u16, String) {
        let made = generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, to) = (listener.local_addr().unwrap().port(), self.address.clone());
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let (acceptor, to) = (acceptor.clone(), to.clone());
                tokio::spawn(async move {
                    let mut asked = [0; 8];
                    tcp.read_exact(&mut asked).await.ok()?;
                    assert_eq!(asked, [0, 0, 0, 8, 4, 210, 22, 47]);
                    tcp.write_all(b"S").await.ok()?;
                    let mut tls = acceptor.accept(tcp).await.ok()?;
                    let mut server = TcpStream::connect((to.0.as_str(), to.1)).await.ok()?;
                    copy_bidirectional(&mut tls, &mut server).await.ok()
                });
            }
        });
        (port, made.cert.pem())
    }

    /// A port before the server that lets a client's message with these bytes through and then goes away.
    pub(crate) async fn losing_answers_to(&self, message: &'static [u8]) -> Losing {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, to) = (listener.local_addr().unwrap().port(), self.address.clone());
        let (came, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let losing = Losing { port, came: came.clone(), lost: lost.clone() };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                came.fetch_add(1, Ordering::SeqCst);
                let (to, counted) = (to.clone(), lost.clone());
                tokio::spawn(async move {
                    let server = TcpStream::connect((to.0.as_str(), to.1)).await.ok()?;
                    let (mut from, mut back) = client.into_split();
                    let (mut answers, mut asked) = server.into_split();
                    let mut answering =
                        tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
                    let mut bytes = vec![0; 64 * 1024];
                    loop {
                        let read = from.read(&mut bytes).await.ok()?;
                        if read == 0 {
                            return None::<()>;
                        }
                        let found = bytes[..read].windows(message.len()).any(|part| part == message);
                        if found {
                            // Nothing comes back from here on, and the server ends in peace.
                            answering.abort();
                            let _ = (&mut answering).await;
                        }
                        asked.write_all(&bytes[..read]).await.ok()?;
                        if found {
                            counted.fetch_add(1, Ordering::SeqCst);
                            asked.shutdown().await.ok()?;
                            return None;
                        }
                    }
                });
            }
        });
        losing
    }
}
