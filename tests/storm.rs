//! A storm of webhooks: two processes on one store take deliveries and work on them, and end at every step in turn, while
//! a vendor sends hundreds of deliveries, out of order and some of them twice, each until it is acknowledged. There are
//! more of them for as long as a process has not ended as often as it should.
//!
//! Nothing that was acknowledged is lost, and every delivery had its effects once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use agentprovision::backend::{Backend, Stores};
use agentprovision::connectors::webhook::{
    EndpointAddress, EventFilter, HandledDelivery, MadeEndpoint, NewEndpoint, ReceiverOptions, Scheme,
    Secrets, Trigger, Vendor, Verifier, WebhookHandler, WorkOptions,
};
use agentprovision::id::{AgentId, DeliveryId, EndpointId, RunId, TenantId, WorkerId};
use agentprovision::page::{Page, PageRequest};
use agentprovision::prelude::*;
use agentprovision::run::{RunQuery, RunStatus};
use agentprovision::testing::{FaultBackend, FaultPoint, ScriptedModel};
use agentprovision::{Effects, Timestamp};
use agentprovision_core::webhook::{
    Accepted, ClaimedDelivery, Delivery, DeliveryEnd, DeliveryState, Inbox, NewDelivery,
};
use async_trait::async_trait;
use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::support::aftermath::{all_events, connect, whole_lines};
use crate::support::hooks::{self, Sender};
use crate::support::life::{Life, SIGABRT, SIGKILL};
use crate::support::victim::{Fault, echo, note, options, say};
use crate::support::{Draw, Home, home, in_time, store};

/// The environment variable that makes a process one of those that end.
const SCENARIO: &str = "AGENTPROVISION_STORM_SCENARIO";
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

/// Where a process ends: at the n-th time that it comes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Step {
    /// Before the delivery is written.
    BeforeKept,
    /// After that, and before its acknowledgement.
    AfterKept,
    /// After deliveries were taken to be worked on.
    AfterClaim,
    /// Before the host's handler has done anything.
    BeforeHandled,
    /// When it has.
    AfterHandled,
    /// Before a run is started or goes on.
    BeforeRun,
    /// After that.
    AfterRun,
    /// Between the effects and the end of a delivery, with which its event is committed.
    BeforeFinish,
    /// After that.
    AfterFinish,
}

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

/// What a process is told.
#[derive(Debug, Serialize, Deserialize)]
struct Scenario {
    store: String,
    /// The file of what the host's handler did.
    log: PathBuf,
    ends: Option<(Step, u64)>,
}

/// Ends the process at its step.
#[derive(Debug)]
struct Trap {
    ends: Option<(Step, u64)>,
    passed: AtomicU64,
}

impl Trap {
    fn reached(&self, step: Step) {
        let Some((at, times)) = self.ends else { return };
        if step == at && self.passed.fetch_add(1, Ordering::SeqCst) + 1 == times {
            std::process::abort();
        }
    }
}

/// A backend whose inbox has the trap in it.
#[derive(Debug)]
struct Trapped {
    inner: Arc<dyn Backend>,
    trap: Arc<Trap>,
}

#[async_trait]
impl Backend for Trapped {
    fn stores(&self) -> Stores {
        let stores = self.inner.stores();
        let inbox = Arc::new(TrappedInbox { inner: stores.inbox.clone(), trap: self.trap.clone() });
        Stores { inbox, ..stores }
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

#[derive(Debug)]
struct TrappedInbox {
    inner: Arc<dyn Inbox>,
    trap: Arc<Trap>,
}

#[async_trait]
impl Inbox for TrappedInbox {
    async fn accept(&self, tenant: TenantId, delivery: NewDelivery) -> Result<Accepted> {
        self.trap.reached(Step::BeforeKept);
        let accepted = self.inner.accept(tenant, delivery).await?;
        self.trap.reached(Step::AfterKept);
        Ok(accepted)
    }

    async fn claim(
        &self,
        worker: WorkerId,
        term: Duration,
        limit: u32,
        after: Option<TenantId>,
    ) -> Result<Vec<ClaimedDelivery>> {
        let claimed = self.inner.claim(worker, term, limit, after).await?;
        if !claimed.is_empty() {
            self.trap.reached(Step::AfterClaim);
        }
        Ok(claimed)
    }

    async fn finish(
        &self,
        tenant: TenantId,
        id: DeliveryId,
        epoch: u64,
        end: DeliveryEnd,
        effects: Effects,
    ) -> Result<()> {
        self.trap.reached(Step::BeforeFinish);
        let done = matches!(end, DeliveryEnd::Done(_));
        self.inner.finish(tenant, id, epoch, end, effects).await?;
        self.trap.reached(Step::AfterFinish);
        if done {
            say(format_args!("over {id}"));
        }
        Ok(())
    }

    async fn advance(&self, tenant: TenantId, at: EndpointId, key: &str, version: &str) -> Result<bool> {
        self.inner.advance(tenant, at, key, version).await
    }

    async fn mark(&self, tenant: TenantId, endpoint: EndpointId, key: &str) -> Result<Option<String>> {
        self.inner.mark(tenant, endpoint, key).await
    }

    async fn get(&self, ctx: &Context, id: DeliveryId) -> Result<Delivery> {
        self.inner.get(ctx, id).await
    }

    async fn list(&self, ctx: &Context, endpoint: EndpointId, page: PageRequest) -> Result<Page<Delivery>> {
        self.inner.list(ctx, endpoint, page).await
    }

    async fn replay(&self, ctx: &Context, id: DeliveryId, effects: Effects) -> Result<()> {
        self.inner.replay(ctx, id, effects).await
    }

    async fn expire(&self, keep: Duration, limit: u32) -> Result<u32> {
        self.inner.expire(keep, limit).await
    }

    async fn woken(&self) {
        self.inner.woken().await;
    }
}

/// What the host does about a delivery: it writes it down where no transaction takes it back.
#[derive(Debug)]
struct Host {
    trap: Arc<Trap>,
    log: PathBuf,
}

#[async_trait]
impl WebhookHandler for Host {
    async fn handle(&self, _: &Context, delivery: &HandledDelivery<'_>) -> Result<()> {
        self.trap.reached(Step::BeforeHandled);
        note(&self.log, &format!("{} {}\n", delivery.id, delivery.event.delivery_id));
        self.trap.reached(Step::AfterHandled);
        Ok(())
    }
}

/// Not a test of its own: a process of the storm. Without a scenario it has nothing to do.
#[test]
fn child() {
    let Ok(scenario) = std::env::var(SCENARIO) else { return };
    let scenario: Scenario = serde_json::from_str(&scenario).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(live(scenario));
}

async fn live(scenario: Scenario) {
    let Scenario { store, log, ends } = scenario;
    let trap = Arc::new(Trap { ends, passed: AtomicU64::new(0) });
    let trapped = Trapped { inner: connect(&store).await, trap: trap.clone() };
    let in_runs = trap.clone();
    let backend = FaultBackend::new(Arc::new(trapped), move |point| match point {
        FaultPoint::Before(_) => in_runs.reached(Step::BeforeRun),
        FaultPoint::After(_) => in_runs.reached(Step::AfterRun),
    });
    let backend = Arc::new(backend);
    let platform = platform(backend.clone()).await;
    let webhooks = hooks::webhooks(&platform, &backend.stores());
    let closing = CancellationToken::new();
    let mut options = WorkOptions::default();
    // What a process that ended has held is taken up soon.
    (options.term, options.poll) = (Duration::from_secs(4), Duration::from_millis(100));
    let host: Arc<dyn WebhookHandler> = Arc::new(Host { trap, log });
    let work = tokio::spawn({
        let (webhooks, closing) = (webhooks.clone(), closing.clone());
        async move { webhooks.work(options, vec![host], closing).await }
    });
    let url = hooks::serve(webhooks.receiver(ReceiverOptions::default())).await;
    say(format_args!("at {url}"));
    // Until nobody is there to say something any more.
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()).unwrap()).await.unwrap();
    closing.cancel();
    work.await.unwrap();
    platform.close().await.unwrap();
}

/// A platform whose model says what it was told.
async fn platform(backend: Arc<dyn Backend>) -> Platform {
    Platform::builder()
        .backend(backend)
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
                let first = if letter.number % 2 == 0 { open.next() } else { open.last() };
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
        Life::of("storm::child", SCENARIO, &serde_json::to_string(&scenario).unwrap())
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
        let MadeEndpoint { endpoint, address, .. } =
            hooks::webhooks(&platform, &backend.stores()).create(&home.admin, new).await.unwrap();
        platform.close().await.unwrap();
        Self { store, home, agent: agent.id, endpoint: endpoint.id, address }
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
async fn every_delivery_has_its_effects_once_whatever_is_killed() {
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
                check(&yard, &platform, &backend, &ctx, all).await;
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

/// What must hold of deliveries that are all over.
async fn check(
    yard: &Yard,
    platform: &Platform,
    backend: &Arc<dyn Backend>,
    ctx: &Context,
    kept: Vec<Delivery>,
) {
    let (letters, acknowledged) = {
        let sent = yard.sent();
        let acks: u32 = sent.acknowledged.values().sum();
        println!(
            "{} deliveries, {acks} acknowledgements, {} connections broke, {} answers were 503",
            sent.letters.len(),
            sent.broken,
            sent.refused
        );
        (sent.letters.clone(), sent.acknowledged.clone())
    };
    assert!(letters.len() >= DELIVERIES);
    // Nothing is lost, nothing is there that nobody sent, and each is there once.
    let keys: BTreeSet<&String> = kept.iter().map(|one| &one.new.key).collect();
    assert_eq!(keys.len(), kept.len());
    assert_eq!(keys, acknowledged.keys().collect());
    assert_eq!(keys, letters.iter().map(|letter| &letter.key).collect());

    let mut runs = BTreeMap::new();
    let (mut query, mut finished) = (RunQuery::default(), 0);
    (query.agent, query.page) = (Some(yard.scene.agent), PageRequest::limit(100));
    loop {
        let page = platform.runs().list(ctx, query.clone()).await.unwrap();
        for run in page.items {
            let before = runs.insert(run.idem_key.clone().unwrap(), run.id);
            assert_eq!(before, None, "two runs of {:?}", run.idem_key);
            finished += usize::from(run.status != RunStatus::Running);
        }
        query.page.after = page.next;
        if query.page.after.is_none() {
            break;
        }
    }
    println!("{} runs, {finished} of them over when the last delivery was", runs.len());
    let mut told: BTreeMap<String, u32> = BTreeMap::new();
    for event in all_events(backend, ctx).await {
        if event.event.kind == "agentprovision.webhook.received" {
            *told.entry(event.event.data["delivery"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    assert_eq!(told.len(), kept.len());
    let mut handled: BTreeMap<String, u32> = BTreeMap::new();
    for line in whole_lines(&yard.folder.join("logs")) {
        *handled.entry(line.split_once(' ').unwrap().0.to_owned()).or_default() += 1;
    }
    let by_key: BTreeMap<&String, &Letter> = letters.iter().map(|letter| (&letter.key, letter)).collect();
    let mut newest: BTreeMap<usize, usize> = BTreeMap::new();
    for letter in &letters {
        let known = newest.entry(letter.issue).or_default();
        *known = (*known).max(letter.number);
    }
    let (mut attempts, mut repeats, mut expected) = (0, 0, BTreeMap::new());
    for one in &kept {
        let (id, letter) = (one.new.id.to_string(), by_key[&one.new.key]);
        assert_eq!((one.state, one.error, one.conflicts), (DeliveryState::Done, None, 0), "{one:?}");
        assert_eq!(told.get(&id), Some(&1), "events of {one:?}");
        // The host may hear of it more than once, and never more often than it was taken up.
        assert!((1..=one.attempts).contains(&handled[&id]), "{} times: {one:?}", handled[&id]);
        // Each acknowledgement was for one that was kept; a process may have ended in between.
        assert!(one.repeats + 1 >= acknowledged[&one.new.key], "{one:?}");
        attempts += one.attempts;
        repeats += one.repeats;
        let everything = format!("{id}/0");
        assert!(one.runs.contains(&runs[&everything]), "{one:?}");
        expected.insert(everything, letter.title());
        let news = format!("{id}/1");
        let is_newest = newest[&letter.issue] == letter.number;
        match runs.get(&news) {
            // Whoever took it up again may have found that something newer had come in between.
            Some(run) => {
                assert!(one.runs.contains(run) || (one.attempts > 1 && !is_newest), "{one:?}");
                expected.insert(news, format!("{}, the newest", letter.title()));
            }
            None => assert!(!is_newest, "the newest news of an issue: {one:?}"),
        }
    }
    println!("{attempts} attempts, {repeats} repeats");
    assert!(attempts as usize > kept.len(), "nobody ended with a delivery in its hands");
    assert_eq!(expected.keys().collect::<Vec<_>>(), runs.keys().collect::<Vec<_>>());
    for (key, id) in &runs {
        let run = platform.runs().get(ctx, *id).await.unwrap();
        assert_eq!(in_time(run.wait()).await.unwrap().text().unwrap(), expected[key]);
    }
    let started = records(platform, ctx, "runs.start").await;
    assert_eq!(started.len(), runs.len());
    let ids: BTreeSet<String> = runs.values().map(RunId::to_string).collect();
    assert_eq!(started.into_iter().collect::<BTreeSet<_>>(), ids);
}

/// The resources of the audit records of an action.
async fn records(platform: &Platform, ctx: &Context, action: &str) -> Vec<String> {
    let (mut found, mut from) = (Vec::new(), 0);
    loop {
        let page = platform.audit().entries(ctx, from, 500).await.unwrap();
        if page.is_empty() {
            return found;
        }
        from += page.len() as u64;
        let records = page.iter().map(|entry| entry.record().unwrap());
        found.extend(
            records.filter(|record| record.action == action).map(|record| record.resource_id.unwrap()),
        );
    }
}
