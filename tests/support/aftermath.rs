//! What must hold of a store whose processes were crashed, whatever the crashes were.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use agentprovision::audit::AuditRecord;
use agentprovision::backend::Backend;
use agentprovision::id::{AgentId, RunId, SessionId, TenantId, UserId};
use agentprovision::prelude::*;
use agentprovision::run::{ClaimRequest, DoneOutcome, JournalEntry, RunTotals, StepKind, decode_entry};
use agentprovision::usage::{BudgetKey, Dimension, Meter};
use agentprovision::{Env, Platform, Timestamp};

use super::victim::{self, Fault, Scenario, TOOLS};
use super::{home, in_time, store};

/// A folder with a store in which everything is ready to run.
pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    url: String,
    tenant: TenantId,
    admin: UserId,
    user: UserId,
    agent: AgentId,
    clerk: AgentId,
    session: SessionId,
}

impl Site {
    /// Provisions a tenant, a user, the agent that is crashed, a session, and the agent that counts afterwards.
    pub(crate) async fn provision() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = store::new(&folder.path().join("site.db"));
        let store = connect(&url).await;
        let platform =
            victim::platform(store, folder.path().join("none"), Fault::Never).build().await.unwrap();
        let acme = home(&platform, "acme").await;
        let (user, ctx) = acme.user(&platform, "ada", Role::AGENT_MANAGER).await;
        let budget = Budget::usd("1")
            .per_run(|limits| {
                (limits.steps, limits.tool_calls, limits.tokens) = (Some(20), Some(10), Some(1 << 20))
            })
            .total(|limits| {
                (limits.steps, limits.tool_calls, limits.tokens) = (Some(400), Some(200), Some(1 << 26));
                limits.cost_usd = Some("100".parse().unwrap());
            });
        let names = TOOLS.map(|(name, _)| name);
        let spec = AgentSpec::new("victim").instructions("Do it.").model("m").tools(names).budget(budget);
        let agent = platform.agents().create(&ctx, spec).await.unwrap().id;
        platform.agents().deploy(&ctx, agent).await.unwrap();
        let spec = AgentSpec::new("clerk").instructions("Count.").model("clerk").tools(["bookings"]);
        let clerk = platform.agents().create(&ctx, spec).await.unwrap().id;
        platform.agents().deploy(&ctx, clerk).await.unwrap();
        let session = platform.sessions().open(&ctx, agent).await.unwrap().id();
        platform.close().await.unwrap();
        Self {
            folder,
            url,
            tenant: acme.tenant.id,
            admin: acme.root.id,
            user: user.id,
            agent,
            clerk,
            session,
        }
    }

    /// A case on a copy of the store.
    pub(crate) fn case(&self, name: &str, labels: &[&str], in_session: bool) -> Case<'_> {
        let store = store::copy(&self.url, &self.folder.path().join(format!("{name}.db")));
        Case {
            site: self,
            store,
            effects: self.folder.path().join(format!("{name}.effects")),
            labels: labels.iter().map(|label| label.to_string()).collect(),
            in_session,
            told: Told::default(),
        }
    }
}

async fn connect(url: &str) -> Arc<dyn Backend> {
    agentprovision::tenancy::store::connect(url, Env::default()).await.unwrap()
}

/// What processes told before they ended.
#[derive(Default)]
struct Told {
    runs: BTreeMap<String, RunId>,
    rows: BTreeMap<(RunId, u64), String>,
    seen: BTreeMap<(RunId, u64), String>,
    /// Steps of unsafe tools that had begun and not ended when a worker took their run up.
    in_doubt: BTreeSet<(RunId, u32)>,
    /// Rows that were told when a process ended, and how many effects there were then.
    ends: Vec<(BTreeSet<(RunId, u64)>, usize)>,
}

/// One store that is crashed.
pub(crate) struct Case<'s> {
    site: &'s Site,
    store: String,
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

impl Case<'_> {
    pub(crate) fn scenario(&self, fault: Fault) -> Scenario {
        Scenario {
            store: self.store.clone(),
            effects: self.effects.clone(),
            tenant: self.site.tenant,
            user: self.site.user,
            agent: self.site.agent,
            session: self.in_session.then_some(self.site.session),
            labels: self.labels.clone(),
            fault,
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
        let text = std::fs::read_to_string(&self.effects).unwrap_or_default();
        text.lines()
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
        let platform =
            victim::platform(store.clone(), self.effects.clone(), Fault::Never).build().await.unwrap();
        let admin = platform.context(self.site.tenant, self.site.admin).await.unwrap();
        let effects = self.effects();
        let (mut sum, mut tool_ms, mut uncertain) = (RunTotals::default(), 0, 0);
        let mut requests = 0;
        assert_eq!(self.told.runs.len(), self.labels.len());
        let everything = platform.runs().list(&admin, RunQuery::default()).await.unwrap();
        assert_eq!(everything.items.len(), self.labels.len(), "a run too many, or too few");
        for (label, run) in &self.told.runs {
            let journal = self.journal(&platform, &admin, *run).await;
            let bookings = self.bookings(&platform, label).await;
            uncertain += self.check_effects(label, *run, &journal, &effects, &bookings, order);
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
            let key = BudgetKey::new(self.site.agent, dimension);
            let state = store.stores().quota.state(&admin, &key).await.unwrap().unwrap();
            assert_eq!((state.spent, state.reserved, state.overrun), (spent, 0, 0), "{dimension:?}");
        }
        self.check_records(&platform, &admin, &sum, tool_ms, requests).await;
        let session = store.stores().sessions.get(&admin, self.site.session).await.unwrap();
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
        effects: &[Done],
        bookings: &str,
        order: Order,
    ) -> usize {
        let (mut uncertain, mut known) = (0, 0);
        for (step, (name, kind, outcome)) in &journal.steps {
            let (what, place) = match kind {
                StepKind::Model => ("model", journal.tools_before(*step)),
                _ => (name.as_str(), *step),
            };
            let here = |done: &Done| done.what == what && done.label == label && done.place == place;
            let keys: Vec<&str> = effects.iter().filter(|done| here(done)).map(|done| &*done.key).collect();
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
                }
                Some(Effect::Transactional) => {
                    assert!(done, "{what} ended as {outcome:?}");
                    assert_eq!(bookings, format!("[[Text(\"{}\")]]", keys[0]), "not exactly once");
                }
                _ => assert!(done && !keys.is_empty(), "{what} was done {} times: {outcome:?}", keys.len()),
            }
            let row = journal.done_row(*step);
            for (rows, before) in self.told.ends.iter().filter(|(rows, _)| rows.contains(&(run, row))) {
                let again = effects.iter().skip(*before).filter(|done| here(done)).count();
                assert_eq!(
                    again,
                    0,
                    "{what} was known as done and done again; {} rows were told",
                    rows.len()
                );
            }
        }
        let done = effects.iter().filter(|done| done.label == label).count();
        assert_eq!(done, known, "something was done that is no step of the run");
        uncertain
    }

    /// Usage, audit and events of all runs together.
    async fn check_records(
        &self,
        platform: &Platform,
        admin: &Context,
        sum: &RunTotals,
        tool_ms: u64,
        requests: u64,
    ) {
        // What the clerk used is not the runs'.
        let counted: BTreeSet<_> = self.told.runs.values().copied().map(Some).collect();
        let mut used = BTreeMap::<Meter, u64>::new();
        let mut cost = 0;
        for event in platform.usage().events(admin, None, 500).await.unwrap() {
            if counted.contains(&event.run) {
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

        platform.audit().verify(admin).await.unwrap();
        let entries = platform.audit().entries(admin, 0, 500).await.unwrap();
        let records: Vec<AuditRecord> = entries.iter().map(|entry| entry.record().unwrap()).collect();
        let events = platform.events().read(admin, 0, 500).await.unwrap();
        assert!(
            events.iter().zip(1..).all(|(event, seq)| event.seq == seq),
            "events are not numbered without gaps"
        );
        for run in self.told.runs.values().map(RunId::to_string) {
            let recorded = |action: &str, id: &dyn Fn(&AuditRecord) -> bool| {
                records.iter().filter(|record| record.action == action && id(record)).count()
            };
            let of_run = |record: &AuditRecord| record.resource_id.as_ref() == Some(&run);
            assert_eq!((recorded("runs.start", &of_run), recorded("runs.finish", &of_run)), (1, 1));
            for (name, _) in TOOLS {
                let call = |record: &AuditRecord| {
                    record.resource_id.as_deref() == Some(name) && record.details["run"] == run.as_str()
                };
                assert_eq!(recorded("tools.call", &call), 1, "records of {name}");
            }
            for kind in ["agentprovision.run.started", "agentprovision.run.finished"] {
                let of_run = |event: &&agentprovision::event::NumberedEvent| {
                    event.event.kind == kind && event.event.subject.as_ref() == Some(&run)
                };
                assert_eq!(events.iter().filter(of_run).count(), 1, "{kind}");
            }
        }
    }

    /// The keys of the bookings of a label, read by the clerk through a transaction of the platform.
    async fn bookings(&self, platform: &Platform, label: &str) -> String {
        let ctx = platform.context(self.site.tenant, self.site.user).await.unwrap();
        let run = platform.runs().start(&ctx, self.site.clerk, RunInput::text(label)).await.unwrap();
        let answer = in_time(run.wait()).await.unwrap().text().unwrap().to_owned();
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("the clerk says {answer}"))
    }
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
