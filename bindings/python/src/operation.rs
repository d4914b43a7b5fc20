//! One operation on its way: for a waiting event loop, or for a thread.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use agentprovision::wire::JsonStream;
use agentprovision::{Context, Result, run};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use tokio::task::AbortHandle;

use crate::error::{defect, exception};
use crate::handles;
use crate::runtime::{End, Future, Shared};

/// How often a thread that waits looks for signals such as Ctrl-C.
const SIGNALS: Duration = Duration::from_millis(50);

/// What an operation answers with.
pub(crate) enum Answer {
    /// Nothing.
    Nothing,
    /// JSON text.
    Text(String),
    /// The next item of a stream, or its end.
    Item(Option<String>),
    Context(Context, Arc<Shared>),
    Run(run::Run, Arc<Shared>),
    Stream(JsonStream, Arc<Shared>),
}

impl Answer {
    pub(crate) fn into_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(match self {
            Self::Nothing | Self::Item(None) => py.None(),
            Self::Text(text) | Self::Item(Some(text)) => PyString::new(py, &text).into_any().unbind(),
            Self::Context(ctx, shared) => Py::new(py, handles::Context::new(ctx, shared))?.into_any(),
            Self::Run(run, shared) => Py::new(py, handles::Run::new(run, shared))?.into_any(),
            Self::Stream(stream, shared) => Py::new(py, handles::Stream::new(stream, shared))?.into_any(),
        })
    }
}

enum State {
    New(Future),
    Running(AbortHandle),
    Over,
}

/// An operation that has not begun, is under way, or is over.
#[pyclass(frozen, module = "agentprovision._native")]
pub(crate) struct Op {
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// Whether it may be a lot of work, which the thread of an event loop must not do.
    heavy: bool,
}

impl Op {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        future: impl std::future::Future<Output = Result<Answer>> + Send + 'static,
    ) -> Self {
        Self { shared: shared.clone(), state: Mutex::new(State::New(Box::pin(future))), heavy: false }
    }

    /// The same operation, which may be a lot of work.
    pub(crate) fn heavy(mut self, heavy: bool) -> Self {
        self.heavy = heavy;
        self
    }

    fn set(&self, state: State) -> State {
        std::mem::replace(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner), state)
    }

    /// Polls once without the interpreter's lock. Gives the future back where it has to wait.
    fn first(&self, py: Python<'_>) -> PyResult<std::result::Result<Py<PyAny>, Future>> {
        let State::New(mut future) = self.set(State::Over) else {
            return Err(defect("an operation is started once"));
        };
        match py.detach(|| match self.shared.poll(&mut future) {
            Poll::Ready(answer) => {
                drop(future);
                Ok(answer)
            }
            Poll::Pending => Err(future),
        }) {
            Ok(Ok(answer)) => Ok(Ok(answer.into_py(py)?)),
            Ok(Err(error)) => Err(exception(py, &error)),
            Err(future) => Ok(Err(future)),
        }
    }
}

#[pymethods]
impl Op {
    /// Does what can be done at once: the answer in a tuple, or None where `start` has to follow.
    #[pyo3(name = "try_now")]
    fn try_now<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        if self.heavy {
            return Ok(None);
        }
        match self.first(py)? {
            Ok(answer) => Ok(Some(PyTuple::new(py, [answer])?)),
            Err(future) => {
                self.set(State::New(future));
                Ok(None)
            }
        }
    }

    /// Goes on in the background; `callback(ok, answer or exception)` is called in the platform's thread.
    fn start(&self, py: Python<'_>, callback: Py<PyAny>) -> PyResult<()> {
        let State::New(future) = self.set(State::Over) else {
            return Err(defect("an operation is started once"));
        };
        let started =
            py.detach(|| self.shared.callback(callback).and_then(|end| self.shared.spawn(future, end)));
        let task = started.map_err(crate::error::raise(py))?;
        self.set(State::Running(task));
        Ok(())
    }

    /// Blocks this thread until the answer is there; Ctrl-C interrupts it.
    fn block(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let future = match self.first(py)? {
            Ok(answer) => return Ok(answer),
            Err(future) => future,
        };
        let (end, mut waiting) = End::thread();
        let task = py.detach(|| self.shared.spawn(future, end)).map_err(crate::error::raise(py))?;
        loop {
            let (answer, again) = py.detach(move || (waiting.within(SIGNALS), waiting));
            waiting = again;
            if let Some(answer) = answer {
                return answer.map_err(crate::error::raise(py))?.into_py(py);
            }
            if let Err(interrupt) = py.check_signals() {
                task.abort();
                return Err(interrupt);
            }
        }
    }

    /// Waits no more. What the operation asked of the platform may have happened.
    fn cancel(&self) {
        if let State::Running(task) = self.set(State::Over) {
            task.abort();
        }
    }
}
