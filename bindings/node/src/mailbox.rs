//! The one way from a platform's threads to its JavaScript thread, and the runtime those threads belong to.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use agentprovision::{Error, ErrorKind, Result, wire};
use futures_util::future::{AbortHandle, Abortable};
use napi::Status;
use napi::bindgen_prelude::{Either5, FnArgs, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use tokio::runtime::Handle;

use crate::handles::{Caller, RunHandle, StreamHandle};
use crate::host::Call;

/// What an answer may be.
pub(crate) type Value = Either5<String, Caller, RunHandle, StreamHandle, Call>;

/// What the JavaScript side is called with: what happened, to what, with which value, thrown by which exception.
pub(crate) type Letter = FnArgs<(u32, u32, Value, Option<u32>)>;

type Post = ThreadsafeFunction<Letter, (), Letter, Status, false, true>;

/// What happened; the numbers are known to the other half.
#[derive(Clone, Copy)]
enum Kind {
    Resolved = 0,
    Rejected = 1,
    Called = 2,
    Gone = 3,
    Forgotten = 4,
}

/// The way to the JavaScript thread. It keeps neither the process nor the runtime alive.
pub(crate) struct Mailbox {
    post: Post,
    runtime: Handle,
    calls: AtomicU32,
    waits: Mutex<HashMap<u32, AbortHandle>>,
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mailbox")
    }
}

impl Mailbox {
    pub(crate) fn new(deliver: &Function<'_, Letter, ()>, runtime: Handle) -> napi::Result<Arc<Self>> {
        // Weak: what keeps the process alive is decided where calls are counted, in the other half.
        let post = deliver
            .build_threadsafe_function::<Letter>()
            .callee_handled::<false>()
            .weak::<true>()
            .build_callback(|letter| Ok(letter.value))?;
        Ok(Arc::new(Self { post, runtime, calls: AtomicU32::new(0), waits: Mutex::default() }))
    }

    fn post(&self, kind: Kind, id: u32, value: Value, thrown: Option<u32>) {
        // Refused only while the environment ends; then nobody is left to tell.
        let _ =
            self.post.call((kind as u32, id, value, thrown).into(), ThreadsafeFunctionCallMode::NonBlocking);
    }

    /// Hands a call of a host function over.
    pub(crate) fn call(&self, slot: u32, call: Call) {
        self.post(Kind::Called, slot, Value::E(call), None);
    }

    /// Says that nobody waits for a call of a host function any more.
    pub(crate) fn gone(&self, call: u32) {
        self.post(Kind::Gone, call, Value::A(String::new()), None);
    }

    /// A number for a call of a host function.
    pub(crate) fn number(&self) -> u32 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Works on a call of the other half and answers it, whatever happens to the work.
    pub(crate) fn work(
        self: &Arc<Self>,
        id: u32,
        work: impl Future<Output = Result<Value>> + Send + 'static,
    ) {
        let answer = Answer::new(self, id);
        self.runtime.spawn(async move { answer.give(work.await) });
    }

    /// The same for work that [`Mailbox::abandon`] can end.
    pub(crate) fn wait(
        self: &Arc<Self>,
        id: u32,
        work: impl Future<Output = Result<Value>> + Send + 'static,
    ) {
        let (handle, registration) = AbortHandle::new_pair();
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).insert(id, handle);
        let answer = Answer::new(self, id);
        let waiting = Waiting(self.clone(), id);
        self.runtime.spawn(async move {
            let result = Abortable::new(work, registration).await;
            drop(waiting);
            answer.give(
                result.unwrap_or_else(|_| Err(Error::new(ErrorKind::Cancelled, "nobody waits any more"))),
            );
        });
    }

    /// Ends a wait.
    pub(crate) fn abandon(&self, id: u32) {
        if let Some(wait) = self.waits.lock().unwrap_or_else(PoisonError::into_inner).remove(&id) {
            wait.abort();
        }
    }
}

struct Waiting(Arc<Mailbox>, u32);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waits.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// The duty to answer a call: one that is dropped answers too, so that no promise waits for a runtime that is gone.
struct Answer {
    mailbox: Option<Arc<Mailbox>>,
    id: u32,
}

impl Answer {
    fn new(mailbox: &Arc<Mailbox>, id: u32) -> Self {
        Self { mailbox: Some(mailbox.clone()), id }
    }

    fn give(mut self, result: Result<Value>) {
        if let Some(mailbox) = self.mailbox.take() {
            mailbox.answer(self.id, result);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(mailbox) = self.mailbox.take() {
            let error = if std::thread::panicking() {
                Error::internal("the call ended by a defect of the platform")
            } else {
                Error::closed("the platform is closed")
            };
            mailbox.answer(self.id, Err(error));
        }
    }
}

impl Mailbox {
    fn answer(&self, id: u32, result: Result<Value>) {
        match result {
            Ok(value) => self.post(Kind::Resolved, id, value, None),
            Err(error) => {
                let thrown = Thrown::of(&error);
                self.post(Kind::Rejected, id, Value::A(wire::error_json(&error)), thrown);
            }
        }
    }
}

/// Stands for an exception of JavaScript in an error's source. The other half keeps the exception for as long as an
/// error here names it.
#[derive(Debug)]
pub(crate) struct Thrown {
    number: u32,
    mailbox: Weak<Mailbox>,
}

impl Thrown {
    pub(crate) fn new(number: u32, mailbox: &Arc<Mailbox>) -> Self {
        Self { number, mailbox: Arc::downgrade(mailbox) }
    }

    /// The exception behind an error.
    fn of(error: &Error) -> Option<u32> {
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(thrown) = cause.downcast_ref::<Self>() {
                return Some(thrown.number);
            }
            source = cause.source();
        }
        None
    }
}

impl fmt::Display for Thrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an exception of JavaScript")
    }
}

impl StdError for Thrown {}

impl Drop for Thrown {
    fn drop(&mut self) {
        if let Some(mailbox) = self.mailbox.upgrade() {
            mailbox.post(Kind::Forgotten, self.number, Value::A(String::new()), None);
        }
    }
}
