//! How long the body of an error is waited for.

use std::sync::Arc;
use std::time::Duration;

use agentprovision_core::http::{BodyStream, HttpTransport};
use agentprovision_core::{Env, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

/// The longest the body of an answer with an error status is read.
const ERROR_BODY: Duration = Duration::from_secs(2);

/// A transport that ends the body of an error where it does not arrive: the head says enough, and whoever waits would
/// take a refusal for an answer that is late.
#[derive(Debug)]
pub(crate) struct Patience {
    pub(crate) inner: Arc<dyn HttpTransport>,
    pub(crate) env: Env,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl HttpTransport for Patience {
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<BodyStream>> {
        let response = self.inner.send(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let env = self.env.clone();
        let end = env.monotonic().saturating_add(ERROR_BODY);
        Ok(response.map(|body| {
            let pieces = stream::unfold((body, env), move |(mut body, env)| async move {
                let left = end.saturating_sub(env.monotonic());
                let piece = env.timeout(left, body.next()).await??;
                Some((piece, (body, env)))
            });
            pieces.boxed()
        }))
    }
}
