//! Functions of JavaScript that the platform calls.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agentprovision::tool::{ToolCall, TxHandle};
use agentprovision::wire::host::{self, HostCall, HostFunction, OperationCall, Reply};
use agentprovision::{Context, Error, ErrorKind, Result, Retry};
use napi_derive::napi;
use secrecy::ExposeSecret;
use serde::Deserialize;
use tokio::task::AbortHandle;

use crate::handles::Caller;
use crate::mailbox::{Mailbox, Thrown, Value};
use crate::thrown;

/// A function of JavaScript, by its place in the list the other half keeps.
pub(crate) struct JsFunction {
    slot: u32,
    mailbox: Arc<Mailbox>,
}

impl JsFunction {
    pub(crate) fn new(slot: u32, mailbox: &Arc<Mailbox>) -> Arc<Self> {
        Arc::new(Self { slot, mailbox: mailbox.clone() })
    }
}

impl fmt::Debug for JsFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JsFunction").field(&self.slot).finish()
    }
}

impl HostFunction for JsFunction {
    fn begin(&self, call: HostCall) {
        let HostCall { input, ctx, tool, operation, reply, .. } = call;
        let number = self.mailbox.number();
        let input = Mutex::new(Some(input));
        let (mailbox, watcher) = (self.mailbox.clone(), Mutex::default());
        self.mailbox.call(self.slot, Call { number, input, ctx, tool, operation, reply, mailbox, watcher });
    }
}

/// One call of a function of JavaScript. When it is collected without an answer, the call fails.
#[napi]
#[derive(Debug)]
pub struct Call {
    number: u32,
    input: Mutex<Option<String>>,
    ctx: Option<Context>,
    tool: Option<ToolCall>,
    operation: Option<OperationCall>,
    reply: Reply,
    mailbox: Arc<Mailbox>,
    watcher: Mutex<Option<AbortHandle>>,
}

#[napi]
impl Call {
    /// The number that `Gone` comes with.
    #[napi(getter)]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The input as JSON; given once.
    #[napi]
    pub fn input(&self) -> Option<String> {
        self.input.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Who the call is for.
    #[napi]
    pub fn caller(&self) -> Option<Caller> {
        let ctx = self.tool.as_ref().map(ToolCall::ctx).or(self.ctx.as_ref());
        ctx.cloned().map(Caller::tenant)
    }

    /// What a tool knows of its call, as JSON.
    #[napi]
    pub fn facts(&self) -> Option<String> {
        self.tool.as_ref().map(|tool| {
            serde_json::json!({
                "run": tool.run(),
                "step": tool.step(),
                "idempotency_key": tool.idempotency_key(),
                "deadline": tool.deadline(),
                "transactional": tool.tx().is_ok(),
            })
            .to_string()
        })
    }

    /// What an operation knows of its call, as JSON.
    #[napi]
    pub fn operation(&self) -> napi::Result<Option<String>> {
        let facts = self.operation.as_ref().map(OperationCall::facts).transpose();
        facts.map_err(|error| thrown(&error))
    }

    /// The credentials of an operation's integration, as JSON.
    #[napi]
    pub fn credentials(&self) -> napi::Result<Option<String>> {
        let credentials = self.operation.as_ref().map(OperationCall::credentials).transpose();
        let credentials = credentials.map_err(|error| thrown(&error))?;
        Ok(credentials.map(|credentials| credentials.expose_secret().to_owned()))
    }

    /// Sends a request as the integration of an operation's call.
    #[napi]
    pub fn send(&self, id: u32, args: String) {
        let operation = self.operation.clone();
        self.mailbox.work(id, async move {
            match operation {
                Some(operation) => Ok(Value::A(operation.send(&args).await?)),
                None => Err(Error::unsupported("only an operation of a connector sends requests")),
            }
        });
    }

    /// One piece of a streamed answer; false when nobody listens any more.
    #[napi]
    pub fn push(&self, json: String) -> bool {
        self.reply.push(json)
    }

    /// The answer. The first of this and `fail` holds.
    #[napi]
    pub fn done(&self, json: String) {
        self.reply.done(json);
    }

    /// The error the call fails with, and the number of the exception it stands for.
    #[napi]
    pub fn fail(&self, error: String, thrown: u32) {
        let source = Thrown::new(thrown, &self.mailbox);
        self.reply.fail(Failure::read(&error).with_source(source));
    }

    /// Asks to be told when nobody waits for the answer any more.
    #[napi]
    pub fn watch(&self) {
        let (reply, mailbox, number) = (self.reply.clone(), self.mailbox.clone(), self.number);
        // A tool is told before its platform stops to wait for it, so that it can still clean up.
        let cancel = self.tool.as_ref().map(|tool| tool.cancel().clone()).unwrap_or_default();
        let watcher = self.mailbox.runtime().spawn(async move {
            tokio::select! {
                () = reply.closed() => {}
                () = cancel.cancelled() => {}
            }
            mailbox.gone(number);
        });
        *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(watcher.abort_handle());
    }

    /// Runs a statement in the transaction of the step.
    #[napi]
    pub fn tx_execute(&self, id: u32, args: String) {
        let tx = self.tx();
        self.mailbox.work(id, async move { Ok(Value::A(host::tx_execute(&tx?, &args).await?)) });
    }

    /// Runs a query in the transaction of the step.
    #[napi]
    pub fn tx_query(&self, id: u32, args: String) {
        let tx = self.tx();
        self.mailbox.work(id, async move { Ok(Value::A(host::tx_query(&tx?, &args).await?)) });
    }

    fn tx(&self) -> Result<TxHandle> {
        match &self.tool {
            Some(tool) => tool.tx().cloned(),
            None => Err(Error::unsupported("only a tool has a transaction")),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // It holds the reply too, so that the call would wait for an answer nobody is left to give.
        let watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(watcher) = watcher.filter(|watcher| !watcher.is_finished()) {
            watcher.abort();
            self.mailbox.gone(self.number);
        }
    }
}

/// An error as the other half describes it.
#[derive(Deserialize)]
struct Failure {
    code: ErrorKind,
    message: String,
    retryable: bool,
    retry_after_ms: Option<u64>,
    operation: Option<String>,
}

impl Failure {
    fn read(text: &str) -> Error {
        let Ok(Self { code, message, retryable, retry_after_ms, operation }) = serde_json::from_str(text)
        else {
            return Error::internal("the host's function failed in a way that cannot be read");
        };
        let mut error = Error::new(code, message);
        if retryable {
            error = error.with_retry(Retry::After(Duration::from_millis(retry_after_ms.unwrap_or(0))));
        }
        match operation {
            Some(operation) => error.with_operation(operation),
            None => error,
        }
    }
}
