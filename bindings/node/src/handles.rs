//! What JavaScript holds: contexts, runs and streams.

use std::sync::Arc;

use agentprovision::run::Run;
use agentprovision::wire::{self, JsonStream};
use agentprovision::{Context, OperatorContext};
use napi_derive::napi;

use crate::mailbox::{Mailbox, Value};
use crate::thrown;

/// A context, of a tenant or above the tenants.
#[napi]
#[derive(Debug)]
pub struct Caller {
    pub(crate) who: Who,
}

/// Who acts.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    Tenant(Context),
    Operator(OperatorContext),
}

impl Caller {
    pub(crate) fn tenant(ctx: Context) -> Self {
        Self { who: Who::Tenant(ctx) }
    }

    pub(crate) fn operator(ctx: OperatorContext) -> Self {
        Self { who: Who::Operator(ctx) }
    }
}

impl Who {
    pub(crate) fn caller(&self) -> wire::Caller<'_> {
        match self {
            Self::Tenant(ctx) => wire::Caller::Tenant(ctx),
            Self::Operator(ctx) => wire::Caller::Operator(ctx),
        }
    }
}

/// A handle on a run.
#[napi]
#[derive(Debug)]
pub struct RunHandle {
    run: Run,
    mailbox: Arc<Mailbox>,
}

impl RunHandle {
    pub(crate) fn new(run: Run, mailbox: &Arc<Mailbox>) -> Self {
        Self { run, mailbox: mailbox.clone() }
    }
}

#[napi]
impl RunHandle {
    /// The id.
    #[napi(getter)]
    pub fn id(&self) -> String {
        self.run.id().to_string()
    }

    /// Its events after a place, up to its end.
    #[napi]
    pub fn events(&self, after: Option<String>) -> napi::Result<StreamHandle> {
        let stream = wire::run_events(&self.run, after.as_deref()).map_err(|error| thrown(&error))?;
        Ok(StreamHandle::new(stream, &self.mailbox))
    }

    /// Waits for its end; `Bridge.abandon` ends the wait.
    #[napi]
    pub fn wait(&self, id: u32) {
        let run = self.run.clone();
        self.mailbox.wait(id, async move { Ok(Value::A(wire::run_wait(&run).await?)) });
    }
}

/// A stream of JSON.
#[napi]
#[derive(Debug)]
pub struct StreamHandle {
    stream: JsonStream,
    mailbox: Arc<Mailbox>,
}

impl StreamHandle {
    pub(crate) fn new(stream: JsonStream, mailbox: &Arc<Mailbox>) -> Self {
        Self { stream, mailbox: mailbox.clone() }
    }
}

#[napi]
impl StreamHandle {
    /// The next item, or an empty text at the end.
    #[napi]
    pub fn next(&self, id: u32) {
        let stream = self.stream.clone();
        self.mailbox.work(id, async move { Ok(Value::A(stream.next().await?.unwrap_or_default())) });
    }

    /// Ends the stream at once, and whoever waits for its next item.
    #[napi]
    pub fn close(&self) {
        self.stream.close();
    }
}
