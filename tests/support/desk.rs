//! A made-up service over HTTP on the loopback, and the connector that speaks to it.
//!
//! Under `/<who>` it has tickets for whoever proves to be `<who>`: by a token that ends in `-<who>`, or by one that its OAuth
//! gives for a code that ends so. What it answers names `<who>` and never a token.

use std::sync::{Arc, Mutex};

use agentprovision::PlatformBuilder;
use agentprovision::connectors::auth::{Auth, Grant, OAuth2, OAuthApp};
use agentprovision::connectors::{Connector, NewIntegration, operations};
use agentprovision::http::egress::{EgressPolicy, Network};
use agentprovision::tenancy::secret::SealingKeys;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A ticket.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[allow(unreachable_pub, reason = "as the operations are")]
pub struct Ticket {
    number: u64,
    title: String,
    by: String,
}

/// Somebody.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[allow(unreachable_pub, reason = "as the operations are")]
pub struct Me {
    login: String,
}

operations! {
    /// Who the credentials belong to.
    WhoAmI "users.me" get("/me") => Me {}
    /// Makes a ticket.
    CreateTicket "tickets.create" post("/queues/{queue}/tickets") => Ticket {
        /// The queue.
        queue: String,
        /// The title.
        #[schemars(length(min = 1))]
        title: String,
    }
    /// Throws a ticket away.
    DeleteTicket "tickets.delete" delete("/queues/{queue}/tickets/{number}") => Value {
        /// The queue.
        queue: String,
        /// The number.
        number: u64,
    }
}

/// The connector.
pub(crate) fn connector() -> Connector {
    let oauth = OAuth2::new("{base_url}/oauth/authorize", "{base_url}/oauth/token").scopes(["tickets"]);
    Connector::builder("desk", "https://desk.example")
        .about("Desk", "Tickets.")
        .auth(Auth::bearer("Token"))
        .auth(Auth::tokens("oauth", "In a browser", Grant::Code(oauth)))
        .whoami("users.me", "/login", "/login")
        .operations(operations())
        .build()
        .unwrap()
}

/// A builder with the connector, its application, and the way to servers of these tests.
pub(crate) fn with_desk(builder: PlatformBuilder) -> PlatformBuilder {
    let loopback = Network::new("loopback", &["127.0.0.0/8"]).unwrap().plain_http().any_port();
    builder
        .connector(connector())
        .oauth_app("desk", OAuthApp::new("app-7", "app-secret-canary".to_owned()))
        .egress(EgressPolicy::default().network(loopback))
}

/// Keys for stores that last.
pub(crate) fn keys() -> SealingKeys {
    SealingKeys::new(&[[7; 32]]).unwrap()
}

/// A request as the service saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// The service, until it is dropped.
pub(crate) struct Desk {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Desk {
    pub(crate) async fn open() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let router = Router::new().fallback(answer).with_state(seen.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, seen, server }
    }

    /// What it was asked so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn settings(&self, who: &str) -> Map<String, Value> {
        json!({ "base_url": format!("{}/{who}", self.url) }).as_object().unwrap().clone()
    }

    /// An integration of somebody's by a token.
    pub(crate) fn by_token(&self, name: &str, who: &str, token: &str) -> NewIntegration {
        NewIntegration {
            name: name.into(),
            connector: "desk".into(),
            auth: None,
            settings: self.settings(who),
            credentials: json!({ "token": token }).as_object().unwrap().clone(),
        }
    }

    /// An integration that somebody has to grant access in a browser. Its settings say where that is, so it brings its application.
    pub(crate) fn in_browser(&self, name: &str, who: &str) -> NewIntegration {
        let own = json!({ "client_id": "app-7", "client_secret": "app-secret-canary" });
        let credentials = own.as_object().unwrap().clone();
        NewIntegration { auth: Some("oauth".into()), credentials, ..self.by_token(name, who, "") }
    }
}

type Said = (axum::http::StatusCode, [(&'static str, &'static str); 1], String);

async fn answer(
    State(seen): State<Arc<Mutex<Vec<Seen>>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> Said {
    let say = |status: u16, said: Value| {
        (status.try_into().unwrap(), [("content-type", "application/json")], said.to_string())
    };
    let path = uri.path().to_owned();
    let number = {
        let mut seen = seen.lock().unwrap();
        let query = uri.query().map(str::to_owned);
        seen.push(Seen { method, path: path.clone(), query, headers: headers.clone(), body: body.clone() });
        seen.len()
    };
    let (who, path) = path[1..].split_once('/').unwrap_or_default();
    if path == "oauth/token" {
        let code = body.split('&').find_map(|field| field.strip_prefix("code="));
        return match code.filter(|code| code.ends_with(&format!("-{who}"))) {
            Some(code) => {
                let (access, refresh) = (format!("access-{code}"), format!("refresh-{code}"));
                say(200, json!({ "access_token": access, "refresh_token": refresh, "expires_in": 3600 }))
            }
            None => say(400, json!({ "error": "invalid_grant" })),
        };
    }
    let proof = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !proof.starts_with("Bearer ") || !proof.ends_with(&format!("-{who}")) {
        // Services do repeat what they were sent.
        return say(401, json!({ "message": format!("who is {proof}?") }));
    }
    match path {
        "me" => say(200, json!({ "login": who })),
        _ if path.ends_with("/tickets") => {
            let asked: Value = serde_json::from_str(&body).unwrap();
            let number = if path.contains("/echo/") { json!(proof) } else { json!(number) };
            say(200, json!({ "number": number, "title": asked["title"], "by": who }))
        }
        _ => say(404, json!({ "message": "there is no such thing" })),
    }
}
