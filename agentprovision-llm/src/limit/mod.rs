//! Limits on what models are asked for: a [`Ledger`] holds room in budgets before work and settles it after, and
//! [`Buckets`] limit how fast work may come.
//!
//! A budget is a [`Limit`]: so much of one [`Dimension`] per [`Window`] for one [`Scope`]. Every dimension and every
//! window has an account of its own. Windows are those of the calendar in the budget's time zone, minutes included; a
//! limit that moves with time is what [`Buckets`] are for.
//!
//! ```text
//! reserve   spent + reserved + estimate ≤ limit, in every account or in none        one step
//! work      extended while it goes on; what a lost worker held is free after a while
//! settle    reserved − estimate, spent + actual; once per id, also by a drop
//! ```
//!
//! `spent + reserved <= limit` holds after every reservation. Only a settlement may go beyond, when work used more than
//! was estimated, and then nothing more is reserved in that account until its window ends. Work is charged to the window
//! it was reserved in.

mod bucket;
mod hold;
mod lease;
mod memory;
mod rules;
mod store;
mod window;

use crate::sync;

pub use bucket::{Buckets, Rate, RateHold, Refused};
pub use hold::Hold;
pub use memory::MemoryLedger;
pub use rules::Selector;
pub(crate) use rules::{Named, Rules, Subject};
pub use store::StoreLedger;
pub use window::{Window, Zone};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::context::Context;
use agentprovision_core::id::{AgentId, ApiKeyId, TenantId, UserId};
use agentprovision_core::money::NanoUsd;
use agentprovision_core::{Error, ErrorKind, Result, Retry, Timestamp};
use async_trait::async_trait;

use crate::clip;

/// What a limit is about, within a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// The whole tenant.
    Tenant,
    /// A project, by the name requests give.
    Project(Arc<str>),
    /// A user.
    User(UserId),
    /// An agent.
    Agent(AgentId),
    /// An API key.
    Key(ApiKeyId),
    /// A model, by its full name, `provider/model`; a route, by its own.
    Model(Arc<str>),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant => f.write_str("the tenant"),
            Self::Project(name) => write!(f, "project `{}`", clip(name)),
            Self::User(id) => write!(f, "user `{id}`"),
            Self::Agent(id) => write!(f, "agent `{id}`"),
            Self::Key(id) => write!(f, "key `{id}`"),
            Self::Model(name) => write!(f, "model `{}`", clip(name)),
        }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Dimension {
    /// Requests that were let through.
    Requests,
    /// Prompt tokens, cache reads and writes included.
    InputTokens,
    /// Completion tokens, reasoning included.
    OutputTokens,
    /// Both together.
    Tokens,
    /// Cost in nano-USD.
    Cost,
}

impl Dimension {
    /// Every dimension.
    pub const ALL: &'static [Self] =
        &[Self::Requests, Self::InputTokens, Self::OutputTokens, Self::Tokens, Self::Cost];

    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::InputTokens => "input_tokens",
            Self::OutputTokens => "output_tokens",
            Self::Tokens => "tokens",
            Self::Cost => "cost",
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How much of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Requests.
    pub requests: u64,
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Completion tokens.
    pub output_tokens: u64,
    /// Cost; below zero is zero.
    pub cost: NanoUsd,
}

impl Amounts {
    /// The amount in one dimension, in its unit.
    pub fn get(&self, dimension: Dimension) -> u64 {
        match dimension {
            Dimension::Requests => self.requests,
            Dimension::InputTokens => self.input_tokens,
            Dimension::OutputTokens => self.output_tokens,
            Dimension::Tokens => self.input_tokens.saturating_add(self.output_tokens),
            Dimension::Cost => u64::try_from(self.cost.nanos()).unwrap_or(0),
        }
    }
}

/// One budget: so much of something per window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Whose budget it is.
    pub scope: Scope,
    /// What it limits.
    pub dimension: Dimension,
    /// How often it begins anew.
    pub window: Window,
    /// In whose time.
    pub zone: Zone,
    /// The most of it, in the unit of the dimension.
    pub most: u64,
}

/// The state of one budget: `spent + reserved <= limit`, unless settled work went beyond what was estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// What settled work used in this window.
    pub spent: u64,
    /// What is held for work under way.
    pub reserved: u64,
}

/// The name of what a [`Ledger`] holds for one piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HoldId {
    /// Whose budgets they are.
    pub tenant: TenantId,
    /// Never given twice by one ledger.
    pub number: u64,
}

/// Holds room in budgets before work, and replaces it by what was used after.
///
/// Implement it over a store of your own to share budgets between processes; [`StoreLedger`] is one over the backend's
/// [`QuotaGate`](agentprovision_core::usage::QuotaGate). Only reserving may wait: work ends in a drop, too, which can
/// neither wait nor start anything.
#[async_trait]
pub trait Ledger: fmt::Debug + Send + Sync + 'static {
    /// Holds `amounts` in all of these budgets of the context's tenant or in none, at most for `ttl` unless it is
    /// extended. A budget of which nothing is asked always has room, so that free work goes on when the money is gone.
    ///
    /// # Errors
    /// `budget_exceeded`, as [`no_room`] makes it, of the budget that is closed the longest.
    async fn reserve(
        &self,
        ctx: &Context,
        limits: &[Limit],
        amounts: Amounts,
        ttl: Duration,
    ) -> Result<HoldId>;

    /// Replaces what is held by what was used. Does nothing for an id that is unknown or settled. What expired is
    /// charged all the same: the work was done.
    fn settle(&self, id: HoldId, actual: Amounts);

    /// Holds it for `ttl` from now on. What expired is held again where there is room.
    fn extend(&self, id: HoldId, ttl: Duration);

    /// The state of a budget in its present window.
    async fn balance(&self, ctx: &Context, limit: &Limit) -> Result<Balance>;

    /// Gives back what is kept for later. The ledger can still be used.
    async fn close(&self) -> Result<()>;
}

/// The refusal of a budget that has no room for `amount` until its window ends at `ends`.
///
/// `budget_exceeded`, with the scope, the dimension and the window in its context; calling again helps after the window
/// unless the amount is more than the whole limit.
pub fn no_room(limit: &Limit, amount: u64, ends: Timestamp, now: Timestamp) -> Error {
    let Limit { scope, dimension, window, most, .. } = limit;
    let (message, retry) = if amount > *most {
        let message = format!(
            "the request may need {amount} of `{dimension}`, and the budget of {scope} per {window} is {most}"
        );
        (message, Retry::Never)
    } else {
        let message = format!("the budget of {scope} per {window} has no room for `{dimension}`");
        (message, Retry::After(ends.since(now)))
    };
    Error::new(ErrorKind::BudgetExceeded, message)
        .with_retry(retry)
        .with_context("scope", scope)
        .with_context("dimension", dimension)
        .with_context("window", window)
}
