//! Processes that share a store renew one-time tokens once.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use agentprovision::clock::{Clock, ManualClock, OsEntropy, SystemClock};
use agentprovision::connectors::auth::{Auth, Grant, OAuth2, OAuthApp};
use agentprovision::connectors::emulator::{Emulator, Fault, Gate, OAuthClient, Rule, Vendor};
use agentprovision::connectors::operation::{OperationSpec, Work};
use agentprovision::connectors::request::HttpTemplate;
use agentprovision::connectors::{CallOptions, Connector, NewIntegration};
use agentprovision::http::egress::{EgressPolicy, Network};
use agentprovision::http::{HttpTransport, ReqwestOptions, ReqwestTransport};
use agentprovision::id::{IntegrationId, TenantId, UserId};
use agentprovision::integration::IntegrationState;
use agentprovision::prelude::*;
use agentprovision::tenancy::secret::SealingKeys;
use agentprovision::{Env, Timestamp};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use super::support::store;

/// The environment variable that makes a process one of those that ask.
const ASKING: &str = "AGENTPROVISION_OAUTH_SCENARIO";
/// How many ask at the same time in each process.
const TASKS: usize = 64;
const KEY: [u8; 32] = [7; 32];

#[derive(Debug, Serialize, Deserialize)]
struct Scenario {
    store: String,
    api: String,
    authorize: String,
    token: String,
    tenant: TenantId,
    user: UserId,
    integration: IntegrationId,
}

/// A clock that is ahead of the system's: to it a token has ended.
#[derive(Debug)]
struct Ahead(SystemClock, Duration);

#[async_trait]
impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        self.0.now().after(self.1)
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }

    async fn sleep_until(&self, at: Duration) {
        self.0.sleep_until(at).await;
    }
}

fn connector(api: &str, authorize: &str, token: &str) -> Connector {
    let me = HttpTemplate::new(http::Method::GET, "/user");
    let me = OperationSpec::new(
        "users.me",
        "Says whose the credentials are.",
        json!({ "type": "object", "properties": {}, "additionalProperties": false }),
        json!({ "type": "object", "required": ["login"] }),
        Work::Http(Box::new(me)),
    );
    Connector::builder("code", api.to_owned())
        .auth(Auth::tokens(
            "oauth",
            "Account",
            Grant::Code(OAuth2::new(authorize.to_owned(), token.to_owned())),
        ))
        .whoami("users.me", "/id", "/login")
        .concurrency(TASKS)
        .operations([me])
        .build()
        .unwrap()
}

async fn platform(scenario: &Scenario, env: Env) -> Platform {
    let loopback = Network::new("loopback", &["127.0.0.0/8"]).unwrap().plain_http().any_port();
    Platform::builder()
        .store(scenario.store.clone())
        .env(env)
        .sealing_keys(SealingKeys::new(&[KEY]).unwrap())
        .egress(EgressPolicy::default().network(loopback))
        .oauth_app("code", OAuthApp::new("app-1", "secret-1".to_owned()))
        .connector(connector(&scenario.api, &scenario.authorize, &scenario.token))
        .build()
        .await
        .unwrap()
}

/// One of the processes that ask; nothing where the test is not told to be one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_process() {
    let Ok(scenario) = std::env::var(ASKING) else { return };
    let scenario: Scenario = serde_json::from_str(&scenario).unwrap();
    let clock = Ahead(SystemClock::default(), Duration::from_secs(600));
    let platform = platform(&scenario, Env::new(Arc::new(clock), Arc::new(OsEntropy))).await;
    let ctx = platform.context(scenario.tenant, scenario.user).await.unwrap();
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let (platform, ctx, id) = (platform.clone(), ctx.clone(), scenario.integration);
        asking.spawn(async move {
            platform.integrations().invoke(&ctx, id, "users.me", Map::new(), CallOptions::default()).await
        });
    }
    let mut answered = 0;
    while let Some(ended) = asking.join_next().await {
        match ended.unwrap() {
            Ok(me) if me["login"] == "octocat" => answered += 1,
            other => println!("not answered: {other:?}"),
        }
    }
    platform.close().await.unwrap();
    println!("answered {answered}");
}

fn ask(scenario: &Scenario) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "oauth::asking_process", "--nocapture"])
        .env(ASKING, serde_json::to_string(scenario).unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

struct World {
    emulator: Emulator,
    scenario: Scenario,
    clock: ManualClock,
}

/// An integration that somebody has granted access, whose access token has ended for the processes that ask.
async fn granted(folder: &Path) -> World {
    let clock = ManualClock::new(SystemClock::default().now());
    let emulator = Emulator::start(Env::new(Arc::new(clock.clone()), Arc::new(OsEntropy))).await.unwrap();
    emulator.github().add_token("octocat");
    let oauth = emulator.oauth(Vendor::Github);
    oauth.add_client(OAuthClient::new("app-1", "secret-1").access_lifetime(Duration::from_secs(300)));
    oauth.consent("octocat");
    let env = Env::default();
    let mut scenario = Scenario {
        store: store::new(&folder.join("oauth.db")),
        api: emulator.github_url(),
        authorize: oauth.authorize_url(),
        token: oauth.token_url(),
        tenant: env.id(),
        user: env.id(),
        integration: env.id(),
    };
    let platform = platform(&scenario, env).await;
    let op = platform.operator("ops", "a test").unwrap();
    let tenant = platform.tenants().create(&op, NewTenant::without_domain("t")).await.unwrap();
    let admin = NewUser::new("ada@example.com");
    let user = platform.tenants().bootstrap_admin(&op, tenant.id, admin).await.unwrap();
    (scenario.tenant, scenario.user) = (tenant.id, user.id);
    let ctx = platform.context(tenant.id, user.id).await.unwrap();
    let new = NewIntegration { name: "code".into(), connector: "code".into(), ..NewIntegration::default() };
    let integration = platform.integrations().create(&ctx, new).await.unwrap();
    scenario.integration = integration.id;
    let begun = platform
        .integrations()
        .authorize(&ctx, integration.id, "https://host.example/back", None)
        .await
        .unwrap();
    // As a browser does, up to where the vendor sends it back.
    let browser = ReqwestTransport::new(&ReqwestOptions::default()).unwrap();
    browser.allow(&scenario.authorize.parse().unwrap()).unwrap();
    let visit = http::Request::get(&begun.url).body(Default::default()).unwrap();
    let back = browser.send(visit).await.unwrap();
    let back = back.headers()["location"].to_str().unwrap().to_owned();
    let field = |name: &str| {
        let query = back.split_once('?').unwrap().1;
        let found = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        found.unwrap().to_owned()
    };
    assert_eq!(field("state"), begun.state);
    let connected =
        platform.integrations().connect(&ctx, integration.id, &begun.state, &field("code")).await.unwrap();
    assert_eq!(connected.account.unwrap().name.as_deref(), Some("octocat"));
    platform.close().await.unwrap();
    clock.advance(Duration::from_secs(301));
    World { emulator, scenario, clock }
}

async fn answered(child: Child) -> String {
    let ended = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap());
    let ended =
        Env::default().timeout(Duration::from_secs(60), ended).await.expect("a process hangs").unwrap();
    String::from_utf8(ended.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_redeem_an_expired_one_time_token_once() {
    let folder = tempfile::tempdir().unwrap();
    let world = granted(folder.path()).await;
    // Whoever is first is held until everybody is there.
    let gate = Gate::new();
    world
        .emulator
        .faults()
        .add(Rule::new(Fault::HoldAnswer(gate.clone())).vendor(Vendor::Github).path("/oauth/token"));
    let processes = [ask(&world.scenario), ask(&world.scenario)];
    Env::default().timeout(Duration::from_secs(60), gate.arrived(1)).await.expect("nobody asks for tokens");
    gate.release();
    for process in processes {
        let said = answered(process).await;
        assert!(said.contains(&format!("answered {TASKS}")), "{said}");
    }
    let redeemed = world.emulator.oauth(Vendor::Github).redemptions();
    assert_eq!((redeemed.refresh_tokens, redeemed.reused), (1, 0), "{redeemed:?}");
    // What is stored is what was given out last: once that has ended too, it is exchanged in its turn.
    world.clock.advance(Duration::from_secs(301));
    assert_eq!(world.emulator.oauth(Vendor::Github).live_refresh_tokens().len(), 1);
    let said = answered(ask(&world.scenario)).await;
    assert!(said.contains(&format!("answered {TASKS}")), "{said}");
    let redeemed = world.emulator.oauth(Vendor::Github).redemptions();
    assert_eq!((redeemed.refresh_tokens, redeemed.reused), (2, 0), "{redeemed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_with_a_token_in_its_hand_leaves_the_truth_behind() {
    let folder = tempfile::tempdir().unwrap();
    let world = granted(folder.path()).await;
    let gate = Gate::new();
    let rule = Rule::new(Fault::HoldAnswer(gate.clone())).vendor(Vendor::Github).path("/oauth/token").next(1);
    world.emulator.faults().add(rule);
    let mut dying = ask(&world.scenario);
    Env::default().timeout(Duration::from_secs(60), gate.arrived(1)).await.expect("nobody asks for tokens");
    // Killed between the answer of the vendor and its own commit: the token is spent, and the new one is nobody's.
    dying.kill().unwrap();
    dying.wait().unwrap();
    gate.release();
    let said = answered(ask(&world.scenario)).await;
    assert!(said.contains("answered 0"), "{said}");
    let platform = platform(&world.scenario, Env::default()).await;
    let ctx = platform.context(world.scenario.tenant, world.scenario.user).await.unwrap();
    let left = platform.integrations().get(&ctx, world.scenario.integration).await.unwrap();
    // Somebody has to grant access again, and is told; nobody asked with the spent token more than once.
    let reused = world.emulator.oauth(Vendor::Github).redemptions().reused;
    assert_eq!((left.state, reused), (IntegrationState::NeedsReconnect, 1), "{said}");
    platform.close().await.unwrap();
}
