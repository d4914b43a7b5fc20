//! What requests used, from the attempt to the store.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::effect::{EffectStore, Effects, Guard};
use agentprovision_core::id::TenantId;
use agentprovision_core::model::{Attempt, CallLog, ChatStream, Usage};
use agentprovision_core::money::NanoUsd;
use agentprovision_core::usage::{Meter, UsageEvent};
use agentprovision_core::{Env, Error, Result};
use serde::Serialize;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::stream::ModelStream;

/// Requests under way at one time; more of them wait for their turn.
const UNDER_WAY: usize = 16_384;
/// Requests whose usage is written in one commit, at most.
const AT_ONCE: usize = 256;
/// How long requests under way may go on when a platform is closed.
const GRACE: Duration = Duration::from_secs(10);
/// How long they have to end once they were told.
const LAST: Duration = Duration::from_secs(1);

/// What a request used: all its attempts together.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Spent {
    /// The requests to providers, in the order they ended; none where a stored answer was given.
    pub attempts: Vec<Attempt>,
    /// Their token counts together; absent when nothing was billed.
    pub usage: Option<Usage>,
    /// What they cost together; absent when a price is unknown.
    pub cost_usd: Option<NanoUsd>,
}

impl Spent {
    fn of(log: &CallLog) -> Self {
        Self { attempts: log.attempts(), usage: log.usage(), cost_usd: log.cost().known() }
    }
}

/// An answer and what was spent on it.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[schemars(rename = "Answered{T}")]
#[non_exhaustive]
pub struct Answered<T> {
    /// The answer.
    pub answer: T,
    /// What was spent on it.
    #[serde(flatten)]
    pub spent: Spent,
}

/// What one request used, on its way to the store.
struct Bill {
    ctx: Context,
    usage: Vec<UsageEvent>,
    /// Who waits until it is written.
    written: Option<oneshot::Sender<()>>,
}

/// Writes the usage of requests in the background: one task, which takes what waits into one commit. Cheap to clone; every
/// clone is the same writer.
#[derive(Clone, Debug)]
pub struct UsageWriter {
    bills: mpsc::Sender<Bill>,
    env: Env,
    /// No more requests are taken.
    closing: CancellationToken,
    /// Requests under way end.
    cutoff: CancellationToken,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl UsageWriter {
    /// Starts the task. Must be called within a tokio runtime.
    pub fn start(store: Arc<dyn EffectStore>, env: Env) -> Self {
        let (bills, queue) = mpsc::channel(UNDER_WAY);
        let (closing, cutoff) = (CancellationToken::new(), CancellationToken::new());
        let task = tokio::spawn(write(store, queue, env.clone(), closing.clone(), cutoff.clone()));
        Self { bills, env, closing, cutoff, task: Arc::new(Mutex::new(Some(task))) }
    }

    /// Takes no more requests, waits a while for those under way, ends what is left, and returns when all is written that
    /// was used. Closing twice is harmless. The store must be open until then.
    pub async fn close(&self) {
        self.closing.cancel();
        if let Some(task) = self.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the writer of usage was lost");
        }
    }

    /// Opens the tab of a request, whose log is replaced by one that nobody else writes to.
    ///
    /// # Errors
    /// `closed`.
    pub(super) async fn open(&self, ctx: &Context, log: &mut CallLog) -> Result<Tab> {
        // Room in the queue is kept from the beginning, so that the end needs neither to wait nor to fail.
        let room = self.bills.clone().reserve_owned().await.map_err(|_| closed())?;
        let theirs = std::mem::take(log);
        Ok(Tab {
            ctx: ctx.clone(),
            env: self.env.clone(),
            cutoff: self.cutoff.clone(),
            log: log.clone(),
            theirs,
            room: Some(room),
        })
    }
}

fn closed() -> Error {
    Error::closed("the platform is closed")
}

/// Follows one request. What it used is handed on exactly once, at the latest when this is dropped.
#[derive(Debug)]
pub(super) struct Tab {
    ctx: Context,
    env: Env,
    cutoff: CancellationToken,
    /// Of this request alone.
    log: CallLog,
    /// The caller's.
    theirs: CallLog,
    /// `None` once the bill is sent.
    room: Option<mpsc::OwnedPermit<Bill>>,
}

impl Tab {
    /// Waits for something the request does; `closed` when the platform is closed meanwhile.
    pub(super) async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        self.cutoff.run_until_cancelled(work).await.ok_or_else(closed)
    }

    /// Waits for an answer in one piece.
    pub(super) async fn ask<T>(self, work: impl Future<Output = Result<T>>) -> Result<Answered<T>> {
        let answer = self.within(work).await.flatten();
        let spent = self.end().await;
        answer.map(|answer| Answered { answer, spent })
    }

    /// Waits for an answer in pieces.
    pub(super) async fn follow(self, work: impl Future<Output = Result<ChatStream>>) -> Result<ModelStream> {
        match self.within(work).await.flatten() {
            Ok(events) => Ok(ModelStream::new(events, self)),
            Err(error) => {
                self.end().await;
                Err(error)
            }
        }
    }

    /// The request is over: returns when what it used is written.
    pub(super) async fn end(mut self) -> Spent {
        let spent = Spent::of(&self.log);
        let (written, wait) = oneshot::channel();
        if self.send(Some(written)) {
            // The writer says when it could not; then there is nothing to wait for.
            let _ = wait.await;
        }
        spent
    }

    /// Hands on what was used; says whether there was anything.
    fn send(&mut self, written: Option<oneshot::Sender<()>>) -> bool {
        let Some(room) = self.room.take() else { return false };
        let attempts = self.log.attempts();
        let usage: Vec<UsageEvent> = attempts.iter().flat_map(|attempt| self.events(attempt)).collect();
        attempts.into_iter().for_each(|attempt| self.theirs.push(attempt));
        if usage.is_empty() {
            return false;
        }
        room.send(Bill { ctx: self.ctx.clone(), usage, written });
        true
    }

    /// What an attempt counts as; nothing when it was not billed.
    fn events(&self, attempt: &Attempt) -> Vec<UsageEvent> {
        let Some(usage) = attempt.usage else { return Vec::new() };
        let event = |meter, quantity, cost| UsageEvent {
            id: self.env.id(),
            meter,
            quantity,
            at: attempt.started.after(Duration::from_micros(attempt.duration_us)),
            user: Some(self.ctx.principal().user()),
            agent: self.ctx.agent(),
            run: None,
            model: Some(attempt.model.clone()),
            cost,
        };
        let mut events = vec![event(Meter::LlmRequests, 1, attempt.cost)];
        let counts =
            [(Meter::LlmTokensInput, usage.input_tokens), (Meter::LlmTokensOutput, usage.output_tokens)];
        for (meter, tokens) in counts {
            events.extend(tokens.filter(|tokens| *tokens > 0).map(|tokens| event(meter, tokens, None)));
        }
        events
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        self.send(None);
    }
}

/// The task of a writer.
async fn write(
    store: Arc<dyn EffectStore>,
    mut queue: mpsc::Receiver<Bill>,
    env: Env,
    closing: CancellationToken,
    cutoff: CancellationToken,
) {
    let mut bills = Vec::new();
    while closing
        .run_until_cancelled(queue.recv_many(&mut bills, AT_ONCE))
        .await
        .is_some_and(|count| count > 0)
    {
        commit(&*store, &mut bills).await;
    }
    queue.close();
    // The queue ends with the last request that is under way.
    for limit in [GRACE, LAST] {
        let over = env.monotonic().saturating_add(limit);
        // Only the wait has a limit: what was taken from the queue is written.
        loop {
            let left = over.saturating_sub(env.monotonic());
            match env.timeout(left, queue.recv_many(&mut bills, AT_ONCE)).await {
                Some(0) => return,
                Some(_) => commit(&*store, &mut bills).await,
                None => break,
            }
        }
        cutoff.cancel();
    }
    tracing::error!("requests to models were still under way when the platform closed; their usage is lost");
}

/// Writes bills, those of a tenant together.
async fn commit(store: &dyn EffectStore, bills: &mut Vec<Bill>) {
    let mut tenants: BTreeMap<TenantId, (Context, Vec<UsageEvent>)> = BTreeMap::new();
    for bill in &mut *bills {
        let (_, usage) = tenants.entry(bill.ctx.tenant()).or_insert_with(|| (bill.ctx.clone(), Vec::new()));
        usage.append(&mut bill.usage);
    }
    for (tenant, (ctx, usage)) in tenants {
        let requests = usage.iter().filter(|event| event.meter == Meter::LlmRequests).count();
        let cost: NanoUsd = usage.iter().filter_map(|event| event.cost).sum();
        let effects = Effects { guards: vec![Guard::TenantExists], usage, ..Effects::none() };
        if let Err(error) = store.apply(&ctx, effects).await {
            tracing::error!(%tenant, requests, %cost, ?error, "usage of models could not be written");
        }
    }
    for written in bills.drain(..).filter_map(|bill| bill.written) {
        // Whoever waited may be gone.
        let _ = written.send(());
    }
}
