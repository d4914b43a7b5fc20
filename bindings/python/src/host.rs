//! Functions of the host language that the platform calls.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use agentprovision::tool::ToolCall;
use agentprovision::wire::host::{self, HostCall, HostFunction, OperationCall, Reply};
use agentprovision::{Error, ErrorKind, context};
use pyo3::prelude::*;
use secrecy::ExposeSecret;

use crate::error::{closed, failure, raise};
use crate::handles;
use crate::operation::{Answer, Op};
use crate::runtime::{Job, Shared};

/// A function of the host, by its number.
pub(crate) struct Function {
    number: usize,
    shared: Weak<Shared>,
    jobs: Weak<Sender<Job>>,
    calls: AtomicU64,
}

impl Function {
    pub(crate) fn new(number: usize, shared: &Arc<Shared>, jobs: Weak<Sender<Job>>) -> Self {
        Self { number, shared: Arc::downgrade(shared), jobs, calls: AtomicU64::new(0) }
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Function").field(&self.number).finish()
    }
}

impl HostFunction for Function {
    fn begin(&self, call: HostCall) {
        let HostCall { input, ctx, tool, operation, reply, .. } = call;
        let (Some(shared), Some(jobs)) = (self.shared.upgrade(), self.jobs.upgrade()) else {
            reply.fail(closed());
            return;
        };
        // Numbers of different functions do not collide: the low bits are the function's.
        let id = (self.calls.fetch_add(1, Ordering::Relaxed) << 16) | (self.number as u64 & 0xffff);
        let over = Arc::new(AtomicBool::new(false));
        let (gone, watch) = (reply.clone(), self.jobs.clone());
        let (ended, cancel) = (over.clone(), tool.as_ref().map(|tool| tool.cancel().clone()));
        // Within the runtime: the platform calls from nowhere else.
        let watcher = tokio::spawn(async move {
            // A tool hears of the end of its run before the platform stops waiting for it.
            match &cancel {
                Some(cancel) => tokio::select! {
                    () = gone.closed() => {}
                    () = cancel.cancelled() => {}
                },
                None => gone.closed().await,
            }
            // The sender is taken at the last moment, so that a call under way does not keep the thread alive.
            if !ended.swap(true, Ordering::AcqRel)
                && let Some(jobs) = watch.upgrade()
            {
                drop(jobs.send(Job::Gone(id)));
            }
        });
        let call = Call {
            id,
            input: Mutex::new(Some(input)),
            ctx,
            tool,
            operation,
            reply: Mutex::new(Some(reply)),
            over,
            watcher: watcher.abort_handle(),
            shared,
        };
        if let Err(unsent) = jobs.send(Job::Call(self.number, call))
            && let Job::Call(_, call) = unsent.0
        {
            call.give_up();
        }
    }
}

/// One call of a function of the host.
#[pyclass(frozen, module = "agentprovision._native")]
pub(crate) struct Call {
    id: u64,
    input: Mutex<Option<String>>,
    ctx: Option<context::Context>,
    tool: Option<ToolCall>,
    operation: Option<OperationCall>,
    reply: Mutex<Option<Reply>>,
    over: Arc<AtomicBool>,
    watcher: tokio::task::AbortHandle,
    shared: Arc<Shared>,
}

impl Call {
    /// Nobody is there to answer.
    pub(crate) fn give_up(&self) {
        self.end(|reply| reply.fail(closed()));
    }

    fn end(&self, answer: impl FnOnce(Reply)) {
        self.over.store(true, Ordering::Release);
        self.watcher.abort();
        let reply = self.reply.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reply) = reply {
            answer(reply);
        }
    }

    fn tool(&self, py: Python<'_>) -> PyResult<&ToolCall> {
        self.tool.as_ref().ok_or_else(|| raise(py)(Error::unsupported("only the call of a tool has this")))
    }

    fn of_operation(&self, py: Python<'_>) -> PyResult<&OperationCall> {
        let operation = self.operation.as_ref();
        operation.ok_or_else(|| raise(py)(Error::unsupported("only the call of an operation has this")))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

#[pymethods]
impl Call {
    /// The number of the call, as `gone` names it.
    #[getter]
    fn id(&self) -> u64 {
        self.id
    }

    /// The input as JSON; once.
    fn take_input(&self) -> Option<String> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    #[getter]
    fn ctx(&self) -> Option<handles::Context> {
        self.ctx.clone().map(|ctx| handles::Context::new(ctx, self.shared.clone()))
    }

    #[getter]
    fn run(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.tool(py)?.run().to_string())
    }

    #[getter]
    fn step(&self, py: Python<'_>) -> PyResult<u32> {
        Ok(self.tool(py)?.step())
    }

    #[getter]
    fn idempotency_key(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.tool(py)?.idempotency_key().to_owned())
    }

    #[getter]
    fn deadline(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.tool(py)?.deadline().to_string())
    }

    /// Whether nobody waits for the answer any more.
    #[getter]
    fn cancelled(&self) -> bool {
        self.over.load(Ordering::Acquire)
            || self.tool.as_ref().is_some_and(|tool| tool.cancel().is_cancelled())
    }

    fn push(&self, json: String) -> bool {
        let reply = self.reply.lock().unwrap_or_else(PoisonError::into_inner).clone();
        reply.is_some_and(|reply| reply.push(json))
    }

    fn done(&self, py: Python<'_>, json: String) {
        py.detach(|| self.end(|reply| reply.done(json)));
    }

    #[pyo3(signature = (code, message, retry_after, exception))]
    fn fail(
        &self,
        py: Python<'_>,
        code: &str,
        message: String,
        retry_after: Option<f64>,
        exception: Py<PyAny>,
    ) {
        let error = failure(code, message, retry_after, exception);
        py.detach(|| self.end(|reply| reply.fail(error)));
    }

    /// The function was cancelled: says whether that was for its deadline.
    fn fail_cancelled(&self, py: Python<'_>) {
        let late = match (&self.tool, self.shared.platform()) {
            (Some(tool), Ok(platform)) => platform.env().now() >= tool.deadline(),
            _ => false,
        };
        let error = if late {
            Error::new(ErrorKind::DeadlineExceeded, "the tool did not end in time")
        } else {
            Error::new(ErrorKind::Cancelled, "the host's function was cancelled")
        };
        py.detach(|| self.end(|reply| reply.fail(error)));
    }

    /// Raises unless there is a transaction.
    fn check_tx(&self, py: Python<'_>) -> PyResult<()> {
        self.tool(py)?.tx().map(drop).map_err(raise(py))
    }

    /// What the call of an operation is about, as JSON.
    fn operation(&self, py: Python<'_>) -> PyResult<String> {
        self.of_operation(py)?.facts().map_err(raise(py))
    }

    /// The credentials of the integration, as JSON.
    fn credentials(&self, py: Python<'_>) -> PyResult<String> {
        let credentials = self.of_operation(py)?.credentials().map_err(raise(py))?;
        Ok(credentials.expose_secret().to_owned())
    }

    /// Sends a request as the integration.
    fn send(&self, py: Python<'_>, args: String) -> PyResult<Op> {
        let operation = self.of_operation(py)?.clone();
        Ok(Op::new(&self.shared, async move { operation.send(&args).await.map(Answer::Text) }))
    }

    fn tx_execute(&self, py: Python<'_>, args: String) -> PyResult<Op> {
        let tx = self.tool(py)?.tx().map_err(raise(py))?.clone();
        Ok(Op::new(&self.shared, async move { host::tx_execute(&tx, &args).await.map(Answer::Text) }))
    }

    fn tx_query(&self, py: Python<'_>, args: String) -> PyResult<Op> {
        let tx = self.tool(py)?.tx().map_err(raise(py))?.clone();
        Ok(Op::new(&self.shared, async move { host::tx_query(&tx, &args).await.map(Answer::Text) }))
    }
}
