//! One attempt from its beginning to its end: what it says of its target, and what it cost.

use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::clock::Timestamp;
use agentprovision_core::model::{Attempt, AttemptEnd, CallLog, ChatEvent, ModelInfo, Usage};
use agentprovision_core::money::NanoUsd;
use agentprovision_core::{Env, Error, ErrorKind};

use super::health::{Health, Permit, Verdict};
use super::target::Vitals;
use super::tries::{Failure, provider_error};
use crate::wire::{Category, ProviderError};

/// The longest pause a provider can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// How long a credential that is refused is left alone where there are others.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// A target that is silent for so long has failed, also where its usual times are not known.
const PATIENCE: Duration = Duration::from_secs(20);

/// What an attempt is made with.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) env: Env,
    pub(crate) log: CallLog,
    pub(crate) info: Arc<ModelInfo>,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) health: Health,
    pub(crate) credential: usize,
    /// Whether there are other credentials.
    pub(crate) rotates: bool,
    /// The prompt, in tokens, from above.
    pub(crate) input_tokens: u64,
    /// The longest answer, in tokens.
    pub(crate) output_tokens: u64,
    /// Whether the answer shows as it is written.
    pub(crate) streamed: bool,
    pub(crate) hedge: bool,
}

/// Follows one attempt. Says how it ended exactly once: dropped before that, it was cancelled.
#[derive(Debug)]
pub(crate) struct Recorder {
    subject: Subject,
    permit: Option<Permit>,
    started: Timestamp,
    begun: Duration,
    first: Option<Duration>,
    /// Bytes of the answer so far.
    written: u64,
    usage: Option<Usage>,
    finished: bool,
    ended: bool,
}

impl Recorder {
    /// The attempt begins.
    pub(crate) fn begin(subject: Subject, permit: Option<Permit>) -> Self {
        subject.vitals.pulse.begin();
        let (started, begun) = (subject.env.now(), subject.env.monotonic());
        Self {
            subject,
            permit,
            started,
            begun,
            first: None,
            written: 0,
            usage: None,
            finished: false,
            ended: false,
        }
    }

    /// Only a part of the prompt is sent with this attempt.
    pub(crate) fn sends(&mut self, input_tokens: u64) {
        self.subject.input_tokens = input_tokens;
    }

    fn elapsed(&self) -> Duration {
        self.subject.env.monotonic().saturating_sub(self.begun)
    }

    /// A piece of the answer came.
    pub(crate) fn event(&mut self, event: &ChatEvent) {
        let bytes = match event {
            ChatEvent::Text(text) | ChatEvent::Reasoning(text) | ChatEvent::Refusal(text) => text.len(),
            ChatEvent::ToolCall { name, arguments, .. } => {
                arguments.len() + name.as_ref().map_or(0, String::len)
            }
            ChatEvent::Usage(usage) => {
                self.usage = Some(*usage);
                return;
            }
            ChatEvent::Finished { .. } => {
                self.finished = true;
                return;
            }
            _ => return,
        };
        self.written += bytes as u64;
        if self.first.is_none() {
            let first = self.elapsed();
            self.first = Some(first);
            self.subject.vitals.pulse.first(first);
        }
    }

    /// The whole answer is there; `usage` where it was not among the events, and the bytes of what was not streamed.
    pub(crate) fn answered(mut self, usage: Option<Usage>, written: u64) {
        self.usage = usage.or(self.usage);
        self.written += written;
        if self.first.is_none() {
            self.subject.vitals.pulse.first(self.elapsed());
        }
        self.succeeded();
    }

    /// The stream is over, complete as it was.
    pub(crate) fn complete(mut self) {
        self.succeeded();
    }

    fn succeeded(&mut self) {
        let rest = self.elapsed().saturating_sub(self.first.unwrap_or_default());
        let tokens = self.usage.and_then(|usage| usage.output_tokens).unwrap_or(self.written / 4);
        let tokens = if self.first.is_some() { tokens } else { 0 };
        self.subject.vitals.pulse.answered(tokens, rest);
        self.subject.vitals.retries.success();
        self.verdict(Verdict::Success);
        self.end(AttemptEnd::Answered, true);
    }

    /// It failed.
    pub(crate) fn failed(self, error: &Error) {
        let verdict = self.learn(error);
        self.ended_by(error, verdict);
    }

    /// Nobody waited any longer. It speaks against the target only if it had the time it is given by the configuration,
    /// or long enough for nearly all of its answers: whoever is in a hurry may not shut it out for the others.
    pub(crate) fn given_up(self, error: &Error, waited: Duration, limit: Duration) {
        let fair = limit.min(self.subject.vitals.pulse.slow().unwrap_or_default().max(PATIENCE));
        let verdict = if waited >= fair { Verdict::Failure } else { Verdict::Nothing };
        self.ended_by(error, verdict);
    }

    fn ended_by(mut self, error: &Error, verdict: Verdict) {
        if verdict == Verdict::Failure {
            self.subject.vitals.pulse.failed();
        }
        self.verdict(verdict);
        let said = provider_error(error);
        let category = said.map_or(error.kind().code(), |said| said.category.code());
        // What was counted with the failure is paid for, whatever the failure is.
        self.usage = self.usage.or(said.and_then(|said| said.usage.as_deref().copied()));
        // Who answered in part, whether we could read it or not, or let us wait until we gave up, may well send a bill.
        let billed = self.written > 0
            || matches!(error.kind(), ErrorKind::DeadlineExceeded | ErrorKind::Incomplete)
            || said.is_some_and(ProviderError::is_of_an_answer);
        self.end(AttemptEnd::Failed { kind: error.kind(), category: category.to_owned() }, billed);
    }

    /// What an error says of the target, and the pause it asks for.
    fn learn(&self, error: &Error) -> Verdict {
        // Also of a model of the host's own, by the kind of its error.
        let Failure { category, hint, .. } = Failure::of(error);
        match category {
            Category::RateLimit | Category::Overloaded => {
                if let Some(pause) = hint {
                    self.subject.health.cool(pause.min(LONGEST_PAUSE));
                }
            }
            Category::Authentication | Category::QuotaExhausted if self.subject.rotates => {
                self.subject.health.cool(REFUSED_PAUSE);
            }
            _ => {}
        }
        // A refusal says that the target was reached and not that it can do its work.
        match category.policy().counts_against_target_health {
            true => Verdict::Failure,
            false => Verdict::Nothing,
        }
    }

    fn verdict(&mut self, verdict: Verdict) {
        if let Some(permit) = self.permit.take() {
            permit.record(verdict);
        }
    }

    fn end(&mut self, end: AttemptEnd, billed: bool) {
        self.ended = true;
        let Subject { log, info, vitals, credential, input_tokens, output_tokens, streamed, hedge, .. } =
            &self.subject;
        vitals.pulse.end();
        // Of an answer in one piece that never came nobody saw how much was written.
        let unseen = match end {
            AttemptEnd::Answered => 0,
            _ if *streamed => 0,
            _ => (*output_tokens).min(vitals.pulse.most(self.elapsed()).unwrap_or(u64::MAX)),
        };
        let estimate = Usage {
            input_tokens: Some(*input_tokens),
            output_tokens: Some(self.written.div_ceil(3).max(unseen)),
            ..Usage::default()
        };
        // Counts that came before the end are those so far: what was written after them is not in them.
        let whole = self.finished || end == AttemptEnd::Answered;
        let partial = self.usage.filter(|_| !whole && self.written > 0).map(|usage| Usage {
            output_tokens: usage.output_tokens.max(estimate.output_tokens),
            billed_output_tokens: usage
                .billed_output_tokens
                .map(|so_far| so_far.max(estimate.output_tokens.unwrap_or(0))),
            ..usage
        });
        let usage = partial.or(self.usage).or(billed.then_some(estimate));
        let cost = match (self.usage, usage) {
            (Some(_), Some(usage)) => info.cost(&usage, self.started),
            (None, Some(usage)) => info.at_most(&usage),
            (_, None) => Some(NanoUsd::ZERO),
        };
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        log.push(Attempt {
            provider: info.provider.clone(),
            model: info.name.clone(),
            credential: u32::try_from(*credential).unwrap_or(u32::MAX),
            started: self.started,
            duration_us: micros(self.elapsed()),
            first_content_us: self.first.map(micros),
            hedge: *hedge,
            end,
            usage,
            estimated: partial.is_some() || self.usage.is_none() && usage.is_some(),
            cost,
        });
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if self.finished {
            // Whoever stops reading after the last piece has the whole answer.
            self.succeeded();
        } else {
            self.verdict(Verdict::Nothing);
            self.end(AttemptEnd::Dropped, true);
        }
    }
}
