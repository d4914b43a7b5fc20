//! A storm of webhooks: two processes on one store take deliveries and work on them, and end at every step in turn, while
//! a vendor sends hundreds of deliveries, out of order and some of them twice, each until it is acknowledged. There are
//! more of them for as long as a process has not ended as often as it should.
//!
//! Nothing that was acknowledged is lost, and every delivery had its effects once.

mod aftermath;
mod process;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use agentprovision::Timestamp;
use agentprovision::backend::Backend;
use agentprovision::connectors::webhook::{
    EndpointAddress, EventFilter, MadeEndpoint, NewEndpoint, Scheme, Secrets, Trigger, Vendor, Verifier,
};
use agentprovision::id::{AgentId, EndpointId};
use agentprovision::page::PageRequest;
use agentprovision::prelude::*;
use agentprovision::testing::ScriptedModel;
use agentprovision_core::webhook::{Delivery, DeliveryState};
use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::support::aftermath::connect;
use crate::support::hooks::{self, Sender};
use crate::support::life::{Life, SIGABRT, SIGKILL};
use crate::support::victim::{Fault, echo, options};
use crate::support::{Draw, Home, desk, home, in_time, store};
use process::{SCENARIO, Scenario, Step};

const SECRET: &str = "a secret of the storm";
/// Deliveries, at least.
const DELIVERIES: usize = 400;
/// Deliveries under way at the same time.
const SENDERS: usize = 12;
/// Deliveries are put out of order within so many.
const BATCH: usize = 40;
/// Things that the deliveries are about.
const ISSUES: usize = 24;
/// Longer than all of it takes by far.
const WATCHDOG: Duration = Duration::from_secs(300);

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By itself, at a step.
    At(Step, u64),
    /// Killed from outside when it has told of so many deliveries that they are over.
    Killed(usize),
}

/// How the processes end, one after the other. Each step is somebody's first, and comes again in the middle of the work.
const WAYS: [&[Way]; 2] = [
    &[
        Way::At(Step::BeforeKept, 1),
        Way::At(Step::AfterClaim, 1),
        Way::At(Step::AfterHandled, 1),
        Way::At(Step::BeforeFinish, 1),
        Way::At(Step::AfterRun, 1),
        Way::At(Step::AfterKept, 9),
        Way::At(Step::BeforeHandled, 7),
        Way::Killed(5),
        Way::At(Step::BeforeRun, 8),
        Way::At(Step::AfterFinish, 6),
    ],
    &[
        Way::At(Step::AfterKept, 1),
        Way::At(Step::BeforeHandled, 1),
        Way::At(Step::BeforeRun, 1),
        Way::At(Step::AfterFinish, 1),
        Way::Killed(12),
        Way::At(Step::BeforeKept, 8),
        Way::At(Step::AfterClaim, 3),
        Way::At(Step::AfterHandled, 9),
        Way::At(Step::BeforeFinish, 7),
        Way::At(Step::AfterRun, 11),
    ],
];

/// A platform whose model says what it was told.
async fn platform(backend: Arc<dyn Backend>) -> Platform {
    Platform::builder()
        .backend(backend)
        .sealing_keys(desk::keys())
        .webhook_work(hooks::by_nobody())
        .engine(options(&Fault::Never))
        .model("m", Arc::new(ScriptedModel::from_fn("m", echo)))
        .build()
        .await
        .unwrap()
}

/// A delivery as the vendor sends it.
#[derive(Clone, Debug)]
struct Letter {
    key: String,
    issue: usize,
    /// Greater than that of every delivery before.
    number: usize,
    headers: HeaderMap,
    body: Bytes,
}

impl Letter {
    fn title(&self) -> String {
        format!("issue {} as of {}", self.issue, self.number)
    }
}

/// What happened so far.
#[derive(Debug, Default)]
struct Sent {
    letters: Vec<Letter>,
    queue: VecDeque<Letter>,
    /// How often each was acknowledged.
    acknowledged: BTreeMap<String, u32>,
    /// Connections that broke, and answers that were no acknowledgement.
    broken: usize,
    refused: usize,
}

/// Where a process takes deliveries: its number among all of them, and its URL.
type Door = Option<(usize, String)>;

/// What all have in common.
struct Yard {
    scene: Scene,
    folder: PathBuf,
    verifier: Verifier,
    draw: Draw,
    sent: Mutex<Sent>,
    doors: watch::Sender<[Door; 2]>,
    /// How many of the ends there should be have not been.
    to_come: AtomicUsize,
    lives: AtomicUsize,
    /// Rung when a delivery is told to be over.
    heard: Notify,
    all_over: CancellationToken,
}

impl Yard {
    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap()
    }

    fn letter(&self, number: usize) -> Letter {
        let issue = self.draw.below(ISSUES);
        let mut letter = Letter {
            key: format!("storm-{number}"),
            issue,
            number,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let body = json!({
            "action": "edited",
            "issue": {
                "id": issue,
                "number": issue,
                "title": letter.title(),
                "updated_at": Timestamp::from_micros((1_700_000_000 + number as i64) * 1_000_000),
            },
            "repository": { "id": 1, "full_name": "octo/repo" },
        });
        letter.body = Bytes::from(body.to_string());
        let now = Timestamp::from_micros(0);
        letter.headers = self.verifier.sign(now, "", &letter.body).unwrap();
        letter.headers.insert("x-github-event", HeaderValue::from_static("issues"));
        letter.headers.insert("x-github-delivery", letter.key.parse().unwrap());
        letter
    }

    /// The next delivery to send; none when there were enough.
    fn next(&self) -> Option<Letter> {
        let mut sent = self.sent();
        if sent.queue.is_empty() {
            let made = sent.letters.len();
            if made >= DELIVERIES && self.to_come.load(Ordering::SeqCst) == 0 {
                return None;
            }
            let letters: Vec<Letter> = (made..made + BATCH).map(|number| self.letter(number)).collect();
            // A third of them twice, and all out of order.
            let mut copies: Vec<Letter> = letters.iter().chain(letters.iter().step_by(3)).cloned().collect();
            while !copies.is_empty() {
                let drawn = copies.swap_remove(self.draw.below(copies.len()));
                sent.queue.push_back(drawn);
            }
            sent.letters.extend(letters);
        }
        sent.queue.pop_front()
    }

    /// Sends deliveries as a vendor does: each until it is acknowledged.
    async fn send(&self) {
        let (client, mut doors) = (Sender::new(), self.doors.subscribe());
        while let Some(letter) = self.next() {
            let mut shut = BTreeSet::new();
            loop {
                let open = doors.borrow_and_update().clone();
                let mut open = open.iter().flatten().filter(|(life, _)| !shut.contains(life));
                // As likely this one as the other.
                let first = if letter.number % 2 == 0 { open.next() } else { open.next_back() };
                let Some((life, url)) = first else {
                    in_time(doors.changed()).await.unwrap();
                    continue;
                };
                let url = format!("{url}/{}", self.scene.address);
                match client.send(&url, &letter.headers, &letter.body).await {
                    Ok((200, _)) => break,
                    Ok((503, _)) => self.sent().refused += 1,
                    Ok(other) => panic!("a vendor was told {other:?}"),
                    Err(_) => {
                        self.sent().broken += 1;
                        shut.insert(*life);
                    }
                }
            }
            *self.sent().acknowledged.entry(letter.key).or_default() += 1;
        }
    }

    /// Has one process after another in a place: those that end, and then one that lives until all is over.
    async fn keep(&self, place: usize) {
        for way in WAYS[place] {
            let mut life = self.begin(place, Some(*way)).await;
            let (mut told, mut killed) = (0, false);
            while let Some(line) = life.line().await {
                told += usize::from(self.hear(place, &line));
                if *way == Way::Killed(told) && !killed {
                    life.kill();
                    killed = true;
                }
            }
            self.doors.send_modify(|doors| doors[place] = None);
            let expected = if killed { SIGKILL } else { SIGABRT };
            assert_eq!(life.end().await, Some(expected), "{way:?}");
            self.to_come.fetch_sub(1, Ordering::SeqCst);
        }
        let mut life = self.begin(place, None).await;
        loop {
            tokio::select! {
                line = life.line() => {
                    let line = line.expect("a process ended that should live");
                    self.hear(place, &line);
                }
                () = self.all_over.cancelled() => break,
            }
        }
        life.dismiss();
        while life.line().await.is_some() {}
        assert_eq!(life.end().await, None);
    }

    async fn begin(&self, place: usize, way: Option<Way>) -> Life {
        let ends = match way {
            Some(Way::At(step, times)) => Some((step, times)),
            _ => None,
        };
        let log = self.folder.join("logs").join(place.to_string());
        let scenario = Scenario { store: self.scene.store.clone(), log, ends };
        Life::of("storm::process::child", SCENARIO, &serde_json::to_string(&scenario).unwrap())
    }

    /// Takes in a line; whether it says that a delivery is over.
    fn hear(&self, place: usize, line: &str) -> bool {
        if let Some(url) = line.strip_prefix("at ") {
            let life = self.lives.fetch_add(1, Ordering::SeqCst);
            self.doors.send_modify(|doors| doors[place] = Some((life, url.to_owned())));
        }
        let over = line.starts_with("over ");
        if over {
            self.heard.notify_one();
        }
        over
    }
}

/// A store with an endpoint in it.
struct Scene {
    store: String,
    home: Home,
    agent: AgentId,
    endpoint: EndpointId,
    address: EndpointAddress,
}

impl Scene {
    /// An endpoint with two triggers: one for everything, and one for what is the newest of its issue.
    async fn provision(store: String) -> Self {
        let backend = connect(&store).await;
        let platform = platform(backend.clone()).await;
        let home = home(&platform, "acme").await;
        let agent = platform.agents().create(&home.admin, AgentSpec::new("clerk").model("m")).await.unwrap();
        platform.agents().deploy(&home.admin, agent.id).await.unwrap();
        let trigger = |newest_only, input: &str| Trigger {
            filter: EventFilter::kind("issues.edited"),
            agent: agent.id,
            input: input.into(),
            newest_only,
        };
        let new = NewEndpoint {
            name: "code".into(),
            vendor: Vendor::Github,
            scheme: None,
            source: None,
            integration: None,
            triggers: vec![
                trigger(false, "{{ body.issue.title }}"),
                trigger(true, "{{ body.issue.title }}, the newest"),
            ],
            secret: Some(SECRET.into()),
        };
        let MadeEndpoint { endpoint, .. } = platform.webhooks().create(&home.admin, new).await.unwrap();
        platform.close().await.unwrap();
        Self { store, home, agent: agent.id, endpoint: endpoint.id, address: endpoint.address }
    }
}

/// All deliveries that are kept.
async fn deliveries(backend: &Arc<dyn Backend>, scene: &Scene, ctx: &Context) -> Vec<Delivery> {
    let (mut all, mut next) = (Vec::new(), None);
    loop {
        let mut page = PageRequest::limit(100);
        page.after = next;
        let page = backend.stores().inbox.list(ctx, scene.endpoint, page).await.unwrap();
        all.extend(page.items);
        next = page.next;
        if next.is_none() {
            return all;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_26_every_delivery_has_its_effects_once_whatever_is_killed() {
    tokio::time::timeout(WATCHDOG, storm()).await.expect("not over in time");
}

async fn storm() {
    let begun = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("logs")).unwrap();
    let scene = Scene::provision(store::new(&folder.path().join("storm.db"))).await;
    let yard = Yard {
        scene,
        folder: folder.path().to_owned(),
        verifier: Verifier::new(Scheme::Github, Secrets::new(SECRET)).unwrap(),
        draw: Draw::new(),
        sent: Mutex::default(),
        doors: watch::Sender::new([None, None]),
        to_come: AtomicUsize::new(WAYS.iter().map(|ways| ways.len()).sum()),
        lives: AtomicUsize::new(0),
        heard: Notify::new(),
        all_over: CancellationToken::new(),
    };
    let vendor = async {
        futures_util::future::join_all((0..SENDERS).map(|_| yard.send())).await;
        let sent = begun.elapsed();
        let backend = connect(&yard.scene.store).await;
        let platform = platform(backend.clone()).await;
        let home = &yard.scene.home;
        let ctx = platform.context(home.tenant.id, home.root.id).await.unwrap();
        loop {
            let all = deliveries(&backend, &yard.scene, &ctx).await;
            if all.iter().all(|one| one.state != DeliveryState::Pending) {
                println!("sent in {sent:.1?}, worked on in {:.1?}", begun.elapsed());
                aftermath::check(&yard, &platform, &backend, &ctx, all).await;
                break;
            }
            // Whoever ends the last one says so afterwards.
            in_time(yard.heard.notified()).await;
        }
        platform.close().await.unwrap();
        yard.all_over.cancel();
    };
    tokio::join!(yard.keep(0), yard.keep(1), vendor);
    println!("over in {:.1?}", begun.elapsed());
}
