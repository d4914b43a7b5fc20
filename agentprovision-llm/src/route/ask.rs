//! Makes the attempts of one request: asks targets as the state machine says, until one answers.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::model::{Attempt, CallLog, ModelInfo, Usage};
use agentprovision_core::{Env, Error, ErrorKind, Result, Retry};
use async_trait::async_trait;

use super::bucket::Bucket;
use super::chat::{too_late, too_slow};
use super::health::{Blocked, Reason};
use super::record::{Recorder, Subject};
use super::target::{Served, Target};
use super::tries::{Bounds, Failure, Outside, Step, Tries};

/// A probe that says nothing for so long gives its place up.
const LEASE: Duration = Duration::from_secs(120);
/// Nobody is asked against their breaker more often than this.
const LAST_RESORT: Duration = Duration::from_secs(1);

/// One kind of request.
#[async_trait]
pub(crate) trait Ask: Send + Sync {
    /// The models it is for.
    type Model: Served + ?Sized;
    /// What it gives.
    type Answer: Send;
    /// Asks once. The recorder is told how it ended, or goes on with the answer.
    async fn ask(
        &self,
        model: &Self::Model,
        info: &ModelInfo,
        recorder: Recorder,
        limit: Duration,
    ) -> Result<Self::Answer>;
    /// The longest an attempt may take until its answer begins, while others can be asked.
    fn limit(&self) -> Duration;
    /// Whether a slow attempt may get a second one beside it.
    fn hedges(&self) -> bool {
        false
    }
    /// Whether the answer shows as it is written.
    fn streams(&self) -> bool {
        false
    }
}

/// One attempt at a whole answer, recorded: with its counts, and how many bytes it wrote.
pub(super) async fn recorded<T>(
    env: &Env,
    recorder: Recorder,
    limit: Duration,
    usual: Duration,
    asked: impl Future<Output = Result<(Option<Usage>, u64, T)>>,
) -> Result<T> {
    match env.timeout(limit, asked).await {
        Some(Ok((usage, written, answer))) => {
            recorder.answered(usage, written);
            Ok(answer)
        }
        Some(Err(error)) => {
            recorder.failed(&error);
            Err(error)
        }
        None => {
            recorder.given_up(&too_slow(), limit, usual);
            Err(too_slow())
        }
    }
}

/// What all requests of a process share.
#[derive(Debug)]
pub(crate) struct Commons {
    /// Bounds second requests beside slow ones.
    pub(crate) hedges: Bucket,
}

impl Commons {
    pub(crate) fn new(hedge_per_cent: u32) -> Self {
        Self { hedges: Bucket::new(5, hedge_per_cent) }
    }
}

/// One attempt to make.
#[derive(Clone, Copy, Debug)]
struct Turn {
    place: usize,
    seat: usize,
    last: bool,
    forced: bool,
    hedge: bool,
}

/// One request with the targets that may answer it, in order.
#[derive(Debug)]
pub(crate) struct Call<'a, M: Served + ?Sized> {
    pub(crate) env: &'a Env,
    pub(crate) commons: &'a Commons,
    pub(crate) targets: Vec<(Arc<Target<M>>, Arc<ModelInfo>)>,
    pub(crate) bounds: Bounds,
    pub(crate) log: CallLog,
    pub(crate) input_tokens: u64,
    /// The longest answer that is reckoned with, in tokens.
    pub(crate) output_tokens: u64,
    /// Ends after the first attempt that may be billed.
    pub(crate) pay_once: bool,
    /// Random bits of this request.
    pub(crate) seed: u64,
}

impl<M: Served + ?Sized> Outside for Call<'_, M> {
    fn check(&self, place: usize, seat: usize) -> Result<(), Blocked> {
        let seat = self.targets.get(place).and_then(|(target, _)| target.seats.get(self.turned(place, seat)));
        seat.map_or(Ok(()), |seat| seat.health.check())
    }

    fn may_retry(&self, place: usize) -> bool {
        self.targets.get(place).is_some_and(|(target, _)| target.vitals.retries.take())
    }

    fn last_resort(&self, place: usize) -> bool {
        let now = self.env.monotonic();
        self.targets.get(place).is_some_and(|(target, _)| target.vitals.last_resort(now, LAST_RESORT))
    }
}

impl<M: Served + ?Sized> Call<'_, M> {
    /// Credentials take turns: the first one of a request is not always the same.
    fn turned(&self, place: usize, seat: usize) -> usize {
        let seats = self.targets.get(place).map_or(1, |(target, _)| target.seats.len()).max(1);
        let turn = usize::try_from(self.seed % seats as u64).unwrap_or(0);
        (seat + turn) % seats
    }

    /// The answer of the first target that gives one, and its name.
    pub(crate) async fn run<A: Ask<Model = M>>(&self, ask: &A) -> Result<(A::Answer, Arc<str>)> {
        let places = self.targets.iter().map(|(target, info)| (info.context_window, target.seats.len()));
        let mut tries = Tries::new(self.bounds, places);
        let mut errors: Vec<Error> = Vec::new();
        loop {
            let now = self.env.monotonic();
            match tries.next(now, self) {
                Step::Ask { place, seat, last, forced, .. } => {
                    let turn = Turn { place, seat, last, forced, hedge: false };
                    let Some(first) = self.begin(&mut tries, ask, turn) else { continue };
                    match self.race(&mut tries, ask, turn, first, &mut errors).await {
                        Some((answer, who)) => {
                            if ask.hedges() {
                                self.commons.hedges.success();
                            }
                            return Ok((answer, self.name(who)));
                        }
                        None if self.pay_once && self.log.read(|all| all.iter().any(Attempt::is_billed)) => {
                            tries.end();
                        }
                        None => {}
                    }
                }
                Step::Wait(until) => self.env.sleep(until.saturating_sub(now)).await,
                Step::Stop => return Err(self.over(errors, tries.made())),
            }
        }
    }

    /// One attempt as a future, once the target lets it in.
    fn begin<'s, A: Ask<Model = M>>(
        &'s self,
        tries: &mut Tries,
        ask: &'s A,
        turn: Turn,
    ) -> Option<impl Future<Output = Result<A::Answer>> + Send + use<'s, A, M>> {
        let Turn { place, seat, last, forced, hedge } = turn;
        let (target, info) = self.targets.get(place)?;
        let at = self.turned(place, seat);
        let held = target.seats.get(at)?;
        let permit = match held.health.admit(LEASE) {
            Ok(permit) => Some(permit),
            // Its verdict would be about a time that is over.
            Err(_) if forced => None,
            Err(_) => {
                tries.refused(place, seat);
                return None;
            }
        };
        let subject = Subject {
            env: self.env.clone(),
            log: self.log.clone(),
            info: Arc::clone(info),
            vitals: Arc::clone(&target.vitals),
            health: held.health.clone(),
            credential: at,
            rotates: target.seats.len() > 1,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens.min(info.max_output_tokens.unwrap_or(u64::MAX)),
            streamed: ask.streams(),
            hedge,
        };
        let recorder = Recorder::begin(subject, permit);
        let left = self.bounds.deadline.saturating_sub(self.env.monotonic());
        let limit = if last { left } else { ask.limit().min(left) };
        Some(ask.ask(&*held.model, info, recorder, limit))
    }

    /// Waits for an attempt, and lets a second one run beside it when it is slow.
    async fn race<A: Ask<Model = M>>(
        &self,
        tries: &mut Tries,
        ask: &A,
        asked: Turn,
        first: impl Future<Output = Result<A::Answer>> + Send,
        errors: &mut Vec<Error>,
    ) -> Option<(A::Answer, usize)> {
        let mut first = std::pin::pin!(first);
        let slow = self.targets.get(asked.place).and_then(|(target, _)| target.vitals.pulse.slow());
        let mut failed = |tries: &mut Tries, Turn { place, seat, .. }: Turn, error: Error| {
            let draw = f64::from(u16::from_le_bytes(self.env.random())) / 65_536.0;
            tries.failed(place, seat, &Failure::of(&error), self.env.monotonic(), draw);
            errors.push(error);
        };
        // Two at once may both be billed.
        let answer = match slow.filter(|_| ask.hedges() && !self.pay_once && !asked.last) {
            None => first.await,
            Some(slow) => match self.env.timeout(slow, &mut first).await {
                Some(answer) => answer,
                None => {
                    let other = tries.beside(self).filter(|_| self.commons.hedges.take());
                    let second = other.and_then(|(place, seat)| {
                        let last = tries.count(place, seat, self);
                        let turn = Turn { place, seat, last, forced: false, hedge: true };
                        Some((turn, self.begin(tries, ask, turn)?))
                    });
                    let Some((beside, second)) = second else {
                        return match first.await {
                            Ok(answer) => Some((answer, asked.place)),
                            Err(error) => {
                                failed(tries, asked, error);
                                None
                            }
                        };
                    };
                    let mut second = std::pin::pin!(second);
                    // Whoever answers first; the other one is dropped, and what it used is recorded.
                    let (left, who, answer) = tokio::select! {
                        biased;
                        answer = &mut first => (false, asked, answer),
                        answer = &mut second => (true, beside, answer),
                    };
                    match answer {
                        Ok(answer) => return Some((answer, who.place)),
                        Err(error) => failed(tries, who, error),
                    }
                    let (who, answer) = if left { (asked, first.await) } else { (beside, second.await) };
                    return match answer {
                        Ok(answer) => Some((answer, who.place)),
                        Err(error) => {
                            failed(tries, who, error);
                            None
                        }
                    };
                }
            },
        };
        match answer {
            Ok(answer) => Some((answer, asked.place)),
            Err(error) => {
                failed(tries, asked, error);
                None
            }
        }
    }

    fn name(&self, place: usize) -> Arc<str> {
        self.targets.get(place).map_or_else(|| "".into(), |(target, _)| Arc::clone(&target.name))
    }

    /// The error of a request that nobody answered: one that says to try again goes before one that does not, and the
    /// first asked before the later ones.
    fn over(&self, errors: Vec<Error>, made: u32) -> Error {
        let now = self.env.monotonic();
        let late = now >= self.bounds.deadline;
        let again = |error: &Error| matches!(error.retry(), Retry::After(_));
        let position = errors.iter().position(again).unwrap_or(0);
        let found = errors.into_iter().nth(position);
        let blocked = self.targets.iter().flat_map(|(target, _)| &target.seats);
        let blocked: Vec<Blocked> = blocked.filter_map(|seat| seat.health.check().err()).collect();
        let soonest = blocked.iter().min_by_key(|blocked| blocked.retry_at);
        match found {
            // The pause of whoever is back first, where everybody asked for one.
            Some(error) if again(&error) && blocked.len() == self.seats() => {
                let wait = soonest.map_or(Duration::ZERO, |soonest| soonest.retry_at.saturating_sub(now));
                let hint = if let Retry::After(hint) = error.retry() { hint } else { Duration::ZERO };
                error.with_retry(Retry::After(if wait.is_zero() { hint } else { wait }))
            }
            Some(error) => error,
            None if late => too_late(),
            None => {
                let words = match soonest.map(|soonest| soonest.reason) {
                    Some(Reason::Cooling) => "the model provider asked for a pause",
                    Some(Reason::Open) => "the model provider failed too often and is left alone for a while",
                    Some(Reason::Probing) => "the model provider is being tried out after failures",
                    None => "no model could be asked",
                };
                let wait = soonest.map_or(LAST_RESORT, |soonest| soonest.retry_at.saturating_sub(now));
                // Probes will usually have ended long before their places expire.
                let wait = match soonest.map(|soonest| soonest.reason) {
                    Some(Reason::Probing) => wait.min(LAST_RESORT),
                    _ => wait,
                };
                let mut error = Error::new(ErrorKind::Unavailable, words).with_retry(Retry::After(wait));
                if let Some((_, info)) = self.targets.first() {
                    error = error.with_context("provider", &info.provider).with_context("model", &info.name);
                }
                error
            }
        }
        .with_context("attempts", made)
    }

    fn seats(&self) -> usize {
        self.targets.iter().map(|(target, _)| target.seats.len()).sum()
    }
}
