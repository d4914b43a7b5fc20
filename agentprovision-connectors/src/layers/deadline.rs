//! The end of a call's time.

use std::sync::Arc;

use agentprovision_core::{Error, ErrorKind, Result};
use async_trait::async_trait;
use tower::Layer;

use crate::call::{Answer, Call, Invoke};

/// Ends calls whose time is over: the operation's, or what is left of the caller's.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeadlineLayer;

#[derive(Debug)]
struct Ending(Arc<dyn Invoke>);

impl Layer<Arc<dyn Invoke>> for DeadlineLayer {
    type Service = Arc<dyn Invoke>;

    fn layer(&self, inner: Arc<dyn Invoke>) -> Self::Service {
        Arc::new(Ending(inner))
    }
}

#[async_trait]
impl Invoke for Ending {
    async fn invoke(&self, call: &Call) -> Result<Answer> {
        let env = call.env();
        let left = call.deadline.saturating_sub(env.monotonic());
        let ended = env.timeout(left, self.0.invoke(call)).await;
        ended.unwrap_or_else(|| {
            Err(if call.requests() > 0 && !call.spec().repeatable() {
                Error::new(
                    ErrorKind::Uncertain,
                    "the operation did not end in time, and may have been carried out",
                )
            } else {
                Error::new(ErrorKind::DeadlineExceeded, "the operation did not end in time")
            })
        })
    }
}
