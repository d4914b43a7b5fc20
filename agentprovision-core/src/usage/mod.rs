//! Usage: meters, events and the quota gate.

mod report;

pub use report::UsageReport;

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::context::Context;
use crate::error::Result;
use crate::id::{AgentId, ReservationId, RunId, UsageId, UserId};
use crate::money::NanoUsd;

macro_rules! meters {
    ($($(#[$doc:meta])* $name:ident $text:literal,)*) => {
        /// What is counted. The unit is in the name: tokens, requests, milliseconds, byte-seconds, calls, bytes, operations.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Meter { $($(#[$doc])* $name,)* }

        impl Meter {
            /// Every meter.
            pub const ALL: &'static [Meter] = &[$(Meter::$name,)*];

            /// The stable name.
            pub const fn name(self) -> &'static str {
                match self { $(Meter::$name => $text,)* }
            }
        }
    };
}

meters! {
    /// Prompt tokens, cache reads and writes included.
    LlmTokensInput "llm.tokens.input",
    /// Completion tokens, reasoning included.
    LlmTokensOutput "llm.tokens.output",
    /// Requests answered by a model.
    LlmRequests "llm.requests",
    /// Wall time of tool calls, in milliseconds.
    ComputeMs "compute.ms",
    /// Memory held over time; without a source yet.
    MemoryByteSeconds "memory.byte_seconds",
    /// Storage held over time; without a source yet.
    StorageByteSeconds "storage.byte_seconds",
    /// Calls of connectors; without a source yet.
    IntegrationCalls "integration.calls",
    /// Bytes sent out; without a source yet.
    EgressBytes "egress.bytes",
    /// Vector operations; without a source yet.
    VectorOps "vector.ops",
}

impl Meter {
    /// The meter with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|meter| meter.name() == name)
    }
}

impl fmt::Display for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl schemars::JsonSchema for Meter {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Meter".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let names: Vec<&str> = Self::ALL.iter().map(|meter| meter.name()).collect();
        schemars::json_schema!({ "type": "string", "enum": names })
    }
}

impl Serialize for Meter {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Meter {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| serde::de::Error::custom(format!("unknown meter `{name}`")))
    }
}

/// One exact count, written by the transaction of the work it counts. Its id makes a second delivery harmless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct UsageEvent {
    /// The id.
    pub id: UsageId,
    /// What is counted.
    pub meter: Meter,
    /// How much, in the unit of the meter.
    pub quantity: u64,
    /// When the work was done.
    pub at: Timestamp,
    /// On whose behalf.
    pub user: Option<UserId>,
    /// The agent that did it.
    pub agent: Option<AgentId>,
    /// The run it was part of.
    pub run: Option<RunId>,
    /// The model, for the LLM meters.
    pub model: Option<String>,
    /// What it cost, on one event per piece of work (the `llm.requests` one of a model call); absent where unknown.
    pub cost: Option<NanoUsd>,
}

/// A span of time: from the start, included, to the end, excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// First point in time.
    pub start: Timestamp,
    /// First point in time after it.
    pub end: Timestamp,
}

impl Period {
    /// All time.
    pub const ALL: Self =
        Self { start: Timestamp::from_micros(i64::MIN), end: Timestamp::from_micros(i64::MAX) };

    /// The calendar month, in UTC, that a point in time is in; all time where no calendar reaches.
    pub fn month(of: Timestamp) -> Self {
        let month = || -> Option<Self> {
            let date = jiff::Timestamp::from_microsecond(of.micros()).ok()?;
            let first = date.to_zoned(jiff::tz::TimeZone::UTC).date().first_of_month();
            let next = first.checked_add(jiff::Span::new().months(1)).ok()?;
            let at = |date: jiff::civil::Date| {
                let start = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
                Some(Timestamp::from_micros(start.timestamp().as_microsecond()))
            };
            Some(Self { start: at(first)?, end: at(next)? })
        };
        month().unwrap_or(Self::ALL)
    }
}

/// Sums of usage events over a period.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct UsageSummary {
    /// The sum per meter, for meters that were used.
    pub meters: BTreeMap<Meter, u64>,
    /// The sum of the known costs.
    pub cost_usd: NanoUsd,
    /// Model calls whose cost is unknown, because the model has no price.
    pub unpriced_requests: u64,
}

impl fmt::Display for UsageSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (meter, quantity) in &self.meters {
            writeln!(f, "{:<22}{quantity:>12}", meter.name())?;
        }
        write!(f, "{:<22}{:>12}", "cost (USD)", self.cost_usd)?;
        if self.unpriced_requests > 0 {
            write!(f, "\n{:<22}{:>12}", "requests without price", self.unpriced_requests)?;
        }
        Ok(())
    }
}

/// Reads a tenant's usage.
#[async_trait]
pub trait UsageReader: fmt::Debug + Send + Sync + 'static {
    /// Sums over a period.
    async fn summary(&self, ctx: &Context, period: Period) -> Result<UsageSummary>;
    /// At most `limit` events after `after`, in the order of their ids.
    async fn events(&self, ctx: &Context, after: Option<UsageId>, limit: u32) -> Result<Vec<UsageEvent>>;
}

/// What a budget limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Dimension {
    /// Steps of runs: model calls and tool calls.
    Steps,
    /// Tool calls.
    ToolCalls,
    /// Input and output tokens together.
    Tokens,
    /// Cost in nano-USD.
    Cost,
}

impl Dimension {
    /// Every dimension.
    pub const ALL: &'static [Dimension] = &[Self::Steps, Self::ToolCalls, Self::Tokens, Self::Cost];

    /// The name in stores and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::ToolCalls => "tool_calls",
            Self::Tokens => "tokens",
            Self::Cost => "cost",
        }
    }

    /// The dimension with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|dimension| dimension.name() == name)
    }
}

/// One budget of a tenant: a scope and a dimension.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BudgetKey {
    /// What the budget belongs to, as the text of an id (an agent's) or a name of the host.
    pub scope: String,
    /// What it limits.
    pub dimension: Dimension,
}

impl BudgetKey {
    /// The budget of `scope` for a dimension.
    pub fn new(scope: impl fmt::Display, dimension: Dimension) -> Self {
        Self { scope: scope.to_string(), dimension }
    }
}

/// Amounts per budget, each zero or more.
pub type Demand = Vec<(BudgetKey, i64)>;

/// The state of one budget: `spent + reserved <= cap + overrun` always holds; only a settlement writes `overrun`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BudgetState {
    /// The limit.
    pub cap: i64,
    /// What settled work used.
    pub spent: i64,
    /// What is held for work under way.
    pub reserved: i64,
    /// How far settled work went beyond the limit; blocks every later reservation.
    pub overrun: i64,
}

/// Room that is held in budgets until it is settled or released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The id, which makes settling twice harmless.
    pub id: ReservationId,
    /// What is held.
    pub demand: Demand,
}

/// Holds room in budgets before work and settles it after; a face of the backend.
#[async_trait]
pub trait QuotaGate: fmt::Debug + Send + Sync + 'static {
    /// Sets or, with `None`, removes the limit of a budget. A limit below what is spent and reserved is raised to it,
    /// which closes the budget without breaking its invariant.
    async fn define(&self, ctx: &Context, key: &BudgetKey, cap: Option<i64>) -> Result<()>;
    /// Holds the whole demand or nothing. A budget without a limit always has room.
    ///
    /// # Errors
    /// `budget_exceeded`, naming the dimension; `invalid_input` for a negative amount.
    async fn reserve(&self, ctx: &Context, id: ReservationId, demand: Demand) -> Result<Reservation>;
    /// Replaces what is held by what was used. Settling an unknown or settled reservation does nothing.
    async fn settle(&self, ctx: &Context, held: Reservation, actual: Demand) -> Result<()>;
    /// The state of a budget; `None` when it has no limit.
    async fn state(&self, ctx: &Context, key: &BudgetKey) -> Result<Option<BudgetState>>;
}
