//! What requests used, from the attempt to the store.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::effect::{EffectStore, EffectWriter, Room};
use agentprovision_core::model::{Attempt, CallLog, ChatStream, Usage};
use agentprovision_core::money::NanoUsd;
use agentprovision_core::usage::{Meter, UsageEvent};
use agentprovision_core::{Env, Error, Result};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::stream::ModelStream;

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
pub struct UsageWriter(EffectWriter);

impl UsageWriter {
    /// Starts the task. Must be called within a tokio runtime.
    pub fn start(store: Arc<dyn EffectStore>, env: Env) -> Self {
        Self::over(EffectWriter::start(store, env))
    }

    /// Writes by a task that writes for others too.
    pub fn over(writer: EffectWriter) -> Self {
        Self(writer)
    }

    /// As [`EffectWriter::close`].
    pub async fn close(&self) {
        self.0.close().await;
    }

    /// Opens the tab of a request, whose log is replaced by one that nobody else writes to.
    ///
    /// # Errors
    /// `closed`.
    pub(super) async fn open(&self, ctx: &Context, log: &mut CallLog) -> Result<Tab> {
        let room = self.0.room().await?;
        let theirs = std::mem::take(log);
        Ok(Tab {
            ctx: ctx.clone(),
            env: self.0.env().clone(),
            cutoff: self.0.cutoff().clone(),
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
    room: Option<Room>,
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
        if let Some(written) = self.send() {
            // An error is that the store did not take it yet; an answer is not kept back for that.
            let _ = written.await;
        }
        spent
    }

    /// Hands on what was used; answers what tells that it is written, where there was anything.
    fn send(&mut self) -> Option<oneshot::Receiver<()>> {
        let room = self.room.take()?;
        let attempts = self.log.attempts();
        let usage: Vec<UsageEvent> = attempts.iter().flat_map(|attempt| self.events(attempt)).collect();
        attempts.into_iter().for_each(|attempt| self.theirs.push(attempt));
        (!usage.is_empty()).then(|| room.send(self.ctx.clone(), usage, Vec::new()))
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
        self.send();
    }
}
