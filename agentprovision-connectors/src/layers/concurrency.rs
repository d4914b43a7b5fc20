//! How many calls of one integration run at the same time.

use std::sync::Arc;

use agentprovision_core::id::IntegrationId;
use agentprovision_core::{Error, Result};
use async_trait::async_trait;
use moka::sync::Cache;
use tokio::sync::Semaphore;
use tower::Layer;

use crate::call::{Answer, Call, Invoke};

/// Lets as many calls of an integration run at the same time as its connector says; the others wait in the order they came.
#[derive(Clone, Debug)]
pub struct ConcurrencyLayer(Cache<IntegrationId, Arc<Semaphore>>);

impl Default for ConcurrencyLayer {
    fn default() -> Self {
        Self(Cache::new(100_000))
    }
}

#[derive(Debug)]
struct Limited {
    places: Cache<IntegrationId, Arc<Semaphore>>,
    inner: Arc<dyn Invoke>,
}

impl Layer<Arc<dyn Invoke>> for ConcurrencyLayer {
    type Service = Arc<dyn Invoke>;

    fn layer(&self, inner: Arc<dyn Invoke>) -> Self::Service {
        Arc::new(Limited { places: self.0.clone(), inner })
    }
}

#[async_trait]
impl Invoke for Limited {
    async fn invoke(&self, call: &Call) -> Result<Answer> {
        let places = self
            .places
            .get_with(call.integration.id, || Arc::new(Semaphore::new(call.connector.concurrency.max(1))));
        let _place = places.acquire().await.map_err(|_| Error::closed("the platform is closed"))?;
        self.inner.invoke(call).await
    }
}
