//! Handles of the platform as Python sees them.

use std::sync::Arc;

use agentprovision::wire::{self, JsonStream};
use agentprovision::{context, run};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::error::raise;
use crate::operation::{Answer, Op};
use crate::runtime::Shared;

fn no_pickle(what: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "a {what} belongs to the process that opened its platform and cannot be pickled; send its id instead"
    ))
}

/// Who acts, for which tenant, with which grants. Only a platform makes one.
#[pyclass(frozen, module = "agentprovision")]
pub(crate) struct Context {
    pub(crate) ctx: context::Context,
    pub(crate) shared: Arc<Shared>,
}

impl Context {
    pub(crate) fn new(ctx: context::Context, shared: Arc<Shared>) -> Self {
        Self { ctx, shared }
    }
}

#[pymethods]
impl Context {
    /// Whether the grants have a permission such as `agents:run`. Raises `InvalidInputError` for an unknown one.
    fn can(&self, py: Python<'_>, permission: &str) -> PyResult<bool> {
        let permissions = self.shared.permissions().map_err(raise(py))?;
        wire::can(permissions, &self.ctx, permission).map_err(raise(py))
    }

    /// The id of the tenant.
    #[getter]
    fn tenant(&self) -> String {
        self.ctx.tenant().to_string()
    }

    /// The id of the user who acts.
    #[getter]
    fn user(&self) -> String {
        self.ctx.principal().user().to_string()
    }

    /// The id of this request.
    #[getter]
    fn request_id(&self) -> String {
        self.ctx.request_id().to_string()
    }

    /// The id of the API key behind the context, where it was one.
    #[getter]
    fn key(&self) -> Option<String> {
        self.ctx.key().map(|id| id.to_string())
    }

    /// The id of the agent that acts on the user's behalf, in a run.
    #[getter]
    fn agent(&self) -> Option<String> {
        self.ctx.agent().map(|id| id.to_string())
    }

    /// JSON of all of it.
    fn _describe(&self, py: Python<'_>) -> PyResult<String> {
        let permissions = self.shared.permissions().map_err(raise(py))?;
        wire::describe(permissions, &self.ctx).map_err(raise(py))
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| {
            let (one, two) = (&self.ctx, &other.get().ctx);
            one.request_id() == two.request_id()
                && one.tenant() == two.tenant()
                && one.agent() == two.agent()
                && one.grants() == two.grants()
        })
    }

    fn __hash__(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.ctx.request_id().to_string().hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        let agent = self.ctx.agent().map_or(String::new(), |agent| format!(", agent='{agent}'"));
        format!("Context(tenant='{}', user='{}'{agent})", self.ctx.tenant(), self.ctx.principal().user())
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(no_pickle("Context"))
    }
}

/// Who acts above the tenants, and why. Only a platform makes one.
#[pyclass(frozen, module = "agentprovision")]
pub(crate) struct OperatorContext {
    pub(crate) ctx: context::OperatorContext,
    pub(crate) shared: Arc<Shared>,
}

impl OperatorContext {
    pub(crate) fn new(ctx: context::OperatorContext, shared: Arc<Shared>) -> Self {
        Self { ctx, shared }
    }
}

#[pymethods]
impl OperatorContext {
    /// Who the host says this is.
    #[getter]
    fn actor(&self) -> &str {
        self.ctx.name()
    }

    /// Why, as it is recorded.
    #[getter]
    fn reason(&self) -> &str {
        self.ctx.reason()
    }

    /// The id of this request.
    #[getter]
    fn request_id(&self) -> String {
        self.ctx.request_id().to_string()
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| {
            Arc::ptr_eq(&self.shared, &other.get().shared)
                && self.ctx.request_id() == other.get().ctx.request_id()
        })
    }

    fn __hash__(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.ctx.request_id().to_string().hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        format!("OperatorContext(actor={:?}, reason={:?})", self.ctx.name(), self.ctx.reason())
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(no_pickle("OperatorContext"))
    }
}

/// A run as the platform gives it.
#[pyclass(frozen, module = "agentprovision._native")]
pub(crate) struct Run {
    run: run::Run,
    shared: Arc<Shared>,
}

impl Run {
    pub(crate) fn new(run: run::Run, shared: Arc<Shared>) -> Self {
        Self { run, shared }
    }
}

#[pymethods]
impl Run {
    #[getter]
    fn id(&self) -> String {
        self.run.id().to_string()
    }

    #[pyo3(signature = (after = None))]
    fn events(&self, py: Python<'_>, after: Option<String>) -> PyResult<Stream> {
        self.shared.check().map_err(raise(py))?;
        let stream = wire::run_events(&self.run, after.as_deref()).map_err(raise(py))?;
        Ok(Stream::new(stream, self.shared.clone()))
    }

    fn wait(&self) -> Op {
        let run = self.run.clone();
        Op::new(&self.shared, async move { wire::run_wait(&run).await.map(Answer::Text) })
    }
}

/// JSON texts, one after another.
#[pyclass(frozen, module = "agentprovision._native")]
pub(crate) struct Stream {
    stream: JsonStream,
    shared: Arc<Shared>,
}

impl Stream {
    pub(crate) fn new(stream: JsonStream, shared: Arc<Shared>) -> Self {
        Self { stream, shared }
    }
}

#[pymethods]
impl Stream {
    /// The next item; None at the end.
    fn next(&self) -> Op {
        let stream = self.stream.clone();
        Op::new(&self.shared, async move { stream.next().await.map(Answer::Item) })
    }

    /// Ends it: whoever waits for its next item gets None.
    fn close(&self) {
        self.stream.close();
    }
}
