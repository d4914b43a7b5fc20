//! What requests used, from the attempt to the store.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::effect::EffectStore;
use agentprovision_core::model::{Attempt, CallLog, ChatStream, Usage};
use agentprovision_core::money::NanoUsd;
use agentprovision_core::usage::{Meter, UsageEvent};
use agentprovision_core::{Env, Error, Result};
use serde::Serialize;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::stream::ModelStream;
use super::writer::{Bill, Writer};

/// Requests under way at one time; more of them wait for their turn.
const UNDER_WAY: usize = 16_384;

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
    /// What the requests of a log used together. A request that failed has no answer to say so, but its log does.
    pub fn of(log: &CallLog) -> Self {
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

/// Writes the usage of requests in the background: one task, which takes what waits into one commit. What the store does
/// not take is kept and tried again. Cheap to clone; every clone is the same writer.
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
        let task = tokio::spawn(Writer::new(store, env.clone()).run(queue, closing.clone(), cutoff.clone()));
        Self { bills, env, closing, cutoff, task: Arc::new(Mutex::new(Some(task))) }
    }

    /// Takes no more requests, waits a while for those under way, ends what is left, and returns when all is written that
    /// was used, or when the store has refused it for too long. Closing twice is harmless, and so is giving up waiting: the
    /// writing goes on, and another call waits for its end. The store must be open until then.
    pub async fn close(&self) {
        self.closing.cancel();
        let mut task = self.task.lock().await;
        if let Some(running) = task.as_mut() {
            if let Err(error) = running.await {
                tracing::error!(%error, "the writer of usage was lost");
            }
            // Only now: whoever stops waiting before leaves it to the next one.
            *task = None;
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

    /// The request is over: returns when what it used is written, or could not be at once and is tried again.
    pub(super) async fn end(mut self) -> Spent {
        let spent = Spent::of(&self.log);
        let (written, wait) = oneshot::channel();
        if self.send(Some(written)) {
            // An error is that the store did not take it yet; an answer is not kept back for that.
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
        room.send(Bill::new(self.ctx.clone(), usage, written));
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
