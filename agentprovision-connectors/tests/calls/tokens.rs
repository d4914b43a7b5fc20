//! A vendor with OAuth 2: refresh tokens that can be used once, and an API that takes the last access token alone.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// What happens at the token endpoint, beside what is right.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Trouble {
    None,
    /// It answers with this status and body, and nothing is spent.
    Refuses(u16, Value),
    /// It spends the token and answers this.
    Spends(u16, Value),
}

#[derive(Debug)]
pub(crate) struct Vendor {
    /// Counts the tokens that were given out.
    issued: u64,
    /// Access tokens that the API takes.
    pub(crate) valid: BTreeSet<String>,
    /// The refresh token that can be used.
    pub(crate) refresh: Option<String>,
    /// Every request to the token endpoint, by its form.
    pub(crate) redemptions: Vec<Vec<(String, String)>>,
    pub(crate) trouble: Trouble,
    /// Holds answers of the token endpoint back.
    pub(crate) held: Option<Arc<Semaphore>>,
    /// The code that can be exchanged, and the challenge it is bound to.
    pub(crate) code: Option<(String, String)>,
    pub(crate) account: u64,
    pub(crate) lives: Duration,
    /// Requests that reached the API.
    pub(crate) calls: Vec<(String, HeaderMap)>,
}

pub(crate) type Shared = Arc<Mutex<Vendor>>;

fn answered(status: u16, body: &Value) -> Response<Body> {
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Body::from(body.to_string())).unwrap()
}

impl Vendor {
    pub(crate) fn issue(&mut self) -> Value {
        self.issued += 1;
        let (access, refresh) =
            (format!("canary-access-{}", self.issued), format!("canary-refresh-{}", self.issued));
        self.valid = BTreeSet::from([access.clone()]);
        self.refresh = Some(refresh.clone());
        json!({
            "access_token": access,
            "refresh_token": refresh,
            "token_type": "bearer",
            "expires_in": self.lives.as_secs(),
            "scope": "read write",
        })
    }

    fn redeem(&mut self, form: &[(String, String)]) -> Response<Body> {
        let field = |name: &str| form.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone());
        self.redemptions.push(form.to_vec());
        if let Trouble::Refuses(status, body) = &self.trouble {
            return answered(*status, body);
        }
        let refused = json!({ "error": "invalid_grant", "error_description": "canary-words" });
        let fits = match field("grant_type").as_deref() {
            Some("refresh_token") => {
                let fits = field("refresh_token") == self.refresh;
                // Whoever uses one twice loses all of them.
                self.refresh = None;
                fits
            }
            Some("authorization_code") => {
                use base64::Engine as _;
                let verifier = field("code_verifier").unwrap_or_default();
                let digest = agentprovision_core::canonical::sha256(&[verifier.as_bytes()]);
                let challenge = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest);
                self.code.take() == Some((field("code").unwrap_or_default(), challenge))
            }
            Some("client_credentials" | "urn:ietf:params:oauth:grant-type:jwt-bearer") => true,
            _ => false,
        };
        if !fits {
            return answered(400, &refused);
        }
        let issued = self.issue();
        match &self.trouble {
            Trouble::Spends(status, body) => answered(*status, body),
            _ => answered(200, &issued),
        }
    }
}

async fn token(State(vendor): State<Shared>, body: Bytes) -> Response<Body> {
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&body).into_owned().collect();
    let (answer, held) = {
        let mut vendor = vendor.lock().unwrap();
        (vendor.redeem(&form), vendor.held.clone())
    };
    if let Some(held) = held {
        held.acquire().await.unwrap().forget();
    }
    answer
}

async fn installation(State(vendor): State<Shared>, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let mut vendor = vendor.lock().unwrap();
    vendor.calls.push((uri.path().to_owned(), headers));
    let issued = vendor.issue();
    answered(201, &json!({ "token": issued["access_token"], "expires_at": "2023-11-14T23:13:20Z" }))
}

async fn login(State(vendor): State<Shared>, body: Bytes) -> Response<Body> {
    let mut vendor = vendor.lock().unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let form = [("user", &body["user"]), ("pass", &body["pass"])];
    vendor.redemptions.push(form.map(|(name, value)| (name.to_owned(), value.to_string())).to_vec());
    let issued = vendor.issue();
    let cookie = format!("sid={}; HttpOnly", issued["access_token"].as_str().unwrap());
    let mut response = answered(200, &json!({}));
    response.headers_mut().insert("set-cookie", cookie.parse().unwrap());
    response
}

async fn api(State(vendor): State<Shared>, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let mut vendor = vendor.lock().unwrap();
    vendor.calls.push((uri.path().to_owned(), headers.clone()));
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
    let token =
        header("authorization").strip_prefix("Bearer ").or_else(|| header("cookie").strip_prefix("sid="));
    if !token.is_some_and(|token| vendor.valid.contains(token)) {
        return answered(401, &json!({ "message": "bad token" }));
    }
    match uri.path() {
        "/api/me" => answered(200, &json!({ "id": vendor.account, "login": "ada" })),
        _ => answered(200, &json!({ "number": 7, "title": "t" })),
    }
}

/// The vendor, and the URL it is at.
pub(crate) async fn vendor() -> (Shared, String) {
    let vendor = Arc::new(Mutex::new(Vendor {
        issued: 0,
        valid: BTreeSet::new(),
        refresh: None,
        redemptions: Vec::new(),
        trouble: Trouble::None,
        held: None,
        code: None,
        account: 42,
        lives: Duration::from_secs(3600),
        calls: Vec::new(),
    }));
    let router = Router::new()
        .route("/token", post(token))
        .route("/api/app/installations/{id}/access_tokens", post(installation))
        .route("/api/login", post(login))
        .route("/api/{*path}", get(api))
        .with_state(vendor.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (vendor, url)
}
