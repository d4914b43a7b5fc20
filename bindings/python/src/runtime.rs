//! The runtime of one platform, and the one thread that talks to the interpreter for it.
//!
//! Workers of the runtime never wait for the interpreter's lock: what is meant for Python goes through a channel to a
//! thread of its own. So a C extension that keeps the lock holds up its own calls, and no lease.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::task::{Context as TaskContext, Poll, Waker};
use std::thread::ThreadId;
use std::time::Duration;

use agentprovision::authz::PermissionRegistry;
use agentprovision::{Error, Platform, Result};
use pyo3::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;

use crate::error::closed;
use crate::host::Call;
use crate::operation::Answer;

/// A future of an operation.
pub(crate) type Future = Pin<Box<dyn std::future::Future<Output = Result<Answer>> + Send>>;

/// What is to be done in Python.
pub(crate) enum Job {
    /// An operation ended: `callback(ok, value or exception)`.
    Answer(Py<PyAny>, Result<Answer>),
    /// The platform calls a function of the host, by its number.
    Call(usize, Call),
    /// Nobody waits any more for the call of this number.
    Gone(u64),
}

/// How jobs are sent; the thread ends with the last of these.
pub(crate) type Jobs = Arc<Sender<Job>>;

const WORKERS: usize = 2;
const BLOCKING: usize = 16;

/// How long the end of a process may wait for what is under way.
const LINGER: Duration = Duration::from_secs(2);

/// Everything a platform's handles share.
pub(crate) struct Shared {
    pid: u32,
    runtime: RwLock<Option<Runtime>>,
    jobs: Mutex<Option<Jobs>>,
    platform: RwLock<Option<Platform>>,
    permissions: OnceLock<Arc<PermissionRegistry>>,
    over: Mutex<Option<Receiver<()>>>,
    thread: ThreadId,
}

impl Shared {
    /// Starts the runtime and the thread; `bridge` is a weak reference to the host's side.
    pub(crate) fn start(bridge: Py<PyAny>) -> Result<Arc<Self>> {
        let failed = |error| Error::internal("the platform's threads cannot be started").with_source(error);
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(BLOCKING)
            .thread_name("agentprovision")
            .enable_all()
            .build()
            .map_err(failed)?;
        let (sender, receiver) = mpsc::channel();
        let (ended, over) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("agentprovision-py".into())
            .spawn(move || {
                serve(&receiver, &bridge);
                drop(bridge);
                drop(ended);
            })
            .map_err(failed)?;
        Ok(Arc::new(Self {
            pid: std::process::id(),
            runtime: RwLock::new(Some(runtime)),
            jobs: Mutex::new(Some(Arc::new(sender))),
            platform: RwLock::new(None),
            permissions: OnceLock::new(),
            over: Mutex::new(Some(over)),
            thread: thread.thread().id(),
        }))
    }

    /// Sets the platform once it is open.
    pub(crate) fn opened(&self, platform: Platform, permissions: Arc<PermissionRegistry>) {
        *self.platform.write().unwrap_or_else(PoisonError::into_inner) = Some(platform);
        // It is opened once; a second one would only be dropped.
        drop(self.permissions.set(permissions));
    }

    /// The platform.
    pub(crate) fn platform(&self) -> Result<Platform> {
        self.check()?;
        self.platform.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)
    }

    /// The permissions of the platform, by name.
    pub(crate) fn permissions(&self) -> Result<&PermissionRegistry> {
        self.check()?;
        self.permissions.get().map(|permissions| &**permissions).ok_or_else(closed)
    }

    /// Refuses a child of the process that opened the platform: its threads are not there.
    pub(crate) fn check(&self) -> Result<()> {
        let pid = std::process::id();
        if pid == self.pid {
            return Ok(());
        }
        Err(Error::closed(format!(
            "the platform was opened in process {} and is used in process {pid}; open one after the fork",
            self.pid
        )))
    }

    fn jobs(&self) -> Result<Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)
    }

    /// A way to send jobs that does not keep the thread alive.
    pub(crate) fn weak_jobs(&self) -> Result<Weak<Sender<Job>>> {
        Ok(Arc::downgrade(&self.jobs()?))
    }

    /// Polls a future once within the runtime: most operations on a store in memory need no more.
    pub(crate) fn poll(&self, future: &mut Future) -> Poll<Result<Answer>> {
        if let Err(error) = self.check() {
            return Poll::Ready(Err(error));
        }
        let runtime = self.runtime.read().unwrap_or_else(PoisonError::into_inner);
        let Some(runtime) = &*runtime else { return Poll::Ready(Err(closed())) };
        let _guard = runtime.enter();
        let mut cx = TaskContext::from_waker(Waker::noop());
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx))) {
            Ok(poll) => poll,
            Err(_) => Poll::Ready(Err(Error::internal("the operation ended unexpectedly"))),
        }
    }

    /// Runs a future to its end in the background; once this succeeds, `end` is told in any case.
    pub(crate) fn spawn(&self, future: Future, end: End) -> Result<AbortHandle> {
        self.check()?;
        let runtime = self.runtime.read().unwrap_or_else(PoisonError::into_inner);
        let Some(runtime) = &*runtime else { return Err(closed()) };
        let end = Guard(Some(end));
        let task = runtime.spawn(async move {
            let mut end = end;
            let answer = future.await;
            end.tell(answer);
        });
        Ok(task.abort_handle())
    }

    /// Tells Python by `callback` in the platform's thread.
    pub(crate) fn callback(&self, callback: Py<PyAny>) -> Result<End> {
        Ok(End::Callback(callback, self.jobs()?))
    }

    /// Ends the runtime without waiting for it.
    pub(crate) fn shutdown(&self) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Now rather than with the last handle: it holds on to the runtime's descriptors.
        let platform = self.platform.write().unwrap_or_else(PoisonError::into_inner).take();
        let runtime = self.runtime.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            end(runtime, self.pid);
        }
        drop(platform);
    }

    /// Ends the runtime, and waits a while until nothing of it enters the interpreter any more.
    pub(crate) fn abandon(&self) {
        if self.check().is_err() {
            return;
        }
        self.shutdown();
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(over) = over
            && self.thread != std::thread::current().id()
        {
            let _ = over.recv_timeout(LINGER);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            end(runtime, self.pid);
        }
    }
}

fn end(runtime: Runtime, pid: u32) {
    if std::process::id() == pid {
        runtime.shutdown_background();
    } else {
        // In a forked child the workers do not exist, and waking them could wait for a lock nobody holds any more.
        std::mem::forget(runtime);
    }
}

/// Who waits for the end of an operation.
pub(crate) enum End {
    Callback(Py<PyAny>, Jobs),
    Thread(Sender<Result<Answer>>),
}

impl End {
    /// For a thread that waits.
    pub(crate) fn thread() -> (Self, Waiting) {
        let (sender, receiver) = mpsc::channel();
        (Self::Thread(sender), Waiting(receiver))
    }
}

/// A thread's side of an operation.
pub(crate) struct Waiting(Receiver<Result<Answer>>);

impl Waiting {
    /// The answer, if it comes within a while.
    pub(crate) fn within(&self, time: Duration) -> Option<Result<Answer>> {
        match self.0.recv_timeout(time) {
            Ok(answer) => Some(answer),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(closed())),
        }
    }
}

/// Tells the end also when the runtime drops the task.
struct Guard(Option<End>);

impl Guard {
    fn tell(&mut self, answer: Result<Answer>) {
        // Where nobody listens there is nobody to tell.
        match self.0.take() {
            Some(End::Callback(callback, jobs)) => drop(jobs.send(Job::Answer(callback, answer))),
            Some(End::Thread(sender)) => drop(sender.send(answer)),
            None => {}
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let panicked = std::thread::panicking();
        self.tell(Err(if panicked { Error::internal("the operation ended unexpectedly") } else { closed() }));
    }
}

/// The thread: does jobs in order until nobody can send any more, or the interpreter ends.
fn serve(jobs: &Receiver<Job>, bridge: &Py<PyAny>) {
    while let Ok(first) = jobs.recv() {
        let attached = Python::try_attach(|py| {
            let mut next = Some(first);
            while let Some(job) = next.take() {
                if let Err(error) = job.run(py, bridge) {
                    error.write_unraisable(py, None);
                }
                next = jobs.try_recv().ok();
            }
        });
        if attached.is_none() {
            return;
        }
    }
}

impl Job {
    fn run(self, py: Python<'_>, bridge: &Py<PyAny>) -> PyResult<()> {
        match self {
            Self::Answer(callback, answer) => {
                let (ok, value) = match answer {
                    Ok(answer) => (true, answer.into_py(py)?),
                    Err(error) => (false, crate::error::exception(py, &error).into_value(py).into_any()),
                };
                callback.call1(py, (ok, value)).map(drop)
            }
            Self::Call(function, call) => {
                let host = bridge.call0(py)?;
                if host.is_none(py) {
                    call.give_up();
                    return Ok(());
                }
                host.call_method1(py, "begin", (function, call)).map(drop)
            }
            Self::Gone(number) => {
                let host = bridge.call0(py)?;
                if host.is_none(py) {
                    return Ok(());
                }
                host.call_method1(py, "gone", (number,)).map(drop)
            }
        }
    }
}
