//! Three workers on one PostgreSQL finish a thousand runs of five tenants, while each of them is killed again and again,
//! at random and at chosen points, or stands still until others have taken what it held and then goes on, and while the
//! server is restarted, as in a crash too. There are more runs for as long
//! as a worker has not died as often as it should.
//!
//! Nothing is lost, nothing is done twice that must not be, no audit log has a gap, every event was delivered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use agentprovision::audit::{Checkpoint, merkle};
use agentprovision::backend::Backend;
use agentprovision::event::NumberedEvent;
use agentprovision::id::{RunId, TenantId};
use agentprovision::prelude::*;
use agentprovision::tenancy::store::postgres::TestDatabase;
use futures_util::future::{join, join_all};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::support::aftermath::{Case, Order, Place, all_events, connect, whole_lines};
use crate::support::crew::{Crew, Delivered, FileSink};
use crate::support::life::{Life, SIGABRT, SIGKILL};
use crate::support::victim::{self, Fault, Scenario, TOOLS};
use crate::support::{Draw, in_time, store};
use server::Server;

#[path = "../agentprovision-tenancy/tests/postgres/server.rs"]
mod server;

/// Runs of each tenant, at least: the first has much more to do than the others.
const RUNS: [usize; 5] = [600, 100, 100, 100, 100];

const WORKERS: usize = 3;

/// How often each worker ends in each way, at least.
const DEATHS: [(Way, usize); 6] = [
    (Way::Killed, 3),
    (Way::Stopped, 2),
    (Way::BeforeCommit, 3),
    (Way::AfterCommit, 3),
    (Way::AtWork, 3),
    // One at a time hands events over.
    (Way::AtSink, 1),
];

/// What a worker tells before it is killed, if it does not come to its end: lines.
const PATIENCE: usize = 200;

/// Runs that are started and not over, at most; about, as an end may have been told to nobody.
const UNDER_WAY: usize = 150;

/// Starts that a worker was told of and has not answered, at most.
const ASKED: usize = 8;

/// How the server is restarted, once so many of a hundred runs are over.
const RESTARTS: [(usize, &str); 5] = [
    (10, "restart immediate"),
    (25, "restart"),
    (40, "restart immediate"),
    (55, "restart immediate"),
    (70, "restart"),
];

/// Longer than all of it takes by far.
const WATCHDOG: Duration = Duration::from_secs(600);

/// How a worker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// It is killed from outside.
    Killed,
    /// It stands still, goes on when others have its runs, and is killed later.
    Stopped,
    BeforeCommit,
    AfterCommit,
    /// In a tool or a model: before it did something, or between that and the commit of its end.
    AtWork,
    /// When events are handed to its sink: before that has them, or between that and their confirmation.
    AtSink,
    /// It is not ended.
    Lives,
}

/// A label: half of each tenant's have their tools called one after another, half all at once.
fn label(place: usize, number: usize) -> String {
    format!("{}-{place}-{number}", ["turn", "once"][number % 2])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_workers_finish_every_run_whatever_is_killed() {
    if !store::on_server() || !Server::may_be_started() {
        println!("skipped: it needs a server of its own; `cargo xtask test \"tests on postgres\"` runs it");
        return;
    }
    tokio::time::timeout(WATCHDOG, fleet()).await.expect("not over in time");
}

/// A run to start: the number of its place, and its label.
type Job = (usize, String);

/// What all workers have in common.
struct Yard {
    url: String,
    folder: PathBuf,
    places: Vec<Place>,
    draw: Draw,
    work: Mutex<Work>,
    /// How many runs are known to be over.
    over: watch::Sender<usize>,
    /// Rung when something was told.
    heard: Notify,
    all_over: CancellationToken,
    /// How many of the deaths there should be have not been.
    to_come: AtomicUsize,
}

#[derive(Default)]
struct Work {
    /// What to start; some are in here twice.
    jobs: VecDeque<Job>,
    /// How many more runs of the first tenant there are.
    more: usize,
    started: BTreeMap<String, RunId>,
    over: BTreeSet<RunId>,
    /// Who last had a run, by the name of its life.
    holders: BTreeMap<RunId, String>,
    /// Starts that failed, by kind of error.
    refused: BTreeMap<String, usize>,
    /// What was told of runs.
    told: Vec<String>,
    /// Heads of audit logs, as they were read.
    heads: BTreeMap<TenantId, Vec<Checkpoint>>,
}

impl Yard {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap()
    }

    fn next_job(&self) -> Option<Job> {
        let mut work = self.work();
        if work.started.len().saturating_sub(work.over.len()) >= UNDER_WAY {
            return None;
        }
        if work.jobs.is_empty() && self.deaths_to_come() {
            let label = label(0, RUNS[0] + work.more);
            work.more += 1;
            return Some((0, label));
        }
        work.jobs.pop_front()
    }

    fn deaths_to_come(&self) -> bool {
        self.to_come.load(Ordering::SeqCst) > 0
    }

    /// Takes in what the life of this name tells.
    fn told(&self, name: &str, line: String, asked: &mut Vec<Job>) {
        let parts: Vec<&str> = line.splitn(4, ' ').collect();
        let mut work = self.work();
        if let ["row" | "took", run, ..] = parts[..] {
            work.holders.insert(run.parse().unwrap(), name.to_owned());
        }
        match parts[..] {
            ["run", label, run] => {
                asked.retain(|(_, asked)| asked != label);
                let run = run.parse().unwrap();
                let before = *work.started.entry(label.to_owned()).or_insert(run);
                assert_eq!(before, run, "a key gave two runs");
            }
            ["refused", label, kind, message] => {
                // What may happen while the database goes away; nobody knows what became of an uncertain one.
                assert!(["unavailable", "uncertain"].contains(&kind), "{label}: {kind}: {message}");
                let place = asked.iter().position(|(_, asked)| asked == label).unwrap();
                work.jobs.push_back(asked.swap_remove(place));
                *work.refused.entry(kind.to_owned()).or_default() += 1;
                return;
            }
            ["row", run, _, entry] if entry.contains(r#""entry":"finished""#) => {
                work.over.insert(run.parse().unwrap());
                self.over.send_replace(work.over.len());
            }
            _ => {}
        }
        work.told.push(line);
        self.heard.notify_waiters();
    }

    /// Waits until something that the life of this name had is another's, or nothing of it is left; at once, if it had nothing.
    async fn taken_from(&self, name: &str) {
        let held: Vec<RunId> = {
            let work = self.work();
            let held =
                work.holders.iter().filter(|(run, holder)| *holder == name && !work.over.contains(run));
            held.map(|(run, _)| *run).collect()
        };
        let taken = async {
            loop {
                let heard = self.heard.notified();
                {
                    let work = self.work();
                    let mut left = held.iter().filter(|run| !work.over.contains(run)).peekable();
                    if left.peek().is_none() || left.any(|run| work.holders[run] != name) {
                        return;
                    }
                }
                heard.await;
            }
        };
        in_time(taken).await;
    }

    /// Where a worker ends in this way.
    fn fault(&self, way: Way) -> (Fault, u64) {
        let commit = || self.draw.below(40) as u64 + 1;
        let tools = TOOLS.map(|(name, _)| name);
        let name = || tools.iter().chain(&["model"]).nth(self.draw.below(5)).unwrap().to_string();
        let passed = || self.draw.below(8) as u64;
        match way {
            Way::Killed | Way::Stopped | Way::Lives => (Fault::Never, 0),
            Way::BeforeCommit => (Fault::BeforeCommit(commit()), 0),
            Way::AfterCommit => (Fault::AfterCommit(commit()), 0),
            Way::AtWork if self.draw.below(3) == 0 => (Fault::BeforeEffect(name()), passed()),
            Way::AtWork => (Fault::AfterEffect(name()), passed()),
            Way::AtSink if self.draw.below(3) == 0 => (Fault::AfterEffect("sink".into()), passed()),
            Way::AtSink => (Fault::BeforeEffect("sink".into()), passed()),
        }
    }

    fn scenario(&self, name: &str, (fault, spared): (Fault, u64)) -> Scenario {
        let place = &self.places[0];
        let places = self.places.iter().map(|place| (place.home.tenant.id, place.user, place.agent));
        let events = self.folder.join("events").join(name);
        Scenario {
            store: self.url.clone(),
            effects: self.folder.join("effects").join(name),
            tenant: place.home.tenant.id,
            user: place.user,
            agent: place.agent,
            session: None,
            labels: Vec::new(),
            fault,
            spared,
            crew: Some(Crew { places: places.collect(), events }),
        }
    }

    /// The life of a worker. Says how it ended.
    async fn live(&self, name: &str, way: Way) -> Way {
        let mut kill_after = match way {
            // It has to wait until the duty of handing events over is its.
            Way::Lives | Way::AtSink => None,
            Way::Killed => Some(self.draw.below(150) + 1),
            _ => Some(PATIENCE),
        };
        let mut stop_after = (way == Way::Stopped).then(|| self.draw.below(100) + 1);
        let mut life = Life::begin(&self.scenario(name, self.fault(way)));
        let (mut asked, mut lines, mut dismissed) = (Vec::<Job>::new(), 0, false);
        let mut over = self.over.subscribe();
        loop {
            while asked.len() < ASKED {
                let Some((place, label)) = self.next_job() else { break };
                life.say(&format!("start {place} {label}")).await;
                asked.push((place, label));
            }
            tokio::select! {
                line = life.line() => {
                    let Some(line) = line else { break };
                    self.told(name, line, &mut asked);
                    lines += 1;
                    if stop_after.is_some_and(|after| lines >= after) {
                        stop_after = None;
                        life.pause(true).await;
                        let mut taken = std::pin::pin!(self.taken_from(name));
                        loop {
                            // What it had told before it stood still is heard too, such as that all of it was over.
                            tokio::select! {
                                () = &mut taken => break,
                                Some(line) = life.line() => {
                                    self.told(name, line, &mut asked);
                                    lines += 1;
                                }
                            }
                        }
                        life.pause(false).await;
                    }
                    if kill_after.is_some_and(|after| lines >= after) {
                        kill_after = None;
                        life.kill();
                    }
                }
                _ = over.changed(), if !dismissed => {}
                () = self.all_over.cancelled(), if !dismissed => {
                    dismissed = true;
                    life.dismiss();
                }
            }
        }
        // It may have started them, or not.
        self.work().jobs.extend(asked);
        match (life.end().await, way) {
            (None, _) => Way::Lives,
            (Some(SIGKILL), Way::Stopped) => Way::Stopped,
            (Some(SIGKILL), _) => Way::Killed,
            (Some(SIGABRT), Way::BeforeCommit | Way::AfterCommit | Way::AtWork | Way::AtSink) => way,
            (end, way) => panic!("{way:?} ended by signal {end:?}"),
        }
    }

    /// One worker after another in the same position, until everything is over.
    async fn position(&self, number: usize) -> BTreeMap<Way, usize> {
        let mut ways: Vec<Way> = DEATHS.iter().flat_map(|(way, times)| vec![*way; *times]).collect();
        let mut ends = BTreeMap::new();
        let mut lives = 0;
        while !self.all_over.is_cancelled() {
            let way = match ways.len() {
                // It does not keep for good what another waits for.
                0 if self.deaths_to_come() => Way::Killed,
                0 => Way::Lives,
                left => ways[self.draw.below(left)],
            };
            lives += 1;
            let end = self.live(&format!("{number}-{lives}"), way).await;
            if let Some(place) = ways.iter().position(|due| *due == end) {
                ways.swap_remove(place);
                self.to_come.fetch_sub(1, Ordering::SeqCst);
            }
            *ends.entry(end).or_default() += 1;
        }
        ends
    }

    /// Notices when everything was started, is over and is delivered.
    async fn overseer(&self, store: &Arc<dyn Backend>) {
        let mut over = self.over.subscribe();
        let mut read_at = 0;
        while !self.is_all_over(store).await.unwrap_or(false) {
            // The end of a run may have been told to nobody.
            let _ = tokio::time::timeout(Duration::from_millis(500), over.changed()).await;
            let now = *over.borrow_and_update();
            if now >= read_at + 20 {
                read_at = now;
                join_all(self.places.iter().map(|place| self.read_head(store, place))).await;
            }
        }
        self.all_over.cancel();
    }

    /// Keeps the head of a tenant's audit log as it is now, which puts what is pending into the log.
    async fn read_head(&self, store: &Arc<dyn Backend>, place: &Place) {
        // The server may be away.
        if let Ok(head) = store.stores().audit.checkpoint(&place.home.admin).await {
            self.work().heads.entry(place.home.tenant.id).or_default().push(head);
        }
    }

    /// Every head that was read is one of a log that is the beginning of the log as it is now.
    async fn check_heads(&self, store: &Arc<dyn Backend>, place: &Place, heads: &[Checkpoint]) {
        let (audit, admin) = (store.stores().audit, &place.home.admin);
        let now = audit.checkpoint(admin).await.unwrap();
        assert!(heads.len() > 5 && heads.is_sorted_by_key(|head| head.size), "{heads:?}");
        for head in heads {
            let proof = audit.consistency(admin, head.size, now.size).await.unwrap();
            merkle::verify_consistency(head.size, head.root, now.size, now.root, &proof).unwrap();
        }
    }

    /// What the store says; it may be away.
    async fn is_all_over(&self, store: &Arc<dyn Backend>) -> Result<bool> {
        let labels = RUNS.iter().sum::<usize>() + self.work().more;
        if self.deaths_to_come()
            || self.work().started.len() < labels
            || self.work().over.len() + 2 * UNDER_WAY < labels
        {
            return Ok(false);
        }
        for place in &self.places {
            for status in RunStatus::ALL.iter().filter(|status| !status.is_terminal()) {
                let mut query = RunQuery::default();
                (query.page, query.status) = (PageRequest::limit(1), Some(*status));
                if !store.stores().index.list(&place.home.admin, query).await?.items.is_empty() {
                    return Ok(false);
                }
            }
        }
        Ok(store.stores().events.unpublished(1).await?.is_empty())
    }

    async fn restarts(&self, server: &Server) {
        let mut over = self.over.subscribe();
        for (percent, how) in RESTARTS {
            let mark = RUNS.iter().sum::<usize>() * percent / 100;
            over.wait_for(|over| *over >= mark).await.unwrap();
            let begun = Instant::now();
            server.restart(how).await;
            println!("{how} after {mark} runs: away for {:?}", begun.elapsed());
        }
    }

    /// Every event of the tenant was delivered, and none as another one.
    fn check_delivery(&self, delivered: &BTreeSet<Delivered>, events: Vec<NumberedEvent>) {
        let tenant = events[0].event.tenantid;
        let there: BTreeSet<Delivered> = events
            .into_iter()
            .map(|event| Delivered { tenant, seq: event.seq, id: event.event.id.to_string() })
            .collect();
        let of_tenant = delivered.iter().filter(|event| event.tenant == tenant);
        let of_tenant: BTreeSet<&Delivered> = of_tenant.collect();
        let lost: Vec<&Delivered> = there.iter().filter(|event| !of_tenant.contains(event)).collect();
        assert!(lost.is_empty(), "{} events were not delivered, first {:?}", lost.len(), lost[0]);
        assert_eq!(of_tenant.len(), there.len(), "something was delivered that is not in the log");
    }
}

/// Statements that fail where there is something left of these tables.
fn nothing_left(rows: &str) -> String {
    format!(
        "DO $$ BEGIN IF EXISTS (SELECT 1 FROM agentprovision.{rows}) THEN \
         RAISE EXCEPTION 'left: {}'; END IF; END $$",
        rows.replace('\'', "")
    )
}

async fn fleet() {
    let begun = Instant::now();
    let server = Server::start().await;
    let database = TestDatabase::create(&server.url).await.unwrap();
    database.admin(store::TABLES).await.unwrap();
    // What a worker that stands still has locked is soon free.
    // Whoever stands still may have as many transactions as connections, which wait for the same row and get it one after the
    // other; all of them have to be over before a watchdog is.
    let url = &format!("{}?idle_in_transaction_timeout_ms=750", database.url());
    let folder = tempfile::tempdir().unwrap();
    for part in ["effects", "events"] {
        std::fs::create_dir(folder.path().join(part)).unwrap();
    }
    let sink = Arc::new(FileSink::new(folder.path().join("events/provisioned")));
    let platform = victim::onlooker(connect(url).await, url).event_sink(sink).build().await.unwrap();
    let mut places = Vec::new();
    for number in 0..RUNS.len() {
        places.push(Place::provision(&platform, &format!("tenant-{number}")).await);
    }
    platform.close().await.unwrap();

    let draw = Draw::new();
    let of_place = |place: usize| (0..RUNS[place]).map(move |number| (place, label(place, number)));
    let mut jobs: Vec<Job> = (0..RUNS.len()).flat_map(of_place).collect();
    for place in (1..jobs.len()).rev() {
        jobs.swap(place, draw.below(place + 1));
    }
    // Every tenth is started twice.
    let twice = |(number, job): (usize, Job)| std::iter::repeat_n(job, if number % 10 == 0 { 2 } else { 1 });
    let jobs = jobs.into_iter().enumerate().flat_map(twice).collect();
    let yard = Yard {
        url: url.clone(),
        folder: folder.path().to_owned(),
        places,
        draw,
        work: Mutex::new(Work { jobs, ..Work::default() }),
        over: watch::Sender::new(0),
        heard: Notify::new(),
        all_over: CancellationToken::new(),
        to_come: AtomicUsize::new(WORKERS * DEATHS.iter().map(|(_, times)| times).sum::<usize>()),
    };
    let store = connect(url).await;
    let working = join_all((0..WORKERS).map(|number| yard.position(number)));
    let (ends, ((), ())) = join(working, join(yard.overseer(&store), yard.restarts(&server))).await;
    println!("all runs are over after {:?}; workers ended: {ends:?}", begun.elapsed());
    let Work { jobs, more, started, refused, told, heads, .. } = std::mem::take(&mut *yard.work());
    println!("starts that were refused: {refused:?}");
    assert!(jobs.iter().all(|(_, label)| started.contains_key(label)), "something was not started: {jobs:?}");
    for (way, times) in DEATHS {
        let enough = ends.iter().all(|ends| ends.get(&way).is_some_and(|ended| *ended >= times));
        assert!(enough, "too few ended as {way:?}: {ends:?}");
    }

    for rows in ["run_leases", "reservations", "signals", "outbox", "due WHERE kind IN ('outbox', 'event')"] {
        database.admin(&nothing_left(rows)).await.unwrap();
    }
    let delivered: BTreeSet<Delivered> = whole_lines(&yard.folder.join("events"))
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for place in &yard.places {
        yard.check_delivery(&delivered, all_events(&store, &place.home.admin).await);
    }
    let mut told: BTreeMap<RunId, Vec<String>> = told.into_iter().fold(BTreeMap::new(), |mut told, line| {
        let of_run = match line.split(' ').collect::<Vec<_>>()[..] {
            ["run", _, run] | ["row" | "took", run, ..] => run.parse().ok(),
            _ => None,
        };
        if let Some(run) = of_run {
            told.entry(run).or_insert_with(Vec::new).push(line);
        }
        told
    });
    let mut doubted = 0;
    for (number, place) in yard.places.iter().enumerate() {
        let runs = if number == 0 { RUNS[0] + more } else { RUNS[number] };
        let labels = (0..runs).map(|run| label(number, run)).collect();
        let mut case = Case::shared(place, url, yard.folder.join("effects"), labels);
        for run in case.all_runs(&store).await {
            told.remove(&run).iter().flatten().for_each(|line| case.told(line));
        }
        doubted += case.check(Order::Unknown).await;
        yard.check_heads(&store, place, &heads[&place.home.tenant.id]).await;
    }
    assert!(told.is_empty(), "runs that were told are not there: {:?}", told.keys());
    store.close().await.unwrap();

    let platform = victim::onlooker(connect(url).await, url).build().await.unwrap();
    let operator = platform.operator("ops@host.example", "test").unwrap();
    platform.audit().verify_platform(&operator).await.unwrap();
    platform.close().await.unwrap();
    for rows in ["audit_pending", "due WHERE kind = 'audit'"] {
        database.admin(&nothing_left(rows)).await.unwrap();
    }
    println!("{} runs, {doubted} steps in doubt, in {:?}", started.len(), begun.elapsed());
}
