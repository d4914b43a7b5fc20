//! OAuth 2.

use std::time::Duration;

use agentprovision_connectors::emulator::{Fault, Gate, OAuthClient, Rule, Vendor};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::{Answer, Site, basic, within};

const BACK: &str = "http://127.0.0.1:1/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

async fn connected(vendor: Vendor) -> Site {
    let site = Site::start().await;
    let client = OAuthClient::new("app", "secret").redirect(BACK).access_lifetime(Duration::from_secs(3600));
    site.emulator.oauth(vendor).add_client(client);
    site
}

impl Site {
    /// Asks for consent: the parameters that come back.
    async fn consent(&self, vendor: Vendor, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut pairs =
            vec![("response_type", "code"), ("client_id", "app"), ("redirect_uri", BACK), ("state", "s p")];
        pairs.extend(more);
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
        let url = format!("{}?{query}", self.emulator.oauth(vendor).authorize_url());
        let answer = self.send(Method::GET, &url, &[], "").await;
        assert_eq!(answer.status, 302, "{answer:?}");
        let to: url::Url = answer.header("location").unwrap().parse().unwrap();
        assert!(to.as_str().starts_with(BACK));
        let back: Vec<(String, String)> =
            to.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        assert!(back.contains(&("state".to_owned(), "s p".to_owned())), "{back:?}");
        back
    }

    async fn code(&self, vendor: Vendor) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
        let back = self
            .consent(
                vendor,
                &[("code_challenge", &challenge), ("code_challenge_method", "S256"), ("scope", "read")],
            )
            .await;
        back.into_iter().find(|(name, _)| name == "code").unwrap().1
    }

    async fn token(&self, vendor: Vendor, pairs: &[(&str, &str)]) -> Answer {
        let mut form = vec![("client_id", "app"), ("client_secret", "secret")];
        form.extend(pairs);
        self.form(&self.emulator.oauth(vendor).token_url(), &form).await
    }

    async fn refresh(&self, vendor: Vendor, token: &str) -> Answer {
        self.token(vendor, &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }
}

fn redeem<'a>(code: &'a str, verifier: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("code_verifier", verifier),
        ("redirect_uri", BACK),
    ]
}

#[tokio::test]
async fn a_code_is_redeemed_once_with_its_verifier() {
    for vendor in Vendor::ALL.iter().copied() {
        let site = connected(vendor).await;
        let code = site.code(vendor).await;
        let status = if vendor == Vendor::Jira { 403 } else { 400 };
        let error = async |pairs: &[(&str, &str)]| {
            let answer = site.token(vendor, pairs).await;
            (answer.status, answer.json()["error"].as_str().unwrap().to_owned())
        };
        let refused = (status, "invalid_grant".to_owned());
        assert_eq!(error(&redeem(&code, "another verifier")).await, refused);
        assert_eq!(error(&redeem("made up", VERIFIER)).await, refused);
        let [grant, with, verifier, _] = redeem(&code, VERIFIER);
        assert_eq!(error(&[grant, with, verifier]).await, refused, "without the URL it was asked for with");
        let tokens = site.token(vendor, &redeem(&code, VERIFIER)).await;
        assert_eq!(tokens.header("cache-control"), Some("no-store"));
        let tokens = tokens.ok();
        assert_eq!((&tokens["expires_in"], &tokens["scope"]), (&Value::from(3600), &Value::from("read")));
        let refresh = tokens["refresh_token"].as_str().unwrap();
        assert_eq!(error(&redeem(&code, VERIFIER)).await, refused, "a second time");
        assert_eq!(site.refresh(vendor, refresh).await.status, status, "which revokes what came of it");
        let seen = site.emulator.oauth(vendor).redemptions();
        assert_eq!((seen.authorization_codes, seen.reused, seen.refused), (1, 1, 5));
    }
}

#[tokio::test]
async fn a_refresh_token_is_good_for_one_use() {
    let vendor = Vendor::Jira;
    let site = connected(vendor).await;
    let oauth = site.emulator.oauth(vendor);
    let tokens = oauth.grant("app", "ada@example.com").unwrap();
    let first = site.refresh(vendor, &tokens.refresh_token).await.ok();
    let (access, refresh) =
        (first["access_token"].as_str().unwrap(), first["refresh_token"].as_str().unwrap());
    assert_ne!(refresh, tokens.refresh_token);
    assert_eq!(oauth.live_refresh_tokens(), [refresh]);
    let myself = format!("{}/rest/api/3/myself", site.emulator.jira_url());
    assert_eq!(site.bearer(Method::GET, &myself, access, Value::Null).await.status, 200);
    // Whoever has the first one still uses it: both lose everything.
    let again = site.refresh(vendor, &tokens.refresh_token).await;
    assert_eq!((again.status, &again.json()["error"]), (403, &Value::from("invalid_grant")));
    assert_eq!(site.refresh(vendor, refresh).await.status, 403);
    assert_eq!(site.bearer(Method::GET, &myself, access, Value::Null).await.status, 401);
    assert!(oauth.live_refresh_tokens().is_empty());
    let seen = oauth.redemptions();
    assert_eq!((seen.refresh_tokens, seen.reused, seen.refused), (1, 1, 2));
    // Another family is none of that.
    let other = oauth.grant("app", "ada@example.com").unwrap();
    assert_eq!(site.refresh(vendor, &other.refresh_token).await.status, 200);
}

#[tokio::test]
async fn refresh_tokens_stay_where_an_app_keeps_them() {
    let site = Site::start().await;
    let oauth = site.emulator.oauth(Vendor::Github);
    oauth.add_client(OAuthClient::new("app", "secret").keeps_refresh_tokens());
    let tokens = oauth.grant("app", "octocat").unwrap();
    for _ in 0..3 {
        assert_eq!(
            site.refresh(Vendor::Github, &tokens.refresh_token).await.ok()["refresh_token"],
            tokens.refresh_token.as_str()
        );
    }
    assert_eq!(oauth.redemptions().refresh_tokens, 3);
}

#[tokio::test]
async fn access_tokens_expire_by_the_clock() {
    for (vendor, path) in
        [(Vendor::Github, "/user"), (Vendor::Jira, "/rest/api/3/myself"), (Vendor::Slack, "/auth.test")]
    {
        let site = connected(vendor).await;
        let tokens = site.emulator.oauth(vendor).grant("app", "ada").unwrap();
        let base = match vendor {
            Vendor::Github => site.emulator.github_url(),
            Vendor::Jira => site.emulator.jira_url(),
            _ => site.emulator.slack_url(),
        };
        let works = async |token: &str| {
            let answer = site.bearer(Method::GET, &format!("{base}{path}"), token, Value::Null).await;
            answer.status == 200 && answer.json()["ok"] != false
        };
        site.clock.advance(Duration::from_secs(3599));
        assert!(works(&tokens.access_token).await);
        site.clock.advance(Duration::from_secs(1));
        assert!(!works(&tokens.access_token).await);
        let fresh = site.refresh(vendor, &tokens.refresh_token).await.ok();
        assert!(works(fresh["access_token"].as_str().unwrap()).await);
        site.form(
            &site.emulator.oauth(vendor).revoke_url(),
            &[("token", fresh["refresh_token"].as_str().unwrap())],
        )
        .await
        .ok();
        assert!(!works(fresh["access_token"].as_str().unwrap()).await);
    }
}

#[tokio::test]
async fn what_breaks_the_standard_is_refused() {
    let vendor = Vendor::Github;
    let site = connected(vendor).await;
    let url = site.emulator.oauth(vendor).token_url();
    for (form, status, error) in [
        (
            vec![("client_id", "app"), ("client_secret", "wrong"), ("grant_type", "client_credentials")],
            401,
            "invalid_client",
        ),
        (vec![("client_id", "app"), ("client_secret", "secret")], 400, "invalid_request"),
        (
            vec![("client_id", "app"), ("client_secret", "secret"), ("grant_type", "password")],
            400,
            "unsupported_grant_type",
        ),
        (
            vec![("client_id", "app"), ("client_secret", "secret"), ("grant_type", "refresh_token")],
            400,
            "invalid_request",
        ),
    ] {
        let answer = site.form(&url, &form).await;
        assert_eq!((answer.status, answer.json()["error"].as_str()), (status, Some(error)));
    }
    // Credentials of the app in the header, and its own token.
    let authorization = basic("app", "secret");
    let headers =
        [("authorization", authorization.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let own = site.send(Method::POST, &url, &headers, "grant_type=client_credentials").await.ok();
    assert!(own["refresh_token"].is_null());
    let twice =
        site.send(Method::POST, &url, &headers, "grant_type=client_credentials&client_secret=secret").await;
    assert_eq!(twice.json()["error"], "invalid_request");
    assert_eq!(site.send(Method::GET, &url, &[], "").await.status, 405);
    // Consent.
    let oauth = site.emulator.oauth(vendor);
    oauth.deny_next();
    assert!(site.consent(vendor, &[]).await.contains(&("error".to_owned(), "access_denied".to_owned())));
    let plain = site.consent(vendor, &[("code_challenge", "x"), ("code_challenge_method", "plain")]).await;
    assert!(plain.contains(&("error".to_owned(), "invalid_request".to_owned())));
    oauth.add_client(OAuthClient::public("app").redirect(BACK));
    assert!(
        site.consent(vendor, &[]).await.contains(&("error".to_owned(), "invalid_request".to_owned())),
        "a public app without PKCE"
    );
    for query in ["client_id=other", "client_id=app&redirect_uri=http://evil.example/"] {
        let answer = site.send(Method::GET, &format!("{}?{query}", oauth.authorize_url()), &[], "").await;
        assert_eq!(answer.status, 400, "nobody is sent elsewhere");
    }
    oauth.consent("hubot");
    let code = site.code(vendor).await;
    let [grant, code, verifier, back] = redeem(&code, VERIFIER);
    let tokens = site.form(&url, &[("client_id", "app"), grant, code, verifier, back]).await.ok();
    let user = format!("{}/user", site.emulator.github_url());
    let whose = site.bearer(Method::GET, &user, tokens["access_token"].as_str().unwrap(), Value::Null).await;
    assert_eq!(whose.ok()["login"], "hubot");
}

#[tokio::test]
async fn the_vendors_own_endpoints_have_their_forms() {
    let site = Site::start().await;
    for vendor in [Vendor::Github, Vendor::Slack] {
        site.emulator.oauth(vendor).add_client(OAuthClient::new("app", "secret"));
    }
    let github = format!("{}/login/oauth/access_token", site.emulator.github_url());
    let wrong = site.form(&github, &[("client_id", "app"), ("client_secret", "secret"), ("code", "x")]).await;
    assert_eq!(wrong.status, 200);
    assert!(wrong.body.starts_with(b"error=bad_verification_code"), "{wrong:?}");
    let tokens = site.emulator.oauth(Vendor::Github).grant("app", "octocat").unwrap();
    let form = format!(
        "client_id=app&client_secret=secret&grant_type=refresh_token&refresh_token={}",
        tokens.refresh_token
    );
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json")];
    let fresh = site.send(Method::POST, &github, &headers, form).await.ok();
    assert_eq!(fresh["token_type"], "bearer");
    let slack = format!("{}/oauth.v2.access", site.emulator.slack_url());
    let wrong =
        site.form(&slack, &[("client_id", "app"), ("client_secret", "wrong"), ("code", "x")]).await.ok();
    assert_eq!((&wrong["ok"], &wrong["error"]), (&Value::from(false), &Value::from("bad_client_secret")));
    let tokens = site.emulator.oauth(Vendor::Slack).grant("app", "ada").unwrap();
    let form = [
        ("client_id", "app"),
        ("client_secret", "secret"),
        ("grant_type", "refresh_token"),
        ("refresh_token", &tokens.refresh_token),
    ];
    let fresh = site.form(&slack, &form).await.ok();
    assert_eq!((&fresh["ok"], &fresh["team"]["name"]), (&Value::from(true), &Value::from("Emulated")));
}

#[tokio::test]
async fn pitfall_04_a_slow_token_endpoint_is_held_until_it_is_let_go() {
    let vendor = Vendor::Jira;
    let site = connected(vendor).await;
    let tokens = site.emulator.oauth(vendor).grant("app", "ada@example.com").unwrap();
    let gate = Gate::new();
    let slow = Fault::HoldAnswer(gate.clone());
    site.emulator.faults().add(Rule::new(slow).vendor(vendor).path("/oauth/token").next(1));
    let refresh = site.refresh(vendor, &tokens.refresh_token);
    let meanwhile = async {
        gate.arrived(1).await;
        assert_eq!(site.emulator.oauth(vendor).redemptions().refresh_tokens, 1, "it is carried out");
        assert_eq!(site.emulator.requests().last().unwrap().status, None, "and not answered");
        gate.release();
    };
    let (answer, ()) = within(async { tokio::join!(refresh, meanwhile) }).await;
    assert_eq!(answer.status, 200);
}
