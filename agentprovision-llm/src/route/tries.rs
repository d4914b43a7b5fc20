//! Who is asked next: the attempts of one request as a pure state machine.
//!
//! ```text
//! next ──→ Ask(target, credential) ──→ failed ──→ next ──→ …
//!   │        every target once, in order; then those that may be asked again, after a pause
//!   ├────→ Wait(until): nobody can be asked before
//!   └────→ Stop: no attempt is left, nobody may be asked again, or it would be too late
//! ```
//!
//! Whatever fails, and however, no more than `max_attempts` requests are made.

use std::time::Duration;

use agentprovision_core::{Error, ErrorKind, Retry};

use super::health::{Blocked, Reason};
use crate::wire::{Category, ProviderError};

/// What a failure means for what is asked next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) category: Category,
    /// How long the target wants to be left alone.
    pub(crate) hint: Option<Duration>,
    /// The request was not sent, because the target's format has no form for it; that of another may.
    pub(crate) unsent: bool,
}

impl Failure {
    /// Reads an error of a model: a provider's own, or any other by its kind.
    pub(crate) fn of(error: &Error) -> Self {
        if let Some(said) = provider_error(error) {
            return Self { category: said.category, hint: said.retry_after(), unsent: false };
        }
        let unsent = matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported);
        let again = matches!(error.retry(), Retry::After(_));
        let category = match error.kind() {
            ErrorKind::Unavailable => Category::Transport,
            ErrorKind::DeadlineExceeded => Category::Timeout,
            ErrorKind::Incomplete => Category::Incomplete,
            ErrorKind::RateLimited => Category::RateLimit,
            ErrorKind::ContextWindow => Category::ContextWindow,
            ErrorKind::ContentPolicy => Category::ContentPolicy,
            ErrorKind::TooLarge => Category::RequestExceedsLimit,
            ErrorKind::NotFound => Category::NotFound,
            ErrorKind::Unsupported => Category::Unsupported,
            ErrorKind::ProviderError if again => Category::ServerError,
            ErrorKind::ProviderError | ErrorKind::Internal => Category::Malformed,
            _ => Category::InvalidRequest,
        };
        let hint = match error.retry() {
            Retry::After(after) if !after.is_zero() => Some(after),
            _ => None,
        };
        Self { category, hint, unsent }
    }
}

impl Failure {
    /// Whether another target may do better.
    pub(crate) fn elsewhere(&self) -> bool {
        self.unsent || self.category.policy().failover_to_other_target
    }
}

/// The provider's own error behind an error.
pub(crate) fn provider_error(error: &Error) -> Option<&ProviderError> {
    std::error::Error::source(error)?.downcast_ref::<ProviderError>()
}

/// One target, as the attempts see it.
#[derive(Clone, Debug)]
struct Place {
    /// Longest input and output together, where known.
    window: Option<u64>,
    seats: Vec<Seat>,
    /// Not for this request any more.
    out: bool,
    /// How often it was asked.
    asked: u32,
    /// Whether its last failure says that it may be asked again.
    again: bool,
    /// Not before.
    ready: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seat {
    out: bool,
    asked: bool,
    /// Not before.
    ready: Duration,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask a target under a credential.
    Ask {
        /// The target's position.
        place: usize,
        /// The credential's position.
        seat: usize,
        /// Nobody could be asked after it, so it may take all the time there is.
        last: bool,
        /// It was asked before.
        again: bool,
        /// It is asked although its breaker is open.
        forced: bool,
    },
    /// Nobody can be asked before then.
    Wait(Duration),
    /// It is over.
    Stop,
}

/// Bounds of the attempts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) max_attempts: u32,
    /// How often one target is asked again.
    pub(crate) retries: u32,
    pub(crate) backoff: Duration,
    pub(crate) backoff_max: Duration,
    /// The longest pause that is waited for.
    pub(crate) wait_max: Duration,
    /// When it is too late, on the monotonic clock.
    pub(crate) deadline: Duration,
}

/// What the outside says when asked.
pub(crate) trait Outside {
    /// Whether a target may be asked under a credential.
    fn check(&self, place: usize, seat: usize) -> Result<(), Blocked>;
    /// Whether a target may be asked once more, by all requests of the process together.
    fn may_retry(&self, place: usize) -> bool;
    /// Whether a target may be asked although every breaker is open; true about once a second.
    fn last_resort(&self, place: usize) -> bool;
}

#[derive(Debug)]
pub(crate) struct Tries {
    bounds: Bounds,
    places: Vec<Place>,
    made: u32,
    over: bool,
}

impl Tries {
    /// Targets in order: the window of each and how many credentials it has.
    pub(crate) fn new(bounds: Bounds, places: impl IntoIterator<Item = (Option<u64>, usize)>) -> Self {
        let place = |(window, seats)| Place {
            window,
            seats: vec![Seat::default(); seats],
            out: false,
            asked: 0,
            again: true,
            ready: Duration::ZERO,
        };
        Self { bounds, places: places.into_iter().map(place).collect(), made: 0, over: false }
    }

    /// Attempts so far.
    pub(crate) fn made(&self) -> u32 {
        self.made
    }

    /// A target that was to be asked did not let the request in after all: it does not count.
    pub(crate) fn refused(&mut self, place: usize, seat: usize) {
        self.made = self.made.saturating_sub(1);
        if let Some(held) = self.places.get_mut(place) {
            held.asked = held.asked.saturating_sub(1);
            held.seats.get_mut(seat).into_iter().for_each(|seat| seat.asked = false);
        }
    }

    /// A credential that was not asked and may be now, for a second request beside a slow one.
    pub(crate) fn beside(&self, outside: &impl Outside) -> Option<(usize, usize)> {
        if self.over || self.made >= self.bounds.max_attempts {
            return None;
        }
        self.fresh().find(|(place, seat)| outside.check(*place, *seat).is_ok())
    }

    /// Counts a request that is made beside another. Whether nobody could be asked after it.
    pub(crate) fn count(&mut self, place: usize, seat: usize, outside: &impl Outside) -> bool {
        matches!(self.ask(place, seat, false, false, outside), Step::Ask { last: true, .. })
    }

    /// Ends it: nothing more is asked.
    pub(crate) fn end(&mut self) {
        self.over = true;
    }

    /// What to do next. An [`Step::Ask`] counts as made.
    pub(crate) fn next(&mut self, now: Duration, outside: &impl Outside) -> Step {
        if self.over || self.made >= self.bounds.max_attempts || now >= self.bounds.deadline {
            return Step::Stop;
        }
        let mut earliest: Option<Duration> = None;
        // Where every breaker is open: the one that opens first.
        let mut forced: Option<(Duration, usize, usize)> = None;
        let mut only_breakers = true;
        for (place, seat) in self.fresh().chain(self.asked_before()) {
            let again = self.places.get(place).is_some_and(|held| held.asked > 0);
            let ready = self.ready(place, seat);
            let blocked = outside.check(place, seat).err();
            let at = ready.max(blocked.map_or(Duration::ZERO, |blocked| blocked.retry_at));
            if at <= now {
                // Refused for all requests together: it would only make an outage worse. What one credential was
                // refused says nothing of the next.
                if self.asked(place, seat) && !outside.may_retry(place) {
                    continue;
                }
                return self.ask(place, seat, again, false, outside);
            }
            match blocked.map(|blocked| blocked.reason) {
                // Whoever failed in this very request is not asked against its breaker.
                Some(Reason::Open | Reason::Probing) if again => {}
                Some(Reason::Open | Reason::Probing) => {
                    if forced.is_none_or(|(best, ..)| at < best) {
                        forced = Some((at, place, seat));
                    }
                }
                _ => {
                    only_breakers = false;
                    earliest = Some(earliest.map_or(at, |earliest: Duration| earliest.min(at)));
                }
            }
        }
        if let Some((_, place, seat)) = forced.filter(|_| only_breakers)
            && outside.last_resort(place)
        {
            return self.ask(place, seat, false, true, outside);
        }
        // Whoever opens first may be asked before a pause is over.
        let earliest = earliest.map(|at| forced.map_or(at, |(open, ..)| at.min(open)));
        match earliest {
            Some(at) if at < self.bounds.deadline && at - now <= self.bounds.wait_max => Step::Wait(at),
            _ => Step::Stop,
        }
    }

    fn ready(&self, place: usize, seat: usize) -> Duration {
        let Some(held) = self.places.get(place) else { return Duration::ZERO };
        held.seats.get(seat).map_or(held.ready, |seat| seat.ready.max(held.ready))
    }

    fn asked(&self, place: usize, seat: usize) -> bool {
        self.places.get(place).and_then(|held| held.seats.get(seat)).is_some_and(|seat| seat.asked)
    }

    /// Credentials that were not asked, of targets that were not refused, in order.
    fn fresh(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let open = |place: &Place, seat: &Seat| !place.out && !seat.out && !seat.asked && place.again;
        // After a failure of the target itself its other credentials are no better.
        let kept = self.places.iter().enumerate().flat_map(move |(at, place)| {
            let seats = place.seats.iter().enumerate();
            seats
                .filter(move |(_, seat)| open(place, seat) && (place.asked == 0 || place.ready.is_zero()))
                .map(move |(seat, _)| (at, seat))
        });
        kept.collect::<Vec<_>>().into_iter()
    }

    /// Targets that may be asked once more, those that may be so first in front.
    fn asked_before(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let limit = self.bounds.retries;
        let mut again: Vec<(Duration, usize, usize)> = Vec::new();
        for (at, place) in self.places.iter().enumerate() {
            if place.out || place.asked == 0 || !place.again || place.asked > limit {
                continue;
            }
            let seats = place.seats.iter().enumerate().filter(|(_, seat)| !seat.out && seat.asked);
            again.extend(seats.map(|(seat, _)| (self.ready(at, seat), at, seat)));
        }
        again.sort_unstable();
        again.into_iter().map(|(_, place, seat)| (place, seat))
    }

    fn ask(&mut self, place: usize, seat: usize, again: bool, forced: bool, outside: &impl Outside) -> Step {
        self.made += 1;
        if let Some(held) = self.places.get_mut(place) {
            held.asked += 1;
            held.ready = Duration::ZERO;
            if let Some(seat) = held.seats.get_mut(seat) {
                (seat.asked, seat.ready) = (true, Duration::ZERO);
            }
        }
        // Whoever may not be asked at the moment is nobody to give up for.
        let last = self.made >= self.bounds.max_attempts
            || !self.fresh().any(|(place, seat)| outside.check(place, seat).is_ok());
        Step::Ask { place, seat, last, again, forced }
    }

    /// An attempt failed. `draw`, from 0 up to 1, shortens the pause before the target is asked again.
    pub(crate) fn failed(&mut self, place: usize, seat: usize, failure: &Failure, now: Duration, draw: f64) {
        if failure.unsent {
            self.made = self.made.saturating_sub(1);
            self.places.get_mut(place).into_iter().for_each(|held| held.out = true);
            return;
        }
        let policy = failure.category.policy();
        if !policy.retry_same_target && !policy.failover_to_other_target {
            self.over = true;
            return;
        }
        let window = self.places.get(place).and_then(|held| held.window);
        if failure.category == Category::ContextWindow {
            // One that is no larger refuses it too.
            let larger = |other: &Place| match (window, other.window) {
                (Some(this), Some(other)) => other > this,
                _ => true,
            };
            for (at, other) in self.places.iter_mut().enumerate() {
                other.out |= at == place || !larger(other);
            }
            return;
        }
        let backoff = self.backoff(place, draw);
        let Some(held) = self.places.get_mut(place) else { return };
        match failure.category {
            // The credential is the trouble; the next one may do.
            Category::Authentication | Category::Permission | Category::QuotaExhausted => {
                held.seats.get_mut(seat).into_iter().for_each(|seat| seat.out = true);
            }
            // The next credential may have room; this one only after a pause, the provider's or ours.
            Category::RateLimit => {
                let ready = now.saturating_add(failure.hint.unwrap_or(Duration::ZERO).max(backoff));
                held.seats.get_mut(seat).into_iter().for_each(|seat| seat.ready = ready);
            }
            _ if policy.retry_same_target => {
                held.ready = now.saturating_add(failure.hint.unwrap_or(Duration::ZERO).max(backoff));
            }
            _ => held.out = true,
        }
    }

    /// Full jitter: anything up to the bound that doubles with each attempt, and never nothing.
    fn backoff(&self, place: usize, draw: f64) -> Duration {
        let asked = self.places.get(place).map_or(0, |held| held.asked.saturating_sub(1));
        let bound = self.bounds.backoff.saturating_mul(1 << asked.min(16)).min(self.bounds.backoff_max);
        bound.mul_f64(draw.clamp(0.0, 1.0)).max(Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use agentprovision_core::Env;
    use agentprovision_core::clock::SeededEntropy;
    use std::sync::Arc;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn bounds(max_attempts: u32) -> Bounds {
        Bounds {
            max_attempts,
            retries: 2,
            backoff: SECOND / 2,
            backoff_max: SECOND * 8,
            wait_max: SECOND * 60,
            deadline: SECOND * 600,
        }
    }

    #[derive(Default)]
    struct Calm {
        blocked: Vec<((usize, usize), Blocked)>,
        no_retry: bool,
        resorts: Cell<u32>,
    }

    impl Outside for Calm {
        fn check(&self, place: usize, seat: usize) -> Result<(), Blocked> {
            let found = self.blocked.iter().find(|(at, _)| *at == (place, seat));
            found.map_or(Ok(()), |(_, blocked)| Err(*blocked))
        }

        fn may_retry(&self, _: usize) -> bool {
            !self.no_retry
        }

        fn last_resort(&self, _: usize) -> bool {
            self.resorts.replace(self.resorts.get().saturating_sub(1)) > 0
        }
    }

    fn failure(category: Category, hint: Option<u64>) -> Failure {
        Failure { category, hint: hint.map(Duration::from_secs), unsent: false }
    }

    /// Plays a script of failures; gives who was asked, with pauses as `None`.
    fn play(
        mut tries: Tries,
        outside: &Calm,
        script: impl Fn(usize, usize) -> Failure,
    ) -> Vec<Option<(usize, usize)>> {
        let (mut now, mut seen) = (Duration::ZERO, Vec::new());
        loop {
            match tries.next(now, outside) {
                Step::Ask { place, seat, .. } => {
                    seen.push(Some((place, seat)));
                    tries.failed(place, seat, &script(place, seat), now, 1.0);
                }
                Step::Wait(until) => {
                    assert!(until > now);
                    now = until;
                    seen.push(None);
                }
                Step::Stop => return seen,
            }
        }
    }

    fn asked(seats: &[usize], category: Category) -> Vec<Option<(usize, usize)>> {
        let tries = Tries::new(bounds(4), seats.iter().map(|seats| (Some(8), *seats)));
        play(tries, &Calm::default(), |_, _| failure(category, None))
    }

    #[test]
    fn each_category_is_answered_in_its_own_way() {
        use Category as C;
        let at = |place, seat| Some((place, seat));
        // The request itself is bad: nobody else is asked.
        for category in [C::InvalidRequest, C::ContentPolicy] {
            assert_eq!(asked(&[2, 1], category), [at(0, 0)], "{category}");
        }
        // A credential is refused: the next one, then the next target, and never the same again.
        for category in [C::Authentication, C::Permission, C::QuotaExhausted] {
            assert_eq!(asked(&[2, 1], category), [at(0, 0), at(0, 1), at(1, 0)], "{category}");
        }
        // No room under one credential: the next one, the next target, and after a pause whoever may be asked first.
        assert_eq!(asked(&[2, 1], C::RateLimit), [at(0, 0), at(0, 1), at(1, 0), None, at(0, 0)]);
        // The target is the trouble: the next target at once, and after a pause once more.
        for category in [C::Overloaded, C::ServerError, C::Timeout, C::Transport, C::Incomplete] {
            assert_eq!(
                asked(&[2, 1], category),
                [at(0, 0), at(1, 0), None, at(0, 0), at(1, 0)],
                "{category}"
            );
            assert_eq!(asked(&[1], category), [at(0, 0), None, at(0, 0), None, at(0, 0)], "{category}");
        }
        // Waiting does not help, another target may.
        for category in [C::NotFound, C::Unsupported, C::RequestExceedsLimit, C::Malformed, C::AnswerTooLarge]
        {
            assert_eq!(asked(&[2, 1], category), [at(0, 0), at(1, 0)], "{category}");
        }
        assert_eq!(Category::ALL.len(), 17, "a new category needs a line here");
    }

    #[test]
    fn a_prompt_that_is_too_long_goes_to_larger_windows_only() {
        let windows = [Some(8), Some(4), None, Some(16), Some(8)];
        let tries = Tries::new(bounds(4), windows.map(|window| (window, 1)));
        let seen = play(tries, &Calm::default(), |_, _| failure(Category::ContextWindow, None));
        // The one of unknown size is tried, and its refusal says nothing about the others.
        assert_eq!(seen, [Some((0, 0)), Some((2, 0)), Some((3, 0))]);
    }

    /// Pitfall 22: a hint is waited for, the longest pause is bounded, and who else can answer is asked first.
    #[test]
    fn pitfall_22_a_pause_is_kept_where_nobody_else_can_answer() {
        let one = || Tries::new(bounds(4), [(None, 1)]);
        let mut tries = one();
        assert!(matches!(tries.next(Duration::ZERO, &Calm::default()), Step::Ask { place: 0, .. }));
        tries.failed(0, 0, &failure(Category::RateLimit, Some(30)), Duration::ZERO, 0.0);
        assert_eq!(tries.next(Duration::ZERO, &Calm::default()), Step::Wait(SECOND * 30));
        let mut tries = one();
        let _ = tries.next(Duration::ZERO, &Calm::default());
        tries.failed(0, 0, &failure(Category::RateLimit, Some(61)), Duration::ZERO, 0.0);
        assert_eq!(tries.next(Duration::ZERO, &Calm::default()), Step::Stop, "too long to wait for");
        let mut tries = one();
        let late = SECOND * 590;
        let _ = tries.next(late, &Calm::default());
        tries.failed(0, 0, &failure(Category::RateLimit, Some(20)), late, 0.0);
        assert_eq!(tries.next(late, &Calm::default()), Step::Stop, "after the deadline");
    }

    /// Pitfall 23: what waiting cannot fix is not asked for again.
    #[test]
    fn pitfall_23_a_limit_that_waiting_does_not_lift_is_not_waited_for() {
        for category in [Category::RequestExceedsLimit, Category::QuotaExhausted] {
            assert_eq!(asked(&[1], category), [Some((0, 0))], "{category}");
        }
    }

    /// Pitfall 25: the only target is never shut out for good.
    #[test]
    fn pitfall_25_where_every_breaker_is_open_one_a_second_may_try() {
        let open = |retry_at| Blocked { reason: Reason::Open, retry_at: SECOND * retry_at };
        let blocked = vec![((0, 0), open(9)), ((1, 0), open(5))];
        let outside = Calm { blocked, resorts: Cell::new(1), ..Calm::default() };
        let mut tries = Tries::new(bounds(4), [(None, 1), (None, 1)]);
        let step = tries.next(SECOND, &outside);
        assert!(matches!(step, Step::Ask { place: 1, forced: true, .. }), "{step:?}");
        let mut tries = Tries::new(bounds(4), [(None, 1), (None, 1)]);
        assert_eq!(tries.next(SECOND, &outside), Step::Stop, "the others fail at once");
        let tries = Tries::new(bounds(4), [(None, 1), (None, 1), (None, 1)]);
        let seen = play(tries, &outside, |_, _| failure(Category::Malformed, None));
        assert_eq!(seen, [Some((2, 0))], "one that is well is asked, and the open ones are not");
    }

    #[test]
    fn a_pause_is_waited_for_where_it_is_short() {
        let cooling = Blocked { reason: Reason::Cooling, retry_at: SECOND * 7 };
        let outside = Calm { blocked: vec![((0, 0), cooling)], ..Calm::default() };
        let mut tries = Tries::new(bounds(4), [(None, 1)]);
        assert_eq!(tries.next(SECOND, &outside), Step::Wait(SECOND * 7));
        let mut tries = Tries::new(bounds(4), [(None, 1), (None, 1)]);
        assert!(matches!(tries.next(SECOND, &outside), Step::Ask { place: 1, .. }));
    }

    #[test]
    fn an_empty_retry_bucket_ends_it() {
        let outside = Calm { no_retry: true, ..Calm::default() };
        let tries = Tries::new(bounds(4), [(None, 1), (None, 1)]);
        let seen = play(tries, &outside, |_, _| failure(Category::ServerError, None));
        assert_eq!(seen, [Some((0, 0)), Some((1, 0)), None]);
    }

    /// Another credential that may not be asked is no reason to ask this one without a pause.
    #[test]
    fn a_rate_limit_is_waited_out_where_the_next_credential_is_blocked() {
        let cooling = Blocked { reason: Reason::Cooling, retry_at: SECOND * 3600 };
        let outside = Calm { blocked: vec![((0, 1), cooling)], ..Calm::default() };
        let mut tries = Tries::new(bounds(4), [(None, 2)]);
        assert!(matches!(tries.next(SECOND, &outside), Step::Ask { seat: 0, .. }));
        tries.failed(0, 0, &failure(Category::RateLimit, None), SECOND, 0.5);
        assert_eq!(tries.next(SECOND, &outside), Step::Wait(SECOND + SECOND / 4));
        assert!(matches!(tries.next(SECOND * 2, &outside), Step::Ask { seat: 0, again: true, .. }));
    }

    #[test]
    fn a_breaker_that_is_due_before_a_pause_is_over_is_waited_for() {
        let cooling = Blocked { reason: Reason::Cooling, retry_at: SECOND * 50 };
        let open = Blocked { reason: Reason::Open, retry_at: SECOND * 5 };
        let outside = Calm { blocked: vec![((0, 0), cooling), ((1, 0), open)], ..Calm::default() };
        let mut tries = Tries::new(bounds(4), [(None, 1), (None, 1)]);
        assert_eq!(tries.next(SECOND, &outside), Step::Wait(SECOND * 5));
    }

    /// Who has no form for a request takes nothing from the others: no attempt, and none of their retries.
    #[test]
    fn a_request_that_one_target_has_no_form_for_goes_on_with_the_others() {
        for unable in 0..3 {
            let script = move |place, _| match place {
                place if place == unable => {
                    Failure { unsent: true, ..failure(Category::InvalidRequest, None) }
                }
                _ => failure(Category::ServerError, None),
            };
            let seen = play(Tries::new(bounds(4), [(None, 1); 3]), &Calm::default(), script);
            let count = |at| seen.iter().filter(|asked| **asked == Some((at, 0))).count();
            let others: usize = (0..3).filter(|at| *at != unable).map(count).sum();
            assert_eq!((count(unable), others), (1, 4), "{seen:?}");
        }
    }

    /// Pitfall 20: the last one may take all the time that is left.
    #[test]
    fn pitfall_20_the_last_attempt_is_known_as_such() {
        let lasts = |max: u32, places: usize| {
            let mut tries = Tries::new(bounds(max), (0..places).map(|_| (None, 1)));
            let mut now = Duration::ZERO;
            let mut out = Vec::new();
            loop {
                match tries.next(now, &Calm::default()) {
                    Step::Ask { place, seat, last, .. } => {
                        out.push(last);
                        tries.failed(place, seat, &failure(Category::Timeout, None), now, 0.5);
                    }
                    Step::Wait(until) => now = until,
                    Step::Stop => return out,
                }
            }
        };
        let cooling = Blocked { reason: Reason::Cooling, retry_at: SECOND * 3600 };
        let outside = Calm { blocked: vec![((1, 0), cooling)], ..Calm::default() };
        let step = Tries::new(bounds(4), [(None, 1), (None, 1)]).next(Duration::ZERO, &outside);
        assert!(matches!(step, Step::Ask { last: true, .. }), "nobody else may be asked: {step:?}");
        assert_eq!(lasts(4, 3), [false, false, true, true]);
        assert_eq!(lasts(2, 3), [false, true]);
        assert_eq!(lasts(4, 1), [true, true, true]);
    }

    /// Pitfall 21: whatever fails, and however, upstream sees no more requests than the budget allows.
    #[test]
    fn pitfall_21_no_script_of_failures_makes_more_requests_than_the_budget() {
        for seed in 0..3000 {
            let env = Env::new(Env::default().clock().clone(), Arc::new(SeededEntropy::new(seed)));
            let draw = |below: usize| usize::from(u16::from_le_bytes(env.random())) % below;
            let max = 1 + draw(6) as u32;
            let places: Vec<usize> = (0..1 + draw(5)).map(|_| 1 + draw(3)).collect();
            let tries = Tries::new(bounds(max), places.iter().map(|seats| (None, *seats)));
            let seen = play(tries, &Calm::default(), |_, _| {
                let category = Category::ALL[draw(Category::ALL.len())];
                failure(category, (draw(2) == 0).then(|| draw(90) as u64))
            });
            let asked: Vec<_> = seen.into_iter().flatten().collect();
            assert!(!asked.is_empty() && asked.len() <= max as usize, "seed {seed}: {asked:?}");
            for (place, seats) in places.iter().enumerate() {
                let again = asked.iter().filter(|(at, _)| *at == place).count();
                assert!(again <= 2 + seats, "seed {seed}: {asked:?}");
            }
        }
    }
}
