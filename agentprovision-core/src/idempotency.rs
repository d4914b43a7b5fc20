//! Work that was done under a key of its caller, so that asking again answers what was answered: [`IdempotencyStore`].

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::text;

/// Names one piece of work: within a tenant a key means something to one scope only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkKey {
    /// What the key was given to, such as an integration and an operation: 1 to 255 bytes.
    pub scope: String,
    /// The caller's key: 1 to 255 bytes.
    pub key: String,
}

/// The longest scope and the longest key, in bytes.
pub const MAX_KEY: usize = 255;

impl WorkKey {
    /// Refuses a scope or a key that cannot be stored.
    ///
    /// # Errors
    /// `invalid_input` for an empty one or one with U+0000; `too_large` beyond [`MAX_KEY`].
    pub fn check(&self) -> Result<()> {
        for (field, text) in [("scope", &self.scope), ("key", &self.key)] {
            if text::content(field, text, MAX_KEY)?.is_empty() {
                return Err(Error::invalid(format!("`{field}` is empty")));
            }
        }
        Ok(())
    }
}

/// What came of beginning a piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is the caller's to do, under this epoch.
    New(u64),
    /// It was begun before by somebody who has not ended it in time, and may have done it. It is the caller's now, under this
    /// epoch.
    Again(u64),
    /// Somebody is at it, until then.
    Running(Timestamp),
    /// It was done, with this answer.
    Done(Vec<u8>),
}

/// Remembers what was done under keys of callers. A tenant's keys are told apart by their scope.
#[async_trait]
pub trait IdempotencyStore: fmt::Debug + Send + Sync + 'static {
    /// Begins a piece of work of this input (a digest of it), for at most `term`. What was begun so is forgotten once its end,
    /// or that of its term, is `keep` ago. Time is the store's own where several processes share it.
    ///
    /// # Errors
    /// `idempotency_mismatch` when the key stands for another input; those of [`WorkKey::check`]; those of a tenant that is
    /// not active.
    async fn begin(
        &self,
        ctx: &Context,
        work: &WorkKey,
        input: [u8; 32],
        term: Duration,
        keep: Duration,
    ) -> Result<Begun>;
    /// Ends it with an answer; without one it was not done, and the key is free again. A suspended tenant's is ended too.
    ///
    /// # Errors
    /// `fenced` when somebody else has begun it since, and when it was ended or forgotten.
    async fn finish(&self, ctx: &Context, work: &WorkKey, epoch: u64, answer: Option<Vec<u8>>) -> Result<()>;
}

/// What a store remembers of a piece of work: the rules of [`IdempotencyStore`], for whoever writes one.
#[derive(Clone, PartialEq, Eq)]
pub struct Work {
    /// Its input; none once it was ended undone.
    pub input: Option<[u8; 32]>,
    /// Counts those who have begun it, from 1.
    pub epoch: u64,
    /// Until when whoever began it is at it; none once it was ended.
    pub lease_until: Option<Timestamp>,
    /// The answer, once it was done.
    pub answer: Option<Vec<u8>>,
    /// How long it is remembered.
    pub keep: Duration,
    /// When it is forgotten.
    pub forget_at: Timestamp,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Answers stay out of logs.
        f.debug_struct("Work")
            .field("epoch", &self.epoch)
            .field("lease_until", &self.lease_until)
            .field("done", &self.answer.is_some())
            .field("forget_at", &self.forget_at)
            .finish_non_exhaustive()
    }
}

impl Work {
    /// Work that nobody has begun before, as far as is known.
    pub fn new(input: [u8; 32], term: Duration, keep: Duration, now: Timestamp) -> Self {
        let until = now.after(term);
        let (lease_until, forget_at) = (Some(until), until.after(keep));
        Self { input: Some(input), epoch: 1, lease_until, answer: None, keep, forget_at }
    }

    /// Begins work that was begun before: what is known from now on, where that changes, and what the asker is told.
    ///
    /// # Errors
    /// As [`IdempotencyStore::begin`].
    pub fn begin(
        &self,
        input: [u8; 32],
        term: Duration,
        keep: Duration,
        now: Timestamp,
    ) -> Result<(Option<Self>, Begun)> {
        let epoch = self.epoch + 1;
        let next = Self { epoch, ..Self::new(input, term, keep, now) };
        if self.input.is_none() || self.forget_at <= now {
            return Ok((Some(next), Begun::New(epoch)));
        }
        if self.input != Some(input) {
            let message = "the idempotency key was used with another input";
            return Err(Error::new(ErrorKind::IdempotencyMismatch, message));
        }
        Ok(match (&self.answer, self.lease_until) {
            (Some(answer), _) => (None, Begun::Done(answer.clone())),
            (None, Some(until)) if until > now => (None, Begun::Running(until)),
            (None, _) => (Some(next), Begun::Again(epoch)),
        })
    }

    /// Ends it.
    ///
    /// # Errors
    /// As [`IdempotencyStore::finish`].
    pub fn finish(found: Option<&Self>, epoch: u64, answer: Option<Vec<u8>>, now: Timestamp) -> Result<Self> {
        let work = found.filter(|work| work.epoch == epoch && work.lease_until.is_some());
        let Self { input, keep, .. } = work.ok_or_else(Self::fenced)?.clone();
        let input = input.filter(|_| answer.is_some());
        Ok(Self { input, epoch, lease_until: None, answer, keep, forget_at: now.after(keep) })
    }

    /// The error of whoever ends work that is not theirs.
    pub fn fenced() -> Error {
        Error::fenced("the work under the idempotency key is somebody else's by now, or was ended")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_to_255_bytes() {
        let key = |scope: &str, key: &str| WorkKey { scope: scope.into(), key: key.into() };
        let long = "k".repeat(256);
        assert!(key("s", &long[1..]).check().is_ok());
        for (key, kind) in [
            (key("", "k"), ErrorKind::InvalidInput),
            (key("s", ""), ErrorKind::InvalidInput),
            (key("s", "a\0b"), ErrorKind::InvalidInput),
            (key(&long, "k"), ErrorKind::TooLarge),
            (key("s", &long), ErrorKind::TooLarge),
        ] {
            assert_eq!(key.check().unwrap_err().kind(), kind, "{key:?}");
        }
    }

    #[test]
    fn answers_stay_out_of_logs() {
        let now = Timestamp::from_micros(0);
        let work = Work::new([7; 32], Duration::ZERO, Duration::ZERO, now);
        let done = Work::finish(Some(&work), 1, Some(b"canary".to_vec()), now).unwrap();
        assert!(!format!("{done:?}").contains(&format!("{:?}", b"canary")));
    }
}
