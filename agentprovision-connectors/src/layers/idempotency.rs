//! What was done under a key of the caller is not done again.

use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::canonical::sha256;
use agentprovision_core::context::Context;
use agentprovision_core::idempotency::{Begun, IdempotencyStore, WorkKey};
use agentprovision_core::{Error, ErrorKind, Result, Retry, canonical};
use async_trait::async_trait;
use serde_json::Value;
use tower::Layer;

use crate::call::{Answer, Call, Invoke, not_done};
use crate::operation::Effect;

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// What work may take beyond its deadline before somebody else takes it up.
const SLACK: Duration = Duration::from_secs(5);

/// Answers a call with a key that was made before as it was answered then, for a day.
///
/// What was begun and whose end is not known is done again where that is harmless, and is `uncertain` otherwise.
#[derive(Clone, Debug)]
pub struct IdempotencyLayer(Arc<dyn IdempotencyStore>);

impl IdempotencyLayer {
    /// Remembers in this store.
    pub fn new(store: Arc<dyn IdempotencyStore>) -> Self {
        Self(store)
    }
}

#[derive(Debug)]
struct Once {
    store: Arc<dyn IdempotencyStore>,
    inner: Arc<dyn Invoke>,
}

impl Layer<Arc<dyn Invoke>> for IdempotencyLayer {
    type Service = Arc<dyn Invoke>;

    fn layer(&self, inner: Arc<dyn Invoke>) -> Self::Service {
        Arc::new(Once { store: self.0.clone(), inner })
    }
}

impl Once {
    /// Ends work. That it cannot be ended leaves it begun, which is what is safe.
    async fn finish(&self, ctx: &Context, work: &WorkKey, epoch: u64, answer: Option<Vec<u8>>) {
        if let Err(error) = self.store.finish(ctx, work, epoch, answer).await {
            tracing::warn!(tenant = %ctx.tenant(), scope = work.scope, ?error, "work under a key could not be ended");
        }
    }
}

#[async_trait]
impl Invoke for Once {
    async fn invoke(&self, call: &Call) -> Result<Answer> {
        let spec = call.spec();
        let Some(key) = call.key.as_ref().filter(|_| spec.effect != Effect::Read && call.named) else {
            return self.inner.invoke(call).await;
        };
        let scope = format!("{}/{}", call.integration.id, spec.name);
        let work = WorkKey { scope, key: key.to_string() };
        let input = sha256(&[&canonical::to_bytes(&*call.input)?]);
        let left = call.deadline.saturating_sub(call.env().monotonic());
        let begun = self.store.begin(&call.ctx, &work, input, left.saturating_add(SLACK), KEPT).await?;
        let epoch = match begun {
            Begun::New(epoch) => epoch,
            Begun::Again(epoch) if spec.repeatable() => epoch,
            Begun::Again(_) => {
                return Err(Error::new(
                    ErrorKind::Uncertain,
                    "the operation was begun under this key before, and may have been carried out",
                ));
            }
            Begun::Running(until) => {
                let wait = until.since(call.env().now());
                return Err(Error::conflict("the operation is under way under this key")
                    .with_retry(Retry::After(wait)));
            }
            Begun::Done(bytes) => {
                let value: Value = serde_json::from_slice(&bytes)
                    .map_err(|error| Error::corrupt("a kept answer cannot be read").with_source(error))?;
                return Ok(Answer::new(value));
            }
        };
        let answer = self.inner.invoke(call).await;
        match &answer {
            Ok(answer) => {
                let bytes = canonical::json_bytes(&answer.value);
                self.finish(&call.ctx, &work, epoch, Some(bytes)).await;
            }
            // Whether it was carried out is known: it was not, or it can be again.
            Err(error) if spec.repeatable() || call.requests() == 0 || refused(error) => {
                self.finish(&call.ctx, &work, epoch, None).await;
            }
            Err(_) => {}
        }
        answer
    }
}

/// Whether the vendor has said that it did not do it.
fn refused(error: &Error) -> bool {
    let status = error.context().iter().find(|(name, _)| *name == "status");
    not_done(error)
        || status.and_then(|(_, status)| status.parse::<u16>().ok()).is_some_and(|status| status < 500)
}
