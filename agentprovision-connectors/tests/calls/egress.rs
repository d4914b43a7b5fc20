//! Every place at which a tenant, a vendor or a document can name a URL, held against every form of a URL that leads where
//! nobody from outside may go.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentprovision_connectors::auth::{Auth, Grant, OAuth2};
use agentprovision_connectors::builtin::http;
use agentprovision_connectors::layers::RetryOptions;
use agentprovision_connectors::openapi::Import;
use agentprovision_connectors::{
    CallOptions, Catalog, Connector, IntegrationUpdate, Integrations, IntegrationsParts, NewIntegration,
};
use agentprovision_core::access::Access;
use agentprovision_core::authz::ContextAuthorizer;
use agentprovision_core::backend::Backend as _;
use agentprovision_core::http::HttpTransport;
use agentprovision_core::http::egress::{EgressPolicy, GuardedTransport, Network, Resolver};
use agentprovision_core::integration::{Integration, IntegrationQuery};
use agentprovision_core::testing::{ClearSecrets, forbidden_urls};
use agentprovision_core::{Env, Error, ErrorKind, Result};
use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, Response, Uri, header::LOCATION};
use serde_json::{Map, Value, json};

use super::world::{World, connector};

/// An address of this machine that a policy lets requests to; all others of it stay closed.
pub(crate) const OPEN: &str = "127.77.0.1";

/// What names lead to: the next answer of a list, the last one for ever.
#[derive(Debug)]
pub(crate) struct Names(Mutex<VecDeque<Vec<IpAddr>>>);

impl Names {
    pub(crate) fn new(answers: &[&[&str]]) -> Arc<Self> {
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

/// A server on an address, which sends everybody to where the query says, and remembers who came.
#[derive(Clone)]
struct Server {
    url: String,
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(address: &str) -> Self {
        async fn answer(State(seen): State<Arc<Mutex<Vec<String>>>>, uri: Uri) -> Response<String> {
            seen.lock().unwrap().push(uri.to_string());
            let mut query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
            match query.find(|(name, _)| name == "to") {
                Some((_, to)) => {
                    let mut response = Response::builder().status(302).body(String::new()).unwrap();
                    response.headers_mut().insert(LOCATION, HeaderValue::from_bytes(to.as_bytes()).unwrap());
                    response
                }
                None => Response::new(r#"{"inner":true}"#.to_owned()),
            }
        }
        let listener = tokio::net::TcpListener::bind((address, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let router = Router::new().fallback(answer).with_state(seen.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url: format!("http://{address}:{port}"), port, seen }
    }

    fn seen(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

/// A tenant under a policy.
pub(crate) struct Tenant {
    pub(crate) world: World,
    pub(crate) integrations: Integrations,
    transport: Arc<dyn HttpTransport>,
}

impl Tenant {
    pub(crate) async fn new(
        policy: EgressPolicy,
        names: Arc<dyn Resolver>,
        connectors: Vec<Connector>,
    ) -> Self {
        let world = World::new().await;
        let stores = world.db.stores();
        let mut catalog = Catalog::default();
        connectors.into_iter().for_each(|connector| catalog.add(connector).unwrap());
        let transport: Arc<dyn HttpTransport> =
            Arc::new(GuardedTransport::with_resolver(policy.clone(), Env::default(), names.clone()).unwrap());
        let integrations = Integrations::new(IntegrationsParts {
            catalog,
            store: stores.integrations.clone(),
            secrets: Arc::new(ClearSecrets::new(stores.secrets.clone())),
            idempotency: stores.idempotency.clone(),
            transport: transport.clone(),
            egress: policy,
            resolver: names,
            access: Access::new(world.issuer.clone(), Arc::new(ContextAuthorizer)),
            writer: world.writer.clone(),
            policies: Vec::new(),
            retry: RetryOptions::default(),
            apps: Default::default(),
        });
        Self { world, integrations, transport }
    }

    /// As by default: the internet, and nothing else.
    pub(crate) async fn outside(connectors: Vec<Connector>) -> Self {
        Self::new(EgressPolicy::default(), Names::new(&[&["127.0.0.1"]]), connectors).await
    }

    /// With one address of this machine open.
    pub(crate) async fn beside(names: Arc<dyn Resolver>, connectors: Vec<Connector>) -> Self {
        let open = Network::new("open", &[OPEN]).unwrap().plain_http().any_port();
        Self::new(EgressPolicy::default().network(open), names, connectors).await
    }

    async fn create(&self, connector: &str, auth: &str, settings: Value) -> Result<Integration> {
        let credentials = match auth {
            "client" => json!({ "client_id": "c", "client_secret": "canary-secret" }),
            "code" | "none" => json!({}),
            _ => json!({ "token": "canary-token" }),
        };
        let new = NewIntegration {
            name: "one".into(),
            connector: connector.into(),
            auth: Some(auth.into()),
            settings: object(settings),
            credentials: object(credentials),
        };
        self.integrations.create(&self.world.ctx, new).await
    }

    pub(crate) async fn invoke(&self, of: &Integration, operation: &str, input: Value) -> Result<Value> {
        let call = self.integrations.invoke(
            &self.world.ctx,
            of.id,
            operation,
            object(input),
            CallOptions::default(),
        );
        self.world.run(call).await
    }

    pub(crate) async fn nothing_is_left(&self) {
        let left = self.integrations.list(&self.world.ctx, IntegrationQuery::default()).await.unwrap();
        assert!(left.items.is_empty(), "{:?}", left.items);
    }
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// A connector without anything but an operation, whose host is a setting.
fn site(auth: Auth) -> Connector {
    Connector::builder("site", "https://{host}/api")
        .setting("host", "The host.")
        .auth(auth)
        .operations(super::world::operations())
        .build()
        .unwrap()
}

/// An OpenAPI document with a server, and a URL that tokens come from.
fn document(server: &str, token_url: &str) -> String {
    json!({
        "openapi": "3.1.0",
        "servers": [{ "url": server }],
        "paths": { "/things": { "get": { "security": [{ "client": [] }, { "token": [] }] } } },
        "components": { "securitySchemes": {
            "client": { "type": "oauth2", "flows": { "clientCredentials": { "tokenUrl": token_url, "scopes": {} } } },
            "token": { "type": "http", "scheme": "bearer" },
        } },
    })
    .to_string()
}

/// The part of a URL that says the host, as it is written.
pub(crate) fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.trim_start_matches('/').split(['/', '\\']).next().unwrap_or_default()
}

#[test]
fn there_are_enough_forms() {
    assert!(forbidden_urls().len() >= 40, "{}", forbidden_urls().len());
}

#[tokio::test]
async fn pitfall_27_no_base_url_leads_inside() {
    let tenant = Tenant::outside(vec![connector(|desk| desk), http::connector().unwrap()]).await;
    for url in forbidden_urls() {
        for name in ["desk", "http"] {
            let error = tenant.create(name, "token", json!({ "base_url": url })).await.expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Blocked, "{name} {url}: {error:?}");
        }
    }
    tenant.nothing_is_left().await;
    let desk = tenant.create("desk", "token", json!({ "base_url": "https://good.example" })).await.unwrap();
    for url in forbidden_urls() {
        let update =
            IntegrationUpdate { settings: Some(object(json!({ "base_url": url }))), ..Default::default() };
        let error = tenant.integrations.update(&tenant.world.ctx, desk.id, update).await.expect_err(url);
        assert_eq!(error.kind(), ErrorKind::Blocked, "{url}: {error:?}");
    }
    let kept = tenant.integrations.get(&tenant.world.ctx, desk.id).await.unwrap();
    assert_eq!((kept.settings, kept.revision), (desk.settings, desk.revision));
    for odd in ["https://good.example/?to=x", "https://good.example/#x"] {
        let error = tenant.create("http", "token", json!({ "base_url": odd })).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{odd}");
    }
}

#[tokio::test]
async fn pitfall_28_no_setting_that_fills_a_url_leads_inside() {
    let tenant = Tenant::outside(vec![site(Auth::bearer("Token"))]).await;
    let mut refused = 0;
    for url in forbidden_urls().iter().filter(|url| host(url) != "example.com") {
        let error = tenant.create("site", "token", json!({ "host": host(url) })).await.expect_err(url);
        assert!([ErrorKind::Blocked, ErrorKind::InvalidInput].contains(&error.kind()), "{url}: {error:?}");
        refused += 1;
    }
    assert!(refused >= 40, "{refused}");
    // What is no part of a name adds nothing to a URL.
    for host in [
        "good.example/x",
        "good.example:8443",
        "a@good.example",
        "good.example?",
        "good.example#",
        "",
        ".",
        "..",
        "a b",
        "%61",
    ] {
        let error = tenant.create("site", "token", json!({ "host": host })).await.expect_err(host);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{host}");
    }
    tenant.nothing_is_left().await;
    tenant.create("site", "token", json!({ "host": "good.example" })).await.unwrap();
}

#[tokio::test]
async fn pitfall_28_no_url_of_oauth_leads_inside() {
    let oauth = |token: &'static str, authorize: &'static str| OAuth2::new(authorize, token);
    let client = Auth::tokens("client", "Client", Grant::Client(oauth("{+login}/token", "")));
    let code = |token, authorize| Auth::tokens("code", "Browser", Grant::Code(oauth(token, authorize)));
    let with = |auth: Auth, name: &'static str| {
        Connector::builder(name, "https://good.example")
            .setting("login", "Where tokens are.")
            .auth(auth)
            .operations(super::world::operations())
            .build()
            .unwrap()
    };
    let connectors = vec![
        with(client, "client"),
        with(code("{+login}", "https://good.example/authorize"), "code"),
        with(code("https://good.example/token", "{+login}"), "browser"),
        http::connector().unwrap(),
    ];
    let tenant = Tenant::outside(connectors).await;
    for url in forbidden_urls() {
        for (name, auth, setting) in [
            ("client", "client", "login"),
            ("code", "code", "login"),
            ("browser", "code", "login"),
            ("http", "client", "token_url"),
        ] {
            let mut settings = json!({ setting: url });
            if name == "http" {
                settings["base_url"] = json!("https://good.example");
            }
            let error = tenant.create(name, auth, settings).await.expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Blocked, "{name} {url}: {error:?}");
        }
    }
    tenant.nothing_is_left().await;
    let missing =
        tenant.create("http", "client", json!({ "base_url": "https://good.example" })).await.unwrap_err();
    assert!(missing.is(ErrorKind::InvalidInput) && missing.message().contains("`token_url`"), "{missing}");
    // One that may be kept, and leads inside when it is asked.
    let settings = json!({ "base_url": "https://good.example", "token_url": "https://login.example/token" });
    let good = tenant.create("http", "client", settings).await.unwrap();
    let error = tenant.invoke(&good, "request.get", json!({ "path": "/x" })).await.unwrap_err();
    assert!(error.is(ErrorKind::Blocked) && !format!("{error:?}").contains("canary"), "{error:?}");
}

#[tokio::test]
async fn pitfall_28_no_path_leads_to_another_host() {
    let (server, inner) = (Server::start(OPEN).await, Server::start("127.0.0.1").await);
    let tenant = Tenant::beside(Names::new(&[&["127.0.0.1"]]), vec![http::connector().unwrap()]).await;
    let settings = json!({ "base_url": format!("{}/api", server.url) });
    let one = tenant.create("http", "token", settings).await.unwrap();
    let mut paths: Vec<String> = forbidden_urls().iter().map(|url| (*url).to_owned()).collect();
    paths.extend(forbidden_urls().iter().map(|url| format!("//{}", host(url))));
    paths.extend([&inner.url, &format!("//127.0.0.1:{}", inner.port)].map(String::to_owned));
    paths.extend(
        ["/../secret", "/%2e%2e/secret", "\\\\127.0.0.1\\x", "/a/..%2f..%2fsecret"].map(str::to_owned),
    );
    let mut went = 0;
    for path in &paths {
        let before = server.seen();
        match tenant.invoke(&one, "request.get", json!({ "path": path })).await {
            Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path}: {error:?}"),
            // A few are paths by themselves, as `data:text/plain,x`; then they stay under the base.
            Ok(_) => {
                went += 1;
                assert_eq!(server.seen(), before + 1, "{path}");
            }
        }
    }
    assert!(went <= 3, "{went}");
    assert!(server.seen.lock().unwrap().iter().all(|path| path.starts_with("/api/")), "{:?}", server.seen);
    assert_eq!(inner.seen(), 0);
}

#[tokio::test]
async fn pitfall_28_no_document_leads_inside() {
    let outside = Tenant::outside(Vec::new()).await;
    for url in forbidden_urls() {
        let error = Import::new("doc").fetch(&*outside.transport, url).await.expect_err(url);
        assert_eq!(error.kind(), ErrorKind::Blocked, "{url}: {error:?}");
    }
    let (mut unread, mut kept) = (0, 0);
    for url in forbidden_urls() {
        // As a server: a connector that nobody can make an integration of, or none.
        match Import::new("doc").read(document(url, "https://good.example/token")) {
            Err(error) => {
                unread += 1;
                assert!(
                    [ErrorKind::Blocked, ErrorKind::InvalidInput].contains(&error.kind()),
                    "{url}: {error:?}"
                );
            }
            Ok(imported) => {
                let tenant = Tenant::outside(vec![imported.connector]).await;
                let error = tenant.create("doc", "token", json!({})).await.expect_err(url);
                assert_eq!(error.kind(), ErrorKind::Blocked, "{url}: {error:?}");
                tenant.nothing_is_left().await;
            }
        }
        // As where tokens come from: not a way to prove who asks, or one that nobody can use.
        let imported = Import::new("doc").read(document("https://good.example", url)).unwrap();
        if imported.connector.auth.iter().any(|auth| auth.name == "client") {
            kept += 1;
            let tenant = Tenant::outside(vec![imported.connector]).await;
            let error = tenant.create("doc", "client", json!({})).await.expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Blocked, "{url}: {error:?}");
        } else {
            assert_eq!(imported.skipped_auth.len(), 1, "{url}");
        }
    }
    println!("{unread} documents were not read, {kept} token URLs were kept until they were used");
    assert!(unread < 20 && kept > 40, "{unread} {kept}");
}

#[tokio::test]
async fn pitfall_27_no_redirect_leads_inside() {
    let (server, inner) = (Server::start(OPEN).await, Server::start("127.0.0.1").await);
    let document = json!({ "openapi": "3.1.0", "servers": [{ "url": server.url }], "paths": { "/things": { "get": {
        "operationId": "get", "parameters": [{ "name": "to", "in": "query", "schema": { "type": "string" } }],
    } } } });
    let api = Import::new("doc").auth(Auth::bearer("Token")).read(document.to_string()).unwrap().connector;
    let names = Names::new(&[&["127.0.0.1"]]);
    let tenant = Tenant::beside(names, vec![api, http::connector().unwrap()]).await;
    let api = tenant.create("doc", "token", json!({})).await.unwrap();
    let mut places: Vec<String> = forbidden_urls().iter().map(|url| (*url).to_owned()).collect();
    places.push(inner.url.clone());
    places.push(format!("//localhost:{}/", inner.port));
    for to in &places {
        let error = tenant.invoke(&api, "get", json!({ "to": to })).await.expect_err(to);
        assert_eq!(error.kind(), ErrorKind::Blocked, "{to}: {error:?}");
        let from: String = url::form_urlencoded::byte_serialize(to.as_bytes()).collect();
        let from = format!("{}/openapi.json?to={from}", server.url);
        let error = Import::new("other").fetch(&*tenant.transport, &from).await.expect_err(to);
        assert_eq!(error.kind(), ErrorKind::Blocked, "{to}: {error:?}");
    }
    assert_eq!((server.seen(), inner.seen()), (2 * places.len(), 0));
    // To a place that is open it does, and whoever changes something is told instead.
    let open = json!({ "to": format!("{}/there", server.url) });
    assert_eq!(tenant.invoke(&api, "get", open.clone()).await.unwrap(), json!({ "inner": true }));
    let settings = json!({ "base_url": server.url });
    let new = NewIntegration {
        name: "two".into(),
        connector: "http".into(),
        auth: Some("token".into()),
        settings: object(settings),
        credentials: object(json!({ "token": "canary-token" })),
    };
    let plain = tenant.integrations.create(&tenant.world.ctx, new).await.unwrap();
    let input = json!({ "path": "/x", "query": { "to": inner.url }, "body": "canary-body", "accept_statuses": [302] });
    let answer = tenant.invoke(&plain, "request.post", input).await.unwrap();
    assert_eq!((&answer["status"], &answer["headers"]["location"]), (&json!(302), &json!(inner.url)));
    assert_eq!(inner.seen(), 0);
}

#[tokio::test]
async fn pitfall_27_no_name_leads_inside_whatever_it_said_before() {
    let (server, inner) = (Server::start(OPEN).await, Server::start("127.0.0.1").await);
    let public = "93.184.216.34";
    // Public when it is looked at and inside when it is connected to; both at once; another network than the one that is open.
    let rebinding: [&[&[&str]]; 7] = [
        &[&["127.0.0.1"]],
        &[&[public, "127.0.0.1"]],
        &[&["127.0.0.1", public]],
        &[&["::ffff:127.0.0.1"]],
        &[&["64:ff9b::7f00:1"]],
        &[&[public], &["127.0.0.1"]],
        &[&[]],
    ];
    let plain = || vec![http::connector().unwrap(), connector(|desk| desk)];
    for answers in rebinding {
        for open in [false, true] {
            let names = Names::new(answers);
            let tenant = match open {
                // Without a network of the host's nobody looks before the connection does.
                false if answers.len() > 1 => continue,
                false => Tenant::new(EgressPolicy::default(), names, plain()).await,
                true => Tenant::beside(names, plain()).await,
            };
            let url = "https://rebind.example";
            let one = tenant.create("http", "token", json!({ "base_url": url })).await.unwrap();
            let error = tenant
                .invoke(&one, "request.post", json!({ "path": "/x", "body": "canary-body" }))
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Blocked, "{answers:?} {open}: {error:?}");
            assert!(!format!("{error:?}").contains("canary"), "{error:?}");
            let names = Names::new(answers);
            let open = Network::new("open", &[OPEN]).unwrap().plain_http().any_port();
            let policy = EgressPolicy::default().network(open);
            let transport = GuardedTransport::with_resolver(policy, Env::default(), names).unwrap();
            let error =
                Import::new("doc").fetch(&transport, &format!("{url}/openapi.json")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Blocked, "{answers:?}: {error:?}");
        }
    }
    // Open when it is looked at.
    let names = Names::new(&[&[OPEN], &["127.0.0.1"]]);
    let tenant = Tenant::beside(names, plain()).await;
    let url = format!("http://rebind.example:{}", inner.port);
    let one = tenant.create("desk", "token", json!({ "base_url": url })).await.unwrap();
    let error = tenant.invoke(&one, "users.me", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Blocked, "{error:?}");
    // And where it stays open, it is reached: these would see it if they were let through.
    let tenant = Tenant::beside(Names::new(&[&[OPEN]]), plain()).await;
    let url = format!("http://named.example:{}", server.port);
    let one = tenant.create("http", "token", json!({ "base_url": url })).await.unwrap();
    let answer = tenant.invoke(&one, "request.get", json!({ "path": "/x" })).await.unwrap();
    assert_eq!(answer["body"], json!({ "inner": true }));
    assert_eq!((server.seen(), inner.seen()), (1, 0));
}

/// The variable by which the child of the next test knows what it is.
const CHILD: &str = "AGENTPROVISION_TEST_BEHIND_PROXIES";

#[tokio::test]
async fn pitfall_27_proxies_of_the_environment_are_left_aside() {
    const NAME: &str = "egress::pitfall_27_proxies_of_the_environment_are_left_aside";
    if std::env::var_os(CHILD).is_some() {
        return behind_proxies().await;
    }
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let came = Arc::new(Mutex::new(0));
    let counted = came.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = proxy.accept().await {
            *counted.lock().unwrap() += 1;
            drop(client);
        }
    });
    let child = tokio::task::spawn_blocking(move || {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args([NAME, "--exact", "--nocapture"]).env(CHILD, "1");
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            child.env(name, &url);
        }
        for name in ["NO_PROXY", "no_proxy", "REQUEST_METHOD"] {
            child.env_remove(name);
        }
        child.output().unwrap()
    });
    let output = child.await.unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(*came.lock().unwrap(), 0, "a proxy of the environment was asked");
}

/// Calls that a proxy of the environment would see.
async fn behind_proxies() {
    assert!(std::env::var_os("HTTP_PROXY").is_some());
    let world = World::new().await;
    let desk = world.integration().await;
    world.answers(200, &[], &json!({ "number": 7, "title": "t" }));
    world.get(&desk).await.unwrap();
    assert_eq!(world.seen().len(), 1);
    let server = Server::start(OPEN).await;
    let tenant = Tenant::beside(Names::new(&[&[OPEN]]), vec![http::connector().unwrap()]).await;
    let url = format!("http://named.example:{}", server.port);
    let one = tenant.create("http", "token", json!({ "base_url": url })).await.unwrap();
    tenant.invoke(&one, "request.get", json!({ "path": "/x" })).await.unwrap();
    let fetched = Import::new("doc").fetch(&*tenant.transport, &format!("{}/openapi.json", server.url)).await;
    assert_eq!(fetched.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(server.seen(), 2);
    // Nobody speaks TLS there; a proxy would be asked for a tunnel first.
    let url = format!("https://{OPEN}:{}/openapi.json", server.port);
    let tunnel = Env::default()
        .timeout(Duration::from_secs(30), Import::new("doc").fetch(&*tenant.transport, &url))
        .await;
    let error: Error = tunnel.expect("the test hangs").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}
