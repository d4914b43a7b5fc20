//! Several models side by side.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::model::{CacheUse, ChatModel, ChatRequest, Usage};
use agentprovision_core::money::{Cost, NanoUsd};
use agentprovision_core::{Env, Error, ErrorKind, Result};
use futures_util::{FutureExt, StreamExt, stream};
use serde::{Serialize, Serializer};

use super::answer::measure;
use super::recommend::{Recommendation, recommend};
use super::score::Scorer;
use crate::clip;
use crate::layers::refuse;

/// The most contenders of a comparison.
const CONTENDERS: usize = 64;
/// The most repetitions.
const REPETITIONS: u32 = 100;

/// A model that takes part in a comparison.
#[derive(Clone, Debug)]
pub struct Contender {
    name: String,
    model: Arc<dyn ChatModel>,
}

impl Contender {
    /// A model under the name it is asked by.
    pub fn new(name: impl Into<String>, model: Arc<dyn ChatModel>) -> Self {
        Self { name: name.into(), model }
    }
}

/// How models are compared.
#[derive(Clone, Debug)]
pub struct CompareOptions {
    env: Env,
    streamed: bool,
    repetitions: u32,
    timeout: Duration,
    concurrency: usize,
    tolerance: u16,
    scorer: Option<Arc<dyn Scorer>>,
}

impl Default for CompareOptions {
    /// Streamed, once each, 2 minutes for everything, 16 requests at a time, scores within 50 thousandths alike, and no
    /// scorer.
    fn default() -> Self {
        Self {
            env: Env::default(),
            streamed: true,
            repetitions: 1,
            timeout: Duration::from_secs(120),
            concurrency: 16,
            tolerance: 50,
            scorer: None,
        }
    }
}

impl CompareOptions {
    /// Clock of the comparison; the system's where this is not called.
    #[must_use]
    pub fn env(self, env: Env) -> Self {
        Self { env, ..self }
    }

    /// Whether answers are streamed, so that the time to their first piece is known.
    #[must_use]
    pub fn streamed(self, streamed: bool) -> Self {
        Self { streamed, ..self }
    }

    /// How often each model is asked.
    #[must_use]
    pub fn repetitions(self, repetitions: u32) -> Self {
        Self { repetitions, ..self }
    }

    /// When everything is over; what has no answer by then has failed. An earlier deadline of the context or the request
    /// holds.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// How many requests run at one time.
    #[must_use]
    pub fn concurrency(self, concurrency: usize) -> Self {
        Self { concurrency, ..self }
    }

    /// How many thousandths below the best score still count as good as it.
    #[must_use]
    pub fn tolerance(self, per_mille: u16) -> Self {
        Self { tolerance: per_mille, ..self }
    }

    /// How answers are scored.
    #[must_use]
    pub fn scorer(self, scorer: impl Scorer) -> Self {
        Self { scorer: Some(Arc::new(scorer)), ..self }
    }

    fn check(&self, contenders: &[Contender]) -> Result<()> {
        let mut problems = Vec::new();
        let mut within = |what: &str, value: usize, most: usize| {
            if value == 0 || value > most {
                problems.push(format!("`{what}`: is {value}, and from 1 to {most}"));
            }
        };
        within("contenders", contenders.len(), CONTENDERS);
        within("repetitions", self.repetitions as usize, REPETITIONS as usize);
        within("concurrency", self.concurrency, CONTENDERS * REPETITIONS as usize);
        if self.tolerance > 1000 {
            problems.push(format!("`tolerance`: is {}, and at most 1000", self.tolerance));
        }
        if self.timeout.is_zero() {
            problems.push("`timeout`: must not be zero".into());
        }
        for (place, contender) in contenders.iter().enumerate() {
            let path = format!("contenders[{place}]");
            if contender.name.is_empty() {
                problems.push(format!("`{path}`: its name must not be empty"));
            } else if contenders.iter().take(place).any(|other| other.name == contender.name) {
                problems.push(format!("`{path}`: there are two named `{}`", clip(&contender.name)));
            }
        }
        refuse("the comparison", &problems)
    }
}

/// Why there is no answer, or no score of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Failure {
    /// The kind of the error.
    pub kind: ErrorKind,
    /// Its message.
    pub message: String,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { kind: error.kind(), message: error.message().to_owned() }
    }
}

/// One request to one model.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Trial {
    /// The text of the answer; `None` when there is none.
    pub answer: Option<String>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// How long it took, in microseconds, also to fail.
    pub latency_us: u64,
    /// How long it took to the first piece, in microseconds; `None` when it was not streamed or there was none.
    pub first_content_us: Option<u64>,
    /// Token counts of all attempts; `None` when none were reported.
    pub usage: Option<Usage>,
    /// What all attempts cost: decimal dollars in JSON, and `null` when it is unknown.
    #[serde(serialize_with = "cost")]
    #[schemars(with = "Option<NanoUsd>")]
    pub cost: Cost,
    /// The score, in thousandths; `None` when it was not scored.
    pub score: Option<u16>,
    /// The ground of the score, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why there is no score although there is an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_failure: Option<Failure>,
    /// What scoring cost.
    #[serde(serialize_with = "cost")]
    #[schemars(with = "Option<NanoUsd>")]
    pub scoring_cost: Cost,
}

pub(super) fn cost<S: Serializer>(cost: &Cost, serializer: S) -> Result<S::Ok, S::Error> {
    cost.known().serialize(serializer)
}

/// One model of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Compared {
    /// The name it was asked by.
    pub model: String,
    /// The provider that serves it.
    pub provider: String,
    /// How many of the trials were answered.
    pub answered: u32,
    /// The mean score in thousandths, where a trial without an answer counts as 0; `None` when nothing was scored.
    pub score: Option<u16>,
    /// The median time of the answers, in microseconds.
    pub latency_us: Option<u64>,
    /// The median time to the first piece of the answers, in microseconds.
    pub first_content_us: Option<u64>,
    /// The mean cost of a trial: decimal dollars in JSON, and `null` when one of them is unknown.
    #[serde(serialize_with = "cost")]
    #[schemars(with = "Option<NanoUsd>")]
    pub cost: Cost,
    /// Every request, in the order they were numbered.
    pub trials: Vec<Trial>,
}

/// Models side by side. Shown as a table; as JSON by serde.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Comparison {
    /// The models, in the order they were given.
    pub models: Vec<Compared>,
    /// Which to take; `None` when none answered.
    pub recommendation: Option<Recommendation>,
}

/// Asks every contender the same, side by side, and says which to take.
///
/// The request's model is replaced by each contender's name; stored answers and fallbacks are not used, because it is
/// this model that is to answer. A model that fails or is too slow has its error in its place, and the others are not
/// disturbed. Nothing runs on when the returned future is dropped.
///
/// # Errors
/// `invalid_input`, naming every problem, for no contenders or more than 64, an empty name or one that is there twice, and
/// options out of their range. Failures of models are no errors.
pub async fn compare(
    ctx: &Context,
    contenders: &[Contender],
    request: &ChatRequest,
    options: &CompareOptions,
) -> Result<Comparison> {
    options.check(contenders)?;
    let env = &options.env;
    let ends = [ctx.deadline(), request.route.deadline].into_iter().flatten();
    let left = ends.map(|end| end.since(env.now())).fold(options.timeout, Duration::min);
    let over = env.monotonic().saturating_add(left);
    // Round by round, so that a slow model does not take all the places.
    let jobs = (0..options.repetitions).flat_map(|round| {
        contenders.iter().enumerate().map(move |(place, contender)| (place, round, contender))
    });
    // Boxed, so that the future of a comparison can be sent between threads whatever it borrows.
    let trials: Vec<_> = jobs
        .map(|(place, round, contender)| {
            async move { (place, round, trial(ctx, contender, request, options, over).await) }.boxed()
        })
        .collect();
    let mut ended: Vec<_> = stream::iter(trials).buffer_unordered(options.concurrency).collect().await;
    ended.sort_by_key(|(place, round, _)| (*place, *round));
    let mut of: Vec<Vec<Trial>> = contenders.iter().map(|_| Vec::new()).collect();
    for (place, _, trial) in ended {
        if let Some(trials) = of.get_mut(place) {
            trials.push(trial);
        }
    }
    let models: Vec<Compared> =
        contenders.iter().zip(of).map(|(contender, trials)| compared(contender, trials)).collect();
    let recommendation = recommend(&models, options.tolerance);
    Ok(Comparison { models, recommendation })
}

async fn trial(
    ctx: &Context,
    contender: &Contender,
    request: &ChatRequest,
    options: &CompareOptions,
    over: Duration,
) -> Trial {
    let env = &options.env;
    let left = || over.saturating_sub(env.monotonic());
    let mut asked = request.clone();
    asked.model.clone_from(&contender.name);
    asked.route.fallbacks.clear();
    asked.route.cache = CacheUse::Never;
    let measured = measure(env, ctx, &*contender.model, asked, options.streamed, left()).await;
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let mut trial = Trial {
        answer: None,
        failure: None,
        latency_us: micros(measured.latency),
        first_content_us: measured.first_content.map(micros),
        usage: measured.usage,
        cost: measured.cost,
        score: None,
        reason: None,
        score_failure: None,
        scoring_cost: Cost::Known(NanoUsd::ZERO),
    };
    let response = match measured.outcome {
        Ok(response) => response,
        Err(error) => {
            trial.failure = Some(Failure::from(&error));
            return trial;
        }
    };
    if let Some(scorer) = &options.scorer {
        let late = || Err(Error::new(ErrorKind::DeadlineExceeded, "the score did not come in time"));
        match env.timeout(left(), scorer.score(ctx, request, &response)).await.unwrap_or_else(late) {
            Ok(score) => {
                trial.score = Some(score.per_mille());
                trial.reason = Some(score.reason);
                trial.scoring_cost = score.cost;
            }
            Err(error) => {
                trial.score_failure = Some(Failure::from(&error));
                trial.scoring_cost = Cost::Unknown;
            }
        }
    }
    trial.answer = Some(response.text);
    trial
}

fn compared(contender: &Contender, trials: Vec<Trial>) -> Compared {
    let answered = || trials.iter().filter(|trial| trial.answer.is_some());
    // A failed trial is a bad one; an answer that could not be scored says nothing.
    let scores = trials.iter().filter_map(|trial| match &trial.failure {
        Some(_) => Some(0),
        None => trial.score.map(u64::from),
    });
    let scored = answered().any(|trial| trial.score.is_some());
    let scores: Vec<u64> = scores.collect();
    let mean = |sum: u64, count: usize| sum.checked_div(count as u64);
    let score = mean(scores.iter().sum(), scores.len()).filter(|_| scored);
    let sum = trials.iter().map(|trial| trial.cost).fold(Cost::Known(NanoUsd::ZERO), Cost::plus);
    let cost = sum.known().map(|sum| {
        let count = i64::try_from(trials.len()).unwrap_or(1).max(1);
        NanoUsd::from_nanos(sum.nanos().saturating_add(count / 2).div_euclid(count))
    });
    let info = contender.model.info();
    Compared {
        model: contender.name.clone(),
        provider: info.provider.clone(),
        answered: u32::try_from(answered().count()).unwrap_or(u32::MAX),
        score: score.and_then(|score| u16::try_from(score).ok()),
        latency_us: median(answered().map(|trial| trial.latency_us).collect()),
        first_content_us: median(answered().filter_map(|trial| trial.first_content_us).collect()),
        cost: cost.into(),
        trials,
    }
}

/// The middle one, and of two in the middle the lower.
fn median(mut all: Vec<u64>) -> Option<u64> {
    all.sort_unstable();
    all.get(all.len().saturating_sub(1) / 2).copied()
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::table::write(self, f)
    }
}
