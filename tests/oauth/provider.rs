//! The same against npm's `oidc-provider`, which is somebody else's reading of the specifications. `cargo xtask test oauth` installs
//! it and runs these.

use std::process::Stdio;

use agentprovision::secret::{SecretPath, SecretStore as _};
use agentprovision::tenancy::secret::SealedSecrets;
use agentprovision::tenancy::store::connect;
use base64::Engine as _;
use secrecy::ExposeSecret as _;
use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;

use super::*;

/// The variable with the script that starts it, beside what it needs.
const SCRIPT: &str = "AGENTPROVISION_OIDC_PROVIDER";

/// The provider in a process of its own, which ends with this.
struct OidcProvider {
    issuer: String,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

/// What it has seen.
#[derive(Debug, Deserialize)]
struct Seen {
    /// Refresh tokens that were exchanged.
    redeemed: u64,
    /// Why requests for tokens were refused.
    refused: Vec<String>,
    /// Grants that were revoked.
    revoked: u64,
    /// The tokens that were given out last.
    access: String,
    refresh: String,
}

impl OidcProvider {
    async fn start() -> Self {
        let script = std::env::var(SCRIPT).expect("run by `cargo xtask test oauth`, which names the script");
        let mut child = Command::new("node")
            .args([&script, APP.0, APP.1, BACK])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut provider = Self { issuer: String::new(), input, lines, _child: child };
        provider.issuer = provider.heard().await["issuer"].as_str().unwrap().to_owned();
        provider
    }

    async fn heard(&mut self) -> Value {
        let line = within(self.lines.next_line()).await.unwrap().expect("the provider has ended");
        serde_json::from_str(&line).unwrap()
    }

    async fn tell(&mut self, command: &str) -> Seen {
        self.input.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        serde_json::from_value(self.heard().await).unwrap()
    }

    /// Its clock goes as far as that of the processes that ask.
    async fn expire(&mut self) {
        self.tell(&format!("advance {}", AHEAD.as_secs())).await;
    }

    /// Its answer to a request, as status and body.
    async fn ask(&self, request: http::Request<bytes::Bytes>) -> (u16, Value) {
        let client = ReqwestTransport::new(&ReqwestOptions::default()).unwrap();
        client.allow(&self.issuer.parse().unwrap()).unwrap();
        let answer = client.send(request).await.unwrap();
        let status = answer.status().as_u16();
        let body: Vec<_> = futures_util::TryStreamExt::try_collect(answer.into_body()).await.unwrap();
        (status, serde_json::from_slice(&body.concat()).unwrap_or_default())
    }

    /// What it says to an access token.
    async fn me(&self, access: &str) -> u16 {
        let request = http::Request::get(format!("{}/me", self.issuer));
        self.ask(
            request.header("authorization", format!("Bearer {access}")).body(Default::default()).unwrap(),
        )
        .await
        .0
    }

    /// What it says to a refresh token that comes from elsewhere.
    async fn redeem(&self, refresh: &str) -> (u16, Value) {
        // As `APP`, both parts encoded first.
        let client = base64::engine::general_purpose::STANDARD.encode("app-1:s+ecret%2B1%25%26%3D");
        let request = http::Request::post(format!("{}/token", self.issuer))
            .header("authorization", format!("Basic {client}"))
            .header("content-type", "application/x-www-form-urlencoded");
        let body = format!("grant_type=refresh_token&refresh_token={refresh}");
        self.ask(request.body(body.into()).unwrap()).await
    }
}

/// The tokens that the integration's secret has.
async fn stored(scenario: &Scenario) -> (String, String) {
    let platform = platform(scenario, Env::default()).await;
    let ctx = platform.context(scenario.tenant, scenario.user).await.unwrap();
    let backend = connect(&scenario.store, Env::default()).await.unwrap();
    let keys = SealingKeys::new(&[KEY]).unwrap();
    let secrets = SealedSecrets::new(backend.stores().secrets, keys, Env::default());
    let path = SecretPath::new(format!("integrations/{}", scenario.integration)).unwrap();
    let kept = secrets.get(&ctx, &path).await.unwrap();
    let kept: Value = serde_json::from_str(kept.value.expose_secret()).unwrap();
    let token = |name: &str| kept["tokens"][name].as_str().unwrap().to_owned();
    backend.close().await.unwrap();
    platform.close().await.unwrap();
    (token("access"), token("refresh"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs npm's `oidc-provider`: `cargo xtask test oauth` runs it"]
async fn two_processes_redeem_an_expired_one_time_token_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut provider = OidcProvider::start().await;
    let scenario = connected(folder.path(), Side::OidcProvider { issuer: provider.issuer.clone() }).await;
    let (_, spent) = stored(&scenario).await;
    provider.expire().await;
    // Whoever is first is held until everybody is there.
    provider.tell("hold").await;
    let mut processes = [Asking::start(&scenario), Asking::start(&scenario)];
    for process in &mut processes {
        process.asks().await;
    }
    provider.tell("held").await;
    provider.tell("release").await;
    for process in processes {
        let said = process.answered().await;
        assert!(said.contains(&format!("answered {TASKS}")), "{said}");
    }
    let seen = provider.tell("seen").await;
    assert_eq!((seen.redeemed, seen.refused.len(), seen.revoked), (1, 0, 0), "{seen:?}");
    assert_eq!(stored(&scenario).await, (seen.access.clone(), seen.refresh));
    assert_eq!(provider.me(&seen.access).await, 200);

    // Somebody else has the spent token and uses it: the grant is over, and whoever finds it so says it, once.
    let stolen = provider.redeem(&spent).await;
    assert_eq!((stolen.0, &stolen.1["error"]), (400, &json!("invalid_grant")));
    assert_eq!(provider.me(&seen.access).await, 401);
    provider.expire().await;
    let said = Asking::start(&scenario).answered().await;
    assert!(said.contains("answered 0"), "{said}");
    let seen = provider.tell("seen").await;
    assert_eq!((seen.redeemed, seen.revoked), (1, 1), "{seen:?}");
    assert_eq!(seen.refused, ["refresh token already used", "refresh token not found"]);
    assert_eq!(state(&scenario).await, IntegrationState::NeedsReconnect);
    grant(&scenario).await;
    let said = Asking::start(&scenario).answered().await;
    assert!(said.contains(&format!("answered {TASKS}")), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs npm's `oidc-provider`: `cargo xtask test oauth` runs it"]
async fn a_code_is_asked_for_with_a_challenge_that_the_provider_insists_on() {
    let provider = OidcProvider::start().await;
    let folder = tempfile::tempdir().unwrap();
    let scenario = connected(folder.path(), Side::OidcProvider { issuer: provider.issuer.clone() }).await;
    let platform = platform(&scenario, Env::default()).await;
    let ctx = platform.context(scenario.tenant, scenario.user).await.unwrap();
    let begun = platform.integrations().authorize(&ctx, scenario.integration, BACK, None).await.unwrap();
    let (path, query) = begun.url.split_once('?').unwrap();
    let without: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("code_challenge")).collect();
    assert_eq!(query.split('&').count(), without.len() + 2);
    let back = browse(&format!("{path}?{}", without.join("&"))).await;
    assert_eq!(field(&back, "error").as_deref(), Some("invalid_request"), "{back}");
    // A code that somebody else asked for, by another authorization.
    let theirs = field(&browse(&begun.url).await, "code").unwrap();
    let ours = platform.integrations().authorize(&ctx, scenario.integration, BACK, None).await.unwrap();
    let refused =
        platform.integrations().connect(&ctx, scenario.integration, &ours.state, &theirs).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ProviderError, "{refused}");
    assert!(refused.context().contains(&("code", "invalid_grant".to_owned())), "{refused:?}");
    platform.close().await.unwrap();
}
