//! A GitHub, a Jira and a Slack in your test's process: real HTTP on the loopback, state that you set up and inspect, and a
//! plan of what goes wrong.
//!
//! ```no_run
//! use agentprovision_connectors::emulator::{Emulator, Fault, RetryAfter, Rule, Vendor};
//! use agentprovision_core::Env;
//! use serde_json::json;
//!
//! # async fn run() -> agentprovision_core::Result<()> {
//! let emulator = Emulator::start(Env::default()).await?;
//! let token = emulator.github().add_token("octocat");
//! emulator.github().add_repository("acme/app")?;
//! emulator.github().add_issue("acme/app", json!({ "title": "It is broken" }))?;
//! emulator.faults().add(Rule::new(Fault::RateLimited(RetryAfter::Seconds(1))).vendor(Vendor::Github).next(1));
//! // … your code talks to `emulator.github_url()` with `token` …
//! assert_eq!(emulator.github().issues("acme/app")?[0]["title"], "It is broken");
//! # let _ = token;
//! # Ok(()) }
//! ```
//!
//! # What it is
//! One mutex holds all state, and every request is carried out under it as a whole. Ids are counted, secrets and times come
//! from the `Env`: with a manual clock and seeded entropy two runs of the same requests are the same. Values that the
//! inspecting methods return have the form in which the vendor's API answers them.
//!
//! # What it speaks
//! The paths and the wire formats of the vendors, for what tests of integrations need most; an unknown path answers as the
//! vendor answers one. Each vendor has a server of its own with its OAuth 2 endpoints on it (see [`OAuth`]), and sends real,
//! signed webhooks to the URLs that are registered (see [`Emulator::deliveries`]). Bodies are validated against the vendors'
//! own descriptions by a test of this crate.
//!
//! # What it is not
//! Its git objects are named by SHA-256 cut to 40 digits; there are no forks; permissions are whether somebody may see a
//! repository, and no scopes are checked. Its JQL and its search of issues know the usual fields and refuse the others.

mod answers;
pub(crate) mod faults;
mod github;
mod jira;
mod oauth;
mod server;
mod slack;
mod state;
mod webhooks;

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use agentprovision_core::{Env, Error, ErrorKind, Result};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

pub use faults::{Change, Fault, Faults, Gate, RetryAfter, Rule, RuleId, WebhookFault};
pub use github::GithubWorld;
pub use jira::JiraWorld;
pub use oauth::{OAuth, OAuthClient, Redemptions, Tokens};
pub use slack::SlackWorld;
pub use state::{SeenRequest, Vendor};
pub use webhooks::{Attempt, Delivery};

use state::World;

/// An emulated GitHub, Jira and Slack; see the [module](self). Dropping it closes its servers and their connections.
pub struct Emulator {
    shared: Arc<Shared>,
    running: Option<Running>,
}

/// What requests, webhooks and the handle share.
pub(crate) struct Shared {
    env: Env,
    world: Mutex<World>,
    /// Tells whoever delivers webhooks that there is one more.
    wake: Notify,
    /// Moves on with every webhook that was attempted.
    progress: watch::Sender<u64>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

struct Running(Vec<AbortHandle>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bases = self.shared.world().bases.clone();
        f.debug_struct("Emulator").field("bases", &bases).finish_non_exhaustive()
    }
}

impl Emulator {
    /// Starts the three vendors at free ports of the loopback, on the runtime this is called on.
    ///
    /// # Errors
    /// `unavailable` when there is no port.
    pub async fn start(env: Env) -> Result<Self> {
        let unavailable = |error: io::Error| {
            Error::new(ErrorKind::Unavailable, "there is no port for the emulator").with_source(error)
        };
        let (mut listeners, mut bases) = (Vec::new(), [const { String::new() }; 3]);
        for (vendor, base) in Vendor::ALL.iter().zip(&mut bases) {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(unavailable)?;
            *base = format!("http://{}", listener.local_addr().map_err(unavailable)?);
            listeners.push((*vendor, listener));
        }
        let shared = Arc::new(Shared {
            env: env.clone(),
            world: Mutex::new(World::new(env, bases)),
            wake: Notify::new(),
            progress: watch::Sender::new(0),
        });
        let mut tasks: Vec<AbortHandle> = listeners
            .into_iter()
            .map(|(vendor, listener)| {
                tokio::spawn(server::serve(listener, vendor, Arc::clone(&shared))).abort_handle()
            })
            .collect();
        tasks.push(tokio::spawn(webhooks::deliver(Arc::clone(&shared))).abort_handle());
        Ok(Self { shared, running: Some(Running(tasks)) })
    }

    /// A handle that does not close anything, for changes that run while a request is answered.
    fn borrowed(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), running: None }
    }

    /// In place of `https://api.github.com`.
    pub fn github_url(&self) -> String {
        self.shared.world().base(Vendor::Github).to_owned()
    }

    /// In place of `https://your-domain.atlassian.net`, and with `/ex/jira/<cloud id>` behind it of `https://api.atlassian.com`.
    pub fn jira_url(&self) -> String {
        self.shared.world().base(Vendor::Jira).to_owned()
    }

    /// In place of `https://slack.com/api`.
    pub fn slack_url(&self) -> String {
        format!("{}/api", self.shared.world().base(Vendor::Slack))
    }

    /// GitHub: what to set up, and what has become of it.
    pub fn github(&self) -> GithubWorld<'_> {
        GithubWorld(&self.shared)
    }

    /// Jira: what to set up, and what has become of it.
    pub fn jira(&self) -> JiraWorld<'_> {
        JiraWorld(&self.shared)
    }

    /// Slack: what to set up, and what has become of it.
    pub fn slack(&self) -> SlackWorld<'_> {
        SlackWorld(&self.shared)
    }

    /// Who gives tokens of a vendor.
    pub fn oauth(&self, vendor: Vendor) -> OAuth<'_> {
        OAuth { shared: &self.shared, vendor }
    }

    /// What goes wrong.
    pub fn faults(&self) -> Faults<'_> {
        Faults(&self.shared)
    }

    /// Every request that was seen, those to OAuth endpoints too, in the order they came.
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.shared.world().requests.clone()
    }

    /// Forgets the requests seen so far.
    pub fn clear_requests(&self) {
        self.shared.world().requests.clear();
    }

    /// Every webhook there was to deliver, in the order it came to be, and what became of each attempt.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.world().outbox.deliveries()
    }

    /// Returns when no webhook is under way or due. One that is due later, by the clock of the `Env`, is not waited for.
    pub async fn webhooks_settled(&self) {
        let mut progress = self.shared.progress.subscribe();
        while !self.shared.world().outbox.settled(self.shared.env.monotonic()) {
            // The sender lives as long as the handle.
            let _ = progress.changed().await;
        }
    }

    /// Sends a webhook once more, with its id: what somebody does at the vendor's page. One that waits for a next one is sent
    /// too.
    ///
    /// # Errors
    /// `not_found` when there is no delivery with this id.
    pub fn redeliver(&self, id: &str) -> Result<()> {
        let now = self.shared.env.monotonic();
        if !self.shared.world().outbox.redeliver(id, now) {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no delivery `{id}`")));
        }
        self.shared.wake.notify_one();
        Ok(())
    }

    /// Closes the servers and their connections, as dropping it does.
    pub fn close(self) {
        drop(self.running);
    }
}
