//! Work that was done under a key of its caller, so that asking again answers what was answered: [`IdempotencyStore`].

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::context::Context;
use crate::error::Result;

/// Names one piece of work: within a tenant a key means something to one scope only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkKey {
    /// What the key was given to, such as an integration and an operation: 1 to 255 bytes.
    pub scope: String,
    /// The caller's key: 1 to 255 bytes.
    pub key: String,
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
    /// Begins a piece of work of this input (a digest of it), for at most `term`. What was done longer than `keep` ago is
    /// forgotten first. Time is the store's own where several processes share it.
    ///
    /// # Errors
    /// `idempotency_mismatch` when the key stands for another input; those of a tenant that is not active.
    async fn begin(
        &self,
        ctx: &Context,
        work: &WorkKey,
        input: [u8; 32],
        term: Duration,
        keep: Duration,
    ) -> Result<Begun>;
    /// Ends it with an answer; without one it was not done, and the key is free again.
    ///
    /// # Errors
    /// `fenced` when somebody else has begun it since.
    async fn finish(&self, ctx: &Context, work: &WorkKey, epoch: u64, answer: Option<Vec<u8>>) -> Result<()>;
}
