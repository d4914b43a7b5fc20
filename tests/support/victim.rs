//! The process that is crashed: a platform over a file, one run per label, and a place where it ends.
//!
//! It tells its parent what it knows, a line at a time, at the moment it knows it: a journal row once the store said it
//! is committed, an event once a follower has it. What its tools do goes to a file that no transaction takes back.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agentprovision::backend::{Backend, Stores};
use agentprovision::id::{AgentId, RunId, SessionId, SignalId, TenantId, UserId};
use agentprovision::model::{ChatRequest, Content, Message};
use agentprovision::prelude::*;
use agentprovision::run::{
    ClaimRequest, Created, EngineOptions, Fence, JournalBatch, Lease, NewRun, RunStore, RunTx, Signal,
};
use agentprovision::testing::{FaultBackend, FaultPoint, Reply, ScriptedModel};
use agentprovision::tool::{SqlValue, TxHandle, tool};
use agentprovision::{Effects, Env, PlatformBuilder, Timestamp};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::crew::{self, Crew};

/// The environment variable that makes a process a victim.
pub(crate) const SCENARIO: &str = "AGENTPROVISION_CRASH_SCENARIO";

/// The tools, one of each effect class, in the order they are called.
pub(crate) const TOOLS: [(&str, Effect); 4] = [
    ("look", Effect::Pure),
    ("put", Effect::Idempotent),
    ("book", Effect::Transactional),
    ("mail", Effect::Unsafe),
];

/// What the process is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Scenario {
    /// The URL of the store.
    pub(crate) store: String,
    /// The file of what the tools did.
    pub(crate) effects: PathBuf,
    pub(crate) tenant: TenantId,
    pub(crate) user: UserId,
    pub(crate) agent: AgentId,
    /// The session the run is a turn of.
    pub(crate) session: Option<SessionId>,
    /// One run each; the label is its input and its idempotency key.
    pub(crate) labels: Vec<String>,
    pub(crate) fault: Fault,
    /// How often an effect's point is passed before it is the one.
    pub(crate) spared: u64,
    /// The fleet the process is a worker of; it starts the runs it is told to, and not those of the labels.
    pub(crate) crew: Option<Crew>,
}

/// Where the process ends. Commits are counted from its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fault {
    Never,
    BeforeCommit(u64),
    AfterCommit(u64),
    /// In a tool, or when the model is asked, or when a sink is handed events, before it has done anything.
    BeforeEffect(String),
    AfterEffect(String),
    /// Not an end: the n-th commit waits for a line on standard input. The process takes up no runs meanwhile.
    Freeze(u64),
    /// The same, but the process takes up what it finds, its own run too.
    FreezeAlone(u64),
}

/// Tells the parent a line.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    // The harness of the test may have left a line unfinished, so each begins with a newline. One write for all of it:
    // a line is told whole or not at all.
    let text = format!("\n@{line}\n");
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).unwrap();
    out.flush().unwrap();
}

/// How the engines of victims are set: a run that was left is taken up soon.
pub(crate) fn options(fault: &Fault) -> EngineOptions {
    let mut options = EngineOptions::default();
    options.lease = Duration::from_millis(800);
    let far = matches!(fault, Fault::Freeze(_));
    options.poll = if far { Duration::from_secs(60) } else { Duration::from_millis(50) };
    options
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Order {
    label: String,
}

/// Appends lines to a file in such a way that they are there whatever comes next.
pub(crate) fn note(file: &Path, lines: &str) {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
    file.write_all(lines.as_bytes()).unwrap();
    file.sync_data().unwrap();
}

/// Ends the process where its fault is.
#[derive(Debug)]
pub(super) struct Trap {
    fault: Fault,
    spared: AtomicU64,
}

impl Trap {
    fn new(fault: Fault, spared: u64) -> Arc<Self> {
        Arc::new(Self { fault, spared: AtomicU64::new(spared) })
    }

    pub(super) fn reached(&self, point: &Fault) {
        let passed = |left: u64| left.checked_sub(1);
        if self.fault == *point
            && self.spared.fetch_update(Ordering::SeqCst, Ordering::SeqCst, passed).is_err()
        {
            std::process::abort();
        }
    }
}

/// The tools and the models, which end the process at its fault point and write down what they do.
struct World {
    on_server: bool,
    effects: PathBuf,
    trap: Arc<Trap>,
}

impl World {
    /// Does something that cannot be taken back.
    fn act(&self, what: &str, label: &str, place: impl fmt::Display, key: &str) {
        note(&self.effects, &format!("{what} {label} {place} {key}\n"));
    }

    async fn call(&self, name: &str, effect: Effect, call: ToolCall, label: &str) -> Result<Value> {
        self.trap.reached(&Fault::BeforeEffect(name.into()));
        if effect == Effect::Transactional {
            let tx = call.tx()?;
            // No key of any kind: a booking that is made twice is there twice.
            if !self.on_server {
                let table = "CREATE TABLE IF NOT EXISTS bookings (tenant_id BLOB, label TEXT, key TEXT)";
                tx.execute(table, &[]).await?;
            }
            let values = [label.into(), call.idempotency_key().into()];
            tx.execute("INSERT INTO bookings (tenant_id, label, key) VALUES ($1, $2, $3)", &values).await?;
        }
        self.act(name, label, call.step(), call.idempotency_key());
        self.trap.reached(&Fault::AfterEffect(name.into()));
        Ok(json!({ "done": name }))
    }

    /// A label that begins with `turn` has the tools called one after another, any other all at once.
    fn answer(&self, request: &ChatRequest) -> Reply {
        let label = said(request);
        let done = ScriptedModel::tool_results(request);
        self.trap.reached(&Fault::BeforeEffect("model".into()));
        self.act("model", &label, done, "-");
        self.trap.reached(&Fault::AfterEffect("model".into()));
        let call = |(name, _): &(&str, Effect)| (name.to_string(), json!({ "label": label }));
        let asked = if label.starts_with("turn") { 1 } else { TOOLS.len() };
        match TOOLS.get(done..) {
            Some(rest @ [_, ..]) => Reply::Tools(rest.iter().take(asked).map(call).collect()),
            _ => Reply::text("all is done"),
        }
    }
}

/// What the user said.
fn said(request: &ChatRequest) -> String {
    let text = request.messages.iter().find_map(|message| match message {
        Message::User { content } => content.iter().find_map(|content| match content {
            Content::Text { text } => Some(text.clone()),
            _ => None,
        }),
        _ => None,
    });
    text.unwrap()
}

/// A model that says what it was told.
pub(crate) fn echo(request: &ChatRequest) -> Reply {
    Reply::text(said(request))
}

/// The platform of those who provision a store, or look at what was left in it.
pub(crate) fn onlooker(backend: Arc<dyn Backend>, url: &str) -> PlatformBuilder {
    platform(backend, url, PathBuf::new(), Trap::new(Fault::Never, 0))
}

/// The platform of victims. Those who look at what they left use its reader of bookings.
fn platform(backend: Arc<dyn Backend>, url: &str, effects: PathBuf, trap: Arc<Trap>) -> PlatformBuilder {
    let options = options(&trap.fault);
    let on_server = url.starts_with("postgres://");
    let world = Arc::new(World { on_server, effects, trap });
    let scripted = world.clone();
    let model = ScriptedModel::from_fn("m", move |request| scripted.answer(request));
    let clerk = ScriptedModel::from_fn("clerk", |request| match request.messages.last() {
        Some(Message::Tool { content, .. }) => Reply::text(content),
        _ => Reply::tool("bookings", json!({ "label": said(request) })),
    });
    let bookings = tool("bookings", "Lists all bookings", |call: ToolCall, _: Order| async move {
        let sql = "SELECT label, key FROM bookings WHERE tenant_id = $1";
        let rows = call.tx()?.query(sql, &[]).await?;
        let text = |value| if let SqlValue::Text(text) = value { text } else { panic!("{value:?}") };
        Ok(json!(rows.into_iter().map(|row| row.into_iter().map(text).collect()).collect::<Vec<Vec<_>>>()))
    });
    let mut builder = Platform::builder()
        .backend(backend)
        .engine(options)
        .model("m", Arc::new(model))
        .model("clerk", Arc::new(clerk))
        .tool(bookings.effect(Effect::Transactional));
    for (name, effect) in TOOLS {
        let world = world.clone();
        let act = move |call: ToolCall, order: Order| {
            let world = world.clone();
            async move { world.call(name, effect, call, &order.label).await }
        };
        builder = builder.tool(tool(name, "Does something", act).effect(effect));
    }
    builder
}

/// Lives as the scenario says.
pub(crate) async fn live(scenario: Scenario) {
    let store = agentprovision::tenancy::store::connect(&scenario.store, Env::default()).await.unwrap();
    let fault = scenario.fault.clone();
    let backend =
        Arc::new(FaultBackend::new(Arc::new(Telling::new(store)), move |point| match (point, &fault) {
            (FaultPoint::Before(n), Fault::BeforeCommit(at))
            | (FaultPoint::After(n), Fault::AfterCommit(at))
                if n == *at =>
            {
                std::process::abort()
            }
            (FaultPoint::Before(n), Fault::Freeze(at) | Fault::FreezeAlone(at)) if n == *at => {
                say(format_args!("frozen"));
                // The rest of the process goes on; only this run's worker stands still.
                tokio::task::block_in_place(|| std::io::stdin().read_line(&mut String::new()).unwrap());
            }
            _ => {}
        }));
    let Scenario { store, effects, tenant, user, agent, session, labels, fault, spared, crew } = scenario;
    let trap = Trap::new(fault, spared);
    let builder = platform(backend.clone(), &store, effects, trap.clone());
    if let Some(crew) = crew {
        crew::serve(builder, crew, trap).await;
        say(format_args!("commits {}", backend.commits()));
        return;
    }
    let platform = builder.build().await.unwrap();
    let ctx = platform.context(tenant, user).await.unwrap();
    let mut follows = tokio::task::JoinSet::new();
    for label in labels {
        let (platform, ctx) = (platform.clone(), ctx.clone());
        follows.spawn(async move {
            let input = RunInput::text(&label).idempotency_key(&label);
            let run = match session {
                Some(session) => {
                    platform.sessions().get(&ctx, session).await.unwrap().send(input).await.unwrap()
                }
                None => platform.runs().start(&ctx, agent, input).await.unwrap(),
            };
            say(format_args!("run {label} {}", run.id()));
            let mut events = run.events();
            while let Some(event) = events.try_next().await.unwrap() {
                if !matches!(event.kind, RunEventKind::Text { .. } | RunEventKind::Restarted { .. }) {
                    let kind = serde_json::to_string(&event.kind).unwrap();
                    say(format_args!("seen {} {} {kind}", event.run, event.cursor.row));
                }
            }
        });
    }
    while let Some(followed) = follows.join_next().await {
        followed.unwrap();
    }
    platform.close().await.unwrap();
    say(format_args!("commits {}", backend.commits()));
}

/// A backend that tells what was committed as soon as the store says so.
#[derive(Debug)]
struct Telling(Arc<dyn Backend>);

impl Telling {
    fn new(inner: Arc<dyn Backend>) -> Self {
        Self(inner)
    }
}

#[async_trait]
impl Backend for Telling {
    fn stores(&self) -> Stores {
        let stores = self.0.stores();
        Stores { runs: Arc::new(TellingRuns(stores.runs.clone())), ..stores }
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}

/// Tells the rows whose last has this number.
fn committed(run: RunId, last: u64, entries: &[Vec<u8>]) {
    for (body, seq) in entries.iter().zip(last + 1 - entries.len() as u64..) {
        say(format_args!("row {run} {seq} {}", std::str::from_utf8(body).unwrap()));
    }
}

#[derive(Debug)]
struct TellingRuns(Arc<dyn RunStore>);

#[async_trait]
impl RunStore for TellingRuns {
    async fn create(&self, ctx: &Context, run: NewRun, effects: Effects) -> Result<Created> {
        let entries = run.entries.clone();
        let created = self.0.create(ctx, run, effects).await?;
        if let Created::New(lease) = &created {
            committed(lease.fence.run, lease.run.seq, &entries);
        }
        Ok(created)
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Lease>> {
        let leases = self.0.claim(request).await?;
        for lease in &leases {
            say(format_args!("took {} {} -", lease.fence.run, lease.fence.epoch));
        }
        Ok(leases)
    }

    async fn woken(&self) {
        self.0.woken().await;
    }

    async fn renew(&self, fence: &Fence, until: Timestamp) -> Result<Vec<(SignalId, Signal)>> {
        self.0.renew(fence, until).await
    }

    async fn commit(&self, fence: &Fence, batch: JournalBatch, effects: Effects) -> Result<u64> {
        let entries = batch.entries.clone();
        let seq = self.0.commit(fence, batch, effects).await?;
        committed(fence.run, seq, &entries);
        Ok(seq)
    }

    async fn begin(&self, fence: &Fence) -> Result<Box<dyn RunTx>> {
        Ok(Box::new(TellingTx { inner: self.0.begin(fence).await?, run: fence.run }))
    }
}

#[derive(Debug)]
struct TellingTx {
    inner: Box<dyn RunTx>,
    run: RunId,
}

#[async_trait]
impl RunTx for TellingTx {
    fn handle(&self) -> TxHandle {
        self.inner.handle()
    }

    async fn commit(self: Box<Self>, batch: JournalBatch, effects: Effects) -> Result<u64> {
        let entries = batch.entries.clone();
        let run = self.run;
        let seq = self.inner.commit(batch, effects).await?;
        committed(run, seq, &entries);
        Ok(seq)
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        self.inner.rollback().await
    }
}
