//! A span around every call.

use std::sync::Arc;

use agentprovision_core::Result;
use async_trait::async_trait;
use tower::Layer;
use tracing::{Instrument as _, field};

use crate::call::{Answer, Call, Invoke};

/// Puts a span `connector.call` around calls: who calls what, and how it ended. Never what is in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceLayer;

#[derive(Debug)]
struct Traced(Arc<dyn Invoke>);

impl Layer<Arc<dyn Invoke>> for TraceLayer {
    type Service = Arc<dyn Invoke>;

    fn layer(&self, inner: Arc<dyn Invoke>) -> Self::Service {
        Arc::new(Traced(inner))
    }
}

#[async_trait]
impl Invoke for Traced {
    async fn invoke(&self, call: &Call) -> Result<Answer> {
        let span = tracing::info_span!(
            "connector.call",
            tenant = %call.ctx.tenant(),
            connector = &*call.connector.name,
            operation = &*call.spec().name,
            integration = %call.integration.id,
            retries = field::Empty,
            error = field::Empty,
        );
        let answer = self.0.invoke(call).instrument(span.clone()).await;
        match &answer {
            Ok(answer) => span.record("retries", answer.retries),
            Err(error) => span.record("error", error.kind().code()),
        };
        answer
    }
}
