//! A tenant with integrations of a made-up service, which a test scripts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentprovision_connectors::auth::{Auth, OAuthApp, Scheme};
use agentprovision_connectors::layers::RetryOptions;
use agentprovision_connectors::operation::Page;
use agentprovision_connectors::paging::Paging;
use agentprovision_connectors::quota::{Quota, Reset, Shared};
use agentprovision_connectors::{
    CallOptions, Catalog, Connector, Integrations, IntegrationsParts, NewIntegration, operations,
};
use agentprovision_core::access::Access;
use agentprovision_core::authz::{ContextAuthorizer, PermissionSet};
use agentprovision_core::backend::Backend as _;
use agentprovision_core::clock::{ManualClock, OsEntropy};
use agentprovision_core::context::{ContextIssuer, Identity, Principal, RequestInfo};
use agentprovision_core::effect::{EffectWriter, OperatorEffects};
use agentprovision_core::http::egress::{EgressPolicy, GuardedTransport, Network, SystemResolver};
use agentprovision_core::id::TenantId;
use agentprovision_core::integration::Integration;
use agentprovision_core::tenant::{Tenant, TenantState};
use agentprovision_core::testing::ClearSecrets;
use agentprovision_core::{Context, Env, MemoryDb, Result, Timestamp};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A ticket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ticket {
    pub number: u64,
    pub title: String,
}

/// Somebody.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Me {
    pub id: u64,
    pub login: String,
}

operations! {
    /// Who the credentials belong to.
    WhoAmI "users.me" get("/me") => Me {}
    /// Gets a ticket.
    GetTicket "tickets.get" get("/queues/{queue}/tickets/{number}") => Ticket {
        /// The queue.
        queue: String,
        /// The number.
        number: u64,
    }
    /// Lists tickets.
    ListTickets "tickets.list" get("/queues/{queue}/tickets") => Page<Ticket> [.page(Paging::LINK)] {
        /// The queue.
        queue: String,
        /// Only those in this state.
        state: Option<String>,
    }
    /// Makes a ticket.
    CreateTicket "tickets.create" post("/queues/{queue}/tickets") => Ticket {
        /// The queue.
        queue: String,
        /// The title.
        #[schemars(length(min = 1))]
        title: String,
    }
    /// Pays for something, which the vendor does once per key.
    Pay "payments.create" post("/payments") => Value [.key_header("idempotency-key")] {
        /// How much, in cents.
        amount: u64,
    }
    /// Posts into a channel.
    Post "chat.post" post("/post") => Value [.effect(agentprovision_connectors::operation::Effect::Read)] {
        /// The channel.
        channel: String,
    }
}

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What the server answers next: a status, headers and a body.
type Said = (u16, Vec<(&'static str, String)>, Body);

#[derive(Default)]
pub(crate) struct Script {
    pub(crate) answers: VecDeque<Said>,
    pub(crate) seen: Vec<Seen>,
    /// Answers that are held back until the test lets them go.
    pub(crate) held: Option<Arc<tokio::sync::Semaphore>>,
}

pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) env: Env,
    pub(crate) db: MemoryDb,
    pub(crate) issuer: ContextIssuer,
    pub(crate) ctx: Context,
    pub(crate) integrations: Integrations,
    /// Another process: the same service over the same store, with nothing in memory.
    pub(crate) service: Box<dyn Fn() -> Integrations + Send + Sync>,
    pub(crate) script: Arc<Mutex<Script>>,
    pub(crate) writer: EffectWriter,
    pub(crate) url: String,
    _server: tokio::task::JoinHandle<()>,
}

async fn answer(
    State(script): State<Arc<Mutex<Script>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let (said, held) = {
        let mut script = script.lock().unwrap();
        script.seen.push(Seen { method, uri, headers, body });
        (script.answers.pop_front(), script.held.clone())
    };
    if let Some(held) = held {
        held.acquire().await.unwrap().forget();
    }
    let (status, headers, body) = said.unwrap_or((500, vec![], Body::from("the script is over")));
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(body).unwrap()
}

/// The service: what a test changes of it.
pub(crate) fn connector(change: impl FnOnce(ConnectorOf) -> ConnectorOf) -> Connector {
    let builder = Connector::builder("desk", "https://desk.example/api")
        .about("Desk", "Tickets.")
        .auth(Auth::bearer("Token"))
        .auth(Auth::basic("Password"))
        .auth(Auth::key_query("api_key"))
        .header("x-desk-version", "7")
        .whoami("users.me", "/id", "/login")
        .operations(operations());
    change(builder).build().unwrap()
}

pub(crate) type ConnectorOf = agentprovision_connectors::connector::ConnectorBuilder;

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|connector| connector).await
    }

    pub(crate) async fn with(change: impl FnOnce(ConnectorOf) -> ConnectorOf) -> Self {
        Self::of(connector(change)).await
    }

    pub(crate) async fn of(connector: Connector) -> Self {
        let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
        let env = Env::new(Arc::new(clock.clone()), Arc::new(OsEntropy));
        let script = Arc::new(Mutex::new(Script::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(script.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let db = MemoryDb::new(env.clone());
        let stores = db.stores();
        let issuer = ContextIssuer::new(env.clone());
        let access = Access::new(issuer.clone(), Arc::new(ContextAuthorizer));
        let loopback = Network::new("loopback", &["127.0.0.0/8"]).unwrap().plain_http().any_port();
        let egress = EgressPolicy::default().network(loopback);
        let writer = EffectWriter::start(stores.effects.clone(), env.clone());
        let mut catalog = Catalog::default();
        catalog.add(connector).unwrap();
        let app = OAuthApp::new("client-1", SecretString::from("canary-client-secret"));
        let service: Box<dyn Fn() -> Integrations + Send + Sync> = Box::new({
            let writer = writer.clone();
            move || {
                Integrations::new(IntegrationsParts {
                    catalog: catalog.clone(),
                    store: stores.integrations.clone(),
                    secrets: Arc::new(ClearSecrets::new(stores.secrets.clone())),
                    idempotency: stores.idempotency.clone(),
                    transport: Arc::new(GuardedTransport::new(egress.clone(), Env::default()).unwrap()),
                    egress: egress.clone(),
                    resolver: Arc::new(SystemResolver),
                    access: access.clone(),
                    writer: writer.clone(),
                    policies: Vec::new(),
                    retry: RetryOptions::default(),
                    apps: [("desk".to_owned(), app.clone())].into(),
                })
            }
        });
        let integrations = service();
        let tenant = env.id();
        let ctx = context(&issuer, tenant, &PermissionSet::ALL);
        let world =
            Self { clock, env, db, issuer, ctx, integrations, service, script, writer, url, _server: server };
        world.tenant(tenant).await;
        world
    }

    async fn tenant(&self, id: TenantId) {
        let op = self.issuer.operator("ops", "a test").unwrap();
        let now = self.env.now();
        let tenant = Tenant {
            id,
            name: "t".into(),
            domain: None,
            state: TenantState::Active,
            plan: None,
            region: None,
            settings: Map::new(),
            created_at: now,
            updated_at: now,
            revision: 1,
        };
        self.db.stores().tenants.create(&op, tenant, OperatorEffects::default()).await.unwrap();
    }

    /// Somebody of another tenant.
    pub(crate) async fn other_tenant(&self) -> Context {
        let tenant = self.env.id();
        self.tenant(tenant).await;
        context(&self.issuer, tenant, &PermissionSet::ALL)
    }

    pub(crate) fn new_integration(&self, name: &str) -> NewIntegration {
        NewIntegration {
            name: name.into(),
            connector: "desk".into(),
            auth: None,
            settings: json!({ "base_url": format!("{}/api", self.url) }).as_object().unwrap().clone(),
            credentials: json!({ "token": "canary-token-1" }).as_object().unwrap().clone(),
        }
    }

    pub(crate) async fn integration(&self) -> Integration {
        self.integrations.create(&self.ctx, self.new_integration("desk")).await.unwrap()
    }

    /// What the server answers next.
    pub(crate) fn answers(&self, status: u16, headers: &[(&'static str, &str)], body: &Value) {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let kind = ("content-type", "application/json".to_owned());
        let body = Body::from(body.to_string());
        self.script.lock().unwrap().answers.push_back((status, headers.chain([kind]).collect(), body));
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.script.lock().unwrap().seen.clone()
    }

    /// Moves the clock on, second by second, until the work is over.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let until = async {
            loop {
                for _ in 0..50 {
                    if let std::task::Poll::Ready(done) = futures_util::poll!(&mut work) {
                        return done;
                    }
                    tokio::task::yield_now().await;
                }
                // The server has answered what it will: whoever still waits, waits for the clock.
                tokio::task::spawn_blocking(std::thread::yield_now).await.unwrap();
                self.clock.advance(Duration::from_millis(100));
            }
        };
        Env::default().timeout(Duration::from_secs(30), until).await.expect("the test hangs")
    }

    pub(crate) async fn get(&self, id: &Integration) -> Result<Ticket> {
        let input = GetTicket { queue: "q".into(), number: 7 };
        self.integrations.call(&self.ctx, id.id, &input).await
    }

    pub(crate) async fn invoke(&self, id: &Integration, operation: &str, input: Value) -> Result<Value> {
        let input = input.as_object().unwrap().clone();
        self.integrations.invoke(&self.ctx, id.id, operation, input, CallOptions::default()).await
    }
}

pub(crate) fn context(issuer: &ContextIssuer, tenant: TenantId, grants: &PermissionSet) -> Context {
    let principal = Principal::User(issuer.env().id());
    let identity = Identity { tenant, principal, scopes: PermissionSet::ALL, expires: None, key: None };
    issuer.context(&identity, grants, RequestInfo::default())
}

/// Quotas of tests.
pub(crate) fn learned() -> Quota {
    Quota::new("calls").shared(Shared::App).learned("x-remaining", "x-reset", Reset::Epoch)
}

pub(crate) fn scheme_names(connector: &Connector) -> Vec<&Scheme> {
    connector.auth.iter().map(|auth| &auth.scheme).collect()
}
