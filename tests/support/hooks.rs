//! Webhooks over the stores of a platform, taken over HTTP on the loopback, and vendors that send to them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agentprovision::Effects;
use agentprovision::backend::{Backend, Stores};
use agentprovision::connectors::webhook::{Receiver, WorkOptions};
use agentprovision::http::{HttpTransport, ReqwestOptions, ReqwestTransport};
use agentprovision::id::{DeliveryId, EndpointId, TenantId, WorkerId};
use agentprovision::page::{Page, PageRequest};
use agentprovision::prelude::*;
use agentprovision_core::webhook::{Accepted, ClaimedDelivery, Delivery, DeliveryEnd, Inbox, NewDelivery};
use async_trait::async_trait;
use axum::Router;
use axum::http::{HeaderMap, Request};
use bytes::Bytes;
use futures_util::TryStreamExt;

/// For a platform whose deliveries the test works on itself.
pub(crate) fn by_nobody() -> WorkOptions {
    let mut options = WorkOptions::default();
    options.at_once = 0;
    options
}

/// Serves a receiver; the URL is that under which endpoints are by their addresses.
pub(crate) async fn serve(receiver: Receiver) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks", listener.local_addr().unwrap());
    let router = Router::new().route_service("/hooks/{address}", receiver);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// Somebody who sends webhooks.
#[derive(Clone, Debug)]
pub(crate) struct Sender(Arc<ReqwestTransport>);

impl Sender {
    pub(crate) fn new() -> Self {
        Self(Arc::new(ReqwestTransport::new(&ReqwestOptions::default()).unwrap()))
    }

    /// Sends a delivery; the status and the text of the answer, where one came.
    pub(crate) async fn send(&self, url: &str, headers: &HeaderMap, body: &Bytes) -> Result<(u16, String)> {
        self.0.allow(&url.parse().unwrap())?;
        let mut request = Request::post(url).body(body.clone()).unwrap();
        *request.headers_mut() = headers.clone();
        let answer = self.0.send(request).await?;
        let status = answer.status().as_u16();
        let text: Vec<Bytes> = answer.into_body().try_collect().await?;
        Ok((status, String::from_utf8(text.concat()).unwrap()))
    }
}

/// Where in the way of a delivery something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// Before it is written.
    BeforeAccept,
    /// When it is, and nobody was told.
    AfterAccept,
    /// Before somebody looks for what to work on.
    BeforeClaim,
    /// When some were taken.
    AfterClaim,
    /// Before the end of an attempt.
    BeforeFinish,
    /// After that.
    AfterFinish(DeliveryId),
}

type Hook = dyn Fn(Point) -> Result<()> + Send + Sync;

/// A backend that calls back around what is done with deliveries; an error there is one of the store.
pub(crate) struct Around {
    inner: Arc<dyn Backend>,
    hook: Arc<Hook>,
}

impl fmt::Debug for Around {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Around").field(&self.inner).finish()
    }
}

impl Around {
    pub(crate) fn new(
        inner: Arc<dyn Backend>,
        hook: impl Fn(Point) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { inner, hook: Arc::new(hook) }
    }
}

#[async_trait]
impl Backend for Around {
    fn stores(&self) -> Stores {
        let stores = self.inner.stores();
        let inbox = Arc::new(AroundInbox { inner: stores.inbox.clone(), hook: self.hook.clone() });
        Stores { inbox, ..stores }
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

struct AroundInbox {
    inner: Arc<dyn Inbox>,
    hook: Arc<Hook>,
}

impl fmt::Debug for AroundInbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AroundInbox").field(&self.inner).finish()
    }
}

#[async_trait]
impl Inbox for AroundInbox {
    async fn accept(&self, tenant: TenantId, delivery: NewDelivery) -> Result<Accepted> {
        (self.hook)(Point::BeforeAccept)?;
        let accepted = self.inner.accept(tenant, delivery).await?;
        (self.hook)(Point::AfterAccept)?;
        Ok(accepted)
    }

    async fn claim(
        &self,
        worker: WorkerId,
        term: Duration,
        limit: u32,
        after: Option<TenantId>,
    ) -> Result<Vec<ClaimedDelivery>> {
        (self.hook)(Point::BeforeClaim)?;
        let claimed = self.inner.claim(worker, term, limit, after).await?;
        if !claimed.is_empty() {
            (self.hook)(Point::AfterClaim)?;
        }
        Ok(claimed)
    }

    async fn finish(
        &self,
        tenant: TenantId,
        id: DeliveryId,
        epoch: u64,
        end: DeliveryEnd,
        effects: Effects,
    ) -> Result<()> {
        (self.hook)(Point::BeforeFinish)?;
        self.inner.finish(tenant, id, epoch, end, effects).await?;
        (self.hook)(Point::AfterFinish(id))
    }

    async fn advance(&self, tenant: TenantId, at: EndpointId, key: &str, version: &str) -> Result<bool> {
        self.inner.advance(tenant, at, key, version).await
    }

    async fn mark(&self, tenant: TenantId, endpoint: EndpointId, key: &str) -> Result<Option<String>> {
        self.inner.mark(tenant, endpoint, key).await
    }

    async fn get(&self, ctx: &Context, id: DeliveryId) -> Result<Delivery> {
        self.inner.get(ctx, id).await
    }

    async fn list(&self, ctx: &Context, endpoint: EndpointId, page: PageRequest) -> Result<Page<Delivery>> {
        self.inner.list(ctx, endpoint, page).await
    }

    async fn replay(&self, ctx: &Context, id: DeliveryId, effects: Effects) -> Result<()> {
        self.inner.replay(ctx, id, effects).await
    }

    async fn expire(&self, keep: Duration, limit: u32) -> Result<u32> {
        self.inner.expire(keep, limit).await
    }

    async fn woken(&self) {
        self.inner.woken().await;
    }
}
