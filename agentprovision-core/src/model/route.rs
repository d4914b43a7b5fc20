//! What a caller may say about who answers, and what is recorded about who did.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::Usage;
use crate::clock::Timestamp;
use crate::error::ErrorKind;
use crate::money::{Cost, NanoUsd};

/// Whether a stored answer may be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CacheUse {
    /// As the platform is configured: by default only answers of requests that ask for temperature 0.
    #[default]
    Default,
    /// Whatever the temperature.
    Always,
    /// A stored answer is not given, and this one is stored.
    Refresh,
    /// A stored answer is not given, and this one is not stored.
    Never,
}

/// What a caller says about who answers and how hard it is tried. None of it is part of what the provider is told, and
/// a model that is no router ignores all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RouteHints {
    /// Models to try, in order, when the one that is named cannot answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<String>,
    /// The strategy that puts the candidates in order, by name; the configured one where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Requests with one key go to one target while it is well, so that its prompt cache is used; the session's id in a
    /// run. It is also the unit of experiments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<String>,
    /// The project whose budget pays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The most requests to providers, retries, fallbacks and hedges together; the configured number where absent, which
    /// it can only lower.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// When the whole answer must be there; also the context's deadline counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// Ends after the first attempt that a provider may bill, whatever became of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pay_once: bool,
    /// Whether a stored answer may be given.
    #[serde(skip_serializing_if = "is_default")]
    pub cache: CacheUse,
    /// The caller's own labels, for selectors and telemetry.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl RouteHints {
    /// Whether nothing is said.
    pub fn is_default(&self) -> bool {
        is_default(self)
    }
}

/// How one attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(tag = "end", rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttemptEnd {
    /// It gave the whole answer.
    Answered,
    /// It failed.
    Failed {
        /// The kind of its error.
        kind: ErrorKind,
        /// What kind of failure it was, in the provider layer's words; the kind's name where there is no other.
        category: String,
    },
    /// Nobody waited any more: the caller went away, or another attempt was faster.
    Dropped,
}

/// One request to a provider, after it ended.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Attempt {
    /// The provider.
    pub provider: String,
    /// The model, by the provider's name for it.
    pub model: String,
    /// Which of the provider's credentials, counted from 0.
    pub credential: u32,
    /// When it began.
    pub started: Timestamp,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// How long it took to the first piece of the answer, in microseconds, where it was streamed and there was one.
    pub first_content_us: Option<u64>,
    /// Whether it ran beside a slow one.
    pub hedge: bool,
    /// How it ended.
    #[serde(flatten)]
    pub end: AttemptEnd,
    /// Token counts; absent when nothing was billed.
    pub usage: Option<Usage>,
    /// Whether the counts are an estimate from above, because the provider gave none.
    pub estimated: bool,
    /// What it cost: zero when nothing was billed, absent when the price is unknown.
    pub cost: Option<NanoUsd>,
}

impl Attempt {
    /// Whether the provider may bill it.
    pub fn is_billed(&self) -> bool {
        self.usage.is_some()
    }
}

/// The attempts of one request, written by whoever makes them as each ends, also when it is dropped. Cheap to clone;
/// every clone is the same log.
///
/// A caller that must know what was spent on an answer it did not wait for puts a log of its own into the request and
/// keeps a clone.
#[derive(Clone, Default)]
pub struct CallLog(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    attempts: Vec<Attempt>,
    kept: usize,
}

impl CallLog {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that every attempt of a request that begins will be noted here. Whoever makes attempts says so before the
    /// first one: then a log without any means that nobody was asked, and not that nobody notes it.
    pub fn keep(&self) {
        self.lock().kept += 1;
    }

    /// How many requests said so far that they keep the log.
    pub fn kept(&self) -> usize {
        self.lock().kept
    }

    /// Notes an attempt that ended.
    pub fn push(&self, attempt: Attempt) {
        self.lock().attempts.push(attempt);
    }

    /// The attempts so far, in the order they ended.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.lock().attempts.clone()
    }

    /// Looks at the attempts so far, in the order they ended. The log is locked meanwhile.
    pub fn read<T>(&self, look: impl FnOnce(&[Attempt]) -> T) -> T {
        look(&self.lock().attempts)
    }

    /// How many attempts ended so far.
    pub fn len(&self) -> usize {
        self.lock().attempts.len()
    }

    /// Whether no attempt ended so far.
    pub fn is_empty(&self) -> bool {
        self.lock().attempts.is_empty()
    }

    /// The token counts of all attempts together; `None` when nothing was billed.
    pub fn usage(&self) -> Option<Usage> {
        self.lock().attempts.iter().filter_map(|attempt| attempt.usage).reduce(Usage::plus)
    }

    /// What all attempts cost together.
    pub fn cost(&self) -> Cost {
        let cost = |attempt: &Attempt| Cost::from(attempt.cost);
        self.lock().attempts.iter().map(cost).fold(Cost::Known(NanoUsd::ZERO), Cost::plus)
    }
}

impl fmt::Debug for CallLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lock().attempts.iter()).finish()
    }
}

/// Every log is equal to every other: what is recorded about a request is no part of it.
impl PartialEq for CallLog {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(usage: Option<Usage>, cost: Option<i64>) -> Attempt {
        Attempt {
            provider: "p".into(),
            model: "m".into(),
            credential: 0,
            started: Timestamp::default(),
            duration_us: 1,
            first_content_us: None,
            hedge: false,
            end: AttemptEnd::Answered,
            usage,
            estimated: false,
            cost: cost.map(NanoUsd::from_nanos),
        }
    }

    #[test]
    fn a_log_sums_what_was_billed_and_one_unknown_price_makes_the_cost_unknown() {
        let log = CallLog::default();
        assert_eq!((log.usage(), log.cost()), (None, Cost::Known(NanoUsd::ZERO)));
        let usage = Usage { input_tokens: Some(3), ..Usage::default() };
        log.push(attempt(None, Some(0)));
        log.clone().push(attempt(Some(usage), Some(5)));
        log.push(attempt(Some(Usage { output_tokens: Some(2), ..usage }), Some(7)));
        let sum = log.usage().unwrap();
        assert_eq!((sum.input_tokens, sum.output_tokens, sum.cache_read_tokens), (Some(6), Some(2), None));
        assert_eq!((log.len(), log.cost()), (3, Cost::Known(NanoUsd::from_nanos(12))));
        log.push(attempt(Some(usage), None));
        assert_eq!(log.cost(), Cost::Unknown);
        log.clone().keep();
        assert_eq!((log.kept(), CallLog::default().kept()), (1, 0));
    }

    #[test]
    fn hints_that_say_nothing_stay_out_of_stored_text() {
        assert_eq!(serde_json::to_string(&RouteHints::default()).unwrap(), "{}");
        let read = serde_json::from_str::<RouteHints>(r#"{"fallback": []}"#);
        assert!(read.unwrap_err().to_string().contains("unknown field `fallback`"));
        let ended = serde_json::to_value(attempt(None, Some(0))).unwrap();
        assert_eq!(ended["end"], "answered");
    }
}
