//! One answer, with what it took.

use std::time::Duration;

use agentprovision_core::clock::Timestamp;
use agentprovision_core::context::Context;
use agentprovision_core::model::{
    Attempt, CallLog, ChatAssembler, ChatModel, ChatRequest, ChatResponse, ModelInfo, Usage,
};
use agentprovision_core::money::{Cost, NanoUsd};
use agentprovision_core::{Env, Error, Result};
use futures_util::StreamExt;

/// An answer, with what it took.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// The answer.
    pub response: ChatResponse,
    /// How long it took.
    pub latency: Duration,
    /// How long it took to the first piece of it; `None` where it was not streamed.
    pub first_content: Option<Duration>,
    /// Token counts of all attempts; `None` when none were reported.
    pub usage: Option<Usage>,
    /// What all attempts cost.
    pub cost: Cost,
}

/// What asking a model came to.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) outcome: Result<ChatResponse>,
    pub(crate) latency: Duration,
    pub(crate) first_content: Option<Duration>,
    pub(crate) usage: Option<Usage>,
    pub(crate) cost: Cost,
}

impl Measured {
    /// The answer, or why there is none.
    pub(crate) fn into_answer(self) -> Result<Answer> {
        let Self { outcome, latency, first_content, usage, cost } = self;
        Ok(Answer { response: outcome?, latency, first_content, usage, cost })
    }
}

/// Asks a model, for at most so long. What was spent is known also when the answer was not.
pub(crate) async fn measure(
    env: &Env,
    ctx: &Context,
    model: &dyn ChatModel,
    mut request: ChatRequest,
    streamed: bool,
    limit: Duration,
) -> Measured {
    let log = CallLog::default();
    request.log = log.clone();
    let (began, at) = (env.monotonic(), env.now());
    let mut first_content = None;
    let mut heard = ChatAssembler::new();
    let ask = async {
        if !streamed {
            return model.complete(ctx, request).await;
        }
        let mut events = model.stream(ctx, request).await?;
        while let Some(event) = events.next().await {
            let event = event?;
            if first_content.is_none() && event.is_content() {
                first_content = Some(env.monotonic().saturating_sub(began));
            }
            heard.push(&event);
        }
        std::mem::take(&mut heard).finish()
    };
    // The request is over, and its attempts are in the log, before anything is counted.
    let outcome = env.timeout(limit, ask).await.unwrap_or_else(|| Err(late()));
    let latency = env.monotonic().saturating_sub(began);
    let reported = outcome.as_ref().map_or_else(|_| heard.usage(), |response| response.usage);
    let silent = outcome.is_err() && heard.written() == 0;
    let (usage, cost) = spent(&log.attempts(), model.info(), reported, silent, at);
    Measured { outcome, latency, first_content, usage, cost }
}

fn late() -> Error {
    Error::new(agentprovision_core::ErrorKind::DeadlineExceeded, "the answer did not come in time")
}

/// What was used and what it cost: by the attempts where a router recorded them, by the answer's own counts otherwise.
/// `silent` says that the model failed without a piece of an answer, which nobody bills.
pub(crate) fn spent(
    attempts: &[Attempt],
    info: &ModelInfo,
    reported: Option<Usage>,
    silent: bool,
    at: Timestamp,
) -> (Option<Usage>, Cost) {
    if !attempts.is_empty() {
        let usage = attempts.iter().filter_map(|attempt| attempt.usage).reduce(Usage::plus);
        let costs = attempts.iter().map(|attempt| Cost::from(attempt.cost));
        return (usage, costs.fold(Cost::Known(NanoUsd::ZERO), Cost::plus));
    }
    match reported {
        Some(usage) => (Some(usage), info.cost(&usage, at).into()),
        None if silent => (None, Cost::Known(NanoUsd::ZERO)),
        None => (None, Cost::Unknown),
    }
}
