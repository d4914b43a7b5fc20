//! What a call counts as, and its record in the audit log.

use std::sync::Arc;

use agentprovision_core::audit::AuditRecord;
use agentprovision_core::effect::{EffectWriter, Room};
use agentprovision_core::usage::{Meter, UsageEvent};
use agentprovision_core::{Error, Result};
use async_trait::async_trait;
use tower::Layer;

use crate::call::{Answer, Call, Invoke};
use crate::operation::Effect;

/// The action of calls in the audit log.
pub(crate) const ACTION: &str = "integrations.invoke";

/// Counts calls that reached the vendor (`integration.calls`, in the operation's units, and `egress.bytes`), and writes one audit
/// record for every call that was let through, however it ended and even when nobody waits for it any more.
///
/// Both are written in the background, many in one commit. A call that changes something answers only after that.
#[derive(Clone, Debug)]
pub struct MeterLayer(EffectWriter);

impl MeterLayer {
    /// Writes by this writer.
    pub fn new(writer: EffectWriter) -> Self {
        Self(writer)
    }
}

#[derive(Debug)]
struct Metered {
    writer: EffectWriter,
    inner: Arc<dyn Invoke>,
}

impl Layer<Arc<dyn Invoke>> for MeterLayer {
    type Service = Arc<dyn Invoke>;

    fn layer(&self, inner: Arc<dyn Invoke>) -> Self::Service {
        Arc::new(Metered { writer: self.0.clone(), inner })
    }
}

/// A call under way. What is to be written is handed on exactly once, at the latest when this is dropped.
struct Tab<'a> {
    call: &'a Call,
    room: Option<Room>,
}

impl Tab<'_> {
    fn send(&mut self, ended: std::result::Result<&Answer, Option<&Error>>) -> Option<Written> {
        let call = self.call;
        let room = self.room.take()?;
        let env = call.env();
        let event = |meter, quantity| UsageEvent {
            id: env.id(),
            meter,
            quantity,
            at: env.now(),
            user: Some(call.ctx.principal().user()),
            agent: call.agent,
            run: call.run,
            model: None,
            cost: None,
        };
        let mut usage = Vec::new();
        if call.requests() > 0 {
            usage.push(event(Meter::IntegrationCalls, call.spec().units));
        }
        if call.bytes_sent() > 0 {
            usage.push(event(Meter::EgressBytes, call.bytes_sent()));
        }
        let mut record = AuditRecord::of(&call.ctx, env, ACTION, "integrations", call.integration.id)
            .with("connector", &*call.connector.name)
            .with("operation", &*call.spec().name);
        if let Some(run) = call.run {
            record = record.with("run", run.to_string());
        }
        record = match ended {
            Ok(answer) if answer.retries > 0 => record.with("retries", answer.retries),
            Ok(_) => record,
            Err(Some(error)) => record.failed(error),
            Err(None) => {
                record.failed(&Error::new(agentprovision_core::ErrorKind::Cancelled, "nobody waits any more"))
            }
        };
        Some(room.send(call.ctx.clone(), usage, vec![record]))
    }
}

type Written = tokio::sync::oneshot::Receiver<()>;

impl Drop for Tab<'_> {
    fn drop(&mut self) {
        self.send(Err(None));
    }
}

#[async_trait]
impl Invoke for Metered {
    async fn invoke(&self, call: &Call) -> Result<Answer> {
        let mut tab = Tab { call, room: Some(self.writer.room().await?) };
        let ended = self.writer.cutoff().run_until_cancelled(self.inner.invoke(call)).await;
        let ended = ended.unwrap_or_else(|| Err(Error::closed("the platform is closed")));
        let written = tab.send(ended.as_ref().map_err(Some));
        if call.spec().effect != Effect::Read
            && let Some(written) = written
        {
            // An error is that the store did not take it yet; it is tried again, and an answer is not kept back for that.
            let _ = written.await;
        }
        ended
    }
}
