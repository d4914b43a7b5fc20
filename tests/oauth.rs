//! Processes that share a store renew one-time tokens once.

#[cfg(unix)]
mod provider;

use std::path::Path;
use std::process::Stdio;
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
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::support::store;

/// The environment variable that makes a process one of those that ask.
const ASKING: &str = "AGENTPROVISION_OAUTH_SCENARIO";
/// How many ask at the same time in each process.
const TASKS: usize = 64;
const KEY: [u8; 32] = [7; 32];
/// The application at the vendor; what is in its secret has to be encoded wherever it goes.
const APP: (&str, &str) = ("app-1", "s ecret+1%&=");
/// Where the vendor sends people back.
const BACK: &str = "https://host.example/back";
/// How far ahead the clocks of the processes that ask are; tokens live for half of it.
const AHEAD: Duration = Duration::from_secs(600);

#[derive(Debug, Serialize, Deserialize)]
struct Scenario {
    store: String,
    vendor: Side,
    tenant: TenantId,
    user: UserId,
    integration: IntegrationId,
}

/// The other side.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Side {
    Emulator { api: String, authorize: String, token: String },
    OidcProvider { issuer: String },
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

impl Side {
    /// Who says yes, as the operation `users.me` tells it.
    fn somebody(&self) -> (&'static str, &'static str) {
        match self {
            Self::Emulator { .. } => ("login", "octocat"),
            Self::OidcProvider { .. } => ("sub", "ada"),
        }
    }

    fn connector(&self) -> Connector {
        let (api, path, oauth) = match self {
            Self::Emulator { api, authorize, token } => {
                (api.clone(), "/user", OAuth2::new(authorize.clone(), token.clone()))
            }
            Self::OidcProvider { issuer } => {
                let oauth = OAuth2::new(format!("{issuer}/auth"), format!("{issuer}/token"));
                let oauth = oauth.scopes(["openid", "offline_access"]).client_in_header();
                (issuer.clone(), "/me", oauth.authorize_param("prompt", "consent"))
            }
        };
        let name = self.somebody().0;
        let me = OperationSpec::new(
            "users.me",
            "Says whose the credentials are.",
            json!({ "type": "object", "properties": {}, "additionalProperties": false }),
            json!({ "type": "object", "required": [name] }),
            Work::Http(Box::new(HttpTemplate::new(http::Method::GET, path))),
        );
        Connector::builder("code", api)
            .auth(Auth::tokens("oauth", "Account", Grant::Code(oauth)))
            .whoami("users.me", format!("/{name}"), format!("/{name}"))
            .concurrency(TASKS)
            .operations([me])
            .build()
            .unwrap()
    }
}

async fn platform(scenario: &Scenario, env: Env) -> Platform {
    let loopback = Network::new("loopback", &["127.0.0.0/8"]).unwrap().plain_http().any_port();
    Platform::builder()
        .store(scenario.store.clone())
        .env(env)
        .sealing_keys(SealingKeys::new(&[KEY]).unwrap())
        .egress(EgressPolicy::default().network(loopback))
        .oauth_app("code", OAuthApp::new(APP.0, APP.1.to_owned()))
        .connector(scenario.vendor.connector())
        .build()
        .await
        .unwrap()
}

/// One of the processes that ask; nothing where the test is not told to be one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_process() {
    let Ok(scenario) = std::env::var(ASKING) else { return };
    let scenario: Scenario = serde_json::from_str(&scenario).unwrap();
    let clock = Ahead(SystemClock::default(), AHEAD);
    let platform = platform(&scenario, Env::new(Arc::new(clock), Arc::new(OsEntropy))).await;
    let ctx = platform.context(scenario.tenant, scenario.user).await.unwrap();
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let (platform, ctx, id) = (platform.clone(), ctx.clone(), scenario.integration);
        asking.spawn(async move {
            platform.integrations().invoke(&ctx, id, "users.me", Map::new(), CallOptions::default()).await
        });
    }
    println!("asking");
    let (name, somebody) = scenario.vendor.somebody();
    let mut answered = 0;
    while let Some(ended) = asking.join_next().await {
        match ended.unwrap() {
            Ok(me) if me[name] == somebody => answered += 1,
            other => println!("not answered: {other:?}"),
        }
    }
    platform.close().await.unwrap();
    println!("answered {answered}");
}

/// A process that asks, killed when it is dropped.
struct Asking {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Asking {
    fn start(scenario: &Scenario) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "oauth::asking_process", "--nocapture"])
            .env(ASKING, serde_json::to_string(scenario).unwrap())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits until all of its tasks ask.
    async fn asks(&mut self) {
        within(async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                if line.ends_with("asking") {
                    return;
                }
            }
            panic!("a process ended before it asked");
        })
        .await;
    }

    /// What it says up to its end.
    async fn answered(mut self) -> String {
        let mut said = String::new();
        within(async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                said.push_str(&(line + "\n"));
            }
            self.child.wait().await.unwrap();
        })
        .await;
        said
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    Env::default().timeout(Duration::from_secs(60), work).await.expect("a process hangs")
}

/// As a browser: follows where it is sent, with cookies, up to where the vendor sends it back. The query it comes back with.
async fn browse(url: &str) -> String {
    let browser = ReqwestTransport::new(&ReqwestOptions::default()).unwrap();
    let mut url = url.to_owned();
    let host = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    browser.allow(&host.parse().unwrap()).unwrap();
    let mut cookies = std::collections::BTreeMap::new();
    for _ in 0..10 {
        let jar: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let visit =
            http::Request::get(&url).header("cookie", jar.join("; ")).body(Default::default()).unwrap();
        let answer = browser.send(visit).await.unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = cookie.split_once('=').unwrap();
            cookies.insert(name.to_owned(), value.to_owned());
        }
        let to = answer
            .headers()
            .get("location")
            .unwrap_or_else(|| panic!("{url} leads nowhere: {}", answer.status()));
        let to = to.to_str().unwrap();
        if let Some(back) = to.strip_prefix(BACK) {
            return back.trim_start_matches('?').to_owned();
        }
        url = if to.starts_with('/') { format!("{host}{to}") } else { to.to_owned() };
    }
    panic!("{url} leads in a circle");
}

fn field(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).map(str::to_owned)
}

/// An integration that somebody has granted access at the vendor.
async fn connected(folder: &Path, vendor: Side) -> Scenario {
    let env = Env::default();
    let mut scenario = Scenario {
        store: store::new(&folder.join("oauth.db")),
        vendor,
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
    platform.close().await.unwrap();
    grant(&scenario).await;
    scenario
}

/// Somebody grants access, in a browser.
async fn grant(scenario: &Scenario) {
    let platform = platform(scenario, Env::default()).await;
    let ctx = platform.context(scenario.tenant, scenario.user).await.unwrap();
    let (integrations, id) = (platform.integrations(), scenario.integration);
    let begun = integrations.authorize(&ctx, id, BACK, None).await.unwrap();
    let back = browse(&begun.url).await;
    assert_eq!(field(&back, "state").as_ref(), Some(&begun.state), "{back}");
    let code = field(&back, "code").unwrap();
    let connected = integrations.connect(&ctx, id, &begun.state, &code).await.unwrap();
    assert_eq!(connected.account.unwrap().name.as_deref(), Some(scenario.vendor.somebody().1));
    assert_eq!(connected.state, IntegrationState::Active);
    platform.close().await.unwrap();
}

/// What became of the integration.
async fn state(scenario: &Scenario) -> IntegrationState {
    let platform = platform(scenario, Env::default()).await;
    let ctx = platform.context(scenario.tenant, scenario.user).await.unwrap();
    let left = platform.integrations().get(&ctx, scenario.integration).await.unwrap();
    platform.close().await.unwrap();
    left.state
}

struct World {
    emulator: Emulator,
    scenario: Scenario,
    clock: ManualClock,
}

/// An integration whose access token has ended for the processes that ask.
async fn granted(folder: &Path) -> World {
    let clock = ManualClock::new(SystemClock::default().now());
    let emulator = Emulator::start(Env::new(Arc::new(clock.clone()), Arc::new(OsEntropy))).await.unwrap();
    emulator.github().add_token("octocat");
    let oauth = emulator.oauth(Vendor::Github);
    oauth.add_client(OAuthClient::new(APP.0, APP.1).access_lifetime(AHEAD / 2));
    oauth.consent("octocat");
    let vendor = Side::Emulator {
        api: emulator.github_url(),
        authorize: oauth.authorize_url(),
        token: oauth.token_url(),
    };
    let scenario = connected(folder, vendor).await;
    clock.advance(AHEAD);
    World { emulator, scenario, clock }
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
    let mut processes = [Asking::start(&world.scenario), Asking::start(&world.scenario)];
    for process in &mut processes {
        process.asks().await;
    }
    within(gate.arrived(1)).await;
    gate.release();
    for process in processes {
        let said = process.answered().await;
        assert!(said.contains(&format!("answered {TASKS}")), "{said}");
    }
    let redeemed = world.emulator.oauth(Vendor::Github).redemptions();
    assert_eq!((redeemed.refresh_tokens, redeemed.reused), (1, 0), "{redeemed:?}");
    // What is stored is what was given out last: once that has ended too, it is exchanged in its turn.
    world.clock.advance(AHEAD);
    assert_eq!(world.emulator.oauth(Vendor::Github).live_refresh_tokens().len(), 1);
    let said = Asking::start(&world.scenario).answered().await;
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
    let mut dying = Asking::start(&world.scenario);
    within(gate.arrived(1)).await;
    // Killed between the answer of the vendor and its own commit: the token is spent, and the new one is nobody's.
    dying.child.kill().await.unwrap();
    gate.release();
    let said = Asking::start(&world.scenario).answered().await;
    assert!(said.contains("answered 0"), "{said}");
    // Somebody has to grant access again, and is told; nobody asked with the spent token more than once.
    let reused = world.emulator.oauth(Vendor::Github).redemptions().reused;
    assert_eq!((state(&world.scenario).await, reused), (IntegrationState::NeedsReconnect, 1), "{said}");
}
