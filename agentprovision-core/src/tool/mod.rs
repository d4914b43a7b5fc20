//! Tools: what an agent can do, each with a schema for its input and a declared effect.
//!
//! The effect class decides what recovery may repeat after a crash. [`tool`] makes a tool from an async function.

mod function;
mod set;

pub use function::{FnTool, tool};
pub use set::ToolSet;
pub(crate) use set::{check, compile};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::id::RunId;
use crate::model::ToolDefinition;

/// What calling a tool does to the world, which decides what may be repeated after a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effect {
    /// Nothing: it may be repeated at will.
    Pure,
    /// Something that repeats harmlessly under the same idempotency key.
    Idempotent,
    /// Something in the platform's own database, through [`ToolCall::tx`]: it commits with the step or not at all.
    Transactional,
    /// Something that must not be repeated. A call whose end is unknown is shown as uncertain, never run again.
    #[default]
    Unsafe,
}

/// Whether a person must agree before a tool is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Approval {
    /// No.
    #[default]
    Never,
    /// Before every call; the approval is bound to the exact arguments.
    Always,
}

/// What a tool is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ToolSpec {
    /// The name agents and models use: 1 to 64 of `a-z A-Z 0-9 _ -`.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its input; an object.
    pub input_schema: Value,
    /// What calling it does to the world; default `unsafe`.
    pub effect: Effect,
    /// The longest a call may take, in milliseconds; default 60 000.
    pub timeout_ms: u64,
    /// Whether a person must agree first; default never.
    pub approval: Approval,
    /// A permission the caller needs, and the agent among its capabilities, beside `agents:run`.
    pub permission: Option<String>,
}

impl ToolSpec {
    /// A tool with the default effect, timeout and approval.
    pub fn new(name: impl Into<String>, description: impl Into<String>, input_schema: Value) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            input_schema,
            effect: Effect::default(),
            timeout_ms: 60_000,
            approval: Approval::default(),
            permission: None,
        }
    }

    /// The longest a call may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// The tool as a model sees it.
    pub fn definition(&self) -> ToolDefinition {
        ToolDefinition {
            name: self.name.clone(),
            description: self.description.clone(),
            input_schema: self.input_schema.clone(),
        }
    }
}

/// One call of a tool, as the tool sees it. Owned and cheap to clone.
#[derive(Clone)]
pub struct ToolCall(Arc<ToolCallInner>);

struct ToolCallInner {
    ctx: Context,
    run: RunId,
    step: u32,
    idempotency_key: String,
    deadline: Timestamp,
    cancel: CancellationToken,
    tx: Option<TxHandle>,
}

impl ToolCall {
    /// A call on behalf of `ctx`. Engines make these; tests of tools may too.
    pub fn new(
        ctx: Context,
        run: RunId,
        step: u32,
        idempotency_key: String,
        deadline: Timestamp,
        cancel: CancellationToken,
        tx: Option<TxHandle>,
    ) -> Self {
        Self(Arc::new(ToolCallInner { ctx, run, step, idempotency_key, deadline, cancel, tx }))
    }

    /// Who the call is for: the caller's grants within the agent's.
    pub fn ctx(&self) -> &Context {
        &self.0.ctx
    }

    /// The run.
    pub fn run(&self) -> RunId {
        self.0.run
    }

    /// The step of the run.
    pub fn step(&self) -> u32 {
        self.0.step
    }

    /// The same text for every attempt of this call: give it to whatever the tool calls.
    pub fn idempotency_key(&self) -> &str {
        &self.0.idempotency_key
    }

    /// When the call must be over.
    pub fn deadline(&self) -> Timestamp {
        self.0.deadline
    }

    /// Fires when the run is cancelled or the deadline passes.
    pub fn cancel(&self) -> &CancellationToken {
        &self.0.cancel
    }

    /// The transaction of the step, for a [`Effect::Transactional`] tool: what is written through it commits together
    /// with the step's result, or not at all.
    ///
    /// # Errors
    /// `unsupported` for a tool of another effect class.
    pub fn tx(&self) -> Result<&TxHandle> {
        self.0.tx.as_ref().ok_or_else(|| Error::unsupported("only a transactional tool has a transaction"))
    }
}

impl fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolCall")
            .field("run", &self.0.run)
            .field("step", &self.0.step)
            .field("idempotency_key", &self.0.idempotency_key)
            .finish_non_exhaustive()
    }
}

/// A value bound to a statement, or read from a row.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SqlValue {
    /// NULL.
    Null,
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl From<i64> for SqlValue {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for SqlValue {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for SqlValue {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

/// Statements inside the transaction of a step; what a store puts behind [`TxHandle`].
#[async_trait]
pub trait SqlTx: fmt::Debug + Send + Sync + 'static {
    /// Runs a statement and returns the number of rows it changed. `$1` is the tenant's id; `values` are `$2`, `$3`, …
    async fn execute(&self, sql: &str, values: &[SqlValue]) -> Result<u64>;
    /// Runs a query and returns its rows. `$1` is the tenant's id.
    async fn query(&self, sql: &str, values: &[SqlValue]) -> Result<Vec<Vec<SqlValue>>>;
}

/// The transaction of a transactional tool's step. Cheap to clone; `closed` after the step has ended.
#[derive(Clone, Debug)]
pub struct TxHandle(Arc<dyn SqlTx>);

impl TxHandle {
    /// A handle over a store's transaction.
    pub fn new(tx: Arc<dyn SqlTx>) -> Self {
        Self(tx)
    }

    /// Runs a statement and returns the number of rows it changed. `$1` is bound to the tenant's id (16 bytes); `values`
    /// are `$2`, `$3`, … Statement text must not be made of input: bind values.
    ///
    /// # Errors
    /// `closed` after the step has ended; `unsupported` on a store without SQL; `invalid_input` for a statement the
    /// database refuses.
    pub async fn execute(&self, sql: &str, values: &[SqlValue]) -> Result<u64> {
        self.0.execute(sql, values).await
    }

    /// Runs a query and returns its rows, each as long as its columns. `$1` is bound as in [`TxHandle::execute`].
    ///
    /// # Errors
    /// As [`TxHandle::execute`].
    pub async fn query(&self, sql: &str, values: &[SqlValue]) -> Result<Vec<Vec<SqlValue>>> {
        self.0.query(sql, values).await
    }
}

/// Something an agent can do.
///
/// A tool gets input that matches its schema, and may fail: the error's message reaches the model. A tool that panics
/// or never returns fails its own call only.
#[async_trait]
pub trait Tool: fmt::Debug + Send + Sync + 'static {
    /// What the tool is.
    fn spec(&self) -> &ToolSpec;
    /// Calls it.
    async fn call(&self, call: &ToolCall, input: Value) -> Result<Value>;
}

/// The error of a tool that did not end in time.
pub(crate) fn timed_out(spec: &ToolSpec) -> Error {
    Error::new(
        ErrorKind::DeadlineExceeded,
        format!("the tool `{}` did not end within {} ms", spec.name, spec.timeout_ms),
    )
}
