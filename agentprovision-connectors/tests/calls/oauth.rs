//! Access that is granted, renewed and taken back.

use std::sync::Arc;
use std::time::Duration;

use agentprovision_connectors::auth::{
    Assertion, Auth, Credentials, Field, Grant, OAuth2, Session, SessionToken,
};
use agentprovision_connectors::{Authorization, CallOptions, Integrations, NewIntegration};
use agentprovision_core::backend::Backend as _;
use agentprovision_core::integration::{Integration, IntegrationState};
use agentprovision_core::secret::{Sealed, SecretPath};
use agentprovision_core::{Context, Env, ErrorKind, Result};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use super::tokens::{Shared, Trouble, vendor};
use super::world::World;

struct Granted {
    world: Arc<World>,
    vendor: Shared,
    desk: Integration,
}

fn oauth() -> OAuth2 {
    OAuth2::new("{auth_url}/authorize", "{base_url}/../token").scopes(["read", "write"])
}

async fn world_with(auth: impl FnOnce(&str) -> Auth) -> (Arc<World>, Shared, String) {
    let (vendor, url) = vendor().await;
    let auth = auth(&url);
    let world = World::with(|connector| connector.auth(auth)).await;
    (Arc::new(world), vendor, url)
}

async fn integration(world: &World, url: &str, auth: &str, credentials: Value) -> Integration {
    let new = NewIntegration {
        name: auth.into(),
        connector: "desk".into(),
        auth: Some(auth.into()),
        settings: json!({ "base_url": format!("{url}/api") }).as_object().unwrap().clone(),
        credentials: credentials.as_object().unwrap().clone(),
    };
    world.integrations.create(&world.ctx, new).await.unwrap()
}

fn code_grant(url: &str) -> Auth {
    let oauth = OAuth2::new("https://desk.example/authorize?x=1", format!("{url}/token"));
    Auth::tokens(
        "oauth",
        "Desk account",
        Grant::Code(oauth.scopes(["read", "write"]).authorize_param("prompt", "consent")),
    )
}

/// Goes through the browser, as a user who grants access.
async fn grant(
    world: &World,
    vendor: &Shared,
    integrations: &Integrations,
    id: &Integration,
) -> Result<Integration> {
    let begun = integrations.authorize(&world.ctx, id.id, "https://host.example/back", None).await?;
    let challenge = visited(&begun);
    vendor.lock().unwrap().code = Some(("code-1".into(), challenge));
    world.run(integrations.connect(&world.ctx, id.id, &begun.state, "code-1")).await
}

/// What the vendor sees of an authorization: checks it, and gives back the challenge.
fn visited(begun: &Authorization) -> String {
    let url = url::Url::parse(&begun.url).unwrap();
    let query: std::collections::BTreeMap<_, _> = url.query_pairs().into_owned().collect();
    assert_eq!(query["response_type"], "code");
    assert_eq!(query["client_id"], "client-1");
    assert_eq!(query["scope"], "read write");
    assert_eq!(query["prompt"], "consent");
    assert_eq!(query["x"], "1");
    assert_eq!(query["state"], begun.state);
    assert_eq!(query["code_challenge_method"], "S256");
    query["code_challenge"].clone()
}

async fn granted() -> Granted {
    let (world, vendor, url) = world_with(code_grant).await;
    let desk = integration(&world, &url, "oauth", json!({})).await;
    let desk = grant(&world, &vendor, &world.integrations, &desk).await.unwrap();
    vendor.lock().unwrap().redemptions.clear();
    Granted { world, vendor, desk }
}

impl Granted {
    /// Lets the access token end.
    fn expire(&self) {
        self.world.clock.advance(Duration::from_secs(3600));
        self.vendor.lock().unwrap().valid.clear();
    }

    async fn get(&self) -> Result<Value> {
        get(&self.world.integrations, &self.world.ctx, &self.desk).await
    }

    async fn kept(&self) -> Integration {
        self.world.integrations.get(&self.world.ctx, self.desk.id).await.unwrap()
    }

    /// What the secret has.
    async fn stored(&self) -> (Value, u64) {
        let path = SecretPath::new(format!("integrations/{}", self.desk.id)).unwrap();
        let sealed = self.world.db.stores().secrets.get(&self.world.ctx, &path).await.unwrap();
        (serde_json::from_slice(&sealed.bytes).unwrap(), sealed.version)
    }

    /// Somebody else replaces what the secret has.
    async fn replace(&self, access: &str) {
        let (mut kept, version) = self.stored().await;
        kept["tokens"]["access"] = json!(access);
        kept["tokens"]["expires_at"] = json!("2999-01-01T00:00:00Z");
        let path = SecretPath::new(format!("integrations/{}", self.desk.id)).unwrap();
        let sealed = Sealed { bytes: kept.to_string().into_bytes(), version: version + 1 };
        self.world.db.stores().secrets.put(&self.world.ctx, &path, sealed, None).await.unwrap();
    }

    async fn until(&self, mut is: impl FnMut() -> bool) {
        let reached = async {
            while !is() {
                tokio::task::yield_now().await;
            }
        };
        Env::default().timeout(Duration::from_secs(30), reached).await.expect("the test hangs");
    }
}

async fn get(integrations: &Integrations, ctx: &Context, desk: &Integration) -> Result<Value> {
    let input = json!({ "queue": "q", "number": 7 }).as_object().unwrap().clone();
    integrations.invoke(ctx, desk.id, "tickets.get", input, CallOptions::default()).await
}

#[tokio::test]
async fn access_is_granted_once_and_the_account_is_held_to() {
    let (world, vendor, url) = world_with(code_grant).await;
    let desk = integration(&world, &url, "oauth", json!({})).await;
    let error = world.run(get(&world.integrations, &world.ctx, &desk)).await.unwrap_err();
    assert!(error.message().contains("nobody has granted"), "{error}");
    let begun =
        world.integrations.authorize(&world.ctx, desk.id, "https://host.example/back", None).await.unwrap();
    assert_eq!(Authorization::integration(&begun.state).unwrap(), desk.id);
    vendor.lock().unwrap().code = Some(("code-1".into(), visited(&begun)));
    for bad in ["", "x", &format!("{}.x", desk.id), &begun.state[..begun.state.len() - 1]] {
        let error = world.integrations.connect(&world.ctx, desk.id, bad, "code-1").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
    }
    assert!(vendor.lock().unwrap().redemptions.is_empty());
    let connected =
        world.run(world.integrations.connect(&world.ctx, desk.id, &begun.state, "code-1")).await.unwrap();
    assert_eq!(connected.account.as_ref().map(|account| account.id.as_str()), Some("42"));
    assert!(connected.health.unwrap().healthy);
    // The same answer of the vendor a second time.
    let again = world.run(world.integrations.connect(&world.ctx, desk.id, &begun.state, "code-1")).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(vendor.lock().unwrap().redemptions.len(), 1);
    assert_eq!(world.run(get(&world.integrations, &world.ctx, &desk)).await.unwrap()["number"], 7);
    // Another account is refused, and what was there stays.
    vendor.lock().unwrap().account = 43;
    let valid = vendor.lock().unwrap().valid.clone();
    let other = grant(&world, &vendor, &world.integrations, &desk).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Conflict);
    vendor.lock().unwrap().valid = valid;
    assert_eq!(world.run(get(&world.integrations, &world.ctx, &desk)).await.unwrap()["number"], 7);
    // Too late.
    let begun =
        world.integrations.authorize(&world.ctx, desk.id, "https://host.example/back", None).await.unwrap();
    world.clock.advance(Duration::from_secs(601));
    let late = world.integrations.connect(&world.ctx, desk.id, &begun.state, "code-1").await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn the_hosts_application_goes_nowhere_but_where_the_connector_has_it() {
    let place = json!({ "type": "string", "default": "https://desk.example/oauth" });
    let grant = OAuth2::new("{+oauth_url}/authorize", "{+oauth_url}/token");
    let auth = Auth::tokens("oauth", "Desk account", Grant::Code(grant));
    let world =
        World::with(|connector| connector.setting_schema("oauth_url", place.clone()).auth(auth)).await;
    let begin = async |name: &str, settings: Value, credentials: Value| {
        let new = NewIntegration {
            name: name.into(),
            connector: "desk".into(),
            auth: Some("oauth".into()),
            settings: settings.as_object().unwrap().clone(),
            credentials: credentials.as_object().unwrap().clone(),
        };
        let desk = world.integrations.create(&world.ctx, new).await.unwrap();
        world.integrations.authorize(&world.ctx, desk.id, "https://host.example/back", None).await
    };
    for own in [json!({}), json!({ "oauth_url": "https://desk.example/oauth" })] {
        let begun = begin(&own.to_string(), own, json!({})).await.unwrap();
        assert!(begun.url.starts_with("https://desk.example/oauth/authorize?"), "{}", begun.url);
        assert!(begun.url.contains("client_id=client-1"), "{}", begun.url);
    }
    let elsewhere = json!({ "oauth_url": "https://evil.example/oauth" });
    let refused = begin("theirs", elsewhere.clone(), json!({})).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    let theirs = json!({ "client_id": "theirs-1", "client_secret": "s" });
    let begun = begin("own", elsewhere, theirs).await.unwrap();
    assert!(begun.url.contains("client_id=theirs-1"), "{}", begun.url);
}

#[tokio::test]
async fn a_code_that_somebody_else_asked_for_is_refused() {
    let (world, vendor, url) = world_with(code_grant).await;
    let desk = integration(&world, &url, "oauth", json!({})).await;
    let begun =
        world.integrations.authorize(&world.ctx, desk.id, "https://host.example/back", None).await.unwrap();
    // A code that is bound to another verifier.
    vendor.lock().unwrap().code = Some(("code-1".into(), "another-challenge".into()));
    let refused =
        world.run(world.integrations.connect(&world.ctx, desk.id, &begun.state, "code-1")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ProviderError);
    assert!(!format!("{refused:?}").contains("canary"), "{refused:?}");
    // Of another tenant there is nothing to connect.
    let other = world.other_tenant().await;
    let error = world.integrations.connect(&other, desk.id, &begun.state, "code-1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn pitfall_01_an_expired_one_time_token_is_redeemed_once_by_all_who_find_it() {
    let granted = granted().await;
    granted.expire();
    let other = (granted.world.service)();
    let mut calls = tokio::task::JoinSet::new();
    for at in 0..128 {
        let integrations = if at % 2 == 0 { granted.world.integrations.clone() } else { other.clone() };
        let (ctx, desk) = (granted.world.ctx.clone(), granted.desk.clone());
        calls.spawn(async move { get(&integrations, &ctx, &desk).await });
    }
    let all = async {
        let mut all = 0;
        while let Some(ended) = calls.join_next().await {
            ended.unwrap().unwrap();
            all += 1;
        }
        all
    };
    assert_eq!(granted.world.run(all).await, 128);
    assert_eq!(granted.vendor.lock().unwrap().redemptions.len(), 1);
    let (kept, _) = granted.stored().await;
    let vendor = granted.vendor.lock().unwrap();
    assert_eq!(kept["tokens"]["refresh"].as_str(), vendor.refresh.as_deref());
    assert!(vendor.valid.contains(kept["tokens"]["access"].as_str().unwrap()));
}

#[tokio::test]
async fn pitfall_02_who_is_late_does_not_overwrite_who_was_first() {
    let granted = Arc::new(granted().await);
    granted.expire();
    let gate = Arc::new(Semaphore::new(0));
    granted.vendor.lock().unwrap().held = Some(gate.clone());
    let slow = tokio::spawn({
        let granted = granted.clone();
        async move { granted.get().await }
    });
    granted.until(|| granted.vendor.lock().unwrap().redemptions.len() == 1).await;
    // Somebody else has newer tokens before ours are stored.
    granted.vendor.lock().unwrap().valid.insert("newer".into());
    granted.replace("newer").await;
    gate.add_permits(1);
    let ended = granted.world.run(slow).await.unwrap().unwrap();
    assert_eq!(ended["number"], 7);
    assert_eq!(granted.stored().await.0["tokens"]["access"], "newer");
}

#[tokio::test]
async fn pitfall_02_tokens_are_kept_when_nobody_waits_for_them_any_more() {
    let granted = Arc::new(granted().await);
    granted.expire();
    let gate = Arc::new(Semaphore::new(0));
    granted.vendor.lock().unwrap().held = Some(gate.clone());
    let call = tokio::spawn({
        let granted = granted.clone();
        async move { granted.get().await }
    });
    granted.until(|| granted.vendor.lock().unwrap().redemptions.len() == 1).await;
    call.abort();
    call.await.unwrap_err();
    gate.add_permits(1);
    let before = granted.stored().await.1;
    let stored = async {
        while granted.stored().await.1 == before {
            tokio::task::yield_now().await
        }
    };
    Env::default().timeout(Duration::from_secs(30), stored).await.expect("the test hangs");
    granted.vendor.lock().unwrap().held = None;
    granted.world.run(granted.get()).await.unwrap();
    assert_eq!(granted.vendor.lock().unwrap().redemptions.len(), 1);
}

#[tokio::test]
async fn pitfall_03_a_refused_token_is_no_end_when_somebody_else_has_a_newer_one() {
    let granted = Arc::new(granted().await);
    granted.expire();
    let gate = Arc::new(Semaphore::new(0));
    {
        let mut vendor = granted.vendor.lock().unwrap();
        vendor.held = Some(gate.clone());
        vendor.trouble = Trouble::Refuses(400, json!({ "error": "invalid_grant" }));
    }
    let call = tokio::spawn({
        let granted = granted.clone();
        async move { granted.get().await }
    });
    granted.until(|| granted.vendor.lock().unwrap().redemptions.len() == 1).await;
    granted.vendor.lock().unwrap().valid.insert("newer".into());
    granted.replace("newer").await;
    gate.add_permits(1);
    granted.world.run(call).await.unwrap().unwrap();
    assert_eq!(granted.kept().await.state, IntegrationState::Active);
}

#[tokio::test]
async fn pitfall_04_a_slow_token_endpoint_is_waited_for_and_not_asked_twice() {
    let granted = Arc::new(granted().await);
    granted.expire();
    let gate = Arc::new(Semaphore::new(0));
    granted.vendor.lock().unwrap().held = Some(gate.clone());
    let other = (granted.world.service)();
    let first = tokio::spawn({
        let granted = granted.clone();
        async move { granted.get().await }
    });
    granted.until(|| granted.vendor.lock().unwrap().redemptions.len() == 1).await;
    // Much longer than the lease is taken for; whoever waits gives up by their own deadline.
    for _ in 0..12 {
        let (ctx, desk) = (granted.world.ctx.clone(), granted.desk.clone());
        let waited = granted.world.run(get(&other, &ctx, &desk)).await;
        assert_eq!(waited.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    }
    assert_eq!(granted.vendor.lock().unwrap().redemptions.len(), 1);
    gate.add_permits(1);
    granted.vendor.lock().unwrap().held = None;
    // Its caller is long gone, but what it got is there for all.
    first.await.unwrap().unwrap_err();
    let (ctx, desk) = (granted.world.ctx.clone(), granted.desk.clone());
    granted.world.run(get(&other, &ctx, &desk)).await.unwrap();
    assert_eq!(granted.vendor.lock().unwrap().redemptions.len(), 1);
}

#[tokio::test]
async fn access_that_was_taken_back_has_to_be_granted_again() {
    let granted = granted().await;
    granted.expire();
    granted.vendor.lock().unwrap().refresh = None;
    let error = granted.world.run(granted.get()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderError);
    assert!(error.message().contains("taken back"), "{error}");
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    let kept = granted.kept().await;
    assert_eq!(kept.state, IntegrationState::NeedsReconnect);
    let events = granted.world.db.stores().events.read(&granted.world.ctx, 0, 100).await.unwrap();
    assert!(events.iter().any(|event| event.event.kind == "agentprovision.integration.needs_reconnect"));
    assert!(!format!("{events:?}").contains("canary"));
    let refused = granted.world.run(granted.get()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert_eq!(granted.vendor.lock().unwrap().redemptions.len(), 1);
    grant(&granted.world, &granted.vendor, &granted.world.integrations, &granted.desk).await.unwrap();
    granted.world.run(granted.get()).await.unwrap();
}

#[tokio::test]
async fn pitfall_05_a_token_endpoint_in_trouble_changes_nothing() {
    for (status, body, kind) in [
        (503, json!({}), ErrorKind::Unavailable),
        (500, json!({ "error": "server_error" }), ErrorKind::Unavailable),
        (429, json!({}), ErrorKind::RateLimited),
        (401, json!({ "error": "invalid_client" }), ErrorKind::ProviderError),
        (400, json!({ "error": "invalid_request" }), ErrorKind::ProviderError),
        (200, json!({ "nothing": "here" }), ErrorKind::ProviderError),
        (200, json!("no object"), ErrorKind::ProviderError),
    ] {
        let granted = granted().await;
        granted.expire();
        granted.vendor.lock().unwrap().trouble = Trouble::Refuses(status, body.clone());
        let error = granted.world.run(granted.get()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status} {body}: {error:?}");
        assert_eq!(granted.kept().await.state, IntegrationState::Active, "{status} {body}");
        granted.vendor.lock().unwrap().trouble = Trouble::None;
        granted.world.clock.advance(Duration::from_secs(60));
        granted.world.run(granted.get()).await.unwrap();
    }
}

#[tokio::test]
async fn a_token_that_is_refused_before_its_end_is_renewed_once() {
    let granted = granted().await;
    granted.vendor.lock().unwrap().valid.clear();
    granted.world.run(granted.get()).await.unwrap();
    assert_eq!(granted.vendor.lock().unwrap().redemptions.len(), 1);
    // A vendor that refuses whatever it gets.
    granted.vendor.lock().unwrap().calls.clear();
    granted.vendor.lock().unwrap().trouble =
        Trouble::Spends(200, json!({ "access_token": "never", "refresh_token": "r" }));
    granted.vendor.lock().unwrap().valid.clear();
    let error = granted.world.run(granted.get()).await.unwrap_err();
    assert!(error.context().contains(&("reason", "credentials".into())), "{error:?}");
    assert_eq!(granted.vendor.lock().unwrap().calls.len(), 2);
    assert_eq!(granted.vendor.lock().unwrap().redemptions.len(), 2);
}

#[tokio::test]
async fn tokens_are_renewed_before_they_end() {
    let granted = granted().await;
    granted.world.clock.advance(Duration::from_secs(3600 - 121));
    granted.world.run(granted.get()).await.unwrap();
    assert!(granted.vendor.lock().unwrap().redemptions.is_empty());
    granted.world.clock.advance(Duration::from_secs(5));
    granted.world.run(granted.get()).await.unwrap();
    assert_eq!(granted.vendor.lock().unwrap().redemptions.len(), 1);
    let redemption = granted.vendor.lock().unwrap().redemptions[0].clone();
    let field =
        |name: &str| redemption.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    assert_eq!(field("grant_type"), Some("refresh_token"));
    assert_eq!(field("client_id"), Some("client-1"));
    assert_eq!(field("client_secret"), Some("canary-client-secret"));
}

/// A private key in PEM.
fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn rsa() -> (String, jsonwebtoken::DecodingKey) {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::KeyPair as _;
    let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = pair.as_der().unwrap();
    (pem("PRIVATE KEY", der.as_ref()), jsonwebtoken::DecodingKey::from_rsa_der(pair.public_key().as_ref()))
}

fn claims(token: &str, key: &jsonwebtoken::DecodingKey) -> Map<String, Value> {
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    (rules.validate_exp, rules.validate_aud) = (false, false);
    jsonwebtoken::decode(token, key, &rules).unwrap().claims
}

#[tokio::test]
async fn clients_statements_apps_and_sessions_get_tokens_and_renew_them() {
    let (key, public) = rsa();
    let client =
        |url: &str| Auth::tokens("client", "Client", Grant::Client(OAuth2::new("", format!("{url}/token"))));
    let statement = |url: &str| {
        let oauth = OAuth2::new("", format!("{url}/token")).scopes(["read"]);
        Auth::tokens("statement", "Statement", Grant::Assertion(oauth, Assertion::default()))
    };
    let app = |_: &str| Auth::tokens("app", "App", Grant::GithubApp);
    let session = |_: &str| {
        let session = Session {
            path: "/login".into(),
            fields: ("user".into(), "pass".into()),
            token: SessionToken::Cookie("sid".into()),
            lifetime: Duration::from_secs(600),
        };
        Auth::tokens("session", "Session", Grant::Session(session))
    };
    type Made<'a> = (&'a dyn Fn(&str) -> Auth, Value);
    let all: [Made<'_>; 4] = [
        (&client, json!({ "client_id": "c", "client_secret": "canary-s" })),
        (&statement, json!({ "issuer": "robot@x", "subject": "ada", "private_key": key })),
        (&app, json!({ "app_id": "7", "installation_id": "99", "private_key": key })),
        (&session, json!({ "username": "ada", "password": "canary-p" })),
    ];
    for (auth, credentials) in all {
        let (world, vendor, url) = world_with(auth).await;
        let name = auth(&url).name.to_string();
        let desk = integration(&world, &url, &name, credentials).await;
        for _ in 0..3 {
            let answer = world.run(get(&world.integrations, &world.ctx, &desk)).await;
            assert_eq!(answer.unwrap_or_else(|error| panic!("{name}: {error:?}"))["number"], 7);
        }
        {
            let vendor = vendor.lock().unwrap();
            let asked = vendor.redemptions.len()
                + vendor.calls.iter().filter(|(path, _)| path.contains("access_tokens")).count();
            assert_eq!(asked, 1, "{name}");
            let field = |name: &str| {
                let form = vendor.redemptions.first()?;
                form.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone())
            };
            match name.as_str() {
                "client" => assert_eq!(field("client_id").as_deref(), Some("c")),
                "statement" => {
                    let claims = claims(&field("assertion").unwrap(), &public);
                    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("robot@x"), &json!("ada")));
                    assert_eq!(claims["aud"], json!(format!("{url}/token")));
                    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
                }
                "app" => {
                    let (path, headers) = &vendor.calls[0];
                    assert_eq!(path, "/api/app/installations/99/access_tokens");
                    let bearer = headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
                    assert_eq!(claims(bearer, &public)["iss"], json!("7"));
                }
                _ => assert_eq!(field("user").as_deref(), Some("\"ada\"")),
            }
        }
        world.clock.advance(Duration::from_secs(3600));
        world.run(get(&world.integrations, &world.ctx, &desk)).await.unwrap();
        let vendor = vendor.lock().unwrap();
        let asked = vendor.redemptions.len()
            + vendor.calls.iter().filter(|(path, _)| path.contains("access_tokens")).count();
        assert_eq!(asked, 2, "{name}");
    }
}

#[tokio::test]
async fn keys_and_numbers_that_are_none_are_refused_without_showing_them() {
    for (auth, credentials, named) in [
        (
            Auth::tokens("app", "App", Grant::GithubApp),
            json!({ "app_id": "7", "installation_id": "99", "private_key": "canary no key" }),
            "private_key",
        ),
        (
            Auth::tokens("app", "App", Grant::GithubApp),
            json!({ "app_id": "7", "installation_id": "../x", "private_key": "canary" }),
            "installation_id",
        ),
    ] {
        let (world, vendor, url) = world_with(|_| auth).await;
        let desk = integration(&world, &url, "app", credentials).await;
        let error = world.run(get(&world.integrations, &world.ctx, &desk)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().contains(named) && !format!("{error:?}").contains("canary"), "{error:?}");
        assert!(vendor.lock().unwrap().calls.is_empty());
    }
    let fields = [Field::new("a", "a")];
    assert!(Credentials::entered(&fields, &Map::new()).is_err());
    assert_eq!(oauth().scopes.len(), 2);
}
