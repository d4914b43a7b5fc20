//! The platform as Python sees it.

use std::collections::HashMap;
use std::sync::Arc;

use agentprovision::Result;
use agentprovision::wire::{self, Caller, host};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use secrecy::SecretString;

use crate::error::raise;
use crate::handles::{Context, OperatorContext};
use crate::host::Function;
use crate::operation::{Answer, Op};
use crate::runtime::Shared;
use crate::testing::{ManualClock, ScriptedModel};

/// Who calls.
#[derive(FromPyObject)]
enum Who<'py> {
    Tenant(Bound<'py, Context>),
    Operator(Bound<'py, OperatorContext>),
}

/// A caller that can be moved into a future.
enum Owned {
    Tenant(agentprovision::Context),
    Operator(agentprovision::OperatorContext),
}

impl Owned {
    fn new(who: &Who<'_>) -> Self {
        match who {
            Who::Tenant(ctx) => Self::Tenant(ctx.get().ctx.clone()),
            Who::Operator(ctx) => Self::Operator(ctx.get().ctx.clone()),
        }
    }

    fn caller(&self) -> Caller<'_> {
        match self {
            Self::Tenant(ctx) => Caller::Tenant(ctx),
            Self::Operator(ctx) => Caller::Operator(ctx),
        }
    }
}

/// What the host brings along; its functions go by their numbers.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Parts<'py> {
    tools: Vec<(usize, String)>,
    connectors: Vec<(usize, String)>,
    models: Vec<(usize, String, String)>,
    scripted: Vec<Bound<'py, ScriptedModel>>,
    authorizer: Option<usize>,
    subscribers: Vec<usize>,
    clock: Option<Bound<'py, ManualClock>>,
    bench: bool,
}

/// A platform with its runtime.
#[pyclass(frozen, module = "agentprovision._native")]
pub(crate) struct Platform {
    pub(crate) shared: Arc<Shared>,
}

/// Starts a platform's threads; `bridge` is a weak reference to the object the platform calls. The operation opens it.
#[pyfunction]
pub(crate) fn open(
    py: Python<'_>,
    config: &str,
    secrets: HashMap<String, String>,
    bridge: Py<PyAny>,
    parts: Parts<'_>,
) -> PyResult<(Platform, Op)> {
    let secrets: HashMap<String, SecretString> =
        secrets.into_iter().map(|(name, value)| (name, value.into())).collect();
    let shared = py.detach(|| Shared::start(bridge)).map_err(raise(py))?;
    let made = build(config, &secrets, &parts, &shared);
    let (builder, permissions) = match made {
        Ok(made) => made,
        Err(error) => {
            py.detach(|| shared.shutdown());
            return Err(raise(py)(error));
        }
    };
    let opening = shared.clone();
    let op = Op::new(&shared, async move {
        let platform = builder.build().await?;
        opening.opened(platform, permissions);
        Ok(Answer::Nothing)
    });
    Ok((Platform { shared }, op))
}

type Built = (agentprovision::PlatformBuilder, Arc<agentprovision::authz::PermissionRegistry>);

fn build(
    config: &str,
    secrets: &HashMap<String, SecretString>,
    parts: &Parts<'_>,
    shared: &Arc<Shared>,
) -> Result<Built> {
    let (mut builder, permissions) = wire::builder(config, &|name| secrets.get(name).cloned())?;
    let jobs = shared.weak_jobs()?;
    let function = |number: usize| Arc::new(Function::new(number, shared, jobs.clone()));
    for (number, spec) in &parts.tools {
        builder = builder.tool(host::tool(spec, function(*number))?);
    }
    for (number, spec) in &parts.connectors {
        builder = builder.connector(host::connector(spec, function(*number))?);
    }
    for (number, name, info) in &parts.models {
        builder = builder.model(name.clone(), Arc::new(host::model(info, function(*number))?));
    }
    for model in &parts.scripted {
        let model = model.get();
        builder = builder
            .model(model.name.clone(), model.model.clone())
            .embedder(model.name.clone(), model.model.clone())
            .reranker(model.name.clone(), model.model.clone());
    }
    if let Some(number) = parts.authorizer {
        builder = builder.authorizer(host::authorizer(function(number)));
    }
    for number in &parts.subscribers {
        builder = builder.event_sink(Arc::new(host::event_sink(function(*number))));
    }
    if parts.bench {
        builder = builder.tool(crate::bench::native_tool());
    }
    if let Some(clock) = &parts.clock {
        builder = builder.env(clock.get().env.clone());
    }
    Ok((builder, permissions))
}

impl Platform {
    fn op<F>(&self, make: impl FnOnce(agentprovision::Platform, Arc<Shared>) -> F) -> Result<Op>
    where
        F: Future<Output = Result<Answer>> + Send + 'static,
    {
        let platform = self.shared.platform()?;
        Ok(Op::new(&self.shared, make(platform, self.shared.clone())))
    }
}

#[pymethods]
impl Platform {
    /// An operation that answers with JSON.
    fn invoke(&self, py: Python<'_>, who: Who<'_>, name: String, args: String) -> PyResult<Op> {
        let caller = Owned::new(&who);
        // Hashing a log or adding up a year goes to a worker at once.
        let heavy = name.starts_with("audit.") || name.starts_with("usage.");
        let made = self.op(|platform, _| async move {
            wire::invoke(&platform, caller.caller(), &name, &args).await.map(Answer::Text)
        });
        Ok(made.map_err(raise(py))?.heavy(heavy))
    }

    /// An operation that answers with a stream.
    fn stream(&self, py: Python<'_>, who: Who<'_>, name: String, args: String) -> PyResult<Op> {
        let caller = Owned::new(&who);
        self.op(|platform, shared| async move {
            let stream = wire::stream(&platform, caller.caller(), &name, &args).await?;
            Ok(Answer::Stream(stream, shared))
        })
        .map_err(raise(py))
    }

    /// An operation that answers with a run.
    fn start(&self, py: Python<'_>, ctx: Bound<'_, Context>, name: String, args: String) -> PyResult<Op> {
        let ctx = ctx.get().ctx.clone();
        self.op(|platform, shared| async move {
            Ok(Answer::Run(wire::start(&platform, &ctx, &name, &args).await?, shared))
        })
        .map_err(raise(py))
    }

    /// A context above the tenants.
    fn operator(&self, py: Python<'_>, args: &str) -> PyResult<OperatorContext> {
        let made = self.shared.platform().and_then(|platform| wire::operator(&platform, args));
        Ok(OperatorContext::new(made.map_err(raise(py))?, self.shared.clone()))
    }

    /// A context for a user the host has authenticated.
    fn context(&self, py: Python<'_>, args: String) -> PyResult<Op> {
        self.op(|platform, shared| async move {
            Ok(Answer::Context(wire::context(&platform, &args).await?, shared))
        })
        .map_err(raise(py))
    }

    /// A context for whoever a credential belongs to.
    fn authenticate(&self, py: Python<'_>, args: String) -> PyResult<Op> {
        self.op(|platform, shared| async move {
            Ok(Answer::Context(wire::authenticate(&platform, &args).await?, shared))
        })
        .map_err(raise(py))
    }

    /// Takes a delivery of a webhook.
    fn receive(&self, py: Python<'_>, args: String) -> PyResult<Op> {
        self.op(|platform, _| async move { wire::receive(&platform, &args).await.map(Answer::Text) })
            .map_err(raise(py))
    }

    /// The names of the models.
    fn models(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let platform = self.shared.platform().map_err(raise(py))?;
        Ok(platform.router().registry().names())
    }

    /// Closes the platform; `shutdown` follows.
    fn close(&self, py: Python<'_>) -> PyResult<Op> {
        self.op(|platform, _| async move { platform.close().await.map(|()| Answer::Nothing) })
            .map_err(raise(py))
    }

    /// Nanoseconds of a call made in Rust, as JSON: the reference of the benchmark.
    fn _bench(
        &self,
        py: Python<'_>,
        ctx: Bound<'_, Context>,
        what: String,
        agent: &str,
        times: u32,
    ) -> PyResult<Op> {
        let ctx = ctx.get().ctx.clone();
        let agent = agent.parse().map_err(raise(py))?;
        self.op(|platform, shared| async move {
            let permissions = shared.permissions()?;
            let nanos = crate::bench::time(&platform, permissions, &ctx, &what, agent, times).await?;
            Ok(Answer::Text(nanos.to_string()))
        })
        .map_err(raise(py))
    }

    /// Ends the threads in the background.
    fn shutdown(&self, py: Python<'_>) {
        py.detach(|| self.shared.shutdown());
    }

    /// Ends the threads and waits a little for them: at the end of the process, or when nobody has closed it.
    fn abandon(&self, py: Python<'_>) {
        py.detach(|| self.shared.abandon());
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a platform cannot be pickled"))
    }
}
