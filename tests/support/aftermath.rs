//! What must hold of a store whose processes were crashed, whatever the crashes were.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentprovision::audit::AuditRecord;
use agentprovision::backend::Backend;
use agentprovision::event::NumberedEvent;
use agentprovision::id::{AgentId, RunId, SessionId, UserId};
use agentprovision::prelude::*;
use agentprovision::run::{ClaimRequest, DoneOutcome, JournalEntry, RunTotals, StepKind, decode_entry};
use agentprovision::usage::{BudgetKey, Dimension, Meter};
use agentprovision::{Env, Platform, Timestamp};

use super::victim::{self, Fault, Scenario, TOOLS};
use super::{Home, home, in_time, store};

/// A folder with a store in which everything is ready to run.
pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    url: String,
    place: Place,
}

/// A tenant in which everything is ready to run.
pub(crate) struct Place {
    pub(crate) home: Home,
    pub(crate) user: UserId,
    pub(crate) agent: AgentId,
    clerk: AgentId,
    session: SessionId,
}

impl Place {
    /// Provisions a tenant, a user, the agent that is crashed, a session, and the agent that counts afterwards.
    pub(crate) async fn provision(platform: &Platform, name: &str) -> Self {
        let home = home(platform, name).await;
        let (user, ctx) = home.user(platform, "ada", Role::AGENT_MANAGER).await;
        let budget = Budget::usd("1")
            .per_run(|limits| {
                (limits.steps, limits.tool_calls, limits.tokens) = (Some(20), Some(10), Some(1 << 20))
            })
            .total(|limits| {
                (limits.steps, limits.tool_calls, limits.tokens) =
                    (Some(40_000), Some(20_000), Some(1 << 32));
                limits.cost_usd = Some("10000".parse().unwrap());
            });
        let names = TOOLS.map(|(name, _)| name);
        let spec = AgentSpec::new("victim").instructions("Do it.").model("m").tools(names).budget(budget);
        let agent = platform.agents().create(&ctx, spec).await.unwrap().id;
        platform.agents().deploy(&ctx, agent).await.unwrap();
        let spec = AgentSpec::new("clerk").instructions("Count.").model("clerk").tools(["bookings"]);
        let clerk = platform.agents().create(&ctx, spec).await.unwrap().id;
        platform.agents().deploy(&ctx, clerk).await.unwrap();
        let session = platform.sessions().open(&ctx, agent).await.unwrap().id();
        Self { home, user: user.id, agent, clerk, session }
    }
}

impl Site {
    pub(crate) async fn provision() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = store::new(&folder.path().join("site.db"));
        let platform = victim::onlooker(connect(&url).await, &url).build().await.unwrap();
        let place = Place::provision(&platform, "acme").await;
        platform.close().await.unwrap();
        Self { folder, url, place }
    }

    /// A case on a copy of the store.
    pub(crate) fn case(&self, name: &str, labels: &[&str], in_session: bool) -> Case<'_> {
        let store = store::copy(&self.url, &self.folder.path().join(format!("{name}.db")));
        let effects = self.folder.path().join(format!("{name}.effects"));
        let labels = labels.iter().map(|label| label.to_string()).collect();
        Case { place: &self.place, store, effects, labels, in_session, told: Told::default() }
    }
}

pub(crate) async fn connect(url: &str) -> Arc<dyn Backend> {
    agentprovision::tenancy::store::connect(url, Env::default()).await.unwrap()
}

/// What processes told before they ended.
#[derive(Default)]
struct Told {
    runs: BTreeMap<String, RunId>,
    rows: BTreeMap<(RunId, u64), String>,
    seen: BTreeMap<(RunId, u64), String>,
    /// Runs that a worker took up.
    taken: BTreeSet<RunId>,
    /// Steps of unsafe tools that had begun and not ended when a worker took their run up.
    in_doubt: BTreeSet<(RunId, u32)>,
    /// Rows that were told when a process ended, and how many effects there were then.
    ends: Vec<(BTreeSet<(RunId, u64)>, usize)>,
}

/// One store that is crashed.
pub(crate) struct Case<'s> {
    place: &'s Place,
    store: String,
    /// The file of what the tools did, or the folder of the files of several processes.
    effects: PathBuf,
    pub(crate) labels: Vec<String>,
    in_session: bool,
    told: Told,
}

/// One thing a tool or a model did.
struct Done {
    what: String,
    label: String,
    place: u32,
    key: String,
}

/// Whether what was told says exactly which steps were in doubt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Every commit was told before the next thing happened.
    Known,
    /// A commit may be there that was not told: no step is in doubt that was not told to be.
    Untold,
    /// A process may have ended between a commit and its telling, or two lived at once.
    Unknown,
}

/// The lines of a file, or of all files of a folder, that were written to their end.
pub(crate) fn whole_lines(path: &Path) -> Vec<String> {
    if path.is_dir() {
        let files = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        return files.flat_map(|file| whole_lines(&file)).collect();
    }
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
    whole.lines().map(str::to_owned).collect()
}

impl<'s> Case<'s> {
    /// A case in a tenant of a store that others share, with the runs of these labels.
    pub(crate) fn shared(place: &'s Place, store: &str, effects: PathBuf, labels: Vec<String>) -> Self {
        Self { place, store: store.to_owned(), effects, labels, in_session: false, told: Told::default() }
    }

    pub(crate) fn scenario(&self, fault: Fault) -> Scenario {
        Scenario {
            store: self.store.clone(),
            effects: self.effects.clone(),
            tenant: self.place.home.tenant.id,
            user: self.place.user,
            agent: self.place.agent,
            session: self.in_session.then_some(self.place.session),
            labels: self.labels.clone(),
            fault,
            spared: 0,
            crew: None,
        }
    }

    /// Takes in a line that a process told.
    pub(crate) fn told(&mut self, line: &str) {
        let mut parts = line.splitn(4, ' ');
        let mut part = || parts.next().unwrap_or_else(|| panic!("not understood: {line}"));
        let kind = part();
        let told = &mut self.told;
        match kind {
            "run" => {
                let (label, run) = (part().to_owned(), part().parse().unwrap());
                let before = *told.runs.entry(label).or_insert(run);
                assert_eq!(before, run, "a key gave two runs");
            }
            "row" | "seen" => {
                let (run, seq, text) = (part().parse().unwrap(), part().parse().unwrap(), part().to_owned());
                let known = if kind == "row" { &mut told.rows } else { &mut told.seen };
                let before = known.entry((run, seq)).or_insert_with(|| text.clone());
                assert!(
                    *before == text,
                    "row {seq} of {run} was told twice, and differently: {before} and {text}"
                );
            }
            "took" => {
                let run = part().parse().unwrap();
                told.taken.insert(run);
                let mut open = BTreeSet::new();
                for (_, body) in told.rows.range((run, 0)..=(run, u64::MAX)) {
                    match decode_entry(body.as_bytes()).unwrap() {
                        JournalEntry::Intent { step, effect: Effect::Unsafe, .. } => drop(open.insert(step)),
                        JournalEntry::Done { step, .. } => drop(open.remove(&step)),
                        _ => {}
                    }
                }
                told.in_doubt.extend(open.into_iter().map(|step| (run, step)));
            }
            _ => {}
        }
    }

    /// A process ended.
    pub(crate) fn ended(&mut self) {
        let effects = self.effects().len();
        self.told.ends.push((self.told.rows.keys().copied().collect(), effects));
    }

    fn effects(&self) -> Vec<Done> {
        whole_lines(&self.effects)
            .iter()
            .map(|line| {
                let [what, label, place, key] = line.split(' ').collect::<Vec<_>>()[..] else {
                    panic!("{line}")
                };
                Done {
                    what: what.into(),
                    label: label.into(),
                    place: place.parse().unwrap(),
                    key: key.into(),
                }
            })
            .collect()
    }

    /// Opens the store that is left and checks it. Gives the number of steps in doubt.
    pub(crate) async fn check(&self, order: Order) -> usize {
        let store = connect(&self.store).await;
        let platform = victim::onlooker(store.clone(), &self.store).build().await.unwrap();
        let home = &self.place.home;
        let admin = platform.context(home.tenant.id, home.root.id).await.unwrap();
        let mut effects: BTreeMap<String, Vec<(usize, Done)>> = BTreeMap::new();
        for (number, done) in self.effects().into_iter().enumerate() {
            effects.entry(done.label.clone()).or_default().push((number, done));
        }
        let (mut sum, mut tool_ms, mut uncertain) = (RunTotals::default(), 0, 0);
        let mut requests = 0;
        assert_eq!(self.told.runs.len(), self.labels.len());
        let everything = self.all_runs(&store).await;
        let told: BTreeSet<RunId> = self.told.runs.values().copied().collect();
        let there: BTreeSet<RunId> = everything.into_iter().collect();
        assert_eq!(there, told, "a run too many, or too few");
        let bookings = self.bookings(&platform).await;
        for (label, run) in &self.told.runs {
            let journal = self.journal(&platform, &admin, *run).await;
            let (effects, bookings) = (effects.remove(label).unwrap_or_default(), bookings.get(label));
            uncertain += self.check_effects(label, *run, &journal, &effects, bookings, order);
            let totals = journal.totals(&mut tool_ms, &mut requests);
            let JournalEntry::Finished { totals: finished, .. } = journal.last() else {
                panic!("it is not over")
            };
            assert_eq!(*finished, totals, "the run's end does not say what its steps used");
            let record = platform.runs().record(&admin, *run).await.unwrap();
            assert_eq!((record.status, record.totals), (RunStatus::Completed, totals));
            sum.steps += totals.steps;
            sum.tool_calls += totals.tool_calls;
            sum.input_tokens += totals.input_tokens;
            sum.output_tokens += totals.output_tokens;
            sum.cost = sum.cost + totals.cost;
        }
        let spent = [
            (Dimension::Steps, i64::from(sum.steps)),
            (Dimension::ToolCalls, i64::from(sum.tool_calls)),
            (Dimension::Tokens, (sum.input_tokens + sum.output_tokens) as i64),
            (Dimension::Cost, sum.cost.nanos()),
        ];
        for (dimension, spent) in spent {
            let key = BudgetKey::new(self.place.agent, dimension);
            let state = store.stores().quota.state(&admin, &key).await.unwrap().unwrap();
            assert_eq!((state.spent, state.reserved, state.overrun), (spent, 0, 0), "{dimension:?}");
        }
        self.check_records(&platform, &store, &admin, &sum, tool_ms, requests).await;
        let session = store.stores().sessions.get(&admin, self.place.session).await.unwrap();
        assert_eq!(session.active_run, None, "the turn of the session is not free");
        let far = Timestamp::from_micros(i64::MAX);
        let left = store
            .stores()
            .runs
            .claim(ClaimRequest::new(platform.env().id(), far, 10, u32::MAX))
            .await
            .unwrap();
        assert!(left.is_empty(), "a run that is over can still be taken up: {left:?}");
        platform.close().await.unwrap();
        uncertain
    }

    /// The journal of a run: it verifies, it is whole, and everything that was told of it is in it.
    async fn journal(&self, platform: &Platform, admin: &Context, run: RunId) -> Journal {
        let (_, rows) = platform.runs().journal(admin, run).await.unwrap();
        for ((_, seq), body) in self.told.rows.range((run, 0)..=(run, u64::MAX)) {
            let row = rows
                .get(*seq as usize - 1)
                .unwrap_or_else(|| panic!("row {seq} was told and is gone: {body}"));
            assert!(row.body == body.as_bytes(), "row {seq} was told as {body} and is {:?}", row.body);
        }
        let mut events = platform.runs().events(admin, run, Default::default()).await.unwrap();
        let (mut seen, mut last) = (BTreeMap::new(), None);
        while let Some(event) = in_time(events.try_next()).await.unwrap() {
            assert!(last != Some(true), "an event follows the last one");
            last = Some(matches!(event.kind, RunEventKind::Finished { .. }));
            if !matches!(event.kind, RunEventKind::Text { .. }) {
                seen.insert(event.cursor.row, serde_json::to_string(&event.kind).unwrap());
            }
        }
        assert_eq!(last, Some(true), "the last event is not the end");
        for ((_, row), event) in self.told.seen.range((run, 0)..=(run, u64::MAX)) {
            assert_eq!(seen.get(row), Some(event), "an event that was followed is not there any more");
        }
        Journal::new(rows.iter().map(|row| decode_entry(&row.body).unwrap()).collect())
    }

    /// Compares what the journal says was done with what was done. Gives the number of steps in doubt.
    fn check_effects(
        &self,
        label: &str,
        run: RunId,
        journal: &Journal,
        effects: &[(usize, Done)],
        bookings: Option<&Vec<String>>,
        order: Order,
    ) -> usize {
        let (mut uncertain, mut known) = (0, 0);
        for (step, (name, kind, outcome)) in &journal.steps {
            let (what, place) = match kind {
                StepKind::Model => ("model", journal.tools_before(*step)),
                _ => (name.as_str(), *step),
            };
            let here = |done: &Done| done.what == what && done.place == place;
            let keys: Vec<&str> =
                effects.iter().filter(|(_, done)| here(done)).map(|(_, done)| &*done.key).collect();
            known += keys.len();
            assert!(keys.windows(2).all(|pair| pair[0] == pair[1]), "{what} was repeated under another key");
            let done = matches!(outcome, DoneOutcome::Ok { .. });
            match TOOLS.iter().find(|(tool, _)| *tool == what).map(|(_, effect)| effect) {
                Some(Effect::Unsafe) => {
                    let doubted = *outcome == DoneOutcome::Uncertain;
                    uncertain += usize::from(doubted);
                    assert!(keys.len() <= 1, "{what} must not be repeated and was done {} times", keys.len());
                    assert!(
                        doubted || (done && keys.len() == 1),
                        "{what} was done {} times: {outcome:?}",
                        keys.len()
                    );
                    let expected = self.told.in_doubt.contains(&(run, *step));
                    let as_told = match order {
                        Order::Known => doubted == expected,
                        Order::Untold => !doubted || expected,
                        Order::Unknown => true,
                    };
                    assert!(as_told, "{what} ended as {outcome:?}");
                    assert!(
                        !doubted || self.told.taken.contains(&run),
                        "{what} is in doubt, and nobody crashed"
                    );
                }
                Some(Effect::Transactional) => {
                    assert!(done, "{what} ended as {outcome:?}");
                    assert_eq!(bookings, Some(&vec![keys[0].to_owned()]), "not exactly once");
                }
                _ => assert!(done && !keys.is_empty(), "{what} was done {} times: {outcome:?}", keys.len()),
            }
            let row = journal.done_row(*step);
            for (rows, before) in self.told.ends.iter().filter(|(rows, _)| rows.contains(&(run, row))) {
                let again = effects.iter().filter(|(number, done)| number >= before && here(done)).count();
                assert_eq!(
                    again,
                    0,
                    "{what} was known as done and done again; {} rows were told",
                    rows.len()
                );
            }
        }
        assert_eq!(effects.len(), known, "something was done that is no step of the run {label}");
        uncertain
    }

    /// Usage, audit and events of all runs together.
    async fn check_records(
        &self,
        platform: &Platform,
        store: &Arc<dyn Backend>,
        admin: &Context,
        sum: &RunTotals,
        tool_ms: u64,
        requests: u64,
    ) {
        // What the clerk used is not the runs'.
        let counted: BTreeSet<_> = self.told.runs.values().copied().map(Some).collect();
        let mut used = BTreeMap::<Meter, u64>::new();
        let (mut cost, mut last) = (0, None);
        loop {
            let page = platform.usage().events(admin, last, 500).await.unwrap();
            let Some(end) = page.last() else { break };
            last = Some(end.id);
            for event in page.iter().filter(|event| counted.contains(&event.run)) {
                *used.entry(event.meter).or_default() += event.quantity;
                cost += event.cost.map_or(0, |cost| cost.nanos());
            }
        }
        let expected = [
            (Meter::LlmTokensInput, sum.input_tokens),
            (Meter::LlmTokensOutput, sum.output_tokens),
            (Meter::LlmRequests, requests),
            (Meter::ComputeMs, tool_ms),
        ];
        assert_eq!((used, cost), (BTreeMap::from(expected), sum.cost.nanos()));

        let head = platform.audit().verify(admin).await.unwrap();
        let mut records = BTreeMap::<(String, String, String), u32>::new();
        let mut size = 0;
        while size < head.size {
            let entries = platform.audit().entries(admin, size, 500).await.unwrap();
            size += entries.len() as u64;
            for AuditRecord { action, resource_id, details, .. } in
                entries.iter().map(|entry| entry.record().unwrap())
            {
                let run = details.get("run").and_then(|run| run.as_str()).unwrap_or_default().to_owned();
                *records.entry((action, resource_id.unwrap_or_default(), run)).or_default() += 1;
            }
        }
        let mut events = BTreeMap::<(String, Option<String>), u32>::new();
        for event in all_events(store, admin).await {
            *events.entry((event.event.kind, event.event.subject)).or_default() += 1;
        }
        for run in self.told.runs.values().map(RunId::to_string) {
            let recorded = |action: &str, id: &str, run: &str| {
                records.get(&(action.to_owned(), id.to_owned(), run.to_owned())).copied().unwrap_or(0)
            };
            assert_eq!((recorded("runs.start", &run, ""), recorded("runs.finish", &run, "")), (1, 1));
            for (name, _) in TOOLS {
                assert_eq!(recorded("tools.call", name, &run), 1, "records of {name}");
            }
            for kind in ["agentprovision.run.started", "agentprovision.run.finished"] {
                assert_eq!(events.get(&(kind.to_owned(), Some(run.clone()))), Some(&1), "{kind}");
            }
        }
    }

    /// The keys of the bookings by label, read by the clerk through a transaction of the platform.
    async fn bookings(&self, platform: &Platform) -> BTreeMap<String, Vec<String>> {
        let ctx = platform.context(self.place.home.tenant.id, self.place.user).await.unwrap();
        let run = platform.runs().start(&ctx, self.place.clerk, RunInput::text("all")).await.unwrap();
        let answer = in_time(run.wait()).await.unwrap().text().unwrap().to_owned();
        let rows: Vec<(String, String)> =
            serde_json::from_str(&answer).unwrap_or_else(|_| panic!("the clerk says {answer}"));
        let mut bookings = BTreeMap::<String, Vec<String>>::new();
        for (label, key) in rows {
            bookings.entry(label).or_default().push(key);
        }
        bookings
    }

    /// The runs that are there.
    pub(crate) async fn all_runs(&self, store: &Arc<dyn Backend>) -> Vec<RunId> {
        let mut query = RunQuery::default();
        query.page = PageRequest::limit(100);
        let mut runs = Vec::new();
        loop {
            let page = store.stores().index.list(&self.place.home.admin, query.clone()).await.unwrap();
            runs.extend(page.items.iter().map(|run| run.id));
            let Some(next) = page.next else { return runs };
            query.page.after = Some(next);
        }
    }
}

/// The events of a tenant, which are numbered without gaps.
pub(crate) async fn all_events(store: &Arc<dyn Backend>, admin: &Context) -> Vec<NumberedEvent> {
    let mut events: Vec<NumberedEvent> = Vec::new();
    loop {
        let page = store.stores().events.read(admin, events.len() as u64, 500).await.unwrap();
        if page.is_empty() {
            break;
        }
        events.extend(page);
    }
    let numbered = events.iter().zip(1..).all(|(event, seq)| event.seq == seq);
    assert!(numbered, "events are not numbered without gaps");
    events
}

/// A journal with its steps.
struct Journal {
    entries: Vec<JournalEntry>,
    steps: BTreeMap<u32, (String, StepKind, DoneOutcome)>,
}

impl Journal {
    /// Every step begins once and ends once, and the run does too.
    fn new(entries: Vec<JournalEntry>) -> Self {
        let (mut begun, mut steps) = (BTreeMap::new(), BTreeMap::new());
        for (entry, place) in entries.iter().zip(1..) {
            match entry {
                JournalEntry::Intent { step, name, kind, .. } => {
                    assert!(begun.insert(*step, (name.clone(), *kind)).is_none(), "step {step} begins twice");
                }
                JournalEntry::Done { step, outcome, .. } => {
                    let (name, kind) = begun[step].clone();
                    let before = steps.insert(*step, (name, kind, outcome.clone()));
                    assert!(before.is_none(), "step {step} ends twice");
                }
                JournalEntry::Created { .. } => assert_eq!(place, 1),
                JournalEntry::Finished { .. } => assert_eq!(place, entries.len()),
                other => panic!("unexpected: {other:?}"),
            }
        }
        assert!(begun.keys().eq(steps.keys()), "a step has no end");
        let called = steps.values().filter(|(_, kind, _)| *kind == StepKind::Tool).map(|(name, ..)| &**name);
        assert_eq!(called.collect::<Vec<_>>(), TOOLS.map(|(name, _)| name));
        Self { entries, steps }
    }

    fn last(&self) -> &JournalEntry {
        self.entries.last().unwrap()
    }

    /// How many tools were called before a step.
    fn tools_before(&self, step: u32) -> u32 {
        self.steps.range(..step).filter(|(_, (_, kind, _))| *kind == StepKind::Tool).count() as u32
    }

    /// The row that ends a step.
    fn done_row(&self, wanted: u32) -> u64 {
        let ends = |entry: &JournalEntry| matches!(entry, JournalEntry::Done { step, .. } if *step == wanted);
        self.entries.iter().position(ends).unwrap() as u64 + 1
    }

    /// What the steps used together; adds up the time of tools and the answers of models.
    fn totals(&self, tool_ms: &mut u64, requests: &mut u64) -> RunTotals {
        let mut totals = RunTotals::default();
        for entry in &self.entries {
            let JournalEntry::Done { step, usage, cost, started, at, .. } = entry else { continue };
            totals.steps += 1;
            if self.steps[step].1 == StepKind::Tool {
                totals.tool_calls += 1;
                *tool_ms += at.since(*started).as_millis() as u64;
                continue;
            }
            *requests += 1;
            let usage = usage.unwrap();
            totals.input_tokens += usage.input_tokens.unwrap();
            totals.output_tokens += usage.output_tokens.unwrap();
            totals.cost = totals.cost + cost.unwrap();
        }
        totals
    }
}
